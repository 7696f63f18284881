"""Whatever a server sends, reading it ends soon, with few and sane numbers, and never with an exception."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from requests.structures import CaseInsensitiveDict

from polvo_adapters.headers import Quota, names, parse, reading, throttled
from polvo_adapters.headers.entries import MOST_QUOTAS
from polvo_adapters.headers.resets import LONGEST_RESET
from tests.support.header_samples import ALL, NASTY, NOW, rest

NAMES = sorted({name for sample in ALL for name in sample.headers} | {"Date", "Retry-After", "x-ratelimit-", ""})
SANE = sorted({value for sample in ALL for value in sample.headers.values()})
VALUES = st.one_of(
    st.sampled_from(SANE),
    st.sampled_from(NASTY),
    st.text(max_size=40),
    st.builds(
        lambda text, at, noise: text[:at] + noise + text[at:],
        st.sampled_from(SANE),
        st.integers(0, 40),
        st.sampled_from(NASTY[:40]) | st.text(max_size=3),
    ),
    st.integers().map(str),
    st.floats().map(str),
)
ANYTHING: Any = st.one_of(VALUES, st.none(), st.integers(), st.floats(), st.binary(max_size=9), st.lists(st.none()))
HEADERS: Any = st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=20) | st.binary(max_size=5), ANYTHING)


def check(quotas: list[Quota]) -> None:
    assert len(quotas) <= MOST_QUOTAS
    for quota in quotas:
        for value in (quota.limit, quota.remaining, quota.reset, quota.window):
            assert value is None or (isinstance(value, float) and math.isfinite(value) and value >= 0)
        assert (quota.limit, quota.remaining, quota.reset) != (None, None, None)
        assert quota.reset is None or quota.reset <= LONGEST_RESET
        assert quota.window is None or quota.window > 0
        assert quota.resolution in (0.0, 1.0, 60.0)
        assert 0 < quota.confidence <= 1
        assert quota.dialect


@given(HEADERS, st.sampled_from([200, 403, 429, 503]), st.floats() | st.just(NOW))
def test_any_headers(headers: dict[Any, Any], status: int, now: float) -> None:
    check(parse(headers, status, now))
    found = throttled(headers, status, None, now)
    assert (found is not None) or status != 429
    assert found is None or found.retry_after is None or 0 <= found.retry_after < math.inf


@given(st.sampled_from(ALL), st.data())
def test_mutations_of_real_samples(sample: Any, data: st.DataObject) -> None:
    headers = dict(sample.headers)
    for name in data.draw(st.lists(st.sampled_from(sorted(headers)), max_size=3)):
        headers[name] = data.draw(VALUES)
    check(parse(headers, sample.status, NOW))
    assert parse(headers, sample.status, NOW) == parse(CaseInsensitiveDict(headers), sample.status, NOW)


@given(st.dictionaries(st.sampled_from([name for name in NAMES if name.isascii() and name]), VALUES, max_size=6))
def test_what_is_remembered_is_what_would_be_read(headers: dict[str, str]) -> None:
    remembered = parse(headers, 200, NOW)
    reading._read_cached.cache_clear()
    names.KNOWN.clear()
    assert parse(headers, 200, NOW) == remembered


@pytest.mark.parametrize("name", NAMES)
def test_every_name_with_every_nasty_value(name: str) -> None:
    for value in NASTY:
        check(parse({name: value}, 429, NOW))


@pytest.mark.parametrize("junk", [None, 5, 5.5, b"5", [], object()])
def test_values_that_are_no_text_are_not_there(junk: Any) -> None:
    quotas = parse({**rest("10", "5", "60"), "X-RateLimit-Reset": junk}, 200, NOW)
    assert [(quota.limit, quota.remaining, quota.reset) for quota in quotas] == [(10, 5, None)]


@pytest.mark.parametrize("bad", ["-1", "1e3", "nan", "٣", "1_0", "0x1", "\x00", "9" * 16, "one"])
def test_malformed_is_absent(bad: str) -> None:
    assert [quota[1:4] for quota in parse(rest(bad, "5", "60"), 200, NOW)] == [(None, 5, 60)]
    left = 0 if bad == "-1" else None  # of servers that go on counting what they refuse
    assert [quota[1:4] for quota in parse(rest("10", bad, "60"), 200, NOW)] == [(10, left, 60)]
    assert [quota[1:4] for quota in parse(rest("10", "5", bad), 200, NOW)] == [(10, 5, None)]
    assert parse(rest(bad, bad, bad), 200, NOW) == []


class Counting(str):
    """A text that counts how often its length is asked for or it is looked into."""

    __slots__ = ()
    looked = 0

    def partition(self, separator: str, /) -> tuple[str, str, str]:
        Counting.looked += 1
        return super().partition(separator)

    def split(self, *arguments: Any, **named: Any) -> list[str]:
        Counting.looked += 1
        return super().split(*arguments, **named)

    def strip(self, *arguments: Any) -> str:
        Counting.looked += 1
        return super().strip(*arguments)

    def __hash__(self) -> int:
        Counting.looked += 1
        return super().__hash__()

    __eq__ = str.__eq__


def test_values_that_are_too_long_are_not_looked_at() -> None:
    Counting.looked = 0
    assert parse(dict.fromkeys(NAMES, Counting("5" * 4097)), 200, NOW) == []
    assert Counting.looked == 0
    parse(dict.fromkeys(NAMES, Counting("5" * 64)), 200, NOW)
    assert Counting.looked > 0


def test_4096_characters_are_read() -> None:
    policies = ", ".join(f"{size};w=60" for size in range(1000, 2000))[:4096]
    assert len(parse({"RateLimit-Policy": policies}, 200, NOW)) == MOST_QUOTAS
    assert parse({"RateLimit-Policy": policies + "0"}, 200, NOW) == []


@pytest.mark.parametrize(
    "headers",
    [
        {"RateLimit": ",".join(f'"{i}";r={i}' for i in range(300))},
        {"RateLimit": '"a";r=1', "RateLimit-Policy": ",".join(f'"{i}";q={i}' for i in range(300))},
        {"X-Ms-RateLimit-Remaining-Resource": ",".join(f"p{i};{i}" for i in range(350))},
        {"Sforce-Limit-Info": ";".join(f"u{i}=1/{i}" for i in range(350))},
        {f"x-ratelimit-limit-tokens{i}": "5" for i in range(3000)},
        {f"zendesk-ratelimit-{i}": "total=5" for i in range(3000)},
        {f"anthropic-ratelimit-tokens{i}-limit": "5" for i in range(3000)},
    ],
    ids=range(7),
)
def test_no_response_yields_more_than_32_quotas(headers: dict[str, str]) -> None:
    quotas = parse(headers, 200, NOW)
    assert len(quotas) == MOST_QUOTAS
    check(quotas)


def test_what_is_remembered_is_bounded() -> None:
    for index in range(20_000):
        parse({f"x-ratelimit-limit-{index}": str(index), "x" * 5000 + str(index): "5"}, 200, NOW)
    assert len(names.KNOWN) <= 1024
    assert all(len(str(name)) <= 96 for name in names.KNOWN)
    assert reading._read_cached.cache_info().currsize <= 256


def test_long_header_sets_are_read_and_not_remembered() -> None:
    before = reading._read_cached.cache_info().currsize
    policies = ", ".join(f"{size};w=60" for size in range(300))
    assert len(parse({"RateLimit-Policy": policies}, 200, NOW)) == MOST_QUOTAS
    assert reading._read_cached.cache_info().currsize == before


def test_all_texts_together_are_bounded() -> None:
    headers = {f"zendesk-ratelimit-{i}": "total=5;" + "x" * 4000 for i in range(9)}
    assert len(parse(headers, 200, NOW)) == 4


def test_of_many_fields_the_first_64_are_read() -> None:
    assert len(reading._collect({f"x-ratelimit-limit-{i}": "5" for i in range(3000)})[0]) == 64
