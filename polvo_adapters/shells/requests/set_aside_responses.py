"""Responses that are refused for now, and may still be returned to the caller.

Unread, such a response would hold the slot of a bulkhead, or the only connection of a pool, that the next attempt or
the refresh of a token waits for.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from urllib3 import HTTPResponse
from urllib3.exceptions import HTTPError

from polvo_adapters.shells.requests.observed_body import check_end

if TYPE_CHECKING:
    from requests import Response

_LARGEST_BODY = 1 << 20  # bytes


def set_aside(response: Response) -> bool:
    """Take a response from its connection before anything is asked for because of it, and keep it readable.

    Its body, which is small, is read into memory; one that is not small, or cannot be read, is given up.

    Args:
        response: The response.

    Returns:
        Whether its body was unread, and that of a response of urllib3; any other is left as it is.
    """
    raw = response.raw
    if response._content_consumed or response._content is not False or not isinstance(raw, HTTPResponse):
        return False
    try:
        body = raw.read(_LARGEST_BODY, decode_content=False)
        whole = not raw.read(1, decode_content=False)
    except (HTTPError, OSError, ValueError):
        body, whole = b"", False
    response.close()
    if not whole:
        return True
    kept = HTTPResponse(
        io.BytesIO(body),
        headers=raw.headers,
        status=raw.status,
        version=raw.version,
        reason=raw.reason,
        preload_content=False,
        decode_content=raw.decode_content,
        original_response=getattr(raw, "_original_response", None),
        enforce_content_length=False,  # a response to HEAD has none of it
    )
    kept.chunked = False
    if "content-encoding" in kept.headers:
        check_end(kept)
    response.raw = kept
    return True
