"""Retries that the caller's own urllib3 `Retry` decides.

Theory of operation. A `Retry` is code: subclasses read bodies, look at clocks, and change their counts. So it is asked
where urllib3 asks it, below the adapter, and what it says after an attempt arrives here as the `advice` of the outcome;
see `polvo_adapters.shells.requests.wire.recording_retry`. It decides whether to repeat and after how long. Around it
this policy keeps what it cannot know:

    a body that can be read once     is not sent twice
    the deadline of the call         leaves time for the wait, or the call ends with what it has
    the retry budget of the origin   bounds the repeats of all calls
    a refusal by a proxy, and what   are final
    the caller's own code raised

An attempt without advice, such as that of an adapter that does not send by urllib3, ends the call. In a shell that
never sends by urllib3 the policy that comes nearest takes its place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from polvo_adapters.core import validate
from polvo_adapters.core.calls import Call
from polvo_adapters.core.durations import format_seconds
from polvo_adapters.core.effects import Flow, Proceed, Sleep
from polvo_adapters.core.judgement import was_served
from polvo_adapters.core.notices import Notice, Retrying
from polvo_adapters.core.outcomes import Advice, Outcome
from polvo_adapters.policies.outcomes import NEVER_CURED, end_call, expire_call, explain_one_shot, keep_last_sent
from polvo_adapters.policies.retry import ExponentialBackoff
from polvo_adapters.policies.retry_budget import DEFAULT_BUDGET, RetryBudget, make_deposit, spend

if TYPE_CHECKING:
    from urllib3 import Retry


@dataclass(frozen=True, eq=False)
class AskedRetry:
    """Retries where the caller's own `Retry` says so, and after the waits that it says.

    Args:
        retry: The object, of `urllib3.Retry` or a subclass; it is never changed.
        budget: Bound on retries per origin, or None for no bound.
        listeners: Functions that are called with a `Retrying` before the wait of every retry.

    Raises:
        ValueError: A value is out of range; the message names it.
    """

    retry: Retry
    budget: RetryBudget | None = DEFAULT_BUDGET
    listeners: tuple[Callable[[Retrying], object], ...] = ()

    stack_option = "retry"

    def __post_init__(self) -> None:
        validate.instance(self, "budget", RetryBudget)
        object.__setattr__(self, "listeners", validate.listeners(self, "listeners"))

    def translate(self) -> ExponentialBackoff:
        """Return the policy that comes nearest to the object, for shells that do not send by urllib3."""
        nearest = ExponentialBackoff.from_urllib3(self.retry)
        return replace(nearest, budget=self.budget, listeners=self.listeners)

    def flow(self, call: Call, proceed: Proceed) -> Flow:
        """Run the call, and run it again while the object says so and nothing stands in the way."""
        return self._ask(call, proceed) if call.asked else self.translate().flow(call, proceed)

    def _ask(self, call: Call, proceed: Proceed) -> Flow:
        attempts = 1
        before: Outcome | None = None
        while True:
            outcome = yield from proceed(call)
            kept = keep_last_sent(outcome, before)
            if kept is not None:
                return kept
            before, advice = outcome, outcome.advice
            if advice is None or outcome.failure in NEVER_CURED:
                break
            ending = _find_obstacle(call, outcome, advice)
            if ending is not None:
                return ending
            refusal = yield from spend(self.budget, call, 1.0)
            if refusal:
                return end_call(outcome, "retry", refusal)
            attempts += 1
            call = call.after_wait((yield self._sleep(call, outcome, advice, attempts)))
            if outcome.failure is not None or outcome.status >= 500:
                call = call._replace(attempt=call.attempt + 1)
        if self.budget is not None and was_served(call, outcome):
            yield make_deposit(self.budget, call)
        return (
            end_call(outcome, "retry", f"gave up after {attempts} attempts")
            if _has_failed(outcome, attempts)
            else outcome
        )

    def _sleep(self, call: Call, outcome: Outcome, advice: Advice, attempt: int) -> Sleep:
        failure = "" if outcome.failure is None else outcome.failure.name
        notice = Notice("retry", call, attempt, 0, outcome.status, failure, listeners=self.listeners)
        return Sleep(advice.seconds, advice.seconds, advice.reason, notice, advice.sleep)


def _find_obstacle(call: Call, outcome: Outcome, advice: Advice) -> Outcome | None:
    """Return the outcome of a call that lacks a body or time for a repeat, or None."""
    if call.is_one_shot and not outcome.unsent:
        return end_call(outcome, "retry", explain_one_shot(call))
    if call.unsafe and not outcome.unsent:
        return end_call(outcome, "retry", f"{call.method} is not repeated: it was declared not idempotent")
    if call.deadline is None or call.patient:
        return None
    left = call.deadline - outcome.now
    if advice.seconds < left:
        return None
    wait, rest = format_seconds(advice.seconds), format_seconds(max(left, 0))
    reason = f"{advice.reason}, and the wait of {wait} s would overrun the deadline in {rest} s"
    return (
        expire_call(call, outcome, reason, advice.seconds)
        if outcome.failure is None
        else end_call(outcome, "retry", reason)
    )


def _has_failed(outcome: Outcome, attempts: int) -> bool:
    return attempts > 1 and (outcome.failure is not None or outcome.status >= 400)
