"""Processes that fork, end, or are killed while a token is being refreshed."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import polvo_adapters as polvo
from polvo_adapters.auth import OAuth2
from polvo_adapters.errors import TokenRefreshError
from tests.auth.tokens.test_sharing import refreshes
from tests.support.oauth.servers import OIDCProvider
from tests.support.token_sharing import (
    HERE,
    PATIENCE,
    Crowd,
    Shifted,
    at_once,
    in_child,
    place,
    plain_session,
    settings_of,
    until,
)

KINDS = ["cache", "sqlite"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tokens"


def get(oauth: OAuth2, url: str) -> int:
    with plain_session(oauth) as session:
        return session.get(url, timeout=PATIENCE).status_code


@contextmanager
def get_repeatedly(oauth: OAuth2, url: str, count: int) -> Iterator[list[int]]:
    """Make a call on each of some threads, which are over at the end."""
    statuses: list[int] = []
    threads = [threading.Thread(target=lambda: statuses.append(get(oauth, url))) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield statuses
    finally:
        for thread in threads:
            thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in threads)


# Forks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_child_of_a_fork_waits_for_the_refresh_of_its_parent(oidc: OIDCProvider, path: Path, kind: str) -> None:
    clock = Shifted()
    oauth = OAuth2(token_cache=place(kind, str(path), clock), clock=clock, **settings_of(oidc))
    oidc.reset()
    oidc.delay(0.5)
    with get_repeatedly(oauth, oidc.api_url, 4) as statuses:
        until(lambda: oidc.counts()["token"])
        assert in_child(lambda: get(oauth, oidc.api_url) == 200) == 0
    assert statuses == [200] * 4
    assert refreshes(oidc) == (1, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_child_refreshes_what_its_parent_was_about_to_refresh_in_the_background(
    oidc: OIDCProvider, path: Path, kind: str
) -> None:
    clock = Shifted()
    oauth = OAuth2(token_cache=place(kind, str(path), clock), clock=clock, **settings_of(oidc))
    assert get(oauth, oidc.api_url) == 200
    oidc.reset()
    oidc.delay(0.5)
    clock.ahead = 50.0
    assert get(oauth, oidc.api_url) == 200  # which begins a refresh on another thread
    until(lambda: oidc.counts()["token"])

    def later() -> bool:
        clock.ahead = 200.0
        return get(oauth, oidc.api_url) == 200

    def meanwhile() -> bool:
        """Go on with what there is, and find out that there is nothing to wait for."""
        return get(oauth, oidc.api_url) == 200 and until(lambda: not oauth._refreshing, 10.0)

    assert in_child(meanwhile) == 0
    until(lambda: not oauth._refreshing)
    assert in_child(later) == 0
    assert refreshes(oidc) == (2, 0)
    clock.ahead = 200.0
    assert get(oauth, oidc.api_url) == 200
    assert refreshes(oidc) == (2, 0)


def test_a_fork_leaves_nothing_locked(oidc: OIDCProvider, path: Path) -> None:
    clock = Shifted()
    settings = {"client_id": "cc", "client_secret": "cc-secret", "token_url": oidc.token_url}
    oauth = OAuth2(token_cache=place("cache", str(path), clock), clock=clock, **settings)
    stop, tenants = threading.Event(), itertools.count()

    def keep_refreshing() -> None:
        while not stop.is_set():
            with polvo.tenant(next(tenants)):
                oauth.token()

    threads = [threading.Thread(target=keep_refreshing) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        assert [in_child(lambda: get(oauth, oidc.api_url) == 200) for _ in range(5)] == [0] * 5
    finally:
        stop.set()
        for thread in threads:
            thread.join(PATIENCE)
    assert get(oauth, oidc.api_url) == 200


def test_in_memory_a_child_gets_a_token_of_its_own(oidc: OIDCProvider) -> None:
    settings = {"client_id": "cc", "client_secret": "cc-secret", "token_url": oidc.token_url}
    oauth = OAuth2(**settings)
    oidc.reset()
    oidc.delay(0.3)
    with get_repeatedly(oauth, oidc.api_url, 1) as statuses:
        until(lambda: oidc.counts()["token"])
        assert in_child(lambda: get(oauth, oidc.api_url) == 200) == 0  # it does not wait for a thread that it lacks
    assert statuses == [200]
    assert oidc.counts()["token"] == 2


def child_of_multiprocessing(oauth: OAuth2, url: str, answers: Any) -> None:
    answers.put(at_once(4, lambda _: get(oauth, url)))


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_an_auth_object_goes_to_other_processes(oidc: OIDCProvider, path: Path, method: str) -> None:
    """The secrets stay behind, so they are given as functions; the token is found in the cache."""
    settings = {**settings_of(oidc), "client_secret": web_secret}
    refresh_token = settings.pop("refresh_token")
    path.with_name("refresh_token").write_text(refresh_token, encoding="utf-8")
    oauth = OAuth2(flow="refresh_token", refresh_token=First(path), token_cache=str(path), **settings)
    oidc.reset()
    context = multiprocessing.get_context(method)
    answers = context.Queue()
    processes = [context.Process(target=child_of_multiprocessing, args=(oauth, oidc.api_url, answers)) for _ in "ab"]
    for process in processes:
        process.start()
    assert [answers.get(timeout=PATIENCE) for _ in processes] == [[200] * 4] * 2
    for process in processes:
        process.join(PATIENCE)
        assert process.exitcode == 0
        process.close()
    answers.close()
    answers.join_thread()
    assert get(oauth, oidc.api_url) == 200
    assert refreshes(oidc) == (1, 0)


def web_secret() -> str:
    return "web-secret"


class First:
    """Fetches the first refresh token from where an operator has put it."""

    def __init__(self, path: Path) -> None:
        self.path = path.with_name("refresh_token")

    def __call__(self) -> str:
        return self.path.read_text(encoding="utf-8")


# Ends -------------------------------------------------------------------------------------------------------------

LAST_CALL = """
import json, sys
from polvo_adapters.auth import OAuth2
from tests.support.token_sharing import Shifted, place, plain_session

