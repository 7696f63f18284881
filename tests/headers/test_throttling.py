"""Refusals in every form met in the wild, and what looks like one and is none."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polvo_adapters.headers import Throttled, throttled
from tests.support.header_samples import NOW, SOON, rest

GITHUB = {**rest("5000", "0", SOON), "X-RateLimit-Resource": "core"}
HEALTHY = {**rest("5000", "4000", SOON), "X-RateLimit-Resource": "core"}
SECONDARY = b'{"message":"You have exceeded a secondary rate limit. Please wait a few minutes"}'
PROBLEMS = "https://iana.org/assignments/http-problem-types#"


def text(**document: Any) -> bytes:
    return json.dumps(document).encode()


def graphql(code: str, **more: Any) -> bytes:
    return text(errors=[{"message": "no", "extensions": {"code": code}}], **more)


def problem(kind: str, *policies: Any) -> bytes:
    return text(type=PROBLEMS + kind, title="no", **({"violated-policies": list(policies)} if policies else {}))


def google(*reasons: str) -> bytes:
    return text(error={"code": 403, "message": "no", "errors": [{"domain": "x", "reason": each} for each in reasons]})


COST = {
    "cost": {
        "requestedQueryCost": 752,
        "throttleStatus": {"maximumAvailable": 1000.0, "currentlyAvailable": 252, "restoreRate": 50.0},
    }
}
CONCURRENT = {
    "RateLimit": '"slots";r=0, "pace";r=5;t=9',
    "RateLimit-Policy": '"slots";q=5;qu="concurrent-requests", "pace";q=10;w=10',
}

CASES: list[tuple[str, int, dict[str, str], bytes | None, Throttled | None]] = [
    ("bare", 429, {}, None, Throttled("rate", None, (), "429")),
    ("Retry-After", 429, {"Retry-After": "30"}, None, Throttled("rate", 30, (), "429")),
    ("zero says nothing", 429, {"Retry-After": "0", **rest("10", "0", "60")}, None, Throttled("rate", 60, (), "429")),
    ("nothing but zero", 429, {"Retry-After": "0"}, None, Throttled("rate", 0, (), "429")),
    ("its kin", 429, {"retry-after-ms": "1500"}, None, Throttled("rate", 1.5, (), "429")),
    ("X-", 429, {"X-RateLimit-Retry-After": "7"}, None, Throttled("rate", 7, (), "429")),
    ("Retry-After wins", 429, {"Retry-After": "3", **GITHUB}, None, Throttled("rate", 3, ("core",), "429")),
    ("reset", 429, rest("10", "0", "60"), None, Throttled("rate", 60, (), "429")),
    ("a reset with something left", 429, rest("10", "5", "60"), None, Throttled("rate", None, (), "429")),
    (
        "the 24 hours bind, not the quarter",
        429,
        {**rest("900", "899", SOON, "x-rate-limit-"), **rest("50", "0", str(int(NOW) + 999), "x-user-limit-24hour-")},
        None,
        Throttled("rate", 999, ("user-24hour",), "429"),
    ),
    ("Anthropic overloaded", 529, {}, b"", Throttled("rate", None, (), "529, overloaded")),
    ("503", 503, {}, None, None),
    ("503 with words", 503, {}, b"rate limit", None),
    ("503, Retry-After", 503, {"Retry-After": "3"}, None, Throttled("rate", 3, (), "503, Retry-After")),
    (
        "503, problem",
        503,
        {},
        problem("temporary-reduced-capacity", "a"),
        Throttled("rate", None, ("a",), "503, temporary-reduced-capacity"),
    ),
    ("GitHub", 403, GITHUB, None, Throttled("rate", 60, ("core",), "403, GitHub rate limit")),
    (
        "GitHub with its body",
        403,
        GITHUB,
        b'{"message":"API rate limit exceeded"}',
        Throttled("rate", 60, ("core",), "403, rate limit in its message"),
    ),
    ("GitHub 429", 429, GITHUB, None, Throttled("rate", 60, ("core",), "429")),
    ("GitHub, forbidden", 403, HEALTHY, b'{"message":"Must have admin rights"}', None),
    ("GitHub, forbidden, body unread", 403, HEALTHY, None, None),
    ("GitHub, forbidden on the last request", 403, GITHUB, b'{"message":"Must have admin rights"}', None),
    ("somebody else's 403", 403, rest("10", "0", "60"), None, None),
    (
        "GitHub, secondary",
        403,
        HEALTHY,
        SECONDARY,
        Throttled("rate", 60, (), "403, GitHub secondary rate limit"),
    ),
    (
        "GitHub, secondary, Retry-After",
        403,
        {**HEALTHY, "Retry-After": "7"},
        SECONDARY,
        Throttled("rate", 7, (), "403, GitHub secondary rate limit"),
    ),
    (
        "GitHub, secondary, nothing left",
        403,
        {**GITHUB, "X-RateLimit-Reset": str(int(NOW) + 900)},
        SECONDARY,
        Throttled("rate", 900, ("core",), "403, GitHub secondary rate limit"),
    ),
    (
        "GitHub, secondary, 429",
        429,
        HEALTHY,
        SECONDARY,
        Throttled("rate", 60, (), "429, GitHub secondary rate limit"),
    ),
    (
        "GitHub GraphQL",
        200,
        HEALTHY,
        text(errors=[{"type": "RATE_LIMITED", "message": "no"}]),
        Throttled("rate", 60, (), "200, GraphQL RATE_LIMITED"),
    ),
    (
        "GitHub GraphQL, nothing left",
        200,
        {**GITHUB, "X-RateLimit-Reset": str(int(NOW) + 900)},
        text(errors=[{"type": "RATE_LIMITED", "message": "no"}]),
        Throttled("rate", 900, ("core",), "200, GraphQL RATE_LIMITED"),
    ),
    (
        "Shopify GraphQL",
        200,
        {},
        graphql("THROTTLED", extensions=COST),
        Throttled("rate", 10, (), "200, GraphQL THROTTLED"),
    ),
    ("Shopify without cost", 200, {}, graphql("THROTTLED"), Throttled("rate", None, (), "200, GraphQL THROTTLED")),
    (
        "a batch",
        200,
        {},
        b'[{"data":1},' + graphql("THROTTLED") + b"]",
        Throttled("rate", None, (), "200, GraphQL THROTTLED", processed=True),
    ),
    ("another error of GraphQL", 200, {}, graphql("MAX_COST_EXCEEDED"), None),
    ("a text that only mentions it", 200, {}, text(data="THROTTLED", error="no"), None),
    (
        "Linear",
        400,
        rest("1500", "0", SOON + "000", "X-RateLimit-Requests-"),
        graphql("RATELIMITED"),
        Throttled("rate", 60, ("requests",), "400, GraphQL RATELIMITED"),
    ),
    (
        "Slack",
        429,
        {"Retry-After": "30"},
        text(ok=False, error="ratelimited"),
        Throttled("rate", 30, (), "429, Slack ratelimited", "method"),
    ),
    (
        "Slack, 200",
        200,
        {},
        text(ok=False, error="ratelimited"),
        Throttled("rate", None, (), "200, Slack ratelimited", "method"),
    ),
    ("Slack, all is well", 200, {}, text(ok=True, error="ratelimited"), None),
    ("Slack, another error", 200, {}, text(ok=False, error="channel_not_found"), None),
    (
        "Discord",
        429,
        {"Retry-After": "65", **rest("5", "0", str(NOW + 64.57)), "X-RateLimit-Bucket": "abcd"},
        text(message="You are being rate limited.", retry_after=64.57, **{"global": False}),
        Throttled("rate", 64.57, ("abcd",), "429, Discord"),
    ),
    (
        "Discord, global",
        429,
        {"X-RateLimit-Global": "true"},
        text(retry_after=0.5, **{"global": True}),
        Throttled("rate", 0.5, ("global",), "429, Discord", "global"),
    ),
    (
        "HubSpot, pace",
        429,
        {},
        text(policyName="TEN_SECONDLY_ROLLING", errorType="RATE_LIMIT"),
        Throttled("rate", None, ("ten_secondly_rolling",), "429, HubSpot TEN_SECONDLY_ROLLING"),
    ),
    (
        "HubSpot, day",
        429,
        {},
        text(policyName="DAILY", errorType="RATE_LIMIT"),
        Throttled("exhausted", None, ("daily",), "429, HubSpot DAILY"),
    ),
    (
        "OpenAI, plan",
        429,
        {},
        text(error={"message": "no", "type": "insufficient_quota", "code": "insufficient_quota"}),
        Throttled("exhausted", None, (), "429, insufficient_quota"),
    ),
    (
        "OpenAI, pace",
        429,
        {"x-ratelimit-limit-tokens": "9", "x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "1m23s"},
        text(error={"type": "tokens", "code": "rate_limit_exceeded"}),
        Throttled("rate", 83, ("tokens",), "429, rate_limit_exceeded"),
    ),
    (
        "Stripe, pace",
        429,
        {"Stripe-Rate-Limited-Reason": "endpoint-rate"},
        None,
        Throttled("rate", None, ("endpoint-rate",), "429, endpoint-rate"),
    ),
    (
        "Stripe, concurrency",
        429,
        {"Stripe-Rate-Limited-Reason": "global-concurrency"},
        None,
        Throttled("concurrency", None, ("global-concurrency",), "429, global-concurrency"),
    ),
    (
        "Stripe, a lock",
        429,
        {"Stripe-Should-Retry": "true"},
        text(error={"code": "lock_timeout", "type": "invalid_request_error"}),
        Throttled("concurrency", None, (), "429, lock_timeout"),
    ),
    (
        "Okta, pace",
        429,
        {**rest("600", "0", SOON, "X-Rate-Limit-"), "X-Okta-Request-Id": "x"},
        None,
        Throttled("rate", 60, (), "429"),
    ),
    (
        "Okta, concurrency",
        429,
        {**rest("0", "0", SOON, "X-Rate-Limit-"), "X-Okta-Request-Id": "x"},
        None,
        Throttled("concurrency", None, ("concurrency",), "429"),
    ),
    ("draft 8, concurrency", 429, CONCURRENT, None, Throttled("concurrency", None, ("slots",), "429")),
    (
        "draft 8, both",
        429,
        {**CONCURRENT, "RateLimit": '"slots";r=0, "pace";r=0;t=9'},
        None,
        Throttled("rate", 9, ("slots", "pace"), "429"),
    ),
    (
        "draft 9, only the violated policy counts",
        429,
        {"RateLimit": '"a";r=0;t=9, "b";r=0;t=900', "RateLimit-Policy": '"a";q=1, "b";q=1'},
        problem("quota-exceeded", "a", 5, "x\n"),
        Throttled("rate", 9, ("a",), "429, quota-exceeded"),
    ),
    (
        "draft 9, concurrency",
        429,
        CONCURRENT,
        problem("quota-exceeded", "slots"),
        Throttled("concurrency", None, ("slots",), "429, quota-exceeded"),
    ),
    (
        "abnormal usage",
        429,
        {},
        problem("abnormal-usage-detected"),
        Throttled("rate", None, (), "429, abnormal-usage-detected"),
    ),
    ("another problem", 403, {}, problem("about-quota"), None),
    ("Google, pace", 403, {}, google("rateLimitExceeded"), Throttled("rate", None, (), "403, rateLimitExceeded")),
    (
        "Google, user",
        403,
        {},
        google("userRateLimitExceeded"),
        Throttled("rate", None, (), "403, userRateLimitExceeded"),
    ),
    (
        "Google, day",
        403,
        {},
        google("dailyLimitExceeded"),
        Throttled("exhausted", None, (), "403, dailyLimitExceeded"),
    ),
    ("Google, forbidden", 403, {}, google("insufficientPermissions"), None),
    (
        "Google, RetryInfo",
        429,
        {},
        text(error={"status": "RESOURCE_EXHAUSTED", "details": [{"@type": "x"}, {"retryDelay": "34.5s"}]}),
        Throttled("rate", 34.5, (), "429, RESOURCE_EXHAUSTED"),
    ),
    (
        "AWS, JSON",
        400,
        {},
        text(__type="com.amazonaws.dynamodb#ThrottlingException", message="Rate exceeded"),
        Throttled("rate", None, (), "400, ThrottlingException"),
    ),
    (
        "AWS, JSON 2",
        400,
        {},
        text(code="TooManyRequestsException"),
        Throttled("rate", None, (), "400, TooManyRequestsException"),
    ),
    (
        "AWS, XML",
        400,
        {},
        b"<ErrorResponse><Error><Code>Throttling</Code></Error></ErrorResponse>",
        Throttled("rate", None, (), "400, Throttling"),
    ),
    (
        "AWS, header",
        400,
        {"x-amzn-ErrorType": "ThrottlingException:http://internal.amazon.com/"},
        None,
        Throttled("rate", None, (), "400, ThrottlingException"),
    ),
    ("AWS, another error", 400, {}, text(__type="ValidationException", message="LimitExceeded"), None),
    ("a sentence for a code", 400, {}, text(code="Throttling is off"), None),
    ("a message about throttling", 400, {}, text(code="bad", message="ThrottlingException"), None),
    ("a success", 200, {"Retry-After": "3", **rest("10", "0", "60")}, b'{"data":1}', None),
    ("a success without a body", 200, {}, None, None),
    ("not modified", 304, {"Retry-After": "3"}, None, None),
    ("a redirect with words", 301, {}, graphql("THROTTLED"), None),
    ("not found", 404, {"Retry-After": "3"}, b"rate limit", None),
    ("a body that is none", 400, {}, b'{"errors": THROTTLED', None),
    ("too deep", 400, {}, b"[" * 60_000 + b"THROTTLED", None),
    ("too long", 200, {}, graphql("THROTTLED", data="x" * 5000), None),
    (
        "an error may be longer",
        400,
        {},
        graphql("RATELIMITED", data="x" * 5000),
        Throttled("rate", None, (), "400, GraphQL RATELIMITED"),
    ),
]


@pytest.mark.parametrize(
    ("status", "headers", "body", "expected"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
def test_refusals(status: int, headers: dict[str, str], body: bytes | None, expected: Throttled | None) -> None:
    assert throttled(headers, status, body, NOW) == expected


def test_the_wait_is_not_shortened_by_quotas_that_are_not_violated() -> None:
    headers = {"RateLimit": '"a";r=0;t=9, "b";r=0;t=90, "c";r=1;t=900'}
    assert throttled(headers, 429, None, NOW) == Throttled("rate", 90.0, ("a", "b"), "429")


def test_words_of_the_server_are_short_and_printable() -> None:
    found = throttled({}, 429, text(policyName="x" * 1000), NOW)
    assert found == Throttled("rate", None, (), "429")
    found = throttled({"Stripe-Rate-Limited-Reason": "a\x00b"}, 429, None, NOW)
    assert found == Throttled("rate", None, (), "429")


WORDS = """
    errors error extensions code type ok reason policyName retry_after global details retryDelay status
    violated-policies __type cost throttleStatus requestedQueryCost currentlyAvailable restoreRate
"""
BODIES = st.recursive(
    st.none()
    | st.booleans()
    | st.floats()
    | st.integers()
    | st.sampled_from(
        ["THROTTLED", "ratelimited", "DAILY", "lock_timeout", "RESOURCE_EXHAUSTED", "#quota-exceeded", "\x00"]
    ),
    lambda each: (
        st.lists(each, max_size=3)
        | st.dictionaries(
            st.sampled_from(WORDS.split()),
            each,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@given(BODIES, st.sampled_from([200, 400, 403, 429, 503, 529]))
def test_no_body_raises(document: Any, status: int) -> None:
    found = throttled({}, status, json.dumps(document).encode(), NOW)
    assert found is None or found.retry_after is None or 0 <= found.retry_after <= 1e15
