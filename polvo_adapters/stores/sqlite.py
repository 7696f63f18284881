"""State in a SQLite file, shared by the processes of one machine: they see the same circuits, budgets and quotas.

Theory of operation. A decision is one transaction (BEGIN IMMEDIATE in WAL mode): it reads the states, puts the events
to their machines, and writes what moved, or rolls back where one refuses. A process that is killed leaves no lock and
no half transaction. States are written by `polvo_adapters.stores.codec`, never as pickles. A state that cannot be read,
or is none that its machine can have made, is moved to the table `aside_1` and begun anew; that of a `durable` machine
is refused until a person has looked. Time: see `polvo_adapters.stores.shared_clock`.

**Keys** beyond `max_keys` are forgotten, the one unused for longest first, but not those whose state is pinned. The
order of use is that of the rows, and is only kept once the store is half full.

**A problem** with the file does not fail the call:

    problem                                  what the store does
    ---------------------------------------  --------------------------------------------------------------------
    full disk, read-only or unreadable file  decides in the memory of this process, and tries again every second
    corrupt file                             sets it aside (never deletes it), and begins a new one
    file deleted, or replaced                begins a new one
    any of these, for `durable` machines     raises PolvoError
    others use it for longer than 5 s        raises PolvoError: memory would grant again what others have
    a database of something else             raises ConfigurationError
    other users can reach the file           raises ConfigurationError (see `polvo_adapters.stores.file_trust`)

What memory granted meanwhile is not carried over to the file. Machines that are `durable` are refused as long as a file
that was set aside lies there, and after a file in use was deleted or replaced, until a new store is made. A new store
cannot tell a file that is missing from a first start.

**Threads** take turns on one connection. **Forks**: the connection is closed before, and opened anew on either side.
**Parking**: calls of this process are woken at once, those of others ask again within a second.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from polvo_adapters.core.keywords import explain_arguments
from polvo_adapters.core.machines import Event
from polvo_adapters.core.setting_kinds import show_value
from polvo_adapters.errors import ConfigurationError, PolvoError
from polvo_adapters.runtime import forks
from polvo_adapters.runtime.logs import name_states
from polvo_adapters.stores.base import is_durable, is_refusal, store_full_error
from polvo_adapters.stores.codec import encode
from polvo_adapters.stores.memory import MemoryStore
from polvo_adapters.stores.persistent import PersistentStore
from polvo_adapters.stores.shared_clock import SharedClock
from polvo_adapters.stores.sqlite_file import Database, is_busy, is_corrupt
from polvo_adapters.stores.sqlite_schema import (
    ClockRow,
    read_clock,
    read_state,
    set_state_aside,
    write_clock,
    write_state,
)


@explain_arguments
class SQLiteStore(PersistentStore):
    """A store in a SQLite file, for all processes of this machine that name the same one.

    Args:
        path: The file; `~` is expanded. Created with mode 0600; its directory must exist, on a local disk.
        max_keys: How many keys are kept; beyond that the one unused for longest is forgotten.
        now: Unix time in seconds. A new file begins with it; from then on the store's time moves by what elapses,
            however wrong the wall clock of a process is.
        local: Clock of this process in seconds, which the deadlines of its calls are on.
        elapsed: Clock in seconds that all processes share and that never goes back; None for that of the system, or for
            `local` where that is given.
        check_files: False to use files of other owners and modes, and directories that other users can write to: for a
            file system that has no owners, or a volume of another user.

    Raises:
        ConfigurationError: `max_keys` is not positive, the directory does not exist, the file is a database of
            something else, or other users can put it there, change it or read it.
    """

    _busy_advice = "in a transaction"

    def __init__(
        self,
        path: str | os.PathLike[str],
        max_keys: int = 10_000,
        now: Callable[[], float] = time.time,
        local: Callable[[], float] = time.monotonic,
        elapsed: Callable[[], float] | None = None,
        *,
        check_files: bool = True,
    ) -> None:
        if not isinstance(path, (str, os.PathLike)):
            raise TypeError(f"SQLiteStore: path must name a file, such as 'state.db', and not {show_value(path)}")
        name = os.fspath(path)
        if not name or "\0" in name or "://" in name:  # which is not shown, as a URL may have a password
            raise ConfigurationError("SQLiteStore: path must name a file, such as 'state.db', and not a URL or nothing")
        super().__init__(name, max_keys, SharedClock(now, local, elapsed), check_files)
        if os.path.isdir(self.path):
            raise ConfigurationError(f"SQLiteStore({self.path!r}): it is a directory; name a file in it")
        if not os.path.isdir(os.path.dirname(self.path)):
            raise ConfigurationError(f"SQLiteStore({self.path!r}): its directory does not exist; make it first")
        self._spare: MemoryStore | None = None
        self._database = Database(self.path, check_files)
        forks.register_guarded(self)
        self._decide(())  # creates the file, and finds out now what is wrong with the path

    def close(self) -> None:
        """Close the file; the next decision opens it again."""
        with suppress(PolvoError):  # of a file that is in use: what is lost is a little of a retry budget
            self._put_counted(tuple(self._counted), self._clock.local())
        with self.lock:
            self._database.close()

    def _decide_by_file(self, events: Sequence[Event]) -> tuple[Any, ...] | None:
        for _ in range(3):  # a new file may be corrupt too
            verdicts, error = self._try_file(events)
            if error is None:
                self._spare = None
                return verdicts
            if is_corrupt(error) and is_durable(events):
                raise self._unusable_error(
                    "is corrupt; put a copy back that is whole, or find out how the operations in progress ended, move "
                    "the file elsewhere, and start anew"
                ) from error
            if not is_corrupt(error) or not self._database.set_aside():
                break
        self._database.close()
        self._fail(str(error))
        return None

    def _decide_by_memory(self, events: Sequence[Event]) -> tuple[Any, ...]:
        if is_durable(events):
            raise self._unusable_error(
                "cannot be written, and a durable state is not kept in memory alone; make room on the disk, or correct "
                "the permissions of the file"
            )
        if self._spare is None:
            self._spare = MemoryStore(self._max_keys, self._clock.now)
        return self._spare.decide(self._clock.shift(events, self._clock.now()))

    def _try_file(self, events: Sequence[Event]) -> tuple[tuple[Any, ...], Exception | None]:
        """Return the verdicts, or what is wrong with the file."""
        try:
            connection = self._database.connection()
            if is_durable(events) and self._database.is_begun_anew:
                raise self._unusable_error(
                    "was begun anew, as its file was corrupt, deleted or replaced, and its records are lost; find out "
                    f"how the operations in progress ended, move {self.path}.corrupt-* elsewhere if there are any, and "
                    "make the store anew or restart the process"
                )
            connection.execute("BEGIN IMMEDIATE")
            try:
                verdicts = self._transact(connection, events)
            finally:
                if connection.in_transaction:  # it was refused, or something was raised
                    connection.execute("ROLLBACK")
        except ConfigurationError as error:
            raise ConfigurationError(f"SQLiteStore({self.path!r}): {error}") from None
        except PolvoError:  # which is an OSError too
            raise
        except (sqlite3.Error, OSError) as error:
            if is_busy(error):
                raise self._busy_error() from error
            return (), error
        except UnicodeDecodeError as error:
            if not is_corrupt(error):
                raise
            return (), error
        return verdicts, None

    def _transact(self, connection: sqlite3.Connection, events: Sequence[Event]) -> tuple[Any, ...]:
        clock = self._clock
        seen, ahead, keys, start = read_clock(connection, clock.boot)
        clock.follow(seen, ahead, start)
        now, verdicts, _, after, unreadable = self._transition(
            events, lambda machine, key: read_state(connection, _encode(key), machine)
        )
        if not is_refusal(verdicts):
            for key, machine in unreadable.items():
                set_state_aside(connection, _encode(key))
                name = name_states([Event(machine, key, None)])
                text = f"the store {self.path} held a state that cannot be read, {name}; it is in the table aside_1 now"
                self._log_later(logging.WARNING, f"{text}, and was begun anew")
            for key, state in after.items():
                keys, is_kept = write_state(connection, _encode(key), encode(state), keys, self._max_keys, now)
                if not is_kept and is_durable(events):
                    raise store_full_error(self.path, self._max_keys)
            write_clock(connection, ClockRow(now, clock.ahead, keys, clock.start), clock.boot, clock.is_start_new)
            connection.execute("COMMIT")
        return verdicts

    def before_fork(self) -> None:
        """Close the connection: a child would inherit what SQLite believes to have locked, and not the locks."""
        self._database.close()

    def after_fork_in_child(self) -> None:
        """Replace the locks, and leave deferred decisions and news to the parent."""
        super().after_fork_in_child()
        self._database.after_fork_in_child()

    def __reduce__(self) -> tuple[Any, ...]:
        clock = self._clock
        make = partial(SQLiteStore, check_files=self.check_files)
        return (make, (self.path, self._max_keys, clock.wall, clock.local, clock.given))


def _encode(key: str) -> bytes:
    return key.encode("utf-8", "surrogatepass")
