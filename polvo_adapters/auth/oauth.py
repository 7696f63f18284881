"""OAuth2 for any session: `auth=OAuth2(...)`.

Theory of operation. Here the parts meet: `polvo_adapters.auth.tokens.token_auth` knows when a token is needed,
`polvo_adapters.auth.protocol.grant_flow` which grant to ask with, `polvo_adapters.auth.protocol.server` how to ask. A
refresh asks with the refresh token where there is one; where the server refuses that for good, or there is none, with
the grant itself, if that needs no user.

**Whose token it is** (the key in the store): flow, issuer or token endpoint, client, tenant, scope, audience, and a
digest of the user or token that it is asked for with. Two objects that agree in all of that share one token.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, Union, cast
from urllib.parse import quote

from polvo_adapters.auth.protocol import grants
from polvo_adapters.auth.protocol.grant_flow import FlowName, GrantFlow, Secret, left_behind, part_of_key
from polvo_adapters.auth.protocol.server import AuthorizationServer
from polvo_adapters.auth.protocol.server_response import ServerResponse
from polvo_adapters.auth.protocol.server_response import token as token_of
from polvo_adapters.auth.protocol.token import Token
from polvo_adapters.auth.tokens.sealing import DecryptionError
from polvo_adapters.auth.tokens.storage_factory import TokenStorageFactory
from polvo_adapters.auth.tokens.token_auth import TokenAuth, bounded
from polvo_adapters.auth.tokens.token_storage import TokenStorage
from polvo_adapters.context.tenant import current_tenant
from polvo_adapters.core.calls import origin
from polvo_adapters.core.machines import Event
from polvo_adapters.errors import ConfigurationError, TokenRefreshError
from polvo_adapters.refresh.lifecycle import LookAtToken
from polvo_adapters.runtime.clock import SYSTEM, Clock

if TYPE_CHECKING:
    import requests

    from polvo_adapters.auth.protocol.authorization_code import AuthorizationRequest
    from polvo_adapters.auth.protocol.device_code import DeviceAuthorization
    from polvo_adapters.auth.tokens.sealing import Key
    from polvo_adapters.core.report import StateChange
    from polvo_adapters.stores.base import Store

Given: TypeAlias = Union[Token, Mapping[str, Any], str]  # noqa: UP007 - evaluated at import by Python 3.10 tools
"""A token as a function of the user's may return it: a Token, the server's answer as a mapping, or just the text."""

_SAFE = ":/@.,*{}"


class OAuth2(TokenAuth):
    """Authorize requests by OAuth2 tokens, refreshed before they expire, by one of all who share them.

    Secrets may be given as functions without arguments, which are called each time; `polvo_adapters.current_tenant()`
    tells them for whom. `{tenant}` in `token_url` and the other URLs, in `client_id` and in `token_cache` is replaced
    by the tenant.

    Args:
        flow: Which grant to ask with; by default "refresh_token" with a refresh token, else "client_credentials".
        client_id: The client's name at the authorization server.
        client_secret: Its secret, for clients that have one.
        token_url: The token endpoint; or give `issuer`, and it is found out (RFC 8414, OpenID discovery).
        refresh_token: The first refresh token, for the flow of that name. Its successors live in the token cache.
        token_cache: Where tokens live: a path, a TokenCache, or a store such as SQLiteStore. By default in the memory
            of this object only.
        cache_encryption: Whether tokens are encrypted there.
        encryption_key: The key for that, several of which the first encrypts, a function that returns it, or "keyring".
            By default the environment variable POLVO_ENCRYPTION_KEY, else a key file beside the token cache.
        scope: What the token shall be good for: names separated by spaces, or a sequence of them.
        audience: The API that it is meant for, where the server wants to know.
        resource: The same as a URL (RFC 8707).
        username: The user, for the flow "password".
        password: The user's password.
        assertion: A signed assertion, or a function that makes one, for the flow "jwt_bearer". Or give `subject`,
            `audience` and `private_key`, and one is made.
        subject: In whose name the assertion is made; by default the client's own.
        subject_token: The token to exchange, for the flow "token_exchange".
        exchange: Further fields of the exchange, as `polvo_adapters.auth.protocol.grants.token_exchange` takes them.
        issuer: The authorization server's name, a URL.
        authorization_url: Its authorization endpoint.
        device_authorization_url: Its device authorization endpoint.
        revocation_url: Its revocation endpoint.
        introspection_url: Its introspection endpoint.
        redirect_uri: Where the user's browser is sent back to, for the flow "authorization_code".
        client_authentication: How the client shows who it is: "basic", "post", "private_key_jwt", "mtls" or "none"; by
            default what fits the credentials given.
        private_key: The client's private key, in PEM, for "private_key_jwt" and for assertions.
        key_id: Its name (`kid`).
        algorithm: What to sign with; by default what fits the key.
        cert: Client certificate for "mtls", as `requests` takes it. Requests to the API need it as well: set
            `session.cert`.
        verify: As for `requests`, for the authorization server.
        dpop: Whether tokens are bound to a key (RFC 9449).
        session: The `requests.Session` by which the authorization server is talked to.
        parameters: Further fields of every token request.
        fetch: A function that obtains a token in another way, given the last one or None.
        reauthenticate: Called with the error when a refresh token is dead or there is none; returns a token, or None.
        timeout: Seconds for one answer of the authorization server.
        deadline: Seconds for a whole refresh: attempts, pauses, and waiting for another who refreshes.
        refresh_before: Seconds before its end from which on a token is refreshed; at most a quarter of its lifetime.
        background: Whether tokens that still hold are refreshed on another thread, so that no request waits.
        max_tenants: For how many tenants tokens are held in memory.
        listeners: Called with a Change whenever a token was refreshed or could not be, and when its storage changed.
        allow_http: Whether secrets may go over plain http to other hosts than this one.
        clock: Time and chance; tests pass a virtual clock.

    Raises:
        ValueError: A field that the flow needs is missing, or one cannot be used; the message names it.

    Source: RFC 6749, and the RFCs named above.
    """

    def __init__(
        self,
        flow: FlowName | None = None,
        client_id: str | None = None,
        client_secret: Secret = None,
        token_url: str | None = None,
        *,
        refresh_token: Secret = None,
        token_cache: str | os.PathLike[str] | Store | None = None,
        cache_encryption: bool = True,
        encryption_key: Key | Callable[[], Key] | None = None,
        scope: str | Sequence[str] | None = None,
        audience: str | Sequence[str] | None = None,
        resource: str | Sequence[str] | None = None,
        username: str | None = None,
        password: Secret = None,
        assertion: Secret = None,
        subject: str | None = None,
        subject_token: Secret = None,
        exchange: Mapping[str, Any] | None = None,
        issuer: str | None = None,
        authorization_url: str | None = None,
        device_authorization_url: str | None = None,
        revocation_url: str | None = None,
        introspection_url: str | None = None,
        redirect_uri: str | None = None,
        client_authentication: str | None = None,
        private_key: Any = None,
        key_id: str | None = None,
        algorithm: str | None = None,
        cert: str | tuple[str, str] | None = None,
        verify: bool | str | None = None,
        dpop: bool = False,
        session: requests.Session | None = None,
        parameters: Mapping[str, str] | None = None,
        fetch: Callable[[Token | None], Given] | None = None,
        reauthenticate: Callable[[TokenRefreshError], Given | None] | None = None,
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
        self.client_id = client_id
        self.scope = scope
        self._asking = GrantFlow(
            flow or ("refresh_token" if refresh_token is not None else "client_credentials"),
            client_id=client_id,
            scope=scope,
            audience=audience,
            resource=resource,
            username=username,
            subject=subject,
            secrets={
                "refresh_token": refresh_token,
                "password": password,
                "assertion": assertion,
                "subject_token": subject_token,
            },
            exchange=exchange or {},
            signing={"private_key": private_key, "key_id": key_id, "algorithm": algorithm},
            parameters=parameters or {},
            dpop=dpop,
        )
        self.flow = self._asking.flow
        meant_for = {"audience": audience, "resource": resource}
        self._meant_for: dict[str, Any] = {name: value for name, value in meant_for.items() if value is not None}
        self._lost: list[str] = []
        self._redirect_uri = redirect_uri
        self._fetch, self._reauthenticate = fetch, reauthenticate
        self._places = TokenStorageFactory(token_cache, cache_encryption, encryption_key, clock, listeners)
        self._server_keywords: dict[str, Any] = {
            "client_id": client_id,
            "client_secret": client_secret,
            "token_url": token_url,
            "issuer": issuer,
            "authorization_url": authorization_url,
            "device_authorization_url": device_authorization_url,
            "revocation_url": revocation_url,
            "introspection_url": introspection_url,
            "client_authentication": client_authentication,
            "private_key": private_key,
            "key_id": key_id,
            "algorithm": algorithm,
            "cert": cert,
            "verify": verify,
            "dpop": dpop,
            "session": session,
            "timeout": timeout,
            "parameters": parameters,
            "allow_http": allow_http,
        }
        self._check()
        self._advice = self._how_to_log_in()

    def _check(self) -> None:
        """Find out now what cannot work later."""
        if self._fetch is not None:
            if self.client_id is None and self._places.shared:
                raise ConfigurationError(
                    "OAuth2(fetch=...): missing client_id, which names the token in the token_cache"
                )
            return
        missing = self._asking.missing()
        if not self.client_id:
            missing.insert(0, "client_id")
        if self._server_keywords["client_secret"] == "":
            missing.append("client_secret (it is empty)")
        if not self._server_keywords["token_url"] and not self._server_keywords["issuer"]:
            missing.append("token_url (or issuer)")
        if self._asking.nameless and self._places.shared:
            missing.append("subject (whom the assertions are for; it names the token in the token_cache)")
        if missing:
            raise ConfigurationError(f"OAuth2(flow={self.flow!r}): missing {', '.join(missing)}")
        if "{tenant}" not in f"{self._server_keywords} {self.client_id}":
            self._server("")

    # Logging in -------------------------------------------------------------------------------------------------------

    def authorization_request(
        self, redirect_uri: str | None = None, *, state: str | None = None, **extra: str
    ) -> AuthorizationRequest:
        """Begin a login in the user's browser; `complete` ends it.

        Args:
            redirect_uri: Where the browser is sent back to; by default the one given to this object.
            state: A text that is sent along and comes back; by default a random one.
            **extra: Further parameters of the URL, such as `prompt`.

        Returns:
            The URL for the browser, and what is to be kept until it comes back.

        Source: RFC 6749 section 4.1.1, RFC 7636.
        """
        uri = redirect_uri or self._redirect_uri
        if uri is None:
            raise ConfigurationError("OAuth2.authorization_request: missing redirect_uri")
        meant_for = {name: value for name, value in self._meant_for.items() if isinstance(value, str)}
        return self._server(current_tenant()).authorization_request(uri, self.scope, state, **{**meant_for, **extra})

    def complete(self, redirected_url: str, request: AuthorizationRequest) -> Token:
        """End a login in the user's browser, and keep the token.

        Args:
            redirected_url: The URL that the browser was sent back to.
            request: What `authorization_request` returned.

        Returns:
            The token.

        Raises:
            TokenRefreshError: The user or the server refused, or the URL is not the answer to this request.

        Source: RFC 6749 section 4.1.2 and 4.1.3, RFC 9207.
        """
        server = self._server(current_tenant())
        code = server.code_from(redirected_url, request)
        return self._kept_new(server.token(grants.code(code, request.redirect_uri, request.code_verifier)))

    def login(self, prompt: Callable[[DeviceAuthorization], object], *, deadline: float | None = None) -> Token:
        """Log in by a code that the user confirms on another device, and keep the token.

        Args:
            prompt: Shows the user where to go, and which code to enter.
            deadline: Seconds to wait for the user; by default as long as the code is good.

        Returns:
            The token.

        Raises:
            TokenRefreshError: The user refused or took too long, or the server failed.

        Source: RFC 8628.
        """
        from polvo_adapters.auth.device_login import poll

        server = self._server(current_tenant())
        authorization = server.device_authorization(self.scope, **self._meant_for)
        prompt(authorization)
        return self._kept_new(poll(server, authorization, deadline=deadline, clock=self._clock))

    def revoke(self) -> None:
        """Have the server forget the token of the current tenant (RFC 7009), and delete it here.

        Raises:
            TokenRefreshError: The server did not do it. The token is still here, to try again; `forget` deletes it here
                alone.
        """
        tenant = current_tenant()
        token = self._stored(tenant)
        if token is not None:
            server = self._server(tenant)
            if token.refresh_token is not None:
                server.revoke(token.refresh_token, "refresh_token")
            server.revoke(token.access_token, "access_token")
        self.forget()

    def introspect(self) -> dict[str, Any]:
        """Return what the server knows of the token of the current tenant (RFC 7662).

        Raises:
            TokenRefreshError: There is no token, or the server does not say.
        """
        return self._server(current_tenant()).introspect(self.token().access_token, "access_token")

    def _kept_new(self, token: Token) -> Token:
        self.keep(token)
        return token

    # What TokenAuth asks for ------------------------------------------------------------------------------------------

    def _owner(self, tenant: str) -> tuple[str, str]:
        keywords = self._server_keywords
        place = keywords["issuer"] or keywords["token_url"] or "fetch"
        owner = self._asking.owner(tenant)
        key = f"token {quote(place, safe=_SAFE)} {part_of_key(tenant or None)} {owner}"
        return key, origin(place).partition("://")[2] or place

    def _storage(self, tenant: str) -> TokenStorage:
        return self._places.storage(tenant)

    def _ask(self, tenant: str, held: Token | None, seconds: float) -> Token:
        if self._fetch is not None:
            return _made(self._fetch(held))
        refresh_token = held.refresh_token if held is not None else None
        if refresh_token is None and self.flow == "refresh_token":
            refresh_token = self._asking.secret("refresh_token")
        key = held.key if held is not None else None
        try:
            return self._asked(tenant, refresh_token, key, seconds)
        except TokenRefreshError as error:
            token = self._reauthenticate(error) if error.final and self._reauthenticate is not None else None
            if token is None:
                raise
            return _made(token)

    def _asked(self, tenant: str, refresh_token: str | None, key: str | None, seconds: float) -> Token:
        server = self._server(tenant)
        if refresh_token is not None:
            try:
                return server.token(grants.refresh(refresh_token), deadline_timeout=seconds, key=key)
            except TokenRefreshError as error:
                if not error.final or not self._asking.unattended:
                    raise
        grant = self._asking.grant()
        if grant is None:
            raise TokenRefreshError(
                f"{server.host}: there is no token yet; {self._advice}",
                host=server.host,
                reason="login required",
                final=True,
            )
        return server.token(grant, deadline_timeout=seconds, key=key)

    def _server(self, tenant: str) -> AuthorizationServer:
        server = self._servers.get(tenant)
        if server is None:
            if self.client_id is None:
                raise ConfigurationError("OAuth2: there is no authorization server to ask: client_id is missing")
            for name in self._lost:
                raise left_behind(name)
            server = AuthorizationServer(**self._server_keywords, tenant=tenant)
            bounded(self._servers, self._max_tenants)[tenant] = server
        return server

    def _stored(self, tenant: str) -> Token | None:
        """Return the token of a tenant as far as it is known, whether it still holds or not."""
        held = self._held.get(tenant)
        if held is not None:
            return held.token
        storage, (key, _) = self._kept(tenant), self._owner(tenant)
        (life,) = storage.resort().decide((Event(self._life, key, LookAtToken()),))
        try:
            return storage.unseal(key, life.token) if life.token else None
        except DecryptionError:
            return None

    def _how_to_log_in(self) -> str:
        if self._asking.unattended:
            return "check the credentials of the client"
        return "log in again (python -m polvo_adapters login), or give OAuth2 a new refresh token or reauthenticate="

    # Copies -----------------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        super()._begin()
        self._servers: dict[str, AuthorizationServer] = {}

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        del state["_servers"]
        keywords, state["_lost"] = dict(self._server_keywords), list(self._lost)
        for name in ("client_secret", "private_key"):
            if keywords[name] is not None and not callable(keywords[name]):
                keywords[name] = None
                state["_lost"].append(name)
        return {**state, "_server_keywords": keywords}

    def __repr__(self) -> str:
        place = self._server_keywords["issuer"] or self._server_keywords["token_url"] or "fetch"
        host = origin(place).partition("://")[2] or place
        return f"<OAuth2 {self.flow} at {host} for {self.client_id}>"


def oauth2(*args: Any, **keywords: Any) -> OAuth2:
    """Authorize requests by OAuth2 tokens; arguments as for `OAuth2`."""
    return OAuth2(*args, **keywords)


def _made(given: Given) -> Token:
    """Return as a token what a function of the user's has returned."""
    if isinstance(given, Token):
        _made({"access_token": given.access_token, "token_type": given.token_type, "key": given.key})
        return given
    fields = {"access_token": given} if isinstance(given, str) else dict(given)
    answer = ServerResponse("fetch", "a token", 200, {}, json.dumps(fields).encode())
    return token_of(answer, cast("str | None", fields.get("key")))
