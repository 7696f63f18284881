"""The contract between policies and shells, whole.

A **policy** says in which order things happen to one logical call, as a generator called a *flow*. A flow
performs nothing. It yields an *effect*, and the shell that drives it performs the effect and sends the answer in:

    effect                  the shell performs                              and sends in
    ----------------------  ----------------------------------------------  ---------------------------------
    Send(call)              one attempt at the call                         Outcome
    Sleep(low, high, why)   a wait of a random length in [low, high]        the seconds waited, a float
    Decide(events)          the events, put to state machines in a store    their verdicts, a tuple
    Admit(events)           as Decide; what is granted is a lease           their verdicts, a tuple
    Settle(events, broken)  the events that end the last lease              nothing
    Inform(events)          as Decide, without failing if the store does    whether they are in the store
    Park(name, ...)         a wait until the store calls the name           the seconds waited, a float
    Race(flow)              a flow that runs others at the same time        Outcome

and returns an Outcome at its end. A flow never reads a clock, a random source, the environment or a socket:
that is why the same flow runs under threads, under asyncio and inside a simulation, and why a test can step it
by hand (`next(flow)`, `flow.send(outcome)`).

**Policies nest.** `policy.flow(call, proceed)` receives the call and `proceed`, which makes the flow of
everything further inside; `yield from proceed(call)` runs it once, and a policy may run it any number of times,
or hand it a changed call. The innermost `proceed` is `attempt`, which yields Send. `compose` nests policies.

**Outcomes are values.** An attempt that raised is an Outcome that holds the exception in `error` and what it
means in `failure`. Nothing is thrown into a flow. When the flow ends with an error the shell raises the very
exception that came from below, or the one that a policy put in its place.

**What a shell owes a flow.** All times in `Call` and `Outcome` come from one clock that only moves forward,
except `wall`, which is Unix time and only serves to read dates in headers. An attempt never lasts beyond
`call.deadline`. The body of a repeated attempt is rewound; a body that can be read once (`body == "once"`) is
sent once, and a policy that would need it again says so (ReplayError). A flow that sleeps or sends after an
attempt has given up the response of that attempt: the shell closes it first. Whatever ends the drive (a return,
Ctrl-C, a cancelled task), the shell closes the flow; a flow therefore never yields in a `finally`.

**What must be given back** is a lease: a machine grants it until a time, so that it comes back from a process that
was killed. From a call that was broken off it comes back at once: the shell puts to the store what the machine says
of a lease that is `abandoned`. Leases nest as policies do, and each ends with a Settle. An answer whose body is still
to be read is not over, so that Settle waits for its end; where reading it fails, `broken` is put to the store instead.

**Races.** The flow of a Race has three effects, Decide and two of its own. Start(flow) sets off a flow that runs
beside it, with attempts of its own, and is answered with its number; Next(seconds) waits for any of them to end and is
answered with the number and the Outcome, or None when the time is up. The Outcome that it returns is that of one of
them. The others are cancelled: their responses are closed, and what they were granted is given back.

**State** that outlives a call lives in a store, as plain numbers moved by pure machines; see
`polvo_adapters.stores.base`.

Effects are NamedTuples and dispatched by `type(effect) is Send`: this is the hot path of every call.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeAlias, Union
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from polvo_adapters.headers import Quota

Body: TypeAlias = Literal["none", "replayable", "rewindable", "once"]

_NO_HEADERS: Mapping[str, str] = {}
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Failure(NamedTuple):
    """What an exception means to a policy.

    Attributes:
        name: For people and logs, the same in every shell.
        sent: Whether any part of the request may have reached the server.
        timeout: Whether somebody stopped waiting.
        transient: Whether sending again may help at all.
    """

    name: str
    sent: bool
    timeout: bool = False
    transient: bool = True


CONNECT = Failure("no connection", sent=False)
CONNECT_TIMEOUT = Failure("connect timeout", sent=False, timeout=True)
READ_TIMEOUT = Failure("read timeout", sent=True, timeout=True)
DISCONNECTED = Failure("disconnected", sent=True)
TRUNCATED = Failure("truncated body", sent=True)
EXPIRED = Failure("deadline", sent=True, timeout=True, transient=False)
REFUSED = Failure("refused", sent=True, transient=False)
"""A bad URL, a bad certificate, or an error that nobody here knows: the only one that tells nothing of `sent`."""
BARRED = Failure("not sent", sent=False, transient=False)
"""A policy did not let it through."""

# A socket may give up a moment before the time it was given; the clock that says so ticks in milliseconds.
_TICK = 0.01

FAILURES = frozenset(failure.name for failure in (CONNECT, CONNECT_TIMEOUT, READ_TIMEOUT, DISCONNECTED, TRUNCATED))
"""Names of the failures that a repeat may cure."""


def is_any(kinds: Iterable[type[BaseException] | str], failure: Failure, error: BaseException | None) -> bool:
    """Tell whether a failure is one of those that a setting names, by its name or by the class of its exception."""
    return any(failure.name == kind if isinstance(kind, str) else isinstance(error, kind) for kind in kinds)


def at_deadline(failure: Failure, now: float, deadline: float | None) -> Failure:
    """Return EXPIRED for a time-out that is the deadline's doing, and any other failure as it is."""
    if deadline is not None and failure.timeout and now >= deadline - _TICK:
        return EXPIRED
    return failure


