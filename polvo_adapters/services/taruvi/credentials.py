"""The credential of a client: none, a token that does not change, or the tokens of a login, which are refreshed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from polvo_adapters import errors
from polvo_adapters.auth.jwt_login_auth import JWTLogin
from polvo_adapters.auth.protocol.token_endpoint import TokenEndpoint, TokenResponse
from polvo_adapters.auth.static import APIKey, Bearer, SessionToken
from polvo_adapters.redaction import unpicklable
from polvo_adapters.services.taruvi import checks
from polvo_adapters.services.taruvi.settings import ClientSettings

TOKEN_TYPES = ("jwt", "api_key", "session_token")
"""What `signInWithToken` takes."""

TOKEN_PATH = "/api/cloud/auth/jwt/token/"  # noqa: S105 - a path
REFRESH_PATH = "/api/cloud/auth/jwt/token/refresh/"
VERIFY_PATH = "/api/cloud/auth/jwt/token/verify/"
_LOGIN_PATH = "/_allauth/app/v1/auth/login"

_RESPONSE = TokenResponse(
    access_token=("meta.access_token", "data.meta.access_token", "access", "data.access", "access_token"),
    refresh_token=("meta.refresh_token", "data.meta.refresh_token", "refresh", "data.refresh", "refresh_token"),
    error=("code", "error"),
    error_description=("detail", "message", "errors.0.message"),
)


@unpicklable
class Credential(NamedTuple):
    """What authenticates the calls of a client.

    Attributes:
        auth: The auth object, or None where nothing does.
        secret: The token where it does not change, which no text may show.
    """

    auth: Any = None
    secret: str = ""

    def __repr__(self) -> str:
        return "<no credential>" if self.auth is None else f"<credential {self.auth!r}>"


ANONYMOUS = Credential()


def from_token(token: object, token_type: str) -> Credential:
    """Return the credential of a token that does not change."""
    checks.require_choice("token_type", token_type, TOKEN_TYPES)
    text = checks.require_token("token", token)
    if token_type == "jwt":  # noqa: S105 - the name of a kind
        return Credential(Bearer(text), text)
    if token_type == "api_key":  # noqa: S105 - as above
        return Credential(APIKey(text, header="Authorization", prefix="Api-Key"), text)
    return Credential(SessionToken(text), text)


def from_login(settings: ClientSettings, username: object, password: object, headers: Mapping[str, str]) -> Credential:
    """Return the credential of a login; it logs in when a token is needed, and refreshes it before its end.

    Args:
        settings: Those of the client.
        username: Name or e-mail address of the user.
        password: The password.
        headers: What the client sends with every call.
    """
    name = checks.require_text("username", _require_set("username", username))
    secret = checks.require_text("password", _require_set("password", password))
    is_current = settings.wire == "current"
    login = _describe(
        settings.api_url + login_path(settings), {"username": "email" if is_current else "username"}, headers
    )
    refresh = _describe(settings.api_url + REFRESH_PATH, {"refresh_token": "refresh"}, headers)
    problem = ""
    try:
        auth = JWTLogin(
            login,
            name,
            secret,
            refresh_url=refresh,
            timeout=settings.timeout,
            deadline=settings.longest(None),
            allow_http=settings.allow_http,
        )
        auth._max_attempts = settings.max_retries + 1
        return Credential(auth)
    except errors.ConfigurationError as error:
        problem = str(error)
    raise checks.refuse("api_url", problem)


def _describe(url: str, names: Mapping[str, str | None], headers: Mapping[str, str]) -> TokenEndpoint:
    """Return where tokens come from: names and values as JSON, without a grant."""
    named = {**names, "grant_type": None}
    return TokenEndpoint(url, encoding="json", names=named, headers=dict(headers), response=_RESPONSE)


def login_path(settings: ClientSettings) -> str:
    """Return the path that a client logs in at."""
    return _LOGIN_PATH if settings.wire == "current" else TOKEN_PATH


def _require_set(name: str, value: object) -> object:
    if value is None:
        raise checks.refuse(name, "it is None, as from an environment variable that is not set")
    return value
