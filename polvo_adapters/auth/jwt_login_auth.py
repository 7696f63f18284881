"""Username and password for JSON Web Tokens, refreshed for as long as the server lets them be.

Theory of operation. Many APIs have a login of their own beside OAuth2: POST of a name and a password as JSON gives an
access token and perhaps a refresh token, POST of the refresh token gives the next access token. How long a token is
valid stands in the token itself (`exp`, RFC 7519 section 4.1.4); it is read and not verified: that is for the API.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from polvo_adapters.auth.protocol.grant_flow import part_of_key
from polvo_adapters.auth.protocol.server_response import ServerResponse, request_once, require_fields
from polvo_adapters.auth.protocol.token import Token
from polvo_adapters.auth.tokens.storage_factory import TokenStorageFactory
from polvo_adapters.auth.tokens.token_auth import TokenAuth
from polvo_adapters.auth.tokens.token_storage import TokenStorage
from polvo_adapters.errors import ConfigurationError, TokenRefreshError
from polvo_adapters.runtime.clock import SYSTEM, Clock
from polvo_adapters.shells.requests.one_shot import Channel
from polvo_adapters.shells.requests.urls import positive
from polvo_adapters.shells.requests.urls import url as checked_url

if TYPE_CHECKING:
    import requests

    from polvo_adapters.auth.tokens.sealing import Key
    from polvo_adapters.core.report import StateChange
    from polvo_adapters.stores.base import Store

_LATEST = 1e12  # Unix time that no token means; larger integers need not fit a float


class JWTLogin(TokenAuth):
    """Authorize requests by the JSON Web Tokens that a login with username and password gives.

    Args:
        login_url: Where name and password are posted to. `{tenant}` in it is replaced by the tenant.
        username: The name, or a function that returns it.
        password: The password, or a function that returns it.
        refresh_url: Where the refresh token is posted to; without it every refresh is a login.
        fields: Names of the fields that are sent: username, password and refresh token.
        answers: Names of the fields that come back: access token and refresh token. Dots lead into objects, as in
            "data.access".
        scheme: What stands before the token in the Authorization header.
        token_cache: As for OAuth2.
        cache_encryption: As for OAuth2.
        encryption_key: As for OAuth2.
        session: The `requests.Session` by which the login is talked to.
        verify: As for `requests`, for the login.
        timeout: Seconds for one answer of the login.
        deadline: Seconds for a whole refresh.
        refresh_before: Seconds before its end from which on a token is refreshed; at most a quarter of its lifetime.
        background: Whether tokens that still hold are refreshed on another thread, so that no request waits.
        max_tenants: For how many tenants tokens are held in memory.
        listeners: Called with a Change whenever a token was refreshed or could not be, and when its storage changed.
        allow_http: Whether secrets may go over plain http to other hosts than this one.
        clock: Time and chance; tests pass a virtual clock.

    Raises:
        ValueError: A field is missing or cannot be used; the message names it.
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
        scheme: str = "Bearer",
        token_cache: str | os.PathLike[str] | Store | None = None,
        cache_encryption: bool = True,
        encryption_key: Key | Callable[[], Key] | None = None,
        session: requests.Session | None = None,
        verify: bool | str | None = None,
        timeout: float = 10.0,
        deadline: float = 30.0,
        refresh_before: float = 60.0,
        background: bool = True,
        max_tenants: int = 1000,
        listeners: Sequence[Callable[[StateChange], object]] = (),
        allow_http: bool = False,
        clock: Clock = SYSTEM,
    ) -> None:
        super().__init__(
            refresh_before=refresh_before,
            deadline=deadline,
            background=background,
            max_tenants=max_tenants,
            listeners=listeners,
            clock=clock,
        )
        missing = [name for name, value in (("username", username), ("password", password)) if not value]
        if missing:
            raise ConfigurationError(f"JWTLogin: missing {', '.join(missing)}")
        self._urls = (login_url, refresh_url)
        self._username, self._password = username, password
        self._fields, self._answers, self._scheme = fields, answers, scheme
        self._channel = Channel(session, verify, None, positive("timeout", timeout))
        self._allow_http = allow_http
        self._places = TokenStorageFactory(token_cache, cache_encryption, encryption_key, clock, listeners)
        for given in (login_url, refresh_url):
            if given is not None and "{tenant}" not in given:
                checked_url("login_url", given, "", allow_http)

    def _owner(self, tenant: str) -> tuple[str, str]:
        login_url = self._urls[0]
        who = sha256(_value(self._username).encode()).hexdigest()[:16]
        return f"token jwt {login_url} {part_of_key(tenant or None)} {who}", login_url.partition("://")[2].partition(
            "/"
        )[0]

    def _storage(self, tenant: str) -> TokenStorage:
        return self._places.storage(tenant)

    def _ask(self, tenant: str, held: Token | None, seconds: float) -> Token:
        login_url, refresh_url = self._urls
        name, password, refresh = self._fields
        if refresh_url is not None and held is not None and held.refresh_token is not None:
            try:
                return self._posted(tenant, refresh_url, {refresh: held.refresh_token}, seconds)
            except TokenRefreshError as error:
                if not error.final:
                    raise
        if self._password is None:
            raise ConfigurationError(
                "JWTLogin: password stayed behind when this was pickled; give it as a function that fetches it"
            )
        who = {name: _value(self._username), password: _value(self._password)}
        return self._posted(tenant, login_url, who, seconds)

    def _posted(self, tenant: str, place: str, content: Mapping[str, str], seconds: float) -> Token:
        target = checked_url("login_url", place, tenant, self._allow_http)
        answer = request_once(
            self._channel._replace(seconds=min(self._channel.seconds, seconds)),
            "POST",
            target,
            "a token",
            headers={"Content-Type": "application/json"},
            body=json.dumps(content),
            secrets=tuple(content.values()),
        )
        access, refresh = (_found(_opened(answer), path) for path in self._answers)
        if access is None:
            raise answer.failure("no access_token")
        return Token(access, self._scheme, lifetime(access), refresh)

    def __getstate__(self) -> dict[str, Any]:
        password = self._password if callable(self._password) else None
        return {**super().__getstate__(), "_password": password}

    def __repr__(self) -> str:
        return f"<JWTLogin at {self._owner('{tenant}')[1]}>"


def jwt_login(*args: Any, **keywords: Any) -> JWTLogin:
    """Authorize requests by the JSON Web Tokens of a login; arguments as for `JWTLogin`."""
    return JWTLogin(*args, **keywords)


def lifetime(token: str) -> float | None:
    """Return for how many seconds from now a JSON Web Token says that it is valid, or None where it does not say.

    Args:
        token: The token; what is none says nothing.
    """
    import time

    import jwt

    try:
        expires = jwt.decode(token, options={"verify_signature": False}).get("exp")
    except (jwt.InvalidTokenError, RecursionError):
        return None
    if isinstance(expires, bool) or not isinstance(expires, (int, float)) or not abs(expires) < _LATEST:
        return None
    return max(1.0, expires - time.time())


def _opened(answer: ServerResponse) -> dict[str, Any]:
    """Return the object in an answer; a refusal is final, as the same credentials will be refused again."""
    if answer.status in (400, 401, 403):
        error = answer.failure("invalid_grant")
        raise error
    return require_fields(answer)


def _found(fields: Any, path: str) -> str | None:
    for name in path.split("."):
        fields = fields.get(name) if isinstance(fields, dict) else None
    return fields if isinstance(fields, str) and fields.isascii() and fields.isprintable() and fields else None


def _value(given: str | Callable[[], str]) -> str:
    return given() if callable(given) else given
