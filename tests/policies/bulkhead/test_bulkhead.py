"""The bulkhead: settings, the machine against a simple model of it, and calls in virtual time."""

from __future__ import annotations

import pickle
from dataclasses import replace
from itertools import pairwise
from typing import Any, NamedTuple

import pytest
import requests
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import compose
from polvo_adapters.core.machines import Refused, Wake
from polvo_adapters.core.outcomes import CONNECT, DISCONNECTED, EXPIRED, NOT_SENT, READ_TIMEOUT, UNCLASSIFIED, Outcome
from polvo_adapters.core.report import Wait
from polvo_adapters.errors import PoolTimeoutError
from polvo_adapters.policies.bulkhead import AdaptiveBulkhead, Bulkhead
from polvo_adapters.policies.bulkhead.concurrency_limit import Sample
from polvo_adapters.policies.bulkhead.policy import AcquireSlot, JoinQueue, LeaveQueue, ReleaseSlot, Slot
from polvo_adapters.policies.deadline import Deadline
from polvo_adapters.policies.gates import QueuePlace
from polvo_adapters.policies.retry import ExponentialBackoff
from polvo_adapters.testing.simulation.simulation import (
    Script,
    ScriptedFailure,
    ScriptedReply,
    ScriptedTurn,
    Simulation,
)
from tests.policies.test_gates import GET, Run
from tests.support.flow_stepper import answered, failed

KEY = "bulkhead"
POLICIES = [Bulkhead(2), AdaptiveBulkhead(initial_limit=2)]


class Machine:
    """A bulkhead alone, moved by hand."""

    def __init__(self, policy: Bulkhead | AdaptiveBulkhead | None = None) -> None:
        self.policy: Any = policy or Bulkhead(2)
        self.state: Any = self.policy.initial
        self.now = 0.0

    def put(self, event: Any) -> Any:
        after, verdict = self.policy.transition(self.state, event, self.now)
        if type(verdict) is not Refused:
            self.state = after
        return verdict

    def take(self, place: QueuePlace | None = None) -> Any:
        return self.put(AcquireSlot(place.name if place else ""))

    def join(self, patience: float = 30.0, deadline: float | None = None) -> QueuePlace:
        place: QueuePlace = self.put(JoinQueue(KEY, patience, deadline))
        return place

    @property
    def free(self) -> int:
        copy, taken = self.state, 0
        while type(self.take()) is not Refused:
            taken += 1
        self.state = copy
        return taken


# Settings -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "5", None, float("nan"), float("inf")])
def test_a_number_of_slots_of_the_wrong_kind_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"Bulkhead.max_concurrency=.*: max_concurrency must be a whole number"):
        Bulkhead(value)


@pytest.mark.parametrize("kind", [Bulkhead, AdaptiveBulkhead])
@pytest.mark.parametrize("value", [-1, True, "5", None, float("nan")])
def test_a_patience_of_the_wrong_kind_is_refused(kind: Any, value: Any) -> None:
    with pytest.raises(ValueError, match="acquisition_timeout must be a number of at least 0"):
        kind(acquisition_timeout=value)


@pytest.mark.parametrize("kind", [Bulkhead, AdaptiveBulkhead])
@pytest.mark.parametrize("value", [0, -1, True, "5", None, float("nan"), float("inf")])
def test_a_lease_of_the_wrong_kind_is_refused(kind: Any, value: Any) -> None:
    with pytest.raises(ValueError, match="lease must be a number above 0"):
        kind(lease=value)


@pytest.mark.parametrize(
    ("name", "value"),
    [("initial_limit", 0), ("min_limit", 0), ("max_limit", 0), ("max_limit", True), ("strategy", "vegas")],
)
def test_an_adaptive_setting_of_the_wrong_kind_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{name} must be"):
        AdaptiveBulkhead(**{name: value})


