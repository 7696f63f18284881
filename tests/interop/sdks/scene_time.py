"""The functions of `time` that SDKs get, and may keep: those of the scene that is in force, or else the real ones."""

from __future__ import annotations

import datetime as dt
import time as real
from typing import Any

now: Any = None
"""The scene that is in force."""

_sleep, _time, _monotonic, _datetime = real.sleep, real.time, real.monotonic, dt.datetime


def sleep(seconds: float) -> None:
    """Wait, or move the scene on."""
    if now is None:
        _sleep(seconds)
    else:
        now.sleep(seconds)


def time() -> float:
    """Return the Unix time."""
    return _time() + _slept()


def monotonic() -> float:
    """Return the seconds on a clock that only moves forward."""
    return _monotonic() + _slept()


def datetime_now(tz: dt.tzinfo | None = None) -> dt.datetime:
    """Return the date and time."""
    return _datetime.now(tz) + dt.timedelta(seconds=_slept())


def _slept() -> float:
    return 0.0 if now is None else now.slept
