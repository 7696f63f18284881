"""Under trio all works that httpx can do there; attempts are raced under asyncio only, and a transport says so."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

import polvo_adapters as polvo
from polvo_adapters.policies.breaker import CircuitBreaker
from polvo_adapters.policies.bulkhead import Bulkhead
from polvo_adapters.policies.deadline import Deadline
from polvo_adapters.policies.hedge import Hedge
from polvo_adapters.policies.idempotency import IdempotencyKeys
from polvo_adapters.policies.ratelimit import TokenBucket
from polvo_adapters.policies.regions import Regions
from polvo_adapters.policies.retry import ExponentialBackoff
from polvo_adapters.policies.stack import standard
from polvo_adapters.stores import MemoryStore
from polvo_adapters.testing import FailureServer
from polvo_adapters.transports import AsyncPolicyTransport

trio = pytest.importorskip("trio")

RETRY = ExponentialBackoff(base=0.02, jitter="none")
ALL_BUT_RACES = {"bulkhead": 2, "circuit_breaker": True, "idempotency": True, "request_id": True, "fallback": "stale"}


def run(act: Callable[[httpx.AsyncClient], Awaitable[Any]], *policies: Any, **keywords: Any) -> Any:
    async def main() -> Any:
        transport = AsyncPolicyTransport(*policies, **keywords)
        async with httpx.AsyncClient(transport=transport, timeout=10) as client:
            with trio.fail_after(20):
                return await act(client)

    return trio.run(main)


def test_retries_wait(server: FailureServer) -> None:
    response = run(lambda client: client.get(server.url + "/fault/status?times=2"), RETRY)
    assert (response.status_code, len(response.extensions["polvo"].attempts)) == (200, 3)


@pytest.mark.parametrize("fault", ["hang", "drip", "slow-headers"])
def test_a_deadline_ends_a_slow_answer(fault: str, server: FailureServer) -> None:
    url = f"{server.url}/fault/{fault}?size=500&interval=0.05"
    with pytest.raises(polvo.DeadlineExceeded) as caught:
        run(lambda client: client.get(url), Deadline(0.2), RETRY)
    assert isinstance(caught.value, httpx.TimeoutException)


def test_the_whole_stack_but_races(server: FailureServer) -> None:
    policies = standard(deadline=5, rate_limit=TokenBucket(rate=100, capacity=1), **ALL_BUT_RACES)  # type: ignore[arg-type]
    response = run(lambda client: client.post(server.url + "/fault/status?times=1", content=b"x"), *policies)
    assert response.status_code == 200


def test_a_slot_wakes_the_next_in_the_queue(server: FailureServer) -> None:
    async def act(client: httpx.AsyncClient) -> list[int]:
        statuses = []

        async def call() -> None:
            statuses.append((await client.get(server.url + "/echo")).status_code)

        async with trio.open_nursery() as nursery:
            for _ in range(6):
                nursery.start_soon(call)
        return statuses

    assert run(act, Bulkhead(1)) == [200] * 6


def test_a_thread_of_requests_wakes_a_task_of_trio(server: FailureServer) -> None:
    """The slot that a task waits for is given back on another thread, through the same store."""
    store, bulkhead = MemoryStore(), Bulkhead(1)
    session = polvo.install(polvo.Session(), bulkhead, store=store)

    async def act(client: httpx.AsyncClient) -> int:
        held = await trio.to_thread.run_sync(lambda: session.get(server.url + "/echo?size=3000000", stream=True))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, lambda: held.content)
            return (await client.get(server.url + "/echo")).status_code

    assert run(act, bulkhead, store=store) == 200
    session.close()


@pytest.mark.parametrize(
    "policies", [(), (RETRY,), (Deadline(30),), (Bulkhead(1),), (CircuitBreaker(),), (IdempotencyKeys(record=True),)]
)
@pytest.mark.parametrize("seconds", [0.0, 0.01, 0.05])
def test_a_scope_that_is_cancelled_leaves_nothing(policies: Any, seconds: float, server: FailureServer) -> None:
    async def act(client: httpx.AsyncClient) -> Any:
        for path in ("/fault/hang", "/fault/drip?size=500&interval=0.05", "/fault/status?retry_after=5"):
            with trio.move_on_after(seconds) as scope:
                await client.get(server.url + path)
            assert scope.cancelled_caught or path.endswith("retry_after=5")  # which is waited for by retries only
        pool = client._transport.inner._pool  # type: ignore[attr-defined]
        assert [each for each in pool.connections if not each.is_idle()] == []
        return await client.get(server.url + "/echo")

    assert run(act, *policies, limits=httpx.Limits(max_connections=1)).status_code == 200


def test_a_streamed_body_keeps_its_deadline_and_gives_back_its_slot(server: FailureServer) -> None:
    async def act(client: httpx.AsyncClient) -> int:
        with pytest.raises(polvo.DeadlineExceeded):
            async with client.stream("GET", server.url + "/fault/drip?size=500&interval=0.05") as response:
                await response.aread()
        return (await client.get(server.url + "/echo")).status_code

    assert run(act, Deadline(0.3), Bulkhead(1, acquisition_timeout=0), stream=True) == 200


@pytest.mark.parametrize("policy", [Hedge(delay=1, budget=None), Regions(["http://a.example"], mode="race")])
def test_races_are_refused_when_the_transport_is_made(policy: Any) -> None:
    with pytest.raises(polvo.ConfigurationError, match="attempts are raced in tasks of asyncio, and this is trio"):
        run(lambda client: client.get("http://a.example"), policy)


def test_races_are_refused_before_anything_is_sent(server: FailureServer) -> None:
    transport = AsyncPolicyTransport(Hedge(delay=1, budget=None))

    async def main() -> None:
        async with httpx.AsyncClient(transport=transport) as client:
            with pytest.raises(polvo.ConfigurationError, match="trio") as caught:
                await client.get(server.url)
            assert isinstance(caught.value, httpx.RequestError)
            with polvo.call(hedge=False):
                assert (await client.get(server.url + "/echo")).status_code == 200

    trio.run(main)
    assert len(server.requests) == 1


def test_regions_one_after_the_other_work(server: FailureServer) -> None:
    policy = Regions(["http://127.0.0.1:1", server.url])
    assert run(lambda client: client.get("http://127.0.0.1:1/echo"), policy).status_code == 200


def test_installed_policies_work(server: FailureServer) -> None:
    async def main() -> int:
        async with polvo.install(httpx.AsyncClient(), RETRY) as client:
            return (await client.get(server.url + "/fault/status?times=1")).status_code

    assert trio.run(main) == 200
