"""How clients that share a quota and nothing else get along, in virtual time: up to ten thousand of them.

What: per kind of server, population and strategy, which part of the quota is used, which part of the requests is
turned away, and how evenly the clients share, from the fifth window on; and what one client that joins, leaves or
doubles its demand does to the three windows after. Strategies are the peers' (ask on, obey Retry-After, back off
exponentially, be told the rate) and ours, which is told nothing.

How: `polvo_adapters.testing.simulation.crowd` runs the very flows that ship. Each client has a store of its own. Peers
are flows too, written down here in a few lines each, so that all differ in nothing but what they do.

Why that way: ten thousand processes do not fit on a machine, and with real time no run could be repeated. What
virtual time leaves out (threads, connections, a busy processor) `pacing` measures, for eight processes.

One run alone, window by window:
`python -m tests.benchmarks.crowd --kind gcra --clients 8 --threads 4 --limit 200 --window 4 --strategy adaptive`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import product
from multiprocessing import get_context
from typing import NamedTuple, TypeAlias

from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Flow, Policy, Proceed, Sleep
from polvo_adapters.core.outcomes import Outcome
from polvo_adapters.policies import ratelimit
from polvo_adapters.policies.retry import ExponentialBackoff
from polvo_adapters.testing.limiters import (
    DIALECTS,
    AlignedWindowLimiter,
    EstimatedWindowLimiter,
    FixedWindowLimiter,
    Limiter,
    SlidingWindowLimiter,
    TokenBucketLimiter,
)
from polvo_adapters.testing.simulation.crowd import CrowdClient, CrowdResult, CrowdWindow, QuotaServer, run
from polvo_adapters.testing.virtual_clock import EPOCH

UNSETTLED_WINDOWS = 4
"""Windows in which clients may still be finding their rates."""
_RESOURCES = 4
_EVENT = 8.3  # windows from the beginning


class Setting(NamedTuple):
    """A server, and who asks it.

    Attributes:
        kind: How the server counts, one of the `KINDS`.
        clients: How many there are.
        threads: Calls that each can have under way.
        limit: Requests per window, of all clients together.
        window: Seconds.
        windows: How many are simulated.
        dialect: How the server tells of the quota.
        latency: Seconds from a request to its answer.
        stagger: Seconds over which the clients begin; one window for more than eight clients, else 0, unless given.
        sliding_reset: What a sliding window announces, "oldest" or "window".
        seed: Seed of everything.
    """

    kind: str = "fixed"
    clients: int = 8
    threads: int = 4
    limit: int = 200
    window: float = 4.0
    windows: int = 12
    dialect: str = "draft-6"
    latency: float = 0.05
    stagger: float | None = None
    sliding_reset: str = "oldest"
    seed: int = 0


class Crowding(NamedTuple):
    """What came out of one run, over the windows that are judged.

    Attributes:
        name: Population or event, kind of server, and strategy.
        goodput: What was served, as a part of the quota.
        rejected: Requests that were turned away.
        rejected_part: Them, as a part of all.
        variation: Standard deviation of the clients' shares, the mean being one.
        least: What the client got that got least, as a part of an even share.
        most: What the client got that got most, likewise.
        peak: The most requests in a tenth of a second, as a multiple of what an even pace would bring.
        bar: The promise, or an empty string.
    """

    name: str
    goodput: float
    rejected: int
    rejected_part: float
    variation: float
    least: float
    most: float
    peak: float
    bar: str = ""


Work: TypeAlias = tuple[Callable[[Setting, str, str], Crowding], Setting, str, str]

POPULATIONS = {
    "1x8": Setting(clients=1, threads=8, limit=50, window=2.0),
    "8x4": Setting(clients=8, threads=4, limit=200, window=4.0),
    "100": Setting(clients=100, threads=1, limit=1000, window=10.0),
    "1,000": Setting(clients=1000, threads=1, limit=5000, window=10.0),
    "10,000": Setting(clients=10_000, threads=1, limit=50_000, window=10.0),
}
"""Clients, and calls at once in each of them, where it is not one."""
_QUICK = {"2x2": Setting(clients=2, threads=2, limit=20, window=2.0, windows=6)}
_MOST_GREEDY = 1000  # clients that ask on and on: ten times as many send thirty million requests and tell nothing new
_BAR = "≥ 95 %, ≤ 1 % rejected"


@dataclass(frozen=True)
class RetryAfter:
    """Obeys Retry-After and looks at nothing else, as urllib3's `Retry` does where it is told no backoff."""

    def flow(self, call: Call, proceed: Proceed) -> Flow:
        while True:
            outcome = yield from proceed(call)
            if outcome.status != 429:
                return outcome
            seconds = float(outcome.headers.get("retry-after", 0))
            yield Sleep(seconds, seconds, "429")


