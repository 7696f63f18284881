"""The state of an operation that has an idempotency key, kept in a store across calls, threads and processes.

Theory of operation. The record of a key is begun before anything else is done, is marked before each sending, and gets
the end of each run. So it is true at any moment, also where the process is killed in between:

    event      not sent, moved  begun       sending     in doubt            done
    ---------  ---------------  ----------  ----------  ------------------  ------------------------
    Begin      begun: Run       KeyInUse    KeyInUse    begun: Run, if the  Stored, Duplicate, or
                                                        server knows keys,  begun: Run, as
                                                        else Doubtful       `on_duplicate` says
    Sending    sending          sending     sending     sending             refused
    Done       done             done        done        done                as before
    Doubt      as before        not sent    in doubt    in doubt            as before
    Unsent     as before        not sent    not sent    not sent            as before
    Moved      as before        moved       moved       moved               as before
    Resolve    refused          refused     refused     done, or not sent   refused
    ForgetKey  not sent         not sent    not sent    not sent            not sent

Time alone moves a record as well: at the end of its lease begun becomes not sent, and sending becomes in doubt; at the
end of its ttl done and moved become not sent.

Sending, Doubt, Unsent and Moved count from the holder of the last lease only, and Sending is refused to all others;
Done is true from any run. A run that began in doubt ends in doubt unless it ends in Done: if asking again led to
nothing, that says nothing of the first time. A record in doubt stays so until the user resolves it; time does not.

A key stands for one request of one caller. Begin with another method, URL or body is Different, and changes nothing. So
is, once there is a response, one in which anything else differs that may select it. Moved is for a redirect that has
the request repeated elsewhere (307, 308): then the same request may come with another URL.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

from polvo_adapters.core import validate
from polvo_adapters.core.identity import name_difference
from polvo_adapters.core.keywords import explain_arguments
from polvo_adapters.core.stored_types import stored_as

NEW, BEGUN, SENDING, DOUBT, DONE, MOVED = "not sent", "begun", "sending", "in doubt", "done", "moved"


@stored_as("recorded-response.1")
class RecordedResponse(NamedTuple):
    """A response in a record: its lasting headers, and its body, or None where that was too long or streamed."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes | None

    def __repr__(self) -> str:
        return f"<RecordedResponse {self.status}>"  # headers and body may be private


@stored_as("record.1", phase=(NEW, BEGUN, SENDING, DOUBT, DONE, MOVED))
class RecordState(NamedTuple):
    """State of one operation.

    Attributes:
        phase: One of the columns of the table.
        content: Digest of method and body, and a line with the digest of each thing that may select the response.
        urls: Digests of the URLs that it was sent to.
        since: When it entered the phase; while in doubt, when it was first sent.
        expires_at: When the phase ends by itself.
        lease: Number of the last lease.
        doubt: Since when it was in doubt when the run began, or None.
        response: The server's response, where it is done.
        moved: Whether the server redirected it while it was in doubt.
    """

    phase: str = NEW
    content: str = ""
    urls: tuple[str, ...] = ()
    since: float = 0.0
    expires_at: float = math.inf
    lease: int = 0
    doubt: float | None = None
    response: RecordedResponse | None = None
    moved: bool = False

    def is_pinned(self, now: float) -> bool:
        """Return whether the store must not drop it to make room: it is under way, or in doubt."""
        return _advance(self, now).phase in (BEGUN, SENDING, DOUBT)


class Begin(NamedTuple):
    """Event: a call with the key begins; `ask` says that the server knows keys, so that it can resolve doubt."""

    content: str
    url: str
    ask: bool


class Sending(NamedTuple):
    """Event: the request is about to leave."""

    lease: int
    content: str
    url: str


class Done(NamedTuple):
    """Event: the server has done the operation, with this response."""

    lease: int
    content: str
    url: str
    response: RecordedResponse


class Doubt(NamedTuple):
    """Event: the run is over, and the server may have done the operation."""

    lease: int


class Unsent(NamedTuple):
    """Event: the run is over, and the operation was certainly not done."""

    lease: int


