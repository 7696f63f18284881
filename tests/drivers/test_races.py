"""What a driver owes a race and its branches, the same in every world."""

from __future__ import annotations

import contextlib
import contextvars
import gc
import os
import queue
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Acquire, Decide, Flow, Park, Race, Release, Send, Sleep, Start, WaitAny
from polvo_adapters.core.outcomes import CONNECT, Outcome
from polvo_adapters.core.report import CANCELLED, Attempt, Wait
from polvo_adapters.runtime import workers as worker_threads
from polvo_adapters.runtime.clock import SYSTEM
from polvo_adapters.runtime.workers import WORKERS, NoThreadError, Workers
from polvo_adapters.testing.simulation.simulation import ScriptedFailure, ScriptedReply
from tests.support.driver_worlds import Loop, Raises, Simulated, Threads, World, book, everywhere, on_machines, to
from tests.support.virtual_worlds import BOUND, LoopClock

SECONDS = {"fast": 1.0, "slow": 4.0, "slower": 9.0, "hangs": 1000.0}


def reply(call: Call, now: float) -> Any:
    """Answer after as long as the name of the place says."""
    name = call.url.rpartition("/")[2]
    if name == "down":
        return ScriptedFailure(CONNECT, 2.0)
    return ScriptedReply(200, {"name": name}, SECONDS[name])


def sending(*names: str) -> Flow:
    """Send to one place after the other, holding a lease each time."""
    outcome = Outcome()
    for name in names:
        yield Acquire(book(name))
        outcome = yield Send(to(name))
        yield Release(book(f"{name} settled"), ())
    return outcome


def race(flow: Flow) -> Flow:
    """Run a race within leases of its own."""
    yield Acquire(book("race"))
    outcome: Outcome = yield Race(flow)
    yield Release(book("race settled"), ())
    return outcome


def first_of(*flows: Flow) -> Flow:
    for flow in flows:
        yield Start(flow)
    _, outcome = yield WaitAny(None)
    return outcome


def name_of(outcome: Outcome) -> str:
    return outcome.headers.get("name", "")


@everywhere
def test_the_first_to_end_wins(world: Callable[..., World]) -> None:
    made = world(reply)
    outcome = made.drive(race(first_of(sending("slow"), sending("fast"), sending("hangs"))))
    assert name_of(outcome) == "fast"
    assert made.entries == [Attempt(200, "", 1.0), Attempt(0, CANCELLED, 1.0), Attempt(0, CANCELLED, 1.0)]


@everywhere
def test_losers_give_back_what_they_hold_when_they_lose(world: Callable[..., World]) -> None:
    made = world(reply)
    made.drive(race(first_of(sending("slow"), sending("fast"))))
    assert sorted(made.ledger) == sorted(
        ["race at 0", "slow at 0", "fast at 0", *settled(made, "fast"), "-slow at 1", *settled(made, "race")]
    )


def settled(made: World, name: str) -> list[str]:
    """Return what is written of the end of a lease: nothing yet, where a body is still to be read."""
    return [f"{name} settled at 1"] if isinstance(made, Simulated) else []


@on_machines
def test_the_response_of_the_winner_survives_and_those_of_the_losers_are_closed(world: Callable[..., World]) -> None:
    def all_of() -> Flow:
        for name in ("fast", "slow", "slower"):
            yield Start(sending(name))
        outcomes = {}
        for _ in range(3):
            number, outcome = yield WaitAny(None)
            outcomes[number] = outcome
        return outcomes[1]

    made = world(reply)
    outcome = made.drive(race(all_of()))
    assert name_of(outcome) == "slow"
    assert sorted(made.log) == ["fast closed", "fast sent", "slow sent", "slower closed", "slower sent"]


@on_machines
def test_the_response_of_the_winner_is_given_up_as_any_other(world: Callable[..., World]) -> None:
    def flow() -> Flow:
        yield from race(first_of(sending("fast")))
        outcome: Outcome = yield Send(to("slow"))
        return outcome

    made = world(reply)
    made.drive(flow())
    assert made.log == ["fast sent", "fast closed", "slow sent"]


@on_machines
def test_an_outcome_of_no_branch_closes_the_responses_of_all(world: Callable[..., World]) -> None:
    def nobody() -> Flow:
        yield from first_of(sending("fast"))
        return Outcome(status=503, body=b"")

    made = world(reply)
    made.drive(race(nobody()))
    assert made.log == ["fast sent", "fast closed"]


@everywhere
def test_a_race_may_go_on_after_bad_answers(world: Callable[..., World]) -> None:
    def patient() -> Flow:
        yield Start(sending("down"))
        yield Start(sending("slow"))
        numbers = []
        for _ in range(2):
            number, outcome = yield WaitAny(None)
            numbers.append(number)
        return outcome._replace(note=str(numbers))

    made = world(reply)
    assert made.drive(race(patient())).note == "[0, 1]"
    assert made.entries == [Attempt(0, "no connection", 2.0, sent=False), Attempt(200, "", 4.0)]


