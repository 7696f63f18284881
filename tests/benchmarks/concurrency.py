"""How well an adaptive bulkhead finds the number of requests that a server can work on at a time.

What: throughput, as a part of the best that the server can do; the 99th percentile of latency, as a multiple of what
it is for one request at a time; what was refused; after how many round trips throughput came to stay at 90 %; and how
evenly several clients share. Bar: at least 90 % of the best throughput with at most twice the latency. Latency counts
from when a request was sent: what it waited for its own slot is no matter of the server.

How, simulated: workers, a queue, and clients that always want more, in virtual time. Service times are spread in
several ways; the network takes its time as well. Compared with the best of all fixed limits, which knows the server,
so that one sees what can be had at all. How, real: threads behind a `BulkheadAdapter("adaptive")`, and a server of
so many workers in another process on loopback. Its best throughput is what it gives to threads that are not held back,
and the latency without load is that of one thread, both of the same run.

Why that way: in virtual time the server is known, and anybody can repeat a run; what it leaves out (locks, a busy
processor, connections) the real server shows. Judged is what comes after 60 round trips, or after as many since the
last change of the server.

One run alone, with the limit as it goes:
`python -m tests.benchmarks.concurrency --workers 32 --service exponential --network 1 --clients 4 --trace`.
"""

from __future__ import annotations

import argparse
import math
import queue
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import product
from multiprocessing import get_context
from random import Random
from threading import Event, Thread
from typing import Any, NamedTuple, TypeAlias

import requests
from requests.adapters import HTTPAdapter

from polvo_adapters.policies.bulkhead.concurrency_limit import Concurrency, Sample
from polvo_adapters.testing.simulation.simulation import Timeline

_SERVICE = 0.1  # seconds of a worker, on average
_UNSETTLED = 60  # round trips
_AFTER_REFUSAL = 0.05  # times the service: what a server takes to refuse
_PERCENTILE = 0.99
_BAR = "≥ 90 %, ≤ 2 x"
_PATIENCE = 15.0  # seconds that a process may take to start or to stop


class Change(NamedTuple):
    """What becomes of the server, and when.

    Attributes:
        at: Round trips from the beginning.
        workers: How many there are from then on, as a part of those at first.
        pace: What a request takes, as a multiple.
    """

    at: float
    workers: float = 1.0
    pace: float = 1.0


class Setting(NamedTuple):
    """A server, and who asks it.

    Attributes:
        workers: Requests that it works on at a time.
        service: How service times are spread, one of the `SERVICES`.
        network: What the way there and back takes, as a multiple of the mean service time.
        queue: Requests that may wait at the server, or None for any number.
        clients: Each with a limit of its own; they join one after the other.
        wanting: Requests that each of them would have under way.
        changes: What becomes of the server.
        requests: How many are judged, about.
        seed: Seed of everything.
    """

    workers: int = 8
    service: str = "exponential"
    network: float = 0.0
    queue: int | None = None
    clients: int = 1
    wanting: int = 1000
    changes: tuple[Change, ...] = ()
    requests: int = 10_000
    seed: int = 0

    @property
    def round_trip(self) -> float:
        """Seconds, without a queue, at first."""
        return _SERVICE * (1 + self.network)


class Served(NamedTuple):
    """A request that is over."""

    at: float
    client: int
    seconds: float
    dropped: bool


class Limiting(NamedTuple):
    """What came out of one run.

    Attributes:
        name: The server, and who asks it.
        throughput: As a part of the best that the server can do.
        latency: 99th percentile, as a multiple of what it is without load.
        refused: Requests that the server refused, as a part of all.
        settled: Round trips until throughput was 90 % for the next twenty, or None.
        least: What the client got that got least, as a part of an even share.
        most: What the client got that got most, likewise.
        bar: The promise, or an empty string.
    """

    name: str
    throughput: float
    latency: float
    refused: float
    settled: int | None
    least: float
    most: float
    bar: str = ""


class FixedLimit(NamedTuple):
    """A limit that somebody knew."""

    limit: int

    @property
    def initial(self) -> FixedLimit:
        return self

    def learn(self, state: FixedLimit, sample: Sample, now: float) -> FixedLimit:
        return state


Machine: TypeAlias = Any  # a Concurrency, or what looks like one

SERVICES: dict[str, Callable[[Random], float]] = {
    "constant": lambda _: 1.0,
    "uniform": lambda random: random.uniform(0.5, 1.5),
    "exponential": lambda random: random.expovariate(1.0),
    "lognormal 0.5": lambda random: random.lognormvariate(-0.125, 0.5),
    "lognormal 1": lambda random: random.lognormvariate(-0.5, 1.0),
}
"""Service times, the mean being one."""

