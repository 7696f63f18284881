"""What an asynchronous session costs, and how it shares a quota with a synchronous one.

`async`: GETs of a small JSON over one kept-alive connection per variant, on one event loop: a bare `httpx.AsyncClient`,
and sessions. How and why as in `loopback`: the server is a process of its own, small batches, ratios within a round.

`both`: one process, 4 threads of a `polvo.Session` and 200 tasks of a `polvo.AsyncSession` with the same store, which
ask as fast as they can, against a quota of 100 per 2 s that the server does not announce. How much of it is used, and
what is turned away after the first window, in which no client can know better. It is read from the record of the
server, as in `pacing`.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from contextlib import AsyncExitStack
from typing import Any

import httpx
import requests

import polvo_adapters as polvo
from polvo_adapters.policies.retry import ExponentialBackoff
from polvo_adapters.stores import MemoryStore
from polvo_adapters.transports import AsyncPolicyTransport
from tests.benchmarks.loopback import server_process
from tests.benchmarks.measure import Result, Variant, compare_in_task
from tests.benchmarks.pacing import Pace, Scenario, judge
from tests.benchmarks.quota_server import serving

_THREADS, _TASKS = 4, 200
_BAR, _BOTH_BAR = "≤ 5 % more", "≥ 98 %, 0 later"
_SCENARIO = Scenario(processes=2, threads=_THREADS, limit=100, window=2.0, seconds=12.0)
_QUICK = Scenario(processes=2, threads=_THREADS, limit=50, window=0.5, seconds=1.0)
_PATIENCE = 15.0  # seconds


def async_sessions(*, quick: bool = False) -> list[Result]:
    """Measure all variants against one server."""
    with server_process() as base:
        return asyncio.run(_measure(f"{base}/echo", rounds=5 if quick else 400, batch=5 if quick else 20))


async def _measure(url: str, rounds: int, batch: int) -> list[Result]:
    transport = AsyncPolicyTransport(ExponentialBackoff())
    clients: dict[str, httpx.AsyncClient] = {
        "httpx.AsyncClient": httpx.AsyncClient(timeout=30),
        "httpx.AsyncClient again (noise)": httpx.AsyncClient(timeout=30),
        "AsyncSession()": polvo.AsyncSession(),
        "AsyncSession(deadline=None)": polvo.AsyncSession(deadline=None),
        "AsyncSession without policies": polvo.AsyncSession(retry=False, circuit_breaker=None, deadline=None),
        "httpx.AsyncClient + AsyncPolicyTransport": httpx.AsyncClient(transport=transport, timeout=30),
    }
    async with AsyncExitStack() as stack:
        variants = [_getting(name, await stack.enter_async_context(client), url) for name, client in clients.items()]
        return await compare_in_task(variants, rounds, batch)


def _getting(name: str, client: httpx.AsyncClient, url: str) -> Variant:
    return Variant(name, lambda: client.get(url), bar=_BAR if name == "AsyncSession()" else "")


def both_kinds(*, quick: bool = False) -> list[Pace]:
    """Let threads and tasks ask at the same time, per kind of server."""
    scenario = _QUICK if quick else _SCENARIO
    return [_run(scenario, kind)._replace(bar=_BOTH_BAR) for kind in ("fixed", "sliding", "gcra")[: 1 if quick else 3]]


def _run(scenario: Scenario, kind: str) -> Pace:
    quota = ("--kind", kind, "--limit", str(scenario.limit), "--window", str(scenario.window))
    with serving(*quota, "--latency", str(scenario.latency), "--dialect", scenario.dialect) as url:
        stop = time.monotonic() + scenario.seconds + scenario.window / 4
        _ask(url, stop)
        record = requests.get(f"{url}/record", timeout=_PATIENCE).json()
    pace = judge({**record, "stop": stop, "seen": {}}, scenario)
    return pace._replace(name=f"{_THREADS} threads and {_TASKS} tasks, {kind}", of_greedy=None)


def _ask_on_thread(session: polvo.Session, url: str, stop: float) -> None:
    try:
        while time.monotonic() < stop:
            session.get(url)
    except requests.ConnectionError:
        if time.monotonic() < stop:
            raise  # and else the server has gone while the thread waited for its turn


def _ask(url: str, stop: float) -> None:
    """Let threads and tasks ask until a moment; then tasks that wait for their turn are cancelled."""
    options: Any = {"store": MemoryStore(), "rate_limit": {"max_wait": math.inf}}

    async def ask_in_task(session: polvo.AsyncSession) -> None:
        while True:
            await session.get(url)

    async def run_tasks() -> None:
        limits = httpx.Limits(max_connections=_TASKS, max_keepalive_connections=_TASKS)
        headers = {"X-Client": "client 1"}
        async with polvo.AsyncSession(headers=headers, limits=limits, trust_env=False, **options) as session:
            tasks = [asyncio.ensure_future(ask_in_task(session)) for _ in range(_TASKS)]
            done, waiting = await asyncio.wait(tasks, timeout=stop - time.monotonic())
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
        for task in done:
            task.result()  # which is an error

    with polvo.Session(**options) as session:
        session.headers["X-Client"], session.trust_env = "client 0", False
        threads = [threading.Thread(target=_ask_on_thread, args=(session, url, stop)) for _ in range(_THREADS)]
        for thread in threads:
            thread.start()
        asyncio.run(run_tasks())
        for thread in threads:
            thread.join(_PATIENCE)
