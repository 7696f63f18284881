"""Bulkheads where it is real: threads, signals, bodies, a fork, an event loop, and a server that counts."""

from __future__ import annotations

import asyncio
import gc
import http.server
import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import requests
from requests.adapters import HTTPAdapter

from polvo_adapters.adapters import BulkheadAdapter, ResilientAdapter
from polvo_adapters.core.machines import Event
from polvo_adapters.errors import CircuitOpenError, PoolTimeoutError
from polvo_adapters.policies.breaker import CircuitBreaker
from polvo_adapters.policies.bulkhead import AdaptiveBulkhead, Bulkhead
from polvo_adapters.policies.bulkhead.policy import AcquireSlot, JoinQueue, ReleaseSlot, Slot
from polvo_adapters.policies.gates import Gates
from polvo_adapters.runtime.clock import SYSTEM
from polvo_adapters.stores import MemoryStore
from polvo_adapters.testing import FailureServer
from polvo_adapters.testing.virtual_clock import VirtualClock
from polvo_adapters.transports import AsyncPolicyTransport

if TYPE_CHECKING:
    from typing_extensions import Self

LONGEST = 60.0  # seconds until a thread that hangs is given up


def mounted(adapter: requests.adapters.BaseAdapter) -> requests.Session:
    session = requests.Session()
    session.mount("http://", adapter)
    return session


def in_threads(count: int, work: Callable[[int], object]) -> None:
    """Run work in threads, and fail if one of them does not come to an end."""
    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * LONGEST)
    assert [thread.is_alive() for thread in threads] == [False] * count


class Meeting:
    """A web server that sends no response before so many requests are in, and counts how many there are at a time."""

    def __init__(self, parties: int) -> None:
        self.now = self.most = self.served = 0
        together, lock, meeting = threading.Barrier(parties), threading.Lock(), self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                with lock:
                    meeting.now += 1
                    meeting.most = max(meeting.most, meeting.now)
                try:
                    together.wait(LONGEST)
                    status = 200
                except threading.BrokenBarrierError:
                    status = 500
                with lock:  # before the client can know that it has an answer
                    meeting.now -= 1
                    meeting.served += 1
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *arguments: Any) -> None:
                """Say nothing."""

        class Server(http.server.ThreadingHTTPServer):
            request_queue_size = 128
            block_on_close = False

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *arguments: object) -> None:
        self._server.shutdown()
        self._thread.join(LONGEST)
        self._server.server_close()


class Watched(MemoryStore):
    """A memory store that keeps what it was asked and what it answered, in order."""

    def __init__(self) -> None:
        self.log: list[tuple[Any, Any]] = []
        self.turn = threading.Lock()
        self.joined = threading.Event()
        super().__init__()

    def decide(self, events: Sequence[Event]) -> tuple[Any, ...]:
        with self.turn:
            verdicts = super().decide(events)
            self.log += [(event.event, verdict) for event, verdict in zip(events, verdicts, strict=True)]
        if any(type(event.event) is JoinQueue for event in events):
            self.joined.set()
        return verdicts


def held(store: MemoryStore) -> tuple[int, int]:
    """Return how many slots are in use, and how many calls wait."""
    states = [state for name, state in store._states.items() if "bulkhead" in name]
    return sum(state.new + state.old for state in states), sum(len(state.queue) for state in states)


def slots_of(adapter: Any) -> tuple[int, int]:
    adapter.store.decide(())  # which puts in what finalizers left
    return held(adapter.store)


# Threads --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda: BulkheadAdapter(4, acquisition_timeout=LONGEST),
        lambda: ResilientAdapter(False, circuit_breaker=True, bulkhead=Bulkhead(4, LONGEST)),
        lambda: BulkheadAdapter("adaptive", initial_limit=4, min_limit=4, max_limit=4, acquisition_timeout=LONGEST),
    ],
)
def test_never_more_than_allowed_are_at_the_server_and_never_fewer_than_could_be(make: Any) -> None:
    # Exactly four at a time: with three the meeting would not end, and five would be seen.
    with Meeting(4) as server:
        adapter = make()
        session = mounted(adapter)
        statuses: list[int] = []
        in_threads(64, lambda _: statuses.append(session.get(server.url).status_code))
        session.close()
    assert (statuses, server.most, server.served) == ([200] * 64, 4, 64)
    assert slots_of(adapter) == (0, 0)


