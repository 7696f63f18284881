"""The memory store: the contract, threads and fork."""

from __future__ import annotations

import os
import pickle
import threading

import pytest

from polvo_adapters.core.machines import Event, Wake
from polvo_adapters.stores import MemoryStore
from polvo_adapters.testing.virtual_clock import VirtualClock
from tests.support.store_contract import Counter, StoreContract, never, saying


class TestMemoryStore(StoreContract):
    def make(self, clock: VirtualClock, max_keys: int = 100) -> MemoryStore:
        return MemoryStore(max_keys, clock.now)


def test_threads_never_grant_more_than_there_is() -> None:
    store, granted = MemoryStore(), []

    def take() -> None:
        for _ in range(400):
            granted.extend(store.decide([Event(Counter(500), "a", 1)]))

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(verdict for verdict in granted if verdict is not False) == list(range(1, 501))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning")
def test_a_child_forked_while_the_lock_is_held_has_a_lock_of_its_own() -> None:
    store = MemoryStore()
    store.decide([Event(Counter(9), "a", 3)])
    with store._lock:
        child = os.fork()
        if child == 0:
            verdicts = store.decide([Event(Counter(9), "a", 1)])
            os._exit(0 if verdicts == (4,) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_len_is_the_number_of_keys() -> None:
    store = MemoryStore()
    store.decide([Event(Counter(9), "a", 1), Event(Counter(9), "b", 1)])
    assert len(store) == 2


@pytest.mark.parametrize("value", [0, -1])
def test_a_store_that_keeps_nothing_is_refused(value: int) -> None:
    with pytest.raises(ValueError, match=rf"^MemoryStore\(max_keys={value}\): max_keys must be"):
        MemoryStore(max_keys=value)


def test_names_that_nobody_parks_under_are_forgotten_in_the_end() -> None:
    store = MemoryStore()
    for number in range(5000):
        store.decide([saying(Wake([f"name {number}"]))])
    assert not store.park("name 4999", never)
    assert store.park("name 0", never)
    assert len(store._called) < 5000


def test_threads_put_what_is_late_to_it_once() -> None:
    store, meeting = MemoryStore(), threading.Barrier(8)
    for _ in range(2000):
        store.defer([Event(Counter(10_000), "a", 1)])
    failures: list[BaseException] = []

    def decide() -> None:
        meeting.wait(60)
        try:
            for _ in range(500):
                store.decide([])
                store.defer([Event(Counter(10_000), "a", 1)])
        except BaseException as error:  # noqa: BLE001 - whatever it is
            failures.append(error)

    threads = [threading.Thread(target=decide) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert store.decide([Event(Counter(10_000), "a", 0)]) == (6000,)


def test_what_is_late_takes_no_lock() -> None:
    store = MemoryStore()

    def late() -> None:
        with store._lock:
            store.defer([Event(Counter(9), "a", 1)])

    thread = threading.Thread(target=late, daemon=True)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
    assert store.decide([Event(Counter(9), "a", 0)]) == (1,)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning")
def test_a_child_wakes_nobody_who_is_parked_in_the_parent() -> None:
    store = MemoryStore()
    store.park("a", never)
    store.defer([Event(Counter(9), "a", 3)])
    child = os.fork()
    if child == 0:
        status = 1
        try:
            store.decide([saying(Wake(["a"]))])
            status = 0 if store.decide([Event(Counter(9), "a", 1)]) == (4,) else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert list(store._parked) == ["a"]


def test_a_pickled_store_has_nobody_parked() -> None:
    store = MemoryStore()
    store.park("a", never)
    pickle.loads(pickle.dumps(store)).decide([saying(Wake(["a"]))])
