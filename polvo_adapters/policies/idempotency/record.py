"""What a client knows of an operation that has an idempotency key, kept in a store across calls, threads and processes.

Theory of operation. The record of a key is begun before anything else is done, is marked before each sending, and is
told what came of it. So it is honest at any moment, also where the process is killed in between:

    event    not sent, moved  begun       sending     in doubt            done
    -------  ---------------  ----------  ----------  ------------------  ------------------------
    Begin    begun: Run       Busy        Busy        begun: Run, if the  Stored, Duplicate, or
                                                      server knows keys,  begun: Run, as
                                                      else Doubtful       `on_duplicate` says
    Sending  sending          sending     sending     sending             refused
    Done     done             done        done        done                as it was
    Doubt    as it was        not sent    in doubt    in doubt            as it was
    Unsent   as it was        not sent    not sent    not sent            as it was
    Moved    as it was        moved       moved       moved               as it was
    Resolve  refused          refused     refused     done, or not sent   refused
    Forget   not sent         not sent    not sent    not sent            not sent

    time     until           from            to
    -------  --------------  --------------  --------
             the lease ends  begun           not sent
             the lease ends  sending         in doubt
             the ttl ends    done, moved     not sent

Only the holder of the last lease is heard with Sending, Doubt, Unsent and Moved, and Sending is refused to all others;
Done is true whoever says it. Where a run was begun in doubt, it ends in doubt unless it ends in Done: that nothing came
of asking again says nothing of the first time. What is in doubt stays so until somebody resolves it; no time makes it
good.

A key stands for one request. Begin with another method, URL or body is Different, and changes nothing. Moved is for a
redirect that has the request repeated elsewhere (307, 308): then the same request may come with another URL.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

from polvo_adapters.core import validate
from polvo_adapters.core.stored_types import stored_as

NEW, BEGUN, SENDING, DOUBT, DONE, MOVED = "not sent", "begun", "sending", "in doubt", "done", "moved"
_DUPLICATES = ("replay", "raise", "run")


@stored_as("recorded-response.1")
class RecordedResponse(NamedTuple):
    """A response that was kept.

    Attributes:
        status: Its status.
        headers: Names and values; none that belongs to one exchange only, and no cookies.
        body: The whole body, or None where it was too long, or streamed.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes | None


@stored_as("record.1")
class RecordState(NamedTuple):
    """What is known of one operation.

    Attributes:
        phase: One of the columns of the table.
        content: Digest of method and body.
        urls: Digests of the URLs that it was sent to.
        since: When it entered the phase; while in doubt, when it was first sent.
        until: When that ends by itself.
        lease: Number of the last lease.
        doubt: Since when it was in doubt when the run began, or None.
        answer: What the server said, where it is done.
        moved: Whether the server wanted it elsewhere while it was in doubt.
    """

    phase: str = NEW
    content: str = ""
    urls: tuple[str, ...] = ()
    since: float = 0.0
    until: float = math.inf
    lease: int = 0
    doubt: float | None = None
    answer: RecordedResponse | None = None
    moved: bool = False

    def pinned(self, now: float) -> bool:
        """Tell whether it may not be forgotten to make room: it is under way, or in doubt."""
        return _aged(self, now).phase in (BEGUN, SENDING, DOUBT)


class Begin(NamedTuple):
    """A call with the key begins; `ask` says that the server knows keys, so that doubt can be resolved by asking."""

    content: str
    url: str
    ask: bool


class Sending(NamedTuple):
    """The request is about to leave."""

    lease: int
    content: str
    url: str


class Done(NamedTuple):
    """The server has done it, and said this."""

    lease: int
    content: str
    url: str
    answer: RecordedResponse


class Doubt(NamedTuple):
    """The request may have arrived, and nobody knows what came of it."""

    lease: int


class Unsent(NamedTuple):
    """The operation was certainly not done."""

    lease: int


class Moved(NamedTuple):
    """The server wants the request elsewhere; `doubtful` where an attempt before may have been processed."""

    lease: int
    doubtful: bool = False


class Resolve(NamedTuple):
    """A person has found out whether it was done."""

    done: bool


class ForgetKey(NamedTuple):
    """A person wants it forgotten, also where it cannot be read."""

    @property
    def forgets(self) -> bool:
        """Whether the state before need not be known."""
        return True


class LookAtKey(NamedTuple):
    """Somebody wants to know how it stands."""


class Run(NamedTuple):
    """Verdict: go on; `again` where it was in doubt."""

    lease: int
    again: bool


class KeyInUse(NamedTuple):
    """Verdict: somebody else is at it, who has so many seconds left."""

    seconds: float


class Doubtful(NamedTuple):
    """Verdict: it may have been done, that many seconds ago."""

    seconds: float


class Stored(NamedTuple):
    """Verdict: it was done, and this was the answer."""

    answer: RecordedResponse


class Duplicate(NamedTuple):
    """Verdict: it was done."""


class Different(NamedTuple):
    """Verdict: the key belongs to another request."""


RecordEvent: TypeAlias = "Begin | Sending | Done | Doubt | Unsent | Moved | Resolve | ForgetKey | LookAtKey"


