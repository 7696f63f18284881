"""What tasks wait for that happens on another thread, bound to no event loop.

Theory of operation. A future of `concurrent.futures` is shared by threads and by the tasks of any loops. Each task that
waits for it leaves a callback, which wakes the loop of that task. A wait that is cancelled leaves the future as it is:
others may wait for it.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from polvo_adapters.runtime import async_library

_STILL_WAITED = 0.25
"""Seconds for which a cancelled task waits for what gives back its permits."""


async def wait_for(future: Future[Any], seconds: float | None = None) -> None:
    """Wait until a future is done, at most that many seconds, and leave its result to the caller."""
    if not future.done():
        event = _wakeup_by(future).event
        await (event.wait() if seconds is None else async_library.wait(event, seconds))


async def wait_shielded(future: Future[Any], seconds: float = _STILL_WAITED) -> None:
    """Wait until a future is done, at most that many seconds, in a task that was cancelled already.

    Another cancellation ends the wait, and raises nothing: the caller raises the first one.
    """
    if future.done():
        return
    woken = _wakeup_by(future)
    with async_library.shield(), suppress(asyncio.CancelledError):
        await async_library.wait(woken.event, seconds)


def _wakeup_by(future: Future[Any]) -> async_library.Wakeup:
    woken = async_library.Wakeup()
    future.add_done_callback(lambda _: woken.set())
    return woken
