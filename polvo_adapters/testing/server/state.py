"""Everything the server remembers between requests, gathered so that it can be forgotten in one step.

The event loop alone changes this state, save for the journal, which has its own lock; so there is no lock
here and every step between two awaits is atomic. A reset puts a fresh `ServerState` in place of the old one: a
request still running keeps the old one to its end and cannot disturb what comes after. `RequestContext` is one
request on its way through the server, together with the state it started with.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from polvo_adapters.testing.limiters import FixedWindowLimiter
from polvo_adapters.testing.server.issued_tokens import Tokens
from polvo_adapters.testing.server.journal import Journal, JournalEntry
from polvo_adapters.testing.server.pending_logins import PendingLogins

if TYPE_CHECKING:
    import asyncio

    from polvo_adapters.testing.limiters import Standing
    from polvo_adapters.testing.server.connection import Connection
    from polvo_adapters.testing.server.http_messages import Reply, Request

_Value = TypeVar("_Value")

_UNCOUNTED_PATHS = frozenset({"/counters", "/health"})


class Quotas:
    """The quota of each key, in fixed windows that open with the first request."""

    def __init__(self) -> None:
        self._windows: dict[str, FixedWindowLimiter] = {}

    def take(self, key: str, limit: int, window: float) -> Standing:
        """Let one request of a key through, or not, and return where the key stands."""
        counter = self._windows.setdefault(key, FixedWindowLimiter(limit, window))
        counter.limit, counter.window = limit, window  # each request says what its quota is
        return counter.take(time.monotonic())


class ExpiringCache(Generic[_Value]):
    """A cache of the most recently used values, each for a set time after it was stored.

    Args:
        max_size: How many values are kept; 0 keeps none.
        ttl_seconds: How long a value lasts, however often it is used.
    """

    def __init__(self, max_size: int, ttl_seconds: float) -> None:
        self._max_size = max_size
        self._ttl_seconds = ttl_seconds
        self._values: OrderedDict[str, tuple[float, _Value]] = OrderedDict()

    def get(self, name: str) -> _Value | None:
        """Return a value that still lasts and make it the most recently used; else None."""
        created, value = self._values.get(name, (-math.inf, None))
        if time.monotonic() - created >= self._ttl_seconds:
            self.discard(name)
            return None
        self._values.move_to_end(name)
        return value

    def put(self, name: str, value: _Value) -> None:
        """Store a value, pushing out the least recently used one when there is no room."""
        self._values[name] = (time.monotonic(), value)
        self._values.move_to_end(name)
        if len(self._values) > self._max_size:
            self._values.popitem(last=False)

    def discard(self, name: str) -> None:
        """Forget a value, if there is one."""
        self._values.pop(name, None)


class FailureSwitch:
    """The switch that makes /msg fail: a number of failures left, or a moment not yet reached."""

    def __init__(self) -> None:
        self.count = 0
        self._until = 0.0
        self._until_timestamp: float | None = None

    def fail_for(self, seconds: int) -> None:
        """Fail everything for some seconds from now on."""
        self._until = time.monotonic() + seconds
        self._until_timestamp = time.time() + seconds if seconds else None

    def clear(self) -> None:
        """Return to normal operation."""
        self.count = 0
        self.fail_for(0)

    @property
    def currently_failing(self) -> bool:
        """Whether a /msg would fail now."""
        return self.count > 0 or self._seconds_left() > 0

    def consume(self) -> bool:
        """Return whether this /msg fails, and use up one failure of the count if so."""
        failing = self.currently_failing
        if self.count > 0:
            self.count -= 1
        return failing

    def status(self) -> dict[str, object]:
        """Return the state as /fail/status shows it."""
        return {
            "fail_requests_count": self.count,
            "fail_until_timestamp": self._until_timestamp,
            "duration_remaining_seconds": self._seconds_left(),
            "currently_failing": self.currently_failing,
        }

    def _seconds_left(self) -> float:
        return max(0.0, self._until - time.monotonic())


@dataclass(slots=True, eq=False)
class ServerState:
    """The memory of the server from one reset to the next.

    Attributes:
        messages: The message id of each successful /msg that may be repeated.
        unfinished_messages: The /msg requests now at work, by X-Request-ID; each future ends with the new
            message id, or with None if there will be none.
        failed_messages: The X-Request-IDs that a failing /msg was counted as processed for.
        performed: The X-Request-IDs that an extension endpoint was counted as processed for.
        fault_turns: How many requests each fault key has had.
    """

    messages: ExpiringCache[str]
    failed_messages: ExpiringCache[bool]
    performed: ExpiringCache[bool]
    unfinished_messages: dict[str, asyncio.Future[str | None]] = field(default_factory=dict)
    fault_turns: dict[str, int] = field(default_factory=dict)
    failures: FailureSwitch = field(default_factory=FailureSwitch)
    quotas: Quotas = field(default_factory=Quotas)
    tokens: Tokens = field(default_factory=Tokens)
    logins: PendingLogins = field(default_factory=PendingLogins)
    journal: Journal = field(default_factory=Journal)

    @classmethod
    def create(cls, cache_max_size: int, cache_ttl_seconds: float) -> ServerState:
        """Return an empty state whose caches have the given bounds."""
        bounds = (cache_max_size, cache_ttl_seconds)
        return cls(ExpiringCache(*bounds), ExpiringCache(*bounds), ExpiringCache(*bounds))

    def forget_requests(self) -> None:
        """Start counting and recording afresh; everything else stays."""
        self.journal = Journal()


class RequestContext:
    """One request on its way to a reply.

    Args:
        connection: Where the request came from.
        request: The request, its head read.
        state: The state in force when the request came.
    """

    __slots__ = ("_entry", "_journal", "connection", "request", "state")

    def __init__(self, connection: Connection, request: Request, state: ServerState) -> None:
        self.connection = connection
        self.request = request
        self.state = state
        self._journal = state.journal
        self._entry: JournalEntry | None = None

    async def receive(self) -> None:
        """Read the body and count the request as received; a second call does nothing."""
        if self.request.body is None:
            await self.connection.read_body(self.request)
        self.count_received()

    def count_received(self) -> None:
        """Count the request as received, unless that is done or its path is not counted."""
        path = self.request.path
        if self._entry is None and path not in _UNCOUNTED_PATHS and not path.startswith("/fail/"):
            self._entry = self._journal.receive(self.request)

    def count_processed(self) -> None:
        """Count the request as one the server did the work for."""
        if self._entry is not None:
            self._journal.mark_processed(self._entry)

    def perform(self) -> None:
        """Count the work of an extension endpoint as done, once only for each X-Request-ID."""
        identity = self.request.identity
        if identity is not None:
            if self.state.performed.get(identity):
                return
            self.state.performed.put(identity, True)
        self.count_processed()

    def reply(self, reply: Reply) -> None:
        """Send a whole, well-formed reply."""
        self.connection.send(reply, self.request)
