"""The machine of a token's life, moved by hand: every cell of its table, what is asked of it and what comes back."""

from __future__ import annotations

import math
import pickle
from typing import Any, NamedTuple

import pytest

from polvo_adapters.core.machines import Changed
from polvo_adapters.refresh.lifecycle import (
    Clear,
    Failed,
    Failing,
    Known,
    Life,
    Look,
    Release,
    Renew,
    Renewed,
    TokenLife,
    Wait,
    Want,
    pause,
)
from polvo_adapters.stores.codec import decode, encode

HOUR = 3600.0
STALE = HOUR - 5 - 60  # seconds after which a token of an hour is to be renewed
EXPIRED = HOUR - 5


class Token:
    """A token's life alone, moved by hand."""

    def __init__(self, **keywords: Any) -> None:
        self.life = TokenLife(**keywords)
        self.state = self.life.initial
        self.now = 1000.0
        self.changes: list[tuple[str, str, str]] = []

    def put(self, event: Any) -> Any:
        self.state, verdict = self.life.transition(self.state, event, self.now)
        if type(verdict) is Changed:
            self.changes.append((verdict.before, verdict.after, verdict.why))
        return verdict

    def want(self, **keywords: Any) -> Any:
        return self.put(Want(**keywords))

    def renewed(self, token: str, lifetime: float | None = HOUR, age: float = 0.0, lease: int | None = None) -> None:
        self.put(Renewed(token, lifetime, age, self.state.lease if lease is None else lease))

    def renew(self, token: str, lifetime: float | None = HOUR, **keywords: Any) -> None:
        """Ask for the right to renew, which has to be granted, and renew."""
        right = self.want(**keywords)
        assert type(right) is Renew
        self.renewed(token, lifetime, lease=right.lease)

    def fail(self, why: str = "server_error", retry_after: float | None = None, *, final: bool = False) -> None:
        right = self.want(anew=True)
        assert type(right) is Renew
        self.put(Failing(right.lease, why, retry_after, final))


def none() -> Token:
    return Token()


def fresh() -> Token:
    token = Token()
    token.renew("one")
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
    """A token that is stale, and that could not be renewed."""
    token = stale()
    right = token.want(renew="stale")
    token.put(Failing(right.lease, "server_error"))
    return token


def failed_and_expired() -> Token:
    token = expired()
    token.fail()
    return token


# The table ------------------------------------------------------------------------------------------------------------


class Cell(NamedTuple):
    """A cell of the table: what those are told who ask one after the other."""

    life: Any
    want: Want
    told: list[type]


ASKED, AHEAD, NOTHING = Want(), Want(renew="stale"), Want(renew="nothing")
REFUSED = Want(refused=1)
CELLS = [
    Cell(none, ASKED, [Renew, Wait, Wait]),
    Cell(none, AHEAD, [Renew, Wait, Wait]),
    Cell(none, REFUSED, [Renew, Wait, Wait]),
    Cell(none, NOTHING, [Failed, Failed]),
    Cell(fresh, ASKED, [Known, Known]),
    Cell(fresh, AHEAD, [Known, Known]),
    Cell(fresh, REFUSED, [Renew, Wait, Wait]),
    Cell(fresh, REFUSED._replace(renew="stale"), [Renew, Wait, Wait]),
    Cell(fresh, REFUSED._replace(renew="nothing"), [Failed, Failed]),
    Cell(fresh, Want(refused=2), [Known, Known]),
    Cell(fresh, NOTHING, [Known, Known]),
    Cell(stale, ASKED, [Known, Known]),
    Cell(stale, AHEAD, [Renew, Known, Known]),
    Cell(stale, REFUSED, [Renew, Wait, Wait]),
    Cell(stale, Want(refused=2), [Known, Known]),
    Cell(stale, NOTHING, [Known, Known]),
    Cell(expired, ASKED, [Renew, Wait, Wait]),
    Cell(expired, AHEAD, [Renew, Wait, Wait]),
    Cell(expired, REFUSED, [Renew, Wait, Wait]),
    Cell(expired, NOTHING, [Failed, Failed]),
    Cell(failed, ASKED, [Known, Known]),
    Cell(failed, AHEAD, [Known, Known]),
    Cell(failed, REFUSED, [Failed, Failed]),
    Cell(failed, NOTHING, [Known, Known]),
    Cell(failed, AHEAD._replace(anew=True), [Renew, Known]),
    Cell(failed_and_expired, ASKED, [Failed, Failed]),
    Cell(failed_and_expired, AHEAD, [Failed, Failed]),
    Cell(failed_and_expired, REFUSED, [Failed, Failed]),
    Cell(failed_and_expired, NOTHING, [Failed, Failed]),
    Cell(failed_and_expired, ASKED._replace(anew=True), [Renew, Wait]),
    Cell(failed_and_expired, NOTHING._replace(anew=True), [Failed, Failed]),
]


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: f"{cell.life.__name__}-{cell.told[0].__name__}-{cell.want}")
def test_every_cell_of_the_table(cell: Cell) -> None:
    token = cell.life()
    assert [type(token.put(cell.want)) for _ in cell.told] == cell.told


