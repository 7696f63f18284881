"""Tokens that are refreshed before they expire, without a call that waits; and clocks that are set."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from polvo_adapters.auth import OAuth2, Token, TokenCache
from polvo_adapters.core.report import StateChange
from polvo_adapters.errors import TokenRefreshError
from polvo_adapters.refresh import background
from polvo_adapters.runtime.workers import NoThreadError
from polvo_adapters.stores.sqlite import SQLiteStore
from tests.auth.tokens.test_sharing import refreshes
from tests.support.oauth.servers import OIDCProvider
from tests.support.token_sharing import PATIENCE, Shifted, at_once, place, plain_session, settings_of, until

STALE, DEAD = 50.0, 100.0  # of a token that lives for 60 seconds


class Held:
    """A source of tokens that a test holds back: `fetch` of an OAuth2."""

    def __init__(self) -> None:
        self.asked, self.open = 0, threading.Event()
        self.open.set()
        self.error: Exception | None = None
        self._lock = threading.Lock()

    def __call__(self, token: Token | None) -> Token:
        with self._lock:
            self.asked += 1
            number = self.asked
        assert self.open.wait(PATIENCE)
        if self.error is not None:
            raise self.error
        return Token(f"token-{number}", expires_in=60.0)


@contextmanager
def hold_back(source: Held) -> Iterator[None]:
    source.open.clear()
    try:
        yield
    finally:
        source.open.set()


def wait_for_refresh(oauth: OAuth2) -> None:
    """Wait until no refresh is under way."""
    until(lambda: not oauth._refreshing)


@pytest.fixture
def clock() -> Shifted:
    return Shifted()


def test_nobody_waits_for_a_token_that_still_holds(clock: Shifted) -> None:
    source = Held()
    oauth = OAuth2(fetch=source, client_id="c", clock=clock)
    assert oauth.token().access_token == "token-1"
    clock.ahead = STALE
    with hold_back(source):  # all of these end while the source is held back
        assert at_once(8, lambda _: [oauth.token().access_token for _ in range(20)]) == [["token-1"] * 20] * 8
        until(lambda: source.asked == 2)
        assert oauth.token().access_token == "token-1"
    wait_for_refresh(oauth)
    assert (oauth.token().access_token, source.asked) == ("token-2", 2)


def test_real_requests_do_not_wait_for_a_slow_server(oidc: OIDCProvider, clock: Shifted) -> None:
    changes: list[StateChange] = []
    oauth = OAuth2(clock=clock, listeners=[changes.append], **settings_of(oidc))
    with plain_session(oauth) as session:
        assert session.get(oidc.api_url).status_code == 200
        oidc.reset()
        oidc.delay(PATIENCE)
        changes.clear()
        clock.ahead = STALE
        answers = at_once(8, lambda _: [session.get(oidc.api_url).status_code for _ in range(3)])
        assert (answers, changes) == ([[200] * 3] * 8, [])  # they are all back before there is another token
        oidc.release()
        wait_for_refresh(oauth)
        assert [(change.before, change.after) for change in changes] == [("generation 1", "generation 2")]
        clock.ahead = 90.0  # when the first one is dead
        assert session.get(oidc.api_url).status_code == 200
    assert refreshes(oidc) == (1, 0)


def test_those_who_come_when_it_is_dead_wait_for_the_refresh_that_is_under_way(clock: Shifted) -> None:
    source = Held()
    oauth = OAuth2(fetch=source, client_id="c", clock=clock)
    oauth.token()
    clock.ahead = STALE
    with hold_back(source):
        assert oauth.token().access_token == "token-1"
        until(lambda: source.asked == 2)
        clock.ahead = 58.0
        got: list[str] = []
        threads = [threading.Thread(target=lambda: got.append(oauth.token().access_token)) for _ in range(4)]
        for thread in threads:
            thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert (got, source.asked) == (["token-2"] * 4, 2)


def test_without_background_the_one_who_finds_out_waits_and_the_others_do_not(clock: Shifted) -> None:
    source = Held()
    oauth = OAuth2(fetch=source, client_id="c", clock=clock, background=False)
    oauth.token()
    clock.ahead = STALE
    got: list[str] = []
    thread = threading.Thread(target=lambda: got.append(oauth.token().access_token))
    with hold_back(source):
        thread.start()
        until(lambda: source.asked == 2)
        assert oauth.token().access_token == "token-1"
        assert got == []
        assert not oauth._refreshing
    thread.join(PATIENCE)
    assert got == ["token-2"]


@pytest.mark.parametrize("background", [True, False])
def test_a_refresh_that_fails_uses_up_the_token_and_only_then_raises(
    oidc: OIDCProvider, clock: Shifted, background: bool, caplog: pytest.LogCaptureFixture
) -> None:
    oauth = OAuth2(clock=clock, background=background, **settings_of(oidc))
    with plain_session(oauth) as session:
        assert session.get(oidc.api_url).status_code == 200
        oidc.reset()
        oidc.fail(400, times=100, body={"error": "invalid_request"})
        clock.ahead = STALE
        for ahead in (STALE, 52.0, 54.0, 56.0):
            clock.ahead = ahead
            assert session.get(oidc.api_url).status_code == 200
            wait_for_refresh(oauth)
        assert 1 <= oidc.counts()["token"] <= 2  # it is left alone between, longer each time
        clock.ahead = DEAD
        with pytest.raises(TokenRefreshError) as caught:
            session.get(oidc.api_url)
        assert caught.value.reason == "invalid_request"
        oidc.fail(400, times=0)
        clock.ahead = 2 * DEAD
        assert session.get(oidc.api_url).status_code == 200
    assert ("the token that there is will be used until it expires" in caplog.text) == background


def test_a_failure_in_the_background_is_told_to_listeners_and_to_the_log(
    clock: Shifted, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "polvo_adapters")
    source, changes = Held(), list[StateChange]()
    oauth = OAuth2(fetch=source, client_id="c", clock=clock, listeners=[changes.append])
    oauth.token()
    source.error = RuntimeError("hunter2")
    clock.ahead = STALE
    assert oauth.token().access_token == "token-1"
    wait_for_refresh(oauth)
    assert (changes[-1].after, changes[-1].reason) == ("not refreshed", "RuntimeError")
    assert "not refreshed" in caplog.text
    assert "hunter2" not in caplog.text


def test_many_tenants_that_are_stale_are_refreshed_once_each(clock: Shifted) -> None:
    import polvo_adapters as polvo

    asked: Counter[str] = Counter()
    lock = threading.Lock()

    def fetch(_: Token | None) -> Token:
        with lock:
            asked[polvo.current_tenant()] += 1
        return Token(f"{polvo.current_tenant()}-{asked[polvo.current_tenant()]}", expires_in=60.0)

    def use(number: int) -> str:
        with polvo.tenant(number % 10):
            return oauth.token().access_token

    oauth = OAuth2(fetch=fetch, client_id="c", clock=clock)
    assert at_once(20, use) == [f"{number % 10}-1" for number in range(20)]
    clock.ahead = STALE
    assert {token.partition("-")[0] for token in at_once(20, use)} == {str(number) for number in range(10)}
    wait_for_refresh(oauth)
    assert at_once(20, use) == [f"{number % 10}-2" for number in range(20)]
    assert asked == Counter({str(number): 2 for number in range(10)})


# Clocks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [TokenCache, SQLiteStore])
@pytest.mark.parametrize("step", [-1e6, -3600.0, -1.0, 1e6])
def test_a_wall_clock_that_is_set_makes_no_token_older_or_immortal(
    oidc: OIDCProvider, tmp_path: Path, make: Callable[..., Any], step: float
) -> None:
    """The time of the file goes on by what elapses, for all who share it."""
    wall, machine = Shifted(), Shifted()
    settings = settings_of(oidc)

    def program() -> OAuth2:
        return OAuth2(
            token_cache=make(tmp_path / "tokens", now=wall.wall, elapsed=machine.now), clock=machine, **settings
        )

    def call(oauth: OAuth2) -> int:
        with plain_session(oauth) as session:
            return session.get(oidc.api_url).status_code

    oidc.reset()
    first = program()
    assert call(first) == 200
    wall.ahead = step
    assert [call(first), call(program())] == [200, 200]
    assert refreshes(oidc) == (1, 0)
    wall.ahead, machine.ahead = step + 100.0, 100.0
    assert [call(program()), call(first)] == [200, 200]
    assert refreshes(oidc) == (2, 0)


@pytest.mark.parametrize("kind", ["cache", "sqlite"])
def test_a_wall_clock_that_is_set_forward_costs_a_refresh_at_most(
    oidc: OIDCProvider, tmp_path: Path, kind: str
) -> None:
    wall, settings = Shifted(), settings_of(oidc)
    programs = [
        OAuth2(token_cache=place(kind, str(tmp_path / "tokens"), wall), clock=Shifted(), **settings) for _ in "ab"
    ]
    oidc.reset()
    for wall.ahead in (0.0, 1e8, 0.0, 1e8 + 10):
        for oauth in programs:
            with plain_session(oauth) as session:
                assert session.get(oidc.api_url).status_code == 200
    count, refused = refreshes(oidc)
    assert count <= 2
    assert refused == 0


def test_the_end_of_the_process_waits_from_the_moment_that_a_refresh_is_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    """The refresh says so itself, and may be about to when the call that began it goes on."""
    about_to, go_on = threading.Event(), threading.Event()
    own, run, start = threading.current_thread(), background.REFRESHERS.run, threading.Thread.start

    def run_and_wait(task: Callable[[], object], name: str) -> None:
        run(task, name)
        assert about_to.wait(PATIENCE)

    def start_late(thread: threading.Thread) -> None:
        if threading.current_thread() is not own:
            about_to.set()
            go_on.wait(PATIENCE)
        start(thread)

    def work() -> None:
        background.delay_exit()
        about_to.set()
        go_on.wait(PATIENCE)

    monkeypatch.setattr(background.REFRESHERS, "run", run_and_wait)
    monkeypatch.setattr(threading.Thread, "start", start_late)
    background.start(work, "a refresh", delays_exit=True)
    guards = [thread for thread in threading.enumerate() if thread.name == "end of a refresh" and not thread.daemon]
    go_on.set()
    assert len(guards) == 1
    guards[0].join(PATIENCE)
    assert not guards[0].is_alive()


def test_the_end_of_the_process_does_not_wait_for_a_refresh_that_gets_no_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: Any) -> None:
        raise NoThreadError("all 64 threads are busy")

    monkeypatch.setattr(background.REFRESHERS, "run", refuse)
    monkeypatch.setattr(background, "LONGEST_EXIT", 4 * PATIENCE)
    with pytest.raises(NoThreadError):
        background.start(lambda: None, "a refresh", delays_exit=True)
    for thread in [each for each in threading.enumerate() if each.name == "end of a refresh"]:
        thread.join(PATIENCE)
        assert not thread.is_alive()
