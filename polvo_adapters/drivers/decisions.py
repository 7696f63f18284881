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

import time
from collections.abc import Generator, Sequence
from functools import partial
from logging import DEBUG, ERROR, WARNING
from typing import Any, TypeAlias

from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Effect, Flow, Park, Release, Sleep, Start, TryDecide, Undecided, WaitAny
from polvo_adapters.core.machines import Changed, Event, Refused
from polvo_adapters.core.outcomes import Outcome
from polvo_adapters.core.report import Entry, StateChange, StoreFailure, record_attempt, record_cancelled
from polvo_adapters.drivers.call_log import (
    ATTEMPTS,
    LONG_WAIT,
    count_attempts,
    say_attempt,
    say_change,
    say_end,
    say_start,
    say_store_failure,
    say_wait,
)
from polvo_adapters.drivers.exchange import BodyCloseNotifier
from polvo_adapters.errors import PolvoError
from polvo_adapters.policies.outcomes import add_note, choose_better, refuse_undecided
from polvo_adapters.runtime.garbage import is_collecting
from polvo_adapters.runtime.listeners import notify
from polvo_adapters.runtime.logs import name_state, name_states
from polvo_adapters.stores.base import STORE_BUSY, Store, is_refusal

Lease: TypeAlias = tuple[Sequence[Event], tuple[Any, ...]]
"""The events, and the verdicts that grant the lease."""

_SLOW = 1.0  # seconds; a store that took so long to fail is not tried again


def is_slow(seconds: float) -> bool:
    """Return whether a store that took so many seconds to fail is not to be tried again."""
    return seconds >= _SLOW


def decide(store: Store, events: Sequence[Event], entries: list[Entry], call: Call | None = None) -> tuple[Any, ...]:
    """Put events to the store outside of a call, report what they changed, and return the verdicts.

    Args:
        store: Where state lives; its exceptions are raised.
        events: The events.
        entries: A StateChange is appended for each change.
        call: The call that they are about, for the log.
    """
    verdicts = store.decide(events)
    for verdict in verdicts:
        if type(verdict) is Changed:
            _notify_changes(events, entries, call, verdicts)
            break
    return verdicts


