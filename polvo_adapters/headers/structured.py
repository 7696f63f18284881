r"""Structured fields (RFC 9651), read with good will.

Theory of operation. The field is walked from left to right, once, by regular expressions that are matched where
the walk stands and that cannot backtrack: every alternative begins with a character that no other begins with.
A member that is malformed is left out and the walk goes on behind the next comma, where the RFC would drop the
whole field: a quota that can be read is better than none. White space around `;` and `=`, keys in upper case,
parameters without their value and long decimals are accepted, since servers that print fields by hand send them.
At most 64 members are read.

Values come as int, float, str (strings, tokens and display strings), bytes (byte sequences, still in base64),
bool, and a tuple for an inner list. Dates come as int.
"""

from __future__ import annotations

import re
from typing import NamedTuple, TypeAlias
from urllib.parse import unquote

MOST_MEMBERS = 64
_BARE = re.compile(
    r"(-?[0-9]{1,15}(?:\.[0-9]{1,15})?)(?![0-9.])"
    r'|"((?:[^"\\\x00-\x1f\x7f]|\\["\\])*)"'
    r"|([A-Za-z*][A-Za-z0-9!#$%&'*+.^_`|~:/-]*)"
    r"|:([A-Za-z0-9+/=]*):"
    r"|\?([01])"
    r"|@(-?[0-9]{1,15})(?![0-9.])"
    r'|%"([^"\\\x00-\x1f\x7f]*)"'
)
_PARAMETER = re.compile(r"[ \t]*;[ \t]*([A-Za-z*][A-Za-z0-9_.*-]*)(?:[ \t]*(=)[ \t]*)?")
_KEY = re.compile(r"([A-Za-z*][A-Za-z0-9_.*-]*)(?:[ \t]*(=)[ \t]*)?")
_COMMA = re.compile(r"[ \t]*(?:,[ \t]*|\Z)")
_SPACES = re.compile(r"[ \t]*")

Bare: TypeAlias = "int | float | str | bytes | bool | tuple[Item, ...]"
Parameters: TypeAlias = "dict[str, Bare]"


class Item(NamedTuple):
    """A value and its parameters.

    Attributes:
        value: The value.
        parameters: Its parameters by key, in lower case.
    """

    value: Bare
    parameters: Parameters


def read_list(text: str) -> list[Item]:
    """Read a List, and with it an Item, which is a List of one member.

    Args:
        text: The field value; several field lines joined by commas.

    Returns:
        Its members, without those that are malformed.

    Source: RFC 9651 sections 3.1 and 3.3.
    """
    members: list[Item] = []
    position = _skip(text, 0)
    for _ in range(MOST_MEMBERS):
        if position >= len(text):
            break
        item, position = _item(text, position)
        complete = _COMMA.match(text, position)
        if item is not None and complete:
            members.append(item)
        position = complete.end() if complete else _behind_comma(text, position)
    return members


def read_dictionary(text: str) -> dict[str, Item]:
    """Read a Dictionary; of several members with the same key the last counts.

    Args:
        text: The field value; several field lines joined by commas.

    Returns:
        Its members by key, in lower case, without those that are malformed.

    Source: RFC 9651 section 3.2.
    """
    members: dict[str, Item] = {}
    position = _skip(text, 0)
    for _ in range(MOST_MEMBERS):
        if position >= len(text):
            break
        key = _KEY.match(text, position)
        item: Item | None = None
        if key is not None:
            position = key.end()
            item, position = _item(text, position) if key[2] else _flag(text, position)
        complete = _COMMA.match(text, position)
        if key is not None and item is not None and complete:
            members[key[1].lower()] = item
        position = complete.end() if complete else _behind_comma(text, position)
    return members


def _item(text: str, position: int) -> tuple[Item | None, int]:
    value, position = _value(text, position)
    if value is None:
        return None, position
    parameters, position = _parameters(text, position)
    return Item(value, parameters), position


def _flag(text: str, position: int) -> tuple[Item, int]:
    parameters, position = _parameters(text, position)
    return Item(True, parameters), position


def _value(text: str, position: int) -> tuple[Bare | None, int]:
    if text.startswith("(", position):
        return _inner_list(text, position)
    match = _BARE.match(text, position)
    return (None, position) if match is None else (_converted(match), match.end())


def _inner_list(text: str, position: int) -> tuple[Bare | None, int]:
    members: list[Item] = []
    position = _skip(text, position + 1)
    for _ in range(MOST_MEMBERS):
        if text.startswith(")", position):
            return tuple(members), position + 1
        match = _BARE.match(text, position)
        if match is None:
            break
        parameters, position = _parameters(text, match.end())
        members.append(Item(_converted(match), parameters))
        position = _skip(text, position)
    return None, position


def _parameters(text: str, position: int) -> tuple[Parameters, int]:
    parameters: Parameters = {}
    while (match := _PARAMETER.match(text, position)) is not None:
        position = match.end()
        if match[2] is None:
            parameters[match[1].lower()] = True
            continue
        value = _BARE.match(text, position)
        if value is None:
            break
        parameters[match[1].lower()] = _converted(value)
        position = value.end()
    return parameters, position


def _converted(match: re.Match[str]) -> Bare:
    text: str = match[match.lastindex or 0]
    kind = match.lastindex
    if kind == 1:
        return float(text) if "." in text else int(text)
    if kind == 2:
        return re.sub(r"\\(.)", r"\1", text) if "\\" in text else text
    if kind == 4:
        return text.encode("ascii")
    if kind == 5:
        return text == "1"
    if kind == 6:
        return int(text)
    return unquote(text) if kind == 7 else text


def _skip(text: str, position: int) -> int:
    match = _SPACES.match(text, position)
    return match.end() if match else position


def _behind_comma(text: str, position: int) -> int:
    comma = text.find(",", position)
    return len(text) if comma < 0 else _skip(text, comma + 1)
