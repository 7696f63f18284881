"""Circuit breakers where it is real: threads that meet or die, a fork, an event loop, and a server."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import sys
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import requests
from requests.adapters import HTTPAdapter

from polvo_adapters.adapters import BreakerAdapter
from polvo_adapters.core.report import StateChange
from polvo_adapters.errors import CircuitOpenError
from polvo_adapters.policies.breaker import CircuitBreaker
from polvo_adapters.stores import MemoryStore
from polvo_adapters.testing import FailureServer
from polvo_adapters.testing.virtual_clock import VirtualClock
from polvo_adapters.transports import AsyncPolicyTransport
from tests.shells.requests.test_bulkhead_threads import LONGEST, Meeting, in_threads, mounted

THREADS = 64
DOWN = "/fault/status?code=503&times=1"


class Holding(HTTPAdapter):
    """An adapter that sends for real, and then holds the response, or raises, as the test says."""

    def __init__(self) -> None:
        super().__init__(pool_maxsize=THREADS)
        self.arrived, self.released = threading.Semaphore(0), threading.Event()
        self.owns = False
        self.error: BaseException | None = None

    def send(self, *args: Any, **keywords: Any) -> requests.Response:
        response = super().send(*args, **keywords)
        if self.error is not None:
            response.close()
            raise self.error
        if self.owns:
            self.arrived.release()
            assert self.released.wait(LONGEST)
        return response


class World:
    """A breaker over a real server, whose circuits live in virtual time."""

    def __init__(self, server: FailureServer, **keywords: Any) -> None:
        self.server, self.clock, self.inner = server, VirtualClock(), Holding()
        store = MemoryStore(now=self.clock.now)
        self.adapter = BreakerAdapter(failure_threshold=1, inner=self.inner, store=store, **keywords)
        self.session = mounted(self.adapter)
        self.circuit = self.adapter.circuit(server.url)

    def get(self, path: str = "/echo") -> int | None:
        """Return the status, or None for a call that was refused."""
        try:
            return self.session.get(self.server.url + path).status_code
        except CircuitOpenError:
            return None

    def half_open(self) -> None:
        assert self.get(DOWN) == 503
        assert self.get() is None
        self.clock.advance(60)

    def begin(self, path: str = "/echo") -> tuple[threading.Thread, list[int | None]]:
        """Make a call on a thread of its own, and return when it has reached the server."""
        statuses: list[int | None] = []
        self.inner.owns = True
        thread = threading.Thread(target=lambda: statuses.append(self.get(path)), daemon=True)
        thread.start()
        assert self.inner.arrived.acquire(timeout=LONGEST)
        self.inner.owns = False
        return thread, statuses

    def end(self, thread: threading.Thread) -> None:
        self.inner.released.set()
        thread.join(LONGEST)
        assert not thread.is_alive()


# Half-open ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("probes", [1, 3])
def test_of_threads_that_meet_at_half_open_just_so_many_pass(probes: int, server: FailureServer) -> None:
    told: list[StateChange] = []
    world = World(server, half_open_calls=probes, listeners=(told.append,))
    world.half_open()
    world.inner.owns = True
    together = threading.Barrier(THREADS)
    statuses: list[int | None] = []
    refused = threading.Semaphore(0)

    def work(number: int) -> None:
        together.wait(LONGEST)
        status = world.get()
        statuses.append(status)
        if status is None:
            refused.release()

    def release_when_all_others_were_refused() -> None:
        for _ in range(THREADS - probes):
            assert refused.acquire(timeout=LONGEST)
        world.inner.released.set()

    helper = threading.Thread(target=release_when_all_others_were_refused, daemon=True)
    helper.start()
    in_threads(THREADS, work)
    assert sorted(statuses, key=str) == [200] * probes + [None] * (THREADS - probes)
    assert len(server.requests) == 1 + probes
    assert [change.after for change in told] == ["open", "half-open", "closed"]
    assert world.get() == 200


def test_of_threads_that_meet_at_half_open_one_that_fails_closes_the_door(server: FailureServer) -> None:
    world = World(server, half_open_calls=2)
    world.half_open()
    thread, statuses = world.begin("/fault/status?code=500&key=other")
    world.end(thread)
    assert (statuses, world.circuit.state, world.get()) == ([500], "open", None)


# Threads that die -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [SystemExit(), KeyboardInterrupt(), GeneratorExit(), MemoryError()])
def test_a_probe_whose_thread_dies_is_replaced_at_once(
    error: BaseException, server: FailureServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda arguments: None)
    world = World(server)
    world.half_open()
    world.inner.error = error
    in_threads(1, lambda _: world.get())
    world.inner.error = None
    assert world.circuit.state == "half-open"
    assert (world.get(), world.circuit.state) == (200, "closed")


def test_a_probe_that_never_comes_back_is_replaced_when_its_lease_ends(server: FailureServer) -> None:
    world = World(server, probe_timeout=30)
    world.half_open()
    thread, statuses = world.begin("/fault/status?code=503&key=late")
    world.clock.advance(29.9)
    assert world.get() is None
    world.clock.advance(0.1)
    assert (world.get(), world.circuit.state) == (200, "closed")
    world.end(thread)
    assert (statuses, world.circuit.state) == ([503], "closed")  # what it came to says nothing about now


def test_an_answer_that_was_on_its_way_while_the_circuit_opened_says_nothing(server: FailureServer) -> None:
    world = World(server)
    thread, statuses = world.begin("/echo")
    world.half_open()
    world.end(thread)
    assert (statuses, world.circuit.state) == ([200], "open")


# Overlap --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keywords", [{}, {"window": 60.0, "failure_rate": 0.5}, {"slow_call": 1e6}])
def test_nothing_is_locked_while_calls_are_under_way(keywords: Any) -> None:
    # The server sends no response before all eight are in: one that waited for another would wait for ever.
    with Meeting(8) as server:
        session = mounted(BreakerAdapter(**keywords, pool_maxsize=8))
        statuses: list[int] = []
        in_threads(8, lambda _: statuses.append(session.get(server.url).status_code))
        session.close()
    assert (statuses, server.most) == ([200] * 8, 8)


def test_threads_that_fail_together_open_the_circuit_once(server: FailureServer) -> None:
    told: list[StateChange] = []
    adapter = BreakerAdapter(failure_threshold=5, listeners=(told.append,), pool_maxsize=THREADS)
    session, together = mounted(adapter), threading.Barrier(THREADS)

    def work(number: int) -> None:
        together.wait(LONGEST)
        try:
            session.get(server.url + "/fault/status")
        except CircuitOpenError:
            return

    in_threads(THREADS, work)
    assert [(change.before, change.after) for change in told] == [("closed", "open")]
    assert 5 <= len(server.requests) <= THREADS


def test_changes_are_reported_in_pairs_however_many_threads_there_are(server: FailureServer) -> None:
    told: list[StateChange] = []
    clock = VirtualClock()
    policy = CircuitBreaker(failure_threshold=1, recovery_timeout=1e-6, multiplier=1, listeners=(told.append,))
    session = mounted(BreakerAdapter(policy, store=MemoryStore(now=clock.now), pool_maxsize=16))

    def work(number: int) -> None:
        for turn in range(20):
            clock.advance(1e-6)
            try:
                session.get(server.url + ("/echo" if (turn + number) % 3 else "/fault/status"))
            except CircuitOpenError:
                continue

    in_threads(16, work)
    # Listeners of two threads may run in either order, so that the changes are counted and not lined up.
    counts = Counter((change.before, change.after) for change in told)
    opened = counts["closed", "open"] + counts["half-open", "open"]
    probed = counts["open", "half-open"]
    assert opened > 0
    assert 0 <= opened - probed <= 1
    assert 0 <= probed - counts["half-open", "open"] - counts["half-open", "closed"] <= 1
    assert 0 <= counts["closed", "open"] - counts["half-open", "closed"] <= 1


# Streams --------------------------------------------------------------------------------------------------------------


def test_a_streamed_probe_reports_when_its_body_is_closed(server: FailureServer) -> None:
    world = World(server)
    world.half_open()
    response = world.session.get(server.url + "/echo", stream=True)
    assert (world.circuit.state, world.get()) == ("half-open", None)
    response.close()
    assert world.circuit.state == "closed"


def test_a_streamed_probe_that_breaks_off_is_a_failure(server: FailureServer) -> None:
    world = World(server)
    world.half_open()
    response = world.session.get(server.url + "/fault/reset-body", stream=True)
    with pytest.raises(requests.RequestException):
        _ = response.content
    assert world.circuit.state == "open"


def test_a_streamed_probe_that_is_dropped_is_no_longer_in_the_way(server: FailureServer) -> None:
    world = World(server)
    world.half_open()
    response = world.session.get(server.url + "/echo", stream=True)
    del response
    gc.collect()
    assert world.get() == 200
    assert world.circuit.state == "closed"


# A fork ---------------------------------------------------------------------------------------------------------------


def _in_child(adapter: BreakerAdapter, url: str, results: Any) -> None:
    before = adapter.circuit(url).state
    adapter.circuit(url).close()
    results.put((before, mounted(adapter).get(url + "/echo").status_code))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning")
def test_a_child_keeps_the_circuits_and_changes_only_its_own(server: FailureServer) -> None:
    adapter = BreakerAdapter(failure_threshold=1)
    mounted(adapter).get(server.url + DOWN)
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    child = context.Process(target=_in_child, args=(adapter, server.url, results))
    child.start()
    child.join(LONGEST)
    assert results.get() == ("open", 200)
    assert adapter.circuit(server.url).state == "open"


# The event loop -------------------------------------------------------------------------------------------------------


class Hanging(httpx.AsyncHTTPTransport):
    """An adapter that sends for real, and then holds the response until the test releases it."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived, self.released = asyncio.Event(), asyncio.Event()
        self.owns = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle_async_request(request)
        if self.owns:
            self.arrived.set()
            try:
                await asyncio.wait_for(self.released.wait(), LONGEST)
            except BaseException:
                await response.aclose()
                raise
        return response


