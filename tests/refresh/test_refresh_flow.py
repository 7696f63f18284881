"""The flow of a refresh, stepped by hand in virtual time: who asks the server, who waits, and for how long."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Acquire, Decide, Release, Send, Sleep
from polvo_adapters.core.machines import Event
from polvo_adapters.core.outcomes import DISCONNECTED, EXPIRED, READ_TIMEOUT, UNCLASSIFIED, Failure, Outcome
from polvo_adapters.errors import TokenRefreshError
from polvo_adapters.refresh.lifecycle import (
    ClearToken,
    KnownToken,
    Lifecycle,
    LookAtToken,
    RefreshFailed,
    ReleaseRight,
    TokenRefreshed,
    WantToken,
)
from polvo_adapters.refresh.refresh_flow import FetchedToken, RefreshFlow
from polvo_adapters.stores import MemoryStore
from polvo_adapters.testing.virtual_clock import VirtualClock

KEY = "token of somebody"
URL = "https://login.example.com/token?code=hidden"
REFRESH = RefreshFlow(Lifecycle(), KEY)
WANTED = WantToken()
HOUR = 3600.0


class World:
    """A store, a clock, and what was put to the store."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.store = MemoryStore(now=self.clock.now)
        self.put: list[Any] = []

    def decide(self, *events: Any) -> Any:
        return self.store.decide([Event(REFRESH.life, KEY, event) for event in events])[0]

    def log_in(self, token: str = "one", lifetime: float | None = HOUR) -> None:
        self.decide(TokenRefreshed(token, lifetime))

    def ask(self, want: WantToken = WANTED, deadline: float | None = None, refresh: RefreshFlow = REFRESH) -> Asking:
        call = Call("POST", URL, "replayable", self.clock.now(), deadline)
        return Asking(self, refresh, call, want)

    @property
    def life(self) -> Any:
        return self.decide(LookAtToken())


class Asking:
    """Somebody who wants a token: goes on by itself up to the next effect that takes time."""

    def __init__(self, world: World, refresh: RefreshFlow, call: Call, want: WantToken) -> None:
        self.world, self.flow = world, refresh.flow(call, want)
        self.held: list[tuple[Any, Any]] = []
        self.wants: list[WantToken] = []
        self.sleeps: list[Sleep] = []
        self.sends: list[Call] = []
        self.outcome: Outcome | None = None
        self.effect: Any = None
        self.go_on(None)

    def go_on(self, answer: Any) -> Asking:
        for _ in range(100):
            try:
                self.effect = self.flow.send(answer)
            except StopIteration as end:
                self.effect, self.outcome = None, end.value
                assert not self.held, "what was admitted is settled"
                return self
            if type(self.effect) not in (Acquire, Decide, Release):
                self._note()
                return self
            answer = self._decided()
        raise AssertionError("the flow goes on for ever")

    def _decided(self) -> Any:
        effect, world = self.effect, self.world
        world.put += [event.event for event in effect.events]
        if type(effect) is Release:
            assert effect.events == effect.broken
            self.held.pop()
        verdicts = world.store.decide(effect.events) if effect.events else ()
        if type(effect) is Acquire:
            self.wants.append(effect.events[0].event)
            self.held.append((effect.events[0].machine, verdicts[0]))
        return None if type(effect) is Release else verdicts

    def _note(self) -> None:
        if type(self.effect) is Send:
            self.sends.append(self.effect.call)
        else:
            assert type(self.effect) is Sleep
            self.sleeps.append(self.effect)

    def answer(self, token: str, lifetime: float | None = HOUR, after: float = 0.25) -> Asking:
        """Have the server answer with a token."""
        return self._answered(Outcome(FetchedToken(token, lifetime)), after)

    def fail(
        self,
        reason: str | None = "server_error",
        after: float = 0.25,
        failure: Failure = DISCONNECTED,
        **keywords: Any,
    ) -> Asking:
        """Have the server fail."""
        error = TokenRefreshError("the server failed", reason=reason, **keywords)
        return self._answered(Outcome(error=error, failure=failure), after)

    def _answered(self, outcome: Outcome, after: float) -> Asking:
        assert type(self.effect) is Send
        started = self.world.clock.now()
        self.world.clock.advance(after)
        return self.go_on(outcome._replace(started=started, now=self.world.clock.now()))

    def sleep(self, seconds: float | None = None) -> Asking:
        """Wait that long, or for as long as it may be."""
        assert type(self.effect) is Sleep
        seconds = self.effect.high if seconds is None else seconds
        assert self.effect.low <= seconds <= self.effect.high
        self.world.clock.advance(seconds)
        return self.go_on(seconds)

    def break_off(self) -> None:
        """End it as a shell does whose caller is gone."""
        self.flow.close()
        while self.held:
            machine, verdict = self.held.pop()
            self.world.decide(machine.release_event(verdict))

    @property
    def known(self) -> KnownToken:
        assert self.outcome is not None
        assert type(self.outcome.response) is KnownToken, self.outcome
        return self.outcome.response

    @property
    def error(self) -> TokenRefreshError:
        assert self.outcome is not None
        assert self.outcome.response is None
        assert isinstance(self.outcome.error, TokenRefreshError)
        return self.outcome.error


