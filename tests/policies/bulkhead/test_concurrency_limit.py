"""The limit of an adaptive bulkhead: what it does with samples, and how it gets along with a server."""

from __future__ import annotations

import math
import pickle
import random
from collections.abc import Callable
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polvo_adapters.policies.bulkhead import concurrency_limit
from polvo_adapters.policies.bulkhead.concurrency_limit import Concurrency, ConcurrencyState, Sample

FEWEST = 20
STRATEGIES: tuple[Literal["gradient", "aimd"], ...] = ("gradient", "aimd")

ANY_SAMPLE = st.builds(
    Sample,
    st.floats() | st.sampled_from([0.0, -1.0, math.inf, -math.inf, math.nan, 1e308, 5e-324]),
    st.integers(-(10**12), 10**12),
    st.booleans(),
)
LIKELY_SAMPLE = st.builds(Sample, st.floats(0.001, 10), st.integers(1, 40), st.sampled_from([False] * 9 + [True]))


class Pool:
    """A server with workers that take turns, asked by clients that always want more, in steps of one request.

    Requests are served in order; each worker takes `pace` times a number that `draw` draws.
    """

    def __init__(self, machine: Concurrency, workers: int, draw: Callable[[], float] = lambda: 1.0) -> None:
        self.machine, self.state = machine, machine.initial
        self.workers, self.draw, self.pace = workers, draw, 1.0
        self.wanting = 10**9
        self.now = 0.0
        self.limits: list[float] = []
        self._free = [0.0] * workers
        self._under_way: list[tuple[float, float, int]] = []

    def go_on(self, requests: int) -> list[float]:
        """Serve so many requests, and return how long they took."""
        return [self._step() for _ in range(requests)]

    def resize(self, workers: int) -> None:
        free = sorted(self._free)
        self._free = free[:workers] + [self.now] * (workers - len(free))
        self.workers = workers

    def _step(self) -> float:
        while len(self._under_way) < min(int(self.state.limit), self.wanting):
            worker = self._free.index(min(self._free))
            self._free[worker] = max(self.now, self._free[worker]) + self.pace * self.draw()
            self._under_way.append((self._free[worker], self.now, len(self._under_way) + 1))
        over = min(self._under_way)
        self._under_way.remove(over)
        self.now, sent, inflight = over
        self.state = self.machine.learn(self.state, Sample(self.now - sent, inflight, dropped=False), self.now)
        self.limits.append(self.state.limit)
        return self.now - sent


def fed(
    machine: Concurrency,
    state: ConcurrencyState,
    count: int,
    seconds: float = 0.1,
    *,
    now: float,
    used: int | None = None,
) -> tuple[ConcurrencyState, float]:
    """Let so many requests end, one after the other, far enough apart for each to count."""
    for _ in range(count):
        now += seconds
        state = machine.learn(state, Sample(seconds, int(state.limit) if used is None else used, False), now)
    return state, now


def median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


@pytest.fixture(params=STRATEGIES)
def strategy(request: pytest.FixtureRequest) -> Any:
    return request.param


@given(st.sampled_from(STRATEGIES), st.lists(st.tuples(ANY_SAMPLE, st.floats())), st.integers(1, 20))
def test_whatever_comes_the_limit_stays_within_its_bounds(
    strategy: Literal["gradient", "aimd"], samples: list[tuple[Sample, float]], least: int
) -> None:
    machine = Concurrency(initial_limit=10, min_limit=least, max_limit=least + 5, strategy=strategy)
    state = machine.initial
    for sample, now in samples:
        state = machine.learn(state, sample, now)
        assert least <= state.limit <= least + 5
        assert int(state.limit) >= 1


@given(
    st.sampled_from(STRATEGIES),
    st.lists(st.tuples(ANY_SAMPLE | LIKELY_SAMPLE, st.floats(0, 10)), min_size=1, max_size=8),
    st.integers(1, 60),
)
def test_no_measurement_stays_for_ever(
    strategy: Literal["gradient", "aimd"], samples: list[tuple[Sample, float]], times: int
) -> None:
    """However odd the past, no number in the state becomes one that nothing can be made of."""
    machine = Concurrency(strategy=strategy)
    state, now = machine.initial, 0.0
    for _ in range(times):
        for sample, pause in samples:
            now += pause
            state = machine.learn(state, sample, now)
            assert all(math.isfinite(number) for number in state)
            assert state.base >= 0
            assert 0 <= state.samples < FEWEST + machine.max_limit


