"""The files of a local engine: its queue, its records, its state, and the lock of the process that works.

One process at a time works on a directory: the one that holds its lock, which ends with the process. Without a
directory everything is in memory.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from polvo_adapters.services.ezthrottle import checks
from polvo_adapters.services.ezthrottle.engines.local_queue import (
    AckQueue,
    DiskQueue,
    MemoryQueue,
    find_missing_library,
)
from polvo_adapters.services.ezthrottle.engines.local_records import DiskRecords, JobRecords, MemoryRecords
from polvo_adapters.services.ezthrottle.errors import EZThrottleError
from polvo_adapters.stores import private_files
from polvo_adapters.stores.base import Store
from polvo_adapters.stores.file_trust import Unfit
from polvo_adapters.stores.memory import MemoryStore
from polvo_adapters.stores.sqlite import SQLiteStore

_MOST_KEYS = 1_000_000

_abandoned: list[object] = []
"""Connections of the parent in a forked child: SQLite allows neither to use nor to close them there."""


class LocalFiles:
    """What an engine keeps, in a directory or in memory.

    Args:
        path: The directory, which is made where it is missing; None for memory.
        store: Where circuits, quotas and the records of keys live; None for one beside the queue.

    Raises:
        ArgumentError: Other users can change the directory, or its files cannot be used.
    """

    queue: AckQueue
    records: JobRecords
    store: Store

    def __init__(self, path: str | None, store: Store | None) -> None:
        self.path = path
        self._owned: SQLiteStore | None = None
        self._descriptor: int | None = None
        if path is None:
            self.queue, self.records = MemoryQueue(), MemoryRecords()
            self.store = MemoryStore(max_keys=_MOST_KEYS) if store is None else store
            return
        self._lock_path = os.path.join(path, "lock")
        problem = find_missing_library() or self._prepare_directory(path) or self._open_files(path, store)
        if problem:
            raise checks.refuse("path", problem)

    def _prepare_directory(self, path: str) -> str:
        """Make the directory, and return why its lock cannot be used, or nothing."""
        try:
            os.makedirs(path, 0o700, exist_ok=True)
            descriptor = private_files.try_to_lock(self._lock_path, True)
            if descriptor is not None:
                private_files.unlock(descriptor)
                os.close(descriptor)
        except Unfit as error:
            return str(error)
        except OSError as error:
            return f"the directory cannot be used ({error.strerror or error})"
        return ""

    def _open_files(self, path: str, store: Store | None) -> str:
        """Open the files, and return why they cannot be used, or nothing."""
        try:
            for name in ("queue.db", "jobs.db"):  # SQLite gives the files beside them the same mode
                os.close(os.open(os.path.join(path, name), os.O_CREAT | os.O_RDWR, 0o600))
            self.queue = DiskQueue(path)
            self.records = DiskRecords(os.path.join(path, "jobs.db"))
            if store is None:
                store = self._owned = SQLiteStore(os.path.join(path, "state.db"), max_keys=_MOST_KEYS)
            self.store = store
        except (sqlite3.Error, OSError) as error:
            return f"its files cannot be used ({error})"
        return ""

    @contextmanager
    def explain(self) -> Iterator[None]:
        """Raise EZThrottleError where the files cannot be read or written."""
        try:
            yield
            return
        except sqlite3.Error as error:
            reason = str(error)
        raise EZThrottleError(
            f"the queue at {self.path} cannot be used: {reason}; submit the job again with the same key", reason="queue"
        )

    @property
    def is_locked_here(self) -> bool:
        """Whether this process is the one that works on the directory."""
        return self._descriptor is not None

    def take_lock(self) -> bool:
        """Return whether this process is the one that works, and become it where there is none."""
        if self.path is None or self._descriptor is not None:
            return True
        try:
            self._descriptor = private_files.try_to_lock(self._lock_path, True)
        except (OSError, Unfit):
            return False
        if self._descriptor is None:
            return False
        self.queue.resume()
        return True

    def close(self) -> None:
        """Close the files, and free the directory for the next process."""
        self.queue.close()
        self.records.close()
        if self._owned is not None:
            self._owned.close()
        if self._descriptor is not None:
            private_files.unlock(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None

    def abandon(self) -> None:
        """Let go of the files in a forked child, which can neither use nor close the connections of its parent."""
        _abandoned.append((self.queue, self.records))
        if self._descriptor is not None:
            os.close(self._descriptor)  # which unlocks nothing: the parent has it open
            self._descriptor = None
