"""Serves something else in place of a failure: the last good response, another server, a fixed response, a function.

Theory of operation. The call runs as it would without a fallback. Where it ends badly, the alternatives are tried in
their order, and the first good one is returned; where none is good, the call ends as it did.

    call ──▶ well ──▶ stored, if there is a StaleCache ──────────────────────────────▶ its response
      └────▶ badly ──▶ alternative ──▶ good ─────────────────────────────────────────▶ that
                        ▲    └──▶ none, skipped or bad ──▶ another one left? ──no──▶ the first failure
                        └───────────────────────────────────────yes─┘

**Badly** means: a status in `on`; a failure that a repeat may cure; a deadline; or that nothing was sent, because a
circuit is open, a bulkhead is full or a quota is used up. A bad certificate is none of these, so that no attacker can
choose what is served; nor is an error of an unknown kind.

**Good** is a stale response, a fixed response, anything that a function returns, and from another server 2xx and 304.
Its other statuses, a 404 above all, may be true of that server only. A redirect is not good because the session that
follows it would take the credentials along.

**Sent to another server** is only what may be sent again, by the rules of `polvo_adapters.policies.retry`: idempotent
methods, or what was certainly not processed. After a server that may have processed any other request, it goes nowhere
else, and unless a later alternative is good the call ends with the outcome of that server, which "no connection" of the
first one would deny.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator
from dataclasses import dataclass, field
from typing import Any, TypeAlias, Union

from polvo_adapters.core import validate
from polvo_adapters.core.answer import Answer, AnswerTest, ask
from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Decide, Effect, Flow, Proceed, TryDecide, Undecided
from polvo_adapters.core.http import Headers
from polvo_adapters.core.judgement import is_declined, verdict_of
from polvo_adapters.core.keywords import explain_arguments
from polvo_adapters.core.outcomes import EXPIRED, INTERRUPTED, NOT_SENT, UNCLASSIFIED, Outcome, is_any
from polvo_adapters.core.verdict import is_listed
from polvo_adapters.errors import CircuitOpenError, DeadlineExceeded, PoolTimeoutError, RateLimitError, ReplayError
from polvo_adapters.policies.fallback.alternatives import (
    Another,
    FailedCall,
    Fixed,
    call_function,
    invalid_setting,
    is_async,
    strip_url,
)
from polvo_adapters.policies.fallback.stale_cache import StaleCache
from polvo_adapters.policies.outcomes import add_note, is_safe_elsewhere

Function: TypeAlias = Callable[[FailedCall], Any]
_Known: TypeAlias = Union[StaleCache, Another, Fixed, Function]  # noqa: UP007 - evaluated at import
Alternative: TypeAlias = Union[_Known, str]  # noqa: UP007 - evaluated at import

_STALE = "stale"
_REASONS: tuple[tuple[type[BaseException], str], ...] = (
    (CircuitOpenError, "open circuit"),
    (PoolTimeoutError, "full bulkhead"),
    (DeadlineExceeded, "deadline"),
    (RateLimitError, "used-up quota"),
    (ReplayError, "body that cannot be sent again"),
)
_OURS = tuple(kind for kind, _ in _REASONS)


class _Case:
    """A call that ended badly for a reason, and what has been tried since."""

    __slots__ = ("call", "outcome", "processed", "read", "reason", "skipped")

    def __init__(self, call: Call, outcome: Outcome, reason: str) -> None:
        self.call = call
        self.outcome = outcome
        self.reason = reason
        self.read = not _is_unsent(outcome)  # whether its body was read from, if there is one
        self.processed = _is_maybe_processed(call, outcome)
        self.skipped: list[str] = []  # why alternatives were not good

    def describe(self) -> FailedCall:
        """Return the call as a function sees it."""
        call, outcome = self.call, self.outcome
        failure = "" if outcome.failure is None else outcome.failure.name
        url = strip_url(call.url)
        return FailedCall(call.method, url, self.reason, outcome.status, failure, outcome.error, outcome.response)

    def make_outcome(self, status: int, named: tuple[tuple[str, str], ...], body: bytes, what: str) -> Outcome:
        """Return the outcome that the shell makes a response of."""
        first = self.outcome
        made = Outcome(
            status=status, headers=Headers(named), started=first.started, wall=first.wall, body=body, judged=[]
        )
        now = max(first.now, self.call.started)  # an outcome that a policy made may not know the time
        return self.explain(made._replace(now=now, note=first.note, quotas=first.quotas), what)

    def take_error(self, error: Exception, name: str) -> Outcome:
        """Return the outcome with the error that a function raised, and drop the first one."""
        first, self.outcome = self.outcome, Outcome()
        return self.explain(first._replace(response=None, error=error, failure=UNCLASSIFIED), f"{name} raised this")

    def explain(self, outcome: Outcome, what: str) -> Outcome:
        """Return an outcome with a note that says what it is, and after which failure."""
        return add_note(outcome, f"{what}, after {self.reason}", "fallback")


@explain_arguments
@dataclass(frozen=True, init=False)
class Fallback:
    """Alternatives to serve where a call ends badly.

    Args:
        *alternatives: What to serve, in the order in which to try: "stale" or a StaleCache, the last good response; a
            URL or an Another, the same request to another server; a Fixed, always the same response; or a function
            that takes a FailedCall and returns a Fixed, bytes or text, a dict or list to make JSON of, a response, or
            None for the next alternative. By default "stale".
        on: Statuses that are bad. 429 stands for whatever the server throttles, whatever its status.
        exceptions: Failures without a response that are bad: exception classes, or the names that all shells share, as
            in ExponentialBackoff. None means all failures that a repeat may cure, and the errors of policies: an open
            circuit, a full bulkhead, a deadline, a used-up quota, a body that cannot be sent again.
        failure_if: A function of the `Answer` to the call that says whether it is bad: True, False, or None so that
            `on` and `exceptions` decide. What it raises counts as None.
        max_age: Seconds after which the last good response of "stale" is too old; by default an hour.

    Raises:
        ValueError: An alternative is of no known kind or can never be served, or a value is out of range.

    Source: RFC 5861, section 4; Nygard, "Release It!", 2007.
    """

    alternatives: tuple[_Known, ...] = field(init=False)
    on: frozenset[int]
    exceptions: tuple[type[BaseException] | str, ...] | None
    max_age: float | None = None
    failure_if: AnswerTest | None = None

    stack_option = "fallback"

    def __init__(
        self,
        *alternatives: Alternative,
        on: Collection[int] = frozenset({500, 502, 503, 504}),
        exceptions: Collection[type[BaseException] | str] | None = None,
        max_age: float | None = None,
        failure_if: AnswerTest | None = None,
    ) -> None:
        settings = {"on": on, "exceptions": exceptions, "max_age": max_age, "failure_if": failure_if}
        for name, value in settings.items():
            object.__setattr__(self, name, value)
        validate.function(self, "failure_if")
        object.__setattr__(self, "on", validate.statuses(self, "on"))
        object.__setattr__(self, "exceptions", validate.exceptions(self, "exceptions"))
        if max_age is not None:
            validate.number(self, "max_age", 0, above=True, infinite=True)
        if not self.on and self.exceptions == () and failure_if is None:
            raise ValueError(
                "Fallback(on=(), exceptions=()): on or exceptions must name something, or it never applies"
            )
        chosen = alternatives or (_STALE,)
        known = tuple(_make_alternative(each, max_age) for each in chosen)
        object.__setattr__(self, "alternatives", known)
        _check_order(known)
        if max_age is not None and _STALE not in chosen:
            wanted = 'None where "stale" is no alternative; StaleCache has its own'
            raise invalid_setting("Fallback", "max_age", max_age, wanted)

    @property
    def keeps_answers(self) -> bool:
        """Whether the shell must set `Call.identity`, as a StaleCache keeps responses."""
        return any(isinstance(each, StaleCache) for each in self.alternatives)

    @property
    def harmless_headers(self) -> frozenset[str]:
        """Names of request headers that select no response that is kept, in lower case."""
        caches = (each for each in self.alternatives if isinstance(each, StaleCache))
        return frozenset(name.lower() for cache in caches for name in cache.harmless_headers)

    def flow(self, call: Call, proceed: Proceed) -> Flow:
        """Run the call, and serve the first good alternative where it ends badly."""
        outcome = yield from proceed(call)
        reason = self._find_reason(call, outcome)
        if not reason:
            yield from self._remember(call, outcome)
            return outcome
        case = _Case(call, outcome, reason)
        for alternative in self.alternatives:
            served = yield from self._serve(alternative, case, proceed)
            if served is not None:
                return served
        return add_note(case.outcome, "no fallback: " + ", ".join(case.skipped))

    def _find_reason(self, call: Call, outcome: Outcome) -> str:
        """Return what is bad about an outcome, or an empty string."""
        failure, error = outcome.failure, outcome.error
        if self.failure_if is not None and failure is not INTERRUPTED:
            is_bad, _ = ask(self.failure_if, Answer.of(call, call.attempt, outcome))
            if is_bad is not None:
                return _name_reason(outcome) if is_bad else ""
        if failure is None:
            return self._find_bad_status(call, outcome)
        if self.exceptions is None:
            bad = failure.transient or failure in (EXPIRED, NOT_SENT)
            bad = bad or (failure is not INTERRUPTED and isinstance(error, _OURS))
        else:
            bad = is_any(self.exceptions, failure, error)
        if not bad and outcome.status not in self.on:
            return ""
        return _name_reason(outcome)

    def _find_bad_status(self, call: Call, outcome: Outcome) -> str:
        """Return the status of a bad answer, and the reason where the status is not it; or an empty string."""
        if outcome.status in self.on:
            return str(outcome.status)
        verdict = verdict_of(call, outcome)
        return verdict.reason if is_listed(self.on, outcome.status, verdict) else ""

    def _remember(self, call: Call, outcome: Outcome) -> Generator[Effect, Any, None]:
        for alternative in self.alternatives:
            event = alternative.learn(call, outcome) if isinstance(alternative, StaleCache) else None
            if event is not None:
                yield TryDecide((event,))

    def _serve(self, alternative: _Known, case: _Case, proceed: Proceed) -> Generator[Effect, Any, Outcome | None]:
        """Return the outcome of an alternative, or None and add the reason to the case."""
        if isinstance(alternative, StaleCache):
            return (yield from _serve_stale(alternative, case))
        if isinstance(alternative, Another):
            return (yield from self._serve_another(alternative, case, proceed))
        if isinstance(alternative, Fixed):
            return _serve_fixed(case, alternative, "a fixed response")
        return _serve_function(alternative, case)

    def _serve_another(self, another: Another, case: _Case, proceed: Proceed) -> Generator[Effect, Any, Outcome | None]:
        place, there = another.place, another.reroute(case.call)
        safe = is_safe_elsewhere(case.call, another.methods)
        reason = _find_obstacle(case, safe)
        if reason or isinstance(there, str):
            case.skipped.append(f"not sent to {place}: {reason or there}")
            return None
        outcome = yield from proceed(there)
        failure, status = outcome.failure, outcome.status
        good = failure is None and (200 <= status < 300 or status == 304) and status not in self.on
        if good and not verdict_of(there, outcome).is_refusal:
            return case.explain(outcome, f"{place} answered")
        case.skipped.append(f"{place} had {status if failure is None else failure.name}")
        processed = _is_maybe_processed(there, outcome)
        if processed and not case.processed and not safe:
            case.outcome = outcome
        case.read = case.read or not _is_unsent(outcome)
        case.processed = case.processed or processed
        return None


def _name_reason(outcome: Outcome) -> str:
    """Return what is bad about an outcome that is bad."""
    name = outcome.failure.name if outcome.failure is not None and not outcome.status else str(outcome.status)
    return next((reason for kind, reason in _REASONS if isinstance(outcome.error, kind)), name)


def _serve_stale(cache: StaleCache, case: _Case) -> Generator[Effect, Any, Outcome | None]:
    event = cache.look_up(case.call)
    if event is None:
        case.skipped.append(f"no response to such a {case.call.method} is kept")
        return None
    try:
        found = (yield Decide((event,)))[0]
    except Undecided:
        case.skipped.append("the store of the last good response failed")
        return None
    if found is None:
        case.skipped.append("no last good response")
        return None
    age = f"{found.age:.0f}"
    return case.make_outcome(200, (*found.headers, ("Age", age)), found.body, f"the last good response, {age} s old")


def _serve_fixed(case: _Case, fixed: Fixed, what: str) -> Outcome:
    body = b"" if case.call.method == "HEAD" else fixed.body
    return case.make_outcome(fixed.status, fixed.headers, body, what)


def _serve_function(function: Function, case: _Case) -> Outcome | None:
    name = getattr(function, "__name__", type(function).__name__)
    returned, error = call_function(function, case.describe())
    if error is not None:
        try:
            return case.take_error(error, name)
        finally:
            del error  # see errors.py, "Errors and frames"
    if returned is None:
        case.skipped.append(f"{name} had nothing")
        return None
    what = f"what {name} returned"
    if isinstance(returned, Fixed):
        return _serve_fixed(case, returned, what)
    made = case.make_outcome(returned.status_code, (), b"", what)
    return made._replace(response=returned, headers=returned.headers, body=None)


def _find_obstacle(case: _Case, safe: bool) -> str:
    """Return the reason why the request must not be sent again, or an empty string."""
    call, outcome = case.call, case.outcome
    if case.processed and not safe:
        return f"the {call.method} may have been processed"
    if call.body == "once" and case.read:
        return "the body can be read only once"
    if call.deadline is not None and outcome.now >= call.deadline:
        return "the deadline is over"
    return ""


def _is_unsent(outcome: Outcome) -> bool:
    """Return whether no part of the request has reached a server."""
    return outcome.failure is not None and outcome.unsent


def _is_maybe_processed(call: Call, outcome: Outcome) -> bool:
    return not (_is_unsent(outcome) or is_declined(call, outcome))


def _make_alternative(value: Any, max_age: float | None) -> _Known:
    """Return the alternative that a value stands for, or raise ValueError."""
    if value == _STALE and isinstance(value, str):
        return StaleCache() if max_age is None else StaleCache(max_age=max_age)
    if isinstance(value, str):
        return Another(value)
    if isinstance(value, (StaleCache, Another, Fixed)):
        return value
    if callable(value) and not isinstance(value, type) and not is_async(value):
        return value  # type: ignore[no-any-return]
    raise ValueError(
        f"Fallback({value!r}): an alternative must be 'stale', a URL, a StaleCache, an Another, a Fixed, or a function "
        "that is not asynchronous"
    )


def _check_order(known: tuple[_Known, ...]) -> None:
    kinds = [StaleCache if isinstance(each, StaleCache) else each for each in known]
    for index, each in enumerate(kinds):
        if isinstance(each, Fixed) and index < len(kinds) - 1:
            raise ValueError(f"Fallback(..., {each!r}, {kinds[index + 1]!r}): nothing after a Fixed is ever served")
        if kinds.count(each) > 1:
            raise ValueError(
                f"Fallback(..., {known[index]!r}, ...): there may be one of each alternative, and one StaleCache"
            )
