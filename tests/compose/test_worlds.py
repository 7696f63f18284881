"""Races, parked calls and leases are the same in every world: shown by policies made for this, small as they can be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Acquire, Flow, Park, Proceed, Race, Release, Start, WaitAny
from polvo_adapters.core.machines import Changed, Event, Refused, Wake
from polvo_adapters.core.outcomes import CONNECT, DISCONNECTED, EXPIRED, Outcome
from polvo_adapters.core.report import CANCELLED, Attempt, StateChange, Wait
from polvo_adapters.policies.deadline import Deadline
from polvo_adapters.policies.retry import ExponentialBackoff
from polvo_adapters.testing.simulation.simulation import ScriptedFailure, ScriptedReply
from tests.support.worlds import Calling, Story, Tale, apart, by_time, by_url, in_turn, tell

ORDERS = "http://server.example/orders"
RETRY = ExponentialBackoff(max_attempts=2, base=0.125, jitter="none")


@dataclass(frozen=True)
class Staggered:
    """Go to several places, one after the other or sooner, and take the first good answer."""

    races = True

    after: float
    urls: Sequence[str] = (ORDERS, ORDERS)

    def flow(self, call: Call, proceed: Proceed) -> Flow:
        outcome: Outcome = yield Race(self._race(call, proceed))
        return outcome

    def _race(self, call: Call, proceed: Proceed) -> Flow:
        outcome, ended = Outcome(), 0
        for url in self.urls:
            yield Start(proceed(call._replace(url=url)))
            answer = yield WaitAny(self.after)
            if answer is not None:
                outcome, ended = answer[1], ended + 1
                if outcome.status == 200 or outcome.failure is EXPIRED:
                    return outcome
        while ended < len(self.urls):
            number, outcome = yield WaitAny(None)
            ended += 1
            if outcome.status == 200:
                return outcome._replace(note=f"number {number}")
        return outcome


class Ask(NamedTuple):
    place: str


class Join(NamedTuple):
    place: str


class Leave(NamedTuple):
    place: str


class GivenBack(NamedTuple):
    """A slot is free again."""


GIVEN_BACK = GivenBack()


GRAIN = 1e-6  # seconds; what is left of a float may be too little to move a clock, and would be waited for for ever


class Slots(NamedTuple):
    taken: int = 0
    queue: tuple[str, ...] = ()


@dataclass(frozen=True)
class Slot:
    """So many calls at a time, the others in a queue."""

    slots: int = 1
    patience: float = 100.0

    @property
    def initial(self) -> Slots:
        return Slots()

    def transition(self, state: Slots, event: Any, now: float) -> tuple[Slots, Any]:
        taken, queue = state
        if type(event) is Ask:
            ahead = queue.index(event.place) if event.place in queue else len(queue)
            if taken + ahead >= self.slots:
                name = event.place or f"place {now}"
                return state, Refused("full", name=name)
            left = tuple(name for name in queue if name != event.place)
            return Slots(taken + 1, left), Changed(f"{taken} taken", f"{taken + 1} taken", "asked", "granted")
        if type(event) is Join:
            return Slots(taken, (*queue, event.place)), event
        if type(event) is Leave:
            queue = tuple(name for name in queue if name != event.place)
        else:
            taken -= 1
        return Slots(taken, queue), Wake(queue[: max(0, self.slots - taken)])

    def release_event(self, verdict: Any) -> Any:
        return Leave(verdict.place) if type(verdict) is Join else GIVEN_BACK

    def flow(self, call: Call, proceed: Proceed) -> Flow:
        verdict = (yield Acquire([self._event(Ask(""))]))[0]
        queued = type(verdict) is Refused
        if queued:
            place, left = verdict.name, self.patience
            yield Acquire([self._event(Join(place))])
            while left > GRAIN and type(verdict) is Refused:
                left -= yield Park(place, left, "full")
                verdict = (yield Acquire([self._event(Ask(place))]))[0]
            if type(verdict) is Refused:
                yield Release([self._event(Leave(place))], [self._event(Leave(place))])
                return Outcome(status=503, note="no slot", body=b"")
        outcome = yield from proceed(call)
        yield Release([self._event(GIVEN_BACK)], [self._event(GIVEN_BACK)])
        if queued:
            yield Release((), ())
        return outcome

    def _event(self, event: Any) -> Event:
        return Event(self, "slots", event)


def waits(story: Story) -> list[float]:
    return [entry.seconds for entry in story.entries if isinstance(entry, Wait)]


def attempts(story: Story) -> list[tuple[int | str, float]]:
    return [(each.failure or each.status, each.seconds) for each in story.entries if isinstance(each, Attempt)]


def ended(tale: Tale) -> list[tuple[str, float]]:
    return [(story.ended, story.clock) for story in tale.stories]


# Races ----------------------------------------------------------------------------------------------------------------


def test_the_first_good_answer_wins_and_the_loser_is_in_the_report() -> None:
    tale = tell(
        [Staggered(1)], lambda: in_turn(ScriptedReply(200, seconds=5), ScriptedReply(200, seconds=0.25)), Calling()
    )
    (story,) = tale.stories
    assert (story.ended, story.note, story.clock) == ("200", "", 1.25)
    assert attempts(story) == [(200, 0.25), (CANCELLED, 1.25)]
    assert [request.at for request in tale.requests] == [0, 1]


def test_an_answer_in_time_is_the_only_one() -> None:
    tale = tell([Staggered(1)], lambda: in_turn(ScriptedReply(200, seconds=0.5)), Calling())
    assert (attempts(tale.stories[0]), len(tale.requests)) == ([(200, 0.5)], 1)


def test_places_fail_over_by_url_and_time() -> None:
    urls = ("http://a.example/x", "http://b.example/x", "http://c.example/x")
    down = in_turn(ScriptedFailure(CONNECT, 0.25))
    tale = tell(
        [Staggered(3, urls)],
        lambda: by_url(
            {
                "http://a.example": by_time((0, down), (5, in_turn(ScriptedReply(200, seconds=0.125)))),
                "http://b.example": in_turn(ScriptedReply(503, seconds=4)),
                "http://c.example": in_turn(ScriptedReply(200, seconds=9)),
            }
        ),
        Calling(urls[0]),
        Calling(urls[0], at=6),
    )
    assert ended(tale) == [("200", 12.25), ("200", 6.125)]
    assert attempts(tale.stories[0]) == [("no connection", 0.25), (503, 4), (200, 9)]
    assert [(request.at, request.url) for request in tale.requests] == [
        (0, urls[0]),
        (0.25, urls[1]),
        (3.25, urls[2]),
        (6, urls[0]),
    ]


def test_losers_lose_in_the_middle_of_a_pause() -> None:
    """The first branch waits for its retry when the second one wins."""
    slow_retry = ExponentialBackoff(max_attempts=2, base=50, cap=50, jitter="none")
    server = lambda: in_turn(ScriptedReply(503, seconds=0.5), ScriptedReply(200, seconds=0.25))  # noqa: E731
    tale = tell([Staggered(1), slow_retry], server, Calling())
    (story,) = tale.stories
    assert (story.ended, story.clock, story.received) == ("200", 1.25, 2)
    assert attempts(story) == [(200, 0.25), (503, 0.5), (CANCELLED, 1.25)]


def test_a_race_within_a_race() -> None:
    server = lambda: in_turn(*[ScriptedReply(200, seconds=seconds) for seconds in (50, 40, 30, 0.125)])  # noqa: E731
    tale = tell([Staggered(8), Staggered(3)], server, Calling())
    (story,) = tale.stories
    assert [request.at for request in tale.requests] == [0, 3, 8, 11]
    assert (story.ended, story.clock) == ("200", 11.125)
    assert attempts(story) == [(200, 0.125), (CANCELLED, 3.125), (CANCELLED, 11.125)]


def test_a_deadline_ends_a_race_and_nothing_more_is_sent() -> None:
    tale = tell([Deadline(3), RETRY, Staggered(1)], lambda: in_turn(ScriptedReply(200, seconds=60)), Calling())
    (story,) = tale.stories
    assert (story.ended, story.clock, story.received) == ("DeadlineExceeded", 3, 2)


# Leases ---------------------------------------------------------------------------------------------------------------


def test_a_parked_call_goes_on_when_another_gives_back_what_it_waits_for() -> None:
    tale = tell([Slot()], lambda: in_turn(ScriptedReply(200, seconds=4)), Calling(), Calling(at=1))
    assert ended(tale) == [("200", 4), ("200", 8)]
    assert [waits(story) for story in tale.stories] == [[], [3]]
    assert [entry for entry in tale.stories[0].entries if isinstance(entry, StateChange)] == [
        StateChange("slots", "0 taken", "1 taken", "asked")
    ]


def test_a_queue_is_first_come_first_served() -> None:
    calls = [Calling(f"{ORDERS}/{number}", at=number / 8) for number in range(6)]
    tale = tell([Slot(2)], lambda: in_turn(ScriptedReply(200, seconds=5), ScriptedReply(200, seconds=3)), *calls)
    assert [request.url.rpartition("/")[2] for request in tale.requests] == ["0", "1", "2", "3", "4", "5"]


def test_patience_ends_at_the_same_instant_everywhere() -> None:
    tale = tell(
        [Slot(patience=2)], lambda: in_turn(ScriptedReply(200, seconds=9)), Calling(), Calling(at=1), Calling(at=20)
    )
    assert ended(tale) == [("200", 9), ("503", 3), ("200", 29)]


def test_a_slot_is_held_until_the_retries_are_over() -> None:
    tale = tell([Slot(), RETRY], lambda: in_turn(ScriptedReply(503, seconds=2)), Calling(), Calling(at=1))
    assert ended(tale) == [("503", 4.125), ("503", 8.25)]


def test_a_loser_gives_back_what_it_holds_when_it_loses() -> None:
    """Two slots, both taken by the two branches of the first call; the second call gets that of the loser."""
    replies = (ScriptedReply(200, seconds=60), ScriptedReply(200, seconds=4), ScriptedReply(200, seconds=0.5))
    tale = tell([Staggered(1), Slot(2)], lambda: in_turn(*replies), Calling(), Calling(at=3))
    assert ended(tale)[0] == ("200", 5)
    assert [request.at for request in tale.requests][:3] == [0, 1, 5]
    assert ended(tale)[1] == ("200", 5.5)


def test_a_loser_that_is_parked_leaves_the_queue() -> None:
    """One slot: the second branch of the first call waits for the slot of the first one, which wins."""
    server = lambda: in_turn(ScriptedReply(200, seconds=4), ScriptedReply(200, seconds=0.5))  # noqa: E731
    tale = tell([Staggered(1), Slot(1)], server, Calling(), Calling(at=7))
    assert attempts(tale.stories[0]) == [(200, 4), (CANCELLED, 3)]
    assert tale.stories[1].ended == "200"


# Anything -------------------------------------------------------------------------------------------------------------

SECONDS = st.integers(1, 2**20).map(lambda number: number / 2**16)
TURNS = st.lists(
    st.one_of(
        st.builds(ScriptedReply, st.sampled_from([200, 200, 404, 503]), st.just({}), SECONDS),
        st.builds(ScriptedFailure, st.sampled_from([CONNECT, DISCONNECTED]), SECONDS),
    ),
    min_size=1,
    max_size=8,
)
STACKS = st.sampled_from(
    [
        lambda after: [Staggered(after)],
        lambda after: [RETRY, Staggered(after)],
        lambda after: [Staggered(after), RETRY],
        lambda after: [Staggered(after), Slot(3)],
        lambda after: [Slot(1, patience=5.3), RETRY],
        lambda after: [Slot(2), Staggered(after)],
        lambda after: [Staggered(after), Staggered(after / 3)],
        lambda after: [Deadline(7.7), RETRY, Staggered(after)],
    ]
)


@pytest.mark.parametrize("count", [1, 3])
@settings(max_examples=100)
@given(stack=STACKS, after=SECONDS, turns=TURNS, starts=st.lists(SECONDS, min_size=3, max_size=3, unique=True))
def test_any_scene_is_the_same_everywhere(count: int, stack: Any, after: float, turns: Any, starts: Any) -> None:
    # All times are multiples of 2**-16 and something of their own, so that nothing coincides.
    calls = [Calling(f"{ORDERS}/{number}", at=at + 2**-23 / (number + 1)) for number, at in enumerate(starts[:count])]
    tale = tell(stack(after + 2**-20), lambda: in_turn(*apart(turns)), *calls)
    assert len(tale.stories) == count
