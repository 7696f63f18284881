"""The text of a token: what is no token is refused as such, in a cache without encryption too."""

from __future__ import annotations

import json
from typing import Any

import pytest

from polvo_adapters.auth.protocol.token import Token
from polvo_adapters.auth.tokens.sealing import DecryptionError, NoEncryption
from polvo_adapters.auth.tokens.token_storage import TokenStorage
from polvo_adapters.runtime.clock import SystemClock

TOKEN = Token("a", "DPoP", 60.0, "r", "s", "k", {"id_token": "i"})
WRONG = [-3, 0.5, float("nan"), 10**400, True, None, [], {}, {"a": [[1]]}, "a", "a\r\nX: y", ""]
RIGHT: dict[str, tuple[type, ...]] = {
    "access_token": (str,),
    "token_type": (str,),
    "expires_in": (int, float, type(None)),
    "refresh_token": (str, type(None)),
    "scope": (str, type(None)),
    "key": (str, type(None)),
    "extra": (dict,),
}


@pytest.mark.parametrize("name", RIGHT)
def test_each_field_has_its_type(name: str) -> None:
    fields = json.loads(TOKEN.to_json())
    for wrong in WRONG:
        try:
            token = Token.from_json(json.dumps({**fields, name: wrong}))
        except ValueError:
            continue
        assert type(getattr(token, name)) in RIGHT[name]
        assert repr(token)
        assert token.expires_in is None or token.expires_in < 1e100
        assert token.access_token.isprintable()


def test_a_token_comes_back() -> None:
    assert Token.from_json(TOKEN.to_json()) == TOKEN
    assert Token.from_json(Token("a").to_json()) == Token("a")


@pytest.mark.parametrize("text", ["", "{", "{}", "5", "null", "[]", '{"access_token":"a","more":1}', "[" * 100_000])
def test_what_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^this is not the text of a token$") as caught:
        Token.from_json(text)
    assert caught.value.__context__ is None


def test_a_record_that_was_edited_cannot_be_unsealed() -> None:
    storage = TokenStorage(None, NoEncryption, SystemClock(), ())
    sealed: Any = NoEncryption().seal("key", '{"access_token":["a"]}')
    with pytest.raises(DecryptionError):
        storage.unseal("key", sealed)
