"""The connections of an adapter: pools of its own, or those of the adapter that it wraps, its `inner`.

Own pools are bounded, see `polvo_adapters.shells.requests.pool_limits`. Methods that concern connections go to the
`inner` where there is one; for its attributes see `polvo_adapters.shells.requests.wrapping`.
"""

from __future__ import annotations

from secrets import token_hex
from typing import Any

from requests.adapters import BaseAdapter, HTTPAdapter

from polvo_adapters.shells.requests.pool_limits import PoolLimits
from polvo_adapters.shells.requests.pool_managers import has_plain_pools, pool_managers


class NestingAdapter(HTTPAdapter):
    """An adapter with connection pools of its own, or around another adapter.

    Attributes:
        inner: The adapter to send through, or None.
    """

    inner: BaseAdapter | None
    _transport_name = ""

    def _set_pool_limits(self, most: int) -> None:
        # Before the pools are made, which a subclass may do otherwise; a view on this adapter shares them.
        self._pool_limits = PoolLimits(most)

    @property
    def max_retries(self) -> Any:
        """The urllib3 `Retry` of this adapter, or of the one that it wraps; it may be assigned at any time."""
        return self.__dict__["max_retries"] if self.inner is None else self.inner.max_retries  # type: ignore[attr-defined]

    @max_retries.setter
    def max_retries(self, value: Any) -> None:
        if self.__dict__.get("inner") is None:
            self.__dict__["max_retries"] = value
        else:
            self.inner.max_retries = value  # type: ignore[union-attr]

    def _read_max_retries(self) -> Any:
        """Return `max_retries`, or None where there are none."""
        return self.__dict__.get("max_retries") if self.inner is None else getattr(self.inner, "max_retries", None)

    def _name_transport(self) -> str:
        """Return what tells the TLS settings of this adapter from those of others."""
        if self._is_plain():
            return ""
        if not self._transport_name:
            self._transport_name = token_hex(8)
        return self._transport_name

    def _is_plain(self) -> bool:
        """Return whether the connections are those of `requests`, with the TLS settings of each call alone."""
        bottom: Any = self
        while isinstance(bottom, NestingAdapter) and bottom.inner is not None:
            bottom = bottom.inner
        return has_plain_pools(bottom)

    def close(self) -> None:
        """Close the connections of this adapter, or of the one that it wraps."""
        if self.inner is not None:
            self.inner.close()
            return
        for manager in (self.poolmanager, *self.proxy_manager.copy().values()):  # other threads may go on to send
            manager.clear()

    def proxy_manager_for(self, proxy: str, **keywords: Any) -> Any:
        """Return the pools for a proxy; see `HTTPAdapter.proxy_manager_for`."""
        if self.inner is not None:
            return self.inner.proxy_manager_for(proxy, **keywords)  # type: ignore[attr-defined]
        self._pool_limits.make_room(self.proxy_manager)
        try:
            return super().proxy_manager_for(proxy, **keywords)
        except KeyError:  # another thread has forgotten it between a look and the next
            return super().proxy_manager_for(proxy, **keywords)

    def after_fork_in_child(self) -> None:
        """Leave the sockets to the parent: two processes on one connection would read each other's responses.

        The pools are replaced and not cleared, because clearing takes a lock that another thread of the parent may have
        held at the fork.
        """
        for each in (self, self.inner):
            for manager in () if each is None else pool_managers(each):
                manager.pools = type(manager.pools)(manager.pools._maxsize, manager.pools.dispose_func)
