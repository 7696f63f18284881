"""The machine of a token's life, moved by hand: every cell of its table, what is asked of it and what comes back."""

from __future__ import annotations

import math
import pickle
from typing import Any, NamedTuple

import pytest

from polvo_adapters.core.machines import Changed
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
    pause_after,
)
from polvo_adapters.stores.codec import decode, encode

HOUR = 3600.0
STALE = HOUR - 5 - 60  # seconds after which a token of an hour is to be refreshed
EXPIRED = HOUR - 5


class Token:
    """A token's life alone, moved by hand."""

    def __init__(self, **keywords: Any) -> None:
        self.life = Lifecycle(**keywords)
        self.state = self.life.initial
        self.now = 1000.0
        self.changes: list[tuple[str, str, str]] = []

    def put(self, event: Any) -> Any:
        self.state, verdict = self.life.transition(self.state, event, self.now)
        if type(verdict) is Changed:
            self.changes.append((verdict.before, verdict.after, verdict.reason))
        return verdict

    def want(self, **keywords: Any) -> Any:
        return self.put(WantToken(**keywords))

    def refreshed(self, token: str, lifetime: float | None = HOUR, age: float = 0.0, lease: int | None = None) -> None:
        self.put(TokenRefreshed(token, lifetime, age, self.state.lease if lease is None else lease))

    def refresh(self, token: str, lifetime: float | None = HOUR, **keywords: Any) -> None:
        """Ask for the right to refresh, which has to be granted, and refresh."""
        right = self.want(**keywords)
        assert type(right) is RefreshRight
        self.refreshed(token, lifetime, lease=right.lease)

    def fail(self, reason: str = "server_error", retry_after: float | None = None, *, final: bool = False) -> None:
        right = self.want(anew=True)
        assert type(right) is RefreshRight
        self.put(RefreshFailed(right.lease, reason, retry_after, final))


def none() -> Token:
    return Token()


def fresh() -> Token:
    token = Token()
    token.refresh("one")
    token.now += 100
    return token


def stale() -> Token:
    token = fresh()
    token.now += STALE - 100
    return token


def expired() -> Token:
    token = fresh()
    token.now += EXPIRED - 100
    return token


def failed() -> Token:
    """A token that is stale, and that could not be refreshed."""
    token = stale()
    right = token.want(refresh="stale")
    token.put(RefreshFailed(right.lease, "server_error"))
    return token


def failed_and_expired() -> Token:
    token = expired()
    token.fail()
    return token


# The table ------------------------------------------------------------------------------------------------------------


class Cell(NamedTuple):
    """A cell of the table: what those are told who ask one after the other."""

    life: Any
    want: WantToken
    told: list[type]


