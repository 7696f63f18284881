"""What real servers send, and what it means: one or more samples of every dialect."""

from __future__ import annotations

from typing import Any, NamedTuple

from polvo_adapters.headers import Quota

NOW = 1_792_567_680.0  # Wed, 21 Oct 2026 07:28:00 GMT
SOON = str(int(NOW) + 60)
MILLISECONDS = str(int(NOW + 60) * 1000 + 500)


class Sample(NamedTuple):
    """A response and the quotas it announces."""

    name: str
    headers: dict[str, str]
    quotas: list[Quota]
    status: int = 200


def quota(dialect: str, limit: float | None, remaining: float | None, *values: Any, **named: Any) -> Quota:
    """Return a quota; positional are reset, window and resolution."""
    fields = dict(zip(("reset", "window", "resolution"), values, strict=False))
    return Quota(limit=limit, remaining=remaining, dialect=dialect, **fields, **named)


def rest(limit: str, remaining: str, reset: str, prefix: str = "X-RateLimit-") -> dict[str, str]:
    """Return the three headers that nearly everybody sends."""
    return {f"{prefix}Limit": limit, f"{prefix}Remaining": remaining, f"{prefix}Reset": reset}


IETF = [
    Sample(
        "A",
        rest("100, 100;w=10", "50", "50", "RateLimit-"),
        [quota("ietf-03", 100, 50, 50, 10, 1)],
    ),
    Sample(
        "A with several policies",
        rest("10, 10;w=1, 50;w=60, 1000;w=3600, 5000;w=86400", "9", "1", "RateLimit-"),
        [
            quota("ietf-03", 10, 9, 1, 1, 1),
            quota("ietf-03", 50, None, None, 60, confidence=0.9),
            quota("ietf-03", 1000, None, None, 3600, confidence=0.9),
            quota("ietf-03", 5000, None, None, 86400, confidence=0.9),
        ],
    ),
    Sample(
        "A with comments",
        rest('100, 100;w=60;burst=1000;comment="sliding window"', "50; sliding", "50 ;c", "RateLimit-"),
        [quota("ietf-03", 100, 50, 50, 60, 1)],
    ),
    Sample(
        "A with the window in the limit itself, as Docker Hub has it",
        {"RateLimit-Limit": "100;w=21600", "RateLimit-Remaining": "76;w=21600"},
        [quota("ietf-03", 100, 76, None, 21600)],
    ),
    Sample(
        "B",
        {**rest("100", "99", "30", "RateLimit-"), "RateLimit-Policy": "100;w=60"},
        [quota("ietf-06", 100, 99, 30, 60, 1)],
    ),
    Sample(
        "B with two policies of one size: the window that can last as long",
        {**rest("10", "9", "45", "RateLimit-"), "RateLimit-Policy": "10;w=1, 10;w=60"},
        [quota("ietf-06", 10, 9, 45, 60, 1), quota("ietf-06", 10, None, None, 1, confidence=0.9)],
    ),
    Sample("B without a policy", rest("3", "2", "3", "RateLimit-"), [quota("ietf-06", 3, 2, 3, None, 1)]),
    Sample("B, only what remains", {"RateLimit-Remaining": "4500"}, [quota("ietf-06", None, 4500)]),
    Sample(
        "B, what remains and one policy",
        {"RateLimit-Remaining": "45", "RateLimit-Policy": "50;w=1"},
        [quota("ietf-06", 50, 45, None, 1, confidence=0.6)],
    ),
    Sample("policies alone", {"RateLimit-Policy": "50;w=1"}, [quota("ietf-06", 50, None, None, 1, confidence=0.9)]),
    Sample(
        "C",
        {"RateLimit": "limit=100, remaining=50, reset=5", "RateLimit-Policy": "100;w=10, 1000;w=3600"},
        [quota("ietf-07", 100, 50, 5, 10, 1), quota("ietf-07", 1000, None, None, 3600, confidence=0.9)],
    ),
    Sample("C without what remains", {"RateLimit": "limit=10, reset=1"}, [quota("ietf-07", 10, None, 1, None, 1)]),
    Sample("C in another order", {"RateLimit": "reset=1,  limit=10"}, [quota("ietf-07", 10, None, 1, None, 1)]),
    Sample(
        "D",
        {"RateLimit": '"default";r=50;t=30', "RateLimit-Policy": '"default";q=100;w=60'},
        [quota("ietf-08", 100, 50, 30, 60, 1, name="default")],
    ),
    Sample(
        "D as express-rate-limit writes it",
        {"RateLimit": '"quota"; r=2; t=3', "RateLimit-Policy": '"quota"; q=3; w=3; pk=:cHsdsRa894==:'},
        [quota("ietf-08", 3, 2, 3, 3, 1, name="quota", scope="cHsdsRa894==")],
    ),
    Sample(
        "D with several policies",
        {"RateLimit": '"daily";r=1;t=80000', "RateLimit-Policy": '"burst";q=100;w=60,"daily";q=1000;w=86400'},
        [
            quota("ietf-08", 1000, 1, 80000, 86400, 1, name="daily"),
            quota("ietf-08", 100, None, None, 60, name="burst"),
        ],
    ),
    Sample(
        "D, partition keys tell policies of one name apart",
        {
            "RateLimit": '"p";r=1;t=2;pk=:Yg==:, "p";r=3;t=4;pk=:YQ==:',
            "RateLimit-Policy": '"p";q=10;w=60;pk=:YQ==:, "p";q=20;w=60;pk=:Yg==:',
        },
        [
            quota("ietf-08", 20, 1, 2, 60, 1, name="p", scope="Yg=="),
            quota("ietf-08", 10, 3, 4, 60, 1, name="p", scope="YQ=="),
        ],
    ),
    Sample(
        "D with units",
        {
            "RateLimit": '"slots";r=0, "volume";r=500;t=9',
            "RateLimit-Policy": '"slots";q=5;qu="concurrent-requests", "volume";q=1000;qu="bytes";w=10',
        },
        [
            quota("ietf-08", 5, 0, name="slots", unit="concurrent-requests"),
            quota("ietf-08", 1000, 500, 9, 10, 1, name="volume", unit="content-bytes"),
        ],
    ),
    Sample(
        "D, a token for a name and nothing about the rest",
        {"RateLimit": "quota;t=1"},
        [quota("ietf-08", None, None, 1, None, 1, name="quota")],
    ),
    Sample(
        "D, a malformed member beside a good one",
        {"RateLimit": 'a b;r=1, "b";r=5;t=3'},
        [quota("ietf-08", None, 5, 3, None, 1, name="b")],
    ),
    Sample(
        "D, parameters that are no numbers",
        {"RateLimit": '"a";r;t=3, "b";r=?1;t=4, "c";r="5";t=-5, "d";r=2;t=x'},
        [quota("ietf-08", None, 2, name="d")],
    ),
    Sample("D, a name with signs", {"RateLimit": '"a=b, \\"c\\"";r=5'}, [quota("ietf-08", None, 5, name='a=b, "c"')]),
    Sample("D without a policy", {"RateLimit": '"b";r=5;t=3'}, [quota("ietf-08", None, 5, 3, None, 1, name="b")]),
    Sample(
        "GitLab",
        {
            **rest("600", "599", SOON, "RateLimit-"),
            "RateLimit-ResetTime": "Wed, 21 Oct 2026 07:29:00 GMT",
            "RateLimit-Name": "throttle_authenticated_web",
            "RateLimit-Observed": "1",
        },
        [
            quota(
                "gitlab",
                600,
                599,
                60,
                None,
                1,
                name="throttle_authenticated_web",
                group="throttle_authenticated_web",
            )
        ],
    ),
    Sample(
        "GitLab, only the date",
        {"RateLimit-Limit": "60", "RateLimit-Remaining": "0", "RateLimit-ResetTime": "Wed, 21 Oct 2026 07:29:00 GMT"},
        [quota("gitlab", 60, 0, 60, None, 1)],
    ),
    Sample(
        "Unix time under the names of A",
        rest("10", "9", SOON, "RateLimit-"),
        [quota("ietf-06", 10, 9, 60, None, 1, confidence=0.9)],
    ),
]

