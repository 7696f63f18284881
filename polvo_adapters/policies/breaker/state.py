"""What is asked of a circuit, what is told to it, and what it keeps."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, TypeAlias

from polvo_adapters.core.stored_types import stored_as

CLOSED, OPEN, HALF_OPEN = "closed", "open", "half-open"
ISOLATED, DISABLED, OBSERVED = "isolated", "disabled", "observed"
LOOK = ""

Result: TypeAlias = Literal["success", "failure", "answer", "nothing"]
"""What came of a call; "answer" is one that says only that the host is there."""


class AcquirePermit(NamedTuple):
    """A call wants to pass."""


@stored_as("circuit-result.1")
class CallResult(NamedTuple):
    """A call is over.

    Attributes:
        era: Era in which it was let through.
        probe: Number of the probe, or 0.
        result: What came of it.
        seconds: How long it took.
        repeat: Whether it was tried before.
        retry_after: Seconds that the server asked to wait, or None.
    """

    era: int
    probe: int
    result: Result
    seconds: float = 0.0
    repeat: bool = False
    retry_after: float | None = None


@stored_as("circuit-permit.1")
class Permit(NamedTuple):
    """What a call was let through by.

    Attributes:
        era: How often the circuit had changed.
        probe: Number of the probe, or 0.
        success: What to tell if all goes well: made once for all calls of an era.
    """

    era: int
    probe: int
    success: CallResult


class ManualControl(NamedTuple):
    """Somebody looks at the circuit (LOOK), or sets it to CLOSED, ISOLATED, DISABLED or OBSERVED."""

    state: str


class CircuitStatus(NamedTuple):
    """How a circuit stands.

    Attributes:
        state: "closed", "open" or "half-open".
        hand: "isolated", "disabled" or "observed" where somebody has set it to that, or an empty string.
        calls: Calls that it remembers, as far as its window goes; of failures in a row, these alone.
        failures: How many of them failed.
        slow: How many were slow.
        retry_after: Seconds until a probe may pass, or None where calls pass.
        reason: Why it opened last.
    """

    state: str
    hand: str
    calls: int
    failures: int
    slow: int
    retry_after: float | None
    reason: str


@stored_as("circuit.1")
class CircuitState(NamedTuple):
    """State of a circuit.

    Attributes:
        state: "closed", "open" or "half-open".
        permit: What calls pass by while it is closed.
        recent: State of the window.
        until: When it becomes half-open.
        opened: How often it opened since it was closed.
        probes: Numbers of the probes under way, and when their leases end.
        succeeded: Probes that did well.
        issued: Probes there ever were.
        reason: Why it opened.
        hand: What it was set to by hand, or an empty string.
    """

    state: str
    permit: Permit
    recent: Any
    until: float = 0.0
    opened: int = 0
    probes: tuple[tuple[int, float], ...] = ()
    succeeded: int = 0
    issued: int = 0
    reason: str = ""
    hand: str = ""

    def after_fork(self) -> CircuitState:
        """Return what it is in a child: the probes under way are its parent's."""
        return self._replace(probes=())


def new_permit(era: int, probe: int = 0) -> Permit:
    """Return a permit, and with it what to tell if all goes well."""
    return Permit(era, probe, CallResult(era, probe, "success"))
