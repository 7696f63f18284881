"""One token for many: at expiry one of all threads and processes refreshes it, and everybody is served."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import polvo_adapters as polvo
from polvo_adapters.auth import OAuth2
from tests.support.oauth.servers import OIDCProvider
from tests.support.token_sharing import Crowd, Shifted, at_once, place, plain_session, settings_of

KINDS = ["cache", "sqlite"]
THREADS = 16


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tokens"


def refreshes(oidc: OIDCProvider) -> tuple[int, int]:
    """Return how often a refresh token was used since the last reset, and how often in vain."""
    counts = oidc.counts()
    return counts["by_grant"].get("refresh_token", 0), counts["refused"]


@pytest.mark.parametrize("kind", ["memory", *KINDS])
def test_threads_refresh_a_rotating_token_once_at_each_expiry(oidc: OIDCProvider, path: Path, kind: str) -> None:
    clock = Shifted()
    cache = None if kind == "memory" else place(kind, str(path), clock)
    oauth = OAuth2(token_cache=cache, clock=clock, **settings_of(oidc))
    with plain_session(oauth) as session:
        for expiry in range(4):
            oidc.reset()
            clock.ahead = 100.0 * expiry
            answers = at_once(THREADS, lambda _: session.get(oidc.api_url).status_code)
            assert (Counter(answers), refreshes(oidc)) == (Counter({200: THREADS}), (1, 0))


@pytest.mark.parametrize("kind", KINDS)
def test_processes_refresh_it_once_at_each_expiry(oidc: OIDCProvider, path: Path, kind: str) -> None:
    with Crowd(oidc.api_url, kind, path, settings_of(oidc)) as crowd:
        for expiry in range(4):  # the first one is a cold start
            oidc.reset()
            assert crowd.round(100.0 * expiry) == Counter({200: 64})
            assert refreshes(oidc) == (1, 0)


def test_processes_refresh_it_once_when_the_api_refuses_it(oidc: OIDCProvider, path: Path) -> None:
    with Crowd(oidc.api_url, "path", path, settings_of(oidc)) as crowd:
        oidc.reset()
        assert crowd.round(0.0) == Counter({200: 64})
        assert refreshes(oidc) == (1, 0)
        oidc.revoke()
        assert crowd.round(0.0) == Counter({200: 64})
        assert refreshes(oidc) == (2, 0)
        assert 1 <= oidc.counts()["api_401"] <= 64


def test_processes_that_come_later_find_the_token(oidc: OIDCProvider, path: Path) -> None:
    settings = settings_of(oidc)
    oidc.reset()
    for _ in range(3):
        with Crowd(oidc.api_url, "path", path, settings, processes=2, threads=2) as crowd:
            assert crowd.round(0.0) == Counter({200: 4})
    assert refreshes(oidc) == (1, 0)


def test_two_auth_objects_of_one_process_share_a_file(oidc: OIDCProvider, path: Path) -> None:
    settings = settings_of(oidc)
    oidc.reset()
    sessions = [polvo.Session(auth=OAuth2(token_cache=path, **settings)) for _ in range(8)]
    try:
        assert at_once(8, lambda number: sessions[number].get(oidc.api_url).status_code) == [200] * 8
    finally:
        for session in sessions:
            session.close()
    assert refreshes(oidc) == (1, 0)


def test_it_is_refreshed_on_the_time_of_the_call(oidc: OIDCProvider, path: Path) -> None:
    """The deadline of a session ends the wait for a token, and not the refresh: its answer revokes what was before."""
    oauth = OAuth2(token_cache=path, **settings_of(oidc))
    oidc.reset()
    oidc.delay(30.0)
    with polvo.Session(auth=oauth, deadline=0.5, retry=False) as session, pytest.raises(polvo.PolvoError) as caught:
        session.get(oidc.api_url)
    assert isinstance(caught.value, polvo.TokenRefreshError)
    assert caught.value.reason == "timeout"
    oidc.release()
    with plain_session(oauth) as session:
        assert session.get(oidc.api_url).status_code == 200
    assert refreshes(oidc) == (1, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_all_threads_are_told_why_there_is_no_token(oidc: OIDCProvider, path: Path, kind: str) -> None:
    clock = Shifted()
    settings: dict[str, Any] = {**settings_of(oidc), "refresh_token": "unknown"}
    oauth = OAuth2(token_cache=place(kind, str(path), clock), clock=clock, **settings)
    oidc.reset()
    with plain_session(oauth) as session:
        answers = at_once(THREADS, lambda _: session.get(oidc.api_url).status_code)
    assert all(answer.startswith("TokenRefreshError: ") and "invalid_grant" in answer for answer in answers), answers
    assert refreshes(oidc) == (1, 1)
    assert oidc.counts()["api"] == 0
