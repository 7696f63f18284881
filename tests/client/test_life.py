"""The life of a resilient client: first use, closing, event loops, forks, connections, TLS."""

from __future__ import annotations

import asyncio
import gc
import os
import ssl
import subprocess
import sys
import threading
import warnings
from typing import Any

import httpx
import pytest
import trustme

from polvo_adapters.client import BulkheadConfig, ClientConfig, ResilientClient, RetryConfig, create_resilient_client
from polvo_adapters.client.exceptions import APIConnectionError, ClientClosedError, MyAPIError
from polvo_adapters.testing import FailureServer
from tests.support.client_scenes import BASE, ScriptedServer, make_client

ONCE = RetryConfig(max_attempts=1)


async def test_it_is_opened_by_its_first_call_and_closed_by_the_block() -> None:
    client = make_client(ScriptedServer(200))
    assert "not used yet" in repr(client)
    assert (await client.get("/a")).status_code == 200
    async with client as same:
        assert same is client
        http = client._open()
    assert http.is_closed
    assert client.is_closed


async def test_it_is_closed_where_the_block_raises() -> None:
    with pytest.raises(ZeroDivisionError):
        async with create_resilient_client(ClientConfig(base_url=BASE)) as client:
            raise ZeroDivisionError
    assert client.is_closed


async def test_it_is_made_once_however_often_that_is_asked_for() -> None:
    client = make_client(ScriptedServer(200))
    await asyncio.gather(*[client._ensure_initialized() for _ in range(5)], client.get("/a"))
    http = client._open()
    await client._ensure_initialized()
    assert client._open() is http
    await client.close()


async def test_after_close_it_says_so() -> None:
    client = make_client(ScriptedServer(200))
    await client.get("/a")
    await client.close()
    await client.close()
    for use in (client.get("/a"), client._ensure_initialized(), client.__aenter__()):
        with pytest.raises(ClientClosedError, match="closed"):
            await use
    assert issubclass(ClientClosedError, (MyAPIError, RuntimeError))


async def test_one_that_was_never_used_can_be_closed() -> None:
    client = ResilientClient(ClientConfig(base_url=BASE))
    await client.aclose()
    with pytest.raises(ClientClosedError):
        await client.get("/a")


async def test_calls_under_way_end_when_it_is_closed() -> None:
    with FailureServer() as server:
        client = ResilientClient(ClientConfig(base_url=server.url, retry=RetryConfig(min_wait_seconds=0.01)))
        calls = [asyncio.create_task(client.get("/msg?delay=60000")) for _ in range(3)]
        while server.counters["received"] < 3:  # noqa: ASYNC110 - it counts in another thread
            await asyncio.sleep(0.005)
        await client.close()
        results = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 15)
        assert all(isinstance(each, MyAPIError) for each in results)
        assert server.counters["received"] == 3


def test_one_object_serves_one_loop_after_the_other() -> None:
    with FailureServer() as server:
        client = ResilientClient(
            ClientConfig(base_url=server.url, retry=ONCE, circuit_breaker={"failure_threshold": 1})
        )  # type: ignore[arg-type]

        async def use(client: ResilientClient) -> int:
            return (await client.get("/health")).status_code

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert [asyncio.run(use(client)) for _ in range(3)] == [200, 200, 200]
            asyncio.run(client.close())
            del client
            gc.collect()
    assert [str(each.message) for each in caught] == []


def test_one_that_is_dropped_in_its_loop_is_closed_by_that() -> None:
    with FailureServer() as server:

        async def use() -> httpx.AsyncClient:
            client = ResilientClient(ClientConfig(base_url=server.url, retry=ONCE))
            await client.get("/health")
            http = client._open()
            del client
            gc.collect()
            await asyncio.sleep(0.05)
            return http

        assert asyncio.run(use()).is_closed


def test_two_loops_at_a_time_are_refused() -> None:
    client, results = make_client(ScriptedServer(200)), list[Any]()

    async def use_in_a_thread() -> None:
        await client.get("/a")

        def run() -> None:
            try:
                asyncio.run(client.get("/a"))  # type: ignore[arg-type]
            except MyAPIError as error:
                results.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        while thread.is_alive():  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.001)
        await client.close()

    asyncio.run(use_in_a_thread())
    assert [type(each) for each in results] == [ClientClosedError]
    assert "another event loop" in str(results[0])


