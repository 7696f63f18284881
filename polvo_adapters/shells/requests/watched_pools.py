"""Connection pools whose responses obey the deadline at every wait for bytes, and have complete headers.

Theory of operation. A read timeout bounds one silence of the server. A server that sends a byte a second, in head or
body, is never silent for long, so no read timeout ends it. Below urllib3, each wait for bytes is one `readinto` of the
raw file that a response reads from. `WatchedResponse` puts a reader around that file, which limits every single wait to
the rest of the deadline. The deadline reaches it through a thread-local, because urllib3 makes the response on the
thread that sends the request. Without a deadline there is no such reader.

A connection that closes in the middle of the response headers looks like the end of the headers to the standard
library: the caller gets a 200 with an empty body. `WatchedResponse` raises instead.

Connections make such responses when their pool is watched. The pools of a PolicyAdapter are made that way. The pools of
a wrapped adapter are watched when it asks for them: `watched_view` returns a second view on an adapter, sharing all its
state, that does so.
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
"""The `max_retries` of an adapter that does not retry; one for all, because a Retry is slow to make."""

_MOST_KNOWN = 256


class _Current(threading.local):
    deadline: tuple[float, Clock] | None = None
    sockets: Sockets | None = None


_current = _Current()


class DeadlineScope:
    """A block that keeps what this thread sends through watched pools within a deadline, reading the body included.

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
    """The sockets on which one thread waits for responses, so that another thread can end the wait.

    A socket is among them from the sending of a request to the end of its response, and no longer, because its
    connection may then serve another request. That is why a socket is shut, and removed, under one lock.
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


class SocketTracker:
    """A block that records the sockets on which this thread waits for responses.

    Args:
        sockets: Where the sockets are added.
    """

    __slots__ = ("_before", "_sockets")

    def __init__(self, sockets: Sockets) -> None:
        self._sockets = sockets

    def __enter__(self) -> None:
        self._before, _current.sockets = _current.sockets, self._sockets

    def __exit__(self, *_: object) -> None:
        _current.sockets = self._before


def track_socket(sock: Any) -> None:
    """Add the socket on which this thread is going to wait for a response, within a SocketTracker."""
    if _current.sockets is not None:
        _current.sockets.add(sock)


def shut(sock: Any) -> None:
    """Shut a socket on which another thread waits; that thread sees the connection close."""
    sock = getattr(sock, "socket", sock)  # TLS within TLS, and pyOpenSSL
    with contextlib.suppress(OSError):
        if isinstance(sock, socket.socket):
            # Not by the method of a TLS socket, which discards the state that the other thread uses.
            socket.socket.shutdown(sock, socket.SHUT_RDWR)
        elif hasattr(sock, "shutdown"):
            sock.shutdown(socket.SHUT_RDWR)


def watched_view(adapter: HTTPAdapter, *, retries: bool = True) -> HTTPAdapter:
    """Return a view on an adapter that watches its pools.

    The view has a subclass of the adapter's class and the very same attributes, so that a change of one changes both;
    the adapter itself stays as it is.

    Args:
        adapter: Any `HTTPAdapter`.
        retries: Whether the view retries as the adapter does; otherwise its `max_retries` reads as none.

    Returns:
        The view, or the adapter itself where its class allows no view.
    """
    kind = type(adapter)
    if not issubclass(kind, HTTPAdapter) or any(vars(base).get("__slots__") for base in kind.__mro__):
        return adapter  # a mock, or state that cannot be shared
    try:
        view: HTTPAdapter = object.__new__(_extended_class(kind, _View if retries else _ViewWithoutRetries))  # type: ignore[arg-type]  # hashable
    except TypeError:  # a class that expects keywords of its subclasses
        return adapter
    view.__dict__ = adapter.__dict__
    view._known_pools = KnownPools()  # type: ignore[attr-defined]
    return view


def extend_pools(manager: Any, mixin: type) -> None:
    """Let a urllib3 pool manager that has made no pool yet make pools of classes that a mixin extends."""
    kinds = manager.pool_classes_by_scheme
    manager.pool_classes_by_scheme = {scheme: _extended_class(kind, mixin) for scheme, kind in kinds.items()}


@lru_cache(maxsize=64)
def _extended_class(kind: type, mixin: type) -> type:
    return kind if issubclass(kind, mixin) else type(kind.__name__, (mixin, kind), {})


def watch(pool: Any) -> None:
    """Let every connection that a urllib3 pool lends, old or new, make watched responses.

    Not by another connection class, so that pools with one of their own (UNIX sockets, recorded cassettes) keep it.
    """
    if "_get_conn" in vars(pool):
        return
    # Weak, because a pool that refers to itself would keep its connections open until the next garbage collection.
    reference = weakref.ref(pool)

    def get_connection(*args: Any, **keywords: Any) -> Any:
        pool: Any = reference()
        connection = type(pool)._get_conn(pool, *args, **keywords)
        connection.response_class = WatchedResponse
        return connection

    pool._get_conn = get_connection


def unwatch(pool: Any) -> None:
    """Undo `watch`."""
    vars(pool).pop("_get_conn", None)


class KnownPools:
    """A memory of which pool of an adapter serves which requests.

    `requests` and urllib3 work that out anew for every request, which takes longer than all policies together. Only the
    key is kept, never the pool: the pool manager still decides whether there is one, and counts its use.
    """

    def __init__(self) -> None:
        self._keys: dict[Hashable, Any] = {}
        self._settings: dict[str, Any] = {}

    def pool(self, adapter: HTTPAdapter, ask: Callable[..., Any], request: PreparedRequest, **keywords: Any) -> Any:
        """Return the pool for a request.

        Args:
            adapter: The adapter; one with pool keys of its own is always asked.
            ask: Its `get_connection_with_tls_context`.
            request: The request.
            **keywords: verify, proxies and cert, as for `HTTPAdapter.send`; with proxies the adapter is asked.
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
        """Return the pool, or None where it is unknown or gone, or the settings of the manager have changed."""
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
            # Not by the mapping itself, which counts a look as a use and so changes which pool is dropped next.
            keys = [key for key, each in manager.pools._container.items() if each is pool]
        self._keys.update((what, key) for key in keys)


