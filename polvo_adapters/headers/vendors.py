"""The dialects of vendors: every header about quotas that is not one of the IETF's RateLimit fields.

Theory of operation. Each family of header names has a reader, and each reader serves a vendor or two. The large
X-RateLimit family is read by `polvo_adapters.headers.x_ratelimit`.

A reader takes the texts of its family, by dimension and role, and what else is known about the response. It returns
an entry for each quota.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from polvo_adapters.headers import dialects, resets, x_ratelimit
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
    to_amount,
)
from polvo_adapters.headers.names import PERIODS
from polvo_adapters.headers.quota import LIKELY
from polvo_adapters.headers.resets import UNKNOWN, Reset
from polvo_adapters.headers.times import DAY, EPOCH_MILLISECONDS

Reader: TypeAlias = Callable[[Dimensions, Context], "list[Entry]"]

_SHOPIFY_DRAIN = 20.0  # seconds: on every plan the bucket leaks a twentieth of its size per second
_LONGEST_NAME = 64
_META_SHARES = ("call_count", "total_time", "total_cputime", "acc_id_util_pct")


def _read_words(dimensions: Dimensions, context: Context) -> list[Entry]:
    """Read headers of no known dialect by the words of their names."""
    entries = []
    for name, own in dimensions.items():
        parts = {**_find_shared(dimensions, name), **own}
        window = x_ratelimit.find_window(parts) or PERIODS.get(name.rpartition("-")[2])
        if ":" in parts.get("limit", ""):
            row = Dialect("x-ratelimit", limit="limit", used="used", quota=name, layout="pairs")
            entries += dialects.read_row(row, parts)
            continue
        limit, remaining, confidence = dialects.count(parts)
        if limit is None and remaining is None and not (context.refused and len(dimensions) == 1):
            continue  # a reset alone is that of the refusal
        if "reset-ms" in parts:
            reset = resets.read(parts["reset-ms"], "milliseconds")
        else:
            reset = resets.read(parts.get("reset", ""))
        sure = min(confidence, LIKELY)
        entries.append(make_entry("x-ratelimit", limit, remaining, reset, name, window, _find_unit(name), "", "", sure))
    return entries


def _find_shared(dimensions: Dimensions, name: str) -> Parts:
    """Return reset and window of the dimensions that one belongs to: those of `acme` are those of `acme-tokens`."""
    wider = [parts for each, parts in dimensions.items() if name.startswith(each) and each != name]
    # One reset of zero for several quotas, as Contentful sends it, says that none of them is used up.
    return {
        role: text
        for parts in wider
        for role, text in parts.items()
        if role.startswith(("reset", "window")) and text.strip() != "0"
    }


def _read_meta(dimensions: Dimensions, _context: Context) -> list[Entry]:
    """Read the percentages of Meta: of an app or a page, of an ad account, and of each use of a business.

    Source: Meta "Rate Limits" of the Graph API and of the Marketing API.
    """
    entries: list[Entry] = []
    for name, parts in dimensions.items():
        for usage in _find_usages(parts["usage"]):
            shares = [to_amount(usage.get(field)) for field in _META_SHARES]
            used = max((share for share in shares if share is not None), default=None)
            minutes = to_amount(usage.get("estimated_time_to_regain_access"))
            seconds = to_amount(usage.get("reset_time_duration")) or (minutes or 0.0) * 60
            reset = Reset(seconds, None, 60.0) if seconds and seconds <= resets.LONGEST_RESET else UNKNOWN
            if used is not None:
                left = max(0.0, 100.0 - used)
                entries.append(make_entry("meta", 100.0, left, reset, name, PERIODS["hour"], "percent"))
    return entries[:MOST_QUOTAS]


def _find_usages(text: str) -> list[dict[str, object]]:
    """Return the objects with percentages in a header: the value itself, or the lists in it by business."""
    import json

    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return []
    if not isinstance(value, dict):
        return []
    lists = [each for each in list(value.values())[:MOST_QUOTAS] if isinstance(each, list)]
    found = [usage for each in lists for usage in each[:MOST_QUOTAS] if isinstance(usage, dict)]
    return found or [value]


def _read_amazon(dimensions: Dimensions, _context: Context) -> list[Entry]:
    """Read the rate of the Selling Partner API, in requests per second; how many may go at once no header says.

    Source: Amazon "Usage plans and rate limits in the SP-API".
    """
    rate = parse_amount(dimensions[""]["rate"])
    if not rate:
        return []
    return [make_entry("amazon", rate, None, unit="requests-per-second")]


def _read_periods(dimensions: Dimensions, context: Context) -> list[Entry]:
    """Read `X-RateLimit-Limit-Minute` and the like, whose names tell the windows.

    Source: Kong "Rate Limiting" plugin, which adds the RateLimit fields for the tightest of the windows.
    """
    dialect = "kong" if "ietf" in context.families else "x-ratelimit"
    return [_read_parts(dialect, name, parts, window=PERIODS[name]) for name, parts in dimensions.items()]


def _read_named(dimensions: Dimensions, _context: Context, dialect: str) -> list[Entry]:
    """Read `x-ratelimit-limit-tokens`, or `anthropic-ratelimit-tokens-limit`, and the like.

    Source: OpenAI "Rate limits", Groq "Rate Limits", Azure OpenAI (`x-ratelimit-renewalperiod-*`); Anthropic "Rate
    limits", whose server rounds what remains of tokens.
    """
    return [
        # The names of Kong's advanced plugin are the seconds of the windows.
        _read_parts(dialect, name, parts, window=parse_amount(parts.get("renewalperiod", name)) or None)
        for name, parts in dimensions.items()
    ]


def _read_dimensions(dimensions: Dimensions, context: Context) -> list[Entry]:
    """Read `X-RateLimit-Requests-Limit` and the like: Linear, in milliseconds of Unix time; RapidAPI, in seconds.

    Source: Linear "Rate limiting", RapidAPI "Response headers".
    """
    endpoint = strip_name(context.families.get("x", {}).get("", {}).get("endpoint", ""))
    entries = []
    plain = context.families.get("x", {}).get("", {})
    shared = {"reset": plain["reset"]} if "reset" in plain and not plain.keys() & {"limit", "remaining"} else {}
    for name, own in dimensions.items():
        parts = {**shared, **own}
        dialect, number_unit = _find_linear_or_rapidapi(parts.get("reset", ""), context.marks)
        group = endpoint if name.startswith("endpoint") else ""
        entries.append(_read_parts(dialect, name, parts, number_unit, group=group))
    return entries


def _find_linear_or_rapidapi(reset: str, marks: frozenset[str]) -> tuple[str, str]:
    """Return the dialect and the unit of its resets: by a mark, or else by the magnitude of the reset."""
    seconds, moment, _, _ = resets.read(reset)
    if "rapidapi" in marks:
        return "rapidapi", "seconds"
    if "linear" in marks or (moment is not None and (parse_amount(reset) or 0) >= EPOCH_MILLISECONDS):
        return "linear", "epoch-milliseconds"
    return ("x-ratelimit" if seconds is None else "rapidapi"), ""


def _read_twitter(dimensions: Dimensions, _context: Context) -> list[Entry]:
    """Read the 24-hour quotas of an app and of a user, which bind where the 15-minute window looks full.

    Source: X "Rate limits" (`x-app-limit-24hour-*`, `x-user-limit-24hour-*`).
    """
    return [
        _read_parts("twitter", f"{scope}-24hour", parts, "epoch", DAY, scope=scope)
        for scope, parts in dimensions.items()
    ]


def _read_hubspot(dimensions: Dimensions, _context: Context) -> list[Entry]:
    """Read the quotas per interval, per second and per day, under the names that HubSpot's error bodies use.

    Source: HubSpot "API usage guidelines and limits".
    """
    entries = []
    for dimension, parts in dimensions.items():
        name, window = dimension, {"daily": DAY, "secondly": 1.0}.get(dimension)
        if dimension == "interval":
            window = (parse_amount(parts.get("window", "")) or 0.0) / 1000 or None
            name = "ten_secondly_rolling" if window == 10.0 else ""
        entries.append(_read_parts("hubspot", name, parts, window=window))
    return entries


def _read_etsy(dimensions: Dimensions, _context: Context) -> list[Entry]:
    """Read the quotas per second and per day.

    Source: Etsy "Rate limits".
    """
    return [_read_parts("etsy", name, parts, window=PERIODS[name]) for name, parts in dimensions.items()]


def _read_azure(dimensions: Dimensions, _context: Context) -> list[Entry]:
    """Read what remains of the quotas of Azure Resource Manager, which announces nothing else.

    Source: Microsoft "Understand how Azure Resource Manager throttles requests".
    """
    entries = []
    for name, parts in dimensions.items():
        counts = [(name, parts["remaining"])]
        if ";" in parts["remaining"]:  # compute: a list of policies and counts
            policies = [text.partition(";") for text in parts["remaining"].split(",", MOST_QUOTAS)]
            counts = [(strip_name(policy), count.strip()) for policy, _, count in policies]
        for policy, count in counts:
            remaining = parse_amount(count)
            if remaining is not None:
                entries.append(make_entry("azure", None, remaining, name=policy))
    return entries


def _read_zendesk(dimensions: Dimensions, _context: Context) -> list[Entry]:
    """Read the quotas of single endpoints: `total=100; remaining=99; resets=41`.

    Source: Zendesk "Rate limits".
    """
    entries = []
    for name, parts in dimensions.items():
        values = _split_assignments(parts["state"])
        limit, remaining = parse_amount(values.get("total", "")), parse_amount(values.get("remaining", ""))
        reset = resets.read(values.get("resets", ""), "seconds")
        entries.append(make_entry("zendesk", limit, remaining, reset, name))
    return entries


def _read_salesforce(dimensions: Dimensions, _context: Context) -> list[Entry]:
    """Read how many requests of the day are used: `api-usage=18/5000`.

    Source: Salesforce "Limit Info Header".
    """
    entries = []
    for name, text in _split_assignments(dimensions[""]["used"]).items():
        limit, remaining = _read_used_of_limit(text.partition("(")[0])
        if limit is not None:
            entries.append(make_entry("salesforce", limit, remaining, UNKNOWN, name[:_LONGEST_NAME], DAY))
    return entries


def _read_shopify(dimensions: Dimensions, _context: Context) -> list[Entry]:
    """Read the state of the leaky bucket, `32/40`, which empties in twenty seconds on every plan.

    Source: Shopify "API limits".
    """
    limit, remaining = _read_used_of_limit(dimensions[""]["used"])
    if not limit or remaining is None:
        return []
    reset = Reset((limit - remaining) * _SHOPIFY_DRAIN / limit, None, 0.0)
    return [make_entry("shopify", limit, remaining, reset, window=_SHOPIFY_DRAIN)]


def _read_used_of_limit(text: str) -> tuple[float | None, float | None]:
    """Return the limit, and what remains of it, from `used/limit`."""
    head, _, tail = text.partition("/")
    used, limit = parse_amount(head.strip()), parse_amount(tail.strip())
    if used is None or limit is None:
        return None, None
    return limit, max(0.0, limit - used)


def _split_assignments(text: str) -> Parts:
    pairs = (part.partition("=") for part in text.split(";", MOST_QUOTAS))
    return {name.strip().lower(): value.strip() for name, sign, value in pairs if sign}


def _read_parts(
    dialect: str,
    name: str,
    parts: Parts,
    number_unit: str = "",
    window: float | None = None,
    scope: str = "",
    group: str = "",
) -> Entry:
    """Return the entry of a dimension that has its limit, remaining and reset in fields of their own."""
    reset = resets.read(parts.get("reset", ""), number_unit)
    if "," in parts.get("remaining", ""):
        parts = pick_tightest(parts)
    limit, remaining = parse_amount(parts.get("limit", "")), parse_amount(parts.get("remaining", ""))
    return make_entry(dialect, limit, remaining, reset, name, window, _find_unit(name), scope, group)


def _find_unit(name: str) -> str:
    if name.endswith("tokens"):
        return "tokens"
    if "complexity" in name:
        return "points"
    return "concurrent-requests" if "concurren" in name else "requests"


READERS: dict[str, Reader] = {
    "x": x_ratelimit.read,
    "periods": _read_periods,
    "openai": partial(_read_named, dialect="openai"),
    "dimensions": _read_dimensions,
    "anthropic": partial(_read_named, dialect="anthropic"),
    "twitter": _read_twitter,
    "hubspot": _read_hubspot,
    "etsy": _read_etsy,
    "azure": _read_azure,
    "zendesk": _read_zendesk,
    "salesforce": _read_salesforce,
    "shopify": _read_shopify,
    "rows": dialects.read,
    "words": _read_words,
    "meta": _read_meta,
    "amazon": _read_amazon,
}
"""The reader of each family of header names."""
