"""Threads that are kept for the next task, as daemons: one that hangs must not keep the process from ending."""

from __future__ import annotations

import os
import queue
import threading
from collections import deque
from collections.abc import Callable

_IDLE_SECONDS = 10.0


class Workers:
    """Threads that run what they are given, and are kept for a while."""

    def __init__(self) -> None:
        self._idle: deque[queue.SimpleQueue[Callable[[], object]]] = deque()

    def run(self, task: Callable[[], object]) -> None:
        """Run a task on a thread of its own."""
        try:
            self._idle.pop().put(task)
        except IndexError:
            tasks: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
            tasks.put(task)
            threading.Thread(target=self._work, args=(tasks,), name="polvo-race", daemon=True).start()

    def forget(self) -> None:
        """Forget all threads: after a fork there are none."""
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

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=WORKERS.forget)