VENDORS = [
    Sample("X-, delta", rest("100", "0", "60"), [quota("x-ratelimit", 100, 0, 60, None, 1, confidence=0.6)]),
    Sample("X-, epoch", rest("100", "9", SOON), [quota("x-ratelimit", 100, 9, 60, None, 1, confidence=0.9)]),
    Sample(
        "X-, float epoch",
        rest("100", "9", SOON + ".25"),
        [quota("x-ratelimit", 100, 9, 60.25, None, 0, confidence=0.9)],
    ),
    Sample(
        "X-, epoch in milliseconds",
        rest("100", "9", MILLISECONDS),
        [quota("x-ratelimit", 100, 9, 60.5, None, 0, confidence=0.9)],
    ),
    Sample(
        "X-, HTTP date",
        rest("100", "9", "Wed, 21 Oct 2026 07:29:00 GMT"),
        [quota("x-ratelimit", 100, 9, 60, None, 1, confidence=0.9)],
    ),
    Sample(
        "X-, RFC 3339",
        rest("100", "9", "2026-10-21T09:29:00.5+02:00"),
        [quota("x-ratelimit", 100, 9, 60.5, None, 0, confidence=0.9)],
    ),
    Sample(
        "X-, years ago", rest("100", "9", "1377013266"), [quota("x-ratelimit", 100, 9, None, None, 0, confidence=0.9)]
    ),
    Sample(
        "X-Rate-Limit",
        rest("100", "9", "60", "X-Rate-Limit-"),
        [quota("x-ratelimit", 100, 9, 60, None, 1, confidence=0.6)],
    ),
    Sample(
        "X-, two layers of servers: the tighter one",
        rest("100, 5", "99, 4", "60, 1"),
        [quota("x-ratelimit", 5, 4, 1, None, 1, confidence=0.6)],
    ),
    Sample(
        "X-, the same twice",
        rest("100, 100", "99", "60"),
        [quota("x-ratelimit", 100, 99, 60, None, 1, confidence=0.6)],
    ),
    Sample(
        "a reset and nothing else",
        {"X-RateLimit-Reset": "60"},
        [quota("x-ratelimit", None, None, 60, None, 1, confidence=0.6)],
    ),
    Sample(
        "windows in the names",
        {
            "X-RateLimit-Limit-Second": "5",
            "X-RateLimit-Remaining-Second": "4",
            "X-RateLimit-Limit-Hour": "1000",
            "X-RateLimit-Remaining-Hour": "999",
            "X-RateLimit-Limit-Day": "9999",
        },
        [
            quota("x-ratelimit", 5, 4, None, 1, name="second"),
            quota("x-ratelimit", 1000, 999, None, 3600, name="hour"),
            quota("x-ratelimit", 9999, None, None, 86400, name="day"),
        ],
    ),
    Sample(
        "Kong",
        {
            **rest("100", "99", "47", "RateLimit-"),
            "X-RateLimit-Limit-Minute": "100",
            "X-RateLimit-Remaining-Minute": "99",
            "X-RateLimit-Limit-Hour": "1000",
            "X-RateLimit-Remaining-Hour": "998",
        },
        [
            quota("kong", 100, 99, 47, 60, 1, name="minute"),
            quota("kong", 1000, 998, None, 3600, name="hour"),
        ],
    ),
    Sample(
        "GitHub",
        {**rest("5000", "4999", SOON), "x-ratelimit-used": "1", "x-ratelimit-resource": "core"},
        [quota("github", 5000, 4999, 60, None, 1, name="core", group="core")],
    ),
    Sample(
        "GitHub, a small number is no delay there",
        {**rest("5000", "4999", "60"), "x-ratelimit-resource": "search"},
        [quota("github", 5000, 4999, None, None, 0, name="search", group="search")],
    ),
    Sample(
        "X, formerly Twitter",
        {
            **rest("900", "899", SOON, "x-rate-limit-"),
            "x-app-limit-24hour-limit": "1500",
            "x-app-limit-24hour-remaining": "0",
            "x-app-limit-24hour-reset": str(int(NOW) + 3600),
            "x-user-limit-24hour-limit": "50",
            "x-user-limit-24hour-remaining": "49",
            "x-user-limit-24hour-reset": str(int(NOW) + 7200),
        },
        [
            quota("twitter", 900, 899, 60, 900, 1),
            quota("twitter", 1500, 0, 3600, 86400, 1, name="app-24hour", scope="app"),
            quota("twitter", 50, 49, 7200, 86400, 1, name="user-24hour", scope="user"),
        ],
    ),
    Sample("Shopify REST", {"X-Shopify-Shop-Api-Call-Limit": "32/40"}, [quota("shopify", 40, 8, 16, 20)]),
    Sample("Shopify Plus", {"X-Shopify-Shop-Api-Call-Limit": "1/400"}, [quota("shopify", 400, 399, 0.05, 20)]),
    Sample(
        "Discord",
        {
            **rest("5", "0", str(NOW + 64.57)),
            "X-RateLimit-Reset-After": "64.57",
            "X-RateLimit-Bucket": "abcd1234",
            "X-RateLimit-Scope": "user",
        },
        [quota("discord", 5, 0, 64.57, name="abcd1234", scope="user", group="abcd1234")],
    ),
    Sample(
        "Discord, the Unix time only",
        {**rest("5", "0", str(NOW + 64.5)), "X-RateLimit-Bucket": "abcd1234", "X-RateLimit-Global": "true"},
        [quota("discord", 5, 0, 64.5, name="abcd1234", scope="global", group="abcd1234")],
    ),
    Sample(
        "HubSpot",
        {
            "X-HubSpot-RateLimit-Daily": "250000",
            "X-HubSpot-RateLimit-Daily-Remaining": "249999",
            "X-HubSpot-RateLimit-Interval-Milliseconds": "10000",
            "X-HubSpot-RateLimit-Max": "100",
            "X-HubSpot-RateLimit-Remaining": "98",
            "X-HubSpot-RateLimit-Secondly": "10",
            "X-HubSpot-RateLimit-Secondly-Remaining": "9",
        },
        [
            quota("hubspot", 250000, 249999, None, 86400, name="daily"),
            quota("hubspot", 100, 98, None, 10, name="ten_secondly_rolling"),
            quota("hubspot", 10, 9, None, 1, name="secondly"),
        ],
    ),
    Sample(
        "Okta",
        {**rest("1200", "1199", SOON, "X-Rate-Limit-"), "X-Okta-Request-Id": "X2ab"},
        [quota("okta", 1200, 1199, 60, None, 1)],
    ),
    Sample(
        "Okta, the concurrent limit under the same names",
        {**rest("0", "0", SOON, "X-Rate-Limit-"), "X-Okta-Request-Id": "X2ab"},
        [quota("okta", None, 0, name="concurrency", unit="concurrent-requests", confidence=0.9)],
        429,
    ),
    Sample(
        "Linear",
        {
            **rest("1500", "1499", MILLISECONDS, "X-RateLimit-Requests-"),
            "X-Complexity": "72",
            **rest("250000", "249928", MILLISECONDS, "X-RateLimit-Complexity-"),
            **rest("60", "59", MILLISECONDS, "X-RateLimit-Endpoint-Requests-"),
            "X-RateLimit-Endpoint-Name": "issueCreate",
        },
        [
            quota("linear", 1500, 1499, 60.5, None, 0, name="requests"),
            quota("linear", 250000, 249928, 60.5, None, 0, name="complexity", unit="points"),
            quota("linear", 60, 59, 60.5, None, 0, name="endpoint-requests", group="issueCreate"),
        ],
    ),
    Sample(
        "Linear, told by the magnitude alone",
        rest("1500", "1499", MILLISECONDS, "X-RateLimit-Requests-"),
        [quota("linear", 1500, 1499, 60.5, None, 0, name="requests")],
    ),
    Sample(
        "RapidAPI",
        {**rest("500000", "499999", "2163603", "x-ratelimit-requests-"), "X-RapidAPI-Version": "1.2.8"},
        [quota("rapidapi", 500000, 499999, 2163603, None, 1, name="requests")],
    ),
    Sample(
        "RapidAPI, told by the magnitude alone",
        rest("500000", "499999", "2163603", "x-ratelimit-requests-"),
        [quota("rapidapi", 500000, 499999, 2163603, None, 1, name="requests", confidence=0.6)],
    ),
    Sample(
        "OpenAI",
        {
            "x-ratelimit-limit-requests": "500",
            "x-ratelimit-remaining-requests": "499",
            "x-ratelimit-reset-requests": "120ms",
            "x-ratelimit-limit-tokens": "30000",
            "x-ratelimit-remaining-tokens": "29000",
            "x-ratelimit-reset-tokens": "1m23s",
        },
        [
            quota("openai", 500, 499, 0.12, None, 0, name="requests"),
            quota("openai", 30000, 29000, 83, None, 1, name="tokens", unit="tokens"),
        ],
    ),
    Sample(
        "Groq",
        {"x-ratelimit-limit-requests": "14400", "x-ratelimit-reset-requests": "4h30m15.5s"},
        [quota("openai", 14400, None, 16215.5, None, 0, name="requests")],
    ),
    Sample(
        "Azure OpenAI",
        {
            "x-ratelimit-limit-tokens": "1000",
            "x-ratelimit-remaining-tokens": "900",
            "x-ratelimit-reset-tokens": "10",
            "x-ratelimit-renewalperiod-tokens": "60",
        },
        [quota("openai", 1000, 900, 10, 60, 1, name="tokens", unit="tokens", confidence=0.6)],
    ),
    Sample(
        "Anthropic",
        {
            **rest("50", "49", "2026-10-21T07:28:10Z", "anthropic-ratelimit-requests-"),
            **rest("40000", "39000", "2026-10-21T07:29:00Z", "anthropic-ratelimit-input-tokens-"),
            **rest("8000", "8000", "2026-10-21T07:28:00Z", "anthropic-ratelimit-priority-output-tokens-"),
        },
        [
            quota("anthropic", 50, 49, 10, None, 1, name="requests"),
            quota("anthropic", 40000, 39000, 60, None, 1, name="input-tokens", unit="tokens"),
            quota("anthropic", 8000, 8000, 0, None, 1, name="priority-output-tokens", unit="tokens"),
        ],
    ),
    Sample(
        "Reddit",
        {"X-Ratelimit-Used": "2", "X-Ratelimit-Remaining": "598.0", "X-Ratelimit-Reset": "123"},
        [quota("reddit", 600, 598, 123, None, 1, confidence=0.6)],
    ),
    Sample(
        "Atlassian",
        {**rest("100", "10", "2026-10-21T07:30Z"), "X-RateLimit-NearLimit": "true"},
        [quota("atlassian", 100, 10, 120, None, 60)],
    ),
    Sample(
        "Atlassian, the beta fields",
        {"Beta-RateLimit": '"app";r=13500;t=600', "Beta-RateLimit-Policy": '"app";q=65000;w=3600'},
        [quota("ietf-08", 65000, 13500, 600, 3600, 1, name="app")],
    ),
    Sample(
        "Salesforce",
        {"Sforce-Limit-Info": "api-usage=18/5000"},
        [quota("salesforce", 5000, 4982, None, 86400, name="api-usage")],
    ),
    Sample(
        "Salesforce, with the app's own",
        {"Sforce-Limit-Info": "api-usage=18/5000; per-app-api-usage=300/250(appName=x)"},
        [
            quota("salesforce", 5000, 4982, None, 86400, name="api-usage"),
            quota("salesforce", 250, 0, None, 86400, name="per-app-api-usage"),
        ],
    ),
    Sample(
        "Zendesk",
        {"X-Rate-Limit": "700", "X-Rate-Limit-Remaining": "699", "ratelimit-reset": "41"},
        [quota("zendesk", 700, 699, 41, None, 1)],
    ),
    Sample(
        "Zendesk, in both spellings",
        {"X-Rate-Limit": "700", "X-Rate-Limit-Remaining": "699", **rest("700", "699", "41", "ratelimit-")},
        [quota("zendesk", 700, 699, 41, None, 1)],
    ),
    Sample(
        "Zendesk, an endpoint",
        {"zendesk-ratelimit-tickets-index": "total=100; remaining=99; resets=41"},
        [quota("zendesk", 100, 99, 41, None, 1, name="tickets-index")],
    ),
    Sample(
        "Etsy",
        {
            "x-limit-per-second": "10",
            "x-remaining-this-second": "9",
            "x-limit-per-day": "10000",
            "x-remaining-today": "9999",
        },
        [quota("etsy", 10, 9, None, 1, name="second"), quota("etsy", 10000, 9999, None, 86400, name="day")],
    ),
    Sample(
        "Azure",
        {"x-ms-ratelimit-remaining-subscription-reads": "11999"},
        [quota("azure", None, 11999, name="subscription-reads")],
    ),
    Sample(
        "Azure, compute",
        {"x-ms-ratelimit-remaining-resource": "Microsoft.Compute/Get3Min;107,Microsoft.Compute/Get30Min;587,;x"},
        [
            quota("azure", None, 107, name="Microsoft.Compute/Get3Min"),
            quota("azure", None, 587, name="Microsoft.Compute/Get30Min"),
        ],
    ),
    Sample("Slack, Notion and Figma announce nothing", {"X-Figma-Rate-Limit-Type": "low", "Retry-After": "3"}, []),
]

