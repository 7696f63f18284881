"""One request that is sent several times at once, and a client that is closed while calls are under way."""

from __future__ import annotations

import asyncio
import gc
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

import polvo_adapters as polvo
from polvo_adapters.client import ClientConfig, ResilientClient, RetryConfig
from polvo_adapters.policies.deadline import Deadline
from polvo_adapters.policies.idempotency import IdempotencyKeys
from polvo_adapters.policies.request_ids import RequestIDs
from polvo_adapters.policies.retry import ExponentialBackoff
from polvo_adapters.testing import FailureServer
from polvo_adapters.transports import AsyncPolicyTransport, PolicyTransport
from tests.shells.httpx.test_cancellation import watch

MANY = 8
RETRY = ExponentialBackoff(max_attempts=3, base=0.01, jitter="none", budget=None)
POLICIES = (Deadline(5.0), IdempotencyKeys(), RequestIDs(), RETRY)
MAKE: dict[str, Callable[[Any], httpx.AsyncClient]] = {
    "transport": lambda inner: httpx.AsyncClient(transport=AsyncPolicyTransport(*POLICIES, inner=inner)),
    "session": lambda inner: polvo.AsyncSession(
        transport=inner, deadline=5.0, idempotency=True, request_id=True, retry=RETRY, circuit_breaker=None
    ),
    "installed": lambda inner: polvo.install(httpx.AsyncClient(transport=inner), *POLICIES),
}


class Received:
    """Refuses each call once, and notes what arrives."""

    def __init__(self) -> None:
        self.by_key: dict[str, list[str]] = {}
        self.timeouts: list[float] = []
        self._lock = threading.Lock()

    def take(self, request: httpx.Request) -> httpx.Response:
        with self._lock:
            self.timeouts.append(request.extensions["timeout"]["read"])
            ids = self.by_key.setdefault(request.headers["Idempotency-Key"], [])
            ids.append(request.headers["X-Request-ID"])
            return httpx.Response(503 if len(ids) == 1 else 200, content=request.content)

    async def take_async(self, request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(0.001)
        return self.take(request)


def check(received: Received, request: httpx.Request, given: dict[str, Any], responses: list[httpx.Response]) -> None:
    assert [(each.status_code, each.content) for each in responses] == [(200, b"order")] * MANY
    assert len(received.by_key) == MANY  # or the server would take several calls for one
    assert all(len(ids) == 2 and len(set(ids)) == 1 for ids in received.by_key.values())
    assert len({ids[0] for ids in received.by_key.values()}) == MANY
    assert request.extensions == given


@pytest.mark.parametrize("kind", MAKE)
async def test_one_request_may_be_sent_by_several_tasks_at_once(kind: str) -> None:
    received = Received()
    async with MAKE[kind](httpx.MockTransport(received.take_async)) as client:
        request = client.build_request("POST", "http://a.example/orders", content=b"order", timeout=9.0)
        given = dict(request.extensions)
        responses = await asyncio.gather(*(client.send(request) for _ in range(MANY)))
        check(received, request, given, responses)
        received.timeouts.clear()
        await client.send(request)
        assert min(received.timeouts) > 4.0  # not what another call had left


def test_and_by_several_threads() -> None:
    received = Received()
    transport = PolicyTransport(*POLICIES, inner=httpx.MockTransport(received.take))
    with httpx.Client(transport=transport) as client, ThreadPoolExecutor(MANY) as threads:
        request = client.build_request("POST", "http://a.example/orders", content=b"order", timeout=9.0)
        given = dict(request.extensions)
        check(received, request, given, list(threads.map(lambda _: client.send(request), range(MANY))))
    assert transport._flights == {}


def test_a_header_of_the_caller_stays_in_all_of_them() -> None:
    received = Received()
    with httpx.Client(transport=PolicyTransport(*POLICIES, inner=httpx.MockTransport(received.take))) as client:
        request = client.build_request("POST", "http://a.example/", headers={"Idempotency-Key": "mine"})
        with ThreadPoolExecutor(MANY) as threads:
            list(threads.map(lambda _: client.send(request), range(MANY)))
    assert list(received.by_key) == ["mine"]


def session(url: str) -> polvo.AsyncSession:
    return polvo.AsyncSession(url, bulkhead=1, retry=RETRY, verify=False)


def bare(url: str) -> httpx.AsyncClient:
    policies = (polvo.bulkhead.Bulkhead(1), RETRY)
    return httpx.AsyncClient(base_url=url, transport=AsyncPolicyTransport(*policies, verify=False))


@pytest.mark.parametrize("make", [session, bare])
def test_calls_under_way_open_no_connection_of_a_client_that_is_closed(make: Any, server: FailureServer) -> None:
    async def main() -> list[Any]:
        client = make(server.url)
        calls = [asyncio.ensure_future(client.get("/fault/slow-headers?interval=0.02")) for _ in range(3)]
        while not server.requests:  # noqa: ASYNC110 - the server is no task
            await asyncio.sleep(0.005)
        await client.aclose()
        return await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 5)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        results = asyncio.run(main())
        gc.collect()
    assert [str(each.message) for each in caught] == []
    assert isinstance(results[0], httpx.TransportError)
    assert all(isinstance(each, polvo.errors.SessionClosedError) for each in results[1:])
    assert all(isinstance(each, httpx.HTTPError) for each in results[1:])
    assert len(server.requests) == 1


def test_a_transport_that_is_closed_makes_no_further_attempt() -> None:
    received = []

    def answer(request: httpx.Request) -> httpx.Response:
        received.append(request)
        transport.close()
        raise httpx.ReadError("gone")

    transport = PolicyTransport(RETRY, inner=httpx.MockTransport(answer))
    with pytest.raises(httpx.ReadError):
        httpx.Client(transport=transport).get("http://a.example")
    assert len(received) == 1


def resilient(url: str) -> ResilientClient:
    return ResilientClient(ClientConfig(base_url=url, verify_ssl=False, retry=RetryConfig(max_attempts=1)))


@pytest.mark.parametrize("make", [session, bare, resilient])
def test_a_client_that_is_closed_at_any_await_of_a_call_leaves_no_connection_open(
    make: Any, server: FailureServer
) -> None:
    async def main(number: int) -> bool:
        client, closing = make(server.url), list[asyncio.Task[None]]()

        def on_suspend(current: int) -> None:
            if current == number:
                closing.append(asyncio.get_running_loop().create_task(client.aclose()))

        async def call() -> None:
            await watch(client.get("/echo"), on_suspend)

        await asyncio.wait([asyncio.ensure_future(call())])
        await (closing[0] if closing else client.aclose())
        return bool(closing)

    number, is_reached = 0, True
    while is_reached:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            is_reached = asyncio.run(main(number))
            gc.collect()
        assert ([str(each.message) for each in caught], number) == ([], number)
        number += 1
    assert number > 2


async def test_a_transport_that_is_entered_again_keeps_its_connections(server: FailureServer) -> None:
    transport = AsyncPolicyTransport(verify=False)
    for _ in range(2):
        async with httpx.AsyncClient(transport=transport) as client:
            for _ in range(3):
                await client.get(server.url + "/echo")
            assert len(transport.inner._pool.connections) == 1
