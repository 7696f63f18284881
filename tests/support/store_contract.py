"""What every store must do; a store's own test inherits it and says how to make one."""

from __future__ import annotations

import pickle
import threading
from typing import Any, NamedTuple

import pytest

from polvo_adapters.core.machines import Changed, Event, Refused, Wake
from polvo_adapters.stores.base import Store
from polvo_adapters.testing.virtual_clock import VirtualClock


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


class Saying:
    """A machine that counts what it is asked, and answers with whatever it is asked to say."""

    initial = 0

    def transition(self, state: int, event: Any, now: float) -> tuple[int, Any]:
        return state + 1, event


class Fact(NamedTuple):
    """A fact that may be counted."""

    worth: int = 1
    seconds_ago: float = 0.0

    def several(self, count: int, seconds_ago: float) -> Fact:
        return Fact(self.worth * count, seconds_ago)


class Facts:
    """A machine that keeps the facts that it is told, and says them all."""

    initial = ()

    def transition(self, state: Any, event: Any, now: float) -> tuple[Any, Any]:
        if type(event) is Fact:
            return (*state, tuple(event)), True
        return state, state


FACTS = Facts()
SAY_ALL = (Event(FACTS, "facts", "say"),)


def saying(verdict: Any, key: str = "saying") -> Event:
    """Return an event whose verdict is this."""
    return Event(Saying(), key, verdict)


