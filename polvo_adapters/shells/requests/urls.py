r"""A URL as `requests` reads it.

Two readers of one URL may find two hosts in it: that of "http://a\@b/" is `a` to urllib3, and `b` to `urllib.parse`.
What decides who may get a credential has to read it as that one does which opens the connection.
"""

from __future__ import annotations

import ipaddress
import math
import re
from urllib.parse import quote, urlsplit

import requests
from urllib3.exceptions import LocationParseError
from urllib3.util import Url, parse_url

from polvo_adapters.core.calls import origin
from polvo_adapters.errors import ConfigurationError


def parse_as_requests(url: str) -> Url:
    """Return the parts of a URL as `requests` comes to send it, but without dot segments.

    `requests` takes out plain ones, decodes "%2e", and leaves it to the server to take out what that makes.

    Raises:
        requests.RequestException: It is no URL.
    """
    prepared = requests.PreparedRequest()
    prepared.prepare_url(url, None)
    try:
        return parse_url(prepared.url or "")
    except LocationParseError:  # of a scheme that requests leaves alone
        raise requests.exceptions.InvalidURL("the host of the URL cannot be read; nothing was sent") from None


def origin_as_sent(url: str) -> str:
    """Return the origin that a request to a URL goes to, where other readings of the URL differ."""
    return origin(parse_as_requests(url).url)


def is_secure(url: str, *, loopback: bool = True) -> bool:
    """Tell whether secrets may be sent to a URL: by https, or on this very machine.

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
    """Tell whether a host name or address is this very machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


_MARK = "{tenant}"

_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\Z")


def url(field: str, given: str, tenant: str, allow_http: bool) -> str:
    """Return a URL with the tenant in its place.

    Args:
        field: Name of the setting, for messages.
        given: Its value.
        tenant: The tenant.
        allow_http: Whether plain http is good enough for every host.

    Raises:
        ConfigurationError: Secrets may not be sent there, or the tenant does not fit.
    """
    if not isinstance(given, str):
        raise ConfigurationError(f"{field} must be a URL")
    host = given.partition("://")[2].partition("/")[0]
    if _MARK in given:
        _check(field, tenant)
        if _MARK in host and not _LABEL.match(tenant):
            raise ConfigurationError(f"{field}: the tenant {tenant!r} cannot be part of a host name")
    text = given.replace(_MARK, quote(tenant, safe=""))
    if is_secure(text) or (allow_http and text.startswith("http://") and is_secure("https" + text[4:])):
        return text
    shown = "..." if "@" in host else repr(given)  # what may be a password is not shown
    raise ConfigurationError(
        f"{field}={shown}: it must be an https URL without credentials, or http on this machine; allow_http=True lets "
        "secrets go over plain http"
    )


def client_id(given: str, tenant: str) -> str:
    """Return the client's name with the tenant in its place.

    Args:
        given: The setting.
        tenant: The tenant.

    Raises:
        ConfigurationError: It is empty, or there is no tenant.
    """
    if not isinstance(given, str) or not given:
        raise ConfigurationError("client_id must be a text that is not empty")
    if _MARK in given:
        _check("client_id", tenant)
    return given.replace(_MARK, tenant)


def positive(field: str, value: float) -> float:
    """Return a number of seconds.

    Raises:
        ConfigurationError: It is no positive, finite number.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise ConfigurationError(f"{field}={value!r}: it must be a number of seconds above 0")
    return float(value)


def _check(field: str, tenant: str) -> None:
    if not tenant:
        raise ConfigurationError(f"{field}: it has a place for a tenant, and there is none; choose one first")
    if tenant in (".", ".."):
        raise ConfigurationError(f"{field}: the tenant {tenant!r} cannot be part of a URL")
