"""What an idempotency key costs, and that it holds: a worker that is killed 50 times does each operation once.

What: `ResilientAdapter.send` of a new POST over a no-op adapter, with keys minus without. Bar: 5 µs. Then 10,000
operations, 8 threads, a server that loses one answer in five after doing the work, 50 times kill -9: once at a server
that honours keys, once at one that does not, where the record alone must keep the worker from doing anything twice.

How: the requests are prepared before the clock starts, a new one for each call, as a request that has a key is not
given another one. For the kills see `tests.support.killed_keys`; the server counts how often each operation was done.

Why that way: next to a network a key costs nothing that could be seen. The kills come when a fiftieth of the work was
done since the last one, and up to 10 ms later, so that they meet all moments of a call.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import requests

from polvo_adapters import ResilientAdapter
from polvo_adapters.stores.sqlite import SQLiteStore
from tests.benchmarks.measure import Variant, compare
from tests.benchmarks.overhead import _KEYWORDS, URL, NoOpAdapter
from tests.benchmarks.tokens import Figure
from tests.support.killed_keys import run


def idempotency(*, quick: bool = False) -> list[Figure]:
    """Measure the cost of keys, and count what is done in spite of kills."""
    return [*_costs(quick=quick), *_kills(honours=True, quick=quick), *_kills(honours=False, quick=quick)]


def _costs(*, quick: bool) -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        store = SQLiteStore(Path(folder) / "state.db", max_keys=100_000)
        settings: dict[str, tuple[dict[str, Any], str]] = {
            "without": ({}, ""),
            "a unique key": ({"idempotency": True}, "≤ 5 µs more"),
            "a hash of a short body": ({"idempotency": "hash"}, ""),
            "a request id": ({"request_id": True}, ""),
            "a unique key and a record in memory": ({"idempotency": {"record": True}}, ""),
            "a unique key and a record in a file": ({"idempotency": {"record": True}, "store": store}, ""),
        }
        variants = [_variant(name, keywords, bar) for name, (keywords, bar) in settings.items()]
        results = compare(variants, rounds=5 if quick else 100, batch=20 if quick else 100)
        store.close()
    return [
        Figure(
            result.name, result.extra.median * 1e6, "µs more", f"{result.seconds.median * 1e6:.1f} in all", result.bar
        )
        for result in results[1:]
    ]


def _variant(name: str, keywords: dict[str, Any], bar: str) -> Variant:
    noop, prepared = NoOpAdapter(), list[requests.PreparedRequest]()
    adapter = ResilientAdapter(inner=noop, **keywords)

    def fill(count: int) -> None:
        noop.fill(count)
        prepared[:] = [requests.Request("POST", URL, data=b'{"amount": 1}').prepare() for _ in range(count)]

    return Variant(name, lambda: adapter.send(prepared.pop(), **_KEYWORDS), fill, bar)


def _kills(*, honours: bool, quick: bool) -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        told = run(Path(folder), 60 if quick else 10_000, 2 if quick else 50, honours=honours)
    where = "keys honoured" if honours else "keys unknown"
    spent = f"{told.operations} operations, {told.kills} kills, {told.sent} requests, {told.seconds:.0f} s"
    return [
        Figure(f"{where}: lost", told.lost, "operations", spent, "0"),
        Figure(f"{where}: done twice", told.repeated, "operations", spent, "0"),
        Figure(f"{where}: end not known", told.unknown, "operations", spent, "0"),
    ]
