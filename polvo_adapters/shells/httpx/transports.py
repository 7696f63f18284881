"""The same policies as httpx transports, synchronous and asynchronous; needs the extra `httpx`.

    client = httpx.AsyncClient(transport=AsyncPolicyTransport(Deadline(10), ExponentialBackoff()))

A transport does not know whether the client will stream the body. It reads the body as part of the attempt, so that an
attempt whose body breaks off is retried; `stream=True` is for streams and for responses that never end. The extension
`polvo_stream` says so for one request: `client.stream("GET", url, extensions={"polvo_stream": True})`.

The report of a call is in `response.extensions["polvo"]`. An error is one of httpx as well, see
`polvo_adapters.shells.httpx.errors`.
"""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any

try:
    import httpx
except ImportError as error:  # pragma: no cover - tested in an environment without httpx
    from polvo_adapters.runtime.extras import missing_text

    raise ImportError(missing_text("polvo_adapters.transports", "httpx", "httpx")) from error

from polvo_adapters.context.call import LogicalCall, call_settings, call_started, current_call, extend_default_deadline
from polvo_adapters.core.calls import Body, Call
from polvo_adapters.core.effects import Policy
from polvo_adapters.core.identity import PLAIN_SENDER, Sender
from polvo_adapters.core.outcomes import Outcome
from polvo_adapters.core.report import Entry
from polvo_adapters.drivers import aio, sync
from polvo_adapters.errors import ConfigurationError, PolvoError, SessionClosedError
from polvo_adapters.policies.resume import retry_place
from polvo_adapters.runtime import async_library
from polvo_adapters.runtime.clock import SYSTEM, Clock
from polvo_adapters.shells.bound_policies import BoundPolicies, PolicyControls
from polvo_adapters.shells.error_notes import attach_report
from polvo_adapters.shells.httpx.async_exchange import AsyncHTTPXExchange
from polvo_adapters.shells.httpx.errors import httpx_error
from polvo_adapters.shells.httpx.exchange import HTTPXExchange, body_of
from polvo_adapters.shells.httpx.inner_transports import require_inner, view_without_retries
from polvo_adapters.shells.httpx.one_call import said_for
from polvo_adapters.shells.httpx.pool_loops import move_to_loop
from polvo_adapters.shells.httpx.pools import CONNECTS_ONCE, find_pool, keep_deadlines, retries_connections
from polvo_adapters.shells.httpx.replays import prepare_body
from polvo_adapters.shells.httpx.rerouting import NOTED, copy_for_another_call, has_left_origin, take_off
from polvo_adapters.shells.httpx.response import is_given_up, synthesize_response
from polvo_adapters.shells.httpx.rest import let_resume, let_resume_async
from polvo_adapters.shells.httpx.senders import sender_of
from polvo_adapters.shells.httpx.streaming import STREAMED
from polvo_adapters.shells.httpx.timeouts import find_deadline
from polvo_adapters.shells.httpx.url_reading import write_place
from polvo_adapters.shells.tracebacks import drop_frames
from polvo_adapters.stores.base import Store

if TYPE_CHECKING:
    from typing_extensions import Self


