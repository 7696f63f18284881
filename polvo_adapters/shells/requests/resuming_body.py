"""The file below a response of urllib3 that goes on where its connection broke off.

Theory of operation. `requests` and urllib3 read a body from `raw._fp`, a response of the standard library, which knows
the framing (length, chunks, end of the connection) and nothing of content encodings. A `ResumingBody` takes its place.
It hands through what comes, counts it, and where that breaks off it asks a function for the next part and reads on from
there. So everything above goes on as if nothing had happened, whichever way it reads, and the decoder in the middle of
its stream: `iter_content`, `iter_lines`, `raw.read`, `raw.stream`, a loop over `raw`.

It reads with `read1`, because a buffered `read` that fails loses what it has got already.

Where there is no next part, what bare urllib3 would have seen comes out: the exception, or an early end of the body. A
note on the error of urllib3 says why.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse, IncompleteRead
from typing import Any

import requests
from urllib3.exceptions import HTTPError

from polvo_adapters.core.ranges import Entity, Rest, Unproved
from polvo_adapters.shells.body_closing import BodyCloseActions
from polvo_adapters.shells.requests.observed_body import give_mixin
from polvo_adapters.shells.resumption import BodyProgress, PartBounds, explain_unproved

PIECE = 65_536
BREAKS = (OSError, HTTPException)
"""What reading a response of the standard library raises where its connection breaks off."""


class FirstPart:
    """The body as it came with the response that the caller has.

    Args:
        raw: The response of urllib3. It is not kept, as it keeps the body.
        closing: What is run when its body is closed, or None.

    Attributes:
        source: What the bytes are read from.
        left: How many bytes it may give, or None where its framing says that.
        ready: Bytes that were read already.
    """

    __slots__ = ("_closing", "_raw", "left", "ready", "source")

    def __init__(self, raw: Any, closing: BodyCloseActions | None) -> None:
        self.source: HTTPResponse = raw._fp
        self.left: int | None = None
        self.ready = b""
        self._raw = weakref.ref(raw)
        self._closing = closing

    def end(self) -> None:
        """Close the part, all of which was read; urllib3 sees that, and lends the connection again."""
        self.source.close()

    def give_up(self) -> None:
        """Close the part and its connection, and release what the call holds, before the rest is asked for."""
        if self._closing is not None:
            self._closing.run(broken=True)
        self.source.close()
        raw = self._raw()
        connection = None if raw is None else raw._connection
        if raw is not None and connection is not None:
            connection.close()
            raw.release_conn()  # the place of the connection in a pool of limited size

    def close(self) -> None:
        """Close the part; urllib3 closes its connection."""
        self.source.close()


class LaterPart(PartBounds):
    """A further part of the body.

    Args:
        response: The response that brings it.
        rest: What to take of it.
        position: Where in the whole it is to begin.

    Attributes:
        source: What the bytes are read from.

    Raises:
        OSError: The connection broke off before the first byte.
        HTTPException: The same, as the standard library says it.
    """

    def __init__(self, response: requests.Response, rest: Rest, position: int) -> None:
        super().__init__(rest, position)
        self._response = response
        self.source: HTTPResponse = response.raw._fp
        self._begin()

    def _begin(self) -> None:
        """Read up to the position, and the first bytes behind it: a part that brings none has failed."""
        while self.skip:
            data = self.source.read1(min(self.skip, PIECE))
            if not data:
                raise IncompleteRead(b"", self.skip)
            self.skip -= len(data)
        self.ready = self.source.read1(PIECE if self.left is None else min(self.left, PIECE))
        if not self.ready and not self.may_be_empty:
            raise IncompleteRead(b"", self.left)

    def end(self) -> None:
        """Close the part, all of which was read; its connection is lent again where nothing is left on it."""
        if self.source.isclosed() or (not self.source.chunked and self.source.length == 0):
            self.source.close()
            self._response.raw.release_conn()
        self._response.close()

    def give_up(self) -> None:
        """Close the part and its connection, and release what its call holds."""
        closing: BodyCloseActions | None = getattr(self._response.raw, "_closing", None)
        if closing is not None:
            closing.run(broken=True)
        self._response.close()

    def close(self) -> None:
        """Close the part and its connection."""
        self._response.close()


FindRest = Callable[[int, "Exception | None"], "LaterPart | Unproved"]
"""Asks for the next part, given how many bytes are there, and the exception, or None after an early end."""


class ResumingBody:
    """The file below a response, see above.

    Args:
        part: The part that came with the response.
        entity: What the response says of the bytes.
        find_rest: Asks for the next part.

    Attributes:
        progress: How much of the body is there.
    """

    def __init__(self, part: FirstPart, entity: Entity, find_rest: FindRest) -> None:
        self._first = self._part = part  # type: FirstPart | LaterPart
        self.progress = BodyProgress(entity)
        self._tells_length = entity.end is not None  # then urllib3 sees an early end by itself
        self._find_rest = find_rest
        self._is_over = self._is_closed = False

    @property
    def unproved(self) -> Unproved | None:
        """Why there was no next part, once that was so."""
        return self.progress.unproved

    def __getattr__(self, name: str) -> Any:
        if name in ("fp", "_first"):  # a `fp` would say that it has the framing of chunks
            raise AttributeError(name)
        return getattr(self._first.source, name)  # status, headers and the like

    @property
    def closed(self) -> bool:
        """Whether the whole was read, or the reader has seen that it ended early: otherwise it would not look."""
        return self._is_closed

    def isclosed(self) -> bool:
        """Return the same."""
        return self._is_closed

    def readable(self) -> bool:
        """Return True."""
        return True

    def fileno(self) -> int:
        """Return the descriptor of the current connection."""
        return self._part.source.fileno()

    def flush(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Close what is open."""
        self._is_closed = True
        if not self._is_over:
            self._is_over = True
            self._part.close()

    def read(self, amt: int | None = None) -> bytes:
        """Return so many bytes, or all that are left; fewer only at the end of the body.

        Raises:
            IncompleteRead: All were asked for, and the body ended early.
            OSError: The connection broke off, and there is no next part.
            HTTPException: The same, as the standard library says it.
        """
        data = bytearray()
        while amt is None or amt < 0 or len(data) < amt:
            piece = self._read_next(PIECE if amt is None or amt < 0 else amt - len(data))
            if not piece:
                break
            data += piece
        if (amt is None or amt < 0) and self.unproved is not None and (length := self.progress.length) is not None:
            raise IncompleteRead(bytes(data), length - self.progress.received)
        self._is_closed = self._is_closed or (self._is_over and not data)
        return bytes(data)

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer, and return how many bytes."""
        view = memoryview(buffer).cast("B")
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def read1(self, amt: int | None = -1) -> bytes:
        """Return the next bytes that come, so many at most; none at the end of the body.

        Raises:
            OSError: The connection broke off, and there is no next part.
            HTTPException: The same, as the standard library says it.
        """
        data = self._read_next(PIECE if amt is None or amt < 0 else amt)
        self._is_closed = self._is_closed or (self._is_over and not data)
        return data

    def _read_next(self, amount: int) -> bytes:
        while amount and not self._is_over:
            data, error = self._read_part(amount)
            try:
                if data:
                    self._count(len(data))
                    return data
                if error is None and self.progress.may_end:
                    self._finish()
                    break
                if not self._go_on(error):
                    if error is not None:
                        raise error
                    if not self._tells_length:
                        raise IncompleteRead(b"")
            finally:
                del error  # see errors.py, "Errors and frames"
        return b""

    def _read_part(self, amount: int) -> tuple[bytes, Exception | None]:
        part = self._part
        if part.ready:
            data, part.ready = part.ready[:amount], part.ready[amount:]
            return data, None
        try:
            return part.source.read1(amount if part.left is None else min(amount, part.left)), None
        except BREAKS as error:
            return b"", error

    def _count(self, count: int) -> None:
        part, progress = self._part, self.progress
        progress.received += count
        if part.left is not None:
            part.left -= count
        if progress.is_complete:
            self._finish()

    def _finish(self) -> None:
        self._is_over = self._is_closed = True
        self._part.end()

    def _go_on(self, error: Exception | None) -> bool:
        """Ask for the next part, and return whether there is one."""
        self._part.give_up()
        self._is_over = True  # for whatever ends the search
        try:
            part = self._find_rest(self.progress.received, error)
        finally:
            del error
        if isinstance(part, Unproved):
            self.progress.unproved = part
            return False
        self._part, self._is_over = part, False
        if self.progress.take_up(part):
            self._finish()
        return True


class ChunkedResumingBody(ResumingBody):
    """A body that came in chunks, which urllib3 takes apart itself where it finds a `fp` to read them from.

    What it finds here are chunks made anew, as the rest of the body may come in another framing.
    """

    def __init__(self, part: FirstPart, entity: Entity, find_rest: FindRest) -> None:
        super().__init__(part, entity, find_rest)
        self._chunk = b""
        self._is_at_line_break = self._is_behind_last = False

    @property
    def fp(self) -> ChunkedResumingBody:
        """What urllib3 reads the chunks from."""
        return self

    def readline(self, limit: int = -1) -> bytes:  # noqa: ARG002
        """Return the line before a chunk, or behind the last."""
        if self._is_behind_last:
            return b"\r\n"
        self._chunk = self._gather_chunk()
        self._is_behind_last = not self._chunk
        return b"%x\r\n" % len(self._chunk)

    def _safe_read(self, amt: int) -> bytes:
        """Return so many bytes of a chunk, or the line break behind it."""
        if self._is_at_line_break:
            self._is_at_line_break = False
            return b"\r\n"
        data, self._chunk = self._chunk[:amt], self._chunk[amt:]
        self._is_at_line_break = not self._chunk
        return data

    def _gather_chunk(self) -> bytes:
        """Return a chunk as the server has made it, unless that is large."""
        chunk = bytearray(self.read1(PIECE))
        while chunk and len(chunk) < PIECE and getattr(self._part.source, "chunk_left", None):
            chunk += self.read1(PIECE - len(chunk))
        return bytes(chunk)


def explain_end(raw: Any, resuming: ResumingBody | Unproved) -> None:
    """Let the error that reading a body ends with say why the body did not go on.

    Args:
        raw: The response of urllib3.
        resuming: The file below it, or why there is none.
    """
    if give_mixin(raw, _ExplainedBody):
        raw._resuming = resuming


class _ExplainedBody:
    """Mixin of the classes of such responses."""

    _resuming: ResumingBody | Unproved

    @contextmanager
    def _error_catcher(self) -> Iterator[None]:
        try:
            with super()._error_catcher():  # type: ignore[misc]  # which makes errors of urllib3 of all others
                yield
        except HTTPError as error:
            resuming = self._resuming
            explain_unproved(error, resuming if isinstance(resuming, Unproved) else resuming.unproved)
            raise
