"""The asynchronous client of Double-O as one that blocks, so that the tests of the other one hold for both."""

from __future__ import annotations

import asyncio
import inspect
import threading
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from polvo_adapters.services.double_o import AsyncClient
from polvo_adapters.testing.virtual_clock import VirtualClock

if TYPE_CHECKING:
    from typing_extensions import Self


def _run_loop(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever()
    loop.close()


def _stop(loop: asyncio.AbstractEventLoop) -> None:
    with suppress(RuntimeError):  # it is closed
        loop.call_soon_threadsafe(loop.stop)


class AwaitedClock:
    """A virtual clock for tasks."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self.now, self.wall, self.uniform = clock.now, clock.wall, clock.uniform

    async def sleep(self, seconds: float) -> None:
        self._clock.sleep(seconds)

    async def wait(self, event: Any, seconds: float) -> None:
        self._clock.sleep(seconds)


class BlockingClient:
    """An AsyncClient whose calls are made on a loop of another thread; arguments as for that."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        clock = keywords.get("clock")
        if isinstance(clock, VirtualClock):
            keywords["clock"] = AwaitedClock(clock)
        self.client = AsyncClient(*arguments, **keywords)
        self._loop: asyncio.AbstractEventLoop | None = None

    def _run(self, coroutine: Any) -> Any:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            threading.Thread(target=_run_loop, args=(self._loop,), daemon=True).start()
            weakref.finalize(self, _stop, self._loop)
        try:
            return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()
        finally:
            del coroutine

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.client, name)
        if not inspect.iscoroutinefunction(value):
            return value
        return lambda *arguments, **keywords: self._run(value(*arguments, **keywords))

    def close(self) -> None:
        self._run(self.client.close())
        loop, self._loop = self._loop, None
        if loop is not None:
            _stop(loop)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return repr(self.client).replace("AsyncClient", "Client")
