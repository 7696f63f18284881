"""Asking whether the user has confirmed a login on another device, as often as the server allows and no oftener.

Theory of operation. Wait for the interval, ask, and see what the answer says:

    answer                                          then
    ----------------------------------------------  ----------------------------------------------
    a token                                         done
    authorization_pending                           again
    slow_down                                       again, and from now on 5 s later each time
    none, or the server is out of order (429, 5xx)  again, and from now on after twice the interval
    anything else                                   the end

It ends as well where the next question would come after the code has expired, or after the deadline of the call.
(RFC 8628 section 3.5)
"""

from __future__ import annotations

from dataclasses import dataclass

from polvo_adapters.errors import TokenRefreshError
from polvo_adapters.flow import REFUSED, Call, Flow, Outcome, Proceed, Sleep
from polvo_adapters.policies import validate
from polvo_adapters.policies.deadline import exceeded

_UNREACHED = ("timeout", "connection")


@dataclass(frozen=True)
class DevicePolling:
    """Repeat a token request until the user has confirmed, refused, or let the time pass.

    An attempt ends with a response, or with a TokenRefreshError as its error.

    Args:
        interval: Seconds between two questions.
        expires_in: Seconds after which the code is of no use any more.
        slow_down: Seconds by which the interval grows where the server asks for it.

    Raises:
        ValueError: A value is not a positive number.

    Source: RFC 8628 sections 3.4 and 3.5.
    """

    interval: float = 5.0
    expires_in: float = 600.0
    slow_down: float = 5.0

    def __post_init__(self) -> None:
        for name in ("interval", "expires_in", "slow_down"):
            validate.number(self, name, 0, above=True)

    def flow(self, call: Call, proceed: Proceed) -> Flow:
        """Wait and ask in turns."""
        interval, expires = self.interval, call.started + self.expires_in
        outcome = Outcome(now=call.started)
        while True:
            wait = max(interval, getattr(outcome.error, "retry_after", None) or 0.0)
            if call.deadline is not None and outcome.now + wait >= call.deadline:
                return exceeded(call, outcome, "the user has not confirmed before the deadline")
            if outcome.now + wait >= expires:
                return _expired(call, outcome)
            yield Sleep(wait, wait, "the user has yet to confirm")
            outcome = yield from proceed(call)
            if outcome.error is None:
                return outcome
            following = self._following(outcome.error, interval)
            if following is None:
                return outcome
            interval = following

    def _following(self, error: BaseException, interval: float) -> float | None:
        """Return the interval after an answer, or None where it is the end."""
        if not isinstance(error, TokenRefreshError):
            return None
        if error.reason == "authorization_pending":
            return interval
        if error.reason == "slow_down":
            return interval + self.slow_down
        return 2 * interval if error.reason in _UNREACHED or error.status == 429 or error.status >= 500 else None


def _expired(call: Call, outcome: Outcome) -> Outcome:
    error = TokenRefreshError(
        f"the login failed at {call.host}: expired_token; the user has not confirmed in time, begin anew",
        host=call.host,
        reason="expired_token",
        final=True,
    )
    return outcome._replace(error=error, failure=REFUSED)
