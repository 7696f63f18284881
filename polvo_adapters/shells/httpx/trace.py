"""The trace of an attempt through an httpx transport, from the events that httpcore tells.

httpcore calls the extension `trace` of a request at every step, before it is taken: the same facts as those that the
connections of `polvo_adapters.shells.requests.wire` note themselves. A transport that is not built on httpcore, or
sends other requests than the one it was given, tells nothing, and so proves nothing.

**Without events.** For every event httpcore makes a coroutine and several objects, ten times per request, which takes
longer than all policies. The pools are made to keep deadlines anyhow, so their connections note the same steps in the
trace of the attempt that the thread or task is making: `ATTEMPT`. That holds for HTTP/1.1 without a proxy, where no
other one writes for this one, and for bodies in memory, which cannot fail; all else is told by events. So is an attempt
that begins while the context has the trace of another one: a resolver that is asked over HTTP, or tasks that share a
context. The first then has steps of both, and the second all of its own; a step that is missing would prove too much.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import httpx

from polvo_adapters.core.trace import BODY, CONNECT, PROXY, QUEUE, SEND, TLS, WAIT, Trace

_PHASES = {
    "setup_socks5_connection": PROXY,
    "start_tls": TLS,
    "receive_response_headers": WAIT,
    "receive_response_body": BODY,
}
_HANDLERS = (httpx.HTTPTransport.handle_request, httpx.AsyncHTTPTransport.handle_async_request)
_BEFORE_CONNECTING = (httpx.PoolTimeout, httpx.UnsupportedProtocol)
_DEPTH = 8


ATTEMPT: ContextVar[HTTPXTrace | None] = ContextVar("attempt", default=None)
"""The trace of the attempt of the current thread or task, where its connection notes the steps itself."""


def note_connect(address: str) -> None:
    """Note that a connection is made for the attempt of the current thread or task."""
    trace = ATTEMPT.get()
    if trace is not None:
        trace.note_connect(address)


class HTTPXTrace(Trace):
    """The trace of one attempt.

    Args:
        began: When the attempt began.
        now: Reads the clock.
        listener: The extension `trace` that the request came with, or None.

    Attributes:
        is_over: Whether the attempt is over, whose trace a task that was begun within it still has in its context.
        error: The last exception of httpcore.
        body_error: What ended the sending of the body: an exception of httpcore, or what the body itself raised.
    """

    # Most of them are never set, so that a trace is made in half the time.
    untraced = proxy_status = 0
    sent = is_over = False
    error: BaseException | None = None
    body_error: BaseException | None = None

    def __init__(self, began: float, now: Callable[[], float], listener: Any) -> None:
        self.marks, self.lent = [(QUEUE, began)], 0
        self._now, self._listener = now, listener

    def note_connect(self, address: str) -> None:
        """Note that the connection is being made."""
        self.lent = 1
        self.marks.append((f"{CONNECT} {address}", self._now()))

    def note_tls(self) -> None:
        """Note that TLS begins."""
        self.marks.append((TLS, self._now()))

    def note_write(self) -> None:
        """Note that something is handed to the connection: the request."""
        if not self.sent:
            self.sent, self.lent = True, 1
            self.marks.append((SEND, self._now()))

    def note_read(self) -> None:
        """Note that something is read from the connection: the response."""
        if self.marks[-1][0] is SEND:
            self.marks.append((WAIT, self._now()))

    def note_body(self) -> None:
        """Note that the body of the response is read."""
        if self.sent:
            self.marks.append((BODY, self._now()))

    def proves_unsent(self, transport: Any, error: BaseException) -> bool:
        """Return whether no byte of the request was handed to a socket, for an attempt that ended with an error.

        Args:
            transport: The transport.
            error: The exception; one that httpcore has not raised itself proves nothing.
        """
        if self.sent:
            return False
        handlers = [vars(type(transport)).get(name) for name in ("handle_request", "handle_async_request")]
        if any(handler in _HANDLERS for handler in handlers):
            return self.lent > 0 or isinstance(error, _BEFORE_CONNECTING)
        return self.error is not None and _holds(error, self.error)

    def take(self, event: str, info: dict[str, Any]) -> None:
        """Note what httpcore tells, as the extension `trace` of a request."""
        if not event.endswith(".complete"):
            self._note(event, info)
        if self._listener is not None:
            self._listener(event, info)

    async def take_async(self, event: str, info: dict[str, Any]) -> None:
        """Do as `take`, for requests that a task sends."""
        if not event.endswith(".complete"):
            self._note(event, info)
        if self._listener is not None:
            await self._listener(event, info)

    def _note(self, event: str, info: dict[str, Any]) -> None:
        _, _, step = event.partition(".")
        name, _, state = step.rpartition(".")
        if state == "failed":
            self.error = info.get("exception")
            if name == "send_request_body":
                self.body_error = self.error
        elif state == "started":
            self._begin(name, info)

    def _begin(self, name: str, info: dict[str, Any]) -> None:
        self.lent = 1
        phase = _PHASES.get(name, "")
        if name in ("send_request_headers", "send_request_body"):
            if getattr(info.get("request"), "method", b"") == b"CONNECT":
                phase = PROXY
            elif not self.sent:
                self.sent, phase = True, SEND
        elif name in ("connect_tcp", "connect_unix_socket"):
            phase = f"{CONNECT} {info.get('host') or info.get('path', '')}"
        if phase:
            self.marks.append((phase, self._now()))


def _holds(error: BaseException | None, wanted: BaseException) -> bool:
    """Return whether an exception is another one, or was raised from it."""
    for _ in range(_DEPTH):
        if error is None or error is wanted:
            break
        error = error.__cause__
    return error is wanted
