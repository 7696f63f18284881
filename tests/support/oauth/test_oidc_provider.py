"""What only oidc-provider does: DPoP, certificates, signed client assertions; and its process."""

from __future__ import annotations

import base64
import hashlib
import subprocess
import time
import uuid
from urllib.parse import quote

import jwt
import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from tests.support.oauth.asking import (
    CLIENT_ASSERTION,
    ask,
    call,
    machine_token,
    user_tokens,
)
from tests.support.oauth.servers import HERE, OIDCProvider


def test_secret_with_everything_in_it(oidc):
    name, secret = quote("cc:odd/1", safe=""), quote(oidc.odd_secret, safe="")
    assert ask(oidc, "client_credentials", (name, secret)).status_code == 200
    assert ask(oidc, "client_credentials", ("cc:odd/1", oidc.odd_secret)).status_code == 401


@pytest.mark.parametrize(("algorithm", "key"), [("RS256", "rsa"), ("ES256", "ec")])
def test_private_key_jwt_is_good_once(oidc, algorithm, key):
    claims = {
        "iss": "cc-jwt",
        "sub": "cc-jwt",
        "aud": oidc.issuer,
        "exp": int(time.time()) + 60,
        "jti": uuid.uuid4().hex,
    }
    assertion = jwt.encode(claims, getattr(oidc, f"{key}_key"), algorithm, {"kid": key})
    fields = {"client_assertion": assertion, "client_assertion_type": CLIENT_ASSERTION}
    answers = [ask(oidc, "client_credentials", **fields) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 401]


def proof(key, method, url, token=None, **claims):
    """Return a DPoP proof (RFC 9449, 4.2)."""
    claims = {"jti": uuid.uuid4().hex, "htm": method, "htu": url, "iat": int(time.time()), **claims}
    if token is not None:
        claims["ath"] = base64.urlsafe_b64encode(hashlib.sha256(token.encode()).digest()).rstrip(b"=").decode()
    public = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return jwt.encode(claims, key, "ES256", {"typ": "dpop+jwt", "jwk": public})


def dpop_token(oidc, key, **claims):
    headers = {"DPoP": proof(key, "POST", oidc.token_url, **claims)}
    fields = {"grant_type": "client_credentials"}
    return requests.post(oidc.token_url, data=fields, auth=("dpop", "dpop-secret"), headers=headers, timeout=10)


def test_dpop(oidc):
    key, other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    answer = dpop_token(oidc, key).json()
    assert answer["token_type"] == "DPoP"
    token, url = answer["access_token"], oidc.api_url
    good = proof(key, "GET", url, token)
    assert call(oidc, token, "DPoP", headers={"DPoP": good}).json()["client"] == "dpop"
    assert call(oidc, token).status_code == 401
    refused = {
        "seen before": good,
        "another method": proof(key, "POST", url, token),
        "another URL": proof(key, "GET", f"{url}/x", token),
        "another token": proof(key, "GET", url, "other"),
        "no token": proof(key, "GET", url),
        "another key": proof(other, "GET", url, token),
        "old": proof(key, "GET", url, token, iat=int(time.time()) - 3600),
        "no proof": "",
    }
    for reason, sent in refused.items():
        response = call(oidc, token, "DPoP", headers={"DPoP": sent})
        assert (response.status_code, response.headers["WWW-Authenticate"].split()[0]) == (401, "DPoP"), reason
    for header in ({}, {"DPoP": good}):
        machine = machine_token(oidc)
        assert call(oidc, machine, "DPoP", headers=header).status_code == 401


def test_dpop_nonces_of_two_servers(oidc):
    oidc.set(nonce=True)
    key = ec.generate_private_key(ec.SECP256R1())
    refused = dpop_token(oidc, key)
    assert (refused.status_code, refused.json()["error"]) == (400, "use_dpop_nonce")
    nonce = refused.headers["DPoP-Nonce"]
    token = dpop_token(oidc, key, nonce=nonce).json()["access_token"]

    def fetch(**claims):
        return call(oidc, token, "DPoP", headers={"DPoP": proof(key, "GET", oidc.api_url, token, **claims)})

    challenge = fetch(nonce=nonce)
    assert 'error="use_dpop_nonce"' in challenge.headers["WWW-Authenticate"]
    assert challenge.headers["DPoP-Nonce"] != nonce
    assert fetch(nonce=challenge.headers["DPoP-Nonce"]).status_code == 200
    oidc.refresh_nonce()
    assert fetch(nonce=challenge.headers["DPoP-Nonce"]).status_code == 401


def test_certificate_bound_tokens(oidc_tls):
    def token(certificate):
        fields = {"grant_type": "client_credentials", "client_id": "mtls"}
        keywords = {"cert": certificate, "verify": oidc_tls.verify, "timeout": 10}
        return requests.post(oidc_tls.token_url, data=fields, **keywords)

    assert token(None).status_code == token(oidc_tls.other_certificate).status_code == 401
    value = token(oidc_tls.client_certificate).json()["access_token"]
    certificates = (oidc_tls.client_certificate, oidc_tls.other_certificate, None)
    answers = [call(oidc_tls, value, cert=certificate, verify=oidc_tls.verify) for certificate in certificates]
    assert [answer.status_code for answer in answers] == [200, 401, 401]


def test_settings_for_a_while(oidc):
    oidc.set(ttl=7, rotate=False)
    tokens = user_tokens(oidc)
    assert tokens["expires_in"] == 7
    fields = {"client_id": "pub", "refresh_token": tokens["refresh_token"]}
    assert [ask(oidc, "refresh_token", **fields).status_code for _ in range(2)] == [200, 200]
    oidc.reset()
    assert ask(oidc, "client_credentials", ("cc", "cc-secret")).json()["expires_in"] == 60


def test_remembers_thousands_of_records(oidc):
    """A server that forgets under load makes refreshes fail for no reason of the client's."""
    refresh = user_tokens(oidc)["refresh_token"]
    with requests.Session() as session:
        for _ in range(1100):  # two records each
            assert session.post(oidc.device_url, data={"client_id": "pub"}, timeout=10).ok
    assert ask(oidc, "refresh_token", client_id="pub", refresh_token=refresh).status_code == 200


def test_process_ends_with_the_context_and_with_its_parent():
    with OIDCProvider(ttl=5) as provider:
        process = provider._process
        assert process.poll() is None
    assert process.returncode == 0
    # What happens when the process that runs the tests is killed: the pipe ends.
    command = ["node", str(HERE / "provider.mjs")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as orphan:
        try:
            assert orphan.stdout.readline().startswith(b"READY")
            orphan.stdin.close()
            assert orphan.wait(10) == 0
        finally:
            orphan.kill()


def test_start_that_fails_says_why(monkeypatch):
    provider = OIDCProvider()
    provider._environment["JWKS"] = "no JSON"
    with pytest.raises(RuntimeError, match=r"did not start: (.|\n)*no JSON"):
        provider.__enter__()
