"""Rate limits: no request is sent before its turn, at a rate that is configured or learned from the responses.

Theory of operation. The flow is the same for all:

    request a turn ──▶ go ─────────────▶ send ──▶ report the result
     ▲             └─▶ wait ──▶ sleep ─┐
     │             └─▶ too long ──▶ RateLimitError, with the time in `retry_after`
     └─────────────────────────────────┘

A turn is a lease: a call that is broken off gives back its place in the queue, or counts as under way no longer.

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

from collections.abc import Generator, Sequence
from typing import Any

from polvo_adapters import headers
from polvo_adapters.core.calls import Call
from polvo_adapters.core.durations import format_seconds
from polvo_adapters.core.effects import Acquire, Effect, Flow, Proceed, Release, Sleep, TryDecide, Undecided
from polvo_adapters.core.judgement import verdict_of
from polvo_adapters.core.judges import Judge, add_judges
from polvo_adapters.core.machines import Event, Machine
from polvo_adapters.core.notices import Notice
from polvo_adapters.core.outcomes import Outcome
from polvo_adapters.core.state_keys import of_tenant
from polvo_adapters.core.verdict import SERVED
from polvo_adapters.errors import PolvoError, RateLimitDeadlineExceeded, RateLimitError
from polvo_adapters.headers import Quota, Throttled
from polvo_adapters.policies.gates import Key, longest_prefix
from polvo_adapters.policies.outcomes import refuse_to_send, refuse_undecided
from polvo_adapters.policies.ratelimit.pauses import read_pause
from polvo_adapters.policies.ratelimit.route_names import find_route
from polvo_adapters.policies.ratelimit.turns import ReleaseTurn, Turn, TurnRequest, TurnResult

_END = Release((), ())  # of a turn that came to something: a request that was sent, another turn, or a refusal


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
            yield _END
            return outcome
        quotas, refused, in_doubt = self._read_response(call, outcome)
        pause, paced = read_pause(outcome) if refused is None else (0.0, False)
        if self.reports_every_outcome or refused is not None or pause:
            seconds = outcome.now - outcome.started
            result = TurnResult(
                route, turn.group, turn.era, seconds, outcome.status, quotas, refused, part, pause, paced, in_doubt
            )
            yield TryDecide((Event(self, key, result),))
        yield _END
        return outcome.with_quotas(quotas) if quotas else outcome

    def release_event(self, turn: Turn) -> ReleaseTurn:
        """Return the event for a call that was broken off; see `polvo_adapters.core.effects.Acquire`."""
        return ReleaseTurn(turn)

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
            turn: Turn = (yield Acquire((Event(self, key, request),)))[0]
            if turn.refused:
                yield _END
                return turn
            if turn.wait <= 0:
                return turn
            notice = Notice("ratelimit", call)
            slept: float = yield Sleep(turn.wait, turn.wait + turn.spread, turn.reason, notice)
            yield _END
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
