"""Waits between two bounds: every wait of every kind of answer lies between them."""

from __future__ import annotations

import contextlib
import itertools
import math

import pytest

from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Send, Sleep
from polvo_adapters.core.outcomes import Outcome
from polvo_adapters.policies.bounded_backoff import BoundedBackoff

CALL = Call("GET", "https://api.example.com/", repeated=True)


def bounds(policy: BoundedBackoff, retry_after: str | None) -> list[tuple[float, float]]:
    """Return the bounds of the waits of a call that always fails."""
    headers = {} if retry_after is None else {"retry-after": retry_after}
    outcome, found = Outcome(status=503, headers=headers, judged=None), []

    def proceed(call: Call):  # type: ignore[no-untyped-def]
        return (yield Send(call))

    flow = policy.flow(CALL, proceed)
    effect = next(flow)
    with contextlib.suppress(StopIteration):
        while True:
            if isinstance(effect, Sleep):
                found.append((effect.low, effect.high))
            effect = flow.send(effect.low if isinstance(effect, Sleep) else outcome)
    return found


SHORTEST, LONGEST, MULTIPLIERS = (0.0, 0.1, 1.0, 5.0), (0.0, 1.0, 60.0, math.inf), (1.0, 2.0, 3.0)
TABLE = [
    row for row in itertools.product(SHORTEST, LONGEST, MULTIPLIERS, ("full", "none")) if row[0] <= row[1] < math.inf
]


@pytest.mark.parametrize("retry_after", [None, "0", "0.05", "1", "59", "60"])
def test_every_wait_lies_between_the_bounds(retry_after: str | None) -> None:
    for base, cap, multiplier, jitter in TABLE:
        policy = BoundedBackoff(
            max_attempts=12,
            base=base,
            cap=cap,
            multiplier=multiplier,
            jitter=jitter,  # type: ignore[arg-type]
            budget=None,
            retry_after_cap=cap,
        )
        waits = bounds(policy, retry_after)
        asked = float(retry_after or 0)
        assert len(waits) == (11 if asked <= cap else 0)
        assert all(max(base, asked) <= low <= high <= cap for low, high in waits), policy
        if jitter == "none":
            assert all(low == high for low, high in waits)
        if retry_after is None and jitter == "none":
            assert [low for low, _ in waits] == [min(cap, base * multiplier**number) for number in range(11)]


def test_a_wait_that_outgrows_every_number_is_the_longest() -> None:
    policy = BoundedBackoff(max_attempts=2000, base=1, cap=60, multiplier=10, budget=None)
    assert bounds(policy, None)[-1] == (1, 60)


def test_bounds_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(ValueError, match="base=2, cap=1"):
        BoundedBackoff(base=2, cap=1)
    with pytest.raises(ValueError, match="jitter"):
        BoundedBackoff(jitter="equal")
