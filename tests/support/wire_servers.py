"""Raw servers on loopback that fail in one step of a connection, each in a way that a script says.

A `WireServer` plays every part of the way to an origin: the TCP connection, the proxy (one that forwards, one that
opens tunnels, one that speaks SOCKS 5), the TLS handshake, and the origin itself, which counts what it has read and
what it has worked on. A tunnel ends in the server that opens it, which the client cannot see. A `Fault` names a step
and what happens there; the steps before it go well.
"""

from __future__ import annotations

import contextlib
import functools
import socket
import ssl
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import trustme

if TYPE_CHECKING:
    from typing_extensions import Self

LONGEST = 5.0  # seconds that a server waits for anything
PAUSE = 0.01  # seconds between two bytes of a server that drips

HTTP, HTTPS, FORWARD, TUNNEL, SOCKS = "http", "https", "forward", "tunnel", "socks"
"""The ways: straight, over TLS, through a proxy that forwards, through a tunnel and TLS, through a SOCKS proxy."""


class Fault(NamedTuple):
    """What goes wrong: the step in which it does, and what the server does there instead.

    Steps: "accept" (something has come, and is not read), "connect" (the request for a tunnel), "greeting", "login" and
    "destination" (SOCKS), "tls", "half" (of the TLS handshake), "head" (read, the body not), "request" (read whole),
    "answer" (after the origin has worked).

    Deeds: "reset", "close", "hang", "drip" (a response, or in "half" a handshake), "drip body", "drip address" (of
    SOCKS), "sip" (read slowly), or bytes to be sent before the connection is closed.
    """

    way: str
    step: str = ""
    deed: str | bytes = b""


class Bad(Exception):
    """The deed is done, and the connection over."""


