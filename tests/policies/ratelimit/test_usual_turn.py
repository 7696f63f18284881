"""A usual turn passes few functions: what is odd is asked for in one place, and only what is odd is looked at closely.

The benchmark `admission` measures how long a turn takes; a number of calls is the same on a busy processor.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import FrameType
from typing import Any

import pytest

from polvo_adapters.headers import Quota
from polvo_adapters.policies.ratelimit import AdaptiveRateLimit
from polvo_adapters.policies.ratelimit.turns import TurnRequest, TurnResult

ADAPTIVE = AdaptiveRateLimit()
HOUR = Quota("hour", 1e6, 1e6, 3600.0, 3600.0, resolution=1.0)
DAY = Quota("day", 1e7, 1e7, 86400.0, 86400.0, resolution=1.0)


class Turns:
    """Takes turns one after another, a millisecond apart, and counts the functions that the last one passed."""

    def __init__(self, quotas: Sequence[Quota]) -> None:
        self.state: Any = ADAPTIVE.initial
        self.now = 1000.0
        self.quotas = quotas
        self.passed: list[str] = []

    def take(self) -> None:
        self.passed.clear()
        self.now += 0.001
        self.state, turn = self.put(TurnRequest("items", -1, 0, 60.0, None))
        assert turn.wait == 0
        self.quotas = [quota._replace(remaining=(quota.remaining or 0) - 1) for quota in self.quotas]
        self.now += 0.001
        self.state, _ = self.put(TurnResult("items", turn.group, turn.era, 0.001, 200, self.quotas, None))

    def put(self, event: TurnRequest | TurnResult) -> tuple[Any, Any]:
        former = sys.getprofile()
        sys.setprofile(self.note)
        try:
            return ADAPTIVE.transition(self.state, event, self.now)
        finally:
            sys.setprofile(former)

    def note(self, frame: FrameType, event: str, _argument: object) -> None:
        if event == "call" and "polvo_adapters" in frame.f_code.co_filename:
            self.passed.append(frame.f_code.co_name)


@pytest.mark.parametrize(
    ("quotas", "most"),
    [([], 10), ([HOUR], 11), ([HOUR, DAY], 13)],
    ids=["nothing announced", "one quota", "two quotas"],
)
def test_a_usual_turn_passes_few_functions(quotas: list[Quota], most: int) -> None:
    turns = Turns(quotas)
    for _ in range(20):
        turns.take()
    assert len(turns.passed) <= most, turns.passed
