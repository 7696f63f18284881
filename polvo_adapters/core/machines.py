"""State machines, the events that are put to them, and the verdicts that they give."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol


class Refused(NamedTuple):
    """A verdict that refuses, with the reason.

    Attributes:
        reason: The reason, for a person.
        retry_after: Seconds after which it may be worth asking again, or None where that is unknown.
        name: Name to park under until then, or an empty string where waiting is of no use.
    """

    reason: str
    retry_after: float | None = None
    name: str = ""


class Wake(NamedTuple):
    """A verdict that wakes the calls parked under these names."""

    names: Sequence[str]


class Changed(NamedTuple):
    """A verdict that reports a change of interest to people; the shell notifies the listeners of the machine.

    Attributes:
        before: State before the change.
        after: State after the change.
        reason: The reason, for a person.
        verdict: The verdict for the flow.
        is_trouble: Whether a person may have to do something about it; it is logged as a warning.
    """

    before: str
    after: str
    reason: str
    verdict: Any = None
    is_trouble: bool = False


class Machine(Protocol):
    """State that outlives a call: a pure, total function over plain values.

    `transition` returns the new state and a verdict. The verdicts False and Refused refuse: then none of the events
    that were put to the store together with it leaves a trace. What else machines, events and states may have is in
    `polvo_adapters.core.machine_protocols`.
    """

    @property
    def initial(self) -> Any:
        """State of a key that the store has not seen; a plain, picklable value."""

    def transition(self, state: Any, event: Any, now: float) -> tuple[Any, Any]:
        """Return the state after `event` at `now`, and the verdict for the flow that asked."""


class Event(NamedTuple):
    """One event for one machine; the store keeps a state per key."""

    machine: Machine
    key: str
    event: Any
