"""One call with an idempotency key whose record is kept in the store.

Theory of operation. The record (`polvo_adapters.policies.idempotency.record`) is begun first, and marked before each
request leaves, so that it is true also where the process is killed. The run looks at all attempts, not at the end of
the call alone: a 401 at last does not undo a lost response before it.

    what the attempts came to                                                         the record says
    --------------------------------------------------------------------------------  ---------------
    2xx, 3xx but 307 and 308; not a response that refuses in its body                 done
    307, 308, and none of the next lines                                              moved
    sent without a response; 5xx but what was throttled; 408, 499; still at work      in doubt
    anything else: never sent, or refused                                             not sent
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from hashlib import sha256
from typing import Any

from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Acquire, Decide, Effect, Flow, Race, Release, Send, Sleep, TryDecide, Undecided
from polvo_adapters.core.http import lasting_headers
from polvo_adapters.core.identity import strip_signature
from polvo_adapters.core.judgement import verdict_of
from polvo_adapters.core.machines import Event
from polvo_adapters.core.notices import Notice
from polvo_adapters.core.outcomes import Outcome
from polvo_adapters.policies.idempotency.key_responses import AT_WORK
from polvo_adapters.policies.idempotency.record import (
    Begin,
    Done,
    Doubt,
    KeyInUse,
    Moved,
    Record,
    RecordedResponse,
    RecordEvent,
    Run,
    Sending,
    Unsent,
)
from polvo_adapters.policies.idempotency.refusals import conclude, refuse_after_lease, refuse_in_use, report_unwritten
from polvo_adapters.policies.outcomes import refuse_undecided

_FIRST_LOOK, _LAST_LOOK = 0.02, 0.25  # seconds between questions to the record while another call uses the key
_UNKNOWN = frozenset({408, 499})  # below 500, and yet the request may have been processed
_ELSEWHERE = (307, 308)


class RecordedRun:
    """A run of a call under the record of its key.

    Args:
        record: The machine of the record.
        key: Key of the record in the store.
        call: The call, without credentials in its URL.
        read_key_response: Function that returns "at work" or "key refused" for a response about the key, else None.
    """

    __slots__ = ("_call", "_is_doubtful", "_key", "_last", "_read_key_response", "_record", "_url")

    def __init__(
        self, record: Record, key: str, call: Call, read_key_response: Callable[[Call, Outcome], str | None]
    ) -> None:
        self._record, self._key, self._read_key_response = record, key, read_key_response
        self._call = call._replace(content=f"{call.content}\n{call.selectors}") if call.selectors else call
        self._url = digest_for_store(strip_signature(call.url, None))
        self._is_doubtful = False  # whether a server may have processed any request without saying so
        self._last = Outcome()  # of the attempts

    def flow(self, run: Callable[[Call], Flow], max_wait: float, *, can_ask: bool) -> Flow:
        """Run the call unless the record forbids it, and write its end into the record.

        Args:
            run: Returns the flow of the call without a record.
            max_wait: Seconds to wait at most for another call that uses the key.
            can_ask: Whether the server knows keys, so that the request may be sent again where it is in doubt.
        """
        try:
            verdict = yield from self._begin(Begin(self._call.content, self._url, can_ask), max_wait)
        except Undecided as undecided:
            return refuse_undecided(undecided)
        if isinstance(verdict, Outcome):
            return verdict
        outcome = yield from self._mark_sendings(run(self._call), verdict.lease)
        written = yield TryDecide((Event(self._record, self._key, self._end_event(verdict.lease, outcome)),))
        yield Release((), ())  # of the lease, which that event has ended, or which ends by itself
        return outcome if written else report_unwritten(self._call, outcome, is_doubtful=self._is_doubtful)

    def _begin(self, begin: Begin, max_wait: float) -> Generator[Effect, Any, Run | Outcome]:
        """Return the permission to run, or the outcome of the call without a run."""
        call, waited, look = self._call, 0.0, _FIRST_LOOK
        patience = max_wait if call.deadline is None else min(max_wait, call.deadline - call.started)
        while True:
            (verdict,) = yield Acquire((Event(self._record, self._key, begin),))
            if type(verdict) is Run:
                return verdict
            yield Release((), ())
            if type(verdict) is not KeyInUse:
                return conclude(call, verdict, waited)
            if waited + look > patience:
                return refuse_in_use(call, waited, verdict.seconds_left)
            notice = Notice("idempotency", call, at_most=patience, waited=waited)
            waited += yield Sleep(look / 2, look, "idempotency key: another call is under way", notice)
            look = min(look * 1.5, _LAST_LOOK)

    def _mark_sendings(self, flow: Flow, lease: int) -> Flow:
        """Run a flow, mark the record before each request leaves, and note what may have been processed."""
        answer: Any = None
        sending = Decide((Event(self._record, self._key, Sending(lease, self._call.content, self._url)),))
        try:
            while True:
                effect = flow.throw(answer) if type(answer) is Undecided else flow.send(answer)
                if type(effect) is Send or type(effect) is Race:
                    answer = yield from self._send_marked(effect, sending)
                else:
                    try:
                        answer = yield effect
                    except Undecided as undecided:
                        answer = undecided
        except StopIteration as end:
            outcome: Outcome = end.value
            return outcome
        finally:
            flow.close()
            answer = None  # see errors.py, "Errors and frames"

    def _send_marked(self, effect: Send | Race, sending: Decide) -> Generator[Effect, Any, Outcome]:
        """Send if the record can be marked before, and return the outcome."""
        try:
            (granted,) = yield sending
        except Undecided as undecided:
            self._last = refuse_undecided(undecided)
        else:
            self._last = (yield effect) if granted else refuse_after_lease(self._call)
        self._is_doubtful = self._is_doubtful or _may_be_processed(self._call, self._last, race=type(effect) is Race)
        return self._last

    def _end_event(self, lease: int, outcome: Outcome) -> RecordEvent:
        """Return the event for the end of the run."""
        call, from_server = self._call, self._is_from_server(outcome)
        if from_server and outcome.status in _ELSEWHERE:
            return Moved(lease, self._is_doubtful)
        verdict = verdict_of(call, outcome)
        undone = verdict.is_declined or verdict.kind in ("failed", "refused")
        if from_server and 200 <= outcome.status < 400 and not undone:
            return Done(lease, call.content, self._url, _record_response(outcome, self._record.max_body))
        at_work = from_server and outcome.status >= 400 and self._read_key_response(call, outcome) == AT_WORK
        return Doubt(lease) if self._is_doubtful or at_work else Unsent(lease)

    def _is_from_server(self, outcome: Outcome) -> bool:
        """Return whether a server has sent this response, and not a policy in its place."""
        last = self._last
        same = outcome.response is last.response and outcome.body is last.body
        return same and outcome.status == last.status and outcome.failure is None


def digest_for_store(text: str) -> str:
    """Return a text as it stands in the store: keys may name customers, and URLs hold what is private."""
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _may_be_processed(call: Call, outcome: Outcome, *, race: bool) -> bool:
    """Return whether a server may have processed a request without saying so."""
    if outcome.failure is not None:
        return not outcome.unsent
    if race:
        return True  # its response may hide the ends of other attempts
    verdict = verdict_of(call, outcome)
    unknown = outcome.status >= 500 or outcome.status in _UNKNOWN or verdict.kind == "failed"
    return unknown and not verdict.is_declined and verdict.kind != "refused"


def _record_response(outcome: Outcome, longest: int) -> RecordedResponse:
    """Return what is kept of a response; the body of a redirect is of no use."""
    body = b"" if outcome.status == 204 or outcome.status >= 300 else outcome.body
    if body is not None and len(body) > longest:
        body = None
    return RecordedResponse(outcome.status, lasting_headers(outcome.headers), body)
