"""The use of a refresh token, which is not sent again once the server may have used it up.

The auth object remembers what became of it, and so does the store, for all that share it; see
`polvo_adapters.refresh.spent_tokens`. The table of what may happen is in
`polvo_adapters.auth.tokens.refresh_verdict`.
"""

from __future__ import annotations

from collections.abc import Callable

from polvo_adapters.auth.protocol.token import Token
from polvo_adapters.auth.tokens.token_storage import TokenStorage
from polvo_adapters.core.machines import Event
from polvo_adapters.errors import TokenRefreshError
from polvo_adapters.refresh.spent_tokens import SpentTokens, digest_refresh_token


class RefreshTokenUse:
    """One use of one refresh token.

    Args:
        refresh_token: The refresh token, of which a digest is kept.
        key: Key of the token that it refreshes, in the store.
        storage: The storage of that token.
        spent: The digests of spent refresh tokens that the auth object remembers; spent ones are added.
    """

    def __init__(self, refresh_token: str, key: str, storage: TokenStorage, spent: set[str]) -> None:
        self._digest = digest_refresh_token(refresh_token)
        self._key, self._storage, self._spent = f"spent {key}", storage, spent

    def is_spent(self) -> bool:
        """Return whether the refresh token must not be sent."""
        in_store = self._decide("")
        return self._digest in self._spent or self._digest in in_store

    def note_failure(
        self, error: TokenRefreshError, judge: Callable[[TokenRefreshError], bool | None] | None, *, is_spent: bool
    ) -> None:
        """Remember what an error of the server says of the refresh token.

        Args:
            error: The error; `judge` may change its `final`.
            judge: The caller's function that says whether an error is final, or None where it does not know.
            is_spent: Whether the server may have used up the refresh token, unless `judge` says otherwise.
        """
        try:
            verdict = None if judge is None else judge(error)
            error.final = error.final if verdict is None else bool(verdict)
            is_spent = is_spent and error.final
        finally:  # whatever the caller's function raises
            if is_spent:
                self._mark_spent()

    def note_success(self, token: Token, held: Token | None) -> None:
        """Remember that the server has issued a token for the refresh token.

        Args:
            token: The token.
            held: The last token before, or None.
        """
        if token.refresh_token is None:
            self._mark_spent()
        elif not self._is_in(token) and (held is None or not self._is_in(held)):
            self._spent.add(self._digest)  # the settings still have it; others find its successor in the store

    def _is_in(self, token: Token) -> bool:
        return token.refresh_token is not None and digest_refresh_token(token.refresh_token) == self._digest

    def _mark_spent(self) -> None:
        self._spent.add(self._digest)
        self._decide(self._digest)

    def _decide(self, digest: str) -> tuple[str, ...]:
        """Add a digest to those in the store, or an empty text to look only, and return all of them."""
        spent: tuple[str, ...]
        (spent,) = self._storage.with_fallback().decide((Event(SpentTokens(), self._key, digest),))
        return spent
