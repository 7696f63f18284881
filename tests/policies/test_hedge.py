"""Hedging, stepped by hand and in virtual time."""

from __future__ import annotations

import dataclasses
import math
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Decide, Race, Send, Start, TryDecide, WaitAny, compose, send_once
from polvo_adapters.core.machines import Event
from polvo_adapters.core.outcomes import CONNECT, DISCONNECTED, NOT_SENT, READ_TIMEOUT, Outcome
from polvo_adapters.policies import retry_budget
from polvo_adapters.policies.hedge import Hedge, Plan, PlanHedge, RecordLatency, SpendHedge
from polvo_adapters.policies.retry import ExponentialBackoff
from polvo_adapters.policies.retry_budget import RetryBudget
from polvo_adapters.stores import MemoryStore
from polvo_adapters.testing.simulation.simulation import ScriptedReply, Simulation
from tests.benchmarks.hedging import DISTRIBUTIONS, NowAndThen, percentile, simulate
from tests.support.flow_stepper import URL, answered, failed

GET = Call("GET", URL)
POLICY = Hedge(delay=2.0)
WON = "hedged: attempt 2 answered first"


class Stepped:
    """Steps a hedged call by hand: each Next is answered from a list, where None means that the time is up."""

    def __init__(self, policy: Hedge, call: Call = GET, granted: bool = True, delay: float | None = 2.0) -> None:
        self.policy, self.call, self.granted, self.delay = policy, call, granted, delay
        self.waits: list[float | None] = []
        self.started: list[Call] = []
        self.decided: list[tuple[Event, ...]] = []

    def run(self, *ends: tuple[int, Outcome] | None) -> Outcome:
        flow, answer, left = self.policy.flow(self.call, send_once), None, list(ends)
        stack = [flow]
        while True:
            try:
                effect = stack[-1].send(answer)
            except StopIteration as end:
                stack.pop()
                if not stack:
                    assert left == []
                    return end.value
                answer = end.value
                continue
            if type(effect) is Race:
                stack.append(effect.flow)
                answer = None
            else:
                answer = self.perform(effect, left)

    def perform(self, effect: Any, left: list[Any]) -> Any:
        if type(effect) is Start:
            sent = next(effect.flow)
            assert type(sent) is Send
            self.started.append(sent.call)
            return len(self.started) - 1
        if type(effect) is WaitAny:
            self.waits.append(effect.seconds)
            return left.pop(0)
        if type(effect) is Send:
            self.started.append(effect.call)
            return left.pop(0)[1]
        assert type(effect) in (Decide, TryDecide)
        self.decided.append(tuple(effect.events))
        return tuple(
            Plan(self.delay, 0.0) if type(event.event) is PlanHedge else self.granted for event in effect.events
        )

    @property
    def events(self) -> list[list[Any]]:
        return [[event.event for event in events] for events in self.decided]


# By hand --------------------------------------------------------------------------------------------------------------


def test_an_answer_within_the_delay_is_the_answer() -> None:
    stepped = Stepped(POLICY)
    outcome = stepped.run((0, answered()))
    assert (outcome.note, stepped.started, stepped.waits) == ("", [GET], [2.0])


def test_a_late_call_is_sent_again_and_the_hedge_may_win() -> None:
    stepped = Stepped(POLICY)
    outcome = stepped.run(None, (1, answered(201)))
    assert (outcome.status, outcome.note) == (201, WON)
    assert stepped.started == [GET, GET._replace(attempt=2)]
    assert stepped.waits == [2.0, None]


def test_the_first_attempt_may_still_win() -> None:
    assert Stepped(POLICY).run(None, (0, answered())).note == ""


def test_a_hedge_is_asked_of_both_in_one_decision() -> None:
    stepped = Stepped(POLICY)
    stepped.run(None, (1, answered()))
    assert stepped.events == [[PlanHedge()], [SpendHedge(), retry_budget.Spend(1.0)]]
    assert [event.key for event in stepped.decided[1]] == [f"hedge {GET.origin}", f"retry budget {GET.origin}"]


def test_the_budget_is_that_of_the_retries() -> None:
    stepped = Stepped(POLICY)
    stepped.run(None, (1, answered()))
    store = MemoryStore()
    store.decide(stepped.decided[1])
    flow = ExponentialBackoff().flow(GET, send_once)
    next(flow)
    effect = flow.send(answered(503))
    assert effect.events[0].key in store._states


