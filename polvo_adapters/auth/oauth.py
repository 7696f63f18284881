"""OAuth2 for any session: `auth=OAuth2(...)`.

Theory of operation. `polvo_adapters.auth.tokens.token_source` decides when a token is needed, and
`polvo_adapters.auth.oauth_requests` which grant it is requested with. Here is what programs say: the settings, and the
logins of users, which end with a token that the object keeps.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from polvo_adapters.auth.device_login import poll
from polvo_adapters.auth.given_token import TokenLike
from polvo_adapters.auth.oauth_requests import OAuth2Requests
from polvo_adapters.auth.oauth_settings import OAuth2Settings, check_settings
from polvo_adapters.auth.oauthlib_session import read_session, write_token
from polvo_adapters.auth.options import (
    ABSENT,
    GrantOptions,
    OAuth2Options,
    SecretSource,
    ServerOptions,
    TokenAuthOptions,
    check_client_secret,
    check_options,
    require_known_options,
    select_options,
)
from polvo_adapters.auth.protocol import grants
from polvo_adapters.auth.protocol.authorization_code import list_further
from polvo_adapters.auth.protocol.grant_flow import FlowName, GrantFlow
from polvo_adapters.auth.protocol.revocation import revoke_all
from polvo_adapters.auth.protocol.token import Token
from polvo_adapters.auth.protocol.token_endpoint import TokenEndpoint, hide_constants
from polvo_adapters.context.tenant import current_tenant
from polvo_adapters.core.credential_refusals import find_dialect
from polvo_adapters.errors import ConfigurationError, TokenRefreshError
from polvo_adapters.runtime.clock import SYSTEM
from polvo_adapters.runtime.logs import logger, say
from polvo_adapters.shells.urls import TENANT_SLOT

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from polvo_adapters.auth.options import VendorOptions
    from polvo_adapters.auth.protocol.authorization_code import AuthorizationRequest
    from polvo_adapters.auth.protocol.device_code import DeviceAuthorization

_LOG = logger("tokens")


class OAuth2(OAuth2Requests):
    """Authorization of requests by OAuth2 tokens, refreshed before they expire, by one of all callers that share them.

    Secrets may be given as functions without arguments, which are called at each use; in them,
    `polvo_adapters.current_tenant()` is the tenant that the secret is for. `{tenant}` in URLs, `client_id` and
    `token_cache` is replaced by the tenant.

    Args:
        flow: The grant that tokens are requested with; by default "refresh_token" with a refresh token, else
            "client_credentials".
        client_id: The client's name at the authorization server.
        client_secret: The client's secret, for clients that have one; for others it is left out. None is taken for an
            environment variable that is not set, unless `client_authentication="none"` says that there is none.
        token_url: URL of the token endpoint, or a `TokenEndpoint` that describes one with ways of its own; by default
            it is discovered through `issuer`.
        redirect_uri: URL that the user's browser is sent back to, for the flow "authorization_code".
        fetch: A function that obtains a token in another way; it is called with the last token or None.
        reauthenticate: A function that is called with the error when the refresh token is refused for good or missing,
            and returns a token, or None.
        **options: See `GrantOptions`, `ServerOptions`, `ConnectionOptions` and `TokenAuthOptions` in
            `polvo_adapters.auth.options`.

    Raises:
        ValueError: A field that the flow needs is missing, or one cannot be used; the message names it.
        TypeError: A keyword is unknown.

    Source: RFC 6749, and the RFCs named in `polvo_adapters.auth.options`.
    """

    _updater: Callable[[dict[str, Any]], object] | None = None  # keeps tokens outside, see `from_session`

    def __init__(
        self,
        flow: FlowName | None = None,
        client_id: str | None = None,
        client_secret: SecretSource = ABSENT,
        token_url: str | TokenEndpoint | None = None,
        *,
        redirect_uri: str | None = None,
        fetch: Callable[[Token | None], TokenLike] | None = None,
        reauthenticate: Callable[[TokenRefreshError], TokenLike | None] | None = None,
        **options: Unpack[OAuth2Options],
    ) -> None:
        require_known_options(type(self).__name__, options, OAuth2Options)
        given = {"redirect_uri": redirect_uri, "fetch": fetch, "reauthenticate": reauthenticate}
        check_options(type(self).__name__, given)
        client_secret = check_client_secret(type(self).__name__, client_secret, options)
        if options.get("refused") is None:
            options["refused"] = find_dialect(str(getattr(token_url, "url", token_url)))
        parameters = options.get("parameters")
        if parameters:
            options["parameters"] = hide_constants(parameters)
        server = select_options(options, ServerOptions)
        if flow is None:
            flow = "client_credentials" if options.get("refresh_token") is None else "refresh_token"
        described = token_url if isinstance(token_url, TokenEndpoint) else None
        grant_flow = GrantFlow(flow, client_id, select_options(options, GrantOptions), server, described)
        credentials = {"client_id": client_id, "client_secret": client_secret, "token_url": token_url}
        own = select_options(options, TokenAuthOptions)
        super().__init__(grant_flow, {**credentials, **server}, described, fetch, reauthenticate, **own)
        self.scope = options.get("scope")
        target = {"audience": options.get("audience"), "resource": options.get("resource")}
        self._target: dict[str, Any] = {name: value for name, value in target.items() if value is not None}
        self._redirect_uri = redirect_uri
        self._check()

    @classmethod
    def from_session(cls, session: Any, **keywords: Any) -> OAuth2:
        """Return the authorization by the tokens of an `OAuth2Session` of requests-oauthlib, which hands them over.

        Its `token` is the first token, its `auto_refresh_url` and `auto_refresh_kwargs` say how tokens are refreshed,
        its `token_updater` is called with each new token. A token in a `token_cache` comes before that of the session,
        as it is the later one. Send nothing more by the session itself: it would refresh with a refresh token that is
        used up. Its adapters, proxies and TLS settings are used for refreshes.

        Args:
            session: The session.
            **keywords: As for the class; they take precedence over those that are read from the session.

        Raises:
            ConfigurationError: It is no such session, lacks what a refresh needs, or has compliance hooks.
        """
        clock = keywords.get("clock", SYSTEM)
        settings = read_session(session, clock.wall())
        oauth = cls(**{**settings.keywords, **keywords})
        oauth._updater = settings.updater
        if settings.token is not None and oauth._read_stored_token(current_tenant()) is None:
            oauth.keep(settings.token)
        return oauth

    @classmethod
    def for_vendor(
        cls,
        vendor: str,
        flow: FlowName | None = None,
        client_id: str | None = None,
        client_secret: SecretSource = ABSENT,
        token_url: str | TokenEndpoint | None = None,
        *,
        redirect_uri: str | None = None,
        reauthenticate: Callable[[TokenRefreshError], TokenLike | None] | None = None,
        **options: Unpack[VendorOptions],
    ) -> Self:
        """Return authorization at a vendor that is known by name, with what its documentation says of its logins.

        Args:
            vendor: Name of the vendor, such as "slack"; `polvo_adapters.auth.vendors` has the table.
            flow: The grant; by default the one that fits what else is given.
            client_id: The client's name at the vendor.
            client_secret: The client's secret.
            token_url: Another URL that is asked in the vendor's way, or another description.
            redirect_uri: As for the class.
            reauthenticate: As for the class.
            **options: As for the class; they take precedence over what the table says. Besides, settings of the vendor,
                see `polvo_adapters.auth.options.VendorSettings`.

        Raises:
            ValueError: There is no such vendor, or a setting is missing or cannot be used; the message names it.
            TypeError: A keyword is unknown.
        """
        from polvo_adapters.auth.vendors import find_vendor

        given: dict[str, Any] = {"client_id": client_id, "token_url": token_url}
        given["client_secret"] = check_client_secret("OAuth2.for_vendor", client_secret, options)
        given |= {"redirect_uri": redirect_uri, "reauthenticate": reauthenticate, **options}
        keywords = find_vendor(vendor).keywords_for(flow, given)
        if keywords.get("client_secret") is None:
            keywords.pop("client_secret", None)
        return cls(**keywords)

    def _check(self) -> None:
        """Raise ConfigurationError now for settings that would fail at the first request."""
        elsewhere = self._header.lower() != "authorization" or self._scheme is not None
        check_settings(
            OAuth2Settings(
                self._grant_flow,
                self._server_options,
                self._described or TokenEndpoint(self._place),
                is_shared=self._storage_factory.is_shared,
                has_fetch=self._fetch is not None,
                is_elsewhere=elsewhere,
            )
        )
        if self._fetch is None and TENANT_SLOT not in f"{self._server_options} {self.client_id}":
            self._server_for("")

    def _note_refreshed(self, token: Token) -> None:
        """Tell the function that keeps tokens outside; its text may hold the token, so that it is not repeated."""
        if self._updater is None:
            return
        try:
            self._updater(write_token(token, self._clock.wall()))
        except Exception as error:  # noqa: BLE001 - a function of the user's own may raise anything
            text = "the token_updater raised %s: the new token at %s is used here, and was not kept there"
            kind = type(error).__name__
            say(_LOG, logging.ERROR, "token_updater", text, kind, self._host, what="token", reason=kind)

    # Logins -----------------------------------------------------------------------------------------------------------

    def authorization_request(
        self, redirect_uri: str | None = None, *, state: str | None = None, **extra: str
    ) -> AuthorizationRequest:
        """Begin a login in the user's browser, and return its URL and what `complete` needs to end it.

        Args:
            redirect_uri: URL that the browser is sent back to; by default the one given to this object.
            state: Text that the server must repeat; by default a random one.
            **extra: Further parameters of the URL, such as `prompt`.

        Source: RFC 6749 section 4.1.1, RFC 7636.
        """
        uri = redirect_uri or self._redirect_uri
        if uri is None:
            raise ConfigurationError("OAuth2.authorization_request: missing redirect_uri")
        target = {name: value for name, value in self._target.items() if isinstance(value, str)}
        return self._server_for(current_tenant()).authorization_request(uri, self.scope, state, **{**target, **extra})

    def complete(self, redirected_url: str, request: AuthorizationRequest) -> Token:
        """End a login in the user's browser, keep the token, and return it.

        What the server has added to the URL, such as the `realmId` of QuickBooks, is in the token's `extra`.

        Args:
            redirected_url: The URL that the browser was sent back to.
            request: The result of `authorization_request`.

        Raises:
            TokenRefreshError: The user or the server refused, or the URL is not the answer to this request.

        Source: RFC 6749 section 4.1.2 and 4.1.3, RFC 9207.
        """
        server = self._server_for(current_tenant())
        code = server.code_from(redirected_url, request)
        token = server.token(grants.code(code, request.redirect_uri, request.code_verifier))
        token = replace(token, extra={**list_further(redirected_url), **token.extra})
        self.keep(token)
        return token

    def login(self, prompt: Callable[[DeviceAuthorization], object], *, deadline: float | None = None) -> Token:
        """Log in by a code that the user confirms on another device, keep the token, and return it.

        Args:
            prompt: Function that shows the user which page to open, and which code to enter.
            deadline: Seconds to wait for the user; by default the lifetime of the code.

        Raises:
            TokenRefreshError: The user refused or took too long, or the server failed.

        Source: RFC 8628.
        """
        server = self._server_for(current_tenant())
        authorization = server.device_authorization(self.scope, **self._target)
        prompt(authorization)
        token = poll(server, authorization, deadline=deadline, clock=self._clock)
        self.keep(token)
        return token

    def revoke(self) -> None:
        """Make the server revoke the token of the current tenant (RFC 7009), and delete it here.

        Raises:
            TokenRefreshError: The server did not revoke it. The token is still here, to try again; `forget` deletes it
                here alone.
        """
        tenant = current_tenant()
        token = self._read_stored_token(tenant)
        if token is not None:
            revoke_all(self._server_for(tenant), token)
        self.forget()

    def introspect(self) -> dict[str, Any]:
        """Return the server's description of the token of the current tenant (RFC 7662).

        Raises:
            TokenRefreshError: There is no token, or the server does not describe it.
        """
        return self._server_for(current_tenant()).introspect(self.token().access_token, "access_token")

    def __repr__(self) -> str:
        return f"<OAuth2 {self.flow} at {self._host} for {self.client_id}>"


def oauth2(*args: Any, **keywords: Any) -> OAuth2:
    """Return an OAuth2; arguments as for the class."""
    return OAuth2(*args, **keywords)
