"""What the library itself costs per call under httpx, in microseconds, without any network.

What: `AsyncClient.get` over a transport that answers from memory, with AsyncPolicyTransport in between minus without;
the same for `Client.get`. Bar: 25 µs for the standard stack.

How: the transport makes a new response for every call, as a real one does. Nothing here waits, so that a call never
suspends, and a coroutine that is driven by hand costs what one in a task does: no event loop runs while the clock does.

Why that way: as in `overhead`.
"""

from __future__ import annotations

import asyncio
from contextlib import closing
from typing import Any

import httpx

from polvo_adapters.policies.stack import standard
from polvo_adapters.transports import AsyncPolicyTransport, PolicyTransport
from tests.benchmarks.measure import Result, Variant, compare

URL = "http://api.example.com/items?page=2"
BAR = "≤ 25 µs more"


class NoOpTransport(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """Answers from memory."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Answer."""
        return httpx.Response(200, headers={"content-type": "application/json"}, content=b"{}")

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer."""
        return httpx.Response(200, headers={"content-type": "application/json"}, content=b"{}")


def transports(*, quick: bool = False) -> list[Result]:
    """Measure `get` of both kinds of client, with and without policies."""
    stacks: dict[str, tuple[Any, str]] = {
        "no policies": ((), ""),
        "standard stack": (standard(), BAR),
        "standard stack, deadline": (standard(deadline=30), ""),
    }
    rounds, batch = (5, 20) if quick else (100, 100)
    noop = NoOpTransport()
    calls = [_calling("Client.get, no-op transport", noop)]
    with closing(asyncio.new_event_loop()) as loop:
        tasks = [_awaiting("AsyncClient.get, no-op transport", noop, loop)]
        for name, (policies, bar) in stacks.items():
            transport = AsyncPolicyTransport(*policies, inner=noop)
            tasks.append(_awaiting(f"AsyncClient.get + {name}", transport, loop, bar))
            calls.append(_calling(f"Client.get + {name}", PolicyTransport(*policies, inner=noop), bar))
        return [*compare(tasks, rounds, batch), *compare(calls, rounds, batch)]


def _calling(name: str, transport: httpx.BaseTransport, bar: str = "") -> Variant:
    client = httpx.Client(transport=transport)
    return Variant(name, lambda: client.get(URL), bar=bar)


def _awaiting(
    name: str, transport: httpx.AsyncBaseTransport, loop: asyncio.AbstractEventLoop, bar: str = ""
) -> Variant:
    client = httpx.AsyncClient(transport=transport)

    def finish() -> None:
        call = client.get(URL)
        try:
            call.send(None)
        except StopIteration:
            return
        raise RuntimeError("a call has waited, although there is nothing to wait for")

    return Variant(name, _within_loop(finish, loop), bar=bar)


def _within_loop(step: Any, loop: asyncio.AbstractEventLoop) -> Any:
    """Return a function that runs a step as if a task of an event loop ran it, which deadlines need."""
    task: Any = loop.create_task(asyncio.sleep(0))
    loop.run_until_complete(task)

    def run() -> None:
        asyncio._set_running_loop(loop)
        asyncio.tasks._enter_task(loop, task)
        try:
            step()
        finally:
            asyncio.tasks._leave_task(loop, task)
            asyncio._set_running_loop(None)

    return run
