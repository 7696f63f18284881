"""The adaptive machine: events put to it by hand, and by hypothesis, in virtual time."""

from __future__ import annotations

import copy
import math
import pickle
import random
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from polvo_adapters import headers
from polvo_adapters.headers import Quota, Throttled
from polvo_adapters.policies.ratelimit import AdaptiveRateLimit
from polvo_adapters.policies.ratelimit.turns import Turn, TurnRequest, TurnResult
from polvo_adapters.testing.limiters import (
    DIALECTS,
    AlignedWindowLimiter,
    EstimatedWindowLimiter,
    FixedWindowLimiter,
    SlidingWindowLimiter,
    TokenBucketLimiter,
    format_headers,
)
from polvo_adapters.testing.simulation.crowd import CrowdClient, QuotaServer, run

SILENT: tuple[Quota, ...] = ()
RATE = Throttled("rate", 5.0)


def quota(remaining: float = 99.0, limit: float = 100.0, reset: float | None = 10.0, **more: Any) -> Quota:
    """Return a quota of 10 s, announced in whole seconds."""
    return Quota(limit=limit, remaining=remaining, reset=reset, **{"window": 10.0, "resolution": 1.0, **more})


class Desk:
    """Puts events to one account, and checks that no state is changed after it was returned."""

    def __init__(self, **settings: Any) -> None:
        self.policy = AdaptiveRateLimit(**settings)
        self.state: Any = self.policy.initial
        self.now = 100.0

    def put(self, event: TurnRequest | TurnResult) -> Turn:
        before, kept = self.state, copy.deepcopy(self.state)
        self.state, admission = self.policy.transition(before, event, self.now)
        assert before == kept
        return admission

    def ask(self, route: str = "r", again: Turn | None = None, **wanted: Any) -> Turn:
        ticket, tries = (-1, 0) if again is None else (again.ticket, again.tries)
        chance = 1.0 if again is not None and again.spread else None
        request = TurnRequest(route, ticket, tries, self.policy.max_wait, None, chance)
        return self.put(request._replace(**{"group": again.group if again else "", **wanted}))

    def report(
        self,
        admission: Turn,
        *quotas: Quota,
        refused: Throttled | None = None,
        status: int = 200,
        route: str = "r",
        seconds: float = 0.05,
    ) -> None:
        status = status if refused is None else 429
        self.put(TurnResult(route, admission.group, admission.era, seconds, status, quotas, refused))

    def serve(self, *quotas: Quota, refused: Throttled | None = None, route: str = "r") -> None:
        """Wait for a turn, take it, and report the result after a moment."""
        admission = self.turn(self.ask(route), route=route)
        self.now += 0.05
        self.report(admission, *quotas, refused=refused, route=route)

    def turn(self, admission: Turn, **wanted: Any) -> Turn:
        """Wait for the turn, and request it as often as the machine asks for."""
        for _ in range(10_000):
            if admission.wait == 0 or admission.refused:
                return admission
            self.now += admission.wait + admission.spread
            admission = self.ask(again=admission, **wanted)
        raise AssertionError("its turn never comes")

    def measure_wait(self) -> float:
        """Return how long a request that comes now waits for its turn."""
        before = self.now
        assert self.turn(self.ask(max_wait=math.inf), max_wait=math.inf).wait == 0
        return self.now - before

    def count_at_once(self, most: int = 50) -> int:
        """Return how many requests that come now go at once."""
        return sum(self.ask().wait == 0 for _ in range(most))

    @property
    def group(self) -> Any:
        return self.state["groups"][next(reversed(self.state["groups"]))]

    @property
    def paces(self) -> Any:
        return self.state["paces"]


@pytest.fixture
def desk() -> Desk:
    return Desk()


# Before anything is known ---------------------------------------------------------------------------------------------


def test_eight_at_once_find_out_what_is_not_known(desk: Desk) -> None:
    admissions = [desk.ask() for _ in range(9)]
    assert [admission.wait == 0 for admission in admissions] == [True] * 8 + [False]
    assert admissions[8].reason == "rate limit, not known before the first response"


def test_the_first_response_lets_the_others_go(desk: Desk) -> None:
    scouts = [desk.ask() for _ in range(8)]
    waiting = desk.ask()
    desk.report(scouts[0])
    assert desk.ask(again=waiting).wait == 0


def test_a_response_that_does_not_come_holds_up_no_request(desk: Desk) -> None:
    for _ in range(8):
        desk.ask()
    assert desk.measure_wait() <= 1.01


def test_a_request_without_a_response_teaches_nothing(desk: Desk) -> None:
    scouts = [desk.ask() for _ in range(8)]
    desk.report(scouts[0], status=0)
    assert [desk.ask().wait == 0 for _ in range(2)] == [True, False]


# The queue ------------------------------------------------------------------------------------------------------------


def use_up(desk: Desk) -> None:
    """Let the account know that its quota is used up for five seconds."""
    desk.serve(quota(0, 1, 5.0, window=5.0))


def pause(desk: Desk) -> None:
    """Let an account of which nothing is known pause for five seconds."""
    desk.serve(refused=RATE)


def test_a_request_that_waits_gets_the_next_place(desk: Desk) -> None:
    use_up(desk)
    assert [desk.ask().ticket for _ in range(3)] == [0, 1, 2]


def test_the_place_in_the_queue_is_kept(desk: Desk) -> None:
    use_up(desk)
    first, second = desk.ask(), desk.ask()
    desk.now += 1.0
    assert (desk.ask(again=second).ticket, desk.ask(again=first).ticket) == (1, 0)


def test_the_request_that_came_first_goes_first(desk: Desk) -> None:
    pause(desk)
    waiting = [desk.ask() for _ in range(3)]
    desk.now += 5.0
    third, second = desk.ask(again=waiting[2]), desk.ask(again=waiting[1])
    assert (third.wait > 0, second.wait > 0) == (True, True)
    desk.report(desk.turn(waiting[0]))
    order: list[int] = []
    for _ in range(1000):
        desk.now += 0.05
        for number, each in ((3, third), (2, second)):
            if number not in order and desk.ask(again=each).wait == 0:
                order.append(number)
    assert order == [2, 3]


def test_a_later_request_does_not_overtake_one_that_waits(desk: Desk) -> None:
    pause(desk)
    desk.ask()
    desk.now += 5.0
    assert desk.ask().wait > 0


def test_a_place_whose_holder_is_gone_blocks_no_request(desk: Desk) -> None:
    pause(desk)
    desk.ask()
    behind, last = desk.ask(), desk.ask()
    desk.report(desk.turn(behind))
    assert desk.turn(last).wait == 0


def test_a_request_that_gives_up_at_the_head_makes_room(desk: Desk) -> None:
    pause(desk)
    first, second = desk.ask(), desk.ask()
    assert desk.ask(again=first, max_wait=0.1).refused == "max_wait"
    desk.now += 5.0
    assert desk.ask(again=second).wait == 0


def test_a_wait_beyond_max_wait_is_refused_with_the_whole_wait(desk: Desk) -> None:
    desk.serve(quota(0), refused=Throttled("rate", 3600.0))
    admission = desk.ask(max_wait=60.0)
    assert (admission.refused, admission.wait) == ("max_wait", 3600.0)
    assert admission.reason == "rate limit, paused by the server"


def test_a_wait_beyond_the_deadline_is_refused(desk: Desk) -> None:
    desk.serve(quota(0), refused=Throttled("rate", 30.0))
    assert desk.ask(deadline=desk.now + 30.0).refused == "deadline"
    assert desk.ask(deadline=desk.now + 30.1).refused == ""


def test_a_request_with_too_long_a_wait_takes_no_place(desk: Desk) -> None:
    use_up(desk)
    desk.ask(max_wait=0.1)
    assert desk.ask().ticket == 0


def test_a_request_that_waits_long_looks_again_half_way(desk: Desk) -> None:
    desk.serve(refused=Throttled("rate", 40.0))
    waits = []
    admission = desk.ask()
    while admission.wait:
        waits.append(admission.wait)
        desk.now += admission.wait
        admission = desk.ask(again=admission)
    assert waits[:3] == pytest.approx([20.0, 10.0, 5.0])
    assert sum(waits) == pytest.approx(40.0)


# Leases ---------------------------------------------------------------------------------------------------------------


def make_concurrent(limit: float) -> Quota:
    return Quota("concurrent", limit, None, None, None, "concurrent-requests")


def narrow(desk: Desk) -> None:
    """Leave the account one slot."""
    desk.serve(refused=Throttled("concurrency"))
    assert desk.group["slots"] == 1