ASKED, AHEAD, NOTHING = WantToken(), WantToken(refresh="stale"), WantToken(refresh="nothing")
REFUSED = WantToken(refused=1)
CELLS = [
    Cell(none, ASKED, [RefreshRight, WaitForRefresh, WaitForRefresh]),
    Cell(none, AHEAD, [RefreshRight, WaitForRefresh, WaitForRefresh]),
    Cell(none, REFUSED, [RefreshRight, WaitForRefresh, WaitForRefresh]),
    Cell(none, NOTHING, [NoToken, NoToken]),
    Cell(fresh, ASKED, [KnownToken, KnownToken]),
    Cell(fresh, AHEAD, [KnownToken, KnownToken]),
    Cell(fresh, REFUSED, [RefreshRight, WaitForRefresh, WaitForRefresh]),
    Cell(fresh, REFUSED._replace(refresh="stale"), [RefreshRight, WaitForRefresh, WaitForRefresh]),
    Cell(fresh, REFUSED._replace(refresh="nothing"), [NoToken, NoToken]),
    Cell(fresh, WantToken(refused=2), [KnownToken, KnownToken]),
    Cell(fresh, NOTHING, [KnownToken, KnownToken]),
    Cell(stale, ASKED, [KnownToken, KnownToken]),
    Cell(stale, AHEAD, [RefreshRight, KnownToken, KnownToken]),
    Cell(stale, REFUSED, [RefreshRight, WaitForRefresh, WaitForRefresh]),
    Cell(stale, WantToken(refused=2), [KnownToken, KnownToken]),
    Cell(stale, NOTHING, [KnownToken, KnownToken]),
    Cell(expired, ASKED, [RefreshRight, WaitForRefresh, WaitForRefresh]),
    Cell(expired, AHEAD, [RefreshRight, WaitForRefresh, WaitForRefresh]),
    Cell(expired, REFUSED, [RefreshRight, WaitForRefresh, WaitForRefresh]),
    Cell(expired, NOTHING, [NoToken, NoToken]),
    Cell(failed, ASKED, [KnownToken, KnownToken]),
    Cell(failed, AHEAD, [KnownToken, KnownToken]),
    Cell(failed, REFUSED, [NoToken, NoToken]),
    Cell(failed, NOTHING, [KnownToken, KnownToken]),
    Cell(failed, AHEAD._replace(anew=True), [RefreshRight, KnownToken]),
    Cell(failed_and_expired, ASKED, [NoToken, NoToken]),
    Cell(failed_and_expired, AHEAD, [NoToken, NoToken]),
    Cell(failed_and_expired, REFUSED, [NoToken, NoToken]),
    Cell(failed_and_expired, NOTHING, [NoToken, NoToken]),
    Cell(failed_and_expired, ASKED._replace(anew=True), [RefreshRight, WaitForRefresh]),
    Cell(failed_and_expired, NOTHING._replace(anew=True), [NoToken, NoToken]),
]


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: f"{cell.life.__name__}-{cell.told[0].__name__}-{cell.want}")
def test_every_cell_of_the_table(cell: Cell) -> None:
    token = cell.life()
    assert [type(token.put(cell.want)) for _ in cell.told] == cell.told


# Times ----------------------------------------------------------------------------------------------------------------


def test_a_known_token_tells_its_age_and_what_is_left() -> None:
    token = fresh()
    assert token.want() == KnownToken("one", 1, 100, STALE - 100, EXPIRED - 100)


def test_a_token_is_fresh_stale_and_expired_to_the_moment() -> None:
    token = fresh()
    token.now = 1000 + STALE - 0.5
    assert token.want(refresh="stale") == KnownToken("one", 1, STALE - 0.5, 0.5, 60.5)
    token.now = 1000 + EXPIRED - 0.5
    assert token.want() == KnownToken("one", 1, EXPIRED - 0.5, 0.5, 0.5)
    token.now = 1000 + EXPIRED
    assert type(token.want()) is RefreshRight


def test_a_stale_token_is_asked_about_again_after_a_second() -> None:
    token = stale()
    assert token.want() == KnownToken("one", 1, STALE, 1.0, 60.0)
    assert type(token.want(refresh="stale")) is RefreshRight
    assert token.want(refresh="stale") == KnownToken("one", 1, STALE, 1.0, 60.0)


@pytest.mark.parametrize(
    ("lifetime", "fresh", "left"),
    [
        (HOUR, STALE, EXPIRED),
        (240.0, 175.0, 235.0),  # a quarter of it is just what it is refreshed before
        (100.0, 70.0, 95.0),
        (40.0, 28.0, 38.0),  # of a short life, less is kept back
        (4.0, 2.8, 3.8),
        (math.inf, math.inf, math.inf),
        (None, math.inf, math.inf),
    ],
)
def test_a_token_is_refreshed_before_its_end_and_not_used_up_to_it(
    lifetime: float | None, fresh: float, left: float
) -> None:
    token = Token()
    token.refresh("one", lifetime)
    assert token.want() == KnownToken("one", 1, 0.0, pytest.approx(fresh), pytest.approx(left))


def test_how_long_before_its_end_is_a_setting() -> None:
    token = Token(refresh_before=300)
    token.refresh("one")
    assert token.want().seconds_fresh == EXPIRED - 300


@pytest.mark.parametrize("lifetime", [0.0, -10.0, math.nan, 8.0])
def test_a_token_that_came_too_late_is_not_handed_out(lifetime: float) -> None:
    token = Token()
    right = token.want()
    token.refreshed("one", lifetime, age=8.0, lease=right.lease)
    assert token.want(refresh="nothing") == NoToken("expired", -math.inf, final=False)
    assert type(token.want()) is RefreshRight


