"""What every store must do; a store's own test inherits it and says how to make one."""

from __future__ import annotations

import pickle
from typing import Any

from polvo_adapters.flow import Event
from polvo_adapters.simulate import VirtualClock
from polvo_adapters.stores.base import Store


class Counter:
    """A machine that counts up to a limit."""

    def __init__(self, limit: int) -> None:
        self.limit = limit

    @property
    def initial(self) -> int:
        return 0

    def transition(self, state: int, event: int, now: float) -> tuple[int, int | bool]:
        if state + event > self.limit:
            return state, False
        return state + event, state + event


class Watch:
    """A machine whose verdict is the time."""

    initial = 0

    def transition(self, state: int, event: Any, now: float) -> tuple[int, float]:
        return state, now


class StoreContract:
    """Inherit, and implement `make`."""

    def make(self, clock: VirtualClock, max_keys: int = 100) -> Store:
        raise NotImplementedError

    def test_a_key_starts_at_the_initial_state_and_moves(self, clock: VirtualClock) -> None:
        store = self.make(clock)
        assert [store.decide([Event(Counter(9), "a", 2)]) for _ in range(3)] == [(2,), (4,), (6,)]
        assert store.decide([Event(Counter(9), "b", 1)]) == (1,)

    def test_a_batch_is_all_or_nothing(self, clock: VirtualClock) -> None:
        store = self.make(clock)
        batch = [Event(Counter(9), "a", 1), Event(Counter(0), "b", 1), Event(Counter(9), "c", 1)]
        assert store.decide(batch) == (1, False, 1)
        assert store.decide([Event(Counter(9), "a", 1), Event(Counter(9), "c", 1)]) == (1, 1)

    def test_zero_is_a_verdict_and_no_refusal(self, clock: VirtualClock) -> None:
        store = self.make(clock)
        assert store.decide([Event(Counter(9), "a", 0), Event(Counter(9), "b", 1)]) == (0, 1)
        assert store.decide([Event(Counter(9), "b", 1)]) == (2,)

    def test_the_second_event_of_a_key_sees_what_the_first_did(self, clock: VirtualClock) -> None:
        store = self.make(clock)
        assert store.decide([Event(Counter(9), "a", 1), Event(Counter(9), "a", 1)]) == (1, 2)

    def test_the_store_supplies_the_time(self, clock: VirtualClock) -> None:
        store = self.make(clock)
        clock.advance(7.5)
        assert store.decide([Event(Watch(), "a", None)]) == (7.5,)

    def test_the_key_unused_for_longest_goes(self, clock: VirtualClock) -> None:
        store = self.make(clock, max_keys=2)
        for key in ("a", "b", "a", "c"):
            store.decide([Event(Counter(9), key, 1)])
        assert store.decide([Event(Counter(9), "a", 1)]) == (3,)
        assert store.decide([Event(Counter(9), "b", 1)]) == (1,)

    def test_a_machine_that_raises_changes_nothing(self, clock: VirtualClock) -> None:
        class Broken(Counter):
            def transition(self, state: int, event: int, now: float) -> tuple[int, int | bool]:
                raise ZeroDivisionError

        store = self.make(clock)
        try:
            store.decide([Event(Counter(9), "a", 1), Event(Broken(9), "b", 1)])
        except ZeroDivisionError:
            pass
        assert store.decide([Event(Counter(9), "a", 1)]) == (1,)

    def test_a_store_pickles(self, clock: VirtualClock) -> None:
        copy = pickle.loads(pickle.dumps(self.make(clock)))
        assert copy.decide([Event(Counter(9), "a", 1)]) == (1,)