class Moved(NamedTuple):
    """Event: the server redirects the request; `doubtful` where an attempt before may have been processed."""

    lease: int
    doubtful: bool = False


class Resolve(NamedTuple):
    """Event: the user has found out whether the operation was done."""

    done: bool


class ForgetKey(NamedTuple):
    """Event: the user discards the record, even one that cannot be read."""

    @property
    def forgets(self) -> bool:
        """Whether the state before need not be known."""
        return True


class LookAtKey(NamedTuple):
    """Event: the user looks at the record."""


class Run(NamedTuple):
    """Verdict: run the operation; `again` where it was in doubt."""

    lease: int
    again: bool


class KeyInUse(NamedTuple):
    """Verdict: another call uses the key, and has so many seconds left."""

    seconds_left: float


class Doubtful(NamedTuple):
    """Verdict: the operation may have been done, that many seconds ago."""

    seconds_ago: float


class Stored(NamedTuple):
    """Verdict: the operation was done, with this response."""

    response: RecordedResponse


class Duplicate(NamedTuple):
    """Verdict: the operation was done."""


class Different(NamedTuple):
    """Verdict: the key belongs to another request, which differs in these parts."""

    parts: str


RecordEvent: TypeAlias = "Begin | Sending | Done | Doubt | Unsent | Moved | Resolve | ForgetKey | LookAtKey"


