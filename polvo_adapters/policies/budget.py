"""How many retries a destination can take: a share of recent traffic, and a floor.

Retries of single calls multiply when everything fails at once; a budget shared by all calls to one origin bounds
that. Every call that ends deposits one request; every retry is asked for, and refused when

    spent + cost  >  ratio * requests + floor * window

where `spent` and `requests` are sums over the recent past: both fade by half every `window * ln 2` seconds, which
is one multiplication by exp(-dt / window), so that the state is three numbers whatever the traffic.

    event      state (requests, spent, at)                     verdict
    ---------  ----------------------------------------------  -------------------------------
    Deposit    fades, then requests + 1                        True
    Spend      fades, then spent + cost, if that fits          True, or False and no change

The floor lets a client that calls once a minute retry all the same. The default share, floor and window are
those of Finagle's RetryBudget (20 %, 10 a second, 10 s). Costs differ as in botocore's standard mode: a server
that throttles is well and says so, one that lets us time out costs both sides most.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from polvo_adapters.policies import validate

State: TypeAlias = tuple[float, float, float]


class Deposit(NamedTuple):
    """A call ended."""


class Spend(NamedTuple):
    """A retry is wanted."""

    cost: float


@dataclass(frozen=True)
class RetryBudget:
    """Keep retries to a share of the traffic, so that they cannot keep a failing server down.

    Share it by giving the same store to several adapters: the state is kept per origin.

    Args:
        ratio: Retries allowed per call of the recent past; 0.2 is one in five.
        floor: Retries allowed per second whatever the traffic.
        window: Length of the recent past, in seconds.
        throttle_cost: What a retry costs after 429, or after any answer with a Retry-After.
        timeout_cost: What a retry costs after a time-out.

    Raises:
        ValueError: A value is out of range.

    Source: Finagle, RetryBudget; AWS SDKs, standard retry mode.
    """

    ratio: float = 0.2
    floor: float = 10.0
    window: float = 10.0
    throttle_cost: float = 0.5
    timeout_cost: float = 2.0

    def __post_init__(self) -> None:
        for field in ("ratio", "floor", "throttle_cost", "timeout_cost"):
            validate.number(self, field, 0)
        validate.number(self, "window", 0, above=True)

    @property
    def initial(self) -> State:
        """Nothing requested, nothing spent."""
        return (0.0, 0.0, 0.0)

    def transition(self, state: State, event: Deposit | Spend, now: float) -> tuple[State, bool]:
        """Return the state after the event and whether the retry may be made."""
        requests, spent, at = state
        fade = math.exp((at - now) / self.window) if now > at else 1.0
        requests, spent = requests * fade, spent * fade
        if type(event) is Deposit:
            return (requests + 1.0, spent, now), True
        cost = event.cost if type(event) is Spend else 1.0
        if spent + cost > self.ratio * requests + self.floor * self.window:
            return state, False
        return (requests, spent + cost, now), True