@given(st.sampled_from(STRATEGIES), st.lists(st.tuples(LIKELY_SAMPLE, st.floats(0, 1))))
def test_it_never_grows_when_it_is_not_used(
    strategy: Literal["gradient", "aimd"], samples: list[tuple[Sample, float]]
) -> None:
    machine = Concurrency(initial_limit=10, strategy=strategy)
    state, now, most = machine.initial, 0.0, 10.0
    for sample, pause in samples * 5:
        now += pause
        state = machine.learn(state, sample._replace(inflight=min(sample.inflight, int(state.limit) - 1)), now)
        assert state.limit <= most


def test_it_does_not_grow_when_one_slot_is_always_free(strategy: Any) -> None:
    machine = Concurrency(initial_limit=10, strategy=strategy)
    state, now = machine.initial, 0.0
    for _ in range(1000):
        now += 0.1
        state = machine.learn(state, Sample(0.1, int(state.limit) - 1, False), now)
        assert state.limit <= 10


@given(st.lists(st.tuples(LIKELY_SAMPLE, st.floats(0, 1))))
def test_the_state_is_plain(samples: list[tuple[Sample, float]]) -> None:
    machine, now = Concurrency(), 0.0
    state = machine.initial
    for sample, pause in samples:
        now += pause
        state = machine.learn(state, sample, now)
    assert all(type(value) in (int, float, bool) for value in state)
    assert pickle.loads(pickle.dumps(state)) == state


def test_it_begins_within_its_bounds() -> None:
    assert Concurrency(initial_limit=8, max_limit=5).initial.limit == 5
    assert Concurrency(initial_limit=8, min_limit=20).initial.limit == 20


def test_a_drop_lowers_it_by_a_tenth(strategy: Any) -> None:
    machine = Concurrency(initial_limit=100, strategy=strategy)
    assert machine.learn(machine.initial, Sample(0.1, 100, True), 1.0).limit == 90


def test_the_smallest_limit_is_lowered_by_one(strategy: Any) -> None:
    machine = Concurrency(initial_limit=2, strategy=strategy)
    state = machine.learn(machine.initial, Sample(0.1, 2, True), 1.0)
    assert int(state.limit) == 1
    assert int(machine.learn(state, Sample(0.1, 1, True), 2.0).limit) == 1


def test_drops_lower_it_once_per_round_trip(strategy: Any) -> None:
    machine = Concurrency(initial_limit=100, strategy=strategy)
    state, now = fed(machine, machine.initial, 100, 1.0, now=0.0, used=30)
    assert state.latency == pytest.approx(1.0)
    limits = []
    for _ in range(100):  # refused at once, a hundred within one round trip
        now += 0.01
        state = machine.learn(state, Sample(0.005, 100, True), now)
        limits.append(int(state.limit))
    assert limits[0] == 90
    assert set(limits) == {90}
    assert int(machine.learn(state, Sample(0.005, 90, True), now + 0.1).limit) == 81


def test_what_was_sent_before_the_limit_was_lowered_lowers_it_no_more(strategy: Any) -> None:
    machine = Concurrency(initial_limit=100, strategy=strategy)
    state = machine.learn(machine.initial, Sample(30.0, 100, True), 100.0)
    for now in (101.0, 110.0, 129.0):  # they time out one after the other, and all were sent before
        state = machine.learn(state, Sample(30.0, 100, True), now)
    assert state.limit == 90
    assert machine.learn(state, Sample(30.0, 90, True), 131.0).limit == 81


def test_a_server_that_refuses_everything_is_left_alone_and_found_again() -> None:
    machine = Concurrency()
    state, now = machine.initial, 0.0
    for _ in range(100):
        now += 0.1
        state = machine.learn(state, Sample(0.05, 1, True), now)
    assert state.limit == 1
    state, _ = fed(machine, state, 2000, now=now)
    assert state.limit > 20


