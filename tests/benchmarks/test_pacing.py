"""What a run came to is read from the record of the server, over whole windows; stepped by hand."""

from __future__ import annotations

from typing import Any

import pytest

from tests.benchmarks.pacing import Scenario, Span, judge, judged_span, main

TWO = Scenario(processes=2, threads=1, limit=4, window=10.0, seconds=30.0)


def record(kind: str, stop: float = 1000.0, **clients: list[tuple[float, bool]]) -> dict[str, Any]:
    return {"kind": kind, "limit": 4, "window": 10.0, "origin": 3.0, "clients": clients, "stop": stop, "seen": {}}


def served(*moments: float) -> list[tuple[float, bool]]:
    return [(moment, True) for moment in moments]


@pytest.mark.parametrize(
    ("kind", "unsettled", "expected"),
    [
        ("sliding", 0, Span(104.0, 104.0, 3, 10.0)),
        ("sliding", 1, Span(104.0, 114.0, 2, 10.0)),
        ("aligned", 1, Span(103.0, 113.0, 2, 10.0)),
        ("fixed", 0, Span(104.0, 104.0, 3, 10.0)),
        ("fixed", 1, Span(104.0, 115.0, 2, 10.0)),
    ],
)
def test_windows_that_are_judged(kind: str, unsettled: int, expected: Span) -> None:
    asked = record(kind, stop=136.0, a=served(104, 115, 126))
    assert judged_span(asked, unsettled) == expected


def test_everything_counts_from_the_first_judged_window_to_the_last_whole_one() -> None:
    a = [*served(100, 101, 111), (111, False), *served(121, 131)]
    b = [*served(100), (102, False), *served(112), (113, False)]
    pace = judge(record("sliding", stop=131.0, a=a, b=b), TWO)
    assert pace[1:8] == (6, 6 / 12, 3, 2, 3 / 9, 2 / 3, 4 / 3)
    settled = judge(record("sliding", stop=131.0, a=a, b=b), TWO._replace(unsettled=1))
    assert settled[1:8] == (3, 3 / 8, 2, 2, 2 / 5, 2 / 3, 4 / 3)


def test_a_bucket_that_starts_full_could_let_a_whole_one_more_through() -> None:
    asked = record("gcra", stop=120.0, a=served(100, 101, 102, 103, 104, 105, 112, 115, 118))
    assert judge(asked, TWO).used == 9 / 12
    assert judge(asked, TWO._replace(unsettled=1)).used == 3 / 4


def test_client_that_got_nothing_is_seen() -> None:
    assert judge(record("gcra", stop=110.0, a=served(100, 101)), TWO).least == 0


def test_no_request_at_all_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="no request has reached the server"):
        judge(record("fixed"), TWO)


def test_one_run(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = "--kind fixed --strategy greedy --limit 5 --window 0.5 --seconds 0.5 --threads 2 --windows"
    assert main(arguments.split()) == 0
    line, windows, seen = capsys.readouterr().out.splitlines()
    assert line.startswith("threads fixed greedy: accepted 5, used 100.0%, rejected ")
    assert windows.startswith("accepted-rejected per window from the start: 5-")
    assert "'200': " in seen
