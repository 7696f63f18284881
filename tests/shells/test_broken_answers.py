"""What the note says of an answer that breaks the rules of HTTP: the same in all shells, and never what is untrue."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import httpx
import pytest
import requests

import polvo_adapters as polvo
from polvo_adapters.testing import FailureServer

HEAD = b"HTTP/1.1 200 OK\r\n"
GZIP = HEAD + b"content-encoding: gzip\r\ncontent-length: 11\r\n\r\n"
BEGINNING_OF_GZIP = bytes.fromhex("1f8b08000000000002ff4b")
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"
CLOSED, BROKEN_OFF = "the server closed the connection without an answer", "the body broke off before its end"
BREAKS_RULES, NO_HTTP = "the answer breaks the rules of HTTP", "the answer is no HTTP"
ANSWERS: list[tuple[str, bytes, str]] = [
    ("nothing", b"", CLOSED),
    ("early hints alone", b"HTTP/1.1 103 Early Hints\r\n\r\n", CLOSED),
    ("a banner", b"220 mail.example ESMTP\r\n\r\n", NO_HTTP),
    ("a TLS alert", b"\x15\x03\x01\x00\x02\x02\x28\r\n\r\n", NO_HTTP),
    ("a short body", HEAD + b"content-length: 9\r\n\r\nabc", BROKEN_OFF),
    ("a short chunk", CHUNKED + b"9\r\nabc", BROKEN_OFF),
    ("no length of a chunk", CHUNKED + b"zz\r\nabc\r\n", BROKEN_OFF),
    ("no end of a chunk", CHUNKED + b"3\r\nabcXX", BROKEN_OFF),
    ("half a gzip stream", GZIP + BEGINNING_OF_GZIP + b"\x00", BROKEN_OFF),
    ("a negative length", HEAD + b"content-length: -1\r\n\r\nabc", BREAKS_RULES),
    ("two lengths", HEAD + b"content-length: 1\r\ncontent-length: 2\r\n\r\nabc", BREAKS_RULES),
    (
        "an unwanted upgrade",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        BREAKS_RULES,
    ),
    ("a NUL in a header", HEAD + b"x: a\0b\r\ncontent-length: 0\r\n\r\n", BREAKS_RULES),
    ("too long a header", HEAD + b"x: " + b"a" * 200_000 + b"\r\n\r\n", "more headers than can be read"),
    ("no gzip stream", GZIP + b"no gzip....", "the body is not encoded as its header says"),
]
TOLERATED = {"early hints alone", "a negative length", "an unwanted upgrade", "a NUL in a header"}
"""What `requests` takes for an answer."""
OTHERWISE = {"two lengths": "cannot be made of these arguments", "too long a header": NO_HTTP}
"""What `requests` raises another exception for."""


@contextmanager
def _serve(answer: bytes) -> Iterator[str]:
    """Give the URL of a server that sends these bytes, and closes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def respond() -> None:
            with suppress(OSError), listener.accept()[0] as connection:
                while b"\r\n\r\n" not in connection.recv(65536):
                    pass
                connection.sendall(answer)

        thread = threading.Thread(target=respond)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/x"
        listener.close()
        thread.join(10)


def _find_notes(error: BaseException) -> list[str]:
    return [note for note in getattr(error, "__notes__", []) if note.startswith("polvo: ")]


@pytest.mark.parametrize(("name", "answer", "cause"), [each for each in ANSWERS if each[0] not in TOLERATED])
def test_a_session(name: str, answer: bytes, cause: str) -> None:
    session = polvo.Session(retry=False)
    with session, _serve(answer) as url, pytest.raises(requests.RequestException) as caught:
        session.get(url)
    assert OTHERWISE.get(name, cause) in _find_notes(caught.value)[0]


async def _read(session: polvo.AsyncSession, url: str, streams: bool) -> None:
    if not streams:
        await session.get(url)
        return
    async with session.stream("GET", url) as response:
        await response.aread()


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize(("name", "answer", "cause"), ANSWERS, ids=[name for name, *_ in ANSWERS])
async def test_an_asynchronous_session(name: str, answer: bytes, cause: str, streams: bool) -> None:
    async with polvo.AsyncSession(retry=False) as session:
        with _serve(answer) as url, pytest.raises(httpx.HTTPError) as caught:
            await _read(session, url, streams)
    if streams and name == "no gzip stream":
        return  # httpx decodes above what we see, and bare requests has no note either
    assert len(_find_notes(caught.value)) == 1
    assert cause in _find_notes(caught.value)[0]
    assert streams or caught.value.polvo is not None  # type: ignore[attr-defined]


@pytest.mark.parametrize(("name", "answer", "cause"), ANSWERS, ids=[name for name, *_ in ANSWERS])
def test_a_client_with_policies(name: str, answer: bytes, cause: str) -> None:
    client = polvo.install(httpx.Client(), retry=False, deadline=20)
    with client, _serve(answer) as url, pytest.raises(httpx.HTTPError) as caught:
        client.get(url)
    if name != "no gzip stream":  # as above
        assert cause in _find_notes(caught.value)[0]


async def test_too_many_redirects() -> None:
    transport = httpx.MockTransport(lambda request: httpx.Response(302, headers={"location": str(request.url)}))
    async with polvo.AsyncSession(transport=transport) as session:
        with pytest.raises(httpx.TooManyRedirects) as caught:
            await session.get("https://api.example.com/a?k=s3cret")
    expected = "polvo: GET api.example.com/a: too many redirects, perhaps in a circle; "
    assert _find_notes(caught.value)[0].startswith(expected)


@pytest.mark.parametrize("headers", [{"A": "b\n"}, {"a b": "c"}, {"content-length": "x"}])
async def test_a_request_that_breaks_the_rules(server: FailureServer, headers: dict[str, str]) -> None:
    """Nothing was sent, and so no server has closed anything."""
    expected = "the request breaks the rules of HTTP"
    async with polvo.AsyncSession(retry=False) as session:
        with pytest.raises(httpx.LocalProtocolError) as caught:
            await session.get(server.url, headers=headers)
    assert expected in _find_notes(caught.value)[0]
    with polvo.install(httpx.Client()) as client, pytest.raises(httpx.LocalProtocolError) as caught:
        client.get(server.url, headers=headers)
    assert expected in _find_notes(caught.value)[0]
