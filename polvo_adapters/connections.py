"""Makes every wait for a byte obey the deadline of the call.

A read timeout bounds one silence of the server. A server that sends a byte a second, in headers or body, is never
silent for long, so that no read timeout ends it. Below urllib3, each wait for bytes is one `readinto` of the raw
file that a connection's response reads from. `DeadlineResponse` puts a reader around that file which gives every
single wait what is left of the deadline, and no more.

The deadline reaches the response through a thread-local, because urllib3 makes the response on the thread that
sends the request. Without a deadline nothing is put in between, and a connection behaves exactly as before.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPResponse
from typing import Any

from polvo_adapters.clock import Clock


class _Current(threading.local):
    until: tuple[float, Clock] | None = None


_current = _Current()


@contextmanager
def deadline(at: float, clock: Clock, pool: Any) -> Iterator[None]:
    """Keep what is sent through a urllib3 pool on this thread within a deadline, reading the body included.

    Args:
        at: The deadline, on the clock's `now`.
        clock: The clock.
        pool: A urllib3 `HTTPConnectionPool`, or None where there is none.
    """
    if pool is not None:
        _watch(pool)
    before, _current.until = _current.until, (at, clock)
    try:
        yield
    finally:
        _current.until = before


def release(pool: Any) -> None:
    """Give a pool back as it was; its connections lose nothing but the ability to obey a deadline."""
    vars(pool).pop("_get_conn", None)


def _watch(pool: Any) -> None:
    """Let every connection that the pool hands out, old or new, make responses that know the deadline.

    This is done where connections are handed out and not by another connection class, so that pools with a
    connection class of their own (UNIX sockets, recorded cassettes) keep it.
    """
    if "_get_conn" in vars(pool):
        return
    get_connection = pool._get_conn

    def watched(*args: Any, **keywords: Any) -> Any:
        connection = get_connection(*args, **keywords)
        connection.response_class = DeadlineResponse
        return connection

    pool._get_conn = watched


class DeadlineResponse(HTTPResponse):
    """A response whose every read is bounded by the deadline that was in force when it was made."""

    def __init__(self, sock: Any, *args: Any, **keywords: Any) -> None:
        super().__init__(sock, *args, **keywords)
        if _current.until is not None:
            self.fp = io.BufferedReader(_DeadlineReader(self.fp, sock, *_current.until))


class _DeadlineReader(io.RawIOBase):
    def __init__(self, file: Any, sock: Any, at: float, clock: Clock) -> None:
        self._file, self._sock, self._at, self._clock = file, sock, at, clock

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._at - self._clock.now()
        if left <= 0:
            raise TimeoutError("the deadline of the call is over")
        patience = self._sock.gettimeout()
        self._sock.settimeout(left if patience is None else min(patience, left))
        try:
            count: int | None = self._file.readinto1(buffer)
        finally:
            self._sock.settimeout(patience)
        return count

    def close(self) -> None:
        self._file.close()
        super().close()
