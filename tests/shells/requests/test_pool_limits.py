"""Sockets that stay open: as many as the bound says, whatever hosts and proxies a program goes through."""

from __future__ import annotations

import gc
import pickle
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from urllib3 import HTTPConnectionPool

import polvo_adapters as polvo
import polvo_adapters.requests as dropin
from polvo_adapters.adapters import PolicyAdapter, ResilientAdapter
from polvo_adapters.shells.requests import api, pool_limits
from polvo_adapters.shells.requests.pool_limits import IDLE_SECONDS, LEAST_POOLS
from polvo_adapters.testing import FailureServer, VirtualClock

MANY = 60
LONGEST = 10.0  # seconds until something that does not happen is given up


def eventually(condition: Callable[[], bool]) -> bool:
    """Wait for what the server is about to see; return whether it does."""
    end = time.monotonic() + LONGEST
    while not condition() and time.monotonic() < end:
        time.sleep(0.002)
    return condition()


@pytest.fixture
def _every_name_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Resolve every name to this machine."""
    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda _, *args, **keywords: real("127.0.0.1", *args, **keywords))


@pytest.fixture(autouse=True)
def _no_garbage_collection() -> Iterator[None]:
    """Whatever is freed is freed by its last reference."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture(autouse=True)
def _fresh_verbs() -> Iterator[None]:
    yield
    polvo.close()


class Way:
    """A way to make calls, from which each call takes another host or proxy."""

    def __init__(self, name: str, server: FailureServer) -> None:
        self.name, self.server = name, server
        self.session: Any = {
            "verbs": polvo,
            "drop-in verbs": dropin,
            "session": polvo.Session(),
            "drop-in session": dropin.Session(),
            "mounted": self.mount(requests.Session()),
            "installed": polvo.install(self.mount(requests.Session())),
            "unpickled": pickle.loads(pickle.dumps(self.mount(requests.Session()))),
        }[name]

    @staticmethod
    def mount(session: Any) -> Any:
        session.mount("http://", ResilientAdapter())
        return session

    def call(self, number: int, variety: str, **keywords: Any) -> requests.Response:
        port = self.server.port
        url = "http://shop.example.test/echo?size=9"
        if variety == "proxies":
            keywords["proxies"] = {"http": f"http://user-{number}:secret@127.0.0.1:{port}"}
        elif variety == "hosts":
            url = f"http://host-{number}.example.test:{port}/echo?size=9"
        elif number % 2:
            return self.call(number, "hosts", **keywords)
        else:
            return self.call(number, "proxies", **keywords)
        response: requests.Response = self.session.get(url, **keywords)
        return response


WAYS = ["verbs", "drop-in verbs", "session", "drop-in session", "mounted", "installed", "unpickled"]


@pytest.mark.usefixtures("_every_name_is_here")
@pytest.mark.parametrize("keeps", [False, True], ids=["responses dropped", "responses kept"])
@pytest.mark.parametrize("variety", ["proxies", "hosts", "both"])
@pytest.mark.parametrize("name", WAYS)
def test_sockets_are_bounded_over_all_hosts_and_proxies(
    server: FailureServer, name: str, variety: str, keeps: bool
) -> None:
    way = Way(name, server)
    kept = []
    for number in range(MANY):
        response = way.call(number, variety)
        assert response.status_code == 200
        if keeps:
            kept.append(response)
    assert eventually(lambda: server.open_connections <= LEAST_POOLS)
    assert server.open_connections >= 2, "nothing is kept at all"


def test_memory_is_bounded_too(server: FailureServer) -> None:
    adapter = ResilientAdapter(pool_connections=2)
    for number in range(300):
        proxy = {"http": f"http://user-{number}@127.0.0.1:{server.port}"}
        adapter.send(requests.Request("GET", "http://shop.example.test/echo").prepare(), proxies=proxy)
    assert len(adapter.proxy_manager) <= LEAST_POOLS + 1
    for number in range(300):  # no pool comes of these
        with pytest.raises(requests.RequestException):
            adapter.send(requests.Request("GET", "http://x.test/").prepare(), proxies={"http": f"http://:{number}"})
    assert len(adapter.proxy_manager) <= LEAST_POOLS + 1