COUNT = Event(Counter(9), "saying", 0)  # tells how often the key was asked, and changes nothing


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

    # Verdicts.

    @pytest.mark.parametrize("verdict", [False, Refused("full"), Refused("full", 3.0, "place")])
    def test_a_refusal_leaves_no_trace(self, clock: VirtualClock, verdict: Any) -> None:
        store = self.make(clock)
        assert store.decide([saying(verdict)]) == (verdict,)
        assert store.decide([saying(True), saying(verdict, "other"), saying(True)]) == (True, verdict, True)
        assert store.decide([COUNT]) == (0,)

    @pytest.mark.parametrize("verdict", [True, None, 0, "", Wake(()), Wake(("a",)), Changed("a", "b", "why", False)])
    def test_everything_else_grants(self, clock: VirtualClock, verdict: Any) -> None:
        store = self.make(clock)
        assert store.decide([saying(verdict)]) == (verdict,)
        assert store.decide([saying(True, "other"), saying(verdict)]) == (True, verdict)
        assert store.decide([COUNT]) == (2,)

    def test_to_decide_nothing_is_allowed(self, clock: VirtualClock) -> None:
        assert self.make(clock).decide([]) == ()

    # What finalizers put to it.

    def test_facts_that_are_counted_are_put_as_one_before_the_next_event_of_their_key(
        self, clock: VirtualClock
    ) -> None:
        store = self.make(clock)
        fact = (Event(FACTS, "facts", Fact()),)
        assert [store.decide(fact) for _ in range(3)] == [(True,)] * 3
        store.decide([Event(Counter(9), "other", 1)])
        clock.sleep(0.5)
        assert store.decide(SAY_ALL) == (((3, 0.5),),)
        assert store.decide(SAY_ALL) == (((3, 0.5),),)

    def test_no_fact_waits_for_more_than_fifteen_others_or_for_the_one_after_a_second(
        self, clock: VirtualClock
    ) -> None:
        store = self.make(clock)
        fact = (Event(FACTS, "facts", Fact()),)
        for _ in range(17):
            store.decide(fact)
        clock.sleep(1.5)
        store.decide(fact)
        assert store.decide(SAY_ALL) == (((16, 0.0), (2, 1.5)),)

    def test_facts_that_differ_are_not_put_as_one(self, clock: VirtualClock) -> None:
        store = self.make(clock)
        for event in (Fact(1), Fact(7), Fact(7)):
            store.decide((Event(FACTS, "facts", event),))
        store.decide((Event(Facts(), "facts", Fact(7)),))
        assert store.decide(SAY_ALL) == (((1, 0.0), (14, 0.0), (7, 0.0)),)

    def test_facts_are_counted_for_a_bounded_number_of_keys(self, clock: VirtualClock) -> None:
        store = self.make(clock, max_keys=2000)
        for number in range(1000):
            store.decide((Event(FACTS, f"facts {number}", Fact()),))
        assert store.decide((Event(FACTS, "facts 999", "say"),)) == (((1, 0.0),),)
        assert store.decide((Event(FACTS, "facts 0", "say"),)) == (((1, 0.0),),)

    def test_later_is_before_the_next_decision_and_in_order(self, clock: VirtualClock) -> None:
        store = self.make(clock)
        store.defer([Event(Counter(9), "a", 1), Event(Counter(9), "b", 2)])
        store.defer([Event(Counter(9), "a", 3)])
        assert store.decide([Event(Counter(9), "a", 1), Event(Counter(9), "b", 1)]) == (5, 3)
        assert store.decide([Event(Counter(9), "a", 1)]) == (6,)

    def test_later_too_is_all_or_nothing(self, clock: VirtualClock) -> None:
        store = self.make(clock)
        store.defer([Event(Counter(9), "a", 1), Event(Counter(0), "b", 1)])
        store.defer([Event(Counter(9), "a", 2)])
        assert store.decide([Event(Counter(9), "a", 1)]) == (3,)

    def test_later_may_call(self, clock: VirtualClock) -> None:
        store, woken = self.make(clock), list[str]()
        assert store.park("a", lambda: woken.append("a"))
        store.defer([saying(Wake(("a",)))])
        assert woken == []
        store.decide([])
        assert woken == ["a"]

    # Parking.

    @pytest.mark.parametrize("batch", [[], [saying(True, "other")]])
    def test_who_is_called_is_woken_once(self, clock: VirtualClock, batch: list[Event]) -> None:
        store, woken = self.make(clock), list[str]()
        for name in ("a", "b", "c"):
            assert store.park(name, lambda name=name: woken.append(name))
        store.decide([*batch, saying(Wake(("c", "a")))])
        assert woken == ["c", "a"]
        store.decide([*batch, saying(Wake(("b",)))])
        assert woken == ["c", "a", "b"]

    @pytest.mark.parametrize("batch", [[], [saying(True, "other")]])
    def test_who_was_called_already_does_not_park_but_the_next_time_does(
        self, clock: VirtualClock, batch: list[Event]
    ) -> None:
        store = self.make(clock)
        store.decide([*batch, saying(Wake(("a",))), saying(Wake(("a",)))])
        assert not store.park("a", never)
        assert store.park("a", never)

    def test_who_left_is_not_called(self, clock: VirtualClock) -> None:
        store = self.make(clock)
        assert store.park("a", never)
        store.unpark("a")
        store.unpark("nobody")
        store.decide([saying(Wake(("a",)))])

    def test_a_call_to_who_left_is_forgotten(self, clock: VirtualClock) -> None:
        store = self.make(clock)
        store.decide([saying(Wake(("a",)))])
        store.unpark("a")
        assert store.park("a", never)

    def test_a_refused_batch_calls_nobody(self, clock: VirtualClock) -> None:
        store = self.make(clock)
        assert store.park("a", never)
        store.decide([saying(Wake(("a", "b"))), saying(Refused("full"))])
        store.decide([saying(False), saying(Wake(("a", "b")))])
        assert store.park("b", never)

    @pytest.mark.parametrize("batch", [[], [saying(True, "other")]])
    def test_who_is_woken_may_use_the_store(self, clock: VirtualClock, batch: list[Event]) -> None:
        store, seen = self.make(clock), list[Any]()

        def wake() -> None:
            store.unpark("a")
            seen.append(store.decide([COUNT]))
            seen.append(store.park("a", never))

        assert store.park("a", wake)
        thread = threading.Thread(target=lambda: store.decide([*batch, saying(Wake(("a",)))]), daemon=True)
        thread.start()
        thread.join(60)
        assert not thread.is_alive(), "it waits for a lock that it has itself"
        assert seen == [(1,), True]


def never() -> None:
    """Fail: this one is not to be called."""
    raise AssertionError("woken")
