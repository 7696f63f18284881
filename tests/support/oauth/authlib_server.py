"""An authorization server made with Authlib and Flask, in a thread of the test process.

A second implementation, by other people, beside `OIDCProvider`: it differs in what the RFCs leave open. An old refresh
token is refused without further consequences, device polling is told to slow down, errors tell details; and with
`only_last` a new access token ends the ones before it, as some vendors do.
"""

from __future__ import annotations

import html
import time
from typing import TYPE_CHECKING, Any

from authlib.integrations.flask_oauth2 import AuthorizationServer, ResourceProtector
from authlib.oauth2 import OAuth2Error
from authlib.oauth2.rfc6749 import (
    BaseGrant,
    InvalidGrantError,
    InvalidRequestError,
    TokenEndpointMixin,
    UnauthorizedClientError,
    grants,
)
from authlib.oauth2.rfc6750 import BearerTokenValidator
from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc7523 import JWTBearerGrant
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oauth2.rfc7662 import IntrospectionEndpoint
from authlib.oauth2.rfc8628 import DeviceAuthorizationEndpoint, DeviceCodeGrant, DeviceCredentialDict
from flask import Response, jsonify, request
from joserfc.jwk import KeySet
from werkzeug.exceptions import HTTPException

from tests.support.oauth.records import CLIENTS, EXCHANGE, Client, Code, Records, Token
from tests.support.oauth.servers import PATHS, make_keys
from tests.support.oauth.threads import FlaskServer

if TYPE_CHECKING:
    from typing_extensions import Self

ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
METHODS = ["client_secret_basic", "client_secret_post", "none"]
PASSWORDS = {"alice": "alice-password", "bob": "bob-pässword&=+"}


