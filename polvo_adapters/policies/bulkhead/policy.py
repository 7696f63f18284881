"""A limit of calls to a host at a time, so that one slow API does not take all threads of an application.

Theory of operation. A host has slots. A call takes one and keeps it until the body of the response is closed. Where all
are taken, the call takes a place in a queue and parks; each slot that is released wakes the first in the queue.
Newcomers do not overtake: while calls wait, a free slot is theirs.

    event        state                                        verdict
    -----------  -------------------------------------------  ------------------------------------------
    AcquireSlot  slots in use + 1, place in the queue gone    Slot; or Refused, and nothing has changed
    JoinQueue    one more in the queue                        QueuePlace, and how long it may wait
    LeaveQueue   that place gone                              Wake: the calls that may go now
    ReleaseSlot  slots in use - 1                             Wake: the calls that may go now

A slot is a lease. In use are those that were taken in this period of the length of a lease and in the one before;
what was taken earlier and never given back is forgotten with its period. Places in the queue end with the patience
of their calls. So the state is three numbers and a queue, however many slots there are.

`AdaptiveBulkhead` moves the number of slots by the outcomes of the calls; see
`polvo_adapters.policies.bulkhead.concurrency_limit`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal, NamedTuple

from polvo_adapters.core import validate
from polvo_adapters.core.calls import Call
from polvo_adapters.core.judgement import verdict_of
from polvo_adapters.core.keywords import explain_arguments
from polvo_adapters.core.machines import Refused, Wake
from polvo_adapters.core.outcomes import EXPIRED, NOT_SENT, Outcome
from polvo_adapters.core.report import BULKHEAD
from polvo_adapters.core.stored_types import stored_as
from polvo_adapters.core.tuples import new_tuple
from polvo_adapters.errors import PoolTimeoutError
from polvo_adapters.policies.bulkhead.concurrency_limit import Concurrency, Sample
from polvo_adapters.policies.gates import Gate, Key, QueuePlace

_LEASE = 600.0
_OVERLOADED = frozenset({502, 503, 504})  # statuses of a host, or one in front of it, that has too much to do
_DROPPED = frozenset({"throttled", "concurrent", "unavailable"})


class AcquireSlot(NamedTuple):
    """Event: a call needs a slot; `place` is its place in the queue, or an empty string."""

    place: str


class JoinQueue(NamedTuple):
    """Event: a call begins to wait, for `patience` seconds at most; `key` begins the name of its place."""

    key: str
    patience: float
    deadline: float | None

    def shift(self, seconds: float) -> JoinQueue:
        """Return the event with its deadline on a clock that is ahead by so many seconds."""
        return self if self.deadline is None else self._replace(deadline=self.deadline + seconds)


class LeaveQueue(NamedTuple):
    """Event: a call waits no longer."""

    place: str


class Slot(NamedTuple):
    """A slot in use: the period of leases in which it was taken, and the slots in use then, itself included."""

    period: int
    inflight: int


class ReleaseSlot(NamedTuple):
    """Event: a call is over; `sample` is what it says of the load of the host, if anything."""

    slot: Slot
    sample: Sample | None = None


@stored_as("bulkhead.1")
class BulkheadState(NamedTuple):
    """State of a bulkhead.

    Attributes:
        period: The current period of leases.
        new: Slots in use that were taken in it.
        old: Slots in use that were taken in the one before.
        queue: Names of places and when they end, first come first.
        issued: How many places there ever were.
        limit: State of the limit, where it is adaptive.
    """

    period: int = 0
    new: int = 0
    old: int = 0
    queue: tuple[tuple[str, float], ...] = ()
    issued: int = 0
    limit: Any = None

    def after_fork(self) -> BulkheadState:
        """Return the state for a child process: the calls that hold slots belong to its parent."""
        return self._replace(new=0, old=0, queue=())


class _Bulkhead(Gate):
    """The base of both kinds."""

    part = "bulkhead"
    stack_option = "bulkhead"

    acquisition_timeout: float
    lease: float
    concurrency: Concurrency
    """The limit of an AdaptiveBulkhead, which alone makes samples."""

    def _bind(self, kind: str) -> None:
        """Validate the settings that both kinds have, and set `kind`."""
        validate.number(self, "acquisition_timeout", 0, infinite=True)
        validate.number(self, "lease", 0, above=True)
        validate.key(self, "key")
        if self.lease != _LEASE:  # periods of different length cannot share a state
            kind += f" for {self.lease} s"
        object.__setattr__(self, "kind", kind)

    def ask_event(self, call: Call, place: str) -> AcquireSlot:  # noqa: ARG002 - as every gate
        """Return the event that asks for a slot."""
        return AcquireSlot(place) if place else _ACQUIRE

    def queue_event(self, call: Call, name: str) -> JoinQueue | None:
        """Return the event that asks for a place in the queue, or None where calls do not wait."""
        return JoinQueue(name, self.acquisition_timeout, call.deadline) if self.acquisition_timeout else None

    def error(self, call: Call, name: str, refused: Refused) -> PoolTimeoutError:
        """Return the error for a call that got no slot."""
        return PoolTimeoutError(
            f"{call.method} {call.host}: not sent, {refused.reason} and none became free within "
            f"{self.acquisition_timeout:g} s or before the deadline; call again later, send fewer calls at a time, or "
            "allow more of them",
            host=call.host,
            reason=name,
        )

    def release_event(self, permit: Slot | QueuePlace) -> ReleaseSlot | LeaveQueue:
        """Return the event that gives back a slot without a sample, or a place in the queue."""
        return LeaveQueue(permit.name) if isinstance(permit, QueuePlace) else ReleaseSlot(permit)

    def result_event(self, call: Call, permit: Slot, outcome: Outcome) -> ReleaseSlot:  # noqa: ARG002 - as every gate
        """Return the event that gives back a slot."""
        return new_tuple(ReleaseSlot, (permit, None))

    def count_slots(self, limit: Any) -> int:
        """Return how many slots there are, given the state of the limit."""
        raise NotImplementedError

    @property
    def counts_credentials(self) -> bool:
        """Whether the shell must set `Call.credential`, as a key of the user's may be made of it."""
        return callable(self.key)

    @property
    def initial(self) -> BulkheadState:
        """A bulkhead whose slots are all free."""
        return BulkheadState()

    def transition(self, state: BulkheadState, event: Any, now: float) -> tuple[BulkheadState, Any]:
        """Acquire a slot or release it, join the queue or leave it; see the table of this module."""
        period = int(now / self.lease)
        if period != state.period:
            state = state._replace(period=period, new=0, old=state.new if period == state.period + 1 else 0)
        if type(event) is AcquireSlot:
            _, new, old, queue, issued, limit = state
            if not queue and new + old < self.count_slots(limit):
                state = new_tuple(BulkheadState, (period, new + 1, old, queue, issued, limit))
                return state, new_tuple(Slot, (period, new + old + 1))
            return self._acquire(state, event.place, now)
        if type(event) is ReleaseSlot:
            return self._release(state, event, now)
        if type(event) is JoinQueue:
            return self._join(state, event, now)
        queue = tuple([place for place in state.queue if place[0] != event.place])
        return self._wake(state._replace(queue=queue), now)

    def _acquire(self, state: BulkheadState, place: str, now: float) -> tuple[BulkheadState, Any]:
        period, new, old, queue, issued, limit = state
        slots, inflight = self.count_slots(limit), new + old + 1
        refused = state, Refused(_FULL if slots == 1 else f"all {slots} slots of the bulkhead are in use")
        if inflight > slots:
            return refused
        ahead: list[tuple[str, float]] = []
        seen = 0
        for waiting in queue:  # as far as it matters: the queue may be long
            seen += 1
            if waiting[0] == place:
                break
            if waiting[1] >= now:
                ahead.append(waiting)
                if inflight + len(ahead) > slots:
                    return refused
        queue = (*ahead, *queue[seen:])
        return BulkheadState(period, new + 1, old, queue, issued, limit), Slot(period, inflight)

    def _release(self, state: BulkheadState, event: ReleaseSlot, now: float) -> tuple[BulkheadState, Any]:
        period, new, old, queue, issued, limit = state
        if event.slot.period == period:
            new = max(0, new - 1)
        elif event.slot.period == period - 1:
            old = max(0, old - 1)
        if event.sample is not None:
            limit = self.concurrency.learn(limit, event.sample, now)
        state = new_tuple(BulkheadState, (period, new, old, queue, issued, limit))
        return self._wake(state, now) if queue else (state, None)

    def _join(self, state: BulkheadState, event: JoinQueue, now: float) -> tuple[BulkheadState, Any]:
        patience = event.patience
        if event.deadline is not None:
            patience = max(0.0, min(patience, event.deadline - now))
        name = f"{event.key} {state.issued}"
        ends = now + (patience if patience < math.inf else self.lease)  # a call without limit may have died long ago
        queue = (*state.queue, (name, ends))
        place = QueuePlace(name, patience, f"{BULKHEAD}, all {self.count_slots(state.limit)} slots are in use")
        return state._replace(queue=queue, issued=state.issued + 1), place

    def _wake(self, state: BulkheadState, now: float) -> tuple[BulkheadState, Any]:
        """Wake as many of the calls that still wait as there are free slots."""
        free = max(0, self.count_slots(state.limit) - state.new - state.old)
        names = list(islice((name for name, ends in state.queue if ends >= now), free))
        return state, Wake(names) if names else None


