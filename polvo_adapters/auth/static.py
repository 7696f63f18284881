"""Credentials that do not change: a bearer token, an API key, a session token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

from polvo_adapters.auth.attach.credential import CredentialURL, HeaderAuth, require_no_rules, require_prepared
from polvo_adapters.core.setting_kinds import TEXT, check_settings, describe_misfit
from polvo_adapters.errors import ConfigurationError
from polvo_adapters.shells.credential_owners import add_credential_parameter

if TYPE_CHECKING:
    from requests import PreparedRequest, Response

    from polvo_adapters.auth.secret_auth import SecretAuth
    from polvo_adapters.core.credential_refusals import Refused
    from polvo_adapters.secrets.secret import Secret

__all__ = ["APIKey", "Bearer", "SessionToken"]


_KINDS = {"prefix": TEXT, "query": TEXT | None}


class Bearer(HeaderAuth):
    """Authorization by a bearer token: `Authorization: Bearer <token>` (RFC 6750 section 2.1).

    Args:
        token: The token.
    """

    def __init__(self, token: str) -> None:
        _require_text(self, "token", token)
        super().__init__("Authorization", f"Bearer {token}")


class SessionToken(HeaderAuth):
    """Authorization by a session token in a header of its own.

    Args:
        token: The token.
        header: Name of the header.
    """

    def __init__(self, token: str, header: str = "X-Session-Token") -> None:
        _require_text(self, "token", token)
        super().__init__(header, token)


class APIKey(HeaderAuth):
    """Authorization by an API key, in a header or in the query.

    Args:
        key: The key.
        header: Name of the header.
        prefix: Text before the key, such as "Api-Key" for `Authorization: Api-Key <key>`.
        query: Name of a query parameter to send the key in instead. Other code that logs URLs or builds messages of
            them may show it, as urllib3 does: if the API accepts a header, use that.
    """

    def __init__(self, key: str, header: str = "X-API-Key", prefix: str = "", query: str | None = None) -> None:
        _require_text(self, "key", key)
        check_settings("APIKey", {"prefix": prefix, "query": query}, _KINDS, ConfigurationError, shows=False)
        super().__init__(header, f"{prefix} {key}" if prefix else key)
        self._query = query

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Put the key on a request."""
        if self._query is None:
            return super().__call__(request)
        require_prepared(self, request)
        request.prepare_url(request.url or "", {self._query: self._require_value()})
        request.url = CredentialURL.of(self._query, request.url or "")
        add_credential_parameter(request, self._query)
        request.register_hook("response", self._protect_redirect)  # which tells the parameter after a redirect as well
        return request

    def place(self) -> tuple[str, str, bool]:
        """Return the name of the header or query parameter, the value, and whether it is a parameter; for httpx."""
        return super().place() if self._query is None else (self._query, self._require_value(), True)

    @property
    def credential_places(self) -> tuple[str, ...]:
        """Where the key is; see `polvo_adapters.shells.credential_owners`."""
        return super().credential_places if self._query is None else (f"?{self._query}",)

    def _protect_redirect(self, response: Response, **keywords: object) -> None:
        if self._query is None:
            super()._protect_redirect(response, **keywords)

    def __repr__(self) -> str:
        if "_query" not in vars(self):
            return "<APIKey, half made>"  # in a traceback that shows locals
        return f"<APIKey {self._header if self._query is None else f'query {self._query}'}>"


@overload
def bearer(token: str) -> Bearer: ...
@overload
def bearer(token: Secret, *, refused: Refused = ...) -> SecretAuth: ...
def bearer(token: Any, *, refused: Refused = None) -> Bearer | SecretAuth:
    """Return the authorization by a bearer token, or by a Secret that is one; see `Bearer` and `SecretAuth`."""
    return _secret_auth("bearer", token, "Authorization", "Bearer", refused) or Bearer(token)


@overload
def session_token(token: str, header: str = ...) -> SessionToken: ...
@overload
def session_token(token: Secret, header: str = ..., *, refused: Refused = ...) -> SecretAuth: ...
def session_token(token: Any, header: str = "X-Session-Token", *, refused: Refused = None) -> SessionToken | SecretAuth:
    """Return the authorization by a session token, or by a Secret that is one; see `SessionToken` and `SecretAuth`."""
    return _secret_auth("session_token", token, header, "", refused) or SessionToken(token, header)


@overload
def api_key(key: str, header: str = ..., *, prefix: str = ..., query: str | None = ...) -> APIKey: ...
@overload
def api_key(
    key: Secret, header: str = ..., *, prefix: str = ..., query: str | None = ..., refused: Refused = ...
) -> SecretAuth: ...
def api_key(
    key: Any, header: str = "X-API-Key", *, prefix: str = "", query: str | None = None, refused: Refused = None
) -> APIKey | SecretAuth:
    """Return the authorization by an API key, or by a Secret that is one; see `APIKey` and `SecretAuth`."""
    return _secret_auth("api_key", key, header, prefix, refused, query) or APIKey(key, header, prefix, query)


def _secret_auth(
    maker: str, credential: Any, header: str, prefix: str, refused: Refused, query: str | None = None
) -> SecretAuth | None:
    """Return the authorization by a Secret, or None if the credential is none."""
    if not isinstance(credential, str):  # a text needs none of these modules
        from polvo_adapters.auth.secret_auth import SecretAuth
        from polvo_adapters.secrets.secret import Secret

        if isinstance(credential, Secret):
            return SecretAuth(credential, header, prefix, query=query, refused=refused)
    require_no_rules(maker, refused)
    return None


def _require_text(auth: HeaderAuth, name: str, credential: object) -> None:
    if not isinstance(credential, str) or not credential:
        wanted = "a text that is not empty, or a Secret"
        raise ConfigurationError(describe_misfit(type(auth).__name__, name, credential, wanted, shows=False))
