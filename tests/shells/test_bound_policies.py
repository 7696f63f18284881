"""What lacks a member that its protocol asks for is a TypeError that names it, where it is given and not in a call."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import httpx
import pytest
import requests

import polvo_adapters as polvo
from polvo_adapters.context.call import LogicalCall
from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import PolicyTraits
from polvo_adapters.policies.call_listeners import CallListeners
from polvo_adapters.policies.gates import Gates
from polvo_adapters.policies.one_call import CallSettings
from polvo_adapters.shells.bound_policies import BoundPolicies
from polvo_adapters.shells.request_marks import marks_of
from polvo_adapters.testing import VirtualClock
from polvo_adapters.transports import AsyncPolicyTransport, PolicyTransport

MEMBERS = ("decide", "defer", "park", "unpark")


class Nothing:
    """A value that has no members of its own."""


def store_without(missing: str) -> Any:
    return type("Store", (), {name: lambda *_: None for name in MEMBERS if name != missing})()


@pytest.mark.parametrize("missing", MEMBERS)
@pytest.mark.parametrize(
    "make",
    [
        lambda store: polvo.ResilientAdapter(store=store),
        lambda store: polvo.PolicyAdapter(store=store),
        lambda store: polvo.RetryAdapter(store=store),
        lambda store: polvo.Session(store=store),
        lambda store: polvo.install(polvo.Session(), store=store),
        lambda store: PolicyTransport(store=store),
        lambda store: AsyncPolicyTransport(store=store),
    ],
    ids=["ResilientAdapter", "PolicyAdapter", "RetryAdapter", "Session", "install", "PolicyTransport", "Async"],
)
def test_a_store_that_lacks_a_member_is_refused(make: Any, missing: str) -> None:
    with pytest.raises(TypeError, match=rf"is not a store, it has no `{missing}`"):
        make(store_without(missing))


@pytest.mark.parametrize("kind", [polvo.PolicyAdapter, PolicyTransport, AsyncPolicyTransport])
def test_a_policy_without_a_flow_is_refused(kind: Any) -> None:
    with pytest.raises(TypeError, match=rf"{kind.__name__}: .*Nothing.* is not a policy, it has no `flow`"):
        kind(Nothing())


@pytest.mark.parametrize("missing", ["key", "transition", "ask_event", "result_event", "release_event"])
def test_a_gate_that_lacks_a_member_is_refused(missing: str) -> None:
    names = ("key", "name", "initial", "transition", "ask_event", "result_event", "queue_event", "release_event")
    gate: Any = type("Gate", (), {name: None for name in names if name != missing})()
    with pytest.raises(TypeError, match=rf"Gates: .* is not a gate, it has no `{missing}`"):
        Gates((gate,))


def test_what_a_policy_does_not_say_of_itself_has_a_default() -> None:
    assert PolicyTraits.of(Nothing()) == PolicyTraits()
    assert PolicyTraits.of(polvo.ratelimit.TokenBucket(5)).counts_credentials
    assert PolicyTraits.of(polvo.fallback.Fallback("stale")).keeps_answers
    assert not PolicyTraits.of(polvo.fallback.Fallback("https://b.example")).keeps_answers
    assert PolicyTraits.of(polvo.bulkhead.AdaptiveBulkhead(max_limit=7)).max_concurrency == 7


def test_both_shells_see_the_same_call() -> None:
    bound = BoundPolicies("test", [polvo.idempotency.IdempotencyKeys("hash", record=True)], None, VirtualClock())
    request = polvo.Session().prepare_request(requests.Request("POST", "https://api.example.com/orders", data=b"x"))
    other = httpx.Request("POST", "https://api.example.com/orders", content=b"x")
    calls = [bound.begin(each, "https://api.example.com/orders", "replayable", 7.0) for each in (request, other)]
    # Only their headers differ, of which each library sets some.
    assert calls[0] == calls[1]._replace(identity=calls[0].identity, selectors=calls[0].selectors)
    assert calls[0].idempotent
    assert calls[0].started == 7
    assert len(calls[0].key) == 64


def test_each_field_of_a_call_has_its_place() -> None:
    policies = (
        polvo.idempotency.IdempotencyKeys("hash", record=True),
        polvo.request_ids.RequestIDs(),
        polvo.ratelimit.TokenBucket(5),
        CallListeners((print,)),
    )
    bound = BoundPolicies("test", policies, None, VirtualClock(), asks=True)
    url, headers = "https://api.example.com/orders?a=1", {"Authorization": "Bearer secret"}
    request = requests.Request("POST", url, headers=headers, data=b"x").prepare()
    outer = LogicalCall(None, 3.0, 9.0)
    with polvo.tenant("acme"):
        call = bound.begin(request, url, "replayable", 7.0, outer=outer, rerouted=True)
    assert len(call) == len(Call._fields)
    assert call == Call(
        "POST",
        url,
        "replayable",
        started=3.0,
        deadline=9.0,
        idempotent=True,
        credential=call.credential,
        identity=call.identity,
        tenant="acme",
        key=request.headers["Idempotency-Key"],
        content=call.content,
        request_id=request.headers["X-Request-ID"],
        selectors=call.selectors,
        asked=True,
        listeners=(print,),
        rerouted=True,
        place=(url, "https://api.example.com", "api.example.com"),
    )
    assert all((call.credential, call.identity, call.content, call.selectors))


def judge(_: Any) -> None:
    """Have no opinion."""


USUAL: list[dict[str, Any]] = [
    {},
    {"outer": LogicalCall(None, 3.0, 9.0)},
    {"outer": LogicalCall(None, 3.0, None, is_default=True)},
    {"settings": CallSettings({"idempotent": True})},
    {"settings": CallSettings({"labels": {"job": "1"}})},
    {"rerouted": True},
]


@pytest.mark.parametrize("given", USUAL)
@pytest.mark.parametrize("tenant", ["", "acme"])
@pytest.mark.parametrize("marked", [False, True])
@pytest.mark.parametrize("policies", [(), (CallListeners((print,)),), (polvo.deadline.Deadline(3),)])
def test_the_short_way_makes_the_same_call(
    policies: tuple[Any, ...], marked: bool, tenant: str, given: dict[str, Any]
) -> None:
    url = "https://api.example.com/orders?a=1"
    place = (url, "https://api.example.com", "api.example.com")
    bound = BoundPolicies("test", policies, None, VirtualClock())
    request = httpx.Request("POST", url, content=b"x")
    if marked:
        marks_of(request).judges = (judge,)
    with polvo.tenant(tenant) if tenant else nullcontext():
        call = bound.begin(request, url, "replayable", 7.0, place=place, **given)
        bound._usual = None
        assert call == bound.begin(request, url, "replayable", 7.0, place=place, **given)
    assert (call.tenant, call.started) == (tenant, 3.0 if "outer" in given else 7.0)
    assert call.judges == ((judge,) if marked else ())
