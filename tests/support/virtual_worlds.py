"""Virtual time for threads and for event loops: races, parked calls and time-outs without a single real wait.

Both worlds keep the moments at which somebody wants to go on in a heap, ordered by time and then by age, as
`polvo_adapters.testing.simulation.simulation.Timeline` does. Of the threads exactly one runs at a time: it has the
baton, and gives it back when it waits for something or ends. The event loop jumps to the next moment when it has
nothing else to do.
"""

from __future__ import annotations

import asyncio
import heapq
import queue
import selectors
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from polvo_adapters.testing.virtual_clock import VirtualClock

T = TypeVar("T")

BOUND = 60.0
"""Seconds of real time after which something has gone wrong that takes milliseconds."""


class StuckError(AssertionError):
    """Everybody waits, and nobody is left who could change that."""


class _Abandoned(BaseException):
    """Ends a thread that waits for ever."""


class _Runner:
    """A thread that takes part in virtual time."""

    def __init__(self, clock: ThreadedVirtualClock, task: Callable[[], object]) -> None:
        self.go = threading.Semaphore(0)
        self.waiting = 0  # how often it has waited; a moment in the heap counts only for the wait that it is of
        self.until: Callable[[], bool] | None = None
        self.thread = threading.Thread(target=self._run, args=(clock, task), name="virtual", daemon=True)
        self.thread.start()

    def _run(self, clock: ThreadedVirtualClock, task: Callable[[], object]) -> None:
        self.go.acquire()
        try:
            if not clock.stuck:
                task()
        except _Abandoned:
            pass
        except BaseException as error:  # noqa: BLE001 - it is raised where the clock runs
            clock.errors.append(error)
        finally:
            clock.back.release()


