"""Two hundred tasks on a sliding quota that they were not told, in virtual time."""

from __future__ import annotations

import asyncio
import math
import random
import ssl
from collections import deque
from typing import Any

import httpx
import pytest

import polvo_adapters as polvo
from polvo_adapters.stores import MemoryStore
from tests.support.virtual_worlds import LoopClock

LIMIT, WINDOW, TASKS, WINDOWS = 100, 2.0, 200, 7
CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # to load certificates takes longer than a call


class SlidingServer(httpx.AsyncBaseTransport):
    """A server that counts the requests of the last window; the way to it takes a time of its own each time."""

    def __init__(self, clock: LoopClock, jitter: float) -> None:
        self.clock, self.jitter, self.random = clock, jitter, random.Random(3)
        self.log: deque[float] = deque()
        self.served: list[float] = []
        self.refused = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await self.clock.sleep(0.002 + self.random.random() * self.jitter)
        now = self.clock.now()
        while self.log and self.log[0] <= now - WINDOW:
            self.log.popleft()
        is_served = len(self.log) < LIMIT
        if is_served:
            self.log.append(now)
            self.served.append(now)
        else:
            self.refused += 1
        left, reset = LIMIT - len(self.log), math.ceil(self.log[0] + WINDOW - now)
        await self.clock.sleep(0.002)
        headers = {
            "RateLimit": f'"default";r={left};t={reset}',
            "RateLimit-Policy": f'"default";q={LIMIT};w={WINDOW:.0f}',
        }
        return httpx.Response(200 if is_served else 429, headers=headers)


@pytest.mark.slow
@pytest.mark.parametrize(("jitter", "least"), [(0.0, 0.95), (0.02, 0.95)])
def test_nearly_all_of_a_sliding_quota_is_used_and_no_request_is_refused(jitter: float, least: float) -> None:
    """Responses that overtake one another must not bring about a refusal, which costs a pause in whole seconds."""
    clock = LoopClock()
    server = SlidingServer(clock, jitter)

    async def act() -> None:
        options: Any = {"rate_limit": {"max_wait": math.inf}, "store": MemoryStore(now=clock.now), "verify": CONTEXT}
        async with polvo.AsyncSession("http://a.example", transport=server, clock=clock, **options) as session:

            async def ask() -> None:
                while True:
                    await session.get("x")

            tasks = [asyncio.ensure_future(ask()) for _ in range(TASKS)]
            await clock.sleep(WINDOW * (WINDOWS + 0.5))
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    clock.run(act())
    begin = server.served[0] + WINDOW
    used = sum(begin <= at < begin + WINDOW * (WINDOWS - 1) for at in server.served) / (LIMIT * (WINDOWS - 1))
    assert used >= least
    assert server.refused == 0
