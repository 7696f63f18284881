"""A server that does work once per idempotency key, or does not care, and loses answers after it has done the work.

It says of keys what the draft says: 409 while the first request is at work, 422 where the key comes with another body.
"""

from __future__ import annotations

import contextlib
import json
import random
import socket
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self


class KeyedServer:
    """Counts how often each operation was done.

    Args:
        honours: Whether keys are honoured.
        dropped: Which part of the answers is lost after the work was done.
        seed: Of that.
        header: Name of the header.
    """

    def __init__(
        self, *, honours: bool = True, dropped: float = 0.0, seed: int = 1, header: str = "Idempotency-Key"
    ) -> None:
        self.honours, self.dropped, self.header = honours, dropped, header
        self.chance, self.lock = random.Random(seed), threading.Lock()
        self.done: Counter[str] = Counter()
        self.keys: list[str] = []
        self.answers: dict[str, tuple[bytes, bytes | None]] = {}
        self.hold: threading.Event | None = None
        self.arrived = threading.Event()

    def __enter__(self) -> Self:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.keyed = self
        self.url = "http://{}:{}".format(*self._server.server_address[:2])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.hold is not None:
            self.hold.set()
        self._server.shutdown()
        for connection in self._server.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._server.server_close()

    def work(self, key: str, body: bytes) -> tuple[int, dict[str, Any], bool]:
        """Return status and content of the answer, and whether it is a replay."""
        with self.lock:
            self.keys.append(key)
            if self.honours and key in self.answers:
                first, answer = self.answers[key]
                if first != body:
                    return 422, {"title": "Idempotency-Key is already used"}, False
                if answer is None:
                    return 409, {"title": "A request is outstanding for this Idempotency-Key"}, False
                return 201, json.loads(answer), True
            self.answers[key] = (body, None)
            operation = json.loads(body)["operation"]
        self.arrived.set()
        if self.hold is not None:
            self.hold.wait(10)
        with self.lock:
            self.done[operation] += 1
            content = {"operation": operation, "number": sum(self.done.values())}
            self.answers[key] = (body, json.dumps(content).encode())
        return 201, content, False

    def loses(self) -> bool:
        """Draw whether an answer is lost."""
        with self.lock:
            return self.chance.random() < self.dropped


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 128
    keyed: KeyedServer

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.connections: list[socket.socket] = []

    def process_request(self, request: Any, client_address: Any) -> None:
        """Remember the connection, to end it with the server."""
        self.connections.append(request)
        super().process_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients are killed."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 5
    server: _Server

    def do_POST(self) -> None:
        """Do the work of an operation, or send the client elsewhere."""
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if len(body) < length:  # its client was killed
            self.close_connection = True
            return
        keyed = self.server.keyed
        if self.path.startswith("/moved"):
            self.answer(307, {}, Location="/work" + self.path.removeprefix("/moved"))
            return
        status, content, replay = keyed.work(self.headers.get(keyed.header) or "", body)
        if status == 201 and keyed.loses():
            self.close_connection = True
            return
        self.answer(status, content, **({"Idempotent-Replayed": "true"} if replay else {}))

    def do_GET(self) -> None:
        """Tell whether an operation was done."""
        self.answer(200, {"done": self.server.keyed.done[self.path.removeprefix("/done/")]})

    def answer(self, status: int, content: Any, **headers: str) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""