def test_requests_that_never_report_back_are_forgotten_after_two_eras(desk: Desk) -> None:
    narrow(desk)
    assert desk.ask().wait == 0
    desk.now += 60.0
    assert desk.ask().wait > 0
    desk.now += 60.0
    assert desk.turn(desk.ask()).wait == 0


def test_a_lease_of_the_last_era_is_given_back(desk: Desk) -> None:
    narrow(desk)
    running = desk.ask()
    desk.now += 60.0
    waiting = desk.ask()
    assert waiting.wait > 0
    desk.report(running, status=0)
    assert desk.ask(again=waiting).wait == 0


def test_a_lease_that_was_forgotten_is_not_given_back(desk: Desk) -> None:
    narrow(desk)
    lost = desk.ask()
    desk.now += 200.0
    assert desk.ask().wait == 0
    desk.report(lost, status=0)
    assert desk.ask().wait > 0


# Groups ---------------------------------------------------------------------------------------------------------------


def test_what_the_server_counts_apart_is_waited_for_apart(desk: Desk) -> None:
    desk.serve(quota(4999, 5000, group="core"), route="repos")
    desk.serve(quota(0, 30, group="search"), route="search")
    assert desk.ask("search").wait > 0
    assert desk.ask("repos").wait == 0


def test_a_refusal_pauses_its_own_resource_only(desk: Desk) -> None:
    desk.serve(quota(4999, 5000, group="core"), route="repos")
    desk.serve(quota(29, 30, group="search"), route="search", refused=RATE)
    assert (desk.ask("search").group, desk.ask("search").wait) == ("search", 2.5)
    assert (desk.ask("repos").group, desk.ask("repos").wait) == ("core", 0)


def test_a_route_that_is_not_known_is_on_trial(desk: Desk) -> None:
    desk.serve(quota(4999, 5000, group="core"), route="repos")
    desk.serve(quota(0, 30, group="search"), route="search")
    first, second = desk.ask("users"), desk.ask("users")
    assert (first.group, first.wait, second.wait > 0) == ("users", 0, True)


def test_a_route_that_moves_is_learned_again(desk: Desk) -> None:
    desk.serve(quota(4999, 5000, group="core"))
    desk.serve(quota(4999, 5000, group="other"))
    assert desk.ask().group == "other"


def test_a_lease_is_given_back_to_the_group_that_gave_it(desk: Desk) -> None:
    desk.serve(quota(group="a"))
    desk.serve(quota(group="a"), route="other")
    desk.report(desk.ask(), quota(group="b"))
    assert [desk.state["groups"][name]["running"] for name in "ab"] == [0, 0]


def test_groups_and_routes_are_bounded(desk: Desk) -> None:
    for number in range(300):
        desk.serve(quota(group=f"g{number}"), route=f"r{number}")
    assert len(desk.state["groups"]) <= 64
    assert len(desk.state["routes"]) <= 256


def test_the_group_that_goes_is_the_one_unused_for_longest(desk: Desk) -> None:
    desk.serve(quota(group="used"), route="used")
    for number in range(80):
        desk.serve(quota(group=f"g{number}"), route=f"r{number}")
        desk.ask("used")
    assert {"used", "g79", "g30"} <= set(desk.state["groups"])
    assert "g0" not in desk.state["groups"]


# Quotas ---------------------------------------------------------------------------------------------------------------


def test_no_request_waits_while_quota_is_plentiful(desk: Desk) -> None:
    for left in range(99, 60, -1):
        desk.serve(quota(float(left)))
    assert desk.now <= 102.1


def test_spread_keeps_half_for_the_rest_of_the_window() -> None:
    desk = Desk()
    for left in (99, 98, 97):
        desk.serve(quota(float(left)))
    assert 40 <= desk.count_at_once(100) <= 55


def test_burst_spends_all_at_once() -> None:
    desk = Desk(pace="burst")
    for left in (99, 98, 97):
        desk.serve(quota(float(left)))
    assert 95 <= desk.count_at_once(200) <= 97


@pytest.mark.parametrize("pace", ["spread", "burst"])
def test_a_quota_that_is_used_up_is_waited_for_until_its_reset(pace: str) -> None:
    desk = Desk(pace=pace)
    use_up(desk)
    assert 5.0 <= desk.measure_wait() <= 5.2


def test_one_goes_ahead_where_quota_should_be_back() -> None:
    desk = Desk(pace="burst")
    for left in range(9, -1, -1):
        desk.serve(quota(left, 10, 5.0))
    first, second = desk.turn(desk.ask()), desk.ask()
    assert second.wait > 0
    desk.report(first, quota(9, 10))
    desk.turn(second)
    assert desk.now <= 106.5


