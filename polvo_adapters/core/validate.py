"""Checks of policy settings; each failure names the policy, the field and the value."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from polvo_adapters.core.calls import origin
from polvo_adapters.core.outcomes import FAILURES
from polvo_adapters.core.setting_kinds import describe_class, show_value


def number(
    policy: object, field: str, low: float, *, above: bool = False, infinite: bool = False, high: float = math.inf
) -> None:
    """Raise ValueError unless the field is a number of at least `low` (or above it), and at most `high`.

    Args:
        policy: The policy that has the field.
        field: Name of the field.
        low: Smallest value allowed.
        above: Whether `low` itself is too small.
        infinite: Whether infinity is allowed.
        high: Largest value allowed.
    """
    value = getattr(policy, field)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if is_number and low <= value <= high and not (above and value == low) and (infinite or not math.isinf(value)):
        return
    wanted = f"a number {'above' if above else 'of at least'} {low:g}"
    raise _setting_error(policy, field, wanted if high == math.inf else f"{wanted} and at most {high:g}")


def count(policy: object, field: str, low: int) -> None:
    """Raise ValueError unless the field is a whole number of at least `low`."""
    value = getattr(policy, field)
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise _setting_error(policy, field, f"a whole number of at least {low}")


def choice(policy: object, field: str, allowed: tuple[str, ...]) -> None:
    """Raise ValueError unless the field is one of the allowed words."""
    value = getattr(policy, field)
    if not isinstance(value, str) or value not in allowed:
        raise _setting_error(policy, field, "one of " + ", ".join(repr(word) for word in allowed))


def statuses(policy: object, field: str) -> frozenset[int]:
    """Return the field as a set of HTTP statuses, or raise ValueError."""
    wanted = "a collection of HTTP statuses from 100 to 599"
    given = getattr(policy, field)
    if not _is_collection(given):
        raise _setting_error(policy, field, wanted)
    values: set[Any] = set()
    for value in given:
        if isinstance(value, bool) or not isinstance(value, int) or not 100 <= value <= 599:
            raise _setting_error(policy, field, wanted)
        values.add(value)
    return frozenset(values)


def flag(policy: object, field: str) -> None:
    """Raise ValueError unless the field is True or False."""
    if not isinstance(getattr(policy, field), bool):
        raise _setting_error(policy, field, "True or False")


def texts(policy: object, field: str) -> tuple[str, ...]:
    """Return the field as a tuple of texts, or raise ValueError."""
    value = getattr(policy, field)
    found = tuple(value) if _is_collection(value) else (None,)
    if not all(isinstance(each, str) for each in found):
        raise _setting_error(policy, field, "a collection of texts")
    return found


def _is_collection(value: object) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, (str, bytes, bytearray, Mapping))


def instance(policy: object, field: str, kind: type) -> None:
    """Raise ValueError unless the field is None or an object of the class."""
    value = getattr(policy, field)
    if value is not None and not isinstance(value, kind):
        raise _setting_error(policy, field, f"a {kind.__name__} or None")


def methods(policy: object, field: str) -> frozenset[str] | None:
    """Return the field as upper-case method names, or None for every method, or raise ValueError."""
    value = getattr(policy, field)
    if value is None:
        return None
    names = tuple(value) if _is_collection(value) else (None,)  # which may be an iterator
    if not all(isinstance(name, str) for name in names):
        raise _setting_error(policy, field, "a collection of method names, or None for every method")
    return frozenset(name.upper() for name in names)


def exceptions(policy: object, field: str) -> tuple[type[BaseException] | str, ...] | None:
    """Return the field as a tuple of exception classes and names of failures, or None, or raise ValueError."""
    value = getattr(policy, field)
    if value is None:
        return None
    kinds = tuple(value) if isinstance(value, (tuple, list, set, frozenset)) else (value,)
    for kind in kinds:
        is_name = isinstance(kind, str) and kind in FAILURES
        if not is_name and not (isinstance(kind, type) and issubclass(kind, BaseException)):
            names = ", ".join(repr(name) for name in sorted(FAILURES))
            raise _setting_error(policy, field, f"None, or a collection of exception classes and of {names}")
    return kinds


def key(policy: object, field: str) -> None:
    """Raise ValueError unless the field is "origin", a collection of path prefixes, or a function."""
    value = getattr(policy, field)
    if callable(value) or value == "origin":
        return
    wanted = "'origin', a tuple of path prefixes that begin with '/', or a function of the call"
    listed = not isinstance(value, str) and isinstance(value, Iterable)
    if not listed or not all(isinstance(each, str) and each.startswith("/") for each in value):
        raise _setting_error(policy, field, wanted)
    object.__setattr__(policy, field, tuple(value))


def base_urls(policy: object, field: str) -> tuple[str, ...]:
    """Return the field as a tuple of base URLs without a slash at the end, or raise ValueError."""
    value = getattr(policy, field)
    urls = tuple(value) if _is_collection(value) else ()
    if not urls or not all(isinstance(url, str) and _is_base_url(url) for url in urls):
        wanted = "a sequence of URLs such as 'https://eu.example.com/api', without credentials, query and fragment"
        if "@" in str(value):  # it may be a password
            raise ValueError(f"{type(policy).__name__}({field}=...): {field} must be {wanted}")
        raise _setting_error(policy, field, wanted)
    urls = tuple(url.rstrip("/") for url in urls)
    bases = {origin(url) + url.partition("://")[2].partition("/")[2] for url in urls}
    if len(bases) < len(urls):
        raise _setting_error(policy, field, "URLs that differ from each other")
    return urls


def served_origin(policy: object, field: str) -> str:
    """Return the origin of the URL in a field, or an empty string for none, or raise ValueError."""
    value = getattr(policy, field)
    if value and not (isinstance(value, str) and _is_base_url(value)):
        if "@" in str(value):  # it may be a password
            value = "..."
        raise ValueError(
            f"{type(policy).__name__}({field}={show_value(value)}): {field} must be a URL such as "
            "'https://api.example.com', without credentials, query and fragment"
        )
    return origin(value) if value else ""


def listeners(policy: object, field: str) -> tuple[Callable[[Any], object], ...]:
    """Return the functions in a field as a tuple.

    Raises:
        ValueError: It is no collection, or contains what is no function.
    """
    given = getattr(policy, field)
    functions = tuple(given) if _is_collection(given) else (None,)
    if not all(callable(function) for function in functions):
        raise _setting_error(policy, field, "a collection of functions")
    return functions


def function(policy: object, field: str) -> None:
    """Check that a field holds a function or None.

    Raises:
        ValueError: It does not.
    """
    if getattr(policy, field) is not None and not callable(getattr(policy, field)):
        raise _setting_error(policy, field, "a function or None")


def timeout(name: str, value: Any) -> Any:
    """Return the timeout of an attempt, or raise an error for what `requests` could not use at the first call.

    Args:
        name: Name of the setting.
        value: Seconds, a (connect, read) tuple, an object with `connect_timeout` as urllib3 has it, or None.

    Raises:
        TypeError: It is none of these.
        ValueError: It is not more than 0.
    """
    if hasattr(value, "connect_timeout"):
        return value
    parts = value if isinstance(value, tuple) and len(value) == 2 else (value,)
    for part in parts:
        is_number = isinstance(part, (int, float)) and not isinstance(part, bool)
        if part is not None and not is_number:
            raise TypeError(f"{name}={show_value(value)}: expected seconds, a (connect, read) tuple, or None")
        if part is not None and not part > 0:
            raise ValueError(f"{name}={value!r}: must be more than 0 seconds, or None for no limit")
    return value


def require_members(owner: str, value: object, kind: str, *names: str) -> None:
    """Raise TypeError for a value that lacks a member of its protocol.

    Args:
        owner: Name of the class that was given the value, for the message.
        value: The value.
        kind: Name of the protocol, such as "a policy".
        *names: Names of the members that the value must have.

    Raises:
        TypeError: A member is missing; the message names it.
    """
    if isinstance(value, type):
        raise TypeError(f"{owner}: {value.__name__} is a class; make {kind} of it: {value.__name__}(...)")
    for name in names:
        if not hasattr(value, name):
            shown = show_value(value) if isinstance(value, (str, int, float, type(None))) else describe_class(value)
            raise TypeError(f"{owner}: {shown} is not {kind}, it has no `{name}`")


def _is_base_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        return False
    return not any(mark in url for mark in "@?#\\ ")


def contradiction(policy: object, field: str, other: str, reason: str) -> ValueError:
    """Return the error for two fields that contradict each other."""
    values = f"{field}={show_value(getattr(policy, field))}, {other}={show_value(getattr(policy, other))}"
    return ValueError(f"{type(policy).__name__}({values}): {reason}")


def _setting_error(policy: object, field: str, wanted: str) -> ValueError:
    return ValueError(
        f"{type(policy).__name__}({field}={show_value(getattr(policy, field))}): {field} must be {wanted}"
    )
