"""A server that falls short for a while, and clients that make it worse or do not, in virtual time.

    server = OverloadedServer(Timeline(seed=1), plan=plan_outage("slow", begin=30, back=60))
    result = run(server, draw_calls(rate=700, clients=1000), [ExponentialBackoff()], seconds=150)
    print(result.over(30, 60).amplification, result.recovery(30, 60))

Theory of operation. The server has some workers, each busy with one request for `service` seconds, and one queue,
first come, first served. A request that finds it full is answered 503 at once. A plan says from when on how many of
the workers take work, or that the server refuses everything (a proxy in front of it does), or never answers:

    state      a request that arrives        requests in the queue
    ---------  ----------------------------  ------------------------------------------
    "up"       waits for a worker, or 503    go to the workers, as many as there are
    "down"     503 at once                   503 at once
    "hang"     is lost                       stay

A server does not learn that a client has stopped waiting, and so it does the work all the same. That can keep a server
down that has long been up: once its queue is longer than clients are patient, it works only on requests that were given
up, and if each of these is sent again, the queue never becomes shorter. Nothing is broken, nothing is served, and it
lasts until the load falls below what it was before (N. Bronson et al., "Metastable Failures in Distributed Systems",
HotOS 2021; L. Huang et al., "Metastable Failures in the Wild", OSDI 2022). `overhead` makes it worse, as in life: work
takes longer where more is waiting.

Each client has a store of its own, as a process has, and shares with the others the time, the chance and the server.
Calls come whatever becomes of the others and whatever the policies are, as those of many independent users do (a
Poisson process). A client stops waiting for a response after `timeout` seconds, or at the deadline of the call.

Calls are counted when they begin, with how they end, and requests when they reach the server.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Literal, NamedTuple, TypeAlias

from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Policy, Proceed, Send, compose
from polvo_adapters.core.outcomes import READ_TIMEOUT, Outcome
from polvo_adapters.core.report import Attempt, Entry
from polvo_adapters.drivers.virtual import drive
from polvo_adapters.testing.simulation.simulation import (
    ScriptedFailure,
    ScriptedReply,
    ScriptedTurn,
    SimulatedClient,
    Timeline,
)

Availability: TypeAlias = Literal["up", "down", "hang"]
ResponseHandler: TypeAlias = Callable[[int], None]
"""Takes a status to the client, which may have stopped waiting."""

_URL = "http://api.example/"
_MARGIN = 1e-9  # of a grain: times are sums of floats


class Phase(NamedTuple):
    """The state of a server from some moment on.

    Attributes:
        begin: That moment, in seconds.
        state: "up", "down" or "hang".
        capacity: The part of the workers that take work while it is up.
    """

    begin: float
    state: Availability = "up"
    capacity: float = 1.0


def plan_outage(kind: Literal["down", "hang", "slow"], begin: float, back: float, capacity: float = 0.1) -> list[Phase]:
    """Return the plan of one outage.

    Args:
        kind: "down" refuses everything, "hang" answers nothing, "slow" leaves a part of the capacity.
        begin: When it begins, in seconds.
        back: When the server is as before, in seconds.
        capacity: The part of the capacity that "slow" leaves.
    """
    trouble = Phase(begin, "up", capacity) if kind == "slow" else Phase(begin, kind)
    return [trouble, Phase(back)]


class OverloadedServer:
    """A server that has workers, a queue, and outages.

    Args:
        timeline: Its time.
        workers: Requests that it can work on at once.
        service: Seconds of work in a request.
        queue: Requests that can wait; infinitely many by default.
        overhead: How much longer the work takes per request that waits, as a part of it.
        plan: Its states, in order; "up" before the first.
    """

    def __init__(
        self,
        timeline: Timeline,
        workers: int = 100,
        service: float = 0.1,
        queue: float = math.inf,
        overhead: float = 0.0,
        plan: Sequence[Phase] = (),
    ) -> None:
        self.timeline = timeline
        self._workers, self._service, self._bound, self._overhead = workers, service, queue, overhead
        self._phase = Phase(0.0)
        self._busy = 0
        self._waiting: deque[ResponseHandler] = deque()
        for phase in plan:
            timeline.after(phase.begin - timeline.now(), partial(self._enter, phase))

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._waiting)

    def receive(self, answer: ResponseHandler) -> None:
        """Take a request that arrives now; call `answer` with 200 when it is done, or with 503 to refuse it."""
        if self._phase.state == "hang":
            return
        self._waiting.append(answer)
        self._work()
        if self._phase.state == "down" or len(self._waiting) > self._bound:
            self._waiting.pop()(503)

    def _enter(self, phase: Phase) -> None:
        self._phase = phase
        if phase.state == "down":
            refused, self._waiting = self._waiting, deque()
            for answer in refused:
                answer(503)
        self._work()

    def _work(self) -> None:
        able = round(self._workers * self._phase.capacity) if self._phase.state == "up" else 0
        while self._waiting and self._busy < able:
            self._busy += 1
            answer = self._waiting.popleft()
            seconds = self._service * (1 + self._overhead * len(self._waiting))
            self.timeline.after(seconds, partial(self._finish, answer))

    def _finish(self, answer: ResponseHandler) -> None:
        self._busy -= 1
        answer(200)
        self._work()


@dataclass(slots=True)
class OverloadSample:
    """Counts of one grain of time, or of several of them together.

    Attributes:
        calls: Calls that began.
        served: Of these, the ones that were served in the end.
        held: Of these, the ones that their client ended without having sent anything.
        failed: Of these, the ones that ended otherwise than served, held ones included.
        failed_seconds: How long these took, together.
        requests: Requests that reached the server.
        useful: Requests that the server finished while the client still waited.
        wasted: Requests that it finished after the client had stopped waiting.
    """

    calls: int = 0
    served: int = 0
    held: int = 0
    failed: int = 0
    failed_seconds: float = 0.0
    requests: int = 0
    useful: int = 0
    wasted: int = 0

    @property
    def amplification(self) -> float:
        """Requests per call."""
        return self.requests / max(1, self.calls)

    @property
    def served_part(self) -> float:
        """Calls that were served, as a part of those that began; 1 where none began."""
        return self.served / self.calls if self.calls else 1.0

    @property
    def held_part(self) -> float:
        """Calls that sent nothing, as a part of those that began."""
        return self.held / max(1, self.calls)

    @property
    def seconds_to_fail(self) -> float:
        """Mean duration of a call that failed, in seconds."""
        return self.failed_seconds / max(1, self.failed)


_COUNTS = tuple(field.name for field in fields(OverloadSample))


class OverloadResult(NamedTuple):
    """The result of a run.

    Attributes:
        grains: Grain by grain, from the beginning.
        grain: Seconds of each.
    """

    grains: Sequence[OverloadSample]
    grain: float

    def over(self, begin: float, end: float) -> OverloadSample:
        """Return the counts from one moment up to another, both at the edges of grains."""
        chosen = self.grains[self._edge(begin) : self._edge(end)]
        return OverloadSample(*(sum(getattr(grain, name) for grain in chosen) for name in _COUNTS))

    def recovery(self, begin: float, back: float, enough: float = 0.95, width: float = 1.0) -> float:
        """Return how long after an outage calls were served as before, for good.

        From that moment on, the part of the calls that is served within any `width` seconds is at least `enough` times
        what it was before the outage. A call counts when it begins.

        Args:
            begin: When the outage began.
            back: When the server had its capacity again.
            enough: The part of the usual that is enough.
            width: Seconds over which calls are counted together.

        Returns:
            Seconds after `back`; infinity where the run ended before that.
        """
        bar = enough * self.over(0.0, begin).served_part
        first, wide = self._edge(back), self._edge(width)
        last = len(self.grains) - wide
        bad = (
            start
            for start in range(last, first - 1, -1)
            if self.over(start * self.grain, (start + wide) * self.grain).served_part < bar
        )
        latest = next(bad, first - 1)
        return math.inf if latest == last else (latest + 1 - first) * self.grain

    def _edge(self, moment: float) -> int:
        return round(moment / self.grain)


class ScheduledCall(NamedTuple):
    """A call that is to be made: when, and by which client."""

    moment: float
    client: int


def draw_calls(rate: float, clients: int, seed: int = 0) -> Iterator[ScheduledCall]:
    """Draw the calls of many independent users (a Poisson process), without end.

    Args:
        rate: Calls per second, of all of them together.
        clients: How many clients there are; each call is drawn one of them.
        seed: Seed of the draws.
    """
    chance, moment = random.Random(seed), 0.0
    while True:
        moment += chance.expovariate(rate)
        yield ScheduledCall(moment, int(chance.random() * clients))


def run(
    server: OverloadedServer,
    calls: Iterable[ScheduledCall],
    policies: Sequence[Policy],
    seconds: float,
    timeout: float = 1.0,
    latency: float = 0.01,
    patience: float = 20.0,
    grain: float = 0.1,
) -> OverloadResult:
    """Let clients call a server, and return the counts of the first `seconds`.

    Args:
        server: A new server; it is used up by this.
        calls: The calls, ordered by moment.
        policies: What every client mounts, outermost first, as `compose` takes them.
        seconds: How long calls are counted.
        timeout: How long a client waits for a response, in seconds.
        latency: Seconds from the client to the server; the response comes back at once.
        patience: Seconds for which calls keep coming after that. A call that is not over then was not served.
        grain: Seconds of the finest times that are told apart in the result.
    """
    end = seconds + patience
    grains = [OverloadSample() for _ in range(math.ceil(end / grain) + 1)]
    _Crowd(server, iter(calls), compose(policies), timeout, latency, grains, grain).begin_next()
    server.timeline.run(end)
    return OverloadResult(grains[: round(seconds / grain)], grain)


@dataclass(slots=True)
class _Crowd:
    """All clients at work: starts their calls, and counts how they end."""

    server: OverloadedServer
    calls: Iterator[ScheduledCall]
    stack: Proceed
    timeout: float
    latency: float
    grains: Sequence[OverloadSample]
    grain: float
    clients: dict[int, _Client] = field(default_factory=dict)

    def counts(self) -> OverloadSample:
        """Return the counts of this moment, to be added to."""
        return self.grains[int(self.server.timeline.now() / self.grain + _MARGIN)]

    def begin_next(self) -> None:
        """Schedule the next call."""
        call = next(self.calls, None)
        if call is not None:
            timeline = self.server.timeline
            timeline.after(call.moment - timeline.now(), partial(self._begin, call.client))

    def _begin(self, number: int) -> None:
        if number not in self.clients:
            self.clients[number] = _Client(self)
        entries: list[Entry] = []
        now, counts = self.server.timeline.now(), self.counts()
        counts.calls += 1
        flow = self.stack(Call("GET", _URL, "none", now))
        drive(flow, self.clients[number], entries, partial(self._finish, now, counts, entries))
        self.begin_next()

    def _finish(self, began: float, counts: OverloadSample, entries: Sequence[Entry], outcome: Outcome) -> None:
        if outcome.status == 200:
            counts.served += 1
            return
        counts.failed += 1
        counts.failed_seconds += self.server.timeline.now() - began
        counts.held += not any(type(entry) is Attempt for entry in entries)


class _Client(SimulatedClient):
    """A client at work."""

    def __init__(self, crowd: _Crowd) -> None:
        super().__init__(crowd.server.timeline)
        self._crowd = crowd

    def send(self, effect: Send, then: Callable[[Outcome], None]) -> None:
        """Send a request on its way, and wait for the response."""
        request = _Request(self._crowd, effect.call.deadline, then)
        self.after(self._crowd.latency, request.arrive)
        self.after(request.patience, request.expire)


class _Request:
    """A request under way, with what its client does next, until it stops waiting."""

    __slots__ = ("_crowd", "_deadline", "_started", "_then", "patience")

    def __init__(self, crowd: _Crowd, deadline: float | None, then: Callable[[Outcome], None]) -> None:
        now = crowd.server.timeline.now()
        self.patience = crowd.timeout if deadline is None else max(0.0, min(crowd.timeout, deadline - now))
        self._crowd, self._deadline, self._started = crowd, deadline, now
        self._then: Callable[[Outcome], None] | None = then

    def arrive(self) -> None:
        """Reach the server."""
        self._crowd.counts().requests += 1
        self._crowd.server.receive(self._answer)

    def expire(self) -> None:
        """Stop waiting."""
        self._end(ScriptedFailure(READ_TIMEOUT))

    def _answer(self, status: int) -> None:
        if status == 200 and self._then is None:
            self._crowd.counts().wasted += 1
        elif status == 200:
            self._crowd.counts().useful += 1
        self._end(ScriptedReply(status))

    def _end(self, turn: ScriptedTurn) -> None:
        then, self._then = self._then, None
        if then is not None:
            then(self._crowd.server.timeline.make_outcome(turn, self._started, self._deadline))