class _BaseTransport(PolicyControls):
    """What both transports have in common: settings, and how a call begins and ends."""

    def __init__(
        self,
        policies: tuple[Policy, ...],
        store: Store | None,
        clock: Any,
        sender: Sender,
        *,
        credential: str | Sequence[str] | None,
        stream: bool,
    ) -> None:
        name = type(self).__name__
        self.policies = policies
        self._sender = sender
        self._bound = BoundPolicies(name, policies, store, clock, credential)
        self.store = self._bound.store
        self.clock = clock
        self.stream = stream
        self._without_certificate: Any = None  # the same, for requests to another server, which get no credential
        self.is_closed = False
        self._flights: dict[int, tuple[httpx.Request, Any]] = {}  # the calls under way, with what the requests had

    _let_resume: Any  # what lets the body of a response be resumed
    _inner: Any
    _below: Any  # the same, or a view on it
    _connects_once: bool  # whether the policies retry in the place of the connections below
    _pool: Any = None  # that of an asynchronous one, whose connections belong to an event loop
    installed: Any = None
    """The installation that this transport was made for."""
    is_closed: bool
    """Whether no attempt may begin any more."""
    _entered = 0

    @property
    def inner(self) -> Any:
        """The transport to send through; another one may be assigned."""
        return self._inner

    @inner.setter
    def inner(self, inner: Any) -> None:
        self._inner = inner
        self._below = view_without_retries(inner, self.policies)
        self._connects_once = retry_place(self.policies) is not None and retries_connections(inner)
        if isinstance(self, AsyncPolicyTransport):  # a transport of ours looks after its pool itself
            self._pool = None if isinstance(inner, AsyncPolicyTransport) else find_pool(inner)

    def _begin(self, request: httpx.Request) -> tuple[BoundPolicies, Call, AbstractContextManager[None] | None, float]:
        """Return the policies for a request, its call, the context that it is sent in or None, and the time."""
        if self.is_closed:
            raise self.make_closed_error()
        bound, settings, below = self._bound, call_settings.get(), None
        if settings is not None:
            bound, settings, below = bound.for_call(settings, self.inner)
        if NOTED in request.extensions:
            take_off(request)
        if self._connects_once:
            request.extensions = {**request.extensions, CONNECTS_ONCE: True}
        body, now = body_of(request), self.clock.now()
        if body == "once" or body == "rewindable":
            prepare_body(request)
        has_left = bound.reroutes and has_left_origin(request)
        sender = self._sender if bound.identifies else PLAIN_SENDER
        logical = None if call_started.get() is None else self._find_logical_call(body)
        place = write_place(request.url)
        call = bound.begin(request, place[0], body, now, sender, logical, settings, rerouted=has_left, place=place)
        return bound, call, None if settings is None else said_for(request, settings, below), now

    def make_closed_error(self) -> SessionClosedError:
        """Return the error of a call whose next attempt would open a connection that is closed by nothing."""
        return SessionClosedError(
            f"this {type(self).__name__} is closed; make a new one, or close it after its last call"
        )

    def _find_logical_call(self, body: Body) -> LogicalCall | None:
        """Return the logical call that a request is part of; a default deadline bounds no body that is streamed."""
        logical = current_call()
        if logical is None or not logical.is_default:
            return logical
        if not self._serves(logical):
            return None  # it bounds the calls of its own session alone
        return logical._replace(deadline=None) if body == "once" else logical

    def _serves(self, logical: LogicalCall | None) -> bool:
        """Return whether a logical call is one of a session that sends through this transport."""
        return logical is not None and getattr(logical.session, "_policy_transport", None) is self

    def _end(
        self,
        bound: BoundPolicies,
        call: Call,
        request: httpx.Request,
        outcome: Outcome,
        entries: list[Entry],
        seconds: float,
        exchange: Any,
    ) -> httpx.Response:
        report = bound.report(call, request, outcome, entries, seconds)
        if len(entries) > 1 and self._serves(current_call()):
            extend_default_deadline(report.waited)
        if outcome.error is not None:
            try:
                raise attach_report(outcome.error, report, request)
            finally:
                del outcome  # see errors.py, "Errors and frames"
        response: httpx.Response | None = outcome.response
        if response is None or (response.is_closed and is_given_up(response)):
            response = synthesize_response(outcome, request)
        response.extensions["polvo"] = report
        if response is not exchange.response or request is not exchange.sent:
            response.request = request  # and not a copy that was sent in a race, or to a region
        if bound.resumes:
            self._let_resume(response, exchange, self, bound.policies, call)
        return response

    def _enter(self) -> None:
        self._entered, self.is_closed = self._entered + 1, False

    def _leave(self) -> None:
        self._entered -= 1
        self._note_closed()

    def _note_closed(self) -> None:
        self.is_closed = self._entered <= 0  # several clients may share it, and each closes it at its end


