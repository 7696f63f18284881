"""What headers say about a refusal, besides the quotas that they announce: codes of errors, and times to wait.

Theory of operation. Gateways refuse before there is a body worth reading, and say why in a header: AWS in
`x-amzn-ErrorType`, Mashery in `X-Mashery-Error-Code`, Xero in `X-Rate-Limit-Problem`. There is a name for each, but all
end alike, and their values are codes like those of bodies. A header that speaks of a rate limit itself has the name of
the limit as its value, such as "day" or "concurrent".

Retry-After has as many variants, of which some carry a moment: `X-RateLimit-RetryAfter`, `X-Retry-In`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from polvo_adapters.headers import resets, times
from polvo_adapters.headers.codes import classify_code
from polvo_adapters.headers.quota import Complaint, Kind

_CODE_NAME = re.compile(
    r"x-amzn-errortype\Z|(?:.*-)?(?:rate-?limit|throttl(?:e|ing))-(?:problem|reason|type|status|state)\Z"
    r"|x-(?:[a-z0-9]+-)?error-code\Z|x-els-status\Z|x-envoy-(?:overloaded|ratelimited)\Z"
)
_OF_A_LIMIT = re.compile(r"rate-?limit|throttl")
_WAIT_NAME = re.compile(
    r".-(?:retry-?after|retry-in|to-?wait|throttle)(?:-(?:s|sec|seconds)|(-ms|-milliseconds))?\Z"
    r"|.(?:quota|rate-?limit)-(?:resets?-in|retry)\Z|error-limit-reset\Z"
)
_WAIT_OF_LIMIT = re.compile(r"(?:rate-?limit|throttl\w*|quota)-(?:retry|retry-?after|retry-in|to-?wait|resets?-in)\b")
_CLOCK = re.compile(r"([0-9]{1,4}):([0-9]{2}):([0-9]{2})\Z")
_LONG = re.compile(r"\b(?:day|daily|month|monthly)\b", re.IGNORECASE)
_AT_ONCE = re.compile(r"concurren|simultaneous", re.IGNORECASE)


@lru_cache(maxsize=512)
def may_refuse(name: str) -> bool:
    """Return whether a header of this name, in any case, may say that the response is a refusal."""
    return names_code(name) or (len(name) <= times.LONGEST and _WAIT_OF_LIMIT.search(name.lower()) is not None)


@lru_cache(maxsize=512)
def names_code(name: str) -> bool:
    """Return whether a header of this name, in any case, may hold the code of an error."""
    return len(name) <= times.LONGEST and _CODE_NAME.match(name.lower()) is not None


def find_complaint(headers: Mapping[str, str]) -> Complaint | None:
    """Return the refusal that a code in a header states, or None.

    Args:
        headers: Short headers by name in lower case.

    Source: AWS SDKs and Tools Reference Guide "Retry behavior", Mashery "Error codes", Xero "Rate limits", Elsevier
    "API throttling rates", Envoy "Overload manager".
    """
    for name, text in headers.items():
        if not names_code(name):
            continue
        if name in ("x-envoy-overloaded", "x-envoy-ratelimited") and text.lower() not in ("", "false", "0"):
            return Complaint("rate", name.removeprefix("x-envoy-"))
        code = text.partition(":")[0].partition(" ")[0].rpartition("#")[2]
        kind = classify_code(code)
        if kind is not None:
            return Complaint(kind, code)
    return None


def find_kind(headers: Mapping[str, str]) -> Kind:
    """Return the kind of a refusal by the name of the limit in a header; "rate" where there is none."""
    for name, text in headers.items():
        if names_code(name) and _OF_A_LIMIT.search(name):
            if _AT_ONCE.search(text):
                return "concurrency"
            if _LONG.search(text):
                return "exhausted"
    return "rate"


def read_retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds of Retry-After, in a form that RFC 9110 does not allow as well, or None.

    Where a server refuses, "30s", "PT30S" and "30, 60" are better obeyed than ignored; of several the longest. A comma
    without a space may be that of a decimal, and says nothing.

    Args:
        headers: Short headers by name in lower case.
        now: Unix time in seconds.
    """
    strict = times.retry_after(headers, now)
    text = headers.get("retry-after", "")
    if strict is not None or not text:
        return strict
    parts = [part.strip(" \"'").removeprefix("+") for part in text[: times.LONGEST].partition(";")[0].split(", ")]
    waits = [times.parse_number(part) or _read_spelled(part) for part in parts]
    return times.cap_delay(max(filter(None, waits), default=None))


def _read_spelled(text: str) -> float | None:
    clock = _CLOCK.match(text)
    if clock is not None:
        return int(clock[1]) * 3600.0 + int(clock[2]) * 60.0 + int(clock[3])
    spelled = resets.read_duration(text) or resets.read_duration(text.replace(" ", ""))
    return None if spelled is None else spelled.seconds


def asks_to_wait(headers: Mapping[str, str]) -> bool:
    """Return whether a header that speaks of a rate limit asks to wait."""
    return any(_WAIT_OF_LIMIT.search(name) and text.strip("0. ") for name, text in headers.items())


def find_waits(headers: Mapping[str, str], now: float) -> list[float | None]:
    """Return what headers with names like Retry-After ask to wait, in seconds.

    Args:
        headers: Short headers by name in lower case.
        now: Unix time in seconds.
    """
    waits = []
    for name, text in headers.items():
        found = _WAIT_NAME.search(name)
        if found is None:
            continue
        number = times.parse_number(text)
        if found[1] and number is not None:
            waits.append(times.cap_delay(number / 1000))
        else:
            spelled = resets.read_duration(text)
            date = {"retry-after": text, "date": headers.get("date", "")}
            waits.append(times.retry_after(date, now) if spelled is None else spelled.seconds)
    return waits
