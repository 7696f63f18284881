"""Gates: policies that let a call through or refuse it, and learn from its outcome.

Theory of operation. Circuit breaker and bulkhead are gates. The machine of each gets an event before the call and one
after it:

    acquire ──▶ permit ──▶ proceed ──▶ release with the outcome, once the body is closed
     ▲     └──▶ Refused ──▶ error, or a place in the queue ──▶ park ─┐
     └───────────────────────────────────────────────────────────────┘

Gates side by side decide together, all or nothing: a call that finds no slot does not use up the probe of a circuit. A
call that is broken off (Ctrl-C, a cancelled task) gives its permits back at once. A process that was killed cannot, so
that its permits come back when their lease ends.

State is kept per origin, unless the policy names path prefixes or a function of the call. A gate that learns from the
outcomes of calls keeps it per tenant as well; one that protects the host, or this process, does not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, Union

from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Acquire, Effect, Flow, Park, Proceed, Release, Undecided
from polvo_adapters.core.machines import Changed, Event, Refused
from polvo_adapters.core.notices import Notice
from polvo_adapters.core.outcomes import TRUNCATED, Outcome
from polvo_adapters.core.state_keys import of_tenant
from polvo_adapters.core.tuples import new_tuple
from polvo_adapters.core.validate import require_members
from polvo_adapters.policies.outcomes import refuse_to_send, refuse_undecided

if TYPE_CHECKING:
    from polvo_adapters.core.report import StateChange

Key: TypeAlias = Union[str, Sequence[str], Callable[[Call], str]]  # noqa: UP007 - evaluated at import
"""What state is kept for: "origin", path prefixes, or a function that names it."""

_MOST_KNOWN = 1024
_LOOK = 1.0  # seconds until a call in the queue asks again by itself, as some stores cannot wake it
_GRAIN = 1e-6  # seconds; a shorter rest of a wait may be too little to move a clock, and the wait would never end


class QueuePlace(NamedTuple):
    """A place in a queue: the name under which its call parks, for how many seconds at most, and the reason."""

    name: str
    patience: float
    reason: str


class Gate:
    """The base of all gates: a policy and its machine. What else a policy may say of itself is in `PolicyTraits`."""

    kind: str
    """The beginning of the keys of its state."""
    key: Key
    """What its state is kept for."""
    part = ""
    """Name of the part of the library, which is that of its logger."""
    by_tenant = False
    """Whether each tenant has a state of its own."""
    durable = False
    """Whether a store that cannot keep its state must raise, and not begin anew."""
    listeners: tuple[Callable[[StateChange], object], ...] = ()
    """Functions that the shell calls with every `StateChange`."""

    @property
    def gates(self) -> tuple[Gate, ...]:
        """The gates that it is made of: itself alone."""
        return (self,)

    @property
    def max_concurrency(self) -> int:
        """How many calls at a time it lets through at most, or 0 where it does not limit them."""
        return 0

    def flow(self, call: Call, proceed: Proceed) -> Flow:
        """Run the call if the gate lets it through."""
        alone: Gates | None = self.__dict__.get("_alone")
        if alone is None:  # no cached_property, which before Python 3.12 has a lock that stays held in a forked child
            alone = self.__dict__["_alone"] = Gates((self,))
        return alone.flow(call, proceed)

    def __getstate__(self) -> dict[str, Any]:
        # Unpickled before this gate is, `_alone` would find none of its settings.
        return {name: value for name, value in self.__dict__.items() if name != "_alone"}

    def name(self, call: Call) -> str:
        """Return the key of the state for a call."""
        key = self.key
        if key == "origin":
            name = f"{self.kind} {call.origin}"
        elif callable(key):
            name = f"{self.kind} {key(call)}"
        else:
            name = f"{self.kind} {call.origin}{longest_prefix(key, call.url)}"
        return name + of_tenant(call.tenant) if self.by_tenant and call.tenant else name

    def ask_event(self, call: Call, place: str) -> Any:
        """Return the event that asks for a permit, from a place in the queue unless that is an empty string."""
        raise NotImplementedError

    def queue_event(self, call: Call, name: str) -> Any:  # noqa: ARG002 - for those that have a queue
        """Return the event that asks for a QueuePlace, or None where waiting is of no use."""
        return None

    def error(self, call: Call, name: str, refused: Refused) -> Exception:
        """Return the error for a call that is refused."""
        raise NotImplementedError

    def release_event(self, permit: Any) -> Any:
        """Return the event that gives back the permit, or the QueuePlace, of a call that was broken off."""
        raise NotImplementedError

    def result_event(self, call: Call, permit: Any, outcome: Outcome) -> Any:
        """Return the event that gives back the permit of a call with its outcome."""
        raise NotImplementedError

    @property
    def initial(self) -> Any:
        """The state of a key that the store has not seen."""
        raise NotImplementedError

    def transition(self, state: Any, event: Any, now: float) -> tuple[Any, Any]:
        """Return the state after an event, and the verdict: for `ask_event` a permit, or Refused."""
        raise NotImplementedError


_GATE_MEMBERS = ("key", "name", "initial", "transition", "ask_event", "result_event", "queue_event", "release_event")


class Gates:
    """Several gates side by side.

    Args:
        gates: The gates; where more than one refuses, the error is that of the first.

    Raises:
        TypeError: A gate lacks a member that the class `Gate` has; the message names it.
    """

    def __init__(self, gates: tuple[Gate, ...]) -> None:
        for gate in gates:
            require_members("Gates", gate, "a gate", *_GATE_MEMBERS)
        self.gates = gates
        self._by_origin = all(gate.key == "origin" for gate in gates)
        self._known: dict[str | tuple[str, str], Acquire] = {}

    @property
    def counts_credentials(self) -> bool:
        """Whether the shell must set `Call.credential`, as a key of the user's may be made of it."""
        return any(callable(gate.key) for gate in self.gates)

    def __reduce__(self) -> tuple[Any, ...]:
        return (Gates, (self.gates,))

    def flow(self, call: Call, proceed: Proceed) -> Flow:
        """Run the call if all gates let it through."""
        place = (call.origin, call.tenant) if call.tenant else call.origin
        acquire = (self._by_origin and self._known.get(place)) or self._make_acquire(call, place)
        try:
            permits: Sequence[Any] = yield acquire
            refused = Refused in map(type, permits)
            if refused:
                permits = yield from self._wait(call, list(acquire.events), permits)
        except Undecided as undecided:
            return refuse_undecided(undecided)
        if refused:
            number = _find_refusing(permits)
            if number >= 0:
                return self._refuse(call, number, acquire.events[number].key, permits[number])
        if Changed in map(type, permits):
            permits = [verdict.verdict if type(verdict) is Changed else verdict for verdict in permits]
        outcome = yield from proceed(call)
        events = broken = self._result_events(call, acquire.events, permits, outcome)
        if outcome.body is None and outcome.failure is None:  # it may still have to be read, and that may fail
            broken = self._result_events(call, acquire.events, permits, outcome._replace(failure=TRUNCATED))
        yield Release(events, broken)
        if refused:
            yield Release((), ())  # of the place in the queue, which the machine has removed already
        return outcome

    def _refuse(self, call: Call, number: int, name: str, refused: Refused) -> Outcome:
        gate = self.gates[number]
        reason = f"{name}: {refused.reason}"
        return refuse_to_send(gate.error(call, name, refused), _part_of(gate), reason, refused.retry_after)

    def _make_acquire(self, call: Call, place: str | tuple[str, str]) -> Acquire:
        """Return the effect for a call; all calls to an origin for a tenant have it in common."""
        acquire = Acquire([Event(gate, gate.name(call), gate.ask_event(call, "")) for gate in self.gates])
        if self._by_origin:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[place] = acquire
        return acquire

    def _result_events(
        self, call: Call, acquired: Sequence[Event], permits: Sequence[Any], outcome: Outcome
    ) -> list[Event]:
        return [
            new_tuple(Event, (gate, acquired[index][1], gate.result_event(call, permits[index], outcome)))
            for index, gate in enumerate(self.gates)
        ]

    def _wait(self, call: Call, events: list[Event], verdicts: Sequence[Any]) -> Generator[Effect, Any, Sequence[Any]]:
        """Wait in the queue of the gate that refuses, if it has one; return the last verdicts."""
        refusing = _find_refusing(verdicts)
        gate, key = self.gates[refusing], events[refusing].key
        join = gate.queue_event(call, key)
        if join is None:
            return verdicts
        place: QueuePlace = (yield Acquire([Event(gate, key, join)]))[0]
        leave = [Event(gate, key, gate.release_event(place))]
        events[refusing] = Event(gate, key, gate.ask_event(call, place.name))
        left, notice = place.patience, Notice(_part_of(gate), call, at_most=place.patience)
        try:
            verdicts = yield Acquire(events)  # a permit that was released before there was a place has woken no call
            while left > _GRAIN and _find_refusing(verdicts) == refusing:
                left -= yield Park(place.name, min(left, _LOOK), place.reason, notice)
                notice = notice._replace(waited=place.patience - left if left < math.inf else notice.waited + _LOOK)
                verdicts = yield Acquire(events)
        except Undecided:
            yield Release(leave, leave)
            raise
        if _find_refusing(verdicts) >= 0:
            yield Release(leave, leave)
        return verdicts


def _part_of(gate: Gate) -> str:
    return getattr(gate, "part", "")  # a gate need not be a subclass of Gate


def _find_refusing(verdicts: Sequence[Any]) -> int:
    """Return the number of the first gate that refuses, or -1."""
    kinds = [type(verdict) for verdict in verdicts]
    return kinds.index(Refused) if Refused in kinds else -1


def longest_prefix(prefixes: Sequence[str], url: str) -> str:
    """Return the longest of the path prefixes that a URL is under, or an empty string."""
    path = "/" + url.partition("#")[0].partition("?")[0].partition("://")[2].partition("/")[2]
    return max((prefix for prefix in prefixes if path.startswith(prefix)), key=len, default="")
