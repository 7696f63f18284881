"""What a server says in its headers about coming back, as numbers.

Nothing here raises: a header that makes no sense is a header that is not there. Values longer than a date can be
are not looked at, so that the work is bounded. Header names are looked up in lower case, in any mapping that
finds them so: those of `requests` and httpx, or a dict with lower-case keys.

A `Retry-After` is met as seconds, with or without a fraction, as one of the three date formats of RFC 9110
section 5.6.7, and as a Unix time in seconds or milliseconds; companions carry milliseconds under other names.
Dates count from the `Date` of the same response, because the two clocks need not agree.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timezone
from email.utils import parsedate_to_datetime

_LONGEST = 64
_NUMBER = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,15})?\Z")
_EPOCH_SECONDS, _EPOCH_MILLISECONDS = 1e9, 1e12
_MILLISECOND_NAMES = ("retry-after-ms", "x-ms-retry-after-ms", "x-amz-retry-after", "grpc-retry-pushback-ms")
_VERDICT_NAMES = ("x-should-retry", "stripe-should-retry")


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Tell after how many seconds the server wants to be asked again.

    Args:
        headers: Headers of the response.
        now: Unix time in seconds, for dates in a response that has no `Date` of its own.

    Returns:
        Seconds, never negative, or None where the server did not say.

    Source: RFC 9110 section 10.2.3; OpenAI and Azure (`retry-after-ms`), Azure Core (`x-ms-retry-after-ms`),
    AWS (`x-amz-retry-after`), gRPC A6 (`grpc-retry-pushback-ms`).
    """
    for name in _MILLISECOND_NAMES:
        milliseconds = _number(_text(headers, name))
        if milliseconds is not None:
            return milliseconds / 1000
    text = _text(headers, "retry-after")
    number = _number(text)
    if number is None:
        when = _date(text)
    elif number < _EPOCH_SECONDS:
        return number
    else:
        when = number / 1000 if number >= _EPOCH_MILLISECONDS else number
    return None if when is None else max(0.0, when - _server_time(headers, now))


def should_retry(headers: Mapping[str, str]) -> bool | None:
    """Tell whether the server asks for a repeat (True), forbids it (False) or does not say (None).

    Source: `x-should-retry` of OpenAI and Anthropic, `Stripe-Should-Retry`, and the push-back of gRPC A6, which
    forbids by a value that is not a number of milliseconds.
    """
    for name in _VERDICT_NAMES:
        verdict = _text(headers, name).lower()
        if verdict in ("true", "false"):
            return verdict == "true"
    pushback = _text(headers, "grpc-retry-pushback-ms")
    return False if pushback and _number(pushback) is None else None


def _text(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(name)
    return value.strip() if isinstance(value, str) and len(value) <= _LONGEST else ""


def _number(text: str) -> float | None:
    return float(text) if _NUMBER.match(text) else None


def _date(text: str) -> float | None:
    if not text:
        return None
    try:
        parsed = parsedate_to_datetime(text)
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=timezone.utc)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError, AttributeError):
        return None


def _server_time(headers: Mapping[str, str], now: float) -> float:
    date = _date(_text(headers, "date"))
    return now if date is None else date
