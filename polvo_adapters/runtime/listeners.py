"""Notification of listeners."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from polvo_adapters.core.report import StateChange

_log = logging.getLogger("polvo_adapters")


def notify(listeners: Iterable[Callable[[StateChange], object]], change: StateChange) -> None:
    """Call listeners with a change, and log their exceptions: they must not break the call that caused the change."""
    for listener in listeners:
        try:
            listener(change)
        except Exception:  # noqa: BLE001, PERF203 - listeners may raise anything
            _log.exception("a listener of %s failed", change.what)
