"""Measures everything and prints it: `python -m tests.benchmarks [--quick] [--json FILE] [--only SECTION]`.

What is measured, how, and why that way: see the modules `overhead`, `transports`, `loopback`, `imports`, `admission`,
`gates`, `headers`, `pacing`, `crowd`, `cancellations`, `concurrency`, `deadlines`, `hedging`, `idempotency`,
`identities`, `jobs`, `lag`, `overload`, `secrets`, `services`, `tokens` and `twins`, and `measure` for what they share.
A run takes about two minutes; `--quick` takes seconds and shows only that everything works. `crowd` takes half an hour,
`pacing` a quarter, and some others take minutes; they run only where they are asked for, or quickly.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from tests.benchmarks.admission import turns
from tests.benchmarks.cancellations import cancellations
from tests.benchmarks.concurrency import Limiting, concurrencies
from tests.benchmarks.crowd import Crowding, crowds
from tests.benchmarks.deadlines import deadlines
from tests.benchmarks.gates import gates
from tests.benchmarks.headers import Hostility, hostile, reading
from tests.benchmarks.hedging import Hedging, hedges
from tests.benchmarks.idempotency import idempotency
from tests.benchmarks.identities import identities
from tests.benchmarks.imports import ImportCost, import_costs
from tests.benchmarks.jobs import jobs
from tests.benchmarks.lag import lags
from tests.benchmarks.loopback import over_loopback
from tests.benchmarks.measure import Result, Spread
from tests.benchmarks.overhead import adapter_level, session_level
from tests.benchmarks.overload import Overload, overloads
from tests.benchmarks.pacing import Pace, paces
from tests.benchmarks.secrets import secrets
from tests.benchmarks.services import services
from tests.benchmarks.tokens import Figure, tokens
from tests.benchmarks.transports import transports
from tests.benchmarks.twins import async_sessions, both_kinds

_PACKAGES = ("polvo_adapters", "requests", "urllib3", "httpx", "tenacity", "stamina")
_SECTIONS: dict[str, tuple[str, Callable[..., list[Any]]]] = {
    "adapter": ("The stack alone: adapter.send over a no-op adapter", adapter_level),
    "session": ("The stack in a session: Session.get over a no-op adapter", session_level),
    "transports": ("The stack under httpx: Client.get over a no-op transport", transports),
    "loopback": ("HTTP over loopback: one kept-alive connection each, server in another process", over_loopback),
    "async": ("An asynchronous session over loopback: one kept-alive connection each", async_sessions),
    "both": ("Both kinds of session: threads and tasks of one process on one quota", both_kinds),
    "identities": ("Identities: who makes a request, and what may select its answer", identities),
    "imports": ("Imports: fresh interpreters, on top of import requests", import_costs),
    "admission": ("A turn: asking a rate limit, and telling it what came of the request", turns),
    "gates": ("Gates: circuit breaker and bulkhead, asked and told", gates),
    "headers": ("Reading quotas: a response with twelve ordinary headers and some that announce quotas", reading),
    "hostile": ("Hostile headers: what no server should send", hostile),
    "pacing": ("Pacing: a quota that the clients were not told", paces),
    "crowd": ("Crowds: clients that share a quota and nothing else, in virtual time", crowds),
    "cancellations": ("Cancellations: 1,000 tasks over one transport, a third of them cancelled", cancellations),
    "concurrency": ("Adaptive concurrency: what a server can do, and how much longer it takes for it", concurrencies),
    "deadlines": ("Deadlines: calls with a deadline of 1 s that would never end", deadlines),
    "hedging": ("Hedging: one answer in a hundred takes a hundred times as long", hedges),
    "idempotency": ("Idempotency: what a key costs, and a worker that is killed again and again", idempotency),
    "jobs": ("Jobs: the local engine of EZThrottle, through kills", jobs),
    "lag": ("Event loops: how late a task runs while 100 others make calls", lags),
    "overload": ("Overload: a server that falls short for a while, in virtual time", overloads),
    "secrets": ("Secrets: one that is held, and one that 64 threads want at once", secrets),
    "services": ("Services: a client over the session that it uses, over loopback", services),
    "tokens": ("Tokens: shared by processes, refreshed in the background, and kept through kills", tokens),
}
_LONG = (
    "both",
    "cancellations",
    "concurrency",
    "crowd",
    "deadlines",
    "hedging",
    "hostile",
    "idempotency",
    "jobs",
    "lag",
    "overload",
    "pacing",
    "tokens",
)
_NARROWEST = 140  # columns that the widest table needs, also where the output is not a terminal


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks that the command line asks for.

    Args:
        arguments: The command line without the program name; that of the process by default.

    Returns:
        The exit code, 0.
    """
    options = _parse_arguments(arguments)
    console, document = _console(), dict[str, Any](_environment())
    console.print(", ".join(f"{name} {value}" for name, value in document.items()))
    usual = [name for name in _SECTIONS if options.quick or name not in _LONG]
    for section in options.only or usual:
        title, measure = _SECTIONS[section]
        results = measure(quick=options.quick)
        console.print(_TABLES.get(section, _call_table)(title, results))
        document[section] = [_plain(result) for result in results]
    if options.json is not None:
        options.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return 0


def _parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description="What the library costs.")
    parser.add_argument("--quick", action="store_true", help="a short run, for a first look")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there, in seconds")
    parser.add_argument("--only", action="append", choices=_SECTIONS, help="this section, may be repeated")
    return parser.parse_args(arguments)


def _console() -> Console:
    return Console(width=max(_NARROWEST, Console().width))


def _environment() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}}


