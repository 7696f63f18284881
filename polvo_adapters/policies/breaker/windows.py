"""What a circuit breaker remembers of recent calls: the last in a row, the last so many, or those of a while.

Each window is a value with a state of plain numbers, moved by `add`:

    window          state                                               cost of a call
    --------------  --------------------------------------------------  --------------
    Consecutive     failures since the last success                     an addition
    LastCalls(n)    one bit per call and kind, in two whole numbers     a shift
    LastSeconds(w)  ten counters of a tenth of the window each          an addition

The counters of a time window move on in steps of a tenth, so that it covers between nine tenths and the whole of its
length.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from polvo_adapters.core.stored_types import stored_as

_PARTS = 10


@stored_as("window-tally.1")
class Tally(NamedTuple):
    """What a window holds.

    Attributes:
        calls: Calls.
        failures: How many of them failed.
        slow: How many were slow.
    """

    calls: int
    failures: int
    slow: int


class Window(Protocol):
    """Remembers recent calls."""

    @property
    def initial(self) -> Any:
        """State of an empty window."""

    def add(self, state: Any, failed: bool, slow: bool, now: float) -> Any:
        """Return the state after one more call."""

    def tally(self, state: Any, now: float) -> Tally:
        """Count what is in it now."""


@dataclass(frozen=True)
class Consecutive:
    """Remembers failures in a row."""

    initial = 0

    def add(self, state: int, failed: bool, slow: bool, now: float) -> int:  # noqa: ARG002 - as every window
        """Return the failures in a row after one more call."""
        return state + 1 if failed else 0

    def tally(self, state: int, now: float) -> Tally:  # noqa: ARG002 - as every window
        """Count them."""
        return Tally(state, state, 0)


@dataclass(frozen=True)
class LastCalls:
    """Remembers the last calls.

    Args:
        size: How many.
    """

    size: int

    initial = (0, 0, 0)

    def add(self, state: tuple[int, int, int], failed: bool, slow: bool, now: float) -> tuple[int, int, int]:  # noqa: ARG002
        """Return the state after one more call."""
        calls, failures, slows = state
        mask = (1 << self.size) - 1
        return min(calls + 1, self.size), (failures << 1 | failed) & mask, (slows << 1 | slow) & mask

    def tally(self, state: tuple[int, int, int], now: float) -> Tally:  # noqa: ARG002 - as every window
        """Count what is in it."""
        calls, failures, slows = state
        return Tally(calls, failures.bit_count(), slows.bit_count())


@dataclass(frozen=True)
class LastSeconds:
    """Remembers the calls of a while.

    Args:
        seconds: Its length.
    """

    seconds: float

    initial = (0, ())

    def add(self, state: tuple[int, tuple[Tally, ...]], failed: bool, slow: bool, now: float) -> Any:
        """Return the state after one more call."""
        part, counts = self._moved(state, now)
        calls, failures, slows = counts[0]
        return part, (Tally(calls + 1, failures + failed, slows + slow), *counts[1:])

    def tally(self, state: tuple[int, tuple[Tally, ...]], now: float) -> Tally:
        """Count what is in it now."""
        _, counts = self._moved(state, now)
        return Tally(*map(sum, zip(*counts)))  # noqa: B905 - all of three

    def _moved(self, state: tuple[int, tuple[Tally, ...]], now: float) -> tuple[int, tuple[Tally, ...]]:
        """Begin a new counter for every tenth of the window that has passed."""
        last, counts = state
        part = int(now / self.seconds * _PARTS)
        if counts and part <= last:
            return state
        new = min(part - last, _PARTS) if counts else 1
        return part, (*(_NOTHING,) * new, *counts)[:_PARTS]


_NOTHING = Tally(0, 0, 0)
