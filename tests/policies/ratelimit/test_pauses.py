"""Retry-After with a response that is fine: a wish of the server, or the end of a window said twice."""

from __future__ import annotations

from typing import Any

import pytest

import polvo_adapters as polvo
from polvo_adapters.policies.ratelimit import SlidingWindow, TokenBucket
from polvo_adapters.testing import VirtualClock
from tests.support.listening_server import Listening, Reply

LEFT = (("X-RateLimit-Limit", "50"), ("X-RateLimit-Remaining", "49"), ("X-RateLimit-Reset", "20"))
DRAFT = (("RateLimit-Limit", "50"), ("RateLimit-Remaining", "49"), ("RateLimit-Reset", "21"))
NOTHING_LEFT = (("X-RateLimit-Limit", "50"), ("X-RateLimit-Remaining", "0"), ("X-RateLimit-Reset", "20"))
LATER = (("X-RateLimit-Limit", "50"), ("X-RateLimit-Remaining", "49"), ("X-RateLimit-Reset", "300"))
DELAYED = (*LEFT, ("X-RateLimit-Delay", "1.5"), ("X-RateLimit-Resource", "core"))


@pytest.mark.parametrize("rate_limit", ["adaptive", TokenBucket(1000.0), SlidingWindow(1000, 1.0)])
@pytest.mark.parametrize(
    ("announced", "waits"),
    [(LEFT, False), (DRAFT, False), (NOTHING_LEFT, True), (LATER, True), (DELAYED, True), ((), True)],
    ids=[
        "something is left",
        "off by a second",
        "nothing is left",
        "sooner than the reset",
        "Azure DevOps",
        "no quota",
    ],
)
def test_a_delay_that_repeats_the_reset_is_no_wish(announced: Any, waits: bool, rate_limit: Any) -> None:
    """flask-limiter and slowapi say in every response when the window ends."""
    clock = VirtualClock()
    with Listening() as api, polvo.Session(api.url, rate_limit=rate_limit, clock=clock) as session:
        api.routes["/a"] = Reply({}, headers=(*announced, ("Retry-After", "20")))
        for _ in range(2):
            assert session.get("/a").status_code == 200
        assert (clock.now() >= 19) == waits