@everywhere
def test_next_is_none_when_the_time_is_up_or_nothing_is_left(world: Callable[..., World]) -> None:
    heard: list[Any] = []

    def listening() -> Flow:
        heard.append((yield WaitAny(None)))
        heard.append((yield WaitAny(5.0)))
        yield Start(sending("slow"))
        heard.append((yield WaitAny(1.5)))
        heard.append((yield WaitAny(0.0)))
        number, outcome = yield WaitAny(60.0)
        heard.append(number)
        heard.append((yield WaitAny(5.0)))
        heard.append((yield WaitAny(None)))
        yield Decide(book("over"))
        return outcome

    made = world(reply)
    made.drive(race(listening()))
    assert heard == [None, None, None, None, 0, None, None]
    assert "over at 4" in made.ledger


@everywhere
def test_a_branch_that_has_ended_unheard_is_in_the_report_and_was_not_cancelled(world: Callable[..., World]) -> None:
    def deaf() -> Flow:
        for name in ("fast", "slow", "slower"):
            yield Start(sending(name))
        _, outcome = yield WaitAny(None)
        yield Start(ending_with(outcome))  # ends at once
        yield Start(ending_with(outcome))
        yield WaitAny(None)
        return outcome

    def ending_with(outcome: Outcome) -> Flow:
        yield Decide(book("x"))
        return outcome

    made = world(reply)
    made.drive(race(deaf()))
    assert made.entries == [Attempt(200, "", 1.0), Attempt(0, CANCELLED, 1.0), Attempt(0, CANCELLED, 1.0)]


@everywhere
def test_losers_are_reported_with_what_they_did_before(world: Callable[..., World]) -> None:
    def busy() -> Flow:
        yield Send(to("fast"))
        yield Sleep(1.0, 1.0, "tired")
        yield Send(to("hangs"))
        return Outcome()

    made = world(reply)
    made.drive(race(first_of(busy(), sending("slow"))))
    assert made.entries == [
        Attempt(200, "", 4.0),
        Attempt(200, "", 1.0),
        Wait(1.0, "tired"),
        Attempt(0, CANCELLED, 4.0),
    ]


def hanging(effect: Any) -> Flow:
    yield Acquire(book("loser"))
    yield effect
    raise AssertionError("it has lost")


@everywhere
@pytest.mark.parametrize(
    "effect",
    [
        lambda: Send(to("hangs")),
        lambda: Sleep(1000, 1000, "why not"),
        lambda: Park("me", 1000, "why not"),
        lambda: Race(first_of(hanging(Sleep(1000, 1000, "why not")), sending("hangs"))),
    ],
)
def test_a_loser_ends_at_once_whatever_it_does(world: Callable[..., World], effect: Any) -> None:
    made = world(reply)
    made.drive(race(first_of(hanging(effect()), sending("fast"))))
    given_back = [line for line in made.ledger if line.startswith("-")]
    assert set(given_back) <= {"-loser at 1", "-hangs at 1"}
    assert len(given_back) == (3 if type(effect()) is Race else 1)
    assert made.store._parked == {}


@on_machines
def test_a_loser_that_hears_of_it_late_closes_what_it_has(world: Callable[..., World]) -> None:
    """It has a response and is about to do something else."""

    def loser() -> Flow:
        yield Send(to("fast"))
        yield Decide(book("x"))
        yield Park("me", 1000, "why not")
        return Outcome()

    made = world(reply)
    made.drive(race(first_of(loser(), sending("slow"))))
    assert made.log == ["fast sent", "slow sent", "fast closed"]


@everywhere
def test_a_race_within_a_race(world: Callable[..., World]) -> None:
    made = world(reply)
    inner = race(first_of(sending("slow"), sending("fast")))
    outcome = made.drive(race(first_of(inner, sending("slower"))))
    assert name_of(outcome) == "fast"
    assert made.clock.now() >= 1
    assert sorted(line for line in made.ledger if line.startswith("-")) == ["-slow at 1", "-slower at 1"]
    if not isinstance(made, Simulated):
        assert "fast closed" not in made.log


@everywhere
def test_a_race_whose_flow_raises_is_over(world: Callable[..., World]) -> None:
    def raising() -> Flow:
        yield Start(sending("hangs"))
        yield Start(sending("fast"))
        yield WaitAny(None)
        raise ZeroDivisionError

    made = world(reply)
    with pytest.raises(ZeroDivisionError):
        made.drive(race(raising()))
    assert sorted(line for line in made.ledger if line.startswith("-")) == ["-hangs at 1", "-race at 1"]
    assert [line for line in made.log if "closed" in line] == ([] if isinstance(made, Simulated) else ["fast closed"])


