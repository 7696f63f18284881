"""One request to an authorization server or a vault, in bounded time and space.

Theory of operation. Requests go through the adapter of a session and not through the session, whose cookies, headers,
hooks, `auth` and netrc file are meant for other hosts. Proxies and TLS settings are those of the session and of the
environment. Every adapter is driven by policies of this package, so that one deadline bounds the whole request, however
slowly bytes arrive, and the request is repeated only where the server has certainly not acted on it: a refresh token
that is sent twice may end a login. A fallback of the session's adapters is left out: the body may be a client secret,
which is for no other server.

Without a session of the caller, one session per process is used, and it keeps no connection. Such requests are far
apart, and a connection that was idle for an hour may be lost without a sign, or closed by the server just as it is used
again, which leaves open whether the server has acted. A header `Connection: close` does not help: where the response
does not have it as well, the connection is used again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import lru_cache
from typing import Any, NamedTuple

import requests
import urllib3.exceptions
from requests.adapters import BaseAdapter

from polvo_adapters import headers as header_values
from polvo_adapters.context.call import LogicalCall, separate_call
from polvo_adapters.core.calls import find_host
from polvo_adapters.core.http import text_of
from polvo_adapters.core.outcomes import UNCLASSIFIED
from polvo_adapters.core.report import Attempt
from polvo_adapters.errors import ConfigurationError
from polvo_adapters.policies.one_call import FOR_ONE_SERVER
from polvo_adapters.policies.retry import ExponentialBackoff
from polvo_adapters.runtime.clock import Clock
from polvo_adapters.shells.extended_class import extend
from polvo_adapters.shells.message_parts import describe_place
from polvo_adapters.shells.one_shot import UNANSWERED, OneShotError, OneShotResponse
from polvo_adapters.shells.plain_words import describe_cause
from polvo_adapters.shells.requests.failures import classify
from polvo_adapters.shells.requests.policy_adapter import PolicyAdapter
from polvo_adapters.shells.requests.resilient_adapter import ResilientAdapter

_LARGEST = 1 << 20
_PIECE = 1 << 14
_FAILURES = (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError)


class Channel(NamedTuple):
    """The way of requests to a server.

    Attributes:
        session: Session whose adapters, proxies and TLS settings are used; None for that of the process.
        verify: As for `requests`; None for that of the session.
        cert: As for `requests`; None for that of the session.
        seconds: Time for a whole exchange.
    """

    session: requests.Session | None
    verify: bool | str | None
    cert: str | tuple[str, str] | None
    seconds: float


def send_one(
    channel: Channel, method: str, url: str, *, headers: dict[str, str] | None = None, body: str | None = None
) -> OneShotResponse:
    """Send one request, and return the response, of any status.

    Args:
        channel: The way to the server.
        method: Method of the request.
        url: URL of the request.
        headers: Headers of the request.
        body: Encoded body of the request.

    Raises:
        OneShotError: There is no usable response; see `polvo_adapters.shells.one_shot`.
    """
    host, place = find_host(url), find_host(url)
    session = channel.session or _session_of_process(os.getpid())
    problem: OneShotError
    status = 0
    try:
        request = requests.Request(method, url, headers=_headers(session, headers), data=body).prepare()
        place = describe_place(request).partition(" ")[2]
        adapter = _adapter(session, url)
        clock: Clock = adapter.clock
        with _deadline_scope(clock, channel.seconds) as deadline:
            settings = session.merge_environment_settings(url, {}, True, channel.verify, channel.cert)
            with closing(adapter.send(request, timeout=channel.seconds, **settings)) as response:
                status = response.status_code
                content = _read(response, deadline, clock)
                delay = header_values.retry_after(response.headers, time.time())
                if content is not None:
                    return OneShotResponse(host, response.status_code, response.headers, content, delay)
                problem = OneShotError(host, "too large", status=response.status_code)
    except ConfigurationError as error:
        error.request = None
        raise
    except _FAILURES as error:
        problem = _translate_error(host, error, status)
        if problem.reason in UNANSWERED and not problem.status:
            problem.cause, problem.advice = describe_cause(error, host)
    problem.place = place
    # Raised outside of `except`, because an exception from below holds the request, and with it the secrets.
    raise problem


@contextmanager
def _deadline_scope(clock: Clock, seconds: float) -> Iterator[float]:
    """Keep what the block sends within a deadline, and yield that."""
    now = clock.now()
    with separate_call(LogicalCall(None, now, now + seconds), FOR_ONE_SERVER):
        yield now + seconds


def _read(response: requests.Response, deadline: float, clock: Clock) -> bytes | None:
    """Return the body, or None where it is too large; the body of a redirect is not needed."""
    if 300 <= response.status_code < 400:
        return b""
    content = bytearray()
    for piece in response.iter_content(_PIECE):
        content += piece
        if len(content) > _LARGEST:
            return None
        if clock.now() >= deadline:
            raise TimeoutError("the response is not complete")
    return bytes(content)


def _translate_error(host: str, error: Exception, status: int) -> OneShotError:
    """Return the error for an exception of a send, without keeping the exception.

    Args:
        host: Host of the server.
        error: The exception.
        status: Status of the response whose body could not be read, or 0.
    """
    response = getattr(error, "response", None)
    delay = getattr(error, "retry_after", None)
    if response is not None and response.status_code >= 400 and delay is not None:
        return OneShotError(host, f"status {response.status_code}", status=response.status_code, retry_after=delay)
    attempts: list[Attempt] = getattr(getattr(error, "polvo", None), "attempts", [])
    status = status or (attempts[-1].status if attempts else 0)
    lost = not status and any(attempt.sent for attempt in attempts)
    return OneShotError(host, _reason(error), status=status, retry_after=delay, lost=lost)


def _reason(error: Exception) -> str:
    if isinstance(error, requests.exceptions.ContentDecodingError):
        return "not json"
    meaning = classify(error)
    if meaning is UNCLASSIFIED and isinstance(error, requests.exceptions.SSLError):
        return "tls"
    return "timeout" if meaning.timeout or isinstance(error, requests.Timeout) else "connection"


def _headers(session: requests.Session, headers: dict[str, str] | None) -> dict[str, str]:
    agent = text_of(session.headers.get("User-Agent") or requests.utils.default_user_agent())
    return {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": agent, **(headers or {})}


def _adapter(session: requests.Session, url: str) -> PolicyAdapter:
    """Return the session's adapter for a URL, driven by policies of this package."""
    adapter: BaseAdapter = session.get_adapter(url)
    if isinstance(adapter, PolicyAdapter):
        return adapter
    # The adapter's own retries may repeat what is not safe to repeat; the policy takes their place.
    return ResilientAdapter(ExponentialBackoff(), inner=adapter, timeout=None)


