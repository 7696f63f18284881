"""Refusals of APIs that no table lists, and answers that only look like refusals."""

from __future__ import annotations

import json
from typing import Any

import pytest

from polvo_adapters.headers import parse, parse_body, throttled
from polvo_adapters.headers.body import find_pause

REFUSALS: list[tuple[str, int, Any, str]] = [
    ("a writer's limit in a tag", 409, {"error": {".tag": "too_many_write_operations"}}, "rate"),
    ("a number for the error, and a message", 200, {"error": 29, "message": "Rate limit exceeded"}, "rate"),
    ("a flag for the error, and a message", 200, {"error": True, "message": "Too many requests"}, "rate"),
    ("weight", 418, {"code": -1003, "msg": "Way too much request weight used; IP banned"}, "rate"),
    ("a list of sentences", 200, {"error": ["EAPI:Rate limit exceeded"], "result": {}}, "rate"),
    ("a status beside a message", 200, {"error_message": "no", "results": [], "status": "OVER_QUERY_LIMIT"}, "rate"),
    ("of a day", 200, {"error_message": "no", "results": [], "status": "OVER_DAILY_LIMIT"}, "exhausted"),
    ("calls of a plan", 403, {"statusCode": 403, "message": "Out of call volume quota. Replenished soon"}, "exhausted"),
    ("456", 456, {"message": "Quota exceeded"}, "exhausted"),
    ("keys in capitals", 401, {"Response": "False", "Error": "Request limit reached!"}, "rate"),
    ("usage", 200, {"success": False, "error": {"code": 104, "type": "usage_limit_reached"}}, "exhausted"),
    ("of a month", 429, {"message": "You have exceeded the MONTHLY quota for Requests on your plan"}, "exhausted"),
    ("the throttle of a day", 429, {"message": "Resource level throttle DAY limit for calls is reached."}, "exhausted"),
    ("a code as a message", 400, {"error": {"message": "too_many_requests", "code": 10028}}, "rate"),
    ("JSON-RPC", 200, {"jsonrpc": "2.0", "id": 1, "error": {"code": 1, "message": "request rate exceeded"}}, "rate"),
    ("JSON-RPC, of a day", 200, {"id": 1, "error": {"message": "daily request count exceeded"}}, "exhausted"),
    ("apostrophes", 400, {"message": "You've exceeded your rate limit, so it can't be served"}, "rate"),
    ("a page", 403, b"<html><title>x | Request Rate Threshold Exceeded</title>", "rate"),
    *(("requests that are too fast", 400, {"message": message}, "rate") for message in (
        *("Request too frequently. Please try again later.", "access too frequent, please try again later"),
        *("Requests for this service are arriving too quickly.  Please retry later.", "Your calls are too fast"),
        *("Requests from your IP address are coming too rapidly", "You are making requests too quickly."),
        "Calls are too quick",
        "You are attempting to use this endpoint too frequently. Limit is 40 requests in 1 second",
    )),
    ("XML", 403, b"<error><message>Rate limit exceeded</message></error>", "rate"),
    ("a line", 403, b"Rate limit exceeded\n", "rate"),
]  # fmt: skip
OTHERS: list[tuple[str, int, Any]] = [
    *((f"a setting, {code}", 422, {"error": {"code": code}}) for code in (
        *("rate_limit_rule_exists", "duplicate_rate_limit", "rate_limit_id_required", "ThrottlingPolicyConflict"),
        *("RateLimitRuleNameTaken", "request_rate_limit_too_high", "NoSuchRateLimit", "RateLimitUpdateForbidden"),
    )),
    ("a quoted name", 403, {"message": "Only admins may see the report 'too many requests'"}),
    ("a quoted tag", 400, {"message": 'No tag "too many requests" in this list'}),
    ("a name in capitals", 400, {"name": "rate_limited", "error": {"code": "bad_name", "message": "taken"}}),
    ("the state of a thing", 422, {"status": "throttled", "error": "cannot transition"}),
    ("the state of a job", 409, {"id": "1", "status": "throttled", "error": {"code": "already_running"}}),
    ("a job that has failed", 200, {"id": "1", "status": "failed", "error": {"code": "rate_limit_exceeded"}}),
    ("a list of errors met", 200, {"errors": [{"id": 1, "type": "ThrottlingException", "count": 12}], "total": 1}),
    ("too large", 413, {"error": {"code": "request_limit_exceeded", "message": "body too large"}}),
    ("too large for the quota of a minute", 413, {"error": {"code": "rate_limit_exceeded"}}),
    ("seats", 403, {"code": "plan_limit_reached", "message": "Your plan allows 5 users"}),
    ("mails", 403, {"message": "You have reached the monthly mail limit"}),
    ("a refused credential", 401, {"error": "invalid_token", "error_description": "too many requests with it"}),
    *(("what is too fast, but no request", 400, {"message": message}) for message in (
        *("Your request was too fast for our review team: upload again", "Access card swiped too quickly"),
        *("Requests for vacation may not be made too frequently", "Phone calls were placed too quickly"),
        "Requests of a customer for refunds come too frequently",
    )),
    ("no error", 200, {"error": False, "message": "Too many requests"}),
    ("no error, by number", 200, {"error": 0, "message": "Too many requests"}),
    ("a long page", 403, b"x" * 1000 + b" rate limit exceeded"),
]  # fmt: skip


