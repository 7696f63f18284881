"""The text of states: plain values and real states come back, and nothing else gets in."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polvo_adapters.core.machines import Refused
from polvo_adapters.core.stored_types import registered_types, stored_as
from polvo_adapters.headers import Quota, Throttled
from polvo_adapters.policies import bulkhead, hedge, ratelimit, retry_budget
from polvo_adapters.policies.breaker import CircuitBreaker, state
from polvo_adapters.policies.bulkhead import Bulkhead
from polvo_adapters.policies.bulkhead import policy as bulkhead_policy
from polvo_adapters.policies.bulkhead.concurrency_limit import Sample
from polvo_adapters.policies.fallback import stale_cache
from polvo_adapters.policies.fallback.stale_cache import StaleCache
from polvo_adapters.policies.hedge import Hedge
from polvo_adapters.policies.idempotency import record  # noqa: F401 - registers the state of records
from polvo_adapters.policies.ratelimit import SlidingWindow, TokenBucket, turns
from polvo_adapters.policies.retry_budget import RetryBudget
from polvo_adapters.refresh import lifecycle  # noqa: F401 - registers the state of tokens
from polvo_adapters.stores.codec import Undecodable, decode, encode

leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
keys = st.text() | st.integers() | st.none() | st.tuples(st.text(), st.none() | st.floats(allow_nan=False))
plain = st.recursive(
    leaves, lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(keys, inner), max_leaves=20
)


def same(one: Any, other: Any) -> bool:
    """Tell whether two values are the same in all: types, order, signs of zeros, and what is not a number."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return same(list(one.items()), list(other.items()))
    if isinstance(one, (tuple, list)):
        return len(one) == len(other) and all(map(same, one, other))
    return repr(one) == repr(other) if isinstance(one, float) else bool(one == other)


def after(machine: Any, *events: Any) -> Any:
    """Return the state of a machine after events; a callable is given the last verdict."""
    state, verdict = machine.initial, None
    for number, event in enumerate(events):
        state, verdict = machine.transition(state, event(verdict) if callable(event) else event, 1e9 + number / 3)
    return state


def failure(permit: Any) -> state.CallResult:
    return permit.success._replace(result="failure", seconds=0.1)


def fine(permit: Any) -> state.CallResult:
    return permit.success


ADAPTIVE = ratelimit.AdaptiveRateLimit()
QUOTA = Quota(limit=100.0, remaining=40.0, reset=10.0, window=10.0, resolution=1.0, name="core", group="bucket")
ASK = turns.TurnRequest("/items/*", -1, 0, 60.0, None)
TELL = turns.TurnResult("/items/*", "", 0, 0.2, 200, (QUOTA, QUOTA._replace(window=None, name="day")), None)
REFUSED = TELL._replace(status=429, quotas=(), refused=Throttled("rate", 5.0))
SLOT = [bulkhead_policy.AcquireSlot(""), lambda slot: bulkhead_policy.ReleaseSlot(slot, Sample(0.1, 1, dropped=False))]

STATES = {
    "a new circuit": after(CircuitBreaker()),
    "a closed circuit": after(CircuitBreaker(), state.AcquirePermit(), failure),
    "an open circuit": after(CircuitBreaker(failure_threshold=1), state.AcquirePermit(), failure),
    "a probe": after(
        CircuitBreaker(failure_threshold=1, recovery_timeout=0.1), state.AcquirePermit(), failure, state.AcquirePermit()
    ),
    "a circuit by rate": after(CircuitBreaker(failure_rate=0.5, window=10.0), *[state.AcquirePermit(), failure] * 3),
    "one by calls": after(CircuitBreaker(failure_rate=0.5, window_calls=200), *[state.AcquirePermit(), fine] * 90),
    "a bulkhead": after(Bulkhead(1), bulkhead_policy.AcquireSlot(""), bulkhead_policy.JoinQueue("key", math.inf, None)),
    "an adaptive bulkhead": after(bulkhead.AdaptiveBulkhead(), *SLOT * 25),
    "an adaptive rate limit": after(ADAPTIVE, ASK, TELL, ASK, TELL),
    "one that was refused": after(ADAPTIVE, ASK, REFUSED, ASK, TELL),
    "a new account": after(ADAPTIVE),
    "a token bucket": after(TokenBucket(2.0), ASK, ASK, REFUSED),
    "a sliding window": after(SlidingWindow(2, 1.0), ASK, ASK, ASK, REFUSED),
    "a retry budget": after(RetryBudget(), retry_budget.Deposit(), retry_budget.Spend(1.0)),
    "a new retry budget": after(RetryBudget()),
    "a hedge": after(Hedge(), *[hedge.PlanHedge(), hedge.RecordLatency(1e9)] * 40),
    "last good responses": after(
        StaleCache(), stale_cache.StoreResponse("k", 0.0, math.inf, (("etag", '"é"'),), b"\0\xff")
    ),
}


@given(plain)
def test_plain_values_come_back_as_they_were(value: Any) -> None:
    text = encode(value)
    assert text.isascii()
    assert same(decode(text), value)


@pytest.mark.parametrize("name", STATES)
def test_real_states_come_back_as_they_were(name: str) -> None:
    assert same(decode(encode(STATES[name])), STATES[name])


