"""The builder: what it compiles to, and what it refuses before anything is sent."""

from __future__ import annotations

import copy
import json
import pickle
import threading
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from polvo_adapters.errors import ConfigurationError
from polvo_adapters.services import ezthrottle as ez
from polvo_adapters.services.ezthrottle import ArgumentError, EZThrottle, Step
from tests.support.ezthrottle_server import KEY, EZThrottleServer

URL = "https://api.example.com/x"


def step() -> Step:
    return Step().url(URL)


async def asynchronous() -> None:
    """Do nothing."""


BAD: dict[str, tuple[str, Callable[[], Any]]] = {
    "no URL": ("url", lambda: Step().to_job()),
    "URL of another kind": ("url", lambda: step().url(b"https://a.b")),  # type: ignore[arg-type]
    "URL without scheme": ("url", lambda: step().url("api.example.com/x")),
    "URL of a file": ("url", lambda: step().url("file:///etc/passwd")),
    "URL without host": ("url", lambda: step().url("https:///x")),
    "URL with a line break": ("url", lambda: step().url("https://a.b/\r\nX: y")),
    "URL with a bad port": ("url", lambda: step().url("https://a.b:99999999/")),
    "method": ("method", lambda: step().method("GET /x")),
    "method None": ("method", lambda: step().method(None)),  # type: ignore[arg-type]
    "headers as a list": ("headers", lambda: step().headers([("A", "b")])),  # type: ignore[arg-type]
    "header with a line break": ("headers", lambda: step().headers({"A": "b\nC: d"})),
    "header that is a number": ("headers", lambda: step().headers({"A": 1})),  # type: ignore[dict-item]
    "framing": ("headers", lambda: step().headers({"Content-Length": "1"})),
    "body that is a dict": ("body", lambda: step().body({"a": 1})),  # type: ignore[arg-type]
    "body that is bytes": ("body", lambda: step().body(b"x")),  # type: ignore[arg-type]
    "half a character": ("body", lambda: step().body("\ud800")),
    "metadata": ("metadata", lambda: step().metadata({"a": object()})),
    "metadata nan": ("metadata", lambda: step().metadata({"a": float("nan")})),
    "webhook as text": ("webhooks", lambda: step().webhooks("https://w")),  # type: ignore[arg-type]
    "one webhook": ("webhooks", lambda: step().webhooks({"url": "https://w"})),  # type: ignore[arg-type]
    "webhook without url": ("webhooks", lambda: step().webhooks([{"uri": "https://w"}])),
    "webhook with a typo": ("webhooks", lambda: step().webhooks([{"url": "https://w", "has_vote": True}])),
    "webhook vote": ("webhooks", lambda: step().webhooks([{"url": "https://w", "has_quorum_vote": "no"}])),
    "quorum 0": ("webhook_quorum", lambda: step().webhook_quorum(0)),
    "quorum True": ("webhook_quorum", lambda: step().webhook_quorum(True)),
    "quorum above the webhooks": ("webhook_quorum", lambda: step().webhook_quorum(2).to_job()),
    "quorum above the votes": (
        "webhook_quorum",
        lambda: (
            step()
            .webhooks([{"url": "https://v"}, {"url": "https://w", "has_quorum_vote": False}])
            .webhook_quorum(2)
            .to_job()
        ),
    ),
    "regions as text": ("regions", lambda: step().regions("iad")),
    "region twice": ("regions", lambda: step().regions(["iad", "iad"])),
    "region empty": ("regions", lambda: step().regions([""])),
    "region policy": ("region_policy", lambda: step().region_policy("strct")),
    "mode": ("execution_mode", lambda: step().execution_mode("quorum")),
    "policy key": ("retry_policy", lambda: step().retry_policy({"max_retry": 1})),
    "policy count": ("retry_policy.max_retries", lambda: step().retry_policy({"max_retries": -1})),
    "policy codes": ("retry_policy.retry_codes", lambda: step().retry_policy({"retry_codes": [42]})),
    "policy in both": (
        "retry_policy",
        lambda: step().retry_policy({"retry_codes": [503], "reroute_codes": [503]}),
    ),
    "retry_at in seconds": ("retry_at", lambda: step().retry_at(1_700_000_000)),
    "retry_at negative": ("retry_at", lambda: step().retry_at(-1)),
    "retry_at float": ("retry_at", lambda: step().retry_at(1.7e12)),  # type: ignore[arg-type]
    "codes": ("fallback_on_error", lambda: step().fallback_on_error([200])),
    "codes as a number": ("fallback_on_error", lambda: step().fallback_on_error(500)),  # type: ignore[arg-type]
    "local timeout": ("local_timeout", lambda: step().local_timeout(-1)),
    "local timeout 0": ("local_timeout", lambda: step().local_timeout(0)),
    "local timeout nan": ("local_timeout", lambda: step().local_timeout(float("nan"))),
    "fallback timeout": ("trigger_on_timeout", lambda: step().fallback(step(), trigger_on_timeout=-5)),
    "failure timeout": ("on_failure.timeout_ms", lambda: step().on_failure(step(), timeout_ms=-5)),
    "fallback that is a result": ("fallback", lambda: step().fallback({"job_id": "j"})),  # type: ignore[arg-type]
    "on_success None": ("on_success", lambda: step().on_success(None)),  # type: ignore[arg-type]
    "key": ("idempotent_key", lambda: step().idempotent_key("")),
    "key of spaces": ("idempotent_key", lambda: step().idempotent_key("  ")),
    "key that is a number": ("idempotent_key", lambda: step().idempotent_key(7)),  # type: ignore[arg-type]
    "key that is long": ("idempotent_key", lambda: step().idempotent_key("k" * 256)),
    "strategy": ("idempotent_strategy", lambda: step().idempotent_strategy("none")),
    "type": ("type", lambda: step().type("fast")),
    "client": ("client", lambda: Step("client")),  # type: ignore[arg-type]
    "no client": ("client", lambda: step().execute()),
    "API key with a line break": ("api_key", lambda: EZThrottle("k\nX: y")),
    "API key empty": ("api_key", lambda: EZThrottle("")),
    "timeout of the client": ("timeout", lambda: EZThrottle("k", timeout=-1)),
    "retries of the client": ("retries", lambda: EZThrottle("k", retries=-1)),
    "engine": ("engine", lambda: EZThrottle(engine="local")),  # type: ignore[arg-type]
    "asynchronous function": ("auto_forward", lambda: ez.auto_forward(EZThrottle("k"))(asynchronous)),
    "webhook server": ("start_webhook_server", lambda: EZThrottle("k", start_webhook_server=True)),
    "address": ("tracktags_url", lambda: EZThrottle("k", "tracktags.example.com")),
    "job field": ("on_success", lambda: EZThrottle("k").submit_job(URL, on_success=step())),  # type: ignore[arg-type]
    "nested job": ("method", lambda: EZThrottle("k").submit_job(URL, on_failure={"url": URL, "method": 1})),
    "nested field": ("mthod", lambda: EZThrottle("k").submit_job(URL, on_failure={"url": URL, "mthod": "GET"})),
    "trigger": (
        "trigger.codes",
        lambda: EZThrottle("k").submit_job(URL, fallback_job={"url": URL, "trigger": {"codes": [1]}}),
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_value_is_refused_with_the_name_of_its_field(case: str, server: EZThrottleServer) -> None:
    field, call = BAD[case]
    with pytest.raises(ArgumentError) as caught:
        call()
    assert isinstance(caught.value, (ConfigurationError, ValueError))
    assert caught.value.reason == field
    assert str(caught.value).startswith(field)
    assert "nothing was sent" in str(caught.value)
    assert not server.received


def test_secrets_stay_out_of_errors_and_reprs() -> None:
    client = EZThrottle("ck_secret")
    built = (
        Step(client).url("https://user:hunter2@api.example.com/?token=hunter3").headers({"Authorization": "hunter4"})
    )
    for shown in (repr(client), repr(built), repr(built.fallback(step())._fallbacks), str(client.engine)):
        assert "hunter" not in shown
        assert "ck_secret" not in shown
    for bad in (lambda: built.headers({"Authorization": "hunter5\n"}), lambda: built.body({"a": "hunter6"})):  # type: ignore[arg-type]
        with pytest.raises(ArgumentError) as caught:
            bad()
        assert "hunter" not in str(caught.value)
    for secret in (client, built, client.engine):
        with pytest.raises(TypeError, match="holds a secret"):
            pickle.dumps(secret)


def test_a_job_is_plain_values_and_a_copy_of_what_was_given() -> None:
    headers, hooks = {"A": "b"}, [{"url": "https://w", "regions": ["iad"]}]
    built = step().headers(headers).webhooks(hooks).metadata({"n": [1]}).on_success(step()).fallback(step(), [500], 5)
    before = json.loads(json.dumps(built.to_job()))
    headers["A"] = "c"
    hooks[0]["regions"].append("lax")  # type: ignore[attr-defined]
    assert built.to_job() == before == json.loads(json.dumps(before))


def test_a_copy_of_a_step_is_a_step_of_its_own() -> None:
    first = step().body("1").fallback(step(), [500])
    second = copy.copy(first).body("2").fallback(step(), [502])
    assert first.to_job()["body"] == "1"
    assert "fallback_job" not in first.to_job()["fallback_job"]
    assert second.to_job()["fallback_job"]["fallback_job"]["trigger"]["codes"] == [502]


def test_setters_chain_in_any_order_and_the_last_one_counts() -> None:
    one = Step().method("post").url(URL).body("1").body("2").regions(["iad"]).execution_mode("fanout")
    two = Step().execution_mode("fanout").regions(["iad"]).body("2").url(URL).method("POST")
    assert (
        one.to_job()
        == two.to_job()
        == {
            "url": URL,
            "method": "POST",
            "body": "2",
            "regions": ["iad"],
            "execution_mode": "fanout",
        }
    )


def test_a_chain_of_three_is_nested_and_a_cycle_is_refused() -> None:
    last = step().idempotent_key("c")
    chain = step().on_success(step().on_failure(last))
    assert chain.to_job()["on_success"]["on_failure"]["idempotent_key"] == "c"
    last.fallback(chain)
    with pytest.raises(ArgumentError, match="chained to itself"):
        chain.to_job()
    deep = step()
    for _ in range(2000):
        deep = step().on_success(deep)
    with pytest.raises(ArgumentError, match="more than"):
        deep.to_job()
    job: dict[str, Any] = {"url": URL}
    for _ in range(2000):
        job = {"url": URL, "on_success": job}
    with pytest.raises(ArgumentError, match="more than"):
        EZThrottle("k").submit_job(URL, on_success=job)


def test_the_key_of_the_environment_is_used_and_the_argument_wins(
    monkeypatch: pytest.MonkeyPatch, server: EZThrottleServer
) -> None:
    monkeypatch.setenv("EZTHROTTLE_API_KEY", "from-env")
    EZThrottle(tracktags_url=server.url).submit_job(URL)
    EZThrottle("given", server.url).submit_job(URL)
    sent = [request.headers["Authorization"] for request in server.received]
    assert sent == ["Bearer from-env", "Bearer given"]


def test_queue_request_warns_at_the_line_of_the_caller(server: EZThrottleServer) -> None:
    client = EZThrottle(KEY, server.url)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        client.queue_request(url=URL, webhook_url="https://w.example.com", method="POST")
    assert [(each.category, each.filename) for each in caught] == [(DeprecationWarning, __file__)]


def test_a_step_without_a_client_is_executed_by_another(server: EZThrottleServer) -> None:
    with EZThrottle(KEY, server.url) as client:
        result = step().execute(client)
    assert result["job_id"] == "job_1"
    assert result["status"] == "queued"
    assert result == dict(result)
    assert pickle.loads(pickle.dumps(result)) == dict(result)
    with pytest.raises(ez.UnsupportedError, match="webhooks"):
        result.wait(1)


def test_a_client_serves_many_threads(server: EZThrottleServer) -> None:
    client, found = EZThrottle(KEY, server.url), []

    def run() -> None:
        found.extend(Step(client).url(URL).execute()["job_id"] for _ in range(5))

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(set(found)) == 40
