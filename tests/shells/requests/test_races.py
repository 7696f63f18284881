"""Races where they are real: threads and tasks, sockets, and servers that block until they are released."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import httpx
import pytest
import requests
from requests.adapters import HTTPAdapter

from polvo_adapters.adapters import PolicyAdapter
from polvo_adapters.errors import ConfigurationError, ServiceUnavailableError
from polvo_adapters.policies.deadline import Deadline
from polvo_adapters.policies.hedge import Hedge
from polvo_adapters.policies.regions import Regions
from polvo_adapters.policies.retry import ExponentialBackoff
from polvo_adapters.runtime.clock import SystemClock
from polvo_adapters.runtime.workers import WORKERS
from polvo_adapters.testing import FailureServer
from polvo_adapters.transports import AsyncPolicyTransport, PolicyTransport

LONGEST = 30.0  # seconds until something that hangs is given up
EAGER = Hedge(delay=0.01)


@pytest.fixture
def servers() -> Iterator[list[FailureServer]]:
    running = [FailureServer() for _ in range(3)]
    for server in running:
        server.start()
    yield running
    for server in running:
        server.stop()


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    """Every thread of a race is idle again once the servers are gone."""
    yield
    eventually(lambda: len(WORKERS._idle) == sum(each.name == "polvo-race" for each in threading.enumerate()))


def eventually(condition: Callable[[], bool]) -> None:
    """Wait for what other threads are about to do."""
    end = time.monotonic() + LONGEST
    while not condition():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.002)


def mounted(*policies: Any, **keywords: Any) -> requests.Session:
    session = requests.Session()
    session.trust_env = False
    session.mount("http://", PolicyAdapter(*policies, **keywords))
    return session


def hanging_once(server: FailureServer) -> str:
    """Return a URL whose first request is not answered before the server stops."""
    return server.url + "/fault/hang?times=1"


def slow(server: FailureServer) -> str:
    """Return a URL whose answer is certainly not there at once."""
    return server.url + "/fault/slow-headers?interval=0.002"


def idle(session: requests.Session, server: FailureServer) -> int:
    """Return how many connections to a server are in the pool, ready for another request."""
    adapter: Any = session.get_adapter(server.url)
    pools = [adapter.poolmanager.pools[key] for key in adapter.poolmanager.pools.keys()]  # noqa: SIM118 - no mapping
    kept = [each for pool in pools if pool.port == server.port for each in list(pool.pool.queue)]
    return sum(connection is not None and connection.is_connected for connection in kept)


class Silent:
    """A server that takes a connection and never answers."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(LONGEST)
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.reached, self.over = threading.Event(), threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            connection, _ = self.listener.accept()
            with connection:
                connection.settimeout(LONGEST)
                while connection.recv(65_536):
                    self.reached.set()
            self.over.set()

    def hung_up_on(self) -> bool:
        """Wait for the end of the connection."""
        return self.over.wait(LONGEST)


class AfterSilence(requests.adapters.HTTPAdapter):
    """Reaches others only when the silent server was reached, so that it is not left out for being slow to start."""

    def __init__(self, silent: Silent) -> None:
        super().__init__()
        self.silent = silent

    def send(self, request: requests.PreparedRequest, *args: Any, **keywords: Any) -> requests.Response:
        if not str(request.url).startswith(self.silent.url):
            assert self.silent.reached.wait(LONGEST)
        return super().send(request, *args, **keywords)


class AfterSilenceOnTheLoop(httpx.AsyncHTTPTransport):
    """The same for asyncio."""

    def __init__(self, silent: Silent) -> None:
        super().__init__()
        self.silent = silent

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if not str(request.url).startswith(self.silent.url):
            assert await asyncio.to_thread(self.silent.reached.wait, LONGEST)
        return await super().handle_async_request(request)


@pytest.fixture
def silent() -> Iterator[Silent]:
    server = Silent()
    with server.listener:
        yield server


# Hedges ---------------------------------------------------------------------------------------------------------------