def test_under_trio_it_retries_waits_for_slots_and_closes() -> None:
    trio = pytest.importorskip("trio")
    retry = RetryConfig(min_wait_seconds=0.001, max_wait_seconds=30, jitter=False)
    outcomes: list[str] = []

    async def ask(client: ResilientClient, path: str) -> None:
        try:
            outcomes.append(str((await client.get(path)).status_code))
        except MyAPIError as error:
            outcomes.append(type(error).__name__)

    async def use(server: FailureServer, client: ResilientClient) -> Any:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(ask, client, "/msg?delay=10")
        response = await client.get(f"/fault/status?code=503&times=1&key={len(outcomes)}")
        assert len(response.extensions["polvo"].attempts) == 2
        http = client._open()
        await http.aclose()
        return http

    async def close(client: ResilientClient) -> None:
        with trio.fail_after(15):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask, client, "/fault/status?code=503&retry_after=28&key=b")
                await trio.sleep(0.1)
                await client.close()

    with FailureServer() as server:
        bulkhead = BulkheadConfig(max_concurrency=1)
        client = ResilientClient(ClientConfig(base_url=server.url, retry=retry, bulkhead=bulkhead))
        first = trio.run(use, server, client)
        assert trio.run(use, server, client) is not first  # each run has connections of its own
        assert outcomes == ["200"] * 6
        trio.run(close, client)
        assert outcomes[6:] == ["ServiceUnavailableError"]


FORK = """
import asyncio, os, sys
from polvo_adapters.client import ClientConfig, ResilientClient

client = ResilientClient(ClientConfig(base_url=sys.argv[1]))

async def main():
    assert (await client.get("/health")).status_code == 200
    child = os.fork()
    if child == 0:
        return "child"
    assert (await client.get("/health")).status_code == 200
    while not (done := os.waitpid(child, os.WNOHANG))[0]:
        await asyncio.sleep(0.01)
    assert done[1] == 0
    await client.close()
    return "parent"

def run_in_child():
    async def use():
        assert (await client.get("/health")).status_code == 200
        await client.close()
    asyncio.run(use())

loop = asyncio.new_event_loop()
if loop.run_until_complete(main()) == "child":
    run_in_child()
    os._exit(0)
loop.close()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_has_connections_of_its_own() -> None:
    with FailureServer() as server:
        done = subprocess.run(
            [sys.executable, "-c", FORK, server.url], capture_output=True, text=True, timeout=20, check=False
        )
    assert (done.returncode, done.stderr) == (0, "")


class TestConnections:
    @pytest.fixture
    def authority(self) -> trustme.CA:
        return trustme.CA()

    @pytest.fixture
    def secure(self, authority: trustme.CA) -> Any:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        with FailureServer(ssl_context=context) as server:
            yield server

    async def test_calls_in_a_row_use_one_connection(self, secure: FailureServer, authority: trustme.CA) -> None:
        context = ssl.create_default_context()
        authority.configure_trust(context)
        async with ResilientClient(ClientConfig(base_url=secure.url, verify_ssl=context)) as client:
            connections = set()
            for _ in range(30):
                stream = (await client.get("/health")).extensions["network_stream"]
                connections.add(stream.get_extra_info("client_addr"))
            assert len(connections) == 1
            assert secure.open_connections == 1

    async def test_an_authority_that_is_not_known_is_refused_once(self, secure: FailureServer) -> None:
        async with ResilientClient(ClientConfig(base_url=secure.url)) as client:
            with pytest.raises(APIConnectionError, match="certificate of the server is not trusted") as caught:
                await client.get("/health")
        assert caught.value.attempts == 1
        assert "verify_ssl" in str(caught.value)

    async def test_verification_can_be_switched_off(self, secure: FailureServer) -> None:
        async with ResilientClient(ClientConfig(base_url=secure.url, verify_ssl=False)) as client:
            assert (await client.get("/health")).status_code == 200

    async def test_as_many_calls_as_the_bulkhead_lets_through_have_a_connection_each(self) -> None:
        with FailureServer(max_concurrency=200) as server:
            bulkhead = BulkheadConfig(max_concurrency=120)
            async with ResilientClient(ClientConfig(base_url=server.url, bulkhead=bulkhead)) as client:
                await asyncio.gather(*[client.get("/msg?delay=1000") for _ in range(120)])
                assert server.open_connections == 120

    async def test_a_dropped_connection_is_survived_and_counts(self) -> None:
        retry = RetryConfig(min_wait_seconds=0.001, max_wait_seconds=0.01)
        with FailureServer() as server:
            config = ClientConfig(base_url=server.url, retry=retry, circuit_breaker={"failure_threshold": 2})  # type: ignore[arg-type]
            async with ResilientClient(config) as client:
                for fault in ("reset", "truncated", "cut-headers"):
                    response = await client.post(f"/fault/{fault}?times=2&key={fault}", json={})
                    assert len(response.extensions["polvo"].attempts) == 3
                for _ in range(2):
                    with pytest.raises(APIConnectionError, match="the connection broke"):
                        await client.get("/fault/reset")
                with pytest.raises(APIConnectionError, match="Circuit breaker is OPEN"):
                    await client.get("/health")


def test_without_httpx_it_says_what_to_install() -> None:
    code = "import sys; sys.modules['httpx'] = None; import polvo_adapters.client"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "python -m pip install 'polvo_adapters[httpx]'" in done.stderr.splitlines()[-1]
    assert "pip install -e '.[httpx]'" in done.stderr


LEAKS = """
import asyncio, sys
from polvo_adapters.client import ClientConfig, create_resilient_client

