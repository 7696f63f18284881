"""What a store promises, and what the stores of this package share.

A store keeps one plain state per key and moves it by the machine that comes with each event. It decides a batch of
events atomically: no other decision sees a part of it, and if a verdict is False or Refused, no state has changed. The
store supplies `now`, so that all callers of a store share a clock. It is bounded: where there are too many keys, it
forgets those that were unused for longest.

Machines, events and states may have optional members that a store looks for, such as `durable`, `shift`, `forgets`,
`several`, `is_pinned` and `after_fork`: see `polvo_adapters.core.machine_protocols`, which says what it does without
them.

**Parking.** A call that waits for a permit parks under a name, and is woken when a verdict is a Wake with that name.
Stores that processes share wake only the calls of their own process, so that no call parks for longer than a second
without asking again.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

from polvo_adapters.core.machines import Event, Refused
from polvo_adapters.errors import PolvoError
from polvo_adapters.runtime.logs import logger, name_states, say

STORE_BUSY = "store busy"
"""Reason of the PolvoError of a store that others kept locked: it has taken nothing, and may take it later."""

_log = logger("stores")
MOST_COUNTED = 16
"""How many facts are put to their machine as one."""
COUNTED_SECONDS = 1.0
"""The time that they may take."""
_MOST_COUNTED_KEYS = 256
_MOST_CALLED = 1024  # names that were called while no call was parked; a call that has not parked by then has given up


class Store(Protocol):
    """Keeps the state of machines and moves it atomically."""

    def decide(self, events: Sequence[Event]) -> tuple[Any, ...]:
        """Put events to their machines.

        Args:
            events: Events of any machines and keys. A key may occur twice: the second event sees the state after the
                first one.

        Returns:
            The verdicts, in the order of the events. If any is False or Refused, no state has changed.
        """

    def defer(self, events: Sequence[Event], then: Callable[[tuple[Any, ...]], object] | None = None) -> None:
        """Put events to their machines at some time before the next decision, without a lock: for finalizers.

        Args:
            events: The events.
            then: Called with the verdicts.
        """

    def park(self, name: str, wake: Callable[[], None]) -> bool:
        """Run `wake`, from any thread, when the name is called; return False if it was called already."""

    def unpark(self, name: str) -> None:
        """Forget the call that is parked under a name."""


class BlockingStore(Store, Protocol):
    """A store whose `decide` may wait for a disk, a server or another process; one without `blocking` never does.

    Attributes:
        blocking: Whether it may. Then an event loop does not ask it itself: a thread of the store does, one question
            after the other in the order in which they came. Its other methods must not wait.
    """

    blocking: bool


class AsyncStore(BlockingStore, Protocol):
    """A blocking store with an asynchronous side, which event loops of asyncio use in the place of a thread."""

    async def decide_async(self, events: Sequence[Event]) -> tuple[Any, ...]:
        """Put events to their machines, as `decide` does.

        It is not cancelled with the call that needs it: the answer may grant something, which is given back then. What
        was broken off is given back by `decide`, on a thread.
        """


class _Deferred(NamedTuple):
    events: Sequence[Event]
    then: Callable[[tuple[Any, ...]], object] | None


class _Counted:
    """Facts of one kind that are not put to their machine yet, the first of which came at `since`."""

    __slots__ = ("count", "fact", "key", "machine", "since")

    def __init__(self, event: Event, since: float) -> None:
        self.machine, self.key, self.fact = event
        self.since, self.count = since, 1

    def as_event(self, now: float) -> Event:
        """Return the event that stands for all of them."""
        return Event(self.machine, self.key, self.fact.several(self.count, max(0.0, now - self.since)))


class BaseStore:
    """The part of a store that is in this process: parked calls, and events that are not put to their machines yet.

    These are decisions that finalizers have deferred, and facts that are counted. Facts are counted without a lock:
    where two threads count at the same moment, one may be lost, and none is put twice.

    Attributes:
        blocking: Whether `decide` may wait; see `BlockingStore`.
    """

    blocking = False

    def __init__(self) -> None:
        self._deferred: deque[_Deferred] = deque()
        self._counted: dict[str, _Counted] = {}
        self._parked: dict[str, Callable[[], None]] = {}
        self._called: dict[str, None] = {}
        # A finalizer may call a server in the middle of any of these methods, and park or wake in doing so.
        self._parking = threading.RLock()

    def _decide(self, events: Sequence[Event]) -> tuple[Any, ...]:
        raise NotImplementedError

    def _count(self, event: Event, now: float) -> None:
        """Count a fact, and put it to its machine with the others of its kind where they are many, or too old."""
        machine, key, fact = event
        counted = self._counted.get(key)
        if counted is not None and counted.machine is machine and (counted.fact is fact or counted.fact == fact):
            counted.count = count = counted.count + 1
            if count >= MOST_COUNTED or now - counted.since >= COUNTED_SECONDS:
                self._put_counted((key,), now)
            return
        if counted is not None or len(self._counted) >= _MOST_COUNTED_KEYS:
            self._put_counted(tuple(self._counted), now)
        self._counted[key] = _Counted(event, now)

    def _put_counted(self, keys: Iterable[str], now: float) -> None:
        """Put the facts that were counted for these keys to their machines.

        Raises:
            PolvoError: The store is busy; they are put before its next decision.
        """
        for key in keys:
            counted = self._counted.pop(key, None)  # by one thread alone
            if counted is not None:
                self.defer((counted.as_event(now),))
        self._decide_deferred()

    def _decide_deferred(self) -> None:
        """Put the deferred events to their machines.

        They are facts of other calls: where one cannot be put, that is logged, and does not fail the next decision.

        Raises:
            PolvoError: The store is busy, so that the next decision would wait in vain as well.
        """
        while self._deferred:
            try:
                deferred = self._deferred.popleft()
            except IndexError:
                return  # another thread was faster
            try:
                verdicts = self._decide(deferred.events)
            except Exception as error:
                if isinstance(error, PolvoError) and error.reason == STORE_BUSY:
                    self._deferred.appendleft(deferred)
                    raise
                names = name_states(deferred.events)
                reason = (isinstance(error, PolvoError) and error.reason) or type(error).__name__
                text = error if isinstance(error, PolvoError) else reason
                what = "what has happened could not be written to the store; %s: %s"
                say(_log, logging.WARNING, "store_failure", what, names, text, what=names, reason=reason)
                continue
            if deferred.then is not None:
                deferred.then(verdicts)

    def defer(self, events: Sequence[Event], then: Callable[[tuple[Any, ...]], object] | None = None) -> None:
        """Put events to their machines before the next decision; see `Store.defer`."""
        self._deferred.append(_Deferred(events, then))

    def park(self, name: str, wake: Callable[[], None]) -> bool:
        """Run `wake` when the name is called in this process; see `Store.park`."""
        with self._parking:
            self._parked[name] = wake
            if name not in self._called:
                return True
            del self._called[name], self._parked[name]
            return False

    def unpark(self, name: str) -> None:
        """Forget the call that is parked under a name; see `Store.unpark`."""
        with self._parking:
            self._parked.pop(name, None)
            self._called.pop(name, None)

    def _wake(self, names: Iterable[str]) -> None:
        """Wake the calls that are parked under these names, and remember the other names for calls about to park."""
        woken = []
        with self._parking:
            for name in names:
                wake = self._parked.pop(name, None)
                if wake is not None:
                    woken.append(wake)
                    continue
                self._called[name] = None
                if len(self._called) > _MOST_CALLED:
                    del self._called[next(iter(self._called))]
        for wake in woken:
            wake()

    def after_fork_in_child(self) -> None:
        """Leave the parked calls to the parent: their threads are not here."""
        self._parking = threading.RLock()
        self._parked.clear()


def is_blocking(store: Store) -> bool:
    """Return whether a decision of a store may take so long that an event loop must not wait for it."""
    return bool(getattr(store, "blocking", False))


def is_refusal(verdicts: Iterable[Any]) -> bool:
    """Return whether a decision was refused, so that no state has changed."""
    return any(verdict is False or type(verdict) is Refused for verdict in verdicts)


def is_pinned(state: Any, now: float) -> bool:
    """Return whether a state must not be forgotten to make room for others; see `PinnedState`."""
    ask = getattr(state, "is_pinned", None)
    return ask is not None and ask(now)


def is_durable(events: Sequence[Event]) -> bool:
    """Return whether a decision is about a state that must not be lost; see `DurableMachine`."""
    return any(getattr(machine, "durable", False) for machine, _, _ in events)


def store_full_error(store: str, max_keys: int) -> PolvoError:
    """Return the error for a store that is full of states which must not be forgotten.

    Args:
        store: Where the store is, for the message.
        max_keys: How many keys it keeps.
    """
    return PolvoError(
        f"the store {store} is full (max_keys={max_keys}) of operations that are in progress or in doubt, and has no "
        "room for the record of another; resolve those in doubt, or allow more max_keys",
        reason="store full",
    )
