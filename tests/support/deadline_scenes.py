"""Calls that end at no time of their own, one for each phase in which a server can keep a client waiting.

The tests ask for the class of what ends them; the benchmark, how long that takes.
"""

from __future__ import annotations

import io
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from typing import Any, TypeAlias
from unittest import mock

import requests
from requests.adapters import HTTPAdapter
from urllib3.poolmanager import PoolManager

from polvo_adapters.adapters import ResilientAdapter
from tests.support.wire_servers import (
    FORWARD,
    HTTP,
    HTTPS,
    SOCKS,
    TUNNEL,
    Fault,
    Silent,
    WireServer,
    certificates,
    resolve_to,
)
from tests.support.wire_sessions import Subclass, mounted

Scene: TypeAlias = Callable[[float], AbstractContextManager[Callable[[], Any]]]
"""Takes the deadline in seconds, and gives a call within it."""

LARGE = 8_000_000  # more than the sockets of both sides hold
PATIENCE = 60.0  # the timeout that would hold without the deadline


def ask(session: requests.Session, server: WireServer, method: str = "GET", **keywords: Any) -> requests.Response:
    """Make a call that goes the way of the server."""
    keywords = {"timeout": PATIENCE, "verify": certificates()[1], "proxies": server.proxies, **keywords}
    return session.request(method, server.url, **keywords)


@contextmanager
def with_fault(
    way: str,
    step: str,
    deed: str,
    deadline: float,
    make: Callable[..., requests.Session] = lambda deadline: mounted(ResilientAdapter(deadline=deadline)),
    **keywords: Any,
) -> Iterator[Callable[[], Any]]:
    with WireServer(Fault(way, step, deed)) as server, make(deadline) as session:
        yield lambda: ask(session, server, **{name: _made(value) for name, value in keywords.items()})


def _made(value: Any) -> Any:
    return value() if callable(value) else value


@contextmanager
def with_busy_pool(deadline: float) -> Iterator[Callable[[], Any]]:
    adapter = ResilientAdapter(deadline=deadline, pool_maxsize=1, pool_block=True)
    with (
        WireServer(Fault(HTTP, "answer", "drip body")) as server,
        mounted(adapter) as session,
        ask(session, server, stream=True),
    ):
        yield lambda: ask(session, server)


@contextmanager
def with_addresses(count: int, deadline: float) -> Iterator[Callable[[], Any]]:
    """Resolve the host to addresses that are silent, or where there are none, slowly."""
    with ExitStack() as stack:
        ports = [stack.enter_context(Silent()).port for _ in range(count)]
        lookup = resolve_to(*ports, seconds=0 if count else deadline + 3)
        stack.enter_context(mock.patch.object(socket, "getaddrinfo", lookup))
        session = stack.enter_context(mounted(ResilientAdapter(deadline=deadline)))
        yield lambda: session.get("http://wire.test/", timeout=PATIENCE)


@contextmanager
def with_reader(way: str, step: str, deed: str, read: Callable[[Any], Any], deadline: float) -> Iterator[Any]:
    """Let the caller read the body of a stream."""
    with with_fault(way, step, deed, deadline, stream=True) as call:

        def call_and_read() -> None:
            with call() as response:
                read(response)

        yield call_and_read


@contextmanager
def with_pyopenssl(way: str, step: str, deed: str, deadline: float, **keywords: Any) -> Iterator[Callable[[], Any]]:
    from urllib3.contrib import pyopenssl

    pyopenssl.inject_into_urllib3()
    try:
        with with_fault(way, step, deed, deadline, **keywords) as call:
            yield call
    finally:
        pyopenssl.extract_from_urllib3()


def _context() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=certificates()[1])


class Recipe(HTTPAdapter):
    """The recipe of the requests manual for a TLS version of one's own."""

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **keywords: Any) -> None:
        self.poolmanager = PoolManager(
            num_pools=connections, maxsize=maxsize, block=block, ssl_context=_context(), **keywords
        )


class OwnRecipe(ResilientAdapter):
    init_poolmanager = Recipe.init_poolmanager


class OwnSend(ResilientAdapter):
    def send(self, request: Any, *arguments: Any, **keywords: Any) -> requests.Response:
        request.headers["X-Project"] = "1"
        return super().send(request, *arguments, **keywords)


