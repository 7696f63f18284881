"""One refresh of a token at a time, whoever needs it: threads, tasks, or processes that share a store.

Theory of operation. A store keeps the life of each token, and everybody who wants the token asks it:

    life         asked                          asked ahead of time        refused by the API
    -----------  -----------------------------  -------------------------  ------------------------------
    none         refresh (one), wait (the rest)   as asked                   as asked
    fresh        use                            use                        expired, unless it is a later one
    stale        use                            refresh (one), use (rest)    expired, unless it is a later one
    expired      refresh (one), wait (the rest)   as asked                   as asked
    failed       use while it lasts, then no token until the pause is over
    overdue      use (expired, refresh failed and is not hopeless, and the machine's grace is not over)

The right to refresh is a lease. It ends when its holder says what came of it, or is broken off; when somebody logs in
or out; and by itself, should the holder have died. A token that comes after the end of its lease is not lost, unless
there is a later one. Who waits asks again, as the store may be a file that can call nobody.

**Generations** count the tokens there were. A request remembers the one that it carried, so that a token refused by the
API is refreshed once, and not once by each request that it was refused for. Whoever refuses again and again is not
believed each time: a third refresh in a row has to wait, longer each time.

**The store may forget** (a file was deleted, a disk is gone, a state cannot be read). Whoever asks therefore says what
they know themselves, and what was issued last counts: a refresh token that was replaced by its successor is not shown
to the server again while anybody remembers the successor.

What the store keeps is sealed: the machine moves it about, and cannot read it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from polvo_adapters.core import validate
from polvo_adapters.core.machines import Changed
from polvo_adapters.core.stored_types import stored_as

if TYPE_CHECKING:
    from polvo_adapters.core.report import StateChange

NOT_REFRESHED = "not refreshed"
"""What a Change says of a token that could not be refreshed."""
OVERDUE = "in use past its time"
"""What it says where the token is used all the same."""

_BELIEVED = 2  # refreshes in a row that a refusal is reason enough for
_TRUSTED = 60.0  # seconds after which a token was good, whatever is said of it now
_LONGEST_PAUSE = 30.0
_LONGEST_RETRY_AFTER = 300.0
_ASK_AGAIN = 1.0  # seconds for which a stale token is used before asking whether somebody has refreshed it


def shown(value: Any) -> str:
    """Return what a value looks like to people: all but the token, which a store in memory need not have sealed."""
    fields = zip(value._fields, value, strict=True)
    return f"{type(value).__name__}({', '.join(f'{name}={each!r}' for name, each in fields if name != 'token')})"


class KnownToken(NamedTuple):
    """A token that somebody has, whatever the store says.

    Attributes:
        token: Sealed.
        generation: Which one it is.
        age: Seconds since it was issued.
        fresh: Seconds until it is to be refreshed.
        left: Seconds until it expires.
    """

    token: str
    generation: int
    age: float
    fresh: float
    left: float

    def __repr__(self) -> str:
        return shown(self)

    def after(self, seconds: float) -> KnownToken:
        """Return what it is when so many seconds have passed."""
        return self._replace(age=self.age + seconds, fresh=self.fresh - seconds, left=self.left - seconds)


class WantToken(NamedTuple):
    """Somebody wants a token.

    Attributes:
        known: What they have, or None.
        refused: Generation that the API has refused, or 0.
        refresh: What they are ready to refresh: a token that has "expired", one that is "stale", or "nothing".
        anew: Whether they do not mind that the last refresh failed a moment ago: they may have other credentials.
    """

    known: KnownToken | None = None
    refused: int = 0
    refresh: Literal["expired", "stale", "nothing"] = "expired"
    anew: bool = False


class TokenRefreshed(NamedTuple):
    """There is a new token.

    Attributes:
        token: Sealed.
        lifetime: Seconds for which it was valid when it was issued, or None where nobody knows.
        age: Seconds that have passed since it was asked for.
        lease: The right that it was asked for under, or 0 for a token that comes from elsewhere, such as a login.
    """

    token: str
    lifetime: float | None
    age: float = 0.0
    lease: int = 0

    def __repr__(self) -> str:
        return shown(self)


class RefreshFailed(NamedTuple):
    """There is none.

    Attributes:
        lease: The right that it was asked for under.
        reason: The reason.
        retry_after: Seconds that the server asked to wait, or None.
        final: Whether asking again in the same way is of no use.
    """

    lease: int
    reason: str
    retry_after: float | None = None
    final: bool = False


class ReleaseRight(NamedTuple):
    """Somebody no longer refreshes it."""

    lease: int


class ClearToken(NamedTuple):
    """Nobody is to use it any more, nor what comes of a refresh that is under way.

    Attributes:
        token: Only if it is this one, sealed; None for whatever there is.
    """

    token: str | None = None

    def __repr__(self) -> str:
        return shown(self)


class LookAtToken(NamedTuple):
    """Somebody only looks; answered with the life."""


class RefreshRight(NamedTuple):
    """Verdict: refresh it.

    Attributes:
        token: What there is, sealed, or an empty string.
        lease: Number of the right to do so.
    """

    token: str
    lease: int

    def __repr__(self) -> str:
        return shown(self)


class WaitForRefresh(NamedTuple):
    """Verdict: somebody else is refreshing it."""


class NoToken(NamedTuple):
    """Verdict: there is none.

    Attributes:
        reason: The reason.
        retry_after: Seconds after which it is tried again.
        final: Whether that is of no use without a new login.
    """

    reason: str
    retry_after: float
    final: bool


@stored_as("token.1")
class LifecycleState(NamedTuple):
    """State of a token.

    Attributes:
        token: Sealed, or an empty string.
        generation: How many there were.
        issued: When it was asked for.
        stale: When it is to be refreshed.
        expires: When it must not be used any more.
        lease: Number of the last right to refresh.
        until: When that right ends, unless it has ended.
        failures: Refreshes that failed, one after the other.
        pause: When it may be tried again.
        reason: The reason of the last failure.
        final: Whether nobody believes in trying again.
        refusals: Refreshes in a row that the API was the reason for.
        under: Number of the right that the token was obtained under; what comes of it or an earlier one is too late.
    """

    token: str = ""
    generation: int = 0
    issued: float = -math.inf
    stale: float = -math.inf
    expires: float = -math.inf
    lease: int = 0
    until: float = -math.inf
    failures: int = 0
    pause: float = -math.inf
    reason: str = ""
    final: bool = False
    refusals: int = 0
    under: int = 0

    def __repr__(self) -> str:
        return shown(self)

    def after_fork(self) -> LifecycleState:
        """Return what it is in a child: it is the parent who refreshes."""
        return self._replace(until=-math.inf)


Question: TypeAlias = "WantToken | TokenRefreshed | RefreshFailed | ReleaseRight | ClearToken | LookAtToken"


@dataclass(frozen=True)
class Lifecycle:
    """The machine of a token's life.

    Args:
        refresh_before: Seconds before its end at which a token is stale; never more than a quarter of its lifetime.
        lease: Seconds for which the right to refresh is granted.
        listeners: Called with each Change.
        grace: Seconds after its end for which a token is used where refresh has failed, and may succeed later. A
            token that the server has set an end to gets none; a secret that is merely due for another look may.

    Raises:
        ValueError: A value is out of range.
    """

    refresh_before: float = 60.0
    lease: float = 31.0
    listeners: tuple[Callable[[StateChange], object], ...] = field(default=(), compare=False)
    grace: float = 0.0

    initial = LifecycleState()

    def __setstate__(self, state: dict[str, Any]) -> None:
        before = state.pop("renew_before", None)  # its name in pickles of before
        vars(self).update(state if before is None else {**state, "refresh_before": before})

    def __post_init__(self) -> None:
        validate.number(self, "refresh_before", 0)
        validate.number(self, "lease", 0, above=True)
        validate.number(self, "grace", 0)

    def transition(self, state: LifecycleState, event: Question, now: float) -> tuple[LifecycleState, Any]:
        """Return the life after `event` at `now`, and the verdict."""
        return _MOVES[type(event)](self, state, event, now)

    def release_event(self, verdict: Any) -> ReleaseRight | LookAtToken:
        """Return what to put to the store for a call that was broken off."""
        return ReleaseRight(verdict.lease) if type(verdict) is RefreshRight else LookAtToken()


def _want(life: Lifecycle, state: LifecycleState, event: WantToken, now: float) -> tuple[LifecycleState, Any]:
    known = event.known
    if known is not None and _forgotten(state, known, now):
        state = _reminded(state, known, now)
    if event.refused and event.refused == state.generation and state.expires > now:
        state = _refused(state, now)
    ends = _ends(life, state)
    usable = now < ends
    if usable and not (event.refresh == "stale" and now >= state.stale):
        return state, _known(state, ends, now)
    if event.refresh == "nothing" or (now < state.pause and not event.anew):
        failed = NoToken(state.reason or "expired", state.pause - now, state.final)
        return state, _known(state, ends, now) if usable else failed
    if now < state.until:
        return state, _known(state, ends, now) if usable else WaitForRefresh()
    state = state._replace(lease=state.lease + 1, until=now + life.lease)
    return state, RefreshRight(state.token, state.lease)


def _forgotten(state: LifecycleState, known: KnownToken, now: float) -> bool:
    """Tell whether the store has forgotten what somebody knows."""
    # Times alone do not tell: who was stopped for an hour, or a clock that was put forward, makes old tokens look new.
    return known.token != state.token and known.generation >= state.generation and now - known.age > state.issued


def _reminded(state: LifecycleState, known: KnownToken, now: float) -> LifecycleState:
    """Return the life with what somebody else remembers of it."""
    token, generation, age, fresh, left = known
    return state._replace(
        token=token,
        generation=generation,
        issued=now - age,
        stale=now + fresh,
        expires=now + left,
    )


def _refused(state: LifecycleState, now: float) -> LifecycleState:
    """Return the life after the API has refused the token, as far as that is to be believed."""
    refusals = 0 if now - state.issued > _TRUSTED else state.refusals
    if refusals >= _BELIEVED and now - state.issued < pause(refusals - _BELIEVED):
        return state
    return state._replace(stale=now, expires=now, refusals=refusals + 1)


def _ends(life: Lifecycle, state: LifecycleState) -> float:
    """Return when a token must not be used any more."""
    overdue = state.failures > 0 and not state.final and state.token
    return state.expires + life.grace if overdue else state.expires


def _known(state: LifecycleState, ends: float, now: float) -> KnownToken:
    fresh = state.stale - now
    if fresh <= 0:  # somebody refreshes it, or is about to, or has failed to
        fresh = min(_ASK_AGAIN, ends - now)
    return KnownToken(state.token, state.generation, now - state.issued, fresh, ends - now)


def _refreshed(
    life: Lifecycle, state: LifecycleState, event: TokenRefreshed, now: float
) -> tuple[LifecycleState, Changed | None]:
    lifetime = math.inf if event.lifetime is None else event.lifetime
    issued = now - event.age
    if 0 < event.lease <= state.under:
        return state, None  # since it was asked for there was another one, or it was cleared
    # Who is still refreshing what there was before a login has no say any more.
    lease = state.lease + 1 if event.lease == 0 else state.lease
    expires = issued + usable_for(lifetime)
    after = LifecycleState(
        event.token,
        state.generation + 1,
        issued,
        expires - min(life.refresh_before, lifetime / 4) if lifetime < math.inf else math.inf,
        expires,
        lease,
        -math.inf if event.lease in (state.lease, 0) else state.until,
        refusals=state.refusals,
        under=(event.lease or lease) if event.lease <= state.lease else state.under,
    )
    length = "no expiry known" if event.lifetime is None else f"expires in {lifetime - event.age:.0f} s"
    return after, Changed(_generation(state), _generation(after), length)


def _failing(
    life: Lifecycle, state: LifecycleState, event: RefreshFailed, now: float
) -> tuple[LifecycleState, Changed | None]:
    if event.lease != state.lease:
        return state, None  # somebody else has taken over
    seconds = _LONGEST_PAUSE if event.final else pause(state.failures)
    if event.retry_after is not None:
        seconds = max(seconds, min(event.retry_after, _LONGEST_RETRY_AFTER))
    after = state._replace(
        until=-math.inf, failures=state.failures + 1, pause=now + seconds, reason=event.reason, final=event.final
    )
    left = _ends(life, after) - now
    if life.grace and now >= state.expires and left > 0:
        return after, Changed(_generation(state), OVERDUE, f"{event.reason}; for another {left:.0f} s at most")
    return after, Changed(_generation(state), NOT_REFRESHED, event.reason)


def usable_for(lifetime: float) -> float:
    """Return for how many seconds a token is used: a request that carries it has to arrive before it expires."""
    return lifetime - min(5.0, lifetime / 20)


def pause(times: int) -> float:
    """Return how long to leave the server alone after so many failures, in seconds."""
    return min(float(2 ** min(times, 10)), _LONGEST_PAUSE)


def _generation(state: LifecycleState) -> str:
    return f"generation {state.generation}" if state.token else "none"


def _release(life: Lifecycle, state: LifecycleState, event: ReleaseRight, now: float) -> tuple[LifecycleState, None]:
    return (state._replace(until=-math.inf) if event.lease == state.lease else state), None


def _clear(
    life: Lifecycle, state: LifecycleState, event: ClearToken, now: float
) -> tuple[LifecycleState, Changed | None]:
    if event.token not in (None, state.token):
        return state, None  # somebody was faster, and there is another one
    lease = state.lease + 1
    after = LifecycleState(generation=state.generation + 1, issued=now, lease=lease, under=lease)
    return after, Changed(_generation(state), "none", "cleared")


def _look(
    life: Lifecycle, state: LifecycleState, event: LookAtToken, now: float
) -> tuple[LifecycleState, LifecycleState]:
    return state, state


_MOVES: dict[type, Callable[[Lifecycle, LifecycleState, Any, float], tuple[LifecycleState, Any]]] = {
    WantToken: _want,
    TokenRefreshed: _refreshed,
    RefreshFailed: _failing,
    ReleaseRight: _release,
    ClearToken: _clear,
    LookAtToken: _look,
}
