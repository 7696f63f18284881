"""A process with jobs to do that is killed again and again; the whole of it is in `tests.benchmarks.jobs`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.killed_jobs import run

COUNT = 80  # which takes eight workers half a second at least, as the server takes 50 ms for each

pytestmark = pytest.mark.slow


def test_at_a_server_that_honours_keys_each_job_is_executed_once(tmp_path: Path) -> None:
    ended = run(tmp_path / "jobs", COUNT, honours=True, interval=0.3, lost=0.1, most_kills=4)
    assert ended.kills >= 1
    assert sorted(ended.executions.values()) == [1] * COUNT
    assert ended.states == {"success": COUNT}
    assert len(ended.hooks) == ended.ids == COUNT


def test_at_a_server_that_knows_no_keys_none_is_executed_twice_and_doubts_are_told(tmp_path: Path) -> None:
    ended = run(tmp_path / "jobs", COUNT, honours=False, interval=0.3, lost=0.1, most_kills=4)
    assert ended.kills >= 1
    assert set(ended.executions.values()) == {1}
    assert ended.states["success"] + ended.states["in_doubt"] == COUNT
    assert ended.states["in_doubt"] == ended.told["in_doubt"] > 0
    assert len(ended.executions) >= ended.states["success"]
    assert len(ended.hooks) == ended.ids == COUNT
