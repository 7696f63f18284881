"""The endpoints at which users log in, and the document that names them, so that every login can be tried.

    GET  /.well-known/oauth-authorization-server      the names of all endpoints (RFC 8414)
    GET  /oauth/authorize                             a page that asks the user, and the redirect (RFC 6749)
    POST /oauth/device_authorization                  codes for a device and its user (RFC 8628)
    GET  /oauth/device, POST /oauth/device            the page where the user types the code in

A page has a button to approve and one to deny. They send `decision=approve` or `decision=deny`; a test sends that
itself. With `approval=automatic` or `approval=denied` in the query of an endpoint no user is asked. An issuer with that
path, such as http://127.0.0.1:8000/automatic, has endpoints with that query.
"""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from polvo_adapters.testing.server.http_messages import (
    RefusedError,
    Reply,
    Request,
    invalid_value,
    json_reply,
    require_method,
)

if TYPE_CHECKING:
    from polvo_adapters.testing.server.pending_logins import Decision
    from polvo_adapters.testing.server.state import RequestContext

WELL_KNOWN = "/.well-known/oauth-authorization-server"
NO_STORE = [("Cache-Control", "no-store")]
DEVICE_CODE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"

_APPROVALS = ("ask", "automatic", "denied")
_REDIRECT_URI = re.compile(r"https?://[!\"$-;=?-~]+")  # without line breaks, blanks, fragment, < and >
_LONGEST_LIFETIME = 86_400.0
_PAGE_HEADERS = [
    ("Content-Type", "text/html; charset=utf-8"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    *NO_STORE,
]
_PAGE = """\
<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title></head>
<body><h1>{title}</h1>{content}</body></html>
"""
_BUTTONS = """\
<button name="decision" value="approve">Approve</button> <button name="decision" value="deny">Deny</button></form>
"""


def describe_server(exchange: RequestContext, origin: str) -> Reply:
    """Return the document of an issuer, whose path is the approval of its endpoints.

    Args:
        exchange: The request.
        origin: Scheme, host and port of this server, as the client sees them.
    """
    require_method(exchange.request, "GET")
    path = exchange.request.path.removeprefix(WELL_KNOWN)
    if path not in ("", *(f"/{approval}" for approval in _APPROVALS)):
        raise RefusedError(404, "Not Found")
    query = f"?approval={path[1:]}" if path else ""
    document = {
        "issuer": origin + path,
        "authorization_endpoint": f"{origin}/oauth/authorize{query}",
        "device_authorization_endpoint": f"{origin}/oauth/device_authorization{query}",
        "token_endpoint": f"{origin}/oauth/token",
        "revocation_endpoint": f"{origin}/oauth/revoke",
        "response_types_supported": ["code"],
        "grant_types_supported": [
            "authorization_code",
            "client_credentials",
            "password",
            "refresh_token",
            DEVICE_CODE_GRANT,
        ],
        "code_challenge_methods_supported": ["S256", "plain"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
    }
    return json_reply(200, document)


def authorize(exchange: RequestContext) -> Reply:
    """Return the page that asks the user, or the redirect back to the client.

    Source: RFC 6749 section 4.1.1, RFC 7636 section 4.3.
    """
    request = exchange.request
    require_method(request, "GET")
    client_id, redirect_uri = request.text("client_id", ""), request.text("redirect_uri", "")
    if not client_id:
        raise invalid_value("query", "client_id", "the name of a client")
    if not _REDIRECT_URI.fullmatch(redirect_uri):
        raise invalid_value("query", "redirect_uri", "a whole URL, http or https, without a fragment")
    error = _find_mistake(request)
    if error:
        return _redirect(request, redirect_uri, {"error": error[0], "error_description": error[1]})
    decision = _decide(request)
    if decision == "pending":
        return _ask(request, client_id)
    if decision == "denied":
        return _redirect(request, redirect_uri, {"error": "access_denied"})
    exchange.perform()
    challenge, method = request.text("code_challenge", ""), request.text("code_challenge_method", "plain")
    logins = exchange.state.logins
    code = logins.grant_code(client_id, request.text("scope", ""), redirect_uri, challenge, method)
    return _redirect(request, redirect_uri, {"code": code})


def begin_device_login(exchange: RequestContext, fields: dict[str, str], origin: str) -> Reply:
    """Return the codes of a new device login; `expires_in` and `interval` in the query are its times.

    Source: RFC 8628 section 3.2.
    """
    request, logins = exchange.request, exchange.state.logins
    client_id = fields.get("client_id", "")
    if not client_id:
        return json_reply(400, {"error": "invalid_request", "error_description": "client_id is missing"}, NO_STORE)
    lifetime = min(request.seconds("expires_in", 600.0), _LONGEST_LIFETIME)
    interval = request.seconds("interval", 1.0, minimum=0.001)
    device_code = logins.begin_device_login(client_id, fields.get("scope", ""), lifetime, interval)
    grant = logins.devices[device_code]
    grant.decision = _decide(request)
    exchange.perform()
    page = f"{origin}/oauth/device"
    answer = {
        "device_code": device_code,
        "user_code": grant.user_code,
        "verification_uri": page,
        "verification_uri_complete": f"{page}?{urlencode({'user_code': grant.user_code})}",
        "expires_in": lifetime,
        "interval": interval,
    }
    return json_reply(200, answer, NO_STORE)


def confirm_device(exchange: RequestContext, fields: dict[str, str]) -> Reply:
    """Return the page where a user types in the code, or the one that says what became of it."""
    request = exchange.request
    require_method(request, "GET", "POST")
    if request.method == "GET":
        code = html.escape(request.text("user_code", ""))
        field = f'<p>Code: <input name="user_code" value="{code}" autofocus></p>'
        return _page(200, "Log in on a device", f'<form method="post" action="/oauth/device">{field}{_BUTTONS}')
    grant = exchange.state.logins.find_device(fields.get("user_code", ""))
    if grant is None or grant.is_expired or grant.used:
        return _page(404, "This code is not known", "<p>It may have expired. Begin another login on the device.</p>")
    if fields.get("decision", "approve") != "approve":
        grant.decision = "denied"
        return _page(200, "Denied", "<p>The device is not logged in.</p>")
    grant.decision = "approved"
    return _page(200, "Approved", "<p>Go on at your device.</p>")


def _find_mistake(request: Request) -> tuple[str, str] | None:
    """Return the error of an authorization request, and its description."""
    if request.text("response_type", "") != "code":
        return "unsupported_response_type", "response_type must be code"
    if request.text("code_challenge_method", "plain") not in ("S256", "plain"):
        return "invalid_request", "code_challenge_method must be S256 or plain"
    if request.text("code_challenge_method", "") and not request.text("code_challenge", ""):
        return "invalid_request", "code_challenge is missing"
    return None


def _decide(request: Request) -> Decision:
    """Return what the query says in place of a user."""
    approval = request.text("approval", "ask")
    if approval not in _APPROVALS:
        raise invalid_value("query", "approval", "one of " + ", ".join(_APPROVALS))
    decision = {"automatic": "approve", "denied": "deny"}.get(approval) or request.text("decision", "")
    if decision == "approve":
        return "approved"
    return "denied" if decision else "pending"


def _ask(request: Request, client_id: str) -> Reply:
    """Return a page whose buttons send the request again, with the decision."""
    names = ("response_type", "client_id", "redirect_uri", "scope", "state", "code_challenge", "code_challenge_method")
    kept = {name: request.text(name, "") for name in names if request.texts(name)}
    fields = "".join(
        f'<input type="hidden" name="{name}" value="{html.escape(value)}">' for name, value in kept.items()
    )
    scope = html.escape(kept.get("scope", "") or "nothing in particular")
    text = f"<p>{html.escape(client_id)} asks for: {scope}</p>"
    return _page(200, "Log in", f'{text}<form method="get" action="/oauth/authorize">{fields}{_BUTTONS}')


def _redirect(request: Request, redirect_uri: str, answer: dict[str, str]) -> Reply:
    """Return the redirect that carries an answer to the client, and repeats the state."""
    if request.texts("state"):
        answer = {**answer, "state": request.text("state", "")}
    separator = "&" if "?" in redirect_uri else "?"
    location = f"{redirect_uri}{separator}{urlencode(answer, errors='surrogateescape')}"
    return Reply(302, [("Location", location), *NO_STORE])


def _page(status: int, title: str, content: str) -> Reply:
    body = _PAGE.format(title=title, content=content).encode("utf-8", "surrogateescape")
    return Reply(status, list(_PAGE_HEADERS), body)
