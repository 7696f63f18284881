"""What machines, their events and their states may have besides what `Machine` asks for.

No module needs these classes while it runs. Drivers look up `listeners` and `release_event`, and stores the other
members; the absence of a member means what is said here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from polvo_adapters.core.machines import Machine

if TYPE_CHECKING:
    from polvo_adapters.core.report import StateChange


class DurableMachine(Machine, Protocol):
    """A machine that says whether its state must not be lost; a machine without `durable` is not durable."""

    @property
    def durable(self) -> bool:
        """Whether a store raises where it cannot write or read the state, instead of starting from `initial`."""


class ObservedMachine(Machine, Protocol):
    """A machine whose changes are reported; a machine without `listeners` has none, and `part` may be missing."""

    part: str
    """Name of the part of the library, which is that of its logger; "" for the logger of the whole package."""

    @property
    def listeners(self) -> Sequence[Callable[[StateChange], object]]:
        """Called with each change that the machine returns as `Changed`."""


class TypedMachine(Machine, Protocol):
    """A machine whose state is a TypedDict; stores compare a state that they read with the type of `initial` only."""

    @property
    def state_type(self) -> Any:
        """The TypedDict that a state which was read has to be."""


class LeasedMachine(Machine, Protocol):
    """A machine whose verdicts grant leases; each machine of an `Acquire` must be one."""

    def release_event(self, verdict: Any) -> Any:
        """Return the event that gives back what a verdict has granted to a call that was broken off."""


class TimedEvent(Protocol):
    """An event that contains times of the caller's clock; an event without `shift` contains none."""

    def shift(self, seconds: float) -> Any:
        """Return the event on the clock of the store, which is this many seconds ahead of the caller's."""


class CountedEvent(Protocol):
    """A fact of which a store may put several equal ones to the machine as one; without `several` each is put at once.

    Its verdict is True. A store puts what it has counted before the next other event of the same key.
    """

    def several(self, count: int, seconds_ago: float) -> Any:
        """Return the event that stands for so many of this one, the first of which came so many seconds ago."""


class ForgettingEvent(Protocol):
    """An event that may replace a state which cannot be read; one without `forgets` may not."""

    @property
    def forgets(self) -> bool:
        """Whether a durable machine may start from `initial` for this event."""


class PinnedState(Protocol):
    """A state that may have to stay in a full store; one without `is_pinned` may be forgotten."""

    def is_pinned(self, now: float) -> bool:
        """Return whether the state must not be forgotten to make room for others."""


class ForkedState(Protocol):
    """A state that counts what was granted to calls; one without `after_fork` is the same in a forked child."""

    def after_fork(self) -> Any:
        """Return the state without what was granted to calls of the parent process."""
