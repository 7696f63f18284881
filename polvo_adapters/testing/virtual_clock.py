"""A clock for tests: it moves only when it is slept on."""

from __future__ import annotations

import queue
import random
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

EPOCH = 1_700_000_000.0
"""Unix time at which virtual time begins, in seconds."""


class VirtualClock:
    """A `polvo_adapters.runtime.clock.Clock` that moves only when it is slept on, with chance that repeats itself.

    Args:
        seed: Seed of the jitter.
        wall: Unix time at the beginning, in seconds.
    """

    def __init__(self, seed: int = 0, wall: float = EPOCH) -> None:
        self._now = 0.0
        self._wall = wall
        self._random = random.Random(seed)

    def now(self) -> float:
        """Return the seconds since the beginning."""
        return self._now

    def wall(self) -> float:
        """Return the virtual Unix time in seconds."""
        return self._wall + self._now

    def sleep(self, seconds: float) -> None:
        """Move on by that much."""
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Move on by that much."""
        self._now += seconds

    def wait(self, event: threading.Event, seconds: float) -> None:
        """Move on by that much, unless the event is set: no other thread would set it."""
        if not event.is_set():
            self.advance(seconds)

    def spawn(self, task: Callable[[], object]) -> None:
        """Run a task at once."""
        task()

    def take(self, source: queue.SimpleQueue[T], seconds: float | None) -> T:
        """Take what is there, or move on by that much: no other thread would put anything in."""
        if source.empty() and seconds is not None:
            self.advance(seconds)
        return source.get_nowait()

    def uniform(self, low: float, high: float) -> float:
        """Draw a number evenly from [low, high]."""
        return self._random.uniform(low, high)
