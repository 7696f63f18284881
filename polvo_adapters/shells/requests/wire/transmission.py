"""What one attempt takes along to the connections that carry it.

It travels with the connection: from the adapter's view to the pool's view to the connection that the pool lends. Not in
a thread-local, which would reach into calls that the body's iterator makes, and into those of other greenlets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from polvo_adapters.core.outcomes import Failure
from polvo_adapters.core.trace import QUEUE, Trace
from polvo_adapters.runtime.clock import Clock
from polvo_adapters.shells.requests.wire.owners import ConnectionOwner
from polvo_adapters.shells.requests.wire.sockets import Sockets

if TYPE_CHECKING:
    from urllib3.util import Retry

CONNECTION_BOUND = ("ntlm", "negotiate", "kerberos")
"""Beginnings of the schemes that authenticate a connection: NTLM, and Negotiate (RFC 4559 section 6)."""

_CREDENTIALS = ("authorization", "proxy-authorization")


class Transmission(Trace):
    """One attempt below the adapter, with its trace.

    Args:
        clock: Time.
        began: When the attempt began, on that clock.
        deadline: When the call must be over, or None.
        sockets: Where its sockets are noted, in a race, or None.
        once: Whether the request must not be repeated, so that it needs a connection that is surely alive.
        owner: The caller, where several share the pools; connections that authenticate it are kept for it alone.
        streamed: Whether the body of the request is read while it is sent.
        retries: The urllib3 `Retry` of this attempt, or None for that of the adapter below.

    Attributes:
        fallback: The timeout for pools that are asked to wait without one, UNLIMITED for none, or None.
        is_watched: Whether connections have to look at each block that they send.
        now: Reads the clock.
        is_demanding: Whether a connection must be looked at before it may serve the attempt, or another after it.
        is_bound: Whether the request or the response authenticates the connection itself.
        has_asked: Whether a pool was asked for.
        has_pool: Whether one was found.
        is_cut_off: Whether a handshake was ended because the deadline was over.
        over: Whether the adapter has returned or raised; a connection keeps it until it serves the next attempt.
        error: What an adapter of ours below this one raised, or None.
        failure: What that meant there, or None.
        callers_error: What the iterator of the body raised, or None.
    """

    __slots__ = (
        "callers_error",
        "clock",
        "deadline",
        "error",
        "failure",
        "fallback",
        "has_asked",
        "has_pool",
        "is_bound",
        "is_cut_off",
        "is_demanding",
        "is_watched",
        "now",
        "once",
        "over",
        "owner",
        "retries",
        "sockets",
    )

    def __init__(
        self,
        clock: Clock,
        began: float,
        deadline: float | None = None,
        sockets: Sockets | None = None,
        once: bool = False,
        owner: ConnectionOwner | None = None,
        streamed: bool = False,
        retries: Retry | None = None,
    ) -> None:
        self.marks = [(QUEUE, began)]  # as the trace does it, which would be one call more in every attempt
        self.lent = self.untraced = self.proxy_status = 0
        self.sent = False
        self.clock = clock
        self.now = clock.now
        self.deadline = deadline
        self.sockets = sockets
        self.once = once
        self.owner = owner
        self.retries = retries
        self.is_watched = streamed or deadline is not None
        self.is_demanding = once or self.is_watched
        self.is_bound = False
        self.is_cut_off = False
        self.has_asked = self.has_pool = False
        self.over = False
        self.fallback: Any = None
        self.error: BaseException | None = None
        self.failure: Failure | None = None
        self.callers_error: BaseException | None = None

    def end_inside(self, error: BaseException | None, failure: Failure | None, attempts: Sequence[Any]) -> None:
        """Take over how the call of an adapter of ours below this one has ended, and what its attempts have proved."""
        self.error, self.failure = error, failure
        self.adopt(attempts)

    def mark(self, phase: str) -> None:
        """Note that a phase begins now."""
        self.marks.append((phase, self.now()))

    def bind_if(self, authenticates: bool) -> None:
        """Note that the request or its response authenticates the connection, if it does."""
        if authenticates:
            self.is_bound = self.is_demanding = True

    def limit(self, seconds: float | None) -> float | None:
        """Return a timeout, shortened to what is left of the deadline.

        Raises:
            TimeoutError: Nothing is left.
        """
        if self.deadline is None:
            return seconds
        left = self.deadline - self.now()
        if left <= 0:
            raise TimeoutError("the deadline of the call is over")
        return left if seconds is None or seconds > left else seconds


def authenticates_connection(headers: Mapping[str, str | bytes]) -> bool:
    """Return whether the headers of a request authenticate its connection, and not the request alone."""
    for name in _CREDENTIALS:
        value = headers.get(name) or ""
        text = value.decode("latin-1") if isinstance(value, bytes) else value
        if text.lower().startswith(CONNECTION_BOUND):
            return True
    return False
