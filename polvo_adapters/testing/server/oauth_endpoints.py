"""A token endpoint and a resource that it protects, for tests with tokens that expire, rotate or are revoked.

`POST /oauth/token` issues tokens for the grants client_credentials, password and refresh_token to any client whose
secret is not "wrong". Refresh tokens rotate, and as RFC 9700 section 4.14.2 advises, one that is used twice counts as
stolen: the whole family is revoked. `/oauth/protected` requires a valid access token. `POST /oauth/revoke` (RFC 7009)
revokes the token in its form, or without one every token.
"""

from __future__ import annotations

import secrets
from base64 import b64decode
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote_plus

from polvo_adapters.testing.server.http_messages import RefusedError, Reply, json_reply, require_method

if TYPE_CHECKING:
    from polvo_adapters.testing.server.state import RequestContext

_NO_STORE = [("Cache-Control", "no-store")]


def make_reply(exchange: RequestContext) -> Reply:
    """Return the reply to a request for a path below /oauth/."""
    request, tokens = exchange.request, exchange.state.tokens
    if request.path == "/oauth/protected":
        return _check_token(exchange)
    if request.path not in ("/oauth/token", "/oauth/revoke"):
        raise RefusedError(404, "Not Found")
    require_method(request, "POST")
    form = parse_qs(request.body.kept.decode("utf-8", "replace") if request.body else "")
    fields = {name: values[-1] for name, values in form.items()}
    if _read_secret(request.headers.get("authorization", ""), fields) == "wrong":
        return json_reply(401, {"error": "invalid_client"}, [("WWW-Authenticate", "Basic"), *_NO_STORE])
    exchange.perform()
    if request.path == "/oauth/revoke":
        tokens.revoke(fields.get("token", ""))
        return Reply(200)
    return _issue_token(exchange, fields)


def _issue_token(exchange: RequestContext, fields: dict[str, str]) -> Reply:
    seconds = exchange.request.seconds("expires_in", 60.0)
    tokens, grant, error = exchange.state.tokens, fields.get("grant_type", ""), "unsupported_grant_type"
    issued = None
    if grant == "refresh_token":
        issued, error = tokens.refresh(fields.get("refresh_token", ""), seconds), "invalid_grant"
    elif grant in ("client_credentials", "password"):
        issued = tokens.issue(secrets.token_hex(8), seconds, refreshable=grant == "password")
    return json_reply(400, {"error": error}, _NO_STORE) if issued is None else json_reply(200, issued, _NO_STORE)


def _check_token(exchange: RequestContext) -> Reply:
    scheme, _, token = exchange.request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not exchange.state.tokens.is_valid(token):
        refusal = [("WWW-Authenticate", 'Bearer error="invalid_token"')]
        raise RefusedError(401, "The token is missing, has expired or was revoked", refusal)
    exchange.perform()
    return json_reply(200, {"detail": "authorized"})


def _read_secret(authorization: str, fields: dict[str, str]) -> str:
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return fields.get("client_secret", "")
    try:
        pair = b64decode(encoded).decode("utf-8", "replace")
    except ValueError:
        return "wrong"
    return unquote_plus(pair.partition(":")[2])
