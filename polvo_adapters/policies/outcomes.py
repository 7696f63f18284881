"""The rules of repetition: which requests servers may process twice, and which outcome to keep.

A race may do the work of a request several times over. So only requests take part that are safe (RFC 9110 section
9.2.1: the client asks for no change of state) or were declared so, and only bodies that can be sent by several threads
or tasks at the same time.

**Good** is a response that a repeat would not better, see `was_served` of `polvo_adapters.core.judgement`. Where none
is good, the most informative outcome is kept: a response says more than an error, an error after the request may have
arrived more than one before ("no connection" would deny that another attempt may have reached the server), and a
policy's own refusal says least of all.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Undecided
from polvo_adapters.core.http import SAFE_METHODS
from polvo_adapters.core.outcomes import (
    EXPIRED,
    INTERRUPTED,
    NO_STORE,
    NOT_SENT,
    PROXY_REFUSED,
    UNCLASSIFIED,
    Ending,
    Failure,
    Outcome,
)
from polvo_adapters.core.trace import describe_progress
from polvo_adapters.errors import DeadlineExceeded, PolvoError

BODY_LATE = "the deadline is over"
"""Beginning of the text of an error for a body that is not complete at the deadline."""

RACED_METHODS = SAFE_METHODS - {"TRACE"}
"""Methods that ask for no change of state, without TRACE, which gains nothing from a race."""

NEVER_CURED = (EXPIRED, INTERRUPTED, NOT_SENT, NO_STORE, PROXY_REFUSED)
"""Failures that no repeat helps, whatever it is asked for by."""

ONCE_ONLY = "not sent again, as the body can be read only once; pass bytes or a seekable file"
"""Note of a call that would have been repeated with another body."""
SINGLE_USE = "not sent again, as its signature has a nonce; polvo.auth.signed(auth) makes a new one for each attempt"
"""Note of a call that would have been repeated with another signature."""


def explain_one_shot(call: Call) -> str:
    """Return the note of a call that can be sent once."""
    return SINGLE_USE if call.body == "single-use" else ONCE_ONLY


def explain_unsafe(call: Call) -> str:
    """Return the note of a call that is not repeated as its method is not safe to repeat, and what to set."""
    if call.unsafe:
        return f"{call.method} is not repeated: it was declared not idempotent"
    key = "" if call.key else "pass an idempotency key where the API takes one (idempotency=True), or "
    return f"{call.method} is not repeated: the server may have processed it; {key}declare it safe (idempotent=True)"


def is_safe(call: Call, methods: Collection[str] | None) -> bool:
    """Return whether a request may be processed several times; `methods` are those that may, None means all."""
    return (call.idempotent or methods is None or call.method in methods) and not call.unsafe


def is_safe_elsewhere(call: Call, methods: Collection[str] | None) -> bool:
    """Return whether several servers may process a request; only the server that received a key knows it."""
    declared = call.idempotent and not call.key
    return (declared or methods is None or call.method in methods) and not call.unsafe


def can_send_at_once(call: Call) -> bool:
    """Return whether the body can be sent several times at the same time."""
    return call.body in ("none", "replayable")


def choose_most_informative(outcomes: Iterable[Outcome]) -> Outcome:
    """Return the outcome that says most, of equals the first; it counts as sent where any of them was."""
    known = list(outcomes)
    return _with_evidence(max(known, key=_rank), known)


def _with_evidence(chosen: Outcome, outcomes: Sequence[Outcome]) -> Outcome:
    """Return the outcome, which is proved to be unsent only where all of them are."""
    return chosen._replace(unsent=False) if chosen.unsent and not all(each.unsent for each in outcomes) else chosen


def _rank(outcome: Outcome) -> int:
    failure = outcome.failure
    if failure is None:
        return 3
    if failure is NOT_SENT or failure is NO_STORE:
        return 0
    return 1 if outcome.unsent and failure is not EXPIRED else 2


def choose_better(last: Outcome, best: Outcome) -> Outcome:
    """Return what says more of the last outcome and the best before it, unless that response was closed unread.

    Such a response still says more than that the store failed before another attempt.
    """
    if _rank(last) >= _rank(best):
        return _with_evidence(last, (last, best))
    if best.failure is not None or best.response is None or (best.body is None and last.failure is NO_STORE):
        return best
    return last if best.body is None else best._replace(response=None)  # the shell makes a new one of the body


def add_note(outcome: Outcome, note: str, part: str = "") -> Outcome:
    """Return the outcome with a note after those of policies further inside.

    Args:
        outcome: The outcome.
        note: The reason why the call ended like this.
        part: Name of the part of the library that ended it; none where the note only explains.
    """
    ending = Ending(part) if part else outcome.ending
    return outcome._replace(note=f"{outcome.note}; {note}" if outcome.note else note, ending=ending)


def end_call(outcome: Outcome, part: str, note: str) -> Outcome:
    """Return the outcome that a part of the library ends the call with, and the reason as its only note."""
    return outcome._replace(note=note, ending=Ending(part))


def refuse_to_send(error: Exception, part: str = "", reason: str = "", retry_after: float | None = None) -> Outcome:
    """Return the outcome of a call that a policy did not send.

    Args:
        error: The error for the caller.
        part: Name of the part of the library that refuses, for the log.
        reason: The reason for a person, without anything secret.
        retry_after: Seconds after which the call may succeed, where that is known.
    """
    return Outcome(error=error, failure=NOT_SENT, unsent=True, ending=Ending(part, reason, retry_after))


def refuse_undecided(undecided: Undecided) -> Outcome:
    """Return the outcome of a call that a policy did not send, as it could not ask the store."""
    error = undecided.error
    return Outcome(error=error, failure=NO_STORE, unsent=True, ending=Ending("stores", describe_store_failure(error)))


def describe_store_failure(error: Exception) -> str:
    """Return the reason of an error of the store: the one that it names, or its class, as its text may be a secret."""
    reason = error.reason if isinstance(error, PolvoError) else None
    return f"the store failed ({reason or type(error).__name__})"


def keep_last_sent(outcome: Outcome, before: Outcome | None) -> Outcome | None:
    """Return the outcome of the attempt before where a repeat was not sent, or None.

    The caller gets what came of the request, the answer of the server or the error, with the reason for which it was
    not repeated as its note: a circuit that the call itself has opened says nothing of the call.

    Args:
        outcome: The outcome of a repeat.
        before: The outcome of the attempt before it, or None where there was none.
    """
    if before is None or outcome.failure is NO_STORE:
        return outlast_store(outcome, before)
    if outcome.failure is not NOT_SENT:
        return None
    ending = outcome.ending or Ending("retry")
    return add_note(before, f"not sent again: {ending.reason or outcome.note or 'a policy refused'}", ending.part)


def outlast_store(outcome: Outcome, before: Outcome | None) -> Outcome | None:
    """Return the outcome of the attempt before where the store failed before another one, or None."""
    if before is None or outcome.failure is not NO_STORE:
        return None
    return add_note(before, "not sent again, as the store failed", "stores")


def replace_error(outcome: Outcome, error: Exception, failure: Failure = UNCLASSIFIED) -> Outcome:
    """Return the outcome with another error, whose cause is the one of before."""
    error.__cause__ = outcome.error
    return outcome._replace(error=error, failure=failure)


def describe_late_body(received: int) -> str:
    """Return the text of the error for a body that is not complete at the deadline.

    Args:
        received: How many bytes of it are known to be there.
    """
    there = f", {received} byte{'' if received == 1 else 's'} of it are there" if received else ""
    return f"{BODY_LATE} and the body is not complete{there}; allow it a longer deadline, or ask for less"


def expire_call(call: Call, outcome: Outcome, reason: str, retry_after: float | None = None) -> Outcome:
    """Return the outcome of a call whose deadline was, or would be, overrun.

    Args:
        call: The call.
        outcome: Its last outcome.
        reason: What happened, for a person.
        retry_after: The delay that the server asked for, in seconds, where it did.

    Returns:
        Where the server has answered, its answer with the reason as note; otherwise an outcome with `DeadlineExceeded`
        and the failure EXPIRED.
    """
    if outcome.failure is None and outcome.status:
        return outcome._replace(note=reason, ending=Ending("deadline", retry_after=retry_after))
    place = f"{call.method} {call.host}"
    if isinstance(outcome.error, DeadlineExceeded) and outcome.error.host is not None:
        text = str(outcome.error.args[0])
        if text.startswith(BODY_LATE):  # otherwise a policy further inside has said so already
            outcome.error.args = (f"{place}: {reason}{text[len(BODY_LATE) :]}",)
        return outcome
    progress = describe_progress(outcome.marks)
    error = DeadlineExceeded(
        f"{place}: {reason}{progress and ', ' + progress}; allow it a longer deadline, or ask for less",
        response=outcome.response,
        host=call.host,
        retry_after=retry_after,
    )
    return replace_error(outcome._replace(ending=Ending("deadline", reason, retry_after)), error, EXPIRED)
