"""Signed assertions: how a client proves by a private key who it is (RFC 7521, RFC 7523).

Theory of operation. PyJWT writes and signs, cryptography reads keys. A key is given as PEM, as an object of
cryptography, or as a function that returns one of these, asked anew at every use so that a key can be replaced. What
cannot work is said without showing a byte of the key.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Mapping
from typing import Any

from polvo_adapters.errors import ConfigurationError

_ES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512", "secp256k1": "ES256K"}


def made_assertion(
    *,
    issuer: str | None,
    subject: str | None,
    audience: str | None,
    lifetime: float,
    private_key: Any,
    key_id: str | None = None,
    algorithm: str | None = None,
    claims: Mapping[str, Any] | None = None,
) -> str:
    """Return an assertion that is valid from now on.

    Args:
        issuer: Who signs.
        subject: In whose name; by default the issuer's own.
        audience: Who shall accept it.
        lifetime: Seconds for which it is valid.
        private_key: The key to sign with.
        key_id: Its name.
        algorithm: How to sign; by default what fits the key.
        claims: Further claims.

    Raises:
        ConfigurationError: Something is missing, or the key is none.

    Source: RFC 7523 section 3.
    """
    needed = {"issuer": issuer, "audience": audience, "private_key": private_key}
    missing = [name for name, value in needed.items() if value is None]
    if missing:
        raise ConfigurationError(f"{' and '.join(missing)}: needed to make an assertion, or pass assertion=")
    issued = int(time.time())
    standard = {
        "iss": issuer,
        "sub": issuer if subject is None else subject,
        "aud": audience,
        "iat": issued,
        "exp": issued + max(1, round(lifetime)),
        "jti": secrets.token_urlsafe(16),
    }
    return sign({**standard, **(claims or {})}, private_key, key_id, algorithm)


def sign(claims: Mapping[str, Any], private_key: Any, key_id: str | None, algorithm: str | None) -> str:
    """Return a signed JWT.

    Args:
        claims: What it says.
        private_key: The key, in any of the forms named above.
        key_id: Its name, for the header.
        algorithm: How to sign; by default what fits the key.

    Raises:
        ConfigurationError: The key is none, or the algorithm does not fit it.
    """
    import jwt

    key = load_key(private_key)
    name = algorithm or _fitting(key)
    signed = None
    # Raised below, where no traceback of the library's holds the key.
    with contextlib.suppress(jwt.PyJWTError, NotImplementedError, TypeError, ValueError):
        # With a key of this kind, PyJWT refuses "none" and shared secrets.
        signed = jwt.encode(dict(claims), key, name, headers=None if key_id is None else {"kid": key_id})
    if signed is None:
        raise ConfigurationError(f"algorithm={name!r} does not fit the private_key; leave it out to use what fits")
    return signed


def load_key(private_key: Any) -> Any:
    """Return the key as an object of cryptography.

    Args:
        private_key: PEM as str or bytes, an object of cryptography, or a function that returns one of these.

    Raises:
        ConfigurationError: It is nothing of the kind.
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


def _fitting(key: Any) -> str:
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    if isinstance(key, rsa.RSAPrivateKey):
        return "RS256"
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return _ES.get(key.curve.name, "ES256")
    return "EdDSA"
