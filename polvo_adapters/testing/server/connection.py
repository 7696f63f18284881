"""One client connection: reads requests, writes replies, and closes in every way a connection can end.

An `asyncio.Protocol` collects bytes and wakes the one task that serves the connection; that costs less than
streams and leaves the transport at hand, which the faults need. The end of the client's data and the loss of
the connection are two different things: a client that has only finished sending still gets its reply, but it
no longer counts as open, since nearly every client that says so is closing.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import struct
from typing import cast

from polvo_adapters.testing.server.http_messages import (
    MalformedRequestError,
    Reply,
    Request,
    RequestBody,
    encode_reply,
    parse_head,
)

MAX_HEAD_BYTES = 256 * 1024

_READ_AHEAD_BYTES = 2 * MAX_HEAD_BYTES
_MAX_CHUNK_LINE_BYTES = 4096
_LINGER_SECONDS = 5.0
_RESET_ON_CLOSE = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(;.*)?")


class ClientGoneError(Exception):
    """The client has closed the connection, or lost it."""


class Connection(asyncio.Protocol):
    """A client connection as its serving task sees it.

    Args:
        open_connections: The set this connection is in from the moment it opens until the client ends it.
    """

    def __init__(self, open_connections: set[Connection]) -> None:
        self._open_connections = open_connections
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._waiter: asyncio.Future[None] | None = None
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._lost: asyncio.Future[None] = self._loop.create_future()
        self._writable = asyncio.Event()
        self._writable.set()
        self._reading_paused = False
        self._discarding = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the transport and count as open."""
        self._transport = cast("asyncio.Transport", transport)
        self._open_connections.add(self)

    def data_received(self, data: bytes) -> None:
        """Keep what the client sent until the serving task asks for it."""
        if self._discarding:
            return
        self._buffer += data
        if len(self._buffer) > _READ_AHEAD_BYTES:
            self._reading_paused = True
            self.transport.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        """Note that the client sends no more; leave the other direction open where that is possible."""
        self._end()
        return self.transport.get_extra_info("ssl_object") is None

    def connection_lost(self, _exc: Exception | None) -> None:
        """Wake whatever waits for the client."""
        self._end()
        self._writable.set()
        if not self._lost.done():
            self._lost.set_result(None)

    def pause_writing(self) -> None:
        """Hold `drain` back: the client reads more slowly than it is written to."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Let `drain` go on."""
        self._writable.set()

    def _end(self) -> None:
        self._open_connections.discard(self)
        if not self._ended.done():
            self._ended.set_result(None)
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    @property
    def transport(self) -> asyncio.Transport:
        """The transport, once the connection was made."""
        if self._transport is None:
            raise ClientGoneError
        return self._transport

    def origin_for(self, host: str) -> str:
        """Return scheme, host and port of this server.

        Args:
            host: Host and port as the client has written them, or empty for the address that it has connected to.
        """
        scheme = "http" if self.transport.get_extra_info("ssl_object") is None else "https"
        if not host:
            address, port = self.transport.get_extra_info("sockname")[:2]
            host = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        return f"{scheme}://{host}"

    async def read_head(self) -> Request:
        """Return the next request, its body still unread.

        Raises:
            ClientGoneError: The client sends no further request.
            MalformedRequestError: The head is malformed (400) or too long (431).
        """
        searched = 0
        while True:
            # Old clients end a body with a line break that its length does not cover.
            while self._buffer.startswith(b"\r\n"):
                del self._buffer[:2]
            end = self._buffer.find(b"\r\n\r\n", searched)
            if (end if end >= 0 else len(self._buffer)) > MAX_HEAD_BYTES:
                raise MalformedRequestError(431, "Request head too large")
            if end >= 0:
                return parse_head(self._take(end + 4)[:end])
            searched = max(0, len(self._buffer) - 3)
            await self._more()

    async def read_body(self, request: Request) -> RequestBody:
        """Read the body that belongs to a request to its end, asking the client for it if it waits for that.

        Raises:
            ClientGoneError: The client went away before the end.
            MalformedRequestError: A chunk is malformed (400).
        """
        if request.body is None:
            body = RequestBody()
            if request.chunked or request.content_length:
                if request.expects_continue:
                    self.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                await self._read_framed_body(request, body)
            request.body = body
        return request.body

    async def _read_framed_body(self, request: Request, body: RequestBody) -> None:
        if not request.chunked:
            await self._read_exactly(request.content_length, body)
            return
        while size := await self._read_chunk_size():
            await self._read_exactly(size, body)
            if await self._read_line() != b"":
                raise MalformedRequestError(400, "Malformed chunk")
        while await self._read_line() != b"":
            pass

    async def _read_exactly(self, length: int, body: RequestBody) -> None:
        while length:
            if not self._buffer:
                await self._more()
            piece = self._take(length)
            body.add(piece)
            length -= len(piece)

    async def _read_chunk_size(self) -> int:
        match = _CHUNK_SIZE.fullmatch(await self._read_line())
        if match is None:
            raise MalformedRequestError(400, "Malformed chunk size")
        return int(match.group(1), 16)

    async def _read_line(self) -> bytes:
        while (end := self._buffer.find(b"\r\n")) < 0:
            if len(self._buffer) > _MAX_CHUNK_LINE_BYTES:
                raise MalformedRequestError(400, "Malformed chunk")
            await self._more()
        return self._take(end + 2)[:end]

    def _take(self, length: int) -> bytes:
        data = bytes(self._buffer[:length])
        del self._buffer[:length]
        return data

    async def _more(self) -> None:
        if self._ended.done():
            raise ClientGoneError
        if self._reading_paused:
            self._reading_paused = False
            self.transport.resume_reading()
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def write(self, data: bytes) -> None:
        """Send bytes as they are; a client that is gone is no error."""
        if not self.transport.is_closing():
            self.transport.write(data)

    def send(self, reply: Reply, request: Request) -> None:
        """Send a whole, well-formed reply."""
        self.write(encode_reply(reply, request))

    async def drain(self) -> None:
        """Wait until the client has taken most of what was written."""
        await self._writable.wait()
        if self.transport.is_closing():
            raise ClientGoneError

    async def pause(self, seconds: float) -> None:
        """Wait, but no longer than the connection lasts.

        Raises:
            ClientGoneError: The connection was lost meanwhile.
        """
        await asyncio.wait({self._lost}, timeout=seconds)
        if self.transport.is_closing():
            raise ClientGoneError

    @property
    def is_closing(self) -> bool:
        """Whether this side has closed the connection, or lost it."""
        return self.transport.is_closing()

    async def hang(self) -> None:
        """Wait in silence until the client closes."""
        # asyncio.wait, here and below, leaves the future itself alone when the waiting task is cancelled.
        await asyncio.wait({self._ended})

    def close(self) -> None:
        """Close in good order once everything written is sent."""
        self.transport.close()

    def reset(self) -> None:
        """Close with a TCP reset: the client finds its connection broken off."""
        raw_socket: socket.socket = self.transport.get_extra_info("socket")
        raw_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.transport.abort()

    async def close_unread(self) -> None:
        """Close although the client may still be sending, without destroying the reply on its way."""
        # The kernel answers unread data with a reset, which would overtake the reply.
        self._discarding = True
        self._buffer.clear()
        if self.transport.can_write_eof() and not self.is_closing:
            self.transport.write_eof()
        self.transport.resume_reading()
        await asyncio.wait({self._ended}, timeout=_LINGER_SECONDS)
        self.close()

    def abort(self) -> None:
        """Close at once and drop what is not sent yet."""
        if self._transport is not None:
            self._transport.abort()

    async def wait_lost(self) -> None:
        """Wait until nothing of the connection is left."""
        if self._transport is not None:
            await asyncio.wait({self._lost})
