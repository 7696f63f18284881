"""Things that are closed when their event loop ends.

Theory of operation. At its end an event loop closes the asynchronous generators that were begun in it; `asyncio.run`,
its runners and trio see to that. So each thing is held by a generator that closes it. A generator that is dropped
earlier is closed by its loop, if that still runs. A forked child has the loops of its parent, and closes nothing of
theirs.

A loop closes all its generators at once, and one of the user's may close something of ours meanwhile. Two tasks cannot
run one generator, so both call a function that does its work once, and `LoopEnd.close` never waits in the generator.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from typing import Any

Close = Callable[[], Awaitable[object]]

_holders_of_parents: list[AsyncGenerator[None, None]] = []  # or else they would be closed as they are freed


class _Once:
    """Calls a function once, whichever of several tasks comes first."""

    __slots__ = ("_close",)

    def __init__(self, close: Close) -> None:
        self._close: Close | None = close

    async def __call__(self) -> None:
        close, self._close = self._close, None
        if close is not None:
            await close()


class LoopEnd:
    """Closes something when the running event loop ends, or earlier.

    Args:
        close: What closes it; called once, in this event loop.
    """

    __slots__ = ("__weakref__", "_holder", "_once", "_process")

    def __init__(self, close: Close) -> None:
        self._process, self._once = os.getpid(), _Once(close)
        self._holder: Any = _hold(self._once)
        with suppress(StopIteration):  # as it has got to its end, without having waited for anything
            self._holder.__anext__().send(None)

    async def close(self) -> None:
        """Close it now, in the event loop that it belongs to, unless that was begun before."""
        try:
            await self._once()
        finally:
            if not self._holder.ag_running:  # by its loop
                await self._holder.aclose()

    def __del__(self) -> None:
        if self._process != os.getpid():
            _holders_of_parents.append(self._holder)


async def _hold(close: Close) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        await close()
