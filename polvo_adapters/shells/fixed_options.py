"""The keywords that are decided when a session or an adapter is made: to assign one later is an error, not ignored.

Python lets any attribute be set. `session.rate_limit = "adaptive"` would be accepted, and limit nothing.
"""

from __future__ import annotations

from typing import Any, TypeVar

from polvo_adapters.policies.one_call import CallOptions
from polvo_adapters.policies.options import StackOptions

AnyType = TypeVar("AnyType", bound=type)
_PACKAGE = __name__.partition(".")[0]


class FixedOption:
    """One such keyword as an attribute of such a class. A subclass of a user may have one of that name.

    Args:
        name: The keyword.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:  # a class has none either: `dataclasses` would take it for the default of a field
            raise AttributeError(f"type object {owner.__name__!r} has no attribute {self._name!r}")
        try:
            return vars(instance)[self._name]
        except KeyError:
            raise AttributeError(f"{type(instance).__name__!r} object has no attribute {self._name!r}") from None

    def __set__(self, instance: Any, value: Any) -> None:
        kind, name = type(instance), self._name
        if kind.__module__.partition(".")[0] != _PACKAGE:
            vars(instance)[name] = value
            return
        ways = [f"when it is made, by {kind.__name__}({name}=...)"]
        if name in CallOptions.__annotations__:
            ways.append(f"for one call, by polvo.call({name}=...)")
        raise AttributeError(f"{kind.__name__}: {name} cannot be set; say it {' or '.join(ways)}")

    def __delete__(self, instance: Any) -> None:
        if vars(instance).pop(self._name, self) is self:
            raise AttributeError(self._name)


def fix_options(kind: AnyType) -> AnyType:
    """Make the keywords of the standard stack fixed in a class, as a decorator."""
    for name in StackOptions.__annotations__:
        if name not in vars(kind):
            setattr(kind, name, FixedOption(name))
    return kind
