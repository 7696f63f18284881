"""No calls to a host that keeps failing: they would cost it the strength to recover, and the caller time.

Theory of operation. Each origin has a circuit. While it is closed, calls pass and failures are counted; when there are
too many it opens, and calls are refused at once. After a while it is half-open: a few calls, the probes, find out
whether the host is back.

    state      a call begins                    a call failed               a call succeeded
    ---------  -------------------------------  --------------------------  ------------------------------------
    closed     pass                             count; too many: open       count
    open       refuse; when its time is up,     (calls of before: ignore)   (calls of before: ignore)
               half-open, and pass as a probe
    half-open  pass as a probe while there are  open, for longer            count; as many as probes: closed
               any left, else refuse

Every change of state begins a new era, and results of calls of an earlier era are ignored: a response that was on its
way while the circuit opened says nothing about now. A probe is a lease; it is replaced if that ends without a result.

**A failure** is an attempt that got one of the statuses `failure_on`, or no response. Repeats of a call that failed
before do not count. Other 4xx blame the caller and count for nothing; of a probe they show that the host is there. What
the server throttles, whatever its status, and an error that it replays are taken for a 4xx: the host works.

**A failure in doubt** may be a refusal of a proxy that is over its limit, see `polvo_adapters.core.verdict`. It counts
for nothing until five seconds have passed without a success since the first one: then the service is down. Where no
call was made for so long that an open circuit would let a probe pass, they begin anew: a silence is no outage, and of
a burst of calls the refusals come back first.

**The open time** doubles from one failed probe to the next, up to a limit, and is never shorter than the Retry-After
of the response that opened the circuit. It varies from one circuit to another, so that many clients do not come back
in one moment.

The user may set a circuit to "isolated" (refuses), "disabled" (passes, and counts nothing) or "observed" (counts,
notifies listeners, and refuses no call).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from polvo_adapters.core import validate
from polvo_adapters.core.answer import Answer, AnswerTest, ask
from polvo_adapters.core.calls import Call, origin
from polvo_adapters.core.durations import format_seconds
from polvo_adapters.core.judgement import verdict_of, was_served
from polvo_adapters.core.keywords import explain_arguments
from polvo_adapters.core.machines import Changed, Refused
from polvo_adapters.core.outcomes import EXPIRED, NO_STORE, NOT_SENT, Outcome, is_any
from polvo_adapters.core.verdict import LONGEST_DOUBT, SERVED, Verdict, is_listed
from polvo_adapters.errors import CircuitOpenError
from polvo_adapters.policies.breaker.state import (
    CLOSED,
    DISABLED,
    HALF_OPEN,
    ISOLATED,
    LOOK,
    OBSERVED,
    OPEN,
    AcquirePermit,
    CallResult,
    CircuitState,
    CircuitStatus,
    ManualControl,
    Permit,
    Result,
    new_permit,
)
from polvo_adapters.policies.breaker.windows import Consecutive, LastCalls, LastSeconds, Tally, Window
from polvo_adapters.policies.gates import Gate, Key

if TYPE_CHECKING:
    from polvo_adapters.core.report import StateChange

_ACQUIRE = AcquirePermit()
_ISOLATED = Refused("isolated by hand")
_SILENCE = 10.0  # seconds, or the open time if that is longer, without a failure in doubt, after which they are others
_OPTIONAL = ("window_calls", "slow_call", "window", "failure_rate", "slow_call_rate", "max_recovery_timeout")


@explain_arguments
@dataclass(frozen=True)
class CircuitBreaker(Gate):
    """Circuits that refuse calls to a host that keeps failing, and find out with few calls when it is back.

    Args:
        failure_threshold: Failures in a row that open the circuit; with a window, failures in it.
        recovery_timeout: Seconds for which it opens the first time.
        failure_rate: Part of the calls in the window, above 0 and at most 1, that opens it in place of
            `failure_threshold`.
        slow_call: Seconds from which on a call is slow. Slow calls count as failures, unless there is a
            `slow_call_rate`.
        slow_call_rate: Part of the calls in the window that opens the circuit when they are slow; failures open it as
            well.
        minimum_throughput: Calls in the window below which no rate opens it.
        window: Length of the window, in seconds.
        window_calls: Length of the window, in calls, in place of `window`.
        half_open_calls: Probes that pass, and have to succeed, before the circuit closes.
        probe_timeout: Seconds after which a probe without a result is replaced.
        multiplier: Growth of the open time from one failed probe to the next.
        max_recovery_timeout: Longest open time, in seconds; a longer Retry-After is cut to it. By default ten times
            `recovery_timeout`.
        failure_on: Statuses that are failures.
        exceptions: Failures without a response that count: exception classes, or the names that all shells share, as
            in ExponentialBackoff. None means all that a repeat may cure, and a deadline that the host let pass.
        failure_if: A function of the `Answer` to a call that says whether it is a failure: True, False, or None so that
            `failure_on` and `exceptions` decide. What it raises counts as None.
        counts: "calls" counts one failure per logical call, "attempts" each attempt.
        key: "origin" for one circuit per scheme, host and port; a tuple of path prefixes for one per prefix; or a
            function of the `Call` that names the circuit.
        listeners: Functions that are called with every `StateChange`, on the thread that caused it.

    Raises:
        ValueError: A value is out of range, two contradict each other, or the circuit could never open.

    Source: Nygard, "Release It!", 2007.
    """

    failure_threshold: int = 5
    recovery_timeout: float = 60.0
    failure_rate: float | None = None
    slow_call: float | None = None
    slow_call_rate: float | None = None
    minimum_throughput: int = 10
    window: float | None = None
    window_calls: int | None = None
    half_open_calls: int = 1
    probe_timeout: float = 30.0
    multiplier: float = 2.0
    max_recovery_timeout: float | None = None
    failure_on: Collection[int] = frozenset({500, 502, 503, 504})
    exceptions: Collection[type[BaseException] | str] | None = None
    counts: Literal["calls", "attempts"] = "calls"
    key: Key = "origin"
    listeners: tuple[Callable[[StateChange], object], ...] = ()
    failure_if: AnswerTest | None = None
    memory: Window = field(init=False, repr=False, compare=False)
    settled: Any = field(default=0, init=False, repr=False, compare=False)

    part = "breaker"
    stack_option = "circuit_breaker"
    by_tenant = True

    def __post_init__(self) -> None:
        _validate(self)
        memory: Window = Consecutive()
        kind = "circuit"
        if self.window is not None:
            memory, kind = LastSeconds(self.window), f"circuit over {self.window:g} s"
        elif self.window_calls is not None:
            memory, kind = LastCalls(self.window_calls), f"circuit over {self.window_calls} calls"
        object.__setattr__(self, "memory", memory)
        object.__setattr__(self, "settled", memory.settled)
        object.__setattr__(self, "kind", kind)

    @property
    def counts_credentials(self) -> bool:
        """Whether the shell must set `Call.credential`, as a key of the user's may be made of it."""
        return callable(self.key)

    @property
    def initial(self) -> CircuitState:
        """A closed circuit that has counted nothing."""
        return CircuitState(CLOSED, new_permit(0), self.memory.initial)

    def ask_event(self, call: Call, place: str) -> AcquirePermit:  # noqa: ARG002 - as every gate
        """Return the event that asks for a permit."""
        return _ACQUIRE

    def error(self, call: Call, name: str, refused: Refused) -> CircuitOpenError:
        """Return the error for a call that is refused."""
        delay = refused.retry_after
        advice = "call again later" if delay is None else f"call again after {format_seconds(delay)} s"
        if refused is _ISOLATED:
            advice = f"let calls pass again with circuit('{origin(call.url)}').close()"
        error = CircuitOpenError(
            f"{call.method} {call.host}: Circuit breaker is OPEN, {name}: {refused.reason}; not sent, {advice}",
            host=call.host,
            retry_after=delay,
        )
        error.circuit = name
        return error

    def release_event(self, permit: Permit) -> CallResult:
        """Return the event of a call that was broken off."""
        return CallResult(permit.era, permit.probe, "nothing")

    def result_event(self, call: Call, permit: Permit, outcome: Outcome) -> CallResult:
        """Return the event with the result of a call."""
        status = outcome.status
        is_good = outcome.failure is None and status < 400 and status not in self.failure_on
        if is_good and self.slow_call is None and self.failure_if is None and verdict_of(call, outcome) is SERVED:
            return permit.success
        seconds = outcome.now - outcome.started
        result = self._classify(call, outcome, seconds)
        repeat = self.counts == "calls" and call.attempt > 1
        delay = None
        if result in ("failure", "doubtful") and status:
            delay = verdict_of(call, outcome).retry_after
        return CallResult(permit.era, permit.probe, result, seconds, repeat, delay)

    def _classify(self, call: Call, outcome: Outcome, seconds: float) -> Result:
        failure = outcome.failure
        if failure is NOT_SENT or failure is NO_STORE:
            return "nothing"
        if self.failure_if is not None:
            is_failure, _ = ask(self.failure_if, Answer.of(call, call.attempt, outcome))
            if is_failure is not None:
                return "failure" if is_failure else _result_of_no_failure(call, outcome)
        if outcome.status and self._is_listed(outcome.status, verdict := verdict_of(call, outcome)):
            # A failure even where a policy further inside has made an error of it.
            return "doubtful" if verdict.in_doubt else "failure"
        if failure is None:
            return _result_of_no_failure(call, outcome)
        if self.exceptions is not None:
            return "failure" if is_any(self.exceptions, failure, outcome.error) else "nothing"
        if failure is EXPIRED:
            # A deadline says something of the host only where the host had a fair part of the time.
            fair = call.deadline is None or 2 * seconds >= call.deadline - call.started
            return "failure" if fair else "nothing"
        return "failure" if failure.transient else "nothing"

    def _is_listed(self, status: int, verdict: Verdict) -> bool:
        """Return whether `failure_on` means an answer; a host that paces its clients, or replays, has not failed."""
        if verdict.kind == "replayed":
            return False
        return is_listed(self.failure_on, 429 if verdict.is_about_pace else status, verdict)

    def transition(self, state: CircuitState, event: Any, now: float) -> tuple[CircuitState, Any]:
        """Let a call pass or refuse it, or count its result; see the table of this module."""
        if type(event) is AcquirePermit:
            if state.state == CLOSED and not state.hand:
                return state, state.permit
            return self._acquire(state, now)
        if type(event) is CallResult:
            is_settled = event.result == "success" and state.recent == self.settled and not state.doubt_until
            if is_settled and state.state == CLOSED and self.slow_call is None:
                return state, None  # nearly always
            return self._release(state, event, now)
        return self._control(state, event, now)

    def _acquire(self, state: CircuitState, now: float) -> tuple[CircuitState, Any]:
        if state.hand == ISOLATED:
            return state, _ISOLATED
        if state.hand == DISABLED or state.state == CLOSED:
            return state, state.permit
        after, verdict = self._begin_probe(state, now)
        if state.hand == OBSERVED and type(verdict) is Refused:
            return state, state.permit
        return after, verdict

    def _begin_probe(self, state: CircuitState, now: float) -> tuple[CircuitState, Any]:
        """Let a call pass as a probe, if there is one left."""
        if now < state.open_until:
            return state, Refused(f"{state.reason}{_tell_age(state, now)}", state.open_until - now)
        probes = tuple([probe for probe in state.probes if probe[1] > now])
        if len(probes) + state.succeeded >= self.half_open_calls:
            soonest = min([ends for _, ends in probes], default=now)
            return state, Refused(f"{state.reason}{_tell_age(state, now)}, and probes are under way", soonest - now)
        number, era = state.issued + 1, state.permit.era
        if state.state == OPEN:
            era += 1
        permit = new_permit(era, number)
        probes = (*probes, (number, now + self.probe_timeout))
        after = state._replace(state=HALF_OPEN, permit=new_permit(era), probes=probes, issued=number)
        if state.state == OPEN:
            return after, Changed(OPEN, HALF_OPEN, "time for a probe", permit)
        return after, permit

    def _release(self, state: CircuitState, event: CallResult, now: float) -> tuple[CircuitState, Any]:
        if event.era != state.permit.era or state.hand in (ISOLATED, DISABLED):
            return state, None
        slow = self.slow_call is not None and event.seconds >= self.slow_call and event.result != "nothing"
        if state.state == CLOSED and event.result in ("success", "failure", "doubtful"):
            if event.result == "doubtful":
                state, counts = self._doubt(state, now)
                if not counts:
                    return state, None
            return self._count(state, event, slow, now)
        if state.state == HALF_OPEN and event.probe:
            return self._end_probe(state, event, slow, now)
        return state, None

    def _doubt(self, state: CircuitState, now: float) -> tuple[CircuitState, bool]:
        """Return the circuit after a failure in doubt, and whether it counts; after a silence the doubt begins anew."""
        until = state.doubt_until
        if not until or now - until > max(self.recovery_timeout, _SILENCE):
            return state._replace(doubt_until=now + LONGEST_DOUBT), False
        return (state, False) if now < until else (state._replace(doubt_until=now), True)

    def _count(self, state: CircuitState, event: CallResult, slow: bool, now: float) -> tuple[CircuitState, Any]:
        if event.result == "success" and state.doubt_until:
            state = state._replace(doubt_until=0.0)
        bad = event.result != "success" or (slow and self.slow_call_rate is None)
        if (bad and event.repeat) or not (bad or state.recent):
            return state, None
        recent = self.memory.add(state.recent, bad, slow, now)
        reason = self._find_reason(self.memory.tally(recent, now))
        if reason:
            return self._open(state, reason, event, now)
        return state._replace(recent=recent), None

    def _find_reason(self, tally: Tally) -> str:
        """Return the reason why the circuit has to open, or an empty string."""
        calls, failures, slow = tally
        enough = calls >= self.minimum_throughput
        if self.failure_rate is not None:
            if enough and failures / calls >= self.failure_rate:  # exact, as a product is not: 0.55 * 100 > 55
                return f"{failures} of {calls} calls failed"
        elif failures >= self.failure_threshold:
            if failures == 1:
                return "a failure"
            return f"{failures} failures " + ("in a row" if calls == failures else f"in {calls} calls")
        if self.slow_call_rate is not None and enough and slow / calls >= self.slow_call_rate:
            return f"{slow} of {calls} calls were slow"
        return ""

    def _end_probe(self, state: CircuitState, event: CallResult, slow: bool, now: float) -> tuple[CircuitState, Any]:
        probes = tuple([probe for probe in state.probes if probe[0] != event.probe])
        if len(probes) == len(state.probes):
            return state, None  # it came too late, and another took its place
        if event.result == "nothing":
            return state._replace(probes=probes), None
        if event.result in ("failure", "doubtful") or slow:
            return self._open(state, "a probe was slow" if slow else "a probe failed", event, now)
        succeeded = state.succeeded + 1
        if succeeded < self.half_open_calls:
            return state._replace(probes=probes, succeeded=succeeded), None
        after = self._begin_era(state)._replace(hand=state.hand)
        return after, Changed(state.state, CLOSED, "probes did well" if succeeded > 1 else "a probe did well")

    def _open(self, state: CircuitState, reason: str, event: CallResult, now: float) -> tuple[CircuitState, Any]:
        seconds = self._open_time(state.opened, now)
        if event.retry_after is not None:
            seconds = max(seconds, min(event.retry_after, self.longest))
        after = self._begin_era(state)._replace(
            state=OPEN,
            open_until=now + seconds,
            opened=state.opened + 1,
            reason=reason,
            hand=state.hand,
            opened_at=state.opened_at if state.opened else now,
        )
        return after, Changed(state.state, OPEN, reason, is_trouble=True)

    def _begin_era(self, state: CircuitState) -> CircuitState:
        """Return a closed circuit of the next era."""
        return CircuitState(CLOSED, new_permit(state.permit.era + 1), self.memory.initial, issued=state.issued)

    @property
    def longest(self) -> float:
        """Longest open time, in seconds."""
        return 10 * self.recovery_timeout if self.max_recovery_timeout is None else self.max_recovery_timeout

    def _open_time(self, opened: int, now: float) -> float:
        shortest = self.recovery_timeout
        try:
            grown = min(self.longest, shortest * float(self.multiplier) ** opened)
        except OverflowError:
            grown = self.longest
        if grown == math.inf:
            return grown
        # A machine has no source of chance; the low digits of a clock spread many clients as well.
        chance = now * 1e6 * 0.6180339887498949 % 1.0
        return grown - (grown - shortest) * chance / 2

    def _control(self, state: CircuitState, event: ManualControl, now: float) -> tuple[CircuitState, Any]:
        before = self._status(state, now)
        if event.state == LOOK:
            return state, before
        changed = self._begin_era(state)
        if event.state != CLOSED:
            changed = changed._replace(hand=event.state, reason="by hand")
        after = self._status(changed, now)
        was, became = before.hand or before.state, after.hand or after.state
        return changed, Changed(was, became, "by hand", after) if was != became else after

    def _status(self, state: CircuitState, now: float) -> CircuitStatus:
        calls, failures, slow = self.memory.tally(state.recent, now)
        delay = max(0.0, state.open_until - now) if state.state == OPEN and state.hand == "" else None
        open_for = now - state.opened_at if state.opened_at > -math.inf else None
        return CircuitStatus(state.state, state.hand, calls, failures, slow, delay, state.reason, open_for)


