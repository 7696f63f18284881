"""The deadline flow, stepped by hand."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from polvo_adapters.core.calls import Call
from polvo_adapters.core.outcomes import CONNECT, DISCONNECTED, EXPIRED, READ_TIMEOUT
from polvo_adapters.errors import DeadlineExceeded
from polvo_adapters.policies.deadline import Deadline
from tests.support.flow_stepper import URL, Stepper, answered, failed


def test_the_call_further_inside_has_the_deadline() -> None:
    stepper = Stepper(Deadline(5), Call("GET", URL, started=100.0))
    stepper.run(answered(200, now=101.0))
    assert stepper.sends[0].call.deadline == 105.0


def test_a_deadline_is_only_ever_shortened() -> None:
    shorter = Stepper(Deadline(5), Call("GET", URL, deadline=3.0))
    shorter.run(answered())
    longer = Stepper(Deadline(5), Call("GET", URL, deadline=9.0))
    longer.run(answered())
    assert [stepper.sends[0].call.deadline for stepper in (shorter, longer)] == [3.0, 5.0]


def test_an_attempt_that_was_cut_is_the_deadline() -> None:
    below = failed(EXPIRED, now=5.0)
    outcome = Stepper(Deadline(5)).run(below)
    assert isinstance(outcome.error, DeadlineExceeded)
    assert isinstance(outcome.error, requests.Timeout)
    assert outcome.error.__cause__ is below.error
    assert str(outcome.error) == (
        "GET api.example.com: the deadline of 5 s is over; allow it a longer deadline, or ask for less"
    )


@pytest.mark.parametrize(
    "below", [failed(READ_TIMEOUT, now=2.0), failed(CONNECT, now=5.0), failed(DISCONNECTED, now=6.0)]
)
def test_what_is_not_the_deadline_stays_what_it_is(below: Any) -> None:
    assert Stepper(Deadline(5)).run(below) is below


def test_an_answer_that_comes_late_is_still_an_answer() -> None:
    assert Stepper(Deadline(5)).run(answered(200, now=7.0)).status == 200


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), "5", None, True])
def test_wrong_values_name_field_and_value(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^Deadline\(seconds=.*\): seconds must be a number above 0"):
        Deadline(value)
