"""What a driver asks of a shell: one exchange per call, which makes the attempts and holds their response."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Flow, Send
from polvo_adapters.core.outcomes import Outcome
from polvo_adapters.core.report import Entry
from polvo_adapters.runtime.clock import Clock
from polvo_adapters.stores.base import Store


class Cancelled(BaseException):
    """The end of a flow that has lost its race; neither policies nor callers see it."""


class BodyCloseNotifier(Protocol):
    """An object that knows when the body of the last response is closed."""

    def on_body_closed(self, action: Callable[[bool, bool], None]) -> bool:
        """Run an action once the body of the last response is closed, or return False where none is open.

        The arguments of the action are whether reading failed, and whether a finalizer runs it, which must not lock
        anything.
        """


class BaseExchange(BodyCloseNotifier, Protocol):
    """What exchanges of threads and of tasks have in common."""

    def fork(self) -> Any:
        """Return an exchange for attempts at the same call on another thread or in another task."""

    def owns(self, outcome: Outcome) -> bool:
        """Return whether the response of an outcome is the one that this exchange received last."""

    def adopt(self, fork: Any) -> None:
        """Take over the response that a fork received last."""


class Exchange(BaseExchange, Protocol):
    """The attempts of one call."""

    def send(self, effect: Send) -> Outcome:
        """Make one attempt; an exception is returned inside the outcome."""

    def discard(self) -> None:
        """Close the response of the last attempt: the flow has given it up."""

    def cancel(self) -> None:
        """From any thread: end attempts as soon as possible, and close their responses."""

    def on_cancel(self, wake: Callable[[], object] | None) -> bool:
        """Run `wake` when the exchange is cancelled, until this is called with None.

        Returns:
            Whether the exchange can be cancelled.

        Raises:
            Cancelled: It was cancelled already.
        """


class Drive(Protocol):
    """Carries out a flow to its end; `polvo_adapters.drivers.sync.drive`."""

    def __call__(
        self,
        flow: Flow,
        exchange: Exchange,
        store: Store,
        clock: Clock,
        entries: list[Entry],
        call: Call | None = None,
        *,
        in_race: bool = False,
    ) -> Outcome:
        """Return how the call ended."""