@pytest.fixture
def world() -> World:
    return World()


# One refreshes, the others wait ---------------------------------------------------------------------------------------


def test_a_good_token_is_handed_out_without_asking_the_server(world: World) -> None:
    world.log_in()
    world.clock.advance(10)
    asking = world.ask()
    assert asking.known == KnownToken("one", 1, 10, 3525, 3585)
    assert (asking.sends, asking.sleeps, asking.outcome) == ([], [], Outcome(asking.known, now=10.0))


def test_the_server_is_asked_with_what_the_store_holds_and_the_store_is_told(world: World) -> None:
    world.log_in("sealed", 0)
    world.clock.advance(10)
    asking = world.ask(deadline=40.0)
    assert asking.sends == [Call("POST", URL, "replayable", 10.0, 40.0, attempt=1, stored_token="sealed")]
    asking.answer("two", after=2.0)
    asked_again = WantToken(refresh="nothing", granted="two")
    assert world.put == [WantToken(), TokenRefreshed("two", HOUR, 2.0, 2), asked_again]
    assert asking.known == KnownToken("two", 2, 2, 3533, 3593)
    assert asking.outcome == Outcome(asking.known, now=12.0)


@pytest.mark.parametrize(("lifetime", "after"), [(0.0, 0.25), (0.01, 0.02), (5.0, 6.0), (20.0, 19.5), (-1.0, 0.0)])
def test_a_token_that_expires_on_its_way_here_is_used_once(world: World, lifetime: float, after: float) -> None:
    first = world.ask().answer("one", lifetime, after)
    assert first.known.token == "one"
    assert first.known.seconds_left == first.known.seconds_fresh == 0.0
    second = world.ask()
    assert [call.stored_token for call in second.sends] == ["one"]
    assert second.answer("two", lifetime, after).known.generation == 2


def test_a_token_that_is_cleared_on_its_way_here_is_not_used(world: World) -> None:
    asking = world.ask()
    world.decide(ClearToken())
    assert asking.answer("one", 0.0).error.reason == "expired"


def test_what_was_granted_is_not_shown() -> None:
    assert "sealed" not in repr(WantToken(granted="sealed"))


def test_of_many_one_refreshes_and_all_others_get_what_it_obtained(world: World) -> None:
    asking = [world.ask() for _ in range(8)]
    assert [type(each.effect) for each in asking] == [Send, *[Sleep] * 7]
    asking[0].answer("one")
    for each in asking[1:]:
        each.sleep()
    assert {each.known.token for each in asking} == {"one"}
    assert sum(len(each.sends) for each in asking) == 1


def test_who_waits_looks_often_at_first(world: World) -> None:
    world.ask()
    waiting = world.ask()
    for _ in range(9):
        waiting.sleep()
    highs = [round(sleep.high, 4) for sleep in waiting.sleeps]
    assert highs == [0.02, 0.03, 0.045, 0.0675, 0.1013, 0.1519, 0.2278, 0.25, 0.25, 0.25]
    assert all(sleep.low == sleep.high / 2 for sleep in waiting.sleeps)
    assert {sleep.reason for sleep in waiting.sleeps} == {"token: another caller refreshes it"}


