"""Finalizers that the garbage collector runs in the middle of a decision wait for no lock of their own thread."""

from __future__ import annotations

import faulthandler
import gc
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import requests

from polvo_adapters.adapters import PolicyAdapter
from polvo_adapters.core.machines import Event
from polvo_adapters.errors import PolvoError
from polvo_adapters.policies.breaker import CircuitBreaker
from polvo_adapters.policies.bulkhead import Bulkhead
from polvo_adapters.runtime.garbage import is_collecting
from polvo_adapters.stores import MemoryStore, SQLiteStore
from polvo_adapters.stores.base import BaseStore
from polvo_adapters.testing import FailureServer

# A body that is dropped unread leaves its socket to the collector, with `requests` alone as well.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def bounded() -> Iterator[None]:
    """End the process where a thread waits for itself: nothing else could."""
    faulthandler.dump_traceback_later(60, exit=True)
    threshold = gc.get_threshold()
    yield
    gc.set_threshold(*threshold)
    faulthandler.cancel_dump_traceback_later()


STORES: dict[str, Callable[[Path], BaseStore]] = {
    "memory": lambda folder: MemoryStore(),
    "full memory": lambda folder: MemoryStore(max_keys=2),
    "sqlite": lambda folder: SQLiteStore(folder / "store.db"),
}


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BaseStore]:
    made = STORES[request.param](tmp_path)
    yield made
    getattr(made, "close", lambda: None)()


class Cycle:
    """Garbage that only the collector finds."""

    def __init__(self, held: Any = None) -> None:
        self.me, self.held = self, held


class Finalized(Cycle):
    def __init__(self, action: Callable[[], object]) -> None:
        super().__init__()
        self.action = action

    def __del__(self) -> None:
        self.action()


class Counting:
    """A machine that counts, and whose transitions are interrupted by the collector."""

    initial = 0

    def transition(self, state: int, event: Any, now: float) -> tuple[int, int]:
        gc.collect()
        return state + 1, state + 1


def count(name: str = "a") -> Event:
    return Event(Counting(), name, None)


def lines(session: requests.Session, url: str) -> Iterator[Any]:
    with session.get(url, stream=True) as response:
        yield response.status_code
        yield from response.iter_content(1)


@pytest.mark.parametrize("threshold", [1, 5, 50, 700])
def test_a_body_that_is_collected_while_the_store_decides_is_released_all_the_same(
    store: BaseStore, threshold: int
) -> None:
    with FailureServer() as server, requests.Session() as session:
        session.mount("http://", PolicyAdapter(Bulkhead(50, acquisition_timeout=0.0), CircuitBreaker(), store=store))
        gc.set_threshold(threshold)
        for _ in range(20):
            generator = lines(session, server.url + "/echo?size=100")
            assert next(generator) == 200
            Cycle(generator)
            del generator
            assert session.get(server.url + "/echo").status_code == 200


@pytest.mark.parametrize("events", [[count()], [count(), count("b")]])
def test_a_body_that_is_collected_within_a_transition_waits_for_nothing(
    store: BaseStore, events: Sequence[Event]
) -> None:
    with FailureServer() as server, requests.Session() as session:
        session.mount("http://", PolicyAdapter(Bulkhead(1, acquisition_timeout=0.0), store=store))
        gc.disable()
        try:
            for drop in (lambda response: response.close, lambda response: response, lambda response: response.raw):
                response = session.get(server.url + "/echo?size=100", stream=True)
                held = drop(response)
                Finalized(held) if callable(held) else Cycle(held)
                del response, held
                store.decide(events)  # collects it, and drains what it defers
                assert session.get(server.url + "/echo").status_code == 200
        finally:
            gc.enable()


@pytest.mark.parametrize("batch", [1, 2])
def test_a_finalizer_that_decides_waits_for_nothing_and_loses_nothing(batch: int) -> None:
    store = MemoryStore()
    verdicts: list[Any] = []
    gc.disable()
    try:
        Finalized(lambda: verdicts.append(store.decide([count()])))
        verdicts.append(store.decide([count()] * batch))
    finally:
        gc.enable()
    assert verdicts == [(1,), tuple(range(2, batch + 2))]


def test_a_finalizer_that_asks_a_file_is_told_at_once_that_it_is_busy(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "store.db")
    reasons: list[Any] = []

    def decide() -> None:
        try:
            store.decide([count()])
        except PolvoError as error:
            reasons.append(error.reason)

    gc.disable()
    try:
        Finalized(decide)
        assert store.decide([count()]) == (1,)
    finally:
        gc.enable()
        store.close()
    assert reasons == ["store busy"]


def test_only_the_thread_that_collects_is_collecting() -> None:
    seen: list[bool] = []

    def look() -> None:
        seen.append(is_collecting())
        thread = threading.Thread(target=lambda: seen.append(is_collecting()))
        thread.start()
        thread.join()

    Finalized(look)
    gc.collect()
    assert seen == [True, False]
    assert not is_collecting()
