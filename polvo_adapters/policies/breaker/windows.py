"""The recent calls that a circuit breaker counts: failures in a row, the last calls, or the last seconds.

Each window is a value with a state of plain numbers, moved by `add`. `settled` is a state that one more call which was
neither failed nor slow leaves as it is, or None where there is none:

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
from typing import Any, NamedTuple, TypeAlias

from polvo_adapters.core.stored_types import stored_as

_PARTS = 10


@stored_as("window-tally.1")
class Tally(NamedTuple):
    """Numbers of the calls in a window, of those that failed, and of those that were slow."""

    calls: int
    failures: int
    slow: int


@dataclass(frozen=True)
class Consecutive:
    """The window of failures in a row."""

    initial = 0
    settled = 0

    def add(self, state: int, failed: bool, slow: bool, now: float) -> Any:  # noqa: ARG002 - as every window
        """Return the state after one more call."""
        return state + 1 if failed else 0

    def tally(self, state: int, now: float) -> Tally:  # noqa: ARG002 - as every window
        """Count the failures in a row."""
        return Tally(state, state, 0)


@dataclass(frozen=True)
class LastCalls:
    """The window of the last `size` calls."""

    size: int

    initial = (0, 0, 0)

    @property
    def settled(self) -> tuple[int, int, int]:
        """The window that is full of calls which did well."""
        return (self.size, 0, 0)

    def add(self, state: tuple[int, int, int], failed: bool, slow: bool, now: float) -> Any:  # noqa: ARG002 - as above
        """Return the state after one more call."""
        calls, failures, slows = state
        mask = (1 << self.size) - 1
        return min(calls + 1, self.size), (failures << 1 | failed) & mask, (slows << 1 | slow) & mask

    def tally(self, state: tuple[int, int, int], now: float) -> Tally:  # noqa: ARG002 - as every window
        """Count the calls in the window."""
        calls, failures, slows = state
        return Tally(calls, failures.bit_count(), slows.bit_count())


@dataclass(frozen=True)
class LastSeconds:
    """The window of the last `seconds`."""

    seconds: float

    initial = (0, ())
    settled = None

    def add(self, state: tuple[int, tuple[Tally, ...]], failed: bool, slow: bool, now: float) -> Any:
        """Return the state after one more call."""
        part, counts = self._advance(state, now)
        calls, failures, slows = counts[0]
        return part, (Tally(calls + 1, failures + failed, slows + slow), *counts[1:])

    def tally(self, state: tuple[int, tuple[Tally, ...]], now: float) -> Tally:
        """Count the calls in the window."""
        _, counts = self._advance(state, now)
        return Tally(*map(sum, zip(*counts)))  # noqa: B905 - all of three

    def _advance(self, state: tuple[int, tuple[Tally, ...]], now: float) -> tuple[int, tuple[Tally, ...]]:
        """Begin a new counter for every tenth of the window that has passed."""
        last, counts = state
        part = int(now / self.seconds * _PARTS)
        if counts and part <= last:
            return state
        new = min(part - last, _PARTS) if counts else 1
        return part, (*(Tally(0, 0, 0),) * new, *counts)[:_PARTS]


Window: TypeAlias = "Consecutive | LastCalls | LastSeconds"
