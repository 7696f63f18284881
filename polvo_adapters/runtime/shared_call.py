"""A call on another thread that any number of others wait for, each as long as it may."""

from __future__ import annotations

import copy
import queue
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

from polvo_adapters.core.report import Entry
from polvo_adapters.runtime.clock import Clock

T = TypeVar("T")


class SharedCall(Generic[T]):
    """A call in progress on another thread, for any number of others that wait for its result.

    Args:
        expires_at: Time from which on no caller joins it any more.

    Attributes:
        over: Done when the call is over, for the tasks of an event loop; without the result.
        entries: The entries of its report.
    """

    def __init__(self, expires_at: float) -> None:
        self.expires_at = expires_at
        self.over: Future[None] = Future()
        self.over.set_running_or_notify_cancel()  # so that a task which is cancelled does not cancel it for all
        self.entries: list[Entry] = []
        self._is_over = threading.Event()
        self._value: T | None = None
        self._error: BaseException | None = None
        self._original: deque[BaseException] = deque()

    def run(self, work: Callable[[list[Entry]], T]) -> None:
        """Do the work, and give those who wait its result or its exception."""
        try:
            self._value = work(self.entries)
        except BaseException as error:  # noqa: BLE001 - `take` raises it
            traceback = error.__traceback__
            self._fail(error.with_traceback(None if traceback is None else traceback.tb_next))  # without this frame
        self._end()

    def cancel(self, error: BaseException) -> None:
        """Give those who wait an exception: the work is not done."""
        self._fail(error)
        self._end()

    def _fail(self, error: BaseException) -> None:
        # The original is held for one caller only: with its frames, which hold this object, it is a cycle.
        self._original.append(error)
        self._error = copy_error(error)

    def _end(self) -> None:
        self._is_over.set()
        self.over.set_result(None)

    def result(self, seconds: float, clock: Clock, entries: list[Entry] | None = None) -> T:
        """Wait for the result, and return it, or raise the exception.

        Args:
            seconds: How long to wait; the call goes on after that.
            clock: The clock to wait by.
            entries: The entries of the report are appended here.

        Raises:
            queue.Empty: The time is up.
        """
        if seconds > 0 and not self._is_over.is_set():
            clock.wait(self._is_over, seconds)
        if seconds <= 0 or not self._is_over.is_set():
            raise queue.Empty
        if entries is not None:
            entries += self.entries
        return self.take()

    def take(self) -> T:
        """Return the result of a call that is over, or raise its exception, of which every caller gets its own."""
        error = self._error
        if error is None:
            return self._value  # type: ignore[return-value]
        try:
            raise self._original.popleft()
        except IndexError:
            pass  # leave the handler first, so that the error does not refer to this one
        try:
            raise copy_error(error)
        finally:
            del error  # see errors.py, "Errors and frames"


def copy_error(error: BaseException) -> BaseException:
    """Return a copy of an exception for another caller, or the exception itself where it cannot be copied."""
    try:
        twin = copy.copy(error)
    except Exception:  # noqa: BLE001 - the exception of another library may not allow that
        return error
    twin.__cause__, twin.__suppress_context__ = error.__cause__, error.__suppress_context__
    return twin
