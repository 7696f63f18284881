"""The asyncio driver: performs effects on the event loop."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any, Protocol, cast

from polvo_adapters.events import Entry, Wait, attempted
from polvo_adapters.flow import Decide, Flow, Outcome, Send, Sleep
from polvo_adapters.stores.base import Store


class AsyncClock(Protocol):
    """What this driver needs of time and chance; as `polvo_adapters.clock.Clock`, with a sleep to await."""

    def now(self) -> float:
        """Seconds on a clock that only moves forward."""

    def wall(self) -> float:
        """Unix time in seconds."""

    async def sleep(self, seconds: float) -> None:
        """Wait, and let others run."""

    def uniform(self, low: float, high: float) -> float:
        """Draw a number evenly from [low, high]."""


class AsyncSystemClock:
    """The machine's own clock, chance, and `asyncio.sleep`."""

    now = staticmethod(time.monotonic)
    wall = staticmethod(time.time)
    sleep = staticmethod(asyncio.sleep)
    uniform = staticmethod(random.uniform)


ASYNC_SYSTEM = AsyncSystemClock()


class AsyncTransport(Protocol):
    """Makes the attempts of one call."""

    async def send(self, effect: Send) -> Outcome:
        """Make one attempt; what the transport raises comes back inside the outcome."""

    async def discard(self) -> None:
        """Close the response of the last attempt: the flow has given it up."""


async def drive(
    flow: Flow, transport: AsyncTransport, store: Store, clock: AsyncClock, entries: list[Entry]
) -> Outcome:
    """Carry out a flow to its end; as `polvo_adapters.drive.sync.drive`, without blocking the loop."""
    answer: Any = None
    try:
        while True:
            effect = flow.send(answer)
            if type(effect) is Send:
                answer = await transport.send(effect)
                entries.append(attempted(answer))
            elif type(effect) is Decide:
                answer = store.decide(effect.events)
            elif type(effect) is Sleep:
                await transport.discard()
                answer = clock.uniform(effect.low, effect.high)
                await clock.sleep(answer)
                entries.append(Wait(answer, effect.why))
    except StopIteration as end:
        return cast("Outcome", end.value)
    finally:
        flow.close()
        answer = None  # or this frame, the error in an outcome and its traceback would keep each other alive
