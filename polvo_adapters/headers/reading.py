"""From the headers of a response to its distinct quotas.

Theory of operation. The headers are walked once, and each name is looked up among the known fields. What was
found, names and texts, determines everything but the time: so the quotas read from it are remembered, resets that
are moments unresolved, and only these are counted from now each time. The memory holds short header sets only,
and few of them.

Servers that are being migrated, and servers behind gateways, announce the same quota in two dialects at once. Two
quotas are the same if one of them is in a dialect without names of its own, and limit and remaining agree as far
as both are told; the more exact dialect stays and takes over what it does not know itself. A reset alone says
nothing next to quotas that have numbers, and is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache

from polvo_adapters.headers import ietf, resets, times, vendors
from polvo_adapters.headers.announced import MOST_QUOTAS, Context, Dimensions, Entry
from polvo_adapters.headers.names import KNOWN, Field
from polvo_adapters.headers.quota import Quota

LONGEST_VALUE = 4096
_LONGEST_HEADERS = 16_384
_MOST_FIELDS = 64
_REMEMBERED = 1024  # characters; longer header sets are read each time
_READERS = {**vendors.READERS, "ietf": ietf.read}
_RANKS = {"ietf-08": 5, "ietf-07": 4, "ietf-06": 2, "ietf-03": 2, "x-ratelimit": 1}
_VENDOR_RANK = 3


def parse(headers: Mapping[str, str], status: int = 200, now: float = 0.0) -> list[Quota]:
    """Read the quotas that a response announces in its headers.

    Args:
        headers: Headers of the response, in any mapping and any case.
        status: Its status; with a 429, some servers put other quotas under the same names.
        now: Unix time in seconds, for resets that are moments; 0.0 where it is not known, and then they count
            from the `Date` of the response, or stay unknown without one.

    Returns:
        A quota for each that the response speaks of, at most 32; [] where it speaks of none, which does not mean
        that there is none.

    Source: the drafts draft-ietf-httpapi-ratelimit-headers-00 to -10, and the vendors' pages named in `vendors`.
    """
    texts, date, size = _collect(headers)
    if not texts:
        return []
    read = _remembered if size <= _REMEMBERED else _read
    return _resolved(read(tuple(texts), status == 429), date, now)


def _collect(headers: Mapping[str, str]) -> tuple[list[tuple[Field, str]], str, int]:
    """Return known fields with their texts, the text of Date, and how long the texts are together."""
    lower_items = getattr(headers, "lower_items", None)  # the quicker of the two, in the mapping of requests
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
    return tuple(_distinct(entries)[:MOST_QUOTAS])


_remembered = lru_cache(maxsize=256)(_read)


def _distinct(entries: list[Entry]) -> list[Entry]:
    counted = [each for each in entries if each[0].limit is not None or each[0].remaining is not None]
    if not counted:
        return [each for each in entries if each[0].reset is not None or each[1] is not None][:1]
    if len(counted) == 1 or len({quota.dialect for quota, _ in counted}) == 1:
        return counted
    kept: list[Entry] = []
    for candidate in sorted(counted, key=lambda each: -_rank(each[0])):
        for index, each in enumerate(kept):
            if _same(each[0], candidate[0]):
                kept[index] = _merged(each, candidate)
                break
        else:
            kept.append(candidate)
    return kept


def _rank(quota: Quota) -> int:
    return _RANKS.get(quota.dialect, _VENDOR_RANK)


def _same(one: Quota, other: Quota) -> bool:
    if one.dialect == other.dialect or one.unit != other.unit:
        return False
    if one.dialect not in _RANKS and other.dialect not in _RANKS:
        return False
    limits, rests = (one.limit, other.limit), (one.remaining, other.remaining)
    told = [pair for pair in (limits, rests) if None not in pair]
    windows = None in (one.window, other.window) or one.window == other.window
    return windows and bool(told) and all(first == second for first, second in told)


def _merged(kept: Entry, other: Entry) -> Entry:
    """Fill what the more exact dialect left open."""
    (quota, moment), (more, other_moment) = kept, other
    if quota.reset is None and moment is None and (more.reset is not None or other_moment is not None):
        quota, moment = quota._replace(reset=more.reset, resolution=more.resolution), other_moment
    if None in (quota.limit, quota.remaining, quota.window):
        open_fields = [name for name in ("limit", "remaining", "window") if getattr(quota, name) is None]
        quota = quota._replace(**{name: getattr(more, name) for name in open_fields})
    return quota, moment


def _resolved(entries: Iterable[Entry], date_text: str, now: float) -> list[Quota]:
    """Count moments from the server's time; Date is read only where there is a moment."""
    quotas = []
    known = False
    base: float | None = None
    coarse = 0.0
    for quota, moment in entries:
        if moment is None:
            quotas.append(quota)
            continue
        if not known:
            known = True
            date = times.date(date_text) if date_text and len(date_text) <= times.LONGEST else None
            base, coarse = resets.server_time(date, now)
        seconds = None if base is None else resets.until(moment, base)
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
