"""The same policies as httpx transports, synchronous and asynchronous; needs the extra `httpx`.

    client = httpx.AsyncClient(transport=AsyncPolicyTransport(Deadline(10), ExponentialBackoff()))

A transport does not know whether the client will stream the body. It reads the body as part of the attempt, so
that one that breaks off is retried; for streams, and for all that never ends, say `stream=True`.

The report of a call is in `response.extensions["polvo"]`.
"""

from __future__ import annotations

import asyncio
from typing import Any

try:
    import httpx
except ImportError as error:  # pragma: no cover - tested in an environment without httpx
    raise ImportError("polvo_adapters.transports needs httpx: python -m pip install 'polvo_adapters[httpx]'") from error

from polvo_adapters import credentials
from polvo_adapters.clock import SYSTEM, Clock
from polvo_adapters.drive import aio, sync
from polvo_adapters.errors import DeadlineExceeded
from polvo_adapters.events import Entry, Report
from polvo_adapters.explain import explained
from polvo_adapters.flow import (
    CONNECT,
    CONNECT_TIMEOUT,
    DISCONNECTED,
    EXPIRED,
    READ_TIMEOUT,
    REFUSED,
    TRUNCATED,
    Body,
    Call,
    Failure,
    Outcome,
    Policy,
    Send,
    at_deadline,
    compose,
)
from polvo_adapters.stores.base import Store
from polvo_adapters.stores.memory import MemoryStore

_MEANINGS: tuple[tuple[type[BaseException], Failure], ...] = (
    (DeadlineExceeded, EXPIRED),
    (httpx.ConnectTimeout, CONNECT_TIMEOUT),
    (httpx.PoolTimeout, CONNECT_TIMEOUT),
    (httpx.TimeoutException, READ_TIMEOUT),
    (httpx.ProxyError, CONNECT),
    (httpx.NetworkError, DISCONNECTED),
    (httpx.RemoteProtocolError, DISCONNECTED),
)


def classify(error: BaseException, *, reading: bool) -> Failure:
    """Tell what an exception of an httpx transport means.

    Args:
        error: The exception.
        reading: Whether it came while the body was being read.
    """
    if isinstance(error, httpx.ConnectError):
        return REFUSED if "CERTIFICATE_VERIFY_FAILED" in str(error) else CONNECT
    failure = next((failure for kind, failure in _MEANINGS if isinstance(error, kind)), REFUSED)
    return TRUNCATED if reading and failure is DISCONNECTED else failure


class _Exchange:
    """What both kinds of attempt share."""

    def __init__(self, inner: Any, request: httpx.Request, clock: Any, *, stream: bool) -> None:
        self.inner = inner
        self.request = request
        self.clock = clock
        self.stream = stream
        self.reading = False
        self.response: httpx.Response | None = None

    def outcome(self, started: float, error: BaseException | None = None, deadline: float | None = None) -> Outcome:
        """Put the end of an attempt into words."""
        now, wall, response = self.clock.now(), self.clock.wall(), self.response
        if error is not None:
            failure = at_deadline(classify(error, reading=self.reading), now, deadline)
            return Outcome(error=error, failure=failure, started=started, now=now, wall=wall)
        if response is None:
            raise TypeError("an attempt without response and without error")
        # What was read is as it came over the wire; only a body that needs no decoding can be looked into.
        whole = not self.stream and "content-encoding" not in response.headers
        body = response.stream._stream if whole and type(response.stream) is httpx.ByteStream else None
        return Outcome(response, response.status_code, response.headers, None, None, started, now, wall, "", body)

    def within(self, deadline: float | None) -> float | None:
        """Cut the timeouts of the request to what is left of the deadline, and return that."""
        self.reading = False
        if deadline is None:
            return None
        left: float = deadline - self.clock.now()
        if left <= 0:
            raise DeadlineExceeded("the deadline is over before the attempt began")
        timeouts = self.request.extensions.get("timeout", {})
        names = ("connect", "read", "write", "pool")
        cut = {name: min(timeouts.get(name) or left, left) for name in names}
        self.request.extensions = {**self.request.extensions, "timeout": cut}
        return left


class _SyncExchange(_Exchange):
    def send(self, effect: Send) -> Outcome:
        self.discard()
        started, deadline = self.clock.now(), effect.call.deadline
        try:
            self.within(deadline)
            self.response = response = self.inner.handle_request(self.request)
            response.request = self.request  # which httpx would set above; an error may want it
            if not self.stream:
                self._read(response, deadline)
        except Exception as error:  # noqa: BLE001 - whatever it is, the flow is told and the caller gets it
            self.discard()
            return self.outcome(started, error, deadline)
        return self.outcome(started)

    def _read(self, response: httpx.Response, deadline: float | None) -> None:
        self.reading = True
        chunks = []
        for chunk in response.stream:  # type: ignore[union-attr]
            chunks.append(chunk)
            if deadline is not None and self.clock.now() >= deadline:
                raise DeadlineExceeded("the deadline is over and the body is not complete")
        response.stream.close()  # type: ignore[union-attr]
        response.stream = httpx.ByteStream(b"".join(chunks))

    def discard(self) -> None:
        response, self.response = self.response, None
        if response is not None:
            response.close()


