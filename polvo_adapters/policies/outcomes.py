"""What policies that ask twice have in common: what may be sent twice at once, and which answer is the better one.

A race may do the work of a request several times over. So only requests take part that are safe (RFC 9110 section
9.2.1: the client asks for no change of state) or were declared so, and only bodies that can be sent by several threads
or tasks at the same time.

**Good** is an answer that a repeat would not better, as `budget.was_served` says: any but 429, 500 and above. Where
none is good, the most informative outcome is kept: an answer says more than an error, an error after the request may
have arrived more than one before ("no connection" would deny that another attempt may have reached the server), and a
policy's own refusal says least of all.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from polvo_adapters import headers
from polvo_adapters.core.calls import Call
from polvo_adapters.core.outcomes import EXPIRED, NOT_SENT, Outcome
from polvo_adapters.errors import DeadlineExceeded, RateLimitDeadlineExceeded

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that ask for no change of state (RFC 9110 section 9.2.1), without TRACE, which nobody needs twice."""


def safe(call: Call, methods: Collection[str] | None) -> bool:
    """Tell whether a request may be worked on several times; `methods` are those that may, None means all."""
    return call.idempotent or methods is None or call.method in methods


def safe_elsewhere(call: Call, methods: Collection[str] | None) -> bool:
    """Tell whether several servers may work on a request; an idempotency key is known where it was sent only."""
    return (call.idempotent and not call.key) or methods is None or call.method in methods


def sendable_at_once(call: Call) -> bool:
    """Tell whether the body can be sent several times at the same time."""
    return call.body in ("none", "replayable")


def most_informative(outcomes: Iterable[Outcome]) -> Outcome:
    """Return the outcome that tells most; of equals the first."""
    return max(outcomes, key=informative)


def informative(outcome: Outcome) -> int:
    """Return how much an outcome tells, as a number."""
    failure = outcome.failure
    if failure is None:
        return 3
    if failure is NOT_SENT:
        return 0
    return 2 if failure.sent else 1


def unprocessed(outcome: Outcome) -> bool:
    """Tell whether the server said that it did not process the request."""
    if outcome.failure is not None or outcome.status not in (429, 503):
        return False
    return outcome.status == 429 or headers.retry_after(outcome.headers, outcome.wall) is not None


def better(last: Outcome, best: Outcome) -> Outcome:
    """Return what tells more of the last outcome and the best before it.

    An answer before the last is closed by now. Where its body was read it can be made anew, else the last one stands.
    """
    if informative(last) >= informative(best):
        return last
    if best.failure is not None or best.response is None:
        return best
    return last if best.body is None else best._replace(response=None)


def noted(outcome: Outcome, note: str) -> Outcome:
    """Return the outcome with a note, after what a policy further inside had to say."""
    return outcome._replace(note=f"{outcome.note}; {note}" if outcome.note else note)


def exceeded(call: Call, outcome: Outcome, reason: str, retry_after: float | None = None) -> Outcome:
    """Turn an outcome into the error that says the deadline was, or would be, overrun.

    Args:
        call: The call.
        outcome: Its last outcome; the response stays with the error.
        reason: What happened, for a person.
        retry_after: The delay that the server asked for, in seconds, where it did.

    Returns:
        An outcome with `DeadlineExceeded`, or `RateLimitDeadlineExceeded` for a 429, and the failure EXPIRED.
    """
    if isinstance(outcome.error, DeadlineExceeded) and outcome.error.host is not None:
        return outcome  # said already, by a policy further inside
    kind = RateLimitDeadlineExceeded if outcome.status == 429 else DeadlineExceeded
    advice = (
        "allow it a longer deadline, or ask for less" if retry_after is None else f"call again after {retry_after:g} s"
    )
    error = kind(
        f"{call.method} {call.host}: {reason}; {advice}",
        response=outcome.response,
        host=call.host,
        retry_after=retry_after,
    )
    error.__cause__ = outcome.error
    return outcome._replace(error=error, failure=EXPIRED)


def was_served(outcome: Outcome) -> bool:
    """Tell whether a call that ended like this was served: an error of the caller's is an answer too."""
    return outcome.failure is None and outcome.status < 500 and outcome.status != 429
