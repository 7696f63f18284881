"""What the answers of Taruvi mean: JSON of the promised form, or an error with what the server says.

Answers are envelopes: {"status", "message", "data", "total"}. Errors are {"message" or "detail", "details" or "errors",
"code", "module"}. Nothing that a server sends raises anything but an error of this service.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from polvo_adapters.services.taruvi.error_factory import make_error, make_response_error, parse
from polvo_adapters.services.taruvi.operations import Call, Operation, Reply

_MOST_MOVES = 5


def fetch(call: Call) -> Operation[Reply]:
    """Return the reply to a call that was a success.

    Raises:
        TaruviError: It was none.
    """
    reply: Reply = yield call
    for _ in range(_MOST_MOVES):
        if not reply.moved:
            break
        call = call._replace(path=reply.moved, params=())
        reply = yield call
    if not reply.is_success:
        raise make_error(call, reply)
    return reply


def _fetch_json(call: Call, *, may_be_empty: bool) -> Operation[tuple[Any, Reply]]:
    """Return the JSON value of the answer to a call, and the reply; an empty dict where the answer may be empty."""
    reply = yield from fetch(call)
    if not reply.body.strip():
        if not may_be_empty and reply.status != 204:
            raise make_response_error(call, reply, "the answer is empty")
        return {}, reply
    return parse(call, reply), reply


def fetch_envelope(call: Call, *, may_be_empty: bool = False) -> Operation[dict[str, Any]]:
    """Return the answer to a call, which is an object; a list is put into one.

    Args:
        call: The call.
        may_be_empty: Whether an answer without content will do, which is an empty dict; one with status 204 always is.

    Raises:
        TaruviError: There was no success, or the answer is not of this form.
    """
    value, reply = yield from _fetch_json(call, may_be_empty=may_be_empty)
    if isinstance(value, list):
        return {"data": value}
    return _require_object(call, reply, value)


def fetch_list(call: Call) -> Operation[dict[str, Any]]:
    """Return the answer to a call for a list: its items are in "data" and in "results"."""
    value, reply = yield from _fetch_json(call, may_be_empty=False)
    items = _require_items(call, reply, value)
    envelope = value if isinstance(value, dict) else {}
    has_items = bool(items) or isinstance(envelope.get("data", []), list)
    return {**envelope, "results": items, **({"data": items} if has_items else {})}


def fetch_items(call: Call) -> Operation[list[Any]]:
    """Return the items of the list that is the answer to a call."""
    value, reply = yield from _fetch_json(call, may_be_empty=False)
    return _require_items(call, reply, value)


def fetch_rows(call: Call) -> Operation[tuple[list[dict[str, Any]], int | None]]:
    """Return the items of a list of objects, and how many there are on all pages, where the server says so."""
    value, reply = yield from _fetch_json(call, may_be_empty=False)
    items = _require_items(call, reply, value)
    if not all(isinstance(each, dict) for each in items):
        raise make_response_error(call, reply, "an item of the answer is not an object")
    return items, _find_total(value)


def fetch_total(call: Call) -> Operation[int]:
    """Return how many items there are on all pages."""
    value, reply = yield from _fetch_json(call, may_be_empty=False)
    total = _find_total(value)
    if total is None and (_require_items(call, reply, value) or not reply.body.strip()):
        raise make_response_error(call, reply, "the answer does not say in 'total' how many there are")
    return total or 0


def fetch_results(call: Call) -> Operation[list[Any]]:
    """Return the list in "results", also within "data", where that alone is as promised."""
    value, reply = yield from _fetch_json(call, may_be_empty=False)
    envelope = _require_object(call, reply, value)
    data = envelope.get("data")
    results = envelope.get("results", data.get("results") if isinstance(data, dict) else None)
    if not isinstance(results, list):
        raise make_response_error(call, reply, "the answer has no list in 'results'")
    return results


def fetch_object(call: Call) -> Operation[dict[str, Any]]:
    """Return the answer to a call for one object: its fields beside those of the envelope, and in "data"."""
    value, reply = yield from _fetch_json(call, may_be_empty=False)
    envelope = _require_object(call, reply, value)
    data = envelope.get("data")
    return envelope if data is None else {**envelope, **_require_object(call, reply, data), "data": data}


def fetch_record(call: Call) -> Operation[dict[str, Any]]:
    """Return the object in the envelope, or the answer itself where it has none."""
    value, reply = yield from _fetch_json(call, may_be_empty=False)
    envelope = _require_object(call, reply, value)
    return _require_object(call, reply, envelope.get("data", envelope))


def fetch_data(call: Call, *, may_be_empty: bool = False) -> Operation[Any]:
    """Return what is in the envelope, or the answer itself where it has none; arguments as for `fetch_envelope`."""
    value, _ = yield from _fetch_json(call, may_be_empty=may_be_empty)
    return value["data"] if isinstance(value, dict) and "data" in value else value


def _require_object(call: Call, reply: Reply, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise make_response_error(call, reply, f"the answer is {type(value).__name__}, and not an object")
    return value


def _require_items(call: Call, reply: Reply, value: Any) -> list[Any]:
    """Return the list of an answer; an empty one where "data" is there and has nothing in it."""
    if isinstance(value, list):
        return value
    envelope = _require_object(call, reply, value)
    if not envelope and reply.status == 204:
        return []
    for name in ("data", "results"):
        items = envelope.get(name)
        if isinstance(items, dict):
            items = items.get("results", items or [])
        if isinstance(items, list):
            return items
        if name in envelope and items is None:
            return []
    raise make_response_error(call, reply, "the answer has no list in 'data' or 'results'")


def _find_total(value: Any) -> int | None:
    """Return how many items there are on all pages, or None where the server does not say."""
    for name in ("total", "count"):
        total = value.get(name) if isinstance(value, Mapping) else None
        if isinstance(total, int) and not isinstance(total, bool) and total >= 0:
            return total
    return None


__all__ = [
    "fetch",
    "fetch_data",
    "fetch_envelope",
    "fetch_items",
    "fetch_list",
    "fetch_object",
    "fetch_record",
    "fetch_results",
    "fetch_rows",
    "fetch_total",
]
