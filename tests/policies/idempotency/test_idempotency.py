"""Idempotency keys, stepped by hand: what is asked again, what is refused, and what the record is told."""

from __future__ import annotations

from typing import Any

import pytest

from polvo_adapters.core.answer import Answer
from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Acquire, Decide, Race, Release, Send, Sleep, TryDecide, compose, send_once
from polvo_adapters.core.outcomes import CONNECT, DISCONNECTED, NOT_SENT, READ_TIMEOUT, Failure, Outcome
from polvo_adapters.errors import IdempotencyConflictError, IdempotencyError, InDoubtError
from polvo_adapters.policies.idempotency import IdempotencyKeys
from polvo_adapters.policies.idempotency.key_responses import interpret_key_response
from polvo_adapters.policies.idempotency.policy import Record
from polvo_adapters.policies.idempotency.record import LookAtKey, RecordedResponse, RecordState
from polvo_adapters.policies.request_ids import RequestIDs
from polvo_adapters.policies.retry import ExponentialBackoff
from polvo_adapters.policies.stack import standard
from polvo_adapters.stores.memory import MemoryStore
from tests.support.flow_stepper import UNSENT

CALL = Call("POST", "https://api.example.com/orders?shop=1", body="replayable", key="order-1", content="content")
AT_WORK = b'{"title": "A request is outstanding for this Idempotency-Key"}'
USED = b'{"error": {"type": "idempotency_error", "message": "Keys can only be used with the same parameters"}}'


def answered(status: int, body: bytes | None = b"", now: float = 1.0, **headers: str) -> Outcome:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Outcome(f"response {status}", status, named, now=now, wall=1.7e9 + now, body=body)


def failed(failure: Failure, now: float = 1.0) -> Outcome:
    return Outcome(error=OSError(failure.name), failure=failure, now=now, unsent=failure in UNSENT)


class World:
    """Drives flows with a store, and with a clock that only waits move."""

    def __init__(self, *policies: Any) -> None:
        self.policies = policies
        self.proceed = compose(policies)
        self.now = 0.0
        self.store = MemoryStore(now=lambda: self.now)
        self.sent: list[Call] = []
        self.waits: list[tuple[float, float, str]] = []
        self.states: list[str] = []

    def run(self, *turns: Outcome, call: Call = CALL, until: int = 1000) -> Outcome | None:
        """Return how a call ends, or None where it is broken off before the n-th effect."""
        flow, answer, left = self.proceed(call._replace(started=self.now)), None, list(turns)
        for _ in range(until):
            try:
                effect = flow.send(answer)
            except StopIteration as end:
                outcome: Outcome = end.value
                return outcome
            answer = self.perform(effect, left)
        flow.close()
        return None

    def perform(self, effect: Any, left: list[Outcome]) -> Any:
        if type(effect) is Send or type(effect) is Race:
            self.sent.append(getattr(effect, "call", CALL))
            self.states.append(self.state)
            outcome = left.pop(0) if len(left) > 1 else left[0]
            self.now += outcome.now
            return outcome._replace(now=self.now)
        if type(effect) is Sleep:
            self.waits.append((effect.low, effect.high, effect.reason))
            self.now += effect.high
            return effect.high
        if type(effect) in (Decide, Acquire):
            return self.store.decide(effect.events)
        if type(effect) is TryDecide:
            return self.store.decide(effect.events) == (True,)
        assert effect == Release((), ())
        return None

    @property
    def known(self) -> RecordState:
        keys = next(policy for policy in self.policies if isinstance(policy, IdempotencyKeys))
        if not isinstance(keys.record, Record):
            return RecordState()
        place = keys.store_key(CALL.origin, "", "order-1")
        state: RecordState = keys.record.transition(
            self.store._states.get(place, RecordState()), LookAtKey(), self.now
        )[0]
        return state

    @property
    def state(self) -> str:
        return self.known.phase


# Calls without a key, and with one.


def test_a_call_without_a_key_is_as_if_there_were_no_policy() -> None:
    world = World(IdempotencyKeys(record=True))
    bare = Call("POST", CALL.url)
    assert world.run(answered(409, AT_WORK), call=bare) == answered(409, AT_WORK)
    assert world.sent == [bare]
    assert len(world.store) == 0