def test_fewest_slots_above_most_slots_are_refused() -> None:
    with pytest.raises(ValueError, match="max_limit"):
        AdaptiveBulkhead(min_limit=5, max_limit=4)


@pytest.mark.parametrize(
    "policy",
    [Bulkhead(), Bulkhead(1, 0), Bulkhead(7, float("inf")), AdaptiveBulkhead(), AdaptiveBulkhead("aimd", 3, 2, 9)],
)
def test_a_policy_is_a_value(policy: Any) -> None:
    assert pickle.loads(pickle.dumps(policy)) == policy == replace(policy)
    assert hash(policy) == hash(replace(policy))


# The machine ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", POLICIES)
def test_there_are_so_many_slots_and_no_more(policy: Any) -> None:
    machine = Machine(policy)
    assert [machine.take(), machine.take()] == [Slot(0, 1), Slot(0, 2)]
    assert machine.take() == Refused("all 2 slots of the bulkhead are in use")


def test_a_slot_that_was_given_back_can_be_taken_again() -> None:
    machine = Machine()
    machine.take()
    slot = machine.take()
    assert machine.put(ReleaseSlot(slot)) is None
    assert machine.free == 1


def test_who_gives_a_slot_back_calls_the_first_in_the_queue() -> None:
    machine = Machine()
    slots = [machine.take(), machine.take()]
    first, second = machine.join(), machine.join()
    assert machine.put(ReleaseSlot(slots[0])) == Wake([first.name])
    assert machine.put(ReleaseSlot(slots[1])) == Wake([first.name, second.name])


def test_who_leaves_passes_the_call_on() -> None:
    machine = Machine(Bulkhead(1))
    slot = machine.take()
    first, second = machine.join(), machine.join()
    machine.put(ReleaseSlot(slot))
    assert machine.put(LeaveQueue(first.name)) == Wake([second.name])


def test_newcomers_do_not_overtake() -> None:
    machine = Machine(Bulkhead(1))
    slot = machine.take()
    place = machine.join()
    machine.put(ReleaseSlot(slot))
    assert type(machine.take()) is Refused
    assert type(machine.take(place)) is Slot
    assert machine.state.queue == ()


def test_those_behind_do_not_overtake() -> None:
    machine = Machine(Bulkhead(1))
    slot = machine.take()
    first, second = machine.join(), machine.join()
    machine.put(ReleaseSlot(slot))
    assert type(machine.take(second)) is Refused
    assert type(machine.take(first)) is Slot


def test_a_long_queue_is_looked_at_only_as_far_as_it_matters() -> None:
    """Each of thousands of calls that wait asks again now and then; together they must not take all of a processor."""
    looked = 0

    class Counted(tuple):  # type: ignore[type-arg]
        __slots__ = ()

        def __iter__(self) -> Any:
            nonlocal looked
            for each in tuple.__iter__(self):
                looked += 1
                yield each

    machine = Machine(Bulkhead(3))
    slots = [machine.take() for _ in range(3)]
    places = [machine.join() for _ in range(1000)]
    machine.state = machine.state._replace(queue=Counted(machine.state.queue))
    assert type(machine.take(places[500])) is Refused
    assert type(machine.take()) is Refused
    assert looked == 0  # all slots are in use
    assert machine.put(ReleaseSlot(slots[0])) == Wake([places[0].name])
    assert type(machine.take(places[500])) is Refused
    assert type(machine.take()) is Refused
    assert looked <= 5
    assert type(machine.take(places[0])) is Slot


def test_a_newcomer_gets_the_slot_that_is_left_when_all_who_wait_have_theirs() -> None:
    machine = Machine(Bulkhead(3))
    slots = [machine.take() for _ in range(3)]
    place = machine.join()
    machine.put(ReleaseSlot(slots[0]))
    machine.put(ReleaseSlot(slots[1]))
    assert type(machine.take()) is Slot
    assert type(machine.take()) is Refused
    assert type(machine.take(place)) is Slot


