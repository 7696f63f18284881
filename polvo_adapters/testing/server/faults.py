"""The faults: every way a server can fail a client that asked correctly.

Each kind is a function that gets the exchange and its own parameters and writes raw bytes as it pleases.
`FAULTS` lists them with the parameters they read from the query, which are checked before the fault counts as
used. A fault counts the server's work for the worst case: the work may be done although the reply is lost, except
where the kind says plainly that it is not.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
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

    from polvo_adapters.testing.server.state import RequestContext

_NORMAL_BODY = b'{"status": "ok"}'
_JSON = ("Content-Type", "application/json")
_PLAIN_TEXT = ("Content-Type", "text/plain; charset=utf-8")
_HUGE_HEADER_START = "X-Huge: "
_Injector: TypeAlias = "Callable[..., Coroutine[Any, Any, None]]"
_Reader: TypeAlias = "Callable[[Request, str], float]"
"""Returns a parameter of a request by its name, and refuses the request (422) when it is wrong."""

_REFUSALS = frozenset({429, 503})


def _whole(default: int, minimum: int = 0, maximum: int = 2**40) -> _Reader:
    return lambda request, name: request.integer(name, default, minimum, maximum)


def _seconds(default: float) -> _Reader:
    return lambda request, name: request.seconds(name, default)


@dataclass(frozen=True, slots=True)
class FaultSpec:
    """One kind of fault.

    Attributes:
        inject: Carries the fault out.
        parameters: A reader of each parameter that `inject` takes, by name.
        before_body: Whether it strikes before the body of the request is read.
    """

    inject: _Injector
    parameters: dict[str, _Reader] = field(default_factory=dict)
    before_body: bool = False

    def does_work(self, parameters: dict[str, Any]) -> bool:
        """Return whether the server did the work, or may have, when this fault strikes."""
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
    # A header asked for stands in for the usual one; sending both would be another fault.
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
    head = encode_head(200, headers)
    for position in range(len(head)):
        exchange.connection.write(head[position : position + 1])
        await exchange.connection.pause(interval)
    if exchange.request.method != "HEAD":
        exchange.connection.write(_NORMAL_BODY)


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


def _then_close(data: bytes, *, reset: bool = False) -> _Injector:
    async def inject(exchange: RequestContext) -> None:
        exchange.connection.write(data)
        if reset:
            exchange.connection.reset()
        else:
            exchange.connection.close()

    return inject


_then_reset = partial(_then_close, reset=True)


async def _broken_gzip(exchange: RequestContext) -> None:
    exchange.reply(Reply(200, [_PLAIN_TEXT, ("Content-Encoding", "gzip")], b"this was never compressed"))


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
    "status": FaultSpec(_status, {"code": _whole(503, 200, 999)}),
    "hang": FaultSpec(_hang),
    "slow-headers": FaultSpec(_slow_headers, {"interval": _seconds(0.05)}),
    "drip": FaultSpec(_drip, {"size": _whole(12), "interval": _seconds(0.25)}),
    "truncated": FaultSpec(_wrong_length, {"length": _whole(100), "size": _whole(10, 0, 2**24)}),
    "overlong": FaultSpec(_wrong_length, {"length": _whole(10), "size": _whole(100, 0, 2**24)}),
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
    "redirect": FaultSpec(_redirect, {"code": _whole(302, 300, 399)}),
    "huge-header": FaultSpec(_huge_header, {"size": _whole(200_000, 0, 2**24)}),
}
