"""The resilient client: verbs over one long-lived `httpx.AsyncClient`, whose transport has the policies.

Theory of operation. A call goes through `httpx.AsyncClient.request`, which follows redirects, keeps cookies and asks
auth objects. Below it the transport retries, and asks circuit breaker and bulkhead. What comes out is looked at once:
an answer below 400 is returned as it is, everything else becomes an error of `polvo_adapters.client.exceptions`.

The httpx client is made at the first use, in the event loop that runs then. Connections belong to that loop and that
process, and are closed with the loop: in another one, after a fork or a second `asyncio.run`, another client is made,
and circuits stay as they are. Two loops that run at the same time need two clients.
"""

from __future__ import annotations

import asyncio
import os
import re
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx

from polvo_adapters.client import translation
from polvo_adapters.client.base_url_auth import BaseURLAuth
from polvo_adapters.client.call_record import CallRecord, current_record
from polvo_adapters.client.client_log import ClientLog
from polvo_adapters.client.closing import ClosingClock, ClosingGate
from polvo_adapters.client.config import ClientConfig, TimeoutConfig
from polvo_adapters.client.exceptions import ClientClosedError, ClientConfigurationError, MyAPIError
from polvo_adapters.client.pending_call import PendingCall, marks_coroutine
from polvo_adapters.client.request_headers import identify
from polvo_adapters.client.stack import build_stack
from polvo_adapters.client.transport import ClientTransport
from polvo_adapters.core.calls import find_host
from polvo_adapters.core.setting_kinds import ASYNC_TRANSPORT, CLOCK, STORE, check_settings
from polvo_adapters.drivers.aio import AsyncClock
from polvo_adapters.redaction import describe_url
from polvo_adapters.runtime import async_library
from polvo_adapters.runtime.loop_ends import LoopEnd
from polvo_adapters.shells.httpx.environment_proxies import find_proxies
from polvo_adapters.shells.httpx.given_auth import as_httpx_auth
from polvo_adapters.stores.base import Store
from polvo_adapters.stores.memory import MemoryStore

if TYPE_CHECKING:
    from typing_extensions import Self

_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]")
"""The beginning of a URL that httpx does not take for one below the base URL."""
_LONGEST_SHOWN = 500
_KINDS = {"transport": ASYNC_TRANSPORT, "store": STORE, "clock": CLOCK}


class _Opened(NamedTuple):
    """The httpx client that is in use, and the event loop and the process that it belongs to."""

    http: httpx.AsyncClient
    loop: Any
    process: int
    end: LoopEnd

    def is_here(self, loop: object) -> bool:
        """Return whether it belongs to this loop and this process."""
        return self.loop is loop and self.process == os.getpid()

    def is_elsewhere(self) -> bool:
        """Return whether its loop is running, in another thread of this process."""
        return self.process == os.getpid() and self.loop is not None and async_library.is_running(self.loop)