@explain_arguments
@dataclass(frozen=True)
class Record:
    """Records of keys: for two workers with the same order, and for a process that was killed.

    Args:
        ttl: Seconds for which a finished operation is known; after that a call with its key is a new one.
        on_duplicate: What happens to a call with the key of a finished operation: "replay" returns the stored response,
            "raise" raises IdempotencyConflictError, "run" sends it again.
        lease: Seconds after each sending for which the caller counts as alive. An operation that it did not finish in
            that time is in doubt.
        max_body: Bytes of a response body that are kept; one that is longer cannot be replayed.
        harmless_headers: Names of headers that may differ from call to call of one operation, besides those that are
            known to select no response, such as tracing ids. A call with the same key and another such header is
            given the stored response; one in which anything else differs is refused.

    Raises:
        ValueError: A value is out of range.
    """

    ttl: float = 86_400.0
    on_duplicate: Literal["replay", "raise", "run"] = "replay"
    lease: float = 30.0
    max_body: int = 65_536
    harmless_headers: Collection[str] = ()

    durable = True
    """Whether a store that cannot keep the state must raise: without it a request may be sent twice."""

    def __post_init__(self) -> None:
        validate.number(self, "ttl", 0, above=True, infinite=True)
        validate.choice(self, "on_duplicate", ("replay", "raise", "run"))
        validate.number(self, "lease", 0, above=True)
        validate.count(self, "max_body", 0)
        object.__setattr__(self, "harmless_headers", validate.texts(self, "harmless_headers"))

    @property
    def initial(self) -> RecordState:
        """The record of a key that was never used."""
        return RecordState()

    def release_event(self, verdict: Any) -> Doubt | Unsent | LookAtKey:
        """Return the event for a run that was broken off: a request that was marked as sent is then in doubt."""
        return Doubt(verdict.lease) if type(verdict) is Run else LookAtKey()

    def transition(self, state: RecordState, event: RecordEvent, now: float) -> tuple[RecordState, Any]:
        """Begin, continue or end; see the tables of this module."""
        state = _advance(state, now)
        if type(event) is Begin:
            return self._begin(state, event, now)
        if type(event) is LookAtKey:
            return state, state
        if type(event) is ForgetKey:
            return RecordState(lease=state.lease), True
        if type(event) is Resolve:
            return self._resolve(state, event, now)
        if type(event) is Done:
            return self._finish(state, event, now), True
        if event.lease != state.lease or state.phase in (DONE, MOVED):  # type: ignore[union-attr]
            return state, type(event) is not Sending
        if type(event) is Sending:
            return self._mark_sending(state, event, now), True
        return self._end_run(state, event, now), True

    def _begin(self, state: RecordState, event: Begin, now: float) -> tuple[RecordState, Any]:
        phase = state.phase
        if phase == NEW:
            return self._run(state, event, (event.url,), now)
        is_known = event.url in state.urls or phase == MOVED or state.moved
        if not is_known or _operation_of(event.content) != _operation_of(state.content):
            return state, Different(_name_parts(state, event))
        if phase == DONE and event.content != state.content:  # what selects the response matters where there is one
            return state, Different(_name_parts(state, event))
        if phase == MOVED or (state.moved and event.ask):
            return self._run(state, event, tuple(dict.fromkeys((*state.urls, event.url))), now)
        if phase == DOUBT:
            return self._run(state, event, state.urls, now) if event.ask else (state, Doubtful(now - state.since))
        if phase != DONE:
            return state, KeyInUse(state.expires_at - now)
        if self.on_duplicate == "run":
            return self._run(state, event, state.urls, now)
        if self.on_duplicate == "raise" or state.response is None or state.response.body is None:
            return state, Duplicate()
        return state, Stored(state.response)

    def _run(self, state: RecordState, event: Begin, urls: tuple[str, ...], now: float) -> tuple[RecordState, Run]:
        number, doubt = state.lease + 1, state.since if state.phase == DOUBT else None
        begun = RecordState(BEGUN, event.content, urls, now, now + self.lease, number, doubt)
        return begun, Run(number, doubt is not None)

    def _finish(self, state: RecordState, event: Done, now: float) -> RecordState:
        if state.phase == DONE or (state.content and _operation_of(state.content) != _operation_of(event.content)):
            return state
        urls = state.urls or (event.url,)
        return RecordState(DONE, event.content, urls, now, now + self.ttl, state.lease, None, event.response)

    def _mark_sending(self, state: RecordState, event: Sending, now: float) -> RecordState:
        """Return the state before a request leaves; where its time was up, no other call has taken over meanwhile."""
        since = now if state.phase in (NEW, BEGUN) else state.since
        urls = state.urls or (event.url,)
        return RecordState(SENDING, event.content, urls, since, now + self.lease, state.lease, state.doubt)

    def _end_run(self, state: RecordState, event: Any, now: float) -> RecordState:
        """Return the state after a run that did not finish the operation."""
        if state.phase == NEW:
            return state
        if state.doubt is not None or (type(event) is Doubt and state.phase != BEGUN):
            return _put_in_doubt(state)._replace(moved=type(event) is Moved)
        if type(event) is Moved and event.doubtful and state.phase != BEGUN:
            return _put_in_doubt(state)._replace(moved=True)
        if type(event) is Moved:
            return state._replace(phase=MOVED, since=now, expires_at=now + self.ttl)
        return RecordState(lease=state.lease)

    def _resolve(self, state: RecordState, event: Resolve, now: float) -> tuple[RecordState, bool]:
        if state.phase != DOUBT:
            return state, False
        if not event.done:
            return RecordState(lease=state.lease), True
        return state._replace(phase=DONE, since=now, expires_at=now + self.ttl), True


def _operation_of(content: str) -> str:
    return content.partition("\n")[0]


def _name_parts(state: RecordState, event: Begin) -> str:
    """Return the names of the parts in which the request of an event differs from that of the record."""
    before, _, selected = state.content.partition("\n")
    now, _, selects = event.content.partition("\n")
    parts = ["method or body"] if before != now else []
    if selected != selects:
        parts.append(name_difference(selected, selects))
    if event.url not in state.urls:
        parts.append("URL")
    return ", ".join(parts)


def _put_in_doubt(state: RecordState) -> RecordState:
    since = state.since if state.doubt is None else state.doubt
    return state._replace(phase=DOUBT, since=since, expires_at=math.inf)


def _advance(state: RecordState, now: float) -> RecordState:
    """Return the state at a time, if nothing but time has changed it."""
    if now < state.expires_at:
        return state
    if state.phase == SENDING or (state.phase == BEGUN and state.doubt is not None):
        return _put_in_doubt(state)
    return RecordState(lease=state.lease)
