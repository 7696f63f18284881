"""Proofs as RFC 9449 wants them, checked by PyJWT; and the nonces that go into them."""

from __future__ import annotations

import base64
import hashlib
import json
import pickle
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from polvo_adapters.auth.protocol.dpop import DPoPKey, Nonces, Proofs
from polvo_adapters.auth.protocol.jwt_signing import make_assertion
from polvo_adapters.errors import ConfigurationError

URL = "https://api.example.com/v1/orders"
KEY = DPoPKey.generate()


def decode_proof(proof: str) -> tuple[dict[str, Any], dict[str, Any]]:
    header = jwt.get_unverified_header(proof)
    key = jwt.PyJWK(header["jwk"], "ES256")
    return header, jwt.decode(proof, key, algorithms=["ES256"], options={"verify_iat": False})


def test_a_proof() -> None:
    header, claims = decode_proof(KEY.make_proof("post", URL, nonce="n", access_token="token", now=1000.9, jti="j"))
    ath = base64.urlsafe_b64encode(hashlib.sha256(b"token").digest()).rstrip(b"=").decode()
    assert claims == {"htm": "POST", "htu": URL, "iat": 1000, "jti": "j", "nonce": "n", "ath": ath}
    assert (header["typ"], header["alg"]) == ("dpop+jwt", "ES256")
    assert set(header["jwk"]) == {"kty", "crv", "x", "y"}


def test_no_two_proofs_are_the_same() -> None:
    assert decode_proof(KEY.make_proof("GET", URL))[1]["jti"] != decode_proof(KEY.make_proof("GET", URL))[1]["jti"]


@pytest.mark.parametrize(
    ("url", "target"),
    [
        (f"{URL}?a=1&b=2#part", URL),
        ("https://API.Example.com:443/v1/orders", URL),
        ("https://user:password@api.example.com/v1/orders", URL),
        ("https://api.example.com", "https://api.example.com/"),
        ("https://api.example.com?x", "https://api.example.com/"),
        ("http://127.0.0.1:8000/a%2Fb;c", "http://127.0.0.1:8000/a%2Fb;c"),
        ("https://[::1]:8443/x", "https://[::1]:8443/x"),
    ],
)
def test_the_target_is_the_url_without_query_and_fragment(url: str, target: str) -> None:
    assert decode_proof(KEY.make_proof("GET", url))[1]["htu"] == target


def test_the_thumbprint_is_that_of_the_rfc() -> None:
    """The example of RFC 9449 section 4.2 has this key, and this thumbprint in section 6.1."""
    jwk = {
        "kty": "EC",
        "crv": "P-256",
        "x": "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs",
        "y": "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA",
    }

    class Public:
        def public_key(self) -> Any:
            return jwt.PyJWK(jwk, "ES256").key

    assert DPoPKey(Public()).thumbprint == "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"


def test_a_key_is_kept_as_pem() -> None:
    again = DPoPKey.from_pem(KEY.to_pem())
    assert again.thumbprint == KEY.thumbprint
    assert decode_proof(again.make_proof("GET", URL))[1]["htu"] == URL


@pytest.mark.parametrize("key", [ec.generate_private_key(ec.SECP384R1()), ed25519.Ed25519PrivateKey.generate()])
def test_other_keys_are_refused(key: Any) -> None:
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    with pytest.raises(ConfigurationError, match="P-256") as caught:
        DPoPKey.from_pem(pem)
    assert pem.splitlines()[1] not in str(caught.value)


@given(st.text())
def test_garbage_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        DPoPKey.from_pem(f"-----BEGIN PRIVATE KEY-----\n{text}SECRET")
    assert "SECRET" not in str(caught.value)
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)


def test_a_key_shows_nothing_and_is_not_pickled() -> None:
    assert repr(KEY) == f"<DPoPKey {KEY.thumbprint}>"
    with pytest.raises(TypeError, match="to_pem"):
        pickle.dumps(KEY)


