"""JSON Web Tokens of a login with name and password: real servers, and such that misbehave."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
import requests

import polvo_adapters as polvo
from polvo_adapters.auth import JWTLogin, jwt_login
from polvo_adapters.auth.jwt_login_auth import read_lifetime
from polvo_adapters.errors import ConfigurationError, TokenRefreshError
from polvo_adapters.runtime.clock import SYSTEM
from polvo_adapters.testing.virtual_clock import VirtualClock
from tests.support.listening_server import Listening, Reply
from tests.support.oauth.hostile import BEHAVIOURS, TOKEN, HostileServer
from tests.support.oauth.jwt_server import PASSWORDS, JWTServer

SLOW = {"hang", "hang-in-body", "drip", "drip-headers"}


@pytest.fixture(params=[requests.Session, polvo.Session], ids=["plain", "polvo"])
def session(request: pytest.FixtureRequest) -> Iterator[requests.Session]:
    with request.param() as session:
        yield session


def login(server: JWTServer, name: str = "alice", **keywords: Any) -> JWTLogin:
    return JWTLogin(server.login_url, name, PASSWORDS[name], **keywords)


@pytest.mark.parametrize("name", PASSWORDS)
def test_a_login(jwt_server: JWTServer, session: requests.Session, name: str) -> None:
    session.auth = login(jwt_server, name)
    assert [session.get(jwt_server.api_url).json()["subject"] for _ in range(3)] == [name] * 3
    assert jwt_server.counts()["by_grant"] == {"login": 1}


def test_functions_give_name_and_password(jwt_server: JWTServer, session: requests.Session) -> None:
    session.auth = jwt_login(jwt_server.login_url, lambda: "bob", lambda: PASSWORDS["bob"])
    assert session.get(jwt_server.api_url).json()["subject"] == "bob"


@pytest.mark.parametrize("rotate", [False, True])
def test_a_token_is_refreshed_before_it_expires(rotate: bool, clock: VirtualClock) -> None:
    with JWTServer(rotate=rotate, ttl=600) as server:
        auth = login(server, refresh_url=server.refresh_url, clock=clock, background=False)
        auth.token()
        for _ in range(3):
            clock.sleep(550)
            assert requests.get(server.api_url, auth=auth, timeout=10).status_code == 200
        assert server.counts()["by_grant"] == {"login": 1, "refresh": 3}
        assert server.counts()["refused"] == 0


def test_a_dead_refresh_token_leads_to_a_new_login(jwt_server: JWTServer, session: requests.Session) -> None:
    session.auth = login(jwt_server, refresh_url=jwt_server.refresh_url)
    session.get(jwt_server.api_url)
    jwt_server.revoke(refresh=True)
    assert session.get(jwt_server.api_url).status_code == 200
    assert jwt_server.counts()["by_grant"] == {"login": 2, "refresh": 1}


def test_without_a_refresh_url_every_refresh_is_a_login(jwt_server: JWTServer) -> None:
    auth = login(jwt_server)
    for _ in range(2):
        requests.get(jwt_server.api_url, auth=auth, timeout=10)
        jwt_server.revoke()
    assert requests.get(jwt_server.api_url, auth=auth, timeout=10).status_code == 200
    assert jwt_server.counts()["by_grant"] == {"login": 3}


def test_a_wrong_password(jwt_server: JWTServer, session: requests.Session) -> None:
    session.auth = JWTLogin(jwt_server.login_url, "alice", "hunter2")
    with pytest.raises(TokenRefreshError) as caught:
        session.get(jwt_server.api_url)
    assert (caught.value.reason, caught.value.status, caught.value.final) == ("invalid_grant", 401, True)
    assert "hunter2" not in str(caught.value)
    with pytest.raises(TokenRefreshError, match="check username and password"):
        session.get(jwt_server.api_url)
    assert jwt_server.counts()["token"] == 1, "a wrong password that is shown again and again locks the account"


def test_a_server_that_fails_for_a_moment(jwt_server: JWTServer, clock: VirtualClock) -> None:
    jwt_server.fail(503, 2)
    assert login(jwt_server, clock=clock).token().access_token


def test_tokens_live_in_the_cache(jwt_server: JWTServer, tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    first = login(jwt_server, token_cache=path).token()
    assert login(jwt_server, token_cache=path).token().access_token == first.access_token
    assert login(jwt_server, "bob", token_cache=path).token().access_token != first.access_token
    assert first.access_token not in path.read_text()
    assert jwt_server.counts()["token"] == 2


def test_other_names_of_fields() -> None:
    with Listening() as listening:
        listening.routes["/login"] = Reply({"data": {"jwt": "first", "more": [{"again": "r1"}], "again": "r1"}})
        listening.routes["/again"] = Reply({"data": {"jwt": "second", "again": "r2"}})
        listening.routes["/api"] = lambda asked: Reply(
            status=200 if asked.headers["authorization"] == "JWT second" else 401
        )
        auth = JWTLogin(
            f"{listening.url}/login",
            "alice",
            "secret",
            refresh_url=f"{listening.url}/again",
            fields=("email", "pass", "again"),
            answers=("data.jwt", "data.again"),
            scheme="JWT",
        )
        assert requests.get(f"{listening.url}/api", auth=auth, timeout=10).status_code == 200
        assert [asked.path for asked in listening.asked] == ["/login", "/api", "/again", "/api"]
        assert listening.asked[1].headers["authorization"] == "JWT first"
        assert listening.asked[0].headers["content-type"] == "application/json"


def test_a_pickle_of_an_earlier_version_is_read() -> None:
    auth = JWTLogin("https://a.test/in", "ada", lambda: "p", refresh_url="https://a.test/again")
    state = auth.__getstate__()
    described = [state.pop(name) for name in ("_login", "_renewal")]
    state |= {"_urls": ("https://a.test/in", "https://a.test/again"), "_answers": ("access", "refresh")}
    again = JWTLogin.__new__(JWTLogin)
    again.__setstate__({**state, "_fields": ("username", "password", "refresh")})
    assert [again._login, again._renewal] == described


def test_tenants_have_logins_of_their_own() -> None:
    with Listening() as listening:
        for tenant in ("red", "blue"):
            listening.routes[f"/{tenant}/login"] = Reply({"access": f"token-of-{tenant}"})
        auth = JWTLogin(listening.url + "/{tenant}/login", "alice", "secret")
        for tenant in ("red", "blue", "red"):
            with polvo.tenant(tenant):
                assert auth.token().access_token == f"token-of-{tenant}"
        assert [asked.path for asked in listening.asked] == ["/red/login", "/blue/login"]
        with pytest.raises(ConfigurationError, match="tenant"):
            auth.token()


@pytest.mark.parametrize(
    ("username", "password", "missing"),
    [
        ("", "", "username, password"),
        ("alice", "", "password"),
        ("", "secret", "username"),
        (None, None, "username, password"),
    ],
)
def test_all_that_is_missing_is_named(username: Any, password: Any, missing: str) -> None:
    with pytest.raises(ValueError, match="missing") as caught:
        JWTLogin("https://login.test/", username, password)
    assert str(caught.value).partition(";")[0].endswith(f": missing {missing}")


@pytest.mark.parametrize(
    ("keywords", "named"),
    [
        ({"login_url": "http://login.test/"}, "login_url"),
        ({"login_url": "https://me:hunter2@login.test/"}, "login_url"),
        ({"refresh_url": "http://login.test/"}, "refresh_url|login_url"),
        ({"timeout": 0}, "timeout"),
        ({"deadline": -1}, "deadline"),
        ({"max_tenants": 0}, "max_tenants"),
        ({"token_cache": 17}, "token_cache"),
    ],
)
def test_what_cannot_work_is_found_at_once(keywords: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named) as caught:
        JWTLogin(**{"login_url": "https://login.test/", "username": "alice", "password": "hunter2", **keywords})
    assert "hunter2" not in str(caught.value)


# ------------------------------------------------------------------------------------------ bad input


def token_of(**claims: Any) -> str:
    return jwt.encode(claims, "key-of-the-server-that-is-long-enough", "HS256")


@pytest.mark.parametrize("exp", [None, "soon", "1", True, [1], {"a": 1}, float("inf"), float("nan"), 1e400])
def test_a_life_that_is_none_is_not_known(exp: Any) -> None:
    assert read_lifetime(token_of(exp=exp)) is None


@pytest.mark.parametrize("text", ["", "a", "a.b.c", "....", "\x00", "é.é.é", "e30.e30.", "e30.W10.", "e30.bnVsbA."])
def test_what_is_no_token_has_no_known_life(text: str) -> None:
    assert read_lifetime(text) is None


def test_the_life_of_a_token() -> None:
    assert read_lifetime(token_of(exp=4600), server_time=1000) == 3600
    assert read_lifetime(token_of(exp=4600, iat=1000)) == 3600
    assert read_lifetime(token_of(exp=4600, iat=1000), server_time=2000) == 2600, "the token may be from a cache"
    assert read_lifetime(token_of(exp=4600)) is None, "the clock of this machine is not the server's"
    assert read_lifetime(token_of(exp=1000, iat=1000)) is None
    assert read_lifetime(token_of(exp=1000), server_time=1000) is None
    assert read_lifetime(token_of(sub="alice")) is None
    assert [read_lifetime(token_of(exp=exp)) for exp in (10**300, 10**400, -(10**400), 1e300)] == [None] * 4
    deep = base64.urlsafe_b64encode(b"[" * 100_000 + b"]" * 100_000).rstrip(b"=").decode()
    assert read_lifetime(f"{token_of().partition('.')[0]}.{deep}.") is None


@pytest.mark.parametrize("offset", [2 * 86_400, -2 * 86_400, 100, -100])
def test_a_wrong_clock_changes_no_lifetime(offset: float, monkeypatch: pytest.MonkeyPatch) -> None:
    issued = time.time()
    monkeypatch.setattr(time, "time", lambda: issued + offset)
    assert read_lifetime(token_of(exp=issued + 3600, iat=issued)) == 3600
    for server_time in (issued + 2 * 86_400, issued - 2 * 86_400):
        assert read_lifetime(token_of(exp=issued + 3600, iat=issued), server_time) == 3600
    for iat in (issued + 7200, "now", True, None, 1e300):
        assert read_lifetime(token_of(exp=issued + 60, iat=iat), issued) == 60


@pytest.fixture(scope="module")
def hostile_process() -> Iterator[HostileServer]:
    with HostileServer() as server:
        yield server


@pytest.mark.parametrize("behaviour", sorted(BEHAVIOURS))
def test_whatever_a_login_answers(hostile_process: HostileServer, behaviour: str) -> None:
    hostile_process.clear()
    clock = SYSTEM if behaviour in SLOW else VirtualClock()
    auth = JWTLogin(
        hostile_process.url(behaviour),
        "alice",
        "secret-password",
        answers=("access_token", "refresh_token"),
        timeout=1,
        deadline=3,
        clock=clock,
    )
    began = time.monotonic()
    try:
        came: str | TokenRefreshError = auth.token().access_token
    except TokenRefreshError as error:
        came = error
    if isinstance(came, str):
        assert came in (TOKEN, "first", "second")
    else:
        assert came.reason
        assert "secret-password" not in f"{came} {came!r}"
    assert time.monotonic() - began < 6
    assert hostile_process.seen_elsewhere == []


ODD: list[Any] = [
    *([], "", 17, None, True, {}, {"access": None}, {"access": 17}, {"access": ["t"]}, {"access": {"t": "t"}}),
    *({"access": ""}, {"access": "to\nken"}, {"access": "tökén"}, {"access": "to\0ken"}),
]


@pytest.mark.parametrize("body", ODD, ids=[str(number) for number in range(len(ODD))])
def test_what_is_no_login(body: Any) -> None:
    with Listening() as listening:
        listening.routes["/login"] = Reply(json.dumps(body).encode())
        auth = JWTLogin(f"{listening.url}/login", "alice", "secret", clock=VirtualClock())
        with pytest.raises(TokenRefreshError) as caught:
            auth.token()
    assert caught.value.reason in ("no access_token", "invalid access_token", "not json")
    assert caught.value.__context__ is None


def test_a_deadline_of_the_call_holds(hostile_process: HostileServer) -> None:
    began = time.monotonic()
    auth = JWTLogin(hostile_process.url("hang"), "alice", "secret")
    with (
        polvo.Session(auth=auth, deadline=2) as session,
        pytest.raises(TokenRefreshError, match="deadline of the call"),
    ):
        session.get("http://127.0.0.1:9/")
    assert time.monotonic() - began < 6
