"""Authentication of the connection (NTLM), by requests_ntlm against a server that speaks it."""

from __future__ import annotations

import base64
import socketserver
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import requests
import spnego
from requests_ntlm import HttpNtlmAuth

import polvo_adapters as polvo
import polvo_adapters.requests as drop_in

USERS = ("alice", "bob")


class Handler(BaseHTTPRequestHandler):
    """Authenticates the connection, as IIS does: what comes later on it is served as that user."""

    protocol_version = "HTTP/1.1"
    user = ""
    context: Any = None

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        offered = self.headers.get("Authorization", "")
        if offered.startswith("NTLM "):
            self.negotiate(base64.b64decode(offered[5:]))
        elif self.user:
            self.answer(200, f"mailbox of {self.user}".encode())
        else:
            self.answer(401, b"who are you?", "NTLM")

    do_POST = do_GET

    def negotiate(self, token: bytes) -> None:
        if self.context is None:
            self.context = spnego.server(protocol="ntlm")
        try:
            reply = self.context.step(token)
        except spnego.exceptions.SpnegoError:
            self.context = None
            self.answer(401, b"no", "NTLM")
            return
        if self.context.complete:
            self.user, self.context = self.context.client_principal.rpartition("\\")[2], None
            self.answer(200, f"mailbox of {self.user}".encode())
        else:
            self.answer(401, b"go on", "NTLM " + base64.b64encode(reply).decode())

    def answer(self, status: int, body: bytes, challenge: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if challenge:
            self.send_header("WWW-Authenticate", challenge)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    users = tmp_path / "users"
    users.write_text("".join(f"DOMAIN:{user}:secret of {user}\n" for user in USERS))
    monkeypatch.setenv("NTLM_USER_FILE", str(users))
    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/mail"
        server.shutdown()
        thread.join()
    polvo.close()


def ntlm(user: str) -> HttpNtlmAuth:
    return HttpNtlmAuth(f"DOMAIN\\{user}", f"secret of {user}")


def mounted() -> requests.Session:
    session = requests.Session()
    session.mount("http://", polvo.ResilientAdapter(deadline=10))
    return session


VERBS: dict[str, Callable[..., requests.Response]] = {"polvo.get": polvo.get, "drop-in get": drop_in.get}
SESSIONS: dict[str, Callable[[], requests.Session]] = {
    "bare": requests.Session,
    "mounted": mounted,
    "installed": lambda: polvo.install(requests.Session()),
    "polvo.Session": polvo.Session,
    "drop-in session": drop_in.Session,
}


@pytest.mark.parametrize("name", SESSIONS)
@pytest.mark.parametrize("stream", [False, True])
def test_the_handshake_succeeds_as_under_bare_requests(name: str, stream: bool, url: str) -> None:
    with SESSIONS[name]() as session:
        for _ in range(2):
            assert session.get(url, auth=ntlm("alice"), stream=stream).text == "mailbox of alice"
        assert session.post(url, data=b"x", auth=ntlm("alice"), stream=stream).text == "mailbox of alice"


@pytest.mark.parametrize("name", VERBS)
@pytest.mark.parametrize("stream", [False, True])
def test_nobody_is_served_as_the_caller_before(name: str, stream: bool, url: str) -> None:
    get = VERBS[name]
    for user in USERS:
        assert get(url, auth=ntlm(user), stream=stream).text == f"mailbox of {user}"
        for other in VERBS.values():
            assert other(url).status_code == 401


@pytest.mark.parametrize("name", VERBS)
def test_handshakes_at_the_same_time_do_not_mix(name: str, url: str) -> None:
    """Each needs the connection that it has begun on, three times in a row, while others take and give."""
    get = VERBS[name]

    def ask(number: int) -> tuple[str, str]:
        user = (*USERS, "")[number % 3]
        return user, get(url, auth=ntlm(user) if user else None).text

    with ThreadPoolExecutor(12) as threads:
        for user, text in threads.map(ask, range(60)):
            assert text == (f"mailbox of {user}" if user else "who are you?")