def _tell_age(state: CircuitState, now: float) -> str:
    """Return since when the circuit is open, behind the reason; nothing where it was written in a form of before."""
    known = state.opened_at > -math.inf
    return f", open for {format_seconds(max(0.0, now - state.opened_at))} s" if known else ""


def _result_of_no_failure(call: Call, outcome: Outcome) -> Result:
    if outcome.failure is not None:
        return "nothing"
    return "success" if outcome.status < 400 and was_served(call, outcome) else "reachable"


def _validate(policy: CircuitBreaker) -> None:
    unset = {name for name in _OPTIONAL if getattr(policy, name) is None}
    for name in ("failure_threshold", "half_open_calls", "minimum_throughput", "window_calls"):
        if name not in unset:
            validate.count(policy, name, 1)
    for name in ("recovery_timeout", "probe_timeout", "slow_call", "window", "failure_rate", "slow_call_rate"):
        if name not in unset:
            validate.number(policy, name, 0, above=True, high=1 if name.endswith("_rate") else math.inf)
    validate.number(policy, "multiplier", 1)
    if "max_recovery_timeout" not in unset:
        validate.number(policy, "max_recovery_timeout", policy.recovery_timeout, infinite=True)
    object.__setattr__(policy, "failure_on", validate.statuses(policy, "failure_on"))
    object.__setattr__(policy, "exceptions", validate.exceptions(policy, "exceptions"))
    object.__setattr__(policy, "listeners", validate.listeners(policy, "listeners"))
    validate.function(policy, "failure_if")
    validate.choice(policy, "counts", ("calls", "attempts"))
    validate.key(policy, "key")
    _check_contradictions(policy)


def _check_contradictions(policy: CircuitBreaker) -> None:
    """Raise ValueError for settings that contradict each other, and for a circuit that could never open."""
    rates = [name for name in ("failure_rate", "slow_call_rate") if getattr(policy, name) is not None]
    if policy.window is not None and policy.window_calls is not None:
        raise validate.contradiction(policy, "window", "window_calls", "give one of them")
    if policy.slow_call_rate is not None and policy.slow_call is None:
        raise validate.contradiction(policy, "slow_call_rate", "slow_call", "say from when on a call is slow")
    if rates and policy.window is None and policy.window_calls is None:
        raise validate.contradiction(policy, rates[0], "window", "a rate needs a window, or window_calls")
    if policy.window_calls is not None:
        names = ["minimum_throughput"] if rates else []
        if policy.failure_rate is None:
            names.append("failure_threshold")
        for name in names:
            if getattr(policy, name) > policy.window_calls:
                raise validate.contradiction(policy, name, "window_calls", "the window never holds so many")
    if not policy.failure_on and policy.exceptions == () and policy.slow_call is None and policy.failure_if is None:
        raise validate.contradiction(policy, "failure_on", "exceptions", "the circuit could never open")