async def on_a_loop(server: FailureServer, scene: Callable[..., Any], **keywords: Any) -> None:
    clock, inner = VirtualClock(), Hanging()
    policy = CircuitBreaker(failure_threshold=1, **keywords)
    transport = AsyncPolicyTransport(policy, inner=inner, store=MemoryStore(now=clock.now))
    async with httpx.AsyncClient(transport=transport, timeout=LONGEST) as client:

        async def get(path: str = "/echo") -> int | None:
            try:
                return (await client.get(server.url + path)).status_code
            except CircuitOpenError:
                return None

        assert await get(DOWN) == 503
        assert await get() is None
        clock.advance(60)
        await scene(get, inner, transport.circuit(server.url))


@pytest.mark.parametrize("probes", [1, 3])
async def test_of_tasks_that_meet_at_half_open_just_so_many_pass(probes: int, server: FailureServer) -> None:
    async def scene(get: Any, inner: Hanging, circuit: Any) -> None:
        inner.owns = True
        tasks = [asyncio.ensure_future(get()) for _ in range(THREADS)]
        waiting: set[Any] = set(tasks)
        while len(waiting) > probes:  # refused calls end, the others are held
            _, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        inner.released.set()
        statuses = await asyncio.gather(*tasks)
        assert sorted(statuses, key=str) == [200] * probes + [None] * (THREADS - probes)
        assert circuit.state == "closed"

    await asyncio.wait_for(on_a_loop(server, scene, half_open_calls=probes), LONGEST)
    assert len(server.requests) == 1 + probes


async def test_a_probe_whose_task_is_cancelled_is_replaced_at_once(server: FailureServer) -> None:
    async def scene(get: Any, inner: Hanging, circuit: Any) -> None:
        inner.owns = True
        probe = asyncio.ensure_future(get())
        await asyncio.wait_for(inner.arrived.wait(), LONGEST)
        inner.owns = False
        assert await get() is None
        probe.cancel()
        with pytest.raises(asyncio.CancelledError):
            await probe
        assert circuit.state == "half-open"
        assert await get() == 200
        assert circuit.state == "closed"

    await on_a_loop(server, scene)


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="references are not counted")
async def test_a_probe_whose_task_is_dropped_is_replaced(server: FailureServer) -> None:
    async def scene(get: Any, inner: Hanging, circuit: Any) -> None:
        inner.owns = True
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(get(), 0.05)
        inner.owns = False
        assert await get() == 200

    await on_a_loop(server, scene)
