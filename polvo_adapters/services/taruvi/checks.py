"""Checks of arguments: each returns the value as it goes out, or raises ConfigurationError before anything is sent."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any
from uuid import UUID

from polvo_adapters.services.json_problems import find_json_problem
from polvo_adapters.services.taruvi.errors import ConfigurationError

MOST_NAMES = 10_000
_NOTHING_SENT = "; nothing was sent"
_MOST_COUNT = 2**63 - 1
_LONGEST_SHOWN = 60
_LEAST_TIMEOUT, _MOST_TIMEOUT = 0.001, 3600.0


def refuse(name: str, problem: str) -> ConfigurationError:
    """Return the error for an argument; its text does not show the value."""
    return ConfigurationError(f"{name}: {problem}{_NOTHING_SENT}", reason=name)


def show(value: object) -> str:
    """Return a value that is no secret as an error shows it: a short one as it is, another by its type."""
    if not isinstance(value, (str, bool, float, int)) and value is not None:
        return f"a {type(value).__name__}"
    if isinstance(value, int) and value.bit_length() > _LONGEST_SHOWN:
        return "a large number"
    shown = repr(value)
    return shown if len(shown) <= _LONGEST_SHOWN else shown[:_LONGEST_SHOWN] + "…"


def require_text(name: str, value: object) -> str:
    """Return a string that is not empty, and that can be sent."""
    if not isinstance(value, str) or not value:
        raise refuse(name, "it must be a string that is not empty")
    if not value.isprintable() and any("\ud800" <= character <= "\udfff" for character in value):
        raise refuse(name, "it has half of a surrogate pair, which has no form in UTF-8")
    return value


def require_choice(name: str, value: object, choices: Iterable[str]) -> str:
    """Return one of some words."""
    words = tuple(choices)
    if not isinstance(value, str) or value not in words:
        raise refuse(name, f"{show(value)} is none of {', '.join(words)}")
    return value


def require_flag(name: str, value: object) -> bool:
    """Return True or False; what merely counts as such, like the text "false", is refused."""
    if not isinstance(value, bool):
        raise refuse(name, f"{show(value)} is neither True nor False")
    return value


def require_count(name: str, value: object, least: int, most: int = _MOST_COUNT) -> int:
    """Return a whole number within bounds."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        bounds = f"of at least {least}" if most == _MOST_COUNT else f"from {least} to {most}"
        raise refuse(name, f"{show(value)} is no whole number {bounds}")
    return value


def require_seconds(name: str, value: object, least: float = _LEAST_TIMEOUT, most: float = _MOST_TIMEOUT) -> float:
    """Return a number of seconds within bounds."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        raise refuse(name, f"{show(value)} is no number of seconds from {least:g} to {most:g}")
    return value


def require_mapping(name: str, value: object, *, filled: bool = False) -> dict[str, Any]:
    """Return a mapping with strings as keys as a dict.

    Args:
        name: The argument, for the error.
        value: The mapping.
        filled: Whether an empty one is refused.
    """
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise refuse(name, "it must be a dict with strings as keys")
    if filled and not value:
        raise refuse(name, "it is empty")
    return dict(value)


def require_items(name: str, values: object, most: int = MOST_NAMES, *, least: int = 1) -> list[Any]:
    """Return what is in a list, a tuple or another collection, which is neither a text nor a dict."""
    if isinstance(values, (str, bytes, bytearray, Mapping, type)) or not isinstance(values, Iterable):
        raise refuse(name, f"it must be a list, and not {show(values)}")
    items = list(values)
    if not least <= len(items) <= most:
        raise refuse(name, f"it must be a list of {least} to {most}")
    return items


def require_names(name: str, values: object, most: int = MOST_NAMES) -> list[str]:
    """Return a list of texts, none of which is empty."""
    return [require_text(name, value) for value in require_items(name, values, most)]


def join_names(name: str, values: object) -> str:
    """Return names, one or several, as the server takes several: with commas between them."""
    if isinstance(values, str):
        return require_text(name, values)
    names = require_names(name, values)
    if any("," in each for each in names):
        raise refuse(name, "a name has a comma, which the server takes for the end of the name")
    return ",".join(names)


def require_json(name: str, value: object) -> Any:
    """Return a value that can be written as JSON."""
    problem = find_json_problem(value)
    if problem:
        raise refuse(name, f"it cannot be written as JSON: {problem}")
    return value


def require_token(name: str, value: object) -> str:
    """Return a credential that can be sent in a header."""
    if value is None:
        raise refuse(name, "it is None, as from an environment variable that is not set")
    if not isinstance(value, str) or not value:
        raise refuse(name, "it must be a string that is not empty")
    if not value.isascii() or not value.isprintable() or " " in value:
        raise refuse(name, "it has a line break, a space, or a character that is not ASCII; look at where it was read")
    return value


def format_value(name: str, value: object) -> str:
    """Return a value of a filter as the server reads it.

    Args:
        name: The argument, for the error.
        value: A text, number, truth value, None, date, time or UUID, or a list of such.
    """
    if isinstance(value, (list, tuple, set, frozenset)):
        texts = [_format_one(name, each) for each in value]
        if any("," in text for text in texts):
            raise refuse(name, "a value of the list has a comma, which the server takes for its end")
        return ",".join(texts)
    return _format_one(name, value)


def _format_one(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    if isinstance(value, str):
        return require_text(name, value) if value else value
    if isinstance(value, (dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, int):
        return str(require_count(name, value, -_MOST_COUNT))
    if (isinstance(value, float) and math.isfinite(value)) or (isinstance(value, Decimal) and value.is_finite()):
        return str(value)
    if isinstance(value, UUID):
        return str(value)
    raise refuse(name, f"{show(value)} has no form in a query")


def list_pages(page: int | None, page_size: int | None) -> list[tuple[str, str]]:
    """Return the query parameters for one page of a list."""
    given = (("page", page), ("page_size", page_size))
    return [(name, str(require_count(name, number, 1))) for name, number in given if number is not None]


def list_texts(**texts: str | None) -> list[tuple[str, str]]:
    """Return the query parameters for texts, of those that are given."""
    return [(name, require_text(name, text)) for name, text in texts.items() if text is not None]
