"""Tokens that only the holder of a key can use (RFC 9449).

Theory of operation. Every request carries a proof: a JWT made for its method and URL, signed by a key that the token
is bound to. A server may want a nonce of its own in the proof; it says so once, with the nonce, and from then on each
answer may bring the next one. Nonces are remembered per origin.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from polvo_adapters.auth.protocol.token import Token


import contextlib
import hashlib
import json
import secrets
import time
from base64 import urlsafe_b64encode
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, NoReturn
from urllib.parse import urlsplit, urlunsplit

from polvo_adapters.core.calls import origin
from polvo_adapters.errors import ConfigurationError

_LONGEST_NONCE = 1024


class DPoPKey:
    """A private key on the curve P-256 that tokens are bound to.

    Args:
        key: The key, an object of cryptography; see `generate` and `from_pem`.
    """

    __slots__ = ("_jwk", "_key")

    def __init__(self, key: Any) -> None:
        from jwt.algorithms import ECAlgorithm

        self._key = key
        jwk = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
        self._jwk = {name: jwk[name] for name in ("crv", "kty", "x", "y")}

    @classmethod
    def generate(cls) -> DPoPKey:
        """Return a new key."""
        from cryptography.hazmat.primitives.asymmetric import ec

        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def from_pem(cls, pem: str) -> DPoPKey:
        """Return the key of a text that `to_pem` made.

        Raises:
            ConfigurationError: It is no key on the curve P-256; the message does not show it.
        """
        from cryptography.hazmat.primitives.asymmetric import ec

        from polvo_adapters.auth.protocol.jwt_signing import load_key

        key = load_key(pem)
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
            raise ConfigurationError("key: tokens are bound to keys on the curve P-256, and this is another")
        return cls(key)

    def to_pem(self) -> str:
        """Return the private key as text: a secret, to be sealed wherever it is kept."""
        from cryptography.hazmat.primitives import serialization

        text: bytes = self._key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return text.decode("ascii")

    @property
    def thumbprint(self) -> str:
        """Name of the public key, as `jkt` carries it (RFC 7638)."""
        text = json.dumps(self._jwk, sort_keys=True, separators=(",", ":"))
        return _base64(hashlib.sha256(text.encode()).digest())

    def proof(
        self,
        method: str,
        url: str,
        *,
        nonce: str | None = None,
        access_token: str | None = None,
        now: float | None = None,
        jti: str | None = None,
    ) -> str:
        """Return the proof for one request, the value of its `DPoP` header.

        Args:
            method: Its method.
            url: Its URL; query and fragment are left out.
            nonce: What the server wants to see in it.
            access_token: The token that the request carries, if any.
            now: Unix time in seconds; by default the machine's.
            jti: What no other proof has; by default drawn at random.

        Source: RFC 9449 section 4.2.
        """
        import jwt

        claims: dict[str, Any] = {
            "jti": secrets.token_urlsafe(16) if jti is None else jti,
            "htm": method.upper(),
            "htu": _target(url),
            "iat": int(time.time() if now is None else now),
        }
        if nonce is not None:
            claims["nonce"] = nonce
        if access_token is not None:
            claims["ath"] = _base64(hashlib.sha256(access_token.encode("ascii")).digest())
        return jwt.encode(claims, self._key, "ES256", headers={"typ": "dpop+jwt", "jwk": self._jwk})

    def __repr__(self) -> str:
        return f"<DPoPKey {self.thumbprint}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a DPoPKey is a secret and is not pickled; keep what to_pem returns, sealed")


class Nonces:
    """The nonces that servers want to see in proofs, the last one of each origin.

    Args:
        limit: How many origins are remembered; the one unheard of for longest goes first.
    """

    def __init__(self, limit: int = 1024) -> None:
        self._limit = limit
        self._known: OrderedDict[str, str] = OrderedDict()

    def get(self, url: str) -> str | None:
        """Return the nonce for requests to a URL, or None where its server wants none."""
        return self._known.get(origin(url))

    def learn(self, url: str, headers: Mapping[str, str]) -> bool:
        """Remember the nonce of an answer, and return whether it brought one.

        Args:
            url: Where the answer came from.
            headers: Its headers; one that no nonce can have the form of is ignored.
        """
        nonce = headers.get("dpop-nonce")
        if not isinstance(nonce, str) or not 0 < len(nonce) <= _LONGEST_NONCE:
            return False
        if not all("!" <= character <= "~" for character in nonce):
            return False
        self._known[origin(url)] = nonce
        with contextlib.suppress(KeyError):  # other threads learn as well
            self._known.move_to_end(origin(url))
            while len(self._known) > self._limit:
                self._known.popitem(last=False)
        return True

    def __repr__(self) -> str:
        return f"<Nonces of {len(self._known)} origins>"


def _target(url: str) -> str:
    parts = urlsplit(url)
    place = urlsplit(origin(url))
    return urlunsplit((place.scheme, place.netloc, parts.path or "/", "", ""))


def _base64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


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
        reason = headers.get("WWW-Authenticate", "")
        return (new and "use_dpop_nonce" in reason) or "invalid_dpop_proof" in reason


@lru_cache(maxsize=256)
def _key(pem: str) -> DPoPKey:
    return DPoPKey.from_pem(pem)