STRATEGIES: dict[str, Callable[[], Machine]] = {
    "gradient": lambda: Concurrency(strategy="gradient"),
    "aimd": lambda: Concurrency(strategy="aimd"),
}

CHANGES = {
    "slower by 1.5": Change(200, pace=1.5),
    "slower by 3": Change(200, pace=3.0),
    "faster by 3": Change(200, pace=1 / 3),
    "a quarter of the workers": Change(200, workers=0.25),
}


class World(Timeline):
    """A server and its clients, in virtual time."""

    def __init__(self, setting: Setting, machines: Sequence[Machine]) -> None:
        super().__init__(setting.seed)
        self.served: list[Served] = []
        self.limits: list[tuple[float, int, float]] = []
        self._setting = setting
        self._machines = machines
        self._states = [machine.initial for machine in machines]
        self._inflight = [0] * len(machines)
        self._random = Random(setting.seed)
        self._service = SERVICES[setting.service]
        self._workers, self._pace, self._busy = setting.workers, _SERVICE, 0
        self._queue: deque[Callable[[bool], None]] = deque()
        for client in range(len(machines)):
            self.after(client * 20 * setting.round_trip, lambda client=client: self._fill(client))
        for change in setting.changes:
            self.after(change.at * setting.round_trip, lambda change=change: self._change(change))

    def _fill(self, client: int) -> None:
        most = min(int(self._states[client].limit), self._setting.wanting)
        while self._inflight[client] < most:
            self._inflight[client] += 1
            self._send(client, self._inflight[client])

    def _send(self, client: int, inflight: int) -> None:
        sent = self.clock.now()

        def over(dropped: bool) -> None:
            now = self.clock.now()
            self._inflight[client] -= 1
            self.served.append(Served(now, client, now - sent, dropped))
            before = self._states[client]
            state = self._machines[client].learn(before, Sample(now - sent, inflight, dropped), now)
            self._states[client] = state
            if state.limit != before.limit:
                self.limits.append((now, client, state.limit))
            self._fill(client)

        def answered(dropped: bool) -> None:
            self.after(self._one_way() + (_AFTER_REFUSAL * _SERVICE if dropped else 0), lambda: over(dropped))

        self.after(self._one_way(), lambda: self._arrived(answered))

    def _one_way(self) -> float:
        return self._random.uniform(0.4, 0.6) * self._setting.network * _SERVICE

    def _arrived(self, answer: Callable[[bool], None]) -> None:
        limit = self._setting.queue
        if self._busy < self._workers:
            self._work(answer)
        elif limit is None or len(self._queue) < limit:
            self._queue.append(answer)
        else:
            answer(True)

    def _work(self, answer: Callable[[bool], None]) -> None:
        self._busy += 1

        def done() -> None:
            self._busy -= 1
            answer(False)
            self._go_on()

        self.after(self._pace * self._service(self._random), done)

    def _go_on(self) -> None:
        while self._queue and self._busy < self._workers:
            self._work(self._queue.popleft())

    def _change(self, change: Change) -> None:
        self._workers = _workers(self._setting, change)
        self._pace = _SERVICE * change.pace
        self._go_on()


def _workers(setting: Setting, change: Change) -> int:
    return max(1, round(setting.workers * change.workers))


def simulate(setting: Setting, make: Callable[[], Machine]) -> tuple[World, Limiting]:
    """Let clients ask a server, and judge what came of it."""
    last = setting.changes[-1] if setting.changes else Change(0)
    workers = _workers(setting, last)
    joined = 20 * (setting.clients - 1)
    round_trip = setting.round_trip * max(1.0, last.pace)
    begin = last.at * setting.round_trip + joined * setting.round_trip + _UNSETTLED * round_trip
    end = begin + max(100 * round_trip, setting.requests * _SERVICE * last.pace / workers)
    world = World(setting, [make() for _ in range(setting.clients)])
    world.run(until=end)
    judged = [served for served in world.served if served.at >= begin]
    good = [served for served in judged if not served.dropped]
    shares = [sum(served.client == client for served in good) for client in range(setting.clients)]
    even = max(1, len(good)) / setting.clients
    return world, Limiting(
        name="",
        throughput=len(good) / (end - begin) * _SERVICE * last.pace / workers,
        latency=_percentile([served.seconds for served in good]) / _unloaded(setting, last.pace),
        refused=1 - len(good) / max(1, len(judged)),
        settled=_settled(setting, world.served),
        least=min(shares) / even,
        most=max(shares) / even,
    )


