"""One text, read as a delay or a moment: units, precision and clocks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polvo_adapters.headers import GUESSED, LIKELY, parse
from polvo_adapters.headers.resets import LONGEST_RESET, UNKNOWN, Reset, count_seconds, read
from tests.support.header_samples import NOW, rest

DATE = "Wed, 21 Oct 2026 07:28:00 GMT"


@pytest.mark.parametrize(
    ("text", "unit", "reset"),
    [
        ("60", "", Reset(60, None, 1, GUESSED)),
        (" 60 ", "", Reset(60, None, 1, GUESSED)),
        ("60.5", "", Reset(60.5, None, 0, GUESSED)),
        ("60", "seconds", Reset(60, None, 1)),
        ("0", "seconds", Reset(0, None, 1)),
        ("999999999", "", UNKNOWN),
        ("1000000000", "", Reset(None, 1e9, 1, LIKELY)),
        ("1000000000", "seconds", UNKNOWN),
        ("999999999999", "", Reset(None, 999999999999, 1, LIKELY)),
        ("1000000000000", "", Reset(None, 1e9, 1, LIKELY)),
        ("1000000000001", "", Reset(None, 1e9 + 0.001, 0, LIKELY)),
        ("5", "epoch", Reset(None, 5, 1)),
        ("5", "epoch-milliseconds", Reset(None, 0.005, 0)),
        ("12ms", "", Reset(0.012, None, 0)),
        ("1m23s", "", Reset(83, None, 1)),
        ("6m0s", "", Reset(360, None, 1)),
        ("4h30m15s", "", Reset(16215, None, 1)),
        ("33.023s", "", Reset(33.023, None, 0)),
        ("1d2h", "", Reset(93600, None, 1)),
        ("500us", "", Reset(0.0005, None, 0)),
        ("250µs", "", Reset(0.00025, None, 0)),
        ("9999999d", "", UNKNOWN),
        (DATE, "", Reset(None, NOW, 1)),
        ("2026-10-21T07:28:00Z", "", Reset(None, NOW, 1)),
        ("2026-10-21t07:28:00z", "", Reset(None, NOW, 1)),
        ("2026-10-21 07:28:00", "", Reset(None, NOW, 1)),
        ("2026-10-21T07:28:00.250Z", "", Reset(None, NOW + 0.25, 0)),
        ("2026-10-21T07:28Z", "", Reset(None, NOW, 60)),
        ("2026-10-21T09:58:00+02:30", "", Reset(None, NOW, 1)),
        ("2026-10-21T05:28:00-0200", "", Reset(None, NOW, 1)),
        ("2026-13-21T07:28:00Z", "", UNKNOWN),
        ("2026-10-21T24:28:00Z", "", UNKNOWN),
        ("0026-10-21T07:28:00Z", "", UNKNOWN),
        ("-5", "", UNKNOWN),
        ("1e9", "", UNKNOWN),
        ("", "", UNKNOWN),
        ("s", "", UNKNOWN),
        ("5 s", "", UNKNOWN),
        ("٣", "", UNKNOWN),
        ("1" * 65, "", UNKNOWN),
    ],
)
def test_units(text: str, unit: str, reset: Reset) -> None:
    assert read(text, unit) == pytest.approx(reset)


def read_first(reset: str, now: float, **headers: str) -> tuple[float | None, float]:
    quota = parse({**rest("10", "5", reset), **headers}, 200, now)[0]
    return quota.reset, quota.resolution


SOON = str(int(NOW) + 60)


@pytest.mark.parametrize(
    ("now", "headers", "expected"),
    [
        (NOW + 0.7, {"Date": DATE}, (59.3, 1.0)),  # agrees, and is finer
        (NOW + 1.2, {"Date": DATE}, (58.8, 1.0)),
        (NOW - 1.2, {"Date": DATE}, (61.2, 1.0)),
        (NOW + 1.3, {"Date": DATE}, (60.0, 1.0)),  # does not agree: the server's clock
        (NOW - 3600, {"Date": DATE}, (60.0, 1.0)),
        (NOW + 0.5, {}, (59.5, 1.0)),
        (NOW + 0.5, {"Date": "yesterday"}, (59.5, 1.0)),
        (0.0, {"Date": DATE}, (60.0, 1.0)),
        (float("nan"), {"Date": DATE}, (60.0, 1.0)),
        (float("inf"), {"Date": DATE}, (60.0, 1.0)),
        (-5.0, {"Date": DATE}, (60.0, 1.0)),
        (0.0, {}, (None, 0.0)),
        (NOW + 90, {}, (0.0, 1.0)),
    ],
)
def test_moments_count_from_the_time_of_the_server(
    now: float, headers: dict[str, str], expected: tuple[float | None, float]
) -> None:
    assert read_first(SOON, now, **headers) == pytest.approx(expected)


def test_a_date_in_whole_seconds_makes_an_exact_moment_inexact() -> None:
    assert read_first(SOON + ".5", NOW - 100, Date=DATE) == (60.5, 1.0)
    assert read_first(SOON + ".5", NOW, Date=DATE) == (60.5, 0.0)


def test_delays_need_no_clock() -> None:
    assert read_first("60", 0.0) == (60.0, 1.0)


@pytest.mark.parametrize(
    ("moment", "seconds"),
    [(5, 5), (0, 0), (-86_400, 0), (-86_401, None), (LONGEST_RESET, LONGEST_RESET), (LONGEST_RESET + 1, None)],
)
def test_moments_far_away_are_no_resets(moment: float, seconds: float | None) -> None:
    assert count_seconds(NOW + moment, NOW) == seconds


@given(st.text("0123456789.-+:TZhmsµ dnu", max_size=30))
def test_nothing_raises_and_nothing_is_negative(text: str) -> None:
    reset = read(text)
    assert reset.seconds is None or 0 <= reset.seconds <= LONGEST_RESET