class ClientCredentials(grants.ClientCredentialsGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = METHODS[:2]


class Password(grants.ResourceOwnerPasswordCredentialsGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = METHODS

    def authenticate_user(self, username: str, password: str) -> str | None:
        return username if PASSWORDS.get(username) == password else None


class AuthorizationCode(grants.AuthorizationCodeGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = METHODS

    def save_authorization_code(self, code: str, asked: Any) -> None:
        data = asked.payload.data
        self.server.records.codes[code] = Code(
            code,
            asked.client.client_id,
            asked.payload.redirect_uri,
            asked.payload.scope or "",
            asked.user,
            data.get("code_challenge"),
            data.get("code_challenge_method"),
        )

    def query_authorization_code(self, code: str, client: Client) -> Code | None:
        found = self.server.records.codes.get(code)
        return found if found and found.client_id == client.client_id else None

    def delete_authorization_code(self, code: Code) -> None:
        del self.server.records.codes[code.code]

    def authenticate_user(self, code: Code) -> str:
        return code.subject


class Refresh(grants.RefreshTokenGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = METHODS

    def authenticate_refresh_token(self, refresh_token: str) -> Token | None:
        token = self.server.records.refresh.get(refresh_token)
        return token if token and not token.refresh_revoked else None

    def authenticate_user(self, token: Token) -> str:
        return token.subject

    def revoke_old_credential(self, token: Token) -> None:
        token.refresh_revoked = self.INCLUDE_NEW_REFRESH_TOKEN


class RotatingRefresh(Refresh):
    INCLUDE_NEW_REFRESH_TOKEN = True


class Device(DeviceCodeGrant):
    def query_device_credential(self, device_code: str) -> DeviceCredentialDict | None:
        return self.server.records.devices.get(device_code)

    def query_user_grant(self, user_code: str) -> tuple[str, bool] | None:
        return self.server.records.decisions.get(user_code)

    def should_slow_down(self, credential: DeviceCredentialDict) -> bool:
        polled, now = self.server.records.polled, time.monotonic()
        before = polled.get(credential["device_code"])
        polled[credential["device_code"]] = now
        return before is not None and now - before < credential["interval"]


class DeviceEndpoint(DeviceAuthorizationEndpoint):
    INTERVAL = 1

    def get_verification_uri(self) -> str:
        return request.host_url + "device"

    def save_device_credential(self, client_id: str, scope: str | None, data: dict[str, Any]) -> None:
        expires_at = time.time() + data["expires_in"]
        credential = DeviceCredentialDict(client_id=client_id, scope=scope or "", expires_at=expires_at, **data)
        self.server.records.devices[data["device_code"]] = credential


class Assertion(JWTBearerGrant):
    """JWT bearer assertions (RFC 7523) of any issuer that has one of the keys."""

    def resolve_issuer_client(self, issuer: str) -> Client:
        return CLIENTS["assertion"]

    def resolve_client_public_key(self, client: Client) -> KeySet:
        return self.server.keys

    def authenticate_user(self, subject: str) -> str:
        return subject

    def has_granted_permission(self, client: Client, user: str) -> bool:
        return user != "mallory"

    def get_audiences(self) -> list[str]:
        return [request.base_url, request.host_url.rstrip("/")]


class Exchange(BaseGrant, TokenEndpointMixin):
    """Token exchange (RFC 8693), for access tokens of this server."""

    GRANT_TYPE = EXCHANGE
    TOKEN_ENDPOINT_AUTH_METHODS = METHODS[:2]

    def validate_token_request(self) -> None:
        form = self.request.form
        self.request.client = self.authenticate_token_endpoint_client()
        if not self.request.client.check_grant_type(EXCHANGE):
            raise UnauthorizedClientError()
        if form.get("subject_token_type") != ACCESS_TOKEN:
            raise InvalidRequestError("an access token is needed as subject_token")
        if ("actor_token" in form) != ("actor_token_type" in form):
            raise InvalidRequestError("actor_token and actor_token_type belong together")
        self.subject = self.server.records.valid(form.get("subject_token"))
        if self.subject is None or ("actor_token" in form and not self.server.records.valid(form["actor_token"])):
            raise InvalidRequestError("a token is not valid")

    def create_token_response(self) -> tuple[int, dict[str, Any], list[tuple[str, str]]]:
        self.request.user = self.subject.subject
        scope = self.request.payload.scope or self.subject.scope
        if not set(scope.split()) <= set(self.subject.scope.split()):
            raise InvalidGrantError("more than the subject token allows")
        token = self.generate_token(user=self.request.user, scope=scope, include_refresh_token=False)
        self.save_token(token)
        return 200, {**token, "issued_token_type": ACCESS_TOKEN}, self.TOKEN_RESPONSE_HEADER


class Revocation(RevocationEndpoint):
    CLIENT_AUTH_METHODS = METHODS

    def query_token(self, value: str, hint: str | None) -> Token | None:
        return self.server.records.find(value, hint)

    def revoke_token(self, token: Token, asked: Any) -> None:
        token.access_revoked = True
        token.refresh_revoked |= asked.form["token"] == token.refresh_token


class Introspection(IntrospectionEndpoint):
    CLIENT_AUTH_METHODS = METHODS[:2]

    def query_token(self, value: str, hint: str | None) -> Token | None:
        return self.server.records.find(value, hint)

    def check_permission(self, token: Token, client: Client, asked: Any) -> bool:
        return True

    def introspect_token(self, token: Token) -> dict[str, Any]:
        return {"client_id": token.client_id, "sub": token.subject, "scope": token.scope, "token_type": "Bearer"}


class Validator(BearerTokenValidator):
    def __init__(self, records: Records) -> None:
        super().__init__(realm="api")
        self.records = records

    def authenticate_token(self, token_string: str) -> Token | None:
        return self.records.access.get(token_string)


GRANTS = (ClientCredentials, Password, Device, Assertion, Exchange)
PAGE = """<!doctype html><title>Authorize</title><form method="post" action="{}">
<input name="login"><input name="password" type="password"><input name="confirm" type="hidden" value="yes"></form>"""


class AuthlibServer(FlaskServer):
    """An authorization server and a resource that it protects; a context manager.

    Clients (the secret of NAME is NAME-secret): `cc` and `cc-post` (client_credentials, HTTP Basic and form), `legacy`
    (password), `web` (code, confidential), `pub` (code, device and password, public), `exchange`, `assertion`. Users
    are in `PASSWORDS`. URLs, keys, counts and controls are as those of `OIDCProvider`. Devices poll once a second.

    Args:
        ttl: Life of an access token, whole seconds; 0 for ever, which is announced by no `expires_in`.
        rotate: Whether refresh tokens rotate.
        only_last: Whether a new access token ends the others of the same client and user.
    """

    token_url = authorization_url = device_url = revocation_url = introspection_url = ""

    def __init__(self, *, ttl: int = 60, rotate: bool = True, only_last: bool = False) -> None:
        super().__init__()
        self.rsa_key, self.ec_key, jwks = make_keys()
        self.records = Records(only_last)
        self.ttl = ttl
        self.app.config.update(OAUTH2_REFRESH_TOKEN_GENERATOR=True)
        self._authority = AuthorizationServer(self.app, CLIENTS.get, self.records.save)
        self._authority.records = self.records
        self._authority.keys = KeySet.import_key_set(jwks)
        self._authority._token_generators["default"].expires_generator = lambda client, grant: self.ttl
        for grant in (*GRANTS, RotatingRefresh if rotate else Refresh):
            self._authority.register_grant(grant)
        self._authority.register_grant(AuthorizationCode, [CodeChallenge(required=True)])
        for endpoint in (DeviceEndpoint, Revocation, Introspection):
            self._authority.register_endpoint(endpoint)
        self._protector = ResourceProtector()
        self._protector.register_token_validator(Validator(self.records))
        self._add_routes()

    def __enter__(self) -> Self:
        super().__enter__()
        for name, path in PATHS.items():
            setattr(self, name, self.issuer + path)
        return self

    def revoke(self, token: str | None = None, *, refresh: bool = False) -> None:
        """Make an access or refresh token invalid, or without one all access tokens, with `refresh` the others too."""
        with self._lock:
            for record in self.records.access.values():
                record.access_revoked |= token in (None, record.access_token)
                record.refresh_revoked |= refresh if token is None else token == record.refresh_token

    def _add_routes(self) -> None:
        def endpoint(name: str) -> Any:
            return lambda: self._authority.create_endpoint_response(name)

        add = self.app.add_url_rule
        add("/token", view_func=self._token, methods=["POST"])
        add("/auth", view_func=self._authorize, methods=["GET", "POST"])
        add("/device", view_func=self._device, methods=["GET", "POST"])
        add("/device/auth", "device/auth", endpoint("device_authorization"), methods=["POST"])
        add("/token/revocation", "revocation", endpoint("revocation"), methods=["POST"])
        add("/token/introspection", "introspection", endpoint("introspection"), methods=["POST"])
        methods = ["GET", "POST", "PUT", "PATCH", "DELETE"]
        add("/api", "api", self._api, methods=methods)
        add("/api/<path:below>", "below", self._api, methods=methods)
        add("/.well-known/openid-configuration", view_func=self._discovery)

    def _token(self) -> Response:
        return self.answer(request.form.get("grant_type", ""), self._authority.create_token_response)

    def _authorize(self) -> Response | str:
        user = request.form.get("login") if request.form.get("confirm") else None
        try:
            grant = self._authority.get_consent_grant(end_user=user)
        except OAuth2Error as error:
            return self._authority.handle_error_response(request, error)
        if request.method == "GET":
            return PAGE.format(html.escape(request.full_path))
        return self._authority.create_authorization_response(grant_user=user, grant=grant)

    def _device(self) -> str:
        if request.method == "GET":
            return PAGE.format(html.escape(request.full_path))
        confirmed = "confirm" in request.form
        self.records.decisions[request.args["user_code"]] = (request.form.get("login", ""), confirmed)
        return "Sign-in Success" if confirmed else "Denied"

    def _discovery(self) -> Response:
        names = {"authorization_url": "authorization_endpoint", "device_url": "device_authorization_endpoint"}
        found = {names.get(name, name.replace("_url", "_endpoint")): self.issuer + path for name, path in PATHS.items()}
        return jsonify(issuer=self.issuer, **found)

    def _api(self, below: str = "") -> Response:
        body = request.get_data(as_text=True)
        try:
            with self._protector.acquire() as token:
                self.count_api(200)
                known = {"client": token.client_id, "subject": token.subject, "scope": token.scope}
                query = request.query_string.decode()
                return jsonify(method=request.method, path=request.path, query=query, body=body, **known)
        except HTTPException:
            self.count_api(401)
            raise
