"""The refresh tokens that a server has used up without an answer that could be understood.

Theory of operation. Servers with rotation take a refresh token that comes twice for a stolen one, and end the whole
login. After an answer with a status of success the refresh token may be used up, whatever else the answer says; so it
is remembered, in the store that all callers share, and not sent again. A digest is kept and not the token.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Any

_MOST = 16  # of one login; a login ends by the first one in most cases


@dataclass(frozen=True)
class SpentTokens:
    """The machine of the refresh tokens of one login that must not be sent again.

    An event is the digest of a refresh token that is used up, or an empty string to look only; the verdict is the tuple
    of all digests.
    """

    initial = ()
    state_type = tuple[str, ...]

    def transition(self, state: tuple[str, ...], event: str, now: float) -> tuple[tuple[str, ...], Any]:  # noqa: ARG002
        """Return the state after `event`, and the verdict."""
        if event and event not in state:
            state = (*state, event)[-_MOST:]
        return state, state


def digest_refresh_token(refresh_token: str) -> str:
    """Return a digest by which a refresh token is recognized."""
    return sha256(refresh_token.encode("utf-8", "surrogatepass")).hexdigest()[:32]
