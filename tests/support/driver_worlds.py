"""One flow, driven in each of the three worlds by the shell that drives it there, in virtual time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import httpx
import pytest
import requests

from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Flow
from polvo_adapters.core.machines import Event, Refused
from polvo_adapters.core.outcomes import Outcome
from polvo_adapters.core.report import Entry
from polvo_adapters.drivers import aio, sync, virtual
from polvo_adapters.shells.httpx.async_exchange import AsyncHTTPXExchange
from polvo_adapters.shells.requests.exchange import RequestsExchange
from polvo_adapters.shells.requests.repeatable_request import RepeatableRequest
from polvo_adapters.shells.requests.wire.route import Route
from polvo_adapters.stores import MemoryStore
from polvo_adapters.testing.simulation.simulation import ScriptedReply, ScriptedTurn, Simulation
from polvo_adapters.testing.virtual_clock import VirtualClock
from tests.support.virtual_worlds import LoopClock, ThreadedVirtualClock
from tests.support.worlds import ScriptedAdapter, ScriptedTransport

CALL = Call("GET", "http://server.example/")


def to(name: str) -> Call:
    """Return a call to an URL that ends with a name."""
    return CALL._replace(url=CALL.url + name)


class Raises(NamedTuple):
    """A turn that ends an attempt with something that is no Exception."""

    error: Callable[[], BaseException]
    seconds: float = 0.0


class Ledger:
    """A machine that writes down what happens; it refuses what begins with "no"."""

    initial: tuple[str, ...] = ()

    def transition(self, state: tuple[str, ...], event: str, now: float) -> tuple[tuple[str, ...], Any]:
        if event.startswith("no"):
            return state, Refused("no")
        return (*state, f"{event} at {now:g}"), event

    def release_event(self, verdict: str) -> str:
        return f"-{verdict}"


def book(*events: str) -> list[Event]:
    """Return events for the ledger."""
    return [Event(Ledger(), "ledger", event) for event in events]


def written(store: MemoryStore) -> list[str]:
    """Return what is in the ledger, whoever put it there."""
    store.decide([])
    return list(store._states.get("ledger", ()))


class World:
    """Drives flows, and keeps what they leave behind.

    Attributes:
        outcome: What the last flow has returned.
        log: Requests and closings of responses, in order.
    """

    clock: VirtualClock

    def __init__(self, reply: Callable[[Call, float], ScriptedTurn | Raises] | None = None) -> None:
        self.log: list[str] = []
        self.entries: list[Entry] = []
        self.outcome: Outcome | None = None
        self.answer = reply or (lambda call, now: ScriptedReply(503))
        self.store = MemoryStore(now=lambda: self.clock.now())

    def reply(self, call: Call, now: float) -> Any:
        """Answer as a server."""
        self.log.append(f"{call.url.removeprefix(CALL.url)} sent")
        return self.answer(call, now)

    def drive(self, flow: Flow) -> Outcome:
        """Drive a flow to its end; raise what the driver raises."""
        raise NotImplementedError

    @property
    def ledger(self) -> list[str]:
        """What is in the ledger."""
        return written(self.store)


class Body:
    """A body that tells when it is closed."""

    closed = False

    def __init__(self, log: list[str], url: str) -> None:
        self._log, self._name = log, url.removeprefix(CALL.url)

    def close(self) -> None:
        self.closed = True
        self._log.append(f"{self._name} closed")


class Adapter(ScriptedAdapter):
    def __init__(self, world: Threads) -> None:
        super().__init__(world, world.clock)
        self.log = world.log

    def respond(self, turn: Any, request: requests.PreparedRequest) -> requests.Response:
        if isinstance(turn, Raises):
            raise turn.error()
        response = requests.Response()
        response.raw = Body(self.log, request.url or "")
        return response


class Threads(World):
    clock: ThreadedVirtualClock

    def drive(self, flow: Flow) -> Outcome:
        self.clock = ThreadedVirtualClock()
        keywords = {"stream": True, "timeout": None, "verify": True, "cert": None, "proxies": None}
        request = requests.Request("GET", CALL.url).prepare()
        adapter = Adapter(self)
        self.exchange = RequestsExchange(Route(adapter), adapter, RepeatableRequest(request), keywords, self.clock)

        def run() -> None:
            self.outcome = sync.drive(flow, self.exchange, self.store, self.clock, self.entries)

        self.clock.run(run)
        assert self.outcome is not None
        return self.outcome


class AsyncBody(Body, httpx.AsyncByteStream):
    async def __aiter__(self) -> Any:
        yield b""

    async def aclose(self) -> None:
        self.close()


class Transport(ScriptedTransport):
    def __init__(self, world: Loop) -> None:
        super().__init__(world, world.clock)
        self.log = world.log

    def respond(self, turn: Any, request: httpx.Request) -> httpx.Response:
        if isinstance(turn, Raises):
            raise turn.error()
        return httpx.Response(turn.status, headers=dict(turn.headers), stream=AsyncBody(self.log, str(request.url)))


class Loop(World):
    clock: LoopClock

    def drive(self, flow: Flow) -> Outcome:
        self.clock = LoopClock()

        async def main() -> None:
            await self.run(flow)  # and return nothing: a loop may keep its last task, and that its result

        self.clock.run(main())
        assert self.outcome is not None
        return self.outcome

    async def run(self, flow: Flow) -> Outcome:
        """Drive a flow on the loop that runs."""
        exchange = AsyncHTTPXExchange(Transport(self), httpx.Request("GET", CALL.url), self.clock, stream=True)
        self.outcome = await aio.drive(flow, exchange, self.store, self.clock, self.entries)
        return self.outcome


class Simulated(World):
    def drive(self, flow: Flow) -> Outcome:
        simulation = Simulation(self, store=self.store)
        self.clock = simulation.clock

        def over(outcome: Outcome) -> None:
            self.outcome = outcome

        virtual.drive(flow, simulation, self.entries, over)
        simulation.run()
        assert self.outcome is not None
        return self.outcome


everywhere = pytest.mark.parametrize("world", [Threads, Loop, Simulated])
on_machines = pytest.mark.parametrize("world", [Threads, Loop])
"""Where there are responses, and attempts that end with something that is no Exception."""
