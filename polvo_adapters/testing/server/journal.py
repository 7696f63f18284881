"""The requests that the server received and worked on: they distinguish a harmless retry from a duplicate.

Every counted request becomes an entry when it has arrived and may be marked as processed later. The event
loop writes and any thread reads, so one lock guards it all; snapshots are copies. A request keeps the journal that it
was received in, so that one still running when the journal is replaced leaves no trace in the new one.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import TypedDict

from polvo_adapters.runtime import forks
from polvo_adapters.testing.server.http_messages import Request, RequestBody

MAX_RECORDS = 10_000


class KeyCounters(TypedDict):
    """Requests that arrived, and those for which the server did the work or may have done it."""

    received: int
    processed: int


class Counters(KeyCounters):
    """The counters of all requests together, and of each key."""

    keys: dict[str, KeyCounters]


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One request as the server saw it.

    Attributes:
        method: The method as sent.
        path: The path with its query.
        headers: The headers with lower-case names; repeated ones are joined by commas.
        body: The first 64 KiB of the body.
        body_length: The length of the whole body.
        body_sha256: The hexadecimal SHA-256 digest of the whole body.
        key: The key the request was counted under.
        processed: Whether the server did the work, or may have done it, because of this very request.
    """

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    body_length: int
    body_sha256: str
    key: str
    processed: bool


@dataclass(slots=True, eq=False)
class JournalEntry:
    """A request in a journal."""

    request: Request
    key: str
    processed: bool = False

    def to_record(self) -> RequestRecord:
        """Return an immutable copy."""
        request = self.request
        body = request.body or RequestBody()
        return RequestRecord(
            method=request.method,
            path=request.target,
            headers=dict(request.headers),
            body=bytes(body.kept),
            body_length=body.length,
            body_sha256=body.sha256,
            key=self.key,
            processed=self.processed,
        )


class Journal:
    """The counters of all requests, and a record of the last 10,000."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        forks.register(self)
        self._entries: deque[JournalEntry] = deque(maxlen=MAX_RECORDS)
        self._total = KeyCounters(received=0, processed=0)
        self._keys: dict[str, KeyCounters] = {}

    def receive(self, request: Request) -> JournalEntry:
        """Count a request as received and return its entry."""
        entry = JournalEntry(request, request.text("key", request.path))
        with self._lock:
            self._entries.append(entry)
            self._total["received"] += 1
            self._keys.setdefault(entry.key, KeyCounters(received=0, processed=0))["received"] += 1
        return entry

    def mark_processed(self, entry: JournalEntry) -> None:
        """Count an entry as processed unless it already is."""
        with self._lock:
            if not entry.processed:
                entry.processed = True
                self._total["processed"] += 1
                self._keys[entry.key]["processed"] += 1

    def counters(self) -> Counters:
        """Return a copy of all counters."""
        with self._lock:
            keys = {key: counters.copy() for key, counters in self._keys.items()}
            return Counters(received=self._total["received"], processed=self._total["processed"], keys=keys)

    def counters_for(self, key: str) -> KeyCounters:
        """Return a copy of one key's counters, zeros for a key never seen."""
        with self._lock:
            return self._keys.get(key, KeyCounters(received=0, processed=0)).copy()

    def after_fork_in_child(self) -> None:
        """Replace the lock, which the thread of the server may have held in the parent."""
        self._lock = threading.Lock()

    def records(self) -> list[RequestRecord]:
        """Return the last requests, oldest first."""
        with self._lock:
            return [entry.to_record() for entry in self._entries]
