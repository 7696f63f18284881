"""What is watched below urllib3: the deadline at every wait for bytes, and heads that break off.

A read timeout bounds one silence of the server. A server that sends a byte a second, in head or body, is never
silent for long, so that no read timeout ends it. Below urllib3, each wait for bytes is one `readinto` of the raw
file that a response reads from. `WatchedResponse` puts a reader around that file which gives every single wait
what is left of the deadline, and no more. The deadline reaches it through a thread-local, because urllib3 makes the
response on the thread that sends the request. Without a deadline nothing is put in between.

A connection that closes in the middle of the response headers looks like the end of the headers to the standard
library: the caller gets a 200 with an empty body. `WatchedResponse` raises instead.

Connections make such responses when their pool is watched. The pools of an adapter of ours are made that way. The
pools of a wrapped adapter are watched when it asks for them: `watching` returns a second view on an adapter, sharing
all its state, that does so.
"""

from __future__ import annotations

import contextlib
import io
import socket
import threading
import weakref
from collections.abc import Callable, Hashable
from functools import lru_cache
from http.client import HTTPResponse, IncompleteRead
from typing import Any

from requests import PreparedRequest
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from polvo_adapters.core.calls import origin
from polvo_adapters.runtime.clock import Clock

NO_RETRY = Retry(0, read=False)
"""How an adapter does not retry. One for all: a Retry never changes, and takes longer to make than all else here."""

_MOST_KNOWN = 256


class _Current(threading.local):
    deadline: tuple[float, Clock] | None = None
    sockets: Sockets | None = None


_current = _Current()


class DeadlineScope:
    """Keeps what is sent through watched pools on this thread within a deadline, reading the body included.

    Args:
        at: The deadline, on the clock's `now`.
        clock: The clock.
    """

    __slots__ = ("_before", "_deadline")

    def __init__(self, at: float, clock: Clock) -> None:
        self._deadline = (at, clock)

    def __enter__(self) -> None:
        self._before, _current.deadline = _current.deadline, self._deadline

    def __exit__(self, *_: object) -> None:
        _current.deadline = self._before


class Sockets:
    """The sockets on which one thread waits for answers, so that another thread can put an end to that.

    A socket is among them from the sending of a request to the end of its answer, and no longer: from then on its
    connection may serve somebody else. That is why a socket is shut, and taken out, under one lock.
    """

    __slots__ = ("_ended", "_lock", "_sockets")

    def __init__(self) -> None:
        self._ended = False
        # A response takes its socket out when it is closed, and the collector may close one at any moment.
        self._lock = threading.RLock()
        self._sockets: list[Any] = []

    def add(self, sock: Any) -> None:
        """Note a socket; it is shut where the end was called for already."""
        with self._lock:
            self._sockets.append(sock)
            if self._ended:
                shut(sock)

    def remove(self, sock: Any) -> None:
        """Take a socket out, if it is there."""
        with self._lock:
            self._sockets = [each for each in self._sockets if each is not sock]

    def clear(self) -> None:
        """Take all of them out."""
        with self._lock:
            self._sockets = []

    def shut(self) -> None:
        """End what is waited for on them, and on those that come."""
        with self._lock:
            self._ended = True
            for sock in self._sockets:
                shut(sock)


class SocketTracker:
    """Notes the sockets on which what is sent on this thread waits for its answer.

    Args:
        sockets: Where they are noted.
    """

    __slots__ = ("_before", "_sockets")

    def __init__(self, sockets: Sockets) -> None:
        self._sockets = sockets

    def __enter__(self) -> None:
        self._before, _current.sockets = _current.sockets, self._sockets

    def __exit__(self, *_: object) -> None:
        _current.sockets = self._before


def note(sock: Any) -> None:
    """Note the socket on which this thread is going to wait for an answer, where somebody may want to end that."""
    if _current.sockets is not None:
        _current.sockets.add(sock)


def shut(sock: Any) -> None:
    """End what another thread waits for on a socket; the thread sees the connection close."""
    sock = getattr(sock, "socket", sock)  # of TLS within TLS, and of pyOpenSSL
    with contextlib.suppress(OSError):
        if isinstance(sock, socket.socket):
            # Not by the method of a TLS socket, which forgets its state under the hands of the other thread.
            socket.socket.shutdown(sock, socket.SHUT_RDWR)
        elif hasattr(sock, "shutdown"):
            sock.shutdown(socket.SHUT_RDWR)