@pytest.mark.parametrize("supported", [True, False])
def test_a_key_makes_a_call_idempotent_where_the_server_honours_it(supported: bool) -> None:
    world = World(IdempotencyKeys(supported=supported), ExponentialBackoff(budget=None))
    outcome = world.run(failed(DISCONNECTED), answered(201))
    assert outcome is not None
    assert outcome.status == (201 if supported else 0)
    assert [call.key for call in world.sent] == ["order-1"] * (2 if supported else 1)
    assert [call.idempotent for call in world.sent] == [supported] * len(world.sent)


# Answers about the key.


def test_while_the_first_is_at_work_it_is_asked_again_with_the_same_key() -> None:
    world = World(IdempotencyKeys())
    outcome = world.run(*[answered(409, AT_WORK)] * 3, answered(201))
    assert outcome is not None
    assert outcome.status == 201
    assert {call.key for call in world.sent} == {"order-1"}
    assert world.waits == [
        (0.25, 0.5, "409, idempotency key at work"),
        (0.5, 1.0, "409, idempotency key at work"),
        (1.0, 2.0, "409, idempotency key at work"),
    ]


def test_the_pause_grows_up_to_a_bound() -> None:
    world = World(IdempotencyKeys(max_wait=1000))
    world.run(*[answered(409, AT_WORK)] * 7, answered(201))
    assert [high for _, high, _ in world.waits] == [0.5, 1, 2, 4, 8, 8, 8]


def test_retry_after_is_obeyed() -> None:
    world = World(IdempotencyKeys())
    world.run(answered(409, retry_after="7"), answered(201))
    assert world.waits == [(7, 7.5, "409, idempotency key at work")]


def test_no_wait_goes_beyond_the_patience() -> None:
    world = World(IdempotencyKeys(max_wait=5.25))
    world.run(answered(409, retry_after="4"), answered(201))
    assert world.waits == [(4, 4.25, "409, idempotency key at work")]


@pytest.mark.parametrize(("settings", "deadline"), [({"max_wait": 3}, None), ({}, 3.0)])
def test_patience_ends(settings: dict[str, Any], deadline: float | None) -> None:
    world = World(IdempotencyKeys(**settings))
    outcome = world.run(answered(409, AT_WORK, now=0.5), call=CALL._replace(deadline=deadline))
    assert outcome is not None
    assert (outcome.status, outcome.error) == (409, None)
    assert outcome.note == "an earlier request with the same idempotency key is still at work"
    assert world.now <= 3.5
    assert len(world.sent) == 3


def test_a_body_that_can_be_read_once_is_not_sent_again() -> None:
    world = World(IdempotencyKeys())
    outcome = world.run(answered(409, AT_WORK), call=CALL._replace(body="once"))
    assert outcome is not None
    assert (outcome.status, len(world.sent)) == (409, 1)


@pytest.mark.parametrize("status", [400, 409, 417, 422])
def test_a_refused_key_is_an_error_and_never_sent_again(status: int) -> None:
    world = World(IdempotencyKeys(), ExponentialBackoff(retry_on={status}, max_attempts=1))
    body = b"Idempotency-Key was already used" if status == 409 else USED
    outcome = world.run(answered(status, body))
    assert outcome is not None
    error = outcome.error
    assert isinstance(error, IdempotencyConflictError)
    assert (error.response, error.reason, error.host) == (f"response {status}", "refused", "api.example.com")
    assert "order-1" not in str(error)
    assert "parameters" not in str(error)
    assert len(world.sent) == 1


@pytest.mark.parametrize(
    ("status", "body", "headers", "verdict"),
    [
        (409, AT_WORK, {}, "at work"),
        (409, b'{"error": {"code": "idempotency_key_in_use"}}', {}, "at work"),
        (409, b"<pre>Error: A previous request is still in progress for this key.</pre>", {}, "at work"),
        (409, b"", {"retry-after": "1"}, "at work"),
        (409, b'{"code": "IDEMPOTENCY"}', {}, "at work"),
        (409, b'{"reason": "idempotent_creation_conflict"}', {}, "key refused"),
        (409, b'{"detail": "the name is taken"}', {}, None),
        (409, b"", {}, None),
        (409, None, {}, None),
        (422, b'{"title": "Idempotency-Key is already used"}', {}, "key refused"),
        (422, b'{"error": "key reused with another payload"}', {}, "key refused"),
        (422, b'{"detail": "amount: must be positive"}', {}, None),
        (422, b'{"detail": "key: field required"}', {}, None),
        (422, None, {}, None),
        (400, b'{"title": "Idempotency-Key is missing"}', {}, "key refused"),
        (400, b'{"errors": [{"code": "IDEMPOTENCY_KEY_REUSED"}]}', {}, "key refused"),
        (400, b"PAYPAL-REQUEST-ID is too long", {}, "key refused"),
        (400, b"bad request", {}, None),
        (400, b" " * 8192 + b"idempotency", {}, None),
        (417, b"", {}, "key refused"),
        (403, USED, {}, None),
        (500, USED, {}, None),
        (200, USED, {}, None),
    ],
)
def test_which_answers_are_about_the_key(status: int, body: bytes | None, headers: Any, verdict: str | None) -> None:
    assert interpret_key_response("PayPal-Request-Id", status, headers, body) == verdict