@pytest.mark.parametrize("number", [0, 1])
def test_where_one_of_both_refuses_neither_is_changed(number: int) -> None:
    policy = Hedge(delay=1.0, budget=RetryBudget(ratio=0, reserve=0, trust=0) if number else RetryBudget())
    stepped = Stepped(policy)
    stepped.run(None, (1, answered()))
    spend, store = stepped.decided[1], MemoryStore()
    if number == 0:  # take the one hedge that there is
        store.decide([Event(policy, spend[0].key, SpendHedge())])
    before = dict(store._states)
    assert not all(store.decide(spend))
    assert store._states == before


def test_a_hedge_that_is_not_allowed_is_not_sent() -> None:
    stepped = Stepped(POLICY, granted=False)
    outcome = stepped.run(None, (0, answered()))
    assert (outcome.note, len(stepped.started), stepped.waits) == ("", 1, [2.0, None])


def test_without_budget_only_the_hedge_is_asked() -> None:
    stepped = Stepped(Hedge(delay=2.0, budget=None))
    stepped.run(None, (1, answered()))
    assert stepped.events[1] == [SpendHedge()]


def test_more_hedges_follow_after_the_same_delay() -> None:
    stepped = Stepped(Hedge(delay=2.0, max_hedges=2))
    outcome = stepped.run(None, None, (2, answered()))
    assert outcome.note == "hedged: attempt 3 answered first"
    assert [call.attempt for call in stepped.started] == [1, 2, 3]
    assert stepped.waits == [2.0, 2.0, None]


def test_attempts_are_counted_on_from_those_of_the_call() -> None:
    stepped = Stepped(POLICY, GET._replace(attempt=3))
    stepped.run(None, (1, answered()))
    assert [call.attempt for call in stepped.started] == [3, 4]


BAD = [answered(500), answered(503, retry_after="9"), answered(429), failed(CONNECT), failed(READ_TIMEOUT)]


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_first_answer_before_the_delay_is_returned(bad: Outcome) -> None:
    stepped = Stepped(POLICY)
    assert stepped.run((0, bad)) == bad
    assert len(stepped.started) == 1


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("number", [0, 1])
def test_a_bad_answer_waits_for_the_other(bad: Outcome, number: int) -> None:
    stepped = Stepped(Hedge(delay=2.0, max_hedges=5))
    outcome = stepped.run(None, (number, bad), (1 - number, answered()))
    assert (outcome.status, outcome.failure, len(stepped.started)) == (200, None, 2)
    assert stepped.waits[-1] is None, "a bad answer ends the hedging of the call"


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        (failed(CONNECT), answered(500), 1),
        (answered(500), failed(CONNECT), 0),
        (failed(CONNECT), failed(DISCONNECTED), 1),
        (failed(DISCONNECTED), failed(CONNECT), 0),
        (failed(NOT_SENT), failed(CONNECT), 1),
        (answered(500), answered(503), 0),
        (failed(DISCONNECTED), failed(READ_TIMEOUT), 0),
    ],
)
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_where_all_are_bad_the_most_informative_is_returned(
    first: Outcome, second: Outcome, kept: int, order: tuple[int, int]
) -> None:
    outcomes = [first, second]
    outcome = Stepped(POLICY).run(None, *((number, outcomes[number]) for number in order))
    assert outcome is outcomes[kept]


@pytest.mark.parametrize("status", [200, 204, 301, 304, 401, 404, 409])
def test_what_a_repeat_would_not_better_wins(status: int) -> None:
    assert Stepped(POLICY).run(None, (1, answered(status))).status == status


@pytest.mark.parametrize(
    ("call", "policy", "hedged"),
    [
        (GET, POLICY, True),
        (GET._replace(method="HEAD"), POLICY, True),
        (GET._replace(method="POST"), POLICY, False),
        (GET._replace(method="PUT"), POLICY, False),
        (GET._replace(method="DELETE"), POLICY, False),
        (GET._replace(method="POST", body="replayable", idempotent=True), POLICY, True),
        (GET._replace(method="POST"), Hedge(delay=2.0, methods=None), True),
        (GET._replace(method="PATCH"), Hedge(delay=2.0, methods=["patch"]), True),
        (GET, Hedge(delay=2.0, methods=["patch"]), False),
        (GET._replace(body="replayable"), POLICY, True),
        (GET._replace(body="rewindable"), POLICY, False),
        (GET._replace(body="once"), Hedge(delay=2.0, methods=None), False),
    ],
)
def test_only_what_is_safe_and_can_be_sent_at_once_is_hedged(call: Call, policy: Hedge, hedged: bool) -> None:
    stepped = Stepped(policy, call)
    stepped.run((0, answered()))
    assert bool(stepped.waits) == hedged
    assert bool(stepped.decided) == hedged, "other calls earn no hedges"


