"""One request to a service of secrets, in a task; as `polvo_adapters.shells.requests.one_shot`, with its results.

Each request has a session of its own, so that no connection stays idle until the server closes it, or belongs to
another event loop.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import httpx

from polvo_adapters import headers as header_values
from polvo_adapters.context.call import separate_call
from polvo_adapters.core.calls import find_host
from polvo_adapters.core.outcomes import UNCLASSIFIED
from polvo_adapters.errors import ConfigurationError, DeadlineExceeded, PolvoError, StatusError
from polvo_adapters.policies.one_call import FOR_ONE_SERVER
from polvo_adapters.shells.httpx.failures import classify
from polvo_adapters.shells.httpx.messages import read_content
from polvo_adapters.shells.httpx.session import AsyncSession
from polvo_adapters.shells.one_shot import UNANSWERED, OneShotError, OneShotResponse
from polvo_adapters.shells.plain_words import describe_cause

_LARGEST = 1 << 20
_FAILURES = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, PolvoError, OSError, ValueError)


async def send_one_async(url: str, *, headers: Mapping[str, str], seconds: float) -> OneShotResponse:
    """Send one GET request, and return the response, of any status.

    Args:
        url: URL of the request.
        headers: Headers of the request.
        seconds: Time for all of it.

    Raises:
        OneShotError: There is no usable response; see `polvo_adapters.shells.one_shot`.
    """
    host = find_host(url)
    problem: OneShotError
    try:
        with separate_call(None, FOR_ONE_SERVER):
            return await _send(host, url, headers, seconds)
    except ConfigurationError as error:
        error.request = None
        raise
    except OneShotError as error:
        problem = error
    except _FAILURES as error:
        problem = _translate_error(host, error)
        if problem.reason in UNANSWERED and not problem.status:
            problem.cause, problem.advice = describe_cause(error, host)
    problem.place = host + httpx.URL(url).path
    # Raised outside of `except`, because an exception from below holds the request, and with it the secrets.
    raise problem


async def _send(host: str, url: str, headers: Mapping[str, str], seconds: float) -> OneShotResponse:
    more = {"Accept": "application/json", "Accept-Encoding": "identity", **headers}
    limits: dict[str, Any] = {"timeout": seconds, "deadline": seconds}
    async with AsyncSession(circuit_breaker=None, follow_redirects=False, **limits) as session:
        try:
            async with session.stream("GET", url, headers=more) as response:
                return _convert(host, response, await _read(host, response))
        except StatusError as error:
            answer: httpx.Response | None = getattr(error, "response", None)
            if answer is None or isinstance(error, DeadlineExceeded):
                raise
            return _convert(host, answer, read_content(answer) or b"")


async def _read(host: str, response: httpx.Response) -> bytes:
    """Return the body; that of a redirect is not needed."""
    if 300 <= response.status_code < 400:
        return b""
    content = bytearray()
    async for piece in response.aiter_bytes():
        content += piece
        if len(content) > _LARGEST:
            raise OneShotError(host, "too large", status=response.status_code)
    return bytes(content)


def _convert(host: str, response: httpx.Response, body: bytes) -> OneShotResponse:
    delay = header_values.retry_after(response.headers, time.time())
    return OneShotResponse(host, response.status_code, response.headers, body, delay)


def _translate_error(host: str, error: BaseException) -> OneShotError:
    response, delay = getattr(error, "response", None), getattr(error, "retry_after", None)
    if response is not None and response.status_code >= 400 and delay is not None:
        return OneShotError(host, f"status {response.status_code}", status=response.status_code, retry_after=delay)
    attempts = getattr(getattr(error, "polvo", None), "attempts", [])
    status = attempts[-1].status if attempts else 0
    lost = not status and any(attempt.sent for attempt in attempts)
    return OneShotError(host, _reason(error), status=status, retry_after=delay, lost=lost)


def _reason(error: BaseException) -> str:
    if isinstance(error, httpx.DecodingError):
        return "not json"
    meaning = classify(error, reading=False)
    if meaning is UNCLASSIFIED and isinstance(error, httpx.ConnectError):
        return "tls"
    return "timeout" if meaning.timeout else "connection"