class _AsyncExchange(_Exchange):
    async def send(self, effect: Send) -> Outcome:
        await self.discard()
        started, deadline = self.clock.now(), effect.call.deadline
        try:
            left = self.within(deadline)
            await asyncio.wait_for(self._attempt(), left)
        except asyncio.TimeoutError as cause:
            error = DeadlineExceeded("the deadline is over and the answer is not complete")
            error.__cause__ = cause
            await self.discard()
            return self.outcome(started, error, deadline)
        except Exception as error:  # noqa: BLE001 - whatever it is, the flow is told and the caller gets it
            await self.discard()
            return self.outcome(started, error, deadline)
        return self.outcome(started)

    async def _attempt(self) -> None:
        self.response = response = await self.inner.handle_async_request(self.request)
        response.request = self.request  # which httpx would set above; an error may want it
        if self.stream:
            return
        self.reading = True
        chunks = [chunk async for chunk in response.stream]
        await response.stream.aclose()
        response.stream = httpx.ByteStream(b"".join(chunks))

    async def discard(self) -> None:
        response, self.response = self.response, None
        if response is not None:
            await response.aclose()


class _Policies:
    """What both transports share: settings, and how a call begins and ends."""

    def __init__(self, policies: tuple[Policy, ...], store: Store | None, clock: Any, *, stream: bool) -> None:
        self.policies = policies
        self.store = MemoryStore(now=clock.now) if store is None else store
        self.clock = clock
        self.stream = stream
        self._flow = compose(policies)
        self._counts = any(getattr(policy, "counts_credentials", False) for policy in policies)

    def _call(self, request: httpx.Request) -> Call:
        credential = credentials.digest(request.headers.items()) if self._counts else ""
        return Call(
            request.method,
            str(request.url),
            _body(request),
            self.clock.now(),
            None,
            idempotent=False,
            credential=credential,
        )

    def _end(self, call: Call, outcome: Outcome, entries: list[Entry]) -> httpx.Response:
        report = Report(call.method, call.host, entries, outcome.note, outcome.quotas)
        if outcome.error is not None:
            try:
                raise explained(outcome.error, report)
            finally:
                del outcome
        response: httpx.Response = outcome.response
        response.extensions["polvo"] = report
        return response


class PolicyTransport(_Policies, httpx.BaseTransport):
    """Send the requests of an `httpx.Client` as policies say.

    Args:
        *policies: The policies, outermost first.
        inner: The transport to send through; by default an `httpx.HTTPTransport`.
        store: Where state lives that outlives a call; share it with adapters to share the state.
        clock: Time and chance; tests pass a virtual clock.
        stream: Hand responses over before their body is read.
        **http_transport_keywords: Those of `httpx.HTTPTransport`, without `inner`.
    """

    def __init__(
        self,
        *policies: Policy,
        inner: httpx.BaseTransport | None = None,
        store: Store | None = None,
        clock: Clock = SYSTEM,
        stream: bool = False,
        **http_transport_keywords: Any,
    ) -> None:
        super().__init__(policies, store, clock, stream=stream)
        self.inner = httpx.HTTPTransport(**http_transport_keywords) if inner is None else inner

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request as the policies say; see `httpx.BaseTransport`."""
        call, entries = self._call(request), list[Entry]()
        exchange = _SyncExchange(self.inner, request, self.clock, stream=self.stream)
        outcome = sync.drive(self._flow(call), exchange, self.store, self.clock, entries)
        return self._end(call, outcome, entries)

    def close(self) -> None:
        """Close the transport below."""
        self.inner.close()


class AsyncPolicyTransport(_Policies, httpx.AsyncBaseTransport):
    """Send the requests of an `httpx.AsyncClient` as policies say; arguments as for PolicyTransport."""

    def __init__(
        self,
        *policies: Policy,
        inner: httpx.AsyncBaseTransport | None = None,
        store: Store | None = None,
        clock: aio.AsyncClock = aio.ASYNC_SYSTEM,
        stream: bool = False,
        **http_transport_keywords: Any,
    ) -> None:
        super().__init__(policies, store, clock, stream=stream)
        self.inner = httpx.AsyncHTTPTransport(**http_transport_keywords) if inner is None else inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request as the policies say; see `httpx.AsyncBaseTransport`."""
        call, entries = self._call(request), list[Entry]()
        exchange = _AsyncExchange(self.inner, request, self.clock, stream=self.stream)
        outcome = await aio.drive(self._flow(call), exchange, self.store, self.clock, entries)
        return self._end(call, outcome, entries)

    async def aclose(self) -> None:
        """Close the transport below."""
        await self.inner.aclose()


def _body(request: httpx.Request) -> Body:
    if not isinstance(request.stream, httpx.ByteStream):
        return "once"
    return "replayable" if request.headers.get("content-length", "0") != "0" else "none"