# Times ----------------------------------------------------------------------------------------------------------------


def test_a_known_token_tells_its_age_and_what_is_left() -> None:
    token = fresh()
    assert token.want() == Known("one", 1, 100, STALE - 100, EXPIRED - 100)


def test_a_token_is_fresh_stale_and_expired_to_the_moment() -> None:
    token = fresh()
    token.now = 1000 + STALE - 0.5
    assert token.want(renew="stale") == Known("one", 1, STALE - 0.5, 0.5, 60.5)
    token.now = 1000 + EXPIRED - 0.5
    assert token.want() == Known("one", 1, EXPIRED - 0.5, 0.5, 0.5)
    token.now = 1000 + EXPIRED
    assert type(token.want()) is Renew


def test_a_stale_token_is_asked_about_again_after_a_second() -> None:
    token = stale()
    assert token.want() == Known("one", 1, STALE, 1.0, 60.0)
    assert type(token.want(renew="stale")) is Renew
    assert token.want(renew="stale") == Known("one", 1, STALE, 1.0, 60.0)


@pytest.mark.parametrize(
    ("lifetime", "fresh", "left"),
    [
        (HOUR, STALE, EXPIRED),
        (240.0, 175.0, 235.0),  # a quarter of it is just what it is renewed before
        (100.0, 70.0, 95.0),
        (40.0, 28.0, 38.0),  # of a short life, less is kept back
        (4.0, 2.8, 3.8),
        (math.inf, math.inf, math.inf),
        (None, math.inf, math.inf),
    ],
)
def test_a_token_is_renewed_before_its_end_and_not_used_up_to_it(
    lifetime: float | None, fresh: float, left: float
) -> None:
    token = Token()
    token.renew("one", lifetime)
    assert token.want() == Known("one", 1, 0.0, pytest.approx(fresh), pytest.approx(left))


def test_how_long_before_its_end_is_a_setting() -> None:
    token = Token(renew_before=300)
    token.renew("one")
    assert token.want().fresh == EXPIRED - 300


@pytest.mark.parametrize("lifetime", [0.0, -10.0, math.nan, 8.0])
def test_a_token_that_came_too_late_is_not_handed_out(lifetime: float) -> None:
    token = Token()
    right = token.want()
    token.renewed("one", lifetime, age=8.0, lease=right.lease)
    assert token.want(renew="nothing") == Failed("expired", -math.inf, final=False)
    assert type(token.want()) is Renew


def test_a_life_counts_from_when_it_was_asked_for() -> None:
    token = Token()
    right = token.want()
    token.renewed("one", HOUR, age=10.0, lease=right.lease)
    assert token.want() == Known("one", 1, 10, STALE - 10, EXPIRED - 10)
    assert token.changes == [("none", "generation 1", "expires in 3590 s")]