def test_who_has_waited_tells_when_it_got_the_token(world: World) -> None:
    world.clock.advance(5)
    holder, waiting = world.ask(), world.ask()
    waiting.sleep(0.015).sleep(0.025)
    holder.answer("one")
    waiting.sleep(0.04)
    assert waiting.outcome is not None
    assert waiting.outcome.now == pytest.approx(5 + 0.015 + 0.025 + 0.04)
    assert waiting.known.age == pytest.approx(world.clock.now() - 5.04)


def test_one_that_is_broken_off_is_replaced_at_once(world: World) -> None:
    holder, waiting = world.ask(), world.ask()
    holder.break_off()
    waiting.sleep()
    assert [call.stored_token for call in waiting.sends] == [""]
    assert waiting.answer("one").known.token == "one"


def test_one_that_was_killed_is_replaced_when_its_right_ends(world: World) -> None:
    world.ask()
    waiting = world.ask()
    for _ in range(200):
        if not waiting.sends:
            waiting.sleep()
    assert 31 <= world.clock.now() < 31.25
    assert waiting.answer("one").known.token == "one"


def test_who_waits_and_is_broken_off_disturbs_nobody(world: World) -> None:
    holder, waiting = world.ask(), world.ask()
    waiting.break_off()
    assert type(world.ask().effect) is Sleep
    assert holder.answer("one").known.token == "one"


def test_a_late_answer_reaches_those_who_wait(world: World) -> None:
    late = world.ask()
    world.clock.advance(31)
    second, waiting = world.ask(), world.ask()
    assert [type(each.effect) for each in (second, waiting)] == [Send, Sleep]
    assert late.answer("late").known.token == "late"
    assert waiting.sleep().known.token == "late"
    assert second.fail("invalid_grant", final=True).known.token == "late"


def test_a_stale_token_is_used_by_all_but_one(world: World) -> None:
    world.log_in()
    world.clock.advance(HOUR - 30)
    ahead = WantToken(refresh="stale")
    asking = [world.ask(ahead) for _ in range(3)]
    assert [each.known.token for each in asking[1:]] == ["one", "one"]
    assert asking[0].answer("two").known.token == "two"


def test_who_is_ready_to_refresh_nothing_does_not(world: World) -> None:
    asking = world.ask(WantToken(refresh="nothing"))
    assert (asking.sends, asking.error.reason) == ([], "expired")


def test_a_refused_token_is_refreshed_once(world: World) -> None:
    world.log_in()
    asking = [world.ask(WantToken(refused=1)) for _ in range(3)]
    asking[0].answer("two")
    assert [each.sleep().known.token for each in asking[1:]] == ["two", "two"]
    assert world.ask(WantToken(refused=1)).known.token == "two"


# What is known --------------------------------------------------------------------------------------------------------


def test_what_is_known_grows_older_while_one_waits(world: World) -> None:
    known = KnownToken("five", 5, 10.0, 1.0, 2.0)
    world.ask()
    waiting = world.ask(WantToken(KnownToken("one", 1, 90.0, -10.0, -1.0), refused=1, anew=True))
    waiting.sleep()
    assert waiting.wants[0] == WantToken(KnownToken("one", 1, 90.0, -10.0, -1.0), 1, "expired", anew=True)
    assert waiting.wants[1] == WantToken(KnownToken("one", 1, 90.02, -10.02, -1.02), 1, "expired", anew=False)
    assert world.ask(WantToken(known)).known == known


def test_a_token_that_was_used_up_is_not_brought_back_by_one_who_waits(world: World) -> None:
    world.log_in()
    world.clock.advance(0.125)
    known = world.ask().known
    holder, waiting = world.ask(WantToken(known, refused=1)), world.ask(WantToken(known, refused=1))
    for _ in range(5):
        waiting.sleep()
    holder.answer("two", after=0.0625)
    assert waiting.sleep().known.token == "two"


