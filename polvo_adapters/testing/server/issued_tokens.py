"""The tokens that the failure server has issued."""

from __future__ import annotations

import secrets
import time

_MOST = 10_000


class Tokens:
    """The tokens that were issued; those that one grant has led to are a family."""

    def __init__(self) -> None:
        self._access: dict[str, tuple[str, float]] = {}
        self._refresh: dict[str, tuple[str, bool]] = {}

    def issue(self, family: str, seconds: float, *, refreshable: bool) -> dict[str, object]:
        """Return a token response (RFC 6749 section 5.1)."""
        access = secrets.token_urlsafe(24)
        self._access[access] = (family, time.monotonic() + seconds)
        response: dict[str, object] = {"access_token": access, "token_type": "Bearer", "expires_in": seconds}
        if refreshable:
            refresh = response["refresh_token"] = secrets.token_urlsafe(24)
            self._refresh[str(refresh)] = (family, False)
        for kept in (self._access, self._refresh):
            while len(kept) > _MOST:
                del kept[next(iter(kept))]
        return response

    def refresh(self, refresh: str, seconds: float) -> dict[str, object] | None:
        """Return a token response for a refresh token, or None where it is not valid."""
        family, used = self._refresh.get(refresh, ("", True))
        if used:
            self.revoke_family(family)
            return None
        self._refresh[refresh] = (family, True)
        return self.issue(family, seconds, refreshable=True)

    def is_valid(self, access: str) -> bool:
        """Return whether an access token is valid."""
        return time.monotonic() < self._access.get(access, ("", 0.0))[1]

    def revoke(self, token: str) -> None:
        """Revoke an access token, the whole family of a refresh token, or every token where `token` is empty."""
        if not token:
            self._access.clear()
            self._refresh.clear()
        elif token in self._refresh:
            self.revoke_family(self._refresh[token][0])
        else:
            self._access.pop(token, None)

    def revoke_family(self, family: str) -> None:
        """Revoke all tokens that one grant has led to."""
        self._access = {token: kept for token, kept in self._access.items() if kept[0] != family}
        self._refresh = {token: (kept[0], kept[1] or kept[0] == family) for token, kept in self._refresh.items()}
