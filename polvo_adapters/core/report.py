"""The report of a call, as values.

A driver appends an `Attempt`, a `Wait`, a `StateChange` or a `StoreFailure` for everything that it performs, in order,
and a shell a `BodyBreak` where a body breaks off; a `Report` reads that list only when it is looked at. Values hold no
URL, header, body or exception text, so that they can be printed, logged and pickled without showing a secret.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, Union

from polvo_adapters.core.outcomes import UNPROCESSED, Outcome
from polvo_adapters.core.trace import Mark, Phase, phases_of
from polvo_adapters.core.tuples import new_tuple

if TYPE_CHECKING:
    from polvo_adapters.core.verdict import Verdict
    from polvo_adapters.headers import Quota

RATE_LIMIT = "rate limit"
"""Beginning of the reason of a wait in the queue of a rate limit."""
BULKHEAD = "bulkhead"
"""Beginning of the reason of a wait in the queue of a bulkhead."""
CANCELLED = "cancelled"
"""Failure of an attempt that lost its race."""


class Attempt(NamedTuple):
    """One sending of the request.

    Attributes:
        status: Status of the response, or 0 where there was none.
        failure: Name of the failure, such as "read timeout", or an empty string.
        seconds: Duration, with that of the body where it was read.
        sent: Whether a server may have seen the request; False only where the contrary is proved.
        marks: The trace of the attempt, where its connection kept one.
    """

    status: int
    failure: str
    seconds: float
    sent: bool = True
    marks: Sequence[Mark] = ()

    @property
    def phases(self) -> list[Phase]:
        """The phases of the attempt and their seconds, where its connection kept a trace."""
        return phases_of(self.marks)

    def __str__(self) -> str:
        text = f"{self.failure or self.status} after {self.seconds:.3f} s"
        if self.failure and not self.sent and self.failure != UNPROCESSED.name:
            text += ", nothing was sent"
        return f"{text} ({', '.join(map(str, self.phases))})" if self.marks else text


def record_attempt(outcome: Outcome) -> Attempt:
    """Return the entry of an attempt, which holds neither response nor exception."""
    _, status, _, _, failure, started, now, _, _, _, unsent, marks, *_ = outcome  # faster than by name
    if failure is None:
        return new_tuple(Attempt, (status, "", now - started, True, marks))
    return Attempt(status, failure.name, now - started, not unsent, marks)


def record_cancelled(seconds: float) -> Attempt:
    """Return the entry of an attempt that lost its race."""
    return Attempt(0, CANCELLED, seconds)


class Wait(NamedTuple):
    """A pause that a policy asked for.

    Attributes:
        seconds: Actual duration.
        reason: The reason, such as "503, Retry-After 2 s".
    """

    seconds: float
    reason: str

    def __str__(self) -> str:
        return f"waited {self.seconds:.3f} s ({self.reason})"


class StateChange(NamedTuple):
    """A change of shared state by the call, such as a circuit that opened.

    Attributes:
        what: Name of what has changed, such as "circuit https://api.example.com".
        before: State before, such as "closed".
        after: State after, such as "open".
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


class StoreFailure(NamedTuple):
    """A failure of the store, without which the call went on, or ended.

    Attributes:
        what: Name of the state that was to be asked or changed, such as "retry budget https://api.example.com".
        reason: The class of the error, or the reason that it names, such as "store busy".
    """

    what: str
    reason: str

    @property
    def seconds(self) -> float:
        """The time is not counted here; it is in `Report.elapsed`."""
        return 0.0

    def __str__(self) -> str:
        return f"{self.what}: the store failed ({self.reason})"


class BodyBreak(NamedTuple):
    """A body that broke off while the caller read it; the attempts behind it ask for its rest.

    Attributes:
        received: How many bytes of it had come, as they were encoded.
        failure: Name of the failure, such as "truncated body".
    """

    received: int
    failure: str

    @property
    def seconds(self) -> float:
        """A break takes no time."""
        return 0.0

    def __str__(self) -> str:
        return f"the body broke off after {self.received} bytes ({self.failure})"


Entry: TypeAlias = Union[Attempt, Wait, StateChange, StoreFailure, BodyBreak]  # noqa: UP007 - evaluated at import by Python 3.10 tools


class Report:
    """What was performed for one call; `polvo` of a response, and of an exception that came from below.

    Args:
        method: HTTP method.
        host: Host and port, without path or query.
        entries: Everything that was performed, in order.
        note: The reason of the end of the call, or an empty string.
        quotas: What the server said about its quotas, where a rate limit has read it.
        elapsed: Seconds of the whole call; by default the sum of attempts and pauses.

    Attributes:
        elapsed: Seconds of the whole call.
        token: Generation of the token of the last attempt, where an auth object refreshes it, or 0.
        replayed: Whether the response repeats that to an earlier request with the same idempotency key.
        request_id: The request id, where a policy gives calls one, or an empty string.
    """

    __slots__ = (
        "_labels",
        "_verdict",
        "elapsed",
        "entries",
        "host",
        "method",
        "note",
        "quotas",
        "replayed",
        "request_id",
        "token",
    )

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

    @property
    def labels(self) -> tuple[tuple[str, str], ...]:
        """Names and values that the caller gave the call by `polvo_adapters.call`, as pairs."""
        labels: tuple[tuple[str, str], ...] = getattr(
            self, "_labels", ()
        )  # most reports, and those of before, have none
        return labels

    @labels.setter
    def labels(self, labels: tuple[tuple[str, str], ...]) -> None:
        self._labels = labels

    @property
    def verdict(self) -> Verdict | None:
        """What the answer is, see `polvo_adapters.core.verdict`; None where it says nothing, or no policy asked."""
        return getattr(self, "_verdict", None)

    @verdict.setter
    def verdict(self, verdict: Verdict) -> None:
        self._verdict = verdict

    def prepend(self, entries: Sequence[Entry], seconds: float) -> None:
        """Add what was performed before the entries of the report.

        Args:
            entries: What was performed.
            seconds: Duration of it.
        """
        self.entries = [*entries, *self.entries]
        self.elapsed += seconds

    @property
    def attempts(self) -> list[Attempt]:
        """The attempts, first to last."""
        return [entry for entry in self.entries if isinstance(entry, Attempt)]

    @property
    def sent(self) -> bool:
        """Whether a server may have seen the request; False only where the contrary is proved."""
        return any(attempt.sent for attempt in self.attempts)

    @property
    def waits(self) -> list[Wait]:
        """The pauses between them."""
        return [entry for entry in self.entries if isinstance(entry, Wait)]

    @property
    def changes(self) -> list[StateChange]:
        """The changes of shared state, such as a circuit that the call opened."""
        return [entry for entry in self.entries if isinstance(entry, StateChange)]

    @property
    def store_failures(self) -> list[StoreFailure]:
        """The failures of the store, which neither hid nor replaced what the server answered."""
        return [entry for entry in self.entries if isinstance(entry, StoreFailure)]

    @property
    def breaks(self) -> list[BodyBreak]:
        """Where the body broke off while it was read; see `polvo_adapters.policies.resume`."""
        return [entry for entry in self.entries if isinstance(entry, BodyBreak)]

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
        """Return one line: attempts, duration, the part of it that was waiting, and the note."""
        count = len(self.attempts)
        text = f"{count} attempt{'' if count == 1 else 's'} in {self.elapsed:.3f} s"
        if self.waited:
            text += f", {self.waited:.3f} s of it waiting"
        if self.replayed:
            text += ", a replayed response"
        return f"{text}; {self.note}" if self.note else text
