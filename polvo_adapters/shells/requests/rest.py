"""The requests for the rest of a body, through the policies that a retry passes.

Theory of operation. `let_resume` looks once at a response whose body the caller will read. Where a rest could be asked
for, it puts a `ResumingBody` below it, with a `RestFinder`, which keeps what a further attempt needs. When the body
breaks off, the slot and the connection of the broken part are released first, as the request for the rest may need
them. Then the flow of the rest is driven on the thread that reads (see `polvo_adapters.policies.resume`); its attempts
and waits go to the report that the caller has already.

A response is the rest once its first bytes are there. An answer that is not the rest ends the search: what comes out is
the error of the break, with a note that says why. The request goes where the broken body came from, not to the
beginning of a chain of redirects.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from http.client import HTTPResponse, IncompleteRead
from typing import TYPE_CHECKING, Any

import requests
from requests.structures import CaseInsensitiveDict
from urllib3.exceptions import HTTPError, ProtocolError, ReadTimeoutError
from urllib3.exceptions import SSLError as PoolSSLError

from polvo_adapters.context.call import LogicalCall, separate_call
from polvo_adapters.context.one_call import call as one_call
from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Policy, Send
from polvo_adapters.core.outcomes import INTERRUPTED, Outcome, at_deadline
from polvo_adapters.core.ranges import Entity, Unproved, describe_entity
from polvo_adapters.core.report import Entry
from polvo_adapters.drivers.sync import drive
from polvo_adapters.shells.requests.exchange import RequestsExchange
from polvo_adapters.shells.requests.failures import classify
from polvo_adapters.shells.requests.hooks import find_own_hooks
from polvo_adapters.shells.requests.resuming_body import (
    BREAKS,
    ChunkedResumingBody,
    FirstPart,
    LaterPart,
    ResumingBody,
    explain_end,
)
from polvo_adapters.shells.requests.wire.recording_retry import prepare_retry
from polvo_adapters.shells.resumption import NOT_ASKED, UNKNOWN_WAY, RestSearch
from polvo_adapters.shells.signal_handlers import comes_from_signal_handler

if TYPE_CHECKING:
    from polvo_adapters.stores.base import Store


class RestExchange(RequestsExchange):
    """The attempts at the rest of a body.

    Attributes:
        entity: The entity that it must be of.
        received: How many bytes of the body are there.
        part: The rest, once it has begun to come.
    """

    __slots__ = ("entity", "part", "received")

    entity: Entity
    received: int
    part: LaterPart | Unproved

    def send(self, effect: Send) -> Outcome:
        """Make one attempt, which has failed where the rest does not begin to come."""
        outcome = super().send(effect)
        if outcome.failure is not None:
            return outcome
        try:
            self.part = begin_part(outcome.response, self.entity, self.received)
        except BREAKS as error:
            return self._fail_in_body(effect.call, outcome, _as_requests(error))
        return outcome

    def _fail_in_body(self, call: Call, outcome: Outcome, error: requests.RequestException) -> Outcome:
        """Return the outcome of an attempt whose body broke off before it brought anything."""
        self.close()
        retries = prepare_retry(self._retries)
        advice = None
        if retries is not self._retries:
            retries.ask_about(error, self.request.prepared)
            advice = self._advise(retries)
        now = self._clock.now()
        failure = at_deadline(classify(error), now, call.deadline)
        return outcome._replace(
            response=None, status=0, headers={}, error=error, failure=failure, now=now, advice=advice
        )


class RestFinder(RestSearch[LaterPart]):
    """Asks for the rest of one body.

    Args:
        exchange: An exchange to make those for the rest like. It is not the one that has sent the request, which keeps
            the response, and that keeps this.
        *args: Those of RestSearch; the deadline of the call is that of the body.
    """

    __slots__ = ("_exchange",)

    def __init__(self, exchange: RequestsExchange, *args: Any) -> None:
        super().__init__(*args)
        self._exchange = exchange

    def __call__(self, received: int, error: Exception | None) -> LaterPart | Unproved:
        """Return the next part of the body, or why there is none.

        Args:
            received: How many bytes are there.
            error: What reading raised, or None where the body ended early.
        """
        try:
            with self._reporting(self._exchange.clock.now) as entries:
                return self._find(received, error, entries)
        finally:
            del error  # see errors.py, "Errors and frames"

    def _find(self, received: int, error: Exception | None, entries: list[Entry]) -> LaterPart | Unproved:
        exchange = self._make_exchange(received)
        flow = self._begin(self._call, received, self._describe_break(exchange, error), entries)
        if flow is None:
            return Unproved("no policy retries")
        outcome = drive(flow, exchange, self._store, exchange.clock, entries, self._call)
        if self._wants_credential(exchange.part, outcome, owned=exchange.owns(outcome)):
            entries += self._authenticate(exchange, outcome.response)
        if isinstance(exchange.part, Unproved):
            exchange.close()
        return self._conclude(exchange.part, outcome)

    def _make_exchange(self, received: int) -> RestExchange:
        request = self._request.copy()
        request.headers = CaseInsensitiveDict(self._entity.ask_for_rest(request.headers, received))
        exchange = self._exchange.make_like(RestExchange, request)
        exchange.entity, exchange.received, exchange.part = self._entity, received, NOT_ASKED
        return exchange

    def _describe_break(self, exchange: RestExchange, error: Exception | None) -> Outcome:
        """Return the break as the outcome of an attempt."""
        clock = exchange.clock
        now, seen = clock.now(), _as_requests(IncompleteRead(b"") if error is None else error)
        failure = at_deadline(classify(seen), now, self._call.deadline)
        if error is not None and comes_from_signal_handler(error):
            failure = INTERRUPTED
        broken = exchange._fail_in_body(self._call, Outcome(started=now, wall=clock.wall()), seen)
        return broken._replace(failure=failure)

    def _authenticate(self, exchange: RestExchange, response: requests.Response) -> Sequence[Entry]:
        """Let the auth object of the request replace the credential that has expired meanwhile, and take the rest.

        Returns:
            What was performed for that.
        """
        response.connection = self._exchange.above  # type: ignore[assignment]
        response.polvo = None  # type: ignore[attr-defined]
        # What is sent for that passes the policies as a call of its own, and its body is this one.
        logical = LogicalCall(None, self._call.started, self._call.deadline)
        with separate_call(logical), one_call(resume=False):
            for hook in find_own_hooks(response.request):
                response = hook(response, **self._exchange.keywords_for_rest) or response
        report = getattr(response, "polvo", None)
        if report is None:  # there was no other credential
            return ()
        try:
            exchange.part = begin_part(response, self._entity, exchange.received)
        except BREAKS:
            exchange.part = Unproved("the rest broke off before it began")
        if isinstance(exchange.part, Unproved):
            response.close()
        else:
            self._request = response.request
        return report.entries  # type: ignore[no-any-return]


def begin_part(response: Any, entity: Entity, received: int) -> LaterPart | Unproved:
    """Return the rest of a body that a response brings, once its first bytes are there, or why it is not the rest.

    Args:
        response: The response to the request for the rest.
        entity: The entity that it must be of.
        received: How many bytes of the body are there.

    Raises:
        OSError: The connection broke off before the first byte.
        HTTPException: The same, as the standard library says it.
    """
    rest = entity.check_rest(received, response.status_code, response.headers)
    if isinstance(rest, Unproved):
        return rest
    if not isinstance(getattr(response.raw, "_fp", None), HTTPResponse):
        return UNKNOWN_WAY
    return LaterPart(response, rest, entity.first + received)


def let_resume(
    response: requests.Response,
    store: Store,
    exchange: RequestsExchange,
    policies: Sequence[Policy],
    call: Call,
) -> None:
    """Let the body of a response, which nothing has been read of, go on where it breaks off.

    Args:
        response: The response of a mounted adapter, with its report.
        store: Where state lives.
        exchange: The exchange that has received it.
        policies: The policies of the call.
        call: The call.
    """
    raw, request, brought_by = response.raw, response.request, exchange.brought_by
    if response._content is not False or brought_by is None:
        return
    if not isinstance(getattr(raw, "_fp", None), HTTPResponse) or getattr(raw, "_connection", None) is None:
        return  # a body that is over, or comes in a way that is not known
    entity = describe_entity(request.method, response.status_code, response.headers)
    if not exchange.can_ask_for_rest(brought_by.url):
        entity = Unproved("it came from another origin than the client certificate is for")
    if isinstance(entity, Unproved):
        explain_end(raw, entity)
        return
    limit: Any = getattr(raw, "_deadline", None)
    if limit is not None:
        call = call.with_deadline(limit[0])
    # The response refers to the caller's request; what of it went where the body came from is said by the call.
    call = call._replace(url=brought_by.url, anonymous=brought_by.anonymous, rerouted=brought_by.rerouted)
    like = exchange.make_like(RestExchange, request)
    finder = RestFinder(like, store, policies, call, request, response.polvo, entity)  # type: ignore[attr-defined]
    kind = ChunkedResumingBody if raw.chunked else ResumingBody
    body = kind(FirstPart(raw, getattr(raw, "_closing", None)), entity, finder)
    raw._fp = body
    explain_end(raw, body)


def _as_requests(error: Exception) -> requests.RequestException:
    """Return what `requests` makes of an exception of the standard library while a body is read."""
    if isinstance(error, TimeoutError):
        timeout = ReadTimeoutError(None, None, "Read timed out.")  # type: ignore[arg-type]
        timeout.__cause__ = error
        return requests.exceptions.ConnectionError(timeout)
    if isinstance(error, ssl.SSLError):
        return requests.exceptions.SSLError(PoolSSLError(error))
    cause: HTTPError = ProtocolError(f"Connection broken: {error!r}", error)
    return requests.exceptions.ChunkedEncodingError(cause)
