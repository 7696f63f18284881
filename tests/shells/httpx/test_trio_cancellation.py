"""The scenes of `test_cancellation` under trio, cancelled at every single await."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from polvo_adapters.drivers import beside
from polvo_adapters.policies.stack import standard
from polvo_adapters.stores import MemoryStore
from polvo_adapters.testing import VirtualClock
from polvo_adapters.transports import AsyncPolicyTransport
from tests.shells.httpx.test_cancellation import SCENES, AskedBeside, Scene, Server, VirtualThread, read, watch

trio = pytest.importorskip("trio")

RACES = ("hedge", "hedge of a stream", "hedge of retries", "regions", "regions at once", "everything")
WITHOUT_RACES = [name for name in SCENES if name not in RACES]
EVERYTHING = SCENES["everything"]._replace(
    policies=lambda: standard(deadline=90, circuit_breaker=True, bulkhead=1, idempotency=True, request_id=True)
)


class TrioClock(VirtualClock):
    """The clock of a run of trio, as an `polvo_adapters.drivers.aio.AsyncClock`."""

    def now(self) -> float:
        return float(trio.current_time())

    async def sleep(self, seconds: float) -> None:  # type: ignore[override]
        """Let others run until that much time has passed."""
        await trio.sleep(seconds)

    async def wait(self, event: Any, seconds: float) -> None:  # type: ignore[override]
        """Let others run until one of them sets the event, or the time is up."""
        with trio.move_on_after(seconds):
            await event.wait()


class TrioThread(VirtualThread):
    """As VirtualThread, for trio."""

    def _soon(self, action: Callable[[], None]) -> None:
        async def act_later() -> None:
            await trio.sleep(0.015625)
            action()

        trio.lowlevel.spawn_system_task(act_later)


def play(scene: Scene, cancel_at: int, *, is_blocking: bool) -> bool:
    """Play a scene whose last call is cancelled at its suspension of that number; return whether there was one."""
    clock = TrioClock()
    server = Server(clock, *scene.statuses, streams=scene.stream)
    reached = False

    async def call(client: httpx.AsyncClient) -> None:
        assert await read(client, scene) == 200

    async def cancel(client: httpx.AsyncClient) -> None:
        nonlocal reached
        began = clock.now()
        with trio.CancelScope() as scope:

            def on_suspend(number: int) -> None:
                nonlocal reached, began
                if number == cancel_at:
                    reached, began = True, clock.now()
                    scope.cancel()

            await watch(read(client, scene), on_suspend)
        assert not reached or clock.now() - began <= 0.1875, "the task goes on although it is cancelled"

    async def main() -> None:
        store = AskedBeside(now=clock.now) if is_blocking else MemoryStore(now=clock.now)
        transport = AsyncPolicyTransport(*scene.policies(), inner=server, clock=clock, stream=scene.stream, store=store)
        client = httpx.AsyncClient(transport=transport, timeout=None)
        for _ in range(scene.before):
            await read(client, scene)
        await clock.sleep(10)
        async with trio.open_nursery() as nursery:
            for _ in range(scene.beside):
                nursery.start_soon(call, client)
            await clock.sleep(0.0625)
            await cancel(client)
        assert (server.active, server.open) == (0, 0)
        server.statuses, began = [200], clock.now()
        if not scene.headers:  # a key whose request may have arrived stays in doubt
            await call(client)
            assert clock.now() - began < 12.5, "something is still taken"
        assert (server.active, server.open) == (0, 0)
        assert not store._parked

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    return reached


@pytest.mark.parametrize("is_blocking", [False, True], ids=["memory", "beside"])
@pytest.mark.parametrize("name", [*WITHOUT_RACES, "everything"])
def test_nothing_is_left_behind_at_any_await(name: str, is_blocking: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: weakref.WeakKeyDictionary[Any, VirtualThread] = weakref.WeakKeyDictionary()
    monkeypatch.setattr(beside, "thread_of", lambda store: threads.setdefault(store, TrioThread()))
    scene, suspensions = EVERYTHING if name == "everything" else SCENES[name], 0
    while play(scene, suspensions, is_blocking=is_blocking):
        suspensions += 1
    assert suspensions >= 2
