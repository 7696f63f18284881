"""Tokens, whatever happens in whatever order: callers die, stores forget, a server revokes what looks stolen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, precondition, rule

from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Acquire, Decide, Release, Send, Sleep
from polvo_adapters.core.machines import Event
from polvo_adapters.core.outcomes import Outcome
from polvo_adapters.errors import TokenRefreshError
from polvo_adapters.refresh.lifecycle import (
    ClearToken,
    KnownToken,
    Lifecycle,
    LifecycleState,
    LookAtToken,
    NoToken,
    RefreshFailed,
    RefreshRight,
    ReleaseRight,
    TokenRefreshed,
    WaitForRefresh,
    WantToken,
)
from polvo_adapters.refresh.refresh_flow import FetchedToken, RefreshFlow

LIFE = Lifecycle(refresh_before=8.0, lease=4.0)
REFRESH = RefreshFlow(LIFE, "token")
LIFETIME = 40.0
CALL = Call("POST", "https://login.example.com/token")


class Server:
    """An authorization server that rotates refresh tokens, and revokes a family when one is shown twice (RFC 9700)."""

    def __init__(self) -> None:
        self.latest: list[int] = []
        self.revoked: set[int] = set()
        self.expires: dict[str, float] = {}
        self.up = True

    def issue(self, held: str, now: float) -> str | None:
        """Return the successor of a token, the first of a new family for none, or None where that is revoked."""
        if not held:
            self.latest.append(-1)
        family, number = map(int, held.split(".")) if held else (len(self.latest) - 1, -1)
        if number != self.latest[family]:
            self.revoked.add(family)
        if family in self.revoked:
            return None
        self.latest[family] += 1
        token = f"{family}.{number + 1}"
        self.expires[token] = now + LIFETIME
        return token

    def accepts(self, token: str, now: float) -> bool:
        return now < self.expires[token] and int(token.partition(".")[0]) not in self.revoked


class Holder(NamedTuple):
    """Somebody who refreshes: since when, and what the server has answered."""

    right: RefreshRight
    began: float
    asked: float | None = None
    answer: Outcome | None = None


class Tokens(RuleBasedStateMachine):
    """Lets callers do with tokens what they do, and watches."""

    holders = Bundle("holders")

    @initialize()
    def begin(self) -> None:
        self.server = Server()
        self.state: LifecycleState = LIFE.initial
        self.now, self.ahead = 1000.0, 0.0
        self.known: list[tuple[KnownToken, float] | None] = [None] * 4
        self.live: dict[int, float] = {}
        self.calm = True
        self.generation = 0
        self.login = -1
        self.forgot = False

    # What a store does

    @property
    def store_time(self) -> float:
        return self.now + self.ahead

    def put(self, event: Any) -> Any:
        self.state, verdict = LIFE.transition(self.state, event, self.store_time)
        if type(verdict) is RefreshRight:
            assert not self.live or not self.calm, "two refresh at the same time"
            self.live[verdict.lease] = self.now
        if type(verdict) is KnownToken:
            assert verdict.seconds_left > 0
            assert verdict.seconds_fresh <= verdict.seconds_left or verdict.seconds_fresh > 0
            assert self.now + verdict.seconds_left <= self.server.expires[verdict.token], (
                "an expired token is handed out"
            )
        if type(verdict) is NoToken:
            assert self.state.expires_at <= self.store_time
        return verdict

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        late = [lease for lease, began in self.live.items() if self.now >= began + LIFE.lease]
        for lease in late:
            del self.live[lease]
            self.calm = False  # somebody outlives a lease, and may be replaced

    def ended(self, lease: int) -> bool:
        """End a lease, and tell whether it was still good."""
        return self.live.pop(lease, None) is not None

    # What callers do

    def told(self, caller: int) -> KnownToken | None:
        known = self.known[caller]
        return None if known is None else known[0].after(self.now - known[1])

    def remember(self, caller: int, verdict: Any) -> None:
        if type(verdict) is KnownToken:
            self.known[caller] = (verdict, self.now)

    @rule(
        target=holders,
        caller=st.integers(0, 3),
        refused=st.booleans(),
        refresh=st.sampled_from(["expired", "stale", "nothing"]),
        anew=st.booleans(),
    )
    def ask(self, caller: int, refused: bool, refresh: Any, anew: bool) -> Holder | None:
        known = self.told(caller)
        verdict = self.put(WantToken(known, known.generation if known and refused else 0, refresh, anew))
        self.remember(caller, verdict)
        assert type(verdict) in (KnownToken, WaitForRefresh, NoToken, RefreshRight)
        if type(verdict) is RefreshRight:
            assert refresh != "nothing"
            return Holder(verdict, self.now)
        return None

    @rule(target=holders, holder=consumes(holders))
    def send(self, holder: Holder | None) -> Holder | None:
        """Let the request of a holder arrive, once."""
        if holder is None or holder.asked is not None:
            return holder
        if not self.server.up:
            return holder._replace(asked=self.now, answer=Outcome(error=TokenRefreshError("down", reason="down")))
        issued = self.server.issue(holder.right.token, self.now)
        if issued is None:
            error = TokenRefreshError("gone", reason="invalid_grant", final=True)
            return holder._replace(asked=self.now, answer=Outcome(error=error))
        return holder._replace(asked=self.now, answer=Outcome(FetchedToken(issued, LIFETIME)))

    @rule(holder=consumes(holders), caller=st.integers(0, 3))
    def hear(self, holder: Holder | None, caller: int) -> None:
        """Let the answer arrive, or have the holder give up."""
        if holder is None:
            return
        live = self.ended(holder.right.lease)
        if holder.answer is None or holder.asked is None:
            self.put(ReleaseRight(holder.right.lease))
            return
        error: Any = holder.answer.error
        if error is not None:
            self.put(RefreshFailed(holder.right.lease, error.reason, final=error.final))
            return
        token, lifetime = holder.answer.response
        self.put(TokenRefreshed(token, lifetime, self.now - holder.asked, holder.right.lease))
        if self.calm:
            assert (self.state.token == token) == live
        self.remember(caller, self.put(WantToken(refresh="nothing")))

    @rule(holder=consumes(holders))
    def die(self, holder: Holder | None) -> None:
        """Never hear of it again: its process was killed."""
        if holder is not None:
            self.calm = False

    @rule()
    def log_in(self) -> None:
        self.server.up = True
        token = self.server.issue("", self.now)
        assert token is not None
        self.put(TokenRefreshed(token, LIFETIME, 0.0, 0))
        self.live.clear()
        self.login = int(token.partition(".")[0])
        verdict = self.put(WantToken())
        assert type(verdict) is KnownToken
        assert verdict.token == token

    @rule()
    def log_out(self) -> None:
        self.put(ClearToken())
        self.live.clear()
        self.login = len(self.server.latest)
        assert type(self.put(WantToken(refresh="nothing"))) is NoToken

    # What happens to them

    @rule(seconds=st.sampled_from([0.125, 0.5, 1.0, 2.0, 4.0, 8.0, 32.0, 100.0]))
    def wait(self, seconds: float) -> None:
        self.pass_time(seconds)

    @precondition(lambda self: not self.live)
    @rule(seconds=st.sampled_from([1.0, 60.0, 3600.0]))
    def put_the_clock_of_the_store_forward(self, seconds: float) -> None:
        self.ahead += seconds

    @rule()
    def forget(self) -> None:
        self.state = LIFE.initial
        self.live.clear()
        self.calm, self.forgot, self.generation = False, True, 0

    @rule(up=st.booleans())
    def turn_the_server(self, up: bool) -> None:
        self.server.up = up

    @rule(caller=st.integers(0, 3), refused=st.booleans())
    def obtain(self, caller: int, refused: bool) -> None:
        """Run the whole flow; all others stand still meanwhile."""
        known = self.told(caller)
        paused = self.store_time < self.state.retry_at
        well = self.calm and self.server.up and not self.live and not paused
        began = self.now
        outcome = self.driven(WantToken(known, known.generation if known and refused else 0))
        if well:
            assert outcome.error is None, "nothing is wrong, and yet there is no token"
            assert self.server.accepts(outcome.response.token, self.now)
        assert self.now - began < 3 * LIFE.lease
        self.remember(caller, outcome.response)

    def driven(self, want: WantToken) -> Outcome:
        flow, answer = REFRESH.flow(CALL._replace(started=self.now), want), None
        for _ in range(1000):
            try:
                effect = flow.send(answer)
            except StopIteration as end:
                outcome: Outcome = end.value
                return outcome
            answer = self.performed(effect)
        raise AssertionError("a flow goes on for ever")

    def performed(self, effect: Any) -> Any:
        if type(effect) is Send:
            holder = self.send(Holder(RefreshRight(effect.call.stored_token, 0), self.now))
            assert holder is not None
            assert holder.answer is not None
            started = self.now
            self.pass_time(0.25)
            return holder.answer._replace(started=started, now=self.now)
        if type(effect) is Sleep:
            self.pass_time(effect.high)
            return effect.high
        assert type(effect) in (Acquire, Decide, Release)
        events: Sequence[Event] = effect.events
        if type(effect) is Release:
            for event in events:
                self.ended(event.event.lease)
        return tuple(self.put(event.event) for event in events)

    # What always holds

    @invariant()
    def no_refresh_token_is_shown_twice(self) -> None:
        assert not self.calm or not self.server.revoked

    @invariant()
    def one_refreshes_at_a_time(self) -> None:
        assert not self.calm or len(self.live) <= 1

    @invariant()
    def nothing_expires_before_it_is_stale(self) -> None:
        assert self.state.stale_at <= self.state.expires_at

    @invariant()
    def generations_only_grow(self) -> None:
        assert self.state.generation >= self.generation
        self.generation = self.state.generation

    @invariant()
    def what_was_there_before_a_login_or_a_logout_does_not_come_back(self) -> None:
        if self.state.token and not self.forgot:
            assert int(self.state.token.partition(".")[0]) >= self.login

    @invariant()
    def who_looks_sees_the_state(self) -> None:
        assert self.put(LookAtToken()) == self.state


TestTokens = Tokens.TestCase
TestTokens.settings = settings(max_examples=150, stateful_step_count=40)


# Where nothing goes wrong ---------------------------------------------------------------------------------------------


@settings(max_examples=100)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from([0.125, 1.0, 5.0, 33.0, 41.0]), st.booleans()),
        min_size=1,
        max_size=60,
    )
)
def test_where_nothing_goes_wrong_everybody_always_has_a_token(story: list[tuple[int, float, bool]]) -> None:
    world = Tokens()
    world.begin()
    for caller, seconds, refused in story:
        world.obtain(caller, refused)
        world.wait(seconds)
    assert world.calm
    assert not world.server.revoked
    assert len(world.server.latest) == 1


# Refusals -------------------------------------------------------------------------------------------------------------


@settings(max_examples=200)
@given(st.lists(st.sampled_from([0.0, 0.25, 1.0, 5.0, 16.0, 31.0, 60.0, 61.0, 200.0]), min_size=10, max_size=300))
def test_an_api_that_refuses_everything_causes_few_refreshes(gaps: list[float]) -> None:
    life, state, now = Lifecycle(), LifecycleState(), 0.0
    state, _ = life.transition(state, TokenRefreshed("0", None), now)
    refreshed: list[float] = []
    for gap in gaps:
        now += gap
        state, verdict = life.transition(state, WantToken(refused=state.generation), now)
        if type(verdict) is RefreshRight:
            refreshed.append(now)
            state, _ = life.transition(state, TokenRefreshed(str(len(refreshed)), None, 0.0, verdict.lease), now)
    busiest = max((sum(1 for other in refreshed if 0 <= other - when < 60) for when in refreshed), default=0)
    assert busiest <= 7
    assert len(refreshed) <= 7 * (1 + now / 60)
