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

**The record**, if there is one, is kept by a run around the attempts; see
`polvo_adapters.policies.idempotency.recorded_run`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias, Union

from polvo_adapters.core import validate
from polvo_adapters.core.answer import Answer
from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Flow, Proceed, Sleep
from polvo_adapters.core.judgement import is_replayed, verdict_of
from polvo_adapters.core.judges import FormerKeyJudge, Judge, adapt, add_judges, ask_judge
from polvo_adapters.core.keywords import explain_arguments
from polvo_adapters.core.notices import Notice
from polvo_adapters.core.outcomes import Outcome
from polvo_adapters.core.state_keys import of_tenant, without_parameters
from polvo_adapters.policies.idempotency.key_responses import AT_WORK, KEY_REFUSED, interpret_key_response
from polvo_adapters.policies.idempotency.record import Record
from polvo_adapters.policies.idempotency.recorded_run import RecordedRun, digest_for_store
from polvo_adapters.policies.idempotency.refusals import report_refused_key
from polvo_adapters.policies.outcomes import end_call, keep_last_sent

Strategy: TypeAlias = Union[Literal["unique", "hash"], Callable[[Any], Union[str, None]]]  # noqa: UP007 - at import

_BASE, _CAP = 0.5, 8.0  # seconds between questions to a server that is at work
_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


@explain_arguments
@dataclass(frozen=True)
class IdempotencyKeys:
    """Keys of calls, each the same for all attempts of its call.

    Args:
        strategy: "unique" for a random UUID per logical call; "hash" for a digest of tenant, method, URL and body, by
            which equal requests are one operation; or a function that takes the request and returns a key, or None for
            a request that gets none.
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

    def is_replayed(self, headers: Mapping[str, str]) -> bool:
        """Return whether the headers of a response say that the server replays it."""
        return is_replayed(headers)

    def store_key(self, url_origin: str, tenant: str, key: str, caller: str = "") -> str:
        """Return the key of a record in the store: a digest, as idempotency keys may name customers.

        Args:
            url_origin: Origin of the server.
            tenant: Name of the tenant, or an empty string.
            key: The idempotency key.
            caller: Digest of the caller, to whom the key belongs, or an empty string.
        """
        whose = f" of {caller}" if caller else ""
        return f"idempotency key {digest_for_store(key)} at {url_origin}{whose}{of_tenant(tenant)}"

    def flow(self, call: Call, proceed: Proceed) -> Flow:
        """Run the call; see the drawing of this module."""
        if not call.key:
            return proceed(call)
        if self.supported and not call.idempotent:
            call = call._replace(idempotent=True)
        call = add_judges(call, self.judges)
        if not isinstance(self.record, Record):
            return self._run(call, proceed)
        call, send_whole = _remove_secrets(call, proceed)
        key = self.store_key(call.origin, call.tenant, call.key, call.credential)
        recorded = RecordedRun(self.record, key, call, self._read_key_response)
        return recorded.flow(partial(self._run, proceed=send_whole), self.max_wait, can_ask=self.supported)

    def _run(self, call: Call, proceed: Proceed) -> Flow:
        """Run the call, and again while the server is at work on an earlier request with its key."""
        pause = _BASE
        before: Outcome | None = None
        while True:
            outcome = yield from proceed(call)
            kept = keep_last_sent(outcome, before)
            if kept is not None:
                return kept
            if outcome.status < 400 or outcome.failure is not None:
                return outcome
            verdict = self._read_key_response(call, outcome)
            if verdict is None:
                return outcome
            if verdict != AT_WORK:
                return report_refused_key(call, outcome)
            wait = self._plan_wait(call, outcome, pause)
            if wait is None:
                note = "an earlier request with the same idempotency key is still at work"
                return end_call(outcome, "idempotency", note)
            yield wait
            before, pause = outcome, min(2 * pause, _CAP)

    def _plan_wait(self, call: Call, outcome: Outcome, pause: float) -> Sleep | None:
        """Return the wait for a server that is at work, or None if the call has no time for it, or no second body."""
        delay = verdict_of(call, outcome).retry_after
        low, high = (pause / 2, pause) if delay is None else (delay, delay + _BASE)
        ends = call.started + self.max_wait
        if call.deadline is not None:
            ends = min(ends, call.deadline)
        if call.is_one_shot or outcome.now + low >= ends:
            return None
        notice = Notice("idempotency", call, status=outcome.status)
        return Sleep(low, min(high, ends - outcome.now), f"{outcome.status}, idempotency key at work", notice)

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


def _remove_secrets(call: Call, proceed: Proceed) -> tuple[Call, Proceed]:
    """Return the call without credentials in its query, for the record, and the function that sends it with them."""
    if not call.secret_parameters:
        return call, proceed
    url = without_parameters(call.url, call.secret_parameters)
    return call._replace(url=url), lambda known: proceed(known._replace(url=call.url))
