"""The synchronous driver: performs effects on the calling thread."""

from __future__ import annotations

import threading
from typing import Any, cast

from polvo_adapters.core.effects import Acquire, Decide, Effect, Flow, Park, Race, Release, Send, Sleep, TryDecide
from polvo_adapters.core.outcomes import Outcome
from polvo_adapters.core.report import Entry, Wait, attempted
from polvo_adapters.drivers.decisions import Lease, acquire, decide, release, release_all, try_decide
from polvo_adapters.drivers.exchange import Exchange
from polvo_adapters.runtime.clock import Clock
from polvo_adapters.stores.base import Store


def drive(flow: Flow, transport: Exchange, store: Store, clock: Clock, entries: list[Entry]) -> Outcome:
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
            elif type(effect) is Acquire:
                answer = acquire(store, effect.events, held, entries)
            elif type(effect) is Release:
                held.pop()
                release(store, effect, transport, entries)
                answer = None
            else:
                answer = _perform_rare(effect, transport, store, clock, entries)
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
                release_all(store, held)
            answer = None  # or this frame, the error in an outcome and its traceback would keep each other alive


def _perform_rare(effect: Effect, transport: Exchange, store: Store, clock: Clock, entries: list[Entry]) -> Any:
    """Perform what most calls do without."""
    if type(effect) is Sleep:
        transport.discard()
        seconds = clock.uniform(effect.low, effect.high)
        _sleep(seconds, transport, clock)
        entries.append(Wait(seconds, effect.reason))
        return seconds
    if type(effect) is Park:
        transport.discard()
        seconds = _park(effect, transport, store, clock)
        entries.append(Wait(seconds, effect.reason))
        return seconds
    if type(effect) is TryDecide:
        return try_decide(store, effect, entries)
    if type(effect) is Race:
        from polvo_adapters.drivers.races import race

        transport.discard()
        return race(effect.flow, transport, store, clock, entries, drive)
    raise TypeError(f"{effect!r} is no effect, or one of races only")


def _sleep(seconds: float, transport: Exchange, clock: Clock) -> None:
    cancelled = threading.Event()
    if not transport.on_cancel(cancelled.set):
        clock.sleep(seconds)
        return
    try:
        clock.wait(cancelled, seconds)
    finally:
        transport.on_cancel(None)


def _park(effect: Park, transport: Exchange, store: Store, clock: Clock) -> float:
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
