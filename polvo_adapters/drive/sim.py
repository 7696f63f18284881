"""The virtual-clock driver: performs effects as events of a simulation, thousands of calls at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

from polvo_adapters.drive.deciding import break_off, decide
from polvo_adapters.events import Entry, Wait, attempted, cancelled
from polvo_adapters.flow import (
    Decide,
    Effect,
    Event,
    Flow,
    Hold,
    Next,
    Outcome,
    Park,
    Race,
    Send,
    Settle,
    Sleep,
    Start,
)
from polvo_adapters.stores.base import Store


class World(Protocol):
    """What this driver needs of a simulation."""

    store: Store

    def now(self) -> float:
        """Seconds of virtual time."""

    def uniform(self, low: float, high: float) -> float:
        """Draw a number evenly from [low, high]."""

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Run an action when that much virtual time has passed."""

    def send(self, effect: Send, then: Callable[[Outcome], None]) -> None:
        """Make one attempt, and run an action with its outcome when it is over."""


def drive(flow: Flow, world: World, entries: list[Entry], done: Callable[[Outcome], None]) -> None:
    """Start a flow; it goes on as events of the world, and `done` is told how the call ended."""
    _Drive(flow, world, entries, done).step(None)


class _Drive:
    """A flow under way. Nothing that it holds leads back to it, so that millions go without a garbage collection."""

    __slots__ = ("_done", "_flow", "_held", "_over", "_parked", "_world", "entries")

    def __init__(self, flow: Flow, world: World, entries: list[Entry], done: Callable[[Outcome], None]) -> None:
        self._flow, self._world, self.entries, self._done = flow, world, entries, done
        self._held: list[Sequence[Event]] = []
        self._over = False
        self._parked = 0

    def step(self, answer: Any) -> None:
        """Go on with an answer, up to the next effect that takes time."""
        if self._over:
            return
        flow, store, entries = self._flow, self._world.store, self.entries
        try:
            while True:
                effect = flow.send(answer)
                answer = None
                if type(effect) is Decide:
                    answer = decide(store, effect.events, entries)
                elif type(effect) is Hold:
                    self._held.append(effect.events)
                elif type(effect) is Settle:
                    self._held.pop()
                    decide(store, effect.events, entries)
                else:
                    break
        except StopIteration as end:
            outcome: Outcome = end.value
        else:
            self._perform(effect)
            return
        # Here the exception is gone, and with it the frames that it would keep while the world goes on.
        self._over = True
        break_off(store, self._held)
        self._done(outcome)

    def cancel(self) -> None:
        """End it: what the server still answers is heard by nobody."""
        self._over = True
        self._flow.close()
        break_off(self._world.store, self._held)

    def _perform(self, effect: Effect) -> None:
        if type(effect) is Send:
            self._world.send(effect, self._attempt_over)
        elif type(effect) is Sleep:
            seconds = self._world.uniform(effect.low, effect.high)
            self._world.after(seconds, partial(self._wait_over, seconds, effect.why))
        elif type(effect) is Park:
            self._park(effect)
        elif type(effect) is Race:
            _Contest(effect.flow, self._world, self.entries, self.step).step(None)
        else:
            raise TypeError(f"{effect!r} is no effect, or one of races only")

    def _attempt_over(self, outcome: Outcome) -> None:
        if self._over:
            return
        self.entries.append(attempted(outcome))
        self.step(outcome)

    def _wait_over(self, seconds: float, why: str) -> None:
        if self._over:
            return
        self.entries.append(Wait(seconds, why))
        self.step(seconds)

    def _park(self, effect: Park) -> None:
        self._parked += 1
        over = partial(self._park_over, self._parked, effect, self._world.now())
        # Called or not, it goes on as an event of its own, and not in the middle of the one that called it.
        if self._world.store.park(effect.name, partial(self._world.after, 0.0, over)):
            self._world.after(effect.seconds, over)
        else:
            self._world.after(0.0, over)

    def _park_over(self, number: int, effect: Park, began: float) -> None:
        if number != self._parked:
            return
        self._parked += 1
        self._world.store.unpark(effect.name)
        self._wait_over(self._world.now() - began, effect.why)


class _Contest:
    """A race under way."""

    def __init__(self, flow: Flow, world: World, entries: list[Entry], done: Callable[[Outcome], None]) -> None:
        self._flow, self._world, self._entries, self._done = flow, world, entries, done
        self._branches: list[_Drive] = []
        self._running: dict[int, float] = {}
        self._ended: deque[tuple[int, Outcome]] = deque()
        self._waits = 0
        self._waiting = False

    def step(self, answer: Any) -> None:
        """Go on with an answer, up to a Next that has to wait."""
        try:
            while True:
                effect = self._flow.send(answer)
                if type(effect) is Start:
                    answer = self._start(effect.flow)
                elif type(effect) is Decide:
                    answer = decide(self._world.store, effect.events, self._entries)
                elif type(effect) is Next and self._ended:
                    answer = self._take()
                elif type(effect) is Next and not self._running:
                    answer = None
                elif type(effect) is Next:
                    self._wait(effect)
                    return
                else:
                    raise TypeError(f"{effect!r} is no effect of a race")
        except StopIteration as end:
            outcome: Outcome = end.value
        self._cancel()
        self._done(outcome)

    def _start(self, flow: Flow) -> int:
        number = len(self._branches)
        self._running[number] = self._world.now()
        branch = _Drive(flow, self._world, [], partial(self._branch_over, number))
        self._branches.append(branch)
        branch.step(None)
        return number

    def _branch_over(self, number: int, outcome: Outcome) -> None:
        del self._running[number]
        self._ended.append((number, outcome))
        if self._waiting:
            self._waiting = False
            self.step(self._take())

    def _take(self) -> tuple[int, Outcome]:
        number, outcome = self._ended.popleft()
        self._entries += self._branches[number].entries
        return number, outcome

    def _wait(self, effect: Next) -> None:
        self._waits += 1
        self._waiting = True
        if effect.seconds is not None:
            self._world.after(effect.seconds, partial(self._time_up, self._waits))

    def _time_up(self, wait: int) -> None:
        if self._waiting and wait == self._waits:
            self._waiting = False
            self.step(None)

    def _cancel(self) -> None:
        for number, began in self._running.items():
            branch = self._branches[number]
            branch.cancel()
            self._entries += [*branch.entries, cancelled(self._world.now() - began)]
