"""The form fields of each grant: what a client can request a token with.

Theory of operation. A grant is a mapping of form fields. It names neither client nor server:
`AuthorizationServer.token` adds the client's credentials and sends it. Fields that are None are left out, and a
sequence is sent once per value.

    builder              grant                                        source
    -------------------  -------------------------------------------  ---------------------------
    client_credentials   the client's own credentials                 RFC 6749 section 4.4
    password             a user's name and password                   RFC 6749 section 4.3
    refresh              a refresh token                              RFC 6749 section 6
    code                 what the user's browser brought back         RFC 6749 section 4.1.3, 7636
    device               what the user confirms on another device     RFC 8628 section 3.4
    jwt_bearer           a signed assertion                           RFC 7523 section 2.1
    token_exchange       another token                                RFC 8693 section 2.1

The fields of all grants but the first contain secrets: they are made to be sent, and not to be stored or printed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from polvo_adapters.auth.protocol.jwt_signing import LEEWAY, make_assertion

FieldValue: TypeAlias = "str | Sequence[str] | None"
FormFields: TypeAlias = "Mapping[str, FieldValue]"

ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"


def client_credentials(
    scope: FieldValue = None, audience: FieldValue = None, resource: FieldValue = None
) -> dict[str, FieldValue]:
    """Return the fields of a grant by the client's own credentials.

    Args:
        scope: What the token shall permit: names separated by spaces, or a sequence of them.
        audience: The API that the token is meant for, where the server expects its name.
        resource: The API that the token is meant for, as a URL (RFC 8707).

    Source: RFC 6749 section 4.4.
    """
    return {"grant_type": "client_credentials", "scope": join_scope(scope), "audience": audience, "resource": resource}


def password(
    username: str, password: str, scope: FieldValue = None, audience: FieldValue = None, resource: FieldValue = None
) -> dict[str, FieldValue]:
    """Return the fields of a grant by a user's name and password, for servers that support nothing better.

    Args:
        username: Name of the user.
        password: Password of the user.
        scope: What the token shall permit.
        audience: As for `client_credentials`.
        resource: As for `client_credentials`.

    Source: RFC 6749 section 4.3.
    """
    target = {"scope": join_scope(scope), "audience": audience, "resource": resource}
    return {"grant_type": "password", "username": username, "password": password, **target}


def refresh(
    refresh_token: str, scope: FieldValue = None, audience: FieldValue = None, resource: FieldValue = None
) -> dict[str, FieldValue]:
    """Return the fields of a grant by a refresh token.

    Args:
        refresh_token: The refresh token; the response may bring another one, which then replaces it.
        scope: What the new token shall permit, at most what the old one did; by default the same.
        audience: As for `client_credentials`.
        resource: As for `client_credentials`.

    Source: RFC 6749 section 6, RFC 8707 section 2.2.
    """
    target = {"scope": join_scope(scope), "audience": audience, "resource": resource}
    return {"grant_type": "refresh_token", "refresh_token": refresh_token, **target}


def code(code: str, redirect_uri: str | None = None, code_verifier: str | None = None) -> dict[str, FieldValue]:
    """Return the fields of a grant by the code that the user's browser brought back.

    Args:
        code: The code; it can be used once.
        redirect_uri: The redirect URI of the authorization request, unchanged.
        code_verifier: The secret of that request (RFC 7636).

    Source: RFC 6749 section 4.1.3, RFC 7636 section 4.5.
    """
    return {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": redirect_uri,
        "code_verifier": code_verifier,
    }


def device(device_code: str) -> dict[str, FieldValue]:
    """Return the fields of a grant that the user confirms on another device.

    Args:
        device_code: The `device_code` of `AuthorizationServer.device_authorization`.

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
    headers: Mapping[str, Any] | None = None,
    leeway: float = LEEWAY,
    scope: FieldValue = None,
    resource: FieldValue = None,
) -> dict[str, FieldValue]:
    """Return the fields of a grant by a signed assertion, about a service account or the user of another server.

    Without an assertion, one is made now of the other arguments; send it soon.

    Args:
        assertion: The assertion, if another party signed it.
        issuer: The party that signs the assertion.
        subject: The party that the assertion is about; by default the issuer.
        audience: The server that shall accept the assertion: URL of its token endpoint, or its issuer's name.
        lifetime: Seconds for which the assertion is valid.
        private_key: Key of the signature, as for `AuthorizationServer`.
        key_id: Name of the key (`kid`).
        algorithm: As for `AuthorizationServer`.
        claims: Further claims of the assertion; None leaves a standard one out.
        headers: Further JOSE headers of the assertion, such as `x5t`.
        leeway: Seconds by which the assertion is back-dated, as the clock of this machine may be ahead of the server's.
        scope: What the token shall permit. It is sent beside an assertion that is made here, and is a claim of it too:
            Google and DocuSign expect it there.
        resource: As for `client_credentials`.

    Raises:
        ConfigurationError: There is neither an assertion nor what is needed to make one, or the key cannot be used.

    Source: RFC 7523 sections 2.1 and 3.
    """
    if assertion is None:
        assertion = make_assertion(
            issuer=issuer,
            subject=subject,
            audience=audience,
            lifetime=lifetime,
            private_key=private_key,
            key_id=key_id,
            algorithm=algorithm,
            claims={"scope": join_scope(scope), **(claims or {})},
            headers=headers,
            leeway=leeway,
        )
    return {"grant_type": JWT_BEARER, "assertion": assertion, "scope": join_scope(scope), "resource": resource}


def token_exchange(
    subject_token: str,
    subject_token_type: str = ACCESS_TOKEN,
    *,
    actor_token: str | None = None,
    actor_token_type: str | None = None,
    requested_token_type: str | None = None,
    audience: FieldValue = None,
    resource: FieldValue = None,
    scope: FieldValue = None,
) -> dict[str, FieldValue]:
    """Return the fields of a grant that exchanges another token.

    Args:
        subject_token: The token of the party that the new token shall represent.
        subject_token_type: Type of that token, a URI.
        actor_token: The token of the party that acts for the subject.
        actor_token_type: Type of that token, a URI; with an actor token an access token by default.
        requested_token_type: Type of the new token, a URI.
        audience: The API that the new token is meant for, by name.
        resource: The API that the new token is meant for, by URL.
        scope: What the new token shall permit.

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
        "scope": join_scope(scope),
    }


def join_scope(scope: FieldValue) -> str | None:
    """Return a scope as one text, or None if there is none.

    Args:
        scope: Names separated by spaces, or a sequence of them.

    Source: RFC 6749 section 3.3.
    """
    if scope is None or isinstance(scope, str):
        return scope or None
    return " ".join(scope) or None
