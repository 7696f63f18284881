"""The end of a token at its server, with all that came with it."""

from __future__ import annotations

from polvo_adapters.auth.protocol.server import AuthorizationServer
from polvo_adapters.auth.protocol.token import Token
from polvo_adapters.errors import ConfigurationError, TokenRefreshError


def revoke_all(server: AuthorizationServer, token: Token) -> None:
    """Make the server revoke what it can of a token and its refresh token.

    Args:
        server: The authorization server that has issued them.
        token: The token.

    Raises:
        ConfigurationError: The server revokes refresh tokens alone, and there is none.
        TokenRefreshError: The server did not revoke it.

    Source: RFC 7009.
    """
    has_refresh_token = token.refresh_token is not None and "refresh_token" in server.revocable
    if not has_refresh_token and "access_token" not in server.revocable:
        raise ConfigurationError(f"{server.host}: revocation_url revokes refresh tokens alone, and there is none")
    if token.refresh_token is not None and has_refresh_token:
        server.revoke(token.refresh_token, "refresh_token")
    if "access_token" not in server.revocable:
        return
    try:
        server.revoke(token.access_token, "access_token")
    except TokenRefreshError as error:
        # Many servers end the access token with the login, or cannot revoke one, and refuse this.
        if not has_refresh_token or not 400 <= error.status < 500 or error.status == 429:
            raise
