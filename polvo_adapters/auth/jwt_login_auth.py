"""Username and password for JSON Web Tokens, which are refreshed as long as the server permits it.

Theory of operation. Many APIs have a login of their own beside OAuth2: POST of a name and a password as JSON returns an
access token and perhaps a refresh token, POST of the refresh token returns the next access token. Such a login is a
token endpoint without client and grant. The same `TokenEndpoint` describes it, and `fields` and `answers` are its short
form. The lifetime of a token is in the token itself (`exp`, RFC 7519 section 4.1.4); it is read and not verified: that
is up to the API.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from polvo_adapters.auth.options import JWTLoginOptions, TokenAuthOptions, require_known_options, select_options
from polvo_adapters.auth.protocol.client_authentication import Credentials
from polvo_adapters.auth.protocol.grant_flow import digest_parts, format_key_part
from polvo_adapters.auth.protocol.server_response import request_once
from polvo_adapters.auth.protocol.token import Token
from polvo_adapters.auth.protocol.token_endpoint import TokenEndpoint, TokenResponse, name_refresh
from polvo_adapters.auth.protocol.token_lifetime import read_lifetime
from polvo_adapters.auth.protocol.token_request import encode_request
from polvo_adapters.auth.protocol.token_response import parse_token
from polvo_adapters.auth.tokens.token_auth import TokenAuth
from polvo_adapters.core.setting_kinds import SettingKind, check_settings
from polvo_adapters.errors import ConfigurationError, TokenRefreshError
from polvo_adapters.redaction import hide
from polvo_adapters.shells.requests.one_shot import Channel
from polvo_adapters.shells.urls import TENANT_SLOT, validate_seconds, validate_url

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["JWTLogin", "jwt_login", "read_lifetime"]

_FIELDS, _ANSWERS = ("username", "password", "refresh"), ("access", "refresh")
_REFUSALS = (400, 401, 403)


_KINDS = {
    "fields": SettingKind("a tuple of three names", lambda value: value is None or _are_names(value, 3)),
    "answers": SettingKind("a tuple of two paths", lambda value: value is None or _are_names(value, 2)),
}


def _are_names(value: object, count: int) -> bool:
    is_listed = isinstance(value, (tuple, list)) and len(value) == count
    return is_listed and all(isinstance(each, str) and each for each in value)  # type: ignore[attr-defined]


class JWTLogin(TokenAuth):
    """Authorization of requests by the JSON Web Tokens of a login with username and password.

    Args:
        login_url: URL that name and password are posted to, or a `TokenEndpoint` that describes it. `{tenant}` in it is
            replaced by the tenant.
        username: The name, or a function that returns it.
        password: The password, or a function that returns it.
        refresh_url: URL that the refresh token is posted to, or a `TokenEndpoint`; without it, and without
            `TokenEndpoint(refresh=...)`, every refresh is a login.
        fields: Names of the fields of requests: username, password and refresh token; by default "username", "password"
            and "refresh". They belong to URLs; a `TokenEndpoint` has `names`.
        answers: Paths to the fields of responses: access token and refresh token; by default "access" and "refresh".
            Dots lead into objects, as in "data.access". They belong to URLs too.
        **options: See `ConnectionOptions` and `TokenAuthOptions` in `polvo_adapters.auth.options`.

    Raises:
        ValueError: A field is missing or cannot be used; the message names it.
        TypeError: A keyword is unknown.
    """

    _advice = "check username and password"
    _constants = ""  # as in pickles of earlier versions

    def __init__(
        self,
        login_url: str | TokenEndpoint,
        username: str | Callable[[], str],
        password: str | Callable[[], str] | None,
        *,
        refresh_url: str | TokenEndpoint | None = None,
        fields: tuple[str, str, str] | None = None,
        answers: tuple[str, str] | None = None,
        **options: Unpack[JWTLoginOptions],
    ) -> None:
        require_known_options(type(self).__name__, options, JWTLoginOptions)
        super().__init__(**select_options(options, TokenAuthOptions))
        _validate_login(username, password, login_url, refresh_url)
        check_settings(type(self).__name__, {"fields": fields, "answers": answers}, _KINDS, ConfigurationError)
        urls = (login_url, refresh_url)
        if not any(isinstance(url, str) for url in urls) and (fields, answers) != (None, None):
            raise ConfigurationError(
                "JWTLogin: a TokenEndpoint has names= and response=, in place of fields and answers"
            )
        self._login = _describe(login_url, fields or _FIELDS, answers or _ANSWERS)
        constants = (self._login.parameters, self._login.headers)
        self._constants = digest_parts([pair for each in constants for pair in sorted(each.items())])
        self._renewal = self._login.for_refresh if self._login.refresh is not None else None
        if refresh_url is not None:
            if self._renewal is not None:
                raise ConfigurationError("JWTLogin(refresh_url=...): the TokenEndpoint has refresh= already")
            self._renewal = name_refresh(_describe(refresh_url, fields or _FIELDS, answers or _ANSWERS))
        self._username, self._password = username, hide(password)
        timeout = validate_seconds("timeout", options.get("timeout", 10.0))
        self._channel = Channel(options.get("session"), options.get("verify"), None, timeout)
        self._allow_http = options.get("allow_http", False)
        for each in (self._login, self._renewal):
            if each is not None and each.client_authentication is not None:
                raise ConfigurationError("JWTLogin: client_authentication is for clients of OAuth2; a login has none")
            if each is not None and TENANT_SLOT not in each.url:
                validate_url("login_url" if each is self._login else "refresh_url", each.url, "", self._allow_http)

    def _identify(self, tenant: str) -> tuple[str, str]:
        login_url = self._login.url
        user = sha256(_resolve(self._username).encode()).hexdigest()[:16]
        host = login_url.partition("://")[2].partition("/")[0].rpartition("@")[2]
        key = f"token jwt {login_url} {format_key_part(tenant or None)} {user}"
        key += f" {self._constants}" if self._constants else ""
        return (key if self.owner is None else f"{key} of {format_key_part(self.owner)}"), host

    def _fetch_token(self, tenant: str, held: Token | None, seconds: float) -> Token:
        refresh_token = None if held is None else held.refresh_token
        if self._renewal is not None and refresh_token is not None:
            fields = {"grant_type": "refresh_token", "refresh_token": refresh_token}
            request = partial(self._post, tenant, self._renewal, fields, held, seconds)
            temporary = self._renewal.response.temporary
            try:
                return self._refresh_by(tenant, self._identify(tenant)[1], refresh_token, held, temporary, request)
            except TokenRefreshError as error:
                if not error.final:
                    raise
        if self._password is None:
            raise ConfigurationError(
                "JWTLogin: password stayed behind when this was pickled; give it as a function that fetches it"
            )
        user, password = _resolve(self._username), hide(_resolve(self._password))
        fields = {"grant_type": "password", "username": user, "password": password}
        try:
            return self._post(tenant, self._login, fields, held, seconds)
        except TokenRefreshError as error:
            error.lost = False  # nothing that the server takes only once
            raise

    def _post(
        self, tenant: str, described: TokenEndpoint, fields: Mapping[str, str], held: Token | None, seconds: float
    ) -> Token:
        """Return the token that the server issues for credentials."""
        channel = self._channel._replace(seconds=min(self._channel.seconds, seconds))
        url = validate_url("login_url", described.url, tenant, self._allow_http)
        known = {"tenant": tenant or None, "access_token": None if held is None else hide(held.access_token)}
        request = encode_request(described, url, fields, Credentials({}, {}, ()), known)
        if described.prepare is not None:
            validate_url("prepare", request.url.partition("?")[0], "", self._allow_http)
        response = request_once(
            channel,
            request.method,
            request.url,
            "the login",
            headers=request.headers,
            body=request.body,
            secrets=(*request.secrets, fields.get("username", "")),
        )
        refresh_token = fields.get("refresh_token")
        try:
            token = parse_token(response, None, described.response, refresh_token)
        except TokenRefreshError as error:
            if response.status in _REFUSALS and error.reason not in described.response.temporary:
                error.reason, error.final = "invalid_grant", True  # the same credentials will be refused again
            raise
        return replace(token, token_type="Bearer")

    def __getstate__(self) -> dict[str, Any]:
        password = self._password if callable(self._password) else None
        return {**super().__getstate__(), "_password": password}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "_urls" in state:  # of a pickle of an earlier version
            described = [url and _describe(url, state["_fields"], state["_answers"]) for url in state["_urls"]]
            state = {**state, "_login": described[0], "_renewal": described[1]}
        super().__setstate__(state)

    def __repr__(self) -> str:
        return f"<JWTLogin at {self._identify(TENANT_SLOT)[1]}>"


def jwt_login(*args: Any, **keywords: Any) -> JWTLogin:
    """Return a JWTLogin; arguments as for the class."""
    return JWTLogin(*args, **keywords)


def _validate_login(username: object, password: object, login_url: object, refresh_url: object) -> None:
    """Raise ConfigurationError now for values that would fail at the first login; it shows none of them."""
    given = {"username": username, "password": password}
    missing = [name for name, value in given.items() if not value]
    if missing:
        hint = "; is the environment variable set that it is read from?" if None in given.values() else ""
        raise ConfigurationError(f"JWTLogin: missing {', '.join(missing)}{hint}")
    for name, value in given.items():
        if not isinstance(value, str) and not callable(value):
            raise ConfigurationError(f"JWTLogin: {name} must be a text, or a function that returns one")
    for name, url in (("login_url", login_url), ("refresh_url", refresh_url or "")):
        if not isinstance(url, (str, TokenEndpoint)):
            found = "None, as from a variable that is not set" if url is None else type(url).__name__
            raise ConfigurationError(f"JWTLogin: {name} must be a URL or a TokenEndpoint, and not {found}")


def _describe(url: str | TokenEndpoint, fields: tuple[str, str, str], answers: tuple[str, str]) -> TokenEndpoint:
    """Return the description of a login that is given by its URL and the names of its fields."""
    if isinstance(url, TokenEndpoint):
        return url
    username, password, refresh = fields
    names = {"username": username, "password": password, "refresh_token": refresh, "grant_type": None}
    response = TokenResponse(access_token=answers[0], refresh_token=answers[1])
    return TokenEndpoint(url, encoding="json", names=names, response=response)


def _resolve(given: str | Callable[[], str]) -> str:
    return given() if callable(given) else given
