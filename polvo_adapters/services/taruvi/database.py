"""The database of the app: records of tables, and queries for them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from polvo_adapters.services.taruvi import addresses, checks
from polvo_adapters.services.taruvi.operations import Call, Mode_co, Module, Operation, Runner, operation
from polvo_adapters.services.taruvi.responses import (
    fetch,
    fetch_envelope,
    fetch_record,
    fetch_rows,
    fetch_total,
)

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
        self._path = f"{self._app}/datatables/{addresses.segment('table', table)}/data/"
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
        checks.require_choice("operator", operator, OPERATORS)
        key = name if operator == "eq" else f"{name}__{operator}"
        self._filters.append((key, checks.format_value("value", value)))
        return self

    def sort(self, field: str, order: str = "asc") -> Self:
        """Sort by a field, "asc" or "desc"; the last call counts."""
        name = checks.require_text("field", field)
        self._order = (name, checks.require_choice("order", order, ("asc", "desc")))
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
        rows, _ = yield from fetch_rows(Call("GET", self._path, self._params()))
        return rows

    @operation
    def execute(self) -> Operation[dict[str, Any]]:
        """Return the records in "data", and in "total" how many there are on all pages."""
        rows, total = yield from fetch_rows(Call("GET", self._path, self._params()))
        return {"data": rows, "total": len(rows) if total is None else total}

    @operation
    def first(self) -> Operation[Record | None]:
        """Return the first record, or None."""
        rows, _ = yield from fetch_rows(Call("GET", self._path, self._params(size=1)))
        return rows[0] if rows else None

    @operation
    def count(self) -> Operation[int]:
        """Return how many records there are, on all pages."""
        count = [("_count", "true")]
        params = self._params(count, size=1) if self._is_current else self._params(count)
        return (yield from fetch_total(Call("GET", self._path, params)))

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
    def get(self, table: str, record_id: int | str | UUID) -> Operation[Record]:
        """Return a record."""
        path = f"{self._records(table)}{addresses.identifier('record_id', record_id)}/"
        return (yield from fetch_record(Call("GET", path)))

    @operation
    def create(self, table: str, data: Mapping[str, Any] | Iterable[Mapping[str, Any]]) -> Operation[Any]:
        """Create a record from a dict, or several in one request from a list of them, and return what was created."""
        path = self._records(table)
        if isinstance(data, Mapping):
            record = checks.require_json("data", checks.require_mapping("data", data))
            return (yield from fetch_record(Call("POST", path, body=record)))
        records = [checks.require_mapping("data", each) for each in checks.require_items("data", data)]
        call = Call("POST", path, body=checks.require_json("data", records))
        return (yield from fetch_rows(call))[0]

    @operation
    def update(
        self,
        table: str,
        record_id: int | str | UUID | Iterable[Mapping[str, Any]] | None = None,
        data: Mapping[str, Any] | Iterable[Mapping[str, Any]] | None = None,
    ) -> Operation[Any]:
        """Update a record, or several in one request, and return what they are now.

        Args:
            table: The table.
            record_id: The record; or the list of records, as in later versions of the published client.
            data: The fields to change; or a list of dicts, each with the "id" of its record, and no `record_id`.
        """
        if data is None and not isinstance(record_id, (int, str, UUID)):
            record_id, data = None, record_id
        if data is None:
            raise checks.refuse("data", "it is missing")
        if isinstance(data, Mapping):
            if record_id is None:
                raise checks.refuse("record_id", "it is missing; for several records data is a list with their ids")
            path = f"{self._records(table)}{addresses.identifier('record_id', record_id)}/"
            fields = checks.require_json("data", checks.require_mapping("data", data, filled=True))
            return (yield from fetch_record(Call("PATCH", path, body=fields)))
        records = checks.require_json("data", _require_records(record_id, data))
        return (yield from fetch_rows(Call("PATCH", self._records(table), body=records)))[0]

    @operation
    def delete(
        self,
        table: str,
        record_id: int | str | UUID | None = None,
        record_ids: Iterable[int | str | UUID] | None = None,
        filters: Mapping[str, Any] | None = None,
        *,
        ids: Iterable[int | str | UUID] | None = None,
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
        if sum(each is not None for each in (record_id, record_ids, ids, filters, filter)) != 1:
            raise checks.refuse("record_id, record_ids, filters", "exactly one of them is needed")
        record_ids = ids if record_ids is None else record_ids
        filters = filter if filters is None else filters
        if record_id is not None:
            path = f"{self._records(table)}{addresses.identifier('record_id', record_id)}/"
            yield from fetch(Call("DELETE", path))
            return None
        if filters is None:
            params = [("ids", _join_ids("record_ids" if ids is None else "ids", record_ids))]
        else:  # an empty one would delete all that is in the table
            name = "filters" if filter is None else "filter"
            given = checks.require_json(name, checks.require_mapping(name, filters, filled=True))
            params = [("filter", json.dumps(given))]
        answer = yield from fetch_envelope(Call("DELETE", self._records(table), params), may_be_empty=True)
        return answer or None

    def _records(self, table: str) -> str:
        return f"{self._app}/datatables/{addresses.segment('table', table)}/data/"


def _require_records(record_id: object, data: object) -> list[dict[str, Any]]:
    if record_id is not None:
        raise checks.refuse("record_id, data", "a list of records needs no record_id, as each of them has its id")
    records = [
        checks.require_mapping("data, record_id", each) for each in checks.require_items("data, record_id", data)
    ]
    for record in records:
        if "id" not in record:
            raise checks.refuse("data", "a record of the list has no 'id'")
        addresses.plain_id("data", record["id"])
    return records


def _join_ids(name: str, values: object) -> str:
    ids = [addresses.plain_id(name, each) for each in checks.require_items(name, values)]
    for each in ids:
        addresses.segment(name, each)
        if "," in each:
            raise checks.refuse(name, "an id has a comma, which the server takes for the end of the id")
    return ",".join(ids)
