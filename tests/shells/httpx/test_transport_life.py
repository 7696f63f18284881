"""Where a transport cannot work, it says what to do: closed, in another loop, with a body that is gone."""

from __future__ import annotations

import asyncio
import io
import pickle
from typing import Any

import httpx
import pytest

import polvo_adapters as polvo
from polvo_adapters.policies.bulkhead import Bulkhead
from polvo_adapters.policies.retry import ExponentialBackoff
from polvo_adapters.testing import FailureServer
from polvo_adapters.transports import (
    AsyncPolicyTransport,
    AsyncResilientTransport,
    PolicyTransport,
    ResilientTransport,
)

RETRY = ExponentialBackoff(base=0.001)


def answer(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200)


def ask() -> httpx.Request:
    return httpx.Request("GET", "http://a.example/")


class TestClosed:
    def test_a_closed_transport_says_so(self) -> None:
        transport = PolicyTransport(RETRY, inner=httpx.MockTransport(answer))
        transport.close()
        with pytest.raises(polvo.ConfigurationError, match="this PolicyTransport is closed; make a new one") as caught:
            transport.handle_request(ask())
        assert isinstance(caught.value, httpx.RequestError)
        assert isinstance(caught.value, RuntimeError)  # as a closed client of httpx

    async def test_a_closed_asynchronous_transport_says_so(self) -> None:
        transport = AsyncPolicyTransport(RETRY, inner=httpx.MockTransport(answer))
        await transport.aclose()
        with pytest.raises(polvo.ConfigurationError, match="this AsyncPolicyTransport is closed"):
            await transport.handle_async_request(ask())

    def test_clients_one_after_the_other_may_share_it(self) -> None:
        transport = PolicyTransport(RETRY, inner=httpx.MockTransport(answer))
        for _ in range(2):
            with httpx.Client(transport=transport) as client:
                assert client.get("http://a.example/").status_code == 200

    def test_the_first_of_two_clients_that_ends_does_not_close_it_for_the_other(self) -> None:
        transport = PolicyTransport(RETRY, inner=httpx.MockTransport(answer))
        with httpx.Client(transport=transport) as client:
            with httpx.Client(transport=transport):
                pass
            assert client.get("http://a.example/").status_code == 200

    def test_what_is_below_is_entered_and_left(self) -> None:
        events: list[str] = []

        class Inner(httpx.MockTransport):
            def __enter__(self) -> Any:
                events.append("enter")
                return self

            def close(self) -> None:
                events.append("close")

        with httpx.Client(transport=PolicyTransport(inner=Inner(answer))):
            pass
        assert events == ["enter", "close"]


class TestEventLoops:
    def test_a_second_loop_is_refused_where_connections_belong_to_the_first(self, server: FailureServer) -> None:
        client = httpx.AsyncClient(transport=AsyncPolicyTransport(RETRY))

        async def get() -> int:
            return (await client.get(server.url + "/echo")).status_code

        first = asyncio.new_event_loop()
        assert first.run_until_complete(get()) == 200
        with pytest.raises(polvo.ConfigurationError, match="belong to another event loop; make a transport") as caught:
            asyncio.run(get())
        assert isinstance(caught.value, httpx.RequestError)
        first.run_until_complete(client.aclose())
        first.close()

    def test_a_second_loop_is_fine_without_connections(self, server: FailureServer) -> None:
        transport = AsyncPolicyTransport(RETRY)

        async def get() -> int:
            async with httpx.AsyncClient(transport=transport) as client:
                return (await client.get(server.url + "/echo")).status_code

        assert [asyncio.run(get()), asyncio.run(get())] == [200, 200]

    def test_what_has_no_connections_works_in_any_loop(self) -> None:
        client = httpx.AsyncClient(transport=AsyncPolicyTransport(RETRY, inner=httpx.MockTransport(answer)))

        async def get() -> int:
            return (await client.get("http://a.example")).status_code

        assert [asyncio.run(get()), asyncio.run(get())] == [200, 200]


