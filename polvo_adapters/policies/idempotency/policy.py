"""One key per logical call, so that a server can tell a repeat from a second order.

Theory of operation. The shell gives each call its key (`polvo_adapters.shells.request_identity`); this policy acts on
what the record and the server say of it.

    call without a key ──▶ as if there were no such policy
    call with a key ─▶ record, if there is one ─▶ attempts ─▶ response ─┬─ about something else ────▶ returned
                        │  ▲                        ▲                  ├─ the first one is at work ─▶ wait, same key
                        │  └─ another call uses it, wait               └─ the key is refused ───────▶ error
                        └─ done: the stored response; in doubt, or another request: error

**Repeats.** Where the server honours keys (`supported`), the call counts as idempotent, so that retries and hedges may
repeat it whatever its method. They do not take it to another server on that ground, which does not know the key.

**Responses about the key** are 409 while the first request is at work, and 422, 400 or 417 where the key was used for
another one; see `polvo_adapters.policies.idempotency.key_responses`.

**The record** (`polvo_adapters.policies.idempotency.record`) is begun first, and marked before each request leaves.
The policy looks at all attempts, not at the end of the call alone: a 401 at last does not undo a lost response before
it.

    what the attempts came to                                                       the record says
    ------------------------------------------------------------------------------  ---------------
    2xx, 3xx but 307 and 308; not what refuses in its body                          done
    307, 308, and none of the next lines                                            moved
    sent without a response; 5xx but what was throttled; 408    , 499; still at work  in doubt
    anything else: never sent, or refused                                           not sent
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Mapping
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Any, Literal, TypeAlias, Union

from polvo_adapters.core import validate
from polvo_adapters.core.answer import Answer
from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import (
    Acquire,
    Decide,
    Effect,
    Flow,
    Proceed,
    Race,
    Release,
    Send,
    Sleep,
    TryDecide,
    Undecided,
)
from polvo_adapters.core.http import Headers, lasting_headers
from polvo_adapters.core.identity import strip_signature
from polvo_adapters.core.judgement import REPLAYED_HEADERS, is_replayed, verdict_of
from polvo_adapters.core.judges import FormerKeyJudge, Judge, adapt, add_judges, ask_judge
from polvo_adapters.core.keywords import explain_arguments
from polvo_adapters.core.machines import Event
from polvo_adapters.core.notices import Notice
from polvo_adapters.core.outcomes import Ending, Outcome
from polvo_adapters.core.state_keys import of_tenant, without_parameters
from polvo_adapters.errors import IdempotencyConflictError, IdempotencyError, InDoubtError
from polvo_adapters.policies.idempotency.key_responses import (
    AT_WORK,
    KEY_REFUSED,
    interpret_key_response,
)
from polvo_adapters.policies.idempotency.record import (
    Begin,
    Different,
    Done,
    Doubt,
    Doubtful,
    KeyInUse,
    Moved,
    Record,
    RecordedResponse,
    Run,
    Sending,
    Stored,
    Unsent,
)
from polvo_adapters.policies.outcomes import (
    add_note,
    end_call,
    keep_last_sent,
    refuse_to_send,
    refuse_undecided,
    replace_error,
)

Strategy: TypeAlias = Union[Literal["unique", "hash"], Callable[[Any], Union[str, None]]]  # noqa: UP007 - at import

_FIRST_LOOK, _LAST_LOOK = 0.02, 0.25  # seconds between questions to the record while another call uses the key
_BASE, _CAP = 0.5, 8.0  # seconds between questions to a server that is at work
_UNKNOWN = frozenset({408, 499})  # below 500, and yet the request may have been processed
_ELSEWHERE = (307, 308)
_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


class _Seen:
    """The outcomes of a run's attempts: the last one, and whether any request may have been processed."""

    __slots__ = ("doubtful", "last")

    def __init__(self) -> None:
        self.doubtful = False
        self.last = Outcome()

    def is_from_server(self, outcome: Outcome) -> bool:
        """Return whether a server has sent this response, and not a policy in its place."""
        last = self.last
        same = outcome.response is last.response and outcome.body is last.body
        return same and outcome.status == last.status and outcome.failure is None


