"""Five ways in which servers count requests, without a server, and the headers that announce each.

A limiter is given the time and decides whether a request is let through; it returns how many more would be, and when
that changes. It reads no clock: a server passes its own, a simulation passes virtual time, a test counts up. Time may
start anywhere, but must not run backwards.

The five differ in what a client can know. A fixed window refills at one moment, which is announced. A sliding
window refills piece by piece, in the rhythm in which it was used, and announces at best the first piece. A token
bucket refills steadily, announces when it will be full, and lets through nearly two quotas in the first window.
An estimated window, as large networks use it, weighs the last window by how much of it still overlaps: it may
turn requests away right after the moment that it announced.

Servers announce whole seconds, rounded up, and so does `format_headers`, in any of the `DIALECTS`.
"""

from __future__ import annotations

import math
from collections import deque
from typing import NamedTuple, Protocol

_NOISE = 1e-6  # seconds; far above what floating point does to a clock, far below what a client can time


class Standing(NamedTuple):
    """Where a client stands after one of its requests was let through or turned away.

    Attributes:
        allowed: Whether the request was let through.
        limit: Requests per window.
        window: Seconds.
        remaining: Requests that would be let through if they came now.
        seconds_left: Exact seconds until what the server calls its reset.
        seconds_to_wait: Exact seconds that the server asks a client to wait that it has turned away, else 0.
    """

    allowed: bool
    limit: int
    window: float
    remaining: int
    seconds_left: float
    seconds_to_wait: float

    @property
    def reset(self) -> int:
        """Whole seconds until the reset, rounded up, as headers have it."""
        return _round_up(self.seconds_left)

    @property
    def retry_after(self) -> int:
        """Whole seconds to wait, rounded up, as headers have it."""
        return _round_up(self.seconds_to_wait)


class Limiter(Protocol):
    """A counter of the requests of one client, or of all clients that share a quota.

    Attributes:
        limit: Requests per window.
        window: Seconds.
    """

    limit: int
    window: float

    def take(self, now: float) -> Standing:
        """Let one request through, or not, and return where the client stands.

        Args:
            now: Seconds since any moment, never less than before.
        """


class _BaseLimiter(Limiter):
    def __init__(self, limit: int, window: float) -> None:
        self.limit = limit
        self.window = window
        self._used = 0

    def _use(self, left: float, before: float = 0.0) -> Standing:
        """Take one request from a window that closes in `left` seconds and in which `before` count as used."""
        allowed = before + self._used + 1 <= self.limit
        self._used += allowed
        return self._stand(allowed, self.limit - before - self._used, left)

    def _stand(self, allowed: bool, remaining: float, left: float, wait: float | None = None) -> Standing:
        """Return the standing; a request that is turned away has to wait until the reset, or for `wait` seconds."""
        to_wait = 0.0 if allowed else left if wait is None else wait
        return Standing(allowed, self.limit, self.window, max(0, math.floor(remaining)), left, to_wait)


class FixedWindowLimiter(_BaseLimiter):
    """A window that opens with the first request after the last one has closed, as express-rate-limit counts.

    Args:
        limit: Requests per window.
        window: Seconds.
    """

    _opened = -math.inf

    def take(self, now: float) -> Standing:
        """Let one request through, or not; see `Limiter.take`."""
        if now - self._opened >= self.window:
            self._opened, self._used = now, 0
        return self._use(self._opened + self.window - now)


class AlignedWindowLimiter(_BaseLimiter):
    """Windows that follow one another without a gap, with or without requests: the full minutes of a clock.

    Args:
        limit: Requests per window.
        window: Seconds.
        origin: A moment at which a window opens, on the clock that is given to `take`.
    """

    def __init__(self, limit: int, window: float, origin: float = 0.0) -> None:
        super().__init__(limit, window)
        self._origin = origin
        self._number = -1
        self._before = 0

    def take(self, now: float) -> Standing:
        """Let one request through, or not; see `Limiter.take`."""
        number = math.floor((now - self._origin) / self.window)
        self._turn_to(number)
        return self._use(self._origin + (number + 1) * self.window - now)

    def _turn_to(self, number: int) -> None:
        if number != self._number:
            self._before = self._used if number == self._number + 1 else 0
            self._number, self._used = number, 0


