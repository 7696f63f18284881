"""The synchronous driver: performs effects on the calling thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Protocol, cast

from polvo_adapters.clock import Clock
from polvo_adapters.drive.deciding import Lease, admit, break_off, decide, inform, settle
from polvo_adapters.events import Entry, Wait, attempted
from polvo_adapters.flow import Admit, Decide, Effect, Flow, Inform, Outcome, Park, Race, Send, Settle, Sleep
from polvo_adapters.stores.base import Store


class Cancelled(BaseException):
    """Ends the drive of a flow that has lost its race; no policy and no caller ever sees it."""


class Transport(Protocol):
    """Makes the attempts of one call."""

    def send(self, effect: Send) -> Outcome:
        """Make one attempt; what the transport raises comes back inside the outcome."""

    def discard(self) -> None:
        """Close the response of the last attempt: the flow has given it up."""

    def closing(self, action: Callable[[bool, bool], None]) -> bool:
        """Run an action when the body of the last response is closed; see `polvo_adapters.drive.deciding`."""

    def fork(self) -> Transport:
        """Return one for attempts at the same call on another thread."""

    def holds(self, outcome: Outcome) -> bool:
        """Tell whether the response of an outcome is the one that this transport got last."""

    def adopt(self, fork: Any) -> None:
        """Take over the response that a fork got last."""

    def cancel(self) -> None:
        """From any thread: let attempts end as soon as they can, and close what they come to."""

    def on_cancel(self, wake: Callable[[], object] | None) -> bool:
        """Have `wake` run when it is cancelled, until this is called with None.

        Returns:
            Whether anybody may cancel it.

        Raises:
            Cancelled: It was cancelled already.
        """


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
    held: list[Lease] = []
    try:
        while True:
            effect = flow.send(answer)
            if type(effect) is Send:
                answer = transport.send(effect)
                entries.append(attempted(answer))
            elif type(effect) is Decide:
                answer = decide(store, effect.events, entries)
            elif type(effect) is Admit:
                answer = admit(store, effect.events, held, entries)
            elif type(effect) is Settle:
                held.pop()
                settle(store, effect, transport, entries)
                answer = None
            else:
                answer = _seldom(effect, transport, store, clock, entries)
    except StopIteration as end:
        return cast("Outcome", end.value)
    except BaseException:
        transport.discard()
        raise
    finally:
        try:
            flow.close()
        finally:
            if held:
                break_off(store, held)
            answer = None  # or this frame, the error in an outcome and its traceback would keep each other alive


def _seldom(effect: Effect, transport: Transport, store: Store, clock: Clock, entries: list[Entry]) -> Any:
    """Perform what most calls do without."""
    if type(effect) is Sleep:
        transport.discard()
        seconds = clock.uniform(effect.low, effect.high)
        _sleep(seconds, transport, clock)
        entries.append(Wait(seconds, effect.why))
        return seconds
    if type(effect) is Park:
        transport.discard()
        seconds = _park(effect, transport, store, clock)
        entries.append(Wait(seconds, effect.why))
        return seconds
    if type(effect) is Inform:
        return inform(store, effect, entries)
    if type(effect) is Race:
        from polvo_adapters.drive.threads import race

        transport.discard()
        return race(effect.flow, transport, store, clock, entries)
    raise TypeError(f"{effect!r} is no effect, or one of races only")


def _sleep(seconds: float, transport: Transport, clock: Clock) -> None:
    cancelled = threading.Event()
    if not transport.on_cancel(cancelled.set):
        clock.sleep(seconds)
        return
    try:
        clock.wait(cancelled, seconds)
    finally:
        transport.on_cancel(None)


def _park(effect: Park, transport: Transport, store: Store, clock: Clock) -> float:
    began, called = clock.now(), threading.Event()
    transport.on_cancel(called.set)
    try:
        if store.park(effect.name, called.set):
            try:
                clock.wait(called, effect.seconds)
            finally:
                store.unpark(effect.name)
    finally:
        transport.on_cancel(None)
    return clock.now() - began
