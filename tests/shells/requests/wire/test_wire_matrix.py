"""Every fault on the way to an origin, every method, every kind of body, every way to be mounted.

A fault is a step of the connection in which something goes wrong. `expected` says in the fewest words what replay
safety makes of it; what comes out in the end is what bare `requests` gives. The servers are the oracle: they count what
they have read, and what they have worked on.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, NamedTuple

import pytest
import requests
from requests.adapters import HTTPAdapter

from polvo_adapters.core.http import IDEMPOTENT_METHODS
from tests.support.wire_faults import (
    ABRUPT,
    CUT_HEAD,
    FAULTS,
    HARMLESS,
    REFUSED,
    UNPROCESSED,
    UNSENT,
)
from tests.support.wire_servers import Fault, WireServer, certificates
from tests.support.wire_sessions import MOUNTINGS, mounted

PAYLOAD = b"payload " * 400
ALWAYS = 1 << 30

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


def expected(meaning: str, method: str, body: str, times: int, proves: bool = True) -> Cell:
    """Say what must happen when the first `times` connections meet a fault, and two attempts are allowed.

    An adapter with a `send` of its own proves nothing: it may have sent elsewhere.
    """
    bare = "ConnectionError" if meaning == CUT_HEAD else "what requests gets"
    is_sent = meaning not in (UNSENT, REFUSED) or not proves
    is_safe = meaning == UNPROCESSED or (meaning == UNSENT and proves) or method in IDEMPOTENT_METHODS
    if meaning in (REFUSED, HARMLESS) or not is_safe:
        return Cell(1, is_sent, bare)
    if is_sent and body == "generator":
        return Cell(1, is_sent, bare)
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
        cell = expected(FAULTS[fault], method, body, times, mounting != "around a subclass")
        gets = bare(fault, method, body) if cell.gets.startswith("what") else cell.gets
        wanted = (cell._replace(gets=gets), [])
        if result != wanted:
            unexpected[method, body, times] = f"{result} instead of {wanted}"
    assert unexpected == {}
