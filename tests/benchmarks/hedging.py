"""What a hedge cuts off, and what it costs: a server that takes a hundred times as long for one answer in a hundred.

What: the 99th percentile of latency as a multiple of the median, and the requests sent per call, with the standard
stack and a hedge of its defaults, and without any policy; after the first calls, which find out what is late. Bar: 3
times the median, 2 % more requests. In virtual time, per distribution of the other answers; and over loopback, with
threads, against a server that really takes its time.

Why that way: in virtual time ten thousand calls take seconds and nothing else is slow. Over loopback the machine adds
slowness of its own, so that only the order of magnitude counts.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

import requests

from polvo_adapters.adapters import PolicyAdapter
from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Policy, compose
from polvo_adapters.policies.stack import standard
from polvo_adapters.testing.simulation.simulation import ScriptedReply, Simulation

BAR = "≤ 3, ≤ 1.02"
_SLOW_PART, _SLOWER = 0.01, 100
_UNSETTLED = 300  # calls
_EVERY = 80  # requests, over loopback
_MEDIAN = 0.02  # seconds, over loopback

DISTRIBUTIONS: dict[str, Callable[[random.Random], float]] = {
    "all alike": lambda _: 0.1,
    "± 20 %": lambda draw: draw.uniform(0.08, 0.12),
    "lognormal, 0.3": lambda draw: draw.lognormvariate(math.log(0.1), 0.3),
    "lognormal, 0.5": lambda draw: draw.lognormvariate(math.log(0.1), 0.5),
}


class Hedging(NamedTuple):
    """What came out.

    Attributes:
        name: Which server.
        before: 99th percentile without a hedge, as a multiple of the median.
        after: The same with it.
        requests: Requests per call, with it.
        bar: The promise, or an empty string.
    """

    name: str
    before: float
    after: float
    requests: float
    bar: str = ""


class NowAndThen:
    """A server with a distribution of latencies, slow now and then, or all the time from some moment on."""

    def __init__(self, draw: Callable[[random.Random], float], seed: int, outage: float = math.inf) -> None:
        self._draw, self._random, self._outage = draw, random.Random(seed), outage
        self.received = 0
        self.in_outage = 0

    def reply(self, call: Call, now: float) -> ScriptedReply:
        """Answer, sooner or later."""
        self.received += 1
        self.in_outage += now >= self._outage
        slow = self._random.random() < _SLOW_PART or now >= self._outage
        return ScriptedReply(200, {}, self._draw(self._random) * (_SLOWER if slow else 1))


def simulate(
    server: NowAndThen, policies: Sequence[Policy], calls: int = 6000, rate: float = 50.0, seed: int = 1
) -> tuple[list[float], Simulation]:
    """Return how long each call took, and the simulation."""
    simulation, stack = Simulation(server, seed), compose(policies)
    draw, at, begun = random.Random(seed), 0.0, []
    for _ in range(calls):
        at += draw.expovariate(rate)
        begun.append((at, simulation.call(stack, at=at)))
    simulation.run()
    return [call.outcome.now - at for at, call in begun if call.outcome is not None], simulation


def percentile(latencies: Sequence[float], part: float) -> float:
    """Return the latency that so large a part of the calls does not exceed."""
    return sorted(latencies)[math.ceil(part * len(latencies)) - 1]


def hedges(*, quick: bool = False) -> list[Hedging]:
    """Measure hedging in virtual time and over loopback."""
    calls = 2000 if quick else 10_000
    seeds = (1,) if quick else (1, 2, 3)
    rows = [max((_simulated(name, seed, calls) for seed in seeds), key=lambda row: row.after) for name in DISTRIBUTIONS]
    return [*rows, _real(300 if quick else 4000)]


def _simulated(name: str, seed: int, calls: int) -> Hedging:
    plain, _ = simulate(NowAndThen(DISTRIBUTIONS[name], seed), [], calls, seed=seed)
    server = NowAndThen(DISTRIBUTIONS[name], seed)
    hedged, _ = simulate(server, standard(hedge=True), calls, seed=seed)
    bar = BAR if name != "lognormal, 0.5" else "(its own tail is 3.2)"
    return Hedging(f"simulated, {name}", _tail(plain), _tail(hedged), server.received / calls, bar)


def _tail(latencies: Sequence[float]) -> float:
    settled = latencies[_UNSETTLED:] or latencies
    return percentile(settled, 0.99) / percentile(settled, 0.5)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    draw = random.Random(1)
    received = 0
    lock = threading.Lock()

    def do_GET(self) -> None:
        """Answer, sooner or later: every eightieth request later, so that the 99th percentile is surely among them."""
        with self.lock:
            type(self).received += 1
            seconds = self.draw.lognormvariate(math.log(_MEDIAN), 0.3)
            slow = self.received % _EVERY == 0
        time.sleep(seconds * (_SLOWER if slow else 1))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Say nothing of losers that are gone."""


def _real(calls: int, threads: int = 8) -> Hedging:
    with _Server(("127.0.0.1", 0), _Handler) as server:
        serving = threading.Thread(target=server.serve_forever, daemon=True)
        serving.start()
        url = f"http://127.0.0.1:{server.server_address[1]}/"
        try:
            plain = _asked(url, (), calls, threads)
            _Handler.received = 0
            hedged = _asked(url, standard(hedge=True), calls, threads)
        finally:
            server.shutdown()
            serving.join()
    return Hedging("loopback, lognormal, 0.3", _tail(plain), _tail(hedged), _Handler.received / calls, BAR)


def _asked(url: str, policies: Sequence[Policy], calls: int, threads: int) -> list[float]:
    session = requests.Session()
    session.mount("http://", PolicyAdapter(*policies, pool_maxsize=4 * threads))

    def ask(_: int) -> float:
        began = time.perf_counter()
        session.get(url, timeout=30)
        return time.perf_counter() - began

    with session, ThreadPoolExecutor(threads) as pool:
        return list(pool.map(ask, range(calls)))
