"""When there is quota again: one text, read as a delay or as a moment, and counted from now.

Theory of operation. Under the one name `X-RateLimit-Reset`, servers send seconds from now, Unix time in seconds (with
and without a fraction) and in milliseconds, HTTP dates, RFC 3339 with and without seconds, and durations in the manner
of Go. Dates and durations show their unit. The magnitude tells numbers apart: from 1e12 on a Unix time in
milliseconds, from 1e9 on one in seconds, below that a delay, since no quota lasts for thirty years. Where a dialect
fixes the unit, the magnitude does not matter.

A moment is a moment of the server's clock, so it counts from the server's time. `Date` tells that time, but only in
whole seconds; where the caller's clock agrees with it to the second, the caller's is the finer one. A moment more than
a day in the past, or any reset more than 400 days ahead, is not a reset: servers do send dates of years ago, and
milliseconds under a name that means seconds.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from polvo_adapters.headers import times
from polvo_adapters.headers.quota import CERTAIN, GUESSED, LIKELY

LONGEST_RESET = times.LONGEST_DELAY
_OLDEST = times.DAY
_AGREEMENT = 1.25  # seconds: Date is cut to whole seconds, and the response takes a moment to arrive
_DURATION = re.compile(r"(?:[0-9]{1,12}(?:\.[0-9]{1,12})?(?:ms|us|µs|μs|ns|d|h|m|s))+\Z")
_SPELLED = re.compile(r" ?(?:(m)illiseconds?|(s)ec(?:ond)?s?|(m)in(?:ute)?s?|(h)(?:ou)?rs?|(d)ays?)\b")
_BETWEEN = re.compile(r"(?<=[a-z]) (?=[0-9])")
_ISO_DURATION = re.compile(r"[Pp](?:([0-9]{1,4})[Dd])?(?:[Tt]([0-9.HMShms]{1,32}))?\Z")
_SCRIPT_DATE = re.compile(
    r"[A-Z][a-z]{2} ([A-Z][a-z]{2}) ([0-9]{2}) ([0-9]{4}) ([0-9:]{8}) (?:GMT|UTC)([+-][0-9]{4})?(?: \(.{0,64}\))?\Z"
)
_FINE = re.compile(r"[0-9]{16}(?:[0-9]{3})?\Z")  # microseconds and nanoseconds of Unix time
_DURATION_PART = re.compile(r"([0-9.]+)([^0-9.]+)")
_DURATION_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600, "d": 86400}


class Reset(NamedTuple):
    """When there is quota again, as the server announced it: a delay or a moment.

    Attributes:
        seconds: The delay in seconds, or None.
        moment: The Unix time in seconds, or None.
        resolution: By how many seconds it may be off because it was rounded.
        confidence: How sure the unit is.
    """

    seconds: float | None = None
    moment: float | None = None
    resolution: float = 1.0
    confidence: float = CERTAIN


class Boundary(float):
    """A moment that is known by the clock alone: the next whole multiple of so many seconds since midnight UTC."""

    __slots__ = ()


UNKNOWN = Reset(resolution=0.0)
"""The server announced no reset, or none that makes sense."""


@lru_cache(maxsize=1024)
def read(text: str, unit: str = "") -> Reset:
    """Return the reset that a text announces.

    Args:
        text: The text, as the server sent it.
        unit: Unit of a number in this dialect: "seconds", "milliseconds", "epoch", "epoch-milliseconds", or "" to
            derive it from the magnitude.

    Returns:
        The reset, or `UNKNOWN`.

    Source: RFC 3339, RFC 9110 section 5.6.7, `time.Duration.String` of Go, ISO 8601 (durations), `Date.toString` of
    JavaScript.
    """
    text = text.strip()
    if len(text) > times.LONGEST:
        text = text.partition(" (")[0]  # the name of a time zone
    if not text or len(text) > times.LONGEST:
        return UNKNOWN
    value = times.parse_number(text)
    if value is not None:
        return from_number(value, unit)
    if _FINE.match(text):
        return Reset(None, float(text[:16]) / 1e6, 0.0, LIKELY)
    return _read_iso(text) or read_duration(text) or _read_http_date(_SCRIPT_DATE.sub(r"\2 \1 \3 \4 \5", text))


def from_number(value: float | None, unit: str = "") -> Reset:
    """Return the reset that a number announces, as `read` does.

    Args:
        value: A finite number that is not negative, or None.
        unit: As in `read`.
    """
    if value is None:
        return UNKNOWN
    confidence = CERTAIN if unit else LIKELY
    if unit == "milliseconds" and value < times.EPOCH_MILLISECONDS:
        return Reset(value / 1000, None, 0.0) if value <= 1000 * LONGEST_RESET else UNKNOWN
    if unit in ("milliseconds", "epoch-milliseconds") or (not unit and value >= times.EPOCH_MILLISECONDS):
        return Reset(None, value / 1000, float(value % 1000 == 0), confidence)
    if unit == "epoch" or (not unit and value >= times.EPOCH_SECONDS):
        return Reset(None, value, float(value.is_integer()), confidence)
    if value > LONGEST_RESET:
        return UNKNOWN
    return Reset(value, None, float(value.is_integer()), CERTAIN if unit else GUESSED)


def _read_iso(text: str) -> Reset | None:
    found = times.parse_iso(text)
    return None if found is None else Reset(None, *found)


def read_duration(text: str) -> Reset | None:
    """Return the delay that a text spells as a duration, `1m23s`, `PT30S` or `30 seconds`, or None."""
    iso = _ISO_DURATION.match(text)
    if iso is not None:
        clock = (iso[2] or "").lower()
        text = f"{iso[1]}d{clock}" if iso[1] else clock
    elif not _DURATION.match(text):
        text = _BETWEEN.sub("", _SPELLED.sub(_abbreviate, text.lower()))
    if not _DURATION.match(text):
        return None
    parts = _DURATION_PART.findall(text)
    seconds = sum(float(value) * _DURATION_UNITS[unit] for value, unit in parts)
    if seconds > LONGEST_RESET:
        return None
    return Reset(seconds, None, 0.0 if "." in text or parts[-1][1] not in ("s", "m", "h", "d") else 1.0)


def _abbreviate(found: re.Match[str]) -> str:
    return "ms" if found[1] else next(filter(None, found.groups()), "")


def _read_http_date(text: str) -> Reset:
    moment = times.parse_date(text)
    return UNKNOWN if moment is None else Reset(None, moment)


def choose_server_time(date: float | None, now: float) -> tuple[float | None, float]:
    """Return the time from which moments count.

    Args:
        date: The `Date` of the response as Unix time, or None.
        now: The caller's Unix time; 0.0, or what cannot be a time in seconds, where it is not known.

    Returns:
        Unix time in seconds, or None where neither is known, and by how many seconds it may be off.
    """
    is_now_known = 0.0 < now < times.EPOCH_MILLISECONDS
    if is_now_known and (date is None or abs(now - date) <= _AGREEMENT):
        return now, 0.0
    return date, 0.0 if date is None else 1.0


def count_seconds(moment: float, base: float) -> float | None:
    """Return the seconds from a time to a moment, never negative, or None where that makes no sense as a reset.

    Args:
        moment: Unix time in seconds, or a `Boundary`.
        base: Unix time in seconds, of the same clock.
    """
    if type(moment) is Boundary:
        return moment - base % moment
    seconds = moment - base
    return max(0.0, seconds) if -_OLDEST <= seconds <= LONGEST_RESET else None
