"""Runs one scene in four worlds: `requests` on threads, httpx on an event loop and on threads, and the simulation.

All see the same servers and the same seed in virtual time, so that they must tell the same story: entry by entry,
request by request, line by line of the log, instant by instant. httpx on threads cannot cut off an attempt that has
lost a race; it takes part where no policy races.

A scene is policies, servers and calls:

    tale = tell(
        [Hedge(delay=1.0)],
        by_url({"http://a.example": in_turn(Reply(200, seconds=5), Reply(200, seconds=0.1))}),
        Calling("http://a.example/orders"),
        Calling("http://a.example/orders", at=0.5),
    )
    assert tale.stories[0].ended == "200"

Where policies take something with them that a call leaves behind (a listener's list), give a function that makes them.

**One rule.** What follows from one event comes in the same order everywhere. What merely coincides does not: two
requests that begin at one instant because two calls do, or an answer that comes in the very moment in which another
loses patience, have no order on real machines either. So give everything a time of its own: no two calls begin at
once, and answers take times that do not add up. Mind that a deadline ends all branches of a race at one instant. What
a race decides by itself comes at the same instant as what its branches do first, and has no order with it. What losers
hold comes back at the instant at which they lose; but on threads it is they who give it back, after what the winner
does at that instant, and where they were not in an attempt but in a pause, after what those do who were called before
them.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import httpx
import requests
from requests.adapters import HTTPAdapter

from polvo_adapters.adapters import PolicyAdapter
from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Policy, PolicyTraits, compose
from polvo_adapters.core.outcomes import (
    CONNECT,
    CONNECT_TIMEOUT,
    DISCONNECTED,
    READ_TIMEOUT,
    TRUNCATED,
    UNCLASSIFIED,
    Outcome,
)
from polvo_adapters.core.report import Entry
from polvo_adapters.drivers import virtual
from polvo_adapters.shells.given_up import GivenUpRequests
from polvo_adapters.stores.base import Store
from polvo_adapters.stores.memory import MemoryStore
from polvo_adapters.testing.simulation.simulation import (
    Script,
    ScriptedFailure,
    ScriptedReply,
    ScriptedTurn,
    Server,
    Simulation,
)
from polvo_adapters.transports import AsyncPolicyTransport, PolicyTransport
from tests.support.log_lines import log_lines
from tests.support.virtual_worlds import LoopClock, ThreadedVirtualClock

URL = "http://server.example/orders"
UNSENT = (CONNECT, CONNECT_TIMEOUT)

REQUESTS_ERRORS = {
    CONNECT: lambda: requests.exceptions.ProxyError("no proxy"),
    CONNECT_TIMEOUT: lambda: requests.ConnectTimeout(),
    READ_TIMEOUT: lambda: requests.ReadTimeout(),
    DISCONNECTED: lambda: requests.ConnectionError("gone"),
    TRUNCATED: lambda: requests.exceptions.ChunkedEncodingError("short"),
    UNCLASSIFIED: lambda: requests.exceptions.InvalidURL("bad"),
}
HTTPX_ERRORS = {
    CONNECT: lambda: httpx.ConnectError("no"),
    CONNECT_TIMEOUT: lambda: httpx.ConnectTimeout("slow"),
    READ_TIMEOUT: lambda: httpx.ReadTimeout("slow"),
    DISCONNECTED: lambda: httpx.RemoteProtocolError("gone"),
    UNCLASSIFIED: lambda: httpx.UnsupportedProtocol("bad"),
}

# Scenes ---------------------------------------------------------------------------------------------------------------


class Calling(NamedTuple):
    """A call of a scene: what for, and when; `key` is its idempotency key."""

    url: str = URL
    method: str = "GET"
    body: Callable[[], Any] = lambda: None
    at: float = 0.0
    key: str = ""

    @property
    def headers(self) -> dict[str, str]:
        """What the caller adds to the request."""
        return {"Idempotency-Key": self.key} if self.key else {}


class Story(NamedTuple):
    """What became of a call; `clock` is when it was over, `received` how many requests there were in the scene."""

    entries: Sequence[Entry]
    note: str
    ended: str
    clock: float
    received: int


class Request(NamedTuple):
    """A request that arrived at a server."""

    at: float
    method: str
    url: str


class Tale(NamedTuple):
    """What a world tells of a scene; `log` are the instant, the part, the level and the event of each line."""

    stories: Sequence[Story]
    requests: Sequence[Request]
    log: Sequence[tuple[float, str, str, str]] = ()


class _Served:
    """A server that does what a function says."""

    def __init__(self, reply: Callable[[Call, float], ScriptedTurn]) -> None:
        self.reply = reply


def in_turn(*turns: ScriptedTurn) -> Server:
    """Return a server that answers in turn, and with the last turn for ever."""
    return Script(turns)


def apart(turns: Sequence[ScriptedTurn], requests: int = 64) -> list[ScriptedTurn]:
    """Return turns of which no two take equally long, the last one for so many requests that none is repeated.

    Where two attempts begin together and end together, each world may put their ends in an order of its own.
    """
    longer = [*turns, *[turns[-1]] * (requests - len(turns))]
    return [turn._replace(seconds=turn.seconds + number * 2.0**-30) for number, turn in enumerate(longer, 1)]


def by_url(servers: Mapping[str, Server]) -> Server:
    """Return a server that asks the one with the longest prefix of the URL."""

    def reply(call: Call, now: float) -> ScriptedTurn:
        prefix = max((prefix for prefix in servers if call.url.startswith(prefix)), key=len)
        return servers[prefix].reply(call, now)

    return _Served(reply)


def by_time(*servers: tuple[float, Server]) -> Server:
    """Return a server that asks the last of those whose time has come; the first has to begin at 0."""

    def reply(call: Call, now: float) -> ScriptedTurn:
        return [server for begin, server in servers if begin <= now][-1].reply(call, now)

    return _Served(reply)


class Recording:
    """A server that notes what arrives."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.requests: list[Request] = []

    def reply(self, call: Call, now: float) -> ScriptedTurn:
        self.requests.append(Request(now, call.method, call.url))
        return self.server.reply(call, now)


