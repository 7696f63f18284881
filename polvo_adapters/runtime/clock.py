"""Time and chance, as the shells see them: the only place where the synchronous shells read either.

What waits for other threads is here as well, so that a test can put virtual time in the place of it all.
"""

from __future__ import annotations

import queue
import random
import threading
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

from polvo_adapters.runtime.workers import WORKERS

T = TypeVar("T")


class Clock(Protocol):
    """What a driver needs of time and chance."""

    def now(self) -> float:
        """Seconds on a clock that only moves forward."""

    def wall(self) -> float:
        """Unix time in seconds, for dates in headers."""

    def sleep(self, seconds: float) -> None:
        """Wait."""

    def wait(self, event: threading.Event, seconds: float) -> None:
        """Wait until another thread sets the event, but not longer than that."""

    def spawn(self, task: Callable[[], object]) -> None:
        """Run a task on another thread."""

    def take(self, source: queue.SimpleQueue[T], seconds: float | None) -> T:
        """Take what other threads put into a queue; raise `queue.Empty` when the time is up."""

    def uniform(self, low: float, high: float) -> float:
        """Draw a number evenly from [low, high]."""


class SystemClock:
    """The machine's own clock, and chance."""

    now = staticmethod(time.monotonic)
    wall = staticmethod(time.time)
    sleep = staticmethod(time.sleep)
    uniform = staticmethod(random.uniform)

    @staticmethod
    def wait(event: threading.Event, seconds: float) -> None:
        """Wait until another thread sets the event, but not longer than that."""
        event.wait(seconds)

    @staticmethod
    def spawn(task: Callable[[], object]) -> None:
        """Run a task on another thread."""
        WORKERS.run(task)

    @staticmethod
    def take(source: queue.SimpleQueue[T], seconds: float | None) -> T:
        """Take what other threads put into a queue; raise `queue.Empty` when the time is up."""
        return source.get(timeout=None if seconds is None else max(0.0, seconds))


SYSTEM = SystemClock()
