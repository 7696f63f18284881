"""An exchange for calls that leave no response open and are never raced, such as token refreshes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from polvo_adapters.core.outcomes import Outcome
from polvo_adapters.runtime.clock import Clock


class SingleShotExchange:
    """Base of exchanges that leave no response open and are never raced."""

    def discard(self) -> None:
        """Do nothing: there is no response to close."""

    def on_body_closed(self, action: Callable[[bool, bool], None]) -> bool:  # noqa: ARG002 - nothing is left open
        """Return False: no body is open."""
        return False

    def fork(self: Any) -> Any:
        """Return the exchange itself."""
        return self

    def owns(self, outcome: Outcome) -> bool:  # noqa: ARG002
        """Return False: it holds no response."""
        return False

    def adopt(self, fork: Any) -> None:
        """Do nothing: a fork holds no response."""

    def cancel(self) -> None:
        """Do nothing: what the server answers must not be lost."""

    def on_cancel(self, wake: Callable[[], object] | None) -> bool:  # noqa: ARG002
        """Return False: it cannot be cancelled."""
        return False


def make_outcome(clock: Clock, started: float, **fields: Any) -> Outcome:
    """Return the outcome of an attempt that began at a time and ends now."""
    return Outcome(started=started, now=clock.now(), wall=clock.wall(), **fields)