def test_of_two_quotas_the_tighter_governs(desk: Desk) -> None:
    second, day = quota(0, 1, 1.0, name="second", window=1.0), quota(99_999, 1e5, 8.64e4, name="day", window=8.64e4)
    desk.serve(second, day)
    assert 1.0 <= desk.measure_wait() <= 1.2


def test_the_reason_names_the_tighter_quota(desk: Desk) -> None:
    second, day = quota(0, 1, 1.0, name="second", window=1.0), quota(99_999, 1e5, 8.64e4, name="day", window=8.64e4)
    for quotas in ((second, day), (day, second)):
        fresh = Desk()
        fresh.serve(*quotas)
        assert fresh.ask().reason == "rate limit, 0 of 1 left"


def test_a_request_is_spent_from_every_quota(desk: Desk) -> None:
    for left in range(99, 90, -1):
        desk.serve(quota(left, name="one"), quota(left + 100, 200, 50.0, name="other", window=50.0))
    before = [pace["credit"] for pace in desk.paces.values()]
    assert desk.ask().wait == 0
    assert [pace["credit"] for pace in desk.paces.values()] == [credit - 1 for credit in before]


def test_a_long_quota_that_is_used_up_governs_too() -> None:
    desk = Desk(pace="burst")
    for left in range(9, -1, -1):
        desk.serve(quota(99, name="second", window=1.0, reset=1.0), quota(left, 10, 4e4, name="day", window=8.64e4))
    assert 4e4 - 2 <= desk.ask(max_wait=60.0).wait <= 4e4 + 10


@pytest.mark.parametrize(
    "nothing",
    [
        quota(0, reset=None, window=None),
        quota(0)._replace(limit=None),
        quota(0)._replace(remaining=None),
        quota(0, limit=0),
        quota(0, limit=-5),
    ],
)
def test_a_quota_that_says_too_little_paces_no_request(desk: Desk, nothing: Quota) -> None:
    for _ in range(20):
        desk.serve(nothing)
    assert desk.now == pytest.approx(101.0)


def test_a_window_without_a_reset_is_enough(desk: Desk) -> None:
    desk.serve(quota(0, 1, reset=None, window=4.0))
    assert 4.0 <= desk.measure_wait() <= 4.3


def test_a_reset_without_a_window_is_enough(desk: Desk) -> None:
    desk.serve(quota(0, 1, reset=4.0, window=None))
    assert 4.0 <= desk.measure_wait() <= 4.3


def test_the_window_is_the_longest_time_to_a_reset_seen(desk: Desk) -> None:
    for reset in (7.0, 30.0, 29.0, 12.0):
        desk.report(desk.turn(desk.ask()), quota(99, reset=reset, window=None))
    (pace,) = desk.paces.values()
    assert pace["window"] == 30.0


def test_a_quota_that_is_not_spoken_of_any_more_is_forgotten(desk: Desk) -> None:
    desk.serve(quota(99), quota(99, name="other", window=1000.0, reset=1000.0))
    desk.now += 101.0
    desk.serve(quota(98, name="other", window=1000.0, reset=899.0))
    assert [pace["window"] for pace in desk.paces.values()] == [1000.0]


def test_a_limit_that_grows_is_made_use_of(desk: Desk) -> None:
    desk.serve(quota(1, 100))
    for left in range(990, 930, -1):
        desk.serve(quota(left, 1000))
    assert desk.count_at_once(1000) >= 400


def test_a_limit_that_shrinks_is_kept_to(desk: Desk) -> None:
    for left in (990, 989, 988):
        desk.serve(quota(float(left), 1000))
    for left in (9, 8):
        desk.serve(quota(float(left), 10))
    assert desk.count_at_once(1000) <= 8


def test_tokens_are_counted_in_requests(desk: Desk) -> None:
    for left in range(20):
        desk.serve(quota(100_000 - 1000.0 * left, 100_000, unit="tokens", name="tokens"))
        desk.now += 0.02
    (pace,) = desk.paces.values()
    assert 70 <= pace["limit"] <= 140
    assert desk.count_at_once(200) <= 140


