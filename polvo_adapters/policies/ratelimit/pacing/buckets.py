"""Whether a quota is a bucket, told by the responses alone, and how long the whole of it takes to come back.

The reset that a bucket announces is the time until it is full: so much of the window as the part of the quota that is
used. Each response therefore bounds the length of the window from both sides, and those of a bucket agree. Those of
other servers do not: in a window what is used rises while the time to the reset falls, a sliding server announces when
its oldest request comes back, or always the same. A bucket that others keep level is told by a reset that comes no
nearer while time passes.
"""

from __future__ import annotations

import math
from typing import NamedTuple, TypeAlias

Match: TypeAlias = tuple[float, float, float, float, float, int]
"""Shortest and longest window by all responses; what was used, the reset and the time when they last said something
new; and how often they did."""

UNKNOWN: Match = (0.0, math.inf, 0.0, 0.0, 0.0, 0)
"""What is known before the first response."""

_ENOUGH, _MOST, _REFUTED = 3, 6, -1  # moves alike; a response that does not fit takes back two of them
_FINE = 0.1  # of a window, to which a reset is announced, so that what it means shows where not much remains
_STEP = 0.02  # of the quota, besides one request: a smaller move says little
_WHILE, _LONG = 0.1, 0.6  # of the window, in which a reset should have fallen, and would not have come
_CLEAR = 0.1  # of the window, by which a reset is earlier than a whole window, which some servers always announce
_PRECISE = 1.2  # between the longest and the shortest window
_ROUND = (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)  # seconds
_SLACK = 1.001  # arithmetic is not exact


class Level(NamedTuple):
    """What a response says.

    Attributes:
        limit: Size of the quota.
        used: What is used of it.
        reset: Seconds until the reset.
        coarse: Seconds by which that may be too high, because it was rounded.
        late: Seconds by which it may be too low, because the response took as long.
        at: When the response came.
    """

    limit: float
    used: float
    reset: float
    coarse: float
    late: float
    at: float


def match(known: Match, level: Level, window: float = 0.0) -> Match:
    """Return what is known after a response.

    Args:
        known: What was known before.
        level: What the response says.
        window: Length of the window, where it is announced.
    """
    limit, used, reset, coarse, late, at = level
    if used < 1:
        return known
    shortest = max(0.0, reset - coarse) * limit / used
    longest = (reset + late) * limit / (used - 1) if used > 1 else math.inf  # what remains is cut to a whole number
    low, high, moved_used, moved_reset, moved_at, alike = known
    if not moved_used:
        low, high, moved_used, moved_reset, moved_at = window, window or math.inf, used, reset, at
        alike = 0 if coarse <= _FINE * window else _REFUTED
    risen, later = used - moved_used, reset - moved_reset
    moved = abs(risen) >= _STEP * limit + 1 and abs(later) >= 0.9 * coarse
    if max(low, shortest) > _SLACK * min(high, longest) or (moved and risen * later < 0):
        if alike > 2:
            return (low, high, used, reset, at, alike - 2)
        return (window or shortest, window or longest, used, reset, at, _REFUTED)
    if _stays(level, window, at - moved_at, later) or (moved and _SLACK * min(high, longest) >= 2 * coarse):
        moved_used, moved_reset, moved_at, alike = used, reset, at, min(_MOST, max(0, alike) + 1)
    elif at - moved_at > _LONG * window > 0:
        moved_used, moved_reset, moved_at = used, reset, at
    if window:
        return (low, high, moved_used, moved_reset, moved_at, alike)
    return (max(low, shortest), min(high, longest), moved_used, moved_reset, moved_at, alike)


def _stays(level: Level, window: float, passed: float, later: float) -> bool:
    """Return whether the reset of a window that is announced has not come nearer, although time has passed."""
    limit, used, _, coarse, _, _ = level
    if not max(1.5 * coarse, _WHILE * window) < passed <= _LONG * window:
        return False
    return later > -passed / 4 and used * window / limit + max(1.5 * coarse, _CLEAR * window) < window


def is_bucket(known: Match) -> bool:
    """Return whether the responses are those of a bucket."""
    return known[5] >= _ENOUGH


def may_be_bucket(known: Match) -> bool:
    """Return whether the responses are those of a bucket, or could be told from them where enough remained."""
    return known[5] >= 0 < known[2]


def is_refuted(known: Match) -> bool:
    """Return whether a response contradicts a bucket."""
    return known[5] < 0


def find_window(known: Match, believed: float) -> float:
    """Return the length of the window of a bucket, or 0 where it is not known.

    Args:
        known: What is known.
        believed: What it was taken for, which is kept as long as it fits, since each change restarts the pace.
    """
    low, high = known[0] / _SLACK, known[1] * _SLACK
    if not is_bucket(known) or high > _PRECISE * low:
        return 0.0
    if low <= believed <= high:
        return believed
    return next((float(each) for each in _ROUND if low <= each <= high), math.sqrt(low * high))
