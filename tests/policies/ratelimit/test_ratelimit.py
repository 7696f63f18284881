"""The flow of a rate limit, and the configured rates, stepped by hand."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polvo_adapters.core.answer import Answer
from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Acquire, Effect, Policy, Release, Send, Sleep, TryDecide, compose
from polvo_adapters.core.notices import Notice
from polvo_adapters.core.outcomes import DISCONNECTED, NOT_SENT, Outcome
from polvo_adapters.errors import DeadlineExceeded, RateLimitDeadlineExceeded, RateLimitError
from polvo_adapters.headers import Quota, Throttled
from polvo_adapters.policies.deadline import Deadline
from polvo_adapters.policies.ratelimit import AdaptiveRateLimit, RateLimit, SlidingWindow, TokenBucket
from polvo_adapters.policies.ratelimit.turns import Turn, TurnRequest, TurnResult
from polvo_adapters.policies.retry import ExponentialBackoff
from polvo_adapters.stores import MemoryStore
from polvo_adapters.testing.virtual_clock import VirtualClock
from tests.support.flow_stepper import URL, answered, failed

GET = Call("GET", URL)
SLOW = TokenBucket(rate=0.5, capacity=1)
DRAFT = {"RateLimit-Policy": '"default";q=50;w=10', "RateLimit": '"default";r=49;t=7'}


class Run:
    """Steps flows on a real store and a virtual clock, and records their effects."""

    def __init__(self, *policies: Policy) -> None:
        self.proceed = compose(policies)
        self.clock = VirtualClock()
        self.store = MemoryStore(now=self.clock.now)
        self.effects: list[Effect] = []
        self.admissions: list[Any] = []

    def call(self, *outcomes: Outcome, call: Call = GET) -> Outcome:
        """Return how a call ends when its attempts end like this, the last one again and again."""
        flow, answer, turns = self.proceed(call), None, list(outcomes or [answered()])
        self.effects, self.admissions = [], []
        for _ in range(1000):
            try:
                effect = flow.send(answer)
            except StopIteration as end:
                outcome: Outcome = end.value
                return outcome
            self.effects.append(effect)
            answer = self.perform(effect, turns)
        raise AssertionError("the flow does not end")

    def perform(self, effect: Effect, turns: list[Outcome]) -> Any:
        if type(effect) is Release:
            assert (effect.events, effect.broken) == ((), ()), "there is nothing to be told"
            return None
        if type(effect) in (Acquire, TryDecide):
            verdicts = self.store.decide(effect.events)
            self.admissions += verdicts
            return verdicts
        if type(effect) is Sleep:
            self.clock.sleep(effect.high)
            return effect.high
        turn = turns.pop(0) if len(turns) > 1 else turns[0]
        now = self.clock.now()
        return turn._replace(started=now, now=now, wall=self.clock.wall())

    @property
    def kinds(self) -> list[str]:
        return [type(effect).__name__ for effect in self.effects]

    @property
    def sleeps(self) -> list[Sleep]:
        return [effect for effect in self.effects if type(effect) is Sleep]

    @property
    def sent(self) -> int:
        return sum(type(effect) is Send for effect in self.effects)

    @property
    def events(self) -> list[Any]:
        return [event for effect in self.effects if type(effect) in (Acquire, TryDecide) for event in effect.events]


# The flow -------------------------------------------------------------------------------------------------------------


def test_a_call_whose_turn_it_is_goes_at_once() -> None:
    run = Run(SLOW)
    assert run.call().status == 200
    assert run.kinds == ["Acquire", "Send", "Release"]


def test_a_call_whose_turn_it_is_not_waits_and_asks_again() -> None:
    run = Run(SLOW)
    run.call()
    assert run.call().status == 200
    assert run.kinds == ["Acquire", "Sleep", "Release", "Acquire", "Send", "Release"]
    assert [sleep[:3] for sleep in run.sleeps] == [(2.0, 2.0, "rate limit of 0.5 per second")]


def test_asking_again_shows_ticket_and_tries_of_the_turn_and_how_much_of_the_spread_was_waited() -> None:
    flow = SLOW.flow(GET, compose([]))
    first: Any = next(flow)
    sleep: Any = flow.send((Turn(wait=1.0, spread=0.5, ticket=7, tries=1, reason="because"),))
    assert type(flow.send(1.25)) is Release
    second: Any = next(flow)
    assert first.events[0].event == TurnRequest("GET orders", -1, 0, 60.0, None)
    assert sleep == Sleep(1.0, 1.5, "because", Notice("ratelimit", GET))
    assert second.events[0].event == TurnRequest("GET orders", 7, 1, 60.0, None, 0.5, 1.25, "", "")


def test_a_call_that_waited_waits_on_when_a_refusal_came_in_between() -> None:
    run = Run(SLOW)
    run.call()
    flow = run.proceed(GET)
    asked: Any = next(flow)
    flow.send(run.store.decide(asked.events))
    run.call(answered(429, Retry_After="5"), call=GET)
    now = run.clock.now()
    flow.send(1.0)
    again: Any = next(flow)
    (admission,) = run.store.decide(again.events)
    assert (now, admission.wait) == (4.0, 5.0)


def test_a_wait_beyond_max_wait_is_an_error_at_once_and_nothing_is_sent() -> None:
    run = Run(TokenBucket(rate=0.01, capacity=1, max_wait=60))
    run.call()
    outcome = run.call()
    assert run.kinds == ["Acquire", "Release"]
    assert type(outcome.error) is RateLimitError
    assert (outcome.error.retry_after, outcome.failure) == (100.0, NOT_SENT)


def test_the_error_says_what_to_do_and_no_secret() -> None:
    run = Run(TokenBucket(rate=0.01, capacity=1, max_wait=60))
    run.call()
    assert str(run.call().error) == (
        "GET api.example.com: not sent, rate limit of 0.01 per second; its turn comes in 100 s, which is beyond "
        "max_wait, 60 s; call again after that, or allow a longer wait"
    )


def test_a_wait_of_exactly_max_wait_is_waited() -> None:
    run = Run(TokenBucket(rate=0.5, capacity=1, max_wait=2))
    run.call()
    assert run.call().status == 200


def test_no_wait_at_all_can_be_asked_for() -> None:
    run = Run(TokenBucket(rate=10, capacity=1, max_wait=0))
    assert run.call().status == 200
    assert isinstance(run.call().error, RateLimitError)


def test_a_wait_beyond_the_deadline_is_an_error_at_once() -> None:
    run = Run(SLOW)
    run.call()
    outcome = run.call(call=Call("GET", URL, deadline=2.0))
    assert run.kinds == ["Acquire", "Release"]
    assert type(outcome.error) is RateLimitDeadlineExceeded
    assert isinstance(outcome.error, DeadlineExceeded)
    assert outcome.error.retry_after == 2.0
    assert "beyond the deadline" in str(outcome.error)


def test_a_wait_within_the_deadline_is_waited() -> None:
    run = Run(SLOW)
    run.call()
    assert run.call(call=Call("GET", URL, deadline=2.1)).status == 200


def test_a_deadline_further_out_leaves_the_error_as_it_is() -> None:
    run = Run(Deadline(1), SLOW)
    run.call()
    outcome = run.call()
    assert type(outcome.error) is RateLimitDeadlineExceeded
    assert outcome.error.retry_after == 2.0


@pytest.mark.parametrize("call", [GET, Call("GET", URL, deadline=50.0)])
def test_a_refusal_to_send_is_not_retried(call: Call) -> None:
    run = Run(ExponentialBackoff(budget=None), TokenBucket(rate=0.01, capacity=1))
    run.call()
    assert isinstance(run.call(call=call).error, RateLimitError)
    assert run.kinds == ["Acquire", "Release"]


def test_every_attempt_of_a_retry_waits_for_its_turn() -> None:
    run = Run(ExponentialBackoff(jitter="none", base=0, budget=None), SLOW)
    run.call(answered(500), answered(500), answered(200))
    assert [sleep.high for sleep in run.sleeps if sleep.reason.startswith("rate limit")] == [2.0, 2.0]


def test_a_429_is_returned_as_it_is() -> None:
    run = Run(SLOW)
    outcome = run.call(answered(429, Retry_After="5"))
    assert (outcome.status, outcome.error) == (429, None)


def test_a_429_pauses_everybody_until_the_time_named() -> None:
    run = Run(TokenBucket(rate=100))
    run.call(answered(429, Retry_After="30"))
    run.call()
    assert [sleep[:3] for sleep in run.sleeps] == [(30.0, 30.0, "rate limit of 100 per second")]


def test_a_429_without_a_time_pauses_for_a_second() -> None:
    run = Run(TokenBucket(rate=100))
    run.call(answered(429))
    run.call()
    assert [sleep.low for sleep in run.sleeps] == [1.0]


def test_a_shorter_pause_does_not_end_a_longer_one() -> None:
    policy = TokenBucket(rate=100)
    state: Any = policy.initial
    for pause in (30.0, 1.0):
        state, _ = policy.transition(state, refusal(pause), 0.0)
    assert ask(policy, state, 0.0)[1].wait == 30.0


def test_configured_rates_receive_refusals_only() -> None:
    run = Run(TokenBucket(rate=100))
    run.call(answered(200, **DRAFT))
    run.call(failed(DISCONNECTED))
    assert run.kinds == ["Acquire", "Send", "Release"]


def test_the_quotas_that_were_read_are_in_the_outcome() -> None:
    outcome = Run(AdaptiveRateLimit()).call(answered(200, **DRAFT))
    assert [(quota.limit, quota.remaining, quota.reset) for quota in outcome.quotas] == [(50, 49, 7)]


def test_quotas_in_the_body_are_read_too() -> None:
    body = b'{"extensions": {"cost": {"throttleStatus": {"maximumAvailable": 1000, "currentlyAvailable": 990, "restoreRate": 50}}}}'  # noqa: E501
    outcome = Run(AdaptiveRateLimit()).call(answered()._replace(body=body))
    assert [(quota.limit, quota.remaining) for quota in outcome.quotas] == [(1000, 990)]


def test_an_outcome_without_quotas_is_the_very_same() -> None:
    outcome = answered()
    flow = AdaptiveRateLimit().flow(GET, compose([]))
    next(flow)
    flow.send((Turn(),))
    told: Any = flow.send(outcome)
    assert type(told) is TryDecide
    assert type(flow.send((Turn(),))) is Release
    with pytest.raises(StopIteration) as end:
        next(flow)
    assert end.value.value is outcome


def test_adaptive_receives_the_result_of_a_request() -> None:
    flow = AdaptiveRateLimit().flow(GET, compose([]))
    next(flow)
    flow.send((Turn(group="core", era=3),))
    told: Any = flow.send(answered(429, Retry_After="5")._replace(started=1.0, now=3.5))
    event = told.events[0].event
    assert event == TurnResult("GET orders", "core", 3, 2.5, 429, event.quotas, Throttled("rate", 5.0, (), "429"))


def test_adaptive_receives_requests_without_a_response() -> None:
    flow = AdaptiveRateLimit().flow(GET, compose([]))
    next(flow)
    flow.send((Turn(group="core", era=3),))
    told: Any = flow.send(failed(DISCONNECTED, now=2.0))
    assert told.events[0].event == TurnResult("GET orders", "core", 3, 2.0, 0, (), None)


@pytest.mark.parametrize(
    "policy",
    [
        TokenBucket(100, judge=lambda *_: Throttled("rate", 9.0)),
        AdaptiveRateLimit(judge=lambda *_: Throttled("rate", 9.0)),
    ],
)
def test_an_api_with_a_way_of_its_own_to_refuse_has_a_judge(policy: RateLimit) -> None:
    run = Run(policy)
    assert run.call(answered(200)).status == 200
    run.call()
    assert run.clock.now() >= 9.0


def test_a_judge_is_shown_the_answer() -> None:
    shown: list[Any] = []
    run = Run(TokenBucket(100, judge=lambda answer: shown.append(answer)))
    run.call(answered(418, a="b")._replace(body=b"tea"))
    assert shown == [Answer("GET", "api.example.com", 1, 418, {"a": "b"}, b"tea", "", 1_700_000_000.0)]


def test_a_judge_in_the_form_of_before_is_shown_headers_status_body_and_unix_time() -> None:
    shown: list[Any] = []
    judge: Any = lambda headers, status, body, now: shown.append((headers, status, body, now))  # noqa: E731
    run = Run(TokenBucket(100, judge=judge))
    run.call(answered(418, a="b")._replace(body=b"tea"))
    assert shown == [({"a": "b"}, 418, b"tea", 1_700_000_000.0)]


@pytest.mark.parametrize("judge", [lambda _: "served", lambda headers, status, body, now: None])
def test_a_judge_that_sees_no_refusal_is_believed(judge: Any) -> None:
    run = Run(TokenBucket(100, judge=judge))
    run.call(answered(429, Retry_After="30"))
    run.call()
    assert run.sleeps == []


@pytest.mark.parametrize("policy", [SLOW, SlidingWindow(1, 2)])
def test_every_origin_is_counted_for_itself(policy: RateLimit) -> None:
    run = Run(policy)
    run.call()
    run.call(call=Call("GET", "https://other.example.com/orders"))
    assert run.sleeps == []
    run.call(call=Call("GET", "https://API.example.com:443/else"))
    assert len(run.sleeps) == 1


def test_every_credential_is_counted_for_itself() -> None:
    run = Run(SLOW)
    for credential in ("", "a", "b"):
        run.call(call=Call("GET", URL, credential=credential))
        assert run.sleeps == []
    run.call(call=Call("GET", URL, credential="a"))
    assert len(run.sleeps) == 1


@pytest.mark.parametrize("policy", [SLOW, SlidingWindow(1, 2)])
def test_every_tenant_is_counted_for_itself(policy: RateLimit) -> None:
    run = Run(policy)
    for tenant in ("", "a", "b", "a of tenant b"):
        run.call(call=Call("GET", URL, tenant=tenant))
        assert run.sleeps == []
    run.call(call=Call("GET", URL, tenant="a"))
    assert len(run.sleeps) == 1


def test_a_result_counts_for_the_tenant_of_the_request() -> None:
    run = Run(AdaptiveRateLimit())
    run.call(answered(429, retry_after="5"), call=Call("GET", URL, tenant="a"))
    assert {event.key for event in run.events} == {"rate limit https://api.example.com  of tenant a"}
    run.call(call=Call("GET", URL, tenant="b"))
    assert run.sleeps == []


@pytest.mark.parametrize(
    ("url", "route", "part"),
    [
        ("https://api.example.com", "", ""),
        ("https://api.example.com/", "", ""),
        ("https://api.example.com/search?q=1", "search", ""),
        ("https://api.example.com/repos/1700/issues/3000/comments/4", "repos/*/issues/*/comments/*", "1700"),
        ("https://api.example.com/a/b/c/d/e/f/g", "a/b/c/d/e/f", ""),
        ("https://api.example.com/items/4", "items/*", "4"),
        ("https://api.example.com/2/users", "2/users", ""),
        ("https://api.example.com/rest/api/3/issue/10001", "rest/api/3/issue/*", "10001"),
        ("https://api.example.com/v2/orders#top", "v2/orders", ""),
        ("https://api.example.com/orders/0f8fad5b-d9cb", "orders/*", "0f8fad5b-d9cb"),
        ("https://api.example.com/" + "x" * 1000, "x" * 256, ""),
        ("https://api.example.com/" + "7" * 1000, "*", "7" * 64),
    ],
)
def test_a_route_is_a_method_and_the_beginning_of_a_path_without_ids(url: str, route: str, part: str) -> None:
    run = Run(SLOW)
    run.call(call=Call("POST", url))
    event = run.events[0].event
    assert (event.route, event.part) == (f"POST {route}", part)


# Configured rates ----------------------------------------------------------------------------------------------------


def ask(policy: Any, state: Any, now: float, **wanted: Any) -> tuple[Any, Turn]:
    return policy.transition(state, TurnRequest("", -1, 0, policy.max_wait, None)._replace(**wanted), now)


def refusal(retry_after: float | None) -> TurnResult:
    return TurnResult("", "", 0, 0.0, 429, (), Throttled("rate", retry_after))


def waits(policy: Any, count: int, now: float = 0.0) -> list[float]:
    state, found = policy.initial, []
    for _ in range(count):
        state, admission = ask(policy, state, now)
        found.append(admission.wait)
    return found


def test_a_bucket_lets_its_capacity_go_and_then_its_rate() -> None:
    assert waits(TokenBucket(rate=2, capacity=3), 6) == [0, 0, 0, 0.5, 1.0, 1.5]


@pytest.mark.parametrize(("rate", "capacity"), [(5, 5), (0.2, 1), (2.5, 2.5)])
def test_a_bucket_holds_one_second_s_worth_by_default(rate: float, capacity: float) -> None:
    assert TokenBucket(rate).capacity == capacity


def test_a_bucket_never_holds_more_than_its_capacity() -> None:
    assert waits(TokenBucket(rate=2, capacity=2), 3, now=1000.0) == [0, 0, 0.5]


def test_a_bucket_refills_at_its_rate() -> None:
    policy = TokenBucket(rate=2, capacity=2)
    state: Any = policy.initial
    for _ in range(2):
        state, _ = ask(policy, state, 10.0)
    state, admission = ask(policy, state, 10.75)
    assert admission.wait == 0
    assert ask(policy, state, 10.75)[1].wait == 0.25


def test_a_window_lets_its_limit_go_and_then_waits_for_the_first_to_leave() -> None:
    policy = SlidingWindow(2, 10)
    state: Any = policy.initial
    found = []
    for now in (0.0, 4.0, 5.0, 5.0, 5.0):
        state, admission = ask(policy, state, now)
        found.append(now + admission.wait)
    assert found == [0, 4, 10, 14, 20]


def test_a_window_keeps_no_more_than_its_limit() -> None:
    policy = SlidingWindow(3, 10)
    state: Any = policy.initial
    for now in range(1000):
        state, _ = ask(policy, state, float(now), max_wait=0.0)
    assert len(state.times) == 3


TOLD: list[Any] = [TokenBucket(rate=0.5, capacity=2), SlidingWindow(2, 10)]


@pytest.mark.parametrize("policy", TOLD)
@pytest.mark.parametrize("wanted", [{"max_wait": 0.1}, {"deadline": 0.1}])
def test_a_refused_request_leaves_no_trace(policy: Any, wanted: Any) -> None:
    state: Any = policy.initial
    for _ in range(4):
        state, _ = ask(policy, state, 0.0)
    after, admission = ask(policy, state, 0.0, **wanted)
    assert (after, admission.refused) == (state, next(iter(wanted)))


@pytest.mark.parametrize("policy", TOLD)
def test_a_request_that_comes_back_in_time_goes(policy: Any) -> None:
    state: Any = policy.initial
    for _ in range(3):
        state, admission = ask(policy, state, 0.0)
    after, again = ask(policy, state, admission.wait, ticket=admission.ticket)
    assert (after, again.wait) == (state, 0)


@pytest.mark.parametrize("policy", TOLD)
def test_a_pause_beyond_what_a_waiting_call_allows_refuses_it(policy: Any) -> None:
    state, _ = policy.transition(policy.initial, refusal(100.0), 0.0)
    assert ask(policy, state, 1.0, ticket=0, max_wait=60.0)[1].refused == "max_wait"
    assert ask(policy, state, 1.0, ticket=0, max_wait=1e3, deadline=50.0)[1].refused == "deadline"


@pytest.mark.parametrize("policy", TOLD)
@given(
    pauses=st.lists(st.floats(0, 30), min_size=1, max_size=30),
    refused=st.lists(st.floats(0, 30), max_size=3),
)
def test_turns_are_handed_out_in_order(policy: Any, pauses: list[float], refused: list[float]) -> None:
    state, now, turns = policy.initial, 0.0, []
    for number, pause in enumerate(pauses):
        now += pause
        if number < len(refused):
            state, _ = policy.transition(state, refusal(refused[number]), now)
        state, admission = ask(policy, state, now, max_wait=1e9)
        turns.append(round(now + admission.wait, 9))
    assert turns == sorted(turns)


ARRIVALS = st.lists(st.tuples(st.floats(0, 3), st.floats(0, 10)), min_size=1, max_size=60)


def collect_turns(policy: Any, arrivals: list[tuple[float, float]]) -> list[float]:
    """Return when the requests go that come after these pauses, each with its longest wait."""
    state, now, went = policy.initial, 0.0, []
    for pause, max_wait in arrivals:
        now += pause
        state, admission = ask(policy, state, now, max_wait=max_wait)
        if not admission.refused:
            went.append(now + admission.wait)
    return went


@given(arrivals=ARRIVALS, rate=st.floats(0.1, 20), capacity=st.floats(1, 10))
def test_a_bucket_lets_go_no_more_than_capacity_and_rate_in_any_time(
    arrivals: list[tuple[float, float]], rate: float, capacity: float
) -> None:
    went = collect_turns(TokenBucket(rate, capacity), arrivals)
    for first in range(len(went)):
        for last in range(first, len(went)):
            assert last - first + 1 <= capacity + rate * (went[last] - went[first]) + 1e-6


@given(arrivals=ARRIVALS, limit=st.integers(1, 6), window=st.floats(0.1, 10))
def test_a_window_lets_go_no_more_than_its_limit_in_any_window(
    arrivals: list[tuple[float, float]], limit: int, window: float
) -> None:
    went = collect_turns(SlidingWindow(limit, window), arrivals)
    for first in range(len(went) - limit):
        assert went[first + limit] - went[first] >= window * (1 - 1e-9)


@given(pauses=st.lists(st.floats(0, 1), min_size=30, max_size=60))
def test_a_bucket_loses_none_of_its_rate(pauses: list[float]) -> None:
    went = collect_turns(TokenBucket(rate=10, capacity=1), [(pause / 20, 1e9) for pause in pauses])
    due = 0.0
    for now, turn in zip(add_up(pauses), went, strict=True):
        assert turn == pytest.approx(max(now, due))
        due = turn + 0.1


def add_up(pauses: list[float]) -> list[float]:
    return [sum(pause / 20 for pause in pauses[: number + 1]) for number in range(len(pauses))]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TokenBucket(0), r"^TokenBucket\(rate=0\): rate must be a number above 0$"),
        (lambda: TokenBucket(float("inf")), r"^TokenBucket\(rate=inf\): rate must be a number above 0$"),
        (lambda: TokenBucket(1, 0.5), r"^TokenBucket\(capacity=0.5\): capacity must be a number of at least 1$"),
        (lambda: TokenBucket(1, max_wait=-1), r"^TokenBucket\(max_wait=-1\): max_wait must be a number of at least 0$"),
        (lambda: SlidingWindow(0, 1), r"^SlidingWindow\(limit=0\): limit must be a whole number of at least 1$"),
        (lambda: SlidingWindow(1.5, 1), r"^SlidingWindow\(limit=1.5\): limit must be a whole number of at least 1$"),
        (lambda: SlidingWindow(1, 0), r"^SlidingWindow\(window=0\): window must be a number above 0$"),
        (lambda: SlidingWindow(1, 1, max_wait="1"), r"^SlidingWindow\(max_wait='1'\): max_wait must be a number"),
        (
            lambda: AdaptiveRateLimit("fast"),
            r"^AdaptiveRateLimit\(pace='fast'\): pace must be one of 'spread', 'burst', 'even'$",
        ),
        (
            lambda: AdaptiveRateLimit(max_wait=float("nan")),
            r"^AdaptiveRateLimit\(max_wait=nan\): max_wait must be a number of",
        ),
    ],
)
def test_wrong_values_name_field_and_value(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    "make", [lambda wait: TokenBucket(1, max_wait=wait), lambda wait: AdaptiveRateLimit(max_wait=wait)]
)
def test_a_wait_without_end_can_be_allowed(make: Any) -> None:
    assert make(float("inf")).max_wait == float("inf")


def test_quotas_of_a_response_are_read_for_adaptive_only() -> None:
    assert Run(TokenBucket(rate=100)).call(answered(200, **DRAFT)).quotas == ()
    assert [type(quota) for quota in Run(AdaptiveRateLimit()).call(answered(200, **DRAFT)).quotas] == [Quota]


# Refusals while others wait -------------------------------------------------------------------------------------------


def run_refusal(policy: Any, waiting: int, coming: list[float], retry_after: float) -> list[float]:
    """Return when the requests go that wait when the server refuses at 1 s, and those that come later."""
    state, tickets, turns = policy.initial, [], []
    for _ in range(waiting):
        state, admission = ask(policy, state, 0.0)
        if admission.wait > 1:
            tickets.append((admission.wait, admission.ticket))
    state, _ = policy.transition(state, refusal(retry_after), 1.0)
    for now in coming:
        state, admission = ask(policy, state, 1.0 + now)
        tickets.append((1.0 + now + admission.wait, admission.ticket))
    for due, ticket in tickets:
        _, again = ask(policy, state, due, ticket=ticket)
        turns.append(round(due + again.wait, 9))
    return turns


STORIES = st.fixed_dictionaries(
    {
        "waiting": st.integers(0, 30),
        "coming": st.lists(st.floats(0, 20), max_size=20).map(sorted),
        "retry_after": st.floats(0, 20),
    }
)


@given(story=STORIES, rate=st.sampled_from([0.5, 2.0, 7.0]), capacity=st.integers(1, 5))
def test_a_bucket_that_was_paused_is_no_stampede(story: Any, rate: float, capacity: int) -> None:
    went = run_refusal(TokenBucket(rate, capacity, max_wait=1e9), **story)
    assert went == sorted(went)
    for first in range(len(went)):
        for last in range(first, len(went)):
            assert last - first + 1 <= capacity + rate * (went[last] - went[first]) + 1e-6