def test_who_waits_for_longer_than_the_patience_is_in_nobodys_way() -> None:
    machine = Machine(Bulkhead(1))
    slot = machine.take()
    machine.join(patience=5)
    machine.now = 5.01
    machine.put(ReleaseSlot(slot))
    assert type(machine.take()) is Slot


def test_a_call_does_not_go_to_somebody_who_is_gone() -> None:
    machine = Machine(Bulkhead(1))
    slot = machine.take()
    machine.join(patience=5)
    second = machine.join(patience=30)
    machine.now = 5.01
    assert machine.put(ReleaseSlot(slot)) == Wake([second.name])


def test_a_leaver_does_not_pass_the_call_on_to_somebody_who_is_gone() -> None:
    machine = Machine(Bulkhead(1))
    slot = machine.take()
    first, _, third = machine.join(), machine.join(patience=5), machine.join()
    machine.now = 5.01
    machine.put(ReleaseSlot(slot))
    assert machine.put(LeaveQueue(first.name)) == Wake([third.name])


@pytest.mark.parametrize(
    ("patience", "deadline", "waits"), [(30, None, 30), (30, 105.0, 5), (3, 105.0, 3), (30, 99.0, 0), (0, None, 0)]
)
def test_nobody_waits_beyond_patience_and_deadline(patience: float, deadline: float | None, waits: float) -> None:
    machine = Machine()
    machine.now = 100.0
    place = machine.join(patience, deadline)
    assert place.patience == waits
    assert machine.state.queue == ((place.name, 100.0 + waits),)


@pytest.mark.parametrize(
    ("taken", "kept_until", "gone_at"),
    [(0.0, 199.9, 200.0), (99.9, 199.9, 200.0), (100.0, 299.9, 300.0), (150.0, 299.9, 300.0)],
)
def test_a_slot_that_is_lost_comes_back_after_its_lease_and_before_twice_that(
    taken: float, kept_until: float, gone_at: float
) -> None:
    machine = Machine(Bulkhead(1, lease=100))
    machine.now = taken
    machine.take()
    machine.now = kept_until
    assert machine.free == 0
    machine.now = gone_at
    assert machine.free == 1


def test_a_slot_that_comes_back_after_it_was_given_up_frees_nobody_elses() -> None:
    machine = Machine(Bulkhead(1, lease=100))
    lost = machine.take()
    machine.now = 200.0
    machine.take()
    machine.put(ReleaseSlot(lost))
    assert machine.free == 0


def test_a_slot_of_the_period_before_is_given_back_as_well() -> None:
    machine = Machine(Bulkhead(2, lease=100))
    slots = [machine.take(), machine.take()]
    machine.now = 100.0
    machine.put(ReleaseSlot(slots[0]))
    assert machine.free == 1
    machine.now = 199.0
    machine.put(ReleaseSlot(slots[1]))
    assert machine.free == 2


def test_a_limit_that_fell_below_what_is_in_use_frees_nothing_and_calls_nobody() -> None:
    machine = Machine(AdaptiveBulkhead("aimd", initial_limit=10))
    slots = [machine.take() for _ in range(10)]
    places = [machine.join() for _ in range(8)]
    machine.state = machine.state._replace(limit=machine.state.limit._replace(limit=5.0))
    assert [machine.put(ReleaseSlot(slot)) for slot in slots[:5]] == [None] * 5
    assert machine.put(ReleaseSlot(slots[5])) == Wake([places[0].name])


def test_a_host_that_drops_a_request_gets_fewer_at_a_time() -> None:
    machine = Machine(AdaptiveBulkhead("aimd", initial_limit=10))
    machine.now = 100.0
    slots = [machine.take() for _ in range(10)]
    machine.join()
    assert machine.put(ReleaseSlot(slots[0], Sample(1.0, 10, True))) is None
    assert machine.policy.count_slots(machine.state.limit) == 9
    assert machine.put(ReleaseSlot(slots[1])) is not None


