"""One key per logical call, so that a server can tell a repeat from a second order.

Theory of operation. The shell gives each call its key (`polvo_adapters.shells.request_identity`); all that is here sees
to what comes of it.

    call without a key ──▶ as if there were no such policy
    call with a key ─▶ record, if there is one ─▶ attempts ─▶ answer ─┬─ about something else ──────▶ returned
                        │  ▲                        ▲                ├─ the first one is at work ──▶ wait, same key
                        │  └─ somebody else is at it, wait           └─ the key is refused ────────▶ error
                        └─ done: the stored answer; in doubt, or another request: error

**Repeats.** Where the server honours keys (`supported`), the call counts as idempotent, so that retries and hedges may
repeat it whatever its method. They do not take it to another server on that ground: a key is known where it was sent.

**Answers about the key** (draft-ietf-httpapi-idempotency-key-header-07, section 2.7, and what vendors made of it): 409
while the first request is at work, 422, 400 or 417 where the key was used for another one. APIs use these statuses for
other things as well; so an answer counts only where it speaks of the key, see
`polvo_adapters.policies.idempotency.key_responses`.

**The record** (`polvo_adapters.policies.idempotency.record`) is begun first, and marked before each request leaves.
What came of the call is seen in its attempts, not in its end alone: a 401 at last does not undo a lost answer before
it.

    what the attempts came to                                                    the record says
    ---------------------------------------------------------------------------  ---------------
    2xx, 3xx but 307 and 308                                                      done
    307, 308, and none of the next lines                                          moved
    sent without an answer; 5xx but 503 with Retry-After; 408, 499; still at work  in doubt
    anything else: never sent, or refused                                         not sent
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Mapping
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Any, Literal, TypeAlias, Union

from polvo_adapters import headers
from polvo_adapters.core import validate
from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Acquire, Decide, Effect, Flow, Proceed, Race, Release, Send, Sleep, TryDecide
from polvo_adapters.core.http import Headers, lasting
from polvo_adapters.core.machines import Event
from polvo_adapters.core.outcomes import NOT_SENT, UNCLASSIFIED, Outcome
from polvo_adapters.core.state_keys import of_tenant, without_parameters
from polvo_adapters.errors import IdempotencyConflictError, IdempotencyError, InDoubtError
from polvo_adapters.policies.idempotency import key_responses
from polvo_adapters.policies.idempotency.key_responses import AT_WORK, REPLAYED_HEADERS, Judge
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
from polvo_adapters.policies.outcomes import noted

__all__ = ["IdempotencyKeys", "Record"]

Strategy: TypeAlias = Union[Literal["unique", "hash"], Callable[[Any], Union[str, None]]]  # noqa: UP007 - at import

_FIRST_LOOK, _LAST_LOOK = 0.02, 0.25  # seconds between questions of those who wait for somebody else
_BASE, _CAP = 0.5, 8.0  # seconds between questions to a server that is at work
_UNKNOWN = frozenset({408, 499})  # below 500, and yet nobody knows what was done
_ELSEWHERE = (307, 308)
_REPLAYED = frozenset(name.lower() for name in REPLAYED_HEADERS)
_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


class _Seen:
    """What the attempts of a run have come to: the last outcome, and whether one may have been processed."""

    __slots__ = ("doubtful", "last")

    def __init__(self) -> None:
        self.doubtful = False
        self.last = Outcome()

    def has_heard(self, outcome: Outcome) -> bool:
        """Tell whether a server has said this, and not a policy in its place."""
        last = self.last
        same = outcome.response is last.response and outcome.body is last.body
        return same and outcome.status == last.status and outcome.failure is None


@dataclass(frozen=True)
class IdempotencyKeys:
    """Give each call a key that stays the same whatever happens to it.

    Args:
        strategy: "unique" for a random UUID per logical call; "hash" for a digest of tenant, method, URL and body, by
            which equal requests are one operation; or a function that is given the request and returns a key, or None
            for a request without.
        header: Name of the header; some services have another one, such as `PayPal-Request-Id`.
        style: "bare", as most services want it, or "structured", in quotes, as RFC 9651 has strings.
        methods: Methods that are given keys. A key that the caller has set counts for others too, unless they are
            safe.
        max_length: Characters that a key may have.
        supported: Whether the server honours keys. Where it does not, they are sent, but repeats are as dangerous as
            without.
        max_wait: Seconds to wait at most for a request with the same key that is at work already.
        judge: A function of status, headers and body that returns "at work" or "refused" for an answer about the key,
            and None for any other; by default, common wording is looked for.
        record: A Record, or True for its defaults, to remember in the store what became of each key.

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
        if self.judge is not None and not callable(self.judge):
            raise ValueError(f"IdempotencyKeys(judge={self.judge!r}): judge must be a function or None")
        object.__setattr__(self, "record", Record() if self.record is True else self.record or None)
        validate.instance(self, "record", Record)

    def replayed(self, told: Mapping[str, str]) -> bool:
        """Tell whether the headers of an answer say that it was given before."""
        for name in told:  # noqa: SIM110 - any() takes a microsecond more, and so does each name that is missing
            if name.lower() in _REPLAYED and told[name].strip().lower() in ("true", "1", "?1"):
                return True
        return False

    def place(self, url_origin: str, tenant: str, key: str) -> str:
        """Return where the store keeps what is known of a key: under a digest, as keys may name customers."""
        digest = sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:32]
        return f"idempotency key {digest} at {url_origin}{of_tenant(tenant)}"

    def flow(self, call: Call, proceed: Proceed) -> Flow:
        """Run the call; see the drawing of this module."""
        if not call.key:
            return proceed(call)
        if self.supported and not call.idempotent:
            call = call._replace(idempotent=True)
        if isinstance(self.record, Record):
            return self._recorded(self.record, *_without_secrets(call, proceed))
        return self._asked(call, proceed)

    # The server's answers.

    def _asked(self, call: Call, proceed: Proceed) -> Flow:
        """Run the call, and again while the server is at work on an earlier request with its key."""
        patience, pause = call.started + self.max_wait, _BASE
        while True:
            outcome = yield from proceed(call)
            if outcome.status < 400 or outcome.failure is not None:
                return outcome
            verdict = self._judged(outcome)
            if verdict is None:
                return outcome
            if verdict != AT_WORK:
                return _refused(call, outcome)
            delay = headers.retry_after(outcome.headers, outcome.wall)
            low, high = (pause / 2, pause) if delay is None else (delay, delay + _BASE)
            ends = patience if call.deadline is None else min(patience, call.deadline)
            if call.body == "once" or outcome.now + low >= ends:
                return outcome._replace(note="an earlier request with the same idempotency key is still at work")
            yield Sleep(low, min(high, ends - outcome.now), f"{outcome.status}, idempotency key at work")
            pause = min(2 * pause, _CAP)

    def _judged(self, outcome: Outcome) -> str | None:
        judge = self.judge or partial(key_responses.interpret_key_response, self.header)
        return judge(outcome.status, outcome.headers, outcome.body)

    # The record.

    def _recorded(self, record: Record, call: Call, proceed: Proceed) -> Flow:
        """Run the call unless its key says otherwise, and keep what came of it."""
        place = self.place(call.origin, call.tenant, call.key)
        url = _digest(call.url)
        verdict = yield from self._begun(record, call, place, Begin(call.content, url, self.supported))
        if isinstance(verdict, Outcome):
            return verdict
        seen = _Seen()
        watched = partial(_watched, record, place, verdict.lease, seen, proceed)
        outcome = yield from self._asked(call, watched)
        written = yield TryDecide((Event(record, place, self._over(record, call, url, verdict.lease, seen, outcome)),))
        yield Release((), ())  # of the lease, which has ended with what was just told, or ends by itself
        return outcome if written else _unwritten(call, seen, outcome)

    def _begun(self, record: Record, call: Call, place: str, begin: Begin) -> Generator[Effect, Any, Run | Outcome]:
        """Return the right to run, or how the call ends without."""
        waited, look = 0.0, _FIRST_LOOK
        patience = self.max_wait if call.deadline is None else min(self.max_wait, call.deadline - call.started)
        while True:
            (verdict,) = yield Acquire((Event(record, place, begin),))
            if type(verdict) is Run:
                return verdict
            yield Release((), ())
            if type(verdict) is not KeyInUse:
                return self._ended(call, verdict, waited)
            if waited + look > patience:
                return _barred(
                    IdempotencyError(
                        f"{call.method} {call.host}: another call with the same idempotency key is under way, and was "
                        f"not over after {waited:.3g} s; nothing was sent, call again later",
                        host=call.host,
                        retry_after=verdict.seconds,
                        reason="under way",
                    )
                )
            waited += yield Sleep(look / 2, look, "idempotency key: another call is under way")
            look = min(look * 1.5, _LAST_LOOK)

    def _ended(self, call: Call, verdict: Any, waited: float) -> Outcome:
        """Return how a call ends that must not be sent."""
        what = f"{call.method} {call.host}: not sent, "
        if type(verdict) is Stored:
            status, named, body = verdict.answer
            told = Headers((*named, (REPLAYED_HEADERS[0], "true")))
            now = call.started + waited
            note = "the stored answer of an earlier call with the same idempotency key"
            return Outcome(status=status, headers=told, started=now, now=now, body=body or b"", note=note)
        if type(verdict) is Doubtful:
            message = (
                f"{what}a request with the same idempotency key left {verdict.seconds:.0f} s ago and may have arrived; "
                "find out whether it was done, and tell by operation(url, key).resolve(done=...)"
            )
            error: IdempotencyError = InDoubtError(
                message, key=call.key, since=verdict.seconds, host=call.host, reason="in doubt"
            )
        elif type(verdict) is Different:
            message = f"{what}its idempotency key belongs to another request; give each operation a key of its own"
            error = IdempotencyConflictError(message, host=call.host, reason="another request")
        else:
            message = f"{what}the operation of its idempotency key is done, and its answer cannot be given again"
            error = IdempotencyConflictError(message, host=call.host, reason="duplicate")
        return _barred(error)

    def _over(self, record: Record, call: Call, url: str, lease: int, seen: _Seen, outcome: Outcome) -> Any:
        """Return what to tell the record of how a run has ended."""
        heard = seen.has_heard(outcome)
        if heard and outcome.status in _ELSEWHERE:
            return Moved(lease, seen.doubtful)
        if heard and 200 <= outcome.status < 400:
            return Done(lease, call.content, url, _answer(outcome, record.max_body))
        at_work = heard and outcome.status >= 400 and self._judged(outcome) == AT_WORK
        return Doubt(lease) if seen.doubtful or at_work else Unsent(lease)


