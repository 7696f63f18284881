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
from types import ModuleType
from typing import Any

from requests import PreparedRequest, adapters
from requests.adapters import BaseAdapter, HTTPAdapter
from urllib3 import connection, connectionpool, poolmanager
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.poolmanager import PoolManager
from urllib3.util import Timeout
from urllib3.util.connection import is_connection_dropped

from polvo_adapters.core.calls import origin
from polvo_adapters.shells.extended_class import extend
from polvo_adapters.shells.requests.pool_limits import IDLE_SECONDS, PoolLimits
from polvo_adapters.shells.requests.wire.connections import lend, traced_class
from polvo_adapters.shells.requests.wire.named_timeout import UNLIMITED, as_timeout
from polvo_adapters.shells.requests.wire.originals import is_original
from polvo_adapters.shells.requests.wire.owners import ConnectionOwner
from polvo_adapters.shells.requests.wire.transmission import Transmission
from polvo_adapters.shells.requests.wrapping import Wrapping

_MOST_KNOWN = 256
_LOOKUP = "get_connection_with_tls_context"
_SENDING = frozenset({"urlopen", "_make_request", "_get_conn"})


def kind_of_view(adapter: BaseAdapter) -> type[AdapterView] | None:
    """Return the class of views on an adapter, or None for a mock or a class with `__slots__`, which can have none."""
    kind: Any = type(adapter)
    return _extended_class(kind, AdapterView) if isinstance(adapter, HTTPAdapter) else None


def shared_view(adapter: HTTPAdapter, mixin: type, owner: ConnectionOwner) -> Any:
    """Return a view on an adapter for one of the callers who share it.

    Args:
        adapter: The adapter.
        mixin: A class with the slot `_owner`, which the view has in front of its own.
        owner: The caller.
    """
    kind: Any = type(adapter)
    view: Any = object.__new__(_extended_class(kind, mixin))  # type: ignore[arg-type]
    view.__dict__ = adapter.__dict__
    view._owner = owner
    return view


@lru_cache(maxsize=256)
def _extended_class(kind: Any, mixin: type) -> type | None:
    """Return a class with the mixin in front, or None where objects of the class cannot share their attributes."""
    if issubclass(kind, mixin):
        return kind  # type: ignore[no-any-return]
    if any(vars(base).get("__slots__") for base in kind.__mro__ if base not in _OURS):
        return None
    if kind.__setattr__ not in (
        object.__setattr__,
        Wrapping.__setattr__,
    ):  # a mock, or another that keeps its attributes in a way of its own
        return None
    try:
        return extend(kind, mixin)  # type: ignore[no-any-return]
    except TypeError:  # a class that expects keywords of its subclasses
        return None


class _View(HTTPAdapter):
    """An object that is equal to an adapter, for code that keeps something by adapter."""

    __slots__ = ("_adapter",)
    _adapter: BaseAdapter

    def __eq__(self, other: object) -> bool:
        return other is self or other == self._adapter

    def __hash__(self) -> int:
        return hash(self._adapter)


class AdapterView(_View):
    """A view on an adapter whose pools know the attempt that they serve."""

    __slots__ = ("_known_pools", "_transmission")
    _known_pools: KnownPools | None
    _transmission: Transmission
    _pool_limits: PoolLimits | None = None  # the adapter's own, where it has one

    @property
    def max_retries(self) -> Any:
        """The `Retry` of the attempt; a property of the class takes precedence over an attribute of the object."""
        retries = self._transmission.retries
        return self._adapter.max_retries if retries is None else retries  # type: ignore[attr-defined]

    @max_retries.setter
    def max_retries(self, value: Any) -> None:
        self._adapter.max_retries = value  # type: ignore[attr-defined]

    def get_connection_with_tls_context(
        self, request: PreparedRequest, verify: Any, proxies: Any = None, cert: Any = None
    ) -> Any:
        """Return a view on the pool for a request."""
        ask = super().get_connection_with_tls_context
        self._transmission.has_asked = True
        if self._known_pools is None:
            pool = ask(request, verify, proxies=proxies, cert=cert)
        else:
            pool = self._known_pools.pool(self, ask, request, verify=verify, proxies=proxies, cert=cert)
        if self._pool_limits is not None:
            self._pool_limits.note_use(pool, self.poolmanager, self.proxy_manager, self._transmission.marks[0][1])
        self._transmission.has_pool = True
        return _view_of_pool(pool, self._transmission)

    def request_url(self, request: PreparedRequest, proxies: Any) -> str:
        """Return the target of the request line: the path, where there is no proxy that had to be looked for."""
        find = super().request_url
        if not proxies and getattr(find, "__func__", None) is _TARGET:
            path: str = request.path_url
            if path[:2] != "//":  # which not all releases of requests send as it is
                return path
        return find(request, proxies)


