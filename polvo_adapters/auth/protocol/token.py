"""A token as the authorization server issued it, and its text form.

The text is JSON and contains secrets: it is sealed before it leaves the process (`polvo_adapters.auth.tokens.sealing`).
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
        try:
            return cls(**json.loads(text))
        except TypeError:
            raise ValueError("this is not the text of a token") from None

    def __repr__(self) -> str:
        life = "no expiry known" if self.expires_in is None else f"expires in {self.expires_in:g} s"
        return f"<Token {self.token_type}, {life}, {'with' if self.refresh_token else 'no'} refresh token>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Token holds secrets and is not pickled; keep it in a token cache, which encrypts it")