def test_drops_leave_no_trace_in_latency() -> None:
    machine = Concurrency(initial_limit=10)
    state, now = fed(machine, machine.initial, 5, 1.0, now=0.0)
    state = machine.learn(state, Sample(1e-3, 5, True), now)
    state, _ = fed(machine, state, FEWEST, 1.0, now=now)
    assert state.latency == pytest.approx(1.0)


@pytest.mark.parametrize("seconds", [math.nan, math.inf, -1.0, 4000.0])
def test_what_is_no_measurement_is_none(seconds: float) -> None:
    machine = Concurrency()
    assert machine.learn(machine.initial, Sample(seconds, 3, False), 1.0) == machine.initial


def test_a_window_has_as_many_samples_as_slots_and_no_fewer_than_twenty(strategy: Any) -> None:
    for slots, wanted in ((4, FEWEST), (50, 50)):
        machine = Concurrency(initial_limit=slots, strategy=strategy)
        state, now = fed(machine, machine.initial, wanted - 1, now=0.0, used=10**9)
        assert state.samples == wanted - 1
        state, _ = fed(machine, state, 1, now=now)
        assert (state.samples, state.latency) == (0, pytest.approx(0.1))


def test_what_ends_right_after_a_change_does_not_count() -> None:
    machine = Concurrency(initial_limit=4)
    state, now = fed(machine, machine.initial, FEWEST, 1.0, now=0.0)
    assert machine.learn(state, Sample(1.0, 4, False), now + 0.99) == state
    assert machine.learn(state, Sample(1.0, 4, False), now + 1.01).samples == 1


def test_it_begins_with_a_look() -> None:
    machine = Concurrency(initial_limit=10)
    state, now = fed(machine, machine.initial, FEWEST, now=0.0)
    assert state.held == 10
    assert 5 <= state.limit < 10
    state, _ = fed(machine, state, FEWEST + 1, now=now)
    assert (state.held, state.limit) == (0, 10)


def test_a_look_that_is_faster_goes_deeper() -> None:
    machine = Concurrency(initial_limit=100)
    state, now = fed(machine, machine.initial, 100, 1.0, now=0.0)
    first = state.limit
    state, _ = fed(machine, state, 62, 0.5, now=now)
    assert state.held == pytest.approx(50)
    assert state.limit < first


def look_of(seconds: float, level: float, looks: int = 10) -> ConcurrencyState:
    """Return the state after a look at a limit of 16 that found so much latency where 0.1 was known."""
    state = ConcurrencyState(10.0, base=0.1, held=16.0, level=level, looks=looks, climbing=False)
    return fed(Concurrency(), state, FEWEST, seconds, now=0.0)[0]


def test_a_look_that_is_slower_is_believed_a_little_unless_it_is_far_slower() -> None:
    assert look_of(0.12, level=16.0).base == pytest.approx(0.102)
    assert look_of(0.5, level=16.0).base == pytest.approx(0.3)


def test_a_look_is_believed_more_as_long_as_little_is_known() -> None:
    assert look_of(0.14, level=16.0, looks=0).base == pytest.approx(0.14)
    assert look_of(0.14, level=16.0, looks=1).base == pytest.approx(0.12)


def test_at_first_it_grows_by_half_and_learns() -> None:
    state, now = fed(Concurrency(), ConcurrencyState(10.0, base=0.1, looks=4), FEWEST, 0.12, now=0.0)
    assert (state.limit, state.base, state.climbing) == (15, pytest.approx(0.104), True)
    state, _ = fed(Concurrency(), state, FEWEST + 1, 0.2, now=now)
    assert not state.climbing
    assert state.limit < 15


def test_it_grows_as_at_first_again_when_an_early_look_shows_that_it_stopped_too_soon() -> None:
    assert look_of(0.14, level=16.0, looks=1).climbing
    assert not look_of(0.11, level=16.0, looks=1).climbing
    assert not look_of(0.14, level=16.0, looks=4).climbing


