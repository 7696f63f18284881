"""Run the blocks of a guide as they stand: its addresses lead to a failure server, and its waits are short.

A block with an `await` outside of a function is run as the interpreter of asyncio does. Functions without arguments
that a block defines, its tests, are run after it.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from polvo_adapters.drivers.aio import AsyncSystemClock
from polvo_adapters.testing import FailureServer

HOSTS = ("localhost", "api.example.com")
"""Hosts of the guide that the failure server stands in for, where the port is 8000 or none."""
SERVED = ("/msg", "/fail/", "/health")
"""Paths that the server has; all others are those of an API, and answered by its /echo."""


PACE = 0.2
"""Part of the delays of the server, and of the waits for a slot, that the blocks take here."""


def list_blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def redirect(server: FailureServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the requests to the hosts of a guide go to the server."""
    plain = httpx.AsyncHTTPTransport.handle_async_request
    base = httpx.URL(server.url)

    async def handle(self: httpx.AsyncHTTPTransport, request: httpx.Request) -> httpx.Response:
        url = request.url
        if "delay" in url.params:
            url = url.copy_set_param("delay", int(int(url.params["delay"]) * PACE))
            request.url = url
        is_there = base.port == 8000 and url.host == "localhost" and url.path.startswith(SERVED)
        if url.host in HOSTS and url.port in (8000, None) and not is_there:
            path = url.path if url.path.startswith(SERVED) else "/echo"
            moved = url.copy_with(scheme="http", host=base.host, port=base.port, path=path)
            request = httpx.Request(
                request.method, moved, headers=request.headers, stream=request.stream, extensions=request.extensions
            )
        return await plain(self, request)

    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", handle)


def shorten_waits(monkeypatch: pytest.MonkeyPatch, to: float = 0.002) -> list[float]:
    """Let waits before retries be short, and return the list of what they would have been."""
    waits: list[float] = []

    def uniform(self: Any, low: float, high: float) -> float:
        waits.append((low + high) / 2)
        return to

    plain = AsyncSystemClock.wait

    async def wait(event: asyncio.Event, seconds: float) -> None:
        await plain(event, seconds * PACE)

    monkeypatch.setattr(AsyncSystemClock, "uniform", uniform)
    monkeypatch.setattr(AsyncSystemClock, "wait", staticmethod(wait))
    return waits


def run_block(code: str, namespace: dict[str, Any], name: str = "guide") -> list[str]:
    """Run a block and the tests that it defines, and return their names."""
    before = dict(namespace)
    compiled = compile(code, name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    result = eval(compiled, namespace)  # as the interpreter of asyncio does
    if inspect.iscoroutine(result):
        asyncio.run(result)
    tests = [key for key, value in namespace.items() if before.get(key) is not value and is_test(key, value)]
    for test in tests:
        asyncio.run(namespace[test]())
    return tests


def is_test(name: str, value: Any) -> bool:
    return inspect.iscoroutinefunction(value) and name.startswith(("test_", "main"))