def _watched(record: Record, place: str, lease: int, seen: _Seen, proceed: Proceed, call: Call) -> Flow:
    """Run the call, mark the record before all that is sent, and note what may have been processed."""
    flow, answer = proceed(call), None
    sending = Decide((Event(record, place, Sending(lease, call.content, _digest(call.url))),))
    try:
        while True:
            effect = flow.send(answer)
            if type(effect) is Send or type(effect) is Race:
                (granted,) = yield sending
                answer = seen.last = (yield effect) if granted else _late(call)
                if _race_doubtful(answer) if type(effect) is Race else _doubtful(answer):
                    seen.doubtful = True
            else:
                answer = yield effect
    except StopIteration as end:
        outcome: Outcome = end.value
        return outcome
    finally:
        flow.close()


def _answer(outcome: Outcome, longest: int) -> RecordedResponse:
    """Return what is kept of an answer; of a redirect nobody wants the body."""
    body = b"" if outcome.status == 204 or outcome.status >= 300 else outcome.body
    if body is not None and len(body) > longest:
        body = None
    return RecordedResponse(outcome.status, lasting(outcome.headers), body)


def _race_doubtful(outcome: Outcome) -> bool:
    """Tell whether any attempt of a race may have been processed; an answer may hide what the others came to."""
    return outcome.failure is None or outcome.failure.sent


