"""What any operation does with any answer: it returns plain values, or raises an error of this service."""

from __future__ import annotations

import inspect
import json
import typing
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polvo_adapters.services import taruvi
from polvo_adapters.services.taruvi.operations import Reply
from tests.services.taruvi.every_operation import FakeRunner, attempt, fitting_arguments, list_operations

OPERATIONS = list(list_operations())
SECRET = "s3cret-of-the-client"
WORDS: tuple[str, ...] = (
    "data",
    "results",
    "total",
    "count",
    "message",
    "detail",
    "details",
    "errors",
    "code",
    "module",
    "id",
    "key",
)
WORDS += ("actions", "resource", "kind", "value", "next", "access", SECRET)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(WORDS) | st.text(max_size=5)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=4),
    max_leaves=8,
)
BODIES = VALUES.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=40)
STATUSES = st.sampled_from([200, 200, 200, 201, 204, 304, 307, 400, 401, 402, 404, 418, 422, 429, 500, 503, 599, 999])
PLAIN = (dict, list, str, int, float, bool, bytes, type(None))


def is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return type(value) is dict and all(map(is_plain, value.values()))
    return all(map(is_plain, value)) if type(value) is list else type(value) in PLAIN


def promised_type(kind: type, name: str) -> Any:
    """Return the type that an operation returns, without what is in it."""
    function = vars(kind)[name].function
    scope = {**vars(inspect.getmodule(function)), "list": list}
    promised = typing.get_args(eval(function.__annotations__["return"], scope))[2]
    kinds = typing.get_args(promised) if typing.get_origin(promised) not in (dict, list) else (promised,)
    return tuple(typing.get_origin(each) or each for each in kinds or (promised,))


@pytest.mark.parametrize(("kind", "name"), OPERATIONS, ids=lambda each: getattr(each, "__name__", each))
@settings(max_examples=20, deadline=None, derandomize=True, database=None)
@given(status=STATUSES, body=BODIES, wire=st.sampled_from(["current", "2026-01"]))
def test_any_answer(kind: type, name: str, status: int, body: bytes, wire: str) -> None:
    runner = FakeRunner(lambda _: Reply(status, body, secrets=(SECRET,), host="a.test", kind="text/html"), wire)
    result, error = attempt(runner, kind, name, fitting_arguments(kind, name))
    if error is not None:
        assert SECRET not in f"{error} {error!r} {error.details} {error.to_dict()}"
        assert json.dumps(error.to_dict())
        return
    promised = promised_type(kind, name)
    assert 200 <= status < 300 or name == "verify_token"
    assert is_plain(result)
    assert Any in promised or isinstance(result, promised), (result, promised)


@pytest.mark.parametrize(("kind", "name"), OPERATIONS, ids=lambda each: getattr(each, "__name__", each))
@pytest.mark.parametrize(
    "body",
    [b"<html>" + SECRET.encode(), b'{"data": [1', b"\xff\xfe", b"[" * 100_000, b"9" * 5000],
    ids=["html", "cut", "bytes", "deep", "long number"],
)
def test_a_success_that_is_no_json(kind: type, name: str, body: bytes) -> None:
    """Only what reads no answer does not mind."""
    runner = FakeRunner(lambda _: Reply(200, body, secrets=(SECRET,), host="a.test"))
    _, error = attempt(runner, kind, name, fitting_arguments(kind, name))
    if error is None:
        assert name in ("delete_user", "delete_bucket", "download") or (kind.__name__, name) == ("Database", "delete")
        return
    assert isinstance(error, taruvi.ResponseError)
    assert error.status_code == 200
    assert error.details["content"]
    assert SECRET not in f"{error} {error.to_dict()}"


@pytest.mark.parametrize(("kind", "name"), OPERATIONS, ids=lambda each: getattr(each, "__name__", each))
def test_an_empty_success(kind: type, name: str) -> None:
    """What promises a value does not return without one; what changes something is done."""
    runner = FakeRunner(lambda _: Reply(200, b" \r\n", host="a.test"))
    changes = {"assign_roles", "revoke_roles", "verify_token", "upload", "copy_object", "move_object"}
    changes |= {"delete", "delete_user", "delete_bucket", "download"}
    changes |= {"update"} if kind.__name__ == "Bucket" else set()
    _, error = attempt(runner, kind, name, fitting_arguments(kind, name))
    assert (error is None) is (name in changes)
    assert error is None or error.message == "the answer is empty"
