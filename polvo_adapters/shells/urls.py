r"""URLs of sessions and of settings, as the library reads them that opens the connection.

Two parsers may find two hosts in one URL: that of "http://a\@b/" is `a` to urllib3, and `b` to `urllib.parse`. Code
that decides where a credential may go has to use the parser of the library that opens the connection.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeAlias
from urllib.parse import quote, urlsplit

from urllib3.util import Url

from polvo_adapters.core import paths
from polvo_adapters.core.calls import origin
from polvo_adapters.errors import ConfigurationError

TENANT_SLOT = "{tenant}"
_OTHER_SLOT = re.compile(r"\{[a-z_]+\}")
"""The place of the tenant in a setting."""
DNS_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
"""One label of a host name (RFC 1123 section 2.1)."""
_ABSOLUTE = re.compile(r"\s*[A-Za-z][A-Za-z0-9+.-]*://")  # `requests` drops the spaces


ParseURL: TypeAlias = Callable[[str], Url]
"""Reads a URL as the library does that opens the connection, without dot segments; raises what that library raises."""


def origin_as_sent(url: str, parse: ParseURL) -> str:
    """Return the origin that a library sends to, which other parsers may read differently."""
    return origin(parse(url).url)


class ResolvedURL(NamedTuple):
    """The URL of a request of a session.

    Attributes:
        url: The absolute URL, with the tenant where the URL names it.
        is_home: Whether the credentials of the session may go there.
    """

    url: str
    is_home: bool


class TenantURLs(Protocol):
    """The place of tenants in URLs; `polvo_adapters.Tenancy`."""

    def address(self, url: str, name: str, base_url: str | None, *, parse: ParseURL, relative: bool = False) -> str:
        """Return the URL of a request that is made on behalf of a tenant."""

    def is_home(self, url: str, name: str, base_url: str | None, *, parse: ParseURL) -> bool:
        """Return whether a URL has the origin of the base URL, or of the tenant's subdomain of it."""


def make_absolute(url: str, base_url: str | None, tenant: str, tenancy: TenantURLs | None, parse: ParseURL) -> str:
    """Return the absolute URL of a request; arguments and errors as for `resolve`.

    A URL is absolute if it begins with a scheme and `//` (RFC 3986 section 4.3), whatever its path and query hold.
    Without the slashes, as in "orders:search", it is a path. `requests` takes bytes too, and any object with a
    `__str__`; those are absolute.
    """
    if base_url is None or not isinstance(url, str) or _ABSOLUTE.match(url):
        return url
    url = base_url + url if url[:1] in ("", "?") else f"{base_url.rstrip('/')}/{url.lstrip('/')}"
    return url if tenancy is None else tenancy.address(url, tenant, base_url, parse=parse, relative=True)


def resolve(url: str, base_url: str | None, tenant: str, tenancy: TenantURLs | None, parse: ParseURL) -> ResolvedURL:
    """Return the absolute URL of a request, and whether the credentials of the session may go there.

    The tenant is written into a relative URL here, and into an absolute one when the request is prepared.

    Args:
        url: The URL that the caller gave: relative to the base URL, or absolute.
        base_url: URL that relative URLs are appended to. With one, credentials go to its origin only.
        tenant: Name of the tenant, or an empty string.
        tenancy: The place of the tenant in the URL, or None.
        parse: Reads URLs.

    Raises:
        ConfigurationError: The tenant does not fit into the URL.
        Exception: An absolute URL cannot be read: what `parse` raises.
    """
    if base_url is None:
        return ResolvedURL(url, is_home=True)
    url = make_absolute(url, base_url, tenant, tenancy, parse)
    if isinstance(url, str) and url.startswith(base_url.rstrip("/") + "/"):
        return ResolvedURL(url, is_home=True)
    if tenancy is not None:
        return ResolvedURL(url, tenancy.is_home(url, tenant, base_url, parse=parse))
    return ResolvedURL(url, origin_as_sent(url, parse) == origin_as_sent(base_url, parse))


def is_secure(url: str, *, loopback: bool = True) -> bool:
    """Return whether secrets may be sent to a URL: by https, or on this machine.

    Args:
        url: The URL.
        loopback: Whether plain http on this machine is good enough.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return False
    if not host or "@" in parts.netloc or any(character <= " " or character == "\\" for character in url):
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and loopback and is_loopback(host))


def is_loopback(host: str) -> bool:
    """Return whether a host name or address is this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def validate_url(field: str, given: str, tenant: str, allow_http: bool) -> str:
    """Return the URL of a setting with the tenant filled in.

    Args:
        field: Name of the setting, for messages.
        given: Value of the setting.
        tenant: Name of the tenant, or an empty string.
        allow_http: Whether plain http is good enough for every host.

    Raises:
        ConfigurationError: Secrets may not be sent there, or the tenant does not fit.
    """
    if not isinstance(given, str):
        raise ConfigurationError(f"{field} must be a URL")
    host = given.partition("://")[2].partition("/")[0]
    if TENANT_SLOT in given:
        _require_tenant(field, tenant)
        if TENANT_SLOT in host and not DNS_LABEL.fullmatch(tenant):
            raise ConfigurationError(f"{field}: the tenant {tenant!r} cannot be part of a host name")
        problem = paths.find_climb(tenant) if TENANT_SLOT in given.partition("?")[0] else ""
        if problem:
            raise ConfigurationError(f"{field}: the tenant {tenant!r} cannot be part of a path: {problem}")
    other = _OTHER_SLOT.search(given.replace(TENANT_SLOT, ""))
    if other is not None:
        raise ConfigurationError(f"{field}: {other[0]} is not replaced in a URL, only {TENANT_SLOT} is")
    text = given.replace(TENANT_SLOT, quote(tenant, safe=""))
    if is_secure(text) or (allow_http and text.startswith("http://") and is_secure("https" + text[4:])):
        return text
    shown = "..." if "@" in host else repr(given)  # what may be a password is not shown
    raise ConfigurationError(
        f"{field}={shown}: it must be an https URL without credentials, or http on this machine; allow_http=True lets "
        "secrets go over plain http"
    )


def fill_client_id(given: str, tenant: str) -> str:
    """Return the client id with the tenant filled in.

    Args:
        given: Value of the setting.
        tenant: Name of the tenant, or an empty string.

    Raises:
        ConfigurationError: The id is empty, or it needs a tenant and there is none.
    """
    if not isinstance(given, str) or not given:
        raise ConfigurationError("client_id must be a string that is not empty")
    if TENANT_SLOT in given:
        _require_tenant("client_id", tenant)
    return given.replace(TENANT_SLOT, tenant)


def validate_seconds(field: str, value: float) -> float:
    """Return a number of seconds as a float.

    Raises:
        ConfigurationError: The value is not a positive, finite number.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise ConfigurationError(f"{field}={value!r}: it must be a number of seconds above 0")
    return float(value)


def _require_tenant(field: str, tenant: str) -> None:
    if not tenant:
        raise ConfigurationError(f"{field}: it has {{tenant}} in it, and there is no tenant; set one first")
    if tenant in (".", ".."):
        raise ConfigurationError(f"{field}: the tenant {tenant!r} cannot be part of a URL")
