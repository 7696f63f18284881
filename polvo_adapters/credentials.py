"""Tells the credentials of requests apart without keeping them: quotas are counted for each of them.

A digest of 64 bits names a credential in keys of state, which may be printed or stored.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b

_HEADERS = frozenset(
    {
        "authorization",
        "x-api-key",
        "api-key",
        "x-auth-token",
        "private-token",
        "x-shopify-access-token",
        "x-access-token",
    }
)


def digest(headers: Iterable[tuple[str, str | bytes]]) -> str:
    """Return a short name for the credential that a request carries.

    Args:
        headers: Names and values of its headers.

    Returns:
        Sixteen hexadecimal digits, or an empty string where there is no credential.
    """
    found = [value for name, value in headers if name.lower() in _HEADERS]
    return _digest(*found) if found else ""


@lru_cache(maxsize=1024)
def _digest(*values: str | bytes) -> str:
    text = b"\0".join(value if isinstance(value, bytes) else value.encode("utf-8", "replace") for value in values)
    return blake2b(text, digest_size=8).hexdigest()
