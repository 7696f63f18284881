"""Rate limits where it is real: threads, a fork, an event loop, a server, and a store that all of them share."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import pickle
import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import httpx
import pytest
import requests

import polvo_adapters as polvo
from polvo_adapters.adapters import RateLimitAdapter, ResilientAdapter
from polvo_adapters.core.machines import Event
from polvo_adapters.policies.ratelimit import AdaptiveRateLimit, SlidingWindow, TokenBucket
from polvo_adapters.policies.ratelimit.turns import Turn, TurnRequest
from polvo_adapters.runtime.clock import SYSTEM
from polvo_adapters.stores import MemoryStore
from polvo_adapters.testing import FailureServer
from polvo_adapters.testing.virtual_clock import VirtualClock
from polvo_adapters.transports import AsyncPolicyTransport, PolicyTransport

LONGEST = 60.0  # seconds until a thread that hangs is given up


def mounted(adapter: requests.adapters.BaseAdapter) -> requests.Session:
    session = requests.Session()
    session.mount("http://", adapter)
    return session


def quota(server: FailureServer, limit: int = 5, window: float = 30.0, dialect: str = "draft-7") -> str:
    return f"{server.url}/quota?limit={limit}&window={window}&dialect={dialect}"


@pytest.fixture
def other() -> Iterator[FailureServer]:
    with FailureServer() as server:
        yield server


def in_threads(count: int, work: Callable[[int], None]) -> None:
    """Run work in threads, and fail if one of them does not come to an end."""
    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONGEST)
    assert [thread.is_alive() for thread in threads] == [False] * count


class Watched(MemoryStore):
    """A memory store that keeps what it was asked and what it answered, in order."""

    def __init__(self) -> None:
        self.log: list[tuple[Any, Any, float]] = []
        self.last = 0.0
        self.turn = threading.Lock()
        super().__init__(now=self.now)

    def now(self) -> float:
        self.last = SYSTEM.now()
        return self.last

    def decide(self, events: Sequence[Event]) -> tuple[Any, ...]:
        with self.turn:
            verdicts = super().decide(events)
            self.log.append((events[0].event, verdicts[0], self.last))
            return verdicts

    @property
    def admissions(self) -> list[tuple[TurnRequest, Turn, float]]:
        return [entry for entry in self.log if isinstance(entry[0], TurnRequest)]


# Threads --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", [TokenBucket(rate=500, capacity=1), SlidingWindow(40, 0.1), AdaptiveRateLimit()])
def test_sixteen_threads_are_all_served(policy: Any, server: FailureServer) -> None:
    session = mounted(RateLimitAdapter(policy, pool_maxsize=16))
    statuses: list[int] = []
    in_threads(16, lambda _: statuses.extend(session.get(server.url + "/echo").status_code for _ in range(6)))
    assert statuses == [200] * 96


def test_sixteen_threads_get_through_an_unknown_quota(server: FailureServer) -> None:
    adapter = ResilientAdapter(retry={"max_attempts": 50, "base": 0.01, "budget": None}, rate_limit="adaptive")
    session = mounted(adapter)
    statuses: list[int] = []
    url = quota(server, limit=20, window=0.5)
    in_threads(16, lambda _: statuses.extend(session.get(url).status_code for _ in range(4)))
    assert statuses == [200] * 64


def test_threads_get_turns_in_the_order_in_which_they_came(server: FailureServer) -> None:
    store = Watched()
    session = mounted(RateLimitAdapter(TokenBucket(rate=200, capacity=1), store=store, pool_maxsize=16))
    in_threads(16, lambda _: [session.get(server.url + "/echo") for _ in range(4)])
    turns = [now + verdict.wait for asked, verdict, now in store.admissions if asked.ticket < 0]
    assert len(turns) == 64
    assert turns == sorted(turns)
    assert all(later - earlier >= 0.005 - 1e-6 for earlier, later in pairwise(turns))


def test_every_thread_that_waits_has_a_place_of_its_own(server: FailureServer) -> None:
    store = Watched()
    session = mounted(RateLimitAdapter(store=store, pool_maxsize=16))
    session.get(quota(server, limit=16, window=0.5))
    in_threads(16, lambda _: session.get(quota(server, limit=16, window=0.5)))
    tickets = [verdict.ticket for asked, verdict, _ in store.admissions if asked.ticket < 0 and verdict.wait > 0]
    assert tickets == list(range(len(tickets)))
    assert tickets


class Gate:
    """A clock that holds sleeping threads until the gate is opened."""

    now, wall, uniform = SYSTEM.now, SYSTEM.wall, SYSTEM.uniform

    def __init__(self) -> None:
        self.asleep, self.open = threading.Event(), threading.Event()

    def sleep(self, seconds: float) -> None:
        self.asleep.set()
        assert self.open.wait(LONGEST)


@pytest.fixture
def held(server: FailureServer) -> Iterator[RateLimitAdapter]:
    """An adapter with a thread that waits for its turn at one server."""
    gate = Gate()
    adapter = RateLimitAdapter(TokenBucket(rate=0.1, capacity=1), clock=gate)
    session = mounted(adapter)
    session.get(server.url + "/echo")
    thread = threading.Thread(target=session.get, args=(server.url + "/echo",), daemon=True)
    thread.start()
    assert gate.asleep.wait(LONGEST)
    yield adapter
    gate.open.set()
    thread.join(LONGEST)
    assert not thread.is_alive()


def test_others_are_served_while_one_waits(held: RateLimitAdapter, other: FailureServer) -> None:
    assert mounted(held).get(other.url + "/echo").status_code == 200


def _get_in_child(adapter: RateLimitAdapter, url: str, results: Any) -> None:
    results.put((mounted(adapter).get(url).status_code, len(adapter.store)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning")
def test_a_child_forked_while_one_waits_works_and_keeps_what_is_known(
    held: RateLimitAdapter, other: FailureServer
) -> None:
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    child = context.Process(target=_get_in_child, args=(held, other.url + "/echo", results))
    child.start()
    child.join(LONGEST)
    assert results.get() == (200, 2)


# Pickles --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", [AdaptiveRateLimit("burst", max_wait=7), TokenBucket(3, 5), SlidingWindow(3, 5)])
def test_an_adapter_with_a_rate_limit_pickles(policy: Any, server: FailureServer) -> None:
    adapter = RateLimitAdapter(policy)
    mounted(adapter).get(quota(server))
    copied = pickle.loads(pickle.dumps(adapter))
    assert copied.policies == (policy,)
    assert mounted(copied).get(quota(server)).status_code == 200


def test_a_copy_counts_credentials_apart_as_well(server: FailureServer) -> None:
    copied = pickle.loads(pickle.dumps(RateLimitAdapter()))
    for key in ("a", "b"):
        mounted(copied).get(quota(server), headers={"Authorization": key})
    assert len(copied.store) == 2


def test_a_session_with_a_rate_limit_pickles(server: FailureServer) -> None:
    copied = pickle.loads(pickle.dumps(polvo.Session(server.url, rate_limit="adaptive")))
    assert [quota.limit for quota in copied.get("quota?dialect=draft-7").polvo.quotas] == [5]


# What is shown --------------------------------------------------------------------------------------------------------


def test_a_response_shows_the_quota_that_the_server_announced(server: FailureServer) -> None:
    response = mounted(RateLimitAdapter()).get(quota(server, limit=7))
    (shown,) = response.polvo.quotas
    assert (shown.limit, shown.remaining, shown.window, shown.dialect) == (7, 6, 30, "ietf-07")


def test_a_response_shows_how_long_it_was_queued(server: FailureServer) -> None:
    clock = VirtualClock()
    session = mounted(RateLimitAdapter(TokenBucket(rate=0.1, capacity=1), clock=clock))
    assert session.get(server.url + "/echo").polvo.queued == 0
    report = session.get(server.url + "/echo").polvo
    assert (report.queued, report.waited) == (10.0, 10.0)


def test_what_a_retry_waits_is_not_time_in_the_queue(server: FailureServer) -> None:
    clock = VirtualClock()
    session = mounted(ResilientAdapter(retry={"jitter": "none", "base": 4}, rate_limit=TokenBucket(0.1), clock=clock))
    report = session.get(server.url + "/fault/status?times=1").polvo
    assert (report.queued, report.waited) == (6.0, 10.0)


def test_a_wait_that_would_be_too_long_is_an_error_with_a_report(server: FailureServer) -> None:
    session = mounted(RateLimitAdapter(TokenBucket(rate=0.001, capacity=1), clock=VirtualClock()))
    session.get(server.url + "/echo")
    with pytest.raises(polvo.RateLimitError) as caught:
        session.get(server.url + "/echo")
    error: Any = caught.value
    assert (error.retry_after, error.polvo.attempts, error.request.method) == (1000.0, [], "GET")
    assert len(server.requests) == 1


# Credentials ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", ["Authorization", "X-API-Key", "Private-Token"])
def test_two_credentials_are_two_accounts(header: str, server: FailureServer) -> None:
    store = MemoryStore()
    clock = VirtualClock()
    session = mounted(RateLimitAdapter(TokenBucket(rate=0.1, capacity=1), store=store, clock=clock))
    waits = [session.get(server.url + "/echo", headers={header: key}).polvo.queued for key in ("a", "b", "a")]
    assert (waits[:2], waits[2] > 0, len(store)) == ([0, 0], True, 2)


def test_a_store_holds_no_credential(server: FailureServer) -> None:
    store = MemoryStore()
    mounted(RateLimitAdapter(store=store)).get(quota(server), headers={"Authorization": "Bearer s3cret"})
    assert "s3cret" not in repr(store._states)


def test_transports_count_credentials_apart_too(server: FailureServer) -> None:
    store = MemoryStore()
    with httpx.Client(transport=PolicyTransport(AdaptiveRateLimit(), store=store)) as client:
        for key in ("a", "b", "a"):
            client.get(quota(server), headers={"Authorization": key})
    assert len(store) == 2


def test_an_adapter_and_a_transport_share_an_account(server: FailureServer) -> None:
    store = MemoryStore()
    mounted(RateLimitAdapter(store=store)).get(quota(server), headers={"Authorization": "a"})
    with httpx.Client(transport=PolicyTransport(AdaptiveRateLimit(), store=store)) as client:
        client.get(quota(server), headers={"Authorization": "a"})
    assert len(store) == 1


# The event loop -------------------------------------------------------------------------------------------------------


def test_fifty_tasks_are_all_served_in_turn(server: FailureServer) -> None:
    store = Watched()

    async def work() -> list[int]:
        transport = AsyncPolicyTransport(TokenBucket(rate=500, capacity=1), store=store)
        async with httpx.AsyncClient(transport=transport, timeout=LONGEST) as client:
            responses = await asyncio.gather(*(client.get(server.url + "/echo") for _ in range(50)))
            return [response.status_code for response in responses]

    assert asyncio.run(work()) == [200] * 50
    turns = [now + verdict.wait for asked, verdict, now in store.admissions if asked.ticket < 0]
    assert (len(turns), turns) == (50, sorted(turns))


def test_fifty_tasks_share_an_adaptive_limit(server: FailureServer) -> None:
    async def work() -> list[Any]:
        async with httpx.AsyncClient(transport=AsyncPolicyTransport(AdaptiveRateLimit()), timeout=LONGEST) as client:
            return await asyncio.gather(*(client.get(quota(server, limit=1000)) for _ in range(50)))

    responses = asyncio.run(work())
    assert [response.status_code for response in responses] == [200] * 50
    assert {response.extensions["polvo"].quotas[0].limit for response in responses} == {1000}
