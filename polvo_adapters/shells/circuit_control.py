"""The state of a circuit, and its manual control: open, close, disable or only observe it."""

from __future__ import annotations

from typing import cast

from polvo_adapters.core.machines import Event
from polvo_adapters.drivers.decisions import decide
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

    Manual control holds for all clients that share the store, until `close`.

    Args:
        store: Where the state of the circuit lives.
        breaker: The policy.
        name: Name of the circuit.
    """

    def __init__(self, store: Store, breaker: CircuitBreaker, name: str) -> None:
        self._store, self._breaker = store, breaker
        self.name = name

    @property
    def status(self) -> CircuitStatus:
        """Status of the circuit."""
        return self._command(LOOK)

    @property
    def state(self) -> str:
        """State: "closed", "open" or "half-open"; under manual control "isolated", "disabled" or "observed"."""
        status = self.status
        return status.hand or status.state

    def open(self) -> None:
        """Refuse all calls ("isolated"), for maintenance or in an incident."""
        self._command(ISOLATED)

    def close(self) -> None:
        """End manual control: close the circuit and forget what was counted."""
        self._command(CLOSED)

    def disable(self) -> None:
        """Let all calls pass and count nothing."""
        self._command(DISABLED)

    def observe(self) -> None:
        """Count and report changes, but let all calls pass: to find settings without harm."""
        self._command(OBSERVED)

    def _command(self, state: str) -> CircuitStatus:
        verdict = decide(self._store, [Event(self._breaker, self.name, ManualControl(state))], [])[0]
        return cast("CircuitStatus", getattr(verdict, "verdict", verdict))

    def __repr__(self) -> str:
        return f"<Circuit {self.name}: {self.state}>"
