"""What a call costs over real HTTP on loopback, as ratio to bare `requests`.

What: GETs of a small JSON over one kept-alive connection per variant: a bare session, the same with the standard
stack mounted, other ways to get retries, and httpx with and without the library. Bar: 3 % over bare `requests`.

How: `polvo_adapters.testing.server` runs in a process of its own, so that it shares no interpreter lock
with the client. Small batches in random order, ratios within a round; see `measure`. One variant is a second bare
session: how far its ratio is from 1 tells how far the other ratios can be trusted. Another has the timeout that the
library sets by default: with one, the interpreter polls the socket before each read and write.

Why that way: loopback is the hardest case. Every real network is slower, and makes the ratio smaller. The server writes
this reply in one piece: work of the client between the arrival of the headers and that of the body would be hidden
by the wait for the body. Retries wrapped around a call see exceptions only, so that those variants call
`raise_for_status`, as code that is written like that must.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import httpx
import requests
import stamina
import tenacity
from requests.adapters import BaseAdapter, HTTPAdapter
from urllib3.util import Retry

from polvo_adapters import ResilientAdapter
from polvo_adapters.policies.retry import ExponentialBackoff
from polvo_adapters.transports import PolicyTransport
from tests.benchmarks.measure import Result, Variant, compare

BAR = "≤ 3 % more"
_STATUSES = (429, 500, 502, 503, 504)


@contextmanager
def server_process() -> Iterator[str]:
    """Run the failure server in another process, and tell its URL."""
    command = [sys.executable, "-m", "polvo_adapters.testing.server", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            if not url:
                raise RuntimeError("the server did not start")
            yield url
        finally:
            process.terminate()


def over_loopback(*, quick: bool = False) -> list[Result]:
    """Measure all variants against one server."""
    with server_process() as base, ExitStack() as stack:
        variants = _variants(f"{base}/echo", stack)
        return compare(variants, rounds=5 if quick else 400, batch=5 if quick else 20)


def _variants(url: str, stack: ExitStack) -> list[Variant]:
    def session(adapter: BaseAdapter | None = None) -> requests.Session:
        made = stack.enter_context(requests.Session())
        if adapter is not None:
            made.mount("http://", adapter)
        return made

    def getting(name: str, client: Any, bar: str = "") -> Variant:
        return Variant(name, lambda: client.get(url), bar=bar)

    transport = PolicyTransport(ExponentialBackoff())
    return [
        getting("requests.Session", session()),
        getting("requests.Session again (noise)", session()),
        Variant("requests.Session, timeout=30", partial(session().get, url, timeout=30)),
        getting("requests + ResilientAdapter()", session(ResilientAdapter()), BAR),
        getting("requests + ResilientAdapter(deadline=30)", session(ResilientAdapter(deadline=30))),
        Variant("requests + tenacity", _with_tenacity(session(), url)),
        Variant("requests + stamina", _with_stamina(session(), url)),
        getting("requests + urllib3 Retry", session(HTTPAdapter(max_retries=_urllib3_retry()))),
        getting("httpx.Client", stack.enter_context(httpx.Client())),
        getting("httpx.Client + PolicyTransport", stack.enter_context(httpx.Client(transport=transport))),
    ]


def _with_tenacity(session: requests.Session, url: str) -> Any:
    @tenacity.retry(
        retry=tenacity.retry_if_exception_type(requests.RequestException),
        stop=tenacity.stop_after_attempt(3),
        wait=tenacity.wait_random_exponential(multiplier=0.5, max=30),
        reraise=True,
    )
    def call() -> None:
        session.get(url).raise_for_status()

    return call


def _with_stamina(session: requests.Session, url: str) -> Any:
    @stamina.retry(on=requests.RequestException, attempts=3)
    def call() -> None:
        session.get(url).raise_for_status()

    return call


def _urllib3_retry() -> Retry:
    return Retry(total=2, backoff_factor=0.5, status_forcelist=_STATUSES, raise_on_status=False)
