"""The dialects of vendors: everything that is not one of the IETF's RateLimit fields.

Theory of operation. Each family of header names has a reader, and each reader a vendor or two. The names of the
large X-RateLimit family are shared by many servers that mean different things by them; who it is, is told by the
marks that come with them, a header that only this vendor sends. Without a mark the reset is told from its
magnitude.
"""

from __future__ import annotations

from collections.abc import Callable

from polvo_adapters.headers import resets
from polvo_adapters.headers.announced import MOST_QUOTAS, Context, Dimensions, Entry, Parts, amount, entry, tightest
from polvo_adapters.headers.names import PERIODS
from polvo_adapters.headers.quota import CERTAIN, GUESSED, LIKELY
from polvo_adapters.headers.resets import UNKNOWN, Reset
from polvo_adapters.headers.times import DAY

_PROFILES: dict[str, tuple[str, float | None]] = {
    "discord": ("epoch", None),
    "github": ("epoch", None),
    "atlassian": ("", None),
    "zendesk": ("seconds", None),
    "twitter": ("epoch", 900.0),
    "okta": ("epoch", None),
}
"""What a bare number is as a reset, and the window; in the order in which marks are believed."""
_SHOPIFY_DRAIN = 20.0  # on every plan the bucket leaks a twentieth of its size per second
_LONGEST_NAME = 64


def read_x(dimensions: Dimensions, context: Context) -> list[Entry]:
    """Read `X-RateLimit-Limit`, `-Remaining`, `-Reset` and what belongs to them, in both spellings.

    Args:
        dimensions: The texts of the fields; there is one dimension.
        context: What else is known about the response.

    Source: GitHub "Rate limits for the REST API", X "Rate limits", Okta "Rate limits", Discord "Rate Limits",
    Zendesk "Rate limits", Atlassian "Rate limiting", Reddit "Data API Wiki", flask-limiter, express-rate-limit.
    """
    parts = dimensions.get("", {})
    if "," in parts.get("remaining", "") or "," in parts.get("limit", ""):
        parts = tightest(parts)
    limit = amount(parts["limit"]) if "limit" in parts else None
    remaining = amount(parts["remaining"]) if "remaining" in parts else None
    dialect = _dialect(parts, context.marks)
    if dialect == "reddit":
        return _reddit(parts, remaining)
    if context.refused and limit == 0 and remaining == 0 and dialect in ("okta", "x-ratelimit"):
        # Okta: too many at once. The numbers are not those of the window, and must not be taken for them.
        return [entry(dialect, None, 0.0, name="concurrency", unit="concurrent-requests", confidence=LIKELY)]
    reset = _x_reset(parts, dialect, context)
    group, scope = _group(parts.get("group", "")), parts.get("scope", "")[:_LONGEST_NAME].lower()
    if parts.get("global", "").lower() == "true":
        scope = "global"
    confidence = LIKELY if dialect == "x-ratelimit" else CERTAIN
    window = _PROFILES[dialect][1] if dialect in _PROFILES else None
    return [entry(dialect, limit, remaining, reset, group, window, "requests", scope, group, confidence)]


def _dialect(parts: Parts, marks: frozenset[str]) -> str:
    if not marks:
        return "reddit" if "used" in parts and "limit" not in parts else "x-ratelimit"
    return next((dialect for dialect in _PROFILES if dialect in marks), "x-ratelimit")


def _x_reset(parts: Parts, dialect: str, context: Context) -> Reset:
    if "reset-after" in parts:
        after = resets.read(parts["reset-after"], "seconds")
        if after is not UNKNOWN:
            return after
    text = parts.get("reset", "")
    if not text and dialect == "zendesk":
        text = context.families.get("ietf", {}).get("", {}).get("reset", "")
    return resets.read(text, _PROFILES[dialect][0] if dialect in _PROFILES else "") if text else UNKNOWN


def _reddit(parts: Parts, remaining: float | None) -> list[Entry]:
    """Work out the limit from what is used and what remains: Reddit does not say it."""
    used = amount(parts["used"])
    limit = None if used is None or remaining is None else used + remaining
    reset = resets.read(parts.get("reset", ""), "seconds")
    return [entry("reddit", limit, remaining, reset, confidence=CERTAIN if limit is None else GUESSED)]


def _group(text: str) -> str:
    return text.strip() if len(text) <= _LONGEST_NAME else ""


