"""A login that the user confirms on another device, for programs without a browser (RFC 8628).

Theory of operation. The server gives two codes: one that the user types in elsewhere, and a secret one by which this
program asks again and again whether that has happened. How often it asks is `polvo_adapters.auth.protocol.device_code`;
here is what carries that out.

    reason                 what is wrong with the server's first answer
    ---------------------  ---------------------------------------------
    "no device_code"       it names no code, or no place to type it in
    "invalid expires_in"   it does not say how long the code is good for
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from polvo_adapters.auth.protocol.server_response import ServerResponse, require_fields, seconds
from polvo_adapters.core import validate
from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Flow, Proceed, Sleep
from polvo_adapters.core.outcomes import UNCLASSIFIED, Outcome
from polvo_adapters.errors import TokenRefreshError
from polvo_adapters.policies.outcomes import exceeded

if TYPE_CHECKING:
    pass

_INTERVAL, _LONGEST_INTERVAL = 5.0, 3600.0
_LONGEST = 65_536


@dataclass(frozen=True, repr=False)
class DeviceAuthorization:
    """A login that waits for the user.

    Attributes:
        device_code: What this program asks by; a secret.
        user_code: What the user types in.
        verification_uri: Where the user types it in.
        verification_uri_complete: The same with the code in it, for a link or a QR code, or None.
        expires_in: Seconds for which the codes are good.
        interval: Seconds to wait between two questions.
    """

    device_code: str
    user_code: str
    verification_uri: str
    verification_uri_complete: str | None
    expires_in: float
    interval: float

    def __repr__(self) -> str:
        return f"<DeviceAuthorization {self.user_code} at {self.verification_uri}, expires in {self.expires_in:g} s>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a DeviceAuthorization holds a secret and is not pickled; begin another login instead")


def authorization_of(answer: ServerResponse) -> DeviceAuthorization:
    """Return the login that an answer begins.

    Raises:
        TokenRefreshError: It is an error, or incomplete.

    Source: RFC 8628 section 3.2.
    """
    fields = require_fields(answer)
    device_code = _printable(fields.get("device_code"))
    user_code = _printable(fields.get("user_code"))
    place = _url(fields.get("verification_uri") or fields.get("verification_url"))
    if device_code is None or user_code is None or place is None:
        raise answer.failure("no device_code")
    if fields.get("expires_in") is None:
        raise answer.failure("invalid expires_in")
    lifetime = seconds(fields["expires_in"], answer) or math.inf
    complete = _url(fields.get("verification_uri_complete"))
    return DeviceAuthorization(
        device_code, user_code, place, complete, min(lifetime, 86_400.0), _interval(fields.get("interval"))
    )


def _interval(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= _LONGEST_INTERVAL:
        return _INTERVAL
    return float(value)


def _printable(value: Any) -> str | None:
    """Return a text that can be shown on a terminal and sent in a form, or None."""
    return value if isinstance(value, str) and 0 < len(value) <= _LONGEST and value.isprintable() else None


def _url(value: Any) -> str | None:
    text = _printable(value)
    return text if text is not None and text.startswith(("https://", "http://")) and " " not in text else None


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
    return outcome._replace(error=error, failure=UNCLASSIFIED)
