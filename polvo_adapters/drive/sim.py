"""The virtual-clock driver: performs effects as events of a simulation, thousands of calls at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from polvo_adapters.events import Entry, Wait, attempted
from polvo_adapters.flow import Decide, Flow, Outcome, Send, Sleep
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

    def attempt_over(outcome: Outcome) -> None:
        entries.append(attempted(outcome))
        step(outcome)

    def wait_over(seconds: float, why: str) -> None:
        entries.append(Wait(seconds, why))
        step(seconds)

    def step(answer: Any) -> None:
        try:
            effect = flow.send(answer)
            while type(effect) is Decide:
                effect = flow.send(world.store.decide(effect.events))
        except StopIteration as end:
            done(end.value)
            return
        if type(effect) is Send:
            world.send(effect, attempt_over)
        elif type(effect) is Sleep:
            seconds, why = world.uniform(effect.low, effect.high), effect.why
            world.after(seconds, lambda: wait_over(seconds, why))

    step(None)
