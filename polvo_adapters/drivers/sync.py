"""The synchronous driver: performs effects on the calling thread."""

from __future__ import annotations

import threading
from typing import Any, cast

from polvo_adapters.core.effects import Admit, Decide, Effect, Flow, Inform, Park, Race, Send, Settle, Sleep
from polvo_adapters.core.outcomes import Outcome
from polvo_adapters.core.report import Entry, Wait, attempted
from polvo_adapters.drivers.decisions import Lease, admit, break_off, decide, inform, settle
from polvo_adapters.drivers.exchange import Transport
from polvo_adapters.runtime.clock import Clock
from polvo_adapters.stores.base import Store


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
        from polvo_adapters.drivers.races import race

        transport.discard()
        return race(effect.flow, transport, store, clock, entries, drive)
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