@explain_arguments
@dataclass(frozen=True)
class IdempotencyKeys:
    """Keys of calls, each the same for all attempts of its call.

    Args:
        strategy: "unique" for a random UUID per logical call; "hash" for a digest of tenant, method, URL and body, by
            which equal requests are one operation; or a function that takes the request and returns a key, or None for
            a request without.
        header: Name of the header; some services have another one, such as `PayPal-Request-Id`.
        style: "bare", as most services want it, or "structured", in quotes, as RFC 9651 has strings.
        methods: Methods that get keys. A key that the caller has set counts for others too, unless they are safe.
        max_length: Characters that a key may have.
        supported: Whether the server honours keys. Where it does not, they are sent, but make no repeat safe.
        max_wait: Seconds to wait at most for a request with the same key that is at work already.
        judge: A function of the `Answer` that returns "at work" or "key refused" for a response about the key; or a
            verdict of another kind, which counts for all policies; or None, so that common wording is looked for.
        record: A Record, or True for its defaults, to keep the state of each key in the store.

    Raises:
        ValueError: A value is out of range.

    Source: draft-ietf-httpapi-idempotency-key-header-07; RFC 9651, section 3.3.3.
    """

    strategy: Strategy = "unique"
    header: str = "Idempotency-Key"
    style: Literal["bare", "structured"] = "bare"
    methods: Collection[str] = ("POST", "PATCH")
    max_length: int = 255
    supported: bool = True
    max_wait: float = 60.0
    judge: Judge | None = None
    record: Record | bool | None = None

    makes_keys = True
    stack_option = "idempotency"

    @property
    def keeps_answers(self) -> bool:
        """Whether the shell must set `Call.credential` and `Call.selectors`, as the record keeps responses."""
        return self.record is not None

    @property
    def harmless_headers(self) -> frozenset[str]:
        """Headers that select no recorded response, in lower case: that of the key, and those that the record names."""
        named = self.record.harmless_headers if isinstance(self.record, Record) else ()
        return frozenset(name.lower() for name in (self.header, *named))

    def __post_init__(self) -> None:
        if not callable(self.strategy):
            validate.choice(self, "strategy", ("unique", "hash"))
        if not isinstance(self.header, str) or not self.header or not _TOKEN.issuperset(self.header):
            raise ValueError(f"IdempotencyKeys(header={self.header!r}): header must be the name of a header")
        validate.choice(self, "style", ("bare", "structured"))
        methods = validate.methods(self, "methods")
        if methods is None:
            raise ValueError("IdempotencyKeys(methods=None): methods must be a collection of method names")
        object.__setattr__(self, "methods", methods)
        validate.count(self, "max_length", 1)
        validate.number(self, "max_wait", 0)
        adapt(self, FormerKeyJudge)
        validate.flag(self, "supported")
        if isinstance(self.record, bool):
            object.__setattr__(self, "record", Record() if self.record else None)
        validate.instance(self, "record", Record)

    def is_replayed(self, named: Mapping[str, str]) -> bool:
        """Return whether the headers of a response say that the server replays it."""
        return is_replayed(named)

    def store_key(self, url_origin: str, tenant: str, key: str, caller: str = "") -> str:
        """Return the key of a record in the store: a digest, as idempotency keys may name customers.

        Args:
            url_origin: Origin of the server.
            tenant: Name of the tenant, or an empty string.
            key: The idempotency key.
            caller: Digest of the caller, to whom the key belongs, or an empty string.
        """
        whose = f" of {caller}" if caller else ""
        return f"idempotency key {_digest(key)} at {url_origin}{whose}{of_tenant(tenant)}"

    def flow(self, call: Call, proceed: Proceed) -> Flow:
        """Run the call; see the drawing of this module."""
        if not call.key:
            return proceed(call)
        if self.supported and not call.idempotent:
            call = call._replace(idempotent=True)
        call = add_judges(call, self.judges)
        if isinstance(self.record, Record):
            return self._run_with_record(self.record, *_remove_secrets(call, proceed))
        return self._run(call, proceed)

    def _run(self, call: Call, proceed: Proceed) -> Flow:
        """Run the call, and again while the server is at work on an earlier request with its key."""
        patience, pause = call.started + self.max_wait, _BASE
        before: Outcome | None = None
        while True:
            outcome = yield from proceed(call)
            kept = keep_last_sent(outcome, before)
            if kept is not None:
                return kept
            before = outcome
            if outcome.status < 400 or outcome.failure is not None:
                return outcome
            verdict = self._read_key_response(call, outcome)
            if verdict is None:
                return outcome
            if verdict != AT_WORK:
                return _report_refused_key(call, outcome)
            delay = verdict_of(call, outcome).retry_after
            low, high = (pause / 2, pause) if delay is None else (delay, delay + _BASE)
            ends = patience if call.deadline is None else min(patience, call.deadline)
            if call.is_one_shot or outcome.now + low >= ends:
                return end_call(
                    outcome, "idempotency", "an earlier request with the same idempotency key is still at work"
                )
            notice = Notice("idempotency", call, status=outcome.status)
            yield Sleep(low, min(high, ends - outcome.now), f"{outcome.status}, idempotency key at work", notice)
            pause = min(2 * pause, _CAP)

    @property
    def judges(self) -> tuple[Judge, ...]:
        """The judge, for the shell, unless it knows answers about keys alone."""
        return () if self.judge is None or isinstance(self.judge, FormerKeyJudge) else (self.judge,)

    def _read_key_response(self, call: Call, outcome: Outcome) -> str | None:
        """Return "at work" or "key refused" for a response about the key, and None for any other."""
        judge = self.judge
        if isinstance(judge, FormerKeyJudge):
            verdict, _ = ask_judge(judge, Answer.of(call, call.attempt, outcome))
            return None if verdict is None else verdict.kind
        kind = verdict_of(call, outcome).kind
        if kind in (AT_WORK, KEY_REFUSED):
            return kind
        return interpret_key_response(self.header, outcome.status, outcome.headers, outcome.body)

    def _run_with_record(self, record: Record, call: Call, proceed: Proceed) -> Flow:
        """Run the call unless the record of its key forbids it, and write its end into the record."""
        key = self.store_key(call.origin, call.tenant, call.key, call.credential)
        call = call._replace(content=f"{call.content}\n{call.selectors}") if call.selectors else call
        url = _digest(strip_signature(call.url, None))
        try:
            verdict = yield from self._begin(record, call, key, Begin(call.content, url, self.supported))
        except Undecided as undecided:
            return refuse_undecided(undecided)
        if isinstance(verdict, Outcome):
            return verdict
        seen = _Seen()
        marked = partial(_mark_sendings, record, key, verdict.lease, seen, proceed)
        outcome = yield from self._run(call, marked)
        written = yield TryDecide(
            (Event(record, key, self._end_event(record, call, url, verdict.lease, seen, outcome)),)
        )
        yield Release((), ())  # of the lease, which that event has ended, or which ends by itself
        return outcome if written else _report_unwritten(call, seen, outcome)

    def _begin(self, record: Record, call: Call, key: str, begin: Begin) -> Generator[Effect, Any, Run | Outcome]:
        """Return the permission to run, or the outcome of the call without a run."""
        waited, look = 0.0, _FIRST_LOOK
        patience = self.max_wait if call.deadline is None else min(self.max_wait, call.deadline - call.started)
        while True:
            (verdict,) = yield Acquire((Event(record, key, begin),))
            if type(verdict) is Run:
                return verdict
            yield Release((), ())
            if type(verdict) is not KeyInUse:
                return _conclude(call, verdict, waited)
            if waited + look > patience:
                message = (
                    "another call with the same idempotency key is under way, and was not over after "
                    f"{waited:.3g} s; nothing was sent, call again later"
                )
                return _refuse(IdempotencyError, call, message, "under way", retry_after=verdict.seconds_left)
            notice = Notice("idempotency", call, at_most=patience, waited=waited)
            waited += yield Sleep(look / 2, look, "idempotency key: another call is under way", notice)
            look = min(look * 1.5, _LAST_LOOK)

    def _end_event(self, record: Record, call: Call, url: str, lease: int, seen: _Seen, outcome: Outcome) -> Any:
        """Return the event for the end of a run."""
        from_server = seen.is_from_server(outcome)
        if from_server and outcome.status in _ELSEWHERE:
            return Moved(lease, seen.doubtful)
        verdict = verdict_of(call, outcome)
        undone = verdict.is_declined or verdict.kind in ("failed", "refused")
        if from_server and 200 <= outcome.status < 400 and not undone:
            return Done(lease, call.content, url, _record_response(outcome, record.max_body))
        at_work = from_server and outcome.status >= 400 and self._read_key_response(call, outcome) == AT_WORK
        return Doubt(lease) if seen.doubtful or at_work else Unsent(lease)