@everywhere
@pytest.mark.parametrize(
    "effect", [Send(to("fast")), Sleep(1, 1, ""), Park("me", 1, ""), Acquire(()), Release((), ()), Race(iter(())), None]
)
def test_what_is_no_effect_of_a_race_is_a_type_error(world: Callable[..., World], effect: Any) -> None:
    def wrong() -> Flow:
        yield Start(sending("hangs"))
        yield effect
        return Outcome()

    made = world(reply)
    with pytest.raises(TypeError, match="no effect of a race"):
        made.drive(race(wrong()))
    assert "-race at 0" in made.ledger


@everywhere
def test_a_race_may_decide(world: Callable[..., World]) -> None:
    def deciding() -> Flow:
        verdicts = yield Decide(book("a", "b"))
        return Outcome(note=str(verdicts))

    assert world(reply).drive(race(deciding())).note == "('a', 'b')"


@on_machines
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_a_branch_that_ends_with_no_exception_reaches_the_caller(
    world: Callable[..., World], error: type[BaseException]
) -> None:
    def raising(call: Call, now: float) -> Any:
        return Raises(error, 1.0) if call.url.endswith("raises") else reply(call, now)

    made = world(raising)
    with pytest.raises(error):
        made.drive(race(first_of(sending("raises"), sending("hangs"))))
    assert sorted(line for line in made.ledger if line.startswith("-")) == ["-hangs at 1", "-race at 1", "-raises at 1"]


@everywhere
def test_a_branch_whose_flow_raises_reaches_the_caller(world: Callable[..., World]) -> None:
    def raising() -> Flow:
        yield Acquire(book("raises"))
        yield Sleep(1, 1, "why not")
        raise ZeroDivisionError

    made = world(reply)
    with pytest.raises(ZeroDivisionError):
        made.drive(race(first_of(race(first_of(raising())), sending("hangs"))))
    given_back = sorted(line for line in made.ledger if line.startswith("-"))
    assert given_back == ["-hangs at 1", "-race at 1", "-race at 1", "-raises at 1"]


@on_machines
def test_a_loser_that_raises_disturbs_no_other(world: Callable[..., World], caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> Flow:
        try:
            yield Sleep(1000, 1000, "why not")
        finally:
            raise ZeroDivisionError

    made = world(reply)
    assert name_of(made.drive(race(first_of(broken(), sending("fast"))))) == "fast"
    gc.collect()
    assert caplog.records == []


@on_machines
def test_branches_see_the_context_of_the_caller_and_keep_theirs_to_themselves(world: Callable[..., World]) -> None:
    variable = contextvars.ContextVar("variable", default="default")
    seen = []

    def looking() -> Flow:
        seen.append(variable.get())
        variable.set("branch")
        yield Sleep(1.0, 1.0, "why not")
        seen.append(variable.get())
        return Outcome()

    def flow() -> Flow:
        variable.set("caller")
        yield Race(first_of(looking()))
        seen.append(variable.get())
        return Outcome()

    contextvars.copy_context().run(lambda: world(reply).drive(flow()))
    assert seen == ["caller", "branch", "caller"]


@pytest.fixture
def without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class Marked(Exception):
    """An exception that can be watched."""


@pytest.mark.usefixtures("without_collector")
@pytest.mark.parametrize("world", [Threads, Loop])
@pytest.mark.parametrize("winner", ["fast", "raises"])
def test_errors_of_a_race_live_no_longer_than_their_call(world: Any, winner: str) -> None:
    """Or the connection pools in their tracebacks would live on as well."""
    watched: list[weakref.ref[BaseException]] = []

    def marked() -> BaseException:
        error = Marked()
        watched.append(weakref.ref(error))
        return error

    def raising(call: Call, now: float) -> Any:
        seconds = {"raises": 0.5, "later": 0.75}.get(call.url.rpartition("/")[2])
        return reply(call, now) if seconds is None else Raises(marked, seconds)

    def some() -> Flow:
        for name in ("raises", "later", "hangs", "fast"):
            yield Start(sending(name))
        outcome = Outcome()
        for _ in range(1 if winner == "raises" else 3):
            _, outcome = yield WaitAny(None)
        return outcome

    made = world(raising)
    outcome = made.drive(race(some()))
    assert (type(outcome.error) is Marked) == (winner == "raises")
    exchange, made.exchange, made.outcome, outcome = getattr(made, "exchange", None), None, None, None
    if exchange is not None:
        exchange.discard()
    del exchange
    assert [reference() for reference in watched] == [None] * (1 if winner == "raises" else 2)


@pytest.mark.usefixtures("without_collector")
@on_machines
def test_what_a_branch_raises_lives_no_longer_than_its_call(world: Callable[..., World]) -> None:
    watched: list[weakref.ref[BaseException]] = []

    def raising() -> Flow:
        yield Sleep(1, 1, "why not")
        watched.append(weakref.ref(error := Marked()))
        try:
            raise error
        finally:
            del error

    made = world(reply)

    def caught() -> Flow:
        """A race whose error goes no further than the drive."""
        yield from race(first_of(raising(), sending("hangs")))
        return Outcome()

    async def main() -> None:
        with contextlib.suppress(Marked):
            await made.run(caught())
        assert [reference() for reference in watched] == [None]

    if isinstance(made, Loop):
        made.clock = LoopClock()
        made.clock.run(main())
    else:
        with contextlib.suppress(Marked):
            made.drive(caught())
        made.clock.errors.clear()
        assert [reference() for reference in watched] == [None]


# Worker threads -------------------------------------------------------------------------------------------------------


def run(workers: Workers, task: Callable[[], Any]) -> Any:
    """Run a task on a worker, and return what it returns."""
    results: queue.SimpleQueue[Any] = queue.SimpleQueue()
    workers.run(lambda: results.put(task()))
    return results.get(timeout=BOUND)


def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    waiting = threading.Event()
    for _ in range(int(BOUND * 100)):
        if condition():
            return
        waiting.wait(0.01)
    raise AssertionError("it never became so")


def test_a_worker_that_is_idle_is_used_again() -> None:
    workers = Workers()
    first = run(workers, threading.current_thread)
    until(lambda: len(workers._idle) == 1)
    assert run(workers, threading.current_thread) is first


def test_there_are_as_many_workers_as_tasks_at_a_time() -> None:
    workers, meeting = Workers(), threading.Barrier(5)
    for _ in range(4):
        workers.run(lambda: meeting.wait(BOUND))
    meeting.wait(BOUND)
    until(lambda: len(workers._idle) == 4)


def test_workers_that_are_idle_for_long_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_threads, "_IDLE_SECONDS", 0.01)
    workers = Workers()
    thread = run(workers, threading.current_thread)
    thread.join(BOUND)
    assert not thread.is_alive()
    assert len(workers._idle) == 0
    assert run(workers, lambda: 7) == 7


