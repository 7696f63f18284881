"""A token as the authorization server issued it, and its text form.

The text is JSON and contains secrets: it is sealed before it leaves the process (`polvo_adapters.auth.tokens.sealing`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeGuard

from polvo_adapters.stores.state_types import has_type

_FIELDS: dict[str, Any] = {
    "access_token": str,
    "token_type": str,
    "expires_in": float | None,
    "refresh_token": str | None,
    "scope": str | None,
    "key": str | None,
    "extra": dict[str, Any],
}


@dataclass(frozen=True, repr=False)
class Token:
    """An access token, and what came with it (RFC 6749 section 5.1).

    Attributes:
        access_token: The text that authorizes requests.
        token_type: "Bearer" or "DPoP".
        expires_in: Lifetime in seconds from when the token was issued, or None if the server did not say.
        refresh_token: The text that a new token is requested with, or None.
        scope: What the token permits, names separated by spaces, or None if the server did not say.
        key: The private key, in PEM, that the token is bound to (RFC 9449), or None.
        extra: Further fields of the response, such as `id_token`.
    """

    access_token: str
    token_type: str = "Bearer"
    expires_in: float | None = None
    refresh_token: str | None = None
    scope: str | None = None
    key: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the token as text, which contains secrets."""
        return json.dumps({name: value for name, value in vars(self).items() if value not in (None, {})})

    @classmethod
    def from_json(cls, text: str) -> Token:
        """Return the token of a text.

        Raises:
            ValueError: The text is not that of a token.
        """
        fields = None
        with suppress(ValueError, RecursionError):  # not chained: such an error contains what was read
            fields = json.loads(text)
        if not _is_token(fields):
            raise ValueError("this is not the text of a token")
        return cls(**fields)

    def __repr__(self) -> str:
        life = "no expiry known" if self.expires_in is None else f"expires in {self.expires_in:g} s"
        return f"<Token {self.token_type}, {life}, {'with' if self.refresh_token else 'no'} refresh token>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Token holds secrets and is not pickled; keep it in a token cache, which encrypts it")


def _is_token(fields: Any) -> TypeGuard[dict[str, Any]]:
    """Return whether a text had the fields of a token: a cache without encryption can be edited."""
    if type(fields) is not dict or not fields.keys() <= _FIELDS.keys():
        return False
    if not all(has_type(value, _FIELDS[name]) for name, value in fields.items()):
        return False
    token = fields.get("access_token", "")
    return bool(token) and str(token).isprintable()  # as it is put into a header
