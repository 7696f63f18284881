"""States as text that a store may keep outside of this process, and that is safe to read back.

Not pickle: a file that another user can write must not run code here. The text is JSON, in which an object is always a
tag with one name, and values that JSON has no form for are tagged:

    value                          text
    -----------------------------  ---------------------------------------------
    None, bool, str, list          as JSON has them
    int, float                     as JSON has them, except for:
    int of more than 63 bits       {"i": "-0x1f..."}
    inf, -inf, nan                 {"f": "inf"}
    bytes                          {"b": "base64"}
    tuple                          {"t": [items]}
    dict of str                    {"o": {key: value}}, in its order
    any other dict                 {"d": [key, value, key, value, ...]}
    a registered NamedTuple        {"n": ["circuit.2", items]}

The only classes are NamedTuples that are registered with `stored_as`, by their tags. Reading imports nothing: a caller
that has a machine has imported the classes of its states. A NamedTuple is made of its items without calling its class,
and is compared with its annotations (`polvo_adapters.stores.state_types`).
Whatever is wrong with a text, reading it raises `Undecodable`.
"""

from __future__ import annotations

import json
import math
from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import Any

from polvo_adapters.core.machines import Machine
from polvo_adapters.core.stored_types import tag_of, type_of
from polvo_adapters.stores.state_types import has_fields, has_type

_TOO_LARGE = 1 << 63
_BEFORE_TAGS = {
    ("circuits.State", 2741470950): "circuit.1",
    ("circuits.Permit", 617401817): "circuit-permit.1",
    ("circuits.Told", 3988312307): "circuit-result.1",
    ("bulkhead.Slots", 1520207656): "bulkhead.1",
    ("concurrency.State", 4222586267): "concurrency-limit.1",
    ("ratelimit._Bucket", 2567630797): "token-bucket.1",
    ("ratelimit._Log", 2528929613): "sliding-window.1",
    ("budget.State", 2458619655): "retry-budget.1",
    ("hedge.State", 3769621286): "hedge.1",
    ("latency.Latencies", 4126271424): "latencies.1",
    ("lastgood.State", 240780167): "stale-cache.1",
    ("lastgood.Kept", 2060795513): "stale-response.1",
    ("records.State", 4056409754): "record.1",
    ("records.Answer", 380983209): "recorded-response.1",
    ("window.Tally", 2144180802): "window-tally.1",
    ("token.Life", 918964657): "token.1",
}
"""Tags of the classes that were written by path and a checksum of their fields, before there were tags."""
_FLOATS = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}


class Undecodable(ValueError):
    """A text that `encode` has not made, or of another version."""


def encode(state: Any) -> str:
    """Return the text of a state, in ASCII.

    Args:
        state: Plain values, in tuples, lists, dicts and registered NamedTuples.

    Raises:
        TypeError: It contains something else.
    """
    return json.dumps(_encode(state), allow_nan=False, separators=(",", ":"))


def decode(text: str | bytes) -> Any:
    """Return the state of a text.

    Args:
        text: What `encode` returned, or anything.

    Raises:
        Undecodable: It is not the text of a state.
    """
    try:
        return _decode(json.loads(text))
    except Undecodable:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise Undecodable(f"no state: {type(error).__name__}") from error


def decode_state(text: str | bytes, machine: Machine) -> Any:
    """Return the state of a text, for a machine.

    Args:
        text: What `encode` returned, or anything.
        machine: The machine that it is to be a state of.

    Raises:
        Undecodable: It is not the text of a state, or not that of this machine.
    """
    initial, state = machine.initial, decode(text)
    if isinstance(initial, (tuple, dict)) and type(state) is not type(initial):
        raise Undecodable("a state of another kind")
    if isinstance(initial, dict) and not initial.keys() <= state.keys():
        raise Undecodable("a state of another kind")
    expected = getattr(machine, "state_type", None)
    if expected is not None and not has_type(state, expected):
        raise Undecodable("no state: a part of it has another type")
    return state


def _encode(value: Any) -> Any:
    kind: Any = type(value)
    if kind is str or kind is bool or value is None:
        return value
    if kind is int:
        return value if -_TOO_LARGE <= value < _TOO_LARGE else {"i": hex(value)}
    if kind is float:
        return value if math.isfinite(value) else {"f": str(value)}
    if kind is tuple:
        return {"t": [_encode(item) for item in value]}
    if kind is list:
        return [_encode(item) for item in value]
    if kind is dict:
        return _encode_dict(value)
    if kind is bytes:
        return {"b": b64encode(value).decode("ascii")}
    return {"n": [_require_tag(kind), [_encode(item) for item in value]]}


def _encode_dict(value: dict[Any, Any]) -> dict[str, Any]:
    if all(type(key) is str for key in value):
        return {"o": {key: _encode(item) for key, item in value.items()}}
    return {"d": [_encode(part) for pair in value.items() for part in pair]}


def _require_tag(kind: Any) -> str:
    tag = tag_of(kind)
    if tag is None:
        raise TypeError(
            f"{kind.__module__}.{kind.__qualname__} cannot be kept outside of this process: a state is made of None, "
            "bool, int, float, str, bytes, tuples, lists, dicts and the NamedTuples that are registered with stored_as"
        )
    return tag


def _decode(value: Any) -> Any:
    kind = type(value)
    if kind is list:
        return [_decode(item) for item in value]
    if kind is not dict:
        return value
    (tag, content), *more = value.items()
    if more or tag not in _READERS:
        raise Undecodable("no state: a tag is unknown")
    return _READERS[tag](content)


def _decode_named_tuple(content: list[Any]) -> Any:
    tag, items = content if len(content) == 2 else _drop_checksum(*content)
    kind: Any = type_of(tag)
    if kind is None:
        raise Undecodable("no state: a class is unknown, or of another version")
    defaults = [] if tag_of(kind) == tag else list(kind._field_defaults.values())[len(items) - len(kind._fields) :]
    state = tuple.__new__(kind, [*map(_decode, items), *defaults])
    if len(state) != len(kind._fields):
        raise Undecodable("no state: a class is of another version")
    if not has_fields(state):
        raise Undecodable("no state: a field has a value of another type")
    return state


def _drop_checksum(name: str, checksum: int, items: list[Any]) -> tuple[str | None, list[Any]]:
    """Return tag and items of a NamedTuple in the form before tags: a path, a checksum of its fields, the items."""
    return _BEFORE_TAGS.get((name, checksum)), items


def _decode_pairs(content: list[Any]) -> dict[Any, Any]:
    parts = [_decode(part) for part in content]
    if len(parts) % 2:
        raise Undecodable("no state: a key has no value")
    return dict(zip(parts[::2], parts[1::2], strict=True))


_READERS: dict[str, Callable[[Any], Any]] = {
    "i": lambda content: int(content, 16),
    "f": lambda content: _FLOATS[content],
    "b": lambda content: b64decode(content, validate=True),
    "t": lambda content: tuple([_decode(item) for item in content]),
    "o": lambda content: {key: _decode(item) for key, item in content.items()},
    "d": _decode_pairs,
    "n": _decode_named_tuple,
}
