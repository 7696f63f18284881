"""The keywords of auth objects: each is declared once, and an unknown one is named."""

from __future__ import annotations

from typing import Any

import pytest

from polvo_adapters.auth import JWTLogin, OAuth2
from polvo_adapters.auth.options import (
    ConnectionOptions,
    GrantOptions,
    JWTLoginOptions,
    OAuth2Options,
    ServerOptions,
    TokenAuthOptions,
)
from polvo_adapters.auth.protocol.server import AuthorizationServer

URL = "https://id.example.com/token"
MAKERS: dict[str, Any] = {
    "OAuth2": lambda **keywords: OAuth2(client_id="app", client_secret="s", token_url=URL, **keywords),
    "JWTLogin": lambda **keywords: JWTLogin(URL, "alice", "s", **keywords),
    "AuthorizationServer": lambda **keywords: AuthorizationServer(client_id="app", token_url=URL, **keywords),
}


@pytest.mark.parametrize("owner", MAKERS)
def test_an_unknown_keyword_is_a_type_error_that_names_it(owner: str) -> None:
    with pytest.raises(TypeError, match=rf"^{owner}: there is no keyword time_out; did you mean timeout\?$"):
        MAKERS[owner](time_out=5)


@pytest.mark.parametrize(
    ("name", "here"),
    [
        ("grant_type", "flow"),
        ("scopes", "scope"),
        ("token_endpoint", "token_url"),
        ("authorize_url", "authorization_url"),
        ("redirect_url", "redirect_uri"),
        ("token_endpoint_auth_method", "client_authentication"),
        ("auto_refresh_url", "token_url"),
    ],
)
def test_a_keyword_of_another_library_is_translated(name: str, here: str) -> None:
    with pytest.raises(TypeError, match=rf"^OAuth2: there is no keyword {name}; it is {here}$"):
        OAuth2(**{name: "x"})
    with pytest.raises(TypeError, match=rf"^OAuth2.for_vendor: there is no keyword {name}; it is {here}$"):
        OAuth2.for_vendor("slack", **{name: "x"})


@pytest.mark.parametrize(
    ("kind", "parts"),
    [
        (OAuth2Options, (GrantOptions, ServerOptions, TokenAuthOptions)),
        (JWTLoginOptions, (ConnectionOptions, TokenAuthOptions)),
    ],
)
def test_each_keyword_is_declared_once_and_explained(kind: Any, parts: tuple[Any, ...]) -> None:
    names = [name for part in parts for name in part.__annotations__]
    assert sorted(names) == sorted(kind.__annotations__)
    for part in (*parts, ConnectionOptions):
        own = part.__annotations__.keys() - (ConnectionOptions.__annotations__.keys() if part is ServerOptions else ())
        assert all(f"        {name}: " in (part.__doc__ or "") for name in own)
