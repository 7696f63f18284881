"""Owners of tokens: each tenant has its own token, in memory, files and stores, also under concurrent calls."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

import polvo_adapters as polvo
from polvo_adapters.auth import OAuth2, Token
from polvo_adapters.auth.tokens.storage_factory import TokenStorageFactory
from polvo_adapters.context.tenant import validate_tenant
from polvo_adapters.errors import ConfigurationError
from polvo_adapters.runtime.clock import SYSTEM
from polvo_adapters.stores.sqlite import SQLiteStore
from tests.auth.tokens.test_background import STALE, wait_for_refresh
from tests.auth.tokens.test_sharing import refreshes
from tests.support.oauth.servers import OIDCProvider
from tests.support.token_sharing import Shifted, at_once, logged_in, plain_session

TENANTS = [f"tenant-{number}" for number in range(10)]
THREADS = 8


def tenants_of(oidc: OIDCProvider, **more: Any) -> OAuth2:
    """Return an auth object for tenants whose users have logged in, each with a refresh token of their own."""
    secrets = {tenant: logged_in(oidc, login=tenant) for tenant in TENANTS}
    oidc.reset()
    return OAuth2(
        flow="refresh_token",
        client_id="web",
        client_secret="web-secret",
        token_url=oidc.token_url,
        refresh_token=lambda: secrets[polvo.current_tenant()],
        **more,
    )


def caches(kind: str, folder: Path) -> Any:
    if kind == "sqlite":
        return SQLiteStore(folder / "tokens")
    return {"memory": None, "a file": folder / "tokens", "a file each": folder / "{tenant}"}[kind]


@pytest.mark.parametrize("kind", ["memory", "a file", "a file each", "sqlite"])
def test_no_thread_gets_the_token_of_another_tenant(oidc: OIDCProvider, tmp_path: Path, kind: str) -> None:
    clock = Shifted()
    oauth = tenants_of(oidc, token_cache=caches(kind, tmp_path), clock=clock)

    def subject(number: int) -> tuple[str, str]:
        tenant = TENANTS[number % len(TENANTS)]
        with polvo.tenant(tenant):
            return tenant, session.get(oidc.api_url).json()["subject"]

    with plain_session(oauth) as session:
        for _ in range(2):
            answers = at_once(len(TENANTS) * THREADS, subject)
            assert Counter(answers) == Counter({(tenant, tenant): THREADS for tenant in TENANTS})
            assert refreshes(oidc) == (len(TENANTS), 0)
        oidc.revoke()
        answers = at_once(len(TENANTS) * THREADS, subject)
        assert Counter(answers) == Counter({(tenant, tenant): THREADS for tenant in TENANTS})
    assert refreshes(oidc) == (2 * len(TENANTS), 0)
    # A token cache has a key and a lock, a database a log and an index as well.
    assert len(os.listdir(tmp_path)) == {"memory": 0, "a file": 3, "a file each": 30, "sqlite": 5}[kind]


async def test_no_task_gets_the_token_of_another_tenant(oidc: OIDCProvider) -> None:
    oauth = tenants_of(oidc)

    async def subject(tenant: str) -> tuple[str, str]:
        with polvo.tenant(tenant):
            await asyncio.sleep(0)
            return tenant, (await client.get(oidc.api_url)).json()["subject"]

    async with httpx.AsyncClient(auth=oauth.httpx(), trust_env=False, timeout=30) as client:
        for _ in range(2):
            answers = await asyncio.gather(*(subject(tenant) for tenant in TENANTS * THREADS))
            assert Counter(answers) == Counter({(tenant, tenant): THREADS for tenant in TENANTS})
            oidc.revoke()
    assert refreshes(oidc) == (2 * len(TENANTS), 0)


def test_a_session_says_whose_calls_it_makes(oidc: OIDCProvider) -> None:
    oauth = tenants_of(oidc)

    def subject(session: polvo.Session) -> str:
        subject: str = session.get(oidc.api_url).json()["subject"]
        return subject

    with polvo.Session(auth=oauth) as one, polvo.Session(auth=oauth) as other:
        one.set_tenant("tenant-1")
        other.set_tenant("tenant-2")
        assert [subject(one), subject(other)] == ["tenant-1", "tenant-2"]
        with one.tenant("tenant-3"):
            assert [subject(one), subject(other)] == ["tenant-3", "tenant-2"]
            with polvo.tenant("tenant-4"):
                assert [subject(one), subject(other)] == ["tenant-4", "tenant-4"]
        assert [subject(one), subject(other)] == ["tenant-1", "tenant-2"]
        assert requests.get(oidc.api_url, timeout=10).status_code == 401
    assert refreshes(oidc) == (4, 0)


def test_a_refresh_in_the_background_is_for_the_tenant_who_was_served(oidc: OIDCProvider) -> None:
    clock = Shifted()
    oauth = tenants_of(oidc, clock=clock)

    def use(number: int) -> int:
        with polvo.tenant(TENANTS[number]):
            return session.get(oidc.api_url).status_code

    with plain_session(oauth) as session:
        assert at_once(10, use) == [200] * 10
        clock.ahead = STALE
        assert at_once(10, use) == [200] * 10
        wait_for_refresh(oauth)
        for number, tenant in enumerate(TENANTS):
            with polvo.tenant(tenant):
                assert session.get(oidc.api_url).json()["subject"] == TENANTS[number]
    assert refreshes(oidc) == (20, 0)


def test_a_refused_token_is_replaced_for_its_tenant_also_when_another_is_current() -> None:
    asked = []

    def fetch(_: Token | None) -> Token:
        asked.append(polvo.current_tenant())
        return Token(f"{polvo.current_tenant()}-{len(asked)}")

    oauth = OAuth2(fetch=fetch, client_id="c")
    with polvo.tenant("a"):
        held = oauth.get_held()
    with polvo.tenant("b"):
        oauth.token()
        later = oauth.after(held)
        assert later is not None
        assert later.token.access_token == "a-3"
        assert oauth.token().access_token == "b-2"
    assert asked == ["a", "b", "a"]


def test_forgetting_one_tenant_leaves_the_others(tmp_path: Path) -> None:
    asked: Counter[str] = Counter()

    def fetch(_: Token | None) -> Token:
        asked[polvo.current_tenant()] += 1
        return Token(polvo.current_tenant())

    oauth = OAuth2(fetch=fetch, client_id="c", token_cache=tmp_path / "tokens")
    for _ in range(2):
        for tenant in ("a", "b"):
            with polvo.tenant(tenant):
                assert oauth.token().access_token == tenant
        with polvo.tenant("a"):
            oauth.forget()
    assert asked == Counter(a=2, b=1)


def test_memory_is_bounded_and_a_file_remembers(tmp_path: Path) -> None:
    asked: Counter[str] = Counter()

    def fetch(_: Token | None) -> Token:
        asked[polvo.current_tenant()] += 1
        return Token(polvo.current_tenant())

    def use(number: int) -> str:
        with polvo.tenant(number % 100):
            return oauth.token().access_token

    oauth = OAuth2(fetch=fetch, client_id="c", token_cache=tmp_path / "tokens", max_tenants=7)
    for _ in range(2):
        assert [use(number) for number in range(100)] == [str(number) for number in range(100)]
    assert at_once(40, lambda number: [use(number + each) for each in range(20)]) == [
        [str((number + each) % 100) for each in range(20)] for number in range(40)
    ]
    assert set(asked.values()) == {1}
    assert len(oauth._held) <= 7 + 40  # threads that put theirs in at the same time may be one too many each
    assert len(oauth._storages) <= 7 + 40
    use(1)
    assert max(len(oauth._held), len(oauth._storages)) <= 7


HOSTILE = [
    *("../up", "..", ".", "/etc/passwd", "a/b", "a\\b", "a b", "a%2Fb", "ü", ".key", "a.lock", "{tenant}"),
    *("a" * 255, "ü" * 255),
]


@pytest.mark.parametrize("tenant", HOSTILE)
def test_no_tenant_leads_out_of_the_directory(tmp_path: Path, tenant: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for _ in range(2):
        oauth = OAuth2(fetch=lambda _: "token", client_id="c", token_cache=folder / "{tenant}")
        with polvo.tenant(tenant):
            assert oauth.token().access_token == "token"
    assert os.listdir(tmp_path) == ["folder"]
    assert len(os.listdir(folder)) == 3
    assert all((folder / name).is_file() for name in os.listdir(folder))


NAMES = st.text(min_size=1, max_size=30) | st.text("aü", min_size=160, max_size=255)


def path_of(template: str, tenant: str) -> str:
    path: str = TokenStorageFactory(template, True, None, SYSTEM, ()).make_storage(tenant).store.path  # type: ignore[attr-defined]
    return path


@given(st.lists(NAMES, min_size=2, max_size=2, unique=True))
def test_two_tenants_never_share_a_file(tenants: list[str]) -> None:
    try:
        names = [validate_tenant(tenant) for tenant in tenants]
    except ConfigurationError:
        return
    paths = [path_of("/folder/{tenant}.json", name) for name in names]
    assert paths[0] != paths[1]
    assert {os.path.dirname(path) for path in paths} == {"/folder"}
    beside = {f"{path}{end}" for path in paths for end in ("", ".key", ".lock")}
    assert len(beside) == 6


def test_a_template_needs_a_tenant(tmp_path: Path) -> None:
    oauth = OAuth2(fetch=lambda _: "token", client_id="c", token_cache=tmp_path / "{tenant}")
    with pytest.raises(ConfigurationError, match="no tenant is set"):
        oauth.token()


def test_tenants_have_clients_and_servers_of_their_own(oidc: OIDCProvider) -> None:
    secrets = {"cc": "cc-secret", "cc-post": "cc-post-secret"}
    oauth = OAuth2(
        client_id="{tenant}", client_secret=lambda: secrets[polvo.current_tenant()], token_url=oidc.token_url
    )
    with plain_session(oauth) as session, polvo.tenant("cc"):
        assert session.get(oidc.api_url).json()["client"] == "cc"