class SlidingWindowLimiter(_BaseLimiter):
    """An exact log of the requests let through within the last window; those turned away are not logged.

    Args:
        limit: Requests per window.
        window: Seconds.
        announces_window: Announce always the whole window as the reset, instead of the moment when the oldest
            request leaves the log. Servers do either.
    """

    def __init__(self, limit: int, window: float, *, announces_window: bool = False) -> None:
        super().__init__(limit, window)
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
        return self._stand(allowed, self.limit - len(self._log), left)


class EstimatedWindowLimiter(AlignedWindowLimiter):
    """Aligned windows where the last one counts as far as it overlaps with the window that ends now.

    Only two numbers are kept per client, and the last window is taken to have been used evenly. The reset that is
    announced is the end of the current window, although that much is not free then.

    Args:
        limit: Requests per window.
        window: Seconds.
        origin: A moment at which a window opens, on the clock that is given to `take`.
    """

    def take(self, now: float) -> Standing:
        """Let one request through, or not; see `Limiter.take`."""
        number, passed = divmod(now - self._origin, self.window)
        self._turn_to(int(number))
        return self._use(self.window - passed, self._before * (1 - passed / self.window))


class TokenBucketLimiter(_BaseLimiter):
    """A bucket that is refilled steadily, kept as the moment when it will be full again (GCRA).

    With a capacity of its burst plus one, this is also the `limit_req` of nginx with `nodelay`.

    Args:
        limit: Requests per window.
        window: Seconds in which `limit` permits come back.
        capacity: Permits that the bucket holds; `limit` by default.
    """

    def __init__(self, limit: int, window: float, capacity: int | None = None) -> None:
        super().__init__(limit, window)
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
        remaining = (self._depth - (full_at - now) + _NOISE) / self._interval
        return self._stand(allowed, remaining, full_at - now, missing)


def _round_up(seconds: float) -> int:
    return max(0, math.ceil(seconds - _NOISE))


_LIMIT_FIELDS = (("RateLimit-Remaining", "{remaining}"), ("RateLimit-Reset", "{reset}"))
_X_FIELDS = (("X-RateLimit-Limit", "{limit}"), ("X-RateLimit-Remaining", "{remaining}"))
_X_EPOCH_FIELDS = (*_X_FIELDS, ("X-RateLimit-Reset", "{moment}"))

DIALECTS: dict[str, tuple[tuple[str, str], ...]] = {
    "draft-3": (("RateLimit-Limit", "{limit}, {limit};w={window}"), *_LIMIT_FIELDS),
    "draft-6": (("RateLimit-Policy", "{limit};w={window}"), ("RateLimit-Limit", "{limit}"), *_LIMIT_FIELDS),
    "draft-7": (
        ("RateLimit", "limit={limit}, remaining={remaining}, reset={reset}"),
        ("RateLimit-Policy", "{limit};w={window}"),
    ),
    "draft-8": (
        ("RateLimit", '"{policy}";r={remaining};t={reset}'),
        ("RateLimit-Policy", '"{policy}";q={limit};w={window}'),
    ),
    "x": _X_EPOCH_FIELDS,
    "x-epoch": _X_EPOCH_FIELDS,
    "x-delta": (*_X_FIELDS, ("X-RateLimit-Reset", "{reset}")),
    "github-like": (
        *((name.lower(), template) for name, template in _X_EPOCH_FIELDS),
        ("x-ratelimit-used", "{used}"),
        ("x-ratelimit-resource", "{resource}"),
    ),
    "retry-only": (),
    "none": (),
}
"""Header names and templates by which servers announce a quota: `moment` is the reset in Unix time. "x" is "x-epoch",
"retry-only" announces refusals only, "none" nothing."""


def format_headers(standing: Standing, dialect: str, wall: float, resource: str = "") -> list[tuple[str, str]]:
    """Return the headers that announce where a client stands.

    Args:
        standing: What the limiter returned.
        dialect: One of the `DIALECTS`.
        wall: The time now, in seconds since the epoch, for the dialects that name a moment.
        resource: What was counted, for the dialects that name it ("github-like" and "draft-8").

    Returns:
        Names and values. Where the request was turned away they end with Retry-After, in every dialect but "none".
    """
    values = {
        "limit": standing.limit,
        "window": math.ceil(standing.window),
        "remaining": standing.remaining,
        "used": standing.limit - standing.remaining,
        "reset": standing.reset,
        "moment": _round_up(wall + standing.seconds_left),
        "policy": resource or "default",
        "resource": resource or "core",
    }
    headers = [(name, template.format_map(values)) for name, template in DIALECTS[dialect]]
    if not standing.allowed and dialect != "none":
        headers.append(("Retry-After", str(standing.retry_after)))
    return headers
