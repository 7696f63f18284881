"""The benchmarks run and report every row; how fast anything is, is not a matter for tests."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from tests.benchmarks import __main__

Run: TypeAlias = Callable[..., dict[str, Any]]

ROWS = {
    "adapter": 6,
    "session": 3,
    "transports": 8,
    "loopback": 10,
    "async": 6,
    "imports": 4,
    "admission": 6,
    "headers": 16,
    "deadlines": 14,
    "cancellations": 5,
    "lag": 4,
    "services": 3,
}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    for package in ("rich", "httpx", "stamina", "tenacity"):
        pytest.importorskip(package)
    from tests.benchmarks.command_line import main

    def quick(*arguments: str) -> dict[str, Any]:
        file = tmp_path / "numbers.json"
        assert main(["--quick", "--json", str(file), *arguments]) == 0
        document: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return document

    return quick


def test_quick_run_reports_every_row(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    document = run()
    printed = capsys.readouterr().out

    for section, count in ROWS.items():
        rows = document[section]
        assert len({row["name"] for row in rows}) == len(rows) == count
        assert all(_is_positive(row) for row in rows)
        assert all(row["name"] in printed for row in rows)


def test_one_section_can_be_asked_for(run: Run) -> None:
    assert run("--only", "adapter").keys() & ROWS.keys() == {"adapter"}


def _is_positive(row: dict[str, Any]) -> bool:
    # A difference to the baseline may come out negative in a short run; times and ratios may not.
    spreads = [row[name] for name in ("seconds", "ratio") if name in row]
    return all(value > 0 for spread in spreads for value in spread.values())


def test_what_is_missing_costs_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(__main__, "NEEDED", ("requests", "no_such_package"))
    assert __main__.run() == 2
    assert capsys.readouterr().err == ("the benchmarks need no_such_package: python -m pip install -e '.[test]'\n")
