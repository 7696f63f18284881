"""What the tests beside other libraries share: a server that fails on request, a session, and quick retries."""

from __future__ import annotations

import itertools

import pytest
import requests

from polvo_adapters.testing import FailureServer

QUICK = {"base": 0.01}
"""Keywords of the retry policy that keep the waits of a test short."""


@pytest.fixture
def server():
    with FailureServer() as running:
        yield running


@pytest.fixture
def session():
    with requests.Session() as opened:
        opened.trust_env = False
        yield opened


@pytest.fixture
def quick():
    """Return the keyword that `install` and ResilientAdapter need to retry without long waits."""
    return {"retry": QUICK}


@pytest.fixture
def failing(server):
    """Return a function that makes a URL which fails as asked, once by default, and then echoes."""
    keys = itertools.count()

    def url(fault="status", times=1, **parameters):
        query = {"times": times, "key": f"k{next(keys)}", **parameters}
        return requests.Request("GET", f"{server.url}/fault/{fault}", params=query).prepare().url

    return url


@pytest.fixture
def received(server):
    """Return a function that tells how many requests have reached the server."""
    return lambda: server.counters["received"]


@pytest.fixture
def statuses():
    """Return a function that lists what the attempts for a response, or an exception, came to."""
    return lambda answer: [attempt.status or attempt.failure for attempt in answer.polvo.attempts]