def test_a_token_that_ends_while_one_waits_is_not_handed_out_by_a_store_that_forgot(world: World) -> None:
    known = KnownToken("one", 1, 10.0, 0.03, 0.06)
    world.decide(ClearToken())
    world.decide(ClearToken())
    world.ask()
    waiting = world.ask(WantToken(known)).sleep().sleep()
    assert waiting.wants[-1].known == known.after(0.02).after(0.03)
    world.store = MemoryStore(now=world.clock.now)
    waiting.sleep()
    assert [call.stored_token for call in waiting.sends] == ["one"]


# Attempts -------------------------------------------------------------------------------------------------------------


def test_a_server_that_does_not_answer_is_asked_again(world: World) -> None:
    asking = world.ask()
    asking.fail().sleep().fail().sleep().answer("one", after=0.5)
    assert [call.attempt for call in asking.sends] == [1, 2, 3]
    assert [sleep[:3] for sleep in asking.sleeps] == [
        (0.25, 0.5, "token: server_error"),
        (0.5, 1.0, "token: server_error"),
    ]
    assert asking.known.age == 0.5


def test_the_last_attempt_is_the_last(world: World) -> None:
    asking = world.ask()
    asking.fail().sleep().fail("one").sleep().fail("another")
    error = asking.error
    assert (len(asking.sends), error.attempts, error.reason) == (3, 3, "another")
    assert world.put[1:] == [RefreshFailed(1, "another"), WantToken(refresh="nothing")]
    assert asking.outcome is not None
    assert asking.outcome.failure is DISCONNECTED


def test_how_many_attempts_is_a_setting(world: World) -> None:
    asking = world.ask(refresh=RefreshFlow(REFRESH.life, KEY, max_attempts=1)).fail()
    assert asking.error.attempts == 1


def test_what_is_final_is_not_asked_again(world: World) -> None:
    asking = world.ask().fail("invalid_grant", final=True)
    assert (len(asking.sends), asking.error.reason, asking.error.attempts) == (1, "invalid_grant", 1)
    assert world.put[1] == RefreshFailed(1, "invalid_grant", None, final=True)
    again = world.ask().error
    assert (again.reason, again.retry_after, again.final) == ("invalid_grant", 30.0, True)


def test_it_waits_as_long_as_the_server_asks(world: World) -> None:
    asking = world.ask().fail(retry_after=3.0)
    assert [sleep[:3] for sleep in asking.sleeps] == [(3.0, 3.0, "token: server_error")]
    asking.sleep().fail(retry_after=7.0).sleep().fail(retry_after=11.0)
    assert world.put[1] == RefreshFailed(1, "server_error", 11.0)


def test_an_error_without_a_reason_is_told_all_the_same(world: World) -> None:
    world.ask().fail(None, final=True)
    assert world.life.reason == "unknown"


def test_others_fail_with_the_one_who_refreshed_and_the_server_is_left_alone(world: World) -> None:
    asking, waiting = world.ask(), world.ask()
    asking.fail(final=True)
    waiting.sleep()
    assert (waiting.error.reason, waiting.sends) == ("server_error", [])
    assert world.ask().error.reason == "server_error"


def test_a_failure_does_no_harm_as_long_as_there_is_a_token(world: World) -> None:
    world.log_in()
    world.clock.advance(HOUR - 30)
    asking = world.ask(WantToken(refresh="stale"))
    assert asking.fail(final=True).known == KnownToken("one", 1, HOUR - 29.75, 1.0, 24.75)


def test_a_token_that_was_cleared_meanwhile_is_not_used(world: World) -> None:
    asking = world.ask()
    world.decide(ClearToken())
    asking.answer("one")
    assert asking.error.reason == "expired"
    assert world.life.token == ""


def test_who_waits_for_a_token_that_is_cleared_refreshes(world: World) -> None:
    world.ask()
    waiting = world.ask()
    world.decide(ClearToken())
    assert [call.stored_token for call in waiting.sleep().sends] == [""]