def test_eight_calls_of_eight_slots_overlap() -> None:
    with Meeting(8) as server:
        session = mounted(BulkheadAdapter(8))
        statuses: list[int] = []
        in_threads(8, lambda _: statuses.append(session.get(server.url).status_code))
        session.close()
    assert (statuses, server.most) == ([200] * 8, 8)


def number_of(name: str) -> int:
    """Return how many joined the queue before, of the name of a place."""
    return int(name.rpartition(" ")[2])


def test_threads_on_one_slot_are_served_in_the_order_in_which_they_came(server: FailureServer) -> None:
    store = Watched()
    session = mounted(BulkheadAdapter(Bulkhead(1, LONGEST), store=store))
    statuses: list[int] = []
    in_threads(16, lambda _: [statuses.append(session.get(server.url + "/echo").status_code) for _ in range(8)])
    assert statuses == [200] * 128
    taken = [event.place for event, verdict in store.log if type(event) is AcquireSlot and type(verdict) is Slot]
    granted = [number_of(place) for place in taken if place]
    joined = [number_of(verdict.name) for event, verdict in store.log if type(event) is JoinQueue]
    assert len(granted) > 16
    assert granted == joined == sorted(joined)
    assert held(store) == (0, 0)


def test_sixteen_threads_on_two_slots_all_get_their_turns(server: FailureServer) -> None:
    store = Watched()
    session = mounted(BulkheadAdapter(Bulkhead(2, LONGEST), store=store))
    in_threads(16, lambda _: [session.get(server.url + "/echo") for _ in range(12)])
    assert len(server.requests) == 192
    waiting: list[str] = []
    in_use = 0
    for event, verdict in store.log:
        if type(event) is JoinQueue:
            waiting.append(verdict.name)
        elif type(event) is ReleaseSlot:
            in_use -= 1
        elif type(event) is AcquireSlot and type(verdict) is Slot:
            # There is a slot for every earlier call, though a thread may be slow to take it: no call starves.
            ahead = waiting.index(event.place) if event.place else len(waiting)
            in_use += 1
            assert in_use + ahead <= 2
            if event.place:
                del waiting[ahead]
    assert (in_use, waiting, held(store)) == (0, [], (0, 0))


def test_a_call_that_does_not_wait_is_refused_at_once(server: FailureServer) -> None:
    adapter = BulkheadAdapter(2, acquisition_timeout=0)
    session = mounted(adapter)
    bodies = [session.get(server.url + "/echo", stream=True) for _ in range(2)]
    refused: list[bool] = []

    def work(number: int) -> None:
        with pytest.raises(PoolTimeoutError) as caught:
            session.get(server.url + "/echo")
        refused.append(caught.value.polvo.waits == [])

    in_threads(16, work)
    assert (refused, len(server.requests), slots_of(adapter)) == ([True] * 16, 2, (2, 0))
    for body in bodies:
        body.close()
    assert slots_of(adapter) == (0, 0)


def test_a_call_waits_for_just_its_patience(server: FailureServer) -> None:
    clock = VirtualClock()
    adapter = BulkheadAdapter(1, acquisition_timeout=7.5, clock=clock)
    session = mounted(adapter)
    body = session.get(server.url + "/echo", stream=True)
    with pytest.raises(PoolTimeoutError) as caught:
        session.get(server.url + "/echo")
    error: Any = caught.value
    assert (clock.now(), error.polvo.queued, error.polvo.attempts) == (7.5, 7.5, [])
    assert slots_of(adapter) == (1, 0)
    body.close()