def _conclude(call: Call, verdict: Any, waited: float) -> Outcome:
    """Return the outcome of a call that the record does not let run."""
    if type(verdict) is Stored:
        status, named, body = verdict.response
        replayed = Headers((*named, (REPLAYED_HEADERS[0], "true")))
        now = call.started + waited
        note = "the stored response of an earlier call with the same idempotency key"
        return Outcome(
            status=status,
            headers=replayed,
            started=now,
            now=now,
            body=body or b"",
            note=note,
            ending=Ending("idempotency"),
            judged=[],
        )
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


def _make_error(kind: type[IdempotencyError], call: Call, message: str, reason: str, **data: Any) -> IdempotencyError:
    error = kind(f"{call.method} {call.host}: {message}", host=call.host, reason=reason, **data)
    error.caller = call.credential
    return error


def _refuse(kind: type[IdempotencyError], call: Call, message: str, reason: str, **data: Any) -> Outcome:
    return refuse_to_send(_make_error(kind, call, message, reason, **data), "idempotency", reason)


def _mark_sendings(record: Record, key: str, lease: int, seen: _Seen, proceed: Proceed, call: Call) -> Flow:
    """Run the call, mark the record before each request leaves, and note what may have been processed."""
    flow = proceed(call)
    answer: Any = None
    sending = Decide((Event(record, key, Sending(lease, call.content, _digest(call.url.partition("#")[0]))),))
    try:
        while True:
            effect = flow.throw(answer) if type(answer) is Undecided else flow.send(answer)
            if type(effect) is Send or type(effect) is Race:
                answer = seen.last = yield from _send_marked(call, effect, sending)
                seen.doubtful = seen.doubtful or _is_doubtful(call, answer, race=type(effect) is Race)
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


