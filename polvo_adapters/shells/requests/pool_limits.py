"""The bound on the connection pools of an adapter, and the end of those that are idle.

Theory of operation. `requests` keeps a pool manager per proxy URL for ever, and a pool of urllib3 keeps its connections
until the pool is freed. An adapter that outlives its calls therefore collects sockets. Here every use of a pool is
dated. When a pool is new, and every 15 seconds, the pools that are too much are retired: those that were not used for a
minute, and the least recently used beyond a number, counted over all proxies. A manager without a pool is forgotten.
All of that happens on the thread of a call that needs a pool; no thread runs for it.

A retired pool closes its idle connections at once, and each of the others after its response, even where the caller
keeps that response. A call that was given the pool just before can use it; it gets a new connection.
"""

from __future__ import annotations

import queue
from contextlib import suppress
from typing import Any, NamedTuple

IDLE_SECONDS = 60.0
"""Seconds without use after which a pool is retired."""

LEAST_POOLS = 32
"""How many pools an adapter may keep, proxies included, unless its `pool_connections` is larger."""

_SWEEP_SECONDS = IDLE_SECONDS / 4


class _Entry(NamedTuple):
    used_at: float
    manager: Any
    key: Any
    pool: Any


class PoolLimits:
    """The bound on the pools of one adapter.

    Threads may use it at the same time: it has no lock, and a pool that two of them retire is retired once.

    Args:
        most: How many pools are kept at a time, for all hosts and proxies together.
    """

    def __init__(self, most: int) -> None:
        self._most = max(LEAST_POOLS, most)
        self._sweep_at = float("-inf")

    def note_use(self, pool: Any, direct: Any, proxies: dict[str, Any], now: float) -> None:
        """Date the use of a pool, and retire the pools that are too much by now.

        Args:
            pool: The pool of the request that comes next.
            direct: The pool manager of hosts that are reached without a proxy.
            proxies: The pool managers of proxies, by URL.
            now: The time in seconds.
        """
        is_new = getattr(pool, "_used_at", None) is None
        try:  # noqa: SIM105 - this is the hot path, and `suppress` takes several times as long
            pool._used_at = now
        except AttributeError:  # a pool of another library may take no attribute
            pass
        if is_new or now >= self._sweep_at:
            self._sweep_at = now + _SWEEP_SECONDS
            self._retire_excess([direct, *proxies.copy().values()], pool, now)
            _forget_empty(proxies)

    def make_room(self, proxies: dict[str, Any]) -> None:
        """Forget the managers without a pool, such as those of wrong URLs, where there are too many managers."""
        if len(proxies) >= self._most:
            _forget_empty(proxies)

    def _retire_excess(self, managers: list[Any], in_use: Any, now: float) -> None:
        """Retire all pools but the one in use that are idle for long or too many."""
        entries = sorted((entry for each in managers for entry in _entries(each, now)), key=lambda entry: entry.used_at)
        excess = len(entries) - self._most
        for number, (used_at, manager, key, pool) in enumerate(entries):
            is_idle = now - used_at >= IDLE_SECONDS and not _is_waited_for(pool)
            if pool is not in_use and (number < excess or is_idle):
                with suppress(KeyError):  # another thread was faster
                    del manager.pools[key]  # which retires it


class _ClosingQueue:
    """The queue of a retired pool: it closes connections that come back, and has only new ones to give.

    Args:
        connections: The queue that the pool had, whose size still bounds the pool where `pool_block` asks for that.
    """

    def __init__(self, connections: Any) -> None:
        self._connections = connections

    def put(self, connection: Any, *args: Any, **keywords: Any) -> None:
        """Close a connection, and make its place free."""
        if connection is not None:
            connection.close()
        self._connections.put(None, *args, **keywords)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connections, name)


def retire(pool: Any) -> None:
    """Close the idle connections of a urllib3 pool now, and the others when they come back."""
    connections = getattr(pool, "pool", None)
    if connections is None or isinstance(connections, _ClosingQueue):
        return
    pool.pool = _ClosingQueue(connections)
    idle: list[Any] = []
    with suppress(queue.Empty):
        for _ in range(connections.qsize()):
            idle.append(connections.get(block=False))  # noqa: PERF401 - the queue may end before that
    for connection in idle:
        with suppress(queue.Full):
            connections.put(None, block=False)
        if connection is not None:
            connection.close()


def _forget_empty(proxies: dict[str, Any]) -> None:
    """Forget the managers of proxies that have no pool."""
    for url, manager in proxies.copy().items():  # `copy` is one step, which no other thread can come into
        pools = _find_pools(manager)
        if pools is not None and not pools:
            proxies.pop(url, None)


def _find_pools(manager: Any) -> Any:
    """Return the container of a manager's pools, or None where it is not that of urllib3."""
    pools = getattr(manager, "pools", None)
    return pools if hasattr(pools, "dispose_func") and hasattr(pools, "_container") else None


def _entries(manager: Any, now: float) -> list[_Entry]:
    """Return the pools of a manager, and make it retire those that it drops by itself."""
    pools = _find_pools(manager)
    if pools is None:
        return []
    pools.dispose_func = retire
    with pools.lock:
        # Not by the mapping itself, which counts a look as a use and so changes which pool is dropped next.
        found = list(pools._container.items())
    return [_Entry(getattr(pool, "_used_at", now), manager, key, pool) for key, pool in found]


def _is_waited_for(pool: Any) -> bool:
    """Return whether a pool bounds how many connections there are, and has lent some: another pool would add more."""
    connections = getattr(pool, "pool", None)
    return bool(getattr(pool, "block", False)) and connections is not None and connections.qsize() < connections.maxsize