class ResilientClient:
    """A client of one service that retries, and refuses to overload it or itself.

    Args:
        config: The settings.
        transport: What sends, for tests: an `httpx.MockTransport`, say. By default connections of its own.
        store: Where circuits and the bulkhead keep their state; clients that share a store share it. By default memory
            of this client.
        clock: Time and chance of retries, circuits and the bulkhead; tests pass a virtual clock. By default those of
            this machine.

    Attributes:
        config: The settings.
    """

    def __init__(
        self,
        config: ClientConfig,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        store: Store | None = None,
        clock: AsyncClock | None = None,
    ) -> None:
        if not isinstance(config, ClientConfig):
            raise ClientConfigurationError(
                f"ResilientClient: config must be a ClientConfig(...), not {type(config).__name__}"
            )
        given = {"transport": transport, "store": store, "clock": clock}
        is_given = {name: value for name, value in given.items() if value is not None}
        check_settings("ResilientClient", is_given, _KINDS, ClientConfigurationError)
        self.config = config
        self._transport = transport
        self._closing = ClosingGate(describe_url(config.base_url))
        self._clock: AsyncClock = ClosingClock(self._closing) if clock is None else clock
        self._store: Store = MemoryStore(now=self._clock.now) if store is None else store
        self._log = ClientLog(config.logging)
        self._policies = build_stack(config, self._log, self._closing)
        self._opened: _Opened | None = None
        # Not in the URL of requests, whose repr shows it.
        url = httpx.URL(config.base_url)
        self._base_url = url.copy_with(userinfo=b"")
        self._auth = BaseURLAuth(url) if url.userinfo else None

    async def __aenter__(self) -> Self:
        await self._ensure_initialized()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        state = "closed" if self.is_closed else "open" if self._opened is not None else "not used yet"
        return f"<ResilientClient {describe_url(self.config.base_url)}, {state}>"

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._closing.is_closed

    async def _ensure_initialized(self) -> None:
        """Make the httpx client, unless it is there already; verbs do it by themselves.

        Raises:
            ClientClosedError: The client was closed, or is in use by another event loop.
        """
        self._open()

    async def close(self) -> None:
        """Close all connections. Calls under way end with an error, and later ones raise ClientClosedError."""
        self._closing.close()
        opened, self._opened = self._opened, None
        if opened is not None and opened.is_here(_find_loop()):
            await opened.end.close()

    aclose = close
    """The name that httpx has for it."""

    # Verbs ------------------------------------------------------------------------------------------------------------

    @marks_coroutine
    def get(self, url: httpx.URL | str, *, request_id: str | None = None, **kwargs: Any) -> PendingCall[httpx.Response]:
        """Send a GET request; see `request`."""
        return self._call("get", "GET", url, request_id, kwargs)

    @marks_coroutine
    def post(
        self, url: httpx.URL | str, *, request_id: str | None = None, **kwargs: Any
    ) -> PendingCall[httpx.Response]:
        """Send a POST request; see `request`."""
        return self._call("post", "POST", url, request_id, kwargs)

    @marks_coroutine
    def put(self, url: httpx.URL | str, *, request_id: str | None = None, **kwargs: Any) -> PendingCall[httpx.Response]:
        """Send a PUT request; see `request`."""
        return self._call("put", "PUT", url, request_id, kwargs)

    @marks_coroutine
    def patch(
        self, url: httpx.URL | str, *, request_id: str | None = None, **kwargs: Any
    ) -> PendingCall[httpx.Response]:
        """Send a PATCH request; see `request`."""
        return self._call("patch", "PATCH", url, request_id, kwargs)

    @marks_coroutine
    def delete(
        self, url: httpx.URL | str, *, request_id: str | None = None, **kwargs: Any
    ) -> PendingCall[httpx.Response]:
        """Send a DELETE request; see `request`."""
        return self._call("delete", "DELETE", url, request_id, kwargs)

    @marks_coroutine
    def head(
        self, url: httpx.URL | str, *, request_id: str | None = None, **kwargs: Any
    ) -> PendingCall[httpx.Response]:
        """Send a HEAD request; see `request`."""
        return self._call("head", "HEAD", url, request_id, kwargs)

    @marks_coroutine
    def options(
        self, url: httpx.URL | str, *, request_id: str | None = None, **kwargs: Any
    ) -> PendingCall[httpx.Response]:
        """Send an OPTIONS request; see `request`."""
        return self._call("options", "OPTIONS", url, request_id, kwargs)

    @marks_coroutine
    def request(
        self, method: str, url: httpx.URL | str, *, request_id: str | None = None, **kwargs: Any
    ) -> PendingCall[httpx.Response]:
        """Send a request, and return its answer.

        Args:
            method: HTTP method.
            url: A URL relative to `base_url`, or an absolute one.
            request_id: The `X-Request-ID` of the call, by which the server knows that a repeat is one; by default that
                among the headers, or else a random UUID. It is the same for all attempts.
            **kwargs: All that `httpx.AsyncClient.request` takes: params, headers, json, content, data, files, cookies,
                auth, follow_redirects, timeout, extensions. Headers that are given here are not changed.

        Returns:
            A call to be awaited: its result is the answer, whose status is below 400. The report of its attempts and
            waits is in `response.extensions["polvo"]`.

        Raises:
            MyAPIError: The call has failed; see `polvo_adapters.client.exceptions`.
        """
        return self._call("request", method, url, request_id, kwargs)

    def _call(
        self, verb: str, method: str, url: httpx.URL | str, request_id: str | None, kwargs: dict[str, Any]
    ) -> PendingCall[httpx.Response]:
        return PendingCall(self._send(method, url, request_id, kwargs), f"ResilientClient.{verb}")

    async def _send(self, method: str, url: httpx.URL | str, request_id: str | None, kwargs: dict[str, Any]) -> Any:
        record = self._record(method, url)
        if isinstance(kwargs.get("timeout"), TimeoutConfig):
            kwargs["timeout"] = _httpx_timeout(kwargs["timeout"])
        if kwargs.get("auth", httpx.USE_CLIENT_DEFAULT) is not httpx.USE_CLIENT_DEFAULT:
            kwargs["auth"] = as_httpx_auth(kwargs["auth"])
        outer, began = current_record.get(), time.monotonic()
        current_record.set(record)
        try:
            http = self._open()
            headers, record.request_id = identify(kwargs.pop("headers", None), request_id)
            self._log.say_request(record)
            response = await http.request(method, url, headers=headers, **kwargs)
            status = response.status_code
            if isinstance(status, int) and status >= 400:
                raise translation.translate_response(response, record)
            self._log.say_response(record, status, _count_attempts(response), time.monotonic() - began)
            return response
        except asyncio.CancelledError:
            self._log.say_cancelled(record)
            raise
        except MyAPIError as error:
            translation.name_call(error, record)
            self._log.say_failure(record, error, time.monotonic() - began)
            raise
        except Exception as error:
            if not translation.is_of_transport(error):
                raise
            translated = translation.translate_error(error, record)
            self._log.say_failure(record, translated, time.monotonic() - began)
            try:
                raise translated from translation.find_cause(error)
            finally:
                del translated  # see errors.py, "Errors and frames"
        finally:
            current_record.set(outer)  # not by a token: a call that was given up may end in another context

    def _record(self, method: str, url: httpx.URL | str) -> CallRecord:
        text = str(url)
        if not _ABSOLUTE.match(text):
            text = f"{self.config.base_url.rstrip('/')}/{text.lstrip('/')}"
        return CallRecord(
            _show(str(method).upper()), _show(describe_url(text)), find_host(text), self.config, target=text
        )

    # The httpx client -------------------------------------------------------------------------------------------------

    def _open(self) -> httpx.AsyncClient:
        """Return the httpx client of the running loop."""
        self._closing.require_open()
        opened, loop = self._opened, _find_loop()
        if opened is not None and opened.is_here(loop):
            return opened.http
        if opened is not None and opened.is_elsewhere():
            raise ClientClosedError(
                f"{describe_url(self.config.base_url)}: the client is in use by another event loop; make a client for "
                "each loop"
            )
        http = self._make_http()
        self._opened = _Opened(http, loop, os.getpid(), LoopEnd(http.aclose))
        return http

    def _make_http(self) -> httpx.AsyncClient:
        config = self.config
        mounts = {}
        if self._transport is None:
            transport = self._make_transport()
            for pattern, proxy in find_proxies().items():
                mounts[pattern] = transport if proxy is None else self._make_transport(proxy)
        else:
            transport = ClientTransport(*self._policies, store=self._store, clock=self._clock, inner=self._transport)
        return httpx.AsyncClient(
            base_url=self._base_url,
            auth=self._auth,
            headers={"User-Agent": config.user_agent},
            timeout=_httpx_timeout(config.timeout),
            follow_redirects=config.follow_redirects,
            transport=transport,
            mounts=mounts,
        )

    def _make_transport(self, proxy: str | None = None) -> ClientTransport:
        most = self.config.bulkhead.max_concurrency
        return ClientTransport(
            *self._policies,
            store=self._store,
            clock=self._clock,
            verify=_find_context(self.config.verify_ssl),
            limits=httpx.Limits(max_connections=most, max_keepalive_connections=most),
            proxy=proxy,
        )


