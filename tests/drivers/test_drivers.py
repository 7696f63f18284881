"""What a driver owes a flow, the same in every world."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest

from polvo_adapters.core.effects import Acquire, Decide, Flow, Park, Race, Release, Send, Sleep, Start, WaitAny
from polvo_adapters.core.machines import Changed, Event, Wake
from polvo_adapters.core.outcomes import Outcome
from polvo_adapters.core.report import Attempt, StateChange, Wait
from polvo_adapters.drivers import aio
from polvo_adapters.testing.simulation.simulation import ScriptedReply
from tests.support.driver_worlds import (
    CALL,
    Loop,
    Raises,
    Simulated,
    Threads,
    World,
    book,
    everywhere,
    on_machines,
    to,
    written,
)
from tests.support.store_contract import Counter
from tests.support.virtual_worlds import BOUND, LoopClock

ENDS = [KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError, ZeroDivisionError]


@everywhere
def test_effects_are_performed_in_order_and_answered(world: Callable[..., World]) -> None:
    def flow() -> Flow:
        first: Outcome = yield Send(CALL)
        verdicts = yield Decide((Event(Counter(9), "a", 2), Event(Counter(9), "a", 3)))
        slept = yield Sleep(4.0, 4.0, "why not")
        admitted = yield Acquire(book("a"))
        settled = yield Release(book("b"), book("broken"))
        parked = yield Park("nobody calls", 2.5, "parked")
        return first._replace(note=f"{verdicts} {slept} {admitted} {settled} {parked}")

    made = world()
    outcome = made.drive(flow())
    assert (outcome.status, outcome.note) == (503, "(2, 5) 4.0 ('a',) None 2.5")
    assert made.entries == [Attempt(503, "", 0.0), Wait(4.0, "why not"), Wait(2.5, "parked")]
    assert made.ledger == ["a at 4", "b at 4"]
    assert made.clock.now() == 6.5


@on_machines
@pytest.mark.parametrize(
    "effect",
    [Sleep(1.0, 1.0, "why not"), Park("a", 1.0, "why not"), Race(iter(()))],  # a race whose flow is at its end
)
def test_a_response_is_given_up_before_a_wait(world: Callable[..., World], effect: Any) -> None:
    def flow() -> Flow:
        yield Send(to("first"))
        yield effect if type(effect) is not Race else Race(ended())
        outcome: Outcome = yield Send(to("second"))
        return outcome

    made = world()
    made.drive(flow())
    assert made.log == ["first sent", "first closed", "second sent"]


def ended() -> Flow:
    return Outcome()
    yield


@on_machines
def test_a_response_is_given_up_before_the_next_attempt(world: Callable[..., World]) -> None:
    def flow() -> Flow:
        yield Send(to("first"))
        outcome: Outcome = yield Send(to("second"))
        return outcome

    made = world()
    made.drive(flow())
    assert made.log == ["first sent", "first closed", "second sent"]


@on_machines
@pytest.mark.parametrize("error", [error for error in ENDS if error is not GeneratorExit])  # which cannot await
def test_a_flow_that_raises_leaves_no_response_open(world: Callable[..., World], error: type[BaseException]) -> None:
    def flow() -> Flow:
        yield Send(to("first"))
        raise error

    made = world()
    with pytest.raises(error):
        made.drive(flow())
    assert made.log == ["first sent", "first closed"]


@everywhere
def test_a_flow_that_raises_is_closed_and_its_error_comes_out(world: Callable[..., World]) -> None:
    closed = []

    def flow() -> Flow:
        try:
            yield Send(CALL)
            raise ZeroDivisionError
        finally:
            closed.append(True)

    with pytest.raises(ZeroDivisionError):
        world().drive(flow())
    assert closed == [True]


@everywhere
def test_a_flow_is_closed_when_the_drive_is_interrupted(world: Callable[..., World]) -> None:
    def reply(call: Any, now: float) -> ScriptedReply:
        raise KeyboardInterrupt

    closed = []

    def flow() -> Flow:
        try:
            yield Send(CALL)
        finally:
            closed.append(True)
        return Outcome()

    kept = flow()  # or the collector would close it
    with pytest.raises(KeyboardInterrupt):
        world(reply).drive(kept)
    assert closed == [True]


@everywhere
@pytest.mark.parametrize("effect", [None, "send", Start(ended()), WaitAny(1.0)])
def test_an_effect_out_of_place_is_a_type_error(world: Callable[..., World], effect: Any) -> None:
    def flow() -> Flow:
        yield Acquire(book("a"))
        yield effect
        return Outcome()

    made = world()
    with pytest.raises(TypeError, match="no effect"):
        made.drive(flow())
    assert made.ledger == ["a at 0", "-a at 0"]


# Leases ---------------------------------------------------------------------------------------------------------------


def breaking_off(last: Any) -> Flow:
    """Hold two leases of three, and then do something."""
    yield Acquire(book("a"))
    yield Acquire(book("b"))
    yield Release(book("b settled"), ())
    yield Acquire(book("c", "d"))
    if isinstance(last, BaseException):
        raise last
    yield last
    return Outcome()


BROKEN_OFF = ["a at 0", "b at 0", "b settled at 0", "c at 0", "d at 0", "-c at 0", "-d at 0", "-a at 0"]


@everywhere
@pytest.mark.parametrize("error", ENDS)
def test_a_flow_that_raises_gives_back_what_it_holds_once_and_the_last_first(
    world: Callable[..., World], error: type[BaseException]
) -> None:
    made = world()
    with pytest.raises(error):
        made.drive(breaking_off(error()))
    assert made.ledger == BROKEN_OFF


@on_machines
@pytest.mark.parametrize("error", [error for error in ENDS if error is not ZeroDivisionError])
def test_an_attempt_that_ends_with_no_exception_gives_back_what_is_held(
    world: Callable[..., World], error: type[BaseException]
) -> None:
    made = world(lambda call, now: Raises(error))
    with pytest.raises(error):
        made.drive(breaking_off(Send(CALL)))
    assert made.ledger == BROKEN_OFF


@everywhere
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
@pytest.mark.parametrize("effect", [Sleep(1, 1, "why not"), Park("a", 1, "why not"), Decide(book("e"))])
def test_whatever_ends_an_effect_gives_back_what_is_held(
    world: Callable[..., World], error: type[BaseException], effect: Any
) -> None:
    made = world()
    flow = breaking_off(effect)

    def interrupt(*_: Any) -> Any:
        raise error

    def break_in() -> Flow:
        """Run the flow up to its last effect, which then is broken."""
        answer = None
        while (asked := flow.send(answer)) is not effect:
            answer = yield asked
        if type(effect) is Decide:
            healthy, made.store.decide = made.store.decide, interrupt

            def restored() -> Flow:
                made.store.decide = healthy
                return Outcome()
                yield

            broken.append(restored)
        elif type(effect) is Sleep:
            made.clock.uniform = interrupt
        else:
            made.store.park = interrupt
        try:
            yield effect
        finally:
            for restore in broken:
                next(restore(), None)
        return Outcome()

    broken: list[Any] = []
    with pytest.raises(error):
        made.drive(break_in())
    assert made.ledger == BROKEN_OFF


@everywhere
def test_a_flow_that_ends_without_settling_gives_back_what_it_holds(world: Callable[..., World]) -> None:
    made = world()
    made.drive(breaking_off(Sleep(0, 0, "why not")))
    assert made.ledger == BROKEN_OFF


@everywhere
def test_a_lease_that_has_ended_is_not_released_again(world: Callable[..., World]) -> None:
    def flow() -> Flow:
        yield Acquire(book("a"))
        yield Release(book("settled"), book("broken"))
        return Outcome()

    made = world()
    made.drive(flow())
    assert made.ledger == ["a at 0", "settled at 0"]


@everywhere
@pytest.mark.parametrize("refusing", [[Event(Counter(0), "b", 1)], book("no")])
def test_what_was_refused_is_not_held(world: Callable[..., World], refusing: list[Event]) -> None:
    def flow() -> Flow:
        yield Acquire(book("a"))
        yield Acquire([*book("b"), *refusing])
        return Outcome()

    made = world()
    made.drive(flow())
    assert made.ledger == ["a at 0", "-a at 0"]


@everywhere
def test_a_lease_that_cannot_be_given_back_hides_nothing_and_keeps_no_other(
    world: Callable[..., World], caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Counter):
        def release_event(self, verdict: Any) -> Any:
            raise OSError

    def flow() -> Flow:
        yield Acquire(book("a"))
        yield Acquire([Event(Broken(9), "b", 1)])
        raise KeyboardInterrupt

    made = world()
    with pytest.raises(KeyboardInterrupt):
        made.drive(flow())
    assert made.ledger == ["a at 0", "-a at 0"]
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


class Turning(Counter):
    """A machine that changes each time, and notifies a list."""

    def __init__(self) -> None:
        super().__init__(9)
        self.told: list[StateChange] = []
        self.listeners = (self.told.append, self.fail)

    def fail(self, change: StateChange) -> None:
        raise ZeroDivisionError

    def transition(self, state: int, event: int, now: float) -> Any:
        return state + 1, Changed(str(state), str(state + 1), "asked", "verdict")

    def release_event(self, verdict: Any) -> int:
        assert verdict == "verdict"
        return -1


@everywhere
@pytest.mark.parametrize("effect", [Decide, Acquire])
def test_a_change_is_reported_unless_another_event_is_refused(world: Callable[..., World], effect: Any) -> None:
    machine = Turning()

    def flow() -> Flow:
        yield effect([Event(machine, "turning", 1)])
        for refusing in (Event(Counter(0), "b", 1), *book("no")):
            yield effect([Event(machine, "turning", 1), refusing])
            yield effect([refusing, Event(machine, "turning", 1)])
        return Outcome()

    made = world()
    made.drive(flow())
    change = StateChange("turning", "0", "1", "asked")
    assert made.entries == [change]
    assert machine.told[0] == change
    assert len(machine.told) == (1 if effect is Decide else 2)  # what was admitted is given back, which turns it again


# Parking --------------------------------------------------------------------------------------------------------------


class Caller:
    """A machine that calls a name."""

    initial = 0

    def transition(self, state: int, event: str, now: float) -> tuple[int, Wake]:
        return state, Wake([event])


@everywhere
def test_a_name_that_was_called_already_is_not_waited_for(world: Callable[..., World]) -> None:
    def flow() -> Flow:
        yield Decide([Event(Caller(), "caller", "me")])
        first = yield Park("me", 5, "called")
        second = yield Park("me", 5, "not called")
        return Outcome(note=f"{first:g} {second:g}")

    assert world().drive(flow()).note == "0 5"


@everywhere
def test_a_parked_call_is_forgotten(world: Callable[..., World]) -> None:
    def flow() -> Flow:
        yield Park("me", 5, "not called")
        return Outcome()

    made = world()
    made.drive(flow())
    assert made.store._parked == {}


# Event loops ----------------------------------------------------------------------------------------------------------


def racing(inner: Any) -> Flow:
    def branch() -> Flow:
        yield Acquire(book("branch"))
        yield inner
        return Outcome()

    def race() -> Flow:
        yield Start(branch())
        yield WaitAny(None)
        return Outcome()

    yield Acquire(book("a"))
    yield Race(race())
    return Outcome()


@pytest.mark.parametrize("effect", [Send(to("hangs")), Sleep(9, 9, "why not"), Park("me", 9, "why not")])
@pytest.mark.parametrize("raced", [False, True])
def test_a_cancelled_task_gives_back_what_it_holds_at_once(effect: Any, raced: bool) -> None:
    world = Loop(lambda call, now: ScriptedReply(200, seconds=9))
    world.clock = LoopClock()

    async def run() -> None:
        task = asyncio.ensure_future(world.run(racing(effect) if raced else breaking_off(effect)))
        await world.clock.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert world.clock.now() == 1
        assert asyncio.all_tasks() == {asyncio.current_task()}

    world.clock.run(run())
    held = ["a at 0", "branch at 0", "-branch at 1", "-a at 1"]
    assert world.ledger == (held if raced else [*BROKEN_OFF[:5], "-c at 1", "-d at 1", "-a at 1"])
    assert world.store._parked == {}


def test_a_task_cancelled_twice_leaves_nothing_running(caplog: pytest.LogCaptureFixture) -> None:
    """The second time while it waits for the loser of its race to end."""

    class Slow(Loop):
        closing = 0

        async def linger(self) -> None:
            self.closing += 1
            await self.clock.sleep(5)
            raise OSError

    world = Slow()
    world.clock = LoopClock()

    class Lingering:
        def fork(self) -> Lingering:
            return self

        async def send(self, effect: Send) -> Outcome:
            try:
                await world.clock.sleep(100)
            except asyncio.CancelledError:
                await world.linger()
            return Outcome()

        async def discard(self) -> None:
            world.log.append("discarded")

    async def run() -> None:
        drive = aio.drive(racing(Send(CALL)), Lingering(), world.store, world.clock, [])
        task = asyncio.ensure_future(drive)
        await world.clock.sleep(1)
        task.cancel()
        await world.clock.sleep(1)
        assert world.closing == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await world.clock.sleep(10)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    world.clock.run(run())
    assert sorted(world.ledger) == ["-a at 2", "-branch at 2", "a at 0", "branch at 0"]
    assert caplog.records == []


@pytest.mark.parametrize("effect", [Send(CALL), Sleep(9, 9, "why not"), Park("me", 9, "why not")])
def test_a_drive_that_is_dropped_gives_back_what_it_holds_and_takes_no_lock(effect: Any) -> None:
    """As the collector does with a task whose loop is gone, perhaps while this very thread has the store locked."""
    world = Loop()
    world.clock = LoopClock()

    class Hanging:
        async def send(self, effect: Send) -> Outcome:
            await asyncio.get_running_loop().create_future()
            return Outcome()

        async def discard(self) -> None:
            """Nothing to discard."""

        def on_body_closed(self, action: Any) -> bool:
            return False

    async def run() -> Any:
        drive = aio.drive(breaking_off(effect), Hanging(), world.store, world.clock, [])
        drive.send(None)
        return drive

    drive = world.clock.run(run())

    def drop() -> None:
        with world.store._lock:
            drive.close()

    thread = threading.Thread(target=drop, daemon=True)
    thread.start()
    thread.join(BOUND)
    assert not thread.is_alive()
    assert world.ledger == BROKEN_OFF


def test_a_call_from_another_thread_finds_the_loop_even_if_it_is_closed() -> None:
    world = Loop()
    world.clock = LoopClock()
    wakes: list[Callable[[], None]] = []

    def flow() -> Flow:
        yield Park("me", 5, "why not")
        return Outcome()

    world.store.park = lambda name, wake: wakes.append(wake) or True
    world.drive(flow())
    for wake in wakes:
        wake()  # late, when no call waits


def test_the_simulation_says_that_it_is_over_only_once() -> None:
    world = Simulated()
    world.drive(breaking_off(Sleep(1, 1, "why not")))
    assert written(world.store)[-1] == "-a at 1"


def test_threads_wait_for_nothing_when_a_name_is_called() -> None:
    """Two calls, the second of which waits for the first."""
    world = Threads(lambda call, now: ScriptedReply(200, seconds=3))

    def first() -> Flow:
        yield Send(to("a"))
        yield Decide([Event(Caller(), "caller", "me")])
        return Outcome()

    def second() -> Flow:
        seconds = yield Park("me", 60, "why not")
        return Outcome(note=f"{seconds:g}")

    def race() -> Flow:
        yield Start(second())
        yield Start(first())
        yield WaitAny(None)
        answer = yield WaitAny(None)
        return answer[1]

    def flow() -> Flow:
        outcome: Outcome = yield Race(race())
        return outcome

    assert world.drive(flow()).note == "3"
