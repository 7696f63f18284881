"""Tasks that run to their end on a thread of their own, however long their caller waits.

The threads are no daemons: the process must not end between a server's response and the moment at which it is stored.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from contextvars import copy_context
from typing import Generic, TypeVar

from polvo_adapters.context.call import call_started
from polvo_adapters.runtime.clock import Clock

T = TypeVar("T")


def start(task: Callable[[], object], name: str = "token refresh") -> bool:
    """Run a task on a thread of that name; return False if none can be started, as when the process is ending."""
    try:
        threading.Thread(target=task, name=name, daemon=False).start()
    except RuntimeError:
        return False
    return True


class BackgroundCall(Generic[T]):
    """A task that runs in the context of the caller, but without the deadline of the caller's call.

    Args:
        task: The task.
    """

    def __init__(self, task: Callable[[], T]) -> None:
        self._task = task
        self._ended: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

    def result(self, seconds: float, clock: Clock) -> T:
        """Return what the task returns, or raise what it raises.

        Args:
            seconds: How long to wait; the task goes on after that.
            clock: The clock to wait by.

        Raises:
            queue.Empty: The time is up, or the process is ending.
        """
        context = copy_context()
        if not start(lambda: context.run(self._run)) or seconds <= 0:
            raise queue.Empty
        result, error = clock.take(self._ended, seconds)
        if error is None:
            return result  # type: ignore[return-value]
        try:
            raise error
        finally:
            del error  # see errors.py, "Errors and frames"

    def _run(self) -> None:
        call_started.set(None)
        try:
            self._ended.put((self._task(), None))
        except BaseException as error:  # noqa: BLE001 - `result` raises it
            self._ended.put((None, error))
