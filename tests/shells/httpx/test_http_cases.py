"""What HTTP has besides: informational responses, HEAD, 204, HTTP/2, proxies, and suites that mock httpx."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx
import pytest

import polvo_adapters as polvo
from polvo_adapters.policies.bulkhead import Bulkhead
from polvo_adapters.policies.deadline import Deadline
from polvo_adapters.policies.retry import ExponentialBackoff
from polvo_adapters.policies.stack import standard
from polvo_adapters.shells.httpx.pools import keep_deadlines
from polvo_adapters.testing import FailureServer
from tests.support.accepting import stop_accepting
from tests.support.shells import SHELLS, AsyncHTTPXShell, HTTPXShell, RequestsShell, Shell
from tests.support.token_sharing import until

RETRY = ExponentialBackoff(base=0.001, jitter="none")
HTTPX_SHELLS = (HTTPXShell, AsyncHTTPXShell)
EVERYTHING = standard(
    retry=RETRY,
    deadline=10,
    circuit_breaker=True,
    bulkhead=1,
    idempotency={"record": True},
    fallback="stale",
    hedge=True,
    rate_limit="adaptive",
    request_id=True,
)


@contextmanager
def canned(*answers: bytes) -> Iterator[str]:
    """Serve answers as they are, one to a connection."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            for answer in answers:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        stop_accepting(listener, thread)


