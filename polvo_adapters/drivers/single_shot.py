"""An exchange for calls that leave no response open and are never raced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from polvo_adapters.core.outcomes import Outcome


class SingleShotExchange:
    """A transport for the drivers whose attempts leave no response open, and are never raced."""

    def discard(self) -> None:
        """Forget nothing: there is no response to close."""

    def on_body_closed(self, action: Callable[[bool, bool], None]) -> bool:  # noqa: ARG002 - nothing is left open
        """Tell that no body is open."""
        return False

    def fork(self: Any) -> Any:
        """Return itself: a refresh is never raced."""
        return self

    def owns(self, outcome: Outcome) -> bool:  # noqa: ARG002
        """Tell that it holds no response."""
        return False

    def adopt(self, fork: Any) -> None:
        """Take over nothing."""

    def cancel(self) -> None:
        """Let it end by itself: what the server answers must not be lost."""

    def on_cancel(self, wake: Callable[[], object] | None) -> bool:  # noqa: ARG002
        """Tell that nobody cancels it."""
        return False
