"""The circuit breaker: settings, what counts, the machine against a simple model of it, and calls in virtual time."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any, NamedTuple

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, precondition, rule

from polvo_adapters.core.calls import Call
from polvo_adapters.core.machines import Changed, Refused
from polvo_adapters.core.outcomes import (
    CONNECT,
    CONNECT_TIMEOUT,
    DISCONNECTED,
    EXPIRED,
    NOT_SENT,
    READ_TIMEOUT,
    TRUNCATED,
    UNCLASSIFIED,
    Failure,
    Outcome,
)
from polvo_adapters.errors import CircuitOpenError
from polvo_adapters.policies.breaker import CircuitBreaker
from polvo_adapters.policies.breaker.state import AcquirePermit, CircuitState, ManualControl
from polvo_adapters.policies.deadline import Deadline
from polvo_adapters.policies.retry import ExponentialBackoff
from polvo_adapters.testing.simulation.simulation import ScriptedFailure, ScriptedReply
from tests.policies.test_gates import GET, Run
from tests.support.flow_stepper import URL, answered, failed

ASK, LOOK = AcquirePermit(), ManualControl("")
DOWN = ScriptedReply(503)


class Machine:
    """A circuit alone, moved by hand."""

    def __init__(self, **keywords: Any) -> None:
        self.policy = CircuitBreaker(**keywords)
        self.state: CircuitState = self.policy.initial
        self.now = 0.0
        self.changes: list[tuple[str, str, str]] = []

    def put(self, event: Any) -> Any:
        """Put one event as a store does, and return the verdict proper."""
        after, verdict = self.policy.transition(self.state, event, self.now)
        if type(verdict) is not Refused:
            self.state = after
        if type(verdict) is Changed:
            self.changes.append((verdict.before, verdict.after, verdict.reason))
            return verdict.verdict
        return verdict

    def ask(self) -> Any:
        return self.put(ASK)

    def tell(self, permit: Any, outcome: Outcome, call: Call = GET) -> None:
        self.put(self.policy.result_event(call, permit, outcome))

    def call(self, outcome: Outcome | int = 200, attempt: int = 1) -> Any:
        """Make a call if it may pass; return the permit or Refused."""
        permit = self.ask()
        if type(permit) is not Refused:
            made = answered(outcome) if isinstance(outcome, int) else outcome
            self.tell(permit, made, GET._replace(attempt=attempt))
        return permit

    def calls(self, *outcomes: Outcome | int) -> None:
        for outcome in outcomes:
            self.call(outcome)

    @property
    def status(self) -> Any:
        return self.put(LOOK)

    @property
    def passes(self) -> bool:
        """Tell whether a call would pass, without making one."""
        return type(self.policy.transition(self.state, ASK, self.now)[1]) is not Refused


def lasting(seconds: float, status: int = 200) -> Outcome:
    return answered(status, now=seconds)


# Settings -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["failure_threshold", "half_open_calls", "minimum_throughput", "window_calls"],
)
@pytest.mark.parametrize("value", [0, -1, 1.5, True, "5", float("nan")])
def test_a_count_of_the_wrong_kind_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"CircuitBreaker.{name}=.*{name} must be a whole number of at least 1"):
        CircuitBreaker(**{name: value})


@pytest.mark.parametrize("name", ["recovery_timeout", "probe_timeout", "slow_call", "window"])
@pytest.mark.parametrize("value", [0, -1.0, True, "5", float("nan"), float("inf")])
def test_seconds_of_the_wrong_kind_are_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"CircuitBreaker.{name}=.*{name} must be a number above 0"):
        CircuitBreaker(**{name: value})


@pytest.mark.parametrize("name", ["failure_rate", "slow_call_rate"])
@pytest.mark.parametrize("value", [0, -0.5, 1.01, 50, True, "0.5", float("nan"), float("inf")])
def test_a_rate_of_the_wrong_kind_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{name} must be a number above 0 and at most 1"):
        CircuitBreaker(**{"window": 10, "slow_call": 1, name: value})


@pytest.mark.parametrize("value", [0.5, 0, -1, True, "2", float("nan"), float("inf")])
def test_a_multiplier_of_the_wrong_kind_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="multiplier must be a number of at least 1"):
        CircuitBreaker(multiplier=value)


@pytest.mark.parametrize("value", [59.9, 0, True, "60", float("nan")])
def test_a_longest_open_time_below_the_first_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="max_recovery_timeout must be a number of at least 60"):
        CircuitBreaker(max_recovery_timeout=value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("failure_on", {99}),
        ("failure_on", {600}),
        ("failure_on", ["503"]),
        ("failure_on", 503),
        ("failure_on", {True}),
        ("exceptions", {"deadline"}),
        ("exceptions", {int}),
        ("exceptions", 5),
        ("counts", "call"),
        ("counts", None),
        ("listeners", print),
        ("listeners", ["print"]),
        ("listeners", "print"),
        ("listeners", None),
        ("listeners", (print, None)),
    ],
)
def test_a_setting_of_the_wrong_kind_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"CircuitBreaker.{name}=.*{name} must be"):
        CircuitBreaker(**{name: value})


@pytest.mark.parametrize(
    ("keywords", "named"),
    [
        ({"window": 10, "window_calls": 10}, ("window=10", "window_calls=10")),
        ({"window": 10, "slow_call_rate": 0.5}, ("slow_call_rate=0.5", "slow_call=None")),
        ({"failure_rate": 0.5}, ("failure_rate=0.5", "window=None")),
        ({"slow_call": 1, "slow_call_rate": 0.5}, ("slow_call_rate=0.5", "window=None")),
        ({"failure_threshold": 11, "window_calls": 10}, ("failure_threshold=11", "window_calls=10")),
        ({"failure_rate": 0.5, "window_calls": 9}, ("minimum_throughput=10", "window_calls=9")),
        (
            {"slow_call": 1, "slow_call_rate": 0.5, "window_calls": 9},
            ("minimum_throughput=10", "window_calls=9"),
        ),
        (
            {"slow_call": 1, "slow_call_rate": 0.5, "window_calls": 10, "failure_threshold": 11},
            ("failure_threshold=11", "window_calls=10"),
        ),
        ({"failure_on": (), "exceptions": ()}, ("failure_on=frozenset()", "exceptions=()")),
    ],
)
def test_settings_that_contradict_each_other_are_named(keywords: dict[str, Any], named: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="CircuitBreaker") as caught:
        CircuitBreaker(**keywords)
    assert all(name in str(caught.value) for name in named)


@pytest.mark.parametrize(
    "keywords",
    [
        {"failure_threshold": 10, "window_calls": 10},
        {"failure_rate": 1, "window_calls": 10},
        {"failure_rate": 0.5, "window_calls": 5, "minimum_throughput": 5, "failure_threshold": 99},
        {"failure_threshold": 1000, "window": 10},
        {"failure_on": (), "exceptions": (), "slow_call": 1},
        {"failure_on": (), "exceptions": ("disconnected",)},
        {"failure_on": (429,), "exceptions": ()},
        {"max_recovery_timeout": float("inf")},
        {"max_recovery_timeout": 60},
        {"multiplier": 1},
        {"slow_call": 1},
        {"slow_call": 1, "slow_call_rate": 1, "failure_rate": 1, "window": 10},
    ],
)
def test_settings_that_make_sense_are_taken(keywords: dict[str, Any]) -> None:
    policy = CircuitBreaker(**keywords)
    assert pickle.loads(pickle.dumps(policy)) == policy
    assert replace(policy, probe_timeout=5).probe_timeout == 5
    assert hash(policy) == hash(CircuitBreaker(**keywords))


# When it opens --------------------------------------------------------------------------------------------------------


def test_so_many_failures_in_a_row_open_it() -> None:
    machine = Machine(failure_threshold=3)
    machine.calls(503, 503, 200, 503, 503)
    assert machine.passes
    machine.call(503)
    assert machine.changes == [("closed", "open", "3 failures in a row")]
    assert not machine.passes


def test_so_many_failures_among_the_last_calls_open_it() -> None:
    machine = Machine(failure_threshold=3, window_calls=5)
    machine.calls(503, 503, 200, 200, 200, 503, 200)
    assert machine.passes  # the first two have left the window
    machine.calls(503, 503)
    assert machine.changes == [("closed", "open", "3 failures in 5 calls")]


def test_so_many_failures_in_a_while_open_it() -> None:
    machine = Machine(failure_threshold=3, window=10)
    for now in (0.0, 5.0, 11.0):
        machine.now = now
        machine.call(503)
    assert machine.passes
    machine.now = 14.0
    machine.call(503)
    assert not machine.passes


def test_a_rate_opens_it_only_when_there_were_enough_calls() -> None:
    machine = Machine(failure_rate=0.5, minimum_throughput=4, window_calls=10)
    machine.calls(503, 503, 503)
    assert machine.passes
    machine.call(200)  # a success, and yet with it there are enough
    assert machine.changes == [("closed", "open", "3 of 4 calls failed")]


def test_a_rate_that_is_just_reached_opens_it() -> None:
    machine = Machine(failure_rate=0.5, minimum_throughput=4, window_calls=10)
    machine.calls(200, 200, 503)
    assert machine.passes
    machine.call(503)
    assert machine.changes == [("closed", "open", "2 of 4 calls failed")]


@given(st.integers(1, 100))
def test_a_rate_of_so_many_in_a_hundred_is_reached_by_so_many_in_a_hundred(failures: int) -> None:
    machine = Machine(failure_rate=failures / 100, minimum_throughput=100, window_calls=100)
    machine.calls(*[200] * (100 - failures), *[503] * (failures - 1))
    assert machine.passes
    machine.call(503)
    assert not machine.passes


def test_a_rate_takes_the_place_of_the_count() -> None:
    machine = Machine(failure_threshold=1, failure_rate=1.0, minimum_throughput=5, window=60)
    machine.calls(503, 503, 503, 503)
    assert machine.passes
    machine.call(503)
    assert not machine.passes


def test_slow_calls_without_a_rate_are_failures() -> None:
    machine = Machine(failure_threshold=2, slow_call=1.5)
    machine.calls(lasting(1.49), lasting(1.5), lasting(1.49), lasting(1.5))
    assert machine.passes
    machine.call(503)
    assert machine.changes == [("closed", "open", "2 failures in a row")]


def test_a_rate_of_slow_calls_opens_it() -> None:
    machine = Machine(slow_call=1, slow_call_rate=0.5, minimum_throughput=4, window_calls=5)
    machine.calls(lasting(0), lasting(2), lasting(0))
    assert machine.passes
    machine.call(lasting(2))
    assert machine.changes == [("closed", "open", "2 of 4 calls were slow")]


def test_slow_calls_with_a_rate_of_their_own_are_no_failures() -> None:
    machine = Machine(
        slow_call=1, slow_call_rate=1, failure_rate=0.5, failure_threshold=1, minimum_throughput=2, window_calls=4
    )
    machine.calls(lasting(0), lasting(2), lasting(2), lasting(2))
    assert machine.passes
    assert machine.status[2:5] == (4, 0, 3)


def test_a_rate_of_slow_calls_does_not_make_it_blind_to_failures() -> None:
    # A host that is down refuses quickly: without a count of failures this circuit would never open.
    machine = Machine(failure_threshold=3, slow_call=1, slow_call_rate=0.5, minimum_throughput=4, window_calls=10)
    machine.calls(503, 503, 200)
    assert machine.passes
    machine.call(503)
    assert not machine.passes


# What counts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "result"),
    [
        (answered(200), "success"),
        (answered(301), "success"),
        (answered(400), "reachable"),
        (answered(404), "reachable"),
        (answered(429), "reachable"),
        (answered(500), "failure"),
        (answered(501), "reachable"),
        (answered(503), "failure"),
        (failed(CONNECT), "failure"),
        (failed(CONNECT_TIMEOUT), "failure"),
        (failed(READ_TIMEOUT), "failure"),
        (failed(DISCONNECTED), "failure"),
        (failed(TRUNCATED), "failure"),
        (failed(UNCLASSIFIED), "nothing"),
        (failed(NOT_SENT), "nothing"),
        (failed(EXPIRED), "failure"),
        # A policy further inside made an error of an answer: it is still that answer.
        (answered(503)._replace(error=OSError(), failure=UNCLASSIFIED), "failure"),
        (answered(503)._replace(error=OSError(), failure=EXPIRED), "failure"),
        (answered(404)._replace(error=OSError(), failure=UNCLASSIFIED), "nothing"),
        (answered(200)._replace(failure=TRUNCATED), "failure"),
    ],
)
def test_what_an_outcome_is(outcome: Outcome, result: str) -> None:
    machine = Machine()
    assert machine.policy.result_event(GET, machine.ask(), outcome).result == result


def test_a_refusal_is_a_failure_where_it_was_asked_for() -> None:
    machine = Machine(failure_threshold=1, failure_on={429})
    machine.call(503)
    assert machine.passes
    machine.call(429)
    assert not machine.passes


def test_an_answer_below_400_is_a_failure_where_it_was_asked_for() -> None:
    machine = Machine(failure_threshold=1, failure_on={204})
    machine.call(204)
    assert not machine.passes


class Flaky(Exception):
    """An error of somebody's own."""


