"""What all drivers do with decisions: tell of what they changed, and settle what a call holds."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import Any, TypeAlias

from polvo_adapters.core.effects import Inform, Settle
from polvo_adapters.core.machines import Changed, Event, Refused
from polvo_adapters.core.report import Change, Entry
from polvo_adapters.drivers.exchange import Closing
from polvo_adapters.runtime.listeners import tell
from polvo_adapters.stores.base import Store

Lease: TypeAlias = tuple[Sequence[Event], tuple[Any, ...]]
"""What was asked, and what was granted."""

_TRIES = 2  # to write what has happened; a store that is busy waits by itself

_log = logging.getLogger("polvo_adapters")


def decide(store: Store, events: Sequence[Event], entries: list[Entry]) -> tuple[Any, ...]:
    """Put events to the store, and pass on what they changed.

    Args:
        store: Where state lives.
        events: The events.
        entries: A Change is appended for each change.

    Returns:
        The verdicts.
    """
    verdicts = store.decide(events)
    if Changed in map(type, verdicts):
        _changed(events, entries, verdicts)
    return verdicts


def admit(store: Store, events: Sequence[Event], held: list[Lease], entries: list[Entry]) -> tuple[Any, ...]:
    """Put questions to the store, and remember what was granted; arguments and result as for `decide`."""
    verdicts = store.decide(events)
    kinds = {*map(type, verdicts)}
    if Refused in kinds or (bool in kinds and _refused(verdicts)):
        return verdicts
    held.append((events, verdicts))
    if Changed in kinds:
        _changed(events, entries, verdicts)
    return verdicts


def settle(store: Store, effect: Settle, transport: Closing, entries: list[Entry]) -> None:
    """Put what a call has come to to the store, as soon as the body of its response is closed."""
    if not effect.events and not effect.broken:
        return
    if not transport.closing(partial(_closed, store, effect, entries)):
        decide(store, effect.events, entries)


def _closed(store: Store, effect: Settle, entries: list[Entry], broken: bool, finalizing: bool) -> None:
    events = effect.broken if broken else effect.events
    if finalizing:
        store.later(events, partial(_changed, events, entries))
    else:
        decide(store, events, entries)


def inform(store: Store, effect: Inform, entries: list[Entry]) -> bool:
    """Put to the store what is a fact already, and tell whether it could take it."""
    for left in reversed(range(_TRIES)):
        try:
            decide(store, effect.events, entries)
            return True
        except Exception as error:  # noqa: BLE001, PERF203 - what came of the call is what its caller has to see
            if not left:
                _log.warning("what came of a call could not be written, and its caller is told so: %s", error)
    return False


def break_off(store: Store, held: list[Lease]) -> None:
    """Give back what a call still holds, the last first."""
    while held:
        _give_back(store, *held.pop())


def forsake(store: Store, held: list[Lease]) -> None:
    """Give back what a call still holds, where a finalizer does it: the store may be locked by this very thread."""
    while held:
        events = _abandoned(*held.pop())
        store.later(events, partial(_changed, events, []))


def _give_back(store: Store, events: Sequence[Event], verdicts: Sequence[Any]) -> None:
    try:
        decide(store, _abandoned(events, verdicts), [])
    except Exception:  # noqa: BLE001 - what broke the call off is what its caller has to see
        _log.exception("what a call was granted could not be given back; it comes back when its lease ends")


def _abandoned(events: Sequence[Event], verdicts: Sequence[Any]) -> list[Event]:
    permits = [verdict.verdict if type(verdict) is Changed else verdict for verdict in verdicts]
    return [
        Event(machine, key, machine.abandoned(permit))  # type: ignore[attr-defined]
        for (machine, key, _), permit in zip(events, permits, strict=True)
    ]


def _refused(verdicts: Sequence[Any]) -> bool:
    return any(verdict is False or type(verdict) is Refused for verdict in verdicts)


def _changed(events: Sequence[Event], entries: list[Entry], verdicts: Sequence[Any]) -> None:
    if _refused(verdicts):
        return  # all or nothing: the store has kept none of it
    for (machine, key, _), verdict in zip(events, verdicts, strict=True):
        if type(verdict) is Changed:
            change = Change(key, verdict.before, verdict.after, verdict.why)
            entries.append(change)
            _log.info("%s", change)
            tell(getattr(machine, "listeners", ()), change)
