"""What clients do to a server that falls short for fifty seconds, in virtual time: up to ten thousand of them.

What: per kind of outage, population and strategy: how many requests reach the server per call while it lasts; which
part of the calls is served then and afterwards; how long after the server has its capacity again all is well; and how
much later that is than if nothing had been sent twice, which is what the server needs by itself. Strategies are
none, the peers' (urllib3's `Retry(3)`, tenacity's five attempts with random exponential waits) and the standard stack
with retries and a circuit breaker: with its defaults, and "ours", set for a quick return.

How: `polvo_adapters.testing.simulation.overload` runs the very flows that ship. Calls make 70 % of what the server can
do, from all clients together, and come at the same moments in all runs of a population. Each client has a store of its
own, and in it nothing from before the run. Clients wait one second for an answer. Peers are flows too; the waits of
urllib3 are asked of urllib3 itself.

    down         everything is refused, with 503
    hang         nothing is answered, and what was asked is lost
    slow         a tenth of the capacity is left; the queue holds half a second's work, the rest is refused
    metastable   the same with a queue of ten seconds' work: where every call is sent again, it never becomes shorter,
                 and the server works in vain for ever, although it has long been up

Why that way: ten thousand processes do not fit on a machine, and no run could be repeated. What virtual time leaves
out (connections, which run out as well, and retries on several levels) makes storms worse, not better.

One run alone, five seconds by five seconds:
`python -m tests.benchmarks.overload --kind metastable --clients 100 --strategy urllib3`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import product
from multiprocessing import get_context
from typing import NamedTuple, TypeAlias

from urllib3 import HTTPResponse, Retry

from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Flow, Policy, Proceed, Sleep
from polvo_adapters.policies.stack import standard
from polvo_adapters.testing.simulation.overload import (
    OverloadedServer,
    OverloadResult,
    Phase,
    draw_calls,
    plan_outage,
    run,
)
from polvo_adapters.testing.simulation.simulation import Timeline

LOAD = 0.7
"""What calls make of the capacity of the server."""
_SERVICE = 0.1  # seconds of work in a request
_SHORT_QUEUE, _LONG_QUEUE = 0.5, 10.0  # seconds of work
_BAR = "≤ 1.1 per call, ≤ 1 s later"


class Setting(NamedTuple):
    """An outage, and who calls.

    Attributes:
        kind: What happens to the server, one of the `KINDS`.
        clients: How many there are.
        rate: Calls per second, of all clients together.
        begin: When the outage begins, in seconds.
        back: When the server is as before.
        end: How long the run is judged.
        seed: Seed of everything.
    """

    kind: str = "metastable"
    clients: int = 100
    rate: float = 700.0
    begin: float = 30.0
    back: float = 80.0
    end: float = 170.0
    seed: int = 0


class Overload(NamedTuple):
    """What came out of one run.

    Attributes:
        name: Population, kind of outage and strategy.
        amplification: Requests that reached the server during the outage, per call that began in it.
        peak: The most requests in a second from the beginning of the outage on, per call of a usual second.
        served: The part of the calls served that began during the outage.
        served_after: The part of those that began afterwards.
        held: The part of the calls of the outage of which nothing was sent.
        seconds_to_fail: How long a call of the outage took that failed, on average.
        recovery: Seconds from the end of the outage until all was well for good; infinity where it never was.
        later: How much that is more than without any policy.
        bar: The promise, or an empty string.
    """

    name: str
    amplification: float
    peak: float
    served: float
    served_after: float
    held: float
    seconds_to_fail: float
    recovery: float
    later: float
    bar: str = ""


Work: TypeAlias = tuple[Setting, str]

POPULATIONS = {
    **{f"{clients:,}": Setting(clients=clients) for clients in (1, 10, 100, 1000)},
    "10,000": Setting(clients=10_000, rate=2500.0),  # a call every four seconds from each
}
_QUICK = {"4": Setting(clients=4, rate=70.0, begin=3.0, back=6.0, end=12.0)}

KINDS: dict[str, Callable[[Setting], Sequence[Phase]]] = {
    "down": lambda setting: plan_outage("down", setting.begin, setting.back),
    "hang": lambda setting: plan_outage("hang", setting.begin, setting.back),
    "slow": lambda setting: plan_outage("slow", setting.begin, setting.back),
    "metastable": lambda setting: plan_outage("slow", setting.begin, setting.back),
}


@dataclass(frozen=True)
class Again:
    """Sends a call again after each failure, whatever it is, until there are no waits left.

    Args:
        waits: Bounds of the wait before each retry.
    """

    waits: Sequence[tuple[float, float]]

    def flow(self, call: Call, proceed: Proceed) -> Flow:
        outcome = yield from proceed(call)
        for low, high in self.waits:
            if outcome.failure is None and outcome.status < 400:
                break
            yield Sleep(low, high, "failure")
            outcome = yield from proceed(call)
        return outcome


def urllib3_waits(retry: Retry, retries: int = 3) -> list[tuple[float, float]]:
    """Ask urllib3 how long it would wait before each of its retries."""
    waits = []
    for _ in range(retries):
        retry = retry.increment("GET", "/", response=HTTPResponse(status=503))
        waits.append((retry.get_backoff_time(),) * 2)
    return waits


def tenacity_waits(attempts: int = 5, multiplier: float = 1.0, longest: float = 60.0) -> list[tuple[float, float]]:
    """Return the waits of tenacity's `wait_random_exponential(multiplier, max)` between that many attempts."""
    return [(0.0, min(longest, multiplier * 2.0**retry)) for retry in range(attempts - 1)]


