"""The retry flow, stepped by hand."""

from __future__ import annotations

from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from urllib3.util import Retry

from polvo_adapters.core.calls import Call
from polvo_adapters.core.http import IDEMPOTENT_METHODS
from polvo_adapters.core.outcomes import (
    CONNECT,
    CONNECT_TIMEOUT,
    DISCONNECTED,
    EXPIRED,
    READ_TIMEOUT,
    TRUNCATED,
    UNCLASSIFIED,
    Ending,
    Failure,
)
from polvo_adapters.core.setting_kinds import show_value
from polvo_adapters.errors import RetriesExhaustedError
from polvo_adapters.policies.retry import ExponentialBackoff
from polvo_adapters.policies.retry_budget import Deposit, Refusal, RetryBudget, Spend
from tests.support.flow_stepper import URL, Stepper, answered, failed

SIX = ExponentialBackoff(max_attempts=6, base=1, cap=10, jitter="none", budget=None)


def bounds(policy: ExponentialBackoff, draw: float = 1.0) -> list[tuple[float, float]]:
    stepper = Stepper(policy, draw=draw)
    stepper.run(answered(500))
    return [(sleep.low, sleep.high) for sleep in stepper.sleeps]


def test_success_is_one_send_and_one_deposit() -> None:
    stepper = Stepper(ExponentialBackoff())
    assert stepper.run(answered(200)).status == 200
    assert len(stepper.effects) == 2
    assert stepper.decided == [Deposit()]


def test_success_without_budget_is_one_send() -> None:
    stepper = Stepper(ExponentialBackoff(budget=None))
    stepper.run(answered(200))
    assert len(stepper.effects) == 1


def test_an_error_of_an_attempt_that_may_have_arrived_is_not_hidden_by_one_that_did_not() -> None:
    lost = failed(READ_TIMEOUT)
    outcome = Stepper(ExponentialBackoff()).run(lost, failed(CONNECT))
    assert (outcome.error, outcome.failure, outcome.note) == (lost.error, READ_TIMEOUT, "gave up after 3 attempts")


def test_max_attempts_counts_all_attempts_and_the_last_response_is_returned() -> None:
    stepper = Stepper(ExponentialBackoff(max_attempts=4))
    outcome = stepper.run(answered(503))
    assert len(stepper.sends) == 4
    assert outcome.response == "response 503"
    assert outcome.error is None
    assert outcome.note == "gave up after 4 attempts"


def test_no_jitter_doubles_up_to_the_cap() -> None:
    assert bounds(SIX) == [(1, 1), (2, 2), (4, 4), (8, 8), (10, 10)]


def test_full_jitter_reaches_down_to_zero_before_the_first_retry_too() -> None:
    policy = ExponentialBackoff(max_attempts=4, base=1, cap=3, budget=None)
    assert bounds(policy) == [(0, 1), (0, 2), (0, 3)]


def test_equal_jitter_keeps_half() -> None:
    policy = ExponentialBackoff(max_attempts=4, base=1, cap=3, jitter="equal", budget=None)
    assert bounds(policy) == [(0.5, 1), (1, 2), (1.5, 3)]


def test_decorrelated_jitter_grows_from_the_last_wait() -> None:
    policy = ExponentialBackoff(max_attempts=5, base=1, cap=20, jitter="decorrelated", budget=None)
    assert bounds(policy) == [(1, 3), (1, 9), (1, 20), (1, 20)]
    assert bounds(policy, draw=0) == [(1, 3), (1, 3), (1, 3), (1, 3)]


def test_a_thousand_retries_do_not_overflow() -> None:
    policy = ExponentialBackoff(max_attempts=400, base=1, multiplier=1e10, cap=5, jitter="none", budget=None)
    assert bounds(policy)[-1] == (5, 5)