@pytest.mark.parametrize(
    ("exceptions", "failure", "error", "counts"),
    [
        (("disconnected",), DISCONNECTED, OSError(), True),
        (("disconnected",), READ_TIMEOUT, OSError(), False),
        ((OSError,), UNCLASSIFIED, OSError(), True),
        (Flaky, UNCLASSIFIED, Flaky(), True),
        ((Flaky, "no connection"), CONNECT, OSError(), True),
        ((), CONNECT, OSError(), False),
        ((Flaky,), NOT_SENT, Flaky(), False),
        ((TimeoutError,), EXPIRED, TimeoutError(), True),
    ],
)
def test_which_exceptions_count_can_be_said(exceptions: Any, failure: Failure, error: Exception, counts: bool) -> None:
    machine = Machine(failure_threshold=1, exceptions=exceptions)
    machine.call(Outcome(error=error, failure=failure))
    assert machine.passes is not counts


@pytest.mark.parametrize(
    ("deadline", "seconds", "result"),
    [
        (10.0, 5.0, "failure"),
        (10.0, 4.99, "nothing"),
        (10.0, 0.0, "nothing"),
        (None, 0.0, "failure"),
    ],
)
def test_a_deadline_counts_where_the_host_had_half_of_the_time(
    deadline: float | None, seconds: float, result: str
) -> None:
    machine = Machine()
    call = GET._replace(started=0.0, deadline=deadline)
    outcome = Outcome(error=OSError(), failure=EXPIRED, started=10.0 - seconds, now=10.0)
    assert machine.policy.result_event(call, machine.ask(), outcome).result == result


