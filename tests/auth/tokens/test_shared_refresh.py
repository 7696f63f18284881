"""A token endpoint that hangs: one thread per token for all its callers, and a process that ends at once."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

import polvo_adapters as polvo
from polvo_adapters.auth import OAuth2, Token
from polvo_adapters.errors import TokenRefreshError
from polvo_adapters.refresh import background
from polvo_adapters.refresh.background import REFRESHERS, SharedCalls
from polvo_adapters.runtime.clock import SYSTEM
from polvo_adapters.runtime.workers import NoThreadError
from polvo_adapters.testing import FailureServer
from tests.support.token_sharing import at_once, until

ROOT = Path(__file__).parents[3]


class Source:
    """A source of tokens that hangs until it is released: `fetch` of an OAuth2."""

    def __init__(self) -> None:
        self.asked, self.released = 0, threading.Event()
        self.error: Exception | None = None

    def __call__(self, _: Token | None) -> Token:
        self.asked += 1
        self.released.wait(20)
        if self.error is not None:
            raise self.error
        return Token(f"token-{self.asked}", expires_in=3600.0)


@pytest.fixture
def source() -> Iterator[Source]:
    source = Source()
    yield source
    source.released.set()
    until(lambda: REFRESHERS.busy == 0)


@pytest.fixture
def api(source: Source) -> Iterator[polvo.Session]:
    with polvo.Session(
        "http://127.0.0.1:1", deadline=0.01, retry=False, auth=OAuth2(fetch=source, client_id="c")
    ) as session:
        yield session


def refused(call: Callable[[], Any]) -> str:
    """Return why there is no token."""
    try:
        call()
    except TokenRefreshError as error:
        return error.reason or ""
    except requests.RequestException as error:
        return type(error).__name__
    return "none"


def test_calls_that_give_up_leave_one_thread(source: Source, api: polvo.Session) -> None:
    before = threading.active_count()
    assert {refused(lambda: api.get("x")) for _ in range(50)} == {"timeout"}
    assert at_once(8, lambda _: refused(lambda: api.get("x"))) == ["timeout"] * 8
    until(lambda: source.asked)
    assert (source.asked, REFRESHERS.busy) == (1, 1)
    assert threading.active_count() <= before + 1
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "token refresh")


def test_the_threads_are_those_of_the_tokens(source: Source, api: polvo.Session) -> None:
    for number in range(30):
        with polvo.tenant(number % 3):
            assert refused(lambda: api.get("x")) == "timeout"
    until(lambda: source.asked == 3)
    assert (source.asked, REFRESHERS.busy) == (3, 3)


def test_there_are_so_many_threads_and_no_more(
    source: Source, api: polvo.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond that a call refreshes by itself, within its deadline, so that tokens of other servers can be had."""
    until(lambda: REFRESHERS.busy == 0)
    REFRESHERS.end_idle()
    until(lambda: len(REFRESHERS._free) == REFRESHERS._most)
    hung = SharedCalls()
    for number in range(REFRESHERS._most):
        hung.join(number, lambda _: source(None), SYSTEM.now(), 60)
    with pytest.raises(NoThreadError):
        hung.join("another", lambda _: source(None), SYSTEM.now(), 60)
    until(lambda: source.asked == REFRESHERS._most)
    other = OAuth2(fetch=lambda _: Token("other"), client_id="d")
    with polvo.Session(deadline=5, auth=other) as session, FailureServer() as server:
        session.trust_env = False
        assert session.get(server.url + "/echo").request.headers["Authorization"] == "Bearer other"


def test_all_waiting_calls_get_the_token_of_one_refresh(source: Source) -> None:
    oauth = OAuth2(fetch=source, client_id="c")
    with FailureServer() as server, polvo.Session(server.url, deadline=20, auth=oauth) as session:
        session.trust_env = False
        threading.Timer(0.1, source.released.set).start()
        answers = at_once(8, lambda _: session.get("echo").request.headers["Authorization"])
    assert (answers, source.asked) == (["Bearer token-1"] * 8, 1)


def test_every_waiting_call_gets_an_exception_of_its_own(source: Source) -> None:
    calls, errors, joined = SharedCalls(), list[BaseException](), threading.Barrier(6)
    source.error = polvo.TokenRefreshError("x: refused", host="x", reason="refused", retry_after=7.0)
    source.error.__cause__ = ZeroDivisionError()

    def wait(_: int) -> None:
        shared = calls.join("key", lambda _: source(None), SYSTEM.now(), 60)
        joined.wait(20)
        source.released.set()
        with pytest.raises(TokenRefreshError) as caught:
            shared.result(10, SYSTEM)
        errors.append(caught.value)

    at_once(6, wait)
    assert len({id(error) for error in errors}) == 6
    assert {(str(error), error.retry_after, type(error.__cause__)) for error in errors} == {  # type: ignore[attr-defined]
        ("x: refused", 7.0, ZeroDivisionError)
    }
    assert source.error in errors, "one of them has the frames of the refresh"
    assert not calls._calls


def test_a_refresh_that_never_ends_is_left_alone_after_its_time(source: Source) -> None:
    calls = SharedCalls()
    first = calls.join("key", lambda _: source(None), 0.0, 30.0)
    assert calls.join("key", lambda _: source(None), 29.0, 30.0) is first
    second = calls.join("key", lambda _: source(None), 31.0, 30.0)
    assert second is not first
    source.released.set()
    assert second.result(10, SYSTEM).access_token.startswith("token")
    assert first.result(10, SYSTEM).access_token.startswith("token")


