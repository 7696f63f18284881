"""Asking whether the user has confirmed: how often, and until when; stepped by hand, in virtual time."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polvo_adapters.auth.protocol.device_code import DevicePolling
from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Send, Sleep, send_once
from polvo_adapters.core.outcomes import UNCLASSIFIED, Outcome
from polvo_adapters.errors import DeadlineExceeded, TokenRefreshError

URL = "https://auth.example.com/token"
PENDING, SLOW = "authorization_pending", "slow_down"


def refuse(reason: str, status: int = 400, retry_after: float | None = None) -> Outcome:
    error = TokenRefreshError("no token", reason=reason, status=status, retry_after=retry_after)
    return Outcome(status=status, error=error, failure=UNCLASSIFIED)


CONFIRMED = Outcome("the token", 200)


@dataclass
class Asked:
    """What a login came to."""

    outcome: Outcome
    waits: list[float] = field(default_factory=list)
    now: float = 0.0
    sent_at: list[float] = field(default_factory=list)


def run(policy: DevicePolling, *answers: Outcome, deadline: float | None = None, started: float = 100.0) -> Asked:
    """Give these answers, the last one again and again; each takes a second of virtual time."""
    asked, turns = Asked(Outcome(), now=started), list(answers)
    flow = policy.flow(Call("POST", URL, started=started, deadline=deadline), send_once)
    answer: object = None
    for _ in range(10_000):
        try:
            effect = flow.send(answer)
        except StopIteration as end:
            asked.outcome = end.value
            return asked
        if type(effect) is Sleep:
            assert effect.low == effect.high
            asked.now += effect.low
            asked.waits.append(effect.low)
            answer = effect.low
        else:
            assert type(effect) is Send
            asked.sent_at.append(asked.now)
            asked.now += 1
            answer = (turns.pop(0) if len(turns) > 1 else turns[0])._replace(now=asked.now)
    raise AssertionError("it never ends")


def reason(asked: Asked) -> str | None:
    assert isinstance(asked.outcome.error, TokenRefreshError)
    return asked.outcome.error.reason


def test_it_waits_before_each_question_until_the_user_has_confirmed() -> None:
    asked = run(DevicePolling(interval=5), refuse(PENDING), refuse(PENDING), CONFIRMED)
    assert asked.waits == [5, 5, 5]
    assert asked.outcome.response == "the token"


def test_slow_down_adds_five_seconds_for_good() -> None:
    asked = run(DevicePolling(interval=5), refuse(SLOW), refuse(PENDING), refuse(SLOW), CONFIRMED)
    assert asked.waits == [5, 10, 10, 15]


@pytest.mark.parametrize(
    "answer",
    [
        refuse("timeout", 0),
        refuse("connection", 0),
        refuse("status 503", 503),
        refuse("server_error", 500),
        refuse("status 429", 429),
    ],
    ids=lambda answer: answer.error.reason,
)
def test_a_server_that_is_not_there_is_asked_half_as_often(answer: Outcome) -> None:
    asked = run(DevicePolling(interval=5), answer, refuse(PENDING), answer, CONFIRMED)
    assert asked.waits == [5, 10, 10, 20]


def test_a_retry_after_is_obeyed_once() -> None:
    asked = run(DevicePolling(interval=5), refuse("status 503", 503, 60.0), refuse(PENDING), CONFIRMED)
    assert asked.waits == [5, 60, 10]


@pytest.mark.parametrize("code", ["access_denied", "expired_token", "invalid_grant", "not json", "redirect", "tls"])
def test_anything_else_is_the_end(code: str) -> None:
    asked = run(DevicePolling(), refuse(code), CONFIRMED)
    assert (len(asked.sent_at), reason(asked)) == (1, code)


def test_errors_that_are_not_the_servers_are_the_end() -> None:
    asked = run(DevicePolling(), Outcome(error=OSError("disk"), failure=UNCLASSIFIED), CONFIRMED)
    assert isinstance(asked.outcome.error, OSError)


def test_it_ends_before_a_question_that_would_come_too_late() -> None:
    asked = run(DevicePolling(interval=5, expires_in=20), refuse(PENDING))
    assert (reason(asked), asked.sent_at) == ("expired_token", [105, 111, 117])
    assert asked.outcome.error.final
    assert "auth.example.com" in str(asked.outcome.error)


def test_the_deadline_of_the_call_ends_it_as_well() -> None:
    asked = run(DevicePolling(interval=5), refuse(PENDING), deadline=112.0)
    assert isinstance(asked.outcome.error, DeadlineExceeded)
    assert asked.sent_at == [105, 111]


@given(
    st.lists(st.sampled_from([PENDING, SLOW, "timeout", "connection"]), min_size=1, max_size=40),
    st.floats(0.1, 60),
    st.floats(1, 900),
)
def test_no_question_comes_too_early_or_too_late(codes: list[str], interval: float, expires_in: float) -> None:
    asked = run(DevicePolling(interval=interval, expires_in=expires_in), *map(refuse, codes))
    assert all(before <= after for before, after in zip(asked.waits, asked.waits[1:], strict=False))
    assert all(moment < 100.0 + expires_in for moment in asked.sent_at)
    assert reason(asked) == "expired_token"


@pytest.mark.parametrize("name", ["interval", "expires_in", "slow_down"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), "5", None, True])
def test_settings_are_positive_numbers(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=name):
        DevicePolling(**{name: value})
