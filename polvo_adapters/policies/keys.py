"""Keys of the state that tenants do not share.

The tenant comes last, percent-encoded, so that it can hold nothing that looks like another key. Without a tenant a key
is what it would be if there were no tenants.
"""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import quote


@lru_cache(maxsize=1024)
def of_tenant(tenant: str) -> str:
    """Return what the key of a tenant's state ends with.

    Args:
        tenant: Name of the tenant, or an empty string for none.

    Returns:
        Something that no other tenant's keys end with, for people to read as well; empty where there is no tenant.
    """
    return f" of tenant {quote(tenant, safe='', errors='surrogatepass')}" if tenant else ""