_FULL = "the only slot of the bulkhead is in use"
_ACQUIRE = AcquireSlot("")


@explain_arguments
@dataclass(frozen=True)
class Bulkhead(_Bulkhead):
    """A fixed number of calls to a host at a time; the others wait for their turn, for a limited time.

    Args:
        max_concurrency: Calls at a time.
        acquisition_timeout: Seconds that a call waits for a slot, before PoolTimeoutError; 0 for not at all.
        lease: Seconds after which a slot that was never given back counts as free, at least; at most twice that.
        key: "origin" for one bulkhead per scheme, host and port; a tuple of path prefixes for one per prefix; or a
            function of the `Call` that names the bulkhead.

    Raises:
        ValueError: A value is out of range.

    Source: Nygard, "Release It!", 2007.
    """

    max_concurrency: int = 50
    acquisition_timeout: float = 30.0
    lease: float = _LEASE
    key: Key = "origin"

    def __post_init__(self) -> None:
        validate.count(self, "max_concurrency", 1)
        self._bind(f"bulkhead of {self.max_concurrency}")

    def count_slots(self, limit: Any) -> int:  # noqa: ARG002 - as every bulkhead
        """Return how many slots there are."""
        return self.max_concurrency


@explain_arguments
@dataclass(frozen=True)
class AdaptiveBulkhead(_Bulkhead):
    """As many calls at a time as a host can serve well, found out from how the calls end.

    Args:
        strategy: "gradient" learns from latency and refusals, "aimd" from refusals alone.
        initial_limit: Slots to begin with.
        min_limit: Fewest slots.
        max_limit: Most slots.
        acquisition_timeout: As for Bulkhead.
        lease: As for Bulkhead.
        key: As for Bulkhead.

    Raises:
        ValueError: A value is out of range.

    Source: `polvo_adapters.policies.bulkhead.concurrency_limit` names the literature.
    """

    strategy: Literal["gradient", "aimd"] = "gradient"
    initial_limit: int = 10
    min_limit: int = 1
    max_limit: int = 200
    acquisition_timeout: float = 30.0
    lease: float = _LEASE
    key: Key = "origin"

    concurrency: Concurrency = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._bind(f"adaptive bulkhead of {self.min_limit} to {self.max_limit} by {self.strategy}")
        concurrency = Concurrency(self.initial_limit, self.min_limit, self.max_limit, self.strategy)
        object.__setattr__(self, "concurrency", concurrency)

    @property
    def max_concurrency(self) -> int:
        """Most slots: what a connection pool must have room for."""
        return self.max_limit

    @property
    def initial(self) -> BulkheadState:
        """A bulkhead whose slots are all free, and that has learned nothing."""
        return BulkheadState(limit=self.concurrency.initial)

    def count_slots(self, limit: Any) -> int:
        """Return how many slots there are now."""
        return int(limit.limit)

    def result_event(self, call: Call, permit: Slot, outcome: Outcome) -> ReleaseSlot:
        """Return the event that gives back a slot, with the latency and whether the host had too much to do."""
        failure = outcome.failure
        if failure is NOT_SENT or (failure is not None and not failure.transient and failure is not EXPIRED):
            return ReleaseSlot(permit)
        kind = "failed" if failure is not None else verdict_of(call, outcome).kind
        dropped = kind in _DROPPED or (kind == "failed" and (failure is not None or outcome.status in _OVERLOADED))
        if not dropped and (outcome.status >= 400 or kind == "exhausted"):
            return ReleaseSlot(permit)  # an error is often quicker than a good response, and says nothing of their time
        return ReleaseSlot(permit, Sample(outcome.now - outcome.started, permit.inflight, dropped))


Adaptive = AdaptiveBulkhead
"""The name of before."""
