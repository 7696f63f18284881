"""The record of an idempotency key: every cell of its table, and no order of crashes that runs an operation twice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polvo_adapters.policies.idempotency.record import (
    BEGUN,
    DONE,
    DOUBT,
    MOVED,
    NEW,
    SENDING,
    Begin,
    Different,
    Done,
    Doubt,
    Doubtful,
    Duplicate,
    ForgetKey,
    KeyInUse,
    LookAtKey,
    Moved,
    Record,
    RecordedResponse,
    RecordState,
    Resolve,
    Run,
    Sending,
    Stored,
    Unsent,
)
from polvo_adapters.stores.codec import decode, encode

RECORD = Record(ttl=100, lease=10)
ANSWER = RecordedResponse(201, (("Content-Type", "text/plain"),), b"made")
BEGIN = Begin("content", "url", ask=False)
ASK = BEGIN._replace(ask=True)
SEND = Sending(1, "content", "url")
FINISH = Done(1, "content", "url", ANSWER)


def after(*events: object, record: Record = RECORD, at: float = 0.0) -> tuple[RecordState, object]:
    """Return state and verdict after events; a number among them is a time to go on to."""
    state, verdict, now = record.initial, None, at
    for event in events:
        if isinstance(event, (int, float)):
            now = float(event)
        else:
            state, verdict = record.transition(state, event, now)
    return state, verdict


PHASES = {
    NEW: (),
    BEGUN: (BEGIN,),
    SENDING: (BEGIN, SEND),
    DOUBT: (BEGIN, SEND, Doubt(1)),
    DONE: (BEGIN, SEND, FINISH),
    MOVED: (BEGIN, SEND, Moved(1)),
}


def test_the_phases_are_reached_as_the_table_says() -> None:
    assert [after(*events, 0, LookAtKey())[0].phase for events in PHASES.values()] == list(PHASES)


@pytest.mark.parametrize(
    ("event", "phases"),
    [
        (SEND, [NEW, SENDING, SENDING, SENDING, DONE, MOVED]),
        (FINISH, [DONE, DONE, DONE, DONE, DONE, DONE]),
        (Doubt(1), [NEW, NEW, DOUBT, DOUBT, DONE, MOVED]),
        (Unsent(1), [NEW, NEW, NEW, NEW, DONE, MOVED]),
        (Moved(1), [NEW, MOVED, MOVED, MOVED, DONE, MOVED]),
        (Resolve(done=False), [NEW, BEGUN, SENDING, NEW, DONE, MOVED]),
        (Resolve(done=True), [NEW, BEGUN, SENDING, DONE, DONE, MOVED]),
        (ForgetKey(), [NEW] * 6),
    ],
)
def test_every_cell(event: object, phases: list[str]) -> None:
    assert [after(*events, event)[0].phase for events in PHASES.values()] == phases


def test_begin() -> None:
    verdicts = [after(*events, 3, BEGIN)[1] for events in PHASES.values()]
    assert verdicts == [Run(1, again=False), KeyInUse(7), KeyInUse(7), Doubtful(3), Stored(ANSWER), Run(2, again=False)]
    assert after(*PHASES[DOUBT], ASK)[1] == Run(2, again=True)


@pytest.mark.parametrize("phase", [BEGUN, SENDING, DOUBT, DONE, MOVED])
@pytest.mark.parametrize("other", [ASK._replace(content="other"), ASK._replace(url="other")])
def test_another_request_with_the_key_changes_nothing(phase: str, other: Begin) -> None:
    before = after(*PHASES[phase])[0]
    got, verdict = RECORD.transition(before, other, 1)
    if phase == MOVED and other.url == "other":  # a redirect leads elsewhere
        assert (verdict, got.urls) == (Run(2, again=False), ("url", "other"))
    else:
        assert (got, type(verdict)) == (before, Different)
        assert verdict.parts


def test_what_a_redirect_led_to_is_the_same_operation_from_the_start() -> None:
    there = BEGIN._replace(url="there")
    moved = (*PHASES[MOVED], there, Sending(2, "content", "there"), Doubt(2))
    assert after(*moved, BEGIN)[1] == after(*moved, there)[1] == Doubtful(0)


@pytest.mark.parametrize("event", [SEND, Doubt(1), Unsent(1), Moved(1)])
def test_who_lost_the_lease_is_not_heard(event: object) -> None:
    taken = (BEGIN, SEND, 11, ASK, Sending(2, "content", "url"))
    before = after(*taken)[0]
    got, verdict = RECORD.transition(before, event, 12)
    assert (got, verdict) == (before, type(event) is not Sending)


def test_who_finishes_late_has_finished() -> None:
    assert after(BEGIN, SEND, 11, ASK, FINISH)[0].phase == DONE
    assert after(BEGIN, SEND, FINISH, FINISH._replace(response=None))[0].response == ANSWER
    assert after(BEGIN, FINISH._replace(content="other"))[0].phase == BEGUN


@pytest.mark.parametrize(
    ("events", "phase"),
    [
        ((BEGIN, 9.9), BEGUN),
        ((BEGIN, 10), NEW),
        ((BEGIN, SEND, 9.9), SENDING),
        ((BEGIN, SEND, 10), DOUBT),
        ((BEGIN, SEND, 1e9), DOUBT),
        ((BEGIN, 9, SEND, 18), SENDING),
        ((*PHASES[DOUBT], 1e9), DOUBT),
        ((*PHASES[DOUBT], ASK, 11), DOUBT),
        ((*PHASES[DONE], 99), DONE),
        ((*PHASES[DONE], 100), NEW),
        ((*PHASES[MOVED], 100), NEW),
    ],
)
def test_time_alone(events: tuple[object, ...], phase: str) -> None:
    assert after(*events, LookAtKey())[0].phase == phase


def test_a_lease_that_nobody_has_taken_over_can_be_used_late() -> None:
    late = (BEGIN, 11, SEND)
    assert after(*late)[1] is True
    assert after(*late, 12, LookAtKey())[0][:3] == (SENDING, "content", ("url",))
    again = (BEGIN, SEND, 11, SEND)
    assert after(*again)[1] is True
    assert after(*again, Unsent(1))[0].phase == NEW


@pytest.mark.parametrize("event", [Doubt(2), Unsent(2), Moved(2)])
def test_doubt_is_not_ended_by_asking_in_vain(event: object) -> None:
    state, _ = after(*PHASES[DOUBT], 5, ASK, Sending(2, "content", "url"), 6, event)
    assert (state.phase, state.since) == (DOUBT, 0)
    assert after(*PHASES[DOUBT], 5, ASK, event)[0].phase == DOUBT
    assert after(*PHASES[DOUBT], 5, ASK, Sending(2, "content", "url"), 16, LookAtKey())[0].since == 0


@pytest.mark.parametrize(
    ("how", "verdict"), [("replay", Stored(ANSWER)), ("raise", Duplicate()), ("run", Run(2, again=False))]
)
def test_duplicates(how: str, verdict: object) -> None:
    record = Record(ttl=100, lease=10, on_duplicate=how)  # type: ignore[arg-type]
    assert after(*PHASES[DONE], BEGIN, record=record)[1] == verdict
    assert after(*PHASES[DONE], 100, BEGIN, record=record)[1] == Run(2, again=False)


@pytest.mark.parametrize("answer", [None, ANSWER._replace(body=None)])
def test_an_answer_that_was_not_kept_cannot_be_replayed(answer: RecordedResponse | None) -> None:
    assert after(BEGIN, SEND, FINISH._replace(response=answer), BEGIN)[1] == Duplicate()


def test_resolving() -> None:
    assert after(*PHASES[DOUBT], Resolve(done=True), BEGIN)[1] == Duplicate()
    assert after(*PHASES[DOUBT], Resolve(done=False), BEGIN)[1] == Run(2, again=False)
    assert [after(*PHASES[phase], Resolve(done=True))[1] for phase in (NEW, SENDING, DONE)] == [False] * 3


def test_a_run_that_is_broken_off() -> None:
    assert RECORD.release_event(Run(3, again=False)) == Doubt(3)
    assert RECORD.release_event(KeyInUse(1)) == LookAtKey()


@pytest.mark.parametrize("events", PHASES.values(), ids=PHASES)
def test_states_can_be_kept_outside_of_the_process(events: tuple[object, ...]) -> None:
    state, _ = after(*events)
    assert decode(encode(state)) == state


@pytest.mark.parametrize(
    "wrong",
    [
        {"ttl": 0},
        {"on_duplicate": "ignore"},
        {"lease": 0},
        {"lease": float("inf")},
        {"max_body": -1},
        {"max_body": 1.5},
    ],
)
def test_settings_that_cannot_work(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Record(**wrong)  # type: ignore[arg-type]


class Crowd:
    """Workers with one key, at a server that does not know keys; each goes through its run, is slow, or dies."""

    def __init__(self) -> None:
        self.state, self.now, self.done = RECORD.initial, 0.0, 0
        self.runs: dict[int, tuple[str, int]] = {}

    def step(self, worker: int, step: str) -> None:
        at, lease = self.runs.get(worker, ("idle", 0))
        if (at, step) in {("idle", "begin"), ("begun", "send"), ("sent", "do"), ("sent", "doubt"), ("begun", "unsent")}:
            self.runs[worker] = getattr(self, step)(at, lease)
        elif (at, step) in {("answered", "tell"), ("answered", "doubt")}:
            self.put(FINISH._replace(lease=lease) if step == "tell" else Doubt(lease))
            del self.runs[worker]
        elif step == "crash" and at != "sent":  # what has left the client arrives, whoever dies
            self.runs.pop(worker, None)

    def put(self, event: object) -> object:
        self.state, verdict = RECORD.transition(self.state, event, self.now)  # type: ignore[arg-type]
        return verdict

    def begin(self, at: str, lease: int) -> tuple[str, int]:
        verdict = self.put(BEGIN)
        return ("begun", verdict.lease) if isinstance(verdict, Run) else ("idle", 0)

    def send(self, at: str, lease: int) -> tuple[str, int]:
        return ("sent" if self.put(SEND._replace(lease=lease)) else "idle", lease)

    def do(self, at: str, lease: int) -> tuple[str, int]:
        self.done += 1
        return ("answered", lease)

    def doubt(self, at: str, lease: int) -> tuple[str, int]:
        self.put(Doubt(lease))
        return (at, lease)

    def unsent(self, at: str, lease: int) -> tuple[str, int]:
        self.put(Unsent(lease))
        return ("idle", 0)


WORDS = ["begin", "send", "do", "tell", "doubt", "unsent", "crash"]


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(WORDS), st.floats(0, 12)), max_size=60))
def test_no_order_of_crashes_does_the_work_twice(steps: list[tuple[int, str, float]]) -> None:
    crowd = Crowd()
    for worker, step, seconds in steps:
        crowd.now = min(crowd.now + seconds, RECORD.ttl - 1)
        crowd.step(worker, step)
        assert crowd.done <= 1
    if crowd.done:
        assert crowd.put(LookAtKey())[0] in (SENDING, DOUBT, DONE)  # type: ignore[index]


def test_what_is_in_doubt_may_be_asked_for_where_the_server_wants_it() -> None:
    moved = (BEGIN, SEND, Moved(1, doubtful=True))
    state, _ = after(*moved)
    assert (state.phase, state.moved) == (DOUBT, True)
    elsewhere = ASK._replace(url="elsewhere")
    assert type(after(*moved, elsewhere)[1]) is Run
    assert type(after(*moved, elsewhere._replace(ask=False))[1]) is Doubtful
    assert type(after(*moved, elsewhere._replace(content="another"))[1]) is Different
    assert type(after(BEGIN, SEND, Doubt(1), elsewhere)[1]) is Different


def test_a_run_that_began_in_doubt_and_was_moved_goes_on_elsewhere() -> None:
    again = (BEGIN, SEND, Doubt(1), ASK, SEND._replace(lease=2), Moved(2))
    assert after(*again)[0].phase == DOUBT
    assert type(after(*again, ASK._replace(url="elsewhere"))[1]) is Run


def test_a_move_without_doubt_is_only_a_move() -> None:
    assert after(BEGIN, SEND, Moved(1))[0].phase == MOVED
    assert after(BEGIN, Moved(1, doubtful=True))[0].phase == MOVED
