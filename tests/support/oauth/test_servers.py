"""What both authorization servers do, and what Authlib's does alone, asked by plain requests."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.support.oauth.asking import (
    ACCESS_TOKEN,
    ASSERTION,
    DEVICE,
    EXCHANGE,
    ask,
    authorization_url,
    call,
    machine_token,
    post,
    user_tokens,
)
from tests.support.oauth.authlib_server import PASSWORDS, AuthlibServer
from tests.support.oauth.servers import REDIRECT_URI


@pytest.fixture(params=["oidc", "authlib_server"])
def server(request):
    """Return each of the two authorization servers."""
    return request.getfixturevalue(request.param)


def test_resource_wants_a_valid_token_and_echoes(server):
    bare = requests.get(server.api_url, timeout=10)
    assert (bare.status_code, bare.headers["WWW-Authenticate"].split()[0].lower()) == (401, "bearer")
    token = machine_token(server)
    headers = {"Authorization": f"Bearer {token}"}
    response = requests.post(f"{server.api_url}/below?a=1", data="body", headers=headers, timeout=10)
    assert response.json().items() >= {"method": "POST", "path": "/api/below", "body": "body", "client": "cc"}.items()
    server.revoke()
    refused = call(server, token)
    assert (refused.status_code, 'error="invalid_token"' in refused.headers["WWW-Authenticate"]) == (401, True)
    counts = server.counts()
    assert (counts["token"], counts["by_grant"]) == (1, {"client_credentials": 1})
    assert (counts["refused"], counts["api"], counts["api_401"]) == (0, 3, 2)


def test_one_token_alone_can_be_revoked(server):
    first, second = machine_token(server), machine_token(server)
    server.revoke(first)
    assert [call(server, token).status_code for token in (first, second)] == [401, 200]


def test_client_credentials_by_basic_and_by_form(server):
    assert ask(server, "client_credentials", ("cc", "wrong")).status_code == 401
    fields = {"client_id": "cc-post", "client_secret": "cc-post-secret"}
    answer = ask(server, "client_credentials", **fields).json()
    assert (answer["token_type"], answer["expires_in"]) == ("Bearer", 60)
    assert server.counts()["refused"] == 1


@pytest.mark.parametrize(("client", "auth"), [("pub", None), ("web", ("web", "web-secret"))])
def test_authorization_code(server, client, auth):
    tokens = user_tokens(server, client, auth)
    assert call(server, tokens["access_token"]).json()["subject"] == "alice"
    assert tokens["refresh_token"]


def test_user_cancels(server):
    back = server.approve(authorization_url(server, "pub", "v" * 50), deny=True)
    assert parse_qs(urlsplit(back).query)["error"] == ["access_denied"]


def test_code_needs_its_verifier_and_is_good_once(server):
    back = server.approve(authorization_url(server, "pub", "v" * 50))
    code = parse_qs(urlsplit(back).query)["code"][0]
    fields = {"client_id": "pub", "code": code, "redirect_uri": REDIRECT_URI}
    verifiers = ["w" * 50, "v" * 50, "v" * 50]
    answers = [ask(server, "authorization_code", code_verifier=verifier, **fields) for verifier in verifiers]
    assert [answer.status_code for answer in answers] == [400, 200, 400]


def test_device(server):
    asked = post(server.device_url, client_id="pub", scope="openid").json()
    fields = {"client_id": "pub", "device_code": asked["device_code"]}
    assert ask(server, DEVICE, **fields).json()["error"] == "authorization_pending"
    server.approve_device(asked["verification_uri_complete"], login="bob")
    token = ask(server, DEVICE, **fields).json()["access_token"]
    assert call(server, token).json()["subject"] == "bob"


def test_device_is_refused(server):
    asked = post(server.device_url, client_id="pub", scope="openid").json()
    server.approve_device(asked["verification_uri_complete"], deny=True)
    answer = ask(server, DEVICE, client_id="pub", device_code=asked["device_code"])
    assert (answer.status_code, answer.json()["error"]) == (400, "access_denied")


def test_four_race_with_one_refresh_token(server):
    old = user_tokens(server)["refresh_token"]
    gate = threading.Barrier(4)

    def race(_):
        gate.wait(10)
        return ask(server, "refresh_token", client_id="pub", refresh_token=old)

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(race, range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 400, 400, 400]
    assert {answer.json()["error"] for answer in answers if answer.status_code == 400} == {"invalid_grant"}
    assert (server.counts()["by_grant"]["refresh_token"], server.counts()["refused"]) == (4, 3)


def test_rotation(server, request):
    first = user_tokens(server)["refresh_token"]
    fields = {"client_id": "pub"}
    second = ask(server, "refresh_token", refresh_token=first, **fields).json()["refresh_token"]
    assert second != first
    third = ask(server, "refresh_token", refresh_token=second, **fields).json()["refresh_token"]
    assert ask(server, "refresh_token", refresh_token=first, **fields).json()["error"] == "invalid_grant"
    # oidc-provider takes the use of an old one for a theft, and ends the whole family.
    survives = isinstance(server, AuthlibServer)
    assert ask(server, "refresh_token", refresh_token=third, **fields).ok is survives


def test_exchange(server):
    subject = machine_token(server)
    fields = {"subject_token": subject, "subject_token_type": ACCESS_TOKEN}
    answer = ask(server, EXCHANGE, ("exchange", "exchange-secret"), **fields).json()
    assert answer["issued_token_type"] == ACCESS_TOKEN
    assert call(server, answer["access_token"]).json().items() >= {"client": "exchange", "subject": "cc"}.items()
    server.revoke(subject)
    refused = ask(server, EXCHANGE, ("exchange", "exchange-secret"), **fields)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_request")


@pytest.mark.parametrize(("algorithm", "key"), [("RS256", "rsa"), ("ES256", "ec")])
def test_assertion(server, algorithm, key):
    claims = {"iss": "robot@project.test", "sub": "carol", "aud": server.token_url, "exp": int(time.time()) + 60}

    def tell(**changed):
        private = changed.pop("private", getattr(server, f"{key}_key"))
        return ask(server, ASSERTION, assertion=jwt.encode({**claims, **changed}, private, algorithm, {"kid": key}))

    assert call(server, tell().json()["access_token"]).json()["subject"] == "carol"
    for wrong in ({"aud": "https://other.test"}, {"exp": int(time.time()) - 300}, {"private": foreign_key(algorithm)}):
        refused = tell(**wrong)
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")


def foreign_key(algorithm):
    return rsa.generate_private_key(65537, 2048) if algorithm == "RS256" else ec.generate_private_key(ec.SECP256R1())


def test_introspection_and_revocation(server):
    auth = ("cc", "cc-secret")
    token = machine_token(server)
    assert post(server.introspection_url, auth, token=token).json()["active"] is True
    assert post(server.revocation_url, auth, token=token).status_code == 200
    assert post(server.introspection_url, auth, token=token).json() == {"active": False}
    assert call(server, token).status_code == 401


def test_discovery(server):
    found = requests.get(server.discovery_url, timeout=10).json()
    assert (found["issuer"], found["token_endpoint"]) == (server.issuer, server.token_url)
    assert found["device_authorization_endpoint"] == server.device_url


def test_failures_on_request(server):
    auth = ("cc", "cc-secret")
    server.fail(503, 2, headers={"Retry-After": "7"})
    answers = [ask(server, "client_credentials", auth) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [503, 503, 200]
    assert answers[0].headers["Retry-After"] == "7"
    server.fail(502, body="<html>", headers={"Content-Type": "text/html"})
    answer = ask(server, "client_credentials", auth)
    assert (answer.status_code, answer.text, answer.headers["Content-Type"]) == (502, "<html>", "text/html")


def test_answer_is_lost_after_the_work(server):
    old = user_tokens(server)["refresh_token"]
    server.fail(504, processed=True)
    fields = {"client_id": "pub", "refresh_token": old}
    assert [ask(server, "refresh_token", **fields).status_code for _ in range(2)] == [504, 400]


def test_delay(server):
    server.delay(0.2)
    started = time.monotonic()
    machine_token(server)
    assert time.monotonic() - started >= 0.2


@pytest.mark.parametrize("user", PASSWORDS)
def test_password(authlib_server, user):
    auth = ("legacy", "legacy-secret")
    tokens = ask(authlib_server, "password", auth, username=user, password=PASSWORDS[user]).json()
    assert call(authlib_server, tokens["access_token"]).json()["subject"] == user
    assert ask(authlib_server, "password", auth, username=user, password="wrong").status_code == 400
    assert ask(authlib_server, "refresh_token", auth, refresh_token=tokens["refresh_token"]).status_code == 200


def test_polls_too_soon(authlib_server):
    asked = post(authlib_server.device_url, client_id="pub").json()
    fields = {"client_id": "pub", "device_code": asked["device_code"]}
    errors = [ask(authlib_server, DEVICE, **fields).json()["error"] for _ in range(2)]
    assert (asked["interval"], errors) == (1, ["authorization_pending", "slow_down"])


def test_only_the_last_token_is_valid():
    with AuthlibServer(only_last=True) as server:
        tokens = [machine_token(server) for _ in range(3)]
        assert [call(server, token).status_code for token in tokens] == [401, 401, 200]


def test_token_for_ever():
    with AuthlibServer(ttl=0, rotate=False) as server:
        auth = ("legacy", "legacy-secret")
        tokens = ask(server, "password", auth, username="alice", password=PASSWORDS["alice"]).json()
        assert "expires_in" not in tokens
        assert call(server, tokens["access_token"]).status_code == 200
        again = ask(server, "refresh_token", auth, refresh_token=tokens["refresh_token"]).json()
        assert "refresh_token" not in again
