"""A counter weighs the last window by what of it still overlaps: it is told by its ends, used up evenly, and shared."""

from __future__ import annotations

import math
from typing import Any

import pytest

from polvo_adapters.policies.ratelimit import AdaptiveRateLimit
from polvo_adapters.policies.ratelimit.pacing import counters
from polvo_adapters.policies.ratelimit.pacing.counters import Count, End, Step
from polvo_adapters.testing.limiters import (
    AlignedWindowLimiter,
    EstimatedWindowLimiter,
    FixedWindowLimiter,
    SlidingWindowLimiter,
    Standing,
    TokenBucketLimiter,
)
from polvo_adapters.testing.simulation.crowd import CrowdClient, CrowdWindow, QuotaServer, run
from tests.policies.ratelimit.test_pacing import Account
from tests.support.quota_vendors import Vendor, VendorServer, epoch, x

ADAPTIVE = AdaptiveRateLimit(max_wait=1e9)


class WholeCounter(EstimatedWindowLimiter):
    """Rounds what it counts of the last window down, as Upstash does."""

    def take(self, now: float) -> Standing:
        number, passed = divmod(now - self._origin, self.window)
        self._turn_to(int(number))
        return self._use(self.window - passed, math.floor(self._before * (1 - passed / self.window)))


class StrictCounter(EstimatedWindowLimiter):
    """Counts the requests that it turns away, too."""

    def take(self, now: float) -> Standing:
        standing = super().take(now)
        self._used += not standing.allowed
        return standing


COUNTERS: dict[str, Any] = {"exact": EstimatedWindowLimiter, "whole": WholeCounter, "strict": StrictCounter}


def settle(limiter: Any, clients: int, slots: int, windows: int, first: int) -> CrowdWindow:
    """Return what greedy clients did to a counter once they know it."""
    server = QuotaServer([limiter], dialect="draft-6", latency=0.02, spread=0.5)
    return run(server, [CrowdClient(slots)] * clients, [ADAPTIVE], windows).over(first)


@pytest.mark.parametrize("phase", [0.0, 0.37])
@pytest.mark.parametrize(("limit", "window"), [(50, 4.0), (50, 60.0), (100, 2.0)])
@pytest.mark.parametrize("kind", COUNTERS)
def test_a_client_alone_uses_a_counter_up_and_is_not_refused(
    kind: str, limit: int, window: float, phase: float
) -> None:
    settled = settle(COUNTERS[kind](limit, window, phase * window), clients=1, slots=8, windows=16, first=8)
    assert settled.goodput >= 0.97
    assert settled.rejected == 0


@pytest.mark.parametrize("kind", ["exact", "whole"])
def test_eight_clients_share_a_counter_without_a_refusal(kind: str) -> None:
    settled = settle(COUNTERS[kind](200, 4.0, 1.3), clients=8, slots=4, windows=20, first=8)
    assert settled.goodput >= 0.97
    assert settled.rejected == 0
    assert settled.most_share <= 2 * settled.least_share


VENDORS = {
    "Unix time in milliseconds": lambda s, wall: x(
        "X-RateLimit-", s[0].limit, s[0].remaining, int(1000 * (wall + s[0].seconds_left))
    ),
    "Unix time in seconds": lambda s, wall: x("X-RateLimit-", s[0].limit, s[0].remaining, epoch(s[0], wall)),
    "seconds": lambda s, wall: x("X-RateLimit-", s[0].limit, s[0].remaining, s[0].reset),
}


@pytest.mark.parametrize("window", [10.0, 60.0])
@pytest.mark.parametrize("told", VENDORS)
def test_a_counter_that_does_not_announce_its_window_is_used_up_too(told: str, window: float) -> None:
    vendor = Vendor("counter", lambda: [WholeCounter(100, window, -3.3)], VENDORS[told])
    settled = run(VendorServer(vendor), [CrowdClient(8)], [ADAPTIVE], 14).over(6)
    assert settled.goodput >= 0.97
    assert settled.rejected == 0


OTHERS: dict[str, Any] = {
    "fixed": FixedWindowLimiter,
    "aligned": AlignedWindowLimiter,
    "sliding": SlidingWindowLimiter,
    "sliding, always the whole window": lambda limit, window: SlidingWindowLimiter(
        limit, window, announces_window=True
    ),
    "bucket": TokenBucketLimiter,
}


@pytest.mark.parametrize("window", [2.0, 4.0, 60.0])
@pytest.mark.parametrize("kind", OTHERS)
def test_no_other_server_is_taken_for_a_counter(kind: str, window: float) -> None:
    account = Account(OTHERS[kind](50, window))
    while account.now < 12 * window:
        account.step()
        assert account.pace["refills"] != "counter"


def test_a_counter_is_told_by_what_is_used_after_two_ends() -> None:
    end = End(100, 60.0, step=60.0, coarse=1.0, left=10.0, since=2.0, used=90, now_used=92)
    once = counters.judge_end(counters.UNKNOWN, end, alone=False)
    assert not counters.is_counter(once)
    assert counters.is_counter(counters.judge_end(once, end, alone=False))
    assert counters.is_counter(counters.judge_end(counters.UNKNOWN, end, alone=True))


@pytest.mark.parametrize(
    "change",
    [
        {"now_used": 3},  # all came back
        {"step": 31.0},  # the end is not a window later
        {"left": 45.0},  # it was not near
        {"since": 40.0},  # it is long ago
        {"window": 1.0, "step": 1.0, "left": 0.1, "since": 0.1},  # whole seconds do not tell
    ],
)
def test_what_does_not_tell_a_counter(change: dict[str, float]) -> None:
    end = End(100, 60.0, step=60.0, coarse=1.0, left=10.0, since=2.0, used=90, now_used=92)._replace(**change)
    assert counters.judge_end(counters.UNKNOWN, end, alone=True).score == 0


def test_a_window_takes_back_what_spoke_for_a_counter() -> None:
    end = End(100, 60.0, step=60.0, coarse=1.0, left=10.0, since=2.0, used=90, now_used=3)
    assert counters.judge_end(Count(0.0, 0.0, 1.0), end, alone=False).score == 0


def test_a_counter_that_turns_out_to_be_a_window_is_not_believed_any_more() -> None:
    account = Account(EstimatedWindowLimiter(50, 4.0)).until(24.0)
    assert account.pace["refills"] == "counter"
    account.limiter = AlignedWindowLimiter(50, 4.0)
    account.until(40.0)
    assert account.pace["refills"] == "windows"


def test_what_a_counter_gives_back_is_followed_across_the_end_of_a_window() -> None:
    # 40 in the last window and 30 in this one, a quarter before its end: 40 * 0.25 + 30 are used.
    count = Count(last=40.0, level=60.0, score=4.0)
    step = Step(100, 60.0, left=15.0, passed=30.0, ended=1, accepted=0, remaining=77, slack=0, late=0.0, ordered=True)
    after, spent, odd = counters.follow(count, step)
    assert after.last == pytest.approx(30)
    assert after.level == pytest.approx(100 - 30 * 0.75)
    assert (spent, odd) == (0, 0)


def test_the_time_of_a_refill_is_found_before_and_after_the_end() -> None:
    outlook = counters.Outlook(100, 60.0, last=60.0, level=0.0, left=(10.0, 10.0))
    assert counters.find_refill(outlook, 5.0, 0.0) == pytest.approx(5.0)
    assert counters.find_refill(outlook, 19.0, 0.0) == pytest.approx(10 + 9 * 60 / 90)
