"""What a client may ask a token for: the form fields of each grant.

Theory of operation. A grant is a plain mapping of the fields that make a token request what it is. It names no client
and no server: `AuthorizationServer.token` adds who is asking, and sends it. Fields that are None are left out, a
sequence is sent once per value.

    builder              grant                                        source
    -------------------  -------------------------------------------  ---------------------------
    client_credentials   the client asks for itself                   RFC 6749 section 4.4
    password             a user's name and password                   RFC 6749 section 4.3
    refresh              a refresh token                              RFC 6749 section 6
    code                 what the user's browser brought back         RFC 6749 section 4.1.3, 7636
    device               what the user confirms on another device     RFC 8628 section 3.4
    jwt_bearer           a signed assertion                           RFC 7523 section 2.1
    token_exchange       another token                                RFC 8693 section 2.1

All but the first hold secrets: these mappings are made to be sent, and not to be kept or printed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

Value: TypeAlias = "str | Sequence[str] | None"
Fields: TypeAlias = "Mapping[str, Value]"

ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"


def client_credentials(scope: Value = None, audience: Value = None, resource: Value = None) -> dict[str, Value]:
    """Ask for a token in the client's own name.

    Args:
        scope: What it shall be good for: names separated by spaces, or a sequence of them.
        audience: The API that it is meant for, as some servers want to know it.
        resource: The same as a URL (RFC 8707).

    Returns:
        The fields of the request.

    Source: RFC 6749 section 4.4.
    """
    return {
        "grant_type": "client_credentials",
        "scope": scope_text(scope),
        "audience": audience,
        "resource": resource,
    }


def password(username: str, password: str, scope: Value = None) -> dict[str, Value]:
    """Ask for a token by a user's name and password: for servers that know nothing better.

    Args:
        username: The user.
        password: The password.
        scope: What it shall be good for.

    Returns:
        The fields of the request.

    Source: RFC 6749 section 4.3.
    """
    return {"grant_type": "password", "username": username, "password": password, "scope": scope_text(scope)}


def refresh(refresh_token: str, scope: Value = None) -> dict[str, Value]:
    """Ask for a new token by a refresh token.

    Args:
        refresh_token: The refresh token; the answer may bring another, which then takes its place.
        scope: What the new token shall be good for, where that is less than the old one was.

    Returns:
        The fields of the request.

    Source: RFC 6749 section 6.
    """
    return {"grant_type": "refresh_token", "refresh_token": refresh_token, "scope": scope_text(scope)}


def code(code: str, redirect_uri: str | None = None, code_verifier: str | None = None) -> dict[str, Value]:
    """Ask for a token by the code that the user's browser brought back.

    Args:
        code: The code; it is good once.
        redirect_uri: Where the browser was sent back to, just as it stood in the authorization request.
        code_verifier: The secret of that request (RFC 7636).

    Returns:
        The fields of the request.

    Source: RFC 6749 section 4.1.3, RFC 7636 section 4.5.
    """
    return {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": redirect_uri,
        "code_verifier": code_verifier,
    }


def device(device_code: str) -> dict[str, Value]:
    """Ask for a token that the user confirms on another device.

    Args:
        device_code: What `AuthorizationServer.device_authorization` returned.

    Returns:
        The fields of the request.

    Source: RFC 8628 section 3.4.
    """
    return {"grant_type": DEVICE_CODE, "device_code": device_code}


def jwt_bearer(
    assertion: str | None = None,
    *,
    issuer: str | None = None,
    subject: str | None = None,
    audience: str | None = None,
    lifetime: float = 300.0,
    private_key: Any = None,
    key_id: str | None = None,
    algorithm: str | None = None,
    claims: Mapping[str, Any] | None = None,
    scope: Value = None,
) -> dict[str, Value]:
    """Ask for a token by a signed assertion: a service account, or somebody that another server vouches for.

    Args:
        assertion: The assertion, where somebody else signed it. Otherwise one is made of what follows.
        issuer: Who signs.
        subject: In whose name; by default the issuer's own.
        audience: Who shall accept it: the URL of the token endpoint or the issuer's name of the server.
        lifetime: Seconds for which the assertion is valid.
        private_key: The key to sign with, as for `AuthorizationServer`.
        key_id: Its name (`kid`).
        algorithm: As for `AuthorizationServer`.
        claims: Further claims of the assertion.
        scope: What the token shall be good for.

    Returns:
        The fields of the request. An assertion is made now, so that they are to be sent soon.

    Raises:
        ConfigurationError: There is neither an assertion nor what is needed to make one, or the key is none.

    Source: RFC 7523 sections 2.1 and 3.
    """
    if assertion is None:
        from polvo_adapters.auth.protocol.jwt_signing import made_assertion

        assertion = made_assertion(
            issuer=issuer,
            subject=subject,
            audience=audience,
            lifetime=lifetime,
            private_key=private_key,
            key_id=key_id,
            algorithm=algorithm,
            claims=claims,
        )
    return {"grant_type": JWT_BEARER, "assertion": assertion, "scope": scope_text(scope)}


def token_exchange(
    subject_token: str,
    subject_token_type: str = ACCESS_TOKEN,
    *,
    actor_token: str | None = None,
    actor_token_type: str | None = None,
    requested_token_type: str | None = None,
    audience: Value = None,
    resource: Value = None,
    scope: Value = None,
) -> dict[str, Value]:
    """Ask for a token in exchange for another one.

    Args:
        subject_token: The token of the party in whose name the new one shall be.
        subject_token_type: What kind of token that is, as a URI.
        actor_token: The token of the party that acts for the subject.
        actor_token_type: What kind of token that is; with an actor token an access token by default.
        requested_token_type: What kind of token is wanted.
        audience: Whom the new token is meant for, by name.
        resource: Whom it is meant for, by URL.
        scope: What it shall be good for.

    Returns:
        The fields of the request.

    Source: RFC 8693 section 2.1.
    """
    return {
        "grant_type": TOKEN_EXCHANGE,
        "subject_token": subject_token,
        "subject_token_type": subject_token_type,
        "actor_token": actor_token,
        "actor_token_type": (actor_token_type or ACCESS_TOKEN) if actor_token is not None else None,
        "requested_token_type": requested_token_type,
        "audience": audience,
        "resource": resource,
        "scope": scope_text(scope),
    }


def scope_text(scope: Value) -> str | None:
    """Return a scope as one text, or None where there is none.

    Args:
        scope: Names separated by spaces, or a sequence of them.

    Source: RFC 6749 section 3.3.
    """
    if scope is None or isinstance(scope, str):
        return scope or None
    return " ".join(scope) or None
