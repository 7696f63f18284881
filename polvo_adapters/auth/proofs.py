"""Proofs that who sends a token has the key that it is bound to (DPoP, RFC 9449)."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from polvo_adapters.auth.dpop import DPoPKey, Nonces

if TYPE_CHECKING:
    from collections.abc import Mapping

    from polvo_adapters.auth.token import Token


class Proofs:
    """Makes the proofs of requests, and knows which nonces the APIs want in them."""

    def __init__(self) -> None:
        self._nonces = Nonces()

    def proof(self, token: Token, method: str, url: str) -> str:
        """Return the proof for a request; it holds for this method, URL and token, and once.

        Source: RFC 9449 sections 4.2 and 7.1.
        """
        return _key(token.key or "").proof(method, url, nonce=self._nonces.get(url), access_token=token.access_token)

    def challenged(self, url: str, headers: Mapping[str, str]) -> bool:
        """Tell whether a request is refused only because its proof lacks a nonce, and remember that nonce.

        Source: RFC 9449 section 9.
        """
        new = self._nonces.learn(url, headers)
        return new and "use_dpop_nonce" in headers.get("WWW-Authenticate", "")


@lru_cache(maxsize=256)
def _key(pem: str) -> DPoPKey:
    return DPoPKey.from_pem(pem)
