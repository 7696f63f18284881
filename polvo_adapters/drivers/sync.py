"""The synchronous driver: performs effects on the calling thread."""

from __future__ import annotations

import threading
from typing import Any

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
    TryDecide,
    Undecided,
)
from polvo_adapters.core.outcomes import Outcome
from polvo_adapters.core.report import Entry, Wait
from polvo_adapters.drivers.decisions import Decisions
from polvo_adapters.drivers.exchange import Exchange
from polvo_adapters.runtime.clock import Clock
from polvo_adapters.stores.base import Store


def drive(
    flow: Flow,
    exchange: Exchange,
    store: Store,
    clock: Clock,
    entries: list[Entry],
    call: Call | None = None,
    *,
    in_race: bool = False,
) -> Outcome:
    """Carry out a flow to its end.

    Args:
        flow: The flow.
        exchange: Makes the attempts.
        store: Where state lives.
        clock: Time and chance.
        entries: Everything performed is appended here.
        call: The call, to say in the log what happens to it; None where that is not to be logged.
        in_race: Whether it is one flow of a race, whose end is not the end of the call.

    Returns:
        How the call ended.
    """
    answer: Any = None
    decisions = Decisions(store, entries, call, in_race)
    try:
        while True:
            effect: Any = flow.throw(answer) if type(answer) is Undecided else flow.send(answer)
            kind = type(effect)
            if kind is Send:
                answer = exchange.send(effect)
                decisions.note_attempt(effect.call, answer)
            elif kind is TryDecide:
                answer = decisions.try_decide(effect)
            elif kind is Decide:
                answer = decisions.decide(effect.events)
            elif kind is Acquire:
                answer = _acquire(effect, exchange, decisions)
            elif kind is Release:
                decisions.release(effect, exchange)
                answer = None
            else:
                answer = _perform_rare(effect, exchange, store, clock, entries, decisions, call)
    except StopIteration as end:
        return decisions.end(end.value)  # and no variable, see `finally`
    except Undecided as undecided:
        return decisions.conclude(undecided)
    except BaseException:
        exchange.discard()
        raise
    finally:
        try:
            flow.close()
        finally:
            decisions.release_all()
            answer = None  # see errors.py, "Errors and frames"


def _acquire(effect: Acquire, exchange: Exchange, decisions: Decisions) -> Any:
    if decisions.best is not None:  # the response in hand may be what holds the slot that is wanted
        exchange.discard()
    return decisions.acquire(effect.events)


def _perform_rare(
    effect: Effect,
    exchange: Exchange,
    store: Store,
    clock: Clock,
    entries: list[Entry],
    decisions: Decisions,
    call: Call | None,
) -> Any:
    """Perform the effects that most calls do without."""
    exchange.discard()
    if type(effect) is Race:
        from polvo_adapters.drivers.races import race

        outcome = race(effect.flow, exchange, store, clock, entries, drive, call)
        decisions.note_race(outcome)
        return outcome
    if type(effect) is Sleep:
        seconds = clock.uniform(effect.low, effect.high)
        decisions.announce_wait(effect, seconds)
        if effect.sleep is None:
            _sleep(seconds, exchange, clock)
        else:
            began = clock.now()
            effect.sleep()
            seconds = clock.now() - began
    elif type(effect) is Park:
        decisions.announce_wait(effect, effect.seconds)
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