@given(
    jitter=st.sampled_from(["full", "equal", "decorrelated", "none"]),
    base=st.floats(0, 1e6),
    cap=st.floats(0, 1e6),
    multiplier=st.floats(1, 1e9),
    draw=st.floats(0, 1),
)
def test_every_wait_lies_between_zero_and_the_cap(jitter: Any, base: Any, cap: Any, multiplier: Any, draw: Any) -> None:
    policy = ExponentialBackoff(9, base=base, cap=cap, multiplier=multiplier, jitter=jitter, budget=None)
    for low, high in bounds(policy, draw):
        assert 0 <= low <= high <= cap


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_default_statuses_are_retried(status: int) -> None:
    stepper = Stepper(ExponentialBackoff())
    assert stepper.run(answered(status), answered(200)).status == 200
    assert len(stepper.sends) == 2


@pytest.mark.parametrize("status", [100, 200, 204, 301, 304, 400, 401, 403, 404, 408, 409, 413, 422, 501, 505])
def test_other_statuses_are_not(status: int) -> None:
    stepper = Stepper(ExponentialBackoff())
    assert stepper.run(answered(status)).status == status
    assert len(stepper.sends) == 1


def test_statuses_are_selectable_below_400_too() -> None:
    stepper = Stepper(ExponentialBackoff(retry_on=[202]))
    stepper.run(answered(202), answered(503))
    assert len(stepper.sends) == 2


@pytest.mark.parametrize("failure", [CONNECT, CONNECT_TIMEOUT, READ_TIMEOUT, DISCONNECTED, TRUNCATED])
def test_failures_that_a_repeat_may_cure_are_retried(failure: Failure) -> None:
    stepper = Stepper(ExponentialBackoff())
    assert stepper.run(failed(failure), answered(200)).status == 200


@pytest.mark.parametrize("failure", [UNCLASSIFIED, EXPIRED])
def test_other_failures_are_not(failure: Failure) -> None:
    stepper = Stepper(ExponentialBackoff())
    outcome = stepper.run(failed(failure))
    assert len(stepper.sends) == 1
    assert outcome.failure is failure


def test_exceptions_are_selectable_by_class_and_by_name() -> None:
    by_class = Stepper(ExponentialBackoff(exceptions=(OSError,)))
    by_class.run(failed(UNCLASSIFIED))
    by_name = Stepper(ExponentialBackoff(exceptions=("read timeout",)))
    by_name.run(failed(READ_TIMEOUT), failed(DISCONNECTED))
    none = Stepper(ExponentialBackoff(exceptions=()))
    none.run(failed(CONNECT))
    assert [len(stepper.sends) for stepper in (by_class, by_name, none)] == [3, 2, 1]


def test_selecting_everything_does_not_retry_past_the_deadline() -> None:
    stepper = Stepper(ExponentialBackoff(exceptions=(Exception,)))
    stepper.run(failed(EXPIRED))
    assert len(stepper.sends) == 1


@pytest.mark.parametrize("method", sorted(IDEMPOTENT_METHODS))
def test_idempotent_methods_are_repeated_whatever_happened(method: str) -> None:
    stepper = Stepper(ExponentialBackoff(), Call(method, URL))
    assert stepper.run(failed(READ_TIMEOUT), answered(500), answered(200)).status == 200


@pytest.mark.parametrize(
    ("outcome", "sends"),
    [
        (answered(500), 1),
        (answered(502), 1),
        (answered(503), 1),
        (answered(504), 1),
        (failed(READ_TIMEOUT), 1),
        (failed(DISCONNECTED), 1),
        (failed(TRUNCATED), 1),
        (answered(503, retry_after="1"), 3),
        (answered(429), 3),
        (failed(CONNECT), 3),
        (failed(CONNECT_TIMEOUT), 3),
    ],
)
@pytest.mark.parametrize("method", ["POST", "PATCH", "PURGE"])
def test_other_methods_are_repeated_only_when_certainly_not_processed(method: str, outcome: Any, sends: int) -> None:
    stepper = Stepper(ExponentialBackoff(), Call(method, URL))
    ended = stepper.run(outcome)
    assert len(stepper.sends) == sends
    if sends == 1:
        assert ended.note == (
            f"{method} is not repeated: the server may have processed it; pass an idempotency key where the API takes "
            "one (idempotency=True), or declare it safe (idempotent=True)"
        )


