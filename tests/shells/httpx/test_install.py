"""`polvo.install` and `polvo.uninstall` for clients of httpx that exist."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from typing import Any

import httpx
import pytest

import polvo_adapters as polvo
from polvo_adapters.policies.retry import ExponentialBackoff
from polvo_adapters.shells.httpx.url_prefix import URLPrefix
from polvo_adapters.stores import MemoryStore
from polvo_adapters.testing import FailureServer
from polvo_adapters.transports import PolicyTransport

RETRY = {"base": 0.001}


class Flaky:
    """A transport that answers 503 before it answers 200, and names itself."""

    def __init__(self, name: str = "own", failures: int = 2) -> None:
        self.name, self.failures = name, failures

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.failures -= 1
        return httpx.Response(503 if self.failures >= 0 else 200, headers={"x-transport": self.name})


def mock(name: str = "own", failures: int = 2) -> httpx.MockTransport:
    return httpx.MockTransport(Flaky(name, failures))


@pytest.fixture(params=["sync", "async"])
def make(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Return a function that makes a client of either kind."""
    return httpx.Client if request.param == "sync" else httpx.AsyncClient


def get(client: Any, url: str = "http://a.example/") -> httpx.Response:
    if isinstance(client, httpx.Client):
        return client.get(url)
    response: httpx.Response = asyncio.run(client.get(url))
    return response


def count(response: httpx.Response) -> int:
    return len(response.extensions["polvo"].attempts) if "polvo" in response.extensions else 0


def test_a_client_in_use_becomes_resilient_and_is_given_back_as_it_was(make: Any) -> None:
    client = make(transport=mock())
    before, transport, mounts = set(vars(client)), client._transport, client._mounts
    assert polvo.install(client, retry=RETRY) is client
    assert count(get(client)) == 3
    assert polvo.uninstall(client) is client
    assert (set(vars(client)), client._transport, client._mounts) == (before, transport, mounts)
    assert count(get(client)) == 0


def test_mounts_are_wrapped_each_for_itself(make: Any) -> None:
    client = polvo.install(
        make(transport=mock("own"), mounts={"http://b.example": mock("b"), "https://": mock("secure")}), retry=RETRY
    )
    for url, name in (("http://a.example", "own"), ("http://b.example", "b"), ("https://a.example", "secure")):
        response = get(client, url)
        assert (response.headers["x-transport"], count(response)) == (name, 3)


def test_what_is_mounted_later_is_wrapped_too(make: Any) -> None:
    client = polvo.install(make(transport=mock("own")), retry=RETRY)
    client._transport = mock("later")
    response = get(client)
    assert (response.headers["x-transport"], count(response)) == ("later", 3)
    polvo.uninstall(client)
    assert get(client).headers["x-transport"] == "later"


def test_proxies_of_the_environment_stay(make: Any, monkeypatch: pytest.MonkeyPatch, server: FailureServer) -> None:
    monkeypatch.setenv("HTTP_PROXY", server.url)
    client = polvo.install(make(), retry=RETRY)

    async def get_and_close() -> httpx.Response:
        async with client:
            response: httpx.Response = await client.get(url)
            return response

    url = "http://unknown.invalid/fault/status?times=1"
    if isinstance(client, httpx.Client):
        with client:
            response = client.get(url)
    else:
        response = asyncio.run(get_and_close())
    assert (response.status_code, count(response)) == (200, 2)


def test_a_prefix_covers_what_is_below_it_and_nothing_else(make: Any) -> None:
    client = polvo.install(make(transport=mock(failures=0)), prefix="http://a.example/v1/", retry=RETRY)
    assert count(get(client, "http://a.example/v1/things")) == 1
    for url in ("http://a.example/v2/", "http://b.example/v1/", "https://a.example/v1/"):
        assert count(get(client, url)) == 0


def test_installing_twice_replaces(make: Any) -> None:
    client = polvo.install(make(transport=mock(failures=9)), retry={"base": 0.001, "max_attempts": 2})
    polvo.install(client, ExponentialBackoff(base=0.001, max_attempts=4))
    assert count(get(client)) == 4


def test_the_longest_prefix_counts_and_a_shorter_one_replaces_it(make: Any) -> None:
    client = make(transport=mock(failures=99))
    polvo.install(client, retry={"base": 0.001, "max_attempts": 2})
    polvo.install(client, prefix="http://a.example/", retry={"base": 0.001, "max_attempts": 3})
    assert (count(get(client)), count(get(client, "http://b.example/"))) == (3, 2)
    polvo.install(client, retry=False)
    assert count(get(client)) == 1


def test_a_client_of_both_kinds_shares_one_store() -> None:
    store = MemoryStore()
    limit = polvo.ratelimit.TokenBucket(rate=0.001, capacity=1)
    wait = polvo.deadline.Deadline(0.05)
    first = polvo.install(httpx.Client(transport=mock(failures=0)), wait, limit, store=store)
    second = polvo.install(httpx.AsyncClient(transport=mock(failures=0)), wait, limit, store=store)
    assert get(first).status_code == 200
    with pytest.raises(polvo.RateLimitError):
        get(second)


