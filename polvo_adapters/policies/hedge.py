"""A second attempt where the first takes too long, and the response that comes first.

Theory of operation. One response in a hundred that takes a hundred times as long (a pause of a garbage collector, a
lost packet, a busy replica) decides what the slowest calls feel like. Such slowness sticks to the attempt and not to
the request: another attempt is most likely as fast as usual.

    start ──▶ response within the delay ──────────────────────────▶ it
       └────▶ no response ──▶ allowed? ──▶ start another ──▶ the first good response; the other attempt is cancelled
                                 └──no───▶ wait

**The delay** is a percentile of the recent latencies of the origin, times a margin. Until the percentile is known
nothing is hedged.

**Allowed** means two things, decided together, all or nothing: each call earns a fraction of a hedge, and a hedge costs
one; and it takes from the retry budget of the origin, as a retry does. Where everything is slow, a hedge is of no use
and costs strength that the server does not have: there the fraction is the limit, one in fifty.

    event          state (allowance, latencies)                   verdict
    -------------  ---------------------------------------------  ------------------------------------
    PlanHedge      allowance + ratio, up to ten                   Plan: the delay or None, and the time
    SpendHedge     allowance - 1, if there is that much           True, or False and no change
    RecordLatency  latencies + now - the time of the plan         True

**The latency recorded** is how long the call waited for its first attempt, whether or not that one won. A lost attempt
would have taken longer than the delay, thus longer than the percentile, and that is all that a percentile needs. To
leave such calls out, or to take the time of the winner, would make the percentile smaller with every hedge, and that
would make more hedges. A call is not recorded where its first attempt failed or its end was bad. Queues and retries
further inside count as time: where calls queue at our own limits, a hedge would only lengthen the queue.

**A bad response** is returned, unless an attempt is still under way that may do better. To try again is the task of
retries, so that a server that asks for a pause (429, Retry-After) gets no hedge.
"""

from __future__ import annotations

from collections.abc import Collection, Generator
from dataclasses import dataclass
from typing import Any, NamedTuple

from polvo_adapters.core import validate
from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Decide, Effect, Flow, Proceed, Race, Start, TryDecide, Undecided, WaitAny
from polvo_adapters.core.judgement import was_served
from polvo_adapters.core.keywords import explain_arguments
from polvo_adapters.core.machines import Event
from polvo_adapters.core.notices import Notice
from polvo_adapters.core.outcomes import Outcome
from polvo_adapters.core.stored_types import stored_as
from polvo_adapters.policies import hedge_latency, retry_budget
from polvo_adapters.policies.hedge_latency import Latencies
from polvo_adapters.policies.outcomes import (
    RACED_METHODS,
    add_note,
    can_send_at_once,
    choose_most_informative,
    is_safe,
)
from polvo_adapters.policies.retry_budget import DEFAULT_BUDGET, RetryBudget

__all__ = ["Hedge"]

_INITIAL_ALLOWANCE = 1.0  # hedges that a new origin is granted
_MAX_ALLOWANCE = 10.0  # hedges that can be saved up
_COST = retry_budget.Spend(1.0)


class PlanHedge(NamedTuple):
    """Event: a call begins."""


class SpendHedge(NamedTuple):
    """Event: a call needs a hedge."""


class RecordLatency(NamedTuple):
    """Event: a call that began at a time has its response now."""

    began: float


class Plan(NamedTuple):
    """Verdict: seconds after which to hedge, or None, and the time now."""

    delay: float | None
    began: float


@stored_as("hedge.1")
class HedgeState(NamedTuple):
    """State of an origin: the hedges that have been saved up, and its latencies."""

    allowance: float
    latencies: Latencies


_PLAN, _SPEND = PlanHedge(), SpendHedge()


