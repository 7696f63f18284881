"""Tokens that a function of the user's returns, and what a request for the next token needs of the last."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeAlias, Union, cast

from polvo_adapters.auth.protocol.server_response import ServerResponse
from polvo_adapters.auth.protocol.token import Token
from polvo_adapters.auth.protocol.token_response import parse_token

TokenLike: TypeAlias = Union[Token, Mapping[str, Any], str]  # noqa: UP007 - evaluated at import by Python 3.10 tools
"""A token as a user's function may return it: a Token, the server's response as a mapping, or its text alone."""


def make_token(given: TokenLike) -> Token:
    """Return the result of a user's function as a token.

    Raises:
        TokenRefreshError: It is no token, or cannot be sent.
    """
    if isinstance(given, Token):
        make_token({"access_token": given.access_token, "token_type": given.token_type, "key": given.key})
        return given
    fields = {"access_token": given} if isinstance(given, str) else dict(given)
    response = ServerResponse("fetch", "a token", 200, {}, json.dumps(fields).encode())
    return parse_token(response, cast("str | None", fields.get("key")))


def keep_from(held: Token | None) -> dict[str, Any]:
    """Return what the request for the next token needs of the last one: its key, and its text for some endpoints."""
    return {} if held is None else {"key": held.key, "access_token": held.access_token}
