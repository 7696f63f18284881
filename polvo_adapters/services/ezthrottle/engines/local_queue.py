"""The queue of the local engine: what is put into it stays until it is acknowledged.

On disk it is the `SQLiteAckQueue` of `persist-queue` (extra `queue`): an item is written and synced before `put`
returns, and one that was taken and not acknowledged is there again when the next process opens the queue. In memory it
is a deque, for tests.
"""

from __future__ import annotations

import itertools
import threading
import warnings
from collections import deque
from typing import Any, Protocol

from polvo_adapters.runtime.extras import missing_text

_SWEEP = 200  # acknowledgements between two removals of what was acknowledged


class AckQueue(Protocol):
    """A queue of plain values, for many threads that put and one that takes."""

    def put(self, item: dict[str, Any]) -> int:
        """Add an item, and return its number; once it returns, the item is not lost."""

    def take(self) -> tuple[int, dict[str, Any]] | None:
        """Return the oldest item that was not taken, and its number, or None."""

    def acknowledge(self, number: int) -> None:
        """Remove an item, whether it was taken or not."""

    def holds(self, number: int) -> bool:
        """Return whether an item is still there: another thread or process may have removed it."""

    def resume(self) -> None:
        """Make items available again that were taken by a process that is gone."""

    def close(self) -> None:
        """Close the queue; what is in it stays."""


class MemoryQueue:
    """A queue that ends with the process."""

    def __init__(self) -> None:
        self._items: deque[tuple[int, dict[str, Any]]] = deque()
        self._numbers = itertools.count(1)
        self._held: set[int] = set()

    def put(self, item: dict[str, Any]) -> int:
        """Add an item, and return its number."""
        number = next(self._numbers)
        self._held.add(number)
        self._items.append((number, item))
        return number

    def take(self) -> tuple[int, dict[str, Any]] | None:
        """Return the oldest item, or None."""
        while self._items:
            number, item = self._items.popleft()
            if number in self._held:
                return number, item
        return None

    def acknowledge(self, number: int) -> None:
        """Remove an item."""
        self._held.discard(number)

    def holds(self, number: int) -> bool:
        """Return whether an item is still there."""
        return number in self._held

    def resume(self) -> None:
        """Do nothing: there was no process before."""

    def close(self) -> None:
        """Do nothing: what is left can still be taken."""


def find_missing_library() -> str:
    """Return what to install for a queue on disk, or nothing where it is installed."""
    try:
        import persistqueue  # noqa: F401
    except ImportError:
        return missing_text("a queue on disk", "persist-queue", "queue")
    return ""


class DiskQueue:
    """A queue in a directory.

    Args:
        directory: The directory.

    Raises:
        ImportError: `persist-queue` is not installed; see `find_missing_library`.
    """

    def __init__(self, directory: str) -> None:
        from persistqueue import SQLiteAckQueue
        from persistqueue.serializers import json as plain
        from persistqueue.sqlackqueue import AckStatus

        def open_queue() -> Any:
            return SQLiteAckQueue(
                directory, multithreading=True, auto_resume=False, serializer=plain, db_file_name="queue.db"
            )

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            self._incoming, self._outgoing = open_queue(), open_queue()
        # What is put must be on the disk. That something was taken or acknowledged need not be: after a power cut it is
        # taken up again, and the record of the job says that it is done.
        self._outgoing._putter.execute("PRAGMA synchronous=NORMAL")
        self._lock = threading.Lock()  # or SQLite would have one of the two wait for milliseconds
        self._acknowledged = 0
        self._done = int(AckStatus.acked)

    def put(self, item: dict[str, Any]) -> int:
        """Add an item, and return its number; it is on the disk then."""
        with self._lock:
            number: int = self._incoming.put(item)
        return number

    def take(self) -> tuple[int, dict[str, Any]] | None:
        """Return the oldest item that was not taken, or None."""
        from persistqueue import Empty

        try:
            with self._lock:
                found = self._outgoing.get(block=False, raw=True)
        except Empty:
            return None
        return found["pqid"], found["data"]

    def acknowledge(self, number: int) -> None:
        """Remove an item."""
        with self._lock:
            self._outgoing.ack(id=number)
            self._acknowledged += 1
            if self._acknowledged % _SWEEP == 0:
                self._outgoing.clear_acked_data(max_delete=10 * _SWEEP, keep_latest=0)

    def holds(self, number: int) -> bool:
        """Return whether an item is still there."""
        query = f"SELECT 1 FROM {self._outgoing._table_name} WHERE _id = ? AND status < ?"  # noqa: S608 - its own name
        with self._lock:
            return self._outgoing._getter.execute(query, (number, self._done)).fetchone() is not None

    def resume(self) -> None:
        """Make items available again that were taken by a process that is gone."""
        with self._lock:
            self._outgoing.resume_unack_tasks()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._incoming.close()
            self._outgoing.close()
