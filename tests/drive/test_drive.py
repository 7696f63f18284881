"""What a driver owes a flow, the same on a thread and on an event loop."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from polvo_adapters.drive import aio, sync
from polvo_adapters.events import Attempt, Entry, Wait
from polvo_adapters.flow import Call, Decide, Event, Flow, Outcome, Send, Sleep
from polvo_adapters.simulate import VirtualClock
from polvo_adapters.stores import MemoryStore
from tests.compose.harness import AsyncVirtualClock
from tests.stores.contract import Counter

CALL = Call("GET", "http://server.example/")


class Transport:
    """Keeps the order of what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def send(self, effect: Send) -> Outcome:
        self.asked.append("send")
        return Outcome(status=503)

    def discard(self) -> None:
        self.asked.append("discard")


class AsyncTransport(Transport):
    async def send(self, effect: Send) -> Outcome:
        return super().send(effect)

    async def discard(self) -> None:
        super().discard()


def on_a_thread(flow: Flow, entries: list[Entry]) -> tuple[Any, list[str]]:
    clock, transport = VirtualClock(), Transport()
    return sync.drive(flow, transport, MemoryStore(), clock, entries), transport.asked


def on_a_loop(flow: Flow, entries: list[Entry]) -> tuple[Any, list[str]]:
    clock, transport = AsyncVirtualClock(), AsyncTransport()
    return asyncio.run(aio.drive(flow, transport, MemoryStore(), clock, entries)), transport.asked


@pytest.fixture(params=[on_a_thread, on_a_loop])
def drive(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_effects_are_performed_in_order_and_answered(drive: Any) -> None:
    def flow() -> Flow:
        first: Outcome = yield Send(CALL)
        verdicts = yield Decide((Event(Counter(9), "a", 2), Event(Counter(9), "a", 3)))
        slept = yield Sleep(4.0, 4.0, "why not")
        return first._replace(note=f"{verdicts} {slept}")

    entries: list[Entry] = []
    outcome, _ = drive(flow(), entries)
    assert (outcome.status, outcome.note) == (503, "(2, 5) 4.0")
    assert entries == [Attempt(503, "", 0.0), Wait(4.0, "why not")]


def test_a_response_is_given_up_before_the_wait(drive: Any) -> None:
    def flow() -> Flow:
        yield Send(CALL)
        yield Sleep(1.0, 1.0, "why not")
        outcome: Outcome = yield Send(CALL)
        return outcome

    assert drive(flow(), [])[1] == ["send", "discard", "send"]


def test_a_flow_that_raises_is_closed_and_its_error_comes_out(drive: Any) -> None:
    closed = []

    def flow() -> Flow:
        try:
            yield Send(CALL)
            raise ZeroDivisionError
        finally:
            closed.append(True)

    with pytest.raises(ZeroDivisionError):
        drive(flow(), [])
    assert closed == [True]


def test_a_flow_is_closed_when_the_drive_is_interrupted(drive: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(self: Any, seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(VirtualClock, "sleep", interrupt)
    closed = []

    def flow() -> Flow:
        try:
            yield Sleep(1.0, 1.0, "why not")
        finally:
            closed.append(True)
        return Outcome()

    kept = flow()  # or the collector would close it
    with pytest.raises(KeyboardInterrupt):
        drive(kept, [])
    assert closed == [True]
