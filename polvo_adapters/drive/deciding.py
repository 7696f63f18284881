"""What all drivers do with decisions: tell of what they changed, and settle what a call holds."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

from polvo_adapters.events import Change, Entry
from polvo_adapters.flow import Changed, Event, Settle
from polvo_adapters.stores.base import Store

_log = logging.getLogger("polvo_adapters")


class Closing(Protocol):
    """Knows when the body of the last response is closed."""

    def closing(self, action: Callable[[bool, bool], None]) -> bool:
        """Run an action once the body of the last response is closed, or return False where none is open.

        The action is told whether reading failed, and whether it is run by a finalizer, which must not lock anything.
        """


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
    for index, verdict in enumerate(verdicts):
        if type(verdict) is Changed:
            change = Change(*verdict[:4])
            entries.append(change)
            _tell(events[index].machine, change)
    return verdicts


def settle(store: Store, effect: Settle, transport: Closing, entries: list[Entry]) -> None:
    """Put what a call has come to to the store, as soon as the body of its response is closed."""
    if not transport.closing(partial(_closed, store, effect, entries)):
        decide(store, effect.events, entries)


def _closed(store: Store, effect: Settle, entries: list[Entry], broken: bool, finalizing: bool) -> None:
    events = effect.broken if broken else effect.events
    if finalizing:
        store.later(events)
    else:
        decide(store, events, entries)


def break_off(store: Store, held: list[Sequence[Event]]) -> None:
    """Put to the store what a call still holds, the last first."""
    while held:
        decide(store, held.pop(), [])


def _tell(machine: Any, change: Change) -> None:
    _log.info("%s", change)
    for listener in getattr(machine, "listeners", ()):
        _run(listener, change)


def _run(listener: Callable[[Change], object], change: Change) -> None:
    try:
        listener(change)
    except Exception:  # noqa: BLE001 - who listens must not be able to break the call that brought the change about
        _log.exception("a listener of %s failed", change.what)
