"""One refresh of a token at a time, whichever thread, task or process of those that share a store needs it.

Theory of operation. A store keeps the state of each token, and every call that needs the token asks the store:

    state        asked                          asked ahead of time          refused by the API
    -----------  -----------------------------  ---------------------------  ------------------------------
    none         one refreshes, others wait     as asked                     as asked
    fresh        use                            use                          expired, unless it is a later one
    stale        use                            one refreshes, others use    expired, unless it is a later one
    expired      one refreshes, others wait     as asked                     as asked
    failed       use until it expires, then no token until the pause is over
    overdue      use (expired, refresh failed and is not hopeless, and the machine's grace is not over)

The right to refresh is a lease. It ends when its holder reports the result or releases it; at a login or logout; and by
itself, should the holder have died. A token that comes after the end of its lease is stored, unless there is a later
one. Calls that wait ask again, as the store may be a file, which cannot wake them.

**Generations** count the tokens there were. A request remembers the generation that it carried, so that a token refused
by the API is refreshed once, and not once by each request that it was refused for. Refusals again and again do not each
cause a refresh: a third refresh in a row has to wait, longer each time.

**The store may forget** (a file was deleted, a disk is gone, a state cannot be read). Each question therefore carries
the token that the caller knows, and the one issued last counts: a refresh token that has a successor is not sent to the
server again while any caller remembers the successor.

Tokens in the store are sealed: the machine moves them, and cannot read them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from polvo_adapters.core import validate
from polvo_adapters.core.machines import Changed
from polvo_adapters.core.stored_types import AnyType, stored_as

if TYPE_CHECKING:
    from polvo_adapters.core.report import StateChange

NOT_REFRESHED = "not refreshed"
"""`StateChange.after` of a token that could not be refreshed."""
OVERDUE = "in use past its time"
"""`StateChange.after` of a token that could not be refreshed and is used although it has expired."""

_UNPAUSED_REFUSALS = 2  # refreshes in a row that a refusal causes at once
_TRUSTED_SECONDS = 60.0  # a token that was in use for so long was good, whatever is refused now
_LONGEST_PAUSE = 30.0
_LONGEST_RETRY_AFTER = 30 * 86_400.0  # what asks for more is a mistake, and must not end a login
_HIDDEN = ("token", "granted")
_ASK_AGAIN_SECONDS = 1.0  # for which a stale token is used before asking whether it was refreshed


def hide_token(kind: AnyType) -> AnyType:
    """Leave the token out of the repr of a NamedTuple, as a decorator: a store in memory need not have sealed it.

    It pickles, as all that a store is given: outside of the memory of this process it is sealed.
    """

    def describe(self: Any) -> str:
        shown = (each for each in zip(self._fields, self, strict=True) if each[0] not in _HIDDEN)
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in shown)})"

    kind.__repr__ = describe  # type: ignore[assignment]
    return kind


@hide_token
class KnownToken(NamedTuple):
    """A token that a caller has, whatever the store says.

    Attributes:
        token: Sealed.
        generation: Its number among the tokens there were.
        age: Seconds since it was issued.
        seconds_fresh: Seconds until it is to be refreshed.
        seconds_left: Seconds until it expires.
    """

    token: str
    generation: int
    age: float
    seconds_fresh: float
    seconds_left: float

    def after(self, seconds: float) -> KnownToken:
        """Return the token as it is that many seconds later."""
        return self._replace(
            age=self.age + seconds,
            seconds_fresh=self.seconds_fresh - seconds,
            seconds_left=self.seconds_left - seconds,
        )


@hide_token
class WantToken(NamedTuple):
    """Event: a caller needs a token.

    Attributes:
        known: The token that the caller has, or None.
        refused: Generation that the API has refused, or 0.
        refresh: When the caller is ready to refresh: if the token has "expired", if it is "stale", or for "nothing".
        anew: Whether to try although the last refresh failed a moment ago: the caller may have other credentials. A
            pause that the server has asked for is kept all the same.
        granted: The token that the server has just granted to this caller, sealed, or an empty string. It is used once
            although it has expired: only the server knows that it has.
    """

    known: KnownToken | None = None
    refused: int = 0
    refresh: Literal["expired", "stale", "nothing"] = "expired"
    anew: bool = False
    granted: str = ""


@hide_token
class TokenRefreshed(NamedTuple):
    """Event: there is a new token.

    Attributes:
        token: Sealed.
        lifetime: Seconds for which it was valid when it was issued, or None if the server did not say.
        age: Seconds since it was requested.
        lease: Number of the right that it was requested under, or 0 for a token of another source, such as a login.
    """

    token: str
    lifetime: float | None
    age: float = 0.0
    lease: int = 0


class RefreshFailed(NamedTuple):
    """Event: a refresh gave no token.

    Attributes:
        lease: Number of the right that it was requested under.
        reason: The reason.
        retry_after: Seconds that the server asked to wait, or None.
        final: Whether trying again in the same way is of no use.
    """

    lease: int
    reason: str
    retry_after: float | None = None
    final: bool = False


class ReleaseRight(NamedTuple):
    """Event: the holder of a right no longer refreshes the token."""

    lease: int


@hide_token
class ClearToken(NamedTuple):
    """Event: discard the token, and ignore the result of a refresh in progress.

    Attributes:
        token: Only if it is this one, sealed; None for any.
    """

    token: str | None = None


class LookAtToken(NamedTuple):
    """Event: change nothing; the verdict is the state."""


@hide_token
class RefreshRight(NamedTuple):
    """Verdict: refresh the token.

    Attributes:
        token: The token there is, sealed, or an empty string.
        lease: Number of the right to do so.
    """

    token: str
    lease: int


class WaitForRefresh(NamedTuple):
    """Verdict: another caller is refreshing the token."""


class NoToken(NamedTuple):
    """Verdict: there is no token.

    Attributes:
        reason: The reason.
        retry_after: Seconds after which a refresh is tried again.
        final: Whether trying again is of no use without a new login.
    """

    reason: str
    retry_after: float
    final: bool


@stored_as("token.1")
@hide_token
class LifecycleState(NamedTuple):
    """State of a token.

    Attributes:
        token: Sealed, or an empty string.
        generation: Number of tokens there were.
        issued_at: When it was requested.
        stale_at: When it is to be refreshed.
        expires_at: When it must not be used any more.
        lease: Number of the last right to refresh.
        right_ends_at: When that right ends, or minus infinity if it has ended.
        failures: Refreshes that failed in a row.
        retry_at: When a refresh may be tried again.
        reason: The reason of the last failure.
        final: Whether trying again is of no use.
        refusals: Refreshes in a row that the API's refusals caused.
        issued_under: Number of the right that the token was obtained under; a result of it or of an earlier right is
            too late.
    """

    token: str = ""
    generation: int = 0
    issued_at: float = -math.inf
    stale_at: float = -math.inf
    expires_at: float = -math.inf
    lease: int = 0
    right_ends_at: float = -math.inf
    failures: int = 0
    retry_at: float = -math.inf
    reason: str = ""
    final: bool = False
    refusals: int = 0
    issued_under: int = 0

    def after_fork(self) -> LifecycleState:
        """Return the state in a forked child: the right to refresh is the parent's."""
        return self._replace(right_ends_at=-math.inf)


