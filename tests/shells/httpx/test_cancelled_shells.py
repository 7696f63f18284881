"""Each client and each auth object, over real connections, cancelled at every single await of a call.

One client serves all the calls of a scene, with one slot and two connections, so that anything which a cancelled call
keeps is missed by the next one.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

import polvo_adapters as polvo
from polvo_adapters.auth import OAuth2
from polvo_adapters.client import BulkheadConfig, ClientConfig, RetryConfig, create_resilient_client
from polvo_adapters.policies.regions import Regions
from polvo_adapters.secrets import Secret
from polvo_adapters.shells.httpx.pools import find_pool
from polvo_adapters.stores import SQLiteStore
from polvo_adapters.testing import FailureServer
from tests.shells.httpx.test_cancellation import MOST, watch, watch_tasks

Call = Callable[[Any], Awaitable[object]]
RETRY = {"max_attempts": 3, "base": 0.002, "jitter": "none", "budget": None}
STACK: dict[str, Any] = {
    "retry": RETRY,
    "bulkhead": {"max_concurrency": 1, "acquisition_timeout": 0.5},
    "deadline": 20,
    "circuit_breaker": True,
    "request_id": True,
    "limits": httpx.Limits(max_connections=2),
    "verify": False,  # certificates of authorities are not needed, and take long to be read
}
_names = count()


def fail_once(what: str = "status?") -> str:
    """Return the path of a fault that is over after the first request."""
    return f"/fault/{what}&times=1&key=c{next(_names)}"


# Clients --------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def session(url: str, **keywords: Any) -> AsyncIterator[Any]:
    async with polvo.AsyncSession(url, **{**STACK, **keywords}) as client:
        yield client


@asynccontextmanager
async def with_file(url: str, path: Path) -> AsyncIterator[Any]:
    store = SQLiteStore(path / "store")
    async with session(url, store=store, idempotency={"record": True}) as client:
        yield client
    store.close()


@asynccontextmanager
async def installed(url: str) -> AsyncIterator[Any]:
    keywords = {**STACK}
    client = httpx.AsyncClient(base_url=url, verify=keywords.pop("verify"), limits=keywords.pop("limits"))
    async with polvo.install(client, polvo.retry.ExponentialBackoff(**RETRY), polvo.bulkhead.Bulkhead(1)):
        yield client


@asynccontextmanager
async def resilient(url: str) -> AsyncIterator[Any]:
    retry = RetryConfig(min_wait_seconds=0.002, max_wait_seconds=0.002)
    bulkhead = BulkheadConfig(max_concurrency=1, acquisition_timeout=5.0)
    async with create_resilient_client(
        ClientConfig(base_url=url, retry=retry, bulkhead=bulkhead, verify_ssl=False)
    ) as client:
        yield client


class Rotated:
    """A provider whose secret is another one each time, and that takes a moment."""

    scheme = "rotated"

    def fetch(self, name: str, field: str | None) -> polvo.secrets.Fetched:
        time.sleep(0.005)
        return polvo.secrets.Fetched(f"value-{next(_names)}")


def tokens(url: str) -> OAuth2:
    return OAuth2(token_url=url + "/oauth/token", client_id="me", client_secret="secret")


def between(url: str) -> Regions:
    return Regions([url, url.replace("127.0.0.1", "localhost")], mode="race")


# Calls ----------------------------------------------------------------------------------------------------------------


async def get(client: Any) -> None:
    assert (await client.get(fail_once())).status_code == 200


async def follow(client: Any) -> None:
    assert (await client.get("/fault/redirect?to=/fault/redirect%3Fto%3D/echo", follow_redirects=True)).url.path


async def stream(client: Any) -> None:
    async with client.stream("GET", "/echo?size=200000") as response:
        async for _ in response.aiter_raw():
            pass


async def leave(client: Any) -> None:
    async with client.stream("GET", "/echo?size=200000") as response:
        async for _ in response.aiter_bytes():
            break


async def send(client: Any) -> None:
    response = await client.send(client.build_request("GET", fail_once("reset-body?")), stream=True)
    try:
        await response.aread()
    except httpx.RemoteProtocolError:
        pass
    except httpx.ReadError:
        pass
    finally:
        await response.aclose()


async def post(client: Any) -> None:
    async def body() -> AsyncIterator[bytes]:
        for _ in range(3):
            await asyncio.sleep(0)
            yield b"x" * 1000

    assert (await client.post("/echo", content=body())).status_code == 200


async def post_with_key(client: Any) -> None:
    assert (await client.post(fail_once(), content=b"x", idempotency_key=f"key-{next(_names)}")).status_code == 200


async def authorize(client: Any) -> None:
    assert (await client.get("/oauth/protected")).status_code == 200


async def refuse(client: Any) -> None:
    # Not replaced again where no call has succeeded with it since it was.
    assert (await client.get(fail_once("status?code=401"))).status_code in (200, 401)


async def look(client: Any) -> None:
    assert (await client.get("/echo")).status_code == 200


class Scene(NamedTuple):
    """What is called, and by which client."""

    call: Call
    client: Callable[[str, Path], AbstractAsyncContextManager[Any]] = lambda url, _: session(url)


SCENES = {
    "session, retry": Scene(get),
    "session, redirects": Scene(follow),
    "session, stream": Scene(stream),
    "session, half a stream": Scene(leave),
    "session, a stream that breaks": Scene(send),
    "session, a body that is generated": Scene(post),
    "session, hedge": Scene(look, lambda url, _: session(url, hedge={"delay": 0.0005, "budget": None})),
    "session, hedge of a stream": Scene(stream, lambda url, _: session(url, hedge={"delay": 0.0005, "budget": None})),
    "session, regions": Scene(look, lambda url, _: session(url, regions=between(url))),
    "session, file": Scene(get, with_file),
    "session, file, key": Scene(post_with_key, with_file),
    "session, file, stream": Scene(stream, with_file),
    "session, key": Scene(post_with_key, lambda url, _: session(url, idempotency={"record": True})),
    "installed": Scene(get, lambda url, _: installed(url)),
    "resilient client": Scene(get, lambda url, _: resilient(url)),
    "resilient client, redirects": Scene(follow, lambda url, _: resilient(url)),
    "token": Scene(authorize, lambda url, _: session(url, auth=tokens(url))),
    "token that is refused": Scene(refuse, lambda url, _: session(url, auth=tokens(url))),
    "secret that is refused": Scene(
        refuse, lambda url, _: session(url, auth=polvo.auth.bearer(Secret(Rotated(), "it")))
    ),
}


async def call_until(work: Callable[[], Awaitable[object]], number: int, how: str) -> bool:
    """Do some work that is cancelled at its suspension of that number; return whether there was one."""
    was_reached, suspensions, timeout = False, count(), None

    def on_suspend(_: int) -> None:
        nonlocal was_reached
        if next(suspensions) == number:
            was_reached, loop = True, asyncio.get_running_loop()
            if timeout is None:
                loop.call_soon(task.cancel)
            else:
                timeout.reschedule(loop.time())

    async def act() -> None:
        nonlocal timeout
        if how == "cancel":
            await watch(work(), on_suspend)  # type: ignore[arg-type]
            return
        async with asyncio.timeout(None) as timeout:
            await watch(work(), on_suspend)  # type: ignore[arg-type]

    task = asyncio.ensure_future(act())
    with watch_tasks(on_suspend):
        await asyncio.wait([task])
    if not was_reached:
        task.result()
    elif how == "cancel":
        assert task.cancelled()
    else:  # the last step may come in time
        assert not task.cancelled()
        assert isinstance(task.exception(), TimeoutError | None)
    return was_reached


@pytest.mark.parametrize("how", ["cancel", "timeout"])
@pytest.mark.parametrize("name", SCENES)
async def test_a_call_leaves_nothing_behind(name: str, how: str, server: FailureServer, tmp_path: Path) -> None:
    if how == "timeout" and sys.version_info < (3, 11):
        pytest.skip("asyncio.timeout is of Python 3.11")
    scene = SCENES[name]
    async with scene.client(server.url, tmp_path) as client:
        await look(client)
        number, files = 0, count_files()
        while await call_until(lambda: scene.call(client), number, how):
            number += 1
            assert number < MOST
            assert asyncio.all_tasks() == {asyncio.current_task()}
            pool = find_pool(_transport_of(client))
            assert [each for each in pool.connections if not each.is_idle()] == []
            assert not pool._requests
            await asyncio.wait_for(look(client), 2)
        assert number > 2
    assert count_files() <= files


def _transport_of(client: Any) -> Any:
    opened = getattr(client, "_opened", None)
    return (client if opened is None else opened.http)._transport


def count_files() -> int:
    """Return how many files and sockets this process has open, where the system says it."""
    folder = Path("/proc/self/fd")
    return len(os.listdir(folder)) if folder.is_dir() else 0
