"""What the authorization server made with Authlib knows and remembers: clients, tokens, codes and devices."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from authlib.oauth2.rfc6749 import AuthorizationCodeMixin, ClientMixin, TokenMixin

from tests.support.oauth.servers import REDIRECT_URI

if TYPE_CHECKING:
    from authlib.oauth2.rfc8628 import DeviceCredentialDict

ASSERTION = "urn:ietf:params:oauth:grant-type:jwt-bearer"
DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"


@dataclass
class Client(ClientMixin):
    client_id: str
    grant_types: tuple[str, ...]
    method: str = "client_secret_basic"
    redirect_uris: tuple[str, ...] = (REDIRECT_URI, "http://127.0.0.1/cb")

    def get_client_id(self) -> str:
        return self.client_id

    def get_default_redirect_uri(self) -> str:
        return self.redirect_uris[0]

    def get_allowed_scope(self, scope: str | None) -> str:
        return scope or ""

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        return redirect_uri in self.redirect_uris

    def check_client_secret(self, client_secret: str) -> bool:
        return secrets.compare_digest(client_secret.encode(), f"{self.client_id}-secret".encode())

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method == self.method

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code" and "authorization_code" in self.grant_types

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type in self.grant_types


CLIENTS = {
    client.client_id: client
    for client in [
        Client("cc", ("client_credentials",)),
        Client("cc-post", ("client_credentials",), "client_secret_post"),
        Client("legacy", ("password", "refresh_token")),
        Client("web", ("authorization_code", "refresh_token")),
        Client("pub", ("authorization_code", "refresh_token", "password", DEVICE), "none"),
        Client("exchange", (EXCHANGE,)),
        Client("assertion", (ASSERTION,)),
    ]
}


@dataclass
class Token(TokenMixin):
    client_id: str
    subject: str
    scope: str
    expires_at: float
    access_token: str
    refresh_token: str | None = None
    access_revoked: bool = False
    refresh_revoked: bool = False

    def check_client(self, client: Client) -> bool:
        return self.client_id == client.client_id

    def get_scope(self) -> str:
        return self.scope

    def is_expired(self) -> bool:
        return time.time() >= self.expires_at

    def is_revoked(self) -> bool:
        return self.access_revoked

    def get_user(self) -> str:
        return self.subject


@dataclass
class Code(AuthorizationCodeMixin):
    code: str
    client_id: str
    redirect_uri: str | None
    scope: str
    subject: str
    code_challenge: str | None
    code_challenge_method: str | None

    def get_redirect_uri(self) -> str | None:
        return self.redirect_uri

    def get_scope(self) -> str:
        return self.scope


class Records:
    """All that the server remembers."""

    def __init__(self, only_last: bool) -> None:
        self.only_last = only_last
        self.access: dict[str, Token] = {}
        self.refresh: dict[str, Token] = {}
        self.codes: dict[str, Code] = {}
        self.devices: dict[str, DeviceCredentialDict] = {}
        self.decisions: dict[str, tuple[str, bool]] = {}
        self.polled: dict[str, float] = {}

    def save(self, answer: dict[str, Any], asked: Any) -> None:
        client = asked.client.client_id
        subject = asked.user or client
        if self.only_last:
            for earlier in self.access.values():
                earlier.access_revoked |= (earlier.client_id, earlier.subject) == (client, subject)
        token = Token(
            client,
            subject,
            answer.get("scope", ""),
            time.time() + answer["expires_in"] if "expires_in" in answer else float("inf"),
            answer["access_token"],
            answer.get("refresh_token"),
        )
        self.access[token.access_token] = token
        if token.refresh_token is not None:
            self.refresh[token.refresh_token] = token

    def valid(self, access_token: str | None) -> Token | None:
        token = self.access.get(access_token or "")
        return token if token and not token.is_expired() and not token.is_revoked() else None

    def find(self, value: str, hint: str | None) -> Token | None:
        return self.access.get(value) or self.refresh.get(value)
