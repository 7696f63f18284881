"""Responses of httpx: whether they were read, what they contain, and those that no server has sent."""

from __future__ import annotations

import httpx

from polvo_adapters.core.http import synthesized_headers
from polvo_adapters.core.outcomes import Outcome

_LARGEST_DECODED = 1 << 20  # bytes that are decoded for policies; the client decodes the body once more


def is_read(response: httpx.Response) -> bool:
    """Return whether the body is in memory; then nothing is left to release, and closing would make it unreadable."""
    return type(response.stream) is httpx.ByteStream


def decode_body(response: httpx.Response, encoding: str | None) -> bytes | None:
    """Return the decoded body of a response that was read, or None where it is too large or cannot be decoded.

    Args:
        response: The response.
        encoding: Its `Content-Encoding`, or None.
    """
    raw: bytes = response.stream._stream  # type: ignore[union-attr]
    if encoding is None:
        return raw
    if len(raw) > _LARGEST_DECODED:
        return None
    try:
        return httpx.Response(200, headers={"content-encoding": encoding}, content=raw).content
    except httpx.DecodingError:
        return None


def synthesize_response(outcome: Outcome, request: httpx.Request) -> httpx.Response:
    """Return the response for an outcome that a policy made and no server has sent."""
    named = synthesized_headers(outcome, request.method)
    headers = [(name.encode(), value.encode("utf-8", "replace")) for name, value in named.items()]  # text must be ASCII
    # As a stream, because a client sets `elapsed` when it has read the body.
    stream = httpx.ByteStream(outcome.body or b"")
    return httpx.Response(outcome.status, headers=headers, stream=stream, request=request)


def is_given_up(response: httpx.Response) -> bool:
    """Return whether a response was closed before its body was read."""
    return response.is_closed and not hasattr(response, "_content")  # as `content` finds out, which raises
