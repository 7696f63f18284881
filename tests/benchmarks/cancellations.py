"""A crowd of tasks over one transport, of which a third is cancelled at random moments.

What: 1,000 tasks begin one after the other and share 16 slots of a bulkhead, over loopback. After every other answer a
task that is not done is cancelled at a random moment. Afterwards nothing may be left: no task, no slot that is taken,
no place in a queue, no connection in use, and no socket once the client is closed. The others are served in the order
in which they came. Bar: 5 % of the crowd, which is how far a task may be from its place; and 50 runs of which none
leaves anything behind.

How: the transport below notes the order in which requests arrive there. A task's place is its rank among the tasks that
were served, by when it came and by when it was served.

Why that way: in a queue that is first come first served, a task overtakes another only by as many places as there are
slots. Tasks are cancelled in the queue, in the pool, while they connect, send and read.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any, NamedTuple

import httpx

from polvo_adapters.policies.bulkhead import Bulkhead
from polvo_adapters.policies.retry import ExponentialBackoff
from polvo_adapters.stores.memory import MemoryStore
from polvo_adapters.testing import FailureServer
from polvo_adapters.transports import AsyncPolicyTransport
from tests.benchmarks.tokens import Figure

_SLOTS = 16


class Crowd(NamedTuple):
    """What came of a crowd, and what is left of it.

    Attributes:
        served: How many tasks had their answer.
        cancelled: How many were cancelled.
        worst_delay: How far a task was from its place at most, as a part of the crowd.
        tasks: How many tasks are left.
        taken: How many slots are still taken, and places in the queue.
        connections: How many connections of the pool are still in use.
        sockets: How many sockets are open once the client is closed.
    """

    served: int
    cancelled: int
    worst_delay: float
    tasks: int
    taken: int
    connections: int
    sockets: int


class _Noting(httpx.AsyncHTTPTransport):
    """Notes which request comes when."""

    def __init__(self) -> None:
        super().__init__(limits=httpx.Limits(max_connections=_SLOTS))
        self.order: list[int] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.order.append(int(request.headers["x-number"]))
        return await super().handle_async_request(request)


def crowd(seed: int, tasks: int = 1_000) -> Crowd:
    """Send a crowd, and return what came of it."""
    with FailureServer() as server:
        return asyncio.run(_run(server, random.Random(seed), tasks))


async def _run(server: FailureServer, chance: random.Random, count: int) -> Crowd:
    store, inner = MemoryStore(), _Noting()
    policies = (ExponentialBackoff(), Bulkhead(_SLOTS, acquisition_timeout=600))
    transport = AsyncPolicyTransport(*policies, inner=inner, store=store)
    served: list[int] = []
    async with httpx.AsyncClient(transport=transport, timeout=60) as client:

        async def call(number: int) -> None:
            response = await client.get(server.url + "/echo", headers={"x-number": str(number)})
            assert response.status_code == 200
            served.append(number)

        waiting = {asyncio.create_task(call(number)) for number in range(count)}
        cancelled = await _cancel_some(waiting, served, chance, count // 3)
        left = len(asyncio.all_tasks()) - 1
        taken = sum(_count_taken(state) for state in store._states.values())
        connections = sum(not each.is_idle() for each in inner._pool.connections)
    for _ in range(100):
        if not server.open_connections:
            break
        await asyncio.sleep(0.01)
    return Crowd(
        len(served), cancelled, _measure_delay(inner.order, served), left, taken, connections, server.open_connections
    )


async def _cancel_some(waiting: set[Any], served: list[int], chance: random.Random, most: int) -> int:
    """Cancel tasks at random moments, while the others are served, and wait until all have ended."""
    cancelled = 0
    while waiting:
        done, _ = await asyncio.wait(waiting, timeout=chance.random() * 0.002, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            if not task.cancelled():
                task.result()
        waiting -= done
        while waiting and cancelled < min(most, len(served) // 2 + 1):
            task = chance.choice(sorted(waiting, key=id))
            if task.cancelling() if hasattr(task, "cancelling") else False:
                break
            task.cancel()
            cancelled += 1
    return cancelled


def _count_taken(state: Any) -> int:
    queue = getattr(state, "queue", None)
    return 0 if queue is None else state.new + state.old + len(queue)


def _measure_delay(order: list[int], served: list[int]) -> float:
    """Return how far a task that was served was from its place at most, as a part of all."""
    kept = set(served)
    seen = list(dict.fromkeys(number for number in order if number in kept))
    came = {number: place for place, number in enumerate(sorted(seen))}
    return max(abs(place - came[number]) for place, number in enumerate(seen)) / len(seen)


def cancellations(*, quick: bool = False) -> list[Figure]:
    """Send crowds, and report the worst of them."""
    results = [crowd(seed, 100 if quick else 1_000) for seed in range(2 if quick else 50)]
    about = f"{len(results)} runs, {min(each.cancelled for each in results)} or more cancelled in each"
    worst = max(each.worst_delay for each in results)
    left: list[tuple[str, str]] = [
        ("tasks", "tasks"),
        ("taken", "slots and places"),
        ("connections", "connections"),
        ("sockets", "sockets"),
    ]
    return [
        Figure("furthest from its place", worst * 100, "% of the crowd", about, "≤ 5 %"),
        *(
            Figure(f"left behind: {unit}", sum(getattr(each, name) for each in results), unit, about, "0")
            for name, unit in left
        ),
    ]
