"""A stand-in for EZThrottle and for the APIs that its jobs call, on loopback; it sends the responses of the recording.

/api/v1/proxy    the proxy of the hosted service: each job gets a number
/target/CODE     an API that answers with that status
/target/slow     one that answers after `slow` seconds, /target/drop one that closes the connection after reading
/work/...        one that does work; see `Work`
/hook/...        a receiver of webhooks
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from typing_extensions import Self

KEY = "ck_live_cust_FAKE_1"


class Received(NamedTuple):
    """A request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    def recorded(self) -> dict[str, Any]:
        """Return the request in the form of the recording."""
        kept = {name: value for name, value in self.headers.items() if name in ("Authorization", "Content-Type", "X-A")}
        body: Any = None
        if self.body:
            try:
                body = {"json": json.loads(self.body)}
            except ValueError:
                body = {"text": self.body.decode()}
        if body and isinstance(body.get("json"), dict) and "target_url" in body["json"]:
            envelope = body["json"]
            envelope["body"] = json.loads(envelope["body"]) if envelope["body"] else ""
            body = {"envelope": envelope}
        return {"method": self.method, "path": self.path, "headers": kept, "body": body}


class Reply(NamedTuple):
    """A scripted response; `drop` closes the connection instead, `hang` sends nothing."""

    status: int = 200
    body: Any = b""
    headers: Mapping[str, str] = {}
    drop: bool = False
    hang: bool = False
    delay: float = 0.0


def forwarded(status: int, body: Any) -> Reply:
    """Return a response of the proxy with a response of the service in it."""
    text = body if isinstance(body, str) else json.dumps(body)
    inner = {"status_code": status, "headers": {}, "body": text}
    return Reply(200, {"status": "allowed", "forwarded_response": inner})


class EZThrottleServer:
    """The stand-in, serving from threads of its own in a `with` block.

    Attributes:
        received: All requests.
        script: Responses of the proxy, in order, before its usual ones.
        always: The response of the proxy to everything, or None.
        routes: Functions that respond to the requests below a path.
        executions: How often the work of each body was done.
        honours_keys: Whether work with a key is done once.
        lose: Returns whether the response of work that was done is lost.
        slow: Seconds that `/target/slow` takes.
        pause: Seconds between work that is done and its response.
    """

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.script: deque[Reply] = deque()
        self.always: Reply | None = None
        self.routes: dict[str, Callable[[Received], Reply]] = {}
        self.executions: Counter[str] = Counter()
        self.honours_keys = True
        self.lose: Callable[[], bool] = lambda: False
        self.slow = 30.0
        self.pause = 0.0
        self._done: dict[str, bytes] = {}
        self._jobs = 0
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._sockets: set[socket.socket] = set()

    def __enter__(self) -> Self:
        owner = self

        class Handler(_Handler):
            server_of = owner

        class Server(ThreadingHTTPServer):
            request_queue_size = 128

        self._http = Server(("127.0.0.1", 0), Handler)
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

    def at(self, prefix: str) -> list[Received]:
        """Return the requests below a path."""
        return [each for each in self.received if each.path.startswith(prefix)]

    def answer(self, request: Received) -> Reply:
        """Return the response to a request."""
        with self._lock:
            self.received.append(request)
        for prefix, respond in self.routes.items():
            if request.path.startswith(prefix):
                return respond(request)
        part = request.path.partition("?")[0].rpartition("/")[2]
        if request.path.startswith("/api/"):
            return self._proxy(request)
        if request.path.startswith("/work/"):
            return self._work(request)
        if part == "drop":
            return Reply(drop=True)
        if part == "slow":
            return Reply(200, {"t": 1}, delay=self.slow)
        return Reply(int(part) if part.isdigit() else 200, {"t": 1})

    def _proxy(self, request: Received) -> Reply:
        with self._lock:
            if self.script:
                return self.script.popleft()
            if self.always is not None:
                return self.always
            self._jobs += 1
            number = self._jobs
        envelope = json.loads(request.body)
        if envelope["target_url"].endswith("/jobs"):
            return forwarded(201, {"job_id": f"job_{number}", "status": "queued"})
        if envelope["method"] == "GET":
            secret = {"customer_id": "cust_1", "primary_secret": "abcd****efgh"}
            return forwarded(200, {**secret, "secondary_secret": None, "has_secondary": False})
        return forwarded(200, {"status": "ok", "message": envelope["method"]})

    def _work(self, request: Received) -> Reply:
        """Do the work of a request once for each key, if keys are honoured, and lose the response now and then."""
        key = next((value for name, value in request.headers.items() if name.lower() == "idempotency-key"), "")
        name = request.body.decode() or request.path
        with self._lock:
            if not (self.honours_keys and key and key in self._done):
                self.executions[name] += 1
                self._done[key] = b""
            return Reply(200, {"done": name}, drop=self.lose(), delay=self.pause)


class _Handler(BaseHTTPRequestHandler):
    server_of: EZThrottleServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def setup(self) -> None:
        super().setup()
        self.server_of._sockets.add(self.connection)

    def finish(self) -> None:
        self.server_of._sockets.discard(self.connection)
        with suppress(ConnectionError, ValueError):
            super().finish()

    def handle(self) -> None:
        with suppress(ConnectionError, ValueError):
            super().handle()

    def handle_any(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        data = self.rfile.read(length)
        if len(data) < length:  # of a client that was killed
            self.close_connection = True
            return
        owner = self.server_of
        reply = owner.answer(Received(self.command, self.path, dict(self.headers.items()), data))
        if reply.delay:
            owner._stopped.wait(reply.delay)
        if reply.hang:
            owner._stopped.wait(30)
        if reply.hang or reply.drop:
            self.close_connection = True
            return
        body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        self.send_response(reply.status)
        for name, value in {"Content-Type": "application/json", **reply.headers}.items():
            self.send_header(name, value)
        if reply.status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if reply.status != 204 and self.command != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = handle_any

    def log_message(self, *_: object) -> None:
        pass


def wait_until(happened: Callable[[], object], seconds: float = 10.0) -> bool:
    """Return whether something happens within a time."""
    end = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True