def test_a_call_waits_no_longer_than_its_deadline(server: FailureServer) -> None:
    clock = VirtualClock()
    session = mounted(ResilientAdapter(deadline=2.5, bulkhead=1, clock=clock))
    body = session.get(server.url + "/echo", stream=True)
    with pytest.raises(PoolTimeoutError):
        session.get(server.url + "/echo")
    assert clock.now() == 2.5
    body.close()


def test_a_call_that_waited_reports_how_long(server: FailureServer) -> None:
    store = Watched()
    session = mounted(BulkheadAdapter(Bulkhead(1, LONGEST), store=store))
    body = session.get(server.url + "/echo", stream=True)
    reports: list[Any] = []
    thread = threading.Thread(target=lambda: reports.append(session.get(server.url + "/echo").polvo), daemon=True)
    thread.start()
    assert store.joined.wait(LONGEST)
    body.close()
    thread.join(LONGEST)
    assert reports[0].queued == reports[0].waited > 0
    assert [wait.reason for wait in reports[0].waits] == ["bulkhead, all 1 slots are in use"] * len(reports[0].waits)


class Holding(HTTPAdapter):
    """An adapter that sends for real, and then holds the response until the test releases it, or raises."""

    def __init__(self, error: BaseException | None = None) -> None:
        super().__init__()
        self.arrived, self.released = threading.Event(), threading.Event()
        self.error = error

    def send(self, *args: Any, **keywords: Any) -> requests.Response:
        response = super().send(*args, **keywords)
        if self.error is not None:
            response.close()
            raise self.error
        self.arrived.set()
        assert self.released.wait(LONGEST)
        return response


def test_a_call_that_waits_for_a_slot_while_the_circuit_opens_is_refused(server: FailureServer) -> None:
    store, inner = Watched(), Holding()
    breaker, bulkhead = CircuitBreaker(failure_threshold=1), Bulkhead(1, LONGEST)
    session = mounted(ResilientAdapter(False, circuit_breaker=breaker, bulkhead=bulkhead, inner=inner, store=store))
    refused: list[bool] = []

    def first() -> None:
        assert session.get(server.url + "/fault/status").status_code == 503

    def second() -> None:
        with pytest.raises(CircuitOpenError):
            session.get(server.url + "/echo")
        refused.append(True)

    threads = [threading.Thread(target=first, daemon=True), threading.Thread(target=second, daemon=True)]
    threads[0].start()
    assert inner.arrived.wait(LONGEST)
    threads[1].start()
    assert store.joined.wait(LONGEST)
    inner.released.set()
    for thread in threads:
        thread.join(LONGEST)
    assert (refused, held(store), len(server.requests)) == ([True], (0, 0), 1)


def test_a_call_that_finds_no_slot_has_not_used_up_the_probe(server: FailureServer) -> None:
    clock = VirtualClock()
    store, bulkhead = MemoryStore(now=clock.now), Bulkhead(1, acquisition_timeout=0)
    breaker = CircuitBreaker(failure_threshold=1)
    adapter = ResilientAdapter(False, circuit_breaker=breaker, bulkhead=bulkhead, store=store)
    session, other = mounted(adapter), mounted(BulkheadAdapter(bulkhead, store=store))
    assert session.get(server.url + "/fault/status").status_code == 503
    clock.advance(60)
    body = other.get(server.url + "/echo", stream=True)
    for _ in range(3):
        with pytest.raises(PoolTimeoutError):
            session.get(server.url + "/echo")
    assert adapter.circuit(server.url).state == "open"
    body.close()
    assert session.get(server.url + "/echo").status_code == 200
    assert adapter.circuit(server.url).state == "closed"


