"""Adapters, connection classes and mocks of others: without the account of a connection nothing is proved.

A POST is never processed twice on the word of an exception; a request that is idempotent is repeated as ever.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool

from polvo_adapters.adapters import ResilientAdapter
from polvo_adapters.policies.fallback import Fallback
from polvo_adapters.policies.regions import Regions
from tests.support.wire_faults import FAULTS, LOST, UNSENT
from tests.support.wire_servers import FORWARD, HTTP, TUNNEL, Fault, WireServer, certificates, refused_port
from tests.support.wire_sessions import RETRY, mounted

AUDIT_FAULTS = (
    Fault(HTTP, "accept", "refuse"),
    Fault(HTTP, "accept", "reset"),
    Fault(HTTP, "head", "close"),
    Fault(HTTP, "answer", "close"),
    Fault(HTTP, "answer", "reset"),
    Fault(HTTP, "answer", "hang"),
    Fault(HTTP, "answer", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"),
)


class Auditing(HTTPAdapter):
    """An adapter that tells another host what it sends."""

    def __init__(self, url: str, when: str, how: str) -> None:
        super().__init__()
        self.url, self.when, self.how = url, when, how

    def send(self, request: Any, *arguments: Any, **keywords: Any) -> requests.Response:
        if self.when == "before":
            self.audit()
        response = super().send(request, *arguments, **keywords)
        if self.when == "after":
            with contextlib.ExitStack() as stack:
                stack.callback(response.close)
                self.audit()
                stack.pop_all()
        return response

    def audit(self) -> None:
        if self.how == "by a session of its own":
            with mounted(HTTPAdapter()) as session:
                session.post(self.url, data=b"audit", timeout=0.1)
            return
        request = requests.Request("POST", self.url, data=b"audit").prepare()
        super().send(request, timeout=0.1).content  # noqa: B018 - as a caller reads it


@pytest.mark.parametrize("how", ["by a session of its own", "by its own send"])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("fault", AUDIT_FAULTS, ids=lambda fault: "-".join(map(str, fault)))
def test_an_adapter_that_audits_makes_no_second_post(fault: Fault, when: str, how: str) -> None:
    with (
        WireServer(Fault(HTTP)) as server,
        WireServer(fault) as audit,
        mounted(ResilientAdapter(RETRY, inner=Auditing(audit.url, when, how))) as session,
        pytest.raises(requests.RequestException) as caught,
    ):
        session.post(server.url, data=b"x", timeout=20)
    report: Any = caught.value.polvo  # type: ignore[attr-defined]
    assert server.processed == (when == "after")
    assert audit.processed <= 1
    if server.touched:
        assert report.sent


def refused() -> Exception:
    connection: Any = HTTPConnection("shop.test")
    reason = urllib3.exceptions.NewConnectionError(connection, "refused")
    return urllib3.exceptions.MaxRetryError(HTTPConnectionPool("shop.test"), "/", reason)


RAISED: dict[str, Callable[[], Exception]] = {
    "ConnectTimeout": lambda: requests.ConnectTimeout("slow"),
    "ReadTimeout": lambda: requests.ReadTimeout("slow"),
    "ConnectionError": lambda: requests.ConnectionError("refused"),
    "ConnectionError of a refusal": lambda: requests.ConnectionError(refused()),
    "ProxyError": lambda: requests.exceptions.ProxyError(refused()),
    "ConnectionRefusedError": lambda: ConnectionRefusedError(111, "refused"),
    "TimeoutError": lambda: TimeoutError("slow"),
    "urllib3.MaxRetryError": refused,
    "urllib3.ProtocolError": lambda: urllib3.exceptions.ProtocolError(
        "aborted", ConnectionRefusedError(111, "refused")
    ),
}
PATCHED = {
    "HTTPAdapter.send": (HTTPAdapter, "send"),
    "urlopen": (HTTPConnectionPool, "urlopen"),
    "_make_request": (HTTPConnectionPool, "_make_request"),
    "HTTPConnection.request": (HTTPConnection, "request"),
}


@pytest.mark.parametrize("by", ["mock", "function"])
@pytest.mark.parametrize("place", PATCHED)
@pytest.mark.parametrize("name", RAISED)
def test_a_post_is_not_repeated_on_the_word_of_a_mock(name: str, place: str, by: str) -> None:
    def raise_it(*_: Any, **__: Any) -> None:
        raise RAISED[name]()

    effect = raise_it if by == "function" else RAISED[name]()
    with (
        WireServer(Fault(HTTP)) as server,
        mounted(ResilientAdapter(RETRY)) as session,
        mock.patch.object(*PATCHED[place], side_effect=effect) as patched,
        pytest.raises((OSError, urllib3.exceptions.HTTPError)) as caught,
    ):
        session.post(server.url, data=b"x", timeout=20)
    assert patched.call_count == 1
    assert caught.value.polvo.sent  # type: ignore[union-attr]


@pytest.mark.parametrize("by", ["mock", "function"])
@pytest.mark.parametrize("name", ["ConnectTimeout", "ReadTimeout", "ConnectionError", "ProxyError"])
def test_a_get_is_repeated_after_what_a_mock_raised(name: str, by: str) -> None:
    good = requests.Response()
    good.status_code = 200
    answers = iter([RAISED[name](), good])

    def answer(*_: Any, **__: Any) -> requests.Response:
        each = next(answers)
        if isinstance(each, Exception):
            raise each
        return each

    effect: Any = answer if by == "function" else list(answers)
    with mounted(ResilientAdapter(RETRY)) as session, mock.patch.object(HTTPAdapter, "send", side_effect=effect):
        assert len(session.get("http://shop.test/").polvo.attempts) == 2  # type: ignore[attr-defined]


@pytest.mark.parametrize("library", ["responses", "requests_mock"])
@pytest.mark.parametrize("name", ["ConnectTimeout", "ReadTimeout", "ConnectionError", "ConnectionError of a refusal"])
def test_mock_libraries(name: str, library: str) -> None:
    with contextlib.ExitStack() as stack:
        session = stack.enter_context(mounted(ResilientAdapter(RETRY)))
        if library == "responses":
            import responses

            mocked: Any = stack.enter_context(responses.RequestsMock())
            mocked.add(responses.POST, "http://shop.test/", body=RAISED[name]())
            mocked.add(responses.GET, "http://shop.test/", body=RAISED[name]())
        else:
            import requests_mock

            mocked = stack.enter_context(requests_mock.Mocker(session=session))
            mocked.post("http://shop.test/", exc=RAISED[name]())
            mocked.get("http://shop.test/", exc=RAISED[name]())
        attempts = {}
        for method in ("POST", "GET"):
            with pytest.raises(requests.RequestException) as caught:
                session.request(method, "http://shop.test/", timeout=5)
            report = getattr(caught.value, "polvo", None)
            attempts[method] = 1 if report is None else len(report.attempts)
    assert attempts["POST"] == 1


class OwnSend(HTTPConnection):
    def send(self, data: Any) -> None:
        super().send(data)


class OwnRequest(HTTPConnection):
    def request(self, *arguments: Any, **keywords: Any) -> None:
        super().request(*arguments, **keywords)


class OwnConnect(HTTPConnection):
    def connect(self) -> None:
        super().connect()


class OwnSocket(HTTPConnection):
    def _new_conn(self) -> Any:
        return socket.create_connection((self.host, self.port), 20)


class Eager(HTTPConnection):
    """Sends something of its own before it is asked, and fails."""

    def request(self, *arguments: Any, **keywords: Any) -> None:
        super().request(*arguments, **keywords)
        raise ConnectionRefusedError(111, "of something else")


def with_connections(kind: type[HTTPConnection]) -> HTTPAdapter:
    class Pool(HTTPConnectionPool):
        ConnectionCls = kind

    adapter = HTTPAdapter()
    adapter.poolmanager.pool_classes_by_scheme = {"http": Pool}
    return adapter


TRACED, UNTRACED = (HTTPConnection, OwnConnect, OwnSocket), (OwnSend, OwnRequest, Eager)


@pytest.mark.parametrize("deadline", [None, 20.0])
@pytest.mark.parametrize("kind", [*TRACED, *UNTRACED])
def test_connection_classes(kind: type[HTTPConnection], deadline: float | None) -> None:
    for fault in (Fault(HTTP, "accept", "refuse"), Fault(HTTP, "answer", "close")):
        for method in ("POST", "GET"):
            adapter = ResilientAdapter(RETRY, deadline=deadline, inner=with_connections(kind))
            with (
                WireServer(fault) as server,
                mounted(adapter) as session,
                pytest.raises(requests.ConnectionError) as caught,
            ):
                session.request(method, server.url, data=b"x", timeout=20)
            report: Any = caught.value.polvo  # type: ignore[attr-defined]
            is_proved = kind in TRACED and fault.step == "accept"
            wanted = (2 if is_proved or method == "GET" else 1, not is_proved)
            assert (fault, method, (len(report.attempts), report.sent)) == (fault, method, wanted)
            assert method == "GET" or server.processed <= 1


class OverUnix(HTTPConnection):
    """A connection to a UNIX socket, as adapters for docker have it."""

    path = ""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(20)
        try:
            self.sock.connect(self.path)
        except OSError:
            self.sock.close()
            raise


@contextlib.contextmanager
def serving_once(path: str) -> Iterator[list[bytes]]:
    """Serve a UNIX socket that reads a request and closes the connection."""
    got: list[bytes] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(path)
        listening.listen()

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    sock, _ = listening.accept()
                    with sock:
                        got.append(sock.recv(65536))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield got
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def test_a_unix_socket(tmp_path: Path) -> None:
    kind = type("OverUnix", (OverUnix,), {"path": str(tmp_path / "socket")})
    with mounted(ResilientAdapter(RETRY, inner=with_connections(kind))) as session:
        with pytest.raises(requests.ConnectionError) as caught:  # there is no such file
            session.post("http://docker/", data=b"x")
        report: Any = caught.value.polvo  # type: ignore[attr-defined]
        assert (len(report.attempts), report.sent) == (2, False)
        with serving_once(kind.path) as got, pytest.raises(requests.ConnectionError) as caught:
            session.post("http://docker/", data=b"x")
    report = caught.value.polvo  # type: ignore[attr-defined]
    assert (len(got), len(report.attempts), report.sent) == (1, 1, True)


ELSEWHERE = [fault for fault in FAULTS if FAULTS[fault] in (LOST, UNSENT) and fault.way in (HTTP, FORWARD, TUNNEL)]


@pytest.mark.parametrize("policy", ["fallback", "regions"])
@pytest.mark.parametrize("fault", ELSEWHERE, ids=lambda fault: "-".join(map(str, fault)))
def test_what_may_have_been_sent_goes_nowhere_else(fault: Fault, policy: str) -> None:
    with WireServer(fault) as server, WireServer(Fault(HTTP)) as other:
        chosen: Any = {
            "fallback": {"fallback": Fallback(f"http://127.0.0.1:{other.port}")},
            "regions": {"regions": Regions((server.url.removesuffix("/orders"), f"http://127.0.0.1:{other.port}"))},
        }[policy]
        with mounted(ResilientAdapter(RETRY, **chosen)) as session, contextlib.suppress(requests.RequestException):
            timeout = 0.1 if fault.deed == "hang" else 20
            verify = certificates()[1]
            session.post(server.url, data=b"x", timeout=timeout, proxies=server.proxies, verify=verify)
    assert server.processed + other.processed <= 1
    if fault.way == HTTP:  # the other server is behind the same proxy
        assert other.processed == (FAULTS[fault] == UNSENT)
    assert FAULTS[fault] == UNSENT or other.connections == 0


def test_a_port_that_refuses_is_proof_for_a_record_too() -> None:
    """The record of an idempotency key says "not sent", so that the next call with the key is sent."""
    port = refused_port()
    with mounted(ResilientAdapter(RETRY, idempotency=True)) as session:
        for attempts in (2, 1):  # the second call is one that was given up before
            with pytest.raises(requests.ConnectionError) as caught:
                session.post(f"http://127.0.0.1:{port}/", data=b"x", headers={"Idempotency-Key": "k"}, timeout=5)
            report: Any = caught.value.polvo  # type: ignore[attr-defined]
            assert (len(report.attempts), report.sent) == (attempts, False)
