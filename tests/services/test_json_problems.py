"""What is no JSON is said with its place, and without its value."""

from __future__ import annotations

import datetime as dt
import decimal
import math
import uuid
from typing import Any

import pytest

import polvo_adapters.services.double_o as oo
from polvo_adapters.services import ezthrottle, taruvi
from polvo_adapters.services.json_problems import describe_no_json, find_json_problem

HIDDEN = "a value that is hidden"


class Unknown:
    """An object that shows what it holds."""

    def __repr__(self) -> str:
        return HIDDEN


def nest(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def make_circle() -> Any:
    value: list[Any] = []
    value.append({"inner": value})
    return value


PARTS: dict[str, Any] = {
    "is of type date": dt.date(2024, 1, 1),
    "is of type datetime": dt.datetime(2024, 1, 1, tzinfo=dt.timezone.utc),
    "is of type UUID": uuid.UUID(int=7),
    "is of type Decimal": decimal.Decimal("1.5"),
    "is of type bytes": HIDDEN.encode(),
    "is of type set": {HIDDEN},
    "is of type Unknown": Unknown(),
    "is of type generator": (each for each in "ab"),
    "is nan, which JSON does not have": math.nan,
    "is -inf, which JSON does not have": -math.inf,
}
PLACES: dict[str, Any] = {
    "it ": lambda part: part,
    "['user']['born'] ": lambda part: {"id": 1, "user": {"name": HIDDEN, "born": part}},
    "[1] ": lambda part: [HIDDEN, part],
    "['rows'][2][0] ": lambda part: {"rows": [1, 2.5, (part,)]},
    "[7] ": lambda part: {None: 1, True: 2, 7: part},
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", PARTS)
def test_the_place_of_a_part_that_is_no_json(place: str, kind: str) -> None:
    problem = find_json_problem(PLACES[place](PARTS[kind]))
    assert problem == f"{place}{kind}"
    assert HIDDEN not in problem


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"a": {(1, HIDDEN): 2}}, "['a'] has a key that is of type tuple"),
        (nest(100_000), "it is nested too deeply, or holds itself"),
        (make_circle(), "it is nested too deeply, or holds itself"),
        ({"x" * 1000: Unknown()}, f"['{'x' * 39}…] is of type Unknown"),
        *[(good, "") for good in (None, {}, [], "ü", 1, 1.5, True, {"a": [1, {"b": None}]}, {1: 2}, nest(200))],
    ],
)
def test_what_is_wrong(value: Any, problem: str) -> None:
    assert find_json_problem(value) == problem


def test_the_clients_of_services_say_it() -> None:
    wrong = {"order": {"at": dt.date(2024, 1, 1)}}
    client = taruvi.Client(api_url="http://127.0.0.1:9", app_slug="app", env_file=None)
    step = ezthrottle.Step(ezthrottle.EZThrottle("key", "http://127.0.0.1:9")).url("http://127.0.0.1:9/")
    for call in (
        lambda: oo.proxy("v1/x", "token", payload=wrong, base_url="http://127.0.0.1:9"),
        lambda: client.functions.execute("f", wrong),
        lambda: client.database.create("orders", wrong),
        lambda: step.metadata(wrong),
    ):
        with pytest.raises(ValueError, match=r"JSON: \['order'\]\['at'\] is of type date; nothing was sent"):
            call()
    client.close()


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("text/html", "no JSON, but text/html"),
        ("", "no JSON, but of no named type"),
        ("application/json", "no JSON, though the server says that it is application/json"),
        ("application/problem+JSON", "no JSON, though the server says that it is application/problem+JSON"),
    ],
)
def test_a_body_that_is_no_json(kind: str, text: str) -> None:
    assert describe_no_json(kind) == text
