"""Secrets in memory for a while, and one fetch for all callers that want the same secret at the same time.

Theory of operation. A value is found by server, digest of the token, and kind. It may be used while it is younger than
both the `ttl` that it was stored with and the `ttl` of the caller, on a clock that only moves forward. A caller that
finds no value starts a flight (one fetch), and later callers wait for it and share its value or its error. If the
thread or task of the flight is interrupted, one of the waiting callers starts another. A value that was invalidated
during its flight is not stored.

The cache holds digests of tokens, with a key of this process, never tokens. Values that are too old leave when the next
one is stored, and the oldest when the cache is full.
"""

from __future__ import annotations

import copy
import secrets
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, NamedTuple

from polvo_adapters.redaction import unpicklable
from polvo_adapters.runtime import forks
from polvo_adapters.runtime.clock import SYSTEM

_KEY = secrets.token_bytes(32)


class OverdueError(Exception):
    """The fetch of another caller did not end within the caller's patience."""


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
    """A fetch under way; its caller sets `value` or `error`, or neither if it was interrupted."""

    done: Future[None] = field(default_factory=Future)
    landed: bool = False
    value: Any = None
    error: Exception | None = None


class SecretCache:
    """Values of the calls with a `cache_ttl`, for all threads and for the tasks of all event loops.

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
            patience: Seconds to wait for another caller's fetch, or None for as long as it takes.

        Raises:
            OverdueError: Another caller's fetch took longer than `patience`.
            Exception: What `fetch` raises; waiting callers get a copy.
        """
        if ttl <= 0:
            return fetch()
        look = _Look(self, _Place(server, _digest(token), kind), ttl, patience)
        while (flight := look.find()) is not None:
            with suppress(FutureTimeoutError):
                flight.done.result(look.left)
        if look.mine is None:
            return look.value
        with self._landing(look, look.mine) as land:
            return land(fetch())

    async def aget(
        self,
        server: str,
        token: str,
        kind: str,
        ttl: float,
        fetch: Callable[[], Awaitable[Any]],
        patience: float | None = None,
    ) -> Any:
        """Return a value without blocking the event loop; as `get`, whose fetches and values it shares.

        A task that is cancelled while it fetches leaves that to one of the waiting callers.
        """
        if ttl <= 0:
            return await fetch()
        from polvo_adapters.runtime.loops import wait_for  # with asyncio, which threads do without

        look = _Look(self, _Place(server, _digest(token), kind), ttl, patience)
        while (flight := look.find()) is not None:
            await wait_for(flight.done, look.left)
        if look.mine is None:
            return look.value
        with self._landing(look, look.mine) as land:
            return land(await fetch())

    @contextmanager
    def _landing(self, look: _Look, flight: _Flight) -> Iterator[Callable[[Any], Any]]:
        """Share and store what is fetched within a `with` block, which hands it to the function that this returns."""

        def land(value: Any) -> Any:
            flight.value, flight.landed = copy.deepcopy(value), True
            return value

        try:
            yield land
        except Exception as error:
            flight.error = copy.copy(error)
            raise
        finally:
            with self._lock:
                if self._flights.get(look.place) is flight:
                    del self._flights[look.place]
                    if flight.landed:
                        self._store(look.place, _Entry(flight.value, look.now, look.ttl))
            flight.done.set_result(None)

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


class _Look:
    """One caller's look for a value: in the cache, or in the fetches under way.

    Args:
        cache: The cache.
        place: Where the value is.
        ttl: Seconds for which it may be used.
        patience: Seconds to wait for another caller's fetch, or None.

    Attributes:
        value: The value, once `find` has returned None and there is no `mine`.
        mine: The fetch that this caller has to make.
        now: When it looked last.
    """

    def __init__(self, cache: SecretCache, place: _Place, ttl: float, patience: float | None) -> None:
        self._cache, self.place, self.ttl = cache, place, ttl
        self._ends = None if patience is None else cache._now() + patience
        self._waited: _Flight | None = None
        self.value: Any = None
        self.mine: _Flight | None = None
        self.now = 0.0

    @property
    def left(self) -> float | None:
        """The seconds of patience that are left, or None."""
        return None if self._ends is None else max(0.0, self._ends - self.now)

    def find(self) -> _Flight | None:
        """Return the fetch of another caller to wait for; None where there is a value, or a fetch to make.

        Raises:
            OverdueError: The fetch that this caller has waited for is not over.
            Exception: A copy of what that fetch has raised.
        """
        before, cache = self._waited, self._cache
        if before is not None:
            if not before.done.done():
                raise OverdueError
            if before.error is not None:
                raise copy.copy(before.error)  # or the callers would write into one traceback
            if before.landed:
                self.value = copy.deepcopy(before.value)
                return None
        with cache._lock:
            now = self.now = cache._now()
            entry = cache._entries.get(self.place)
            if entry is not None and now - entry.since < min(self.ttl, entry.ttl):
                self.value = copy.deepcopy(entry.value)
                return None
            flight = self._waited = cache._flights.get(self.place)
            if flight is None:
                self.mine = cache._flights[self.place] = _Flight()
            return flight


def _digest(token: str) -> str:
    return blake2b(token.encode("utf-8", "surrogatepass"), digest_size=16, key=_KEY).hexdigest()