@pytest.mark.parametrize(
    ("outcome", "sample"),
    [
        (answered(200, now=2.0), Sample(2.0, 4, False)),
        (answered(304, now=2.0), Sample(2.0, 4, False)),
        (answered(404, now=2.0), None),
        (answered(500, now=2.0), None),
        (answered(429, now=2.0), Sample(2.0, 4, True)),
        (answered(502, now=2.0), Sample(2.0, 4, True)),
        (answered(503, now=2.0), Sample(2.0, 4, True)),
        (answered(504, now=2.0), Sample(2.0, 4, True)),
        (failed(READ_TIMEOUT, now=2.0), Sample(2.0, 4, True)),
        (failed(CONNECT, now=2.0), Sample(2.0, 4, True)),
        (failed(DISCONNECTED, now=2.0), Sample(2.0, 4, True)),
        (failed(EXPIRED, now=2.0), Sample(2.0, 4, True)),
        (failed(UNCLASSIFIED, now=2.0), None),
        (failed(NOT_SENT, now=2.0), None),
    ],
)
def test_what_a_call_teaches(outcome: Outcome, sample: Sample | None) -> None:
    assert AdaptiveBulkhead().result_event(GET, Slot(0, 4), outcome) == ReleaseSlot(Slot(0, 4), sample)


def test_a_call_that_was_broken_off_teaches_nothing() -> None:
    assert AdaptiveBulkhead().release_event(Slot(3, 4)) == ReleaseSlot(Slot(3, 4), None)


# Against a model ------------------------------------------------------------------------------------------------------


class Held(NamedTuple):
    """A slot that was granted, and when."""

    slot: Slot
    at: float


