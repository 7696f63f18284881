"""The recording of the published client, repeated by this library's client."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from polvo_adapters.services import ezthrottle
from tests.services.ezthrottle.recorded_cases import CASES, UNREPEATED, World
from tests.support.ezthrottle_server import EZThrottleServer

RECORDED = {
    row["case"]: row for row in map(json.loads, (Path(__file__).parent / "recorded.jsonl").read_text().splitlines())
}
RAISED = "raised"
VARIABLE = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")
OWN_KEYS = {"executed_locally", "status_code", "response", "error"}

IMPROVED: dict[str, tuple[int, Any]] = {
    # how many requests, and the name of the error that is raised or the values that are returned
    "submit_job all fields": (0, "ArgumentError"),  # a quorum of 2 with one webhook
    "submit_job body=dict (not a str)": (0, "ArgumentError"),
    "queue_and_wait timeout=1 (never polls)": (0, "UnsupportedError"),
    "Step no url": (0, "ArgumentError"),
    "Step no client": (0, "ArgumentError"),
    "EZThrottle() with env key only": (0, "ArgumentError"),  # there is no variable in this test
    "FRUGAL 500 fallback_on_error([429]) -> not forwarded": (3, {"status": "failed", "status_code": 500}),
    "FRUGAL POST 500 -> forwarded (double execution risk)": (1, {"status": "failed", "status_code": 500}),
    "FRUGAL POST read timeout -> forwarded": (1, "InDoubtError"),
    "FRUGAL dropped conn -> forwarded": (4, {"status": "queued"}),  # three attempts here
    "FRUGAL 404 + on_failure (never run?)": (2, {"status": "failed", "status_code": 404}),
    "FRUGAL 500 fallback FRUGAL 500 (fallback itself forwards, then primary forwards)": (3, {"status": "queued"}),
    "err 401": (1, "AuthenticationError"),
    "err 402": (1, "QuotaExceededError"),
    "err 403": (1, "AuthenticationError"),
    "err 429 Retry-After: 7": (3, "RateLimitError"),
    "err 429 body retry_at": (3, "RateLimitError"),
    "err 429 Retry-After HTTP-date": (3, "RateLimitError"),
    "err 429 Retry-After 1.5": (3, "RateLimitError"),
    "err 429 non-JSON": (3, "RateLimitError"),
    "err 500": (3, "EZThrottleError"),
    "err 503 Retry-After": (3, "EZThrottleError"),
    "200 not json": (1, "EZThrottleError"),
    "200 allowed no forwarded_response": (1, "EZThrottleError"),
    "200 allowed inner 409 duplicate": (1, "DuplicateJobError"),
    "200 allowed inner 429": (3, "RateLimitError"),
    "200 allowed inner 201 empty body": (1, "EZThrottleError"),
    "proxy down (conn refused)": (0, "EZThrottleError"),
    "redirect 307 from proxy keeps POST": (1, "EZThrottleError"),
    "create_webhook_secret short": (0, "ArgumentError"),
    "create_webhook_secret inner 400 (not checked)": (1, "EZThrottleError"),
    "rotate_webhook_secret (masked: drops the old secret)": (0, "ArgumentError"),
    "webhook secrets 429": (3, "RateLimitError"),
    "auto_forward no url": (0, "ArgumentError"),
    "forward_or_fallback 503": (3, "EZThrottleError"),
    "forward_or_fallback dropped after send (job may exist; fallback runs too)": (3, "InDoubtError"),
    "sig no t": (0, [False, "missing_timestamp"]),
    "sig spaces after comma": (0, [True, "valid"]),
    "sig two v1 (last wins)": (0, [True, "valid"]),
    "sig non-utf8 body": (0, [True, "valid"]),
    "sig non-int t": (0, [False, "missing_timestamp"]),
    "sig empty secret accepted": (0, "ArgumentError"),
    "FRUGAL 200 + on_success child whose submit is dropped (primary forwarded although it succeeded?)": (
        4,
        {"status": "success", "executed_locally": True},
    ),
    "FRUGAL 200 + on_success child whose submit is 429 (result lost?)": (
        4,
        {"status": "success", "executed_locally": True},
    ),
}
"""Where ours is better on purpose; the page of the documentation says how."""

OTHER_BODIES: dict[str, Any] = {
    "Step fallback both triggers (timeout dropped)": {"type": "on_error", "codes": [500], "timeout_ms": 500},
    "Step fallback that itself has fallback + second sibling (inner overwritten)": "https://inner",
}
"""Where the job itself is another one, because the published client loses a part of it; and that part."""


def make_call(world: World, case: str) -> tuple[Any, str]:
    """Return what a call returns, or the name of its error, and its message."""
    try:
        return CASES[case](world), ""
    except Exception as error:  # noqa: BLE001 - that is what is looked at
        return type(error).__name__, str(error)


def normalize(value: Any, server: EZThrottleServer) -> Any:
    text = json.dumps(value, sort_keys=True).replace(server.url, "http://RECORDER")
    return json.loads(VARIABLE.sub("UUID", re.sub(r"\bjob_\d+", "job_N", text)))


def strip(value: Any) -> Any:
    """Return a result without the keys that every result has here."""
    if isinstance(value, list):
        return [strip(each) for each in value]
    if not isinstance(value, ezthrottle.JobResult):
        return value
    assert set(value) >= OWN_KEYS
    shown = {name: each for name, each in value.items() if not (name in OWN_KEYS and each in (None, False))}
    if value["executed_locally"]:
        del shown["job_id"]
        shown.pop("on_success", None)
        shown.pop("fallback", None)
    return shown


def test_every_row_of_the_recording_is_repeated_or_told_why_not() -> None:
    assert set(RECORDED) == set(CASES) | set(UNREPEATED)
    assert set(IMPROVED) | set(OTHER_BODIES) <= set(CASES)


@pytest.mark.parametrize("case", CASES)
def test_ours_sends_and_returns_what_was_recorded_or_better(case: str, server: EZThrottleServer) -> None:
    row = RECORDED[case]
    got, message = make_call(World(server), case)
    sent = normalize([request.recorded() for request in server.received], server)
    recorded = normalize(row["requests"], server)
    if case in OTHER_BODIES:
        assert OTHER_BODIES[case] in _values_of(sent)
        assert OTHER_BODIES[case] not in _values_of(recorded)
    elif case not in IMPROVED:
        assert sent == recorded
    if case not in IMPROVED:
        expected = row["raised"].rpartition(".")[2] if RAISED in row else row["returned"]
        assert normalize(strip(got), server) == normalize(expected, server)
        return
    count, result = IMPROVED[case]
    assert len(sent) == count, sent
    assert all(request in recorded for request in sent) or "on_failure" in case
    if isinstance(result, dict):
        assert {name: got[name] for name in result} == result
        assert got["job_id"]
    else:
        assert got == result, message


def test_the_improved_cases_are_not_what_was_recorded() -> None:
    for case, (count, result) in IMPROVED.items():
        row = RECORDED[case]
        before = row["raised"].rpartition(".")[2] if RAISED in row else row["returned"]
        assert (count, result) != (len(row["requests"]), before), case


def _values_of(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [value, *(found for each in value.values() for found in _values_of(each))]
    if isinstance(value, list):
        return [found for each in value for found in _values_of(each)]
    return [value]
