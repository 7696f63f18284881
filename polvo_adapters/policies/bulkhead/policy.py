"""So many calls to a host at a time, and no more: one slow API must not take all threads of an application.

Theory of operation. A host has slots. A call takes one and keeps it until the body of the answer is closed. Where all
are taken, it takes a place in a queue and parks; whoever gives a slot back calls the first in the queue. Newcomers do
not overtake: a slot that is free while somebody waits is not free for them.

    event    state                                        verdict
    -------  -------------------------------------------  ------------------------------------------
    Take     slots in use + 1, place in the queue gone    Slot; or Refused, and nothing has changed
    Join     one more in the queue                        Place, and how long it may wait
    Leave    that place gone                              Called: those who may go now
    Release  slots in use - 1                             Called: those who may go now

A slot is a lease. In use are those that were taken in this period of the length of a lease and in the one before;
what was taken earlier and never given back is forgotten with its period. Places in the queue end with the patience
of who waits. So the state is three numbers and a queue, however many slots there are.

`Adaptive` moves the number of slots by what the calls come to; see
`polvo_adapters.policies.bulkhead.concurrency_limit`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from polvo_adapters.core import validate
from polvo_adapters.core.calls import Call
from polvo_adapters.core.machines import Refused, Wake
from polvo_adapters.core.outcomes import EXPIRED, NOT_SENT, Outcome
from polvo_adapters.core.report import BULKHEAD
from polvo_adapters.core.stored_types import stored_as
from polvo_adapters.errors import PoolTimeoutError
from polvo_adapters.policies.bulkhead.concurrency_limit import Concurrency, Sample
from polvo_adapters.policies.gates import Gate, Key, QueuePlace

__all__ = ["AdaptiveBulkhead", "Bulkhead"]

_LEASE = 600.0
_DROPPED = frozenset({429, 502, 503, 504})  # statuses by which a host says that it has too much to do


_tuple = tuple.__new__  # makes a NamedTuple in half the time that its own class takes


class AcquireSlot(NamedTuple):
    """A call wants a slot; `place` is its place in the queue, or an empty string."""

    place: str


class JoinQueue(NamedTuple):
    """A call wants to wait.

    Attributes:
        key: Key of the state, for the names of places.
        patience: Seconds that it may wait.
        deadline: When its call must be over, or None.
    """

    key: str
    patience: float
    deadline: float | None

    def shifted(self, seconds: float) -> JoinQueue:
        """Return the event with its deadline on a clock that is ahead by so many seconds."""
        return self if self.deadline is None else self._replace(deadline=self.deadline + seconds)


class LeaveQueue(NamedTuple):
    """A call waits no longer."""

    place: str


class Slot(NamedTuple):
    """A slot that was taken.

    Attributes:
        period: In which period of leases.
        inflight: Slots in use then, itself included.
    """

    period: int
    inflight: int


class ReleaseSlot(NamedTuple):
    """A slot is given back; `sample` is what the call came to, where that tells something."""

    slot: Slot
    sample: Sample | None = None


@stored_as("bulkhead.1")
class BulkheadState(NamedTuple):
    """State of a bulkhead.

    Attributes:
        period: The period of leases that it is in.
        new: Slots taken in it and in use.
        old: Slots taken in the one before and in use.
        queue: Names of places and when they end, first come first.
        issued: Places there ever were.
        limit: State of the limit, where it is adaptive.
    """

    period: int = 0
    new: int = 0
    old: int = 0
    queue: tuple[tuple[str, float], ...] = ()
    issued: int = 0
    limit: Any = None

    def after_fork(self) -> BulkheadState:
        """Return what it is in a child: the calls that hold slots are its parent's."""
        return self._replace(new=0, old=0, queue=())


