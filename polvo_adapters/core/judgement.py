"""Works out the verdict on an answer, see `polvo_adapters.core.verdict`."""

from __future__ import annotations

from collections.abc import Mapping

from polvo_adapters import headers
from polvo_adapters.core.answer import Answer
from polvo_adapters.core.calls import Call
from polvo_adapters.core.judges import ask_judge
from polvo_adapters.core.outcomes import Outcome
from polvo_adapters.core.verdict import SERVED, Verdict
from polvo_adapters.headers.markers import may_refuse
from polvo_adapters.headers.pages import is_page_of_proxy

_SERVED = frozenset({"served", "refused", "at work", "key refused"})
_UNAVAILABLE = (503, 529)
_REPLAYED = ("Idempotency-Replayed", "Idempotent-Replayed", "Idempotent-Replay")
REPLAYED_HEADERS = (*_REPLAYED, *(f"X-{name}" for name in _REPLAYED))
"""Headers by which servers say that they replay a response; the record of keys uses the first one itself."""
_REPLAYED_LOWER = frozenset(name.lower() for name in REPLAYED_HEADERS)


def verdict_of(call: Call, outcome: Outcome) -> Verdict:
    """Return what an outcome is, worked out at most once for each answer of a shell.

    Args:
        call: The call, for the judges of its policies.
        outcome: The outcome of an attempt at it, or of the call.
    """
    known = outcome.judged
    if known:
        return known[0]
    verdict = _work_out(call, outcome)
    if known is not None:
        known.append(verdict)
    return verdict


def was_served(call: Call, outcome: Outcome) -> bool:
    """Return whether the server served the call; an answer that blames the caller counts as served."""
    if outcome.failure is not None:
        return False
    known = outcome.judged
    if known:
        verdict = known[0]
    elif known is not None and 0 < outcome.status < 400 and not call.judges and not may_refuse(outcome.body):
        known.append(SERVED)  # nearly always
        return True
    else:
        verdict = verdict_of(call, outcome)
    return verdict is SERVED or verdict.kind in _SERVED or (verdict.kind == "replayed" and outcome.status < 500)


def is_declined(call: Call, outcome: Outcome) -> bool:
    """Return whether the server said that it did not process the request."""
    return outcome.status > 0 and verdict_of(call, outcome).is_declined


def _work_out(call: Call, outcome: Outcome) -> Verdict:
    status = outcome.status
    if not status:
        return Verdict("failed", reason="" if outcome.failure is None else outcome.failure.name)
    note = ""
    if call.judges:
        said, note = _ask_judges(call, outcome)
        if said is not None:
            return _complete(said, outcome)
    if status < 400 and not note and not may_refuse(outcome.body):
        return SERVED
    verdict = _complete(_judge(outcome), outcome)
    return verdict._replace(reason=f"{verdict.reason}; {note}") if note else verdict


def _judge(outcome: Outcome) -> Verdict:
    """Return the verdict on an answer by what is known of all APIs."""
    status, named, body, wall = outcome.status, outcome.headers, outcome.body, outcome.wall
    if status >= 400 and is_replayed(named):
        return Verdict("replayed", reason=f"{status}, replayed")
    refusal = headers.throttled(named, status, body, wall)
    if refusal is not None:
        verdict = Verdict.of_refusal(refusal)
        is_plain = verdict.kind == "throttled" and status in _UNAVAILABLE
        return verdict._replace(kind="unavailable") if is_plain else verdict
    if status < 400:
        return SERVED
    delay = headers.retry_after(named, wall)
    if status >= 500:
        return Verdict("failed", delay, reason=str(status), in_doubt=status == 503 and is_page_of_proxy(body))
    return Verdict("refused" if status == 403 and _states_reason(body) else "served", delay, reason=str(status))


def _states_reason(body: bytes | None) -> bool:
    """Return whether the body of a 403 is a document of the API, and not a page of a server in front of it."""
    return body is not None and body[:64].lstrip()[:1] in (b"{", b"[")


def is_replayed(named: Mapping[str, str]) -> bool:
    """Return whether headers say that the server replays an answer that it has stored for an idempotency key."""
    for name in named:  # noqa: SIM110 - any() takes a microsecond more, and so does each name that is missing
        if name.lower() in _REPLAYED_LOWER and named[name].strip().lower() in ("true", "1", "?1"):
            return True
    return False


def _complete(verdict: Verdict, outcome: Outcome) -> Verdict:
    """Return a verdict with the moment at which its delay ends."""
    delay = verdict.retry_after
    return verdict if delay is None or verdict.until is not None else verdict._replace(until=outcome.wall + delay)


def _ask_judges(call: Call, outcome: Outcome) -> tuple[Verdict | None, str]:
    """Return what the first judge with an opinion says, and a note where one has failed."""
    answer, note = Answer.of(call, call.attempt, outcome), ""
    for judge in call.judges:
        verdict, failed = ask_judge(judge, answer)
        if verdict is not None:
            return verdict, note
        note = failed or note
    return None, note