def _doubtful(outcome: Outcome) -> bool:
    """Tell whether a server may have processed a request although it did not say so."""
    if outcome.failure is not None:
        return outcome.failure.sent
    if outcome.status == 503:
        return headers.retry_after(outcome.headers, outcome.wall) is None
    return outcome.status >= 500 or outcome.status in _UNKNOWN


def _unwritten(call: Call, seen: _Seen, outcome: Outcome) -> Outcome:
    """Return how a call ends whose record could not be told: with its answer, or else not without a word of that."""
    if outcome.failure is None or not seen.doubtful or isinstance(outcome.error, IdempotencyError):
        return noted(
            outcome, "the store could not write down what came of it; its record is in doubt when its lease ends"
        )
    error = IdempotencyError(
        f"{call.method} {call.host}: the request was sent and not answered ({outcome.failure.name}), and the store "
        "could not write that down; its record is in doubt once the lease is over: find out whether it was done",
        host=call.host,
        reason="in doubt, not written",
    )
    error.__cause__ = outcome.error
    return outcome._replace(error=error)


def _late(call: Call) -> Outcome:
    error = IdempotencyError(
        f"{call.method} {call.host}: not sent, the call took longer than the lease of its record, and another one with "
        "the same idempotency key has taken over; call again, or allow a longer lease",
        host=call.host,
        reason="lease lost",
    )
    return _barred(error)


def _refused(call: Call, outcome: Outcome) -> Outcome:
    error = IdempotencyConflictError(
        f"{call.method} {call.host}: {outcome.status}, the server refuses the idempotency key; if it was used for "
        "another request give this one a key of its own, else see `response` for the form that it wants",
        response=outcome.response,
        host=call.host,
        reason="refused",
    )
    return outcome._replace(error=error, failure=UNCLASSIFIED)


def _barred(error: Exception) -> Outcome:
    return Outcome(error=error, failure=NOT_SENT)


def _without_secrets(call: Call, proceed: Proceed) -> tuple[Call, Proceed]:
    """Return the call as the record is to know it, without credentials in its query, and what sends it with them."""
    if not call.secret_parameters:
        return call, proceed
    url = without_parameters(call.url, call.secret_parameters)
    return call._replace(url=url), lambda known: proceed(known._replace(url=call.url))


def _digest(url: str) -> str:
    return sha256(url.partition("#")[0].encode("utf-8", "surrogatepass")).hexdigest()[:32]
