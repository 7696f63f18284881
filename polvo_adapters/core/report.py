"""What happened to a call, as values.

A driver appends an `Attempt`, a `Wait` or a `Change` for everything that it performs, in order; a `Report` reads that
list only when somebody looks. Values hold no URL, header, body or exception text, so that they can be printed, logged
and pickled without telling a secret.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, Union

from polvo_adapters.core.outcomes import Outcome

if TYPE_CHECKING:
    from polvo_adapters.headers import Quota

RATE_LIMIT = "rate limit"
"""How the reason of a wait in the queue of a rate limit begins."""
BULKHEAD = "bulkhead"
"""How the reason of a wait in the queue of a bulkhead begins."""


CANCELLED = "cancelled"
"""Failure of an attempt that lost its race."""


class Attempt(NamedTuple):
    """One sending of the request.

    Attributes:
        status: Status of the answer, or 0 where there was none.
        failure: What went wrong instead, such as "read timeout", or an empty string.
        seconds: How long it took, body included where it was read.
    """

    status: int
    failure: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.failure or self.status} after {self.seconds:.3f} s"


def attempted(outcome: Outcome) -> Attempt:
    """Return what is worth keeping of an attempt: no response, no exception."""
    failure = outcome.failure
    return Attempt(outcome.status, "" if failure is None else failure.name, outcome.now - outcome.started)


def cancelled(seconds: float) -> Attempt:
    """Return what is worth keeping of one that lost its race."""
    return Attempt(0, CANCELLED, seconds)


class Wait(NamedTuple):
    """A pause that a policy asked for.

    Attributes:
        seconds: How long it really was.
        reason: The reason, such as "503, Retry-After 2 s".
    """

    seconds: float
    reason: str

    def __str__(self) -> str:
        return f"waited {self.seconds:.3f} s ({self.reason})"


class StateChange(NamedTuple):
    """A change that the call brought about in what is shared, such as a circuit that opened.

    Attributes:
        what: What has changed, such as "circuit https://api.example.com".
        before: What it was, such as "closed".
        after: What it is, such as "open".
        reason: The reason, such as "5 failures in a row".
    """

    what: str
    before: str
    after: str
    reason: str

    @property
    def seconds(self) -> float:
        """A change takes no time."""
        return 0.0

    def __str__(self) -> str:
        return f"{self.what}: {self.before} → {self.after} ({self.reason})"


Entry: TypeAlias = Union[Attempt, Wait, StateChange]  # noqa: UP007 - evaluated at import by Python 3.10 tools


class Report:
    """What was done for one call; `response.polvo`, and `polvo` of an exception that came from below.

    Args:
        method: HTTP method.
        host: Host and port, without path or query.
        entries: Everything that was performed, in order.
        note: Why the call ended as it did, or an empty string.
        quotas: What the server said about its quotas, where a rate limit has read it.
        elapsed: Seconds of the whole call; where it is not given, those of attempts and pauses, one after the other.

    Attributes:
        elapsed: Seconds of the whole call.
        token: Which generation of its token the call carried at last, where an auth object refreshes it; else 0.
        replayed: Whether the answer was given before, to an earlier request with the same idempotency key.
        request_id: The id that the call carried, where a policy gives calls one; else an empty string.
    """

    __slots__ = ("elapsed", "entries", "host", "method", "note", "quotas", "replayed", "request_id", "token")

    def __init__(
        self,
        method: str,
        host: str,
        entries: Sequence[Entry],
        note: str = "",
        quotas: Sequence[Quota] = (),
        elapsed: float | None = None,
    ) -> None:
        self.method = method
        self.host = host
        self.entries = entries
        self.note = note
        self.quotas = quotas
        self.elapsed = sum(entry.seconds for entry in entries) if elapsed is None else elapsed
        self.token = 0
        self.replayed = False
        self.request_id = ""

    def preceded_by(self, entries: Sequence[Entry], seconds: float) -> None:
        """Have it tell as well of what was done for the call before.

        Args:
            entries: What was performed then.
            seconds: How long that took.
        """
        self.entries = [*entries, *self.entries]
        self.elapsed += seconds

    @property
    def attempts(self) -> list[Attempt]:
        """The attempts, first to last."""
        return [entry for entry in self.entries if isinstance(entry, Attempt)]

    @property
    def waits(self) -> list[Wait]:
        """The pauses between them."""
        return [entry for entry in self.entries if isinstance(entry, Wait)]

    @property
    def changes(self) -> list[StateChange]:
        """What the call changed for others, such as a circuit that it opened."""
        return [entry for entry in self.entries if isinstance(entry, StateChange)]

    @property
    def waited(self) -> float:
        """Seconds spent in pauses."""
        return sum(wait.seconds for wait in self.waits)

    @property
    def queued(self) -> float:
        """Seconds of these spent in the queue of a rate limit or of a bulkhead."""
        return sum(wait.seconds for wait in self.waits if wait.reason.startswith((RATE_LIMIT, BULKHEAD)))

    def __str__(self) -> str:
        lines = [f"{self.method} {self.host}: {self.summary()}"]
        lines += [f"  {entry}" for entry in self.entries]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<Report {self.method} {self.host}: {self.summary()}>"

    def summary(self) -> str:
        """One line: how many attempts, how long, how much of it waiting, and the note."""
        count = len(self.attempts)
        text = f"{count} attempt{'' if count == 1 else 's'} in {self.elapsed:.3f} s"
        if self.waited:
            text += f", {self.waited:.3f} s of it waiting"
        if self.replayed:
            text += ", a replayed answer"
        return f"{text}; {self.note}" if self.note else text
