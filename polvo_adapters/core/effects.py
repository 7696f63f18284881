"""The contract between policies and shells, whole.

A **policy** says in which order things happen to one logical call, as a generator called a *flow*. A flow performs
nothing. It yields an *effect*; the shell that drives the flow performs the effect and sends the answer in:

    effect                     the shell performs                              and sends in
    -------------------------  ----------------------------------------------  ------------------------------
    Send(call)                 one attempt at the call                         Outcome
    Sleep(low, high, reason)   a wait of a random length in [low, high]        the seconds waited, a float
    Decide(events)             the events, put to state machines in a store    their verdicts, a tuple
    Acquire(events)            as Decide; what is granted is a lease           their verdicts, a tuple
    Release(events, broken)    the events that end the last lease              nothing
    TryDecide(events)          facts, put to state machines in a store         whether they are in the store
    Park(name, ...)            a wait until the store wakes the name           the seconds waited, a float
    Race(flow)                 a flow that runs others at the same time        Outcome

A flow returns an Outcome at its end. It never reads a clock, a random source, the environment or a socket. That is why
the same flow runs under threads, under asyncio and in a simulation, and why a test can step it by hand
(`next(flow)`, `flow.send(outcome)`).

**Policies nest.** `policy.flow(call, proceed)` receives the call and `proceed`, which makes the flow of everything
further inside. `yield from proceed(call)` runs it once; a policy may run it any number of times, or with another call.
The innermost `proceed` is `send_once`, which yields Send. `compose` nests policies.

**Outcomes are values.** An attempt that raised is an Outcome that holds the exception in `error` and its meaning in
`failure`. When the flow ends with an error, the shell raises the very exception that came from below, or the one that a
policy put in its place.

**A store that fails** never costs the caller a response. What a flow *tells* the store (TryDecide, Release) cannot
fail. What it *asks* (Decide, Acquire) may have no answer; then Undecided is thrown into the flow, the only exception
that ever is. A policy that knows what to do without an answer catches it: one that lets calls through returns
`refuse_to_send`. Where no policy catches it, the call ends with the best outcome of its attempts, and only where
there was none with the error of the store. Once a store has failed, the rest of the call asks it nothing and defers
what it tells, so that a busy store holds a response back once and not at every decision.

**What a shell owes a flow.** All times in `Call` and `Outcome` come from one clock that only moves forward, except
`wall`, which is Unix time and serves only to read dates in headers. An attempt never lasts beyond `call.deadline`. The
body of a repeated attempt is rewound; a body that can be read once (`body == "once"`) is sent once, and a policy that
would need it again ends with a ReplayError. A flow that sleeps, sends or acquires after an attempt has given up the
response of that attempt: the shell closes it first, as its slot or connection may be the one that is waited for.
Whatever ends the drive (a return, Ctrl-C, a cancelled task), the shell closes the flow; so a flow never yields in a
`finally`.

**What must be given back** is a lease. A machine grants it until a time, so that it comes back from a process that was
killed. From a call that was broken off it comes back at once: the shell puts the machine's `release_event` to the
store. Leases nest as policies do, and each ends with a Release. A response whose body is still to be read is not over,
so Release waits until the body is closed; where reading it fails, `broken` is put to the store instead.

**Races.** The flow of a Race may yield Decide, TryDecide and two effects of its own. Start(flow) starts a flow beside
it, with attempts of its own, and is answered with its number. WaitAny(seconds) waits until any of them ends and is
answered with its number and Outcome, or with None when the time is up. The flow of the Race returns the Outcome of one
of them. The others are cancelled: their responses are closed, and their leases are released.

**What is said.** Before a wait the driver says in the log how long it takes and why. The `notice` of the effect says
whose wait it is; `polvo_adapters.drivers.call_log` has all lines.

**State** that outlives a call lives in a store, as plain values moved by pure machines; see
`polvo_adapters.stores.base`.

Effects are NamedTuples and dispatched by `type(effect) is Send`: this is the hot path of every call.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias, Union

from polvo_adapters.core.calls import Call
from polvo_adapters.core.machines import Event
from polvo_adapters.core.notices import Notice
from polvo_adapters.core.outcomes import Outcome
from polvo_adapters.core.tuples import new_tuple


class Send(NamedTuple):
    """Effect: make one attempt at the call. Answer: its Outcome."""

    call: Call


class Sleep(NamedTuple):
    """Effect: wait between `low` and `high` seconds, drawn evenly. Answer: the seconds waited.

    The driver says before the wait how long it takes and why; `notice` says the rest. `sleep` makes the wait in place
    of the synchronous driver, where code of the caller's has a way of its own; its length is known afterwards.
    """

    low: float
    high: float
    reason: str
    notice: Notice | None = None
    sleep: Callable[[], object] | None = None


class Decide(NamedTuple):
    """Effect: put events to their machines, all or nothing. Answer: the verdicts in the same order, or Undecided."""

    events: Sequence[Event]


class Acquire(NamedTuple):
    """Effect: as Decide; unless one refuses, what is granted is a lease that ends with Release.

    The machines have a method `release_event(verdict)`, which returns the event for a lease whose call was broken off.
    """

    events: Sequence[Event]


class Release(NamedTuple):
    """Effect: end the last lease. Answer: None.

    Attributes:
        events: What is put to the store, at once or when the body of the last response is closed.
        broken: What is put to it instead where reading that body fails.
    """

    events: Sequence[Event]
    broken: Sequence[Event]


class TryDecide(NamedTuple):
    """Effect: put facts to the store, such as what came of an attempt; where it fails, the call goes on all the same.

    Answer: whether the store has taken them.
    """

    events: Sequence[Event]


class Undecided(Exception):
    """Thrown into a flow at a Decide or an Acquire where the store has failed; none of its events has left a trace.

    Args:
        error: The exception of the store.

    Attributes:
        error: The same.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


