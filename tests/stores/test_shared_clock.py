"""The time of a shared file: what elapses, for all processes alike, however wrong their wall clocks are."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from polvo_adapters.core.machines import Event
from polvo_adapters.policies.idempotency.record import Begin, Done, LookAtKey, Record, RecordedResponse, Sending
from polvo_adapters.stores import shared_clock
from polvo_adapters.stores.shared_clock import SharedClock
from polvo_adapters.stores.sqlite import SQLiteStore
from polvo_adapters.stores.token_cache import TokenCache
from tests.support.store_contract import Counter, Watch

DAY = 86_400.0
EPOCH = 1_700_000_000.0
WATCH = [Event(Watch(), "watch", None), Event(Counter(10**9), "count", 1)]


class World:
    """A machine that can be started again, its processes, and what a file keeps of the time."""

    def __init__(self) -> None:
        self.true, self.boot, self.booted_at = 0.0, 0, 0.0
        self.seen, self.ahead = float("-inf"), 0.0
        self.starts: dict[str, float] = {}

    def elapsed(self) -> float:
        return self.true - self.booted_at

    def process(self, offset: Callable[[], float]) -> SharedClock:
        return SharedClock(
            lambda: EPOCH + self.true + offset(),
            elapsed=self.elapsed,
            boot=f"boot {self.boot}" if self.boot >= 0 else None,
        )

    def decide(self, clock: SharedClock) -> float:
        """Return the time of a decision by the file."""
        clock.follow(self.seen, self.ahead, self.starts.get(clock.boot))
        now = clock.now()
        self.seen, self.ahead = now, clock.ahead
        assert clock.start is not None
        self.starts[clock.boot] = clock.start
        return now


class WrongClocks(RuleBasedStateMachine):
    """Processes that come and go with clocks that are days off, and jump; the machine sleeps, and is started again."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.offsets: list[float] = []
        self.processes: list[SharedClock] = []
        self.last: tuple[float, float] | None = None  # true time and store's time of the last decision
        self.offsets_since_boot: set[float] = set()
        self.first_after_boot = True

    @rule(offset=st.sampled_from([0.0, 0.0, 2 * DAY, -2 * DAY, 0.5, -3600.0, -EPOCH]))
    def start_process(self, offset: float) -> None:
        number = len(self.offsets)
        self.offsets.append(offset)
        self.processes.append(self.world.process(lambda: self.offsets[number]))

    @precondition(lambda self: self.processes)
    @rule(data=st.data(), jump=st.sampled_from([-5 * DAY, -1.0, 1.0, 5 * DAY]))
    def set_a_clock(self, data: st.DataObject, jump: float) -> None:
        self.offsets[data.draw(st.integers(0, len(self.offsets) - 1))] += jump

    @rule(seconds=st.sampled_from([0.0, 0.25, 30.0, 3600.0, 3 * DAY]))
    def wait(self, seconds: float) -> None:
        self.world.true += seconds

    @rule(seconds=st.sampled_from([10.0, 5 * DAY]))
    def start_the_machine_again(self, seconds: float) -> None:
        self.world.true += seconds
        self.world.boot, self.world.booted_at = self.world.boot + 1, self.world.true - 1.0
        self.processes, self.offsets = [], []
        self.first_after_boot = True

    @precondition(lambda self: self.processes)
    @rule(data=st.data())
    def decide(self, data: st.DataObject) -> None:
        number = data.draw(st.integers(0, len(self.processes) - 1))
        now = self.world.decide(self.processes[number])
        if self.last is not None:
            passed, counted = self.world.true - self.last[0], now - self.last[1]
            if not self.first_after_boot:
                assert counted == pytest.approx(passed, abs=0.01)
            else:
                assert counted >= 0
                if self.offsets[number] <= max(self.offsets_since_boot):
                    assert counted <= passed + 0.01
                if self.offsets_since_boot == {self.offsets[number]}:
                    assert counted == pytest.approx(passed, abs=0.01)
        if self.first_after_boot:
            self.offsets_since_boot = set()
        self.first_after_boot, self.last = False, (self.world.true, now)
        self.offsets_since_boot.add(self.offsets[number])

    @invariant()
    def ahead_is_a_number(self) -> None:
        assert abs(self.world.ahead) < 1e11