@pytest.mark.parametrize(
    ("call", "note"),
    [
        (
            Call("POST", URL, key="k"),
            "POST is not repeated: the server may have processed it; declare it safe (idempotent=True)",
        ),
        (Call("PUT", URL, unsafe=True), "PUT is not repeated: it was declared not idempotent"),
    ],
)
def test_the_note_of_a_call_that_is_not_repeated_names_only_what_is_not_set_yet(call: Call, note: str) -> None:
    assert Stepper(ExponentialBackoff(), call).run(failed(DISCONNECTED)).note == note


def test_methods_are_selectable_and_none_means_every_method() -> None:
    only_get = Stepper(ExponentialBackoff(methods=["get"]), Call("PUT", URL))
    only_get.run(answered(500))
    every = Stepper(ExponentialBackoff(methods=None), Call("POST", URL))
    every.run(answered(500))
    no_method = Stepper(ExponentialBackoff(methods=()), Call("GET", URL))
    no_method.run(answered(500))
    assert [len(stepper.sends) for stepper in (only_get, every, no_method)] == [1, 3, 1]


def test_a_call_declared_idempotent_is_repeated() -> None:
    stepper = Stepper(ExponentialBackoff(), Call("POST", URL, idempotent=True))
    stepper.run(answered(500))
    assert len(stepper.sends) == 3


@pytest.mark.parametrize("outcome", [answered(503), failed(READ_TIMEOUT), answered(429)])
def test_a_body_that_can_be_read_once_is_not_sent_twice(outcome: Any) -> None:
    stepper = Stepper(ExponentialBackoff(), Call("PUT", URL, body="once"))
    ended = stepper.run(outcome)
    assert len(stepper.sends) == 1
    assert (ended.status, ended.error, ended.response) == (outcome.status, outcome.error, outcome.response)
    assert ended.note == "not sent again, as the body can be read only once; pass bytes or a seekable file"


def test_a_one_shot_body_that_was_never_touched_may_go_out() -> None:
    stepper = Stepper(ExponentialBackoff(), Call("PUT", URL, body="once"))
    assert stepper.run(failed(CONNECT), answered(200)).status == 200


def test_a_one_shot_body_at_the_last_attempt_needs_no_replay() -> None:
    stepper = Stepper(ExponentialBackoff(max_attempts=1), Call("PUT", URL, body="once"))
    assert stepper.run(answered(503)).error is None


def test_retry_after_is_obeyed_and_jitter_only_comes_on_top() -> None:
    stepper = Stepper(ExponentialBackoff(base=0.5))
    stepper.run(answered(429, retry_after="7"), answered(200))
    assert [(sleep.low, sleep.high, sleep.reason) for sleep in stepper.sleeps] == [(7, 7.5, "429, Retry-After 7 s")]


def test_retry_after_without_jitter_is_exact() -> None:
    stepper = Stepper(ExponentialBackoff(jitter="none"))
    stepper.run(answered(429, retry_after="7"), answered(200))
    assert (stepper.sleeps[0].low, stepper.sleeps[0].high) == (7, 7)


def test_retry_after_zero_backs_off_all_the_same() -> None:
    stepper = Stepper(ExponentialBackoff(base=0.5))
    stepper.run(answered(429, retry_after="0"), answered(200))
    assert (stepper.sleeps[0].low, stepper.sleeps[0].high) == (0, 0.5)


@pytest.mark.parametrize("status", [413, 429, 503])
def test_retry_after_makes_some_statuses_worth_a_retry(status: int) -> None:
    stepper = Stepper(ExponentialBackoff(retry_on=()))
    stepper.run(answered(status, retry_after="1"), answered(200))
    bare = Stepper(ExponentialBackoff(retry_on=()))
    bare.run(answered(status))
    assert (len(stepper.sends), len(bare.sends)) == (2, 1)


def test_a_retry_after_beyond_the_cap_ends_the_call_with_the_response() -> None:
    stepper = Stepper(ExponentialBackoff(retry_after_cap=60))
    outcome = stepper.run(answered(429, retry_after="3600"))
    assert (len(stepper.sends), stepper.sleeps, outcome.status) == (1, [], 429)
    assert outcome.note == "Retry-After of 3600 s is longer than retry_after_cap, 60 s"


