"""Responses of the standard library that obey a deadline at every wait for bytes, and have complete headers.

Theory of operation. A read timeout bounds one silence of the server. A server that sends a byte a second, in head or
body, is never silent for long, so no read timeout ends it. Below urllib3, each wait for bytes is one `readinto` of the
raw file that a response reads from. With a deadline, a reader around that file limits every single wait to what is left
of it. Without one there is no such reader.

A connection that closes in the middle of the response headers looks like the end of the headers to the standard
library: the caller gets a 200 with an empty body. `TracedResponse` raises instead.
"""

from __future__ import annotations

import io
from http.client import HTTPResponse, IncompleteRead
from typing import Any

from polvo_adapters.core.trace import BODY, HEAD
from polvo_adapters.shells.requests.wire.transmission import CONNECTION_BOUND, Transmission

_CHALLENGES = (401, 407)


def make_response(
    transmission: Transmission, sock: Any, debuglevel: int, method: str | None, patience: float | None, *, tunnel: bool
) -> TracedResponse:
    """Return a response to be read from a socket.

    Args:
        transmission: The attempt that it belongs to.
        sock: The socket.
        debuglevel: As for `http.client.HTTPResponse`.
        method: Method of the request.
        patience: Longest silence of the server in seconds, or None.
        tunnel: Whether it is that of a proxy that was asked for a tunnel.
    """
    kind = _TunnelResponse if tunnel else TracedResponse if transmission.sockets is None else _TrackedResponse
    response = kind(sock, debuglevel, method)
    response._transmission = transmission
    if isinstance(response, _TrackedResponse):
        response._track(sock)
    if transmission.deadline is not None:
        response.fp = io.BufferedReader(DeadlineReader(response.fp, sock, patience, transmission))
    return response


class TracedResponse(HTTPResponse):
    """A response that keeps the trace of its attempt, and whose head must be complete."""

    _transmission: Transmission

    def begin(self) -> None:
        """Read status and headers; raise where the connection closes before they are complete."""
        file: Any = self.fp
        transmission = self._transmission
        whole = hasattr(file, "peek") and b"\r\n\r\n" in file.peek(1)  # the complete head, as nearly always
        marks, now = transmission.marks, transmission.now
        marks.append((HEAD, now()))
        if whole:
            HTTPResponse.begin(self)
        else:
            self._begin_in_pieces(file)
        marks.append((BODY, now()))
        if self.status in _CHALLENGES:
            transmission.bind_if(_offers_connection_bound(self.headers))

    def _begin_in_pieces(self, file: Any) -> None:
        head: Any = _Head(file)
        self.fp = head
        try:
            super().begin()
        finally:
            if self.fp is head:  # else it was closed
                self.fp = file
        if head.cut and not self.chunked and not self.length:  # else the body will prove to be incomplete
            raise IncompleteRead(b"")


class _TrackedResponse(TracedResponse):
    """A response whose socket another thread may shut."""

    _tracked: Any = None

    def _track(self, sock: Any) -> None:
        self._tracked = sock
        self._transmission.sockets.add(sock)  # type: ignore[union-attr]  # there are some, where it is tracked

    def _close_conn(self) -> None:
        """Close the file of the response, before urllib3 lends the connection again."""
        tracked, self._tracked = self._tracked, None
        if tracked is not None:
            self._transmission.sockets.remove(tracked)  # type: ignore[union-attr]
        super()._close_conn()  # type: ignore[misc]  # not in the stubs


class _TunnelResponse(TracedResponse):
    """The response of a proxy that was asked for a tunnel."""

    def _read_status(self) -> tuple[str, int, str]:
        version, status, reason = super()._read_status()  # type: ignore[misc]  # not in the stubs
        if status != 200:
            self._transmission.proxy_status = status
        return version, status, reason


class _Head:
    """The file of a response, which notes whether it ended within the head."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.cut = False

    def readline(self, limit: int = -1) -> bytes:
        line: bytes = self._file.readline(limit)
        self.cut = not line
        return line

    def close(self) -> None:
        self._file.close()


class DeadlineReader(io.RawIOBase):
    """The raw file of a response, each wait of which ends with the deadline of the transmission.

    Args:
        file: The buffered file that it reads from.
        sock: The socket below that file.
        patience: Timeout of a wait in seconds that holds without the deadline, where the socket cannot tell its own.
        transmission: The attempt.
    """

    def __init__(self, file: Any, sock: Any, patience: float | None, transmission: Transmission) -> None:
        self._file, self._sock, self._transmission = file, sock, transmission
        self._get_timeout = getattr(sock, "gettimeout", lambda: patience)  # pyOpenSSL's cannot

    def readable(self) -> bool:
        """Return True."""
        return True

    def fileno(self) -> int:
        """Return the descriptor of the socket, for code that takes it over, such as docker's."""
        descriptor: int = self._sock.fileno()
        return descriptor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file.raw, name)  # what code that knows the file below looks for, such as `name`

    def readinto(self, buffer: Any) -> int | None:
        """Read what there is, and wait for it no longer than to the deadline."""
        patience = self._get_timeout()
        seconds = self._transmission.limit(patience)
        if seconds == patience:
            return self._file.readinto1(buffer)  # type: ignore[no-any-return]
        self._sock.settimeout(seconds)
        try:
            count: int | None = self._file.readinto1(buffer)
        finally:
            self._sock.settimeout(patience)
        return count

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()


def _offers_connection_bound(headers: Any) -> bool:
    values = (headers.get("WWW-Authenticate") or "", headers.get("Proxy-Authenticate") or "")
    return any(scheme in value.lower() for value in values for scheme in CONNECTION_BOUND)