Policies = Sequence[Policy] | Callable[[], Sequence[Policy]]


MakeStore = Callable[[Callable[[], float]], Store]
World = Callable[[Sequence[Policy], Server, Sequence[Calling], int, MakeStore], Tale]


def tell(
    policies: Policies,
    server: Callable[[], Server],
    *calls: Calling,
    seed: int = 0,
    store: MakeStore = lambda now: MemoryStore(now=now),
) -> Tale:
    """Return what all worlds tell of a scene.

    Args:
        policies: The policies, or a function that makes them, for each world anew.
        server: Makes the servers, for each world anew.
        *calls: The calls.
        seed: Seed of all chance.
        store: Makes the store of a world, given its clock.
    """
    tales = tell_each(policies, server, *calls, seed=seed, store=store)
    if not has_races(_made(policies)):
        tales.append(_tell_one(transported, policies, server, calls, seed, store))
    for tale in tales[1:]:
        assert _comparable(tales[0]) == _comparable(tale)
    return tales[0]


def tell_each(
    policies: Policies,
    server: Callable[[], Server],
    *calls: Calling,
    seed: int = 0,
    store: MakeStore = lambda now: MemoryStore(now=now),
) -> list[Tale]:
    """Return what each world tells of a scene in which things coincide; arguments as for `tell`."""
    worlds = (synchronous, asynchronous, simulated)
    return [_tell_one(world, policies, server, calls, seed, store) for world in worlds]


def _tell_one(
    world: World,
    policies: Policies,
    server: Callable[[], Server],
    calls: Sequence[Calling],
    seed: int,
    store: MakeStore,
) -> Tale:
    with log_lines() as kept:

        def make_store(now: Callable[[], float]) -> Store:
            kept.now = now
            return store(now)

        tale = world(_made(policies), server(), calls, seed, make_store)
    # In order of time, as what coincides has no order; and rounded where no time of a scene is a tie.
    lines = [(round(at + 3e-8, 6), *line.kind) for at, line in zip(kept.times, kept.lines, strict=True)]
    return tale._replace(log=sorted(lines))


def has_races(policies: Sequence[Policy]) -> bool:
    """Return whether a policy may race attempts; those that tests define say it by an attribute, as all do."""
    return any(PolicyTraits.of(policy).races for policy in policies)


def _comparable(value: Any) -> Any:
    """Return what a world tells without the last digits of times: the worlds add up the same times differently."""
    if isinstance(value, float):
        return round(value, 9)
    if isinstance(value, (list, tuple)):
        return [type(value).__name__, *map(_comparable, value)]
    return value


def _made(policies: Policies) -> Sequence[Policy]:
    return policies() if callable(policies) else policies


class _Told(NamedTuple):
    entries: Sequence[Entry]
    note: str
    ended: str
    clock: float


def _tale(told: Mapping[int, _Told], requests: Sequence[Request]) -> Tale:
    return Tale([Story(*told[number], len(requests)) for number in sorted(told)], requests)


def kind_of(error: BaseException) -> str:
    """Name an error of ours by its class; what comes from a transport has a name of its own in each world."""
    return type(error).__name__ if type(error).__module__ == "polvo_adapters.errors" else "error from below"


