"""Idempotency keys and their record behave alike in every world, alone and with other policies."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polvo_adapters.core.outcomes import CONNECT, DISCONNECTED, READ_TIMEOUT
from polvo_adapters.policies.idempotency import IdempotencyKeys
from polvo_adapters.policies.idempotency.policy import Record
from polvo_adapters.policies.retry import ExponentialBackoff
from polvo_adapters.policies.stack import standard
from polvo_adapters.testing.simulation.simulation import ScriptedFailure, ScriptedReply
from tests.support.worlds import Calling, Tale, in_turn, tell

RETRY = ExponentialBackoff(max_attempts=2, base=0.125, jitter="none")
AT_WORK = ScriptedReply(409, {"retry-after": "2"})


def keys(*, supported: bool = True, **settings: Any) -> IdempotencyKeys:
    return IdempotencyKeys(supported=supported, max_wait=20, record=Record(lease=10, **settings))


def post(at: float = 0.0, key: str = "order-1", body: bytes = b"{}") -> Calling:
    return Calling(method="POST", body=lambda: body, at=at, key=key)


def ended(tale: Tale) -> list[str]:
    return [story.ended for story in tale.stories]


def test_a_lost_answer_is_asked_for_again() -> None:
    tale = tell([IdempotencyKeys(), RETRY], lambda: in_turn(ScriptedFailure(DISCONNECTED), ScriptedReply(201)), post())
    assert (ended(tale), len(tale.requests)) == (["201"], 2)


def test_a_server_at_work_is_waited_for() -> None:
    tale = tell([IdempotencyKeys()], lambda: in_turn(AT_WORK, AT_WORK, ScriptedReply(201)), post())
    assert ended(tale) == ["201"]
    assert [wait.reason for wait in tale.stories[0].entries if hasattr(wait, "reason")] == [
        "409, idempotency key at work"
    ] * 2


def test_a_second_call_waits_for_the_first_and_a_third_gets_its_answer() -> None:
    tale = tell(
        [keys(supported=False)], lambda: in_turn(ScriptedReply(201, seconds=3.3)), post(), post(at=1.1), post(at=7.7)
    )
    assert ended(tale) == ["201", "201", "201"]
    assert len(tale.requests) == 1
    assert 3.3 < tale.stories[1].clock < 3.6
    assert tale.stories[2].clock == pytest.approx(7.7)


def test_another_body_is_refused_meanwhile() -> None:
    tale = tell([keys()], lambda: in_turn(ScriptedReply(201, seconds=3.3)), post(), post(at=1.1, body=b"[]"))
    assert ended(tale) == ["201", "IdempotencyConflictError"]


def test_doubt_is_reported_or_resolved_by_asking() -> None:
    server = lambda: in_turn(ScriptedFailure(READ_TIMEOUT, seconds=1.3), ScriptedReply(201))  # noqa: E731
    calls = [post(), post(at=2.1), post(at=3.1)]
    assert ended(tell([keys(supported=False)], server, *calls)) == ["error from below", "InDoubtError", "InDoubtError"]
    assert ended(tell([keys()], server, *calls)) == ["error from below", "201", "201"]


def test_a_call_longer_than_the_lease_is_in_doubt_and_then_done() -> None:
    calls = [post(), post(at=11.1), post(at=20.1)]
    tale = tell([keys(supported=False)], lambda: in_turn(ScriptedReply(201, seconds=15.3)), *calls)
    assert ended(tale) == ["201", "InDoubtError", "201"]
    assert len(tale.requests) == 1


TURNS = st.sampled_from(
    [
        ScriptedReply(201, seconds=0.3),
        AT_WORK,
        ScriptedReply(422),
        ScriptedReply(503),
        ScriptedFailure(DISCONNECTED, seconds=0.7),
        ScriptedFailure(CONNECT),
    ]
)


@settings(max_examples=40)
@given(st.lists(TURNS, min_size=1, max_size=5), st.booleans(), st.booleans())
def test_any_story_is_the_same_in_all_worlds(turns: list[Any], supported: bool, hedged: bool) -> None:
    policies = standard(
        retry=RETRY,
        idempotency=keys(supported=supported),
        deadline=30,
        hedge={"delay": 0.41, "budget": None} if hedged else None,
    )
    calls = [post(), post(at=1.017, key="order-2"), post(at=40.013), post(at=80.019)]
    tale = tell(policies, lambda: in_turn(*turns), *calls)
    assert len(tale.stories) == len(calls)