def test_with_other_credentials_one_does_not_wait_for_the_end_of_the_pause(world: World) -> None:
    world.ask().fail(final=True)
    assert world.ask(WantToken(anew=True)).answer("one").known.token == "one"


# Time is up -----------------------------------------------------------------------------------------------------------


def test_who_waits_gives_up_at_the_deadline(world: World) -> None:
    world.clock.advance(5)
    world.ask()
    waiting = world.ask(deadline=6.0)
    for _ in range(100):
        if waiting.outcome is None:
            waiting.sleep()
    assert 5.75 <= world.clock.now() <= 6.0
    assert (waiting.error.reason, waiting.error.retry_after, waiting.error.final) == ("timeout", 0.0, False)
    assert str(waiting.error) == "login.example.com: there is no valid token (timeout); try again"


def test_who_has_no_time_left_still_looks_once(world: World) -> None:
    world.log_in()
    assert world.ask(deadline=0.0).known.token == "one"


def test_no_pause_overruns_the_deadline(world: World) -> None:
    asking = world.ask(deadline=0.75).fail()
    assert (len(asking.sends), asking.error.reason) == (1, "server_error")
    assert world.put[1] == RefreshFailed(1, "server_error")
    longer = World().ask(deadline=0.76).fail()
    assert longer.sleep().answer("one", after=0.0).known.token == "one"


def test_a_holder_whose_own_time_is_up_does_not_fail_for_the_others(world: World) -> None:
    holder, waiting = world.ask(deadline=0.25), world.ask()
    holder.fail("timeout", failure=EXPIRED)
    assert (holder.error.reason, holder.error.attempts) == ("timeout", 1)
    assert world.put[2:] == [ReleaseRight(1), WantToken(refresh="nothing")]
    assert waiting.sleep().answer("one").known.token == "one"


def test_a_holder_whose_server_is_slow_fails_for_all(world: World) -> None:
    holder, waiting = world.ask(), world.ask()
    holder.fail(failure=READ_TIMEOUT).sleep().fail(failure=READ_TIMEOUT).sleep().fail("slow", failure=READ_TIMEOUT)
    assert waiting.sleep().error.reason == "slow"


@pytest.mark.parametrize("deadline", [None, 1000.0])
def test_nothing_is_sent_again_when_others_may_have_taken_over(world: World, deadline: float | None) -> None:
    asking = world.ask(deadline=deadline).fail(after=30.5)
    assert (len(asking.sends), asking.error.attempts) == (1, 1)
    longer = World().ask(deadline=deadline).fail(after=30.25).sleep()
    assert (len(longer.sends), longer.fail().error.attempts) == (2, 2)


def test_a_server_that_asks_for_more_patience_than_the_right_lasts_is_left_alone(world: World) -> None:
    asking = world.ask().fail("overload", retry_after=120.0)
    assert (len(asking.sends), asking.sleeps, asking.error.retry_after) == (1, [], 120.0)
    assert world.ask().error.retry_after == 120.0


# Errors ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda asking: asking.fail(final=True), "server_error); log in again"),
        (lambda asking: asking.fail(retry_after=40.0), "server_error); it is tried again in 40 s"),
    ],
)
def test_an_error_says_what_to_do(world: World, make: Callable[[Asking], Any], text: str) -> None:
    refresh = RefreshFlow(REFRESH.life, KEY, advice="log in again")
    make(world.ask(refresh=refresh))
    asking = world.ask(refresh=refresh)
    assert str(asking.error) == f"login.example.com: there is no valid token ({text}"
    assert (asking.error.host, asking.error.attempts) == ("login.example.com", 0)
    assert asking.outcome is not None
    assert asking.outcome.failure is UNCLASSIFIED


def test_no_error_tells_a_secret(world: World) -> None:
    world.log_in("sealed-secret", 0)
    asking = world.ask().fail("invalid_grant", final=True)
    for error in (asking.error, world.ask().error):
        told = f"{error!r} {error} {error.__dict__}"
        assert "hidden" not in told
        assert "sealed-secret" not in told
