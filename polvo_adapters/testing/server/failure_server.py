"""A web server for tests that fails on request and knows what it has done.

`FailureServer` listens on a loopback address and serves from a daemon thread with an event loop of its own,
so a test may block as it likes. One task accepts connections and starts one task for each; to stop is to
cancel the first, which cancels the others and waits until every socket is closed. `routes` and the modules that it
names have the endpoints; this module only runs them.

It also runs by itself: `python -m polvo_adapters.testing.server --port 8000`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING

from polvo_adapters.core.keywords import explain_arguments
from polvo_adapters.testing.server.connection import ClientGoneError, Connection
from polvo_adapters.testing.server.http_messages import MalformedRequestError
from polvo_adapters.testing.server.journal import Counters, KeyCounters, RequestRecord
from polvo_adapters.testing.server.listening import find_addresses, listen
from polvo_adapters.testing.server.message_endpoints import Contract
from polvo_adapters.testing.server.routes import handle, refuse_malformed
from polvo_adapters.testing.server.state import RequestContext, ServerState

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

    from typing_extensions import Self

    _Conversations = dict[asyncio.Task[None], socket.socket]

__all__ = ["FailureServer", "RequestRecord", "main"]

_CLOSING_TURNS = 100
_PORT_TAKEN = 2  # the exit code


@explain_arguments
class FailureServer:
    """A web server on loopback for tests: it fails on request, and keeps an exact account of the work done.

    Use it as a context manager, or call `start` and `stop`. After a `stop` it can be started again; it then
    listens on the same port and remembers what it knew, like a server that was down for a while.

    Args:
        host: A loopback address, or `localhost` for 127.0.0.1 and ::1, as far as the machine has them.
        port: The port to listen on; 0 picks a free one.
        max_concurrency: How many /msg requests are worked on at a time; the others wait.
        request_timeout: Seconds a /msg request may take before it is answered with 408.
        cache_max_size: How many X-Request-IDs are remembered.
        cache_ttl_seconds: How long each of them is remembered.
        ssl_context: Serves https with this context instead of http.

    Raises:
        ValueError: The host is not a loopback address, or a port or limit makes no sense.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        max_concurrency: int = 50,
        request_timeout: float = 30.0,
        cache_max_size: int = 1000,
        cache_ttl_seconds: float = 300.0,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        if not 0 <= port <= 65535:
            raise ValueError("port must be from 0 to 65535")
        if max_concurrency < 1:
            raise ValueError("max_concurrency must be at least 1")
        if min(request_timeout, cache_max_size, cache_ttl_seconds) < 0:
            raise ValueError("request_timeout, cache_max_size and cache_ttl_seconds must not be negative")
        self._addresses = find_addresses(host)
        self._port = port
        self._message_limits = (max_concurrency, request_timeout)
        self._cache_bounds = (cache_max_size, cache_ttl_seconds)
        self._ssl_context = ssl_context
        self._open_connections: set[Connection] = set()
        self._thread: threading.Thread | None = None
        self.reset()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Listen and serve until `stop`; when this returns, clients can connect.

        Raises:
            RuntimeError: The server is running already.
            OSError: The port is not available.
        """
        if self._thread is not None:
            raise RuntimeError("The server is running already")
        listeners = listen(self._addresses, self._port)
        self._port = listeners[0].getsockname()[1]
        self._contract = Contract(*self._message_limits)
        self._loop = asyncio.new_event_loop()
        self._acceptor = self._loop.create_task(self._accept_until_cancelled(listeners))
        self._thread = threading.Thread(target=self._run, name="FailureServer", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Close the port and every connection at once; without effect when the server is not running."""
        if self._thread is None:
            return
        # A loop that is closed already has nothing left to stop.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._acceptor.cancel)
        self._thread.join()
        self._thread = None

    @property
    def port(self) -> int:
        """The port the server listens on; 0 as long as a free one is still to be picked."""
        return self._port

    @property
    def url(self) -> str:
        """The address of the server, scheme and port included, without a path.

        Raises:
            RuntimeError: The server was never started, so its port is not known yet.
        """
        if self._port == 0:
            raise RuntimeError("The server was not started yet")
        scheme = "http" if self._ssl_context is None else "https"
        address = self._addresses[0]
        host = f"[{address}]" if address.version == 6 else str(address)
        return f"{scheme}://{host}:{self._port}"

    @property
    def counters(self) -> Counters:
        """Requests received and processed so far, in all and by key."""
        return self._state.journal.counters()

    def counters_for(self, key: str) -> KeyCounters:
        """Return how many requests with a key were received and processed; zeros for an unknown key."""
        return self._state.journal.counters_for(key)

    @property
    def requests(self) -> list[RequestRecord]:
        """The last 10,000 counted requests, oldest first."""
        return self._state.journal.records()

    @property
    def open_connections(self) -> int:
        """How many connections are open and not closed by their clients."""
        return len(self._open_connections)

    def reset(self) -> None:
        """Forget everything: counters, requests, failures, request ids, fault turns, quotas, tokens and logins.

        Requests still at work finish as they would have, but are not counted any more.
        """
        self._state = ServerState.create(*self._cache_bounds)

    def _run(self) -> None:
        try:
            with contextlib.suppress(asyncio.CancelledError):
                self._loop.run_until_complete(self._acceptor)
        finally:
            self._loop.close()

    async def _accept_until_cancelled(self, listeners: Sequence[socket.socket]) -> None:
        conversations: _Conversations = {}
        for listener in listeners:
            self._loop.add_reader(listener, self._accept_clients, listener, conversations)
        try:
            await self._loop.create_future()
        finally:
            for listener in listeners:
                self._loop.remove_reader(listener)
                listener.close()
            await _close_all(conversations)

    def _accept_clients(self, listener: socket.socket, conversations: _Conversations) -> None:
        # A plain callback, since loop.sock_accept loses a client that arrives while it is being cancelled.
        while (client := _accept_client(listener)) is not None:
            task = self._loop.create_task(self._converse(client))
            conversations[task] = client
            task.add_done_callback(conversations.pop)

    async def _converse(self, client: socket.socket) -> None:
        connection = Connection(self._open_connections)
        try:
            # A failed TLS handshake or a connection broken off is the client's affair.
            with contextlib.suppress(OSError, ClientGoneError):
                await self._loop.connect_accepted_socket(lambda: connection, client, ssl=self._ssl_context)
                await self._serve(connection)
            await connection.wait_lost()
        finally:
            connection.abort()
            await connection.wait_lost()

    async def _serve(self, connection: Connection) -> None:
        try:
            while not connection.is_closing:
                request = await connection.read_head()
                await handle(RequestContext(connection, request, self._state), self._contract)
                if not request.keep_alive:
                    break
        except MalformedRequestError as malformed:
            await refuse_malformed(connection, malformed)
        finally:
            connection.close()


