"""Whether the body of a response goes to the caller as it comes, which a client knows and its transport does not."""

from __future__ import annotations

import httpx

STREAMED = "polvo_stream"
"""The extension that says so, which httpx hands on to the request that follows a redirect."""


def mark_as_streamed(request: httpx.Request) -> None:
    """Leave the body of the response to a request to the caller."""
    request.extensions = {**request.extensions, STREAMED: True}


def unmark(request: httpx.Request) -> None:
    """Forget what was said of an earlier call with the same request."""
    if STREAMED in request.extensions:
        request.extensions = {name: value for name, value in request.extensions.items() if name != STREAMED}


def is_streamed(request: httpx.Request) -> bool:
    """Return whether the body of the response to a request is left to the caller."""
    return bool(request.extensions.get(STREAMED))