def encode(document: Any) -> bytes:
    return document if isinstance(document, bytes) else json.dumps(document).encode()


@pytest.mark.parametrize(
    ("status", "document", "kind"), [row[1:] for row in REFUSALS], ids=[row[0] for row in REFUSALS]
)
def test_refusals_of_strangers(status: int, document: Any, kind: str) -> None:
    refusal = throttled({}, status, encode(document))
    assert refusal is not None
    assert refusal.kind == kind


@pytest.mark.parametrize(("status", "document"), [row[1:] for row in OTHERS], ids=[row[0] for row in OTHERS])
def test_what_only_looks_like_a_refusal(status: int, document: Any) -> None:
    assert throttled({}, status, encode(document)) is None


def test_a_short_wait_counts_for_more_than_a_sentence() -> None:
    body = encode({"message": "The daily request limit was reached"})
    kinds = [throttled({"Retry-After": seconds}, 429, body) for seconds in ("5", "3600")]
    assert [each and each.kind for each in kinds] == ["rate", "exhausted"]


NOW = 1_800_000_000.0
YEARS = "100000000"
SOON, SOON_MS = str(int(NOW) + 60), str((int(NOW) + 60) * 1000)
QUOTAS: list[tuple[str, dict[str, str], list[tuple[float | None, float | None, float | None, float | None]]]] = [
    (
        "names before the numbers",
        {
            "X-RateLimit-Limit": "name=hour,100;name=minute,10;",
            "X-RateLimit-Remaining": "name=hour,93;name=minute,9;",
        },
        [(100, 93, None, None), (10, 9, None, None)],
    ),
    (
        "seconds of the window in the name",
        {"X-RateLimit-Limit-30": "5", "X-RateLimit-Remaining-30": "4"},
        [(5, 4, None, 30)],
    ),
    ("used of limit", {"X-Recharge-Limit": "3/40"}, [(40, 37, None, 20)]),
    ("allotted and current", {"X-Plan-QPS-Allotted": "5", "X-Plan-QPS-Current": "1"}, [(5, 4, None, 1)]),
    (
        "the kind of the window before the name",
        {"RateLimit": '"api";r=499;t=212', "RateLimit-Policy": '"fixed window";"api";q=500;w=300'},
        [(500, 499, 212, 300)],
    ),
    (
        "seconds of the window",
        {"X-RateLimit-Limit": "300", "X-RateLimit-Remaining": "299", "X-RateLimit-Window-Sec": "3600"},
        [(300, 299, None, 3600)],
    ),
    (
        "a reset for a dimension",
        {"X-RateLimit-Route-Remaining": "4", "X-RateLimit-Reset": SOON_MS},
        [(None, 4, 60, None)],
    ),
    (
        "remaining seconds",
        {"X-Rate-Limit-Limit": "9", "X-Rate-Limit-Remaining": "4", "X-Rate-Limit-Remaining-Seconds": "20"},
        [(9, 4, 20, None)],
    ),
    (
        "thousands",
        {"X-RateLimit-Limit": "15,000", "X-RateLimit-Remaining": "14,999", "X-RateLimit-Reset": "60"},
        [(15000, 14999, 60, None)],
    ),
    ("two layers", {"X-RateLimit-Limit": "100, 200", "X-RateLimit-Remaining": "99, 100"}, [(100, 99, None, None)]),
    ("two layers, close", {"X-RateLimit-Limit": "100,200", "X-RateLimit-Remaining": "99,100"}, [(100, 99, None, None)]),
    (
        "the lists of the drafts under another name",
        {
            "x-ratelimit-limit": '100, 100;w=1;name="app", 1000;w=60;name="org"',
            "x-ratelimit-remaining": "99",
            "x-ratelimit-reset": "1",
        },
        [(100, 99, 1, 1), (1000, None, None, 60)],
    ),
    (
        "minutely",
        {
            "X-RateLimit-Minutely-Limit": "60",
            "X-RateLimit-Minutely-Remaining": "59",
            "X-RateLimit-Minutely-Reset": SOON_MS,
        },
        [(60, 59, 60, 60)],
    ),
    (
        "milliseconds",
        {"gw-ratelimit-limit": "500", "gw-ratelimit-remaining": "300", "gw-ratelimit-reset": "1489"},
        [(500, 300, 1.489, None)],
    ),
    (
        "a status for what remains",
        {"X-Bapi-Limit": "100", "X-Bapi-Limit-Status": "99", "X-Bapi-Limit-Reset-Timestamp": SOON_MS},
        [(100, 99, 60, None)],
    ),
    (
        "a timestamp",
        {
            "X-Gate-RateLimit-Requests-Remain": "39",
            "X-Gate-RateLimit-Limit": "40",
            "X-Gate-RateLimit-Reset-Timestamp": SOON,
        },
        [(40, 39, 60, None)],
    ),
    ("requests, plainly", {"x-requests-remaining": "499", "x-requests-used": "1"}, [(500, 499, None, None)]),
    ("of a day", {"X-Daily-Requests-Left": "9"}, [(None, 9, None, 86_400)]),
    ("of a minute", {"X-Requests-Available-Minute": "9"}, [(None, 9, None, 60)]),
    (
        "points",
        {"X-API-Quota-Request": "1", "X-API-Quota-Used": "12", "X-API-Quota-Left": "138"},
        [(150, 138, None, None)],
    ),
    (
        "a bucket that fills for years",
        {
            "X-RateLimit-Limit": "1377013266",
            "X-RateLimit-Remaining": "40",
            "X-RateLimit-FillRate": "10",
            "X-RateLimit-Interval-Seconds": "2",
        },
        [(1377013266, 40, None, 1377013266 / 5)],
    ),
    *(
        (
            spelling,
            {"X-RateLimit-Limit": "100", "X-RateLimit-Remaining": "99", "X-RateLimit-Reset": spelling},
            [(100, 99, 60, None)],
        )
        for spelling in (
            *(
                "PT60S",
                "PT1M",
                "60 seconds",
                "1 minute",
                "1min",
                "0 hours 1 minute",
                SOON_MS + "000",
                SOON_MS + "000000",
            ),
            *("Fri Jan 15 2027 08:01:00 GMT+0000 (Coordinated Universal Time)", "2027-01-15T09:01:00+01:00"),
            "Fri Jan 15 2027 09:01:00 GMT+0100 (Central European Standard Time)",
        )
    ),
    *(
        (spelling, {"X-RateLimit-Limit": spelling, "X-RateLimit-Remaining": "99"}, [(100, 99, None, 60)])
        for spelling in (
            *(
                "100/minute",
                "100 per minute",
                "100/1m",
                "100 / 60s",
                "100;w=60",
                "100, 100;window=60",
                "100 per 1 minute",
            ),
        )
    ),
    (
        "a period for the limit",
        {"X-Rate-Limit-Limit": "1m", "X-Rate-Limit-Remaining": "9", "X-Rate-Limit-Reset": "2027-01-15T08:01:00Z"},
        [(None, 9, 60, 60)],
    ),
    (
        "a bucket and its rate",
        {"X-RateLimit-Remaining": "9", "X-RateLimit-Burst-Capacity": "20", "X-RateLimit-Replenish-Rate": "10"},
        [(20, 9, 1.1, 2)],
    ),
    ("less than nothing", {"X-RateLimit-Limit": "9", "X-RateLimit-Remaining": "-1"}, [(9, 0, None, None)]),
    ("no limit", {"X-RateLimit-Limit": "-1", "X-RateLimit-Remaining": "-1"}, []),
    *(
        (name, {f"{name}Limit": "50", f"{name}Remaining": "49", f"{name}Reset": SOON}, [(50, 49, 60, None)])
        for name in (
            *(
                "X-RateLimit-User",
                "X-RateLimit-Path",
                "X-FloodControl-",
                "X-RL-",
                "X-API-",
                "X-Api-Request-",
                "X_RateLimit_",
            ),
            *("X-Post-Rate-Limit-", "Acme-RateLimit-", "X-Call-", "X-RateLimit-Burst-"),
        )
    ),
    (
        "others words for the same",
        {"X-Ratelimit-Allowed": "120", "X-Ratelimit-Available": "119", "X-Ratelimit-Expiry": SOON_MS},
        [(120, 119, 60, None)],
    ),
    (
        "one reset of zero for two",
        {
            "X-Acme-RateLimit-Hour-Limit": "36000",
            "X-Acme-RateLimit-Hour-Remaining": "35883",
            "X-Acme-RateLimit-Second-Limit": "10",
            "X-Acme-RateLimit-Second-Remaining": "9",
            "X-Acme-RateLimit-Reset": "0",
        },
        [(36000, 35883, None, 3600), (10, 9, None, 1)],
    ),
    (
        "a burst",
        {
            "X-RateLimit-Limit": "3000",
            "X-RateLimit-Remaining": "2999",
            "X-RateLimit-Reset": SOON,
            "X-BurstLimit-Limit": "500",
            "X-BurstLimit-Remaining": "499",
        },
        [(500, 499, None, 30), (3000, 2999, 60, None)],
    ),
    *(
        (
            f"the state of another policy, {left}",
            {"RateLimit-Limit": "3, 3;w=1, 60;w=60", "RateLimit-Remaining": str(left), "RateLimit-Reset": "20"},
            [(60, left, 20, 60), (3, None, None, 1)],
        )
        for left in (59, 2, 0)
    ),
    ("per minute", {"X-RateLimit-Limit-Per-Minute": "9", "X-RateLimit-Remaining-Per-Minute": "8"}, [(9, 8, None, 60)]),
    (
        "the category of a day",
        {
            "X-RateLimit-Type": "Daily-limit",
            "X-RateLimit-Category": "Heavy",
            "X-RateLimit-Limit": "5000",
            "X-RateLimit-Remaining": "0",
        },
        [(5000, 0, 57600, 86400)],
    ),
    ("time", {"x-acme-ratelimit-time-remaining": "0.5"}, []),
    ("a name", {"X-Quota-Id": "9", "X-Quota-User": "3", "X-Quota-Class": "1"}, []),
    ("mails", {"X-Email-Quota-Remaining": "0", "X-Sms-Quota-Left": "0", "X-Mail-Quota-Used": "9"}, []),
    ("seats", {"X-Users-Quota-Limit": "5", "X-Users-Quota-Remaining": "0", "X-Seats-Quota-Left": "0"}, []),
    ("containers", {"X-Container-Quota-Max": "4", "X-Account-Meta-Quota-Count": "5"}, []),
    ("not of requests", {"X-Items-Left": "0", "X-Pending-Requests-Count": "4", "X-Requests-Id": "7"}, []),
]


