"""What a driver asks of a shell: one exchange per call, which makes the attempts and holds their response."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

from polvo_adapters.core.effects import Flow, Send
from polvo_adapters.core.outcomes import Outcome
from polvo_adapters.core.report import Entry
from polvo_adapters.runtime.clock import Clock
from polvo_adapters.stores.base import Store


class Cancelled(BaseException):
    """Ends the drive of a flow that has lost its race; no policy and no caller ever sees it."""


class Exchange(Protocol):
    """Makes the attempts of one call."""

    def send(self, effect: Send) -> Outcome:
        """Make one attempt; what the transport raises comes back inside the outcome."""

    def discard(self) -> None:
        """Close the response of the last attempt: the flow has given it up."""

    def on_body_closed(self, action: Callable[[bool, bool], None]) -> bool:
        """Run an action when the body of the last response is closed; see `polvo_adapters.drivers.decisions`."""

    def fork(self) -> Exchange:
        """Return one for attempts at the same call on another thread."""

    def owns(self, outcome: Outcome) -> bool:
        """Tell whether the response of an outcome is the one that this transport got last."""

    def adopt(self, fork: Any) -> None:
        """Take over the response that a fork got last."""

    def cancel(self) -> None:
        """From any thread: let attempts end as soon as they can, and close what they come to."""

    def on_cancel(self, wake: Callable[[], object] | None) -> bool:
        """Have `wake` run when it is cancelled, until this is called with None.

        Returns:
            Whether anybody may cancel it.

        Raises:
            Cancelled: It was cancelled already.
        """


class BodyCloseNotifier(Protocol):
    """Knows when the body of the last response is closed."""

    def on_body_closed(self, action: Callable[[bool, bool], None]) -> bool:
        """Run an action once the body of the last response is closed, or return False where none is open.

        The action is told whether reading failed, and whether it is run by a finalizer, which must not lock anything.
        """


Drive: TypeAlias = "Callable[[Flow, Exchange, Store, Clock, list[Entry]], Outcome]"
"""Carries out a flow to its end; `polvo_adapters.drivers.sync.drive`."""
