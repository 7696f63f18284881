"""What logs and listeners are told before a wait, or another attempt, begins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from polvo_adapters.core.calls import Call


class Retrying(NamedTuple):
    """A retry that is about to be made; the listeners of a retry policy are called with it before the wait begins.

    Attributes:
        method: Method of the request.
        host: Host and port, without path, query and credentials.
        attempt: Number of the attempt that follows the wait; 2 for the first retry.
        max_attempts: Largest number of attempts, or 0 where a retry object of the caller's decides.
        seconds: Duration of the wait.
        reason: The reason, such as "503, Retry-After 2 s" or "read timeout".
        status: Status of the attempt before, or 0 where it had no response.
        failure: Name of its failure, or an empty string where it had a response.
        request_id: The request id, where a policy gives calls one, or an empty string.
        tenant: Name of the tenant that the call is made for, or an empty string.
        labels: Names and values that the caller gave the call.
    """

    method: str
    host: str
    attempt: int
    max_attempts: int
    seconds: float
    reason: str
    status: int = 0
    failure: str = ""
    request_id: str = ""
    tenant: str = ""
    labels: tuple[tuple[str, str], ...] = ()

    @property
    def what(self) -> str:
        """What is retried, for messages."""
        return f"retries of {self.method} {self.host}"

    def __str__(self) -> str:
        place = name_attempt(self.attempt, self.max_attempts)
        return f"{self.method} {self.host}: {self.reason}; {place} in {self.seconds:.3f} s"


def name_attempt(number: int, most: int) -> str:
    """Return the name of an attempt, with the largest number of them where that is known."""
    return f"attempt {number} of {most}" if most else f"attempt {number}"


class CallEvent(NamedTuple):
    """What is decided about a call, or happens to it: what the `listeners` of adapters and of single calls get.

    There is one for each line that the log has about the call, whether or not the log is heard; see docs/logging.md.

    Attributes:
        event: "attempt", "retry", "wait", "hedge", "refused", "deadline", "gave_up", "answered", "circuit",
            "state_change" or "store_failure".
        part: Name of the part of the library that decided it, such as "retry" or "bulkhead".
        method: Method of the request.
        host: Host and port, without path, query and credentials; of an attempt in another region, that of the region.
        tenant: Name of the tenant that the call is made for, or an empty string.
        request_id: The request id, where a policy gives calls one, or an empty string.
        labels: Names and values that the caller gave the call.
        attempt: Number of the attempt, or of the one that follows; at the end, how many there were.
        max_attempts: Largest number of attempts, or 0.
        status: Status of the response, or 0.
        failure: Name of the failure, or an empty string.
        seconds: Duration of the attempt, of the wait that begins, or at the end that of the call.
        retry_after: Seconds after which a refused call may succeed, where that is known.
        reason: The reason, for a person.
        subject: Name of the state that has changed or could not be asked, or an empty string.
        before: Its state before, or an empty string.
        after: Its state after, or an empty string.
    """

    event: str
    part: str
    method: str
    host: str
    tenant: str = ""
    request_id: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    attempt: int = 0
    max_attempts: int = 0
    status: int = 0
    failure: str = ""
    seconds: float | None = None
    retry_after: float | None = None
    reason: str = ""
    subject: str = ""
    before: str = ""
    after: str = ""

    @property
    def what(self) -> str:
        """What the event is about, for messages."""
        return f"the {self.event} of {self.method} {self.host}"


class LogListener:
    """The base of listeners that write the log of their calls themselves, so that the library's own does not.

    A client with a logger of its own would otherwise log every retry twice.
    """

    def __call__(self, event: CallEvent) -> None:
        """Hear of something that was decided about a call."""
        raise NotImplementedError


class Notice(NamedTuple):
    """What a policy says of a wait, or of another attempt, besides its reason.

    Attributes:
        part: Name of the part of the library, which is that of its logger, such as "retry" or "ratelimit".
        call: The call that waits.
        attempt: Number of the attempt that follows, where it is a repeat, or 0.
        max_attempts: Largest number of attempts, or 0.
        status: Status of the attempt before, or 0.
        failure: Name of its failure, or an empty string.
        at_most: Longest duration of the whole wait in seconds, where it may end sooner or has several parts.
        waited: Seconds for which the same wait has lasted already, in earlier parts of it.
        listeners: Functions that are called with a Retrying.
    """

    part: str
    call: Call
    attempt: int = 0
    max_attempts: int = 0
    status: int = 0
    failure: str = ""
    at_most: float | None = None
    waited: float = 0.0
    listeners: Sequence[Callable[[Retrying], object]] = ()

    def retrying(self, seconds: float, reason: str) -> Retrying:
        """Return what the listeners are called with."""
        call = self.call
        return Retrying(
            call.method,
            call.host,
            self.attempt,
            self.max_attempts,
            seconds,
            reason,
            self.status,
            self.failure,
            call.request_id,
            call.tenant,
            call.labels,
        )
