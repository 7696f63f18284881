"""Signed assertions, by which a client authenticates with a private key (RFC 7521, RFC 7523).

Theory of operation. PyJWT writes and signs, cryptography reads keys. A key is given as PEM, as an object of
cryptography, or as a function that returns one of these and is called at each use, so that the key can be replaced. No
error shows a byte of the key.

**Clocks.** A server refuses an assertion that was issued in its future, and the clock of this machine may be ahead. So
`iat` and `nbf` lie before the time of this machine, by a leeway, while `exp` counts from its true time.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Mapping
from typing import Any

from polvo_adapters.errors import ConfigurationError

LEEWAY = 60.0
"""Seconds by which an assertion is back-dated by default; servers accept at least some minutes from `iat` to `exp`."""

_ES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512", "secp256k1": "ES256K"}


def make_assertion(
    *,
    issuer: str | None,
    subject: str | None,
    audience: str | None,
    lifetime: float,
    private_key: Any,
    key_id: str | None = None,
    algorithm: str | None = None,
    claims: Mapping[str, Any] | None = None,
    headers: Mapping[str, Any] | None = None,
    leeway: float = LEEWAY,
) -> str:
    """Return an assertion that is valid from now on; arguments as for `polvo_adapters.auth.protocol.grants.jwt_bearer`.

    Raises:
        ConfigurationError: An argument is missing, or the key cannot be used.

    Source: RFC 7523 section 3.
    """
    needed = {"issuer": issuer, "audience": audience, "private_key": private_key}
    missing = [name for name, value in needed.items() if value is None]
    if missing:
        raise ConfigurationError(f"{' and '.join(missing)}: needed to make an assertion, or pass assertion=")
    now = int(time.time())
    issued = now - round(leeway)
    standard = {
        "iss": issuer,
        "sub": issuer if subject is None else subject,
        "aud": audience,
        "iat": issued,
        "nbf": issued,
        "exp": now + max(1, round(lifetime)),
        "jti": secrets.token_urlsafe(16),
    }
    given = {name: value for name, value in {**standard, **(claims or {})}.items() if value is not None}
    return _sign(given, private_key, {**(headers or {}), **({} if key_id is None else {"kid": key_id})}, algorithm)


def _sign(claims: Mapping[str, Any], private_key: Any, headers: dict[str, Any], algorithm: str | None) -> str:
    """Return a signed JWT."""
    import jwt

    key = load_key(private_key)
    name = algorithm or _choose_algorithm(key)
    # The error is raised below, so that it does not refer to the traceback of PyJWT, whose frames hold the key.
    with contextlib.suppress(jwt.PyJWTError, NotImplementedError, TypeError, ValueError):
        # PyJWT refuses the algorithm "none" and those of shared secrets for a key of this kind.
        return jwt.encode(dict(claims), key, name, headers=headers or None)
    raise ConfigurationError(f"algorithm={name!r} does not fit the private_key; leave it out to use what fits")


def load_key(private_key: Any) -> Any:
    """Return the key as an object of cryptography.

    Args:
        private_key: PEM as str or bytes, an object of cryptography, or a function that returns one of these.

    Raises:
        ConfigurationError: It is none of these.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    given = private_key() if callable(private_key) else private_key
    if isinstance(given, (str, bytes)):
        text = given.encode() if isinstance(given, str) else given
        try:
            given = load_pem_private_key(text, None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            given = None
    if not hasattr(given, "private_bytes"):
        raise ConfigurationError(
            "private_key must be an unencrypted private key in PEM, an object of cryptography, or a function that "
            "returns one"
        )
    return given


def _choose_algorithm(key: Any) -> str:
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    if isinstance(key, rsa.RSAPrivateKey):
        return "RS256"
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return _ES.get(key.curve.name, "ES256")
    return "EdDSA"
