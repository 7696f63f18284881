"""A stand-in for Double-O on loopback: it sends the responses that the published client was recorded with.

`tests/services/double_o/test_recorded.py` shows that the published client works against it, request for request.
"""

from __future__ import annotations

import json
import socket
import threading
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

if TYPE_CHECKING:
    from typing_extensions import Self

VALUE = "s3cr3t-value"
VARIABLES = {"POLVO_T_A": "1", "POLVO_T_B": 'q"uo\\te'}
COMPLETION = {"choices": [{"message": {"content": "hi"}}]}
TOKEN = "tok_fake_secret"

_KEPT = ("accept", "authorization", "content-length", "content-type", "cookie", "x-trace")


class Received(NamedTuple):
    """A request as it arrived."""

    method: str
    path: str
    query: list[list[str]]
    headers: dict[str, str]
    body: Any

    def recorded(self) -> dict[str, Any]:
        """Return the request in the form of the recording."""
        return self._asdict()


class Reply(NamedTuple):
    """A scripted response; `drop` closes the connection instead, `hang` sends nothing, `drip` never ends the body."""

    status: int = 200
    body: Any = b""
    headers: Mapping[str, str] = {}
    drop: bool = False
    hang: bool = False
    drip: bool = False


class DoubleOServer:
    """The stand-in, serving from threads of its own between `start` and `stop`, or in a `with` block."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.variables: dict[str, Any] = dict(VARIABLES)
        self.secrets: dict[str, Any] = {}
        self.script: deque[Reply] = deque()
        self.always: Reply | None = None
        self.before_answer: Callable[[], object] = lambda: None
        self._stopped = threading.Event()
        self._sockets: set[socket.socket] = set()

    def __enter__(self) -> Self:
        owner = self

        class Handler(_Handler):
            server_of = owner

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = False
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._http.shutdown()
        self._thread.join(10)
        for each in list(self._sockets):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._http.server_close()

    def answer(self, request: Received) -> Reply:
        """Return the next scripted response, or that of Double-O."""
        if self.script:
            return self.script.popleft()
        if self.always is not None:
            return self.always
        if request.path == "/api/secret":
            token = request.headers.get("Authorization", "").removeprefix("Bearer ")
            return Reply(body={"value": self.secrets.get(token, VALUE)})
        if request.path == "/api/env":
            return Reply(body={"secrets": self.variables})
        if request.path == "/health":
            return Reply(body={"status": "ok"})
        return Reply(body=COMPLETION)


class _Handler(BaseHTTPRequestHandler):
    server_of: DoubleOServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def setup(self) -> None:
        super().setup()
        self.server_of._sockets.add(self.connection)

    def finish(self) -> None:
        self.server_of._sockets.discard(self.connection)
        super().finish()

    def handle(self) -> None:
        with suppress(ConnectionError, ValueError):
            super().handle()

    def handle_any(self) -> None:
        parts = urlsplit(self.path)
        data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        request = Received(
            self.command,
            unquote(parts.path),
            [list(pair) for pair in parse_qsl(parts.query, keep_blank_values=True)],
            {name: value for name, value in self.headers.items() if name.lower() in _KEPT},
            {"json": json.loads(data)} if data else None,
        )
        owner = self.server_of
        reply = owner.answer(request)
        owner.received.append(request)
        owner.before_answer()
        if reply.hang:
            owner._stopped.wait(30)
        if reply.hang or reply.drop:
            self.close_connection = True
            return
        if reply.drip:
            self.drip()
            return
        body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        self.send_response(reply.status)
        if "Content-Type" not in reply.headers:
            self.send_header("Content-Type", "application/json")
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if reply.status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if reply.status != 204 and self.command != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()

    def drip(self) -> None:
        """Send a body byte by byte, for half a minute at most."""
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Length", "1000000")
        self.end_headers()
        for _ in range(600):
            self.wfile.write(b" ")
            self.wfile.flush()
            if self.server_of._stopped.wait(0.05):
                return

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = handle_any

    def log_message(self, *_: object) -> None:
        pass
