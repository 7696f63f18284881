"""Where the endpoints of an authorization server are, by its issuer's name alone.

Theory of operation. The server publishes a document at a place that follows from its name: RFC 8414 puts
`/.well-known/oauth-authorization-server` before the path, OpenID Connect puts `/.well-known/openid-configuration`
behind it. The first that is there counts. It must name the very issuer that was asked for, or anybody who may place a
file on a host could pass for the server; and its endpoints must be reached by https.

    reason                  what is wrong
    ----------------------  ---------------------------------------------------
    "issuer mismatch"       the document is another issuer's
    "insecure endpoint"     an endpoint is not https, and not on this machine
    as `answers`            there is no document
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from polvo_adapters.auth.protocol.server_response import failure, request_once, require_fields
from polvo_adapters.core.calls import origin
from polvo_adapters.errors import TokenRefreshError
from polvo_adapters.shells.requests.one_shot import Channel

_WHAT = "discovery"
_UNREACHABLE = ("timeout", "connection", "tls")


def discover(issuer: str, channel: Channel) -> dict[str, Any]:
    """Return the document of an issuer.

    Args:
        issuer: Its name, a URL.
        channel: How to get there.

    Raises:
        TokenRefreshError: There is none, or it is another issuer's.

    Source: RFC 8414 section 3, OpenID Connect Discovery 1.0 section 4.
    """
    problem: TokenRefreshError | None = None
    for url in well_known(issuer):
        try:
            found = require_fields(request_once(channel, "GET", url, _WHAT))
            if found.get("issuer") != issuer:
                raise failure(origin(issuer).partition("://")[2], _WHAT, "issuer mismatch")
        except TokenRefreshError as error:
            if error.reason in _UNREACHABLE:
                raise
            # A document of somebody else's tells more than that there is none at the other place.
            problem = error if problem is None or problem.reason != "issuer mismatch" else problem
            continue
        return found
    assert problem is not None  # noqa: S101 - there are always two places
    raise problem


def well_known(issuer: str) -> tuple[str, str]:
    """Return the places where the document of an issuer may be."""
    base, path = origin(issuer), urlsplit(issuer).path.rstrip("/")
    return f"{base}/.well-known/oauth-authorization-server{path}", f"{base}{path}/.well-known/openid-configuration"


def endpoint(found: dict[str, Any], name: str, *, mtls: bool) -> str | None:
    """Return the URL of an endpoint that the document names, or None.

    Args:
        found: The document.
        name: Name of the endpoint, such as "token_endpoint".
        mtls: Whether the client presents a certificate, for which there may be another URL (RFC 8705 section 5).
    """
    aliases = found.get("mtls_endpoint_aliases")
    url = aliases.get(name) if mtls and isinstance(aliases, dict) else None
    url = url or found.get(name)
    return url if isinstance(url, str) and url else None
