"""The contract endpoints: /msg, /fail/* and /health, and the 404 for every unknown path.

All but /health share a limited number of slots; a request gets its slot first and only then starts the clock
of its timeout. Everything that can take long, the asked-for delay and the wait for a request with the same
X-Request-ID, is cut off at that deadline here, which spares each request a timer of its own. A client that
goes away does not stop the work: that is what makes a repeated request dangerous in real life.
"""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from typing import TYPE_CHECKING

from polvo_adapters.testing.server.http_messages import (
    RefusedError,
    Reply,
    json_reply,
    parse_whole_number,
    require_method,
)

if TYPE_CHECKING:
    from polvo_adapters.testing.server.state import FailureSwitch, RequestContext

_MAX_DELAY_MILLISECONDS = 30_000
_MAX_FAIL_COUNT = 1000
_MAX_FAIL_SECONDS = 3600
_FAIL_WITH_AMOUNT = re.compile(r"/fail/(count|duration)/([^/]+)")


class Contract:
    """The contract endpoints.

    Args:
        max_concurrency: How many requests are worked on at a time; the others wait.
        request_timeout: Seconds a request may take once it has its slot.
    """

    def __init__(self, max_concurrency: int, request_timeout: float) -> None:
        self._slots = asyncio.Semaphore(max_concurrency)
        self._request_timeout = request_timeout
        self._started = time.monotonic()

    async def answer(self, exchange: RequestContext) -> Reply:
        """Return the reply to a request whose body was read."""
        try:
            if exchange.request.path == "/health":
                require_method(exchange.request, "GET")
                reply = json_reply(200, {"status": "ok", "uptime_seconds": time.monotonic() - self._started})
            else:
                async with self._slots:
                    reply = await self._route(exchange, time.monotonic() + self._request_timeout)
        except RefusedError as refusal:
            reply = refusal.reply
        if reply.status != 408:
            reply.headers.append(("X-Correlation-ID", str(uuid.uuid4())))
        return reply

    async def _route(self, exchange: RequestContext, deadline: float) -> Reply:
        request, failures = exchange.request, exchange.state.failures
        if request.path == "/msg":
            require_method(request, "GET")
            return await _handle_message(exchange, deadline)
        if request.path == "/fail/status":
            require_method(request, "GET")
            status = failures.status()
            return json_reply(200, {"failure_status": status, "currently_failing": status["currently_failing"]})
        if request.path == "/fail/reset":
            require_method(request, "POST")
            failures.clear()
            return json_reply(200, {"message": "Failures cleared", "status": "normal_operation"})
        if match := _FAIL_WITH_AMOUNT.fullmatch(request.path):
            require_method(request, "POST")
            return _set_failures(failures, *match.groups())
        raise RefusedError(404, "Not Found")


def _set_failures(failures: FailureSwitch, kind: str, amount: str) -> Reply:
    if kind == "count":
        count = parse_whole_number(amount, "count", 0, _MAX_FAIL_COUNT, "path")
        failures.count = count
        return json_reply(200, {"message": f"The next {count} requests fail", "fail_requests_count": count})
    seconds = parse_whole_number(amount, "seconds", 0, _MAX_FAIL_SECONDS, "path")
    failures.fail_for(seconds)
    message = f"All requests fail for {seconds} seconds"
    return json_reply(200, {"message": message, "duration_seconds": seconds})


async def _handle_message(exchange: RequestContext, deadline: float) -> Reply:
    delay = exchange.request.integer("delay", 0, 0, _MAX_DELAY_MILLISECONDS) / 1000
    if exchange.state.failures.consume():
        _count_failed_message(exchange)
        raise RefusedError(500, "Induced server failure")
    identity = exchange.request.identity
    if identity is None:
        message_id = await _new_message(exchange, delay, deadline)
    else:
        message_id = await _message_for(identity, exchange, delay, deadline)
    return json_reply(200, {"message_id": message_id})


def _count_failed_message(exchange: RequestContext) -> None:
    # A failure may hide work that was done, so it counts; but work under one X-Request-ID counts once, and a
    # failure under an identity that had a successful reply did not do it again.
    identity = exchange.request.identity
    state = exchange.state
    if identity is not None:
        if state.messages.get(identity) or state.failed_messages.get(identity):
            return
        state.failed_messages.put(identity, True)
    exchange.count_processed()


async def _message_for(identity: str, exchange: RequestContext, delay: float, deadline: float) -> str:
    state = exchange.state
    while True:
        if known := state.messages.get(identity):
            return known
        unfinished = state.unfinished_messages.get(identity)
        if unfinished is None:
            return await _first_message(identity, exchange, delay, deadline)
        await asyncio.wait({unfinished}, timeout=max(0.0, deadline - time.monotonic()))
        if not unfinished.done():
            raise _request_timeout()
        if shared := unfinished.result():
            return shared


async def _first_message(identity: str, exchange: RequestContext, delay: float, deadline: float) -> str:
    state = exchange.state
    unfinished: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
    state.unfinished_messages[identity] = unfinished
    message_id = None
    try:
        message_id = await _new_message(exchange, delay, deadline)
        state.messages.put(identity, message_id)
    finally:
        del state.unfinished_messages[identity]
        unfinished.set_result(message_id)
    return message_id


async def _new_message(exchange: RequestContext, delay: float, deadline: float) -> str:
    left = deadline - time.monotonic()
    if delay > left:
        await asyncio.sleep(max(0.0, left))
        raise _request_timeout()
    # Counted before the delay: a client that gives up meanwhile must already see what it has caused.
    _count_new_message(exchange)
    if delay:
        await asyncio.sleep(delay)
    return str(uuid.uuid4())


def _count_new_message(exchange: RequestContext) -> None:
    identity = exchange.request.identity
    failed_messages = exchange.state.failed_messages
    if identity is None or not failed_messages.get(identity):
        exchange.count_processed()
    else:
        failed_messages.discard(identity)


def _request_timeout() -> RefusedError:
    return RefusedError(408, "Request timeout")
