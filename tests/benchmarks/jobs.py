"""What a job costs in the local engine of EZThrottle, and that none is lost or done twice through kills.

What: a submission in memory (bar: 50 µs) and on disk (bar: 1 ms, on a disk that keeps its word); a race over three
regions of 50, 200 and 800 ms (bar: p50 within 20 ms of the fastest); 1,000 POST steps by a process that is killed every
2 s, at a server that loses one response in ten after the work, once with keys and once without.

How: submissions are timed while nothing is executed, since jobs wait for their time; the disk is that of the current
directory. The kills are in `tests.support.killed_jobs`; the server counts how often each work was done.

Why that way: a submission that shares the interpreter with eight workers measures the workers.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median

from polvo_adapters.services.ezthrottle import EZThrottle, LocalEngine, Step
from tests.benchmarks.tokens import Figure
from tests.support.ezthrottle_server import EZThrottleServer, Reply
from tests.support.killed_jobs import run

_NEVER = 4_000_000_000_000
_DELAYS = {"iad": 0.05, "lax": 0.2, "ord": 0.8}


def jobs(*, quick: bool = False) -> list[Figure]:
    """Measure submissions and races, and count what is done in spite of kills."""
    kills = [] if quick else [figure for honours in (True, False) for figure in _kills(honours=honours)]
    return [*_submissions(quick=quick), _race(quick=quick), *kills]


def _submissions(*, quick: bool) -> list[Figure]:
    figures = []
    with tempfile.TemporaryDirectory(dir=".") as folder:
        for name, path, bar in (("in memory", None, "≤ 50 µs"), ("on disk", Path(folder) / "jobs", "≤ 1,000 µs")):
            with LocalEngine(path) as engine:
                client = EZThrottle(engine=engine)
                times = [_time_submission(client, number) for number in range(20 if quick else 1000)]
            figures.append(Figure(f"a submission {name}", median(times) * 1e6, "µs", "", bar))
    return figures


def _time_submission(client: EZThrottle, number: int) -> float:
    step = Step(client).url("https://api.example.com/x").method("POST").body(str(number)).retry_at(_NEVER)
    began = time.perf_counter()
    step.execute()
    return time.perf_counter() - began


def _race(*, quick: bool) -> Figure:
    servers = {name: EZThrottleServer().__enter__() for name in _DELAYS}
    for name, server in servers.items():
        server.routes["/"] = lambda request, seconds=_DELAYS[name]: Reply(200, b"", delay=seconds)
    times = []
    try:
        with LocalEngine(regions={name: server.url for name, server in servers.items()}) as engine:
            client = EZThrottle(engine=engine)
            for number in range(3 if quick else 40):
                step = Step(client).url(f"http://api.example.com/{number}").regions(list(_DELAYS))
                began = time.perf_counter()
                step.execute().wait(10)
                times.append(time.perf_counter() - began)
    finally:
        for server in servers.values():
            server.__exit__()
    more = (median(times) - min(_DELAYS.values())) * 1e3
    return Figure("a race over 50, 200 and 800 ms, p50", more, "ms more than the fastest", "", "≤ 20 ms")


def _kills(*, honours: bool) -> list[Figure]:
    count = 1000
    with tempfile.TemporaryDirectory(dir=".") as folder:
        ended = run(Path(folder) / "jobs", count, honours=honours, interval=2.0, lost=0.1)
    server = "with keys" if honours else "without keys"
    rest = f"{ended.kills} kills, {ended.seconds:.0f} s, {ended.states['in_doubt']} in doubt"
    twice = sum(times > 1 for times in ended.executions.values())
    never = count - len(ended.executions) - ended.states["in_doubt"] if not honours else count - len(ended.executions)
    return [
        Figure(f"done twice, a server {server}", twice, "jobs", rest, "0"),
        Figure(f"not done and not told, a server {server}", max(never, 0), "jobs", rest, "0"),
        Figure(f"results not delivered, a server {server}", count - len(ended.hooks), "jobs", rest, "0"),
    ]