class Call(NamedTuple):
    """One logical call, as policies see it.

    Attributes:
        method: Upper-case HTTP method.
        url: Absolute URL.
        body: Whether the body can be sent again: "none", "replayable" (several times at once), "rewindable" (one
            after the other) or "once".
        started: When the call began, in seconds of the shell's clock.
        deadline: When it must be over, on the same clock, or None.
        idempotent: Whether the user declared it safe to send again, whatever the method.
        credential: A digest of the credential that it carries, or an empty string.
        identity: A digest of all that its answer may depend on besides the URL, where a policy keeps answers.
        attempt: 1, and one more for every attempt before this one that failed or was late.
        anonymous: Whether the shell leaves out all that could be a credential.
        held: What a token store holds, where the call is to renew it.
        tenant: On whose behalf it is made, or an empty string.
        key: Its idempotency key, or an empty string.
        content: A digest of method and body, where a policy keeps a record of keys.
        secret_parameters: Names of the query parameters that hold a credential, where a policy keeps a record of keys.
    """

    method: str
    url: str
    body: Body = "none"
    started: float = 0.0
    deadline: float | None = None
    idempotent: bool = False
    credential: str = ""
    identity: str = ""
    attempt: int = 1
    anonymous: bool = False
    held: str = ""
    tenant: str = ""
    key: str = ""
    content: str = ""
    secret_parameters: frozenset[str] = frozenset()

    def __repr__(self) -> str:
        shown = (f"{name}={value!r}" for name, value in zip(self._fields, self, strict=True) if name != "held")
        return f"Call({', '.join(shown)})"

    def until(self, deadline: float) -> Call:
        """Return the call with another deadline; `_replace` takes several times as long."""
        return tuple.__new__(Call, (*self[:4], deadline, *self[5:]))

    @property
    def origin(self) -> str:
        """Scheme, host and port (RFC 6454), the default port left out: what state is keyed by."""
        return _origin_and_host(self.url)[0]

    @property
    def host(self) -> str:
        """Host and port, for messages."""
        return _origin_and_host(self.url)[1]


def origin(url: str) -> str:
    """Return scheme, host and port of a URL in lower case, without credentials and default port (RFC 6454)."""
    return _origin_and_host(url)[0]


def _origin_and_host(url: str) -> tuple[str, str]:
    end = url.find("/", url.find("://") + 3)
    return _parsed(url if end < 0 else url[:end])


@lru_cache(maxsize=1024)
def _parsed(prefix: str) -> tuple[str, str]:
    try:
        parts = urlsplit(prefix)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port = "", None
    if not host:
        scheme, slashes, rest = prefix.rpartition("://")
        rest = rest.rpartition("@")[2]  # what cannot be read may hold a credential all the same
        return scheme + slashes + rest, rest
    if ":" in host:
        host = f"[{host}]"
    if port is not None and port != _DEFAULT_PORTS.get(parts.scheme):
        host = f"{host}:{port}"
    return f"{parts.scheme}://{host}", host


class Outcome(NamedTuple):
    """What came of an attempt, or of the whole call.

    Attributes:
        response: The shell's own response object, or None; where there is no error either, the shell makes one of
            `status`, `headers` and `body`.
        status: Its status, or 0.
        headers: Its headers; names are looked up in lower case.
        error: The exception, or None.
        failure: What the exception means, or None.
        started: When the attempt began.
        now: When it was over.
        wall: Unix time at its end.
        note: Why the call ended like this, where a policy has something to say.
        body: Its body, where the shell has read it.
        quotas: What the server said about its quotas, where a policy has read it.
    """

    response: Any = None  # each shell has a response class of its own
    status: int = 0
    headers: Mapping[str, str] = _NO_HEADERS
    error: BaseException | None = None
    failure: Failure | None = None
    started: float = 0.0
    now: float = 0.0
    wall: float = 0.0
    note: str = ""
    body: bytes | None = None
    quotas: Sequence[Quota] = ()

    def with_quotas(self, quotas: Sequence[Quota]) -> Outcome:
        """Return the outcome with its quotas; `_replace` takes four times as long."""
        return Outcome(*self[:-1], quotas)


