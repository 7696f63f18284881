"""The proxies that the environment names, for clients of httpx whose transport is given.

httpx reads `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` only for transports that it makes itself.
"""

from __future__ import annotations

from ipaddress import ip_address
from urllib.request import getproxies


def find_proxies() -> dict[str, str | None]:
    """Return the URL of the proxy for each pattern of hosts, as httpx has them in `mounts`; None for no proxy."""
    named = getproxies()
    proxies: dict[str, str | None] = {
        f"{scheme}://": url if "://" in url else f"http://{url}"
        for scheme in ("http", "https", "all")
        if (url := named.get(scheme))
    }
    hosts = [host.strip() for host in named.get("no", "").split(",") if host.strip()]
    if not proxies or "*" in hosts:
        return {}
    return {**proxies, **{_find_pattern(host): None for host in hosts}}


def _find_pattern(host: str) -> str:
    """Return the pattern of httpx for an entry of NO_PROXY: a domain stands for its subdomains as well."""
    if "://" in host:
        return host
    if host.lower() == "localhost":
        return f"all://{host}"
    try:
        address = ip_address(host.partition("/")[0])
    except ValueError:
        return f"all://*{host}"
    return f"all://[{host}]" if address.version == 6 else f"all://{host}"
