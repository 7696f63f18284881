"""What others have replaced proves nothing, and is called as under bare requests."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import pytest
import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection

import polvo_adapters as polvo
from polvo_adapters.testing import FailureServer

FAST = {"base": 0.001}
KEYWORDS: dict[str, dict[str, Any]] = {"retry": {}, "deadline": {"deadline": 10}}


class WithSlots(HTTPAdapter):
    __slots__ = ("ssl_context",)


class OwnAttributes(HTTPAdapter):
    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)


class Expecting(HTTPAdapter):
    def __init_subclass__(cls, *, needed: int) -> None:
        super().__init_subclass__()


class Failover(HTTPAdapter):
    """Sends elsewhere before it sends to a server that refuses."""

    def send(self, request: Any, *args: Any, **keywords: Any) -> Any:
        primary = HTTPAdapter()
        try:
            return primary.send(request, *args, **keywords)
        except requests.ConnectionError:
            request.url = "http://127.0.0.1:1/"
        finally:
            primary.close()
        return super().send(request, *args, **keywords)


def with_own_lookup() -> HTTPAdapter:
    adapter = HTTPAdapter()
    ask = adapter.get_connection_with_tls_context
    adapter.get_connection_with_tls_context = lambda *args, **keywords: ask(*args, **keywords)  # type: ignore[method-assign]
    return adapter


def with_patched_pool(name: str) -> Callable[[], HTTPAdapter]:
    class Adapter(HTTPAdapter):
        def get_connection_with_tls_context(self, *args: Any, **keywords: Any) -> Any:
            pool: Any = super().get_connection_with_tls_context(*args, **keywords)
            if name not in vars(pool):
                below = getattr(pool, name)
                setattr(pool, name, lambda *args, **keywords: below(*args, **keywords))
            return pool

    return Adapter


ADAPTERS: dict[str, Callable[[], HTTPAdapter]] = {
    "slots": WithSlots,
    "attributes of its own": OwnAttributes,
    "keywords of its subclasses": Expecting,
    "sends elsewhere first": Failover,
    "a lookup of the object": with_own_lookup,
    **{f"{name} of the pool": with_patched_pool(name) for name in ("urlopen", "_get_conn", "_make_request")},
}


@pytest.mark.parametrize("name", ADAPTERS)
@pytest.mark.parametrize("fault", ["reset", "eof"])
def test_a_post_whose_answer_is_lost_is_sent_once(name: str, fault: str, server: FailureServer) -> None:
    session = requests.Session()
    session.mount("http://", polvo.ResilientAdapter(inner=ADAPTERS[name](), retry=FAST))
    with pytest.raises(requests.ConnectionError):
        session.post(f"{server.url}/fault/{fault}?", data=b"x")
    assert server.counters["received"] == 1
    session.close()


@pytest.fixture(params=KEYWORDS)
def session(request: pytest.FixtureRequest) -> Iterator[requests.Session]:
    session = requests.Session()
    session.mount("http://", polvo.ResilientAdapter(retry=FAST, **KEYWORDS[request.param]))
    yield session
    session.close()


class Refused(Exception):
    """What a guard raises."""


def test_a_guard_in_place_of_new_conn_is_asked(session: requests.Session, monkeypatch: pytest.MonkeyPatch) -> None:
    def guard(connection: Any) -> Any:
        raise Refused

    monkeypatch.setattr(HTTPConnection, "_new_conn", guard)
    with pytest.raises(Refused):
        session.get("http://127.0.0.1:1/")


def test_a_resolver_of_ones_own_is_called_in_the_context_of_the_call(
    session: requests.Session, server: FailureServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned: ContextVar[str] = ContextVar("pinned")
    pinned.set("127.0.0.1")
    ask = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *args, **keywords: ask(pinned.get(), *args, **keywords))
    assert session.get(f"http://shop.example:{server.port}/echo").status_code == 200


@pytest.mark.parametrize("name", ["create_connection", "_set_socket_options"])
def test_functions_of_urllib3_are_called(
    name: str, session: requests.Session, server: FailureServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []
    below = getattr(urllib3.util.connection, name)
    monkeypatch.setattr(
        urllib3.util.connection, name, lambda *args, **keywords: (calls.append(args), below(*args, **keywords))[1]
    )
    assert session.get(server.url + "/echo").status_code == 200
    assert calls


def test_a_send_of_ones_own_gets_bytes(
    session: requests.Session, server: FailureServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds: set[type] = set()
    below = http.client.HTTPConnection.send

    def send(self: Any, data: Any) -> None:
        kinds.add(type(data))
        below(self, data)

    monkeypatch.setattr(http.client.HTTPConnection, "send", send)
    assert session.put(server.url + "/echo", data=b"x" * 300_000).status_code == 200
    assert kinds == {bytes}


def test_a_parser_of_ones_own_reads_the_response(
    session: requests.Session, server: FailureServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Parser(http.client.HTTPResponse):
        begun = 0

        def begin(self) -> None:
            Parser.begun += 1
            super().begin()

    monkeypatch.setattr(http.client.HTTPConnection, "response_class", Parser)
    assert session.get(server.url + "/echo").status_code == 200
    assert Parser.begun == 1


def test_a_method_that_asks_for_the_class_of_the_object(server: FailureServer) -> None:
    class Old(HTTPAdapter):
        def send(self, *args: Any, **keywords: Any) -> Any:
            return super(self.__class__, self).send(*args, **keywords)

    session = requests.Session()
    session.mount("http://", polvo.ResilientAdapter(inner=Old()))
    assert session.get(server.url + "/echo").status_code == 200
    session.close()


def test_connections_pools_and_responses_that_ask_for_the_class_of_the_object(server: FailureServer) -> None:
    class OldResponse(urllib3.HTTPResponse):
        def read(self, *args: Any, **keywords: Any) -> Any:
            return super(self.__class__, self).read(*args, **keywords)

        def stream(self, *args: Any, **keywords: Any) -> Any:
            return super(self.__class__, self).stream(*args, **keywords)

    class OldConnection(urllib3.connection.HTTPConnection):
        def __init__(self, *args: Any, **keywords: Any) -> None:
            super(self.__class__, self).__init__(*args, **keywords)

        def connect(self) -> None:
            super(self.__class__, self).connect()

        def getresponse(self) -> Any:
            response: Any = super(self.__class__, self).getresponse()
            response.__class__ = OldResponse
            return response

    class OldPool(urllib3.HTTPConnectionPool):
        ConnectionCls = OldConnection

        def urlopen(self, *args: Any, **keywords: Any) -> Any:
            return super(self.__class__, self).urlopen(*args, **keywords)

        def _get_conn(self, timeout: Any = None) -> Any:
            return super(self.__class__, self)._get_conn(timeout)

    for options in ({}, {"deadline": 5}, {"deadline": 5, "bulkhead": 2}):
        inner = HTTPAdapter()
        inner.poolmanager.pool_classes_by_scheme = {"http": OldPool}
        session = requests.Session()
        session.mount("http://", polvo.ResilientAdapter(inner=inner, **options))
        for _ in range(3):
            assert session.get(server.url + "/echo").status_code == 200
            with session.post(server.url + "/echo", data=iter([b"a"]), stream=True) as response:
                assert response.content
        session.close()


def test_what_is_kept_by_adapter_is_found(server: FailureServer) -> None:
    kept: dict[Any, str] = {}

    class Keeping(HTTPAdapter):
        def send(self, *args: Any, **keywords: Any) -> Any:
            assert kept[self] == "mine"
            return super().send(*args, **keywords)

    inner = Keeping()
    kept[inner] = "mine"
    session = requests.Session()
    session.mount("http://", polvo.ResilientAdapter(inner=inner))
    assert session.get(server.url + "/echo").status_code == 200
    session.close()


def test_a_hook_that_raises_gives_back_what_the_call_holds(server: FailureServer) -> None:
    errors: list[requests.HTTPError] = []
    for make in (lambda **keywords: polvo.Session(**keywords), _mounted):
        session = make(bulkhead={"max_concurrency": 1, "acquisition_timeout": 0.2}, retry=False)
        session.hooks["response"] = [lambda response, *args, **keywords: response.raise_for_status()]
        for _ in range(3):
            with pytest.raises(requests.HTTPError) as caught:
                session.get(server.url + "/fault/status?code=404")
            errors.append(caught.value)  # as futures keep them
        assert session.get(server.url + "/echo").status_code == 200
        session.close()
    for error in errors:  # their sockets, which the garbage collection would find in the middle of another test
        assert error.response is not None
        error.response.close()


def _mounted(**keywords: Any) -> requests.Session:
    session = requests.Session()
    session.mount("http://", polvo.ResilientAdapter(**keywords))
    return session


def test_a_hook_may_be_given_without_a_list(session: requests.Session, server: FailureServer) -> None:
    seen: list[int] = []
    request = requests.Request("GET", server.url + "/echo").prepare()
    request.hooks["response"] = lambda response, **keywords: seen.append(response.status_code)
    session.send(request)
    assert seen == [200]