MAKERS: dict[str, Callable[[float], requests.Session]] = {
    "around the recipe": lambda deadline: mounted(ResilientAdapter(deadline=deadline, inner=Recipe())),
    "the recipe": lambda deadline: mounted(OwnRecipe(deadline=deadline)),
    "around a subclass": lambda deadline: mounted(ResilientAdapter(deadline=deadline, inner=Subclass())),
    "own send": lambda deadline: mounted(OwnSend(deadline=deadline)),
    "stacked": lambda deadline: mounted(ResilientAdapter(deadline=deadline, inner=ResilientAdapter())),
    "deadline inside": lambda deadline: mounted(ResilientAdapter(inner=ResilientAdapter(deadline=deadline))),
}
UPLOADS: dict[str, Callable[[], Any]] = {
    "bytes": lambda: b"x" * LARGE,
    "bytearray": lambda: bytearray(LARGE),
    "file": lambda: io.BytesIO(b"x" * LARGE),
    "generator": lambda: (b"x" * 100_000 for _ in range(LARGE // 100_000)),
    "one large chunk": lambda: iter([b"x" * LARGE]),
}
READERS: dict[str, Callable[[requests.Response], Any]] = {
    "content": lambda response: response.content,
    "iter_content": lambda response: list(response.iter_content(10)),
    "iter_lines": lambda response: list(response.iter_lines()),
    "raw.read": lambda response: response.raw.read(),
    "raw.stream": lambda response: list(response.raw.stream(10)),
    "raw.read1": lambda response: [response.raw.read1(10) for _ in range(4000)],
    "raw.readinto": lambda response: [response.raw.readinto(bytearray(10)) for _ in range(4000)],
}
ANSWERS = ("hang", "drip", "drip body")


HANDSHAKES = (
    *(Fault(way, *each) for way in (HTTPS, TUNNEL) for each in (("tls", "hang"), ("half", "hang"), ("half", "drip"))),
    *(Fault(TUNNEL, *each) for each in (("accept", "hang"), ("connect", "hang"), ("connect", "drip"))),
    *(Fault(SOCKS, step, "hang") for step in ("accept", "greeting", "login", "destination")),
)
RESPONSES = tuple(Fault(way, "answer", deed) for way in (HTTP, HTTPS, FORWARD, TUNNEL, SOCKS) for deed in ANSWERS)
READINGS = tuple(Fault(way, "head", "sip") for way in (HTTP, HTTPS, FORWARD))


def name_of(fault: Fault) -> str:
    return f"{fault.way}: {fault.step}, {fault.deed!s}"


def _handshakes() -> Iterator[tuple[str, Scene]]:
    yield "busy pool", with_busy_pool
    yield "name resolution", partial(with_addresses, 0)
    yield "one silent address", partial(with_addresses, 1)
    yield "four silent addresses", partial(with_addresses, 4)
    for fault in (*HANDSHAKES, Fault(SOCKS, "destination", "drip address")):
        yield name_of(fault), partial(with_fault, *fault)


def _answers() -> Iterator[tuple[str, Scene]]:
    for fault in RESPONSES:
        yield name_of(fault), partial(with_fault, *fault)
    for fault in READINGS:
        for name, body in UPLOADS.items():
            yield f"{fault.way}: upload of {name}", partial(with_fault, *fault, method="PUT", data=body)
    for name, make in MAKERS.items():
        for deed in ANSWERS:
            yield f"{name}: answer, {deed}", partial(with_fault, HTTPS, "answer", deed, make=make)
        yield f"{name}: tls", partial(with_fault, HTTPS, "half", "drip", make=make)
    for name, read in READERS.items():
        yield f"stream: {name}", partial(with_reader, HTTP, "answer", "drip body", read)
    for step, deed in (("half", "hang"), ("half", "drip"), *(("answer", deed) for deed in ANSWERS)):
        yield f"pyOpenSSL: {step}, {deed}", partial(with_pyopenssl, HTTPS, step, deed)
    yield "pyOpenSSL: upload", partial(with_pyopenssl, HTTPS, "head", "sip", method="PUT", data=UPLOADS["bytes"])


SCENES: dict[str, Scene] = {**dict(_handshakes()), **dict(_answers())}
