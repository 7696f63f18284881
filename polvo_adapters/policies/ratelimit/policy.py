"""The rate limit that learns the quotas of an API. `flow` says how a call passes it, `adaptive` is its machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from polvo_adapters.core import validate
from polvo_adapters.core.judges import FormerRefusalJudge, Judge, adapt
from polvo_adapters.core.keywords import explain_arguments
from polvo_adapters.policies.gates import Key
from polvo_adapters.policies.ratelimit.account import Account, make_account
from polvo_adapters.policies.ratelimit.adaptive import learn_result
from polvo_adapters.policies.ratelimit.configured import SlidingWindow, TokenBucket
from polvo_adapters.policies.ratelimit.flow import RateLimit
from polvo_adapters.policies.ratelimit.queue import acquire_turn, release_turn
from polvo_adapters.policies.ratelimit.turns import ReleaseTurn, Turn, TurnRequest, TurnResult

__all__ = ["Adaptive", "AdaptiveRateLimit", "RateLimit", "SlidingWindow", "TokenBucket"]

_FREE = {"spread": 0.5, "burst": 0.0, "even": 1.0}  # part of a quota that is spread over its window


@explain_arguments
@dataclass(frozen=True)
class AdaptiveRateLimit(RateLimit):
    """A rate limit that learns the quota of an API, uses all of it, and hardly ever meets a 429.

    It reads what the API announces about its quotas in any of the dialects of `polvo_adapters.headers`, learns which
    routes count in which quota, paces requests to the tightest one, and takes a fair share where other clients use it
    too. Where an API announces nothing, it finds the rate from the refusals.

    Args:
        pace: "spread" spends freely while more than half of a quota is left and spreads the rest over the time to
            the reset, but spends a quota of more than two hours as it is wanted; "burst" spends all that is there, and
            then waits for the reset; "even" spreads all of every quota over its window, that of a day too.
        max_wait: Longest wait for a turn, in seconds; a longer one raises RateLimitError at once.
        judge: As for TokenBucket.
        key: As for TokenBucket. It is rarely needed, because which routes share a quota is learned.

    Raises:
        ValueError: A value is out of range.

    Source: `polvo_adapters.policies.ratelimit.pacing` names the literature.
    """

    pace: Literal["spread", "burst", "even"] = "spread"
    max_wait: float = 60.0
    judge: Judge | None = None
    key: Key = "origin"

    reports_every_outcome = True
    state_type = Account

    def __post_init__(self) -> None:
        validate.choice(self, "pace", tuple(_FREE))
        validate.number(self, "max_wait", 0, infinite=True)
        validate.key(self, "key")
        adapt(self, FormerRefusalJudge)

    @property
    def initial(self) -> Account:
        """An account without quotas."""
        return make_account()

    def transition(
        self, state: Account, event: TurnRequest | TurnResult | ReleaseTurn, now: float
    ) -> tuple[Account, Turn]:
        """Return the account after a turn, a result, or a call that was broken off, and the turn."""
        if isinstance(event, TurnRequest):
            return acquire_turn(state, event, now)
        if isinstance(event, ReleaseTurn):
            return release_turn(state, event.turn, now), Turn()
        return learn_result(state, event, now, free=_FREE[self.pace])


Adaptive = AdaptiveRateLimit
"""The earlier name of AdaptiveRateLimit."""
