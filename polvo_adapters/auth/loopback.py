"""A login in the browser of this machine, for programs that the user runs: it ends at a port of loopback.

Theory of operation. While the login is under way, a small HTTP server listens on 127.0.0.1. The browser brings the
answer of the authorization server to it; `OAuth2.complete` checks it and redeems the code, and only then the browser is
told how it ended. Anybody on this machine, and any page that the browser shows, can send requests to that port:

    request                                       answer
    --------------------------------------------  ----------------------------------------------------------
    the path of the login, and the right `state`  the login ends; a page says how
    the path of the login, and another `state`    400; the login goes on, or a forged answer could end it
    another path (an icon), another method        404, 405
    Host is not this machine                      421: a page elsewhere whose name leads here (DNS rebinding)
    too long, or no HTTP                          431, 400
    none, on an open connection (a preconnect)    nothing; each connection has a thread, and a few seconds

The port says nothing about who listens there; PKCE makes the code useless to anybody else. (RFC 8252 sections 7.3, 8)
"""

from __future__ import annotations

import html
import io
import os
import queue
import re
import socket
import socketserver
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any, NamedTuple

from polvo_adapters.core.calls import origin
from polvo_adapters.errors import ConfigurationError, DeadlineExceeded, PolvoError, TokenRefreshError

if TYPE_CHECKING:
    from typing_extensions import Self

    from polvo_adapters.auth.oauth import OAuth2
    from polvo_adapters.auth.protocol.authorization_code import AuthorizationRequest
    from polvo_adapters.auth.protocol.token import Token

_ADDRESS = "127.0.0.1"
_PATIENCE = 10.0  # seconds for a browser to send its request, and to take the answer
_LARGEST = 32_768  # bytes of a request
_MOST = 64  # connections at a time
_PATH = re.compile(r"/(?:[A-Za-z0-9._~!$&'()*+,;=:@%-][A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?")
_STEP = 0.5  # seconds after which an interrupt is noticed where waiting cannot be interrupted

_PAGE = """\
<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title></head>
<body><h1>{title}</h1><p>{text}</p></body></html>
"""


class _Page(NamedTuple):
    """What the browser shows."""

    status: int
    title: str
    text: str


class _Arrival(NamedTuple):
    """A browser has come back, and waits for a page."""

    url: str
    page: Future[_Page]


_DONE = _Page(200, "You are logged in", "You can close this window.")
_OVER = _Page(410, "This login is over", "Begin a new one, and close this window.")
_FORGED = _Page(400, "This is not the login that was begun", "Go on in the window in which you have begun it.")


def login(
    oauth: OAuth2,
    *,
    port: int = 0,
    path: str = "/callback",
    open_browser: bool | Callable[[str], object] = True,
    timeout: float = 300.0,
    show: Callable[[str], object] = print,
    **extra: str,
) -> Token:
    """Let the user log in with the browser of this machine, and keep the token.

    Args:
        oauth: An OAuth2(flow="authorization_code", ...), for the current tenant.
        port: Where to listen; 0 picks a free port, which servers allow for programs like this one.
        path: Path of the redirect URI `http://127.0.0.1:PORT/PATH`, as it is registered at the server.
        open_browser: Whether the browser is opened, or a function that opens a URL.
        timeout: Seconds until the user must have logged in.
        show: Called with a text that holds the URL to open, as not every machine can open a browser.
        **extra: Further parameters of the URL, such as `prompt` or `audience`.

    Returns:
        The token. It is in the token cache of `oauth` as well.

    Raises:
        ConfigurationError: The port cannot be had, or a setting cannot work.
        TokenRefreshError: The user or the server refused.
        DeadlineExceeded: The browser did not come back in time.

    Source: RFC 8252 section 7.3.
    """
    if not 0 < timeout < float("inf"):
        raise ConfigurationError(f"loopback.login(timeout={timeout!r}): timeout must be a number of seconds above 0")
    until = time.monotonic() + timeout
    with _Listener(port, path) as listener:
        request = oauth.authorization_request(listener.redirect_uri, **extra)
        show(f"open this page to log in: {request.url}")
        if open_browser:
            _open(open_browser, request.url)
        while True:
            arrival = listener.arrival(until)
            if arrival is None:
                raise _late(request, timeout)
            token = _completed(oauth, arrival, request)
            if token is not None:
                return token


def _completed(oauth: OAuth2, arrival: _Arrival, request: AuthorizationRequest) -> Token | None:
    """Return the token that an arrival leads to, or None where it has nothing to do with this login."""
    page = _Page(500, "The login failed", "The program that you log in to says why. You can close this window.")
    try:
        token = oauth.complete(arrival.url, request)
        page = _DONE
    except TokenRefreshError as error:
        if error.reason == "state mismatch":
            page = _FORGED
            return None
        page = _Page(400, "The login failed", f"{error.reason or 'error'}. You can close this window.")
        raise
    finally:
        arrival.page.set_result(page)
    return token


def _late(request: AuthorizationRequest, timeout: float) -> PolvoError:
    host = origin(request.url).partition("://")[2]
    return DeadlineExceeded(
        f"{host}: the browser did not come back from the login within {timeout:g} s; log in again, or allow more time",
        host=host,
        reason="login timeout",
    )


