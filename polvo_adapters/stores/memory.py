"""State in the memory of one process, moved under a lock that is never held across I/O.

After a fork the child gets a fresh lock, because the parent's may have been held by a thread that the child does
not have, and keeps the states. What the parent's calls were granted is not granted to the child's, so that states that
count such things can tell what is left of them (`after_fork`). A pickled store comes back empty: its times mean
nothing to another process.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from polvo_adapters.core.machines import Event, Machine, Refused, Wake
from polvo_adapters.errors import PolvoError

CANDIDATES = 1000
"""How many keys are looked at to make room for one."""

_MOST_CALLED = 1024  # names; who was called and did not park has given up long ago

_stores: weakref.WeakSet[MemoryStore] = weakref.WeakSet()


class MemoryStore:
    """Keep state in this process; the store of every adapter that is not given another.

    Args:
        max_keys: How many keys are kept; beyond that the one unused for longest goes.
        now: Clock in seconds that only moves forward.

    Raises:
        ValueError: `max_keys` is not positive.
    """

    def __init__(self, max_keys: int = 10_000, now: Callable[[], float] = time.monotonic) -> None:
        if max_keys < 1:
            raise ValueError(f"MemoryStore(max_keys={max_keys!r}): max_keys must be a whole number of at least 1")
        self._max_keys = max_keys
        self._now = now
        self._states: dict[str, Any] = {}
        self._later: deque[tuple[Sequence[Event], Callable[[tuple[Any, ...]], object] | None]] = deque()
        self._parked: dict[str, Callable[[], None]] = {}
        self._called: dict[str, None] = {}
        self._lock = threading.Lock()
        _stores.add(self)

    def decide(self, events: Sequence[Event]) -> tuple[Any, ...]:
        """Put events to their machines, all or nothing; see `Store.decide`."""
        while self._later:
            try:
                later, then = self._later.popleft()
            except IndexError:
                break  # another thread was faster
            verdicts = self._decide(later)
            if then is not None:
                then(verdicts)
        return self._decide_one(*events[0]) if len(events) == 1 else self._decide(events)

    def defer(self, events: Sequence[Event], then: Callable[[tuple[Any, ...]], object] | None = None) -> None:
        """Put events to their machines before the next decision; see `Store.later`."""
        self._later.append((events, then))

    def park(self, name: str, wake: Callable[[], None]) -> bool:
        """Run `wake` when the name is called; see `Store.park`."""
        with self._lock:
            if name in self._called:
                del self._called[name]
                return False
            self._parked[name] = wake
            return True

    def unpark(self, name: str) -> None:
        """Forget who is parked under a name; see `Store.unpark`."""
        with self._lock:
            self._parked.pop(name, None)
            self._called.pop(name, None)

    def _decide(self, events: Sequence[Event]) -> tuple[Any, ...]:
        with self._lock:
            now, states = self._now(), self._states
            moved: dict[str, Any] = {}
            verdicts = []
            refused = False
            for machine, key, event in events:
                if key in moved:
                    state = moved[key]
                elif key in states:
                    state = states[key]
                else:
                    state = machine.initial
                moved[key], verdict = machine.transition(state, event, now)
                verdicts.append(verdict)
                if verdict is False or type(verdict) is Refused:
                    refused = True
            if refused:
                return tuple(verdicts)
            if 2 * (len(states) + len(moved)) < self._max_keys:
                states.update(moved)
            else:
                self._keep_all(events, moved)
            if Wake not in map(type, verdicts):
                return tuple(verdicts)
            called = self._call([name for verdict in verdicts if type(verdict) is Wake for name in verdict.names])
        for wake in called:
            wake()
        return tuple(verdicts)

    def _decide_one(self, machine: Machine, key: str, event: Any) -> tuple[Any, ...]:
        """Decide the batch of one event that nearly every batch is."""
        called: list[Callable[[], None]] | None = None
        with self._lock:
            states = self._states
            before = states[key] if key in states else machine.initial  # noqa: SIM401 - which may be computed
            state, verdict = machine.transition(before, event, self._now())
            if verdict is not False and type(verdict) is not Refused:
                self._keep(machine, key, state)
                if type(verdict) is Wake:
                    called = self._call(verdict.names)
        for wake in called or ():
            wake()
        return (verdict,)

    def _call(self, names: Sequence[str]) -> list[Callable[[], None]]:
        """Return how to wake those who are parked, and remember the names of those who are about to."""
        found = []
        for name in names:
            wake = self._parked.pop(name, None)
            if wake is not None:
                found.append(wake)
                continue
            self._called[name] = None
            if len(self._called) > _MOST_CALLED:
                del self._called[next(iter(self._called))]
        return found

    def _keep(self, machine: Machine, key: str, state: Any) -> None:
        states = self._states
        if 2 * len(states) > self._max_keys:  # before that, the order of use matters to nobody
            if len(states) >= self._max_keys and key not in states:
                self._keep_all((Event(machine, key, None),), {key: state})
                return
            states.pop(key, None)  # re-inserted last: the order of a dict is the order of use
        states[key] = state

    def _keep_all(self, events: Sequence[Event], moved: Mapping[str, Any]) -> None:
        """Keep states where not all may find room."""
        states = self._states
        over = len(states) + sum(key not in states for key in moved) - self._max_keys
        if over > 0 and not self._forget(over, moved) and is_durable(events):
            raise full("in memory", self._max_keys)
        for key, state in moved.items():
            if key in states or len(states) < self._max_keys:
                states.pop(key, None)
                states[key] = state

    def _forget(self, number: int, used: Collection[str]) -> bool:
        """Forget so many keys, those unused for longest first, and tell whether that could be done."""
        states, now = self._states, self._now()
        for _ in range(min(len(states), number + CANDIDATES)):
            key = next(iter(states))
            state = states.pop(key)
            if key in used or is_pinned(state, now):
                states[key] = state  # as the last one, so that the next search begins behind it
                continue
            number -= 1
            if not number:
                return True
        return False

    def __len__(self) -> int:
        return len(self._states)

    def __reduce__(self) -> tuple[Any, ...]:
        return (MemoryStore, (self._max_keys, self._now))


def is_pinned(state: Any, now: float) -> bool:
    """Tell whether a state may not be forgotten to make room for others."""
    pinned = getattr(state, "pinned", None)
    return pinned is not None and pinned(now)


def is_durable(events: Sequence[Event]) -> bool:
    """Tell whether what a decision is about must not be lost."""
    return any(getattr(machine, "durable", False) for machine, _, _ in events)


def full(store: str, max_keys: int) -> PolvoError:
    """Return the error for a store in which nothing can go."""
    return PolvoError(
        f"the store {store} is full (max_keys={max_keys}) of operations that are under way or in doubt, and has no "
        "room for the record of another; resolve those in doubt, or allow more max_keys",
        reason="store full",
    )


def _after_fork_in_child() -> None:
    for store in _stores:
        store._lock = threading.Lock()
        store._parked.clear()
        for key, state in store._states.items():
            if hasattr(state, "after_fork"):
                store._states[key] = state.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
