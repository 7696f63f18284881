"""The clocks of this machine, which a test puts forward: hours pass, and no time."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from polvo_adapters.drivers.aio import AsyncSystemClock
from polvo_adapters.runtime.clock import SystemClock, SystemTime


class Leap:
    """Puts forward the system clock of the package and that of event loops.

    What is to end by then ends, whatever it waits for; what has no such end does not notice. So a test tells the two
    apart without a wait, and a machine that stands still for a moment changes nothing. Timeouts of sockets stay as
    they are.
    """

    def __init__(self) -> None:
        self._ahead = 0.0
        self._step = 0.0

    def at_each_look(self, seconds: float) -> None:
        """Put the clock of the package forward each time that it is read, from now on."""
        self._step = seconds

    def __call__(self, seconds: float = 3600.0) -> None:
        """Put the clocks forward."""
        self._ahead += seconds

    async def later(self, seconds: float) -> None:
        """Put the clocks forward, and let other tasks run."""
        self(seconds)
        await asyncio.sleep(0)

    def now(self) -> float:
        """Return the time."""
        self._ahead += self._step
        return time.monotonic() + self._ahead

    def loop_time(self, *_: Any) -> float:
        """Return the time of event loops."""
        return time.monotonic() + self._ahead

    def wall(self) -> float:
        """Return the Unix time."""
        return time.time() + self._ahead


@pytest.fixture
def leap(monkeypatch: pytest.MonkeyPatch) -> Leap:
    """A function that puts the clocks forward by seconds, by default an hour."""
    leap = Leap()
    monkeypatch.setattr(SystemTime, "now", staticmethod(leap.now))
    monkeypatch.setattr(SystemTime, "wall", staticmethod(leap.wall))
    monkeypatch.setattr(asyncio.BaseEventLoop, "time", leap.loop_time)
    return leap


_stopped: dict[str, float] = {}


def read_stopped_clock() -> float:
    """Return the time at which the clock stands still; a function that stores can be pickled with."""
    return _stopped["now"]


def read_stopped_calendar() -> float:
    """Return the Unix time of that."""
    return _stopped["wall"]


@pytest.fixture
def frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the clock of the package stand still: what takes long takes no time."""
    _stopped.update(now=time.monotonic(), wall=time.time())
    monkeypatch.setattr(SystemTime, "now", staticmethod(read_stopped_clock))
    monkeypatch.setattr(SystemTime, "wall", staticmethod(read_stopped_calendar))


@pytest.fixture
def leaping_sleep(leap: Leap, monkeypatch: pytest.MonkeyPatch) -> Leap:
    """The same, where the package sleeps by putting the clocks forward."""
    monkeypatch.setattr(SystemClock, "sleep", staticmethod(leap))
    monkeypatch.setattr(AsyncSystemClock, "sleep", staticmethod(leap.later))
    return leap