BOTH = [
    Sample(
        "two vendors, two quotas that are equal by chance",
        {
            "X-Shopify-Shop-Api-Call-Limit": "32/40",
            "x-ratelimit-limit-requests": "40",
            "x-ratelimit-remaining-requests": "8",
        },
        [quota("shopify", 40, 8, 16, 20), quota("openai", 40, 8, name="requests")],
    ),
    Sample(
        "draft 6 and X-: the draft stays",
        {**rest("3", "2", "3", "RateLimit-"), "RateLimit-Policy": "3;w=3", **rest("3", "2", SOON)},
        [quota("ietf-06", 3, 2, 3, 3, 1)],
    ),
    Sample(
        "draft 7 and X-, what remains from the older one",
        {"RateLimit": "limit=10, reset=1", **rest("10", "7", SOON)},
        [quota("ietf-07", 10, 7, 1, None, 1)],
    ),
    Sample(
        "draft 8 and draft 6, the size from the older one",
        {"RateLimit": '"q";r=2;t=3', **rest("3", "2", "3", "RateLimit-")},
        [quota("ietf-08", 3, 2, 3, None, 1, name="q")],
    ),
    Sample(
        "two layers that mean two quotas",
        {**rest("1000", "900", "30", "RateLimit-"), **rest("3", "2", "3")},
        [quota("ietf-06", 1000, 900, 30, None, 1), quota("x-ratelimit", 3, 2, 3, None, 1, confidence=0.6)],
    ),
    Sample(
        "one vendor, two quotas that are equal by chance",
        {
            "X-Rate-Limit": "100",
            "X-Rate-Limit-Remaining": "99",
            "zendesk-ratelimit-search": "total=100; remaining=99; resets=41",
        },
        [quota("zendesk", 100, 99), quota("zendesk", 100, 99, 41, None, 1, name="search")],
    ),
]

