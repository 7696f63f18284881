"""Fixtures that every test may use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from polvo_adapters.testing import FailureServer
from polvo_adapters.testing.virtual_clock import VirtualClock

pytest_plugins = ["tests.support.oauth.fixtures"]

# A slow machine is no defect of the code.
settings.register_profile("polvo", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("polvo")


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def server() -> Iterator[FailureServer]:
    with FailureServer() as server:
        yield server
