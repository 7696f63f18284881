"""Thumbprints of certificates, by which a server finds the key that an assertion was signed with."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from typing import Any

from polvo_adapters.errors import ConfigurationError


def thumbprints(certificate: Any) -> dict[str, str]:
    """Return the headers of an assertion that name a certificate: `x5t` (SHA-1) and `x5t#S256` (SHA-256).

    Args:
        certificate: PEM as str or bytes, or an object of cryptography.

    Raises:
        ConfigurationError: It is none of these.

    Source: RFC 7515 sections 4.1.7 and 4.1.8.
    """
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509 import load_pem_x509_certificate

    given = certificate
    if isinstance(given, (str, bytes)):
        try:
            given = load_pem_x509_certificate(given.encode() if isinstance(given, str) else given)
        except ValueError:
            given = None
    if not hasattr(given, "fingerprint"):
        raise ConfigurationError("certificate must be a certificate in PEM, or an object of cryptography")
    # SHA-1 names a certificate here and protects nothing.
    digests = {"x5t": given.fingerprint(hashes.SHA1()), "x5t#S256": given.fingerprint(hashes.SHA256())}  # noqa: S303
    return {name: urlsafe_b64encode(digest).decode().rstrip("=") for name, digest in digests.items()}
