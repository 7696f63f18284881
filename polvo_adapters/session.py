"""A session for new code: base URL, time-outs and resilience by keyword, and errors that say what to do.

It owns its redirects, so that a deadline here covers the whole logical call: every hop starts from the moment the
call began. A 429 that outlives the retries raises RateLimitError here, where a mounted adapter returns it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import requests
from requests.auth import AuthBase

from polvo_adapters import headers
from polvo_adapters.adapters import DEFAULT_TIMEOUT, CallStart, PolicyAdapter, ResilientAdapter, call_started
from polvo_adapters.clock import SYSTEM, Clock
from polvo_adapters.errors import ConfigurationError, error_for_status
from polvo_adapters.flow import origin
from polvo_adapters.policies.deadline import Deadline
from polvo_adapters.policies.stack import RetryLike
from polvo_adapters.stores.base import Store
from polvo_adapters.stores.memory import MemoryStore

if TYPE_CHECKING:
    from polvo_adapters.circuit import Circuit
    from polvo_adapters.policies.stack import (
        BulkheadLike,
        CircuitBreakerLike,
        FallbackLike,
        HedgeLike,
        RateLimitLike,
        RegionsLike,
    )

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
        store: Where state lives that outlives a call; share it between sessions to share it.
        raise_for_status: Raise a StatusError for every status of 400 or above.
        clock: Time and chance; tests pass a virtual clock.

    Raises:
        ValueError: A value is out of range.
    """

    __attrs__ = [*requests.Session.__attrs__, "base_url", "timeout", "raise_for_status", "clock"]

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
        timeout: Any = DEFAULT_TIMEOUT,
        deadline: float | Deadline | None = None,
        store: Store | None = None,
        raise_for_status: bool = False,
        clock: Clock = SYSTEM,
    ) -> None:
        super().__init__()
        self.base_url = base_url
        self.auth = auth
        self.timeout = timeout
        self.raise_for_status = raise_for_status
        self.clock = clock
        self._mount(
            retry=retry,
            deadline=deadline,
            rate_limit=rate_limit,
            circuit_breaker=circuit_breaker,
            bulkhead=bulkhead,
            hedge=hedge,
            fallback=fallback,
            regions=regions,
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

        Returns:
            The response; `polvo` tells what was done for it.

        Raises:
            requests.RequestException: As `requests` does.
            RateLimitError: 429, after all retries.
            DeadlineExceeded: The deadline is over.
            StatusError: Any status of 400 or above, where the session was told to raise.
        """
        url = self._absolute(url)
        if self.base_url is not None and origin(url) != origin(self.base_url):
            auth = _no_auth if auth is None and self.auth is not None else auth
            headers = {"Authorization": None, **(headers or {})}
        if timeout is _UNSET:
            timeout = self.timeout
        return super().request(method, url, params, data, headers, cookies, files, auth, timeout, *args, **keywords)

    def send(self, request: requests.PreparedRequest, **keywords: Any) -> requests.Response:
        """Send a prepared request; arguments as for `requests.Session.send`."""
        current = call_started.get()
        if current is not None and current.session is self:
            return super().send(request, **keywords)  # a hop of the call that is under way
        token = call_started.set(CallStart(self, self.clock.now()))
        try:
            response = super().send(request, **keywords)
        finally:
            call_started.reset(token)
        if response.status_code == 429 or (self.raise_for_status and response.status_code >= 400):
            raise _status_error(response)
        return response

    def circuit(self, url: str = "") -> Circuit:
        """Return the circuit that a URL belongs to, to look at it or to take it in hand.

        Args:
            url: A URL, relative to `base_url` where there is one.

        Raises:
            ConfigurationError: There is no circuit breaker for it.
        """
        url = self._absolute(url)
        adapter = self.get_adapter(url)
        if not isinstance(adapter, PolicyAdapter):
            raise ConfigurationError(
                f"there is no circuit breaker for {origin(url)}; mount one, or ask for another URL"
            )
        return adapter.circuit(url)

    def _absolute(self, url: str) -> str:
        if self.base_url is None or not isinstance(url, str) or "://" in url.partition("?")[0]:
            return url
        if url.startswith("?") or not url:
            return self.base_url + url
        return f"{self.base_url.rstrip('/')}/{url.lstrip('/')}"


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
