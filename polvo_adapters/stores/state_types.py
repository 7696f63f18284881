"""The check that a state which was read is one that its machine can have made.

Theory of operation. A file may hold anything: another version wrote it, a disk failed, a person edited it. A machine is
total over the states that it makes, and over no others; a text where it expects a number raises in every call. So what
is read is compared with the annotations of its class, once, where it is read:

    annotation                     value
    -----------------------------  ---------------------------------------------------------------
    float                          int or float; not nan, and no int that a float cannot count
    int                            int of at most 63 bits, not bool
    str, bool, bytes, None         exactly that
    Literal[...]                   one of these
    X | Y                          either
    tuple[X, ...], tuple[X, Y]     a tuple of that, of that length
    list[X], dict[X, Y]            a list or dict of that
    a registered NamedTuple        exactly that class; its own fields were compared when it was read
    a TypedDict                    a dict that has all of its required keys; others are those of a later version
    Any                            anything that can be read: its meaning depends on the settings of the machine

Values that are of the right type and make no sense are not found here. Where a machine raises on what was read, the
stores treat it as what cannot be read.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from types import NoneType, UnionType
from typing import Any, Literal, TypeAlias, Union, cast, get_args, get_origin, get_type_hints, is_typeddict

from polvo_adapters.core.stored_types import allowed_values

Check: TypeAlias = "Callable[[Any], bool]"

_LARGEST = 1 << 63


def has_fields(state: Any) -> bool:
    """Return whether the fields of a registered NamedTuple have the types of its annotations."""
    return all(map(_call, _field_checks(cast("Any", type(state))), state))


def has_type(value: Any, annotation: Any) -> bool:
    """Return whether a value has a type.

    Args:
        value: Something that was read.
        annotation: The type, as in the table of this module.
    """
    return _make_check(annotation)(value)


def _call(check: Check, value: Any) -> bool:
    return check(value)


@lru_cache(maxsize=256)
def _field_checks(kind: Any) -> tuple[Check, ...]:
    hints, allowed = get_type_hints(kind), allowed_values(kind)
    return tuple([_is_one_of(allowed[name]) if name in allowed else _make_check(hints[name]) for name in kind._fields])


@lru_cache(maxsize=256)
def _make_check(annotation: Any) -> Check:
    simple = _SIMPLE.get(annotation)
    if simple is not None:
        return simple
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return _is_one_of(arguments)
    if origin is Union or origin is UnionType:
        checks = [_make_check(argument) for argument in arguments]
        return lambda value: any(check(value) for check in checks)
    if origin in _CONTAINERS:
        return _CONTAINERS[origin](*arguments)
    if is_typeddict(annotation):
        return _is_typed_dict(annotation)
    return lambda value: type(value) is annotation


def _is_one_of(allowed: tuple[Any, ...]) -> Check:
    return lambda value: type(value) in (str, int, bool) and value in allowed


def _is_tuple_of(*arguments: Any) -> Check:
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        check = _make_check(arguments[0])
        return lambda value: type(value) is tuple and all(check(item) for item in value)
    checks = [_make_check(argument) for argument in arguments]
    return lambda value: (
        type(value) is tuple
        and len(value) == len(checks)
        and all(check(item) for check, item in zip(checks, value, strict=True))
    )


def _is_list_of(argument: Any) -> Check:
    check = _make_check(argument)
    return lambda value: type(value) is list and all(check(item) for item in value)


def _is_dict_of(key: Any, item: Any) -> Check:
    check_key, check_item = _make_check(key), _make_check(item)
    return lambda value: (
        type(value) is dict and all(check_key(name) and check_item(part) for name, part in value.items())
    )


def _is_typed_dict(annotation: Any) -> Check:
    checks = {name: _make_check(hint) for name, hint in get_type_hints(annotation).items()}
    required = annotation.__required_keys__
    return lambda value: (
        type(value) is dict
        and required <= value.keys()
        and all(check(value[name]) for name, check in checks.items() if name in value)
    )


def _is_float(value: Any) -> bool:
    kind = type(value)
    return bool(value == value) if kind is float else kind is int and -_LARGEST < value < _LARGEST


def _is_int(value: Any) -> bool:
    return type(value) is int and -_LARGEST < value < _LARGEST


_SIMPLE: dict[Any, Check] = {
    float: _is_float,
    int: _is_int,
    Any: lambda _: True,
    NoneType: lambda value: value is None,
}
_CONTAINERS: dict[Any, Callable[..., Check]] = {tuple: _is_tuple_of, list: _is_list_of, dict: _is_dict_of}
