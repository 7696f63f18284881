"""The stand-in of EZThrottle."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.ezthrottle_server import EZThrottleServer


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[EZThrottleServer]:
    """Return a stand-in for the service and for the APIs that jobs call."""
    monkeypatch.delenv("EZTHROTTLE_API_KEY", raising=False)
    with EZThrottleServer() as running:
        yield running
