"""Where a request names the tenant on whose behalf it is made.

Theory of operation. A *tenant* is a customer on whose behalf calls are made. Blocks (`with`) are kept in a context
variable, the innermost last, so that each thread and each task has its own. A block belongs to one session, or to all:

    asked by                     tenant
    ---------------------------  -----------------------------------------------------------------
    a session                    the innermost block of its own or of all; then its `set_tenant`
    `current_tenant()`           the innermost block of all, or the call that a session is making
    an adapter, auth, transport  as `current_tenant()`

While a session makes a call it opens a block that only it and `current_tenant()` see. So auth objects, adapters and
hooks of that call act for the same tenant, and another session that is used meanwhile keeps its own. A block that ends
removes itself and not what was added after it, because generators end in any order.

`Tenancy` writes the tenant into a request: as a header, a subdomain, a Host header or a path prefix. It removes dot
segments from the URL before it adds a prefix: "../other" must not lead out of the path of a tenant. What is left and
could lead out in the reading of some server is refused; see `polvo_adapters.core.paths`.
"""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from urllib3.util import Url

from polvo_adapters.context.tenant import unfit_tenant_error
from polvo_adapters.core import paths
from polvo_adapters.core.calls import origin
from polvo_adapters.core.http import HEADER_NAME, header_names
from polvo_adapters.core.keywords import explain_arguments
from polvo_adapters.errors import ConfigurationError
from polvo_adapters.shells.urls import DNS_LABEL, TENANT_SLOT, ParseURL, origin_as_sent

_VISIBLE = re.compile(r"[\x21-\x7e]+")
_PORT = re.compile(r"(?::[0-9]{1,5})?")
_PATH = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+,;=:@-]+)+")
_ADDRESS = re.compile(r"\[.*|[0-9.]+")
_RESERVED = header_names(
    "authorization cookie expect host proxy-authorization",
    "connection content-length te trailer transfer-encoding upgrade",
)


