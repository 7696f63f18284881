"""Whether a response is a refusal for want of quota, of which kind, and for how long.

Theory of operation. A 429 always is one, and so are 529 and 420. Everything else needs evidence:

    503, 509       a Retry-After, or a body or header that names a limit; else the server is just down
    403            GitHub: nothing remains, or the body says so; Google: the reasons in the body
    400            error codes of AWS in body or header, of Meta; GraphQL of Linear
    2xx            an error code within `error` or `errors`: GraphQL, Slack, MediaWiki, monday
    400 to 430     some: nothing remains, and a header of the limit asks to wait
    4xx, 5xx       the problem types of the RateLimit drafts; any error code that names a limit, in body or header; with
                   most statuses a sentence that says so

The kind is "rate", except for

    concurrency    Stripe's reason ends so; Okta switches its headers to the concurrent limit; all quotas that are
                   used up count concurrent requests; a `lock_timeout` of Stripe: two requests at one object at once
                   need fewer at once, not a slower pace, and may be repeated
    exhausted      a plan's quota is used up: OpenAI, the daily policy of HubSpot, Google, codes that name a day

The wait is, in this order: what Retry-After and its variants say, or the finer number of Discord's body;
X-RateLimit-Retry-After; what the body says; the latest reset of the violated quotas, which are those that the server
names, or else those of which nothing remains; a minute for GitHub.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from polvo_adapters.headers import refusal_headers, resets, times
from polvo_adapters.headers.complaints import PACE_REASON, SPENT_REASON, find_complaint, find_wait_in_body
from polvo_adapters.headers.quota import Complaint, Kind, Quota, Throttled
from polvo_adapters.headers.reading import parse

_LONGEST_VALUE = 256
_MOST_HEADERS = 1024
_CALM, _TOO_MANY, _OVERLOADED = 420, 429, 529
_REFUSING = frozenset({_CALM, _TOO_MANY, _OVERLOADED})
_DOWN = (503, 509)  # refusals where they say when to come back
_SPEAKING = frozenset({403, *_REFUSING, *_DOWN})  # statuses that may refuse without a word in the body
_ASKING = (400, 402, 403, 409, 430)  # refusals where nothing remains, and a header of the limit asks to wait
_SOON = 60.0  # seconds
_CONCURRENT_HEADER = re.compile(r"\bconcurren(?:t|cy)\b")
_SCOPES = {"user", "global", "shared"}
_NO_COMPLAINT = Complaint("rate", "")


class _Evidence(NamedTuple):
    """What a response says about a refusal.

    Attributes:
        status: Its status.
        headers: Its short headers by name in lower case.
        complaint: What its body states, or an error code of AWS; without a reason where there is none.
        wait: Seconds that Retry-After or a variant of it asks for, or None.
        quotas: What its headers announce.
    """

    status: int
    headers: Mapping[str, str]
    complaint: Complaint
    wait: float | None
    quotas: Sequence[Quota]

    @property
    def stripe_reason(self) -> str:
        """Stripe's name of the violated limit, or an empty string."""
        return self.headers.get("stripe-rate-limited-reason", "")


def throttled(headers: Mapping[str, str], status: int, body: bytes | None = None, now: float = 0.0) -> Throttled | None:
    """Return how the server refused this request for want of quota, or None where it did not.

    Args:
        headers: Headers of the response, in any mapping and any case.
        status: Its status.
        body: Its body as far as it was read, decompressed; None where it was not read: then a refusal that only the
            body states is not found.
        now: Unix time in seconds, as in `parse`.

    Source: RFC 6585 section 4, RFC 9110 section 10.2.3, draft-ietf-httpapi-ratelimit-headers-10 section 6, GitHub
    "Rate limits for the REST API", Stripe "Rate limits", Okta "Concurrent rate limits", HubSpot "Error handling",
    OpenAI "Error codes", Anthropic "Errors", Discord "Rate Limits", Slack "Rate limits", Shopify "API limits",
    Linear "Rate limiting", Google "Standardized error responses", AWS "Retry behavior".
    """
    if status < 400:
        found = find_complaint(body, status) if body and 200 <= status < 300 else None
        if found is None:
            return None
    else:
        found = find_complaint(body, status)
        if found is None and status not in _SPEAKING and not any(map(refusal_headers.may_refuse, headers)):
            return None
    lower = _collect_short(headers)
    found = found or refusal_headers.find_complaint(lower)
    wait, quotas = refusal_headers.read_retry_after(lower, now), parse(headers, status, now)
    evidence = _Evidence(status, lower, found or _NO_COMPLAINT, wait, quotas)
    if not _is_refusal(evidence, body):
        return None
    violated = _find_violated(evidence)
    return Throttled(
        _find_kind(evidence, violated),
        _find_wait(evidence, violated, body, now),
        _find_names(evidence, violated),
        _describe(evidence),
        _find_scope(evidence),
        evidence.complaint.processed,
    )


