"""The settings of the resilient client from environment variables."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields
from difflib import get_close_matches
from typing import Any, NamedTuple

from polvo_adapters.client.exceptions import ClientConfigurationError, UnknownSettingError

_SIMILAR = 0.94
"""How alike two names are of which one has a letter more than the other, or one letter for another."""
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


class _Variable(NamedTuple):
    """A variable that stands for a setting: the part that has it, or an empty string, its name, and how it is read."""

    part: str
    setting: str
    read: Callable[[str], Any]
    wanted: str


def read_settings(
    owner: Any, parts: Mapping[str, Any], prefix: str, environ: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return the arguments of a ClientConfig that variables name.

    Args:
        owner: The class of the settings.
        parts: The class of each part of them, by its name.
        prefix: Beginning of the names of the variables.
        environ: The variables; by default those of the process.

    Raises:
        ClientConfigurationError: A value cannot be read, or there is no base URL.
        UnknownSettingError: A variable that begins with the name of a part names no setting of it.
    """
    environ = os.environ if environ is None else environ
    known = {prefix + name: variable for name, variable in _list_variables(owner, parts)}
    settings: dict[str, Any] = {}
    for name, value in environ.items():
        if name in known and value.strip():
            part, setting, _, _ = known[name]
            place = settings.setdefault(part, {}) if part else settings
            place[setting] = _read(name, known[name], value.strip())
        elif name not in known:
            _refuse_misspelt(name, prefix, parts, list(known))
    if "base_url" not in settings:
        raise ClientConfigurationError(f"{prefix}BASE_URL is not set; it is to be the URL of the service (base_url)")
    return settings


def name_variables(text: str, settings: Mapping[str, Any], prefix: str) -> str:
    """Return the names of the variables whose settings a message names.

    Args:
        text: The message.
        settings: What `read_settings` has returned.
        prefix: Beginning of the names of the variables.
    """
    given = {f"{prefix}{name.upper()}": name for name, value in settings.items() if not isinstance(value, dict)}
    for part, values in settings.items():
        if isinstance(values, dict):
            given.update({f"{prefix}{part.upper()}_{name.upper()}": name for name in values})
    return " and ".join(variable for variable, name in given.items() if f"{name}=" in text) or prefix


def _list_variables(owner: Any, parts: Mapping[str, Any]) -> Iterator[tuple[str, _Variable]]:
    for part, kind in {"": owner, **parts}.items():
        for each in fields(kind):
            if part or each.name not in parts:
                read, wanted = _KINDS.get(str(each.type).partition(" ")[0], (str, "text"))
                yield "_".join(filter(None, (part, each.name))).upper(), _Variable(part, each.name, read, wanted)


def _read(name: str, variable: _Variable, value: str) -> Any:
    try:
        return variable.read(value)
    except ValueError:
        raise ClientConfigurationError(f"{name}={value!r}: {name} must be {variable.wanted}") from None


def _read_bool(value: str) -> bool:
    if value.lower() not in _TRUE + _FALSE:
        raise ValueError(value)
    return value.lower() in _TRUE


_KINDS: dict[str, tuple[Callable[[str], Any], str]] = {
    "float": (float, "a number"),
    "int": (int, "a whole number"),
    "bool": (_read_bool, "true or false"),
}


def _refuse_misspelt(name: str, prefix: str, parts: Iterable[str], known: list[str]) -> None:
    """Raise an error for a variable that is meant for a setting; other programs have variables with this prefix, too.

    Meant for one is what is the name of a part or begins with it, and what is one letter away from a known name.
    """
    own = [f"{prefix}{part.upper()}" for part in parts]
    is_part = bool(prefix) and any(name == part or name.startswith(f"{part}_") for part in own)
    if name in own:
        advice = f"there are {', '.join(each for each in known if each.startswith(f'{name}_'))}"
    elif close := get_close_matches(name, known, 1, _SIMILAR if not is_part else 0.6):
        advice = f"did you mean {close[0]}?"
    elif is_part:
        advice = f"there are {', '.join(known)}"
    else:
        return
    raise UnknownSettingError(f"{name} names no setting; {advice}")
