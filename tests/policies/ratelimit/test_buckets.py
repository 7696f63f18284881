"""A bucket is told by the resets that it announces, with the length of its window; no other server is taken for one."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest

from polvo_adapters.policies.ratelimit import AdaptiveRateLimit
from polvo_adapters.policies.ratelimit.pacing import buckets
from polvo_adapters.testing.limiters import (
    AlignedWindowLimiter,
    FixedWindowLimiter,
    SlidingWindowLimiter,
    TokenBucketLimiter,
)
from polvo_adapters.testing.simulation.crowd import CrowdClient, run
from tests.support.quota_vendors import BatchBucketLimiter, Vendor, VendorServer, go

ADAPTIVE = AdaptiveRateLimit(max_wait=1e9)


def announce_moments(limit: int, window: float) -> Vendor:
    """Return a bucket that announces when it will be full, and not how long its window is."""
    return Vendor(
        "bucket",
        lambda: [TokenBucketLimiter(limit, window)],
        lambda s, wall: {
            "x-ratelimit-limit-requests": s[0].limit,
            "x-ratelimit-remaining-requests": s[0].remaining,
            "x-ratelimit-reset-requests": go(s[0].seconds_left),
        },
    )


@pytest.mark.parametrize("slots", [1, 4, 32])
@pytest.mark.parametrize(("limit", "window"), [(20, 2.0), (50, 2.0), (60, 60.0), (500, 60.0)])
def test_a_bucket_that_does_not_announce_its_window_is_used_and_never_overrun(
    limit: int, window: float, slots: int
) -> None:
    result = run(VendorServer(announce_moments(limit, window)), [CrowdClient(slots)], [ADAPTIVE], 8)
    assert result.over(1).goodput >= 0.98
    assert result.over(0).rejected == 0


@pytest.mark.parametrize("pace", ["spread", "burst"])
@pytest.mark.parametrize(("limit", "fill", "interval"), [(60, 10, 2.0), (100, 20, 5.0), (30, 5, 1.0)])
def test_a_bucket_that_is_filled_in_batches_is_used_and_never_overrun(
    limit: int, fill: int, interval: float, pace: Any
) -> None:
    vendor = announce_moments(limit, limit / fill * interval)._replace(
        limiters=lambda: [BatchBucketLimiter(limit, fill, interval)],
        told=lambda s, wall: {
            "X-RateLimit-Limit": s[0].limit,
            "X-RateLimit-Remaining": s[0].remaining,
            "X-RateLimit-FillRate": fill,
            "X-RateLimit-Interval-Seconds": interval,
        },
    )
    result = run(VendorServer(vendor), [CrowdClient(4)], [AdaptiveRateLimit(pace, max_wait=1e9)], 8)
    assert result.over(2).goodput >= 0.97
    assert result.over(1).rejected == 0


def listen(limiter: Any, seconds: float, coarse: float, window: float = 0.0, seed: int = 1) -> buckets.Match:
    """Return what the responses to requests at random times say, which are more at first than the limit allows."""
    draw, now, match = random.Random(seed), 0.0, buckets.UNKNOWN
    while now < seconds:
        standing = limiter.take(now)
        reset = math.ceil(standing.seconds_left / coarse) * coarse if coarse else standing.seconds_left
        level = buckets.Level(limiter.limit, limiter.limit - standing.remaining, reset, coarse, 0.02, now)
        match = buckets.match(match, level, window)
        now += draw.expovariate(limiter.limit / limiter.window * (3 if now < limiter.window / 2 else 0.9))
    return match


@pytest.mark.parametrize("coarse", [0.0, 0.001, 1.0])
@pytest.mark.parametrize("window", [10.0, 37.0, 60.0, 3600.0])
def test_the_window_of_a_bucket_is_found(window: float, coarse: float) -> None:
    match = listen(TokenBucketLimiter(100, window), 3 * window, coarse)
    assert buckets.is_bucket(match)
    assert buckets.find_window(match, 0.0) == pytest.approx(window, rel=0.1)


OTHERS: dict[str, Any] = {
    "fixed": FixedWindowLimiter,
    "aligned": AlignedWindowLimiter,
    "sliding": SlidingWindowLimiter,
    "sliding, always the whole window": lambda limit, window: SlidingWindowLimiter(
        limit, window, announces_window=True
    ),
}


@pytest.mark.parametrize("coarse", [0.0, 1.0])
@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize("kind", OTHERS)
def test_no_other_server_is_taken_for_a_bucket(kind: str, announced: bool, coarse: float) -> None:
    for seed in range(5):
        for window in (10.0, 60.0, 900.0):
            match = listen(OTHERS[kind](100, window), 6 * window, coarse, window if announced else 0.0, seed)
            assert not buckets.is_bucket(match)


def test_a_bucket_that_turns_out_to_be_none_is_not_believed_any_more() -> None:
    match = listen(TokenBucketLimiter(100, 60.0), 120.0, 1.0)
    for passed in range(4):
        match = buckets.match(match, buckets.Level(100.0, 10.0, 50.0 - passed, 1.0, 0.02, 200.0 + passed))
    assert not buckets.is_bucket(match)
