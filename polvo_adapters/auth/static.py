"""Credentials that do not change: a bearer token, an API key, a session token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

from polvo_adapters.auth.attach.credential import HeaderAuth
from polvo_adapters.errors import ConfigurationError
from polvo_adapters.shells.credential_digest import note_in_query

if TYPE_CHECKING:
    from requests import PreparedRequest

    from polvo_adapters.auth.secret_auth import SecretAuth
    from polvo_adapters.secrets.secret import Secret

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
        query: Name of a query parameter to send it in instead. It shows wherever the URL does, such as in exceptions
            and logs: where the API takes a header, use that.
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
        note_in_query(request, self._query)
        return request

    def __repr__(self) -> str:
        if "_query" not in vars(self):
            return "<APIKey, half made>"  # in a traceback that shows locals
        return f"<APIKey {self._header if self._query is None else f'query {self._query}'}>"


@overload
def bearer(token: str) -> Bearer: ...
@overload
def bearer(token: Secret) -> SecretAuth: ...
def bearer(token: Any) -> Bearer | SecretAuth:
    """Send a bearer token, or a Secret that is one; see `Bearer`."""
    return _secret(token, "Authorization", "Bearer") if _is_secret(token) else Bearer(token)


@overload
def session_token(token: str, header: str = ...) -> SessionToken: ...
@overload
def session_token(token: Secret, header: str = ...) -> SecretAuth: ...
def session_token(token: Any, header: str = "X-Session-Token") -> SessionToken | SecretAuth:
    """Send a session token, or a Secret that is one; see `SessionToken`."""
    return _secret(token, header, "") if _is_secret(token) else SessionToken(token, header)


@overload
def api_key(key: str, header: str = ..., *, prefix: str = ..., query: str | None = ...) -> APIKey: ...
@overload
def api_key(key: Secret, header: str = ..., *, prefix: str = ..., query: str | None = ...) -> SecretAuth: ...
def api_key(key: Any, header: str = "X-API-Key", *, prefix: str = "", query: str | None = None) -> APIKey | SecretAuth:
    """Send an API key, or a Secret that is one; see `APIKey`."""
    return _secret(key, header, prefix, query) if _is_secret(key) else APIKey(key, header, prefix, query)


def _is_secret(given: object) -> bool:
    if isinstance(given, str):
        return False
    from polvo_adapters.secrets.secret import Secret

    return isinstance(given, Secret)


def _secret(secret: Secret, header: str, prefix: str, query: str | None = None) -> SecretAuth:
    from polvo_adapters.auth.secret_auth import SecretAuth

    return SecretAuth(secret, header, prefix, query=query)


def _filled(auth: HeaderAuth, value: object) -> None:
    if not isinstance(value, str) or not value:
        raise ConfigurationError(f"{type(auth).__name__}: the credential must be a string that is not empty")
