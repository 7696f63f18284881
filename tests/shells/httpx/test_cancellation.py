"""A task that is cancelled gives back what it holds, wherever it waits: cancelled at every single await."""

from __future__ import annotations

import asyncio
import time
import types
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from itertools import count
from typing import Any, NamedTuple

import anyio
import httpx
import pytest

import polvo_adapters as polvo
from polvo_adapters.drivers import beside
from polvo_adapters.policies.breaker import CircuitBreaker
from polvo_adapters.policies.bulkhead import AdaptiveBulkhead, Bulkhead
from polvo_adapters.policies.deadline import Deadline
from polvo_adapters.policies.fallback import Another, Fallback, StaleCache
from polvo_adapters.policies.hedge import Hedge
from polvo_adapters.policies.idempotency import IdempotencyKeys
from polvo_adapters.policies.ratelimit import AdaptiveRateLimit, SlidingWindow, TokenBucket
from polvo_adapters.policies.regions import Regions
from polvo_adapters.policies.retry import ExponentialBackoff
from polvo_adapters.policies.stack import standard
from polvo_adapters.stores import MemoryStore
from polvo_adapters.testing import FailureServer
from polvo_adapters.transports import AsyncPolicyTransport
from tests.support.virtual_worlds import LoopClock

URL = "http://a.example/orders"
RETRY = ExponentialBackoff(max_attempts=3, base=5.0, jitter="none", budget=None)
MOST = 400  # suspensions, more than any scene has


class Body(httpx.AsyncByteStream):
    """A body in three parts; to close it takes time, and where the transport reads it, all of that time."""

    def __init__(self, server: Server) -> None:
        self.server, self.is_open = server, True
        server.open += 1

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for _ in range(3):
            await self.server.clock.sleep(0.25)
            yield b"x"

    async def aclose(self) -> None:
        if not self.is_open:
            return
        if self.server.streams:  # the caller closes it, who may be cancelled there
            self._note_closed()
        await self.server.clock.sleep(0.125)
        self._note_closed()

    def _note_closed(self) -> None:
        self.server.open -= self.is_open
        self.is_open = False


class Server(httpx.AsyncBaseTransport):
    """Answers in turn with statuses, each after a while; counts what is under way and which bodies are open."""

    def __init__(self, clock: Any, *statuses: int, streams: bool) -> None:
        self.clock, self.statuses, self.streams = clock, list(statuses), streams
        self.active = self.open = self.received = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.received += 1
        self.active += 1
        try:
            await self.clock.sleep(1.0)
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                await self.clock.sleep(0.0625)  # until the connection is closed
            raise
        finally:
            self.active -= 1
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        return httpx.Response(status, stream=Body(self))


class Scene(NamedTuple):
    """What is called, and what goes on beside it."""

    policies: Callable[[], Any]
    statuses: tuple[int, ...] = (200,)
    beside: int = 0
    """How many other calls are under way before."""

    before: int = 0
    """How many calls have ended before."""

    stream: bool = False
    headers: dict[str, str] = {}


KEY = {"Idempotency-Key": "order-1"}
SCENES = {
    "nothing": Scene(lambda: ()),
    "retry": Scene(lambda: (RETRY,), (503, 503, 200)),
    "retry of a stream": Scene(lambda: (RETRY,), (503, 503, 200), stream=True),
    "rate limit": Scene(lambda: (TokenBucket(rate=0.5, capacity=1),), beside=3),
    "sliding window": Scene(lambda: (SlidingWindow(limit=1, window=2.0),), beside=3),
    "adaptive rate limit": Scene(lambda: (AdaptiveRateLimit(), RETRY), (429, 429, 200), beside=3),
    "bulkhead": Scene(lambda: (Bulkhead(1),), beside=3),
    "adaptive bulkhead": Scene(lambda: (AdaptiveBulkhead("aimd", 1, 1, 1), RETRY), (503, 200), beside=3),
    "stale": Scene(lambda: (Fallback(StaleCache()), RETRY), (200, 503), before=1),
    "bulkhead of streams": Scene(lambda: (Bulkhead(1),), beside=2, stream=True),
    "breaker": Scene(
        lambda: (CircuitBreaker(failure_threshold=2, recovery_timeout=5),), (503, 503, 200), before=2, stream=True
    ),
    "hedge": Scene(lambda: (Hedge(delay=0.5, budget=None),)),
    "hedge of a stream": Scene(lambda: (Hedge(delay=0.5, budget=None),), stream=True),
    "regions": Scene(lambda: (Regions(["http://b.example", "http://c.example"], mode="quorum", quorum=2),)),
    "regions at once": Scene(lambda: (Bulkhead(2), Regions(["http://b.example", "http://a.example"], mode="race"))),
    "hedge of retries": Scene(lambda: (Bulkhead(1), Hedge(delay=0.5, budget=None), RETRY), (503, 200), beside=1),
    "regions after another": Scene(lambda: (Regions(["http://b.example", "http://c.example"]),), (503, 200)),
    "fallback": Scene(lambda: (Fallback(Another("http://b.example")),), (503, 200), stream=True),
    "deadline": Scene(lambda: (Deadline(60), RETRY), (503, 503, 200)),
    "deadline of a stream": Scene(lambda: (Deadline(60), RETRY), (503, 200), stream=True),
    "key": Scene(lambda: (IdempotencyKeys(record=True), RETRY), (503, 200), beside=1, headers=KEY),
    "everything": Scene(
        lambda: standard(
            retry=RETRY,
            deadline=90,
            circuit_breaker=True,
            bulkhead=1,
            rate_limit=TokenBucket(rate=1.0, capacity=1),
            hedge={"delay": 0.5, "budget": None},
            idempotency=True,
            request_id=True,
        ),
        (503, 200),
        beside=2,
        stream=True,
    ),
}


