"""Verbs of the resilient client: what is sent, and what comes back."""

from __future__ import annotations

import asyncio
import inspect
import uuid
from collections.abc import AsyncIterator
from typing import Any
from unittest.mock import AsyncMock, Mock, create_autospec, patch

import httpx
import pytest

from polvo_adapters.client import ClientConfig, ResilientClient, TimeoutConfig, create_resilient_client
from polvo_adapters.client.exceptions import ClientConfigurationError, MyAPIError, NotFoundError
from polvo_adapters.testing import FailureServer
from tests.support.client_scenes import BASE, ScriptedServer, TaskClock, answer, make_client

VERBS = ("get", "post", "put", "patch", "delete", "head", "options")


@pytest.mark.parametrize("verb", VERBS)
async def test_every_verb_sends_its_method_below_the_base_url(verb: str) -> None:
    server = ScriptedServer(200)
    async with make_client(server, base_url=f"{BASE}/v1", user_agent="MyApp/1.0") as client:
        response = await getattr(client, verb)("/users", params={"q": "a b"}, headers={"X-A": "1"})
        again = await client.request(verb, "users")
    (first, second) = server.requests
    assert (first.method, str(first.url)) == (verb.upper(), f"{BASE}/v1/users?q=a+b")
    assert (second.method, str(second.url)) == (verb.upper(), f"{BASE}/v1/users")
    assert [each.headers["User-Agent"] for each in server.requests] == ["MyApp/1.0"] * 2
    assert (first.headers["X-A"], "X-A" in second.headers) == ("1", False)
    assert isinstance(response, httpx.Response)
    assert again.extensions["polvo"].request_id == second.headers["X-Request-ID"]


async def test_everything_that_httpx_takes_is_passed_on() -> None:
    server = ScriptedServer(200)
    async with make_client(server) as client:
        await client.post("/x", json={"name": "John"}, timeout=httpx.Timeout(30.0), extensions={"sni_hostname": "a"})
        await client.put("/x", content=b"12", auth=("user", "pw"), timeout=3.5)
        await client.post("/x", data={"a": "1"}, files={"f": b"bytes"}, timeout=TimeoutConfig(read=2.0))
        await client.get("/x", cookies=None)
    first, second, third, fourth = server.requests
    assert first.read() == b'{"name":"John"}'
    assert first.extensions["timeout"] == {"connect": 30.0, "read": 30.0, "write": 30.0, "pool": 30.0}
    assert first.extensions["sni_hostname"] == "a"
    assert second.headers["Authorization"].startswith("Basic ")
    assert second.extensions["timeout"]["read"] == 3.5
    assert third.headers["Content-Type"].startswith("multipart/form-data")
    assert third.extensions["timeout"]["read"] == 2.0
    assert fourth.extensions["timeout"] == {"connect": 60.0, "read": 15.0, "write": 15.0, "pool": 5.0}


async def test_redirects_are_followed_unless_that_is_off() -> None:
    to_b = answer(307, {"Location": f"{BASE}/b"})
    server = ScriptedServer(to_b, 200, to_b)
    async with make_client(server) as client:
        assert (await client.post("/a", json={})).status_code == 200
        assert (await client.get("/a", follow_redirects=False)).status_code == 307
    assert server.ids[0] == server.ids[1]
    assert [request.method for request in server.requests[:2]] == ["POST", "POST"]
    async with make_client(ScriptedServer(to_b), follow_redirects=False) as client:
        assert (await client.get("/a")).status_code == 307


async def test_the_password_of_the_base_url_goes_to_no_other_host() -> None:
    server = ScriptedServer(200)
    async with make_client(server, base_url="https://user:hunter22@api.example.com") as client:
        await client.get("/a")
        await client.get("https://other.example.com/a")
        await client.get("/a", headers={"Authorization": "Bearer mine"})
        await client.get("/a", auth=("other", "pw"))
        assert "hunter22" not in repr(client)
    own, other, with_header, with_auth = server.requests
    assert with_header.headers["Authorization"] == "Bearer mine"
    assert with_auth.headers["Authorization"] != own.headers["Authorization"]
    assert all("hunter22" not in repr(request) for request in server.requests)
    assert own.headers["Authorization"].startswith("Basic ")
    assert "Authorization" not in other.headers
    assert other.url.userinfo == b""


