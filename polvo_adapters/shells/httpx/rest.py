"""The requests for the rest of a body of httpx, through the policies that a retry passes.

The counterpart of `polvo_adapters.shells.requests.rest`, for the calling thread and for a task. Auth objects are above
a transport of httpx. So where the server refuses a credential, the search drives the auth flow of the object that put
it on the request, as a client would, and asks for the rest with the credential that comes of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import httpx

from polvo_adapters.context.call import LogicalCall, separate_call
from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Policy, Send
from polvo_adapters.core.outcomes import Outcome, at_deadline
from polvo_adapters.core.ranges import CONDITIONS, Entity, Unproved, describe_entity
from polvo_adapters.core.report import Entry
from polvo_adapters.drivers import aio, sync
from polvo_adapters.errors import DeadlineExceeded
from polvo_adapters.policies.outcomes import describe_late_body
from polvo_adapters.policies.resume import repeat_flow
from polvo_adapters.redaction import unpicklable
from polvo_adapters.runtime import async_library
from polvo_adapters.shells.httpx.async_exchange import AsyncHTTPXExchange
from polvo_adapters.shells.httpx.exchange import HTTPXExchange
from polvo_adapters.shells.httpx.failures import explain
from polvo_adapters.shells.httpx.given_auth import AuthWithin
from polvo_adapters.shells.httpx.observed_body import observe
from polvo_adapters.shells.httpx.renewal import find_auth
from polvo_adapters.shells.httpx.rerouting import copy_request
from polvo_adapters.shells.httpx.response import is_read
from polvo_adapters.shells.httpx.resuming_body import BREAKS, EARLY_END, LaterPart, ResumingStream
from polvo_adapters.shells.late_credentials import NO_CREDENTIAL
from polvo_adapters.shells.resumption import NOT_ASKED, RestSearch

_NOT_RENEWED = (*NO_CREDENTIAL, DeadlineExceeded)
_NO_POLICY = Unproved("no policy retries")
_CLOSED = Unproved("the transport is closed")


class _RestAttempts:
    """What both exchanges for the rest of a body have in common.

    Attributes:
        entity: The entity that it must be of.
        received: How many bytes of the body are there.
        part: The rest, once it has begun to come.
    """

    clock: Any
    entity: Entity
    received: int
    part: LaterPart | Unproved

    def make_part(self, response: httpx.Response) -> LaterPart | Unproved:
        """Return the rest of the body that a response brings, or why it is not the rest."""
        rest = self.entity.check_rest(self.received, response.status_code, response.headers)
        return rest if isinstance(rest, Unproved) else LaterPart(response, rest, self.entity.first + self.received)

    def fail_in_body(self, call: Call, outcome: Outcome, error: Exception) -> Outcome:
        """Return the outcome of an attempt whose body broke off before it brought anything."""
        now = self.clock.now()
        failure = at_deadline(explain(error, None, reading=True, unsent=False), now, call.deadline)
        return outcome._replace(response=None, status=0, headers={}, error=error, failure=failure, now=now)

    def require_time(self, call: Call) -> None:
        """Raise DeadlineExceeded after the deadline, for transports that have no timeouts."""
        if call.deadline is not None and self.clock.now() >= call.deadline:
            raise DeadlineExceeded(describe_late_body(self.received), host=call.host)

    def _hand_over(self, response: Any, call: Call) -> None:
        """Do nothing: the body that this one becomes a part of has its deadline and its observers already."""


@unpicklable
class RestExchange(_RestAttempts, HTTPXExchange):
    """The attempts at the rest of a body, on the calling thread."""

    def send(self, effect: Send) -> Outcome:
        """Make one attempt, which has failed where the rest does not begin to come."""
        outcome = super().send(effect)
        if outcome.failure is not None:
            return outcome
        try:
            self.part = self._begin(outcome.response, effect.call)
        except BREAKS as error:
            self.close()
            return self.fail_in_body(effect.call, outcome, error)
        return outcome

    def _begin(self, response: Any, call: Call) -> LaterPart | Unproved:
        part = self.make_part(response)
        if isinstance(part, LaterPart):
            part.chunks = iter(part.stream)
            while not part.is_begun and not part.add(next(part.chunks, None)):
                self.require_time(call)
        return part


@unpicklable
class AsyncRestExchange(_RestAttempts, AsyncHTTPXExchange):
    """The attempts at the rest of a body, in a task."""

    async def send(self, effect: Send) -> Outcome:
        """Make one attempt, which has failed where the rest does not begin to come."""
        outcome = await super().send(effect)
        if outcome.failure is not None:
            return outcome
        deadline = effect.call.deadline
        try:
            beginning = self._begin(outcome.response)
            if deadline is None:
                self.part = await beginning
            else:
                self.part = await async_library.finish_within(deadline - self.clock.now(), beginning)
        except async_library.Late:
            await self.close()
            late = DeadlineExceeded(describe_late_body(self.received), host=effect.call.host)
            return self.fail_in_body(effect.call, outcome, late)
        except BREAKS as error:
            await self.close()
            return self.fail_in_body(effect.call, outcome, error)
        return outcome

    async def _begin(self, response: Any) -> LaterPart | Unproved:
        part = self.make_part(response)
        if isinstance(part, LaterPart):
            part.chunks = aiter(part.stream)
            while not part.is_begun and not part.add(await anext(part.chunks, None)):
                pass
        return part


class _Search(RestSearch[LaterPart]):
    """What both searches have in common.

    Args:
        exchange: An exchange to make those for the rest like; it has received no response.
        transport: The transport that the body came through.
        *args: Those of RestSearch behind the store; the deadline of the call is not looked at, as the body has it.
    """

    __slots__ = ("_exchange", "_transport")

    def __init__(self, exchange: Any, transport: Any, *args: Any) -> None:
        super().__init__(transport.store, *args)
        self._exchange, self._transport = exchange, transport

    def _make_exchange(self, received: int, request: httpx.Request | None = None) -> Any:
        request = copy_request(self._request if request is None else request)
        for name in CONDITIONS:
            request.headers.pop(name, None)
        request.headers.update(self._entity.make_conditions(received))
        exchange = self._exchange.make_like(type(self._exchange), request)
        exchange.entity, exchange.received, exchange.part = self._entity, received, NOT_ASKED
        return exchange

    def _describe_break(self, exchange: Any, call: Call, error: Exception | None) -> Outcome:
        """Return the break as the outcome of an attempt."""
        now, wall = exchange.clock.now(), exchange.clock.wall()
        seen = httpx.RemoteProtocolError(EARLY_END) if error is None else error
        return exchange.fail_in_body(call, Outcome(started=now, wall=wall), seen)  # type: ignore[no-any-return]

    def _separate(self, call: Call) -> Any:
        """Return the block of the search: what is sent within it is part of the call that brought the body."""
        return separate_call(LogicalCall(None, call.started, call.deadline))

    def _note_request(self, exchange: Any) -> None:
        """Ask for further parts with the credential that was accepted."""
        if isinstance(exchange.part, LaterPart):
            self._request = exchange.request


class RestFinder(_Search):
    """Asks for the rest of one body, on the calling thread."""

    __slots__ = ()

    def __call__(self, received: int, error: Exception | None, deadline: float | None) -> LaterPart | Unproved:
        """Return the next part of the body, or why there is none.

        Args:
            received: How many bytes are there.
            error: What reading raised, or None where the body ended early.
            deadline: When the body must be complete.
        """
        call, exchange = self._call.with_deadline(deadline), self._make_exchange(received)
        if self._transport.is_closed:
            return _CLOSED
        try:
            with self._reporting(exchange.clock.now) as entries, self._separate(call):
                return self._find(exchange, call, error, entries)
        finally:
            del error  # see errors.py, "Errors and frames"

    def _find(self, exchange: Any, call: Call, error: Exception | None, entries: list[Entry]) -> LaterPart | Unproved:
        flow = self._begin(call, exchange.received, self._describe_break(exchange, call, error), entries)
        del error
        if flow is None:
            return _NO_POLICY
        outcome = sync.drive(flow, exchange, self._store, exchange.clock, entries, call)
        if self._wants_credential(exchange.part, outcome, owned=exchange.owns(outcome)):
            exchange, outcome = self._authenticate(exchange, outcome, call, entries)
        if isinstance(exchange.part, Unproved):
            exchange.close()
        return self._conclude(exchange.part, outcome)

    def _authenticate(self, exchange: Any, outcome: Outcome, call: Call, entries: list[Entry]) -> tuple[Any, Outcome]:
        """Let the auth object replace a credential that has expired meanwhile, and ask for the rest again."""
        auth = find_auth(exchange.request)
        if auth is None:
            return exchange, outcome
        steps = auth.sync_auth_flow(copy_request(exchange.request))
        try:
            request = next(steps)
            if _carries_same(request, exchange.request):
                request = steps.send(outcome.response)
            while True:
                exchange.close()
                exchange = self._make_exchange(exchange.received, request)
                flow = repeat_flow(self._policies, call)
                outcome = sync.drive(flow, exchange, self._store, exchange.clock, entries, call)
                self._note_request(exchange)
                if not self._wants_credential(exchange.part, outcome, owned=exchange.owns(outcome)):
                    return exchange, outcome
                request = steps.send(outcome.response)
        except StopIteration:  # there is no other credential
            return exchange, outcome
        except _NOT_RENEWED as error:
            exchange.part = Unproved(f"{error}")
            return exchange, outcome
        except BaseException:
            exchange.close()
            raise
        finally:
            steps.close()


class AsyncRestFinder(_Search):
    """Asks for the rest of one body, in a task."""

    __slots__ = ()

    async def __call__(self, received: int, error: Exception | None, deadline: float | None) -> LaterPart | Unproved:
        """Return the next part of the body, or why there is none; arguments as for RestFinder."""
        call, exchange = self._call.with_deadline(deadline), self._make_exchange(received)
        if self._transport.is_closed:
            return _CLOSED
        try:
            with self._reporting(exchange.clock.now) as entries, self._separate(call):
                return await self._find(exchange, call, error, entries)
        finally:
            del error  # see errors.py, "Errors and frames"

    async def _find(
        self, exchange: Any, call: Call, error: Exception | None, entries: list[Entry]
    ) -> LaterPart | Unproved:
        flow = self._begin(call, exchange.received, self._describe_break(exchange, call, error), entries)
        del error
        if flow is None:
            return _NO_POLICY
        outcome = await aio.drive(flow, exchange, self._store, exchange.clock, entries, call)
        if self._wants_credential(exchange.part, outcome, owned=exchange.owns(outcome)):
            exchange, outcome = await self._authenticate(exchange, outcome, call, entries)
        if isinstance(exchange.part, Unproved):
            await exchange.close()
        return self._conclude(exchange.part, outcome)

    async def _authenticate(
        self, exchange: Any, outcome: Outcome, call: Call, entries: list[Entry]
    ) -> tuple[Any, Outcome]:
        """Let the auth object replace a credential that has expired meanwhile, and ask for the rest again."""
        auth = find_auth(exchange.request)
        if auth is None:
            return exchange, outcome
        if call.deadline is not None:
            auth = AuthWithin(auth, call.deadline, exchange.clock)
        steps = auth.async_auth_flow(copy_request(exchange.request))
        try:
            request = await anext(steps)
            if _carries_same(request, exchange.request):
                request = await steps.asend(outcome.response)
            while True:
                await exchange.close()
                exchange = self._make_exchange(exchange.received, request)
                flow = repeat_flow(self._policies, call)
                outcome = await aio.drive(flow, exchange, self._store, exchange.clock, entries, call)
                self._note_request(exchange)
                if not self._wants_credential(exchange.part, outcome, owned=exchange.owns(outcome)):
                    return exchange, outcome
                request = await steps.asend(outcome.response)
        except StopAsyncIteration:  # there is no other credential
            return exchange, outcome
        except _NOT_RENEWED as error:
            exchange.part = Unproved(f"{error}")
            return exchange, outcome
        except BaseException:  # above all a cancellation
            exchange.broken_off = True
            await exchange.discard()
            raise
        finally:
            await steps.aclose()


def _carries_same(one: httpx.Request, other: httpx.Request) -> bool:
    """Return whether two requests carry the same credential; otherwise another call has replaced it meanwhile."""
    return one.headers == other.headers and one.url == other.url


def let_resume(
    response: httpx.Response, exchange: HTTPXExchange, transport: Any, policies: Sequence[Policy], call: Call
) -> None:
    """Let the body of a response, which nothing has been read of, go on where it breaks off.

    Args:
        response: The response of a transport, with its report.
        exchange: The exchange that has received it.
        transport: The transport.
        policies: The policies of the call.
        call: The call.
    """
    _let_resume(response, exchange, transport, policies, call, RestExchange, RestFinder)


def let_resume_async(
    response: httpx.Response, exchange: AsyncHTTPXExchange, transport: Any, policies: Sequence[Policy], call: Call
) -> None:
    """Do as `let_resume` for a body that is read in a task."""
    _let_resume(response, exchange, transport, policies, call, AsyncRestExchange, AsyncRestFinder)


def _let_resume(
    response: httpx.Response,
    exchange: Any,
    transport: Any,
    policies: Sequence[Policy],
    call: Call,
    kind: type[RestExchange | AsyncRestExchange],
    finder: type[_Search],
) -> None:
    brought_by, request = exchange.brought_by, response.request
    if not exchange.stream or exchange.response is not response or is_read(response):
        return
    find_rest: Any = None
    entity = describe_entity(request.method, response.status_code, response.headers)
    if isinstance(entity, Entity):
        # The response refers to the client's request; what of it went where the body came from is said by the call.
        call = call._replace(url=brought_by.url, anonymous=brought_by.anonymous, rerouted=brought_by.rerouted)
        like = exchange.make_like(kind, copy_request(request))
        find_rest = finder(like, transport, policies, call, like.request, response.extensions["polvo"], entity)
    response.stream = ResumingStream(observe(response), entity, find_rest)
