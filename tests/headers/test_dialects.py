"""Dialects that a user adds, and the rows that are there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from polvo_adapters import headers
from polvo_adapters.headers import Dialect, dialects, parse, reading
from polvo_adapters.headers.names import KNOWN
from tests.support.header_samples import NASTY, NOW

ACME: dict[str, Any] = {"name": "acme", "limit": "X-Calls-Allowed", "used": "X-Calls-Made", "reset": "X-Calls-Again"}


@pytest.fixture(autouse=True)
def restore(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forget what a test has registered, and what a page of the documentation has in the same process."""
    mine = {value.lower() for key, value in ACME.items() if key != "name"}
    known = {header: role for header, role in dialects._by_header.items() if header not in mine}
    monkeypatch.setattr(dialects, "_rows", dialects._rows[: len(dialects.BUILT_IN)])
    monkeypatch.setattr(dialects, "_by_header", known)
    KNOWN.clear()
    reading._read_cached.cache_clear()
    yield
    KNOWN.clear()
    reading._read_cached.cache_clear()


def read(told: dict[str, str]) -> list[tuple[Any, ...]]:
    return [(each.name, each.limit, each.remaining, each.reset, each.window) for each in parse(told, 200, NOW)]


CALLS = {"X-Calls-Allowed": "100", "X-Calls-Made": "7", "X-Calls-Again": "1500"}


def test_a_user_adds_a_row() -> None:
    assert parse(CALLS) == []
    headers.register(Dialect(**ACME, quota="calls", windows=(60.0,), reset_unit="milliseconds"))
    assert read(CALLS) == [("calls", 100, 93, 1.5, 60)]
    assert parse(CALLS)[0].dialect == "acme"
    assert read({name.upper(): value for name, value in CALLS.items()}) == read(CALLS)


def test_a_row_may_read_names_that_were_read_otherwise() -> None:
    told = {"X-RateLimit-Limit": "10", "X-RateLimit-Remaining": "9", "X-RateLimit-Reset": "1500"}
    assert read(told) == [("", 10, 9, 1500, None)]
    names = {role: f"X-RateLimit-{role.title()}" for role in ("limit", "remaining", "reset")}
    headers.register(Dialect("ours", **names, reset_unit="milliseconds"))
    assert read(told) == [("", 10, 9, 1.5, None)]


def test_the_last_row_of_a_header_counts() -> None:
    headers.register(Dialect(**ACME))
    headers.register(Dialect(**ACME, quota="later"))
    assert [each[0] for each in read(CALLS)] == ["later"]


@pytest.mark.parametrize(
    ("more", "told", "expected"),
    [
        ({"layout": "list", "windows": (1.0, 60.0)}, ("5,100", "1,7", ""), [(5, 4, None, 1), (100, 93, None, 60)]),
        ({"layout": "list", "windows": (1.0,)}, ("5,100", "1", ""), [(5, 4, None, 1), (100, None, None, None)]),
        ({"layout": "pairs"}, ("5:1,100:60", "7:60,1:1", ""), [(5, 4, None, 1), (100, 93, None, 60)]),
        ({"layout": "pairs"}, ("5,x:1,:2,3:", "1:1", ""), []),
        ({"windows": (900.0,), "aligned": True}, ("5", "1", ""), [(5, 4, 120, 900)]),
        ({"size": 50.0, "limit": ""}, ("", "7", "3"), [(50, 43, 3, None)]),
        ({"reset_unit": "epoch"}, ("5", "9", str(int(NOW) + 9)), [(5, 0, 9, None)]),
    ],
)
def test_layouts(more: dict[str, Any], told: tuple[str, str, str], expected: list[Any]) -> None:
    headers.register(Dialect(**{**ACME, **more}))
    assert [each[1:] for each in read(dict(zip(CALLS, told, strict=True)))] == expected


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": 5},
        {"used": ""},
        {"limit": ""},
        {"layout": "json"},
        {"reset_unit": "minutes"},
        {"window_unit": "epoch"},
        {"windows": (0.0,)},
        {"windows": [60.0]},
        {"aligned": True},
        {"size": -1.0},
        {"scope": "user"},
        {"limit": "x" * 97},
    ],
)
def test_a_row_that_could_not_be_read_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=re.escape("Dialect")):
        Dialect(**{**ACME, **wrong})


def test_what_is_no_row_is_refused() -> None:
    with pytest.raises(TypeError, match="Dialect"):
        headers.register("acme")  # type: ignore[arg-type]


def test_rows_are_bounded() -> None:
    rows = [Dialect("acme", remaining=f"X-Calls-{number}") for number in range(256)]
    for row in rows[len(dialects.BUILT_IN) :]:
        headers.register(row)
    with pytest.raises(ValueError, match="256"):
        headers.register(rows[0])


@pytest.mark.parametrize("row", dialects.BUILT_IN, ids=lambda row: f"{row.name} {row.quota}")
def test_every_row_names_its_public_source(row: Dialect) -> None:
    assert "." in row.source.partition("/")[0]


@pytest.mark.parametrize("layout", ["number", "list", "pairs"])
def test_rows_read_whatever_a_server_sends(layout: str) -> None:
    headers.register(Dialect(**ACME, window="X-Calls-Window", layout=layout, windows=(900.0,), aligned=True))
    for value in NASTY:
        for other in ("5", "5,6", "5:6", value):
            told = dict.fromkeys([*CALLS, "X-Calls-Window"], value) | {"X-Calls-Allowed": other}
            for each in parse(told, 429, NOW):
                numbers = (each.limit, each.remaining, each.reset, each.window)
                assert all(number is None or 0 <= number < 1e16 for number in numbers)
