"""One process of clients that want as much as they can get: `python -m tests.benchmarks.pacing_client JSON`.

It sets up its session, says READY, and waits for a line with the moments to start and to stop, on the monotonic
clock: what it imports, and how long that takes, is not measured. Then every thread asks in a loop, with nothing
between two requests, and the strategy is all that slows it down. At the end it tells what its threads saw, and
leaves without waiting for those that are still being held back.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from importlib.util import find_spec
from threading import Thread
from typing import NamedTuple

import requests
from requests.adapters import BaseAdapter, HTTPAdapter
from urllib3.util import Retry

_AFTER_ERROR = 0.01  # seconds; a limiter that refuses at once must not keep its own process busy
_GRACE = 0.5  # seconds for the last answers


class Work(NamedTuple):
    """What one process is asked to do.

    Attributes:
        url: Where.
        client: The name under which the server records it.
        strategy: One of the `STRATEGIES`.
        processes: How many share the quota, for strategies that must be told.
        threads: How many ask at once in each of them.
        limit: Requests per window of the quota, for strategies that must be told.
        window: Seconds.
    """

    url: str
    client: str
    strategy: str
    processes: int
    threads: int
    limit: int
    window: float


def _greedy(work: Work) -> BaseAdapter:
    return HTTPAdapter(pool_maxsize=work.threads)


def _urllib3(work: Work) -> BaseAdapter:
    retry = Retry(total=1000, status_forcelist=[429], respect_retry_after_header=True, raise_on_status=False)
    return HTTPAdapter(pool_maxsize=work.threads, max_retries=retry)


def _told(work: Work) -> BaseAdapter:
    from requests_ratelimiter import LimiterAdapter

    # Its burst is a factor on both the second and the rate: so many per so many seconds.
    per_second = work.limit / work.processes / work.window
    return LimiterAdapter(per_second=per_second, burst=work.window, pool_maxsize=work.threads)


def _ours(_work: Work) -> BaseAdapter:
    from polvo_adapters import adapters

    adapter: BaseAdapter = adapters.RateLimitAdapter(timeout=30)
    return adapter


STRATEGIES: dict[str, Callable[[Work], BaseAdapter]] = {
    "greedy": _greedy,
    "urllib3 Retry": _urllib3,
    "requests-ratelimiter": _told,
    "ours": _ours,
}
"""What each mounts: nothing that waits, the Retry-After of a 429, the rate as it was told, or our limiter."""


def available() -> list[str]:
    """Return the names of the strategies that are installed here."""
    from polvo_adapters import adapters

    there = {
        "requests-ratelimiter": find_spec("requests_ratelimiter") is not None,
        "ours": hasattr(adapters, "RateLimitAdapter"),
    }
    return [name for name in STRATEGIES if there.get(name, True)]


def ask(work: Work, start: float, stop: float, session: requests.Session) -> Counter[str]:
    """Let all threads ask from one moment to another, and count what they saw."""
    seen: Counter[str] = Counter()

    def loop() -> None:
        time.sleep(max(0.0, start - time.monotonic()))
        while time.monotonic() < stop:
            seen[_outcome(session, work.url)] += 1

    threads = [Thread(target=loop, daemon=True) for _ in range(work.threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, stop + _GRACE - time.monotonic()))
    return seen


def _outcome(session: requests.Session, url: str) -> str:
    try:
        return str(session.get(url).status_code)
    except requests.RequestException as error:
        time.sleep(_AFTER_ERROR)
        return type(error).__name__


def _main() -> None:
    work = Work(**json.loads(sys.argv[1]))
    session = requests.Session()
    session.trust_env = False
    session.headers["X-Client"] = work.client
    session.mount("http://", STRATEGIES[work.strategy](work))
    print("READY", flush=True)
    start, stop = json.loads(sys.stdin.readline())
    print(json.dumps(ask(work, start, stop, session)), flush=True)
    os._exit(0)  # a thread that a limiter holds back may take minutes to notice


if __name__ == "__main__":
    _main()