def best_fixed(setting: Setting) -> Limiting:
    """Return what came of the fixed limit that does best: the most throughput with latency within the bar."""
    pool = setting.workers * (1 + setting.network) / setting.clients
    limits = sorted({max(1, round(pool * factor)) for factor in (0.8, 0.9, 1, 1.1, 1.25, 1.5, 1.75, 2)})
    results = [simulate(setting, lambda limit=limit: FixedLimit(limit))[1] for limit in limits]
    return max(results, key=lambda result: (result.latency <= 2, result.refused < 0.01, round(result.throughput, 2)))


def _percentile(values: list[float]) -> float:
    return sorted(values)[int(len(values) * _PERCENTILE)] if values else math.inf


def _unloaded(setting: Setting, pace: float) -> float:
    random, service = Random(1), SERVICES[setting.service]
    ways = [random.uniform(0.8, 1.2) * setting.network for _ in range(50_000)]
    return _percentile([_SERVICE * (way + pace * service(random)) for way in ways])


def _settled(setting: Setting, served: list[Served]) -> int | None:
    twenty, step = 20 * setting.round_trip, 5
    wanted = 0.9 * setting.workers * twenty / _SERVICE
    last = setting.changes[0].at if setting.changes else 200
    for begin in range(0, int(last) - 20, step):
        since = begin * setting.round_trip
        if sum(since <= each.at < since + twenty and not each.dropped for each in served) >= wanted:
            return begin
    return None


def concurrencies(*, quick: bool = False) -> list[Limiting]:
    """Measure limits in virtual time, and against a real server."""
    works = list(_quick() if quick else _all())
    if quick:
        return [*map(_perform, works), *real(seconds=1.0, unsettled=1.0, workers=(4,))]
    # Virtual time does not mind who else is busy, but what follows does.
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        simulated = list(pool.map(_perform, works))
    return [*simulated, *real()]


def _quick() -> Iterator[tuple[str, Setting, str]]:
    for strategy in ("gradient", "best fixed"):
        yield "4 workers, exponential", Setting(4, requests=500), strategy


