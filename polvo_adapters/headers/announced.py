"""What the readers of dialects are given, what they return, and the texts that all of them read.

Theory of operation. A reader gets the fields of its family by dimension and role, and what else is known about
the response. It returns quotas whose reset may still be a moment of the server's clock: those do not depend on
when they are read, so that they can be remembered with the text that they came from.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple, TypeAlias

from polvo_adapters.headers import times
from polvo_adapters.headers.quota import CERTAIN, Quota
from polvo_adapters.headers.resets import UNKNOWN, Reset

MOST_QUOTAS = 32
Parts: TypeAlias = "dict[str, str]"
Dimensions: TypeAlias = "dict[str, Parts]"
Entry: TypeAlias = "tuple[Quota, float | None]"
"""A quota, and the moment of its reset in Unix time where that was not announced as a delay."""


class Context(NamedTuple):
    """What a reader may want to know besides the fields of its own family.

    Attributes:
        families: The fields of all families.
        marks: Who, judged by the names of its headers, sent the response.
        refused: Whether the status is 429.
    """

    families: dict[str, Dimensions]
    marks: frozenset[str]
    refused: bool


@lru_cache(maxsize=2048)
def amount(text: str) -> float | None:
    """Return a count of something that a server announced, or None.

    Args:
        text: A plain number; what follows a semicolon is comment.
    """
    if len(text) > times.LONGEST:
        return None
    return times.number(text.partition(";")[0].strip())


def tightest(parts: Parts) -> Parts:
    """Reduce fields that were sent twice, by two layers of servers, to those of the layer with the least left.

    Args:
        parts: Texts by role; "99, 4" is what becomes of two field lines.
    """
    lists = {role: [value.strip() for value in text.split(",", MOST_QUOTAS)] for role, text in parts.items()}
    left = [amount(value) for value in lists.get("remaining", ())]
    known = [value for value in left if value is not None]
    index = left.index(min(known)) if known else 0
    chosen = dict(parts)
    for role, values in lists.items():
        if len(values) < 2 or any(amount(value) is None for value in values):
            continue
        if len(values) == len(left) or len(set(values)) == 1:
            chosen[role] = values[index if index < len(values) else 0]
    return chosen


def entry(
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
    """Put together what a reader found out about one quota.

    Args:
        dialect: As in `Quota`, like the others.
        limit: Size.
        remaining: What is left.
        reset: When there is more.
        name: The server's name.
        window: Seconds.
        unit: What is counted.
        scope: For whom.
        group: What separates state.
        confidence: How sure everything but the reset is.
    """
    seconds, moment, resolution, sure = reset
    if sure < confidence:
        confidence = sure
    return (
        Quota(name, limit, remaining, seconds, window, unit, scope, confidence, resolution, dialect, group),
        moment,
    )
