"""Virtual time, scripts and the simulation."""

from __future__ import annotations

import pytest

from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import compose
from polvo_adapters.core.outcomes import CONNECT
from polvo_adapters.core.report import Attempt, Wait
from polvo_adapters.errors import DeadlineExceeded
from polvo_adapters.policies.deadline import Deadline
from polvo_adapters.policies.retry import ExponentialBackoff
from polvo_adapters.testing.simulation.simulation import (
    Script,
    ScriptedFailure,
    ScriptedReply,
    ScriptedTurn,
    Simulation,
)
from polvo_adapters.testing.virtual_clock import VirtualClock

RETRY = compose([ExponentialBackoff(base=1, jitter="none")])


def test_a_virtual_clock_moves_only_when_told() -> None:
    clock = VirtualClock(wall=1000.0)
    clock.sleep(2.5)
    clock.advance(1)
    assert (clock.now(), clock.wall()) == (3.5, 1003.5)


def test_equal_seeds_draw_equal_numbers() -> None:
    first, second = VirtualClock(7), VirtualClock(7)
    assert [first.uniform(0, 1) for _ in range(5)] == [second.uniform(0, 1) for _ in range(5)]
    assert VirtualClock(8).uniform(0, 1) != VirtualClock(7).uniform(0, 1)


def test_a_script_repeats_its_last_turn() -> None:
    script = Script([ScriptedReply(503), ScriptedReply(200)])
    call = Call("GET", "http://server.example/")
    turns: list[ScriptedTurn] = [script.reply(call, 0.0) for _ in range(3)]
    assert turns == [ScriptedReply(503), ScriptedReply(200), ScriptedReply(200)]
    assert script.received == 3


def test_a_call_tells_its_story() -> None:
    simulation = Simulation(
        Script([ScriptedFailure(CONNECT, 0.25), ScriptedReply(503, {"retry-after": "4"}, 0.5), ScriptedReply(200)])
    )
    call = simulation.call(RETRY, at=10.0)
    simulation.run()
    assert call.entries == [
        Attempt(0, "no connection", 0.25, sent=False),
        Wait(1.0, "no connection"),
        Attempt(503, "", 0.5),
        Wait(4.0, "503, Retry-After 4 s"),
        Attempt(200, "", 0.0),
    ]
    assert call.outcome is not None
    assert (call.outcome.status, simulation.clock.now()) == (200, 15.75)


def test_the_deadline_cuts_an_attempt() -> None:
    simulation = Simulation(Script([ScriptedReply(200, seconds=60.0)]))
    call = simulation.call(compose([Deadline(5), ExponentialBackoff()]), at=1.0)
    simulation.run()
    assert call.outcome is not None
    assert isinstance(call.outcome.error, DeadlineExceeded)
    assert (call.outcome.now, call.entries) == (6.0, [Attempt(0, "deadline", 5.0)])


def test_run_stops_where_it_is_told() -> None:
    simulation = Simulation(Script([ScriptedReply(200, seconds=10.0)]))
    call = simulation.call(RETRY)
    simulation.run(until=9.0)
    assert call.outcome is None
    simulation.run()
    assert call.outcome is not None


@pytest.mark.parametrize("seed", range(3))
def test_a_thousand_overlapping_calls_repeat_themselves(seed: int) -> None:
    def stories() -> list[object]:
        simulation = Simulation(Script([ScriptedReply(503, seconds=0.1)] * 500 + [ScriptedReply(200)]), seed)
        calls = [simulation.call(compose([ExponentialBackoff()]), at=0.01 * i) for i in range(1000)]
        simulation.run()
        return [(call.outcome and call.outcome.status, call.entries) for call in calls]

    assert stories() == stories()
