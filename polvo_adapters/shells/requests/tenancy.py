"""On whose behalf a call is made, and where its request says so.

Theory of operation. A *tenant* is a customer on whose behalf calls are made. Blocks (`with`) are kept in a context
variable, the innermost last, so that each thread and each task has its own. A block belongs to one session, or to all:

    asked by                     answer
    ---------------------------  -----------------------------------------------------------------
    a session                    the innermost block of its own or of all; then its `set_tenant`
    `current_tenant()`           the innermost block of all, or the call that a session is making
    an adapter, auth, transport  as `current_tenant()`

While a session makes a call it opens a block that only it and `current_tenant()` see. So whatever works for that call
(auth, adapters, hooks) acts for the same tenant, and another session that is used meanwhile keeps to its own.

A block is taken out by itself and not by what was there before it, because generators end in any order.

`Tenancy` writes the tenant into a request: as a header, a subdomain, a Host header or a path prefix. It takes dot
segments out of the URL first, encoded ones as well: "../other" must not climb out of a tenant's path.
"""

from __future__ import annotations

import copy
import re
from collections.abc import MutableMapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import quote

import requests
from urllib3.util import Url

from polvo_adapters.context.tenant import unfit_tenant
from polvo_adapters.core.calls import origin
from polvo_adapters.errors import ConfigurationError
from polvo_adapters.shells.requests.urls import origin_as_sent, parse_as_requests

