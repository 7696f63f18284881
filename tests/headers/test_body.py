"""Quotas that are announced in bodies."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polvo_adapters.headers import Quota, parse_body


def shopify(limit: Any, remaining: Any, rate: Any, data: Any = None) -> bytes:
    state = {"maximumAvailable": limit, "currentlyAvailable": remaining, "restoreRate": rate}
    return json.dumps({"data": data, "extensions": {"cost": {"throttleStatus": state}}}).encode()


LINEAR = (
    b'{"data":{"rateLimitStatus":{"limits":[{"type":"COMPLEXITY","allowedAmount":250000,"period":3600000,'
    b'"remainingAmount":249000,"reset":1792567680000}]}}}'
)
BUCKET = Quota("graphql", 2000.0, 1900.0, 1.0, 20.0, "points", dialect="shopify")


@pytest.mark.parametrize(
    ("body", "quotas"),
    [
        (shopify(2000.0, 1900, 100.0), [BUCKET]),
        (shopify(2000, 1900, 100, ["x" * 100] * 10_000), [BUCKET]),
        (shopify(2000, 1900, 0), [Quota("graphql", 2000.0, 1900.0, unit="points", dialect="shopify")]),
        (shopify(2000, 3000, 100), [BUCKET._replace(remaining=3000.0, reset=0.0)]),
        (shopify("2000", 1900, 100), []),
        (shopify(-1, 1900, 100), []),
        (b'{"extensions":{"cost":{"throttleStatus":{"maximumAvailable":NaN,"currentlyAvailable":1}}}}', []),
        (b'{"extensions":{"cost":{"throttleStatus":{"maximumAvailable":1e309,"currentlyAvailable":1}}}}', []),
        (b'{"extensions":{"cost":{"throttleStatus":', []),
        (b'{"throttleStatus"}', []),
        (
            b'{"data":{"rateLimit":{"limit":5000,"cost":1,"remaining":4999,"resetAt":"2026-10-21T08:28:00Z"}}}',
            [Quota("graphql", 5000.0, 4999.0, unit="points", dialect="github", group="graphql")],
        ),
        (
            LINEAR,
            [Quota("complexity", 250000.0, 249000.0, None, 3600.0, "points", confidence=0.9, dialect="linear")],
        ),
        (b'{"data":{"rateLimit":null}}', []),
        (b'{"data":{"rateLimit":[1]}}', []),
        (b'["rateLimit"]', []),
        (b'{"data":{"rateLimit":', []),
        (b"<html>throttleStatus</html>", []),
        (b'{"rateLimit":' + b"[" * 60_000, []),
        (b"", []),
        (None, []),
        ("text", []),
    ],
)
def test_bodies(body: Any, quotas: list[Quota]) -> None:
    assert parse_body(body) == quotas


@given(
    st.binary(max_size=200) | st.binary(max_size=80).map(lambda tail: b'{"throttleStatus":{"maximumAvailable":' + tail)
)
def test_nothing_raises(body: bytes) -> None:
    parse_body(body)
