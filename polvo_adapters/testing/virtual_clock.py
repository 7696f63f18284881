"""A clock that moves only when it is told to."""

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
    """A clock that moves only when somebody sleeps on it, and chance that repeats itself.

    It serves wherever a `polvo_adapters.runtime.clock.Clock` does, so that no test sleeps for real.

    Args:
        seed: Seed of the jitter.
        wall: Unix time at the beginning, in seconds.
    """

    def __init__(self, seed: int = 0, wall: float = EPOCH) -> None:
        self._now = 0.0
        self._wall = wall
        self._random = random.Random(seed)

    def now(self) -> float:
        """Seconds since the beginning."""
        return self._now

    def wall(self) -> float:
        """Virtual Unix time in seconds."""
        return self._wall + self._now

    def sleep(self, seconds: float) -> None:
        """Move on by that much."""
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Move on by that much."""
        self._now += seconds

    def wait(self, event: threading.Event, seconds: float) -> None:
        """Move on by that much, unless the event is set: nobody else would set it."""
        if not event.is_set():
            self.advance(seconds)

    def spawn(self, task: Callable[[], object]) -> None:
        """Run a task at once."""
        task()

    def take(self, source: queue.SimpleQueue[T], seconds: float | None) -> T:
        """Take what is there, or move on by that much; nobody else would put anything in."""
        if source.empty() and seconds is not None:
            self.advance(seconds)
        return source.get_nowait()

    def uniform(self, low: float, high: float) -> float:
        """Draw a number evenly from [low, high]."""
        return self._random.uniform(low, high)
