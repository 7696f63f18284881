"""What the client of a service costs over the session that it uses, over loopback.

What: one call of Taruvi's client, `settings.get()`, and the same GET by a `polvo_adapters.Session` with the same
policies and the JSON read. Bar: 1.2 times as long.

How: a stand-in of the service in another process; batches in random order, ratios within a round; see `measure`.

Why that way: what the client adds is Python alone, so that the comparison needs no network; and the session is what a
user would write without the client.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from polvo_adapters import Session
from polvo_adapters.policies.retry import ExponentialBackoff
from polvo_adapters.services import taruvi
from tests.benchmarks.measure import Result, Variant, compare

BAR = "≤ 20 % more"
_SERVE = """
from tests.support.taruvi_server import TaruviServer
with TaruviServer() as server:
    server.keep = False
    print(server.url, flush=True)
    input()
"""


@contextmanager
def stand_in() -> Iterator[str]:
    """Run the stand-in of Taruvi in another process, and tell its URL."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", _SERVE], text=True, **pipes) as process:  # type: ignore[call-overload]
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def services(*, quick: bool = False) -> list[Result]:
    """Measure the calls of both."""
    with stand_in() as url, ExitStack() as stack:
        retry = ExponentialBackoff(max_attempts=4, base=1.0)
        session = stack.enter_context(Session(retry=retry, bulkhead=10, circuit_breaker=None, timeout=30, deadline=128))
        client = stack.enter_context(taruvi.Client(url, "app", env_file=None).auth.signInWithToken("token"))
        path = f"{url}/api/settings/metadata/"
        fields = {"Authorization": "Bearer token", "Accept": "application/json"}
        variants = [
            Variant("polvo_adapters.Session.get().json()", lambda: session.get(path, headers=fields).json()),
            Variant("the same again (noise)", lambda: session.get(path, headers=fields).json()),
            Variant("taruvi: client.settings.get()", client.settings.get, bar=BAR),
        ]
        return compare(variants, rounds=3 if quick else 200, batch=5 if quick else 20)
