"""Answers as servers give them, each with the verdict on it: one table for all readers of verdicts.

Each row has the page of the vendor that it is taken from. A row for a new vendor is enough to test it with all readers.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from polvo_adapters.core.verdict import Kind


class RecordedAnswer(NamedTuple):
    """An answer, and what it is.

    Attributes:
        name: Of the vendor, and what happened.
        status: The status.
        headers: The headers that matter.
        body: The body.
        kind: The kind of the verdict.
        retry_after: The delay of the verdict.
        scope: Its scope.
        processed: Whether a part of the request was processed all the same.
        source: The page that says so.
        pause: Seconds for which an answer that is no refusal asks to wait before the next request.
    """

    name: str
    status: int
    headers: dict[str, str]
    body: bytes
    kind: Kind
    retry_after: float | None = None
    scope: str = ""
    processed: bool = False
    source: str = ""
    pause: float = 0.0


def text(**document: Any) -> bytes:
    return json.dumps(document).encode()


def google(reason: str) -> bytes:
    return text(error={"code": 403, "message": "no", "errors": [{"domain": "usageLimits", "reason": reason}]})


def graphql(code: str, data: Any = None, **extensions: Any) -> bytes:
    return text(data=data, errors=[{"message": "no", "extensions": {"code": code, **extensions}}])


def meta(code: int) -> bytes:
    return text(error={"message": "An error occurred", "type": "OAuthException", "code": code, "fbtrace_id": "A"})


def salesforce(message: str) -> bytes:
    return json.dumps([{"message": message, "errorCode": "REQUEST_LIMIT_EXCEEDED"}]).encode()


GITHUB = {"X-GitHub-Request-Id": "1", "X-RateLimit-Limit": "5000", "X-RateLimit-Remaining": "4987"}
GITHUB |= {"X-RateLimit-Resource": "core", "X-RateLimit-Reset": "1700003600"}
SECONDARY = text(message="You have exceeded a secondary rate limit. Please wait a few minutes before you try again.")
COST = {"requestedQueryCost": 600, "throttleStatus": {"currentlyAvailable": 400, "restoreRate": 100}}
BUDGET = "Complexity budget exhausted, query cost 30001 budget remaining 19986 out of 1000000 reset in 17 seconds"
STRIPE_ERROR = text(error={"type": "api_error", "message": "An unknown error occurred"})
ITEMS = [{"tags": ["python"], "title": "x" * 200}] * 40

RFC = "RFC 6585, section 4; RFC 9110, section 10.2.3"
AWS = "AWS SDKs and Tools Reference Guide, Retry behavior"
GOOGLE = "Google Drive API, Resolve errors"
SALESFORCE = "Salesforce REST API Developer Guide, Status Codes and Error Responses"
MEDIAWIKI = "mediawiki.org, Manual:Maxlag parameter; API:Etiquette"
MONDAY = "developer.monday.com, Rate limits; Error handling"
META = "developers.facebook.com, Graph API, Rate Limits"
STACK = "api.stackexchange.com/docs/throttle"

ANSWERS = [
    RecordedAnswer("fine", 200, {}, b'{"id": 1}', "served"),
    RecordedAnswer("fine, and not JSON", 200, {}, b"<p>error: rate limit</p>", "served"),
    RecordedAnswer("created", 201, {}, text(errors=[], id=5), "served"),
    RecordedAnswer(
        "data that speaks of throttling", 200, {}, text(rules=[{"code": "THROTTLED"}], error=None), "served"
    ),
    RecordedAnswer("not found", 404, {}, text(error="not_found"), "served"),
    RecordedAnswer("a limit that is a setting", 400, {}, text(error={"code": "invalid_rate_limit"}), "served"),
    RecordedAnswer("down", 500, {}, b"oops", "failed"),
    RecordedAnswer("down for a while", 500, {"Retry-After": "3"}, b"oops", "failed", 3.0, source=RFC),
    RecordedAnswer("bad gateway", 502, {}, b"<html>", "failed"),
    RecordedAnswer("unavailable, no word when", 503, {}, b"", "failed"),
    RecordedAnswer("unavailable", 503, {"Retry-After": "7"}, b"", "unavailable", 7.0, source=RFC),
    RecordedAnswer(
        "Anthropic, overloaded",
        529,
        {},
        text(type="error", error={"type": "overloaded_error"}),
        "unavailable",
        source="docs.anthropic.com, Errors",
    ),
    RecordedAnswer("too many requests", 429, {"Retry-After": "5"}, b"", "throttled", 5.0, source=RFC),
    RecordedAnswer("too many requests, no word when", 429, {}, b"", "throttled", source=RFC),
    RecordedAnswer("Google, user", 403, {}, google("userRateLimitExceeded"), "throttled", source=GOOGLE),
    RecordedAnswer("Google, project", 403, {}, google("rateLimitExceeded"), "throttled", source=GOOGLE),
    RecordedAnswer("Google, day", 403, {}, google("dailyLimitExceeded"), "exhausted", source=GOOGLE),
    RecordedAnswer("Google, denied", 403, {}, google("insufficientFilePermissions"), "refused", source=GOOGLE),
    RecordedAnswer("Google, disk full", 403, {}, google("storageQuotaExceeded"), "refused", source=GOOGLE),
    RecordedAnswer(
        "GitHub, secondary", 403, GITHUB, SECONDARY, "throttled", 60.0, source="docs.github.com, Rate limits for REST"
    ),
    RecordedAnswer(
        "GitHub, denied",
        403,
        GITHUB,
        text(message="Resource not accessible by integration"),
        "refused",
        source="docs.github.com, Troubleshooting the REST API",
    ),
    RecordedAnswer("a gateway's 403", 403, {}, b"<html>403 Forbidden</html>", "served"),
    RecordedAnswer(
        "OpenAI, no money",
        429,
        {},
        text(error={"type": "insufficient_quota", "code": "insufficient_quota"}),
        "exhausted",
        source="platform.openai.com, Error codes",
    ),
    RecordedAnswer(
        "OpenAI, pace",
        429,
        {},
        text(error={"code": "rate_limit_exceeded", "message": "Rate limit reached. Please try again in 1.5s."}),
        "throttled",
        1.5,
        source="platform.openai.com, Rate limits",
    ),
    RecordedAnswer(
        "HubSpot, day",
        429,
        {},
        text(policyName="DAILY", errorType="RATE_LIMIT"),
        "exhausted",
        source="developers.hubspot.com, API usage guidelines",
    ),
    RecordedAnswer(
        "Stripe, concurrency",
        429,
        {"Stripe-Rate-Limited-Reason": "global-concurrency"},
        b"",
        "concurrent",
        source="docs.stripe.com, Rate limits",
    ),
    RecordedAnswer(
        "Stripe, a replayed error",
        500,
        {"Idempotent-Replayed": "true"},
        STRIPE_ERROR,
        "replayed",
        source="docs.stripe.com, Advanced error handling",
    ),
    RecordedAnswer(
        "a replayed refusal of a card", 402, {"Idempotent-Replayed": "true"}, text(error={"code": "card"}), "replayed"
    ),
    RecordedAnswer("a replayed success", 200, {"Idempotent-Replayed": "true"}, b'{"id": 1}', "served"),
    RecordedAnswer(
        "MediaWiki, lag",
        200,
        {"Retry-After": "5", "MediaWiki-API-Error": "maxlag"},
        text(error={"code": "maxlag", "info": "Waiting for db1: 6.2 seconds lagged", "lag": 6.2}, servedby="mw1"),
        "throttled",
        5.0,
        source=MEDIAWIKI,
    ),
    RecordedAnswer("MediaWiki, pace", 200, {}, text(error={"code": "ratelimited"}), "throttled", source=MEDIAWIKI),
    RecordedAnswer(
        "MediaWiki, new form",
        200,
        {},
        text(errors=[{"code": "ratelimited", "text": "no"}]),
        "throttled",
        source=MEDIAWIKI,
    ),
    RecordedAnswer(
        "monday, budget",
        200,
        {},
        graphql("COMPLEXITY_BUDGET_EXHAUSTED", [], retry_in_seconds=17, status_code=429),
        "throttled",
        17.0,
        source=MONDAY,
    ),
    RecordedAnswer(
        "monday, budget, old form",
        200,
        {},
        text(error_code="ComplexityException", status_code=429, error_message=BUDGET, errors=[BUDGET], account_id=1),
        "throttled",
        17.0,
        source=MONDAY,
    ),
    RecordedAnswer("monday, at once", 200, {}, graphql("maxConcurrencyExceeded"), "concurrent", source=MONDAY),
    RecordedAnswer("monday, day", 200, {}, graphql("DAILY_LIMIT_EXCEEDED"), "exhausted", source=MONDAY),
    RecordedAnswer("monday, too complex", 200, {}, graphql("maxComplexityExceeded"), "served", source=MONDAY),
    *(
        RecordedAnswer(f"Meta {code}", 400, {}, meta(code), "throttled", source=META)
        for code in (4, 17, 32, 613, 80004, 130429)
    ),
    RecordedAnswer("Meta, token", 400, {}, meta(190), "served", source=META),
    RecordedAnswer(
        "Salesforce, day", 403, {}, salesforce("TotalRequests Limit exceeded."), "throttled", source=SALESFORCE
    ),
    RecordedAnswer(
        "Salesforce, at once",
        403,
        {},
        salesforce("ConcurrentRequests (Concurrent API Requests) Limit exceeded."),
        "concurrent",
        source=SALESFORCE,
    ),
    RecordedAnswer(
        "Azure DevOps, slowed down",
        200,
        {"Retry-After": "20", "X-RateLimit-Delay": "0.0"},
        text(value=[]),
        "served",
        pause=20.0,
        source="learn.microsoft.com, Azure DevOps, Rate and usage limits",
    ),
    RecordedAnswer(
        "Stack Exchange, backoff",
        200,
        {},
        text(items=ITEMS, has_more=True, backoff=10, quota_max=300, quota_remaining=290),
        "served",
        pause=10.0,
        source=STACK,
    ),
    *(
        RecordedAnswer(
            f"Stack Exchange, violation as {status}",
            status,
            {},
            text(error_id=502, error_name="throttle_violation", error_message="more requests available in 54 seconds"),
            "throttled",
            54.0,
            source=STACK,
        )
        for status in (400, 502)
    ),
    RecordedAnswer(
        "VK, a number and a sentence",
        200,
        {},
        text(error={"error_code": 6, "error_msg": "Too many requests per second"}),
        "throttled",
        source="dev.vk.com, Errors",
    ),
    RecordedAnswer(
        "a sentence of GraphQL", 200, {}, text(data=None, errors=[{"message": "Rate limit exceeded"}]), "throttled"
    ),
    RecordedAnswer(
        "ElevenLabs, plan",
        401,
        {},
        text(detail={"status": "quota_exceeded", "message": "You have 5 credits remaining"}),
        "exhausted",
        source="elevenlabs.io/docs, Errors",
    ),
    RecordedAnswer(
        "Selling Partner API",
        429,
        {"x-amzn-RateLimit-Limit": "0.5"},
        text(errors=[{"code": "QuotaExceeded", "message": "You exceeded your quota for the requested resource."}]),
        "throttled",
        source="developer-docs.amazon.com, Usage Plans and Rate Limits",
    ),
    RecordedAnswer(
        "Binance, banned",
        418,
        {"Retry-After": "60"},
        text(code=-1003, msg="Too many requests; IP banned."),
        "throttled",
        60.0,
        source="developers.binance.com, LIMITS",
    ),
    RecordedAnswer(
        "Shopify",
        200,
        {},
        text(errors=[{"extensions": {"code": "THROTTLED"}}], extensions={"cost": COST}),
        "throttled",
        2.0,
        source="shopify.dev, API limits",
    ),
    RecordedAnswer(
        "GraphQL, a part", 200, {}, graphql("THROTTLED", {"a": {"id": 1}, "b": None}), "throttled", processed=True
    ),
    RecordedAnswer(
        "GraphQL, one of a batch",
        200,
        {},
        b'[{"data": {"a": 1}}, ' + graphql("THROTTLED") + b"]",
        "throttled",
        processed=True,
    ),
    RecordedAnswer(
        "Slack",
        200,
        {"Retry-After": "4"},
        text(ok=False, error="ratelimited"),
        "throttled",
        4.0,
        "method",
        source="api.slack.com, Rate limits",
    ),
    RecordedAnswer(
        "Discord, all",
        429,
        {"X-RateLimit-Global": "true", "X-RateLimit-Scope": "global", "Retry-After": "65"},
        text(message="You are being rate limited.", retry_after=64.57, **{"global": True}),
        "throttled",
        64.57,
        "global",
        source="discord.com/developers, Rate Limits",
    ),
    RecordedAnswer(
        "AWS, JSON", 400, {}, text(__type="com.amazonaws.dynamodb#ThrottlingException"), "throttled", source=AWS
    ),
    RecordedAnswer("AWS, S3", 503, {}, b"<Error><Code>SlowDown</Code></Error>", "unavailable", source=AWS),
    RecordedAnswer("AWS, denied", 403, {}, b"<Error><Code>AccessDenied</Code></Error>", "served", source=AWS),
    RecordedAnswer(
        "Apigee",
        500,
        {},
        text(fault={"faultstring": "no", "detail": {"errorcode": "policies.ratelimit.SpikeArrestViolation"}}),
        "throttled",
        source="docs.apigee.com, SpikeArrest policy runtime error troubleshooting",
    ),
    RecordedAnswer(
        "Gemini, day",
        429,
        {},
        text(
            error={
                "status": "RESOURCE_EXHAUSTED",
                "details": [{"violations": [{"quotaId": "GenerateRequestsPerDayPerProject"}]}, {"retryDelay": "36s"}],
            }
        ),
        "exhausted",
        source="ai.google.dev, Rate limits",
    ),
]
