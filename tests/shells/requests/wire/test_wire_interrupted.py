"""What the caller's own code raises in the middle of an attempt: the iterator of the body, and handlers of signals.

Such an exception may be of any class, among them all those that the transport raises. It comes out, once, and nothing
is sent again because of it.
"""

from __future__ import annotations

import io
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
import urllib3
from requests.adapters import HTTPAdapter

import polvo_adapters as polvo
from polvo_adapters.adapters import ResilientAdapter
from polvo_adapters.policies.fallback import Fallback
from tests.support.alarms import WaitingAlarm, ringing
from tests.support.wire_servers import FORWARD, HTTP, HTTPS, SOCKS, TUNNEL, Fault, WireServer, certificates
from tests.support.wire_sessions import MOUNTINGS, RETRY, mounted

PAYLOAD = b"x" * 40_000  # urllib3 reads files in blocks of 16 KiB


class OwnError(Exception):
    """What no library knows."""


class OwnTimeout(TimeoutError):
    """What looks like a timeout of the socket."""


def refused_pool() -> urllib3.exceptions.MaxRetryError:
    pool = urllib3.HTTPConnectionPool("upstream.test")
    connection: Any = urllib3.connection.HTTPConnection("upstream.test")
    return urllib3.exceptions.MaxRetryError(pool, "/", urllib3.exceptions.NewConnectionError(connection, "refused"))


ERRORS: dict[str, Callable[[], Exception]] = {
    "FileNotFoundError": lambda: FileNotFoundError(2, "No such file"),
    "ConnectionRefusedError": lambda: ConnectionRefusedError(111, "refused"),
    "ConnectionResetError": lambda: ConnectionResetError(104, "reset"),
    "BrokenPipeError": lambda: BrokenPipeError(32, "broken"),
    "TimeoutError": lambda: TimeoutError("slow"),
    "socket.gaierror": lambda: socket.gaierror(-2, "unknown"),
    "ssl.SSLEOFError": lambda: ssl.SSLEOFError(8, "EOF"),
    "ssl.SSLError": lambda: ssl.SSLError(1, "bad"),
    "ValueError": lambda: ValueError("bad"),
    "http.client.IncompleteRead": lambda: __import__("http.client").client.IncompleteRead(b"", 3),
    "requests.ConnectionError": lambda: requests.ConnectionError(refused_pool()),
    "requests.ConnectTimeout": lambda: requests.ConnectTimeout("slow"),
    "requests.ReadTimeout": lambda: requests.ReadTimeout("slow"),
    "requests.ProxyError": lambda: requests.exceptions.ProxyError("proxy"),
    "requests.ChunkedEncodingError": lambda: requests.exceptions.ChunkedEncodingError("cut"),
    "urllib3.MaxRetryError": refused_pool,
    "urllib3.ProtocolError": lambda: urllib3.exceptions.ProtocolError("Connection aborted."),
    "urllib3.ReadTimeoutError": lambda: urllib3.exceptions.ReadTimeoutError(None, "/", "slow"),  # type: ignore[arg-type]
    "urllib3.ConnectTimeoutError": lambda: urllib3.exceptions.ConnectTimeoutError("slow"),
    "DeadlineExceeded": lambda: polvo.DeadlineExceeded("of a call of its own"),
    "CircuitOpenError": lambda: polvo.CircuitOpenError("of a call of its own"),
    "OwnError": lambda: OwnError("own"),
    "OwnTimeout": lambda: OwnTimeout("own"),
}


class RaisingFile(io.BytesIO):
    """A file that cannot be read to its end."""

    def __init__(self, error: Exception, late: bool) -> None:
        super().__init__(PAYLOAD)
        self.error, self.late, self.reads = error, late, 0

    def read(self, *size: Any) -> bytes:
        self.reads += 1
        if self.reads > self.late:
            raise self.error
        return super().read(*size)


def raising_generator(error: Exception, late: bool) -> Iterator[bytes]:
    if late:
        yield PAYLOAD[:1000]
    raise error


class RaisingIterable:
    """A body that can be iterated again, and raises each time."""

    def __init__(self, error: Exception, late: bool) -> None:
        self.error, self.late = error, late

    def __iter__(self) -> Iterator[bytes]:
        return raising_generator(self.error, self.late)


BODIES: dict[str, Callable[[Exception, bool], Any]] = {
    "generator": raising_generator,
    "file": RaisingFile,
    "iterable": RaisingIterable,
}


def make_call(session: requests.Session, server: WireServer, method: str, **keywords: Any) -> requests.Response:
    return session.request(method, server.url, proxies=server.proxies, verify=certificates()[1], **keywords)


