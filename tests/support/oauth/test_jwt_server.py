"""The login server that gives JWTs; and how the servers end that are threads."""

from __future__ import annotations

import threading
import time

import jwt
import pytest
import requests

from tests.support.oauth.asking import (
    call,
)
from tests.support.oauth.authlib_server import AuthlibServer
from tests.support.oauth.hostile import HostileServer
from tests.support.oauth.jwt_server import PASSWORDS, JWTServer
from tests.support.oauth.threads import IDLE


@pytest.mark.parametrize("rotate", [False, True])
def test_jwt_login_and_refresh(rotate):
    with JWTServer(ttl=60, rotate=rotate) as server:
        sent = {"username": "bob", "password": PASSWORDS["bob"]}
        pair = requests.post(server.login_url, json=sent, timeout=10).json()
        assert call(server, pair["access"]).json()["subject"] == "bob"
        assert call(server, pair["refresh"]).status_code == 401
        claims = jwt.decode(pair["access"], options={"verify_signature": False})
        assert claims["exp"] - claims["iat"] == 60
        answers = [requests.post(server.refresh_url, json={"refresh": pair["refresh"]}, timeout=10) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [200, 401 if rotate else 200]
        assert set(answers[0].json()) == ({"access", "refresh"} if rotate else {"access"})
        server.revoke()
        assert call(server, answers[0].json()["access"]).status_code == 401
        assert server.counts()["by_grant"] == {"login": 1, "refresh": 2}


def test_jwt_login_is_refused(jwt_server):
    for sent in ({"username": "bob", "password": "wrong"}, {}, []):
        assert requests.post(jwt_server.login_url, json=sent, timeout=10).status_code == 401
    for token in ("", 1, None, "a.b.c"):
        assert requests.post(jwt_server.refresh_url, json={"refresh": token}, timeout=10).status_code == 401
    assert jwt_server.counts()["refused"] == 7


def test_jwt_that_has_expired():
    with JWTServer(ttl=-1) as server:
        pair = requests.post(
            server.login_url, json={"username": "alice", "password": PASSWORDS["alice"]}, timeout=10
        ).json()
        assert call(server, pair["access"]).status_code == 401


@pytest.mark.parametrize("kind", [AuthlibServer, JWTServer, HostileServer])
def test_end_leaves_nothing_behind(kind):
    before = threading.active_count()
    with requests.Session() as session:
        with kind() as server:
            url = f"{server.issuer}/api"
            assert session.get(url, timeout=10).status_code in (200, 401)
            started = time.monotonic()
        assert time.monotonic() - started < IDLE / 2  # it has not waited for the connection that is kept open
        assert threading.active_count() == before
        with pytest.raises(requests.ConnectionError):
            session.get(url, timeout=10)
