"""What the server received and what it worked on: the oracle that tells a harmless retry from a duplicate.

Every counted request becomes an entry when it has arrived and may be marked as processed later. The event
loop writes and any thread reads, so one lock guards it all; snapshots are copies. An entry knows its journal,
so a request that was still running when the journal was replaced leaves no trace in the new one.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import TypedDict

from polvo_adapters.testing.server.http_messages import Body, Request

MAX_RECORDS = 10_000


class KeyCounters(TypedDict):
    """How many requests arrived, and for how many the server did the work or may have done it."""

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


class Entry:
    """A request in a journal."""

    __slots__ = ("_journal", "key", "processed", "request")

    def __init__(self, journal: Journal, request: Request, key: str) -> None:
        self._journal = journal
        self.request = request
        self.key = key
        self.processed = False

    def mark_processed(self) -> None:
        """Note, once, that this request made the server do its work."""
        self._journal.mark_processed(self)

    def to_record(self) -> RequestRecord:
        """Return an immutable copy."""
        request = self.request
        body = request.body or Body()
        return RequestRecord(
            method=request.method,
            path=request.target,
            headers=dict(request.headers),
            body=body.kept,
            body_length=body.length,
            body_sha256=body.sha256,
            key=self.key,
            processed=self.processed,
        )


class Journal:
    """Counts all requests and remembers the last 10,000 of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: deque[Entry] = deque(maxlen=MAX_RECORDS)
        self._total = KeyCounters(received=0, processed=0)
        self._keys: dict[str, KeyCounters] = {}

    def receive(self, request: Request) -> Entry:
        """Count a request as received and return its entry."""
        entry = Entry(self, request, request.text("key", request.path))
        with self._lock:
            self._entries.append(entry)
            self._total["received"] += 1
            self._keys.setdefault(entry.key, KeyCounters(received=0, processed=0))["received"] += 1
        return entry

    def mark_processed(self, entry: Entry) -> None:
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

    def records(self) -> list[RequestRecord]:
        """Return the last requests, oldest first."""
        with self._lock:
            return [entry.to_record() for entry in self._entries]