TokenEvent: TypeAlias = "WantToken | TokenRefreshed | RefreshFailed | ReleaseRight | ClearToken | LookAtToken"


@dataclass(frozen=True)
class Lifecycle:
    """The machine of a token's lifecycle.

    Args:
        refresh_before: Seconds before its end at which a token is stale; never more than a quarter of its lifetime.
        lease: Seconds for which the right to refresh is granted.
        listeners: Called with each StateChange.
        grace: Seconds after its end for which a token is used while a refresh fails and may succeed later: for secrets
            with an end that the client has set, not for tokens that the server lets expire.
        part: Name of its logger: "tokens" or "secrets".

    Raises:
        ValueError: A value is out of range.
    """

    refresh_before: float = 60.0
    lease: float = 31.0
    listeners: tuple[Callable[[StateChange], object], ...] = field(default=(), compare=False)
    grace: float = 0.0
    part: str = field(default="tokens", compare=False)

    initial = LifecycleState()

    def __setstate__(self, state: dict[str, Any]) -> None:
        before = state.pop("renew_before", None)  # the field's name in older pickles
        vars(self).update(state if before is None else {**state, "refresh_before": before})

    def __post_init__(self) -> None:
        validate.number(self, "refresh_before", 0)
        validate.number(self, "lease", 0, above=True)
        validate.number(self, "grace", 0)

    def transition(self, state: LifecycleState, event: TokenEvent, now: float) -> tuple[LifecycleState, Any]:
        """Return the state after `event` at `now`, and the verdict."""
        return _MOVES[type(event)](self, state, event, now)

    def release_event(self, verdict: Any) -> ReleaseRight | LookAtToken:
        """Return the event for a call that was interrupted after a verdict."""
        return ReleaseRight(verdict.lease) if type(verdict) is RefreshRight else LookAtToken()


