"""What the calls of both kinds of clients return and raise: errors, retries, limits, redirects."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
import requests

from polvo_adapters import errors
from polvo_adapters.services import taruvi
from polvo_adapters.services.taruvi import ConfigurationError, TaruviError
from tests.services.taruvi.every_operation import KINDS, fitting_arguments, list_operations
from tests.services.taruvi.modes import MODES, call
from tests.support.taruvi_server import FILE, Reply, TaruviServer
from tests.support.token_sharing import until

SECRET = "s3cret-token"
BODY = {"message": f"m {SECRET}", "details": {"field": f"no {SECRET}"}, "code": "X"}
STATUSES = {
    400: taruvi.ValidationError,
    401: taruvi.AuthenticationError,
    402: taruvi.APIError,
    403: taruvi.AuthorizationError,
    404: taruvi.NotFoundError,
    405: taruvi.APIError,
    409: taruvi.ConflictError,
    410: taruvi.APIError,
    422: taruvi.ValidationError,
    429: taruvi.RateLimitError,
    500: taruvi.ServerError,
    502: taruvi.ServerError,
    503: taruvi.ServiceUnavailableError,
    504: taruvi.GatewayTimeoutError,
}


def get(client: Any) -> Any:
    return client.settings.get()


def post(client: Any) -> Any:
    return client.functions.execute("f", {"a": 1})


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("status", STATUSES)
def test_each_status_is_its_error(mode: str, status: int, taruvi_server: TaruviServer) -> None:
    taruvi_server.script.append(Reply(status, BODY, {"Retry-After": "7"} if status in (429, 503) else {}))
    with pytest.raises(TaruviError) as caught:
        call(mode, taruvi_server.url, get, SECRET)
    error = caught.value
    assert type(error) is STATUSES[status]
    assert (error.message, error.details, error.code) == ("m [credential]", {"field": "no [credential]"}, "X")
    assert error.status_code == error.to_dict()["status_code"] == status
    assert error.retry_after == (7 if status in (429, 503) else None)
    assert json.loads(json.dumps(error.to_dict()))["error"] == type(error).__name__
    assert error.response is not None
    shown = f"{error!s} {error!r} {error.__cause__} {error.__context__} {error.response.text} {error.response.headers}"
    assert SECRET not in shown
    assert f"GET 127.0.0.1:{taruvi_server.url.rpartition(':')[2]}/api/settings/metadata/" in str(error)
    assert isinstance(error, requests.RequestException)
    assert isinstance(error, errors.PolvoError)


@pytest.mark.parametrize("mode", MODES)
def test_401_without_a_credential_says_how_to_sign_in(mode: str, taruvi_server: TaruviServer) -> None:
    taruvi_server.script.append(Reply(401, {"detail": "no"}))
    with pytest.raises(taruvi.NotAuthenticatedError, match=r"signInWithPassword\(\)"):
        call(mode, taruvi_server.url, get, None)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("status", "code", "retryable"),
    [(402, "account_suspended", False), (429, "product_suspended", False), (503, "gate_unavailable", True)],
)
def test_a_code_of_the_plan_is_a_billing_error(
    mode: str, status: int, code: str, retryable: bool, taruvi_server: TaruviServer
) -> None:
    taruvi_server.script.append(Reply(status, {"detail": "d", "code": code, "module": "functions"}))
    with pytest.raises(taruvi.BillingError) as caught:
        call(mode, taruvi_server.url, get)
    assert (caught.value.module, caught.value.retryable) == ("functions", retryable)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (Reply(200, b"<html>" + SECRET.encode(), {"Content-Type": "text/html"}), "no JSON, but text/html"),
        (Reply(200, b'{"data": [1'), "no JSON"),
        (Reply(200, b"[" * 100_000), "no JSON"),
        (Reply(200, b"\xff\xfe"), "no JSON"),
        (Reply(200, b"7"), "int, and not an object"),
        (Reply(200, b'"text"'), "str, and not an object"),
    ],
    ids=["html", "cut", "deep", "bytes", "number", "text"],
)
def test_an_answer_that_is_not_as_promised(mode: str, reply: Reply, words: str, taruvi_server: TaruviServer) -> None:
    taruvi_server.script.append(reply)
    with pytest.raises(taruvi.ResponseError, match=words) as caught:
        call(mode, taruvi_server.url, get, SECRET)
    assert SECRET not in f"{caught.value} {caught.value.details}"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("body", [[], {}, None, {"data": None}, {"data": 5}, {"results": {"x": 1}}], ids=str)
def test_odd_answers_are_no_raw_errors(mode: str, body: Any, taruvi_server: TaruviServer) -> None:
    uses: list[Callable[[Any], Any]] = [
        get,
        lambda c: c.database.query("u").get(),
        lambda c: c.database.query("u").first(),
        lambda c: c.database.query("u").count(),
        lambda c: c.functions.list(),
        lambda c: c.secrets.get_secret("K"),
        lambda c: c.secrets.get_secrets(["K"]),
        lambda c: c.policy.filter_allowed([{"kind": "d", "id": 1}], ["view"]),
        lambda c: c.app.roles(),
        lambda c: c.storage.list_buckets(),
    ]
    for use in uses:
        taruvi_server.script.append(Reply(200, body))
        try:
            result = call(mode, taruvi_server.url, use)
        except TaruviError:
            continue
        assert result in ([], {}, None, 0, 5) or isinstance(result, dict)


@pytest.mark.parametrize("mode", MODES)
def test_a_server_that_is_not_there(mode: str) -> None:
    with pytest.raises(taruvi.errors.ConnectionError, match=r"GET 127\.0\.0\.1:9/api/settings") as caught:
        call(mode, "http://127.0.0.1:9", get, SECRET)
    assert isinstance(caught.value, ConnectionError)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("mode", MODES)
def test_a_call_has_a_timeout_of_its_own(mode: str, taruvi_server: TaruviServer) -> None:
    taruvi_server.script.append(Reply(hang=20))
    with pytest.raises(taruvi.errors.TimeoutError) as caught:
        call(mode, taruvi_server.url, lambda c: c.functions.execute("f", timeout=0.5))
    assert isinstance(caught.value, TimeoutError)
    until(lambda: taruvi_server.received)
    assert len(taruvi_server.received) == 1


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("first", [Reply(429, headers={"Retry-After": "0"}), Reply(503), Reply(500), Reply(drop=True)])
def test_what_may_be_repeated_is(
    mode: str, first: Reply, taruvi_server: TaruviServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("polvo_adapters.runtime.clock.SystemTime.uniform", lambda *_: 0.001)
    taruvi_server.script.append(first)
    assert call(mode, taruvi_server.url, get, max_retries=1)["site_name"] == "Example"
    assert len(taruvi_server.received) == 2


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("first", [Reply(500), Reply(drop=True)], ids=["500", "dropped"])
def test_a_function_is_not_executed_twice(mode: str, first: Reply, taruvi_server: TaruviServer) -> None:
    taruvi_server.script.append(first)
    with pytest.raises(TaruviError):
        call(mode, taruvi_server.url, post, max_retries=3)
    assert len(taruvi_server.received) == 1


@pytest.mark.parametrize("mode", MODES)
def test_with_a_key_it_may_be_sent_again(
    mode: str, taruvi_server: TaruviServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("polvo_adapters.runtime.clock.SystemTime.uniform", lambda *_: 0.001)
    taruvi_server.script.append(Reply(drop=True))
    assert call(mode, taruvi_server.url, post, max_retries=1, idempotency=True)["data"] == {"a": 1}
    first, second = [each.headers["idempotency-key"] for each in taruvi_server.received]
    assert first == second


@pytest.mark.parametrize("mode", MODES)
def test_a_post_that_has_moved_stays_a_post(mode: str, taruvi_server: TaruviServer) -> None:
    taruvi_server.script.append(Reply(307, headers={"Location": "/api/apps/other/functions/f/execute/?x=1"}))
    assert call(mode, taruvi_server.url, post)["data"] == {"a": 1}
    assert [(each.method, each.path, each.query) for each in taruvi_server.received][1] == (
        "POST",
        "/api/apps/other/functions/f/execute/",
        [["x", "1"]],
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("location", ["/login/", "http://127.0.0.1:9/api/x/"])
@pytest.mark.parametrize("status", [302, 303])
def test_a_post_does_not_become_a_get(mode: str, status: int, location: str, taruvi_server: TaruviServer) -> None:
    taruvi_server.script.append(Reply(status, headers={"Location": location}))
    with pytest.raises(taruvi.APIError, match="not followed"):
        call(mode, taruvi_server.url, post)
    assert len(taruvi_server.received) == 1


@pytest.mark.parametrize("mode", MODES)
def test_the_site_goes_along(mode: str, taruvi_server: TaruviServer) -> None:
    """With the login as well."""

    def sign(client: Any) -> Any:
        return client.auth.signInWithPassword("alice", "a")

    call(mode, taruvi_server.url, get, sign=sign, site_slug="tenant-a")
    assert [each.headers["host"] for each in taruvi_server.received] == ["tenant-a.localhost"] * 2


@pytest.mark.parametrize(("kind", "name"), list(list_operations()), ids=lambda each: getattr(each, "__name__", each))
def test_both_kinds_of_clients_send_the_same(kind: type, name: str, taruvi_server: TaruviServer) -> None:
    """But for the headers of the HTTP library."""
    sent: list[list[Any]] = []
    for mode in MODES:
        taruvi_server.received.clear()

        def use(client: Any) -> Any:
            return getattr(kind(client, *KINDS[kind]), name)(**fitting_arguments(kind, name))

        with suppress(TaruviError):
            call(mode, taruvi_server.url, use)
        own = ("accept", "authorization", "content-type", "user-agent", "x-taruvi-client")
        sent.append(
            [
                (*each[:3], each.body, [each.headers.get(field, "").partition("boundary")[0] for field in own])
                for each in taruvi_server.received
            ]
        )
    assert sent[0] == sent[1] != []


@pytest.mark.parametrize("mode", MODES)
def test_ten_calls_at_a_time_on_connections_that_are_kept(mode: str, taruvi_server: TaruviServer) -> None:
    def use(client: Any) -> Any:
        return [get(client) for _ in range(20)]

    def use_at_once(client: Any) -> Any:
        with ThreadPoolExecutor(30) as pool:
            return list(pool.map(lambda _: get(client), range(60)))

    async def use_in_task(client: Any) -> Any:
        return [await get(client) for _ in range(20)]

    async def use_at_once_in_tasks(client: Any) -> Any:
        return await asyncio.gather(*(get(client) for _ in range(60)))

    assert len(call(mode, taruvi_server.url, use if mode == "sync" else use_in_task)) == 20
    assert taruvi_server.connections == 1
    taruvi_server.delay = 0.02
    assert len(call(mode, taruvi_server.url, use_at_once if mode == "sync" else use_at_once_in_tasks)) == 60
    assert 1 < taruvi_server.most_at_once <= 10


@pytest.mark.parametrize("mode", MODES)
def test_a_large_object_goes_to_a_file(mode: str, taruvi_server: TaruviServer) -> None:
    file = io.BytesIO()
    assert call(mode, taruvi_server.url, lambda c: c.storage.from_("b").download("a/b.bin", to=file)) == b""
    assert file.getvalue() == FILE


@pytest.mark.parametrize("mode", MODES)
def test_a_hundred_secrets_come_together(mode: str, taruvi_server: TaruviServer) -> None:
    keys = [f"{'LONG_' * 10}{number}" for number in range(100)]
    with pytest.raises(taruvi.NotFoundError) as caught:
        call(mode, taruvi_server.url, lambda c: c.secrets.get_secrets(keys))
    assert caught.value.details["missing"] == keys
    asked = [dict(each.query)["keys"].split(",") for each in taruvi_server.received]
    assert sorted(key for part in asked for key in part) == sorted(keys)
    assert 1 < len(asked) < 10


@pytest.mark.parametrize("mode", MODES)
def test_one_secret_per_request_where_the_server_takes_no_more(mode: str, taruvi_server: TaruviServer) -> None:
    found = call(mode, taruvi_server.url, lambda c: c.secrets.get_secrets(["API_KEY", "STRIPE_KEY"]), wire="2026-01")
    assert list(found) == ["API_KEY", "STRIPE_KEY"]
    assert len(taruvi_server.received) == 2


@pytest.mark.parametrize("mode", MODES)
def test_only_what_the_server_allows_is_allowed(mode: str, taruvi_server: TaruviServer) -> None:
    """Whatever it leaves out, and in whatever order it answers."""
    one, two = {"kind": "document", "id": "1"}, {"kind": "document", "id": "2"}
    allow = {"resource": two, "actions": {"view": "EFFECT_ALLOW"}}

    def use(client: Any) -> Any:
        return client.policy.filter_allowed([one, two], ["view"])

    for results, expected in [
        ([allow], [two]),
        ([allow, {"resource": one, "actions": {"view": "EFFECT_DENY"}}], [two]),
        ([{"actions": {"view": "EFFECT_ALLOW"}}, allow], [two]),
        ([{"resource": {"kind": "folder", "id": "1"}, "actions": {"view": "EFFECT_ALLOW"}}], []),
        ([{"resource": one, "actions": {"view": "allow"}}], []),
        ([None, 5, "x"], []),
    ]:
        taruvi_server.script.append(Reply(200, {"results": results}))
        assert call(mode, taruvi_server.url, use) == expected


SAID = {
    "a field": ({"email": ["invalid"]}, "Bad Request", {"email": ["invalid"]}),
    "a list of errors": ({"errors": [{"message": "first"}]}, "first", {"errors": [{"message": "first"}]}),
    "a list of details": ({"detail": ["one", "two"]}, "one", {}),
    "no JSON": (b"<h1>Oops", "Bad Request", {"content": "<h1>Oops"}),
    "nothing": (None, "Bad Request", {}),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", SAID)
def test_what_the_server_says_is_told(mode: str, kind: str, taruvi_server: TaruviServer) -> None:
    body, message, details = SAID[kind]
    taruvi_server.script.append(Reply(400, body))
    with pytest.raises(taruvi.ValidationError) as caught:
        call(mode, taruvi_server.url, get)
    assert (caught.value.message, caught.value.details) == (message, details)


BAD: dict[str, Callable[[Any], Any]] = {
    "record_id": lambda c: c.database.get("u", "a/b"),
    "table": lambda c: c.database.query("../x").get(),
    "operator": lambda c: c.database.query("u").filter("a", "like", 1).get(),
    "order": lambda c: c.database.query("u").sort("a", "down").get(),
    "page": lambda c: c.database.query("u").page(0).get(),
    "page_size": lambda c: c.database.query("u").page_size(True).get(),
    "data": lambda c: c.database.update("u", 1),
    "data ": lambda c: c.database.update("u", data=[{"name": "no id"}]),
    "record_id, data": lambda c: c.database.update("u", 1, [{"id": 1}]),
    "record_id, record_ids, filters": lambda c: c.database.delete("u"),
    "record_id, record_ids, filters ": lambda c: c.database.delete("u", 1, [2]),
    "filters": lambda c: c.database.delete("u", filters={}),
    "record_ids": lambda c: c.database.delete("u", record_ids=[]),
    "username": lambda c: c.users.get_user("../me"),
    "confirm_password": lambda c: c.users.create_user("a", "a@b", SECRET, SECRET + "x"),
    "roles": lambda c: c.users.assign_roles([], ["a"]),
    "usernames": lambda c: c.users.revoke_roles(["a"], "alice"),
    "function_slug": lambda c: c.functions.execute("a?b"),
    "params": lambda c: c.functions.execute("f", {"a": object()}),
    "timeout": lambda c: c.functions.execute("f", timeout=-1),
    "limit": lambda c: c.functions.list(limit=0),
    "bucket": lambda c: c.storage.from_("a/b").list(),
    "path": lambda c: c.storage.from_("b").download("a/../../c"),
    "files": lambda c: c.storage.from_("b").upload([]),
    "files ": lambda c: c.storage.from_("b").upload([{"file": "text", "name": "a"}]),
    "paths": lambda c: c.storage.from_("b").delete([]),
    "visibility": lambda c: c.storage.create_bucket("b", visibility="open"),
    "key": lambda c: c.secrets.get_secret("a\nb"),
    "keys": lambda c: c.secrets.get_secrets([]),
    "keys ": lambda c: c.secrets.get_secrets("API_KEY"),
    "value": lambda c: c.database.query("u").filter("a", "eq", b"x").get(),
    "tags": lambda c: c.secrets.list_secrets(tags=["a,b"]),
    "actions": lambda c: c.policy.check_resources([{"kind": "d", "id": 1}]),
    "resources": lambda c: c.policy.filter_allowed([{"id": 1}], ["view"]),
    "query_slug": lambda c: c.analytics.execute(""),
    "token": lambda c: c.auth.signInWithToken(f"{SECRET}\r\nX: 1"),
    "token_type": lambda c: c.auth.signInWithToken("a", token_type="basic"),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", BAD)
def test_a_wrong_argument_is_named_before_anything_is_sent(mode: str, name: str, taruvi_server: TaruviServer) -> None:
    with pytest.raises(ConfigurationError, match=rf"^{name.strip()}: .*; nothing was sent$") as caught:
        call(mode, taruvi_server.url, BAD[name])
    assert isinstance(caught.value, ValueError)
    assert SECRET not in str(caught.value)
    assert taruvi_server.received == []
