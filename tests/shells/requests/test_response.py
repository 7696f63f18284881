"""A response that no server has sent is a `requests.Response` in every way."""

from __future__ import annotations

import copy
import gzip
import io
import pickle
import time
from datetime import timedelta
from typing import Any

import httpx
import pytest
import requests
from requests.adapters import BaseAdapter
from requests.auth import AuthBase
from requests.cookies import extract_cookies_to_jar
from urllib3 import HTTPResponse

import polvo_adapters as polvo
from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Flow, Proceed
from polvo_adapters.core.http import Headers, synthesized_headers
from polvo_adapters.core.outcomes import Outcome
from polvo_adapters.shells.requests.response import Response, WatchedResponse, read_body, synthesize_response
from polvo_adapters.shells.requests.set_aside_responses import set_aside
from polvo_adapters.testing import FailureServer
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
    assert type(response) is requests.Response
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


# The class of what a server has sent.

STACKS: dict[str, dict[str, Any]] = {
    "standard": {},
    "deadline": {"deadline": 20},
    "bulkhead": {"bulkhead": 5},
    "deadline and bulkhead": {"deadline": 20, "bulkhead": 5},
    "hedge": {"hedge": True},
    "breaker": {"circuit_breaker": True},
}
PATHS = {
    "plain": "/echo?size=10",
    "after retries": "/fault/status?times=2&retry_after=0.01",
    "failure": "/fault/status?code=404",
}


def mounted(adapter: Any) -> requests.Session:
    session = requests.Session()
    session.trust_env = False
    session.mount("http://", adapter)
    return session


seen: list[type] = []


def note(response: requests.Response, **_: Any) -> None:
    """Note the class that a hook sees; here, as pickling keeps hooks by name."""
    seen.append(type(response))


SESSIONS: dict[str, Any] = {
    "mounted": lambda options: mounted(polvo.ResilientAdapter(**options)),
    "nested": lambda options: mounted(polvo.PolicyAdapter(inner=polvo.ResilientAdapter(**options))),
    "installed": lambda options: polvo.install(mounted(requests.adapters.HTTPAdapter()), **options),
    "session": lambda options: polvo.Session(**options),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
@pytest.mark.parametrize("options", STACKS.values(), ids=STACKS)
@pytest.mark.parametrize("kind", SESSIONS)
def test_the_class_is_that_of_requests(
    server: FailureServer, kind: str, options: dict[str, Any], path: str, stream: bool
) -> None:
    seen.clear()
    with SESSIONS[kind]({"retry": {"base": 0.01}, **options}) as session:
        for given in ({}, {"hooks": {"response": note}}):
            response = session.get(f"{server.url}{path}&key={len(given)}", stream=stream, **given)
            content = response.content
            copied = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(response))))
            for each in (response, copied):
                assert type(each) is requests.Response
                assert each.content == content
                assert each.polvo.attempts
            explained = {"json"} if kind == "session" else set()  # see json_errors
            assert set(vars(requests.Response())) | {"polvo", "connection", "__attrs__"} | explained >= {
                name
                for name in vars(response)
                if not name.startswith("_polvo")  # hooks of a polvo.Session
            }
    assert seen == [requests.Response]


