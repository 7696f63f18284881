"""How much of a quota a client gets that was not told it, and how often it is turned away.

What: clients that ask as fast as they can, against a server with a quota, per kind of server. Two scenarios.
`threads`: one process, 8 threads, 50 requests per 2 s. How much is served is compared with what bare requests get that
never wait; what counts as rejected is what comes after the first window, in which no client can know better.
`processes`: 8 processes of 4 threads each, which share nothing but a quota of 200 per 4 s, from the fifth window on.
How much of the quota they use, what part of their requests is turned away, and how evenly they share.

How: everything is read from the record of the server, over whole windows: from the first request, or, where windows
open on the clock, from the moment when one opened; a run starts then. Server and clients are processes of their own;
clients start at one moment, after all of them have imported what they need.

Why that way: a client that is refused does not always notice (its retries are hidden within), and one that waits
at the end of a run would be charged for it. Counted from a moment within a window, a client that spends early
would look better than one that spreads.

One run alone: `python -m tests.benchmarks.pacing --kind gcra --strategy ours --scenario processes --seconds 40`.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack, closing
from typing import Any, NamedTuple

import requests

from polvo_adapters.testing.limiters import DIALECTS
from tests.benchmarks.pacing_client import STRATEGIES, Work, available
from tests.benchmarks.quota_server import KINDS, serving

MEASURED = ("fixed", "aligned", "sliding", "gcra")
UNSETTLED_WINDOWS = 4
"""Windows in which clients that share a quota may still be finding their rates."""
_LEAD = 0.2  # seconds from the word to start until the start
_PATIENCE = 15.0  # seconds that a client may need to start, or to tell what it saw
_BY_THE_CLOCK = ("aligned", "counter")
_BY_THE_FIRST = ("fixed", "silent")


class Scenario(NamedTuple):
    """Who asks, for what, and for how long.

    Attributes:
        processes: Clients that share nothing.
        threads: In each of them.
        limit: Requests per window.
        window: Seconds.
        seconds: How long they ask.
        unsettled: Windows at the start that are not judged.
        latency: Seconds that an answer takes.
        dialect: How the server tells of the quota.
    """

    processes: int
    threads: int
    limit: int
    window: float
    seconds: float
    unsettled: int = 0
    latency: float = 0.002
    dialect: str = "draft-6"


SCENARIOS = {
    "threads": Scenario(processes=1, threads=8, limit=50, window=2.0, seconds=12.0),
    "processes": Scenario(processes=8, threads=4, limit=200, window=4.0, seconds=40.0, unsettled=UNSETTLED_WINDOWS),
}
_QUICK = {
    "threads": Scenario(processes=1, threads=2, limit=10, window=1.0, seconds=1.0),
    "processes": Scenario(processes=2, threads=2, limit=10, window=1.0, seconds=1.0),
}
_BARS = {"threads": "≥ 0.98 of greedy, 0 later", "processes": "≥ 95 %, ≤ 1 % rejected"}


class Pace(NamedTuple):
    """What came out of one run, over the windows that are judged.

    Attributes:
        name: Scenario, kind of server, and strategy.
        accepted: Requests that were served.
        used: Them, as a part of all that the server could let through in those windows. A token bucket starts full, so
            that this is a whole bucket more where the very first window is judged: without that, a client that lost a
            seventh of six windows would still look like one that used all.
        rejected: Requests that were turned away.
        rejected_later: Those of them that came after the very first window.
        rejected_part: Requests that were turned away, as a part of all.
        least: What the client got that got least, as a part of an even share.
        most: What the client got that got most, likewise.
        of_greedy: Accepted, as a ratio to what bare requests got that never wait; None where that says nothing.
        bar: The promise, or an empty string.
    """

    name: str
    accepted: int
    used: float
    rejected: int
    rejected_later: int
    rejected_part: float
    least: float
    most: float
    of_greedy: float | None = None
    bar: str = ""


class Span(NamedTuple):
    """The whole windows of a run that are judged.

    Attributes:
        first: When the very first window opened.
        begin: When the first window opened that is judged.
        windows: How many are.
        window: Seconds of each.
    """

    first: float
    begin: float
    windows: int
    window: float

    @property
    def end(self) -> float:
        """When the last of them closed."""
        return self.begin + self.windows * self.window


def paces(*, quick: bool = False) -> list[Pace]:
    """Measure all strategies against all kinds of servers, in both scenarios."""
    scenarios = _QUICK if quick else SCENARIOS
    kinds = MEASURED[:1] if quick else MEASURED
    # One run after the other, so that none takes the processor from another, unless the numbers are not looked at.
    with ThreadPoolExecutor(max_workers=4 if quick else 1) as pool:
        return [
            pace
            for name, scenario in scenarios.items()
            for kind in kinds
            for pace in _compared(name, scenario, kind, pool)
        ]


def _compared(name: str, scenario: Scenario, kind: str, pool: Executor) -> list[Pace]:
    strategies = available()
    records = pool.map(lambda strategy: record_of(scenario, kind, strategy), strategies)
    measured = {strategy: judge(record, scenario) for strategy, record in zip(strategies, records, strict=True)}
    greedy = max(1, measured["greedy"].accepted)
    return [
        pace._replace(
            name=f"{name}, {kind}: {strategy}",
            of_greedy=pace.accepted / greedy if name == "threads" else None,
            bar=_BARS[name] if strategy == "ours" else "",
        )
        for strategy, pace in measured.items()
    ]


def record_of(scenario: Scenario, kind: str, strategy: str, *options: str) -> dict[str, Any]:
    """Make one run.

    Args:
        scenario: Who asks.
        kind: How the server counts, one of its `KINDS`.
        strategy: How the clients hold back, one of the `STRATEGIES`.
        options: More arguments for the server.

    Returns:
        What the server recorded, with what the clients saw as `seen`, and when they were told to stop as `stop`.
    """
    quota = ("--kind", kind, "--limit", str(scenario.limit), "--window", str(scenario.window))
    manner = ("--latency", str(scenario.latency), "--dialect", scenario.dialect)
    with serving(*quota, *manner, *options) as url:
        stop, seen = _let_ask(scenario, kind, strategy, url)
        record: dict[str, Any] = requests.get(f"{url}/record", timeout=_PATIENCE).json()
    return {**record, "stop": stop, "seen": seen}


def judge(record: dict[str, Any], scenario: Scenario) -> Pace:
    """Sum up what the server recorded, over the whole windows that are to be judged."""
    span = judged_span(record, scenario.unsettled)
    inside = {
        client: [(at, allowed) for at, allowed in asked if span.begin <= at < span.end]
        for client, asked in record["clients"].items()
    }
    served = [sum(allowed for _, allowed in asked) for asked in inside.values()]
    refused = [at for asked in inside.values() for at, allowed in asked if not allowed]
    accepted, even = sum(served), sum(served) / max(1, scenario.processes)
    return Pace(
        name="",
        accepted=accepted,
        used=accepted / (record["limit"] * (span.windows + _count_full_buckets(record, span))),
        rejected=len(refused),
        rejected_later=sum(at >= span.first + span.window for at in refused),
        rejected_part=len(refused) / max(1, accepted + len(refused)),
        least=(min(served) if len(served) == scenario.processes else 0) / max(1, even),
        most=max(served, default=0) / max(1, even),
    )


def judged_span(record: dict[str, Any], unsettled: int) -> Span:
    """Return the windows that are judged: all that were whole when the clients stopped, without the unsettled ones."""
    window, times = record["window"], _times(record)
    first = times[0][0]
    if record["kind"] in _BY_THE_CLOCK:
        first -= (first - record["origin"]) % window
    begin = first + unsettled * window
    if record["kind"] in _BY_THE_FIRST:
        begin = next((at for at in _openings(times, window) if at >= begin), begin)
    return Span(first, begin, max(1, math.floor((record["stop"] - begin) / window)), window)


def _count_full_buckets(record: dict[str, Any], span: Span) -> int:
    """Return how many whole buckets the server had beside what came back in the windows that are judged."""
    return int(record["kind"] == "gcra" and span.begin <= span.first)


def _times(record: dict[str, Any]) -> list[tuple[float, bool]]:
    times = sorted((at, allowed) for asked in record["clients"].values() for at, allowed in asked)
    if not times:
        raise RuntimeError(f"no request has reached the server; what the clients saw: {record['seen']}")
    return times


def _openings(times: Sequence[tuple[float, bool]], window: float) -> list[float]:
    opened = [times[0][0]]
    for at, _ in times:
        if at - opened[-1] >= window:
            opened.append(at)
    return opened


def _let_ask(scenario: Scenario, kind: str, strategy: str, url: str) -> tuple[float, Counter[str]]:
    with ExitStack() as stack:
        clients = [
            stack.enter_context(closing(_Client(Work(f"{url}/", f"client {number}", strategy, *scenario[:4]))))
            for number in range(scenario.processes)
        ]
        for client in clients:
            client.expect_ready()
        start = _start(kind, scenario.window)
        # A little longer than what is judged, because a window that opens with a request opens a little late.
        stop = start + scenario.seconds + scenario.window / 4
        for client in clients:
            client.tell(start, stop)
        seen = Counter[str]()
        for client in clients:
            seen.update(client.seen())
    return stop, seen


def _start(kind: str, window: float) -> float:
    wall, offset = time.time() + _LEAD, time.time() - time.monotonic()
    return (math.ceil(wall / window) * window if kind in _BY_THE_CLOCK else wall) - offset + 0.001


class _Client:
    """One process of clients."""

    def __init__(self, work: Work) -> None:
        command = [sys.executable, "-m", "tests.benchmarks.pacing_client", json.dumps(work._asdict())]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def expect_ready(self) -> None:
        if self._line() != "READY":
            raise RuntimeError("a client did not start")

    def tell(self, start: float, stop: float) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([start, stop]) + "\n")
        self._process.stdin.flush()

    def seen(self) -> dict[str, int]:
        counts: dict[str, int] = json.loads(self._line())
        return counts

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def close(self) -> None:
        with self._process as process:
            assert process.stdin is not None
            process.stdin.close()  # ends a client that was never told when to start
            try:
                process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the one run that the command line asks for, and print what came out."""
    options = _parse_arguments(arguments)
    given = {name: getattr(options, name) for name in Scenario._fields if getattr(options, name) is not None}
    scenario = SCENARIOS[options.scenario]._replace(**given)
    record = record_of(scenario, options.kind, options.strategy, "--sliding-reset", options.sliding_reset)
    pace = judge(record, scenario)
    print(
        f"{options.scenario} {options.kind} {options.strategy}: accepted {pace.accepted}, used {pace.used:.1%}, "
        f"rejected {pace.rejected} = {pace.rejected_part:.2%}, after the first window {pace.rejected_later}, "
        f"share {pace.least:.2f} to {pace.most:.2f}"
    )
    if options.windows:
        print("accepted-rejected per window from the start:", *_by_window(record))
        print("seen by the clients:", dict(record["seen"]))
    return 0


def _by_window(record: dict[str, Any]) -> list[str]:
    span = judged_span(record, 0)
    counts = Counter(((at - span.first) // span.window, allowed) for at, allowed in _times(record))
    return [f"{counts[number, True]}-{counts[number, False]}" for number in range(span.windows)]


def _parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.pacing", description="One run of one strategy.")
    parser.add_argument("--kind", choices=KINDS, default="fixed", help="how the server counts")
    parser.add_argument("--strategy", choices=STRATEGIES, default="ours", help="how the clients hold back")
    parser.add_argument("--scenario", choices=SCENARIOS, default="threads", help="where the numbers below come from")
    parser.add_argument(
        "--sliding-reset", choices=("oldest", "window"), default="oldest", help="what sliding announces"
    )
    parser.add_argument("--windows", action="store_true", help="tell of each window, and what the clients saw")
    for name in ("processes", "threads", "limit", "unsettled"):
        parser.add_argument(f"--{name}", type=int)
    for name in ("window", "seconds", "latency"):
        parser.add_argument(f"--{name}", type=float)
    parser.add_argument("--dialect", choices=DIALECTS)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
