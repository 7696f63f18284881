"""The trace of one attempt: which phases it went through, when, and whether any of the request left this process.

Theory of operation. The connection that carries an attempt marks each phase as it begins, in this order; what did not
happen has no mark:

    queue               waiting for a connection of the pool
    resolve             looking up the addresses of the host, or of the proxy
    connect ADDRESS     connecting to one address
    proxy               the handshake with a proxy that opens a tunnel
    tls                 the TLS handshake
    send                handing the head and the body of the request to the socket
    wait                for the first byte of the response
    head                reading status and headers
    body                reading the body

**Never sent** is what the trace proves: every connection of the attempt kept it, and none of them handed a byte of the
request to a socket. Without that proof the request may have been sent, whatever exception came out.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

Mark: TypeAlias = tuple[str, float]
"""Name and beginning of a phase."""

QUEUE, RESOLVE, CONNECT, PROXY, TLS = "queue", "resolve", "connect", "proxy", "tls"
SEND, WAIT, HEAD, BODY = "send", "wait", "head", "body"
_END = "end"


class Phase(NamedTuple):
    """A part of an attempt.

    Attributes:
        name: One of the names of this module, with the address after "connect".
        seconds: Duration.
    """

    name: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.name} {self.seconds:.3f}"


class Trace:
    """The marks that the connections of one attempt make.

    Args:
        began: When the attempt began, which is when it begins to wait for a connection.

    Attributes:
        marks: Name and beginning of each phase, in order.
        lent: How many connections the attempt was given.
        untraced: How many of them keep no trace.
        sent: Whether a byte of the request may have been handed to a socket of a connection that keeps one.
        proxy_status: Status with which a proxy refused to open a tunnel, or 0.
    """

    __slots__ = ("lent", "marks", "proxy_status", "sent", "untraced")

    def __init__(self, began: float) -> None:
        self.marks: list[Mark] = [(QUEUE, began)]
        self.lent = 0
        self.untraced = 0
        self.sent = False
        self.proxy_status = 0

    @property
    def is_unsent(self) -> bool:
        """Whether it is proved that no byte of the request was handed to a socket."""
        return not self.sent and not self.untraced

    def adopt(self, attempts: Sequence[Any]) -> None:
        """Take over what the attempts of an adapter further inside have proved, and the marks of the last one."""
        self.sent = self.sent or any(attempt.sent for attempt in attempts)
        if attempts and attempts[-1].marks:
            self.marks, self.lent = list(attempts[-1].marks[:-1]), 1

    def end(self, now: float) -> Sequence[Mark]:
        """Note that the attempt is over, and return its marks."""
        if not self.lent:
            return ()
        self.marks.append((_END, now))
        return self.marks


def describe_progress(marks: Sequence[Mark]) -> str:
    """Return how far an attempt got, as the end of a sentence, or an empty string where no trace was kept."""
    name = marks[-2][0] if len(marks) > 1 else ""
    if name.startswith(CONNECT):
        address = name[len(CONNECT) :].strip()
        return f"while connecting to {address}" if address else "while connecting"
    return _PROGRESS.get(name, "")


_PROGRESS = {
    QUEUE: "while waiting for a connection of the pool",
    RESOLVE: "while looking up the name of the host",
    PROXY: "while the proxy opened a connection",
    TLS: "in the TLS handshake",
    SEND: "while sending the request",
    WAIT: "while waiting for the first byte of the answer",
    HEAD: "while reading the head of the answer",
    BODY: "while reading the body",
}


def phases_of(marks: Sequence[Mark]) -> list[Phase]:
    """Return the phases between marks, the last of which is an end."""
    return [Phase(name, until - began) for (name, began), (_, until) in pairwise(marks)]
