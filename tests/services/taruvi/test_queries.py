"""What queries, ids and permissions become on the wire; without a server."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from polvo_adapters.services import taruvi
from polvo_adapters.services.taruvi.database import OPERATORS, Database, Query
from polvo_adapters.services.taruvi.operations import Reply
from polvo_adapters.services.taruvi.policy import Policy
from tests.services.taruvi.every_operation import FakeRunner


def answer(value: Any, wire: str = "current") -> FakeRunner:
    return FakeRunner(lambda _: Reply(200, json.dumps(value).encode(), host="a.test"), wire)


ROWS = {"data": [{"id": 1}, {"id": 2}], "total": 41}


@pytest.mark.parametrize("operator", OPERATORS)
def test_each_operator(operator: str) -> None:
    runner = answer(ROWS)
    Query(runner, "users").filter("age", operator, 7).get()
    assert runner.calls[0].params == [("age" if operator == "eq" else f"age__{operator}", "7")]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (None, "null"),
        ("", ""),
        ("a b&c=d", "a b&c=d"),
        (0, "0"),
        (-1.5, "-1.5"),
        (Decimal("1.10"), "1.10"),
        (dt.date(2026, 1, 2), "2026-01-02"),
        (dt.datetime(2026, 1, 2, 3, tzinfo=dt.timezone.utc), "2026-01-02T03:00:00+00:00"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        ([1, "a", None], "1,a,null"),
    ],
)
def test_each_kind_of_value(value: Any, text: str) -> None:
    runner = answer(ROWS)
    Query(runner, "users").filter("x", "ne", value).get()
    assert runner.calls[0].params == [("x__ne", text)]


@pytest.mark.parametrize("value", [["a,b"], float("inf"), Decimal("NaN"), b"x", {"a": 1}, 2**70])
def test_a_value_without_a_form_is_refused(value: Any) -> None:
    with pytest.raises(taruvi.ConfigurationError, match=r"^value: "):
        Query(answer(ROWS), "users").filter("x", "in", value)


def test_a_query_can_be_used_again_and_shares_nothing() -> None:
    runner = answer(ROWS)
    database: Any = Database(runner)
    query = database.query("users").filter("age", "gte", 18).filter("age", "lt", 65).page_size(20).page(2)
    other = database.query("users").populate("team").populate("city", "boss")
    assert query.first() == {"id": 1}
    assert (query.count(), len(query.get()), query.execute()["total"]) == (41, 2, 41)
    other.get()
    first, count, rows, _, others = [dict(each.params) for each in runner.calls]
    filters = {"age__gte": "18", "age__lt": "65"}
    assert first == {**filters, "page_size": "1"}
    assert count == {**filters, "page_size": "1", "_count": "true"}
    assert rows == {**filters, "page_size": "20", "page": "2"}
    assert others == {"populate": "team,city,boss"}


@pytest.mark.parametrize("record_id", [0, "0", 10**20, UUID(int=1), "a@b", "ä"])
def test_ids(record_id: Any) -> None:
    runner = answer({"data": {"id": 1}})
    database: Any = Database(runner)
    database.get("users", record_id)
    database.update("users", record_id, {"a": 1})
    database.delete("users", record_id)
    database.delete("users", record_ids=[record_id])
    assert len({each.path for each in runner.calls[:3]}) == 1
    assert runner.calls[3].params == [("ids", str(record_id))]


@pytest.mark.parametrize("pair", [{"record_ids": [1], "ids": [2]}, {"filters": {"a": 1}, "filter": {"b": 1}}, {}])
def test_only_one_way_to_delete(pair: dict[str, Any]) -> None:
    database: Any = Database(runner := answer({}))
    with pytest.raises(taruvi.ConfigurationError, match="exactly one"):
        database.delete("users", **pair)
    assert not runner.calls


@pytest.mark.parametrize("wire", ["current", "2026-01"])
@pytest.mark.parametrize(
    ("said", "count"), [({"total": 7}, 7), ({"count": 7, "data": [{}]}, 7), ({"data": []}, 0), ([], 0)]
)
def test_a_count(wire: str, said: Any, count: int) -> None:
    assert Query(answer(said, wire), "users").count() == count


@pytest.mark.parametrize("said", [{"data": [{"id": 1}]}, {"total": "7"}, {"total": -1}, {"total": True}, [{"id": 1}]])
def test_a_count_that_the_server_does_not_say_is_not_made_up(said: Any) -> None:
    """The page that comes along has one record, however many there are."""
    with pytest.raises(taruvi.ResponseError):
        Query(answer(said), "users").count()


def decide(*resources: dict[str, Any], results: list[tuple[dict[str, Any], str]]) -> Any:
    said = [{"resource": resource, "actions": {"view": f"EFFECT_{effect}"}} for resource, effect in results]
    return Policy(answer({"results": said})).check_resources(list(resources), ["view"])


def test_resources_with_one_id_are_kept_apart() -> None:
    one, two = {"kind": "document", "id": 1}, {"kind": "folder", "id": "1"}
    assert decide(one, results=[(one, "ALLOW")]) == {"1": {"view": True}}
    found = decide(one, two, results=[(two, "ALLOW"), (one, "DENY")])
    assert found == {"document:1": {"view": False}, "folder:1": {"view": True}}


def test_of_two_answers_for_one_resource_the_stricter_counts() -> None:
    mine, yours = ({"kind": "document", "id": 1, "attr": {"owner": owner}} for owner in ("me", "you"))
    assert decide(mine, yours, results=[(mine, "ALLOW"), (yours, "DENY")]) == {"document:1": {"view": False}}
    assert decide(mine, results=[({"kind": "x", "id": 9}, "ALLOW"), (mine, "ALLOW"), (mine, "DENY")]) == {
        "1": {"view": False}
    }
