"""What bodies say about quotas: the state of a bucket, and refusals in disguise.

Theory of operation. A body is JSON now and then, and speaks of quotas hardly ever; so it is asked for a few marker
words first, as bytes, and read as JSON only where one is there and the body has at most 64 KiB. At most 1 MiB is
searched. Successes are the many, and theirs must cost next to nothing: one that is a refusal in disguise carries
no data, so that a body of more than 4 KiB, or one that does not begin like JSON, is not even searched. Each API
that refuses in its body has a reader, which answers with a `Complaint` or not at all.

The GraphQL state of Shopify stands in the last two KiB of bodies of any length, in an object of three numbers; it
is cut out and read alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple, TypeAlias

from polvo_adapters.headers.announced import MOST_QUOTAS
from polvo_adapters.headers.ietf import finite
from polvo_adapters.headers.quota import CERTAIN, LIKELY, Kind, Quota

LONGEST_BODY = 1 << 20
LONGEST_JSON = 1 << 16
LONGEST_REFUSAL = 1 << 12
_EDGE = 1 << 11
_LONGEST_NAME = 128
_ERROR = b'"error'
_MARKERS = (
    b"imit",
    b"LIMIT",
    b"hrottl",
    b"THROTTL",
    b"TooManyRequests",
    b"insufficient_quota",
    b"policyName",
    b"retry_after",
    b"lock_timeout",
    b"uota",
    b"RESOURCE_EXHAUSTED",
    b"temporary-reduced-capacity",
    b"abnormal-usage",
    b"ProvisionedThroughputExceeded",
)
_GRAPHQL_CODES = {"THROTTLED", "RATELIMITED", "RATE_LIMITED"}
_GOOGLE_PACE = {"rateLimitExceeded", "userRateLimitExceeded"}
_GOOGLE_SPENT = {"dailyLimitExceeded", "quotaExceeded"}
_PROBLEMS = ("quota-exceeded", "temporary-reduced-capacity", "abnormal-usage-detected")
_AWS = r"[A-Za-z.]{0,40}(?:Throttl|TooManyRequests|RequestLimitExceeded|ProvisionedThroughputExceeded)[A-Za-z]{0,40}"
_STATE = b'"throttleStatus"'
_STATE_LENGTH = 512
_QUERY = b'"rateLimit'

Json: TypeAlias = "dict[str, object]"


class Complaint(NamedTuple):
    """A refusal that a body states.

    Attributes:
        kind: As in `Throttled`, like `retry_after` and `quotas`.
        reason: Short words: "GraphQL THROTTLED", "insufficient_quota".
        retry_after: Seconds, or None.
        quotas: Names of the violated quotas.
        exact: Whether `retry_after` is finer than what the headers say.
        pause: Seconds to wait where nothing else is known, or None.
    """

    kind: Kind
    reason: str
    retry_after: float | None = None
    quotas: tuple[str, ...] = ()
    exact: bool = False
    pause: float | None = None


def parse_body(body: bytes | None, status: int = 200) -> list[Quota]:  # noqa: ARG001
    """Read the quotas that a response announces in its body.

    Args:
        body: The body as far as it is there, decompressed, or None.
        status: The status of the response; every dialect known today says the same with all.

    Returns:
        The quotas; [] where the body announces none.

    Source: Shopify "API limits" (`throttleStatus`), GitHub "Rate limits and query limits for the GraphQL API"
    (`rateLimit`), Linear "Rate limiting" (`rateLimitStatus`). The last two are there if the query asked for them;
    their resets are moments, which a body has no clock for, and stay unknown.
    """
    if not isinstance(body, (bytes, bytearray)) or not _begins_like_json(body):
        return []
    at = body.rfind(_STATE, -_EDGE)
    if at >= 0:
        return _bucket(bytes(body[at + len(_STATE) : at + _STATE_LENGTH]))
    if len(body) > LONGEST_JSON or (body.rfind(_QUERY, -_EDGE) < 0 and body.rfind(_QUERY, 0, _EDGE) < 0):
        return []
    data = _object(_object(_document(bytes(body))).get("data"))
    return _rate_limit(_object(data.get("rateLimit"))) + _rate_limits(_object(data.get("rateLimitStatus")))


def complaint(body: bytes | None, status: int) -> Complaint | None:
    """Tell whether, and how, a body refuses for want of quota.

    Args:
        body: The body as far as it is there, or None.
        status: The status of the response.

    Returns:
        The complaint, or None where the body has none.
    """
    if not isinstance(body, (bytes, bytearray)) or not body:
        return None
    if status < 400:
        # The search goes from the end because bytes.rfind is several times faster than bytes.find here.
        if len(body) > LONGEST_REFUSAL or not _begins_like_json(body) or body.rfind(_ERROR) < 0:
            return None
        return _first(_QUIET, bytes(body), status)
    text = bytes(body[:LONGEST_BODY])
    if not any(marker in text for marker in _MARKERS):
        return None
    found = _first(_LOUD, text, status) if len(body) <= LONGEST_JSON and _begins_like_json(text) else None
    return found or _plain(text, status)


def _begins_like_json(body: bytes | bytearray) -> bool:
    return body[:64].lstrip()[:1] in (b"{", b"[")


Reader: TypeAlias = "Callable[[Json, int], Complaint | None]"


def _first(readers: tuple[Reader, ...], text: bytes, status: int) -> Complaint | None:
    """Return the first complaint; a batch of GraphQL or a list of errors is one document after the other."""
    document = _document(text)
    for each in _objects(document if isinstance(document, list) else [document]):
        for read in readers:
            found = read(each, status)
            if found is not None:
                return found
    return None


def _document(text: bytes) -> object:
    import json

    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _object(value: object) -> Json:
    return value if isinstance(value, dict) else {}


def _objects(value: object) -> Iterator[Json]:
    if isinstance(value, list):
        yield from (each for each in value[:MOST_QUOTAS] if isinstance(each, dict))


def _word(value: object) -> str:
    """Return a short, printable text, or nothing: it goes into names and messages."""
    return value if isinstance(value, str) and len(value) <= _LONGEST_NAME and value.isprintable() else ""


def _graphql(document: Json, _status: int) -> Complaint | None:
    for error in _objects(document.get("errors")):
        codes = (error.get("type"), error.get("code"), _object(error.get("extensions")).get("code"))
        code = next((code for code in map(_word, codes) if code in _GRAPHQL_CODES), None)
        if code is not None:
            wait = _shopify_wait(document) if code == "THROTTLED" else None
            return Complaint("rate", f"GraphQL {code}", wait, pause=60.0 if code == "RATE_LIMITED" else None)
    return None


def _shopify_wait(document: Json) -> float | None:
    """Return when the bucket will hold what the refused query costs."""
    cost = _object(_object(document.get("extensions")).get("cost"))
    state = _object(cost.get("throttleStatus"))
    wanted, there = finite(cost.get("requestedQueryCost")), finite(state.get("currentlyAvailable"))
    rate = finite(state.get("restoreRate"))
    if wanted is None or there is None or not rate:
        return None
    return finite(max(0.0, wanted - there) / rate)


def _slack(document: Json, _status: int) -> Complaint | None:
    limited = document.get("ok") is False and _word(document.get("error")) in ("ratelimited", "rate_limited")
    return Complaint("rate", "Slack ratelimited") if limited else None


def _discord(document: Json, status: int) -> Complaint | None:
    wait = finite(document.get("retry_after"))
    if status != 429 or wait is None or not isinstance(document.get("global"), bool):
        return None
    return Complaint("rate", "Discord", wait, ("global",) if document["global"] else (), exact=True)


def _hubspot(document: Json, status: int) -> Complaint | None:
    policy = _word(document.get("policyName"))
    if status != 429 or not policy:
        return None
    kind: Kind = "exhausted" if policy == "DAILY" else "rate"
    return Complaint(kind, f"HubSpot {policy}", quotas=(policy.lower(),))


def _problem(document: Json, _status: int) -> Complaint | None:
    kind = document.get("type")
    kind = kind.rpartition("#")[2] if isinstance(kind, str) else ""
    name = next((name for name in _PROBLEMS if kind == name or kind.endswith("/" + name)), None)
    if name is None:
        return None
    violated = document.get("violated-policies")
    names = violated[:MOST_QUOTAS] if isinstance(violated, list) else []
    return Complaint("rate", name, quotas=tuple(name for name in map(_word, names) if name))


def _error_object(document: Json, status: int) -> Complaint | None:
    """Read `error`, an object in the manner of OpenAI, Stripe and Google."""
    error = _object(document.get("error"))
    codes = {_word(error.get("code")), _word(error.get("type"))}
    if "insufficient_quota" in codes:
        return Complaint("exhausted", "insufficient_quota")
    if status == 429 and "lock_timeout" in codes:
        return Complaint("concurrency", "lock_timeout")
    reasons = {_word(each.get("reason")) for each in _objects(error.get("errors"))}
    for reason in sorted(reasons & (_GOOGLE_PACE | _GOOGLE_SPENT)):
        return Complaint("rate" if reason in _GOOGLE_PACE else "exhausted", reason)
    if status == 429 and _word(error.get("status")) == "RESOURCE_EXHAUSTED":
        return Complaint("rate", "RESOURCE_EXHAUSTED", _retry_info(error))
    return None


def _retry_info(error: Json) -> float | None:
    """Return the `retryDelay` of google.rpc.RetryInfo, `34s` or `34.07s`."""
    from polvo_adapters.headers import times

    for detail in _objects(error.get("details")):
        delay = _word(detail.get("retryDelay"))
        if delay.endswith("s"):
            return times.number(delay[:-1])
    return None


def _aws(document: Json, _status: int) -> Complaint | None:
    codes = (document.get("__type"), document.get("code"), document.get("Code"))
    return next((aws_complaint(_word(code).rpartition("#")[2]) for code in codes if _word(code)), None)


def aws_complaint(code: str) -> Complaint | None:
    """Tell whether an error code of AWS means throttling.

    Args:
        code: The code, such as "ThrottlingException".

    Source: AWS SDKs and Tools Reference Guide, "Retry behavior".
    """
    return Complaint("rate", code) if _aws_code().fullmatch(code) else None


@lru_cache(maxsize=1)
def _aws_code() -> re.Pattern[str]:
    return re.compile(_AWS)


def _plain(text: bytes, status: int) -> Complaint | None:
    """Read what is not JSON, or longer than is read as JSON: prose of GitHub, XML of AWS."""
    if status in (403, 429):
        lower = text[:LONGEST_JSON].lower()
        if b"secondary rate limit" in lower or b"abuse detection" in lower:
            return Complaint("rate", "GitHub secondary rate limit", pause=60.0)
    start = text.find(b"<Code>")
    if start >= 0:
        code = text[start + 6 : start + 6 + _LONGEST_NAME].partition(b"<")[0]
        return aws_complaint(code.decode("ascii", "replace"))
    return None


_QUIET: tuple[Reader, ...] = (_graphql, _slack)
"""Who refuses with the status of a success."""
_LOUD: tuple[Reader, ...] = (_graphql, _slack, _problem, _error_object, _hubspot, _discord, _aws)


def _bucket(text: bytes) -> list[Quota]:
    """Read the object behind `throttleStatus`."""
    start, end = text.find(b"{"), text.find(b"}")
    state = _object(_document(text[start : end + 1])) if 0 <= start < end else {}
    limit, remaining = finite(state.get("maximumAvailable")), finite(state.get("currentlyAvailable"))
    rate = finite(state.get("restoreRate"))
    if limit is None or remaining is None:
        return []
    reset = finite(max(0.0, limit - remaining) / rate) if rate else None
    window = finite(limit / rate) if rate else None
    return [Quota("graphql", limit, remaining, reset, window or None, "points", "", CERTAIN, 0.0, "shopify")]


def _rate_limit(state: Json) -> list[Quota]:
    limit, remaining = finite(state.get("limit")), finite(state.get("remaining"))
    if limit is None and remaining is None:
        return []
    return [Quota("graphql", limit, remaining, unit="points", dialect="github", group="graphql")]


def _rate_limits(status: Json) -> list[Quota]:
    quotas = []
    for state in _objects(status.get("limits")):
        name = _word(state.get("type")).lower()
        limit, remaining = finite(state.get("allowedAmount")), finite(state.get("remainingAmount"))
        window = (finite(state.get("period")) or 0.0) / 1000 or None
        unit = "points" if "complexity" in name else "requests"
        if limit is not None or remaining is not None:
            quotas.append(Quota(name, limit, remaining, None, window, unit, "", LIKELY, 0.0, "linear"))
    return quotas