class Repeats(AuthBase):
    """Sends once more from a hook, as HTTPDigestAuth does."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.register_hook("response", self.repeat)
        return request

    @staticmethod
    def repeat(response: requests.Response, **keywords: Any) -> requests.Response:
        prepared = response.request.copy()
        second = response.connection.send(prepared, **keywords)  # type: ignore[attr-defined]
        second.history.append(response)
        second.request = prepared
        return second  # type: ignore[no-any-return]


def test_the_class_of_a_response_that_a_hook_has_sent_for(server: FailureServer) -> None:
    response = mounted(polvo.ResilientAdapter()).get(server.url + "/echo", auth=Repeats())
    assert [type(each) for each in (response, *response.history)] == [requests.Response] * 2


def test_elapsed_is_that_of_the_last_attempt(server: FailureServer) -> None:
    url = server.url + "/fault/status?times=1&retry_after=0.3"
    seen: list[Any] = []
    hooks = {"response": lambda response, **_: seen.append(response.elapsed)}
    began = time.perf_counter()
    response = mounted(polvo.ResilientAdapter()).get(url, hooks=hooks)
    everything = timedelta(seconds=time.perf_counter() - began)
    assert len(response.polvo.attempts) == 2
    assert timedelta(0) < response.elapsed < everything - timedelta(seconds=0.3), "without the wait before it"
    assert seen == [response.elapsed]


class Piecemeal(BaseAdapter):
    """Makes a response whose body is no object of urllib3."""

    def send(self, request: requests.PreparedRequest, **_: Any) -> requests.Response:  # type: ignore[override]
        response = requests.Response()
        response.status_code, response.url, response.request = 200, request.url or "", request
        response.raw = io.BytesIO(b"body")
        return response

    def close(self) -> None:
        pass


class Compressed(requests.adapters.HTTPAdapter):
    """Makes a response with a compressed body, of which some bytes at the end may be lost."""

    lost = 0

    def send(self, request: requests.PreparedRequest, **_: Any) -> requests.Response:  # type: ignore[override]
        body = gzip.compress(TEXT.encode())
        raw = HTTPResponse(
            io.BytesIO(body[: len(body) - self.lost]),
            headers={"Content-Encoding": "gzip", "Content-Type": "text/plain; charset=utf-8"},
            status=200,
            preload_content=False,
        )
        return self.build_response(request, raw)


@pytest.mark.parametrize("options", STACKS.values(), ids=STACKS)
@pytest.mark.parametrize("stream", [False, True])
def test_a_compressed_body(options: dict[str, Any], stream: bool) -> None:
    session = mounted(polvo.ResilientAdapter(inner=Compressed(), **options))
    response = session.get("http://api.example.com/", stream=stream)
    assert (type(response), response.text) == (requests.Response, TEXT)
    with session.get("http://api.example.com/", stream=True) as response:
        pieces = response.iter_content(1)
        assert next(pieces) == b"f"
    assert list(pieces) == []  # the caller has closed it, so that its end is no fault
    short = Compressed()
    short.lost = 12
    session = mounted(polvo.ResilientAdapter(inner=short, **{**options, "retry": False}))
    with pytest.raises(requests.exceptions.ChunkedEncodingError, match="encoding"):
        list(session.get("http://api.example.com/", stream=stream).iter_content())


class Counting(HTTPResponse):
    """A body that counts how often urllib3 reads from its file."""

    reads = 0

    def _raw_read(self, *args: Any, **keywords: Any) -> Any:
        self.reads += 1
        data = super()._raw_read(*args, **keywords)
        if self.length_remaining == 0:
            self._fp.close()  # as the standard library does
        return data


@pytest.mark.parametrize("is_named", [True, False])
@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 200_000])
def test_a_short_body_of_known_length_is_read_once(size: int, is_named: bool) -> None:
    headers = {"Content-Length": str(size)} if is_named else {}
    response = requests.Response()
    response.raw = body = Counting(io.BytesIO(bytes(size)), headers=headers, preload_content=False)
    response.headers.update(headers)
    assert read_body(response) == response.content == bytes(size)
    if is_named and size < 65_536:
        assert body.reads <= 1


@pytest.mark.parametrize("lost", [0, 12])
def test_a_compressed_body_that_was_set_aside(lost: int) -> None:
    adapter = Compressed()
    adapter.lost = lost
    response = mounted(polvo.ResilientAdapter(inner=adapter)).get("http://api.example.com/", stream=True)
    assert set_aside(response)
    if lost:
        with pytest.raises(requests.exceptions.ChunkedEncodingError, match="encoding"):
            response.content  # noqa: B018
    else:
        assert response.text == TEXT


@pytest.mark.parametrize("options", STACKS.values(), ids=STACKS)
@pytest.mark.parametrize("stream", [False, True])
def test_a_body_of_another_kind(options: dict[str, Any], stream: bool) -> None:
    session = mounted(polvo.ResilientAdapter(inner=Piecemeal(), **options))
    for _ in range(6):  # more than the bulkhead has places for
        response = session.get("http://api.example.com/", stream=stream)
        assert (response.content, pickle.loads(pickle.dumps(response)).content) == (b"body", b"body")
        is_watched = "deadline" in options or (stream and {"bulkhead", "circuit_breaker"} & options.keys())
        assert type(response) is (WatchedResponse if is_watched else requests.Response)


def test_responses_of_before_are_still_unpickled() -> None:
    before = requests.Response()
    before.__class__ = Response
    vars(before).update(_content=b"body", status_code=200, url=URL, elapsed=timedelta(seconds=3), request=None)
    copied = pickle.loads(pickle.dumps(before))
    assert (type(copied), copied.content, copied.elapsed) == (requests.Response, b"body", timedelta(seconds=3))


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