@asynccontextmanager
async def create_resilient_client(
    config: ClientConfig,
    *,
    transport: httpx.AsyncBaseTransport | None = None,
    store: Store | None = None,
    clock: AsyncClock | None = None,
) -> AsyncIterator[ResilientClient]:
    """Make a client for an `async with` block, and close it in the end.

    Args:
        config: The settings.
        transport: As for ResilientClient.
        store: As for ResilientClient.
        clock: As for ResilientClient.
    """
    async with ResilientClient(config, transport=transport, store=store, clock=clock) as client:
        yield client


def _find_loop() -> object:
    try:
        return async_library.find_loop()
    except RuntimeError:  # run by something else than asyncio and trio
        return None


def _find_context(verify: bool | ssl.SSLContext) -> ssl.SSLContext:
    """Return the context for TLS; clients share it, as to load all authorities takes longer than many calls."""
    if isinstance(verify, ssl.SSLContext):
        return verify
    return _make_context(verify, os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


@lru_cache(maxsize=8)
def _make_context(verify: bool, *_: str | None) -> ssl.SSLContext:
    return httpx.create_ssl_context(verify=verify)


def _httpx_timeout(timeout: TimeoutConfig) -> httpx.Timeout:
    return httpx.Timeout(connect=timeout.connect, read=timeout.read, write=timeout.write, pool=timeout.pool)


def _show(text: str) -> str:
    """Return a text as one line of a log may have it: cut, and with no character that would begin another one."""
    short = text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."
    return short if short.isprintable() else short.encode("unicode_escape").decode("ascii")


def _count_attempts(response: Any) -> int:
    report = response.extensions.get("polvo") if isinstance(response, httpx.Response) else None
    return 1 if report is None else len(report.attempts)
