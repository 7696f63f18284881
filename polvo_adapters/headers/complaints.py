"""Refusals that bodies state, and no header shows.

Theory of operation. Few bodies speak of quotas, so the search has to be cheap:

    errors      searched for a few marker words, up to 1 MiB; read as JSON where one is found, up to 64 KiB
    successes   searched up to 4 KiB, if they begin like JSON: one that states a refusal carries no data

The readers of vendors come first, each of which returns a `Complaint` or None, and then a reader for any API that
names its refusal by a code, see `polvo_adapters.headers.codes`. In an error the code may stand at the top; in a success
it counts only within `error` or `errors`, as anything else is data.

**Processed.** A refusal says that nothing was done, unless the body carries something besides: an answer to GraphQL
with data, or a batch of which one part was refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from polvo_adapters.headers import times
from polvo_adapters.headers.body import Json, begins_like_json, load_json, to_object, to_objects, to_word
from polvo_adapters.headers.codes import classify_code, find_wait, is_complaint, is_spent
from polvo_adapters.headers.entries import MOST_QUOTAS, to_amount
from polvo_adapters.headers.markers import may_refuse
from polvo_adapters.headers.quota import Kind

LONGEST_BODY = 1 << 20
LONGEST_JSON = 1 << 16
_LONGEST_CODE = 128
_MARKERS = (
    *(b"limit", b"throttl", b"quota", b"many", b"exhausted", b"concurren", b"complexity", b"slow", b"throughput"),
    *(b"retry_after", b"lock_timeout", b"policyname", b"reduced-capacity", b"abnormal-usage", b"maxlag", b"max_lag"),
    *(
        b"too much",
        b"rate exceeded",
        b"threshold exceeded",
        b"requestrate",
        b"request_rate",
        b"request-rate",
        b"abuse detection",
        b"oauthexception",
        b"fbtrace_id",
    ),
)
_GRAPHQL_CODES = {"THROTTLED", "RATELIMITED", "RATE_LIMITED"}
_GOOGLE_PACE = {"rateLimitExceeded", "userRateLimitExceeded"}
_GOOGLE_SPENT = {"dailyLimitExceeded", "quotaExceeded"}
_META_PACE = {4, 17, 32, 613, *range(80000, 80015), 130429, 131056}
_PROBLEMS = ("quota-exceeded", "temporary-reduced-capacity", "abnormal-usage-detected")
_CODE_KEYS = {"code", "type", "reason", "error", "errorcode", "errortype", "errorname", "errorkey", "tag"}
_LOOSE_KEYS = {"status", "name"}
"""Keys that hold a code in an error, and at the top where there is no error beside them: else they are of the data."""
_WAIT_KEYS = {"retryafter": 1.0, "retryafterseconds": 1.0, "retryinseconds": 1.0, "retryafterms": 0.001}
_PROSE_KEYS = {
    "message",
    "msg",
    "errormsg",
    "errormessage",
    "errordescription",
    "description",
    "info",
    "detail",
    "error",
}
_HOLDERS = ("error", "errors", "extensions", "fault", "detail", "details", "parameters")
_STATES = ("status", "state", "object", "created", "created_at", "createdAt", "count")
_MOST_HOLDERS = 16
_WORDY = (200, 400, 401, 402, 403, 418, 420, 429, 456)
"""Statuses with which a sentence alone may ask for a slower pace."""
_UNRELATED = (404, 405, 406, 410, 411, 413, 414, 415, 431)
"""Errors that are about what was asked, whatever limit they name: one that is too large stays so."""
_UNAUTHORIZED, _SPENT = 401, 456  # 456 of DeepL
_ANY_PLAN = re.compile(r"(?:plan|subscription)[-_.]?limit", re.IGNORECASE)
_PLAN = (401, 402, 403, 456)  # errors in which a quota that is exceeded is that of a plan; with 429 it is one of pace

_TITLE = re.compile(rb"<(?:title|message)>([^<]{1,256})<", re.IGNORECASE)
SPENT_REASON, PACE_REASON = "quota in its message", "rate limit in its message"

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
        scope: As in `Throttled`.
        processed: As in `Throttled`.
    """

    kind: Kind
    reason: str
    retry_after: float | None = None
    quotas: tuple[str, ...] = ()
    exact: bool = False
    pause: float | None = None
    scope: str = ""
    processed: bool = False


