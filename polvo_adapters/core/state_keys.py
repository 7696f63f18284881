"""Keys of state: the part of them that is the tenant's, and what of a URL does not belong in them.

The tenant comes last, percent-encoded, so that it can hold nothing that looks like another key. Without a tenant a key
is what it would be if there were no tenants.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from urllib.parse import quote, unquote_plus


@lru_cache(maxsize=1024)
def of_tenant(tenant: str) -> str:
    """Return what the key of a tenant's state ends with.

    Args:
        tenant: Name of the tenant, or an empty string for none.

    Returns:
        Something that no other tenant's keys end with, for people to read as well; empty where there is no tenant.
    """
    return f" of tenant {quote(tenant, safe='', errors='surrogatepass')}" if tenant else ""


def without_parameters(url: str, names: Collection[str]) -> str:
    """Return a URL without some of its query parameters, and without its fragment where there are any.

    Args:
        url: The URL.
        names: Names of the parameters; those of credentials, which change while the request is still the same.
    """
    if not names:
        return url
    address, _, query = url.partition("#")[0].partition("?")
    kept = "&".join(pair for pair in query.split("&") if unquote_plus(pair.partition("=")[0]) not in names)
    return f"{address}?{kept}" if kept else address
