"""Connections that only one caller may use, because the server has authenticated that caller on them.

NTLM and Negotiate (RFC 4559 section 6) authenticate a connection, not a request: the server serves the next caller
who sends on it as that user. Where callers share pools, such a connection is taken out of the pool, kept for the caller
whose handshake needs it again, and closed when the call is over.
"""

from __future__ import annotations

from typing import Any


class ConnectionOwner:
    """One caller among those who share pools, and the connections that are kept for it."""

    def __init__(self) -> None:
        self._kept: list[tuple[Any, Any]] = []
        self._is_over = False

    def keep(self, pool: Any, connection: Any) -> None:
        """Keep a connection of a pool for the caller, or close it where its call is over."""
        self._kept.append((pool, connection))
        if self._is_over:
            self.close()

    def take(self, pool: Any) -> Any:
        """Return a connection of a pool that is kept, or None."""
        for entry in tuple(self._kept):
            if entry[0] is pool:
                self._kept.remove(entry)
                return entry[1]
        return None

    def close(self) -> None:
        """Close the connections that are kept: the call is over."""
        self._is_over = True
        while self._kept:
            self._kept.pop()[1].close()