async def main():
    config = ClientConfig(base_url=sys.argv[1])
    for _ in range(10):
        async with create_resilient_client(config) as client:
            await client.get("/health")
    assert len(asyncio.all_tasks()) == 1
    assert "structlog" not in sys.modules

asyncio.run(main())
"""


def test_a_client_per_call_leaks_nothing() -> None:
    with FailureServer() as server:
        command = [sys.executable, "-W", "error", "-c", LEAKS, server.url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("variables", "url", "proxied"),
    [
        ({"HTTPS_PROXY": "http://proxy.example.com:3128"}, "https://api.example.com", True),
        ({"HTTPS_PROXY": "proxy.example.com:3128"}, "https://api.example.com", True),
        ({"HTTP_PROXY": "http://proxy.example.com:3128"}, "https://api.example.com", False),
        ({"ALL_PROXY": "http://proxy.example.com:3128"}, "http://api.example.com", True),
        ({"ALL_PROXY": "http://proxy.example.com", "NO_PROXY": "example.com"}, "http://api.example.com", False),
        ({"ALL_PROXY": "http://proxy.example.com", "NO_PROXY": "localhost, 10.0.0.1"}, "http://10.0.0.1", False),
        ({"ALL_PROXY": "http://proxy.example.com", "NO_PROXY": "::1"}, "http://[::1]:80", False),
        ({"ALL_PROXY": "http://proxy.example.com", "NO_PROXY": "*"}, "http://api.example.com", False),
        ({}, "http://api.example.com", False),
    ],
)
async def test_proxies_of_the_environment_are_used_as_httpx_uses_them(
    variables: dict[str, str], url: str, proxied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for scheme in ("HTTP", "HTTPS", "ALL", "NO"):
        monkeypatch.delenv(f"{scheme}_PROXY", raising=False)
        monkeypatch.delenv(f"{scheme.lower()}_proxy", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    def uses_proxy(transport: Any) -> bool:
        pool = getattr(transport, "inner", transport)._pool
        return "Proxy" in type(pool).__name__

    async with ResilientClient(ClientConfig(base_url=BASE)) as client, httpx.AsyncClient() as plain:
        assert uses_proxy(client._open()._transport_for_url(httpx.URL(url))) == proxied
        assert uses_proxy(plain._transport_for_url(httpx.URL(url))) == proxied
