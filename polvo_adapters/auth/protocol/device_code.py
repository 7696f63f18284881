"""The messages of a login that the user confirms on another device, for programs without a browser (RFC 8628).

Theory of operation. The server issues two codes: the user types in the user code elsewhere, and this program requests a
token with the secret device code again and again until that has happened. `DevicePolling` decides how often;
`polvo_adapters.auth.device_login` sends the requests.

    reason                 what is wrong with the server's first response
    ---------------------  ----------------------------------------------
    "no device_code"       a code is missing, or the place to type it in
    "invalid expires_in"   the lifetime of the codes is missing
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NoReturn

from polvo_adapters.auth.protocol.server_response import ServerResponse
from polvo_adapters.auth.protocol.token_response import parse_seconds, require_fields
from polvo_adapters.core import validate
from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Flow, Proceed, Sleep
from polvo_adapters.core.notices import Notice
from polvo_adapters.core.outcomes import UNCLASSIFIED, Outcome
from polvo_adapters.errors import TokenRefreshError
from polvo_adapters.policies.outcomes import expire_call

_INTERVAL, _LONGEST_INTERVAL = 5.0, 3600.0
_LONGEST = 65_536
_UNREACHED = ("timeout", "connection")


@dataclass(frozen=True, repr=False)
class DeviceAuthorization:
    """A login that waits for the user.

    Attributes:
        device_code: The code that this program requests the token with; a secret.
        user_code: The code that the user types in.
        verification_uri: URL of the page where the user types it in.
        verification_uri_complete: The same URL with the code in it, for a link or a QR code, or None.
        expires_in: Lifetime of the codes in seconds.
        interval: Seconds to wait between two requests.
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


def parse_device_authorization(response: ServerResponse) -> DeviceAuthorization:
    """Return the login that a response begins.

    Raises:
        TokenRefreshError: The response is an error, or incomplete.

    Source: RFC 8628 section 3.2.
    """
    fields = require_fields(response)
    device_code = _printable_or_none(fields.get("device_code"))
    user_code = _printable_or_none(fields.get("user_code"))
    place = _url_or_none(fields.get("verification_uri") or fields.get("verification_url"))
    if device_code is None or user_code is None or place is None:
        raise response.make_error("no device_code")
    if fields.get("expires_in") is None:
        raise response.make_error("invalid expires_in")
    lifetime = min(parse_seconds(fields["expires_in"], response) or math.inf, 86_400.0)
    complete = _url_or_none(fields.get("verification_uri_complete"))
    interval = fields.get("interval")
    if isinstance(interval, bool) or not isinstance(interval, (int, float)) or not 0 < interval <= _LONGEST_INTERVAL:
        interval = _INTERVAL
    return DeviceAuthorization(device_code, user_code, place, complete, lifetime, float(interval))


def _printable_or_none(value: Any) -> str | None:
    """Return a text that can be shown on a terminal and sent in a form, or None."""
    return value if isinstance(value, str) and 0 < len(value) <= _LONGEST and value.isprintable() else None


def _url_or_none(value: Any) -> str | None:
    text = _printable_or_none(value)
    return text if text is not None and text.startswith(("https://", "http://")) and " " not in text else None


@dataclass(frozen=True)
class DevicePolling:
    """Repeat a token request until the user has confirmed or refused, or the code has expired.

    An attempt ends with a response, or with a TokenRefreshError as its error.

    Args:
        interval: Seconds between two requests.
        expires_in: Seconds until the code expires.
        slow_down: Seconds that are added to the interval when the server asks for it.

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
        """Wait and request in turns."""
        interval, expires_at = self.interval, call.started + self.expires_in
        outcome = Outcome(now=call.started)
        while True:
            wait = max(interval, getattr(outcome.error, "retry_after", None) or 0.0)
            if call.deadline is not None and outcome.now + wait >= call.deadline:
                return expire_call(call, outcome, "the user has not confirmed before the deadline")
            if outcome.now + wait >= expires_at:
                return _expire_code(call, outcome)
            notice = Notice("tokens", call, at_most=expires_at - outcome.now, waited=outcome.now - call.started)
            yield Sleep(wait, wait, "the user has yet to confirm", notice)
            outcome = yield from proceed(call)
            if outcome.error is None:
                return outcome
            next_interval = self._next_interval(outcome.error, interval)
            if next_interval is None:
                return outcome
            interval = next_interval

    def _next_interval(self, error: BaseException, interval: float) -> float | None:
        """Return the seconds until the next request, or None if the error ends the login."""
        if not isinstance(error, TokenRefreshError):
            return None
        if error.reason == "authorization_pending":
            return interval
        if error.reason == "slow_down":
            return interval + self.slow_down
        return 2 * interval if error.reason in _UNREACHED or error.status == 429 or error.status >= 500 else None


def _expire_code(call: Call, outcome: Outcome) -> Outcome:
    problem = "expired_token; the user has not confirmed in time, begin another login"
    message = f"the login failed at {call.host}: {problem}"
    error = TokenRefreshError(message, host=call.host, reason="expired_token", final=True)
    return outcome._replace(error=error, failure=UNCLASSIFIED)