def test_a_look_that_is_faster_is_believed_by_half() -> None:
    assert look_of(0.08, level=16.0).base == pytest.approx(0.09)


def test_a_limit_that_fell_for_too_low_a_base_comes_back_and_no_further() -> None:
    assert look_of(0.3, level=100.0).limit == pytest.approx(32)
    assert look_of(0.3, level=20.0).limit == pytest.approx(20)
    assert look_of(0.3, level=10.0).limit == pytest.approx(16)


def test_a_client_that_leaves_half_unused_is_spared_looks_and_keeps_its_limit() -> None:
    machine = Concurrency(initial_limit=10)
    state, now = machine.initial, 0.0
    for seconds in (0.1, 0.3, 0.05, 2.0):
        state, now = fed(machine, state, 20 * FEWEST, seconds, now=now, used=5)
        assert (state.limit, state.held) == (10, 0)
        assert state.base == pytest.approx(seconds, rel=0.3)


def test_a_clock_that_steps_back_does_no_harm(strategy: Any) -> None:
    machine = Concurrency(strategy=strategy, initial_limit=10)
    state, _ = fed(machine, machine.initial, 300, now=1e9)
    low = machine.learn(state, Sample(0.1, 5, True), 1e9 + 100)
    state, _ = fed(machine, low, 3000, now=5.0)
    assert state.limit > low.limit
    again = machine.learn(low, Sample(0.1, 5, True), 5.0)
    assert machine.learn(again, Sample(0.1, 5, True), 6.0).limit < low.limit


def test_aimd_knows_no_latency() -> None:
    machine = Concurrency(strategy="aimd", max_limit=64)
    state, now = fed(machine, machine.initial, 5000, 0.1, now=0.0)
    assert state.limit == 64
    state, _ = fed(machine, state, 500, 5.0, now=now)
    assert state.limit == 64


def test_aimd_grows_by_one_per_round_trip_once_it_was_refused() -> None:
    machine = Concurrency(strategy="aimd", initial_limit=100)
    state = machine.learn(machine.initial, Sample(0.1, 100, True), 0.1)
    state, now = fed(machine, state, 90, now=1.0)
    assert state.limit == 91
    state, _ = fed(machine, state, 92, now=now)
    assert state.limit == 92


SERVICES: dict[str, Callable[[random.Random], float]] = {
    "constant": lambda _: 1.0,
    "exponential": lambda chance: chance.expovariate(1.0),
    "lognormal": lambda chance: chance.lognormvariate(-0.5, 1.0),
}


@pytest.fixture(params=SERVICES)
def pool(request: pytest.FixtureRequest) -> Pool:
    chance = random.Random(3)
    return Pool(Concurrency(), 32, lambda: SERVICES[request.param](chance))


def settled(pool: Pool, requests: int = 3000) -> float:
    """Let the pool find its limit, and return what it is for the most part."""
    pool.go_on(requests)
    pool.limits.clear()
    pool.go_on(3000)
    return median(pool.limits)


def test_it_finds_the_workers(pool: Pool) -> None:
    assert 29 <= settled(pool) <= 56


def test_it_finds_few_workers_from_above() -> None:
    pool = Pool(Concurrency(initial_limit=64), 1)
    assert settled(pool) < 3


def test_it_finds_many_workers_within_tens_of_round_trips() -> None:
    pool = Pool(Concurrency(), 300)
    pool.go_on(50 * 300)
    assert pool.now < 90  # round trips of a second, of which fifty would do for a client that knew
    assert 270 <= settled(pool) <= 450


def test_it_finds_its_way_when_the_server_becomes_slower_for_good(pool: Pool) -> None:
    settled(pool)
    pool.pace = 3.0
    assert 27 <= settled(pool, 4000) <= 60
    assert pool.state.base > 2


def test_it_doubts_what_it_knows_as_soon_as_its_limit_has_fallen() -> None:
    pool = Pool(Concurrency(), 32)
    settled(pool)
    while pool.state.held or pool.state.windows != 1:
        pool.go_on(1)
    assert pool.state.looks > 4  # a look has just been, and the next would be far away
    pool.pace = 3.0
    since = pool.now
    pool.go_on(600)
    assert pool.now - since < 35 * 3  # round trips, of which 19 would do for a client that knew
    assert pool.state.limit > 24


