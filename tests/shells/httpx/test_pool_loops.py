"""One asynchronous client in one event loop after the other, in two at a time, and in a forked process."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
import trio

import polvo_adapters as polvo
from polvo_adapters.client import ClientConfig, ResilientClient
from polvo_adapters.client.exceptions import ClientClosedError
from polvo_adapters.shells.httpx.pools import find_pool
from polvo_adapters.testing import FailureServer
from polvo_adapters.transports import AsyncPolicyTransport

CLIENTS: dict[str, Callable[[str], Any]] = {
    "session": lambda url: polvo.AsyncSession(url, retry=False),
    "transport": lambda url: httpx.AsyncClient(base_url=url, transport=AsyncPolicyTransport()),
    "installed": lambda url: polvo.install(httpx.AsyncClient(base_url=url), retry=False),
    "resilient client": lambda url: ResilientClient(ClientConfig(base_url=url)),
}
Get = Callable[[], Awaitable[int]]


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest, server: FailureServer) -> Any:
    return CLIENTS[request.param](server.url)


@pytest.fixture
def get(client: Any) -> Get:
    async def get_twice() -> int:
        return [(await client.get("/echo")).status_code for _ in range(2)][-1]

    return get_twice


@pytest.fixture(autouse=True)
def unraisable(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """List what the garbage collector finds unclosed."""
    found: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda event: found.append(event.exc_value))
    return found


def run(get: Get) -> int:
    return asyncio.run(get())  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_loop_that_was_closed_without_an_end_is_over(get: Get) -> None:
    statuses = []
    for _ in range(3):
        loop = asyncio.new_event_loop()
        statuses.append(loop.run_until_complete(get()))
        loop.close()
    assert [*statuses, run(get)] == [200] * 4
    gc.collect()  # what warns of the sockets of those loops, which nothing can close, is not for the next test


@pytest.mark.filterwarnings("error::ResourceWarning")
def test_one_loop_after_the_other(client: Any, get: Get, unraisable: list[Any]) -> None:
    assert [run(get), run(get), trio.run(get), trio.run(get), run(get)] == [200] * 5

    async def close() -> None:
        await client.aclose()

    asyncio.run(close())
    gc.collect()
    assert unraisable == []


def test_connections_are_kept_in_the_second_loop(client: Any, get: Get) -> None:
    async def count() -> int:
        await get()
        http = client._open() if isinstance(client, ResilientClient) else client
        pool = find_pool(http._transport)
        return len(pool.connections)

    assert [asyncio.run(count()), asyncio.run(count())] == [1, 1]


def test_two_loops_at_a_time(client: Any, get: Get) -> None:
    results: list[Any] = []

    def run_in_thread() -> None:
        try:
            results.append(run(get))
        except (polvo.ConfigurationError, ClientClosedError) as error:
            results.append(str(error))

    async def run_both() -> None:
        await get()
        thread = threading.Thread(target=run_in_thread)
        thread.start()
        await asyncio.to_thread(thread.join)
        assert await get() == 200
        await client.aclose()

    asyncio.run(run_both())
    assert len(results) == 1
    assert "another event loop" in results[0]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_process_has_connections_of_its_own(client: Any, get: Get) -> None:
    async def fork() -> int:
        await get()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                asyncio.events._set_running_loop(None)
                status = 0 if run(get) == 200 else 2
            finally:
                os._exit(status)
        _, status = await asyncio.to_thread(os.waitpid, child, 0)
        assert await get() == 200
        await client.aclose()
        return status

    assert asyncio.run(fork()) == 0
