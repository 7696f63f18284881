"""How a token is obtained: the flow of one refresh, and of waiting for somebody else's.

Theory of operation. Whoever is given the right to refresh asks the server, a few times where it does not answer, and
tells the store what came of it; whoever is not, asks the store again after a moment. Each Send carries in
`call.stored_token` what the store has, and comes back with a Fetched, or with a TokenRefreshError. One that the call's
own deadline has cut (EXPIRED) says nothing of the server: the right is given back, and the next one tries.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Acquire, Decide, Effect, Flow, Release, Send, Sleep
from polvo_adapters.core.machines import Event
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
    pause,
    shown,
)

_FIRST_LOOK, _LAST_LOOK = 0.02, 0.25  # seconds between questions of those who wait
_TIME_IS_UP = NoToken("timeout", 0.0, final=False)


class FetchedToken(NamedTuple):
    """What an attempt to refresh came to; the response of its outcome.

    Attributes:
        token: Sealed.
        lifetime: Seconds for which it is valid from when it was asked for, or None where nobody knows.
    """

    token: str
    lifetime: float | None

    def __repr__(self) -> str:
        return shown(self)


@dataclass(frozen=True)
class RefreshFlow:
    """How to obtain a token: as a flow that any shell can drive.

    Args:
        life: Its machine.
        key: Its key in the store.
        max_attempts: Attempts at one refresh, all counted.
        advice: What a person is to do who has to log in again.
        what: What it is to people.
        kind: The class of the error for those who were told that there is none.
    """

    life: Lifecycle
    key: str
    max_attempts: int = 3
    advice: str = "check the credentials of the client"
    what: str = "token"
    kind: type[TokenRefreshError | SecretError] = TokenRefreshError

    def flow(self, call: Call, want: WantToken) -> Flow:
        """Obtain a token that can be used.

        Each Send carries in `stored_token` what the store holds; the response of its outcome is a Fetched, and its
        error a TokenRefreshError.

        Args:
            call: The call of the token endpoint, which starts now; it is given up at its deadline.
            want: What is wanted; what is known is told as of now.

        Returns:
            An outcome whose response is a Known as of its `now`, or whose error is one of its kind.
        """
        now, look = call.started, _FIRST_LOOK
        while True:
            (verdict,) = yield Acquire((Event(self.life, self.key, want),))
            if type(verdict) is RefreshRight:
                outcome = yield from self._refresh(call, verdict)
                now = outcome.now
                (verdict,) = yield Decide((Event(self.life, self.key, WantToken(refresh="nothing")),))
                if outcome.error is not None and type(verdict) is NoToken:
                    return outcome
            else:
                yield Release((), ())
            if type(verdict) is KnownToken:
                return Outcome(verdict, now=now)
            if type(verdict) is NoToken:
                return self._failed(call, verdict)
            if call.deadline is not None and now + look > call.deadline:
                return self._failed(call, _TIME_IS_UP)
            seconds = yield Sleep(look / 2, look, f"{self.what}: somebody else refreshes it")
            known = None if want.known is None else want.known.after(seconds)
            now, look, want = now + seconds, min(look * 1.5, _LAST_LOOK), want._replace(known=known, anew=False)

    def _refresh(self, call: Call, right: RefreshRight) -> Generator[Effect, Any, Outcome]:
        """Ask the server for a token, and tell the store what came of it."""
        number, ends = 1, math.inf
        while True:
            outcome: Outcome = yield Send(call._replace(stored_token=right.token, attempt=number))
            error = cast("TokenRefreshError | SecretError | None", outcome.error)
            if error is None or error.final or number == self.max_attempts:
                break
            if number == 1:
                ends = outcome.started + self.life.lease  # from then on others may refresh what was sent here
                ends = ends if call.deadline is None else min(ends, call.deadline)
            seconds = error.retry_after or pause(number - 1) / 2
            if outcome.now + seconds >= ends:
                break
            number += 1
            yield Sleep(seconds if error.retry_after else seconds / 2, seconds, f"{self.what}: {error.reason}")
        if error is None:
            fetched: FetchedToken = outcome.response
            news: Any = TokenRefreshed(fetched.token, fetched.lifetime, outcome.now - outcome.started, right.lease)
        elif outcome.failure is EXPIRED:  # which is this call's own deadline, and nothing against the server
            error.attempts, news = number, ReleaseRight(right.lease)
        else:
            error.attempts = number
            news = RefreshFailed(right.lease, error.reason or "unknown", error.retry_after, error.final)
        told = (Event(self.life, self.key, news),)
        yield Release(told, told)
        return outcome

    def _failed(self, call: Call, verdict: NoToken) -> Outcome:
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