def test_what_is_known_grows_older() -> None:
    assert Known("one", 1, 1.0, 2.0, 3.0).after(2.5) == Known("one", 1, 3.5, -0.5, 0.5)


# The lease ------------------------------------------------------------------------------------------------------------


def test_the_right_to_renew_comes_with_what_there_is() -> None:
    assert none().want() == Renew("", 1)
    assert expired().want() == Renew("one", 2)


def test_who_gives_the_right_back_lets_the_next_one_renew() -> None:
    token = expired()
    right = token.want()
    assert token.want() == Wait()
    assert token.put(token.life.abandoned(right)) is None
    assert token.want() == Renew("one", right.lease + 1)


@pytest.mark.parametrize("verdict", [Wait(), Failed("x", 1.0, final=False), Known("one", 1, 0.0, 1.0, 1.0)])
def test_who_has_no_right_gives_nothing_back(verdict: Any) -> None:
    token = expired()
    token.want()
    before = token.state
    assert token.put(token.life.abandoned(verdict)) == before
    assert (token.state, token.want()) == (before, Wait())


def test_a_right_ends_by_itself() -> None:
    token = expired()
    token.want()
    token.now += 31 - 0.25
    assert token.want() == Wait()
    token.now += 0.25
    assert token.want() == Renew("one", 3)
    assert token.want() == Wait()


def test_how_long_a_right_lasts_is_a_setting() -> None:
    token = Token(lease=5)
    token.want()
    token.now += 5
    assert token.want() == Renew("", 2)


def test_who_was_replaced_gives_back_nothing_and_fails_for_nobody() -> None:
    token = expired()
    old = token.want()
    token.now += 31
    token.want()
    before = token.state
    for event in (Release(old.lease), Failing(old.lease, "timeout", 60.0, final=True)):
        assert token.put(event) is None
        assert token.state == before
    assert token.want() == Wait()


def test_a_late_answer_is_not_lost_and_leaves_the_right_of_whoever_took_over() -> None:
    token = expired()
    old = token.want()
    token.now += 31
    new = token.want()
    token.now += 1
    token.renewed("late", age=32.0, lease=old.lease)
    assert token.want() == Known("late", 2, 32, STALE - 32, EXPIRED - 32)
    assert token.want(refused=2) == Wait()
    token.renewed("new", age=1.0, lease=new.lease)
    assert token.want() == Known("new", 3, 1, STALE - 1, EXPIRED - 1)


def test_a_late_answer_does_not_replace_what_was_asked_for_after_it() -> None:
    token = expired()
    old = token.want()
    token.now += 31
    token.renew("new")
    token.now += 1
    before = token.state
    token.renewed("late", age=32.0, lease=old.lease)
    assert token.state == before
    assert token.want() == Known("new", 2, 1, STALE - 1, EXPIRED - 1)


def test_an_answer_counts_once() -> None:
    token = expired()
    right = token.want()
    token.renewed("two", lease=right.lease)
    token.renewed("again", lease=right.lease)
    assert token.want().token == "two"


def test_a_clock_that_was_put_back_loses_no_token() -> None:
    token = expired()
    right = token.want()
    token.now -= HOUR + 100
    token.renewed("new", lease=right.lease)
    assert token.want() == Known("new", 2, 0, STALE, EXPIRED)


def test_a_new_token_ends_the_right_and_all_failures() -> None:
    token = failed_and_expired()
    token.now += 1
    token.renew("two")
    assert token.state == Life("two", 2, token.now, token.now + STALE, token.now + EXPIRED, lease=3, under=3)
    token.now += EXPIRED
    assert type(token.want()) is Renew


def test_it_is_the_parent_who_renews() -> None:
    token = expired()
    right = token.want()
    token.state = token.state.after_fork()
    assert token.want() == Renew("one", right.lease + 1)


