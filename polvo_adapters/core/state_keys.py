"""Parts of the keys of state: the tenant, and URLs without credentials.

The tenant comes last, percent-encoded, so that it cannot look like part of another key. Without a tenant the key has no
such part.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache
from urllib.parse import quote, unquote_plus

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)(?:[^\s/?#]*@)?([^\s/?#]*)\S*")


def without_paths(key: str) -> str:
    """Return a key with scheme and host alone of each URL in it, for the log."""
    return _URL.sub(r"\1\2", key)


@lru_cache(maxsize=1024)
def of_tenant(tenant: str) -> str:
    """Return the readable end of the keys of a tenant's state, which differs from that of every other tenant.

    Args:
        tenant: Name of the tenant, or an empty string for none; then the end is empty too.
    """
    return f" of tenant {quote(tenant, safe='', errors='surrogatepass')}" if tenant else ""


def without_parameters(url: str, names: Collection[str]) -> str:
    """Return a URL without some of its query parameters, and without its fragment where there are any.

    Args:
        url: The URL.
        names: Names of the parameters: those of credentials, which change while the request stays the same.
    """
    if not names:
        return url
    address, _, query = url.partition("#")[0].partition("?")
    kept = "&".join(pair for pair in query.split("&") if unquote_plus(pair.partition("=")[0]) not in names)
    return f"{address}?{kept}" if kept else address
