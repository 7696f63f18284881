"""The same policies as httpx transports, synchronous and asynchronous; needs the extra `httpx`.

    client = httpx.AsyncClient(transport=AsyncPolicyTransport(Deadline(10), ExponentialBackoff()))

A transport does not know whether the client will stream the body. It reads the body as part of the attempt, so
that one that breaks off is retried; for streams, and for all that never ends, say `stream=True`.

The report of a call is in `response.extensions["polvo"]`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

try:
    import httpx
except ImportError as error:  # pragma: no cover - tested in an environment without httpx
    raise ImportError("polvo_adapters.transports needs httpx: python -m pip install 'polvo_adapters[httpx]'") from error

from polvo_adapters import credentials
from polvo_adapters.clock import SYSTEM, Clock
from polvo_adapters.drive import aio, sync
from polvo_adapters.elsewhere import withheld
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
    origin,
)
from polvo_adapters.response import Closing, headers_of
from polvo_adapters.stores.base import Store
from polvo_adapters.stores.memory import MemoryStore

if TYPE_CHECKING:
    from typing_extensions import Self

    from polvo_adapters.circuit import Circuit

_MEANINGS: tuple[tuple[type[BaseException], Failure], ...] = (
    (DeadlineExceeded, EXPIRED),
    (httpx.ConnectTimeout, CONNECT_TIMEOUT),
    (httpx.PoolTimeout, CONNECT_TIMEOUT),
    (httpx.TimeoutException, READ_TIMEOUT),
    (httpx.ProxyError, CONNECT),
    (httpx.NetworkError, DISCONNECTED),
    (httpx.RemoteProtocolError, DISCONNECTED),
)


_LARGEST_DECODED = 1 << 20  # bytes, for policies that look into bodies; a client decodes once more


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
        self.forked = False
        self.response: httpx.Response | None = None

    def outcome(self, started: float, error: BaseException | None = None, deadline: float | None = None) -> Outcome:
        """Put the end of an attempt into words."""
        now, wall, response = self.clock.now(), self.clock.wall(), self.response
        if error is not None:
            failure = at_deadline(classify(error, reading=self.reading), now, deadline)
            return Outcome(error=error, failure=failure, started=started, now=now, wall=wall)
        if response is None:
            raise TypeError("an attempt without response and without error")
        sent = response.request
        if sent is not self.request and origin(str(sent.url)) != origin(str(self.request.url)):
            response.headers.pop("set-cookie", None)  # the client would take them for cookies of the first origin
        body = _decoded(response) if not self.stream and _is_read(response) else None
        return Outcome(response, response.status_code, response.headers, None, None, started, now, wall, "", body)

    def prepared(self, call: Call) -> tuple[httpx.Request, float | None]:
        """Return the request as the call wants it, within its deadline, and what is left of that."""
        self.reading = False
        request, left = self.request, None
        if call.url != str(request.url):
            request = _elsewhere(request, call)
        if call.deadline is not None:
            left = call.deadline - self.clock.now()
            if left <= 0:
                raise DeadlineExceeded("the deadline is over before the attempt began")
            timeouts = request.extensions.get("timeout", {})
            names = ("connect", "read", "write", "pool")
            cut = {name: min(timeouts.get(name) or left, left) for name in names}
            request.extensions = {**request.extensions, "timeout": cut}
        return request, left

    def closing(self, action: Callable[[bool, bool], None]) -> bool:
        """Run an action when the body of the last response is closed, or return False where none is open."""
        response = self.response
        if response is None or not self.stream:
            return False
        if not isinstance(response.stream, _Observed):
            response.stream = _Observed(response.stream)
        response.stream.closing.add(action)
        return True

    def fork(self) -> Self:
        """Return one that sends the same request at the same time."""
        fork = type(self)(self.inner, self.request, self.clock, stream=self.stream)
        fork.forked = True
        return fork

    def holds(self, outcome: Outcome) -> bool:
        """Tell whether the response of an outcome is the one that was received last."""
        return outcome.response is not None and outcome.response is self.response

    def adopt(self, fork: _Exchange) -> None:
        """Take over the response that a fork received last."""
        self.response, fork.response = fork.response, None


class _Observed(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that tells when it is closed, breaks off, or is dropped by everybody."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.closing = Closing()

    def __iter__(self) -> Iterator[bytes]:
        with self._watched():
            yield from self._stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with self._watched():
            async for chunk in self._stream:
                yield chunk

    @contextmanager
    def _watched(self) -> Iterator[None]:
        try:
            yield
        except Exception:
            self.closing.run(broken=True)
            raise

    def close(self) -> None:
        self._stream.close()
        self.closing.run()

    async def aclose(self) -> None:
        await self._stream.aclose()
        self.closing.run()


class _SyncExchange(_Exchange):
    """What both ends of a race have in their hands; as `polvo_adapters.exchange.Fork`, but nothing ends an attempt."""

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self.cancelled = False
        self.sending = False
        self.wake: Callable[[], object] | None = None
        self.lock = threading.Lock()

    def send(self, effect: Send) -> Outcome:
        self.discard()
        with self.lock:
            self.sending = True
        try:
            outcome = self._send(effect)
        finally:
            with self.lock:
                self.sending = False
        try:
            self.check()
            return outcome
        finally:
            del outcome  # or the error in it, its traceback and this frame would keep each other alive

    def _send(self, effect: Send) -> Outcome:
        started, deadline = self.clock.now(), effect.call.deadline
        try:
            request, _ = self.prepared(effect.call)
            self.response = response = self.inner.handle_request(request)
            response.request = request  # which httpx would set above; an error may want it
            if not self.stream:
                self._read(response, deadline)
        except Exception as error:  # noqa: BLE001 - whatever it is, the flow is told and the caller gets it
            self.close()
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
        self.close()
        self.check()

    def close(self) -> None:
        with self.lock:
            response, self.response = self.response, None
        if response is not None and not _is_read(response):
            response.close()

    def adopt(self, fork: _Exchange) -> None:
        with self.lock:
            super().adopt(fork)
        self.check()

    def cancel(self) -> None:
        with self.lock:
            self.cancelled = True
            sending, wake = self.sending, self.wake
        if wake is not None:
            wake()
        if not sending:
            self.close()

    def on_cancel(self, wake: Callable[[], object] | None) -> bool:
        with self.lock:
            self.wake = wake
        self.check()
        return self.forked

    def check(self) -> None:
        if self.cancelled:
            self.close()
            raise sync.Cancelled


class _AsyncExchange(_Exchange):
    async def send(self, effect: Send) -> Outcome:
        await self.discard()
        started, deadline = self.clock.now(), effect.call.deadline
        try:
            request, left = self.prepared(effect.call)
            await self._within(left, request)
        except asyncio.CancelledError:
            await self.discard()
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the flow is told and the caller gets it
            await self.discard()
            return self.outcome(started, error, deadline)
        return self.outcome(started)

    async def _within(self, seconds: float | None, request: httpx.Request) -> None:
        """Make the attempt, no longer than that.

        Not by `asyncio.wait_for`, which until Python 3.11 loses a cancellation that comes together with the answer.
        """
        if seconds is None:
            return await self._attempt(request)
        task = asyncio.ensure_future(self._attempt(request))
        try:
            await asyncio.wait([task], timeout=seconds)
        except asyncio.CancelledError:
            await _end(task)
            raise
        if not task.done():
            await _end(task)
            raise DeadlineExceeded("the deadline is over and the answer is not complete")
        try:
            return task.result()
        finally:
            del task  # or this frame, the error of the task and its traceback would keep each other alive

    async def _attempt(self, request: httpx.Request) -> None:
        self.response = response = await self.inner.handle_async_request(request)
        response.request = request  # which httpx would set above; an error may want it
        if self.stream:
            return
        self.reading = True
        chunks = [chunk async for chunk in response.stream]
        await response.stream.aclose()
        response.stream = httpx.ByteStream(b"".join(chunks))

    async def discard(self) -> None:
        response, self.response = self.response, None
        if response is not None and not _is_read(response):
            await response.aclose()


async def _end(task: asyncio.Task[None]) -> None:
    """Cancel a task and wait for its end, however it ends."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _is_read(response: httpx.Response) -> bool:
    """Tell whether the body is in memory; then there is nothing to release, and closing would make it unreadable."""
    return type(response.stream) is httpx.ByteStream