def test_a_judge_of_ones_own() -> None:
    seen: list[tuple[int, bytes | None]] = []

    def judge(answer: Answer) -> Any:
        seen.append((answer.status, answer.body))
        return {425: "at work", 460: "key refused"}.get(answer.status)

    world = World(IdempotencyKeys(judge=judge))
    outcome = world.run(
        *(each._replace(judged=[]) for each in (answered(425, b"wait"), answered(409, AT_WORK), answered(201)))
    )
    assert outcome is not None
    assert (outcome.status, seen) == (201, [(425, b"wait"), (409, AT_WORK)])
    outcome = world.run(answered(460))
    assert outcome is not None
    assert isinstance(outcome.error, IdempotencyConflictError)


def test_a_judge_in_the_form_of_before_decides_alone() -> None:
    seen: list[tuple[int, bytes | None]] = []

    def judge(status: int, headers: Any, body: bytes | None) -> str | None:
        seen.append((status, body))
        return {425: "at work", 460: "refused"}.get(status)

    world = World(IdempotencyKeys(judge=judge))  # type: ignore[arg-type]  # as it was
    outcome = world.run(answered(425, b"wait"), answered(409, AT_WORK))
    assert outcome is not None
    assert (outcome.status, seen) == (409, [(425, b"wait"), (409, AT_WORK)])
    outcome = world.run(answered(460))
    assert outcome is not None
    assert isinstance(outcome.error, IdempotencyConflictError)


# The record.


def recorded(**settings: Any) -> World:
    return World(IdempotencyKeys(supported=False, max_wait=5, record=Record(lease=10, ttl=1000, **settings)))


def test_the_record_is_marked_before_the_request_leaves() -> None:
    world = recorded()
    world.run(answered(201))
    assert world.states == ["sending"]
    assert world.state == "done"
    world = recorded()
    assert world.run(answered(201), until=2) is None
    assert (world.state, world.sent) == ("sending", [])
    world = recorded()
    assert world.run(answered(201), until=1) is None
    assert world.state == "begun"


@pytest.mark.parametrize(
    ("turn", "state"),
    [
        (answered(200), "done"),
        (answered(204), "done"),
        (answered(303), "done"),
        (answered(307), "moved"),
        (answered(308), "moved"),
        (answered(400), "not sent"),
        (answered(401), "not sent"),
        (answered(429), "not sent"),
        (answered(503, retry_after="9"), "not sent"),
        (failed(CONNECT), "not sent"),
        (answered(408), "in doubt"),
        (answered(499), "in doubt"),
        (answered(500), "in doubt"),
        (answered(503), "in doubt"),
        (failed(DISCONNECTED), "in doubt"),
        (failed(READ_TIMEOUT), "in doubt"),
        (answered(409, AT_WORK, now=9), "in doubt"),
        (answered(409), "not sent"),
        (answered(422, USED), "not sent"),
    ],
)
def test_what_the_record_says_of_an_end(turn: Outcome, state: str) -> None:
    world = recorded()
    assert world.run(turn) is not None
    assert world.state == state


@pytest.mark.parametrize("last", [answered(401), answered(429), failed(CONNECT), answered(307)])
def test_a_harmless_end_does_not_undo_a_lost_answer_before_it(last: Outcome) -> None:
    keys = IdempotencyKeys(supported=False, record=Record(lease=10))
    world = World(keys, ExponentialBackoff(budget=None, methods=None, max_attempts=2, retry_on=(429,)))
    assert world.run(failed(DISCONNECTED), last) is not None
    assert len(world.sent) == 2
    assert world.state == "in doubt"


@pytest.mark.parametrize(
    ("outcome", "state"), [(answered(429), "in doubt"), (failed(CONNECT), "not sent"), (answered(201), "done")]
)
def test_an_answer_may_hide_what_the_rest_of_a_race_came_to(outcome: Outcome, state: str) -> None:
    class Racing:
        def flow(self, call: Call, proceed: Any) -> Any:
            result: Outcome = yield Race(proceed(call))
            return result

    world = World(IdempotencyKeys(supported=False, record=True), Racing())
    world.run(outcome)
    assert (world.states, world.state) == (["sending"], state)


