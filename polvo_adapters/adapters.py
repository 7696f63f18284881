"""Transport adapters for `requests`, and how to put them into a session that already exists.

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
from contextvars import ContextVar
from dataclasses import fields
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import requests
from requests.adapters import BaseAdapter, HTTPAdapter
from urllib3.util import Retry

from polvo_adapters import connections, credentials
from polvo_adapters.clock import SYSTEM, Clock
from polvo_adapters.drive.sync import drive
from polvo_adapters.events import Entry, Report
from polvo_adapters.exchange import Exchange
from polvo_adapters.explain import explained
from polvo_adapters.flow import Call, Policy, compose
from polvo_adapters.policies.deadline import Deadline
from polvo_adapters.policies.retry import ExponentialBackoff
from polvo_adapters.policies.stack import RetryLike, rate_limit_policy, retry_policy, standard
from polvo_adapters.stores.base import Store
from polvo_adapters.stores.memory import MemoryStore

if TYPE_CHECKING:
    from polvo_adapters.policies.ratelimit import RateLimitLike

AnySession = TypeVar("AnySession", bound=requests.Session)

DEFAULT_TIMEOUT = 30.0
"""Seconds that an attempt may wait for a connection, and for each next byte, where the caller names no timeout."""


class CallStart(NamedTuple):
    """When a logical call began, and the session that owns its redirects."""

    session: requests.Session
    at: float


call_started: ContextVar[CallStart | None] = ContextVar("call_started", default=None)
"""The logical call that the next sends are hops of, where a session owns it."""

_RETRY_KEYWORDS = frozenset(field.name for field in fields(ExponentialBackoff))
_RATE_LIMIT_KEYWORDS = frozenset({"pace", "max_wait", "judge"})

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
        self._arrange()

    def _arrange(self) -> None:
        """Do once what need not be done per call."""
        self._flow = compose(self.policies)
        retries = not any(isinstance(policy, ExponentialBackoff) for policy in self.policies)
        self._below = None if self.inner is None else _below(self.inner, retries=retries)
        if self.inner is None and not retries:
            self.max_retries = connections.NO_RETRY
        self._counts = any(getattr(policy, "counts_credentials", False) for policy in self.policies)
        self._keeps = any(getattr(policy, "keeps_answers", False) for policy in self.policies)
        self._known_pools = connections.KnownPools()
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
        clock, below = self.clock, self._below
        keywords = {
            "stream": stream,
            "timeout": self.timeout if timeout is None else timeout,
            "verify": verify,
            "cert": cert,
            "proxies": proxies,
        }
        # super().send is looked up at every call: mock libraries patch it.
        exchange = Exchange(super().send if below is None else below.send, request, keywords, clock)
        started = call_started.get()
        at = clock.now() if started is None else started.at
        credential = credentials.digest(request.headers.items()) if self._counts else ""
        identity = credentials.identity(request.headers.items(), cert) if self._keeps else ""
        call = Call(request.method or "", request.url or "", exchange.body, at, None, False, credential, identity)
        entries: list[Entry] = []
        began = clock.now()
        outcome = drive(self._flow(call), exchange, self.store, clock, entries)
        report = Report(call.method, call.host, entries, outcome.note, outcome.quotas, clock.now() - began)
        if outcome.error is not None:
            exchange.close()
            try:
                raise explained(outcome.error, report, request)
            finally:
                del outcome  # or the error, its traceback and this frame would keep each other alive
        response: requests.Response = exchange.made(outcome) if outcome.response is None else outcome.response
        response.polvo = report  # type: ignore[attr-defined]
        response.connection = self  # a replay after 401 must pass the policies as well
        return response

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
        connections.watch_manager(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **keywords: Any) -> Any:
        """Return the pools for a proxy; see `HTTPAdapter.proxy_manager_for`."""
        manager = super().proxy_manager_for(proxy, **keywords)
        connections.watch_manager(manager)
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
        self._arrange()


class ResilientAdapter(PolicyAdapter):
    """The standard stack: a total deadline, retries within it, and a rate limit for each attempt.

    Mount it where one host misbehaves: `session.mount("https://api.example.com/", ResilientAdapter())`.

    Args:
        retry: True for the defaults, False for none, an ExponentialBackoff, a mapping of its keywords, or a
            urllib3 `Retry`. With True, a `Retry` found in `inner` or given as `max_retries` is translated and
            used.
        deadline: Seconds for the whole call, waits included; None for no limit.
        rate_limit: "adaptive" to read the quota from the answers, a TokenBucket or SlidingWindow to keep to one that
            you know, an Adaptive or a mapping of its keywords, or None.
        inner: The adapter to send through.
        store: Where state lives; share it to share the retry budget and the rate limit.
        timeout: Timeout of an attempt where the caller named none; None for no limit.
        clock: Time and chance.
        **http_adapter_keywords: Those of `requests.adapters.HTTPAdapter`, without `inner`.
    """

    def __init__(
        self,
        retry: RetryLike = True,
        deadline: float | Deadline | None = None,
        *,
        rate_limit: RateLimitLike = None,
        inner: BaseAdapter | None = None,
        store: Store | None = None,
        timeout: float | tuple[float | None, float | None] | None = DEFAULT_TIMEOUT,
        clock: Clock = SYSTEM,
        **http_adapter_keywords: Any,
    ) -> None:
        if retry is True:
            retry = _nested_retry(inner) or _asked_retry(http_adapter_keywords.get("max_retries")) or True
        policies = standard(retry=retry, deadline=deadline, rate_limit=rate_limit)
        super().__init__(*policies, inner=inner, store=store, timeout=timeout, clock=clock, **http_adapter_keywords)


class RetryAdapter(PolicyAdapter):
    """Retries alone.

    Args:
        policy: An ExponentialBackoff or a urllib3 `Retry`; by default one made of the keywords.
        inner: The adapter to send through.
        store: Where the retry budget lives.
        **keywords: Those of ExponentialBackoff, of PolicyAdapter and of `requests.adapters.HTTPAdapter`.
    """

    def __init__(
        self,
        policy: ExponentialBackoff | Retry | None = None,
        *,
        inner: BaseAdapter | None = None,
        store: Store | None = None,
        **keywords: Any,
    ) -> None:
        own = {name: keywords.pop(name) for name in list(keywords) if name in _RETRY_KEYWORDS}
        if policy is None:
            policy = ExponentialBackoff(**own)
        elif own:
            raise TypeError(f"RetryAdapter: {', '.join(own)} beside a policy; give one or the other")
        made = retry_policy(policy)
        if made is None:
            raise TypeError(f"RetryAdapter: {policy!r} is no retry policy")
        super().__init__(made, inner=inner, store=store, **keywords)


class RateLimitAdapter(PolicyAdapter):
    """A rate limit alone: no request before its time.

    Args:
        policy: "adaptive" to read the quota from the answers, or a policy; by default an Adaptive made of the
            keywords.
        inner: The adapter to send through.
        store: Where the state lives; share it to share the quota between adapters.
        **keywords: Those of Adaptive, of PolicyAdapter and of `requests.adapters.HTTPAdapter`.
    """

    def __init__(
        self,
        policy: RateLimitLike = None,
        *,
        inner: BaseAdapter | None = None,
        store: Store | None = None,
        **keywords: Any,
    ) -> None:
        own = {name: keywords.pop(name) for name in list(keywords) if name in _RATE_LIMIT_KEYWORDS}
        if own and policy is not None and policy != "adaptive":
            raise TypeError(f"RateLimitAdapter: {', '.join(own)} beside a policy; give one or the other")
        made = rate_limit_policy(own if policy is None or own else policy)
        if made is None:
            raise TypeError(f"RateLimitAdapter: {policy!r} is no rate limit")
        super().__init__(made, inner=inner, store=store, **keywords)


def install(
    session: AnySession, *policies: Policy, prefix: str | None = None, store: Store | None = None, **keywords: Any
) -> AnySession:
    """Make a session resilient by wrapping the adapters that it has, whatever they are.

    Args:
        session: Any `requests.Session`, in use or new.
        *policies: Policies, outermost first; by default the standard stack.
        prefix: Where to wrap, such as "https://api.example.com/"; by default everything that is mounted. A
            prefix that is not mounted is mounted over the adapter that serves it now.
        store: Where state lives; by default one memory store for all that is wrapped.
        **keywords: Those of ResilientAdapter, or of PolicyAdapter where policies are given.

    Returns:
        The same session. Installing again replaces what was installed before.

    Raises:
        requests.exceptions.InvalidSchema: No adapter serves the prefix.
    """
    store = MemoryStore(now=keywords.get("clock", SYSTEM).now) if store is None else store
    wrapped: dict[str, PolicyAdapter] = {}
    for place in list(session.adapters) if prefix is None else [prefix]:
        mounted = session.adapters.get(place)
        below = session.get_adapter(place) if mounted is None else mounted
        before = mounted.installed if isinstance(mounted, PolicyAdapter) else None
        while isinstance(below, PolicyAdapter) and below.installed is not None and below.inner is not None:
            below = below.inner
        if policies:
            wrapped[place] = PolicyAdapter(*policies, inner=below, store=store, **keywords)
        else:
            wrapped[place] = ResilientAdapter(inner=below, store=store, **keywords)
        wrapped[place].installed = before or ("beside" if mounted is None else "around")
    for place, adapter in wrapped.items():
        if place in session.adapters:
            session.adapters[place] = adapter
        else:
            session.mount(place, adapter)
    return session


def uninstall(session: AnySession) -> AnySession:
    """Undo `install`: every adapter that was wrapped is back in its place, the very same object.

    Args:
        session: The session; one that nothing was installed on is left as it is.

    Returns:
        The same session.
    """
    for place, adapter in list(session.adapters.items()):
        if not isinstance(adapter, PolicyAdapter) or adapter.installed is None or adapter.inner is None:
            continue
        _release_pools(adapter.inner)
        if adapter.installed == "around":
            session.adapters[place] = adapter.inner
        else:
            del session.adapters[place]
    return session


def _asked_retry(value: Any) -> Retry | None:
    """Return what `max_retries` asks for, or None where it asks for no retry at all."""
    retry = Retry.from_int(value) if isinstance(value, int) else value
    return retry if isinstance(retry, Retry) and (retry.total or 0) > 0 else None


def _nested_retry(adapter: BaseAdapter | None) -> ExponentialBackoff | Retry | None:
    """Return how an adapter retries by itself, or None."""
    while isinstance(adapter, PolicyAdapter):
        for policy in adapter.policies:
            if isinstance(policy, ExponentialBackoff):
                return policy
        if adapter.inner is None:
            break
        adapter = adapter.inner
    return _asked_retry(getattr(adapter, "max_retries", None))


def _below(adapter: BaseAdapter, *, retries: bool) -> BaseAdapter:
    """Return a view on the wrapped adapter: its pools are watched, and it retries only if it may."""
    if not isinstance(adapter, PolicyAdapter):
        return connections.watching(adapter, retries=retries) if isinstance(adapter, HTTPAdapter) else adapter
    if retries or _nested_retry(adapter) is None:
        return adapter
    twin = object.__new__(type(adapter))
    twin.__dict__.update(adapter.__dict__)
    twin.policies = tuple(policy for policy in twin.policies if not isinstance(policy, ExponentialBackoff))
    twin._arrange()
    if twin.inner is None:
        twin.max_retries = connections.NO_RETRY
    else:
        twin._below = _below(twin.inner, retries=False)
    return twin


def _managers(adapter: BaseAdapter) -> list[Any]:
    """Return the urllib3 pool managers of an adapter, those for proxies included."""
    state = vars(adapter)
    proxies = state.get("proxy_manager") or {}
    # Adapters for UNIX sockets keep their pools themselves.
    return [
        each
        for each in (adapter, state.get("poolmanager"), *proxies.values())
        if "pools" in getattr(each, "__dict__", ())
    ]


def _release_pools(adapter: BaseAdapter) -> None:
    for manager in _managers(adapter):
        for key in manager.pools.keys():  # noqa: SIM118 - not a mapping that can be iterated
            connections.release(manager.pools[key])


def _after_fork_in_child() -> None:
    """Leave the sockets to the parent: two processes on one connection would read each other's answers.

    The pools are replaced and not cleared, because clearing takes a lock that another thread of the parent may
    have held at the fork.
    """
    for adapter in _adapters:
        for each in (adapter, adapter.inner):
            for manager in () if each is None else _managers(each):
                manager.pools = type(manager.pools)(manager.pools._maxsize, manager.pools.dispose_func)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