TRELLO = {"interval-ms": "10000", "max": "100", "remaining": "99"}
ROWS = [
    Sample(
        "BigCommerce",
        {
            "X-Rate-Limit-Requests-Left": "35",
            "X-Rate-Limit-Requests-Quota": "150",
            "X-Rate-Limit-Time-Reset-Ms": "15000",
            "X-Rate-Limit-Time-Window-Ms": "30000",
        },
        [quota("bigcommerce", 150, 35, 15, 30)],
    ),
    Sample(
        "Strava, over its limit; windows end by the clock",
        {"X-RateLimit-Limit": "600,30000", "X-RateLimit-Usage": "692,29300", "X-ReadRateLimit-Limit": "100,1000"},
        [
            quota("strava", 600, 0, 120, 900, 1),
            quota("strava", 30_000, 700, 59_520, 86_400, 1),
            quota("strava", 100, None, 120, 900, 1, name="read"),
            quota("strava", 1000, None, 59_520, 86_400, 1, name="read"),
        ],
    ),
    Sample(
        "Strava, reads",
        {"X-ReadRateLimit-Limit": "100,1000", "X-ReadRateLimit-Usage": "1,250"},
        [
            quota("strava", 100, 99, 120, 900, 1, name="read"),
            quota("strava", 1000, 750, 59_520, 86_400, 1, name="read"),
        ],
    ),
    Sample(
        "Trello",
        {f"x-rate-limit-api-{kind}-{name}": value for kind in ("token", "key") for name, value in TRELLO.items()},
        [quota("trello", 100, 99, None, 10, name="api-token"), quota("trello", 100, 99, None, 10, name="api-key")],
    ),
    Sample(
        "Xero, which announces no size",
        {"X-MinLimit-Remaining": "59", "X-DayLimit-Remaining": "4999", "X-AppMinLimit-Remaining": "19999"},
        [
            quota("xero", 60, 59, None, 60, name="minute", confidence=0.6),
            quota("xero", 5000, 4999, None, 86_400, name="day", confidence=0.6),
            quota("xero", 19_999, 19_999, None, 60, name="app-minute", confidence=0.6),
        ],
    ),
    Sample(
        "Riot",
        {
            "X-App-Rate-Limit": "20:1,100:120",
            "X-App-Rate-Limit-Count": "1:1,7:120",
            "X-Method-Rate-Limit": "2000:60",
            "X-Method-Rate-Limit-Count": "3:60",
        },
        [
            quota("riot", 20, 19, None, 1, name="application", scope="global"),
            quota("riot", 100, 93, None, 120, name="application", scope="global"),
            quota("riot", 2000, 1997, None, 60, name="method"),
        ],
    ),
    Sample(
        "Crossref, which does not say what remains",
        {"X-Rate-Limit-Limit": "50", "X-Rate-Limit-Interval": "1s"},
        [quota("x-ratelimit", 50, None, None, 1, confidence=0.9)],
    ),
    Sample(
        "Jira Data Center, where ten tokens come every two seconds",
        {
            "X-RateLimit-Limit": "60",
            "X-RateLimit-Remaining": "40",
            "X-RateLimit-FillRate": "10",
            "X-RateLimit-Interval-Seconds": "2",
            "Retry-After": "0",
        },
        [quota("atlassian-dc", 60, 40, 4, 12, 1)],
    ),
    Sample(
        "Amazon, a rate alone",
        {"x-amzn-RateLimit-Limit": "0.0167"},
        [quota("amazon", 0.0167, None, unit="requests-per-second")],
    ),
    Sample(
        "Meta, the highest of the percentages",
        {"X-App-Usage": '{"call_count":28,"total_time":25,"total_cputime":31}'},
        [quota("meta", 100, 69, None, 3600, name="app", unit="percent")],
    ),
    Sample(
        "Meta, a business without access for 19 minutes",
        {
            "X-Business-Use-Case-Usage": '{"1":[{"type":"ads_management","call_count":100,"total_time":25,'
            '"estimated_time_to_regain_access":19}]}'
        },
        [quota("meta", 100, 0, 1140, 3600, 60, name="business", unit="percent")],
    ),
    Sample(
        "Meta, an ad account",
        {"X-Ad-Account-Usage": '{"acc_id_util_pct":9.5,"reset_time_duration":100}'},
        [quota("meta", 100, 90.5, 100, 3600, 60, name="ad-account", unit="percent")],
    ),
    Sample(
        "Azure DevOps, whose resource is no bucket",
        {
            **rest("200", "0", str(int(NOW) + 60)),
            "X-RateLimit-Resource": "core/throttling",
            "X-RateLimit-Delay": "0.1",
            "Retry-After": "20",
        },
        [quota("azure-devops", 200, 0, 60, None, 1)],
    ),
    Sample(
        "used in the place of remaining",
        {"X-RateLimit-Limit": "100", "X-RateLimit-Used": "7", "X-RateLimit-Reset": "30"},
        [quota("x-ratelimit", 100, 93, 30, None, 1, confidence=0.6)],
    ),
    Sample(
        "window and reset in milliseconds",
        {**rest("100", "93", "30"), "X-RateLimit-Reset-Ms": "1500", "X-RateLimit-Window-Ms": "10000"},
        [quota("x-ratelimit", 100, 93, 1.5, 10, 0, confidence=0.9)],
    ),
    Sample(
        "no dialect: words and milliseconds",
        {
            "X-Acme-RateLimit-Calls-Max": "100",
            "X-Acme-RateLimit-Calls-Consumed": "7",
            "X-Acme-RateLimit-Tokens-Left": "5000",
            "X-Acme-RateLimit-Reset-Ms": "1500",
        },
        [
            quota("x-ratelimit", 100, 93, 1.5, name="acme", confidence=0.9),
            quota("x-ratelimit", None, 5000, 1.5, name="acme-tokens", unit="tokens", confidence=0.9),
        ],
    ),
    Sample(
        "no dialect: pairs of an amount and a window",
        {"X-Acme-Rate-Limit": "20:1,100:30", "X-Acme-Rate-Limit-Count": "1:1,2:30"},
        [quota("x-ratelimit", 20, 19, None, 1, name="acme"), quota("x-ratelimit", 100, 98, None, 30, name="acme")],
    ),
    Sample(
        "no dialect: a quota of the day",
        {"X-API-Quota-Daily-Limit": "100", "X-API-Quota-Daily-Used": "7", "X-API-Quota-Daily-Reset": SOON},
        [quota("x-ratelimit", 100, 93, 60, 86_400, 1, name="day", confidence=0.9)],
    ),
    Sample("a quota of storage is none of requests", {"X-Storage-Quota-Limit": "100", "X-Storage-Quota-Used": "7"}, []),
]

ALL = [*IETF, *VENDORS, *BOTH, *ROWS]

NASTY = [
    "", " ", "\x00", "-1", "-0", "1e309", "nan", "inf", "Infinity", "9" * 16, "9" * 400, "0" * 64, "1" * 4097, "٣",
    "²", "½", "1_000", "0x10", "+5", "5;", ";5", ",", "," * 4000, '"', '"' * 999, "a=" * 999, '"a";' * 999,
    '"a";r=1,' * 500, "1;w=1," * 600, "1/0", "/", "0/0", "1/", ":" * 999, "(" * 4000, "\\" * 4000, "=" * 4000,
    "limit=", "limit=1" * 500, "a=1/2;" * 600, "a;1," * 900, "total=;remaining=", "1h" * 30, "9" * 60 + "s", "µ" * 64,
    "9999-12-31T23:59:59Z", "0000-00-00T00:00Z", "Wed, 21 Oct 9999 07:28:00 GMT", "\ud800", "x" * 1_000_000,
]  # fmt: skip
"""Values that no server should send."""