@functools.cache
def certificates() -> tuple[ssl.SSLContext, str]:
    """Return the TLS settings of the servers, and the file of the authority that a client has to trust."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost", "wire.test").configure_cert(context)
    path = Path(tempfile.mkdtemp(prefix="wire-")) / "authority.pem"
    authority.cert_pem.write_to_path(str(path))
    return context, str(path)


class WireServer:
    """A server whose first connections meet a fault; a context manager.

    Args:
        fault: The way, and what goes wrong.
        times: How many connections meet the fault; those after them go well.

    Attributes:
        connections: How many connections came.
        heads: How many requests to the origin of which at least the head was read.
        touched: Whether a byte came that may belong to a request to the origin.
        received: How many were read whole.
        processed: How many the origin has worked on.
        bodies: Their bodies.
    """

    def __init__(self, fault: Fault, times: int = 1 << 30) -> None:
        self.fault, self.times = fault, times
        self.connections = self.heads = self.received = self.processed = 0
        self.touched = False
        self.bodies: list[bytes] = []
        self._ends = threading.Event()
        self._open: list[_Connection] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=64)
        if self.fault.deed == "sip":
            self._listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.port = self._listening.getsockname()[1]
        scheme = "https" if self.fault.way in (HTTPS, TUNNEL) else "http"
        host = "wire.test" if self.fault.way in (FORWARD, TUNNEL, SOCKS) else f"127.0.0.1:{self.port}"
        self.url = f"{scheme}://{host}/orders"
        self.proxies = {
            FORWARD: {"http": f"http://127.0.0.1:{self.port}"},
            TUNNEL: {"https": f"http://127.0.0.1:{self.port}"},
            SOCKS: {"http": f"socks5h://user:word@127.0.0.1:{self.port}"},
        }.get(self.fault.way, {})
        if self.fault.step == "accept" and self.fault.deed == "refuse":
            self._listening.close()
        else:
            self._run(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        for thread in self._threads[:1]:  # the one that accepts; no other socket may get its number before
            thread.join(LONGEST)
        self._listening.close()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(LONGEST)

    def _run(self, function: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=function, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._ends.is_set():
            try:
                sock, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            sock.settimeout(LONGEST)
            fault = self.fault if self.connections <= self.times else Fault(self.fault.way)
            connection = _Connection(self, sock, fault)
            self._open.append(connection)
            self._run(self._serve, connection)

    def _serve(self, connection: _Connection) -> None:
        with contextlib.suppress(OSError, ValueError, Bad):
            connection.serve()
        self._open.remove(connection)
        with contextlib.suppress(OSError):
            connection.sock.close()


class _Connection:
    def __init__(self, server: WireServer, sock: socket.socket, fault: Fault) -> None:
        self.server, self.sock, self.fault = server, sock, fault
        self.rest = b""

    def serve(self) -> None:
        if self.fault.step == "accept":
            # A client whose connection is reset at once may see that while it connects, or later.
            self.sock.recv(1, socket.MSG_PEEK)
            self.step("accept")
        if self.fault.way == TUNNEL:
            self.tunnel()
        if self.fault.way == SOCKS:
            self.socks()
        if self.fault.way in (HTTPS, TUNNEL):
            self.secure()
        while self.request():
            pass

    def step(self, name: str) -> None:
        """Do the deed, where this is the step for it."""
        if self.fault.step != name:
            return
        deed = self.fault.deed
        if isinstance(deed, bytes):
            self.sock.sendall(deed)
        elif deed == "reset":
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif deed == "hang":
            self.server._ends.wait(LONGEST)
        elif deed == "drip":
            self.drip(b"HTTP/1.1 200 OK\r\nX-Slow: " + b"y" * 4000)
        elif deed == "drip body":
            self.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n")
            self.drip(b"y" * 4000)
        elif deed == "drip address":
            self.drip(b"\x05\x00\x00\x03\xff" + b"y" * 257)
        elif deed == "sip":
            while self.sock.recv(4096) and not self.server._ends.wait(PAUSE):
                pass
        raise Bad

    def drip(self, data: bytes) -> None:
        for number in range(len(data)):
            self.sock.sendall(data[number : number + 1])
            if self.server._ends.wait(PAUSE):
                return

    def read(self, enough: Callable[[bytes], bool]) -> bytes:
        while not enough(self.rest):
            data = self.sock.recv(65536)
            if not data:
                raise Bad
            self.rest += data
        return self.rest

    def take(self, count: int) -> bytes:
        self.read(lambda data: len(data) >= count)
        taken, self.rest = self.rest[:count], self.rest[count:]
        return taken

    def take_head(self) -> bytes:
        head, _, self.rest = self.read(lambda data: b"\r\n\r\n" in data).partition(b"\r\n\r\n")
        return head.lower()

    def tunnel(self) -> None:
        assert self.take_head().startswith(b"connect ")
        self.step("connect")
        self.sock.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")

    def socks(self) -> None:
        """Speak as RFC 1928 and RFC 1929 say."""
        _, count = self.take(2)
        self.take(count)
        self.step("greeting")
        self.sock.sendall(b"\x05\x02")
        _, length = self.take(2)
        self.take(length)
        self.take(self.take(1)[0])
        self.step("login")
        self.sock.sendall(b"\x01\x00")
        kind = self.take(4)[3]
        self.take((self.take(1)[0] if kind == 3 else 4) + 2)
        self.step("destination")
        self.sock.sendall(b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50")

    def secure(self) -> None:
        context, _ = certificates()
        if self.fault.step == "tls":
            self.read(bool)  # the first message of the client
            self.step("tls")
        if self.fault.step == "half":
            self.half_a_handshake(context)
        self.sock = context.wrap_socket(self.sock, server_side=True)

    def half_a_handshake(self, context: ssl.SSLContext) -> None:
        """Send half of what a server answers to the first message of the client, and then do the deed."""
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        server = context.wrap_bio(incoming, outgoing, server_side=True)
        incoming.write(self.read(bool))
        with contextlib.suppress(ssl.SSLWantReadError):
            server.do_handshake()
        answer = outgoing.read()
        self.sock.sendall(answer[: len(answer) // 2])
        if self.fault.deed == "drip":
            self.drip(answer[len(answer) // 2 : -1])
            self.server._ends.wait(LONGEST)
        self.step("half")

    def request(self) -> bool:
        """Serve a request, and return whether another one may follow."""
        server = self.server
        if not self.rest:
            self.rest = self.sock.recv(65536)
            if not self.rest:
                return False
        server.touched = True
        head = self.take_head()
        server.heads += 1
        self.step("head")
        body = b"".join(self.body(head))
        server.received += 1
        self.step("request")
        server.processed += 1
        server.bodies.append(body)
        self.step("answer")
        self.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        return True

    def body(self, head: bytes) -> Iterator[bytes]:
        lines = head.split(b"\r\n")
        if b"transfer-encoding: chunked" not in lines:
            yield self.take(next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0))
            return
        while True:
            self.read(lambda data: b"\r\n" in data)
            size, _, self.rest = self.rest.partition(b"\r\n")
            yield self.take(int(size, 16))
            self.take(2)
            if int(size, 16) == 0:
                return


class Silent:
    """An address on which connecting hangs: a socket that listens, and whose queue is full; a context manager."""

    def __enter__(self) -> Self:
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=0)
        self.port = self._listening.getsockname()[1]
        self._waiting = [self._knock() for _ in range(3)]
        return self

    def _knock(self) -> socket.socket:
        sock = socket.socket()
        sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            sock.connect(("127.0.0.1", self.port))
        return sock

    def __exit__(self, *_: object) -> None:
        for sock in (*self._waiting, self._listening):
            sock.close()


def refused_port() -> int:
    """Return a port on which no server listens."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
    return port


def resolve_to(*ports: int, seconds: float = 0.0) -> Callable[..., list[Any]]:
    """Return a `getaddrinfo` that knows several addresses of the host wire.test, one for each port.

    Args:
        ports: On which ports of this machine the addresses are.
        seconds: How long a lookup takes.
    """
    original = socket.getaddrinfo

    def getaddrinfo(host: Any, *arguments: Any, **keywords: Any) -> list[Any]:
        if host not in ("wire.test", b"wire.test"):
            return original(host, *arguments, **keywords)
        time.sleep(seconds)
        kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        return [(*kind, ("127.0.0.1", port)) for port in ports]

    return getaddrinfo
