"""The virtual-clock driver: performs effects as events of a simulation, thousands of calls at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from polvo_adapters.events import Entry, Wait, attempted
from polvo_adapters.flow import Decide, Effect, Flow, Outcome, Send, Sleep
from polvo_adapters.stores.base import Store


class World(Protocol):
    """What this driver needs of a simulation."""

    store: Store

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

    __slots__ = ("_done", "_entries", "_flow", "_world")

    def __init__(self, flow: Flow, world: World, entries: list[Entry], done: Callable[[Outcome], None]) -> None:
        self._flow, self._world, self._entries, self._done = flow, world, entries, done

    def step(self, answer: Any) -> None:
        flow, world = self._flow, self._world
        try:
            effect = flow.send(answer)
            while type(effect) is Decide:
                effect = flow.send(world.store.decide(effect.events))
        except StopIteration as end:
            outcome: Outcome = end.value
        else:
            self._perform(effect)
            return
        # Here the exception is gone, and with it the frames that it would keep while the world goes on.
        self._done(outcome)

    def _perform(self, effect: Effect) -> None:
        if type(effect) is Send:
            self._world.send(effect, self._attempt_over)
        elif type(effect) is Sleep:
            seconds = self._world.uniform(effect.low, effect.high)
            self._world.after(seconds, partial(self._wait_over, seconds, effect.why))

    def _attempt_over(self, outcome: Outcome) -> None:
        self._entries.append(attempted(outcome))
        self.step(outcome)

    def _wait_over(self, seconds: float, why: str) -> None:
        self._entries.append(Wait(seconds, why))
        self.step(seconds)
