"""The grace of a token's life: used past its end where refresh has failed, and never beyond that."""

from __future__ import annotations

from typing import Any

import pytest

from polvo_adapters.core.machines import Changed
from polvo_adapters.refresh.lifecycle import (
    ClearToken,
    KnownToken,
    Lifecycle,
    LifecycleState,
    NoToken,
    RefreshFailed,
    RefreshRight,
    TokenRefreshed,
    WantToken,
    usable_seconds,
)

LIFE = Lifecycle(refresh_before=10, lease=30, grace=100)
USED = usable_seconds(60.0)


def after(*events: tuple[float, Any], life: Lifecycle = LIFE) -> tuple[LifecycleState, Any]:
    state, verdict = life.initial, None
    for now, event in events:
        state, verdict = life.transition(state, event, now)
    return state, verdict


FETCHED = ((0.0, WantToken()), (0.0, TokenRefreshed("t", 60.0, 0.0, 1)))


def failing(lease: int, **keywords: Any) -> RefreshFailed:
    return RefreshFailed(lease, "sealed", **keywords)


def test_without_a_failure_there_is_no_grace() -> None:
    assert type(after(*FETCHED, (USED, WantToken()))[1]) is RefreshRight
    assert after(*FETCHED, (USED, WantToken(refresh="nothing")))[1] == NoToken(
        "expired", pytest.approx(-float("inf")), False
    )


def test_after_a_failure_it_is_used_until_the_grace_is_over() -> None:
    failed = (*FETCHED, (USED, WantToken()), (USED, failing(2)))
    assert after(*failed)[1] == Changed(
        "generation 1", "in use past its time", "sealed; for another 100 s at most", is_trouble=True
    )
    known = after(*failed, (USED, WantToken()))[1]
    assert known == KnownToken("t", 1, USED, 1.0, 100.0)
    assert type(after(*failed, (USED + 99.9, WantToken(refresh="nothing")))[1]) is KnownToken
    assert type(after(*failed, (USED + 100, WantToken(refresh="nothing")))[1]) is NoToken


def test_whoever_is_ready_to_refreshes_while_others_go_on() -> None:
    failed = (*FETCHED, (USED, WantToken()), (USED, failing(2)), (USED + 5, WantToken(refresh="stale")))
    assert type(after(*failed)[1]) is RefreshRight
    assert type(after(*failed, (USED + 5, WantToken()))[1]) is KnownToken
    assert type(after(*failed, (USED + 5, WantToken(refresh="stale")))[1]) is KnownToken


def test_a_failure_ahead_of_the_end_counts_as_well() -> None:
    early = (*FETCHED, (48.0, WantToken(refresh="stale")), (48.0, failing(2)))
    assert after(*early)[1] == Changed("generation 1", "not refreshed", "sealed", is_trouble=True)
    assert after(*early, (USED + 10, WantToken(refresh="nothing")))[1].seconds_left == pytest.approx(90)


@pytest.mark.parametrize("life", [LIFE, Lifecycle(refresh_before=10, lease=30)])
def test_a_final_failure_and_a_life_without_grace_end_it(life: Lifecycle) -> None:
    final = life is LIFE
    state, verdict = after(*FETCHED, (USED, WantToken()), (USED, failing(2, final=final)), life=life)
    assert verdict == Changed("generation 1", "not refreshed", "sealed", is_trouble=True)
    assert type(life.transition(state, WantToken(refresh="nothing"), USED)[1]) is NoToken


def test_a_refused_one_has_its_grace_from_then_on() -> None:
    refused = (*FETCHED, (20.0, WantToken(refused=1)), (20.0, failing(2)))
    assert after(*refused, (21.0, WantToken(refresh="nothing")))[1].seconds_left == pytest.approx(99)
    assert after(*refused, (30.0, WantToken(refused=1, refresh="nothing")))[1].seconds_left == pytest.approx(90)


def test_a_refresh_ends_it() -> None:
    refreshed = (
        *FETCHED,
        (USED, WantToken()),
        (USED, failing(2)),
        (70.0, WantToken(refresh="stale")),
        (70.0, TokenRefreshed("u", 60.0, 0, 3)),
    )
    state, _ = after(*refreshed)
    assert (state.token, state.failures) == ("u", 0)
    assert type(after(*refreshed, (70 + USED, WantToken(refresh="nothing")))[1]) is NoToken


def test_what_was_cleared_has_none() -> None:
    cleared = (*FETCHED, (20.0, ClearToken()), (20.0, WantToken()), (20.0, failing(3)))
    assert type(after(*cleared, (20.0, WantToken()))[1]) is NoToken


@pytest.mark.parametrize("grace", [-1, float("inf"), float("nan"), True, "5"])
def test_a_grace_that_cannot_be(grace: Any) -> None:
    with pytest.raises(ValueError, match="grace"):
        Lifecycle(grace=grace)
