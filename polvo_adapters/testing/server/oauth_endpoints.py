"""A token endpoint and what it protects, to try out how a client lives with tokens that expire, rotate or are revoked.

`POST /oauth/token` gives tokens for the grants client_credentials, password and refresh_token to any client whose
secret is not "wrong". Refresh tokens rotate, and as RFC 9700 section 4.14.2 advises, one that is used twice is a stolen
one: the whole family is revoked. `/oauth/protected` wants an access token that still holds. `POST /oauth/revoke`
(RFC 7009) makes a token invalid, or without one every token there is.
"""

from __future__ import annotations

import secrets
from base64 import b64decode
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote_plus

from polvo_adapters.testing.server.http_messages import (
    RefusedError,
    Reply,
    json_reply,
    method_not_allowed,
)

if TYPE_CHECKING:
    from polvo_adapters.testing.server.state import RequestContext
_NO_STORE = [("Cache-Control", "no-store")]


def answer(exchange: RequestContext) -> Reply:
    """Answer a request to an endpoint below /oauth/."""
    request, tokens = exchange.request, exchange.state.tokens
    if request.path == "/oauth/protected":
        return _protected(exchange)
    if request.path not in ("/oauth/token", "/oauth/revoke"):
        raise RefusedError(404, "Not Found")
    if request.method != "POST":
        raise method_not_allowed("POST")
    fields = _fields(exchange)
    if _secret(request.headers.get("authorization", ""), fields) == "wrong":
        return json_reply(401, {"error": "invalid_client"}, [("WWW-Authenticate", "Basic"), *_NO_STORE])
    exchange.perform()
    if request.path == "/oauth/revoke":
        tokens.revoke(fields.get("token", ""))
        return Reply(200)
    return _token(exchange, fields)


def _token(exchange: RequestContext, fields: dict[str, str]) -> Reply:
    seconds = exchange.request.seconds("expires_in", 60.0)
    tokens, grant = exchange.state.tokens, fields.get("grant_type", "")
    if grant == "refresh_token":
        refreshed = tokens.refresh(fields.get("refresh_token", ""), seconds)
        if refreshed is None:
            return json_reply(400, {"error": "invalid_grant"}, _NO_STORE)
        return json_reply(200, refreshed, _NO_STORE)
    if grant not in ("client_credentials", "password"):
        return json_reply(400, {"error": "unsupported_grant_type"}, _NO_STORE)
    issued = tokens.issue(secrets.token_hex(8), seconds, refreshable=grant == "password")
    return json_reply(200, issued, _NO_STORE)


def _protected(exchange: RequestContext) -> Reply:
    scheme, _, token = exchange.request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not exchange.state.tokens.holds(token):
        refusal = [("WWW-Authenticate", 'Bearer error="invalid_token"')]
        raise RefusedError(401, "The token is missing, has expired or was revoked", refusal)
    exchange.perform()
    return json_reply(200, {"detail": "authorized"})


def _fields(exchange: RequestContext) -> dict[str, str]:
    body = exchange.request.body
    given = parse_qs((body.kept if body else b"").decode("utf-8", "replace"))
    return {name: values[-1] for name, values in given.items()}


def _secret(authorization: str, fields: dict[str, str]) -> str:
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return fields.get("client_secret", "")
    try:
        pair = b64decode(encoded).decode("utf-8", "replace")
    except ValueError:
        return "wrong"
    return unquote_plus(pair.partition(":")[2])
