"""The keywords that are decided when a session, an adapter or a client is made: to assign one later is an error.

Python lets any attribute be set. `session.rate_limit = "adaptive"` would be accepted, and limit nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, TypeVar

from polvo_adapters.policies.one_call import CallOptions
from polvo_adapters.policies.options import StackOptions

AnyType = TypeVar("AnyType", bound=type)
_PACKAGE = __name__.partition(".")[0]


class FixedOption:
    """One such keyword as an attribute of such a class. A subclass of a user may have one of that name.

    Args:
        name: The keyword.
        maker: Name of the function that makes objects of the class, or an empty string for the class itself.
    """

    def __init__(self, name: str, maker: str = "") -> None:
        self._name, self._maker = name, maker

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
        maker = self._maker or kind.__name__
        ways = [f"when it is made, by {maker}({name}=...)"]
        if name in CallOptions.__annotations__ and not self._maker:
            ways.append(f"for one call, by polvo.call({name}=...)")
        raise AttributeError(f"{maker}: {name} cannot be set; say it {' or '.join(ways)}")

    def __delete__(self, instance: Any) -> None:
        if vars(instance).pop(self._name, self) is self:
            raise AttributeError(self._name)


def fix_options(
    kind: AnyType, maker: str = "", more: Collection[str] = (), changeable: Collection[str] = ()
) -> AnyType:
    """Make the keywords of the standard stack fixed in a class, as a decorator.

    Args:
        kind: The class.
        maker: See `FixedOption`.
        more: Further keywords.
        changeable: Those that objects of the class let be assigned.
    """
    for name in {*StackOptions.__annotations__, *more}.difference(changeable, vars(kind)):
        setattr(kind, name, FixedOption(name, maker))
    return kind
