"""Actions that are run once, when the body of a response is closed."""

from __future__ import annotations

from collections.abc import Callable


class BodyCloseActions:
    """The actions for when a body is closed, breaks off, or is freed."""

    __slots__ = ("_actions",)

    def __init__(self) -> None:
        self._actions: list[Callable[[bool, bool], None]] = []

    def add(self, action: Callable[[bool, bool], None]) -> None:
        """Add an action; its arguments are whether reading failed, and whether a finalizer runs it."""
        self._actions.append(action)

    def run(self, broken: bool = False, finalizing: bool = False) -> None:
        """Run every action once."""
        while self._actions:
            try:
                action = self._actions.pop(0)
            except IndexError:
                return  # another thread runs them as well
            action(broken, finalizing)

    def __del__(self) -> None:
        self.run(finalizing=True)
