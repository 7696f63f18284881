"""What a gate costs: asking circuit breaker and bulkhead, and telling them what came of the request; and a refusal.

What: both asked in a MemoryStore, and told there what came of a call that went well; bar: 6 µs. The whole flow of the
gates, stepped by hand around an attempt that takes no time, minus the same without gates. And a call that an open
circuit refuses, through an adapter to the exception in the caller's hands; bar: 20 µs.

Why that way: driving effects and making reports is measured by `adapter`; what is left is what gates add to a call.
"""

from __future__ import annotations

import contextlib

import requests

from polvo_adapters.adapters import PolicyAdapter
from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Acquire, Policy, Release, Send, compose
from polvo_adapters.core.machines import Event
from polvo_adapters.core.outcomes import Outcome
from polvo_adapters.policies.breaker import CircuitBreaker
from polvo_adapters.policies.bulkhead import AdaptiveBulkhead, Bulkhead
from polvo_adapters.policies.gates import Gate, Gates
from polvo_adapters.policies.stack import standard
from polvo_adapters.stores.memory import MemoryStore
from tests.benchmarks.measure import Result, Variant, compare

_CALL = Call("GET", "https://api.example.com/items")
_ANSWER = Outcome("response", 200, {}, None, None, 1.0, 1.1, 1_700_000_000.0, "", b"")


class Stepped:
    """Steps a flow, and decides in a store."""

    def __init__(self, *policies: Policy) -> None:
        self._stack, self._store = compose(policies), MemoryStore()

    def run(self) -> None:
        """Run one call to its end."""
        flow, decide = self._stack(_CALL), self._store.decide
        answer: object = None
        with contextlib.suppress(StopIteration):
            while True:
                effect = flow.send(answer)
                if type(effect) is Send:
                    answer = _ANSWER
                elif type(effect) is Acquire or type(effect) is Release:
                    answer = decide(effect.events)


class Decided:
    """Asks gates and tells them, and nothing else."""

    def __init__(self, *gates: Gate) -> None:
        self._gates = [(gate, gate.name(_CALL)) for gate in gates]
        self._asked = [Event(gate, name, gate.ask_event(_CALL, "")) for gate, name in self._gates]
        self._store = MemoryStore()

    def run(self) -> None:
        """Ask, and tell."""
        permits = self._store.decide(self._asked)
        told = [
            Event(gate, name, gate.result_event(_CALL, permit, _ANSWER))
            for (gate, name), permit in zip(self._gates, permits, strict=True)
        ]
        self._store.decide(told)


class Refused:
    """Calls through an adapter whose circuit is open."""

    def __init__(self) -> None:
        self._adapter = PolicyAdapter(*standard(circuit_breaker=True, bulkhead=50))
        self._adapter.circuit(_CALL.url).open()
        self._request = requests.Request("GET", _CALL.url).prepare()

    def run(self) -> None:
        """Be refused."""
        with contextlib.suppress(requests.ConnectionError):
            self._adapter.send(self._request)


def gates(*, quick: bool = False) -> list[Result]:
    """Measure what gates add to a call, and what a refusal costs."""
    breaker, bulkhead = CircuitBreaker(), Bulkhead()
    variants = [
        Variant("no gate", Stepped().run),
        Variant("CircuitBreaker", Stepped(breaker).run),
        Variant("CircuitBreaker over 100 calls", Stepped(CircuitBreaker(window_calls=100)).run),
        Variant("CircuitBreaker over 30 s", Stepped(CircuitBreaker(window=30.0)).run),
        Variant("Bulkhead", Stepped(bulkhead).run),
        Variant("Bulkhead, adaptive", Stepped(AdaptiveBulkhead()).run),
        Variant("CircuitBreaker and Bulkhead", Stepped(Gates((breaker, bulkhead))).run),
        Variant("CircuitBreaker and Bulkhead, asked and told", Decided(breaker, bulkhead).run, bar="≤ 6 µs"),
        Variant("a refused call", Refused().run, bar="≤ 20 µs"),
    ]
    return compare(variants, rounds=5 if quick else 100, batch=200 if quick else 1000)