def test_costs_that_change_are_followed(desk: Desk) -> None:
    left = 1e6
    for cost in [100.0] * 5 + [1000.0] * 30:
        left -= cost
        desk.now += 0.2
        desk.serve(quota(left, 1e6, 60.0, unit="tokens", window=60.0))
    (pace,) = desk.paces.values()
    assert 700 <= pace["limit"] <= 1400


def test_requests_are_never_counted_by_cost(desk: Desk) -> None:
    for left in (99.0, 60.0, 10.0):
        desk.report(desk.turn(desk.ask()), quota(left))
    (pace,) = desk.paces.values()
    assert (pace["limit"], pace["remaining"]) == (100, 10)


# Concurrency ----------------------------------------------------------------------------------------------------------


def test_a_slot_that_becomes_free_is_used(desk: Desk) -> None:
    desk.serve(make_concurrent(1))
    running, waiting = desk.ask(), desk.ask()
    desk.report(running, make_concurrent(1))
    assert desk.ask(again=waiting).wait == 0


def test_a_refusal_for_concurrency_lowers_slots_and_no_rate(desk: Desk) -> None:
    desk.serve()
    running = [desk.ask() for _ in range(10)]
    desk.report(running[0], refused=Throttled("concurrency"))
    assert (desk.group["rate"], desk.group["refusals"], desk.group["slots"]) == (math.inf, 0, 7)
    for admission in running[1:]:
        desk.report(admission, status=0)
    assert desk.count_at_once() == 7


def test_a_refusal_for_concurrency_pauses_as_long_as_it_says(desk: Desk) -> None:
    desk.serve(refused=Throttled("concurrency", 2.0))
    assert desk.measure_wait() == pytest.approx(2.0)


@pytest.mark.parametrize(("running", "left"), [(2, 1), (4, 2), (10, 7)])
def test_a_refusal_for_concurrency_takes_three_tenths_of_what_ran(desk: Desk, running: int, left: int) -> None:
    desk.serve()
    admissions = [desk.ask() for _ in range(running)]
    desk.report(admissions[0], refused=Throttled("concurrency"))
    assert desk.group["slots"] == left


def test_there_is_always_one_slot(desk: Desk) -> None:
    for _ in range(5):
        narrow(desk)
    assert desk.count_at_once() == 1


def test_slots_grow_again_by_one_for_as_many_successes_as_there_are(desk: Desk) -> None:
    desk.serve()
    running = [desk.ask() for _ in range(10)]
    desk.report(running[0], refused=Throttled("concurrency"))
    assert desk.group["slots"] == 7
    for admission in running[1:8]:
        desk.report(admission)
    assert desk.group["slots"] == pytest.approx(8, abs=0.1)


def test_an_announced_concurrency_does_not_undo_a_refusal(desk: Desk) -> None:
    narrow(desk)
    desk.report(desk.ask(), make_concurrent(10))
    assert desk.group["slots"] == 2


# Refusals -------------------------------------------------------------------------------------------------------------


def test_a_429_pauses_everybody_until_the_time_named(desk: Desk) -> None:
    desk.serve(quota(99))
    desk.serve(quota(0), refused=Throttled("rate", 3.0))
    assert desk.count_at_once() == 0
    desk.now += 2.99
    assert desk.count_at_once() == 0


def test_after_a_429_one_or_two_go_ahead_and_the_others_follow_its_response() -> None:
    desk = Desk(pace="burst")
    for left in range(9, -1, -1):
        desk.serve(quota(left, 10))
    desk.now += 6.0
    desk.report(desk.turn(desk.ask(), max_wait=99), quota(0, 10, 3.0), refused=Throttled("rate", 3.0))
    before, waiting = desk.now, [desk.ask() for _ in range(5)]
    first = desk.turn(waiting[0])
    assert 3.0 <= desk.now - before <= 3.2
    assert sum(desk.ask(again=each).wait == 0 for each in waiting[1:]) <= 1
    desk.report(first, quota(9, 10))
    desk.turn(waiting[4])
    assert desk.now - before < 13


def test_a_429_of_an_unknown_quota_without_a_time_pauses_longer_each_time(desk: Desk) -> None:
    pauses = []
    for _ in range(5):
        desk.serve(refused=Throttled("rate"))
        before = desk.now
        admission = desk.ask()
        while admission.wait:
            desk.now += admission.wait
            admission = desk.ask(again=admission)
        pauses.append(round(desk.now - before, 3))
        desk.report(admission, status=0)
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6]


