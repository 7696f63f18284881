"""Calls on other threads within a time limit: no caller waits longer, and what hangs holds one thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from polvo_adapters.runtime.bounded import BoundedCalls
from polvo_adapters.runtime.clock import SYSTEM, SystemClock
from polvo_adapters.runtime.workers import NoThreadError
from tests.support.token_sharing import until

LONG = 30.0


class Counting(SystemClock):
    """The clock of this machine, which counts those who wait by it."""

    waits = 0

    def wait(self, event: threading.Event, seconds: float) -> None:  # type: ignore[override]
        self.waits += 1
        super().wait(event, seconds)


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    gate = threading.Event()
    yield gate
    gate.set()


def test_it_returns_and_raises_what_the_function_does() -> None:
    calls = BoundedCalls()
    assert calls.call(SYSTEM, LONG, lambda: threading.current_thread().name) != threading.current_thread().name
    with pytest.raises(ZeroDivisionError):
        calls.call(SYSTEM, LONG, lambda: 1 // 0)


def test_nobody_waits_longer_than_it_may(gate: threading.Event) -> None:
    calls, began = BoundedCalls(), SYSTEM.now()
    with pytest.raises(TimeoutError):
        calls.call(SYSTEM, 0.05, gate.wait)
    assert SYSTEM.now() - began < 5


def test_a_result_that_comes_too_late_is_given_up(gate: threading.Event) -> None:
    calls, given_up = BoundedCalls(), threading.Event()
    with pytest.raises(TimeoutError):
        calls.call(SYSTEM, 0.01, gate.wait, discard=lambda _: given_up.set())
    assert not given_up.is_set()
    gate.set()
    assert given_up.wait(5)


def test_an_error_that_comes_too_late_is_nobodys(gate: threading.Event) -> None:
    def fail() -> None:
        gate.wait()
        raise OSError

    with pytest.raises(TimeoutError):
        BoundedCalls().call(SYSTEM, 0.01, fail, discard=lambda _: pytest.fail("there is no result"))
    gate.set()


def test_those_who_ask_for_the_same_share_one_thread(gate: threading.Event) -> None:
    calls, begun, clock = BoundedCalls(), [], Counting()

    def resolve() -> str:
        begun.append(1)
        gate.wait()
        return "an address"

    def ask(_: int) -> str:
        return calls.call(clock, LONG, resolve, key="api.example.com")

    with ThreadPoolExecutor(8) as threads:
        answers = threads.map(ask, range(8))
        until(lambda: clock.waits == 8)
        with pytest.raises(TimeoutError):
            calls.call(SYSTEM, 0.05, resolve, key="api.example.com")
        gate.set()
        assert list(answers) == ["an address"] * 8
    assert len(begun) == 1
    calls.call(SYSTEM, LONG, resolve, key="api.example.com")
    assert len(begun) == 2


def test_each_who_shares_an_error_raises_its_own(gate: threading.Event) -> None:
    calls, joined = BoundedCalls(), threading.Barrier(5)

    def fail() -> None:
        gate.wait()
        raise OSError("no such host")

    def ask(_: int) -> BaseException:
        joined.wait(10)
        with pytest.raises(OSError, match="no such host") as caught:
            calls.call(SYSTEM, LONG, fail, key="api.example.com")
        return caught.value

    with ThreadPoolExecutor(4) as threads:
        errors = threads.map(ask, range(4))
        joined.wait(10)
        gate.set()
        found = list(errors)
    assert len({id(error) for error in found}) == 4


def test_without_a_thread_it_is_made_on_this_one() -> None:
    class NoThreads(SystemClock):
        @staticmethod
        def spawn(task: Any) -> None:
            raise NoThreadError("none")

    assert BoundedCalls().call(NoThreads(), LONG, threading.current_thread) is threading.current_thread()