@dataclass(frozen=True)
class Deaf:
    """Hides what the server says about its quota from the policies around it."""

    def flow(self, call: Call, proceed: Proceed) -> Flow:
        outcome: Outcome = yield from proceed(call)
        headers = {
            name: value for name, value in outcome.headers.items() if not name.startswith(("retry-", "ratelimit"))
        }
        return outcome._replace(headers=headers)


def _told(setting: Setting) -> Sequence[Policy]:
    share = setting.limit / setting.clients
    return [ratelimit.TokenBucket(rate=share / setting.window, capacity=max(1, share))]


STRATEGIES: dict[str, Callable[[Setting], Sequence[Policy]]] = {
    "greedy": lambda _: [],
    "retry-after": lambda _: [RetryAfter()],
    "backoff": lambda _: [ExponentialBackoff(max_attempts=10**9, budget=None), Deaf()],
    "told": _told,
    "adaptive": lambda _: [ratelimit.AdaptiveRateLimit()],
}
"""What every client mounts; "told" is given its part of the quota, and no other is given anything."""

KINDS: dict[str, Callable[[Setting, int], Limiter]] = {
    "fixed": lambda setting, limit: FixedWindowLimiter(limit, setting.window),
    "aligned": lambda setting, limit: AlignedWindowLimiter(limit, setting.window, -(EPOCH % setting.window)),
    "sliding": lambda setting, limit: SlidingWindowLimiter(
        limit, setting.window, announces_window=setting.sliding_reset == "window"
    ),
    "counter": lambda setting, limit: EstimatedWindowLimiter(limit, setting.window, -(EPOCH % setting.window)),
    "gcra": lambda setting, limit: TokenBucketLimiter(limit, setting.window),
    "resources": lambda setting, limit: AlignedWindowLimiter(limit, setting.window, -(EPOCH % setting.window)),
    "silent": lambda setting, limit: FixedWindowLimiter(limit, setting.window),
}


