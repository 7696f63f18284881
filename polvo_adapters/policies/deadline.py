"""One limit on the time of the whole call.

The policy only sets `Call.deadline`; whoever would wait looks at it first, and every shell keeps an attempt
within it, body included, and says EXPIRED where it cut one. What is left to do here is to say so to the caller.
"""

from __future__ import annotations

from dataclasses import dataclass

from polvo_adapters.core import validate
from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Flow, Proceed
from polvo_adapters.core.outcomes import EXPIRED
from polvo_adapters.policies.outcomes import exceeded


@dataclass(frozen=True)
class Deadline:
    """Bound the whole logical call: attempts, waits, and reading the body of a server that drips it.

    `timeout=` of `requests` bounds each silence of the server, so a byte a second keeps a call alive for ever;
    this bounds the sum.

    Args:
        seconds: Time for the whole call.

    Raises:
        ValueError: `seconds` is not a positive number.
    """

    seconds: float

    def __post_init__(self) -> None:
        validate.number(self, "seconds", 0, above=True)

    def flow(self, call: Call, proceed: Proceed) -> Flow:
        """Run the call within the deadline; a deadline that it already has is only ever shortened."""
        deadline = call.started + self.seconds
        if call.deadline is not None and call.deadline < deadline:
            deadline = call.deadline
        outcome = yield from proceed(call.with_deadline(deadline))
        if outcome.failure is not EXPIRED:
            return outcome
        return exceeded(call, outcome, f"the deadline of {deadline - call.started:g} s is over")
