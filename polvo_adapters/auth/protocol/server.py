"""One client's view of one authorization server.

Theory of operation. `AuthorizationServer` knows who asks and where; `grants` says what is asked for; `sending` gets it
there and back within its time; `answers` makes a `Token` or an error of what comes. Nothing is kept between two
requests but the document of discovery and the nonces of DPoP: tokens are the business of whoever asked for them.

Every failure is a TokenRefreshError whose `reason` is the server's error code or one of a closed list, drawn up at the
top of `sending`, `answers`, `discovery`, `device` and `authorization`. Its `final` tells whether asking again with the
same credentials is of no use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from polvo_adapters.auth.protocol import discovery, form_encoding, server_response
from polvo_adapters.auth.protocol.client_authentication import ClientAuthentication
from polvo_adapters.auth.protocol.dpop import DPoPKey, Nonces
from polvo_adapters.auth.protocol.grants import scope_text
from polvo_adapters.auth.protocol.server_response import ServerResponse, failure, request_once
from polvo_adapters.auth.protocol.token import Token
from polvo_adapters.core.calls import origin
from polvo_adapters.errors import ConfigurationError
from polvo_adapters.shells.requests import urls
from polvo_adapters.shells.requests.one_shot import Channel
from polvo_adapters.shells.requests.urls import is_secure

if TYPE_CHECKING:
    import requests

    from polvo_adapters.auth.protocol.authorization_code import AuthorizationRequest
    from polvo_adapters.auth.protocol.device_code import DeviceAuthorization
    from polvo_adapters.auth.protocol.grants import Fields, Value

Secret: TypeAlias = "str | Callable[[], str] | None"

_ENDPOINTS = {
    "token": "token_endpoint",
    "authorization": "authorization_endpoint",
    "device_authorization": "device_authorization_endpoint",
    "revocation": "revocation_endpoint",
    "introspection": "introspection_endpoint",
}


class AuthorizationServer:
    """Ask one authorization server for tokens, as one of its clients.

    In every URL and in `client_id`, `{tenant}` stands for the tenant.

    Args:
        client_id: Who asks.
        client_secret: The client's secret, or a function that returns it and is asked at each use.
        token_url: URL of the token endpoint.
        issuer: Name of the server, a URL; endpoints that are not named are found through it, at the first use.
        authorization_url: URL that a browser is sent to.
        device_authorization_url: URL where logins on other devices begin.
        revocation_url: URL where tokens are revoked.
        introspection_url: URL that tells what a token is.
        client_authentication: "basic", "post", "private_key_jwt", "mtls" or "none". By default what fits the rest:
            "basic" with a secret, "private_key_jwt" with a private key, "mtls" with a certificate, else "none".
        private_key: The client's private key: PEM, an object of cryptography, or a function that returns one.
        key_id: Its name at the server (`kid`).
        algorithm: How to sign with it; by default RS256, ES256 (ES384, ES512) or EdDSA, as fits the key.
        cert: The client's TLS certificate, as for `requests`.
        verify: Whether, or by which authorities, the server's certificate is verified, as for `requests`.
        dpop: Whether tokens are bound to a key (RFC 9449).
        session: The session whose adapters, proxies and TLS settings are used. Its cookies, headers, hooks and `auth`
            are not: they are meant for others.
        timeout: Seconds for one exchange with the server, repeats included.
        parameters: Further fields of every token request; those of the grant go first.
        allow_http: Whether secrets may go over plain http to hosts other than this one.
        tenant: What `{tenant}` stands for.

    Raises:
        ConfigurationError: A setting cannot work; the message names it.

    Source: RFC 6749; RFC 8414 (discovery), 7523 and 8705 (client authentication), 9449 (DPoP).
    """

    def __init__(
        self,
        *,
        client_id: str,
        client_secret: Secret = None,
        token_url: str | None = None,
        issuer: str | None = None,
        authorization_url: str | None = None,
        device_authorization_url: str | None = None,
        revocation_url: str | None = None,
        introspection_url: str | None = None,
        client_authentication: str | None = None,
        private_key: Any = None,
        key_id: str | None = None,
        algorithm: str | None = None,
        cert: str | tuple[str, str] | None = None,
        verify: bool | str | None = None,
        dpop: bool = False,
        session: requests.Session | None = None,
        timeout: float = 10.0,
        parameters: Mapping[str, Value] | None = None,
        allow_http: bool = False,
        tenant: str = "",
    ) -> None:
        if token_url is None and issuer is None:
            raise ConfigurationError("token_url or issuer is needed: where is the authorization server?")
        given = {
            "token": token_url,
            "authorization": authorization_url,
            "device_authorization": device_authorization_url,
            "revocation": revocation_url,
            "introspection": introspection_url,
        }
        self._urls = {
            name: urls.url(f"{name}_url", url, tenant, allow_http) for name, url in given.items() if url is not None
        }
        self.issuer = None if issuer is None else urls.url("issuer", issuer, tenant, allow_http)
        self.client_id = urls.client_id(client_id, tenant)
        self.dpop = dpop
        self._allow_http = allow_http
        self._parameters = dict(parameters or {})
        self._presents_cert = cert is not None
        self._channel = Channel(session, verify, cert, urls.positive("timeout", timeout))
        self._authentication = ClientAuthentication(
            self.client_id, client_authentication, client_secret, private_key, key_id, algorithm, cert is not None
        )
        self._forget()

    def _forget(self) -> None:
        self._document: dict[str, Any] | None = None
        self._nonces = Nonces()

    @property
    def host(self) -> str:
        """Host of the server, for messages."""
        return origin(self._urls.get("token") or self.issuer or "").partition("://")[2]

    def token(
        self, fields: Fields, *, deadline_timeout: float | None = None, key: DPoPKey | str | None = None
    ) -> Token:
        """Ask for a token.

        Args:
            fields: What is asked for, as `polvo_adapters.auth.protocol.grants` makes it.
            deadline_timeout: Seconds until there must be an answer, where that is less than `timeout`.
            key: The key that the token shall be bound to, or its PEM; by default a new one, where `dpop` is set. The
                token carries it, and a refresh needs it again.

        Returns:
            The token.

        Raises:
            TokenRefreshError: There is none; `reason` says why, `final` whether asking again is of no use.
            ConfigurationError: A secret or key cannot be used, or the server has no such endpoint.

        Source: RFC 6749 sections 4 to 6, RFC 9449 section 5.
        """
        channel = self._within(deadline_timeout)
        merged = {**self._parameters, **{name: value for name, value in fields.items() if value is not None}}
        what = form_encoding.named(merged)
        proving = DPoPKey.from_pem(key) if isinstance(key, str) else key
        if self.dpop and proving is None:
            proving = self.new_key()
        url = self.endpoint("token", channel)
        answer = self._post(channel, url, merged, what, proving)
        return server_response.token(answer, None if proving is None else proving.to_pem())

    def revoke(self, token: str, hint: str | None = None, *, deadline_timeout: float | None = None) -> None:
        """Have the server forget a token, and with a refresh token the whole login.

        Args:
            token: The token.
            hint: "access_token" or "refresh_token", which helps the server find it.
            deadline_timeout: As for `token`.

        Raises:
            TokenRefreshError: It could not be revoked. A token that the server does not know counts as revoked.
            ConfigurationError: As for `token`.

        Source: RFC 7009 section 2.
        """
        channel = self._within(deadline_timeout)
        fields = {"token": token, "token_type_hint": hint}
        server_response.accepted(self._post(channel, self.endpoint("revocation", channel), fields, "revocation"))

    def introspect(
        self, token: str, hint: str | None = None, *, deadline_timeout: float | None = None
    ) -> dict[str, Any]:
        """Ask what the server knows of a token.

        Args:
            token: The token.
            hint: "access_token" or "refresh_token", which helps the server find it.
            deadline_timeout: As for `token`.

        Returns:
            What it answers; `active` tells whether the token is valid.

        Raises:
            TokenRefreshError: It did not say; the reason "invalid introspection" means an answer without `active`.
            ConfigurationError: As for `token`.

        Source: RFC 7662 section 2.
        """
        channel = self._within(deadline_timeout)
        fields = {"token": token, "token_type_hint": hint}
        answer = self._post(channel, self.endpoint("introspection", channel), fields, "introspection")
        found = server_response.require_fields(answer)
        if not isinstance(found.get("active"), bool):
            raise answer.failure("invalid introspection")
        return found

    def device_authorization(
        self, scope: Value = None, *, deadline_timeout: float | None = None, **extra: Value
    ) -> DeviceAuthorization:
        """Begin a login that the user confirms on another device.

        Args:
            scope: What the token shall be good for.
            deadline_timeout: As for `token`.
            **extra: Further fields, such as the `audience` that some servers want to know.

        Returns:
            What to show to the user; `polvo_adapters.auth.protocol.device_code.poll` waits for the confirmation.

        Raises:
            TokenRefreshError: The server did not begin one.
            ConfigurationError: As for `token`.

        Source: RFC 8628 section 3.1.
        """
        from polvo_adapters.auth.protocol.device_code import authorization_of

        channel = self._within(deadline_timeout)
        fields = {**extra, "client_id": self.client_id, "scope": scope_text(scope)}
        url = self.endpoint("device_authorization", channel)
        return authorization_of(self._post(channel, url, fields, "device authorization"))

    def authorization_request(
        self, redirect_uri: str, scope: Value = None, state: str | None = None, **extra: str
    ) -> AuthorizationRequest:
        """Begin a login in the user's browser, with PKCE.

        Args:
            redirect_uri: Where the browser shall be sent back to.
            scope: What the token shall be good for.
            state: What the answer must repeat; by default drawn at random.
            **extra: Further parameters, such as `prompt` or `login_hint`.

        Returns:
            The URL to open, and what `code_from` and `grants.code` need afterwards.

        Raises:
            TokenRefreshError: Discovery failed.
            ConfigurationError: The server has no such endpoint.

        Source: RFC 6749 section 4.1.1, RFC 7636.
        """
        from polvo_adapters.auth.protocol.authorization_code import start_authorization

        url = self.endpoint("authorization")
        return start_authorization(url, self.client_id, redirect_uri, scope_text(scope), state, extra)

    def code_from(self, redirected_url: str, request: AuthorizationRequest) -> str:
        """Return the code that the user's browser brought back.

        Args:
            redirected_url: The URL that the browser was sent back to, whole.
            request: The request that it answers.

        Raises:
            TokenRefreshError: There is no code, or it must not be used; see
            `polvo_adapters.auth.protocol.authorization_code`.

        Source: RFC 6749 section 4.1.2, RFC 9207.
        """
        from polvo_adapters.auth.protocol.authorization_code import extract_code

        promised = (self._document or {}).get("authorization_response_iss_parameter_supported") is True
        return extract_code(redirected_url, request, self.issuer, wants_iss=promised)

    def new_key(self) -> DPoPKey:
        """Return a new key that tokens can be bound to."""
        return DPoPKey.generate()

    def endpoint(self, name: str, channel: Channel | None = None) -> str:
        """Return the URL of an endpoint.

        Args:
            name: "token", "authorization", "device_authorization", "revocation" or "introspection".
            channel: How to get to the document that names it; by default as everything else.

        Raises:
            TokenRefreshError: Discovery failed.
            ConfigurationError: There is none.
        """
        if name in self._urls:
            return self._urls[name]
        if self.issuer is None:
            raise ConfigurationError(f"{name}_url: needed for this, or issuer= to find it out")
        if self._document is None:
            self._document = discovery.discover(self.issuer, channel or self._channel)
        mtls = self._presents_cert or self._authentication.method == "mtls"
        url = discovery.endpoint(self._document, _ENDPOINTS[name], mtls=mtls)
        if url is None:
            raise ConfigurationError(f"{name}_url: {self.host} names no {_ENDPOINTS[name]}")
        at_home = is_secure(self.issuer) and not self.issuer.startswith("https:")
        if not (self._allow_http or is_secure(url, loopback=at_home)):
            raise failure(self.host, "discovery", "insecure endpoint")
        return url

    def _within(self, deadline_timeout: float | None) -> Channel:
        seconds = self._channel.seconds
        return (
            self._channel
            if deadline_timeout is None
            else self._channel._replace(seconds=min(seconds, deadline_timeout))
        )

    def _post(
        self, channel: Channel, url: str, fields: Fields, what: str, key: DPoPKey | None = None
    ) -> ServerResponse:
        """Send a form as this client; once more where the secret was rotated, or the proof needs a nonce."""
        refreshed = False
        while True:
            nonce = self._nonces.get(url)
            credentials = self._authentication.credentials(self.issuer or url)
            headers = {**form_encoding.HEADERS, **credentials.headers}
            if key is not None:
                headers["DPoP"] = key.proof("POST", url, nonce=nonce)
            answer = request_once(
                channel,
                "POST",
                url,
                what,
                headers=headers,
                body=form_encoding.encoded({**fields, **credentials.fields}),
                secrets=(*form_encoding.secrets(fields), *credentials.secrets),
            )
            self._nonces.learn(url, answer.headers)
            if not refreshed and server_response.refuses_client(answer) and self._authentication.refreshed(credentials):
                refreshed = True
                continue
            if key is None or not server_response.wants_nonce(answer) or self._nonces.get(url) == nonce:
                return answer

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
