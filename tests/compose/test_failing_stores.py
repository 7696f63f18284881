"""A store that fails never costs a caller what the server answered: every policy, every decision, every ending."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import requests

from polvo_adapters.adapters import PolicyAdapter
from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Acquire, Decide, Flow, Policy, Proceed, Race, Release, Start, WaitAny
from polvo_adapters.core.machines import Event
from polvo_adapters.core.outcomes import CONNECT, READ_TIMEOUT, Outcome
from polvo_adapters.core.report import StoreFailure
from polvo_adapters.drivers import decisions
from polvo_adapters.errors import CircuitOpenError, PolvoError
from polvo_adapters.policies import stack
from polvo_adapters.policies.breaker import CircuitBreaker
from polvo_adapters.policies.bulkhead import AdaptiveBulkhead, Bulkhead
from polvo_adapters.policies.fallback import Fallback
from polvo_adapters.policies.gates import Gates
from polvo_adapters.policies.hedge import Hedge
from polvo_adapters.policies.idempotency import IdempotencyKeys
from polvo_adapters.policies.outcomes import choose_most_informative
from polvo_adapters.policies.ratelimit import AdaptiveRateLimit, SlidingWindow, TokenBucket
from polvo_adapters.policies.regions import Regions
from polvo_adapters.policies.retry import ExponentialBackoff
from polvo_adapters.stores.memory import MemoryStore
from polvo_adapters.testing import FailureServer
from polvo_adapters.testing.simulation.simulation import ScriptedFailure, ScriptedReply, ScriptedTurn
from tests.support.driver_worlds import book
from tests.support.worlds import Calling, Tale, apart, in_turn, tell, tell_each

RETRY = ExponentialBackoff(base=0.125, jitter="none")
PLACES = ("http://a.example", "http://b.example", "http://c.example")
BUSY = "store busy"


@dataclass(frozen=True)
class Notary:
    """A policy of someone else, which knows nothing of failing stores: it books before and after every attempt."""

    def flow(self, call: Call, proceed: Proceed) -> Flow:
        yield Acquire(book("lease"))
        outcome = yield from proceed(call)
        yield Decide(book("seen"))
        yield Release(book("end"), book("broken"))
        if outcome.status >= 500:
            yield Decide(book("again"))
            outcome = yield from proceed(call)
        return outcome


@dataclass(frozen=True)
class Stagger:
    """A race of someone else that asks the store while its flows are under way."""

    races = True

    def flow(self, call: Call, proceed: Proceed) -> Flow:
        outcome: Outcome = yield Race(self._race(call, proceed))
        return outcome

    def _race(self, call: Call, proceed: Proceed) -> Flow:
        yield Start(proceed(call))
        yield Decide(book("first"))
        yield Start(proceed(call))
        yield Decide(book("second"))
        outcomes = [(yield WaitAny(None))[1]]
        yield Decide(book("over"))
        if outcomes[0].failure is not None:
            outcomes.append((yield WaitAny(None))[1])
        return choose_most_informative(outcomes)


POLICIES: dict[str, Callable[[], Sequence[Policy]]] = {
    "retry": lambda: [RETRY],
    "circuit breaker": lambda: [RETRY, CircuitBreaker(failure_threshold=1, recovery_timeout=0.001)],
    "bulkhead": lambda: [RETRY, Bulkhead(1)],
    "adaptive bulkhead": lambda: [RETRY, AdaptiveBulkhead()],
    "side by side": lambda: [RETRY, Gates((CircuitBreaker(), Bulkhead(1)))],
    "token bucket": lambda: [RETRY, TokenBucket(rate=1, capacity=1)],
    "sliding window": lambda: [RETRY, SlidingWindow(1, 2.0)],
    "adaptive rate limit": lambda: [RETRY, AdaptiveRateLimit()],
    "hedge": lambda: [Hedge(delay=0.25, max_hedges=2), RETRY],
    "hedge by percentile": lambda: [Hedge(), RETRY],
    "regions, fallback": lambda: [Regions(PLACES), Bulkhead(5)],
    "regions, race": lambda: [Regions(PLACES, mode="race", stagger=0.3), Bulkhead(5)],
    "regions, quorum": lambda: [Regions(PLACES, mode="quorum"), Bulkhead(5)],
    "regions, fanout": lambda: [Regions(PLACES, mode="fanout"), Bulkhead(5)],
    "last good response": lambda: [Fallback("stale"), RETRY, CircuitBreaker()],
    "another server": lambda: [Fallback("http://b.example"), CircuitBreaker()],
    "record of keys": lambda: [IdempotencyKeys(record=True), RETRY, CircuitBreaker()],
    "all": lambda: stack.standard(
        idempotency={"record": True},
        fallback="stale",
        hedge=0.25,
        deadline=60,
        retry=RETRY,
        circuit_breaker=True,
        bulkhead=5,
        rate_limit="adaptive",
    ),
    "the caller's own": lambda: [RETRY, Notary()],
    "the caller's own race": lambda: [Stagger(), CircuitBreaker()],
}

ENDINGS: dict[str, Sequence[ScriptedTurn]] = {
    "an answer": [ScriptedReply(200, seconds=0.4)],
    "an answer after failures": [ScriptedReply(503, seconds=0.1), ScriptedReply(429, seconds=0.1), ScriptedReply(201)],
    "failures": [ScriptedReply(503, seconds=0.1)],
    "a lost answer": [ScriptedFailure(READ_TIMEOUT, seconds=0.1)],
    "no connection": [ScriptedFailure(CONNECT, seconds=0.1)],
}
_MOST = 60  # decisions; a call that makes more would not be tried to its end


class FailingStore(MemoryStore):
    """A store that fails from one decision on, or at one only."""

    def __init__(self, now: Callable[[], float], first: int, last: float, error: Callable[[], Exception]) -> None:
        super().__init__(now=now)
        self.made = 0
        self.first, self.last, self.error = first, last, error

    def decide(self, events: Sequence[Event]) -> tuple[Any, ...]:
        self.made += 1
        if self.first <= self.made <= self.last:
            raise self.error()
        return super().decide(events)


_AT_ONCE = ("regions, quorum", "regions, fanout", "the caller's own race", "all")
"""Scenes in which several things happen at one instant, so that the worlds differ."""


def told(policy: str, ending: str, first: int, last: float = float("inf")) -> list[Tale]:
    """Return what the worlds tell of a call where the store fails at these decisions; they have to agree."""
    calling = Calling(method="POST", key="k") if policy == "record of keys" else Calling()
    scene = POLICIES[policy], lambda: in_turn(*apart(ENDINGS[ending])), calling

    def store(now: Callable[[], float]) -> FailingStore:
        return FailingStore(now, first, last, lambda: PolvoError("it is busy", reason=BUSY))

    return tell_each(*scene, store=store) if policy in _AT_ONCE else [tell(*scene, store=store)]


@pytest.mark.parametrize("last", [0, float("inf")], ids=["once", "from then on"])
@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("policy", POLICIES)
def test_the_call_ends_with_what_came_of_its_attempts(policy: str, ending: str, last: float) -> None:
    statuses = {str(turn.status) for turn in ENDINGS[ending] if isinstance(turn, ScriptedReply)}
    for number in range(1, _MOST):
        failed = False
        for tale in told(policy, ending, number, last or number):
            (story,) = tale.stories
            failed = failed or any(isinstance(entry, StoreFailure) for entry in story.entries)
            if policy == "regions, quorum" and story.ended == "ServiceUnavailableError":
                pass  # which says that the quorum is not reached, and has the response
            elif not tale.requests:
                assert story.ended == "PolvoError"
            elif statuses:
                assert story.ended in statuses
            else:
                assert story.ended in ("error from below", "IdempotencyError")  # which says that it was sent
        if not failed:
            return
    raise AssertionError("the call makes more decisions than were tried")


@pytest.mark.parametrize("ending", ["an answer", "failures"])
@pytest.mark.parametrize("policy", POLICIES)
def test_a_store_that_fails_makes_no_more_requests(policy: str, ending: str) -> None:
    most = max(len(tale.requests) for tale in told(policy, ending, _MOST + 1))
    for number in range(1, _MOST, 3):
        assert all(len(tale.requests) <= most for tale in told(policy, ending, number))


@pytest.mark.parametrize("policy", POLICIES)
def test_a_store_that_is_slow_to_fail_is_waited_for_once(policy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decisions, "_SLOW", 0.0)
    stores: list[FailingStore] = []

    def store(now: Callable[[], float]) -> FailingStore:
        stores.append(FailingStore(now, first, float("inf"), lambda: PolvoError("it is busy", reason=BUSY)))
        return stores[-1]

    turns = apart(ENDINGS["an answer after failures"])
    for first in range(1, 12):  # noqa: B007 - `store` uses it
        tell_each(POLICIES[policy], lambda: in_turn(*turns), Calling(), store=store)
    branches = 4 if "regions" in policy or "hedge" in policy or policy in ("all", "the caller's own race") else 1
    assert all(each.made - each.first < branches for each in stores)  # each branch of a race finds out by itself


@pytest.mark.parametrize("error", [OSError("disk"), ZeroDivisionError("a machine"), PolvoError("busy", reason=BUSY)])
@pytest.mark.parametrize("read", ["whole", "streamed", "closed unread", "dropped"])
def test_what_is_released_with_the_body_does_not_fail_the_caller(
    read: str, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> Exception:
        return error

    with FailureServer() as server, requests.Session() as session:
        store = FailingStore(time.monotonic, 2, 2, fail)
        session.mount("http://", PolicyAdapter(Bulkhead(1), store=store))
        response = session.get(server.url + "/echo?size=100", stream=read != "whole")
        if read == "streamed":
            assert b"".join(response.iter_content(10))
        elif read == "closed unread":
            response.close()
        report = response.polvo
        del response
        if read != "dropped":
            assert [str(each) for each in report.store_failures] == [
                f"bulkhead of 1 {server.url}: the store failed ({getattr(error, 'reason', type(error).__name__)})"
            ]
            assert "could not be written to the store" in caplog.text
            assert "disk" not in caplog.text  # what an unknown error says may be a secret
        if read == "dropped" or isinstance(error, PolvoError):  # put again before the next decision
            store.first = 99
            assert session.get(server.url + "/echo").status_code == 200


def test_a_store_that_takes_something_later_is_told_later() -> None:
    with FailureServer() as server, requests.Session() as session:
        store = FailingStore(time.monotonic, 2, 2, lambda: PolvoError("busy", reason=BUSY))
        session.mount("http://", PolicyAdapter(CircuitBreaker(failure_threshold=1), store=store))
        assert session.get(server.url + "/fault/status?times=1").status_code == 503
        with pytest.raises(CircuitOpenError):
            session.get(server.url)