def _view_of_pool(pool: Any, transmission: Transmission) -> Any:
    """Return a view on a pool, or the pool itself where it is none of urllib3."""
    kind: Any = type(pool)
    mixin = PoolView if transmission.owner is None else _SharedPoolView
    fallback = transmission.fallback
    if fallback is not None and fallback is not UNLIMITED:
        mixin = _LimitedPoolView
    extended = _extended_class(kind, mixin) if isinstance(pool, HTTPConnectionPool) else None
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

    @property
    def ConnectionCls(self) -> Any:  # noqa: N802 - as urllib3 names it
        """Return the class of new connections: one that keeps a trace, where the pool's own can be extended."""
        kind: Any = self.__dict__.get("ConnectionCls") or type(self._pool).ConnectionCls
        return traced_class(kind, self._transmission) or kind

    @ConnectionCls.setter
    def ConnectionCls(self, kind: Any) -> None:  # noqa: N802
        self.__dict__["ConnectionCls"] = kind

    def _get_conn(self, timeout: float | None = None) -> Any:
        """Return a connection that serves the attempt; a pool whose connections are busy is waited for in time."""
        transmission = self._transmission
        if transmission.deadline is not None:
            timeout = transmission.limit(timeout)
        connection: Any = super()._get_conn(timeout)
        before = getattr(connection, "_transmission", None)
        if (
            before is None
            or transmission.is_demanding
            or before.is_demanding
            or transmission.marks[0][1] - before.marks[-1][1] > IDLE_SECONDS
        ):
            lend(connection, transmission)
        else:  # one that has served another attempt like this one, as nearly always
            transmission.lent += 1
            transmission.untraced += not connection._is_traced
            connection._transmission = transmission
        return connection


class _LimitedPoolView(PoolView):
    """A view on a pool below an adapter which may have a timeout of its own, with a default where it has none."""

    __slots__ = ()

    def _get_timeout(self, timeout: Any) -> Timeout:
        found: Timeout = super()._get_timeout(timeout)
        if found.total is None and found._connect is None and found._read is None:
            return as_timeout(self._transmission.fallback)
        return found


class _SharedPoolView(PoolView):
    """A view on a pool that several callers share; see `polvo_adapters.shells.requests.wire.owners`."""

    __slots__ = ("_has_kept",)
    _has_kept: bool
    """Whether the connection is one that was kept, which takes no place in the pool."""

    def _get_conn(self, timeout: float | None = None) -> Any:
        transmission = self._transmission
        connection = transmission.owner.take(self._pool)  # type: ignore[union-attr]  # a shared pool has owners
        self._has_kept = connection is not None
        if connection is None:
            return super()._get_conn(timeout)
        if is_connection_dropped(connection):
            connection.close()
        lend(connection, transmission)
        return connection

    def _put_conn(self, connection: Any) -> None:
        if connection is not None and self._transmission.is_bound:
            self._transmission.owner.keep(self._pool, connection)  # type: ignore[union-attr]
            connection = None
        if self._has_kept:
            if connection is not None:
                connection.close()
            return
        super()._put_conn(connection)


def sends_as_urllib3(pool: PoolView) -> bool:
    """Return whether a pool sends by the code of urllib3, which a mock, a patch or a subclass may have replaced."""
    below: Any = type(pool).__bases__[1]
    if not _SENDING.isdisjoint(pool.__dict__):
        return False
    return (
        is_original(below.urlopen, connectionpool, "urlopen")
        and is_original(below._make_request, connectionpool, "_make_request")
        and is_original(below._get_conn, connectionpool, "_get_conn")
        and is_original(HTTPConnection.request, connection, "request")
    )


_OURS = (_View, AdapterView, PoolView, _LimitedPoolView, _SharedPoolView)


def _originals_of(owner: Any, module: ModuleType, *names: str) -> dict[str, Any]:
    """Return functions of a class or module that are not patched; another object stands for each of the others."""
    found = {name: getattr(owner, name, None) for name in names}
    return {name: each if is_original(each, module, name) else object() for name, each in found.items()}


_OF_ADAPTERS = _originals_of(HTTPAdapter, adapters, _LOOKUP, "build_connection_pool_key_attributes", "request_url")
_OF_MODULE = _originals_of(adapters, adapters, "_urllib3_request_context")
_OF_MANAGERS = _originals_of(
    PoolManager,
    poolmanager,
    "connection_from_host",
    "connection_from_context",
    "connection_from_pool_key",
    "_merge_pool_kwargs",
)
_ASK, _ATTRIBUTES, _TARGET = _OF_ADAPTERS.values()
(_CONTEXT,) = _OF_MODULE.values()
_FROM_HOST, _FROM_CONTEXT, _FROM_KEY, _MERGE = _OF_MANAGERS.values()


def _finds_as_urllib3(adapter: HTTPAdapter, ask: Any, manager: PoolManager) -> bool:
    """Return whether a pool is found by the code of `requests` and urllib3 alone, as it is now.

    Looked at each time: classes and objects are patched at any moment.
    """
    return (
        getattr(ask, "__func__", None) is _ASK
        and getattr(adapter.build_connection_pool_key_attributes, "__func__", None) is _ATTRIBUTES
        and adapters._urllib3_request_context is _CONTEXT
        and PoolManager.connection_from_host is _FROM_HOST
        and PoolManager.connection_from_context is _FROM_CONTEXT
        and PoolManager.connection_from_pool_key is _FROM_KEY
        and PoolManager._merge_pool_kwargs is _MERGE
        and _OF_MANAGERS.keys().isdisjoint(manager.__dict__)
    )


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
        manager = adapter.poolmanager
        if keywords["proxies"] or type(manager) is not PoolManager or not _finds_as_urllib3(adapter, ask, manager):
            return ask(request, **keywords)
        what = (origin(request.url or ""), keywords["verify"], keywords["cert"])
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
