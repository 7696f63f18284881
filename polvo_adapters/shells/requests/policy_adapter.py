"""The transport adapter that does as policies say.

Theory of operation. A PolicyAdapter is a `requests.adapters.HTTPAdapter`. Its `send` makes the flow of its
policies, drives it on the calling thread, and hands back the response, or raises the exception, that the flow
ends with. What it sends through is its own connection pool, or any other adapter given as `inner`.

It sits where every adapter sits: below redirects, cookies and `auth`. One hop is one call to it.

Retries do not multiply. Where the policies retry, a urllib3 `Retry` or a retry policy in the adapter below is
left out: not switched off in the adapter itself, which somebody else may be using, but in the view through which
this one sends.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import requests
from requests.adapters import BaseAdapter, HTTPAdapter
from urllib3.util import Retry

from polvo_adapters.context.call import call_started
from polvo_adapters.context.tenant import current_tenant
from polvo_adapters.core.calls import Call
from polvo_adapters.core.effects import Policy, compose
from polvo_adapters.core.report import Entry, Report
from polvo_adapters.drivers.sync import drive
from polvo_adapters.policies.retry import ExponentialBackoff
from polvo_adapters.runtime.clock import SYSTEM, Clock
from polvo_adapters.shells import credential_digest, request_identity
from polvo_adapters.shells.error_notes import attach_report
from polvo_adapters.shells.requests import watched_pools
from polvo_adapters.shells.requests.exchange import RequestsExchange
from polvo_adapters.stores.base import Store
from polvo_adapters.stores.memory import MemoryStore

if TYPE_CHECKING:
    from polvo_adapters.policies.idempotency.policy import IdempotencyKeys
    from polvo_adapters.policies.request_ids import RequestIDs
    from polvo_adapters.shells.circuit_control import Circuit
    from polvo_adapters.shells.operation_control import Operation

DEFAULT_TIMEOUT = 30.0
"""Seconds that an attempt may wait for a connection, and for each next byte, where the caller names no timeout."""

_adapters: weakref.WeakSet[PolicyAdapter] = weakref.WeakSet()


class PolicyAdapter(HTTPAdapter):
    """Send requests as policies say.

    Mount it on any session: `session.mount("https://api.example.com/", PolicyAdapter(Deadline(10)))`.

    Args:
        *policies: The policies, outermost first. None at all makes it an ordinary adapter.
        inner: The adapter to send through; by default this one sends by itself.
        store: Where state lives that outlives a call; by default in the memory of this adapter.
        timeout: Timeout of an attempt where the caller named none, in seconds or as a (connect, read) tuple.
        clock: Time and chance; tests pass a virtual clock.
        **http_adapter_keywords: Those of `requests.adapters.HTTPAdapter`: pool_connections, pool_maxsize,
            pool_block, max_retries. Only without `inner`.

    Raises:
        TypeError: Something that is no policy, an unknown keyword, or pool settings together with `inner`.
    """

    __attrs__ = [*HTTPAdapter.__attrs__, "policies", "inner", "store", "timeout", "clock", "installed"]

    installed: str | None = None

    def __init__(
        self,
        *policies: Policy,
        inner: BaseAdapter | None = None,
        store: Store | None = None,
        timeout: float | tuple[float | None, float | None] | None = None,
        clock: Clock = SYSTEM,
        **http_adapter_keywords: Any,
    ) -> None:
        for policy in policies:
            if not hasattr(policy, "flow"):
                raise TypeError(f"{type(self).__name__}: {policy!r} is not a policy")
        self.policies = policies
        self.inner = inner
        self.store = MemoryStore(now=clock.now) if store is None else store
        self.timeout = timeout
        self.clock = clock
        if inner is None:
            super().__init__(**http_adapter_keywords)
        elif http_adapter_keywords:
            names = ", ".join(http_adapter_keywords)
            raise TypeError(f"{type(self).__name__}: {names} belong to the adapter given as inner")
        self._bind()

    def _bind(self) -> None:
        """Do once what need not be done per call."""
        self._flow = compose(self.policies)
        retries = not any(isinstance(policy, ExponentialBackoff) for policy in self.policies)
        self._below = None if self.inner is None else _below(self.inner, retries=retries)
        if self.inner is None and not retries:
            self.max_retries = watched_pools.NO_RETRY
        self._counts = any(getattr(policy, "counts_credentials", False) for policy in self.policies)
        self._keeps = any(getattr(policy, "keeps_answers", False) for policy in self.policies)
        self._keys: IdempotencyKeys | None = _having(self.policies, "makes_keys")
        self._ids: RequestIDs | None = _having(self.policies, "makes_request_ids")
        self._known_pools = watched_pools.KnownPools()
        _adapters.add(self)

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> requests.Response:
        """Send a prepared request as the policies say; arguments as for `HTTPAdapter.send`.

        Returns:
            The last response, `polvo` telling what was done.

        Raises:
            requests.RequestException: What came from below, with a note and a `polvo` of its own; or a
                PolvoError that a policy put in its place.
        """
        below, keys = self._below, self._keys
        named = request_identity.assign_key(keys, request, current_tenant())
        request_id = "" if self._ids is None else request_identity.assign_request_id(self._ids, request)
        keywords = {
            "stream": stream,
            "timeout": self.timeout if timeout is None else timeout,
            "verify": verify,
            "cert": cert,
            "proxies": proxies,
        }
        # super().send is looked up at every call: mock libraries patch it.
        exchange = RequestsExchange(super().send if below is None else below.send, request, keywords, self.clock)
        entries: list[Entry] = []
        call, began = self._call(request, exchange, cert, named), self.clock.now()
        outcome = drive(self._flow(call), exchange, self.store, self.clock, entries)
        report = Report(call.method, call.host, entries, outcome.note, outcome.quotas, self.clock.now() - began)
        report.request_id = request_id
        if outcome.error is not None:
            exchange.close()
            try:
                raise attach_report(outcome.error, report, request)
            finally:
                del outcome  # or the error, its traceback and this frame would keep each other alive
        if not exchange.owns(outcome):
            exchange.close()  # a later attempt has come to less than the one whose answer this is
        if keys is not None or request_id:
            report.replayed = named.key != "" and keys.replayed(outcome.headers)  # type: ignore[union-attr]  # as below
            request_identity.mark_complete(request, outcome.status)
        response: requests.Response = exchange.made(outcome) if outcome.response is None else outcome.response
        response.polvo = report  # type: ignore[attr-defined]
        response.connection = self  # a replay after 401 must pass the policies as well
        return response

    def _call(
        self, request: requests.PreparedRequest, exchange: RequestsExchange, cert: Any, named: request_identity.Named
    ) -> Call:
        """Return the call that a request is, as the policies see it."""
        started, (key, content) = call_started.get(), named
        at, deadline = (self.clock.now(), None) if started is None else started[1:3]
        return Call(
            request.method or "",
            request.url or "",
            exchange.body,
            at,
            deadline,
            key != "" and self._keys.supported,  # type: ignore[union-attr]  # without keys there is no key
            credential_digest.digest(request.headers.items()) if self._counts else "",
            credential_digest.identity(request.headers.items(), cert) if self._keeps else "",
            tenant=current_tenant(),
            key=key,
            content=content,
            secret_parameters=credential_digest.in_query(request) if content else frozenset(),
        )

    def circuit(self, url: str) -> Circuit:
        """Return the circuit that a URL belongs to, to look at it or to take it in hand.

        Args:
            url: An absolute URL.

        Raises:
            ConfigurationError: There is no circuit breaker among the policies.
        """
        from polvo_adapters.shells.circuit_control import find

        return find(self.policies, self.store, url)

    def operation(self, url: str, key: str) -> Operation:
        """Return what is known of an idempotency key, to look at it or to resolve a doubt.

        Args:
            url: An absolute URL of the server that the key was sent to.
            key: The key.

        Raises:
            ConfigurationError: There is no record of keys among the policies.
        """
        from polvo_adapters.shells.operation_control import find

        return find(self.policies, self.store, url, key)

    def close(self) -> None:
        """Close the connections of this adapter, and of the one that it wraps."""
        if self.inner is None:
            super().close()
        else:
            self.inner.close()

    def get_connection_with_tls_context(
        self, request: requests.PreparedRequest, verify: Any, proxies: Any = None, cert: Any = None
    ) -> Any:
        """Return the pool for a request; see `HTTPAdapter.get_connection_with_tls_context`."""
        if self.inner is not None:
            return self.inner.get_connection_with_tls_context(request, verify, proxies=proxies, cert=cert)  # type: ignore[attr-defined]
        ask = super().get_connection_with_tls_context
        return self._known_pools.pool(self, ask, request, verify=verify, proxies=proxies, cert=cert)

    def init_poolmanager(self, *args: Any, **keywords: Any) -> None:
        """Make the pools that this adapter sends through; see `HTTPAdapter.init_poolmanager`."""
        super().init_poolmanager(*args, **keywords)
        watched_pools.watch_manager(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **keywords: Any) -> Any:
        """Return the pools for a proxy; see `HTTPAdapter.proxy_manager_for`."""
        manager = super().proxy_manager_for(proxy, **keywords)
        watched_pools.watch_manager(manager)
        return manager

    def __getattr__(self, name: str) -> Any:
        # Code that knows the wrapped adapter finds its poolmanager, max_retries and the like here.
        inner = None if name.startswith("_") else self.__dict__.get("inner")
        if inner is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(inner, name)

    def __getstate__(self) -> dict[str, Any]:
        names = self.__attrs__ if self.inner is None else PolicyAdapter.__attrs__
        return {name: self.__dict__[name] for name in names if name in self.__dict__}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if state.get("inner") is None:
            super().__setstate__(state)
        else:
            self.__dict__.update(state)
        self._bind()


def _having(policies: Iterable[Policy], attribute: str) -> Any:
    """Return the first policy that has an attribute, or None."""
    return next((policy for policy in policies if getattr(policy, attribute, False)), None)


def asked_retry(value: Any) -> Retry | None:
    """Return what `max_retries` asks for, or None where it asks for no retry at all."""
    retry = Retry.from_int(value) if isinstance(value, int) else value
    return retry if isinstance(retry, Retry) and (retry.total or 0) > 0 else None


def nested_retry(adapter: BaseAdapter | None) -> ExponentialBackoff | Retry | None:
    """Return how an adapter retries by itself, or None."""
    while isinstance(adapter, PolicyAdapter):
        for policy in adapter.policies:
            if isinstance(policy, ExponentialBackoff):
                return policy
        if adapter.inner is None:
            break
        adapter = adapter.inner
    return asked_retry(getattr(adapter, "max_retries", None))


def _below(adapter: BaseAdapter, *, retries: bool) -> BaseAdapter:
    """Return a view on the wrapped adapter: its pools are watched, and it retries only if it may."""
    if not isinstance(adapter, PolicyAdapter):
        return watched_pools.watched_view(adapter, retries=retries) if isinstance(adapter, HTTPAdapter) else adapter
    if retries or nested_retry(adapter) is None:
        return adapter
    twin = object.__new__(type(adapter))
    twin.__dict__.update(adapter.__dict__)
    twin.policies = tuple(policy for policy in twin.policies if not isinstance(policy, ExponentialBackoff))
    twin._bind()
    if twin.inner is None:
        twin.max_retries = watched_pools.NO_RETRY
    else:
        twin._below = _below(twin.inner, retries=False)
    return twin


def managers(adapter: BaseAdapter) -> list[Any]:
    """Return the urllib3 pool managers of an adapter, those for proxies included."""
    state = vars(adapter)
    proxies = state.get("proxy_manager") or {}
    # Adapters for UNIX sockets keep their pools themselves.
    return [
        each
        for each in (adapter, state.get("poolmanager"), *proxies.values())
        if "pools" in getattr(each, "__dict__", ())
    ]


def _after_fork_in_child() -> None:
    """Leave the sockets to the parent: two processes on one connection would read each other's answers.

    The pools are replaced and not cleared, because clearing takes a lock that another thread of the parent may
    have held at the fork.
    """
    for adapter in _adapters:
        for each in (adapter, adapter.inner):
            for manager in () if each is None else managers(each):
                manager.pools = type(manager.pools)(manager.pools._maxsize, manager.pools.dispose_func)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
