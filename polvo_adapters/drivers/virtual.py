"""The virtual-clock driver: performs effects as events of a simulation, thousands of calls at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import (
    Acquire,
    Decide,
    Effect,
    Flow,
    Park,
    Race,
    Release,
    Send,
    Sleep,
    Start,
    TryDecide,
    Undecided,
    WaitAny,
)
from polvo_adapters.core.outcomes import Outcome
from polvo_adapters.core.report import Entry, Wait
from polvo_adapters.drivers.decisions import Decisions, outlast_store
from polvo_adapters.stores.base import Store


class World(Protocol):
    """The simulation, as far as this driver needs it."""

    store: Store

    def now(self) -> float:
        """Return the virtual time in seconds."""

    def uniform(self, low: float, high: float) -> float:
        """Draw a number evenly from [low, high]."""

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Run an action when that much virtual time has passed."""

    def send(self, effect: Send, then: Callable[[Outcome], None]) -> None:
        """Make one attempt, and run an action with its outcome when it is over."""


def drive(
    flow: Flow, world: World, entries: list[Entry], done: Callable[[Outcome], None], call: Call | None = None
) -> None:
    """Start a flow; it continues as events of the world, and `done` is called with the outcome of the call.

    Args:
        flow: The flow.
        world: The world.
        entries: Everything performed is appended here.
        done: Called with the outcome.
        call: The call, to say in the log what happens to it; None where that is not to be logged.
    """
    _Drive(flow, world, entries, done, call).step(None)


class _Drive:
    """A flow in progress. Nothing that it holds leads back to it, so that it is freed without a garbage collection."""

    __slots__ = (
        "_call",
        "_decisions",
        "_done",
        "_failed",
        "_flow",
        "_is_over",
        "_name",
        "_parked",
        "_race",
        "_world",
        "entries",
    )

    def __init__(
        self,
        flow: Flow,
        world: World,
        entries: list[Entry],
        done: Callable[[Outcome], None],
        call: Call | None,
        failed: Callable[[], None] | None = None,
    ) -> None:
        self._flow, self._world, self.entries, self._done, self._failed = flow, world, entries, done, failed
        self._call = call
        self._decisions = Decisions(world.store, entries, call, in_race=failed is not None)
        self._is_over = False
        self._parked = 0
        self._name: str | None = None
        self._race: _VirtualRace | None = None

    def step(self, answer: Any) -> None:
        """Continue with an answer, up to the next effect that takes time."""
        if self._is_over:
            return
        self._race = None
        flow, decisions = self._flow, self._decisions
        try:
            while True:
                effect = flow.throw(answer) if type(answer) is Undecided else flow.send(answer)
                answer = None
                if type(effect) is Decide:
                    answer = decisions.decide(effect.events)
                elif type(effect) is Acquire:
                    answer = decisions.acquire(effect.events)
                elif type(effect) is TryDecide:
                    answer = decisions.try_decide(effect)
                elif type(effect) is Release:
                    decisions.release(effect)
                else:
                    break
            self._perform(effect)
            return
        except StopIteration as end:
            outcome = decisions.end(end.value)
        except Undecided as undecided:
            outcome = decisions.conclude(undecided)
        except BaseException:
            self.fail()
            raise
        # Here the exception is gone, and with it the frames that it would keep while the world goes on.
        self._is_over = True
        decisions.release_all()
        self._done(outcome)

    def cancel(self) -> None:
        """End the flow, and ignore the outcome of an attempt in progress."""
        self._is_over = True
        race, self._race = self._race, None
        if race is not None:
            race.cancel()
        self._flow.close()
        if self._name is not None:
            self._world.store.unpark(self._name)
        self._decisions.release_all()

    def fail(self) -> None:
        """End the flow and the race that it is part of: an exception is on its way to the code that runs the world."""
        self.cancel()
        if self._failed is not None:
            self._failed()

    def _perform(self, effect: Effect) -> None:
        if type(effect) is Send:
            self._world.send(effect, partial(self._end_attempt, effect.call))
        elif type(effect) is Sleep:
            seconds = self._world.uniform(effect.low, effect.high)
            self._decisions.announce_wait(effect, seconds)
            self._world.after(seconds, partial(self._end_wait, seconds, effect.reason))
        elif type(effect) is Park:
            self._decisions.announce_wait(effect, effect.seconds)
            self._park(effect)
        elif type(effect) is Race:
            self._race = _VirtualRace(effect.flow, self._world, self.entries, self._end_race, self._call, self.fail)
            self._race.step(None)
        else:
            raise TypeError(f"{effect!r} is no effect, or one of races only")

    def _end_attempt(self, call: Call, outcome: Outcome) -> None:
        if self._is_over:
            return
        self._decisions.note_attempt(call, outcome)
        self.step(outcome)

    def _end_race(self, outcome: Outcome) -> None:
        self._decisions.note_race(outcome)
        self.step(outcome)

    def _end_wait(self, seconds: float, reason: str) -> None:
        if self._is_over:
            return
        self.entries.append(Wait(seconds, reason))
        self.step(seconds)

    def _park(self, effect: Park) -> None:
        self._parked += 1
        self._name = effect.name
        end = partial(self._end_park, self._parked, effect, self._world.now())
        # As an event of its own, and not in the middle of the event that wakes the name.
        if self._world.store.park(effect.name, partial(self._world.after, 0.0, end)):
            self._world.after(effect.seconds, end)
        else:
            self._world.after(0.0, end)

    def _end_park(self, number: int, effect: Park, began: float) -> None:
        if number != self._parked or self._is_over:
            return
        self._parked += 1
        self._name = None
        self._world.store.unpark(effect.name)
        self._end_wait(self._world.now() - began, effect.reason)