def test_refusals_of_requests_under_way_count_as_one(desk: Desk) -> None:
    running = [desk.ask() for _ in range(5)]
    desk.now += 0.05
    for admission in running:
        desk.report(admission, refused=Throttled("rate"))
    assert desk.measure_wait() == pytest.approx(0.1)


def test_no_pause_that_the_server_did_not_name_is_longer_than_a_minute(desk: Desk) -> None:
    for _ in range(20):
        admission = desk.turn(desk.ask(max_wait=1e9), max_wait=1e9)
        desk.now += 0.05
        desk.report(admission, refused=Throttled("rate"))
    assert 59 <= desk.ask(max_wait=1e9).wait * 2 <= 60


def test_a_429_of_a_known_quota_without_a_time_pauses_for_a_second(desk: Desk) -> None:
    desk.serve(quota(99, reset=0.5))
    desk.serve(quota(0, reset=0.5), refused=Throttled("rate"))
    assert 1.0 <= desk.measure_wait() <= 1.1


def test_of_an_unknown_quota_one_at_a_time_asks_whether_refusals_are_over(desk: Desk) -> None:
    desk.serve(refused=Throttled("rate", 2.0))
    desk.now += 2.0
    assert desk.count_at_once() == 1
    assert desk.ask().reason == "rate limit, one request asks whether it is over"


def test_responses_to_requests_from_before_a_refusal_do_not_end_it(desk: Desk) -> None:
    first, second = desk.ask(), desk.ask()
    desk.now += 0.05
    desk.report(first, refused=Throttled("rate", 2.0))
    desk.report(second)
    assert desk.group["refusals"] == 1


def test_a_shorter_pause_does_not_end_a_longer_one(desk: Desk) -> None:
    running = [desk.ask() for _ in range(2)]
    for admission, pause in zip(running, (30.0, 1.0), strict=True):
        desk.report(admission, refused=Throttled("rate", pause))
    assert desk.measure_wait() == pytest.approx(30.0)


def test_an_exhausted_plan_pauses_as_the_server_says(desk: Desk) -> None:
    desk.serve(refused=Throttled("exhausted", 3600.0))
    admission = desk.ask(max_wait=60.0)
    assert (admission.refused, admission.wait) == ("max_wait", 3600.0)


def cycle(desk: Desk) -> None:
    """Accept fifty requests, refuse one, and accept again two seconds later."""
    for _ in range(50):
        desk.serve()
    desk.serve(refused=Throttled("rate", 2.0))
    desk.now += 2.0
    desk.serve()


def find_rate(desk: Desk) -> None:
    """Let the account find a rate."""
    cycle(desk)
    cycle(desk)
    assert desk.group["rate"] < math.inf


def test_a_refusal_that_comes_alone_says_nothing_of_a_rate(desk: Desk) -> None:
    cycle(desk)
    assert desk.group["rate"] == math.inf


def test_three_refusals_in_a_row_do_not_come_alone(desk: Desk) -> None:
    for _ in range(50):
        desk.serve()
    for _ in range(3):
        desk.serve(refused=Throttled("rate"))
    desk.serve()
    assert desk.group["rate"] < math.inf


def test_the_time_before_a_refusal_counts_too(desk: Desk) -> None:
    cycle(desk)
    begun = desk.now
    for _ in range(2):
        desk.now += 4.0
        desk.serve()
    desk.now += 4.0
    desk.serve(refused=Throttled("rate", 2.0))
    desk.now += 2.0
    desk.serve()
    assert desk.group["rate"] <= 3 / (desk.now - begun)


def test_the_rate_of_a_silent_server_is_what_it_accepted(desk: Desk) -> None:
    cycle(desk)
    begun = desk.now
    cycle(desk)
    accepted = 51 / (desk.now - begun)
    assert desk.group["rate"] == pytest.approx(0.95 * accepted, rel=0.03)


def test_a_rate_that_was_found_is_kept_to(desk: Desk) -> None:
    find_rate(desk)
    rate, begun = desk.group["rate"], desk.now
    for _ in range(20):
        desk.report(desk.turn(desk.ask()))
    assert desk.now - begun == pytest.approx(19 / rate, rel=0.05)


def test_a_rate_that_was_found_grows_while_it_is_made_use_of(desk: Desk) -> None:
    find_rate(desk)
    first = desk.group["rate"]
    for _ in range(3000):
        desk.report(desk.turn(desk.ask()))
    assert desk.group["rate"] > 1.5 * first


