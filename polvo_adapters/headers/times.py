"""What a server says about coming back: Retry-After, the verdict headers, and dates.

Theory of operation. Servers send `Retry-After` as seconds, with or without a fraction, as one of the three date
formats of RFC 9110 section 5.6.7, and as a Unix time in seconds or milliseconds; other names carry milliseconds.
Dates count from the `Date` of the same response, because the clocks of server and caller may differ.

Header names are looked up in lower case, in any mapping that finds them so: those of `requests` and httpx, or a
dict with lower-case keys. Values longer than a date can be are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date as calendar_date
from datetime import timezone
from email.utils import parsedate_to_datetime
from functools import lru_cache

LONGEST = 64
EPOCH_SECONDS, EPOCH_MILLISECONDS = 1e9, 1e12
DAY = 86_400.0
LONGEST_DELAY = 400 * DAY
"""Longer delays are mistakes of the server: to obey one would end all calls for years."""
_NUMBER = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,15})?\Z")
_ISO = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(\.[0-9]{1,9})?)?"
    r"(?:[Zz]|([+-])([0-9]{2}):?([0-9]{2}))?\Z"
)
_MILLISECOND_NAMES = ("retry-after-ms", "x-ms-retry-after-ms", "x-amz-retry-after", "grpc-retry-pushback-ms")
_VERDICT_NAMES = ("x-should-retry", "stripe-should-retry")
_MONTH_NAMES = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTHS = {name: number for number, name in enumerate(_MONTH_NAMES, 1)}
_EPOCH_DAY = calendar_date(1970, 1, 1).toordinal()


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return after how many seconds the server wants the request again.

    Args:
        headers: Headers of the response.
        now: Unix time in seconds, for dates in a response that has no `Date` of its own.

    Returns:
        Seconds, never negative and at most 400 days, or None where the server did not say.

    Source: RFC 9110 section 10.2.3; Zoom (RFC 3339 in Retry-After); OpenAI and Azure (`retry-after-ms`), Azure Core
    (`x-ms-retry-after-ms`), AWS (`x-amz-retry-after`), gRPC A6 (`grpc-retry-pushback-ms`).
    """
    for name in _MILLISECOND_NAMES:
        milliseconds = parse_number(_get_text(headers, name))
        if milliseconds is not None:
            return cap_delay(milliseconds / 1000)
    text = _get_text(headers, "retry-after")
    seconds = parse_number(text)
    if seconds is None:
        iso = parse_iso(text)
        moment = parse_date(text) if iso is None else iso[0]
    elif seconds < EPOCH_SECONDS:
        return cap_delay(seconds)
    else:
        moment = seconds / 1000 if seconds >= EPOCH_MILLISECONDS else seconds
    if moment is None:
        return None
    server_time = parse_date(_get_text(headers, "date"))
    return cap_delay(max(0.0, moment - (now if server_time is None else server_time)))


def cap_delay(seconds: float | None) -> float | None:
    """Return a delay, or None for one that is longer than 400 days."""
    return None if seconds is None or seconds > LONGEST_DELAY else seconds


def parse_iso(text: str) -> tuple[float, float] | None:
    """Return the Unix time of a moment, and by how many seconds it may be off, or None.

    Args:
        text: The moment in the manner of RFC 3339, with or without seconds and zone.

    Source: RFC 3339.
    """
    match = _ISO.match(text)
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, sign, hours, minutes = match.groups()
    moment = to_unix_time(int(year), int(month), int(day), int(hour), int(minute), int(second or 0))
    if moment is None:
        return None
    if sign:
        moment -= (int(hours) * 3600 + int(minutes) * 60) * (1 if sign == "+" else -1)
    return moment + float(fraction or 0), 60.0 if second is None else float(fraction is None)


def should_retry(headers: Mapping[str, str]) -> bool | None:
    """Return whether the server asks for a repeat (True), forbids it (False) or does not say (None).

    Args:
        headers: Headers of the response.

    Source: `x-should-retry` of OpenAI and Anthropic, `Stripe-Should-Retry`, and the push-back of gRPC A6, which
    forbids by a value that is not a number of milliseconds.
    """
    for name in _VERDICT_NAMES:
        verdict = _get_text(headers, name).lower()
        if verdict in ("true", "false"):
            return verdict == "true"
    pushback = _get_text(headers, "grpc-retry-pushback-ms")
    return False if pushback and parse_number(pushback) is None else None


def parse_number(text: str) -> float | None:
    """Return a plain decimal number, never negative and always finite, or None for everything else.

    Args:
        text: Digits, with or without a fraction; no sign, no exponent, no digits of other scripts.
    """
    return float(text) if _NUMBER.match(text) else None


@lru_cache(maxsize=64)
def parse_date(text: str) -> float | None:
    """Return the Unix time of a date in one of the three formats of HTTP, in seconds, or None.

    Args:
        text: The date, of at most `LONGEST` characters.

    Source: RFC 9110 section 5.6.7.
    """
    text = text.strip()
    moment = _parse_fixed_date(text)
    if moment is not None or not text or len(text) > LONGEST or not text.isascii():
        return moment
    try:
        parsed = parsedate_to_datetime(text)
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=timezone.utc)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError, AttributeError):
        return None


def _parse_fixed_date(text: str) -> float | None:
    """Read `Wed, 21 Oct 2026 07:28:00 GMT` by its columns: nearly every date has this form, and this is quick."""
    if len(text) != 29 or text[25:] != " GMT" or not text.isascii():
        return None
    day, clock = _parse_fixed_day(text[3:17]), text[17:19] + text[20:22] + text[23:25]
    if day is None or not clock.isdigit() or text[19] != ":" or text[22] != ":":
        return None
    hour, minute, second = int(clock[:2]), int(clock[2:4]), int(clock[4:])
    return day + hour * 3600 + minute * 60 + second if hour < 24 and minute < 60 and second < 60 else None


@lru_cache(maxsize=64)
def _parse_fixed_day(text: str) -> float | None:
    """Read `, 21 Oct 2026 `, which stays the same all day."""
    month, digits = _MONTHS.get(text[5:8]), text[2:4] + text[9:13]
    if month is None or not digits.isdigit() or text[:2] + text[4] + text[8] + text[13] != ",    ":
        return None
    return to_unix_time(int(digits[2:]), month, int(digits[:2]), 0, 0, 0)


def to_unix_time(year: int, month: int, day: int, hour: int, minute: int, second: int) -> float | None:
    """Return the Unix time of a moment in UTC, in seconds, or None where there is no such moment.

    Args:
        year: From 1000 on; earlier ones are abbreviations that mean something else.
        month: From 1.
        day: From 1.
        hour: From 0.
        minute: From 0.
        second: From 0 to 59; clocks do not agree about leap seconds.
    """
    if year < 1000 or hour > 23 or minute > 59 or second > 59:
        return None
    try:
        days = calendar_date(year, month, day).toordinal() - _EPOCH_DAY
    except ValueError:
        return None
    return days * DAY + hour * 3600 + minute * 60 + second


def _get_text(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(name)
    return value.strip() if isinstance(value, str) and len(value) <= LONGEST else ""