_SLOT = "{tenant}"
_VISIBLE = re.compile(r"[\x21-\x7e]+")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_PORT = re.compile(r"(?::[0-9]{1,5})?")
_PATH = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+,;=:@-]+)+")
_ADDRESS = re.compile(r"\[.*|[0-9.]+")
_TAKEN = frozenset(
    {
        "authorization",
        "connection",
        "content-length",
        "cookie",
        "expect",
        "host",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


@dataclass(frozen=True, kw_only=True)
class Tenancy:
    """Where requests say on whose behalf they are sent.

    A tenant that does not fit where it is to be written is refused before anything is sent.

    Args:
        header: Name of a header that holds the tenant, which must be visible ASCII then.
        subdomain: Whether the tenant goes before the host of the URL, as a DNS label of its own.
        host: A Host header such as "{tenant}.example.com", while the connection goes to the host of the URL. The
            tenant must be a DNS label.
        path: A prefix such as "/t/{tenant}" that goes before the whole path of the URL, that of a base URL included.
            The tenant is percent-encoded, and may be neither "." nor "..".
        required: Whether a call without a tenant is an error.

    Raises:
        ConfigurationError: A value makes no sense, two contradict each other, or there is none.
    """

    header: str | None = None
    subdomain: bool = False
    host: str | None = None
    path: str | None = None
    required: bool = False

    def __post_init__(self) -> None:
        for field in ("subdomain", "required"):
            if not isinstance(getattr(self, field), bool):
                raise self._wrong(field, "True or False")
        if not (self.header or self.subdomain or self.host or self.path or self.required):
            raise ConfigurationError("Tenancy(): name a header, subdomain, host or path, or required=True")
        if self.header is not None and (not _is(_TOKEN, self.header) or self.header.lower() in _TAKEN):
            raise self._wrong("header", "the name of a header that nothing else is said with")
        if self.host is not None and not (_has_slot(self.host) and _is_host(self.host.replace(_SLOT, "t"))):
            raise self._wrong("host", "a host name with {tenant} in it, such as '{tenant}.example.com'")
        if self.path is not None and not _is_prefix(self.path):
            raise self._wrong("path", "a path with {tenant} in it, such as '/t/{tenant}', without query")
        if self.subdomain and self.host is not None:
            raise self._wrong("host", "None where subdomain=True: both say which host is asked")

    def _wrong(self, field: str, wanted: str) -> ConfigurationError:
        return ConfigurationError(f"Tenancy({field}={getattr(self, field)!r}): {field} must be {wanted}")

    @property
    def names_host(self) -> bool:
        """Whether the tenant is told by the host."""
        return self.subdomain or self.host is not None

    def is_home(self, url: str, name: str, base_url: str | None) -> bool:
        """Tell whether a URL is one of the base URL's origin, or of the tenant's subdomain of it."""
        if base_url is None:
            return True
        here = origin_as_sent(url)
        if here == _base_origin(base_url):
            return True
        if not self.subdomain or not _LABEL.fullmatch(name):
            return False
        return here == origin(self._below(parse_as_requests(base_url), name).url)

    def address(self, url: str, name: str, base_url: str | None, *, relative: bool = False) -> str:
        """Return where a request goes that is made on behalf of a tenant.

        Args:
            url: An absolute URL.
            name: The tenant, or an empty string.
            base_url: The base URL of the session; URLs of other origins are left alone.
            relative: Whether the URL was made of the base URL. One that the caller gave as a whole may be a link
                from an answer, and name the tenant already.
        """
        if not name or not (self.subdomain or self.path) or not self.is_home(url, name, base_url):
            return url
        parts = parse_as_requests(url)
        if self.subdomain and (base_url is None or origin(parts.url) == _base_origin(base_url)):
            parts = self._below(parts, name)
        if self.path:
            prefix, path = self._prefix(name), parts.path or ""
            if relative or not (path + "/").startswith(prefix + "/"):
                parts = parts._replace(path=prefix + path)
        return parts.url

    def applied(self, request: requests.Request, name: str, base_url: str | None) -> requests.Request:
        """Return a request as it is sent on behalf of a tenant.

        Raises:
            ConfigurationError: The tenant does not fit where it is to be written.
        """
        url: Any = request.url
        if not name or not self.is_home(url, name, base_url):
            return request
        request = copy.copy(request)
        request.url = self.address(url, name, base_url)
        told = self._headers(name)
        if told:
            replaced = {header.lower() for header in told}
            given = {
                header: value
                for header, value in dict(request.headers or {}).items()
                if _text(header).lower() not in replaced
            }
            request.headers = {**given, **told}
        return request

    def withdraw(self, headers: MutableMapping[str, Any]) -> None:
        """Take the tenant out of the headers of a request that was redirected to another origin."""
        for header in (self.header, self.host and "Host"):
            if header:
                headers.pop(header, None)

    def _headers(self, name: str) -> dict[str, str]:
        told = {}
        if self.header:
            if not _VISIBLE.fullmatch(name):
                raise unfit_tenant(name, f"the header {self.header} takes visible ASCII only")
            told[self.header] = name
        if self.host:
            told["Host"] = self.host.replace(_SLOT, _label(name, "host"))
            if not _is_host(told["Host"]):
                raise unfit_tenant(name, f"it makes no host name of host={self.host!r}")
        return told

    def _below(self, parts: Url, name: str) -> Url:
        host = parts.host or ""
        if not host or _ADDRESS.fullmatch(host):
            raise ConfigurationError(f"Tenancy(subdomain=True): {host or 'a URL without a host'} can have no subdomain")
        return parts._replace(host=f"{_label(name, 'subdomain')}.{host}")

    def _prefix(self, name: str) -> str:
        if name in (".", ".."):
            raise unfit_tenant(name, "in a path it would mean another place")
        return (self.path or "").rstrip("/").replace(_SLOT, quote(name, safe=""))


@lru_cache(maxsize=64)
def _base_origin(base_url: str) -> str:
    return origin_as_sent(base_url)


def _label(name: str, field: str) -> str:
    if not _LABEL.fullmatch(name):
        wanted = "letters, digits and inner hyphens, at most 63"
        raise unfit_tenant(name, f"as {field} it must be one DNS label ({wanted})")
    return name


def _text(header: str | bytes) -> str:
    return header.decode("latin-1") if isinstance(header, bytes) else header


def _is(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _has_slot(template: object) -> bool:
    return isinstance(template, str) and template.count(_SLOT) == 1


def _is_host(host: str) -> bool:
    name, colon, port = host.partition(":")
    return len(name) <= 253 and all(_is(_LABEL, each) for each in name.split(".")) and _is(_PORT, colon + port)


def _is_prefix(path: object) -> bool:
    if not isinstance(path, str) or not _has_slot(path):
        return False
    filled = path.rstrip("/").replace(_SLOT, "t")
    return _is(_PATH, filled) and not {".", ".."} & set(filled.split("/"))
