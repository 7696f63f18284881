"""The log lines that say where a deadline cannot be kept, or was not."""

from __future__ import annotations

import logging

from polvo_adapters.runtime.logs import logger, say

_LATE = 0.1  # seconds; below that, the machine was busy
_log = logger("deadline")
_reported: set[str] = set()
_unwatched: set[type] = set()


def report_unwatched(kind: type) -> None:
    """Log, once for each class, that an adapter keeps deadlines by its timeouts only.

    Args:
        kind: The class of the adapter.
    """
    if kind not in _unwatched:
        _unwatched.add(kind)
        # Not by `warnings`, which suites of tests turn into errors: there, mocks are wrapped.
        text = "%s gets a deadline as its timeout only, because its connections cannot be watched; see docs/deadline.md"
        say(_log, logging.WARNING, "deadline", text, kind.__qualname__)


def report_overrun(kind: str, late: float) -> None:
    """Log, once for each class, that an adapter or transport which opens sockets of its own has not kept a deadline.

    Args:
        kind: Name of the class.
        late: How many seconds after the deadline its attempt has ended; negative where it ended before.
    """
    if late > _LATE and kind not in _reported:
        _reported.add(kind)
        text = "a call took %.3f s longer than its deadline in %s, which opens sockets of its own; see docs/deadline.md"
        say(_log, logging.WARNING, "deadline", text, late, kind, seconds=late)