def watched_view(adapter: HTTPAdapter, *, retries: bool = True) -> HTTPAdapter:
    """Return a view on an adapter that watches its pools.

    The view has a class of its own, below that of the adapter, and the very same attributes, so that whatever
    happens to one of them happens to both; the adapter itself stays as it is.

    Args:
        adapter: Any `HTTPAdapter`.
        retries: Whether the view retries as the adapter does; otherwise its `max_retries` reads as none.

    Returns:
        The view, or the adapter itself where it is of a kind that no view can be had of.
    """
    kind = type(adapter)
    if not issubclass(kind, HTTPAdapter) or any(vars(base).get("__slots__") for base in kind.__mro__):
        return adapter  # a mock, or state that cannot be shared
    try:
        view: HTTPAdapter = object.__new__(_view(kind, retries))  # type: ignore[arg-type]  # a class is hashable
    except TypeError:  # a class that wants to know more of its subclasses
        return adapter
    view.__dict__ = adapter.__dict__
    view._known_pools = KnownPools()  # type: ignore[attr-defined]
    return view


def watch_manager(manager: Any) -> None:
    """Let a urllib3 pool manager that has made no pool yet make watched ones."""
    kinds = manager.pool_classes_by_scheme
    manager.pool_classes_by_scheme = {scheme: _watched_pool(kind) for scheme, kind in kinds.items()}


def watch(pool: Any) -> None:
    """Let every connection that a urllib3 pool hands out, old or new, make responses that are watched.

    This is done where connections are handed out and not by another connection class, so that pools with a
    connection class of their own (UNIX sockets, recorded cassettes) keep it.
    """
    if "_get_conn" in vars(pool):
        return
    # Weak, because a pool that refers to itself would keep its connections open until the next garbage collection.
    reference = weakref.ref(pool)

    def watched(*args: Any, **keywords: Any) -> Any:
        pool: Any = reference()
        connection = type(pool)._get_conn(pool, *args, **keywords)
        connection.response_class = WatchedResponse
        return connection

    pool._get_conn = watched


def release(pool: Any) -> None:
    """Give a pool back as it was."""
    vars(pool).pop("_get_conn", None)


class KnownPools:
    """Remembers which pool of an adapter serves which requests.

    `requests` and urllib3 work that out anew for every request, which takes longer than all policies together. What
    is remembered is the key, never the pool: the pool manager still says whether there is one, and counts its use.
    """

    def __init__(self) -> None:
        self._keys: dict[Hashable, Any] = {}
        self._settings: dict[str, Any] = {}

    def pool(self, adapter: HTTPAdapter, ask: Callable[..., Any], request: PreparedRequest, **keywords: Any) -> Any:
        """Return the pool for a request.

        Args:
            adapter: The adapter; one that has a way of its own to tell pools apart is always asked.
            ask: Its `get_connection_with_tls_context`.
            request: The request.
            **keywords: verify, proxies and cert, as for `HTTPAdapter.send`; where there are proxies, it is asked.
        """
        attributes = type(adapter).build_connection_pool_key_attributes
        if keywords["proxies"] or attributes is not HTTPAdapter.build_connection_pool_key_attributes:
            return ask(request, **keywords)
        what = (origin(request.url or ""), keywords["verify"], keywords["cert"])
        manager = adapter.poolmanager
        pool = self._find(manager, what)
        if pool is None:
            pool = ask(request, **keywords)
            self._remember(manager, what, pool)
        return pool

    def _find(self, manager: Any, what: Hashable) -> Any:
        """Return the pool, or None where it is not known, is gone, or the manager was told to make others."""
        if manager.connection_pool_kw != self._settings:
            self._keys.clear()
            return None
        key = self._keys.get(what)
        return None if key is None else manager.pools.get(key)

    def _remember(self, manager: Any, what: Hashable, pool: Any) -> None:
        if len(self._keys) >= _MOST_KNOWN or manager.connection_pool_kw != self._settings:
            self._keys.clear()
            self._settings = dict(manager.connection_pool_kw)
        with manager.pools.lock:
            # Not by the mapping itself, which would count a look as a use and so change which pool goes next.
            keys = [key for key, each in manager.pools._container.items() if each is pool]
        self._keys.update((what, key) for key in keys)


