"""The keywords of OAuth2, JWTLogin and AuthorizationServer, each defined and explained once.

They are taken by `**options: Unpack[...]`, so that editors and type checkers complete and check each of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict, TypeVar, Union, cast

from polvo_adapters.core import setting_kinds as kinds
from polvo_adapters.core.keywords import advise_keyword
from polvo_adapters.errors import ConfigurationError

if TYPE_CHECKING:
    import requests

    from polvo_adapters.core.credential_refusals import Refused
    from polvo_adapters.core.report import StateChange
    from polvo_adapters.errors import TokenRefreshError
    from polvo_adapters.runtime.clock import Clock
    from polvo_adapters.stores.base import Store

OptionsType = TypeVar("OptionsType")

ABSENT: Any = object()
"""Default of a keyword for which None is a mistake, mostly an environment variable that is not set."""

_ARGUMENTS = (
    "flow",
    "fetch",
    "client_id",
    "client_secret",
    "token_url",
    "login_url",
    "refresh_url",
    "redirect_uri",
    "reauthenticate",
)
"""Keywords that the classes name themselves."""

_KINDS = {
    **dict.fromkeys(("scope", "audience", "resource"), kinds.TEXTS | None),
    **dict.fromkeys(("client_secret", "refresh_token", "password", "assertion", "subject_token"), kinds.SECRET | None),
    **dict.fromkeys(("username", "subject", "owner", "key_id", "algorithm", "redirect_uri"), kinds.TEXT | None),
    "client_authentication": kinds.TEXT | None,
    **dict.fromkeys(("exchange", "claims", "assertion_headers", "parameters"), kinds.MAPPING | None),
    **dict.fromkeys(("fetch", "reauthenticate", "final"), kinds.FUNCTION | None),
    **dict.fromkeys(("allow_http", "dpop", "cache_encryption", "background", "repeat_lost_refresh"), kinds.FLAG),
    **dict.fromkeys(("timeout", "deadline"), kinds.NUMBER),
    "max_tenants": kinds.whole(1),
    "private_key": kinds.PRIVATE_KEY | None,
    "encryption_key": kinds.ENCRYPTION_KEY | None,
    "session": kinds.SESSION | None,
    "verify": kinds.VERIFY | None,
    "cert": kinds.CERTIFICATE | None,
    "listeners": kinds.FUNCTIONS,
    "clock": kinds.CLOCK,
}
"""The kinds of the options that have no narrower check of their own."""

SecretSource: TypeAlias = Union[str, Callable[[], str], None]  # noqa: UP007 - evaluated at import by Python 3.10 tools
"""A secret, or a function that returns it and is called at each use."""

EncryptionKey: TypeAlias = Union[str, bytes, Sequence[Union[str, bytes]]]  # noqa: UP007 - as above
"""A key for stored tokens, or several; `polvo_adapters.auth.tokens.sealing` lists the forms."""


class TokenAuthOptions(TypedDict, total=False):
    """Keywords of every auth object that refreshes tokens: where tokens are stored, and when they are refreshed.

    Attributes:
        token_cache: Store of the tokens: a path, a TokenCache, or a store such as SQLiteStore. By default the memory of
            the auth object.
        cache_encryption: Whether stored tokens are encrypted; by default they are.
        encryption_key: Key of the encryption; several keys, of which the first encrypts; a function that returns a key;
            or "keyring". By default the environment variable POLVO_ENCRYPTION_KEY, else a key file beside the token
            cache.
        refresh_before: Seconds before its expiry from which on a token is refreshed; by default 60, and at most a
            quarter of its lifetime.
        deadline: Seconds for a whole refresh: attempts, waits, and waiting for another caller's refresh; by default 30.
        background: Whether stale tokens that are still valid are refreshed on another thread, so that no request
            waits; by default they are.
        owner: Name of the user whose tokens these are, where the settings do not tell users apart: logins in a browser
            or on another device, and `fetch`. It keeps tokens in a shared token_cache apart, and tells the user for
            what is kept across calls: quotas, responses. By default each such object is a user of its own.
        max_tenants: Largest number of tenants whose tokens are held in memory; by default 1000.
        final: A function that is given the TokenRefreshError of a refused refresh token, and returns whether the token
            is dead, or None for what the library thinks: `reason`, `status` and the text say what the server did.
        repeat_lost_refresh: Whether a refresh token whose answer was lost is sent again, once at once and then whenever
            a token is needed; by default it is. Servers with a grace period answer such a repeat. With False the
            refresh token counts as used up.
        listeners: Functions that are called with a StateChange whenever a token was refreshed or could not be, and when
            its storage changed.
        header: Name of the header that the API takes the token in; by default Authorization.
        scheme: The text before the token, such as "Zoho-oauthtoken"; an empty string for nothing. By default the type
            of the token, such as "Bearer", in Authorization, and nothing in any other header.
        refused: What the API's refusal of a token looks like besides 401: statuses, a function of the `Answer`, a
            `CredentialRefusal`, the name of a dialect ("slack", "meta", "graphql", "amazon", "bearer"), or several of
            these; see `polvo_adapters.core.credential_refusals`. By default the dialect of the vendor, where the URL of
            the token endpoint tells which it is.
        clock: Source of time and randomness; tests pass a virtual clock.
    """

    token_cache: str | os.PathLike[str] | Store | None
    cache_encryption: bool
    encryption_key: EncryptionKey | Callable[[], EncryptionKey] | None
    refresh_before: float
    deadline: float
    background: bool
    owner: str | None
    max_tenants: int
    final: Callable[[TokenRefreshError], bool | None] | None
    repeat_lost_refresh: bool
    listeners: Sequence[Callable[[StateChange], object]]
    header: str
    scheme: str | None
    refused: Refused
    clock: Clock


class ConnectionOptions(TypedDict, total=False):
    """Keywords of the connection to the server that issues tokens.

    Attributes:
        session: The `requests.Session` whose adapters, proxies and TLS settings are used. Its cookies, headers, hooks
            and `auth` are not used: they are meant for other servers.
        verify: Whether, or by which authorities, the server's certificate is verified, as for `requests`.
        timeout: Seconds for one exchange with the server, repeats included; by default 10.
        allow_http: Whether secrets may be sent over plain http to hosts other than this one; by default they may not.
    """

    session: requests.Session | None
    verify: bool | str | None
    timeout: float
    allow_http: bool


class ServerOptions(ConnectionOptions, total=False):
    """Keywords of one client's view of an authorization server.

    Attributes:
        issuer: Name of the server, a URL; endpoints that are not given are discovered through it, at the first use
            (RFC 8414, OpenID Connect Discovery).
        authorization_url: URL of the authorization endpoint, which the user's browser opens.
        device_authorization_url: URL of the endpoint where logins on other devices begin.
        revocation_url: URL of the endpoint that revokes tokens, or a `RevocationEndpoint` that describes one with ways
            of its own.
        introspection_url: URL of the endpoint that describes tokens.
        client_authentication: How the client authenticates: "basic", "basic_unencoded", "post", "private_key_jwt",
            "mtls" or "none". By default "basic" with a secret, "private_key_jwt" with a private key, "mtls" with a
            certificate, else "none".
        private_key: The client's private key, for "private_key_jwt" and for assertions: PEM, an object of cryptography,
            or a function that returns one of these.
        key_id: Name of the private key at the server (`kid`).
        algorithm: Algorithm of signatures; by default RS256, ES256 (ES384, ES512) or EdDSA, as fits the key.
        claims: Further claims of the assertion that the private key signs: that of the grant with the flow
            "jwt_bearer", else that of the client. None leaves a standard claim out.
        assertion_headers: Further JOSE headers of assertions, such as `x5t`.
        assertion_lifetime: Seconds for which assertions are valid; by default 120 for that of the client, and 300 for
            one that is a grant. Some servers accept less.
        leeway: Seconds by which assertions are back-dated, as the clock of this machine may be ahead of the server's;
            by default 60.
        cert: The client's TLS certificate for "mtls", as for `requests`. The API needs it as well: set `session.cert`.
        dpop: Whether tokens are bound to a key (RFC 9449); by default they are not.
        parameters: Further fields of every token request; none that the grant or the client's credentials have.
    """

    issuer: str | None
    authorization_url: str | None
    device_authorization_url: str | None
    revocation_url: Any
    introspection_url: str | None
    client_authentication: str | None
    private_key: Any
    key_id: str | None
    algorithm: str | None
    claims: Mapping[str, Any] | None
    assertion_headers: Mapping[str, Any] | None
    assertion_lifetime: float
    leeway: float
    cert: str | tuple[str, str] | None
    dpop: bool
    parameters: Mapping[str, str | Sequence[str] | None] | None


class GrantOptions(TypedDict, total=False):
    """Keywords of the grants: what the token is for, and what it is requested with.

    Attributes:
        scope: What the token shall permit: names separated by spaces, or a sequence of them. It is sent with refreshes
            too, unless the server has granted only a part of it; so are audience and resource. See
            `TokenEndpoint(refresh_with=...)`.
        audience: The API that the token is meant for, where the server expects its name.
        resource: The API that the token is meant for, as a URL (RFC 8707).
        refresh_token: The first refresh token, for the flow "refresh_token". Its successors live in the token cache.
        username: Name of the user, for the flow "password".
        password: Password of the user, for the flow "password".
        assertion: A signed assertion, or a function that returns one, for the flow "jwt_bearer". By default one is made
            from `subject`, `audience` and `private_key`.
        subject: The party that the assertion is about; by default the client.
        subject_token: The token to exchange, for the flow "token_exchange".
        exchange: Further fields of the exchange, as for `polvo_adapters.auth.protocol.grants.token_exchange`.
    """

    scope: str | Sequence[str] | None
    audience: str | Sequence[str] | None
    resource: str | Sequence[str] | None
    refresh_token: SecretSource
    username: str | None
    password: SecretSource
    assertion: SecretSource
    subject: str | None
    subject_token: SecretSource
    exchange: Mapping[str, Any] | None


class OAuth2Options(GrantOptions, ServerOptions, TokenAuthOptions, total=False):
    """Keywords of OAuth2."""


class VendorSettings(TypedDict, total=False):
    """Settings of vendors besides those of OAuth2; `polvo_adapters.auth.vendors` says which vendor has which.

    Attributes:
        account_id: Zoom: the account, server to server.
        api: GitHub Apps: URL of the API of a GitHub Enterprise Server.
        certificate: Microsoft Entra ID: the certificate of the private key, in PEM.
        domain: GitHub, Microsoft Entra ID, Salesforce: host of the login.
        enterprise_id: Box: the enterprise, for its service account.
        environment: DocuSign: "production" or "demo".
        installation_id: GitHub Apps: number of the installation.
        region: Zoho: the data center of the user.
        shop: Shopify: the shop, as in SHOP.myshopify.com.
        tenant_id: Microsoft Entra ID: the directory.
        user_id: Box: the user to act as.
    """

    account_id: str
    api: str
    certificate: Any
    domain: str
    enterprise_id: str
    environment: str
    installation_id: str | int
    region: str
    shop: str
    tenant_id: str
    user_id: str


class VendorOptions(OAuth2Options, VendorSettings, total=False):
    """Keywords of `OAuth2.for_vendor`."""


class JWTLoginOptions(ConnectionOptions, TokenAuthOptions, total=False):
    """Keywords of JWTLogin."""


def select_options(options: Mapping[str, Any], kind: type[OptionsType]) -> OptionsType:
    """Return the options that a TypedDict declares."""
    return cast("OptionsType", {name: value for name, value in options.items() if name in kind.__annotations__})


def require_known_options(owner: str, options: Mapping[str, Any], kind: type) -> None:
    """Raise TypeError for an option of a class, its owner, that the TypedDict does not declare."""
    for name in options.keys() - kind.__annotations__.keys():
        raise unknown_option_error(owner, name, {*kind.__annotations__, *_ARGUMENTS})
    check_options(owner, options)


def unknown_option_error(owner: str, name: str, known: Collection[str]) -> TypeError:
    """Return the error for a keyword that a class does not have."""
    return TypeError(f"{owner}: there is no keyword {name}; {advise_keyword(name, known)}")


def check_options(owner: str, options: Mapping[str, Any]) -> None:
    """Raise ConfigurationError for an option whose value is of another kind than is wanted; it is not shown."""
    kinds.check_settings(owner, options, _KINDS, ConfigurationError, shows=False)


def check_client_secret(owner: str, client_secret: Any, options: Mapping[str, Any]) -> Any:
    """Return the client's secret, or None for a client that has none.

    Args:
        owner: Name of the class, for the message.
        client_secret: What was given, or ABSENT.
        options: The other options, which may say that the client authenticates in another way.

    Raises:
        ConfigurationError: It is neither a text nor a function; or it is None, and no other option says that the client
            has none.
    """
    if client_secret is ABSENT:
        return None
    others = ("client_authentication", "private_key", "cert", "password", "assertion", "subject_token")
    if client_secret is None and not any(options.get(name) for name in others):
        raise ConfigurationError(
            f"{owner}(client_secret=None): is the environment variable set that it is read from? For a client without "
            "a secret leave client_secret out, or say client_authentication='none'"
        )
    check_options(owner, {"client_secret": client_secret})
    return client_secret
