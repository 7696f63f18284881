"""Bodies that go on where they broke off.

Theory of operation. A body that breaks off while the caller reads it is a failed attempt, only that its beginning is
already in the caller's hands. So the flow of its rest is the flow of the retry policy, which is told that an attempt
has failed, and decides as always: whether a repeat may help, how long to wait, and whether attempts, budget and
deadline allow it. What it sends then is the request for the rest, and that passes every policy further inside (breaker,
bulkhead, rate limit) as a retry does. What stands further outside has seen the call already, and does not see it again:
a rest is never hedged, rerouted or replaced.

Each part that brings bytes begins the count of attempts anew. `max_attempts` bounds attempts in a row that bring
nothing: a body of ten gigabytes may break off more often than three times. What bounds the whole is the deadline, and
the retry budget.

The shell asks for the rest and looks after the bytes; `polvo_adapters.core.ranges` says when it may.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Flow, Policy, Proceed, compose
from polvo_adapters.core.keywords import explain_arguments
from polvo_adapters.core.outcomes import Outcome
from polvo_adapters.policies.asked_retry import AskedRetry
from polvo_adapters.policies.retry import ExponentialBackoff


@explain_arguments
@dataclass(frozen=True)
class Resume:
    """Streamed bodies of GET go on where they broke off, where the response proves that the rest is of the same bytes.

    It needs a policy that retries: without one, nothing is asked for again.
    """

    resumes = True
    stack_option = "resume"

    def flow(self, call: Call, proceed: Proceed) -> Flow:
        """Return the flow of the call, unchanged."""
        return proceed(call)


def retry_place(policies: Sequence[Policy]) -> int | None:
    """Return the place of the policy that retries, or None."""
    kinds = (ExponentialBackoff, AskedRetry)
    return next((place for place, policy in enumerate(policies) if isinstance(policy, kinds)), None)


def rest_flow(policies: Sequence[Policy], call: Call, broken: Outcome) -> Flow | None:
    """Return the flow of the rest of a body, or None where no policy retries.

    Args:
        policies: The policies of the call, outermost first.
        call: The call; its URL is the one that the body came from, its deadline that of the whole call.
        broken: The body that broke off, as the outcome of an attempt.
    """
    place = retry_place(policies)
    if place is None:
        return None
    return policies[place].flow(call, _proceed_after(broken, compose(policies[place + 1 :])))


def repeat_flow(policies: Sequence[Policy], call: Call) -> Flow:
    """Return the flow of the rest of a body that was refused for its credential, and is asked for with another one.

    Args:
        policies: The policies of the call, outermost first, one of which retries.
        call: The call, as for `rest_flow`.
    """
    return compose(policies[retry_place(policies) or 0 :])(call)


def _proceed_after(broken: Outcome, proceed: Proceed) -> Proceed:
    """Return a function whose first flow has failed already, and whose others are those of another."""
    failed = [broken]

    def proceed_after(call: Call) -> Flow:
        if failed:
            return failed.pop()
        return (yield from proceed(call))

    return proceed_after
