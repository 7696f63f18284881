"""What a circuit breaker remembers, against lists that remember everything."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polvo_adapters.policies.breaker.windows import Consecutive, LastCalls, LastSeconds, Tally


class Seen(NamedTuple):
    failed: bool
    slow: bool
    at: float


CALLS = st.lists(st.tuples(st.booleans(), st.booleans(), st.floats(0, 30)), max_size=60)


def seen(calls: list[tuple[bool, bool, float]]) -> list[Seen]:
    """Put the pauses between calls one after the other."""
    now, story = 0.0, []
    for failed, slow, pause in calls:
        now += pause
        story.append(Seen(failed, slow, now))
    return story


def fed(window: Any, story: list[Seen]) -> Any:
    state = window.initial
    for call in story:
        state = window.add(state, call.failed, call.slow, call.at)
    return state


def counted(story: list[Seen]) -> Tally:
    return Tally(len(story), sum(call.failed for call in story), sum(call.slow for call in story))


@given(CALLS)
def test_failures_in_a_row_are_those_since_the_last_success(calls: list[Any]) -> None:
    story = seen(calls)
    row = 0
    for call in reversed(story):
        if not call.failed:
            break
        row += 1
    assert Consecutive().tally(fed(Consecutive(), story), 0.0) == Tally(row, row, 0)


@given(CALLS, st.integers(1, 20))
def test_the_last_calls_are_the_last_calls(calls: list[Any], size: int) -> None:
    story = seen(calls)
    assert LastCalls(size).tally(fed(LastCalls(size), story), 0.0) == counted(story[-size:])


@given(CALLS, st.floats(0.5, 100), st.floats(0, 200))
def test_the_last_seconds_hold_nine_tenths_of_them_and_no_more_than_all(
    calls: list[Any], seconds: float, pause: float
) -> None:
    story = seen(calls)
    now = (story[-1].at if story else 0.0) + pause
    tally = LastSeconds(seconds).tally(fed(LastSeconds(seconds), story), now)
    # The borders of the tenths are sums of floats; what lies on one may count or not.
    grain = 1e-9 * (now + seconds)
    surely = counted([call for call in story if call.at > now - 0.9 * seconds + grain])
    at_most = counted([call for call in story if call.at >= now - seconds - grain])
    assert all(low <= count <= high for low, count, high in zip(surely, tally, at_most, strict=True))


def test_a_window_of_seconds_forgets_while_nobody_calls() -> None:
    window = LastSeconds(10)
    state = window.add(window.initial, True, True, 100.0)
    assert window.tally(state, 108.9) == Tally(1, 1, 1)
    assert window.tally(state, 110.0) == Tally(0, 0, 0)


def test_a_window_of_seconds_does_not_mind_a_clock_that_steps_back() -> None:
    window = LastSeconds(10)
    state = window.add(window.add(window.initial, True, False, 100.0), True, False, 50.0)
    assert window.tally(state, 50.0) == window.tally(state, 100.0) == Tally(2, 2, 0)


def test_a_window_of_seconds_stays_small_however_long_it_rested() -> None:
    window = LastSeconds(10)
    state = window.initial
    for hour in range(5):
        state = window.add(state, True, False, hour * 3600.0)
    assert len(state[1]) <= 10


@pytest.mark.parametrize("window", [Consecutive(), LastCalls(5), LastSeconds(5.0)])
def test_an_empty_window_holds_nothing(window: Any) -> None:
    assert window.tally(window.initial, 1e6) == Tally(0, 0, 0)


@pytest.mark.parametrize("window", [Consecutive(), LastCalls(1), LastCalls(20)])
@given(CALLS)
def test_a_settled_window_stays_as_it_is_while_all_goes_well(
    window: Any, calls: list[tuple[bool, bool, float]]
) -> None:
    """It is where calls that do well lead to from everywhere, so that a breaker need not count them any more."""
    assert window.add(window.settled, False, False, 1.0) == window.settled
    state = window.initial
    for failed, slow, at in seen(calls):
        state = window.add(state, failed, slow, at)
    for number in range(20):
        state = window.add(state, False, False, 1e3 + number)
    assert state == window.settled


def test_a_window_of_seconds_is_never_settled() -> None:
    assert LastSeconds(5.0).settled is None
