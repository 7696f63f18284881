"""A response that no server has sent is a `requests.Response` in every way."""

from __future__ import annotations

import copy
import pickle
from datetime import timedelta
from typing import Any

import httpx
import pytest
import requests
from requests.cookies import extract_cookies_to_jar

import polvo_adapters as polvo
from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Flow, Proceed
from polvo_adapters.core.http import Headers, synthesized_headers
from polvo_adapters.core.outcomes import Outcome
from polvo_adapters.shells.requests.response import Response, synthesize_response
from polvo_adapters.transports import AsyncPolicyTransport, PolicyTransport

URL = "https://api.example.com/items?page=2"
TEXT = "first\nsecond\nmüde\n"
HEADERS = Headers(
    (
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Encoding", "gzip"),
        ("Content-Length", "7"),
        ("Transfer-Encoding", "chunked"),
        ("Connection", "close"),
        ("Link", '<https://api.example.com/items?page=3>; rel="next"'),
        ("X-Name", "caf\xe9"),
    )
)


class Make:
    """A policy that sends nothing, and has the shell make a response."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome

    def flow(self, call: Call, proceed: Proceed) -> Flow:
        yield from ()
        return self.outcome


def outcome(status: int = 200, body: bytes | None = TEXT.encode(), headers: Any = HEADERS) -> Outcome:
    return Outcome(status=status, headers=headers, body=body)


def session(result: Outcome) -> requests.Session:
    session = requests.Session()
    session.mount("https://", polvo.PolicyAdapter(Make(result)))
    return session


@pytest.fixture
def response() -> requests.Response:
    return session(outcome()).get(URL)


def test_what_it_says(response: requests.Response) -> None:
    assert isinstance(response, Response)
    assert (response.status_code, response.reason, response.ok, bool(response)) == (200, "OK", True, True)
    assert (response.url, response.request.url, response.request.method) == (URL, URL, "GET")
    assert (response.encoding, response.apparent_encoding) == ("utf-8", "utf-8")
    assert (response.history, response.is_redirect, response.is_permanent_redirect, response.next) == (
        [],
        False,
        False,
        None,
    )
    assert response.links["next"]["url"] == "https://api.example.com/items?page=3"
    assert repr(response) == "<Response [200]>"
    assert (list(response.cookies), response.elapsed) == ([], timedelta(0))
    assert response.polvo.attempts == []
    response.raise_for_status()


def test_headers_tell_of_the_body_that_there_is(response: requests.Response) -> None:
    assert isinstance(response.headers, requests.structures.CaseInsensitiveDict)
    assert dict(response.headers) == {
        "Content-Type": "text/plain; charset=utf-8",
        "Content-Length": str(len(TEXT.encode())),
        "Link": '<https://api.example.com/items?page=3>; rel="next"',
        "X-Name": "caf\xe9",
    }


def test_headers_of_an_answer_to_head_describe_a_body_that_it_does_not_have() -> None:
    response = session(outcome(body=b"")).head(URL)
    assert (response.headers["Content-Length"], response.headers["Content-Encoding"]) == ("7", "gzip")
    assert (response.content, response.raw.read()) == (b"", b"")


@pytest.mark.parametrize("status", [204, 304])
def test_statuses_without_a_body_have_no_length(status: int) -> None:
    assert "Content-Length" not in synthesized_headers(outcome(status, None), "GET")


def test_the_body_in_all_ways(response: requests.Response) -> None:
    assert (response.content, response.text) == (TEXT.encode(), TEXT)
    assert list(response.iter_lines(decode_unicode=True)) == ["first", "second", "müde"]
    assert [len(part) for part in response.iter_content(8)] == [8, 8, 3]
    assert b"".join(response) == TEXT.encode()
    with pytest.raises(requests.exceptions.JSONDecodeError):
        response.json()


def test_json() -> None:
    named = Headers((("Content-Type", "application/json"),))
    assert session(outcome(body='{"ü": [1]}'.encode(), headers=named)).get(URL).json() == {"ü": [1]}


def test_an_empty_body() -> None:
    response = session(outcome(body=None)).get(URL)
    assert (response.content, response.text, response.headers["Content-Length"]) == (b"", "", "0")


@pytest.mark.parametrize("stream", [False, True])
def test_raw(stream: bool) -> None:
    raw = session(outcome()).get(URL, stream=stream).raw
    assert (raw.status, raw.reason, raw.version, raw.headers["x-name"]) == (200, "OK", 11, "caf\xe9")
    assert (raw.read(5), raw.read(decode_content=True)) == (b"first", TEXT.encode()[5:])
    assert (raw.read(), raw.tell()) == (b"", len(TEXT.encode()))
    raw.release_conn()
    raw.close()
    assert raw.closed


def test_it_closes_and_is_still_there(response: requests.Response) -> None:
    with response:
        pass
    response.close()
    response.close()
    assert response.text == TEXT


def test_error_statuses_raise() -> None:
    response = session(outcome(503)).get(URL)
    assert (response.ok, response.reason) == (False, "Service Unavailable")
    with pytest.raises(requests.HTTPError, match="503 Server Error: Service Unavailable for url"):
        response.raise_for_status()
    assert session(outcome(599)).get(URL).reason == ""


@pytest.mark.parametrize("copied", [lambda value: pickle.loads(pickle.dumps(value)), copy.copy, copy.deepcopy])
def test_copies(copied: Any, response: requests.Response) -> None:
    other = copied(response)
    assert (other.status_code, other.text, other.headers, other.url) == (200, TEXT, response.headers, URL)
    assert (other.elapsed, str(other.polvo)) == (timedelta(0), str(response.polvo))


def test_cookies_of_it_are_not_taken_for_new_ones() -> None:
    made_session = session(outcome(headers=Headers((("Set-Cookie", "a=b"),))))
    response = made_session.get(URL)
    extract_cookies_to_jar(made_session.cookies, response.request, response.raw)
    assert list(made_session.cookies) == []


def test_hooks_see_it() -> None:
    seen: list[Any] = []
    response = session(outcome()).get(URL, hooks={"response": lambda each, **_: seen.append(each)})
    assert seen == [response]


def test_elapsed_can_be_set_afterwards(response: requests.Response) -> None:
    response.elapsed = timedelta(seconds=5)
    assert response.elapsed == timedelta(seconds=5)


def test_without_a_session() -> None:
    request = requests.Request("GET", URL).prepare()
    response = synthesize_response(outcome(), request)
    assert (response.text, response.request) == (TEXT, request)


# The same of httpx.


def check(response: httpx.Response) -> None:
    assert (response.status_code, response.reason_phrase, response.is_success) == (200, "OK", True)
    assert (response.http_version, response.encoding, response.charset_encoding) == ("HTTP/1.1", "utf-8", "utf-8")
    assert (response.text, response.content) == (TEXT, TEXT.encode())
    assert (str(response.url), response.request.method, response.history) == (URL, "GET", [])
    assert dict(response.headers) == {
        "content-type": "text/plain; charset=utf-8",
        "content-length": str(len(TEXT.encode())),
        "link": '<https://api.example.com/items?page=3>; rel="next"',
        "x-name": "caf\xe9",
    }
    assert response.elapsed >= timedelta(0)
    assert response.is_closed
    assert response.extensions["polvo"].attempts == []
    assert list(response.iter_lines()) == ["first", "second", "müde"]
    response.raise_for_status()
    assert pickle.loads(pickle.dumps(response)).text == TEXT


def test_httpx() -> None:
    with httpx.Client(transport=PolicyTransport(Make(outcome()))) as client:
        check(client.get(URL))
        with client.stream("GET", URL) as response:
            assert b"".join(response.iter_raw(5)) == TEXT.encode()
        with client.stream("GET", URL) as response:
            assert "".join(response.iter_text()) == TEXT


async def test_httpx_async() -> None:
    async with httpx.AsyncClient(transport=AsyncPolicyTransport(Make(outcome()))) as client:
        check(await client.get(URL))
        async with client.stream("GET", URL) as response:
            assert b"".join([part async for part in response.aiter_raw(5)]) == TEXT.encode()
        async with client.stream("GET", URL) as response:
            assert await response.aread() == TEXT.encode()


def test_httpx_errors_and_bodiless_answers() -> None:
    with httpx.Client(transport=PolicyTransport(Make(outcome(503, b"")))) as client, pytest.raises(httpx.HTTPError):
        client.get(URL).raise_for_status()
    with httpx.Client(transport=PolicyTransport(Make(outcome(200, b"")))) as client:
        response = client.head(URL)
        assert (response.headers["content-length"], response.content) == ("7", b"")


def test_httpx_headers_that_are_not_latin() -> None:
    named = Headers((("X-Name", "→"),))
    with httpx.Client(transport=PolicyTransport(Make(outcome(headers=named)))) as client:
        assert client.get(URL).headers["x-name"] == "→"
