"""Refusals in the bodies of single vendors, which need more than a code or a sentence to be recognized.

A reader takes a JSON object and the status of the response, and returns a `Complaint` or None.
"""

from __future__ import annotations

from polvo_adapters.headers import times
from polvo_adapters.headers.body import Json, to_object, to_objects, to_word
from polvo_adapters.headers.codes import classify_code, find_wait, is_about_concurrency, is_about_other_things
from polvo_adapters.headers.entries import MOST_QUOTAS, to_amount
from polvo_adapters.headers.holders import find_wait as find_holder_wait
from polvo_adapters.headers.holders import walk
from polvo_adapters.headers.quota import Complaint, Kind

_LONGEST_CODE = 128
_GRAPHQL_CODES = {"THROTTLED", "RATELIMITED", "RATE_LIMITED"}
_GOOGLE_PACE = {"rateLimitExceeded", "userRateLimitExceeded"}
_GOOGLE_SPENT = {"dailyLimitExceeded", "quotaExceeded"}
_META_PACE = {4, 17, 32, 613, *range(80000, 80015), 130429, 131056}
_PROBLEMS = ("quota-exceeded", "temporary-reduced-capacity", "abnormal-usage-detected")
_AWS_KINDS: dict[str, Kind] = {"BandwidthLimitExceeded": "rate", "PriorRequestNotComplete": "concurrency"}
_RESOURCE_EXHAUSTED = 8  # in gRPC
_LIMIT_OF_NODE = -32005
_GEONAMES: dict[object, Kind] = {18: "exhausted", 19: "rate", 20: "exhausted"}


def read_graphql(document: Json, _status: int) -> Complaint | None:
    """Read the code of an error of GraphQL: Shopify, GitHub, Linear."""
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


def read_slack(document: Json, _status: int) -> Complaint | None:
    """Read Slack's error, which means the method alone."""
    limited = document.get("ok") is False and to_word(document.get("error")) in ("ratelimited", "rate_limited")
    return Complaint("rate", "Slack ratelimited", scope="method") if limited else None


def read_discord(document: Json, status: int) -> Complaint | None:
    """Read Discord's wait, and whether it means everything."""
    wait = to_amount(document.get("retry_after"))
    if status != 429 or wait is None or not isinstance(document.get("global"), bool):
        return None
    is_global = bool(document["global"])
    quotas, scope = (("global",), "global") if is_global else ((), "")
    return Complaint("rate", "Discord", wait, quotas, exact=True, scope=scope)


def read_hubspot(document: Json, status: int) -> Complaint | None:
    """Read the name of HubSpot's policy."""
    policy = to_word(document.get("policyName"))
    if status != 429 or not policy:
        return None
    kind: Kind = "exhausted" if policy == "DAILY" else "rate"
    return Complaint(kind, f"HubSpot {policy}", quotas=(policy.lower(),))


def read_problem(document: Json, _status: int) -> Complaint | None:
    """Read the problem types of the RateLimit drafts."""
    kind = document.get("type")
    kind = kind.rpartition("#")[2] if isinstance(kind, str) else ""
    name = next((name for name in _PROBLEMS if kind == name or kind.endswith("/" + name)), None)
    if name is None:
        return None
    violated = document.get("violated-policies")
    names = violated[:MOST_QUOTAS] if isinstance(violated, list) else []
    return Complaint("rate", name, quotas=tuple(name for name in map(to_word, names) if name))


def read_error(document: Json, status: int) -> Complaint | None:
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
    message = error.get("message")
    of_other_things = isinstance(message, str) and is_about_other_things(message)
    for reason in sorted(reasons & (_GOOGLE_PACE if of_other_things else _GOOGLE_PACE | _GOOGLE_SPENT)):
        return Complaint("rate" if reason in _GOOGLE_PACE else "exhausted", reason)
    return None


def read_limit_of_node(document: Json, _status: int) -> Complaint | None:
    """Read the error of a node of Ethereum that a request exceeds "a defined limit"; with other words it is too large.

    Source: EIP-1474, error code -32005.
    """
    error = to_object(document.get("error"))
    message = to_word(error.get("message")).lower().rstrip(".")
    is_limit = "jsonrpc" in document and error.get("code") == _LIMIT_OF_NODE and message == "limit exceeded"
    return Complaint("rate", "limit exceeded", find_holder_wait([error])) if is_limit else None