class Decisions:
    """The decisions of one call, or of one branch of a race.

    Args:
        store: Where state lives.
        entries: A StateChange is appended for each change, and a StoreFailure for each failure.
        call: The call, to say in the log what happens to it; None where that is not to be logged.
        in_race: Whether this is one flow of a race, whose end is not the end of the call.

    Attributes:
        best: The best outcome of its attempts so far, or None before the first one has ended.
        held: The leases that the call holds.
    """

    # Most of them are never set, so that it is made in half the time.
    _failure = ""
    _is_slow = _has_warned = False
    best: Outcome | None = None
    held: Sequence[Lease] = ()

    def __init__(self, store: Store, entries: list[Entry], call: Call | None = None, in_race: bool = False) -> None:
        self._store, self._entries = store, entries
        self._call, self._sent = None if in_race else call, call

    def note_attempt(self, call: Call, outcome: Outcome) -> None:
        """Report an attempt, and remember its outcome."""
        entry, best = record_attempt(outcome), self.best
        self._entries.append(entry)
        if self._sent is not None:
            self._sent = call  # that to a region has another host
            if call.listeners or ATTEMPTS.isEnabledFor(DEBUG):
                say_attempt(call, entry, max(call.attempt, count_attempts(self._entries)))
        self.best = outcome if best is None else choose_better(outcome, best)

    def note_race(self, outcome: Outcome) -> None:
        """Remember the outcome of a race, which has reported its attempts."""
        self.best = outcome if self.best is None else choose_better(outcome, self.best)

    def announce_wait(self, effect: Sleep | Park, seconds: float) -> None:
        """Say, and tell the listeners, that a wait of so many seconds is about to begin."""
        notice = effect.notice
        waited = 0.0 if notice is None else notice.waited
        if not waited or (waited >= LONG_WAIT and not self._has_warned):
            self._has_warned = waited >= LONG_WAIT
            say_wait(self._sent, effect, seconds)
        if notice is not None and notice.listeners:
            notify(notice.listeners, notice.retrying(seconds, effect.reason))

    def announce_start(self, effect: Start) -> None:
        """Say that a flow of the race begins."""
        say_start(self._sent, effect)

    def note_cancelled(self, number: int, seconds: float) -> None:
        """Report an attempt that has lost its race, given the number of its flow."""
        entry = record_cancelled(seconds)
        self._entries.append(entry)
        if self._sent is not None and (self._sent.listeners or ATTEMPTS.isEnabledFor(DEBUG)):
            say_attempt(self._sent, entry, number + 1)

    def end(self, outcome: Outcome) -> Outcome:
        """Say how the call ended, if not as the server ended it, and return the outcome of the flow."""
        if (outcome.ending is not None or outcome.failure is not None) and self._call is not None:
            say_end(self._call, outcome, self._entries)
        return outcome

    def conclude(self, undecided: Undecided) -> Outcome:
        """Return the outcome of a call whose flow could not go on without the store."""
        return self.end(conclude(undecided, self.best))

    def decide(self, events: Sequence[Event]) -> tuple[Any, ...] | Undecided:
        """Put events to the store, report what they changed, and return the verdicts, or that there are none."""
        if self._failure:
            return self._undecided()
        began = time.monotonic()
        try:
            return decide(self._store, events, self._entries, self._sent)
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
            self.held = (*self.held, (events, verdicts))  # type: ignore[arg-type]
        return verdicts

    def release(self, effect: Release, exchange: BodyCloseNotifier | None = None) -> None:
        """End the last lease, now or when the body of the last response of the exchange is closed."""
        if not self.release_later(effect, exchange):
            self._tell(effect.events)

    def release_later(self, effect: Release, exchange: BodyCloseNotifier | None = None) -> bool:
        """End the last lease where there is nothing to be told now; return False where there is."""
        self.held = self.held[:-1]
        if not effect.events and not effect.broken:
            return True
        return exchange is not None and exchange.on_body_closed(partial(self._release_on_close, effect))

    def _release_on_close(self, effect: Release, broken: bool, finalizing: bool) -> None:
        events = effect.broken if broken else effect.events
        if finalizing or is_collecting():
            self._defer(events)
        else:
            self._tell_on_close(events)

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
        while self.held:
            lease, self.held = self.held[-1], self.held[:-1]
            self._release_lease(*lease)
        self.best = None

    def _release_lease(self, events: Sequence[Event], verdicts: Sequence[Any]) -> None:
        try:
            if self._failure:
                self._defer(_release_events(events, verdicts))
            else:
                decide(self._store, _release_events(events, verdicts), [], self._sent)
        except Exception as error:  # noqa: BLE001 - what broke the call off matters more to its caller
            self._say_failure(ERROR, "a lease could not be released; it ends when it expires", events, error)

    def defer_release_all(self) -> None:
        """Release the leases in a finalizer, during which this very thread may hold the lock of the store."""
        while self.held:
            lease, self.held = self.held[-1], self.held[:-1]
            self._defer(_release_events(*lease))

    def _tell_on_close(self, events: Sequence[Event]) -> None:
        self._tell(events)

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
            _notify_changes(events, self._entries, self._sent, verdicts)
        return True

    def _defer(self, events: Sequence[Event]) -> None:
        self._store.defer(events, partial(_notify_changes, events, self._entries, self._sent))

    def _note_failure(self, what: str, events: Sequence[Event], error: Exception, began: float) -> None:
        self._is_slow = self._is_slow or is_slow(time.monotonic() - began)
        entry = self._say_failure(WARNING, f"{what}, and the call goes on without it", events, error)
        self._failure = entry.reason
        self._entries.append(entry)

    def _say_failure(self, level: int, what: str, events: Sequence[Event], error: Exception) -> StoreFailure:
        names = ", ".join(key for _, key, _ in events)
        reason = (isinstance(error, PolvoError) and error.reason) or type(error).__name__
        # The text of an unknown exception may contain the credentials of the store.
        text = str(error) if isinstance(error, PolvoError) else reason
        say_store_failure(self._sent, level, what, name_states(events), reason, text)
        return StoreFailure(names, reason)

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
        return refuse_undecided(undecided)
    return add_note(best, "the store failed, so that nothing more was tried", "stores")


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


def _notify_changes(events: Sequence[Event], entries: list[Entry], call: Call | None, verdicts: Sequence[Any]) -> None:
    if is_refusal(verdicts):
        return  # all or nothing: the store has changed nothing
    for (machine, key, _), verdict in zip(events, verdicts, strict=True):
        if type(verdict) is Changed:
            change = StateChange(key, verdict.before, verdict.after, verdict.reason)
            entries.append(change)
            shown = change._replace(what=name_state(machine, key))
            say_change(call, getattr(machine, "part", ""), shown, is_trouble=verdict.is_trouble)
            notify(getattr(machine, "listeners", ()), change)
