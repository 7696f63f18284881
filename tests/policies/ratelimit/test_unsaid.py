"""What servers leave out of a quota, as responses show it: the size, and the length of the window."""

from __future__ import annotations

import pytest

from polvo_adapters.headers import Quota, Throttled
from polvo_adapters.policies.ratelimit.unsaid import SPENDING, is_incomplete
from tests.policies.ratelimit.test_adaptive import Desk, quota


@pytest.fixture
def desk() -> Desk:
    return Desk()


def tell(left: float, limit: float | None = 100.0, **more: object) -> Quota:
    """Return a quota that tells what remains, and neither a reset nor a window."""
    return quota(left, reset=None)._replace(limit=limit, window=None, **more)


def find_windows(desk: Desk) -> list[float]:
    return [pace["window"] for pace in desk.paces.values()]


@pytest.mark.parametrize(
    ("told", "lacks"),
    [
        (quota(9), False),
        (tell(9), True),
        (quota(9)._replace(limit=None), True),
        (quota(9, reset=None), False),
        (quota(9, window=None), False),
        (quota(9)._replace(remaining=None), False),
    ],
)
def test_what_is_left_out(told: Quota, lacks: bool) -> None:
    assert is_incomplete(told) == lacks


def test_the_size_is_the_most_that_was_seen_to_remain(desk: Desk) -> None:
    for left in (59.0, 58.0, 57.0):
        desk.serve(quota(left)._replace(limit=None))
    assert [pace["limit"] for pace in desk.paces.values()] == [60]


@pytest.mark.parametrize("window", [2.0, 30.0, 60.0, 900.0, 3600.0])
def test_a_window_shows_when_all_is_back_at_once(desk: Desk, window: float) -> None:
    began = desk.now
    for left in range(9, 4, -1):
        desk.serve(tell(left, 10.0))
    assert find_windows(desk) == [SPENDING]
    desk.now = began + 0.9 * window
    desk.serve(tell(4.0, 10.0))
    desk.now = began + window
    desk.serve(tell(9.0, 10.0))
    assert find_windows(desk) == [window]


def test_what_comes_back_evenly_is_a_bucket(desk: Desk) -> None:
    """Of 60 a minute."""
    left, at, lengths, refused = 60.0, desk.now, list[float](), 0
    for _ in range(120):
        turn = desk.turn(desk.ask(max_wait=1e9))
        left, at = min(60.0, left + desk.now - at), desk.now
        allowed = left >= 1
        left, refused = left - allowed, refused + (not allowed)
        desk.report(turn, tell(float(int(left)), 60.0), refused=None if allowed else Throttled("rate"))
        lengths += find_windows(desk)
    assert lengths[-1] == 60
    assert desk.now - 100 <= 80
    assert refused <= 3


def test_a_server_that_only_seems_to_count_paces_no_request(desk: Desk) -> None:
    began = desk.now
    for _ in range(20):
        desk.serve(tell(0.0))
    assert desk.now == pytest.approx(began + 1.0)


def test_other_windows_are_believed_when_they_are_seen(desk: Desk) -> None:
    for window in (10.0, 60.0):
        for _ in range(3):
            began = desk.now
            for left in range(9, 4, -1):
                desk.serve(tell(left, 10.0))
            desk.now = began + window - 0.2
            desk.serve(tell(4.0, 10.0))
            desk.now = began + window
    desk.serve(tell(9.0, 10.0))
    assert find_windows(desk) == [60]


def test_what_is_noted_is_bounded(desk: Desk) -> None:
    for number in range(40):
        desk.serve(tell(99.0, name=f"n{number}"), tell(99.0, None, name=f"m{number}"), route=f"r{number % 20}")
    assert len(desk.state["windows"]) <= 128 + 64
    assert len(desk.state["costs"]) <= 128 + 64
