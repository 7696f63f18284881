"""A quota that is forgotten is forgotten everywhere: no call fails because a group still counts in it."""

from __future__ import annotations

import random

import pytest

from polvo_adapters.headers import Quota, Throttled
from polvo_adapters.policies.ratelimit import AdaptiveRateLimit
from polvo_adapters.policies.ratelimit.turns import Turn
from tests.policies.ratelimit.test_adaptive import Desk, quota


def of_second(route: str, remaining: float) -> Quota:
    return quota(remaining, 10, 1.0, window=1.0, group=route)


@pytest.fixture
def desk() -> Desk:
    return Desk(pace="burst")


def test_a_response_that_took_many_windows_does_not_stop_its_route(desk: Desk) -> None:
    desk.serve(of_second("a", 9), route="a")
    desk.serve(of_second("b", 9), route="b")
    quick, slow = (desk.turn(desk.ask("a"), route="a") for _ in range(2))
    desk.now += 0.1
    desk.report(quick, of_second("a", 8), route="a")
    desk.now += 15
    desk.report(slow, of_second("a", 8), route="a", seconds=15.1)
    assert desk.turn(desk.ask("a"), route="a").wait == 0


def draw_quota(chance: random.Random) -> Quota:
    limit = chance.choice([10.0, 10.0, 50.0, None])
    return Quota(
        name=chance.choice(["", "a"]),
        limit=limit,
        remaining=None if chance.random() < 0.1 else float(chance.randrange(int(limit or 10) + 1)),
        reset=chance.choice([None, 0.0, 1.0, 3.5, 30.0]),
        window=chance.choice([1.0, 60.0, None]),
        unit=chance.choice(["requests", "requests", "tokens", "percent"]),
        scope=chance.choice(["", "user", "global"]),
        group=chance.choice(["", "", "b1", "b2"]),
        resolution=1.0,
    )


@pytest.mark.parametrize("seed", [*range(4), 65, 82, 92, 131, 256, 333])  # the last six found what this module is about
def test_no_series_of_responses_makes_a_call_fail(seed: int) -> None:
    chance = random.Random(seed)
    policy = AdaptiveRateLimit(max_wait=1e9)
    desk, under_way = Desk(max_wait=1e9), list[tuple[str, Turn, float]]()
    desk.put = lambda event: put(desk, policy, event)  # type: ignore[method-assign]  # without the copies
    for _ in range(400):
        desk.now += chance.choice([0.01, 0.5, 20.0]) * chance.random()
        if under_way and chance.random() < 0.5:
            route, turn, began = under_way.pop(chance.randrange(len(under_way)))
            told = [draw_quota(chance) for _ in range(chance.randrange(3))]
            refused = Throttled("rate", chance.choice([None, 2.0])) if chance.random() < 0.1 else None
            desk.report(turn, *told, refused=refused, route=route, seconds=desk.now - began)
        else:
            route = chance.choice("abc")
            turn = desk.ask(route)
            if not turn.wait:
                under_way.append((route, turn, desk.now))
        assert all(set(group["quotas"]) <= set(desk.paces) for group in desk.state["groups"].values())


def put(desk: Desk, policy: AdaptiveRateLimit, event: object) -> Turn:
    desk.state, turn = policy.transition(desk.state, event, desk.now)  # type: ignore[arg-type]
    return turn
