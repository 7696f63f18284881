"""The X-RateLimit family, which is shared by many servers that mean different things by the same names.

Theory of operation. Marks tell these servers apart: a mark is a header that only one vendor sends. Without a mark, the
magnitude of a reset tells its unit. A limit may say its window itself: `100/minute`, `100;w=60`; or nothing but the
window, as `1m` of AspNetCoreRateLimit does.
"""

from __future__ import annotations

import re

from polvo_adapters.headers import dialects, ietf, resets
from polvo_adapters.headers.dialects import Dialect
from polvo_adapters.headers.entries import (
    MOST_QUOTAS,
    Context,
    Dimensions,
    Entry,
    Parts,
    make_entry,
    parse_amount,
    pick_tightest,
    strip_name,
)
from polvo_adapters.headers.quota import CERTAIN, GUESSED, LIKELY
from polvo_adapters.headers.resets import UNKNOWN, Boundary, Reset
from polvo_adapters.headers.times import DAY

_PROFILES: dict[str, tuple[str, float | None]] = {
    "azure-devops": ("epoch", None),
    "discord": ("epoch", None),
    "github": ("epoch", None),
    "atlassian": ("", None),
    "zendesk": ("seconds", None),
    "twitter": ("epoch", 900.0),
    "okta": ("epoch", None),
    "strava": ("", None),
    "atlassian-dc": ("seconds", None),
    "zoom": ("", None),
}
"""Unit of a reset that is a bare number, and length of the window; of several marks, the first in this order counts."""
_LONGEST_NAME = 64
_PER = re.compile(r"([0-9]{1,15})(?:\.0+)?\s*(?:/|\bper\b)\s*([0-9]{0,6})\s*([a-z]{1,12})\Z", re.IGNORECASE)
_NAMED = re.compile(r"name=([\w .-]{1,64}),\s*([0-9]{1,15})\s*(?:;|\Z)")
_OF_DISCORD = {"reset-after", "global", "scope"}
_STRAVA = Dialect(
    "strava",
    limit="X-RateLimit-Limit",
    used="X-RateLimit-Usage",
    layout="list",
    windows=(900.0, DAY),
    aligned=True,
    source="developers.strava.com/docs/rate-limits",
)


def read(dimensions: Dimensions, context: Context) -> list[Entry]:
    """Read `X-RateLimit-Limit`, `-Remaining`, `-Reset` and what belongs to them, in both spellings.

    Source: GitHub "Rate limits for the REST API", X "Rate limits", Okta "Rate limits", Discord "Rate Limits",
    Zendesk "Rate limits", Atlassian "Rate limiting", Reddit "Data API Wiki", flask-limiter, express-rate-limit.
    """
    parts = dimensions.get("", {})
    if parts.get("limit", "").lstrip().startswith("name="):
        return _read_named(parts)
    dialect = _find_dialect(parts, context.marks)
    return dialects.read_row(_STRAVA, parts) if dialect == "strava" else _read_parts(parts, dialect, context)


def _read_parts(parts: Parts, dialect: str, context: Context) -> list[Entry]:
    parts = _split_limit(parts)
    if ";w=" in parts.get("limit", ""):  # the lists of the IETF's drafts under these names, as Pinterest sends them
        return ietf.read({"": parts}, context)
    if "," in parts.get("remaining", "") or "," in parts.get("limit", ""):
        parts = pick_tightest(parts)
    limit, remaining, sureness = dialects.count(parts)
    if dialect == "reddit":
        return _read_reddit(parts, remaining)
    if "fill" in parts:
        return _read_bucket("atlassian-dc" if dialect == "atlassian-dc" else "x-ratelimit", parts, limit, remaining)
    if dialect == "zoom":
        return _read_zoom(parts, limit, remaining)
    if context.refused and limit == 0 and remaining == 0 and dialect in ("okta", "x-ratelimit"):
        # Okta refuses too many requests at once like this; the numbers are not those of the window.
        return [make_entry(dialect, None, 0.0, name="concurrency", unit="concurrent-requests", confidence=LIKELY)]
    number_unit, window = _PROFILES.get(dialect, ("", None))
    window = find_window(parts) or window
    reset = _read_x_reset(parts, dialect, number_unit, context)
    group, scope = strip_name(parts.get("group", "")), parts.get("scope", "")[:_LONGEST_NAME].lower()
    if parts.get("global", "").lower() == "true":
        scope = "global"
    confidence = min(sureness, LIKELY if dialect == "x-ratelimit" else CERTAIN)
    if dialect == "azure-devops":  # its resource is not a bucket but what was most in demand
        group = ""
    return [make_entry(dialect, limit, remaining, reset, group, window, "requests", scope, group, confidence)]


