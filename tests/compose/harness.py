"""Runs one scenario in three worlds: `requests` on a thread, httpx on an event loop, and the simulation.

All three read the same script and the same seed on a virtual clock, so that they must tell the same story.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

import httpx
import requests
from requests.adapters import BaseAdapter

from polvo_adapters.adapters import PolicyAdapter
from polvo_adapters.events import Entry, Report
from polvo_adapters.flow import (
    CONNECT,
    CONNECT_TIMEOUT,
    DISCONNECTED,
    READ_TIMEOUT,
    REFUSED,
    TRUNCATED,
    Call,
    Policy,
    compose,
)
from polvo_adapters.simulate import Fault, Script, Simulation, Turn, VirtualClock
from polvo_adapters.transports import AsyncPolicyTransport

URL = "http://server.example/orders"

REQUESTS_ERRORS = {
    CONNECT: lambda: requests.exceptions.ProxyError("no proxy"),
    CONNECT_TIMEOUT: lambda: requests.ConnectTimeout(),
    READ_TIMEOUT: lambda: requests.ReadTimeout(),
    DISCONNECTED: lambda: requests.ConnectionError("gone"),
    TRUNCATED: lambda: requests.exceptions.ChunkedEncodingError("short"),
    REFUSED: lambda: requests.exceptions.InvalidURL("bad"),
}
HTTPX_ERRORS = {
    CONNECT: lambda: httpx.ConnectError("no"),
    CONNECT_TIMEOUT: lambda: httpx.ConnectTimeout("slow"),
    READ_TIMEOUT: lambda: httpx.ReadTimeout("slow"),
    DISCONNECTED: lambda: httpx.RemoteProtocolError("gone"),
    REFUSED: lambda: httpx.UnsupportedProtocol("bad"),
}


class Story(NamedTuple):
    """What a world tells of a scenario."""

    entries: Sequence[Entry]
    note: str
    ended: str
    clock: float
    received: int


class ScriptedAdapter(BaseAdapter):
    """A `requests` adapter that does as a script says, in virtual time."""

    def __init__(self, script: Script, clock: VirtualClock) -> None:
        self.script, self.clock = script, clock

    def send(self, request: requests.PreparedRequest, timeout: Any = None, **keywords: Any) -> requests.Response:
        turn = self.script.reply(Call(request.method or "", request.url or ""), self.clock.now())
        if timeout is not None and turn.seconds > timeout:
            self.clock.advance(timeout)
            raise requests.ReadTimeout
        self.clock.advance(turn.seconds)
        if isinstance(turn, Fault):
            raise REQUESTS_ERRORS[turn.failure]()
        response = requests.Response()
        response.status_code, response._content, response.request = turn.status, b"", request
        response.headers.update(turn.headers)
        return response

    def close(self) -> None:
        """Nothing to close."""


class AsyncVirtualClock(VirtualClock):
    async def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        await asyncio.sleep(0)


class BrokenStream(httpx.AsyncByteStream):
    async def __aiter__(self) -> Any:
        yield b"x"
        raise httpx.RemoteProtocolError("short")


class ScriptedTransport(httpx.AsyncBaseTransport):
    """An httpx transport that does as a script says, in virtual time."""

    def __init__(self, script: Script, clock: VirtualClock) -> None:
        self.script, self.clock = script, clock

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        turn = self.script.reply(Call(request.method, str(request.url)), self.clock.now())
        timeout = request.extensions["timeout"]["read"]
        if timeout is not None and turn.seconds > timeout:
            self.clock.advance(timeout)
            raise httpx.ReadTimeout("slow")
        self.clock.advance(turn.seconds)
        if isinstance(turn, Fault):
            if turn.failure is TRUNCATED:
                return httpx.Response(200, stream=BrokenStream())
            raise HTTPX_ERRORS[turn.failure]()
        return httpx.Response(turn.status, headers=dict(turn.headers), content=b"")


def synchronous(policies: Sequence[Policy], turns: Sequence[Turn], method: str, body: Any, seed: int) -> Story:
    clock, script = VirtualClock(seed), Script(turns)
    session = requests.Session()
    session.mount("http://", PolicyAdapter(*policies, inner=ScriptedAdapter(script, clock), clock=clock))
    try:
        response = session.request(method, URL, data=body())
        report, ended = response.polvo, str(response.status_code)
    except requests.RequestException as error:
        report, ended = error.polvo, kind_of(error)
    return Story(report.entries, report.note, ended, clock.now(), script.received)


def asynchronous(policies: Sequence[Policy], turns: Sequence[Turn], method: str, body: Any, seed: int) -> Story:
    clock, script = AsyncVirtualClock(seed), Script(turns)
    transport = AsyncPolicyTransport(*policies, inner=ScriptedTransport(script, clock), clock=clock)

    async def run() -> Story:
        async with httpx.AsyncClient(transport=transport, timeout=None) as client:
            content = body()
            if hasattr(content, "__next__"):
                content = as_async(content)
            try:
                response = await client.request(method, URL, content=content)
                report, ended = response.extensions["polvo"], str(response.status_code)
            except (httpx.HTTPError, requests.RequestException) as error:
                report, ended = error.polvo, kind_of(error)
            return Story(report.entries, report.note, ended, clock.now(), script.received)

    return asyncio.run(run())


async def as_async(parts: Any) -> Any:
    for part in parts:
        yield part


def simulated(policies: Sequence[Policy], turns: Sequence[Turn], method: str, body: Any, seed: int) -> Story:
    script = Script(turns)
    simulation = Simulation(script, seed)
    content = body()
    kind = "none" if content is None else "replayable" if isinstance(content, bytes) else "once"
    call = simulation.call(compose(policies), Call(method, URL, body=kind))
    simulation.run()
    outcome = call.outcome
    assert outcome is not None
    ended = str(outcome.status) if outcome.error is None else kind_of(outcome.error)
    report = Report(method, "server.example", call.entries, outcome.note)
    return Story(report.entries, report.note, ended, simulation.clock.now(), script.received)


def kind_of(error: BaseException) -> str:
    """Name an error of ours by its class; what comes from a transport has a name of its own in each world."""
    return type(error).__name__ if type(error).__module__ == "polvo_adapters.errors" else "error from below"
