"""Time and chance, as the shells see them: the only place where the synchronous shells read either."""

from __future__ import annotations

import random
import time
from typing import Protocol


class Clock(Protocol):
    """What a driver needs of time and chance."""

    def now(self) -> float:
        """Seconds on a clock that only moves forward."""

    def wall(self) -> float:
        """Unix time in seconds, for dates in headers."""

    def sleep(self, seconds: float) -> None:
        """Wait."""

    def uniform(self, low: float, high: float) -> float:
        """Draw a number evenly from [low, high]."""


class SystemClock:
    """The machine's own clock, and chance."""

    now = staticmethod(time.monotonic)
    wall = staticmethod(time.time)
    sleep = staticmethod(time.sleep)
    uniform = staticmethod(random.uniform)


SYSTEM = SystemClock()
