"""What the stores have in common whose state is in a file: the path, the clock, and what happens without the file.

Theory of operation. One thread at a time decides by the file. While the file cannot be used, the memory of this process
decides, and the file is tried again every second. Each change between the two is logged once, after the lock has been
released: a handler or listener may use the store.

**The clock** is one for all processes that share the file; see `polvo_adapters.stores.shared_clock`.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from polvo_adapters.core import setting_kinds
from polvo_adapters.core.machines import Event, Machine, Wake
from polvo_adapters.core.report import StateChange
from polvo_adapters.core.setting_kinds import check_settings
from polvo_adapters.errors import ConfigurationError, PolvoError
from polvo_adapters.runtime.logs import logger, say
from polvo_adapters.stores.base import STORE_BUSY, BaseStore, is_refusal
from polvo_adapters.stores.codec import Undecodable
from polvo_adapters.stores.private_files import PATIENCE
from polvo_adapters.stores.shared_clock import SharedClock

RETRY_SECONDS = 1.0
"""Seconds until a file that failed is tried again."""

_log = logger("stores")


class _News(NamedTuple):
    """A text to log, and a change to notify listeners of, when no lock is held."""

    level: int
    text: str
    change: StateChange | None = None


class Transition(NamedTuple):
    """The result of a batch of events.

    Attributes:
        now: Time of the decision.
        verdicts: The verdicts, in the order of the events.
        before: The state of each key before.
        after: The state of each key after; empty if the batch was refused.
        unreadable: The machines of the keys whose states could not be read, and were begun anew.
    """

    now: float
    verdicts: tuple[Any, ...]
    before: dict[str, Any]
    after: dict[str, Any]
    unreadable: dict[str, Machine]


def _is_moved(machine: Machine, state: Any, event: Any, now: float) -> bool:
    """Return whether a machine can move a state by an event; it is pure, so that trying does no harm."""
    try:
        machine.transition(state, event, now)
    except Exception:  # noqa: BLE001 - whatever it is, the caller has one to raise
        return False
    return True


_KINDS = {"max_keys": setting_kinds.whole(1), "check_files": setting_kinds.FLAG}


class PersistentStore(BaseStore):
    """The base of stores in a file; a subclass decides by the file and by memory, and registers itself for forks.

    Args:
        path: The file; `~` is expanded.
        max_keys: How many keys are kept.
        clock: The clock of all processes that share the file.
        check_files: Whether the owners and modes of the file and its directory are checked.

    Attributes:
        path: The file.
        check_files: Whether the owners and modes of the file and its directory are checked.
        lock: Held by the thread that decides, and by the thread that forks.

    Raises:
        ConfigurationError: `max_keys` is not positive.
    """

    blocking = True
    kind = "store"
    """What it is called in messages."""
    _busy_advice = ""

    def __init__(self, path: str, max_keys: int, clock: SharedClock, check_files: bool) -> None:
        given = {"max_keys": max_keys, "check_files": check_files}
        check_settings(type(self).__name__, given, _KINDS, ConfigurationError)
        super().__init__()
        self.path = os.path.abspath(os.path.expanduser(path))
        self.lock = threading.Lock()
        self._owner = 0  # the thread that holds it
        self._max_keys = max_keys
        self._clock = clock
        self.check_files = check_files
        self._failed = False
        self._retry_at = 0.0
        self._news: list[_News] = []

    def decide(self, events: Sequence[Event]) -> tuple[Any, ...]:
        """Put events to their machines, all or nothing; see `Store.decide`.

        Raises:
            ConfigurationError: What is at the path can never be used.
            PolvoError: Other threads or processes did not release the file in time.
        """
        if self._owner == threading.get_ident():
            raise self._busy_error()  # a finalizer interrupts the decision of this very thread, and would wait for it
        self._decide_deferred()
        if len(events) == 1 and hasattr(events[0][2], "several"):
            self._count(events[0], self._clock.local())
            return (True,)
        if self._counted:
            self._put_counted([key for _, key, _ in events if key in self._counted], self._clock.local())
        return self._decide(events) if events else ()

    def _decide(self, events: Sequence[Event]) -> tuple[Any, ...]:
        with self._exclusive():
            verdicts = None
            if not self._failed or time.monotonic() >= self._retry_at:
                verdicts = self._decide_by_file(events)
            if verdicts is None:
                verdicts = self._decide_by_memory(events)
            elif self._failed:
                self._failed = False
                self._report(logging.INFO, "can be used again", "memory", "file", "the file can be used again")
        if Wake in map(type, verdicts) and not is_refusal(verdicts):
            self._wake([name for verdict in verdicts if type(verdict) is Wake for name in verdict.names])
        return verdicts

    def _decide_by_file(self, events: Sequence[Event]) -> tuple[Any, ...] | None:
        """Return the verdicts, or None where the file cannot be used."""
        raise NotImplementedError

    def _decide_by_memory(self, events: Sequence[Event]) -> tuple[Any, ...]:
        """Return the verdicts while the file cannot be used."""
        raise NotImplementedError

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Let one thread at a time use the file, and log the news afterwards."""
        lock = self.lock
        if not lock.acquire(timeout=PATIENCE):
            raise self._busy_error()
        try:
            self._owner = threading.get_ident()
            yield
        finally:
            news, self._news = self._news, []
            self._owner = 0
            lock.release()
            for each in news:
                self._tell(each)

    def _transition(self, events: Sequence[Event], read: Callable[[Machine, str], Any]) -> Transition:
        """Put events to their machines.

        Args:
            events: The events, with times of the local clock.
            read: Returns the state of a machine and key, or raises Undecodable.

        Raises:
            PolvoError: The state of a durable machine cannot be read.
        """
        now = self._clock.now()
        before: dict[str, Any] = {}
        after: dict[str, Any] = {}
        unreadable: dict[str, Machine] = {}
        verdicts = []
        for machine, key, event in self._clock.shift(events, now):
            if key not in after:
                try:
                    before[key] = after[key] = read(machine, key)
                except Undecodable:
                    before[key] = after[key] = self._begin_anew(machine, key, event, unreadable)
            try:
                after[key], verdict = machine.transition(after[key], event, now)
            except Exception:
                if not _is_moved(machine, machine.initial, event, now):
                    raise  # it is not the state
                # What was read has the right types and makes no sense: what a machine has made, it can move.
                before[key] = self._begin_anew(machine, key, event, unreadable)
                after[key], verdict = machine.transition(before[key], event, now)
            verdicts.append(verdict)
        return Transition(now, tuple(verdicts), before, {} if is_refusal(verdicts) else after, unreadable)

    def _begin_anew(self, machine: Machine, key: str, event: Any, unreadable: dict[str, Machine]) -> Any:
        """Return the initial state in place of one that cannot be read, and note the key.

        Raises:
            PolvoError: The machine is durable: an operation may have been done.
        """
        if getattr(machine, "durable", False) and not getattr(event, "forgets", False):
            raise self._unusable_error(
                f"holds something for {key!r} that cannot be read: it is damaged, or of another version; find out how "
                "the operation ended, and call operation(url, key).forget()"
            )
        unreadable[key] = machine
        return machine.initial

    def _unusable_error(self, reason: str) -> PolvoError:
        return PolvoError(f"the {self.kind} {self.path} {reason}", reason="store unusable")

    def _fail(self, reason: str) -> None:
        """Decide by memory until the file is tried again."""
        self._retry_at = time.monotonic() + RETRY_SECONDS
        if not self._failed:
            self._failed = True
            text = f"cannot be used ({reason}); until it can, this process decides by itself"
            self._report(logging.WARNING, text, "file", "memory", reason)

    def _log_later(self, level: int, text: str) -> None:
        """Log a text when the lock is released."""
        self._news.append(_News(level, text))

    def _report(self, level: int, text: str, before: str, after: str, reason: str) -> None:
        """Log a change, and notify the listeners of it, when the lock is released."""
        name = f"{self.kind} {self.path}"
        self._news.append(_News(level, f"the {name} {text}", StateChange(name, before, after, reason)))

    def _tell(self, news: _News) -> None:
        change = news.change
        if change is None:
            say(_log, news.level, "store", "%s", news.text, what=f"{self.kind} {self.path}")
            return
        fields = change._asdict()
        say(_log, news.level, "store", "%s", news.text, **fields)
        self._notify(change)

    def _notify(self, change: StateChange) -> None:
        """Notify the listeners of the store, if it has any."""

    def _busy_error(self) -> PolvoError:
        return PolvoError(
            f"the {self.kind} {self.path} was in use by others for more than {PATIENCE:g} s; look for a process that "
            f"is stopped {self._busy_advice}, or for a disk that is slow",
            reason=STORE_BUSY,
        )

    def before_fork(self) -> None:
        """Do nothing: a subclass closes what a child must not inherit."""

    def after_fork_in_child(self) -> None:
        """Replace the locks, and leave deferred decisions and news to the parent."""
        super().after_fork_in_child()
        self.lock = threading.Lock()
        self._owner = 0
        self._deferred.clear()
        self._counted.clear()
        self._news.clear()
