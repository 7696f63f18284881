"""The hosted service: hostile answers, and a job that is submitted once whatever fails."""

from __future__ import annotations

import json
import pickle
import time
from email.utils import formatdate
from typing import Any

import pytest

from polvo_adapters import errors
from polvo_adapters.services import ezthrottle as ez
from polvo_adapters.services.ezthrottle import EZThrottle, EZThrottleError, Step
from polvo_adapters.testing.virtual_clock import VirtualClock
from tests.support.ezthrottle_server import KEY, EZThrottleServer, Reply, forwarded

URL = "https://api.example.com/x"
DEEP = b"[" * 100_000

HOSTILE: dict[str, Reply] = {
    **{
        f"body {body[:20]!r}": Reply(200, body) for body in (b"", b"null", b"[]", b"3", b'"x"', b"{", DEEP, b"\xff\xfe")
    },
    **{
        f"outer {value!r}": Reply(200, value)
        for value in ({}, {"status": None}, {"status": ["allowed"]}, {"status": "denied", "error": {"a": 1}})
    },
    **{
        f"inner {value!r}": Reply(200, {"status": "allowed", "forwarded_response": value})
        for value in (
            *(None, [], "x", 7, {}, {"status_code": "200"}, {"status_code": True}, {"status_code": 10**30}),
            *({"status_code": 201}, {"status_code": 201, "body": None}, {"status_code": 201, "body": 5}),
            *(
                {"status_code": 429, "headers": [], "body": None},
                {"status_code": 500, "headers": {"a": {}}, "body": []},
            ),
        )
    },
    **{
        f"job {value!r}"[:60]: forwarded(201, value)
        for value in (
            *([], None, {}, {"job_id": None}, {"job_id": 7}, {"job_id": ""}, {"job_id": ["j"]}, {"job_id": "j" * 9999}),
            *({"job_id": "j", "status": 3}, {"id": "j"}, "not json", "[" * 100_000),
        )
    },
    "retry_at text": Reply(429, {"error": "slow", "retry_at": "soon"}),
    "retry_at huge": Reply(429, {"error": "slow", "retry_at": 10**400}),
    "404 page": Reply(404, b"<html>" + b"x" * 10_000),
    "key in the text": Reply(400, {"error": f"bad {KEY}"}),
    "key in the denial": Reply(200, {"status": "denied", "error": f"{KEY} \x1b[31m {'y' * 5000}"}),
    "redirect": Reply(302, b"", {"Location": "http://127.0.0.1:9/"}),
    "204": Reply(204),
}


def client(server: EZThrottleServer, **keywords: Any) -> EZThrottle:
    return EZThrottle(KEY, server.url, clock=VirtualClock(), **keywords)


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_answer_is_an_error_of_ours(case: str, server: EZThrottleServer) -> None:
    server.always = HOSTILE[case]
    calls = [lambda: client(server).submit_job(URL), lambda: client(server).get_webhook_secret()]
    for call in calls[: 1 if case.startswith("job ") else 2]:
        with pytest.raises(EZThrottleError) as caught:
            call()
        error = caught.value
        shown = str(error) + repr(error) + repr(pickle.loads(pickle.dumps(error)))
        assert KEY not in shown
        assert "\x1b" not in shown
        assert len(str(error)) < 1000
        assert error.__cause__ is None is error.__context__
        assert error.response is None or KEY not in error.response.text


def test_an_error_says_what_happened_where_and_what_to_do(server: EZThrottleServer) -> None:
    server.always = Reply(429, {"error": "slow down"}, {"Retry-After": "7"})
    with pytest.raises(errors.RateLimitError) as caught:
        client(server).submit_job(URL)
    error = caught.value
    assert isinstance(error, EZThrottleError)
    assert (error.attempts, error.retry_after, error.status_code) == (3, 7.0, 429)
    assert error.retry_at is not None
    assert "429" in str(error)
    assert "slow down" in str(error)
    assert "3 attempts" in str(error)
    server.always = Reply(401, {})
    with pytest.raises(errors.AuthenticationError, match="EZTHROTTLE_API_KEY"):
        client(server).submit_job(URL)


@pytest.mark.parametrize(
    "fault", [Reply(drop=True), Reply(503, {}), Reply(429, {}, {"Retry-After": "1"}), Reply(500, {})]
)
@pytest.mark.parametrize("strategy", ["unique", "hash"])
def test_each_attempt_submits_the_same_job(server: EZThrottleServer, fault: Reply, strategy: str) -> None:
    server.script.extend([fault, fault])
    result = Step(client(server)).url(URL).method("POST").idempotent_strategy(strategy).execute()
    assert result["job_id"] == "job_1"
    bodies = {request.body for request in server.received}
    assert len(server.received) == 3
    assert len(bodies) == 1
    job = json.loads(json.loads(bodies.pop())["body"])
    assert ("idempotent_key" in job) == (strategy == "unique")


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_failure_of_the_service_behind_the_proxy_is_repeated(server: EZThrottleServer, status: int) -> None:
    server.script.extend([forwarded(status, {}), forwarded(status, "x")])
    assert client(server).submit_job(URL)["job_id"] == "job_1"
    later = time.time() + 3600
    inner = {"status_code": status, "headers": {"Retry-After": formatdate(later, usegmt=True)}, "body": "{}"}
    server.script.append(Reply(200, {"status": "allowed", "forwarded_response": inner}))
    with pytest.raises(EZThrottleError) as caught:
        EZThrottle(KEY, server.url).submit_job(URL)
    assert caught.value.retry_at is not None
    assert abs(caught.value.retry_at / 1000 - later) < 5


@pytest.mark.parametrize("reply", [forwarded(409, {"error": "duplicate"}), forwarded(200, {"status": "duplicate"})])
def test_a_duplicate_without_an_id_is_an_error(server: EZThrottleServer, reply: Reply) -> None:
    server.always = reply
    with pytest.raises(ez.DuplicateJobError, match="has a job with this key"):
        client(server).submit_job(URL)


def test_a_submission_whose_answers_are_lost_is_in_doubt(server: EZThrottleServer) -> None:
    server.always = Reply(drop=True)
    with pytest.raises(errors.InDoubtError, match="same key"):
        client(server).submit_job(URL)
    with pytest.raises(EZThrottleError) as caught:
        EZThrottle(KEY, "http://127.0.0.1:9", clock=VirtualClock()).submit_job(URL)
    assert not isinstance(caught.value, errors.InDoubtError)


def test_a_fallback_runs_only_where_there_is_no_job_for_certain(server: EZThrottleServer) -> None:
    calls: list[int] = []
    assert EZThrottle(KEY, "http://127.0.0.1:9", clock=VirtualClock()).forward_or_fallback(lambda: 7, URL) == 7
    server.always = Reply(drop=True)
    with pytest.raises(ez.InDoubtError):
        client(server).forward_or_fallback(lambda: calls.append(1), URL)
    assert not calls


def test_secrets_are_rotated_with_an_overlap(server: EZThrottleServer) -> None:
    client(server).rotate_webhook_secret("n" * 16, "o" * 16)
    body = json.loads(json.loads(server.received[0].body)["body"])
    assert body == {"primary_secret": "n" * 16, "secondary_secret": "o" * 16}
    with pytest.raises(ez.ArgumentError, match="old_secret"):
        client(server).rotate_webhook_secret("n" * 16)