def test_a_life_counts_from_when_it_was_asked_for() -> None:
    token = Token()
    right = token.want()
    token.refreshed("one", HOUR, age=10.0, lease=right.lease)
    assert token.want() == KnownToken("one", 1, 10, STALE - 10, EXPIRED - 10)
    assert token.changes == [("none", "generation 1", "expires in 3590 s")]


def test_what_is_known_grows_older() -> None:
    assert KnownToken("one", 1, 1.0, 2.0, 3.0).after(2.5) == KnownToken("one", 1, 3.5, -0.5, 0.5)


# The lease ------------------------------------------------------------------------------------------------------------


def test_the_right_to_refresh_comes_with_what_there_is() -> None:
    assert none().want() == RefreshRight("", 1)
    assert expired().want() == RefreshRight("one", 2)


def test_who_gives_the_right_back_lets_the_next_one_refresh() -> None:
    token = expired()
    right = token.want()
    assert token.want() == WaitForRefresh()
    assert token.put(token.life.release_event(right)) is None
    assert token.want() == RefreshRight("one", right.lease + 1)


@pytest.mark.parametrize(
    "verdict", [WaitForRefresh(), NoToken("x", 1.0, final=False), KnownToken("one", 1, 0.0, 1.0, 1.0)]
)
def test_who_has_no_right_gives_nothing_back(verdict: Any) -> None:
    token = expired()
    token.want()
    before = token.state
    assert token.put(token.life.release_event(verdict)) == before
    assert (token.state, token.want()) == (before, WaitForRefresh())


def test_a_right_ends_by_itself() -> None:
    token = expired()
    token.want()
    token.now += 31 - 0.25
    assert token.want() == WaitForRefresh()
    token.now += 0.25
    assert token.want() == RefreshRight("one", 3)
    assert token.want() == WaitForRefresh()


def test_how_long_a_right_lasts_is_a_setting() -> None:
    token = Token(lease=5)
    token.want()
    token.now += 5
    assert token.want() == RefreshRight("", 2)


def test_who_was_replaced_gives_back_nothing_and_fails_for_nobody() -> None:
    token = expired()
    old = token.want()
    token.now += 31
    token.want()
    before = token.state
    for event in (ReleaseRight(old.lease), RefreshFailed(old.lease, "timeout", 60.0, final=True)):
        assert token.put(event) is None
        assert token.state == before
    assert token.want() == WaitForRefresh()


def test_a_late_answer_is_not_lost_and_leaves_the_right_of_whoever_took_over() -> None:
    token = expired()
    old = token.want()
    token.now += 31
    new = token.want()
    token.now += 1
    token.refreshed("late", age=32.0, lease=old.lease)
    assert token.want() == KnownToken("late", 2, 32, STALE - 32, EXPIRED - 32)
    assert token.want(refused=2) == WaitForRefresh()
    token.refreshed("new", age=1.0, lease=new.lease)
    assert token.want() == KnownToken("new", 3, 1, STALE - 1, EXPIRED - 1)


def test_a_late_answer_does_not_replace_what_was_asked_for_after_it() -> None:
    token = expired()
    old = token.want()
    token.now += 31
    token.refresh("new")
    token.now += 1
    before = token.state
    token.refreshed("late", age=32.0, lease=old.lease)
    assert token.state == before
    assert token.want() == KnownToken("new", 2, 1, STALE - 1, EXPIRED - 1)


def test_an_answer_counts_once() -> None:
    token = expired()
    right = token.want()
    token.refreshed("two", lease=right.lease)
    token.refreshed("again", lease=right.lease)
    assert token.want().token == "two"


def test_a_clock_that_was_put_back_loses_no_token() -> None:
    token = expired()
    right = token.want()
    token.now -= HOUR + 100
    token.refreshed("new", lease=right.lease)
    assert token.want() == KnownToken("new", 2, 0, STALE, EXPIRED)


def test_a_new_token_ends_the_right_and_all_failures() -> None:
    token = failed_and_expired()
    token.now += 1
    token.refresh("two")
    assert token.state == LifecycleState(
        "two", 2, token.now, token.now + STALE, token.now + EXPIRED, lease=3, issued_under=3
    )
    token.now += EXPIRED
    assert type(token.want()) is RefreshRight


