"""What belongs to an event loop is closed with it, or earlier, but never by a forked child."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from polvo_adapters.runtime.loop_ends import LoopEnd


class Thing:
    """Writes down how often it was closed."""

    def __init__(self) -> None:
        self.closed = 0

    async def close(self) -> None:
        await asyncio.sleep(0)
        self.closed += 1


def test_it_is_closed_with_the_loop() -> None:
    thing = Thing()

    async def main() -> LoopEnd:
        return LoopEnd(thing.close)

    kept = asyncio.run(main())
    assert thing.closed == 1
    del kept
    gc.collect()
    assert thing.closed == 1


def test_it_is_closed_once_whoever_closes_it() -> None:
    thing = Thing()

    async def main() -> None:
        end = LoopEnd(thing.close)
        await asyncio.gather(end.close(), end.close())
        await end.close()

    asyncio.run(main())
    assert thing.closed == 1


@pytest.mark.parametrize("is_first", [False, True])
def test_generators_that_the_loop_closes_at_the_same_time_may_close_it_too(is_first: bool) -> None:
    """As a fixture or a lifespan does whose end is that of the loop; the loop closes all of them at once."""
    thing, problems, kept = Thing(), list[Any](), list[Any]()

    async def lifespan(end: LoopEnd | None) -> AsyncGenerator[None, None]:
        end = LoopEnd(thing.close) if end is None else end
        try:
            yield
        finally:
            await end.close()

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
        for _ in range(5):  # in which order they are closed is left to the loop
            kept.append(lifespan(LoopEnd(thing.close) if is_first else None))
            await anext(kept[-1])

    asyncio.run(main())
    assert (thing.closed, problems) == (5, [])


def test_one_that_is_dropped_is_closed_by_its_loop() -> None:
    thing = Thing()

    async def main() -> None:
        LoopEnd(thing.close)
        gc.collect()
        await asyncio.sleep(0.01)
        assert thing.closed == 1

    asyncio.run(main())


def test_under_trio_too() -> None:
    trio = pytest.importorskip("trio")
    closed: list[int] = []

    async def close() -> None:
        closed.append(1)

    async def main() -> LoopEnd:
        return LoopEnd(close)

    kept = trio.run(main)
    assert closed == [1]
    del kept


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_a_forked_child_closes_nothing_of_its_parent() -> None:
    thing = Thing()

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        end = LoopEnd(thing.close)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                del end
                gc.collect()
                status = 2 if any("aclose" in repr(each) for each in loop._ready) else 0
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0  # noqa: ASYNC222
        await end.close()

    asyncio.run(main())
    assert thing.closed == 1
