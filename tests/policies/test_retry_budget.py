"""The retry budget as a state machine."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polvo_adapters.core.calls import Call
from polvo_adapters.policies.retry_budget import (
    Deposit,
    Refusal,
    RetryBudget,
    RetryBudgetState,
    Spend,
    make_deposit,
)

EVENTS = st.lists(st.tuples(st.floats(0, 5), st.one_of(st.just(Deposit()), st.builds(Spend, st.floats(0.1, 3)))))
EMPTY = RetryBudgetState(0.0, 0.0, 0.0, -1e6)


def granted(budget: RetryBudget, state: RetryBudgetState, now: float = 0.0, cost: float = 1.0) -> int:
    """Count the retries that are granted at one moment."""
    count = 0
    while count < 10_000:
        state, verdict = budget.transition(state, Spend(cost), now)
        if not verdict:
            break
        count += 1
    return count


def served(budget: RetryBudget, calls: int, state: RetryBudgetState = EMPTY, now: float = 0.0) -> RetryBudgetState:
    for _ in range(calls):
        state, _ = budget.transition(state, Deposit(), now)
    return state


def test_a_new_process_is_trusted_for_the_length_of_the_window() -> None:
    budget = RetryBudget(reserve=2, window=10)
    state, _ = budget.transition(budget.initial, Spend(0.0), 1e6)
    assert [granted(budget, state, 1e6 + passed) for passed in (0, 5, 9.5, 10, 1000)] == [102, 52, 7, 2, 2]


def test_calls_that_were_served_buy_their_share() -> None:
    budget = RetryBudget(ratio=0.1, reserve=0)
    assert granted(budget, served(budget, 1001)) == 100


def test_calls_of_long_ago_buy_nothing() -> None:
    budget = RetryBudget(ratio=0.1, reserve=0, window=10)
    state = served(budget, 1000)
    assert granted(budget, state, 10.0) == 36  # 1000 / e * 0.1
    assert granted(budget, state, 1000.0) == 0


def test_what_was_spent_is_gone_until_calls_are_served_again() -> None:
    budget = RetryBudget(ratio=0.1, reserve=0, window=1e9)
    state = served(budget, 1001)
    for _ in range(100):
        state, _ = budget.transition(state, Spend(1.0), 0.0)
    assert granted(budget, state) == 0
    assert granted(budget, served(budget, 50, state)) == 5


def test_the_reserve_is_back_when_nothing_was_wanted_for_twice_the_window() -> None:
    budget = RetryBudget(ratio=0.0, reserve=4, window=10)
    assert [granted(budget, EMPTY, now) for now in (0.0, 19.9, 20.0, 1e6)] == [0, 0, 4, 4]


def test_it_is_not_back_as_long_as_retries_are_wanted() -> None:
    budget = RetryBudget(ratio=0.0, reserve=4, window=10)
    state = EMPTY
    for now in (18.0, 36.0, 54.0):
        assert granted(budget, state, now) == 0
        state, _ = budget.transition(state, Refusal(), now)


def test_costs_count() -> None:
    budget = RetryBudget(ratio=0, reserve=20)
    full = EMPTY._replace(tokens=20.0)
    assert [granted(budget, full, cost=cost) for cost in (0.5, 1.0, 2.0)] == [40, 20, 10]


def test_a_retry_that_costs_more_than_there_is_goes_into_debt() -> None:
    budget = RetryBudget(ratio=0, reserve=1)
    state, verdict = budget.transition(EMPTY._replace(tokens=1.0), Spend(2.0), 0.0)
    assert verdict
    assert state.tokens == -1.0
    assert [granted(budget, state, now) for now in (19.0, 20.0)] == [0, 1]


def test_refusing_changes_nothing() -> None:
    budget = RetryBudget(ratio=0, reserve=0)
    state = RetryBudgetState(0.0, 5.0, 0.0, -10.0)
    assert budget.transition(state, Spend(1.0), 3.0) == (state, False)


@given(st.integers(1, 16), st.floats(0, 1), st.floats(0, 30), st.floats(-3, 50))
def test_a_deposit_of_several_is_worth_no_more_than_each_in_its_time(
    count: int, seconds: float, later: float, tokens: float
) -> None:
    budget = RetryBudget()
    state = RetryBudgetState(tokens, 20.0, 0.0, -5.0)
    each = state
    for number in range(count):
        each, _ = budget.transition(each, Deposit(), seconds * number / count)
    together, _ = budget.transition(state, Deposit().several(count, seconds + later), seconds + later)
    each, _ = budget.transition(each, Refusal(), seconds + later)
    assert together.served == pytest.approx(each.served, rel=0.1)
    assert together.served <= each.served + 1e-9
    assert together.tokens <= max(each.tokens, budget.reserve + budget.ratio * count) + 1e-9


def test_a_clock_that_steps_back_does_no_harm() -> None:
    budget = RetryBudget()
    state = served(budget, 1, now=100.0)
    assert budget.transition(state, Deposit(), 50.0)[0].served == 2.0


@given(EVENTS)
def test_never_more_is_spent_than_was_there_and_was_earned(events: list[tuple[float, Deposit | Spend]]) -> None:
    budget = RetryBudget(ratio=0.2, reserve=1.0, trust=5.0, window=10.0)
    state = budget.initial
    now, spent, earned, last = 0.0, 0.0, 6.0, 0.0
    for pause, event in events:
        now += pause
        state, verdict = budget.transition(state, event, now)
        earned += 0.2 * (event == Deposit())
        if isinstance(event, Spend) and verdict:
            spent, last = spent + event.cost, event.cost
        trust = 5.0 * max(0.0, 1 - (now - events[0][0]) / 10)
        assert state.tokens <= budget.reserve + budget.ratio * state.served + trust + 1e-9
        assert spent <= earned + now / 20 * 4 + max(0.0, last - 1) + 1e-6


@pytest.mark.parametrize("field", ["ratio", "reserve", "trust", "window", "throttle_cost", "timeout_cost"])
def test_wrong_values_name_field_and_value(field: str) -> None:
    with pytest.raises(ValueError, match=rf"^RetryBudget\({field}=-1\): {field} must be a number"):
        RetryBudget(**{field: -1})


def test_the_effects_that_a_budget_has_made_belong_to_it_alone() -> None:
    """They are found again for each call, and neither pickled, copied nor compared; there is a bound to them."""
    budget, call = RetryBudget(), Call("GET", "https://api.example.com/x")
    effect = make_deposit(budget, call)
    assert make_deposit(budget, call._replace(url="https://api.example.com/y")) is effect
    assert make_deposit(budget, call._replace(url="https://other.test/y")) != effect
    for other in (pickle.loads(pickle.dumps(budget)), copy.copy(budget), replace(budget)):
        assert other == budget == RetryBudget()
        assert make_deposit(other, call).events[0].machine is other
    for number in range(5000):
        make_deposit(budget, call._replace(url=f"https://{number}.test/"))
    assert len(vars(budget)["_deposits"]) <= 1024
