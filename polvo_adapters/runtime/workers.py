"""Threads that run tasks beside the calls: daemons, and bounded in number.

Theory of operation. A task runs at once, on a thread that is idle or on a new one, or not at all: there is no queue, in
which a task could wait behind others that hang, or wait for a task that waits behind it. `run` raises NoThreadError
where as many threads are busy as there may be, where the system has no more, and where the interpreter shuts down, as
no thread can be started then. Its callers go on without: a call is not hedged, a value is refreshed on the thread of
the call that needs it.

Threads are daemons, because one that hangs must not keep the process from ending. They need no lock: each step on a
deque is atomic, so that neither a signal handler nor a fork can meet a lock that is held.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable
from typing import TypeAlias

from polvo_adapters.runtime import forks

_Task: TypeAlias = "tuple[str, Callable[[], object]]"  # the name of its thread, and what it does
_Tasks: TypeAlias = "queue.SimpleQueue[_Task | None]"  # None ends the thread

_IDLE_SECONDS = 10.0


class NoThreadError(RuntimeError):
    """A task cannot run beside its caller, because there is no thread for it."""


class Workers:
    """Threads that run tasks, and wait for more for a while.

    Args:
        name: Name of the threads.
        most: How many there are at a time.
    """

    def __init__(self, name: str = "polvo-race", most: int = 256) -> None:
        self._name, self._most = name, most
        self._idle: deque[_Tasks] = deque()
        self._free = deque(range(most))  # one entry for each thread that may still be started
        forks.register(self)

    def run(self, task: Callable[[], object], name: str | None = None) -> None:
        """Run a task on a thread of its own.

        Args:
            task: The task.
            name: Name of the thread meanwhile; None for that of all these threads.

        Raises:
            NoThreadError: There is no thread for it.
        """
        named = (name or self._name, task)
        try:
            self._idle.pop().put(named)
        except IndexError:
            self._start(named)

    def _start(self, named: _Task) -> None:
        try:
            number = self._free.pop()
        except IndexError:
            raise NoThreadError(f"all {self._most} threads are busy") from None
        tasks: _Tasks = queue.SimpleQueue()
        tasks.put(named)
        thread = threading.Thread(target=self._work, args=(tasks, number), name=named[0], daemon=True)
        try:
            thread.start()
        except (RuntimeError, MemoryError) as error:
            self._free.append(number)
            raise NoThreadError(str(error)) from error

    @property
    def busy(self) -> int:
        """How many threads run a task now."""
        return self._most - len(self._free) - len(self._idle)

    def end_idle(self) -> None:
        """End the threads that are idle; the next task starts one anew."""
        while True:
            try:
                self._idle.pop().put(None)
            except IndexError:  # noqa: PERF203 - a look before could be out of date
                return

    def after_fork_in_child(self) -> None:
        """Forget all threads: a child has none of them."""
        self._idle = deque()
        self._free = deque(range(self._most))

    def _work(self, tasks: _Tasks, number: int) -> None:
        idle, free, thread = self._idle, self._free, threading.current_thread()
        try:
            while (named := _next_task(tasks, idle)) is not None:
                thread.name, task = named
                task()
                del named, task  # an idle thread must not keep a call alive
                thread.name = self._name
                idle.append(tasks)
        finally:
            free.append(number)


def _next_task(tasks: _Tasks, idle: deque[_Tasks]) -> _Task | None:
    """Return the next task, or None where the thread is to end, because there was none for a while."""
    while True:
        try:
            return tasks.get(timeout=_IDLE_SECONDS)
        except queue.Empty:  # noqa: PERF203 - once per idle time
            try:
                idle.remove(tasks)
            except ValueError:
                continue  # a task is on its way
            return None


WORKERS = Workers()
"""The threads of all races of this process."""
