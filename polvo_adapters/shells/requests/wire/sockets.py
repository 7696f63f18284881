"""The sockets of an attempt, which another thread may shut to end it, and those below pyOpenSSL."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Any

from polvo_adapters.runtime.clock import Clock


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


class CutOff:
    """Shuts a socket when a time is up, for a handshake that has no time limit as a whole.

    Args:
        sock: The socket.
        seconds: The time.
        clock: Time and threads.

    Attributes:
        has_shut: Whether the time was up first.
    """

    __slots__ = ("_over", "has_shut")

    def __init__(self, sock: Any, seconds: float, clock: Clock) -> None:
        self._over = threading.Event()
        self.has_shut = False

        def watch() -> None:
            clock.wait(self._over, seconds)
            if not self._over.is_set():
                self.has_shut = True
                shut(sock)

        with contextlib.suppress(RuntimeError):  # no thread can be had
            clock.spawn(watch)

    def cancel(self) -> None:
        """Leave the socket alone from now on."""
        self._over.set()


def shut(sock: Any) -> None:
    """Shut a socket on which another thread waits; that thread sees the connection close."""
    sock = getattr(sock, "socket", sock)  # TLS within TLS, and pyOpenSSL
    with contextlib.suppress(OSError):
        if isinstance(sock, socket.socket):
            # Not by the method of a TLS socket, which discards the state that the other thread uses.
            socket.socket.shutdown(sock, socket.SHUT_RDWR)
        elif hasattr(sock, "shutdown"):
            sock.shutdown(socket.SHUT_RDWR)
