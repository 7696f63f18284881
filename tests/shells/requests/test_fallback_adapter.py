"""Fallbacks against live servers: through a `requests.Session`, and through both kinds of httpx client."""

from __future__ import annotations

import asyncio
import gzip
import http.server
import pickle
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests

import polvo_adapters as polvo
from polvo_adapters.policies.deadline import Deadline
from polvo_adapters.policies.fallback import Fallback
from polvo_adapters.policies.fallback.policy import Another, FailedCall, Fixed, StaleCache
from polvo_adapters.policies.retry import ExponentialBackoff
from polvo_adapters.stores import MemoryStore
from polvo_adapters.testing import FailureServer
from polvo_adapters.testing.virtual_clock import VirtualClock
from polvo_adapters.transports import AsyncPolicyTransport, PolicyTransport

KINDS = ["requests", "httpx", "httpx async"]


class Client:
    """One face for all shells; a client keeps its store, and thus its last good responses."""

    def __init__(self, kind: str, *policies: Any, stream: bool = False) -> None:
        self.kind, self.policies, self.stream = kind, policies, stream
        self.store = MemoryStore()
        self.cookies: dict[str, str] = {}

    def __call__(self, url: str, method: str = "GET", **keywords: Any) -> Any:
        """Make a request, and read the body of the answer."""
        if self.kind == "requests":
            return self._requests(method, url, keywords)
        if self.kind == "httpx":
            return self._httpx(method, url, keywords)
        return asyncio.run(self._httpx_async(method, url, keywords))

    def _requests(self, method: str, url: str, keywords: dict[str, Any]) -> Any:
        with requests.Session() as session:
            session.mount("http://", polvo.PolicyAdapter(*self.policies, store=self.store))
            keywords["data"] = keywords.pop("content", None)
            response = session.request(method, url, stream=self.stream, **keywords)
            response.content  # noqa: B018 - reads it
            self.cookies = session.cookies.get_dict()
        return response

    def _httpx(self, method: str, url: str, keywords: dict[str, Any]) -> Any:
        transport = PolicyTransport(*self.policies, store=self.store, stream=self.stream)
        with httpx.Client(transport=transport) as client:
            response = client.request(method, url, **keywords)
            self.cookies = dict(client.cookies)
        return response

    async def _httpx_async(self, method: str, url: str, keywords: dict[str, Any]) -> Any:
        transport = AsyncPolicyTransport(*self.policies, store=self.store, stream=self.stream)
        async with httpx.AsyncClient(transport=transport) as client:
            response = await client.request(method, url, **keywords)
            self.cookies = dict(client.cookies)
        return response


def note(response: Any) -> str:
    report = response.polvo if isinstance(response, requests.Response) else response.extensions["polvo"]
    return str(report.note)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def backup() -> Iterator[FailureServer]:
    with FailureServer() as server:
        yield server


# The last good response.


@pytest.mark.usefixtures("frozen")
def test_the_last_good_response_after_the_server_went_down(kind: str, server: FailureServer) -> None:
    client = Client(kind, Fallback())
    url = server.url + "/echo?a=b"
    first = client(url)
    server.stop()
    last = client(url)
    assert (last.status_code, last.content, last.json()["path"]) == (200, first.content, "/echo?a=b")
    assert (last.headers["age"], last.headers["content-type"]) == ("0", "application/json")
    assert last.headers["content-length"] == str(len(first.content))
    assert note(last) == "the last good response, 0 s old, after no connection"
    with pytest.raises((requests.ConnectionError, httpx.ConnectError)):
        client(server.url + "/echo?a=c")


@pytest.mark.usefixtures("frozen")
def test_it_is_served_after_a_bad_status_and_after_retries(kind: str, server: FailureServer) -> None:
    client = Client(kind, Fallback(), ExponentialBackoff(base=0.001))
    url = server.url + "/fault/status?after=1"
    assert client(url).json()["method"] == "GET"
    last = client(url)
    assert last.json()["method"] == "GET"
    assert note(last) == "gave up after 3 attempts; the last good response, 0 s old, after 503"


