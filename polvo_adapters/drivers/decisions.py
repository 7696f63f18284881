"""What all drivers do with decisions: report the changes, and release the leases that a call holds."""

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
from polvo_adapters.stores.base import Store, is_refusal

Lease: TypeAlias = tuple[Sequence[Event], tuple[Any, ...]]
"""The events, and the verdicts that grant the lease."""

_TRIES = 2  # to write what has happened; a store that is busy waits by itself

_log = logging.getLogger("polvo_adapters")


def decide(store: Store, events: Sequence[Event], entries: list[Entry]) -> tuple[Any, ...]:
    """Put events to the store, report what they changed, and return the verdicts.

    Args:
        store: Where state lives.
        events: The events.
        entries: A StateChange is appended for each change.
    """
    verdicts = store.decide(events)
    if Changed in map(type, verdicts):
        _notify_changes(events, entries, verdicts)
    return verdicts


def acquire(store: Store, events: Sequence[Event], held: list[Lease], entries: list[Entry]) -> tuple[Any, ...]:
    """Put events to the store as `decide` does, and append the lease to `held` unless a verdict refuses."""
    verdicts = store.decide(events)
    kinds = {*map(type, verdicts)}
    if Refused in kinds or (bool in kinds and is_refusal(verdicts)):
        return verdicts
    held.append((events, verdicts))
    if Changed in kinds:
        _notify_changes(events, entries, verdicts)
    return verdicts


def release(store: Store, effect: Release, exchange: BodyCloseNotifier, entries: list[Entry]) -> None:
    """End a lease, now or when the body of the last response is closed."""
    if not effect.events and not effect.broken:
        return
    if not exchange.on_body_closed(partial(_release_on_close, store, effect, entries)):
        decide(store, effect.events, entries)


def _release_on_close(store: Store, effect: Release, entries: list[Entry], broken: bool, finalizing: bool) -> None:
    events = effect.broken if broken else effect.events
    if finalizing:
        store.defer(events, partial(_notify_changes, events, entries))
    else:
        decide(store, events, entries)


def try_decide(store: Store, effect: TryDecide, entries: list[Entry]) -> bool:
    """Put facts to the store, and return whether it has taken them."""
    for left in reversed(range(_TRIES)):
        try:
            decide(store, effect.events, entries)
            return True
        except Exception as error:  # noqa: BLE001, PERF203 - the outcome of the call matters more to its caller
            if not left:
                _log.warning("the outcome of a call could not be written to the store; the call says so: %s", error)
    return False


def release_all(store: Store, held: list[Lease]) -> None:
    """Release the leases that a call still holds, the last first."""
    while held:
        _release_lease(store, *held.pop())


def defer_release_all(store: Store, held: list[Lease]) -> None:
    """Release the leases of a call in a finalizer, during which this very thread may hold the lock of the store."""
    while held:
        events = _release_events(*held.pop())
        store.defer(events, partial(_notify_changes, events, []))


def _release_lease(store: Store, events: Sequence[Event], verdicts: Sequence[Any]) -> None:
    try:
        decide(store, _release_events(events, verdicts), [])
    except Exception:  # noqa: BLE001 - what broke the call off matters more to its caller
        _log.exception("a lease could not be released; it ends when it expires")


def _release_events(events: Sequence[Event], verdicts: Sequence[Any]) -> list[Event]:
    permits = [verdict.verdict if type(verdict) is Changed else verdict for verdict in verdicts]
    return [
        Event(machine, key, machine.release_event(permit))  # type: ignore[attr-defined]
        for (machine, key, _), permit in zip(events, permits, strict=True)
    ]


def _notify_changes(events: Sequence[Event], entries: list[Entry], verdicts: Sequence[Any]) -> None:
    if is_refusal(verdicts):
        return  # all or nothing: the store has changed nothing
    for (machine, key, _), verdict in zip(events, verdicts, strict=True):
        if type(verdict) is Changed:
            change = StateChange(key, verdict.before, verdict.after, verdict.reason)
            entries.append(change)
            _log.info("%s", change)
            notify(getattr(machine, "listeners", ()), change)
