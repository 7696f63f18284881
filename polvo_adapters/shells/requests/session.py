"""A session for new code: base URL, time-outs and resilience by keyword, and errors that say what to do.

It owns its redirects, so that a deadline here covers the whole logical call: every hop starts from the moment the
call began. A 429 that outlives the retries raises RateLimitError here, where a mounted adapter returns it.

A call is made on behalf of one tenant from its preparation to its last hop, whatever is set meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

import requests
from requests._internal_utils import to_native_string
from requests.auth import AuthBase

from polvo_adapters import headers
from polvo_adapters.context.call import LogicalCall, call_started
from polvo_adapters.context.tenant import TenantScope, tenant_scope_for, validate_tenant
from polvo_adapters.core.calls import origin
from polvo_adapters.errors import ConfigurationError, error_for_status
from polvo_adapters.policies.deadline import Deadline
from polvo_adapters.policies.stack import RetryLike
from polvo_adapters.runtime.clock import SYSTEM, Clock
from polvo_adapters.shells.request_identity import format_key
from polvo_adapters.shells.requests.policy_adapter import DEFAULT_TIMEOUT, PolicyAdapter
from polvo_adapters.shells.requests.resilient_adapter import ResilientAdapter
from polvo_adapters.shells.requests.tenancy import Tenancy
from polvo_adapters.shells.requests.urls import origin_as_sent
from polvo_adapters.stores.base import Store
from polvo_adapters.stores.memory import MemoryStore

if TYPE_CHECKING:
    from polvo_adapters.policies.stack import (
        BulkheadLike,
        CircuitBreakerLike,
        FallbackLike,
        HedgeLike,
        IdempotencyLike,
        RateLimitLike,
        RegionsLike,
        RequestIDLike,
    )
    from polvo_adapters.shells.circuit_control import Circuit
    from polvo_adapters.shells.operation_control import Operation

_UNSET: Any = object()


class Session(requests.Session):
    """A `requests.Session` that is resilient from the start.

    Args:
        base_url: What relative URLs are appended to. With one, `auth` and an `Authorization` header of the
            session go to its origin only, not to other hosts given as absolute URLs.
        auth: As for `requests`: a (user, password) tuple or an auth object.
        retry: True for the defaults, False for none, an ExponentialBackoff, a mapping of its keywords, or a
            urllib3 `Retry`.
        timeout: Seconds that an attempt may wait for a connection, and for each next byte, where the call
            names no timeout of its own; None for no limit.
        deadline: Seconds for a whole call: attempts, waits, redirects and body.
        rate_limit: "adaptive" to read the quota from the answers, a TokenBucket or SlidingWindow to keep to one that
            you know, an Adaptive or a mapping of its keywords, or None.
        circuit_breaker: True for the defaults, a CircuitBreaker, a mapping of its keywords, or None.
        bulkhead: How many calls at a time, "adaptive" to find out, a Bulkhead or a mapping of its keywords, or None.
        hedge: True to send a late call a second time, after how many seconds, a Hedge or a mapping of its keywords,
            or None.
        fallback: "stale" for the last good response, what else to use in place of a failure, a Fallback, or None.
        regions: Base URLs of the same service, a Regions or a mapping of its keywords, or None.
        idempotency: True for a key per call by which the server tells a repeat from a second order, "hash", an
            IdempotencyKeys or a mapping of its keywords, or None. Then POST and PATCH are retried as well.
        request_id: True for an `X-Request-ID` per call, the name of another header, a RequestIDs, or None.
        tenancy: Where requests say on whose behalf they are sent, or None where the tenant only selects state.
        store: Where state lives that outlives a call; share it between sessions to share it.
        raise_for_status: Raise a StatusError for every status of 400 or above.
        clock: Time and chance; tests pass a virtual clock.

    Raises:
        ValueError: A value is out of range.
        ConfigurationError: Regions would take the place of a host that names the tenant.
    """

    __attrs__ = [
        *requests.Session.__attrs__,
        "base_url",
        "timeout",
        "tenancy",
        "raise_for_status",
        "clock",
        "_tenant",
        "_seconds",
    ]

    tenancy: Tenancy | None = None
    _tenant = ""
    _seconds: float | None = None

    def __init__(
        self,
        base_url: str | None = None,
        auth: Any = None,
        *,
        retry: RetryLike = True,
        rate_limit: RateLimitLike = None,
        circuit_breaker: CircuitBreakerLike = None,
        bulkhead: BulkheadLike = None,
        hedge: HedgeLike = None,
        fallback: FallbackLike = None,
        regions: RegionsLike = None,
        idempotency: IdempotencyLike = None,
        request_id: RequestIDLike = None,
        timeout: Any = DEFAULT_TIMEOUT,
        deadline: float | Deadline | None = None,
        tenancy: Tenancy | None = None,
        store: Store | None = None,
        raise_for_status: bool = False,
        clock: Clock = SYSTEM,
    ) -> None:
        super().__init__()
        self.base_url = base_url
        self.auth = auth
        self.timeout = timeout
        self.tenancy = _usable(tenancy, regions)
        self.raise_for_status = raise_for_status
        self.clock = clock
        self._seconds = deadline.seconds if isinstance(deadline, Deadline) else deadline
        self._mount(
            retry=retry,
            deadline=deadline,
            rate_limit=rate_limit,
            circuit_breaker=circuit_breaker,
            bulkhead=bulkhead,
            hedge=hedge,
            fallback=fallback,
            regions=regions,
            idempotency=idempotency,
            request_id=request_id,
            store=MemoryStore(now=clock.now) if store is None else store,
        )

    def _mount(self, **keywords: Any) -> None:
        for prefix in self.adapters:
            self.adapters[prefix] = ResilientAdapter(**keywords, timeout=None, clock=self.clock)

    def request(  # type: ignore[override]  # the same, but a timeout of None means none here
        self,
        method: str,
        url: str,
        params: Any = None,
        data: Any = None,
        headers: Mapping[str, Any] | None = None,
        cookies: Any = None,
        files: Any = None,
        auth: Any = None,
        timeout: Any = _UNSET,
        *args: Any,
        **keywords: Any,
    ) -> requests.Response:
        """Send a request; arguments as for `requests.Session.request`, `url` relative to `base_url`.

        There is one more keyword, `idempotency_key`, for the key of the operation where the session has `idempotency`.

        Returns:
            The response; `polvo` tells what was done for it.

        Raises:
            requests.RequestException: As `requests` does.
            RateLimitError: 429, after all retries.
            DeadlineExceeded: The deadline is over.
            StatusError: Any status of 400 or above, where the session was told to raise.
            ConfigurationError: The tenant does not fit where it is to be written, or there has to be one; or the
                session has no `idempotency`, or the key cannot be sent.
        """
        key = keywords.pop("idempotency_key", None)
        if timeout is _UNSET:
            timeout = self.timeout
        with self._on_behalf() as tenant, self._begun():
            url = self._absolute(url, tenant)
            if not self._is_home(url, tenant):
                auth = _no_auth if auth is None and self.auth is not None else auth
                headers = {"Authorization": None, **(headers or {})}
            if key is not None:
                headers = self._keyed(url, key, headers or {})
            return super().request(method, url, params, data, headers, cookies, files, auth, timeout, *args, **keywords)

    def prepare_request(self, request: requests.Request) -> requests.PreparedRequest:
        """Prepare a request, for its tenant where there is one; see `requests.Session.prepare_request`."""
        with self._on_behalf() as tenant:
            if self.tenancy is not None:
                request = self.tenancy.applied(request, tenant, self.base_url)
            return super().prepare_request(request)

    def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        """Keep credentials, and the tenant, from another origin that a redirect leads to."""
        super().rebuild_auth(prepared_request, response)
        before, after = response.request.url or "", prepared_request.url or ""
        if self.tenancy is not None and self.should_strip_auth(before, after):
            self.tenancy.withdraw(prepared_request.headers)

    def send(self, request: requests.PreparedRequest, **keywords: Any) -> requests.Response:
        """Send a prepared request; arguments as for `requests.Session.send`."""
        current = call_started.get()
        if current is not None and current.session is self and current.sent:
            return super().send(request, **keywords)  # a hop of the call that is under way
        with self._on_behalf(), self._begun(sent=True):
            response = super().send(request, **keywords)
        if response.status_code == 429 or (self.raise_for_status and response.status_code >= 400):
            raise _status_error(response)
        return response

    @contextmanager
    def _begun(self, *, sent: bool = False) -> Iterator[None]:
        """Note when the call began: before its token is obtained, where it needs one, and not only when it is sent."""
        outer, now = call_started.get(), self.clock.now()
        if outer is not None and outer.session is self:
            start = outer._replace(sent=sent)
        else:  # within a call of another session's, this one is over when that one is
            start = LogicalCall(self, now, _earlier(outer, self._seconds, now), sent)
        token = call_started.set(start)
        try:
            yield
        finally:
            call_started.reset(token)

    def set_tenant(self, identifier: str | int | None) -> None:
        """Make the calls of this session on behalf of a tenant, where no `with` block says otherwise.

        All threads that use the session see it. Where several do, use `with session.tenant(...)`, which holds in one
        thread or task only.

        Args:
            identifier: Name or number of the tenant; None for none.

        Raises:
            ConfigurationError: It cannot be the name of a tenant.
        """
        self._tenant = "" if identifier is None else validate_tenant(identifier)

    def tenant(self, identifier: str | int) -> TenantScope:
        """Make the calls of this session, and of no other, within a `with` block on behalf of a tenant.

        Args:
            identifier: Name or number of the tenant; see `polvo_adapters.tenant`, whose blocks hold for all sessions.

        Raises:
            ConfigurationError: It cannot be the name of a tenant.
        """
        return TenantScope(validate_tenant(identifier), self)

    def _on_behalf(self) -> AbstractContextManager[str]:
        """Return the block of a call for the tenant of this moment."""
        return tenant_scope_for(self, self._tenant, required=self.tenancy is not None and self.tenancy.required)

    def circuit(self, url: str = "") -> Circuit:
        """Return the circuit that a URL belongs to, to look at it or to take it in hand.

        Each tenant has circuits of its own; this is that of the tenant for whom a call would be made now.

        Args:
            url: A URL, relative to `base_url` where there is one.

        Raises:
            ConfigurationError: There is no circuit breaker for it.
        """
        with self._on_behalf() as tenant:
            url = self._absolute(url, tenant)
            if self.tenancy is not None:
                url = self.tenancy.address(url, tenant, self.base_url)
            return self._circuit(url)

    def operation(self, url: str, key: str) -> Operation:
        """Return what is known of an idempotency key, to look at it or to resolve a doubt.

        Args:
            url: A URL of the server that the key was sent to, relative to `base_url` where there is one.
            key: The key; it is that of the tenant for whom a call would be made now.

        Raises:
            ConfigurationError: There is no record of keys.
        """
        with self._on_behalf() as tenant:
            url = self._absolute(url, tenant)
            adapter = self.get_adapter(url)
            if not isinstance(adapter, PolicyAdapter):
                raise ConfigurationError(f"there is no record of idempotency keys for {origin(url)}; mount one")
            return adapter.operation(url, key)

    def _keyed(self, url: str, key: str, headers: Mapping[str, Any]) -> dict[str, Any]:
        """Return the headers with an idempotency key."""
        keys = getattr(self.get_adapter(url), "_keys", None)
        if keys is None:
            raise ConfigurationError("idempotency_key: this session knows no keys; make it with idempotency=True")
        if keys.header.lower() in (to_native_string(name).lower() for name in headers):
            raise ConfigurationError(f"idempotency_key: {keys.header} is among the headers as well; give one of them")
        return {**headers, keys.header: format_key(keys, key)}

    def _circuit(self, url: str) -> Circuit:
        adapter = self.get_adapter(url)
        if not isinstance(adapter, PolicyAdapter):
            raise ConfigurationError(
                f"there is no circuit breaker for {origin(url)}; mount one, or ask for another URL"
            )
        return adapter.circuit(url)

    def _absolute(self, url: str, tenant: str) -> str:
        if self.base_url is None or not isinstance(url, str) or "://" in url.partition("?")[0]:
            return url
        if url.startswith("?") or not url:
            url = self.base_url + url
        else:
            url = f"{self.base_url.rstrip('/')}/{url.lstrip('/')}"
        return url if self.tenancy is None else self.tenancy.address(url, tenant, self.base_url, relative=True)

    def _is_home(self, url: str, tenant: str) -> bool:
        """Tell whether a URL is one that the session's credentials are for."""
        if self.base_url is None or (isinstance(url, str) and url.startswith(self.base_url.rstrip("/") + "/")):
            return True
        if self.tenancy is not None:
            return self.tenancy.is_home(url, tenant, self.base_url)
        return origin_as_sent(url) == origin_as_sent(self.base_url)


