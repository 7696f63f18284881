"""OAuth2 for any session: `auth=OAuth2(...)`.

Theory of operation. `polvo_adapters.auth.tokens.token_auth` decides when a token is needed,
`polvo_adapters.auth.protocol.grant_flow` which grant it is requested with, and `polvo_adapters.auth.protocol.server`
sends the request. A refresh uses the refresh token if there is one. If there is none, or the server refuses it for
good, the refresh uses the grant itself, provided that the grant needs no user.

**The owner of a token** (its key in the store) is made of flow, issuer or token endpoint, client, tenant, scope,
audience, and a digest of the user or token of the grant. Two objects that agree in all of these share one token.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from polvo_adapters.auth.capacity import make_room
from polvo_adapters.auth.device_login import poll
from polvo_adapters.auth.given_token import TokenLike, keep_from, make_token
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
from polvo_adapters.auth.protocol.client_authentication import require_key
from polvo_adapters.auth.protocol.grant_flow import FlowName, GrantFlow, format_key_part, lost_secret_error
from polvo_adapters.auth.protocol.revocation import revoke_all
from polvo_adapters.auth.protocol.server import AuthorizationServer
from polvo_adapters.auth.protocol.token import Token
from polvo_adapters.auth.protocol.token_endpoint import REPEATED, TokenEndpoint, hide_constants
from polvo_adapters.auth.tokens.refresh_verdict import CONFIGURATION
from polvo_adapters.auth.tokens.sealing import DecryptionError
from polvo_adapters.auth.tokens.token_auth import TokenAuth
from polvo_adapters.context.tenant import current_tenant
from polvo_adapters.core.calls import find_host
from polvo_adapters.core.credential_refusals import find_dialect
from polvo_adapters.core.machines import Event
from polvo_adapters.errors import ConfigurationError, TokenRefreshError
from polvo_adapters.redaction import hide
from polvo_adapters.refresh.lifecycle import LookAtToken
from polvo_adapters.runtime.clock import SYSTEM
from polvo_adapters.runtime.logs import logger, say
from polvo_adapters.shells.urls import TENANT_SLOT

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from polvo_adapters.auth.options import VendorOptions
    from polvo_adapters.auth.protocol.authorization_code import AuthorizationRequest
    from polvo_adapters.auth.protocol.device_code import DeviceAuthorization

_TOO_MUCH = ("invalid_request", "invalid_scope", "invalid_target")
"""Codes by which a server refuses what a refresh asks for beside the token, before it uses the refresh token up."""


_LOG = logger("tokens")


class OAuth2(TokenAuth):
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

    _described: TokenEndpoint | None = None  # as in pickles of earlier versions
    _is_bare = False  # whether refreshes ask for nothing beside the token, because the server has refused that
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
        super().__init__(**select_options(options, TokenAuthOptions))
        parameters = options.get("parameters")
        if parameters:
            options["parameters"] = hide_constants(parameters)
        server = select_options(options, ServerOptions)
        self.client_id = client_id
        self.scope = options.get("scope")
        if flow is None:
            flow = "client_credentials" if options.get("refresh_token") is None else "refresh_token"
        self._described = token_url if isinstance(token_url, TokenEndpoint) else None
        self._grant_flow = GrantFlow(flow, client_id, select_options(options, GrantOptions), server, self._described)
        self.flow = self._grant_flow.flow
        target = {"audience": options.get("audience"), "resource": options.get("resource")}
        self._target: dict[str, Any] = {name: value for name, value in target.items() if value is not None}
        self._lost_secrets: list[str] = []
        self._redirect_uri = redirect_uri
        self._fetch, self._reauthenticate = fetch, reauthenticate
        credentials = {"client_id": client_id, "client_secret": client_secret, "token_url": token_url}
        self._server_options: dict[str, Any] = {**credentials, **server}
        if self._grant_flow.signs_grant:
            require_key(server)
            self._server_options.pop("claims", None)  # they are of the assertion that is the grant
        for name in ("client_secret", "private_key"):
            self._server_options[name] = hide(self._server_options.get(name))
        self._check()
        self._advice = (
            "check the credentials of the client"
            if self._grant_flow.is_unattended
            else "log in again (python -m polvo_adapters login), or give OAuth2 a new refresh token or reauthenticate="
        )

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
        made = cls(**{**settings.keywords, **keywords})
        made._updater = settings.updater
        if settings.token is not None and made._read_stored_token(current_tenant()) is None:
            made.keep(settings.token)
        return made

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

    # Requests for tokens ----------------------------------------------------------------------------------------------

    def _identify(self, tenant: str) -> tuple[str, str]:
        owner = self._grant_flow.describe_owner(tenant)
        key = f"token {format_key_part(self._place)} {format_key_part(tenant or None)} {owner}"
        if self.owner is not None:
            key += f" of {format_key_part(self.owner)}"
        return key, self._host

    @property
    def _is_owner_known(self) -> bool:
        logs_in = self.flow in ("authorization_code", "device_code") or self._grant_flow.is_nameless
        return self.owner is not None or not (logs_in or self._fetch is not None)

    @property
    def _place(self) -> str:
        token_url = self._server_options["token_url"] if self._described is None else self._described.url
        return str(self._server_options.get("issuer") or token_url or "fetch")

    @property
    def _host(self) -> str:
        return find_host(self._place) or self._place

    def _fetch_token(self, tenant: str, held: Token | None, seconds: float) -> Token:
        if self._fetch is not None:
            token = make_token(self._fetch(held))
            return token if held is None else replace(token, refresh_token=token.refresh_token or held.refresh_token)
        refresh_token = held.refresh_token if held is not None else None
        if refresh_token is None and self.flow == "refresh_token":
            refresh_token = self._grant_flow.fetch_secret("refresh_token")
        server = self._server_for(tenant)
        if refresh_token is not None or self._grant_flow.is_unattended:
            # First, as failures of the discovery say nothing about the refresh token.
            server.endpoint("token", deadline_timeout=seconds)
        try:
            return self._request_token(tenant, server, refresh_token, held, seconds)
        except TokenRefreshError as error:
            is_dead = error.final and error.reason not in CONFIGURATION
            token_like = self._reauthenticate(error) if is_dead and self._reauthenticate is not None else None
            if token_like is None:
                raise
            return make_token(token_like)

    def _uses_refresh_token(self, token: Token | None) -> bool:
        return self.flow == "refresh_token" or super()._uses_refresh_token(token)

    def _request_token(
        self, tenant: str, server: AuthorizationServer, refresh_token: str | None, held: Token | None, seconds: float
    ) -> Token:
        if refresh_token is not None:
            temporary = () if self._described is None else self._described.for_refresh.response.temporary
            request = partial(self._request_refresh, server, refresh_token, held, seconds)
            try:
                return self._refresh_by(tenant, server.host, refresh_token, held, temporary, request)
            except TokenRefreshError as error:
                if not error.final or not self._grant_flow.is_unattended:
                    raise
        grant = self._grant_flow.build_grant()
        if grant is None:
            message = f"{server.host}: there is no token yet; {self._advice}"
            raise TokenRefreshError(message, host=server.host, reason="login required", final=True)
        try:
            return server.token(grant, deadline_timeout=seconds, **keep_from(held))
        except TokenRefreshError as error:
            error.lost = False  # nothing that the server takes only once
            error.final = error.final or error.reason in CONFIGURATION
            raise

    def _request_refresh(
        self, server: AuthorizationServer, refresh_token: str, held: Token | None, seconds: float
    ) -> Token:
        """Send a refresh token, with what else was set; once more without that where the server refuses it."""
        names = REPEATED if self._described is None else self._described.for_refresh.refresh_with
        granted = None if held is None else held.scope
        further = {} if self._is_bare else self._grant_flow.select_for_refresh(granted, names)
        keywords = {"deadline_timeout": seconds, **keep_from(held)}
        try:
            token = server.token(grants.refresh(refresh_token, **further), **keywords)
        except TokenRefreshError as error:
            if not further or error.reason not in _TOO_MUCH or error.status not in (400, 403):
                raise
            token = None
        if token is None:
            token = server.token(grants.refresh(refresh_token), **keywords)
            self._is_bare = True
        if held is None:
            return token
        # What a refresh does not repeat is as it was at the login.
        return replace(token, scope=token.scope or granted, extra={**held.extra, **token.extra})

    def _server_for(self, tenant: str) -> AuthorizationServer:
        server = self._servers.get(tenant)
        if server is None:
            if self.client_id is None:
                raise ConfigurationError("OAuth2: there is no authorization server to ask: client_id is missing")
            for name in self._lost_secrets:
                raise lost_secret_error(name)
            server = AuthorizationServer(**self._server_options, tenant=tenant)
            make_room(self._servers, self._max_tenants)[tenant] = server
        return server

    def _read_stored_token(self, tenant: str) -> Token | None:
        """Return the last known token of a tenant, whether it is still valid or not."""
        held = self._held.get(tenant)
        if held is not None:
            return held.token
        storage, (key, _) = self._storage_for(tenant), self._identify(tenant)
        (state,) = storage.with_fallback().decide((Event(self._life, key, LookAtToken()),))
        try:
            return storage.unseal(key, state.token) if state.token else None
        except DecryptionError:
            return None

    def _begin(self) -> None:
        super()._begin()
        self._servers: dict[str, AuthorizationServer] = {}

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        del state["_servers"]
        options, lost = dict(self._server_options), list(self._lost_secrets)
        for name in ("client_secret", "private_key"):
            if options.get(name) is not None and not callable(options[name]):
                options[name] = None
                lost.append(name)
        return {**state, "_server_options": options, "_lost_secrets": lost}

    def __repr__(self) -> str:
        return f"<OAuth2 {self.flow} at {self._host} for {self.client_id}>"


def oauth2(*args: Any, **keywords: Any) -> OAuth2:
    """Return an OAuth2; arguments as for the class."""
    return OAuth2(*args, **keywords)