def test_no_connection_is_thrown_away(caplog: pytest.LogCaptureFixture) -> None:
    with Meeting(12) as server, caplog.at_level(logging.WARNING, logger="urllib3.connectionpool"):
        adapter = BulkheadAdapter(12, acquisition_timeout=LONGEST)
        session = mounted(adapter)
        in_threads(48, lambda _: session.get(server.url))
        (pool,) = [adapter.poolmanager.pools[key] for key in adapter.poolmanager.pools.keys()]  # noqa: SIM118
        assert (pool.pool.maxsize, pool.num_connections) == (12, 12)
        session.close()
    assert caplog.records == []


# Broken off -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(), GeneratorExit(), MemoryError()])
def test_a_thread_that_dies_in_mid_flight_gives_its_slot_back(
    error: BaseException, server: FailureServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda arguments: None)
    adapter = ResilientAdapter(False, circuit_breaker=True, bulkhead=3, inner=Holding(error))
    session = mounted(adapter)
    in_threads(9, lambda _: session.get(server.url + "/echo"))
    assert slots_of(adapter) == (0, 0)
    assert len(server.requests) == 9


@pytest.fixture
def interrupted() -> Iterator[Callable[[Callable[[], bool]], None]]:
    """Press Ctrl-C, for real, as soon as something has come about."""
    threads = []
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a process in the background may ignore it

    def press(when: Callable[[], bool]) -> None:
        def wait() -> None:
            ready = threading.Event()
            for _ in range(int(LONGEST / 0.01)):
                if when():
                    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
                    return
                ready.wait(0.01)

        threads.append(threading.Thread(target=wait, daemon=True))
        threads[-1].start()

    yield press
    for thread in threads:
        thread.join(LONGEST)
    signal.signal(signal.SIGINT, before)


needs_signals = pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="this system has no such signals")


@needs_signals
def test_ctrl_c_in_mid_flight_gives_the_slot_back(server: FailureServer, interrupted: Any) -> None:
    adapter = BulkheadAdapter(1)
    session = mounted(adapter)
    interrupted(lambda: len(server.requests) == 1)
    with pytest.raises(KeyboardInterrupt):
        session.get(server.url + "/fault/hang", timeout=LONGEST)
    assert slots_of(adapter) == (0, 0)
    assert session.get(server.url + "/echo").status_code == 200


@needs_signals
def test_ctrl_c_in_the_queue_leaves_it(server: FailureServer, interrupted: Any) -> None:
    adapter = BulkheadAdapter(1, acquisition_timeout=LONGEST)
    session = mounted(adapter)
    body = session.get(server.url + "/echo", stream=True)
    interrupted(lambda: bool(adapter.store._parked))
    with pytest.raises(KeyboardInterrupt):
        session.get(server.url + "/echo")
    assert (slots_of(adapter), adapter.store._parked) == ((1, 0), {})
    body.close()
    assert session.get(server.url + "/echo").status_code == 200


class Interrupting:
    """A clock whose user presses Ctrl-C in the middle of every sleep."""

    now, wall, uniform, wait, spawn, take = (
        SYSTEM.now,
        SYSTEM.wall,
        SYSTEM.uniform,
        SYSTEM.wait,
        SYSTEM.spawn,
        SYSTEM.take,
    )

    def sleep(self, seconds: float) -> None:
        raise KeyboardInterrupt


def test_ctrl_c_between_two_attempts_leaves_no_slot_taken(server: FailureServer) -> None:
    adapter = ResilientAdapter(bulkhead=1, clock=Interrupting())
    session = mounted(adapter)
    with pytest.raises(KeyboardInterrupt):
        session.get(server.url + "/fault/status")
    assert slots_of(adapter) == (0, 0)


# Bodies ---------------------------------------------------------------------------------------------------------------


def leave(response: requests.Response) -> None:
    """Break off in the middle of a body, as an error in the code of a user does."""
    try:
        with response:
            for _ in response.iter_content(10):
                raise ZeroDivisionError
    except ZeroDivisionError:
        pass


