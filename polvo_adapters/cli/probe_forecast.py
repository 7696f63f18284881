"""What a rate limit would make of a quota: the machine of `Adaptive`, asked for turns in seconds that nobody waits for.

The machine is pure, so that its future can be tried out: it is told answers as they would come if nobody else spent the
quota.
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
"""What all requests are for."""

MOST_AT_ONCE = 10_000
"""Turns that a forecast asks for; whoever gets that many need not know how many more there would be."""
_GAPS = 8  # waits that the distance between two requests is taken from
_SETTLED = 256  # waits after which that distance changes no more
_QUICK = 1e-6  # seconds that a request takes, and between an answer and the next question
_ASK = TurnRequest(
    ROUTE, -1, 0, max_wait=0.0, deadline=None
)  # who may not wait is told the whole wait, and leaves no trace


class Forecast(NamedTuple):
    """What the rate limit would do, if nobody else spent the quota. Times are seconds.

    Attributes:
        wait: Until the next request may go.
        reason: What it would wait for, in the words of the rate limit.
        at_once: How many requests may go at once, `MOST_AT_ONCE` standing for that many or more.
        every: What lies between the requests after those, or None where it was not found out.
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
    """A machine that has heard one answer, and time that passes only here."""

    def __init__(self, told: TurnResult) -> None:
        self.machine = AdaptiveRateLimit()
        self.state: Account
        self.state, admission = self.machine.transition(self.machine.initial, _ASK, 0.0)
        self.told = told
        self.now = self.heard = told.seconds
        self.requests = 0
        self.answer(admission, told)

    @property
    def paced(self) -> bool:
        """Whether there is a quota to keep to."""
        return any(group["paces"] for group in self.state["groups"].values())

    @property
    def most(self) -> int | None:
        """How many requests may be under way at once, or None for no limit."""
        slots = min(group["slots"] for group in self.state["groups"].values())
        return None if slots == math.inf else int(slots)

    def look(self) -> Turn:
        """Return what the next request would be told; that it asked leaves no trace."""
        return self.machine.transition(self.state, _ASK, self.now)[1]

    def ask(self) -> Turn | None:
        """Let a request go, if it may."""
        state, admission = self.machine.transition(self.state, _ASK, self.now)
        if admission.wait > 0:
            return None
        self.state = state
        return admission

    def answer(self, admission: Turn, told: TurnResult) -> None:
        """Let an answer come."""
        told = told._replace(group=admission.group, era=admission.era)
        self.state, _ = self.machine.transition(self.state, told, self.now)

    def accept(self, admission: Turn) -> None:
        """Let the answer come that the next request would get if nobody else spent the quota."""
        self.requests += 1
        later = self.now - self.heard
        quotas = [_later(quota, self.requests, later) for quota in self.told.quotas]
        self.answer(admission, self.told._replace(seconds=_QUICK, status=200, quotas=quotas, refused=None))

    def turn(self) -> float:
        """Wait for a turn, take it, and return how long the wait was."""
        began = self.now = self.now + _QUICK
        while (admission := self.ask()) is None:
            self.now += self.look().wait
        waited = self.now - began
        self.now += _QUICK
        self.accept(admission)
        return waited


def _refills(quota: Quota) -> bool:
    """Tell whether a quota comes back evenly: then its reset is when the bucket will be full."""
    if quota.limit is None or quota.remaining is None or quota.reset is None or quota.window is None:
        return False
    return math.isclose(quota.reset, (quota.limit - quota.remaining) / quota.limit * quota.window)


def _later(quota: Quota, spent: float, seconds: float) -> Quota:
    """Return what a quota will be after some requests and some time."""
    limit, remaining, reset = quota.limit, quota.remaining, quota.reset
    if limit and remaining is not None and quota.window is not None and _refills(quota):
        remaining = min(limit, max(0.0, remaining - spent + seconds / quota.window * limit))
        return quota._replace(remaining=remaining, reset=(limit - remaining) / limit * quota.window)
    return quota._replace(
        remaining=None if remaining is None else max(0.0, remaining - spent),
        reset=None if reset is None else max(0.0, reset - seconds),
    )


def forecast(told: TurnResult) -> Forecast | None:
    """Try out what the rate limit would do after one answer.

    Args:
        told: The answer.

    Returns:
        The forecast, or None where the answer gives the rate limit nothing to go by.
    """
    trial = _Trial(told)
    if not trial.paced and trial.most is None and told.refused is None:
        return None
    first, most, reset = trial.look(), trial.most, _reset(told.quotas)
    used_up = _used_up(told) if trial.paced else None
    max_wait = trial.machine.max_wait
    goes = trial.paced and told.refused is None and first.wait <= max_wait
    at_once, every = _spend(trial, reset) if goes else (0, None)
    return Forecast(first.wait, first.reason, at_once, every, reset, used_up, most, max_wait)


def _reset(quotas: Iterable[Quota]) -> float | None:
    """Return when the quota comes back that allows the least until then; a bucket does so all the time."""
    rates = []
    for quota in quotas:
        reset = quota.window if quota.reset is None else quota.reset
        if quota.remaining is not None and reset is not None and not _refills(quota):
            rates.append((quota.remaining / max(reset, _QUICK), reset))
    return min(rates)[1] if rates else None


def _spend(trial: _Trial, reset: float | None) -> tuple[int, float | None]:
    """Return how many may go at once, and what lies between those after them."""
    free, run, gaps = 0, 0, list[float]()
    while free < MOST_AT_ONCE and len(gaps) < _SETTLED:
        waited = trial.turn()
        if reset is not None and trial.now - trial.heard > reset:
            break
        run = 0 if waited > 0 else run + 1
        if waited > 0:
            gaps.append(waited)
        elif run > free:
            free = run
            gaps.clear()
    gaps = gaps[-_GAPS:]
    return free, sum(gaps) / len(gaps) if gaps else None


def _used_up(told: TurnResult) -> float:
    """Return how long a request waits after an answer that leaves nothing."""
    trial = _Trial(told._replace(quotas=[_later(quota, math.inf, 0.0) for quota in told.quotas]))
    return trial.look().wait


# What is shown.