@pytest.mark.parametrize("garbage", ["", "soon", "-1", "1e9999", "\x00", "9" * 400, "nan", "٣", "1,2"])
def test_garbage_in_retry_after_is_as_if_it_were_not_there(garbage: str) -> None:
    stepper = Stepper(ExponentialBackoff(base=0.5))
    assert stepper.run(answered(503, retry_after=garbage), answered(200)).status == 200
    assert (stepper.sleeps[0].low, stepper.sleeps[0].high) == (0, 0.5)


@pytest.mark.parametrize(
    ("status", "headers", "sends"),
    [
        (500, {"x_should_retry": "false"}, 1),
        (409, {"x_should_retry": "true"}, 3),
        (500, {"stripe_should_retry": "false"}, 1),
        (400, {"stripe_should_retry": "true"}, 3),
        (200, {"x_should_retry": "true"}, 1),
        (503, {"grpc_retry_pushback_ms": "-1"}, 1),
        (503, {"grpc_retry_pushback_ms": "250"}, 3),
    ],
)
def test_the_verdict_of_the_server_wins(status: int, headers: dict[str, str], sends: int) -> None:
    stepper = Stepper(ExponentialBackoff())
    stepper.run(answered(status, **headers))
    assert len(stepper.sends) == sends


def test_the_verdict_of_the_server_does_not_make_a_post_safe() -> None:
    stepper = Stepper(ExponentialBackoff(), Call("POST", URL))
    stepper.run(answered(500, x_should_retry="true"))
    assert len(stepper.sends) == 1


def test_a_wait_leaves_half_of_the_time_to_the_attempt_after_it() -> None:
    policy = ExponentialBackoff(base=8, jitter="none", budget=None)
    stepper = Stepper(policy, Call("GET", URL, deadline=10.0))
    stepper.run(answered(500, now=6.0), answered(200))
    assert (stepper.sleeps[0].low, stepper.sleeps[0].high) == (2.0, 2.0)


def test_retry_after_beyond_the_deadline_ends_the_call_with_the_response() -> None:
    stepper = Stepper(ExponentialBackoff(), Call("GET", URL, deadline=10.0))
    outcome = stepper.run(answered(503, retry_after="30", now=2.0))
    assert (len(stepper.sends), stepper.sleeps) == (1, [])
    assert (outcome.status, outcome.error, outcome.response) == (503, None, "response 503")
    assert outcome.note == "503, Retry-After 30 s, but only 8 s are left before the deadline"
    assert outcome.ending == Ending("deadline", "", 30)


def test_no_time_left_ends_the_call_with_the_last_outcome() -> None:
    stepper = Stepper(ExponentialBackoff(), Call("GET", URL, deadline=10.0))
    outcome = stepper.run(answered(500, now=10.0))
    assert (len(stepper.sends), outcome.status) == (1, 500)
    assert outcome.note == "the deadline leaves no time for another attempt"


@pytest.mark.parametrize(
    ("outcome", "cost"),
    [
        (answered(500), 1.0),
        (answered(503, retry_after="1"), 0.5),
        (answered(429), 0.5),
        (failed(READ_TIMEOUT), 2.0),
        (failed(CONNECT), 1.0),
    ],
)
def test_the_budget_is_asked_by_the_cost_of_the_cause(outcome: Any, cost: float) -> None:
    stepper = Stepper(ExponentialBackoff(max_attempts=2))
    stepper.run(outcome, answered(200))
    assert stepper.decided == [Spend(cost), Deposit()]


@pytest.mark.parametrize("outcome", [answered(500), answered(429), failed(READ_TIMEOUT), failed(CONNECT)])
def test_a_call_that_was_not_served_pays_nothing_into_the_budget(outcome: Any) -> None:
    stepper = Stepper(ExponentialBackoff(max_attempts=1))
    stepper.run(outcome)
    assert stepper.decided == []


@pytest.mark.parametrize("status", [200, 304, 404])
def test_an_answer_pays_into_the_budget(status: int) -> None:
    stepper = Stepper(ExponentialBackoff())
    stepper.run(answered(status))
    assert stepper.decided == [Deposit()]


