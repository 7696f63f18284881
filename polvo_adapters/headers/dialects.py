"""Dialects that are rows of data, and what a user adds to them.

A `Dialect` says which headers announce one quota, or several in a list, and in which units. All rows have one reader.

    layout    limit                used or remaining    quotas
    number    100                  7                    one
    list      100,1000             7,250                one for each place; `windows` says how long each lasts
    pairs     20:1,100:120         7:1,250:120          one for each pair of an amount and a window in seconds

**Boundaries.** Windows that are aligned end at whole multiples of their length since midnight UTC, which no header
says. Such a reset is a `Boundary`, resolved like a moment.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from polvo_adapters.headers import resets
from polvo_adapters.headers.entries import MOST_QUOTAS, Context, Dimensions, Entry, Parts, make_entry, parse_amount
from polvo_adapters.headers.quota import CERTAIN, GUESSED
from polvo_adapters.headers.resets import UNKNOWN, Boundary, Reset
from polvo_adapters.headers.times import DAY

_ROLES = ("limit", "remaining", "used", "reset", "window")
_LAYOUTS = ("number", "list", "pairs")
_UNITS = ("", "seconds", "milliseconds", "epoch", "epoch-milliseconds")
_LONGEST_NAME = 96
_MOST_ROWS = 256


@dataclass(frozen=True)
class Dialect:
    """A row: which headers announce a quota, and in which units.

    Args:
        name: How it is shown in `Quota.dialect`.
        limit: Name of the header with the size of the quota, or an empty string.
        remaining: Name of the header with what remains.
        used: Name of the header with what is used up; it takes the place of `remaining`.
        reset: Name of the header with the time until there is more, or the moment.
        window: Name of the header with the length of the window.
        quota: Name of the quota, as in `Quota.name`.
        unit: What is counted, as in `Quota.unit`.
        scope: "global" where all requests count in it; otherwise which do is learned.
        layout: "number", "list" or "pairs".
        windows: Seconds of each window where no header says them.
        size: Size of the quota where no header says it.
        reset_unit: Unit of a reset that is a bare number: "seconds", "milliseconds", "epoch", "epoch-milliseconds", or
            "" to derive it from the magnitude.
        window_unit: "seconds" or "milliseconds".
        aligned: Whether windows end at whole multiples of their length since midnight UTC.
        source: The public page that documents it.

    Raises:
        ValueError: No header says what is left, or a value is out of range.
    """

    name: str
    limit: str = ""
    remaining: str = ""
    used: str = ""
    reset: str = ""
    window: str = ""
    quota: str = ""
    unit: str = "requests"
    scope: str = ""
    layout: str = "number"
    windows: tuple[float, ...] = ()
    size: float | None = None
    reset_unit: str = ""
    window_unit: str = "seconds"
    aligned: bool = False
    source: str = ""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type == "str" and (not isinstance(value, str) or len(value) > 4 * _LONGEST_NAME):
                raise ValueError(f"Dialect: {field.name}={value!r} is no short text")
        _require(self, "name", self.name != "")
        _require(self, "layout", self.layout in _LAYOUTS)
        _require(self, "reset_unit", self.reset_unit in _UNITS)
        _require(self, "window_unit", self.window_unit in ("seconds", "milliseconds"))
        _require(self, "scope", self.scope in ("", "global"))
        _require(self, "windows", isinstance(self.windows, tuple) and all(seconds > 0 for seconds in self.windows))
        _require(self, "size", self.size is None or self.size > 0)
        _require(self, "aligned", not self.aligned or bool(self.windows))
        if not self.remaining and not (self.used and (self.limit or self.size)):
            raise ValueError(f"Dialect {self.name}: name the header with what remains, or those with used and limit")
        if any(len(header) > _LONGEST_NAME for header in self.headers):
            raise ValueError(f"Dialect {self.name}: a header name has more than {_LONGEST_NAME} characters")

    @property
    def headers(self) -> dict[str, str]:
        """Roles by the names of the headers, in lower case."""
        named = ((getattr(self, role).lower(), role) for role in _ROLES)
        return {name: role for name, role in named if name}


def _require(dialect: Dialect, field: str, is_good: bool) -> None:
    if not is_good:
        raise ValueError(f"Dialect {dialect.name}: {field}={getattr(dialect, field)!r} is out of range")


_TRELLO = "developer.atlassian.com/cloud/trello/guides/rest-api/rate-limits"
_XERO = "developer.xero.com/documentation/guides/oauth2/limits"
_RIOT = "developer.riotgames.com/docs/portal, Rate Limiting"
_QUARTER_HOUR = 900.0

BUILT_IN = (
    Dialect(
        "bigcommerce",
        limit="X-Rate-Limit-Requests-Quota",
        remaining="X-Rate-Limit-Requests-Left",
        reset="X-Rate-Limit-Time-Reset-Ms",
        window="X-Rate-Limit-Time-Window-Ms",
        reset_unit="milliseconds",
        window_unit="milliseconds",
        source="developer.bigcommerce.com/docs/start/best-practices/api-rate-limits",
    ),
    Dialect(
        "strava",
        limit="X-ReadRateLimit-Limit",
        used="X-ReadRateLimit-Usage",
        quota="read",
        layout="list",
        windows=(_QUARTER_HOUR, DAY),
        aligned=True,
        source="developers.strava.com/docs/rate-limits",
    ),
    Dialect(
        "trello",
        limit="X-Rate-Limit-Api-Token-Max",
        remaining="X-Rate-Limit-Api-Token-Remaining",
        window="X-Rate-Limit-Api-Token-Interval-Ms",
        quota="api-token",
        window_unit="milliseconds",
        source=_TRELLO,
    ),
    Dialect(
        "trello",
        limit="X-Rate-Limit-Api-Key-Max",
        remaining="X-Rate-Limit-Api-Key-Remaining",
        window="X-Rate-Limit-Api-Key-Interval-Ms",
        quota="api-key",
        window_unit="milliseconds",
        source=_TRELLO,
    ),
    Dialect("xero", remaining="X-MinLimit-Remaining", quota="minute", windows=(60.0,), size=60.0, source=_XERO),
    Dialect("xero", remaining="X-DayLimit-Remaining", quota="day", windows=(DAY,), size=5000.0, source=_XERO),
    Dialect("xero", remaining="X-AppMinLimit-Remaining", quota="app-minute", windows=(60.0,), size=1e4, source=_XERO),
    Dialect(
        "riot",
        limit="X-App-Rate-Limit",
        used="X-App-Rate-Limit-Count",
        quota="application",
        scope="global",
        layout="pairs",
        source=_RIOT,
    ),
    Dialect(
        "riot",
        limit="X-Method-Rate-Limit",
        used="X-Method-Rate-Limit-Count",
        quota="method",
        layout="pairs",
        source=_RIOT,
    ),
    Dialect(
        "kucoin",
        limit="gw-ratelimit-limit",
        remaining="gw-ratelimit-remaining",
        reset="gw-ratelimit-reset",
        reset_unit="milliseconds",
        source="kucoin.com/docs/basic-info/request-rate-limit/rest-api",
    ),
    Dialect(
        "bybit",
        limit="X-Bapi-Limit",
        remaining="X-Bapi-Limit-Status",
        reset="X-Bapi-Limit-Reset-Timestamp",
        reset_unit="epoch-milliseconds",
        source="bybit-exchange.github.io/docs/v5/rate-limit",
    ),
    Dialect(
        "docusign",
        limit="X-BurstLimit-Limit",
        remaining="X-BurstLimit-Remaining",
        quota="burst",
        windows=(30.0,),
        source="developers.docusign.com/platform/resource-limits",
    ),
    Dialect(
        "ip-api",
        remaining="X-Rl",
        reset="X-Ttl",
        windows=(60.0,),
        size=45.0,
        reset_unit="seconds",
        source="ip-api.com/docs/api:json",
    ),
    Dialect(
        "brightpearl",
        remaining="brightpearl-requests-remaining",
        reset="brightpearl-next-throttle-period",
        windows=(60.0,),
        size=200.0,
        reset_unit="milliseconds",
        source="api-docs.brightpearl.com, Request throttling",
    ),
    Dialect(
        "mashery",
        limit="X-Plan-QPS-Allotted",
        used="X-Plan-QPS-Current",
        quota="qps",
        windows=(1.0,),
        source="docs.mashery.com, Response headers",
    ),
    Dialect(
        "mashery",
        limit="X-Plan-Quota-Allotted",
        used="X-Plan-Quota-Current",
        reset="X-Plan-Quota-Reset",
        quota="quota",
        windows=(DAY,),
        source="docs.mashery.com, Response headers",
    ),
    Dialect(
        "gorgias",
        used="X-Gorgias-Account-Api-Call-Limit",
        windows=(20.0,),
        size=40.0,
        source="developers.gorgias.com/reference/limitations",
    ),
    Dialect(
        "recharge",
        used="X-Recharge-Limit",
        windows=(20.0,),
        size=40.0,
        source="developer.rechargepayments.com, API rate limits",
    ),
    Dialect(
        "lightspeed",
        used="X-LS-API-Bucket-Level",
        windows=(60.0,),
        size=60.0,
        source="developers.lightspeedhq.com/retail/introduction/ratelimits",
    ),
    Dialect(
        "walmart",
        remaining="x-current-token-count",
        reset="x-next-replenishment-time",
        reset_unit="epoch-milliseconds",
        source="developer.walmart.com, Rate limiting",
    ),
    Dialect(
        "binance",
        used="X-MBX-USED-WEIGHT-1M",
        quota="weight",
        unit="weight",
        scope="global",
        windows=(60.0,),
        size=6000.0,
        aligned=True,
        source="developers.binance.com/docs/binance-spot-api-docs/rest-api/limits",
    ),
)
"""The rows of this package."""

_rows: list[Dialect] = []
_by_header: dict[str, tuple[str, str]] = {}


def find_role(header: str) -> tuple[str, str] | None:
    """Return the number of a row and the role that a header has in it, or None; the name in lower case."""
    return _by_header.get(header)


def add(dialect: Dialect) -> None:
    """Add a row, in place of the earlier ones that share a header with it.

    Args:
        dialect: The row.

    Raises:
        ValueError: There are too many.
    """
    if len(_rows) >= _MOST_ROWS:
        raise ValueError(f"there are {_MOST_ROWS} dialects already")
    _rows.append(dialect)
    _by_header.update({header: (str(len(_rows) - 1), role) for header, role in dialect.headers.items()})


for _row in BUILT_IN:
    add(_row)


def read(dimensions: Dimensions, _context: Context) -> list[Entry]:
    """Return the quotas in the headers of rows.

    Args:
        dimensions: The texts, by number of the row and role.
    """
    entries: list[Entry] = []
    for number, parts in dimensions.items():
        entries += read_row(_rows[int(number)], parts)
    return entries[:MOST_QUOTAS]


def read_row(row: Dialect, parts: Parts) -> list[Entry]:
    """Return the quotas that a row reads from the texts of its headers.

    Args:
        row: The row.
        parts: The texts, by role.
    """
    if row.layout == "pairs":
        return _read_pairs(row, parts)
    if row.layout == "number":
        window = _read_window(row, parts) or (row.windows[0] if row.windows else None)
        return _make(row, parts, window, row.quota)
    entries = []
    places = max(text.count(",") + 1 for text in parts.values())
    for place in range(min(places, MOST_QUOTAS)):
        texts = {role: _pick(text, place) for role, text in parts.items()}
        window = _read_window(row, texts) or (row.windows[place] if place < len(row.windows) else None)
        entries += _make(row, texts, window, row.quota)
    return entries


def _pick(text: str, place: int) -> str:
    values = text.split(",", MOST_QUOTAS)
    return values[place].strip() if place < len(values) else ""


def _read_pairs(row: Dialect, parts: Parts) -> list[Entry]:
    entries = []
    amounts = {role: split_pairs(text) for role, text in parts.items()}
    windows = amounts.get("limit") or amounts.get("remaining") or {}
    for window in windows:
        texts = {role: found[window] for role, found in amounts.items() if window in found}
        entries += _make(row, texts, window, row.quota)
    return entries


def split_pairs(text: str) -> dict[float, str]:
    """Return the amounts of `20:1,100:120` by their windows, in seconds; what is no pair is left out."""
    found = {}
    for pair in text.split(",", MOST_QUOTAS)[:MOST_QUOTAS]:
        amount, colon, window = pair.partition(":")
        seconds = parse_amount(window.strip()) if colon else None
        if seconds:
            found[seconds] = amount.strip()
    return found


def _read_window(row: Dialect, parts: Parts) -> float | None:
    return read_window(parts.get("window", ""), row.window_unit)


def read_window(text: str, unit: str) -> float | None:
    """Return the seconds of a window that a header says, as a number or as a duration such as `1s`, or None."""
    seconds, _, _, _ = resets.read(text, unit) if text else UNKNOWN
    return seconds or None


def _make(row: Dialect, parts: Parts, window: float | None, name: str) -> list[Entry]:
    """Return the entry for one quota, or nothing where nothing is said."""
    limit, remaining, confidence = count(parts, row.size)
    if remaining is None and limit is None:
        return []
    reset: Reset = resets.read(parts.get("reset", ""), row.reset_unit)
    if reset is UNKNOWN and row.aligned and window:
        reset = Reset(None, Boundary(window), 1.0)
    return [make_entry(row.name, limit, remaining, reset, name, window, row.unit, row.scope, "", confidence)]


def count(parts: Parts, size: float | None = None) -> tuple[float | None, float | None, float]:
    """Return limit, what remains, and how sure the two are, from any two of limit, remaining and used.

    Args:
        parts: Texts by role.
        size: The limit, where no header says it.
    """
    limit, remaining = parse_amount(parts.get("limit", "")), parse_amount(parts.get("remaining", ""))
    if limit and parts.get("remaining", "").strip()[:1] == "-":
        remaining = 0.0  # of servers that go on counting what they refuse
    used, ratio = parse_amount(parts.get("used", "")), parts.get("used") or parts.get("limit", "")
    if "/" in ratio and remaining is None:  # "3/40", as of a bucket of Shopify
        head, _, tail = ratio.partition("/")
        used, limit = parse_amount(head.strip()), parse_amount(tail.strip())
    if remaining is not None and limit is None:
        if used is not None:
            return used + remaining, remaining, GUESSED
        return (None if size is None else max(size, remaining)), remaining, CERTAIN if size is None else GUESSED
    if remaining is None and used is not None and (limit is not None or size is not None):
        limit = size if limit is None else limit
        return limit, max(0.0, (limit or 0.0) - used), CERTAIN
    return limit, remaining, CERTAIN