def test_the_least_recently_used_proxy_goes_first(server: FailureServer) -> None:
    adapter = ResilientAdapter()
    session = requests.Session()
    session.mount("http://", adapter)

    def call(number: int) -> None:
        proxy = f"http://user-{number}@127.0.0.1:{server.port}"
        session.get("http://shop.example.test/echo", proxies={"http": proxy})

    call(0)
    first = next(iter(adapter.proxy_manager.values()))
    for number in range(1, MANY):
        call(number)
        call(0)
    assert next(iter(adapter.proxy_manager.values())) is first
    assert [url.partition("-")[2].partition("@")[0] for url in adapter.proxy_manager] == [
        "0",
        *map(str, range(MANY - LEAST_POOLS + 1, MANY)),
    ]


def test_those_who_ask_for_more_pools_get_them(server: FailureServer) -> None:
    session = requests.Session()
    session.mount("http://", ResilientAdapter(pool_connections=MANY))
    way = Way("mounted", server)
    way.session = session
    for number in range(MANY):
        way.call(number, "proxies")
    assert server.open_connections == MANY


@pytest.mark.usefixtures("_every_name_is_here")
@pytest.mark.parametrize("variety", ["proxies", "hosts"])
def test_what_is_idle_for_long_is_closed_by_the_next_call(server: FailureServer, variety: str) -> None:
    clock = VirtualClock()
    way = Way("mounted", server)
    way.session.mount("http://", ResilientAdapter(clock=clock))
    kept = [way.call(number, variety) for number in range(8)]
    assert server.open_connections == 8
    clock.advance(IDLE_SECONDS - 1)
    way.call(0, variety)
    assert server.open_connections == 8
    clock.advance(IDLE_SECONDS - 1)
    kept.append(way.call(0, variety))
    assert eventually(lambda: server.open_connections == 1)
    assert way.call(1, variety).text == "x" * 9


@pytest.mark.usefixtures("_every_name_is_here")
@pytest.mark.parametrize("variety", ["proxies", "hosts"])
@pytest.mark.parametrize("end", ["evicted", "idle", "closed"])
def test_a_response_that_is_being_read_outlives_its_pool(server: FailureServer, variety: str, end: str) -> None:
    clock = VirtualClock()
    way = Way("mounted", server)
    adapter = ResilientAdapter(clock=clock)
    way.session.mount("http://", adapter)
    slow = "/fault/drip?size=10&interval=0.01"
    proxied = variety == "proxies"
    url = ("http://shop.example.test" if proxied else f"http://slow.example.test:{server.port}") + slow
    proxies = {"http": f"http://slow@127.0.0.1:{server.port}"} if proxied else {}
    response = way.session.get(url, proxies=proxies, stream=True)
    parts = response.iter_content(1)
    body = next(parts)
    if end == "evicted":
        for number in range(MANY):
            way.call(number, variety)
    elif end == "idle":
        clock.advance(2 * IDLE_SECONDS)
        way.call(0, variety)
    else:
        adapter.close()
    body += b"".join(parts)
    assert len(body) == 10
    adapter.close()
    assert eventually(lambda: server.open_connections == 0), "its connection was kept after the response"


@pytest.mark.parametrize("block", [False, True])
def test_a_retired_pool_that_a_call_has_just_been_given_can_be_used(server: FailureServer, block: bool) -> None:
    pool = HTTPConnectionPool("127.0.0.1", server.port, maxsize=1, block=block)
    kept = [pool.request("GET", "/echo")]
    pool_limits.retire(pool)
    pool_limits.retire(pool)
    assert eventually(lambda: server.open_connections == 0)
    kept += [pool.request("GET", "/echo") for _ in range(3)]
    assert [response.status for response in kept] == [200] * 4
    assert eventually(lambda: server.open_connections == 0)
    pool.close()


