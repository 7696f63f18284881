"""The law of pacing: what clients get of a quota in virtual time, and what its numbers promise by themselves."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polvo_adapters.policies.ratelimit import AdaptiveRateLimit
from polvo_adapters.policies.ratelimit.pacing import credit, learning, state
from polvo_adapters.policies.ratelimit.pacing.state import Pace, Seen
from polvo_adapters.testing.limiters import (
    AlignedWindowLimiter,
    FixedWindowLimiter,
    Limiter,
    SlidingWindowLimiter,
    Standing,
    TokenBucketLimiter,
)
from polvo_adapters.testing.simulation.crowd import CrowdClient, CrowdResult, QuotaServer, run

KINDS: dict[str, Any] = {
    "fixed": FixedWindowLimiter,
    "aligned": AlignedWindowLimiter,
    "sliding": SlidingWindowLimiter,
    "gcra": TokenBucketLimiter,
}


def run_crowd(limiter: Limiter, clients: int, slots: int, windows: int, **policy: Any) -> CrowdResult:
    """Let greedy clients share one limiter, each with some calls at once that take a fiftieth of a second."""
    server = QuotaServer([limiter], dialect="draft-6", latency=0.02, spread=0.2)
    return run(server, [CrowdClient(slots)] * clients, [AdaptiveRateLimit(max_wait=1e9, **policy)], windows)


def count_greedy(limiter: Limiter, windows: int) -> int:
    """Return how many requests a client that sends all the time gets accepted from the second window on."""
    return run(QuotaServer([limiter], latency=0.02, spread=0.2), [CrowdClient(8)], [], windows).over(1).accepted


@pytest.mark.parametrize("kind", ["fixed", "aligned", "gcra"])
def test_a_client_alone_gets_the_quota_and_no_refusal_after_the_first_window(kind: str) -> None:
    settled = run_crowd(KINDS[kind](50, 2.0), clients=1, slots=8, windows=20).over(1)
    assert settled.accepted >= 0.98 * count_greedy(KINDS[kind](50, 2.0), windows=20)
    assert settled.rejected == 0


def test_a_client_alone_on_a_sliding_window_is_not_refused_and_gets_nearly_all() -> None:
    settled = run_crowd(SlidingWindowLimiter(50, 2.0), clients=1, slots=8, windows=20).over(1)
    assert settled.accepted >= 0.97 * count_greedy(SlidingWindowLimiter(50, 2.0), windows=20)
    assert settled.rejected == 0


@pytest.mark.parametrize("kind", ["fixed", "aligned"])
def test_a_client_alone_that_bursts_gets_the_quota_too(kind: str) -> None:
    settled = run_crowd(KINDS[kind](50, 2.0), clients=1, slots=8, windows=20, pace="burst").over(1)
    assert settled.accepted >= 0.98 * count_greedy(KINDS[kind](50, 2.0), windows=20)
    assert settled.rejected_part <= 0.01


def test_the_burst_of_a_bucket_is_made_use_of() -> None:
    result = run_crowd(TokenBucketLimiter(50, 2.0), clients=1, slots=8, windows=5)
    assert result.windows[0].accepted >= 90


@pytest.mark.parametrize("kind", KINDS)
def test_eight_clients_share_a_quota_with_hardly_a_refusal(kind: str) -> None:
    settled = run_crowd(KINDS[kind](200, 4.0), clients=8, slots=4, windows=16).over(5)
    assert settled.goodput >= 0.95
    assert settled.rejected_part <= 0.01


@pytest.mark.parametrize("kind", ["fixed", "aligned"])
def test_eight_clients_get_shares_within_a_factor_of_three(kind: str) -> None:
    settled = run_crowd(KINDS[kind](200, 4.0), clients=8, slots=4, windows=16).over(5)
    assert settled.most_share <= 3 * settled.least_share


@pytest.mark.parametrize("kind", ["sliding", "gcra"])
@pytest.mark.parametrize("clients", [3, 8])
def test_clients_get_equal_shares_where_quota_comes_back_piece_by_piece(kind: str, clients: int) -> None:
    settled = run_crowd(KINDS[kind](200, 4.0), clients=clients, slots=4, windows=24).over(5)
    assert settled.most_share <= 1.5 * settled.least_share
    assert settled.goodput >= 0.95
    assert settled.rejected == 0


@pytest.mark.parametrize("slots", [2, 4, 8, 12])
def test_two_clients_that_begin_at_once_share_a_small_bucket(slots: int) -> None:
    settled = run_crowd(TokenBucketLimiter(50, 2.0), clients=2, slots=slots, windows=16).over(8)
    assert settled.most_share <= 1.5 * settled.least_share
    assert settled.goodput >= 0.98
    assert settled.rejected == 0


def test_clients_that_come_one_after_the_other_get_equal_shares_of_a_bucket() -> None:
    server = QuotaServer([TokenBucketLimiter(300, 10.0)], dialect="draft-6")
    crowd = [CrowdClient(2, joins=number / 3) for number in range(30)]
    settled = run(server, crowd, [AdaptiveRateLimit(max_wait=1e9)], windows=14).over(8)
    assert settled.most_share <= 1.5 * settled.least_share
    assert settled.goodput >= 0.98
    assert settled.rejected == 0


def test_shares_do_not_drift_apart() -> None:
    late = run_crowd(SlidingWindowLimiter(200, 4.0), clients=8, slots=4, windows=60).over(40)
    assert late.most_share <= 1.3 * late.least_share
    assert late.goodput >= 0.95


def test_a_client_that_joins_at_a_bucket_gets_its_part_and_no_more() -> None:
    server = QuotaServer([TokenBucketLimiter(200, 60.0)], dialect="draft-6", latency=0.05)
    crowd = [CrowdClient(4)] * 3 + [CrowdClient(4, joins=500.0)]
    settled = run(server, crowd, [AdaptiveRateLimit(max_wait=1e9)], windows=20).over(13)
    assert 0.8 <= settled.shares[-1] <= 1.25
    assert settled.rejected == 0


class Taken:
    """A limiter of which a stranger takes requests evenly, from the very beginning.

    Args:
        limiter: The limiter.
        part: Part of the quota that the stranger wants.
    """

    def __init__(self, limiter: Limiter, part: float) -> None:
        self.limiter, self.limit, self.window = limiter, limiter.limit, limiter.window
        self.every = limiter.window / (limiter.limit * part)
        self.next = 0.0

    def take(self, now: float) -> Standing:
        while self.next <= now:
            self.limiter.take(self.next)
            self.next += self.every
        return self.limiter.take(now)


@pytest.mark.parametrize("kind", ["aligned", "sliding", "gcra"])
def test_what_a_stranger_leaves_is_taken_with_few_refusals(kind: str) -> None:
    settled = run_crowd(Taken(KINDS[kind](200, 4.0), 0.5), clients=1, slots=4, windows=20).over(8)
    assert 0.4 <= settled.goodput <= 0.55
    assert settled.rejected_part <= 0.03


def test_a_restart_in_the_middle_of_a_used_window_does_not_crawl() -> None:
    limiter = AlignedWindowLimiter(200, 4.0)
    for number in range(40):
        limiter.take(number * 0.05)
    server = QuotaServer([limiter], dialect="draft-6", latency=0.02, spread=0.2)
    result = run(server, [CrowdClient(4, joins=2.0)], [AdaptiveRateLimit(max_wait=1e9)], windows=2)
    assert result.windows[0].accepted >= 50
    assert result.windows[1].goodput >= 0.9


def test_a_client_that_joins_is_served_within_three_windows() -> None:
    server = QuotaServer([AlignedWindowLimiter(200, 4.0)], dialect="draft-6", latency=0.02, spread=0.2)
    result = run(
        server, [CrowdClient(4)] * 3 + [CrowdClient(4, joins=40.0)], [AdaptiveRateLimit(max_wait=1e9)], windows=20
    )
    assert result.over(13).least_share >= 0.4
    assert result.over(13).goodput >= 0.9


# What is known of one quota -------------------------------------------------------------------------------------------


class Account:
    """Spends one quota of a limiter by the law alone, one request after the other.

    Args:
        limiter: What counts.
        latency: Seconds from a request to its response.
        now: When it begins.
        free: As `learning.learn` takes it.
    """

    def __init__(self, limiter: Limiter, latency: float = 0.02, now: float = 0.0, free: float = 0.5) -> None:
        self.limiter, self.latency, self.now, self.free = limiter, latency, now, free
        self.taken = self.refused = 0
        self.pace: Any = None

    def ask(self) -> tuple[float, Standing]:
        asked = self.now
        if self.pace is not None:
            self.pace["credit"] = max(0.0, self.pace["credit"] - 1)
        standing = self.limiter.take(asked + self.latency / 2)
        self.taken += standing.allowed
        self.refused += not standing.allowed
        return asked, standing

    def hear(self, asked: float, standing: Standing, in_flight: int = 0) -> None:
        limit, window = standing.limit, standing.window
        seen = Seen(asked, limit, window, standing.remaining, float(standing.reset), 1.0)
        if self.pace is None:
            self.pace = state.start_pace(seen, self.now)
            return
        if not standing.allowed:
            learning.refuse(self.pace)
        learning.learn(self.pace, seen, self.now, accepted=standing.allowed, free=self.free, in_flight=in_flight)

    def step(self) -> None:
        asked, standing = self.ask()
        self.now += self.latency
        self.hear(asked, standing)
        credit.earn(self.pace, self.now)
        self.now = credit.find_ready_time(self.pace, self.now, 0, 0)
        credit.earn(self.pace, self.now)

    def until(self, end: float) -> Account:
        while self.now < end:
            self.step()
        return self


def overlap(account: Account, end: float) -> Account:
    """Send two requests at once again and again, and let the response to the first come last."""
    account.step()
    while account.now < end:
        first, second = account.ask(), account.ask()
        account.now += account.latency
        account.hear(*second, in_flight=1)
        account.hear(*first)
        credit.earn(account.pace, account.now)
        account.now = credit.find_ready_time(account.pace, account.now, 1, 0)
        credit.earn(account.pace, account.now)
    return account


@pytest.mark.parametrize("kind", ["fixed", "aligned"])
@pytest.mark.parametrize("drive", [Account.until, overlap])
def test_windows_are_taken_for_windows(kind: str, drive: Any) -> None:
    account = drive(Account(KINDS[kind](50, 4.0)), 80.0)
    assert account.pace["refills"] == "windows"


@pytest.mark.parametrize("kind", ["sliding", "gcra"])
@pytest.mark.parametrize("drive", [Account.until, overlap])
def test_what_refills_piece_by_piece_is_not_taken_for_windows(kind: str, drive: Any) -> None:
    account = drive(Account(KINDS[kind](50, 4.0)), 80.0)
    assert account.pace["refills"] != "windows"


@pytest.mark.parametrize(("free", "least", "most"), [(0.5, 45, 58), (0.0, 95, 100)])
def test_a_client_alone_spends_the_upper_part_at_once(free: float, least: int, most: int) -> None:
    account = Account(AlignedWindowLimiter(100, 100.0), latency=0.001, free=free).until(2.5)
    assert least <= account.taken <= most


def test_a_client_alone_is_known_to_be_alone() -> None:
    assert Account(AlignedWindowLimiter(100, 10.0)).until(50.0).pace["share"] == 1.0
    assert not state.is_shared(Account(AlignedWindowLimiter(100, 10.0)).until(50.0).pace)


def test_a_client_that_is_not_alone_knows_its_own_part() -> None:
    pace = Account(Taken(AlignedWindowLimiter(100, 10.0), 0.5)).until(100.0).pace
    assert 0.35 <= pace["share"] <= 0.65
    assert state.is_shared(pace)


def test_a_client_that_shares_gives_way_after_a_refusal() -> None:
    pace = Account(Taken(AlignedWindowLimiter(100, 10.0), 0.5)).until(100.0).pace
    before = pace["own"]
    learning.refuse(pace)
    assert pace["own"] == pytest.approx(0.8 * before)


def test_a_client_alone_does_not_give_way() -> None:
    pace = Account(AlignedWindowLimiter(100, 10.0)).until(50.0).pace
    before = pace["own"]
    learning.refuse(pace)
    assert pace["own"] == before


def test_a_quota_of_another_size_keeps_the_share() -> None:
    pace = Account(Taken(AlignedWindowLimiter(100, 10.0), 0.5)).until(95.0).pace
    fresh = state.restart_pace(pace, Seen(95.0, 500.0, 10.0, 250.0, 5.0, 1.0), 95.0)
    assert (fresh["share"], fresh["limit"], fresh["remaining"]) == (pace["share"], 500.0, 250.0)


def test_with_requests_under_way_the_rest_waits_for_what_they_learn() -> None:
    pace = state.start_pace(Seen(0.0, 1.0, 10.0, 0.0, 10.0, 0.0), 0.0)
    assert credit.find_ready_time(pace, 0.0, 0, 0) == pytest.approx(10.0)
    assert credit.find_ready_time(pace, 0.0, 0, 1) == float("inf")


def test_a_request_costs_one_and_debts_are_not_made() -> None:
    pace = state.start_pace(Seen(0.0, 10.0, 10.0, 9.0, 10.0, 0.0), 0.0)
    pace["credit"] = 1.5
    spent = []
    for _ in range(2):
        pace["credit"] = max(0.0, pace["credit"] - 1)
        spent.append(pace["credit"])
    assert spent == [0.5, 0.0]


@pytest.mark.parametrize("share", [5e-324, 1e-9, 0.5, 1.0])
@pytest.mark.parametrize("limit", [1.0, 100.0, 1e15])
def test_the_end_of_a_quota_that_is_not_spread_is_no_more_than_the_whole(limit: float, share: float) -> None:
    pace = state.start_pace(Seen(0.0, limit, 86400.0, limit, 3600.0, 1.0), 0.0)
    pace["share"], pace["seen"] = share, state.NEWCOMER
    for in_flight in (0, 3):
        credit.free_credit(pace, -1.0, in_flight)
        assert 0 < pace["near"] <= limit
        assert 0 <= pace["credit"] <= limit


def test_what_is_left_is_not_promised_twice() -> None:
    pace = state.start_pace(Seen(0.0, 10.0, 10.0, 9.0, 10.0, 0.0), 0.0)
    pace["remaining"], pace["credit"] = 1.0, 5.0
    assert [credit.find_ready_time(pace, 0.0, 0, in_flight) for in_flight in (0, 1)] == [0.0, float("inf")]


# What always holds ----------------------------------------------------------------------------------------------------

LIMITERS = st.one_of(
    st.builds(kind, st.integers(1, 80), st.sampled_from([0.5, 1.0, 2.0, 10.0, 60.0])) for kind in KINDS.values()
)
PACES = st.tuples(
    LIMITERS,
    st.floats(0.05, 0.95),
    st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=25),
    st.sampled_from([0.0, 0.5]),
)


def live(story: Any) -> tuple[Pace, float]:
    """Return a pace with a past, and its time: own requests now and then, some before their time, and a stranger's."""
    limiter, part, turns, free = story
    account = Account(Taken(limiter, part), free=free)
    account.step()
    for pause, hasty in turns:
        if hasty:
            account.now += pause * limiter.window
            credit.earn(account.pace, account.now)
            asked, standing = account.ask()
            account.now += account.latency
            account.hear(asked, standing)
        else:
            account.now = min(account.now, 1e6)
            account.step()
        assert account.pace["credit"] >= 0
        assert 0 < account.pace["share"] <= 1
    credit.earn(account.pace, account.now)
    return account.pace, account.now


