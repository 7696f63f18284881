"""Time and chance: the only place where the synchronous shells read either.

Waiting for other threads is here as well, so that a test can replace all of it by virtual time.
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


class TimeSource(Protocol):
    """The time and chance that every driver needs."""

    def now(self) -> float:
        """Return the seconds on a clock that only moves forward."""

    def wall(self) -> float:
        """Return the Unix time in seconds, for dates in headers."""

    def uniform(self, low: float, high: float) -> float:
        """Return a random number, evenly distributed in [low, high]."""


class Clock(TimeSource, Protocol):
    """The time and chance of the synchronous driver, which blocks its thread."""

    def sleep(self, seconds: float) -> None:
        """Wait that many seconds."""

    def wait(self, event: threading.Event, seconds: float) -> None:
        """Wait until another thread sets the event, at most that many seconds."""

    def spawn(self, task: Callable[[], object]) -> None:
        """Run a task on another thread."""

    def take(self, source: queue.SimpleQueue[T], seconds: float | None) -> T:
        """Return what another thread puts into a queue; raise `queue.Empty` after that many seconds."""


class SystemTime:
    """The clock and the random numbers of this machine."""

    now = staticmethod(time.monotonic)
    wall = staticmethod(time.time)
    uniform = staticmethod(random.uniform)


class SystemClock(SystemTime):
    """The clock and the random numbers of this machine, and its threads."""

    @staticmethod
    def sleep(seconds: float) -> None:
        """Wait that many seconds, by the function that tests of callers replace."""
        if seconds > 0:
            time.sleep(seconds)

    @staticmethod
    def wait(event: threading.Event, seconds: float) -> None:
        """Wait until another thread sets the event, at most that many seconds."""
        event.wait(seconds)

    @staticmethod
    def spawn(task: Callable[[], object]) -> None:
        """Run a task on another thread."""
        WORKERS.run(task)

    @staticmethod
    def take(source: queue.SimpleQueue[T], seconds: float | None) -> T:
        """Return what another thread puts into a queue; raise `queue.Empty` after that many seconds."""
        return source.get(timeout=None if seconds is None else max(0.0, seconds))


SYSTEM = SystemClock()