class TestRequestIDs:
    async def test_each_call_has_one_of_its_own_and_each_attempt_has_that(self) -> None:
        server = ScriptedServer(503, 503, 200, 503, 200)
        async with make_client(server) as client:
            await client.post("/a")
            await client.get("/b")
        assert [server.ids.count(each) for each in dict.fromkeys(server.ids)] == [3, 2]
        assert all(uuid.UUID(each).version == 4 for each in server.ids)

    async def test_one_that_is_given_is_sent_as_it_is(self) -> None:
        server = ScriptedServer(500, 200)
        async with make_client(server) as client:
            await client.get("/a", request_id="test-idempotent-123")
            await client.get("/a", request_id="test-idempotent-123")
        assert server.ids == ["test-idempotent-123"] * 3

    async def test_headers_of_the_caller_are_neither_changed_nor_overridden(self) -> None:
        server, headers = ScriptedServer(200), {"x-request-id": "mine", "Authorization": "Bearer token"}
        async with make_client(server) as client:
            await client.get("/a", headers=headers)
            await client.get("/a", headers=list(headers.items()), request_id="mine")
            with pytest.raises(ClientConfigurationError, match="another X-Request-ID"):
                await client.get("/a", headers=headers, request_id="other")
        assert server.ids == ["mine", "mine"]
        assert headers == {"x-request-id": "mine", "Authorization": "Bearer token"}

    @pytest.mark.parametrize("wrong", ["", " a", "a\r\nX: y", "ä", 7, uuid.UUID(int=1), b"a", "a\x7f"], ids=repr)
    async def test_one_that_cannot_be_sent_is_refused(self, wrong: Any) -> None:
        server = ScriptedServer(200)
        async with make_client(server) as client:
            with pytest.raises(ClientConfigurationError, match="request_id"):
                await client.get("/a", request_id=wrong)
        assert server.requests == []


class TestMocks:
    async def test_what_a_patched_request_returns_comes_out(self) -> None:
        with patch("httpx.AsyncClient.request") as mock_request:
            mock_response = Mock()
            mock_response.status_code = 200
            mock_request.return_value = mock_response
            async with create_resilient_client(ClientConfig(base_url="http://test")) as client:
                assert await client.get("/data") is mock_response
            assert mock_request.call_args.args == ("GET", "/data")

    async def test_a_mock_without_a_status_comes_out_as_well(self) -> None:
        with patch("httpx.AsyncClient.request", return_value=Mock()) as mock_request:
            async with create_resilient_client(ClientConfig(base_url="http://test")) as client:
                assert await client.post("/data", json={}) is mock_request.return_value

    async def test_the_status_of_a_mock_decides(self) -> None:
        with patch("httpx.AsyncClient.request", return_value=Mock(status_code=404)) as mock_request:
            async with create_resilient_client(ClientConfig(base_url="http://test")) as client:
                with pytest.raises(NotFoundError) as caught:
                    await client.get("/data")
        assert caught.value.response is mock_request.return_value
        assert "GET http://test/data: 404 Not Found" in str(caught.value)

    async def test_an_error_that_a_mock_raises_is_translated(self) -> None:
        with patch("httpx.AsyncClient.request", side_effect=httpx.ConnectError("no")):
            async with create_resilient_client(ClientConfig(base_url="http://test")) as client:
                with pytest.raises(MyAPIError, match="no connection"):
                    await client.get("/data")

    @pytest.mark.parametrize(
        "make", [lambda: AsyncMock(spec=ResilientClient), lambda: create_autospec(ResilientClient)]
    )
    async def test_a_mock_of_the_client_can_be_awaited(self, make: Any) -> None:
        client = make()
        client.get.return_value = "answer"
        client = client.return_value if isinstance(client, type) else client
        client.get.return_value = "answer"
        if hasattr(client.get, "await_count"):
            assert await client.get("/a") == "answer"
        assert asyncio.iscoroutinefunction(ResilientClient.get) or inspect.iscoroutinefunction(ResilientClient.get)

    async def test_answers_of_respx_are_retried(self) -> None:
        respx = pytest.importorskip("respx")
        with respx.mock(base_url=BASE) as mock:
            answers = [httpx.Response(503), httpx.ConnectError("no"), httpx.Response(200, json={"ok": 1})]
            route = mock.post("/a").mock(side_effect=answers)
            async with ResilientClient(ClientConfig(base_url=BASE), clock=TaskClock()) as client:
                assert (await client.post("/a", json={})).json() == {"ok": 1}
        assert route.call_count == 3


async def test_a_body_that_can_be_read_once_is_sent_once() -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"piece"

    server = ScriptedServer(503)
    async with make_client(server) as client:
        with pytest.raises(MyAPIError, match="the body can be read only once; pass bytes"):
            await client.post("/a", content=body())
    assert len(server.requests) == 1


async def test_what_the_body_of_the_caller_raises_comes_out() -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"piece"
        raise ZeroDivisionError

    with FailureServer() as server:
        async with ResilientClient(ClientConfig(base_url=server.url)) as client:
            with pytest.raises(ZeroDivisionError):
                await client.post("/echo", content=body())


async def test_two_clients_share_settings_and_a_store() -> None:
    from polvo_adapters.stores import MemoryStore

    clock = TaskClock()
    store = MemoryStore(now=clock.now)
    config = ClientConfig(base_url=BASE, circuit_breaker={"failure_threshold": 1}, retry={"max_attempts": 1})  # type: ignore[arg-type]
    transport = httpx.MockTransport(ScriptedServer(500).handle)
    first = ResilientClient(config, transport=transport, store=store, clock=clock)
    second = ResilientClient(config, transport=transport, store=store, clock=clock)
    with pytest.raises(MyAPIError, match="500"):
        await first.get("/a")
    with pytest.raises(MyAPIError, match="Circuit breaker is OPEN"):
        await second.get("/a")
    await first.close()
    await second.close()
