"""The retry budget as a state machine."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polvo_adapters.policies.budget import Deposit, RetryBudget, Spend

EVENTS = st.lists(st.tuples(st.floats(0, 5), st.one_of(st.just(Deposit()), st.builds(Spend, st.floats(0.1, 3)))))


def granted(budget: RetryBudget, now: float = 0.0, state: Any = None, cost: float = 1.0) -> int:
    state, count = state or budget.initial, 0
    while count < 10_000:
        state, verdict = budget.transition(state, Spend(cost), now)
        if not verdict:
            break
        count += 1
    return count


def test_the_floor_is_there_from_the_start() -> None:
    assert granted(RetryBudget(floor=2, window=10)) == 20


def test_traffic_buys_its_share() -> None:
    budget = RetryBudget(ratio=0.1, floor=0)
    state: Any = budget.initial
    for _ in range(1000):
        state, _ = budget.transition(state, Deposit(), 0.0)
    assert granted(budget, state=state) == 100


def test_traffic_of_long_ago_buys_nothing() -> None:
    budget = RetryBudget(ratio=0.1, floor=0, window=10)
    state: Any = budget.initial
    for _ in range(1000):
        state, _ = budget.transition(state, Deposit(), 0.0)
    assert granted(budget, 10.0, state) == 36  # 1000 / e * 0.1
    assert granted(budget, 1000.0, state) == 0


def test_costs_count() -> None:
    assert granted(RetryBudget(floor=2, window=10), cost=2.0) == 10


def test_what_was_spent_is_forgotten() -> None:
    budget = RetryBudget(floor=1, window=10)
    state: Any = budget.initial
    for _ in range(10):
        state, _ = budget.transition(state, Spend(1.0), 0.0)
    assert granted(budget, 0.0, state) == 0
    assert granted(budget, 1000.0, state) == 10


def test_refusing_changes_nothing() -> None:
    budget = RetryBudget(ratio=0, floor=0)
    state = (5.0, 0.0, 0.0)
    assert budget.transition(state, Spend(1.0), 3.0) == (state, False)


def test_a_clock_that_steps_back_does_no_harm() -> None:
    budget = RetryBudget()
    state, _ = budget.transition(budget.initial, Deposit(), 100.0)
    assert budget.transition(state, Deposit(), 50.0)[0][0] == 2.0


@given(EVENTS)
def test_spending_never_passes_share_and_floor(events: list[tuple[float, Any]]) -> None:
    budget = RetryBudget(ratio=0.2, floor=1.0, window=10.0)
    state: Any = budget.initial
    now = 0.0
    for pause, event in events:
        now += pause
        state, verdict = budget.transition(state, event, now)
        requests, spent, _ = state
        if verdict:
            assert spent <= budget.ratio * requests + budget.floor * budget.window + 1e-9 or event == Deposit()
        assert requests >= 0
        assert spent >= 0


@pytest.mark.parametrize("field", ["ratio", "floor", "window", "throttle_cost", "timeout_cost"])
def test_wrong_values_name_field_and_value(field: str) -> None:
    with pytest.raises(ValueError, match=rf"^RetryBudget\({field}=-1\): {field} must be a number"):
        RetryBudget(**{field: -1})