class Unseekable(io.BytesIO):
    """A file like a pipe."""

    def seekable(self) -> bool:
        return False


def begun() -> io.BytesIO:
    """Return a file that is not at its beginning."""
    file = io.BytesIO(b"head: ab")
    file.seek(6)
    return file


class TestSpentBodies:
    """A redirect with 307 sends the body again; httpx would send an empty one, or break off in the middle."""

    def setup_method(self) -> None:
        self.seen: list[bytes] = []

    def send(self, content: Any) -> httpx.Response:
        class Inner(httpx.BaseTransport):
            def handle_request(_, request: httpx.Request) -> httpx.Response:
                self.seen.append(b"".join(request.stream))  # type: ignore[arg-type]
                there = request.url.path != "/"
                return httpx.Response(200) if there else httpx.Response(307, headers={"location": "/there"})

        client = httpx.Client(transport=PolicyTransport(RETRY, inner=Inner()), follow_redirects=True)
        return client.post("http://a.example/", content=content)

    @pytest.mark.parametrize("make", [lambda: (part for part in (b"a", b"b")), lambda: Unseekable(b"ab")])
    def test_a_body_that_is_gone_is_not_sent_as_an_empty_one(self, make: Any) -> None:
        with pytest.raises(
            polvo.ReplayError, match="was sent before, and cannot be read again; give `content` as"
        ) as caught:
            self.send(make())
        assert isinstance(caught.value, httpx.StreamConsumed)
        assert self.seen == [b"ab"]

    @pytest.mark.parametrize("make", [lambda: b"ab", lambda: [b"a", b"b"], lambda: io.BytesIO(b"ab"), lambda: begun()])
    def test_a_body_that_begins_anew_is_sent_again(self, make: Any) -> None:
        assert self.send(make()).status_code == 200
        assert self.seen == [b"ab", b"ab"]

    @pytest.mark.parametrize("policies", [(RETRY,), (polvo.hedge.Hedge(delay=0.001, budget=None), RETRY)])
    def test_a_file_is_rewound_before_it_is_sent_again(self, policies: Any, server: FailureServer) -> None:
        with httpx.Client(transport=PolicyTransport(*policies)) as client, polvo.call(labels={"job": "upload"}):
            response = client.put(server.url + "/fault/status?times=2", content=io.BytesIO(b"ab"))
        assert response.status_code == 200
        assert [record.body_length for record in server.requests] == [2] * 3

    def test_a_file_that_cannot_be_rewound_is_sent_once(self, server: FailureServer) -> None:
        with httpx.Client(transport=PolicyTransport(RETRY)) as client:
            response = client.put(server.url + "/fault/status?times=1", content=Unseekable(b"ab"))
        assert (response.status_code, len(server.requests)) == (503, 1)
        assert "the body can be read only once" in response.extensions["polvo"].note

    @pytest.mark.parametrize("make", [lambda: b"ab", lambda: io.BytesIO(b"ab")])
    def test_a_multipart_body_is_sent_again(self, make: Any, server: FailureServer) -> None:
        with httpx.Client(transport=PolicyTransport(RETRY)) as client:
            response = client.put(server.url + "/fault/status?times=1", files={"file": make()}, data={"a": "b"})
        assert response.status_code == 200
        first, second = (record.body_length for record in server.requests)
        assert first == second > 100

    async def test_a_multipart_body_of_a_task_is_sent_again(self, server: FailureServer) -> None:
        async with httpx.AsyncClient(transport=AsyncPolicyTransport(RETRY)) as client:
            response = await client.put(server.url + "/fault/status?times=1", files={"file": io.BytesIO(b"ab")})
        assert response.status_code == 200
        first, second = (record.body_length for record in server.requests)
        assert first == second > 100

    async def test_an_asynchronous_generator_is_sent_once(self) -> None:
        async def parts() -> Any:
            yield b"a"
            yield b"b"

        class Inner(httpx.AsyncBaseTransport):
            async def handle_async_request(_, request: httpx.Request) -> httpx.Response:
                self.seen.append(b"".join([part async for part in request.stream]))  # type: ignore[union-attr]
                there = request.url.path != "/"
                return httpx.Response(200) if there else httpx.Response(307, headers={"location": "/there"})

        client = httpx.AsyncClient(transport=AsyncPolicyTransport(RETRY, inner=Inner()), follow_redirects=True)
        with pytest.raises(polvo.ReplayError) as caught:
            await client.post("http://a.example/", content=parts())
        assert isinstance(caught.value, httpx.StreamConsumed)
        assert caught.value.request.url == "http://a.example/there"
        assert self.seen == [b"ab"]


