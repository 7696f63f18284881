"""What all drivers do with decisions: tell of what they changed, and settle what a call holds."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import Any, TypeAlias

from polvo_adapters.core.effects import Release, TryDecide
from polvo_adapters.core.machines import Changed, Event, Refused
from polvo_adapters.core.report import Entry, StateChange
from polvo_adapters.drivers.exchange import BodyCloseNotifier
from polvo_adapters.runtime.listeners import notify
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
        _notify_changes(events, entries, verdicts)
    return verdicts


def acquire(store: Store, events: Sequence[Event], held: list[Lease], entries: list[Entry]) -> tuple[Any, ...]:
    """Put questions to the store, and remember what was granted; arguments and result as for `decide`."""
    verdicts = store.decide(events)
    kinds = {*map(type, verdicts)}
    if Refused in kinds or (bool in kinds and _is_refused(verdicts)):
        return verdicts
    held.append((events, verdicts))
    if Changed in kinds:
        _notify_changes(events, entries, verdicts)
    return verdicts


def release(store: Store, effect: Release, transport: BodyCloseNotifier, entries: list[Entry]) -> None:
    """Put what a call has come to to the store, as soon as the body of its response is closed."""
    if not effect.events and not effect.broken:
        return
    if not transport.on_body_closed(partial(_release_on_close, store, effect, entries)):
        decide(store, effect.events, entries)


def _release_on_close(store: Store, effect: Release, entries: list[Entry], broken: bool, finalizing: bool) -> None:
    events = effect.broken if broken else effect.events
    if finalizing:
        store.defer(events, partial(_notify_changes, events, entries))
    else:
        decide(store, events, entries)


def try_decide(store: Store, effect: TryDecide, entries: list[Entry]) -> bool:
    """Put to the store what is a fact already, and tell whether it could take it."""
    for left in reversed(range(_TRIES)):
        try:
            decide(store, effect.events, entries)
            return True
        except Exception as error:  # noqa: BLE001, PERF203 - what came of the call is what its caller has to see
            if not left:
                _log.warning("what came of a call could not be written, and its caller is told so: %s", error)
    return False


def release_all(store: Store, held: list[Lease]) -> None:
    """Give back what a call still holds, the last first."""
    while held:
        _release_lease(store, *held.pop())


def defer_release_all(store: Store, held: list[Lease]) -> None:
    """Give back what a call still holds, where a finalizer does it: the store may be locked by this very thread."""
    while held:
        events = _release_events(*held.pop())
        store.defer(events, partial(_notify_changes, events, []))


def _release_lease(store: Store, events: Sequence[Event], verdicts: Sequence[Any]) -> None:
    try:
        decide(store, _release_events(events, verdicts), [])
    except Exception:  # noqa: BLE001 - what broke the call off is what its caller has to see
        _log.exception("what a call was granted could not be given back; it comes back when its lease ends")


def _release_events(events: Sequence[Event], verdicts: Sequence[Any]) -> list[Event]:
    permits = [verdict.verdict if type(verdict) is Changed else verdict for verdict in verdicts]
    return [
        Event(machine, key, machine.release_event(permit))  # type: ignore[attr-defined]
        for (machine, key, _), permit in zip(events, permits, strict=True)
    ]


def _is_refused(verdicts: Sequence[Any]) -> bool:
    return any(verdict is False or type(verdict) is Refused for verdict in verdicts)


def _notify_changes(events: Sequence[Event], entries: list[Entry], verdicts: Sequence[Any]) -> None:
    if _is_refused(verdicts):
        return  # all or nothing: the store has kept none of it
    for (machine, key, _), verdict in zip(events, verdicts, strict=True):
        if type(verdict) is Changed:
            change = StateChange(key, verdict.before, verdict.after, verdict.reason)
            entries.append(change)
            _log.info("%s", change)
            notify(getattr(machine, "listeners", ()), change)
