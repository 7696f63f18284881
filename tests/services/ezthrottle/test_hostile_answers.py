"""A POST that a server has answered is never made again, however strange the answer."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from polvo_adapters.services.ezthrottle import EZThrottle, InDoubtError, LocalEngine, Step, StepType
from tests.support.accepting import stop_accepting
from tests.support.ezthrottle_server import KEY, EZThrottleServer

CHARSETS = ("undefined", "idna", "punycode", "hex", "utf-7", "no-such", '"a\0b"', "unicode_escape")
LOCATIONS = ("http://[bad", "ftp://x/", "http://a..b/", "http:///", "http://127.0.0.1:1/", f"http://{'a' * 70}.com/")


def make_answer(status: str, header: str, body: bytes = b"\xff-\xff") -> bytes:
    head = f"HTTP/1.1 {status}\r\nConnection: close\r\n{header}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


ANSWERS = {
    **{f"charset {name}": make_answer("200 OK", f"Content-Type: text/plain; charset={name}") for name in CHARSETS},
    **{f"303 {place}": make_answer("303 See Other", f"Location: {place}") for place in LOCATIONS},
    **{f"302 {place}": make_answer("302 Found", f"Location: {place}") for place in LOCATIONS},
    "gzip": make_answer("200 OK", "Content-Encoding: gzip"),
    "two lengths": make_answer("200 OK", "Content-Length: 5"),
    "truncated": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello",
    "no status": b"HTTP/1.1 abc OK\r\n\r\n",
    "nothing": b"",
}


class RawServer:
    """Answers every connection with the same bytes, and counts the POSTs."""

    def __init__(self, answer: bytes) -> None:
        self.posts = 0
        self._answer = answer
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/pay"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(2)
                received = b""
                while b"\r\n\r\n" not in received and (more := connection.recv(65536)):
                    received += more
                self.posts += received.startswith(b"POST")
                connection.sendall(self._answer)

    def close(self) -> None:
        stop_accepting(self._socket, self._thread)


@pytest.fixture(params=ANSWERS)
def raw(request: pytest.FixtureRequest) -> Iterator[RawServer]:
    running = RawServer(ANSWERS[request.param])
    yield running
    running.close()


def test_a_frugal_post_that_was_answered_is_not_forwarded(server: EZThrottleServer, raw: RawServer) -> None:
    client = EZThrottle(KEY, server.url, server.url, timeout=3)
    step = Step(client).url(raw.url).method("POST").body("1").type(StepType.FRUGAL)
    try:
        result = step.execute()
    except InDoubtError:
        pass
    else:
        assert result["executed_locally"]
        assert result["status_code"] in (200, 302, 303)
    assert (raw.posts, server.received) == (1, [])


def test_a_job_that_was_answered_cannot_be_submitted_again(raw: RawServer) -> None:
    with LocalEngine(timeout=3) as engine:
        step = Step(EZThrottle(engine=engine)).url(raw.url).method("POST").body("1")
        result = step.execute().wait(30)
        assert step.execute()["duplicate"]
    assert raw.posts == 1
    assert result["status"] == "in_doubt" or result["status_code"] in (200, 302, 303)
