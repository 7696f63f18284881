"""A web server that knows its answers by heart: enough of an API for one client, over TCP or a UNIX socket."""

from __future__ import annotations

import json
import socket
import socketserver
import struct
import threading
import time
from email.message import Message
from http.server import BaseHTTPRequestHandler
from typing import Any, NamedTuple


class Seen(NamedTuple):
    """One request as it arrived, and what it was answered with."""

    method: str
    path: str
    headers: Message
    body: bytes
    status: int
    query: str = ""


class StandIn:
    """Answers by method and path, after as many failures as asked for.

    Attributes:
        answers: What to answer: a dict or list as JSON, bytes as they are, a list of bytes as chunks, or a tuple
            of a status and any of these.
        failures: How many requests are still to be refused.
        refusal: Status and headers of a refusal; a status of 0 hangs up instead.
        resets: Whether to hang up with a reset.
        delay: How long it takes to answer, in seconds.
        seen: The requests so far, refused ones included.

    Args:
        socket_path: Where to listen, for a UNIX socket; a free port on loopback where it is left out.
    """

    def __init__(self, socket_path: str | None = None) -> None:
        self.answers: dict[tuple[str, str], Any] = {}
        self.failures = 0
        self.refusal: tuple[int, dict[str, str]] = (503, {"Retry-After": "0"})
        self.resets = False
        self.delay = 0.0
        self.seen: list[Seen] = []
        handler = type("Handler", (_Handler,), {"stand_in": self})
        if socket_path is None:
            self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler)
        else:
            self._server = socketserver.ThreadingUnixStreamServer(socket_path, handler)
        self._server.daemon_threads = True
        self.url = "" if socket_path else f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self):
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def choose(self, method: str, path: str) -> tuple[int, dict[str, str], Any]:
        """Return status, headers and content of the answer to a request."""
        if self.failures:
            self.failures -= 1
            return (*self.refusal, {"message": "busy"})
        answer = self.answers.get((method, path), (404, {}))
        return (answer[0], {}, answer[1]) if isinstance(answer, tuple) else (200, {}, answer)

    @property
    def log(self) -> list[tuple[str, str, int]]:
        """Method, path and status of each request so far."""
        return [(seen.method, seen.path, seen.status) for seen in self.seen]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 10
    stand_in: StandIn

    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline()
        self.close_connection = True
        if not self.raw_requestline or not self.parse_request():
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path, _, query = self.path.partition("?")
        self.stand_in.seen.append(Seen(self.command, path, self.headers, body, 0, query))
        number = len(self.stand_in.seen) - 1
        time.sleep(self.stand_in.delay)
        status, headers, answer = self.stand_in.choose(self.command, path)
        self.stand_in.seen[number] = self.stand_in.seen[number]._replace(status=status)
        self.answer(status, headers, answer)

    def answer(self, status: int, headers: dict[str, str], answer: Any) -> None:
        if status == 0:
            if self.stand_in.resets:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
            self.close_connection = True
            return
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        chunks = answer if isinstance(answer, list) and all(isinstance(each, bytes) for each in answer) else None
        if status == 101:
            self.send_header("Connection", "Upgrade")
            self.send_header("Upgrade", "tcp")
            self.end_headers()
            time.sleep(0.1)  # or a client that takes over the socket could find it read empty by its buffer
            self.wfile.write(answer)
            self.close_connection = True
        elif chunks is not None:
            self.send_header("Connection", "close")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"".join(b"%x\r\n%b\r\n" % (len(each), each) for each in [*chunks, b""]))
        else:
            data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_header("Connection", "close")
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass
