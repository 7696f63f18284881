"""FRUGAL: what is made here, what is forwarded, and what must not be made again."""

from __future__ import annotations

import json
from typing import Any

import pytest

from polvo_adapters import errors
from polvo_adapters.policies.ratelimit import TokenBucket
from polvo_adapters.services import ezthrottle as ez
from polvo_adapters.services.ezthrottle import EZThrottle, Step, StepType
from polvo_adapters.testing.virtual_clock import VirtualClock
from tests.support.ezthrottle_server import KEY, EZThrottleServer, Reply

KEYS = {"job_id", "status", "executed_locally", "status_code", "response", "error"}


@pytest.fixture
def client(server: EZThrottleServer) -> EZThrottle:
    return EZThrottle(KEY, server.url, clock=VirtualClock())


def frugal(client: EZThrottle, url: str, method: str = "GET") -> Step:
    return Step(client).url(url).type(StepType.FRUGAL).method(method)


def jobs(server: EZThrottleServer) -> list[Any]:
    return [json.loads(json.loads(request.body)["body"]) for request in server.at("/api/")]


METHODS = ("GET", "PUT", "DELETE", "POST", "PATCH")
END = {
    # the response, whether codes are named, and what becomes of an idempotent call and of another
    "200": (Reply(200), False, "success", "success"),
    "404": (Reply(404), False, "failed", "failed"),
    "429": (Reply(429), False, "queued", "queued"),
    "503": (Reply(503), False, "queued", "failed"),
    "503 with Retry-After": (Reply(503, b"", {"Retry-After": "9"}), False, "queued", "queued"),
    "500": (Reply(500), False, "queued", "failed"),
    "500 named": (Reply(500), True, "queued", "queued"),
    "404 named": (Reply(404), True, "queued", "queued"),
    "502 not named": (Reply(502), True, "failed", "failed"),
    "lost": (Reply(drop=True), False, "queued", "in doubt"),
    "lost, named": (Reply(drop=True), True, "queued", "in doubt"),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("case", END)
def test_what_becomes_of_a_call(case: str, method: str, server: EZThrottleServer, client: EZThrottle) -> None:
    reply, named, safe, unsafe = END[case]
    server.routes["/own"] = lambda request: reply
    step = frugal(client, server.url + "/own", method)
    if named:
        step.fallback_on_error([404, 429, 500])
    expected = unsafe if method in ("POST", "PATCH") else safe
    if expected == "in doubt":
        with pytest.raises(errors.InDoubtError, match="find out"):
            step.execute()
    else:
        result = step.execute()
        assert result["status"] == expected
        assert set(result) >= KEYS
        assert result["job_id"]
        assert result["executed_locally"] == (expected != "queued")
    assert len(jobs(server)) == (expected == "queued")
    if method in ("POST", "PATCH"):
        assert len(server.at("/own")) == 1


def test_a_call_that_never_left_is_forwarded(server: EZThrottleServer, client: EZThrottle) -> None:
    assert frugal(client, "http://127.0.0.1:9/x", "POST").execute()["status"] == "queued"
    assert len(jobs(server)) == 1


def test_an_open_circuit_and_a_used_up_limit_forward(server: EZThrottleServer) -> None:
    client = EZThrottle(KEY, server.url, clock=VirtualClock(), circuit_breaker={"failure_threshold": 2}, retry=False)
    server.routes["/own"] = lambda request: Reply(500)
    for _ in range(2):
        frugal(client, server.url + "/own").fallback_on_error([503]).execute()
    assert frugal(client, server.url + "/own", "POST").execute()["status"] == "queued"
    assert len(server.at("/own")) == 2


def test_a_redirected_post_whose_last_hop_is_lost_is_in_doubt(server: EZThrottleServer, client: EZThrottle) -> None:
    server.routes["/own"] = lambda request: Reply(303, b"", {"Location": "http://127.0.0.1:9/x"})
    with pytest.raises(ez.InDoubtError):
        frugal(client, server.url + "/own", "POST").execute()
    assert not jobs(server)


def test_a_child_that_cannot_be_submitted_neither_repeats_nor_hides_the_primary(
    server: EZThrottleServer, client: EZThrottle
) -> None:
    for fault in (Reply(drop=True), Reply(500), Reply(200, b"<html>")):
        server.always = fault
        server.received.clear()
        result = (
            frugal(client, server.url + "/target/200", "POST").on_success(Step().url("https://n.example.com")).execute()
        )
        assert result["status"] == "success"
        assert result["on_success"]["status"] in ("failed", "in_doubt")
        assert result["on_success"]["error"]
        assert len(server.at("/target")) == 1


def test_a_forwarded_step_takes_its_chain_along_and_nothing_of_it_runs_here(
    server: EZThrottleServer, client: EZThrottle
) -> None:
    after = frugal(client, server.url + "/target/200")
    result = frugal(client, server.url + "/target/429").on_success(after).on_failure(after).execute()
    assert result["status"] == "queued"
    assert "on_success" not in result
    assert [sorted(job) for job in jobs(server)] == [["method", "on_failure", "on_success", "url"]]
    assert len(server.at("/target")) == 1


def test_on_failure_runs_once_where_everything_has_failed(server: EZThrottleServer, client: EZThrottle) -> None:
    alert = frugal(client, server.url + "/target/200?alert")
    backup = frugal(client, server.url + "/target/404")
    result = frugal(client, server.url + "/target/404").fallback(backup).on_failure(alert).execute()
    assert result["status"] == "failed"
    assert result["on_failure"]["status"] == "success"
    assert [request.path for request in server.at("/target")] == ["/target/404", "/target/404", "/target/200?alert"]


def test_fallbacks_are_tried_in_order_where_their_trigger_fits(server: EZThrottleServer, client: EZThrottle) -> None:
    first = frugal(client, server.url + "/target/201")
    second = frugal(client, server.url + "/target/404")
    third = frugal(client, server.url + "/target/202")
    step = (
        frugal(client, server.url + "/target/404").fallback(first, [500]).fallback(second, [404]).fallback(third, [404])
    )
    result = step.execute()
    assert (result["status"], result["status_code"], result["fallback"]) == ("success", 202, True)
    assert [request.path[8:] for request in server.at("/target")] == ["404", "404", "202"]


def test_a_fallback_on_time_out_runs_for_a_post_as_the_caller_has_said(
    server: EZThrottleServer, client: EZThrottle
) -> None:
    slow = frugal(client, server.url + "/target/slow", "POST")
    backup = frugal(client, server.url + "/target/200")
    assert slow.fallback(backup, trigger_on_timeout=100).execute()["status_code"] == 200
    server.received.clear()
    with pytest.raises(ez.InDoubtError):
        frugal(client, server.url + "/target/slow", "POST").local_timeout(0.1).fallback(backup).execute()
    assert len(server.received) == 1


def test_a_fallback_post_that_may_have_been_processed_is_not_forwarded(
    server: EZThrottleServer, client: EZThrottle
) -> None:
    lost = frugal(client, server.url + "/target/drop", "POST")
    with pytest.raises(ez.InDoubtError):
        frugal(client, server.url + "/target/500").fallback(lost, [500]).execute()
    assert not jobs(server)
    assert len(server.at("/target/drop")) == 1


def test_a_fallback_of_the_engine_becomes_the_job_where_the_primary_is_not_forwarded(
    server: EZThrottleServer, client: EZThrottle
) -> None:
    result = frugal(client, server.url + "/target/404").fallback(Step().url("https://b.example.com"), [404]).execute()
    assert result["status"] == "queued"
    assert [job["url"] for job in jobs(server)] == ["https://b.example.com"]


def test_a_rate_limit_of_the_client_counts_for_calls_made_here(server: EZThrottleServer) -> None:
    client = EZThrottle(KEY, server.url, rate_limit=TokenBucket(1, 1, max_wait=0))
    for _ in range(2):
        result = frugal(client, server.url + "/target/200", "POST").execute()
    assert len(server.at("/target")) == 1
    assert result["status"] == "queued"