given, clock = json.loads(sys.argv[1]), Shifted()
oauth = OAuth2(token_cache=place(given["kind"], given["path"], clock), clock=clock, **given["settings"])
with plain_session(oauth) as session:
    for clock.ahead in given["ahead"]:
        assert session.get(given["url"]).status_code == 200
print("the last call is over")
"""
ENDS = {"returns": "", "exits": "sys.exit(3)", "raises": "1 / 0"}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_process_ends_after_the_refresh_that_it_has_begun(
    oidc: OIDCProvider, path: Path, kind: str, end: str
) -> None:
    settings = settings_of(oidc)
    given = {"kind": kind, "path": str(path), "settings": settings, "url": oidc.api_url, "ahead": [0]}
    run = [sys.executable, "-W", "error", "-c", LAST_CALL + ENDS[end]]
    oidc.reset()
    subprocess.run([*run, json.dumps(given)], cwd=HERE, capture_output=True, timeout=PATIENCE, check=False)
    assert refreshes(oidc) == (1, 0)
    oidc.delay(1.0)
    given["ahead"] = [0, 50]  # when the token is stale
    done = subprocess.run(
        [*run, json.dumps(given)], cwd=HERE, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert (done.stdout, done.returncode) == ("the last call is over\n", {"returns": 0, "exits": 3, "raises": 1}[end])
    assert refreshes(oidc) == (2, 0)
    oidc.delay(0.0)
    clock = Shifted()
    clock.ahead = 90.0
    oauth = OAuth2(token_cache=place(kind, str(path), clock), clock=clock, **settings)
    assert get(oauth, oidc.api_url) == 200  # with the token of the process before
    assert refreshes(oidc) == (2, 0)
    clock.ahead = 200.0
    assert get(oauth, oidc.api_url) == 200  # and with its refresh token
    assert refreshes(oidc) == (3, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_others_take_over_when_the_one_who_refreshes_is_killed(oidc: OIDCProvider, path: Path, kind: str) -> None:
    settings = settings_of(oidc, deadline=10.0)
    oidc.reset()
    oidc.set(rotate=False)  # only the killed process knew the refresh token
    oidc.delay(30.0)
    with Crowd(oidc.api_url, kind, path, settings, processes=1, threads=2) as crowd:
        (process,) = crowd.processes
        crowd.tell(process, "0")
        until(lambda: oidc.counts()["token"])
        os.kill(process.pid, signal.SIGKILL)
        process.wait(PATIENCE)
        oidc.delay(0.0)
    clock = Shifted()
    other = OAuth2(token_cache=place(kind, str(path), clock), clock=clock, **{**settings, "deadline": 0.3})
    with pytest.raises(TokenRefreshError) as caught:  # for all it knows the refresh is under way
        get(other, oidc.api_url)
    assert (caught.value.reason, refreshes(oidc)) == ("timeout", (1, 0))
    with Crowd(oidc.api_url, kind, path, settings, processes=2, threads=4) as crowd:
        assert crowd.round(11.1) == Counter({200: 8})  # the lease is over
    assert refreshes(oidc) == (2, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_who_waits_takes_over_by_itself(oidc: OIDCProvider, path: Path, kind: str) -> None:
    """The same with the clocks as they are: those who wait ask again until the lease ends."""
    settings = settings_of(oidc)
    oidc.reset()
    oidc.set(rotate=False)
    oidc.delay(30.0)
    with Crowd(oidc.api_url, kind, path, {**settings, "deadline": 0.5}, processes=1, threads=1) as crowd:
        (process,) = crowd.processes
        crowd.tell(process, "0")
        until(lambda: oidc.counts()["token"])
        oauth = OAuth2(token_cache=place(kind, str(path), Shifted()), **settings)
        oidc.delay(0.0)
        with get_repeatedly(oauth, oidc.api_url, 4) as statuses:
            os.kill(process.pid, signal.SIGKILL)
            process.wait(PATIENCE)
    assert statuses == [200] * 4
    assert refreshes(oidc) == (2, 0)
