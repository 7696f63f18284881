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
        """Tell whether a request is refused only because of its proof, and remember the nonce that it lacks.

        A proof is made for one request. One that was sent again, or followed a redirect, may be refused for that.

        Source: RFC 9449 sections 7.1 and 9.
        """
        new = self._nonces.learn(url, headers)
        why = headers.get("WWW-Authenticate", "")
        return (new and "use_dpop_nonce" in why) or "invalid_dpop_proof" in why


@lru_cache(maxsize=256)
def _key(pem: str) -> DPoPKey:
    return DPoPKey.from_pem(pem)