@pytest.mark.parametrize(
    "end",
    [
        lambda response: response.close(),
        lambda response: response.content,
        lambda response: response.json(),
        lambda response: list(response.iter_content(7)),
        lambda response: list(response.iter_lines()),
        lambda response: response.__exit__(),
        leave,
    ],
)
def test_a_streamed_body_holds_its_slot_until_it_has_come_to_an_end(end: Any, server: FailureServer) -> None:
    adapter = BulkheadAdapter(1, acquisition_timeout=0)
    session = mounted(adapter)
    response = session.get(server.url + "/echo", stream=True)
    assert slots_of(adapter) == (1, 0)
    end(response)
    assert slots_of(adapter) == (0, 0)
    response.close()
    assert slots_of(adapter) == (0, 0)


def test_a_streamed_body_that_breaks_off_gives_its_slot_back(server: FailureServer) -> None:
    adapter = BulkheadAdapter(1, acquisition_timeout=0)
    response = mounted(adapter).get(server.url + "/fault/reset-body", stream=True)
    with pytest.raises(requests.RequestException):
        _ = response.content
    assert slots_of(adapter) == (0, 0)


@pytest.mark.parametrize("use", [lambda response: None, lambda response: next(response.iter_content(10))])
def test_a_streamed_body_that_is_dropped_gives_its_slot_back(use: Any, server: FailureServer) -> None:
    adapter = BulkheadAdapter(1, acquisition_timeout=0)
    session = mounted(adapter)
    response = session.get(server.url + "/echo", stream=True)
    use(response)
    del response
    gc.collect()
    assert session.get(server.url + "/echo").status_code == 200
    assert slots_of(adapter) == (0, 0)


def test_a_body_that_is_dropped_while_the_store_is_locked_waits_for_nothing(server: FailureServer) -> None:
    # The collector runs where it likes, on a thread that is moving the state as well.
    adapter = BulkheadAdapter(1, acquisition_timeout=0)
    session = mounted(adapter)
    bodies = [session.get(server.url + "/echo", stream=True)]

    def drop(number: int) -> None:
        with adapter.store._lock:
            bodies.clear()
            gc.collect()

    in_threads(1, drop)
    assert session.get(server.url + "/echo").status_code == 200


def test_a_body_that_is_dropped_while_a_call_waits_makes_room_for_it(server: FailureServer) -> None:
    # A finalizer wakes no call, because it must not lock anything: a waiting call looks once a second.
    store = Watched()
    session = mounted(BulkheadAdapter(Bulkhead(1, LONGEST), store=store))
    bodies = [session.get(server.url + "/echo", stream=True)]
    statuses: list[int] = []
    thread = threading.Thread(
        target=lambda: statuses.append(session.get(server.url + "/echo").status_code), daemon=True
    )
    thread.start()
    assert store.joined.wait(LONGEST)
    bodies.clear()
    gc.collect()
    thread.join(LONGEST)
    assert statuses == [200]


def test_bodies_are_closed_by_other_threads_than_they_were_asked_for(server: FailureServer) -> None:
    adapter = BulkheadAdapter(4, acquisition_timeout=LONGEST)
    session = mounted(adapter)
    together = threading.Barrier(4)
    bodies: list[requests.Response] = []

    def work(number: int) -> None:
        for _ in range(10):
            bodies.append(session.get(server.url + "/echo", stream=True))
            together.wait(LONGEST)
            bodies.pop().close()

    in_threads(4, work)
    assert slots_of(adapter) == (0, 0)


def test_redirects_hold_no_slot_for_the_hop_that_is_over(server: FailureServer) -> None:
    adapter = BulkheadAdapter(1, acquisition_timeout=0)
    session = mounted(adapter)
    for stream in (False, True):
        response = session.get(server.url + "/fault/redirect?code=302", stream=stream)
        assert [hop.status_code for hop in response.history] == [302]
        response.close()
    assert slots_of(adapter) == (0, 0)


