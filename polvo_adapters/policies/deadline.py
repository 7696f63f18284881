"""One limit on the time of the whole call.

The policy only sets `Call.deadline`. Policies look at it before they wait, and every shell keeps an attempt within it,
body included, and ends one that would exceed it with EXPIRED. The policy turns that into the error for the caller.
"""

from __future__ import annotations

from dataclasses import dataclass

from polvo_adapters.core import validate
from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Flow, Proceed
from polvo_adapters.core.outcomes import EXPIRED, Outcome
from polvo_adapters.policies.outcomes import expire_call


@dataclass(frozen=True)
class Deadline:
    """A bound on the whole logical call: attempts, waits, and reading the body of a server that drips it.

    `timeout=` of `requests` bounds each silence of the server, so a byte a second keeps a call alive for ever; the
    deadline bounds the sum.

    Args:
        seconds: Time for the whole call.

    Raises:
        ValueError: `seconds` is not a positive number.
    """

    seconds: float

    stack_option = "deadline"

    def __post_init__(self) -> None:
        validate.number(self, "seconds", 0, above=True)

    def flow(self, call: Call, proceed: Proceed) -> Flow:
        """Run the call within the deadline, or within the one that it has if that is earlier."""
        deadline = call.started + self.seconds
        if call.deadline is not None and call.deadline < deadline:
            deadline = call.deadline
        outcome = yield from proceed(call if call.deadline == deadline else call.with_deadline(deadline))
        return outcome if outcome.failure is not EXPIRED else _expire(deadline, call, outcome)


@dataclass(frozen=True)
class CallDeadline:
    """The deadline that a session has given the call, or none: only the error for the caller is made here."""

    stack_option = "deadline"

    def flow(self, call: Call, proceed: Proceed) -> Flow:
        """Run the call within its deadline."""
        outcome = yield from proceed(call)
        is_over = outcome.failure is EXPIRED and call.deadline is not None
        return _expire(call.deadline, call, outcome) if is_over else outcome  # type: ignore[arg-type]


def _expire(deadline: float, call: Call, outcome: Outcome) -> Outcome:
    return expire_call(call, outcome, f"the deadline of {deadline - call.started:g} s is over")
