"""An alarm that interrupts a wait, and nothing before it, however long that takes."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType


class WaitingAlarm:
    """Finds out whether the main thread waits: whether some signals in a row have found it at the same place.

    A signal after a fixed time may find the main thread on its way to the wait, where a machine is slow.
    """

    def __init__(self, times: int = 4) -> None:
        self._times = times
        self._place: tuple[int, int] | None = None
        self._count = 0

    def is_waiting(self, frame: FrameType | None) -> bool:
        """Return whether it waits at the place of this signal; not for the first signals there."""
        assert frame is not None
        place = id(frame), frame.f_lasti
        self._count = self._count + 1 if place == self._place else 1
        self._place = place
        return self._count >= self._times


@contextlib.contextmanager
def ringing(handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """Call a handler of signals again and again, until it raises or the block ends."""

    def ring(signum: int, frame: FrameType | None) -> None:
        try:
            handler(signum, frame)
        except BaseException:
            signal.setitimer(signal.ITIMER_REAL, 0)
            raise

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 0.03, 0.008)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
