"""One limit on the time of the whole call.

The policy only sets `Call.deadline`; whoever would wait looks at it first, and every shell keeps an attempt
within it, body included, and says EXPIRED where it cut one. What is left to do here is to say so to the caller.
"""

from __future__ import annotations

from dataclasses import dataclass

from polvo_adapters.errors import DeadlineExceeded, RateLimitDeadlineExceeded
from polvo_adapters.flow import EXPIRED, Call, Flow, Outcome, Proceed
from polvo_adapters.policies import validate


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
        outcome = yield from proceed(call.until(deadline))
        if outcome.failure is not EXPIRED:
            return outcome
        return exceeded(call, outcome, f"the deadline of {deadline - call.started:g} s is over")


def exceeded(call: Call, outcome: Outcome, reason: str, retry_after: float | None = None) -> Outcome:
    """Turn an outcome into the error that says the deadline was, or would be, overrun.

    Args:
        call: The call.
        outcome: Its last outcome; the response stays with the error.
        reason: What happened, for a person.
        retry_after: The delay that the server asked for, in seconds, where it did.

    Returns:
        An outcome with `DeadlineExceeded`, or `RateLimitDeadlineExceeded` for a 429, and the failure EXPIRED.
    """
    if isinstance(outcome.error, DeadlineExceeded) and outcome.error.host is not None:
        return outcome  # said already, by a policy further inside
    kind = RateLimitDeadlineExceeded if outcome.status == 429 else DeadlineExceeded
    advice = (
        "allow it a longer deadline, or ask for less" if retry_after is None else f"call again after {retry_after:g} s"
    )
    error = kind(
        f"{call.method} {call.host}: {reason}; {advice}",
        response=outcome.response,
        host=call.host,
        retry_after=retry_after,
    )
    error.__cause__ = outcome.error
    return outcome._replace(error=error, failure=EXPIRED)