@pytest.mark.parametrize(("headers", "quotas"), [row[1:] for row in QUOTAS], ids=[row[0] for row in QUOTAS])
def test_quotas_of_strangers(headers: dict[str, str], quotas: list[Any]) -> None:
    found = parse(headers, 200, NOW)
    assert [(each.limit, each.remaining, each.reset, each.window) for each in found] == quotas


@pytest.mark.parametrize("prefix", ["X-", "X-Concurrency-Limit-", "X-RateLimit-Concurrent-", "X-Concurrent-Requests-"])
def test_what_is_under_way_is_told_from_what_is_sent(prefix: str) -> None:
    name = "Concurrent-" if prefix == "X-" else ""
    quotas = parse({f"{prefix}{name}Limit": "5", f"{prefix}{name}Remaining": "4"}, 200, NOW)
    assert [(each.limit, each.remaining, each.unit) for each in quotas] == [(5, 4, "concurrent-requests")]


def test_a_bucket_that_is_named_by_others_than_discord() -> None:
    told = {"X-RateLimit-Bucket": "general", "X-RateLimit-Limit": "60", "X-RateLimit-Remaining": "21"}
    assert [(each.dialect, each.group) for each in parse(told, 200, NOW)] == [("x-ratelimit", "general")]


@pytest.mark.parametrize(
    ("name", "text", "seconds"),
    [
        ("X-Rate-Limit-Retry-After-Seconds", "12", 12),
        ("RateLimit-Retry-After", "12", 12),
        ("X-Retry-After", "12", 12),
        ("Retry-After-Short", "12", None),
        ("X-Retry-In", "1.5s", 1.5),
        ("X-Rate-Limit-Retry-After-Ms", "1500", 1.5),
        ("X-Retry-In", "soon", None),
        ("X-Retry-After", YEARS, None),
    ],
)
def test_names_like_retry_after(name: str, text: str, seconds: float | None) -> None:
    refusal = throttled({name: text}, 429, None, NOW)
    assert refusal is not None
    assert refusal.retry_after == seconds


