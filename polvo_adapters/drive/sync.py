"""The synchronous driver: performs effects on the calling thread."""

from __future__ import annotations

from typing import Any, Protocol, cast

from polvo_adapters.clock import Clock
from polvo_adapters.events import Entry, Wait, attempted
from polvo_adapters.flow import Decide, Flow, Outcome, Send, Sleep
from polvo_adapters.stores.base import Store


class Transport(Protocol):
    """Makes the attempts of one call."""

    def send(self, effect: Send) -> Outcome:
        """Make one attempt; what the transport raises comes back inside the outcome."""

    def discard(self) -> None:
        """Close the response of the last attempt: the flow has given it up."""


def drive(flow: Flow, transport: Transport, store: Store, clock: Clock, entries: list[Entry]) -> Outcome:
    """Carry out a flow to its end.

    Args:
        flow: The flow.
        transport: Makes the attempts.
        store: Where state lives.
        clock: Time and chance.
        entries: Everything performed is appended here.

    Returns:
        How the call ended.
    """
    answer: Any = None
    try:
        while True:
            effect = flow.send(answer)
            if type(effect) is Send:
                answer = transport.send(effect)
                entries.append(attempted(answer))
            elif type(effect) is Decide:
                answer = store.decide(effect.events)
            elif type(effect) is Sleep:
                transport.discard()
                answer = clock.uniform(effect.low, effect.high)
                clock.sleep(answer)
                entries.append(Wait(answer, effect.why))
    except StopIteration as end:
        return cast("Outcome", end.value)
    finally:
        flow.close()
        answer = None  # or this frame, the error in an outcome and its traceback would keep each other alive