def _decoded(response: httpx.Response) -> bytes | None:
    """Return a body that was read as it came over the wire, or None where it takes too much to look into it."""
    raw: bytes = response.stream._stream  # type: ignore[union-attr]
    encoding = response.headers.get("content-encoding")
    if encoding is None:
        return raw
    if len(raw) > _LARGEST_DECODED:
        return None
    try:
        return httpx.Response(200, headers={"content-encoding": encoding}, content=raw).content
    except httpx.DecodingError:
        return None


def _elsewhere(request: httpx.Request, call: Call) -> httpx.Request:
    headers, extensions, url = request.headers.copy(), dict(request.extensions), httpx.URL(call.url)
    if call.anonymous:
        for name in withheld(headers.keys()):
            del headers[name]
    if origin(call.url) != origin(str(request.url)):
        headers["host"] = url.netloc.decode("ascii")  # httpx puts it in only where it makes the body as well
        extensions.pop("sni_hostname", None)
    stream: Any = request.stream
    return httpx.Request(request.method, url, headers=headers, stream=stream, extensions=extensions)


def _made(outcome: Outcome, request: httpx.Request) -> httpx.Response:
    """Return a response that no server has sent, of an outcome that a policy made."""
    told = headers_of(outcome, request.method)
    headers = [(name.encode(), value.encode("utf-8", "replace")) for name, value in told.items()]  # text must be ASCII
    # As a stream, because it is the reading of the body that tells a client what `elapsed` is.
    stream = httpx.ByteStream(outcome.body or b"")
    return httpx.Response(outcome.status, headers=headers, stream=stream, request=request)


