"""Fixtures with the stand-in of Taruvi."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.taruvi_server import TaruviServer


@pytest.fixture
def taruvi_server() -> Iterator[TaruviServer]:
    with TaruviServer() as server:
        yield server


@pytest.fixture(scope="session", autouse=True)
def one_tls_context() -> Iterator[None]:
    """Read the authorities once for all clients, which takes longer than a test."""
    with pytest.MonkeyPatch.context() as patch:
        try:
            import httpx
        except ImportError:
            pass
        else:
            make = httpx.create_ssl_context
            context = make()
            # Other tests may run between those of this folder, and want contexts of their own.
            patch.setattr(httpx, "create_ssl_context", lambda **asked: make(**asked) if asked else context)
        yield


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Run each test in a directory without `.env`, and without variables of Taruvi."""
    import os

    for name in list(os.environ):
        if name.startswith("TARUVI_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
