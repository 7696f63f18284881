"""What all drivers do with decisions: put them to the store, report the changes, and outlive a store that fails.

Theory of operation. A flow tells the store something, or asks it. Facts cannot fail a call: a failure is logged and is
an entry of the report, and a fact that a busy store has not taken is deferred, to be put to it before its next
decision. A question without an answer is thrown into the flow as Undecided; see `polvo_adapters.core.effects`.

**Time.** A store that is busy may take seconds to say so. After its first failure in a call the store is not waited
for again by that call: questions have no answer at once, and facts are deferred.

**Finalizers** run at any allocation, also at one that is made under the lock of the store. A body that is closed during
a garbage collection defers its release, which takes no lock.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Sequence
from functools import partial
from typing import Any, TypeAlias

from polvo_adapters.core.effects import Effect, Flow, Release, TryDecide, Undecided, WaitAny
from polvo_adapters.core.machines import Changed, Event, Refused
from polvo_adapters.core.outcomes import NO_STORE, Outcome
from polvo_adapters.core.report import Entry, StateChange, StoreFailure, record_attempt
from polvo_adapters.drivers.exchange import BodyCloseNotifier
from polvo_adapters.errors import PolvoError
from polvo_adapters.policies.outcomes import add_note, choose_better
from polvo_adapters.runtime.garbage import is_collecting
from polvo_adapters.runtime.listeners import notify
from polvo_adapters.stores.base import STORE_BUSY, Store, is_refusal

Lease: TypeAlias = tuple[Sequence[Event], tuple[Any, ...]]
"""The events, and the verdicts that grant the lease."""

_SLOW = 1.0  # seconds; a store that took so long to fail is not tried again

_log = logging.getLogger("polvo_adapters")


def decide(store: Store, events: Sequence[Event], entries: list[Entry]) -> tuple[Any, ...]:
    """Put events to the store outside of a call, report what they changed, and return the verdicts.

    Args:
        store: Where state lives; its exceptions are raised.
        events: The events.
        entries: A StateChange is appended for each change.
    """
    verdicts = store.decide(events)
    for verdict in verdicts:
        if type(verdict) is Changed:
            _notify_changes(events, entries, verdicts)
            break
    return verdicts


class Decisions:
    """The decisions of one call, or of one branch of a race.

    Args:
        store: Where state lives.
        entries: A StateChange is appended for each change, and a StoreFailure for each failure.

    Attributes:
        best: The best outcome of its attempts so far, or None before the first one has ended.
    """

    __slots__ = ("_entries", "_failure", "_held", "_is_slow", "_store", "best")

    def __init__(self, store: Store, entries: list[Entry]) -> None:
        self._store, self._entries = store, entries
        self._failure = ""
        self._is_slow = False
        self._held: list[Lease] = []
        self.best: Outcome | None = None

    def note_attempt(self, outcome: Outcome) -> None:
        """Report an attempt, and remember its outcome."""
        self._entries.append(record_attempt(outcome))
        self.best = outcome if self.best is None else choose_better(outcome, self.best)

    def note_race(self, outcome: Outcome) -> None:
        """Remember the outcome of a race, which has reported its attempts."""
        self.best = outcome if self.best is None else choose_better(outcome, self.best)

    def conclude(self, undecided: Undecided) -> Outcome:
        """Return the outcome of a call whose flow could not go on without the store."""
        return conclude(undecided, self.best)

    def decide(self, events: Sequence[Event]) -> tuple[Any, ...] | Undecided:
        """Put events to the store, report what they changed, and return the verdicts, or that there are none."""
        if self._failure:
            return self._undecided()
        began = time.monotonic()
        try:
            return decide(self._store, events, self._entries)
        except Exception as error:  # noqa: BLE001 - a store of the user's may raise anything
            self._note_failure("the store could not be asked", events, error, began)
            return Undecided(error)

    def acquire(self, events: Sequence[Event]) -> tuple[Any, ...] | Undecided:
        """Put events to the store as `decide` does, and hold the lease unless a verdict refuses."""
        verdicts = self.decide(events)
        if type(verdicts) is Undecided:
            return verdicts
        kinds = {*map(type, verdicts)}  # type: ignore[arg-type]
        if not (Refused in kinds or (bool in kinds and is_refusal(verdicts))):  # type: ignore[arg-type]
            self._held.append((events, verdicts))  # type: ignore[arg-type]
        return verdicts

    def release(self, effect: Release, exchange: BodyCloseNotifier | None = None) -> None:
        """End the last lease, now or when the body of the last response of the exchange is closed."""
        self._held.pop()
        if not effect.events and not effect.broken:
            return
        if exchange is None or not exchange.on_body_closed(partial(self._release_on_close, effect)):
            self._tell(effect.events)

    def _release_on_close(self, effect: Release, broken: bool, finalizing: bool) -> None:
        events = effect.broken if broken else effect.events
        if finalizing or is_collecting():
            self._defer(events)
        else:
            self._tell(events)

    def try_decide(self, effect: TryDecide) -> bool:
        """Put facts to the store, twice unless that may take long, and return whether it has taken them."""
        events = effect.events
        if not self._is_slow and (self._try(events) or (not self._is_slow and self._try(events))):
            return True
        if self._is_slow:
            self._defer(events)
        return False

    def release_all(self) -> None:
        """Release the leases that the call still holds, the last first."""
        while self._held:
            self._release_lease(*self._held.pop())
        self.best = None

    def _release_lease(self, events: Sequence[Event], verdicts: Sequence[Any]) -> None:
        try:
            if self._failure:
                self._defer(_release_events(events, verdicts))
            else:
                decide(self._store, _release_events(events, verdicts), [])
        except Exception:  # noqa: BLE001 - what broke the call off matters more to its caller
            _log.exception("a lease could not be released; it ends when it expires")

    def defer_release_all(self) -> None:
        """Release the leases in a finalizer, during which this very thread may hold the lock of the store."""
        while self._held:
            self._defer(_release_events(*self._held.pop()))

    def _tell(self, events: Sequence[Event]) -> None:
        """Put facts to the store, or defer them where it has failed before, or has certainly not taken them."""
        if self._failure or (not self._try(events) and self._failure == STORE_BUSY):
            self._defer(events)

    def _try(self, events: Sequence[Event]) -> bool:
        began = time.monotonic()
        try:
            verdicts = self._store.decide(events)
        except Exception as error:  # noqa: BLE001 - the outcome of the call matters more to its caller
            self._note_failure("what has happened could not be written to the store", events, error, began)
            return False
        if len(verdicts) != 1 or type(verdicts[0]) is Changed:  # a look at one costs less than the call
            _notify_changes(events, self._entries, verdicts)
        return True

    def _defer(self, events: Sequence[Event]) -> None:
        self._store.defer(events, partial(_notify_changes, events, self._entries))

    def _note_failure(self, what: str, events: Sequence[Event], error: Exception, began: float) -> None:
        self._failure = reason = (isinstance(error, PolvoError) and error.reason) or type(error).__name__
        self._is_slow = self._is_slow or time.monotonic() - began >= _SLOW
        names = ", ".join(key for _, key, _ in events)
        self._entries.append(StoreFailure(names, reason))
        # The text of an unknown exception may contain the credentials of the store.
        text = error if isinstance(error, PolvoError) else reason
        _log.warning("%s, and the call goes on without it; %s: %s", what, names, text)

    def _undecided(self) -> Undecided:
        # A new error each time: one that were kept here would refer to this object by its traceback.
        message = f"the store has failed earlier in this call ({self._failure}), and was not asked again"
        return Undecided(PolvoError(message, reason=self._failure))


def conclude(undecided: Undecided, best: Outcome | None) -> Outcome:
    """Return the outcome of a call whose flow could not go on without the store.

    Args:
        undecided: What ended the flow.
        best: The best outcome of the attempts, or None where nothing was sent.
    """
    if best is None:
        return Outcome(error=undecided.error, failure=NO_STORE, unsent=True)
    return add_note(best, "the store failed, so that nothing more was tried")


def outlast_store(flow: Flow) -> Flow:
    """Return the flow of a race that waits for the flows under way where it could not go on without the store."""
    best: Outcome | None = None
    answer: Any = None
    try:
        while True:
            effect: Effect = flow.throw(answer) if type(answer) is Undecided else flow.send(answer)
            answer = yield effect
            if type(effect) is WaitAny and answer is not None:
                best = answer[1] if best is None else choose_better(answer[1], best)
    except StopIteration as end:
        outcome: Outcome = end.value
        return outcome
    except Undecided as undecided:
        best = yield from _wait_for_response(best)
        return conclude(undecided, best)
    finally:
        flow.close()
        answer = None  # see errors.py, "Errors and frames"


def _wait_for_response(best: Outcome | None) -> Generator[Effect, Any, Outcome | None]:
    """Wait until a flow of the race ends with a response, or all have ended."""
    while best is None or best.failure is not None:
        ended = yield WaitAny(None)
        if ended is None:
            return best
        best = ended[1] if best is None else choose_better(ended[1], best)
    return best


def _release_events(events: Sequence[Event], verdicts: Sequence[Any]) -> list[Event]:
    permits = [verdict.verdict if type(verdict) is Changed else verdict for verdict in verdicts]
    return [
        Event(machine, key, machine.release_event(permit))  # type: ignore[attr-defined]
        for (machine, key, _), permit in zip(events, permits, strict=True)
    ]


def _notify_changes(events: Sequence[Event], entries: list[Entry], verdicts: Sequence[Any]) -> None:
    if is_refusal(verdicts):
        return  # all or nothing: the store has changed nothing
    for (machine, key, _), verdict in zip(events, verdicts, strict=True):
        if type(verdict) is Changed:
            change = StateChange(key, verdict.before, verdict.after, verdict.reason)
            entries.append(change)
            _log.info("%s", change)
            notify(getattr(machine, "listeners", ()), change)