def _want_token(life: Lifecycle, state: LifecycleState, event: WantToken, now: float) -> tuple[LifecycleState, Any]:
    known = event.known
    if known is not None and _has_forgotten(state, known, now):
        state = _restore(state, known, now)
    if event.refused and event.refused == state.generation and state.expires_at > now:
        state = _expire_refused(state, now)
    usable_until = _usable_until(life, state)
    if event.granted and event.granted == state.token:
        return state, _grant_token(state, max(usable_until, now), now)
    is_usable = now < usable_until
    if is_usable and not (event.refresh == "stale" and now >= state.stale_at):
        return state, _grant_token(state, usable_until, now)
    if event.refresh == "nothing" or (now < state.retry_at and not (event.anew and _is_own_pause(state, now))):
        no_token = NoToken(state.reason or "expired", state.retry_at - now, state.final)
        return state, _grant_token(state, usable_until, now) if is_usable else no_token
    if now < state.right_ends_at:
        return state, _grant_token(state, usable_until, now) if is_usable else WaitForRefresh()
    state = state._replace(lease=state.lease + 1, right_ends_at=now + life.lease)
    return state, RefreshRight(state.token, state.lease)


def _is_own_pause(state: LifecycleState, now: float) -> bool:
    """Return whether a pause may be this client's own, and not what the server has asked for, which is always kept."""
    return state.retry_at - now <= (_LONGEST_PAUSE if state.final else pause_after(max(0, state.failures - 1)))


def _has_forgotten(state: LifecycleState, known: KnownToken, now: float) -> bool:
    """Return whether the store has forgotten the token that a caller knows."""
    # Times alone do not prove it: a process stopped for an hour, or a clock put forward, makes old tokens look new.
    return known.token != state.token and known.generation >= state.generation and now - known.age > state.issued_at


def _restore(state: LifecycleState, known: KnownToken, now: float) -> LifecycleState:
    """Return the state with the token that a caller remembers."""
    return state._replace(
        token=known.token,
        generation=known.generation,
        issued_at=now - known.age,
        stale_at=now + known.seconds_fresh,
        expires_at=now + known.seconds_left,
    )


def _expire_refused(state: LifecycleState, now: float) -> LifecycleState:
    """Return the state after the API has refused the token, unless that happens too often to be believed."""
    age = now - state.issued_at
    refusals = 0 if age > _TRUSTED_SECONDS else state.refusals
    if refusals >= _UNPAUSED_REFUSALS and age < pause_after(refusals - _UNPAUSED_REFUSALS):
        return state
    return state._replace(stale_at=now, expires_at=now, refusals=refusals + 1)


def _usable_until(life: Lifecycle, state: LifecycleState) -> float:
    """Return when a token must not be used any more."""
    has_grace = state.failures > 0 and not state.final and state.token
    return state.expires_at + life.grace if has_grace else state.expires_at


