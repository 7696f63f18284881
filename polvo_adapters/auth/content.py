"""What is in the file of a token cache, told apart from anything that is not.

Theory of operation. The file is ASCII JSON of one shape and version. Whatever else is read is `Corrupt`; nothing that
is in a file can raise anything else. The texts of the states are not looked into here.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any, NamedTuple

from polvo_adapters.auth import files

_NAME = "token cache"
_VERSION = 1
_FAR = 1e11  # seconds, some 3,000 years; beyond that a clock would not tick any more


class Corrupt(ValueError):
    """The file is not what `render` makes; the message says why, and shows nothing of it."""


class Content(NamedTuple):
    """What is in the file.

    Attributes:
        states: Text of the state of each key; the one that moved last is last.
        time: Largest time seen, in seconds.
        ahead: Seconds by which the time runs before the wall clock.
    """

    states: dict[str, str]
    time: float
    ahead: float


def render(content: Content) -> bytes:
    """Return the bytes of a file.

    Raises:
        OSError: They are more than would be read again.
    """
    value = {
        "polvo_adapters": _NAME,
        "version": _VERSION,
        "time": content.time,
        "ahead": content.ahead,
        "states": content.states,
    }
    data = json.dumps(value, indent=1).encode("ascii") + b"\n"
    if len(data) > files.LARGEST:
        raise files.too_large(len(data))
    return data


def parse(data: bytes | None) -> Content:
    """Return what is in a file.

    Args:
        data: Its bytes, or None where they were too many.

    Raises:
        Corrupt: It is something else.
    """
    if data is None:
        raise Corrupt("it is too large")
    value = _value(data)
    if type(value) is not dict or value.get("polvo_adapters") != _NAME:
        raise Corrupt("it is not a token cache")
    if type(version := value.get("version")) is not int or version != _VERSION:
        raise Corrupt("it is of another version")
    states = value.get("states")
    if type(states) is not dict or not all(type(text) is str for text in states.values()):
        raise Corrupt("its states are not what they should be")
    return Content(states, _seconds(value.get("time")), _seconds(value.get("ahead", 0.0)))


def _value(data: bytes) -> object:
    value: object = None
    with suppress(ValueError, RecursionError):  # not passed on: such an error holds what was read
        value = json.loads(data.decode("ascii"))
    return value


def _seconds(value: Any) -> float:
    if type(value) not in (int, float) or not -_FAR <= value <= _FAR:  # not a number is not within
        raise Corrupt("its time is not what it should be")
    return float(value)
