"""The ways in which servers count requests, without a server: five limiters, and what each announces.

A limiter is told the time and says whether the request is let through, how many more would be, and when it will
be better. It never looks at a clock: a server passes its own, a simulation passes virtual time, a test counts up.
Time may start anywhere, but must not run backwards.

The five differ in what a client can know. A fixed window refills at one moment, which is announced. A sliding
window refills piece by piece, in the rhythm in which it was used, and announces at best the first piece. A token
bucket refills steadily, announces when it will be full, and lets through nearly two quotas in the first window.
An estimated window, as large networks use it, weighs the last window by how much of it still overlaps: it may
turn requests away right after the moment that it announced.

Servers announce whole seconds, rounded up, and so does `announced`, in any of the `DIALECTS`.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable


Headers: TypeAlias = "list[tuple[str, str]]"

_NOISE = 1e-6  # seconds; far above what floating point does to a clock, far below what a client can time


class Standing(NamedTuple):
    """Where a client stands after one of its requests was let through or turned away.

    Attributes:
        allowed: Whether the request was let through.
        limit: Requests per window.
        window: Seconds.
        remaining: Requests that would be let through if they came now.
        seconds_left: Exact seconds until what the server calls its reset.
        seconds_to_wait: Exact seconds that the server tells who was turned away to wait; 0 where it was let through.
    """

    allowed: bool
    limit: int
    window: float
    remaining: int
    seconds_left: float
    seconds_to_wait: float

    @property
    def reset(self) -> int:
        """Whole seconds until the reset, rounded up, as headers tell it."""
        return _whole(self.seconds_left)

    @property
    def retry_after(self) -> int:
        """Whole seconds to wait, rounded up, as headers tell it."""
        return _whole(self.seconds_to_wait)


class Limiter(Protocol):
    """Counts the requests of one client, or of all clients that share a quota.

    Attributes:
        limit: Requests per window.
        window: Seconds.
    """

    limit: int
    window: float

    def take(self, now: float) -> Standing:
        """Let one request through, or not.

        Args:
            now: Seconds since any moment, never less than before.

        Returns:
            Where the client stands after this request.
        """


class FixedWindowLimiter:
    """A window that opens with the first request after the last one has closed, as express-rate-limit counts.

    Args:
        limit: Requests per window.
        window: Seconds.
    """

    def __init__(self, limit: int, window: float) -> None:
        self.limit = limit
        self.window = window
        self._opened = -math.inf
        self._used = 0

    def take(self, now: float) -> Standing:
        """Let one request through, or not; see `Limiter.take`."""
        if now - self._opened >= self.window:
            self._opened, self._used = now, 0
        allowed = self._used < self.limit
        self._used += allowed
        return _standing(self, allowed, max(0, self.limit - self._used), self._opened + self.window - now)


class AlignedWindowLimiter:
    """Windows that follow one another without a gap, whether somebody asks or not: the full minutes of a clock.

    Args:
        limit: Requests per window.
        window: Seconds.
        origin: A moment at which a window opens, on the clock that is given to `take`.
    """

    def __init__(self, limit: int, window: float, origin: float = 0.0) -> None:
        self.limit = limit
        self.window = window
        self._origin = origin
        self._number = -1
        self._used = 0

    def take(self, now: float) -> Standing:
        """Let one request through, or not; see `Limiter.take`."""
        number = math.floor((now - self._origin) / self.window)
        if number != self._number:
            self._number, self._used = number, 0
        allowed = self._used < self.limit
        self._used += allowed
        left = self._origin + (number + 1) * self.window - now
        return _standing(self, allowed, self.limit - self._used, left)


class SlidingWindowLimiter:
    """An exact log of what was let through within the last window; what was turned away is not logged.

    Args:
        limit: Requests per window.
        window: Seconds.
        announces_window: Announce always the whole window as the reset, instead of the moment when the oldest
            request leaves the log. Servers do either.
    """

    def __init__(self, limit: int, window: float, *, announces_window: bool = False) -> None:
        self.limit = limit
        self.window = window
        self._announces_window = announces_window
        self._log: deque[float] = deque()

    def take(self, now: float) -> Standing:
        """Let one request through, or not; see `Limiter.take`."""
        while self._log and self._log[0] <= now - self.window:
            self._log.popleft()
        allowed = len(self._log) < self.limit
        if allowed:
            self._log.append(now)
        known = self._log and not self._announces_window
        left = self._log[0] + self.window - now if known else self.window
        return _standing(self, allowed, self.limit - len(self._log), left)


class EstimatedWindowLimiter:
    """Aligned windows where the last one counts as far as it overlaps with the window that ends now.

    Only two numbers are kept per client, and the last window is taken to have been used evenly. The reset that is
    announced is the end of the current window, although that much is not free then.

    Args:
        limit: Requests per window.
        window: Seconds.
        origin: A moment at which a window opens, on the clock that is given to `take`.
    """

    def __init__(self, limit: int, window: float, origin: float = 0.0) -> None:
        self.limit = limit
        self.window = window
        self._origin = origin
        self._number = -1
        self._before = 0
        self._used = 0

    def take(self, now: float) -> Standing:
        """Let one request through, or not; see `Limiter.take`."""
        number, passed = divmod(now - self._origin, self.window)
        self._turn_to(int(number))
        weighed = self._before * (1 - passed / self.window)
        allowed = weighed + self._used + 1 <= self.limit
        self._used += allowed
        remaining = max(0, math.floor(self.limit - weighed - self._used))
        return _standing(self, allowed, remaining, self.window - passed)

    def _turn_to(self, number: int) -> None:
        if number != self._number:
            self._before = self._used if number == self._number + 1 else 0
            self._number, self._used = number, 0


class TokenBucketLimiter:
    """A bucket that is refilled steadily, kept as the moment when it will be full again (GCRA).

    With a capacity of its burst plus one, this is also the `limit_req` of nginx with `nodelay`.

    Args:
        limit: Requests per window.
        window: Seconds in which `limit` permits come back.
        capacity: Permits that the bucket holds; `limit` by default.
    """

    def __init__(self, limit: int, window: float, capacity: int | None = None) -> None:
        self.limit = limit
        self.window = window
        self._interval = window / limit
        self._depth = self._interval * (limit if capacity is None else capacity)
        self._full_at = -math.inf

    def take(self, now: float) -> Standing:
        """Let one request through, or not; see `Limiter.take`."""
        full_at = max(self._full_at, now)
        missing = full_at + self._interval - now - self._depth
        allowed = missing <= _NOISE
        if allowed:
            self._full_at = full_at = full_at + self._interval
        remaining = max(0, math.floor((self._depth - (full_at - now) + _NOISE) / self._interval))
        return _standing(self, allowed, remaining, full_at - now, missing)


def announced(standing: Standing, dialect: str, wall: float) -> Headers:
    """Return the headers that tell a client where it stands.

    Args:
        standing: What the limiter said.
        dialect: One of the `DIALECTS`.
        wall: The time now, in seconds since the epoch, for the dialects that name a moment.

    Returns:
        Names and values. Where the request was turned away they end with Retry-After, in every dialect but "none".
    """
    headers = DIALECTS[dialect](standing, wall)
    if not standing.allowed and dialect != "none":
        headers.append(("Retry-After", str(standing.retry_after)))
    return headers


def _standing(limiter: Limiter, allowed: bool, remaining: int, left: float, to_wait: float | None = None) -> Standing:
    wait = 0.0 if allowed else left if to_wait is None else to_wait
    return Standing(allowed, limiter.limit, limiter.window, remaining, left, wait)


def _whole(seconds: float) -> int:
    return max(0, math.ceil(seconds - _NOISE))


def _policy(standing: Standing) -> str:
    """Return the quota as the drafts before the eighth write it."""
    return f"{standing.limit};w={math.ceil(standing.window)}"


def _draft_3(standing: Standing, _wall: float) -> Headers:
    return [
        ("RateLimit-Limit", f"{standing.limit}, {_policy(standing)}"),
        ("RateLimit-Remaining", str(standing.remaining)),
        ("RateLimit-Reset", str(standing.reset)),
    ]


def _draft_6(standing: Standing, _wall: float) -> Headers:
    return [
        ("RateLimit-Policy", _policy(standing)),
        ("RateLimit-Limit", str(standing.limit)),
        ("RateLimit-Remaining", str(standing.remaining)),
        ("RateLimit-Reset", str(standing.reset)),
    ]


def _draft_7(standing: Standing, _wall: float) -> Headers:
    state = f"limit={standing.limit}, remaining={standing.remaining}, reset={standing.reset}"
    return [("RateLimit", state), ("RateLimit-Policy", _policy(standing))]


def _draft_8(standing: Standing, _wall: float) -> Headers:
    return [
        ("RateLimit", f'"default";r={standing.remaining};t={standing.reset}'),
        ("RateLimit-Policy", f'"default";q={standing.limit};w={math.ceil(standing.window)}'),
    ]


def _moment(standing: Standing, wall: float) -> str:
    return str(_whole(wall + standing.seconds_left))


def _x(standing: Standing, reset: str) -> Headers:
    return [
        ("X-RateLimit-Limit", str(standing.limit)),
        ("X-RateLimit-Remaining", str(standing.remaining)),
        ("X-RateLimit-Reset", reset),
    ]


def _x_epoch(standing: Standing, wall: float) -> Headers:
    return _x(standing, _moment(standing, wall))


def _github(standing: Standing, wall: float) -> Headers:
    own = [("x-ratelimit-used", str(standing.limit - standing.remaining)), ("x-ratelimit-resource", "core")]
    return [(name.lower(), value) for name, value in _x(standing, _moment(standing, wall))] + own


def _nothing(_standing: Standing, _wall: float) -> Headers:
    return []


DIALECTS: dict[str, Callable[[Standing, float], Headers]] = {
    "draft-3": _draft_3,
    "draft-6": _draft_6,
    "draft-7": _draft_7,
    "draft-8": _draft_8,
    "x": _x_epoch,
    "x-epoch": _x_epoch,
    "x-delta": lambda standing, _wall: _x(standing, str(standing.reset)),
    "github-like": _github,
    "retry-only": _nothing,
    "none": _nothing,
}
"""How servers announce a quota; "x" is "x-epoch", "retry-only" speaks only of a refusal, "none" never speaks."""
