"""The same flow behaves alike in every world, and hypothesis looks for one where it does not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polvo_adapters.core.outcomes import CONNECT, CONNECT_TIMEOUT, DISCONNECTED, READ_TIMEOUT, TRUNCATED, UNCLASSIFIED
from polvo_adapters.core.report import Wait
from polvo_adapters.policies.deadline import Deadline
from polvo_adapters.policies.ratelimit import AdaptiveRateLimit, SlidingWindow, TokenBucket
from polvo_adapters.policies.retry import ExponentialBackoff
from polvo_adapters.policies.retry_budget import RetryBudget
from polvo_adapters.testing.simulation.simulation import ScriptedFailure, ScriptedReply, ScriptedTurn
from tests.support import worlds as harness
from tests.support.worlds import Calling, Story, in_turn

BODIES = {"none": lambda: None, "bytes": lambda: b"payload", "once": lambda: (part for part in (b"pay", b"load"))}
RETRY = ExponentialBackoff(max_attempts=4)
NO_JITTER = ExponentialBackoff(max_attempts=4, base=0.1, jitter="none")
USED_UP = {"ratelimit-policy": "1;w=20", "ratelimit-limit": "1", "ratelimit-remaining": "0", "ratelimit-reset": "20"}


def tell(policies: Any, turns: list[ScriptedTurn], method: str = "GET", body: str = "none", seed: int = 0) -> Story:
    """Return the story, after having heard it three times."""
    calling = Calling(method=method, body=BODIES[body])
    return harness.tell(policies, lambda: in_turn(*turns), calling, seed=seed).stories[0]


GET_200 = ("GET", "none", "200")
SCENARIOS: dict[str, tuple[Any, list[ScriptedTurn], str, str, str, int]] = {
    "success": ((RETRY,), [ScriptedReply(200, seconds=0.1)], "GET", "none", "200", 1),
    "two failures and success": (
        (RETRY,),
        [ScriptedReply(503), ScriptedFailure(DISCONNECTED, 1), ScriptedReply(200)],
        "GET",
        "none",
        "200",
        3,
    ),
    "all failures": ((RETRY,), [ScriptedFailure(READ_TIMEOUT, 2)], "PUT", "bytes", "error from below", 4),
    "truncated body": ((RETRY,), [ScriptedFailure(TRUNCATED), ScriptedReply(200)], "GET", "none", "200", 2),
    "post, server error": ((RETRY,), [ScriptedReply(500)], "POST", "bytes", "500", 1),
    "post, never sent": (
        (RETRY,),
        [ScriptedFailure(CONNECT), ScriptedFailure(CONNECT_TIMEOUT), ScriptedReply(201)],
        "POST",
        "bytes",
        "201",
        3,
    ),
    "post, throttled": ((RETRY,), [ScriptedReply(429), ScriptedReply(201)], "POST", "bytes", "201", 2),
    "one-shot body": ((RETRY,), [ScriptedReply(503)], "PUT", "once", "503", 1),
    "one-shot body, never sent": ((RETRY,), [ScriptedFailure(CONNECT), ScriptedReply(200)], "PUT", "once", "200", 2),
    "not worth a retry": ((RETRY,), [ScriptedFailure(UNCLASSIFIED)], "GET", "none", "error from below", 1),
    "retry-after": ((RETRY,), [ScriptedReply(429, {"retry-after": "3"}), ScriptedReply(200)], "GET", "none", "200", 2),
    "retry-after too long": ((RETRY,), [ScriptedReply(429, {"retry-after": "999"})], "GET", "none", "429", 1),
    "deadline in an attempt": (
        (Deadline(5), RETRY),
        [ScriptedReply(500, seconds=1), ScriptedReply(200, seconds=9)],
        "GET",
        "none",
        "DeadlineExceeded",
        2,
    ),
    "deadline before retry-after": (
        (Deadline(5), RETRY),
        [ScriptedReply(503, {"retry-after": "30"})],
        "GET",
        "none",
        "503",
        1,
    ),
    "deadline inside retry": (
        (ExponentialBackoff(max_attempts=2), Deadline(5)),
        [ScriptedReply(500), ScriptedReply(200)],
        "GET",
        "none",
        "200",
        2,
    ),
    "budget used up": (
        (ExponentialBackoff(max_attempts=9, budget=RetryBudget(ratio=0, reserve=2, trust=0)),),
        [ScriptedReply(500)],
        "GET",
        "none",
        "500",
        3,
    ),
    "nothing but attempts": ((), [ScriptedReply(500)], "GET", "none", "500", 1),
    "adaptive, nothing to wait for": ((AdaptiveRateLimit(),), [ScriptedReply(200, USED_UP)], "GET", "none", "200", 1),
    "adaptive, throttled with retry-after": (
        (RETRY, AdaptiveRateLimit()),
        [ScriptedReply(429, {"retry-after": "3"}, 0.1), ScriptedReply(200)],
        "GET",
        "none",
        "200",
        2,
    ),
    "adaptive, throttled without a word": (
        (RETRY, AdaptiveRateLimit()),
        [ScriptedReply(429), ScriptedReply(429), ScriptedReply(200)],
        *GET_200,
        3,
    ),
    "adaptive, quota used up": (
        (NO_JITTER, AdaptiveRateLimit()),
        [ScriptedReply(500, USED_UP, seconds=0.1), ScriptedReply(200)],
        *GET_200,
        2,
    ),
    "adaptive, quota free after max_wait": (
        (NO_JITTER, AdaptiveRateLimit(max_wait=5)),
        [ScriptedReply(500, USED_UP), ScriptedReply(200)],
        "GET",
        "none",
        "500",
        1,
    ),
    "adaptive, quota free after the deadline": (
        (Deadline(5), NO_JITTER, AdaptiveRateLimit()),
        [ScriptedReply(500, USED_UP), ScriptedReply(200)],
        "GET",
        "none",
        "500",
        1,
    ),
    "adaptive, no answer": (
        (NO_JITTER, AdaptiveRateLimit()),
        [ScriptedFailure(CONNECT), ScriptedFailure(READ_TIMEOUT, 1), ScriptedReply(200)],
        *GET_200,
        3,
    ),
    "bucket": (
        (NO_JITTER, TokenBucket(rate=0.5)),
        [ScriptedReply(500), ScriptedReply(500), ScriptedReply(200)],
        *GET_200,
        3,
    ),
    "bucket, turn after max_wait": (
        (NO_JITTER, TokenBucket(rate=0.1, max_wait=5)),
        [ScriptedReply(500), ScriptedReply(200)],
        "GET",
        "none",
        "500",
        1,
    ),
    "bucket, paused": (
        (RETRY, TokenBucket(rate=10)),
        [ScriptedReply(429, {"retry-after": "3"}), ScriptedReply(200)],
        *GET_200,
        2,
    ),
    "window": (
        (NO_JITTER, SlidingWindow(2, 30)),
        [ScriptedReply(500), ScriptedReply(500), ScriptedReply(200)],
        *GET_200,
        3,
    ),
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario(name: str) -> None:
    policies, turns, method, body, ended, received = SCENARIOS[name]
    story = tell(policies, turns, method, body)
    assert (story.ended, story.received) == (ended, received)


@pytest.mark.parametrize(
    ("name", "waits"),
    [
        ("adaptive, throttled with retry-after", [3.0]),
        ("adaptive, quota used up", [0.1, 9.95, 4.975, 2.4875, 1.24375, 1.0, 0.24375]),
        ("bucket", [0.1, 1.9, 0.2, 1.8]),
        ("bucket, paused", [3.0]),
        ("window", [0.1, 0.2, 29.7]),
    ],
)
def test_waits_of_a_scenario(name: str, waits: list[float]) -> None:
    policies, turns, method, body, _, _ = SCENARIOS[name]
    story = tell((NO_JITTER, *policies[1:]), turns, method, body)
    assert [entry.seconds for entry in story.entries if isinstance(entry, Wait)] == pytest.approx(waits)


TURNS = st.lists(
    st.one_of(
        st.builds(
            ScriptedReply,
            st.sampled_from([200, 204, 404, 409, 429, 500, 503]),
            st.sampled_from([{}, {"retry-after": "2"}, {"retry-after": "x"}, {"x-should-retry": "false"}, USED_UP]),
            st.floats(0, 10),
        ),
        st.builds(
            ScriptedFailure,
            st.sampled_from([CONNECT, CONNECT_TIMEOUT, READ_TIMEOUT, DISCONNECTED, TRUNCATED, UNCLASSIFIED]),
            st.floats(0, 10),
        ),
    ),
    min_size=1,
    max_size=6,
)
RETRIES = st.builds(
    ExponentialBackoff,
    max_attempts=st.integers(1, 5),
    base=st.floats(0, 5),
    jitter=st.sampled_from(["full", "equal", "decorrelated", "none"]),
    budget=st.sampled_from([None, RetryBudget(ratio=0, reserve=2, trust=0)]),
)


LIMITS = st.one_of(
    st.builds(AdaptiveRateLimit, pace=st.sampled_from(["spread", "burst", "even"]), max_wait=st.sampled_from([1.0, 60.0])),
    st.builds(TokenBucket, rate=st.floats(0.1, 2)),
    st.builds(SlidingWindow, limit=st.integers(1, 2), window=st.floats(1, 20)),
)


@settings(max_examples=150)
@given(
    retry=RETRIES, limit=LIMITS, deadline=st.one_of(st.none(), st.floats(1, 30)), turns=TURNS, seed=st.integers(0, 9)
)
def test_any_story_with_a_rate_limit_is_the_same_everywhere(
    retry: Any, limit: Any, deadline: Any, turns: Any, seed: int
) -> None:
    policies = (retry, limit) if deadline is None else (Deadline(deadline), retry, limit)
    story = tell(policies, turns, seed=seed)
    assert 1 <= story.received <= retry.max_attempts
    assert deadline is None or story.clock <= deadline + 1e-9 or story.received == 1


@settings(max_examples=150)
@given(
    retry=RETRIES,
    deadline=st.one_of(st.none(), st.floats(1, 30)),
    turns=TURNS,
    method=st.sampled_from(["GET", "PUT", "POST"]),
    body=st.sampled_from(list(BODIES)),
    seed=st.integers(0, 9),
)
def test_any_story_is_the_same_everywhere(
    retry: Any, deadline: Any, turns: Any, method: str, body: str, seed: int
) -> None:
    policies = (retry,) if deadline is None else (Deadline(deadline), retry)
    story = tell(policies, turns, method, body, seed)
    attempts = sum(1 for entry in story.entries if hasattr(entry, "status"))
    assert 1 <= attempts <= retry.max_attempts
    assert deadline is None or story.clock <= deadline + 1e-9 or story.received == 1
