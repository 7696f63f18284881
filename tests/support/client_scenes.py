"""What the tests of the resilient client share: a virtual clock for tasks, and servers that are functions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import httpx

from polvo_adapters.client import ClientConfig, ResilientClient
from polvo_adapters.testing import VirtualClock

BASE = "https://api.example.com"


class TaskClock(VirtualClock):
    """A virtual clock that is slept on by tasks, and remembers for how long.

    Attributes:
        waits: The seconds of each sleep.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    async def sleep(self, seconds: float) -> None:  # type: ignore[override]
        self.waits.append(seconds)
        self.advance(seconds)
        await asyncio.sleep(0)

    async def wait(self, event: asyncio.Event, seconds: float) -> None:  # type: ignore[override]
        """Wait for the event: other tasks move the time."""
        await event.wait()


class ScriptedServer:
    """A server that answers with what it was given, one after the other, and with the last one from then on.

    Args:
        answers: Statuses, responses, exceptions to raise, or functions of the request.

    Attributes:
        requests: The requests that it has received.
    """

    def __init__(self, *answers: Any) -> None:
        self.requests: list[httpx.Request] = []
        self._answers = list(answers) or [200]

    async def handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, BaseException):
            raise answer
        if isinstance(answer, int):
            return httpx.Response(answer, json={"status": answer})
        if callable(answer):
            made = answer(request)
            return await made if asyncio.iscoroutine(made) else made
        return answer

    async def received(self, count: int) -> None:
        """Wait until so many requests have come."""
        while len(self.requests) < count:  # noqa: ASYNC110 - a few turns of the loop
            await asyncio.sleep(0)

    @property
    def ids(self) -> list[str]:
        """The request ids that it has received."""
        return [request.headers["X-Request-ID"] for request in self.requests]


def make_client(server: ScriptedServer, clock: TaskClock | None = None, **settings: Any) -> ResilientClient:
    """Return a client of the server, in virtual time."""
    config = ClientConfig(**{"base_url": BASE, **settings})
    return ResilientClient(config, transport=httpx.MockTransport(server.handle), clock=clock or TaskClock())


def answer(status: int, headers: dict[str, str] | None = None) -> Callable[[httpx.Request], httpx.Response]:
    """Return a function that answers, for a server that answers more than once."""
    return lambda request: httpx.Response(status, headers=headers)


def names(errors: Iterable[object]) -> list[str]:
    """Return the names of the classes of objects."""
    return [type(error).__name__ for error in errors]