TestWrongClocks = WrongClocks.TestCase
TestWrongClocks.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@pytest.mark.parametrize("wrong", [2 * DAY, -2 * DAY])
@pytest.mark.parametrize("order", [(0, 1), (1, 0), (1, 0, 1)])
def test_one_wrong_clock_before_the_machine_starts_again_makes_no_later_one_count_too_much(
    wrong: float, order: tuple[int, ...]
) -> None:
    world = World()
    clocks = [world.process(lambda: 0.0), world.process(lambda: wrong)]
    before = [world.decide(clocks[number]) for number in order][-1]
    world.true, world.boot = 600.0, 1
    world.booted_at = 590.0
    assert 0.0 <= world.decide(world.process(lambda: 0.0)) - before <= 600.0


# Systems that do not say which start of the machine it is.


def test_where_the_system_names_no_start_a_clock_that_is_behind_tells_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_clock, "read_boot", lambda: "unknown")
    world = World()
    world.boot = -1
    world.true = 500.0
    before = world.decide(world.process(lambda: 0.0))
    world.true = world.booted_at = 800.0
    clock = world.process(lambda: 0.0)
    # The test's clock is given; the system's name of the start is asked for all the same.
    clock._given_boot = None
    world.starts["unknown"] = world.starts.pop("given")
    assert world.decide(clock) - before == 300.0
    world.true += 7.0
    assert world.decide(clock) - before == 307.0


def test_the_clock_of_the_system_is_the_same_in_all_processes() -> None:
    code = "from polvo_adapters.stores.shared_clock import elapsed_time, read_boot; print(elapsed_time(), read_boot())"
    before = shared_clock.elapsed_time()
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split(" ", 1)
    assert before <= float(said[0]) <= shared_clock.elapsed_time()
    assert said[1].strip() == shared_clock.read_boot()


# Stores.


def sqlite_store(path: Path, offset: float = 0.0) -> Any:
    return SQLiteStore(path, now=lambda: time.time() + offset)


def token_cache(path: Path, offset: float = 0.0) -> Any:
    return TokenCache(path, now=lambda: time.time() + offset)


@pytest.fixture(params=[sqlite_store, token_cache])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[float], Any]:
    return lambda offset: request.param(tmp_path / "state", offset)


@pytest.mark.parametrize("offset", [2 * DAY, -2 * DAY, -EPOCH, 1e6])
def test_a_wrong_clock_moves_the_time_of_no_sharer(make: Callable[[float], Any], offset: float) -> None:
    right, began = make(0.0), time.monotonic()
    first = right.decide(WATCH)[0]
    wrong = make(offset)
    for each in (wrong, right, wrong, make(offset), make(0.0)):
        assert 0 <= each.decide(WATCH)[0] - first <= time.monotonic() - began + 0.1


def test_a_clock_that_is_set_moves_nothing(tmp_path: Path) -> None:
    wall = [EPOCH]
    elapsed = [5.0]
    for kind in (SQLiteStore, TokenCache):
        store: Any = kind(tmp_path / kind.__name__, now=lambda: wall[0], elapsed=lambda: elapsed[0])
        wall[0], elapsed[0] = EPOCH, 5.0
        seen = [store.decide(WATCH)[0]]
        for wall[0], elapsed[0] in [(EPOCH + 5 * DAY, 6.0), (EPOCH - 5 * DAY, 7.5), (0.0, 8.0)]:
            seen.append(store.decide(WATCH)[0])
        assert seen == [EPOCH, EPOCH + 1.0, EPOCH + 2.5, EPOCH + 3.0]


RECORD = Record(ttl=DAY)
ANSWER = RecordedResponse(201, (), b"done")


