"""The asynchronous twin of `polvo.Session`, on httpx; needs the extra `httpx`.

It is an `httpx.AsyncClient`, and takes its keywords. What it has of `polvo.Session`, it has by the same keywords and
the same code; with the same `store=` both share what they know of an API: quota, circuits, slots, tokens and keys.

Theory of operation. One transport with the policies sends each hop of a call; below it are the transports that httpx
makes for hosts and proxies. The session notes when the call began, before its token is obtained, so that its deadline
bounds the whole of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

try:
    import httpx
except ImportError as error:  # pragma: no cover - tested in an environment without httpx
    from polvo_adapters.runtime.extras import missing_text

    raise ImportError(missing_text("polvo_adapters.AsyncSession", "httpx", "httpx")) from error

from polvo_adapters.core.calls import origin
from polvo_adapters.core.setting_kinds import check_settings
from polvo_adapters.drivers.aio import ASYNC_SYSTEM, AsyncClock
from polvo_adapters.errors import ConfigurationError, SessionClosedError
from polvo_adapters.policies.defaults import SESSION_DEFAULTS
from polvo_adapters.policies.stack import pool_size, refuse_unknown_keywords, standard
from polvo_adapters.redaction import strip_url
from polvo_adapters.runtime import async_library
from polvo_adapters.shells.bound_policies import PolicyControls, options_of_all
from polvo_adapters.shells.httpx import session_keywords
from polvo_adapters.shells.httpx.cookies import SessionCookies
from polvo_adapters.shells.httpx.errors import httpx_error
from polvo_adapters.shells.httpx.given_auth import as_httpx_auth
from polvo_adapters.shells.httpx.pool_loops import move_to_loop
from polvo_adapters.shells.httpx.pools import find_pool, keep_deadlines
from polvo_adapters.shells.httpx.senders import sender_of
from polvo_adapters.shells.httpx.session_keywords import (
    HTTPX_KEYWORDS,
    OF_CONNECTIONS,
    OWN_KEYWORDS,
    as_timeout,
    refuse_names_of_requests,
    validate_base,
)
from polvo_adapters.shells.httpx.session_sending import SessionSending
from polvo_adapters.shells.httpx.session_transport import SessionTransport
from polvo_adapters.shells.httpx.verbs import AsyncSessionOptions, AsyncVerbs
from polvo_adapters.shells.session_calls import KINDS, name_served_host, validate_tenancy_of
from polvo_adapters.shells.tenancy import Tenancy
from polvo_adapters.stores.base import Store
from polvo_adapters.stores.memory import MemoryStore

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self, Unpack

    from polvo_adapters.policies.idempotency import IdempotencyKeys
    from polvo_adapters.shells.operation_control import Operation


class AsyncSession(SessionSending):
    """An `httpx.AsyncClient` that is resilient from the start; the asynchronous twin of `polvo.Session`.

    Use it in one event loop, as `async with polvo.AsyncSession(...) as session`, and share state by `store=`.

    Args:
        base_url: URL that relative URLs are appended to. With one, `auth` and an `Authorization` header of the session
            go to its origin only, not to other hosts given as absolute URLs.
        auth: A (user, password) tuple, an `httpx.Auth`, or an auth object of `polvo_adapters.auth`.
        timeout: Seconds that an attempt may wait for a connection, and for each next byte, where the call names no
            timeout of its own; a (connect, read) tuple, an `httpx.Timeout`, or None for no limit.
        tenancy: Where requests name their tenant, or None where the tenant only selects state.
        store: Where state lives that outlives a call; share it with sessions of both kinds to share the state.
        raise_for_status: Raise a StatusError for every status of 400 or above.
        clock: Time and chance; tests pass a virtual clock.
        **options: Retries, deadline, rate limit and all other policies, as for `polvo.Session`; and the keywords of
            `httpx.AsyncClient`, of which `transport` is what the policies send through. Redirects are followed.

    Raises:
        TypeError: A keyword is unknown, or a value is of no known kind.
        ValueError: A value is out of range.
        ConfigurationError: Regions would take the place of a host that names the tenant.
    """

    def __init__(
        self,
        base_url: str | None = None,
        auth: Any = None,
        *,
        timeout: Any = 30.0,
        tenancy: Tenancy | None = None,
        store: Store | None = None,
        raise_for_status: bool = False,
        clock: AsyncClock = ASYNC_SYSTEM,
        **options: Unpack[AsyncSessionOptions],
    ) -> None:
        given: dict[str, Any] = {**options}
        client = {name: given.pop(name) for name in HTTPX_KEYWORDS & given.keys()}
        refuse_names_of_requests(given, type(self).__name__)
        refuse_unknown_keywords(given, type(self).__name__, (*OWN_KEYWORDS, *HTTPX_KEYWORDS))
        check_settings(type(self).__name__, {"clock": clock, "raise_for_status": raise_for_status}, KINDS)
        check_settings(type(self).__name__, client, session_keywords.KINDS)
        stack: Any = given
        self._base = validate_base(base_url)
        self.tenancy = validate_tenancy_of(tenancy, stack.get("regions"))
        self.raise_for_status = raise_for_status
        self.clock = clock
        self._note_deadline(stack)
        client = {"follow_redirects": True, **client}
        self.store = MemoryStore(now=clock.now) if store is None else store
        self._loop: object = None
        self._longest = 0.0
        self._seen_timeout: httpx.Timeout | None = None  # which that is the longest part of
        self._bare: httpx.AsyncClient | None = None  # of which the transports without certificate are
        self._cert = client.get("cert")
        self._policy_transport = self._make_transport(stack, client, as_httpx_auth(auth), as_timeout(timeout))

    def _make_transport(
        self, stack: dict[str, Any], client: dict[str, Any], auth: Any, timeout: Any
    ) -> SessionTransport:
        """Let httpx make its transports, and return the one with the policies above them."""
        inner = client.get("transport")
        if "retry" not in stack and "retry" in options_of_all(inner):
            stack = {**stack, "retry": False}  # retries do not multiply
        policies = standard(**name_served_host({**SESSION_DEFAULTS, **stack}, self._base))
        client = {**client, "limits": _fit_limits(client.get("limits"), pool_size(policies))}
        AsyncVerbs.__init__(self, auth=auth, timeout=timeout, base_url=self._base or "", **client)
        _keep_deadlines(self)
        self._cookies = SessionCookies(self._cookies)
        if self._cert is not None and inner is None:
            self._bare = httpx.AsyncClient(**{name: client[name] for name in OF_CONNECTIONS & client.keys()})
            _keep_deadlines(self._bare)
        transport = SessionTransport(
            *policies,
            find=self._find_route,
            find_without_certificate=None if self._bare is None else self._bare._transport_for_url,
            sender=sender_of(inner, client),
            store=self.store,
            clock=self.clock,
        )
        transport.heed_retries_of(_list_transports(self))
        return transport

    def _find_route(self, url: httpx.URL) -> httpx.AsyncBaseTransport:
        """Return the transport of httpx for a URL."""
        return super()._transport_for_url(url)  # always, as test libraries replace it

    def _transport_for_url(self, url: httpx.URL) -> httpx.AsyncBaseTransport:
        if self._mounts:
            found = self._find_route(url)
            if found is not self._transport and isinstance(found, PolicyControls):
                return found  # it has policies of its own
        return self._policy_transport

    # The state --------------------------------------------------------------------------------------------------------

    def _find_controls(self, url: str, wanted: str) -> PolicyControls:
        found = self._transport_for_url(httpx.URL(url))
        if not isinstance(found, PolicyControls):
            raise ConfigurationError(f"there is no {wanted} for {origin(url)}; ask for another URL")
        return found

    def _find_keys(self, url: httpx.URL) -> IdempotencyKeys | None:
        bound = getattr(self._transport_for_url(url), "_bound", None)
        return None if bound is None else bound.keys

    def operation(self, url: str, key: str, *, caller: str | None = None) -> Operation:
        """Return the operation of an idempotency key, for the current tenant; see `PolicyAdapter.operation`.

        Args:
            url: A URL of the server that the key was sent to, relative to `base_url` where there is one.
            key: The key.
            caller: The caller that the key belongs to, as `caller` of an IdempotencyError says it; by default the one
                that the headers, `auth` and `cert` of this session tell.

        Raises:
            ConfigurationError: There is no record of keys, or no token yet that tells the caller.
        """
        with self._tenant_scope() as tenant:
            url = self._make_absolute(url, tenant)
            controls = self._find_controls(url, "record of idempotency keys")
            request = None if caller is not None else self._authorize(self.build_request("POST", url), tenant)
            return controls.operation(url, key, caller=caller, request=request, certificate=self._cert)

    def _authorize(self, request: httpx.Request, tenant: str) -> httpx.Request:
        """Return a request with the credential of this session, as far as it is at hand."""
        auth = self._auth
        if auth is None or not self._is_home(request.url, tenant):
            return request
        holder: Any = getattr(auth, "_auth", None)
        if hasattr(holder, "peek_held") and holder.peek_held() is None:
            raise ConfigurationError("operation(): there is no token yet that tells the caller; give caller=")
        return next(auth.sync_auth_flow(request))

    # The end ----------------------------------------------------------------------------------------------------------

    def _require_open(self, request: httpx.Request | None) -> None:
        """Raise an error where the session cannot send: it is closed, or its connections are of another event loop."""
        if self.is_closed:
            error = SessionClosedError(
                "the session is closed, and nothing was sent; make another one, or close it later"
            )
            raise httpx_error(error, request)  # type: ignore[arg-type]
        loop = async_library.find_loop()
        if loop is not self._loop:
            pools = map(find_pool, _list_transports(self))
            if not all(move_to_loop(pool, loop) for pool in pools):
                message = (
                    "the connections of this session are of another event loop, and nothing was sent; make one session "
                    "in each loop, and give all the same store= to share their state"
                )
                raise httpx_error(ConfigurationError(message), request)  # type: ignore[arg-type]
            self._loop = loop

    async def aclose(self) -> None:
        """Close the connections; a call after that raises SessionClosedError."""
        self._policy_transport.is_closed = True
        await super().aclose()
        if self._bare is not None:
            await self._bare.aclose()

    async def __aenter__(self) -> Self:
        self._require_open(None)
        await super().__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self._policy_transport.is_closed = True
        await super().__aexit__(kind, error, traceback)
        if self._bare is not None:
            await self._bare.aclose()

    def __repr__(self) -> str:
        return f"<AsyncSession {strip_url(self._base or '')}>"


def _list_transports(client: httpx.AsyncClient) -> list[Any]:
    return [client._transport, *filter(None, client._mounts.values())]


def _keep_deadlines(client: httpx.AsyncClient) -> None:
    for transport in _list_transports(client):
        keep_deadlines(transport)


def _fit_limits(limits: httpx.Limits | None, size: int) -> httpx.Limits:
    """Return the limits of the pool, large enough for a bulkhead unless they are given."""
    if limits is not None:
        return limits
    usual = 100  # as httpx has it
    return httpx.Limits(max_connections=max(usual, size), max_keepalive_connections=max(20, size))
