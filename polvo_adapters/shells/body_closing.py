"""What is run when the body of a response is closed, once."""

from __future__ import annotations

from collections.abc import Callable


class BodyCloseActions:
    """What is to be done once a body is closed, breaks off, or is dropped by everybody."""

    __slots__ = ("_actions",)

    def __init__(self) -> None:
        self._actions: list[Callable[[bool, bool], None]] = []

    def add(self, action: Callable[[bool, bool], None]) -> None:
        """Have it done as well; it is told whether reading failed, and whether a finalizer does it."""
        self._actions.append(action)

    def run(self, broken: bool = False, finalizing: bool = False) -> None:
        """Do everything, once."""
        while self._actions:
            try:
                action = self._actions.pop(0)
            except IndexError:
                return  # another thread closes it as well
            action(broken, finalizing)

    def __del__(self) -> None:
        self.run(finalizing=True)
