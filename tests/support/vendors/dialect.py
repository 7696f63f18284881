"""What one vendor's documentation says of its token endpoint and of its API, as data that `standin` acts on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"


class Said(NamedTuple):
    """An answer: a status and a body, which goes as JSON unless it is a text."""

    status: int
    body: Any


NOTHING = Said(200, "")
"""An empty answer."""


class Issued(NamedTuple):
    """What a token endpoint has issued.

    Attributes:
        access: The access token.
        refresh: The refresh token, or None.
        lifetime: Seconds that the access token lives, or None where it lives forever.
        now: Unix time of the server.
        grant: The grant that was asked with.
    """

    access: str
    refresh: str | None
    lifetime: int | None
    now: float
    grant: str


@dataclass(frozen=True)
class Claims:
    """What a vendor checks in a signed assertion.

    Attributes:
        where: Where the assertion is: "assertion" or "client_assertion" of the form, or "bearer", the header.
        audience: What `aud` must be; None where the vendor does not look at it.
        issuer: What `iss` must be.
        subject: What `sub` must be; None where the vendor does not look at it.
        longest: Seconds that `exp` may lie ahead of the server's clock.
        algorithms: Algorithms of the signature that are accepted.
        fixed: Further claims, with the values that they must have.
        headers: Headers of the JWT, with the values that they must have; None for any value.
    """

    where: Literal["assertion", "client_assertion", "bearer"]
    audience: str | None
    issuer: str
    subject: str | None
    longest: int
    algorithms: tuple[str, ...] = ("RS256",)
    fixed: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Grant:
    """One grant of a vendor.

    Attributes:
        name: The value of `grant_type`, or an empty string where the request has none.
        fields: Fields that are needed, with their values; None for any value.
        optional: Names of fields that may be there.
        client: How the client is authenticated: "post", "basic", "either", or "none".
        claims: The assertion that is needed, if one is.
        gives_refresh: Whether the answer has a refresh token.
        rotates: Whether a refresh ends the old refresh token.
    """

    name: str
    fields: Mapping[str, str | None] = field(default_factory=dict)
    optional: tuple[str, ...] = ()
    client: Literal["post", "basic", "either", "none"] = "post"
    claims: Claims | None = None
    gives_refresh: bool = False
    rotates: bool = False


@dataclass(frozen=True)
class Revocation:
    """Where a vendor revokes tokens, where it does so by a request of RFC 7009 or a near relative of it.

    Attributes:
        url: The endpoint.
        client: As for `Grant`.
        encoding: "form" or "json".
        method: Method of the request.
        field: Field with the token, or an empty string where it is in the header Authorization.
        optional: Names of fields that may be there.
        success: The answer for a token that is revoked.
        unknown: The answer for a token that the vendor does not know.
        kinds: Which tokens can be revoked there.
    """

    url: str
    client: Literal["post", "basic", "either", "none"] = "none"
    encoding: Literal["form", "json"] = "form"
    method: str = "POST"
    field: str = "token"
    optional: tuple[str, ...] = ()
    success: Said = NOTHING
    unknown: Said = NOTHING
    kinds: tuple[str, ...] = ("refresh", "access")


@dataclass(frozen=True)
class Dialect:
    """One vendor.

    Attributes:
        vendor: Its name in the table.
        token_url: The token endpoint.
        api_url: An address of its API.
        grants: The grants of this client.
        answer: Function of what was issued that returns the answer.
        dead_grant: The answer to a refresh token, code or assertion that is not accepted.
        bad_client: The answer to a client that is not accepted.
        expired: The answer of the API to a token that has expired.
        revoked: The same for one that was revoked, or is unknown.
        forbidden: The answer of the API where the token is good and may not do this.
        sources: Pages that say so.
        encoding: How fields are sent: "form", "json", or "form or query".
        headers: Headers that each token request needs, with the part that their value must contain.
        lifetime: Seconds that an access token lives, or None where it lives forever.
        header: The header that carries the token to the API.
        scheme: What stands before the token in it.
        revocation: Where tokens are revoked.
        device_url: Where logins on other devices begin.
        pending: The answer while the user has not confirmed such a login.
    """

    vendor: str
    token_url: str
    api_url: str
    grants: tuple[Grant, ...]
    answer: Callable[[Issued], Said]
    dead_grant: Said
    bad_client: Said
    expired: Said
    revoked: Said
    forbidden: Said
    sources: tuple[str, ...]
    encoding: Literal["form", "json", "form or query"] = "form"
    headers: Mapping[str, str] = field(default_factory=dict)
    lifetime: int | None = 3600
    header: str = "Authorization"
    scheme: str = "Bearer"
    revocation: Revocation | None = None
    device_url: str | None = None
    pending: Said = NOTHING


def standard(**more: Any) -> Callable[[Issued], Said]:
    """Return a function that answers as RFC 6749 section 5.1 has it, with further fields."""

    def answer(issued: Issued) -> Said:
        body: dict[str, Any] = {"access_token": issued.access, "token_type": "Bearer"}
        if issued.lifetime is not None:
            body["expires_in"] = issued.lifetime
        if issued.refresh is not None:
            body["refresh_token"] = issued.refresh
        return Said(200, {**body, **more})

    return answer
