"""A simulation in virtual time of the very flows that ship, and scripted servers for it.

    server = Script([ScriptedReply(503, {"retry-after": "2"}, seconds=0.1), ScriptedReply(200)])
    simulation = Simulation(server, seed=1)
    calls = [simulation.call(compose([ExponentialBackoff()])) for _ in range(1000)]
    simulation.run()

Nothing sleeps. Events lie in a heap ordered by time and then by age, so that equal seeds give equal runs. A `Timeline`
is that heap alone, for worlds of another shape: `crowd` and `overload` have a `SimulatedClient` per client.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeAlias, Union

from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Proceed, Send
from polvo_adapters.core.outcomes import CONNECT, CONNECT_TIMEOUT, EXPIRED, Failure, Outcome, at_deadline
from polvo_adapters.core.report import Entry
from polvo_adapters.drivers.virtual import drive
from polvo_adapters.stores.base import Store
from polvo_adapters.stores.memory import MemoryStore
from polvo_adapters.testing.virtual_clock import VirtualClock


class ScriptedReply(NamedTuple):
    """A response: status, headers, and the seconds that it takes."""

    status: int
    headers: Mapping[str, str] = {}
    seconds: float = 0.0


class ScriptedFailure(NamedTuple):
    """A failure, and the seconds until it shows."""

    failure: Failure
    seconds: float = 0.0


ScriptedTurn: TypeAlias = Union[ScriptedReply, ScriptedFailure]  # noqa: UP007 - evaluated at import by Python 3.10 tools


class Server(Protocol):
    """The server of a simulation."""

    def reply(self, call: Call, now: float) -> ScriptedTurn:
        """Return what the server does with an attempt that begins now."""


class Script:
    """A server that follows a script turn by turn and repeats the last turn for ever.

    Args:
        turns: What it does with the first attempt, the second, and so on.
    """

    def __init__(self, turns: Sequence[ScriptedTurn]) -> None:
        self._turns = list(turns)
        self.received = 0

    def reply(self, call: Call, now: float) -> ScriptedTurn:  # noqa: ARG002 - a script does not look
        """Return the next turn."""
        turn = self._turns[min(self.received, len(self._turns) - 1)]
        self.received += 1
        return turn


@dataclass
class SimulatedCall:
    """A call in a simulation: `entries` fill up as it goes on, `outcome` is set when it is over."""

    entries: list[Entry] = field(default_factory=list)
    outcome: Outcome | None = None


class Timeline:
    """Virtual time, and the events that lie ahead.

    Args:
        seed: Seed of all jitter.
    """

    def __init__(self, seed: int = 0) -> None:
        self.clock = VirtualClock(seed)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._scheduled = 0

    def run(self, until: float = float("inf")) -> None:
        """Let virtual time pass until no event is left, or it is `until`."""
        while self._events and self._events[0][0] <= until:
            when, _, action = heapq.heappop(self._events)
            self.clock.advance(when - self.clock.now())
            action()

    def now(self) -> float:
        """Return the seconds since the beginning."""
        return self.clock.now()

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Run an action when that much virtual time has passed."""
        self._scheduled += 1
        heapq.heappush(self._events, (self.clock.now() + seconds, self._scheduled, action))

    def uniform(self, low: float, high: float) -> float:
        """Draw a number evenly from [low, high]."""
        return self.clock.uniform(low, high)

    def make_outcome(self, turn: ScriptedTurn, started: float, deadline: float | None = None) -> Outcome:
        """Return the outcome of an attempt that ends now.

        Args:
            turn: How it ends; its `seconds` are not looked at.
            started: When it began.
            deadline: Deadline of the call: a timeout at that moment is the deadline's doing.
        """
        now, wall = self.clock.now(), self.clock.wall()
        if isinstance(turn, ScriptedFailure):
            error = SimulatedError(turn.failure.name)
            failure = at_deadline(turn.failure, now, deadline)
            unsent = turn.failure in (CONNECT, CONNECT_TIMEOUT)
            return Outcome(error=error, failure=failure, started=started, now=now, wall=wall, unsent=unsent)
        return Outcome(status=turn.status, headers=turn.headers, started=started, now=now, wall=wall, body=b"")


class Simulation(Timeline):
    """Any number of overlapping calls to a server in virtual time.

    Args:
        server: Answers the attempts.
        seed: Seed of all jitter.
        store: Where state lives; by default in memory, on the virtual clock.
    """

    def __init__(self, server: Server, seed: int = 0, store: Store | None = None) -> None:
        super().__init__(seed)
        self.store = MemoryStore(now=self.clock.now) if store is None else store
        self._server = server

    def call(
        self,
        stack: Proceed,
        call: Call = Call("GET", "http://server.example/"),  # noqa: B008 - immutable
        at: float = 0.0,
    ) -> SimulatedCall:
        """Schedule a call.

        Args:
            stack: Makes the flow, as `compose` returns it.
            call: The call; its `started` is set when it begins.
            at: When it begins, in seconds from now.

        Returns:
            The call, to be read after `run`.
        """
        simulated = SimulatedCall()

        def begin() -> None:
            begun = call._replace(started=self.clock.now())
            drive(stack(begun), self, simulated.entries, finish, begun)

        def finish(outcome: Outcome) -> None:
            simulated.outcome = outcome

        self.after(at, begin)
        return simulated

    def send(self, effect: Send, then: Callable[[Outcome], None]) -> None:
        """Let the server answer, no later than the deadline of the call."""
        started = self.clock.now()
        deadline = effect.call.deadline
        late = deadline is not None and started >= deadline
        turn = ScriptedFailure(EXPIRED) if late else self._server.reply(effect.call, started)
        seconds = turn.seconds
        if deadline is not None and started + seconds > deadline:
            turn, seconds = ScriptedFailure(EXPIRED), max(0.0, deadline - started)
        self.after(seconds, lambda: then(self.make_outcome(turn, started, deadline)))


class SimulatedClient:
    """One of several clients on a timeline: the world of its flows, with a store of its own, as a process has.

    Args:
        timeline: The time and the chance that it shares with the others.
    """

    def __init__(self, timeline: Timeline) -> None:
        self.store: Store = MemoryStore(now=timeline.now)
        self.now, self.after, self.uniform = timeline.now, timeline.after, timeline.uniform


class SimulatedError(Exception):
    """The exception of a simulated transport."""
