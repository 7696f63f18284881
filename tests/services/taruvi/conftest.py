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


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Run each test in a directory without `.env`, and without variables of Taruvi."""
    import os

    for name in list(os.environ):
        if name.startswith("TARUVI_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