@pytest.mark.parametrize("neutral", [answered(404), answered(429), failed(UNCLASSIFIED), failed(NOT_SENT)])
def test_what_says_nothing_neither_counts_nor_ends_a_row(neutral: Outcome) -> None:
    machine = Machine(failure_threshold=2)
    machine.calls(*[neutral] * 5)
    machine.calls(503, neutral)
    assert machine.passes
    machine.call(503)
    assert not machine.passes


def test_what_says_nothing_is_no_call_of_a_rate() -> None:
    machine = Machine(failure_rate=1, minimum_throughput=3, window_calls=10)
    machine.calls(503, 404, 404, 503)
    assert machine.status[2:4] == (2, 2)


@pytest.mark.parametrize("keywords", [{}, {"window": 60.0}, {"window_calls": 10}, {"slow_call": 5}])
def test_a_failure_counts_once_per_logical_call(keywords: dict[str, Any]) -> None:
    machine = Machine(failure_threshold=2, **keywords)
    for attempt in (1, 2, 3, 4):
        machine.call(503, attempt)
    assert machine.passes
    machine.call(503)
    assert not machine.passes


def test_a_repeat_that_is_slow_is_the_same_bad_news() -> None:
    machine = Machine(failure_threshold=2, slow_call=1)
    machine.call(503)
    machine.call(lasting(2), attempt=2)
    assert machine.passes


def test_a_repeat_that_does_well_ends_a_row() -> None:
    machine = Machine(failure_threshold=2)
    machine.call(503)
    machine.call(200, attempt=2)
    machine.call(503)
    assert machine.passes


def test_each_attempt_counts_where_it_was_asked_for() -> None:
    machine = Machine(failure_threshold=3, counts="attempts")
    for attempt in (1, 2, 3):
        machine.call(503, attempt)
    assert not machine.passes