def server(setting: Setting) -> QuotaServer:
    """Make the server of a setting."""
    dialect = {"resources": "github-like", "silent": "none"}.get(setting.kind, setting.dialect)
    count = _RESOURCES if setting.kind == "resources" else 1
    limiters = [KINDS[setting.kind](setting, setting.limit // count) for _ in range(count)]
    return QuotaServer(limiters, dialect, setting.latency, seed=setting.seed)


def clients(setting: Setting) -> list[CrowdClient]:
    """Make the clients of a setting, which always want more."""
    usual = setting.window if setting.clients > 8 else 0.0
    stagger = usual if setting.stagger is None else setting.stagger
    return [CrowdClient(setting.threads, joins=stagger * i / setting.clients) for i in range(setting.clients)]


def _joining(setting: Setting) -> list[CrowdClient]:
    return [*clients(setting), CrowdClient(setting.threads, joins=_EVENT * setting.window)]


def _leaving(setting: Setting) -> list[CrowdClient]:
    first, *others = clients(setting)
    return [first._replace(leaves=_EVENT * setting.window), *others]


def _doubling(setting: Setting) -> list[CrowdClient]:
    share = setting.limit / setting.window / setting.clients
    first, *others = clients(setting)
    return [first._replace(demand=share / 2, doubles=_EVENT * setting.window), *others]


EVENTS: dict[str, Callable[[Setting], list[CrowdClient]]] = {
    "one joins": _joining,
    "one leaves": _leaving,
    "one doubles": _doubling,
}
"""The clients of a setting, one of which does something in the ninth window. Who doubles its demand wants half of an
even share before, and the whole of it afterwards; all others always want more."""


def simulate(setting: Setting, strategy: str, crowd: Sequence[CrowdClient] | None = None) -> CrowdResult:
    """Let the clients of a setting, or others, follow a strategy."""
    policies = STRATEGIES[strategy](setting)
    return run(server(setting), crowd or clients(setting), policies, setting.windows, setting.seed)


def crowds(*, quick: bool = False) -> list[Crowding]:
    """Measure all strategies in all populations at all kinds of servers, and what single clients do to them."""
    works = [
        *((_settled, setting._replace(kind=kind), name, strategy) for name, setting, kind, strategy in _steady(quick)),
        *((_after, setting, event, strategy) for setting, event, strategy in _eventful(quick)),
    ]
    if quick:
        return [_perform(work) for work in works]
    # Virtual time does not mind who else is busy. The longest go first, so that none is left over at the end.
    by_size = sorted(works, key=lambda work: -work[1].clients)
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        done = dict(zip(by_size, pool.map(_perform, by_size), strict=True))
    return [done[work] for work in works]


def _perform(work: Work) -> Crowding:
    measure, setting, name, strategy = work
    return measure(setting, name, strategy)


def _steady(quick: bool) -> Iterator[tuple[str, Setting, str, str]]:
    for name, setting in (_QUICK if quick else POPULATIONS).items():
        for kind, strategy in product(("fixed", "gcra") if quick else KINDS, STRATEGIES):
            asks_on = strategy == "greedy" or (strategy, kind) == ("retry-after", "silent")
            if not asks_on or setting.clients <= _MOST_GREEDY:
                yield name, setting, kind, strategy


def _eventful(quick: bool) -> Iterator[tuple[Setting, str, str]]:
    kinds = ("gcra",) if quick else ("fixed", "aligned", "sliding", "counter", "gcra")
    for event, kind, strategy in product(EVENTS, kinds, STRATEGIES):
        yield Setting(kind), event, strategy


def _settled(setting: Setting, name: str, strategy: str) -> Crowding:
    window = simulate(setting, strategy).over(UNSETTLED_WINDOWS)
    return _crowding(f"{name}, {setting.kind}: {strategy}", window, strategy)


def _after(setting: Setting, event: str, strategy: str) -> Crowding:
    window = _three_after(simulate(setting, strategy, EVENTS[event](setting)), _EVENT * setting.window)
    return _crowding(f"{event}, {setting.kind}: {strategy}", window, strategy)


def _three_after(result: CrowdResult, moment: float) -> CrowdWindow:
    first = next(number for number, window in enumerate(result.windows) if window.begin > moment)
    return result.over(first, first + 3)


def _crowding(name: str, window: CrowdWindow, strategy: str) -> Crowding:
    shares = (window.variation, window.least_share, window.most_share)
    bar = _BAR if strategy == "adaptive" else ""
    return Crowding(name, window.goodput, window.rejected, window.rejected_part, *shares, window.peak, bar)


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the one run that the command line asks for, and tell of every window."""
    options = vars(_parse_arguments(arguments))
    strategy = options.pop("strategy")
    setting = Setting(**{name: value for name, value in options.items() if value is not None})
    result = simulate(setting, strategy)
    print("window   begin  goodput  rejected     cv  least   most   peak")
    for number, window in enumerate(result.windows):
        print(_line(f"{number + 1:6}", window))
    if len(result.windows) > UNSETTLED_WINDOWS:
        print(_line(f"{UNSETTLED_WINDOWS + 1:4}..", result.over(UNSETTLED_WINDOWS)), setting.kind, strategy)
    return 0


def _line(name: str, window: CrowdWindow) -> str:
    return (
        f"{name}{window.begin:8.2f}{window.goodput:9.1%}{window.rejected_part:10.2%}{window.variation:7.3f}"
        f"{window.least_share:7.2f}{window.most_share:7.2f}{window.peak:7.1f}"
    )


def _parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.crowd", description="One run of one strategy.")
    parser.add_argument("--kind", choices=KINDS, help="how the server counts")
    parser.add_argument("--strategy", choices=STRATEGIES, default="adaptive", help="how the clients hold back")
    parser.add_argument("--sliding-reset", choices=("oldest", "window"), help="what sliding announces")
    parser.add_argument("--dialect", choices=DIALECTS, help="how the server tells; draft-6 unless given")
    for name in ("clients", "threads", "limit", "windows", "seed"):
        parser.add_argument(f"--{name}", type=int)
    for name in ("window", "latency"):
        parser.add_argument(f"--{name}", type=float, help="seconds")
    parser.add_argument("--stagger", type=float, help="seconds over which the clients begin")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
