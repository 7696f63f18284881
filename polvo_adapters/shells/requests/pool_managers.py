"""The urllib3 pool managers of an adapter, and whether they are as `requests` makes them."""

from __future__ import annotations

from typing import Any

from requests.adapters import BaseAdapter, HTTPAdapter

from polvo_adapters.core.http import header_names

_TLS_SETTINGS = header_names(
    "ssl_context ssl_version ssl_minimum_version ssl_maximum_version cert_reqs ca_certs ca_cert_dir ca_cert_data",
    "cert_file key_file key_password assert_hostname assert_fingerprint server_hostname",
)
"""Keywords of a pool manager that decide with which server it speaks."""


def has_plain_pools(adapter: BaseAdapter) -> bool:
    """Return whether the pools of an adapter are those of `requests`, with the TLS settings of each call alone."""
    manager = getattr(adapter, "poolmanager", None)
    if manager is None or type(adapter).init_poolmanager is not HTTPAdapter.init_poolmanager:  # type: ignore[attr-defined]
        return False
    return _TLS_SETTINGS.isdisjoint(getattr(manager, "connection_pool_kw", ()))


def pool_managers(adapter: BaseAdapter) -> list[Any]:
    """Return the urllib3 pool managers of an adapter, those for proxies included."""
    state = vars(adapter)
    proxies = dict(state.get("proxy_manager") or {})
    # Adapters for UNIX sockets keep their pools themselves.
    return [
        each
        for each in (adapter, state.get("poolmanager"), *proxies.values())
        if "pools" in getattr(each, "__dict__", ())
    ]
