"""The percentile of recent latencies."""

from __future__ import annotations

import math
import pickle
import random
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polvo_adapters.policies.hedge_latency import Latencies, add, recent_percentile


def learned(samples: Iterable[float], percentile: float = 0.95, every: float = 0.0, start: float = 0.0) -> Latencies:
    latencies, now = Latencies(), start
    for seconds in samples:
        now += every
        latencies = add(latencies, seconds, percentile, now)
    return latencies


@given(
    st.lists(st.floats(1e-5, 1e5), min_size=16, max_size=48).map(lambda each: each[: len(each) // 16 * 16]),
    st.sampled_from([0.5, 0.75, 0.9]),
)
def test_it_is_within_five_percent_of_the_true_one(samples: list[float], percentile: float) -> None:
    known = learned(samples, percentile).known
    assert known is not None
    ordered = sorted(samples)
    # The last sixteen weigh a little more than those before, so that the rank may be off by one.
    rank = math.ceil(percentile * len(ordered)) - 1
    low, high = ordered[max(0, rank - 1)], ordered[min(len(ordered) - 1, rank + 1)]
    assert low * 0.949 <= known <= high * 1.051


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=32, max_size=64))
def test_any_number_is_taken(samples: list[float]) -> None:
    known = learned(samples, 0.9, every=1.0).known
    assert known is not None
    assert 0 < known < 2e6


def test_a_single_value_is_found_within_five_percent_over_eleven_powers_of_ten() -> None:
    for seconds in (1e-6, 3.3e-5, 1e-3, 0.1234, 1.0, 7.7, 600.0, 1e5):
        assert learned([seconds] * 32).known == pytest.approx(seconds, rel=0.0501)


@pytest.mark.parametrize(("percentile", "needed"), [(0.5, 16), (0.9, 16), (0.95, 32), (0.99, 112)])
def test_it_is_known_as_soon_as_one_sample_lies_above(percentile: float, needed: int) -> None:
    assert learned([1.0] * (needed - 1), percentile).known is None
    assert learned([1.0] * needed, percentile).known is not None


def test_a_slow_one_in_a_hundred_does_not_move_the_percentile() -> None:
    draw = random.Random(1)
    samples = [draw.uniform(0.9, 1.1) * (100 if draw.random() < 0.01 else 1) for _ in range(5000)]
    assert learned(samples).known == pytest.approx(1.1, rel=0.06)


def test_it_follows_a_server_that_becomes_slower_within_a_hundred_calls() -> None:
    latencies = learned([1.0] * 3000)
    for _ in range(100):
        latencies = add(latencies, 3.0, 0.95, 0.0)
    assert latencies.known == pytest.approx(3.0, rel=0.0501)


def test_it_follows_a_server_that_becomes_faster_within_few_thousand_calls() -> None:
    latencies = learned([3.0] * 3000)
    for _ in range(3200):
        latencies = add(latencies, 1.0, 0.95, 0.0)
    assert latencies.known == pytest.approx(1.0, rel=0.0501)


def test_it_follows_with_time_where_calls_are_few() -> None:
    latencies, now = learned([3.0] * 400, every=5.0), 2000.0
    while now < 3000:
        now += 5.0
        latencies = add(latencies, 1.0, 0.95, now)
    assert latencies.known == pytest.approx(1.0, rel=0.0501)


def test_after_five_minutes_of_silence_it_is_not_believed_until_sixteen_more_have_come() -> None:
    latencies = learned([3.0] * 1008)
    assert recent_percentile(latencies, 300.0) is not None
    assert recent_percentile(latencies, 301.0) is None
    for _ in range(15):
        latencies = add(latencies, 1.0, 0.95, 400.0)
    assert recent_percentile(latencies, 400.0) is None
    assert recent_percentile(add(latencies, 1.0, 0.95, 400.0), 400.0) is not None


def test_a_clock_that_goes_back_does_no_harm() -> None:
    latencies = learned([1.0] * 32, start=1000.0)
    for _ in range(16):
        latencies = add(latencies, 1.0, 0.95, 0.0)
    assert sum(weight for _, weight in latencies.weights) < 48


def test_the_state_is_small_plain_and_picklable() -> None:
    draw = random.Random(1)
    latencies = learned(draw.lognormvariate(0, 2) for _ in range(20_000))
    assert pickle.loads(pickle.dumps(latencies)) == latencies
    assert len(latencies.weights) < 150
    assert sum(weight for _, weight in latencies.weights) == pytest.approx(1000, rel=0.01)


@pytest.mark.parametrize("cut", [1.0, 1.25, 2.0])
def test_what_is_only_known_to_be_longer_than_the_percentile_does_not_move_it(cut: float) -> None:
    """Half of what is above a cut is told as the cut: the percentile stays where it is."""
    draw = random.Random(3)
    samples = [draw.lognormvariate(0, 0.5) for _ in range(4000)]
    true = sorted(samples)[int(0.95 * len(samples))]
    told = [min(seconds, cut * true) if draw.random() < 0.5 else seconds for seconds in samples]
    assert learned(told).known == pytest.approx(learned(samples).known, rel=0.06)
