"""The faults: every way a server can fail a client that asked correctly.

Each kind is a function that gets the exchange and its own parameters and writes raw bytes as it pleases.
`FAULTS` lists them with the parameters they read from the query, which are checked before the fault counts as
used. What a fault says about the server's work is the worst case: the work may be done although the answer
is lost, except where the kind says plainly that it is not.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from polvo_adapters.testing.server.http_messages import (
    Headers,
    Reply,
    Request,
    connection_headers,
    encode_head,
    encode_reply,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from polvo_adapters.testing.server.connection import Connection
    from polvo_adapters.testing.server.state import RequestContext

_NORMAL_BODY = b'{"status": "ok"}'
_JSON = ("Content-Type", "application/json")
_PLAIN_TEXT = ("Content-Type", "text/plain; charset=utf-8")
_HUGE_HEADER_START = "X-Huge: "
_Injector: TypeAlias = "Callable[..., Coroutine[Any, Any, None]]"

_REFUSALS = frozenset({429, 503})


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole-number parameter of a fault."""

    default: int
    minimum: int = 0
    maximum: int = 2**40

    def read(self, request: Request, name: str) -> int:
        """Return the parameter of a request; refuse the request (422) when it is wrong."""
        return request.integer(name, self.default, self.minimum, self.maximum)


@dataclass(frozen=True, slots=True)
class Seconds:
    """A duration parameter of a fault."""

    default: float

    def read(self, request: Request, name: str) -> float:
        """Return the parameter of a request; refuse the request (422) when it is wrong."""
        return request.seconds(name, self.default)


@dataclass(frozen=True, slots=True)
class FaultSpec:
    """One kind of fault.

    Attributes:
        inject: Carries the fault out.
        parameters: The parameters `inject` takes, by name.
        before_body: Whether it strikes before the body of the request is read.
    """

    inject: _Injector
    parameters: dict[str, Whole | Seconds] = field(default_factory=dict)
    before_body: bool = False

    def read_parameters(self, request: Request) -> dict[str, Any]:
        """Return the parameters of a request; refuse the request (422) when one is wrong."""
        return {name: kind.read(request, name) for name, kind in self.parameters.items()}

    def does_work(self, parameters: dict[str, Any]) -> bool:
        """Tell whether the server did the work, or may have, when this fault strikes."""
        code: int = parameters.get("code", 200)
        return not (self.before_body or 300 <= code < 500 or code in _REFUSALS)


def _normal_headers() -> Headers:
    return [_JSON, ("Content-Length", str(len(_NORMAL_BODY)))]


def _normal_reply(request: Request) -> bytes:
    return encode_reply(Reply(200, [_JSON], _NORMAL_BODY), request)


def _sized_headers(length: int) -> Headers:
    return [_PLAIN_TEXT, ("Content-Length", str(length))]


async def _status(exchange: RequestContext, *, code: int) -> None:
    request = exchange.request
    body = request.text("body", "").encode("utf-8", "surrogateescape")
    headers = _sized_headers(len(body)) if code != 204 else []
    headers += connection_headers(request)
    custom_lines = request.texts("header")
    # A header asked for stands in for the usual one; sending both would be a fault nobody asked for.
    replaced = {line.partition(":")[0].strip().lower() for line in custom_lines}
    headers = [header for header in headers if header[0].lower() not in replaced]
    headers += [("Retry-After", value) for value in request.texts("retry_after")]
    bodiless = request.method == "HEAD" or code in {204, 304}
    exchange.connection.write(encode_head(code, headers, custom_lines) + (b"" if bodiless else body))


async def _hang(exchange: RequestContext) -> None:
    await exchange.connection.hang()
    exchange.connection.close()


async def _slow_headers(exchange: RequestContext, *, interval: float) -> None:
    headers = _normal_headers() + connection_headers(exchange.request)
    await _drip_bytes(exchange.connection, encode_head(200, headers), interval)
    if exchange.request.method != "HEAD":
        exchange.connection.write(_NORMAL_BODY)


async def _drip_bytes(connection: Connection, data: bytes, interval: float) -> None:
    for position in range(len(data)):
        connection.write(data[position : position + 1])
        await connection.pause(interval)


