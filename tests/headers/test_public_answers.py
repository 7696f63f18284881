"""Answers of public APIs that are in no table, and what each of them is, by its status, headers and body.

A line of `public_answers.jsonl` is a name, a status, headers, a body (text, or a document), the kind, and the wait.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from polvo_adapters.core.calls import Call
from polvo_adapters.core.judgement import verdict_of
from polvo_adapters.core.verdict import Verdict
from tests.support.flow_stepper import answered

ROWS = [json.loads(line) for line in Path(__file__).with_name("public_answers.jsonl").read_text().splitlines()]
REFUSAL = '{"error": {"code": "TooManyRequests", "message": "Límite"}}'
ENCODINGS = {
    "UTF-8": REFUSAL.encode(),
    "UTF-8 with a mark": REFUSAL.encode("utf-8-sig"),
    "UTF-16": REFUSAL.encode("utf-16"),
    "Latin-1": REFUSAL.encode("latin-1"),
    "guarded": b")]}'\n" + REFUSAL.encode(),
}


def judge(status: int, headers: dict[str, str], body: bytes) -> Verdict:
    outcome = answered(status)._replace(headers={key.lower(): headers[key] for key in headers}, body=body)
    return verdict_of(Call("GET", "https://api.example.com/items"), outcome)


def test_verdicts() -> None:
    """In one test, as each row takes a hundredth of what a test takes."""
    wrong: list[Any] = []
    for name, status, headers, document, kind, wait in ROWS:
        body = (document if isinstance(document, str) else json.dumps(document)).encode()
        verdict = judge(status, headers, body)
        if verdict.kind != kind or wait not in (None, verdict.retry_after):
            wrong.append((name, verdict, kind, wait))
    assert wrong == []


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_encoding_does_not_matter(encoding: str) -> None:
    assert judge(400, {}, ENCODINGS[encoding]).kind == "throttled"
    if encoding != "UTF-16":  # the marker words of a success are not found in it
        assert judge(200, {}, ENCODINGS[encoding]).kind == "throttled"