def test_a_state_that_came_back_goes_on_as_before() -> None:
    state = STATES["an adaptive rate limit"]
    assert ADAPTIVE.transition(decode(encode(state)), ASK, 2e9) == ADAPTIVE.transition(state, ASK, 2e9)


@pytest.mark.parametrize("value", [1 << 63, -(1 << 63) - 1, (1 << 100_000) - 1, -0.0, "\ud800\0"], ids="abcde")
def test_what_json_or_python_would_limit_comes_back(value: Any) -> None:
    assert same(decode(encode(value)), value)


class Foreign(NamedTuple):
    """A NamedTuple of somebody else's."""

    value: int


@dataclass(frozen=True)
class Value:
    """No plain value."""


class Text(str):
    """Nor is this."""

    __slots__ = ()


@pytest.mark.parametrize("value", [Foreign(1), Refused("full"), Value(), Text("a"), {1}, object(), 1j, [Value], len])
def test_other_classes_are_not_written(value: Any) -> None:
    with pytest.raises(TypeError, match="cannot be kept outside of this process"):
        encode({"state": (value,)})


def test_a_class_that_only_says_it_is_a_policy_s_is_not_written() -> None:
    fake = type("State", (tuple,), {"__module__": "polvo_adapters.policies.breaker.state", "_fields": ()})
    with pytest.raises(TypeError, match="cannot be kept"):
        encode(fake())


def test_a_tag_stands_for_one_class() -> None:
    with pytest.raises(ValueError, match="stands for CircuitState already"):
        stored_as("circuit.2")(Foreign)
    assert stored_as("circuit.2")(state.CircuitState) is state.CircuitState


@pytest.mark.parametrize(
    "name",
    [
        "breaker.CircuitBreaker",  # no NamedTuple
        "breaker.Refused",  # one, but only imported there
        "bulkhead.Slots.after_fork",
        "not_there.State",
        "..flow.Refused",
        "flow.Refused",
        "os.system",
        "modules",
        "",
        "circuits.",
        ".State",
        5,
        None,
        [],
    ],
)
def test_other_classes_are_not_read(name: Any) -> None:
    for content in ([name, 0, []], [name, []]):
        with pytest.raises(Undecodable):
            decode(json.dumps({"n": content}))


def test_nothing_is_imported() -> None:
    import sys

    before = set(sys.modules)
    with pytest.raises(Undecodable):
        decode('{"n":["this.State",0,[]]}')
    assert set(sys.modules) == before


def test_a_class_that_has_other_fields_today_is_not_read() -> None:
    state = RetryBudget().initial
    tag, items = json.loads(encode(state))["n"]
    for changed in ([tag + "0", items], [tag, [*items, 1]], [tag, []], [tag], [tag, 0, items, 0]):
        with pytest.raises(Undecodable):
            decode(json.dumps({"n": changed}))


def test_states_that_were_written_by_path_are_read() -> None:
    tag, items = json.loads(encode(bulkhead_policy.BulkheadState(1, 2, 3)))["n"]
    assert tag == "bulkhead.1"
    assert decode(json.dumps({"n": ["bulkhead.Slots", 1520207656, items]})) == bulkhead_policy.BulkheadState(1, 2, 3)
    with pytest.raises(Undecodable):
        decode(json.dumps({"n": ["bulkhead.Slots", 1520207657, items]}))


FIELDS = {
    "bulkhead.1": "period new old queue issued limit",
    "circuit-permit.1": "era probe success",
    "circuit-result.1": "era probe result seconds repeat retry_after",
    "circuit.2": ("state permit recent open_until opened probes succeeded issued reason hand opened_at doubt_until"),
    "concurrency-limit.1": "limit base latency since cut samples seconds used held level windows looks climbing",
    "hedge.1": "allowance latencies",
    "latencies.1": "weights fresh folded_at known",
    "rate-limit-counter.1": "last level score",
    "record.1": "phase content urls since expires_at lease doubt response moved",
    "recorded-response.1": "status headers body",
    "retry-budget.1": "tokens served at began",
    "sliding-window.2": "times issued paused_until gone",
    "stale-cache.1": "kept size",
    "stale-response.1": "at age until size headers body",
    "token-bucket.2": "tokens counted_at issued paused_until paused_ticket gone",
    "window-tally.1": "calls failures slow",
    "token.1": (
        "token generation issued_at stale_at expires_at lease right_ends_at failures retry_at reason final refusals "
        "issued_under"
    ),
}
"""A class whose fields change needs a new tag: files in the form before must not be taken for the new one."""


def test_a_tag_keeps_its_fields() -> None:
    assert {tag: " ".join(kind._fields) for tag, kind in registered_types().items()} == FIELDS


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "{}", '{"x":1}', '{"t":[],"n":[]}', '{"t":[{"x":1}]}', '{"t":5}', '{"f":"5"}', '{"f":["inf"]}'),
        *('{"i":"z"}', '{"i":5}', '{"b":"é"}', '{"b":"a"}', '{"o":[]}', '{"d":[1]}', '{"d":[[],1]}', '{"n":5}'),
        *("[" * 100_000, '{"t":' * 5000),
    ],
)
def test_what_is_no_state_is_not_read(text: str) -> None:
    with pytest.raises(Undecodable):
        decode(text)


@given(st.text() | st.binary() | plain.map(lambda value: json.dumps(repr(value))) | st.none())
def test_nothing_else_is_ever_raised(text: Any) -> None:
    try:
        decode(text)
    except Undecodable:
        pass