def read_periods(dimensions: Dimensions, context: Context) -> list[Entry]:
    """Read `X-RateLimit-Limit-Minute` and its kin, whose names tell the windows.

    Args:
        dimensions: The texts of the fields by window.
        context: What else is known about the response.

    Source: Kong "Rate Limiting" plugin, which adds the RateLimit fields for the tightest of the windows.
    """
    dialect = "kong" if "ietf" in context.families else "x-ratelimit"
    return _each(
        dimensions,
        lambda name, parts: entry(dialect, *_counts(parts), resets.read(parts.get("reset", "")), name, PERIODS[name]),
    )


def read_openai(dimensions: Dimensions, _context: Context) -> list[Entry]:
    """Read `x-ratelimit-limit-tokens` and its kin.

    Args:
        dimensions: The texts of the fields by dimension.
        _context: Not needed.

    Source: OpenAI "Rate limits", Groq "Rate Limits", Azure OpenAI (`x-ratelimit-renewalperiod-*`).
    """
    return _each(
        dimensions,
        lambda name, parts: entry(
            "openai",
            *_counts(parts),
            resets.read(parts.get("reset", "")),
            name,
            amount(parts.get("renewalperiod", "")) or None,
            _unit(name),
        ),
    )


def read_dimensions(dimensions: Dimensions, context: Context) -> list[Entry]:
    """Read `X-RateLimit-Requests-Limit` and its kin: Linear, in milliseconds of Unix time; RapidAPI, in seconds.

    Args:
        dimensions: The texts of the fields by dimension.
        context: What else is known about the response; without a mark, the magnitude tells the two apart.

    Source: Linear "Rate limiting", RapidAPI "Response headers".
    """
    endpoint = _group(context.families.get("x", {}).get("", {}).get("endpoint", ""))

    def one(name: str, parts: Parts) -> Entry:
        reset = resets.read(parts.get("reset", ""))
        if "rapidapi" in context.marks:
            dialect, reset = "rapidapi", resets.read(parts.get("reset", ""), "seconds")
        elif "linear" in context.marks or (reset.moment is not None and _milliseconds(parts)):
            dialect, reset = "linear", resets.read(parts.get("reset", ""), "epoch-milliseconds")
        else:
            dialect = "rapidapi" if reset.seconds is not None else "x-ratelimit"
        group = endpoint if name.startswith("endpoint") else ""
        return entry(dialect, *_counts(parts), reset, name, unit=_unit(name), group=group)

    return _each(dimensions, one)


def _milliseconds(parts: Parts) -> bool:
    return (amount(parts["reset"]) or 0) >= 1e12


def read_anthropic(dimensions: Dimensions, _context: Context) -> list[Entry]:
    """Read `anthropic-ratelimit-tokens-limit` and its kin; what remains of tokens is rounded by the server.

    Args:
        dimensions: The texts of the fields by dimension.
        _context: Not needed.

    Source: Anthropic "Rate limits".
    """
    return _each(
        dimensions,
        lambda name, parts: entry(
            "anthropic", *_counts(parts), resets.read(parts.get("reset", "")), name, unit=_unit(name)
        ),
    )


def read_twitter(dimensions: Dimensions, _context: Context) -> list[Entry]:
    """Read the 24-hour quotas of an app and of a user, which bind where the 15-minute window looks full.

    Args:
        dimensions: The texts of the fields by whom they are for.
        _context: Not needed.

    Source: X "Rate limits" (`x-app-limit-24hour-*`, `x-user-limit-24hour-*`).
    """
    return _each(
        dimensions,
        lambda scope, parts: entry(
            "twitter",
            *_counts(parts),
            resets.read(parts.get("reset", ""), "epoch"),
            f"{scope}-24hour",
            DAY,
            scope=scope,
        ),
    )


def read_hubspot(dimensions: Dimensions, _context: Context) -> list[Entry]:
    """Read the quotas per interval, per second and per day, under the names that its error bodies use.

    Args:
        dimensions: The texts of the fields by window.
        _context: Not needed.

    Source: HubSpot "API usage guidelines and limits".
    """

    def one(name: str, parts: Parts) -> Entry:
        window = {"daily": DAY, "secondly": 1.0}.get(name)
        if name == "interval":
            window = (amount(parts.get("window", "")) or 0.0) / 1000 or None
            name = "ten_secondly_rolling" if window == 10.0 else ""
        return entry("hubspot", *_counts(parts), UNKNOWN, name, window)

    return _each(dimensions, one)


def read_etsy(dimensions: Dimensions, _context: Context) -> list[Entry]:
    """Read the quotas per second and per day.

    Args:
        dimensions: The texts of the fields by window.
        _context: Not needed.

    Source: Etsy "Rate limits".
    """
    return _each(dimensions, lambda name, parts: entry("etsy", *_counts(parts), UNKNOWN, name, PERIODS[name]))


