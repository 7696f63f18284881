"""Durations as messages show them."""

from __future__ import annotations

import math

import pytest

from polvo_adapters.core.durations import format_seconds


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0"),
        (1e-7, "0.0001"),
        (0.01234, "0.0123"),
        (9.0, "9"),
        (29.96, "30"),
        (99.94, "99.9"),
        (100, "100"),
        (3599.6, "3600"),
        (2_592_000, "2592000"),
        (1e12, "1000000000000"),
        (math.inf, "inf"),
    ],
)
def test_seconds_are_shown_without_powers_of_ten(seconds: float, shown: str) -> None:
    assert format_seconds(seconds) == shown


@pytest.mark.parametrize(("seconds", "shown"), [(1.23456, "1.23456"), (900, "900"), (1234.5678, "1234.568")])
def test_more_digits(seconds: float, shown: str) -> None:
    assert format_seconds(seconds, 6) == shown
