"""Digests that identify the credential of a request without keeping it: quotas are counted per credential.

A digest of 64 bits names a credential in keys of state, which may be printed or stored. Signatures differ from request
to request, so the digest of a signed request is made of the name of its key. Tokens differ from hour to hour, so the
auth objects of this package name the owner of a token that they refresh.

A credential in the query is part of the URL. An auth object that puts one there marks the name of the parameter on the
request, so that state that is kept by URL stays the same when the credential changes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b
from typing import Any

from polvo_adapters.core.http import header_names, text_of
from polvo_adapters.shells.request_marks import marks_of, read_marks

_HEADERS = header_names(
    "authorization x-api-key api-key x-auth-token private-token x-shopify-access-token x-access-token"
)
_CHANGING = header_names(
    "accept-encoding connection content-length",  # set by the transport
    "date idempotency-key traceparent tracestate x-correlation-id x-request-id",
)
_SIGNED = ("oauth ", "aws4-", "digest ", "hawk ", "signature ")
_KEY_NAME = re.compile(
    r'\b(credential|oauth_token|oauth_consumer_key|username|id|keyid)="?([^",/\s]{1,256})', re.IGNORECASE
)


def digest(headers: Iterable[tuple[str, str | bytes]]) -> str:
    """Return a digest of the credential that a request carries.

    Args:
        headers: Names and values of its headers.

    Returns:
        Sixteen hexadecimal digits, or an empty string where there is no credential.
    """
    found = [_stable_value(value) for name, value in headers if name.lower() in _HEADERS]
    return _digest(*found) if found else ""


def identity(headers: Iterable[tuple[str, str | bytes]], certificate: object = None) -> str:
    """Return a digest of everything in a request, besides its URL, that its response may depend on.

    Any unknown header may hold a credential, so all headers count but those that cannot hold one, and those that differ
    from one request to the next.

    Args:
        headers: Names and values of its headers.
        certificate: The client certificate, as `requests` takes it.

    Returns:
        32 hexadecimal digits, so that an attacker cannot choose headers that have the same digest.
    """
    found = sorted(
        (name.lower(), str(text_of(_stable_value(value)))) for name, value in headers if name.lower() not in _CHANGING
    )
    # As literals: with a separator, one header could look like two.
    return blake2b(ascii((found, certificate)).encode(), digest_size=16).hexdigest()


def add_credential_parameter(request: Any, name: str) -> None:
    """Mark a query parameter of a prepared request as a credential.

    Args:
        request: The request.
        name: Name of the parameter, not encoded.
    """
    marks_of(request).credentials_in_query |= {name}


def credential_parameters(request: Any) -> frozenset[str]:
    """Return the names of the query parameters of a request that are marked as credentials."""
    return read_marks(request).credentials_in_query


def _stable_value(value: str | bytes) -> str | bytes:
    """Return the name of the owner of a token that is refreshed, and any other value as it is."""
    return getattr(value, "owner", "") or value


@lru_cache(maxsize=1024)
def _digest(*values: str | bytes) -> str:
    text = b"\0".join(map(_owner_part, values))
    return blake2b(text, digest_size=8).hexdigest()


def _owner_part(value: str | bytes) -> bytes:
    text = text_of(value)
    if text[:16].lower().startswith(_SIGNED):
        text = " ".join(name for _, name in _KEY_NAME.findall(text[:4096])) or text
    return text.encode("utf-8", "replace")
