"""One attempt through an httpx transport: what `Send` means there, synchronously and in a task.

As `polvo_adapters.shells.requests.exchange`, except that a transport of httpx knows no redirects and no certificates of
single requests, takes the timeout from each request, and returns bodies as they came over the wire.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import anyio
import httpx

from polvo_adapters.core.calls import Body, Call, origin
from polvo_adapters.core.effects import Send
from polvo_adapters.core.http import synthesized_headers, withheld_headers
from polvo_adapters.core.outcomes import (
    CONNECT,
    CONNECT_TIMEOUT,
    DISCONNECTED,
    EXPIRED,
    INTERRUPTED,
    PROXY_REFUSED,
    READ_TIMEOUT,
    TRUNCATED,
    UNCLASSIFIED,
    Failure,
    Outcome,
    at_deadline,
    name_failure,
)
from polvo_adapters.core.trace import Mark
from polvo_adapters.errors import DeadlineExceeded
from polvo_adapters.runtime.clock import TimeSource
from polvo_adapters.shells.body_closing import BodyCloseActions
from polvo_adapters.shells.cancellation import CancellableExchange
from polvo_adapters.shells.encodings import TEXT, EncodingCheck
from polvo_adapters.shells.httpx.timeouts import DeadlineTimeout
from polvo_adapters.shells.httpx.trace import HTTPXTrace
from polvo_adapters.shells.overruns import report_overrun
from polvo_adapters.shells.signal_handlers import comes_from_signal_handler

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

_UNABLE = ("5", "408", "429", "Proxy Server could not connect")  # messages of httpcore: a status, or that of SOCKS
_TIMEOUTS = ("connect", "read", "write", "pool")
_DEPTH = 8
_END: Any = object()
_LATE = "the deadline is over and the body is not complete; allow a longer deadline, or ask for less"
_LARGEST_DECODED = 1 << 20  # bytes that are decoded for policies; the client decodes the body once more


def classify(error: BaseException, *, reading: bool) -> Failure:
    """Return the meaning of an exception of an httpx transport.

    Args:
        error: The exception.
        reading: Whether the body was being read when it was raised.
    """
    if isinstance(error, httpx.ConnectError):
        return UNCLASSIFIED if "CERTIFICATE_VERIFY_FAILED" in str(error) else CONNECT
    failure = next((failure for kind, failure in _MEANINGS if isinstance(error, kind)), UNCLASSIFIED)
    return TRUNCATED if reading and failure is DISCONNECTED else failure


def explain(error: BaseException, trace: HTTPXTrace | None, *, reading: bool, unsent: bool) -> Failure:
    """Return the meaning of an exception of an attempt, under the name that fits what the trace proves.

    Args:
        error: The exception.
        trace: The trace of the attempt; None where it did not begin.
        reading: Whether the body was being read when it was raised.
        unsent: Whether it is proved that nothing of the request was sent.
    """
    failure = classify(error, reading=reading)
    if (trace is not None and trace.body_error is error) or comes_from_signal_handler(_find_root(error)):
        return INTERRUPTED  # what the body raised comes through httpcore as it is
    if isinstance(error, httpx.ProxyError) and unsent:
        return CONNECT if _is_proxy_unable(str(error)) else PROXY_REFUSED
    return (
        name_failure(failure, unsent=unsent)
        if (unsent or (trace is not None and trace.sent)) and not reading
        else failure
    )


def _find_root(error: BaseException) -> BaseException:
    """Return the exception that an exception of httpx was made of; httpcore hides the cause of its own."""
    for _ in range(_DEPTH):
        is_of_httpcore = type(error).__module__.startswith("httpcore")
        cause = error.__cause__ or (error.__context__ if is_of_httpcore else None)
        if cause is None:
            break
        error = cause
    return error


def _is_proxy_unable(message: str) -> bool:
    """Return whether a proxy was not able to connect, rather than unwilling to serve this client."""
    return message.startswith(_UNABLE) and "not allowed" not in message


class _BaseHTTPXExchange:
    """What synchronous and asynchronous exchanges have in common."""

    is_async = False

    def __init__(self, inner: Any, request: httpx.Request, clock: Any, *, stream: bool) -> None:
        self.inner = inner
        self.request = request
        self.clock = clock
        self.stream = stream
        self.reading = False
        self.response: httpx.Response | None = None
        self._listener = request.extensions.get("trace")
        self._trace: HTTPXTrace | None = None
        self._traced, self._extensions = request, request.extensions

    def outcome(self, started: float, error: BaseException | None = None, deadline: float | None = None) -> Outcome:
        """Return the outcome of the attempt that has just ended."""
        now, wall, response = self.clock.now(), self.clock.wall(), self.response
        trace, self._trace = self._trace, None
        marks: Sequence[Mark] = ()
        if trace is not None:
            self.give_back()
            marks = trace.end(now)
        if error is not None:
            unsent = not self.reading and (trace is None or trace.proves_unsent(self.inner, error))
            failure = at_deadline(explain(error, trace, reading=self.reading, unsent=unsent), now, deadline)
            return Outcome(
                error=error, failure=failure, started=started, now=now, wall=wall, unsent=unsent, marks=marks
            )
        if response is None:
            raise TypeError("an attempt without response and without error")
        sent = response.request
        if sent is not self.request and origin(str(sent.url)) != origin(str(self.request.url)):
            response.headers.pop("set-cookie", None)  # the client would take them for cookies of the first origin
        body = _decode_body(response) if not self.stream and _is_read(response) else None
        return Outcome(
            response, response.status_code, response.headers, None, None, started, now, wall, "", body, False, marks
        )

    def prepare(self, call: Call) -> tuple[httpx.Request, float | None]:
        """Return the request for the URL and the deadline of the call, and the seconds left."""
        self.reading = False
        request, left = self.request, None
        if call.url != str(request.url):
            request = reroute(request, call)
        self._traced, self._extensions = request, request.extensions
        if call.deadline is not None:
            left = call.deadline - self.clock.now()
            if left <= 0:
                raise DeadlineExceeded("the deadline is over before the attempt began")
            timeouts = request.extensions.get("timeout", {})
            cut = {name: self._shorten(timeouts.get(name), call.deadline, left) for name in _TIMEOUTS}
            request.extensions = {**request.extensions, "timeout": cut}
        self._trace = HTTPXTrace(self.clock.now(), self.clock.now, self._listener)
        self._trace.attach(request, asynchronous=self.is_async)
        return request, left

    def _shorten(self, timeout: float | None, deadline: float, left: float) -> float:  # noqa: ARG002
        """Return a timeout that ends with the deadline, which is so many seconds away."""
        return left if timeout is None else min(timeout, left)

    def give_back(self) -> None:
        """Leave the request as it came."""
        self._traced.extensions = self._extensions

    def on_body_closed(self, action: Callable[[bool, bool], None]) -> bool:
        """Run an action when the body of the last response is closed, or return False where none is open."""
        response = self.response
        if response is None or not self.stream:
            return False
        _observe(response).on_body_closed.add(action)
        return True

    def fork(self) -> Self:
        """Return an exchange that sends the same request at the same time."""
        return type(self)(self.inner, copy_request(self.request), self.clock, stream=self.stream)

    def owns(self, outcome: Outcome) -> bool:
        """Return whether the response of an outcome is the one that was received last."""
        return outcome.response is not None and outcome.response is self.response

    def adopt(self, fork: _BaseHTTPXExchange) -> None:
        """Take over the response that a fork received last."""
        self.response, fork.response = fork.response, None

    def _hand_over(self, response: Any, call: Call) -> None:
        """Look after the body of a response that the caller will read."""
        if _is_read(response):
            return
        if call.deadline is not None:
            _observe(response).limit(call.deadline, self.clock, call.host)
        elif "content-encoding" in response.headers:
            _observe(response)

    def _take_response(self) -> httpx.Response | None:
        """Return the response of the last attempt where it has to be closed, and forget it."""
        response, self.response = self.response, None
        return None if response is None or _is_read(response) else response


class _ObservedStream(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that runs actions when it is closed, breaks off, or is freed, and that may have a deadline."""

    def __init__(self, stream: Any, encoding: str | None) -> None:
        self._stream = stream
        self._check = EncodingCheck(encoding)
        self._deadline: tuple[float, TimeSource, str] | None = None
        self.on_body_closed = BodyCloseActions()

    def limit(self, deadline: float, clock: TimeSource, host: str) -> None:
        """Let reading after a deadline raise DeadlineExceeded, unless there is an earlier one.

        Args:
            deadline: The deadline, on the clock.
            clock: Time.
            host: Host of the call, for the message.
        """
        if self._deadline is None or deadline < self._deadline[0]:
            self._deadline = (deadline, clock, host)

    def __iter__(self) -> Iterator[bytes]:
        with self._watch():
            for chunk in self._stream:
                self._require_time()
                self._check.feed(chunk)
                yield chunk
            _require_whole(self._check)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with self._watch():
            async for chunk in self._stream if self._deadline is None else self._iterate_within(*self._deadline):
                self._check.feed(chunk)
                yield chunk
            _require_whole(self._check)

    async def _iterate_within(self, deadline: float, clock: TimeSource, host: str) -> AsyncIterator[bytes]:
        """Yield the parts of the body, and wait for each no longer than to the deadline."""
        parts = aiter(self._stream)
        while True:
            part: Any = None
            with anyio.move_on_after(deadline - clock.now()):
                part = await anext(parts, _END)
            if part is _END:
                return
            if part is None:
                raise DeadlineExceeded(_LATE, host=host)
            self._require_time()
            yield part

    def _require_time(self) -> None:
        """Raise DeadlineExceeded after the deadline, for streams that know none."""
        if self._deadline is None:
            return
        deadline, clock, host = self._deadline
        if clock.now() >= deadline:
            raise DeadlineExceeded(_LATE, host=host)

    @contextmanager
    def _watch(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self.on_body_closed.run(broken=True)
            if self._deadline is None or isinstance(error, DeadlineExceeded):
                raise
            deadline, clock, host = self._deadline
            failure = explain(error, None, reading=True, unsent=False)
            if at_deadline(failure, clock.now(), deadline) is not EXPIRED:
                raise
            raise DeadlineExceeded(_LATE, host=host) from error

    def close(self) -> None:
        self._stream.close()
        self.on_body_closed.run()

    async def aclose(self) -> None:
        await self._stream.aclose()
        self.on_body_closed.run()


class HTTPXExchange(_BaseHTTPXExchange):
    """The attempts at one request, on the calling thread."""

    def _shorten(self, timeout: float | None, deadline: float, left: float) -> float:  # noqa: ARG002
        return DeadlineTimeout(timeout, deadline, self.clock)

    def send(self, effect: Send) -> Outcome:
        """Make one attempt, and return its outcome."""
        self.discard()
        started, deadline = self.clock.now(), effect.call.deadline
        try:
            request, _ = self.prepare(effect.call)
            self.response = response = self.inner.handle_request(request)
            response.request = request  # httpx sets it above the transport, too late for errors
            if not self.stream:
                self._read(response, deadline)
            else:
                self._hand_over(response, effect.call)
        except Exception as error:  # noqa: BLE001 - every exception becomes an outcome
            self.close()
            self._report_overrun(deadline)
            return self.outcome(started, error, deadline)
        self._report_overrun(deadline)
        return self.outcome(started)

    def _report_overrun(self, deadline: float | None) -> None:
        """Log where a transport that is not built on httpcore has not kept the deadline of an attempt."""
        if deadline is not None and self._trace is not None and not self._trace.lent:
            report_overrun(type(self.inner).__qualname__, self.clock.now() - deadline)

    def _read(self, response: httpx.Response, deadline: float | None) -> None:
        self.reading = True
        chunks, check = [], EncodingCheck(response.headers.get("content-encoding"))
        for chunk in response.stream:  # type: ignore[union-attr]
            chunks.append(chunk)
            check.feed(chunk)
            if deadline is not None and self.clock.now() >= deadline:
                raise DeadlineExceeded("the deadline is over and the body is not complete")
        _require_whole(check)
        response.stream.close()  # type: ignore[union-attr]
        response.stream = httpx.ByteStream(b"".join(chunks))

    def discard(self) -> None:
        """Close the response of the last attempt."""
        self.close()

    def close(self) -> None:
        """Close the response of the last attempt."""
        response = self._take_response()
        if response is not None:
            response.close()

    def fork(self) -> RacingHTTPXExchange:
        """Return an exchange that sends the same request on another thread."""
        return RacingHTTPXExchange(self.inner, copy_request(self.request), self.clock, stream=self.stream)

    def cancel(self) -> None:
        """Close the response of the last attempt."""
        self.close()

    def on_cancel(self, wake: Callable[[], object] | None) -> bool:  # noqa: ARG002
        """Return False: outside of races it is not cancelled while it waits."""
        return False


class RacingHTTPXExchange(CancellableExchange, HTTPXExchange):
    """An exchange that takes part in a race; a transport cannot interrupt an attempt, so that runs to its end."""


class AsyncHTTPXExchange(_BaseHTTPXExchange):
    """The attempts at one request, in a task."""

    is_async = True

    async def send(self, effect: Send) -> Outcome:
        """Make one attempt, and return its outcome."""
        await self.discard()
        started, deadline = self.clock.now(), effect.call.deadline
        try:
            request, left = self.prepare(effect.call)
            await self._send_within(left, request)
            if self.stream:
                self._hand_over(self.response, effect.call)
        except asyncio.CancelledError:
            self.give_back()
            await self.discard()
            raise
        except Exception as error:  # noqa: BLE001 - every exception becomes an outcome
            await self.discard()
            return self.outcome(started, error, deadline)
        return self.outcome(started)

    async def _send_within(self, seconds: float | None, request: httpx.Request) -> None:
        """Make the attempt within so many seconds.

        Not by `asyncio.wait_for`, which until Python 3.11 loses a cancellation that comes together with the response.
        """
        if seconds is None:
            return await self._send(request)
        task = asyncio.ensure_future(self._send(request))
        try:
            await asyncio.wait([task], timeout=seconds)
        except asyncio.CancelledError:
            await _cancel_and_wait(task)
            raise
        if not task.done():
            await _cancel_and_wait(task)
            raise DeadlineExceeded("the deadline is over and the response is not complete")
        try:
            return task.result()
        finally:
            del task  # see errors.py, "Errors and frames"

    async def _send(self, request: httpx.Request) -> None:
        self.response = response = await self.inner.handle_async_request(request)
        response.request = request  # as above
        if self.stream:
            return
        self.reading = True
        chunks, check = [], EncodingCheck(response.headers.get("content-encoding"))
        async for chunk in response.stream:
            chunks.append(chunk)
            check.feed(chunk)
        _require_whole(check)
        await response.stream.aclose()
        response.stream = httpx.ByteStream(b"".join(chunks))

    async def discard(self) -> None:
        """Close the response of the last attempt."""
        response = self._take_response()
        if response is not None:
            await response.aclose()


async def _cancel_and_wait(task: asyncio.Task[None]) -> None:
    """Cancel a task and wait for its end, however it ends."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _observe(response: httpx.Response) -> _ObservedStream:
    """Return the stream of a response, which from now on tells when it is over."""
    stream = response.stream
    if not isinstance(stream, _ObservedStream):
        response.stream = stream = _ObservedStream(stream, response.headers.get("content-encoding"))
    return stream


def _require_whole(check: EncodingCheck) -> None:
    """Raise what httpx raises for a body that is cut off, where a body ends within its content encoding."""
    if check.is_cut_off:
        raise httpx.RemoteProtocolError(TEXT)


def _is_read(response: httpx.Response) -> bool:
    """Return whether the body is in memory; then nothing is left to release, and closing would make it unreadable."""
    return type(response.stream) is httpx.ByteStream


def _decode_body(response: httpx.Response) -> bytes | None:
    """Return the decoded body of a response that was read, or None where it is too large or cannot be decoded."""
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


def copy_request(request: httpx.Request) -> httpx.Request:
    """Return a copy of a request, which can be sent at the same time and be traced apart."""
    stream: Any = request.stream
    extensions = dict(request.extensions)
    return httpx.Request(request.method, request.url, headers=request.headers, stream=stream, extensions=extensions)


def reroute(request: httpx.Request, call: Call) -> httpx.Request:
    """Return a copy of the request for the URL of the call; see `polvo_adapters.shells.requests.rerouting`."""
    headers, extensions, url = request.headers.copy(), dict(request.extensions), httpx.URL(call.url)
    if call.anonymous:
        for name in withheld_headers(headers.keys()):
            del headers[name]
    if origin(call.url) != origin(str(request.url)):
        headers["host"] = url.netloc.decode("ascii")  # httpx sets it only where it makes the body as well
        extensions.pop("sni_hostname", None)
    stream: Any = request.stream
    return httpx.Request(request.method, url, headers=headers, stream=stream, extensions=extensions)


def synthesize_response(outcome: Outcome, request: httpx.Request) -> httpx.Response:
    """Return the response for an outcome that a policy made and no server has sent."""
    named = synthesized_headers(outcome, request.method)
    headers = [(name.encode(), value.encode("utf-8", "replace")) for name, value in named.items()]  # text must be ASCII
    # As a stream, because a client sets `elapsed` when it has read the body.
    stream = httpx.ByteStream(outcome.body or b"")
    return httpx.Response(outcome.status, headers=headers, stream=stream, request=request)


def is_given_up(response: httpx.Response) -> bool:
    """Return whether a response was closed before its body was read."""
    if not response.is_closed:
        return False
    try:
        return response.content is None
    except httpx.ResponseNotRead:
        return True


def body_of(request: httpx.Request) -> Body:
    """Return whether the body of a request can be sent again."""
    if not isinstance(request.stream, httpx.ByteStream):
        return "once"
    return "replayable" if request.headers.get("content-length", "0") != "0" else "none"