def test_nothing_is_hedged_and_no_race_is_run_while_the_percentile_is_not_known() -> None:
    stepped = Stepped(Hedge(), delay=None)
    stepped.run((0, answered()))
    assert (stepped.waits, stepped.events) == ([], [[PlanHedge()], [RecordLatency(0.0)]])


@pytest.mark.parametrize("bad", BAD)
def test_a_call_that_ends_badly_tells_nothing(bad: Outcome) -> None:
    stepped = Stepped(Hedge(), delay=None)
    stepped.run((0, bad))
    assert stepped.events == [[PlanHedge()]]


@pytest.mark.parametrize(
    ("ends", "told"),
    [
        ([(0, answered())], True),
        ([(0, answered(404))], True),
        ([(0, answered(500))], False),
        ([(0, failed(READ_TIMEOUT))], False),
        ([None, (0, answered())], True),
        ([None, (1, answered())], True),
        ([None, (1, answered(500)), (0, answered())], True),
        ([None, (0, answered(500)), (1, answered())], False),
        ([None, (0, answered(500)), (1, answered(500))], False),
    ],
)
def test_the_time_of_the_first_attempt_is_told_as_far_as_it_is_known(ends: list[Any], told: bool) -> None:
    stepped = Stepped(Hedge())
    stepped.run(*ends)
    assert ([RecordLatency(0.0)] in stepped.events) == told


def test_a_delay_that_was_given_needs_no_latencies() -> None:
    stepped = Stepped(POLICY)
    stepped.run((0, answered()))
    assert stepped.events == [[PlanHedge()]]


# The machine ----------------------------------------------------------------------------------------------------------


def moved(policy: Hedge, *events: Any, now: float = 0.0) -> tuple[Any, list[Any]]:
    state, verdicts = policy.initial, []
    for event in events:
        state, verdict = policy.transition(state, event, now)
        verdicts.append(verdict)
    return state, verdicts


def test_a_new_origin_has_one_hedge_and_earns_one_with_fifty_calls() -> None:
    _, verdicts = moved(
        POLICY, SpendHedge(), SpendHedge(), *[PlanHedge()] * 49, SpendHedge(), PlanHedge(), PlanHedge(), SpendHedge()
    )
    assert [verdict for verdict in verdicts if isinstance(verdict, bool)] == [True, False, False, True]


def test_ten_hedges_can_be_saved_up() -> None:
    _, verdicts = moved(POLICY, *[PlanHedge()] * 5000, *[SpendHedge()] * 12)
    assert verdicts[5000:] == [True] * 10 + [False] * 2


@given(st.floats(0.001, 3.0), st.lists(st.sampled_from([PlanHedge(), SpendHedge()]), max_size=300))
def test_hedges_are_never_more_than_the_ratio_and_one(ratio: float, events: list[Any]) -> None:
    _, verdicts = moved(Hedge(delay=1.0, ratio=ratio), *events)
    assert verdicts.count(True) <= 1 + ratio * events.count(PlanHedge()) + 1e-6


def test_the_delay_is_the_percentile_times_the_margin() -> None:
    policy = Hedge()
    state = policy.initial
    for number in range(100):
        state, _ = policy.transition(state, RecordLatency(number - 2.0), float(number))
    _, plan = policy.transition(state, PlanHedge(), 100.0)
    assert plan.delay == pytest.approx(2.5, rel=0.05)
    assert plan.began == 100.0


def test_a_delay_that_was_given_is_the_delay() -> None:
    assert moved(POLICY, PlanHedge(), now=5.0)[1] == [Plan(2.0, 5.0)]
    assert moved(Hedge(), PlanHedge(), now=5.0)[1] == [Plan(None, 5.0)]


def test_policy_and_state_pickle() -> None:
    state, _ = moved(Hedge(), *[RecordLatency(-1.0)] * 40, PlanHedge())
    assert pickle.loads(pickle.dumps((Hedge(), state))) == (Hedge(), state)


@pytest.mark.parametrize(
    "keywords",
    [
        {"delay": -1},
        {"delay": "soon"},
        {"percentile": 0},
        {"percentile": 0.995},
        {"margin": 0.9},
        {"max_hedges": 0},
        {"ratio": 0},
        {"ratio": math.inf},
        {"budget": 3},
        {"methods": "GET"},
    ],
)
def test_a_value_out_of_range_is_named(keywords: dict[str, Any]) -> None:
    (name,) = keywords
    with pytest.raises(ValueError, match=rf"Hedge\({name}=.*{name} must be"):
        Hedge(**keywords)


