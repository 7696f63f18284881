"""A host with several addresses: each gets its part of the time, and what none of them took was certainly not sent."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from unittest import mock

import pytest
import requests
from requests.adapters import BaseAdapter, HTTPAdapter

from polvo_adapters.adapters import ResilientAdapter
from tests.support.alarms import WaitingAlarm
from tests.support.wire_servers import HTTP, Fault, Silent, WireServer, refused_port, resolve_to
from tests.support.wire_sessions import RETRY, mounted

DEADLINES = (None, 5.0)


@pytest.fixture
def addresses(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., WireServer]]:
    """Return a function that gives wire.test one address for each word, and returns the good server."""
    with ExitStack() as stack:

        def make(*kinds: str, fault: Fault = Fault(HTTP)) -> WireServer:  # noqa: B008 - it is never changed
            server = stack.enter_context(WireServer(fault))
            ports = {"good": lambda: server.port, "refused": refused_port}
            silent = {"silent": lambda: stack.enter_context(Silent()).port}
            found = [{**ports, **silent}[kind]() for kind in kinds]
            monkeypatch.setattr(socket, "getaddrinfo", resolve_to(*found))
            return server

        yield make


def post(adapter: BaseAdapter, timeout: Any = 20, method: str = "POST") -> tuple[str, Any]:
    """Return the status or the class of the exception, and the report."""
    with mounted(adapter) as session:
        try:
            response = session.request(method, "http://wire.test/", data=b"x", timeout=timeout)
        except requests.RequestException as error:
            return type(error).__name__, getattr(error, "polvo", None)
    return str(response.status_code), getattr(response, "polvo", None)


@pytest.mark.parametrize("deadline", DEADLINES)
@pytest.mark.parametrize("before", [(), ("refused",), ("refused", "refused"), ("silent",), ("silent", "refused")])
def test_a_good_address_is_found(before: tuple[str, ...], deadline: float | None, addresses: Any) -> None:
    server = addresses(*before, "good")
    gets, report = post(ResilientAdapter(RETRY, deadline=deadline), timeout=0.6 if "silent" in before else 20)
    assert (gets, len(report.attempts), server.processed) == ("200", 1, 1)
    phases = [phase.name for phase in report.attempts[0].phases]
    assert phases[:2] == ["queue", "resolve"]
    assert len([name for name in phases if name.startswith("connect ")]) == len(before) + 1


@pytest.mark.parametrize("deadline", DEADLINES)
@pytest.mark.parametrize("kinds", [("refused",), ("refused", "refused"), ("silent",), ("silent", "refused"), ()])
def test_what_no_address_took_was_not_sent(kinds: tuple[str, ...], deadline: float | None, addresses: Any) -> None:
    addresses(*kinds)
    bare, _ = post(HTTPAdapter(), timeout=0.1)
    gets, report = post(ResilientAdapter(RETRY, deadline=deadline), timeout=0.1)
    assert (gets, len(report.attempts), report.sent) == (bare, 2, False)


@pytest.mark.parametrize("deadline", DEADLINES)
def test_what_one_address_took_goes_to_no_other(deadline: float | None, addresses: Any) -> None:
    server = addresses("refused", "good", "good", fault=Fault(HTTP, "answer", "close"))
    _, report = post(ResilientAdapter(RETRY, deadline=deadline))
    assert (server.connections, server.processed, len(report.attempts), report.sent) == (1, 1, 1, True)


@pytest.mark.parametrize("deadline", DEADLINES)
@pytest.mark.parametrize("error", [socket.gaierror(-2, "unknown"), socket.gaierror(-3, "later"), OSError("no network")])
def test_a_name_that_is_not_resolved(error: OSError, deadline: float | None) -> None:
    with mock.patch.object(socket, "getaddrinfo", side_effect=error):
        bare, _ = post(HTTPAdapter())
        gets, report = post(ResilientAdapter(RETRY, deadline=deadline))
    assert (gets, len(report.attempts), report.sent) == (bare, 2, False)


@pytest.mark.parametrize("deadline", DEADLINES)
def test_a_server_that_resets_at_once_gets_one_post(deadline: float | None) -> None:
    """The client may see that while it connects, while it sends or while it waits."""
    for _ in range(20):
        adapter = ResilientAdapter(RETRY, deadline=deadline)
        with socket.create_server(("127.0.0.1", 0)) as listening, mounted(adapter) as session:
            listening.settimeout(5)
            url = f"http://127.0.0.1:{listening.getsockname()[1]}/"

            def reset(listening: socket.socket = listening) -> None:
                sock, _ = listening.accept()
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                sock.close()

            with (
                mock.patch.object(socket.socket, "connect", _connect_and(reset)),
                pytest.raises(requests.ConnectionError) as caught,
            ):
                session.post(url, data=b"x", timeout=5)
        report: Any = caught.value.polvo  # type: ignore[attr-defined]
        assert report.sent == (len(report.attempts) == 1)


def _connect_and(act: Callable[[], None]) -> Callable[..., None]:
    connect = socket.socket.connect

    def connect_and_act(sock: socket.socket, address: Any) -> None:
        connect(sock, address)
        act()

    return connect_and_act


class Sleeping(BaseAdapter):
    """An adapter that has nothing to do with urllib3, and waits."""

    def send(self, *arguments: Any, **keywords: Any) -> requests.Response:
        raise requests.ConnectTimeout from _wait()

    def close(self) -> None:
        pass


def _wait() -> BaseException:
    try:
        signal.sigtimedwait([], 20)
    except TimeoutError as error:
        return error
    raise AssertionError("no alarm came")


@pytest.mark.filterwarnings("ignore:a deadline is given to Sleeping only as its timeout")
@pytest.mark.parametrize("where", ["resolving", "connecting", "in an adapter of others"])
@pytest.mark.parametrize("deadline", DEADLINES)
def test_an_alarm_ends_the_call(where: str, deadline: float | None, addresses: Any) -> None:
    """Handlers come in every form that `signal.signal` takes."""
    alarm = WaitingAlarm()

    def end(signum: int, frame: Any) -> None:
        if alarm.is_waiting(frame):
            signal.setitimer(signal.ITIMER_REAL, 0)
            raise TimeoutError("the job may take so long")

    class Ending:
        def __call__(self, signum: int, frame: Any) -> None:
            end(signum, frame)

    adapter = {"inner": Sleeping()} if where.startswith("in") else {}
    addresses("silent")
    for handler in (end, Ending(), Ending().__call__, lambda *arguments: end(*arguments)):
        lookup = resolve_to(refused_port(), seconds=10) if where == "resolving" else socket.getaddrinfo
        before = signal.signal(signal.SIGALRM, handler)
        try:
            with mock.patch.object(socket, "getaddrinfo", lookup):
                signal.setitimer(signal.ITIMER_REAL, 0.03, 0.008)
                gets, report = post(ResilientAdapter(RETRY, deadline=deadline, **adapter), 20, "GET")
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert (gets, len(report.attempts)) == ("ConnectTimeout", 1)