class Slots(RuleBasedStateMachine):
    """Compares a bulkhead with lists of who holds and who waits, whatever happens in whatever order."""

    slots = Bundle("slots")
    places = Bundle("places")
    lease = 16.0

    @initialize(policy=st.sampled_from(["1", "3", "adaptive"]))
    def begin(self, policy: str) -> None:
        self.policy: Any = (
            AdaptiveBulkhead("aimd", initial_limit=3, max_limit=5, lease=self.lease)
            if policy == "adaptive"
            else Bulkhead(int(policy), lease=self.lease)
        )
        self.state: Any = self.policy.initial
        self.now = 1024.0
        self.holding: list[Held] = []
        self.lost: list[Held] = []
        self.queue: list[tuple[str, float]] = []

    @property
    def limit(self) -> int:
        return int(self.policy.count_slots(self.state.limit))

    @property
    def in_use(self) -> int:
        """Slots that were not given back, in the period of their lease and in the one after it."""
        period = self.now // self.lease
        return sum(period - held.at // self.lease <= 1 for held in self.holding)

    @property
    def waiting(self) -> list[str]:
        return [name for name, ends in self.queue if ends >= self.now]

    def put(self, event: Any) -> Any:
        after, verdict = self.policy.transition(self.state, event, self.now)
        hash(after)  # plain values all the way down
        if type(verdict) is not Refused:
            self.state = after
        return verdict

    def granted(self, name: str, ahead: int) -> Held | None:
        fits = self.in_use + ahead < self.limit
        verdict = self.put(AcquireSlot(name))
        assert (type(verdict) is Slot) is fits
        if not fits:
            return None
        held = Held(verdict, self.now)
        self.holding.append(held)
        assert verdict.inflight == self.in_use
        self.queue = [place for place in self.queue if place[1] >= self.now and place[0] != name]
        return held

    def called(self) -> Wake | None:
        free = max(0, self.limit - self.in_use)
        names = self.waiting[:free]
        return Wake(names) if names else None

    @rule(target=slots)
    def newcomer(self) -> Held | None:
        return self.granted("", len(self.waiting))

    @rule(
        target=places, patience=st.sampled_from([0.0, 2.0, 30.0]), left=st.sampled_from([None, None, -1.0, 1.0, 50.0])
    )
    def join(self, patience: float, left: float | None) -> QueuePlace:
        place: QueuePlace = self.put(JoinQueue(KEY, patience, None if left is None else self.now + left))
        assert place.patience == max(0.0, patience if left is None else min(patience, left))
        assert place.name not in [name for name, _ in self.queue]
        self.queue.append((place.name, self.now + place.patience))
        return place

    @rule(target=slots, place=places)
    def ask_again(self, place: QueuePlace) -> Held | None:
        ahead = self.waiting
        if place.name in [name for name, _ in self.queue]:  # it may be late, but nobody has taken its place away
            before = [name for name, _ in self.queue[: [name for name, _ in self.queue].index(place.name)]]
            ahead = [name for name in ahead if name in before]
        return self.granted(place.name, len(ahead))

    @rule(place=consumes(places))
    def leave(self, place: QueuePlace) -> None:
        self.queue = [each for each in self.queue if each[0] != place.name]
        verdict = self.put(self.policy.release_event(place))
        assert verdict == self.called()

    @rule(held=consumes(slots), ended=st.sampled_from(["told", "dropped", "broken off"]))
    def give_back(self, held: Held | None, ended: str) -> None:
        if held is None or held not in self.holding:
            return
        outcome = Outcome(status=503 if ended == "dropped" else 200, started=held.at, now=self.now)
        event = (
            self.policy.release_event(held.slot)
            if ended == "broken off"
            else self.policy.result_event(GET, held.slot, outcome)
        )
        self.holding.remove(held)
        verdict = self.put(event)
        assert verdict == self.called()

    @rule(held=consumes(slots))
    def never_hear_of_it_again(self, held: Held | None) -> None:
        """Drop it: its thread was killed with its process, and only its lease ends that."""

    @rule(seconds=st.sampled_from([0.5, 1.0, 3.0, 8.0, 40.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def never_more_than_the_limit_hold_a_slot_whose_lease_has_not_ended(self) -> None:
        if hasattr(self, "policy"):
            alive = [held for held in self.holding if self.now - held.at < self.lease]
            most = self.policy.max_limit if isinstance(self.policy, AdaptiveBulkhead) else self.policy.max_concurrency
            assert len(alive) <= most

    @invariant()
    def no_slot_is_lost(self) -> None:
        if hasattr(self, "policy"):
            copy = self.state
            self.now += 2 * self.lease + 40
            free = 0
            while type(self.put(AcquireSlot(""))) is Slot:
                free += 1
            self.now -= 2 * self.lease + 40
            self.state = copy
            assert free == self.limit


TestSlots = Slots.TestCase
TestSlots.settings = settings(max_examples=150, stateful_step_count=60)


# Calls in virtual time ------------------------------------------------------------------------------------------------


def waited(call: Any) -> float:
    return sum(entry.seconds for entry in call.entries if isinstance(entry, Wait))


def simulated(policy: Any, count: int, turns: list[ScriptedTurn], every: float = 0.0) -> tuple[Simulation, list[Any]]:
    simulation = Simulation(Script(turns))
    calls = [simulation.call(compose([policy]), at=number * every) for number in range(count)]
    simulation.run()
    return simulation, calls


def test_who_waits_goes_as_soon_as_a_slot_is_free_first_come_first_served() -> None:
    _, calls = simulated(Bulkhead(5, acquisition_timeout=60), 100, [ScriptedReply(200, seconds=1.25)])
    assert [waited(call) for call in calls] == [number // 5 * 1.25 for number in range(100)]


def test_who_comes_while_others_wait_goes_behind_them() -> None:
    _, calls = simulated(Bulkhead(1, acquisition_timeout=600), 50, [ScriptedReply(200, seconds=1.0)], every=0.75)
    ends = [number * 0.75 + waited(call) for number, call in enumerate(calls)]
    assert all(later - earlier == pytest.approx(1.0) for earlier, later in pairwise(ends))


def test_who_gets_no_slot_in_time_is_told_so_just_in_time() -> None:
    simulation, calls = simulated(Bulkhead(5, acquisition_timeout=3.5), 100, [ScriptedReply(200, seconds=1.0)])
    served = [call.outcome.status == 200 for call in calls]
    assert served == [True] * 20 + [False] * 80
    assert {type(call.outcome.error) for call in calls[20:]} == {PoolTimeoutError}
    assert [waited(call) for call in calls[20:]] == [3.5] * 80
    (slots,) = simulation.store._states.values()
    assert (slots.new + slots.old, slots.queue) == (0, ())


@pytest.mark.parametrize("turn", [ScriptedFailure(READ_TIMEOUT, 1.0), ScriptedReply(503, seconds=1.0)])
def test_a_call_that_fails_gives_its_slot_back_too(turn: ScriptedTurn) -> None:
    simulation, calls = simulated(Bulkhead(3), 30, [turn])
    assert max(waited(call) for call in calls) == 9.0
    (slots,) = simulation.store._states.values()
    assert (slots.new + slots.old, slots.queue) == (0, ())


def test_a_slot_is_not_held_between_retries_outside_of_it() -> None:
    run = Run(
        ExponentialBackoff(max_attempts=2, base=4.0, jitter="none", budget=None), Bulkhead(1, acquisition_timeout=0)
    )
    sleep = run.clock.sleep

    def look(seconds: float) -> None:
        assert run.held == 0
        sleep(seconds)

    run.clock.sleep = look
    assert run.call(ScriptedReply(503), ScriptedReply(200)).status == 200
    assert run.clock.now() == 4.0


def test_a_call_that_does_not_wait_takes_no_place_in_the_queue() -> None:
    # A place that its call never parks on would make a slot that becomes free look taken to everybody else.
    run = Run(Bulkhead(1, acquisition_timeout=0))
    held = run.call(stream=True)
    assert isinstance(run.call().error, PoolTimeoutError)
    assert (run.slots.issued, run.clock.now(), run.entries) == (0, 0.0, [])
    held.close()
    assert run.call().status == 200


def test_a_deadline_that_is_over_ends_the_wait_at_once() -> None:
    run = Run(Bulkhead(1))
    held = run.call(stream=True)
    run.clock.advance(100)
    outcome = run.call(call=GET._replace(deadline=50.0))
    assert isinstance(outcome.error, PoolTimeoutError)
    assert run.clock.now() == 100.0
    held.close()


def test_a_wait_is_time_in_the_queue() -> None:
    run = Run(Deadline(4), Bulkhead(1))
    held = run.call(stream=True)
    run.call()
    assert run.entries == [Wait(1.0, "bulkhead, all 1 slots are in use")] * 4
    held.close()


def test_the_error_tells_what_and_where_and_what_to_do() -> None:
    run = Run(Bulkhead(3, acquisition_timeout=2))
    held = [run.call(stream=True) for _ in range(3)]
    call = Call("GET", "https://user:s3cret@api.example.com/x?token=s3cret")
    error = run.call(call=call).error
    assert isinstance(error, PoolTimeoutError)
    assert isinstance(error, requests.ConnectionError)
    assert isinstance(error, requests.Timeout)
    assert str(error) == (
        "GET api.example.com: not sent, all 3 slots of the bulkhead are in use and none became free within 2 s or "
        "before the deadline; call again later, send fewer calls at a time, or allow more of them"
    )
    assert (error.host, error.reason) == ("api.example.com", "bulkhead of 3 https://api.example.com")
    copied = pickle.loads(pickle.dumps(error))
    assert (str(copied), copied.reason) == (str(error), error.reason)
    for wire in held:
        wire.close()
