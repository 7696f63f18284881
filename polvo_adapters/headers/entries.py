"""What the readers of dialects receive and return, and how they read numbers.

Theory of operation. A reader receives the fields of its family by dimension and role, and what else is known about
the response. The reset of an entry that it returns may still be a moment of the server's clock: such an entry does not
depend on when it is read, so that it can be remembered together with the text that it came from.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple, TypeAlias

from polvo_adapters.headers import times
from polvo_adapters.headers.quota import CERTAIN, Quota
from polvo_adapters.headers.resets import LONGEST_RESET, UNKNOWN, Reset

MOST_QUOTAS = 32
_LARGEST_AMOUNT = 1e15
_LONGEST_NAME = 64
_THOUSANDS = re.compile(r"\b[0-9]{1,3}(?:,[0-9]{3})+\b")
_ZEROS = re.compile(r",0[0-9]{2}\b")
Parts: TypeAlias = "dict[str, str]"
Dimensions: TypeAlias = "dict[str, Parts]"
Entry: TypeAlias = "tuple[Quota, float | None]"
"""A quota, and the moment of its reset in Unix time where the server did not announce a delay."""


class Context(NamedTuple):
    """What a reader may need besides the fields of its own family.

    Attributes:
        families: The fields of all families.
        marks: The vendors that the names of the headers give away.
        refused: Whether the status is 429.
    """

    families: dict[str, Dimensions]
    marks: frozenset[str]
    refused: bool


@lru_cache(maxsize=2048)
def parse_amount(text: str) -> float | None:
    """Return an amount that a header announces, or None.

    Args:
        text: A plain number; what follows a semicolon is comment.
    """
    if len(text) > times.LONGEST:
        return None
    return times.parse_number(text.partition(";")[0].strip())


def strip_name(text: str) -> str:
    """Return the name of a quota without spaces around it, or an empty string for one that is too long."""
    return text.strip() if len(text) <= _LONGEST_NAME else ""


def to_amount(value: object) -> float | None:
    """Return a number as a float, or None for what is none, negative, or too large to be a quota.

    Args:
        value: Anything.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if 0 <= value <= _LARGEST_AMOUNT else None


def pick_tightest(parts: Parts) -> Parts:
    """Return the fields of the layer with the least left, where two layers of servers sent the same fields.

    A comma may also separate thousands, as in `15,000`. No number of a list begins with a zero as those of groups do.

    Args:
        parts: Texts by role; two field lines were joined to "99, 4".
    """
    plain = {role: _THOUSANDS.sub(lambda found: found[0].replace(",", ""), text) for role, text in parts.items()}
    if any(_ZEROS.search(text) for text in parts.values()) and not any("," in text for text in plain.values()):
        return plain
    lists = {role: [value.strip() for value in text.split(",", MOST_QUOTAS)] for role, text in parts.items()}
    left = [parse_amount(value) for value in lists.get("remaining", ())]
    known = [value for value in left if value is not None]
    index = left.index(min(known)) if known else 0
    chosen = dict(parts)
    for role, values in lists.items():
        if len(values) < 2 or any(parse_amount(value) is None for value in values):
            continue
        if len(values) == len(left) or len(set(values)) == 1:
            chosen[role] = values[index if index < len(values) else 0]
    return chosen


def make_entry(
    dialect: str,
    limit: float | None,
    remaining: float | None,
    reset: Reset = UNKNOWN,
    name: str = "",
    window: float | None = None,
    unit: str = "requests",
    scope: str = "",
    group: str = "",
    confidence: float = CERTAIN,
) -> Entry:
    """Return the entry for what a reader found out about one quota.

    Args:
        dialect: How it was announced, as in `Quota`.
        limit: Size, in `unit`.
        remaining: What is left, in `unit`.
        reset: When there is more.
        name: The server's name.
        window: Length in seconds.
        unit: What is counted.
        scope: What it counts for.
        group: The server's bucket or resource.
        confidence: How sure everything but the reset is.
    """
    if reset.seconds is not None and reset.seconds > LONGEST_RESET:
        reset = UNKNOWN  # computed from numbers that make no sense together
    seconds, moment, resolution, reset_confidence = reset
    confidence = min(confidence, reset_confidence)
    return Quota(name, limit, remaining, seconds, window, unit, scope, confidence, resolution, dialect, group), moment