class _Bulkhead(Gate):
    """What both kinds share."""

    acquisition_timeout: float
    lease: float

    def named(self, kind: str) -> str:
        """Return a kind of its own for other leases: periods of different length cannot share a state."""
        return kind if self.lease == _LEASE else f"{kind} for {self.lease} s"

    def ask_event(self, call: Call, place: str) -> AcquireSlot:  # noqa: ARG002 - as every gate
        """Ask for a slot."""
        return AcquireSlot(place) if place else _TAKE

    def queue_event(self, call: Call, name: str) -> JoinQueue | None:
        """Ask for a place in the queue, unless no call waits at all."""
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
        """Give a slot back that nothing is known of, or a place in the queue."""
        return LeaveQueue(permit.name) if isinstance(permit, QueuePlace) else ReleaseSlot(permit)

    def result_event(self, call: Call, permit: Slot, outcome: Outcome) -> ReleaseSlot:  # noqa: ARG002 - as every gate
        """Give a slot back."""
        return _tuple(ReleaseSlot, (permit, None))

    def limit(self, limit: Any) -> int:
        """Return how many slots there are."""
        raise NotImplementedError

    @property
    def initial(self) -> BulkheadState:
        """All slots free."""
        return BulkheadState()

    def transition(self, state: BulkheadState, event: Any, now: float) -> tuple[BulkheadState, Any]:
        """Take a slot or give it back, join the queue or leave it."""
        period = int(now / self.lease)
        if period != state.period:
            state = _forgotten(state, period)
        if type(event) is AcquireSlot:
            _, new, old, queue, issued, limit = state
            if not queue and new + old < self.limit(limit):
                state = _tuple(BulkheadState, (period, new + 1, old, queue, issued, limit))
                return state, _tuple(Slot, (period, new + old + 1))
            return self._taken(state, event.place, now)
        if type(event) is ReleaseSlot:
            return self._released(state, event, now)
        if type(event) is JoinQueue:
            return self._joined(state, event, now)
        queue = tuple([place for place in state.queue if place[0] != event.place])
        return self._called(state._replace(queue=queue), now)

    def _taken(self, state: BulkheadState, place: str, now: float) -> tuple[BulkheadState, Any]:
        period, new, old, queue, issued, limit = state
        ahead = 0
        if queue:
            queue = tuple([waiting for waiting in queue if waiting[1] >= now or waiting[0] == place])
            names = [name for name, _ in queue]
            ahead = names.index(place) if place in names else len(names)
        slots = self.limit(limit)
        inflight = new + old + 1
        if inflight + ahead > slots:
            return state, Refused(f"all {slots} slots of the bulkhead are in use")
        if queue and ahead < len(queue):
            queue = queue[:ahead] + queue[ahead + 1 :]
        return BulkheadState(period, new + 1, old, queue, issued, limit), Slot(period, inflight)

    def _released(self, state: BulkheadState, event: ReleaseSlot, now: float) -> tuple[BulkheadState, Any]:
        period, new, old, queue, issued, limit = state
        if event.slot.period == period:
            new = max(0, new - 1)
        elif event.slot.period == period - 1:
            old = max(0, old - 1)
        if event.sample is not None:
            limit = self.learned(limit, event.sample, now)
        state = _tuple(BulkheadState, (period, new, old, queue, issued, limit))
        return self._called(state, now) if queue else (state, None)

    def learned(self, limit: Any, sample: Sample, now: float) -> Any:  # noqa: ARG002 - for those that learn
        """Return the state of the limit after a call."""
        return limit

    def _joined(self, state: BulkheadState, event: JoinQueue, now: float) -> tuple[BulkheadState, Any]:
        patience = event.patience
        if event.deadline is not None:
            patience = max(0.0, min(patience, event.deadline - now))
        name = f"{event.key} {state.issued}"
        ends = now + (patience if patience < math.inf else self.lease)  # who waits for ever may have died long ago
        queue = (*state.queue, (name, ends))
        place = QueuePlace(name, patience, f"{BULKHEAD}, all {self.limit(state.limit)} slots are in use")
        return state._replace(queue=queue, issued=state.issued + 1), place

    def _called(self, state: BulkheadState, now: float) -> tuple[BulkheadState, Any]:
        """Call as many of those who still wait as there are free slots."""
        free = self.limit(state.limit) - state.new - state.old
        names = [name for name, ends in state.queue if ends >= now][: max(0, free)]
        return state, Wake(names) if names else None


def _forgotten(state: BulkheadState, period: int) -> BulkheadState:
    """Begin a new period of leases."""
    old = state.new if period == state.period + 1 else 0
    return state._replace(period=period, new=0, old=old)


_TAKE = AcquireSlot("")


@dataclass(frozen=True)
class Bulkhead(_Bulkhead):
    """Keep to so many calls to a host at a time; the others wait for their turn, and not for ever.

    Args:
        max_concurrency: Calls at a time.
        acquisition_timeout: Seconds that a call waits for a slot, before PoolTimeoutError; 0 for not at all.
        lease: Seconds after which a slot is taken for lost that was never given back, at least; at most twice that.
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
        validate.number(self, "acquisition_timeout", 0, infinite=True)
        validate.number(self, "lease", 0, above=True)
        self.check_key()
        object.__setattr__(self, "kind", self.named(f"bulkhead of {self.max_concurrency}"))

    def limit(self, limit: Any) -> int:  # noqa: ARG002 - as every bulkhead
        """Return how many slots there are."""
        return self.max_concurrency


@dataclass(frozen=True)
class AdaptiveBulkhead(_Bulkhead):
    """Find out how many calls at a time a host can serve well, and keep to that.

    Args:
        strategy: "gradient" heeds latency as well as refusals, "aimd" refusals alone.
        initial_limit: Slots to begin with.
        min_limit: Fewest slots.
        max_limit: Most slots.
        acquisition_timeout: Seconds that a call waits for a slot, before PoolTimeoutError; 0 for not at all.
        lease: Seconds after which a slot is taken for lost that was never given back, at least; at most twice that.
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
        validate.number(self, "acquisition_timeout", 0, infinite=True)
        validate.number(self, "lease", 0, above=True)
        self.check_key()
        concurrency = Concurrency(
            initial_limit=self.initial_limit,
            min_limit=self.min_limit,
            max_limit=self.max_limit,
            strategy=self.strategy,
        )
        object.__setattr__(self, "concurrency", concurrency)
        kind = f"adaptive bulkhead of {self.min_limit} to {self.max_limit} by {self.strategy}"
        object.__setattr__(self, "kind", self.named(kind))

    @property
    def initial(self) -> BulkheadState:
        """All slots free, and nothing learned."""
        return BulkheadState(limit=self.concurrency.initial)

    def limit(self, limit: Any) -> int:
        """Return how many slots there are now."""
        return int(limit.limit)

    def learned(self, limit: Any, sample: Sample, now: float) -> Any:
        """Return the state of the limit after a call."""
        return self.concurrency.after(limit, sample, now)

    def result_event(self, call: Call, permit: Slot, outcome: Outcome) -> ReleaseSlot:  # noqa: ARG002 - as every gate
        """Give a slot back, and tell how long the call took and whether the host had too much to do."""
        failure = outcome.failure
        if failure is NOT_SENT or (failure is not None and not failure.transient and failure is not EXPIRED):
            return ReleaseSlot(permit)
        dropped = failure is not None or outcome.status in _DROPPED
        if outcome.status >= 400 and not dropped:
            return ReleaseSlot(
                permit
            )  # an error is often quicker than an answer, and says nothing of how long these take
        return ReleaseSlot(permit, Sample(outcome.now - outcome.started, permit.inflight, dropped))


Adaptive = AdaptiveBulkhead
"""The name of before."""
