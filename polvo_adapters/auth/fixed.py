"""Credentials that do not change: a bearer token, an API key, a session token."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polvo_adapters.auth.credential import HeaderAuth
from polvo_adapters.errors import ConfigurationError

if TYPE_CHECKING:
    from requests import PreparedRequest

__all__ = ["APIKey", "Bearer", "SessionToken"]


class Bearer(HeaderAuth):
    """Send a bearer token: `Authorization: Bearer <token>` (RFC 6750 section 2.1).

    Args:
        token: The token.
    """

    def __init__(self, token: str) -> None:
        _filled(self, token)
        super().__init__("Authorization", f"Bearer {token}")


class SessionToken(HeaderAuth):
    """Send a session token in a header of its own.

    Args:
        token: The token.
        header: Name of the header.
    """

    def __init__(self, token: str, header: str = "X-Session-Token") -> None:
        _filled(self, token)
        super().__init__(header, token)


class APIKey(HeaderAuth):
    """Send an API key, in a header or in the query.

    Args:
        key: The key.
        header: Name of the header.
        prefix: What stands before the key, such as "Api-Key" for `Authorization: Api-Key <key>`.
        query: Name of a query parameter to send it in instead. URLs are written to logs on their way: where the API
            takes a header, use that.
    """

    def __init__(self, key: str, header: str = "X-API-Key", prefix: str = "", query: str | None = None) -> None:
        _filled(self, key)
        super().__init__(header, f"{prefix} {key}" if prefix else key)
        self._query = query

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Put the key on a request."""
        if self._query is None:
            return super().__call__(request)
        request.prepare_url(request.url or "", {self._query: self._known()})
        return request

    def __repr__(self) -> str:
        return f"<APIKey {self._header if self._query is None else f'query {self._query}'}>"


def bearer(token: str) -> Bearer:
    """Send a bearer token; see `Bearer`."""
    return Bearer(token)


def session_token(token: str, header: str = "X-Session-Token") -> SessionToken:
    """Send a session token; see `SessionToken`."""
    return SessionToken(token, header)


def api_key(key: str, header: str = "X-API-Key", *, prefix: str = "", query: str | None = None) -> APIKey:
    """Send an API key; see `APIKey`."""
    return APIKey(key, header, prefix, query)


def _filled(auth: HeaderAuth, value: object) -> None:
    if not isinstance(value, str) or not value:
        raise ConfigurationError(f"{type(auth).__name__}: the credential must be a string that is not empty")
