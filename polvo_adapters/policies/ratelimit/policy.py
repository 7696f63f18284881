"""Rate limits: no request is sent before its turn, at a rate that is configured or learned from the responses.

Theory of operation. The flow is the same for all:

    request a turn ──▶ go ─────────────▶ send ──▶ report the result
     ▲             └─▶ wait ──▶ sleep ─┐
     │             └─▶ too long ──▶ RateLimitError, with the time in `retry_after`
     └─────────────────────────────────┘

Requests and results are events for a machine in the store, with one state for each origin, credential and tenant: all
threads and tasks, and all adapters that share the store, take turns from one quota in the order in which they came. No
lock is held while a call waits. A refusal (429, or whatever else `polvo_adapters.core.verdict` knows) pauses all calls
until the time that the server named; therefore a call that has waited requests its turn again.

    machine             a turn                                                   a result
    ------------------  -------------------------------------------------------  ---------------------------------
    TokenBucket         takes a token, which may be one of the future            a refusal pauses
    SlidingWindow       takes the first moment at which the window has room      a refusal pauses
    AdaptiveRateLimit   see `polvo_adapters.policies.ratelimit.adaptive`         every response teaches the quota
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from polvo_adapters import headers
from polvo_adapters.core import validate
from polvo_adapters.core.calls import Call
from polvo_adapters.core.durations import format_seconds
from polvo_adapters.core.effects import Decide, Effect, Flow, Proceed, Sleep, TryDecide, Undecided
from polvo_adapters.core.judgement import verdict_of
from polvo_adapters.core.judges import FormerRefusalJudge, Judge, adapt, add_judges
from polvo_adapters.core.keywords import explain_arguments
from polvo_adapters.core.machines import Event, Machine
from polvo_adapters.core.notices import Notice
from polvo_adapters.core.outcomes import Outcome
from polvo_adapters.core.state_keys import of_tenant
from polvo_adapters.core.stored_types import stored_as
from polvo_adapters.core.verdict import SERVED
from polvo_adapters.errors import PolvoError, RateLimitDeadlineExceeded, RateLimitError
from polvo_adapters.headers import Quota, Throttled
from polvo_adapters.policies.gates import Key, longest_prefix
from polvo_adapters.policies.outcomes import refuse_to_send, refuse_undecided
from polvo_adapters.policies.ratelimit.account import Account, make_account
from polvo_adapters.policies.ratelimit.adaptive import learn_result
from polvo_adapters.policies.ratelimit.pauses import read_pause
from polvo_adapters.policies.ratelimit.queue import acquire_turn
from polvo_adapters.policies.ratelimit.route_names import find_route
from polvo_adapters.policies.ratelimit.turns import Turn, TurnRequest, TurnResult

_PAUSE = 1.0  # seconds, where a server refuses and does not say for how long
_FREE = {"spread": 0.5, "burst": 0.0, "even": 1.0}  # part of a quota that is spread over its window


class RateLimit(Machine):
    """What all rate limits share: the flow."""

    kind = "rate limit"
    """Beginning of the keys of its state; configured rates put their numbers in it, so that they do not mix."""
    max_wait: float
    judge: Judge | None
    key: Key
    """What its state is kept for, besides the credential and the tenant."""
    counts_credentials = True
    stack_option = "rate_limit"

    @property
    def judges(self) -> tuple[Judge, ...]:
        """The judge, for the shell, so that all policies of a call go by it."""
        return () if self.judge is None else (self.judge,)

    reports_every_outcome = False
    """Whether the machine receives every outcome, or only refusals."""

    def flow(self, call: Call, proceed: Proceed) -> Flow:
        """Wait for the turn of the call, run it, and report the result."""
        key = self._find_key(call)
        route, part = find_route(call.method, call.url)
        try:
            turn = yield from self._acquire_turn(call, key, route, part)
        except Undecided as undecided:
            return refuse_undecided(undecided)
        if turn.refused:
            return self._make_error(call, turn)
        if self.judge is not None:
            call = add_judges(call, self.judges)
        outcome = yield from proceed(call)
        if outcome.failure is not None and not self.reports_every_outcome:
            return outcome
        quotas, refused, in_doubt = self._read_response(call, outcome)
        pause, paced = read_pause(outcome) if refused is None else (0.0, False)
        if self.reports_every_outcome or refused is not None or pause:
            seconds = outcome.now - outcome.started
            result = TurnResult(
                route, turn.group, turn.era, seconds, outcome.status, quotas, refused, part, pause, paced, in_doubt
            )
            yield TryDecide((Event(self, key, result),))
        return outcome.with_quotas(quotas) if quotas else outcome

    def _find_key(self, call: Call) -> str:
        """Return the key of the state for a call."""
        key = self.key
        if key == "origin":
            place = call.origin
        elif callable(key):
            place = key(call)
        else:
            place = call.origin + longest_prefix(key, call.url)
        return f"{self.kind} {place} {call.credential}{of_tenant(call.tenant)}"

    def _acquire_turn(self, call: Call, key: str, route: str, part: str) -> Generator[Effect, Any, Turn]:
        request = TurnRequest(route, -1, 0, self.max_wait, call.deadline, part=part)
        while True:
            turn: Turn = (yield Decide((Event(self, key, request),)))[0]
            if turn.wait <= 0 or turn.refused:
                return turn
            notice = Notice("ratelimit", call)
            slept: float = yield Sleep(turn.wait, turn.wait + turn.spread, turn.reason, notice)
            chance = (slept - turn.wait) / turn.spread if turn.spread else request.chance
            waited = request.waited + slept
            request = request._replace(
                ticket=turn.ticket, tries=turn.tries, chance=chance, waited=waited, group=turn.group
            )

    def _read_response(self, call: Call, outcome: Outcome) -> tuple[Sequence[Quota], Throttled | None, bool]:
        """Return the quotas that a response announces, how it refuses, and whether it may not be a refusal."""
        if outcome.failure is not None:
            return (), None, False
        verdict = verdict_of(call, outcome)
        refused = None if verdict is SERVED else verdict.to_throttled()
        if not self.reports_every_outcome:
            return (), refused, False
        if verdict.in_doubt:
            refused = Throttled("rate", verdict.retry_after, (), verdict.reason)
        quotas = headers.parse(outcome.headers, outcome.status, outcome.wall)
        if outcome.body:
            quotas += headers.parse_body(outcome.body, outcome.status)
        return quotas, refused, verdict.in_doubt

    def _make_error(self, call: Call, turn: Turn) -> Outcome:
        kind: type[PolvoError] = RateLimitError
        limit = f"max_wait, {self.max_wait:g} s"
        if turn.refused == "deadline":
            kind, limit = RateLimitDeadlineExceeded, "the deadline"
        error = kind(
            f"{call.method} {call.host}: not sent, {turn.reason}; its turn comes in {format_seconds(turn.wait)} s, "
            f"which is beyond {limit}; call again after that, or allow a longer wait",
            host=call.host,
            retry_after=turn.wait,
        )
        return refuse_to_send(error, "ratelimit", f"{turn.reason}; its turn is beyond {limit}", turn.wait)


@stored_as("token-bucket.1")
class _BucketState(NamedTuple):
    """Tokens at a time; those below zero are owed to requests that wait.

    `paused_ticket` is the first ticket whose turn had not come when the server refused; it follows `paused_until`.
    """

    tokens: float
    counted_at: float
    issued: int = 0
    paused_until: float = 0.0
    paused_ticket: int = 0


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

    def transition(self, state: _BucketState, event: TurnRequest | TurnResult, now: float) -> tuple[_BucketState, Turn]:
        """Return the bucket with a token taken, or paused after a refusal, and the turn."""
        tokens, counted_at, issued, paused_until, paused_ticket = state
        tokens = min(self.capacity or 1.0, tokens + max(0.0, now - counted_at) * self.rate)
        if isinstance(event, TurnResult):
            return self._pause(state, tokens, now + _find_pause(event)), Turn()
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
        return _BucketState(tokens - 1, counted_at, issued + 1, paused_until, paused_ticket), turn

    def _pause(self, state: _BucketState, tokens: float, until: float) -> _BucketState:
        """Return the bucket with one token when the pause is over, and the turns of those that wait from then on."""
        if until <= max(state.paused_until, state.counted_at):
            return state
        waiting = max(0, math.ceil(-tokens - 1e-9))
        return _BucketState(min(tokens, 1.0 - waiting), until, state.issued, until, state.issued - waiting)


@stored_as("sliding-window.1")
class _WindowState(NamedTuple):
    """The times of the last requests, future ones included, the number of all, and the end of the last pause."""

    times: tuple[float, ...]
    issued: int
    paused_until: float


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

    def transition(self, state: _WindowState, event: TurnRequest | TurnResult, now: float) -> tuple[_WindowState, Turn]:
        """Return the window with the first free moment taken, or paused after a refusal, and the turn."""
        times, issued, paused_until = state
        if isinstance(event, TurnResult):
            return self._pause(state, now, max(paused_until, now + _find_pause(event))), Turn()
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
        while over < len(times) - self.limit and times[over] <= now:
            over += 1
        return _WindowState(times[over:], issued + 1, paused_until), turn

    def _pause(self, state: _WindowState, now: float, until: float) -> _WindowState:
        """Return the window with those that wait after the pause, in their order and as the window has room."""
        times = [time for time in state.times if time <= now]
        for _ in range(len(state.times) - len(times)):
            room = times[-self.limit] + self.window if len(times) >= self.limit else until
            times.append(max(until, room))
        return _WindowState(tuple(times), state.issued, until)


@explain_arguments
@dataclass(frozen=True)
class AdaptiveRateLimit(RateLimit):
    """A rate limit that learns the quota of an API, uses all of it, and hardly ever meets a 429.

    It reads what the API announces about its quotas in any of the dialects of `polvo_adapters.headers`, learns which
    routes count in which quota, paces requests to the tightest one, and takes a fair share where other clients use it
    too. Where an API announces nothing, it finds the rate from the refusals.

    Args:
        pace: "spread" spends freely while more than half of a quota is left and spreads the rest over the time to
            the reset, but spends a quota of more than two hours as it is wanted; "burst" spends all that is there, and
            then waits for the reset; "even" spreads all of every quota over its window, that of a day too.
        max_wait: Longest wait for a turn, in seconds; a longer one raises RateLimitError at once.
        judge: As for TokenBucket.
        key: As for TokenBucket. It is rarely needed, because which routes share a quota is learned.

    Raises:
        ValueError: A value is out of range.

    Source: `polvo_adapters.policies.ratelimit.pacing` names the literature.
    """

    pace: Literal["spread", "burst", "even"] = "spread"
    max_wait: float = 60.0
    judge: Judge | None = None
    key: Key = "origin"

    reports_every_outcome = True
    state_type = Account

    def __post_init__(self) -> None:
        validate.choice(self, "pace", tuple(_FREE))
        validate.number(self, "max_wait", 0, infinite=True)
        validate.key(self, "key")
        adapt(self, FormerRefusalJudge)

    @property
    def initial(self) -> Account:
        """An account without quotas."""
        return make_account()

    def transition(self, state: Account, event: TurnRequest | TurnResult, now: float) -> tuple[Account, Turn]:
        """Return the account after a turn or a result, and the turn."""
        if isinstance(event, TurnRequest):
            return acquire_turn(state, event, now)
        return learn_result(state, event, now, free=_FREE[self.pace])


Adaptive = AdaptiveRateLimit
"""The earlier name of AdaptiveRateLimit."""


def _make_turn(ready_at: float, event: TurnRequest, now: float, reason: str, ticket: int) -> Turn:
    wait = max(0.0, ready_at - now)
    return Turn(wait=wait, ticket=ticket, reason=reason, refused=event.find_overrun(wait, now))


def _find_pause(event: TurnResult) -> float:
    if event.refused is None:
        return event.pause
    if event.refused.retry_after is not None:
        return event.refused.retry_after
    return 0.0 if event.refused.kind == "concurrency" else _PAUSE  # fewer at once, and no slower