def test_a_fork_changes_nothing_else() -> None:
    state = failed_and_expired().state._replace(until=5.0)
    assert state.after_fork() == state._replace(until=-math.inf)


# Failures -------------------------------------------------------------------------------------------------------------


def test_the_pause_after_failures_grows_to_half_a_minute() -> None:
    token, pauses = none(), []
    for _ in range(8):
        token.fail()
        pauses.append(token.want().retry_after)
        token.now += pauses[-1] - 0.25
        assert token.want() == Failed("server_error", 0.25, final=False)
        token.now += 0.25
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 30]
    assert type(token.want()) is Renew


def test_the_longest_pause_is_the_same_after_any_number_of_failures() -> None:
    assert [pause(times) for times in (0, 1, 4, 5, 10, 10**9)] == [1, 2, 16, 30, 30, 30]


@pytest.mark.parametrize(
    ("retry_after", "final", "expected"),
    [
        (None, False, 1.0),
        (0.5, False, 1.0),  # never shorter than without
        (20.0, False, 20.0),
        (1e9, False, 300.0),
        (math.inf, False, 300.0),
        (math.nan, False, 1.0),
        (-5.0, False, 1.0),
        (None, True, 30.0),
        (100.0, True, 100.0),
    ],
)
def test_how_long_nobody_tries_after_a_failure(retry_after: float | None, final: bool, expected: float) -> None:
    token = none()
    token.fail("no luck", retry_after, final=final)
    assert token.want() == Failed("no luck", expected, final)
    assert token.changes == [("none", "not renewed", "no luck")]


def test_after_a_failure_the_token_serves_while_it_lasts() -> None:
    token = stale()
    token.put(Failing(token.want(renew="stale").lease, "invalid_grant", 300.0, final=True))
    assert token.want(renew="stale") == Known("one", 1, STALE, 1.0, 60.0)
    token.now += 60
    assert token.want() == Failed("invalid_grant", 240.0, final=True)
    assert token.changes[-1] == ("generation 1", "not renewed", "invalid_grant")


def test_who_has_other_credentials_need_not_wait_for_the_end_of_the_pause() -> None:
    token = failed_and_expired()
    assert type(token.want(anew=True)) is Renew
    assert type(token.want(anew=True)) is Wait
    assert type(token.want()) is Failed


def test_after_the_pause_one_tries_again() -> None:
    token = failed()
    token.now += 1
    assert [type(token.want(renew="stale")) for _ in range(3)] == [Renew, Known, Known]


# Refusals -------------------------------------------------------------------------------------------------------------


def test_a_refused_token_is_renewed_once_and_not_once_per_request() -> None:
    token = fresh()
    token.renew("two", refused=1)
    assert token.want(refused=1) == Known("two", 2, 0, STALE, EXPIRED)
    assert token.want(refused=1, renew="nothing") == Known("two", 2, 0, STALE, EXPIRED)


def test_a_third_renewal_in_a_row_has_to_wait_and_each_after_it_for_longer() -> None:
    token = Token()
    token.renew("0")
    waits = []
    for number in range(10):
        began = token.now
        while type(verdict := token.want(refused=token.state.generation)) is Known:
            assert verdict.token == str(number)
            token.now += 0.25
        assert type(verdict) is Renew
        waits.append(token.now - began)
        token.renewed(str(number + 1), lease=verdict.lease)
    assert waits == [0, 0, 1, 2, 4, 8, 16, 30, 30, 30]


def test_who_is_not_believed_changes_nothing() -> None:
    token = fresh()
    token.renew("two", refused=1)
    token.renew("three", refused=2)
    before = token.state
    assert type(token.want(refused=3)) is Known
    assert token.state == before


def test_a_token_that_was_good_for_a_minute_may_be_refused_like_the_first() -> None:
    token = fresh()
    token.renew("two", refused=1)
    token.renew("three", refused=2)
    token.now += 60.25
    token.renew("four", refused=3)
    token.renew("five", refused=4)
    assert type(token.want(refused=5)) is Known


