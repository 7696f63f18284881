"""Calls where no other thread can be had: at a limit, and while the interpreter shuts down. They go on without."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import requests

import polvo_adapters as polvo
from polvo_adapters.auth import OAuth2, Token
from polvo_adapters.context.call import LogicalCall, call_started
from polvo_adapters.errors import ServiceUnavailableError, TokenRefreshError
from polvo_adapters.policies.hedge import Hedge
from polvo_adapters.policies.regions import Regions
from polvo_adapters.refresh import background
from polvo_adapters.runtime import clock as clock_module
from polvo_adapters.runtime.clock import SYSTEM, SystemClock
from polvo_adapters.runtime.workers import NoThreadError, Workers
from polvo_adapters.secrets import Secret, batch, fetch_all
from polvo_adapters.testing import FailureServer
from tests.support.token_sharing import Shifted

ROOT = Path(__file__).parents[3]
REAL_START = threading.Thread.start


def refuse(thread: threading.Thread) -> None:
    """Do what CPython does at a limit, and at the end."""
    if thread.name.startswith(("polvo", "token refresh", "secret", "end of a refresh", "asyncio")):
        raise RuntimeError("can't start new thread")
    REAL_START(thread)


@pytest.fixture(params=["limit of the system", "limit of ours"])
def _no_thread(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    most = 0
    if request.param == "limit of the system":
        monkeypatch.setattr(threading.Thread, "start", refuse)
        most = 256
    allow(monkeypatch, most)


def allow(monkeypatch: pytest.MonkeyPatch, most: int) -> Workers:
    """Let there be so many threads of each kind, none of which is idle now; return those of races."""
    races = Workers(most=most)
    monkeypatch.setattr(clock_module, "WORKERS", races)
    monkeypatch.setattr(batch, "WORKERS", races)
    monkeypatch.setattr(background, "REFRESHERS", Workers("token refresh", most))
    return races


@pytest.fixture
def servers() -> Iterator[list[FailureServer]]:
    running = [FailureServer() for _ in range(3)]
    for server in running:
        server.start()
    yield running
    for server in running:
        server.stop()


def mounted(*policies: Any) -> requests.Session:
    session = requests.Session()
    session.trust_env = False
    session.mount("http://", polvo.PolicyAdapter(*policies))
    return session


def counts(servers: list[FailureServer]) -> list[int]:
    return [len(server.requests) for server in servers]


@pytest.mark.usefixtures("_no_thread")
class TestRaces:
    @pytest.mark.parametrize("status", [200, 404, 503])
    @pytest.mark.parametrize("delay", [0.0, 0.2])
    def test_a_call_is_not_hedged(self, server: FailureServer, delay: float, status: int) -> None:
        response = mounted(Hedge(delay=delay)).get(f"{server.url}/fault/status?code={status}")
        assert (response.status_code, len(server.requests)) == (status, 1)

    def test_what_is_raised_is_that_of_the_call(self, server: FailureServer) -> None:
        with pytest.raises(requests.ConnectionError):
            mounted(Hedge(delay=0.0)).get(server.url + "/fault/reset")

    def test_an_interrupt_comes_through(self) -> None:
        class Interrupted(requests.adapters.BaseAdapter):
            def send(self, *_: Any, **__: Any) -> requests.Response:
                raise KeyboardInterrupt

        session = requests.Session()
        session.mount("http://", polvo.PolicyAdapter(Hedge(delay=0.0), inner=Interrupted()))
        with pytest.raises(KeyboardInterrupt):
            session.get("http://shop.example.test/")

    def test_the_body_of_a_stream_can_be_read(self, server: FailureServer) -> None:
        response = mounted(Hedge(delay=0.0)).get(server.url + "/echo?size=9", stream=True)
        assert response.raw.read() == b"x" * 9

    @pytest.mark.parametrize(
        ("settings", "asked"),
        [
            ({"mode": "race"}, [1, 0, 0]),
            ({"mode": "race", "stagger": 0.05}, [1, 0, 0]),
            ({"mode": "quorum"}, [1, 1, 0]),
            ({"mode": "fanout"}, [1, 1, 1]),
        ],
    )
    def test_regions_are_asked_in_turn(
        self, servers: list[FailureServer], settings: dict[str, Any], asked: list[int]
    ) -> None:
        regions = Regions([server.url for server in servers], **settings)
        assert mounted(regions).get(servers[0].url + "/echo").status_code == 200
        assert counts(servers) == asked

    @pytest.mark.parametrize("mode", ["race", "quorum", "fanout"])
    def test_a_region_that_fails_leads_to_the_next(self, servers: list[FailureServer], mode: Any) -> None:
        servers[0].stop()
        regions = Regions([server.url for server in servers], mode=mode)
        assert mounted(regions).get(servers[0].url + "/echo").status_code == 200

    def test_no_quorum_is_no_quorum(self, servers: list[FailureServer]) -> None:
        urls = [server.url for server in servers]
        for server in servers[:2]:
            server.stop()
        with pytest.raises(ServiceUnavailableError):
            mounted(Regions(urls, mode="quorum")).get(urls[0] + "/echo")
        assert counts(servers)[2] == 0, "two of three have failed, so that the third cannot help"

    def test_a_whole_stack(self, server: FailureServer) -> None:
        session = polvo.Session(hedge=0.0, bulkhead=2, circuit_breaker=True, deadline=10)
        assert session.get(server.url + "/fault/status?times=1&retry_after=0.01").status_code == 200


def test_a_late_call_without_a_thread_for_its_hedge_is_waited_for(
    server: FailureServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow(monkeypatch, 1)
    response: Any = mounted(Hedge(delay=0.01)).get(server.url + "/fault/drip?size=4&interval=0.2")
    assert (response.status_code, len(server.requests), len(response.polvo.attempts)) == (200, 1, 1)


def test_regions_with_few_threads_wait_for_one(servers: list[FailureServer], monkeypatch: pytest.MonkeyPatch) -> None:
    allow(monkeypatch, 1)
    regions = Regions([server.url for server in servers], mode="fanout")
    assert mounted(regions).get(servers[0].url + "/echo").status_code == 200
    assert counts(servers) == [1, 1, 1]


class Choosy(SystemClock):
    """Refuses a thread to some tasks, by their numbers."""

    def __init__(self, *refused: int) -> None:
        self._numbers, self._refused = count(), refused

    def spawn(self, task: Callable[[], object]) -> None:  # type: ignore[override]
        if next(self._numbers) in self._refused:
            raise RuntimeError("can't start new thread")
        SystemClock.spawn(task)


def test_a_call_that_runs_here_can_be_cancelled_by_the_race_that_it_is_part_of(
    server: FailureServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The outer race has threads; the inner one has none, and hangs on the first thread of the outer one."""
    workers = allow(monkeypatch, 8)
    session = requests.Session()
    hedge = Hedge(delay=0.05, budget=None)
    session.mount("http://", polvo.PolicyAdapter(hedge, hedge, clock=Choosy(1)))
    assert session.get(server.url + "/fault/hang?times=1", timeout=30).status_code == 200
    until_idle(workers)