BREAKER = {"recovery_timeout": 0.4, "multiplier": 1.0, "probe_timeout": 0.4}
"""A probe every 0.4 s, also while another hangs."""
STRATEGIES: dict[str, Callable[[], Sequence[Policy]]] = {
    "none": list,
    "urllib3": lambda: [Again(urllib3_waits(Retry(3, backoff_factor=0.5, status_forcelist=[500, 502, 503, 504])))],
    "tenacity": lambda: [Again(tenacity_waits())],
    "defaults": lambda: standard(circuit_breaker=True),
    "ours": lambda: standard(circuit_breaker=BREAKER),
}
"""What every client mounts; "ours" is set for a quick return."""
_FORGETFUL = ("none", "urllib3", "tenacity")


def server(setting: Setting) -> OverloadedServer:
    """Make the server of a setting."""
    capacity = setting.rate / LOAD
    queue = capacity * (_LONG_QUEUE if setting.kind == "metastable" else _SHORT_QUEUE)
    workers = round(capacity * _SERVICE)
    return OverloadedServer(Timeline(setting.seed), workers, _SERVICE, round(queue), plan=KINDS[setting.kind](setting))


def simulate(setting: Setting, strategy: str) -> OverloadResult:
    """Let the clients of a setting follow a strategy."""
    policies = STRATEGIES[strategy]()
    calls = draw_calls(setting.rate, setting.clients, setting.seed)
    return run(server(setting), calls, policies, setting.end)


def overloads(*, quick: bool = False) -> list[Overload]:
    """Measure all strategies in all populations and kinds of outages."""
    wanted = [
        (name, setting._replace(kind=kind), strategy)
        for (name, setting), kind, strategy in product((_QUICK if quick else POPULATIONS).items(), KINDS, STRATEGIES)
    ]
    works = list(dict.fromkeys(_work(setting, strategy) for _, setting, strategy in wanted))
    if quick:
        rows = [_measure(work) for work in works]
    else:
        # Virtual time does not mind who else is busy.
        with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
            rows = list(pool.map(_measure, works))
    measured = dict(zip(works, rows, strict=True))
    return [_row(name, setting, strategy, measured) for name, setting, strategy in wanted]


def _work(setting: Setting, strategy: str) -> Work:
    """Return the run that tells: who keeps nothing in a store does the same however many they are."""
    return (setting._replace(clients=1) if strategy in _FORGETFUL else setting), strategy


def _row(name: str, setting: Setting, strategy: str, measured: Mapping[Work, Overload]) -> Overload:
    row, own = measured[_work(setting, strategy)], measured[_work(setting, "none")]
    later = 0.0 if row.recovery == own.recovery else row.recovery - own.recovery  # where none ever recovers, too
    return row._replace(name=f"{name}, {setting.kind}: {strategy}", later=later)


def _measure(work: Work) -> Overload:
    setting, strategy = work
    result = simulate(setting, strategy)
    trouble, after = result.over(setting.begin, setting.back), result.over(setting.back, setting.end)
    return Overload(
        strategy,
        trouble.amplification,
        _peak(result, setting),
        trouble.served_part,
        after.served_part,
        trouble.held_part,
        trouble.seconds_to_fail,
        result.recovery(setting.begin, setting.back),
        0.0,
        _BAR if strategy == "ours" else "",
    )


def _peak(result: OverloadResult, setting: Setting) -> float:
    seconds = range(int(setting.begin), int(setting.end))
    return max(result.over(second, second + 1).requests for second in seconds) / setting.rate


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the one run that the command line asks for, and tell of every five seconds."""
    options = vars(_parse_arguments(arguments))
    strategy = options.pop("strategy")
    setting = Setting(**{name: value for name, value in options.items() if value is not None})
    result = simulate(setting, strategy)
    print("   from   calls  requests  per call  served   held  useful  wasted")
    for begin in range(0, int(setting.end), 5):
        print(_line(f"{begin:7}", result, begin, begin + 5))
    print(_line(" outage", result, setting.begin, setting.back), setting.kind, strategy)
    print(f"all is well {result.recovery(setting.begin, setting.back):.1f} s after it")
    return 0


def _line(name: str, result: OverloadResult, begin: float, end: float) -> str:
    told = result.over(begin, end)
    return (
        f"{name}{told.calls:8}{told.requests:10}{told.amplification:10.2f}{told.served_part:8.1%}{told.held_part:7.1%}"
        f"{told.useful:8}{told.wasted:8}"
    )


def _parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.overload", description="One run of one strategy.")
    parser.add_argument("--kind", choices=KINDS, help="what happens to the server")
    parser.add_argument("--strategy", choices=STRATEGIES, default="ours", help="what the clients do about it")
    for name in ("clients", "seed"):
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("--rate", type=float, help="calls per second, of all clients together")
    for name in ("begin", "back", "end"):
        parser.add_argument(f"--{name}", type=float, help="seconds")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
