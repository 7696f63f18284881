"""Secrets in memory for a while, and one fetch for all callers that want the same secret at the same time.

Theory of operation. A value is found by server, digest of the token, and kind. It may be used while it is younger than
both the `ttl` that it was stored with and the `ttl` of the caller, on a clock that only moves forward. A caller that
finds no value starts a flight (one fetch), and later callers wait for it and share its value or its error. If the
thread of the flight is interrupted, one of the waiting callers starts another. A value that was invalidated during its
flight is not stored.

The cache holds digests of tokens, with a key of this process, never tokens. Values that are too old leave when the next
one is stored, and the oldest when the cache is full.
"""

from __future__ import annotations

import copy
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, NamedTuple

from polvo_adapters.redaction import unpicklable
from polvo_adapters.runtime import forks
from polvo_adapters.runtime.clock import SYSTEM

_KEY = secrets.token_bytes(32)


class OverdueError(Exception):
    """The fetch of another thread did not end within the caller's patience."""


class _Place(NamedTuple):
    server: str
    token: str
    kind: str


@unpicklable
class _Entry(NamedTuple):
    value: Any
    since: float
    ttl: float

    def __repr__(self) -> str:
        return f"<_Entry for {self.ttl:g} s>"


@dataclass(slots=True, eq=False)
class _Flight:
    """A fetch under way; its thread sets `value` or `error`, or neither if it was interrupted."""

    done: threading.Event = field(default_factory=threading.Event)
    landed: bool = False
    value: Any = None
    error: Exception | None = None


class SecretCache:
    """Values of the calls with a `cache_ttl`, for all threads.

    Args:
        max_entries: The most values that it holds; beyond that the oldest leaves.
        now: Clock in seconds that only moves forward.

    Raises:
        ValueError: `max_entries` is not positive.
    """

    def __init__(self, max_entries: int = 1000, now: Callable[[], float] = SYSTEM.now) -> None:
        if max_entries < 1:
            raise ValueError(f"SecretCache(max_entries={max_entries!r}): max_entries must be at least 1")
        self._max_entries = max_entries
        self._now = now
        self._entries: dict[_Place, _Entry] = {}
        self._flights: dict[_Place, _Flight] = {}
        self._lock = threading.Lock()
        forks.register(self)

    def get(
        self, server: str, token: str, kind: str, ttl: float, fetch: Callable[[], Any], patience: float | None = None
    ) -> Any:
        """Return a value that is younger than `ttl`, from the cache or from one fetch for all waiting callers.

        Args:
            server: Base URL of the server that it comes from.
            token: The token that it is fetched with.
            kind: What it is.
            ttl: Seconds for which it may be used; 0 or less fetches it, and stores nothing.
            fetch: Fetches it.
            patience: Seconds to wait for another thread's fetch, or None for as long as it takes.

        Raises:
            OverdueError: Another thread's fetch took longer than `patience`.
            Exception: What `fetch` raises; waiting callers get a copy.
        """
        if ttl <= 0:
            return fetch()
        place = _Place(server, _digest(token), kind)
        ends = None if patience is None else self._now() + patience
        while True:
            with self._lock:
                now = self._now()
                entry = self._entries.get(place)
                if entry is not None and now - entry.since < min(ttl, entry.ttl):
                    return copy.deepcopy(entry.value)
                flight = self._flights.get(place)
                if flight is None:
                    mine = self._flights[place] = _Flight()
                    break
            left = None if ends is None else max(0.0, ends - now)
            if not flight.done.wait(left):
                raise OverdueError
            if flight.error is not None:
                raise copy.copy(flight.error)  # or the threads would write into one traceback
            if flight.landed:
                return copy.deepcopy(flight.value)
        return self._fetch_and_store(place, mine, _Entry(None, now, ttl), fetch)

    def _fetch_and_store(self, place: _Place, flight: _Flight, entry: _Entry, fetch: Callable[[], Any]) -> Any:
        try:
            value = fetch()
            flight.value, flight.landed = copy.deepcopy(value), True
            return value
        except Exception as error:
            flight.error = copy.copy(error)
            raise
        finally:
            with self._lock:
                if self._flights.get(place) is flight:
                    del self._flights[place]
                    if flight.landed:
                        self._store(place, entry._replace(value=flight.value))
            flight.done.set()

    def _store(self, place: _Place, entry: _Entry) -> None:
        now, entries = self._now(), self._entries
        entries.pop(place, None)
        for each in [each for each, old in entries.items() if now - old.since >= old.ttl]:
            del entries[each]
        while len(entries) >= self._max_entries:
            del entries[next(iter(entries))]
        entries[place] = entry

    def invalidate(self, server: str | None = None, token: str | None = None) -> None:
        """Remove values, and do not store those of flights under way.

        Args:
            server: Of this server only, or of all.
            token: Of this token only, or of all.
        """
        digest = None if token is None else _digest(token)
        with self._lock:
            for places in (self._entries, self._flights):
                for place in list(places):
                    if server in (None, place.server) and digest in (None, place.token):
                        del places[place]

    def after_fork_in_child(self) -> None:
        """Leave the fetches in progress to the parent's threads: they do not end here."""
        self._lock = threading.Lock()
        self._flights.clear()

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"<SecretCache of {len(self)}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self._max_entries, self._now))  # without values


def _digest(token: str) -> str:
    return blake2b(token.encode("utf-8", "surrogatepass"), digest_size=16, key=_KEY).hexdigest()
