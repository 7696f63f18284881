"""One attempt through an httpx transport: what `Send` means there, synchronously and in a task.

As `polvo_adapters.shells.requests.exchange`, except that a transport of httpx knows no redirects and no certificates of
single requests, takes the timeout from each request, and returns bodies as they came over the wire.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import httpx

from polvo_adapters.core.calls import Body, Call
from polvo_adapters.core.effects import Send
from polvo_adapters.core.outcomes import Ending, Outcome, at_deadline
from polvo_adapters.core.trace import Mark
from polvo_adapters.errors import DeadlineExceeded
from polvo_adapters.shells.cancellation import CancellableExchange
from polvo_adapters.shells.encodings import EncodingCheck
from polvo_adapters.shells.httpx.failures import explain
from polvo_adapters.shells.httpx.observed_body import observe, require_whole
from polvo_adapters.shells.httpx.renewal import RenewableCredential, find_credential
from polvo_adapters.shells.httpx.rerouting import copy_request, reroute, translate_response
from polvo_adapters.shells.httpx.response import decode_body, is_read
from polvo_adapters.shells.httpx.timeouts import DeadlineTimeout
from polvo_adapters.shells.httpx.trace import HTTPXTrace
from polvo_adapters.shells.late_credentials import LONG_WAIT, NO_CREDENTIAL
from polvo_adapters.shells.overruns import report_overrun
from polvo_adapters.shells.single_use import is_single_use

_LARGEST_REFUSAL = 1 << 20  # bytes of a body that is kept when its connection is needed
_TIMEOUTS = ("connect", "read", "write", "pool")


class _KeptBody:
    """The body of a refused response, which its reader has not seen yet."""

    def __init__(self) -> None:
        self.whole = False
        self._data = bytearray()

    def add(self, chunk: bytes) -> bool:
        """Add a chunk, and return whether the body is still small enough to be kept."""
        self._data += chunk
        return len(self._data) <= _LARGEST_REFUSAL

    def put_into(self, response: httpx.Response) -> None:
        """Let the response have this body, or none where it is not whole."""
        response.stream = httpx.ByteStream(bytes(self._data) if self.whole else b"")


class _BaseHTTPXExchange:
    """What synchronous and asynchronous exchanges have in common.

    Args:
        inner: The transport to send through.
        request: The request of the client.
        clock: Time.
        stream: Whether responses are returned before their body is read.
        without_certificate: The transport for requests that are to hold no credential; by default the same.
    """

    is_async = False

    def __init__(
        self, inner: Any, request: httpx.Request, clock: Any, *, stream: bool, without_certificate: Any = None
    ) -> None:
        self.inner = self._used = inner
        self._without_certificate = inner if without_certificate is None else without_certificate
        self.request = request
        self.clock = clock
        self.stream = stream
        self.reading = self._is_region = self._sent = False
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
            unsent = not self.reading and (trace is None or trace.proves_unsent(self._used, error))
            failure = at_deadline(explain(error, trace, reading=self.reading, unsent=unsent), now, deadline)
            ending = Ending("retry", str(error)) if isinstance(error, NO_CREDENTIAL) else None
            return Outcome(
                error=error,
                failure=failure,
                started=started,
                now=now,
                wall=wall,
                unsent=unsent,
                marks=marks,
                ending=ending,
            )
        if response is None:
            raise TypeError("an attempt without response and without error")
        if response.request is not self.request:
            translate_response(response, self.request, is_region=self._is_region)
        body = decode_body(response) if not self.stream and is_read(response) else None
        return Outcome(
            response,
            response.status_code,
            response.headers,
            None,
            None,
            started,
            now,
            wall,
            "",
            body,
            False,
            marks,
            judged=[],
        )

    def _find_late_credential(self, call: Call, started: float) -> RenewableCredential | None:
        """Return what renews the credential before this attempt, or None where it was put there just now."""
        is_late = self._sent or started - call.started >= LONG_WAIT
        self._sent = True
        return find_credential(self.request) if is_late else None

    def _find_rerouted_credential(self, call: Call, request: httpx.Request) -> RenewableCredential | None:
        """Return what renews the credential of a request to another URL, which the proof of a token covers, or None."""
        return None if request is self.request or call.anonymous else find_credential(request)

    def prepare(self, call: Call) -> tuple[httpx.Request, float | None]:
        """Return the request for the URL and the deadline of the call, and the seconds left."""
        self.reading, self._is_region = False, not call.rerouted
        self._used = self._without_certificate if call.anonymous else self.inner
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
        observe(response).on_body_closed.add(action)
        return True

    def fork(self) -> _BaseHTTPXExchange:
        """Return an exchange that sends the same request at the same time."""
        fork = self._racing_class()(
            self.inner,
            copy_request(self.request),
            self.clock,
            stream=self.stream,
            without_certificate=self._without_certificate,
        )
        fork._sent = True
        return fork

    def _racing_class(self) -> type[_BaseHTTPXExchange]:
        return type(self)

    def owns(self, outcome: Outcome) -> bool:
        """Return whether the response of an outcome is the one that was received last."""
        return outcome.response is not None and outcome.response is self.response

    def adopt(self, fork: _BaseHTTPXExchange) -> None:
        """Take over the response that a fork received last."""
        self.response, fork.response = fork.response, None

    def _hand_over(self, response: Any, call: Call) -> None:
        """Look after the body of a response that the caller will read."""
        if is_read(response):
            return
        if call.deadline is not None:
            observe(response).limit(call.deadline, self.clock, call.host)
        elif "content-encoding" in response.headers:
            observe(response)

    def _take_response(self) -> httpx.Response | None:
        """Return the response of the last attempt where it has to be closed, and forget it."""
        response, self.response = self.response, None
        return None if response is None or is_read(response) else response


class HTTPXExchange(_BaseHTTPXExchange):
    """The attempts at one request, on the calling thread."""

    def _shorten(self, timeout: float | None, deadline: float, left: float) -> float:  # noqa: ARG002
        return DeadlineTimeout(timeout, deadline, self.clock)

    def send(self, effect: Send) -> Outcome:
        """Make one attempt, and return its outcome."""
        self.discard()
        started, deadline = self.clock.now(), effect.call.deadline
        try:
            credential = self._find_late_credential(effect.call, started)
            if credential is not None:
                credential.renew(self.request)
            request, _ = self.prepare(effect.call)
            credential = self._find_rerouted_credential(effect.call, request)
            if credential is not None:
                credential.renew(request)
            self.response = response = self._used.handle_request(request)
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
            report_overrun(type(self._used).__qualname__, self.clock.now() - deadline)

    def _read(self, response: httpx.Response, deadline: float | None) -> None:
        self.reading = True
        chunks, check = [], EncodingCheck(response.headers.get("content-encoding"))
        for chunk in response.stream:  # type: ignore[union-attr]
            chunks.append(chunk)
            check.feed(chunk)
            if deadline is not None and self.clock.now() >= deadline:
                raise DeadlineExceeded("the deadline is over and the body is not complete")
        require_whole(check)
        response.stream.close()  # type: ignore[union-attr]
        response.stream = httpx.ByteStream(b"".join(chunks))

    def discard(self) -> None:
        """Take the response of the last attempt from its connection; its body stays readable if it is small."""
        response = self._take_response()
        if response is None:
            return
        kept = _KeptBody()
        with suppress(Exception):  # the response was refused, and what is wrong with its body matters no more
            kept.whole = all(map(kept.add, response.stream))  # type: ignore[arg-type]
        response.stream.close()  # type: ignore[union-attr]
        kept.put_into(response)

    def close(self) -> None:
        """Close the response of the last attempt."""
        response = self._take_response()
        if response is not None:
            response.close()

    def _racing_class(self) -> type[HTTPXExchange]:
        return RacingHTTPXExchange

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
            credential = self._find_late_credential(effect.call, started)
            if credential is not None:
                await credential.renew_async(self.request)
            request, left = self.prepare(effect.call)
            credential = self._find_rerouted_credential(effect.call, request)
            if credential is not None:
                await credential.renew_async(request)
            await self._send_within(left, request)
            if self.stream:
                self._hand_over(self.response, effect.call)
        except asyncio.CancelledError:
            self.give_back()
            await self.close()
            raise
        except Exception as error:  # noqa: BLE001 - every exception becomes an outcome
            await self.close()
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
        self.response = response = await self._used.handle_async_request(request)
        response.request = request  # as above
        if self.stream:
            return
        self.reading = True
        chunks, check = [], EncodingCheck(response.headers.get("content-encoding"))
        async for chunk in response.stream:
            chunks.append(chunk)
            check.feed(chunk)
        require_whole(check)
        await response.stream.aclose()
        response.stream = httpx.ByteStream(b"".join(chunks))

    async def close(self) -> None:
        """Close the response of the last attempt."""
        response = self._take_response()
        if response is not None:
            await response.aclose()

    async def discard(self) -> None:
        """Take the response of the last attempt from its connection; its body stays readable if it is small."""
        response = self._take_response()
        if response is None:
            return
        kept = _KeptBody()
        try:
            async for chunk in response.stream:  # type: ignore[union-attr]
                kept.whole = kept.add(chunk)
                if not kept.whole:
                    break
        except Exception:  # noqa: BLE001 - as above
            kept.whole = False
        await response.stream.aclose()  # type: ignore[union-attr]
        kept.put_into(response)


async def _cancel_and_wait(task: asyncio.Task[None]) -> None:
    """Cancel a task and wait for its end, however it ends."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def body_of(request: httpx.Request) -> Body:
    """Return whether the body of a request can be sent again."""
    if not isinstance(request.stream, httpx.ByteStream):
        return "rewindable" if _is_form_that_rewinds(request.stream) else "once"
    if "authorization" in request.headers and is_single_use(request.headers["authorization"]):
        return "single-use"  # httpx asks auth objects above its transports
    return "replayable" if request.headers.get("content-length", "0") != "0" else "none"


def _is_form_that_rewinds(stream: object) -> bool:
    """Return whether a body is a form of `data=` and `files=` which httpx renders again from the start of its files.

    The class is a private one of httpx; what is not known to be one can be read once.
    """
    fields = getattr(stream, "fields", None)
    if type(stream).__name__ != "MultipartStream" or not isinstance(fields, list):
        return False
    return all(_rewinds(getattr(field, "file", b"")) for field in fields)


def _rewinds(file: Any) -> bool:
    if isinstance(file, (str, bytes)):
        return True
    try:
        return bool(getattr(file, "seekable", lambda: hasattr(file, "seek"))())
    except (OSError, ValueError):  # such as a file that is closed
        return False
