"""The steps of an attempt of a thread: noted by the connection they are those that the events of httpcore tell."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import httpcore
import httpx
import pytest

from polvo_adapters.core.effects import Policy
from polvo_adapters.policies.deadline import Deadline
from polvo_adapters.policies.retry import ExponentialBackoff
from polvo_adapters.shells.httpx.trace import ATTEMPT, HTTPXTrace
from polvo_adapters.testing import FailureServer
from polvo_adapters.transports import PolicyTransport
from tests.support.wire_servers import refused_port

RETRY = ExponentialBackoff(base=0.001, max_attempts=2)
TOLD: dict[str, Any] = {"trace": lambda _event, _info: None}


@pytest.fixture(params=[(RETRY,), (Deadline(30), RETRY)], ids=["retry", "deadline"])
def policies(request: pytest.FixtureRequest) -> tuple[Policy, ...]:
    given: tuple[Policy, ...] = request.param
    return given


@pytest.fixture
def client(policies: tuple[Policy, ...]) -> Iterator[httpx.Client]:
    with httpx.Client(transport=PolicyTransport(*policies), trust_env=False) as client:
        yield client
    assert ATTEMPT.get() is None


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    seen: list[str] = []
    take = HTTPXTrace.take

    def take_too(self: HTTPXTrace, event: str, info: dict[str, Any]) -> None:
        seen.append(event)
        take(self, event, info)

    monkeypatch.setattr(HTTPXTrace, "take", take_too)
    return seen


def describe(report: Any) -> Any:
    return report.sent, [[phase.name for phase in attempt.phases] for attempt in report.attempts]


def get_both(act: Callable[[dict[str, Any]], Any], events: list[str]) -> list[Any]:
    """Return what an act comes to without events and with them."""
    noted = act({})
    assert events == []
    told = act(TOLD)
    assert events != []
    return [noted, told]


@pytest.mark.parametrize("path", ["/echo", "/fault/status", "/fault/drip?size=50&interval=0.001"])
@pytest.mark.parametrize("content", [None, b"body"])
def test_the_phases_are_the_same(
    path: str, content: bytes | None, policies: tuple[Policy, ...], events: list[str], server: FailureServer
) -> None:
    def act(extensions: dict[str, Any]) -> list[Any]:
        with httpx.Client(transport=PolicyTransport(*policies), trust_env=False) as client:
            url = server.url + path
            found = [client.request("POST", url, content=content, extensions=extensions) for _ in range(2)]
        return [(each.status_code, describe(each.extensions["polvo"])) for each in found]

    noted, told = get_both(act, events)
    assert noted == told
    assert {"send", "wait"} <= set(noted[0][1][1][0])


def test_a_refused_connection_is_proved_to_be_unsent(client: httpx.Client, events: list[str]) -> None:
    def act(extensions: dict[str, Any]) -> Any:
        with pytest.raises(httpx.ConnectError) as caught:
            client.post(f"http://127.0.0.1:{refused_port()}/", content=b"x", extensions=extensions)
        return describe(caught.value.polvo)  # type: ignore[attr-defined]

    assert get_both(act, events) == [(False, [["queue", "connect 127.0.0.1"]] * 2)] * 2


def test_what_may_have_been_sent_is_sent_once(client: httpx.Client, events: list[str], server: FailureServer) -> None:
    def act(extensions: dict[str, Any]) -> Any:
        with pytest.raises(httpx.HTTPError) as caught:
            client.post(server.url + "/fault/reset", content=b"x", extensions=extensions)
        report = caught.value.polvo  # type: ignore[attr-defined]
        return len(report.attempts), report.sent

    assert get_both(act, events) == [(1, True)] * 2


def test_a_failed_handshake_is_noted(client: httpx.Client, events: list[str]) -> None:
    def hang_up() -> None:
        with suppress(OSError):
            while True:
                server.accept()[0].close()

    def act(extensions: dict[str, Any]) -> Any:
        with pytest.raises(httpx.ConnectError) as caught:
            client.post(f"https://127.0.0.1:{server.getsockname()[1]}/", content=b"x", extensions=extensions)
        sent, phases = describe(caught.value.polvo)  # type: ignore[attr-defined]
        return sent, phases[0]

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=hang_up, daemon=True)
        thread.start()
        found = get_both(act, events)
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert found == [(False, ["queue", "connect 127.0.0.1", "tls"])] * 2


@pytest.mark.parametrize("keywords", [{"http2": True}, {"proxy": "own"}, {}], ids=["http2", "proxy", "generator"])
def test_what_others_write_or_may_fail_is_told_by_events(
    keywords: dict[str, Any], events: list[str], server: FailureServer
) -> None:
    given = {**keywords, "proxy": server.url} if "proxy" in keywords else keywords
    with httpx.Client(transport=PolicyTransport(RETRY, **given), trust_env=False) as client:
        client.post(server.url + "/echo", content=b"x" if keywords else iter([b"x"]))
    assert "http11.send_request_headers.started" in events


class Calling(httpcore.NetworkBackend):
    """A backend that does something before it connects."""

    def __init__(self, act: Callable[[], Any]) -> None:
        self._act, self._inner = act, httpcore.SyncBackend()

    def connect_tcp(self, *args: Any, **keywords: Any) -> httpcore.NetworkStream:
        self._act()
        return self._inner.connect_tcp(*args, **keywords)


def send_through(act: Callable[[], Any]) -> httpx.Client:
    inner = httpx.HTTPTransport()
    inner._pool = httpcore.ConnectionPool(network_backend=Calling(act))
    return httpx.Client(transport=PolicyTransport(RETRY, inner=inner))


def test_a_call_within_an_attempt_leaves_no_step_of_it_out(client: httpx.Client, server: FailureServer) -> None:
    with send_through(lambda: client.get(server.url + "/echo")) as outer, pytest.raises(httpx.HTTPError) as caught:
        outer.post(server.url + "/fault/reset", content=b"x")
    report = caught.value.polvo  # type: ignore[attr-defined]
    assert (len(report.attempts), report.sent) == (1, True)


def test_an_attempt_that_is_interrupted_leaves_no_trace_to_others(server: FailureServer) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with send_through(interrupt) as client, pytest.raises(KeyboardInterrupt):
        client.post(server.url + "/echo", content=b"x")
    assert ATTEMPT.get() is None
