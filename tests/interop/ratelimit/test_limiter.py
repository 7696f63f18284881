"""The limiter on real servers, which it was told nothing about: three quotas' worth of calls, and no refusal.

Refusals are counted where nothing above can hide them: in what urllib3 logs of every exchange.
"""

from __future__ import annotations

import logging
import re
import time

import pytest

from polvo_adapters import adapters

EXCHANGE = re.compile(r'"GET .* HTTP/1\.1" (\d{3}) ')
PATHS = {
    "express": ("draft-6/10/1", "draft-7/10/1", "draft-8/10/1", "legacy/10/1", "both/10/1"),
    "flask_limiter": ("fixed/10/1", "moving/10/1"),
}


@pytest.fixture
def exchanges(caplog):
    """Return a function that lists when each exchange of this test took place, and with what status."""
    caplog.set_level(logging.DEBUG, logger="urllib3.connectionpool")

    def seen():
        found = [(record.created, EXCHANGE.search(record.getMessage())) for record in caplog.records]
        return [(created, int(match[1])) for created, match in found if match]

    return seen


@pytest.fixture
def limited(client):
    client.mount("http://", adapters.RateLimitAdapter())
    return client


@pytest.mark.parametrize(("server", "path"), [(server, path) for server, paths in PATHS.items() for path in paths])
def test_hardly_a_refusal_after_the_first_window(request, limited, exchanges, server, path):
    url = f"{request.getfixturevalue(server)}/{path}"
    started = time.monotonic()
    for _ in range(30):
        limited.get(url, timeout=10)
    seen = exchanges()
    first = seen[0][0]
    assert sum(status == 200 for _, status in seen) >= 20
    # A plain session is refused twenty times. Resets in whole seconds leave much to guess of windows one second long.
    assert sum(created >= first + 1.0 and status != 200 for created, status in seen) <= 2
    assert time.monotonic() - started < 60


@pytest.mark.parametrize("way", ["default", "bare", "told"])
def test_rate_is_found_where_the_server_says_nothing(nginx, limited, exchanges, way):
    for _ in range(100):
        limited.get(f"{nginx}/{way}", timeout=10)
    settled = [status for _, status in exchanges()][50:]
    assert settled.count(200) >= len(settled) * 0.9
