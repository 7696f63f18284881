"""Credentials for requests: obtained, refreshed before they expire, and stored where you choose.

    oauth2, OAuth2               tokens of OAuth2, refreshed by one of all callers that share them
    TokenEndpoint,               a token endpoint with ways of its own: how it is asked, what its answers mean
    TokenResponse, TokenRequest
    jwt_login, JWTLogin          JSON Web Tokens of a login with username and password
    bearer, api_key,             credentials that do not change
    session_token
    signed                       auth objects of others that sign, asked again before each attempt
    secret, basic                secrets that are fetched when they are sent, and again when they are refused
    CredentialRefusal            what the answer of an API looks like that refuses a credential
    TokenCache                   a file of tokens

All of them work with any session: `session.auth = ...`, or `auth=...` of a single call. Each name is loaded at its
first use (PEP 562). No module may have the name of a function here: it would hide the function as soon as it is loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from polvo_adapters.runtime.lazy import lazy_attributes

if TYPE_CHECKING:
    from polvo_adapters.auth.jwt_login_auth import JWTLogin, jwt_login
    from polvo_adapters.auth.oauth import OAuth2, oauth2
    from polvo_adapters.auth.protocol.authorization_code import AuthorizationRequest
    from polvo_adapters.auth.protocol.device_code import DeviceAuthorization
    from polvo_adapters.auth.protocol.revocation_endpoint import RevocationEndpoint
    from polvo_adapters.auth.protocol.token import Token
    from polvo_adapters.auth.protocol.token_endpoint import TokenEndpoint, TokenRequest, TokenResponse
    from polvo_adapters.auth.secret_auth import SecretAuth, basic, secret
    from polvo_adapters.auth.signing_auth import SigningAuth, signed
    from polvo_adapters.auth.static import APIKey, Bearer, SessionToken, api_key, bearer, session_token
    from polvo_adapters.core.credential_refusals import CredentialRefusal
    from polvo_adapters.stores.token_cache import TokenCache

__all__ = [
    "APIKey",
    "AuthorizationRequest",
    "Bearer",
    "CredentialRefusal",
    "DeviceAuthorization",
    "JWTLogin",
    "OAuth2",
    "RevocationEndpoint",
    "SecretAuth",
    "SessionToken",
    "SigningAuth",
    "Token",
    "TokenCache",
    "TokenEndpoint",
    "TokenRequest",
    "TokenResponse",
    "api_key",
    "basic",
    "bearer",
    "jwt_login",
    "oauth2",
    "secret",
    "session_token",
    "signed",
]

_HOMES = {
    "AuthorizationRequest": "polvo_adapters.auth.protocol.authorization_code",
    "CredentialRefusal": "polvo_adapters.core.credential_refusals",
    "DeviceAuthorization": "polvo_adapters.auth.protocol.device_code",
    "RevocationEndpoint": "polvo_adapters.auth.protocol.revocation_endpoint",
    "Token": "polvo_adapters.auth.protocol.token",
    **dict.fromkeys(("JWTLogin", "jwt_login"), "polvo_adapters.auth.jwt_login_auth"),
    **dict.fromkeys(("OAuth2", "oauth2"), "polvo_adapters.auth.oauth"),
    **dict.fromkeys(("SigningAuth", "signed"), "polvo_adapters.auth.signing_auth"),
    "TokenCache": "polvo_adapters.stores.token_cache",
    **dict.fromkeys(("TokenEndpoint", "TokenRequest", "TokenResponse"), "polvo_adapters.auth.protocol.token_endpoint"),
    **dict.fromkeys(("SecretAuth", "basic", "secret"), "polvo_adapters.auth.secret_auth"),
    **dict.fromkeys(
        ("APIKey", "Bearer", "SessionToken", "api_key", "bearer", "session_token"), "polvo_adapters.auth.static"
    ),
}

__getattr__, __dir__ = lazy_attributes(__name__, _HOMES)
