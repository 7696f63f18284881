"""What bodies say about quotas: the state of a bucket, and refusals that no header shows.

Theory of operation. Few bodies speak of quotas, so the search has to be cheap:

    errors      searched for a few marker words, up to 1 MiB; read as JSON where one is found, up to 64 KiB
    successes   searched up to 4 KiB, if they begin like JSON: one that states a refusal carries no data
    Shopify     its GraphQL state stands in the last 2 KiB of bodies of any length; that object alone is read as JSON

Each API that refuses in its body has a reader, which returns a `Complaint` or None.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

from polvo_adapters.headers import times
from polvo_adapters.headers.entries import MOST_QUOTAS, to_amount
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
Reader: TypeAlias = "Callable[[Json, int], Complaint | None]"
"""Returns the refusal that a JSON object states, from the object and the status of the response."""


class Complaint(NamedTuple):
    """A refusal that a body states.

    Attributes:
        kind: As in `Throttled`.
        reason: Short words for a person: "GraphQL THROTTLED", "insufficient_quota".
        retry_after: Seconds until the server wants the request again, or None.
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
    if not isinstance(body, (bytes, bytearray)) or not _begins_like_json(body):
        return []
    at = body.rfind(_STATE, -_EDGE)
    if at >= 0:
        return _read_bucket(bytes(body[at + len(_STATE) : at + _STATE_LENGTH]))
    if len(body) > LONGEST_JSON or (body.rfind(_QUERY, -_EDGE) < 0 and body.rfind(_QUERY, 0, _EDGE) < 0):
        return []
    data = _to_object(_to_object(_load(bytes(body))).get("data"))
    return _read_github_quota(data.get("rateLimit")) + _read_linear_quotas(data.get("rateLimitStatus"))


def find_complaint(body: bytes | None, status: int) -> Complaint | None:
    """Return the complaint of a body that refuses for want of quota, or None.

    Args:
        body: The body as far as it was read, or None.
        status: The status of the response.
    """
    if not isinstance(body, (bytes, bytearray)) or not body:
        return None
    if status < 400:
        # bytes.rfind is several times faster than bytes.find here.
        if len(body) > LONGEST_REFUSAL or not _begins_like_json(body) or body.rfind(_ERROR) < 0:
            return None
        return _find_first(_QUIET, bytes(body), status)
    text = bytes(body[:LONGEST_BODY])
    if not any(marker in text for marker in _MARKERS):
        return None
    found = _find_first(_LOUD, text, status) if len(body) <= LONGEST_JSON and _begins_like_json(text) else None
    return found or _read_plain(text, status)


def _begins_like_json(body: bytes | bytearray) -> bool:
    return body[:64].lstrip()[:1] in (b"{", b"[")


def _find_first(readers: tuple[Reader, ...], text: bytes, status: int) -> Complaint | None:
    """Return the first complaint; the documents of a GraphQL batch, or of a list of errors, are read in turn."""
    document = _load(text)
    documents = _to_objects(document if isinstance(document, list) else [document])
    found = (read(each, status) for each in documents for read in readers)
    return next((each for each in found if each is not None), None)


def _load(text: bytes) -> object:
    import json

    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _to_object(value: object) -> Json:
    return value if isinstance(value, dict) else {}


def _to_objects(value: object) -> Iterator[Json]:
    if isinstance(value, list):
        yield from (each for each in value[:MOST_QUOTAS] if isinstance(each, dict))


def _to_word(value: object) -> str:
    """Return a text if it is short and printable, so that it may stand in names and messages, or else ""."""
    return value if isinstance(value, str) and len(value) <= _LONGEST_NAME and value.isprintable() else ""


def _read_graphql(document: Json, _status: int) -> Complaint | None:
    for error in _to_objects(document.get("errors")):
        codes = (error.get("type"), error.get("code"), _to_object(error.get("extensions")).get("code"))
        code = next((code for code in map(_to_word, codes) if code in _GRAPHQL_CODES), None)
        if code is not None:
            wait = _compute_shopify_wait(document) if code == "THROTTLED" else None
            return Complaint("rate", f"GraphQL {code}", wait, pause=60.0 if code == "RATE_LIMITED" else None)
    return None


def _compute_shopify_wait(document: Json) -> float | None:
    """Return the seconds until the bucket holds what the refused query costs."""
    cost = _to_object(_to_object(document.get("extensions")).get("cost"))
    state = _to_object(cost.get("throttleStatus"))
    wanted, there = to_amount(cost.get("requestedQueryCost")), to_amount(state.get("currentlyAvailable"))
    rate = to_amount(state.get("restoreRate"))
    if wanted is None or there is None or not rate:
        return None
    return to_amount(max(0.0, wanted - there) / rate)


def _read_slack(document: Json, _status: int) -> Complaint | None:
    limited = document.get("ok") is False and _to_word(document.get("error")) in ("ratelimited", "rate_limited")
    return Complaint("rate", "Slack ratelimited") if limited else None


def _read_discord(document: Json, status: int) -> Complaint | None:
    wait = to_amount(document.get("retry_after"))
    if status != 429 or wait is None or not isinstance(document.get("global"), bool):
        return None
    return Complaint("rate", "Discord", wait, ("global",) if document["global"] else (), exact=True)


