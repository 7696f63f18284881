"""Room in dictionaries that must not grow without a limit."""

from __future__ import annotations

from typing import TypeVar

T = TypeVar("T")


def make_room(entries: dict[str, T], limit: int) -> dict[str, T]:
    """Remove the oldest entries until there is room for one more within a limit, and return the dictionary."""
    while len(entries) >= limit:
        entries.pop(next(iter(list(entries)), ""), None)  # a copy: other threads may add entries at the same time
    return entries