def _earlier(outer: LogicalCall | None, seconds: float | None, now: float) -> float | None:
    """Return the deadline of a call that has so many seconds, and may be part of another."""
    ends = [] if outer is None or outer.deadline is None else [outer.deadline]
    if seconds is not None:
        ends.append(now + seconds)
    return min(ends, default=None)


def _usable(tenancy: Any, regions: object) -> Tenancy | None:
    """Return the tenancy, or raise an error where it cannot work."""
    if tenancy is None:
        return None
    if not isinstance(tenancy, Tenancy):
        raise TypeError(f"tenancy={tenancy!r}: expected Tenancy(...) or None")
    if tenancy.names_host and regions is not None:
        raise ConfigurationError(
            f"tenancy={tenancy!r}: the regions are other hosts, which would not know the tenant; use header or path"
        )
    return tenancy


class _NoAuth(AuthBase):
    """Keeps the session's credentials, and a netrc file's, from a host that they are not for."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


_no_auth = _NoAuth()


def _status_error(response: requests.Response) -> Exception:
    status, reason = response.status_code, response.reason
    delay = headers.retry_after(response.headers, time.time())
    report = getattr(response, "polvo", None)
    host = (response.url or "").partition("://")[2].partition("/")[0].rpartition("@")[2]
    method = response.request.method
    attempts = len(report.attempts) if report is not None else 1
    tries = f" after {attempts} attempts" if attempts > 1 else ""
    advice = "" if delay is None else f"; call again after {delay:g} s"
    return error_for_status(status)(
        f"{method} {host}: {status} {reason or ''}".rstrip() + tries + advice,
        request=response.request,
        response=response,
        host=host,
        attempts=attempts,
        retry_after=delay,
    )
