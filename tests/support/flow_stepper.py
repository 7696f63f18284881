"""Steps a flow by hand: answers its effects from a list, and keeps what it asked for."""

from __future__ import annotations

from typing import Any

from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Decide, Effect, Policy, Send, Sleep, TryDecide, send_once
from polvo_adapters.core.outcomes import CONNECT, CONNECT_TIMEOUT, NOT_SENT, Failure, Outcome

UNSENT = (CONNECT, CONNECT_TIMEOUT, NOT_SENT)
URL = "https://api.example.com/orders?token=hidden"


def answered(status: int = 200, now: float = 0.0, **headers: str) -> Outcome:
    """Return the outcome of an attempt that got an answer; header names take _ for -."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Outcome(response=f"response {status}", status=status, headers=named, now=now, wall=1_700_000_000.0 + now)


def failed(failure: Failure, now: float = 0.0) -> Outcome:
    """Return the outcome of an attempt that got none; those that fail before sending are proved to be unsent."""
    return Outcome(error=OSError(failure.name), failure=failure, now=now, unsent=failure in UNSENT)


class Stepper:
    """Runs the flow of one policy against scripted outcomes.

    Every wait takes its upper bound, unless `draw` is 0; every decision is granted, unless `verdict` is False.
    """

    def __init__(self, policy: Policy, call: Call | None = None, draw: float = 1.0, verdict: bool = True) -> None:
        self.call = call or Call("GET", URL)
        self.policy = policy
        self.draw = draw
        self.verdict = verdict
        self.effects: list[Effect] = []

    def run(self, *outcomes: Outcome) -> Outcome:
        """Return how the call ends when its attempts end like this, the last one again and again."""
        flow = self.policy.flow(self.call, send_once)
        answer: Any = None
        turns = list(outcomes)
        for _ in range(1000):
            try:
                effect = flow.send(answer)
            except StopIteration as end:
                outcome: Outcome = end.value
                return outcome
            self.effects.append(effect)
            if type(effect) is Send:
                answer = turns.pop(0) if len(turns) > 1 else turns[0]
            elif type(effect) is Sleep:
                answer = effect.low + (effect.high - effect.low) * self.draw
            elif type(effect) in (Decide, TryDecide):
                answer = (self.verdict,) * len(effect.events)
        raise AssertionError("the flow does not end")

    @property
    def sends(self) -> list[Send]:
        return [effect for effect in self.effects if type(effect) is Send]

    @property
    def sleeps(self) -> list[Sleep]:
        return [effect for effect in self.effects if type(effect) is Sleep]

    @property
    def decided(self) -> list[Any]:
        return [
            event.event for effect in self.effects if type(effect) in (Decide, TryDecide) for event in effect.events
        ]
