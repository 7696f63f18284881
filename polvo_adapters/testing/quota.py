"""Fixed-window quotas and the header dialects that announce them.

A key's window opens with its first request and lets a number of requests through until it closes. `DIALECTS`
holds one function for each way the web tells clients about it: the old X- headers and the drafts of the
RateLimit fields, which differ in names, in syntax, and in whether a reset is a moment or a delay.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from polvo_adapters.testing.messages import Headers


@dataclass(frozen=True, slots=True)
class QuotaStanding:
    """Where a key stands after one of its requests was let through or stopped."""

    allowed: bool
    limit: int
    window: float
    remaining: int
    seconds_left: float

    @property
    def reset(self) -> int:
        """Whole seconds, rounded up, until the window closes."""
        return math.ceil(self.seconds_left)

    @property
    def reset_timestamp(self) -> int:
        """The moment the window closes, in whole seconds since the epoch, rounded up."""
        return math.ceil(time.time() + self.seconds_left)

    @property
    def policy(self) -> str:
        """The quota as the drafts before the eighth write it."""
        return f"{self.limit};w={math.ceil(self.window)}"


class Quotas:
    """The fixed windows of all keys."""

    def __init__(self) -> None:
        self._windows: dict[str, tuple[float, int]] = {}

    def take(self, key: str, limit: int, window: float) -> QuotaStanding:
        """Let one request of a key through, or not, and say where the key stands."""
        now = time.monotonic()
        opened, used = self._windows.get(key, (now, 0))
        if now - opened >= window:
            opened, used = now, 0
        allowed = used < limit
        used += allowed
        self._windows[key] = (opened, used)
        return QuotaStanding(allowed, limit, window, max(0, limit - used), window - (now - opened))


def _x_headers(standing: QuotaStanding) -> Headers:
    return [
        ("X-RateLimit-Limit", str(standing.limit)),
        ("X-RateLimit-Remaining", str(standing.remaining)),
        ("X-RateLimit-Reset", str(standing.reset_timestamp)),
    ]


def _draft_3(standing: QuotaStanding) -> Headers:
    return [
        ("RateLimit-Limit", f"{standing.limit}, {standing.policy}"),
        ("RateLimit-Remaining", str(standing.remaining)),
        ("RateLimit-Reset", str(standing.reset)),
    ]


def _draft_6(standing: QuotaStanding) -> Headers:
    return [
        ("RateLimit-Policy", standing.policy),
        ("RateLimit-Limit", str(standing.limit)),
        ("RateLimit-Remaining", str(standing.remaining)),
        ("RateLimit-Reset", str(standing.reset)),
    ]


def _draft_7(standing: QuotaStanding) -> Headers:
    state = f"limit={standing.limit}, remaining={standing.remaining}, reset={standing.reset}"
    return [("RateLimit", state), ("RateLimit-Policy", standing.policy)]


def _draft_8(standing: QuotaStanding) -> Headers:
    return [
        ("RateLimit", f'"default";r={standing.remaining};t={standing.reset}'),
        ("RateLimit-Policy", f'"default";q={standing.limit};w={math.ceil(standing.window)}'),
    ]


def _silent(_standing: QuotaStanding) -> Headers:
    return []


DIALECTS: dict[str, Callable[[QuotaStanding], Headers]] = {
    "x": _x_headers,
    "draft-3": _draft_3,
    "draft-6": _draft_6,
    "draft-7": _draft_7,
    "draft-8": _draft_8,
    "none": _silent,
}


def quota_headers(standing: QuotaStanding, dialect: str) -> Headers:
    """Return the headers that tell a client where it stands, in one of the `DIALECTS`."""
    headers = DIALECTS[dialect](standing)
    if not standing.allowed and dialect != "none":
        headers.append(("Retry-After", str(standing.reset)))
    return headers
