"""From the headers of a response to its distinct quotas.

Theory of operation. One walk over the headers looks each name up among the known fields. The names and texts that it
finds determine everything but the time: so the quotas read from them are remembered, with resets that are moments
left unresolved, and only these are counted from now each time. Only short header sets are remembered, and few of them.

Servers that are being migrated, and servers behind gateways, announce the same quota in two dialects at once. Two
quotas are the same if one of them is in a dialect without names of its own, and limit and remaining agree as far as
both are announced; the more exact dialect stays and takes over what it does not announce itself. A reset alone is
left out next to quotas that have numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache

from polvo_adapters.headers import dialects, ietf, resets, times, vendors
from polvo_adapters.headers.dialects import Dialect
from polvo_adapters.headers.entries import MOST_QUOTAS, Context, Dimensions, Entry
from polvo_adapters.headers.names import KNOWN, Field
from polvo_adapters.headers.quota import Quota

LONGEST_VALUE = 4096
_LONGEST_HEADERS = 16_384
_MOST_FIELDS = 64
_LONGEST_CACHED = 1024  # characters; longer header sets are read each time
_READERS = {**vendors.READERS, "ietf": ietf.read}
_RANKS = {"ietf-08": 5, "ietf-07": 4, "ietf-06": 2, "ietf-03": 2, "x-ratelimit": 1}
_VENDOR_RANK = 3


def parse(headers: Mapping[str, str], status: int = 200, now: float = 0.0) -> list[Quota]:
    """Return the quotas that a response announces in its headers.

    Args:
        headers: Headers of the response, in any mapping and any case.
        status: Its status; with a 429, some servers put other quotas under the same names.
        now: Unix time in seconds, for resets that are moments; 0.0 where it is not known: then they count from the
            `Date` of the response, or stay unknown without one.

    Returns:
        At most 32 quotas; [] where the response announces none, which does not mean that there is none.

    Source: the drafts draft-ietf-httpapi-ratelimit-headers-00 to -10, and the vendors' pages named in `vendors`.
    """
    texts, date, size = _collect(headers)
    if not texts:
        return []
    read = _read_cached if size <= _LONGEST_CACHED else _read
    return _resolve(read(tuple(texts), status == 429), date, now)


def register(dialect: Dialect) -> None:
    """Let the package read one more dialect, in the whole process and before all others that use its headers.

    Args:
        dialect: The row.

    Raises:
        ValueError: There are 256 already.
        TypeError: It is no Dialect.
    """
    if not isinstance(dialect, Dialect):
        raise TypeError(f"register takes a polvo_adapters.headers.Dialect, not {type(dialect).__name__}")
    dialects.add(dialect)
    KNOWN.clear()
    _read_cached.cache_clear()


def _collect(headers: Mapping[str, str]) -> tuple[list[tuple[Field, str]], str, int]:
    """Return known fields with their texts, the text of Date, and the total length of the texts."""
    lower_items = getattr(headers, "lower_items", None)  # quicker than items() in the mapping of requests
    known, texts, date, size = KNOWN, list[tuple[Field, str]](), "", 0
    for name, value in headers.items() if lower_items is None else lower_items():
        field = known[name]
        if field is None or not isinstance(value, str) or len(value) > LONGEST_VALUE:
            continue
        if field.role == "date":
            date = value
            continue
        size += len(value)
        if size > _LONGEST_HEADERS or len(texts) >= _MOST_FIELDS:
            break
        texts.append((field, value if field.role else ""))
    return texts, date, size


def _read(texts: tuple[tuple[Field, str], ...], refused: bool) -> tuple[Entry, ...]:
    families: dict[str, Dimensions] = {}
    marks = set()
    for field, text in texts:
        if field.mark:
            marks.add(field.mark)
        dimensions = families.setdefault(field.family, {})
        if not field.role:
            continue
        parts = dimensions.setdefault(field.dimension, {})
        # Two field lines of one name are one list (RFC 9110 section 5.3).
        parts[field.role] = f"{parts[field.role]}, {text}" if field.role in parts else text
    context = Context(families, frozenset(marks), refused)
    entries: list[Entry] = []
    for family, dimensions in families.items():
        if dimensions:
            entries += _READERS[family](dimensions, context)
    return tuple(_select_distinct(entries)[:MOST_QUOTAS])


_read_cached = lru_cache(maxsize=256)(_read)


def _select_distinct(entries: list[Entry]) -> list[Entry]:
    counted = [each for each in entries if each[0].limit is not None or each[0].remaining is not None]
    if not counted:
        return [each for each in entries if each[0].reset is not None or each[1] is not None][:1]
    if len({quota.dialect for quota, _ in counted}) == 1:
        return counted
    distinct: list[Entry] = []
    for candidate in sorted(counted, key=lambda entry: -_RANKS.get(entry[0].dialect, _VENDOR_RANK)):
        same = next((index for index, (quota, _) in enumerate(distinct) if _is_same(quota, candidate[0])), None)
        if same is None:
            distinct.append(candidate)
        else:
            distinct[same] = _merge(distinct[same], candidate)
    return distinct


def _is_same(one: Quota, other: Quota) -> bool:
    if one.dialect == other.dialect or one.unit != other.unit:
        return False
    if one.dialect not in _RANKS and other.dialect not in _RANKS:
        return False
    pairs = [(one.limit, other.limit), (one.remaining, other.remaining)]
    known = [pair for pair in pairs if None not in pair]
    windows_agree = None in (one.window, other.window) or one.window == other.window
    return windows_agree and bool(known) and all(first == second for first, second in known)


def _merge(exact: Entry, other: Entry) -> Entry:
    """Return the entry of the more exact dialect, filled up from the other."""
    (quota, moment), (more, other_moment) = exact, other
    if quota.reset is None and moment is None and (more.reset is not None or other_moment is not None):
        quota, moment = quota._replace(reset=more.reset, resolution=more.resolution), other_moment
    missing = [name for name in ("limit", "remaining", "window") if getattr(quota, name) is None]
    return quota._replace(**{name: getattr(more, name) for name in missing}), moment


def _resolve(entries: Iterable[Entry], date_text: str, now: float) -> list[Quota]:
    """Return the quotas with moments counted from the server's time; Date is read only where there is a moment."""
    quotas = []
    server_time: tuple[float | None, float] | None = None
    for quota, moment in entries:
        if moment is None:
            quotas.append(quota)
            continue
        if server_time is None:
            date = times.parse_date(date_text) if date_text and len(date_text) <= times.LONGEST else None
            server_time = resets.choose_server_time(date, now)
        base, coarse = server_time
        seconds = None if base is None else resets.count_seconds(moment, base)
        if seconds is not None:
            # Field by field, because `_replace` takes longer than all the rest of this function.
            name, limit, remaining, _, window, unit, scope, confidence, resolution, dialect, group = quota
            resolution = max(resolution, coarse)
            quotas.append(
                Quota(name, limit, remaining, seconds, window, unit, scope, confidence, resolution, dialect, group)
            )
        elif quota.limit is not None or quota.remaining is not None:
            quotas.append(quota._replace(resolution=0.0))
    return quotas