async def test_tasks_that_give_up_leave_one_thread(source: Source) -> None:
    httpx = pytest.importorskip("httpx")
    oauth = OAuth2(fetch=source, client_id="c")
    before = threading.active_count()
    async with httpx.AsyncClient(auth=oauth.httpx()) as client:
        for _ in range(20):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(client.get("http://127.0.0.1:1/"), 0.01)
        await asyncio.to_thread(until, lambda: source.asked)
        assert (source.asked, REFRESHERS.busy) == (1, 1)
        assert threading.active_count() <= before + 1
        source.released.set()
        until(lambda: REFRESHERS.busy == 0)
        with pytest.raises(httpx.ConnectError):
            await client.get("http://127.0.0.1:1/")
    assert source.asked == 1


# The end of the process ---------------------------------------------------------------------------------------------

HANGS = """
import sys, threading, time
import polvo_adapters as polvo
from polvo_adapters.auth import OAuth2, Token
from polvo_adapters.refresh import background
from polvo_adapters.runtime import serial_thread
from polvo_adapters.secrets import Secret, fetch_all

background.LONGEST_EXIT = serial_thread.LONGEST_EXIT = 60.0  # a wait at the end is never taken for a slow machine
asked = []
case, url = sys.argv[1:]
settings = dict(client_id="a", client_secret="b", token_url=url, allow_http=True)

def give_up(auth, calls=20):
    api = polvo.Session("http://127.0.0.1:1", deadline=0.02, retry=False, auth=auth)
    for _ in range(calls):
        try:
            api.get("x")
        except polvo.TokenRefreshError:
            pass

if case == "calls":
    give_up(OAuth2(**settings))
elif case == "tenants":
    oauth = OAuth2(**settings)
    for number in range(10):
        with polvo.tenant(number):
            give_up(oauth, 2)
elif case == "function":
    give_up(OAuth2(fetch=lambda _: time.sleep(60), client_id="c"))
elif case == "secrets":
    threading.Thread(
        target=lambda: fetch_all({str(n): Secret(lambda: asked.append(1) or time.sleep(60)) for n in range(5)}),
        daemon=True,
    ).start()
    while len(asked) < 5:
        time.sleep(0.005)
elif case == "tasks":
    import asyncio, httpx
    async def main():
        async with httpx.AsyncClient(auth=OAuth2(**settings).httpx()) as client:
            for _ in range(5):
                try:
                    await asyncio.wait_for(client.get("http://127.0.0.1:1/"), 0.05)
                except asyncio.TimeoutError:
                    pass
    asyncio.run(main())
elif case == "hedge":
    api = polvo.Session(hedge=0.01, deadline=0.2, retry=False)
    api.trust_env = False
    try:
        api.get(url)
    except polvo.DeadlineExceeded:
        pass
print(len([thread for thread in threading.enumerate() if not thread.daemon]), time.time(), flush=True)
"""


@pytest.mark.parametrize("case", ["calls", "tenants", "function", "secrets", "tasks", "hedge"])
def test_a_process_ends_although_a_server_hangs(server: FailureServer, case: str) -> None:
    run = [sys.executable, "-W", "error", "-c", HANGS, case, server.url + "/fault/hang"]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    ended = time.time()
    assert (done.returncode, done.stderr) == (0, "")
    threads, said = done.stdout.split()
    assert threads == "1"
    assert ended - float(said) < 15


ROTATES = """
import sys, time
import polvo_adapters as polvo
from polvo_adapters.auth import OAuth2

api = polvo.Session("http://127.0.0.1:1", deadline=0.02, retry=False, auth=OAuth2(
    flow="refresh_token", refresh_token="r", client_id="a", client_secret="b", token_url=sys.argv[1], allow_http=True,
))
began = time.time()
try:
    api.get("x")
except polvo.TokenRefreshError:
    print(began, flush=True)
"""


def test_a_refresh_token_that_is_used_keeps_the_process_for_a_moment(server: FailureServer) -> None:
    """The response may have the only token that is accepted next; what has not come by then does not come."""
    run = [sys.executable, "-W", "error", "-c", ROTATES, server.url + "/fault/hang"]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    ended = time.time()
    assert (done.returncode, done.stderr) == (0, "")
    assert background.LONGEST_EXIT - 0.1 < ended - float(done.stdout) < 5 * background.LONGEST_EXIT


def test_a_call_that_is_over_is_not_joined_although_its_thread_has_yet_to_forget_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Otherwise a task that comes after a refusal got the refused token once more."""
    calls = SharedCalls()
    forget, go_on = SharedCalls._forget, threading.Event()

    def late(self: SharedCalls, *arguments: Any) -> None:
        if threading.current_thread() is not threading.main_thread():
            assert go_on.wait(20)
        forget(self, *arguments)

    monkeypatch.setattr(SharedCalls, "_forget", late)
    first = calls.join("token", lambda _: "first", 0.0, 60.0)
    assert first.result(20.0, SYSTEM) == "first"
    second = calls.join("token", lambda _: "second", 0.0, 60.0)
    go_on.set()
    assert second.result(20.0, SYSTEM) == "second"
