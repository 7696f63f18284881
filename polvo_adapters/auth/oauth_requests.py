"""The requests of OAuth2 for tokens: which grant is sent when, and to which server.

Theory of operation. A refresh uses the refresh token if there is one. If there is none, or the server refuses it for
good, the refresh uses the grant itself, provided that the grant needs no user. If nothing brings a token, the caller's
`reauthenticate` is asked. `polvo_adapters.auth.protocol.grant_flow` has the grants, and
`polvo_adapters.auth.protocol.server` sends them.

**The owner of a token** (its key in the store) is made of flow, issuer or token endpoint, client, tenant, scope,
audience, and a digest of the user or token of the grant. Two objects that agree in all of these share one token.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from polvo_adapters.auth.capacity import make_room
from polvo_adapters.auth.given_token import TokenLike, keep_from, make_token
from polvo_adapters.auth.protocol import grants
from polvo_adapters.auth.protocol.client_authentication import require_key
from polvo_adapters.auth.protocol.grant_flow import GrantFlow, format_key_part, lost_secret_error
from polvo_adapters.auth.protocol.server import AuthorizationServer
from polvo_adapters.auth.protocol.token import Token
from polvo_adapters.auth.protocol.token_endpoint import REPEATED, TokenEndpoint
from polvo_adapters.auth.tokens.refresh_verdict import CONFIGURATION
from polvo_adapters.auth.tokens.sealing import DecryptionError
from polvo_adapters.auth.tokens.token_auth import TokenAuth
from polvo_adapters.core.calls import find_host
from polvo_adapters.core.machines import Event
from polvo_adapters.errors import ConfigurationError, TokenRefreshError
from polvo_adapters.redaction import hide
from polvo_adapters.refresh.lifecycle import LookAtToken

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from polvo_adapters.auth.options import TokenAuthOptions

_TOO_MUCH = ("invalid_request", "invalid_scope", "invalid_target")
"""Codes by which a server refuses what a refresh asks for beside the token, before it uses the refresh token up."""

_SECRETS = ("client_secret", "private_key")


class OAuth2Requests(TokenAuth):
    """An auth object that requests its tokens from an authorization server.

    Args:
        grant_flow: The grant.
        server_options: Keywords of the authorization server; those of an assertion that is the grant are left out.
        described: The description of the token endpoint, or None.
        fetch: A function that obtains a token in another way, or None.
        reauthenticate: A function that is called with the error where nothing else brings a token, or None.
        **options: See `polvo_adapters.auth.options.TokenAuthOptions`.

    Attributes:
        client_id: The client's name at the authorization server.
        flow: Name of the grant.
    """

    _described: TokenEndpoint | None = None  # as in pickles of earlier versions
    _is_bare = False  # whether refreshes ask for nothing beside the token, because the server has refused that

    def __init__(
        self,
        grant_flow: GrantFlow,
        server_options: dict[str, Any],
        described: TokenEndpoint | None,
        fetch: Callable[[Token | None], TokenLike] | None,
        reauthenticate: Callable[[TokenRefreshError], TokenLike | None] | None,
        **options: Unpack[TokenAuthOptions],
    ) -> None:
        super().__init__(**options)
        self._grant_flow, self._described = grant_flow, described
        self.client_id: str | None = server_options["client_id"]
        self.flow = grant_flow.flow
        self._fetch, self._reauthenticate = fetch, reauthenticate
        self._server_options = {**server_options}
        self._lost_secrets: list[str] = []
        if grant_flow.signs_grant:
            require_key(server_options)
            self._server_options.pop("claims", None)  # they are of the assertion that is the grant
        for name in _SECRETS:
            self._server_options[name] = hide(self._server_options.get(name))
        self._advice = (
            "check the credentials of the client"
            if grant_flow.is_unattended
            else "log in again (python -m polvo_adapters login), or give OAuth2 a new refresh token or reauthenticate="
        )

    def _begin(self) -> None:
        super()._begin()
        self._servers: dict[str, AuthorizationServer] = {}

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

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        del state["_servers"]
        options, lost = dict(self._server_options), list(self._lost_secrets)
        for name in _SECRETS:
            if options.get(name) is not None and not callable(options[name]):
                options[name] = None
                lost.append(name)
        return {**state, "_server_options": options, "_lost_secrets": lost}