def _read_hubspot(document: Json, status: int) -> Complaint | None:
    policy = _to_word(document.get("policyName"))
    if status != 429 or not policy:
        return None
    kind: Kind = "exhausted" if policy == "DAILY" else "rate"
    return Complaint(kind, f"HubSpot {policy}", quotas=(policy.lower(),))


def _read_problem(document: Json, _status: int) -> Complaint | None:
    kind = document.get("type")
    kind = kind.rpartition("#")[2] if isinstance(kind, str) else ""
    name = next((name for name in _PROBLEMS if kind == name or kind.endswith("/" + name)), None)
    if name is None:
        return None
    violated = document.get("violated-policies")
    names = violated[:MOST_QUOTAS] if isinstance(violated, list) else []
    return Complaint("rate", name, quotas=tuple(name for name in map(_to_word, names) if name))


def _read_error(document: Json, status: int) -> Complaint | None:
    """Return the complaint in `error`, an object in the manner of OpenAI, Stripe and Google."""
    error = _to_object(document.get("error"))
    codes = {_to_word(error.get("code")), _to_word(error.get("type"))}
    if "insufficient_quota" in codes:
        return Complaint("exhausted", "insufficient_quota")
    if status == 429 and "lock_timeout" in codes:
        return Complaint("concurrency", "lock_timeout")
    reasons = {_to_word(each.get("reason")) for each in _to_objects(error.get("errors"))}
    for reason in sorted(reasons & (_GOOGLE_PACE | _GOOGLE_SPENT)):
        return Complaint("rate" if reason in _GOOGLE_PACE else "exhausted", reason)
    if status == 429 and _to_word(error.get("status")) == "RESOURCE_EXHAUSTED":
        return Complaint("rate", "RESOURCE_EXHAUSTED", _read_retry_info(error))
    return None


def _read_retry_info(error: Json) -> float | None:
    """Return the `retryDelay` of google.rpc.RetryInfo, `34s` or `34.07s`."""
    for detail in _to_objects(error.get("details")):
        delay = _to_word(detail.get("retryDelay"))
        if delay.endswith("s"):
            return times.parse_number(delay[:-1])
    return None


def _read_aws(document: Json, _status: int) -> Complaint | None:
    codes = (document.get("__type"), document.get("code"), document.get("Code"))
    return next((read_aws_code(_to_word(code).rpartition("#")[2]) for code in codes if _to_word(code)), None)


def read_aws_code(code: str) -> Complaint | None:
    """Return the complaint that an error code of AWS stands for, or None where it does not mean throttling.

    Args:
        code: The code, such as "ThrottlingException".

    Source: AWS SDKs and Tools Reference Guide, "Retry behavior".
    """
    return Complaint("rate", code) if re.fullmatch(_AWS, code) else None


def _read_plain(text: bytes, status: int) -> Complaint | None:
    """Return the complaint of a text that is not JSON, or too long for it: prose of GitHub, XML of AWS."""
    if status in (403, 429):
        lower = text[:LONGEST_JSON].lower()
        if b"secondary rate limit" in lower or b"abuse detection" in lower:
            return Complaint("rate", "GitHub secondary rate limit", pause=60.0)
    start = text.find(b"<Code>")
    if start >= 0:
        code = text[start + 6 : start + 6 + _LONGEST_NAME].partition(b"<")[0]
        return read_aws_code(code.decode("ascii", "replace"))
    return None


_QUIET: tuple[Reader, ...] = (_read_graphql, _read_slack)
"""Readers for APIs that refuse with the status of a success."""
_LOUD: tuple[Reader, ...] = (*_QUIET, _read_problem, _read_error, _read_hubspot, _read_discord, _read_aws)


def _read_bucket(text: bytes) -> list[Quota]:
    """Return the quota in the object behind `throttleStatus`."""
    start, end = text.find(b"{"), text.find(b"}")
    state = _to_object(_load(text[start : end + 1])) if 0 <= start < end else {}
    limit, remaining = to_amount(state.get("maximumAvailable")), to_amount(state.get("currentlyAvailable"))
    rate = to_amount(state.get("restoreRate"))
    if limit is None or remaining is None:
        return []
    reset = to_amount(max(0.0, limit - remaining) / rate) if rate else None
    window = to_amount(limit / rate) if rate else None
    return [Quota("graphql", limit, remaining, reset, window or None, "points", "", CERTAIN, 0.0, "shopify")]


def _read_github_quota(value: object) -> list[Quota]:
    state = _to_object(value)
    limit, remaining = to_amount(state.get("limit")), to_amount(state.get("remaining"))
    if limit is None and remaining is None:
        return []
    return [Quota("graphql", limit, remaining, unit="points", dialect="github", group="graphql")]


def _read_linear_quotas(value: object) -> list[Quota]:
    quotas = []
    for state in _to_objects(_to_object(value).get("limits")):
        name = _to_word(state.get("type")).lower()
        limit, remaining = to_amount(state.get("allowedAmount")), to_amount(state.get("remainingAmount"))
        window = (to_amount(state.get("period")) or 0.0) / 1000 or None
        unit = "points" if "complexity" in name else "requests"
        if limit is not None or remaining is not None:
            quotas.append(Quota(name, limit, remaining, None, window, unit, "", LIKELY, 0.0, "linear"))
    return quotas