class WatchedPool:
    """Mixin of pools whose new connections make watched responses."""

    def _new_conn(self) -> Any:
        connection = super()._new_conn()  # type: ignore[misc]
        connection.response_class = WatchedResponse
        return connection


class _View(HTTPAdapter):
    __slots__ = ("_known_pools",)  # its other attributes are those of the adapter
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
        """No retries: a property of the class takes precedence over an attribute of the object."""
        return NO_RETRY

    @max_retries.setter
    def max_retries(self, value: Any) -> None:
        """Ignore what the adapter sets for itself."""


class WatchedResponse(HTTPResponse):
    """A response that obeys the deadline in force when it was made, and whose head must be complete."""

    _tracked: tuple[Sockets, Any] | None = None

    def __init__(self, sock: Any, *args: Any, **keywords: Any) -> None:
        super().__init__(sock, *args, **keywords)
        if _current.sockets is not None:
            self._tracked = (_current.sockets, sock)
            track_socket(sock)
        if _current.deadline is not None:
            self.fp = io.BufferedReader(_DeadlineReader(self.fp, sock, *_current.deadline))

    def begin(self) -> None:
        """Read status and headers; raise where the connection closes before they are complete."""
        file: Any = self.fp
        if hasattr(file, "peek") and b"\r\n\r\n" in file.peek(1):  # the complete head, as nearly always
            return super().begin()
        head: Any = _Head(file)
        self.fp = head
        try:
            super().begin()
        finally:
            if self.fp is head:  # else it was closed
                self.fp = file
        if head.cut and not self.chunked and not self.length:  # else the body will prove to be incomplete
            raise IncompleteRead(b"")
        return None

    def _close_conn(self) -> None:
        """Close the file of the response, before urllib3 lends the connection again."""
        tracked, self._tracked = self._tracked, None
        if tracked is not None:
            tracked[0].remove(tracked[1])
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
        descriptor: int = self._sock.fileno()  # for code that takes over the socket, such as docker's
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
