"""Whether a response is a refusal for want of quota, of which kind, and for how long.

Theory of operation. A 429 always is one, and so is a 529. Everything else needs evidence:

    503            a Retry-After, or the problem type temporary-reduced-capacity; else the server is just down
    403            GitHub: nothing remains, or the body says so; Google: the reasons in the body
    400            error codes of AWS in body or header; GraphQL of Linear
    2xx            GraphQL and Slack: error codes in the body
    4xx, 5xx       the other problem types of the RateLimit drafts

The kind is "rate" unless the server says more. It is "concurrency" where Stripe's reason ends so, where Okta
switches its headers to the concurrent limit, where all quotas that are used up count concurrent requests, and for
a `lock_timeout` of Stripe: two requests at one object at once are cured by fewer at once, not by a slower pace,
and the request may be repeated. It is "exhausted" for a plan's quota: OpenAI, the daily policy of HubSpot, Google.

The wait is, in this order: what Retry-After and its kin say, or the finer number of Discord's body;
X-RateLimit-Retry-After; what the body says; the latest reset of the violated quotas, of those that the server
names, or else of those of which nothing remains; a minute for GitHub.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from polvo_adapters.headers import times
from polvo_adapters.headers.body import Complaint, aws_complaint, complaint
from polvo_adapters.headers.quota import Kind, Quota, Throttled
from polvo_adapters.headers.reading import parse

_LONGEST_VALUE = 256
_MOST_HEADERS = 1024
_OVERLOADED = 529
_REDUCED = "temporary-reduced-capacity"


def throttled(headers: Mapping[str, str], status: int, body: bytes | None = None, now: float = 0.0) -> Throttled | None:
    """Tell whether the server refused this request for want of quota.

    Args:
        headers: Headers of the response, in any mapping and any case.
        status: Its status.
        body: Its body as far as it is there, decompressed; None where it was not read, and then refusals that
            only the body tells are not seen.
        now: Unix time in seconds, as in `parse`.

    Returns:
        How it refused, or None where it did not.

    Source: RFC 6585 section 4, RFC 9110 section 10.2.3, draft-ietf-httpapi-ratelimit-headers-10 section 6, GitHub
    "Rate limits for the REST API", Stripe "Rate limits", Okta "Concurrent rate limits", HubSpot "Error handling",
    OpenAI "Error codes", Anthropic "Errors", Discord "Rate Limits", Slack "Rate limits", Shopify "API limits",
    Linear "Rate limiting", Google "Standardized error responses", AWS "Retry behavior".
    """
    if status < 400:
        found = complaint(body, status) if body and 200 <= status < 300 else None
        if found is None:
            return None
    else:
        found = complaint(body, status)
    told = _lower(headers)
    wait = times.retry_after(told, now)
    quotas = parse(headers, status, now)
    found = found or aws_complaint(told.get("x-amzn-errortype", "").partition(":")[0].rpartition("#")[2])
    if not _refused(status, told, wait, found, quotas, body):
        return None
    violated = _violated(found, quotas)
    kind = _kind(told, found, violated)
    return Throttled(kind, _wait(told, wait, found, violated), _names(told, found, violated), _why(status, told, found))


def _refused(
    status: int,
    told: Mapping[str, str],
    wait: float | None,
    found: Complaint | None,
    quotas: Sequence[Quota],
    body: bytes | None,
) -> bool:
    if status in (429, _OVERLOADED):
        return True
    if status == 503:
        return wait is not None or (found is not None and found.reason == _REDUCED)
    if found is not None:
        return True
    return status == 403 and _github(told) and _primary(wait, quotas, body)


def _github(told: Mapping[str, str]) -> bool:
    return "x-ratelimit-resource" in told or "x-github-request-id" in told


def _primary(wait: float | None, quotas: Iterable[Quota], body: bytes | None) -> bool:
    """Tell a used-up quota from a plain lack of permission on the last request that it had left."""
    if body and b"rate limit" not in body[:65_536].lower():
        return False
    return wait is not None or any(quota.remaining == 0 for quota in quotas)


def _violated(found: Complaint | None, quotas: Sequence[Quota]) -> list[Quota]:
    """Return the quotas that stand in the way, as far as the response announces them."""
    if found is not None and found.quotas:
        named = [quota for quota in quotas if quota.name in found.quotas]
        if named:
            return named
    return [quota for quota in quotas if quota.remaining == 0]


def _kind(told: Mapping[str, str], found: Complaint | None, violated: Sequence[Quota]) -> Kind:
    if found is not None and found.kind != "rate":
        return found.kind
    if told.get("stripe-rate-limited-reason", "").endswith("-concurrency"):
        return "concurrency"
    if violated and all(quota.unit == "concurrent-requests" for quota in violated):
        return "concurrency"
    return "rate"


def _wait(
    told: Mapping[str, str], wait: float | None, found: Complaint | None, violated: Iterable[Quota]
) -> float | None:
    in_body = found.retry_after if found is not None else None
    if found is not None and found.exact and in_body is not None:
        return in_body
    if wait is not None:
        return wait
    other = times.retry_after({"retry-after": told.get("x-ratelimit-retry-after", "")}, 0.0)
    if other is not None:
        return other
    if in_body is not None:
        return in_body
    resets = [quota.reset for quota in violated if quota.reset is not None]
    if resets:
        return max(resets)
    return found.pause if found is not None else None


def _names(told: Mapping[str, str], found: Complaint | None, violated: Iterable[Quota]) -> tuple[str, ...]:
    if found is not None and found.quotas:
        return found.quotas
    reason = told.get("stripe-rate-limited-reason", "").lower()
    if reason:
        return (reason,)
    return tuple(dict.fromkeys(quota.name for quota in violated if quota.name))


def _why(status: int, told: Mapping[str, str], found: Complaint | None) -> str:
    if found is not None:
        return f"{status}, {found.reason}"
    if status == _OVERLOADED:
        return f"{status}, overloaded"
    if status == 503:
        return f"{status}, Retry-After"
    if status == 403:
        return f"{status}, GitHub rate limit"
    reason = told.get("stripe-rate-limited-reason", "").lower()
    return f"{status}, {reason}" if reason else str(status)


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    """Return short headers by name in lower case; of several with one name, the first."""
    told: dict[str, str] = {}
    for _, (name, value) in zip(range(_MOST_HEADERS), headers.items(), strict=False):
        if isinstance(name, str) and isinstance(value, str) and len(value) <= _LONGEST_VALUE >= len(name):
            told.setdefault(name.lower(), value.strip() if value.isprintable() else "")
    return told
