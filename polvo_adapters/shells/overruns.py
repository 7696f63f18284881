"""The log line that says where a deadline was not kept."""

from __future__ import annotations

import logging

from polvo_adapters.runtime.logs import logger, say

_LATE = 0.1  # seconds; below that, the machine was busy
_log = logger("deadline")


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


_reported: set[str] = set()