# How long it is open --------------------------------------------------------------------------------------------------


def test_it_is_open_for_just_the_recovery_timeout_the_first_time() -> None:
    machine = Machine(failure_threshold=1, recovery_timeout=30)
    machine.now = 1234.5678
    machine.call(503)
    assert machine.ask() == Refused("a failure, open for 0 s", 30.0)
    machine.now += 29.99
    assert not machine.passes
    machine.now = 1264.5678
    assert machine.passes


def reopened(machine: Machine, times: int) -> list[float]:
    """Let probes fail, and return how long the circuit opened each time."""
    machine.call(503)
    seconds = [machine.status.retry_after]
    for _ in range(times):
        machine.now = machine.state.open_until
        machine.call(503)
        seconds.append(machine.state.open_until - machine.now)
    return seconds


def test_it_is_open_longer_from_one_failed_probe_to_the_next() -> None:
    seconds = reopened(Machine(failure_threshold=1, recovery_timeout=10, multiplier=2, max_recovery_timeout=80), 5)
    for opened, (grown, open_time) in enumerate(zip([10, 20, 40, 80, 80, 80], seconds, strict=True)):
        assert grown - (grown - 10) / 2 <= open_time <= grown, opened


def test_it_is_ten_times_as_long_at_most() -> None:
    seconds = reopened(Machine(failure_threshold=1, recovery_timeout=1), 30)
    assert max(seconds) <= 10
    assert max(seconds[5:]) > 5.5 - 1e-6


def test_a_multiplier_of_one_keeps_it_the_same() -> None:
    assert reopened(Machine(failure_threshold=1, recovery_timeout=8, multiplier=1), 4) == [8.0] * 5


@pytest.mark.parametrize("multiplier", [1e300, 1e9])
def test_no_growth_is_too_much(multiplier: float) -> None:
    machine = Machine(failure_threshold=1, multiplier=multiplier, max_recovery_timeout=float("inf"))
    machine.call(503)
    for _ in range(40):
        machine.now = machine.state.open_until if machine.state.open_until < float("inf") else 1e300
        assert machine.state.open_until > machine.now or machine.passes
        machine.call(503)
        assert not machine.passes


def test_open_times_that_have_grown_differ_from_circuit_to_circuit() -> None:
    until = []
    for began in (1.0001, 1.0002, 1.0003, 1.0004):
        machine = Machine(failure_threshold=1)
        machine.now = began
        until.append(reopened(machine, 1)[1])
    assert len(set(until)) == 4


def test_a_circuit_that_was_closed_begins_again_with_the_shortest_open_time() -> None:
    machine = Machine(failure_threshold=1, recovery_timeout=10)
    reopened(machine, 3)
    machine.now = machine.state.open_until
    machine.call(200)
    machine.call(503)
    assert machine.status.retry_after == pytest.approx(10, abs=1e-9)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("5", 60.0),
        ("90", 90.0),
        ("600", 600.0),
        ("99999", 600.0),
        ("nonsense", 60.0),
        ("-5", 60.0),
        ("Wed, 15 Nov 2023 00:00:00 GMT", 600.0),
        ("Tue, 14 Nov 2023 22:15:20 GMT", 120.0),
    ],
)
def test_it_is_open_for_no_less_than_the_retry_after(header: str, seconds: float) -> None:
    machine = Machine(failure_threshold=1)
    machine.call(answered(503, Retry_After=header)._replace(headers={"retry-after": header}))
    assert machine.status.retry_after == seconds


def test_a_probe_that_is_told_to_come_back_later_is_obeyed() -> None:
    machine = Machine(failure_threshold=1, recovery_timeout=10)
    machine.call(503)
    machine.now = 10.0
    machine.call(answered(503)._replace(headers={"retry-after": "77"}))
    assert machine.status.retry_after == 77


# Probes ---------------------------------------------------------------------------------------------------------------


def half_open(**keywords: Any) -> Machine:
    machine = Machine(failure_threshold=1, recovery_timeout=10, **keywords)
    machine.call(503)
    machine.now = 10.0
    return machine


@pytest.mark.parametrize("count", [1, 3])
def test_so_many_probes_pass_and_no_more(count: int) -> None:
    machine = half_open(half_open_calls=count)
    permits = [machine.ask() for _ in range(count)]
    assert len({permit.probe for permit in permits}) == count
    assert machine.ask() == Refused("a failure, open for 10 s, and probes are under way", 30.0)
    assert machine.changes[1:] == [("open", "half-open", "time for a probe")]


def test_it_closes_when_all_probes_did_well() -> None:
    machine = half_open(half_open_calls=3)
    permits = [machine.ask() for _ in range(3)]
    for permit in permits[:2]:
        machine.tell(permit, answered(200))
    assert (machine.state.state, machine.passes) == ("half-open", False)
    machine.tell(permits[2], answered(200))
    assert machine.changes[-1] == ("half-open", "closed", "probes did well")


def test_one_probe_that_fails_opens_it_again() -> None:
    machine = half_open(half_open_calls=3)
    permits = [machine.ask() for _ in range(3)]
    machine.tell(permits[0], answered(200))
    machine.tell(permits[1], answered(503))
    assert machine.changes[-1] == ("half-open", "open", "a probe failed")
    machine.tell(permits[2], answered(200))  # of an era that is over
    assert machine.state.state == "open"


def test_a_probe_that_is_slow_opens_it_again() -> None:
    machine = half_open(slow_call=2)
    machine.tell(machine.ask(), lasting(2))
    assert machine.changes[-1] == ("half-open", "open", "a probe was slow")


