"""A bound on the retries to one origin: a share of the calls that it served recently, and a small reserve.

Theory of operation. Retries of single calls multiply when everything fails at once; a budget that all calls to one
origin share bounds that. It is a bucket of tokens. Every call that was *served* adds `ratio` of a token, and a retry
takes its cost. The bucket holds at most

    reserve + ratio * calls served in the recent past + trust

where the recent past fades by half every `window * ln 2` seconds, which is one multiplication by exp(-dt / window).

    event      state (tokens, served, at, began)                   verdict
    ---------  --------------------------------------------------  --------------------------------------
    Deposit    tokens + ratio, served + 1, no more than it holds   True
               for each of the calls that it stands for
    Spend      tokens - cost, if there is a token                  True, or False and no change
    Refusal    only the time                                       True

**Calls that fail add nothing.** Otherwise an outage would pay for retries as long as it lasts. The tokens at its
beginning are all there is, so that the whole outage costs `1 + (reserve + share) / calls` requests per call.

**The reserve** allows retries to a client that calls once a minute: it is full again when no retry was wanted for twice
the length of the window. It is small, because ten thousand clients have ten thousand reserves.

**Trust.** A new process has earned no retries, although cold caches and first connections cause failures without an
outage. So it starts with a hundred retries; the unused ones expire within the first window.

**Costs** differ as in botocore's standard mode: a server that throttles works, and a timeout costs both sides most. A
retry that costs more than there is takes the bucket below zero.

(Finagle, RetryBudget; gRPC, proposal A6. That deposits of failed calls keep an outage going was found in simulation:
`python -m tests.benchmarks --only overload`.)
"""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, NamedTuple

from polvo_adapters.core import validate
from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Decide, Effect, TryDecide, Undecided
from polvo_adapters.core.keywords import explain_arguments
from polvo_adapters.core.machines import Event
from polvo_adapters.core.stored_types import stored_as

_DEPOSITS = "_deposits"  # attribute with the effects that a budget has made, by origin
_MOST_KNOWN = 1024
_IDLE = 2.0  # windows; a client that calls every few seconds seldom pauses for so long by chance


class Deposit(NamedTuple):
    """Calls were served, nearly always one after the other: a store collects them, see `CountedEvent`.

    Attributes:
        calls: How many.
        seconds_ago: Time since the first of them.
    """

    calls: int = 1
    seconds_ago: float = 0.0

    def several(self, count: int, seconds_ago: float) -> Deposit:
        """Return the event that stands for so many of this one."""
        return Deposit(self.calls * count, self.seconds_ago + seconds_ago)


class Spend(NamedTuple):
    """A retry is wanted."""

    cost: float


class Refusal(NamedTuple):
    """A retry was wanted and refused, so the budget was not idle."""


@stored_as("retry-budget.1")
class RetryBudgetState(NamedTuple):
    """State of the bucket.

    Attributes:
        tokens: Tokens in the bucket.
        served: Calls served in the recent past, at the time `at`.
        at: Time of the last event.
        began: Time of the first event, or None before it.
    """

    tokens: float
    served: float
    at: float
    began: float | None


@explain_arguments
@dataclass(frozen=True)
class RetryBudget:
    """A limit of retries to a share of the calls that are served, so that they cannot keep a failing server down.

    The state is kept per origin; adapters with the same store share it.

    Args:
        ratio: Retries allowed per call that was served in the recent past; 0.2 is one in five.
        reserve: Further retries; they are available again when no retry was wanted for twice `window` seconds.
        trust: Further retries of a new process; the unused ones expire within the first `window` seconds.
        window: Length of the recent past, in seconds.
        throttle_cost: Cost of a retry after 429, or after any response with a Retry-After.
        timeout_cost: Cost of a retry after a timeout.

    Raises:
        ValueError: A value is out of range.

    Source: Finagle, RetryBudget; AWS SDKs, standard retry mode.
    """

    ratio: float = 0.2
    reserve: float = 2.0
    trust: float = 100.0
    window: float = 10.0
    throttle_cost: float = 0.5
    timeout_cost: float = 2.0

    def __post_init__(self) -> None:
        for field in ("ratio", "reserve", "trust", "throttle_cost", "timeout_cost"):
            validate.number(self, field, 0)
        validate.number(self, "window", 0, above=True)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != _DEPOSITS}

    @property
    def initial(self) -> RetryBudgetState:
        """State before the first event."""
        return RetryBudgetState(self.reserve + self.trust, 0.0, 0.0, None)

    def transition(
        self, state: RetryBudgetState, event: Deposit | Spend | Refusal, now: float
    ) -> tuple[RetryBudgetState, bool]:
        """Return the state after the event and whether the retry may be made."""
        tokens, served, at, began = state
        if began is None:
            at = began = now
        passed = now - at
        if passed > 0.0:
            served *= math.exp(-passed / self.window)
        if passed >= _IDLE * self.window:
            tokens = max(tokens, self.reserve)
        if type(event) is Deposit:
            tokens += self.ratio * event.calls
            served += event.calls * math.exp(-event.seconds_ago / self.window) if event.seconds_ago else event.calls
        trust = self.trust * max(0.0, 1.0 - (now - began) / self.window)
        tokens = min(tokens, self.reserve + self.ratio * served + trust)
        if type(event) is Spend:
            if tokens < min(1.0, event.cost):
                return state, False
            tokens -= event.cost
        return RetryBudgetState(tokens, served, now, began), True


DEFAULT_BUDGET = RetryBudget()
"""The budget of policies that are given none."""


_DEPOSIT, _REFUSAL = Deposit(), Refusal()


def spend(budget: RetryBudget | None, call: Call, cost: float) -> Generator[Effect, Any, str]:
    """Take the cost of a repeat from the budget, and return the reason why it must not be made, or an empty string.

    Args:
        budget: The budget, or None for no bound.
        call: The call that is to be repeated.
        cost: Tokens.
    """
    if budget is None:
        return ""
    name = key(call)
    try:
        verdicts = yield Decide((Event(budget, name, Spend(cost)),))
    except Undecided:
        return "not sent again, as the store of the retry budget failed"
    if verdicts[0]:
        return ""
    yield TryDecide((Event(budget, name, _REFUSAL),))
    return "the retry budget is used up"


def make_deposit(budget: RetryBudget, call: Call) -> TryDecide:
    """Return the effect that puts a call which was served into the budget; all calls to an origin have it in common."""
    origin, made = call.origin, budget.__dict__.get(_DEPOSITS)
    effect: TryDecide | None = None if made is None else made.get(origin)
    if effect is None:
        if made is None or len(made) >= _MOST_KNOWN:
            made = budget.__dict__[_DEPOSITS] = {}
        effect = made[origin] = TryDecide((Event(budget, key(call), _DEPOSIT),))
    return effect


def key(call: Call) -> str:
    """Return the key of the budget for the origin of a call, which all policies that repeat calls share."""
    return "retry budget " + call.origin