# Threads --------------------------------------------------------------------------------------------------------------


class Line:
    """What an attempt in virtual time waits on, in place of a socket."""

    def __init__(self) -> None:
        self.cut = threading.Event()

    def shutdown(self, how: int) -> None:
        self.cut.set()


class ScriptedAdapter(HTTPAdapter):
    """A `requests` adapter whose servers are scripted, in virtual time."""

    def __init__(self, server: Server, clock: ThreadedVirtualClock) -> None:
        super().__init__()
        self.server, self.clock = server, clock

    def send(self, request: requests.PreparedRequest, timeout: Any = None, **keywords: Any) -> requests.Response:
        turn = self.server.reply(Call(request.method or "", request.url or ""), self.clock.now())
        if timeout is not None and turn.seconds > timeout:
            self.wait(timeout)
            raise requests.ReadTimeout
        self.wait(turn.seconds)
        if isinstance(turn, ScriptedFailure):
            error = REQUESTS_ERRORS[turn.failure]()
            if turn.failure in UNSENT:  # the evidence that a connection would give
                self._transmission.error = error
            raise error
        response = self.respond(turn, request)
        response.status_code, response.request, response.url = turn.status, request, request.url or ""
        response.headers.update(turn.headers)
        return response

    def respond(self, turn: ScriptedReply, request: requests.PreparedRequest) -> requests.Response:
        response = requests.Response()
        response._content = b""
        return response

    def wait(self, seconds: float) -> None:
        """Take that long, unless the race is lost meanwhile."""
        line = Line()
        if self._transmission.sockets is not None:
            self._transmission.sockets.add(line)
        self.clock.pause(line.cut, seconds)
        if line.cut.is_set():
            raise requests.ConnectionError("cut")

    def close(self) -> None:
        """Nothing to close."""


def synchronous(
    policies: Sequence[Policy], server: Server, calls: Sequence[Calling], seed: int, store: MakeStore
) -> Tale:
    clock, recording = ThreadedVirtualClock(seed), Recording(server)
    inner = ScriptedAdapter(recording, clock)
    adapter = PolicyAdapter(*policies, inner=inner, clock=clock, store=store(clock.now))
    told: dict[int, _Told] = {}

    def run(number: int, calling: Calling) -> None:
        clock.sleep(calling.at)
        session = requests.Session()
        session.mount("http://", adapter)
        try:
            response = session.request(calling.method, calling.url, data=calling.body(), headers=calling.headers)
            report, ended = response.polvo, str(response.status_code)
        except requests.RequestException as error:
            report, ended = error.polvo, kind_of(error)
        told[number] = _Told(report.entries, report.note, ended, clock.now())

    clock.run(*[lambda number=number, calling=calling: run(number, calling) for number, calling in enumerate(calls)])
    return _tale(told, recording.requests)


# Event loops ----------------------------------------------------------------------------------------------------------


class BrokenStream(httpx.AsyncByteStream):
    async def __aiter__(self) -> Any:
        yield b"x"
        raise httpx.RemoteProtocolError("short")


class ScriptedTransport(httpx.AsyncBaseTransport):
    """An httpx transport whose servers are scripted, in virtual time."""

    def __init__(self, server: Server, clock: LoopClock) -> None:
        self.server, self.clock = server, clock

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        turn = self.server.reply(Call(request.method, str(request.url)), self.clock.now())
        timeout = request.extensions.get("timeout", {}).get("read")
        if timeout is not None and turn.seconds > timeout:
            await self.clock.sleep(timeout)
            raise httpx.ReadTimeout("slow")
        await self.clock.sleep(turn.seconds)
        if isinstance(turn, ScriptedFailure):
            if turn.failure is TRUNCATED:
                return httpx.Response(200, stream=BrokenStream())
            error = HTTPX_ERRORS[turn.failure]()
            if turn.failure in UNSENT:  # the evidence that httpcore would give
                await request.extensions["trace"]("connection.connect_tcp.failed", {"exception": error})
            raise error
        return self.respond(turn, request)

    def respond(self, turn: ScriptedReply, request: httpx.Request) -> httpx.Response:
        return httpx.Response(turn.status, headers=dict(turn.headers), content=b"")