def test_a_repeat_that_is_a_probe_and_fails_opens_it_again() -> None:
    machine = half_open()
    machine.call(503, attempt=2)
    assert machine.state.state == "open"


@pytest.mark.parametrize("status", [400, 404, 429])
def test_a_probe_with_any_answer_shows_that_the_host_is_there(status: int) -> None:
    machine = half_open()
    machine.call(status)
    assert machine.state.state == "closed"


@pytest.mark.parametrize("outcome", [failed(NOT_SENT), failed(UNCLASSIFIED)])
def test_a_probe_that_found_out_nothing_is_replaced(outcome: Outcome) -> None:
    machine = half_open()
    first = machine.call(outcome)
    second = machine.ask()
    assert (machine.state.state, second.probe) == ("half-open", first.probe + 1)


def test_a_probe_that_is_broken_off_is_replaced_at_once() -> None:
    machine = half_open()
    machine.put(machine.policy.release_event(machine.ask()))
    assert machine.passes


def test_a_probe_that_is_never_heard_of_is_replaced_when_its_lease_ends() -> None:
    machine = half_open(probe_timeout=7)
    lost = machine.ask()
    machine.now = 16.99
    assert machine.ask().retry_after == pytest.approx(0.01)
    machine.now = 17.0
    found = machine.ask()
    machine.tell(lost, answered(503))  # too late: another took its place
    assert machine.state.state == "half-open"
    machine.tell(found, answered(200))
    assert machine.state.state == "closed"


def test_a_probe_that_comes_late_and_was_not_replaced_counts() -> None:
    machine = half_open(probe_timeout=7)
    lost = machine.ask()
    machine.now = 100.0
    machine.tell(lost, answered(200))
    assert machine.state.state == "closed"


def test_probes_that_are_lost_are_replaced_and_those_that_did_well_are_not() -> None:
    machine = half_open(half_open_calls=3, probe_timeout=7)
    permits = [machine.ask() for _ in range(3)]
    machine.tell(permits[0], answered(200))
    machine.now = 17.0
    assert [type(machine.ask()) is Refused for _ in range(3)] == [False, False, True]


def test_a_probe_cannot_do_well_twice() -> None:
    machine = half_open(half_open_calls=2)
    permit = machine.ask()
    machine.tell(permit, answered(200))
    machine.tell(permit, answered(200))
    assert machine.state.state == "half-open"


@pytest.mark.parametrize("outcome", [200, 503, 404])
def test_an_answer_from_before_a_change_is_ignored(outcome: int) -> None:
    machine = Machine(failure_threshold=2, recovery_timeout=10)
    before = [machine.ask() for _ in range(4)]
    machine.calls(503, 503)
    machine.tell(before[0], answered(outcome))
    assert machine.state.state == "open"
    machine.now = 10.0
    probe = machine.ask()
    machine.tell(before[1], answered(outcome))
    assert machine.state.state == "half-open"
    machine.tell(probe, answered(200))
    machine.tell(before[2], answered(outcome))
    machine.tell(before[3], answered(outcome))
    assert machine.status == ("closed", "", 0, 0, 0, None, "", None)


# By hand --------------------------------------------------------------------------------------------------------------


def test_what_was_isolated_refuses_until_it_is_closed() -> None:
    machine = Machine()
    machine.put(ManualControl("isolated"))
    machine.now = 1e6
    assert machine.ask() == Refused("isolated by hand")
    machine.put(ManualControl("closed"))
    assert machine.passes
    assert machine.changes == [("closed", "isolated", "by hand"), ("isolated", "closed", "by hand")]


def test_what_was_disabled_passes_and_counts_nothing() -> None:
    machine = Machine(failure_threshold=1)
    machine.put(ManualControl("disabled"))
    machine.calls(503, 503, 503)
    assert machine.status[:5] == ("closed", "disabled", 0, 0, 0)


def test_what_was_disabled_while_it_was_open_passes() -> None:
    machine = Machine(failure_threshold=1)
    machine.call(503)
    machine.put(ManualControl("disabled"))
    assert machine.call(503).probe == 0
    machine.put(ManualControl("closed"))
    assert machine.passes


def test_what_is_observed_tells_and_refuses_nobody() -> None:
    machine = Machine(failure_threshold=2, recovery_timeout=10)
    machine.put(ManualControl("observed"))
    machine.calls(503, 503)
    assert machine.status[:2] == ("open", "observed")
    assert machine.call(503).probe == 0
    machine.now = 10.0
    probe, other = machine.ask(), machine.ask()
    assert (probe.probe, other.probe) == (1, 0)
    machine.tell(other, answered(503))
    machine.tell(probe, answered(200))
    assert [change[:2] for change in machine.changes] == [
        ("closed", "observed"),
        ("closed", "open"),
        ("open", "half-open"),
        ("half-open", "closed"),
    ]
    assert machine.status[:2] == ("closed", "observed")


@pytest.mark.parametrize("command", ["isolated", "disabled", "observed", "closed"])
def test_a_command_is_a_new_era(command: str) -> None:
    machine = Machine(failure_threshold=1)
    before = machine.ask()
    machine.put(ManualControl(command))
    machine.tell(before, answered(503))
    assert machine.status.failures == 0
    assert machine.state.state == "closed"


@pytest.mark.parametrize("command", ["isolated", "disabled", "observed", "closed"])
def test_a_command_that_changes_nothing_is_no_change(command: str) -> None:
    machine = Machine()
    machine.put(ManualControl(command))
    count = len(machine.changes)
    machine.put(ManualControl(command))
    assert len(machine.changes) == count


