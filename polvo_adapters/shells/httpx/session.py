"""The asynchronous twin of `polvo.Session`, on httpx; needs the extra `httpx`.

It is an `httpx.AsyncClient`, and takes its keywords. What it has of `polvo.Session`, it has by the same keywords and
the same code; with the same `store=` both share what they know of an API: quota, circuits, slots, tokens and keys.

Theory of operation. One transport with the policies sends each hop of a call; below it are the transports that httpx
makes for hosts and proxies. The session notes when the call began, before its token is obtained, so that its deadline
bounds the whole of it.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

try:
    import httpx
except ImportError as error:  # pragma: no cover - tested in an environment without httpx
    from polvo_adapters.runtime.extras import missing_text

    raise ImportError(missing_text("polvo_adapters.AsyncSession", "httpx", "httpx")) from error

from polvo_adapters.context.call import call_started, current_call
from polvo_adapters.context.one_call import call as one_call
from polvo_adapters.context.tenant import current_tenant
from polvo_adapters.core import validate
from polvo_adapters.core.calls import origin
from polvo_adapters.core.setting_kinds import check_settings
from polvo_adapters.drivers.aio import ASYNC_SYSTEM, AsyncClock
from polvo_adapters.errors import ConfigurationError, PolvoError, SessionClosedError
from polvo_adapters.policies.defaults import SESSION_DEFAULTS
from polvo_adapters.policies.one_call import CallOptions
from polvo_adapters.policies.options import StackOptions
from polvo_adapters.policies.stack import pool_size, refuse_unknown_keywords, standard
from polvo_adapters.policies.unknown_keywords import unknown_keyword_error
from polvo_adapters.redaction import strip_url
from polvo_adapters.runtime import async_library
from polvo_adapters.shells.bound_policies import PolicyControls, options_of_all
from polvo_adapters.shells.httpx.cookies import SessionCookies
from polvo_adapters.shells.httpx.errors import httpx_error
from polvo_adapters.shells.httpx.given_auth import AuthWithin, as_httpx_auth
from polvo_adapters.shells.httpx.header_fields import find_field
from polvo_adapters.shells.httpx.json_errors import explain_json
from polvo_adapters.shells.httpx.messages import ResponseView, read_content
from polvo_adapters.shells.httpx.pools import find_pool, keep_deadlines
from polvo_adapters.shells.httpx.senders import sender_of
from polvo_adapters.shells.httpx.session_transport import SessionTransport
from polvo_adapters.shells.httpx.streaming import is_streamed, mark_as_streamed, unmark
from polvo_adapters.shells.httpx.url_reading import parse_as_httpx, read_url
from polvo_adapters.shells.httpx.verbs import AsyncSessionOptions, AsyncVerbs, RequestOptions
from polvo_adapters.shells.session_calls import (
    KINDS,
    SessionCalls,
    make_key_header,
    name_served_host,
    validate_base_url,
    validate_tenancy_of,
)
from polvo_adapters.shells.status_error import find_verdict, raises, status_error
from polvo_adapters.shells.tenancy import Tenancy
from polvo_adapters.shells.tracebacks import drop_frames
from polvo_adapters.shells.urls import make_absolute
from polvo_adapters.stores.base import Store
from polvo_adapters.stores.memory import MemoryStore

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self, Unpack

    from polvo_adapters.core.report import Report
    from polvo_adapters.policies.idempotency import IdempotencyKeys
    from polvo_adapters.shells.downloads import OnChange
    from polvo_adapters.shells.operation_control import Operation

_OWN_KEYWORDS = ("base_url", "auth", "timeout", "tenancy", "store", "raise_for_status", "clock")
_HTTPX_KEYWORDS = frozenset(AsyncSessionOptions.__annotations__) - StackOptions.__annotations__.keys()
_CALL_OPTIONS = frozenset(CallOptions.__annotations__) - {"timeout", "idempotency_key"}  # which have a meaning already
_REQUEST_KEYWORDS = frozenset(RequestOptions.__annotations__) - _CALL_OPTIONS
_NAMES_OF_REQUESTS = {
    "allow_redirects": "follow_redirects=...",
    "stream": "async with session.stream(method, url) as response",
    "proxies": "proxy=... or mounts={...} of the session",
    "proxy": "proxy=... of the session",
    "verify": "verify=... of the session",
    "cert": "cert=... of the session",
    "hooks": "event_hooks={...} of the session",
    "body": "content=...",
    "pool_connections": "limits=httpx.Limits(...)",
    "pool_maxsize": "limits=httpx.Limits(max_connections=...)",
    "inner": "transport=...",
}
_OF_CONNECTIONS = frozenset({"verify", "http1", "http2", "proxy", "mounts", "limits", "trust_env"})
_OF_SENDING = frozenset({"auth", "follow_redirects"})
_PHASES = ("connect", "read", "write", "pool")
_DEFAULT: Any = httpx.USE_CLIENT_DEFAULT
_HTTPX_LOG = logging.getLogger("httpx")
_LARGEST_ERROR = 1 << 16  # bytes of a streamed error that are read for its message


class AsyncSession(SessionCalls, AsyncVerbs):
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
        client = {name: given.pop(name) for name in _HTTPX_KEYWORDS & given.keys()}
        _refuse_names_of_requests(given, type(self).__name__)
        refuse_unknown_keywords(given, type(self).__name__, (*_OWN_KEYWORDS, *_HTTPX_KEYWORDS))
        check_settings(type(self).__name__, {"clock": clock, "raise_for_status": raise_for_status}, KINDS)
        stack: Any = given
        self._base = _validate_base(base_url)
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
            self._bare = httpx.AsyncClient(**{name: client[name] for name in _OF_CONNECTIONS & client.keys()})
            _keep_deadlines(self._bare)
        return SessionTransport(
            *policies,
            find=self._find_route,
            find_without_certificate=None if self._bare is None else self._bare._transport_for_url,
            sender=sender_of(inner, client),
            store=self.store,
            clock=self.clock,
        )

    def _find_route(self, url: httpx.URL) -> httpx.AsyncBaseTransport:
        """Return the transport of httpx for a URL."""
        return super()._transport_for_url(url) if self._mounts else self._transport

    def _transport_for_url(self, url: httpx.URL) -> httpx.AsyncBaseTransport:
        if self._mounts:
            found = self._find_route(url)
            if found is not self._transport and isinstance(found, PolicyControls):
                return found  # it has policies of its own
        return self._policy_transport

    # Requests ---------------------------------------------------------------------------------------------------------

    @property
    def base_url(self) -> httpx.URL:
        """The URL that relative URLs are appended to, as httpx has it: with a slash at its end."""
        return self._base_url

    @base_url.setter
    def base_url(self, url: httpx.URL | str) -> None:
        self._base = _validate_base(url)
        self._base_url = self._enforce_trailing_slash(httpx.URL(self._base or ""))

    def build_request(self, method: str, url: httpx.URL | str, **keywords: Any) -> httpx.Request:
        """Build a request on behalf of its tenant; see `httpx.AsyncClient.build_request`."""
        with self._tenant_scope() as tenant:
            if keywords.get("timeout", _DEFAULT) is not _DEFAULT:
                keywords["timeout"] = as_timeout(keywords["timeout"])
            request = super().build_request(method, self._resolve(url, tenant), **keywords)
            has_credential = find_field(request.headers, b"authorization") is not None
            is_own = has_credential and "authorization" not in httpx.Headers(keywords.get("headers"))
            if is_own and not self._is_home(request.url, tenant):
                del request.headers["authorization"]  # that of the session
            if self.tenancy is not None and tenant and self._is_home(request.url, tenant):
                request.headers.update(self.tenancy.make_headers(tenant))
            return request

    def _resolve(self, url: httpx.URL | str, tenant: str) -> httpx.URL | str:
        if isinstance(url, httpx.URL):
            if url.is_absolute_url and self.tenancy is None:
                return url
            url = str(url)
        if self._base is None and self.tenancy is None:
            return read_url(url) if isinstance(url, str) else url
        absolute: Any = self._make_absolute(url, tenant)
        return read_url(self._add_tenant(absolute, tenant)) if isinstance(absolute, str) else absolute

    def _make_absolute(self, url: str, tenant: str) -> str:
        return make_absolute(url, self._base, tenant, self.tenancy, parse_as_httpx)

    def _add_tenant(self, url: str, tenant: str) -> str:
        return url if self.tenancy is None else self.tenancy.address(url, tenant, self._base, parse=parse_as_httpx)

    def _merge_headers(self, headers: Any = None) -> Any:
        return super()._merge_headers(headers) if headers else self._headers  # of which the request makes a copy

    def _is_home(self, url: httpx.URL, tenant: str) -> bool:
        """Return whether the credentials of the session may go to a URL."""
        base = self._base_url
        if self._base is None:
            return True
        if url.raw_host == base.raw_host and url.port == base.port and url.raw_scheme == base.raw_scheme:
            return True
        return self.tenancy is not None and self.tenancy.is_home(str(url), tenant, self._base, parse=parse_as_httpx)

    def _build_auth(self, auth: Any) -> httpx.Auth | None:
        return super()._build_auth(as_httpx_auth(auth))

    def _redirect_headers(self, request: httpx.Request, url: httpx.URL, method: str) -> httpx.Headers:
        """Return the headers of the request that follows a redirect; of those that leads elsewhere, what may go there.

        That is not the tenant, and not the credential for a proxy, which `requests` takes off as well.
        """
        headers = super()._redirect_headers(request, url, method)
        if origin(str(url)) != origin(str(request.url)):
            headers.pop("proxy-authorization", None)
            if self.tenancy is not None:
                self.tenancy.withdraw(headers)
                headers["Host"] = url.netloc.decode("ascii")
        return headers

    # Calls ------------------------------------------------------------------------------------------------------------

    async def request(self, method: str, url: httpx.URL | str, **keywords: Unpack[RequestOptions]) -> httpx.Response:
        """Send a request; keywords as for `httpx.AsyncClient.request`, `url` relative to `base_url`.

        There are more keywords: `idempotency_key`, for the key of the operation where the session has `idempotency`,
        and those of `polvo_adapters.call`, such as `retry=False`, for what is said for this call alone.

        Returns:
            The response; its `polvo`, and `extensions["polvo"]`, is the report of the call.

        Raises:
            httpx.HTTPError: As httpx does.
            RateLimitError: 429 or another error for want of quota, after all retries.
            QuotaExceededError: The quota of a plan is used up; at once.
            DeadlineExceeded: The deadline is over.
            StatusError: Any status of 400 or above, with `raise_for_status`.
            ConfigurationError: The tenant is missing or does not fit into the request; or the session has no
                `idempotency`, or the key cannot be sent; or the session is that of another event loop.
            SessionClosedError: The session is closed.
        """
        return await self._call(method, url, {**keywords}, stream=False)

    @asynccontextmanager
    async def stream(
        self, method: str, url: httpx.URL | str, **keywords: Unpack[RequestOptions]
    ) -> AsyncIterator[httpx.Response]:
        """Send a request, and leave the body of the response to the block; keywords and errors as for `request`."""
        response = await self._call(method, url, {**keywords}, stream=True)
        try:
            yield response
        finally:
            await response.aclose()

    async def _call(self, method: str, url: Any, keywords: dict[str, Any], *, stream: bool) -> httpx.Response:
        if not _REQUEST_KEYWORDS.issuperset(keywords):
            said: Any = {name: keywords.pop(name) for name in _CALL_OPTIONS & keywords.keys()}
            if said:
                with one_call(**said):
                    return await self._call(method, url, keywords, stream=stream)
            _refuse_unknown(keywords, type(self).__name__)
        key = keywords.pop("idempotency_key", None)
        sending = {name: keywords.pop(name) for name in _OF_SENDING & keywords.keys()}
        timeout = as_timeout(keywords.get("timeout", _DEFAULT))
        try:
            with self._tenant_scope(), self._call_scope(self._longest_of(timeout), begins=True):
                request = self.build_request(method, url, **keywords)
                if key is not None:
                    given = httpx.Headers(keywords.get("headers"))
                    request.headers.update(make_key_header(self._find_keys(request.url), key, given))
                return await self.send(request, stream=stream, **sending)
        except PolvoError as error:
            httpx_error(error, error.request)  # type: ignore[arg-type]  # of what comes before there is none
            raise
        except httpx.HTTPError as error:
            drop_frames(error)
            raise

    def _longest_of(self, timeout: Any) -> float:
        """Return the longest time that one phase of an attempt may take."""
        if timeout is not _DEFAULT:
            return _find_longest(timeout)
        if self._timeout is not self._seen_timeout:
            self._longest, self._seen_timeout = _find_longest(self._timeout), self._timeout
        return self._longest

    async def send(
        self, request: httpx.Request, *, stream: bool = False, auth: Any = _DEFAULT, follow_redirects: Any = _DEFAULT
    ) -> httpx.Response:
        """Send a request as it is; see `httpx.AsyncClient.send`, and `request` for what it raises."""
        self._require_open(request)
        if stream:
            mark_as_streamed(request)
        else:
            unmark(request)
        response: httpx.Response
        outer = current_call()
        begins = outer is not None and outer.session is self and outer.sent  # such as one that a hook sends
        try:
            if outer is not None and outer.session is self and not begins:
                call_started.set(outer._replace(sent=True))  # until the call is over
                response = await self._send_alone(request, current_tenant(), stream, auth, follow_redirects)
            else:
                timeouts = request.extensions.get("timeout")
                longest = self._longest_of(_DEFAULT) if timeouts is None else _longest_part(timeouts.values())
                with self._tenant_scope() as tenant, self._call_scope(longest, sent=True, begins=begins):
                    response = await self._send_alone(request, tenant, stream, auth, follow_redirects)
        except PolvoError as error:
            httpx_error(error, request)
            raise
        except httpx.HTTPError as error:
            drop_frames(error, keeps_first=True)
            raise
        body = read_content(response)
        if body is not None:
            explain_json(response, body)
        return response

    async def _send_alone(
        self, request: httpx.Request, tenant: str, stream: bool, auth: Any, follow_redirects: Any
    ) -> httpx.Response:
        chosen = self._choose_auth(request, auth, tenant)
        response = await super().send(request, stream=stream, auth=chosen, follow_redirects=follow_redirects)
        _show_report(response)
        if response.status_code >= 400:
            await self._judge(response)
        return response

    async def _send_handling_auth(
        self, request: httpx.Request, auth: httpx.Auth, follow_redirects: bool, history: list[httpx.Response]
    ) -> httpx.Response:
        if type(auth) is not httpx.Auth:
            return await super()._send_handling_auth(request, auth, follow_redirects, history)
        return await self._send_handling_redirects(request, follow_redirects, history)  # there is none

    async def _send_single_request(self, request: httpx.Request) -> httpx.Response:
        # What httpx does here is to log the call and to look after a body that is still to be read.
        transport = self._transport_for_url(request.url)
        if transport is not self._policy_transport or is_streamed(request) or not _is_quiet(request):
            return await super()._send_single_request(request)
        try:
            response = await self._policy_transport.handle_async_request(request)
        except httpx.RequestError as error:
            error.request = request
            raise
        if not response.is_closed:
            await response.aread()
        self._cookies.extract_cookies(response)
        response.default_encoding = self._default_encoding
        return response

    async def _judge(self, response: httpx.Response) -> None:
        """Raise the error that a response with an error status stands for, if it is one here."""
        report: Report | None = response.extensions.get("polvo")
        verdict = None if report is None else report.verdict
        if verdict is None:
            verdict = find_verdict(ResponseView(response))
        if raises(response.status_code, verdict, raise_for_status=self.raise_for_status):
            await _finish(response)
            error: Any = status_error(ResponseView(response), verdict)
            error.response = response
            try:
                raise httpx_error(error, response.request)
            finally:
                del error  # see errors.py, "Errors and frames"

    def _choose_auth(self, request: httpx.Request, auth: Any, tenant: str) -> httpx.Auth | None:
        """Return the auth object for a request, which waits no longer than the deadline of the call."""
        if auth is _DEFAULT:
            auth = self._auth
            if auth is not None and self._base is not None and not self._is_home(request.url, tenant):
                return None
        else:
            auth = self._build_auth(auth)
        if auth is None or type(auth).__module__.startswith("httpx."):
            found: httpx.Auth | None = auth
            return found
        logical = current_call()
        deadline = None if logical is None else logical.deadline
        return auth if deadline is None else AuthWithin(auth, deadline, self.clock)

    async def download(
        self,
        url: httpx.URL | str,
        path: str | os.PathLike[str],
        *,
        on_change: OnChange = "restart",
        progress: Callable[[int, int | None], object] | None = None,
        **keywords: Unpack[RequestOptions],
    ) -> Path:
        """Download a URL to a file, which appears once it is whole, or not at all; as `polvo.Session` does.

        The file is written on another thread. A download that is cancelled keeps what has come, as one that fails.

        Args:
            url: The URL, relative to `base_url` where there is one.
            path: The file, which is replaced where it exists; or a directory, in which it gets the name at the end of
                the URL.
            on_change: "restart" to begin anew where the entity changes while it is downloaded, or has changed since the
                call that left its beginning; "fail" to raise.
            progress: A function, or a coroutine function, that is called with the number of bytes that are there, and
                of those that there will be, which is None where the server does not say. What it raises ends the
                download.
            **keywords: Those of `get`; `resume=False` for one that does not go on.

        Returns:
            The path of the file.

        Raises:
            httpx.HTTPError: As `get` does, and where the body breaks off and does not go on.
            StatusError: The status is 400 or above, or another that comes without a file.
            EntityChangedError: The entity has changed, and `on_change` is "fail"; or it changes again and again.
            ConfigurationError: The path is a directory, and the URL does not end in a name.
            OSError: The file cannot be written.
        """
        from polvo_adapters.shells.httpx.download import download

        given: dict[str, Any] = {"resume": True, **keywords}
        headers = given.pop("headers", None)

        def get(headers: httpx.Headers) -> Awaitable[httpx.Response]:
            return self._call("GET", url, {**given, "headers": headers}, stream=True)

        try:
            with self._tenant_scope() as tenant, self._call_scope(None):  # each part has its own default deadline
                absolute = self._make_absolute(str(url), tenant)
                options: Any = {"on_change": on_change, "progress": progress, "headers": headers}
                return (await download(get, _finish, self.clock, absolute, path, **options)).path
        except PolvoError as error:
            httpx_error(error, error.request)  # type: ignore[arg-type]
            raise

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
            if self._loop is not None and any(map(_has_connections, _list_transports(self))):
                message = (
                    "the connections of this session are of another event loop, and nothing was sent; make one session "
                    "in each loop, and give all the same store= to share their state"
                )
                raise httpx_error(ConfigurationError(message), request)  # type: ignore[arg-type]
            self._loop = loop

    async def aclose(self) -> None:
        """Close the connections; a call after that raises SessionClosedError."""
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
        await super().__aexit__(kind, error, traceback)
        if self._bare is not None:
            await self._bare.aclose()

    def __repr__(self) -> str:
        return f"<AsyncSession {strip_url(self._base or '')}>"


def as_timeout(value: Any) -> Any:
    """Return a timeout as httpx has it, for seconds, a (connect, read) tuple, one of httpx, or None.

    Raises:
        TypeError: It is none of these.
        ValueError: It is not more than 0.
    """
    if value is _DEFAULT or isinstance(value, httpx.Timeout):
        return value
    if isinstance(value, tuple) and len(value) == len(_PHASES):
        return httpx.Timeout(value)
    parts = validate.timeout("timeout", value)
    if not isinstance(parts, tuple):
        return httpx.Timeout(parts)
    connect, read = parts
    return httpx.Timeout(connect=connect, read=read, write=read, pool=connect)


def _find_longest(timeout: httpx.Timeout) -> float:
    return _longest_part((timeout.connect, timeout.read, timeout.write, timeout.pool))


def _longest_part(parts: Iterable[float | None]) -> float:
    return max((math.inf if part is None else part for part in parts), default=math.inf)


def _validate_base(url: Any) -> str | None:
    return validate_base_url((str(url) or None) if isinstance(url, httpx.URL) else url)


def _refuse_names_of_requests(given: Mapping[str, Any], owner: str) -> None:
    for name in given:
        if name in _NAMES_OF_REQUESTS:
            raise TypeError(f"{owner}: there is no keyword {name}; use {_NAMES_OF_REQUESTS[name]}")


def _refuse_unknown(keywords: Mapping[str, Any], owner: str) -> None:
    """Raise TypeError for a keyword of a call that there is not."""
    _refuse_names_of_requests(keywords, owner)
    known = {*_REQUEST_KEYWORDS, *_CALL_OPTIONS}
    for name in keywords.keys() - known:
        raise unknown_keyword_error(owner, name, known, {})


def _is_quiet(request: httpx.Request) -> bool:
    """Return whether httpx logs no calls, and the body of a request is one that a task can send."""
    return type(request.stream) is httpx.ByteStream and not _HTTPX_LOG.isEnabledFor(logging.INFO)


def _list_transports(client: httpx.AsyncClient) -> list[Any]:
    return [client._transport, *filter(None, client._mounts.values())]


def _keep_deadlines(client: httpx.AsyncClient) -> None:
    for transport in _list_transports(client):
        keep_deadlines(transport)


def _has_connections(transport: Any) -> bool:
    pool = find_pool(transport)
    return pool is not None and bool(pool.connections or getattr(pool, "_requests", ()))


def _fit_limits(limits: httpx.Limits | None, size: int) -> httpx.Limits:
    """Return the limits of the pool, large enough for a bulkhead unless they are given."""
    if limits is not None:
        return limits
    usual = 100  # as httpx has it
    return httpx.Limits(max_connections=max(usual, size), max_keepalive_connections=max(20, size))


def _show_report(response: httpx.Response) -> None:
    """Put the reports on the response and on the redirects before it, where those of `requests` have them."""
    for each in (*response.history, response):
        report = each.extensions.get("polvo")
        if report is not None:
            each.polvo = report  # type: ignore[attr-defined]


async def _finish(response: httpx.Response) -> None:
    """Read the body of an error that is streamed, if it is short, and close the response."""
    if response.is_stream_consumed or read_content(response) is not None:
        return
    length = response.headers.get("content-length", "")
    try:
        if length.isdecimal() and int(length[:20]) <= _LARGEST_ERROR:
            await response.aread()
    except httpx.HTTPError:
        pass  # the error says what it can without
    finally:
        await response.aclose()
