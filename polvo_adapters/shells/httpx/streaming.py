"""Whether the body of a response goes to the caller as it comes, which a client knows and its transport does not."""

from __future__ import annotations

import httpx

_STREAMED = "polvo_stream"  # an extension, which httpx hands on to the request that follows a redirect


def mark_as_streamed(request: httpx.Request) -> None:
    """Leave the body of the response to a request to the caller."""
    request.extensions = {**request.extensions, _STREAMED: True}


def is_streamed(request: httpx.Request) -> bool:
    """Return whether the body of the response to a request is left to the caller."""
    return _STREAMED in request.extensions
