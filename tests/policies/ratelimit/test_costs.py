"""What a request takes of a quota that does not count requests, learned from what remains."""

from __future__ import annotations

from itertools import pairwise

import pytest

from polvo_adapters.policies.ratelimit.account import Account, Key, make_account
from polvo_adapters.policies.ratelimit.costs import learn_cost
from polvo_adapters.policies.ratelimit.pacing import state
from polvo_adapters.policies.ratelimit.pacing.state import Pace, Seen

PERCENT: Key = ("app", "", "percent", 3600.0, "*")
TOKENS: Key = ("tokens", "", "tokens", 60.0, "*")


def make_pace() -> Pace:
    return state.start_pace(Seen(0.0, 100.0, 3600.0, 100.0, None, 1.0), 0.0)


def spend(account: Account, cost: float, requests: int, seconds: float = 0.1, begin: int = 0) -> tuple[float, float]:
    """Send requests one after the other, of which the server shows whole percent, and return what was learned."""
    learned = (0.0, 0.0)
    for number in range(begin + 1, begin + requests + 1):
        now = number * seconds
        left = 100.0 - float(int(number * cost + 1e-9))
        learned = learn_cost(account, PERCENT, left, make_pace(), now - 0.05, now, accepted=True)
    return learned


@pytest.mark.parametrize("cost", [0.02, 0.1, 0.5, 0.7, 1.0, 2.5])
@pytest.mark.parametrize("seconds", [0.1, 20.0])
def test_the_cost_of_a_request_in_percent_is_found(cost: float, seconds: float) -> None:
    found, left = spend(make_account(), cost, int(20 / cost), seconds)
    assert found == pytest.approx(cost, rel=0.15)
    assert left == pytest.approx(80.0, abs=1.0)


def test_what_is_left_between_two_rises_falls_with_each_request() -> None:
    account = make_account()
    lefts = [spend(account, 0.1, 1, begin=number)[1] for number in range(300)]
    assert all(later < earlier for earlier, later in pairwise(lefts[-8:-1]))


def test_a_request_that_takes_next_to_nothing_is_not_held_back() -> None:
    found, left = spend(make_account(), 0.0001, 500)
    assert left / found > 10_000


def test_a_cost_that_others_made_look_high_is_put_right_by_the_own_requests() -> None:
    account = make_account()
    spend(account, 2.0, 10)
    pace = make_pace()
    pace["refills"], pace["fresh"] = "sliding", 100.0
    found, _ = learn_cost(account, PERCENT, 50.0, pace, 100.0, 101.0, accepted=True)
    assert found == pytest.approx(0.51)


def test_a_slow_rise_does_not_make_the_cost_lower() -> None:
    account = make_account()
    spend(account, 1.0, 20)
    found = 0.0
    for number in range(200):  # as many come back as go
        now = 1000.0 + 30 * number
        found, _ = learn_cost(account, PERCENT, 79.0 + number % 2, make_pace(), now - 0.1, now, accepted=True)
    assert found >= 0.9


def test_the_cost_in_tokens_is_what_responses_show() -> None:
    account, cost = make_account(), 0.0
    for left in (1000.0, 900.0, 800.0, 700.0):
        cost, remaining = learn_cost(account, TOKENS, left, None, 0.0, 0.1, accepted=True)
        assert remaining == left
    assert cost == 128.0  # in steps
