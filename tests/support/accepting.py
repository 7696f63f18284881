"""The end of a server that accepts on a thread of its own."""

from __future__ import annotations

import contextlib
import socket
import threading


def stop_accepting(listener: socket.socket, thread: threading.Thread, seconds: float = 20.0) -> None:
    """Close a listening socket when the thread that accepts from it has ended.

    A thread that is still within `accept` would go on with the number of the socket, which another one may have got
    by then, and take the connections of another test.
    """
    with contextlib.suppress(OSError):
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(seconds)
    listener.close()