def test_a_bucket_in_a_body_that_fills_for_years() -> None:
    state = {"maximumAvailable": 1e12, "currentlyAvailable": 1, "restoreRate": 1}
    (quota,) = parse_body(encode({"extensions": {"cost": {"throttleStatus": state}}}))
    assert (quota.limit, quota.reset) == (1e12, None)


DATE = {"Date": "Fri, 15 Jan 2027 08:00:00 GMT"}


@pytest.mark.parametrize(
    ("headers", "document", "seconds"),
    [
        ({"Retry-After": "2027-01-15T08:01:00Z"}, {}, 60),
        ({"Retry-After": "2027-01-15T10:01:00+02:00", **DATE}, {}, 60),
        ({"Retry-After": YEARS}, {}, None),
        ({"Retry-After": "2999-01-01T00:00:00Z"}, {}, None),
        ({"Retry-After": "Tue, 01 Jan 2999 00:00:00 GMT"}, {}, None),
        ({"retry-after-ms": YEARS + "000"}, {}, None),
        ({"X-RateLimit-Retry-After": YEARS}, {}, None),
        ({}, {"error": {"code": "rate_limited", "retry_after": 1e14}}, None),
        ({}, {"message": "no", "retry_after": 1e14, "global": True}, None),
        ({"Retry-After": "7"}, {"message": "no", "retry_after": 1e14, "global": True}, 7),
        ({}, {"ok": False, "description": "Too Many Requests", "parameters": {"retry_after": 35}}, 35),
    ],
)
def test_delays_that_can_be_meant(headers: dict[str, str], document: Any, seconds: float | None) -> None:
    """One delay of years by mistake would end all calls for as long."""
    refusal = throttled(headers, 429, encode(document), NOW)
    assert refusal is not None
    assert refusal.retry_after == seconds


