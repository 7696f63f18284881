"""The database of the app: records of tables, and queries for them."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

from polvo_adapters.services.taruvi import checks
from polvo_adapters.services.taruvi.operations import Call, Mode_co, Module, Operation, Runner, operation
from polvo_adapters.services.taruvi.responses import fetch, fetch_data, fetch_envelope, find_items

if TYPE_CHECKING:
    from typing_extensions import Self

OPERATORS = (
    "eq",
    "ne",
    "gt",
    "gte",
    "lt",
    "lte",
    "contains",
    "icontains",
    "startswith",
    "istartswith",
    "endswith",
    "iendswith",
    "iexact",
    "in",
    "nin",
    "isnull",
    "range",
    "regex",
    "iregex",
)
"""What a filter can compare by; "eq" is sent as the name of the field alone."""

Record = dict[str, Any]


class Query(Module[Mode_co]):
    """A query for records of a table; each step changes it and returns it, `get`, `first` and `count` ask the server.

    Args:
        client: The client that asks.
        table: The table.
    """

    def __init__(self, client: Runner, table: str) -> None:
        super().__init__(client)
        self._path = f"{self._app}/datatables/{checks.segment('table', table)}/data/"
        self._filters: list[tuple[str, str]] = []
        self._order: tuple[str, str] | None = None
        self._populated: list[str] = []
        self._search: str | None = None
        self._page_size: int | None = None
        self._page: int | None = None

    def filter(self, field: str, operator: str, value: Any) -> Self:
        """Keep the records for which a comparison holds.

        Args:
            field: The field.
            operator: One of `OPERATORS`.
            value: What it is compared with; a list for "in", "nin" and "range".
        """
        name = checks.require_text("field", field)
        if operator not in OPERATORS:
            raise checks.refuse("operator", f"{operator!r} is none of {', '.join(OPERATORS)}")
        key = name if operator == "eq" else f"{name}__{operator}"
        self._filters.append((key, _format(value)))
        return self

    def sort(self, field: str, order: str = "asc") -> Self:
        """Sort by a field, "asc" or "desc"; the last call counts."""
        if order not in ("asc", "desc"):
            raise checks.refuse("order", f"{order!r} is neither 'asc' nor 'desc'")
        self._order = (checks.require_text("field", field), order)
        return self

    def search(self, text: str) -> Self:
        """Keep the records that a text is found in."""
        self._search = checks.require_text("search", text)
        return self

    def populate(self, *fields: str) -> Self:
        """Return the records that these fields refer to along with the record."""
        self._populated += [checks.join_names("field", field) for field in fields]
        return self

    def page_size(self, size: int) -> Self:
        """Ask for so many records at once."""
        self._page_size = checks.require_count("page_size", size, 1)
        return self

    def page(self, number: int) -> Self:
        """Ask for a page, the first of which is 1."""
        self._page = checks.require_count("page", number, 1)
        return self

    @operation
    def get(self) -> Operation[list[Record]]:
        """Return the records."""
        envelope = yield from fetch_envelope(Call("GET", self._path, self._params()))
        return find_items(envelope) or []

    @operation
    def execute(self) -> Operation[dict[str, Any]]:
        """Return the records in "data", and in "total" how many there are on all pages."""
        envelope = yield from fetch_envelope(Call("GET", self._path, self._params()))
        data = find_items(envelope) or []
        return {"data": data, "total": envelope.get("total", len(data))}

    @operation
    def first(self) -> Operation[Record | None]:
        """Return the first record, or None."""
        envelope = yield from fetch_envelope(Call("GET", self._path, self._params(size=1)))
        items = find_items(envelope)
        return items[0] if items else None

    @operation
    def count(self) -> Operation[int]:
        """Return how many records there are, on all pages."""
        count = [("_count", "true")]
        params = self._params(count, size=1) if self._is_current else self._params(count)
        envelope = yield from fetch_envelope(Call("GET", self._path, params))
        total = envelope.get("total", envelope.get("count"))
        return total if isinstance(total, int) else len(find_items(envelope) or [])

    def _params(self, more: Sequence[tuple[str, str]] = (), *, size: int | None = None) -> list[tuple[str, str]]:
        params = list(self._filters)
        if self._search is not None:
            params.append(("search", self._search))
        if self._order is not None:
            field, order = self._order
            if self._is_current:
                params.append(("ordering", f"-{field}" if order == "desc" else field))
            else:
                params += [("_sort", field), ("_order", order)]
        if self._populated:
            params.append(("populate", ",".join(self._populated)))
        params += more
        if size is not None or self._page_size is not None:
            params.append(("page_size", str(self._page_size if size is None else size)))
        if self._page not in (None, 1) and size is None:
            params.append(("page", str(self._page)))
        return params


class Database(Module[Mode_co]):
    """Records of the tables of the app."""

    def query(self, table: str) -> Query[Mode_co]:
        """Return a query for records of a table."""
        return Query(self._client, table)

    from_ = query

    @operation
    def get(self, table: str, record_id: int | str) -> Operation[Record]:
        """Return a record."""
        record: Record = yield from fetch_data(Call("GET", self._records(table, record_id)))
        return record

    @operation
    def create(self, table: str, data: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> Operation[Any]:
        """Create a record from a dict, or several in one request from a list of them, and return what was created."""
        path = self._records(table)
        if isinstance(data, (list, tuple)):
            body: Any = [checks.require_mapping("data", each) for each in data]
            if not body:
                raise checks.refuse("data", "it is empty")
        else:
            body = checks.require_mapping("data", data)
        return (yield from fetch_data(Call("POST", path, body=checks.require_json("data", body))))

    @operation
    def update(
        self,
        table: str,
        record_id: int | str | Sequence[Mapping[str, Any]] | None = None,
        data: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
    ) -> Operation[Any]:
        """Update a record, or several in one request, and return what they are now.

        Args:
            table: The table.
            record_id: The record; or the list of records, as in later versions of the published client.
            data: The fields to change; or a list of dicts, each with the "id" of its record, and no `record_id`.
        """
        if data is None and not isinstance(record_id, (int, str)):
            record_id, data = None, record_id
        if data is None:
            raise checks.refuse("data", "it is missing")
        if isinstance(data, Mapping):
            if record_id is None:
                raise checks.refuse("record_id", "it is missing; for several records data is a list with their ids")
            path = self._records(table, record_id)  # type: ignore[arg-type]
            body: Any = checks.require_mapping("data", data, filled=True)
        else:
            path, body = self._records(table), _require_records(record_id, data)
        return (yield from fetch_data(Call("PATCH", path, body=checks.require_json("data", body))))

    @operation
    def delete(
        self,
        table: str,
        record_id: int | str | None = None,
        record_ids: Sequence[int | str] | None = None,
        filters: Mapping[str, Any] | None = None,
        *,
        ids: Sequence[int | str] | None = None,
        filter: Mapping[str, Any] | None = None,  # noqa: A002 - the name of the published client
    ) -> Operation[dict[str, Any] | None]:
        """Delete a record, several, or all that have given values; exactly one of them is to be said.

        Args:
            table: The table.
            record_id: The record.
            record_ids: The records.
            filters: Fields and their values; at least one.
            ids: As `record_ids`.
            filter: As `filters`.

        Returns:
            What the server says about several records, or None.
        """
        record_ids = ids if record_ids is None else record_ids
        filters = filter if filters is None else filters
        if sum(each is not None for each in (record_id, record_ids, filters)) != 1:
            raise checks.refuse("record_id, record_ids, filters", "exactly one of them is needed")
        if record_id is not None:
            yield from fetch(Call("DELETE", self._records(table, record_id)))
            return None
        if record_ids is not None:
            params = [("ids", _join_ids(record_ids))]
        else:
            given = checks.require_mapping("filters", filters, filled=True)  # an empty one would delete the table
            params = [("filter", json.dumps(checks.require_json("filters", given)))]
        answer = yield from fetch_envelope(Call("DELETE", self._records(table), params))
        return answer or None

    def _records(self, table: str, record_id: int | str | None = None) -> str:
        path = f"{self._app}/datatables/{checks.segment('table', table)}/data/"
        return path if record_id is None else f"{path}{checks.segment('record_id', record_id)}/"


def _require_records(record_id: object, data: object) -> list[dict[str, Any]]:
    if record_id is not None:
        raise checks.refuse("record_id", "it does not go with a list of records, each of which has its id")
    if isinstance(data, str) or not isinstance(data, Sequence) or not data:
        raise checks.refuse("data", "it must be a dict, or a list of dicts that is not empty")
    records = [checks.require_mapping("data", each) for each in data]
    if not all("id" in record for record in records):
        raise checks.refuse("data", "a record of the list has no 'id'")
    return records


def _join_ids(values: object) -> str:
    if isinstance(values, str) or not isinstance(values, Sequence) or not values:
        raise checks.refuse("record_ids", "it must be a list of ids that is not empty")
    for value in values:
        checks.segment("record_ids", value)
        if "," in str(value):
            raise checks.refuse("record_ids", "an id has a comma, which the server takes for the end of the id")
    return ",".join(map(str, values))


def _format(value: Any) -> str:
    """Return a value of a filter as the server reads it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    if isinstance(value, (dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, (list, tuple, set, frozenset)):
        texts = [_format(each) for each in value]
        if any("," in text for text in texts):
            raise checks.refuse("value", "a value of the list has a comma, which the server takes for its end")
        return ",".join(texts)
    if isinstance(value, (str, int, float, Decimal, UUID)):
        return str(value)
    raise checks.refuse("value", f"a {type(value).__name__} has no form in a query")
