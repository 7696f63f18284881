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

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util.request import body_to_chunks

from polvo_adapters.context.call import call_started
from polvo_adapters.core.trace import CONNECT, PROXY, TLS, WAIT
from polvo_adapters.runtime.bounded import BOUNDED
from polvo_adapters.shells.requests.wire.addresses import open_socket
from polvo_adapters.shells.requests.wire.responses import TracedResponse
from polvo_adapters.shells.requests.wire.transmission import Transmission

_BLOCK = 65_536
_SENDING = ("request", "putrequest", "putheader", "endheaders", "_send_output", "send", "getresponse")
_TRUSTED = ("urllib3.", "http.client", "polvo_adapters.")
_CONNECTION_BOUND = ("ntlm", "negotiate", "kerberos")
_SOCKS_TRANSIENT = ("0x01", "0x03", "0x04", "0x05", "0x06")  # general failure, unreachable, refused, expired (RFC 1928)


def lend(connection: Any, transmission: Transmission) -> None:
    """Let a connection serve an attempt, which it knows from now on."""
    trace = transmission.trace
    trace.lent += 1
    kind: Any = type(connection)
    extended = _extend(kind)
    if extended is None:
        trace.untraced += 1
        return
    try:
        if kind is not extended:
            connection.__class__ = extended
    except TypeError:  # another layout in memory
        trace.untraced += 1
        return
    trace.untraced += not extended._is_traced
    connection._transmission = transmission


class TracedConnection:
    """Mixin of connections that serve one attempt after the other, and know which.

    Attributes:
        is_bound: Whether the server may have authenticated a user on the connection itself.
        owner: Who alone may use it then, or None for everybody who may use its pool.
        idle_since: When it was last given back, on the clock of that attempt, or None.
    """

    _is_traced = False
    _has_own_connect = False
    _has_own_sockets = False
    _is_tls = False
    _transmission: Transmission | None = None
    _is_connecting = False
    sock: Any
    timeout: Any
    blocksize: int
    owner: object = None
    is_bound = False
    idle_since: float | None = None

    def connect(self) -> None:
        """Connect, and note that nothing of the request is sent meanwhile."""
        transmission = self._transmission
        self._is_connecting = True
        try:
            if transmission is not None and self._has_own_connect:
                transmission.trace.mark(CONNECT, transmission.clock.now())
            super().connect()  # type: ignore[misc]
        finally:
            self._is_connecting = False

    def _new_conn(self) -> Any:
        """Return a connected socket, which has what is left of the deadline for the handshakes after it."""
        transmission = self._transmission
        if transmission is None:
            return super()._new_conn()  # type: ignore[misc]
        sock = self._open_in_own_way(transmission) if self._has_own_sockets else open_socket(self, transmission)
        if self._is_tls:
            transmission.trace.mark(TLS, transmission.clock.now())
        if transmission.deadline is not None:
            sock.settimeout(transmission.limit(self.timeout))
        return sock

    def _open_in_own_way(self, transmission: Transmission) -> Any:
        """Return a socket made by the class below, such as that for SOCKS, whose handshake has timeouts of its own."""
        trace, clock = transmission.trace, transmission.clock
        open_below = super()._new_conn  # type: ignore[misc]
        trace.mark(f"{CONNECT} by {type(self).__name__}", clock.now())
        seconds = transmission.limit(None)
        try:
            if seconds is None:
                return open_below()
            return BOUNDED.call(clock, seconds, open_below, discard=lambda sock: sock.close())
        except Exception as error:
            if _is_socks_refusal(error):
                trace.proxy_status = 407
            raise

    def _tunnel(self) -> None:
        """Ask a proxy for a tunnel."""
        transmission = self._transmission
        if transmission is None:
            super()._tunnel()  # type: ignore[misc]
            return
        transmission.trace.mark(PROXY, transmission.clock.now())
        super()._tunnel()  # type: ignore[misc]
        transmission.trace.mark(TLS, transmission.clock.now())
        if transmission.deadline is not None:
            self.sock.settimeout(transmission.limit(self.timeout))

    def response_class(self, sock: Any, *args: Any, **keywords: Any) -> http.client.HTTPResponse:
        """Return a response to be read from a socket; the standard library calls this as a class."""
        transmission = self._transmission
        if transmission is None:
            return super().response_class(sock, *args, **keywords)  # type: ignore[misc,no-any-return]
        return TracedResponse(
            sock,
            *args,
            transmission=transmission,
            patience=self.timeout,
            tunnel=self._is_connecting,
            **keywords,
        )

    def request(self, method: str, url: str, body: Any = None, headers: Any = None, **keywords: Any) -> None:
        """Send a request; see `urllib3.connection.HTTPConnection.request`."""
        transmission = self._transmission
        if transmission is not None:
            _raise_callers_error(transmission)
            if headers is not None and _is_connection_bound(headers):
                self.is_bound, self.owner = True, transmission.owner
            if body is not None and not isinstance(body, (bytes, str)):
                body = self._watch_body(body, method, transmission)
        super().request(method, url, body, {} if headers is None else headers, **keywords)  # type: ignore[misc]
        if transmission is not None:
            transmission.trace.sent = True  # whatever a replaced method below has done in place of `send`

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
        """Hand bytes of the request to the socket; see `http.client.HTTPConnection.send`."""
        transmission = self._transmission
        if transmission is None or self._is_connecting:
            super().send(data)  # type: ignore[misc]
            return
        if self.sock is None and self.auto_open:  # type: ignore[attr-defined]
            self.connect()
        if not transmission.trace.sent:
            transmission.trace.mark_sending(transmission.clock.now())
        if transmission.deadline is None:
            super().send(data)  # type: ignore[misc]
            return
        for block in _blocks(data):
            self.sock.settimeout(transmission.limit(self.timeout))
            super().send(block)  # type: ignore[misc]

    def close(self) -> None:
        """Close the connection; a new one in its place has authenticated nobody."""
        self.is_bound, self.owner = False, None
        super().close()  # type: ignore[misc]

    def getresponse(self, *args: Any, **keywords: Any) -> Any:
        """Wait for the response; see `http.client.HTTPConnection.getresponse`."""
        transmission = self._transmission
        if transmission is None:
            return super().getresponse(*args, **keywords)  # type: ignore[misc]
        _raise_callers_error(transmission)
        transmission.trace.mark(WAIT, transmission.clock.now())
        response = super().getresponse(*args, **keywords)  # type: ignore[misc]
        if response.status in (401, 407) and _offers_connection_bound(response.headers):
            self.is_bound, self.owner = True, transmission.owner
        return response