def test_a_pause_that_can_be_meant() -> None:
    pauses = [find_pause(encode({"items": [], "backoff": seconds, "quota_remaining": 9})) for seconds in (10, 1e14)]
    assert pauses == [10, None]


WAITS: list[tuple[str, int, dict[str, str], Any, float | None]] = [
    ("a duration", 429, {"Retry-After": "PT1M"}, {}, 60),
    ("a duration of Go", 429, {"Retry-After": "1m30s"}, {}, 90),
    ("a unit", 503, {"Retry-After": "30 seconds"}, {}, 30),
    ("two layers", 429, {"Retry-After": "30, 60"}, {}, 60),
    ("quotation marks", 429, {"Retry-After": '"5"'}, {}, 5),
    ("a parameter", 429, {"Retry-After": "120;q=1"}, {}, 120),
    ("a decimal comma, or a list", 429, {"Retry-After": "1,2"}, {}, None),
    ("negative", 429, {"Retry-After": "-5"}, {}, None),
    ("a moment under another name", 429, {"X-RateLimit-RetryAfter": SOON}, {}, 60),
    ("a reset of an unknown quota", 429, {"Acme-Rate-Limit-Reset": "17"}, {}, 17),
    ("a reset and a limit", 429, {"X-Rate-Limit-Limit": "300", "X-Rate-Limit-Reset": SOON}, {}, 60),
    ("deep in the body", 429, {}, {"error_extra": {"again": {"retry_after": 9}}}, 9),
    ("a moment in a sentence", 418, {}, {"msg": f"Too many requests; IP banned until {SOON_MS}."}, 60),
    ("in quotation marks", 429, {}, {"message": "Please try again after '6' seconds."}, 6),
    ("in words", 429, {}, {"message": "Too many calls. Please wait 1 hour and 2 minutes"}, 3720),
    (
        "XML",
        500,
        {},
        b"<f><faultcode>a:ErrorServerBusy</faultcode><BackOffMilliseconds>2500</BackOffMilliseconds></f>",
        2.5,
    ),
]


