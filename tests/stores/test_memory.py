"""The memory store: the contract, threads and fork."""

from __future__ import annotations

import os
import threading

import pytest

from polvo_adapters.flow import Event
from polvo_adapters.simulate import VirtualClock
from polvo_adapters.stores import MemoryStore
from tests.stores.contract import Counter, StoreContract


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
