"""Half of an encoded body is a truncated body, however properly its message ends."""

from __future__ import annotations

import gzip
import socketserver
import threading
import zlib
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import httpx
import pytest
import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import ProtocolError

import polvo_adapters as polvo
from polvo_adapters.adapters import PolicyAdapter
from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Flow, Proceed
from polvo_adapters.core.outcomes import TRUNCATED, Failure, Outcome
from polvo_adapters.policies.bulkhead import Bulkhead
from polvo_adapters.policies.retry import ExponentialBackoff
from polvo_adapters.shells.encodings import EncodingCheck
from polvo_adapters.transports import AsyncPolicyTransport, PolicyTransport

TEXT = b"".join(b"%d apples and %d pears; " % (number, number * number) for number in range(1500))
GZIP = gzip.compress(TEXT)
RAW = zlib.compressobj(wbits=-zlib.MAX_WBITS)
RAW_DEFLATE = RAW.compress(TEXT) + RAW.flush()


@lru_cache
def brotli(text: bytes) -> bytes:
    return pytest.importorskip("brotlicffi").compress(text)  # type: ignore[no-any-return]


WHOLE: dict[str, tuple[str, Callable[[], bytes]]] = {
    "gzip": ("gzip", lambda: GZIP),
    "x-gzip": ("x-gzip", lambda: GZIP),
    "upper case": ("GZIP", lambda: GZIP),
    "deflate": ("deflate", lambda: zlib.compress(TEXT)),
    "deflate without header": ("deflate", lambda: RAW_DEFLATE),
    "brotli": ("br", lambda: brotli(TEXT)),
    "gzip of gzip": ("gzip, gzip", lambda: gzip.compress(GZIP)),
    "gzip of deflate": ("deflate, gzip", lambda: gzip.compress(zlib.compress(TEXT))),
    "gzip of brotli": ("br, gzip", lambda: gzip.compress(brotli(TEXT))),
    "little": ("gzip", lambda: gzip.compress(b"x")),
    "an empty stream": ("gzip", lambda: gzip.compress(b"")),
    "an empty stream of deflate": ("deflate", lambda: zlib.compress(b"")),
    "two members": ("gzip", lambda: GZIP + GZIP),
    "an empty last member": ("gzip", lambda: GZIP + gzip.compress(b"")),
    **{
        f"garbage of {len(garbage)} from {garbage[:2]!r}": ("gzip", lambda garbage=garbage: GZIP + garbage)  # type: ignore[misc]
        for garbage in (b"\0", b"\0" * 9, b"\n", b"\x1f\x8a", b"garbage", b"\0" * 5000)
    },
    "garbage after deflate": ("deflate", lambda: zlib.compress(TEXT) + b"garbage"),
    "no byte": ("gzip", bytes),
    "no byte of deflate": ("deflate", bytes),
    "no byte of brotli": ("br", bytes),
    "identity": ("identity", lambda: TEXT[:1000]),
    "unknown": ("rot13", lambda: TEXT[:1000]),
}
ENCODED = ("gzip", "deflate", "deflate without header", "brotli", "gzip of gzip", "gzip of deflate", "gzip of brotli")


