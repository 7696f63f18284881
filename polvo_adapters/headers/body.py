"""What bodies say about quotas: the state of a bucket, and a pause that a success asks for.

Theory of operation. Few bodies speak of quotas, so the search has to be cheap: the state of Shopify's GraphQL stands
in the last 2 KiB of bodies of any length, and that object alone is read as JSON. The refusals that bodies state are in
`polvo_adapters.headers.complaints`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TypeAlias

from polvo_adapters.headers import times
from polvo_adapters.headers.entries import MOST_QUOTAS, to_amount
from polvo_adapters.headers.quota import CERTAIN, LIKELY, Quota
from polvo_adapters.headers.resets import LONGEST_RESET

LONGEST_JSON = 1 << 16
_LONGEST_NAME = 128
_EDGE = 1 << 11
_BACKOFF = b'"backoff"'
_STATE = b'"throttleStatus"'
_STATE_LENGTH = 512
_QUERY = b'"rateLimit'
_PAUSE = re.compile(_BACKOFF + rb"\s{0,8}:\s{0,8}([0-9]{1,9})\s{0,8}[,}]")
_WRAPPER = {"items", "has_more", "quota_remaining"}
_UTF_8, _UTF_16 = b"\xef\xbb\xbf", (b"\xff\xfe", b"\xfe\xff")
_GUARDS = (b")]}',\n", b")]}'\n", b"while(1);", b"for(;;);")

Json: TypeAlias = "dict[str, object]"


def parse_body(body: bytes | None, status: int = 200) -> list[Quota]:  # noqa: ARG001
    """Return the quotas that a response announces in its body.

    Args:
        body: The body as far as it was read, decompressed, or None.
        status: The status of the response; every dialect known today says the same with all.

    Returns:
        The quotas; [] where the body announces none.

    Source: Shopify "API limits" (`throttleStatus`), GitHub "Rate limits and query limits for the GraphQL API"
    (`rateLimit`), Linear "Rate limiting" (`rateLimitStatus`). The last two are there if the query asked for them;
    their resets are moments and stay unknown, because a body has no clock to count them from.
    """
    if not isinstance(body, (bytes, bytearray)) or not begins_like_json(body):
        return []
    at = body.rfind(_STATE, -_EDGE)
    if at >= 0:
        return _read_bucket(bytes(body[at + len(_STATE) : at + _STATE_LENGTH]))
    if len(body) > LONGEST_JSON or (body.rfind(_QUERY, -_EDGE) < 0 and body.rfind(_QUERY, 0, _EDGE) < 0):
        return []
    data = to_object(to_object(load_json(bytes(body))).get("data"))
    return _read_github_quota(data.get("rateLimit")) + _read_linear_quotas(data.get("rateLimitStatus"))


def find_pause(body: bytes | None) -> float | None:
    """Return the seconds for which a success asks to leave its method alone, or None.

    Args:
        body: The body as far as it was read, decompressed, or None.

    Source: Stack Exchange API, "Throttles" (`backoff`).
    """
    if not isinstance(body, (bytes, bytearray)) or not begins_like_json(body):
        return None
    if body.rfind(_BACKOFF, -_EDGE) < 0 and body.rfind(_BACKOFF, 0, _EDGE) < 0:
        return None
    if len(body) <= LONGEST_JSON:
        document = to_object(load_json(bytes(body)))
        return times.cap_delay(to_amount(document.get("backoff"))) if _WRAPPER & document.keys() else None
    edges = bytes(body[:_EDGE] + body[-_EDGE:])
    found = _PAUSE.search(edges) if b'"quota_' in edges else None
    return None if found is None else times.cap_delay(times.parse_number(found[1].decode("ascii")))


def begins_like_json(body: bytes | bytearray) -> bool:
    """Return whether a body may be a JSON object or list."""
    return body[:64].lstrip()[:1] in (b"{", b"[")


def strip_frame(body: bytes) -> bytes:
    """Return a text without what may stand in front of it: a byte order mark, or the guard against scripts."""
    if body.startswith(_UTF_16):
        body = body.decode("utf-16", "replace").encode()
    body = body.removeprefix(_UTF_8)
    guard = next((guard for guard in _GUARDS if body.startswith(guard)), b"")
    return body[len(guard) :]


def load_json(text: bytes) -> object:
    """Return a text as JSON, or None where it is none; letters of a wrong charset are replaced."""
    import json

    try:
        return json.loads(text)
    except UnicodeDecodeError:
        return load_json(text.decode("utf-8", "replace").encode())
    except (ValueError, RecursionError):
        return None


def to_object(value: object) -> Json:
    """Return a JSON object as it is, and an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def to_objects(value: object) -> Iterator[Json]:
    """Yield the objects in a JSON list, of a long one the first."""
    if isinstance(value, list):
        yield from (each for each in value[:MOST_QUOTAS] if isinstance(each, dict))


def to_word(value: object) -> str:
    """Return a text if it is short and printable, so that it may stand in names and messages, or else ""."""
    return value if isinstance(value, str) and len(value) <= _LONGEST_NAME and value.isprintable() else ""


def _read_bucket(text: bytes) -> list[Quota]:
    """Return the quota in the object behind `throttleStatus`."""
    start, end = text.find(b"{"), text.find(b"}")
    state = to_object(load_json(text[start : end + 1])) if 0 <= start < end else {}
    limit, remaining = to_amount(state.get("maximumAvailable")), to_amount(state.get("currentlyAvailable"))
    rate = to_amount(state.get("restoreRate"))
    if limit is None or remaining is None:
        return []
    seconds = max(0.0, limit - remaining) / rate if rate else None
    reset = seconds if seconds is not None and seconds <= LONGEST_RESET else None
    window = to_amount(limit / rate) if rate else None
    return [Quota("graphql", limit, remaining, reset, window or None, "points", "", CERTAIN, 0.0, "shopify")]


def _read_github_quota(value: object) -> list[Quota]:
    state = to_object(value)
    limit, remaining = to_amount(state.get("limit")), to_amount(state.get("remaining"))
    if limit is None and remaining is None:
        return []
    return [Quota("graphql", limit, remaining, unit="points", dialect="github", group="graphql")]


def _read_linear_quotas(value: object) -> list[Quota]:
    quotas = []
    for state in to_objects(to_object(value).get("limits")):
        name = to_word(state.get("type")).lower()
        limit, remaining = to_amount(state.get("allowedAmount")), to_amount(state.get("remainingAmount"))
        window = (to_amount(state.get("period")) or 0.0) / 1000 or None
        unit = "points" if "complexity" in name else "requests"
        if limit is not None or remaining is not None:
            quotas.append(Quota(name, limit, remaining, None, window, unit, "", LIKELY, 0.0, "linear"))
    return quotas
