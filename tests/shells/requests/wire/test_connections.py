"""Which connection serves which attempt, and what a connection of another kind still is."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection

import polvo_adapters as polvo
from polvo_adapters.shells.requests.pool_limits import IDLE_SECONDS
from polvo_adapters.shells.requests.wire.connections import STALE_SECONDS, TracedConnection
from polvo_adapters.testing import FailureServer
from polvo_adapters.testing.virtual_clock import VirtualClock

KINDS = ["own pools", "wrapped", "used before"]


def session(kind: str, clock: VirtualClock, server: FailureServer, **keywords: Any) -> requests.Session:
    session = requests.Session()
    inner = None if kind == "own pools" else HTTPAdapter()
    if inner is not None and kind == "used before":
        session.mount("http://", inner)
        session.get(server.url + "/echo")  # leaves a connection of unknown age
    session.mount("http://", polvo.ResilientAdapter(inner=inner, clock=clock, **keywords))
    return session


def ports(server: FailureServer, session: requests.Session, *methods: Any, idle: float, clock: VirtualClock) -> int:
    """Return how many connections the requests have used, with a pause between each and the next."""
    used = set()
    for method, body in methods:
        response = session.request(method, server.url + "/echo", data=body() if callable(body) else body, stream=True)
        used.add(response.raw._connection.sock.getsockname()[1])
        response.content  # noqa: B018 - reads it, which gives the connection back
        clock.advance(idle)
    return len(used)


@pytest.mark.parametrize("kind", ["own pools", "wrapped"])
@pytest.mark.parametrize(
    ("method", "body", "keyed", "safe"),
    [
        ("GET", None, False, True),
        ("PUT", b"x", False, True),
        ("DELETE", None, False, True),
        ("POST", None, False, False),
        ("POST", b"x", False, False),
        ("PATCH", b"x", False, False),
        ("POST", b"x", True, True),
        ("PUT", lambda: iter([b"x"]), False, False),
    ],
)
@pytest.mark.parametrize("idle", [0.0, STALE_SECONDS - 0.5, STALE_SECONDS, 600.0])
def test_what_must_not_be_repeated_goes_out_on_a_connection_that_is_surely_alive(
    kind: str, method: str, body: Any, keyed: bool, safe: bool, idle: float, server: FailureServer
) -> None:
    clock = VirtualClock()
    calls = session(kind, clock, server, idempotency=True if keyed else None)
    used = ports(server, calls, (method, body), (method, body), idle=idle, clock=clock)
    assert used == (1 if idle < (IDLE_SECONDS if safe else STALE_SECONDS) else 2)
    calls.close()


def test_a_connection_of_unknown_age_is_not_trusted(server: FailureServer) -> None:
    for method, expected in (("GET", 1), ("POST", 2)):
        calls = session("used before", VirtualClock(), server)
        (pool,) = calls.get_adapter(server.url).inner.poolmanager.pools._container.values()
        before = next(each for each in pool.pool.queue if each is not None).sock.getsockname()[1]
        response = calls.request(method, server.url + "/echo", stream=True)
        after = response.raw._connection.sock.getsockname()[1]
        assert len({before, after}) == expected
        response.close()
        calls.close()


class OwnConnection(HTTPConnection):
    """A class of one's own, as those for UNIX sockets are."""

    connected = 0

    def connect(self) -> None:
        OwnConnection.connected += 1
        super().connect()


@pytest.fixture
def own_pools() -> Iterator[HTTPAdapter]:
    class Pool(urllib3.HTTPConnectionPool):
        ConnectionCls = OwnConnection

    class Adapter(HTTPAdapter):
        def init_poolmanager(self, *args: Any, **keywords: Any) -> None:
            super().init_poolmanager(*args, **keywords)
            self.poolmanager.pool_classes_by_scheme = {"http": Pool}

    OwnConnection.connected = 0
    adapter = Adapter()
    yield adapter
    adapter.close()


@pytest.mark.parametrize("deadline", [None, 10.0])
def test_a_connection_class_of_ones_own_stays_what_it_is(
    deadline: float | None, own_pools: HTTPAdapter, server: FailureServer
) -> None:
    calls = requests.Session()
    calls.mount("http://", polvo.ResilientAdapter(inner=own_pools, deadline=deadline))
    response = calls.get(server.url + "/echo", stream=True)
    connection = response.raw._connection
    assert isinstance(connection, OwnConnection)
    assert isinstance(connection, TracedConnection)
    assert type(connection).__name__ == "OwnConnection"
    response.close()
    assert OwnConnection.connected == 1


def test_a_connection_that_goes_back_to_its_pool_is_an_ordinary_one(server: FailureServer) -> None:
    """It obeys no deadline of a call that is over, where other code uses it."""
    inner = HTTPAdapter()
    calls = requests.Session()
    calls.mount("http://", polvo.ResilientAdapter(inner=inner, deadline=0.2))
    calls.get(server.url + "/echo")
    calls.mount("http://", inner)
    slow = calls.get(server.url + "/fault/slow-headers?interval=0.02&size=20", timeout=10)
    assert slow.elapsed.total_seconds() > 0.2 or slow.status_code == 200
    assert isinstance(slow.raw._original_response, http.client.HTTPResponse)
    calls.close()