@pytest.mark.parametrize("fault", ["reset", "truncated", "eof", "broken-gzip"])
def test_it_is_served_after_a_broken_answer(kind: str, fault: str, server: FailureServer) -> None:
    if fault == "broken-gzip":
        kind = "requests"  # httpx decodes above the transport
    client = Client(kind, Fallback(exceptions=(requests.RequestException, httpx.HTTPError)))
    url = f"{server.url}/fault/{fault}?after=1"
    client(url)
    assert client(url).json()["method"] == "GET"


def test_it_is_served_after_a_deadline(kind: str, server: FailureServer) -> None:
    client = Client(kind, Fallback(), Deadline(0.8))
    url = server.url + "/fault/hang?after=1"
    client(url)
    assert re.fullmatch("the last good response, [0-9] s old, after deadline", note(client(url)))


CREDENTIALS = [
    ({"Authorization": "Bearer one"}, {"Authorization": "Bearer two"}),
    ({"Authorization": "Bearer one"}, {}),
    ({"Cookie": "id=1"}, {"Cookie": "id=2"}),
    ({"X-Api-Key": "one"}, {"X-Api-Key": "two"}),
    ({"X-My-Own-Invention": "one"}, {"X-My-Own-Invention": "two"}),
    ({"Accept": "text/csv"}, {"Accept": "application/json"}),
    ({"Host": "a.example"}, {"Host": "b.example"}),
    ({"User-Agent": "a"}, {"User-Agent": "b"}),
]


@pytest.mark.parametrize(("one", "two"), CREDENTIALS)
def test_never_across_credentials(kind: str, one: dict[str, str], two: dict[str, str], server: FailureServer) -> None:
    client = Client(kind, Fallback())
    url = server.url + "/fault/status?after=1"
    client(url, headers=one)
    assert client(url, headers=two).status_code == 503
    assert client(url, headers=one).status_code == 200


def test_never_across_client_certificates(server: FailureServer, tmp_path: Path) -> None:
    one, two = tmp_path / "one.pem", tmp_path / "two.pem"
    one.touch()
    two.touch()
    session = requests.Session()
    session.mount("http://", polvo.PolicyAdapter(Fallback()))
    url = server.url + "/fault/status?after=1"
    session.get(url, cert=str(one))
    assert session.get(url, cert=str(two)).status_code == 503
    assert session.get(url, cert=str(one)).status_code == 200


def test_headers_that_differ_from_request_to_request_do_not_matter(kind: str, server: FailureServer) -> None:
    client = Client(kind, Fallback())
    url = server.url + "/fault/status?after=1"
    client(url, headers={"X-Request-ID": "1", "traceparent": "a"})
    assert client(url, headers={"X-Request-ID": "2", "traceparent": "b"}).status_code == 200


def test_what_is_streamed_is_not_kept(kind: str, server: FailureServer) -> None:
    client = Client(kind, Fallback(), stream=True)
    url = server.url + "/fault/status?after=1&body=down"
    assert client(url).status_code == 200
    last = client(url)
    assert (last.status_code, last.content) == (503, b"down")


def test_a_response_that_was_kept_serves_a_stream(server: FailureServer) -> None:
    session = requests.Session()
    session.mount("http://", polvo.PolicyAdapter(Fallback()))
    url = server.url + "/echo?size=70000"
    session.get(url)
    server.stop()
    for read in (
        lambda response: b"".join(response.iter_content(1000)),
        lambda response: response.raw.read(),
        lambda response: b"".join(response.raw.stream(1000)),
        lambda response: response.content,
    ):
        with session.get(url, stream=True) as response:
            assert read(response) == b"x" * 70_000


