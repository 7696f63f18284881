"""Whether the body of a response goes to the caller as it comes, which a client knows and its transport does not."""

from __future__ import annotations

import httpx

_STREAMED = "polvo_stream"  # an extension, which httpx hands on to the request that follows a redirect


def mark_as_streamed(request: httpx.Request) -> None:
    """Leave the body of the response to a request to the caller."""
    request.extensions = {**request.extensions, _STREAMED: True}


def unmark(request: httpx.Request) -> None:
    """Forget what was said of an earlier call with the same request."""
    if _STREAMED in request.extensions:
        request.extensions = {name: value for name, value in request.extensions.items() if name != _STREAMED}


def is_streamed(request: httpx.Request) -> bool:
    """Return whether the body of the response to a request is left to the caller."""
    return bool(request.extensions.get(_STREAMED))
