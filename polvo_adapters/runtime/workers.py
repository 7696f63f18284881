"""Threads that wait for the next task. They are daemons: one that hangs must not keep the process from ending."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable

from polvo_adapters.runtime import forks

_IDLE_SECONDS = 10.0


class Workers:
    """Threads that run tasks, and wait for more for a while."""

    def __init__(self) -> None:
        self._idle: deque[queue.SimpleQueue[Callable[[], object]]] = deque()
        forks.register(self)

    def run(self, task: Callable[[], object]) -> None:
        """Run a task on a thread of its own."""
        try:
            self._idle.pop().put(task)
        except IndexError:
            tasks: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
            tasks.put(task)
            threading.Thread(target=self._work, args=(tasks,), name="polvo-race", daemon=True).start()

    def after_fork_in_child(self) -> None:
        """Forget all threads: a child has none of them."""
        self._idle.clear()

    def _work(self, tasks: queue.SimpleQueue[Callable[[], object]]) -> None:
        while True:
            try:
                tasks.get(timeout=_IDLE_SECONDS)()
            except queue.Empty:
                try:
                    self._idle.remove(tasks)
                except ValueError:
                    continue  # a task is on its way
                return
            self._idle.append(tasks)


WORKERS = Workers()
"""The threads of all races of this process."""
