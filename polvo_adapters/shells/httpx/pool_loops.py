"""Connections of a pool are those of one event loop, and are closed when it ends.

Theory of operation. Without this, a client that outlives an event loop (a second `asyncio.run`, the test client of a
web framework, a session of a module in tests that have a loop each) keeps connections that nothing can use or close. So
the pool has a `LoopEnd` in each loop that it is used in; it is kept by the pool, which clients may share, and does not
keep it. In a forked process the connections are those of the parent, and are forgotten; so are those of a loop that
was closed and did not end before, which nothing can close any more.
"""

from __future__ import annotations

import asyncio
import os
import weakref
from functools import partial
from typing import Any, NamedTuple

from polvo_adapters.runtime import async_library
from polvo_adapters.runtime.loop_ends import LoopEnd

_PLACE = "_polvo_loop_end"


class _Kept(NamedTuple):
    loop: object
    process: int
    end: LoopEnd


def move_to_loop(pool: Any, loop: object) -> bool:
    """Let the connections of a pool be those of the running event loop from now on.

    Args:
        pool: The pool of httpcore, or None.
        loop: That loop.

    Returns:
        Whether that is possible: not where the pool has connections of a loop that has not ended.
    """
    if pool is None:
        return True
    kept: _Kept | None = vars(pool).get(_PLACE)
    if kept is not None and kept.loop is loop:
        return True
    if kept is not None and (pool.connections or getattr(pool, "_requests", ())):
        if kept.process == os.getpid() and not _has_ended(kept.loop):
            return False
        pool._connections, pool._requests = [], []
    if hasattr(pool, "_was_closed"):
        pool._was_closed = False  # see `polvo_adapters.shells.httpx.pools`; it is to be used again
    vars(pool)[_PLACE] = _Kept(loop, os.getpid(), LoopEnd(partial(_close, weakref.ref(pool))))
    return True


def _has_ended(loop: object) -> bool:
    """Return whether an event loop was closed without a word to its asynchronous generators, as by `loop.close()`."""
    return isinstance(loop, asyncio.AbstractEventLoop) and loop.is_closed()


async def leave_loop(pool: Any) -> None:
    """End what closes a pool with its event loop: the pool is closed, and may be used again in another loop."""
    kept: _Kept | None = vars(pool).pop(_PLACE, None)
    if kept is not None and kept.process == os.getpid() and kept.loop is async_library.find_loop():
        await kept.end.close()


async def _close(reference: weakref.ref[Any]) -> None:
    pool = reference()
    if pool is not None:
        await pool.aclose()
