"""A small web server whose every answer a test decides, and that remembers what it was asked and from where."""

from __future__ import annotations

import json
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qs

from tests.support.oauth.threads import Ending

if TYPE_CHECKING:
    from typing_extensions import Self


class Asked(NamedTuple):
    """A request that came."""

    method: str
    path: str
    headers: dict[str, str]
    form: dict[str, str]
    port: int
    body: str = ""


class Reply(NamedTuple):
    """An answer; a body that is not bytes goes as JSON."""

    body: Any = b""
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Socket

    def do_POST(self) -> None:
        body = self._read_body().decode()
        form = {name: values[-1] for name, values in parse_qs(body).items()}
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(self.command, self.path, headers, form, self.client_address[1], body)
        self.server.asked.append(asked)
        reply = self.server.routes.get(self.path, Reply(status=404))
        reply = reply(asked) if callable(reply) else reply
        content = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        self.send_response(reply.status)
        for name, value in (*reply.headers, ("Content-Length", str(len(content)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def _read_body(self) -> bytes:
        """Read the body of the request; what is left of one would be taken for the next request."""
        length = self.headers.get("Content-Length")  # requests sends one beside Transfer-Encoding, and no chunks then
        if length is not None or "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(length or 0))
        chunks = []
        while size := int(self.rfile.readline().partition(b";")[0] or b"0", 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    do_GET = do_PUT = do_DELETE = do_POST

    def log_message(self, *_: object) -> None:
        pass


class Socket(Ending, HTTPServer):
    daemon_threads = False

    def server_bind(self) -> None:
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = self.server_address


class Listening:
    """A context manager; `routes` maps a path to a Reply, or to a function that makes one of an Asked."""

    def __enter__(self) -> Self:
        self._socket = Socket(("127.0.0.1", 0), Handler)
        self._socket.asked, self._socket.routes = [], {}
        self.asked: list[Asked] = self._socket.asked
        self.routes: dict[str, Reply | Callable[[Asked], Reply]] = self._socket.routes
        self.url = f"http://127.0.0.1:{self._socket.server_port}"
        self._socket.begin()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.end()
