"""A login that the user confirms on another device, for programs without a browser (RFC 8628).

Theory of operation. The server gives two codes: one that the user types in elsewhere, and a secret one by which this
program asks again and again whether that has happened. How often it asks is `polvo_adapters.policies.device`; here is
what carries that out.

    reason                 what is wrong with the server's first answer
    ---------------------  ---------------------------------------------
    "no device_code"       it names no code, or no place to type it in
    "invalid expires_in"   it does not say how long the code is good for
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from polvo_adapters.auth import grants
from polvo_adapters.auth.answers import Answer, document, seconds
from polvo_adapters.auth.token import Token
from polvo_adapters.clock import SYSTEM, Clock
from polvo_adapters.errors import TokenRefreshError
from polvo_adapters.flow import REFUSED, Call, Outcome, Send, attempt
from polvo_adapters.keeping import Asking

if TYPE_CHECKING:
    from polvo_adapters.auth.dpop import DPoPKey
    from polvo_adapters.auth.server import AuthorizationServer

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


def authorization_of(answer: Answer) -> DeviceAuthorization:
    """Return the login that an answer begins.

    Raises:
        TokenRefreshError: It is an error, or incomplete.

    Source: RFC 8628 section 3.2.
    """
    fields = document(answer)
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


def poll(
    server: AuthorizationServer,
    authorization: DeviceAuthorization,
    *,
    deadline: float | None = None,
    key: DPoPKey | None = None,
    clock: Clock = SYSTEM,
) -> Token:
    """Wait until the user has confirmed, and return the token.

    Args:
        server: The server that the login began at.
        authorization: The login, just begun.
        deadline: Seconds to wait for the user at most; by default for as long as the code is good.
        key: The key that the token shall be bound to; by default a new one where the server's `dpop` is set.
        clock: Time; tests pass a virtual clock.

    Raises:
        TokenRefreshError: The user refused ("access_denied"), took too long ("expired_token"), or the server failed.
        DeadlineExceeded: The deadline would be over before the next question.

    Source: RFC 8628 section 3.4.
    """
    from polvo_adapters.drive.sync import drive
    from polvo_adapters.policies.device import DevicePolling
    from polvo_adapters.stores.memory import MemoryStore

    if key is None and server.dpop:
        key = server.new_key()
    policy = DevicePolling(interval=authorization.interval, expires_in=authorization.expires_in)
    now = clock.now()
    call = Call("POST", server.endpoint("token"), started=now, deadline=None if deadline is None else now + deadline)
    asking = _Asking(server, authorization.device_code, key, clock)
    outcome = drive(policy.flow(call, attempt), asking, MemoryStore(now=clock.now), clock, [])
    if outcome.error is not None:
        try:
            raise outcome.error
        finally:
            del outcome  # or the error, its traceback and this frame would keep each other alive
    token: Token = outcome.response
    return token


class _Asking(Asking):
    """Makes the token requests of one login; a transport of `polvo_adapters.drive.sync`."""

    def __init__(self, server: AuthorizationServer, device_code: str, key: DPoPKey | None, clock: Clock) -> None:
        self._server = server
        self._fields = grants.device(device_code)
        self._key = key
        self._clock = clock

    def send(self, effect: Send) -> Outcome:
        """Ask once."""
        started, deadline = self._clock.now(), effect.call.deadline
        left = None if deadline is None else max(0.0, deadline - started)
        token, problem = None, None
        try:
            token = self._server.token(self._fields, deadline_timeout=left, key=self._key)
        except TokenRefreshError as error:
            problem = error
        now, wall = self._clock.now(), self._clock.wall()
        if problem is not None:
            return Outcome(status=problem.status, error=problem, failure=REFUSED, started=started, now=now, wall=wall)
        return Outcome(token, 200, started=started, now=now, wall=wall)


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