def _open(open_browser: bool | Callable[[str], object], url: str) -> None:
    """Open a browser on another thread: one that runs in the terminal returns only when the user leaves it."""

    def work() -> None:
        import webbrowser

        opener = open_browser if callable(open_browser) else webbrowser.open
        with suppress(Exception):  # the user has the URL
            opener(url)

    threading.Thread(target=work, name="browser", daemon=True).start()


class _Listener(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """The server of one login; a context manager, at whose end no thread and no connection is left."""

    daemon_threads = False
    allow_reuse_address = os.name == "posix"  # elsewhere it would let others take the port
    allow_reuse_port = False
    request_queue_size = 16

    def __init__(self, port: int, path: str) -> None:
        if not _PATH.fullmatch(path):
            raise ConfigurationError(f"path={path!r}: path must be a path, such as '/callback'")
        if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= 65535:
            raise ConfigurationError(f"port={port!r}: port must be a whole number from 0 to 65535")
        try:
            super().__init__((_ADDRESS, port), _Handler)
        except OSError as error:
            raise ConfigurationError(
                f"port={port}: {_ADDRESS}:{port} cannot be listened on ({error.strerror or error}); take another port"
            ) from None
        self.path = path
        self.authority = f"{_ADDRESS}:{self.server_address[1]}"
        self.redirect_uri = f"http://{self.authority}{path}"
        self._arrivals: queue.SimpleQueue[_Arrival] = queue.SimpleQueue()
        self._guard = threading.Lock()
        self._reading: set[socket.socket] = set()
        self._open = 0
        self._ended = False

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), name="login", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        with self._guard:
            self._ended = True
            for connection in self._reading:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            while not self._arrivals.empty():
                self._arrivals.get().page.set_result(_OVER)
        self.server_close()  # waits for the threads, which have nothing left to wait for
        self._thread.join()

    def arrival(self, until: float) -> _Arrival | None:
        """Return the next browser that has come back, or None where there is none until a time."""
        while (left := until - time.monotonic()) > 0:
            with suppress(queue.Empty):
                return self._arrivals.get(timeout=min(left, _STEP))
        return None

    def begin_reading(self, connection: socket.socket) -> bool:
        """Take note of a connection on which a request may come; tell whether it is to be read."""
        with self._guard:
            if not self._ended:
                self._reading.add(connection)
            return not self._ended

    def end_reading(self, connection: socket.socket) -> None:
        """Take note that it has come."""
        with self._guard:
            self._reading.discard(connection)

    def page(self, target: str) -> _Page:
        """Return what to answer to a browser that has come back with a request target."""
        url = f"http://{self.authority}{target}"
        arrival = _Arrival(url, Future())
        with self._guard:
            if self._ended:
                return _OVER
            self._arrivals.put(arrival)
        return arrival.page.result()  # whoever takes it from the queue, or ends this, says it

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002 - as the base has it
        """Tell whether there is a thread left for a connection."""
        with self._guard:
            return self._open < _MOST

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection on a thread of its own."""
        with self._guard:
            self._open += 1
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._guard:
                self._open -= 1

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: browsers may go away at any time."""


class _Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: _Listener

    def handle(self) -> None:
        """Read a request as a whole, in bounded time and size, and answer it."""
        head = b""
        if self.server.begin_reading(self.connection):
            try:
                head = self._head()
            finally:
                self.server.end_reading(self.connection)
        self.rfile.close()
        self.rfile = io.BytesIO(head)
        self.connection.settimeout(_PATIENCE)
        if len(head) > _LARGEST:
            self.requestline = self.command = ""
            self.send_error(431)
        elif head:
            self.handle_one_request()

    def _head(self) -> bytes:
        """Return what the browser sends up to the empty line, or nothing where it is not complete in time."""
        head, until = b"", time.monotonic() + _PATIENCE
        while b"\r\n\r\n" not in head and b"\n\n" not in head and len(head) <= _LARGEST:
            left = until - time.monotonic()
            if left <= 0:
                return b""
            self.connection.settimeout(left)
            try:
                part = self.connection.recv(_LARGEST)
            except OSError:
                return b""
            if not part:
                return b""
            head += part
        return head

    def do_GET(self) -> None:
        """Answer a browser."""
        port = self.server.authority.rpartition(":")[2]
        hosts = self.headers.get_all("Host") or []
        if len(hosts) != 1 or hosts[0].lower() not in {f"{_ADDRESS}:{port}", f"localhost:{port}"}:
            self.send_error(421)
        elif self.path.partition("?")[0] != self.server.path:
            self.send_error(404)
        else:
            self._answer(self.server.page(self.path))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return lambda: self.send_error(405)
        raise AttributeError(name)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        """Answer with an error page that repeats nothing of the request."""
        self._answer(_Page(int(code), f"Error {int(code)}", "There is nothing here."))

    def _answer(self, page: _Page) -> None:
        self.close_connection = True
        self.request_version = "HTTP/1.0"  # or what was no HTTP would be answered without a status
        body = _PAGE.format(title=html.escape(page.title), text=html.escape(page.text)).encode()
        self.send_response(page.status)
        for name, value in {
            "Content-Type": "text/html; charset=utf-8",
            "Content-Length": str(len(body)),
            "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
            "Referrer-Policy": "no-referrer",  # the address holds the code
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "Connection": "close",
        }.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def version_string(self) -> str:
        """Return who answers, without versions."""
        return "polvo_adapters"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as the base has it
        """Write nothing: the address holds the code."""