@pytest.mark.parametrize("stream", [False, True])
def test_an_auth_object_that_sends_again_finds_the_slot_free(stream: bool, server: FailureServer) -> None:
    def again(response: requests.Response, **keywords: Any) -> requests.Response:
        if response.status_code != 401:
            return response
        _ = response.content
        response.close()
        sent: requests.Response = response.connection.send(response.request.copy(), **keywords)
        return sent

    adapter = BulkheadAdapter(1, acquisition_timeout=0)
    url = server.url + "/fault/status?code=401&times=1"
    with mounted(adapter).get(url, hooks={"response": again}, stream=stream) as response:
        assert response.status_code == 200
    assert slots_of(adapter) == (0, 0)


@pytest.mark.parametrize("path", ["/fault/status?code=204", "/fault/status?code=304", "/echo?size=0"])
def test_a_body_that_there_is_none_of_holds_its_slot_no_longer_than_the_response(
    path: str, server: FailureServer
) -> None:
    adapter = BulkheadAdapter(1, acquisition_timeout=0)
    with mounted(adapter).get(server.url + path, stream=True):
        pass
    assert slots_of(adapter) == (0, 0)


# A fork ---------------------------------------------------------------------------------------------------------------


def _in_child(adapter: BulkheadAdapter, url: str, results: Any) -> None:
    session = mounted(adapter)
    try:
        body = session.get(url + "/echo", stream=True)
        results.put((body.status_code, held(adapter.store)))
    except PoolTimeoutError:
        results.put(("refused", held(adapter.store)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning")
def test_a_child_that_was_forked_while_slots_were_held_has_all_of_them(server: FailureServer) -> None:
    # There is nobody in the child who could give back what threads of the parent hold. The parent knows nothing of
    # what the child takes.
    adapter = BulkheadAdapter(1, acquisition_timeout=0)
    session = mounted(adapter)
    body = session.get(server.url + "/echo", stream=True)
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    child = context.Process(target=_in_child, args=(adapter, server.url, results))
    child.start()
    child.join(LONGEST)
    assert results.get() == (200, (1, 0))
    assert slots_of(adapter) == (1, 0)
    body.close()
    assert slots_of(adapter) == (0, 0)
    assert session.get(server.url + "/echo").status_code == 200


# The event loop -------------------------------------------------------------------------------------------------------


class Counting(httpx.AsyncHTTPTransport):
    """Sends for real, and counts how many do so at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self.arrived, self.released = asyncio.Event(), asyncio.Event()
        self.owns = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.now += 1
        self.most = max(self.most, self.now)
        self.arrived.set()
        try:
            if self.owns:
                await self.released.wait()
            return await super().handle_async_request(request)
        finally:
            self.now -= 1


async def until(condition: Callable[[], bool]) -> None:
    """Let the other tasks run until a condition holds that no event announces."""
    for _ in range(1_000_000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it does not come about")


def on_loop(policy: Any, **keywords: Any) -> tuple[AsyncPolicyTransport, Counting]:
    inner = Counting()
    return AsyncPolicyTransport(policy, inner=inner, **keywords), inner


@pytest.mark.parametrize(
    "policy",
    [
        Bulkhead(5, LONGEST),
        Gates((CircuitBreaker(), Bulkhead(5, LONGEST))),
        AdaptiveBulkhead(initial_limit=5, max_limit=5, acquisition_timeout=LONGEST),
    ],
)
async def test_two_hundred_tasks_share_five_slots(policy: Any, server: FailureServer) -> None:
    transport, inner = on_loop(policy)
    async with httpx.AsyncClient(transport=transport, timeout=LONGEST) as client:
        responses = await asyncio.gather(*(client.get(server.url + "/echo") for _ in range(200)))
    assert [response.status_code for response in responses] == [200] * 200
    assert inner.most == 5
    assert slots_of(transport) == (0, 0)


async def test_tasks_that_are_cancelled_give_back_slots_and_places(server: FailureServer) -> None:
    transport, inner = on_loop(Bulkhead(5, LONGEST))
    inner.owns = True
    async with httpx.AsyncClient(transport=transport, timeout=LONGEST) as client:
        tasks = [asyncio.ensure_future(client.get(server.url + "/echo")) for _ in range(200)]
        await until(lambda: slots_of(transport) == (5, 195))
        # Two of the five in flight, and many of the waiting calls, the first among them.
        cancelled = [tasks[0], tasks[3], *tasks[5:200:7]]
        for task in cancelled:
            task.cancel()
        await until(lambda: all(task.done() for task in cancelled))
        assert all(task.cancelled() for task in cancelled)
        inner.released.set()
        responses = await asyncio.wait_for(asyncio.gather(*(task for task in tasks if task not in cancelled)), LONGEST)
    assert [response.status_code for response in responses] == [200] * (200 - len(cancelled))
    assert inner.most == 5
    assert slots_of(transport) == (0, 0)


async def test_all_tasks_are_cancelled_and_nothing_is_left(server: FailureServer) -> None:
    transport, inner = on_loop(Gates((CircuitBreaker(), Bulkhead(5, LONGEST))))
    inner.owns = True
    async with httpx.AsyncClient(transport=transport, timeout=LONGEST) as client:
        tasks = [asyncio.ensure_future(client.get(server.url + "/echo")) for _ in range(50)]
        await until(lambda: len(transport.store._parked) == 45)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    assert slots_of(transport) == (0, 0)
    assert transport.store._parked == {}


async def test_a_task_that_is_cancelled_while_it_waits_leaves_no_task_behind(server: FailureServer) -> None:
    transport, inner = on_loop(Bulkhead(1, LONGEST))
    inner.owns = True
    before = asyncio.all_tasks()
    async with httpx.AsyncClient(transport=transport, timeout=LONGEST) as client:
        tasks = [asyncio.ensure_future(client.get(server.url + "/echo")) for _ in range(3)]
        await until(lambda: len(transport.store._parked) == 2)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == before


async def test_tasks_are_served_in_the_order_in_which_they_came(server: FailureServer) -> None:
    store = Watched()
    transport, _ = on_loop(Bulkhead(1, LONGEST), store=store)
    async with httpx.AsyncClient(transport=transport, timeout=LONGEST) as client:
        await asyncio.gather(*(client.get(server.url + "/echo") for _ in range(50)))
    taken = [event.place for event, verdict in store.log if type(event) is AcquireSlot and type(verdict) is Slot]
    assert [number_of(place) for place in taken if place] == list(range(49))


async def test_a_streamed_body_on_a_loop_holds_its_slot_until_it_is_closed(server: FailureServer) -> None:
    transport, _ = on_loop(Bulkhead(1, 0), stream=True)
    async with httpx.AsyncClient(transport=transport, timeout=LONGEST) as client:
        async with client.stream("GET", server.url + "/echo"):
            assert slots_of(transport) == (1, 0)
            with pytest.raises(PoolTimeoutError):
                await client.get(server.url + "/echo")
        assert slots_of(transport) == (0, 0)
        assert (await client.get(server.url + "/echo")).status_code == 200
        assert slots_of(transport) == (0, 0)


async def test_threads_and_tasks_share_the_slots_of_a_store(server: FailureServer) -> None:
    store = Watched()
    transport, _ = on_loop(Bulkhead(1, LONGEST), store=store)
    body = mounted(BulkheadAdapter(Bulkhead(1, LONGEST), store=store)).get(server.url + "/echo", stream=True)
    async with httpx.AsyncClient(transport=transport, timeout=LONGEST) as client:
        task = asyncio.ensure_future(client.get(server.url + "/echo"))
        await until(lambda: bool(store._parked))
        # Another thread wakes a call that waits on the loop.
        await asyncio.get_running_loop().run_in_executor(None, body.close)
        response = await asyncio.wait_for(task, LONGEST)
    assert response.status_code == 200
    assert held(store) == (0, 0)