@explain_arguments
@dataclass(frozen=True, kw_only=True)
class Tenancy:
    """The place of the tenant in requests. A tenant that does not fit there is refused before anything is sent.

    Args:
        header: Name of a header that holds the tenant, which must be visible ASCII then.
        subdomain: Whether the tenant precedes the host of the URL, as a DNS label of its own.
        host: A Host header such as "{tenant}.example.com", while the connection goes to the host of the URL. The
            tenant must be a DNS label.
        path: A prefix such as "/t/{tenant}" of the whole path of the URL, that of a base URL included.
            The tenant is percent-encoded. Neither it nor the rest of the path may lead a server out of the prefix,
            such as ".." or "..%2F".
        required: Whether a call without a tenant is an error.

    Raises:
        ConfigurationError: A value is invalid, two contradict each other, or there is none.
    """

    header: str | None = None
    subdomain: bool = False
    host: str | None = None
    path: str | None = None
    required: bool = False

    def __post_init__(self) -> None:
        for field in ("subdomain", "required"):
            if not isinstance(getattr(self, field), bool):
                raise self._setting_error(field, "True or False")
        if not (self.header or self.subdomain or self.host or self.path or self.required):
            raise ConfigurationError("Tenancy(): name a header, subdomain, host or path, or required=True")
        if self.header is not None and (not _matches(HEADER_NAME, self.header) or self.header.lower() in _RESERVED):
            raise self._setting_error("header", "the name of a header without a meaning of its own")
        if self.host is not None and not (_has_slot(self.host) and _is_host(self.host.replace(TENANT_SLOT, "t"))):
            raise self._setting_error("host", "a host name with {tenant} in it, such as '{tenant}.example.com'")
        if self.path is not None and not _is_prefix(self.path):
            raise self._setting_error("path", "a path with {tenant} in it, such as '/t/{tenant}', without query")
        if self.subdomain and self.host is not None:
            raise self._setting_error("host", "None where subdomain=True: both name the host")

    def _setting_error(self, field: str, wanted: str) -> ConfigurationError:
        return ConfigurationError(f"Tenancy({field}={getattr(self, field)!r}): {field} must be {wanted}")

    @property
    def names_host(self) -> bool:
        """Whether the host names the tenant."""
        return self.subdomain or self.host is not None

    def is_home(self, url: str, name: str, base_url: str | None, *, parse: ParseURL) -> bool:
        """Return whether a URL has the origin of the base URL, or of the tenant's subdomain of it."""
        if base_url is None:
            return True
        here = origin_as_sent(url, parse)
        if here == _base_origin(base_url, parse):
            return True
        if not self.subdomain or not DNS_LABEL.fullmatch(name):
            return False
        return here == origin(self._add_subdomain(parse(base_url), name).url)

    def address(self, url: str, name: str, base_url: str | None, *, parse: ParseURL, relative: bool = False) -> str:
        """Return the URL of a request that is made on behalf of a tenant.

        Args:
            url: An absolute URL.
            name: The tenant, or an empty string.
            base_url: The base URL of the session; URLs of other origins are left alone.
            parse: Reads URLs.
            relative: Whether the URL was made of the base URL. An absolute URL of the caller may be a link from a
                response, and name the tenant already.

        Raises:
            ConfigurationError: The tenant does not fit, or the path could lead a server out of that of the tenant.
        """
        if not name or not (self.subdomain or self.path) or not self.is_home(url, name, base_url, parse=parse):
            return url
        parts = parse(url)
        if self.subdomain and (base_url is None or origin(parts.url) == _base_origin(base_url, parse)):
            parts = self._add_subdomain(parts, name)
        if self.path:
            prefix, path = self._prefix(name), parts.path or ""
            below = path if relative or not (path + "/").startswith(prefix + "/") else path[len(prefix) :]
            problem = paths.find_climb(below)
            if problem:
                raise unfit_tenant_error(name, f"the path of the URL may lead out of {prefix}: {problem}")
            parts = parts._replace(path=prefix + below)
        return parts.url

    def withdraw(self, headers: MutableMapping[str, Any]) -> None:
        """Remove the tenant from the headers of a request that was redirected to another origin."""
        for header in (self.header, self.host and "Host"):
            if header:
                headers.pop(header, None)

    def make_headers(self, name: str) -> dict[str, str]:
        """Return the headers that name a tenant.

        Raises:
            ConfigurationError: The tenant does not fit there.
        """
        headers = {}
        if self.header:
            if not _VISIBLE.fullmatch(name):
                raise unfit_tenant_error(name, f"the header {self.header} takes visible ASCII only")
            headers[self.header] = name
        if self.host:
            headers["Host"] = self.host.replace(TENANT_SLOT, _validate_label(name, "host"))
            if not _is_host(headers["Host"]):
                raise unfit_tenant_error(name, f"it makes no host name of host={self.host!r}")
        return headers

    def _add_subdomain(self, parts: Url, name: str) -> Url:
        host = parts.host or ""
        if not host or _ADDRESS.fullmatch(host):
            raise ConfigurationError(f"Tenancy(subdomain=True): {host or 'a URL without a host'} can have no subdomain")
        return parts._replace(host=f"{_validate_label(name, 'subdomain')}.{host}")

    def _prefix(self, name: str) -> str:
        problem = paths.find_climb(name)
        if problem:
            raise unfit_tenant_error(name, f"in a path it may mean another directory: {problem}")
        return (self.path or "").rstrip("/").replace(TENANT_SLOT, quote(name, safe=""))


def _base_origin(base_url: str, parse: ParseURL) -> str:
    # A cache of the process keeps no URL that may hold a credential.
    return origin_as_sent(base_url, parse) if "@" in base_url or "?" in base_url else _plain_origin(base_url, parse)


@lru_cache(maxsize=64)
def _plain_origin(base_url: str, parse: ParseURL) -> str:
    return origin_as_sent(base_url, parse)


def _validate_label(name: str, field: str) -> str:
    if not DNS_LABEL.fullmatch(name):
        wanted = "letters, digits and inner hyphens, at most 63"
        raise unfit_tenant_error(name, f"as {field} it must be one DNS label ({wanted})")
    return name


def _matches(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _has_slot(template: object) -> bool:
    return isinstance(template, str) and template.count(TENANT_SLOT) == 1


def _is_host(host: str) -> bool:
    name, colon, port = host.partition(":")
    return (
        len(name) <= 253
        and all(_matches(DNS_LABEL, each) for each in name.split("."))
        and _matches(_PORT, colon + port)
    )


def _is_prefix(path: object) -> bool:
    if not isinstance(path, str) or not _has_slot(path):
        return False
    filled = path.rstrip("/").replace(TENANT_SLOT, "t")
    return _matches(_PATH, filled) and not {".", ".."} & set(filled.split("/"))