def test_a_later_call_gets_the_stored_answer() -> None:
    world = recorded()
    world.run(answered(201, b"made", content_type="text/plain", set_cookie="a=b", date="today"))
    outcome = world.run(failed(CONNECT))
    assert outcome is not None
    assert (outcome.response, outcome.status, outcome.body) == (None, 201, b"made")
    named = {"content-type": "text/plain", "date": "today", "Idempotency-Replayed": "true"}
    assert dict(outcome.headers) == named
    assert outcome.note == "the stored response of an earlier call with the same idempotency key"
    assert IdempotencyKeys().is_replayed(outcome.headers)
    assert len(world.sent) == 1


@pytest.mark.parametrize(("status", "body", "kept"), [(200, b"1234", b"1234"), (200, b"12345", None), (303, None, b"")])
def test_bodies_are_kept_within_bounds(status: int, body: bytes | None, kept: bytes | None) -> None:
    world = recorded(max_body=4)
    world.run(answered(status, body))
    assert world.known.response == RecordedResponse(status, (), kept)
    outcome = world.run(answered(200))
    assert outcome is not None
    assert isinstance(outcome.error, IdempotencyConflictError) is (kept is None)
    assert len(world.sent) == 1


def test_duplicates_can_be_errors() -> None:
    world = recorded(on_duplicate="raise")
    world.run(answered(201))
    outcome = world.run(answered(201))
    assert outcome is not None
    assert isinstance(outcome.error, IdempotencyConflictError)
    assert (outcome.failure, outcome.error.reason) == (NOT_SENT, "duplicate")


def test_another_request_with_the_key_is_not_sent() -> None:
    world = recorded()
    world.run(answered(201))
    for other in (CALL._replace(content="other"), CALL._replace(url=CALL.url + "2")):
        outcome = world.run(answered(201), call=other)
        assert outcome is not None
        assert isinstance(outcome.error, IdempotencyConflictError)
        assert outcome.error.reason == "another request"
    assert len(world.sent) == 1


@pytest.mark.parametrize("other", [CALL._replace(tenant="acme"), CALL._replace(url="https://other.example/orders")])
def test_tenants_and_servers_have_keys_of_their_own(other: Call) -> None:
    world = recorded()
    world.run(answered(201))
    outcome = world.run(answered(202), call=other)
    assert outcome is not None
    assert outcome.status == 202


def test_in_doubt_is_an_error_where_the_server_knows_no_keys() -> None:
    world = recorded()
    world.run(failed(READ_TIMEOUT, now=2))
    world.now += 7
    outcome = world.run(answered(201))
    assert outcome is not None
    error = outcome.error
    assert isinstance(error, InDoubtError)
    assert (error.key, error.since, error.reason, outcome.failure) == ("order-1", 9, "in doubt", NOT_SENT)
    assert "left 9 s ago" in str(error)
    assert "order-1" not in str(error)
    assert len(world.sent) == 1


def test_in_doubt_is_resolved_by_asking_where_the_server_knows_keys() -> None:
    world = World(IdempotencyKeys(record=Record(lease=10)))
    world.run(failed(READ_TIMEOUT))
    assert world.state == "in doubt"
    world.run(failed(CONNECT))
    assert world.state == "in doubt"
    world.run(answered(429))
    assert world.state == "in doubt"
    outcome = world.run(answered(201))
    assert outcome is not None
    assert (outcome.status, world.state, len(world.sent)) == (201, "done", 4)


def test_a_call_waits_for_the_one_that_is_at_it() -> None:
    world = recorded()
    world.run(answered(201), until=2)
    outcome = world.run(answered(201))
    assert outcome is not None
    assert type(outcome.error) is IdempotencyError
    assert (outcome.error.reason, outcome.failure) == ("under way", NOT_SENT)
    assert outcome.error.retry_after == pytest.approx(10 - world.now)
    assert 4.7 < world.now <= 5
    assert [high for _, high, _ in world.waits][:3] == pytest.approx([0.02, 0.03, 0.045])
    assert max(high for _, high, _ in world.waits) == 0.25
    assert world.sent == []


def test_a_deadline_bounds_that_wait_as_well() -> None:
    world = recorded()
    world.run(answered(201), until=2)
    world.run(answered(201), call=CALL._replace(deadline=1.0))
    assert world.now <= 1


