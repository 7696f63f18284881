"""Codes of refusals: the same words in every spelling, at every place, with every status."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polvo_adapters.headers import throttled
from polvo_adapters.headers.body import find_pause
from polvo_adapters.headers.codes import classify_code, find_wait, is_complaint
from polvo_adapters.headers.markers import may_refuse

WORDS = {
    "rate limit exceeded": "rate",
    "user rate limit exceeded": "rate",
    "rate limited": "rate",
    "throttling exception": "rate",
    "throttle violation": "rate",
    "too many requests": "rate",
    "too many api calls": "rate",
    "request limit exceeded": "rate",
    "complexity budget exhausted": "rate",
    "max concurrency exceeded": "concurrency",
    "concurrent request limit exceeded": "concurrency",
    "too many concurrent requests": "concurrency",
    "insufficient quota": "exhausted",
    "daily limit exceeded": "exhausted",
    "monthly api quota reached": "exhausted",
    "invalid rate limit": None,
    "rate limit not found": None,
    "validation exception": None,
    "concurrent modification": None,
    "access denied": None,
    "storage quota exceeded": None,
    "corporate limits": None,
    "payment limit exceeded": None,
}
SPELLINGS: dict[str, Callable[[list[str]], str]] = {
    "snake": "_".join,
    "screaming": lambda words: "_".join(words).upper(),
    "kebab": "-".join,
    "dotted": lambda words: "policies." + ".".join(words),
    "Pascal": lambda words: "".join(word.title() for word in words),
    "camel": lambda words: words[0] + "".join(word.title() for word in words[1:]),
}
PLACES: dict[str, Callable[[str], Any]] = {
    "at the top": lambda code: {"code": code},
    "an error code at the top": lambda code: {"errorCode": code, "message": "no"},
    "an error": lambda code: {"error": code},
    "in the error": lambda code: {"error": {"code": code}},
    "the type of the error": lambda code: {"error": {"type": code, "message": "no"}},
    "in the first of the errors": lambda code: {"errors": [{"code": code}]},
    "in its extensions": lambda code: {"data": None, "errors": [{"extensions": {"code": code}}]},
    "in the detail of a fault": lambda code: {"fault": {"detail": {"errorcode": code}}},
    "in a list": lambda code: [{"errorCode": code}],
}
IN_A_SUCCESS = {
    "an error code at the top",
    "an error",
    "in the error",
    "the type of the error",
    "in the first of the errors",
    "in its extensions",
    "in a list",
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("words", WORDS)
def test_the_spelling_does_not_matter(words: str, spelling: str) -> None:
    assert classify_code(SPELLINGS[spelling](words.split())) == WORDS[words]


@pytest.mark.parametrize("status", [200, 400, 403, 500, 503])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("words", WORDS)
def test_the_place_matters_in_a_success_alone(words: str, place: str, status: int) -> None:
    kind = WORDS[words] if status >= 400 or place in IN_A_SUCCESS else None
    body = json.dumps(PLACES[place](SPELLINGS["screaming"](words.split()))).encode()
    refusal = throttled({}, status, body)
    assert (None if refusal is None else refusal.kind) == kind


def test_a_device_login_that_is_too_fast_is_left_to_its_own_pace() -> None:
    assert (classify_code("SlowDown"), classify_code("slow_down")) == ("rate", None)


@pytest.mark.parametrize(
    "data",
    [
        {"id": 1, "code": "THROTTLED"},
        {"rules": [{"code": "THROTTLED"}], "errors": []},
        {"ok": True, "error": "rate_limited"},
        {"success": True, "errors": [{"code": "rate_limited"}]},
        [{"type": "rate_limited"}],
    ],
)
def test_the_data_of_a_success_is_no_refusal(data: Any) -> None:
    assert throttled({}, 200, json.dumps(data).encode()) is None


@pytest.mark.parametrize(
    ("document", "processed"),
    [
        ({"errors": [{"code": "THROTTLED"}]}, False),
        ({"errors": [{"code": "THROTTLED"}], "data": None}, False),
        ({"errors": [{"code": "THROTTLED"}], "data": []}, False),
        ({"errors": [{"code": "THROTTLED"}], "data": {"a": None}}, False),
        ({"errors": [{"code": "THROTTLED"}], "data": {"a": {}}}, True),
        ({"errors": [{"code": "THROTTLED"}], "results": [1]}, True),
        ([{"errors": [{"code": "THROTTLED"}]}, {"data": {"a": 1}}], True),
    ],
)
def test_what_comes_with_data_was_processed_in_part(document: Any, processed: bool) -> None:
    refusal = throttled({}, 200, json.dumps(document).encode())
    assert refusal is not None
    assert refusal.processed == processed


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Please try again in 1.5s.", 1.5),
        ("try again in 20 seconds", 20.0),
        ("available in 1 second", 1.0),
        ("try again in 350ms", 0.35),
        ("reset in 17 seconds", 17.0),
        ("again in 6m0s", 360.0),
        ("again in 2 minutes", 120.0),
        ("Too Many Requests: retry after 35", 35.0),
        ("Quota will be replenished in 01:12:31.", 4351.0),
        ("again in 5 min", 300.0),
        ("again in 5 shops", None),
        ("", None),
    ],
)
def test_waits_in_words(text: str, seconds: float | None) -> None:
    assert find_wait(text) == seconds


@pytest.mark.parametrize(
    "fields",
    [
        {"retry_after": 7},
        {"retryAfter": "7"},
        {"retry_in_seconds": 7},
        {"retry_after_ms": 7000},
        {"retryAfterSeconds": 7},
        {"message": "retry in 7 s"},
    ],
)
@pytest.mark.parametrize("holder", ["error", "extensions"])
def test_waits_in_fields(fields: dict[str, Any], holder: str) -> None:
    error: dict[str, Any] = {"code": "RATE_LIMIT_EXCEEDED"}
    error = {**error, **fields} if holder == "error" else {**error, "extensions": fields}
    refusal = throttled({}, 400, json.dumps({"error": error}).encode())
    assert refusal is not None
    assert refusal.retry_after == 7


@pytest.mark.parametrize("text", ["Rate limit exceeded", "You have exceeded your API rate limit", "Too many requests"])
def test_sentences(text: str) -> None:
    assert is_complaint(text)
    assert not is_complaint(text[: len(text) // 2])


PAGE = [{"title": "x" * 100}] * 30


@pytest.mark.parametrize(
    ("document", "pause"),
    [
        ({"items": [], "backoff": 10}, 10),
        ({"items": PAGE, "has_more": True, "backoff": 10, "quota_max": 300, "quota_remaining": 290}, 10),
        ({"items": PAGE * 40, "has_more": True, "backoff": 10, "quota_max": 300, "quota_remaining": 290}, 10),
        ({"backoff": 3, "items": PAGE * 40, "quota_remaining": 290}, 3),
        ({"items": [{"backoff": 10}], "quota_remaining": 290}, None),
        ({"spec": {"backoff": 10}}, None),
        ({"backoff": 10}, None),
        ({"items": [], "backoff": -1}, None),
        ({"items": [], "backoff": "x"}, None),
        (["backoff"], None),
    ],
)
def test_the_pause_that_a_page_of_items_asks_for(document: Any, pause: float | None) -> None:
    assert find_pause(json.dumps(document).encode()) == pause


@given(st.binary(max_size=300))
def test_hostile_texts_are_harmless(body: bytes) -> None:
    for text in (body, b'{"items": 1, "backoff": ' + body, b'{"error": {"code": "THROTTLED", "retry_after": ' + body):
        assert find_pause(text) is None or find_pause(text) >= 0  # type: ignore[operator]
        assert throttled({}, 200, text) is None or may_refuse(text)
        throttled({}, 400, text)
    classify_code(body.decode("latin-1"))
    find_wait(body.decode("latin-1"))
