"""A stand-in for Taruvi on loopback: it answers in the forms that were recorded and that the guide shows."""

from __future__ import annotations

import json
import re
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

if TYPE_CHECKING:
    from typing_extensions import Self

USER = {"id": 123, "username": "alice", "email": "alice@example.com", "name": "Alice", "age": 30}
FUNCTION = {"name": "Process order", "slug": "process-order", "execution_mode": "proxy"}
SECRET_KEYS = ("API_KEY", "DATABASE_URL", "STRIPE_KEY")
FILE = b"\x89BIN"


class Received(NamedTuple):
    """A request as it arrived; the body is JSON, the parts of a form, or bytes."""

    method: str
    path: str
    query: list[list[str]]
    headers: dict[str, str]
    body: Any


class Reply(NamedTuple):
    """A scripted response; `drop` closes the connection instead, `hang` waits for so many seconds first.

    With `cut` the connection ends after so many bytes of the body.
    """

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = {}
    drop: bool = False
    hang: float = 0.0
    cut: int | None = None


class TaruviServer:
    """The stand-in, in a `with` block.

    Attributes:
        received: Requests in the order of their arrival.
        script: Replies that the next requests get in place of the usual ones.
        keep: Whether requests are kept in `received`.
        refused_password: A password that is refused; any other is accepted.
        accepted: Access tokens that are accepted, the last issued one alone; or None for all.
        issued: How many access tokens were issued.
        connections: How many connections were made.
        most_at_once: How many requests were under way at most at a time.
        delay: Seconds that each answer takes.
        results: What the next questions for the result of a function are answered with; at its end "SUCCESS".
    """

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.script: deque[Reply] = deque()
        self.keep = True
        self.refused_password = "wrong"
        self.accepted: set[str] | None = None
        self.issued = 0
        self.connections = 0
        self.delay = 0.0
        self.most_at_once = 0
        self._under_way = 0
        self.results: deque[str] = deque()
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    def __enter__(self) -> Self:
        owner = self

        class Handler(_Handler):
            server_of = owner

        self._http = _Server(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def issue(self) -> str:
        """Return a new access token, which is the only one that is accepted from now on, if not all are."""
        with self._lock:
            self.issued += 1
            token = f"access-{self.issued}"
            if self.accepted is not None:
                self.accepted = {token}
        return token

    @contextmanager
    def count(self) -> Iterator[None]:
        """Count a request as under way in a `with` block."""
        with self._lock:
            self._under_way += 1
            self.most_at_once = max(self.most_at_once, self._under_way)
        yield
        with self._lock:
            self._under_way -= 1

    def answer(self, request: Received) -> Reply:
        """Return the answer to a request."""
        with self._lock:
            if self.script:
                return self.script.popleft()
        if self.accepted is not None and not re.search(r"/auth/|/token/", request.path):
            kind, _, token = request.headers.get("authorization", "").partition(" ")
            if kind != "Bearer" or token not in self.accepted:
                return Reply(401, {"message": "token not valid", "code": "token_not_valid"})
        for method, pattern, respond in _ROUTES:
            if method in (request.method, "*") and re.fullmatch(pattern, request.path):
                return respond(self, request)
        return Reply(404, {"message": f"no route {request.path}", "code": "NO_ROUTE"})


def _log_in(server: TaruviServer, request: Received) -> Reply:
    if request.body.get("password") == server.refused_password:
        return Reply(401, {"message": "No active account found with the given credentials"})
    token = server.issue()
    if "allauth" in request.path:
        return Reply(200, {"status": 200, "meta": {"access_token": token, "refresh_token": f"refresh-{token}"}})
    return Reply(200, {"access": token, "refresh": f"refresh-{token}"})


def _refresh(server: TaruviServer, request: Received) -> Reply:
    return Reply(200, {"access": server.issue(), "refresh": request.body["refresh"]})


def _verify(_: TaruviServer, request: Received) -> Reply:
    return Reply(200, {}) if request.body["token"].startswith("access") else Reply(401, {"detail": "invalid"})


def _execute(_: TaruviServer, request: Received) -> Reply:
    data = request.body["params"]
    if request.body.get("async"):
        return Reply(200, {"status": "ok", "data": None, "invocation": {"celery_task_id": "task-1"}})
    return Reply(200, {"status": "ok", "data": data})


def _result(server: TaruviServer, _: Received) -> Reply:
    status = server.results.popleft() if server.results else "SUCCESS"
    return Reply(200, {"data": {"status": status, "result": {"rows": 7}, "traceback": None}})


def _records(_: TaruviServer, request: Received) -> Reply:
    return Reply(200, {"status": "success", "data": [USER, {**USER, "id": 124}], "total": 41})


def _echo(_: TaruviServer, request: Received) -> Reply:
    body = request.body
    data = [{"id": number, **each} for number, each in enumerate(body)] if isinstance(body, list) else {"id": 1, **body}
    return Reply(200, {"status": "success", "data": data})


def _delete(_: TaruviServer, request: Received) -> Reply:
    return Reply(200, {"status": "success", "deleted": 2}) if request.query else Reply(204)


def _secret(_: TaruviServer, request: Received) -> Reply:
    key = request.path.rstrip("/").rpartition("/")[2]
    if key not in SECRET_KEYS:
        return Reply(404, {"message": "Secret not found", "code": "NOT_FOUND"})
    return Reply(200, {"status": "success", "data": _describe(key)})


def _secrets(_: TaruviServer, request: Received) -> Reply:
    wanted = dict(request.query).get("keys")
    keys = SECRET_KEYS if wanted is None else [key for key in wanted.split(",") if key in SECRET_KEYS]
    return Reply(
        200, {"status": "success", "message": "m", "data": [_describe(key) for key in keys], "total": len(keys)}
    )


def _describe(key: str) -> dict[str, Any]:
    return {"key": key, "value": f"value of {key}", "secret_type": "api_key", "tags": ["production"]}


def _check(_: TaruviServer, request: Received) -> Reply:
    allowed = ("view", "edit", "read")
    results = [
        {
            "resource": each["resource"],
            "actions": {name: "EFFECT_ALLOW" if name in allowed else "EFFECT_DENY" for name in each["actions"]},
        }
        for each in request.body["resources"]
    ]
    return Reply(200, {"requestId": "r", "results": results})


def _always(body: Any) -> Callable[[TaruviServer, Received], Reply]:
    return lambda _, __: Reply(200, body)


_APP = r"/api/apps/[^/]+"
_OBJECTS = rf"{_APP}/storage/buckets/[^/]+/objects"
_BUCKET = {"slug": "images", "name": "images", "visibility": "private"}
_ROUTES: list[tuple[str, str, Callable[[TaruviServer, Received], Reply]]] = [
    ("POST", r"/_allauth/app/v1/auth/login|/api/cloud/auth/jwt/token/", _log_in),
    ("POST", r"/api/cloud/auth/jwt/token/refresh/", _refresh),
    ("POST", r"/api/cloud/auth/jwt/token/verify/", _verify),
    ("POST", rf"{_APP}/functions/[^/]+/execute/", _execute),
    ("GET", rf"{_APP}/functions/", _always({"status": "ok", "data": [FUNCTION], "total": 1})),
    ("GET", rf"{_APP}/functions/[^/]+/", _always({"status": "ok", "data": FUNCTION})),
    ("GET", rf"(?:{_APP}|/api)/invocations/", _always({"status": "ok", "data": [], "total": 0})),
    ("GET", rf"(?:{_APP}|/api)/invocations/[^/]+/", _always({"status": "ok", "data": {"id": 7}})),
    ("GET", r"/api/result/[^/]+/", _result),
    ("GET", rf"{_APP}/datatables/[^/]+/data/", _records),
    ("GET", rf"{_APP}/datatables/[^/]+/data/[^/]+/", _always({"status": "success", "data": USER})),
    ("DELETE", rf"{_APP}/datatables/[^/]+/data/(?:[^/]+/)?", _delete),
    ("*", rf"{_APP}/datatables/[^/]+/data/(?:[^/]+/)?", _echo),
    ("GET", r"/api/users/", _always({"status": "success", "data": [USER], "total": 1})),
    ("POST", r"/api/users/", _echo),
    ("GET", r"/api/users/[^/]+/", _always({"status": "success", "data": USER})),
    ("PUT", r"/api/users/[^/]+/", _echo),
    ("DELETE", r"/api/users/[^/]+/", lambda _, __: Reply(204)),
    ("GET", r"/api/users/[^/]+/apps/", _always({"status": "success", "data": [{"slug": "my-app"}]})),
    ("*", r"/api/users/me/preferences/", _always({"status": "success", "data": {"theme": "dark"}})),
    ("*", r"/api/(?:assign|revoke)/roles/?", _always({"status": "success", "data": {}})),
    ("GET", rf"{_APP}/storage/buckets/", _always({"status": "success", "data": [_BUCKET], "total": 1})),
    ("POST", rf"{_APP}/storage/buckets/", _always(_BUCKET)),
    ("DELETE", rf"{_APP}/storage/buckets/[^/]+/", lambda _, __: Reply(204)),
    ("*", rf"{_APP}/storage/buckets/[^/]+/", _always(_BUCKET)),
    ("GET", rf"{_OBJECTS}/?", _always({"status": "success", "data": [{"path": "photo1.jpg"}], "total": 1})),
    ("GET", rf"{_OBJECTS}/(?:browse|.+/view|.+/edit)/", _always({"status": "success", "data": {}})),
    ("POST", rf"{_OBJECTS}/(?:batch-upload|batch-delete|copy|move)/", _always({"status": "success", "data": {}})),
    ("GET", rf"{_OBJECTS}/missing/?", lambda _, __: Reply(404, {"message": "nope"})),
    ("GET", rf"{_OBJECTS}/.+", lambda _, __: Reply(200, FILE)),
    ("*", rf"{_OBJECTS}/.+", _always({"status": "success", "data": {}})),
    ("GET", r"/api/secrets/", _secrets),
    ("GET", r"/api/secrets/[^/]+/", _secret),
    ("PUT", r"/api/secrets/[^/]+/", _echo),
    ("POST", rf"{_APP}/check/resources/?", _check),
    (
        "POST",
        rf"{_APP}/analytics/queries/user-signups/execute/",
        _always({"status": "ok", "data": [{"month": "2024-01", "count": 3}]}),
    ),
    (
        "POST",
        rf"{_APP}/analytics/queries/[^/]+/execute/",
        _always({"status": "ok", "data": {"total": 9, "average": 3}}),
    ),
    ("GET", rf"{_APP}/roles/|/api/app/[^/]+/roles", _always({"status": "ok", "data": ["admin", "editor", "viewer"]})),
    ("GET", rf"{_APP}/settings/", _always({"status": "ok", "data": {}})),
    ("GET", r"/api/settings/metadata/", _always({"status": "ok", "data": {"site_name": "Example", "settings": {}}})),
]


class _Server(ThreadingHTTPServer):
    request_queue_size = 128  # connections of many threads at once


class _Handler(BaseHTTPRequestHandler):
    server_of: TaruviServer
    protocol_version = "HTTP/1.1"
    timeout = 10

    def setup(self) -> None:
        self.server_of.connections += 1
        super().setup()

    def _serve(self) -> None:
        with self.server_of.count():
            self.server_of._stopped.wait(self.server_of.delay)
            self._answer()

    def _answer(self) -> None:
        server, parts = self.server_of, urlsplit(self.path)
        fields = {name.lower(): value for name, value in self.headers.items()}
        body = self._parse(self.rfile.read(int(fields.get("content-length", "0"))), fields.get("content-type", ""))
        query = [list(pair) for pair in parse_qsl(parts.query, keep_blank_values=True)]
        request = Received(self.command, parts.path, query, fields, body)
        if server.keep:
            server.received.append(request)
        reply = server.answer(request)
        if reply.hang:
            server._stopped.wait(reply.hang)
        if reply.drop or reply.hang:
            self.close_connection = True
            return
        # In one piece, as otherwise the client waits for the body that the server holds back until an acknowledgement.
        content = reply.body if isinstance(reply.body, bytes) else b"" if reply.body is None else _encode(reply.body)
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if "Content-Type" not in reply.headers:
            self.send_header("Content-Type", "application/json")
        if reply.status != 204:
            self.send_header("Content-Length", str(len(content)))
        self.close_connection = self.close_connection or reply.cut is not None
        self._headers_buffer += [b"\r\n", content[: reply.cut]]  # type: ignore[attr-defined]
        self.flush_headers()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    @staticmethod
    def _parse(content: bytes, kind: str) -> Any:
        if not content:
            return None
        if not kind.startswith("multipart/"):
            return json.loads(content)
        message = BytesParser(policy=HTTP).parsebytes(f"Content-Type: {kind}\r\n\r\n".encode() + content)
        return {
            "multipart": [
                {
                    "name": part.get_param("name", header="content-disposition"),
                    "filename": part.get_filename(),
                    "content_type": part["content-type"],
                    "text": part.get_payload(decode=True).decode("latin-1"),  # type: ignore[union-attr]
                }
                for part in message.iter_parts()  # type: ignore[attr-defined]
            ]
        }


def _encode(value: Any) -> bytes:
    return json.dumps(value).encode()
