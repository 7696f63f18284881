"""Connections that keep the trace of an attempt, and its deadline at each wait.

Theory of operation. A pool's view lends a connection for one attempt. Before that, the class of the connection is
extended by `TracedConnection`, whatever class it is, so that those for UNIX sockets or SOCKS proxies stay what they
are. From then on it marks each phase, and notes before the first byte of the request is handed to the socket: what
fails before that was certainly never sent.

That is proved only by connections that send as the standard library and urllib3 do. Where another class sends in a way
of its own, the attempt counts as one that may have been sent.
"""

from __future__ import annotations

import http.client
import sys
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

from urllib3 import connection as urllib3_connections
from urllib3.connection import HTTPSConnection
from urllib3.util import ssl_ as urllib3_ssl
from urllib3.util.request import body_to_chunks

from polvo_adapters.context.call import call_settings, call_started
from polvo_adapters.core.trace import CONNECT, PROXY, SEND, TLS, WAIT
from polvo_adapters.runtime.bounded import BOUNDED
from polvo_adapters.shells.extended_class import extend
from polvo_adapters.shells.requests.pool_limits import IDLE_SECONDS
from polvo_adapters.shells.requests.wire.addresses import explain_connect_error, open_socket
from polvo_adapters.shells.requests.wire.originals import is_original
from polvo_adapters.shells.requests.wire.responses import TracedResponse, make_response
from polvo_adapters.shells.requests.wire.sockets import CutOff
from polvo_adapters.shells.requests.wire.transmission import Transmission

STALE_SECONDS = 4.0
"""Idle time after which a connection may be dead without a sign: servers close theirs from 5 seconds on."""

_BLOCK = 65_536
_SENDING = ("request", "putrequest", "putheader", "endheaders", "_send_output", "send", "getresponse")
_TRUSTED = ("urllib3.", "http.client", "polvo_adapters.")
_SOCKS_TRANSIENT = ("0x01", "0x03", "0x04", "0x05", "0x06", "0x5b")
"""Codes of a SOCKS proxy that could not connect: failure, unreachable, refused, expired (RFC 1928); that of SOCKS 4."""


def lend(connection: Any, transmission: Transmission) -> None:
    """Let a connection serve an attempt, which it knows from now on; one that is not fit for it is closed before.

    Args:
        connection: A connection of a pool; a closed one opens itself when it is used.
        transmission: The attempt.
    """
    transmission.lent += 1
    kind: Any = type(connection)
    extended = traced_class(kind, transmission)
    if extended is None or not extended._is_traced:
        transmission.untraced += 1
    if extended is None:
        return
    if kind is not extended:
        try:
            connection.__class__ = extended
        except TypeError:  # another layout in memory
            transmission.untraced += 1
            return
    before, connection._transmission = connection._transmission, transmission
    if connection.sock is not None and not _is_fit(before, transmission):
        connection.close()


def traced_class(kind: Any, transmission: Transmission) -> type[TracedConnection] | None:
    """Return the class of connections of a kind that keep the trace of an attempt, or None where there is none."""
    extended = kind._unwatched if issubclass(kind, TracedConnection) else _extend(kind)
    if extended is None or not transmission.is_watched:
        return extended
    return extended._watched


def _is_fit(before: Transmission | None, transmission: Transmission) -> bool:
    """Return whether an open connection that has served one attempt may serve another."""
    if before is None:
        return not transmission.once
    if before.is_bound:
        if before.owner is not transmission.owner:
            return False
        transmission.bind_if(True)
    return transmission.now() - before.marks[-1][1] < (STALE_SECONDS if transmission.once else IDLE_SECONDS)