class PolicyTransport(_BaseTransport, httpx.BaseTransport):
    """A transport that sends the requests of an `httpx.Client` as its policies say.

    Args:
        *policies: The policies, outermost first.
        inner: The transport to send through; by default an `httpx.HTTPTransport`.
        store: Where state lives that outlives a call; share it with adapters to share the state.
        clock: Time and chance; tests pass a virtual clock.
        stream: Whether responses are returned before their body is read.
        credential: Where the API takes its credential, if not in a usual place, as for `PolicyAdapter`.
        **http_transport_keywords: Those of `httpx.HTTPTransport`, without `inner`.

    Raises:
        ConfigurationError: A policy cannot work in a transport.
    """

    _let_resume = staticmethod(let_resume)

    def __init__(
        self,
        *policies: Policy,
        inner: httpx.BaseTransport | None = None,
        store: Store | None = None,
        clock: Clock = SYSTEM,
        stream: bool = False,
        credential: str | Sequence[str] | None = None,
        **http_transport_keywords: Any,
    ) -> None:
        require_inner(self, inner, "handle_request", http_transport_keywords)
        sender = sender_of(inner, http_transport_keywords)
        super().__init__(policies, store, clock, sender, credential=credential, stream=stream)
        self.inner = httpx.HTTPTransport(**http_transport_keywords) if inner is None else inner
        keep_deadlines(self.inner)
        if inner is None and http_transport_keywords.get("cert") is not None:
            self._without_certificate = httpx.HTTPTransport(**{**http_transport_keywords, "cert": None})
            keep_deadlines(self._without_certificate)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request as the policies say; see `httpx.BaseTransport`."""
        flight, key = (request, request.extensions), id(request)
        first = self._flights.setdefault(key, flight)
        if first is not flight:  # it is sent several times at once
            request = copy_for_another_call(request, first[1])
        try:
            bound, call, scope, began = self._begin(request)
            deadline = find_deadline(request, self.clock)
            if deadline is not None:
                call = call.with_deadline(deadline)
            if scope is None:
                return self._send(bound, call, request, began)
            with scope:
                return self._send(bound, call, request, began)
        except (PolvoError, httpx.HTTPError) as error:
            _prepare_error(error, request)
            raise
        finally:
            if first is flight:
                del self._flights[key]
            if self._connects_once:
                request.extensions = flight[1]

    def _send(self, bound: BoundPolicies, call: Call, request: httpx.Request, began: float) -> httpx.Response:
        entries: list[Entry] = []
        stream = self.stream or bool(request.extensions.get(STREAMED))
        exchange = HTTPXExchange(self._below, request, self.clock, stream, self._without_certificate, call.url, self)
        if stream and call.patient:
            exchange.spared_deadline = call.deadline
        outcome = sync.drive(bound.flow(call), exchange, self.store, self.clock, entries, call)
        if outcome.error is not None or exchange.response is None or outcome.response is not exchange.response:
            exchange.close()
        try:
            return self._end(bound, call, request, outcome, entries, self.clock.now() - began, exchange)
        finally:
            del outcome  # see errors.py, "Errors and frames"

    def __enter__(self) -> Self:
        self._enter()
        self.inner.__enter__()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self._leave()
        self.inner.__exit__(exc_type, exc_value, traceback)
        if self._without_certificate is not None:
            self._without_certificate.close()

    def close(self) -> None:
        """Close the transport below."""
        self._note_closed()
        self.inner.close()
        if self._without_certificate is not None:
            self._without_certificate.close()


class AsyncPolicyTransport(_BaseTransport, httpx.AsyncBaseTransport):
    """A transport that sends the requests of an `httpx.AsyncClient`; arguments as for PolicyTransport.

    It runs under asyncio, and under trio as far as httpx does; attempts are raced under asyncio only. One transport
    serves one event loop: its connections belong to that. In another loop use another transport, and the same `store`.
    """

    _let_resume = staticmethod(let_resume_async)
    _loop: object = None  # the one that the connections belong to

    def __init__(
        self,
        *policies: Policy,
        inner: httpx.AsyncBaseTransport | None = None,
        store: Store | None = None,
        clock: aio.AsyncClock = aio.ASYNC_SYSTEM,
        stream: bool = False,
        credential: str | Sequence[str] | None = None,
        **http_transport_keywords: Any,
    ) -> None:
        require_inner(self, inner, "handle_async_request", http_transport_keywords)
        sender = sender_of(inner, http_transport_keywords)
        super().__init__(policies, store, clock, sender, credential=credential, stream=stream)
        if self._bound.races:
            aio.require_tasks()
        self.inner = httpx.AsyncHTTPTransport(**http_transport_keywords) if inner is None else inner
        keep_deadlines(self.inner)
        if inner is None and http_transport_keywords.get("cert") is not None:
            self._without_certificate = httpx.AsyncHTTPTransport(**{**http_transport_keywords, "cert": None})
            keep_deadlines(self._without_certificate)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request as the policies say; see `httpx.AsyncBaseTransport`."""
        flight, key = (request, request.extensions), id(request)
        first = self._flights.setdefault(key, flight)
        if first is not flight:  # as above
            request = copy_for_another_call(request, first[1])
        try:
            if self._pool is not None:
                self._require_loop()
            bound, call, scope, began = self._begin(request)
            if bound.races:
                aio.require_tasks()
            stream = self.stream or bool(request.extensions.get(STREAMED))
            without, clock = self._without_certificate, self.clock
            exchange = AsyncHTTPXExchange(self._below, request, clock, stream, without, call.url, self)
            if stream and call.patient:
                exchange.spared_deadline = call.deadline
            entries: list[Entry] = []
            work = aio.drive(bound.flow(call), exchange, self.store, clock, entries, call)
            outcome = await (work if scope is None else _run_within(scope, work))
            if outcome.error is not None or exchange.response is None or outcome.response is not exchange.response:
                await exchange.discard()
            try:
                return self._end(bound, call, request, outcome, entries, clock.now() - began, exchange)
            finally:
                del outcome  # see errors.py, "Errors and frames"
        except (PolvoError, httpx.HTTPError) as error:
            _prepare_error(error, request)
            raise
        finally:
            if first is flight:
                del self._flights[key]
            if self._connects_once:
                request.extensions = flight[1]

    def _require_loop(self) -> None:
        """Check that the connections of the pool do not belong to another event loop."""
        loop = async_library.find_loop()
        if loop is self._loop:
            return
        if not move_to_loop(self._pool, loop):
            raise ConfigurationError(
                f"the connections of this {type(self).__name__} belong to another event loop; make a transport, with "
                "its client, in each loop (what they are to share is `store`), or close the client before its loop ends"
            )
        self._loop = loop

    async def __aenter__(self) -> Self:
        self._enter()
        await self.inner.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self._leave()
        await self.inner.__aexit__(exc_type, exc_value, traceback)
        if self._without_certificate is not None:
            await self._without_certificate.aclose()

    async def aclose(self) -> None:
        """Close the transport below."""
        self._note_closed()
        await self.inner.aclose()
        if self._without_certificate is not None:
            await self._without_certificate.aclose()


def _prepare_error(error: Exception, request: httpx.Request) -> None:
    if isinstance(error, PolvoError):
        httpx_error(error, request)
    else:
        drop_frames(error, keeps_first=True)


async def _run_within(scope: AbstractContextManager[None], work: Coroutine[Any, Any, Outcome]) -> Outcome:
    with scope:
        return await work