@pytest.mark.parametrize("mounting", MOUNTINGS)
@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("name", ERRORS)
def test_what_the_body_raises_comes_out_once(name: str, body: str, mounting: str) -> None:
    for way in (HTTP, HTTPS, FORWARD):
        for method in ("PUT", "POST"):
            for late in (False, True):
                error = ERRORS[name]()
                with (
                    WireServer(Fault(way)) as server,
                    MOUNTINGS[mounting]() as session,
                    pytest.raises(type(error)) as caught,
                ):
                    make_call(session, server, method, data=BODIES[body](error, late), timeout=20)
                report: Any = error.polvo  # type: ignore[attr-defined]
                seen = (caught.value is error, len(report.attempts), server.connections <= 1, server.processed)
                assert (way, method, late, seen) == (way, method, late, (True, 1, True, 0))


SETTINGS: dict[str, dict[str, Any]] = {
    "retry": {"retry": {**RETRY, "exceptions": (Exception,), "methods": None}},
    "fallback": {"fallback": Fallback(lambda failed: {"ok": False})},
    "fallback for anything": {"fallback": Fallback(lambda failed: {"ok": False}, exceptions=(Exception,))},
    "hedge": {"hedge": {"methods": None, "delay": 5.0}},
    "breaker": {"circuit_breaker": {"failure_threshold": 1, "exceptions": (Exception,)}},
    "deadline": {"deadline": 20.0},
    "idempotency": {"idempotency": True},
}


@pytest.mark.parametrize("name", ERRORS)
@pytest.mark.parametrize("policy", SETTINGS)
def test_no_setting_makes_it_a_fault_of_the_server(policy: str, name: str) -> None:
    error = ERRORS[name]()
    adapter = ResilientAdapter(**{"retry": RETRY, **SETTINGS[policy]})
    with WireServer(Fault(HTTP)) as server, mounted(adapter) as session:
        with pytest.raises(type(error)) as caught:
            make_call(session, server, "POST", data=RaisingFile(error, True), timeout=20)
        assert caught.value is error
        assert server.processed == 0
        assert make_call(session, server, "POST", data=b"next", timeout=20).status_code == 200
    assert server.bodies == [b"next"]


def alarm_error(kind: str) -> Exception:
    return {
        "TimeoutError": TimeoutError,
        "ConnectionResetError": ConnectionResetError,
        "ConnectionRefusedError": ConnectionRefusedError,
        "OSError": OSError,
        "OwnError": OwnError,
        "OwnTimeout": OwnTimeout,
    }[kind]("the job may take so long")


PHASES = {
    "forward": Fault(FORWARD, "answer", "hang"),
    "accept": Fault(TUNNEL, "accept", "hang"),
    "tunnel": Fault(TUNNEL, "connect", "hang"),
    "handshake": Fault(HTTPS, "tls", "hang"),
    "half a handshake": Fault(HTTPS, "half", "hang"),
    "socks greeting": Fault(SOCKS, "greeting", "hang"),
    "socks destination": Fault(SOCKS, "destination", "hang"),
    "upload": Fault(HTTP, "head", "hang"),
    "waiting": Fault(HTTP, "answer", "hang"),
    "waiting over TLS": Fault(HTTPS, "answer", "hang"),
    "head": Fault(HTTP, "answer", "drip"),
    "body": Fault(HTTP, "answer", "drip body"),
}


def outcome(session: requests.Session, fault: Fault, kind: str) -> tuple[str, int]:
    """Return the class of what comes out under an alarm, and how many connections were made."""
    calls, alarm = [], WaitingAlarm()

    def raise_it(_: int, frame: Any) -> None:
        if alarm.is_waiting(frame) and not calls:
            calls.append(kind)
            raise alarm_error(kind)

    upload = fault.step == "head"
    with WireServer(fault) as server, session:
        try:
            with ringing(raise_it):
                make_call(session, server, "PUT", data=b"x" * (8_000_000 if upload else 10), timeout=20)
        except Exception as error:  # noqa: BLE001 - whichever it is
            got = type(error).__name__
        else:
            got = "no error"
    assert len(calls) == 1
    return got, server.connections


# The standard library leaves the socket of a handshake to the collector, where it does not know the exception.
unclosed = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")


@unclosed
@pytest.mark.parametrize("kind", ["TimeoutError", "ConnectionResetError", "OSError", "OwnError", "OwnTimeout"])
@pytest.mark.parametrize("phase", PHASES)
def test_an_alarm_ends_the_call(phase: str, kind: str) -> None:
    bare, _ = outcome(mounted(HTTPAdapter()), PHASES[phase], kind)
    for mounting in ("mounted", "around a subclass", "stacked"):
        assert (mounting, *outcome(MOUNTINGS[mounting](), PHASES[phase], kind)) == (mounting, bare, 1)


@unclosed
@pytest.mark.parametrize("kind", ["TimeoutError", "ConnectionResetError", "OSError", "OwnError"])
@pytest.mark.parametrize("phase", PHASES)
def test_an_alarm_ends_a_call_with_a_deadline(phase: str, kind: str) -> None:
    bare, _ = outcome(mounted(HTTPAdapter()), PHASES[phase], kind)
    assert outcome(mounted(ResilientAdapter(RETRY, deadline=5)), PHASES[phase], kind) == (bare, 1)
