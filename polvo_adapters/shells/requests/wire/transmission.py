"""What one attempt takes along to the connections that carry it.

It travels with the connection: from the adapter's view to the pool's view to the connection that the pool lends. Not in
a thread-local, which would reach into calls that the body's iterator makes, and into those of other greenlets.
"""

from __future__ import annotations

from polvo_adapters.core.trace import Trace
from polvo_adapters.runtime.clock import Clock
from polvo_adapters.shells.requests.wire.sockets import Sockets


class Transmission:
    """One attempt below the adapter.

    Args:
        clock: Time.
        deadline: When the call must be over, on that clock, or None.
        sockets: Where its sockets are noted, in a race, or None.
        once: Whether the request must not be repeated, so that it needs a connection that is surely alive.
        owner: Who may use connections on which the server has authenticated a user, or None for everybody.

    Attributes:
        trace: What the attempt has gone through.
        error: What the last `urlopen` raised, or None.
        callers_error: What the iterator of the body raised, or None.
    """

    __slots__ = ("callers_error", "clock", "deadline", "error", "once", "owner", "sockets", "trace")

    def __init__(
        self,
        clock: Clock,
        deadline: float | None = None,
        sockets: Sockets | None = None,
        *,
        once: bool = False,
        owner: object = None,
    ) -> None:
        self.clock = clock
        self.deadline = deadline
        self.sockets = sockets
        self.once = once
        self.owner = owner
        self.trace = Trace()
        self.error: BaseException | None = None
        self.callers_error: BaseException | None = None

    def limit(self, seconds: float | None) -> float | None:
        """Return a timeout, shortened to what is left of the deadline.

        Raises:
            TimeoutError: Nothing is left.
        """
        if self.deadline is None:
            return seconds
        left = self.deadline - self.clock.now()
        if left <= 0:
            raise TimeoutError("the deadline of the call is over")
        return left if seconds is None or seconds > left else seconds