def find_complaint(body: bytes | None, status: int) -> Complaint | None:
    """Return the complaint of a body that refuses for want of quota, or None.

    Args:
        body: The body as far as it was read, or None.
        status: The status of the response.
    """
    if not isinstance(body, (bytes, bytearray)) or not body:
        return None
    if status < 400:
        if not may_refuse(body) or not begins_like_json(body):
            return None
        return _find_first(_QUIET, bytes(body), status)
    text = bytes(body[:LONGEST_BODY])
    lower = text.lower()
    if status in _UNRELATED or not any(marker in lower for marker in _MARKERS):
        return None
    is_json = len(body) <= LONGEST_JSON and begins_like_json(text)
    found = (_find_first(_LOUD, text, status) if is_json else None) or _read_plain(text, status)
    if found is not None or status not in _WORDY:
        return found
    return _find_first((_read_prose,), text, status) if is_json else _read_page(text, status)


def _find_first(readers: tuple[Reader, ...], text: bytes, status: int) -> Complaint | None:
    """Return the first complaint; the documents of a GraphQL batch, or of a list of errors, are read in turn."""
    document = load_json(text)
    documents = list(to_objects(document if isinstance(document, list) else [document]))
    if status < 400:
        documents = [each for each in documents if not _is_resource(each)]
    found = (read(each, status) for each in documents for read in readers)
    first = next((each for each in found if each is not None), None)
    if first is None or status >= 400:
        return first
    done = len(documents) > 1 or any(map(_has_content, documents))
    return first._replace(processed=True) if done else first


def _has_content(document: Json) -> bool:
    """Return whether a document holds more than an error, so that a part of the request was processed."""
    return any(
        _holds_anything(value) for key, value in document.items() if key not in ("error", "errors", "extensions")
    )


def _is_resource(document: Json) -> bool:
    """Return whether an object of a success is a thing of the API, such as a job that has failed, and no refusal."""
    return "id" in document and "jsonrpc" not in document and any(document.get(key) is not None for key in _STATES)


def _holds_anything(value: object) -> bool:
    if isinstance(value, dict):
        return any(each is not None for each in value.values())
    return isinstance(value, list) and any(each is not None for each in value)


def _read_graphql(document: Json, _status: int) -> Complaint | None:
    for error in to_objects(document.get("errors")):
        codes = (error.get("type"), error.get("code"), to_object(error.get("extensions")).get("code"))
        code = next((code for code in map(to_word, codes) if code in _GRAPHQL_CODES), None)
        if code is not None:
            wait = _compute_shopify_wait(document) if code == "THROTTLED" else None
            is_github = code == "RATE_LIMITED" and error.get("type") == code
            return Complaint("rate", f"GraphQL {code}", wait, pause=60.0 if is_github else None)
    return None


def _compute_shopify_wait(document: Json) -> float | None:
    """Return the seconds until the bucket holds what the refused query costs."""
    cost = to_object(to_object(document.get("extensions")).get("cost"))
    state = to_object(cost.get("throttleStatus"))
    wanted, there = to_amount(cost.get("requestedQueryCost")), to_amount(state.get("currentlyAvailable"))
    rate = to_amount(state.get("restoreRate"))
    if wanted is None or there is None or not rate:
        return None
    return to_amount(max(0.0, wanted - there) / rate)


def _read_slack(document: Json, _status: int) -> Complaint | None:
    limited = document.get("ok") is False and to_word(document.get("error")) in ("ratelimited", "rate_limited")
    return Complaint("rate", "Slack ratelimited", scope="method") if limited else None


def _read_discord(document: Json, status: int) -> Complaint | None:
    wait = to_amount(document.get("retry_after"))
    if status != 429 or wait is None or not isinstance(document.get("global"), bool):
        return None
    is_global = bool(document["global"])
    quotas, scope = (("global",), "global") if is_global else ((), "")
    return Complaint("rate", "Discord", wait, quotas, exact=True, scope=scope)


def _read_hubspot(document: Json, status: int) -> Complaint | None:
    policy = to_word(document.get("policyName"))
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
    return Complaint("rate", name, quotas=tuple(name for name in map(to_word, names) if name))