@types.coroutine
def watch(work: Coroutine[Any, Any, Any], on_suspend: Callable[[int], None]) -> Generator[Any, Any, Any]:
    """Do some work, and say before each suspension how many there were."""
    step: Callable[[], Any] = lambda: work.send(None)  # noqa: E731
    for number in range(MOST):
        try:
            future = step()
        except StopIteration as end:
            return end.value
        on_suspend(number)
        try:
            value = yield future
        except BaseException as error:  # noqa: BLE001 - it is for the work
            thrown = error
            step = lambda: work.throw(thrown)  # noqa: E731, B023
        else:
            step = lambda: work.send(value)  # noqa: E731, B023
    raise AssertionError("there is no end of it")


@contextmanager
def watch_tasks(on_suspend: Callable[[int], None]) -> Iterator[None]:
    """Watch the tasks that are made within a block, such as those of a race."""
    loop = asyncio.get_running_loop()

    async def do(work: Coroutine[Any, Any, Any]) -> Any:
        return await watch(work, on_suspend)

    loop.set_task_factory(lambda loop, work, **keywords: asyncio.Task(do(work), loop=loop, **keywords))  # type: ignore[arg-type]
    try:
        yield
    finally:
        loop.set_task_factory(None)


async def read(client: httpx.AsyncClient, scene: Scene, number: int = 0) -> int:
    method = "POST" if scene.headers else "GET"
    async with client.stream(method, URL, headers=scene.headers) as response:
        await response.aread()
    return response.status_code


class AskedBeside(MemoryStore):
    """A store that is asked on a thread of its own; in a virtual loop that takes some virtual time."""

    blocking = True


