"""The body of a response of httpx that goes on where its connection broke off.

Theory of operation. httpx reads a body chunk by chunk from the stream of a response, which knows the framing (length,
chunks, frames) and nothing of content encodings. A `ResumingStream` takes its place. It hands the chunks
on and counts their bytes. Where they break off, it asks a function for the next part and reads on from there. Whatever
reads the response (`aiter_bytes`, `aiter_lines`, `aiter_raw`, `aread`) notices nothing, and a decoder goes on in the
middle of its stream.

When all bytes are there, it looks for the end of the part nevertheless: otherwise the connection could not be used
again. An error at that point is ignored.

Where there is no next part, the exception that bare httpx would have raised comes out, with a note that says why.

A task waits for each chunk no longer than to the deadline; the search for the rest keeps that by itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any

import anyio
import httpx

from polvo_adapters.core.ranges import Entity, Rest, Unproved
from polvo_adapters.errors import DeadlineExceeded
from polvo_adapters.redaction import unpicklable
from polvo_adapters.shells.httpx.observed_body import ObservedStream
from polvo_adapters.shells.resumption import BodyProgress, PartBounds, explain_unproved

BREAKS = (httpx.TransportError, OSError)
"""What reading the body of a response raises where its connection breaks off."""

EARLY_END = "peer closed connection without sending complete message body"
"""What httpcore says of such an end."""

_UNKNOWN = Entity("", "", "", 0, None, None)


@unpicklable
class LaterPart(PartBounds):
    """A further part of the body.

    Args:
        response: The response that brings it.
        rest: What to take of it.
        position: Where in the whole it is to begin.

    Attributes:
        chunks: The iterator over its chunks, of which those before the position were read.
    """

    def __init__(self, response: httpx.Response, rest: Rest, position: int) -> None:
        super().__init__(rest, position)
        self._response = response
        self.chunks: Any = None

    @property
    def stream(self) -> Any:
        """The stream of the response, which a policy may watch by now."""
        return self._response.stream

    @property
    def is_begun(self) -> bool:
        """Whether its first bytes are there, or there are to be none."""
        return bool(self.ready) or (not self.skip and self.left == 0)

    def add(self, chunk: bytes | None) -> bool:
        """Take its next chunk, or None for its end, and return whether it has begun.

        Raises:
            httpx.RemoteProtocolError: It ends before it has brought anything.
        """
        if chunk is not None:
            self.ready = self.drop(chunk)
            return self.is_begun
        if self.skip or not self.may_be_empty:
            raise httpx.RemoteProtocolError(EARLY_END)
        return True


Find = Callable[[int, "Exception | None", "float | None"], Any]
"""Asks for the next part, given how many bytes are there, the exception, or None after an early end, and the deadline.

