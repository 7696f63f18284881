"""Which quotas a request counts in: learned from responses that name nothing, and from those that do."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from polvo_adapters.core.calls import Call
from polvo_adapters.headers import Quota, Throttled
from polvo_adapters.policies.ratelimit import AdaptiveRateLimit, RateLimit, SlidingWindow, TokenBucket
from polvo_adapters.policies.ratelimit.turns import Turn, TurnRequest, TurnResult
from polvo_adapters.testing.limiters import (
    AlignedWindowLimiter,
    FixedWindowLimiter,
    SlidingWindowLimiter,
    TokenBucketLimiter,
)
from polvo_adapters.testing.simulation.crowd import CrowdClient, run
from tests.policies.ratelimit.test_adaptive import Desk, quota
from tests.policies.ratelimit.test_ratelimit import Run
from tests.support.flow_stepper import answered
from tests.support.quota_routes import RoutedServer, Routing

KINDS: dict[str, Any] = {
    "fixed": FixedWindowLimiter,
    "aligned": AlignedWindowLimiter,
    "sliding": SlidingWindowLimiter,
    "gcra": TokenBucketLimiter,
}
MANY = {
    "routes": [f"/route-{chr(97 + number)}" for number in range(20)],
    "ids": [f"/items/{number}" for number in range(1000)],
    "names": [f"/repos/o/{chr(97 + number % 26)}{chr(97 + number // 26)}" for number in range(100)],
}
APART = ["/aa", "/bb", "/bb", "/bb", "/bb/x", "/cc", "/dd/10001", "/dd/10002", "/ee"]
ADAPTIVE = AdaptiveRateLimit(max_wait=1e9)


# One quota for all: nothing is lost -----------------------------------------------------------------------------------


@pytest.mark.parametrize("slots", [1, 8])
@pytest.mark.parametrize("paths", MANY)
@pytest.mark.parametrize("dialect", ["x-epoch", "draft-6"])
@pytest.mark.parametrize("kind", ["fixed", "aligned", "gcra"])
def test_one_quota_for_many_routes_is_used_and_not_overrun(kind: str, dialect: str, paths: str, slots: int) -> None:
    server = RoutedServer(lambda _path: "all", lambda _name: KINDS[kind](100, 4.0), dialect)
    result = run(server, [CrowdClient(slots)], [Routing(MANY[paths]), ADAPTIVE], 12)
    assert result.over(2).goodput >= 0.98
    assert sum(window.rejected for window in result.windows) == 0


@pytest.mark.parametrize("paths", MANY)
def test_clients_that_share_one_quota_for_many_routes_separate_no_route(paths: str) -> None:
    server = RoutedServer(lambda _path: "all", lambda _name: FixedWindowLimiter(100, 4.0))
    result = run(server, [CrowdClient(4)] * 4, [Routing(MANY[paths]), ADAPTIVE], 12)
    assert result.over(4).goodput >= 0.95
    assert result.over(1).rejected == 0


# A quota for each, under one name: none is lost, none overrun ---------------------------------------------------------


@pytest.mark.parametrize("slots", [1, 8])
@pytest.mark.parametrize("is_equal", [True, False], ids=["equal", "sized"])
@pytest.mark.parametrize("dialect", ["x-epoch", "draft-6"])
@pytest.mark.parametrize("kind", ["fixed", "aligned", "gcra"])
def test_quotas_of_routes_under_one_name_are_told_apart(kind: str, dialect: str, is_equal: bool, slots: int) -> None:
    sizes = {"a": 20, "e": 50}
    server = RoutedServer(
        lambda path: path[1], lambda name: KINDS[kind](100 if is_equal else sizes.get(name, 100), 20.0), dialect
    )
    run(server, [CrowdClient(slots)], [Routing(APART), ADAPTIVE], 10)
    accepted, refused = server.count(40.0, "b")  # four of nine calls
    assert refused + server.count(40.0)[1] <= 1
    assert accepted >= 0.7 * 100 * (server.arrived[-1][0] - 40) / 20


def test_each_id_of_a_route_may_have_a_quota_of_its_own() -> None:
    server = RoutedServer(lambda path: path.split("/")[2], lambda _name: FixedWindowLimiter(20, 20.0))
    run(server, [CrowdClient(4)], [Routing([f"/stores/{number}/orders" for number in range(101, 107)]), ADAPTIVE], 20)
    accepted, refused = server.count(40.0)
    assert refused <= 2
    assert accepted >= 0.75 * 6 * (server.arrived[-1][0] - 40)


@pytest.mark.parametrize("kind", ["fixed", "aligned"])
def test_a_silent_server_that_limits_each_method_stops_no_other_method(kind: str) -> None:
    server = RoutedServer(
        lambda path: path, lambda name: KINDS[kind](5 if name == "/slow" else 200, 30.0), "retry-only"
    )
    run(server, [CrowdClient(2)], [Routing(["/slow", "/b", "/c"], None), ADAPTIVE], 8)
    accepted, refused = server.count()
    assert accepted >= 3 * 7 * 5  # three routes, of which the slowest allows five a window
    assert refused <= 10


# By hand --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def desk() -> Desk:
    return Desk(pace="burst")


def test_a_spent_quota_does_not_hold_back_a_route_that_is_not_known(desk: Desk) -> None:
    desk.serve(quota(0, 15), route="search")
    assert desk.ask("users").wait == 0
    assert desk.ask("search").wait > 0


def test_one_request_at_a_time_is_on_trial(desk: Desk) -> None:
    desk.serve(quota(0, 15), route="search")
    first, second = desk.ask("users"), desk.ask("users")
    assert (first.wait, second.wait > 0) == (0, True)
    desk.report(first, quota(899, 900), route="users")
    assert desk.ask("users", second).wait < 0.1


def test_a_trial_without_a_response_does_not_block_the_route(desk: Desk) -> None:
    desk.serve(quota(0, 15), route="search")
    desk.ask("users")
    desk.now += 1.1
    assert desk.ask("users").wait == 0


def test_a_trial_that_is_refused_is_the_last_for_a_while(desk: Desk) -> None:
    desk.serve(quota(0, 15, 900.0, window=900.0), route="a")
    desk.report(desk.ask("b"), quota(0, 15, 900.0, window=900.0), refused=Throttled("rate", 900.0), route="b")
    assert desk.ask("c", max_wait=1e9).wait > 0
    desk.now += 61.0
    assert desk.ask("d", max_wait=1e9).wait == 0


def test_routes_that_were_seen_to_share_a_quota_speak_for_the_next(desk: Desk) -> None:
    for number in range(15):
        desk.serve(quota(14.0 - number, 15, 900.0, window=900.0), route=f"r{number}")
    assert desk.ask("new", max_wait=1e9).wait > 0


def test_what_rises_without_a_reset_is_another_quota(desk: Desk) -> None:
    for left in (99, 98, 97, 60):
        desk.serve(quota(float(left)), route="a")
    desk.serve(quota(99.0), route="b")
    desk.serve(quota(59.0), route="a")
    assert sorted(pace["remaining"] for pace in desk.paces.values()) == [59, 99]


def test_what_falls_for_two_routes_is_one_quota(desk: Desk) -> None:
    for number in range(20):
        desk.serve(quota(99.0 - number), route="ab"[number % 2])
    assert [pace["remaining"] for pace in desk.paces.values()] == [80]


def test_a_quota_for_everything_binds_routes_with_quotas_of_their_own(desk: Desk) -> None:
    everything = {"name": "application", "scope": "global"}
    desk.serve(quota(1, 20, **everything), quota(99, 100, name="method"), route="a")
    desk.serve(quota(0, 20, **everything), quota(499, 500, name="method"), route="b")
    assert [desk.ask(route).wait > 0 for route in "abc"] == [True] * 3


def test_a_quota_whose_policy_alone_is_told_is_spent_too(desk: Desk) -> None:
    """Servers tell what remains of the tightest quota, which is now this one and then another."""
    for left in range(99, 90, -1):
        desk.serve(quota(left, 100, 90.0, window=90.0), quota(9, 10, 5.0, window=5.0))
    for left in range(9, 0, -1):
        desk.serve(quota(left, 10, 1.0, window=5.0), Quota("", 100.0, None, window=90.0))
    desk.serve(quota(80, 100, 88.0, window=90.0))
    (pace,) = [pace for pace in desk.paces.values() if pace["limit"] == 100]
    assert pace["share"] == pytest.approx(1.0, abs=0.01)
    assert pace["remaining"] == 80


def test_a_refusal_that_means_everything_stops_every_route(desk: Desk) -> None:
    desk.serve(quota(group="one"), route="a")
    desk.serve(quota(group="two"), route="b", refused=Throttled("rate", 20.0, ("global",)))
    assert [desk.ask(route, max_wait=0.0).wait > 0 for route in "abc"] == [True] * 3
    desk.now += 20.1
    assert [desk.ask(route).wait > 0 for route in "abc"] == [False] * 3


def test_channels_of_discord_share_a_bucket_and_no_quota(desk: Desk) -> None:
    bucket = {"group": "abcd", "dialect": "discord"}

    def post(left: float, channel: str) -> None:
        turn = desk.turn(desk.ask("POST channels/*", part=channel), part=channel)
        desk.put(
            TurnResult("POST channels/*", turn.group, turn.era, 0.0, 200, [quota(left, 5, **bucket)], None, channel)
        )

    post(0, "111")
    assert desk.ask("POST channels/*", part="222").wait == 0
    post(4, "333")
    assert [desk.ask("POST channels/*", part=part).wait > 0 for part in ("111", "333")] == [True, False]


def test_a_refusal_of_a_silent_server_is_that_of_its_route_if_another_is_accepted(desk: Desk) -> None:
    for route in "abc":
        desk.serve(route=route)
    desk.serve(route="a", refused=Throttled("rate", 30.0))
    desk.serve(route="b")
    assert [desk.ask(route).wait > 0 for route in "ab"] == [True, False]


def test_a_refusal_of_a_silent_server_is_that_of_all_if_another_is_refused_too(desk: Desk) -> None:
    for route in "abc":
        desk.serve(route=route)
    desk.serve(route="a", refused=Throttled("rate", 30.0))
    desk.report(desk.ask("b"), refused=Throttled("rate", 30.0), route="b")
    assert [desk.ask(route).wait > 0 for route in "abc"] == [True] * 3


def test_a_refusal_that_names_the_endpoint_stops_no_other_route(desk: Desk) -> None:
    for route in "abc":
        desk.serve(route=route)
    desk.serve(route="a", refused=Throttled("rate", 30.0, ("endpoint-rate",)))
    assert [desk.ask(route).wait > 0 for route in "abcbc"] == [True, False, False, False, False]


# When it ends ---------------------------------------------------------------------------------------------------------


def probe(desk: Desk, *quotas: Quota, refused: Throttled | None, seconds: float) -> list[float]:
    """Return when requests went in so many seconds, each of them answered alike."""
    began, times = desk.now, []
    while desk.now < began + seconds:
        turn: Turn = desk.ask(max_wait=0.0)
        if turn.wait:
            desk.now += turn.wait
            continue
        times.append(desk.now - began)
        desk.now += 0.05
        desk.report(turn, *quotas, refused=refused)
    return times


def test_an_end_that_is_not_announced_is_probed_with_growing_pauses(desk: Desk) -> None:
    day = quota(0, 5000, None, window=86_400.0)
    desk.serve(day)
    times = probe(desk, day, refused=Throttled("exhausted"), seconds=3600.0)
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert 12 <= len(times) <= 20
    assert pauses[:2] == pytest.approx([120.0, 240.0], abs=0.1)
    assert max(pauses) == pytest.approx(300.0, abs=0.1)


def test_a_window_of_minutes_is_waited_for(desk: Desk) -> None:
    desk.serve(quota(0, 60, None, window=60.0))
    assert 59.0 <= desk.measure_wait() <= 62.0


@pytest.mark.parametrize("paced", [[], [quota(50.0)]], ids=["silent", "announced"])
@pytest.mark.parametrize("said", [None, 0.0], ids=["nothing", "zero"])
def test_a_delay_of_zero_is_no_information(paced: list[Quota], said: float | None) -> None:
    desk = Desk()
    desk.serve(*paced)
    times = probe(desk, *paced, refused=Throttled("rate", said), seconds=60.0)
    assert 3 <= len(times) <= 12
    assert times[-1] - times[-2] >= 10.0


@pytest.mark.parametrize(
    ("status", "headers", "waits"),
    [
        (200, {"retry-after": "20"}, 20.0),
        (200, {"retry-after": "20", "x-ratelimit-resource": "core/throttling", "x-ratelimit-delay": "0.1"}, 20.0),
        (204, {"retry-after": "20"}, 20.0),
        (200, {"retry-after": "0"}, 0.0),
        (201, {"retry-after": "20"}, 0.0),
        (202, {"retry-after": "20"}, 0.0),
        (303, {"retry-after": "20"}, 0.0),
        (500, {"retry-after": "20"}, 0.0),
    ],
)
def test_a_pause_that_a_fine_response_asks_for_is_kept(status: int, headers: dict[str, str], waits: float) -> None:
    run = Run(AdaptiveRateLimit())
    run.call(answered(status)._replace(headers=headers))
    run.call()
    assert sum(sleep.high for sleep in run.sleeps) == pytest.approx(waits, abs=0.01)


def test_a_pause_without_a_word_of_rate_limits_is_that_of_its_route() -> None:
    run = Run(AdaptiveRateLimit())
    run.call(answered()._replace(headers={"retry-after": "20"}))
    run.call(call=Call("GET", "https://api.example.com/others"))
    assert run.sleeps == []


# Announced rates ------------------------------------------------------------------------------------------------------


def test_a_rate_is_kept_to_once_a_request_was_refused(desk: Desk) -> None:
    rate = Quota("", 2.0, None, unit="requests-per-second")
    for _ in range(20):
        desk.serve(rate)
    began = desk.now
    desk.serve(rate, refused=Throttled("rate"))
    for _ in range(10):
        desk.serve(rate)
    assert desk.now - began == pytest.approx(10 / (0.98 * 2), rel=0.2)


# Routes ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("/rest?method=flickr.photos.search&text=a", "/rest?method=flickr.photos.getInfo", False),
        ("/rest?method=flickr.photos.search&text=a", "/rest?text=b&method=flickr.photos.search", True),
        ("/w/api.php?action=query&titles=A", "/w/api.php?action=parse&page=A", False),
        ("/?Action=DescribeInstances&Version=1", "/?Action=RunInstances&Version=1", False),
        ("/api?module=account&action=balance", "/api?module=stats&action=balance", False),
        ("/graphql?operationName=Me", "/graphql?operationName=Orders", False),
        ("/items?page=1", "/items?page=2", True),
        ("/items?action=17", "/items?action=18", True),
        ("/items?transaction=a", "/items?transaction=b", True),
        ("/items?op=", "/items", True),
        (f"/items?op={'x' * 99}", "/items", True),
        ("/items?action=a%20b", "/items", True),
    ],
)
def test_a_method_in_the_query_is_a_route(one: str, other: str, is_same: bool) -> None:
    run = Run(AdaptiveRateLimit())
    found = []
    for path in (one, other):
        run.call(call=Call("GET", f"https://api.example.com{path}"))
        found.append(next(event.event.route for event in run.events if isinstance(event.event, TurnRequest)))
        run.events.clear()
    assert (found[0] == found[1]) == is_same


# key= -----------------------------------------------------------------------------------------------------------------

LIMITS: list[Any] = [
    lambda **more: AdaptiveRateLimit(**more),
    lambda **more: TokenBucket(rate=1, capacity=1, **more),
    lambda **more: SlidingWindow(limit=1, window=1.0, **more),
]


def find_keys(limit: RateLimit, *paths: str, **more: Any) -> list[str]:
    run = Run(limit)
    keys = []
    for path in paths:
        run.call(call=Call("GET", f"https://api.example.com{path}", **more))
        keys.append(run.events[0].key)
    return keys


@pytest.mark.parametrize("make", LIMITS, ids=["adaptive", "bucket", "window"])
def test_a_limit_is_kept_for_each_prefix(make: Any) -> None:
    limit = make(key=("/search", "/v1/orders"))
    keys = find_keys(limit, "/search/a", "/search/b", "/v1/orders", "/v1", "/v2", credential="me", tenant="t")
    assert (keys[0] == keys[1], keys[3] == keys[4], len(set(keys))) == (True, True, 3)
    assert all("me" in key and key.endswith("of tenant t") for key in keys)


@pytest.mark.parametrize("make", LIMITS, ids=["adaptive", "bucket", "window"])
def test_a_limit_is_kept_for_what_a_function_names(make: Any) -> None:
    limit = make(key=lambda call: call.url.rpartition("/")[2])
    keys = find_keys(limit, "/a/x", "/b/x", "/a/y")
    assert (keys[0] == keys[1], keys[0] == keys[2]) == (True, False)


@pytest.mark.parametrize("make", LIMITS, ids=["adaptive", "bucket", "window"])
@pytest.mark.parametrize("key", ["host", ("search",), 5, None])
def test_a_key_that_means_nothing_is_refused(make: Any, key: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        make(key=key)


def test_a_turn_request_has_a_place_for_the_id() -> None:
    assert TurnRequest("r", -1, 0, 60.0, None).part == TurnResult("r", "", 0, 0.1, 200, (), None).part == ""
