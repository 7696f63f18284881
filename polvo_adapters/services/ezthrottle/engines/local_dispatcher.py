"""Hands the tasks of a queue to workers, when they are due.

Theory of operation. One thread takes from the queue, as only one may, and gives each task to a worker. A task that is
due later is kept in a heap: it is taken already, and not acknowledged, so that it is there again if the process dies.
A task that raises is done once more after a while; one that returns is acknowledged.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable
from typing import Any

from polvo_adapters.runtime.logs import logger
from polvo_adapters.runtime.workers import NoThreadError, Workers
from polvo_adapters.services.ezthrottle.engines.local_queue import AckQueue

TICK = 0.2
"""Seconds between two looks at what another process may have changed."""

_AFTER_AN_ERROR = 5.0

_log = logger("ezthrottle")


class Dispatcher:
    """The thread that takes from a queue, and its workers.

    Args:
        queue: The queue.
        most: How many tasks are under way at a time.
        now: Returns the Unix time.
        do: Does a task, given its number and the task.
        may_work: Returns whether this process may take from the queue.
        on_change: Called when a task has ended, and when the thread has.
    """

    def __init__(
        self,
        queue: AckQueue,
        most: int,
        now: Callable[[], float],
        *,
        do: Callable[[int, dict[str, Any]], object],
        may_work: Callable[[], bool],
        on_change: Callable[[], object],
    ) -> None:
        self._queue, self._most, self._now = queue, most, now
        self._do, self._may_work, self._on_change = do, may_work, on_change
        self._wake, self._stop = threading.Event(), threading.Event()
        self._busy: set[int] = set()
        self._later: list[tuple[float, int, int, dict[str, Any]]] = []
        self._order = itertools.count()
        self._workers = Workers("polvo-job", most)
        self._thread = threading.Thread(target=self._run, name="polvo-jobs", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self) -> None:
        """Have the thread look at the queue now."""
        self._wake.set()

    def stop(self) -> None:
        """Take nothing more from the queue; tasks under way go on."""
        self._stop.set()
        self._wake.set()

    @property
    def is_working(self) -> bool:
        """Whether a task is under way, or one may still be taken."""
        is_working = bool(self._busy) or self._thread.is_alive()
        if not is_working:
            self._workers.end_idle()
        return is_working

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                pause = self._start_one()
            except Exception:  # noqa: BLE001 - a full disk, say: the jobs wait, and are not lost
                _log.exception("the queue of jobs cannot be read; it is tried again")
                pause = 1.0
            if pause:
                self._wake.wait(pause)
            self._wake.clear()
        self._on_change()

    def _start_one(self) -> float:
        """Start one task, and return how long there is nothing to do."""
        if len(self._busy) >= self._most or not self._may_work():
            return TICK
        found = self._take()
        if found is None:
            return TICK if not self._later else max(0.0, min(TICK, self._later[0][0] - self._now()))
        number, task = found
        self._busy.add(number)
        try:
            self._workers.run(lambda: self._work(number, task))
        except NoThreadError:
            self._busy.discard(number)
            self._postpone(number, task, self._now() + TICK)
            return TICK
        return 0.0

    def _take(self) -> tuple[int, dict[str, Any]] | None:
        """Return a task that is due."""
        now = self._now()
        if self._later and self._later[0][0] <= now:
            _, _, number, task = heapq.heappop(self._later)
            return number, task
        while (found := self._queue.take()) is not None:
            number, task = found
            if task.get("due", 0) <= now:
                return found
            self._postpone(number, task, task["due"])
        return None

    def _postpone(self, number: int, task: dict[str, Any], due: float) -> None:
        heapq.heappush(self._later, (due, next(self._order), number, task))

    def _work(self, number: int, task: dict[str, Any]) -> None:
        """Do a task, and acknowledge it."""
        try:
            self._do(number, task)
            self._queue.acknowledge(number)
        except Exception:  # noqa: BLE001 - it stays in the queue, and is taken up again
            if not self._stop.is_set():
                _log.exception("a job could not be brought to its end; it is tried again")
                self._postpone(number, task, self._now() + _AFTER_AN_ERROR)
        finally:
            self._busy.discard(number)
            self._wake.set()
            self._on_change()