def test_a_look_tells_what_is_remembered_now() -> None:
    machine = Machine(failure_threshold=9, window=10)
    machine.calls(503, 200, 503)
    assert machine.status == ("closed", "", 3, 2, 0, None, "", None)
    machine.now = 3600.0
    assert machine.status == ("closed", "", 0, 0, 0, None, "", None)


def test_a_look_at_an_open_circuit_tells_when_a_probe_may_pass() -> None:
    machine = half_open()
    machine.now = 4.0
    assert machine.status == ("open", "", 0, 0, 0, 6.0, "a failure", 4.0)
    machine.now = 99.0
    assert machine.status.retry_after == 0


# The error ------------------------------------------------------------------------------------------------------------


def test_the_error_tells_what_when_and_where() -> None:
    run = Run(CircuitBreaker(failure_threshold=1))
    run.call(DOWN)
    run.clock.advance(18)
    error = run.call().error
    assert isinstance(error, CircuitOpenError)
    assert isinstance(error, requests.ConnectionError)
    assert (error.retry_after, error.circuit, error.host) == (
        42.0,
        "circuit https://api.example.com",
        "api.example.com",
    )
    assert str(error) == (
        "GET api.example.com: Circuit breaker is OPEN, circuit https://api.example.com: a failure, open for "
        "18 s; not sent, call again after 42 s"
    )


def test_the_error_pickles() -> None:
    run = Run(CircuitBreaker(failure_threshold=1))
    run.call(DOWN)
    error = run.call().error
    copied = pickle.loads(pickle.dumps(error))
    assert (str(copied), copied.retry_after, copied.circuit) == (str(error), error.retry_after, error.circuit)


def test_the_error_says_the_same_while_a_probe_is_under_way_and_by_hand() -> None:
    run = Run(CircuitBreaker(failure_threshold=1))
    run.call(DOWN)
    run.clock.advance(60)
    probe = run.call(stream=True)
    waiting = run.call().error
    probe.close()
    run.store.decide([(run.policies[0], "circuit https://api.example.com", ManualControl("isolated"))])
    isolated = run.call().error
    assert "Circuit breaker is OPEN" in str(waiting)
    assert "Circuit breaker is OPEN" in str(isolated)
    assert (waiting.retry_after, isolated.retry_after) == (30.0, None)
    assert run.sent == 0


def test_the_error_shows_no_query_and_no_password() -> None:
    run = Run(CircuitBreaker(failure_threshold=1))
    call = Call("GET", "https://user:s3cret@api.example.com/x?token=s3cret")
    run.call(DOWN, call=call)
    error = run.call(call=call).error
    assert "s3cret" not in repr(vars(error)) + str(error)


# Calls ----------------------------------------------------------------------------------------------------------------


def test_refused_calls_send_nothing() -> None:
    run = Run(CircuitBreaker(failure_threshold=3))
    for _ in range(3):
        assert run.call(DOWN).status == 503
    for _ in range(10):
        assert run.call().failure is NOT_SENT
        assert run.sent == 0


def test_retries_outside_of_it_ask_each_time_and_count_once() -> None:
    run = Run(ExponentialBackoff(max_attempts=4, budget=None), CircuitBreaker(failure_threshold=2))
    assert run.call(DOWN).status == 503
    assert (run.sent, run.circuit.recent) == (4, 1)
    run.call(DOWN)
    assert run.circuit.state == "open"
    assert run.sent == 1  # the repeat was refused


def test_retries_inside_of_it_count_once_as_well() -> None:
    run = Run(CircuitBreaker(failure_threshold=2), ExponentialBackoff(max_attempts=4, budget=None))
    run.call(DOWN)
    assert (run.sent, run.circuit.recent) == (4, 1)


def test_retries_inside_of_it_that_raise_for_a_status_count_too() -> None:
    retry = ExponentialBackoff(max_attempts=2, budget=None, raise_on_status=True)
    run = Run(CircuitBreaker(failure_threshold=1), retry)
    run.call(DOWN)
    assert run.circuit.state == "open"


def test_a_deadline_that_a_retry_after_would_overrun_counts_as_the_answer_that_it_is() -> None:
    run = Run(Deadline(5), CircuitBreaker(failure_threshold=1), ExponentialBackoff())
    run.call(ScriptedReply(503, {"retry-after": "30"}))
    assert run.circuit.state == "open"


def test_a_deadline_that_the_host_let_pass_counts() -> None:
    run = Run(Deadline(5), CircuitBreaker(failure_threshold=1))
    run.call(ScriptedFailure(EXPIRED, 5))
    assert run.circuit.state == "open"


def test_a_call_that_opens_it_tells_so_in_its_report() -> None:
    run = Run(CircuitBreaker(failure_threshold=1))
    run.call(DOWN)
    assert str(run.entries[-1]) == "circuit https://api.example.com: closed → open (a failure)"


@pytest.mark.parametrize("name", [URL, "https://other.example.com/"])
def test_a_recovery_from_beginning_to_end(name: str) -> None:
    run = Run(CircuitBreaker(failure_threshold=2, recovery_timeout=10))
    call = Call("GET", name)
    story = []
    for turn in [DOWN, DOWN, DOWN, ScriptedReply(200)] * 3:
        outcome = run.call(turn, call=call)
        story.append(outcome.status if outcome.error is None else "refused")
        run.clock.advance(5)
    # 503 503 | open until 15 | probe at 15 does well | 503 503 | open ... | probe at 35 does well | 503 503
    assert story == [503, 503, "refused", 200, 503, 503, "refused", 200, 503, 503, "refused", 200]


