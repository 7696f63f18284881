"""Retry-After in every form met in the wild, and the verdict headers."""

from __future__ import annotations

import time
from datetime import timezone
from email.utils import parsedate_to_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polvo_adapters.headers import retry_after, should_retry
from polvo_adapters.headers.times import parse_date

NOW = 1_792_567_680.0  # Wed, 21 Oct 2026 07:28:00 GMT


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "120"}, 120.0),
        ({"retry-after": " 7 "}, 7.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "2.0"}, 2.0),
        ({"retry-after": "64.57"}, 64.57),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:30 GMT"}, 30.0),
        ({"retry-after": "Wednesday, 21-Oct-26 07:28:30 GMT"}, 30.0),
        ({"retry-after": "Wed Oct 21 07:28:30 2026"}, 30.0),
        ({"retry-after": "Wed, 21 Oct 2026 07:27:00 GMT"}, 0.0),
        ({"retry-after": "Wed, 21 Oct 2026 09:28:30 +0200"}, 30.0),
        ({"retry-after": "1792567700"}, 20.0),
        ({"retry-after": "1792567700.5"}, 20.5),
        ({"retry-after": "1792567700000"}, 20.0),
        ({"retry-after": "1699999999"}, 0.0),
        ({"retry-after-ms": "4321"}, 4.321),
        ({"x-ms-retry-after-ms": "500"}, 0.5),
        ({"x-amz-retry-after": "250"}, 0.25),
        ({"grpc-retry-pushback-ms": "250"}, 0.25),
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "2"}, 2.0),
        ({"grpc-retry-pushback-ms": "-1", "retry-after": "2"}, 2.0),
    ],
)
def test_forms(headers: dict[str, str], seconds: float) -> None:
    assert retry_after(headers, NOW) == pytest.approx(seconds)


@pytest.mark.parametrize("date", ["Wed, 21 Oct 2026 07:27:00 GMT", "Wed, 21 Oct 2026 07:38:00 GMT"])
def test_dates_count_from_the_date_of_the_response(date: str) -> None:
    headers = {"date": date, "retry-after": date[:-12] + date[-12:].replace(":00 GMT", ":30 GMT")}
    assert retry_after(headers, NOW) == 30.0


def test_a_date_that_is_none_is_not_used() -> None:
    assert retry_after({"date": "today", "retry-after": "Wed, 21 Oct 2026 07:28:30 GMT"}, NOW) == 30.0


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "soon",
        "-5",
        "+5",
        "1e3",
        "0x10",
        "1_000",
        "Infinity",
        "nan",
        "5s",
        "5;5",
        "5, 5",
        "٣",
        "²",
        "\x00",
        "9" * 100,
        "Wed, 99 Oct 2026 07:28:30 GMT",
        "Wed, 21 Oct 99999 07:28:30 GMT",
        "Wed, 21 Oct 2026 07:28:30 +999999",
        ",,,,,",
        "a" * 10_000,
    ],
)
def test_garbage_is_not_there(value: str) -> None:
    assert retry_after({"retry-after": value}, NOW) is None


def test_values_that_are_no_text_are_not_there() -> None:
    assert retry_after({"retry-after": 5}, NOW) is None
    assert retry_after({"retry-after": b"5"}, NOW) is None
    assert retry_after({}, NOW) is None


NAMES = st.sampled_from(
    ["retry-after", "date", "retry-after-ms", "x-amz-retry-after", "grpc-retry-pushback-ms", "x-should-retry"]
)
VALUES = st.one_of(
    st.text(max_size=80),
    st.from_regex(r"[A-Za-z]{3,9}, ?[0-9]{1,4}[ -][A-Za-z]{3}[ -][0-9]{1,6} [0-9:]{1,12} ?[A-Z+\-0-9]{0,8}"),
    st.floats().map(str),
    st.integers().map(str),
)


@given(st.dictionaries(NAMES, VALUES), st.floats(0, 1e11))
def test_nothing_raises_and_no_wait_is_negative(headers: dict[str, str], now: float) -> None:
    seconds = retry_after(headers, now)
    assert seconds is None or seconds >= 0
    assert should_retry(headers) in (True, False, None)


def test_long_values_cost_nothing() -> None:
    hostile = {"retry-after": "1" * 10_000_000, "date": "," * 10_000_000}
    started = time.process_time()
    for _ in range(1000):
        retry_after(hostile, NOW)
    assert time.process_time() - started < 5  # looking at each once would take far longer


@pytest.mark.parametrize(
    ("headers", "verdict"),
    [
        ({"x-should-retry": "true"}, True),
        ({"x-should-retry": "False"}, False),
        ({"stripe-should-retry": "true"}, True),
        ({"stripe-should-retry": "false"}, False),
        ({"x-should-retry": "maybe"}, None),
        ({"grpc-retry-pushback-ms": "-1"}, False),
        ({"grpc-retry-pushback-ms": "never"}, False),
        ({"grpc-retry-pushback-ms": "100"}, None),
        ({}, None),
    ],
)
def test_verdicts(headers: dict[str, str], verdict: bool | None) -> None:
    assert should_retry(headers) is verdict


DATES = st.builds(
    "{}, {:02} {} {:04} {:02}:{:02}:{:02} GMT".format,
    st.sampled_from(["Mon", "Sun", "Xyz"]),
    st.integers(0, 32),
    st.sampled_from(["Jan", "Feb", "Sep", "Dec", "jan", "Foo"]),
    st.integers(0, 9999),
    st.integers(0, 24),
    st.integers(0, 60),
    st.integers(0, 60),
)


@given(DATES)
def test_the_quick_way_to_read_a_date_reads_what_the_library_reads(text: str) -> None:
    try:
        expected = parsedate_to_datetime(text).replace(tzinfo=timezone.utc).timestamp()
    except ValueError:
        expected = None
    assert parse_date(text) == expected


@pytest.mark.parametrize("text", ["Wed, \u0662\u0661 Oct 2026 07:28:00 GMT", "Wed, 21 Oct 2026 \u0660\u0667:28:00 GMT"])
def test_digits_of_other_scripts_are_no_date(text: str) -> None:
    assert parse_date(text) is None


@pytest.mark.parametrize("clock", ["24:00:00", "23:60:00", "23:59:60", "24:60:60"])
def test_a_clock_has_24_hours_of_60_minutes(clock: str) -> None:
    assert parse_date(f"Wed, 21 Oct 2026 {clock} GMT") is None


def test_columns_alone_do_not_make_a_date() -> None:
    assert parse_date("Wed, 21 Oct 2026 07-28-00 GMT") is None