def _grant_token(state: LifecycleState, usable_until: float, now: float) -> KnownToken:
    fresh = state.stale_at - now
    if fresh <= 0:  # another caller refreshes it, or is about to, or has failed to
        fresh = min(_ASK_AGAIN_SECONDS, usable_until - now)
    return KnownToken(state.token, state.generation, now - state.issued_at, fresh, usable_until - now)


def _store_token(
    life: Lifecycle, state: LifecycleState, event: TokenRefreshed, now: float
) -> tuple[LifecycleState, Changed | None]:
    if 0 < event.lease <= state.issued_under:
        return state, None  # since it was requested there was another token, or the token was cleared
    lifetime = math.inf if event.lifetime is None else event.lifetime
    issued_at = now - event.age
    expires_at = issued_at + usable_seconds(lifetime)
    # After a login the result of a refresh that is still in progress is ignored.
    lease = state.lease + 1 if event.lease == 0 else state.lease
    after = LifecycleState(
        event.token,
        state.generation + 1,
        issued_at,
        expires_at - min(life.refresh_before, lifetime / 4) if lifetime < math.inf else math.inf,
        expires_at,
        lease,
        -math.inf if event.lease in (state.lease, 0) else state.right_ends_at,
        refusals=state.refusals,
        issued_under=(event.lease or lease) if event.lease <= state.lease else state.issued_under,
    )
    length = "no expiry known" if event.lifetime is None else f"expires in {lifetime - event.age:.0f} s"
    return after, Changed(_generation(state), _generation(after), length)


def _record_failure(
    life: Lifecycle, state: LifecycleState, event: RefreshFailed, now: float
) -> tuple[LifecycleState, Changed | None]:
    if event.lease != state.lease:
        return state, None  # another caller has the right now
    seconds = _LONGEST_PAUSE if event.final else pause_after(state.failures)
    if event.retry_after is not None:
        seconds = max(seconds, min(event.retry_after, _LONGEST_RETRY_AFTER))
    after = state._replace(
        right_ends_at=-math.inf,
        failures=state.failures + 1,
        retry_at=now + seconds,
        reason=event.reason,
        final=event.final,
    )
    left = _usable_until(life, after) - now
    if life.grace and now >= state.expires_at and left > 0:
        reason = f"{event.reason}; for another {left:.0f} s at most"
        return after, Changed(_generation(state), OVERDUE, reason, is_trouble=True)
    return after, Changed(_generation(state), NOT_REFRESHED, event.reason, is_trouble=True)


def usable_seconds(lifetime: float) -> float:
    """Return for how many seconds a token is used: a request that carries it has to arrive before it expires."""
    return lifetime - min(5.0, lifetime / 20)


def pause_after(failures: int) -> float:
    """Return the pause in seconds before the server is asked again after so many failures."""
    return min(float(2 ** min(failures, 10)), _LONGEST_PAUSE)


def _generation(state: LifecycleState) -> str:
    return f"generation {state.generation}" if state.token else "none"


def _release_right(
    life: Lifecycle, state: LifecycleState, event: ReleaseRight, now: float
) -> tuple[LifecycleState, None]:
    return (state._replace(right_ends_at=-math.inf) if event.lease == state.lease else state), None


def _clear_token(
    life: Lifecycle, state: LifecycleState, event: ClearToken, now: float
) -> tuple[LifecycleState, Changed | None]:
    if event.token not in (None, state.token):
        return state, None  # another caller was faster, and there is a later token
    lease = state.lease + 1
    after = LifecycleState(generation=state.generation + 1, issued_at=now, lease=lease, issued_under=lease)
    return after, Changed(_generation(state), "none", "cleared")


_MOVES: dict[type, Callable[[Lifecycle, LifecycleState, Any, float], tuple[LifecycleState, Any]]] = {
    WantToken: _want_token,
    TokenRefreshed: _store_token,
    RefreshFailed: _record_failure,
    ReleaseRight: _release_right,
    ClearToken: _clear_token,
    LookAtToken: lambda _life, state, _event, _now: (state, state),
}