def _read_error(document: Json, status: int) -> Complaint | None:
    """Return the complaint in `error`, an object in the manner of OpenAI, Stripe, Google and Meta."""
    error = to_object(document.get("error"))
    codes = {to_word(error.get("code")), to_word(error.get("type"))}
    if "insufficient_quota" in codes:
        return Complaint("exhausted", "insufficient_quota")
    if status == 429 and "lock_timeout" in codes:
        return Complaint("concurrency", "lock_timeout")
    if "fbtrace_id" in error or "OAuthException" in codes:
        return _read_meta(error)
    reasons = {to_word(each.get("reason")) for each in to_objects(error.get("errors"))}
    for reason in sorted(reasons & (_GOOGLE_PACE | _GOOGLE_SPENT)):
        return Complaint("rate" if reason in _GOOGLE_PACE else "exhausted", reason)
    if status == 429 and to_word(error.get("status")) == "RESOURCE_EXHAUSTED":
        return _read_google(error)
    return None


def _read_meta(error: Json) -> Complaint | None:
    code = error.get("code")
    known = isinstance(code, int) and not isinstance(code, bool) and code in _META_PACE
    return Complaint("rate", f"Meta error {code}") if known else None


def _read_google(error: Json) -> Complaint:
    """Return the complaint of google.rpc.Status: its RetryInfo, and whether only quotas of a day are violated."""
    wait, quotas = None, list[str]()
    for detail in to_objects(error.get("details")):
        delay = to_word(detail.get("retryDelay"))
        if wait is None and delay.endswith("s"):
            wait = times.parse_number(delay[:-1])
        quotas += (to_word(each.get("quotaId")) for each in to_objects(detail.get("violations")))
    names = tuple(name for name in quotas[:MOST_QUOTAS] if name)
    if names and all("PerDay" in name for name in names):
        return Complaint("exhausted", "RESOURCE_EXHAUSTED, quota of a day", quotas=names)
    return Complaint("rate", "RESOURCE_EXHAUSTED", wait, names)


def _read_aws(document: Json, _status: int) -> Complaint | None:
    return read_aws_code(to_word(document.get("__type")).rpartition("#")[2])


def read_aws_code(code: str) -> Complaint | None:
    """Return the complaint that an error code of AWS stands for, or None where it does not mean throttling.

    Args:
        code: The code, such as "ThrottlingException".

    Source: AWS SDKs and Tools Reference Guide, "Retry behavior".
    """
    kind = classify_code(code) if len(code) <= _LONGEST_CODE else None
    return None if kind is None else Complaint(kind, code)


def _read_codes(document: Json, status: int) -> Complaint | None:
    """Return the complaint of an API that names its refusal by a code."""
    if status < 400 and _says_success(document):
        return None
    holders = _list_holders(document, quiet=status < 400)
    for holder in holders:
        for code in _list_codes(holder, is_top=holder is holders[0] and _has_error(holders)):
            kind = classify_code(code) if code else None
            if kind == "exhausted" and status != 429 and _ANY_PLAN.search(code):
                kind = None  # a plan limits seats and projects too
            if kind is None and status in _PLAN and code.replace("_", "").lower() == "quotaexceeded":
                kind = "exhausted"
            if kind is not None:
                return _describe_code(kind, code, holders)
    return None


def _says_success(document: Json) -> bool:
    return document.get("ok") is True or document.get("success") is True


def _has_error(holders: list[Json]) -> bool:
    """Return whether a document states its error somewhere else than in loose keys at its top."""
    return len(holders) > 1 or not {"code", "error"}.isdisjoint(holders[0])


def _list_codes(holder: Json, *, is_top: bool) -> list[str]:
    keys = _CODE_KEYS if is_top else _CODE_KEYS | _LOOSE_KEYS
    return [to_word(value) for key, value in holder.items() if _normalize(key) in keys]


def _normalize(key: str) -> str:
    return key.replace("_", "").lower().lstrip(".")


def _read_prose(document: Json, status: int) -> Complaint | None:
    """Return the complaint of an API that refuses by a sentence alone."""
    holders = _list_holders(document, quiet=status < 400)
    prose = _list_prose(holders)
    if status < 400 and _says_success(document):
        return None
    if status == _UNAUTHORIZED and any(" " not in each for each in prose):
        return None  # there is a code, and it says that the credential is refused
    if any(map(is_spent, prose)) or (status == _SPENT and any("quota" in each.lower() for each in prose)):
        return Complaint("exhausted", SPENT_REASON, _find_wait(holders))
    if any(map(is_complaint, prose)):
        return Complaint("rate", PACE_REASON, _find_wait(holders))
    if any(code for holder in holders for code in _list_codes(holder, is_top=True)):
        return None
    kinds = (classify_code(each) for each in prose if " " not in each)  # "too_many_requests" as the message of JSON-RPC
    kind = next((kind for kind in kinds if kind is not None), None)
    return None if kind is None else Complaint(kind, PACE_REASON, _find_wait(holders))


