"""A token as the authorization server gave it, and the text in which it is kept.

The text is JSON. It holds secrets: whoever keeps it outside of this process seals it first
(`polvo_adapters.auth.tokens.sealing`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn


@dataclass(frozen=True, repr=False)
class Token:
    """An access token, and what came with it (RFC 6749 section 5.1).

    Attributes:
        access_token: What a request is authorized by.
        token_type: "Bearer" or "DPoP".
        expires_in: Seconds for which it was valid when it was issued, or None where the server did not say.
        refresh_token: What a new one is obtained by, or None.
        scope: What it is good for, names separated by spaces, or None where the server did not say.
        key: The private key that it is bound to (RFC 9449), in PEM, or None.
        extra: What else the server sent, such as `id_token`.
    """

    access_token: str
    token_type: str = "Bearer"
    expires_in: float | None = None
    refresh_token: str | None = None
    scope: str | None = None
    key: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the text in which it is kept; it holds secrets."""
        return json.dumps({name: value for name, value in vars(self).items() if value not in (None, {})})

    @classmethod
    def from_json(cls, text: str) -> Token:
        """Return the token of a text.

        Raises:
            ValueError: It is no such text.
        """
        try:
            return cls(**json.loads(text))
        except TypeError:
            raise ValueError("this is not the text of a token") from None

    def __repr__(self) -> str:
        life = "no expiry known" if self.expires_in is None else f"expires in {self.expires_in:g} s"
        return f"<Token {self.token_type}, {life}, {'with' if self.refresh_token else 'no'} refresh token>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Token holds secrets and is not pickled; keep it in a token cache, which encrypts it")