def read_geonames(document: Json, _status: int) -> Complaint | None:
    """Read the status that GeoNames sends in place of data: credits of a day, an hour, or a week.

    Source: GeoNames "Webservice Exceptions".
    """
    state = to_object(document.get("status"))
    value = state.get("value")
    if len(document) != 1 or not isinstance(state.get("message"), str) or value not in _GEONAMES:
        return None
    return Complaint(_GEONAMES[value], f"GeoNames {value}")


def read_note(document: Json, status: int) -> Complaint | None:
    """Read the only sentence that Alpha Vantage answers with in place of data.

    Source: Alpha Vantage "Support", "Are there usage/frequency limits for the API service?".
    """
    key, value = next(iter(document.items()), ("", ""))
    if status >= 400 or len(document) != 1 or key not in ("Note", "Information") or not isinstance(value, str):
        return None
    words = value.lower()
    if "api" not in words or not ("call frequency" in words or "rate limit" in words or "sparingly" in words):
        return None
    is_short = "per minute" in words or "per second" in words
    return Complaint("rate" if is_short else "exhausted", key)


def _read_meta(error: Json) -> Complaint | None:
    code = error.get("code")
    known = isinstance(code, int) and not isinstance(code, bool) and code in _META_PACE
    return Complaint("rate", f"Meta error {code}") if known else None


def read_google(document: Json, status: int) -> Complaint | None:
    """Return the complaint of google.rpc.Status, as Google's APIs send it and as grpc-gateway does.

    Its details say how long to wait (RetryInfo), and which quotas are violated: those of a day are used up.

    Source: Google "AIP-193: Errors", google/rpc/error_details.proto, Google Ads "Rate limits" (`quotaErrorDetails`).
    """
    error = to_object(document.get("error")) or document
    found = list(walk(error.get("details")))
    wait = next((wait for wait in map(_read_delay, found) if wait is not None), None)
    is_spent = to_word(error.get("status")) == "RESOURCE_EXHAUSTED" or error.get("code") == _RESOURCE_EXHAUSTED
    if not (is_spent and status == 429):
        is_short = wait is not None and status in (429, 503)
        return Complaint("rate", to_word(error.get("status")) or "RetryInfo", wait) if is_short else None
    quotas = [to_word(each.get("quotaId")) for each in found]
    names = tuple(name for name in quotas[:MOST_QUOTAS] if name)
    limits = [*names, *(to_word(each.get("quota_limit")) for each in found)]
    limits = [limit for limit in limits if limit]
    if limits and all("perday" in limit.lower().replace("_", "") for limit in limits):
        return Complaint("exhausted", "RESOURCE_EXHAUSTED, quota of a day", quotas=names)
    if wait is None:
        messages = (each.get("message") for each in (error, *found))
        waits = (find_wait(message) for message in messages if isinstance(message, str))
        wait = next((each for each in waits if each is not None), None)
    said = error.get("message")
    at_once = isinstance(said, str) and is_about_concurrency(said)
    return Complaint("concurrency" if at_once else "rate", "RESOURCE_EXHAUSTED", wait, names)


def _read_delay(detail: Json) -> float | None:
    """Return the seconds of a `retryDelay`: "3.5s", or the seconds and nanoseconds of it."""
    delay = detail.get("retryDelay")
    if isinstance(delay, str):
        return times.parse_number(delay[:-1]) if delay.endswith("s") else None
    if not isinstance(delay, dict):
        return None
    seconds, nanos = delay.get("seconds"), to_amount(delay.get("nanos")) or 0.0
    whole = times.parse_number(seconds) if isinstance(seconds, str) else to_amount(seconds)
    return None if whole is None else whole + nanos / 1e9


def read_aws(document: Json, _status: int) -> Complaint | None:
    """Read the error code of AWS in JSON, at the top or in an `Error`."""
    code = to_word(document.get("__type")) or to_word(to_object(document.get("Error")).get("Code"))
    return read_aws_code(code.rpartition("#")[2])


def read_aws_code(code: str) -> Complaint | None:
    """Return the complaint that an error code of AWS stands for, or None where it does not mean throttling.

    Args:
        code: The code, such as "ThrottlingException".

    Source: AWS SDKs and Tools Reference Guide, "Retry behavior".
    """
    kind = _AWS_KINDS.get(code) or (classify_code(code) if len(code) <= _LONGEST_CODE else None)
    return None if kind is None else Complaint(kind, code)
