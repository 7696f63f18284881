"""A server on loopback that sends one entity, cuts its bodies where a script says, and knows ranges as it says."""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate

from tests.support.accepting import stop_accepting

OLD, DATE = 1_400_000_000, 1_700_000_000
"""Unix times of Last-Modified and Date."""


@dataclass
class Entity:
    """The bytes as they go over the wire, and how the server describes them."""

    wire: bytes
    encoding: str = ""
    etag: str | None = '"one"'
    modified: int | None = None
    date: int | None = DATE
    accept_ranges: str | None = "bytes"

    def head(self) -> list[str]:
        lines = ["Content-Type: application/octet-stream"]
        if self.encoding:
            lines.append(f"Content-Encoding: {self.encoding}")
        if self.etag is not None:
            lines.append(f"ETag: {self.etag}")
        if self.modified is not None:
            lines.append(f"Last-Modified: {formatdate(self.modified, usegmt=True)}")
        if self.date is not None:
            lines.append(f"Date: {formatdate(self.date, usegmt=True)}")
        if self.accept_ranges is not None:
            lines.append(f"Accept-Ranges: {self.accept_ranges}")
        return lines


@dataclass
class Seen:
    """One request that the server has got."""

    method: str
    path: str
    headers: dict[str, str]


@dataclass
class CuttingServer:
    """The server.

    Attributes:
        entity: What it sends.
        cuts: For each answer in turn, after how many bytes of its body the connection is over; None for a whole body.
        deed: How it ends: "close", "reset", or "hang".
        framing: "length", "chunked" or "close".
        rest: How it answers to requests with a Range: "part", "whole" (knows no ranges), "changed", "changed part",
            "mute part" (without validator), "other range", "no range" (206 that does not say which), "multipart",
            "short" (one byte), "plain part" (another encoding), "long" (total is another), or a status.
        chunk: Length of the chunks.
        seen: The requests.
        accepted: How many connections there were.
        pause: Seconds before each chunk.
        deeds: Other ends of single answers, by their number.
    """

    entity: Entity
    cuts: Sequence[int | None] = ()
    deed: str = "close"
    framing: str = "length"
    rest: str | int = "part"
    chunk: int = 7
    pause: float = 0.0
    seen: list[Seen] = field(default_factory=list)
    accepted: int = 0
    deeds: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()
        self._over = threading.Event()
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/file.bin"
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        stop_accepting(self._listener, self._thread)
        for each in self._open:
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                connection.settimeout(5)
                self.accepted += 1
                self._open.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection, connection.makefile("rb") as file:
            while (seen := _read_request(file)) is not None:
                with self._lock:
                    number = len(self.seen)
                    self.seen.append(seen)
                if not self.answer(connection, seen, number):
                    return

    def answer(self, connection: socket.socket, seen: Seen, number: int) -> bool:
        """Answer a request, and return whether the connection is still good."""
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", seen.headers.get("range", ""))
        cut = self.cuts[number] if number < len(self.cuts) else None
        entity, wire = self.entity, self.entity.wire
        if asked is None or self.rest == "whole":
            return self._send(connection, "200 OK", entity.head(), wire, cut)
        first, last = int(asked[1]), min(int(asked[2] or len(wire) - 1), len(wire) - 1)
        if "if-range" in seen.headers and seen.headers["if-range"] not in self._validators():
            return self._send(connection, "200 OK", entity.head(), wire, cut)
        return self._send_part(connection, first, last, cut)

    def _validators(self) -> list[str]:
        modified = self.entity.modified
        return [self.entity.etag or "", "" if modified is None else formatdate(modified, usegmt=True)]

    def _send_part(self, connection: socket.socket, first: int, last: int, cut: int | None) -> bool:
        entity, rest, total = self.entity, self.rest, len(self.entity.wire)
        head = entity.head()
        if isinstance(rest, int):
            return self._send(connection, f"{rest} Other", [*head, f"Content-Range: bytes */{total}"], b"no", None)
        if rest in ("changed", "changed part"):
            other = Entity(bytes(255 - byte for byte in entity.wire), entity.encoding, '"two"').head()
            if rest == "changed":
                return self._send(connection, "200 OK", other, bytes(255 - byte for byte in entity.wire), cut)
            head = other
        if rest == "mute part":
            head = [line for line in head if not line.startswith(("ETag", "Last-Modified"))]
        if rest == "plain part":
            head = [line for line in head if not line.startswith("Content-Encoding")]
        first, last = first - (rest == "other range"), first if rest == "short" else last
        described = f"Content-Range: bytes {first}-{last}/{total + (rest == 'long')}"
        body = entity.wire[first : last + 1]
        if rest == "multipart":
            head = [*head[1:], "Content-Type: multipart/byteranges; boundary=x"]
            body = f"--x\r\n{described}\r\n\r\n".encode() + body + b"\r\n--x--\r\n"
        elif rest != "no range":
            head = [*head, described]
        return self._send(connection, "206 Partial Content", head, body, cut)

    def _send(self, connection: socket.socket, status: str, head: list[str], body: bytes, cut: int | None) -> bool:
        if self.framing == "length":
            head = [*head, f"Content-Length: {len(body)}"]
        elif self.framing == "chunked":
            head = [*head, "Transfer-Encoding: chunked"]
        else:
            head = [*head, "Connection: close"]
        sent = body if cut is None else body[:cut]
        text = "\r\n".join([f"HTTP/1.1 {status}", *head, "", ""]).encode()
        if self.framing == "chunked":
            pieces = [sent[at : at + self.chunk] for at in range(0, len(sent), self.chunk)]
            framed = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
            sent = framed + (b"0\r\n\r\n" if cut is None else b"")
        is_head = bool(self.seen) and self.seen[-1].method == "HEAD"
        sent = b"" if is_head else sent
        connection.sendall(text if self.pause else text + sent)
        for at in range(0, len(sent) if self.pause else 0, self.chunk):
            self._over.wait(self.pause)
            connection.sendall(sent[at : at + self.chunk])
        if cut is None:
            return self.framing != "close"
        self._cut(connection, self.deeds.get(len(self.seen) - 1, self.deed))
        return False

    def _cut(self, connection: socket.socket, deed: str) -> None:
        if deed == "hang":
            self._over.wait(5)
        if deed == "reset":
            self._over.wait(0.02)  # for the client to read what was sent, which a reset throws away
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_WR) if deed == "close" else None
        connection.close()


def _read_request(file: object) -> Seen | None:
    line = file.readline()  # type: ignore[attr-defined]
    if not line.strip():
        return None
    method, path, _ = line.decode("latin-1").split(" ", 2)
    headers = {}
    while line := file.readline().strip():  # type: ignore[attr-defined]
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    return Seen(method, path, headers)


@contextlib.contextmanager
def serve(entity: Entity, **settings: object) -> Iterator[CuttingServer]:
    """Run a server for a `with` block."""
    server = CuttingServer(entity, **settings)  # type: ignore[arg-type]
    try:
        yield server
    finally:
        server.close()