def test_a_retired_pool_that_blocks_still_wakes_those_who_wait(server: FailureServer) -> None:
    pool = HTTPConnectionPool("127.0.0.1", server.port, maxsize=1, block=True)
    first = pool.request("GET", "/echo?size=9", preload_content=False)
    statuses: list[int] = []
    waiting = threading.Thread(target=lambda: statuses.append(pool.request("GET", "/echo").status), daemon=True)
    waiting.start()
    time.sleep(0.05)
    pool_limits.retire(pool)
    first.read()
    first.release_conn()
    waiting.join(LONGEST)
    assert statuses == [200]


@pytest.mark.parametrize("name", ["session", "drop-in session", "mounted", "installed"])
@pytest.mark.parametrize("variety", ["proxies"])
def test_a_session_that_is_dropped_without_close_leaves_no_socket(
    server: FailureServer, name: str, variety: str
) -> None:
    way = Way(name, server)
    for number in range(5):
        way.call(number, variety)
    assert server.open_connections == 5
    del way
    assert eventually(lambda: server.open_connections == 0)


def test_threads_may_evict_what_others_use(server: FailureServer) -> None:
    """Every call is answered, however often its pool is retired under its hands."""
    session = requests.Session()
    adapter = PolicyAdapter()
    adapter._pool_limits._most = 2
    session.mount("http://", adapter)
    errors: list[Exception] = []

    def work(own: int) -> None:
        for number in range(30):
            proxy = {"http": f"http://user-{(own + number) % 7}@127.0.0.1:{server.port}"}
            try:
                assert session.get("http://shop.example.test/echo", proxies=proxy).status_code == 200
                if number % 10 == own:
                    adapter.close()
            except Exception as error:  # noqa: BLE001 - the test shows what it is
                errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert errors == []
    adapter.close()
    assert eventually(lambda: server.open_connections == 0)


# polvo_adapters.close ---------------------------------------------------------------------------------------------


def test_close_closes_what_the_verbs_of_both_faces_share(server: FailureServer) -> None:
    for verb in (polvo.get, dropin.get):
        verb(server.url + "/echo")
        verb("http://shop.example.test/echo", proxies={"http": server.url})
    assert server.open_connections == 4
    polvo.close()
    assert eventually(lambda: server.open_connections == 0)
    polvo.close()
    assert [verb(server.url + "/echo").status_code for verb in (polvo.get, dropin.get)] == [200, 200]
    assert server.open_connections == 2


def test_close_keeps_what_the_verbs_have_learned(server: FailureServer) -> None:
    polvo.get(server.url + "/echo")
    store = api._connections.adapter.store
    polvo.close()
    polvo.get(server.url + "/echo")
    assert api._connections.adapter.store is store


def test_close_leaves_sessions_alone(server: FailureServer) -> None:
    session = polvo.Session()
    session.get(server.url + "/echo")
    polvo.close()
    session.get(server.url + "/echo")
    assert server.open_connections == 1


def test_close_while_other_threads_call(server: FailureServer) -> None:
    errors: list[Exception] = []
    over = threading.Event()

    def work(verb: Callable[..., requests.Response]) -> None:
        while not over.is_set():
            try:
                assert verb(server.url + "/echo?size=2000").text == "x" * 2000
            except Exception as error:  # noqa: BLE001, PERF203 - the test shows what it is
                errors.append(error)

    threads = [threading.Thread(target=work, args=(verb,)) for verb in (polvo.get, dropin.get) * 2]
    for thread in threads:
        thread.start()
    for _ in range(200):
        polvo.close()
    over.set()
    for thread in threads:
        thread.join(LONGEST)
    assert errors == []


def test_a_body_is_read_to_its_end_after_close(server: FailureServer) -> None:
    response = polvo.get(server.url + "/fault/drip?size=10&interval=0.01", stream=True)
    polvo.close()
    assert len(response.content) == 10
    assert eventually(lambda: server.open_connections == 0)