def _is_refusal(evidence: _Evidence, body: bytes | None) -> bool:
    status, headers, complaint, wait, quotas = evidence
    if status in _REFUSING:
        return True
    if status in _DOWN:
        return wait is not None or complaint.reason != ""
    if complaint.reason:
        return True
    is_used_up = any(quota.remaining == 0 for quota in quotas)
    if is_used_up and status in _ASKING and refusal_headers.asks_to_wait(headers):
        return True
    if status != 403 or not ("x-ratelimit-resource" in headers or "x-github-request-id" in headers):
        return False
    # GitHub: a used-up quota, or a plain lack of permission on the last request that the quota allowed.
    if body and b"rate limit" not in body[:65_536].lower():
        return False
    return wait is not None or is_used_up


def _find_violated(evidence: _Evidence) -> list[Quota]:
    """Return the announced quotas that the body names as violated, or else those of which nothing remains.

    Where there is one quota, and no header says what remains of it, it is that one.
    """
    quotas = evidence.quotas
    named = [quota for quota in quotas if quota.name in evidence.complaint.quotas]
    found = named or [quota for quota in quotas if quota.remaining == 0]
    return found or [quota for quota in quotas if len(quotas) == 1 and quota.remaining is None]


def _find_kind(evidence: _Evidence, violated: Sequence[Quota]) -> Kind:
    if evidence.complaint.reason == SPENT_REASON and evidence.wait and evidence.wait <= _SOON:
        return "rate"  # what the server asks for counts for more than its sentence
    if evidence.complaint.kind != "rate":
        return evidence.complaint.kind
    if violated:
        concurrent = all(quota.unit == "concurrent-requests" for quota in violated)
    else:  # Twilio says how many are under way
        concurrent = evidence.status == _TOO_MANY and any(map(_CONCURRENT_HEADER.search, evidence.headers))
    if concurrent or evidence.stripe_reason.endswith("-concurrency"):
        return "concurrency"
    kind = refusal_headers.find_kind(evidence.headers)
    is_short = kind == "exhausted" and evidence.wait and evidence.wait <= _SOON
    return "rate" if is_short else kind


def _find_wait(evidence: _Evidence, violated: Sequence[Quota], body: bytes | None, now: float) -> float | None:
    complaint, in_body = evidence.complaint, times.cap_delay(evidence.complaint.retry_after)
    if complaint.exact and in_body is not None:
        return in_body
    said = [evidence.wait, *refusal_headers.find_waits(evidence.headers, now), in_body]
    wait = next(filter(None, said), None)  # zero, or a moment in the past, says nothing
    if wait is None and complaint.moment is not None:
        base, _ = resets.choose_server_time(times.parse_date(evidence.headers.get("date", "")), now)
        wait = None if base is None else resets.count_seconds(complaint.moment, base) or None
    if wait is None and evidence.status >= 400:
        wait = times.cap_delay(find_wait_in_body(body)) or None
    if wait is None:
        wait = max((quota.reset for quota in violated if quota.reset is not None), default=complaint.pause)
    return 0.0 if wait is None and 0.0 in said else wait


def _find_names(evidence: _Evidence, violated: Sequence[Quota]) -> tuple[str, ...]:
    if evidence.complaint.quotas:
        return evidence.complaint.quotas
    if evidence.headers.get("x-ratelimit-global", "").lower() == "true":  # Discord, where the body was not read
        return ("global",)
    if evidence.stripe_reason:
        return (evidence.stripe_reason.lower(),)
    return tuple(dict.fromkeys(quota.name for quota in violated if quota.name))


def _find_scope(evidence: _Evidence) -> str:
    """Return what the refusal is about, as Discord says it in headers and some others in the body."""
    scope = evidence.headers.get("x-ratelimit-scope", "").lower()
    if scope in _SCOPES:
        return scope
    return "global" if evidence.headers.get("x-ratelimit-global", "").lower() == "true" else evidence.complaint.scope


def _describe(evidence: _Evidence) -> str:
    status = evidence.status
    known = {_OVERLOADED: "overloaded", 503: "Retry-After", 403: "GitHub rate limit"}
    reason = evidence.complaint.reason or known.get(status) or evidence.stripe_reason.lower()
    if status == _TOO_MANY and reason == PACE_REASON:  # the status says no less
        reason = ""
    return f"{status}, {reason}" if reason else str(status)


def _collect_short(headers: Mapping[str, str]) -> dict[str, str]:
    """Return short headers by name in lower case; of several with one name, the first."""
    lower: dict[str, str] = {}
    for _, (name, value) in zip(range(_MOST_HEADERS), headers.items(), strict=False):
        if isinstance(name, str) and isinstance(value, str) and len(value) <= _LONGEST_VALUE >= len(name):
            lower.setdefault(name.lower(), value.strip() if value.isprintable() else "")
    return lower