def test_what_a_dead_caller_did_not_send_is_sent() -> None:
    world = recorded()
    world.run(answered(201), until=1)
    world.now += 10
    outcome = world.run(answered(201))
    assert outcome is not None
    assert (outcome.status, world.state) == (201, "done")


def test_what_a_dead_caller_sent_is_in_doubt() -> None:
    world = recorded()
    world.run(answered(201), until=2)
    world.now += 10
    outcome = world.run(answered(201))
    assert outcome is not None
    assert isinstance(outcome.error, InDoubtError)


def test_a_signed_request_that_was_sent_late_is_known_under_another_signature() -> None:
    keys = IdempotencyKeys(supported=False, record=Record(lease=10))
    world = World(keys)
    first, second = (CALL._replace(url=f"{CALL.url}&X-Amz-Signature={text}") for text in ("one", "two"))
    slow = world.proceed(first)
    effect: Any = next(slow)
    effect = slow.send(world.store.decide(effect.events))
    world.now += 11
    world.store.decide(effect.events)
    slow.close()
    world.now += 11
    outcome = world.run(answered(201), call=second)
    assert outcome is not None
    assert isinstance(outcome.error, InDoubtError)


def test_who_has_lost_the_lease_sends_nothing() -> None:
    keys = IdempotencyKeys(supported=False, record=Record(lease=10))
    world = World(keys)
    slow = world.proceed(CALL)
    effect: Any = next(slow)
    effect = slow.send(world.store.decide(effect.events))
    world.now += 11
    world.run(answered(201))
    assert world.state == "done"
    answer: Any = world.store.decide(effect.events)
    while True:
        try:
            effect = slow.send(answer)
        except StopIteration as end:
            outcome: Outcome = end.value
            break
        answer = world.perform(effect, [answered(500)])
    assert isinstance(outcome.error, IdempotencyError)
    assert (outcome.error.reason, outcome.failure, len(world.sent)) == ("lease lost", NOT_SENT, 1)
    assert world.state == "done"


def test_a_redirect_to_another_url_is_the_same_operation() -> None:
    world = recorded()
    there = CALL._replace(url="https://api.example.com/v2/orders")
    world.run(answered(307))
    world.run(failed(READ_TIMEOUT), call=there)
    for call in (CALL, there):
        outcome = world.run(answered(201), call=call)
        assert outcome is not None
        assert isinstance(outcome.error, InDoubtError)
    assert len(world.sent) == 2


def test_keys_are_not_kept_in_plain_text() -> None:
    world = recorded()
    world.run(answered(201))
    assert "order-1" not in repr(world.store._states)


# Settings.


@pytest.mark.parametrize(
    "wrong",
    [
        {"strategy": "random"},
        {"header": "Idempotency Key"},
        {"header": ""},
        {"style": "quoted"},
        {"methods": None},
        {"methods": "POST"},
        {"max_length": 0},
        {"max_wait": -1},
        {"judge": "stripe"},
        {"record": "yes"},
    ],
)
def test_settings_that_cannot_work(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        IdempotencyKeys(**wrong)


def test_the_standard_stack() -> None:
    assert standard(idempotency=True, retry=False) == (IdempotencyKeys(),)
    assert standard(idempotency="hash", retry=False) == (IdempotencyKeys("hash"),)
    assert standard(idempotency={"record": True}, retry=False)[0] == IdempotencyKeys(record=Record())
    assert standard(idempotency=False, request_id=None, retry=False) == ()
    assert standard(idempotency=True, deadline=5, retry=False)[0] == IdempotencyKeys(max_wait=5)
    assert standard(idempotency=True, deadline=90, retry=False)[0] == IdempotencyKeys(max_wait=60)
    assert standard(request_id=True, idempotency=True, retry=False) == (RequestIDs(), IdempotencyKeys())
    assert standard(request_id="X-Trace", retry=False) == (RequestIDs("X-Trace"),)
    for wrong in ({"idempotency": "random"}, {"idempotency": 5}, {"request_id": 5}):
        with pytest.raises(TypeError, match=next(iter(wrong))):
            standard(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [{"header": "X Request"}, {"header": ""}, {"correlation_header": None}])
def test_ids_need_headers(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        RequestIDs(**wrong)


def test_ids_change_nothing_in_the_flow() -> None:
    assert next(RequestIDs().flow(CALL, send_once)) == Send(CALL)
