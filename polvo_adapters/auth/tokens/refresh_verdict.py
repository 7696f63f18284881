"""What becomes of a refresh token that has brought no token.

    what came                                  the refresh token
    -----------------------------------------  --------------------------------------------------------------
    a status of success                        may be used up, and is not sent again
    4xx                                        is dead; it is not sent again for this refresh
    408, 425, 429, Retry-After, or a code      stays valid; it is sent again after a pause
    that means a moment, such as slow_down
    5xx                                        stays valid; it is sent again after a pause
    no status, and perhaps an answer was lost  is sent again once at once, then as above; or is not sent again
    no status, and certainly nothing was sent  stays valid

Servers with rotation remember a refresh token that they have replaced, and end the login when it comes again. Many have
a grace period for a client that has lost their answer, and answer it again: so the repeat comes at once, or not at all.
Where a server has none, the login is lost with the answer, whether there is a repeat or not.
"""

from __future__ import annotations

from collections.abc import Sequence

from polvo_adapters.auth.protocol.server_response import FINAL
from polvo_adapters.errors import TokenRefreshError

SPENT = "refresh token spent"
"""Reason of the error for a refresh token that is not sent."""

CONFIGURATION = frozenset(
    {
        "insecure endpoint",
        "invalid_client",
        "issuer mismatch",
        "redirect",
        "status 405",
        "status 406",
        "status 407",
        "status 415",
        "unsupported_grant_type",
    }
)
"""Reasons that are about the settings of the client, which no new login changes."""

_PASSING_STATUSES = (408, 425, 429)
_PASSING_CODES = frozenset({"authorization_pending", "server_error", "slow_down", "temporarily_unavailable"})


def judge_refresh(error: TokenRefreshError, temporary: Sequence[str | int], *, repeats_lost: bool) -> bool:
    """Set `final` of the error of a refresh, and return whether the refresh token may be used up.

    Args:
        error: The error; see the table of this module.
        temporary: Error codes after which the server's documentation says that the same request may succeed.
        repeats_lost: Whether a request whose answer was lost is repeated.
    """
    if error.reason in temporary:
        error.final = False
        return False
    is_spent = 200 <= error.status < 300 or (error.lost and not repeats_lost)
    if 300 <= error.status < 500:
        is_passing = error.status in _PASSING_STATUSES or error.reason in _PASSING_CODES
        error.final = not is_passing and error.retry_after is None
    error.final = error.final or is_spent
    if error.final and error.reason not in CONFIGURATION | FINAL:
        advice = "the refresh token may be used up, and is not sent again" if is_spent else "it is not valid any more"
        error.args = (f"{error.args[0]}; {advice}: log in again", *error.args[1:])
    return is_spent


def spent_error(host: str) -> TokenRefreshError:
    """Return the error for a refresh token that may be used up."""
    message = (
        f"{host}: the server may have used up the refresh token for an answer that was lost or had no token in it, so "
        "it is not sent again; log in again"
    )
    return TokenRefreshError(message, host=host, reason=SPENT, final=True)