class ThreadedVirtualClock(VirtualClock):
    """A virtual clock for any number of threads, of which exactly one runs at a time.

    Threads are those that it has spawned. On any other thread it is an ordinary VirtualClock.
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self.back = threading.Semaphore(0)
        self.errors: list[BaseException] = []
        self.stuck = False
        self.spawned = 0
        self._ready: deque[_Runner] = deque()
        self._moments: list[tuple[float, int, _Runner, int]] = []
        self._moment = 0
        self._waiting: list[_Runner] = []
        self._runners: list[_Runner] = []
        self._running: _Runner | None = None

    def run(self, *tasks: Callable[[], object]) -> None:
        """Run tasks on threads of their own until these, and all that they have spawned, have ended.

        Raises:
            StuckError: Threads wait for what never comes.
            BaseException: What a thread has raised, the first of them.
        """
        for task in tasks:
            self.spawn(task)
        while (runner := self._next()) is not None:
            self._running = runner
            runner.go.release()
            assert self.back.acquire(timeout=BOUND), "a thread blocks on something that is not the clock's"
            self._running = None
        if self._waiting:
            self.stuck = True
            for runner in self._waiting:
                runner.go.release()
        for runner in self._runners:
            runner.thread.join(BOUND)
            assert not runner.thread.is_alive()
        if self.errors:
            raise self.errors[0]
        if self.stuck:
            raise StuckError

    def spawn(self, task: Callable[[], object]) -> None:
        """Run a task on a thread of its own, from when all others wait."""
        self.spawned += 1
        runner = _Runner(self, task)
        self._runners.append(runner)
        self._ready.append(runner)

    def advance(self, seconds: float) -> None:
        """Let others run until that much time has passed."""
        if threading.current_thread() is not self._thread():
            super().advance(seconds)
            return
        self._wait(seconds, None)

    def wait(self, event: threading.Event, seconds: float) -> None:
        """Let others run until one of them sets the event, or the time is up."""
        self.pause(event, seconds)
        if event.is_set():
            self.advance(0.0)  # as in the simulation, who is called goes on as an event of its own

    def pause(self, event: threading.Event, seconds: float) -> None:
        """As `wait`, but go on at once when the event is set."""
        if not event.is_set():
            self._wait(seconds, event.is_set)

    def take(self, source: queue.SimpleQueue[T], seconds: float | None) -> T:
        """Let others run until one of them puts something into the queue, or the time is up."""
        if source.empty():
            self._wait(seconds, lambda: not source.empty())
        return source.get_nowait()

    def _thread(self) -> threading.Thread | None:
        return None if self._running is None else self._running.thread

    def _wait(self, seconds: float | None, until: Callable[[], bool] | None) -> None:
        runner = self._running
        assert runner is not None
        assert runner.thread is threading.current_thread(), "only threads of the clock's can wait for others"
        runner.waiting += 1
        runner.until = until
        if seconds is not None:
            self._moment += 1
            heapq.heappush(self._moments, (self._now + seconds, self._moment, runner, runner.waiting))
        self._waiting.append(runner)
        self.back.release()
        runner.go.acquire()
        if self.stuck:
            raise _Abandoned

    def _next(self) -> _Runner | None:
        """Return whose turn it is: first those who have what they wait for, then whoever's moment comes first."""
        for runner in list(self._waiting):
            if runner.until is not None and runner.until():
                self._wake(runner)
                self._ready.append(runner)
        if self._ready:
            return self._ready.popleft()
        while self._moments:
            when, _, runner, waiting = heapq.heappop(self._moments)
            if waiting == runner.waiting:
                self._now += when - self._now
                self._wake(runner)
                return runner
        return None

    def _wake(self, runner: _Runner) -> None:
        runner.waiting += 1
        self._waiting.remove(runner)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop that jumps to the next moment at which something is to happen, instead of waiting for it."""

    def __init__(self, clock: LoopClock) -> None:
        self._clock = clock
        self._moments: list[tuple[float, bool, int, asyncio.TimerHandle]] = []
        self._moment = 0
        super().__init__(_Jumping(self._jump))

    def time(self) -> float:
        return self._clock.now()

    def call_at(self, when: float, callback: Any, *arguments: Any, context: Any = None) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, arguments, self, context)
        self.add(handle, is_timeout=True)
        return handle

    def add(self, handle: asyncio.TimerHandle, *, is_timeout: bool) -> None:
        """Have something happen; what comes at the very moment of a time-out has come in time, as everywhere."""
        self._moment += 1
        heapq.heappush(self._moments, (handle.when(), is_timeout, self._moment, handle))

    def _jump(self) -> None:
        """Let one thing happen; what follows from it comes before the next one."""
        while self._moments:
            when, _, _, handle = heapq.heappop(self._moments)
            if not handle.cancelled():
                self._clock.jump(when)
                self.call_soon(handle._run)
                return
        raise StuckError


class _Jumping(selectors.SelectSelector):
    def __init__(self, jump: Callable[[], None]) -> None:
        super().__init__()
        self._jump = jump

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None or timeout > 0:
            self._jump()
        return super().select(0)


class LoopClock(VirtualClock):
    """The clock of a virtual loop, as an `polvo_adapters.drivers.aio.AsyncClock`."""

    def jump(self, when: float) -> None:
        """Go on to a time."""
        self._now += when - self._now

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on a virtual loop of this clock, and close the loop."""
        loop = VirtualLoop(self)
        try:
            return loop.run_until_complete(main)
        finally:
            try:
                left = asyncio.all_tasks(loop)
                for task in left:
                    task.cancel()
                if left:
                    loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
                loop.run_until_complete(loop.shutdown_asyncgens())
            finally:
                loop.close()

    async def sleep(self, seconds: float) -> None:
        """Let others run until that much time has passed."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        over = loop.create_future()
        moment = asyncio.TimerHandle(self.now() + seconds, lambda: over.done() or over.set_result(None), (), loop)
        loop.add(moment, is_timeout=False)
        try:
            await over
        finally:
            moment.cancel()

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        """Let others run until one of them sets the event, or the time is up."""
        if event.is_set():
            return
        up = asyncio.get_running_loop().call_later(seconds, event.set)
        when = self.now() + seconds
        try:
            await event.wait()
        finally:
            up.cancel()
        if self.now() < when:
            await self.sleep(0.0)  # as in the simulation, who is called goes on as an event of its own