class VirtualThread:
    """Runs one task after the other, as a SerialThread, each after a while of virtual time."""

    def __init__(self) -> None:
        self._tasks: deque[tuple[Future[Any], Callable[[], Any]]] = deque()

    def submit(self, work: Callable[[], Any]) -> Future[Any]:
        future: Future[Any] = Future()
        self._tasks.append((future, work))
        self._soon(self._run_next)
        return future

    def _soon(self, action: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_later(0.015625, action)

    def _run_next(self) -> None:
        future, work = self._tasks.popleft()
        if future.set_running_or_notify_cancel():
            future.set_result(work())


def play(scene: Scene, cancel_at: int, *, by_scope: bool = False, is_blocking: bool = False) -> bool:
    """Play a scene whose last call is cancelled at its suspension of that number; return whether there was one."""
    clock = LoopClock()
    server = Server(clock, *scene.statuses, streams=scene.stream)
    policies = scene.policies()
    store = AskedBeside(now=clock.now) if is_blocking else MemoryStore(now=clock.now)
    transport = AsyncPolicyTransport(*policies, inner=server, clock=clock, stream=scene.stream, store=store)

    async def act() -> bool:
        client = httpx.AsyncClient(transport=transport, timeout=None)
        for _ in range(scene.before):
            await read(client, scene)
        if scene.before:
            await clock.sleep(10)
        beside = [asyncio.ensure_future(read(client, scene)) for _ in range(scene.beside)]
        await clock.sleep(0.0625)
        was_cancelled, seconds = await _cancel_at(lambda: read(client, scene), cancel_at, clock, by_scope=by_scope)
        assert seconds <= 0.1875, "the task goes on although it is cancelled"
        for task in beside:
            assert await task == 200
        others = asyncio.all_tasks() - {asyncio.current_task()}
        assert not others, others
        assert (server.active, server.open) == (0, 0)
        server.statuses = [200]
        began = clock.now()
        if not scene.headers:  # a key whose request may have arrived stays in doubt
            assert await read(client, scene._replace(headers={})) == 200
            assert clock.now() - began < 12.5, "something is still taken"
        assert (server.active, server.open) == (0, 0)
        assert not store._parked
        return was_cancelled

    return clock.run(act())


async def _cancel_at(
    work: Callable[[], Coroutine[Any, Any, Any]], number: int, clock: LoopClock, *, by_scope: bool
) -> tuple[bool, float]:
    """Cancel some work at a suspension, and return whether there was that one, and after how long it ended then."""
    scope, reached, since = anyio.CancelScope(), False, clock.now()
    suspensions = count()

    def on_suspend(_: int) -> None:
        nonlocal reached, since
        if next(suspensions) == number:
            reached, since = True, clock.now()
            if by_scope:
                scope.cancel()
            else:
                asyncio.get_running_loop().call_soon(task.cancel)

    async def run() -> None:
        with scope:
            await watch(work(), on_suspend)

    task = asyncio.ensure_future(run())
    with watch_tasks(on_suspend):
        await asyncio.wait([task])
    if not by_scope and reached:
        assert task.cancelled() or task.exception() is None
    return reached, clock.now() - since if reached else 0.0


@pytest.mark.parametrize("by_scope", [False, True], ids=["task", "scope"])
@pytest.mark.parametrize("name", SCENES)
def test_nothing_is_left_behind_at_any_await(name: str, by_scope: bool) -> None:
    suspensions = 0
    while play(SCENES[name], suspensions, by_scope=by_scope):
        suspensions += 1
    assert suspensions >= 2


@pytest.mark.parametrize("by_scope", [False, True], ids=["task", "scope"])
@pytest.mark.parametrize("name", SCENES)
def test_nor_where_the_store_is_asked_beside_the_loop(
    name: str, by_scope: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: weakref.WeakKeyDictionary[Any, VirtualThread] = weakref.WeakKeyDictionary()
    monkeypatch.setattr(beside, "thread_of", lambda store: threads.setdefault(store, VirtualThread()))
    suspensions = 0
    while play(SCENES[name], suspensions, by_scope=by_scope, is_blocking=True):
        suspensions += 1
    assert suspensions >= 2


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_crowd_that_is_cancelled_at_random_is_served_in_order_and_leaves_nothing(seed: int) -> None:
    from tests.benchmarks.cancellations import crowd

    result = crowd(seed, 300)
    assert (result.tasks, result.taken, result.connections, result.sockets) == (0, 0, 0, 0)
    assert result.worst_delay <= 0.05


@pytest.mark.parametrize("policies", [(), (RETRY,), (Deadline(30),), (Bulkhead(4),)], ids=range(4))
async def test_real_connections_are_given_back(policies: Any, server: FailureServer) -> None:
    transport = AsyncPolicyTransport(*policies, limits=httpx.Limits(max_connections=4))
    async with httpx.AsyncClient(transport=transport, timeout=5) as client:
        for seconds in (0.0, 0.001, 0.003, 0.01, 0.03):
            for path in ("/fault/hang", "/fault/slow-headers?interval=0.05", "/fault/drip?size=500&interval=0.05"):
                task = asyncio.create_task(client.get(server.url + path))
                await asyncio.sleep(seconds)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
        pool = transport.inner._pool  # type: ignore[attr-defined]
        assert [each for each in pool.connections if not each.is_idle()] == []
        answers = await asyncio.gather(*[client.get(server.url + "/echo") for _ in range(8)])
        assert [answer.status_code for answer in answers] == [200] * 8
        assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize("seconds", [0.0, 0.01, 0.05])
async def test_a_fetch_of_a_token_outlives_the_task_that_began_it(seconds: float, server: FailureServer) -> None:
    """The answer of the authorization server is for all who wait for it; none is lost, and none fetched twice."""
    fetched: list[int] = []

    def fetch(_: Any) -> dict[str, Any]:
        time.sleep(0.1)
        fetched.append(1)
        return {"access_token": "token", "expires_in": 3600}

    auth = polvo.auth.OAuth2(fetch=fetch).httpx()
    transport = AsyncPolicyTransport(RETRY, Bulkhead(1))
    async with httpx.AsyncClient(transport=transport, auth=auth) as client:
        first = asyncio.create_task(client.get(server.url + "/echo"))
        second = asyncio.create_task(client.get(server.url + "/echo"))
        await asyncio.sleep(seconds)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert (await second).status_code == 200
        assert (await client.get(server.url + "/echo")).status_code == 200
    assert fetched == [1]
    assert asyncio.all_tasks() == {asyncio.current_task()}