def test_a_compressed_response_is_kept(kind: str) -> None:
    body = gzip.compress(b"text" * 1000)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Encoding", "gzip")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Set-Cookie", "session=1")
            self.send_header("X-Name", "caf\xe9")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None: ...

    client = Client(kind, Fallback())
    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/"
        first = client(url)
        server.shutdown()
        thread.join()
    last = client(url)
    assert first.content == last.content == b"text" * 1000
    assert "content-encoding" not in last.headers
    assert last.headers["x-name"] == first.headers["x-name"] == "caf\xe9"
    assert (len(first.cookies), len(last.cookies), "set-cookie" in last.headers) == (1, 0, False)


def test_it_grows_old(server: FailureServer, clock: VirtualClock) -> None:
    session = requests.Session()
    session.mount("http://", polvo.PolicyAdapter(Fallback(max_age=60), clock=clock))
    url = server.url + "/fault/status?after=1"
    session.get(url)
    clock.advance(59.6)
    assert session.get(url).headers["Age"] == "60"
    clock.advance(1)
    assert session.get(url).status_code == 503


def test_a_write_makes_it_old(kind: str, server: FailureServer) -> None:
    client = Client(kind, Fallback())
    url = server.url + "/fault/status?after=2"
    client(url)
    client(url, "PUT", content=b"new")
    assert client(url).status_code == 503


# Another server.

SECRETS = {
    "Authorization": "Bearer s3cret",
    "Proxy-Authorization": "Basic s3cret",
    "Cookie": "id=s3cret",
    "X-Api-Key": "s3cret",
    "X-My-Own-Invention": "s3cret",
    "Referer": "https://app.example/?s3cret",
}


def test_another_server_gets_no_credentials(kind: str, server: FailureServer, backup: FailureServer) -> None:
    client = Client(kind, Fallback(Another(backup.url, parameters=["*"])))
    server.stop()
    response = client(server.url + "/echo?q=b", headers={**SECRETS, "Accept": "text/x", "If-None-Match": '"1"'})
    assert response.json()["path"] == "/echo?q=b"
    (record,) = backup.requests
    assert "s3cret" not in str(record)
    assert record.headers["host"] == backup.url.removeprefix("http://")
    assert (record.headers["accept"], record.headers["if-none-match"]) == ("text/x", '"1"')
    assert note(response) == f"{backup.url} answered, after no connection"


def test_unless_it_may(kind: str, server: FailureServer, backup: FailureServer) -> None:
    client = Client(kind, Fallback(Another(backup.url, credentials=True)))
    server.stop()
    client(server.url + "/echo", headers=SECRETS)
    (record,) = backup.requests
    assert {name: record.headers[name.lower()] for name in SECRETS} == SECRETS


def test_credentials_of_the_session_stay_at_home(server: FailureServer, backup: FailureServer) -> None:
    session = requests.Session()
    session.mount("http://", polvo.PolicyAdapter(Fallback(Another(backup.url, parameters=["*"]))))
    session.auth = ("me", "s3cret")
    session.cookies["id"] = "s3cret"
    session.headers["X-Key"] = "s3cret"
    server.stop()
    response = session.get(server.url + "/echo")
    assert response.url == backup.url + "/echo"
    assert "s3cret" not in str(backup.requests)
    assert "basic" not in str(backup.requests).lower()
    assert response.request.url == server.url + "/echo"  # the caller's own request


def test_a_redirect_of_another_server_takes_no_credentials_along(
    kind: str, server: FailureServer, backup: FailureServer
) -> None:
    keywords: dict[str, Any] = {} if kind == "requests" else {"follow_redirects": True}
    client = Client(kind, Fallback(Another(backup.url, parameters=["*"])))
    response = client(server.url + "/fault/redirect?code=307", headers=SECRETS, **keywords)
    assert response.status_code == 200  # the first server redirects, which is no failure
    server.stop()
    with pytest.raises((requests.ConnectionError, httpx.ConnectError)):
        client(server.url + "/fault/redirect?code=307", headers=SECRETS, **keywords)
    assert "s3cret" not in str(backup.requests)
    assert len(backup.requests) == 1


COOKIE = "/fault/status?code=200&header=Set-Cookie:+session=theirs"