class TestConstruction:
    @pytest.mark.parametrize(
        ("kind", "inner"),
        [
            (PolicyTransport, httpx.AsyncHTTPTransport),
            (PolicyTransport, httpx.HTTPTransport.__class__),
            (AsyncPolicyTransport, httpx.HTTPTransport),
            (AsyncPolicyTransport, polvo.PolicyAdapter),
        ],
    )
    def test_what_it_cannot_send_through_is_refused(self, kind: Any, inner: Any) -> None:
        for value in (inner, *([] if inner is type else [inner()])):
            with pytest.raises(TypeError, match="inner must be a transport with handle_"):
                kind(RETRY, inner=value)

    def test_keywords_of_the_transport_below_are_refused_beside_it(self) -> None:
        with pytest.raises(TypeError, match="http2 belong to the transport given as inner"):
            PolicyTransport(inner=httpx.MockTransport(answer), http2=True)

    @pytest.mark.parametrize("kind", [ResilientTransport, AsyncResilientTransport])
    def test_an_unknown_keyword_is_named(self, kind: Any) -> None:
        with pytest.raises(TypeError, match="there is no keyword deadlines; did you mean deadline"):
            kind(deadlines=3)

    def test_the_standard_stack_from_keywords(self, server: FailureServer) -> None:
        transport = ResilientTransport(deadline=5, retry={"base": 0.001}, rate_limit="adaptive", request_id=True)
        with httpx.Client(transport=transport) as client:
            response = client.get(server.url + "/fault/status?times=2")
        assert len(response.extensions["polvo"].attempts) == 3
        assert response.extensions["polvo"].request_id

    def test_a_large_bulkhead_has_a_large_pool(self) -> None:
        transport: Any = AsyncResilientTransport(bulkhead=300)
        assert transport.inner._pool._max_connections == 300


class TestErrors:
    def test_errors_of_policies_are_errors_of_httpx_with_their_report(self) -> None:
        transport = PolicyTransport(Bulkhead(1, acquisition_timeout=0), inner=httpx.MockTransport(answer), stream=True)
        client = httpx.Client(transport=transport)
        with client.stream("GET", "http://a.example/"), pytest.raises(httpx.PoolTimeout) as caught:
            client.get("http://a.example/")
        error: Any = caught.value
        assert isinstance(error, polvo.PoolTimeoutError)
        assert str(error.request.url) == "http://a.example/"
        assert error.polvo.attempts == []
        assert isinstance(pickle.loads(pickle.dumps(error)), polvo.PoolTimeoutError)

    def test_errors_of_httpx_come_out_as_they_are(self) -> None:
        def fail(request: httpx.Request) -> httpx.Response:
            raise httpx.ReadError("gone")

        client = httpx.Client(transport=PolicyTransport(RETRY, inner=httpx.MockTransport(fail)))
        with pytest.raises(httpx.ReadError, match="gone") as caught:
            client.get("http://a.example/")
        assert type(caught.value) is httpx.ReadError
        assert len(caught.value.polvo.attempts) == 3  # type: ignore[attr-defined]
