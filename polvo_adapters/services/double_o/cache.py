"""Secrets in memory for a while, and one fetch for all who want one at the same time.

Theory of operation. A value is found by server, digest of the token, and kind. It may be used while it is younger than
both the caller who kept it and the caller who wants it allow, on a clock that only moves forward. Who finds none takes
the flight, and those who come meanwhile wait for it; an error is theirs too. If the thread of the flight is
interrupted, one of those who wait takes another. A value that was invalidated while it was on its way is not kept.

Tokens are not in here, only digests with a key of this process. Values are; they leave with the next value that is kept
after their time, or when the cache is full.
"""

from __future__ import annotations

import copy
import os
import secrets
import threading
import weakref
from collections.abc import Callable
from hashlib import blake2b
from typing import Any, NamedTuple

from polvo_adapters.runtime.clock import SYSTEM

_KEY = secrets.token_bytes(32)
_caches: weakref.WeakSet[SecretCache] = weakref.WeakSet()


class OverdueError(Exception):
    """The fetch of another thread did not end in the time that the caller has."""


class _Place(NamedTuple):
    server: str
    token: str
    kind: str


class _Entry(NamedTuple):
    value: Any
    since: float
    ttl: float


class _Flight:
    """A fetch that is under way; the thread that has it sets `value` or `error`, or neither if it was interrupted."""

    __slots__ = ("done", "error", "landed", "value")

    def __init__(self) -> None:
        self.done = threading.Event()
        self.landed = False
        self.value: Any = None
        self.error: Exception | None = None


class SecretCache:
    """Values of the calls with a `cache_ttl`, for all threads.

    Args:
        max_entries: How many are kept; beyond that the oldest goes.
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
        _caches.add(self)

    def get(
        self, server: str, token: str, kind: str, ttl: float, fetch: Callable[[], Any], patience: float | None = None
    ) -> Any:
        """Return a value that is younger than `ttl`, from the cache or from one fetch for all who wait.

        Args:
            server: Base URL of the server that it comes from.
            token: The token that it is fetched with.
            kind: What it is.
            ttl: Seconds for which it may be used; 0 or less fetches it, and keeps nothing.
            fetch: Fetches it.
            patience: Seconds to wait for another thread's fetch, or None for as long as it takes.

        Raises:
            OverdueError: The patience is over.
            Exception: What `fetch` raises; a copy of it for those who waited.
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
        return self._fly(place, mine, _Entry(None, now, ttl), fetch)

    def _fly(self, place: _Place, flight: _Flight, entry: _Entry, fetch: Callable[[], Any]) -> Any:
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
                        self._keep(place, entry._replace(value=flight.value))
            flight.done.set()

    def _keep(self, place: _Place, entry: _Entry) -> None:
        now, entries = self._now(), self._entries
        entries.pop(place, None)
        for each in [each for each, old in entries.items() if now - old.since >= old.ttl]:
            del entries[each]
        while len(entries) >= self._max_entries:
            del entries[next(iter(entries))]
        entries[place] = entry

    def invalidate(self, server: str | None = None, token: str | None = None) -> None:
        """Forget values, those on their way included.

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

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"<SecretCache of {len(self)}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self._max_entries, self._now))  # without values


def _digest(token: str) -> str:
    return blake2b(token.encode("utf-8", "surrogatepass"), digest_size=16, key=_KEY).hexdigest()


def _after_fork_in_child() -> None:
    """Leave the flights to the parent's threads: they do not land here."""
    for cache in _caches:
        cache._lock = threading.Lock()
        cache._flights.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