class TracedConnection:
    """Mixin of connections that know the attempt that they serve."""

    _is_traced = False
    _has_own_connect = False
    _has_own_responses = False
    _is_socks = False
    _is_tls = False
    _watched: type[TracedConnection]
    _unwatched: type[TracedConnection]
    _transmission: Transmission | None = None
    _is_connecting = False
    _cut_off: CutOff | None = None
    sock: Any
    timeout: Any

    def connect(self) -> None:
        """Connect, and note that nothing of the request is sent meanwhile."""
        transmission = self._transmission
        self._is_connecting = True
        try:
            if transmission is not None and not transmission.over and self._has_own_connect:
                transmission.mark(CONNECT)
            super().connect()  # type: ignore[misc]
        finally:
            self._is_connecting = False
            if self._cut_off is not None:
                self._cut_off.cancel()
                if transmission is not None:
                    transmission.is_cut_off = self._cut_off.has_shut
                self._cut_off = None

    def _new_conn(self) -> Any:
        """Return a connected socket, which has what is left of the deadline for the handshakes after it."""
        transmission = self._transmission
        if transmission is None or transmission.over:
            return super()._new_conn()  # type: ignore[misc]
        # Looked at each time: code that pins or guards addresses replaces it at any moment.
        if is_original(super()._new_conn, urllib3_connections, "_new_conn"):  # type: ignore[misc]
            sock = open_socket(self, transmission)
        else:
            sock = self._open_in_own_way(transmission)
        if self._is_tls:
            transmission.mark(TLS)
        seconds = transmission.limit(None)
        if seconds is not None:
            sock.settimeout(transmission.limit(self.timeout))
            if self._is_tls and self._has_unlimited_handshake():
                self._cut_off = CutOff(sock, seconds, transmission.clock)
        return sock

    def _has_unlimited_handshake(self) -> bool:
        """Return whether each wait of the TLS handshake has the whole timeout: with pyOpenSSL, and for TLS in TLS."""
        proxy = getattr(self, "proxy", None)
        return urllib3_ssl.IS_PYOPENSSL or (proxy is not None and proxy.scheme == "https")

    def _open_in_own_way(self, transmission: Transmission) -> Any:
        """Return a socket made by the class below, such as that for SOCKS, whose handshake has timeouts of its own."""
        open_below = super()._new_conn  # type: ignore[misc]

        failures: list[Exception] = []

        def open_and_note() -> Any:
            try:
                return open_below()
            except Exception as error:
                failures.append(error)
                raise

        transmission.mark(f"{CONNECT} by {type(self).__name__}")
        seconds = transmission.limit(None)
        try:
            if seconds is None or not self._is_socks:  # code of one's own may need its thread
                return open_and_note()
            return BOUNDED.call(transmission.clock, seconds, open_and_note, discard=lambda sock: sock.close())
        except Exception as error:
            if self._is_socks:
                self._explain_socks(error, transmission, waiting=not failures)
            raise
        finally:
            failures.clear()  # see errors.py, "Errors and frames"

    def _explain_socks(self, error: Exception, transmission: Transmission, *, waiting: bool) -> None:
        """Note what an error of the way through a SOCKS proxy means.

        Args:
            error: The error.
            transmission: The attempt.
            waiting: Whether it ended the wait for the thread that connects, and not that thread.

        Raises:
            ConnectTimeoutError: The wait ended as one for a socket may end.
            NewConnectionError: The same.
        """
        if waiting and isinstance(error, OSError):
            raise explain_connect_error(self, error) from error
        if error.__cause__ is None:
            error.__cause__ = error.__context__  # urllib3 names none
        if _is_socks_refusal(error):
            transmission.proxy_status = 407

    def _tunnel(self) -> None:
        """Ask a proxy for a tunnel."""
        transmission = self._transmission
        if transmission is None or transmission.over:
            super()._tunnel()  # type: ignore[misc]
            return
        transmission.mark(PROXY)
        super()._tunnel()  # type: ignore[misc]
        transmission.mark(TLS)
        if transmission.deadline is not None:
            self.sock.settimeout(transmission.limit(self.timeout))

    def response_class(
        self,
        sock: Any,
        debuglevel: int = 0,
        method: str | None = None,
        url: str | None = None,  # noqa: ARG002
    ) -> http.client.HTTPResponse:
        """Return a response to be read from a socket; the standard library calls this as a class."""
        transmission = self._transmission
        is_own = self._has_own_responses or http.client.HTTPConnection.response_class is not http.client.HTTPResponse
        if transmission is None or transmission.over or is_own:  # a parser of one's own reads it
            return super().response_class(sock, debuglevel, method=method)  # type: ignore[misc,no-any-return]
        if transmission.callers_error is not None:
            raise transmission.callers_error  # the body is not whole, whatever urllib3 made of that
        if not self._is_connecting:
            transmission.marks.append((WAIT, transmission.now()))
        if transmission.deadline is None and transmission.sockets is None and not self._is_connecting:
            response = TracedResponse(sock, debuglevel, method)
            response._transmission = transmission
            return response
        return make_response(transmission, sock, debuglevel, method, self.timeout, tunnel=self._is_connecting)

    def endheaders(self, *args: Any, **keywords: Any) -> None:
        """Hand the head of the request to the socket; see `http.client.HTTPConnection.endheaders`."""
        transmission = self._transmission
        if transmission is not None and not transmission.over:
            if self.sock is None:
                self.connect()
            transmission.sent = True
            transmission.marks.append((SEND, transmission.now()))
        super().endheaders(*args, **keywords)  # type: ignore[misc]


