"""The flow of the rest of a body: that of the retry policy, told of a break, with the policies further inside."""

from __future__ import annotations

from typing import Any

import pytest

from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Send, Sleep, compose
from polvo_adapters.core.outcomes import EXPIRED, TRUNCATED, Outcome
from polvo_adapters.policies.asked_retry import AskedRetry
from polvo_adapters.policies.deadline import Deadline
from polvo_adapters.policies.fallback import Fallback
from polvo_adapters.policies.hedge import Hedge
from polvo_adapters.policies.resume import Resume, rest_flow, retry_place
from polvo_adapters.policies.retry import ExponentialBackoff
from polvo_adapters.policies.stack import standard

CALL = Call("GET", "https://a.test/x")
BROKEN = Outcome(error=OSError("broken"), failure=TRUNCATED, now=1.0)
RETRY = ExponentialBackoff(budget=None, max_attempts=3)


class Inside:
    """A policy that notes what passes it."""

    def __init__(self) -> None:
        self.passed = 0

    def flow(self, call: Call, proceed: Any) -> Any:
        self.passed += 1
        return proceed(call)


def step(flow: Any, *answers: Any) -> list[Any]:
    """Return the effects of a flow, and its end."""
    effects = [next(flow)]
    try:
        for answer in answers:
            effects.append(flow.send(answer))  # noqa: PERF401 - an end of the flow would be that of an iterator
    except StopIteration as end:
        effects.append(end.value)
    return effects


def test_the_break_is_the_first_attempt_and_the_rest_the_second() -> None:
    inside, whole = Inside(), Outcome(response="rest", status=206, now=2.0)
    flow = rest_flow((Deadline(5), Fallback("stale"), Hedge(), Resume(), RETRY, inside), CALL, BROKEN)
    wait, send, end = step(flow, 0.1, whole)
    assert (type(wait), wait.reason, wait.notice.attempt) == (Sleep, "truncated body", 2)
    assert (type(send), send.call.url) == (Send, CALL.url)
    assert end.response == "rest"
    assert inside.passed == 1


def test_attempts_that_fail_end_with_their_number() -> None:
    flow = rest_flow((RETRY,), CALL, BROKEN)
    *_, end = step(flow, 0.1, BROKEN, 0.1, BROKEN)
    assert (end.failure, end.note) == (TRUNCATED, "gave up after 3 attempts")


@pytest.mark.parametrize("outcome", [BROKEN._replace(failure=EXPIRED)])
def test_what_no_repeat_helps_asks_for_nothing(outcome: Outcome) -> None:
    flow: Any = rest_flow((RETRY,), CALL, outcome)
    with pytest.raises(StopIteration) as end:
        next(flow)
    assert end.value.value is outcome


def test_without_a_policy_that_retries_there_is_no_flow() -> None:
    assert rest_flow((Deadline(5), Resume(), Hedge()), CALL, BROKEN) is None
    assert retry_place((Resume(), AskedRetry(retry=None))) == 1  # type: ignore[arg-type]


def test_the_policy_itself_changes_nothing() -> None:
    assert [type(effect) for effect in step(compose([Resume()])(CALL), Outcome(status=200))] == [Send, Outcome]


@pytest.mark.parametrize(("value", "count"), [(True, 1), (Resume(), 1), (False, 0), (None, 0)])
def test_the_stack_takes_it(value: Any, count: int) -> None:
    assert sum(isinstance(policy, Resume) for policy in standard(resume=value)) == count


def test_the_stack_takes_nothing_else() -> None:
    with pytest.raises(TypeError, match="resume='yes'"):
        standard(resume="yes")  # type: ignore[typeddict-item]
