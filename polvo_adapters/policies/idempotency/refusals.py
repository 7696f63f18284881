"""The outcomes of calls that their idempotency key, or its record, ends: the stored response, or an error."""

from __future__ import annotations

from typing import Any

from polvo_adapters.core.calls import Call
from polvo_adapters.core.http import Headers
from polvo_adapters.core.judgement import REPLAYED_HEADERS
from polvo_adapters.core.outcomes import Ending, Outcome
from polvo_adapters.errors import IdempotencyConflictError, IdempotencyError, InDoubtError
from polvo_adapters.policies.idempotency.record import Different, Doubtful, Duplicate, RecordedResponse, Stored
from polvo_adapters.policies.outcomes import add_note, refuse_to_send, replace_error


def conclude(call: Call, verdict: Stored | Doubtful | Different | Duplicate, waited: float) -> Outcome:
    """Return the outcome of a call that the record does not let run.

    Args:
        call: The call.
        verdict: What the record says.
        waited: Seconds for which the call has waited for another one with the same key.
    """
    if type(verdict) is Stored:
        return _replay(verdict.response, call.started + waited)
    if type(verdict) is Doubtful:
        message = (
            f"not sent, a request with the same idempotency key left {verdict.seconds_ago:.0f} s ago and may have "
            "arrived; find out whether it was done, and report it with operation(url, key, caller=error.caller)"
            ".resolve(done=...)"
        )
        return _refuse(InDoubtError, call, message, "in doubt", key=call.key, since=verdict.seconds_ago)
    if type(verdict) is Different:
        message = (
            f"not sent, its idempotency key belongs to another request, {verdict.parts} differs; give each operation a "
            "key of its own, or name a header that selects no response in Record(harmless_headers=...)"
        )
        return _refuse(IdempotencyConflictError, call, message, "another request")
    message = "not sent, the operation of its idempotency key is done, and its response cannot be given again"
    return _refuse(IdempotencyConflictError, call, message, "duplicate")


def refuse_in_use(call: Call, waited: float, seconds_left: float) -> Outcome:
    """Return the outcome of a call that has waited in vain for another one with the same key.

    Args:
        call: The call.
        waited: Seconds for which it has waited.
        seconds_left: Seconds that the lease of the other call has left.
    """
    message = (
        f"another call with the same idempotency key is under way, and was not over after {waited:.3g} s; nothing was "
        "sent, call again later"
    )
    return _refuse(IdempotencyError, call, message, "under way", retry_after=seconds_left)


def refuse_after_lease(call: Call) -> Outcome:
    """Return the outcome of an attempt whose call has lost the record to another one."""
    message = (
        "not sent, the call took longer than the lease of its record, and another one with the same idempotency key "
        "has taken over; call again, or allow a longer lease"
    )
    return _refuse(IdempotencyError, call, message, "lease lost")


def report_refused_key(call: Call, outcome: Outcome) -> Outcome:
    """Return the outcome of a call whose key the server refuses: an error that has the response."""
    message = (
        f"{outcome.status}, the server refuses the idempotency key; if it was used for another request give this one a "
        "key of its own, else see `response` for the form that it wants"
    )
    error = _make_error(IdempotencyConflictError, call, message, "refused", response=outcome.response)
    ending = Ending("idempotency", "the server refuses the idempotency key")
    return replace_error(outcome._replace(ending=ending), error)


def report_unwritten(call: Call, outcome: Outcome, *, is_doubtful: bool) -> Outcome:
    """Return the outcome of a call whose end the store could not write down.

    Args:
        call: The call.
        outcome: Its outcome; a response, or an error of this policy, stays.
        is_doubtful: Whether the server may have processed a request without saying so.
    """
    if outcome.failure is None or not is_doubtful or isinstance(outcome.error, IdempotencyError):
        return add_note(
            outcome, "the store could not write down what came of it; its record is in doubt when its lease ends"
        )
    message = (
        f"the request was sent and not answered ({outcome.failure.name}), and the store could not write that down; its "
        "record is in doubt once the lease is over: find out whether it was done"
    )
    return replace_error(
        outcome._replace(ending=Ending("idempotency", "the record of its key could not be written, and is in doubt")),
        _make_error(IdempotencyError, call, message, "in doubt, not written"),
        outcome.failure,
    )


def _replay(response: RecordedResponse, now: float) -> Outcome:
    return Outcome(
        status=response.status,
        headers=Headers((*response.headers, (REPLAYED_HEADERS[0], "true"))),
        started=now,
        now=now,
        body=response.body or b"",
        note="the stored response of an earlier call with the same idempotency key",
        ending=Ending("idempotency"),
        judged=[],
    )


def _refuse(kind: type[IdempotencyError], call: Call, message: str, reason: str, **data: Any) -> Outcome:
    return refuse_to_send(_make_error(kind, call, message, reason, **data), "idempotency", reason)


def _make_error(kind: type[IdempotencyError], call: Call, message: str, reason: str, **data: Any) -> IdempotencyError:
    error = kind(f"{call.method} {call.host}: {message}", host=call.host, reason=reason, **data)
    error.caller = call.credential
    return error
