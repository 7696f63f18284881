"""Where a call has ended that was led away, how often it was tried, and what ends with its client."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import h11
import httpx
import pytest

import polvo_adapters as polvo
from polvo_adapters.client import BulkheadConfig, ClientConfig, ResilientClient, RetryConfig
from polvo_adapters.client.exceptions import (
    APIConnectionError,
    ClientClosedError,
    ClientConfigurationError,
    MyAPIError,
    NotFoundError,
)
from polvo_adapters.testing import FailureServer

TWICE = RetryConfig(max_attempts=2, min_wait_seconds=0, max_wait_seconds=0)
BEGIN = "GET https://api.example.com/a"


def _refuse(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused", request=request)


ENDS: list[tuple[str, Callable[[httpx.Request], httpx.Response], type[MyAPIError], str, int]] = [
    ("https://b.example/x?k=s3cret", _refuse, APIConnectionError, " → https://b.example/x: no connection (refused)", 2),
    ("/x?k=s3cret", lambda _: httpx.Response(404), NotFoundError, " → https://api.example.com/x: 404 Not Found", 1),
    ("/x", lambda r: httpx.Response(302, headers={"location": str(r.url)}), MyAPIError, "/x: too many redirects", 1),
    ("ftp://b.example/x", _refuse, MyAPIError, " → ftp://b.example/x: it is redirected to what cannot be asked", 1),
    ("https://b.example:port/x", _refuse, MyAPIError, ": the answer redirects to what is no URL", 0),
]


@pytest.mark.parametrize(("location", "answer", "kind", "text", "attempts"), ENDS, ids=[each[3] for each in ENDS])
async def test_an_error_names_the_place_that_a_redirect_led_to(
    location: str, answer: Callable[[httpx.Request], httpx.Response], kind: type[MyAPIError], text: str, attempts: int
) -> None:
    def respond(request: httpx.Request) -> httpx.Response:
        if request.url.scheme == "ftp":
            raise httpx.UnsupportedProtocol("Request URL has an unsupported protocol 'ftp://'.")
        if request.url.path == "/a":
            return httpx.Response(302, headers={"location": location})
        return answer(request)

    config = ClientConfig(base_url="https://api.example.com", retry=TWICE)
    async with ResilientClient(config, transport=httpx.MockTransport(respond)) as client:
        with pytest.raises(kind) as caught:
            await client.get("/a", params={"q": "s3cret"})
    error = caught.value
    assert str(error).startswith(BEGIN)
    assert text in str(error)
    assert "s3cret" not in str(error)
    assert not isinstance(error, ClientConfigurationError)  # the caller is not to blame
    assert (error.url, error.attempts) == ("https://api.example.com/a", attempts)


@pytest.mark.parametrize("url", ["", "/", "/a", "a", "?q=1", "/ä", "https://API.example.com/a", "/a#f", "/a b"])
async def test_a_call_that_was_not_led_away_has_one_place(url: str) -> None:
    config = ClientConfig(base_url="https://api.example.com/v1", retry=TWICE)
    async with ResilientClient(config, transport=httpx.MockTransport(lambda _: httpx.Response(404))) as client:
        with pytest.raises(NotFoundError) as caught:
            await client.get(url)
    assert "→" not in str(caught.value)


async def test_the_request_for_a_token_is_named() -> None:
    class Login(httpx.Auth):
        def auth_flow(self, request: httpx.Request):  # type: ignore[no-untyped-def]
            yield httpx.Request("POST", "https://login.example/token")
            yield request

    config = ClientConfig(base_url="https://api.example.com", retry=TWICE)
    async with ResilientClient(config, transport=httpx.MockTransport(_refuse)) as client:
        with pytest.raises(APIConnectionError, match=f"^{BEGIN} → https://login.example/token: no connection"):
            await client.get("/a", auth=Login())


async def test_an_answer_that_cannot_be_decoded_has_its_report() -> None:
    def respond(_: httpx.Request) -> httpx.Response:
        stream = httpx.ByteStream(b"no gzip")
        return httpx.Response(200, headers={"content-encoding": "gzip"}, stream=stream)

    config = ClientConfig(base_url="https://api.example.com", retry=TWICE)
    async with ResilientClient(config, transport=httpx.MockTransport(respond)) as client:
        with pytest.raises(MyAPIError, match="cannot be decoded after 1 attempt") as caught:
            await client.get("/a")
    assert caught.value.attempts == 1
    assert caught.value.polvo is not None


async def test_a_closed_client_ends_the_wait_for_a_slot_that_another_client_holds() -> None:
    held, store = asyncio.Event(), polvo.stores.MemoryStore()
    config = ClientConfig(base_url="https://api.example.com", retry=TWICE, bulkhead=BulkheadConfig(max_concurrency=1))

    async def hold(_: httpx.Request) -> httpx.Response:
        held.set()
        await asyncio.Event().wait()
        raise AssertionError

    transport = httpx.MockTransport(hold)
    holder, closed = (ResilientClient(config, transport=transport, store=store) for _ in range(2))
    holding = asyncio.ensure_future(holder.get("/a"))
    await held.wait()
    waiting = asyncio.ensure_future(closed.get("/b", request_id="r1"))
    for _ in range(100):  # turns of the loop, until it waits
        await asyncio.sleep(0)
    await closed.close()
    with pytest.raises(ClientClosedError, match=r"https://api\.example\.com: the client is closed") as caught:
        await asyncio.wait_for(waiting, 20)
    assert (caught.value.url, caught.value.request_id) == ("https://api.example.com/b", "r1")
    holding.cancel()
    await asyncio.wait([holding])
    await holder.close()


async def test_every_error_says_which_call_it_has_ended() -> None:
    client = ResilientClient(ClientConfig(base_url="https://api.example.com"))
    with pytest.raises(ClientConfigurationError) as refused:
        await client.get("/a", request_id="ä")
    assert "not '\\xe4'" in str(refused.value)
    await client.close()
    with pytest.raises(ClientClosedError) as closed:
        await client.get("/a", headers={"X-Request-ID": "r1"})
    for error in (refused.value, closed.value):
        assert (error.method, error.url, error.host) == ("GET", "https://api.example.com/a", "api.example.com")


@pytest.mark.parametrize("name", ["transport", "store", "clock"])
@pytest.mark.parametrize(
    "value", [5, "x", object(), httpx.HTTPTransport, httpx.HTTPTransport()], ids=lambda value: type(value).__name__
)
def test_what_a_client_is_made_of_is_checked_at_once(name: str, value: object) -> None:
    keywords: dict[str, Any] = {name: value}
    with pytest.raises(ClientConfigurationError, match=rf"ResilientClient.*{name}"):
        ResilientClient(ClientConfig(base_url="https://api.example.com"), **keywords)
    if name == "transport":
        with pytest.raises(TypeError, match=r"AsyncSession.*transport"):
            polvo.AsyncSession(transport=value)  # type: ignore[arg-type]


async def test_a_number_of_attempts_may_be_larger_than_every_float() -> None:
    config = ClientConfig(base_url="https://api.example.com", retry=RetryConfig(max_attempts=10**400))
    async with ResilientClient(config, transport=httpx.MockTransport(lambda _: httpx.Response(200))) as client:
        assert (await client.get("/a")).status_code == 200


@pytest.mark.parametrize("length", ["1", "9"])
async def test_a_length_that_is_not_that_of_the_body(server: FailureServer, length: str) -> None:
    """Httpx lets the exception of h11 through."""
    async with ResilientClient(ClientConfig(base_url=server.url, retry=TWICE)) as client:
        with pytest.raises(ClientConfigurationError, match=r"cannot be sent \(LocalProtocolError\)") as caught:
            await client.post("/echo", content=b"abc", headers={"Content-Length": length})
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "error", [ssl.SSLError(1, "bad record mac"), anyio.ClosedResourceError(), h11.RemoteProtocolError("x")]
)
async def test_what_httpx_lets_through_is_an_error_of_the_client(error: Exception) -> None:
    def fail(_: httpx.Request) -> httpx.Response:
        raise error

    async with ResilientClient(
        ClientConfig(base_url="https://api.example.com", retry=TWICE), transport=httpx.MockTransport(fail)
    ) as client:
        with pytest.raises(APIConnectionError, match="the connection broke") as caught:
            await client.get("/a")
    assert caught.value.__cause__ is error


async def test_what_the_caller_raises_comes_out() -> None:
    async def generate() -> AsyncIterator[bytes]:
        yield b"a"
        raise OSError("of the caller")

    transport = httpx.MockTransport(lambda _: httpx.Response(200))
    async with ResilientClient(ClientConfig(base_url="https://api.example.com"), transport=transport) as client:
        with pytest.raises(OSError, match="of the caller"):
            await client.post("/a", content=generate())


@pytest.mark.parametrize(
    ("auth", "expected"),
    [
        (polvo.auth.bearer("t"), "Bearer t"),
        (polvo.auth.bearer("t").httpx(), "Bearer t"),
        (("u", "p"), "Basic dTpw"),
        (None, None),
        (httpx.USE_CLIENT_DEFAULT, "Basic YTpi"),
    ],
)
async def test_auth_is_what_sessions_take(auth: object, expected: str | None) -> None:
    seen: list[str | None] = []

    def respond(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("authorization"))
        return httpx.Response(200)

    config = ClientConfig(base_url="https://a:b@api.example.com")
    async with ResilientClient(config, transport=httpx.MockTransport(respond)) as client:
        await client.get("/a", auth=auth)
        with pytest.raises(TypeError, match="auth: expected"):
            await client.get("/a", auth="u:p")
    assert seen == [expected]
