"""A circuit in hand: how it stands, and how to open, close, disable or only observe it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from polvo_adapters.context.tenant import current_tenant
from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Policy
from polvo_adapters.core.machines import Event
from polvo_adapters.drivers.decisions import decide
from polvo_adapters.errors import ConfigurationError
from polvo_adapters.policies.breaker.policy import CircuitBreaker
from polvo_adapters.policies.breaker.state import (
    CLOSED,
    DISABLED,
    ISOLATED,
    LOOK,
    OBSERVED,
    CircuitStatus,
    ManualControl,
)
from polvo_adapters.stores.base import Store


class Circuit:
    """The circuit that a URL belongs to; `adapter.circuit(url)` and `session.circuit(url)` find it.

    What is done by hand holds for everybody who shares the store, until `close`.

    Args:
        store: Where it lives.
        breaker: The policy.
        name: Which circuit.
    """

    def __init__(self, store: Store, breaker: CircuitBreaker, name: str) -> None:
        self._store, self._breaker = store, breaker
        self.name = name

    @property
    def status(self) -> CircuitStatus:
        """How it stands."""
        return self._command(LOOK)

    @property
    def state(self) -> str:
        """State: "closed", "open" or "half-open"; by hand "isolated", "disabled" or "observed"."""
        status = self.status
        return status.hand or status.state

    def open(self) -> None:
        """Refuse all calls ("isolated"), for maintenance or in an incident."""
        self._command(ISOLATED)

    def close(self) -> None:
        """Let it work by itself, closed to begin with, and forget what was counted."""
        self._command(CLOSED)

    def disable(self) -> None:
        """Let all calls pass and count nothing."""
        self._command(DISABLED)

    def observe(self) -> None:
        """Count, and tell of changes, but let all calls pass: to find settings without harm."""
        self._command(OBSERVED)

    def _command(self, state: str) -> CircuitStatus:
        verdict = decide(self._store, [Event(self._breaker, self.name, ManualControl(state))], [])[0]
        return cast("CircuitStatus", getattr(verdict, "verdict", verdict))

    def __repr__(self) -> str:
        return f"<Circuit {self.name}: {self.state}>"


def find(policies: Iterable[Policy], store: Store, url: str) -> Circuit:
    """Return the circuit for a URL.

    Args:
        policies: The policies of an adapter or a transport.
        store: Their store.
        url: An absolute URL; the circuit of its origin, unless the policy has another key, and of the current tenant.

    Raises:
        ConfigurationError: None of the policies is a circuit breaker.
    """
    for policy in policies:
        for gate in getattr(policy, "gates", (policy,)):
            if isinstance(gate, CircuitBreaker):
                return Circuit(store, gate, gate.name(Call("GET", url, tenant=current_tenant())))
    raise ConfigurationError(
        f"there is no circuit breaker for {url.partition('?')[0]}; mount one, or ask for another URL"
    )