def _read_named(parts: Parts) -> list[Entry]:
    """Read quotas by name: `name=hour,100;name=minute,10;`.

    Source: IBM API Connect "Understanding rate limits for APIs and Plans".
    """
    limits, left = (dict(_NAMED.findall(parts.get(role, ""))) for role in ("limit", "remaining"))
    return [
        make_entry("ibm", parse_amount(limits.get(name, "")), parse_amount(left.get(name, "")), name=name)
        for name in list(dict.fromkeys((*limits, *left)))[:MOST_QUOTAS]
    ]


def _split_limit(parts: Parts) -> Parts:
    """Return the parts with the window that stands in the limit, if one does, in a place of its own."""
    text = parts.get("limit", "").strip()
    if not text or text.isdigit():
        return parts
    found = _PER.match(text)
    if found is not None:
        return {**parts, "limit": found[1], "window": f"{found[2] or 1}{found[3]}"}
    if resets.read_duration(text):  # of AspNetCoreRateLimit, whose limit is never told
        return {**{role: each for role, each in parts.items() if role != "limit"}, "window": text}
    return {**parts, "limit": text.replace(";window=", ";w=")} if ";window=" in text else parts


def find_window(parts: Parts) -> float | None:
    """Return the seconds of a window that a header says, in whatever unit."""
    return dialects.read_window(parts.get("window", ""), "seconds") or dialects.read_window(
        parts.get("window-ms", ""), "milliseconds"
    )


def _read_bucket(dialect: str, parts: Parts, limit: float | None, remaining: float | None) -> list[Entry]:
    """Read a bucket that gets so many tokens at each interval, or in each second where no interval is told.

    Source: Atlassian "Improving instance stability with rate limiting", for Jira and Confluence Data Center; Spring
    Cloud Gateway "RequestRateLimiter" (`X-RateLimit-Replenish-Rate`, `-Burst-Capacity`).
    """
    fill, interval = parse_amount(parts["fill"]), find_window(parts)
    interval = interval if interval or dialect == "atlassian-dc" else 1.0
    if limit is None or remaining is None or not fill or not interval:
        return [make_entry(dialect, limit, remaining)]
    reset = Reset(max(0.0, limit - remaining) / fill * interval, None, interval if interval <= 1 else 1.0)
    return [make_entry(dialect, limit, remaining, reset, window=limit / fill * interval)]


def _read_zoom(parts: Parts, limit: float | None, remaining: float | None) -> list[Entry]:
    """Read the quota of a category of methods, per second or of a day in UTC.

    Source: Zoom "Rate limits" (`X-RateLimit-Category`, `X-RateLimit-Type`).
    """
    category, kind = strip_name(parts.get("group", "")), parts.get("type", "").lower()
    reset = resets.read(parts.get("reset", ""))
    window = DAY if "dai" in kind or "day" in kind else 1.0 if "qps" in kind or "second" in kind else None
    if reset is UNKNOWN and window == DAY:
        reset = Reset(None, Boundary(DAY), 1.0)
    return [make_entry("zoom", limit, remaining, reset, category, window, group=category)]


def _find_dialect(parts: Parts, marks: frozenset[str]) -> str:
    if not marks:
        return "reddit" if "used" in parts and "limit" not in parts else "x-ratelimit"
    if "discord" in marks and _OF_DISCORD.isdisjoint(parts):
        marks -= {"discord"}  # others name buckets too
    return next((dialect for dialect in _PROFILES if dialect in marks), "x-ratelimit")


def _read_x_reset(parts: Parts, dialect: str, number_unit: str, context: Context) -> Reset:
    after = resets.read(parts.get("reset-after", ""), "seconds")
    if after is not UNKNOWN:
        return after
    if "reset-ms" in parts:
        return resets.read(parts["reset-ms"], "milliseconds")
    if "reset-in" in parts:
        return resets.read(parts["reset-in"], "seconds")
    text = parts.get("reset", "")
    if not text and dialect == "zendesk":
        text = context.families.get("ietf", {}).get("", {}).get("reset", "")
    return resets.read(text, number_unit)


def _read_reddit(parts: Parts, remaining: float | None) -> list[Entry]:
    """Add up the limit from what is used and what remains, because Reddit does not announce it."""
    used = parse_amount(parts["used"])
    limit = None if used is None or remaining is None else used + remaining
    reset = resets.read(parts.get("reset", ""), "seconds")
    return [make_entry("reddit", limit, remaining, reset, confidence=CERTAIN if limit is None else GUESSED)]
