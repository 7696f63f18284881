"""Durations as messages show them."""

from __future__ import annotations

import math


def format_seconds(seconds: float, digits: int = 3) -> str:
    """Return a number of seconds for a person: so many digits, whole from 100 on, never in powers of ten.

    Args:
        seconds: The duration.
        digits: How many digits are shown of less than 100 seconds.
    """
    if math.isinf(seconds) or math.isnan(seconds):
        return str(seconds)
    if seconds >= 100:
        shown = f"{seconds:.{max(0, digits - 3)}f}"
        return shown.rstrip("0").rstrip(".") if "." in shown else shown
    return f"{seconds:.{digits}g}" if seconds >= 0.0001 or seconds == 0 else "0.0001"
