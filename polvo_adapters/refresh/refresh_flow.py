"""The flow of one refresh of a token, and of waiting for the refresh of another caller.

Theory of operation. A caller with the right to refresh asks the server, a few times if it does not respond, and reports
the result to the store. A caller without the right asks the store again after a moment. Each Send carries in
`call.stored_token` the token in the store; its outcome has a FetchedToken, or a TokenRefreshError. An attempt that was
cut by the call's own deadline (EXPIRED) proves nothing against the server: the right is released, and the next caller
tries.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Acquire, Decide, Effect, Flow, Release, Send, Sleep
from polvo_adapters.core.machines import Event
from polvo_adapters.core.notices import Notice
from polvo_adapters.core.outcomes import EXPIRED, UNCLASSIFIED, Outcome
from polvo_adapters.errors import SecretError, TokenRefreshError
from polvo_adapters.refresh.lifecycle import (
    KnownToken,
    Lifecycle,
    NoToken,
    RefreshFailed,
    RefreshRight,
    ReleaseRight,
    TokenRefreshed,
    WantToken,
    hide_token,
    pause_after,
)

_FIRST_LOOK, _LAST_LOOK = 0.02, 0.25  # seconds between the questions of a caller that waits
BAD_CERTIFICATE = "tls"
"""Reason of an error that no repeat cures, although another certificate may be given later."""
_TIME_IS_UP = NoToken("timeout", 0.0, final=False)


@hide_token
class FetchedToken(NamedTuple):
    """The response in the outcome of an attempt to refresh.

    Attributes:
        token: Sealed.
        lifetime: Seconds for which it is valid from when it was requested, or None if the server did not say.
    """

    token: str
    lifetime: float | None


@dataclass(frozen=True)
class RefreshFlow:
    """The settings of a flow that obtains a token, and that any shell can drive.

    Args:
        life: The machine of the token.
        key: Its key in the store.
        max_attempts: Attempts at one refresh, all counted.
        advice: What the user has to do where a new login is needed.
        what: What it is called in messages.
        kind: The class of the error when there is no token.
    """

    life: Lifecycle
    key: str
    max_attempts: int = 3
    advice: str = "check the credentials of the client"
    what: str = "token"
    kind: type[TokenRefreshError | SecretError] = TokenRefreshError

    def flow(self, call: Call, want: WantToken) -> Flow:
        """Obtain a token that can be used; see the top of this module for its Sends.

        Args:
            call: The call of the token endpoint, which starts now; it is given up at its deadline.
            want: The event to put to the store; the known token in it is as of now.

        Returns:
            An outcome whose response is a KnownToken as of its `now`, or whose error is of the class `kind`.
        """
        now, look, waited = call.started, _FIRST_LOOK, 0.0
        while True:
            (verdict,) = yield Acquire((Event(self.life, self.key, want),))
            if type(verdict) is RefreshRight:
                outcome = yield from self._refresh(call, verdict)
                now = outcome.now
                granted = outcome.response.token if outcome.error is None else ""
                asked = WantToken(refresh="nothing", granted=granted)
                (verdict,) = yield Decide((Event(self.life, self.key, asked),))
                if outcome.error is not None and type(verdict) is NoToken:
                    return outcome
            else:
                yield Release((), ())
            if type(verdict) is KnownToken:
                return Outcome(verdict, now=now)
            if type(verdict) is NoToken:
                return self._fail(call, verdict)
            if call.deadline is not None and now + look > call.deadline:
                return self._fail(call, _TIME_IS_UP)
            notice = Notice(self.life.part, call, at_most=_left(call, now), waited=waited)
            seconds = yield Sleep(look / 2, look, f"{self.what}: another caller refreshes it", notice)
            waited += seconds
            known = None if want.known is None else want.known.after(seconds)
            now, look, want = now + seconds, min(look * 1.5, _LAST_LOOK), want._replace(known=known, anew=False)

    def _refresh(self, call: Call, right: RefreshRight) -> Generator[Effect, Any, Outcome]:
        """Ask the server for a token, and report the result to the store."""
        number, give_up_at, has_repeated = 1, math.inf, False
        while True:
            outcome: Outcome = yield Send(call._replace(stored_token=right.token, attempt=number))
            error = cast("TokenRefreshError | SecretError | None", outcome.error)
            is_lost = isinstance(error, TokenRefreshError) and error.lost
            if error is None or error.final or error.reason == BAD_CERTIFICATE:
                break
            if number == self.max_attempts or (is_lost and has_repeated):
                break
            if number == 1:
                give_up_at = outcome.started + self.life.lease  # from then on others may use the token sent here
                give_up_at = give_up_at if call.deadline is None else min(give_up_at, call.deadline)
            # A repeat after a lost answer comes at once, and once: see auth/tokens/refresh_verdict.py.
            seconds = 0.0 if is_lost else error.retry_after or pause_after(number - 1) / 2
            if outcome.now + seconds >= give_up_at:
                break
            number, has_repeated = number + 1, has_repeated or is_lost
            if is_lost:
                continue
            low = seconds if error.retry_after else seconds / 2
            notice = Notice(self.life.part, call, number, self.max_attempts, outcome.status)
            yield Sleep(low, seconds, f"{self.what}: {error.reason}", notice)
        if error is None:
            fetched: FetchedToken = outcome.response
            result: Any = TokenRefreshed(fetched.token, fetched.lifetime, outcome.now - outcome.started, right.lease)
        elif outcome.failure is EXPIRED:  # by this call's own deadline
            error.attempts, result = number, ReleaseRight(right.lease)
        else:
            error.attempts = number
            result = RefreshFailed(right.lease, error.reason or "unknown", error.retry_after, error.final)
        events = (Event(self.life, self.key, result),)
        yield Release(events, events)
        return outcome

    def _fail(self, call: Call, verdict: NoToken) -> Outcome:
        reason, retry_after, final = verdict
        again = f"it is tried again in {retry_after:.0f} s" if retry_after > 0 else "try again"
        error = self.kind(
            f"{call.host}: there is no valid {self.what} ({reason}); {self.advice if final else again}",
            host=call.host,
            retry_after=max(0.0, retry_after),
            reason=reason,
        )
        error.final = final
        return Outcome(error=error, failure=UNCLASSIFIED)


def _left(call: Call, now: float) -> float:
    return math.inf if call.deadline is None else max(0.0, call.deadline - now)
