"""The outcome of an attempt or of a call, and what a failure means."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from polvo_adapters.core.trace import Mark

if TYPE_CHECKING:
    from polvo_adapters.core.verdict import Verdict
    from polvo_adapters.headers import Quota


_NO_HEADERS: Mapping[str, str] = {}


class Failure(NamedTuple):
    """The meaning of an exception to a policy.

    Attributes:
        name: For people and logs, the same in every shell.
        timeout: Whether the client stopped waiting.
        transient: Whether sending again may help at all.
    """

    name: str
    timeout: bool = False
    transient: bool = True


CONNECT = Failure("no connection")
CONNECT_TIMEOUT = Failure("connect timeout", timeout=True)
READ_TIMEOUT = Failure("read timeout", timeout=True)
DISCONNECTED = Failure("disconnected")
TRUNCATED = Failure("truncated body")
UNPROCESSED = Failure("refused unprocessed")
"""The server says that it has not processed the request, which any method may be repeated after."""
EXPIRED = Failure("deadline", timeout=True, transient=False)
PROXY_REFUSED = Failure("proxy refused", transient=False)
"""The proxy does not open a tunnel for this client; to ask again may lock its account."""

INTERRUPTED = Failure("interrupted", transient=False)
"""The caller's own code raised: the iterator of the body, or the handler of a signal."""

UNCLASSIFIED = Failure("refused", transient=False)
"""A bad URL, a bad certificate, or an unknown error."""

NOT_SENT = Failure("not sent", transient=False)
"""A policy did not let the request through."""

NO_STORE = Failure("store failed", transient=False)
"""A policy could not ask the store whether to let the request through."""

# A socket may give up a moment before its timeout, as its clock ticks in milliseconds.
_TICK = 0.01

FAILURES = frozenset(failure.name for failure in (CONNECT, CONNECT_TIMEOUT, READ_TIMEOUT, DISCONNECTED, TRUNCATED))
"""Names of the failures that a repeat may cure."""


def is_any(kinds: Iterable[type[BaseException] | str], failure: Failure, error: BaseException | None) -> bool:
    """Return whether a setting names a failure, by the name of the failure or by the class of its exception.

    It never names what the caller's own code raised, whose class may be any.
    """
    if failure is INTERRUPTED:
        return False
    return any(failure.name == kind if isinstance(kind, str) else isinstance(error, kind) for kind in kinds)


def at_deadline(failure: Failure, now: float, deadline: float | None) -> Failure:
    """Return EXPIRED for a transient failure once the deadline is over, and any other failure as it is.

    Where the deadline ends a wait, what comes out depends on the phase: a timeout, or a connection that is closed.
    """
    if deadline is not None and failure.transient and now >= deadline - _TICK:
        return EXPIRED
    return failure


def name_failure(failure: Failure, *, unsent: bool) -> Failure:
    """Return a failure of the transport under the name that fits what its trace proves."""
    return (_BEFORE_SENDING if unsent else _AFTER_SENDING).get(failure, failure)


_BEFORE_SENDING = {DISCONNECTED: CONNECT, READ_TIMEOUT: CONNECT_TIMEOUT, TRUNCATED: CONNECT}
_AFTER_SENDING = {CONNECT: DISCONNECTED, CONNECT_TIMEOUT: READ_TIMEOUT}


class Ending(NamedTuple):
    """The part of the library that ended a call otherwise than the server did, for the log.

    Attributes:
        part: Name of the part, which is that of its logger, such as "retry" or "breaker".
        reason: The reason for a person, or an empty string where it is the note of the outcome.
        retry_after: Seconds after which the call may succeed, where that is known.
    """

    part: str
    reason: str = ""
    retry_after: float | None = None


class Advice(NamedTuple):
    """What a retry object of the caller's says after an attempt: that there is to be another.

    Attributes:
        seconds: The wait before it.
        reason: The reason for a person, such as "503, Retry-After 2 s".
        sleep: Makes that wait itself, where the object has a way of its own; the seconds are then unknown, and 0.
    """

    seconds: float
    reason: str
    sleep: Callable[[], object] | None = None


class Outcome(NamedTuple):
    """How an attempt, or the whole call, ended.

    Attributes:
        response: The shell's own response object, or None; where there is no error either, the shell makes one of
            `status`, `headers` and `body`.
        status: Status of the response, or 0.
        headers: Headers of the response; names are looked up in lower case.
        error: The exception, or None.
        failure: What the exception means, or None.
        started: When the attempt began.
        now: When the attempt ended.
        wall: Unix time at its end.
        note: The reason why the call ended like this, where a policy gives one.
        body: Body of the response, where the shell has read it.
        unsent: Whether it is proved that no server can have seen the request; an exception never proves it.
        marks: The trace of the attempt, see `polvo_adapters.core.trace`, where its connection kept one.
        ending: Which part of the library ended the call, where one did.
        advice: What a retry object of the caller's says, where one was asked and wants another attempt.
        quotas: What the server said about its quotas, where a policy has read it.
        judged: The verdict on the answer, once a policy has asked for it; a list, so that all policies share it. None
            where no shell has made it; see `polvo_adapters.core.judgement`.
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
    unsent: bool = False
    marks: Sequence[Mark] = ()
    ending: Ending | None = None
    advice: Advice | None = None
    quotas: Sequence[Quota] = ()
    judged: list[Verdict] | None = None

    def __repr__(self) -> str:
        shown: dict[str, Any] = {**self._asdict(), "headers": sorted(self.headers)}  # a value may be a cookie
        del shown["judged"]
        shown["error"] = None if self.error is None else type(self.error)
        shown["body"] = None if self.body is None else len(self.body)
        return f"Outcome({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    def with_quotas(self, quotas: Sequence[Quota]) -> Outcome:
        """Return the outcome with its quotas, four times as fast as `_replace`."""
        return Outcome(*self[:-2], quotas, self.judged)