def _accept_client(listener: socket.socket) -> socket.socket | None:
    try:
        client, _ = listener.accept()
    except OSError:
        # The queue is empty, or its client gave up; the loop calls again for the next one.
        return None
    client.setblocking(False)
    # Without this a second small write waits for the client's acknowledgement, and a reset would swallow it.
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


async def _close_all(conversations: _Conversations) -> None:
    tasks = list(conversations)
    clients = list(conversations.values())
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    # Transports close their sockets some turns of the loop later.
    for _ in range(_CLOSING_TURNS):
        await asyncio.sleep(0)
        if all(client.fileno() < 0 for client in clients):
            break
    for client in clients:
        client.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve from the command line until SIGINT or SIGTERM.

    Args:
        arguments: The command line without the program name; that of the process by default.

    Returns:
        The exit code: 0, or 2 where the port is not available.
    """
    server = _parse_server(arguments)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        server.start()
        print(server.url, flush=True)
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        # A second signal must not interrupt the stopping.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    except OSError as error:
        problem = os.strerror(error.errno) if error.errno else str(error)
        advice = "choose another one, or let --port 0 pick a free one"
        print(f"port {server.port} is not available: {problem}; {advice}", file=sys.stderr)
        return _PORT_TAKEN
    finally:
        server.stop()
    return 0


def _parse_server(arguments: Sequence[str] | None) -> FailureServer:
    """Return the server that a command line describes."""
    parser = argparse.ArgumentParser(
        prog="python -m polvo_adapters.testing.server", description="A web server that fails on request."
    )
    parser.add_argument("command", nargs="?", choices=("serve",), help="may be left out")
    parser.add_argument("--host", default="localhost", help="a loopback address (localhost)")
    parser.add_argument("--port", type=int, default=8000, help="0 picks a free port (8000)")
    parser.add_argument("--max-concurrency", type=int, default=50, help="/msg requests worked on at a time (50)")
    parser.add_argument("--request-timeout", type=float, default=30.0, help="seconds until 408 (30)")
    parser.add_argument("--cache-max-size", type=int, default=1000, help="X-Request-IDs remembered (1000)")
    parser.add_argument("--cache-ttl-seconds", type=float, default=300.0, help="how long they are remembered (300)")
    parser.add_argument("--reload", action="store_true", help="for scripts that say so; there is nothing to reload")
    options = vars(parser.parse_args(arguments))
    del options["command"], options["reload"]
    try:
        return FailureServer(**options)
    except ValueError as error:
        parser.error(str(error))
