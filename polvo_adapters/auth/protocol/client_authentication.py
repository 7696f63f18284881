"""How a client authenticates at an authorization server.

    method            what is sent                                              source
    ----------------  --------------------------------------------------------  -----------------------
    basic             `Authorization: Basic`, both parts form-urlencoded first  RFC 6749 section 2.3.1
    basic_unencoded   `Authorization: Basic`, both parts as they are            RFC 7617
    post              client_id and client_secret in the form                   RFC 6749 section 2.3.1
    private_key_jwt   an assertion that the client signs for this one request   RFC 7523 section 2.2
    mtls              client_id; the TLS certificate proves it                  RFC 8705 section 2
    none              client_id: a public client has nothing to prove           RFC 6749 section 3.2.1

The registered names "client_secret_basic" and "client_secret_post" mean the first and the third.

Secrets given as functions are fetched at each use, so that a rotated secret is found without a restart.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import quote_plus

from polvo_adapters.auth.options import SecretSource
from polvo_adapters.auth.protocol.jwt_signing import LEEWAY, make_assertion
from polvo_adapters.errors import ConfigurationError
from polvo_adapters.redaction import HiddenText, hide, unpicklable

METHODS = ("basic", "basic_unencoded", "post", "private_key_jwt", "mtls", "none")
_REGISTERED = {"client_secret_basic": "basic", "client_secret_post": "post"}
_SIGNATURE = ("key_id", "algorithm")
_ASSERTION = {"claims": "claims", "assertion_headers": "headers", "leeway": "leeway", "assertion_lifetime": "lifetime"}
_LONGEST_LEEWAY = 600.0
_LONGEST_LIFETIME = 86_400.0
BY_SECRET = ("basic", "basic_unencoded", "post")
"""The methods that send the client secret."""
_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_ASSERTION_LIFETIME = 120.0


@unpicklable
class Credentials(NamedTuple):
    """The part of one request that authenticates the client.

    Attributes:
        fields: Further fields of the form.
        headers: Further headers.
        secrets: Values of these that must not be shown.
    """

    fields: dict[str, str]
    headers: dict[str, str]
    secrets: tuple[str, ...]

    def __repr__(self) -> str:
        return "<Credentials>"


class ClientAuthentication:
    """The maker of the credentials of each request.

    Args:
        client_id: The client's name at the server.
        method: One of METHODS, or None for the one that fits the other arguments.
        client_secret: The secret, or a function that returns it.
        private_key: The key of signatures.
        key_id: Name of the key.
        algorithm: Algorithm of signatures.
        has_cert: Whether there is a client certificate.
        assertion: Further arguments of `polvo_adapters.auth.protocol.jwt_signing.make_assertion`.

    Raises:
        ConfigurationError: The method is unknown, or what it needs is missing.
    """

    _assertion: Mapping[str, Any] = MappingProxyType({})  # as in pickles of earlier versions

    def __init__(
        self,
        client_id: str,
        method: str | None,
        client_secret: SecretSource,
        private_key: Any,
        key_id: str | None,
        algorithm: str | None,
        has_cert: bool,
        assertion: Mapping[str, Any] | None = None,
    ) -> None:
        self.client_id = client_id
        chosen = _choose_method(client_secret, private_key, has_cert) if method is None else method
        self.method = _REGISTERED.get(chosen, chosen)
        self._secret = hide(client_secret)
        self._key = hide(private_key)
        self._key_id = key_id
        self._algorithm = algorithm
        self._assertion = dict(assertion or {})
        if self.method not in METHODS:
            raise ConfigurationError(
                f"client_authentication={method!r}: it must be one of {', '.join(map(repr, METHODS))}"
            )
        if self.method in BY_SECRET and client_secret is None:
            raise ConfigurationError(f"client_secret: client_authentication={self.method!r} needs one")
        if self.method == "private_key_jwt" and private_key is None:
            raise ConfigurationError("private_key: client_authentication='private_key_jwt' needs one")

    @property
    def holds_secrets(self) -> bool:
        """Whether the object itself holds a secret, and does not fetch it at each use."""
        return any(value is not None and not callable(value) for value in (self._secret, self._key))

    def make_credentials(self, audience: str) -> Credentials:
        """Return the credentials of one request.

        Args:
            audience: Audience of an assertion: the server's issuer, or the URL of the endpoint.

        Raises:
            ConfigurationError: The secret or the key cannot be used.
        """
        if self.method in ("basic", "basic_unencoded"):
            secret = self.resolve_secret()
            parts = (self.client_id, secret)
            pair = HiddenText(":".join(map(quote_plus, parts) if self.method == "basic" else parts))
            encoded = HiddenText(base64.b64encode(pair.encode()).decode())
            return Credentials({}, {"Authorization": HiddenText(f"Basic {encoded}")}, (secret, encoded))
        fields = {"client_id": self.client_id}
        if self.method == "post":
            fields["client_secret"] = self.resolve_secret()
            return Credentials(fields, {}, (fields["client_secret"],))
        if self.method == "private_key_jwt":
            fields["client_assertion_type"] = _ASSERTION_TYPE
            signing: Any = {"private_key": self._key, "key_id": self._key_id, "algorithm": self._algorithm}
            claims: Any = {"issuer": self.client_id, "subject": self.client_id, "audience": audience}
            further = {"lifetime": _ASSERTION_LIFETIME, **self._assertion}
            fields["client_assertion"] = hide(make_assertion(**claims, **signing, **further))
            return Credentials(fields, {}, (fields["client_assertion"],))
        return Credentials(fields, {}, ())

    def refetch_secret(self, refused: Credentials) -> bool:
        """Fetch the secret again, which may have been rotated, and return whether it differs from the refused one.

        Args:
            refused: The credentials of the refused request.

        Raises:
            SecretError: The secret could not be fetched.
        """
        invalidate = getattr(self._secret, "invalidate", None)
        if invalidate is None or self.method in ("private_key_jwt", "mtls"):
            return False
        invalidate()
        return self.resolve_secret() not in refused.secrets

    def resolve_secret(self) -> str:
        """Return the secret; one that was given as a function is fetched.

        Raises:
            ConfigurationError: It is no text.
        """
        secret: Any = hide(self._secret() if callable(self._secret) else self._secret)
        if not isinstance(secret, str):
            raise ConfigurationError("client_secret must be a text, or a function that returns one")
        return secret

    def __repr__(self) -> str:
        return f"<ClientAuthentication {self.client_id} by {self.method}>"


def require_key(options: Mapping[str, Any]) -> None:
    """Raise ConfigurationError for settings of signatures that cannot be used, or that no key uses."""
    given = [name for name in (*_SIGNATURE, *_ASSERTION) if options.get(name) is not None]
    if given and options.get("private_key") is None:
        raise ConfigurationError(f"{', '.join(given)}: only signatures with a private_key use it, and there is none")
    leeway = options.get("leeway", LEEWAY)
    if isinstance(leeway, bool) or not isinstance(leeway, (int, float)) or not 0 <= leeway <= _LONGEST_LEEWAY:
        raise ConfigurationError(f"leeway={leeway!r}: expected seconds from 0 to {_LONGEST_LEEWAY:g}")
    lifetime = options.get("assertion_lifetime", _ASSERTION_LIFETIME)
    if isinstance(lifetime, bool) or not isinstance(lifetime, (int, float)) or not 1 <= lifetime <= _LONGEST_LIFETIME:
        raise ConfigurationError(f"assertion_lifetime={lifetime!r}: expected seconds from 1 to {_LONGEST_LIFETIME:g}")
    headers = options.get("assertion_headers") or {}
    for name, setting in (("alg", "algorithm"), ("kid", "key_id")):
        if name in headers and (name == "alg" or options.get(setting) is not None):
            raise ConfigurationError(f"assertion_headers: {name} is set by {setting}")


def select_assertion(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of `make_assertion` that options set beside the key."""
    return {_ASSERTION[name]: options[name] for name in _ASSERTION if options.get(name) is not None}


def _choose_method(secret: Any, private_key: Any, has_cert: bool) -> str:
    if secret is not None:
        return "basic"
    if private_key is not None:
        return "private_key_jwt"
    return "mtls" if has_cert else "none"