@explain_arguments
@dataclass(frozen=True)
class Hedge:
    """A second attempt where the response is late, for at most 2 % more requests; the first response is returned.

    Args:
        delay: Seconds before the second attempt; by default, `margin` times the latency at `percentile`.
        percentile: Percentile of the recent latencies of the origin, at most 0.99.
        margin: Factor by which the percentile is multiplied.
        max_hedges: Further attempts of one call, each after the delay; usually one is enough.
        ratio: Hedges per call at most; 0.02 is one in fifty. Up to ten can be saved up; a new origin has one.
        budget: The budget that retries of the origin take from as well, or None for no such bound. Retries pay into
            it: without a retry policy further inside, give None.
        methods: Methods that are safe to send twice at once; None declares every method safe. A call that is declared
            idempotent always is.

    Raises:
        ValueError: A value is out of range.

    Source: J. Dean, L. A. Barroso, "The Tail at Scale", CACM 56(2), 2013. Pushback as in gRPC, proposal A6.
    """

    delay: float | None = None
    percentile: float = 0.95
    margin: float = 1.25
    max_hedges: int = 1
    ratio: float = 0.02
    budget: RetryBudget | None = DEFAULT_BUDGET
    methods: Collection[str] | None = RACED_METHODS

    stack_option = "hedge"
    races = True

    def __post_init__(self) -> None:
        if self.delay is not None:
            validate.number(self, "delay", 0)
        validate.number(self, "percentile", 0, above=True, high=0.99)
        validate.number(self, "margin", 1)
        validate.count(self, "max_hedges", 1)
        validate.number(self, "ratio", 0, above=True)
        validate.instance(self, "budget", RetryBudget)
        object.__setattr__(self, "methods", validate.methods(self, "methods"))

    def flow(self, call: Call, proceed: Proceed) -> Flow:
        """Run the call, and run it again beside that where it is late."""
        if call.repeated or not is_safe(call, self.methods) or not can_send_at_once(call):
            return (yield from proceed(call))
        key = f"hedge {call.origin}"
        try:
            plan: Plan = (yield Decide((Event(self, key, _PLAN),)))[0]
        except Undecided:
            return (yield from proceed(call))  # a hedge is never needed
        if plan.delay is not None:
            outcome: Outcome = yield Race(self._race(call, proceed, key, plan.delay, plan.began))
            return outcome
        outcome = yield from proceed(call)
        if was_served(call, outcome):
            yield TryDecide((Event(self, key, RecordLatency(plan.began)),))
        return outcome

    def _race(self, call: Call, proceed: Proceed, key: str, delay: float, began: float) -> Flow:
        yield Start(proceed(call))
        started, hedging = 1, True
        bad: dict[int, Outcome] = {}
        while len(bad) < started:
            ended = yield WaitAny(delay if hedging and started <= self.max_hedges else None)
            if ended is None:
                hedging = yield from self._spend(call, key)
                if hedging:
                    again = call._replace(attempt=call.attempt + started)
                    notice = Notice("hedge", again, started + 1, self.max_hedges + 1)
                    # None: there is no thread for it, and the call goes on without.
                    hedging = (yield Start(proceed(again), f"no response after {delay:.3g} s", notice)) is not None
                    started += hedging
                continue
            number, outcome = ended
            # 409 says of a call with a key that the server works on the other attempt.
            if was_served(call, outcome) and not (call.key and outcome.status == 409):
                if self.delay is None and 0 not in bad:
                    yield TryDecide((Event(self, key, RecordLatency(began)),))
                return add_note(outcome, f"hedged: attempt {number + 1} answered first", "hedge") if number else outcome
            bad[number], hedging = outcome, False
        return choose_most_informative(bad[number] for number in sorted(bad))

    def _spend(self, call: Call, key: str) -> Generator[Effect, Any, bool]:
        """Take a hedge from the allowance and from the budget; return whether both had one."""
        events = [Event(self, key, _SPEND)]
        if self.budget is not None:
            events.append(Event(self.budget, retry_budget.key(call), _COST))
        try:
            return all((yield Decide(events)))
        except Undecided:
            return False

    @property
    def initial(self) -> HedgeState:
        """An allowance of one hedge, and no latencies."""
        return HedgeState(_INITIAL_ALLOWANCE, Latencies())

    def transition(
        self, state: HedgeState, event: PlanHedge | SpendHedge | RecordLatency, now: float
    ) -> tuple[HedgeState, Plan | bool]:
        """Plan, spend or record; see the table of this module."""
        allowance, latencies = state
        if type(event) is PlanHedge:
            earned = HedgeState(min(allowance + self.ratio, max(_MAX_ALLOWANCE, self.ratio)), latencies)
            return earned, Plan(self._hedge_delay(latencies, now), now)
        if type(event) is RecordLatency:
            seconds = now - event.began
            return HedgeState(allowance, hedge_latency.add(latencies, seconds, self.percentile, now)), True
        if allowance < 1:
            return state, False
        return HedgeState(allowance - 1, latencies), True

    def _hedge_delay(self, latencies: Latencies, now: float) -> float | None:
        if self.delay is not None:
            return self.delay
        percentile = hedge_latency.recent_percentile(latencies, now)
        return None if percentile is None else percentile * self.margin
