"""Retries, circuit breaker and bulkhead of the resilient client, in virtual time."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from polvo_adapters.client import ResilientClient, RetryConfig
from polvo_adapters.client.exceptions import (
    APIConnectionError,
    APIStatusError,
    CircuitBreakerOpenError,
    MyAPIError,
    PoolTimeoutError,
    ServerError,
)
from polvo_adapters.client.stack import make_retry
from tests.support.client_scenes import BASE, ScriptedServer, TaskClock, answer, make_client, names

METHODS = ("GET", "HEAD", "OPTIONS", "PUT", "DELETE", "POST", "PATCH")
RETRIED = [408, 429, 500, 501, 502, 503, 504, 505, 507, 520, 599]
FINAL = [400, 401, 402, 403, 404, 405, 406, 409, 410, 411, 412, 413, 414, 415, 418, 422, 425, 426, 428, 431, 451]
FAILURES = [
    httpx.ConnectError("refused"),
    httpx.ConnectTimeout("slow"),
    httpx.ReadTimeout("slow"),
    httpx.WriteTimeout("slow"),
    httpx.PoolTimeout("busy"),
    httpx.ReadError("reset"),
    httpx.WriteError("reset"),
    httpx.CloseError("reset"),
    httpx.RemoteProtocolError("gone"),
]


async def fail(client: ResilientClient, method: str = "GET", path: str = "/a") -> MyAPIError:
    with pytest.raises(MyAPIError) as caught:
        await client.request(method, path)
    return caught.value


class TestRetries:
    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("trouble", [*RETRIED, *FAILURES], ids=repr)
    async def test_what_may_be_cured_is_sent_again(self, trouble: Any, method: str) -> None:
        server = ScriptedServer(trouble, trouble, 200)
        async with make_client(server) as client:
            assert (await client.request(method, "/a")).status_code == 200
        assert len(server.requests) == 3
        assert len(set(server.ids)) == 1

    @pytest.mark.parametrize("status", FINAL)
    async def test_what_blames_the_caller_is_not(self, status: int) -> None:
        server = ScriptedServer(status)
        async with make_client(server) as client:
            assert isinstance(await fail(client), APIStatusError)
        assert len(server.requests) == 1

    @pytest.mark.parametrize("method", METHODS)
    async def test_the_switch_leaves_writes_alone_that_may_have_been_processed(self, method: str) -> None:
        async with make_client(ScriptedServer(500), retry=RetryConfig(retry_non_idempotent=False)) as client:
            error = await fail(client, method)
        is_write = method in ("POST", "PATCH")
        assert error.attempts == (1 if is_write else 3)
        assert ("retry_non_idempotent is False" in str(error)) == is_write

    async def test_the_last_failure_comes_out_with_the_count(self) -> None:
        async with make_client(ScriptedServer(500, 502, 501), retry=RetryConfig(max_attempts=3)) as client:
            error = await fail(client)
        assert type(error) is ServerError
        assert (error.status_code, error.attempts) == (501, 3)
        assert "501 Not Implemented after 3 attempts in" in str(error)
        assert "RetryConfig.max_attempts=3" in str(error)

    async def test_without_jitter_the_waits_are_exact(self) -> None:
        clock, retry = TaskClock(), RetryConfig(max_attempts=6, max_wait_seconds=5.0, jitter=False)
        async with make_client(ScriptedServer(500), clock, retry=retry) as client:
            await fail(client)
        assert clock.waits == [1.0, 2.0, 4.0, 5.0, 5.0]

    @pytest.mark.parametrize("multiplier", [1.0, 2.0, 3.0])
    @pytest.mark.parametrize("retry_after", [None, "0", "1", "30", "59", "60"])
    async def test_with_jitter_they_lie_between_the_bounds(self, retry_after: str | None, multiplier: float) -> None:
        clock, retry = TaskClock(), RetryConfig(max_attempts=30, multiplier=multiplier)
        headers = {} if retry_after is None else {"Retry-After": retry_after}
        async with make_client(ScriptedServer(answer(503, headers)), clock, retry=retry) as client:
            await fail(client)
        lowest = max(1.0, float(retry_after or 0))
        assert len(clock.waits) == 29
        assert lowest <= min(clock.waits)
        assert max(clock.waits) <= 60.0
        assert len(set(clock.waits)) > 20 or retry_after == "60"

    @pytest.mark.parametrize("status", [429, 503, 500, 408])
    async def test_a_retry_after_beyond_the_longest_wait_ends_the_call(self, status: int) -> None:
        clock = TaskClock()
        async with make_client(ScriptedServer(answer(status, {"Retry-After": "61"})), clock) as client:
            error = await fail(client)
        assert (clock.waits, error.attempts, error.retry_after) == ([], 1, 61.0)
        assert "RetryConfig.max_wait_seconds, 60 s" in str(error)

    async def test_a_429_is_sent_again_after_what_it_asks_for(self) -> None:
        clock, server = TaskClock(), ScriptedServer(answer(429, {"Retry-After": "7"}), 200)
        async with make_client(server, clock) as client:
            await client.post("/a")
        assert 7.0 <= clock.waits[0] <= 8.0

    async def test_a_call_that_failed_before_has_all_its_attempts_again(self) -> None:
        server = ScriptedServer(500)
        async with make_client(server) as client:
            for count in (3, 6, 9):
                await fail(client)
                assert len(server.requests) == count

    def test_the_example_of_high_throughput_waits_as_it_says(self) -> None:
        policy = make_retry(RetryConfig(max_attempts=2, min_wait_seconds=0.1, max_wait_seconds=1.0))
        assert (policy.max_attempts, policy.base, policy.cap, policy.budget) == (2, 0.1, 1.0, None)

    async def test_cancellation_ends_the_wait_between_attempts(self) -> None:
        class Frozen(TaskClock):
            async def sleep(self, seconds: float) -> None:  # type: ignore[override]
                self.waits.append(seconds)
                await asyncio.Event().wait()

        server, clock = ScriptedServer(500), Frozen()
        async with make_client(server, clock, bulkhead={"max_concurrency": 1, "acquisition_timeout": 0}) as client:
            for count in (1, 2):
                task = asyncio.create_task(client.get("/a"))
                await server.received(count)
                await asyncio.sleep(0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
        assert len(server.requests) == 2


async def test_cancelled_at_any_await_it_gives_everything_back() -> None:
    """One slot, one probe: what was not given back would refuse the call after it."""

    async def serve(request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(0)
        return httpx.Response(500 if request.url.path == "/bad" else 200)

    settings: dict[str, Any] = {
        "circuit_breaker": {"failure_threshold": 1},
        "bulkhead": {"max_concurrency": 1, "acquisition_timeout": 0},
    }
    turns = 0
    while True:
        clock = TaskClock()
        async with make_client(ScriptedServer(serve), clock, **settings) as client:
            await fail(client, path="/bad")  # opens the circuit
            clock.advance(31)
            probe = asyncio.create_task(client.get("/bad"))
            for _ in range(turns):
                await asyncio.sleep(0)
            was_done = not probe.cancel()
            await asyncio.gather(probe, return_exceptions=True)
            if was_done:
                break
            assert (await client.get("/good")).status_code == 200
            assert len(asyncio.all_tasks()) == 1
        turns += 1
    assert turns > 5


class TestCircuit:
    @pytest.mark.parametrize("trouble", [500, 503, 408, *FAILURES[:4], FAILURES[-1]], ids=repr)
    async def test_it_opens_after_so_many_calls_each_of_which_has_its_own_error(self, trouble: Any) -> None:
        server = ScriptedServer(trouble)
        async with make_client(server, circuit_breaker={"failure_threshold": 3, "recovery_timeout": 5.0}) as client:
            errors = [await fail(client) for _ in range(3)]
            assert not any(isinstance(error, CircuitBreakerOpenError) for error in errors)
            refused = await fail(client)
        assert isinstance(refused, CircuitBreakerOpenError)
        assert isinstance(refused, APIConnectionError)
        assert not isinstance(refused, ServerError)
        assert "Circuit breaker is OPEN" in str(refused)
        assert "failure_threshold" in str(refused)
        assert refused.retry_after is not None
        assert 0 < refused.retry_after <= 5.0
        assert (len(server.requests), refused.attempts) == (9, 0)

    async def test_a_success_between_counts_from_the_beginning(self) -> None:
        server = ScriptedServer(500, 500, 200, 500, 500, 200, 500, 500, 500)
        settings: dict[str, Any] = {"circuit_breaker": {"failure_threshold": 3}, "retry": {"max_attempts": 1}}
        async with make_client(server, **settings) as client:
            for _ in range(2):
                await fail(client)
                await fail(client)
                await client.get("/a")
            assert names([await fail(client) for _ in range(4)]) == ["ServerError"] * 3 + ["CircuitBreakerOpenError"]

    @pytest.mark.parametrize("status", [400, 401, 404, 409, 422, 429])
    async def test_what_blames_the_caller_never_counts(self, status: int) -> None:
        settings: dict[str, Any] = {"circuit_breaker": {"failure_threshold": 1}, "retry": {"max_attempts": 1}}
        async with make_client(ScriptedServer(status), **settings) as client:
            assert "CircuitBreakerOpenError" not in names([await fail(client) for _ in range(5)])

    async def test_one_probe_at_a_time_is_let_through(self) -> None:
        clock, go_on = TaskClock(), asyncio.Event()

        async def slow(request: httpx.Request) -> httpx.Response:
            await go_on.wait()
            return httpx.Response(200)

        server = ScriptedServer(500, slow)
        settings: dict[str, Any] = {"circuit_breaker": {"failure_threshold": 1}, "retry": {"max_attempts": 1}}
        async with make_client(server, clock, **settings) as client:
            await fail(client)
            clock.advance(29.9)
            assert isinstance(await fail(client), CircuitBreakerOpenError)
            clock.advance(0.2)
            calls = [asyncio.create_task(client.get("/a")) for _ in range(5)]
            await asyncio.wait(calls[1:], timeout=5)
            clock.advance(60)
            refused = await asyncio.wait_for(fail(client), 5)  # the probe is still under way
            assert isinstance(refused, CircuitBreakerOpenError)
            go_on.set()
            assert (await calls[0]).status_code == 200
            assert names(call.exception() for call in calls[1:]) == ["CircuitBreakerOpenError"] * 4
            assert (await client.get("/a")).status_code == 200
        assert len(server.requests) == 3

    async def test_a_probe_that_fails_opens_it_for_the_same_time_again(self) -> None:
        clock = TaskClock()
        settings: dict[str, Any] = {"circuit_breaker": {"failure_threshold": 1}, "retry": {"max_attempts": 1}}
        async with make_client(ScriptedServer(500), clock, **settings) as client:
            for _ in range(4):
                assert type(await fail(client)) is ServerError
                refused = await fail(client)
                assert isinstance(refused, CircuitBreakerOpenError)
                clock.advance(30.001)

    async def test_a_cancelled_probe_gives_way_to_another(self) -> None:
        clock = TaskClock()

        async def hang(request: httpx.Request) -> httpx.Response:
            await asyncio.Event().wait()
            raise AssertionError

        server = ScriptedServer(500, hang, 200)
        settings: dict[str, Any] = {"circuit_breaker": {"failure_threshold": 1}, "retry": {"max_attempts": 1}}
        async with make_client(server, clock, **settings) as client:
            await fail(client)
            clock.advance(31)
            call = asyncio.create_task(client.get("/a"))
            await server.received(2)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            assert (await client.get("/a")).status_code == 200

    async def test_a_redirect_to_what_fails_is_no_success(self) -> None:
        def serve(request: httpx.Request) -> httpx.Response:
            if request.url.path == "/new":
                return httpx.Response(500)
            return httpx.Response(307, headers={"Location": "/new"})

        settings: dict[str, Any] = {"circuit_breaker": {"failure_threshold": 3}, "retry": {"max_attempts": 1}}
        async with make_client(ScriptedServer(serve), **settings) as client:
            errors = [await fail(client, path="/old") for _ in range(4)]
        assert names(errors) == ["ServerError"] * 3 + ["CircuitBreakerOpenError"]

    async def test_each_host_has_its_own(self) -> None:
        settings: dict[str, Any] = {"circuit_breaker": {"failure_threshold": 1}, "retry": {"max_attempts": 1}}
        async with make_client(ScriptedServer(500, 200), **settings) as client:
            await fail(client)
            assert (await client.get("https://other.example.com/")).status_code == 200


class TestBulkhead:
    async def test_there_are_never_more_calls_under_way(self) -> None:
        now, most = 0, 0

        async def serve(request: httpx.Request) -> httpx.Response:
            nonlocal now, most
            now += 1
            most = max(most, now)
            await asyncio.sleep(0.001)
            now -= 1
            return httpx.Response(200)

        async with make_client(ScriptedServer(serve), bulkhead={"max_concurrency": 5}) as client:
            urls = ["/a" if number % 2 else f"{BASE}:8443/b" for number in range(40)]
            assert len(await asyncio.gather(*map(client.get, urls))) == 40
        assert most == 5

    async def test_a_long_queue_is_served_in_order(self) -> None:
        served: list[str] = []

        async def serve(request: httpx.Request) -> httpx.Response:
            served.append(request.url.path)
            await asyncio.sleep(0)
            return httpx.Response(200)

        paths = [f"/{number}" for number in range(500)]
        async with make_client(ScriptedServer(serve), bulkhead={"max_concurrency": 1}) as client:
            await asyncio.gather(*map(client.get, paths))
        assert served == paths

    async def test_a_call_without_a_slot_is_not_sent(self) -> None:
        server = ScriptedServer(lambda request: asyncio.sleep(0.05, httpx.Response(200)))
        async with make_client(server, bulkhead={"max_concurrency": 5, "acquisition_timeout": 0}) as client:
            results = await asyncio.gather(*[client.get("/a") for _ in range(10)], return_exceptions=True)
        refused = [each for each in results if isinstance(each, PoolTimeoutError)]
        assert (len(refused), len(server.requests)) == (5, 5)
        assert all(isinstance(each, (PoolTimeoutError, httpx.Response)) for each in results)
        assert not isinstance(refused[0], (APIConnectionError, APIStatusError))
        assert "bulkhead.max_concurrency" in str(refused[0])
        assert refused[0].attempts == 0

    async def test_an_open_circuit_is_said_at_once_although_there_is_no_slot(self) -> None:
        gate = asyncio.Event()

        async def slow(request: httpx.Request) -> httpx.Response:
            await gate.wait()
            return httpx.Response(500)

        settings: dict[str, Any] = {
            "circuit_breaker": {"failure_threshold": 1},
            "retry": {"max_attempts": 1},
            "bulkhead": {"max_concurrency": 1},
        }
        server = ScriptedServer(500, slow)
        async with make_client(server, **settings) as client:
            await fail(client)
            hanging = asyncio.create_task(client.get("https://other.example.com/"))
            await server.received(2)
            assert isinstance(await fail(client), CircuitBreakerOpenError)
            gate.set()
            await asyncio.gather(hanging, return_exceptions=True)