def _send_marked(call: Call, effect: Send | Race, sending: Decide) -> Generator[Effect, Any, Outcome]:
    """Send if the record can be marked before, and return the outcome."""
    try:
        (granted,) = yield sending
    except Undecided as undecided:
        return refuse_undecided(undecided)
    if not granted:
        return _report_lost_lease(call)
    outcome: Outcome = yield effect
    return outcome


def _record_response(outcome: Outcome, longest: int) -> RecordedResponse:
    """Return what is kept of a response; the body of a redirect is of no use."""
    body = b"" if outcome.status == 204 or outcome.status >= 300 else outcome.body
    if body is not None and len(body) > longest:
        body = None
    return RecordedResponse(outcome.status, lasting_headers(outcome.headers), body)


def _is_doubtful(call: Call, outcome: Outcome, *, race: bool) -> bool:
    """Return whether a server may have processed a request without saying so."""
    if outcome.failure is not None:
        return not outcome.unsent
    if race:
        return True  # its response may hide the ends of other attempts
    verdict = verdict_of(call, outcome)
    unknown = outcome.status >= 500 or outcome.status in _UNKNOWN or verdict.kind == "failed"
    return unknown and not verdict.is_declined and verdict.kind != "refused"


def _report_unwritten(call: Call, seen: _Seen, outcome: Outcome) -> Outcome:
    """Return the outcome where the record could not be written: the response, or an error that says it is in doubt."""
    if outcome.failure is None or not seen.doubtful or isinstance(outcome.error, IdempotencyError):
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


def _report_lost_lease(call: Call) -> Outcome:
    message = (
        "not sent, the call took longer than the lease of its record, and another one with the same idempotency key "
        "has taken over; call again, or allow a longer lease"
    )
    return _refuse(IdempotencyError, call, message, "lease lost")


def _report_refused_key(call: Call, outcome: Outcome) -> Outcome:
    message = (
        f"{outcome.status}, the server refuses the idempotency key; if it was used for another request give this one a "
        "key of its own, else see `response` for the form that it wants"
    )
    error = _make_error(IdempotencyConflictError, call, message, "refused", response=outcome.response)
    ending = Ending("idempotency", "the server refuses the idempotency key")
    return replace_error(outcome._replace(ending=ending), error)


def _remove_secrets(call: Call, proceed: Proceed) -> tuple[Call, Proceed]:
    """Return the call without credentials in its query, for the record, and the function that sends it with them."""
    if not call.secret_parameters:
        return call, proceed
    url = without_parameters(call.url, call.secret_parameters)
    return call._replace(url=url), lambda known: proceed(known._replace(url=call.url))


def _digest(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