def test_one_that_was_not_yet_good_for_a_minute_counts() -> None:
    token = fresh()
    token.renew("two", refused=1)
    token.now += 60
    token.renew("three", refused=2)
    assert type(token.want(refused=3)) is Known


def test_what_has_expired_cannot_be_refused() -> None:
    token = expired()
    assert type(token.want(refused=1)) is Renew
    assert token.state.refusals == 0


# Reminders ------------------------------------------------------------------------------------------------------------


def test_a_store_that_forgot_is_reminded_of_everything() -> None:
    token = none()
    known = Known("five", 5, 100.0, 200.0, 260.0)
    assert token.want(known=known) == known
    token.now += 50
    assert token.want() == Known("five", 5, 150, 150, 210)


def test_what_it_is_reminded_of_counts_as_if_it_had_never_forgotten() -> None:
    token = none()
    assert token.want(known=Known("five", 5, 100.0, 0.5, 60.0), refused=5) == Renew("five", 1)
    token.renewed("six")
    assert token.want().generation == 6


def test_what_has_expired_is_remembered_for_what_it_is_renewed_by() -> None:
    assert none().want(known=Known("five", 5, 4000.0, -400.0, -340.0)) == Renew("five", 1)


def test_an_older_token_does_not_replace_its_successor() -> None:
    token = expired()
    known = Known("one", 1, EXPIRED, -60.0, 0.0)
    token.renew("two", known=known)
    token.now += 10
    assert token.want(known=known.after(10)).token == "two"


def test_of_two_that_are_known_the_one_issued_last_counts() -> None:
    token = none()
    older, newer = Known("five", 5, 100.0, 900.0, 960.0), Known("six", 6, 50.0, 900.0, 960.0)
    assert token.want(known=older) == older
    assert token.want(known=newer) == newer
    assert token.want(known=older) == newer


@pytest.mark.parametrize(("age", "token"), [(49.75, "other"), (50.0, "five"), (50.25, "five")])
def test_of_two_with_one_number_the_later_counts(age: float, token: str) -> None:
    life = none()
    life.want(known=Known("five", 5, 50.0, 900.0, 960.0))
    assert life.want(known=Known("other", 5, age, 900.0, 960.0)).token == token


def test_a_refused_token_is_not_brought_back_by_who_was_stopped_for_a_while() -> None:
    token = fresh()
    known = token.want()
    token.want(refused=1)
    token.now += 100  # and the holder of the token thinks that no time has passed
    assert token.want(known=known, renew="nothing") == Failed("expired", -math.inf, final=False)


@pytest.mark.parametrize("event", [Renewed("two", HOUR, 0.0, 0), Clear()])
def test_a_clock_that_was_put_forward_makes_no_old_token_new(event: Any) -> None:
    token = fresh()
    known = token.want()
    token.put(event)
    before = token.state
    token.now += 2 * HOUR  # and the holder of the old one thinks that no time has passed
    token.want(known=known, renew="nothing")
    assert token.state == before


def test_a_reminder_leaves_the_right_of_whoever_renews() -> None:
    token = none()
    token.want()
    assert token.want(known=Known("five", 5, 100.0, -1.0, -1.0)) == Wait()


# Logins and logouts ---------------------------------------------------------------------------------------------------


def test_a_token_from_elsewhere_needs_no_right_and_ends_that_of_others() -> None:
    token = expired()
    old = token.want()
    token.renewed("login", lease=0)
    assert token.want().token == "login"
    assert type(token.want(refused=2)) is Renew
    token.put(Release(old.lease))
    assert token.want() == Wait()


def test_who_renews_while_somebody_logs_in_has_no_say_any_more() -> None:
    token = expired()
    old = token.want()
    token.now += 1
    token.renewed("login", age=0.5, lease=0)
    before = token.state
    token.put(Failing(old.lease, "invalid_grant", final=True))
    token.renewed("renewed", age=1.0, lease=old.lease)
    assert token.state == before


