"""When a call is sent again, and after how long.

Theory of operation. After every attempt the flow asks four questions. The first no ends the call with the outcome of
that attempt:

    1. Did it fail in a way that a repeat may cure?     `retry_if`, statuses, exceptions, the server's own headers
    2. Is a repeat safe?                                 see below
    3. Is there time?                                    `max_attempts`, the deadline, `retry_after_cap`;
                                                         and one attempt where the code above repeats the call
    4. Can the destination take it?                      the retry budget of its origin

A repeat is safe if the method is idempotent (RFC 9110 section 9.2.2) or was declared so; or the request was certainly
never sent; or the server said that it did not process it (it throttled it, or said 503 with Retry-After). A body that
can be read once is not sent twice: where everything else calls for a repeat, the call ends with what came of that
attempt, and a note. A request that was never sent has not touched its body, so that even a one-shot body is sent then.

**What the server said** is the verdict of `polvo_adapters.core.verdict`, and not the status: whatever is throttled is
repeated where 429 would be, be it a 403 or a 200. What stays the same however often it is asked for (a plan's quota is
used up, a replayed error, a 403 with its reason) is not repeated although its status is listed; `retry_if` may say
otherwise.

The wait is what the server asks for plus jitter, and never less; otherwise exponential backoff, with jitter before the
first retry too. Jitter: "full" draws from [0, c], "equal" from [c/2, c], "decorrelated" from [base, 3 times the last
wait], where c = min(cap, base * multiplier ** (retry - 1)). (M. Brooker, "Exponential Backoff And Jitter", AWS
Architecture Blog, 2015.)
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from polvo_adapters import headers
from polvo_adapters.core import validate
from polvo_adapters.core.answer import Answer, AnswerTest, ask
from polvo_adapters.core.calls import Call
from polvo_adapters.core.durations import format_seconds
from polvo_adapters.core.effects import Effect, Flow, Proceed, Sleep
from polvo_adapters.core.http import IDEMPOTENT_METHODS
from polvo_adapters.core.judgement import verdict_of, was_served
from polvo_adapters.core.keywords import explain_arguments
from polvo_adapters.core.notices import Notice, Retrying
from polvo_adapters.core.outcomes import (
    CONNECT,
    CONNECT_TIMEOUT,
    DISCONNECTED,
    EXPIRED,
    NO_STORE,
    NOT_SENT,
    PROXY_REFUSED,
    READ_TIMEOUT,
    TRUNCATED,
    UNCLASSIFIED,
    Failure,
    Outcome,
    is_any,
)
from polvo_adapters.core.verdict import Verdict, is_listed
from polvo_adapters.errors import RetriesExhaustedError
from polvo_adapters.policies.outcomes import (
    NEVER_CURED,
    add_note,
    end_call,
    expire_call,
    explain_one_shot,
    explain_unsafe,
    is_safe,
    keep_last_sent,
)
from polvo_adapters.policies.retry_budget import DEFAULT_BUDGET, RetryBudget, make_deposit, spend

if TYPE_CHECKING:
    from urllib3 import Retry

__all__ = ["IDEMPOTENT_METHODS", "Answer", "ExponentialBackoff", "RetryBudget", "Retrying", "Verdict"]

_JITTERS = ("full", "equal", "decorrelated", "none")
_CONNECTING = (CONNECT.name, CONNECT_TIMEOUT.name)
_READING = (READ_TIMEOUT.name, DISCONNECTED.name, TRUNCATED.name)
_RETRY_AFTER_MAX = 6 * 3600.0  # of the releases of urllib3 in which it is not an attribute


class _Cause(NamedTuple):
    """The reason for a repeat."""

    reason: str
    processed: bool
    retry_after: float | None = None
    timeout: bool = False
    throttled: bool = False


@explain_arguments
@dataclass(frozen=True)
class ExponentialBackoff:
    """Retries where they are safe and may help, after growing, random waits.

    Args:
        max_attempts: Largest number of attempts, the first included.
        retry_on: Statuses to retry. 429 stands for whatever the server throttles, whatever its status.
        base: Upper bound of the first wait, in seconds.
        cap: Upper bound of every wait, in seconds, where the server does not name one.
        multiplier: Growth of that bound from retry to retry.
        jitter: "full", "equal", "decorrelated" or "none".
        budget: Bound on retries per origin, or None for no bound.
        methods: Methods that are safe to repeat although the server may have processed the request; None declares every
            method safe. Other methods are repeated only when the request was certainly not processed.
        exceptions: What to retry where there is no response: exception classes, or the names that all shells share:
            "no connection", "connect timeout", "read timeout", "disconnected", "truncated body". None means these five.
        retry_after_on: Statuses to retry only where the server names a Retry-After.
        retry_after_cap: Longest Retry-After to obey, in seconds; a longer one ends the call at once with the response,
            never with an early retry.
        listeners: Functions that are called with a `Retrying` before the wait of every retry, on the thread or task of
            the call. What they raise is logged, and does not harm the call.
        raise_on_status: Whether to raise RetriesExhaustedError, a `requests.RetryError`, where the attempts are used up
            by statuses, as urllib3's `Retry` does; by default the last response is returned.
        retry_if: A function of the `Answer` of an attempt that says whether a repeat may help: True, whatever its
            status; False, so that the call ends with it; or None, so that the other settings decide. It decides
            nothing else: a repeat must still be safe, and in time. What it raises counts as None, and is in the note
            of the report.

    Raises:
        ValueError: A value is out of range; the message names it.
    """

    max_attempts: int = 3
    retry_on: Collection[int] = frozenset({429, 500, 502, 503, 504})
    base: float = 0.5
    cap: float = 30.0
    multiplier: float = 2.0
    jitter: Literal["full", "equal", "decorrelated", "none"] = "full"
    budget: RetryBudget | None = DEFAULT_BUDGET
    methods: Collection[str] | None = IDEMPOTENT_METHODS
    exceptions: Collection[type[BaseException] | str] | None = None
    retry_after_on: Collection[int] = frozenset({413, 429, 503})
    retry_after_cap: float = 120.0
    raise_on_status: bool = False
    listeners: tuple[Callable[[Retrying], object], ...] = ()
    retry_if: AnswerTest | None = None

    stack_option = "retry"

    def __post_init__(self) -> None:
        validate.count(self, "max_attempts", 1)
        validate.number(self, "base", 0)
        validate.number(self, "cap", 0)
        validate.number(self, "multiplier", 1)
        validate.number(self, "retry_after_cap", 0, infinite=True)
        validate.choice(self, "jitter", _JITTERS)
        for field in ("retry_on", "retry_after_on"):
            object.__setattr__(self, field, validate.statuses(self, field))
        validate.instance(self, "budget", RetryBudget)
        object.__setattr__(self, "methods", validate.methods(self, "methods"))
        object.__setattr__(self, "exceptions", validate.exceptions(self, "exceptions"))
        object.__setattr__(self, "listeners", validate.listeners(self, "listeners"))
        validate.function(self, "retry_if")
        validate.flag(self, "raise_on_status")

    def flow(self, call: Call, proceed: Proceed) -> Flow:
        """Run the call, and run it again while the answer to the four questions of this module is yes."""
        attempts, waited = 1, 0.0
        reached: Outcome | None = None
        before: Outcome | None = None
        wanted: bool | None = None
        raised, served = "", False
        while True:
            outcome = yield from proceed(call)
            kept = None if before is None else keep_last_sent(outcome, before)
            if kept is not None:
                outcome = kept
                break
            before, failure, status = outcome, outcome.failure, outcome.status
            if failure is not None and not outcome.unsent:
                reached = outcome
            if self.retry_if is not None:
                wanted, raised = self._ask(call, outcome, attempts)
            is_good = wanted is None and failure is None and status < 400 and status not in self.retry_on
            served = is_good and was_served(call, outcome)
            if served:
                break
            step = yield from self._next_step(call, outcome, attempts, waited, wanted)
            if type(step) is Outcome:
                outcome = step
                break
            waited = yield step  # type: ignore[misc]
            call = call.after_wait(waited)
            attempts += 1
            if failure is not None or status >= 500:
                call = call._replace(attempt=call.attempt + 1)
        if self.budget is not None and (served or was_served(call, outcome)):
            yield make_deposit(self.budget, call)
        return outcome if reached is None and not raised else _tell_whole_story(outcome, reached, raised)

    def _next_step(
        self, call: Call, outcome: Outcome, attempts: int, waited: float, wanted: bool | None = None
    ) -> Generator[Effect, Any, Sleep | Outcome]:
        """Return the wait before another attempt, or the outcome that the call ends with."""
        cause = self._find_cause(call, outcome, wanted)
        if cause is None:
            return self._explain_final(call, outcome) if wanted is None and outcome.failure is None else outcome
        if cause.processed and not is_safe(call, self.methods):
            return end_call(outcome, "retry", explain_unsafe(call))
        ending = self._find_obstacle(call, outcome, cause, attempts)
        if ending is not None:
            return ending
        cost = 0.0 if self.budget is None else _cost(self.budget, cause)
        refusal = yield from spend(self.budget, call, cost)
        if refusal:
            return end_call(outcome, "retry", refusal)
        return self._sleep(call, outcome, cause, attempts, waited)

    def _ask(self, call: Call, outcome: Outcome, attempts: int) -> tuple[bool | None, str]:
        """Return what `retry_if` says of an attempt, and a note where it has raised."""
        if self.retry_if is None or outcome.failure in NEVER_CURED:
            return None, ""
        wanted, raised = ask(self.retry_if, Answer.of(call, attempts, outcome))
        return wanted, f"retry_if raised {raised}, which counts as None" if raised else ""

    def _find_cause(self, call: Call, outcome: Outcome, wanted: bool | None) -> _Cause | None:
        failure = outcome.failure
        if wanted is False:
            return None
        if failure is not None:
            is_retried = wanted is True or self._is_retried(outcome.error, failure)
            return _Cause(failure.name, not outcome.unsent, None, failure.timeout) if is_retried else None
        verdict = verdict_of(call, outcome)
        if not (wanted or self._is_wanted(outcome, verdict)):
            return None
        delay = verdict.retry_after
        reason = _describe(outcome, verdict, by_function=wanted is True)
        return _Cause(reason, not verdict.is_declined, delay, throttled=verdict.is_refusal or delay is not None)

    def _is_wanted(self, outcome: Outcome, verdict: Verdict) -> bool:
        """Return whether the server and the lists of statuses want a repeat."""
        if verdict.is_final:
            # Of a denial the server itself may think otherwise; what else is final stays so.
            return verdict.kind == "refused" and headers.should_retry(outcome.headers) is True
        said = headers.should_retry(outcome.headers) if outcome.status >= 400 else None
        return self._is_listed(outcome, verdict) if said is None else said

    def _is_listed(self, outcome: Outcome, verdict: Verdict) -> bool:
        status = outcome.status
        if is_listed(self.retry_on, status, verdict):
            return True
        return verdict.retry_after is not None and is_listed(self.retry_after_on, status, verdict)

    def _explain_final(self, call: Call, outcome: Outcome) -> Outcome:
        """Return the outcome with a note where it is not repeated although its status is listed."""
        verdict = verdict_of(call, outcome)
        if not verdict.is_final or not self._is_listed(outcome, verdict):
            return outcome
        return end_call(outcome, "retry", f"not repeated: {verdict.reason}, which stays the same")

    def _is_retried(self, error: BaseException | None, failure: Failure) -> bool:
        if self.exceptions is None or failure in (EXPIRED, NOT_SENT, NO_STORE, PROXY_REFUSED):
            return failure.transient
        return is_any(self.exceptions, failure, error)

    def _find_obstacle(self, call: Call, outcome: Outcome, cause: _Cause, attempts: int) -> Outcome | None:
        """Return the outcome of a call that lacks attempts, a body or time for a repeat, or None."""
        if attempts >= self.max_attempts:
            return self._give_up(call, outcome, attempts)
        if call.repeated:
            return end_call(outcome, "retry", "sent once, as the same request was given up before")
        if call.is_one_shot and not outcome.unsent:
            return end_call(outcome, "retry", explain_one_shot(call))
        delay = cause.retry_after
        if call.deadline is not None:
            left = call.deadline - outcome.now
            if delay is not None and delay >= left and not call.patient:
                reason = f"{cause.reason}, but only {format_seconds(max(left, 0))} s are left before the deadline"
                return expire_call(call, outcome, reason, delay)
            if left <= 0:
                return end_call(outcome, "retry", "the deadline leaves no time for another attempt")
        if delay is not None and delay > self.retry_after_cap:
            shown = format_seconds(delay, 6)
            note = f"Retry-After of {shown} s is longer than retry_after_cap, {self.retry_after_cap:g} s"
            return end_call(outcome, "retry", note)
        return None

    def _give_up(self, call: Call, outcome: Outcome, attempts: int) -> Outcome:
        note = f"gave up after {attempts} attempts" if attempts > 1 else ""
        if note:
            outcome = end_call(outcome, "retry", note)
        if outcome.failure is None and self.raise_on_status:
            error = RetriesExhaustedError(
                f"{call.method} {call.host}: still {outcome.status} after {attempts} attempts; "
                "the last response is in `response`",
                response=outcome.response,
                host=call.host,
                attempts=attempts,
            )
            return outcome._replace(error=error, failure=UNCLASSIFIED)
        return outcome

    def _sleep(self, call: Call, outcome: Outcome, cause: _Cause, retry: int, waited: float) -> Sleep:
        low, high = self._bounds(cause.retry_after, retry, waited)
        failure = "" if outcome.failure is None else outcome.failure.name
        notice = Notice("retry", call, retry + 1, self.max_attempts, outcome.status, failure, listeners=self.listeners)
        if call.deadline is None or call.patient:
            return Sleep(low, high, cause.reason, notice)
        # At least half of the time left is for the attempt after the wait.
        half = (call.deadline - outcome.now) / 2
        if cause.retry_after is None:
            low = min(low, half)
        return Sleep(low, min(high, max(low, half)), cause.reason, notice)

    def _bounds(self, retry_after: float | None, retry: int, waited: float) -> tuple[float, float]:
        """Return the bounds of the wait before a retry, given what the server asks for."""
        low, high = self._backoff(retry, waited)
        if retry_after:
            jitter = min(self.base, high) if self.jitter != "none" else 0.0
            return retry_after, retry_after + jitter
        return low, high

    def _backoff(self, retry: int, waited: float) -> tuple[float, float]:
        """Return the bounds of the wait before a retry, given its number from 1 and the wait before it."""
        if self.jitter == "decorrelated":
            return min(self.base, self.cap), min(self.cap, 3 * max(self.base, waited))
        try:
            ceiling = min(self.cap, self.base * float(self.multiplier) ** (retry - 1))
        except OverflowError:
            ceiling = self.cap
        low = {"full": 0.0, "equal": ceiling / 2, "none": ceiling}[self.jitter]
        return low, ceiling

    @classmethod
    def from_urllib3(cls, retry: Retry) -> ExponentialBackoff:
        """Return the policy for a urllib3 `Retry`: same attempts, statuses, methods, and waits except the first.

        urllib3 makes its first repeat at once; here it waits for up to `backoff_factor` seconds. It also differs where
        urllib3 does harm: an empty `allowed_methods` means no method instead of every method, one-shot bodies are not
        sent again, malformed Retry-After headers are ignored, and there is a budget.

        Args:
            retry: The object, as given to `HTTPAdapter(max_retries=...)`. A count of 0 or False for `connect`, `read`
                or `status` switches that kind off; other counts per kind are not kept, `total` is.
        """
        kinds = (retry.connect, retry.read, retry.status)
        total = retry.total if retry.total is not None else max((kind or 0 for kind in kinds), default=0)
        connect, read, status = (kind is None or kind > 0 for kind in kinds)
        honoured = retry.RETRY_AFTER_STATUS_CODES if retry.respect_retry_after_header else ()
        return cls(
            max_attempts=int(total) + 1,
            retry_on=retry.status_forcelist if status else (),
            retry_after_on=honoured if status else (),
            base=float(retry.backoff_factor),
            cap=float(retry.backoff_max),
            jitter="full" if retry.backoff_jitter else "none",
            methods=retry.allowed_methods,
            exceptions=_CONNECTING * connect + _READING * read,
            retry_after_cap=float(getattr(retry, "retry_after_max", _RETRY_AFTER_MAX)),
            raise_on_status=retry.raise_on_status,
        )


def _describe(outcome: Outcome, verdict: Verdict, *, by_function: bool) -> str:
    """Return the reason for a repeat, for a person."""
    reason, delay = str(outcome.status), verdict.retry_after
    if by_function:
        reason += ", wanted by retry_if"
    elif verdict.is_refusal and verdict.kind != "unavailable":
        reason = verdict.reason
    if delay is None:
        return reason
    by_header = headers.retry_after(outcome.headers, outcome.wall) is not None
    return f"{reason}, {'Retry-After' if by_header else 'again after'} {format_seconds(delay, 6)} s"


def _cost(budget: RetryBudget, cause: _Cause) -> float:
    if cause.timeout:
        return budget.timeout_cost
    return budget.throttle_cost if cause.throttled else 1.0


def _tell_whole_story(outcome: Outcome, reached: Outcome | None, raised: str) -> Outcome:
    """Return the outcome of a call with what would not be seen in its last attempt.

    Args:
        outcome: The outcome of the last attempt.
        reached: That of an attempt before which may have reached the server, or None.
        raised: A note where `retry_if` has raised.
    """
    if raised:
        outcome = add_note(outcome, raised, "retry")
    if reached is not None and outcome.failure is not None and outcome.unsent:
        if outcome.failure.transient or outcome.failure is NOT_SENT:
            # "No connection" would hide that an earlier attempt may have reached the server.
            return reached._replace(note=outcome.note, ending=outcome.ending)
        return outcome._replace(unsent=False)
    return outcome
