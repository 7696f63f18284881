"""Alarms that cancel tasks: each in time, or never, with one timer for all."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from polvo_adapters.runtime import alarms
from polvo_adapters.runtime.alarms import AlarmClock, set_alarm
from polvo_adapters.runtime.async_library import Late, finish_within
from tests.support.virtual_worlds import LoopClock


def heap_of(loop: Any) -> list[Any]:
    clock: Any = getattr(loop, alarms._ATTRIBUTE)
    return list(clock._heap)


@pytest.mark.parametrize("seed", range(20))
def test_each_rings_at_its_time_or_was_taken_back(seed: int) -> None:
    """Against what a timer for each would do: work of random length, begun at random, each with a time of its own."""
    chance, clock = random.Random(seed), LoopClock()
    plans = [(chance.randint(0, 50), chance.randint(1, 40), chance.randint(1, 60)) for _ in range(100)]

    async def act(begins: int, allowed: int, takes: int) -> tuple[bool, float]:
        await clock.sleep(begins)
        try:
            await finish_within(allowed, clock.sleep(takes))
        except Late:
            return False, clock.now()
        return True, clock.now()

    async def run() -> list[tuple[bool, float]]:
        return await asyncio.gather(*(act(*plan) for plan in plans))

    in_time = [(takes <= allowed, begins + min(takes, allowed)) for begins, allowed, takes in plans]
    assert clock.run(run()) == in_time


def test_all_of_a_loop_have_one_timer() -> None:
    clock, made = LoopClock(), []

    async def run() -> None:
        loop = asyncio.get_running_loop()
        call_at = loop.call_at
        loop.call_at = lambda when, *rest, **more: made.append(when) or call_at(when, *rest, **more)  # type: ignore[method-assign]
        for _ in range(1000):
            await finish_within(5, asyncio.sleep(0))

    clock.run(run())
    assert made == [5]


def test_what_was_taken_back_does_not_pile_up() -> None:
    async def run() -> int:
        for _ in range(10_000):
            await finish_within(3600, asyncio.sleep(0))
        return len(heap_of(asyncio.get_running_loop()))

    assert asyncio.run(run()) < 200


def test_one_that_was_taken_back_cancels_nothing_and_holds_no_task() -> None:
    clock = LoopClock()

    async def run() -> float:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        alarm = set_alarm(1, task, loop)
        assert (alarm.end(), alarm.end(), alarm.task) == (False, False, None)
        await clock.sleep(5)
        assert heap_of(loop) == []
        return clock.now()

    assert clock.run(run()) == 5


def test_two_loops_have_alarms_of_their_own() -> None:
    async def run() -> AlarmClock:
        await finish_within(1, asyncio.sleep(0))
        return getattr(asyncio.get_running_loop(), alarms._ATTRIBUTE)  # type: ignore[no-any-return]

    assert asyncio.run(run()) is not asyncio.run(run())


def test_a_loop_that_takes_no_attribute_has_a_timer_for_each() -> None:
    class Slotted(asyncio.SelectorEventLoop):
        def __setattr__(self, name: str, value: Any) -> None:
            if name == alarms._ATTRIBUTE:
                raise AttributeError(name)
            super().__setattr__(name, value)

    async def run() -> None:
        with pytest.raises(Late):
            await finish_within(0.01, asyncio.sleep(5))
        await finish_within(5, asyncio.sleep(0))

    loop = Slotted()
    try:
        loop.run_until_complete(run())
    finally:
        loop.close()
