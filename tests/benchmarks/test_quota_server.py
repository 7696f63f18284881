"""The limiters count as the servers do that they stand for, stepped by hand; the server tells what they say."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import requests

from polvo_adapters.testing.limiters import (
    DIALECTS,
    AlignedWindowLimiter,
    EstimatedWindowLimiter,
    FixedWindowLimiter,
    Limiter,
    SlidingWindowLimiter,
    Standing,
    TokenBucketLimiter,
    format_headers,
)
from tests.benchmarks.quota_server import KINDS, parse_arguments, serving


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving("--kind", "fixed", "--limit", "2", "--window", "60", "--latency", "0") as url:
        yield url


def taken(limiter: Limiter, *moments: float) -> list[tuple[bool, int, int]]:
    standings = [limiter.take(moment) for moment in moments]
    return [(standing.allowed, standing.remaining, standing.reset) for standing in standings]


def allowed(limiter: Limiter, *moments: float) -> list[bool]:
    return [limiter.take(moment).allowed for moment in moments]


class TestFixedWindow:
    def test_window_opens_with_the_first_request(self) -> None:
        assert taken(FixedWindowLimiter(2, 10.0), 3.0, 3.5, 4.0, 12.9) == [
            (True, 1, 10),
            (True, 0, 10),
            (False, 0, 9),
            (False, 0, 1),
        ]

    def test_next_one_opens_with_the_first_request_after_it(self) -> None:
        assert taken(FixedWindowLimiter(1, 10.0), 3.0, 13.0, 30.0, 39.9) == [
            (True, 0, 10),
            (True, 0, 10),
            (True, 0, 10),
            (False, 0, 1),
        ]


class TestAlignedWindow:
    def test_windows_open_on_the_clock(self) -> None:
        assert taken(AlignedWindowLimiter(2, 10.0), 9.0, 9.5, 9.9, 10.0, 25.0) == [
            (True, 1, 1),
            (True, 0, 1),
            (False, 0, 1),
            (True, 1, 10),
            (True, 1, 5),
        ]

    def test_clock_may_count_from_elsewhere(self) -> None:
        assert taken(AlignedWindowLimiter(1, 10.0, origin=-1_000_003.0), 0.0, 6.9, 7.0) == [
            (True, 0, 7),
            (False, 0, 1),
            (True, 0, 10),
        ]


class TestSlidingWindow:
    def test_what_was_used_comes_back_piece_by_piece(self) -> None:
        assert taken(SlidingWindowLimiter(2, 10.0), 0.0, 4.0, 9.0, 10.0, 11.0, 14.0) == [
            (True, 1, 10),
            (True, 0, 6),
            (False, 0, 1),
            (True, 0, 4),
            (False, 0, 3),
            (True, 0, 6),
        ]

    def test_refused_requests_are_not_logged(self) -> None:
        assert allowed(SlidingWindowLimiter(1, 10.0), 0.0, *range(1, 10), 10.0) == [True, *[False] * 9, True]

    def test_some_announce_the_whole_window(self) -> None:
        assert taken(SlidingWindowLimiter(1, 10.0, announces_window=True), 0.0, 9.0) == [(True, 0, 10), (False, 0, 10)]


class TestEstimatedWindow:
    def test_last_window_counts_as_far_as_it_overlaps(self) -> None:
        limiter = EstimatedWindowLimiter(4, 10.0)
        assert taken(limiter, *[9.0] * 5) == [*((True, left, 1) for left in (3, 2, 1, 0)), (False, 0, 1)]
        assert taken(limiter, 10.0, 12.5, 12.5, 15.0) == [(False, 0, 10), (True, 0, 8), (False, 0, 8), (True, 0, 5)]

    def test_the_one_before_the_last_does_not(self) -> None:
        limiter = EstimatedWindowLimiter(4, 10.0)
        assert allowed(limiter, *[9.0] * 4, *[20.0] * 5) == [*[True] * 8, False]


class TestTokenBucket:
    def test_starts_full_and_is_refilled_steadily(self) -> None:
        limiter = TokenBucketLimiter(4, 8.0)
        assert taken(limiter, *[100.0] * 5) == [(True, 3, 2), (True, 2, 4), (True, 1, 6), (True, 0, 8), (False, 0, 8)]
        assert allowed(limiter, 101.9, 102.0, 103.9, 106.0, 106.0, 106.0) == [False, True, False, True, True, False]
        assert limiter.take(1000.0).remaining == 3

    def test_who_is_refused_is_told_when_there_will_be_one(self) -> None:
        limiter = TokenBucketLimiter(4, 8.0)
        standings = [limiter.take(100.0) for _ in range(5)]
        assert [standing.retry_after for standing in standings] == [0, 0, 0, 0, 2]
        assert (limiter.take(101.5).retry_after, limiter.take(101.5).seconds_to_wait) == (1, 0.5)

    def test_capacity_may_be_less_than_the_limit(self) -> None:
        assert allowed(TokenBucketLimiter(10, 1.0, capacity=2), *[0.0] * 3, 0.1, 0.1) == [
            True,
            True,
            False,
            True,
            False,
        ]

    def test_noise_of_a_clock_does_not_matter(self) -> None:
        limiter, origin = TokenBucketLimiter(50, 2.0), 1_700_000_000.123
        assert all(limiter.take(origin + number * 0.04).allowed for number in range(5000))


@pytest.mark.parametrize("kind", KINDS)
def test_no_limiter_lets_more_through_than_it_may(kind: str) -> None:
    limiter = KINDS[kind](parse_arguments(["--kind", kind, "--limit", "10", "--window", "2"]))
    moments = [0.013 * number for number in range(2000)]
    served = [moment for moment, fine in zip(moments, allowed(limiter, *moments), strict=True) if fine]
    assert 10 * 11 <= len(served) <= 10 * 14
    assert max(sum(start <= moment < start + 2.0 for moment in served) for start in served) <= 20


class TestDialects:
    STANDING = Standing(True, 50, 2.0, 20, 1.25, 0.0)
    REFUSED = Standing(False, 50, 2.0, 0, 1.25, 0.25)

    @pytest.mark.parametrize(
        ("dialect", "headers"),
        [
            ("draft-3", {"RateLimit-Limit": "50, 50;w=2", "RateLimit-Remaining": "20", "RateLimit-Reset": "2"}),
            (
                "draft-6",
                {
                    "RateLimit-Policy": "50;w=2",
                    "RateLimit-Limit": "50",
                    "RateLimit-Remaining": "20",
                    "RateLimit-Reset": "2",
                },
            ),
            ("draft-7", {"RateLimit": "limit=50, remaining=20, reset=2", "RateLimit-Policy": "50;w=2"}),
            ("draft-8", {"RateLimit": '"default";r=20;t=2', "RateLimit-Policy": '"default";q=50;w=2'}),
            (
                "x-epoch",
                {"X-RateLimit-Limit": "50", "X-RateLimit-Remaining": "20", "X-RateLimit-Reset": "1700000002"},
            ),
            ("x-delta", {"X-RateLimit-Limit": "50", "X-RateLimit-Remaining": "20", "X-RateLimit-Reset": "2"}),
            (
                "github-like",
                {
                    "x-ratelimit-limit": "50",
                    "x-ratelimit-remaining": "20",
                    "x-ratelimit-reset": "1700000002",
                    "x-ratelimit-used": "30",
                    "x-ratelimit-resource": "core",
                },
            ),
            ("retry-only", {}),
            ("none", {}),
        ],
    )
    def test_headers(self, dialect: str, headers: dict[str, str]) -> None:
        assert dict(format_headers(self.STANDING, dialect, 1_700_000_000.5)) == headers

    @pytest.mark.parametrize("dialect", DIALECTS)
    def test_who_is_refused_is_told_to_wait(self, dialect: str) -> None:
        told = dict(format_headers(self.REFUSED, dialect, 1_700_000_000.5)).get("Retry-After")
        assert told == (None if dialect == "none" else "1")


class TestServer:
    @pytest.fixture
    def session(self, url: str) -> Iterator[requests.Session]:
        with requests.Session() as session:
            session.trust_env = False
            session.get(f"{url}/reset")
            yield session

    def test_all_clients_share_the_quota(self, session: requests.Session, url: str) -> None:
        answers = [session.get(url, headers={"X-Client": name}) for name in ("a", "b", "a")]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert [answer.headers["RateLimit-Remaining"] for answer in answers] == ["1", "0", "0"]
        assert [answer.headers.get("Retry-After") for answer in answers] == [None, None, "60"]

    def test_record(self, session: requests.Session, url: str) -> None:
        before = time.monotonic()
        for name in ("a", "b", "a"):
            session.post(url, data=b"ignored", headers={"x-client": name})
        record = session.get(f"{url}/record").json()
        assert (record["kind"], record["limit"], record["window"]) == ("fixed", 2, 60.0)
        assert {name: [fine for _, fine in asked] for name, asked in record["clients"].items()} == {
            "a": [True, False],
            "b": [True],
        }
        times = [at for asked in record["clients"].values() for at, _ in asked]
        assert before <= min(times) <= max(times) <= time.monotonic()

    def test_reset_forgets_everything(self, session: requests.Session, url: str) -> None:
        assert [session.get(url).status_code for _ in range(3)] == [200, 200, 429]
        session.get(f"{url}/reset")
        assert session.get(f"{url}/record").json()["clients"] == {}
        assert session.get(url).status_code == 200

    def test_silent_one_says_nothing(self) -> None:
        with serving("--kind", "silent", "--limit", "1", "--window", "60") as url:
            answers = [requests.get(url, timeout=10) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [200, 429]
        assert [sorted(answer.headers) for answer in answers] == [["Content-Length", "Content-Type"]] * 2
