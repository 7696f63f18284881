"""A login in the browser of this machine, for programs that the user runs: the browser comes back to a local port.

Theory of operation. During the login a small HTTP server listens on 127.0.0.1. The browser brings the answer of the
authorization server to it; `OAuth2.complete` checks it and redeems the code, and only then the browser gets the page
with the result. Any program on this machine, and any page in the browser, can send requests to that port:

    request                                       response
    --------------------------------------------  ----------------------------------------------------------
    the path of the login, and the right `state`  the login ends; a page shows the result
    the path of the login, and another `state`    400; the login goes on, or a forged answer could end it
    another path (an icon), another method        404, 405
    Host is not this machine                      421: a page whose host name leads here (DNS rebinding)
    too long, or no HTTP                          431, 400
    none, on an open connection (a preconnect)    nothing; each connection has a thread, and a few seconds

The responses do not reveal which program listens; PKCE makes the code useless to any other. (RFC 8252 sections 7.3, 8)
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
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any, NamedTuple

from polvo_adapters.core.calls import find_host
from polvo_adapters.errors import ConfigurationError, DeadlineExceeded, TokenRefreshError
from polvo_adapters.runtime import forks

if TYPE_CHECKING:
    from typing_extensions import Self

    from polvo_adapters.auth.oauth import OAuth2
    from polvo_adapters.auth.protocol.authorization_code import AuthorizationRequest
    from polvo_adapters.auth.protocol.token import Token

_ADDRESS = "127.0.0.1"
_PATIENCE = 10.0  # seconds for a browser to send its request, and to read the response
_LARGEST = 32_768  # bytes of a request
_MOST = 64  # connections at a time
_PATH = re.compile(r"/(?:[A-Za-z0-9._~!$&'()*+,;=:@%-][A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?")
_STEP = 0.5  # seconds after which an interrupt is noticed where waiting cannot be interrupted

_TEMPLATE = """\
<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title></head>
<body><h1>{title}</h1><p>{text}</p></body></html>
"""
_HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",  # the URL contains the code
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Connection": "close",
}


class _Page(NamedTuple):
    """A page for the browser."""

    status: int
    title: str
    text: str


class _Arrival(NamedTuple):
    """A browser that has come back, and waits for its page."""

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
    """Let the user log in with the browser of this machine, keep the token in `oauth`, and return it.

    Args:
        oauth: An OAuth2(flow="authorization_code", ...), for the current tenant.
        port: Port to listen on; 0 for a free port, which servers permit for programs like this one.
        path: Path of the redirect URI `http://127.0.0.1:PORT/PATH`, as it is registered at the server.
        open_browser: Whether the browser is opened, or a function that opens a URL.
        timeout: Seconds for the user to log in.
        show: Function that shows the user a text with the URL, as not every machine can open a browser.
        **extra: Further parameters of the URL, such as `prompt` or `audience`.

    Raises:
        ConfigurationError: The port is not available, or a setting cannot work.
        TokenRefreshError: The user or the server refused.
        DeadlineExceeded: The browser did not come back in time.

    Source: RFC 8252 section 7.3.
    """
    if not 0 < timeout < float("inf"):
        raise ConfigurationError(f"loopback.login(timeout={timeout!r}): timeout must be a number of seconds above 0")
    ends_at = time.monotonic() + timeout
    with _Listener(port, path) as listener:
        request = oauth.authorization_request(listener.redirect_uri, **extra)
        show(f"open this page to log in: {request.url}")
        if open_browser:
            _start_browser(open_browser, request.url)
        while True:
            arrival = listener.wait_for_arrival(ends_at)
            if arrival is None:
                host = find_host(request.url)
                problem = f"the browser did not come back from the login within {timeout:g} s"
                message = f"{host}: {problem}; log in again, or allow more time"
                raise DeadlineExceeded(message, host=host, reason="login timeout")
            token = _complete(oauth, arrival, request)
            if token is not None:
                return token


def _complete(oauth: OAuth2, arrival: _Arrival, request: AuthorizationRequest) -> Token | None:
    """Return the token of an arrival, or None if the arrival does not belong to this login."""
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


def _start_browser(open_browser: bool | Callable[[str], object], url: str) -> None:
    """Open a browser on another thread: one that runs in the terminal returns only when the user quits it."""

    def work() -> None:
        import webbrowser

        opener = open_browser if callable(open_browser) else webbrowser.open
        with suppress(Exception):  # the user can open the URL that was shown
            opener(url)

    with suppress(RuntimeError):  # no thread: as above
        threading.Thread(target=work, name="browser", daemon=True).start()


class _Listener(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """The server of one login; a context manager that leaves no thread and no connection behind."""

    daemon_threads = False
    allow_reuse_address = os.name == "posix"  # on Windows it would let other programs take the port
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
        forks.register(self)
        self._reading: set[socket.socket] = set()
        self._connections = 0
        self._is_over = False

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), name="login", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        with self._guard:
            self._is_over = True
            for connection in self._reading:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            while not self._arrivals.empty():
                self._arrivals.get().page.set_result(_OVER)
        self.server_close()  # waits for the threads, which have nothing left to wait for
        self._thread.join()

    def after_fork_in_child(self) -> None:
        """Replace the lock, which a thread of the parent may have held."""
        self._guard = threading.Lock()

    def wait_for_arrival(self, ends_at: float) -> _Arrival | None:
        """Return the next browser that has come back, or None if there is none until a time."""
        while (seconds_left := ends_at - time.monotonic()) > 0:
            with suppress(queue.Empty):
                return self._arrivals.get(timeout=min(seconds_left, _STEP))
        return None

    @contextmanager
    def reading(self, connection: socket.socket) -> Iterator[bool]:
        """Register a connection while its request is read, and yield whether the login is still under way."""
        with self._guard:
            is_over = self._is_over
            if not is_over:
                self._reading.add(connection)
        try:
            yield not is_over
        finally:
            with self._guard:
                self._reading.discard(connection)

    def wait_for_page(self, target: str) -> _Page:
        """Return the page for a browser that has come back with a request target."""
        arrival = _Arrival(f"http://{self.authority}{target}", Future())
        with self._guard:
            if self._is_over:
                return _OVER
            self._arrivals.put(arrival)
        return arrival.page.result()  # set by `_complete` or `__exit__`

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002 - as the base has it
        """Return whether there is a thread left for a connection."""
        with self._guard:
            return self._connections < _MOST

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection on a thread of its own."""
        with self._guard:
            self._connections += 1
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._guard:
                self._connections -= 1

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore the error: browsers may disconnect at any time."""


class _Handler(BaseHTTPRequestHandler):
    """The handler of one request."""

    server: _Listener

    def handle(self) -> None:
        """Read a whole request, in bounded time and size, and respond to it."""
        with self.server.reading(self.connection) as is_open:
            head = self._read_head() if is_open else b""
        self.rfile.close()
        self.rfile = io.BytesIO(head)
        self.connection.settimeout(_PATIENCE)
        if len(head) > _LARGEST:
            self.requestline = self.command = ""
            self.send_error(431)
        elif head:
            self.handle_one_request()

    def _read_head(self) -> bytes:
        """Return the request up to the empty line, or nothing if it is not complete in time."""
        head, ends_at = b"", time.monotonic() + _PATIENCE
        with suppress(OSError):
            while (seconds_left := ends_at - time.monotonic()) > 0:
                self.connection.settimeout(seconds_left)
                part: bytes = self.connection.recv(_LARGEST)
                head += part
                if b"\r\n\r\n" in head or b"\n\n" in head or len(head) > _LARGEST:
                    return head
                if not part:
                    break
        return b""

    def do_GET(self) -> None:
        """Respond to a browser."""
        port = self.server.authority.rpartition(":")[2]
        hosts = self.headers.get_all("Host") or []
        if len(hosts) != 1 or hosts[0].lower() not in {f"{_ADDRESS}:{port}", f"localhost:{port}"}:
            self.send_error(421)
        elif self.path.partition("?")[0] != self.server.path:
            self.send_error(404)
        else:
            self._send_page(self.server.wait_for_page(self.path))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return lambda: self.send_error(405)
        raise AttributeError(name)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        """Send an error page that repeats nothing of the request."""
        self._send_page(_Page(int(code), f"Error {int(code)}", "There is nothing here."))

    def _send_page(self, page: _Page) -> None:
        self.close_connection = True
        self.request_version = "HTTP/1.0"  # the base sends no status to a request that is no HTTP
        body = _TEMPLATE.format(title=html.escape(page.title), text=html.escape(page.text)).encode()
        self.send_response(page.status)
        for name, value in {**_HEADERS, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def version_string(self) -> str:
        """Return the name of the server, without versions."""
        return "polvo_adapters"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as the base has it
        """Log nothing: the URL contains the code."""
