"""Connection pools of httpcore that keep deadlines: the pools of transports of httpx are made to.

**Connections that were never used.** A pool makes a connection for a request that waits for one. Where that request is
cancelled before it has begun to use it, httpcore (1.0) forgets the request and keeps the connection, which is never
opened, never idle and never closed: a place in the pool is lost for ever. As a request stays in the pool until its
response is closed, a connection in use that no request refers to is such a one, and is taken out.

**Responses that are half closed.** httpcore closes a response in a scope of anyio that is shielded, which a task of
asyncio is cancelled through. The request then stays in the pool, and its connection in use. So the rest is done here.

**Connections that are made while the pool is closed.** httpcore forgets a connection that is still being opened, and
makes another one for a request that was about to be sent; both are then open for ever. They are closed with the
last response that they bring.

**Retries of connections.** A transport of httpx with `retries=3` connects four times for each attempt. Where the
policies above it retry, a connection that is made for one of their requests, which says so by `CONNECTS_ONCE`, connects
once. Other requests through that pool connect as often as before.

What is set here are private attributes of httpx and httpcore. Where one is not what it is known to be, the pool stays
as it is, and each wait gets what was left when the attempt began.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from functools import lru_cache
from typing import Any

import httpcore
import httpx

from polvo_adapters.shells.extended_class import extend
from polvo_adapters.shells.httpx.async_network import AsyncDeadlineBackend
from polvo_adapters.shells.httpx.network import DeadlineBackend
from polvo_adapters.shells.httpx.pool_loops import leave_loop
from polvo_adapters.shells.httpx.timeouts import DeadlineTimeout, limit

_DEPTH = 4
CONNECTS_ONCE = "polvo_connects_once"
"""The extension of a request by which its connection is not to be made by several attempts."""


def keep_deadlines(transport: Any, depth: int = _DEPTH) -> None:
    """Let the pool of a transport keep the deadlines of the requests that it serves; without one, nothing changes.

    Connections that it has already stay as they are.

    Args:
        transport: A transport of httpx, or one that holds another one.
        depth: How many transports may hold each other.
    """
    pool = getattr(transport, "_pool", None)
    backend = getattr(pool, "_network_backend", None)
    if isinstance(pool, httpcore.ConnectionPool) and isinstance(backend, httpcore.NetworkBackend):
        _extend(pool, backend)
    elif isinstance(pool, httpcore.AsyncConnectionPool) and isinstance(backend, httpcore.AsyncNetworkBackend):
        if isinstance(pool, _AsyncPool):
            pool._was_closed = False  # it is to be used again
        if not isinstance(backend, AsyncDeadlineBackend):
            notes_steps = _can_note_steps(pool)
            pool._network_backend = AsyncDeadlineBackend(backend)
            with suppress(TypeError):  # a class with slots
                kind: Any = type(pool)
                pool.__class__ = _extended_async_pool(kind)
                pool.__dict__["notes_steps"] = notes_steps
    elif depth:
        for value in list(getattr(transport, "__dict__", {}).values()):
            if isinstance(value, (httpx.BaseTransport, httpx.AsyncBaseTransport)):
                keep_deadlines(value, depth - 1)


def _can_note_steps(pool: Any) -> bool:
    """Return whether all connections that a pool makes from now on can note the steps of an attempt."""
    is_new = type(pool) in (httpcore.ConnectionPool, httpcore.AsyncConnectionPool) and not pool.connections
    return is_new and not getattr(pool, "_http2", True) and not getattr(pool, "_proxy", None)


def find_pool(transport: Any, depth: int = _DEPTH) -> Any:
    """Return the pool of a transport, or of the first that it holds, or None.

    Args:
        transport: A transport of httpx, or one that holds another one.
        depth: How many transports may hold each other.
    """
    pool = getattr(transport, "_pool", None)
    if isinstance(pool, (httpcore.ConnectionPool, httpcore.AsyncConnectionPool)):
        return pool
    for value in list(getattr(transport, "__dict__", {}).values()) if depth else ():
        if isinstance(value, (httpx.BaseTransport, httpx.AsyncBaseTransport)):
            found = find_pool(value, depth - 1)
            if found is not None:
                return found
    return None


def retries_connections(transport: Any) -> bool:
    """Return whether the pool of a transport makes a connection by several attempts."""
    return bool(getattr(find_pool(transport), "_retries", 0))


def _extend(pool: Any, backend: httpcore.NetworkBackend) -> None:
    if isinstance(pool, _Pool):
        return
    kind: Any = type(pool)
    notes_steps = _can_note_steps(pool)
    try:
        pool.__class__ = _extended_pool(kind)
    except TypeError:  # a class with slots
        return
    pool.__dict__["notes_steps"] = notes_steps
    pool._network_backend = DeadlineBackend(backend)
    lock = getattr(pool, "_optional_thread_lock", None) or getattr(pool, "_pool_lock", None)
    if lock is not None and type(getattr(pool, "_requests", None)) is list:
        with lock:
            pool._requests = _Queue(pool._requests)


@lru_cache(maxsize=64)
def _extended_pool(kind: Any) -> type:
    return extend(kind, _Pool)  # type: ignore[no-any-return]


@lru_cache(maxsize=64)
def _extended_async_pool(kind: Any) -> type:
    return extend(kind, _AsyncPool)  # type: ignore[no-any-return]


class _TidyPool:
    """Mixin of pools that take out connections which were made for a request that was cancelled.

    Attributes:
        notes_steps: Whether all its connections note the steps of an attempt; see `polvo_adapters.shells.httpx.trace`.
    """

    notes_steps = False
    _connections: list[Any]
    _requests: list[Any]

    def create_connection(self, origin: Any) -> Any:
        connection = super().create_connection(origin)  # type: ignore[misc]
        if getattr(connection, "_retries", 0) and hasattr(connection, "_connect"):
            with suppress(TypeError):  # a class with slots
                kind: Any = type(connection)
                connection.__class__ = _extended_connection(kind)
        return connection

    def _assign_requests_to_connections(self) -> Any:
        used = {id(getattr(request, "connection", None)) for request in self._requests}
        lost = [
            connection
            for connection in self._connections
            if id(connection) not in used and not connection.is_idle() and not connection.is_closed()
        ]
        for connection in lost:
            self._connections.remove(connection)
        return [*lost, *super()._assign_requests_to_connections()]  # type: ignore[misc]


@lru_cache(maxsize=64)
def _extended_connection(kind: Any) -> type:
    return extend(kind, _Connection)  # type: ignore[no-any-return]


class _Connection:
    """Mixin of a connection of threads or tasks, which is made at once, or not, where its first request says so."""

    _retries: int

    def _connect(self, request: httpcore.Request) -> Any:
        if request.extensions.get(CONNECTS_ONCE):
            self._retries = 0
        connecting: Any = super()
        return connecting._connect(request)


class _AsyncPool(_TidyPool):
    """Mixin of pools whose responses can be closed by a task that is cancelled, and close what the pool has lost."""

    _was_closed = False

    async def __aenter__(self) -> Any:
        self._was_closed = False
        return await super().__aenter__()  # type: ignore[misc]

    async def aclose(self) -> None:
        self._was_closed = True
        await super().aclose()  # type: ignore[misc]
        await leave_loop(self)

    async def handle_async_request(self, request: httpcore.Request) -> httpcore.Response:
        response: httpcore.Response = await super().handle_async_request(request)  # type: ignore[misc]
        if _PoolByteStream is not None and type(response.stream) is _PoolByteStream:
            response.stream.__class__ = _ClosingStream
        return response


_PoolByteStream: Any = getattr(sys.modules.get("httpcore._async.connection_pool"), "PoolByteStream", None)
_Base: Any = object if _PoolByteStream is None else _PoolByteStream


class _ClosingStream(_Base):  # type: ignore[misc]
    """The body of a response, which leaves nothing in the pool if it is cancelled while it closes, nor behind it."""

    async def aclose(self) -> None:
        try:
            await super().aclose()
        except BaseException:
            pool, request = self._pool, self._pool_request
            with pool._optional_thread_lock:
                is_left = request in pool._requests
                if is_left:
                    pool._requests.remove(request)
                closing = pool._assign_requests_to_connections() if is_left else []
            await pool._close_connections(closing)
            raise
        if self._pool._was_closed:
            await self._close_lost(self._pool_request.connection)

    async def _close_lost(self, connection: Any) -> None:
        """Close the connection of a closed pool, unless other requests share it, as those of HTTP/2 do."""
        if connection is None or any(request.connection is connection for request in self._pool._requests):
            return
        with suppress(ValueError):
            self._pool._connections.remove(connection)
        await connection.aclose()


class _Pool(_TidyPool):
    """Mixin of pools whose connections keep deadlines."""

    def create_connection(self, origin: Any) -> Any:
        connection = super().create_connection(origin)
        backend = getattr(connection, "_network_backend", None)
        if isinstance(backend, DeadlineBackend):
            connection._network_backend = backend.copy()
        return connection


class _Queue(list[Any]):
    """The requests of a pool, each of which waits for a connection no longer than to its deadline."""

    def append(self, request: Any) -> None:
        """Append a request, with its state in the pool."""
        asked = getattr(request, "request", None)
        timeouts = asked.extensions.get("timeout") if isinstance(asked, httpcore.Request) else None
        if timeouts and type(timeouts.get("pool")) is DeadlineTimeout:
            kind: Any = type(request)
            request.__class__ = _extended_request(kind)
        super().append(request)


@lru_cache(maxsize=64)
def _extended_request(kind: Any) -> type:
    return extend(kind, _PoolRequest)  # type: ignore[no-any-return]


class _PoolRequest:
    """Mixin of a request in a pool, which may have to wait several times: another one may be faster."""

    def wait_for_connection(self, timeout: float | None = None) -> Any:
        try:
            timeout = limit(timeout)
        except TimeoutError:
            timeout = 0.0  # it may have a connection already, which must not be lost
        return super().wait_for_connection(timeout)  # type: ignore[misc]
