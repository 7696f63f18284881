"""Checks of arguments: each returns the value as it goes out, or raises ConfigurationError before anything is sent."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlsplit

from polvo_adapters.core import paths
from polvo_adapters.services.taruvi.errors import ConfigurationError

_NOTHING_SENT = "; nothing was sent"
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.IGNORECASE)
_MOST_NAMES = 100  # what the server takes at once, for users and roles


def refuse(name: str, problem: str) -> ConfigurationError:
    """Return the error for an argument; its text does not show the value."""
    return ConfigurationError(f"{name}: {problem}{_NOTHING_SENT}", reason=name)


def segment(name: str, value: object) -> str:
    """Return a value as one segment of a path: a slug, a key, the name of a table or a bucket, an id.

    Args:
        name: The argument, for the error.
        value: A string that is not empty, or a whole number.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value:
        raise refuse(name, "it must be a string that is not empty, or a whole number")
    problem = _find_unfit(value) or paths.find_climb(value)
    if problem:
        raise refuse(name, problem)
    return quote(value, safe="@:+,~")


def object_path(name: str, value: object) -> str:
    """Return the path of an object in a bucket, each of its segments quoted.

    Args:
        name: The argument, for the error.
        value: The path, without a slash at its beginning.
    """
    text = require_text(name, value)
    problem = "it has a character that cannot be printed" if not text.isprintable() else paths.find_climb(text)
    if not problem and any(not part for part in text.split("/")):
        problem = "it has an empty segment"
    if problem:
        raise refuse(name, problem)
    return quote(text, safe="/")


def _find_unfit(value: str) -> str:
    if not value.isprintable():
        return "it has a character that cannot be printed"
    for character in "/\\?#":
        if character in value:
            return f"it has {character!r}, which would lead to another path"
    return ""


def require_text(name: str, value: object) -> str:
    """Return a string that is not empty."""
    if not isinstance(value, str) or not value:
        raise refuse(name, "it must be a string that is not empty")
    return value


def require_count(name: str, value: object, least: int, most: int | None = None) -> int:
    """Return a whole number within bounds."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least or (most is not None and value > most):
        bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise refuse(name, f"{value!r} is no whole number {bounds}")
    return value


def require_seconds(name: str, value: object, least: float, most: float) -> float:
    """Return a number of seconds within bounds."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not number or not least <= value <= most:  # type: ignore[operator]
        raise refuse(name, f"{value!r} is no number of seconds from {least:g} to {most:g}")
    return value  # type: ignore[return-value]


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


def require_names(name: str, values: object, most: int = _MOST_NAMES) -> list[str]:
    """Return a sequence of names as a list."""
    if isinstance(values, str) or not isinstance(values, Sequence) or not values or len(values) > most:
        raise refuse(name, f"it must be a list of 1 to {most} names")
    return [require_text(name, value) for value in values]


def join_names(name: str, values: str | Iterable[str]) -> str:
    """Return names, one or several, as the server takes several: with commas between them."""
    if isinstance(values, str):
        return require_text(name, values)
    names = require_names(name, list(values), 10_000)
    if any("," in each for each in names):
        raise refuse(name, "a name has a comma, which the server takes for the end of the name")
    return ",".join(names)


def require_json(name: str, value: object) -> Any:
    """Return a value that can be written as JSON."""
    reason = ""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        reason = type(error).__name__  # its text may show what is in the value
    if reason:
        raise refuse(name, f"it cannot be written as JSON ({reason})")
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


def require_site(value: str | None) -> str | None:
    """Return the slug of a site, which becomes the first label of a host."""
    if value is not None and (not isinstance(value, str) or not _LABEL.fullmatch(value)):
        raise refuse("site_slug", "it must be one DNS label: letters, digits and inner hyphens, at most 63")
    return value


def require_base_url(value: object) -> str:
    """Return the URL of the API without a slash at its end."""
    text = require_text("api_url", value)
    problem = ""
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        problem = "it is no URL"
    else:
        if not text.isprintable() or " " in text or "\\" in text:
            problem = "it has a space, a backslash or a character that cannot be printed"
        elif parts.scheme.lower() not in ("http", "https") or not host:
            problem = "it must begin with http:// or https:// and a host"
        elif "@" in parts.netloc:
            problem = "it holds a name or password; sign in by client.auth"
        elif "?" in text or "#" in text:
            problem = "it has a query or a fragment"
    if problem:
        raise refuse("api_url", problem)
    return text.rstrip("/")
