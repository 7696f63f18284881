"""The headers of a call: a copy of those that the caller gives, with a request id, and without what cannot be sent."""

from __future__ import annotations

import re
from secrets import token_hex
from typing import Any

import httpx

from polvo_adapters.client.exceptions import ClientConfigurationError

HEADER = "X-Request-ID"
_SENDABLE = re.compile(rb"(?:[^\0\s]+(?:[ \t]+[^\0\s]+)*)?")
"""The value of a header (RFC 9110, section 5.5)."""


def identify(headers: Any, request_id: Any) -> tuple[httpx.Headers, str]:
    """Return a copy of the headers of a call, with its request id, and that.

    Raises:
        ClientConfigurationError: The id or a header cannot be sent, or the headers have another id.
    """
    identified = httpx.Headers(headers)
    present = identified.get(HEADER)
    if request_id is None:
        request_id = _random_uuid() if present is None else present
    elif present is not None and present != request_id:
        raise ClientConfigurationError(f"request_id: the headers have another {HEADER}; give one of them, not sent")
    if not isinstance(request_id, str):
        raise ClientConfigurationError(
            f"request_id must be text, not {type(request_id).__name__}; give str(...) of it, not sent"
        )
    if not request_id.isascii() or not request_id.isprintable():
        raise ClientConfigurationError(
            f"request_id must have printable ASCII characters only, not {request_id!a}; not sent"
        )
    if not request_id or request_id != request_id.strip():
        raise ClientConfigurationError("request_id must not be empty, nor begin or end with a space; not sent")
    identified[HEADER] = request_id
    _check_values(identified)
    return identified, request_id


def _check_values(headers: httpx.Headers) -> None:
    """Check what httpx sends, and quotes in its errors and its log: the value may be a credential with a line end."""
    for name, value in headers.raw:
        if not _SENDABLE.fullmatch(value):
            raise ClientConfigurationError(
                f"headers: the value of {name.decode('latin-1')!r} has a line end, a NUL, or a space at its beginning "
                "or end; strip it; not sent"
            )


def _random_uuid() -> str:
    """Return a random UUID (RFC 9562, version 4)."""
    text = token_hex(16)
    variant = "89ab"[int(text[16], 16) % 4]
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{variant}{text[17:20]}-{text[20:]}"
