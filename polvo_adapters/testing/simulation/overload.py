"""A server that falls short for a while, and the clients who make it worse or do not, in virtual time.

    server = Overloaded(Timeline(seed=1), plan=outage("slow", begin=30, back=60))
    result = run(server, poisson(rate=700, clients=1000), [ExponentialBackoff()], seconds=150)
    print(result.over(30, 60).amplification, result.recovery(30, 60))

Theory of operation. The server has some workers, each busy with one request for `service` seconds, and one queue,
first come, first served. A request that finds it full is answered 503 at once. A plan says from when on how many of
the workers take work, or that the server refuses everything (a proxy in front of it does), or never answers:

    state      a request that arrives        those that wait in the queue
    ---------  ----------------------------  ------------------------------------------
    "up"       waits for a worker, or 503    go to the workers, as many as there are
    "down"     503 at once                   503 at once
    "hang"     is lost                       stay

Nobody tells a server that a client has stopped waiting, and so it does the work all the same. That is what can keep
a server down that has long been up: once its queue is longer than clients are patient, it works on nothing but what
was given up, and if each of these is sent again, the queue never becomes shorter. Nothing is broken, nothing is
served, and it lasts until the load falls below what it was before (N. Bronson et al., "Metastable Failures in
Distributed Systems", HotOS 2021; L. Huang et al., "Metastable Failures in the Wild", OSDI 2022). `overhead` makes
it worse, as in life: work takes longer where more is waiting.

Each client has a store of its own, as a process has, and shares with the others the time, the chance and the server.
Calls come when they come, whatever becomes of the others, and whatever the policies are: of many people who do not
know of one another, who make a Poisson process. A client stops waiting for an answer after `timeout` seconds, or at
the deadline of the call.

What is counted: calls when they begin, with what became of them in the end, and requests when they reach the server.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Literal, NamedTuple, TypeAlias

from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Policy, Proceed, Send, compose
from polvo_adapters.core.outcomes import READ_TIMEOUT, Failure, Outcome, at_deadline
from polvo_adapters.core.report import Attempt, Entry
from polvo_adapters.drivers.virtual import drive
from polvo_adapters.stores.base import Store
from polvo_adapters.stores.memory import MemoryStore
from polvo_adapters.testing.simulation.simulation import SimulatedError, Timeline

State: TypeAlias = Literal["up", "down", "hang"]
Answer: TypeAlias = Callable[[int], None]
"""Takes a status to who waited for it, if anybody still does."""

_URL = "http://api.example/"
_MARGIN = 1e-9  # of a grain: times are sums of floats


class Phase(NamedTuple):
    """What a server is like from some moment on.

    Attributes:
        begin: That moment, in seconds.
        state: "up", "down" or "hang".
        capacity: The part of the workers that take work while it is up.
    """

    begin: float
    state: State = "up"
    capacity: float = 1.0


def outage(kind: Literal["down", "hang", "slow"], begin: float, back: float, capacity: float = 0.1) -> list[Phase]:
    """Plan one outage.

    Args:
        kind: "down" refuses everything, "hang" answers nothing, "slow" leaves a part of the capacity.
        begin: When it begins, in seconds.
        back: When the server is as before.
        capacity: The part that is left of a slow one.
    """
    trouble = Phase(begin, "up", capacity) if kind == "slow" else Phase(begin, kind)
    return [trouble, Phase(back)]


class Overloaded:
    """A server that has workers, a queue, and a bad time.

    Args:
        timeline: The time that it lives in.
        workers: Requests that it can work on at once.
        service: Seconds of work in a request.
        queue: Requests that can wait; infinitely many unless told.
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
        self._waiting: deque[Answer] = deque()
        for phase in plan:
            timeline.after(phase.begin - timeline.now(), partial(self._enter, phase))

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._waiting)

    def receive(self, answer: Answer) -> None:
        """Take a request that arrives now; `answer` is run with 200 when it is done, with 503 where it is refused."""
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

    def _finish(self, answer: Answer) -> None:
        self._busy -= 1
        answer(200)
        self._work()


@dataclass(slots=True)
class OverloadSample:
    """What happened in a grain of time, or in several of them together.

    Attributes:
        calls: Calls that began.
        served: Of these, the ones that were served in the end.
        held: Of these, the ones that their client ended without having sent anything.
        failed: Of these, the ones that ended otherwise than served, held ones included.
        failed_seconds: How long these took, together.
        requests: Requests that reached the server.
        useful: Work that was done for somebody who still waited.
        wasted: Work that was done for nobody.
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
        """Calls of which nothing was sent, as a part of those that began."""
        return self.held / max(1, self.calls)

    @property
    def seconds_to_fail(self) -> float:
        """How long a call took that failed, on average."""
        return self.failed_seconds / max(1, self.failed)


_COUNTS = tuple(field.name for field in fields(OverloadSample))


class OverloadResult(NamedTuple):
    """What a run came to.

    Attributes:
        grains: Grain by grain, from the beginning.
        grain: Seconds of each.
    """

    grains: Sequence[OverloadSample]
    grain: float

    def over(self, begin: float, end: float) -> OverloadSample:
        """Put together what happened from one moment up to another, both at the edges of grains."""
        chosen = self.grains[self._edge(begin) : self._edge(end)]
        return OverloadSample(*(sum(getattr(grain, name) for grain in chosen) for name in _COUNTS))

    def recovery(self, begin: float, back: float, enough: float = 0.95, width: float = 1.0) -> float:
        """Return how long after an outage all was well again, for good.

        That is the first moment from which on in every `width` of time, wherever it begins, the part of the calls
        that is served is at least `enough` of what it was before the outage. A call counts when it begins.

        Args:
            begin: When the outage began.
            back: When the server had its capacity again.
            enough: The part of the usual that is enough.
            width: Seconds over which calls are counted together.

        Returns:
            Seconds after `back`; infinity where it was not so by the end of the run.
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


