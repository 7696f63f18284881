"""Credentials for requests: obtained, renewed before they expire, kept where you say, and shown to nobody else.

    oauth2, OAuth2               tokens of OAuth2, renewed by one of all who share them
    jwt_login, JWTLogin          JSON Web Tokens of a login with username and password
    bearer, api_key,             credentials that do not change
    session_token
    secret, basic                secrets that are fetched when they are sent, and again when they are refused
    TokenCache                   the file that tokens live in

All of them go to any session: `session.auth = ...`, or `auth=...` of a single call. Each name is loaded when it is
first used (PEP 562); no module has the name of a function, or loading the one would hide the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polvo_adapters.loading import load

if TYPE_CHECKING:
    from polvo_adapters.auth.authorization import AuthorizationRequest
    from polvo_adapters.auth.cache import TokenCache
    from polvo_adapters.auth.device import DeviceAuthorization
    from polvo_adapters.auth.fixed import APIKey, Bearer, SessionToken, api_key, bearer, session_token
    from polvo_adapters.auth.login import JWTLogin, jwt_login
    from polvo_adapters.auth.oauth import OAuth2, oauth2
    from polvo_adapters.auth.secret_auth import SecretAuth, basic, secret
    from polvo_adapters.auth.token import Token

__all__ = [
    "APIKey",
    "AuthorizationRequest",
    "Bearer",
    "DeviceAuthorization",
    "JWTLogin",
    "OAuth2",
    "SecretAuth",
    "SessionToken",
    "Token",
    "TokenCache",
    "api_key",
    "basic",
    "bearer",
    "jwt_login",
    "oauth2",
    "secret",
    "session_token",
]

_HOMES = {
    "AuthorizationRequest": "authorization",
    "DeviceAuthorization": "device",
    "JWTLogin": "login",
    "OAuth2": "oauth",
    "Token": "token",
    "TokenCache": "cache",
    "jwt_login": "login",
    "oauth2": "oauth",
    **dict.fromkeys(("SecretAuth", "basic", "secret"), "secret_auth"),
    **dict.fromkeys(("APIKey", "Bearer", "SessionToken", "api_key", "bearer", "session_token"), "fixed"),
}


def __getattr__(name: str) -> Any:
    return load(__name__, _HOMES, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
