"""Secrets in tasks: from providers with an asynchronous side, and from such as block."""

from __future__ import annotations

import asyncio
import pickle
import threading
import time
from functools import partial
from typing import Any

import pytest

import polvo_adapters as polvo
from polvo_adapters.errors import ConfigurationError, SecretError
from polvo_adapters.secrets import Fetched, Secret, first_of
from polvo_adapters.secrets.async_fetch import SharedTasks
from polvo_adapters.secrets.providers.base import BaseProvider
from polvo_adapters.testing.virtual_clock import VirtualClock
from tests.support.token_sharing import until

PATIENCE = 20.0


class Source(BaseProvider):
    """A provider with both sides, which counts."""

    scheme = "test"

    def __init__(self, seconds: float = 0.0, error: Exception | None = None) -> None:
        self.seconds, self.error = seconds, error
        self.blocking = self.awaited = self.renewed = self.ended = 0
        self.can_renew = False

    @property
    def asked(self) -> int:
        return self.blocking + self.awaited

    def _make(self) -> Fetched:
        if self.error is not None:
            raise self.error
        return Fetched(f"value-{self.asked}", 60.0)

    def fetch(self, name: str, field: str | None) -> Fetched:
        self.blocking += 1
        time.sleep(self.seconds)
        return self._make()

    async def fetch_async(self, name: str, field: str | None) -> Fetched:
        self.awaited += 1
        await asyncio.sleep(self.seconds)
        self.ended += 1
        return self._make()


async def test_tasks_await_the_asynchronous_side_once() -> None:
    source = Source(0.05)
    secret = Secret(source, "name")
    assert await asyncio.gather(*(secret.aget() for _ in range(20))) == ["value-1"] * 20
    assert (source.awaited, source.blocking) == (1, 0)
    assert secret.get() == "value-1"  # held for threads as well


async def test_tasks_and_threads_share_one_fetch() -> None:
    source = Source(0.1)
    secret = Secret(source, "name")
    in_threads = [asyncio.to_thread(secret.get) for _ in range(8)]
    in_tasks = [secret.aget() for _ in range(8)]
    assert await asyncio.gather(*in_tasks, *in_threads) == ["value-1"] * 16
    assert source.asked == 1


async def test_a_cancelled_task_leaves_the_fetch_to_the_others() -> None:
    source = Source(0.05)
    secret = Secret(source, "name")
    tasks = [asyncio.ensure_future(secret.aget()) for _ in range(3)]
    await asyncio.sleep(0.01)
    tasks[0].cancel()
    tasks[1].cancel()
    assert await tasks[2] == "value-1"
    assert (source.awaited, source.ended) == (1, 1)
    assert len(asyncio.all_tasks()) == 1


def test_a_loop_that_ends_on_the_way_leaves_the_fetch_to_others() -> None:
    source = Source(PATIENCE)
    secret = Secret(source, "name")

    async def give_up() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(secret.aget(), 0.05)

    asyncio.run(give_up())
    source.seconds = 0.0
    began = time.monotonic()
    assert secret.get() == "value-2"
    assert asyncio.run(secret.aget()) == "value-2"
    assert time.monotonic() - began < PATIENCE / 4


def test_it_is_refreshed_ahead_of_time_on_the_loop(clock: VirtualClock) -> None:
    source = Source()
    secret = Secret(source, "name", clock=clock, ttl=100.0)

    async def run() -> None:
        assert await secret.aget() == "value-1"
        clock.sleep(50.0)  # of 60, of which a quarter is for that
        assert await secret.aget() == "value-1"
        for _ in range(10):
            await asyncio.sleep(0)
        assert await secret.aget() == "value-2"

    asyncio.run(run())
    assert (source.awaited, source.blocking) == (2, 0)


async def test_a_refused_value_is_fetched_again_once() -> None:
    source = Source(0.01)
    secret = Secret(source, "name")
    held = await secret.acurrent()
    later = await asyncio.gather(*(secret.aafter(held) for _ in range(5)))
    assert {each and each.value for each in later} == {"value-2"}
    assert (source.awaited, source.blocking) == (2, 0)