@pytest.mark.parametrize("offset", [2 * DAY, -2 * DAY, 3.0])
def test_what_others_were_granted_outlives_a_wrong_clock(make: Callable[[float], Any], offset: float) -> None:
    right = make(0.0)

    def put(store: Any, key: str, *events: Any) -> Any:
        return [store.decide([Event(RECORD, key, event)])[0] for event in events][-1]

    put(right, "finished", Begin("c", "u", False), Sending(1, "c", "u"), Done(1, "c", "u", ANSWER))
    put(right, "leased", Begin("c", "u", False), Sending(1, "c", "u"))
    wrong = make(offset)
    for store in (wrong, right, make(0.0)):
        put(store, "other", Begin("c", "u", False))
        assert put(store, "finished", LookAtKey()).phase == "done"
        assert put(store, "leased", LookAtKey()).phase == "sending"


def test_a_lease_ends_by_what_elapses_whatever_the_clocks_say(tmp_path: Path) -> None:
    elapsed = [0.0]

    def make(offset: float) -> SQLiteStore:
        return SQLiteStore(tmp_path / "state", now=lambda: EPOCH + offset, elapsed=lambda: elapsed[0])

    killed, others = make(0.0), [make(offset) for offset in (5 * DAY, -5 * DAY)]
    killed.decide([Event(RECORD, "a", Begin("c", "u", False))])
    for elapsed[0], phase in [(29.0, "begun"), (31.0, "not sent")]:
        for store in others:
            assert store.decide([Event(RECORD, "a", LookAtKey())])[0].phase == phase


# Versions.


def test_a_file_of_an_older_version_goes_on_from_its_time(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    SQLiteStore(path, now=lambda: EPOCH, elapsed=lambda: 0.0).close()
    with sqlite3.connect(path) as connection:
        connection.executescript(
            f"DROP TABLE boots_1; UPDATE clock_1 SET seen = {EPOCH + 100.0}, ahead = 40.0;"  # it is 1:40 later, by 0:40
        )
    connection.close()
    store = SQLiteStore(path, now=lambda: EPOCH + 70.0, elapsed=lambda: 9.0)
    assert store.decide(WATCH)[0] == EPOCH + 110.0


def test_an_older_version_that_moves_the_time_on_is_followed(tmp_path: Path) -> None:
    path, elapsed = tmp_path / "state.db", [10.0]
    store = SQLiteStore(path, now=lambda: EPOCH, elapsed=lambda: elapsed[0])
    for later in (20.0, 20.0):
        with sqlite3.connect(path) as connection:
            connection.execute("UPDATE clock_1 SET seen = seen + ?", (later,))
        connection.close()
        elapsed[0] += 1.0
        store.decide(WATCH)
    elapsed[0] += 5.0
    assert store.decide(WATCH)[0] == EPOCH + 45.0
    other = SQLiteStore(path, now=lambda: EPOCH, elapsed=lambda: elapsed[0])
    assert other.decide(WATCH)[0] == EPOCH + 45.0


@pytest.mark.parametrize("column", ["seen", "ahead"])
def test_a_time_in_which_fractions_cannot_be_counted_is_a_corrupt_file(tmp_path: Path, column: str) -> None:
    path = tmp_path / "state.db"
    SQLiteStore(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute(f"UPDATE clock_1 SET {column} = 1e300")
    connection.close()
    assert SQLiteStore(path).decide(WATCH)[1] == 1
    assert os.path.exists(f"{path}.corrupt-1")


def test_the_last_starts_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    for number in range(20):
        store = SQLiteStore(path)
        store._clock._given_boot = f"boot {number}"
        store.decide(WATCH)
        store.close()
        cache = TokenCache(tmp_path / "cache")
        cache._clock._given_boot = f"boot {number}"
        cache.decide(WATCH)
    connection = sqlite3.connect(path)
    found = [boot for (boot,) in connection.execute("SELECT boot FROM boots_1 ORDER BY turn")]
    connection.close()
    assert (len(found), found[-1]) == (8, "boot 19")
    assert list(cache._starts) == [f"boot {number}" for number in range(12, 20)]