def asynchronous(
    policies: Sequence[Policy], server: Server, calls: Sequence[Calling], seed: int, store: MakeStore
) -> Tale:
    clock, recording = LoopClock(seed), Recording(server)
    inner = ScriptedTransport(recording, clock)
    transport = AsyncPolicyTransport(*policies, inner=inner, clock=clock, store=store(clock.now))
    told: dict[int, _Told] = {}

    async def run(number: int, calling: Calling) -> None:
        await clock.sleep(calling.at)
        client = httpx.AsyncClient(transport=transport, timeout=None)  # not closed, for it is the others' as well
        content = calling.body()
        if hasattr(content, "__next__"):
            content = as_async(content)
        try:
            response = await client.request(calling.method, calling.url, content=content, headers=calling.headers)
            report, ended = response.extensions["polvo"], str(response.status_code)
        except (httpx.HTTPError, requests.RequestException) as error:
            report, ended = error.polvo, kind_of(error)
        told[number] = _Told(report.entries, report.note, ended, clock.now())

    async def run_all() -> None:
        await asyncio.gather(*[run(number, calling) for number, calling in enumerate(calls)])

    clock.run(run_all())
    return _tale(told, recording.requests)


async def as_async(parts: Any) -> Any:
    for part in parts:
        yield part


# httpx on threads ----------------------------------------------------------------------------------------------------


class BrokenSyncStream(httpx.SyncByteStream):
    def __iter__(self) -> Any:
        yield b"x"
        raise httpx.RemoteProtocolError("short")


class ScriptedSyncTransport(httpx.BaseTransport):
    """A transport of httpx whose servers are scripted, in virtual time, for threads."""

    def __init__(self, server: Server, clock: ThreadedVirtualClock) -> None:
        self.server, self.clock = server, clock

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        turn = self.server.reply(Call(request.method, str(request.url)), self.clock.now())
        timeout = request.extensions.get("timeout", {}).get("read")
        if timeout is not None and turn.seconds > timeout:
            self.clock.sleep(float(timeout))
            raise httpx.ReadTimeout("slow")
        self.clock.sleep(turn.seconds)
        if isinstance(turn, ScriptedFailure):
            if turn.failure is TRUNCATED:
                return httpx.Response(200, stream=BrokenSyncStream())
            error = HTTPX_ERRORS[turn.failure]()
            if turn.failure in UNSENT:  # the evidence that httpcore would give
                request.extensions["trace"]("connection.connect_tcp.failed", {"exception": error})
            raise error
        return httpx.Response(turn.status, headers=dict(turn.headers), content=b"")


def transported(
    policies: Sequence[Policy], server: Server, calls: Sequence[Calling], seed: int, store: MakeStore
) -> Tale:
    clock, recording = ThreadedVirtualClock(seed), Recording(server)
    inner = ScriptedSyncTransport(recording, clock)
    transport = PolicyTransport(*policies, inner=inner, clock=clock, store=store(clock.now))
    told: dict[int, _Told] = {}

    def run(number: int, calling: Calling) -> None:
        clock.sleep(calling.at)
        client = httpx.Client(transport=transport, timeout=None)
        content = calling.body()
        try:
            response = client.request(calling.method, calling.url, content=content, headers=calling.headers)
            report, ended = response.extensions["polvo"], str(response.status_code)
        except (httpx.HTTPError, requests.RequestException) as error:
            report, ended = error.polvo, kind_of(error)
        told[number] = _Told(report.entries, report.note, ended, clock.now())

    clock.run(*[lambda number=number, calling=calling: run(number, calling) for number, calling in enumerate(calls)])
    return _tale(told, recording.requests)


# The simulation -------------------------------------------------------------------------------------------------------


def simulated(
    policies: Sequence[Policy], server: Server, calls: Sequence[Calling], seed: int, store: MakeStore
) -> Tale:
    recording = Recording(server)
    simulation = Simulation(recording, seed)
    simulation.store = store(simulation.now)
    told: dict[int, _Told] = {}
    given_up = GivenUpRequests()

    def begin(number: int, calling: Calling) -> None:
        content, entries = calling.body(), list[Entry]()
        kind = "none" if content is None else "replayable" if isinstance(content, bytes) else "once"

        def over(outcome: Outcome) -> None:
            ended = str(outcome.status) if outcome.error is None else kind_of(outcome.error)
            told[number] = _Told(entries, outcome.note, ended, simulation.now())
            given_up.note_end(call, outcome, entries, lambda: same)

        same = repr((calling.method, calling.url, content)).encode()
        call = Call(
            calling.method,
            calling.url,
            body=kind,
            started=simulation.now(),
            identity="somebody",
            key=calling.key,
            content=str(content),
            repeated=same in given_up.known,
        )
        virtual.drive(compose(policies)(call), simulation, entries, over, call)

    for number, calling in enumerate(calls):
        simulation.after(calling.at, lambda number=number, calling=calling: begin(number, calling))
    simulation.run()
    return _tale(told, recording.requests)
