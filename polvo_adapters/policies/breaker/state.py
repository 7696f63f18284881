"""The events, permits and states of a circuit."""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple, TypeAlias

from polvo_adapters.core.stored_types import stored_as

CLOSED, OPEN, HALF_OPEN = "closed", "open", "half-open"
ISOLATED, DISABLED, OBSERVED = "isolated", "disabled", "observed"
LOOK = ""

Result: TypeAlias = Literal["success", "failure", "doubtful", "reachable", "nothing"]
"""What a call says of the host: "reachable" is an error status that is no failure, "doubtful" may be one."""


class AcquirePermit(NamedTuple):
    """Event: a call begins."""


@stored_as("circuit-result.1")
class CallResult(NamedTuple):
    """Event: a call is over.

    Attributes:
        era: Era of its permit.
        probe: Number of the probe, or 0.
        result: What it says of the host.
        seconds: How long it took.
        repeat: Whether it is not the first attempt of its call.
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
    """Permission for a call: its era, the number of the probe or 0, and the event if all goes well."""

    era: int
    probe: int
    success: CallResult


class ManualControl(NamedTuple):
    """Event: the user looks at the circuit (LOOK), or sets it to CLOSED, ISOLATED, DISABLED or OBSERVED."""

    state: str


class CircuitStatus(NamedTuple):
    """The state of a circuit, for the user.

    Attributes:
        state: "closed", "open" or "half-open".
        hand: "isolated", "disabled" or "observed" where the user has set it to that, or an empty string.
        calls: Calls in the window; without a window, failures in a row.
        failures: How many of them failed.
        slow: How many were slow.
        retry_after: Seconds until a probe may pass, or None where calls pass.
        reason: Why it opened last.
        open_for: Seconds since it opened first after it had been closed; None where it is closed, or that is not known.
    """

    state: str
    hand: str
    calls: int
    failures: int
    slow: int
    retry_after: float | None
    reason: str
    open_for: float | None = None


@stored_as("circuit.2", former="circuit.1", state=(CLOSED, OPEN, HALF_OPEN), hand=("", ISOLATED, DISABLED, OBSERVED))
class CircuitState(NamedTuple):
    """State of a circuit.

    Attributes:
        state: "closed", "open" or "half-open".
        permit: The permit of calls while it is closed.
        recent: State of the window.
        open_until: When it becomes half-open.
        opened: How often it opened since it was closed.
        probes: Numbers of the probes under way, and when their leases end.
        succeeded: How many probes succeeded.
        issued: How many probes there ever were.
        reason: Why it opened.
        hand: What the user set it to, or an empty string.
        opened_at: When it opened first after it had been closed, or minus infinity.
        doubt_until: Until when failures in doubt do not count, unless a call succeeds before, or when the last one
            counted; 0 where there are none.
    """

    state: str
    permit: Permit
    recent: Any
    open_until: float = 0.0
    opened: int = 0
    probes: tuple[tuple[int, float], ...] = ()
    succeeded: int = 0
    issued: int = 0
    reason: str = ""
    hand: str = ""
    opened_at: float = -math.inf
    doubt_until: float = 0.0

    def after_fork(self) -> CircuitState:
        """Return the state for a child process: the probes under way belong to its parent."""
        return self._replace(probes=())


def new_permit(era: int, probe: int = 0) -> Permit:
    """Return a permit; its event for success is made once for all calls of an era."""
    return Permit(era, probe, CallResult(era, probe, "success"))
