"""What an exchange needs to take part in a race, where another thread may cancel it.

Theory of operation. While an attempt is being made, its response belongs to the thread that sends: two threads in one
response would give its connection back twice, and then two requests would share it. The thread that cancels only
interrupts the attempt, and the thread that sends closes the response. At all other times the thread that comes first
closes it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from polvo_adapters.core.effects import Send
from polvo_adapters.core.outcomes import Outcome
from polvo_adapters.drivers.exchange import Cancelled
from polvo_adapters.runtime import forks


class CancellableExchange:
    """A mixin that comes before the class whose attempts another thread may cancel; arguments as for that class."""

    close: Callable[[], None]

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self._lock = threading.Lock()
        forks.register(self)
        self._is_cancelled = False
        self._is_sending = False
        self._wake: Callable[[], object] | None = None

    def send(self, effect: Send) -> Outcome:
        """Make one attempt, unless the race is over.

        Raises:
            Cancelled: The race is over.
        """
        with self._lock:
            self._is_sending = True
        try:
            self._check()
            outcome = self._attempt(effect)
        finally:
            with self._lock:
                self._is_sending = False
        try:
            self._check()
            return outcome
        finally:
            del outcome  # see errors.py, "Errors and frames"

    def discard(self) -> None:
        """Close the response of the last attempt; raise Cancelled where the race is over."""
        super().discard()  # type: ignore[misc]  # of the class beside this one
        self._check()

    def adopt(self, fork: Any) -> None:
        """Take over the response that a fork received last; raise Cancelled where the race is over."""
        with self._lock:
            super().adopt(fork)  # type: ignore[misc]
        self._check()

    def cancel(self) -> None:
        """Interrupt the attempt in progress, or close the response of the last one."""
        with self._lock:
            self._is_cancelled = True
            sending, wake = self._is_sending, self._wake
        if wake is not None:
            wake()
        if sending:
            self._interrupt()
        else:
            self.close()

    def on_cancel(self, wake: Callable[[], object] | None) -> bool:
        """Run `wake` when the exchange is cancelled; raise Cancelled where it is already."""
        with self._lock:
            self._wake = wake
        self._check()
        return True

    def _attempt(self, effect: Send) -> Outcome:
        return super().send(effect)  # type: ignore[misc,no-any-return]

    def _interrupt(self) -> None:
        """End the attempt that another thread is making, where the transport allows that."""

    def _take_response(self) -> Any:
        with self._lock:
            return super()._take_response()  # type: ignore[misc]

    def after_fork_in_child(self) -> None:
        """Replace the lock, which another thread of the parent may have held: this call may go on here."""
        self._lock = threading.Lock()

    def _check(self) -> None:
        if self._is_cancelled:
            self.close()
            raise Cancelled
