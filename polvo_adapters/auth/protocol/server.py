"""One client's view of one authorization server.

Theory of operation. `AuthorizationServer` knows the client and the endpoints, `grants` makes the fields of a token
request, `token_request` brings them into the form that the endpoint expects (`token_endpoint`),
`polvo_adapters.shells.requests.one_shot` sends it within its time, and `token_response` makes a `Token` or an error of
the response. Only the discovery document and the nonces of DPoP are kept between two requests; the caller
keeps the tokens.

Every failure is a TokenRefreshError whose `reason` is the server's error code or an entry of a closed list, given at
the top of `one_shot`, `token_response`, `discovery`, `device_code` and `authorization_code`. Its `final` says whether
another request with the same credentials is useless.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from polvo_adapters.auth.options import SecretSource, ServerOptions, require_known_options
from polvo_adapters.auth.protocol import discovery, form_encoding, token_response
from polvo_adapters.auth.protocol.authorization_code import AuthorizationRequest, extract_code, start_authorization
from polvo_adapters.auth.protocol.client_authentication import (
    ClientAuthentication,
    require_key,
    select_assertion,
)
from polvo_adapters.auth.protocol.device_code import DeviceAuthorization, parse_device_authorization
from polvo_adapters.auth.protocol.dpop import DPoPKey, Nonces
from polvo_adapters.auth.protocol.grants import join_scope
from polvo_adapters.auth.protocol.revocation_endpoint import KINDS, RevocationEndpoint
from polvo_adapters.auth.protocol.server_response import ServerResponse, request_once
from polvo_adapters.auth.protocol.token import Token
from polvo_adapters.auth.protocol.token_endpoint import TokenEndpoint, find_templates
from polvo_adapters.auth.protocol.token_request import encode_request
from polvo_adapters.core.calls import find_host
from polvo_adapters.errors import ConfigurationError
from polvo_adapters.redaction import hide
from polvo_adapters.shells import urls
from polvo_adapters.shells.requests.one_shot import Channel
from polvo_adapters.shells.urls import is_secure

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from polvo_adapters.auth.protocol.grants import FieldValue, FormFields

_STANDARD = TokenEndpoint("the URL is known by other means")
_ENDPOINTS = ("token", "refresh", "authorization", "device_authorization", "revocation", "introspection")


class AuthorizationServer:
    """An authorization server, as one of its clients uses it.

    In every URL and in `client_id`, `{tenant}` is replaced by the tenant.

    Args:
        client_id: The client's name at the server.
        client_secret: The client's secret, or a function that returns it and is called at each use.
        token_url: URL of the token endpoint, or its description; by default it is discovered through `issuer`.
        tenant: Name of the tenant, or an empty string.
        **options: See `polvo_adapters.auth.options.ServerOptions`.

    Raises:
        ConfigurationError: A setting cannot work; the message names it.
        TypeError: A keyword is unknown.

    Source: RFC 6749; RFC 8414 (discovery), 7523 and 8705 (client authentication), 9449 (DPoP).
    """

    _described, _tenant = _STANDARD, ""  # as in pickles of earlier versions

    def __init__(
        self,
        *,
        client_id: str,
        client_secret: SecretSource = None,
        token_url: str | TokenEndpoint | None = None,
        tenant: str = "",
        **options: Unpack[ServerOptions],
    ) -> None:
        require_known_options(type(self).__name__, options, ServerOptions)
        issuer, cert = options.get("issuer"), options.get("cert")
        if token_url is None and issuer is None:
            raise ConfigurationError("missing token_url or issuer: one of them has to name the authorization server")
        self._allow_http = options.get("allow_http", False)
        described = token_url if isinstance(token_url, TokenEndpoint) else _STANDARD
        self._described, self._tenant = described, tenant
        url = described.url if described is not _STANDARD else token_url
        refresh_url = described.for_refresh.url if described.refresh is not None else None
        given: dict[str, Any] = {"token_url": url, "refresh_url": refresh_url, **options}
        revocation = given.get("revocation_url")
        self._revocation = revocation if isinstance(revocation, RevocationEndpoint) else None
        if self._revocation is not None:
            given["revocation_url"] = self._revocation.url
        self._urls = {
            name: urls.validate_url(f"{name}_url", given[f"{name}_url"], tenant, self._allow_http)
            for name in _ENDPOINTS
            if given.get(f"{name}_url") is not None
        }
        self.issuer = None if issuer is None else urls.validate_url("issuer", issuer, tenant, self._allow_http)
        self.client_id = urls.fill_client_id(client_id, tenant)
        self.dpop = options.get("dpop", False)
        self._parameters = dict(options.get("parameters") or {})
        _check_parameters(described, self._parameters)
        self._presents_cert = cert is not None
        timeout = urls.validate_seconds("timeout", options.get("timeout", 10.0))
        self._channel = Channel(options.get("session"), options.get("verify"), cert, timeout)
        method, private_key = (
            _choose_method(described, options.get("client_authentication")),
            options.get("private_key"),
        )
        require_key(options)
        signing = (private_key, options.get("key_id"), options.get("algorithm"))
        revoking = (self._revocation and self._revocation.client_authentication) or method
        self._authentication, self._revoking_authentication = (
            ClientAuthentication(
                self.client_id, each, client_secret, *signing, cert is not None, select_assertion(options)
            )
            for each in (method, revoking)
        )
        self._check_headers()
        self._forget()

    def _check_headers(self) -> None:
        """Raise ConfigurationError for headers of the endpoint that would replace the client's credentials."""
        names = {name.lower() for each in (self._described, self._described.for_refresh) for name in each.headers}
        if "authorization" in names and self._authentication.method in ("basic", "basic_unencoded"):
            raise ConfigurationError(
                "TokenEndpoint(headers=...): Authorization is the header of the client's credentials; choose another "
                "client_authentication"
            )

    def _forget(self) -> None:
        self._document: dict[str, Any] | None = None
        self._nonces = Nonces()

    @property
    def host(self) -> str:
        """Host of the server, for messages."""
        return find_host(self._urls.get("token") or self.issuer or "")

    def token(
        self,
        fields: FormFields,
        *,
        deadline_timeout: float | None = None,
        key: DPoPKey | str | None = None,
        access_token: str | None = None,
    ) -> Token:
        """Return the token that the server issues for a grant.

        Args:
            fields: Fields of the grant, as `polvo_adapters.auth.protocol.grants` makes them.
            deadline_timeout: Seconds until the deadline of the caller, where they are fewer than `timeout`.
            key: Key that the token shall be bound to, or its PEM; by default a new one, where `dpop` is set. The token
                carries it, and a refresh needs it again.
            access_token: The token that is to be replaced, for endpoints that want to see it.

        Raises:
            TokenRefreshError: There is none. The error has the `reason`, and `final` says whether another request is
                useless.
            ConfigurationError: A secret or key cannot be used, or the server has no such endpoint.

        Source: RFC 6749 sections 4 to 6, RFC 9449 section 5.
        """
        what = form_encoding.describe_grant(fields)
        proving = DPoPKey.from_pem(key) if isinstance(key, str) else key
        if self.dpop and proving is None:
            proving = self.new_key()
        refreshes = fields["grant_type"] == "refresh_token"
        described = self._described.for_refresh if refreshes else self._described
        name = "refresh" if refreshes and "refresh" in self._urls else "token"
        response = self._post(name, fields, what, deadline_timeout, proving, described, access_token)
        sent = fields.get("refresh_token") if refreshes else None
        pem = None if proving is None else proving.to_pem()
        return token_response.parse_token(response, pem, described.response, sent if isinstance(sent, str) else None)

    def revoke(self, token: str, hint: str | None = None, *, deadline_timeout: float | None = None) -> None:
        """Make the server revoke a token, and with a refresh token the whole login.

        Args:
            token: The token.
            hint: "access_token" or "refresh_token", which helps the server find it.
            deadline_timeout: As for `token`.

        Raises:
            TokenRefreshError: It could not be revoked. A token that the server does not know counts as revoked.
            ConfigurationError: As for `token`.

        Source: RFC 7009 section 2.
        """
        described = self._revocation or _STANDARD
        fields = {"token": token, "token_type_hint": hint}
        response = self._post("revocation", fields, "revocation", deadline_timeout, described=described)
        token_response.parse_success(response, described.response)

    @property
    def revocable(self) -> tuple[str, ...]:
        """Kinds of tokens that the server revokes."""
        return KINDS if self._revocation is None else self._revocation.kinds

    def introspect(
        self, token: str, hint: str | None = None, *, deadline_timeout: float | None = None
    ) -> dict[str, Any]:
        """Return the server's description of a token; its `active` says whether the token is valid.

        Args:
            token: The token.
            hint: "access_token" or "refresh_token", which helps the server find it.
            deadline_timeout: As for `token`.

        Raises:
            TokenRefreshError: There is none; the reason "invalid introspection" means a response without `active`.
            ConfigurationError: As for `token`.

        Source: RFC 7662 section 2.
        """
        fields = {"token": token, "token_type_hint": hint}
        response = self._post("introspection", fields, "introspection", deadline_timeout)
        description = token_response.require_fields(response)
        if not isinstance(description.get("active"), bool):
            raise response.make_error("invalid introspection")
        return description

    def device_authorization(
        self, scope: FieldValue = None, *, deadline_timeout: float | None = None, **extra: FieldValue
    ) -> DeviceAuthorization:
        """Begin a login that the user confirms on another device, and return what to show to the user.

        `polvo_adapters.auth.device_login.poll` waits for the confirmation.

        Args:
            scope: What the token shall permit.
            deadline_timeout: As for `token`.
            **extra: Further fields, such as the `audience` that some servers expect.

        Raises:
            TokenRefreshError: The server did not begin a login.
            ConfigurationError: As for `token`.

        Source: RFC 8628 section 3.1.
        """
        fields = {**extra, "client_id": self.client_id, "scope": join_scope(scope)}
        response = self._post("device_authorization", fields, "device authorization", deadline_timeout)
        return parse_device_authorization(response)

    def authorization_request(
        self, redirect_uri: str, scope: FieldValue = None, state: str | None = None, **extra: str
    ) -> AuthorizationRequest:
        """Begin a login in the user's browser, with PKCE, and return what `code_from` and `grants.code` need for it.

        Args:
            redirect_uri: URL that the server shall send the browser back to.
            scope: What the token shall permit.
            state: Text that the server must repeat; by default a random one.
            **extra: Further parameters, such as `prompt` or `login_hint`.

        Raises:
            TokenRefreshError: Discovery failed.
            ConfigurationError: The server has no such endpoint.

        Source: RFC 6749 section 4.1.1, RFC 7636.
        """
        url, joined = self.endpoint("authorization"), join_scope(scope)
        if joined is not None:
            joined = self._described.scope_separator.join(joined.split(" "))
        return start_authorization(url, self.client_id, redirect_uri, joined, state, extra)

    def code_from(self, redirected_url: str, request: AuthorizationRequest) -> str:
        """Return the code that the user's browser brought back.

        Args:
            redirected_url: The whole URL that the browser was sent back to.
            request: The request that it answers.

        Raises:
            TokenRefreshError: There is no code, or it must not be used; see
                `polvo_adapters.auth.protocol.authorization_code`.

        Source: RFC 6749 section 4.1.2, RFC 9207.
        """
        wants_iss = (self._document or {}).get("authorization_response_iss_parameter_supported") is True
        return extract_code(redirected_url, request, self.issuer, wants_iss=wants_iss)

    def new_key(self) -> DPoPKey:
        """Return a new key that tokens can be bound to."""
        return DPoPKey.generate()

    def endpoint(self, name: str, *, deadline_timeout: float | None = None) -> str:
        """Return the URL of an endpoint.

        Args:
            name: "token", "refresh", "authorization", "device_authorization", "revocation" or "introspection".
            deadline_timeout: As for `token`, where the endpoint has yet to be discovered.

        Raises:
            TokenRefreshError: Discovery failed.
            ConfigurationError: There is no such endpoint.
        """
        if name in self._urls:
            return self._urls[name]
        if self.issuer is None:
            raise ConfigurationError(f"missing {name}_url; pass it, or issuer= to discover it")
        if self._document is None:
            self._document = discovery.discover(self.issuer, self._channel_until(deadline_timeout))
        mtls = self._presents_cert or self._authentication.method == "mtls"
        url = discovery.find_endpoint(self._document, f"{name}_endpoint", mtls=mtls)
        if url is None:
            raise ConfigurationError(f"{name}_url: {self.host} names no {name}_endpoint")
        is_local = is_secure(self.issuer) and not self.issuer.startswith("https:")
        if not (self._allow_http or is_secure(url, loopback=is_local)):
            raise ServerResponse(self.host, "discovery").make_error("insecure endpoint")
        return url

    def _channel_until(self, deadline_timeout: float | None) -> Channel:
        channel = self._channel
        return channel if deadline_timeout is None else channel._replace(seconds=min(channel.seconds, deadline_timeout))

    def _post(
        self,
        name: str,
        fields: FormFields,
        what: str,
        deadline_timeout: float | None,
        key: DPoPKey | None = None,
        described: TokenEndpoint = _STANDARD,
        access_token: str | None = None,
    ) -> ServerResponse:
        """Send a request to an endpoint; once more if the secret was rotated, or if the proof needs a nonce."""
        channel, refetched = self._channel_until(deadline_timeout), False
        url = self.endpoint(name, deadline_timeout=deadline_timeout)
        further = self._parameters if name in ("token", "refresh") else {}
        authentication = self._revoking_authentication if name == "revocation" else self._authentication
        while True:
            nonce = self._nonces.get(url)
            credentials = authentication.make_credentials(self.issuer or url)
            known = {"client_id": self.client_id, "tenant": self._tenant or None, "access_token": hide(access_token)}
            if _names_secret(described):
                known["client_secret"] = authentication.resolve_secret()
                credentials = credentials._replace(secrets=(*credentials.secrets, known["client_secret"]))
            request = encode_request(described, url, fields, credentials, known, further)
            if described.prepare is not None:  # it may have led to plain http; a query may hold secrets
                urls.validate_url("prepare", request.url.partition("?")[0], "", self._allow_http)
            method, headers = request.method, request.headers
            if key is not None:
                headers["DPoP"] = key.make_proof(method, url, nonce=nonce)
            response = request_once(
                channel, method, request.url, what, headers=headers, body=request.body, secrets=request.secrets
            )
            self._nonces.learn(url, response.headers)
            error = token_response.credential_error(response, described.response)
            if error == "invalid_client" and not refetched and authentication.refetch_secret(credentials):
                refetched = True
                continue
            if key is None or error != "use_dpop_nonce" or self._nonces.get(url) == nonce:
                return response

    def __repr__(self) -> str:
        return f"<AuthorizationServer {self.host} for {self.client_id}>"

    def __getstate__(self) -> dict[str, Any]:
        if self._authentication.holds_secrets:
            raise TypeError(
                "this AuthorizationServer holds a secret and is not pickled; give client_secret or private_key as a "
                "function that fetches it"
            )
        return {name: value for name, value in vars(self).items() if name not in ("_document", "_nonces")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._forget()


def _choose_method(described: TokenEndpoint, given: str | None) -> str | None:
    """Return how the client authenticates, of two settings that must agree."""
    own = described.client_authentication
    if own is not None and given is not None and own != given:
        raise ConfigurationError(f"client_authentication={given!r}: the TokenEndpoint says {own!r}")
    return own if given is None else given


def _check_parameters(described: TokenEndpoint, parameters: Mapping[str, Any]) -> None:
    """Raise ConfigurationError for parameters that the fields of a request, or other constants, would replace."""
    for each in (described, described.for_refresh):
        if each.send_name("grant_type") in parameters:
            raise ConfigurationError(
                "parameters: grant_type is the name of the grant; TokenEndpoint(url, grant_type=...) sends another one"
            )
        both = parameters.keys() & each.parameters.keys()
        if both:
            raise ConfigurationError(f"parameters: {', '.join(sorted(both))}: the TokenEndpoint has it as well")


def _names_secret(described: TokenEndpoint) -> bool:
    return "client_secret" in find_templates((described.headers, described.parameters))