class _WatchedConnection(TracedConnection):
    """Mixin for attempts that have a deadline, or whose body is read while it is sent."""

    def request(self, method: str, url: str, body: Any = None, headers: Any = None, **keywords: Any) -> None:
        """Send a request; see `urllib3.connection.HTTPConnection.request`."""
        transmission = self._transmission
        if transmission is not None and not transmission.over:
            if transmission.callers_error is not None:
                raise transmission.callers_error
            if body is not None and not isinstance(body, (bytes, str)):
                body = self._watch_body(body, method, transmission)
        super().request(method, url, body=body, headers={} if headers is None else headers, **keywords)  # type: ignore[misc]

    def _watch_body(self, body: Any, method: str, transmission: Transmission) -> Any:
        """Return the chunks of a body that is read while it is sent, or the body itself."""
        if not hasattr(body, "read"):
            try:
                memoryview(body)
            except TypeError:
                pass
            else:
                return body
        chunks = body_to_chunks(body, method, getattr(self, "blocksize", _BLOCK)).chunks
        return None if chunks is None else _watch(chunks, transmission)

    def send(self, data: Any) -> None:
        """Hand bytes to the socket, block by block; see `http.client.HTTPConnection.send`."""
        transmission = self._transmission
        if transmission is None or transmission.over or self._is_connecting or transmission.deadline is None:
            super().send(data)  # type: ignore[misc]
            return
        for block in _blocks(data):
            self.sock.settimeout(transmission.limit(self.timeout))
            super().send(block)  # type: ignore[misc]


@lru_cache(maxsize=64)
def _extend(kind: Any) -> type[TracedConnection] | None:
    """Return the class of traced connections of a kind, or None where it is not one of the standard library."""
    if not issubclass(kind, http.client.HTTPConnection):
        return None
    try:
        extended = extend(kind, TracedConnection)
    except TypeError:
        return None
    extended._is_traced = all(_is_trusted(_definer(kind, name)) for name in _SENDING)
    extended._has_own_connect = not _is_trusted(_definer(kind, "connect"))
    extended._has_own_responses = kind.response_class is not http.client.HTTPResponse
    extended._is_socks = getattr(_definer(kind, "_new_conn"), "__module__", "") == "urllib3.contrib.socks"
    extended._is_tls = issubclass(kind, HTTPSConnection)
    extended._unwatched = extended
    extended._watched = type(kind.__name__, (_WatchedConnection, extended), {})
    return extended  # type: ignore[no-any-return]


def _definer(kind: type, name: str) -> type | None:
    """Return the class that defines a method of a class."""
    return next((base for base in kind.__mro__ if name in vars(base)), None)


def _is_trusted(kind: type | None) -> bool:
    return kind is not None and f"{kind.__module__}.".startswith(_TRUSTED)


def _watch(chunks: Iterable[Any], transmission: Transmission) -> Iterator[Any]:
    """Yield the chunks of a body; note what its iterator raises, which belongs to the caller.

    What the iterator calls is not part of the call whose body it makes, and so not bound by its deadline, nor by what
    is said for that call.
    """
    iterator = iter(chunks)
    while True:
        outer, settings = call_started.set(None), call_settings.set(None)
        try:
            chunk = next(iterator)
        except StopIteration:
            return
        except BaseException as error:
            transmission.callers_error = error
            raise
        finally:
            call_started.reset(outer)
            call_settings.reset(settings)
        yield chunk


def _blocks(data: Any) -> Iterable[Any]:
    """Return the blocks of bytes, each small enough that a slow reader cannot stretch its timeout."""
    if not isinstance(data, (bytes, bytearray, memoryview)) or len(data) <= _BLOCK:
        return (data,)
    view = memoryview(data).cast("B")  # as bytes, which a `send` of one's own may expect
    return (bytes(view[start : start + _BLOCK]) for start in range(0, len(view), _BLOCK))


def _is_socks_refusal(error: BaseException) -> bool:
    """Return whether a SOCKS proxy has refused this client: its password, or the destination by a rule.

    PySocks puts its own errors into others as if they were those of the socket.
    """
    socks = sys.modules.get("socks")
    if socks is None:
        return False
    reason: Any = error.__cause__
    while isinstance(reason, socks.ProxyError) and isinstance(reason.socket_err, socks.ProxyError):
        reason = reason.socket_err
    if isinstance(reason, (socks.SOCKS4Error, socks.SOCKS5Error)):
        return not str(reason).lower().startswith(_SOCKS_TRANSIENT)
    return isinstance(reason, socks.SOCKS5AuthError)
