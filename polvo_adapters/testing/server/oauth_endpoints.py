"""A small authorization server and a resource that it protects: tokens that expire, rotate or are revoked.

`POST /oauth/token` issues tokens for the grants client_credentials, password, refresh_token, authorization_code and
device_code to any client whose secret is not "wrong"; `login_endpoints` has the endpoints of the last two. Refresh
tokens rotate, and as RFC 9700 section 4.14.2 advises, one that is used twice counts as stolen: the whole family is
revoked. `/oauth/protected` requires a valid access token. `POST /oauth/revoke` (RFC 7009) revokes the token in its
form, or without one every token.
"""

from __future__ import annotations

import secrets
from base64 import b64decode
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote_plus

from polvo_adapters.testing.server import login_endpoints
from polvo_adapters.testing.server.http_messages import RefusedError, Reply, json_reply, require_method
from polvo_adapters.testing.server.login_endpoints import DEVICE_CODE_GRANT, NO_STORE

if TYPE_CHECKING:
    from polvo_adapters.testing.server.pending_logins import DeviceGrant, Grant
    from polvo_adapters.testing.server.state import RequestContext

_FORM_PATHS = ("/oauth/token", "/oauth/revoke", "/oauth/device_authorization")


def make_reply(exchange: RequestContext) -> Reply:
    """Return the reply to a request for a path below /oauth/, or for the document that names them."""
    path = exchange.request.path
    if path.startswith(login_endpoints.WELL_KNOWN):
        return login_endpoints.describe_server(exchange, _find_origin(exchange))
    if path == "/oauth/protected":
        return _check_token(exchange)
    if path == "/oauth/authorize":
        return login_endpoints.authorize(exchange)
    if path == "/oauth/device":
        return login_endpoints.confirm_device(exchange, _read_form(exchange))
    if path not in _FORM_PATHS:
        raise RefusedError(404, "Not Found")
    return _answer_client(exchange)


def _answer_client(exchange: RequestContext) -> Reply:
    """Return the reply to a client, which authenticates."""
    request = exchange.request
    require_method(request, "POST")
    fields = _read_form(exchange)
    client_id, is_known = _identify_client(request.headers.get("authorization", ""), fields)
    if not is_known:
        return json_reply(401, {"error": "invalid_client"}, [("WWW-Authenticate", "Basic"), *NO_STORE])
    fields["client_id"] = client_id
    if request.path == "/oauth/device_authorization":
        return login_endpoints.begin_device_login(exchange, fields, _find_origin(exchange))
    exchange.perform()
    if request.path == "/oauth/revoke":
        exchange.state.tokens.revoke(fields.get("token", ""))
        return Reply(200)
    return _issue_token(exchange, fields)


def _issue_token(exchange: RequestContext, fields: dict[str, str]) -> Reply:
    seconds = exchange.request.seconds("expires_in", 60.0)
    tokens, name, error = exchange.state.tokens, fields.get("grant_type", ""), "unsupported_grant_type"
    issued = None
    if name == "refresh_token":
        issued, error = tokens.refresh(fields.get("refresh_token", ""), seconds), "invalid_grant"
    elif name in ("client_credentials", "password"):
        issued = tokens.issue(secrets.token_hex(8), seconds, refreshable=name == "password")
    elif name in ("authorization_code", DEVICE_CODE_GRANT):
        redeem = _redeem_code if name == "authorization_code" else _redeem_device
        grant, error = redeem(exchange, fields)
        if grant is not None:
            grant.used = True
            issued = tokens.issue(grant.family, seconds, refreshable=True)
            issued.update({"scope": grant.scope} if grant.scope else {})
    return json_reply(400, {"error": error}, NO_STORE) if issued is None else json_reply(200, issued, NO_STORE)


def _redeem_code(exchange: RequestContext, fields: dict[str, str]) -> tuple[Grant | None, str]:
    """Return what the user has agreed to in a browser, or None and the error (RFC 6749 section 4.1.3)."""
    grant = exchange.state.logins.codes.get(fields.get("code", ""))
    if grant is None or grant.is_expired:
        return None, "invalid_grant"
    if grant.used:
        # A code that comes twice was stolen, and it is not known from which of the two clients.
        exchange.state.tokens.revoke_family(grant.family)
        return None, "invalid_grant"
    if (grant.client_id, grant.redirect_uri) != (fields.get("client_id", ""), fields.get("redirect_uri", "")):
        return None, "invalid_grant"
    return (grant, "") if grant.matches(fields.get("code_verifier", "")) else (None, "invalid_grant")


def _redeem_device(exchange: RequestContext, fields: dict[str, str]) -> tuple[Grant | None, str]:
    """Return what the user has agreed to elsewhere, or None and the error (RFC 8628 section 3.5)."""
    grant = exchange.state.logins.devices.get(fields.get("device_code", ""))
    if grant is None or grant.used or grant.client_id != fields.get("client_id", ""):
        return None, "invalid_grant"
    error = _find_device_error(grant)
    return (None, error) if error else (grant, "")


def _find_device_error(grant: DeviceGrant) -> str:
    if grant.is_expired:
        return "expired_token"
    if grant.is_polled_too_early():
        return "slow_down"
    return {"pending": "authorization_pending", "denied": "access_denied"}.get(grant.decision, "")


def _check_token(exchange: RequestContext) -> Reply:
    scheme, _, token = exchange.request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not exchange.state.tokens.is_valid(token):
        refusal = [("WWW-Authenticate", 'Bearer error="invalid_token"')]
        raise RefusedError(401, "The token is missing, has expired or was revoked", refusal)
    exchange.perform()
    return json_reply(200, {"detail": "authorized"})


def _find_origin(exchange: RequestContext) -> str:
    """Return scheme, host and port of this server as the client has written them."""
    return exchange.connection.origin_for(exchange.request.headers.get("host", ""))


def _read_form(exchange: RequestContext) -> dict[str, str]:
    body = exchange.request.body
    form = parse_qs(body.kept.decode("utf-8", "replace") if body else "", keep_blank_values=True)
    return {name: values[-1] for name, values in form.items()}


def _identify_client(authorization: str, fields: dict[str, str]) -> tuple[str, bool]:
    """Return the name of the client, and whether its secret is anything but "wrong"."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return fields.get("client_id", ""), fields.get("client_secret") != "wrong"
    try:
        name, _, secret = b64decode(encoded).decode("utf-8", "replace").partition(":")
    except ValueError:
        return "", False
    return unquote_plus(name), unquote_plus(secret) != "wrong"
