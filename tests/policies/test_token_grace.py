"""The grace of a token's life: used past its end where renewal has failed, and never beyond that."""

from __future__ import annotations

from typing import Any

import pytest

from polvo_adapters.core.machines import Changed
from polvo_adapters.refresh.lifecycle import (
    Clear,
    Failed,
    Failing,
    Known,
    Life,
    Renew,
    Renewed,
    TokenLife,
    Want,
    usable_for,
)

LIFE = TokenLife(renew_before=10, lease=30, grace=100)
USED = usable_for(60.0)


def after(*events: tuple[float, Any], life: TokenLife = LIFE) -> tuple[Life, Any]:
    state, verdict = life.initial, None
    for now, event in events:
        state, verdict = life.transition(state, event, now)
    return state, verdict


FETCHED = ((0.0, Want()), (0.0, Renewed("t", 60.0, 0.0, 1)))


def failing(lease: int, **keywords: Any) -> Failing:
    return Failing(lease, "sealed", **keywords)


def test_without_a_failure_there_is_no_grace() -> None:
    assert type(after(*FETCHED, (USED, Want()))[1]) is Renew
    assert after(*FETCHED, (USED, Want(renew="nothing")))[1] == Failed("expired", pytest.approx(-float("inf")), False)


def test_after_a_failure_it_is_used_until_the_grace_is_over() -> None:
    failed = (*FETCHED, (USED, Want()), (USED, failing(2)))
    assert after(*failed)[1] == Changed("generation 1", "in use past its time", "sealed; for another 100 s at most")
    known = after(*failed, (USED, Want()))[1]
    assert known == Known("t", 1, USED, 1.0, 100.0)
    assert type(after(*failed, (USED + 99.9, Want(renew="nothing")))[1]) is Known
    assert type(after(*failed, (USED + 100, Want(renew="nothing")))[1]) is Failed


def test_whoever_is_ready_to_renews_while_others_go_on() -> None:
    failed = (*FETCHED, (USED, Want()), (USED, failing(2)), (USED + 5, Want(renew="stale")))
    assert type(after(*failed)[1]) is Renew
    assert type(after(*failed, (USED + 5, Want()))[1]) is Known
    assert type(after(*failed, (USED + 5, Want(renew="stale")))[1]) is Known


def test_a_failure_ahead_of_the_end_counts_as_well() -> None:
    early = (*FETCHED, (48.0, Want(renew="stale")), (48.0, failing(2)))
    assert after(*early)[1] == Changed("generation 1", "not renewed", "sealed")
    assert after(*early, (USED + 10, Want(renew="nothing")))[1].left == pytest.approx(90)


@pytest.mark.parametrize("life", [LIFE, TokenLife(renew_before=10, lease=30)])
def test_a_final_failure_and_a_life_without_grace_end_it(life: TokenLife) -> None:
    final = life is LIFE
    state, verdict = after(*FETCHED, (USED, Want()), (USED, failing(2, final=final)), life=life)
    assert verdict == Changed("generation 1", "not renewed", "sealed")
    assert type(life.transition(state, Want(renew="nothing"), USED)[1]) is Failed


def test_a_refused_one_has_its_grace_from_then_on() -> None:
    refused = (*FETCHED, (20.0, Want(refused=1)), (20.0, failing(2)))
    assert after(*refused, (21.0, Want(renew="nothing")))[1].left == pytest.approx(99)
    assert after(*refused, (30.0, Want(refused=1, renew="nothing")))[1].left == pytest.approx(90)


def test_a_renewal_ends_it() -> None:
    renewed = (
        *FETCHED,
        (USED, Want()),
        (USED, failing(2)),
        (70.0, Want(renew="stale")),
        (70.0, Renewed("u", 60.0, 0, 3)),
    )
    state, _ = after(*renewed)
    assert (state.token, state.failures) == ("u", 0)
    assert type(after(*renewed, (70 + USED, Want(renew="nothing")))[1]) is Failed


def test_what_was_cleared_has_none() -> None:
    cleared = (*FETCHED, (20.0, Clear()), (20.0, Want()), (20.0, failing(3)))
    assert type(after(*cleared, (20.0, Want()))[1]) is Failed


@pytest.mark.parametrize("grace", [-1, float("inf"), float("nan"), True, "5"])
def test_a_grace_that_cannot_be(grace: Any) -> None:
    with pytest.raises(ValueError, match="grace"):
        TokenLife(grace=grace)
