"""What stores have in common whose state is outside of this process.

Theory of operation. Those who are parked are in this process all the same: a `MemoryStore` knows them, and a machine
without state hands it the calls of a decision that was made outside. What finalizers leave for later is put to the
store before the next decision; where that cannot be made, it stays for the one after.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from polvo_adapters.core.machines import Event, Refused, Wake
from polvo_adapters.errors import PolvoError
from polvo_adapters.stores.memory import MemoryStore


class PersistentStore:
    """A store that decides by `_decide`, and does the rest here."""

    def __init__(self) -> None:
        self._local = MemoryStore()  # knows who is parked
        self._later: deque[tuple[Sequence[Event], Callable[[tuple[Any, ...]], object] | None]] = deque()

    def _decide(self, events: Sequence[Event]) -> tuple[Any, ...]:
        raise NotImplementedError

    def decide(self, events: Sequence[Event]) -> tuple[Any, ...]:
        """Put events to their machines, all or nothing; see `Store.decide`.

        Raises:
            ConfigurationError: What is at the path can never be used.
            PolvoError: Others did not let go of it in time.
        """
        while self._later:
            try:
                late = self._later.popleft()
            except IndexError:
                break  # another thread was faster
            try:
                verdicts = self._decide(late[0])
            except PolvoError:
                self._later.appendleft(late)
                raise
            if late[1] is not None:
                late[1](verdicts)
        return self._decide(events) if events else ()

    def defer(self, events: Sequence[Event], then: Callable[[tuple[Any, ...]], object] | None = None) -> None:
        """Put events to their machines before the next decision; see `Store.later`."""
        self._later.append((events, then))

    def park(self, name: str, wake: Callable[[], None]) -> bool:
        """Run `wake` when the name is called in this process; see `Store.park`."""
        return self._local.park(name, wake)

    def unpark(self, name: str) -> None:
        """Forget who is parked under a name; see `Store.unpark`."""
        self._local.unpark(name)

    def _pass_on(self, verdicts: Sequence[Any]) -> None:
        """Wake those whom a decision calls, unless it was refused."""
        if any(verdict is False or type(verdict) is Refused for verdict in verdicts):
            return
        for verdict in verdicts:
            if type(verdict) is Wake:
                self._local.decide((Event(_CALLER, "", verdict),))


class _Caller:
    """A machine that calls whom it is told to."""

    initial = None

    def transition(self, state: None, event: Wake, now: float) -> tuple[None, Wake]:  # noqa: ARG002 - no state
        """Say what it is told."""
        return state, event


_CALLER = _Caller()
