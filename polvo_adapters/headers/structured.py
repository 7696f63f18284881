r"""Structured fields (RFC 9651), read leniently.

Theory of operation. One walk from left to right reads the field, by regular expressions that are matched where the
walk stands. They cannot backtrack: every alternative begins with a character that no other begins with. A malformed
member is left out, and the walk goes on behind the next comma, where the RFC would drop the whole field: a quota that
can be read is better than none. White space around `;` and `=`, keys in upper case, parameters without their value and
long decimals are accepted, since servers that print fields by hand send them. At most 64 members are read.

Values come as int, float, str (strings, tokens and display strings), bytes (byte sequences, still in base64),
bool, and a tuple for an inner list. Dates come as int.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias, TypeVar
from urllib.parse import unquote

MOST_MEMBERS = 64
_BARE = re.compile(
    r"(?P<number>-?[0-9]{1,15}(?:\.[0-9]{1,15})?)(?![0-9.])"
    r'|"(?P<string>(?:[^"\\\x00-\x1f\x7f]|\\["\\])*)"'
    r"|(?P<token>[A-Za-z*][A-Za-z0-9!#$%&'*+.^_`|~:/-]*)"
    r"|:(?P<bytes>[A-Za-z0-9+/=]*):"
    r"|\?(?P<boolean>[01])"
    r"|@(?P<date>-?[0-9]{1,15})(?![0-9.])"
    r'|%"(?P<display>[^"\\\x00-\x1f\x7f]*)"'
)
_PARAMETER = re.compile(r"[ \t]*;[ \t]*([A-Za-z*][A-Za-z0-9_.*-]*)(?:[ \t]*(=)[ \t]*)?")
_KEY = re.compile(r"([A-Za-z*][A-Za-z0-9_.*-]*)(?:[ \t]*(=)[ \t]*)?")
_COMMA = re.compile(r"[ \t]*(?:,[ \t]*|\Z)")
_SPACES = re.compile(r"[ \t]*")

Bare: TypeAlias = "int | float | str | bytes | bool | tuple[Item, ...]"
Parameters: TypeAlias = "dict[str, Bare]"
Member = TypeVar("Member")


class Item(NamedTuple):
    """A value and its parameters.

    Attributes:
        value: The value.
        parameters: Its parameters by key, in lower case.
    """

    value: Bare
    parameters: Parameters


def read_list(text: str) -> list[Item]:
    """Return the members of a List; an Item counts as a List of one member.

    Args:
        text: The field value; several field lines joined by commas.

    Returns:
        Its members, without those that are malformed.

    Source: RFC 9651 sections 3.1 and 3.3.
    """
    return list(_walk(text, _read_item))


def read_dictionary(text: str) -> dict[str, Item]:
    """Return the members of a Dictionary; of several members with the same key the last counts.

    Args:
        text: The field value; several field lines joined by commas.

    Returns:
        Its members by key, in lower case, without those that are malformed.

    Source: RFC 9651 section 3.2.
    """
    return dict(_walk(text, _read_pair))


def _walk(text: str, read: Callable[[str, int], tuple[Member | None, int]]) -> Iterator[Member]:
    """Yield each member that `read` finds where the walk stands, and go on behind the next comma."""
    position = _skip_spaces(text, 0)
    for _ in range(MOST_MEMBERS):
        if position >= len(text):
            return
        member, position = read(text, position)
        complete = _COMMA.match(text, position)
        if member is not None and complete:
            yield member
        position = complete.end() if complete else _skip_to_comma(text, position)


def _read_pair(text: str, position: int) -> tuple[tuple[str, Item] | None, int]:
    key = _KEY.match(text, position)
    if key is None:
        return None, position
    if key[2]:
        item, position = _read_item(text, key.end())
    else:
        parameters, position = _read_parameters(text, key.end())
        item = Item(True, parameters)
    return (None if item is None else (key[1].lower(), item)), position


def _read_item(text: str, position: int) -> tuple[Item | None, int]:
    value, position = _read_value(text, position)
    if value is None:
        return None, position
    parameters, position = _read_parameters(text, position)
    return Item(value, parameters), position


def _read_value(text: str, position: int) -> tuple[Bare | None, int]:
    if text.startswith("(", position):
        return _read_inner_list(text, position)
    match = _BARE.match(text, position)
    return (None, position) if match is None else (_convert(match), match.end())


def _read_inner_list(text: str, position: int) -> tuple[Bare | None, int]:
    members: list[Item] = []
    position = _skip_spaces(text, position + 1)
    for _ in range(MOST_MEMBERS):
        if text.startswith(")", position):
            return tuple(members), position + 1
        match = _BARE.match(text, position)
        if match is None:
            break
        parameters, position = _read_parameters(text, match.end())
        members.append(Item(_convert(match), parameters))
        position = _skip_spaces(text, position)
    return None, position


def _read_parameters(text: str, position: int) -> tuple[Parameters, int]:
    parameters: Parameters = {}
    while (match := _PARAMETER.match(text, position)) is not None:
        position = match.end()
        if match[2] is None:
            parameters[match[1].lower()] = True
            continue
        value = _BARE.match(text, position)
        if value is None:
            break
        parameters[match[1].lower()] = _convert(value)
        position = value.end()
    return parameters, position


def _convert(match: re.Match[str]) -> Bare:
    kind = match.lastgroup or "token"
    text: str = match[kind]
    if kind == "number":
        return float(text) if "." in text else int(text)
    if kind == "string":
        return re.sub(r"\\(.)", r"\1", text) if "\\" in text else text
    if kind == "bytes":
        return text.encode("ascii")
    if kind == "boolean":
        return text == "1"
    if kind == "date":
        return int(text)
    return unquote(text) if kind == "display" else text


def _skip_spaces(text: str, position: int) -> int:
    match = _SPACES.match(text, position)
    return match.end() if match else position


def _skip_to_comma(text: str, position: int) -> int:
    comma = text.find(",", position)
    return len(text) if comma < 0 else _skip_spaces(text, comma + 1)
