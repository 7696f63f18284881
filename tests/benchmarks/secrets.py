"""Secrets: what a cached one costs, and how often a cold one is fetched.

What: (a) microseconds of `Secret.get()` while the value is held. Bar: 2. (b) Microseconds to put it on a request as a
bearer token, and a token that does not change. (c) How often 64 threads that use a cold secret at the same moment make
it be fetched. Bar: once.

How: (a) and (b) as everything else here, in rounds, against a function that returns a constant. (c) a provider that
takes 20 ms and counts, and 64 threads behind a barrier.

Why that way: a secret is asked for on every request, so that what it costs while nothing happens is what counts; and a
vault whose clients all start at once must not be asked by each of their threads.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import requests

import polvo_adapters as polvo
from polvo_adapters.secrets import Secret
from tests.benchmarks.measure import Variant, compare
from tests.benchmarks.tokens import Figure

BAR = "≤ 2 µs"
_THREADS = 64


def secrets(*, quick: bool = False) -> list[Figure]:
    """Measure all of it."""
    return [*_held(quick), _cold(quick)]


def _held(quick: bool) -> list[Figure]:
    secret = Secret(lambda: "token-of-the-benchmark")
    secret.get()
    request = requests.Request("GET", "http://api.test/").prepare()
    fixed, fetched = polvo.auth.bearer("token-of-the-benchmark"), polvo.auth.bearer(secret)

    def put_on(auth: Any) -> None:
        auth(request)
        request.hooks["response"].clear()

    variants = [
        Variant("a function that returns a constant", lambda: "token"),
        Variant("Secret.get()", secret.get, bar=BAR),
        Variant("bearer(token) on a request", lambda: put_on(fixed)),
        Variant("bearer(Secret) on a request", lambda: put_on(fetched)),
    ]
    results = compare(variants, rounds=5 if quick else 60, batch=200 if quick else 5000)
    return [Figure(each.name, 1e6 * each.seconds.median, "µs", "", each.bar) for each in results]


def _cold(quick: bool) -> Figure:
    counts = []
    for _ in range(2 if quick else 20):
        fetches: list[int] = []
        secret = Secret(lambda fetches=fetches: fetches.append(1) or time.sleep(0.02) or "value")
        together = threading.Barrier(_THREADS)

        def use(secret: Secret = secret, together: threading.Barrier = together) -> None:
            together.wait()
            secret.get()

        threads = [threading.Thread(target=use) for _ in range(_THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        counts.append(len(fetches))
    return Figure("most fetches of one cold secret", max(counts), "fetches", f"{_THREADS} threads", "1")