class Park(NamedTuple):
    """Effect: wait until the store wakes the name, but no longer than `seconds`. Answer: the seconds waited."""

    name: str
    seconds: float
    reason: str
    notice: Notice | None = None


class Race(NamedTuple):
    """Effect: run a flow that may yield Start and WaitAny as well. Answer: its Outcome."""

    flow: Flow


class Start(NamedTuple):
    """Effect within a race: start a flow beside this one.

    Answer: its number, counted from 0; or None where it was not started, because there is no thread for it while others
    run. Start it once one of them has ended, or do without it. Where there is a notice, the driver says it as the flow
    begins.
    """

    flow: Flow
    reason: str = ""
    notice: Notice | None = None


class WaitAny(NamedTuple):
    """Effect within a race: wait until one of its flows ends, no longer than `seconds` unless that is None.

    Answer: a tuple of its number and its Outcome, or None when the time is up or no flow is left that could end.
    """

    seconds: float | None


Effect: TypeAlias = Union[Send, Sleep, Decide, Acquire, Release, TryDecide, Park, Race, Start, WaitAny]  # noqa: UP007 - evaluated at import by Python 3.10 tools
Flow: TypeAlias = Generator[Effect, Any, Outcome]
Proceed: TypeAlias = Callable[[Call], Flow]


class Policy(Protocol):
    """An immutable value that knows the order of things for one concern; `PolicyTraits` has what else it may say."""

    def flow(self, call: Call, proceed: Proceed) -> Flow:
        """Yield what has to happen, and return how the call ended."""


class PolicyTraits(NamedTuple):
    """What a policy may say of itself by attributes of these names; each has the default that stands here.

    The shell reads them once, when it binds the policy.

    Attributes:
        counts_credentials: Whether its flow needs `Call.credential`.
        keeps_answers: Whether its flow needs `Call.identity`, because it keeps responses.
        harmless_headers: Names of headers, in lower case, that select no response that it keeps.
        makes_keys: Whether it is the policy of idempotency keys, by which the shell makes `Call.key`.
        makes_request_ids: Whether it is the policy of request ids, by which the shell gives each call one.
        gates: The gates that it asks side by side, where it is made of several.
        max_concurrency: How many calls at a time it lets through at most, or 0 where it does not limit them.
        resumes: Whether it says that bodies which break off are to go on where they broke off.
        races: Whether it may yield a Race, which needs threads or tasks of asyncio.
        stack_option: Keyword of the standard stack that it stands for, by which one call can do without it.
        call_listeners: Functions that are called with every `CallEvent`.
        judges: Functions of the user's own that say what an answer is; see `polvo_adapters.core.judges`.
    """

    counts_credentials: bool = False
    keeps_answers: bool = False
    harmless_headers: frozenset[str] = frozenset()
    makes_keys: bool = False
    makes_request_ids: bool = False
    gates: tuple[Policy, ...] = ()
    max_concurrency: int = 0
    resumes: bool = False
    races: bool = False
    stack_option: str = ""
    call_listeners: tuple[Callable[[Any], object], ...] = ()
    judges: tuple[Callable[[Any], Any], ...] = ()

    @classmethod
    def of(cls, policy: object) -> PolicyTraits:
        """Return the traits of a policy."""
        traits: list[Any] = [getattr(policy, name, default) for name, default in cls._field_defaults.items()]
        return cls(*traits)


def send_once(call: Call) -> Flow:
    """Send the call once: the innermost flow."""
    outcome: Outcome = yield new_tuple(Send, (call,))
    return outcome


def compose(policies: Sequence[Policy]) -> Proceed:
    """Nest policies, the first outermost, into one function that makes the flow of a call."""
    proceed: Proceed = send_once
    for policy in reversed(policies):
        proceed = _around(policy.flow, proceed)
    return proceed


def _around(flow: Callable[[Call, Proceed], Flow], proceed: Proceed) -> Proceed:
    return lambda call: flow(call, proceed)
