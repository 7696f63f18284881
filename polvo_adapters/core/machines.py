"""State machines, the events that are put to them, and the verdicts that they give."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol


class Refused(NamedTuple):
    """A verdict that refuses, and says why.

    Attributes:
        reason: The reason, for a person.
        retry_after: Seconds after which it may be worth asking again, or None where nobody knows.
        name: What to park under until then, or an empty string where waiting is of no use.
    """

    reason: str
    retry_after: float | None = None
    name: str = ""


class Wake(NamedTuple):
    """A verdict that lets those go on who are parked under these names."""

    names: Sequence[str]


class Changed(NamedTuple):
    """A verdict that tells of a change worth telling to people; the shell passes it on to the machine's listeners.

    Attributes:
        before: What it was.
        after: What it is.
        reason: The reason.
        verdict: The verdict proper.
    """

    before: str
    after: str
    reason: str
    verdict: Any = None


class Machine(Protocol):
    """State that outlives a call: a pure, total function over plain values.

    `transition` returns the new state and a verdict. The verdicts False and Refused refuse: then none of the events
    that were put to the store together with it leaves a trace.
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
