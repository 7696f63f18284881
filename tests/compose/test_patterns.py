"""The patterns of `docs/`, alone and together, behave alike in every world."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from polvo_adapters.core.outcomes import CONNECT, DISCONNECTED, READ_TIMEOUT
from polvo_adapters.core.report import CANCELLED
from polvo_adapters.policies.breaker import CircuitBreaker
from polvo_adapters.policies.bulkhead import AdaptiveBulkhead, Bulkhead
from polvo_adapters.policies.fallback import Fallback
from polvo_adapters.policies.fallback.policy import Fixed
from polvo_adapters.policies.hedge import Hedge
from polvo_adapters.policies.regions import Regions
from polvo_adapters.policies.retry import ExponentialBackoff
from polvo_adapters.policies.stack import standard
from polvo_adapters.testing.simulation.simulation import ScriptedFailure, ScriptedReply
from tests.support.worlds import Calling, Tale, apart, by_time, by_url, in_turn, tell, tell_each

ORDERS = "http://server.example/orders"
RETRY = ExponentialBackoff(max_attempts=2, base=0.125, jitter="none")
BREAKER = CircuitBreaker(failure_threshold=2, recovery_timeout=10)
REGIONS = ("http://one.example", "http://two.example", "http://three.example")


def ended(tale: Tale) -> list[str]:
    return [story.ended for story in tale.stories]


def requests(tale: Tale) -> list[tuple[float, str]]:
    return [(request.at, request.url.partition("//")[2].partition(".")[0]) for request in tale.requests]


def test_a_circuit_opens_refuses_probes_and_closes() -> None:
    server = lambda: by_time((0, in_turn(ScriptedReply(503))), (20, in_turn(ScriptedReply(200))))  # noqa: E731
    calls = [Calling(at=at) for at in (0, 1, 2, 11.5, 12, 40, 41)]
    tale = tell([BREAKER], server, *calls)
    refused = "CircuitOpenError"
    assert ended(tale) == ["503", "503", refused, "503", refused, "200", "200"]
    assert [[change.after for change in story.entries if hasattr(change, "after")] for story in tale.stories] == [
        [],
        ["open"],
        [],
        ["half-open", "open"],
        [],
        ["half-open", "closed"],
        [],
    ]


def test_a_retry_is_not_made_once_the_circuit_is_open() -> None:
    calls = Calling(f"{ORDERS}/1"), Calling(f"{ORDERS}/2", at=1)
    tale = tell([RETRY, BREAKER], lambda: in_turn(ScriptedReply(503)), *calls)
    assert ended(tale) == ["503", "503"]
    assert len(tale.requests) == 3
    assert "not sent again: circuit" in tale.stories[1].note


def test_calls_wait_for_a_slot_in_the_order_in_which_they_came() -> None:
    calls = [Calling(f"{ORDERS}/{number}", at=number / 8) for number in range(5)]
    tale = tell([Bulkhead(2)], lambda: in_turn(ScriptedReply(200, seconds=2.3)), *calls)
    assert [request.url.rpartition("/")[2] for request in tale.requests] == ["0", "1", "2", "3", "4"]
    assert [round(story.clock, 3) for story in tale.stories] == [2.3, 2.425, 4.6, 4.725, 6.9]


def test_a_call_that_waits_too_long_for_a_slot_is_not_sent() -> None:
    tale = tell([Bulkhead(1, 2.25)], lambda: in_turn(ScriptedReply(200, seconds=9)), Calling(), Calling(at=1))
    assert ended(tale) == ["200", "PoolTimeoutError"]
    assert len(tale.requests) == 1


def test_a_circuit_that_opens_refuses_calls_that_wait_for_a_slot() -> None:
    policies = standard(retry=None, circuit_breaker=CircuitBreaker(1), bulkhead=1)
    tale = tell(policies, lambda: in_turn(ScriptedReply(500, seconds=3.3)), Calling(), Calling(at=1))
    assert ended(tale) == ["500", "CircuitOpenError"]


def test_a_late_call_is_hedged_and_its_loser_cancelled() -> None:
    server = lambda: in_turn(ScriptedReply(200, seconds=60), ScriptedReply(200, seconds=0.5))  # noqa: E731
    tale = tell([Hedge(delay=1, budget=None)], server, Calling())
    (story,) = tale.stories
    assert (story.ended, story.clock, story.note) == ("200", 1.5, "hedged: attempt 2 answered first")
    assert [entry.failure for entry in story.entries] == ["", CANCELLED]


def test_a_post_is_not_hedged() -> None:
    tale = tell([Hedge(delay=1, budget=None)], lambda: in_turn(ScriptedReply(201, seconds=5)), Calling(method="POST"))
    assert (ended(tale), len(tale.requests)) == (["201"], 1)


@pytest.mark.parametrize(
    ("mode", "asked", "status"),
    [
        ("fallback", [(0, "one"), (1, "two"), (3, "three")], "200"),
        ("race", [(0, "one"), (0, "two"), (0, "three")], "200"),
        ("quorum", [(0, "one"), (0, "two"), (0, "three")], "ServiceUnavailableError"),
        ("fanout", [(0, "one"), (0, "two"), (0, "three")], "200"),
    ],
)
def test_regions_of_which_one_is_well(mode: Any, asked: list[tuple[float, str]], status: str) -> None:
    replies = (ScriptedReply(503, seconds=1), ScriptedFailure(CONNECT, 2), ScriptedReply(200, seconds=4))
    server = lambda: by_url(dict(zip(REGIONS, map(in_turn, replies), strict=True)))  # noqa: E731
    tale = tell([Regions(REGIONS, mode=mode)], server, Calling())
    assert (requests(tale), ended(tale)) == (asked, [status])


def test_a_region_that_is_down_is_left_out_and_comes_back() -> None:
    down = lambda: by_time((0, in_turn(ScriptedFailure(DISCONNECTED, 0.25))), (20, in_turn(ScriptedReply(200))))  # noqa: E731
    server = lambda: by_url({REGIONS[0]: down(), REGIONS[1]: in_turn(ScriptedReply(200))})  # noqa: E731
    calls = [Calling(at=at) for at in (0, 1, 2, 3, 30, 31)]
    tale = tell([Regions(REGIONS[:2]), BREAKER], server, *calls)
    assert [where for _, where in requests(tale)] == ["one", "two", "one", "two", "two", "two", "one", "one"]


def test_the_last_good_response_or_something_fixed() -> None:
    server = lambda: in_turn(ScriptedReply(200), ScriptedFailure(READ_TIMEOUT, 1))  # noqa: E731
    calls = [Calling(), Calling(at=5), Calling(ORDERS + "/never", at=9)]
    tale = tell([Fallback("stale", Fixed(status=203))], server, *calls)
    assert ended(tale) == ["200", "200", "203"]
    assert tale.stories[1].note.startswith("the last good response, 6 s old")


SECONDS = st.integers(1, 2**20).map(lambda number: number / 2**16)
TURNS = st.lists(
    st.one_of(
        st.builds(ScriptedReply, st.sampled_from([200, 200, 404, 429, 503]), st.just({}), SECONDS),
        st.builds(ScriptedFailure, st.sampled_from([CONNECT, DISCONNECTED, READ_TIMEOUT]), SECONDS),
    ),
    min_size=1,
    max_size=8,
)
STACKS = st.sampled_from(
    [
        standard(retry=RETRY, circuit_breaker=BREAKER, bulkhead=1),
        standard(
            retry=RETRY,
            circuit_breaker={"window": 7.3, "failure_threshold": 2},
            bulkhead=AdaptiveBulkhead(initial_limit=1),
        ),
        standard(retry=None, circuit_breaker={"slow_call": 2.0, "failure_threshold": 1}, hedge=1.1),
        standard(retry=RETRY, hedge=1.1, bulkhead=2, fallback="stale"),
        standard(retry=RETRY, regions=["http://server.example", "http://server.example/two"], circuit_breaker=BREAKER),
        standard(retry=RETRY, regions={"urls": REGIONS, "mode": "race", "stagger": 0.7}, bulkhead=1),
        standard(retry=None, regions={"urls": REGIONS, "mode": "quorum"}, fallback=Fixed(status=203)),
    ]
)


@settings(max_examples=120)
@given(policies=STACKS, turns=TURNS, starts=st.lists(SECONDS, min_size=1, max_size=4, unique=True))
def test_any_scene_is_the_same_everywhere(policies: Any, turns: Any, starts: Any) -> None:
    # All times are multiples of 2**-16 and something of their own, so that nothing coincides; see `apart`.
    calls = [Calling(f"{ORDERS}/{number}", at=at + 2**-23 / (number + 1)) for number, at in enumerate(starts)]
    scripted = apart(turns)
    # The end of a race may set off two attempts at one moment, in an order that is up to each world.
    moments = [request.at for request in tell_each(policies, lambda: in_turn(*scripted), *calls)[0].requests]
    assume(len({*moments}) == len(moments))
    tell(policies, lambda: in_turn(*scripted), *calls)