def _given_up(response: httpx.Response) -> bool:
    """Tell whether a response was closed before its body was read."""
    if not response.is_closed:
        return False
    try:
        return response.content is None
    except httpx.ResponseNotRead:
        return True


class _Policies:
    """What both transports share: settings, and how a call begins and ends."""

    def __init__(self, policies: tuple[Policy, ...], store: Store | None, clock: Any, *, stream: bool) -> None:
        self.policies = policies
        self.store = MemoryStore(now=clock.now) if store is None else store
        self.clock = clock
        self.stream = stream
        self._flow = compose(policies)
        self._counts = any(getattr(policy, "counts_credentials", False) for policy in policies)
        self._keeps = any(getattr(policy, "keeps_answers", False) for policy in policies)

    def circuit(self, url: str) -> Circuit:
        """Return the circuit that a URL belongs to; see `PolicyAdapter.circuit`."""
        from polvo_adapters.circuit import find

        return find(self.policies, self.store, url)

    def _call(self, request: httpx.Request) -> Call:
        headers = request.headers.items()
        return Call(
            request.method,
            str(request.url),
            _body(request),
            self.clock.now(),
            credential=credentials.digest(headers) if self._counts else "",
            identity=credentials.identity(headers) if self._keeps else "",
        )

    def _end(self, call: Call, request: httpx.Request, outcome: Outcome, entries: list[Entry]) -> httpx.Response:
        elapsed = self.clock.now() - call.started
        report = Report(call.method, call.host, entries, outcome.note, outcome.quotas, elapsed)
        if outcome.error is not None:
            try:
                raise explained(outcome.error, report)
            finally:
                del outcome
        response: httpx.Response | None = outcome.response
        if response is None or _given_up(response):
            response = _made(outcome, request)
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
        if outcome.error is not None or not exchange.holds(outcome):
            exchange.close()
        try:
            return self._end(call, request, outcome, entries)
        finally:
            del outcome  # or an error, its traceback and this frame would keep each other alive

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
        if outcome.error is not None or not exchange.holds(outcome):
            await exchange.discard()
        try:
            return self._end(call, request, outcome, entries)
        finally:
            del outcome  # or an error, its traceback and this frame would keep each other alive

    async def aclose(self) -> None:
        """Close the transport below."""
        await self.inner.aclose()


def _body(request: httpx.Request) -> Body:
    if not isinstance(request.stream, httpx.ByteStream):
        return "once"
    return "replayable" if request.headers.get("content-length", "0") != "0" else "none"