def until_idle(workers: Workers) -> None:
    end = time.monotonic() + 10
    while workers.busy:
        assert time.monotonic() < end, "a thread still hangs"
        time.sleep(0.005)


# Values that are refreshed ----------------------------------------------------------------------------------------


def in_call(seconds: float, function: Callable[[], Any]) -> Any:
    """Return what a function returns within a call that has so many seconds."""
    now = SYSTEM.now()
    token = call_started.set(LogicalCall(None, now, now + seconds))
    try:
        return function()
    finally:
        call_started.reset(token)


@pytest.mark.usefixtures("_no_thread")
class TestRefreshes:
    def test_a_call_with_a_deadline_refreshes_by_itself(self) -> None:
        threads: list[str] = []

        def fetch(_: Token | None) -> Token:
            threads.append(threading.current_thread().name)
            return Token("token")

        oauth = OAuth2(fetch=fetch, client_id="c")
        assert in_call(5, oauth.token).access_token == "token"
        assert threads == [threading.current_thread().name]

    def test_within_its_deadline(self, server: FailureServer) -> None:
        oauth = OAuth2(client_id="c", client_secret="s", token_url=server.url + "/fault/hang", allow_http=True)
        began = time.monotonic()
        with pytest.raises(TokenRefreshError) as caught:
            in_call(0.2, oauth.token)
        assert caught.value.reason == "timeout"
        assert time.monotonic() - began < 8  # of ten and more

    def test_an_error_is_that_of_the_refresh_and_not_of_the_thread(self) -> None:
        def fetch(_: Token | None) -> Token:
            raise ZeroDivisionError

        with pytest.raises(TokenRefreshError) as caught:
            in_call(5, OAuth2(fetch=fetch, client_id="c").token)
        seen: BaseException | None = caught.value
        while seen is not None:
            assert not isinstance(seen, NoThreadError)
            seen = seen.__context__

    def test_a_stale_token_is_used_and_refreshed_when_there_is_a_thread(self, monkeypatch: pytest.MonkeyPatch) -> None:
        clock, asked = Shifted(), list[int]()

        def fetch(_: Token | None) -> Token:
            asked.append(1)
            return Token(f"token-{len(asked)}", expires_in=60.0)

        oauth = OAuth2(fetch=fetch, client_id="c", clock=clock)
        assert oauth.token().access_token == "token-1"
        clock.ahead = 50.0
        assert [oauth.token().access_token for _ in range(3)] == ["token-1"] * 3
        assert not oauth._refreshing
        monkeypatch.undo()
        oauth.token()
        end = time.monotonic() + 10
        while oauth.token().access_token != "token-2" and time.monotonic() < end:
            time.sleep(0.005)
        assert oauth.token().access_token == "token-2"

    def test_secrets_are_fetched_one_after_the_other(self) -> None:
        given = {str(number): Secret(lambda number=number: f"value {number}") for number in range(5)}
        assert fetch_all(given) == {str(number): f"value {number}" for number in range(5)}

    async def test_a_task_of_an_event_loop_gets_its_token(self) -> None:
        httpx = pytest.importorskip("httpx")
        oauth = OAuth2(fetch=lambda _: Token("token"), client_id="c")
        flow = oauth.httpx().async_auth_flow(httpx.Request("GET", "http://shop.example.test/"))
        request = await anext(flow)
        assert request.headers["Authorization"] == "Bearer token"


# The end of the interpreter -----------------------------------------------------------------------------------------

AT_EXIT = """
import atexit, sys, threading
import polvo_adapters as polvo
from polvo_adapters.auth import OAuth2, Token

session = polvo.Session(hedge=0.01, deadline=10, auth=OAuth2(fetch=lambda _: Token("t"), client_id="c"))
session.trust_env = False

def at_exit():
    if sys.argv[2] == "3.12":  # this is how later versions behave
        def start(thread):
            raise RuntimeError("can't create new thread at interpreter shutdown")
        threading.Thread.start = start
    print(session.get(sys.argv[1] + "/echo").status_code, polvo.get(sys.argv[1] + "/echo").status_code)
    polvo.close()
    polvo.close()

atexit.register(at_exit)
"""


@pytest.mark.parametrize("version", ["this", "3.12"])
def test_a_last_report_is_sent_at_exit(server: FailureServer, version: str) -> None:
    run = [sys.executable, "-W", "error", "-c", AT_EXIT, server.url, version]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("200 200\n", "", 0)