@lru_cache(maxsize=1)
def _session_of_process(process: int) -> requests.Session:  # noqa: ARG001 - a forked process makes its own
    session = requests.Session()
    for prefix in ("https://", "http://"):
        session.mount(prefix, _UnpooledAdapter(ExponentialBackoff(), timeout=None))
    return session


class _UnpooledAdapter(ResilientAdapter):
    """An adapter that closes every connection after its response."""

    def init_poolmanager(self, *args: Any, **keywords: Any) -> None:
        super().init_poolmanager(*args, **keywords)
        _close_after_use(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **keywords: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **keywords)
        _close_after_use(manager)
        return manager


def _close_after_use(manager: Any) -> None:
    """Let a urllib3 pool manager that has made no pool yet make pools that close each connection after its response."""
    kinds = manager.pool_classes_by_scheme
    manager.pool_classes_by_scheme = {scheme: _closing_class(kind) for scheme, kind in kinds.items()}


@lru_cache(maxsize=16)
def _closing_class(kind: type) -> type:
    return kind if issubclass(kind, _ClosingPool) else extend(kind, _ClosingPool)


class _ClosingPool:
    def _put_conn(self, connection: Any) -> None:
        if connection is not None:
            connection.close()  # before the pool lends it again; it opens itself when it is used
        super()._put_conn(connection)  # type: ignore[misc]