async def _drip(exchange: RequestContext, *, size: int, interval: float) -> None:
    connection = exchange.connection
    connection.write(encode_head(200, _sized_headers(size) + connection_headers(exchange.request)))
    if exchange.request.method != "HEAD":
        for _ in range(size):
            await connection.pause(interval)
            connection.write(b"x")


async def _wrong_length(exchange: RequestContext, *, length: int, size: int) -> None:
    exchange.connection.write(encode_head(200, _sized_headers(length)) + b"x" * size)
    exchange.connection.close()


def _then_close(data: bytes) -> _Injector:
    async def inject(exchange: RequestContext) -> None:
        exchange.connection.write(data)
        exchange.connection.close()

    return inject


def _then_reset(data: bytes) -> _Injector:
    async def inject(exchange: RequestContext) -> None:
        exchange.connection.write(data)
        exchange.connection.reset()

    return inject


async def _broken_gzip(exchange: RequestContext) -> None:
    exchange.connection.send(
        Reply(200, [_PLAIN_TEXT, ("Content-Encoding", "gzip")], b"this was never compressed"),
        exchange.request,
    )


async def _early_hints(exchange: RequestContext) -> None:
    hints = encode_head(103, [("Link", "</style.css>; rel=preload; as=style")])
    exchange.connection.write(hints + _normal_reply(exchange.request))


async def _stale(exchange: RequestContext) -> None:
    exchange.connection.write(_normal_reply(exchange.request))
    exchange.connection.close()


async def _redirect(exchange: RequestContext, *, code: int) -> None:
    exchange.reply(Reply(code, [_PLAIN_TEXT, ("Location", exchange.request.text("to", "/echo"))]))


async def _huge_header(exchange: RequestContext, *, size: int) -> None:
    name, _, _ = _HUGE_HEADER_START.partition(":")
    huge = (name, "x" * max(0, size - len(_HUGE_HEADER_START)))
    exchange.reply(Reply(200, [_JSON, huge], _NORMAL_BODY))


_NORMAL_HEAD = encode_head(200, _normal_headers())
_HALF_HEAD = _NORMAL_HEAD[: len(_NORMAL_HEAD) // 2]
_HALF_REPLY = encode_head(200, _sized_headers(100)) + b"x" * 50
_ONE_CHUNK = encode_head(200, [_PLAIN_TEXT, ("Transfer-Encoding", "chunked")]) + b"a\r\nxxxxxxxxxx\r\n"
_NOT_HTTP = b"\x00\x01\x02 this is not HTTP at all \xff\xfe\r\n\r\n"

FAULTS = {
    "status": FaultSpec(_status, {"code": Whole(503, 200, 999)}),
    "hang": FaultSpec(_hang),
    "slow-headers": FaultSpec(_slow_headers, {"interval": Seconds(0.05)}),
    "drip": FaultSpec(_drip, {"size": Whole(12), "interval": Seconds(0.25)}),
    "truncated": FaultSpec(_wrong_length, {"length": Whole(100), "size": Whole(10, 0, 2**24)}),
    "overlong": FaultSpec(_wrong_length, {"length": Whole(10), "size": Whole(100, 0, 2**24)}),
    "reset-early": FaultSpec(_then_reset(b""), before_body=True),
    "reset": FaultSpec(_then_reset(b"")),
    "reset-headers": FaultSpec(_then_reset(_HALF_HEAD)),
    "reset-body": FaultSpec(_then_reset(_HALF_REPLY)),
    "eof": FaultSpec(_then_close(b"")),
    "cut-headers": FaultSpec(_then_close(_HALF_HEAD)),
    "broken-chunk": FaultSpec(_then_close(_ONE_CHUNK + b"not-a-size\r\nxxxxxxxxxx\r\n")),
    "cut-chunk": FaultSpec(_then_close(_ONE_CHUNK)),
    "broken-gzip": FaultSpec(_broken_gzip),
    "garbage": FaultSpec(_then_close(_NOT_HTTP)),
    "early-hints": FaultSpec(_early_hints),
    "stale": FaultSpec(_stale),
    "redirect": FaultSpec(_redirect, {"code": Whole(302, 300, 399)}),
    "huge-header": FaultSpec(_huge_header, {"size": Whole(200_000, 0, 2**24)}),
}
