"""Signing in and out: credentials, their life, and clients that stay apart."""

from __future__ import annotations

import asyncio
import inspect
import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from polvo_adapters.services import taruvi
from polvo_adapters.services.taruvi import Client
from polvo_adapters.services.taruvi import client as client_module
from polvo_adapters.services.taruvi.client import AsyncClient, SyncClient
from polvo_adapters.services.taruvi.database import Query
from polvo_adapters.services.taruvi.operations import Module, operation
from polvo_adapters.services.taruvi.storage import Bucket
from tests.services.taruvi.modes import MODES, call
from tests.support.taruvi_server import Reply, TaruviServer


def sent(server: TaruviServer) -> list[str | None]:
    return [each.headers.get("authorization") for each in server.received if "settings" in each.path]


def test_each_client_is_on_its_own(taruvi_server: TaruviServer) -> None:
    client = Client(taruvi_server.url, "my-app")
    first = client.auth.signInWithPassword("alice", "a")
    second = first.auth.signInWithPassword("bob", "b")
    anonymous = second.auth.signOut()
    states = [each.is_authenticated for each in (client, first, second, anonymous)]
    for each in (client, first, second, anonymous):
        each.settings.get()
    second.close()
    first.settings.get()
    assert states == [False, True, True, False]
    assert sent(taruvi_server) == [None, "Bearer access-1", "Bearer access-2", None, "Bearer access-1"]


@pytest.mark.parametrize("mode", MODES)
def test_a_wrong_password_is_an_authentication_error(mode: str, taruvi_server: TaruviServer) -> None:
    with pytest.raises(taruvi.AuthenticationError, match="No active account") as caught:
        call(mode, taruvi_server.url, lambda c: c.auth.signInWithPassword("alice", "wrong"), None)
    assert caught.value.status_code == 401
    assert caught.value.__context__ is None


@pytest.mark.parametrize("mode", MODES)
def test_a_login_server_that_is_down_is_no_authentication_error(mode: str) -> None:
    with pytest.raises(taruvi.NetworkError):
        call(mode, "http://127.0.0.1:9", lambda c: c.auth.signInWithPassword("alice", "a"), None)


@pytest.mark.parametrize("mode", MODES)
def test_a_login_without_a_token(mode: str, taruvi_server: TaruviServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("polvo_adapters.runtime.clock.SystemTime.uniform", lambda *_: 0.001)
    taruvi_server.script.extend([Reply(200, {"ok": True})] * 3)  # a login may be repeated
    with pytest.raises(taruvi.ResponseError, match="no access_token"):
        call(mode, taruvi_server.url, lambda c: c.auth.signInWithPassword("alice", "a"), None)


def test_the_first_call_of_an_asynchronous_client_logs_in(taruvi_server: TaruviServer) -> None:
    async def main() -> None:
        client = Client(taruvi_server.url, "my-app", mode="async")
        signed = client.auth.signInWithPassword("alice", "a")
        assert (signed.is_authenticated, taruvi_server.received) == (True, [])
        async with signed:
            await signed.settings.get()
        with pytest.raises(taruvi.AuthenticationError):
            await client.auth.signInWithPassword("alice", "wrong").settings.get()

    asyncio.run(main())
    assert sent(taruvi_server) == ["Bearer access-1"]


def test_threads_renew_a_refused_token_once(taruvi_server: TaruviServer) -> None:
    taruvi_server.accepted = set()
    with Client(taruvi_server.url, "my-app").auth.signInWithPassword("alice", "a") as client:
        taruvi_server.accepted = {"another"}
        with ThreadPoolExecutor(64) as pool:
            answers = list(pool.map(lambda _: client.settings.get()["site_name"], range(64)))
    assert answers == ["Example"] * 64
    assert taruvi_server.issued == 2


def test_tasks_renew_a_refused_token_once(taruvi_server: TaruviServer) -> None:
    taruvi_server.accepted = set()

    async def main() -> Any:
        client = await Client(taruvi_server.url, "my-app", mode="async").auth.signInWithPassword("alice", "a")
        taruvi_server.accepted = {"another"}
        async with client:
            return await asyncio.gather(*(client.settings.get() for _ in range(64)))

    assert len(asyncio.run(main())) == 64
    assert taruvi_server.issued == 2


@pytest.mark.parametrize("mode", MODES)
def test_tokens_without_a_client(mode: str, taruvi_server: TaruviServer) -> None:
    url = taruvi_server.url
    tokens = call(mode, url, lambda c: c.auth.login("alice", "a"), None)
    assert (tokens["access"], tokens["refresh"]) == ("access-1", "refresh-access-1")
    assert call(mode, url, lambda c: c.auth.refresh_token("refresh-access-1"), None)["access"] == "access-2"
    assert call(mode, url, lambda c: c.auth.verify_token("access-2"), None) is True
    assert call(mode, url, lambda c: c.auth.verify_token("other"), None) is False
    taruvi_server.script.append(Reply(500))
    with pytest.raises(taruvi.ServerError):
        call(mode, url, lambda c: c.auth.verify_token("other"), None)


@pytest.mark.parametrize("mode", MODES)
def test_a_client_that_is_closed_says_so(mode: str, taruvi_server: TaruviServer) -> None:
    client: Any = Client(taruvi_server.url, "my-app", mode=mode)  # type: ignore[call-overload]
    if mode == "sync":
        client.close()
        client.close()
        with pytest.raises(taruvi.ConfigurationError, match="closed"):
            client.settings.get()
        return

    async def main() -> None:
        await client.close()
        await client.close()
        with pytest.raises(taruvi.ConfigurationError, match="closed"):
            await client.settings.get()

    asyncio.run(main())


@pytest.mark.parametrize("mode", MODES)
def test_no_credential_shows(mode: str, taruvi_server: TaruviServer) -> None:
    client: Any = Client(taruvi_server.url, "my-app", mode=mode)  # type: ignore[call-overload]
    signed = client.auth.signInWithToken("s3cret-token")
    seen = f"{signed!r} {signed.auth!r} {vars(signed)!r} {signed.database.query('u')!r}"
    assert "s3cret-token" not in seen
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(signed)


def test_each_operation_is_written_once() -> None:
    """Neither client has one, and no module has a second form of one for the other client."""
    kinds = [kind for kind in vars(client_module).values() if isinstance(kind, type) and issubclass(kind, Module)]
    kinds += [Query, Bucket]
    found = [name for kind in kinds for name, each in vars(kind).items() if isinstance(each, operation)]
    assert len(kinds) == 12
    assert len(found) > 50
    for kind in (*kinds, SyncClient, AsyncClient):
        others = [each for name, each in vars(kind).items() if inspect.iscoroutinefunction(each)]
        assert not others or kind is AsyncClient
    own = {name for name in {*vars(SyncClient), *vars(AsyncClient)} if not name.startswith("_")}
    assert own == {"run", "sign_in_with_password", "close"}
