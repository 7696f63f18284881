"""The library that runs the current task, asyncio or trio, and what differs between the two.

Nearly all code runs under asyncio, so that is found out first, by one look into `sys.modules`. anyio, which httpx
brings, is loaded only where trio runs, or where something is cleaned up after a cancellation.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager, suppress
from typing import Any, TypeVar

from polvo_adapters.runtime.alarms import set_alarm

T = TypeVar("T")


class Late(Exception):
    """The time is up, and the work was cancelled."""


def find_trio() -> Any:
    """Return the module trio where it runs the current task, or None."""
    trio = sys.modules.get("trio")
    if trio is None:
        return None
    try:
        if asyncio.current_task() is not None:  # httpcore imports trio wherever it is installed
            return None
    except RuntimeError:
        pass
    try:
        trio.lowlevel.current_task()
    except (AttributeError, RuntimeError):  # half imported, or not what runs this
        return None
    return trio


def find_loop() -> object:
    """Return the event loop that runs the current task, or what stands for one under trio."""
    trio = find_trio()
    return asyncio.get_running_loop() if trio is None else trio.lowlevel.current_trio_token()


def is_running(loop: Any) -> bool:
    """Return whether what `find_loop` has returned still runs."""
    if hasattr(loop, "is_running"):
        return bool(loop.is_running())
    try:
        loop.run_sync_soon(_do_nothing)
    except RuntimeError:
        return False
    return True


def _do_nothing() -> None:
    pass


def shield() -> AbstractContextManager[Any]:
    """Return a block that is not cancelled by scopes around it, to clean up in; a task may still be cancelled."""
    import anyio

    return anyio.CancelScope(shield=True)


async def sleep(seconds: float) -> None:
    """Wait, and let others run."""
    trio = find_trio()
    await (asyncio.sleep(seconds) if trio is None else trio.sleep(seconds))


class Wakeup:
    """An event of the current task, which any thread may set."""

    def __init__(self) -> None:
        trio = find_trio()
        self._trio = trio
        self.event: Any = asyncio.Event() if trio is None else trio.Event()
        self._call: Callable[..., object] = (
            asyncio.get_running_loop().call_soon_threadsafe
            if trio is None
            else trio.lowlevel.current_trio_token().run_sync_soon
        )

    def set(self) -> None:
        """Set it; a loop that is closed waits for nothing."""
        with suppress(RuntimeError):  # of which that of trio is one
            self._call(self.event.set)


async def wait(event: Any, seconds: float) -> None:
    """Wait until an event of the current library is set, but not longer than that; it is not used afterwards."""
    trio = find_trio()
    if trio is not None:
        with trio.move_on_after(max(seconds, 0.0)):
            await event.wait()
        return
    # Not by a task, which a cancellation would have to cancel as well, and not by code that may swallow one.
    time_up = asyncio.get_running_loop().call_later(seconds, event.set)
    try:
        await event.wait()
    finally:
        time_up.cancel()


async def finish_within(seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """Return what some work returns, or cancel it once the time is up.

    Not by `asyncio.wait_for`, which until Python 3.11 loses a cancellation that comes together with the result.

    Args:
        seconds: How long it may take.
        work: The work.

    Raises:
        Late: The time is up.
    """
    loop = asyncio._get_running_loop()
    task: Any = None if loop is None else asyncio.current_task(loop)
    if loop is None or not hasattr(task, "uncancel"):
        return await _finish_elsewhere(seconds, work)
    before, alarm = task.cancelling(), set_alarm(seconds, task, loop)
    try:
        return await work
    except asyncio.CancelledError:
        if not alarm.end() or task.cancelling() > before:  # another one as well
            raise
    finally:
        alarm.end()
    raise Late


async def _finish_elsewhere(seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """As `finish_within`, where there is no task of asyncio that tells one cancellation from another."""
    trio = find_trio()
    if trio is None:
        return await _finish_in_task(seconds, work)
    with trio.move_on_after(seconds):
        return await work
    raise Late


async def _finish_in_task(seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """As `finish_within`, for a Python whose tasks do not tell one cancellation from another."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait([task], timeout=seconds)
    except asyncio.CancelledError:
        await _cancel_and_wait(task)
        raise
    if not task.done():
        await _cancel_and_wait(task)
        raise Late
    try:
        return task.result()
    finally:
        del task  # see errors.py, "Errors and frames"


async def _cancel_and_wait(task: asyncio.Task[Any]) -> None:
    """Cancel a task and wait for its end, however it ends."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
