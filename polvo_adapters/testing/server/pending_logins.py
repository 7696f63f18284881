"""The logins that users have begun at the failure server and that no token was issued for yet.

Both kinds end in a grant that can be redeemed once: a code of the authorization endpoint, or a device code.
"""

from __future__ import annotations

import hmac
import secrets
import time
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal, TypeVar

Decision = Literal["pending", "approved", "denied"]

_MOST = 1000
_CODE_LIFETIME = 60.0
_TOLERANCE = 0.9  # of the interval: two clocks, and the time that a request takes
# Letters that a person does not take for digits or vowels (RFC 8628 section 6.1).
_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"

_Kept = TypeVar("_Kept")


@dataclass(slots=True, eq=False, repr=False)
class Grant:
    """What a user has agreed to.

    Attributes:
        client_id: The client that asked.
        scope: The scope that it asked for.
        family: The family of the tokens that are issued for it.
        expires_at: When it ends, by the monotonic clock.
        used: Whether a token was issued for it.
    """

    client_id: str
    scope: str
    family: str
    expires_at: float
    used: bool = False

    @property
    def is_expired(self) -> bool:
        """Whether it is too late to redeem it."""
        return time.monotonic() >= self.expires_at


@dataclass(slots=True, eq=False, repr=False)
class CodeGrant(Grant):
    """A login in a browser; `challenge` and `method` are those of PKCE, or empty."""

    redirect_uri: str = ""
    challenge: str = ""
    method: str = ""

    def matches(self, verifier: str) -> bool:
        """Return whether a code verifier belongs to the challenge, or both are missing.

        Source: RFC 7636 section 4.6, RFC 9700 section 2.1.1.
        """
        if not self.challenge or not verifier:
            return not self.challenge and not verifier
        made = make_challenge(verifier) if self.method == "S256" else verifier
        return hmac.compare_digest(made.encode(), self.challenge.encode())


@dataclass(slots=True, eq=False, repr=False)
class DeviceGrant(Grant):
    """A login on another device; the token is asked for every `interval` seconds."""

    user_code: str = ""
    interval: float = 1.0
    decision: Decision = "pending"
    polled_at: float = 0.0

    def is_polled_too_early(self) -> bool:
        """Note that the client asks for the token, and return whether it has waited too little."""
        now, last = time.monotonic(), self.polled_at
        self.polled_at = now
        return now - last < self.interval * _TOLERANCE


def make_challenge(verifier: str) -> str:
    """Return the S256 challenge of a code verifier (RFC 7636 section 4.2)."""
    return urlsafe_b64encode(sha256(verifier.encode()).digest()).rstrip(b"=").decode()


class PendingLogins:
    """The last 1,000 codes of each kind."""

    def __init__(self) -> None:
        self.codes: dict[str, CodeGrant] = {}
        self.devices: dict[str, DeviceGrant] = {}

    def grant_code(self, client_id: str, scope: str, redirect_uri: str, challenge: str, method: str) -> str:
        """Return a new code for a user who has agreed."""
        expires_at = time.monotonic() + _CODE_LIFETIME
        grant = CodeGrant(client_id, scope, secrets.token_hex(8), expires_at, False, redirect_uri, challenge, method)
        return _keep(self.codes, secrets.token_urlsafe(24), grant)

    def begin_device_login(self, client_id: str, scope: str, lifetime: float, interval: float) -> str:
        """Return a new device code; its grant has the code for the user."""
        letters = [secrets.choice(_LETTERS) for _ in range(8)]
        user_code = f"{''.join(letters[:4])}-{''.join(letters[4:])}"
        expires_at = time.monotonic() + lifetime
        grant = DeviceGrant(client_id, scope, secrets.token_hex(8), expires_at, False, user_code, interval)
        return _keep(self.devices, secrets.token_urlsafe(24), grant)

    def find_device(self, user_code: str) -> DeviceGrant | None:
        """Return the login that a user code belongs to, however the user has written it."""
        wanted = _letters_of(user_code)
        return next((grant for grant in self.devices.values() if _letters_of(grant.user_code) == wanted), None)


def _letters_of(user_code: str) -> str:
    return "".join(letter for letter in user_code.upper() if letter in _LETTERS)


def _keep(kept: dict[str, _Kept], code: str, grant: _Kept) -> str:
    kept[code] = grant
    while len(kept) > _MOST:
        del kept[next(iter(kept))]
    return code
