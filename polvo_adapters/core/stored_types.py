"""The classes that a store may write outside of this process, each under a tag of its own.

A tag is written where pickle would write a module path. It says what the value is and in which form ("record.1"), so
that a class may move or be renamed and files written before stay readable. A class whose fields change gets the next
number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

AnyType = TypeVar("AnyType", bound=type)

_types: dict[str, type] = {}
_tags: dict[type, str] = {}


def stored_as(tag: str) -> Callable[[AnyType], AnyType]:
    """Register a NamedTuple under a tag, as a decorator.

    Args:
        tag: A word for what it is, a dot, and the number of its form: "record.1".

    Returns:
        A decorator that returns the class as it is.

    Raises:
        ValueError: The tag stands for another class already.
    """

    def register(kind: AnyType) -> AnyType:
        if _types.setdefault(tag, kind) is not kind:
            raise ValueError(f"{tag!r} stands for {_types[tag].__qualname__} already")
        _tags[kind] = tag
        return kind

    return register


def tag_of(kind: type) -> str | None:
    """Return the tag of a class, or None where it has none."""
    return _tags.get(kind)


def type_of(tag: object) -> type | None:
    """Return the class of a tag, or None where none is registered: no module is imported to look for one."""
    return _types.get(tag) if isinstance(tag, str) else None


def all_stored() -> dict[str, type]:
    """Return every registered class by its tag."""
    return dict(_types)
