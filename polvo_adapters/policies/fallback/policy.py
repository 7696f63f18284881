"""Something else in place of a failure: the last good response, another server, a fixed response, a function.

Theory of operation. The call runs as it would without a fallback. Where it ends badly, the alternatives are tried in
their order, and the first good one is the answer; where none is good, the call ends as it did.

    call ──▶ well ──▶ remembered, if there is a LastGood ──────────────────────────────▶ the answer
      └────▶ badly ──▶ alternative ──▶ good ───────────────────────────────────────────▶ that
                        ▲    └──▶ none, skipped or bad ──▶ another one left? ──no──▶ the first failure
                        └───────────────────────────────────────yes─┘

**Badly** means: a status in `on`; a failure that a repeat may cure; a deadline; or that nothing was sent, because a
circuit is open, a bulkhead is full or a quota is used up. A bad certificate is none of these: whoever stands in
between must not be able to choose what is served. Nor is an error that nobody here knows.

**Good** is the last good response, a fixed response, whatever a function returns, and from another server 2xx and 304.
Anything else that it says, a 404 above all, may be true of that server only. A redirect is no good because the session
that follows it would take the credentials along.

**Sent to another server** is only what may be sent again, by the rules of `polvo_adapters.policies.retry`: idempotent
methods, or what was certainly not processed. Where the other server may then have processed what is not idempotent, it
is sent nowhere else, and if nothing better turns up the call ends with what came of that: the first failure, "no
connection" say, would deny it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator
from dataclasses import dataclass, field
from typing import Any, TypeAlias, Union

from polvo_adapters import headers
from polvo_adapters.core import validate
from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Decide, Effect, Flow, Proceed
from polvo_adapters.core.http import Headers
from polvo_adapters.core.outcomes import EXPIRED, NOT_SENT, UNCLASSIFIED, Outcome, is_any
from polvo_adapters.errors import (
    CircuitOpenError,
    DeadlineExceeded,
    PoolTimeoutError,
    RateLimitError,
    ReplayError,
)
from polvo_adapters.policies.fallback.alternatives import Another, Ended, Fixed, ask, is_async, stripped, wrong
from polvo_adapters.policies.fallback.stale_cache import StaleCache
from polvo_adapters.policies.outcomes import noted

__all__ = ["Another", "Ended", "Fallback", "Fixed", "StaleCache"]

Function: TypeAlias = Callable[[Ended], Any]
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
_NOTHING = Outcome()


class _Case:
    """A call that ended badly, and what has been tried since.

    Attributes:
        call: The call.
        outcome: How it ends if nothing turns up.
        reason: What was bad, for people.
        read: Whether its body was read from, if there is one.
        processed: Whether a server may have processed it.
        skipped: Why alternatives were not good.
    """

    __slots__ = ("call", "outcome", "processed", "read", "reason", "skipped")

    def __init__(self, call: Call, outcome: Outcome, reason: str) -> None:
        self.call = call
        self.outcome = outcome
        self.reason = reason
        self.read = not _unsent(outcome)
        self.processed = not _unprocessed(outcome)
        self.skipped: list[str] = []

    def ended(self) -> Ended:
        """Return what a function is told."""
        call, outcome = self.call, self.outcome
        failure = "" if outcome.failure is None else outcome.failure.name
        url = stripped(call.url)
        return Ended(call.method, url, self.reason, outcome.status, failure, outcome.error, outcome.response)

    def made(self, status: int, named: tuple[tuple[str, str], ...], body: bytes, what: str) -> Outcome:
        """Return the outcome that the shell makes a response of."""
        first = self.outcome
        made = Outcome(status=status, headers=Headers(named), started=first.started, wall=first.wall, body=body)
        now = max(first.now, self.call.started)  # an outcome that a policy made may not know the time
        return noted(made._replace(now=now, note=first.note, quotas=first.quotas), self.because(what))

    def raised(self, error: Exception, name: str) -> Outcome:
        """Return the outcome with what a function raised, and let go of the first one."""
        first, self.outcome = self.outcome, _NOTHING
        return noted(
            first._replace(response=None, error=error, failure=UNCLASSIFIED), self.because(f"{name} raised this")
        )

    def because(self, what: str) -> str:
        """Return the note for what is served."""
        return f"{what}, after {self.reason}"


@dataclass(frozen=True, init=False)
class Fallback:
    """Serve something else where a call ends badly.

    Args:
        *alternatives: What to serve, in the order in which to try: "stale" or a LastGood, the last good response; a
            URL or an Another, the same request to another server; a Fixed, always the same response; or a function
            that is given an Ended and returns a Fixed, bytes or text, a dict or list to make JSON of, a response, or
            None for the next alternative. By default "stale".
        on: Statuses that are bad.
        exceptions: What is bad where there was no answer: exception classes, or the names that all shells share, as
            in ExponentialBackoff. None means all failures that a repeat may cure, and the errors of policies: an open
            circuit, a full bulkhead, a deadline, a used-up quota, a body that cannot be sent again.
        max_age: How old the last good response may be that "stale" stands for, in seconds; by default an hour.

    Raises:
        ValueError: An alternative is of no known kind or can never be served, or a value is out of range.

    Source: RFC 5861, section 4; Nygard, "Release It!", 2007.
    """

    alternatives: tuple[_Known, ...] = field(init=False)
    on: frozenset[int]
    exceptions: tuple[type[BaseException] | str, ...] | None
    max_age: float | None = None

    def __init__(
        self,
        *alternatives: Alternative,
        on: Collection[int] = frozenset({500, 502, 503, 504}),
        exceptions: Collection[type[BaseException] | str] | None = None,
        max_age: float | None = None,
    ) -> None:
        given = {"on": on, "exceptions": exceptions, "max_age": max_age}
        for name, value in given.items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "on", validate.statuses(self, "on"))
        object.__setattr__(self, "exceptions", validate.exceptions(self, "exceptions"))
        if max_age is not None:
            validate.number(self, "max_age", 0, above=True, infinite=True)
        if not self.on and self.exceptions == ():
            raise ValueError(
                "Fallback(on=(), exceptions=()): on or exceptions must name something, or it never applies"
            )
        known = tuple(_alternative(each, max_age) for each in alternatives or (_STALE,))
        object.__setattr__(self, "alternatives", known)
        _check_order(known)
        if max_age is not None and _STALE not in (alternatives or (_STALE,)):
            raise wrong("Fallback", "max_age", max_age, 'None where "stale" is no alternative; LastGood has its own')

    @property
    def keeps_answers(self) -> bool:
        """Whether shells have to tell apart all that answers depend on."""
        return any(isinstance(each, StaleCache) for each in self.alternatives)

    def flow(self, call: Call, proceed: Proceed) -> Flow:
        """Run the call, and serve the first good alternative where it ends badly."""
        outcome = yield from proceed(call)
        reason = self._why(outcome)
        if not reason:
            yield from self._remember(call, outcome)
            return outcome
        case = _Case(call, outcome, reason)
        for alternative in self.alternatives:
            served = yield from self._serve(alternative, case, proceed)
            if served is not None:
                return served
        return noted(case.outcome, "no fallback: " + ", ".join(case.skipped))

    def _why(self, outcome: Outcome) -> str:
        """Say what is bad about an outcome, or return an empty string."""
        failure, error = outcome.failure, outcome.error
        if failure is None:
            return str(outcome.status) if outcome.status in self.on else ""
        if self.exceptions is None:
            bad = failure.transient or failure in (EXPIRED, NOT_SENT) or isinstance(error, _OURS)
        else:
            bad = is_any(self.exceptions, failure, error)
        if bad or outcome.status in self.on:
            named = str(outcome.status) if outcome.status else failure.name
            return next((reason for kind, reason in _REASONS if isinstance(error, kind)), named)
        return ""

    def _remember(self, call: Call, outcome: Outcome) -> Generator[Effect, Any, None]:
        for alternative in self.alternatives:
            event = alternative.learned(call, outcome) if isinstance(alternative, StaleCache) else None
            if event is not None:
                yield Decide((event,))

    def _serve(self, alternative: _Known, case: _Case, proceed: Proceed) -> Generator[Effect, Any, Outcome | None]:
        """Return what an alternative has, or None and have the case say why."""
        if isinstance(alternative, StaleCache):
            return (yield from _last_good(alternative, case))
        if isinstance(alternative, Another):
            return (yield from self._sent(alternative, case, proceed))
        if isinstance(alternative, Fixed):
            return _fixed(case, alternative, "a fixed response")
        return _asked(alternative, case)

    def _sent(self, another: Another, case: _Case, proceed: Proceed) -> Generator[Effect, Any, Outcome | None]:
        place, there = another.place, another.instead(case.call)
        reason = _unsendable(another, case)
        if reason or isinstance(there, str):
            case.skipped.append(f"not sent to {place}: {reason or there}")
            return None
        outcome = yield from proceed(there)
        failure, status = outcome.failure, outcome.status
        if failure is None and (200 <= status < 300 or status == 304) and status not in self.on:
            return noted(outcome, case.because(f"{place} answered"))
        case.skipped.append(f"{place} had {status if failure is None else failure.name}")
        processed = not _unprocessed(outcome)
        if processed and not case.processed and not another.safe(case.call):
            case.outcome = outcome
        case.read = case.read or not _unsent(outcome)
        case.processed = case.processed or processed
        return None


def _last_good(alternative: StaleCache, case: _Case) -> Generator[Effect, Any, Outcome | None]:
    question = alternative.wanted(case.call)
    if question is None:
        case.skipped.append(f"no response to such a {case.call.method} is kept")
        return None
    found = (yield Decide((question,)))[0]
    if found is None:
        case.skipped.append("no last good response")
        return None
    age = f"{found.age:.0f}"
    return case.made(200, (*found.headers, ("Age", age)), found.body, f"the last good response, {age} s old")


def _fixed(case: _Case, fixed: Fixed, what: str) -> Outcome:
    body = b"" if case.call.method == "HEAD" else fixed.body
    return case.made(fixed.status, fixed.headers, body, what)


def _asked(function: Function, case: _Case) -> Outcome | None:
    name = getattr(function, "__name__", type(function).__name__)
    given, error = ask(function, case.ended())
    if error is not None:
        try:
            return case.raised(error, name)
        finally:
            del error  # whose traceback refers to this frame, and both would live until the next garbage collection
    if given is None:
        case.skipped.append(f"{name} had nothing")
        return None
    what = f"what {name} returned"
    if isinstance(given, Fixed):
        return _fixed(case, given, what)
    made = case.made(given.status_code, (), b"", what)
    return made._replace(response=given, headers=given.headers, body=None)


def _unsendable(another: Another, case: _Case) -> str:
    """Say why a request must not be sent again, or return an empty string."""
    call, outcome = case.call, case.outcome
    if case.processed and not another.safe(call):
        return f"the {call.method} may have been processed"
    if call.body == "once" and case.read:
        return "the body can be read only once"
    if call.deadline is not None and outcome.now >= call.deadline:
        return "the deadline is over"
    return ""


def _unsent(outcome: Outcome) -> bool:
    """Tell whether no server has seen any of the request."""
    return outcome.failure is not None and not outcome.failure.sent


def _unprocessed(outcome: Outcome) -> bool:
    """Tell whether it is certain that the request was not processed."""
    if outcome.status == 429 or _unsent(outcome):
        return True
    return outcome.status == 503 and headers.retry_after(outcome.headers, outcome.wall) is not None


def _alternative(value: Any, max_age: float | None) -> _Known:
    """Return what a value stands for, or raise ValueError."""
    if value == _STALE and isinstance(value, str):
        return StaleCache() if max_age is None else StaleCache(max_age=max_age)
    if isinstance(value, str):
        return Another(value)
    if isinstance(value, (StaleCache, Another, Fixed)):
        return value
    if callable(value) and not isinstance(value, type) and not is_async(value):
        return value  # type: ignore[no-any-return]
    raise ValueError(
        f"Fallback({value!r}): an alternative must be 'stale', a URL, a LastGood, an Another, a Fixed, or a function "
        "that is not asynchronous"
    )


def _check_order(known: tuple[_Known, ...]) -> None:
    kinds = [StaleCache if isinstance(each, StaleCache) else each for each in known]
    for index, each in enumerate(kinds):
        if isinstance(each, Fixed) and index < len(kinds) - 1:
            raise ValueError(f"Fallback(..., {each!r}, {kinds[index + 1]!r}): nothing after a Fixed is ever served")
        if kinds.count(each) > 1:
            raise ValueError(f"Fallback(..., {known[index]!r}, ...): of each alternative, and of LastGood, may be one")
