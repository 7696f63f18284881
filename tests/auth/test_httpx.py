"""Tokens in `httpx`: clients and tasks share them with sessions, and an event loop never waits for a server."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from polvo_adapters.auth import OAuth2, Token
from polvo_adapters.auth.httpx_auth import HTTPXAuth
from polvo_adapters.errors import TokenRefreshError
from polvo_adapters.policies.deadline import Deadline
from polvo_adapters.policies.retry import ExponentialBackoff
from polvo_adapters.transports import AsyncPolicyTransport, PolicyTransport
from tests.auth.tokens.test_background import STALE, Held, hold_back, wait_for_refresh
from tests.auth.tokens.test_sharing import refreshes
from tests.support.oauth.servers import OIDCProvider
from tests.support.token_sharing import PATIENCE, Shifted, at_once, plain_session, settings_of, until

TRANSPORTS = pytest.mark.parametrize("ours", [False, True], ids=["httpx's transport", "ours"])


def sync_client(oauth: OAuth2, ours: bool = False) -> httpx.Client:
    transport = PolicyTransport(Deadline(PATIENCE), ExponentialBackoff(base=0.01)) if ours else None
    return httpx.Client(auth=oauth.httpx(), transport=transport, timeout=PATIENCE, trust_env=False)


def async_client(oauth: OAuth2, ours: bool = False) -> httpx.AsyncClient:
    transport = AsyncPolicyTransport(Deadline(PATIENCE), ExponentialBackoff(base=0.01)) if ours else None
    return httpx.AsyncClient(auth=oauth.httpx(), transport=transport, timeout=PATIENCE, trust_env=False)


def machine(oidc: OIDCProvider, client_secret: str = "cc-secret") -> OAuth2:
    return OAuth2(client_id="cc", client_secret=client_secret, token_url=oidc.token_url)


@TRANSPORTS
def test_a_refused_token_is_replaced_and_the_request_sent_again(oidc: OIDCProvider, ours: bool) -> None:
    oauth = machine(oidc)
    with sync_client(oauth, ours) as client:
        assert client.post(oidc.api_url, content=b"one").json()["body"] == "one"
        oidc.revoke()
        response = client.post(oidc.api_url, content=b"two")
        assert (response.status_code, response.json()["body"]) == (200, "two")
    counts = oidc.counts()
    assert (counts["token"], counts["api"], counts["api_401"]) == (2, 3, 1)


@TRANSPORTS
async def test_the_same_without_blocking(oidc: OIDCProvider, ours: bool) -> None:
    oauth = machine(oidc)
    async with async_client(oauth, ours) as client:
        assert (await client.post(oidc.api_url, content=b"one")).json()["body"] == "one"
        oidc.revoke()
        response = await client.post(oidc.api_url, content=b"two")
        assert (response.status_code, response.json()["body"]) == (200, "two")
    counts = oidc.counts()
    assert (counts["token"], counts["api"], counts["api_401"]) == (2, 3, 1)


def test_a_body_that_can_be_sent_once_is_not_sent_again(oidc: OIDCProvider) -> None:
    oauth = machine(oidc)
    with sync_client(oauth) as client:
        client.get(oidc.api_url)
        oidc.revoke()
        assert client.post(oidc.api_url, content=iter([b"once"])).status_code == 401


async def test_a_stream_of_tasks_neither(oidc: OIDCProvider) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"once"

    oauth = machine(oidc)
    async with async_client(oauth) as client:
        await client.get(oidc.api_url)
        oidc.revoke()
        assert (await client.post(oidc.api_url, content=body())).status_code == 401


@TRANSPORTS
async def test_tasks_refresh_a_rotating_refresh_token_once_at_each_expiry(
    oidc: OIDCProvider, tmp_path: Path, ours: bool
) -> None:
    clock = Shifted()
    oauth = OAuth2(token_cache=tmp_path / "tokens", clock=clock, **settings_of(oidc))
    async with async_client(oauth, ours) as client:
        for expiry in range(2):
            oidc.reset()
            if expiry:
                oidc.revoke()
            answers = await asyncio.gather(*(client.get(oidc.api_url) for _ in range(50)))
            assert Counter(answer.status_code for answer in answers) == Counter({200: 50})
            assert refreshes(oidc) == (1, 0)


async def test_tasks_refresh_a_token_that_has_expired_once(oidc: OIDCProvider) -> None:
    clock = Shifted()
    oauth = OAuth2(clock=clock, **settings_of(oidc))
    async with async_client(oauth) as client:
        for expiry in range(3):
            oidc.reset()
            clock.ahead = 100.0 * expiry
            answers = await asyncio.gather(*(client.get(oidc.api_url) for _ in range(50)))
            assert Counter(answer.status_code for answer in answers) == Counter({200: 50})
            assert refreshes(oidc) == (1, 0)


def test_threads_of_both_worlds_share_the_token(oidc: OIDCProvider) -> None:
    oauth = OAuth2(**settings_of(oidc))
    oidc.reset()
    with sync_client(oauth) as client, plain_session(oauth) as session:
        clients: list[Any] = [client, session]
        assert at_once(16, lambda number: clients[number % 2].get(oidc.api_url).status_code) == [200] * 16
    assert refreshes(oidc) == (1, 0)


async def test_the_loop_goes_on_while_a_token_is_fetched(oidc: OIDCProvider) -> None:
    source = Held()
    oauth = OAuth2(fetch=source, client_id="c")
    async with async_client(oauth) as client:
        with hold_back(source):
            task = asyncio.create_task(client.get(oidc.api_url))
            await asyncio.to_thread(until, lambda: source.asked)  # never back if the task held up the event loop
            assert not task.done()
        assert (await task).request.headers["Authorization"].startswith("Bearer token-")


async def test_no_task_waits_for_a_stale_token_not_even_for_a_thread(oidc: OIDCProvider) -> None:
    clock, source, blocked = Shifted(), Held(), threading.Event()
    oauth = OAuth2(fetch=source, client_id="c", clock=clock)
    loop = asyncio.get_running_loop()
    auth = oauth.httpx()
    request = httpx.Request("GET", oidc.api_url)
    await auth.async_auth_flow(request).__anext__()
    clock.ahead = STALE
    flows = [auth.async_auth_flow(httpx.Request("GET", oidc.api_url)) for _ in range(20)]
    others = [loop.run_in_executor(None, blocked.wait, PATIENCE) for _ in range(40)]  # all threads of the executor
    try:
        with hold_back(source):
            sent = [await asyncio.wait_for(flow.__anext__(), 10) for flow in flows]
            assert {one.headers["Authorization"] for one in sent} == {"Bearer token-1"}
            until(lambda: source.asked == 2)
    finally:
        blocked.set()
        await asyncio.gather(*others)
        for flow in flows:
            await flow.aclose()
    wait_for_refresh(oauth)
    assert (oauth.token().access_token, source.asked) == ("token-2", 2)


async def test_a_task_that_is_cancelled_loses_no_token(oidc: OIDCProvider, tmp_path: Path) -> None:
    settings = settings_of(oidc)
    oauth = OAuth2(token_cache=tmp_path / "tokens", **settings)
    oidc.reset()
    oidc.delay(0.5)
    async with async_client(oauth) as client:
        task = asyncio.create_task(client.get(oidc.api_url))
        await asyncio.to_thread(until, lambda: oidc.counts()["token"])
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert task.cancelled()
        assert (await client.get(oidc.api_url)).status_code == 200  # which waits for the refresh that goes on
    another = OAuth2(token_cache=tmp_path / "tokens", **settings)
    async with async_client(another) as client:
        assert (await client.get(oidc.api_url)).status_code == 200
    assert refreshes(oidc) == (1, 0)


def test_a_loop_that_ends_on_the_way_loses_no_token(oidc: OIDCProvider, tmp_path: Path) -> None:
    settings = settings_of(oidc)
    oauth = OAuth2(token_cache=tmp_path / "tokens", **settings)
    oidc.reset()
    oidc.delay(0.5)

    async def give_up() -> None:
        async with async_client(oauth) as client:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(client.get(oidc.api_url), 0.1)

    asyncio.run(give_up())
    with sync_client(OAuth2(token_cache=tmp_path / "tokens", **settings)) as client:
        assert client.get(oidc.api_url).status_code == 200
    assert refreshes(oidc) == (1, 0)


@TRANSPORTS
@pytest.mark.parametrize("client_id", ["dpop"])
def test_proofs_and_their_nonces(oidc: OIDCProvider, client_id: str, ours: bool) -> None:
    oidc.set(nonce=True)
    settings = {"client_id": client_id, "client_secret": f"{client_id}-secret", "token_url": oidc.token_url}
    oauth = OAuth2(dpop=True, **settings)
    with sync_client(oauth, ours) as client:
        assert [client.get(oidc.api_url).status_code for _ in range(2)] == [200] * 2
        assert (oidc.counts()["api"], oidc.counts()["api_401"]) == (3, 1)  # the first one learns the nonce
        oidc.refresh_nonce()
        oidc.revoke()
        assert client.get(oidc.api_url).status_code == 200
    assert oidc.counts()["by_grant"] == {"client_credentials": 3}  # one of which learns the nonce of that server


@TRANSPORTS
async def test_proofs_and_their_nonces_in_tasks(oidc: OIDCProvider, ours: bool) -> None:
    oidc.set(nonce=True)
    oauth = OAuth2(dpop=True, client_id="dpop", client_secret="dpop-secret", token_url=oidc.token_url)
    async with async_client(oauth, ours) as client:
        answers = await asyncio.gather(*(client.get(f"{oidc.api_url}/{number}") for number in range(10)))
        assert [answer.status_code for answer in answers] == [200] * 10
        oidc.refresh_nonce()
        assert (await client.get(oidc.api_url)).status_code == 200


def test_why_there_is_no_token(oidc: OIDCProvider) -> None:
    with sync_client(machine(oidc, client_secret="wrong")) as client, pytest.raises(TokenRefreshError) as caught:
        client.get(oidc.api_url)
    assert caught.value.reason == "invalid_client"


async def test_why_there_is_no_token_in_a_task(oidc: OIDCProvider) -> None:
    async with async_client(machine(oidc, client_secret="wrong")) as client:
        with pytest.raises(TokenRefreshError) as caught:
            await client.get(oidc.api_url)
    assert caught.value.reason == "invalid_client"
    assert oidc.counts()["api"] == 0


def test_an_api_that_refuses_all_tokens_is_asked_twice(oidc: OIDCProvider) -> None:
    tokens = iter(range(100))

    def fetch(_: Token | None) -> str:
        return f"unknown-{next(tokens)}"

    with sync_client(OAuth2(fetch=fetch, client_id="c")) as client:
        assert client.get(oidc.api_url).status_code == 401
    assert (oidc.counts()["api"], next(tokens)) == (2, 2)


def test_it_shows_no_secret(oidc: OIDCProvider) -> None:
    auth = machine(oidc).httpx()
    assert type(auth) is HTTPXAuth
    assert "secret" not in repr(auth)


def test_a_body_that_can_be_sent_once_has_the_token_refreshed_for_the_next(oidc: OIDCProvider) -> None:
    oauth = OAuth2("client_credentials", "cc", "cc-secret", oidc.token_url)
    with httpx.Client(auth=oauth.httpx(), trust_env=False) as client:
        assert client.get(oidc.api_url).status_code == 200
        oidc.revoke()
        answers = [client.post(oidc.api_url, content=iter([b"once"])).status_code for _ in range(2)]
    assert answers == [401, 200]
