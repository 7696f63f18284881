"""The stack that is made for one call is the one that the keywords would have made."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

import polvo_adapters as polvo
from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import PolicyTraits
from polvo_adapters.policies.one_call import adapt, parse
from polvo_adapters.policies.outcomes import is_safe, is_safe_elsewhere
from polvo_adapters.policies.stack import standard

FULL: dict[str, Any] = {
    "retry": polvo.retry.ExponentialBackoff(4),
    "deadline": polvo.deadline.Deadline(5),
    "hedge": polvo.hedge.Hedge(delay=1),
    "fallback": polvo.fallback.Fallback("stale"),
    "rate_limit": polvo.ratelimit.TokenBucket(rate=5, capacity=5),
    "circuit_breaker": polvo.breaker.CircuitBreaker(),
    "bulkhead": polvo.bulkhead.Bulkhead(5),
    "regions": polvo.regions.Regions(["http://a.example"]),
    "idempotency": polvo.idempotency.IdempotencyKeys(max_wait=1),
    "request_id": polvo.request_ids.RequestIDs(),
}
CAN_BE_ADDED = ("retry", "deadline", "hedge", "fallback")
CAN_BE_LEFT_OUT = (*CAN_BE_ADDED, "rate_limit", "circuit_breaker", "bulkhead", "regions")
SUBSETS = [
    {name: FULL[name] for name, is_chosen in zip(FULL, chosen, strict=True) if is_chosen}
    for chosen in itertools.product((False, True), repeat=len(FULL))
]


def flat(policies: Any) -> list[Any]:
    """Return the policies in order, with gates that stand side by side one after the other."""
    return [gate for policy in policies for gate in PolicyTraits.of(policy).gates or (policy,)]


def stack(options: dict[str, Any]) -> Any:
    return standard(**{"retry": False, **options})


@pytest.mark.parametrize("option", CAN_BE_LEFT_OUT)
def test_what_is_left_out_is_as_if_it_had_never_been_there(option: str) -> None:
    settings = parse({option: False})
    for options in SUBSETS:
        without = {name: value for name, value in options.items() if name != option}
        assert flat(adapt(stack(options), settings)) == flat(stack(without))


@pytest.mark.parametrize("option", CAN_BE_ADDED)
def test_what_is_added_is_where_the_keywords_put_it(option: str) -> None:
    settings = parse({option: FULL[option]})
    for options in SUBSETS:
        assert flat(adapt(stack(options), settings)) == flat(stack({**options, option: FULL[option]}))


def test_true_changes_nothing_that_is_there() -> None:
    settings = parse(dict.fromkeys(CAN_BE_LEFT_OUT, True))
    assert flat(adapt(stack(FULL), settings)) == flat(stack(FULL))


def test_a_mapping_changes_what_it_names_and_nothing_else() -> None:
    policies = standard(retry={"base": 7, "cap": 9}, hedge={"delay": 1, "ratio": 0.5})
    adapted = adapt(policies, parse({"retry": {"base": 8}, "hedge": 2}))
    retry = polvo.retry.ExponentialBackoff(base=8, cap=9)
    assert flat(adapted) == [polvo.hedge.Hedge(delay=2, ratio=0.5), retry]


def test_a_predicate_is_added_to_the_retries_and_to_none_if_they_are_off() -> None:
    def test(answer: polvo.retry.Answer) -> None:
        return None

    policies = standard(retry={"base": 7})
    assert adapt(policies, parse({"retry_if": test})) == (polvo.retry.ExponentialBackoff(base=7, retry_if=test),)
    assert adapt(policies, parse({"retry_if": test, "retry": 2})) == (
        polvo.retry.ExponentialBackoff(2, base=7, retry_if=test),
    )
    assert adapt(policies, parse({"retry_if": test, "retry": False})) == ()


def test_policies_owe_each_other_the_same_as_in_the_stack() -> None:
    regions = polvo.regions.Regions(["http://a.example"], retry_codes=[503], reroute_codes=[500])
    retry = polvo.retry.ExponentialBackoff(5)
    keys = polvo.idempotency.IdempotencyKeys()
    expected = standard(regions=regions, retry=retry, deadline=3, idempotency=keys)
    given = standard(regions=regions, retry=False, idempotency=keys)
    assert adapt(given, parse({"retry": retry, "deadline": 3})) == expected


@pytest.mark.parametrize("value", [True, 1.0, {"delay": 1.0}])
def test_a_hedge_that_is_added_where_no_retries_fill_its_budget_has_none(value: Any) -> None:
    (hedge,) = adapt(standard(retry=False), parse({"hedge": value}))
    assert hedge == standard(retry=False, hedge=value)[0]
    assert adapt(standard(hedge=1.0), parse({"retry": False})) == standard(hedge=1.0)[:1]


def test_order_of_a_stack_of_ones_own_stays() -> None:
    own = (FULL["rate_limit"], FULL["retry"], FULL["circuit_breaker"])
    assert adapt(own, parse({"deadline": 5})) == (FULL["deadline"], *own)
    assert adapt(own, parse({"circuit_breaker": False})) == own[:2]
    assert adapt((), parse({"retry": FULL["retry"], "deadline": 5})) == (FULL["deadline"], FULL["retry"])


@pytest.mark.parametrize(
    ("call", "here", "elsewhere"),
    [
        (Call("GET", "http://a.example/"), True, True),
        (Call("POST", "http://a.example/"), False, False),
        (Call("POST", "http://a.example/", idempotent=True), True, True),
        (Call("POST", "http://a.example/", idempotent=True, key="a"), True, False),
        (Call("GET", "http://a.example/", unsafe=True), False, False),
        (Call("GET", "http://a.example/", unsafe=True, key="a"), False, False),
    ],
)
def test_what_is_declared_decides_whether_a_call_is_safe(call: Call, here: bool, elsewhere: bool) -> None:
    assert (is_safe(call, {"GET"}), is_safe_elsewhere(call, {"GET"})) == (here, elsewhere)
    assert is_safe(call, None) is is_safe_elsewhere(call, None) is not call.unsafe
