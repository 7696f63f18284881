"""What is said for one call, by `polvo_adapters.call`, in a request of httpx."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import httpx

from polvo_adapters.context.call import separate_call, settings_scope
from polvo_adapters.policies.one_call import CallSettings

_NOTHING: AbstractContextManager[None] = nullcontext()


def said_for(
    request: httpx.Request, settings: CallSettings | None, below: CallSettings | None
) -> AbstractContextManager[None]:
    """Return the context in which a request is sent; it ends with the request as it was.

    Args:
        request: The request.
        settings: What is said for the call, or None.
        below: What is said to transports below, or None.
    """
    return _NOTHING if settings is None else _say(request, settings, below)


@contextmanager
def _say(request: httpx.Request, settings: CallSettings, below: CallSettings | None) -> Iterator[None]:
    extensions, stream, separate = request.extensions, request.stream, None
    if settings.has_timeout:
        request.extensions = {**extensions, "timeout": _spread(settings.timeout)}
    if not isinstance(stream, httpx.ByteStream):
        request.stream = separate = _SeparateStream(stream)
    try:
        with settings_scope(below):
            yield
    finally:
        request.extensions = extensions
        if request.stream is separate:  # and was not read meanwhile, and replaced
            request.stream = stream


def _spread(timeout: Any) -> dict[str, float | None]:
    """Return a timeout in the form of httpx: a wait for the pool is part of connecting, and one to send of reading."""
    connect, read = timeout if isinstance(timeout, tuple) else (timeout, timeout)
    return {"connect": connect, "read": read, "write": read, "pool": connect}


class _SeparateStream(httpx.SyncByteStream, httpx.AsyncByteStream):
    """The body of a request whose iterator makes calls of its own, for which nothing is said."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        chunks = iter(self._stream)
        while True:
            with separate_call(None):
                chunk = next(chunks, None)
            if chunk is None:
                return
            yield chunk

    async def __aiter__(self) -> AsyncIterator[bytes]:
        chunks = aiter(self._stream)
        while True:
            with separate_call(None):
                chunk = await anext(chunks, None)
            if chunk is None:
                return
            yield chunk

    def close(self) -> None:
        """Close the stream."""
        self._stream.close()

    async def aclose(self) -> None:
        """Close the stream."""
        await self._stream.aclose()
