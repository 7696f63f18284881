"""The contract of a store.

A store keeps one plain state per key and moves it by the machine that comes with each event. It decides a batch
of events atomically: no other decision sees a part of it, and where one verdict is False none of the batch leaves
a trace. The store supplies `now`, so that everybody who shares it shares a clock. It forgets the keys that were
not used for longest, so that it stays bounded. An event that names a time of the caller's has a method `shifted`; a
store with another clock than its callers puts the event onto its own by that.

Who waits for something that others give back parks under a name, and is called when a verdict says so. A store that
cannot call anybody who uses it from elsewhere lets them find out by themselves: nobody parks for longer than a second
without asking again.

A machine with a true attribute `durable` has a state that must not be lost: where a store that outlives the process
cannot write it, cannot read it, or has lost its file, `decide` raises, and never begins anew. An event with a true
attribute `forgets` may do so for a state that cannot be read. A state with a method `pinned(now)` that returns True is
not forgotten to make room: a new key finds none then, and is not kept, or refused where its machine is durable.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from polvo_adapters.core.machines import Event


class Store(Protocol):
    """Keeps the state of machines and moves it atomically."""

    def decide(self, events: Sequence[Event]) -> tuple[Any, ...]:
        """Put events to their machines.

        Args:
            events: Events of any machines and keys; a key may occur twice, and the second event then sees what
                the first one did.

        Returns:
            The verdicts, in the order of the events. If any is False, no state has changed.
        """

    def defer(self, events: Sequence[Event], then: Callable[[tuple[Any, ...]], object] | None = None) -> None:
        """Put events to their machines at some time before the next decision, and take no lock: for finalizers.

        Args:
            events: The events.
            then: What to do with the verdicts.
        """

    def park(self, name: str, wake: Callable[[], None]) -> bool:
        """Run `wake`, from any thread, when the name is called; return False where it was called already."""

    def unpark(self, name: str) -> None:
        """Forget who is parked under a name."""
