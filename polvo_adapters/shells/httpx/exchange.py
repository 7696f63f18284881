"""One attempt through an httpx transport: what `Send` means there, synchronously and in a task.

As `polvo_adapters.shells.requests.exchange`, with what is different in httpx: a transport knows no redirects and no
certificates of single requests, gets a time-out of its own for each request, and hands over bodies as they came over
the wire.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx

from polvo_adapters.core.calls import Body, Call, origin
from polvo_adapters.core.effects import Send
from polvo_adapters.core.http import headers_of, withheld
from polvo_adapters.core.outcomes import (
    CONNECT,
    CONNECT_TIMEOUT,
    DISCONNECTED,
    EXPIRED,
    READ_TIMEOUT,
    TRUNCATED,
    UNCLASSIFIED,
    Failure,
    Outcome,
    at_deadline,
)
from polvo_adapters.drivers.exchange import Cancelled
from polvo_adapters.errors import DeadlineExceeded
from polvo_adapters.shells.body_closing import BodyCloseActions

if TYPE_CHECKING:
    from typing_extensions import Self

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
        return UNCLASSIFIED if "CERTIFICATE_VERIFY_FAILED" in str(error) else CONNECT
    failure = next((failure for kind, failure in _MEANINGS if isinstance(error, kind)), UNCLASSIFIED)
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
            request = elsewhere(request, call)
        if call.deadline is not None:
            left = call.deadline - self.clock.now()
            if left <= 0:
                raise DeadlineExceeded("the deadline is over before the attempt began")
            timeouts = request.extensions.get("timeout", {})
            names = ("connect", "read", "write", "pool")
            cut = {name: min(timeouts.get(name) or left, left) for name in names}
            request.extensions = {**request.extensions, "timeout": cut}
        return request, left

    def on_body_closed(self, action: Callable[[bool, bool], None]) -> bool:
        """Run an action when the body of the last response is closed, or return False where none is open."""
        response = self.response
        if response is None or not self.stream:
            return False
        if not isinstance(response.stream, _Observed):
            response.stream = _Observed(response.stream)
        response.stream.on_body_closed.add(action)
        return True

    def fork(self) -> Self:
        """Return one that sends the same request at the same time."""
        fork = type(self)(self.inner, self.request, self.clock, stream=self.stream)
        fork.forked = True
        return fork

    def owns(self, outcome: Outcome) -> bool:
        """Tell whether the response of an outcome is the one that was received last."""
        return outcome.response is not None and outcome.response is self.response

    def adopt(self, fork: _Exchange) -> None:
        """Take over the response that a fork received last."""
        self.response, fork.response = fork.response, None


class _Observed(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that tells when it is closed, breaks off, or is dropped by everybody."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.on_body_closed = BodyCloseActions()

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
            self.on_body_closed.run(broken=True)
            raise

    def close(self) -> None:
        self._stream.close()
        self.on_body_closed.run()

    async def aclose(self) -> None:
        await self._stream.aclose()
        self.on_body_closed.run()


class SyncExchange(_Exchange):
    """Sends one request, each time it is asked to.

    In a race it is in the hands of two threads, as the RacingExchange of `requests`, but nothing ends an attempt.
    """

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self.cancelled = False
        self.sending = False
        self.wake: Callable[[], object] | None = None
        self.lock = threading.Lock()

    def send(self, effect: Send) -> Outcome:
        """Make one attempt and return what came of it."""
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
        """Close the response of the last attempt, and go no further where the race is over."""
        self.close()
        self.check()

    def close(self) -> None:
        """Close the response of the last attempt."""
        with self.lock:
            response, self.response = self.response, None
        if response is not None and not _is_read(response):
            response.close()

    def adopt(self, fork: _Exchange) -> None:
        """Take over the response that a fork received last."""
        with self.lock:
            super().adopt(fork)
        self.check()

    def cancel(self) -> None:
        """From any thread: let the flow go no further, and close what there is."""
        with self.lock:
            self.cancelled = True
            sending, wake = self.sending, self.wake
        if wake is not None:
            wake()
        if not sending:
            self.close()

    def on_cancel(self, wake: Callable[[], object] | None) -> bool:
        """Have `wake` run when it is cancelled, and go no further where it is already."""
        with self.lock:
            self.wake = wake
        self.check()
        return self.forked

    def check(self) -> None:
        """Raise Cancelled where the race is over."""
        if self.cancelled:
            self.close()
            raise Cancelled


class AsyncExchange(_Exchange):
    """Sends one request in a task, each time it is asked to."""

    async def send(self, effect: Send) -> Outcome:
        """Make one attempt and return what came of it."""
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
        """Close the response of the last attempt."""
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


def elsewhere(request: httpx.Request, call: Call) -> httpx.Request:
    """Return a request that goes where the call says; see `polvo_adapters.shells.requests.rerouting`."""
    headers, extensions, url = request.headers.copy(), dict(request.extensions), httpx.URL(call.url)
    if call.anonymous:
        for name in withheld(headers.keys()):
            del headers[name]
    if origin(call.url) != origin(str(request.url)):
        headers["host"] = url.netloc.decode("ascii")  # httpx puts it in only where it makes the body as well
        extensions.pop("sni_hostname", None)
    stream: Any = request.stream
    return httpx.Request(request.method, url, headers=headers, stream=stream, extensions=extensions)


def synthesize_response(outcome: Outcome, request: httpx.Request) -> httpx.Response:
    """Return a response that no server has sent, of an outcome that a policy made."""
    told = headers_of(outcome, request.method)
    headers = [(name.encode(), value.encode("utf-8", "replace")) for name, value in told.items()]  # text must be ASCII
    # As a stream, because it is the reading of the body that tells a client what `elapsed` is.
    stream = httpx.ByteStream(outcome.body or b"")
    return httpx.Response(outcome.status, headers=headers, stream=stream, request=request)


def given_up(response: httpx.Response) -> bool:
    """Tell whether a response was closed before its body was read."""
    if not response.is_closed:
        return False
    try:
        return response.content is None
    except httpx.ResponseNotRead:
        return True


def body_of(request: httpx.Request) -> Body:
    """Tell whether the body of a request can be sent again."""
    if not isinstance(request.stream, httpx.ByteStream):
        return "once"
    return "replayable" if request.headers.get("content-length", "0") != "0" else "none"