def test_silence_does_not_make_a_rate_grow(desk: Desk) -> None:
    find_rate(desk)
    first = desk.group["rate"]
    desk.now += 1e6
    desk.serve()
    assert desk.group["rate"] == pytest.approx(first, rel=0.01)


def test_silence_saves_up_no_burst(desk: Desk) -> None:
    find_rate(desk)
    desk.now += 100.0
    assert desk.count_at_once() == 1


# A silent server, driven ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "limiter", [AlignedWindowLimiter, FixedWindowLimiter, SlidingWindowLimiter, TokenBucketLimiter]
)
@pytest.mark.parametrize("dialect", ["none", "retry-only"])
def test_the_rate_of_a_server_that_says_nothing_is_found_and_held(limiter: Any, dialect: str) -> None:
    server = QuotaServer([limiter(50, 2.0)], dialect)
    settled = run(server, [CrowdClient(8)], [AdaptiveRateLimit(max_wait=1e9)], windows=40).over(15)
    assert settled.goodput >= 0.75
    assert settled.rejected_part <= 0.12


@pytest.mark.parametrize(
    ("limiter", "limit", "window"),
    [
        (FixedWindowLimiter, 50, 2.0),
        (FixedWindowLimiter, 100, 10.0),
        (FixedWindowLimiter, 300, 60.0),
        (AlignedWindowLimiter, 300, 60.0),
        (SlidingWindowLimiter, 300, 60.0),
        (TokenBucketLimiter, 100, 10.0),
        (FixedWindowLimiter, 60, 60.0),
        (FixedWindowLimiter, 30, 30.0),
    ],
)
def test_a_silent_server_is_made_use_of_and_hardly_asked_in_vain(limiter: Any, limit: int, window: float) -> None:
    server = QuotaServer([limiter(limit, window)], "none")
    windows, settled = int(1200 / window), int(120 / window)
    result = run(server, [CrowdClient(8)], [AdaptiveRateLimit(max_wait=1e9)], windows).over(settled)
    assert result.goodput >= 0.9
    assert result.rejected <= result.seconds / 60


def test_many_clients_of_a_silent_server_find_their_parts() -> None:
    server = QuotaServer([FixedWindowLimiter(1000, 10.0)], "none")
    crowd = [CrowdClient(1, joins=0.1 * number) for number in range(100)]
    result = run(server, crowd, [AdaptiveRateLimit(max_wait=1e9)], windows=12).over(4)
    assert result.goodput >= 0.95
    assert result.rejected_part <= 0.02


@pytest.mark.slow
def test_a_thousand_clients_of_a_silent_server_find_their_parts() -> None:
    server = QuotaServer([FixedWindowLimiter(5000, 10.0)], "none")
    crowd = [CrowdClient(1, joins=0.01 * number) for number in range(1000)]
    result = run(server, crowd, [AdaptiveRateLimit(max_wait=1e9)], windows=12).over(4)
    assert result.goodput >= 0.9
    assert result.rejected_part <= 0.02


# Anything at all ------------------------------------------------------------------------------------------------------

NUMBERS = st.one_of(
    st.none(),
    st.sampled_from([0.0, -1.0, 1.0, 5.0, 60.0, 5000.0, 1e15, -1e15]),
    st.floats(-10, 1e4),
)
GARBAGE = st.builds(
    Quota,
    name=st.sampled_from(["", "day"]),
    limit=st.one_of(st.none(), st.sampled_from([0.0, -1.0, 1e15]), st.floats(50, 1e4)),
    remaining=NUMBERS,
    reset=st.one_of(st.none(), st.sampled_from([0.0, 1e15]), st.floats(0, 1e4)),  # never negative, it says
    window=NUMBERS,
    unit=st.sampled_from(["requests", "tokens", "concurrent-requests"]),
    resolution=st.sampled_from([0.0, 1.0, 60.0]),
    group=st.sampled_from(["", "core", "search"]),
)
REFUSALS = st.builds(
    Throttled,
    st.sampled_from(["rate", "concurrency", "exhausted"]),
    st.one_of(st.none(), st.floats(0, 1e6)),
)
LIMITERS = (FixedWindowLimiter, AlignedWindowLimiter, SlidingWindowLimiter, EstimatedWindowLimiter, TokenBucketLimiter)
MAY_BE_INFINITE = {"most", "slots", "rate"}


