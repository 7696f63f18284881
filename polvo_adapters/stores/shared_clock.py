"""The clock of all processes that share a file: it moves by the time that elapses, and not by what wall clocks say.

Theory of operation. What is granted in a store ends at a time: a lease, a token, a record, a quota. Processes that
share the store must agree on that time, and a process must not end what another was granted because its wall clock is
wrong. So the file does not keep wall time. The system has a clock that counts seconds since the machine was started,
also while it sleeps; all processes of the machine read the same value from it, and no one can set it. The file keeps,
for each start of a machine, the `start`: the store's time when that clock was zero. Then, in every process,

    time = start + elapsed, and never less than the largest time that was seen

What follows:

    what happens                                   what the store's time does
    ---------------------------------------------  --------------------------------------------------------------
    a process has a wall clock that is days off    nothing: the wall clock is not read from
    the wall clock is set, or jumps                nothing
    the machine sleeps                             goes on by the seconds that it slept
    the machine is started again                   goes on by the wall clock, if that is ahead of the time, once
    another kernel uses the file (a sandbox)       the same, for each kernel once
    an older version of this library moves it      goes on from there
    the file is new                                begins at the wall time; from then on only differences count

**Starts anew.** Only there a wall clock is believed, because nothing else has counted. The file keeps `ahead`, by which
the time is ahead of the wall clocks, as the smallest number of all processes since the last start: one process with a
wrong wall clock can make a later start count too few seconds, so that records and leases are kept for longer, but never
too many. A machine that starts with a wall clock that is too far ahead cannot be told apart from one that was off.

**Which start** it is, the system says on Linux (`boot_id`, and the time namespace). Other systems do not say: there a
clock that is behind the time tells that the machine was started again. One that is not behind counts too few seconds.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache, partial

from polvo_adapters.core.machines import Event
from polvo_adapters.core.setting_kinds import FUNCTION, check_settings
from polvo_adapters.errors import ConfigurationError

LONGEST = 1e11
"""Seconds, some 3,000 years: a float of more than that could not count fractions of a second."""

_SLACK = 0.001  # seconds by which the time may stand still before the start is corrected
UNKNOWN_BOOT = "unknown"
"""The name of every start of a machine whose system has none: two of them may be different starts."""


def _find_elapsed_clock() -> Callable[[], float]:
    """Return the clock of the system that all processes share, that cannot be set, and that counts sleep."""
    name = "CLOCK_MONOTONIC" if sys.platform == "darwin" else "CLOCK_BOOTTIME"
    if hasattr(time, name):
        clock = partial(time.clock_gettime, getattr(time, name))
        with suppress(OSError):  # a sandbox may not have it
            clock()
            return clock
    return time.monotonic


elapsed_time: Callable[[], float] = _find_elapsed_clock()
"""Return the seconds since the machine was started."""


@lru_cache(maxsize=1)
def read_boot() -> str:
    """Return the name of this start of the machine, or a name that stands for any start where the system has none."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            name = file.read(64).strip()
    except (OSError, ValueError):
        return UNKNOWN_BOOT
    with suppress(OSError):  # an older kernel has no namespaces of time
        name += " " + os.readlink("/proc/self/ns/time")
    return name or UNKNOWN_BOOT


_KINDS = {"now": FUNCTION, "local": FUNCTION, "elapsed": FUNCTION | None}


class SharedClock:
    """The clock of one process for a file; what it says is kept in the file.

    Args:
        wall: Unix time in seconds; read to begin, and after the machine was started.
        local: Clock in seconds of the events of this process.
        elapsed: Clock in seconds that all processes share and that never goes back; None for that of the system, or
            for `local` where that is not `time.monotonic`.
        boot: Name of the start of the machine that `elapsed` counts from; None to ask the system.

    Attributes:
        seen: Largest time seen.
        ahead: Seconds by which the time is ahead of the wall clocks, at least.
        start: The time when `elapsed` was zero, or None where that is unknown.
        boot: Name of the start of the machine.
    """

    def __init__(
        self,
        wall: Callable[[], float],
        local: Callable[[], float] = time.monotonic,
        elapsed: Callable[[], float] | None = None,
        boot: str | None = None,
    ) -> None:
        check_settings("store", {"now": wall, "local": local, "elapsed": elapsed}, _KINDS, ConfigurationError)
        self.wall, self.local, self.given = wall, local, elapsed
        if elapsed is None:
            elapsed = elapsed_time if local is time.monotonic else local
        self.elapsed = elapsed
        self._given_boot = "given" if boot is None and elapsed is not elapsed_time else boot
        self.seen, self.ahead = float("-inf"), 0.0
        self.start: float | None = None
        self._start_in_file: float | None = None

    @property
    def boot(self) -> str:
        """Name of the start of the machine; read late, as a forked child or a pickle may be elsewhere."""
        return self._given_boot or read_boot()

    @property
    def is_start_new(self) -> bool:
        """Whether the file does not have the start yet."""
        return self.start != self._start_in_file

    def follow(self, seen: float, ahead: float, start: float | None) -> None:
        """Continue from what the file says.

        Args:
            seen: Largest time seen.
            ahead: Seconds by which the time is ahead of the wall clocks.
            start: The time when `elapsed` was zero, or None where the file does not know this start of the machine.
        """
        self.seen, self.ahead, self._start_in_file = max(self.seen, seen), ahead, start
        if start is not None and (self.start is None or start > self.start):
            self.start = start

    def now(self) -> float:
        """Return the time, never before one that was seen."""
        elapsed, start, seen = self.elapsed(), self.start, self.seen
        now = seen if start is None else start + elapsed
        wall = self.wall()
        if start is None or (now < seen - _SLACK and self.boot == UNKNOWN_BOOT):
            now = max(wall + self.ahead, seen)
            self.start, self.ahead = now - elapsed, now - wall
        elif now < seen:
            if now < seen - _SLACK:
                self.start = seen - elapsed
            now = seen
        self.seen, self.ahead = now, min(self.ahead, now - wall)
        return now

    def shift(self, events: Sequence[Event], now: float) -> list[Event]:
        """Return events whose times are on this clock.

        Args:
            events: Events with times of the local clock; see `TimedEvent`.
            now: The time on this clock.
        """
        ahead = now - self.local()
        return [
            Event(machine, key, event.shift(ahead)) if hasattr(event, "shift") else Event(machine, key, event)
            for machine, key, event in events
        ]
