"""How a client tells an authorization server who it is.

    method            what is sent                                              source
    ----------------  --------------------------------------------------------  -----------------------
    basic             `Authorization: Basic`, both parts form-urlencoded first  RFC 6749 section 2.3.1
    post              client_id and client_secret in the form                   RFC 6749 section 2.3.1
    private_key_jwt   an assertion that the client signs for this one request   RFC 7523 section 2.2
    mtls              client_id; the TLS certificate proves it                  RFC 8705 section 2
    none              client_id: a public client has nothing to prove           RFC 6749 section 3.2.1

Secrets given as functions are asked at every use, so that a replaced one is found without a restart.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import quote_plus

from polvo_adapters.errors import ConfigurationError

METHODS = ("basic", "post", "private_key_jwt", "mtls", "none")
_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_ASSERTION_LIFETIME = 120.0


class Credentials(NamedTuple):
    """What one request carries to say who asks.

    Attributes:
        fields: Further fields of the form.
        headers: Further headers.
        secrets: What of these must never be shown.
    """

    fields: dict[str, str]
    headers: dict[str, str]
    secrets: tuple[str, ...]

    def __repr__(self) -> str:
        return "<Credentials>"


class ClientAuthentication:
    """Makes the credentials of each request.

    Args:
        client_id: The client.
        method: One of METHODS, or None for what fits the rest.
        client_secret: The secret, or a function that returns it.
        private_key: The key to sign with; see `polvo_adapters.auth.protocol.jwt_signing`.
        key_id: Its name.
        algorithm: How to sign.
        has_cert: Whether there is a client certificate.

    Raises:
        ConfigurationError: The method is unknown, or what it needs is missing.
    """

    def __init__(
        self,
        client_id: str,
        method: str | None,
        client_secret: str | Callable[[], str] | None,
        private_key: Any,
        key_id: str | None,
        algorithm: str | None,
        has_cert: bool,
    ) -> None:
        self.client_id = client_id
        self.method = _fitting(client_secret, private_key, has_cert) if method is None else method
        self._secret = client_secret
        self._key = private_key
        self._key_id = key_id
        self._algorithm = algorithm
        if self.method not in METHODS:
            raise ConfigurationError(
                f"client_authentication={method!r}: it must be one of {', '.join(map(repr, METHODS))}"
            )
        if self.method in ("basic", "post") and client_secret is None:
            raise ConfigurationError(f"client_secret: client_authentication={self.method!r} needs one")
        if self.method == "private_key_jwt" and private_key is None:
            raise ConfigurationError("private_key: client_authentication='private_key_jwt' needs one")

    @property
    def holds_secrets(self) -> bool:
        """Whether a secret is held here, and not fetched from elsewhere at each use."""
        return any(value is not None and not callable(value) for value in (self._secret, self._key))

    def credentials(self, audience: str) -> Credentials:
        """Return the credentials of one request.

        Args:
            audience: Whom an assertion is for: the server's issuer, or the URL of the endpoint.

        Raises:
            ConfigurationError: The secret or the key cannot be used.
        """
        if self.method == "basic":
            secret = self._resolved_secret()
            pair = f"{quote_plus(self.client_id)}:{quote_plus(secret)}"
            encoded = base64.b64encode(pair.encode()).decode()
            return Credentials({}, {"Authorization": f"Basic {encoded}"}, (secret, encoded))
        fields = {"client_id": self.client_id}
        if self.method == "post":
            fields["client_secret"] = self._resolved_secret()
            return Credentials(fields, {}, (fields["client_secret"],))
        if self.method == "private_key_jwt":
            fields["client_assertion_type"] = _ASSERTION_TYPE
            fields["client_assertion"] = self._assertion(audience)
            return Credentials(fields, {}, (fields["client_assertion"],))
        return Credentials(fields, {}, ())

    def refreshed(self, refused: Credentials) -> bool:
        """Tell whether there is another secret now than the one that was refused: it may have been rotated.

        Args:
            refused: What the request carried.

        Raises:
            SecretError: It could not be fetched again.
        """
        invalidate = getattr(self._secret, "invalidate", None)
        if invalidate is None or self.method not in ("basic", "post"):
            return False
        invalidate()
        return self._resolved_secret() not in refused.secrets

    def _assertion(self, audience: str) -> str:
        from polvo_adapters.auth.protocol.jwt_signing import made_assertion

        return made_assertion(
            issuer=self.client_id,
            subject=self.client_id,
            audience=audience,
            lifetime=_ASSERTION_LIFETIME,
            private_key=self._key,
            key_id=self._key_id,
            algorithm=self._algorithm,
        )

    def _resolved_secret(self) -> str:
        secret: Any = self._secret() if callable(self._secret) else self._secret
        if not isinstance(secret, str):
            raise ConfigurationError("client_secret must be a text, or a function that returns one")
        return secret

    def __repr__(self) -> str:
        return f"<ClientAuthentication {self.client_id} by {self.method}>"


def _fitting(secret: Any, private_key: Any, has_cert: bool) -> str:
    if secret is not None:
        return "basic"
    if private_key is not None:
        return "private_key_jwt"
    return "mtls" if has_cert else "none"