# In virtual time ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["all alike", "± 20 %", "lognormal, 0.3"])
def test_the_99th_percentile_is_cut_to_three_times_the_median_for_two_percent_more_requests(name: str) -> None:
    server = NowAndThen(DISTRIBUTIONS[name], seed=1)
    latencies, _ = simulate(server, [Hedge(), ExponentialBackoff()])  # which pays into the budget that both share
    settled = latencies[300:]
    assert percentile(settled, 0.99) <= 3 * percentile(settled, 0.5)
    assert percentile(settled, 0.999) <= 6 * percentile(settled, 0.5)
    assert server.received <= 1.02 * len(latencies)
    plain, _ = simulate(NowAndThen(DISTRIBUTIONS[name], seed=1), [])
    assert percentile(plain, 0.995) >= 50 * percentile(plain, 0.5), "or the server is not slow enough to test anything"


def test_hedging_never_makes_hedging_more_frequent() -> None:
    """The delay stays where it is with a ratio that allows every hedge: losers are not left out."""
    server = NowAndThen(DISTRIBUTIONS["lognormal, 0.3"], seed=2)
    policy = Hedge(ratio=1.0, margin=1.0, budget=None)
    _, simulation = simulate(server, [policy], calls=8000)
    state = simulation.store._states["hedge http://server.example"]
    (plan,) = simulation.store.decide([Event(policy, "hedge http://server.example", PlanHedge())])
    true = 0.1 * math.exp(0.3 * 1.751)  # the 96th percentile of the fast ones is the 95th of all
    assert plan.delay == pytest.approx(true, rel=0.12)
    assert state.latencies.known is not None
    assert 1.03 < server.received / 8000 < 1.08


def test_in_an_outage_the_load_is_not_doubled_and_calls_are_not_slower() -> None:
    begins = 40.0
    hedged, plain = (NowAndThen(DISTRIBUTIONS["lognormal, 0.3"], 3, begins) for _ in range(2))
    with_hedge, _ = simulate(hedged, [Hedge(), ExponentialBackoff()])
    without, _ = simulate(plain, [])
    assert plain.in_outage > 3500
    assert hedged.in_outage <= 1.02 * plain.in_outage + 10
    assert percentile(with_hedge, 0.9) <= 1.02 * percentile(without, 0.9)


def test_where_retries_have_used_up_the_budget_nothing_is_hedged() -> None:
    small = RetryBudget(ratio=0.0, reserve=1, trust=0)
    server = NowAndThen(DISTRIBUTIONS["all alike"], seed=1)
    simulate(server, [Hedge(ratio=1.0, budget=small)], calls=2000)
    assert 2000 < server.received <= 2000 + 0.1 * 45 + 2


def test_what_a_server_does_with_a_call_can_be_read_in_its_story() -> None:
    class SlowOnce:
        received = 0

        def reply(self, call: Call, now: float) -> ScriptedReply:
            self.received += 1
            return ScriptedReply(200, {}, 60.0 if call.attempt == 1 else 0.5)

    simulation = Simulation(SlowOnce())
    call = simulation.call(compose([Hedge(delay=1.0), ExponentialBackoff()]))
    simulation.run()
    assert call.outcome is not None
    assert (call.outcome.now, call.outcome.note) == (1.5, WON)
    assert [str(entry) for entry in call.entries] == ["200 after 0.500 s", "cancelled after 1.500 s"]


def test_every_field_is_told_of() -> None:
    for field in dataclasses.fields(Hedge):
        assert f"    {field.name}: " in (Hedge.__doc__ or "")


@pytest.mark.parametrize("ending", [answered(), answered(503), failed(READ_TIMEOUT)])
def test_without_a_thread_for_it_the_call_goes_on_unhedged(ending: Outcome) -> None:
    """Whatever comes of the call then is what the caller gets."""
    flow = dataclasses.replace(POLICY, max_hedges=3, budget=None).flow(GET, send_once)
    next(flow)
    (race,) = flow.send((Plan(2.0, 0.0),))  # type: ignore[misc]
    assert type(next(race)) is Start
    assert race.send(0) == WaitAny(2.0)
    assert type(race.send(None)) is Decide
    assert type(race.send((True,))) is Start
    assert race.send(None) == WaitAny(None), "neither is another hedge tried"
    with pytest.raises(StopIteration) as caught:
        race.send((0, ending))
    assert caught.value.value is ending