def cut(name: str, part: int) -> tuple[str, Callable[[], bytes]]:
    """Return an encoding, and what makes a body that lacks so many bytes at its end, or half of it if 0."""
    encoding, make = WHOLE[name]
    return encoding, lambda: (body := make())[: -part or len(body) // 2]


CUT: dict[str, tuple[str, Callable[[], bytes]]] = {
    **{f"{name} without {part or 'half'}": cut(name, part) for name in ENCODED for part in (0, 1, 8)},
    "first byte": ("gzip", lambda: GZIP[:1]),
    "header": ("gzip", lambda: GZIP[:10]),
    "first byte of deflate": ("deflate", lambda: zlib.compress(TEXT)[:1]),
    "first byte of brotli": ("br", lambda: brotli(TEXT)[:1]),
    "gzip of half of gzip": ("gzip, gzip", lambda: gzip.compress(GZIP[: len(GZIP) // 2])),
}
CUT_MEMBERS: dict[str, tuple[str, Callable[[], bytes]]] = {
    f"second member of {count}": ("gzip", lambda count=count: GZIP + GZIP[:count])  # type: ignore[misc]
    for count in (1, 2, 9, 10, 500, len(GZIP) - 8, len(GZIP) - 1)
}
CHUNK = 700


class Answers(socketserver.ThreadingTCPServer):
    """A server whose answers are complete messages with a body of the test's choice."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.encoding, self.body, self.framing, self.status, self.requests = "", b"", "chunked", 200, 0
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/"


class Handler(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True
    server: Answers

    def handle(self) -> None:
        while line := self.rfile.readline():
            while self.rfile.readline() not in (b"\r\n", b""):
                pass
            self.server.requests += 1
            self.answer(line.startswith(b"HEAD"))

    def answer(self, head: bool) -> None:
        answers, body = self.server, self.server.body
        chunked = answers.framing == "chunked"
        framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}"
        start = f"HTTP/1.1 {answers.status} X\r\nContent-Encoding: {answers.encoding}\r\n"
        start += "\r\n" if answers.status in (204, 304) else f"{framing}\r\n\r\n"
        if head or answers.status in (204, 304):
            body = b""
        elif chunked:
            pieces = [body[at : at + CHUNK] for at in range(0, len(body), CHUNK)]
            body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in [*pieces, b""])
        self.wfile.write(start.encode() + body)


@pytest.fixture(scope="module")
def running() -> Iterator[Answers]:
    answers = Answers()
    yield answers
    answers.shutdown()
    answers.server_close()


@pytest.fixture(params=["chunked", "length"])
def server(request: pytest.FixtureRequest, running: Answers) -> Answers:
    running.framing, running.status, running.requests = request.param, 200, 0
    return running


@pytest.fixture(params=[None, "other class"])
def session(request: pytest.FixtureRequest) -> Iterator[requests.Session]:
    inner = Choosing() if request.param else None
    with requests.Session() as made:
        made.trust_env = False
        made.mount("http://", PolicyAdapter(RETRY, Bulkhead(5), inner=inner))
        yield made


class Custom(requests.Response):
    """A response class of another library."""


class Choosing(HTTPAdapter):
    def build_response(self, request: Any, response: Any) -> requests.Response:
        built = super().build_response(request, response)
        built.__class__ = Custom
        return built


RETRY = ExponentialBackoff(max_attempts=2, base=0.0)


@pytest.mark.parametrize("name", [*CUT, *CUT_MEMBERS])
def test_a_body_that_ends_within_its_encoding_is_truncated(
    name: str, server: Answers, session: requests.Session
) -> None:
    server.encoding, make = {**CUT, **CUT_MEMBERS}[name]
    server.body = make()
    with pytest.raises(requests.exceptions.ChunkedEncodingError) as caught:
        session.get(server.url)
    assert [attempt.failure for attempt in caught.value.polvo.attempts] == ["truncated body"] * 2
    assert server.requests == 2
    with session.get(server.url, stream=True) as response:
        if type(response) is not Custom:
            with pytest.raises(requests.exceptions.ChunkedEncodingError):
                list(response.iter_content(100))
    with session.get(server.url, stream=True) as response, pytest.raises(ProtocolError):
        list(response.raw.stream(100, decode_content=True))


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_body_is_what_it_is_without_policies(name: str, server: Answers, session: requests.Session) -> None:
    server.encoding, make = WHOLE[name]
    server.body = make()
    with requests.Session() as bare:
        expected = bare.get(server.url).content
    response = session.get(server.url)
    assert response.content == expected
    assert len(response.polvo.attempts) == 1
    with session.get(server.url, stream=True) as response:
        assert b"".join(response.iter_content(100)) == expected
    with session.get(server.url, stream=True) as response:
        assert b"".join(response.raw.stream(100, decode_content=True)) == expected


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "gzip, br"])
@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_an_answer_that_has_no_body_is_whole(
    encoding: str, method: str, status: int, server: Answers, session: requests.Session
) -> None:
    server.encoding, server.status, server.body = encoding, status, GZIP
    for stream in (False, True):
        response = session.request(method, server.url, stream=stream)
        assert (response.status_code, response.content) == (status, b"")


def test_a_stream_that_its_reader_closes_half_way_is_not_truncated(server: Answers, session: requests.Session) -> None:
    server.encoding, server.body = "gzip", GZIP
    with session.get(server.url, stream=True) as response:
        assert TEXT.startswith(next(response.iter_content(10)))


def test_half_of_a_body_is_not_kept_as_last_good_response(running: Answers) -> None:
    running.framing, running.status, running.encoding, running.body = "chunked", 200, "gzip", GZIP
    with requests.Session() as session:
        session.mount("http://", polvo.ResilientAdapter(retry=False, fallback="stale"))
        assert session.get(running.url).content == TEXT
        running.body = GZIP[: len(GZIP) // 2]
        response = session.get(running.url)
        assert response.content == TEXT
        assert "the last good response" in response.polvo.note


@pytest.mark.parametrize("name", CUT)
@pytest.mark.parametrize("stream", [False, True])
async def test_httpx_is_told_as_well(name: str, stream: bool, server: Answers) -> None:
    server.encoding, make = CUT[name]
    server.body = make()
    get_synchronously(server, stream)
    async with httpx.AsyncClient(transport=AsyncPolicyTransport(Noting(), stream=stream)) as client:
        with pytest.raises((httpx.RemoteProtocolError, httpx.DecodingError)):
            await client.get(server.url)
    assert stream or FAILURES == [TRUNCATED, TRUNCATED]
    FAILURES.clear()


@pytest.mark.parametrize("name", [name for name in WHOLE if "of brotli" not in name])
@pytest.mark.parametrize("stream", [False, True])
def test_a_whole_body_is_what_it_is_to_httpx(name: str, stream: bool, server: Answers) -> None:
    server.encoding, make = WHOLE[name]
    server.body = make()
    expected = httpx.get(server.url).content
    with httpx.Client(transport=PolicyTransport(RETRY, stream=stream)) as client:
        assert client.get(server.url).content == expected
    assert server.requests == 2


def test_a_check_decodes_in_pieces_of_a_bounded_size() -> None:
    bomb = gzip.compress(gzip.compress(bytes(300_000_000), 9), 9)
    check = EncodingCheck("gzip, gzip")
    check.feed(bomb)
    assert not check.is_cut_off


def get_synchronously(server: Answers, stream: bool) -> None:
    with httpx.Client(transport=PolicyTransport(Noting(), stream=stream)) as client:  # noqa: SIM117
        with pytest.raises((httpx.RemoteProtocolError, httpx.DecodingError)):
            client.get(server.url)


FAILURES: list[Failure | None] = []


class Noting:
    """A policy that notes the failures of attempts."""

    def flow(self, call: Call, proceed: Proceed) -> Flow:
        outcome: Outcome = yield from proceed(call)
        FAILURES.append(outcome.failure)
        return outcome
