"""A network backend of httpcore whose every wait ends with the deadline of the request that it serves.

It wraps the backend of a connection pool, and the streams which that returns. Where a timeout is no `DeadlineTimeout`,
the call goes straight to what is wrapped. Otherwise each single wait gets what is left: the name is resolved on another
thread, each address gets a fair part, TLS and each block that is read or written get the rest.

What ends a wait are the exceptions of httpcore, because an HTTP/2 connection gives them to others that share it.
"""

from __future__ import annotations

import socket
import ssl
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import httpcore

from polvo_adapters.runtime.bounded import BOUNDED
from polvo_adapters.runtime.resolution import resolve
from polvo_adapters.shells.httpx.timeouts import DeadlineTimeout, limit
from polvo_adapters.shells.httpx.trace import ATTEMPT, note_connect

_CREATE_CONNECTION = socket.create_connection
_BLOCK = 16_384  # bytes that a stream of another kind writes within one timeout
_SYNC: Any = sys.modules.get("httpcore._backends.sync")
_PLAIN = getattr(_SYNC, "SyncStream", None)
_TLS_IN_TLS = getattr(_SYNC, "TLSinTLSStream", None)
_NOT_GIVEN: Any = object()


class DeadlineBackend(httpcore.NetworkBackend):
    """A network backend that keeps deadlines.

    Args:
        inner: The backend that it wraps.
    """

    def __init__(self, inner: httpcore.NetworkBackend) -> None:
        self._inner = inner
        self._timeout: float | None = None

    def copy(self) -> DeadlineBackend:
        """Return a backend for a single connection, which sleeps between its attempts no longer than it may."""
        return DeadlineBackend(self._inner)

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Return a connected stream; see `httpcore.NetworkBackend`."""

        def connect(host: str, port: int, timeout: float | None) -> httpcore.NetworkStream:
            return self._inner.connect_tcp(host, port, timeout, local_address, socket_options)

        self._timeout = timeout
        note_connect(host)
        if type(timeout) is not DeadlineTimeout:
            return DeadlineStream(connect(host, port, timeout))
        with _connecting(timeout):
            if type(self._inner) is httpcore.SyncBackend and socket.create_connection is _CREATE_CONNECTION:
                return DeadlineStream(_connect_to_any(connect, host, port, timeout), timeout)
            stream = BOUNDED.call(  # the caller's own way to connect, which may take its time
                timeout.clock,
                timeout.left,
                lambda: connect(host, port, limit(timeout)),
                discard=lambda stream: stream.close(),
            )
            return DeadlineStream(stream, timeout)

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.NetworkStream:
        """Return a connected stream; see `httpcore.NetworkBackend`."""
        self._timeout = timeout
        note_connect(path)
        with _connecting(timeout):
            return DeadlineStream(self._inner.connect_unix_socket(path, limit(timeout), socket_options))

    def sleep(self, seconds: float) -> None:
        """Wait before connecting once more, but not beyond the deadline of the request that waits for it."""
        timeout = self._timeout
        self._inner.sleep(min(seconds, max(timeout.left, 0.0)) if type(timeout) is DeadlineTimeout else seconds)


def _connect_to_any(
    connect: Callable[..., httpcore.NetworkStream], host: str, port: int, timeout: DeadlineTimeout
) -> httpcore.NetworkStream:
    """Return a stream to the first address of a host that takes the connection.

    Args:
        connect: Connects to an address.
        host: Name or address.
        port: Port.
        timeout: The timeout for each address; a silent one leaves a fair part of the deadline to those after it.
    """
    addresses = resolve(host, port, 0, limit(timeout), timeout.clock)
    failure: Exception | None = None
    for number, (_, _, _, _, address) in enumerate(addresses):
        seconds = limit(timeout)
        share = timeout.left / (len(addresses) - number)
        try:
            return connect(address[0], address[1], share if seconds is None else min(seconds, share))
        except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
            failure = error
    try:
        raise failure or OSError("getaddrinfo returns an empty list")
    finally:
        del failure  # see errors.py, "Errors and frames"


class DeadlineStream(httpcore.NetworkStream):
    """A stream that keeps deadlines.

    Args:
        inner: The stream that it wraps.
        timeout: What it was connected with, for a handshake that is given none: that of httpcore with a SOCKS proxy.
    """

    def __init__(self, inner: httpcore.NetworkStream, timeout: DeadlineTimeout | None = None) -> None:
        self._inner = inner
        self._handshake_timeout = timeout

    def read(self, max_bytes: int, timeout: float | None = _NOT_GIVEN) -> bytes:
        """Return what there is, and wait for it no longer than to the deadline."""
        trace = ATTEMPT.get()
        if trace is not None:
            trace.note_read()
        timeout = self._choose(timeout)
        if type(timeout) is not DeadlineTimeout:
            return self._inner.read(max_bytes, timeout)
        with self._waiting(timeout, httpcore.ReadTimeout, httpcore.ReadError):
            return self._inner.read(max_bytes, limit(timeout))

    def write(self, buffer: bytes, timeout: float | None = _NOT_GIVEN) -> None:
        """Write bytes, block by block, and wait for each no longer than to the deadline."""
        trace = ATTEMPT.get()
        if trace is not None:
            trace.note_write()
        timeout = self._choose(timeout)
        if type(timeout) is not DeadlineTimeout:
            self._inner.write(buffer, timeout)
            return
        view = memoryview(buffer)
        with self._waiting(timeout, httpcore.WriteTimeout, httpcore.WriteError):
            while view:
                view = view[self._write_some(view, timeout) :]

    def _choose(self, timeout: float | None) -> float | None:
        """Return the timeout of a read or write."""
        if timeout is _NOT_GIVEN:
            return self._handshake_timeout
        self._handshake_timeout = None
        return timeout

    @contextmanager
    def _waiting(self, timeout: float, late: type[Exception], broken: type[Exception]) -> Iterator[None]:
        try:
            with _waiting(late, broken):
                yield
        except BaseException:
            if timeout is self._handshake_timeout:  # httpcore does not close it
                self.close()
            raise

    def _write_some(self, view: memoryview, timeout: DeadlineTimeout) -> int:
        """Write the beginning of some bytes, and return how many."""
        if type(self._inner) is _PLAIN:
            sock = self._inner.get_extra_info("socket")
            sock.settimeout(limit(timeout))
            sent: int = sock.send(view)
            return sent
        self._inner.write(bytes(view[:_BLOCK]), limit(timeout))
        return min(len(view), _BLOCK)

    def close(self) -> None:
        """Close the stream."""
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        """Return a stream over TLS; see `httpcore.NetworkStream`."""
        inner, trace = self._inner, ATTEMPT.get()
        if trace is not None:
            trace.note_tls()
        try:
            with _connecting(timeout):
                seconds = limit(timeout)
                if _TLS_IN_TLS is not None and type(inner) is _PLAIN:
                    sock = inner.get_extra_info("socket")
                    if isinstance(sock, ssl.SSLSocket):  # each wait of its own would have the whole timeout
                        stream: httpcore.NetworkStream = _TLS_IN_TLS(
                            _DeadlineSocket(sock), ssl_context, server_hostname, timeout
                        )
                        return stream
                return DeadlineStream(inner.start_tls(ssl_context, server_hostname, seconds))
        except BaseException:
            self.close()
            raise

    def get_extra_info(self, info: str) -> Any:
        """Return what the wrapped stream knows of itself."""
        return self._inner.get_extra_info(info)


class _DeadlineSocket:
    """A socket below TLS within TLS, whose every wait ends with the deadline of its timeout."""

    def __init__(self, sock: ssl.SSLSocket) -> None:
        self._sock = sock
        self._timeout: float | None = None

    def settimeout(self, timeout: float | None) -> None:
        self._timeout = timeout

    def recv(self, size: int) -> bytes:
        self._sock.settimeout(limit(self._timeout))
        return self._sock.recv(size)

    def sendall(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            self._sock.settimeout(limit(self._timeout))
            view = view[self._sock.send(view) :]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


@contextmanager
def _waiting(late: type[Exception], broken: type[Exception]) -> Iterator[None]:
    """Raise the exceptions of httpcore in place of those of a socket."""
    try:
        yield
    except TimeoutError as error:
        raise late(str(error)) from error
    except OSError as error:
        raise broken(str(error)) from error


@contextmanager
def _connecting(timeout: float | None) -> Iterator[None]:
    """The same while a connection is made, and after the deadline one that httpcore does not connect once more for."""
    try:
        with _waiting(httpcore.ConnectTimeout, httpcore.ConnectError):
            yield
    except (httpcore.ConnectTimeout, httpcore.ConnectError) as error:
        if type(timeout) is DeadlineTimeout and timeout.left <= 0:
            raise httpcore.TimeoutException(str(error)) from error
        raise
