"""A server with a quota, fast and in a process of its own: `python -m tests.benchmarks.quota_server --kind gcra`.

What: every path but two costs one request of a quota that all clients share. What counts it is one of the
limiters of `polvo_adapters.testing.limiters`; which headers tell of it, and how long an answer takes, can be chosen.
`/record` tells when each client's requests arrived and which were served; `/reset` forgets that and all that was
used.

How: HTTP/1.1 by hand on an asyncio protocol. A client that is paced badly asks as fast as it can, and a server that
is slower than that would do the pacing itself. Requests are counted when they arrive, not when they are answered.

The record is on the monotonic clock, which processes of one machine share. Aligned windows open on the wall clock,
as on real servers.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from polvo_adapters.testing.limiters import (
    DIALECTS,
    AlignedWindowLimiter,
    EstimatedWindowLimiter,
    FixedWindowLimiter,
    Limiter,
    SlidingWindowLimiter,
    TokenBucketLimiter,
    format_headers,
)

_HEAD_LIMIT = 65_536
_PATIENCE = 15.0  # seconds that a start or a stop may take


def _origin() -> float:
    return time.monotonic() - time.time()


KINDS: dict[str, Callable[[argparse.Namespace], Limiter]] = {
    "fixed": lambda options: FixedWindowLimiter(options.limit, options.window),
    "aligned": lambda options: AlignedWindowLimiter(options.limit, options.window, _origin()),
    "sliding": lambda options: SlidingWindowLimiter(
        options.limit, options.window, announces_window=options.sliding_reset == "window"
    ),
    "counter": lambda options: EstimatedWindowLimiter(options.limit, options.window, _origin()),
    "gcra": lambda options: TokenBucketLimiter(options.limit, options.window),
    "leaky": lambda options: TokenBucketLimiter(options.limit, options.window, options.burst + 1),
    "silent": lambda options: FixedWindowLimiter(options.limit, options.window),
}


@contextmanager
def serving(*arguments: str) -> Iterator[str]:
    """Run the server in another process, with these arguments, and tell its URL."""
    command = [sys.executable, "-m", "tests.benchmarks.quota_server", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            word, _, url = process.stdout.readline().strip().partition(" ")
            if word != "READY":
                raise RuntimeError("the server did not start")
            yield url
        finally:
            process.terminate()
            try:
                process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()


class Quota:
    """One quota for all clients, and what they did with it."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._dialect = "none" if options.kind == "silent" else options.dialect
        self.reset()

    def reset(self) -> None:
        """Forget everything that was asked."""
        self._limiter = KINDS[self._options.kind](self._options)
        self._requests: dict[str, list[tuple[float, bool]]] = {}

    def ask(self, client: str) -> bytes:
        """Count one request, and return the answer to it."""
        now = time.monotonic()
        standing = self._limiter.take(now)
        self._requests.setdefault(client, []).append((now, standing.allowed))
        headers = format_headers(standing, self._dialect, time.time())
        return _answer("200 OK", headers) if standing.allowed else _answer("429 Too Many Requests", headers)

    def record(self) -> bytes:
        """Return everything that was asked, as JSON."""
        options = self._options
        record = {
            "kind": options.kind,
            "limit": options.limit,
            "window": options.window,
            "origin": _origin(),
            "clients": self._requests,
        }
        return json.dumps(record).encode()


class Connection(asyncio.Protocol):
    """Reads requests one after the other, and answers each after the time that an answer takes."""

    def __init__(self, quota: Quota, latency: float) -> None:
        self._quota = quota
        self._latency = latency
        self._buffer = b""
        self._later = asyncio.get_running_loop().call_later

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (request := self._next()) is not None:
            self._answer(*request)
        if len(self._buffer) > _HEAD_LIMIT:
            self._transport.abort()

    def _next(self) -> tuple[bytes, str] | None:
        """Take path and client of the next whole request from the buffer."""
        head, end, rest = self._buffer.partition(b"\r\n\r\n")
        if not end:
            return None
        length = int(_header(head, b"\ncontent-length:") or 0)
        if len(rest) < length:
            return None
        self._buffer = rest[length:]
        return head.split(b" ", 2)[1], _header(head, b"\nx-client:").decode("latin-1")

    def _answer(self, path: bytes, client: str) -> None:
        if path == b"/record":
            self._write(_answer("200 OK", [], self._quota.record()))
        elif path == b"/reset":
            self._quota.reset()
            self._write(_answer("200 OK", []))
        else:
            self._later(self._latency, self._write, self._quota.ask(client))

    def _write(self, answer: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(answer)


def _header(head: bytes, name: bytes) -> bytes:
    _, found, after = head.partition(name)
    if not found:
        start = head.lower().find(name)
        if start < 0:
            return b""
        after = head[start + len(name) :]
    return after.partition(b"\r")[0].strip()


def _answer(status: str, headers: Sequence[tuple[str, str]], body: bytes = b'{"ok": true}') -> bytes:
    lines = [f"{name}: {value}\r\n" for name, value in headers]
    fixed = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return f"HTTP/1.1 {status}\r\n{''.join(lines)}{fixed}".encode() + body


async def _serve(options: argparse.Namespace) -> None:
    loop, stopped, quota = asyncio.get_running_loop(), asyncio.Event(), Quota(options)
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    server = await loop.create_server(lambda: Connection(quota, options.latency), "127.0.0.1", 0, backlog=1024)
    host, port = server.sockets[0].getsockname()[:2]
    print(f"READY http://{host}:{port}", flush=True)
    try:
        await asyncio.wait_for(stopped.wait(), options.lifetime)
    except asyncio.TimeoutError:
        pass
    server.close()


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line; that of the process by default."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.quota_server", description="A fast quota.")
    parser.add_argument("--kind", choices=KINDS, default="fixed", help="what counts")
    parser.add_argument("--limit", type=int, default=50, help="requests per window")
    parser.add_argument("--window", type=float, default=2.0, help="seconds")
    parser.add_argument("--burst", type=int, default=5, help="requests beyond the rate, for leaky")
    parser.add_argument("--latency", type=float, default=0.002, help="seconds that an answer takes")
    parser.add_argument("--dialect", choices=DIALECTS, default="draft-6", help="headers that tell of the quota")
    parser.add_argument(
        "--sliding-reset", choices=("oldest", "window"), default="oldest", help="what sliding announces"
    )
    parser.add_argument("--lifetime", type=float, default=900.0, help="seconds after which it stops by itself")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    asyncio.run(_serve(parse_arguments()))
