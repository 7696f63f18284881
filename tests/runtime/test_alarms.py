"""Alarms that cancel tasks: each in time, or never, with one timer for all."""

from __future__ import annotations

import asyncio
import random
import sys
from contextlib import suppress
from typing import Any, NamedTuple

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


class Plan(NamedTuple):
    """What a task does within deadlines that lie in each other, and when it is cancelled from outside."""

    kind: str
    limits: list[float]  # innermost first; no two things happen at the same moment
    takes: int
    more: int
    cancels: list[float]


async def work_as(plan: Plan) -> str:
    takes, more = asyncio.sleep(plan.takes), asyncio.sleep(plan.more + 0.1)
    if plan.kind == "group":
        async with asyncio.TaskGroup() as group:  # type: ignore[attr-defined, unused-ignore]
            group.create_task(takes)
            await more
        return plan.kind
    try:
        await takes
        if plan.kind == "raise":
            raise KeyError
    except asyncio.CancelledError:
        if plan.kind == "convert":
            raise ValueError from None
        if plan.kind != "swallow":
            raise
    finally:
        if plan.kind in ("clean up", "swallow"):
            await more
        more.close()
    return plan.kind


async def within_timeout(seconds: float, work: Any) -> Any:
    timeout: Any = asyncio.timeout(seconds)  # type: ignore[attr-defined, unused-ignore]
    try:
        async with timeout:
            return await work
    except TimeoutError:
        raise Late from None


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio.timeout is of Python 3.11")
@pytest.mark.parametrize("seed", range(20))
def test_it_ends_as_under_a_timeout_of_asyncio(seed: int) -> None:
    """Deadlines within deadlines, cancellations from outside, groups, and work that cleans up or swallows them."""
    chance = random.Random(seed)
    kinds = ["sleep", "raise", "convert", "swallow", "clean up", "group"]

    def make_plan() -> Plan:
        limits = [chance.randint(0, 6) + 0.5 + 0.01 * number for number in range(chance.randint(1, 3))]
        cancels = [chance.randint(0, 8) + 0.26 for _ in range(chance.choice([0, 0, 1, 2]))]
        return Plan(chance.choice(kinds), limits, chance.randint(0, 6), chance.randint(0, 4), cancels)

    async def act(plan: Plan, within: Any, clock: LoopClock) -> list[Any]:
        seen, task = list[Any](), asyncio.current_task()

        async def nest(level: int) -> Any:
            try:
                return await within(plan.limits[level], work_as(plan) if level == 0 else nest(level - 1))
            except BaseException as error:
                seen.append((level, type(error).__name__, task.cancelling()))  # type: ignore[union-attr]
                raise

        with suppress(BaseException):
            seen.append(await nest(len(plan.limits) - 1))
        return [*seen, clock.now(), task.cancelling()]  # type: ignore[union-attr]

    def run(within: Any) -> list[Any]:
        clock = LoopClock()

        async def main() -> list[Any]:
            tasks = [asyncio.ensure_future(act(plan, within, clock)) for plan in plans]
            for task, plan in zip(tasks, plans, strict=True):
                for at in plan.cancels:
                    asyncio.get_running_loop().call_later(at, task.cancel)
            return await asyncio.gather(*tasks, return_exceptions=True)

        return [repr(each) for each in clock.run(main())]

    plans = [make_plan() for _ in range(20)]
    assert run(finish_within) == run(within_timeout)
