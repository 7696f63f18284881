"""Tasks that are carried to their end on a thread of their own, whoever waits for them and for how long.

The threads are no daemons: the process must not end between a server's answer and the moment at which it is kept.
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
    """Run a task on a thread of that name, and return False where there is none to be had: the process is ending."""
    try:
        threading.Thread(target=task, name=name, daemon=False).start()
    except RuntimeError:
        return False
    return True


class BackgroundCall(Generic[T]):
    """Runs a task in the context of the caller, but without the deadline of the caller's call.

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
            clock: Time.

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
            del error  # or the error, its traceback and this frame would keep each other alive

    def _run(self) -> None:
        call_started.set(None)
        try:
            self._ended.put((self._task(), None))
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is raised where somebody waits
            self._ended.put((None, error))
