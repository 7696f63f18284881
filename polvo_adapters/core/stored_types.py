"""The classes that a store may write outside of this process, each under a tag of its own.

A tag is written where pickle writes a module path. It names the value and its form ("record.1"), so that a class may
move or be renamed, and older files stay readable. A class whose fields change gets the next number; one that has got
more fields at its end is read from its former form too, with their defaults.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

AnyType = TypeVar("AnyType", bound=type)

_types: dict[str, type] = {}
_tags: dict[type, str] = {}
_allowed: dict[type, dict[str, tuple[str, ...]]] = {}


def stored_as(tag: str, *, former: str = "", **allowed: tuple[str, ...]) -> Callable[[AnyType], AnyType]:
    """Return a decorator that registers a NamedTuple under a tag and leaves the class as it is.

    Args:
        tag: Name of the value, a dot, and the number of its form: "record.1".
        former: Tag of a form without the last fields, or an empty string.
        allowed: For fields that are one of a few texts: these texts.

    Raises:
        ValueError: The tag stands for another class already.
    """

    def register(kind: AnyType) -> AnyType:
        if _types.setdefault(tag, kind) is not kind:
            raise ValueError(f"{tag!r} stands for {_types[tag].__qualname__} already")
        if former:
            _types[former] = kind
        _tags[kind] = tag
        _allowed[kind] = allowed
        return kind

    return register


def tag_of(kind: type) -> str | None:
    """Return the tag of a class, or None where it has none."""
    return _tags.get(kind)


def type_of(tag: object) -> type | None:
    """Return the class of a tag, or None where none is registered: no module is imported to look for one."""
    return _types.get(tag) if isinstance(tag, str) else None


def allowed_values(kind: type) -> dict[str, tuple[str, ...]]:
    """Return the texts that fields of a registered class may have, for the fields that say so."""
    return _allowed.get(kind, {})


def registered_types() -> dict[str, type]:
    """Return every registered class by its tag."""
    return {tag: kind for kind, tag in _tags.items()}