class Caller(NamedTuple):
    """A call that somebody wants to make: when, and the number of the client whose it is."""

    moment: float
    client: int


def poisson(rate: float, clients: int, seed: int = 0) -> Iterator[Caller]:
    """Draw the calls of many people who do not know of one another, without end.

    Args:
        rate: Calls per second, of all of them together.
        clients: How many clients there are; a call is anybody's.
        seed: Seed of the draws.
    """
    chance, moment = random.Random(seed), 0.0
    while True:
        moment += chance.expovariate(rate)
        yield Caller(moment, int(chance.random() * clients))


def run(
    server: Overloaded,
    calls: Iterable[Caller],
    policies: Sequence[Policy],
    seconds: float,
    timeout: float = 1.0,
    latency: float = 0.01,
    patience: float = 20.0,
    grain: float = 0.1,
) -> OverloadResult:
    """Let clients call a server.

    Args:
        server: A new server; it is used up by this.
        calls: When calls begin and whose they are, in order.
        policies: What every client mounts, outermost first, as `compose` takes them.
        seconds: How long the run is judged.
        timeout: How long a client waits for an answer.
        latency: What a request takes to the server; the answer comes at once.
        patience: How much longer calls keep coming. A call that is not over then was not served.
        grain: Seconds of the finest times that are told apart in the result.

    Returns:
        What happened, up to `seconds`.
    """
    end = seconds + patience
    grains = [OverloadSample() for _ in range(math.ceil(end / grain) + 1)]
    _Crowd(server, iter(calls), compose(policies), timeout, latency, grains, grain).begin_next()
    server.timeline.run(end)
    return OverloadResult(grains[: round(seconds / grain)], grain)


class _Crowd:
    """All clients at work: lets calls begin, and counts how they end."""

    def __init__(
        self,
        server: Overloaded,
        calls: Iterator[Caller],
        stack: Proceed,
        timeout: float,
        latency: float,
        grains: Sequence[OverloadSample],
        grain: float,
    ) -> None:
        self.server, self.timeline = server, server.timeline
        self.timeout, self.latency = timeout, latency
        self._calls, self._stack = calls, stack
        self._grains, self._grain = grains, grain
        self._clients: dict[int, _Client] = {}

    def counts(self) -> OverloadSample:
        """Return the counts of this moment."""
        return self._grains[int(self.timeline.now() / self._grain + _MARGIN)]

    def begin_next(self) -> None:
        """Put down when the next call begins."""
        caller = next(self._calls, None)
        if caller is not None:
            self.timeline.after(caller.moment - self.timeline.now(), partial(self._begin, caller.client))

    def _begin(self, number: int) -> None:
        if number not in self._clients:
            self._clients[number] = _Client(self)
        entries: list[Entry] = []
        now, counts = self.timeline.now(), self.counts()
        counts.calls += 1
        flow = self._stack(Call("GET", _URL, "none", now))
        drive(flow, self._clients[number], entries, partial(self._over, now, counts, entries))
        self.begin_next()

    def _over(self, began: float, grain: OverloadSample, entries: Sequence[Entry], outcome: Outcome) -> None:
        if outcome.status == 200:
            grain.served += 1
            return
        grain.failed += 1
        grain.failed_seconds += self.timeline.now() - began
        grain.held += not any(type(entry) is Attempt for entry in entries)


class _Client:
    """The world of the flows of one client, with a store of its own."""

    def __init__(self, crowd: _Crowd) -> None:
        self.store: Store = MemoryStore(now=crowd.timeline.now)
        self.now = crowd.timeline.now
        self.after = crowd.timeline.after
        self.uniform = crowd.timeline.uniform
        self._crowd = crowd

    def send(self, effect: Send, then: Callable[[Outcome], None]) -> None:
        """Send a request on its way, and wait for the answer."""
        request = _Request(self._crowd, effect.call.deadline, then)
        self.after(self._crowd.latency, request.arrive)
        self.after(request.patience, request.expire)


class _Request:
    """A request under way, and who waits for its answer, as long as somebody does."""

    __slots__ = ("_crowd", "_deadline", "_started", "_then", "patience")

    def __init__(self, crowd: _Crowd, deadline: float | None, then: Callable[[Outcome], None]) -> None:
        now = crowd.timeline.now()
        self.patience = crowd.timeout if deadline is None else max(0.0, min(crowd.timeout, deadline - now))
        self._crowd, self._deadline, self._started = crowd, deadline, now
        self._then: Callable[[Outcome], None] | None = then

    def arrive(self) -> None:
        """Reach the server."""
        self._crowd.counts().requests += 1
        self._crowd.server.receive(self._answer)

    def expire(self) -> None:
        """Stop waiting."""
        self._end(0, READ_TIMEOUT)

    def _answer(self, status: int) -> None:
        if status == 200 and self._then is None:
            self._crowd.counts().wasted += 1
        elif status == 200:
            self._crowd.counts().useful += 1
        self._end(status)

    def _end(self, status: int, failure: Failure | None = None) -> None:
        then, self._then = self._then, None
        if then is None:
            return
        clock, started = self._crowd.timeline.clock, self._started
        now, wall = clock.now(), clock.wall()
        if failure is None:
            then(Outcome(status=status, started=started, now=now, wall=wall, body=b""))
        else:
            error, failure = SimulatedError(failure.name), at_deadline(failure, now, self._deadline)
            then(Outcome(error=error, failure=failure, started=started, now=now, wall=wall))
