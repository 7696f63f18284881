"""The synchronous driver: performs effects on the calling thread."""

from __future__ import annotations

import threading
from typing import Any, cast

from polvo_adapters.core.effects import Acquire, Decide, Effect, Flow, Park, Race, Release, Send, Sleep, TryDecide
from polvo_adapters.core.outcomes import Outcome
from polvo_adapters.core.report import Entry, Wait, record_attempt
from polvo_adapters.drivers.decisions import Lease, acquire, decide, release, release_all, try_decide
from polvo_adapters.drivers.exchange import Exchange
from polvo_adapters.runtime.clock import Clock
from polvo_adapters.stores.base import Store


def drive(flow: Flow, exchange: Exchange, store: Store, clock: Clock, entries: list[Entry]) -> Outcome:
    """Carry out a flow to its end.

    Args:
        flow: The flow.
        exchange: Makes the attempts.
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
                answer = exchange.send(effect)
                entries.append(record_attempt(answer))
            elif type(effect) is Decide:
                answer = decide(store, effect.events, entries)
            elif type(effect) is Acquire:
                answer = acquire(store, effect.events, held, entries)
            elif type(effect) is Release:
                held.pop()
                release(store, effect, exchange, entries)
                answer = None
            else:
                answer = _perform_rare(effect, exchange, store, clock, entries)
    except StopIteration as end:
        return cast("Outcome", end.value)
    except BaseException:
        exchange.discard()
        raise
    finally:
        try:
            flow.close()
        finally:
            if held:
                release_all(store, held)
            answer = None  # see errors.py, "Errors and frames"


def _perform_rare(effect: Effect, exchange: Exchange, store: Store, clock: Clock, entries: list[Entry]) -> Any:
    """Perform the effects that most calls do without."""
    if type(effect) is TryDecide:
        return try_decide(store, effect, entries)
    exchange.discard()
    if type(effect) is Race:
        from polvo_adapters.drivers.races import race

        return race(effect.flow, exchange, store, clock, entries, drive)
    if type(effect) is Sleep:
        seconds = clock.uniform(effect.low, effect.high)
        _sleep(seconds, exchange, clock)
    elif type(effect) is Park:
        seconds = _park(effect, exchange, store, clock)
    else:
        raise TypeError(f"{effect!r} is no effect, or one of races only")
    entries.append(Wait(seconds, effect.reason))
    return seconds


def _sleep(seconds: float, exchange: Exchange, clock: Clock) -> None:
    cancelled = threading.Event()
    if not exchange.on_cancel(cancelled.set):
        clock.sleep(seconds)
        return
    try:
        clock.wait(cancelled, seconds)
    finally:
        exchange.on_cancel(None)


def _park(effect: Park, exchange: Exchange, store: Store, clock: Clock) -> float:
    began, woken = clock.now(), threading.Event()
    exchange.on_cancel(woken.set)
    try:
        if store.park(effect.name, woken.set):
            try:
                clock.wait(woken, effect.seconds)
            finally:
                store.unpark(effect.name)
    finally:
        exchange.on_cancel(None)
    return clock.now() - began
