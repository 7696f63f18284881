"""What the values of settings must be, and what a message shows of one that cannot work.

Theory of operation. A value of the wrong kind is refused where the object is made, because the error at the first call
is another one, far from the line to correct. Each class names the kinds of its settings in a table, so that all of
them say the same: class, setting, what was found, what is wanted. Kinds are wide: what has the members of a clock is a
clock, and a function is whatever can be called.

A value that may be a secret is shown by its class alone; None is always shown, as it mostly comes from an environment
variable that is not set.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

_LONGEST = 80
_ABSENT: Any = object()
_FUNCTIONS = ("function", "method", "builtin_function_or_method")
_BRACKETS = {list: ("[", "]"), tuple: ("(", ")")}
_PLAIN = (str, bytes, bool, int, float, complex)
_HARMLESS = (bool, int, float, complex)


class SettingKind(NamedTuple):
    """One kind of values.

    Attributes:
        wanted: What a value must be, for messages.
        fits: Whether a value is of the kind.
    """

    wanted: str
    fits: Callable[[Any], bool]

    def __or__(self, other: Any) -> SettingKind:  # kinds are not joined as tuples
        """Return the kind of what is of either; None stands for that value."""
        if other is None:
            return SettingKind(f"{self.wanted}, or None", lambda value: value is None or self.fits(value))
        return SettingKind(f"{self.wanted}, or {other.wanted}", lambda value: self.fits(value) or other.fits(value))


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_whole(value: Any, low: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= low


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < float("inf")


def _are_texts(value: Any) -> bool:
    is_listed = isinstance(value, Iterable) and not isinstance(value, (str, bytes, Mapping))
    return is_listed and all(map(_is_text, value))


def _are_functions(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes)) and all(map(callable, value))


def _are_hooks(value: Any) -> bool:
    """Return whether httpx takes a value for hooks: it copies them into a list, and they may be a set as well."""
    return isinstance(value, Collection) and not isinstance(value, (str, bytes)) and all(map(callable, value))


def _has_members(*names: str) -> Callable[[Any], bool]:
    return lambda value: not isinstance(value, type) and all(hasattr(value, name) for name in names)


def _is_path(value: Any) -> bool:
    return isinstance(value, str) or hasattr(value, "__fspath__")


def _is_certificate(value: Any) -> bool:
    return _is_path(value) or (isinstance(value, tuple) and len(value) == 2 and all(map(_is_path, value)))


def _is_key(value: Any) -> bool:
    return not isinstance(value, (*_HARMLESS, Mapping, list, tuple, set, frozenset, type))


def whole(low: int) -> SettingKind:
    """Return the kind of whole numbers from a smallest one on."""
    return SettingKind(f"a whole number of at least {low}", lambda value: _is_whole(value, low))


FLAG = SettingKind("True or False", lambda value: isinstance(value, bool))
TEXT = SettingKind("a text", _is_text)
TEXTS = SettingKind("a text or a sequence of them", lambda value: _is_text(value) or _are_texts(value))
NUMBER = SettingKind("a number above 0", _is_number)
FUNCTION = SettingKind("a function", lambda value: callable(value) and not isinstance(value, type))
FUNCTIONS = SettingKind("a sequence of functions", _are_functions)
MAPPING = SettingKind("a mapping", lambda value: isinstance(value, Mapping))
SECRET = SettingKind("a text, or a function that returns one", lambda value: _is_text(value) or callable(value))
PRIVATE_KEY = SettingKind("a key in PEM, an object of cryptography, or a function that returns one", _is_key)
ENCRYPTION_KEY = SettingKind(
    "a key, a sequence of keys, 'keyring', or a function",
    lambda value: not isinstance(value, (*_HARMLESS, Mapping, type)),
)
CLOCK = SettingKind("a clock, with now(), wall() and uniform()", _has_members("now", "wall", "uniform"))
STORE = SettingKind("a store, such as MemoryStore()", _has_members("decide", "park"))
ASYNC_TRANSPORT = SettingKind(
    "a transport of httpx for tasks, with handle_async_request()", _has_members("handle_async_request")
)
TRANSPORTS = SettingKind(
    "a mapping of URL patterns such as 'https://' to transports, or to None",
    lambda value: (
        isinstance(value, Mapping)
        and all(_is_text(name) and (each is None or ASYNC_TRANSPORT.fits(each)) for name, each in value.items())
    ),
)
EVENT_HOOKS = SettingKind(
    "a mapping of 'request' and 'response' to lists of functions",
    lambda value: (
        isinstance(value, Mapping) and value.keys() <= {"request", "response"} and all(map(_are_hooks, value.values()))
    ),
)
SESSION = SettingKind("a requests.Session", _has_members("get_adapter", "headers"))
VERIFY = SettingKind(
    "True, False, or the path of certificates", lambda value: isinstance(value, bool) or _is_path(value)
)
CERTIFICATE = SettingKind("the path of a certificate, or a (certificate, key) tuple of paths", _is_certificate)


def check_settings(
    owner: str,
    values: Mapping[str, Any],
    kinds: Mapping[str, SettingKind],
    error: type[Exception] = TypeError,
    *,
    shows: bool = True,
) -> None:
    """Check that values are of the kinds that a class wants.

    Args:
        owner: Name of the class or function, for the message.
        values: The values by the names of their settings; one that is not there has its default.
        kinds: The kinds by the names of settings.
        error: Class of the error.
        shows: Whether values may be shown; otherwise they may be secrets.

    Raises:
        TypeError: A value is of another kind; or an error of the given class.
    """
    for name, kind in kinds.items():
        value = values.get(name, _ABSENT)
        if value is not _ABSENT and not kind.fits(value):
            raise error(describe_misfit(owner, name, value, kind.wanted, shows=shows))


def describe_misfit(owner: str, name: str, value: object, wanted: str, *, shows: bool = True) -> str:
    """Return the message for a value that is of another kind than is wanted."""
    shown = show_value(value) if shows else describe_class(value)
    hint = "; is the environment variable set that it is read from?" if value is None else ""
    return f"{owner}({name}={shown}): {name} must be {wanted}{hint}"


def show_value(value: object) -> str:
    """Return a value as a message shows it: plain values as they are written, all others by their class."""
    if value is None or isinstance(value, _PLAIN):
        return _shorten(repr(value))
    if isinstance(value, (set, frozenset)) and not value:
        return repr(value)
    if isinstance(value, (list, tuple, set, frozenset)):
        inner = ", ".join(map(show_value, value))
        before, after = _BRACKETS.get(type(value), ("{", "}"))
        return _shorten(f"{before}{inner}{',' if type(value) is tuple and len(value) == 1 else ''}{after}")
    if isinstance(value, dict):
        return _shorten(
            "{" + ", ".join(f"{show_value(name)}: {show_value(each)}" for name, each in value.items()) + "}"
        )
    shown = repr(value)
    return describe_class(value) if " at 0x" in shown or isinstance(value, type) else _shorten(shown)


def describe_class(value: object) -> str:
    """Return a value as a message shows it where it may be a secret: None, numbers, or the name of its class."""
    if value is None or isinstance(value, bool):
        return repr(value)
    if value == "":
        return "''"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    name = type(value).__name__
    return "a function" if name in _FUNCTIONS else f"<{name}>"


def _shorten(text: str) -> str:
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"
