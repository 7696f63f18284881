"""What real servers announce, read by `polvo_adapters.headers.parse`: the dialects as they are sent, not as documented.

The quota is 3 per minute, and each test is a new client, so that all numbers are known. express-rate-limit speaks all
its drafts, Flask-Limiter speaks X-RateLimit and sends Retry-After with every answer, nginx says nothing.
"""

from __future__ import annotations

import time

import pytest

from polvo_adapters import headers

EXPRESS = {
    "draft-6": ("ietf-06", "", 60.0),
    "draft-7": ("ietf-07", "", 60.0),
    "draft-8": ("ietf-08", "quota", 60.0),
    "legacy": ("x-ratelimit", "", None),
}
"""What is to be read from each way to announce: dialect, name and window."""
NEARLY_A_MINUTE = pytest.approx(60.0, abs=2.0)
"""Rounded up by the server, counted from a Date that is rounded down, and late by what the test takes."""


@pytest.mark.parametrize("way", EXPRESS)
def test_express_rate_limit(express, client, way):
    dialect, name, window = EXPRESS[way]
    for status, remaining in [(200, 2), (200, 1), (200, 0), (429, 0)]:
        (quota,) = read(client.get(f"{express}/{way}/3/60", timeout=10), status)
        assert (quota.dialect, quota.name, quota.window) == (dialect, name, window)
        assert (quota.limit, quota.remaining, quota.unit) == (3, remaining, "requests")
        assert (quota.reset, quota.resolution) == (NEARLY_A_MINUTE, 1.0)


def test_partition_key_is_sent_with_the_policy_alone(express, client):
    response = client.get(f"{express}/draft-8/3/60", timeout=10)
    (quota,) = read(response, 200)
    assert "pk=" not in response.headers["RateLimit"]
    assert quota.scope.strip(":") != ""
    assert quota.scope in response.headers["RateLimit-Policy"]


def test_two_dialects_at_once_are_one_quota(express, client):
    for status, remaining in [(200, 2), (200, 1), (200, 0), (429, 0)]:
        (quota,) = read(client.get(f"{express}/both/3/60", timeout=10), status)
        assert (quota.limit, quota.remaining, quota.window) == (3, remaining, 60.0)
        assert quota.reset == NEARLY_A_MINUTE


@pytest.mark.parametrize("strategy", ["fixed", "moving"])
def test_flask_limiter(flask_limiter, client, strategy):
    for status, remaining in [(200, 2), (200, 1), (200, 0), (429, 0)]:
        response = client.get(f"{flask_limiter}/{strategy}/3/60", timeout=10)
        (quota,) = read(response, status)
        assert (quota.dialect, quota.limit, quota.remaining) == ("x-ratelimit", 3, remaining)
        assert (quota.reset, quota.resolution) == (NEARLY_A_MINUTE, 1.0)
        assert "Retry-After" in response.headers


@pytest.mark.parametrize(
    ("way", "refusal", "told"), [("default", 503, None), ("bare", 429, None), ("told", 429, 1.0)], ids=str
)
def test_nginx_says_nothing(nginx, client, way, refusal, told):
    responses = [client.get(f"{nginx}/{way}", timeout=10) for _ in range(30)]
    assert responses[0].status_code == 200
    assert {response.status_code for response in responses} == {200, refusal}
    for response in responses:
        assert read(response, response.status_code) == []
        expected = told if response.status_code == refusal else None
        assert headers.retry_after(response.headers, time.time()) == expected


def read(response, status):
    """Return the quotas that a response with this status announces."""
    assert response.status_code == status
    return headers.parse(response.headers, status=response.status_code, now=time.time())
