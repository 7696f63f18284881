"""Calls that are broken off give back their turns: places in the queue, and requests that count as under way."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from polvo_adapters.adapters import PolicyAdapter
from polvo_adapters.headers import Quota
from polvo_adapters.policies.ratelimit import AdaptiveRateLimit, RateLimit, SlidingWindow, TokenBucket
from polvo_adapters.policies.ratelimit.turns import Turn, TurnRequest, TurnResult
from polvo_adapters.testing.virtual_clock import VirtualClock
from polvo_adapters.transports import AsyncPolicyTransport
from tests.support.virtual_worlds import LoopClock

WAITING = 6
QUOTA = Quota(limit=10.0, remaining=2.0, reset=60.0, window=60.0)


class Desk:
    """One limit, of which some requests may go at once and the others wait."""

    def __init__(self, policy: RateLimit) -> None:
        self.policy, self.state, self.now = policy, policy.initial, 100.0
        if isinstance(policy, AdaptiveRateLimit):
            turn = self.ask()
            self.put(TurnResult("r", turn.group, turn.era, 0.1, 200, (QUOTA,), None))
        self.going = []
        while (turn := self.ask()).wait <= 0:
            self.going.append(turn)
        self.release(turn)

    def put(self, event: Any) -> Any:
        self.state, verdict = self.policy.transition(self.state, event, self.now)
        return verdict

    def ask(self) -> Turn:
        turn: Turn = self.put(TurnRequest("r", -1, 0, 1e9, None))
        return turn

    def ask_again(self, turn: Turn) -> Turn:
        again: Turn = self.put(TurnRequest("r", turn.ticket, turn.tries, 1e9, None, group=turn.group))
        return again

    def release(self, turn: Turn) -> None:
        self.put(self.policy.release_event(turn))


LIMITS = [TokenBucket(rate=0.5, capacity=3), SlidingWindow(limit=3, window=6), AdaptiveRateLimit()]
EACH = pytest.mark.parametrize("policy", LIMITS, ids=lambda policy: type(policy).__name__)


@EACH
@given(order=st.permutations(range(WAITING)))
def test_calls_that_all_stop_waiting_leave_the_queue_as_it_was(policy: RateLimit, order: list[int]) -> None:
    desk = Desk(policy)
    before = desk.ask()
    desk.release(before)
    waiting = [desk.ask() for _ in range(WAITING)]
    assert all(turn.wait > 0 for turn in waiting)
    for number in order:
        desk.release(waiting[number])
    assert desk.ask().wait == before.wait


@EACH
@given(stay=st.sets(st.integers(0, WAITING - 1), min_size=1), order=st.permutations(range(WAITING)))
def test_those_that_wait_on_keep_their_order_and_none_is_let_in_before_them(
    policy: RateLimit, stay: set[int], order: list[int]
) -> None:
    desk = Desk(policy)
    waiting = [desk.ask() for _ in range(WAITING)]
    waits = {number: desk.ask_again(waiting[number]).wait for number in sorted(stay)}
    for number in order:
        if number not in stay:
            desk.release(waiting[number])
    after = {number: desk.ask_again(waiting[number]).wait for number in sorted(stay)}
    assert all(after[number] <= waits[number] + 1e-9 for number in stay)
    assert list(after.values()) == sorted(after.values())
    assert desk.ask().wait >= max(after.values()) - 1e-9


def test_a_configured_rate_is_kept_where_calls_stop_waiting() -> None:
    policy = TokenBucket(rate=1, capacity=1)
    desk = Desk(policy)
    waiting = [desk.ask() for _ in range(3)]
    desk.release(waiting[1])
    assert [desk.ask().wait for _ in range(2)] == [4.0, 5.0]  # the third goes after three seconds


def test_a_request_that_is_broken_off_counts_as_under_way_no_longer() -> None:
    desk = Desk(AdaptiveRateLimit())
    group = desk.state["groups"][""]
    assert group["running"] == len(desk.going) > 0
    for turn in desk.going:
        desk.release(turn)
    assert desk.state["groups"][""]["running"] == 0
    desk.release(Turn(group="unknown"))
    desk.release(Turn(group="", era=99))
    assert desk.state["groups"][""]["running"] == 0


def test_a_token_that_was_used_stays_used() -> None:
    desk = Desk(TokenBucket(rate=0.5, capacity=3))
    for turn in desk.going:
        desk.release(turn)
    assert desk.ask().wait == 2.0


class Interrupted(BaseException):
    """As Ctrl-C."""


def test_calls_that_are_interrupted_hold_nothing() -> None:
    class Adapter(requests.adapters.BaseAdapter):
        def send(self, *_: Any, **__: Any) -> Any:
            raise Interrupted

        def close(self) -> None:
            pass

    clock, session = VirtualClock(), requests.Session()
    session.mount("https://", PolicyAdapter(AdaptiveRateLimit(), inner=Adapter(), clock=clock))
    for _ in range(20):
        with pytest.raises(Interrupted):
            session.get("https://api.example.com/")
    assert clock.now() == 0.0


@pytest.mark.parametrize(
    ("limit", "seconds"),
    [(AdaptiveRateLimit(), 0.0), (TokenBucket(rate=1, capacity=5), 0.5), (SlidingWindow(5, 5.0), 4.5)],
    ids=["adaptive", "bucket", "window"],
)
def test_tasks_that_are_cancelled_hold_nothing(limit: RateLimit, seconds: float) -> None:
    """The requests that had left count in a rate that is configured; those that waited for their turn do not."""
    clock = LoopClock()
    is_answering = False

    async def handle(request: httpx.Request) -> httpx.Response:
        if not is_answering:
            await asyncio.sleep(3600)
        return httpx.Response(200)

    async def main() -> float:
        nonlocal is_answering
        transport: Any = AsyncPolicyTransport(limit, inner=httpx.MockTransport(handle), clock=clock)
        async with httpx.AsyncClient(transport=transport, timeout=None) as client:
            tasks = [asyncio.ensure_future(client.get("https://api.example.com/")) for _ in range(60)]
            await asyncio.sleep(0.5)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            is_answering, began = True, clock.now()
            await client.get("https://api.example.com/")
            return clock.now() - began

    assert clock.run(main()) == pytest.approx(seconds)