# Against a model ------------------------------------------------------------------------------------------------------


class Under(NamedTuple):
    """A call under way, as the model knows it and as the circuit does."""

    permit: Any
    era: int
    probe: int
    began: float
    attempt: int


RESULTS: dict[str, tuple[int, Failure | None, str]] = {
    "200": (200, None, "success"),
    "302": (302, None, "success"),
    "404": (404, None, "reachable"),
    "429": (429, None, "reachable"),
    "503": (503, None, "failure"),
    "read timeout": (0, READ_TIMEOUT, "failure"),
    "no connection": (0, CONNECT, "failure"),
    "bad certificate": (0, UNCLASSIFIED, "nothing"),
    "barred": (0, NOT_SENT, "nothing"),
    "deadline": (0, EXPIRED, "deadline"),
}
PATIENCE = 6.0  # of calls that have a deadline


class Model:
    """What a circuit does, in the plainest words."""

    def __init__(self, policy: CircuitBreaker) -> None:
        self.policy = policy
        self.era = self.issued = 0
        self.changes: list[tuple[str, str]] = []
        self.begin("closed", "")

    def begin(self, state: str, hand: str) -> None:
        self.era += 1
        self.state, self.hand = state, hand
        self.history: list[tuple[bool, bool, float]] = []
        self.opened = 0
        self.until: tuple[float, float] | float = 0.0
        self.probes: dict[int, float] = {}
        self.succeeded = 0

    def ask(self, now: float) -> int | None:
        """Return the number of the probe, 0 for a call that just passes, None for one that is refused."""
        if self.hand == "isolated":
            return None
        if self.hand == "disabled" or self.state == "closed":
            return 0
        refused = 0 if self.hand == "observed" else None
        if self.state == "open":
            if now < self.until:
                return refused
            self.change("half-open")
            self.era += 1
            self.state, self.probes, self.succeeded = "half-open", {}, 0
        alive = {number: ends for number, ends in self.probes.items() if ends > now}
        if len(alive) + self.succeeded >= self.policy.half_open_calls:
            return refused
        self.issued += 1
        self.probes = {**alive, self.issued: now + self.policy.probe_timeout}
        return self.issued

    def end(self, under: Under, result: str, retry_after: float, now: float) -> None:
        seconds = now - under.began
        if result == "deadline":
            result = "failure" if seconds >= PATIENCE / 2 else "nothing"
        if under.era != self.era or self.hand in ("isolated", "disabled"):
            return
        slow = self.policy.slow_call is not None and seconds >= self.policy.slow_call
        if self.state == "closed" and result in ("success", "failure"):
            bad = result == "failure" or (slow and self.policy.slow_call_rate is None)
            if not (bad and under.attempt > 1 and self.policy.counts == "calls"):
                self.history.append((bad, slow, now))
                if self.too_many(now):
                    self.open(retry_after if result == "failure" else 0.0, now)
        elif self.state == "half-open" and under.probe in self.probes:
            del self.probes[under.probe]
            if result == "failure" or (slow and result != "nothing"):
                self.open(retry_after if result == "failure" else 0.0, now)
            elif result != "nothing":
                self.succeeded += 1
                if self.succeeded == self.policy.half_open_calls:
                    self.change("closed")
                    self.begin("closed", self.hand)

    def remembered(self, now: float) -> list[tuple[bool, bool, float]]:
        policy, history = self.policy, self.history
        if policy.window_calls is not None:
            return history[-policy.window_calls :]
        if policy.window is not None:
            tenth = policy.window / 10
            return [call for call in history if now // tenth - call[2] // tenth < 10]
        row = 0
        while row < len(history) and history[-row - 1][0]:
            row += 1
        return [(bad, False, at) for bad, _, at in history[len(history) - row :]]

    def tally(self, now: float) -> tuple[int, int, int]:
        calls = self.remembered(now)
        return len(calls), sum(bad for bad, _, _ in calls), sum(slow for _, slow, _ in calls)

    def too_many(self, now: float) -> bool:
        policy, (calls, failures, slow) = self.policy, self.tally(now)
        enough = calls >= policy.minimum_throughput
        if policy.failure_rate is None:
            too_many = failures >= policy.failure_threshold
        else:
            too_many = enough and failures >= policy.failure_rate * calls
        return too_many or (policy.slow_call_rate is not None and enough and slow >= policy.slow_call_rate * calls)

    def open(self, retry_after: float, now: float) -> None:
        self.change("open")
        opened = self.opened
        self.begin("open", self.hand)
        self.opened = opened + 1
        first = self.policy.recovery_timeout
        grown = min(first * self.policy.multiplier**opened, 10 * first)
        least = max(first, min(retry_after, 10 * first))
        # How much of the growth is left to chance is the circuit's own affair.
        self.until = (now + max(least, (grown + first) / 2), now + max(least, grown))

    def change(self, after: str) -> None:
        self.changes.append((self.state, after))

    def command(self, command: str) -> None:
        before = self.hand or self.state
        if before != command:
            self.changes.append((before, command))
        self.begin("closed", "" if command == "closed" else command)


class Circuits(RuleBasedStateMachine):
    """Compares a circuit with its model, whatever happens in whatever order."""

    windows: dict[str, Any] = {}
    under_way = Bundle("under_way")

    @initialize(
        half_open_calls=st.integers(1, 3),
        slow=st.booleans(),
        counts=st.sampled_from(["calls", "attempts"]),
        listen=st.sampled_from(["", "observed"]),
    )
    def begin(self, half_open_calls: int, slow: bool, counts: Any, listen: str) -> None:
        keywords = dict(self.windows)
        if slow:
            keywords["slow_call"] = 2.0
        else:
            keywords.pop("slow_call_rate", None)
        self.policy = CircuitBreaker(
            **keywords, recovery_timeout=8.0, probe_timeout=4.0, half_open_calls=half_open_calls, counts=counts
        )
        self.model = Model(self.policy)
        self.state: Any = self.policy.initial
        self.now = 1000.0
        self.changes: list[tuple[str, str]] = []
        if listen:
            self.command(listen)

    def put(self, event: Any) -> Any:
        after, verdict = self.policy.transition(self.state, event, self.now)
        hash(after)  # plain values all the way down
        if type(verdict) is Refused:
            return verdict
        self.state = after
        if type(verdict) is Changed:
            self.changes.append((verdict.before, verdict.after))
            return verdict.verdict
        return verdict

    @rule(target=under_way, attempt=st.sampled_from([1, 1, 1, 2, 3]))
    def ask(self, attempt: int) -> Any:
        verdict, expected = self.put(ASK), self.model.ask(self.now)
        if expected is None:
            assert type(verdict) is Refused
            assert verdict.retry_after is None or verdict.retry_after > 0
            return None
        assert verdict.probe == expected
        return Under(verdict, self.model.era, expected, self.now, attempt)

    @rule(
        under=consumes(under_way),
        ended=st.sampled_from(sorted(RESULTS)),
        retry_after=st.sampled_from([0, 0, 5, 9, 999]),
    )
    def end(self, under: Under | None, ended: str, retry_after: int) -> None:
        if under is None:
            return
        status, failure, result = RESULTS[ended]
        headers = {"retry-after": str(retry_after)} if retry_after and status else {}
        error = OSError() if failure else None
        outcome = Outcome(None, status, headers, error, failure, under.began, self.now, 1.7e9)
        deadline = under.began + PATIENCE if failure is EXPIRED else None
        call = GET._replace(started=under.began, deadline=deadline, attempt=under.attempt)
        self.put(self.policy.result_event(call, under.permit, outcome))
        self.model.end(under, result, float(retry_after) if headers else 0.0, self.now)
        self.learn_until()

    @rule(count=st.integers(1, 4))
    def call_and_fail(self, count: int) -> None:
        """Make calls that fail, one after the other, or a circuit would seldom open."""
        for _ in range(count):
            self.end(self.ask(1), "503", 0)

    @rule(under=consumes(under_way))
    def break_off(self, under: Under | None) -> None:
        if under is not None:
            self.put(self.policy.release_event(under.permit))
            self.model.end(under, "nothing", 0.0, self.now)

    @rule(under=consumes(under_way))
    def never_hear_of_it_again(self, under: Under | None) -> None:
        """Drop it: its thread was killed with its process."""

    @rule(seconds=st.sampled_from([0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 100.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.state.state == "open" and self.state.open_until > self.now)
    @rule()
    def wait_for_the_probe(self) -> None:
        self.now = self.state.open_until

    @rule(command=st.sampled_from(["closed", "isolated", "disabled", "observed"]), often=st.integers(0, 5))
    def take_in_hand(self, command: str, often: int) -> None:
        if often == 0:  # or nothing else would ever happen
            self.command(command)

    def command(self, command: str) -> None:
        self.put(ManualControl(command))
        self.model.command(command)

    def learn_until(self) -> None:
        if isinstance(self.model.until, tuple):
            earliest, latest = self.model.until
            assert earliest - 1e-9 <= self.state.open_until <= latest + 1e-9
            self.model.until = self.state.open_until

    @invariant()
    def it_is_as_the_model_says(self) -> None:
        if not hasattr(self, "model"):
            return
        status = self.put(LOOK)
        assert (status.state, status.hand) == (self.model.state, self.model.hand)
        assert status[2:5] == self.model.tally(self.now)
        assert self.changes == self.model.changes
        assert dict(self.state.probes) == self.model.probes

    @invariant()
    def no_more_probes_than_allowed_are_under_way(self) -> None:
        if hasattr(self, "model"):
            alive = [probe for probe, ends in self.state.probes if ends > self.now]
            assert len(alive) + self.state.succeeded <= self.policy.half_open_calls


class InARow(Circuits):
    windows = {"failure_threshold": 3}


class AmongCalls(Circuits):
    windows = {"failure_threshold": 3, "window_calls": 5}


class OfCalls(Circuits):
    windows = {"failure_rate": 0.5, "slow_call_rate": 0.75, "minimum_throughput": 4, "window_calls": 8}


class SlowCalls(Circuits):
    windows = {"failure_threshold": 4, "slow_call_rate": 0.5, "minimum_throughput": 3, "window_calls": 8}


class InAWhile(Circuits):
    windows = {"failure_threshold": 3, "window": 40.0}


class OfAWhile(Circuits):
    windows = {"failure_rate": 0.5, "minimum_throughput": 3, "window": 40.0}


STEPS = settings(max_examples=60, stateful_step_count=60)
TestInARow = InARow.TestCase
TestAmongCalls = AmongCalls.TestCase
TestOfCalls = OfCalls.TestCase
TestSlowCalls = SlowCalls.TestCase
TestInAWhile = InAWhile.TestCase
TestOfAWhile = OfAWhile.TestCase
for case in (TestInARow, TestAmongCalls, TestOfCalls, TestSlowCalls, TestInAWhile, TestOfAWhile):
    case.settings = STEPS
del case  # or it would be collected as well
