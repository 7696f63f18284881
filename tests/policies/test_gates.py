"""The flow of gates, stepped by hand and driven on virtual time: what is asked, granted, told and given back."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Acquire, Park, Policy, Release, Send, compose, send_once
from polvo_adapters.core.machines import Event
from polvo_adapters.core.outcomes import CONNECT, NOT_SENT, READ_TIMEOUT, UNCLASSIFIED, Outcome
from polvo_adapters.core.report import Entry
from polvo_adapters.drivers.sync import drive
from polvo_adapters.errors import CircuitOpenError, PoolTimeoutError
from polvo_adapters.policies.breaker import CircuitBreaker
from polvo_adapters.policies.breaker.state import ManualControl
from polvo_adapters.policies.bulkhead import AdaptiveBulkhead, Bulkhead
from polvo_adapters.policies.deadline import Deadline
from polvo_adapters.policies.gates import Gates
from polvo_adapters.policies.ratelimit import TokenBucket
from polvo_adapters.policies.retry import ExponentialBackoff
from polvo_adapters.stores import MemoryStore
from polvo_adapters.testing.simulation.simulation import Script, ScriptedFailure, ScriptedReply, Simulation
from polvo_adapters.testing.virtual_clock import VirtualClock
from tests.support.flow_stepper import URL, answered

GET = Call("GET", URL)
CIRCUIT = "circuit https://api.example.com"
NO_BUDGET = ExponentialBackoff(budget=None)

Turn: TypeAlias = "ScriptedReply | ScriptedFailure | BaseException | Callable[[], object]"


class Wire:
    """A transport that does as it is told: answers, fails, raises, or runs something in the middle of an attempt."""

    def __init__(self, clock: VirtualClock, turns: Sequence[Turn], *, stream: bool = False) -> None:
        self.clock, self.turns, self.stream = clock, list(turns), stream
        self.sent = 0
        self.actions: list[Callable[[bool, bool], None]] = []

    def send(self, effect: Send) -> Outcome:
        turn = self.turns.pop(0) if len(self.turns) > 1 else self.turns[0]
        self.sent += 1
        started = self.clock.now()
        if callable(turn):
            turn()
            turn = ScriptedReply(200)
        if isinstance(turn, BaseException):
            raise turn
        self.clock.advance(turn.seconds)
        now, wall = self.clock.now(), self.clock.wall()
        if isinstance(turn, ScriptedFailure):
            return Outcome(error=OSError(), failure=turn.failure, started=started, now=now, wall=wall)
        body = None if self.stream else b""
        return Outcome("response", turn.status, turn.headers, None, None, started, now, wall, "", body)

    def discard(self) -> None:
        """Nothing to close."""

    def on_cancel(self, wake: Callable[[], object] | None) -> bool:
        return False

    def on_body_closed(self, action: Callable[[bool, bool], None]) -> bool:
        self.actions.append(action)
        return self.stream

    def close(self, *, broken: bool = False, finalizing: bool = False) -> None:
        for action in self.actions:
            action(broken, finalizing)


class Run:
    """Drives flows on one store, in virtual time."""

    def __init__(self, *policies: Policy) -> None:
        self.policies = policies
        self.proceed = compose(policies)
        self.clock = VirtualClock()
        self.store = MemoryStore(now=self.clock.now)
        self.entries: list[Entry] = []
        self.sent = 0

    def call(self, *turns: Turn, call: Call = GET, stream: bool = False) -> Any:
        """Return how a call ends, or its wire, with its body open, where it is streamed."""
        wire = Wire(self.clock, turns or [ScriptedReply(200)], stream=stream)
        self.entries = []
        flow = self.proceed(call._replace(started=self.clock.now()))
        try:
            outcome = drive(flow, wire, self.store, self.clock, self.entries)
        finally:
            self.sent = wire.sent
        return wire if stream else outcome

    def states(self, kind: str) -> dict[str, Any]:
        return {name: state for name, state in self.store._states.items() if name.startswith(kind)}

    @property
    def circuit(self) -> Any:
        (state,) = self.states("circuit").values()
        return state

    @property
    def slots(self) -> Any:
        (state,) = self.states("bulkhead").values()
        return state

    @property
    def held(self) -> int:
        return sum(state.new + state.old for state in self.states("bulkhead").values())


class Stepped:
    """A flow that is stepped by hand on a store of its own, or on one that it shares."""

    def __init__(self, policy: Policy, store: MemoryStore, call: Call = GET) -> None:
        self.flow, self.store = policy.flow(call, send_once), store
        self.effect: Any = next(self.flow)
        self.outcome: Outcome | None = None

    def step(self, answer: Any = None) -> Any:
        """Answer the effect at hand, and return the next."""
        if type(self.effect) in (Acquire, Release):
            answer = self.store.decide(self.effect.events)
        try:
            self.effect = self.flow.send(answer)
        except StopIteration as end:
            self.effect, self.outcome = None, end.value
        return self.effect


# The order of things --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "gate", [CircuitBreaker(), Bulkhead(), AdaptiveBulkhead(), Gates((CircuitBreaker(), Bulkhead()))]
)
def test_a_gate_is_asked_before_and_told_after(gate: Any) -> None:
    stepped = Stepped(gate, MemoryStore())
    assert type(stepped.effect) is Acquire
    assert stepped.step() == Send(GET)
    assert type(stepped.step(answered())) is Release
    stepped.step()
    assert stepped.outcome == answered()


def test_gates_side_by_side_are_asked_in_one_decision_and_told_in_one() -> None:
    breaker, bulkhead = CircuitBreaker(), Bulkhead(3)
    stepped = Stepped(Gates((breaker, bulkhead)), MemoryStore())
    asked = [(event.machine, event.key) for event in stepped.effect.events]
    assert asked == [(breaker, CIRCUIT), (bulkhead, "bulkhead of 3 https://api.example.com")]
    stepped.step()
    told = stepped.step(answered())
    assert [(event.machine, event.key) for event in told.events] == asked


def test_what_a_gate_bars_is_not_sent() -> None:
    run = Run(CircuitBreaker(failure_threshold=1))
    run.call(ScriptedReply(503))
    outcome = run.call()
    assert (run.sent, outcome.failure, type(outcome.error)) == (0, NOT_SENT, CircuitOpenError)


def test_a_call_that_finds_no_slot_joins_the_queue_asks_again_and_parks() -> None:
    store, policy = MemoryStore(), Bulkhead(1, acquisition_timeout=30)
    first, second = Stepped(policy, store), Stepped(policy, store)
    first.step()
    kinds = [type(second.effect), *[type(second.step()) for _ in range(3)]]
    assert kinds == [Acquire, Acquire, Acquire, Park]
    assert second.effect.seconds == 1.0
    assert second.effect.reason == "bulkhead, all 1 slots are in use"
    first.step(answered())
    first.step()
    assert type(second.step(0.25)) is Acquire
    assert second.step() == Send(GET)
    assert [type(second.step(answered())), type(second.step())] == [Release, Release]
    second.step()
    assert second.outcome == answered()


def test_a_slot_that_becomes_free_before_there_is_a_place_in_the_queue_is_taken_at_once() -> None:
    # Nobody was called when it became free: who parked now would sleep beside a free slot.
    store, policy = MemoryStore(), Bulkhead(1)
    first, second = Stepped(policy, store), Stepped(policy, store)
    first.step()
    second.step()  # refused
    first.step(answered())
    first.step()  # given back
    second.step()  # the queue joined
    assert second.step() == Send(GET)


def test_who_is_called_between_asking_and_parking_does_not_park() -> None:
    store, policy = MemoryStore(), Bulkhead(1)
    first, second = Stepped(policy, store), Stepped(policy, store)
    first.step()
    for _ in range(3):
        second.step()
    first.step(answered())
    first.step()
    assert not store.park(second.effect.name, lambda: None)
    second.step(0.0)
    assert second.step() == Send(GET)


def test_who_was_called_in_vain_parks_again_for_what_is_left_of_the_patience() -> None:
    store, policy = MemoryStore(), Bulkhead(1, acquisition_timeout=1.5)
    first, second = Stepped(policy, store), Stepped(policy, store)
    first.step()
    for _ in range(3):
        second.step()
    second.step(1.0)
    park = second.step()
    assert (type(park), park.seconds) == (Park, 0.5)
    second.step(0.5)
    assert type(second.step()) is Release  # the place in the queue is given up
    second.step()
    assert second.outcome is not None
    assert isinstance(second.outcome.error, PoolTimeoutError)


def test_a_patience_that_floats_cannot_add_up_to_comes_to_an_end() -> None:
    # 0.6 + 0.7 - 0.6 is less than 0.7, by so little that adding it to the time changes nothing.
    run = Run(Bulkhead(1, acquisition_timeout=0.7))
    held = run.call(stream=True)
    run.clock.advance(0.6)
    waits: list[float] = []
    wait = run.clock.wait

    def count(event: Any, seconds: float) -> None:
        waits.append(seconds)
        assert len(waits) < 10
        wait(event, seconds)

    run.clock.wait = count
    assert isinstance(run.call().error, PoolTimeoutError)
    assert waits == [0.7]
    held.close()


# Side by side ---------------------------------------------------------------------------------------------------------


def half_open(run: Run) -> None:
    run.call(ScriptedReply(503))
    run.clock.advance(60)


def test_a_call_that_finds_no_slot_has_not_used_up_the_probe() -> None:
    run = Run(Gates((CircuitBreaker(failure_threshold=1), Bulkhead(1, acquisition_timeout=0))))
    held = run.call(stream=True)
    broken = run.call(ScriptedReply(503), call=Call("GET", "https://other.example.com/"))
    assert broken.status == 503
    state = run.store._states
    state[CIRCUIT] = state["circuit https://other.example.com"]
    run.clock.advance(60)
    assert isinstance(run.call().error, PoolTimeoutError)
    assert state[CIRCUIT].state == "open"
    held.close()
    assert run.call().status == 200
    assert state[CIRCUIT].state == "closed"


def test_a_call_that_is_refused_by_the_circuit_holds_no_slot() -> None:
    run = Run(Gates((CircuitBreaker(failure_threshold=1), Bulkhead(1))))
    run.call(ScriptedReply(503))
    assert isinstance(run.call().error, CircuitOpenError)
    assert run.held == 0


def test_where_both_refuse_the_error_is_that_of_the_first() -> None:
    run = Run(Gates((CircuitBreaker(failure_threshold=1), Bulkhead(1, acquisition_timeout=0))))
    half_open(run)
    probe = run.call(stream=True)
    assert isinstance(run.call().error, CircuitOpenError)
    probe.close()


def test_a_circuit_that_opens_while_a_call_waits_for_a_slot_ends_the_wait() -> None:
    clock = VirtualClock()
    store, breaker = MemoryStore(now=clock.now), CircuitBreaker(failure_threshold=1)
    gates = Gates((breaker, Bulkhead(1, acquisition_timeout=30)))
    first, second = Stepped(gates, store), Stepped(gates, store)
    first.step()
    for _ in range(3):
        second.step()
    assert type(second.effect) is Park
    first.step(answered(503))
    first.step()
    second.step(0.25)
    assert type(second.step()) is Release
    second.step()
    assert second.outcome is not None
    assert isinstance(second.outcome.error, CircuitOpenError)
    (slots,) = [state for name, state in store._states.items() if name.startswith("bulkhead")]
    assert (slots.new, slots.queue) == (0, ())


def test_a_bulkhead_outside_of_a_breaker_gives_its_slot_back_when_the_circuit_is_open() -> None:
    run = Run(Bulkhead(1), CircuitBreaker(failure_threshold=1))
    run.call(ScriptedReply(503))
    assert isinstance(run.call().error, CircuitOpenError)
    assert run.held == 0


def test_a_breaker_outside_of_a_bulkhead_gets_its_probe_back_when_there_is_no_slot() -> None:
    run = Run(CircuitBreaker(failure_threshold=1), Bulkhead(1, acquisition_timeout=0))
    half_open(run)
    slots = Bulkhead(1)
    run.store.decide([Event(slots, slots.name(GET), slots.ask_event(GET, ""))])
    assert isinstance(run.call().error, PoolTimeoutError)
    assert (run.circuit.state, run.circuit.probes) == ("half-open", ())


def test_what_a_rate_limit_inside_bars_counts_for_nothing_and_frees_the_probe() -> None:
    run = Run(CircuitBreaker(failure_threshold=1), TokenBucket(rate=0.001, capacity=1, max_wait=1))
    half_open(run)
    outcome = run.call()
    assert outcome.failure is NOT_SENT
    assert (run.circuit.state, run.circuit.probes) == ("half-open", ())


# Broken off -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError])
def test_a_call_that_is_broken_off_in_mid_flight_gives_everything_back(kind: type[BaseException]) -> None:
    run = Run(Gates((CircuitBreaker(failure_threshold=1), Bulkhead(1, acquisition_timeout=0))))
    half_open(run)
    with pytest.raises(kind):
        run.call(kind())
    assert (run.circuit.state, run.circuit.probes, run.held) == ("half-open", (), 0)
    assert run.call().status == 200


def test_a_call_that_is_broken_off_in_a_retry_sleep_gives_its_slot_back() -> None:
    run = Run(Bulkhead(1, acquisition_timeout=0), ExponentialBackoff())

    def interrupt(seconds: float) -> None:
        assert run.held == 1
        raise KeyboardInterrupt

    run.clock.sleep = interrupt
    with pytest.raises(KeyboardInterrupt):
        run.call(ScriptedReply(503))
    assert run.held == 0


def test_a_call_that_is_broken_off_while_it_is_parked_leaves_the_queue() -> None:
    run = Run(Bulkhead(1))
    held = run.call(stream=True)

    def interrupt(event: Any, seconds: float) -> None:
        assert len(run.slots.queue) == 1
        raise KeyboardInterrupt

    run.clock.wait = interrupt
    with pytest.raises(KeyboardInterrupt):
        run.call()
    assert (run.held, run.slots.queue, run.store._parked) == (1, (), {})
    held.close()
    assert run.held == 0


def test_a_call_that_waited_and_is_broken_off_in_mid_flight_gives_back_slot_and_place() -> None:
    run = Run(Bulkhead(1))
    held = run.call(stream=True)
    run.clock.wait = lambda event, seconds: held.close()
    with pytest.raises(SystemExit):
        run.call(SystemExit())
    assert (run.held, run.slots.queue) == (0, ())


# Bodies ---------------------------------------------------------------------------------------------------------------


def test_a_streamed_body_holds_its_slot_until_it_is_closed() -> None:
    run = Run(Bulkhead(2))
    first, second = run.call(stream=True), run.call(stream=True)
    assert run.held == 2
    first.close()
    assert run.held == 1
    second.close(broken=True)
    assert run.held == 0


def test_a_streamed_body_that_is_dropped_gives_its_slot_back_before_the_next_decision() -> None:
    run = Run(Bulkhead(1, acquisition_timeout=0))
    run.call(stream=True).close(finalizing=True)
    assert run.call().status == 200
    assert run.held == 0


def test_a_streamed_body_that_was_waited_for_settles_slot_and_place() -> None:
    run = Run(Bulkhead(1))
    held = run.call(stream=True)
    run.clock.wait = lambda event, seconds: held.close()
    second = run.call(stream=True)
    assert run.held == 1
    second.close()
    assert (run.held, run.slots.queue) == (0, ())


def test_a_body_that_breaks_off_while_it_is_streamed_is_a_failure() -> None:
    run = Run(CircuitBreaker(failure_threshold=1))
    run.call(stream=True).close(broken=True)
    assert isinstance(run.call().error, CircuitOpenError)


def test_a_body_that_is_streamed_to_its_end_is_a_success() -> None:
    run = Run(CircuitBreaker(failure_threshold=2))
    run.call(ScriptedReply(503))
    run.call(stream=True).close()
    run.call(ScriptedReply(503))
    assert run.circuit.state == "closed"


def test_nothing_is_told_of_a_streamed_call_before_its_body_is_closed() -> None:
    run = Run(CircuitBreaker(failure_threshold=1))
    half_open(run)
    probe = run.call(stream=True)
    assert run.circuit.state == "half-open"
    probe.close()
    assert run.circuit.state == "closed"


# Keys -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "url", "name"),
    [
        ("origin", "https://a.example.com:443/x?y=1", "circuit https://a.example.com"),
        ("origin", "https://A.example.com/z", "circuit https://a.example.com"),
        ("origin", "https://user:secret@a.example.com/z", "circuit https://a.example.com"),
        ("origin", "http://a.example.com:8080/", "circuit http://a.example.com:8080"),
        (("/v1", "/v1/orders"), "https://a.example.com/v1/orders/7", "circuit https://a.example.com/v1/orders"),
        (("/v1/orders", "/v1"), "https://a.example.com/v1/orders/7", "circuit https://a.example.com/v1/orders"),
        (("/v1", "/v1/orders"), "https://a.example.com/v1/users", "circuit https://a.example.com/v1"),
        (["/v1"], "https://a.example.com/v2", "circuit https://a.example.com"),
        (("/v1",), "https://a.example.com/?next=/v1", "circuit https://a.example.com"),
        (("/v1",), "https://a.example.com?next=/v1", "circuit https://a.example.com"),
        (("/v1",), "https://a.example.com#/v1", "circuit https://a.example.com"),
        (("/",), "https://a.example.com", "circuit https://a.example.com/"),
        (lambda call: call.method, "https://a.example.com/v2", "circuit GET"),
    ],
)
def test_state_is_kept_per_key(key: Any, url: str, name: str) -> None:
    assert CircuitBreaker(key=key).name(Call("GET", url)) == name


def test_one_origin_does_not_open_the_circuit_of_another() -> None:
    run = Run(CircuitBreaker(failure_threshold=1))
    run.call(ScriptedReply(503))
    assert run.call(call=Call("GET", "https://other.example.com/")).status == 200
    assert isinstance(run.call().error, CircuitOpenError)


def test_one_prefix_does_not_open_the_circuit_of_another() -> None:
    run = Run(CircuitBreaker(failure_threshold=1, key=("/search",)))
    run.call(ScriptedReply(503), call=Call("GET", "https://api.example.com/search?q=1"))
    assert run.call().status == 200
    assert isinstance(run.call(call=Call("GET", "https://api.example.com/search")).error, CircuitOpenError)


@pytest.mark.parametrize("key", ["origin", ("/",), lambda call: call.host])
def test_one_tenant_does_not_open_the_circuit_of_another(key: Any) -> None:
    run = Run(CircuitBreaker(failure_threshold=1, key=key))
    run.call(ScriptedReply(503), call=Call("GET", URL, tenant="bad"))
    for tenant in ("", "good", "bad of tenant bad"):
        assert run.call(call=Call("GET", URL, tenant=tenant)).status == 200
    assert isinstance(run.call(call=Call("GET", URL, tenant="bad")).error, CircuitOpenError)


@pytest.mark.parametrize("policy", [Bulkhead(1, acquisition_timeout=0), AdaptiveBulkhead(max_limit=1, min_limit=1)])
def test_a_bulkhead_counts_all_tenants_together(policy: Any) -> None:
    assert policy.name(Call("GET", URL, tenant="a")) == policy.name(GET)


def test_gates_side_by_side_ask_for_the_tenant_of_the_call() -> None:
    gates = Gates((CircuitBreaker(), Bulkhead(2)))
    for _ in range(2):
        for tenant, circuit in (("a", CIRCUIT + " of tenant a"), ("b", CIRCUIT + " of tenant b"), ("", CIRCUIT)):
            asked: Any = next(gates.flow(Call("GET", URL, tenant=tenant), send_once))
            assert [event.key for event in asked.events] == [circuit, "bulkhead of 2 https://api.example.com"]


def test_questions_are_kept_for_so_many_tenants_and_no_more() -> None:
    gates = Gates((CircuitBreaker(),))
    for number in range(3000):
        next(gates.flow(Call("GET", URL, tenant=str(number)), send_once))
    assert 0 < len(gates._known) <= 1024


def test_a_bulkhead_counts_per_key_as_well() -> None:
    run = Run(Bulkhead(1, acquisition_timeout=0, key=lambda call: call.method))
    held = run.call(stream=True)
    assert run.call(call=Call("POST", URL)).status == 200
    assert isinstance(run.call().error, PoolTimeoutError)
    held.close()


def test_bulkheads_that_could_not_share_their_state_do_not() -> None:
    # Of other size, of another limit that was learned, or of other periods: each would forget the other's slots.
    policies = (
        Bulkhead(1),
        Bulkhead(2),
        Bulkhead(2, lease=300),
        AdaptiveBulkhead(),
        AdaptiveBulkhead("aimd"),
        AdaptiveBulkhead(max_limit=5),
        AdaptiveBulkhead(min_limit=5),
        AdaptiveBulkhead(lease=300),
    )
    assert len({policy.name(GET) for policy in policies}) == 8


def test_bulkheads_that_differ_in_patience_alone_share_their_slots() -> None:
    assert Bulkhead(2, 0).name(GET) == Bulkhead(2, 30).name(GET) == "bulkhead of 2 https://api.example.com"


def test_circuits_with_different_windows_do_not_share_their_state() -> None:
    policies = (CircuitBreaker(), CircuitBreaker(window=5), CircuitBreaker(window=6), CircuitBreaker(window_calls=6))
    assert len({policy.name(GET) for policy in policies}) == 4


@pytest.mark.parametrize("policy", [CircuitBreaker, Bulkhead, AdaptiveBulkhead])
@pytest.mark.parametrize("key", ["host", "/v1", ("v1",), ("/v1", 1), [None]])
def test_a_key_of_the_wrong_kind_is_refused(policy: Any, key: Any) -> None:
    with pytest.raises(ValueError, match="key must be 'origin', a tuple of path prefixes"):
        policy(key=key)


@pytest.mark.parametrize("key", [None, 5, 1.5])
def test_a_key_that_is_no_collection_is_refused(key: Any) -> None:
    with pytest.raises(ValueError, match="key must be"):
        CircuitBreaker(key=key)


def test_questions_are_kept_for_so_many_origins_and_no_more() -> None:
    gates = Gates((CircuitBreaker(),))
    for number in range(3000):
        next(gates.flow(Call("GET", f"https://host{number}.example.com/"), send_once))
    assert 0 < len(gates._known) <= 1024


@pytest.mark.parametrize(
    "gate", [CircuitBreaker(key=("/v1",)), Bulkhead(3, key=["/v1"]), AdaptiveBulkhead(key=("/v1",))]
)
def test_a_gate_that_was_used_and_pickled_keeps_its_key(gate: Any) -> None:
    def name(gate: Any, path: str) -> str:
        asked: Any = next(gate.flow(Call("GET", f"https://a.example.com{path}"), send_once))
        return str(asked.events[0].key)

    name(gate, "/v1")
    copied = pickle.loads(pickle.dumps(gate))
    assert copied == gate
    assert name(copied, "/v1") != name(copied, "/v2")


def test_gates_side_by_side_pickle() -> None:
    gates = Gates((CircuitBreaker(key=("/v1",)), Bulkhead(3)))
    copied = pickle.loads(pickle.dumps(gates))
    assert copied.gates == gates.gates
    assert next(copied.flow(GET, send_once)) == next(gates.flow(GET, send_once))


# What is changed for others -------------------------------------------------------------------------------------------


def test_no_change_is_told_of_that_was_not_made() -> None:
    told: list[Any] = []
    run = Run(Gates((CircuitBreaker(failure_threshold=1, listeners=(told.append,)), Bulkhead(1, 5))))
    half_open(run)
    slots = Bulkhead(1, 5)
    run.store.decide([Event(slots, slots.name(GET), slots.ask_event(GET, ""))])
    assert [change.after for change in told] == ["open"]
    assert isinstance(run.call().error, PoolTimeoutError)
    assert [change.after for change in told] == ["open"]


def test_a_change_that_a_finalizer_brings_about_is_told_of() -> None:
    told: list[Any] = []
    run = Run(CircuitBreaker(failure_threshold=1, listeners=(told.append,)))
    half_open(run)
    run.call(stream=True).close(finalizing=True)
    run.call()
    assert run.circuit.state == "closed"
    assert [change.after for change in told] == ["open", "half-open", "closed"]


def test_a_command_reaches_a_call_that_is_waiting_in_the_queue() -> None:
    breaker = CircuitBreaker()
    run = Run(Gates((breaker, Bulkhead(1))))
    held = run.call(stream=True)
    run.clock.wait = lambda event, seconds: run.store.decide([Event(breaker, CIRCUIT, ManualControl("isolated"))])
    assert isinstance(run.call().error, CircuitOpenError)
    held.close()


def test_a_deadline_shorter_than_the_patience_ends_the_wait() -> None:
    run = Run(Deadline(2.5), Bulkhead(1, acquisition_timeout=30))
    held = run.call(stream=True)
    outcome = run.call()
    assert isinstance(outcome.error, PoolTimeoutError)
    assert (run.clock.now(), run.sent) == (2.5, 0)
    held.close()


# Everything together --------------------------------------------------------------------------------------------------


class Counting(Script):
    """A scripted server that counts how many requests are at work at a time."""

    def __init__(self, turns: Sequence[ScriptedReply | ScriptedFailure]) -> None:
        super().__init__(turns)
        self.ends: list[float] = []
        self.most = 0

    def reply(self, call: Call, now: float) -> ScriptedReply | ScriptedFailure:
        turn = super().reply(call, now)
        over = now + turn.seconds
        self.ends = [end for end in self.ends if end > now]
        self.ends.append(over if call.deadline is None else min(over, call.deadline))
        self.most = max(self.most, sum(end > now for end in self.ends))
        return turn


SECONDS = st.sampled_from([0.0, 0.1, 0.5, 1.0, 3.0])
TURNS = st.one_of(
    st.builds(ScriptedReply, st.sampled_from([200, 200, 200, 404, 503]), seconds=SECONDS),
    st.builds(ScriptedFailure, st.sampled_from([CONNECT, READ_TIMEOUT, UNCLASSIFIED]), SECONDS),
)


@given(
    turns=st.lists(TURNS, min_size=1, max_size=30),
    starts=st.lists(st.floats(0, 20), min_size=1, max_size=60),
    slots=st.integers(1, 3),
    patience=st.sampled_from([0, 0.7, 30]),
    probes=st.integers(1, 2),
    outside=st.sampled_from([(), (Deadline(2.2),), (NO_BUDGET,), (Deadline(5), NO_BUDGET)]),
    inside=st.sampled_from([(), (TokenBucket(rate=2, capacity=1, max_wait=1),)]),
    adaptive=st.booleans(),
)
@settings(max_examples=200)
def test_whatever_happens_nothing_stays_taken(
    turns: list[Any],
    starts: list[float],
    slots: int,
    patience: float,
    probes: int,
    outside: tuple[Policy, ...],
    inside: tuple[Policy, ...],
    adaptive: bool,
) -> None:
    breaker = CircuitBreaker(failure_threshold=2, recovery_timeout=1, half_open_calls=probes)
    bulkhead = AdaptiveBulkhead("aimd", slots, 1, slots, patience) if adaptive else Bulkhead(slots, patience)
    server = Counting(turns)
    simulation = Simulation(server)
    stack = compose([*outside, Gates((breaker, bulkhead)), *inside])
    calls = [simulation.call(stack, at=start) for start in starts]
    simulation.run()
    assert all(call.outcome is not None for call in calls)
    assert server.most <= slots
    states = simulation.store._states
    (state,) = [state for name, state in states.items() if "bulkhead" in name]
    assert (state.new + state.old, state.queue) == (0, ())
    assert states["circuit http://server.example"].probes == ()
    assert simulation.store._parked == {}
