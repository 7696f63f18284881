"""The client of Double-O: what its published model got wrong, and what it must never do."""

from __future__ import annotations

import gc
import io
import logging
import os
import pickle
import re
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

import polvo_adapters as polvo
from polvo_adapters.services import double_o
from polvo_adapters.services.double_o import Client, calls
from polvo_adapters.services.double_o.effects import CachedFetch, ServiceRequest, ServiceResponse
from polvo_adapters.testing.virtual_clock import VirtualClock
from tests.support.double_o_server import COMPLETION, TOKEN, VALUE, DoubleOServer, Reply

HUSH = "hush-token-4711"
HELD = "hush-value"
ASKED = "hush-query"


KINDS = ["threads", pytest.param("tasks", marks=pytest.mark.slow)]


@pytest.fixture(params=KINDS, autouse=True)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let `Client` be the one for threads, or the asynchronous one."""
    if request.param == "tasks":
        from tests.support.double_o_clients import BlockingClient

        monkeypatch.setitem(globals(), "Client", BlockingClient)
    return request.param


@pytest.fixture
def client(double_o_server: DoubleOServer, clock: VirtualClock) -> Iterator[Client]:
    with Client(double_o_server.url, retries=2, clock=clock) as client:
        yield client


def paths(server: DoubleOServer) -> list[str]:
    return [request.path for request in server.received]


# ---- Retries


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
@pytest.mark.parametrize("name", ["get_secret", "get_env"])
def test_reads_are_repeated(
    status: int, name: str, client: Client, double_o_server: DoubleOServer, clock: VirtualClock
) -> None:
    double_o_server.script.extend([Reply(status, headers={"Retry-After": "7"})] * 2)
    assert getattr(client, name)(TOKEN)
    assert len(double_o_server.received) == 3
    assert clock.now() >= 14


@pytest.mark.parametrize("method", ["POST", "PATCH", "post"])
@pytest.mark.parametrize("reply", [Reply(500), Reply(502), Reply(503), Reply(504), Reply(drop=True)])
def test_what_may_have_been_done_is_not_done_again(
    method: str, reply: Reply, client: Client, double_o_server: DoubleOServer
) -> None:
    double_o_server.script.append(reply)
    with pytest.raises(double_o.ProxyError):
        client.proxy("v1/pay", TOKEN, method, {"amount": 1})
    assert len(double_o_server.received) == 1


@pytest.mark.parametrize("reply", [Reply(429), Reply(503, headers={"Retry-After": "1"})])
def test_what_was_certainly_not_done_is(reply: Reply, client: Client, double_o_server: DoubleOServer) -> None:
    double_o_server.script.append(reply)
    assert client.proxy("v1/pay", TOKEN, payload={"amount": 1}) == COMPLETION
    assert [request.body for request in double_o_server.received] == [{"json": {"amount": 1}}] * 2


def test_a_call_that_never_left_is_repeated(clock: VirtualClock) -> None:
    client = Client("http://127.0.0.1:9", retries=2, clock=clock)
    with client, pytest.raises(double_o.ProxyError, match="connection refused") as caught:
        client.proxy("v1/pay", TOKEN, payload={"amount": 1})
    assert (caught.value.attempts, caught.value.reason, caught.value.status_code) == (3, "no connection", None)


def test_there_are_no_retries_unless_asked_for(double_o_server: DoubleOServer) -> None:
    double_o_server.always = Reply(503)
    with Client(double_o_server.url) as client, pytest.raises(double_o.SecretError):
        client.get_secret(TOKEN)
    assert len(double_o_server.received) == 1


def test_a_wait_beyond_the_total_time_is_an_error_at_once(
    client: Client, double_o_server: DoubleOServer, clock: VirtualClock
) -> None:
    double_o_server.always = Reply(429, {"error": "slow"}, {"Retry-After": "100"})
    with pytest.raises(double_o.SecretError) as caught:
        client.get_secret(TOKEN)
    assert (caught.value.retry_after, caught.value.status_code, clock.now()) == (100, 429, 0)


def test_the_total_time_ends_a_dripping_answer(double_o_server: DoubleOServer) -> None:
    double_o_server.always = Reply(drip=True)
    client = Client(double_o_server.url, timeout=0.4)
    with client, pytest.raises(double_o.SecretError, match="deadline") as caught:
        client.get_secret(TOKEN)
    assert caught.value.reason == "deadline"


@pytest.mark.parametrize(
    ("keywords", "deadline"),
    [
        ({}, 30),
        ({"retries": 2}, 90),
        ({"timeout": 5}, 5),
        ({"timeout": None}, None),
        ({"deadline": 7, "retries": 9}, 7),
    ],
)
def test_the_total_time(keywords: dict[str, Any], deadline: float | None, kind: str) -> None:
    with Client("http://a.test", **keywords) as client:
        assert client.deadline == deadline
        sender: Any = client._spare if kind == "tasks" else client._session.get_adapter("http://a.test")
        policies = sender._policy_transport.policies if kind == "tasks" else sender.policies
        seconds = [policy.seconds for policy in policies if isinstance(policy, polvo.deadline.Deadline)]
        assert seconds == ([] if deadline is None else [deadline])
        assert (sender.timeout.read if kind == "tasks" else client._session.timeout) == client.timeout


# ---- Errors


@pytest.mark.parametrize(
    ("name", "arguments", "kind"),
    [
        ("get_secret", (TOKEN,), double_o.SecretError),
        ("get_env", (TOKEN,), double_o.EnvError),
        ("load_env", (TOKEN,), double_o.EnvError),
        ("export_env", (TOKEN, "x.env"), double_o.EnvError),
        ("proxy", ("v1/x", TOKEN), double_o.ProxyError),
        ("chat_completion", (TOKEN, []), double_o.ProxyError),
        ("embed", (TOKEN, []), double_o.ProxyError),
        ("image", (TOKEN, "a"), double_o.ProxyError),
        ("health", (), double_o.ProxyError),
    ],
)
def test_errors_by_call(
    name: str, arguments: tuple[Any, ...], kind: type[Exception], client: Client, double_o_server: DoubleOServer
) -> None:
    double_o_server.always = Reply(418, {"error": "tea"}, {"Retry-After": "9"})
    with pytest.raises(requests.RequestException) as caught:
        getattr(client, name)(*arguments)
    error: Any = caught.value
    assert type(error) is kind
    assert isinstance(error, double_o.DoubleOError)
    assert isinstance(error, polvo.PolvoError)
    assert (error.status_code, error.retry_after, error.response.json()) == (418, 9, {"error": "tea"})
    assert error.reason == "status 418"
    assert error.host in double_o_server.url
    said = "" if kind is double_o.ProxyError and name != "health" else '; the server says "tea"'
    assert str(error).endswith(f": 418 I'm a Teapot{said}; call again after 9 s")
    double_o_server.always = Reply(401)
    with pytest.raises(kind if name == "health" else double_o.AuthenticationError) as caught:
        getattr(client, name)(*arguments)
    assert caught.value.status_code == 401
    assert isinstance(caught.value, polvo.AuthenticationError) is (name != "health")
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.status_code, again.retry_after) == (str(error), 418, 9)


@pytest.mark.parametrize(
    ("told", "kind", "text"),
    [
        ("Invalid token", double_o.AuthenticationError, "Invalid token"),
        ("Unauthorized", double_o.AuthenticationError, "Unauthorized"),
        ("authentication failed", double_o.AuthenticationError, "authentication failed"),
        ("Author not found", double_o.SecretError, "Author not found"),
        ("tokenizer is broken", double_o.SecretError, "tokenizer is broken"),
        ({"message": "gone\r\nX: y"}, double_o.SecretError, "gone  X: y"),
        ({"code": 5}, double_o.SecretError, "an error without a text"),
        (["a"], double_o.SecretError, "an error without a text"),
        (None, double_o.SecretError, "an error without a text"),
        ("x" * 5000, double_o.SecretError, "x" * 200 + "…"),
    ],
)
def test_an_error_with_status_200(
    told: object, kind: type[Exception], text: str, client: Client, double_o_server: DoubleOServer
) -> None:
    double_o_server.always = Reply(body={"error": told})
    with pytest.raises(double_o.DoubleOError) as caught:
        client.get_secret(TOKEN)
    assert type(caught.value) is kind
    assert str(caught.value) == f"GET {double_o_server.url[7:]}/api/secret: {text}"


@pytest.mark.parametrize(
    "body", [b"", b"hello", b"[1]", b"{}", b"5", b"null", b"\xff", b"[" * 100_000, b'{"secrets": [1]}']
)
@pytest.mark.parametrize("name", ["get_secret", "get_env"])
def test_an_answer_of_another_form(body: bytes, name: str, client: Client, double_o_server: DoubleOServer) -> None:
    double_o_server.always = Reply(body=body)
    with pytest.raises((double_o.SecretError, double_o.EnvError), match="look whether base_url") as caught:
        getattr(client, name)(TOKEN)
    assert caught.value.reason == "not as promised"


@pytest.mark.parametrize("value", ["text", None, 5, {"a": [1]}, ""])
def test_a_value_is_any_json(value: object, client: Client, double_o_server: DoubleOServer) -> None:
    double_o_server.secrets[TOKEN] = value
    assert client.get_secret(TOKEN) == value
    assert client.get_secret(TOKEN, cache_ttl=5) == value


@pytest.mark.parametrize("status", [200, 201, 204])
def test_an_empty_answer_of_the_proxy_is_a_success(status: int, client: Client, double_o_server: DoubleOServer) -> None:
    double_o_server.always = Reply(status)
    assert client.proxy("v1/f/1", TOKEN, method="DELETE") is None
    assert client.proxy("v1/f/1", TOKEN, method="HEAD") is None


def test_an_error_in_a_proxied_answer_is_the_callers(client: Client, double_o_server: DoubleOServer) -> None:
    double_o_server.always = Reply(body={"error": "token"})
    assert client.proxy("v1/x", TOKEN) == {"error": "token"}


def test_a_post_is_not_made_a_get_by_a_redirect(client: Client, double_o_server: DoubleOServer) -> None:
    double_o_server.script.append(Reply(302, headers={"Location": "/health"}))
    with pytest.raises(double_o.ProxyError, match="302 Found; it is not followed"):
        client.proxy("v1/x", TOKEN, payload={"a": 1})
    assert paths(double_o_server) == ["/api/proxy/v1/x"]


def test_a_redirect_does_not_take_the_token_elsewhere(client: Client, double_o_server: DoubleOServer) -> None:
    with DoubleOServer() as other:
        double_o_server.script.append(Reply(302, headers={"Location": other.url + "/api/secret"}))
        client.get_secret(TOKEN)
        assert [request.headers.get("Authorization") for request in other.received] == [None]


# ---- What is refused before anything is sent


def test_a_path_cannot_escape(client: Client, double_o_server: DoubleOServer) -> None:
    for path in ("../secret", "v1/%2e%2e/%2e%2e/secret", "x?y=1", "x#y", "//evil.test/x", "x\r\ny", 5, None):
        with pytest.raises(ValueError, match=r"^path: .*nothing was sent") as caught:
            client.proxy(path, TOKEN)  # type: ignore[arg-type]
        assert type(caught.value) is double_o.ArgumentError
        assert isinstance(caught.value, polvo.ConfigurationError)
    assert paths(double_o_server) == []


def test_queries_have_an_argument_of_their_own(client: Client, double_o_server: DoubleOServer) -> None:
    client.proxy("v1/models", TOKEN, "GET", params={"a": "b&c=d", "n": 5})
    assert double_o_server.received[0].query == [["a", "b&c=d"], ["n", "5"]]


def test_headers_cannot_replace_the_token(client: Client, double_o_server: DoubleOServer) -> None:
    with pytest.raises(double_o.ArgumentError, match="Authorization cannot be set") as caught:
        client.proxy("v1/x", TOKEN, headers={"Authorization": f"Bearer {HUSH}"})
    assert HUSH not in str(caught.value)
    mine = {"X-Trace": "t"}
    client.proxy("v1/x", TOKEN, headers=mine)
    assert mine == {"X-Trace": "t"}
    assert len(double_o_server.received) == 1


def test_a_netrc_file_cannot_replace_the_token(
    client: Client, double_o_server: DoubleOServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login ada password hidden\n")
    monkeypatch.setenv("NETRC", str(netrc))
    client.get_secret(TOKEN)
    client.health()
    assert [each.headers.get("Authorization") for each in double_o_server.received] == [f"Bearer {TOKEN}", None]


def test_cookies_of_one_token_do_not_go_out_with_another(client: Client, double_o_server: DoubleOServer) -> None:
    double_o_server.script.append(Reply(body={"value": 1}, headers={"Set-Cookie": "who=first; Path=/"}))
    client.get_secret("first")
    client.get_secret("second")
    assert "Cookie" not in double_o_server.received[1].headers


@pytest.mark.parametrize("name", ["get_secret", "get_env", "load_env", "export_env", "chat_completion", "proxy"])
def test_a_token_that_cannot_be_sent_is_refused_and_not_shown(
    name: str, client: Client, double_o_server: DoubleOServer
) -> None:
    for token in (f"{HUSH}\nX-Evil: 1", f"{HUSH}☃", f" {HUSH}", "", None):
        arguments = {"chat_completion": (token, []), "proxy": ("v1/x", token)}.get(name, (token,))
        with pytest.raises(double_o.AuthenticationError) as caught:
            getattr(client, name)(*arguments)
        assert type(caught.value) is double_o.TokenError
        assert isinstance(caught.value, ValueError)
        assert HUSH not in "".join(traceback.format_exception(caught.value))
    assert paths(double_o_server) == []


@pytest.mark.parametrize("payload", [{"a": object()}, {"a": float("nan")}, {"a": {1, 2}}, {"a": HUSH.encode()}])
def test_a_payload_that_is_no_json_is_refused(payload: Any, client: Client, double_o_server: DoubleOServer) -> None:
    with pytest.raises(double_o.ArgumentError, match=r"^payload: ") as caught:
        client.proxy("v1/x", TOKEN, payload=payload)
    assert HUSH not in "".join(traceback.format_exception(caught.value))
    assert caught.value.__context__ is None
    assert paths(double_o_server) == []


@pytest.mark.parametrize("ttl", ["5", True, float("nan"), [1]])
def test_a_ttl_that_is_no_number_is_refused(ttl: Any, client: Client, double_o_server: DoubleOServer) -> None:
    with pytest.raises(double_o.ArgumentError, match="cache_ttl"):
        client.get_secret(TOKEN, cache_ttl=ttl)
    assert paths(double_o_server) == []


@pytest.mark.parametrize("method", ["", "GET /x", "POST\r\n", None, 5])
def test_a_method_that_is_none_is_refused(method: Any, client: Client, double_o_server: DoubleOServer) -> None:
    with pytest.raises(double_o.ArgumentError, match="method"):
        client.proxy("v1/x", TOKEN, method)
    assert paths(double_o_server) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("base_url", "host"),
        ("base_url", f"http://{HUSH}@a.test"),
        ("base_url", 5),
        ("timeout", 0),
        ("timeout", "5"),
        ("timeout", float("inf")),
        ("deadline", -1),
        ("retries", -1),
        ("retries", 1.5),
        ("retries", True),
        ("backoff_factor", -0.1),
        ("backoff_factor", float("nan")),
    ],
)
def test_a_setting_that_cannot_work_is_named(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name) as caught:
        Client(**{name: value})
    assert type(caught.value) is double_o.ArgumentError
    assert HUSH not in str(caught.value)


def test_an_unknown_keyword_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="retrys"):
        Client(retrys=3)


# ---- The cache


def test_servers_do_not_share_values(double_o_server: DoubleOServer) -> None:
    with DoubleOServer() as other, Client(double_o_server.url) as one, Client(other.url) as two:
        other.secrets[TOKEN] = "of the other"
        assert [client.get_secret(TOKEN, cache_ttl=60) for client in (one, two, one, two)] == [
            VALUE,
            "of the other",
        ] * 2
        assert (len(double_o_server.received), len(other.received)) == (1, 1)
        two.invalidate_cache()
        one.get_secret(TOKEN, cache_ttl=60)
        two.get_secret(TOKEN, cache_ttl=60)
        assert (len(double_o_server.received), len(other.received)) == (1, 2)
        double_o.invalidate_cache(TOKEN)
        one.get_secret(TOKEN, cache_ttl=60)
        two.get_secret(TOKEN, cache_ttl=60)
        assert (len(double_o_server.received), len(other.received)) == (2, 3)


def test_clients_of_a_server_share_values_unless_told_otherwise(double_o_server: DoubleOServer) -> None:
    for _ in range(3):
        with Client(double_o_server.url + "/") as client:
            client.get_secret(TOKEN, cache_ttl=60)
    assert len(double_o_server.received) == 1
    with Client(double_o_server.url, cache=double_o.SecretCache()) as client:
        client.get_secret(TOKEN, cache_ttl=60)
    assert len(double_o_server.received) == 2


def test_an_invalidated_token_has_neither_secret_nor_environment(
    client: Client, double_o_server: DoubleOServer
) -> None:
    for _ in range(2):
        client.get_secret(TOKEN, cache_ttl=60)
        client.get_env(TOKEN, cache_ttl=60)
        client.invalidate_cache(TOKEN)
    assert paths(double_o_server) == ["/api/secret", "/api/env"] * 2


def test_an_error_is_not_kept(client: Client, double_o_server: DoubleOServer) -> None:
    double_o_server.script.append(Reply(404))
    with pytest.raises(double_o.SecretError):
        client.get_secret(TOKEN, cache_ttl=60)
    assert client.get_secret(TOKEN, cache_ttl=60) == VALUE


def test_who_waits_for_another_thread_waits_no_longer_than_for_a_call(double_o_server: DoubleOServer) -> None:
    double_o_server.always = Reply(hang=True)
    with Client(double_o_server.url, timeout=20) as slow, Client(double_o_server.url, timeout=0.2) as quick:

        def hang() -> None:
            with pytest.raises(double_o.SecretError):
                slow.get_secret(TOKEN, cache_ttl=60)

        first = threading.Thread(target=hang)
        first.start()
        for _ in range(2000):
            if double_o_server.received:
                break
            threading.Event().wait(0.005)
        with pytest.raises(double_o.SecretError, match=r"did not end within 0\.2 s") as caught:
            quick.get_secret(TOKEN, cache_ttl=60)
        double_o_server._stopped.set()
        first.join(30)
    assert caught.value.reason == "deadline"
    assert caught.value.__context__ is None


# ---- Environments


def test_load_env_is_all_or_nothing(client: Client, double_o_server: DoubleOServer) -> None:
    double_o_server.variables = {"POLVO_FIRST": "1", "POLVO_BAD": ["hidden"]}
    with pytest.raises(double_o.EnvError, match="POLVO_BAD") as caught:
        client.load_env(TOKEN)
    assert "POLVO_FIRST" not in os.environ
    assert "hidden" not in str(caught.value)
    double_o_server.variables = {"POLVO_FIRST": "1", "POLVO_SECOND": "2\n3"}
    client.load_env(TOKEN)
    assert (os.environ["POLVO_FIRST"], os.environ["POLVO_SECOND"]) == ("1", "2\n3")


def test_export_env_writes_nothing_unless_it_can_write_all(
    client: Client, double_o_server: DoubleOServer, tmp_path: Path
) -> None:
    path = tmp_path / ".env"
    path.write_text("old")
    for value in (5, None, "a\nB=1", "it's $5"):
        double_o_server.variables = {"A": "1", "B": value}
        with pytest.raises(double_o.EnvError, match="B"):
            client.export_env(TOKEN, path)
        assert path.read_text() == "old"
    double_o_server.variables = {"A": "1", "B": "$x"}
    client.export_env(TOKEN, path, overwrite=False)
    assert path.read_text() == "old\nA=\"1\"\nB='$x'\n"


def test_export_env_does_not_follow_links(client: Client, double_o_server: DoubleOServer, tmp_path: Path) -> None:
    (tmp_path / "target").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    for path in (tmp_path / "link", tmp_path):
        with pytest.raises(double_o.EnvError, match="nothing was written"):
            client.export_env(TOKEN, path)
    assert (tmp_path / "target").read_text() == "old"
    assert paths(double_o_server) == []


# ---- The functions of the module


def test_every_call_goes_to_its_own_server(double_o_server: DoubleOServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with DoubleOServer() as other:
        monkeypatch.setattr("polvo_adapters.services.double_o.settings.BASE_URL", other.url)
        for url in (double_o_server.url, None, double_o_server.url + "/", other.url):
            assert double_o.health(url)
            assert double_o.get_secret(TOKEN, url) == VALUE
        assert (len(double_o_server.received), len(other.received)) == (4, 4)


def test_the_clients_of_the_functions_are_bounded() -> None:
    double_o._make_client.cache_clear()
    for number in range(40):
        with pytest.raises(double_o.ProxyError):
            double_o.health(f"http://127.0.0.1:9/{number}")
    gc.collect()
    clients = [each for each in gc.get_objects() if type(each) is Client]
    assert len(clients) <= 17
    double_o._make_client.cache_clear()


# ---- Threads, pickles, leaks


def test_many_threads_and_tokens_get_their_own_values(client: Client, double_o_server: DoubleOServer) -> None:
    double_o_server.secrets = {f"token-{number}": f"value-{number}" for number in range(10)}

    def fetch(number: int) -> Any:
        ttl = 60 if number % 2 else None
        return client.get_secret(f"token-{number % 10}", cache_ttl=ttl)

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(fetch, range(200))) == [f"value-{number % 10}" for number in range(200)]
    counts: dict[str, int] = {}
    for request in double_o_server.received:
        counts[request.headers["Authorization"]] = counts.get(request.headers["Authorization"], 0) + 1
    assert counts == {f"Bearer token-{number}": 1 if number % 2 else 20 for number in range(10)}


@pytest.mark.parametrize("kind", ["threads"], indirect=True)  # `test_async_client.py` has the other
def test_a_client_pickles(double_o_server: DoubleOServer) -> None:
    with Client(double_o_server.url, timeout=5, retries=2, rate_limit="adaptive") as client:
        client.get_secret(HUSH, cache_ttl=60)
        data = pickle.dumps(client)
        assert HUSH.encode() not in data
        assert VALUE.encode() not in data
        with pickle.loads(data) as again:
            assert again.get_secret(HUSH) == VALUE
            assert (again.timeout, again.retries, again.deadline) == (5, 2, 15)
            assert "rate_limit" in again._keywords
    assert repr(client) == f"<Client {double_o_server.url}>"


def everything(error: BaseException) -> str:
    """Return all that an error shows, holds and pickles."""
    seen: list[str] = []
    left: list[Any] = [error]
    known: set[int] = set()
    while left and len(known) < 5000:
        each = left.pop()
        if id(each) in known:
            continue
        known.add(id(each))
        seen.append(f"{each!r} {each}" if not isinstance(each, bytes) else each.decode("latin-1"))
        if isinstance(each, dict):
            left += [*each, *each.values()]
        elif isinstance(each, (list, tuple)):
            left += each
        elif not isinstance(each, (str, bytes, int, float, type)) and each is not None:
            left += vars(each).values() if hasattr(each, "__dict__") else ()
            left += [getattr(each, name, None) for name in ("args", "__cause__", "__context__", "headers", "text")]
    seen.append(pickle.dumps(error).decode("latin-1"))
    return "\n".join(seen)


ECHOES = {
    "echo": Reply(400, {"error": f"bad {HUSH}"}, {"X-Echo": HUSH, "Set-Cookie": "s=hush-cookie"}),
    "refused": Reply(401, f"no {HUSH}".encode(), {"Content-Type": "text/plain"}),
    "told": Reply(200, {"error": f"Invalid token {HUSH}"}),
    "other form": Reply(200, {"values": "hush-value", "token": HUSH}),
    "type": Reply(200, b"x", {"Content-Type": f"text/{HUSH}"}),
    "no json": Reply(200, b"hush-value " + HUSH.encode()),
    "throttled": Reply(429, {"e": HUSH}, {"Retry-After": "1"}),
    "too long": Reply(429, {"e": HUSH}, {"Retry-After": "9999"}),
    "broken": Reply(503, {"e": HUSH}),
    "dropped": Reply(drop=True),
    "location": Reply(307, headers={"Location": f"/login?token={HUSH}"}),
}


@pytest.mark.parametrize("reply", ECHOES.values(), ids=ECHOES)
@pytest.mark.parametrize("name", ["get_secret", "get_env", "proxy"])
@pytest.mark.parametrize("ttl", [None, 60])
def test_no_error_and_no_log_has_a_token_or_a_value(
    name: str, reply: Reply, ttl: float | None, client: Client, double_o_server: DoubleOServer, kind: str
) -> None:
    calls: dict[str, Callable[[], Any]] = {
        "get_secret": lambda: client.get_secret(HUSH, ttl),
        "get_env": lambda: client.get_env(HUSH, ttl),
        "proxy": lambda: client.proxy("v1/x", HUSH, payload={"a": HELD}, params={"q": ASKED}),
    }
    double_o_server.always = reply
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logging.getLogger().addHandler(handler)
    level = logging.getLogger().level
    logging.getLogger().setLevel(logging.DEBUG)
    try:
        calls[name]()
        caught: BaseException | None = None
    except double_o.DoubleOError as error:
        caught = error
    finally:
        logging.getLogger().setLevel(level)
        logging.getLogger().removeHandler(handler)
    if caught is None:
        assert (name, reply.status) == ("proxy", 200)  # which returns any JSON
        return
    assert caught.__cause__ is None
    assert caught.__context__ is None
    found = everything(caught) + "".join(traceback.format_exception(caught))
    assert not re.findall("hush-[a-z]+", found.replace(ASKED, ""))
    assert ASKED not in str(caught)
    # urllib3 logs the path of a request, and the session the address of a redirect: never a header. httpcore logs those
    # of responses at DEBUG.
    if kind == "tasks" and reply in (ECHOES["echo"], ECHOES["type"]):
        return
    assert HUSH not in stream.getvalue() or reply is ECHOES["location"]


def test_a_key_in_a_proxied_path_is_not_in_the_message(client: Client, double_o_server: DoubleOServer) -> None:
    for reply in (Reply(500), Reply(200, b"hello"), Reply(drop=True)):
        double_o_server.always = reply
        with pytest.raises(double_o.ProxyError) as caught:
            client.proxy(f"bot{HUSH}/send", TOKEN)
        assert HUSH not in str(caught.value)


def test_effects_do_not_show_what_they_hold() -> None:
    effects = (
        ServiceRequest("GET", "/x", HUSH, {"X": HUSH}),
        CachedFetch("secret", HUSH, 5, dict),
        ServiceResponse(200, HUSH.encode()),
    )
    assert [repr(effect) for effect in effects] == [
        "<ServiceRequest GET>",
        "<CachedFetch secret>",
        "<ServiceResponse 200 >",
    ]


def test_an_operation_is_stepped_by_hand() -> None:
    """As an asynchronous client will."""
    operation = calls.get_secret(TOKEN, None)
    assert next(operation) == ServiceRequest("GET", "/api/secret", TOKEN)
    with pytest.raises(StopIteration) as ended:
        operation.send(ServiceResponse(200, b'{"value": 5}'))
    assert ended.value.value == 5