def _call_table(title: str, results: Sequence[Result]) -> Table:
    table = _table(title, "µs per call", "µs more", "ratio", "bar")
    for index, result in enumerate(results):
        differs = index > 0
        table.add_row(
            result.name,
            _text(result.seconds.scaled(1e6), 1),
            _text(result.extra.scaled(1e6), 1) if differs else "",
            _text(result.ratio, 3) if differs else "1",
            result.bar,
        )
    return table


def _import_table(title: str, results: Sequence[ImportCost]) -> Table:
    table = _table(title, "ms", "least ms", "bar")
    for result in results:
        table.add_row(result.name, _text(result.seconds.scaled(1e3), 1), f"{result.least * 1e3:.1f}", result.bar)
    return table


def _pacing_table(title: str, results: Sequence[Pace]) -> Table:
    columns = ("accepted", "of greedy", "quota used", "rejected", "later", "share", "bar")
    table = _table(title, *columns, caption="over whole windows; later: after the first; share: least and most")
    for result in results:
        table.add_row(
            result.name,
            str(result.accepted),
            "" if result.of_greedy is None else f"{result.of_greedy:.3f}",
            f"{result.used:.1%}",
            f"{result.rejected} = {result.rejected_part:.1%}",
            str(result.rejected_later),
            f"{result.least:.2f} to {result.most:.2f}",
            result.bar,
        )
    return table


def _crowd_table(title: str, results: Sequence[Crowding]) -> Table:
    columns = ("quota used", "rejected", "deviation", "share", "peak", "bar")
    caption = "from the fifth window on, or in the three after an event; peak: of the requests in a tenth of a second"
    table = _table(title, *columns, caption=caption)
    for result in results:
        table.add_row(
            result.name,
            f"{result.goodput:.1%}",
            f"{result.rejected} = {result.rejected_part:.1%}",
            f"{result.variation:.2f}",
            f"{result.least:.2f} to {result.most:.2f}",
            f"{result.peak:.1f}",
            result.bar,
        )
    return table


def _concurrency_table(title: str, results: Sequence[Limiting]) -> Table:
    columns = ("throughput", "99th percentile", "refused", "settled", "share", "bar")
    caption = "of the best throughput; times that without load; settled: after how many round trips"
    table = _table(title, *columns, caption=caption)
    for result in results:
        table.add_row(
            result.name,
            f"{result.throughput:.1%}",
            f"{result.latency:.2f}",
            f"{result.refused:.1%}",
            "never" if result.settled is None else str(result.settled),
            f"{result.least:.2f} to {result.most:.2f}",
            result.bar,
        )
    return table


def _hedging_table(title: str, results: Sequence[Hedging]) -> Table:
    caption = "99th percentile as a multiple of the median, and requests per call; the worst of three seeds"
    table = _table(title, "without", "with", "requests", "bar", caption=caption)
    for result in results:
        numbers = (f"{result.before:.1f}", f"{result.after:.2f}", f"{result.requests:.4f}")
        table.add_row(result.name, *numbers, result.bar)
    return table


def _overload_table(title: str, results: Sequence[Overload]) -> Table:
    columns = ("requests per call", "peak", "served", "afterwards", "held back", "to fail", "recovery", "later", "bar")
    caption = (
        "during the outage, if not said otherwise; peak: of a second, per call of a usual second; later: than alone"
    )
    table = _table(title, *columns, caption=caption)
    for result in results:
        table.add_row(
            result.name,
            f"{result.amplification:.2f}",
            f"{result.peak:.1f}",
            f"{result.served:.1%}",
            f"{result.served_after:.1%}",
            f"{result.held:.1%}",
            f"{result.seconds_to_fail:.2f} s",
            f"{result.recovery:.1f} s",
            f"{result.later:.1f} s",
            result.bar,
        )
    return table


def _hostile_table(title: str, results: Sequence[Hostility]) -> Table:
    table = _table(title, "sets", "quotas", "exceptions", "MB more", "bar", caption="MB more: peak of resident memory")
    for result in results:
        megabytes = f"{result.growth / 1e6:.1f}"
        table.add_row(result.name, str(result.sets), str(result.quotas), str(result.exceptions), megabytes, result.bar)
    return table


def _token_table(title: str, results: Sequence[Figure]) -> Table:
    table = _table(title, "figure", "", "", "bar", caption="one run, against a real authorization server")
    for result in results:
        table.add_row(result.name, f"{result.value:.3g}", result.unit, result.more, result.bar)
    return table


def _secret_table(title: str, results: Sequence[Figure]) -> Table:
    table = _table(title, "figure", "", "", "bar")
    for result in results:
        table.add_row(result.name, f"{result.value:.3g}", result.unit, result.more, result.bar)
    return table


_TABLES: dict[str, Callable[..., Table]] = {
    "imports": _import_table,
    "concurrency": _concurrency_table,
    "crowd": _crowd_table,
    "hedging": _hedging_table,
    "hostile": _hostile_table,
    "overload": _overload_table,
    "pacing": _pacing_table,
    "both": _pacing_table,
    "tokens": _token_table,
    "secrets": _secret_table,
    "idempotency": _secret_table,
    "jobs": _secret_table,
    "deadlines": _secret_table,
    "cancellations": _secret_table,
    "lag": _secret_table,
}


def _table(title: str, *columns: str, caption: str = "median \\[quartiles]") -> Table:
    table = Table(title=title, title_justify="left", caption=caption, caption_justify="left")
    table.add_column("", no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _text(value: Spread, digits: int) -> str:
    return f"{value.median:.{digits}f} \\[{value.low:.{digits}f}, {value.high:.{digits}f}]"


def _plain(result: NamedTuple) -> dict[str, Any]:
    return {name: value._asdict() if isinstance(value, Spread) else value for name, value in result._asdict().items()}
