"""Rate limits for a rate that is known: a bucket of tokens, and a window that slides."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from polvo_adapters.core import validate
from polvo_adapters.core.judges import FormerRefusalJudge, Judge, adapt
from polvo_adapters.core.keywords import explain_arguments
from polvo_adapters.core.stored_types import stored_as
from polvo_adapters.policies.gates import Key
from polvo_adapters.policies.ratelimit.flow import RateLimit
from polvo_adapters.policies.ratelimit.turns import MOST_GONE, ReleaseTurn, Turn, TurnRequest, TurnResult, leave_queue

_PAUSE = 1.0  # seconds, where a server refuses and does not say for how long


@stored_as("token-bucket.2", former="token-bucket.1")
class _BucketState(NamedTuple):
    """Tokens at a time; those below zero are owed to requests that wait.

    `paused_ticket` is the first ticket whose turn had not come when the server refused; it follows `paused_until`.
    `gone` are tickets of calls that were broken off, before others that wait.
    """

    tokens: float
    counted_at: float
    issued: int = 0
    paused_until: float = 0.0
    paused_ticket: int = 0
    gone: tuple[int, ...] = ()


@explain_arguments
@dataclass(frozen=True)
class TokenBucket(RateLimit):
    """A rate limit for a rate that you know; it allows bursts.

    Args:
        rate: Requests per second.
        capacity: Requests that may go at once after a silence; by default those of one second, at least 1.
        max_wait: Longest wait for a turn, in seconds; a longer one raises RateLimitError at once.
        judge: A function of the `Answer` that says how it refuses, for an API that does so in a way of its own; see
            `polvo_adapters.core.judges`.
        key: "origin" for one limit per scheme, host and port; a tuple of path prefixes for one per prefix; or a
            function of the `Call` that names the limit. Each credential and each tenant has its own.

    Raises:
        ValueError: A value is out of range.

    Source: Turner, "New directions in communications", 1986 (leaky bucket as a meter).
    """

    rate: float
    capacity: float | None = None
    max_wait: float = 60.0
    judge: Judge | None = None
    key: Key = "origin"

    def __post_init__(self) -> None:
        validate.number(self, "rate", 0, above=True)
        if self.capacity is None:
            object.__setattr__(self, "capacity", max(1.0, self.rate))
        validate.number(self, "capacity", 1)
        validate.number(self, "max_wait", 0, infinite=True)
        validate.key(self, "key")
        object.__setattr__(self, "kind", f"rate limit of {self.rate:g} up to {self.capacity:g}")
        adapt(self, FormerRefusalJudge)

    @property
    def initial(self) -> _BucketState:
        """A full bucket."""
        return _BucketState(self.capacity or 1.0, 0.0)

    def transition(
        self, state: _BucketState, event: TurnRequest | TurnResult | ReleaseTurn, now: float
    ) -> tuple[_BucketState, Turn]:
        """Return the bucket with a token taken or given back, or paused after a refusal, and the turn."""
        tokens, counted_at, issued, paused_until, paused_ticket, gone = state
        tokens = min(self.capacity or 1.0, tokens + max(0.0, now - counted_at) * self.rate)
        if isinstance(event, TurnResult):
            return self._pause(state, tokens, now + _find_pause(event)), Turn()
        if isinstance(event, ReleaseTurn):
            return self._give_back(state, tokens, event.turn, now), Turn()
        reason = f"rate limit of {self.rate:g} per second"
        if event.ticket >= 0:
            after = max(0, event.ticket - paused_ticket) / self.rate
            return state, _make_turn(
                paused_until + after if paused_until > 0 else now, event, now, reason, event.ticket
            )
        counted_at = max(now, counted_at)
        turn = _make_turn(counted_at + max(0.0, (1 - tokens) / self.rate), event, now, reason, issued)
        if turn.refused:
            return state, turn
        return _BucketState(tokens - 1, counted_at, issued + 1, paused_until, paused_ticket, gone), turn

    def _give_back(self, state: _BucketState, tokens: float, turn: Turn, now: float) -> _BucketState:
        """Return the bucket with the token of a call that waited, once none behind it waits for a later one."""
        if turn.wait <= 0 or turn.refused:
            return state
        _, issued, gone = leave_queue(turn.ticket, state.gone, state.issued)
        tokens = min(self.capacity or 1.0, tokens + state.issued - issued)
        kept = tuple(gone[-MOST_GONE:]) if tokens < 0 else ()
        return state._replace(tokens=tokens, counted_at=max(now, state.counted_at), issued=issued, gone=kept)

    def _pause(self, state: _BucketState, tokens: float, until: float) -> _BucketState:
        """Return the bucket with one token when the pause is over, and the turns of those that wait from then on."""
        if until <= max(state.paused_until, state.counted_at):
            return state
        waiting = max(0, math.ceil(-tokens - 1e-9))
        return _BucketState(min(tokens, 1.0 - waiting), until, state.issued, until, state.issued - waiting, state.gone)


@stored_as("sliding-window.2", former="sliding-window.1")
class _WindowState(NamedTuple):
    """The times of the last requests, future ones included, the number of all, and the end of the last pause.

    `gone` are tickets of calls that were broken off, before others that wait.
    """

    times: tuple[float, ...]
    issued: int
    paused_until: float
    gone: tuple[int, ...] = ()


@explain_arguments
@dataclass(frozen=True)
class SlidingWindow(RateLimit):
    """A rate limit that never allows more than a number of requests in any window of a length.

    Args:
        limit: Requests per window.
        window: Length of the window, in seconds.
        max_wait: Longest wait for a turn, in seconds; a longer one raises RateLimitError at once.
        judge: A function of the `Answer` that says how it refuses, for an API that does so in a way of its own; see
            `polvo_adapters.core.judges`.
        key: "origin" for one limit per scheme, host and port; a tuple of path prefixes for one per prefix; or a
            function of the `Call` that names the limit. Each credential and each tenant has its own.

    Raises:
        ValueError: A value is out of range.
    """

    limit: int
    window: float
    max_wait: float = 60.0
    judge: Judge | None = None
    key: Key = "origin"

    def __post_init__(self) -> None:
        validate.count(self, "limit", 1)
        validate.number(self, "window", 0, above=True)
        validate.number(self, "max_wait", 0, infinite=True)
        validate.key(self, "key")
        object.__setattr__(self, "kind", f"rate limit of {self.limit} in {self.window:g}")
        adapt(self, FormerRefusalJudge)

    @property
    def initial(self) -> _WindowState:
        """A window in which nothing was sent."""
        return _WindowState((), 0, 0.0)

    def transition(
        self, state: _WindowState, event: TurnRequest | TurnResult | ReleaseTurn, now: float
    ) -> tuple[_WindowState, Turn]:
        """Return the window with the first free moment taken or given back, or paused after a refusal, and the turn."""
        times, issued, paused_until, gone = state
        if isinstance(event, TurnResult):
            return self._pause(state, now, max(paused_until, now + _find_pause(event))), Turn()
        if isinstance(event, ReleaseTurn):
            return self._give_back(state, event.turn, now), Turn()
        reason = f"rate limit of {self.limit} in {self.window:g} s"
        if event.ticket >= 0:
            back = issued - event.ticket
            own = times[-back] if 0 < back <= len(times) else paused_until
            return state, _make_turn(own, event, now, reason, event.ticket)
        ready = max(now, paused_until)
        if len(times) >= self.limit:
            ready = max(ready, times[-self.limit] + self.window)
        turn = _make_turn(ready, event, now, reason, issued)
        if turn.refused:
            return state, turn
        times = (*times, ready)
        over = 0
        while times[over] <= now - self.window:
            over += 1
        return _WindowState(times[over:], issued + 1, paused_until, gone), turn

    def _give_back(self, state: _WindowState, turn: Turn, now: float) -> _WindowState:
        """Return the window with the moment of a call that waited, once none behind it waits for a later one."""
        if turn.wait <= 0 or turn.refused:
            return state
        _, issued, gone = leave_queue(turn.ticket, state.gone, state.issued)
        times = state.times[: len(state.times) - (state.issued - issued)]
        is_waiting = bool(times) and times[-1] > now
        return state._replace(times=times, issued=issued, gone=tuple(gone[-MOST_GONE:]) if is_waiting else ())

    def _pause(self, state: _WindowState, now: float, until: float) -> _WindowState:
        """Return the window with those that wait after the pause, in their order and as the window has room."""
        times = [time for time in state.times if time <= now]
        for _ in range(len(state.times) - len(times)):
            room = times[-self.limit] + self.window if len(times) >= self.limit else until
            times.append(max(until, room))
        return _WindowState(tuple(times), state.issued, until, state.gone)


def _make_turn(ready_at: float, event: TurnRequest, now: float, reason: str, ticket: int) -> Turn:
    wait = max(0.0, ready_at - now)
    return Turn(wait=wait, ticket=ticket, reason=reason, refused=event.find_overrun(wait, now))


def _find_pause(event: TurnResult) -> float:
    if event.refused is None:
        return event.pause
    if event.refused.retry_after is not None:
        return event.refused.retry_after
    return 0.0 if event.refused.kind == "concurrency" else _PAUSE  # fewer at once, and no slower
