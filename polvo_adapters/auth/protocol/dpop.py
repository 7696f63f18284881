"""Tokens that only the holder of a key can use (RFC 9449).

Theory of operation. Every request carries a proof: a JWT for its method and URL, signed with the key that the token is
bound to. A server may require a nonce of its own in the proof; it says so once, with the nonce, and from then on each
response may bring the next one. Nonces are remembered per origin.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import secrets
import time
from base64 import urlsafe_b64encode
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit, urlunsplit

from polvo_adapters.auth.protocol.jwt_signing import load_key
from polvo_adapters.core.calls import origin
from polvo_adapters.errors import ConfigurationError

if TYPE_CHECKING:
    from polvo_adapters.auth.protocol.token import Token

_NONCE = re.compile(r"[!-~]{1,1024}")
_MOST_KEYS = 256  # tokens of as many tenants


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

        key = load_key(pem)
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
            raise ConfigurationError("key: tokens are bound to keys on the curve P-256, and this is another")
        return cls(key)

    def to_pem(self) -> str:
        """Return the private key as text, a secret that must be sealed wherever it is stored."""
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

        text: bytes = self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return text.decode("ascii")

    @property
    def thumbprint(self) -> str:
        """Name of the public key, as `jkt` carries it (RFC 7638)."""
        text = json.dumps(self._jwk, sort_keys=True, separators=(",", ":"))
        return _base64(hashlib.sha256(text.encode()).digest())

    def make_proof(
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
            method: Method of the request.
            url: URL of the request; query and fragment are left out.
            nonce: The nonce that the server requires.
            access_token: The token that the request carries, if any.
            now: Unix time in seconds; by default the machine's.
            jti: Unique name of the proof; by default a random one.

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
        raise TypeError("a DPoPKey is a secret and is not pickled; keep the text of to_pem, sealed")


class Nonces:
    """The last nonce that the server of each origin requires in proofs.

    Args:
        limit: Largest number of origins; the one without a nonce for longest is forgotten first.
    """

    def __init__(self, limit: int = 1024) -> None:
        self._limit = limit
        self._known: OrderedDict[str, str] = OrderedDict()

    def get(self, url: str) -> str | None:
        """Return the nonce for requests to a URL, or None if its server requires none."""
        return self._known.get(origin(url))

    def learn(self, url: str, headers: Mapping[str, str]) -> bool:
        """Remember the nonce of a response, and return whether it brought one.

        Args:
            url: URL of the request.
            headers: Headers of the response; a malformed nonce is ignored.
        """
        nonce = headers.get("dpop-nonce")
        if not isinstance(nonce, str) or not _NONCE.fullmatch(nonce):
            return False
        self._known[origin(url)] = nonce
        with contextlib.suppress(KeyError):  # other threads remove entries as well
            self._known.move_to_end(origin(url))
            while len(self._known) > self._limit:
                self._known.popitem(last=False)
        return True

    def __repr__(self) -> str:
        return f"<Nonces of {len(self._known)} origins>"


class Proofs:
    """The maker of the proofs of requests, which remembers the nonces that the APIs require."""

    def __init__(self) -> None:
        self._nonces = Nonces()
        self._keys: dict[bytes, DPoPKey] = {}

    def make_proof(self, token: Token, method: str, url: str) -> str:
        """Return the proof for a request; it is valid once, for this method, URL and token.

        Source: RFC 9449 sections 4.2 and 7.1.
        """
        key = self._load_key(token.key or "")
        return key.make_proof(method, url, nonce=self._nonces.get(url), access_token=token.access_token)

    def _load_key(self, pem: str) -> DPoPKey:
        digest = hashlib.sha256(pem.encode()).digest()  # the text is a secret, and not kept here
        key = self._keys.get(digest)
        if key is None:
            if len(self._keys) >= _MOST_KEYS:
                self._keys.clear()
            key = self._keys[digest] = DPoPKey.from_pem(pem)
        return key

    def is_proof_refused(self, url: str, headers: Mapping[str, str]) -> bool:
        """Return whether a server refused only the proof of a request, and remember the nonce that it requires.

        A proof is made for one request: one that was sent again, or followed a redirect, may be refused for that.

        Source: RFC 9449 sections 7.1 and 9.
        """
        is_new = self._nonces.learn(url, headers)
        reason = headers.get("WWW-Authenticate", "")
        return (is_new and "use_dpop_nonce" in reason) or "invalid_dpop_proof" in reason


def _target(url: str) -> str:
    parts, base = urlsplit(url), urlsplit(origin(url))
    return urlunsplit((base.scheme, base.netloc, parts.path or "/", "", ""))


def _base64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
