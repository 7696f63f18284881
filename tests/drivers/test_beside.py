"""Stores that may block, on an event loop: the loop goes on, and nothing that was granted is lost."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Acquire, Decide, Flow, Release, Send, TryDecide
from polvo_adapters.core.machines import Changed, Event
from polvo_adapters.core.outcomes import Outcome
from polvo_adapters.core.report import Entry, StateChange, StoreFailure
from polvo_adapters.drivers import aio, decisions
from polvo_adapters.drivers.beside import thread_of
from polvo_adapters.errors import PolvoError
from polvo_adapters.stores import MemoryStore, SQLiteStore
from polvo_adapters.stores.base import STORE_BUSY, is_blocking

CALL = Call("GET", "http://server.example/")
BOUND = 10.0


class Slots:
    """A machine that counts the slots in use, and how they came to be."""

    initial = 0

    def transition(self, state: int, event: int, now: float) -> tuple[int, Any]:
        return state + event, state + event

    def release_event(self, verdict: int) -> int:
        return -1


SLOTS = Slots()


def take(key: str = "a", by: int = 1) -> tuple[Event, ...]:
    return (Event(SLOTS, key, by),)


class SlowStore(MemoryStore):
    """A store that blocks until it is let go on, and writes down who has asked it."""

    blocking = True

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Any] = []
        self.threads: set[str] = set()
        self.entered, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()
        self.error: Exception | None = None

    def decide(self, events: Sequence[Event]) -> tuple[Any, ...]:
        self.threads.add(threading.current_thread().name)
        self.entered.set()
        assert self.go_on.wait(BOUND)
        self.asked += [(event.key, event.event) for event in events]
        if self.error is not None:
            raise self.error
        return super().decide(events)

    def used(self, key: str = "a") -> int:
        return int(self._states.get(key, 0))


class Exchange:
    """Answers at once, or hangs; a body is open where one is given."""

    def __init__(self, hangs: bool = False, streams: bool = False) -> None:
        self.hangs, self.streams = hangs, streams
        self.on_close: list[Callable[[bool, bool], None]] = []

    async def send(self, effect: Send) -> Outcome:
        if self.hangs:
            await asyncio.sleep(BOUND)
        return Outcome(object(), 200, {})

    async def discard(self) -> None:
        """Nothing is open."""

    def on_body_closed(self, action: Callable[[bool, bool], None]) -> bool:
        self.on_close.append(action)
        return self.streams


def call_with_slot(key: str = "a") -> Flow:
    yield Acquire(take(key))
    outcome: Outcome = yield Send(CALL)
    yield Release(take(key, -1), take(key, -1))
    return outcome


def drive(flow: Flow, store: Any, exchange: Any = None, entries: list[Entry] | None = None) -> Any:
    entries = [] if entries is None else entries
    return aio.drive(flow, exchange or Exchange(), store, aio.ASYNC_SYSTEM, entries, CALL)


async def settle(store: Any) -> None:
    await asyncio.to_thread(thread_of(store).flush, BOUND)


def test_which_stores_block(tmp_path: Path) -> None:
    assert not is_blocking(MemoryStore())
    assert is_blocking(SQLiteStore(tmp_path / "store"))


async def test_a_blocking_store_is_asked_on_a_thread_of_its_own_and_the_loop_goes_on() -> None:
    store = SlowStore()
    store.go_on.clear()
    task = asyncio.ensure_future(drive(call_with_slot(), store))
    await asyncio.to_thread(store.entered.wait, BOUND)  # never back if the loop were held
    assert not task.done()
    store.go_on.set()
    assert (await task).status == 200
    assert store.threads == {"polvo-store"}
    assert (store.asked, store.used()) == ([("a", 1), ("a", -1)], 0)


async def test_questions_are_put_in_the_order_in_which_they_came() -> None:
    store = SlowStore()
    store.go_on.clear()

    def flow(number: int) -> Flow:
        yield Decide(take(f"{number}"))
        return Outcome()

    tasks = [asyncio.ensure_future(drive(flow(number), store)) for number in range(50)]
    await asyncio.sleep(0.01)
    store.go_on.set()
    await asyncio.gather(*tasks)
    assert store.asked == [(f"{number}", 1) for number in range(50)]


@pytest.mark.parametrize("number", [0, 1], ids=["under way", "waiting behind it"])
async def test_a_task_cancelled_during_its_question_keeps_nothing(number: int) -> None:
    store = SlowStore()
    store.go_on.clear()
    tasks = [asyncio.ensure_future(drive(call_with_slot(), store, Exchange(hangs=True))) for _ in range(2)]
    await asyncio.to_thread(store.entered.wait, BOUND)
    tasks[number].cancel()
    await asyncio.sleep(0.01)
    store.go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await tasks[number]
    await settle(store)
    assert store.used() == 1
    tasks[1 - number].cancel()
    await asyncio.wait(tasks)
    assert store.used() == 0  # without waiting: a cancelled task has given back by then what it held
    expected = [("a", 1)] * (1 if number else 2) + [("a", -1)] * (1 if number else 2)
    assert sorted(store.asked) == sorted(expected)


def tell_release() -> Flow:
    yield Acquire(take())
    yield Release(take("a", -1), take("a", -1))
    return Outcome()


def tell_fact() -> Flow:
    yield Decide(take("b", 0))
    yield TryDecide(take("a", -1))
    return Outcome()


@pytest.mark.parametrize("number", [0, 1], ids=["under way", "waiting behind it"])
@pytest.mark.parametrize("flow", [tell_release, tell_fact])
async def test_what_a_cancelled_task_has_to_tell_is_told_once(flow: Callable[[], Flow], number: int) -> None:
    class Stopping(SlowStore):
        def decide(self, events: Sequence[Event]) -> tuple[Any, ...]:
            if events[0].event == -1 and not self.entered.is_set():
                self.entered.set()
                assert self.go_on.wait(BOUND)
            return MemoryStore.decide(self, events)

    store = Stopping()
    store.decide(take("a", 2))
    store.go_on.clear()
    tasks = [asyncio.ensure_future(drive(flow(), store)) for _ in range(2)]
    await asyncio.to_thread(store.entered.wait, BOUND)
    await asyncio.sleep(0.01)
    tasks[number].cancel()
    await asyncio.sleep(0.01)
    store.go_on.set()
    await asyncio.wait(tasks)
    assert [task.cancelled() for task in tasks] == [not number, bool(number)]
    assert store.used() == (2 if flow is tell_release else 0)


async def test_a_change_that_a_cancelled_task_tells_is_reported() -> None:
    store, machine = SlowStore(), Told()
    store.go_on.clear()

    def flow() -> Flow:
        yield TryDecide((Event(machine, "k", "one"),))  # type: ignore[arg-type]
        return Outcome()

    task = asyncio.ensure_future(drive(flow(), store))
    await asyncio.to_thread(store.entered.wait, BOUND)
    task.cancel()
    await asyncio.sleep(0.01)
    store.go_on.set()
    await asyncio.wait([task])
    assert [after for after, _ in machine.heard] == ["one"]


async def test_a_cancellation_does_not_wait_for_a_store_that_hangs() -> None:
    store = SlowStore()
    store.go_on.clear()
    task = asyncio.ensure_future(drive(call_with_slot(), store))
    await asyncio.to_thread(store.entered.wait, BOUND)
    began = time.monotonic()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert time.monotonic() - began < 2.0
    store.go_on.set()
    await settle(store)
    assert store.used() == 0


async def test_a_drive_that_is_dropped_gives_back_what_its_question_grants() -> None:
    store = SlowStore()
    store.go_on.clear()
    dropped = drive(call_with_slot(), store)
    dropped.send(None)
    await asyncio.to_thread(store.entered.wait, BOUND)
    dropped.close()
    store.go_on.set()
    await settle(store)
    assert (store.asked, store.used()) == ([("a", 1), ("a", -1)], 0)


async def test_a_release_at_the_close_of_a_body_holds_no_loop_and_no_other_call_overtakes_it() -> None:
    store, exchange = SlowStore(), Exchange(streams=True)
    await drive(call_with_slot(), store, exchange)
    assert store.used() == 1
    store.go_on.clear()
    (close,) = exchange.on_close
    close(False, False)  # would hang here
    task = asyncio.ensure_future(drive(call_with_slot(), store))
    store.go_on.set()
    await task
    assert store.asked == [("a", 1), ("a", -1), ("a", 1), ("a", -1)]


class Told:
    """A machine whose events are changes, and that has a listener."""

    initial = ""
    part = ""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str]] = []
        self.listeners = (lambda change: self.heard.append((change.after, threading.current_thread().name)),)

    def transition(self, state: str, event: str, now: float) -> tuple[str, Any]:
        return event, Changed(state, event, "told")


async def test_changes_are_reported_on_the_loop() -> None:
    store, machine, entries = SlowStore(), Told(), list[Entry]()

    def flow() -> Flow:
        yield Decide((Event(machine, "k", "one"),))  # type: ignore[arg-type]
        told = yield TryDecide((Event(machine, "k", "two"),))  # type: ignore[arg-type]
        return Outcome(note=str(told))

    assert (await drive(flow(), store, entries=entries)).note == "True"
    assert machine.heard == [("one", threading.current_thread().name), ("two", threading.current_thread().name)]
    assert entries == [StateChange("k", "", "one", "told"), StateChange("k", "one", "two", "told")]


@pytest.mark.parametrize("is_slow", [False, True])
@pytest.mark.parametrize("reason", ["", STORE_BUSY])
async def test_a_store_that_fails_costs_as_much_as_elsewhere(
    monkeypatch: pytest.MonkeyPatch, is_slow: bool, reason: str
) -> None:
    """The same questions and entries as on a thread."""
    monkeypatch.setattr(decisions, "_SLOW", 0.0 if is_slow else BOUND)

    def flow() -> Flow:
        outcome: Outcome = yield Send(CALL)
        first = yield TryDecide(take("one"))
        second = yield TryDecide(take("two"))
        return outcome._replace(note=f"{first} {second}")

    seen = []
    for on_loop in (False, True):
        store, entries = SlowStore(), list[Entry]()
        store.error = PolvoError("no", reason=reason)
        if on_loop:
            outcome = await drive(flow(), store, entries=entries)
        else:
            outcome = await asyncio.to_thread(drive_on_thread, flow(), store, entries)
        seen.append((outcome.note, store.asked, [each for each in entries if type(each) is StoreFailure]))
        assert len(store._deferred) == (2 if is_slow else 0)
    assert seen[0] == seen[1]


def drive_on_thread(flow: Flow, store: Any, entries: list[Entry]) -> Outcome:
    from polvo_adapters.drivers import sync
    from polvo_adapters.runtime.clock import SYSTEM

    class Sync:
        def send(self, effect: Send) -> Outcome:
            return Outcome(object(), 200, {})

        def discard(self) -> None:
            """Nothing is open."""

        def on_body_closed(self, action: Any) -> bool:
            return False

    return sync.drive(flow, Sync(), store, SYSTEM, entries, CALL)  # type: ignore[arg-type]


async def test_a_question_without_an_answer_ends_the_call_as_elsewhere() -> None:
    store = SlowStore()
    store.error = PolvoError("locked", reason=STORE_BUSY)
    outcome = await drive(call_with_slot(), store)
    assert isinstance(outcome.error, PolvoError)
    assert outcome.error.reason == STORE_BUSY


class AsyncSide(SlowStore):
    """A store with an asynchronous side."""

    async def decide_async(self, events: Sequence[Event]) -> tuple[Any, ...]:
        await asyncio.sleep(0.02)
        self.asked += [("async", event.event) for event in events]
        return MemoryStore.decide(self, events)


async def test_an_asynchronous_side_is_used_and_a_cancelled_question_keeps_nothing() -> None:
    store = AsyncSide()
    assert (await drive(call_with_slot(), store)).status == 200
    assert (store.asked, store.threads) == ([("async", 1), ("async", -1)], set())
    for seconds in (0.01, 0.03):  # in the question, and in the release
        task = asyncio.ensure_future(drive(call_with_slot(), store))
        await asyncio.sleep(seconds)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert store.used() == 0


def test_one_file_is_shared_by_two_loops_and_threads(tmp_path: Path) -> None:
    """Each takes and gives back, and no two are ever in the same slot at a time."""
    store = SQLiteStore(tmp_path / "store")
    errors: list[BaseException] = []

    def on_thread() -> None:
        for _ in range(20):
            drive_on_thread(call_with_slot(), store, [])

    async def many() -> None:
        await asyncio.gather(*(drive(call_with_slot(), store) for _ in range(40)))

    def run(work: Callable[[], object]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - the test raises it
            errors.append(error)

    works = [on_thread, lambda: asyncio.run(many()), lambda: asyncio.run(many())]
    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(BOUND)
    assert errors == []
    assert store.decide(take("a", 0)) == (0,)


def test_a_task_of_one_loop_is_woken_by_another(tmp_path: Path) -> None:
    """A waiter parks on its own loop; the permit that it waits for is given back on another."""
    from polvo_adapters.policies.bulkhead import Bulkhead

    store = SQLiteStore(tmp_path / "store")
    bulkhead = Bulkhead(max_concurrency=1, acquisition_timeout=BOUND)
    holds, waits = threading.Event(), threading.Event()
    result: Future[float] = Future()

    class Holding(Exchange):
        async def send(self, effect: Send) -> Outcome:
            holds.set()
            await asyncio.to_thread(waits.wait, BOUND)
            await asyncio.sleep(0.05)
            return Outcome(object(), 200, {})

    from polvo_adapters.core.effects import compose

    flow = compose([bulkhead])

    def second() -> None:
        holds.wait(BOUND)
        waits.set()
        began = time.monotonic()
        outcome = asyncio.run(drive(flow(CALL._replace(started=time.monotonic())), store))
        assert outcome.status == 200
        result.set_result(time.monotonic() - began)

    thread = threading.Thread(target=second)
    thread.start()
    asyncio.run(drive(flow(CALL._replace(started=time.monotonic())), store, Holding()))
    assert result.result(BOUND) < 0.8  # by the wake, and not by the look after a second
    thread.join(BOUND)


def test_under_trio_too() -> None:
    trio = pytest.importorskip("trio")
    store = SlowStore()

    class Answering(Exchange):
        async def send(self, effect: Send) -> Outcome:
            return Outcome(object(), 200, {})

    async def run() -> None:
        assert (await drive(call_with_slot(), store, Answering())).status == 200
        store.go_on.clear()
        with trio.move_on_after(0.05) as scope:
            trio.lowlevel.current_trio_token()
            await drive(call_with_slot(), store, Answering())
        assert scope.cancelled_caught
        store.go_on.set()

    trio.run(run)
    thread_of(store).flush(BOUND)
    assert (store.used(), store.asked) == (0, [("a", 1), ("a", -1), ("a", 1), ("a", -1)])


def test_a_program_that_ends_gives_back_what_was_broken_off(tmp_path: Path) -> None:
    """A release that nothing waits for is made before the process ends."""
    import subprocess
    import sys

    code = """
import asyncio, sys
sys.path.insert(0, sys.argv[2])
from polvo_adapters.stores import SQLiteStore
from tests.drivers.test_beside import Exchange, call_with_slot, drive
exchange = Exchange(streams=True)
asyncio.run(drive(call_with_slot(), SQLiteStore(sys.argv[1]), exchange))
exchange.on_close[0](False, False)
"""
    file, root = str(tmp_path / "store"), str(Path(__file__).parents[2])
    subprocess.run([sys.executable, "-c", code, file, root], check=True, timeout=60)
    assert SQLiteStore(file).decide(take("a", 0)) == (0,)


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning")
def test_a_forked_child_has_a_thread_of_its_own(tmp_path: Path) -> None:
    import os

    store = SQLiteStore(tmp_path / "store")
    asyncio.run(drive(call_with_slot(), store))
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if asyncio.run(asyncio.wait_for(drive(call_with_slot(), store), BOUND)).status == 200 else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
