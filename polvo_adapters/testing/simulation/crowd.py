"""Many clients that share a quota and nothing else, in virtual time: a measure for ways of holding back.

    server = QuotaServer([TokenBucketLimiter(limit=200, window=4)], dialect="draft-6")
    result = run(server, [CrowdClient(slots=4)] * 8, [ExponentialBackoff()], windows=12, seed=1)
    settled = result.over(4)
    print(settled.goodput, settled.rejected_part, settled.least_share)

Theory of operation. Each client is a world of its own for the flows that ship: it has its own store, as a process or
a machine has, and shares with the others the time, the chance and the server. It has some slots; each holds one call
at a time. A client that always wants more starts the next call in a slot as soon as the last one is over; a client with
a demand starts a call when its demand asks for one, or later, as soon as a slot is free. A call that was not served is
wanted again, so that policies which give up and policies which try again are measured alike.

A request takes time to the server and time back, each drawn anew, and is counted when it arrives. Its sender
therefore learns of a quota as it was, and requests overtake each other, as in life. A client that leaves takes with it
what it has not sent; deadlines are not kept.

Everything is counted at the server, in windows as long as the quota's. Where windows open with a request, as those of
one FixedWindowLimiter do, so do these, and last until the next one opens: time without a request in which a new window
could have opened is lost, and counts as such. All others follow one another from the beginning of time.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Policy, Proceed, Send, compose
from polvo_adapters.core.outcomes import Outcome
from polvo_adapters.drivers.virtual import drive
from polvo_adapters.testing.limiters import FixedWindowLimiter, Limiter, format_headers
from polvo_adapters.testing.simulation.simulation import ScriptedReply, SimulatedClient, Timeline
from polvo_adapters.testing.virtual_clock import EPOCH

_ORIGIN = "http://api.example"
_AFTER_REFUSAL = 0.1  # seconds; a policy that refuses to send must not keep time from passing


class QuotaServer:
    """A server that has one quota for all of its clients, or one for each of several resources.

    A resource is a path, and the number of the limiter that counts it: `/0`, `/1` and so on. Where there are several,
    the dialects that can name what was counted ("github-like" and "draft-8") name it "r0", "r1" and so on.

    Args:
        limiters: One for each resource, all with the same window.
        dialect: How it announces where a client stands, one of `polvo_adapters.testing.limiters.DIALECTS`.
        latency: Seconds from sending a request to having the response, on average.
        spread: How much of that varies: each way is drawn evenly from (1 - spread) to (1 + spread) times half of it.
        seed: Seed of these draws.
    """

    def __init__(
        self,
        limiters: Sequence[Limiter],
        dialect: str = "draft-6",
        latency: float = 0.05,
        spread: float = 0.5,
        seed: int = 0,
    ) -> None:
        self.limiters = list(limiters)
        self.window = limiters[0].window
        self.limit = sum(limiter.limit for limiter in limiters)
        self._dialect = dialect
        self._shortest, self._span = latency / 2 * (1 - spread), latency * spread
        self._random = random.Random(seed).random

    def way(self) -> float:
        """Draw how long a message takes from one end to the other, in seconds."""
        return self._shortest + self._span * self._random()

    def reply(self, call: Call, now: float) -> ScriptedReply:
        """Count a request that arrives now; `seconds` of the reply is the way back. See `simulation.Server`."""
        number = int(call.url.rpartition("/")[2] or 0)
        standing = self.limiters[number].take(now)
        resource = f"r{number}" if len(self.limiters) > 1 else ""
        fields = format_headers(standing, self._dialect, EPOCH + now, resource)
        headers = {name.lower(): value for name, value in fields}
        return ScriptedReply(200 if standing.allowed else 429, headers, self.way())


class CrowdClient(NamedTuple):
    """The demand of one client.

    Attributes:
        slots: Calls that it can have under way at once.
        demand: Calls per second that it wants; infinitely many by default.
        joins: When it begins, in seconds.
        leaves: When it ends.
        doubles: When its demand doubles; where that is infinite, its slots do.
    """

    slots: int = 1
    demand: float = math.inf
    joins: float = 0.0
    leaves: float = math.inf
    doubles: float = math.inf


class CrowdWindow(NamedTuple):
    """Counts of the server in one window, or in several of them together.

    Attributes:
        begin: When it began, in seconds.
        seconds: How long it was.
        quota: Requests that could have been served in that time.
        served: Requests that were, per client.
        rejected: Requests that were turned away.
        there: The clients that were there from beginning to end, by number.
        peak: The most requests that came in one grain of time, as a multiple of what an even pace would bring.
    """

    begin: float
    seconds: float
    quota: float
    served: Sequence[int]
    rejected: int
    there: Sequence[int]
    peak: float

    @property
    def accepted(self) -> int:
        """Requests that were served."""
        return sum(self.served)

    @property
    def goodput(self) -> float:
        """Requests that were served, as a part of the quota."""
        return self.accepted / self.quota

    @property
    def rejected_part(self) -> float:
        """Requests that were turned away, as a part of all."""
        return self.rejected / max(1, self.accepted + self.rejected)

    @property
    def shares(self) -> list[float]:
        """Requests served per client that was there all the time, as a multiple of an even share."""
        even = sum(self.served[number] for number in self.there) / max(1, len(self.there))
        return [self.served[number] / even if even else 1.0 for number in self.there]

    @property
    def variation(self) -> float:
        """How unequal the shares are: their standard deviation, the mean being one; 0 where all are equal."""
        shares = self.shares
        return math.sqrt(sum((share - 1) ** 2 for share in shares) / max(1, len(shares)))

    @property
    def least_share(self) -> float:
        """Share of the client that got least."""
        return min(self.shares, default=1.0)

    @property
    def most_share(self) -> float:
        """Share of the client that got most."""
        return max(self.shares, default=1.0)


class CrowdSample(NamedTuple):
    """Requests that came within one grain of time."""

    accepted: int
    rejected: int


class CrowdResult(NamedTuple):
    """The result of a run.

    Attributes:
        windows: Window by window, from the beginning.
        grains: The same in finer grains, all of them.
        grain: Seconds of each of these.
    """

    windows: Sequence[CrowdWindow]
    grains: Sequence[CrowdSample]
    grain: float

    def over(self, first: int, last: int | None = None) -> CrowdWindow:
        """Put windows together, from one number up to but not including another, as slices count."""
        chosen = self.windows[first:last]
        there = set(chosen[0].there).intersection(*(window.there for window in chosen))
        return CrowdWindow(
            chosen[0].begin,
            sum(window.seconds for window in chosen),
            sum(window.quota for window in chosen),
            [sum(counts) for counts in zip(*(window.served for window in chosen), strict=True)],
            sum(window.rejected for window in chosen),
            sorted(there),
            max(window.peak for window in chosen),
        )


def run(
    server: QuotaServer,
    clients: Sequence[CrowdClient],
    policies: Sequence[Policy],
    windows: int,
    seed: int = 0,
    grain: float = 0.1,
) -> CrowdResult:
    """Let clients share a server for some windows, and return what the server counted.

    Args:
        server: A new server; it is used up by this.
        clients: The clients.
        policies: What every client mounts, outermost first, as `compose` takes them.
        windows: How many windows are wanted. There may be fewer where windows open with a request and none comes.
        seed: Seed of what the clients draw. Equal seeds, here and in the server, give equal runs.
        grain: Seconds of the finest times that are told apart in the result.
    """
    timeline, stack = Timeline(seed), compose(policies)
    book = _Book(server, len(clients), grain)
    for number, client in enumerate(clients):
        _ClientWorld(number, client, stack, server, timeline, book).start()
    end = windows * server.window
    timeline.run(end)
    while book.late and book.closed < windows and end < 2 * windows * server.window:
        end += server.window
        timeline.run(end)
    return CrowdResult(book.windows(clients, end)[:windows], book.grains(), grain)


@dataclass(slots=True)
class _OpenWindow:
    begin: float
    served: list[int]
    rejected: int = 0


class _Book:
    """Counts of what arrives at the server."""

    def __init__(self, server: QuotaServer, clients: int, grain: float) -> None:
        self.late = len(server.limiters) == 1 and isinstance(server.limiters[0], FixedWindowLimiter)
        self._limit, self._window, self._grain = server.limit, server.window, grain
        self._clients = clients
        self._opened: list[_OpenWindow] = []
        self._arrived: list[list[int]] = []
        self._ends = -math.inf if self.late else 0.0

    @property
    def closed(self) -> int:
        """How many windows are over."""
        return len(self._opened) - 1

    def count(self, now: float, client: int, accepted: bool) -> None:
        """Count one request."""
        while now >= self._ends:
            self._open(now if self.late else self._ends)
        if accepted:
            self._opened[-1].served[client] += 1
        else:
            self._opened[-1].rejected += 1
        grain = int(now / self._grain)
        while grain >= len(self._arrived):
            self._arrived.append([0, 0])
        self._arrived[grain][accepted] += 1

    def _open(self, now: float) -> None:
        self._opened.append(_OpenWindow(now, [0] * self._clients))
        self._ends = now + self._window

    def grains(self) -> list[CrowdSample]:
        """Return the requests that came, grain by grain."""
        return [CrowdSample(accepted, rejected) for rejected, accepted in self._arrived]

    def windows(self, clients: Sequence[CrowdClient], end: float) -> list[CrowdWindow]:
        """Return the windows that are over."""
        while not self.late and self._ends < end:
            self._open(self._ends)
        ends = [*(window.begin for window in self._opened[1:]), end]
        return [
            self._close(window, stop, clients)
            for window, stop in zip(self._opened, ends, strict=False)
            if stop >= window.begin + self._window * (1 - 1e-9)
        ]

    def _close(self, window: _OpenWindow, stop: float, clients: Sequence[CrowdClient]) -> CrowdWindow:
        begin = window.begin
        there = [i for i, client in enumerate(clients) if client.joins <= begin and client.leaves >= stop]
        first, last = int(begin / self._grain), math.ceil(stop / self._grain)
        busiest = max((sum(grain) for grain in self._arrived[first:last]), default=0)
        even = self._limit * self._grain / self._window
        quota = self._limit * (stop - begin) / self._window
        return CrowdWindow(begin, stop - begin, quota, window.served, window.rejected, there, busiest / even)


class _ClientWorld(SimulatedClient):
    """A client at work."""

    def __init__(
        self, number: int, client: CrowdClient, stack: Proceed, server: QuotaServer, timeline: Timeline, book: _Book
    ) -> None:
        super().__init__(timeline)
        self._number, self._client = number, client
        self._stack, self._server, self._timeline, self._book = stack, server, timeline, book
        self._gone = False
        self._slots = 0
        self._idle: list[int] = []
        self._per_second = client.demand
        self._wanted = math.inf if math.isinf(client.demand) else 0.0

    def start(self) -> None:
        """Schedule when the client comes, goes, and wants more."""
        self.after(self._client.joins, self._join)
        self.after(self._client.leaves, self._leave)
        self.after(self._client.doubles, self._double)

    def _join(self) -> None:
        if self._per_second < math.inf:
            # Clients that begin within one second would otherwise send at the same moments for ever.
            self.after(self.uniform(0, 1 / self._per_second), self._want)
        self._add_slots()

    def _add_slots(self) -> None:
        for _ in range(self._client.slots):
            self._slots += 1
            self._call(self._slots - 1)

    def _leave(self) -> None:
        self._gone = True

    def _double(self) -> None:
        if self._per_second < math.inf:
            self._per_second *= 2
        else:
            self._add_slots()

    def _want(self) -> None:
        if self._gone:
            return
        self._wanted += 1
        if self._idle:
            self._call(self._idle.pop())
        self.after(1 / self._per_second, self._want)

    def _call(self, slot: int) -> None:
        if self._gone:
            return
        if self._wanted < 1:
            self._idle.append(slot)
            return
        self._wanted -= 1
        # Neighbours begin at different resources, so that each has its part of the crowd.
        resource = (self._number + slot) % len(self._server.limiters)
        call = Call("GET", f"{_ORIGIN}/{resource}", "none", self.now())
        drive(self._stack(call), self, [], partial(self._finish, slot))

    def _finish(self, slot: int, outcome: Outcome) -> None:
        if outcome.status != 200:
            self._wanted += 1
        if outcome.status:
            self._call(slot)
        else:
            self.after(_AFTER_REFUSAL, partial(self._call, slot))

    def send(self, effect: Send, then: Callable[[Outcome], None]) -> None:
        """Let a request travel to the server, and the response back."""
        if self._gone:
            return
        started = self.now()

        def arrive() -> None:
            now = self.now()
            reply = self._server.reply(effect.call, now)
            self._book.count(now, self._number, reply.status == 200)
            self.after(reply.seconds, lambda: then(self._timeline.make_outcome(reply, started)))

        self.after(self._server.way(), arrive)