@pytest.mark.parametrize(
    ("status", "headers", "document", "wait"), [row[1:] for row in WAITS], ids=[row[0] for row in WAITS]
)
def test_waits_of_strangers(status: int, headers: dict[str, str], document: Any, wait: float | None) -> None:
    refusal = throttled(headers, status, encode(document), NOW)
    assert refusal is not None
    assert refusal.retry_after == wait


CODES_IN_HEADERS = [
    (403, {"X-Mashery-Error-Code": "ERR_403_DEVELOPER_OVER_QPS"}, "rate"),
    (403, {"X-Mashery-Error-Code": "ERR_403_DEVELOPER_INACTIVE"}, None),
    (429, {"X-Rate-Limit-Problem": "day"}, "exhausted"),
    (429, {"X-Rate-Limit-Problem": "day", "Retry-After": "5"}, "rate"),
    (429, {"X-Rate-Limit-Problem": "concurrent"}, "concurrency"),
    (503, {"X-Envoy-Overloaded": "true"}, "rate"),
    (409, {"X-RateLimit-Remaining": "0", "X-RateLimit-ToWait-Sec": "3800"}, "rate"),
    (409, {"X-RateLimit-Remaining": "3", "X-RateLimit-ToWait-Sec": "3800"}, None),
    (403, {"X-RateLimit-Remaining": "0", "Retry-After": "30"}, None),  # flask-limiter sends both with all responses
    (400, {"X-RateLimit-Reason": "none"}, None),
]


@pytest.mark.parametrize(("status", "headers", "kind"), CODES_IN_HEADERS)
def test_codes_in_headers(status: int, headers: dict[str, str], kind: str | None) -> None:
    refusal = throttled(headers, status, b"")
    assert (refusal and refusal.kind) == kind


@pytest.mark.parametrize(
    ("status", "document", "processed"),
    [
        (429, {"error": {"code": "rate_limited"}}, False),
        (503, {"message": "Rate limit exceeded"}, False),
        (500, {"message": "Rate limit exceeded"}, True),
        (502, {"error": {"code": "rate_limited", "message": "upstream"}}, False),
        (500, {"message": "upstream failed", "details": [{"code": "rate_limit_exceeded"}]}, True),
        (500, {"fault": {"detail": {"errorcode": "policies.ratelimit.SpikeArrestViolation"}}}, False),
    ],
)
def test_a_server_that_was_refused_itself_may_have_begun(status: int, document: Any, processed: bool) -> None:
    refusal = throttled({}, status, encode(document))
    assert refusal is not None
    assert refusal.processed is processed