Returns a LaterPart or an Unproved; the future of one, in a task.
"""


@unpicklable
class ResumingStream(ObservedStream):
    """The stream of a response, see above.

    Args:
        observed: The stream that it takes the place of, with what is known of its end.
        entity: What the response says of the bytes, or why their rest can never be asked for.
        find_rest: Asks for the next part.

    Attributes:
        progress: How much of the body is there.
    """

    def __init__(self, observed: ObservedStream, entity: Entity | Unproved, find_rest: Find | None) -> None:
        super().__init__(observed._stream, None, observed._request)
        self._check, self._deadline, self._told = observed._check, observed._deadline, observed._told
        self.on_body_closed = observed.on_body_closed
        self._never = entity if isinstance(entity, Unproved) else None
        self.progress = BodyProgress(_UNKNOWN if isinstance(entity, Unproved) else entity)
        self._find_rest = find_rest
        self._part: LaterPart | None = None
        self._is_closed = False

    def _list_chunks(self) -> Iterator[bytes]:
        chunks = iter(self._stream)
        while True:
            chunk, error = None, None
            try:
                chunk = next(chunks, None)
            except DeadlineExceeded:
                raise
            except BREAKS as broken:
                error = broken
            try:
                if chunk is None or self._is_excess():
                    if self._is_whole(error) or not self._go_on(error):
                        return
                    chunks, chunk = self._part.chunks, self._part.ready  # type: ignore[union-attr]
                data = self._accept(chunk)
            finally:
                del error  # see errors.py, "Errors and frames"
            if data:
                yield data

    async def _list_chunks_async(self) -> AsyncIterator[bytes]:
        chunks = aiter(self._stream)
        while True:
            chunk, error = None, None
            try:
                chunk = await self._wait(anext(chunks, None))
            except DeadlineExceeded:
                raise
            except BREAKS as broken:
                error = broken
            try:
                if chunk is None or self._is_excess():
                    if self._is_whole(error) or not await self._go_on_async(error):
                        return
                    chunks, chunk = self._part.chunks, self._part.ready  # type: ignore[union-attr]
                data = self._accept(chunk)
            finally:
                del error  # see errors.py, "Errors and frames"
            if data:
                yield data

    async def _wait(self, chunk: Awaitable[bytes | None]) -> bytes | None:
        """Return the next chunk, or raise DeadlineExceeded at the deadline."""
        if self._deadline is None:
            return await chunk
        deadline, clock, host = self._deadline
        with anyio.move_on_after(deadline - clock.now()):
            return await chunk
        raise self._late(host)

    def _is_excess(self) -> bool:
        """Return whether what comes now is more than the part has promised."""
        return self.progress.is_complete or (self._part is not None and self._part.left == 0)

    def _is_whole(self, error: Exception | None) -> bool:
        """Return whether the body is complete, where the part has nothing more."""
        try:
            return self.progress.is_complete or (error is None and self.progress.may_end)
        finally:
            del error

    def _accept(self, chunk: bytes) -> bytes:
        """Count a chunk, and return what of it belongs to the body."""
        part = self._part
        if part is not None:
            part.ready = b""
            if part.left is not None:
                chunk = chunk[: part.left]
                part.left -= len(chunk)
        self.progress.received += len(chunk)
        return chunk

    def _go_on(self, error: Exception | None) -> bool:
        """Ask for the next part, and return whether there is one; raise the error where there is none."""
        try:
            self._note_break()
            with suppress(*BREAKS):
                self._stream.close()
            found: LaterPart | Unproved = self._never or self._find_rest(*self._describe(error))  # type: ignore[misc]
            if isinstance(found, LaterPart) and self._is_closed:  # by another thread
                found.stream.close()
                found = Unproved("it was closed meanwhile")
            return self._take_up(found, error)
        finally:
            del error

    async def _go_on_async(self, error: Exception | None) -> bool:
        try:
            self._note_break()
            with suppress(*BREAKS):
                await self._stream.aclose()
            found: LaterPart | Unproved = self._never or await self._find_rest(*self._describe(error))  # type: ignore[misc]
            if isinstance(found, LaterPart) and self._is_closed:  # by another task
                await found.stream.aclose()
                found = Unproved("it was closed meanwhile")
            return self._take_up(found, error)
        finally:
            del error

    def _describe(self, error: Exception | None) -> tuple[int, Exception | None, float | None]:
        try:
            return self.progress.received, error, None if self._deadline is None else self._deadline[0]
        finally:
            del error

    def _note_break(self) -> None:
        """Release what the part holds, before the rest is asked for."""
        self.on_body_closed.run(broken=True)
        if isinstance(self._stream, ObservedStream):
            self._stream.on_body_closed.run(broken=True)

    def _take_up(self, found: LaterPart | Unproved, error: Exception | None) -> bool:
        try:
            if isinstance(found, LaterPart):
                self._part, self._stream = found, found.stream
                return not self.progress.take_up(found)
            self.progress.unproved = found
            error = httpx.RemoteProtocolError(EARLY_END) if error is None else error
            explain_unproved(error, found)
            raise error
        finally:
            del error  # see errors.py, "Errors and frames"

    def close(self) -> None:
        """Close the part that is open; see `ObservedStream`."""
        self._is_closed = True
        super().close()

    async def aclose(self) -> None:
        """Close the part that is open; see `ObservedStream`."""
        self._is_closed = True
        await super().aclose()


def find_progress(response: httpx.Response) -> BodyProgress | None:
    """Return how much of the body of a response is there, where it may go on, or None."""
    stream: Any = response.stream
    while stream is not None and not isinstance(stream, ResumingStream):
        stream = getattr(stream, "_stream", None)  # a client puts one of its own around it
    return None if stream is None else stream.progress
