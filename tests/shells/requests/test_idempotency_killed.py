"""After kill -9 the record is honest: every operation is done once, none is lost, none is in doubt without a word."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.killed_keys import run


@pytest.mark.parametrize("honours", [True, False])
def test_every_operation_is_done_exactly_once(honours: bool, tmp_path: Path) -> None:
    told = run(tmp_path, 120, 4, honours=honours)
    assert (told.lost, told.repeated, told.unknown) == (0, 0, 0)
    assert told.kills == 4
    assert told.sent > 120 if honours else told.sent == 120
