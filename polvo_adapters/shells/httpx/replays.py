"""Bodies that were sent before, and are gone: a redirect, an auth object or the caller sends the same request again."""

from __future__ import annotations

from typing import Any

import httpx

from polvo_adapters.errors import ReplayError

_ONE_SHOT = ("__next__", "__anext__", "read", "aread")


def refuse_spent_body(request: httpx.Request) -> None:
    """Check that the body of a request was not read already, which would then be sent as an empty one.

    httpx notices that for generators only, in the middle of the request; a file would simply be at its end. Bodies of
    other classes begin anew each time, or look after that themselves.

    Raises:
        ReplayError: The body is gone.
    """
    stream: Any = request.stream
    if not getattr(stream, "_is_stream_consumed", False):  # of the classes in httpx._content, which are not public
        return
    source = getattr(stream, "_stream", None)
    if any(hasattr(source, name) for name in _ONE_SHOT):
        raise ReplayError(
            "the body of this request was sent before, and cannot be read again; give `content` as bytes, or make a "
            "new request",
            host=request.url.host,
        )
