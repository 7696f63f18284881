"""How many retries a destination can take: a share of what it has served lately, and a small reserve.

Retries of single calls multiply when everything fails at once; a budget shared by all calls to one origin bounds
that. It is a bucket of tokens. Every call that was *served* adds `ratio` of a token, and a retry takes its cost. The
bucket holds at most

    reserve + ratio * calls served in the recent past + trust

where the recent past fades by half every `window * ln 2` seconds, which is one multiplication by exp(-dt / window).

    event      state (tokens, served, at, began)                   verdict
    ---------  --------------------------------------------------  --------------------------------------
    Deposit    tokens + ratio, served + 1, no more than it holds   True
    Spend      tokens - cost, if there is a token                  True, or False and no change
    Refusal    only the time                                       True

**Calls that fail add nothing.** Else an outage would pay for retries as long as it lasts: a server that serves nobody
would get as many of them as a busy one. What was saved up when it began is all there is, so that the whole outage
costs `1 + (reserve + share) / calls` requests per call.

**The reserve** lets a client that calls once a minute retry all the same: it is back when nobody wanted anything of
the budget for twice the length of the window. It is small, because ten thousand clients have ten thousand reserves.

**Trust.** Who has just started has earned nothing yet, and cold caches and first connections fail together without
an outage. So there are a hundred retries to begin with; those that are not used are gone when the window is over.

**Costs** differ as in botocore's standard mode: a server that throttles is well and says so, one that lets us time
out costs both sides most. A retry that costs more than there is goes into debt.

(Finagle, RetryBudget; gRPC, proposal A6. That deposits of failed calls keep an outage going was found in simulation:
`python -m tests.benchmarks --only overload`.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from polvo_adapters.core import validate
from polvo_adapters.core.calls import Call
from polvo_adapters.core.stored_types import stored_as

_IDLE = 2.0  # windows; who calls every few seconds seldom pauses for so long by chance


class Deposit(NamedTuple):
    """A call was served."""


class Spend(NamedTuple):
    """A retry is wanted."""

    cost: float


class Refusal(NamedTuple):
    """A retry was wanted, and refused: the budget was not left alone."""


@stored_as("retry-budget.1")
class RetryBudgetState(NamedTuple):
    """What the bucket holds.

    Attributes:
        tokens: What is in it.
        served: Calls served in the recent past.
        at: When that was.
        began: When the first event came, or None before it.
    """

    tokens: float
    served: float
    at: float
    began: float | None


@dataclass(frozen=True)
class RetryBudget:
    """Keep retries to a share of the calls that are served, so that they cannot keep a failing server down.

    Share it by giving the same store to several adapters: the state is kept per origin.

    Args:
        ratio: Retries allowed per call that was served in the recent past; 0.2 is one in five.
        reserve: Retries that are allowed besides; what was taken of them comes back when none was wanted for twice
            `window` seconds.
        trust: Retries that are allowed besides to one that has just started; what is left of them fades with the first
            `window` seconds.
        window: Length of the recent past, in seconds.
        throttle_cost: What a retry costs after 429, or after any answer with a Retry-After.
        timeout_cost: What a retry costs after a time-out.

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

    @property
    def initial(self) -> RetryBudgetState:
        """What one is trusted with that has just started."""
        return RetryBudgetState(self.reserve + self.trust, 0.0, 0.0, None)

    def transition(
        self, state: RetryBudgetState, event: Deposit | Spend | Refusal, now: float
    ) -> tuple[RetryBudgetState, bool]:
        """Return the state after the event and whether the retry may be made."""
        tokens, served, at, began = state
        if began is None:
            at = began = now
        passed = max(0.0, now - at)
        served *= math.exp(-passed / self.window)
        if passed >= _IDLE * self.window:
            tokens = max(tokens, self.reserve)
        if type(event) is Deposit:
            tokens, served = tokens + self.ratio, served + 1.0
        trust = self.trust * max(0.0, 1.0 - (now - began) / self.window)
        tokens = min(tokens, self.reserve + self.ratio * served + trust)
        if type(event) is Spend:
            if tokens < min(1.0, event.cost):
                return state, False
            tokens -= event.cost
        return RetryBudgetState(tokens, served, now, began), True


def key(call: Call) -> str:
    """Return what the budget of the destination of a call is kept under; one for all that repeats calls."""
    return "retry budget " + call.origin
