"""Fixtures with the stand-ins of services."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from polvo_adapters.services import double_o
from tests.support.double_o_server import DoubleOServer


@pytest.fixture
def double_o_server() -> Iterator[DoubleOServer]:
    """Return a stand-in for Double-O; the environment and the cache are afterwards as if nothing had been."""
    before = dict(os.environ)
    double_o.invalidate_cache()
    with DoubleOServer() as server:
        yield server
    double_o.invalidate_cache()
    for name in set(os.environ) - set(before):
        del os.environ[name]
    os.environ.update(before)