def test_it_is_the_parent_who_refreshes() -> None:
    token = expired()
    right = token.want()
    token.state = token.state.after_fork()
    assert token.want() == RefreshRight("one", right.lease + 1)


def test_a_fork_changes_nothing_else() -> None:
    state = failed_and_expired().state._replace(right_ends_at=5.0)
    assert state.after_fork() == state._replace(right_ends_at=-math.inf)


# Failures -------------------------------------------------------------------------------------------------------------


def test_the_pause_after_failures_grows_to_half_a_minute() -> None:
    token, pauses = none(), []
    for _ in range(8):
        token.fail()
        pauses.append(token.want().retry_after)
        token.now += pauses[-1] - 0.25
        assert token.want() == NoToken("server_error", 0.25, final=False)
        token.now += 0.25
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 30]
    assert type(token.want()) is RefreshRight


def test_the_longest_pause_is_the_same_after_any_number_of_failures() -> None:
    assert [pause_after(times) for times in (0, 1, 4, 5, 10, 10**9)] == [1, 2, 16, 30, 30, 30]


@pytest.mark.parametrize(
    ("retry_after", "final", "expected"),
    [
        (None, False, 1.0),
        (0.5, False, 1.0),  # never shorter than without
        (20.0, False, 20.0),
        (3600.0, False, 3600.0),
        (1e9, False, 30 * 86_400.0),
        (math.inf, False, 30 * 86_400.0),
        (math.nan, False, 1.0),
        (-5.0, False, 1.0),
        (None, True, 30.0),
        (100.0, True, 100.0),
    ],
)
def test_how_long_nobody_tries_after_a_failure(retry_after: float | None, final: bool, expected: float) -> None:
    token = none()
    token.fail("no luck", retry_after, final=final)
    assert token.want() == NoToken("no luck", expected, final)
    assert token.changes == [("none", "not refreshed", "no luck")]


def test_after_a_failure_the_token_serves_while_it_lasts() -> None:
    token = stale()
    token.put(RefreshFailed(token.want(refresh="stale").lease, "invalid_grant", 300.0, final=True))
    assert token.want(refresh="stale") == KnownToken("one", 1, STALE, 1.0, 60.0)
    token.now += 60
    assert token.want() == NoToken("invalid_grant", 240.0, final=True)
    assert token.changes[-1] == ("generation 1", "not refreshed", "invalid_grant")


def test_who_has_other_credentials_need_not_wait_for_the_end_of_the_pause() -> None:
    token = failed_and_expired()
    assert type(token.want(anew=True)) is RefreshRight
    assert type(token.want(anew=True)) is WaitForRefresh
    assert type(token.want()) is NoToken


def test_after_the_pause_one_tries_again() -> None:
    token = failed()
    token.now += 1
    assert [type(token.want(refresh="stale")) for _ in range(3)] == [RefreshRight, KnownToken, KnownToken]


# Refusals -------------------------------------------------------------------------------------------------------------


def test_a_refused_token_is_refreshed_once_and_not_once_per_request() -> None:
    token = fresh()
    token.refresh("two", refused=1)
    assert token.want(refused=1) == KnownToken("two", 2, 0, STALE, EXPIRED)
    assert token.want(refused=1, refresh="nothing") == KnownToken("two", 2, 0, STALE, EXPIRED)


def test_a_third_refresh_in_a_row_has_to_wait_and_each_after_it_for_longer() -> None:
    token = Token()
    token.refresh("0")
    waits = []
    for number in range(10):
        began = token.now
        while type(verdict := token.want(refused=token.state.generation)) is KnownToken:
            assert verdict.token == str(number)
            token.now += 0.25
        assert type(verdict) is RefreshRight
        waits.append(token.now - began)
        token.refreshed(str(number + 1), lease=verdict.lease)
    assert waits == [0, 0, 1, 2, 4, 8, 16, 30, 30, 30]


def test_who_is_not_believed_changes_nothing() -> None:
    token = fresh()
    token.refresh("two", refused=1)
    token.refresh("three", refused=2)
    before = token.state
    assert type(token.want(refused=3)) is KnownToken
    assert token.state == before