def _all() -> Iterator[tuple[str, Setting, str]]:
    for workers, service, network in product((1, 2, 4, 8, 16, 32, 100, 300), SERVICES, (0.0, 1.0)):
        name = f"{workers} workers, {service}, network {network:g}"
        for strategy in ("gradient", "best fixed"):
            yield name, Setting(workers, service, network), strategy
    spread = ("constant", "exponential", "lognormal 1")
    for service, (workers, clients) in product(spread, ((8, 2), (32, 4), (60, 8), (32, 16))):
        name = f"{clients} clients, {workers} workers, {service}"
        yield name, Setting(workers, service, 1.0, clients=clients, requests=20_000), "gradient"
    for service, (change, what), workers in product(spread, CHANGES.items(), (8, 32)):
        yield f"{change}, {workers} workers, {service}", Setting(workers, service, changes=(what,)), "gradient"
    for service, workers, strategy in product(spread, (8, 32, 100), ("gradient", "aimd", "best fixed")):
        name = f"queue of {workers // 2}, {workers} workers, {service}"
        yield name, Setting(workers, service, 1.0, queue=workers // 2), strategy


def _perform(work: tuple[str, Setting, str]) -> Limiting:
    name, setting, strategy = work
    result = best_fixed(setting) if strategy == "best fixed" else simulate(setting, STRATEGIES[strategy])[1]
    return result._replace(name=f"{name}: {strategy}", bar=_BAR if strategy == "gradient" else "")


class _Handler(BaseHTTPRequestHandler):
    """Lets the workers answer, in the order in which requests came."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 65_536  # one packet per answer
    jobs: queue.SimpleQueue[Event]

    def do_GET(self) -> None:
        done = Event()
        self.jobs.put(done)
        done.wait()
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    request_queue_size = 1024
    daemon_threads = True


def serve(workers: int, service: float) -> None:
    """Answer requests on a free port of loopback, so many at a time, until standard input ends."""
    jobs: queue.SimpleQueue[Event] = queue.SimpleQueue()
    _Handler.jobs = jobs

    def work(random: Random) -> None:
        while True:
            done = jobs.get()
            time.sleep(random.uniform(0.5, 1.5) * service)
            done.set()

    for number in range(workers):
        Thread(target=work, args=(Random(number),), daemon=True).start()
    with _Server(("127.0.0.1", 0), _Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        print(f"READY http://127.0.0.1:{server.server_port}", flush=True)
        sys.stdin.read()
        server.shutdown()


@contextmanager
def serving(workers: int, service: float) -> Iterator[str]:
    """Run the server in another process, and tell its URL."""
    options = ("--serve", "--workers", str(workers), "--seconds", str(service))
    command = [sys.executable, "-m", "tests.benchmarks.concurrency", *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            word, _, url = process.stdout.readline().strip().partition(" ")
            if word != "READY":
                raise RuntimeError("the server did not start")
            yield url
        finally:
            process.stdin.close()
            try:
                process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()


def real(
    *,
    workers: Sequence[int] = (1, 4, 16),
    threads: int = 64,
    service: float = 0.05,
    seconds: float = 15.0,
    unsettled: float = 10.0,
) -> list[Limiting]:
    """Let threads ask a server in another process, held back and not.

    Args:
        workers: Requests that the server works on at a time; a run for each.
        threads: How many ask.
        service: Seconds of a worker, on average.
        seconds: How long they are judged.
        unsettled: Seconds before that.

    Returns:
        A row per number of workers and way to ask.
    """
    return [row for each in workers for row in _real(each, threads, service, seconds, unsettled)]


def _real(workers: int, threads: int, service: float, seconds: float, unsettled: float) -> list[Limiting]:
    import polvo_adapters as polvo

    ways: dict[str, HTTPAdapter] = {
        "not held back": HTTPAdapter(pool_maxsize=threads),
        "best fixed": polvo.BulkheadAdapter(workers + max(1, workers // 4), acquisition_timeout=math.inf),
        "gradient": polvo.BulkheadAdapter("adaptive", acquisition_timeout=math.inf),
    }
    with serving(workers, service) as url:
        _, unloaded = _asked(url, HTTPAdapter(), 1, 0.0, seconds)
        measured = {way: _asked(url, adapter, threads, unsettled, seconds) for way, adapter in ways.items()}
    best = measured["not held back"][0]
    return [
        Limiting(
            name=f"real, {workers} workers, {threads} threads: {way}",
            throughput=throughput / best,
            latency=latency / unloaded,
            refused=0.0,
            settled=None,
            least=1.0,
            most=1.0,
            bar=_BAR if way == "gradient" else "",
        )
        for way, (throughput, latency) in measured.items()
    ]


def _asked(url: str, adapter: HTTPAdapter, threads: int, unsettled: float, seconds: float) -> tuple[float, float]:
    """Return requests per second, and the 99th percentile of the latency of those that were sent."""
    begin = time.monotonic() + unsettled
    end = begin + seconds

    def ask() -> list[float]:
        took = []
        with requests.Session() as session:
            session.mount("http://", adapter)
            while (now := time.monotonic()) < end:
                response = session.get(url, timeout=_PATIENCE + threads)
                if begin <= time.monotonic() < end:
                    took.append(_sent_for(response, now))
        return took

    with ThreadPoolExecutor(threads) as pool:
        took = [each for future in [pool.submit(ask) for _ in range(threads)] for each in future.result()]
    adapter.close()
    return len(took) / seconds, _percentile(took)


def _sent_for(response: requests.Response, asked: float) -> float:
    """Seconds of the attempt; without the wait for a slot, where there was one."""
    report = getattr(response, "polvo", None)
    return time.monotonic() - asked - (sum(wait.seconds for wait in report.waits) if report else 0.0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the one run that the command line asks for, or be the server of one."""
    options = _parse_arguments(arguments)
    if options.serve:
        serve(options.workers, options.seconds)
        return 0
    names = [name for name in Setting._fields if getattr(options, name, None) is not None]
    setting = Setting(**{name: getattr(options, name) for name in names})
    if options.change:
        setting = setting._replace(changes=(CHANGES[options.change],))
    if options.strategy == "best fixed":
        print(best_fixed(setting))
        return 0
    world, result = simulate(setting, STRATEGIES[options.strategy])
    for at, client, limit in world.limits if options.trace else ():
        print(f"{at / setting.round_trip:9.1f} client {client}: {limit:6.1f}")
    print(result)
    return 0


def _parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.concurrency", description="One run.")
    parser.add_argument("--serve", action="store_true", help="be the real server")
    parser.add_argument("--seconds", type=float, default=0.05, help="service time of the real server")
    parser.add_argument("--service", choices=SERVICES, help="how service times are spread")
    parser.add_argument("--network", type=float, help="times the service")
    parser.add_argument("--change", choices=CHANGES, help="what becomes of the server")
    parser.add_argument("--strategy", choices=(*STRATEGIES, "best fixed"), default="gradient")
    parser.add_argument("--trace", action="store_true", help="tell of every change of a limit")
    for name, usual in (("workers", 8), ("queue", None), ("clients", 1), ("wanting", 1000), ("requests", 10_000)):
        parser.add_argument(f"--{name}", type=int, default=usual)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
