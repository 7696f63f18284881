"""The benchmarks of reading headers run, and no hostile header set raises."""

from __future__ import annotations

import pytest

pytest.importorskip("rich")

from tests.benchmarks.headers import hostile, reading


def test_reading_reports_every_row() -> None:
    rows = reading(quick=True)
    assert len({row.name for row in rows}) == len(rows) == 16
    assert all(row.seconds.median > 0 for row in rows)


def test_hostile_headers_do_no_harm() -> None:
    (row,) = hostile(quick=True)
    assert (row.sets, row.exceptions) == (20_000, 0)
    assert row.quotas > 1000