def test_a_token_that_was_good_for_a_minute_may_be_refused_like_the_first() -> None:
    token = fresh()
    token.refresh("two", refused=1)
    token.refresh("three", refused=2)
    token.now += 60.25
    token.refresh("four", refused=3)
    token.refresh("five", refused=4)
    assert type(token.want(refused=5)) is KnownToken


def test_one_that_was_not_yet_good_for_a_minute_counts() -> None:
    token = fresh()
    token.refresh("two", refused=1)
    token.now += 60
    token.refresh("three", refused=2)
    assert type(token.want(refused=3)) is KnownToken


def test_what_has_expired_cannot_be_refused() -> None:
    token = expired()
    assert type(token.want(refused=1)) is RefreshRight
    assert token.state.refusals == 0


# Reminders ------------------------------------------------------------------------------------------------------------


def test_a_store_that_forgot_is_reminded_of_everything() -> None:
    token = none()
    known = KnownToken("five", 5, 100.0, 200.0, 260.0)
    assert token.want(known=known) == known
    token.now += 50
    assert token.want() == KnownToken("five", 5, 150, 150, 210)


def test_what_it_is_reminded_of_counts_as_if_it_had_never_forgotten() -> None:
    token = none()
    assert token.want(known=KnownToken("five", 5, 100.0, 0.5, 60.0), refused=5) == RefreshRight("five", 1)
    token.refreshed("six")
    assert token.want().generation == 6


def test_what_has_expired_is_remembered_for_what_it_is_refreshed_by() -> None:
    assert none().want(known=KnownToken("five", 5, 4000.0, -400.0, -340.0)) == RefreshRight("five", 1)


def test_an_older_token_does_not_replace_its_successor() -> None:
    token = expired()
    known = KnownToken("one", 1, EXPIRED, -60.0, 0.0)
    token.refresh("two", known=known)
    token.now += 10
    assert token.want(known=known.after(10)).token == "two"


def test_of_two_that_are_known_the_one_issued_last_counts() -> None:
    token = none()
    older, newer = KnownToken("five", 5, 100.0, 900.0, 960.0), KnownToken("six", 6, 50.0, 900.0, 960.0)
    assert token.want(known=older) == older
    assert token.want(known=newer) == newer
    assert token.want(known=older) == newer


@pytest.mark.parametrize(("age", "token"), [(49.75, "other"), (50.0, "five"), (50.25, "five")])
def test_of_two_with_one_number_the_later_counts(age: float, token: str) -> None:
    life = none()
    life.want(known=KnownToken("five", 5, 50.0, 900.0, 960.0))
    assert life.want(known=KnownToken("other", 5, age, 900.0, 960.0)).token == token


def test_a_refused_token_is_not_brought_back_by_who_was_stopped_for_a_while() -> None:
    token = fresh()
    known = token.want()
    token.want(refused=1)
    token.now += 100  # and the holder of the token thinks that no time has passed
    assert token.want(known=known, refresh="nothing") == NoToken("expired", -math.inf, final=False)


@pytest.mark.parametrize("event", [TokenRefreshed("two", HOUR, 0.0, 0), ClearToken()])
def test_a_clock_that_was_put_forward_makes_no_old_token_new(event: Any) -> None:
    token = fresh()
    known = token.want()
    token.put(event)
    before = token.state
    token.now += 2 * HOUR  # and the holder of the old one thinks that no time has passed
    token.want(known=known, refresh="nothing")
    assert token.state == before


def test_a_reminder_leaves_the_right_of_whoever_refreshes() -> None:
    token = none()
    token.want()
    assert token.want(known=KnownToken("five", 5, 100.0, -1.0, -1.0)) == WaitForRefresh()


# Logins and logouts ---------------------------------------------------------------------------------------------------


def test_a_token_from_elsewhere_needs_no_right_and_ends_that_of_others() -> None:
    token = expired()
    old = token.want()
    token.refreshed("login", lease=0)
    assert token.want().token == "login"
    assert type(token.want(refused=2)) is RefreshRight
    token.put(ReleaseRight(old.lease))
    assert token.want() == WaitForRefresh()


def test_who_refreshes_while_somebody_logs_in_has_no_say_any_more() -> None:
    token = expired()
    old = token.want()
    token.now += 1
    token.refreshed("login", age=0.5, lease=0)
    before = token.state
    token.put(RefreshFailed(old.lease, "invalid_grant", final=True))
    token.refreshed("refreshed", age=1.0, lease=old.lease)
    assert token.state == before