def _list_holders(document: Json, *, quiet: bool) -> list[Json]:
    """Return the objects that may hold a code, outermost first; of a success, those of its error only."""
    first = _find_error(document) if quiet else document
    holders = [first]
    for holder in holders:
        for key in _HOLDERS:
            value = holder.get(key)
            found = to_objects(value if isinstance(value, list) else [value])
            holders += (each for each in found if not (quiet and _is_resource(each)))
        if len(holders) >= _MOST_HOLDERS:
            break
    return holders[:_MOST_HOLDERS]


def _find_error(document: Json) -> Json:
    """Return what a success says about its error: what is named so, and what belongs to it.

    That is the message beside `"error": 29` or `"error": true`, and the status beside an `error_message`.
    """
    first = {key: value for key, value in document.items() if "error" in key.lower()}
    if isinstance(document.get("error"), int) and document["error"]:
        first |= {key: document[key] for key in ("message", "msg") if key in document}
    if any(isinstance(value, str) and value and _normalize(key) == "errormessage" for key, value in first.items()):
        first |= {key: document[key] for key in ("status",) if key in document}
    return first


def _describe_code(kind: Kind, code: str, holders: list[Json]) -> Complaint:
    if code == "REQUEST_LIMIT_EXCEEDED" and any("oncurrent" in each for each in _list_prose(holders)):
        kind = "concurrency"  # Salesforce has one code for both
    return Complaint(kind, code, None if kind == "exhausted" else _find_wait(holders))


def _list_prose(holders: list[Json]) -> list[str]:
    values = [value for holder in holders for key, value in holder.items() if _normalize(key) in _PROSE_KEYS]
    lists = [each for value in values if isinstance(value, list) for each in value[:MOST_QUOTAS]]
    return [value for value in (*values, *lists) if isinstance(value, str)]


def _find_wait(holders: list[Json]) -> float | None:
    """Return the seconds that a body asks to wait, in a field of its own or in its message, or None."""
    for holder in holders:
        for key, value in holder.items():
            unit = _WAIT_KEYS.get(_normalize(key))
            wait = times.parse_number(value) if unit and isinstance(value, str) else to_amount(value) if unit else None
            if wait is not None and unit is not None:
                return wait * unit
        if isinstance(holder.get("lag"), (int, float)):
            return to_amount(holder["lag"])  # of MediaWiki, where there is no Retry-After
    return next((wait for wait in map(find_wait, _list_prose(holders)) if wait is not None), None)


def _read_plain(text: bytes, status: int) -> Complaint | None:
    """Return the complaint of a text that is not JSON, or too long for it: prose of GitHub, XML of AWS."""
    if status in (403, 429):
        lower = text[:LONGEST_JSON].lower()
        if b"secondary rate limit" in lower or b"abuse detection" in lower:
            return Complaint("rate", "GitHub secondary rate limit", pause=60.0)
    start = text.find(b"<Code>")
    if start >= 0:
        code = text[start + 6 : start + 6 + _LONGEST_CODE].partition(b"<")[0]
        return read_aws_code(code.decode("ascii", "replace"))
    return None


def _read_page(text: bytes, status: int) -> Complaint | None:
    """Return the complaint of a short text, or of the title or message of a page or XML."""
    if b"<" not in text[:_LONGEST_CODE]:
        words = text if len(text) <= 2 * _LONGEST_CODE else b""
    else:
        found = _TITLE.search(text[:LONGEST_JSON])
        words = b"" if found is None else found[1]
    return _read_prose({"message": words.decode("utf-8", "replace").strip()}, status)


_QUIET: tuple[Reader, ...] = (_read_graphql, _read_slack, _read_codes, _read_prose)
"""Readers for APIs that refuse with the status of a success."""
_LOUD: tuple[Reader, ...] = (
    *(_read_graphql, _read_slack, _read_problem, _read_error, _read_hubspot, _read_discord, _read_aws),
    _read_codes,
)
