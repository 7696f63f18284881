"""Every operation of every module, with arguments that fit; run without a server, by replies that a test makes up."""

from __future__ import annotations

import inspect
import io
import json
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

from polvo_adapters.services.operation_driver import drive
from polvo_adapters.services.taruvi import TaruviError
from polvo_adapters.services.taruvi.app import Analytics, App, Settings
from polvo_adapters.services.taruvi.auth import AuthManager
from polvo_adapters.services.taruvi.database import Database, Query
from polvo_adapters.services.taruvi.functions import Functions
from polvo_adapters.services.taruvi.operations import NO_BODY, Call, Operation, Reply, operation
from polvo_adapters.services.taruvi.policy import Policy
from polvo_adapters.services.taruvi.secrets import Secrets
from polvo_adapters.services.taruvi.storage import Bucket, Storage
from polvo_adapters.services.taruvi.users import Users

KINDS: dict[type, tuple[Any, ...]] = {
    AuthManager: (),
    Functions: (),
    Database: (),
    Query: ("users",),
    Users: (),
    Storage: (),
    Bucket: ("images",),
    Secrets: (),
    Policy: (),
    Analytics: (),
    App: (),
    Settings: (),
}
"""The modules, and what each is made of besides its client."""

FITTING: dict[str, Any] = {
    "actions": ["view"],
    "data": {"id": 1},
    "email": "a@b.example",
    "files": [("a.txt", b"x")],
    "keys": ["API_KEY"],
    "metadata": {"a": 1},
    "params": {"a": 1},
    "paths": ["a.txt"],
    "preferences": {"a": 1},
    "record_id": 1,
    "resource": {"kind": "d", "id": 1},
    "resources": [{"kind": "d", "id": 1}],
    "roles": ["editor"],
    "usernames": ["bob"],
}
"""Arguments that fit, where a word would not."""

NEEDED: dict[str, dict[str, Any]] = {
    "Database.update": {"record_id": 1, "data": {"a": 1}},
    "Database.delete": {"record_id": 1},
    "Users.update_user": {"email": "a@b.example"},
    "Users.update": {"email": "a@b.example"},
    "Bucket.update": {"metadata": {"a": 1}},
    "Bucket.copy_object": {"destination_path": "b.txt"},
    "Bucket.move_object": {"destination_path": "b.txt"},
    "Storage.update_bucket": {"data": {"a": 1}},
    "Policy.check_resources": {"actions": ["view"]},
}
"""Arguments without which an operation has nothing to do, although each alone may be left out."""


class FakeRunner:
    """A client without a server.

    Args:
        reply: Makes the reply to a call.
        wire: The version of the protocol.
    """

    app_slug = "my-app"

    def __init__(self, reply: Callable[[Call], Reply], wire: str = "current") -> None:
        self._reply = reply
        self.wire = wire
        self.calls: list[Call] = []

    def run(self, running: Operation[Any]) -> Any:
        return drive(running, self._perform)

    def _perform(self, effect: Any) -> Any:
        if isinstance(effect, Call):
            urlencode(effect.params)
            if effect.body is not NO_BODY:
                json.dumps(effect.body, allow_nan=False)
            self.calls.append(effect)
            return self._reply(effect)
        return [drive(each, self._perform) for each in effect.operations]


def list_operations() -> Iterator[tuple[type, str]]:
    """Return module and name of every operation, by the first of its names."""
    for kind in KINDS:
        first = {id(each): name for name, each in reversed(list(vars(kind).items())) if isinstance(each, operation)}
        yield from ((kind, name) for name in reversed(first.values()))


def list_parameters(kind: type, name: str) -> list[inspect.Parameter]:
    """Return the parameters of an operation, but for `self` and `**attributes`; their annotations are types."""
    function = vars(kind)[name].function
    scope = {**vars(inspect.getmodule(function)), "list": list, "BinaryIO": typing.BinaryIO}
    found = list(inspect.signature(function).parameters.values())[1:]
    return [
        each.replace(annotation=eval(each.annotation, scope))
        for each in found
        if each.kind is not inspect.Parameter.VAR_KEYWORD
    ]


def fitting_arguments(kind: type, name: str) -> dict[str, Any]:
    """Return arguments with which an operation sends something."""
    required = [each.name for each in list_parameters(kind, name) if each.default is inspect.Parameter.empty]
    return {each: FITTING.get(each, "word") for each in required} | NEEDED.get(f"{kind.__name__}.{name}", {})


def fits(annotation: Any, value: Any) -> bool:  # noqa: C901 - a case for each kind of annotation
    """Return whether a value is of an annotated type, items of lists and dicts included."""
    if annotation is Any:
        return True
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (types.UnionType, typing.Union):
        return any(fits(each, value) for each in parts)
    if annotation in (None, type(None)):
        return value is None
    if annotation in (int, float):
        return isinstance(value, (int, float) if annotation is float else int) and not isinstance(value, bool)
    if annotation is typing.BinaryIO:
        return hasattr(value, "write")
    if origin is None:
        return isinstance(value, annotation)
    if origin is tuple:
        return isinstance(value, tuple)
    if not isinstance(value, origin):
        return False
    if isinstance(value, (str, bytes)) or (isinstance(value, Mapping) and not issubclass(origin, Mapping)):
        return False  # a sequence of characters is no sequence of names
    if issubclass(origin, Mapping):
        return all(fits(parts[0], key) and fits(parts[1], each) for key, each in value.items())
    if issubclass(origin, Iterable):
        return all(fits(parts[0], each) for each in value)
    return True


def make_hostile_values() -> dict[str, Any]:
    """Return values that no parameter expects, by a name for each."""
    deep: list[Any] = []
    deep.append(deep)
    return {
        "none": None,
        "number": 5,
        "huge": 10**5000,
        "float": 5.5,
        "nan": float("nan"),
        "true": True,
        "empty": "",
        "bytes": b"x",
        "object": object(),
        "class": dict,
        "list": [],
        "numbers": [5],
        "nothings": [None],
        "unhashable": [{}],
        "lists": [[1, 2]],
        "dict": {},
        "keys": {5: 1},
        "values": {"a": object()},
        "deep": deep,
        "set": {"a"},
        "generator": iter(()),
        "surrogate": "\ud800",
        "surrogates": ["\ud800"],
        "line": "a\r\nb",
        "climb": "../x",
        "text file": io.StringIO("x"),
    }


def attempt(runner: FakeRunner, kind: type, name: str, arguments: Mapping[str, Any]) -> tuple[Any, TaruviError | None]:
    """Return what an operation returns, and None; or None, and the error that it raises."""
    try:
        return getattr(kind(runner, *KINDS[kind]), name)(**arguments), None
    except TaruviError as error:
        return None, error