def test_cookies_of_another_server_are_not_taken_for_those_of_the_first(
    kind: str, server: FailureServer, backup: FailureServer
) -> None:
    client = Client(kind, Fallback(Another(backup.url, parameters=["*"])))
    server.stop()
    client(server.url + COOKIE)
    assert client.cookies == {}


def test_a_client_certificate_stays_at_home(server: FailureServer, backup: FailureServer, tmp_path: Path) -> None:
    certificates: list[Any] = []

    class Inner(requests.adapters.HTTPAdapter):
        def send(self, *args: Any, **keywords: Any) -> requests.Response:
            certificates.append(keywords["cert"])
            return super().send(*args, **keywords)

    path = tmp_path / "client.pem"
    path.touch()
    for credentials in (False, True):
        session = requests.Session()
        policy = Fallback(Another(backup.url, credentials=credentials))
        session.mount("http://", polvo.PolicyAdapter(policy, inner=Inner()))
        session.get(server.url + "/fault/status", cert=str(path))
    assert certificates == [str(path), None, str(path), str(path)]


def test_bodies_go_along(kind: str, server: FailureServer, backup: FailureServer) -> None:
    client = Client(kind, Fallback(Another(backup.url, parameters=["*"])))
    client(server.url + "/fault/status?after=0", "PUT", content=b"x" * 5000)
    assert [record.body_length for record in (*server.requests, *backup.requests)] == [5000, 5000]


@pytest.mark.parametrize("path", ["/fault/status?code=500&times=9", "/fault/reset?times=9", "/fault/status?times=9"])
def test_a_post_that_may_have_been_processed_is_not_sent_elsewhere(
    kind: str, path: str, server: FailureServer, backup: FailureServer
) -> None:
    client = Client(kind, Fallback(Another(backup.url, parameters=["*"])))
    try:
        response = client(server.url + path, "POST", content=b"x")
    except (requests.ConnectionError, httpx.HTTPError) as error:
        said = error.polvo.note
    else:
        said = note(response)
    assert said.endswith("the POST may have been processed")
    assert (len(server.requests), len(backup.requests)) == (1, 0)


def test_a_post_that_was_not_processed_is_sent_elsewhere(
    kind: str, server: FailureServer, backup: FailureServer
) -> None:
    client = Client(kind, Fallback(Another(backup.url, parameters=["*"])))
    server.stop()
    response = client(server.url + "/echo", "POST", content=b"order")
    assert (response.status_code, response.json()["body_length"]) == (200, 5)
    assert [record.body for record in backup.requests] == [b"order"]


def test_a_file_is_rewound_for_another_server(server: FailureServer, backup: FailureServer, tmp_path: Path) -> None:
    path = tmp_path / "upload"
    path.write_bytes(b"header" + b"x" * 5000)
    session = requests.Session()
    session.mount("http://", polvo.PolicyAdapter(Fallback(Another(backup.url, parameters=["*"]))))
    with path.open("rb") as file:
        file.seek(6)
        session.put(server.url + "/fault/status", data=file)
    assert [record.body_length for record in (*server.requests, *backup.requests)] == [5000, 5000]


def test_a_one_shot_body_goes_elsewhere_only_if_it_was_never_sent(server: FailureServer, backup: FailureServer) -> None:
    session = requests.Session()
    session.mount("http://", polvo.PolicyAdapter(Fallback(Another(backup.url, parameters=["*"]))))
    response = session.put(server.url + "/fault/status", data=iter([b"a", b"b"]))
    assert "the body can be read only once" in response.polvo.note
    assert len(backup.requests) == 0
    server.stop()
    assert session.put(server.url + "/echo", data=iter([b"a", b"b"])).json()["body_length"] == 2


@pytest.mark.parametrize("stream", [False, True])
def test_where_nothing_is_good_the_first_answer_comes_back(
    kind: str, stream: bool, server: FailureServer, backup: FailureServer
) -> None:
    client = Client(kind, Fallback(Another(backup.url + "/nowhere", parameters=["*"])), stream=stream)
    response = client(server.url + "/fault/status?body=down&retry_after=5")
    assert (response.status_code, response.headers["retry-after"]) == (503, "5")
    assert response.content == b"down"
    assert note(response) == f"no fallback: {backup.url} had 404"


