"""Tells the credentials of requests apart without keeping them: quotas are counted for each of them.

A digest of 64 bits names a credential in keys of state, which may be printed or stored. A signature differs from
request to request; of signed requests, the name of the key counts. A token that is refreshed differs from hour to hour;
the auth objects of this package say whose it is.

A credential in the query is part of the URL. Who puts one there notes the name of the parameter on the request, so that
what is told apart by URL is still the same when the credential has changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b
from typing import Any

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
_PASSING = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-length",
        "date",
        "idempotency-key",
        "traceparent",
        "tracestate",
        "x-correlation-id",
        "x-request-id",
    }
)
_IN_QUERY = "_polvo_credentials_in_query"
_NONE: frozenset[str] = frozenset()
_SIGNED = ("oauth ", "aws4-", "digest ", "hawk ", "signature ")
_WHO = re.compile(r'\b(credential|oauth_token|oauth_consumer_key|username|id|keyid)="?([^",/\s]{1,256})', re.IGNORECASE)


def digest(headers: Iterable[tuple[str, str | bytes]]) -> str:
    """Return a short name for the credential that a request carries.

    Args:
        headers: Names and values of its headers.

    Returns:
        Sixteen hexadecimal digits, or an empty string where there is no credential.
    """
    found = [_lasting(value) for name, value in headers if name.lower() in _HEADERS]
    return _digest(*found) if found else ""


def identity(headers: Iterable[tuple[str, str | bytes]], certificate: object = None) -> str:
    """Return a short name for everything in a request, besides its URL, that its answer may depend on.

    Which header holds a credential is not known for sure, so that all count but those that cannot, and those that
    differ from one request to the next.

    Args:
        headers: Names and values of its headers.
        certificate: The client certificate, as `requests` takes it.

    Returns:
        32 hexadecimal digits: whoever can choose headers must not be able to find some that have the same name.
    """
    found = sorted((name.lower(), _text(_lasting(value))) for name, value in headers if name.lower() not in _PASSING)
    # As literals, because with any separator two headers could be made to look like one.
    return blake2b(ascii((found, certificate)).encode(), digest_size=16).hexdigest()


def note_in_query(request: Any, name: str) -> None:
    """Note that a query parameter of a prepared request holds a credential.

    Args:
        request: The request.
        name: Name of the parameter, not encoded.
    """
    vars(request)[_IN_QUERY] = in_query(request) | {name}


def in_query(request: Any) -> frozenset[str]:
    """Return the names of the query parameters of a request that hold credentials, as far as they were noted."""
    noted: frozenset[str] = getattr(request, _IN_QUERY, _NONE)
    return noted


def _lasting(value: str | bytes) -> str | bytes:
    """Return the name of the owner of a token that is refreshed, and any other value as it is."""
    return getattr(value, "owner", "") or value


@lru_cache(maxsize=1024)
def _digest(*values: str | bytes) -> str:
    text = b"\0".join(map(_whose, values))
    return blake2b(text, digest_size=8).hexdigest()


def _text(value: object) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _whose(value: str | bytes) -> bytes:
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    if text[:16].lower().startswith(_SIGNED):
        text = " ".join(name for _, name in _WHO.findall(text[:4096])) or text
    return text.encode("utf-8", "replace")
