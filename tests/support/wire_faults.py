"""What may go wrong on the way to an origin, step by step, and what it means to a client."""

from __future__ import annotations

from collections.abc import Iterator

from tests.support.wire_servers import FORWARD, HTTP, HTTPS, SOCKS, TUNNEL, Fault

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
            yield Fault(way, "accept", deed), LOST  # it was handed to the socket, and the server may have read it
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