@lru_cache(maxsize=64)
def _extend(kind: Any) -> type[TracedConnection] | None:
    """Return the class of traced connections of a kind, or None where it is not one of the standard library."""
    if issubclass(kind, TracedConnection):
        return kind  # type: ignore[no-any-return]
    if not issubclass(kind, http.client.HTTPConnection):
        return None
    try:
        extended: type[TracedConnection] = type(kind.__name__, (TracedConnection, kind), {})
    except TypeError:
        return None
    extended._is_traced = all(_is_trusted(_definer(kind, name)) for name in _SENDING)
    extended._has_own_connect = not _is_trusted(_definer(kind, "connect"))
    extended._has_own_sockets = _definer(kind, "_new_conn") is not HTTPConnection
    extended._is_tls = issubclass(kind, HTTPSConnection)
    return extended


def _definer(kind: type, name: str) -> type | None:
    """Return the class that defines a method of a class."""
    return next((base for base in kind.__mro__ if name in vars(base)), None)


def _is_trusted(kind: type | None) -> bool:
    return kind is not None and f"{kind.__module__}.".startswith(_TRUSTED)


def _watch(chunks: Iterable[Any], transmission: Transmission) -> Iterator[Any]:
    """Yield the chunks of a body; note what its iterator raises, which belongs to the caller.

    What the iterator calls is not part of the call whose body it makes, and so not bound by its deadline.
    """
    iterator = iter(chunks)
    while True:
        outer = call_started.set(None)
        try:
            chunk = next(iterator)
        except StopIteration:
            return
        except BaseException as error:
            transmission.callers_error = error
            raise
        finally:
            call_started.reset(outer)
        yield chunk


def _raise_callers_error(transmission: Transmission) -> None:
    """Raise what the body's iterator has raised before: the body is not whole, whatever urllib3 made of that."""
    if transmission.callers_error is not None:
        raise transmission.callers_error


def _blocks(data: Any) -> Iterable[Any]:
    """Return the blocks of bytes, each small enough that a slow reader cannot stretch its timeout."""
    if not isinstance(data, (bytes, bytearray, memoryview)) or len(data) <= _BLOCK:
        return (data,)
    view = memoryview(data).cast("B")
    return (view[start : start + _BLOCK] for start in range(0, len(view), _BLOCK))


def _is_connection_bound(headers: Any) -> bool:
    """Return whether a request authenticates its connection (RFC 4559; NTLM)."""
    for name in ("Authorization", "Proxy-Authorization"):
        value = headers.get(name)
        if value and _text(value).lower().startswith(_CONNECTION_BOUND):
            return True
    return False


def _offers_connection_bound(headers: Any) -> bool:
    values = (headers.get("WWW-Authenticate") or "", headers.get("Proxy-Authenticate") or "")
    return any(scheme in _text(value).lower() for value in values for scheme in _CONNECTION_BOUND)


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _is_socks_refusal(error: BaseException) -> bool:
    """Return whether a SOCKS proxy has refused this client: its password, or the destination by a rule."""
    socks = sys.modules.get("socks")
    cause = error.__cause__
    if socks is None or not isinstance(cause, socks.ProxyError) or cause.socket_err is not None:
        return False
    return not (isinstance(cause, socks.SOCKS5Error) and str(cause).startswith(_SOCKS_TRANSIENT))
