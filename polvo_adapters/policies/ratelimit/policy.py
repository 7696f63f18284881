"""No request before its time: rates that are told, and `Adaptive`, which reads them from the answers.

Theory of operation. The flow is the same for all:

    ask ──▶ go ─────────────▶ send ──▶ tell what came of it
     ▲  └─▶ wait ──▶ sleep ─┐
     │  └─▶ too long ──▶ RateLimitError, with the time in `retry_after`
     └──────────────────────┘

Asking and telling are events for a machine in the store, one state for each origin, credential and tenant, so that
all threads and tasks, and all adapters that share the store, are served from one quota and in the order in which they
came. Nobody holds a lock while waiting. A refusal (429, or whatever else `headers.throttled` knows) pauses
everybody until the time that the server named.

    machine         asked                                               told
    --------------  --------------------------------------------------  -----------------------------------
    TokenBucket     takes a token, which may be one of the future       a refusal pauses
    SlidingWindow   takes the first moment at which the window has room a refusal pauses
    Adaptive        see `polvo_adapters.policies.ratelimit.adaptive`              learns from every answer

Whoever waits asks again at the end, because a refusal may have come in between.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple, TypeAlias

from polvo_adapters import headers
from polvo_adapters.core import validate
from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Decide, Effect, Flow, Proceed, Sleep
from polvo_adapters.core.machines import Event
from polvo_adapters.core.outcomes import NOT_SENT, Outcome
from polvo_adapters.core.state_keys import of_tenant
from polvo_adapters.core.stored_types import stored_as
from polvo_adapters.errors import PolvoError, RateLimitDeadlineExceeded, RateLimitError
from polvo_adapters.headers import Quota, Throttled
from polvo_adapters.policies.ratelimit.account import Account, new_account
from polvo_adapters.policies.ratelimit.adaptive import ask, tell
from polvo_adapters.policies.ratelimit.turns import Turn, TurnRequest, TurnResult

__all__ = ["AdaptiveRateLimit", "SlidingWindow", "TokenBucket"]

Judge: TypeAlias = Callable[[Mapping[str, str], int, "bytes | None", float], "Throttled | None"]
"""Tells whether an answer is a refusal, from its headers, status, body and the Unix time."""

_PAUSE = 1.0  # seconds, where a server refuses and does not say for how long
_DEPTH = 4  # path segments that tell one resource of an API from another


class RateLimit:
    """What all rate limits share: the flow."""

    kind = "rate limit"
    """Beginning of the keys of its state; what is told differs from rate to rate."""
    max_wait: float
    judge: Judge | None
    counts_credentials = True
    """Whether shells have to tell the credentials of calls apart."""
    reads = False
    """Whether every answer is of interest, or only refusals."""

    def flow(self, call: Call, proceed: Proceed) -> Flow:
        """Wait for the turn of the call, run it, and learn from the answer."""
        key = f"{self.kind} {call.origin} {call.credential}"
        if call.tenant:
            key += of_tenant(call.tenant)
        route = _route(call.url)
        admission = yield from self._admitted(call, key, route)
        if admission.refused:
            return self._refusal(call, admission)
        outcome = yield from proceed(call)
        if outcome.failure is not None and not self.reads:
            return outcome
        quotas, refused = self._read(outcome)
        if self.reads or refused is not None:
            seconds = outcome.now - outcome.started
            told = TurnResult(route, admission.group, admission.era, seconds, outcome.status, quotas, refused)
            yield Decide((Event(self, key, told),))
        return outcome.with_quotas(quotas) if quotas else outcome

    def _admitted(self, call: Call, key: str, route: str) -> Generator[Effect, Any, Turn]:
        ticket, tries, chance, waited, group = -1, 0, None, 0.0, ""
        while True:
            asked = TurnRequest(route, ticket, tries, self.max_wait, call.deadline, chance, waited, group)
            admission: Turn = (yield Decide((Event(self, key, asked),)))[0]
            if admission.wait <= 0 or admission.refused:
                return admission
            slept: float = yield Sleep(admission.wait, admission.wait + admission.spread, admission.reason)
            if admission.spread:
                chance = (slept - admission.wait) / admission.spread
            waited += slept
            ticket, tries, group = admission.ticket, admission.tries, admission.group

    def _read(self, outcome: Outcome) -> tuple[Sequence[Quota], Throttled | None]:
        if outcome.failure is not None:
            return (), None
        judge = headers.throttled if self.judge is None else self.judge
        refused = judge(outcome.headers, outcome.status, outcome.body, outcome.wall)
        quotas = headers.parse(outcome.headers, outcome.status, outcome.wall) if self.reads else []
        if self.reads and outcome.body:
            quotas += headers.parse_body(outcome.body, outcome.status)
        return quotas, refused

    def _refusal(self, call: Call, admission: Turn) -> Outcome:
        wait = admission.wait
        late = admission.refused == "deadline"
        kind: type[PolvoError] = RateLimitDeadlineExceeded if late else RateLimitError
        limit = "the deadline" if late else f"max_wait, {self.max_wait:g} s"
        error = kind(
            f"{call.method} {call.host}: not sent, {admission.reason}; its turn comes in {wait:.3g} s, which is beyond "
            f"{limit}; call again after that, or allow a longer wait",
            host=call.host,
            retry_after=wait,
        )
        return Outcome(error=error, failure=NOT_SENT)

    @property
    def initial(self) -> Any:
        """State of an origin that nothing is known of."""
        raise NotImplementedError

    def transition(self, state: Any, event: Any, now: float) -> tuple[Any, Any]:
        """Return the state after a question or an answer, and for a question the Admission."""
        raise NotImplementedError


@stored_as("token-bucket.1")
class _Bucket(NamedTuple):
    """Tokens at a time; those below zero are owed to requests that wait.

    `paused_from` is the first ticket whose turn had not come when the server refused, and comes after `paused`.
    """

    tokens: float
    at: float
    issued: int = 0
    paused: float = 0.0
    paused_from: int = 0


@dataclass(frozen=True)
class TokenBucket(RateLimit):
    """Keep to a rate that you know, and allow bursts.

    Args:
        rate: Requests per second.
        capacity: Requests that may go at once after a while of silence; by default one second's worth, at least 1.
        max_wait: Longest wait for a turn, in seconds; a longer one raises RateLimitError at once.
        judge: Tells whether an answer is a refusal; by default `headers.throttled`.

    Raises:
        ValueError: A value is out of range.

    Source: Turner, "New directions in communications", 1986 (leaky bucket as a meter).
    """

    rate: float
    capacity: float | None = None
    max_wait: float = 60.0
    judge: Judge | None = None

    def __post_init__(self) -> None:
        validate.number(self, "rate", 0, above=True)
        if self.capacity is None:
            object.__setattr__(self, "capacity", max(1.0, self.rate))
        validate.number(self, "capacity", 1)
        validate.number(self, "max_wait", 0, infinite=True)
        object.__setattr__(self, "kind", f"rate limit of {self.rate:g} up to {self.capacity:g}")

    @property
    def initial(self) -> _Bucket:
        """A full bucket."""
        return _Bucket(self.capacity or 1.0, 0.0)

    def transition(self, state: _Bucket, event: TurnRequest | TurnResult, now: float) -> tuple[_Bucket, Turn]:
        """Take a token, or note a refusal."""
        grown = min(self.capacity or 1.0, state.tokens + max(0.0, now - state.at) * self.rate)
        if isinstance(event, TurnResult):
            return self._paused(state, grown, now + _pause(event)), Turn()
        reason = f"rate limit of {self.rate:g} per second"
        if event.ticket >= 0:
            after = max(0, event.ticket - state.paused_from) / self.rate
            return state, _turn(state.paused + after if state.paused > 0 else now, event, now, reason, event.ticket)
        ready = max(now, state.at) + max(0.0, (1 - grown) / self.rate)
        admission = _turn(ready, event, now, reason, state.issued)
        if admission.refused:
            return state, admission
        taken = _Bucket(grown - 1, max(now, state.at), state.issued + 1, state.paused, state.paused_from)
        return taken, admission

    def _paused(self, state: _Bucket, tokens: float, until: float) -> _Bucket:
        """Begin anew with one token when the pause is over, and those first who wait."""
        if until <= max(state.paused, state.at):
            return state
        waiting = max(0, math.ceil(-tokens - 1e-9))
        return _Bucket(min(tokens, 1.0 - waiting), until, state.issued, until, state.issued - waiting)


@stored_as("sliding-window.1")
class _Log(NamedTuple):
    """When the last requests went or will go, how many there were in all, and until when nobody may go."""

    times: tuple[float, ...]
    issued: int
    paused: float


@dataclass(frozen=True)
class SlidingWindow(RateLimit):
    """Never send more than a number of requests in any window of a length.

    Args:
        limit: Requests per window.
        window: Length of the window, in seconds.
        max_wait: Longest wait for a turn, in seconds; a longer one raises RateLimitError at once.
        judge: Tells whether an answer is a refusal; by default `headers.throttled`.

    Raises:
        ValueError: A value is out of range.
    """

    limit: int
    window: float
    max_wait: float = 60.0
    judge: Judge | None = None

    def __post_init__(self) -> None:
        validate.count(self, "limit", 1)
        validate.number(self, "window", 0, above=True)
        validate.number(self, "max_wait", 0, infinite=True)
        object.__setattr__(self, "kind", f"rate limit of {self.limit} in {self.window:g}")

    @property
    def initial(self) -> _Log:
        """Nothing sent yet."""
        return _Log((), 0, 0.0)

    def transition(self, state: _Log, event: TurnRequest | TurnResult, now: float) -> tuple[_Log, Turn]:
        """Take the first moment at which there is room, or note a refusal."""
        times, issued, paused = state
        if isinstance(event, TurnResult):
            return self._postponed(state, now, max(paused, now + _pause(event))), Turn()
        reason = f"rate limit of {self.limit} in {self.window:g} s"
        if event.ticket >= 0:
            back = issued - event.ticket
            own = times[-back] if 0 < back <= len(times) else paused
            return state, _turn(own, event, now, reason, event.ticket)
        ready = max(now, paused)
        if len(times) >= self.limit:
            ready = max(ready, times[-self.limit] + self.window)
        admission = _turn(ready, event, now, reason, issued)
        if admission.refused:
            return state, admission
        times = (*times, ready)
        over = 0
        while over < len(times) - self.limit and times[over] <= now:
            over += 1
        return _Log(times[over:], issued + 1, paused), admission

    def _postponed(self, state: _Log, now: float, until: float) -> _Log:
        """Let those who wait go after a pause, in their order and as the window has room."""
        times = [time for time in state.times if time <= now]
        for _ in range(len(state.times) - len(times)):
            room = times[-self.limit] + self.window if len(times) >= self.limit else until
            times.append(max(until, room))
        return _Log(tuple(times), state.issued, until)


@dataclass(frozen=True)
class AdaptiveRateLimit(RateLimit):
    """Get all of the quota that an API allows, and practically no 429, without knowing the quota.

    It reads what the API says about its quotas in any of the dialects of `polvo_adapters.headers`, paces requests
    to the tightest one, and takes a fair share where others use it too. Where an API says nothing, it finds the
    rate from the refusals.

    Args:
        pace: "spread" spends freely while more than half of a quota is left and spreads the rest over the time to
            the reset; "burst" spends all that is there, and then waits for the reset.
        max_wait: Longest wait for a turn, in seconds; a longer one raises RateLimitError at once.
        judge: Tells whether an answer is a refusal, for an API that says so in a way of its own; by default
            `headers.throttled`.

    Raises:
        ValueError: A value is out of range.

    Source: `polvo_adapters.policies.ratelimit.pacing` names the literature.
    """

    pace: Literal["spread", "burst"] = "spread"
    max_wait: float = 60.0
    judge: Judge | None = None

    reads = True

    def __post_init__(self) -> None:
        validate.choice(self, "pace", ("spread", "burst"))
        validate.number(self, "max_wait", 0, infinite=True)

    @property
    def initial(self) -> Account:
        """Nothing known."""
        return new_account()

    def transition(self, state: Account, event: TurnRequest | TurnResult, now: float) -> tuple[Account, Turn]:
        """Give a turn, or learn from an answer."""
        if isinstance(event, TurnRequest):
            return ask(state, event, now)
        return tell(state, event, now, free=0.5 if self.pace == "spread" else 0.0)


Adaptive = AdaptiveRateLimit
"""The name of before."""


def _turn(ready: float, event: TurnRequest, now: float, reason: str, ticket: int) -> Turn:
    wait = max(0.0, ready - now)
    return Turn(wait=wait, ticket=ticket, reason=reason, refused=event.too_long(wait, now))


def _pause(event: TurnResult) -> float:
    refused = event.refused
    if refused is None:
        return 0.0
    return _PAUSE if refused.retry_after is None else refused.retry_after


@lru_cache(maxsize=4096)
def _route(url: str) -> str:
    """Return the part of a path that tells one resource of an API from another, numbers and ids left out."""
    path = url.partition("://")[2].partition("/")[2].partition("?")[0].partition("#")[0]
    return "/".join("*" if _is_id(part) else part for part in path[:256].split("/", _DEPTH)[:_DEPTH])


def _is_id(part: str) -> bool:
    return (len(part) > 2 and part.isdigit()) or (len(part) > 7 and any(map(str.isdigit, part)))