def test_it_finds_its_way_when_the_server_becomes_faster_for_good(pool: Pool) -> None:
    settled(pool)
    pool.pace = 0.3
    assert 29 <= settled(pool) <= 60
    assert pool.state.base < 0.5


def test_a_server_that_becomes_slower_a_little_at_a_time_does_not_starve_it(pool: Pool) -> None:
    settled(pool)
    for _ in range(40):
        pool.pace *= 1.03
        pool.go_on(300)
    assert 25 <= settled(pool) <= 60


def test_it_follows_capacity_down_and_up(pool: Pool) -> None:
    settled(pool)
    pool.resize(8)
    assert settled(pool) <= 18
    pool.resize(32)
    assert 28 <= settled(pool) <= 60


def test_it_does_not_run_away(pool: Pool) -> None:
    """Each look is at a queue of its own making at most, so that the latency without one never creeps up."""
    settled(pool)
    pool.limits.clear()
    pool.go_on(60_000)
    assert max(pool.limits) < 32 * 3
    assert median(pool.limits) <= 56


def test_what_was_learnt_before_a_long_pause_is_soon_corrected(pool: Pool) -> None:
    settled(pool)
    pool.now += 1e6
    pool.pace = 4.0
    pool.resize(8)
    assert 6 <= settled(pool) <= 20


def test_a_client_that_wants_little_keeps_its_limit_and_learns(pool: Pool) -> None:
    found = settled(pool)
    pool.wanting = 4
    pool.go_on(200)
    limit = pool.state.limit if not pool.state.held else pool.state.held
    pool.pace = 2.0
    pool.go_on(2000)
    assert pool.state.limit == limit > found / 3
    assert pool.state.base > 1.3


def test_at_a_limit_of_one_every_window_is_a_look() -> None:
    machine = Concurrency()
    state, _ = fed(machine, ConcurrencyState(1.0, base=0.01, looks=10, climbing=False), 8 * FEWEST, now=0.0)
    assert state.limit >= 2


def test_requests_that_take_no_time_do_no_harm(strategy: Any) -> None:
    machine = Concurrency(strategy=strategy)
    state, now = fed(machine, machine.initial, 1000, 0.0, now=0.0)
    state, _ = fed(machine, state, 1000, 0.1, now=now)
    assert state.latency == pytest.approx(0.1)


@pytest.mark.parametrize("spread", [0.0, 0.5])
def test_a_limit_of_one_does_not_stay_for_ever(spread: float) -> None:
    chance = random.Random(1)
    pool = Pool(Concurrency(initial_limit=1), 4, lambda: chance.uniform(1 - spread, 1 + spread))
    assert settled(pool) >= 4


def test_aimd_grows_from_one() -> None:
    machine = Concurrency(initial_limit=1, strategy="aimd")
    assert int(fed(machine, machine.initial, FEWEST, now=0.0)[0].limit) == 2


def test_looks_take_little_throughput() -> None:
    pool = Pool(Concurrency(), 32)
    settled(pool)
    before = pool.now
    pool.go_on(32_000)
    assert 32_000 / (pool.now - before) > 0.95 * 32


@pytest.mark.parametrize("field", ["initial_limit", "min_limit", "max_limit"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True, "8"])
def test_wrong_limits_name_field_and_value(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^Concurrency\({field}={value!r}\): {field} must be a whole number of at"):
        Concurrency(**{field: value})


def test_a_range_must_have_two_ends() -> None:
    with pytest.raises(ValueError, match="max_limit must be a whole number of at least 10"):
        Concurrency(min_limit=10, max_limit=9)


def test_a_wrong_strategy_is_named() -> None:
    with pytest.raises(ValueError, match="strategy must be one of 'gradient', 'aimd'"):
        Concurrency(strategy="vegas")


def test_the_constants_of_the_tests_are_those_of_the_code() -> None:
    assert concurrency_limit._FEWEST == FEWEST