@pytest.mark.parametrize("error", [SecretError("no", reason="denied"), RuntimeError("hush-text")])
async def test_errors_hold_nothing(error: Exception) -> None:
    secret = Secret(Source(error=error), "name")
    results = await asyncio.gather(*(secret.aget() for _ in range(3)), return_exceptions=True)
    assert len({id(each) for each in results}) == 3
    for each in results:
        assert isinstance(each, SecretError)
        assert "hush-text" not in f"{each!r} {each.__cause__!r} {each.__context__!r}"


async def test_a_fetch_ends_with_its_time() -> None:
    secret = Secret(Source(PATIENCE), "name", deadline=0.1)
    with pytest.raises(SecretError, match="timeout"):
        await secret.aget()


async def a_value() -> str:
    await asyncio.sleep(0)
    return "from a coroutine"


def test_a_coroutine_function_is_a_source() -> None:
    secret = Secret(a_value)
    assert asyncio.run(secret.aget()) == "from a coroutine"
    assert Secret(a_value).get() == "from a coroutine"  # no loop runs here

    async def wrong() -> None:
        with pytest.raises(ConfigurationError, match="aget"):
            Secret(a_value).get()

    asyncio.run(wrong())
    assert asyncio.run(Secret(lambda: a_value()).aget()) == "from a coroutine"  # on a loop of its own
    assert Secret(partial(a_value)).get() == "from a coroutine"
    assert asyncio.run(pickle.loads(pickle.dumps(secret)).aget()) == "from a coroutine"


def test_a_coroutine_function_in_an_auth_object_of_either_library() -> None:
    import httpx
    import requests

    auth = polvo.auth.bearer(Secret(a_value))
    assert requests.Request("GET", "https://a.test", auth=auth).prepare().headers["Authorization"].endswith("coroutine")

    async def run() -> str:
        seen = []
        transport = httpx.MockTransport(lambda request: seen.append(request) or httpx.Response(200))
        loop_bound = Secret(a_value)
        async with httpx.AsyncClient(auth=polvo.auth.bearer(loop_bound).httpx(), transport=transport) as client:
            await client.get("https://a.test")
        return str(seen[0].headers["Authorization"])

    assert asyncio.run(run()) == "Bearer from a coroutine"


async def test_the_first_source_that_has_it_in_tasks() -> None:
    loops: list[Any] = []

    async def second() -> str:
        loops.append(asyncio.get_running_loop())
        return "second"

    assert await Secret(first_of("env://POLVO_T_NOT_THERE", second)).aget() == "second"
    assert loops == [asyncio.get_running_loop()]
    with pytest.raises(SecretError, match="none of these"):
        await Secret(
            first_of("env://POLVO_T_NOT_THERE", Source(error=SecretError("no", reason="not found"))), "n"
        ).aget()
    with pytest.raises(SecretError, match="denied"):
        await Secret(first_of(Source(error=SecretError("denied", reason="denied")), second), "n").aget()


async def test_a_provider_that_blocks_is_asked_on_another_thread() -> None:
    threads: list[int] = []
    go_on = threading.Event()

    def function() -> str:
        threads.append(threading.get_ident())
        assert go_on.wait(PATIENCE)
        return "value"

    secret = Secret(function)
    tasks = [asyncio.ensure_future(secret.aget()) for _ in range(5)]
    await asyncio.to_thread(until, lambda: threads)
    go_on.set()
    assert await asyncio.gather(*tasks) == ["value"] * 5
    assert len(threads) == 1
    assert threads[0] != threading.get_ident()


def test_under_trio() -> None:
    trio = pytest.importorskip("trio")
    source = Source()

    async def fetch_async(name: str, field: str | None) -> Fetched:
        await trio.sleep(0.01)
        source.awaited += 1
        return Fetched("value")

    source.fetch_async = fetch_async  # type: ignore[method-assign]
    assert trio.run(Secret(source, "name").aget) == "value"
    assert trio.run(Secret(lambda: "other").aget) == "other"


async def test_a_task_that_is_over_is_not_joined() -> None:
    tasks, made = SharedTasks(), list[int]()

    async def make() -> int:
        made.append(1)
        return len(made)

    first = tasks.begin("key", make)
    await asyncio.sleep(0)
    assert first.done()
    assert await tasks.begin("key", make) == 2
    assert tasks._tasks == {}
