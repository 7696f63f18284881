"""Alarms that cancel tasks of asyncio, with one timer for all alarms of an event loop.

Theory of operation. Nearly every alarm is taken back long before its time, so that a timer of the event loop for each
costs more than all else that a deadline needs. Here an alarm is an entry in a heap, and is only marked when it is taken
back.
The loop has one timer, for the earliest entry; when that rings, the entries that are over by then are dropped, and the
next one gets the timer. At the latest when half of them are marked, all marked ones are dropped.

The heap belongs to the thread of the loop. `Alarm.end` may run in a finalizer on another thread, and only marks.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Any

_ATTRIBUTE = "_polvo_alarms"  # of a loop, so that they end with it
_FEW = 64


class Alarm:
    """What cancels a task when the time is up.

    Args:
        task: The task.
        clock: The alarms of its event loop.
    """

    __slots__ = ("_clock", "_has_rung", "task")

    def __init__(self, task: Any, clock: AlarmClock) -> None:
        self.task: Any = task  # None once the alarm is over
        self._clock, self._has_rung = clock, False

    def ring(self) -> None:
        """Cancel the task."""
        if self.task is not None:
            self._has_rung = True
            self.task.cancel()

    def end(self) -> bool:
        """Take the alarm back, or its cancellation, and return whether there was one."""
        task, self.task = self.task, None
        if task is None:
            return False
        if self._has_rung:
            task.uncancel()
            return True
        self._clock.ended += 1
        return False


class AlarmClock:
    """The alarms of one event loop.

    Attributes:
        ended: About how many of them were taken back, and are still in the heap.
    """

    __slots__ = ("_at", "_heap", "_numbers", "_timer", "ended")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Alarm]] = []
        self._numbers = count()
        self._timer: asyncio.TimerHandle | None = None
        self._at = 0.0
        self.ended = 0

    def set(self, seconds: float, task: Any, loop: asyncio.AbstractEventLoop) -> Alarm:
        """Return an alarm for a task, in so many seconds."""
        at, alarm = loop.time() + seconds, Alarm(task, self)
        if self.ended > _FEW and 2 * self.ended > len(self._heap):
            self._heap, self.ended = [entry for entry in self._heap if entry[2].task is not None], 0
            heapify(self._heap)
        heappush(self._heap, (at, next(self._numbers), alarm))
        if self._timer is None or at < self._at:
            self._wait(loop)
        return alarm

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let the timer ring for the earliest alarm."""
        if self._timer is not None:
            self._timer.cancel()
        self._at = self._heap[0][0]
        self._timer = loop.call_at(self._at, self._ring, loop)

    def _ring(self, loop: asyncio.AbstractEventLoop) -> None:
        now, self._timer = max(loop.time(), self._at), None
        while self._heap:
            at, _, alarm = self._heap[0]
            if alarm.task is None:
                self.ended -= 1
            elif at > now:
                self._wait(loop)
                return
            heappop(self._heap)
            alarm.ring()


def set_alarm(seconds: float, task: Any, loop: asyncio.AbstractEventLoop) -> Alarm:
    """Return an alarm that cancels a task in so many seconds, unless it is taken back before.

    Args:
        seconds: The seconds.
        task: A task that tells one cancellation from another.
        loop: The event loop that runs it.
    """
    clock: AlarmClock | None = getattr(loop, _ATTRIBUTE, None)
    if clock is None:
        clock = AlarmClock()
        with suppress(AttributeError):  # a loop with slots has a timer for each alarm
            setattr(loop, _ATTRIBUTE, clock)
    return clock.set(seconds, task, loop)
