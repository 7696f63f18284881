"""One request to an authorization server or a vault, in bounded time and space.

Theory of operation. Requests go through the adapter of a session, and not through the session: its cookies, headers,
hooks, `auth` and the netrc file are meant for other hosts. Proxies and TLS settings are the session's, and those of the
environment. Every adapter is driven by policies of ours, so that the whole request obeys one deadline, drip by
drip, and is repeated only where the server has certainly not acted on it: a refresh token sent twice may end a login.

Without a session of the caller's there is one per process, and it keeps no connection. Such requests are far apart; a
connection that was idle for an hour may be gone without a sign, or be closed by the server just as it is used again,
which leaves open whether the server has acted. To ask for `Connection: close` is no way out: where the answer does not
say so as well, the connection is used again all the same.

    reason         what happened
    -------------  --------------------------------------------------
    "timeout"      the time is up
    "connection"   no connection, or one that broke off
    "tls"          the server's certificate, or ours, is not accepted
    "too large"    an answer of more than 1 MiB
    "status <n>"   a refusal that names a time after ours; `retry_after`
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from functools import lru_cache
from typing import Any, NamedTuple

import requests
import urllib3.exceptions
from requests.adapters import BaseAdapter

from polvo_adapters import headers as header_values
from polvo_adapters.context.call import LogicalCall, call_started
from polvo_adapters.core.calls import origin
from polvo_adapters.core.outcomes import UNCLASSIFIED
from polvo_adapters.errors import ConfigurationError
from polvo_adapters.policies.retry import ExponentialBackoff
from polvo_adapters.runtime.clock import Clock
from polvo_adapters.shells.requests.failures import classify
from polvo_adapters.shells.requests.policy_adapter import PolicyAdapter
from polvo_adapters.shells.requests.resilient_adapter import ResilientAdapter

_LARGEST = 1 << 20
_PIECE = 1 << 14
_ENDS = (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError)


class Channel(NamedTuple):
    """How requests get to a server.

    Attributes:
        session: Whose adapters, proxies and TLS settings are used; None for one of this process.
        verify: As for `requests`; None for what the session says.
        cert: As for `requests`; None for what the session says.
        seconds: Time for a whole exchange.
    """

    session: requests.Session | None
    verify: bool | str | None
    cert: str | tuple[str, str] | None
    seconds: float


class OneShotResponse(NamedTuple):
    """A response, read whole.

    Attributes:
        host: The server.
        status: Its status.
        headers: Its headers.
        body: Its body; that of a redirect is left out.
        retry_after: Seconds after which the server wants to be asked again, or None.
    """

    host: str
    status: int
    headers: Mapping[str, str]
    body: bytes
    retry_after: float | None


class OneShotError(Exception):
    """There is no response that could be used. It holds nothing of the request, which may hold secrets.

    Attributes:
        host: The server.
        reason: Why, in one of the words of this module.
        status: Status of the response, or 0.
        retry_after: Seconds after which the server wants to be asked again, or None.
    """

    def __init__(self, host: str, reason: str, *, status: int = 0, retry_after: float | None = None) -> None:
        super().__init__(f"{host}: {reason}")
        self.host, self.reason = host, reason
        self.status, self.retry_after = status, retry_after


def send_one(
    channel: Channel, method: str, url: str, *, headers: dict[str, str] | None = None, body: str | None = None
) -> OneShotResponse:
    """Send one request, and return the response whatever it says.

    Args:
        channel: How to get there.
        method: Its method.
        url: Its URL.
        headers: Its headers.
        body: Its body, encoded.

    Raises:
        OneShotError: There is no response; the reasons are those of this module.
    """
    host = origin(url).partition("://")[2]
    session = channel.session or _session_of(os.getpid())
    problem: OneShotError
    try:
        request = requests.Request(method, url, headers=_headers(session, headers), data=body).prepare()
        adapter = _adapter(session, url)
        clock: Clock = adapter.clock
        with _until(clock, channel.seconds) as deadline:
            settings = session.merge_environment_settings(url, {}, True, channel.verify, channel.cert)
            with closing(adapter.send(request, timeout=channel.seconds, **settings)) as response:
                content = _read(response, deadline, clock)
                delay = header_values.retry_after(response.headers, time.time())
                if content is not None:
                    return OneShotResponse(host, response.status_code, response.headers, content, delay)
                problem = OneShotError(host, "too large", status=response.status_code)
    except ConfigurationError as error:
        error.request = None
        raise
    except _ENDS as error:
        problem = _problem(host, error)
    # Raised here, where no exception is being handled: those from below hold the request, and with it the secrets.
    raise problem


@contextmanager
def _until(clock: Clock, seconds: float) -> Iterator[float]:
    """Keep the sends within a deadline."""
    now = clock.now()
    started = call_started.set(LogicalCall(None, now, now + seconds))
    try:
        yield now + seconds
    finally:
        call_started.reset(started)


def _read(response: requests.Response, deadline: float, clock: Clock) -> bytes | None:
    """Return the body, or None where it is too large; that of a redirect says nothing that is needed."""
    if 300 <= response.status_code < 400:
        return b""
    content = bytearray()
    for piece in response.iter_content(_PIECE):
        content += piece
        if len(content) > _LARGEST:
            return None
        if clock.now() >= deadline:
            raise TimeoutError("the answer is not complete")
    return bytes(content)


def _problem(host: str, error: Exception) -> OneShotError:
    """Translate what a send raised; nothing of it is kept."""
    response = getattr(error, "response", None)
    delay = getattr(error, "retry_after", None)
    if response is not None and response.status_code >= 400 and delay is not None:
        return OneShotError(host, f"status {response.status_code}", status=response.status_code, retry_after=delay)
    return OneShotError(host, _reason(error), retry_after=delay)


def _reason(error: Exception) -> str:
    if isinstance(error, requests.exceptions.ContentDecodingError):
        return "not json"
    meaning = classify(error)
    if meaning is UNCLASSIFIED and isinstance(error, requests.exceptions.SSLError):
        return "tls"
    return "timeout" if meaning.timeout or isinstance(error, requests.Timeout) else "connection"


def _headers(session: requests.Session, headers: dict[str, str] | None) -> dict[str, str]:
    agent: Any = session.headers.get("User-Agent") or requests.utils.default_user_agent()
    shown = agent.decode("latin-1") if isinstance(agent, bytes) else str(agent)
    own = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": shown}
    return {**own, **(headers or {})}


def _adapter(session: requests.Session, url: str) -> PolicyAdapter:
    """Return the session's adapter for a URL, driven by policies of ours."""
    adapter: BaseAdapter = session.get_adapter(url)
    if isinstance(adapter, PolicyAdapter):
        return adapter
    # Its own retries may repeat what is not safe to repeat; ours take their place.
    return ResilientAdapter(ExponentialBackoff(), inner=adapter, timeout=None)


@lru_cache(maxsize=1)
def _session_of(process: int) -> requests.Session:  # noqa: ARG001 - a forked process makes its own
    session = requests.Session()
    for prefix in ("https://", "http://"):
        session.mount(prefix, _Closing(ExponentialBackoff(), timeout=None))
    return session


class _Closing(ResilientAdapter):
    """Closes every connection after its answer."""

    def init_poolmanager(self, *args: Any, **keywords: Any) -> None:
        super().init_poolmanager(*args, **keywords)
        _close_after_use(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **keywords: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **keywords)
        _close_after_use(manager)
        return manager


def _close_after_use(manager: Any) -> None:
    kinds = manager.pool_classes_by_scheme
    manager.pool_classes_by_scheme = {scheme: _closing_pool(kind) for scheme, kind in kinds.items()}


@lru_cache(maxsize=16)
def _closing_pool(kind: type) -> type:
    return kind if issubclass(kind, _ClosingPool) else type(kind.__name__, (_ClosingPool, kind), {})


class _ClosingPool:
    def _put_conn(self, connection: Any) -> None:
        if connection is not None:
            connection.close()  # while it is still ours; it opens again when it is needed
        super()._put_conn(connection)  # type: ignore[misc]