def test_retries_of_a_transport_below_do_not_multiply() -> None:
    inner = PolicyTransport(ExponentialBackoff(base=0.001, max_attempts=4), inner=mock(failures=99))
    client = polvo.install(httpx.Client(transport=inner), retry={"base": 0.001, "max_attempts": 3})
    assert count(client.get("http://a.example")) == 3
    polvo.install(client)
    assert count(client.get("http://a.example")) == 4  # those of the transport, taken over
    polvo.install(client, polvo.deadline.Deadline(5))
    assert client.get("http://a.example").status_code == 503


def test_streams_are_streamed_and_the_others_are_read(server: FailureServer) -> None:
    url = server.url + "/fault/drip?size=1000&interval=0.5"
    with polvo.install(httpx.Client()) as client:
        with client.stream("GET", url) as response:
            assert next(response.iter_raw())
        assert client.get(server.url + "/fault/truncated?times=1").status_code == 200


async def test_streams_of_tasks_are_streamed_too(server: FailureServer) -> None:
    url = server.url + "/fault/drip?size=1000&interval=0.5"
    async with polvo.install(httpx.AsyncClient()) as client:
        async with client.stream("GET", url) as response:
            async for part in response.aiter_raw():
                assert part
                break
        assert (await client.get(server.url + "/fault/truncated?times=1")).status_code == 200


def test_an_installation_keeps_no_client_alive() -> None:
    client = polvo.install(httpx.Client(transport=mock()))
    gone = weakref.ref(client)
    gc.collect()
    gc.disable()
    try:
        del client
        assert gone() is None
    finally:
        gc.enable()


def test_uninstalling_what_has_none_changes_nothing(make: Any) -> None:
    client = make(transport=mock())
    before = dict(vars(client))
    assert polvo.uninstall(client) is client
    assert vars(client) == before


@pytest.mark.parametrize("value", [httpx.Client, httpx.AsyncClient, httpx, None, "https://a.example"])
def test_what_is_no_client_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="a client of httpx will do as well"):
        polvo.install(value)


def test_what_cannot_work_is_said_at_once() -> None:
    client = httpx.Client(transport=mock())
    with pytest.raises(TypeError, match="did you mean circuit_breaker"):
        polvo.install(client, circuit_braker=True)
    with pytest.raises(polvo.ConfigurationError, match="has no scheme"):
        polvo.install(client, prefix="a.example")
    assert count(get(client)) == 0


@pytest.mark.parametrize(
    ("prefix", "url", "is_match"),
    [
        ("", "http://a.example", True),
        ("all://", "https://a.example/x", True),
        ("https://", "http://a.example", False),
        ("https://a.example", "https://a.example:443/x", True),
        ("https://A.example", "https://a.example/x", True),
        ("https://a.example:443/", "https://a.example/", True),
        ("https://a.example:8443", "https://a.example/", False),
        ("https://a.example", "https://b.a.example/", False),
        ("all://*.example", "http://a.example/", True),
        ("all://*.example", "http://example/", False),
        ("all://*a.example", "http://a.example/", True),
        ("all://*a.example", "http://b.a.example/", True),
        ("all://*a.example", "http://ba.example/", False),
        ("https://a.example/v1/", "https://a.example/v1/x", True),
        ("https://a.example/v1/", "https://a.example/v10", False),
    ],
)
def test_prefixes_are_patterns_of_httpx_with_a_path(prefix: str, url: str, is_match: bool) -> None:
    assert URLPrefix(prefix).matches(httpx.URL(url)) is is_match


class TestClosing:
    """A call under way makes no further attempt: nothing would close the connection that it opens."""

    async def test_a_client_of_tasks(self) -> None:
        attempts: list[str] = []
        failed, closed = asyncio.Event(), asyncio.Event()

        async def fail(request: httpx.Request) -> httpx.Response:
            attempts.append(request.url.path)
            failed.set()
            await closed.wait()
            raise httpx.ReadError("the pool was closed")

        client = polvo.install(httpx.AsyncClient(transport=httpx.MockTransport(fail)), retry={"base": 0.001})
        async with client:
            call = asyncio.ensure_future(client.get("https://api.example.com/a"))
            await failed.wait()
        closed.set()
        with pytest.raises(httpx.ReadError) as caught:
            await call
        assert attempts == ["/a"]
        assert "the client was closed meanwhile" in str(caught.value.polvo)  # type: ignore[attr-defined]

    def test_a_client_of_threads(self) -> None:
        attempts: list[str] = []

        def fail(request: httpx.Request) -> httpx.Response:
            attempts.append(request.url.path)
            client.close()
            raise httpx.ReadError("the pool was closed")

        client = polvo.install(httpx.Client(transport=httpx.MockTransport(fail)), retry={"base": 0.001})
        with pytest.raises(httpx.ReadError):
            client.get("https://api.example.com/a")
        assert attempts == ["/a"]