def read_azure(dimensions: Dimensions, _context: Context) -> list[Entry]:
    """Read what remains of the quotas of Azure Resource Manager, which does not say more.

    Args:
        dimensions: The texts of the fields by quota; that of compute is a list of policies and counts.
        _context: Not needed.

    Source: Microsoft "Understand how Azure Resource Manager throttles requests".
    """
    entries = []
    for name, parts in dimensions.items():
        policies = [text.partition(";") for text in parts["remaining"].split(",", MOST_QUOTAS)]
        for policy, separator, count in policies if ";" in parts["remaining"] else ():
            if separator and amount(count.strip()) is not None:
                entries.append(entry("azure", None, amount(count.strip()), UNKNOWN, _group(policy)))
        if ";" not in parts["remaining"]:
            entries.append(entry("azure", None, amount(parts["remaining"]), UNKNOWN, name))
    return [each for each in entries if each[0].remaining is not None]


def read_zendesk(dimensions: Dimensions, _context: Context) -> list[Entry]:
    """Read the quotas of single endpoints: `total=100; remaining=99; resets=41`.

    Args:
        dimensions: The texts of the fields by endpoint.
        _context: Not needed.

    Source: Zendesk "Rate limits".
    """

    def one(name: str, parts: Parts) -> Entry:
        told = _assignments(parts["state"], ";")
        limit, remaining = amount(told.get("total", "")), amount(told.get("remaining", ""))
        return entry("zendesk", limit, remaining, resets.read(told.get("resets", ""), "seconds"), name)

    return _each(dimensions, one)


def read_salesforce(dimensions: Dimensions, _context: Context) -> list[Entry]:
    """Read how many requests of the day are used: `api-usage=18/5000`.

    Args:
        dimensions: The text of the field; there is one dimension.
        _context: Not needed.

    Source: Salesforce "Limit Info Header".
    """
    entries = []
    for name, text in _assignments(dimensions[""]["used"], ";").items():
        limit, remaining = _used_of(text.partition("(")[0])
        if limit is not None:
            entries.append(entry("salesforce", limit, remaining, UNKNOWN, name[:_LONGEST_NAME], DAY))
    return entries


def read_shopify(dimensions: Dimensions, _context: Context) -> list[Entry]:
    """Read the state of the leaky bucket, `32/40`, which empties in twenty seconds on every plan.

    Args:
        dimensions: The text of the field; there is one dimension.
        _context: Not needed.

    Source: Shopify "API limits".
    """
    limit, remaining = _used_of(dimensions[""]["used"])
    if not limit or remaining is None:
        return []
    reset = Reset((limit - remaining) * _SHOPIFY_DRAIN / limit, None, 0.0)
    return [entry("shopify", limit, remaining, reset, window=_SHOPIFY_DRAIN)]


def _used_of(text: str) -> tuple[float | None, float | None]:
    """Return limit and rest of `used/limit`."""
    head, _, tail = text.partition("/")
    used, limit = amount(head.strip()), amount(tail.strip())
    if used is None or limit is None:
        return None, None
    return limit, max(0.0, limit - used)


def _assignments(text: str, separator: str) -> Parts:
    pairs = (part.partition("=") for part in text.split(separator, MOST_QUOTAS))
    return {name.strip().lower(): value.strip() for name, sign, value in pairs if sign}


def _counts(parts: Parts) -> tuple[float | None, float | None]:
    if "," in parts.get("remaining", ""):
        parts = tightest(parts)
    limit, remaining = parts.get("limit"), parts.get("remaining")
    return (
        None if limit is None else amount(limit),
        None if remaining is None else amount(remaining),
    )


def _each(dimensions: Dimensions, one: Callable[[str, Parts], Entry]) -> list[Entry]:
    return [one(name, parts) for name, parts in dimensions.items()]


def _unit(name: str) -> str:
    if name.endswith("tokens"):
        return "tokens"
    if "complexity" in name:
        return "points"
    return "concurrent-requests" if "concurrent" in name else "requests"


READERS: dict[str, Callable[[Dimensions, Context], list[Entry]]] = {
    "x": read_x,
    "periods": read_periods,
    "openai": read_openai,
    "dimensions": read_dimensions,
    "anthropic": read_anthropic,
    "twitter": read_twitter,
    "hubspot": read_hubspot,
    "etsy": read_etsy,
    "azure": read_azure,
    "zendesk": read_zendesk,
    "salesforce": read_salesforce,
    "shopify": read_shopify,
}
"""The reader of each family of header names."""