def test_a_budget_that_is_used_up_ends_the_call() -> None:
    stepper = Stepper(ExponentialBackoff(), verdict=False)
    outcome = stepper.run(answered(500))
    assert (len(stepper.sends), outcome.status) == (1, 500)
    assert outcome.note == "the retry budget is used up"
    assert stepper.decided == [Spend(1.0), Refusal()]


def test_raise_on_status_is_a_retry_error_with_the_last_response() -> None:
    stepper = Stepper(ExponentialBackoff(raise_on_status=True))
    error = stepper.run(answered(503)).error
    assert isinstance(error, RetriesExhaustedError)
    assert isinstance(error, requests.exceptions.RetryError)
    assert (error.attempts, error.response) == (3, "response 503")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_attempts", 0),
        ("max_attempts", 2.5),
        ("max_attempts", True),
        ("max_attempts", "3"),
        ("base", -1),
        ("base", float("nan")),
        ("base", float("inf")),
        ("cap", -0.1),
        ("cap", None),
        ("multiplier", 0.5),
        ("jitter", "some"),
        ("jitter", None),
        ("retry_on", [99]),
        ("retry_on", ["503"]),
        ("retry_on", 503),
        ("retry_after_on", [600]),
        ("retry_after_cap", -1),
        ("budget", 0.2),
        ("methods", "GET"),
        ("methods", [1]),
        ("exceptions", ["timeout"]),
        ("exceptions", [int]),
    ],
)
def test_wrong_values_name_field_and_value(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^ExponentialBackoff\({field}=.*\): {field} must be ") as caught:
        ExponentialBackoff(**{field: value})
    assert show_value(value) in str(caught.value)


def test_an_unknown_keyword_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="max_retries"):
        ExponentialBackoff(max_retries=3)


def test_urllib3_retry_is_translated() -> None:
    retry = Retry(
        total=5,
        status_forcelist=[500, 503],
        allowed_methods=["GET", "POST"],
        backoff_factor=0.3,
        backoff_max=9,
        raise_on_status=False,
    )
    policy = ExponentialBackoff.from_urllib3(retry)
    assert (policy.max_attempts, policy.base, policy.cap, policy.jitter) == (6, 0.3, 9, "none")
    assert policy.retry_on == {500, 503}
    assert policy.retry_after_on == Retry.RETRY_AFTER_STATUS_CODES
    assert policy.methods == {"GET", "POST"}
    assert set(policy.exceptions or ()) == {
        "no connection",
        "connect timeout",
        "read timeout",
        "disconnected",
        "truncated body",
    }
    assert policy.raise_on_status is False


def test_translation_keeps_kinds_switched_off() -> None:
    policy = ExponentialBackoff.from_urllib3(Retry(total=2, connect=0, status=0, respect_retry_after_header=False))
    assert set(policy.exceptions or ()) == {"read timeout", "disconnected", "truncated body"}
    assert not policy.retry_on
    assert not policy.retry_after_on
    assert ExponentialBackoff.from_urllib3(Retry(total=2, read=False)).exceptions == (
        "no connection",
        "connect timeout",
    )


def test_translation_of_the_empty_method_set_means_no_method() -> None:
    with pytest.warns(FutureWarning) if _warns_of_empty_methods() else _nothing():
        retry = Retry(3, allowed_methods=frozenset())
    assert ExponentialBackoff.from_urllib3(retry).methods == frozenset()
    assert ExponentialBackoff.from_urllib3(Retry(3, allowed_methods=None)).methods is None


def _warns_of_empty_methods() -> bool:
    import warnings

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Retry(3, allowed_methods=frozenset())
    return bool(caught)


def _nothing() -> Any:
    import contextlib

    return contextlib.nullcontext()


def test_translation_counts_kinds_where_there_is_no_total() -> None:
    assert ExponentialBackoff.from_urllib3(Retry(total=None, connect=4, read=2)).max_attempts == 5
    assert ExponentialBackoff.from_urllib3(Retry(total=False)).max_attempts == 1


def test_policies_are_values() -> None:
    assert ExponentialBackoff() == ExponentialBackoff()
    assert hash(ExponentialBackoff()) == hash(ExponentialBackoff())
    assert ExponentialBackoff().budget == RetryBudget()
