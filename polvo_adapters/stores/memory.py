"""State in the memory of one process, moved under a lock that is never held across I/O.

The garbage collector may run a finalizer in the middle of a transition, and that may make a call that decides as well.
So the thread may take the lock once more, and a transition whose state was moved meanwhile is made again: it is pure.

A forked child keeps the states, but not what they granted to calls of the parent (`ForkedState`). A pickled store comes
back empty: its times mean nothing to another process.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from polvo_adapters.core import setting_kinds
from polvo_adapters.core.keywords import explain_arguments
from polvo_adapters.core.machines import Event, Machine, Refused, Wake
from polvo_adapters.core.setting_kinds import check_settings
from polvo_adapters.runtime import forks
from polvo_adapters.stores.base import (
    COUNTED_SECONDS,
    MOST_COUNTED,
    BaseStore,
    is_durable,
    is_pinned,
    store_full_error,
)

CANDIDATES = 1000
"""How many keys are looked at to make room for one."""


_COUNTED = (True,)
_KINDS = {"max_keys": setting_kinds.whole(1), "now": setting_kinds.FUNCTION}


@explain_arguments
class MemoryStore(BaseStore):
    """A store in this process; the one of every adapter that is given no other.

    Args:
        max_keys: How many keys are kept; beyond that the one unused for longest is forgotten.
        now: Clock in seconds that only moves forward.

    Raises:
        ValueError: `max_keys` is not positive.
    """

    def __init__(self, max_keys: int = 10_000, now: Callable[[], float] = time.monotonic) -> None:
        check_settings("MemoryStore", {"max_keys": max_keys, "now": now}, _KINDS, ValueError)
        super().__init__()
        self._max_keys = max_keys
        self._now = now
        self._states: dict[str, Any] = {}
        self._lock = threading.RLock()  # which a finalizer that decides may find held by its own thread
        self._moves = 0
        forks.register(self)

    def decide(self, events: Sequence[Event]) -> tuple[Any, ...]:
        """Put events to their machines, all or nothing; see `Store.decide`."""
        if self._deferred:
            self._decide_deferred()
        if len(events) == 1:
            machine, key, fact = event = events[0]
            counted = self._counted.get(key)
            if (
                counted is not None
                and counted.fact is fact
                and counted.machine is machine
                and counted.count < MOST_COUNTED - 1
                and self._now() - counted.since < COUNTED_SECONDS
            ):
                counted.count += 1  # as `_count` does, nearly always
                return _COUNTED
            if hasattr(fact, "several"):
                self._count(event, self._now())
                return _COUNTED
        if self._counted:
            self._put_counted([key for _, key, _ in events if key in self._counted], self._now())
        verdicts = self._decide_one(*events[0]) if len(events) == 1 else self._decide(events)
        if self._deferred:  # by finalizers, meanwhile
            self._decide_deferred()
        return verdicts

    def _decide(self, events: Sequence[Event]) -> tuple[Any, ...]:
        with self._lock:
            states = self._states
            while True:
                moves = self._moves
                verdicts, moved, refused = self._transition(events)
                if moves == self._moves:
                    break
            if refused:
                return tuple(verdicts)
            self._moves += 1
            if 2 * (len(states) + len(moved)) < self._max_keys:
                states.update(moved)
            else:
                self._keep_all(events, moved)
        if Wake in map(type, verdicts):
            self._wake([name for verdict in verdicts if type(verdict) is Wake for name in verdict.names])
        return tuple(verdicts)

    def _transition(self, events: Sequence[Event]) -> tuple[list[Any], dict[str, Any], bool]:
        """Return the verdicts, the states after the events, and whether a verdict refuses."""
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
        return verdicts, moved, refused

    def _decide_one(self, machine: Machine, key: str, event: Any) -> tuple[Any, ...]:
        """Decide the batch of one event that nearly every batch is."""
        with self._lock:
            states = self._states
            while True:
                moves = self._moves
                before = states[key] if key in states else machine.initial  # noqa: SIM401 - which may be computed
                state, verdict = machine.transition(before, event, self._now())
                if moves == self._moves:
                    break
            if verdict is not False and type(verdict) is not Refused:
                self._moves += 1
                self._keep(machine, key, state)
        if type(verdict) is Wake:
            self._wake(verdict.names)
        return (verdict,)

    def _keep(self, machine: Machine, key: str, state: Any) -> None:
        states = self._states
        if 2 * len(states) > self._max_keys:  # the order of use matters only to a store that is nearly full
            if len(states) >= self._max_keys and key not in states:
                self._keep_all((Event(machine, key, None),), {key: state})
                return
            states.pop(key, None)  # re-inserted last: the order of a dict is the order of use
        states[key] = state

    def _keep_all(self, events: Sequence[Event], moved: Mapping[str, Any]) -> None:
        """Keep as many states as there is room for."""
        states = self._states
        over = len(states) + sum(key not in states for key in moved) - self._max_keys
        if over > 0 and not self._forget(over, moved) and is_durable(events):
            raise store_full_error("in memory", self._max_keys)
        for key, state in moved.items():
            if key in states or len(states) < self._max_keys:
                states.pop(key, None)
                states[key] = state

    def _forget(self, number: int, used: Collection[str]) -> bool:
        """Forget this many keys, those unused for longest first; return whether there were enough to forget."""
        states, now = self._states, self._now()
        for _ in range(min(len(states), number + CANDIDATES)):
            key = next(iter(states))
            state = states.pop(key, None)
            if key in used or is_pinned(state, now):
                states[key] = state  # as the last one, so that the next search begins behind it
                continue
            number -= 1
            if not number:
                return True
        return False

    def after_fork_in_child(self) -> None:
        """Replace the locks, and take back what states granted to calls of the parent."""
        super().after_fork_in_child()
        self._counted.clear()
        self._lock = threading.RLock()
        for key, state in self._states.items():
            if hasattr(state, "after_fork"):
                self._states[key] = state.after_fork()

    def __len__(self) -> int:
        self._put_counted(tuple(self._counted), self._now())
        return len(self._states)

    def __reduce__(self) -> tuple[Any, ...]:
        return (MemoryStore, (self._max_keys, self._now))