def test_a_hedge_answers_in_the_place_of_an_attempt_that_hangs(server: FailureServer) -> None:
    response = mounted(EAGER).get(hanging_once(server))
    assert (response.status_code, response.json()["method"]) == (200, "GET")
    assert response.polvo.note == "hedged: attempt 2 answered first"
    assert [attempt.failure for attempt in response.polvo.attempts] == ["", "cancelled"]


def test_the_connection_of_the_winner_is_kept_and_that_of_the_loser_is_gone(server: FailureServer) -> None:
    session = mounted(EAGER)
    session.get(hanging_once(server))
    eventually(lambda: server.open_connections == 1)
    assert idle(session, server) == 1
    assert session.post(server.url + "/echo").status_code == 200


def test_the_body_of_a_streamed_winner_can_be_read(server: FailureServer) -> None:
    session = mounted(EAGER)
    response = session.get(hanging_once(server), stream=True)
    assert idle(session, server) == 0
    assert b'"method": "GET"' in b"".join(response.iter_content(4))
    assert idle(session, server) == 1
    eventually(lambda: server.open_connections == 1)


def test_a_streamed_winner_that_is_not_read_is_closed(server: FailureServer) -> None:
    with mounted(EAGER) as session:
        response = session.get(hanging_once(server), stream=True)
        response.close()
        del response
    gc.collect()
    eventually(lambda: server.open_connections == 0)


def test_a_slow_get_is_sent_twice_and_a_slow_post_once(server: FailureServer) -> None:
    session = mounted(Hedge(delay=0.0, ratio=1.0))
    session.get(slow(server))
    eventually(lambda: len(server.requests) == 2)
    server.reset()
    response = session.post(slow(server), data=b"pay")
    assert [request.method for request in server.requests] == ["POST"]
    assert len(response.polvo.attempts) == 1


@pytest.mark.parametrize("body", [lambda: io.BytesIO(b"file"), lambda: iter([b"once"])])
def test_a_body_that_cannot_be_sent_at_once_is_sent_once(server: FailureServer, body: Callable[[], Any]) -> None:
    mounted(Hedge(delay=0.0, methods=None)).post(slow(server), data=body())
    assert len(server.requests) == 1


def test_a_body_of_bytes_arrives_whole_each_time(server: FailureServer) -> None:
    response = mounted(Hedge(delay=0.01, methods=None)).post(hanging_once(server), data=b"whole")
    assert (response.json()["method"], response.json()["body_length"]) == ("POST", 5)
    assert len(server.requests) == 2


def test_context_variables_are_seen_in_every_attempt(server: FailureServer) -> None:
    tenant: ContextVar[str] = ContextVar("tenant", default="nobody")
    seen = []

    class Looking(HTTPAdapter):
        def send(self, request: requests.PreparedRequest, **keywords: Any) -> requests.Response:
            seen.append(tenant.get())
            return super().send(request, **keywords)

    tenant.set("acme")
    mounted(EAGER, inner=Looking()).get(hanging_once(server))
    assert seen == ["acme", "acme"]


class Interrupted(SystemClock):
    """A clock that interrupts the wait for a race, once the server has the request."""

    def __init__(self, server: FailureServer) -> None:
        self.server = server

    def take(self, source: Any, seconds: float | None) -> Any:
        eventually(lambda: len(self.server.requests) == 1)
        raise KeyboardInterrupt


def test_an_interrupt_of_the_caller_cancels_all_attempts(server: FailureServer) -> None:
    session = mounted(EAGER, clock=Interrupted(server))
    with pytest.raises(KeyboardInterrupt):
        session.get(server.url + "/fault/hang")
    eventually(lambda: server.open_connections == 0)


def test_an_error_of_both_is_raised_as_it_was(server: FailureServer) -> None:
    session = mounted(Hedge(delay=0.0))
    with pytest.raises(requests.ConnectionError):
        session.get(server.url + "/fault/reset")


