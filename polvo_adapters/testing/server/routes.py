"""From request to endpoint: /echo, paths of the guide, /fault/*, /quota, /oauth/*, /counters; `Contract` has the rest.

The order of events is the point here. A fault is planned as soon as the request head is read, since one kind
strikes before the body; everything else happens after the body was read and the request was counted. A
`RefusedError` raised anywhere becomes the reply; a refused request was received but not processed.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

from polvo_adapters.testing.limiters import DIALECTS, format_headers
from polvo_adapters.testing.server import login_endpoints, oauth_endpoints
from polvo_adapters.testing.server.faults import FAULTS, FaultSpec
from polvo_adapters.testing.server.http_messages import (
    MalformedRequestError,
    RefusedError,
    Reply,
    Request,
    RequestBody,
    connection_headers,
    encode_head,
    invalid_value,
    json_reply,
    method_not_allowed,
)

if TYPE_CHECKING:
    from polvo_adapters.testing.server.connection import Connection
    from polvo_adapters.testing.server.message_endpoints import Contract
    from polvo_adapters.testing.server.state import RequestContext, ServerState

_GUIDE = re.compile(r"/users(/[^/]+)?|/search|/create-(user|order)|(/api)?/data|/external-data")
"""Paths of an API that the examples of docs/client.md call; they are answered as /echo is."""
_FAULT_PREFIX = "/fault/"
_PIECE = b"x" * (64 * 1024)
_LAST_CHUNK = b"0\r\n\r\n"


async def handle(exchange: RequestContext, contract: Contract) -> None:
    """Serve one request to its end, be it a reply or a fault."""
    request = exchange.request
    try:
        if request.method == "CONNECT":
            request.keep_alive = False
            exchange.reply(method_not_allowed("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS").reply)
        elif request.path.startswith(_FAULT_PREFIX):
            await _handle_fault(exchange)
        else:
            await exchange.receive()
            await _answer(exchange, contract)
    except MalformedRequestError:
        raise
    except RefusedError as refusal:
        await exchange.receive()
        exchange.reply(refusal.reply)


async def refuse_malformed(connection: Connection, malformed: MalformedRequestError) -> None:
    """Answer a malformed request, and close: where the next one begins is unknown."""
    reply = malformed.reply
    headers = [*reply.headers, ("Content-Length", str(len(reply.body))), ("Connection", "close")]
    connection.write(encode_head(reply.status, headers) + reply.body)
    await connection.close_unread()


async def _answer(exchange: RequestContext, contract: Contract) -> None:
    path = exchange.request.path
    if path == "/echo" or _GUIDE.fullmatch(path):
        await _echo(exchange, sized=True)
    elif path == "/quota":
        exchange.reply(_take_quota(exchange))
    elif path == "/counters":
        exchange.reply(_handle_counters(exchange))
    elif path.startswith(("/oauth/", login_endpoints.WELL_KNOWN)):
        exchange.reply(oauth_endpoints.make_reply(exchange))
    else:
        exchange.reply(await contract.answer(exchange))


async def _echo(exchange: RequestContext, *, sized: bool) -> None:
    request = exchange.request
    size = request.integer("size", -1) if sized else -1
    exchange.perform()
    if size >= 0:
        await _send_sized(exchange.connection, request, size)
        return
    body = request.body or RequestBody()
    content = {
        "method": request.method,
        "path": request.target,
        "headers": request.headers,
        "body_length": body.length,
        "body_sha256": body.sha256,
    }
    exchange.reply(json_reply(200, content))


async def _send_sized(connection: Connection, request: Request, size: int) -> None:
    # HTTP/1.0 has no chunks.
    chunked = request.text("chunked", "0") == "1" and not request.is_http_1_0
    framing = ("Transfer-Encoding", "chunked") if chunked else ("Content-Length", str(size))
    headers = [("Content-Type", "application/octet-stream"), framing, *connection_headers(request)]
    connection.write(encode_head(200, headers))
    if request.method == "HEAD":
        return
    while size > 0:
        piece = _PIECE[:size]
        connection.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
        size -= len(piece)
        await connection.drain()
    if chunked:
        connection.write(_LAST_CHUNK)


async def _handle_fault(exchange: RequestContext) -> None:
    request = exchange.request
    fault = FAULTS.get(request.path.removeprefix(_FAULT_PREFIX))
    if fault is None:
        raise RefusedError(404, "Not Found")
    parameters = {name: read(request, name) for name, read in fault.parameters.items()}
    if _is_due(exchange.state, request):
        await _inject(exchange, fault, parameters)
    else:
        await exchange.receive()
        # A fault's own `size` says nothing about the healthy reply.
        await _echo(exchange, sized="size" not in parameters)


def _is_due(state: ServerState, request: Request) -> bool:
    times = request.integer("times", -1)
    after = request.integer("after", 0)
    key = request.text("key", request.path.removeprefix(_FAULT_PREFIX))
    turn = state.fault_turns.get(key, 0)
    state.fault_turns[key] = turn + 1
    return turn >= after and (times < 0 or turn < after + times)


async def _inject(exchange: RequestContext, fault: FaultSpec, parameters: dict[str, Any]) -> None:
    if fault.before_body:
        exchange.count_received()
    else:
        await exchange.receive()
    if fault.does_work(parameters):
        exchange.perform()
    await fault.inject(exchange, **parameters)


def _take_quota(exchange: RequestContext) -> Reply:
    request = exchange.request
    limit = request.integer("limit", 5)
    window = request.seconds("window", 2.0, minimum=0.001)
    dialect = request.text("dialect", "x")
    if dialect not in DIALECTS:
        raise invalid_value("query", "dialect", "one of " + ", ".join(DIALECTS))
    standing = exchange.state.quotas.take(request.text("key", request.path), limit, window)
    headers = format_headers(standing, dialect, time.time())
    if not standing.allowed:
        return json_reply(429, {"detail": "Rate limit exceeded"}, headers)
    exchange.perform()
    return json_reply(200, {"limit": standing.limit, "remaining": standing.remaining}, headers)


def _handle_counters(exchange: RequestContext) -> Reply:
    if exchange.request.method == "GET":
        return json_reply(200, exchange.state.journal.counters())
    if exchange.request.method == "DELETE":
        exchange.state.forget_requests()
        return Reply(204)
    raise method_not_allowed("GET", "DELETE")
