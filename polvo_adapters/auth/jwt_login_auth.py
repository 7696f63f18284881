"""Username and password for JSON Web Tokens, which are refreshed as long as the server permits it.

Theory of operation. Many APIs have a login of their own beside OAuth2: POST of a name and a password as JSON returns an
access token and perhaps a refresh token, POST of the refresh token returns the next access token. The lifetime of a
token is in the token itself (`exp`, RFC 7519 section 4.1.4); it is read and not verified: that is up to the API.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Any, TypeGuard

from polvo_adapters.auth.options import JWTLoginOptions, TokenAuthOptions, require_known_options, select_options
from polvo_adapters.auth.protocol.grant_flow import format_key_part
from polvo_adapters.auth.protocol.server_response import request_once, require_fields
from polvo_adapters.auth.protocol.token import Token
from polvo_adapters.auth.tokens.token_auth import TokenAuth
from polvo_adapters.errors import ConfigurationError, TokenRefreshError
from polvo_adapters.redaction import HiddenText, hide
from polvo_adapters.shells.requests.one_shot import Channel
from polvo_adapters.shells.requests.urls import TENANT_SLOT, validate_seconds, validate_url

if TYPE_CHECKING:
    from typing_extensions import Unpack

_LATEST = 1e12  # Unix time that no real token contains; larger integers need not fit a float


class JWTLogin(TokenAuth):
    """Authorization of requests by the JSON Web Tokens of a login with username and password.

    Args:
        login_url: URL that name and password are posted to. `{tenant}` in it is replaced by the tenant.
        username: The name, or a function that returns it.
        password: The password, or a function that returns it.
        refresh_url: URL that the refresh token is posted to; without it every refresh is a login.
        fields: Names of the fields of requests: username, password and refresh token.
        answers: Names of the fields of responses: access token and refresh token. Dots lead into objects, as in
            "data.access".
        **options: See `ConnectionOptions` and `TokenAuthOptions` in `polvo_adapters.auth.options`.

    Raises:
        ValueError: A field is missing or cannot be used; the message names it.
        TypeError: A keyword is unknown.
    """

    _advice = "check username and password"

    def __init__(
        self,
        login_url: str,
        username: str | Callable[[], str],
        password: str | Callable[[], str] | None,
        *,
        refresh_url: str | None = None,
        fields: tuple[str, str, str] = ("username", "password", "refresh"),
        answers: tuple[str, str] = ("access", "refresh"),
        **options: Unpack[JWTLoginOptions],
    ) -> None:
        require_known_options(type(self).__name__, options, JWTLoginOptions)
        super().__init__(**select_options(options, TokenAuthOptions))
        missing = [name for name, value in (("username", username), ("password", password)) if not value]
        if missing:
            raise ConfigurationError(f"JWTLogin: missing {', '.join(missing)}")
        self._urls = (login_url, refresh_url)
        self._username, self._password = username, hide(password)
        self._fields, self._answers = fields, answers
        timeout = validate_seconds("timeout", options.get("timeout", 10.0))
        self._channel = Channel(options.get("session"), options.get("verify"), None, timeout)
        self._allow_http = options.get("allow_http", False)
        for given in (login_url, refresh_url):
            if given is not None and TENANT_SLOT not in given:
                validate_url("login_url", given, "", self._allow_http)

    def _identify(self, tenant: str) -> tuple[str, str]:
        login_url = self._urls[0]
        user = sha256(_resolve(self._username).encode()).hexdigest()[:16]
        host = login_url.partition("://")[2].partition("/")[0].rpartition("@")[2]
        key = f"token jwt {login_url} {format_key_part(tenant or None)} {user}"
        return (key if self.owner is None else f"{key} of {format_key_part(self.owner)}"), host

    def _fetch_token(self, tenant: str, held: Token | None, seconds: float) -> Token:
        login_url, refresh_url = self._urls
        name, password, refresh = self._fields
        if refresh_url is not None and held is not None and held.refresh_token is not None:
            try:
                return self._post(tenant, refresh_url, {refresh: hide(held.refresh_token)}, seconds)
            except TokenRefreshError as error:
                if not error.final:
                    raise
        if self._password is None:
            raise ConfigurationError(
                "JWTLogin: password stayed behind when this was pickled; give it as a function that fetches it"
            )
        credentials = {name: _resolve(self._username), password: hide(_resolve(self._password))}
        return self._post(tenant, login_url, credentials, seconds)

    def _post(self, tenant: str, url: str, content: Mapping[str, str], seconds: float) -> Token:
        """Return the token that the server issues for credentials."""
        channel = self._channel._replace(seconds=min(self._channel.seconds, seconds))
        url = validate_url("login_url", url, tenant, self._allow_http)
        headers, body = {"Content-Type": "application/json"}, HiddenText(json.dumps(content))
        response = request_once(
            channel, "POST", url, "a token", headers=headers, body=body, secrets=tuple(content.values())
        )
        if response.status in (400, 401, 403):
            raise response.make_error("invalid_grant")  # final: the same credentials will be refused again
        received = require_fields(response)
        access, refresh = (_find_text(received, path) for path in self._answers)
        if access is None:
            raise response.make_error("no access_token")
        return Token(access, expires_in=read_lifetime(access), refresh_token=refresh)

    def __getstate__(self) -> dict[str, Any]:
        password = self._password if callable(self._password) else None
        return {**super().__getstate__(), "_password": password}

    def __repr__(self) -> str:
        return f"<JWTLogin at {self._identify(TENANT_SLOT)[1]}>"


def jwt_login(*args: Any, **keywords: Any) -> JWTLogin:
    """Return a JWTLogin; arguments as for the class."""
    return JWTLogin(*args, **keywords)


def read_lifetime(token: str) -> float | None:
    """Return the seconds until a JSON Web Token expires that was issued just now, or None if it does not say.

    A cache shares the number with other processes. So where the wall clock of this one disagrees with the token, which
    cannot have expired already nor live longer than from `iat` to `exp`, the clock of the server counts.

    Args:
        token: The token; any other text has no lifetime.
    """
    import time

    import jwt

    try:
        claims = jwt.decode(token, options={"verify_signature": False})
    except (jwt.InvalidTokenError, RecursionError):
        return None
    expires_at, issued_at = claims.get("exp"), claims.get("iat")
    if not _is_date(expires_at):
        return None
    left = expires_at - time.time()
    if _is_date(issued_at) and issued_at < expires_at and not 0 < left <= expires_at - issued_at:
        left = expires_at - issued_at
    return max(1.0, left)


def _is_date(value: Any) -> TypeGuard[float]:
    return type(value) in (int, float) and bool(abs(value) < _LATEST)


def _find_text(fields: Any, path: str) -> str | None:
    for name in path.split("."):
        fields = fields.get(name) if isinstance(fields, dict) else None
    return fields if isinstance(fields, str) and fields.isascii() and fields.isprintable() and fields else None


def _resolve(given: str | Callable[[], str]) -> str:
    return given() if callable(given) else given
