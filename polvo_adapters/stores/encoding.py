"""States as text that a store may keep outside of this process, and that is safe to read back.

Not pickle: a file that somebody else can write must not run code here. What is written is JSON, in which an object is
always a tag with one name, and everything that JSON has no form for is tagged:

    value                          text
    -----------------------------  ---------------------------------------------
    None, bool, str, list          as JSON has them
    int, float                     as JSON has them, as far as it does
    int of more than 63 bits       {"i": "-0x1f..."}
    inf, -inf, nan                 {"f": "inf"}
    bytes                          {"b": "base64"}
    tuple                          {"t": [items]}
    dict of str                    {"o": {key: value}}, in its order
    any other dict                 {"d": [key, value, key, value, ...]}
    NamedTuple of a policy         {"n": ["circuits.State", "its fields", items]}

Of classes only NamedTuples of `polvo_adapters.policies` are known, looked up among the modules that are imported
already (whoever has the machine has imported them): reading never imports and never calls anything. A NamedTuple is
made of its items without its class having a say. The names of its fields go along as a checksum, so that a state
written by a version in which the class was another one is not taken for one of today. What cannot be read is
`Undecodable`, whatever is wrong with it.
"""

from __future__ import annotations

import json
import math
import sys
from base64 import b64decode, b64encode
from collections.abc import Callable
from functools import lru_cache
from typing import Any
from zlib import crc32

_HOME = "polvo_adapters.policies."
_BEYOND = 1 << 63
_FLOATS = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}


class Undecodable(ValueError):
    """A text is not what `encode` makes, or of another version."""


def encode(state: Any) -> str:
    """Return the text of a state, in ASCII.

    Args:
        state: Plain values, in tuples, lists, dicts and NamedTuples of `polvo_adapters.policies`.

    Raises:
        TypeError: There is something else in it.
    """
    return json.dumps(_tagged(state), allow_nan=False, separators=(",", ":"))


def decode(text: str) -> Any:
    """Return the state of a text.

    Args:
        text: What `encode` returned, or anything.

    Raises:
        Undecodable: It is something else.
    """
    try:
        return _plain(json.loads(text))
    except Undecodable:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise Undecodable(f"no state: {type(error).__name__}") from error


def _tagged(value: Any) -> Any:
    kind: Any = type(value)
    if kind is str or kind is bool or value is None:
        return value
    if kind is int:
        return value if -_BEYOND <= value < _BEYOND else {"i": hex(value)}
    if kind is float:
        return value if math.isfinite(value) else {"f": str(value)}
    if kind is tuple:
        return {"t": [_tagged(item) for item in value]}
    if kind is list:
        return [_tagged(item) for item in value]
    if kind is dict:
        return _tagged_dict(value)
    if kind is bytes:
        return {"b": b64encode(value).decode("ascii")}
    return {"n": [*_name(kind), [_tagged(item) for item in value]]}


def _tagged_dict(value: dict[Any, Any]) -> dict[str, Any]:
    if all(type(key) is str for key in value):
        return {"o": {key: _tagged(item) for key, item in value.items()}}
    return {"d": [_tagged(part) for pair in value.items() for part in pair]}


@lru_cache(maxsize=256)
def _name(kind: Any) -> tuple[str, int]:
    """Return what a class is found again by."""
    name = f"{kind.__module__}.{kind.__qualname__}"
    if not name.startswith(_HOME) or _class(name[len(_HOME) :]) is not kind:
        raise TypeError(
            f"{name} cannot be kept outside of this process: a state is made of None, bool, int, float, str, bytes, "
            f"tuples, lists, dicts and the NamedTuples of {_HOME[:-1]}"
        )
    return name[len(_HOME) :], _checksum(kind)


def _checksum(kind: Any) -> int:
    return crc32(",".join(kind._fields).encode())


def _class(name: str) -> Any:
    """Return the NamedTuple that has a name, or None."""
    module, _, own = name.rpartition(".")
    kind = vars(sys.modules.get(_HOME + module, sys)).get(own)
    if not isinstance(kind, type) or kind.__bases__ != (tuple,) or not hasattr(kind, "_fields"):
        return None
    # A module also has the names that it imports; those are not its own.
    return kind if (kind.__module__, kind.__qualname__) == (_HOME + module, own) else None


def _plain(value: Any) -> Any:
    kind = type(value)
    if kind is list:
        return [_plain(item) for item in value]
    if kind is not dict:
        return value
    (tag, content), *more = value.items()
    if more or tag not in _READERS:
        raise Undecodable("no state: a tag is unknown")
    return _READERS[tag](content)


def _named(content: list[Any]) -> Any:
    name, checksum, items = content
    kind = _class(name)
    if kind is None or checksum != _checksum(kind) or len(items) != len(kind._fields):
        raise Undecodable("no state: it has a class that is unknown here")
    return tuple.__new__(kind, [_plain(item) for item in items])


def _pairs(content: list[Any]) -> dict[Any, Any]:
    parts = [_plain(part) for part in content]
    if len(parts) % 2:
        raise Undecodable("no state: a key has no value")
    return dict(zip(parts[::2], parts[1::2], strict=True))


_READERS: dict[str, Callable[[Any], Any]] = {
    "i": lambda content: int(content, 16),
    "f": lambda content: _FLOATS[content],
    "b": lambda content: b64decode(content, validate=True),
    "t": lambda content: tuple([_plain(item) for item in content]),
    "o": lambda content: {key: _plain(item) for key, item in content.items()},
    "d": _pairs,
    "n": _named,
}
