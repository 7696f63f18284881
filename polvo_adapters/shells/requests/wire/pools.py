"""Views on adapters and pools that hand an attempt down to the connection that carries it.

Theory of operation. `HTTPAdapter.send` asks its own `get_connection_with_tls_context` for a pool, and the pool for a
connection. A *view* is an object of a subclass that has the very attributes of an adapter or a pool, so that a change
of one changes both, and a transmission beside them. The exchange sends through a view of the adapter, which answers
with a view of the pool, which lends its connections to the transmission. The adapter and the pool themselves stay as
they are, and it does not matter who has made them, or replaces them.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import lru_cache
from typing import Any

from requests import PreparedRequest
from requests.adapters import BaseAdapter, HTTPAdapter
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.util import Retry

from polvo_adapters.core.calls import origin
from polvo_adapters.shells.requests.wire.connections import lend
from polvo_adapters.shells.requests.wire.transmission import Transmission

NO_RETRY = Retry(0, read=False)
"""The `max_retries` of an adapter that does not retry; one for all, because a Retry is slow to make."""

_MOST_KNOWN = 256
_URLOPEN, _MAKE_REQUEST = HTTPConnectionPool.urlopen, HTTPConnectionPool._make_request


def is_viewable(adapter: BaseAdapter) -> bool:
    """Return whether an adapter can have a view, which a mock or a class with `__slots__` cannot."""
    kind: Any = type(adapter)
    return isinstance(adapter, HTTPAdapter) and _extended_class(kind, AdapterView) is not None


def view_of(adapter: HTTPAdapter, transmission: Transmission, known_pools: KnownPools | None) -> AdapterView:
    """Return a view on an adapter for one attempt.

    Args:
        adapter: An adapter that is viewable.
        transmission: The attempt.
        known_pools: Which pool of the adapter serves which requests; None for an adapter that says so itself.
    """
    kind: Any = type(adapter)
    view: AdapterView = object.__new__(_extended_class(kind, AdapterView))  # type: ignore[arg-type]  # as it is viewable
    view.__dict__ = adapter.__dict__
    view._transmission, view._known_pools = transmission, known_pools
    return view


def without_retries(adapter: HTTPAdapter) -> HTTPAdapter:
    """Return a view on an adapter whose `max_retries` reads as none."""
    kind: Any = type(adapter)
    extended = _extended_class(kind, _WithoutRetries)
    if extended is None:
        return adapter
    view: HTTPAdapter = object.__new__(extended)
    view.__dict__ = adapter.__dict__
    return view


@lru_cache(maxsize=256)
def _extended_class(kind: Any, mixin: type) -> type | None:
    """Return a class with the mixin in front, or None where objects of the class cannot share their attributes."""
    if issubclass(kind, mixin):
        return kind  # type: ignore[no-any-return]
    if any(vars(base).get("__slots__") for base in kind.__mro__ if base not in _OURS):
        return None
    if kind.__setattr__ is not object.__setattr__:  # a mock, or another that keeps its attributes in a way of its own
        return None
    try:
        return type(kind.__name__, (mixin, kind), {})
    except TypeError:  # a class that expects keywords of its subclasses
        return None


class AdapterView(HTTPAdapter):
    """A view on an adapter whose pools know the attempt that they serve."""

    __slots__ = ("_known_pools", "_transmission")
    _known_pools: KnownPools | None
    _transmission: Transmission

    def get_connection_with_tls_context(
        self, request: PreparedRequest, verify: Any, proxies: Any = None, cert: Any = None
    ) -> Any:
        """Return a view on the pool for a request."""
        ask = super().get_connection_with_tls_context
        if self._known_pools is None:
            pool = ask(request, verify, proxies=proxies, cert=cert)
        else:
            pool = self._known_pools.pool(self, ask, request, verify=verify, proxies=proxies, cert=cert)
        return _view_of_pool(pool, self._transmission)


class _WithoutRetries(HTTPAdapter):
    __slots__ = ()

    @property
    def max_retries(self) -> Retry:
        """No retries: a property of the class takes precedence over an attribute of the object."""
        return NO_RETRY

    @max_retries.setter
    def max_retries(self, value: Any) -> None:
        """Ignore what the adapter sets for itself."""


def _view_of_pool(pool: Any, transmission: Transmission) -> Any:
    """Return a view on a pool, or the pool itself where it is none of urllib3."""
    kind: Any = type(pool)
    extended = _extended_class(kind, PoolView) if isinstance(pool, HTTPConnectionPool) else None
    if extended is None:
        transmission.untraced += 1
        return pool
    view: PoolView = object.__new__(extended)
    view.__dict__ = pool.__dict__
    view._transmission, view._pool = transmission, pool
    return view


class PoolView(HTTPConnectionPool):
    """A view on a pool that lends its connections to one attempt."""

    # The pool itself is kept: where it is freed, urllib3 closes its connections.
    __slots__ = ("_pool", "_transmission")
    _pool: HTTPConnectionPool
    _transmission: Transmission

    def _get_conn(self, timeout: float | None = None) -> Any:
        """Return a connection that serves the attempt; a pool whose connections are busy is waited for in time."""
        transmission = self._transmission
        if transmission.deadline is not None:
            timeout = transmission.limit(timeout)
        connection = super()._get_conn(timeout)
        lend(connection, transmission)
        return connection


def sends_as_urllib3(kind: Any) -> bool:
    """Return whether views on pools send by the code of urllib3, which a mock or a subclass may have replaced."""
    below = kind.__bases__[1] if issubclass(kind, PoolView) else kind
    return below.urlopen is _URLOPEN and below._make_request is _MAKE_REQUEST


_OURS = (AdapterView, _WithoutRetries, PoolView)


class KnownPools:
    """A memory of which pool of an adapter serves which requests.

    `requests` and urllib3 work that out anew for every request, which takes longer than all policies together. Only the
    key is kept, never the pool: the pool manager still decides whether there is one, and counts its use.
    """

    def __init__(self) -> None:
        self._keys: dict[Hashable, Any] = {}
        self._settings: dict[str, Any] = {}

    def pool(self, adapter: HTTPAdapter, ask: Callable[..., Any], request: PreparedRequest, **keywords: Any) -> Any:
        """Return the pool for a request.

        Args:
            adapter: The adapter; one with pool keys of its own is always asked.
            ask: Its `get_connection_with_tls_context`.
            request: The request.
            **keywords: verify, proxies and cert, as for `HTTPAdapter.send`; with proxies the adapter is asked.
        """
        attributes = type(adapter).build_connection_pool_key_attributes
        if keywords["proxies"] or attributes is not HTTPAdapter.build_connection_pool_key_attributes:
            return ask(request, **keywords)
        what = (origin(request.url or ""), keywords["verify"], keywords["cert"])
        manager = adapter.poolmanager
        pool = self._find(manager, what)
        if pool is None:
            pool = ask(request, **keywords)
            self._remember(manager, what, pool)
        return pool

    def _find(self, manager: Any, what: Hashable) -> Any:
        """Return the pool, or None where it is unknown or gone, or the settings of the manager have changed."""
        if manager.connection_pool_kw != self._settings:
            self._keys.clear()
            return None
        key = self._keys.get(what)
        return None if key is None else manager.pools.get(key)

    def _remember(self, manager: Any, what: Hashable, pool: Any) -> None:
        if len(self._keys) >= _MOST_KNOWN or manager.connection_pool_kw != self._settings:
            self._keys.clear()
            self._settings = dict(manager.connection_pool_kw)
        with manager.pools.lock:
            # Not by the mapping itself, which counts a look as a use and so changes which pool is dropped next.
            keys = [key for key, each in manager.pools._container.items() if each is pool]
        self._keys.update((what, key) for key in keys)
