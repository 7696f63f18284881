"""Tasks that run one after another on a thread of their own, in the order in which they came.

Theory of operation. Tasks stand in a deque. One token stands for the right to run them: a caller that adds a task and
finds the token starts a thread, which runs tasks until there are none, and then gives the token back. A look at the
deque after that finds a task whose caller has come a moment too early to find the token. Each step is atomic, so that
there is no lock that a finalizer, a signal handler or a fork could meet.

Where no thread can be started, the task runs at once on the thread of the caller. A program that ends waits a moment
for the tasks that are left: they may give back what other processes wait for.
"""

from __future__ import annotations

import atexit
import time
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

from polvo_adapters.runtime import forks
from polvo_adapters.runtime.workers import NoThreadError, Workers

T = TypeVar("T")

LONGEST_EXIT = 3.0
"""Seconds for which the end of the program waits for the tasks that are left."""

_THREADS = Workers("polvo-store", 256)


class SerialThread:
    """A thread that runs tasks one after another; it exists while there are any, and a while longer."""

    def __init__(self) -> None:
        self._begin()
        forks.register(self)
        _all.add(self)

    def _begin(self) -> None:
        self._tasks: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._right = deque([None])

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Run a task after those that came before; from any thread, without waiting.

        Args:
            work: The task.

        Returns:
            A future of its result. One that is cancelled before the task begins is not run.
        """
        future: Future[T] = Future()
        self._tasks.append((future, work))
        if self._take_right():
            try:
                _THREADS.run(self._run_all)
            except NoThreadError:
                self._run_all()
        return future

    def _take_right(self) -> bool:
        try:
            self._right.pop()
        except IndexError:
            return False
        return True

    def _run_all(self) -> None:
        tasks, right = self._tasks, self._right
        while True:
            while tasks:
                _run(*tasks.popleft())  # by the thread that has the right, and by no other
            right.append(None)
            if not tasks or not self._take_right():
                return

    def flush(self, seconds: float) -> None:
        """Wait until the tasks that were submitted so far have run, at most that many seconds."""
        if self._tasks or not self._right:
            with suppress(Exception):
                self.submit(_do_nothing).result(seconds)

    def after_fork_in_child(self) -> None:
        """Leave all tasks to the parent, whose thread runs them."""
        self._begin()


def _run(future: Future[Any], work: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = work()
    except BaseException as error:  # noqa: BLE001 - the caller gets it
        traceback = error.__traceback__
        future.set_exception(error.with_traceback(None if traceback is None else traceback.tb_next))
    else:
        future.set_result(result)


def _do_nothing() -> None:
    pass


_all: weakref.WeakSet[SerialThread] = weakref.WeakSet()


@atexit.register
def _flush_all() -> None:
    ends = time.monotonic() + LONGEST_EXIT
    for each in list(_all):
        each.flush(max(0.0, ends - time.monotonic()))
