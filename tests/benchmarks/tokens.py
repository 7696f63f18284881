"""Tokens: refreshed by one of many, while none waits, at no cost to the others, and never lost.

What: (a) four processes of 16 threads each share a rotating refresh token, in a file or in SQLite, and all of them make
a request at the moment at which it has expired: how many are served, how often the token was refreshed, and how often
the server has refused one. (b) The 99th percentile of requests that are under way while a token is refreshed in the
background, over that of all others; the authorization server takes 50 ms. Bar: 1.5. (c) Microseconds to put a token
on a request. Bar: 3. (d) How often a process that was killed while it wrote left a file that cannot be read, or
without what it was told. Bar: never.

How: the server is oidc-provider, in a process of its own, which revokes everything when a refresh token is used twice.
Its clock is real; those of the clients are put forward, so that no run waits for an expiry. In (b) batches of requests
with and without a refresh take turns in random order, all in one process.

Why that way: what is to be proved in (a) and (d) is that something never happens, so the counts are the result. In (b)
the threads share one interpreter with the refresh, as in any program: what that takes from them counts.
"""

from __future__ import annotations

import random
import time
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import requests

from polvo_adapters.auth import OAuth2, TokenCache, bearer
from tests.benchmarks.measure import Variant, compare
from tests.support.killed_caches import rounds
from tests.support.oauth.servers import OIDCProvider
from tests.support.token_sharing import Crowd, Shifted, at_once, plain_session, settings_of, until

_STALE, _DEAD = 50.0, 100.0  # seconds into the life of a token of 60
_THREADS, _CALLS = 8, 10  # of a batch


class Figure(NamedTuple):
    """One thing that was found out.

    Attributes:
        name: For the table.
        value: The figure.
        unit: What it counts or measures.
        more: What else is worth knowing.
        bar: The promise, or an empty string.
    """

    name: str
    value: float
    unit: str
    more: str = ""
    bar: str = ""


def tokens(*, quick: bool = False) -> list[Figure]:
    """Measure all of it."""
    with OIDCProvider() as oidc:
        shared = [figure for kind in ("cache", "sqlite") for figure in _shared(oidc, kind, quick)]
        while_refreshed = _while_refreshed(oidc, 3 if quick else 150)
    return [*shared, while_refreshed, *_attached(quick), _killed(100 if quick else 1000)]


def _shared(oidc: OIDCProvider, kind: str, quick: bool) -> list[Figure]:
    """Have everybody come at once, again and again."""
    processes, threads, expiries = (2, 4, 2) if quick else (4, 16, 20)
    served = other = 0
    with TemporaryDirectory() as folder:
        settings = settings_of(oidc)
        with Crowd(oidc.api_url, kind, Path(folder, "tokens"), settings, processes, threads) as crowd:
            oidc.reset()
            for expiry in range(expiries):
                answers = crowd.round(_DEAD * expiry)
                served += answers[200]
                other += answers.total() - answers[200]
    counts = oidc.counts()
    name = f"{processes} processes x {threads} threads, {'file' if kind == 'cache' else 'SQLite'}"
    refused = f"{counts['refused']} refused by the server"
    return [
        Figure(f"{name}: refreshes", counts["token"] / expiries, "per expiry", f"{expiries} expiries, {refused}", "1"),
        Figure(f"{name}: served", served / (served + other), "of all", f"{served} of {served + other}", "1"),
    ]


def _while_refreshed(oidc: OIDCProvider, count: int) -> Figure:
    """Compare requests during a refresh with others."""
    oidc.reset()
    oidc.delay(0.05)
    clock, times = Shifted(), dict[bool, list[float]]({False: [], True: []})
    with TemporaryDirectory() as folder:
        cache = TokenCache(Path(folder, "tokens"), now=clock.wall, elapsed=clock.now)
        oauth = OAuth2(
            client_id="cc", client_secret="cc-secret", token_url=oidc.token_url, token_cache=cache, clock=clock
        )
        with plain_session(oauth) as session:
            at_once(_THREADS, lambda _: session.get(oidc.api_url).status_code)
            for refreshing in random.sample([False, True] * count, 2 * count):
                clock.ahead += _STALE if refreshing else 0.0
                for part in at_once(_THREADS, lambda _: _timed(session, oidc.api_url, oauth)):
                    for under_way, seconds in part:
                        times[under_way].append(seconds)
                until(lambda: not oauth._refreshing)
    with_refresh, without = (quantiles(times[which], n=100)[98] for which in (True, False))
    more = f"{1e3 * with_refresh:.1f} ms of {len(times[True])}, {1e3 * without:.1f} ms of {len(times[False])}"
    return Figure("99th percentile during a refresh, to that without", with_refresh / without, "ratio", more, "≤ 1.5")


def _timed(session: requests.Session, url: str, oauth: OAuth2) -> list[tuple[bool, float]]:
    """Make some requests; tell of each how long it took, and whether a refresh was under way."""
    times = []
    for _ in range(_CALLS):
        before, started = bool(oauth._refreshing), time.perf_counter()
        session.get(url).raise_for_status()
        times.append((before or bool(oauth._refreshing), time.perf_counter() - started))
    return times


class _Requests:
    """Requests that were prepared before, as each is authorized once."""

    def __init__(self) -> None:
        self._prepared = requests.Request("GET", "http://api.example.com/items?page=2").prepare()
        self._ready: list[requests.PreparedRequest] = []

    def fill(self, count: int) -> None:
        self._ready = [self._prepared.copy() for _ in range(count)]
        for request in self._ready:
            request.hooks = {"response": []}  # a copy shares them

    def authorize(self, auth: Any) -> None:
        auth(self._ready.pop())

    def take(self) -> None:
        self._ready.pop()


def _attached(quick: bool) -> list[Figure]:
    """Measure what every request pays."""
    ready, oauth, fixed = _Requests(), OAuth2(fetch=lambda _: "token", client_id="c"), bearer("token")
    oauth.token()
    variants = [
        Variant("nothing", ready.take, ready.fill),
        Variant("bearer on a request", lambda: ready.authorize(fixed), ready.fill),
        Variant("OAuth2 on a request", lambda: ready.authorize(oauth), ready.fill),
    ]
    results = compare(variants, rounds=10 if quick else 300, batch=50 if quick else 200)[1:]
    bars = ("", "≤ 3")
    return [
        Figure(result.name, 1e6 * result.extra.median, "µs", _quartiles(result.extra.scaled(1e6)), bar)
        for result, bar in zip(results, bars, strict=True)
    ]


def _quartiles(spread: Any) -> str:
    return f"{spread.low:.2f} to {spread.high:.2f}"


def _killed(count: int) -> Figure:
    """Kill writers, some in each of many directories."""
    lost, orphans, written, each = 0, 0, 0, 50
    for seed in range(count // each):
        with TemporaryDirectory() as folder:
            try:
                kills = rounds(each, Path(folder), seed)
            except AssertionError:
                lost += 1
            else:
                orphans, written = orphans + kills.orphans, written + kills.written
    more = f"{count} kills in {written} writes, {orphans} of them within a write"
    return Figure("unreadable, or without the last token", float(lost), "after a kill", more, "0")