def test_nonces_are_those_of_an_origin() -> None:
    nonces = Nonces()
    assert nonces.learn(URL, {"dpop-nonce": "one"})
    assert nonces.get("https://api.example.com:443/another?x=1") == "one"
    assert nonces.get("http://api.example.com/") is None
    assert nonces.learn(URL, {"dpop-nonce": "two"})
    assert nonces.get(URL) == "two"


@pytest.mark.parametrize(
    "headers", [{}, {"dpop-nonce": ""}, {"dpop-nonce": "a b"}, {"dpop-nonce": "ä"}, {"dpop-nonce": "a" * 1025}]
)
def test_what_is_no_nonce_is_ignored(headers: dict[str, str]) -> None:
    nonces = Nonces()
    nonces.learn(URL, {"dpop-nonce": "good"})
    assert not nonces.learn(URL, headers)
    assert nonces.get(URL) == "good"


def test_nonces_are_bounded() -> None:
    nonces = Nonces(limit=10)
    for number in range(100):
        nonces.learn("https://often.example.com/", {"dpop-nonce": "often"})
        nonces.learn(f"https://h{number}.example.com/", {"dpop-nonce": "n"})
    known = [number for number in range(100) if nonces.get(f"https://h{number}.example.com/")]
    assert known == list(range(91, 100))
    assert nonces.get("https://often.example.com/") == "often"


KEYS = {
    "RS256": None,
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "ES384": ec.generate_private_key(ec.SECP384R1()),
    "ES512": ec.generate_private_key(ec.SECP521R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}


@pytest.mark.parametrize("algorithm", [name for name, key in KEYS.items() if key is not None])
def test_the_algorithm_fits_the_key(algorithm: str) -> None:
    key: Any = KEYS[algorithm]
    for given_key in (key, lambda: key):
        made = make_assertion(
            issuer="i", subject=None, audience="a", lifetime=60, private_key=given_key, key_id="k", claims={"x": 1}
        )
        assert jwt.get_unverified_header(made) == {"alg": algorithm, "kid": "k", "typ": "JWT"}
        claims = jwt.decode(made, key.public_key(), algorithms=[algorithm], audience="a")
        assert (claims["iss"], claims["sub"], claims["x"]) == ("i", "i", 1)
        assert (claims["exp"] - claims["iat"], claims["nbf"]) == (60 + 60, claims["iat"]), "back-dated by a minute"


@pytest.mark.parametrize("algorithm", ["none", "HS256", "RS256", "ES384", "nonsense", "Ed25519"])
def test_an_algorithm_that_does_not_fit(algorithm: str) -> None:
    with pytest.raises(ConfigurationError, match="does not fit") as caught:
        make_assertion(
            issuer="i", subject=None, audience="a", lifetime=60, private_key=KEY.to_pem(), algorithm=algorithm
        )
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)


def test_what_an_assertion_needs() -> None:
    with pytest.raises(ConfigurationError, match="audience and private_key"):
        make_assertion(issuer="i", subject=None, audience=None, lifetime=60, private_key=None)


def test_json_of_the_thumbprint_is_canonical() -> None:
    jwk = decode_proof(KEY.make_proof("GET", URL))[0]["jwk"]
    text = json.dumps({name: jwk[name] for name in ("crv", "kty", "x", "y")}, separators=(",", ":"))
    digest = hashlib.sha256(text.encode()).digest()
    assert KEY.thumbprint == base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def test_a_refused_proof_is_no_refused_token() -> None:
    proofs = Proofs()
    assert proofs.is_proof_refused("http://api.test/", {"WWW-Authenticate": 'DPoP error="invalid_dpop_proof"'})
    assert not proofs.is_proof_refused("http://api.test/", {"WWW-Authenticate": 'DPoP error="invalid_token"'})
    assert not proofs.is_proof_refused("http://api.test/", {})