@given(PACES, st.floats(0, 5), st.integers(0, 3))
def test_nothing_is_ready_before_now_or_earlier_behind_more(story: Any, ahead: float, in_flight: int) -> None:
    pace, now = live(story)
    first = credit.find_ready_time(pace, now, ahead, in_flight)
    assert first >= now
    assert credit.find_ready_time(pace, now, ahead + 1, in_flight) >= first


@given(PACES, st.lists(st.floats(0, 4), min_size=2, max_size=10))
def test_what_is_earned_never_falls(story: Any, times: list[float]) -> None:
    pace, now = live(story)
    earned = [credit.compute_allowance(pace, now + time * pace["window"]) for time in sorted(times)]
    assert all(later >= earlier - 1e-9 for earlier, later in pairwise(earned))


@given(PACES, st.floats(0, 3))
def test_a_request_may_go_when_it_was_said_that_it_may(story: Any, ahead: float) -> None:
    pace, now = live(story)
    at = credit.find_ready_time(pace, now, ahead, 0)
    assert credit.find_ready_time(pace, at, ahead, 0) <= at + 1e-6 * max(1.0, at)


@given(PACES, st.floats(0, 3))
def test_credit_never_falls_by_waiting(story: Any, wait: float) -> None:
    pace, now = live(story)
    before = pace["credit"]
    credit.earn(pace, now + wait * pace["window"])
    assert pace["credit"] >= before


@pytest.mark.parametrize("seed", [1, 2])
def test_no_client_of_a_small_sliding_quota_takes_itself_for_alone(seed: int) -> None:
    server = QuotaServer([SlidingWindowLimiter(20, 10.0)], dialect="draft-6", latency=0.05, spread=0.2)
    settled = run(server, [CrowdClient(4)] * 4, [AdaptiveRateLimit(max_wait=1e9)], 12, seed).over(6)
    assert settled.most_share <= 3 * settled.least_share
