"""Connection pools of httpcore that keep deadlines: the pools of transports of httpx are made to.

What is set here are private attributes of httpx and httpcore. Where one is not what it is known to be, the pool stays
as it is, and each wait gets what was left when the attempt began.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import httpcore
import httpx

from polvo_adapters.shells.extended_class import extend
from polvo_adapters.shells.httpx.async_network import AsyncDeadlineBackend
from polvo_adapters.shells.httpx.network import DeadlineBackend
from polvo_adapters.shells.httpx.timeouts import DeadlineTimeout, limit

_DEPTH = 4


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
        if not isinstance(backend, AsyncDeadlineBackend):
            pool._network_backend = AsyncDeadlineBackend(backend)
    elif depth:
        for value in list(getattr(transport, "__dict__", {}).values()):
            if isinstance(value, (httpx.BaseTransport, httpx.AsyncBaseTransport)):
                keep_deadlines(value, depth - 1)


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


def _extend(pool: Any, backend: httpcore.NetworkBackend) -> None:
    if isinstance(pool, _Pool):
        return
    kind: Any = type(pool)
    try:
        pool.__class__ = _extended_pool(kind)
    except TypeError:  # a class with slots
        return
    pool._network_backend = DeadlineBackend(backend)
    lock = getattr(pool, "_optional_thread_lock", None) or getattr(pool, "_pool_lock", None)
    if lock is not None and type(getattr(pool, "_requests", None)) is list:
        with lock:
            pool._requests = _Queue(pool._requests)


@lru_cache(maxsize=64)
def _extended_pool(kind: Any) -> type:
    return extend(kind, _Pool)  # type: ignore[no-any-return]


class _Pool:
    """Mixin of pools whose connections keep deadlines."""

    def create_connection(self, origin: Any) -> Any:
        connection = super().create_connection(origin)  # type: ignore[misc]
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
