"""Functions that hear of everything that is decided about a call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from polvo_adapters.core import validate
from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Flow, Proceed
from polvo_adapters.core.notices import CallEvent

__all__ = ["CallEvent", "CallListeners"]


@dataclass(frozen=True)
class CallListeners:
    """Functions that are called with every `CallEvent` of the calls of an adapter, a transport or a session.

    The shell gives them to each call; the flow of this policy does nothing.

    Args:
        listeners: The functions. They run on the thread, or in the task, of the call, or on that of a branch of a race.
            What they raise is logged, and does not harm the call.

    Raises:
        ValueError: One is no function.
    """

    listeners: Sequence[Callable[[CallEvent], object]]

    stack_option = "listeners"

    def __post_init__(self) -> None:
        object.__setattr__(self, "listeners", validate.listeners(self, "listeners"))

    @property
    def call_listeners(self) -> Sequence[Callable[[CallEvent], object]]:
        """The functions, for the shell."""
        return self.listeners

    def flow(self, call: Call, proceed: Proceed) -> Flow:
        """Return the flow of the call, unchanged."""
        return proceed(call)
