"""What the library itself costs per call, in microseconds, without any network.

What: `ResilientAdapter(inner=noop).send(prepared, ...)` minus `noop.send(prepared, ...)`, for several stacks; and
the same through a whole `requests.Session.get`, as difference and ratio. Bar: 10 µs for the standard stack.

How: `noop` is a transport adapter that hands out responses whose body was already read. They are made before the
clock starts, a new one for every call, because what the library does to a response (its class, its report) is
done to every real response once. Both sides get the keywords that `Session.send` gives.

Why that way: next to a network these microseconds cannot be seen, see `loopback` for that; alone they can be
compared from one change to the next.
"""

from __future__ import annotations

from typing import Any

import requests
from requests.adapters import BaseAdapter

from polvo_adapters import PolicyAdapter, ResilientAdapter, RetryAdapter
from tests.benchmarks.measure import Result, Variant, compare

URL = "http://api.example.com/items?page=2"
BAR = "≤ 10 µs more"
_KEYWORDS: dict[str, Any] = {"stream": False, "timeout": 30.0, "verify": True, "cert": None, "proxies": {}}


class NoOpAdapter(BaseAdapter):
    """Hands out responses that were made before."""

    def __init__(self) -> None:
        super().__init__()
        self._responses: list[requests.Response] = []
        self._request = requests.Request("GET", URL).prepare()

    def fill(self, count: int) -> None:
        """Make the responses of the next calls."""
        self._responses = [self._response() for _ in range(count)]

    def send(self, *_args: Any, **_keywords: Any) -> requests.Response:
        """Hand out the next response."""
        return self._responses.pop()

    def close(self) -> None:
        """Drop what was not handed out."""
        self._responses.clear()

    def _response(self) -> requests.Response:
        response = requests.Response()
        response.status_code = 200
        response.url = URL
        response.request = self._request
        response.headers["Content-Type"] = "application/json"
        response._content = b"{}"
        response._content_consumed = True
        return response


def adapter_level(*, quick: bool = False) -> list[Result]:
    """Measure `send` of the adapters, called directly."""
    prepared = requests.Request("GET", URL).prepare()

    def sending(name: str, adapter: BaseAdapter, noop: NoOpAdapter, bar: str = "") -> Variant:
        send = adapter.send
        return Variant(name, lambda: send(prepared, **_KEYWORDS), noop.fill, bar)

    noop = NoOpAdapter()
    variants = [
        sending("no-op adapter", noop, noop),
        sending("+ no policies", PolicyAdapter(inner=noop), noop),
        sending("+ retry only, no budget", RetryAdapter(budget=None, inner=noop), noop),
        sending("+ retry only", RetryAdapter(inner=noop), noop),
        sending("+ standard stack", ResilientAdapter(inner=noop), noop, BAR),
        sending("+ standard stack, deadline", ResilientAdapter(deadline=30, inner=noop), noop),
    ]
    return compare(variants, rounds=10 if quick else 300, batch=50 if quick else 200)


def session_level(*, quick: bool = False) -> list[Result]:
    """Measure `Session.get` with and without the library mounted."""
    noop = NoOpAdapter()

    def getting(name: str, adapter: BaseAdapter, bar: str = "") -> Variant:
        session = requests.Session()
        session.mount("http://", adapter)
        return Variant(name, lambda: session.get(URL), noop.fill, bar)

    variants = [
        getting("Session.get, no-op adapter", noop),
        getting("Session.get + standard stack", ResilientAdapter(inner=noop), BAR),
        getting("Session.get + standard stack, deadline", ResilientAdapter(deadline=30, inner=noop)),
    ]
    return compare(variants, rounds=5 if quick else 200, batch=20 if quick else 50)