@dataclass(frozen=True)
class Record:
    """Remember what became of each key: for two workers with one order, and for a process that was killed.

    Args:
        ttl: Seconds for which a finished operation is known; after that a call with its key is a new one.
        on_duplicate: What a call with the key of a finished operation gets: "replay" the stored response, "raise"
            IdempotencyConflictError, or "run" sends it again.
        lease: Seconds after each sending for which the caller is believed to be alive. After that, what it did not
            finish is in doubt.
        max_body: Bytes of a response body that are kept; one that is longer cannot be replayed.

    Raises:
        ValueError: A value is out of range.
    """

    ttl: float = 86_400.0
    on_duplicate: Literal["replay", "raise", "run"] = "replay"
    lease: float = 30.0
    max_body: int = 65_536

    durable = True
    """A store that cannot keep this, or has lost it, must not decide: a request may be sent twice."""

    def __post_init__(self) -> None:
        validate.number(self, "ttl", 0, above=True, infinite=True)
        validate.choice(self, "on_duplicate", _DUPLICATES)
        validate.number(self, "lease", 0, above=True)
        validate.count(self, "max_body", 0)

    @property
    def initial(self) -> RecordState:
        """Nothing known."""
        return RecordState()

    def release_event(self, verdict: Any) -> Doubt | Unsent | LookAtKey:
        """Return the event for a run that was broken off: what was marked as sent is then in doubt."""
        return Doubt(verdict.lease) if type(verdict) is Run else LookAtKey()

    def transition(self, state: RecordState, event: RecordEvent, now: float) -> tuple[RecordState, Any]:
        """Begin, go on, or end; see the tables of this module."""
        state = _aged(state, now)
        if type(event) is Begin:
            return self._begin(state, event, now)
        if type(event) is LookAtKey:
            return state, state
        if type(event) is ForgetKey:
            return RecordState(lease=state.lease), True
        if type(event) is Resolve:
            return self._resolve(state, event, now)
        if type(event) is Done:
            return self._done(state, event, now), True
        if event.lease != state.lease or state.phase in (DONE, MOVED):  # type: ignore[union-attr]
            return state, type(event) is not Sending
        if type(event) is Sending:
            return self._sending(state, event, now), True
        return self._over(state, event, now), True

    def _begin(self, state: RecordState, event: Begin, now: float) -> tuple[RecordState, Any]:
        phase = state.phase
        if phase == NEW:
            return self._run(state, event, (event.url,), now)
        if event.content != state.content or not (event.url in state.urls or phase == MOVED or state.moved):
            return state, Different()
        if phase == MOVED or (state.moved and event.ask):
            return self._run(state, event, tuple(dict.fromkeys((*state.urls, event.url))), now)
        if phase == DOUBT:
            return self._run(state, event, state.urls, now) if event.ask else (state, Doubtful(now - state.since))
        if phase != DONE:
            return state, KeyInUse(state.until - now)
        if self.on_duplicate == "run":
            return self._run(state, event, state.urls, now)
        if self.on_duplicate == "raise" or state.answer is None or state.answer.body is None:
            return state, Duplicate()
        return state, Stored(state.answer)

    def _run(self, state: RecordState, event: Begin, urls: tuple[str, ...], now: float) -> tuple[RecordState, Run]:
        number, doubt = state.lease + 1, state.since if state.phase == DOUBT else None
        begun = RecordState(BEGUN, event.content, urls, now, now + self.lease, number, doubt)
        return begun, Run(number, doubt is not None)

    def _done(self, state: RecordState, event: Done, now: float) -> RecordState:
        if state.phase == DONE or (state.content and state.content != event.content):
            return state
        urls = state.urls or (event.url,)
        return RecordState(DONE, event.content, urls, now, now + self.ttl, state.lease, None, event.answer)

    def _sending(self, state: RecordState, event: Sending, now: float) -> RecordState:
        """Return the state before a request leaves; where its time was up, nobody has taken over meanwhile."""
        since = now if state.phase in (NEW, BEGUN) else state.since
        urls = state.urls or (event.url,)
        return RecordState(SENDING, event.content, urls, since, now + self.lease, state.lease, state.doubt)

    def _over(self, state: RecordState, event: Any, now: float) -> RecordState:
        """Return the state after a run that did not finish the operation."""
        if state.phase == NEW:
            return state
        if state.doubt is not None or (type(event) is Doubt and state.phase != BEGUN):
            return _in_doubt(state)._replace(moved=type(event) is Moved)
        if type(event) is Moved and event.doubtful and state.phase != BEGUN:
            return _in_doubt(state)._replace(moved=True)
        if type(event) is Moved:
            return state._replace(phase=MOVED, since=now, until=now + self.ttl)
        return RecordState(lease=state.lease)

    def _resolve(self, state: RecordState, event: Resolve, now: float) -> tuple[RecordState, bool]:
        if state.phase != DOUBT:
            return state, False
        if not event.done:
            return RecordState(lease=state.lease), True
        return state._replace(phase=DONE, since=now, until=now + self.ttl), True


def _in_doubt(state: RecordState) -> RecordState:
    since = state.since if state.doubt is None else state.doubt
    return state._replace(phase=DOUBT, since=since, until=math.inf)


def _aged(state: RecordState, now: float) -> RecordState:
    """Return the state as time alone has left it."""
    if now < state.until:
        return state
    if state.phase == SENDING or (state.phase == BEGUN and state.doubt is not None):
        return _in_doubt(state)
    return RecordState(lease=state.lease)