class _WatchedPool:
    def _new_conn(self) -> Any:
        connection = super()._new_conn()  # type: ignore[misc]
        connection.response_class = WatchedResponse
        return connection


@lru_cache(maxsize=64)
def _watched_pool(kind: type) -> type:
    return kind if issubclass(kind, _WatchedPool) else type(kind.__name__, (_WatchedPool, kind), {})


class _View(HTTPAdapter):
    __slots__ = ("_known_pools",)  # not among the attributes, which are the adapter's
    _known_pools: KnownPools

    def get_connection_with_tls_context(
        self, request: PreparedRequest, verify: Any, proxies: Any = None, cert: Any = None
    ) -> Any:
        ask = super().get_connection_with_tls_context
        if getattr(ask, "__func__", None) is HTTPAdapter.get_connection_with_tls_context:
            pool = self._known_pools.pool(self, ask, request, verify=verify, proxies=proxies, cert=cert)
        else:
            pool = ask(request, verify, proxies=proxies, cert=cert)
        watch(pool)
        return pool


class _ViewWithoutRetries(_View):
    @property
    def max_retries(self) -> Retry:
        """No retries: a property of the class is found before an attribute of the object."""
        return NO_RETRY

    @max_retries.setter
    def max_retries(self, value: Any) -> None:
        """Whatever the adapter sets for itself, it does not retry here."""


@lru_cache(maxsize=64)
def _view(kind: type[HTTPAdapter], retries: bool) -> type[HTTPAdapter]:
    return type(kind.__name__, (_View if retries else _ViewWithoutRetries, kind), {})


class WatchedResponse(HTTPResponse):
    """A response that obeys the deadline in force when it was made, and whose head must be whole."""

    _noted: tuple[Sockets, Any] | None = None

    def __init__(self, sock: Any, *args: Any, **keywords: Any) -> None:
        super().__init__(sock, *args, **keywords)
        if _current.sockets is not None:
            self._noted = (_current.sockets, sock)
            note(sock)
        if _current.deadline is not None:
            self.fp = io.BufferedReader(_DeadlineReader(self.fp, sock, *_current.deadline))

    def begin(self) -> None:
        """Read status and headers; raise where the connection closes before they are complete."""
        file: Any = self.fp
        if hasattr(file, "peek") and b"\r\n\r\n" in file.peek(1):  # the whole head, as it nearly always is
            return super().begin()
        head: Any = _Head(file)
        self.fp = head
        try:
            super().begin()
        finally:
            if self.fp is head:  # else it was closed
                self.fp = file
        if head.cut and not self.chunked and not self.length:  # else the body will be found missing
            raise IncompleteRead(b"")
        return None

    def _close_conn(self) -> None:
        """Close the file that it reads from, before urllib3 gives the connection to the next who wants it."""
        noted, self._noted = self._noted, None
        if noted is not None:
            noted[0].remove(noted[1])
        super()._close_conn()  # type: ignore[misc]  # not in the stubs


class _Head:
    def __init__(self, file: Any) -> None:
        self._file = file
        self.cut = False

    def readline(self, limit: int = -1) -> bytes:
        line: bytes = self._file.readline(limit)
        self.cut = not line
        return line

    def close(self) -> None:
        self._file.close()


class _DeadlineReader(io.RawIOBase):
    def __init__(self, file: Any, sock: Any, at: float, clock: Clock) -> None:
        self._file, self._sock, self._at, self._clock = file, sock, at, clock

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        descriptor: int = self._sock.fileno()  # for code that takes the socket over, such as docker's
        return descriptor

    def readinto(self, buffer: Any) -> int | None:
        left = self._at - self._clock.now()
        if left <= 0:
            raise TimeoutError("the deadline of the call is over")
        patience = self._sock.gettimeout()
        if patience is not None and patience <= left:
            return self._file.readinto1(buffer)  # type: ignore[no-any-return]
        self._sock.settimeout(left)
        try:
            count: int | None = self._file.readinto1(buffer)
        finally:
            self._sock.settimeout(patience)
        return count

    def close(self) -> None:
        self._file.close()
        super().close()
