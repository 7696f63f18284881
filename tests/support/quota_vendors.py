"""Stand-ins of vendors: servers that count as the vendor documents it, and announce it in the vendor's headers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from typing import Any, NamedTuple

from polvo_adapters.core.calls import Call
from polvo_adapters.testing.limiters import (
    AlignedWindowLimiter,
    FixedWindowLimiter,
    Limiter,
    SlidingWindowLimiter,
    Standing,
    TokenBucketLimiter,
)
from polvo_adapters.testing.simulation.crowd import QuotaServer
from polvo_adapters.testing.simulation.simulation import ScriptedReply
from polvo_adapters.testing.virtual_clock import EPOCH

Told = dict[str, Any]
Format = Callable[[Sequence[Standing], float], Told]


class BatchBucketLimiter:
    """A bucket that gets a batch of tokens at each interval, as Jira Data Center counts."""

    def __init__(self, limit: int, fill: int, interval: float) -> None:
        self.limit, self.window = limit, limit / fill * interval
        self.fill, self.interval = fill, interval
        self._left, self._batches = float(limit), 0

    def take(self, now: float) -> Standing:
        batches = int(now / self.interval)
        self._left = min(self.limit, self._left + (batches - self._batches) * self.fill)
        self._batches = batches
        allowed = self._left >= 1
        self._left -= allowed
        next_batch = (batches + 1) * self.interval - now
        return Standing(allowed, self.limit, self.window, int(self._left), next_batch, 0.0 if allowed else next_batch)


class Vendor(NamedTuple):
    """A vendor.

    Attributes:
        name: Its name.
        limiters: Makes the limiters in which a request counts, the one that binds first.
        told: The headers for their standings, at a Unix time.
        retry_after: Whether a refusal says when to come again.
        windows: How many windows to look at.
        settled: From which of them on.
        one: Least part of the quota that one process uses, and most refusals of a hundred requests; where a vendor
            does not say when more comes, or what remains, some are needed to find out.
        many: The same for eight processes over one store.
        apart: The same for eight processes over stores of their own.
    """

    name: str
    limiters: Callable[[], list[Limiter]]
    told: Format
    retry_after: bool = True
    windows: int = 6
    settled: int = 2
    one: tuple[float, float] = (0.97, 0.0)
    many: tuple[float, float] = (0.97, 0.0)
    apart: tuple[float, float] = (0.93, 1.5)


class VendorServer(QuotaServer):
    """A server that counts each request in all limiters of a vendor, if all of them have room."""

    def __init__(self, vendor: Vendor, latency: float = 0.02, seed: int = 1) -> None:
        super().__init__(vendor.limiters(), latency=latency, spread=0.5, seed=seed)
        self.limit, self.vendor = self.limiters[0].limit, vendor
        self.limiters, self._all = self.limiters[:1], self.limiters

    def reply(self, call: Call, now: float) -> ScriptedReply:
        standings = [limiter.take(now) for limiter in self._all]
        wall = EPOCH + now
        told = {name.lower(): str(value) for name, value in self.vendor.told(standings, wall).items()}
        allowed = all(standing.allowed for standing in standings)
        if not allowed and self.vendor.retry_after:
            told["retry-after"] = str(max(standing.retry_after for standing in standings))
        told["date"] = datetime.fromtimestamp(wall, timezone.utc).strftime("%a, %d %b %Y %H:%M:%S GMT")
        return ScriptedReply(200 if allowed else 429, told, self.way())


def windows(kind: Any, limit: int, seconds: float, *more: tuple[Any, int, float]) -> Callable[[], list[Limiter]]:
    return lambda: [each(size, window) for each, size, window in ((kind, limit, seconds), *more)]


def x(prefix: str, limit: Any, remaining: Any, reset: Any) -> Told:
    return {f"{prefix}Limit": limit, f"{prefix}Remaining": remaining, f"{prefix}Reset": reset}


def epoch(standing: Standing, wall: float) -> int:
    return math.ceil(wall + standing.seconds_left - 1e-6)


def rfc3339(moment: float) -> str:
    return datetime.fromtimestamp(math.ceil(moment - 1e-6), timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def go(seconds: float) -> str:
    return f"{max(0.0, seconds):.3f}s" if seconds < 60 else f"{int(seconds // 60)}m{seconds % 60:.3f}s"


def used(standing: Standing) -> int:
    return standing.limit - standing.remaining


FIXED, ALIGNED, SLIDING, BUCKET = FixedWindowLimiter, AlignedWindowLimiter, SlidingWindowLimiter, TokenBucketLimiter


def by_clock(limit: int, window: float) -> Limiter:
    """Return windows that end at whole multiples of their length since midnight UTC."""
    return ALIGNED(limit, window, origin=-(EPOCH % window))


def deep(limit: int, window: float) -> Limiter:
    """Return a bucket for a burst of 20."""
    return BUCKET(limit, window, 20)


def moments(prefix: str) -> Format:
    """Return what announces limit, remaining and the Unix time of the reset."""
    return lambda s, wall: x(prefix, s[0].limit, s[0].remaining, epoch(s[0], wall))


def delays(prefix: str) -> Format:
    """Return what announces limit, remaining and the seconds until the reset."""
    return lambda s, wall: x(prefix, s[0].limit, s[0].remaining, s[0].reset)


def find_tightest(standings: Sequence[Standing]) -> Standing:
    return min(standings, key=lambda standing: (standing.allowed, standing.remaining))


VENDORS = [
    Vendor(
        "GitHub",
        windows(FIXED, 200, 3600.0),
        lambda s, wall: {
            **x("x-ratelimit-", s[0].limit, s[0].remaining, epoch(s[0], wall)),
            "x-ratelimit-used": used(s[0]),
            "x-ratelimit-resource": "core",
        },
        retry_after=False,
    ),
    Vendor(
        "GitLab",
        windows(ALIGNED, 200, 60.0),
        lambda s, wall: {
            **x("RateLimit-", s[0].limit, s[0].remaining, epoch(s[0], wall)),
            "RateLimit-Name": "throttle_authenticated_api",
            "RateLimit-Observed": used(s[0]),
        },
    ),
    Vendor("X", windows(FIXED, 180, 900.0), moments("x-rate-limit-"), retry_after=False),
    Vendor("Okta", windows(ALIGNED, 200, 60.0), moments("X-Rate-Limit-"), retry_after=False),
    Vendor(
        "Discord",
        windows(FIXED, 50, 5.0),
        lambda s, wall: {
            **x("X-RateLimit-", s[0].limit, s[0].remaining, f"{wall + s[0].seconds_left:.3f}"),
            "X-RateLimit-Reset-After": f"{s[0].seconds_left:.3f}",
            "X-RateLimit-Bucket": "abcd1234",
        },
        many=(0.95, 0.0),
    ),
    Vendor(
        "Zendesk",
        windows(ALIGNED, 200, 60.0),
        lambda s, wall: {
            "X-Rate-Limit": s[0].limit,
            "X-Rate-Limit-Remaining": s[0].remaining,
            "ratelimit-reset": s[0].reset,
        },
    ),
    Vendor(
        "Linear",
        windows(BUCKET, 200, 60.0),
        lambda s, wall: x("X-RateLimit-Requests-", s[0].limit, s[0].remaining, int(1000 * (wall + s[0].seconds_left))),
        retry_after=False,
    ),
    Vendor("RapidAPI", windows(FIXED, 200, 60.0), delays("x-ratelimit-requests-"), retry_after=False),
    Vendor(
        "OpenAI",
        windows(BUCKET, 200, 60.0),
        lambda s, wall: {
            "x-ratelimit-limit-requests": s[0].limit,
            "x-ratelimit-remaining-requests": s[0].remaining,
            "x-ratelimit-reset-requests": go(s[0].seconds_left),
        },
        apart=(0.97, 0.5),
    ),
    Vendor(
        "Anthropic",
        windows(BUCKET, 200, 60.0),
        lambda s, wall: x(
            "anthropic-ratelimit-requests-", s[0].limit, s[0].remaining, rfc3339(wall + s[0].seconds_left)
        ),
    ),
    Vendor(
        "Reddit",
        windows(ALIGNED, 200, 600.0),
        lambda s, wall: {
            "X-Ratelimit-Used": used(s[0]),
            "X-Ratelimit-Remaining": f"{s[0].remaining:.1f}",
            "X-Ratelimit-Reset": s[0].reset,
        },
        retry_after=False,
    ),
    Vendor(
        "HubSpot",
        windows(FIXED, 100, 10.0, (ALIGNED, 250_000, 86400.0)),
        lambda s, wall: {
            "X-HubSpot-RateLimit-Max": s[0].limit,
            "X-HubSpot-RateLimit-Remaining": s[0].remaining,
            "X-HubSpot-RateLimit-Interval-Milliseconds": 10000,
            "X-HubSpot-RateLimit-Daily": s[1].limit,
            "X-HubSpot-RateLimit-Daily-Remaining": s[1].remaining,
        },
        retry_after=False,
    ),
    Vendor(
        "BigCommerce",
        windows(FIXED, 150, 30.0),
        lambda s, wall: {
            "X-Rate-Limit-Requests-Quota": s[0].limit,
            "X-Rate-Limit-Requests-Left": s[0].remaining,
            "X-Rate-Limit-Time-Reset-Ms": int(1000 * s[0].seconds_left),
            "X-Rate-Limit-Time-Window-Ms": 30000,
        },
        retry_after=False,
    ),
    Vendor(
        "Strava",
        windows(by_clock, 200, 900.0, (by_clock, 20_000, 86400.0)),
        lambda s, wall: {
            "X-RateLimit-Limit": f"{s[0].limit},{s[1].limit}",
            "X-RateLimit-Usage": f"{used(s[0])},{used(s[1])}",
        },
        retry_after=False,
    ),
    Vendor(
        "Trello",
        windows(ALIGNED, 100, 10.0, (ALIGNED, 300, 10.0)),
        lambda s, wall: {
            f"x-rate-limit-api-{name}-{what}": value
            for name, each in (("token", s[0]), ("key", s[1]))
            for what, value in (("interval-ms", 10000), ("max", each.limit), ("remaining", each.remaining))
        },
        retry_after=False,
    ),
    Vendor(
        "Xero",
        windows(SLIDING, 60, 60.0, (SLIDING, 5000, 86400.0), (SLIDING, 10_000, 60.0)),
        lambda s, wall: {
            "X-MinLimit-Remaining": s[0].remaining,
            "X-DayLimit-Remaining": s[1].remaining,
            "X-AppMinLimit-Remaining": s[2].remaining,
        },
        one=(0.98, 0.0),
        many=(0.98, 0.0),
        apart=(0.8, 0.5),
    ),
    Vendor(
        "Riot",
        windows(FIXED, 100, 120.0, (FIXED, 20, 1.0), (FIXED, 2000, 60.0)),
        lambda s, wall: {
            "X-App-Rate-Limit": "20:1,100:120",
            "X-App-Rate-Limit-Count": f"{used(s[1])}:1,{used(s[0])}:120",
            "X-Method-Rate-Limit": "2000:60",
            "X-Method-Rate-Limit-Count": f"{used(s[2])}:60",
        },
        one=(0.98, 0.0),
        many=(0.98, 0.0),
    ),
    Vendor(
        "Crossref",
        windows(SLIDING, 50, 1.0),
        lambda s, wall: {"X-Rate-Limit-Limit": 50, "X-Rate-Limit-Interval": "1s"},
        retry_after=False,
        windows=60,
        settled=20,
        one=(0.93, 0.0),
        many=(0.95, 0.0),
        apart=(0.9, 1.0),
    ),
    Vendor(
        "Jira Data Center",
        lambda: [BatchBucketLimiter(60, 10, 2.0)],
        lambda s, wall: {
            "X-RateLimit-Limit": s[0].limit,
            "X-RateLimit-Remaining": s[0].remaining,
            "X-RateLimit-FillRate": 10,
            "X-RateLimit-Interval-Seconds": 2,
            "Retry-After": 0 if s[0].allowed else s[0].retry_after,
        },
        apart=(0.93, 2.0),
    ),
    Vendor(
        "Shopify",
        windows(BUCKET, 40, 20.0),
        lambda s, wall: {"X-Shopify-Shop-Api-Call-Limit": f"{used(s[0])}/{s[0].limit}"},
    ),
    Vendor(
        "Amazon SP-API",
        windows(deep, 30, 60.0),
        lambda s, wall: {"x-amzn-RateLimit-Limit": "0.5"},
        retry_after=False,
        windows=24,
        settled=8,
        apart=(0.95, 2.0),
    ),
    Vendor(
        "Meta",
        windows(SLIDING, 200, 3600.0),
        lambda s, wall: {"X-App-Usage": f'{{"call_count":{100 * used(s[0]) // s[0].limit},"total_time":2}}'},
        retry_after=False,
        one=(0.98, 0.0),
        many=(0.95, 1.0),
        apart=(0.85, 5.0),  # each learns a quota of its own size from a whole number, and all meet at its end
    ),
    Vendor(
        "Kong",
        windows(ALIGNED, 100, 60.0, (ALIGNED, 5000, 3600.0)),
        lambda s, wall: {
            "X-RateLimit-Limit-Minute": s[0].limit,
            "X-RateLimit-Remaining-Minute": s[0].remaining,
            "X-RateLimit-Limit-Hour": s[1].limit,
            "X-RateLimit-Remaining-Hour": s[1].remaining,
            **x("RateLimit-", s[0].limit, s[0].remaining, s[0].reset),
        },
    ),
    Vendor(
        "Etsy",
        windows(ALIGNED, 10, 1.0, (ALIGNED, 10_000, 86400.0)),
        lambda s, wall: {
            "x-limit-per-second": s[0].limit,
            "x-remaining-this-second": s[0].remaining,
            "x-limit-per-day": s[1].limit,
            "x-remaining-today": s[1].remaining,
        },
        windows=40,
        many=(0.95, 0.0),
        apart=(0.8, 6.5),  # 1.5 to 6.1, mean of six seeds 4.1: eight probes for ten requests a second
    ),
    Vendor(
        "used in place of remaining, not in the tables",
        windows(FIXED, 150, 30.0),
        lambda s, wall: {
            "X-RateLimit-Limit": s[0].limit,
            "X-RateLimit-Used": used(s[0]),
            "X-RateLimit-Reset": s[0].reset,
        },
    ),
    Vendor(
        "words and milliseconds, not in the tables",
        windows(FIXED, 150, 30.0),
        lambda s, wall: {
            "X-Acme-RateLimit-Calls-Max": s[0].limit,
            "X-Acme-RateLimit-Calls-Consumed": used(s[0]),
            "X-Acme-RateLimit-Reset-Ms": int(1000 * s[0].seconds_left),
        },
        retry_after=False,
    ),
    Vendor(
        "pairs, not in the tables",
        windows(FIXED, 100, 30.0, (FIXED, 20, 1.0)),
        lambda s, wall: {
            "X-Acme-Rate-Limit": "20:1,100:30",
            "X-Acme-Rate-Limit-Count": f"{used(s[1])}:1,{used(s[0])}:30",
        },
        one=(0.98, 0.0),
        many=(0.98, 0.0),
    ),
    Vendor(
        "an API quota, not in the tables",
        windows(FIXED, 150, 30.0),
        moments("X-API-Quota-"),
    ),
    Vendor(
        "no reset, as Laravel sends it",
        windows(FIXED, 60, 60.0),
        lambda s, wall: {"X-RateLimit-Limit": s[0].limit, "X-RateLimit-Remaining": s[0].remaining},
        apart=(0.95, 13.0),  # each of them asks in vain once in a window
    ),
    Vendor(
        "no reset, of an hour, as api.data.gov sends it",
        windows(FIXED, 100, 3600.0),
        lambda s, wall: {"X-RateLimit-Limit": s[0].limit, "X-RateLimit-Remaining": s[0].remaining},
        retry_after=False,
        windows=4,
        one=(0.97, 4.0),  # a question or three near its end
        many=(0.97, 4.0),
        apart=(0.9, 60.0),  # eight processes ask one by one when it ends
    ),
    Vendor(
        "a bucket and what remains, as Bucket4j sends it",
        windows(BUCKET, 60, 60.0),
        lambda s, wall: {"X-Rate-Limit-Remaining": s[0].remaining},
        windows=8,
        settled=3,
        one=(0.95, 0.5),
        many=(0.95, 0.5),
        apart=(0.5, 1.0),
    ),
    Vendor(
        "no limit, as Fastly sends it",
        windows(ALIGNED, 100, 600.0),
        lambda s, wall: {"Fastly-RateLimit-Remaining": s[0].remaining, "Fastly-RateLimit-Reset": epoch(s[0], wall)},
        retry_after=False,
    ),
    Vendor(
        "a period for a limit, as AspNetCoreRateLimit sends it",
        windows(FIXED, 100, 60.0),
        lambda s, wall: {
            "X-Rate-Limit-Limit": "1m",
            "X-Rate-Limit-Remaining": s[0].remaining,
            "X-Rate-Limit-Reset": rfc3339(wall + s[0].seconds_left),
        },
    ),
    Vendor(
        "the rate of a bucket, as Spring Cloud Gateway sends it",
        windows(deep, 120, 60.0),
        lambda s, wall: {
            "X-RateLimit-Remaining": s[0].remaining,
            "X-RateLimit-Burst-Capacity": 20,
            "X-RateLimit-Replenish-Rate": 2,
        },
        retry_after=False,
    ),
    Vendor(
        "the state of the tightest of two policies, not in the tables",
        windows(FIXED, 60, 60.0, (FIXED, 10, 5.0)),
        lambda s, wall: {"RateLimit-Policy": "10;w=5, 60;w=60", **delays("RateLimit-")([find_tightest(s)], wall)},
        one=(0.97, 2.0),
        many=(0.95, 3.0),
        apart=(0.6, 12.0),
    ),
]
