"""Timeouts that know the deadline of the call.

Theory of operation. httpx hands the timeouts of a request down to httpcore as they are, and httpcore hands them to each
single wait: for the pool, to connect, for TLS, to write, to read. So a timeout is what travels with the request to the
place of the wait. A `DeadlineTimeout` is a number like any other, namely what was left when the attempt began; and to
`polvo_adapters.shells.httpx.network` it says what is left now.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polvo_adapters.runtime.clock import Clock

if TYPE_CHECKING:
    from typing_extensions import Self


class DeadlineTimeout(float):
    """A timeout in seconds, which ends with a deadline as well.

    Args:
        patience: The timeout that holds without the deadline, or None; it may be one of this class.
        deadline: When the call must be over, on the clock.
        clock: Time and threads.

    Attributes:
        deadline: The same.
        clock: The same.
    """

    __slots__ = ("_patience", "clock", "deadline")

    def __new__(cls, patience: float | None, deadline: float, clock: Clock) -> Self:
        """Return the timeout; its value is what holds now."""
        left = deadline - clock.now()
        self = super().__new__(cls, left if patience is None else min(patience, left))
        self._patience, self.deadline, self.clock = patience, deadline, clock
        return self

    _patience: float | None
    deadline: float
    clock: Clock

    @property
    def left(self) -> float:
        """The seconds until the deadline, which are negative after it."""
        left, outer = self.deadline - self.clock.now(), self._patience
        return min(left, outer.left) if type(outer) is DeadlineTimeout else left

    @property
    def patience(self) -> float | None:
        """The timeout that holds without any deadline, or None."""
        outer = self._patience
        return outer.patience if type(outer) is DeadlineTimeout else outer

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle it as the number that it is."""
        return float, (float(self),)


def limit(timeout: float | None) -> float | None:
    """Return a timeout in seconds, shortened to what is left of the deadline that it knows.

    Raises:
        TimeoutError: Nothing is left.
    """
    if type(timeout) is not DeadlineTimeout:
        return timeout
    left, patience = timeout.left, timeout.patience
    if left <= 0:
        raise TimeoutError("the deadline of the call is over")
    return left if patience is None or left < patience else patience


def find_deadline(request: Any, clock: Any) -> float | None:
    """Return the deadline of a call outside of this one, which the timeouts of its request know, or None.

    Args:
        request: A request of httpx.
        clock: The clock of this call; the deadline may be on another one, and then it is not known here.
    """
    timeouts = request.extensions.get("timeout")
    timeout = timeouts.get("pool") if isinstance(timeouts, dict) else None
    return timeout.deadline if type(timeout) is DeadlineTimeout and timeout.clock is clock else None
