"""The sockets of an attempt, which another thread may shut to end it, and those below pyOpenSSL."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Any


class Sockets:
    """The sockets on which one thread connects or waits for responses, so that another thread can end the wait.

    A socket is among them from its connecting to the end of the response, and no longer, because its connection may
    then serve another request. That is why a socket is shut, and removed, under one lock.
    """

    __slots__ = ("_ended", "_lock", "_sockets")

    def __init__(self) -> None:
        self._ended = False
        # A response removes its socket when it is closed, and the garbage collector may close one at any moment.
        self._lock = threading.RLock()
        self._sockets: list[Any] = []

    def add(self, sock: Any) -> None:
        """Add a socket; it is shut at once after `shut`."""
        with self._lock:
            self._sockets.append(sock)
            if self._ended:
                shut(sock)

    def remove(self, sock: Any) -> None:
        """Remove a socket, if it is there."""
        with self._lock:
            self._sockets = [each for each in self._sockets if each is not sock]

    def clear(self) -> None:
        """Remove all sockets."""
        with self._lock:
            self._sockets = []

    def shut(self) -> None:
        """Shut all sockets, and those that are added later."""
        with self._lock:
            self._ended = True
            for sock in self._sockets:
                shut(sock)


def shut(sock: Any) -> None:
    """Shut a socket on which another thread waits; that thread sees the connection close."""
    sock = getattr(sock, "socket", sock)  # TLS within TLS, and pyOpenSSL
    with contextlib.suppress(OSError):
        if isinstance(sock, socket.socket):
            # Not by the method of a TLS socket, which discards the state that the other thread uses.
            socket.socket.shutdown(sock, socket.SHUT_RDWR)
        elif hasattr(sock, "shutdown"):
            sock.shutdown(socket.SHUT_RDWR)


class LimitedSocket:
    """A socket below pyOpenSSL, which asks for its timeout before every wait; each wait ends with the deadline.

    A handshake, or a record, that comes byte by byte makes many waits, each of which would have the whole timeout.

    Args:
        sock: The socket.
        limit: Shortens a timeout to what is left of the deadline; None where no attempt is being made.
    """

    def __init__(self, sock: Any, limit: Callable[[float | None], float | None] | None) -> None:
        self._sock = sock
        self.limit = limit

    def gettimeout(self) -> float | None:
        """Return the timeout of a wait that begins now."""
        seconds: float | None = self._sock.gettimeout()
        return seconds if self.limit is None else self.limit(seconds)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


def limit_waits(sock: Any, limit: Callable[[float | None], float | None] | None) -> None:
    """Let the waits of a connection of pyOpenSSL end with the deadline of another attempt, or with none."""
    below = getattr(sock, "socket", None)
    if type(below) is LimitedSocket:
        below.limit = limit
