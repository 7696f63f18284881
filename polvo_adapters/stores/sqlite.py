"""State in a SQLite file, shared by the processes of one machine: they see the same circuits, budgets and quotas.

Theory of operation. A decision is one transaction (BEGIN IMMEDIATE in WAL mode): read the states, put the events to
their machines, write what moved, or roll back where one refuses. A process that is killed leaves a transaction that
is there or not, and no lock. States are written as `polvo_adapters.stores.codec` says, never as pickles; a state
that cannot be read counts as unknown, and is begun anew, unless its machine is `durable`.

**The clock** is one for all who share the file: wall time, which is the same in all processes, with the largest time
seen kept in the file. Where the wall clock is set back, time goes on from there, at the pace of the wall clock.

**Keys** beyond `max_keys` go, the one unused for longest first, but not those whose state is `pinned`. The order of use
is that of the rows, and is only kept up once the store is half full.

**What goes wrong** with the file does not go wrong with the call:

    what                                     what the store does
    ---------------------------------------  --------------------------------------------------------------------
    full disk, read-only or unreadable file  decides in the memory of this process, and tries again every second
    corrupt file                             sets it aside (never deletes it), and begins a new one
    file deleted, or replaced                begins a new one
    any of these, for `durable` machines     raises PolvoError
    others use it for longer than 5 s        raises PolvoError: to decide alone would grant what they have
    a database of something else             raises ConfigurationError

What memory granted meanwhile is not carried over to the file. Each change is logged once. Machines that are `durable`
are refused for as long as a file that was set aside lies there, and where the file was deleted or replaced while it was
in use, until a new store is made. That a file is missing when a store is made, nobody can tell from a first start.

**Threads** take turns on one connection. **Forks**: the connection is closed before and opened anew on either side.
**Parking**: callers in this process are called at once, those in others find out by asking, within a second.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import Any

from polvo_adapters.core.machines import Event, Machine, Refused
from polvo_adapters.errors import ConfigurationError, PolvoError
from polvo_adapters.stores.codec import Undecodable, encode
from polvo_adapters.stores.memory import MemoryStore, full, is_durable
from polvo_adapters.stores.persistent import PersistentStore
from polvo_adapters.stores.sqlite_file import PATIENCE, Database, is_busy, is_corrupt
from polvo_adapters.stores.sqlite_schema import ClockRow, read_clock, read_state, write_clock, write_state

_AGAIN = 1.0  # seconds until a file that failed is tried again
_UNKNOWN = object()

_log = logging.getLogger("polvo_adapters")


class SQLiteStore(PersistentStore):
    """Keep state in a SQLite file, for all processes of this machine that name the same one.

    Args:
        path: The file; `~` is expanded. Created with mode 0600; its directory must exist, on a local disk.
        max_keys: How many keys are kept; beyond that the one unused for longest goes.
        now: Clock in seconds that all processes share; it may go back, the store's time does not.
        local: Clock of this process in seconds, by which the deadlines of its calls are told.

    Raises:
        ConfigurationError: `max_keys` is not positive, the directory does not exist, or the file is a database of
            something else.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        max_keys: int = 10_000,
        now: Callable[[], float] = time.time,
        local: Callable[[], float] = time.monotonic,
    ) -> None:
        if max_keys < 1:
            raise ConfigurationError(
                f"SQLiteStore(max_keys={max_keys!r}): max_keys must be a whole number of at least 1"
            )
        self.path = os.path.abspath(os.path.expanduser(os.fspath(path)))
        if not os.path.isdir(os.path.dirname(self.path)):
            raise ConfigurationError(f"SQLiteStore({self.path!r}): its directory does not exist; make it first")
        super().__init__()
        self._max_keys = max_keys
        self._now, self._local_now = now, local
        self._seen, self._ahead = float("-inf"), 0.0
        self._spare: MemoryStore | None = None
        self._again = 0.0
        self._database = Database(self.path, self._later.clear)  # what is late, the parent of a fork puts to it
        self._decide(())  # creates the file, and finds out now what is wrong with the path

    def close(self) -> None:
        """Close the file; the next decision opens it again."""
        with self._database.lock:
            self._database.close()

    def _decide(self, events: Sequence[Event]) -> tuple[Any, ...]:
        lock = self._database.lock
        if not lock.acquire(timeout=PATIENCE):
            raise self._busy()
        try:
            verdicts = self._settled(events)
        finally:
            lock.release()
        self._pass_on(verdicts)
        return verdicts

    def _settled(self, events: Sequence[Event]) -> tuple[Any, ...]:
        """Decide by the file, or by memory as long as there is none."""
        if self._spare is not None and time.monotonic() < self._again:
            return self._by_memory(self._spare, events)
        for _ in range(3):  # a new file may be corrupt too
            verdicts, error = self._attempted(events)
            if error is None:
                self._back()
                return verdicts
            if is_corrupt(error) and is_durable(events):
                raise self._unusable(
                    "is corrupt; put a copy back that is whole, or find out what became of the operations that were "
                    "under way, move the file elsewhere, and start anew"
                ) from error
            if not is_corrupt(error) or not self._set_aside():
                break
        return self._by_memory(self._spared(error), events)

    def _by_memory(self, spare: MemoryStore, events: Sequence[Event]) -> tuple[Any, ...]:
        if is_durable(events):
            raise self._unusable(
                "cannot be written, and what must not be forgotten is not left to memory; make room on the disk, or "
                "see to the permissions of the file"
            )
        return spare.decide(self._on_this_clock(events, self._time(self._seen, self._ahead)))

    def _attempted(self, events: Sequence[Event]) -> tuple[tuple[Any, ...], Exception | None]:
        """Return the verdicts, or what is wrong with the file."""
        try:
            connection = self._database.connection()
            if is_durable(events) and self._database.begun_anew:
                raise self._unusable(
                    "was begun anew, as its file was corrupt, deleted or replaced, and its records are lost; find out "
                    f"what became of the operations that were under way, move {self.path}.corrupt-* elsewhere if there "
                    "are any, and make the store anew or restart the process"
                )
            connection.execute("BEGIN IMMEDIATE")
            try:
                verdicts = self._transacted(connection, events)
            finally:
                if connection.in_transaction:  # it was refused, or something was raised
                    connection.execute("ROLLBACK")
        except ConfigurationError as error:
            raise ConfigurationError(f"SQLiteStore({self.path!r}): {error}") from None
        except PolvoError:  # which is an OSError too
            raise
        except (sqlite3.Error, OSError) as error:
            if is_busy(error):
                raise self._busy() from error
            return (), error
        except UnicodeDecodeError as error:
            if not is_corrupt(error):
                raise
            return (), error
        return verdicts, None

    def _transacted(self, connection: sqlite3.Connection, events: Sequence[Event]) -> tuple[Any, ...]:
        seen, ahead, keys = read_clock(connection)
        now = self._time(seen, ahead)
        verdicts, moved = self._moved(connection, events, now)
        if moved is not None:
            for key, state in moved.items():
                keys, kept = write_state(connection, key, encode(state), keys, self._max_keys, now)
                if not kept and is_durable(events):
                    raise full(self.path, self._max_keys)
            write_clock(connection, ClockRow(now, self._ahead, keys))
            connection.execute("COMMIT")
        return verdicts

    def _moved(
        self, connection: sqlite3.Connection, events: Sequence[Event], now: float
    ) -> tuple[tuple[Any, ...], dict[bytes, Any] | None]:
        """Return the verdicts, and the states after the events unless one is refused."""
        moved: dict[bytes, Any] = {}
        verdicts = []
        for machine, name, event in self._on_this_clock(events, now):
            key = name.encode("utf-8", "surrogatepass")
            state = moved.get(key, _UNKNOWN)
            if state is _UNKNOWN:
                state = self._read(connection, key, machine, event)
            moved[key], verdict = machine.transition(state, event, now)
            verdicts.append(verdict)
        refused = any(verdict is False or type(verdict) is Refused for verdict in verdicts)
        return tuple(verdicts), None if refused else moved

    def _read(self, connection: sqlite3.Connection, key: bytes, machine: Machine, event: Any) -> Any:
        try:
            return read_state(connection, key, machine)
        except Undecodable:
            if getattr(event, "forgets", False):
                return machine.initial
        name = key.decode("utf-8", "surrogatepass")
        raise self._unusable(
            f"holds something for {name!r} that cannot be read: it is damaged, or of another version; find out what "
            "became of the operation, and have it forgotten by operation(url, key).forget()"
        )

    def _on_this_clock(self, events: Sequence[Event], now: float) -> list[Event]:
        """Return events with the times that they name on the clock of this store."""
        ahead = now - self._local_now()
        return [
            Event(machine, key, event.shifted(ahead)) if hasattr(event, "shifted") else Event(machine, key, event)
            for machine, key, event in events
        ]

    def _time(self, seen: float, ahead: float) -> float:
        """Return the time, never before one that was seen."""
        seen = max(seen, self._seen)
        now = self._now() + ahead
        if now < seen:
            ahead, now = ahead + seen - now, seen
        self._seen, self._ahead = now, ahead
        return now

    def _back(self) -> None:
        if self._spare is not None:
            self._spare = None
            _log.info("the store %s can be used again", self.path)

    def _set_aside(self) -> bool:
        try:
            self._database.set_aside()
        except OSError:
            return False
        return True

    def _spared(self, error: Exception | None) -> MemoryStore:
        """Return the memory that decides while the file cannot."""
        self._database.close()
        self._again = time.monotonic() + _AGAIN
        if self._spare is None:
            self._spare = MemoryStore(self._max_keys, lambda: self._time(self._seen, self._ahead))
            _log.warning(
                "the store %s cannot be used (%s); until it can, this process decides by itself", self.path, error
            )
        return self._spare

    def _unusable(self, reason: str) -> PolvoError:
        return PolvoError(f"the store {self.path} {reason}", reason="store unusable")

    def _busy(self) -> PolvoError:
        return PolvoError(
            f"the store {self.path} was in use by others for more than {PATIENCE:g} s; look for a process that is "
            "stopped in a transaction, or for a disk that is slow",
            reason="store busy",
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return (SQLiteStore, (self.path, self._max_keys, self._now, self._local_now))
