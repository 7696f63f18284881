"""What both clients of Double-O do alike: settings that are assigned, and the names of ends without an answer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import polvo_adapters as polvo
import polvo_adapters.services.double_o as oo
from tests.support.double_o_server import DoubleOServer, Reply


def ask(client: Any, token: str = "tok_fake_secret") -> Any:
    """Make a call of a client of either kind, and return its end."""
    try:
        if isinstance(client, oo.AsyncClient):
            return asyncio.run(client.get_secret(token))
        return client.get_secret(token)
    except oo.SecretError as error:
        return error


@pytest.mark.parametrize("kind", [oo.Client, oo.AsyncClient])
def test_retries(kind: Any, double_o_server: DoubleOServer) -> None:
    double_o_server.always = Reply(503)
    client = kind(double_o_server.url, backoff_factor=0)
    counts = []
    for client.retries in (0, 2, 1):
        before = len(double_o_server.received)
        token = f"token_{client.retries}"  # the same call would be sent once, as it was given up before
        assert ask(client, token).attempts == client.retries + 1
        counts.append(len(double_o_server.received) - before)
    assert counts == [1, 3, 2]


@pytest.mark.parametrize("kind", [oo.Client, oo.AsyncClient])
def test_the_server(kind: Any, double_o_server: DoubleOServer) -> None:
    client = kind("http://127.0.0.1:9")
    client.base_url = f"{double_o_server.url}/"
    assert client.base_url == double_o_server.url
    assert ask(client) == "s3cr3t-value"


def test_the_time_that_a_call_may_take() -> None:
    client = oo.Client(timeout=10, retries=2)
    assert client._session_keywords()["deadline"] == 30
    client.timeout = 5
    assert (client.deadline, client._session_keywords()["timeout"]) == (15, 5)
    client.deadline = 7
    client.retries = 0
    assert client._session_keywords()["deadline"] == 7
    client.deadline = None
    assert client.deadline == 5
    client.timeout = None
    assert client._session_keywords()["deadline"] is None


@pytest.mark.parametrize(
    ("name", "value"),
    [("timeout", 0), ("timeout", "5"), ("retries", -1), ("backoff_factor", "1"), ("deadline", 0), ("base_url", "x")],
)
def test_a_value_that_cannot_work_is_refused_and_changes_nothing(name: str, value: Any) -> None:
    client = oo.Client(timeout=10, retries=2)
    before = client.__getstate__()
    with pytest.raises(oo.ArgumentError, match=name):
        setattr(client, name, value)
    assert client.__getstate__() == before


def test_state_outlives_a_change_and_calls_under_way_go_on(double_o_server: DoubleOServer) -> None:
    client = oo.Client(double_o_server.url, circuit_breaker={"failure_threshold": 1, "recovery_timeout": 60})
    double_o_server.script.append(Reply(503))
    assert ask(client).status_code == 503
    client.timeout = 3
    assert ask(client).reason == "not sent"
    assert len(double_o_server.received) == 1


HELD_BACK: dict[str, Any] = {
    "circuit_breaker": {"failure_threshold": 1, "recovery_timeout": 60},
    "rate_limit": polvo.ratelimit.TokenBucket(rate=0.001, capacity=1, max_wait=0),
}


@pytest.mark.parametrize("name", HELD_BACK)
@pytest.mark.parametrize("kind", [oo.Client, oo.AsyncClient])
def test_a_call_that_a_policy_has_held_back_is_said_to_be_not_sent(
    kind: Any, name: str, double_o_server: DoubleOServer
) -> None:
    double_o_server.always = Reply(500)
    client = kind(double_o_server.url, **{name: HELD_BACK[name]})
    assert ask(client).reason == "status 500"
    error = ask(client)
    assert (error.reason, error.attempts, error.status_code) == ("not sent", 0, None)
    assert error.retry_after
    assert len(double_o_server.received) == 1


@pytest.mark.parametrize("kind", [oo.Client, oo.AsyncClient])
@pytest.mark.parametrize(
    ("reply", "reason"), [(Reply(drop=True), "disconnected"), (Reply(hang=True), "deadline"), (None, "no connection")]
)
def test_an_end_without_an_answer_has_the_same_name_in_both_clients(
    kind: Any, reply: Reply | None, reason: str, double_o_server: DoubleOServer
) -> None:
    double_o_server.always = reply
    client = kind("http://127.0.0.1:1" if reply is None else double_o_server.url, timeout=0.3)
    assert ask(client).reason == reason


@pytest.mark.parametrize("path", ["v1/models", "get_secret"])
def test_what_to_do_after_404_depends_on_what_was_asked_for(path: str, double_o_server: DoubleOServer) -> None:
    double_o_server.always = Reply(404)
    client = oo.Client(double_o_server.url)
    with pytest.raises(oo.DoubleOError, match="look at the path" if "/" in path else "of a secret or environment"):
        client.proxy(path, "token") if "/" in path else client.get_secret("token")