def walk_numbers(name: str, value: Any) -> Any:
    """Yield all numbers of a state with the names that they have."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield from walk_numbers(key, each)
    elif isinstance(value, list):
        for each in value:
            yield from walk_numbers(name, each)
    elif isinstance(value, float):
        yield name, value


class AnyStory(RuleBasedStateMachine):
    """Calls that come, wait, give up, get a response from a limiter, nonsense, or none."""

    def __init__(self) -> None:
        super().__init__()
        self.desk = Desk()
        self.waiting: list[tuple[str, Turn]] = []
        self.running: list[tuple[str, Turn]] = []
        self.random = random.Random(1)
        self.limiter: Any = None

    @rule(kind=st.sampled_from(LIMITERS), limit=st.integers(8, 60), window=st.floats(0.5, 100))
    def becomes(self, kind: Any, limit: int, window: float) -> None:
        self.limiter = kind(limit, window)

    @rule(seconds=st.one_of(st.floats(0, 2), st.floats(0, 1000)))
    def time_passes(self, seconds: float) -> None:
        self.desk.now += seconds

    @rule(route=st.sampled_from("abc"), max_wait=st.sampled_from([0.0, 1.0, 60.0, math.inf]), count=st.integers(1, 5))
    def a_call_comes(self, route: str, max_wait: float, count: int) -> None:
        for _ in range(count):
            self.take(route, self.desk.ask(route, max_wait=max_wait))

    @precondition(lambda self: self.waiting)
    @rule(patient=st.booleans(), deadline=st.one_of(st.none(), st.floats(0, 5)))
    def a_call_asks_again(self, patient: bool, deadline: float | None) -> None:
        route, admission = self.waiting.pop(self.random.randrange(len(self.waiting)))
        self.desk.now += admission.wait if patient else 0.0
        until = None if deadline is None else self.desk.now + deadline
        self.take(route, self.desk.ask(route, admission, deadline=until))

    @precondition(lambda self: self.running and self.limiter)
    @rule(dialect=st.sampled_from(sorted(DIALECTS)), seconds=st.floats(0, 0.5))
    def the_server_responds(self, dialect: str, seconds: float) -> None:
        route, admission = self.running.pop(self.random.randrange(len(self.running)))
        standing = self.limiter.take(self.desk.now)
        self.desk.now += seconds
        wall = 1.7e9 + self.desk.now
        told = {name.lower(): value for name, value in format_headers(standing, dialect, wall)}
        status = 200 if standing.allowed else 429
        refused = headers.throttled(told, status, None, wall)
        self.desk.report(admission, *headers.parse(told, status, wall), refused=refused, route=route, seconds=seconds)

    @precondition(lambda self: self.running)
    @rule(told=st.lists(GARBAGE, max_size=2), refused=st.one_of(st.none(), REFUSALS), status=st.sampled_from([0, 200]))
    def nonsense_comes_back(self, told: list[Quota], refused: Throttled | None, status: int) -> None:
        route, admission = self.running.pop(self.random.randrange(len(self.running)))
        self.desk.report(admission, *told, refused=refused, status=status, route=route)

    @precondition(lambda self: self.running)
    @rule()
    def a_response_never_comes(self) -> None:
        self.running.pop()

    def take(self, route: str, admission: Turn) -> None:
        assert 0 <= admission.wait < math.inf
        assert 0 <= admission.spread < math.inf
        if not admission.refused:
            (self.waiting if admission.wait else self.running).append((route, admission))

    @invariant()
    def all_numbers_are_finite(self) -> None:
        odd = {name for name, value in walk_numbers("", self.desk.state) if not math.isfinite(value)}
        assert odd <= MAY_BE_INFINITE

    @invariant()
    def nothing_is_counted_below_zero(self) -> None:
        for group in self.desk.state["groups"].values():
            assert (group["running"] >= 0, group["stale"] >= 0, group["slots"] >= 1) == (True, True, True)
            assert set(group["quotas"]) <= set(self.desk.paces)
        assert all(pace["credit"] >= 0 for pace in self.desk.paces.values())
        assert all(0 < pace["share"] <= 1 for pace in self.desk.paces.values())

    @invariant()
    def the_state_pickles(self) -> None:
        assert pickle.loads(pickle.dumps(self.desk.state)) == self.desk.state


AnyStory.TestCase.settings = settings(max_examples=25, stateful_step_count=30)
TestAnyStory = AnyStory.TestCase
