"""Work that may take so long: it ends in time, with what it returned, or by whatever cancelled it."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest

from polvo_adapters.runtime import async_library
from polvo_adapters.runtime.async_library import Late, finish_within
from tests.support.virtual_worlds import LoopClock


@pytest.fixture(params=["usual", "as before 3.11"])
def clock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> LoopClock:
    if request.param != "usual":
        monkeypatch.setattr(async_library, "finish_within", async_library._finish_in_task)
    return LoopClock()


def within(seconds: float, work: Any) -> Any:
    return async_library.finish_within(seconds, work)


async def last(clock: LoopClock, seconds: float) -> str:
    await clock.sleep(seconds)
    return "done"


def test_in_time(clock: LoopClock) -> None:
    async def act() -> tuple[str, float]:
        return await within(2, last(clock, 1)), clock.now()

    assert clock.run(act()) == ("done", 1)


def test_late(clock: LoopClock) -> None:
    async def act() -> float:
        with pytest.raises(Late):
            await within(2, last(clock, 3))
        await clock.sleep(1)  # the cancellation was taken back
        return clock.now()

    assert clock.run(act()) == 3


def test_an_error_comes_out(clock: LoopClock) -> None:
    async def fail() -> None:
        raise TimeoutError("of its own")

    async def act() -> None:
        with pytest.raises(TimeoutError, match="of its own"):
            await within(2, fail())

    clock.run(act())


@pytest.mark.parametrize("at", [0.5, 1.0, 2.0, 2.5])
def test_a_cancellation_from_outside_is_never_lost(clock: LoopClock, at: float) -> None:
    """Also one that comes together with the result, at 1, or with the end of the time, at 2."""

    async def act(takes: float) -> Any:
        task = asyncio.ensure_future(within(2, last(clock, takes)))
        asyncio.get_running_loop().call_later(at, task.cancel)
        await asyncio.wait([task])
        return "cancelled" if task.cancelled() else task.exception() or task.result()

    for takes in (1.0, 3.0):
        ended = clock.run(act(takes))
        if ended == "done":
            assert takes <= at
        elif isinstance(ended, Late):
            assert at >= 2
        else:
            assert ended == "cancelled"
        clock = LoopClock()


def test_work_that_ends_another_way_when_it_is_late(clock: LoopClock) -> None:
    """As httpcore may, which closes a connection meanwhile; the next wait is not cancelled."""

    async def stubborn() -> str:
        try:
            await clock.sleep(5)
        except asyncio.CancelledError:
            raise OSError("closed") from None
        return ""

    async def act() -> float:
        with pytest.raises((OSError, Late)):
            await within(2, stubborn())
        await clock.sleep(1)
        if sys.version_info >= (3, 11):
            assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]
        return clock.now()

    assert clock.run(act()) == 3


def test_both_are_nested() -> None:
    clock = LoopClock()

    async def act() -> float:
        with pytest.raises(Late):
            await finish_within(1, finish_within(2, last(clock, 3)))
        with pytest.raises(Late):
            await finish_within(2, finish_within(1, last(clock, 3)))
        return clock.now()

    assert clock.run(act()) == 2
