"""Whether a response of `httpx` refuses the credential of its request.

Theory of operation. As `polvo_adapters.auth.attach.refused_response`, with one difference: an auth flow of httpx is not
told whether the caller streams. So where `refused=` asks for the body, what was read of it is put back, as bytes that
the caller has yet to read. Only a body that ends soon is read at all: one with a short Content-Length, that of an
error, and one of JSON or XML, up to the size that a refusal has.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx

from polvo_adapters.core.answer import Answer
from polvo_adapters.core.calls import find_host
from polvo_adapters.core.credential_refusals import LARGEST_REFUSAL, RefusalTest

_FINITE = ("json", "xml")
_ENDLESS = ("ndjson", "jsonl", "json-seq", "stream")


def is_refusal(test: RefusalTest, response: httpx.Response) -> bool:
    """Return whether a response to `httpx.Client` refuses the credential of its request.

    Args:
        test: The test of the auth object.
        response: The response; the caller finds its body whole and unread.
    """
    if not _is_body_wanted(test, response):
        return _judge(test, response, None)
    body = _PeekedBody(response)
    body.fill()
    return _judge(test, response, body.decode())


async def is_refusal_async(test: RefusalTest, response: httpx.Response) -> bool:
    """Return whether a response to `httpx.AsyncClient` refuses the credential of its request; as `is_refusal`."""
    if not _is_body_wanted(test, response):
        return _judge(test, response, None)
    body = _PeekedBody(response)
    await body.fill_async()
    return _judge(test, response, body.decode())


def _is_body_wanted(test: RefusalTest, response: httpx.Response) -> bool:
    """Return whether the body is to be read for the test; one that was read already is with the response."""
    if test.is_plain or not test.reads_body(response.status_code) or response.is_stream_consumed:
        return False
    length, kind = response.headers.get("content-length", ""), response.headers.get("content-type", "").lower()
    if length.isdecimal():
        return int(length[:20]) <= LARGEST_REFUSAL
    if response.is_error:
        return True
    return any(name in kind for name in _FINITE) and not any(name in kind for name in _ENDLESS)


def _judge(test: RefusalTest, response: httpx.Response, body: bytes | None) -> bool:
    if test.is_plain:
        return response.status_code in test.statuses
    if body is None and hasattr(response, "_content") and len(response.content) <= LARGEST_REFUSAL:
        body = response.content  # a hook of the caller has read it
    request = response.request
    host = find_host(str(request.url))
    return test(Answer(request.method, host, 1, response.status_code, response.headers, body, ""))


class _PeekedBody(httpx.SyncByteStream, httpx.AsyncByteStream):
    """The body of a response, of which the beginning has been read, and is read once more by the caller.

    Args:
        response: The response, which has this body from now on.
    """

    def __init__(self, response: httpx.Response) -> None:
        self._stream: Any = response.stream
        self._encoding = response.headers.get("content-encoding")
        self._chunks: list[bytes] = []
        self._rest: Any = None
        self._error: Exception | None = None
        self._is_whole = False
        response.stream = self

    def fill(self) -> None:
        """Read the body as far as a refusal may reach."""
        self._rest = iter(self._stream)
        try:
            while self._has_room():
                chunk = next(self._rest, None)
                if self._end_with(chunk):
                    self._stream.close()
                    return
        except Exception as error:  # noqa: BLE001 - the caller gets it where it reads on
            self._error = error

    async def fill_async(self) -> None:
        """Read the body as far as a refusal may reach, in a task."""
        self._rest = aiter(self._stream)
        try:
            while self._has_room():
                chunk = await anext(self._rest, None)
                if self._end_with(chunk):
                    await self._stream.aclose()
                    return
        except Exception as error:  # noqa: BLE001 - as above
            self._error = error

    def _has_room(self) -> bool:
        return sum(map(len, self._chunks)) <= LARGEST_REFUSAL

    def _end_with(self, chunk: bytes | None) -> bool:
        if chunk is not None:
            self._chunks.append(chunk)
        self._is_whole = chunk is None
        return self._is_whole

    def decode(self) -> bytes | None:
        """Return the body decoded, or None where it is not whole, or cannot be decoded."""
        raw = b"".join(self._chunks)
        if not self._is_whole or self._encoding is None:
            return raw if self._is_whole else None
        try:
            return httpx.Response(200, headers={"content-encoding": self._encoding}, content=raw).content
        except httpx.DecodingError:
            return None

    def __iter__(self) -> Iterator[bytes]:
        yield from self._chunks
        self._raise_error()
        if not self._is_whole:
            yield from self._rest

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk
        self._raise_error()
        if not self._is_whole:
            async for chunk in self._rest:
                yield chunk

    def _raise_error(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error

    def close(self) -> None:
        """Close the body below."""
        self._stream.close()

    async def aclose(self) -> None:
        """Close the body below."""
        await self._stream.aclose()
