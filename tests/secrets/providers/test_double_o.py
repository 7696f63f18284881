"""Double-O: the wire contract, and what a service may answer instead."""

from __future__ import annotations

import asyncio
import pickle
import traceback
from collections.abc import Iterator
from typing import Any

import pytest

from polvo_adapters.errors import ConfigurationError, SecretError
from polvo_adapters.secrets import DoubleO, Secret
from tests.support.double_o_server import TOKEN, VALUE, DoubleOServer, Reply


@pytest.fixture
def service() -> Iterator[DoubleOServer]:
    with DoubleOServer() as service:
        yield service


@pytest.fixture(params=["threads", "tasks"], autouse=True)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `get` be what it is, or what a task gets by the asynchronous side."""
    if request.param == "tasks":
        pytest.importorskip("httpx")
        monkeypatch.setattr(DoubleO, "fetch", lambda *_: pytest.fail("a task must not use this"))
        monkeypatch.setattr(Secret, "get", lambda secret: asyncio.run(secret.aget()))


def failed(secret: Secret) -> SecretError:
    with pytest.raises(SecretError) as caught:
        secret.get()
    shown = "".join(traceback.format_exception(caught.value)) + repr(vars(caught.value))
    assert TOKEN not in shown
    assert VALUE not in shown
    return caught.value


def test_the_request_is_that_of_the_contract(service: DoubleOServer) -> None:
    made = Secret(DoubleO(TOKEN, base_url=service.url))
    assert [made.get(), made.get()] == [VALUE] * 2
    (received,) = service.received
    assert (received.method, received.path, received.query) == ("GET", "/api/secret", [])
    assert received.headers["Authorization"] == f"Bearer {TOKEN}"


def test_the_token_may_be_a_secret_or_from_the_environment(
    service: DoubleOServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOUBLE_O_TOKEN", TOKEN)
    for token in (None, Secret("env://DOUBLE_O_TOKEN"), lambda: TOKEN):
        assert Secret("double-o://", provider=DoubleO(token, base_url=service.url)).get() == VALUE
    monkeypatch.delenv("DOUBLE_O_TOKEN")
    with pytest.raises(ConfigurationError, match="DOUBLE_O_TOKEN"):
        Secret(DoubleO(base_url=service.url)).get()


@pytest.mark.parametrize(
    ("value", "field", "expected"),
    [("text", None, "text"), (5, None, "5"), ({"a": "b"}, "a", "b"), ('{"a": "b"}', "a", "b"), (False, None, "false")],
)
def test_values_of_every_kind(service: DoubleOServer, value: Any, field: str | None, expected: str) -> None:
    service.always = Reply(body={"value": value})
    assert Secret(DoubleO(TOKEN, base_url=service.url), field=field).get() == expected


@pytest.mark.parametrize(
    ("reply", "reason", "final"),
    [
        (Reply(401, {"error": TOKEN}), "denied", False),
        (Reply(403), "denied", False),
        (Reply(404), "not found", True),
        (Reply(500, {"value": VALUE}), "unavailable", False),
        (Reply(418, {"value": VALUE}), "malformed", False),
        (Reply(200, {"error": "Auth or not found"}), "denied", False),
        (Reply(200, {"error": {"message": VALUE}}), "denied", False),
        (Reply(200, {"value": None}), "not found", True),
        (Reply(200, {"value": ""}), "empty", True),
        (Reply(200, {}), "malformed", False),
        (Reply(200, [VALUE]), "malformed", False),
        (Reply(200, b"<html>" + VALUE.encode()), "malformed", False),
        (Reply(204), "malformed", False),
        (Reply(302, b"", {"Location": "/elsewhere"}), "malformed", False),
    ],
)
def test_what_else_it_may_answer(service: DoubleOServer, reply: Reply, reason: str, final: bool) -> None:
    service.always = reply
    error = failed(Secret(DoubleO(TOKEN, base_url=service.url, timeout=3)))
    assert (error.reason, error.final, error.provider) == (reason, final, "double-o")
    assert {received.path for received in service.received} == {"/api/secret"}


def test_a_pause_that_it_asks_for_is_kept(service: DoubleOServer) -> None:
    service.always = Reply(429, b"", {"Retry-After": "120"})
    made = Secret(DoubleO(TOKEN, base_url=service.url, timeout=3))
    assert failed(made).retry_after == pytest.approx(120, abs=5)
    count = len(service.received)
    assert failed(made).retry_after == pytest.approx(120, abs=5)
    assert len(service.received) == count


def test_a_dropped_answer_is_asked_for_again(service: DoubleOServer) -> None:
    service.script.append(Reply(drop=True))
    assert Secret(DoubleO(TOKEN, base_url=service.url)).get() == VALUE


def test_a_service_that_hangs_is_given_up(service: DoubleOServer) -> None:
    service.always = Reply(hang=True)
    error = failed(Secret(DoubleO(TOKEN, base_url=service.url, timeout=0.3)))
    assert (error.reason, error.final) == ("unreachable", False)


@pytest.mark.parametrize("url", ["http://secrets.example.com", "https://a:b@example.com", "ftp://x", "nonsense"])
def test_places_that_secrets_are_not_sent_to(url: str) -> None:
    with pytest.raises(ConfigurationError, match="base_url"):
        DoubleO(TOKEN, base_url=url)


def test_it_is_pickled_without_its_token(service: DoubleOServer) -> None:
    pickled = pickle.dumps(Secret(DoubleO(TOKEN, base_url=service.url)))
    assert TOKEN.encode() not in pickled
    with pytest.raises(ConfigurationError, match="stayed behind"):
        pickle.loads(pickled).get()