def test_no_task_is_lost_between_ending_and_being_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_threads, "_IDLE_SECONDS", 0.0)
    workers = Workers()
    assert [run(workers, lambda number=number: number) for number in range(500)] == list(range(500))


def test_there_are_no_more_workers_than_allowed() -> None:
    """Not even after thousands of tasks; what is beyond is refused at once, and does not wait in a queue."""
    workers, released = Workers(most=3), threading.Event()
    for _ in range(3):
        workers.run(lambda: released.wait(BOUND))
    for _ in range(5):
        with pytest.raises(NoThreadError):
            workers.run(lambda: None)
    released.set()
    threads = set()
    for _ in range(300):
        until(lambda: workers.busy == 0)
        threads.add(run(workers, threading.current_thread))
    assert len(threads) <= 3


def test_a_thread_that_cannot_be_started_costs_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    workers = Workers(most=1)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", lambda _: (_ for _ in ()).throw(RuntimeError("can't start")))
        for _ in range(3):
            with pytest.raises(NoThreadError):
                workers.run(lambda: None)
    assert run(workers, lambda: 7) == 7


def test_a_task_that_raises_costs_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    raised: list[object] = []
    monkeypatch.setattr(threading, "excepthook", raised.append)
    workers = Workers(most=1)
    for number in range(3):
        workers.run(lambda: 1 / 0)
        until(lambda number=number: len(raised) == number + 1 and len(workers._free) == 1)  # type: ignore[misc]
    assert run(workers, lambda: 7) == 7


def test_idle_workers_can_be_ended() -> None:
    workers, released = Workers(), threading.Event()
    workers.run(lambda: released.wait(BOUND))
    idle = run(workers, threading.current_thread)
    until(lambda: len(workers._idle) == 1)
    workers.end_idle()
    idle.join(BOUND)
    assert not idle.is_alive()
    assert workers.busy == 1
    released.set()
    assert run(workers, lambda: 7) == 7


def test_workers_are_daemons() -> None:
    """A loser that hangs must not keep the process from ending."""
    assert run(Workers(), lambda: threading.current_thread().daemon)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning")
def test_a_child_forked_while_workers_are_idle_has_workers_of_its_own() -> None:
    run(WORKERS, lambda: None)
    until(lambda: len(WORKERS._idle) >= 1)
    child = os.fork()
    if child == 0:
        status = 1
        with contextlib.suppress(BaseException):
            status = 0 if run(WORKERS, lambda: 7) == 7 else 1
        os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_the_clock_takes_no_time_that_is_over() -> None:
    with pytest.raises(queue.Empty):
        SYSTEM.take(queue.SimpleQueue(), -1.0)