def test_where_nothing_is_good_the_first_error_is_raised(kind: str, server: FailureServer) -> None:
    client = Client(kind, Fallback("http://127.0.0.1:1"))
    with pytest.raises((requests.ConnectionError, httpx.HTTPError)) as caught:
        client(server.url + "/fault/reset")
    error: Any = caught.value
    assert error.polvo.note == "no fallback: http://127.0.0.1:1 had no connection"
    assert [attempt.failure for attempt in error.polvo.attempts] == ["disconnected", "no connection"]


# A fixed response, and functions.


def test_a_fixed_response(kind: str, server: FailureServer) -> None:
    client = Client(kind, Fallback(Fixed(203, {"X-Degraded": "yes"}, json={"items": []})))
    response = client(server.url + "/fault/status")
    assert (response.status_code, response.json()) == (203, {"items": []})
    assert (response.headers["X-Degraded"], response.headers["Content-Length"]) == ("yes", "13")
    assert note(response) == "a fixed response, after 503"


def test_a_function(kind: str, server: FailureServer) -> None:
    def instead(ended: FailedCall) -> Any:
        assert ended.url == server.url + "/fault/status"
        return {"was": ended.response.status_code, "why": ended.reason}

    response = Client(kind, Fallback(instead))(server.url + "/fault/status?token=hidden")
    assert (response.status_code, response.json()) == (200, {"was": 503, "why": "503"})


def test_a_function_may_read_the_answer_and_return_it(kind: str, server: FailureServer) -> None:
    def instead(ended: FailedCall) -> Any:
        return ended.response

    response = Client(kind, Fallback(instead))(server.url + "/fault/status?body=down")
    assert (response.status_code, response.content) == (503, b"down")


def test_a_function_may_make_a_response(kind: str, server: FailureServer) -> None:
    def instead(ended: FailedCall) -> Any:
        if kind != "requests":
            return httpx.Response(207, text="mine")
        mine = requests.Response()
        mine.status_code, mine._content = 207, b"mine"
        return mine

    response = Client(kind, Fallback(instead))(server.url + "/fault/status")
    assert (response.status_code, response.text) == (207, "mine")
    assert note(response) == "what instead returned, after 503"


def test_what_a_function_raises_is_raised(kind: str, server: FailureServer) -> None:
    class Mine(Exception):
        pass

    def broken(ended: FailedCall) -> None:
        raise Mine

    with pytest.raises(Mine) as caught:
        Client(kind, Fallback(broken))(server.url + "/fault/status")
    assert caught.value.polvo.note == "broken raised this, after 503"


def test_in_a_chain_what_is_served_first_is_the_first_that_there_is(
    kind: str, server: FailureServer, backup: FailureServer
) -> None:
    client = Client(kind, Fallback("stale", Another(backup.url + "/nowhere", parameters=["*"]), Fixed(json=[])))
    url = server.url + "/fault/status?after=1&times=1"
    assert client(server.url + "/fault/reset").json() == []
    assert len(backup.requests) == 1
    client(url)
    assert note(client(url)).startswith("the last good response")
    assert len(backup.requests) == 1


def test_adapters_pickle_with_their_fallback() -> None:
    adapter = polvo.PolicyAdapter(Fallback(StaleCache(60), "https://backup.example.com", Fixed(json=[])))
    assert pickle.loads(pickle.dumps(adapter)).policies == adapter.policies


def test_no_connection_is_kept_by_a_stream_that_was_replaced(server: FailureServer) -> None:
    """A pool of one connection that is given back can be used again."""
    transport = PolicyTransport(
        Fallback(Fixed()),
        stream=True,
        inner=httpx.HTTPTransport(limits=httpx.Limits(max_connections=1)),
    )
    with httpx.Client(transport=transport, timeout=5) as client:
        for _ in range(3):
            assert note(client.get(server.url + "/fault/status?body=down")) == "a fixed response, after 503"
