"""Event loops: how late a task runs while 100 others make calls, with a store that blocks and with one that does not.

What: the lag of the loop, of which the 99.9th percentile and the worst are shown, and calls per second. Bar: 5 ms for a
SQLite store.

How: a task sleeps for a millisecond again and again, and notes by how much longer it took. Meanwhile 100 tasks make
calls, four in a second each, through an AsyncPolicyTransport with circuit breaker, bulkhead and rate limit over a
transport that answers after a millisecond. The last row shares the file with two threads that decide all the time.

Why that way: what else runs on the loop of an application (health checks, other requests) has no part in the calls,
and must not notice them. A store that were asked on the loop would hold all of it up, most of all while others use the
file. Compare with the first row: a busy machine is late by itself.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

import polvo_adapters as polvo
from polvo_adapters.core.machines import Event
from polvo_adapters.policies.retry_budget import Deposit, RetryBudget
from polvo_adapters.transports import AsyncPolicyTransport
from tests.benchmarks.tokens import Figure

_BAR = "≤ 5 ms"
_TASKS = 100
_TICK = 0.001
_PAUSE = 0.25  # seconds between two calls of a task, on average


class _Answering(httpx.AsyncBaseTransport):
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(0.001)
        return httpx.Response(200, request=request)


def lags(*, quick: bool = False) -> list[Figure]:
    """Measure all of it."""
    seconds = 0.3 if quick else 10.0
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "store"
        return [
            *_measure("no calls", None, seconds, ""),
            *_measure("MemoryStore", polvo.stores.MemoryStore(), seconds, ""),
            *_measure("SQLiteStore", polvo.stores.SQLiteStore(file), seconds, _BAR),
            *_measure_shared(file, seconds),
        ]


def _measure_shared(file: Path, seconds: float) -> list[Figure]:
    with _others(file):
        return _measure("SQLiteStore, used by two threads as well", polvo.stores.SQLiteStore(file), seconds, _BAR)


@contextmanager
def _others(file: Path) -> Iterator[None]:
    """Let two threads decide by the same file, each with a connection of its own."""
    over, budget = threading.Event(), RetryBudget()

    def decide() -> None:
        store = polvo.stores.SQLiteStore(file)
        while not over.wait(0.002):
            with suppress(polvo.PolvoError):
                store.decide((Event(budget, "others", Deposit()),))

    threads = [threading.Thread(target=decide) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def _measure(name: str, store: Any, seconds: float, bar: str) -> list[Figure]:
    late, calls = asyncio.run(_run(store, seconds))
    late.sort()
    worst = f"worst {1e3 * late[-1]:.2f} ms, {calls / seconds:.0f} calls/s"
    return [Figure(f"lag, {name}", 1e3 * late[int(0.999 * len(late))], "ms", worst, bar)]


async def _run(store: Any, seconds: float) -> tuple[list[float], int]:
    ends, calls, late = time.monotonic() + seconds, [0], list[float]()
    transport = AsyncPolicyTransport(
        polvo.breaker.CircuitBreaker(),
        polvo.bulkhead.Bulkhead(max_concurrency=_TASKS),
        polvo.ratelimit.TokenBucket(rate=1e6, capacity=1e6),
        inner=_Answering(),
        store=store,
    )

    async def call(client: httpx.AsyncClient) -> None:
        while time.monotonic() < ends:
            await asyncio.sleep(random.uniform(0.0, 2 * _PAUSE))
            await client.get("http://api.test/")
            calls[0] += 1

    async def tick() -> None:
        while time.monotonic() < ends:
            began = time.monotonic()
            await asyncio.sleep(_TICK)
            late.append(time.monotonic() - began - _TICK)

    async with httpx.AsyncClient(transport=transport) as client:
        await asyncio.gather(tick(), *(call(client) for _ in range(0 if store is None else _TASKS)))
    return late, calls[0]
