"""A refresh that tasks of event loops wait for: it runs on another thread, once for all that need the same.

Theory of operation. Tasks, of one loop or of several, join the refresh in progress, as calls on threads do that have no
time for it (`polvo_adapters.refresh.background`). A task that is cancelled leaves the refresh to the others. Where
there is no thread, it runs on one of the event loop's own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from contextvars import copy_context
from typing import TypeVar

from polvo_adapters.refresh.background import SharedCalls
from polvo_adapters.runtime import async_library
from polvo_adapters.runtime.clock import SYSTEM
from polvo_adapters.runtime.loops import wait_for
from polvo_adapters.runtime.workers import NoThreadError

T = TypeVar("T")

_LONGEST = 60.0  # seconds until a refresh that hangs is left alone, and the next task begins another


async def run_beside(flights: SharedCalls, key: Hashable, work: Callable[[], T]) -> T:
    """Return what a function returns that may block, called once for all tasks that need the same now.

    Args:
        flights: The calls in progress of the object whose method it is.
        key: What is needed.
        work: The function; it runs in a copy of the context of the first task.
    """
    try:
        shared = flights.join(key, lambda _: work(), SYSTEM.now(), _LONGEST)
        await wait_for(shared.over)
        return shared.take()
    except NoThreadError:
        pass  # leave the handler first, so that no error refers to this one
    if async_library.find_trio() is not None:
        return work()
    try:
        result = asyncio.get_running_loop().run_in_executor(None, copy_context().run, work)
    except RuntimeError:  # the interpreter shuts down, and there are no other tasks to wait
        return work()
    return await result
