"""Gates: what lets a call through or bars it, and is told what came of it.

Theory of operation. Circuit breaker and bulkhead are gates. The machine of each is asked before and told after:

    ask ──▶ granted ──▶ proceed ──▶ settle: tell what came of it, once the body is closed
     ▲  └─▶ refused ──▶ error, or a place in the queue ──▶ park ─┐
     └───────────────────────────────────────────────────────────┘

Gates side by side are asked in one decision, all or nothing: a call that finds no slot has not used up the probe of
a circuit. A call that is broken off (Ctrl-C, a cancelled task) gives back at once what it was granted. From a process
that was killed it comes back when its lease ends.

State is kept per origin, unless the policy names path prefixes or a function of the call. A gate that judges how calls
end keeps it per tenant as well; one that protects the host, or this process, does not.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias, Union

from polvo_adapters.core import validate
from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Acquire, Effect, Flow, Park, Proceed, Release
from polvo_adapters.core.machines import Changed, Event, Refused
from polvo_adapters.core.outcomes import NOT_SENT, TRUNCATED, Outcome
from polvo_adapters.core.state_keys import of_tenant

Key: TypeAlias = Union[str, Sequence[str], Callable[[Call], str]]  # noqa: UP007 - evaluated at import
"""What state is kept for: "origin", path prefixes, or a function that names it."""

_tuple = tuple.__new__  # makes a NamedTuple in half the time that its own class takes
_MOST_KNOWN = 1024
_LOOK = 1.0  # seconds until somebody in a queue looks by himself, where nobody can call him
_GRAIN = 1e-6  # seconds; what is left of a float may be too little to move a clock, and would be waited for for ever


class QueuePlace(NamedTuple):
    """A place in the queue of a gate.

    Attributes:
        name: What its call is parked under.
        patience: Seconds that it may wait.
        reason: The reason for the wait, for a person.
    """

    name: str
    patience: float
    reason: str


class Gate:
    """What all gates share."""

    kind: str
    """Beginning of the keys of its state."""
    key: Key
    by_tenant = False
    """Whether each tenant has a state of its own."""

    def flow(self, call: Call, proceed: Proceed) -> Flow:
        """Run the call if it may go."""
        return self._alone.flow(call, proceed)

    @cached_property
    def _alone(self) -> Gates:
        return Gates((self,))

    def __getstate__(self) -> dict[str, Any]:
        # Unpickled before this gate is, `_alone` would find none of its settings.
        return {name: value for name, value in self.__dict__.items() if name != "_alone"}

    def check_key(self) -> None:
        """Raise ValueError unless `key` is one of the things that it may be."""
        validate.key(self, "key")

    def name(self, call: Call) -> str:
        """Return what the state for a call is kept under."""
        key = self.key
        if key == "origin":
            name = f"{self.kind} {call.origin}"
        elif callable(key):
            name = f"{self.kind} {key(call)}"
        else:
            name = f"{self.kind} {call.origin}{_longest(key, call.url)}"
        return name + of_tenant(call.tenant) if self.by_tenant and call.tenant else name

    def ask_event(self, call: Call, place: str) -> Any:
        """Return the event that asks whether a call may go, from its place in the queue where it has one."""
        raise NotImplementedError

    def queue_event(self, call: Call, name: str) -> Any:  # noqa: ARG002 - for those that have a queue
        """Return the event that asks for a Place in the queue, or None where waiting is of no use."""
        return None

    def error(self, call: Call, name: str, refused: Refused) -> Exception:
        """Return the error for a call that may not go."""
        raise NotImplementedError

    def release_event(self, permit: Any) -> Any:
        """Return the event that gives back a permit, or a place in the queue, of a call that was broken off."""
        raise NotImplementedError

    def result_event(self, call: Call, permit: Any, outcome: Outcome) -> Any:
        """Return the event that tells what came of a call."""
        raise NotImplementedError

    @property
    def initial(self) -> Any:
        """State of a key that nothing is known of."""
        raise NotImplementedError

    def transition(self, state: Any, event: Any, now: float) -> tuple[Any, Any]:
        """Return the state after an event, and for a question the permit, or Refused."""
        raise NotImplementedError


class Gates:
    """Several gates side by side.

    Args:
        gates: The gates; where more than one refuses, the error is that of the first.
    """

    def __init__(self, gates: tuple[Gate, ...]) -> None:
        self.gates = gates
        self._by_origin = all(gate.key == "origin" for gate in gates)
        self._known: dict[str | tuple[str, str], Acquire] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return (Gates, (self.gates,))

    def flow(self, call: Call, proceed: Proceed) -> Flow:
        """Run the call if all gates let it through."""
        place = (call.origin, call.tenant) if call.tenant else call.origin
        asked = (self._by_origin and self._known.get(place)) or self._asked(call, place)
        permits: Sequence[Any] = yield asked
        refused = Refused in map(type, permits)
        if refused:
            permits = yield from self._wait(call, list(asked.events), permits)
            if Refused in map(type, permits):
                return self._barred(call, asked.events, permits)
        if Changed in map(type, permits):
            permits = [verdict.verdict if type(verdict) is Changed else verdict for verdict in permits]
        outcome = yield from proceed(call)
        events = broken = self._over(call, asked.events, permits, outcome)
        if outcome.body is None and outcome.failure is None:  # it may still have to be read, and that may fail
            broken = self._over(call, asked.events, permits, outcome._replace(failure=TRUNCATED))
        yield Release(events, broken)
        if refused:
            yield Release((), ())  # of the place in the queue, which went with the slot
        return outcome

    def _asked(self, call: Call, place: str | tuple[str, str]) -> Acquire:
        """Return the questions for a call, which are the same for all calls to an origin for a tenant."""
        asked = Acquire([Event(gate, gate.name(call), gate.ask_event(call, "")) for gate in self.gates])
        if self._by_origin:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[place] = asked
        return asked

    def _over(self, call: Call, asked: Sequence[Event], permits: Sequence[Any], outcome: Outcome) -> list[Event]:
        """Return what to tell of a call."""
        over = []
        for index, gate in enumerate(self.gates):
            told = gate.result_event(call, permits[index], outcome)
            over.append(_tuple(Event, (gate, asked[index][1], told)))
        return over

    def _wait(self, call: Call, asked: list[Event], verdicts: Sequence[Any]) -> Generator[Effect, Any, Sequence[Any]]:
        """Wait in the queue of the gate that refuses, if it has one; return the last verdicts."""
        refusing = _refusing(verdicts)
        gate, key = self.gates[refusing], asked[refusing].key
        join = gate.queue_event(call, key)
        if join is None:
            return verdicts
        place: QueuePlace = (yield Acquire([Event(gate, key, join)]))[0]
        asked[refusing] = Event(gate, key, gate.ask_event(call, place.name))
        left = place.patience
        verdicts = yield Acquire(asked)  # what became free before there was a place in the queue has called nobody
        while left > _GRAIN and _refusing(verdicts) == refusing:
            left -= yield Park(place.name, min(left, _LOOK), place.reason)
            verdicts = yield Acquire(asked)
        if _refusing(verdicts) >= 0:
            leave = [Event(gate, key, gate.release_event(place))]
            yield Release(leave, leave)
        return verdicts

    def _barred(self, call: Call, asked: Sequence[Event], verdicts: Sequence[Any]) -> Outcome:
        refusing = _refusing(verdicts)
        error = self.gates[refusing].error(call, asked[refusing].key, verdicts[refusing])
        return Outcome(error=error, failure=NOT_SENT)


def _refusing(verdicts: Sequence[Any]) -> int:
    """Return the number of the first gate that refuses, or -1."""
    kinds = [type(verdict) for verdict in verdicts]
    return kinds.index(Refused) if Refused in kinds else -1


def _longest(prefixes: Sequence[str], url: str) -> str:
    """Return the longest of the path prefixes that a URL is under, or an empty string."""
    path = "/" + url.partition("#")[0].partition("?")[0].partition("://")[2].partition("/")[2]
    return max((prefix for prefix in prefixes if path.startswith(prefix)), key=len, default="")