@pytest.mark.parametrize("event", [Renewed("login", HOUR, 0.0, 0), Clear()])
def test_a_clock_that_was_put_forward_makes_no_late_answer_new(event: Any) -> None:
    token = expired()
    old = token.want()
    token.put(event)
    before = token.state
    token.now += HOUR
    token.renewed("late", age=1.0, lease=old.lease)
    assert token.state == before


def test_a_right_from_before_the_store_forgot_takes_nothing_from_later_ones() -> None:
    token = Token()
    token.state = Life(lease=2)
    old = token.want()
    token.state = Life()
    new = token.want()
    token.renewed("old", lease=old.lease)
    assert token.want().token == "old"
    token.renewed("new", lease=new.lease)
    assert token.want().token == "new"
    token.renew("newer", refused=2)


def test_what_is_cleared_is_used_by_nobody_and_brought_back_by_nobody() -> None:
    token = fresh()
    known = token.want()
    token.put(Clear())
    assert token.changes[-1] == ("generation 1", "none", "cleared")
    assert token.want(known=known, renew="nothing") == Failed("expired", -math.inf, final=False)
    assert token.want(known=known) == Renew("", 3)
    token.renewed("two")
    assert token.want(known=known).generation == 3


def test_who_renews_while_it_is_cleared_does_not_bring_it_back() -> None:
    token = expired()
    old = token.want()
    token.now += 1
    token.put(Clear())
    before = token.state
    token.renewed("renewed", age=1.0, lease=old.lease)
    token.put(Failing(old.lease, "invalid_grant", final=True))
    token.put(Release(old.lease))
    assert token.state == before
    assert token.want() == Renew("", old.lease + 2)


def test_a_clear_forgets_failures_and_refusals() -> None:
    token = failed_and_expired()
    token.now += 1
    token.put(Clear())
    assert token.state == Life(generation=2, issued=token.now, lease=3, under=3)
    token.put(Clear())
    assert token.changes[-1] == ("none", "none", "cleared")


def test_a_clear_of_one_token_leaves_any_other() -> None:
    token = fresh()
    token.renew("two", refused=1)
    before, changes = token.state, list(token.changes)
    assert token.put(Clear("one")) is None
    assert (token.state, token.changes) == (before, changes)
    token.put(Clear("two"))
    assert (token.state.token, token.changes[-1]) == ("", ("generation 2", "none", "cleared"))


def test_who_looks_changes_nothing() -> None:
    token = failed()
    assert token.put(Look()) == token.state == failed().state


# Values ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [none, fresh, stale, expired, failed, failed_and_expired])
def test_a_life_survives_being_stored(make: Any) -> None:
    state = make().state
    assert decode(encode(state)) == state
    assert pickle.loads(pickle.dumps(state)) == state


@pytest.mark.parametrize(("lifetime", "why"), [(None, "no expiry known"), (90.4, "expires in 90 s")])
def test_a_new_token_is_told_about_without_a_secret(lifetime: float | None, why: str) -> None:
    token = Token()
    token.renew("one", lifetime)
    assert token.changes == [("none", "generation 1", why)]
    token.renew("two", lifetime, refused=1)
    assert token.changes[1:] == [("generation 1", "generation 2", why)]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("renew_before", -1),
        ("renew_before", math.inf),
        ("renew_before", "60"),
        ("lease", 0),
        ("lease", math.nan),
        ("lease", True),
    ],
)
def test_a_setting_that_cannot_work_is_named(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"TokenLife\({field}=.*{field} must be a number"):
        TokenLife(**{field: value})


def test_zero_seconds_before_the_end_are_allowed() -> None:
    token = Token(renew_before=0)
    token.renew("one")
    assert token.want().fresh == token.want().left == EXPIRED


def test_who_listens_makes_no_other_machine() -> None:
    assert TokenLife(listeners=(print,)) == TokenLife()
    assert TokenLife() != TokenLife(lease=1)
