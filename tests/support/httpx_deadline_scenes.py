"""The scenes of `tests.support.deadline_scenes` for the transports of httpx, synchronous and asynchronous.

Each is a coroutine function or a function that runs a call to its end; it takes the seconds to the deadline.
"""

from __future__ import annotations

import asyncio
import io
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from importlib.util import find_spec
from typing import Any, TypeAlias
from unittest import mock

import httpx

from polvo_adapters.policies.deadline import Deadline
from polvo_adapters.policies.retry import ExponentialBackoff
from polvo_adapters.transports import AsyncPolicyTransport, PolicyTransport
from tests.support.deadline_scenes import HANDSHAKES, LARGE, PATIENCE, READINGS, RESPONSES, name_of
from tests.support.wire_servers import (
    HTTP,
    HTTPS,
    SOCKS,
    Fault,
    Silent,
    WireServer,
    certificates,
    refused_port,
    resolve_to,
)

Scene: TypeAlias = Callable[[str, float], AbstractContextManager[Callable[[], Any]]]
"""Takes the kind of client and the deadline in seconds, and gives a call within it."""

SYNC, ASYNC = "sync", "async"
PLAIN_TIMEOUT = httpx.Timeout(PATIENCE)


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end, and leave threads that still resolve a name alone, unlike `asyncio.run`."""
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(work)
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(asyncio.sleep(0.01))  # for the sockets that were closed
        loop.close()


def settings(server: WireServer) -> dict[str, Any]:
    """Return the keywords of a transport of httpx that goes the way of the server."""
    proxy = next(iter(server.proxies.values()), None)
    return {
        "verify": ssl.create_default_context(cafile=certificates()[1]),
        "proxy": proxy and proxy.replace("socks5h", "socks5"),
    }


class Caller:
    """One face for both kinds of client, which asks and reads the body to its end.

    Args:
        kind: "sync" or "async".
        deadline: Seconds to the deadline.
        wrap: Makes a transport of the one that is made of the keywords.
        stream: Whether the transport hands over the body unread.
        **keywords: Those of a transport of httpx.
    """

    def __init__(
        self,
        kind: str,
        deadline: float,
        wrap: Callable[[Any], Any] = lambda transport: transport,
        stream: bool = False,
        **keywords: Any,
    ) -> None:
        self.kind, self.deadline, self.stream = kind, deadline, stream
        self.wrap, self.keywords = wrap, keywords

    def __call__(self, url: str, method: str = "GET", content: Callable[[], Any] = lambda: None) -> Any:
        body = content()
        if self.kind == ASYNC:
            return run(self._ask(url, method, _as_async(body) if hasattr(body, "__next__") else body))
        inner = self.wrap(httpx.HTTPTransport(**self.keywords))
        transport = PolicyTransport(Deadline(self.deadline), inner=inner, stream=self.stream)
        with (
            httpx.Client(transport=transport, timeout=PLAIN_TIMEOUT) as client,
            client.stream(method, url, content=body) as response,
        ):
            return list(response.iter_raw())

    async def _ask(self, url: str, method: str, body: Any) -> Any:
        inner = self.wrap(httpx.AsyncHTTPTransport(**self.keywords))
        transport = AsyncPolicyTransport(Deadline(self.deadline), inner=inner, stream=self.stream)
        async with (
            httpx.AsyncClient(transport=transport, timeout=PLAIN_TIMEOUT) as client,
            client.stream(method, url, content=body) as response,
        ):
            return [part async for part in response.aiter_raw()]


async def _as_async(parts: Any) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


@contextmanager
def with_fault(
    fault: Fault,
    kind: str,
    deadline: float,
    method: str = "GET",
    content: Callable[[], Any] = lambda: None,
    **keywords: Any,
) -> Iterator[Callable[[], Any]]:
    with WireServer(fault) as server:
        call = Caller(kind, deadline, **settings(server), **keywords)
        yield lambda: call(server.url, method, content)


@contextmanager
def with_addresses(count: int, kind: str, deadline: float, **keywords: Any) -> Iterator[Callable[[], Any]]:
    """Resolve the host to addresses that are silent, or where there are none, slowly."""
    with ExitStack() as stack:
        port = stack.enter_context(Silent()).port  # the same for all: asyncio uses that of the URL
        lookup = resolve_to(*[port] * count, seconds=0 if count else deadline + 3)
        stack.enter_context(mock.patch.object(socket, "getaddrinfo", lookup))
        yield lambda: Caller(kind, deadline, **keywords)(f"http://wire.test:{port}/")


@contextmanager
def with_retries(kind: str, deadline: float) -> Iterator[Callable[[], Any]]:
    """Let httpcore connect again and again, with pauses of its own."""
    url = f"http://127.0.0.1:{refused_port()}/"
    yield lambda: Caller(kind, deadline, retries=9)(url)


@contextmanager
def with_busy_pool(kind: str, deadline: float) -> Iterator[Callable[[], Any]]:
    """Let another call hold the only connection."""
    limits = httpx.Limits(max_connections=1)
    with WireServer(Fault(HTTP, "answer", "drip body")) as server:

        def call() -> None:
            inner = httpx.HTTPTransport(limits=limits)
            with httpx.Client(transport=inner) as other, other.stream("GET", server.url):
                transport = PolicyTransport(Deadline(deadline), inner=inner)
                transport.handle_request(httpx.Request("GET", server.url))

        async def call_async() -> None:
            inner = httpx.AsyncHTTPTransport(limits=limits)
            async with httpx.AsyncClient(transport=inner) as other, other.stream("GET", server.url):
                transport = AsyncPolicyTransport(Deadline(deadline), inner=inner)
                await transport.handle_async_request(httpx.Request("GET", server.url))

        yield call if kind == SYNC else lambda: run(call_async())


class Wrapper(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """A transport around another one, as many projects have one."""

    def __init__(self, wrapped: Any) -> None:
        self.wrapped = wrapped

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response: httpx.Response = self.wrapped.handle_request(request)
        return response

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response: httpx.Response = await self.wrapped.handle_async_request(request)
        return response


def stack(inner: Any) -> Any:
    """Put a transport with a policy around another one, so that its call is within one with a deadline."""
    kind: Any = PolicyTransport if isinstance(inner, httpx.BaseTransport) else AsyncPolicyTransport
    return kind(ExponentialBackoff(base=0.01, budget=None), inner=inner)


WRAPS: dict[str, Callable[[Any], Any]] = {"wrapped": Wrapper, "stacked": stack}
UPLOADS: dict[str, Callable[[], Any]] = {
    "bytes": lambda: b"x" * LARGE,
    "generator": lambda: (b"x" * 100_000 for _ in range(LARGE // 100_000)),
    "one large chunk": lambda: iter([b"x" * LARGE]),
}
SYNC_UPLOADS: dict[str, Callable[[], Any]] = {"file": lambda: io.BytesIO(b"x" * LARGE)}


def _scenes(kind: str) -> Iterator[tuple[str, Scene]]:
    yield "busy pool", with_busy_pool
    yield "retries of httpcore", with_retries
    yield "name resolution", partial(with_addresses, 0)
    yield "one silent address", partial(with_addresses, 1)
    yield "four silent addresses", partial(with_addresses, 4)
    for fault in (*HANDSHAKES, *RESPONSES):
        if fault.way != SOCKS or find_spec("socksio"):
            yield name_of(fault), partial(with_fault, fault)
    for fault in READINGS:
        for name, content in (UPLOADS | SYNC_UPLOADS if kind == SYNC else UPLOADS).items():
            yield f"{fault.way}: upload of {name}", partial(with_fault, fault, method="PUT", content=content)
    for way in (HTTP, HTTPS):
        for deed in ("hang", "drip", "drip body"):
            fault = Fault(way, "answer", deed)
            yield f"stream, {name_of(fault)}", partial(with_fault, fault, stream=True)
            for name, wrap in WRAPS.items():
                yield f"{name}, {name_of(fault)}", partial(with_fault, fault, wrap=wrap)
                yield f"stream, {name}, {name_of(fault)}", partial(with_fault, fault, wrap=wrap, stream=True)


SCENES: dict[str, tuple[str, Scene]] = {
    f"{kind}, {name}": (kind, scene) for kind in (SYNC, ASYNC) for name, scene in _scenes(kind)
}
"""Kind of client and scene, by name."""