class Send(NamedTuple):
    """Effect: make one attempt at the call. Answer: its Outcome."""

    call: Call


class Sleep(NamedTuple):
    """Effect: wait between `low` and `high` seconds, drawn evenly. Answer: the seconds waited."""

    low: float
    high: float
    why: str


class Refused(NamedTuple):
    """A verdict that refuses, and says why.

    Attributes:
        why: The reason, for a person.
        retry_after: Seconds after which it may be worth asking again, or None where nobody knows.
        name: What to park under until then, or an empty string where waiting is of no use.
    """

    why: str
    retry_after: float | None = None
    name: str = ""


class Called(NamedTuple):
    """A verdict that lets those go on who are parked under these names."""

    names: Sequence[str]


class Changed(NamedTuple):
    """A verdict that tells of a change worth telling to people; the shell passes it on to the machine's listeners.

    Attributes:
        before: What it was.
        after: What it is.
        why: The reason.
        verdict: The verdict proper.
    """

    before: str
    after: str
    why: str
    verdict: Any = None


class Machine(Protocol):
    """State that outlives a call: a pure, total function over plain values.

    `transition` returns the new state and a verdict. The verdicts False and Refused refuse: then none of the events
    that were put to the store together with it leaves a trace.
    """

    @property
    def initial(self) -> Any:
        """State of a key that the store has not seen; a plain, picklable value."""

    def transition(self, state: Any, event: Any, now: float) -> tuple[Any, Any]:
        """Return the state after `event` at `now`, and the verdict for the flow that asked."""


class Event(NamedTuple):
    """One event for one machine; the store keeps a state per key."""

    machine: Machine
    key: str
    event: Any


class Decide(NamedTuple):
    """Effect: put events to their machines, all or nothing. Answer: the verdicts in the same order."""

    events: Sequence[Event]


class Admit(NamedTuple):
    """Effect: as Decide, and unless one refuses, what is granted is a lease that ends with Settle.

    The machines have a method `abandoned(verdict)` that returns the event for a lease whose call was broken off.
    """

    events: Sequence[Event]


class Settle(NamedTuple):
    """Effect: end the last lease. Answer: None.

    Attributes:
        events: What to put to the store, at once or when the body of the last answer is closed.
        broken: What to put to it instead where reading that body fails.
    """

    events: Sequence[Event]
    broken: Sequence[Event]


class Inform(NamedTuple):
    """Effect: put to the store what is a fact already, and must not be lost to the caller where the store fails.

    Answer: whether the store could.
    """

    events: Sequence[Event]


class Park(NamedTuple):
    """Effect: wait until the store calls the name, but not longer than `seconds`. Answer: the seconds waited."""

    name: str
    seconds: float
    why: str


class Race(NamedTuple):
    """Effect: run a flow that may yield Start and Next as well. Answer: its Outcome."""

    flow: Flow


class Start(NamedTuple):
    """Effect within a race: set off a flow beside this one. Answer: its number, from 0."""

    flow: Flow


class Next(NamedTuple):
    """Effect within a race: wait until one of its flows ends, no longer than `seconds` unless that is None.

    Answer: a tuple of its number and its Outcome, or None when the time is up, or nothing is left that could end.
    """

    seconds: float | None


Effect: TypeAlias = Union[Send, Sleep, Decide, Admit, Settle, Inform, Park, Race, Start, Next]  # noqa: UP007 - evaluated at import by Python 3.10 tools
Flow: TypeAlias = Generator[Effect, Any, Outcome]
Proceed: TypeAlias = Callable[[Call], Flow]


class Policy(Protocol):
    """An immutable value that knows the order of things for one concern."""

    def flow(self, call: Call, proceed: Proceed) -> Flow:
        """Yield what has to happen, and return how the call ended."""


def attempt(call: Call) -> Flow:
    """Send the call once: the innermost flow."""
    outcome: Outcome = yield Send(call)
    return outcome


def compose(policies: Sequence[Policy]) -> Proceed:
    """Nest policies, the first outermost, into one function that makes the flow of a call."""
    proceed: Proceed = attempt
    for policy in reversed(policies):
        proceed = _around(policy.flow, proceed)
    return proceed


def _around(flow: Callable[[Call, Proceed], Flow], proceed: Proceed) -> Proceed:
    return lambda call: flow(call, proceed)
