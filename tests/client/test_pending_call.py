"""What a verb returns: a coroutine to everything in asyncio, and a task to code that cancels what is left."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import warnings
from typing import Any

import anyio
import httpx
import pytest

from polvo_adapters.client import ResilientClient
from polvo_adapters.client.call_record import CallRecord
from polvo_adapters.client.exceptions import NotFoundError
from tests.support.client_scenes import ScriptedServer, make_client


async def hang(request: httpx.Request) -> httpx.Response:
    await asyncio.Event().wait()
    raise AssertionError("never")


def hanging(**settings: Any) -> tuple[ScriptedServer, ResilientClient]:
    server = ScriptedServer(hang)
    return server, make_client(server, **settings)


def refuse(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("no")


async def by_gather(client: ResilientClient) -> Any:
    return (await asyncio.gather(client.get("/a"), client.get("/a")))[1]


async def by_create_task(client: ResilientClient) -> Any:
    return await asyncio.create_task(client.get("/a"))


async def by_ensure_future(client: ResilientClient) -> Any:
    return await asyncio.ensure_future(client.get("/a"))


async def by_wait_for(client: ResilientClient) -> Any:
    return await asyncio.wait_for(client.get("/a"), 1)


async def by_shield(client: ResilientClient) -> Any:
    return await asyncio.shield(client.get("/a"))


async def by_as_completed(client: ResilientClient) -> Any:
    return await next(asyncio.as_completed([client.get("/a")]))


async def by_wait(client: ResilientClient) -> Any:
    done, _ = await asyncio.wait([asyncio.create_task(client.get("/a"))])
    return done.pop().result()


async def by_anyio(client: ResilientClient) -> Any:
    async with anyio.create_task_group() as group:
        group.start_soon(client.get, "/a")
    return await client.get("/a")


async def by_anyio_timeout(client: ResilientClient) -> Any:
    with anyio.fail_after(1):
        return await client.get("/a")


WAYS = [by_gather, by_create_task, by_ensure_future, by_wait_for, by_shield, by_as_completed, by_wait, by_anyio]


@pytest.mark.parametrize("way", [*WAYS, by_anyio_timeout], ids=lambda way: way.__name__)
async def test_it_is_awaited_like_any_coroutine(way: Any) -> None:
    async with make_client(ScriptedServer(200)) as client:
        assert (await way(client)).status_code == 200
    async with make_client(ScriptedServer(404)) as client:
        with pytest.raises(Exception if way is by_anyio else NotFoundError):  # anyio raises a group of them
            await way(client)


def test_it_can_be_made_before_there_is_a_loop() -> None:
    call = make_client(ScriptedServer(200)).get("/a")
    assert asyncio.run(call).status_code == 200  # type: ignore[arg-type]


async def test_calls_in_a_list_are_asked_and_cancelled_like_tasks() -> None:
    server, client = hanging()
    calls = [client.get("/a") for _ in range(3)]
    waiting = asyncio.gather(*calls, return_exceptions=True)
    await server.received(3)
    assert [call.done() for call in calls] == [False] * 3
    assert [call.cancel() for call in calls] == [True] * 3
    results = await waiting
    assert all(isinstance(each, asyncio.CancelledError) for each in results)
    assert [(call.done(), call.cancelled(), call.cancel()) for call in calls] == [(True, True, False)] * 3
    await client.close()


async def test_one_that_was_cancelled_before_it_began_sends_nothing() -> None:
    server = ScriptedServer(200)
    client = make_client(server)
    call = client.get("/a")
    assert call.cancel()
    assert call.done()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert server.requests == []


async def test_one_that_was_awaited_cannot_be_awaited_again() -> None:
    async with make_client(ScriptedServer(200)) as client:
        call = client.get("/a")
        await call
        assert (call.done(), call.cancelled()) == (True, False)
        with pytest.raises(RuntimeError, match="awaited already"):
            await call


async def test_one_that_is_never_awaited_sends_nothing_and_says_so() -> None:
    server = ScriptedServer(200)
    client = make_client(server)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        client.post("/a")
        gc.collect()
        await asyncio.sleep(0)
    assert [str(each.message) for each in caught] == ["coroutine 'ResilientClient.post' was never awaited"]
    assert server.requests == []


async def test_to_cancel_the_waiting_task_cancels_the_call() -> None:
    server, client = hanging(bulkhead={"max_concurrency": 1, "acquisition_timeout": 0})
    for _ in range(3):  # the slot is given back each time
        task = asyncio.create_task(client.get("/a"))
        await server.received(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(server.requests) == 1
        server.requests.clear()
    await client.close()


async def test_a_timeout_around_it_ends_it() -> None:
    server, client = hanging()
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(client.get("/a"), 0.01)
    assert len(server.requests) == 1
    await client.close()


async def test_an_attribute_of_the_response_says_to_await() -> None:
    call = make_client(ScriptedServer(200)).get("/a")
    with pytest.raises(AttributeError, match="await it"):
        call.status_code  # noqa: B018
    assert "ResilientClient.get, not begun" in repr(call)
    call.close()


async def test_no_cycle_keeps_an_error_alive() -> None:
    gc.collect()
    gc.disable()
    try:
        async with make_client(ScriptedServer(refuse), retry={"max_attempts": 1}) as client:
            with contextlib.suppress(Exception):
                await client.get("/cycle")
            assert [each for each in gc.get_objects() if type(each) is CallRecord and "/cycle" in each.url] == []
    finally:
        gc.enable()