CASES: dict[str, tuple[str, bytes, int, bytes]] = {
    "103 before the answer": (
        "GET",
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        200,
        b"ok",
    ),
    "100 and 102 before it": (
        "POST",
        (
            b"HTTP/1.1 100 Continue\r\n\r\n"
            b"HTTP/1.1 102 Processing\r\n\r\n"
            b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"
        ),
        201,
        b"",
    ),
    "HEAD with a length": ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", 200, b""),
    "HEAD with an encoding": (
        "HEAD",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nContent-Encoding: gzip\r\n\r\n",
        200,
        b"",
    ),
    "204": ("DELETE", b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
    "204 with an encoding": ("GET", b"HTTP/1.1 204 No Content\r\nContent-Encoding: gzip\r\n\r\n", 204, b""),
    "304": ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", 304, b""),
    "without a length": ("GET", b"HTTP/1.0 200 OK\r\n\r\nto the end", 200, b"to the end"),
    "an unknown status": ("GET", b"HTTP/1.1 299 Fine\r\nContent-Length: 0\r\n\r\n", 299, b""),
}


UNKNOWN_TO_REQUESTS = ("103 before the answer", "100 and 102 before it")
"""What http.client takes for the answer, also without the library."""

KINDS_AND_CASES = [
    pytest.param(kind, name, id=f"{kind.name}-{name}")
    for kind in SHELLS
    for name in CASES
    if kind is not RequestsShell or name not in UNKNOWN_TO_REQUESTS
]


@pytest.mark.parametrize("policies", [(), (RETRY,), EVERYTHING], ids=["none", "retry", "everything"])
@pytest.mark.parametrize(("kind", "name"), KINDS_AND_CASES)
def test_what_has_no_usual_body_comes_through(kind: type[Shell], name: str, policies: Any) -> None:
    method, wire, status, body = CASES[name]
    with canned(wire) as url:
        shell = kind(*policies)
        answer = shell.call(method, url)
        shell.close()
    assert (answer.error, answer.status, answer.body) == (None, status, body)
    assert len(answer.report.attempts) == 1


@pytest.mark.parametrize(("kind", "name"), [pair for pair in KINDS_AND_CASES if CASES[pair.values[1]][0] == "GET"])
def test_a_streamed_one_gives_back_its_slot(kind: type[Shell], name: str) -> None:
    _, wire, status, _ = CASES[name]
    with canned(wire, wire) as url:
        shell = kind(RETRY, Bulkhead(1, acquisition_timeout=0))  # the server closes, which the pool may not know yet
        assert [shell.stream(url).status, shell.stream(url).status] == [status, status]
        shell.close()


@pytest.mark.parametrize("kind", HTTPX_SHELLS, ids=lambda kind: kind.name)
class TestProxies:
    def test_a_refused_tunnel_is_not_asked_for_again(self, kind: type[Shell]) -> None:
        with canned(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n") as proxy:
            shell = kind(RETRY, proxy=proxy)
            answer = shell.get("https://a.example/")
            shell.close()
        assert isinstance(answer.error, httpx.ProxyError)
        assert [attempt.failure for attempt in answer.report.attempts] == ["proxy refused"]

    def test_a_tunnel_that_could_not_be_made_is_asked_for_again(self, kind: type[Shell]) -> None:
        refusal = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
        with canned(refusal, refusal, refusal) as proxy:
            shell = kind(RETRY, proxy=proxy)
            answer = shell.call("POST", "https://a.example/", body=b"x")  # never sent
            shell.close()
        assert [attempt.failure for attempt in answer.report.attempts] == ["no connection"] * 3

    def test_mounts_have_policies_of_their_own(self, kind: type[Shell], server: FailureServer) -> None:
        url = "http://a.invalid/fault/status?times=2"
        shell = kind(RETRY, proxy=server.url)
        if isinstance(shell, HTTPXShell):
            with httpx.Client(mounts={"all://a.invalid": shell.below}, trust_env=False) as client:
                response = client.get(url)
        else:

            async def get() -> httpx.Response:
                async with httpx.AsyncClient(mounts={"all://a.invalid": shell.below}, trust_env=False) as client:
                    return await client.get(url)

            response = shell.loop.run_until_complete(get())  # type: ignore[attr-defined]
        shell.close()
        assert len(response.extensions["polvo"].attempts) == 3


class TestHTTP2:
    """Over TLS, against a server of the state machine that httpx itself speaks through."""

    @pytest.fixture(autouse=True)
    def needs_h2(self) -> None:
        pytest.importorskip("h2")

    async def test_calls_share_one_connection_and_are_retried_each_for_itself(self, h2_server: H2Server) -> None:
        transport = polvo.transports.AsyncPolicyTransport(RETRY, Deadline(10), http2=True, verify=h2_server.context)
        async with httpx.AsyncClient(transport=transport) as client:
            responses = await asyncio.gather(*[client.get(f"{h2_server.url}/{number}") for number in range(8)])
        assert {(response.http_version, response.status_code) for response in responses} == {("HTTP/2", 200)}
        assert [len(response.extensions["polvo"].attempts) for response in responses] == [2] * 8
        assert h2_server.connections <= 2

    def test_a_stream_that_the_server_resets_is_retried(self, h2_server: H2Server) -> None:
        transport = polvo.transports.PolicyTransport(RETRY, http2=True, verify=h2_server.context)
        with httpx.Client(transport=transport) as client:
            response = client.get(h2_server.url + "/reset")
        assert (response.http_version, response.status_code) == ("HTTP/2", 200)
        assert len(response.extensions["polvo"].attempts) == 2

    async def test_a_cancelled_call_leaves_the_connection_to_the_others(self, h2_server: H2Server) -> None:
        transport = polvo.transports.AsyncPolicyTransport(RETRY, http2=True, verify=h2_server.context)
        async with httpx.AsyncClient(transport=transport) as client:
            await client.get(h2_server.url + "/first")
            task = asyncio.create_task(client.get(h2_server.url + "/hang"))
            await asyncio.to_thread(until, lambda: "/hang" in h2_server._seen)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert (await client.get(h2_server.url + "/after")).status_code == 200
            assert h2_server.connections == 1

    async def test_the_end_of_a_call_leaves_its_connection_to_others_after_a_close(self, h2_server: H2Server) -> None:
        """Bare httpx uses a transport that was closed as if it was new."""
        inner = httpx.AsyncHTTPTransport(http2=True, verify=h2_server.context)
        keep_deadlines(inner)
        await inner.aclose()
        client = httpx.AsyncClient(transport=inner)
        other = asyncio.create_task(client.get(h2_server.url + "/hang"))
        await asyncio.to_thread(until, lambda: "/hang" in h2_server._seen)
        for _ in range(2):
            await client.get(h2_server.url + "/first")
        assert (other.done(), h2_server.connections) == (False, 1)
        other.cancel()
        await asyncio.wait([other])
        await client.aclose()


class H2Server:
    """A server of HTTP/2 which answers each path with 503 first and with 200 after that.

    Attributes:
        url: Its URL.
        context: The TLS context of clients that trust it.
        connections: How many connections there were.
    """

    def __init__(self) -> None:
        import ssl

        import trustme

        authority = trustme.CA()
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(self._tls)
        self._tls.set_alpn_protocols(["h2"])
        self.context = ssl.create_default_context()
        authority.configure_trust(self.context)
        self.connections, self._seen = 0, set[str]()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server: Any = self._run(asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls))
        self.url = f"https://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def _run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def close(self) -> None:
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        import h2.config
        import h2.connection
        import h2.events

        self.connections += 1
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        connection.initiate_connection()
        writer.write(connection.data_to_send())
        try:
            while data := await reader.read(65536):
                for event in connection.receive_data(data):
                    if isinstance(event, h2.events.RequestReceived):
                        self._answer(connection, event)
                writer.write(connection.data_to_send())
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    def _answer(self, connection: Any, event: Any) -> None:
        path = dict(event.headers)[b":path"].decode()
        is_new = path not in self._seen
        self._seen.add(path)
        if path == "/hang":
            return
        if path == "/reset" and is_new:
            connection.reset_stream(event.stream_id)
            return
        status = "503" if is_new else "200"
        connection.send_headers(event.stream_id, [(":status", status), ("content-length", "2")])
        connection.send_data(event.stream_id, b"ok", end_stream=True)


@pytest.fixture
def h2_server() -> Iterator[H2Server]:
    server = H2Server()
    try:
        yield server
    finally:
        server.close()


class TestMocks:
    """The patterns of respx and pytest-httpx, with our transports and with `polvo.install`."""

    CLIENTS: dict[str, Callable[[], httpx.Client]] = {
        "transport": lambda: httpx.Client(transport=polvo.transports.PolicyTransport(RETRY)),
        "resilient": lambda: httpx.Client(transport=polvo.transports.ResilientTransport(retry={"base": 0.001})),
        "installed": lambda: polvo.install(httpx.Client(), RETRY),
    }
    ASYNC_CLIENTS: dict[str, Callable[[], httpx.AsyncClient]] = {
        "transport": lambda: httpx.AsyncClient(transport=polvo.transports.AsyncPolicyTransport(RETRY)),
        "installed": lambda: polvo.install(httpx.AsyncClient(), RETRY),
    }

    @pytest.mark.parametrize("name", CLIENTS)
    def test_respx_with_the_fixture_and_side_effects(self, name: str) -> None:
        respx = pytest.importorskip("respx")
        with respx.mock(base_url="https://api.example.com") as mock:
            route = mock.get("/users/1").mock(
                side_effect=[httpx.Response(503), httpx.ConnectError, httpx.Response(200, json={"id": 1})]
            )
            with self.CLIENTS[name]() as client:
                response = client.get("https://api.example.com/users/1")
        assert response.json() == {"id": 1}
        assert route.call_count == 3
        assert len(response.extensions["polvo"].attempts) == 3

    @pytest.mark.parametrize("name", ASYNC_CLIENTS)
    async def test_respx_in_tasks(self, name: str) -> None:
        respx = pytest.importorskip("respx")
        async with respx.mock:
            route = respx.post("https://api.example.com/users", json={"name": "a"}) % 201
            async with self.ASYNC_CLIENTS[name]() as client:
                response = await client.post("https://api.example.com/users", json={"name": "a"})
        assert (response.status_code, route.called) == (201, True)
        assert response.extensions["polvo"].attempts

    def test_respx_as_a_transport_below(self) -> None:
        respx = pytest.importorskip("respx")
        router = respx.Router()
        router.get("https://api.example.com/").mock(side_effect=[httpx.Response(500), httpx.Response(204)])
        transport = polvo.transports.PolicyTransport(RETRY, inner=httpx.MockTransport(router.handler))
        with httpx.Client(transport=transport) as client:
            assert client.get("https://api.example.com/").status_code == 204

    @pytest.mark.parametrize("name", CLIENTS)
    def test_pytest_httpx(self, name: str, request: pytest.FixtureRequest) -> None:
        pytest.importorskip("pytest_httpx")
        mock = request.getfixturevalue("httpx_mock")
        mock.add_exception(httpx.ReadTimeout("slow"))
        mock.add_response(status_code=503, headers={"retry-after": "0"})
        mock.add_response(json={"id": 1}, url="https://api.example.com/users/1")
        with self.CLIENTS[name]() as client:
            response = client.get("https://api.example.com/users/1")
        assert response.json() == {"id": 1}
        assert len(mock.get_requests()) == 3
        assert len(response.extensions["polvo"].attempts) == 3

    @pytest.mark.parametrize("name", ASYNC_CLIENTS)
    async def test_pytest_httpx_in_tasks(self, name: str, request: pytest.FixtureRequest) -> None:
        pytest.importorskip("pytest_httpx")
        mock = request.getfixturevalue("httpx_mock")
        mock.add_exception(httpx.ConnectError("no"))
        mock.add_response(stream=pytest.importorskip("pytest_httpx").IteratorStream([b"a", b"b"]))
        async with self.ASYNC_CLIENTS[name]() as client:
            assert (await client.get("https://api.example.com/")).content == b"ab"
        assert len(mock.get_requests()) == 2
