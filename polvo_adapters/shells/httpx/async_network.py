"""A network backend of httpcore, for tasks, that closes the socket of a handshake which is cancelled.

A task is cancelled at its deadline, wherever it waits. httpcore does not close a connection whose TLS or SOCKS
handshake is cancelled, and the event loop would hold the socket as long as the server keeps it open.
"""
# ruff: noqa: ASYNC109 - the timeouts are those of httpcore

from __future__ import annotations

import ssl
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

import anyio
import httpcore

from polvo_adapters.shells.httpx.trace import ATTEMPT, note_connect

T = TypeVar("T")

_NOT_GIVEN: Any = object()


class AsyncDeadlineBackend(httpcore.AsyncNetworkBackend):
    """A network backend whose handshakes may be cancelled.

    Args:
        inner: The backend that it wraps.
    """

    def __init__(self, inner: httpcore.AsyncNetworkBackend) -> None:
        self._inner = inner

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Return a connected stream; see `httpcore.AsyncNetworkBackend`."""
        note_connect(host)
        return _Stream(await self._inner.connect_tcp(host, port, timeout, local_address, socket_options))

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.AsyncNetworkStream:
        """Return a connected stream; see `httpcore.AsyncNetworkBackend`."""
        note_connect(path)
        return _Stream(await self._inner.connect_unix_socket(path, timeout, socket_options))

    async def sleep(self, seconds: float) -> None:
        """Wait before connecting once more."""
        await self._inner.sleep(seconds)


class _Stream(httpcore.AsyncNetworkStream):
    """A stream whose handshakes may be cancelled: that of TLS, and that of SOCKS, which httpcore gives no timeout."""

    def __init__(self, inner: httpcore.AsyncNetworkStream) -> None:
        self._inner = inner

    # Neither is a coroutine itself, of which there would be two for every read and write.

    def read(self, max_bytes: int, timeout: float | None = _NOT_GIVEN) -> Coroutine[Any, Any, bytes]:
        trace = ATTEMPT.get()
        if trace is not None:
            trace.note_read()
        return (
            self._closing(self._inner.read(max_bytes))
            if timeout is _NOT_GIVEN
            else self._inner.read(max_bytes, timeout)
        )

    def write(self, buffer: bytes, timeout: float | None = _NOT_GIVEN) -> Coroutine[Any, Any, None]:
        trace = ATTEMPT.get()
        if trace is not None:
            trace.note_write()
        return self._closing(self._inner.write(buffer)) if timeout is _NOT_GIVEN else self._inner.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        trace = ATTEMPT.get()
        if trace is not None:
            trace.note_tls()
        return _Stream(await self._closing(self._inner.start_tls(ssl_context, server_hostname, timeout)))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)

    async def _closing(self, handshake: Coroutine[Any, Any, T]) -> T:
        """Return what a step of a handshake returns, and close the stream where it fails."""
        try:
            return await handshake
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self.aclose()
            raise
