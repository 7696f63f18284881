"""The same policies as httpx transports, synchronous and asynchronous; needs the extra `httpx`.

    client = httpx.AsyncClient(transport=AsyncPolicyTransport(Deadline(10), ExponentialBackoff()))

A transport does not know whether the client will stream the body. It reads the body as part of the attempt, so that an
attempt whose body breaks off is retried; `stream=True` is for streams and for responses that never end.

The report of a call is in `response.extensions["polvo"]`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

try:
    import httpx
except ImportError as error:  # pragma: no cover - tested in an environment without httpx
    raise ImportError("polvo_adapters.transports needs httpx: python -m pip install 'polvo_adapters[httpx]'") from error

from polvo_adapters.context.call import LogicalCall, call_settings, current_call, extend_default_deadline
from polvo_adapters.core.calls import Body, Call
from polvo_adapters.core.effects import Policy
from polvo_adapters.core.identity import Sender
from polvo_adapters.core.outcomes import Outcome
from polvo_adapters.core.report import Entry
from polvo_adapters.drivers import aio, sync
from polvo_adapters.runtime.clock import SYSTEM, Clock
from polvo_adapters.shells.bound_policies import BoundPolicies, PolicyControls
from polvo_adapters.shells.error_notes import attach_report
from polvo_adapters.shells.httpx.exchange import AsyncHTTPXExchange, HTTPXExchange, body_of
from polvo_adapters.shells.httpx.one_call import said_for
from polvo_adapters.shells.httpx.pools import keep_deadlines
from polvo_adapters.shells.httpx.rerouting import has_left_origin, take_off
from polvo_adapters.shells.httpx.response import is_given_up, synthesize_response
from polvo_adapters.shells.httpx.senders import sender_of
from polvo_adapters.shells.httpx.streaming import is_streamed
from polvo_adapters.shells.httpx.timeouts import find_deadline
from polvo_adapters.stores.base import Store


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
        self.policies = policies
        self._sender = sender
        self._bound = BoundPolicies(type(self).__name__, policies, store, clock, credential)
        self.store = self._bound.store
        self.clock = clock
        self.stream = stream

    inner: Any
    _without_certificate: Any = None  # the same transport, for requests to another server, which get no credential

    def _begin(
        self, request: httpx.Request, exchange: HTTPXExchange | AsyncHTTPXExchange
    ) -> tuple[BoundPolicies, Call, AbstractContextManager[None]]:
        bound, settings, below = self._bound, call_settings.get(), None
        if settings is not None:
            bound, settings, below = bound.for_call(settings, self.inner)
        take_off(request)
        url = str(request.url)
        has_left = bound.reroutes and has_left_origin(request)
        body, now = body_of(request), self.clock.now()
        logical = self._find_logical_call(body, exchange)
        call = bound.begin(request, url, body, now, self._sender, logical, settings, rerouted=has_left)
        deadline = find_deadline(request, self.clock)
        call = call if deadline is None else call.with_deadline(deadline)
        return bound, call, said_for(request, settings, below)

    def _serves(self, logical: LogicalCall | None) -> bool:
        """Return whether a logical call is one of a session that sends through this transport."""
        return logical is not None and getattr(logical.session, "_policy_transport", None) is self

    def _find_logical_call(self, body: Body, exchange: HTTPXExchange | AsyncHTTPXExchange) -> LogicalCall | None:
        """Return the logical call that a request is part of; a default deadline binds no body that is streamed."""
        logical = current_call()
        if logical is None or not logical.is_default:
            return logical
        if not self._serves(logical):
            return None  # it bounds the calls of its own session alone
        if body == "once":
            return logical._replace(deadline=None)
        exchange.spared_deadline = logical.deadline if exchange.stream else None
        return logical

    def _end(
        self,
        bound: BoundPolicies,
        call: Call,
        request: httpx.Request,
        outcome: Outcome,
        entries: list[Entry],
        seconds: float,
    ) -> httpx.Response:
        report = bound.report(call, request, outcome, entries, seconds)
        if len(entries) > 1 and self._serves(current_call()):
            extend_default_deadline(report.waited)
        if outcome.error is not None:
            try:
                raise attach_report(outcome.error, report)
            finally:
                del outcome  # see errors.py, "Errors and frames"
        response: httpx.Response | None = outcome.response
        if response is None or is_given_up(response):
            response = synthesize_response(outcome, request)
        response.extensions["polvo"] = report
        response.request = request  # and not a copy that was sent in a race, or to a region
        return response


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
    """

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
        sender = sender_of(inner, http_transport_keywords)
        super().__init__(policies, store, clock, sender, credential=credential, stream=stream)
        self.inner = httpx.HTTPTransport(**http_transport_keywords) if inner is None else inner
        keep_deadlines(self.inner)
        if inner is None and http_transport_keywords.get("cert") is not None:
            self._without_certificate = httpx.HTTPTransport(**{**http_transport_keywords, "cert": None})
            keep_deadlines(self._without_certificate)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request as the policies say; see `httpx.BaseTransport`."""
        exchange, entries = self._make_exchange(request), list[Entry]()
        bound, call, scope = self._begin(request, exchange)
        began = self.clock.now()
        with scope:
            outcome = sync.drive(bound.flow(call), exchange, self.store, self.clock, entries, call)
        if outcome.error is not None or not exchange.owns(outcome):
            exchange.close()
        try:
            return self._end(bound, call, request, outcome, entries, self.clock.now() - began)
        finally:
            del outcome  # see errors.py, "Errors and frames"

    def _make_exchange(self, request: httpx.Request) -> HTTPXExchange:
        return HTTPXExchange(
            self.inner,
            request,
            self.clock,
            stream=self.stream or is_streamed(request),
            without_certificate=self._without_certificate,
        )

    def close(self) -> None:
        """Close the transport below."""
        self.inner.close()
        if self._without_certificate is not None:
            self._without_certificate.close()


class AsyncPolicyTransport(_BaseTransport, httpx.AsyncBaseTransport):
    """A transport that sends the requests of an `httpx.AsyncClient`; arguments as for PolicyTransport."""

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
        sender = sender_of(inner, http_transport_keywords)
        super().__init__(policies, store, clock, sender, credential=credential, stream=stream)
        self.inner = httpx.AsyncHTTPTransport(**http_transport_keywords) if inner is None else inner
        keep_deadlines(self.inner)
        if inner is None and http_transport_keywords.get("cert") is not None:
            self._without_certificate = httpx.AsyncHTTPTransport(**{**http_transport_keywords, "cert": None})
            keep_deadlines(self._without_certificate)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request as the policies say; see `httpx.AsyncBaseTransport`."""
        exchange, entries = self._make_exchange(request), list[Entry]()
        bound, call, scope = self._begin(request, exchange)
        began = self.clock.now()
        with scope:
            outcome = await aio.drive(bound.flow(call), exchange, self.store, self.clock, entries, call)
        if outcome.error is not None or not exchange.owns(outcome):
            await exchange.discard()
        try:
            return self._end(bound, call, request, outcome, entries, self.clock.now() - began)
        finally:
            del outcome  # see errors.py, "Errors and frames"

    def _make_exchange(self, request: httpx.Request) -> AsyncHTTPXExchange:
        return AsyncHTTPXExchange(
            self.inner,
            request,
            self.clock,
            stream=self.stream or is_streamed(request),
            without_certificate=self._without_certificate,
        )

    async def aclose(self) -> None:
        """Close the transport below."""
        await self.inner.aclose()
        if self._without_certificate is not None:
            await self._without_certificate.aclose()
