"""A forecast of the rate limit: the machine of `AdaptiveRateLimit`, asked for turns in virtual time.

The machine is pure, so that its future can be tried out: it gets the responses that would come if no other client spent
the quota.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

from polvo_adapters.headers import Quota
from polvo_adapters.policies.ratelimit.account import Account
from polvo_adapters.policies.ratelimit.policy import AdaptiveRateLimit
from polvo_adapters.policies.ratelimit.turns import Turn, TurnRequest, TurnResult

ROUTE = "probe"
"""Route of all requests of a forecast."""
MOST_AT_ONCE = 10_000
"""Turns that a forecast asks for at most."""
_GAPS = 8  # waits that the distance between two requests is taken from
_SETTLED = 256  # waits after which that distance changes no more
_QUICK = 1e-6  # seconds that a request takes, and between a response and the next turn
# A request that may not wait gets the whole wait, and leaves no trace.
_ASK = TurnRequest(ROUTE, -1, 0, max_wait=0.0, deadline=None)


class Forecast(NamedTuple):
    """Forecast of the rate limit, if no other client spent the quota. Times are seconds.

    Attributes:
        wait: Until the next request may go.
        reason: The reason of that wait, in the words of the rate limit.
        at_once: How many requests may go at once, `MOST_AT_ONCE` standing for that many or more.
        every: The distance of the requests after those, or None where it is unknown.
        reset: Until the tightest quota comes back, or None.
        used_up: How long a request would wait if nothing were left, or None where no quota is paced.
        most: How many may be under way at once, or None for no limit.
        max_wait: The longest wait that is not an error.
    """

    wait: float
    reason: str
    at_once: int
    every: float | None
    reset: float | None
    used_up: float | None
    most: int | None
    max_wait: float


class _Trial:
    """A machine that has got one response, and a time of its own."""

    def __init__(self, first: TurnResult) -> None:
        self.machine = AdaptiveRateLimit()
        self.state: Account
        self.state, turn = self.machine.transition(self.machine.initial, _ASK, 0.0)
        self.first = first
        self.now = self.began = first.seconds
        self.requests = 0
        self.put(turn, first)

    @property
    def is_paced(self) -> bool:
        """Whether the rate limit paces a quota."""
        return bool(self.state["paces"])

    @property
    def most(self) -> int | None:
        """How many requests may be under way at once, or None for no limit."""
        slots = min(group["slots"] for group in self.state["groups"].values())
        return None if slots == math.inf else int(slots)

    def look(self) -> Turn:
        """Return the turn that the next request would get, and leave no trace."""
        return self.machine.transition(self.state, _ASK, self.now)[1]

    def put(self, turn: Turn, result: TurnResult) -> None:
        """Pass the result of a turn to the machine."""
        result = result._replace(group=turn.group, era=turn.era)
        self.state, _ = self.machine.transition(self.state, result, self.now)

    def take_turn(self) -> float:
        """Wait for a turn, take it, pass its result, and return the seconds of the wait."""
        began = self.now = self.now + _QUICK
        while True:
            state, turn = self.machine.transition(self.state, _ASK, self.now)
            if turn.wait <= 0:
                break
            self.now += turn.wait
        self.state = state
        waited = self.now - began
        self.now += _QUICK
        self.requests += 1
        quotas = [_predict_quota(quota, self.requests, self.now - self.began) for quota in self.first.quotas]
        self.put(turn, self.first._replace(seconds=_QUICK, status=200, quotas=quotas, refused=None))
        return waited


def _is_bucket(quota: Quota) -> bool:
    """Return whether a quota comes back evenly: then its reset is when the bucket will be full."""
    if quota.limit is None or quota.remaining is None or quota.reset is None or quota.window is None:
        return False
    return math.isclose(quota.reset, (quota.limit - quota.remaining) / quota.limit * quota.window)


def _predict_quota(quota: Quota, spent: float, seconds: float) -> Quota:
    """Return a quota as it will be after some requests and some time."""
    limit, remaining, reset = quota.limit, quota.remaining, quota.reset
    if limit and remaining is not None and quota.window is not None and _is_bucket(quota):
        remaining = min(limit, max(0.0, remaining - spent + seconds / quota.window * limit))
        return quota._replace(remaining=remaining, reset=(limit - remaining) / limit * quota.window)
    return quota._replace(
        remaining=None if remaining is None else max(0.0, remaining - spent),
        reset=None if reset is None else max(0.0, reset - seconds),
    )


def forecast(result: TurnResult) -> Forecast | None:
    """Return what the rate limit would do after one response.

    Args:
        result: The response.

    Returns:
        The forecast, or None where the response says nothing of a quota.
    """
    trial = _Trial(result)
    if not trial.is_paced and trial.most is None and result.refused is None:
        return None
    first, most, reset = trial.look(), trial.most, _find_reset(result.quotas)
    used_up = None
    if trial.is_paced:
        empty = [_predict_quota(quota, math.inf, 0.0) for quota in result.quotas]
        used_up = _Trial(result._replace(quotas=empty)).look().wait
    max_wait = trial.machine.max_wait
    goes = trial.is_paced and result.refused is None and first.wait <= max_wait
    at_once, every = _spend(trial, reset) if goes else (0, None)
    return Forecast(first.wait, first.reason, at_once, every, reset, used_up, most, max_wait)


def _find_reset(quotas: Iterable[Quota]) -> float | None:
    """Return the reset of the quota that allows the lowest rate until then, buckets excepted."""
    rates = []
    for quota in quotas:
        reset = quota.window if quota.reset is None else quota.reset
        if quota.remaining is not None and reset is not None and not _is_bucket(quota):
            rates.append((quota.remaining / max(reset, _QUICK), reset))
    return min(rates)[1] if rates else None


def _spend(trial: _Trial, reset: float | None) -> tuple[int, float | None]:
    """Return how many requests may go at once, and the distance of those after them."""
    free, run, gaps = 0, 0, list[float]()
    while free < MOST_AT_ONCE and len(gaps) < _SETTLED:
        waited = trial.take_turn()
        if reset is not None and trial.now - trial.began > reset:
            break
        run = 0 if waited > 0 else run + 1
        if waited > 0:
            gaps.append(waited)
        elif run > free:
            free = run
            gaps.clear()
    gaps = gaps[-_GAPS:]
    return free, sum(gaps) / len(gaps) if gaps else None