def test_a_deadline_ends_a_race_in_which_all_hang(server: FailureServer) -> None:
    with pytest.raises(requests.Timeout):
        mounted(Deadline(0.3), EAGER).get(server.url + "/fault/hang")
    eventually(lambda: server.open_connections == 0)


def test_retries_inside_go_on_in_each_attempt(server: FailureServer) -> None:
    session = mounted(Hedge(delay=30.0), ExponentialBackoff(base=0.001))
    response = session.get(server.url + "/fault/status?times=2")
    assert [attempt.status for attempt in response.polvo.attempts] == [503, 503, 200]


class Noting(HTTPAdapter):
    """Keeps every request and response."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[requests.PreparedRequest, requests.Response]] = []

    def send(self, request: requests.PreparedRequest, **keywords: Any) -> requests.Response:
        response = super().send(request, **keywords)
        self.seen.append((request, response))
        return response


def test_what_came_of_a_race_is_closed_before_a_retry_around_it(server: FailureServer) -> None:
    inner = Noting()
    session = mounted(ExponentialBackoff(base=0.001), Hedge(delay=LONGEST), inner=inner)
    response = session.get(server.url + "/fault/status?times=2&body=sorry", stream=True)
    assert response.status_code == 200
    assert [each.raw._connection is None for _, each in inner.seen] == [True, True, False]
    response.close()


# Regions --------------------------------------------------------------------------------------------------------------


def regions(servers: list[FailureServer], mode: Any, **keywords: Any) -> requests.Session:
    return mounted(Regions([server.url + "/fault" for server in servers], mode, **keywords))


def received(servers: list[FailureServer]) -> list[int]:
    return [len(server.requests) for server in servers]


def test_a_region_that_is_down_is_replaced(servers: list[FailureServer]) -> None:
    servers[0].stop()
    response = regions(servers, "fallback").post("http://api.example/status?code=200", data=b"pay")
    assert response.status_code == 200
    assert response.url == servers[1].url + "/fault/status?code=200"
    assert received(servers) == [0, 1, 0]


def test_a_one_shot_body_goes_to_another_region_if_it_was_never_sent(servers: list[FailureServer]) -> None:
    servers[0].stop()
    session = mounted(Regions([server.url for server in servers]))
    response = session.post("http://api.example/echo", data=iter([b"o", b"k"]))
    assert response.json()["body_length"] == 2
    assert received(servers) == [0, 1, 0]


def test_where_all_are_bad_the_answer_can_still_be_read(servers: list[FailureServer]) -> None:
    for server in servers[1:]:
        server.stop()
    response = regions(servers, "fallback").get("http://api.example/status?code=503&body=sorry")
    assert (response.status_code, response.text) == (503, "sorry")


def test_streamed_answers_that_are_not_returned_are_closed(servers: list[FailureServer]) -> None:
    session = regions(servers, "fanout")
    response = session.get("http://api.example/status?code=200&body=all", stream=True)
    eventually(lambda: [server.open_connections for server in servers] == [1, 0, 0])
    assert response.text == "all"


WON = "http://api.example/fault/status?code=200&body=won"


def test_losers_of_a_race_are_hung_up_on(server: FailureServer, silent: Silent) -> None:
    session = mounted(Regions([silent.url, server.url], "race"), inner=AfterSilence(silent))
    response = session.get(WON)
    assert (response.text, response.polvo.note) == ("won", f"127.0.0.1:{server.port} answered first")
    assert silent.hung_up_on()
    assert idle(session, server) == 1


def test_a_quorum_is_content_without_a_region_that_hangs(servers: list[FailureServer], silent: Silent) -> None:
    session = mounted(Regions([silent.url, servers[0].url, servers[1].url], "quorum"), inner=AfterSilence(silent))
    response = session.get(WON, stream=True)
    assert response.text == "won"
    assert received(servers) == [1, 1, 0]
    assert silent.hung_up_on()


def test_a_quorum_that_is_missed_raises_with_an_answer(servers: list[FailureServer], silent: Silent) -> None:
    servers[0].stop()
    session = mounted(Regions([servers[0].url, servers[1].url, silent.url], "quorum"), inner=AfterSilence(silent))
    with pytest.raises(ServiceUnavailableError) as caught:
        session.get("http://api.example/fault/status?code=502&body=sorry")
    error = caught.value
    assert error.response is not None
    assert (error.response.status_code, error.response.text) == (502, "sorry")
    assert f"127.0.0.1:{servers[0].port} no connection, 127.0.0.1:{servers[1].port} 502" in str(error)
    assert silent.hung_up_on()


def test_a_fanout_reaches_all(servers: list[FailureServer]) -> None:
    session = regions(servers, "fanout", methods=None)
    response = session.put("http://api.example/status?code=201", data=b"all")
    assert (response.status_code, response.polvo.note) == (201, "3 of 3 regions succeeded")
    assert received(servers) == [1, 1, 1]
    assert response.url.startswith(servers[0].url)
    assert [idle(session, server) for server in servers] == [1, 1, 1]


def test_the_host_header_is_that_of_the_region(servers: list[FailureServer]) -> None:
    session = mounted(Regions([server.url for server in servers], "fanout"))
    response = session.get("http://api.example/echo", headers={"Host": "api.example"})
    assert response.json()["headers"]["host"] == f"127.0.0.1:{servers[0].port}"


def test_what_is_not_safe_is_refused_before_anything_is_sent(servers: list[FailureServer]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        regions(servers, "race").post("http://api.example/status")
    assert isinstance(caught.value, requests.RequestException)
    assert received(servers) == [0, 0, 0]


def test_a_race_within_a_hedge_leaves_nothing_behind(servers: list[FailureServer]) -> None:
    session = mounted(EAGER, Regions([f"{server.url}/fault" for server in servers], "race"))
    response = session.get("http://api.example/hang?times=1")
    assert response.json()["method"] == "GET"
    eventually(lambda: sum(server.open_connections for server in servers) <= 3)


# httpx ----------------------------------------------------------------------------------------------------------------


def test_an_httpx_client_hedges(server: FailureServer) -> None:
    with httpx.Client(transport=PolicyTransport(EAGER), timeout=None) as client:
        response = client.get(hanging_once(server))
        assert response.json()["method"] == "GET"
        assert response.extensions["polvo"].note == "hedged: attempt 2 answered first"


def test_a_hedge_on_the_loop_closes_what_it_cancels(server: FailureServer) -> None:
    async def work() -> httpx.Response:
        async with httpx.AsyncClient(transport=AsyncPolicyTransport(EAGER), timeout=None) as client:
            response = await client.get(hanging_once(server))
            await asyncio.to_thread(eventually, lambda: server.open_connections == 1)
            return response

    response = asyncio.run(work())
    assert response.json()["method"] == "GET"
    assert response.extensions["polvo"].note == "hedged: attempt 2 answered first"


def test_a_task_that_is_cancelled_cancels_all_attempts(server: FailureServer) -> None:
    async def work() -> None:
        async with httpx.AsyncClient(transport=AsyncPolicyTransport(EAGER), timeout=None) as client:
            task = asyncio.ensure_future(client.get(server.url + "/fault/hang"))
            await asyncio.to_thread(eventually, lambda: len(server.requests) == 2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.to_thread(eventually, lambda: server.open_connections == 0)

    asyncio.run(work())


def test_regions_race_on_the_loop(server: FailureServer, silent: Silent) -> None:
    policy = Regions([silent.url, server.url], "race")

    async def work() -> httpx.Response:
        transport = AsyncPolicyTransport(policy, inner=AfterSilenceOnTheLoop(silent))
        async with httpx.AsyncClient(transport=transport, timeout=None) as client:
            response = await client.get(WON)
            assert await asyncio.to_thread(silent.hung_up_on)
            return response

    assert asyncio.run(work()).text == "won"
