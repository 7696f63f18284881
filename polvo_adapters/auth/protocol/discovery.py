"""Discovery of the endpoints of an authorization server from its issuer's name.

Theory of operation. The server publishes a document at a URL that follows from its name: RFC 8414 puts
`/.well-known/oauth-authorization-server` before the path, OpenID Connect puts `/.well-known/openid-configuration`
behind it. The first document found counts. It must name the requested issuer, otherwise any user who may place a file
on a host could impersonate the server; and its endpoints must be https URLs.

    reason                  what is wrong
    ----------------------  ---------------------------------------------------
    "issuer mismatch"       the document is another issuer's
    "insecure endpoint"     an endpoint is not https, and not on this machine
    as `token_response`     there is no document
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from polvo_adapters.auth.protocol.server_response import ServerResponse, request_once
from polvo_adapters.auth.protocol.token_response import require_fields
from polvo_adapters.core.calls import origin
from polvo_adapters.errors import TokenRefreshError
from polvo_adapters.shells.requests.one_shot import Channel
from polvo_adapters.shells.server_words import redact_description

_WHAT = "discovery"
_UNREACHABLE = ("timeout", "connection", "tls")


def discover(issuer: str, channel: Channel) -> dict[str, Any]:
    """Return the document of an issuer.

    Args:
        issuer: Name of the issuer, a URL.
        channel: The way to the issuer.

    Raises:
        TokenRefreshError: There is no document, or it is another issuer's.

    Source: RFC 8414 section 3, OpenID Connect Discovery 1.0 section 4.
    """
    problem: TokenRefreshError | None = None
    for url in well_known_urls(issuer):
        try:
            response = request_once(channel, "GET", url, _WHAT)
            document = require_fields(response)
            if document.get("issuer") == issuer:
                return document
            raise _make_mismatch_error(response.host, issuer, document.get("issuer"))
        except TokenRefreshError as error:  # noqa: PERF203 - there are two URLs
            if error.reason in _UNREACHABLE:
                raise
            # The same question gets the same answer, until a person changes a setting here or there.
            error.final = error.final or (300 <= error.status < 500 and error.status not in (408, 425, 429))
            # A document of another issuer says more than its absence at the other URL.
            problem = error if problem is None or problem.reason != "issuer mismatch" else problem
    assert problem is not None  # noqa: S101 - there are always two URLs
    raise problem


def _make_mismatch_error(host: str, issuer: str, named: object) -> TokenRefreshError:
    """Return the error for the document of another issuer, which says what to set."""
    shown = redact_description(named, ())
    if not shown:
        description = "the document names no issuer"
    elif shown.rstrip("/") == issuer.rstrip("/"):
        description = f"the names differ by the last slash only; set issuer={shown!r}, exactly as the server writes it"
    else:
        description = f"the document is that of {shown!r}, and issuer={issuer!r} was set"
    return ServerResponse(host, _WHAT).make_error("issuer mismatch", description, final=True)


def well_known_urls(issuer: str) -> tuple[str, str]:
    """Return the URLs where the document of an issuer may be."""
    base, path = origin(issuer), urlsplit(issuer).path.rstrip("/")
    return f"{base}/.well-known/oauth-authorization-server{path}", f"{base}{path}/.well-known/openid-configuration"


def find_endpoint(found: dict[str, Any], name: str, *, mtls: bool) -> str | None:
    """Return the URL of an endpoint that the document names, or None.

    Args:
        found: The document.
        name: Name of the endpoint, such as "token_endpoint".
        mtls: Whether the client presents a certificate; for such clients there may be another URL (RFC 8705 section 5).
    """
    aliases = found.get("mtls_endpoint_aliases")
    url = aliases.get(name) if mtls and isinstance(aliases, dict) else None
    url = url or found.get(name)
    return url if isinstance(url, str) and url else None
