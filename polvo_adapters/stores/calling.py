"""Calls to those who are parked in this process, for stores whose state is elsewhere.

Theory of operation. Such a store keeps a `MemoryStore` that knows who is parked. A machine without state hands it the
calls of a decision that was made elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from polvo_adapters.flow import Called, Event, Refused
from polvo_adapters.stores.memory import MemoryStore


def pass_on(local: MemoryStore, verdicts: Sequence[Any]) -> None:
    """Wake those whom a decision calls, unless it was refused.

    Args:
        local: Knows who is parked.
        verdicts: The verdicts of the decision.
    """
    if any(verdict is False or type(verdict) is Refused for verdict in verdicts):
        return
    for verdict in verdicts:
        if type(verdict) is Called:
            local.decide((Event(_CALLER, "", verdict),))


class _Caller:
    """A machine that calls whom it is told to."""

    initial = None

    def transition(self, state: None, event: Called, now: float) -> tuple[None, Called]:  # noqa: ARG002 - no state
        """Say what it is told."""
        return state, event


_CALLER = _Caller()