@pytest.mark.parametrize("event", [TokenRefreshed("login", HOUR, 0.0, 0), ClearToken()])
def test_a_clock_that_was_put_forward_makes_no_late_answer_new(event: Any) -> None:
    token = expired()
    old = token.want()
    token.put(event)
    before = token.state
    token.now += HOUR
    token.refreshed("late", age=1.0, lease=old.lease)
    assert token.state == before


def test_a_right_from_before_the_store_forgot_takes_nothing_from_later_ones() -> None:
    token = Token()
    token.state = LifecycleState(lease=2)
    old = token.want()
    token.state = LifecycleState()
    new = token.want()
    token.refreshed("old", lease=old.lease)
    assert token.want().token == "old"
    token.refreshed("new", lease=new.lease)
    assert token.want().token == "new"
    token.refresh("newer", refused=2)


def test_what_is_cleared_is_used_by_nobody_and_brought_back_by_nobody() -> None:
    token = fresh()
    known = token.want()
    token.put(ClearToken())
    assert token.changes[-1] == ("generation 1", "none", "cleared")
    assert token.want(known=known, refresh="nothing") == NoToken("expired", -math.inf, final=False)
    assert token.want(known=known) == RefreshRight("", 3)
    token.refreshed("two")
    assert token.want(known=known).generation == 3


def test_who_refreshes_while_it_is_cleared_does_not_bring_it_back() -> None:
    token = expired()
    old = token.want()
    token.now += 1
    token.put(ClearToken())
    before = token.state
    token.refreshed("refreshed", age=1.0, lease=old.lease)
    token.put(RefreshFailed(old.lease, "invalid_grant", final=True))
    token.put(ReleaseRight(old.lease))
    assert token.state == before
    assert token.want() == RefreshRight("", old.lease + 2)


def test_a_clear_forgets_failures_and_refusals() -> None:
    token = failed_and_expired()
    token.now += 1
    token.put(ClearToken())
    assert token.state == LifecycleState(generation=2, issued_at=token.now, lease=3, issued_under=3)
    token.put(ClearToken())
    assert token.changes[-1] == ("none", "none", "cleared")


def test_a_clear_of_one_token_leaves_any_other() -> None:
    token = fresh()
    token.refresh("two", refused=1)
    before, changes = token.state, list(token.changes)
    assert token.put(ClearToken("one")) is None
    assert (token.state, token.changes) == (before, changes)
    token.put(ClearToken("two"))
    assert (token.state.token, token.changes[-1]) == ("", ("generation 2", "none", "cleared"))


def test_who_looks_changes_nothing() -> None:
    token = failed()
    assert token.put(LookAtToken()) == token.state == failed().state


# Values ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [none, fresh, stale, expired, failed, failed_and_expired])
def test_a_life_survives_being_stored(make: Any) -> None:
    state = make().state
    assert decode(encode(state)) == state
    assert pickle.loads(pickle.dumps(state)) == state


@pytest.mark.parametrize(("lifetime", "reason"), [(None, "no expiry known"), (90.4, "expires in 90 s")])
def test_a_new_token_is_told_about_without_a_secret(lifetime: float | None, reason: str) -> None:
    token = Token()
    token.refresh("one", lifetime)
    assert token.changes == [("none", "generation 1", reason)]
    token.refresh("two", lifetime, refused=1)
    assert token.changes[1:] == [("generation 1", "generation 2", reason)]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("refresh_before", -1),
        ("refresh_before", math.inf),
        ("refresh_before", "60"),
        ("lease", 0),
        ("lease", math.nan),
        ("lease", True),
    ],
)
def test_a_setting_that_cannot_work_is_named(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"Lifecycle\({field}=.*{field} must be a number"):
        Lifecycle(**{field: value})


def test_zero_seconds_before_the_end_are_allowed() -> None:
    token = Token(refresh_before=0)
    token.refresh("one")
    assert token.want().seconds_fresh == token.want().seconds_left == EXPIRED


def test_who_listens_makes_no_other_machine() -> None:
    assert Lifecycle(listeners=(print,)) == Lifecycle()
    assert Lifecycle() != Lifecycle(lease=1)
