"""Checks of an authorization server's settings, and the tenant's place in them.

Theory of operation. `{tenant}` in a URL is replaced by the tenant, quoted so that it stays where it was put: a tenant
cannot end the path and begin a query, and as a part of the host it must be one label.
"""

from __future__ import annotations

import math
import re
from urllib.parse import quote

from polvo_adapters.auth.discovery import is_secure
from polvo_adapters.errors import ConfigurationError

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
