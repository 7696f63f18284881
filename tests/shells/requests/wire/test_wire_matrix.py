"""Every fault on the way to an origin, every method, every kind of body, every way to be mounted.

A fault is a step of the connection in which something goes wrong. `expected` says in the fewest words what replay
safety makes of it; what comes out in the end is what bare `requests` gives. The servers are the oracle: they count what
they have read, and what they have worked on.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, NamedTuple

import pytest
import requests
from requests.adapters import HTTPAdapter

from polvo_adapters.core.http import IDEMPOTENT_METHODS
from tests.support.wire_servers import FORWARD, HTTP, HTTPS, SOCKS, TUNNEL, Fault, WireServer, certificates
from tests.support.wire_sessions import MOUNTINGS, mounted

PAYLOAD = b"payload " * 400
ALWAYS = 1 << 30

UNSENT, REFUSED, LOST, CUT_HEAD, FAILED, UNPROCESSED, HARMLESS = (
    "it was certainly not sent, and may be sent again",
    "it was certainly not sent, and to ask again is no use",
    "it may have been processed, and there is no answer, or half of one",
    "it may have been processed, and half of a head is there, which the standard library takes for a good answer",
    "the server says that it failed",
    "the server says that it did nothing",
    "an answer as good as any",
)
ABRUPT = ("reset", "close")


def status(code: int, more: str = "") -> bytes:
    return f"HTTP/1.1 {code} Reason\r\n{more}Content-Length: 0\r\nConnection: close\r\n\r\n".encode()


def faults() -> Iterator[tuple[Fault, str]]:
    yield from origins()
    yield from handshakes()
    yield from tunnels()
    yield from socks()


def origins() -> Iterator[tuple[Fault, str]]:
    """What goes wrong at the origin, or at a proxy that forwards, to which every way leads."""
    for way in (HTTP, HTTPS, FORWARD, TUNNEL, SOCKS):
        yield Fault(way, "accept", "refuse"), UNSENT
        for step in ("head", "request", "answer"):
            for deed in ABRUPT:
                yield Fault(way, step, deed), LOST
        yield Fault(way, "answer", "hang"), LOST
        yield Fault(way, "answer", b"HTTP/1.1 200 OK\r\nContent-"), CUT_HEAD
        yield Fault(way, "answer", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"), LOST
        yield Fault(way, "answer", b"no HTTP at all\r\n\r\n"), LOST
    for way in (HTTP, FORWARD):
        for deed in (*ABRUPT, "hang"):
            yield Fault(way, "accept", deed), LOST  # it was handed to the socket, and nobody knows who read it
        for code, meaning in ((407, HARMLESS), (403, HARMLESS), (502, FAILED), (503, FAILED), (429, UNPROCESSED)):
            yield Fault(way, "request", status(code)), meaning
        yield Fault(way, "request", status(503, "Retry-After: 0\r\n")), UNPROCESSED


def handshakes() -> Iterator[tuple[Fault, str]]:
    for way in (HTTPS, TUNNEL):
        for deed in (*ABRUPT, "hang"):
            yield Fault(way, "tls", deed), UNSENT
            yield Fault(way, "half", deed), UNSENT
        yield Fault(way, "tls", b"HTTP/1.1 400 this is no TLS\r\n\r\n"), REFUSED
        yield Fault(way, "tls", b"\x15\x03\x03\x00\x02\x02\x28"), REFUSED  # alert: handshake failure
    for deed in (*ABRUPT, "hang"):
        yield Fault(HTTPS, "accept", deed), UNSENT


def tunnels() -> Iterator[tuple[Fault, str]]:
    for step in ("accept", "connect"):
        for deed in (*ABRUPT, "hang"):
            yield Fault(TUNNEL, step, deed), UNSENT
    yield Fault(TUNNEL, "connect", b"HTTP/1.1 200 Connec"), UNSENT
    yield Fault(TUNNEL, "connect", b"no HTTP at all\r\n\r\n"), UNSENT
    for code in (400, 401, 403, 404, 405, 407):
        yield Fault(TUNNEL, "connect", status(code)), REFUSED
    for code in (408, 429, 500, 502, 503, 504):
        yield Fault(TUNNEL, "connect", status(code)), UNSENT


def socks() -> Iterator[tuple[Fault, str]]:
    for step in ("accept", "greeting", "login", "destination"):
        for deed in (*ABRUPT, "hang"):
            yield Fault(SOCKS, step, deed), UNSENT
    yield Fault(SOCKS, "greeting", b"\x05\xff"), REFUSED  # no way to log in that it takes
    yield Fault(SOCKS, "login", b"\x01\x01"), REFUSED
    yield Fault(SOCKS, "destination", b"\x05"), UNSENT
    for code in range(1, 9):
        refusal = bytes((5, code, 0, 1, 0, 0, 0, 0, 0, 0))
        # By a rule, and what the proxy does not know; else it could not connect.
        yield Fault(SOCKS, "destination", refusal), REFUSED if code in (2, 7, 8) else UNSENT


FAULTS = dict(faults())
METHODS = ("GET", "PUT", "POST")
BODIES: dict[str, Callable[[], Any]] = {
    "no body": lambda: None,
    "bytes": lambda: PAYLOAD,
    "file": lambda: io.BytesIO(PAYLOAD),
    "generator": lambda: (PAYLOAD[start : start + 1000] for start in range(0, len(PAYLOAD), 1000)),
}


class Cell(NamedTuple):
    """What must happen: how many attempts, whether the request may have left, and what the caller gets."""

    attempts: int
    sent: bool
    gets: str


def expected(meaning: str, method: str, body: str, times: int) -> Cell:
    """Say what must happen when the first `times` connections meet a fault, and two attempts are allowed."""
    is_sent, bare = meaning not in (UNSENT, REFUSED), "ConnectionError" if meaning == CUT_HEAD else "what requests gets"
    is_safe = meaning in (UNSENT, UNPROCESSED) or method in IDEMPOTENT_METHODS
    if meaning in (REFUSED, HARMLESS) or not is_safe:
        return Cell(1, is_sent, bare)
    if is_sent and body == "generator":
        return Cell(1, is_sent, "ReplayError")
    return Cell(2, True, "200") if times == 1 else Cell(2, is_sent, bare)


def call(session: requests.Session, server: WireServer, method: str, body: str) -> tuple[str, Any]:
    """Return the status or the class of the exception, and the report."""
    hangs = server.fault.deed == "hang"
    keywords: Any = {"proxies": server.proxies, "verify": certificates()[1], "timeout": 0.15 if hangs else 20}
    try:
        response = session.request(method, server.url, data=BODIES[body](), **keywords)
    except requests.RequestException as error:
        return name_of(error, server.fault), getattr(error, "polvo", None)
    return str(response.status_code), getattr(response, "polvo", None)


def name_of(error: Exception, fault: Fault) -> str:
    """Return the class, or a base of it where it depends on which packet comes first."""
    is_race = fault.step in ("accept", "head") and fault.deed in ABRUPT and isinstance(error, requests.ConnectionError)
    return "ConnectionError" if is_race else type(error).__name__


@cache  # a fault comes with each mounting
def bare(fault: Fault, method: str, body: str) -> str:
    with WireServer(fault) as server, mounted(HTTPAdapter()) as session:
        return call(session, server, method, body)[0]


def run(fault: Fault, method: str, body: str, times: int, mounting: str) -> tuple[Cell, list[str]]:
    """Return what happened, and what must never happen and did."""
    with WireServer(fault, times) as server, MOUNTINGS[mounting]() as session:
        gets, report = call(session, server, method, body)
    faults = []
    if method == "POST" and server.processed > 1:
        faults.append(f"processed {server.processed} times")
    if server.touched and not report.sent:
        faults.append("it is said that nothing was sent, and the server has read some of it")
    if any(each != (b"" if body == "no body" else PAYLOAD) for each in server.bodies):
        faults.append("another body arrived")
    if len(report.attempts) < server.connections:
        faults.append(f"{server.connections} connections for {len(report.attempts)} attempts")
    return Cell(len(report.attempts), report.sent, gets), faults


CELLS = [(method, body, times) for method in METHODS for body in BODIES for times in (1, ALWAYS)]
FEWER = [cell for cell in CELLS if cell[1:] in (("bytes", ALWAYS), ("generator", ALWAYS), ("file", 1))]


@pytest.mark.parametrize("mounting", MOUNTINGS)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: "-".join(map(str, fault)))
def test_fault(fault: Fault, mounting: str) -> None:
    """Run all cells of a fault; those in which the server hangs wait side by side."""
    cells = [
        cell for cell in (CELLS if mounting == "mounted" else FEWER) if cell[2] == ALWAYS or fault.deed != "refuse"
    ]
    with ThreadPoolExecutor(len(cells) if fault.deed == "hang" else 1) as pool:
        results = list(pool.map(lambda cell: run(fault, *cell, mounting), cells))
        if fault.deed == "hang":
            list(pool.map(lambda cell: bare(fault, *cell[:2]), cells))
    unexpected = {}
    for (method, body, times), result in zip(cells, results, strict=True):
        cell = expected(FAULTS[fault], method, body, times)
        gets = bare(fault, method, body) if cell.gets.startswith("what") else cell.gets
        wanted = (cell._replace(gets=gets), [])
        if result != wanted:
            unexpected[method, body, times] = f"{result} instead of {wanted}"
    assert unexpected == {}