class _VirtualRace:
    """A race in progress."""

    def __init__(
        self,
        flow: Flow,
        world: World,
        entries: list[Entry],
        done: Callable[[Outcome], None],
        call: Call | None,
        failed: Callable[[], None],
    ) -> None:
        self._flow, self._world, self._entries = outlast_store(flow), world, entries
        self._done, self._call, self._failed = done, call, failed
        self._decisions = Decisions(world.store, entries, call, in_race=True)
        self._branches: list[_Drive] = []
        self._running: dict[int, float] = {}
        self._ended: deque[tuple[int, Outcome]] = deque()
        self._waits = 0
        self._waiting = False

    def step(self, answer: Any) -> None:
        """Continue with an answer, up to a WaitAny that has to wait."""
        try:
            while True:
                effect = self._flow.send(answer)
                if type(effect) is Start:
                    answer = self._start(effect)
                elif type(effect) is Decide:
                    answer = self._decisions.decide(effect.events)
                elif type(effect) is TryDecide:
                    answer = self._decisions.try_decide(effect)
                elif type(effect) is WaitAny and self._ended:
                    answer = self._take()
                elif type(effect) is WaitAny and not self._running:
                    answer = None
                elif type(effect) is WaitAny:
                    self._wait(effect)
                    return
                else:
                    raise TypeError(f"{effect!r} is no effect of a race")
        except StopIteration as end:
            outcome: Outcome = end.value
        except BaseException:
            self._fail()
            raise
        self.cancel()
        self._done(outcome)

    def _start(self, effect: Start) -> int:
        number = len(self._branches)
        self._running[number] = self._world.now()
        self._decisions.announce_start(effect)
        branch = _Drive(effect.flow, self._world, [], partial(self._end_branch, number), self._call, self._fail)
        self._branches.append(branch)
        branch.step(None)
        return number

    def _end_branch(self, number: int, outcome: Outcome) -> None:
        del self._running[number]
        self._ended.append((number, outcome))
        if self._waiting:
            self._waiting = False
            self.step(self._take())

    def _take(self) -> tuple[int, Outcome]:
        number, outcome = self._ended.popleft()
        self._entries += self._branches[number].entries
        return number, outcome

    def _wait(self, effect: WaitAny) -> None:
        self._waits += 1
        self._waiting = True
        if effect.seconds is not None:
            self._world.after(effect.seconds, partial(self._stop_waiting, self._waits))

    def _stop_waiting(self, wait: int) -> None:
        if self._waiting and wait == self._waits:
            self._waiting = False
            self.step(None)

    def _fail(self) -> None:
        self.cancel()
        self._failed()

    def cancel(self) -> None:
        """End the race: the flows that still run have lost."""
        self._flow.close()
        self._waiting = False
        not_taken = {number for number, _ in self._ended}
        for number, branch in enumerate(self._branches):
            if number in self._running:
                self._entries += branch.entries
                self._decisions.note_cancelled(number, self._world.now() - self._running[number])
                branch.cancel()
            elif number in not_taken:
                self._entries += branch.entries
        self._branches.clear()  # which lead back to this race
