"""Web servers in threads of the test process that end without a trace: no thread, no open socket, no late answer."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from typing import TYPE_CHECKING, Any

import requests
from flask import Flask, Response, json
from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler

from tests.support.oauth.servers import approve, approve_device

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self


IDLE = 30.0
"""Seconds after which a thread gives up a connection on which nothing moves: what `end` waits at the very most."""


class Ending(socketserver.ThreadingMixIn):
    """A threaded server whose `end` shuts every connection and waits for its thread."""

    daemon_threads = False
    block_on_close = True

    def begin(self) -> None:
        """Serve from a thread of its own; connections are accepted when this returns."""
        self.ending = threading.Event()
        self.connections: set[socket.socket] = set()
        self.guard = threading.Lock()
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, name="server")
        self.thread.start()

    def end(self) -> None:
        """Stop; `ending` tells handlers that wait."""
        self.ending.set()
        self.shutdown()
        with self.guard:
            for connection in self.connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        self.thread.join(10)
        self.server_close()

    def process_request(self, request: socket.socket, client_address: Any) -> None:
        with self.guard:
            self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: socket.socket) -> None:
        with self.guard:
            self.connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that go away early belong to the tests."""


class Handler(WSGIRequestHandler):
    """Writes no log. Werkzeug closes each connection after its answer."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = IDLE

    def log_request(self, *args: object) -> None:
        pass


class Server(Ending, ThreadedWSGIServer):
    """Werkzeug's server, with an end."""

    daemon_threads = False


class FlaskServer:
    """A Flask application on loopback, with the counts and the controls that `OIDCProvider` has; a context manager."""

    def __init__(self) -> None:
        self.issuer = ""
        self.api_url = ""
        self.verify: bool | str = True
        self.app = Flask(type(self).__name__)
        self._lock = threading.Lock()
        self.reset()

    def __enter__(self) -> Self:
        self._server = Server("127.0.0.1", 0, self.app, Handler)
        self.issuer = f"http://127.0.0.1:{self._server.server_port}"
        self.api_url = f"{self.issuer}/api"
        self._server.begin()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.end()

    def reset(self) -> None:
        """Go back to counts of zero, without delays and failures; tokens stay valid."""
        with self._lock:
            self._counts: dict[str, Any] = {"token": 0, "by_grant": {}, "refused": 0, "api": 0, "api_401": 0}
            self._delay = 0.0
            self._failures: list[dict[str, Any]] = []

    def counts(self) -> dict[str, Any]:
        """Return how many requests came: `token`, `by_grant`, `refused` (of those), `api`, `api_401`."""
        with self._lock:
            return {**self._counts, "by_grant": dict(self._counts["by_grant"])}

    def delay(self, seconds: float) -> None:
        """Hold back each answer with tokens that is asked for from now on, after the work is done."""
        self._delay = seconds

    def fail(self, status: int, times: int = 1, **more: Any) -> None:
        """Have the next requests for tokens answered with an error; see `OIDCProvider.fail`."""
        with self._lock:
            self._failures = [{"status": status, **more}] * times

    def approve(self, authorization_url: str, **keywords: Any) -> str:
        """Log in and consent; see the function."""
        return approve(authorization_url, **keywords)

    def approve_device(self, verification_uri_complete: str, **keywords: Any) -> None:
        """Log in and let a device in; see the function."""
        approve_device(verification_uri_complete, **keywords)

    def answer(self, grant: str, work: Callable[[], Response]) -> Response:
        """Do the work of a token endpoint, one at a time, and count it, delay it and fail as told."""
        with self._lock:
            self._counts["token"] += 1
            self._counts["by_grant"][grant] = self._counts["by_grant"].get(grant, 0) + 1
            failure = self._failures.pop(0) if self._failures else None
            delay = self._delay
            if failure is None or failure.get("processed"):
                response = work()
            if failure is not None:
                response = refusal(**failure)
            self._counts["refused"] += response.status_code >= requests.codes.bad_request
        self._server.ending.wait(delay)
        return response

    def count_api(self, status: int) -> None:
        """Count a request for what is protected."""
        with self._lock:
            self._counts["api"] += 1
            self._counts["api_401"] += status == requests.codes.unauthorized


def refusal(status: int, body: Any = None, headers: dict[str, str] | None = None, processed: bool = False) -> Response:
    """Return the error that a test wants to see."""
    content = {"error": "temporarily_unavailable"} if body is None else body
    text = content if isinstance(content, str) else json.dumps(content)
    return Response(text, status, {"Content-Type": "application/json", **(headers or {})})
