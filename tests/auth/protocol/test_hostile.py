"""Whatever a token endpoint does: a token, or a TokenRefreshError; in time, and with no secret in it."""

from __future__ import annotations

import logging
import pickle
import time
import traceback
from collections.abc import Iterator
from http.cookiejar import Cookie
from typing import Any
from urllib.parse import parse_qs

import pytest
import requests

import polvo_adapters as polvo
from polvo_adapters.auth.protocol import grants
from polvo_adapters.auth.protocol.server import AuthorizationServer
from polvo_adapters.auth.protocol.token import Token
from polvo_adapters.errors import TokenRefreshError
from tests.support.oauth.hostile import BEHAVIOURS, TOKEN, HostileServer

SECRET, PASSWORD = "s3cret-of-the-client", "p%ss w0rd&of=alice"
FIELDS = grants.password("alice@example.com", PASSWORD)
SLOW = ("hang", "hang-in-body", "drip", "drip-headers")

REASONS = {
    "html": "not json",
    "status-204": "not json",
    "json-list": "not json",
    "json-deep": "not json",
    "no-access-token": "no access_token",
    "access-token-null": "no access_token",
    "access-token-int": "invalid access_token",
    "access-token-newline": "invalid access_token",
    "access-token-non-ascii": "invalid access_token",
    "access-token-long": "too large",
    "token-type-dpop": "unsupported token_type",
    "error-200": "invalid_grant",
    "error-object": "OAuthException",
    "error-newline": "error",
    "error-long": "too large",
    "error-echo": "invalid_client",
    "error-echo-html": "status 500",
    "error-401-empty": "status 401",
    "status-502-html": "status 502",
    "retry-after": "status 503",
    "too-many": "slow_down",
    "redirect-302": "redirect",
    "redirect-307": "redirect",
    "redirect-file": "redirect",
    "hang": "timeout",
    "hang-in-body": "timeout",
    "drip": "timeout",
    "drip-headers": "timeout",
    "close": "connection",
    "reset": "connection",
    "no-http": "connection",
    "length-too-long": "connection",
    "huge": "too large",
    "gzip-bomb": "too large",
    "gzip-broken": "not json",
}
LIVES = {
    "good": 3600,
    "status-201": 3600,
    "json-as-html": 3600,
    "urlencoded": None,
    "urlencoded-as-form": 3600,
    "no-expires-in": None,
    "expires-in-null": None,
    "expires-in-3600": 3600,
    "expires-in-3600.5": 3600.5,
    "expires-in-1e30": None,
    "expires-in-infinity": None,
    **{f"expires-in-{odd}": None for odd in ("soon", "empty", "negative", "zero", "NaN", "true", "list")},
    **{f"expires-in-{odd}": None for odd in ("other-digits", "underscore")},
    "token-type-mac": 3600,
    "token-type-upper": 3600,
    "no-token-type": 3600,
    "refresh-token-int": 3600,
    "scope-object": 3600,
    "gzip": 3600,
}


@pytest.fixture(scope="module")
def hostile_process() -> Iterator[HostileServer]:
    with HostileServer() as server:
        yield server


@pytest.fixture
def hostile(hostile_process: HostileServer) -> HostileServer:
    hostile_process.clear()
    return hostile_process


@pytest.fixture(params=["own", "plain", "polvo", "adapter"])
def session(request: pytest.FixtureRequest) -> Iterator[requests.Session | None]:
    if request.param == "own":
        yield None
        return
    with polvo.Session() if request.param == "polvo" else requests.Session() as session:
        if request.param == "adapter":
            session.mount("http://", polvo.ResilientAdapter())
        yield session


def ask(
    url: str, session: requests.Session | None = None, timeout: float = 10.0, **keywords: Any
) -> Token | TokenRefreshError:
    server = AuthorizationServer(
        client_id="the-client", client_secret=SECRET, token_url=url, session=session, timeout=timeout
    )
    try:
        return server.token(FIELDS, **keywords)
    except TokenRefreshError as error:
        return error


def collect_texts(error: TokenRefreshError) -> str:
    """Return all that a log, a traceback or an error tracker would show of an error."""
    told = [str(error), repr(error), repr(vars(error)), *traceback.format_exception(error)]
    told.append(pickle.dumps(error).decode("latin-1"))
    return "\n".join(told)


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_whatever_it_does(hostile: HostileServer, behaviour: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    began = time.monotonic()
    got = ask(hostile.url(behaviour), timeout=0.6 if behaviour in SLOW else 10.0)
    assert time.monotonic() - began < 9
    assert hostile.seen_elsewhere == []
    assert len(hostile.requests_seen) == 1
    said = caplog.text
    if isinstance(got, Token):
        assert got.access_token in (TOKEN, "second")
        assert behaviour not in REASONS
        assert behaviour not in LIVES or got.expires_in == LIVES[behaviour]
        assert Token.from_json(got.to_json()) == got
    else:
        assert behaviour not in LIVES
        assert got.reason == REASONS.get(behaviour, got.reason)
        assert got.host == hostile.issuer.partition("://")[2]
        assert (got.request, got.response, got.__cause__, got.__context__) == (None, None, None, None)
        assert len(str(got)) < 500
        assert str(got).isprintable()
        said += collect_texts(got)
    for secret in (SECRET, PASSWORD, *hostile.requests_seen[0].secrets):
        assert secret in ("password", "alice@example.com") or secret not in said


@pytest.mark.parametrize("behaviour", SLOW)
def test_the_deadline_holds_through_every_kind_of_session(
    hostile: HostileServer, session: requests.Session | None, behaviour: str
) -> None:
    began = time.monotonic()
    got = ask(hostile.url(behaviour), session, deadline_timeout=0.5)
    assert isinstance(got, TokenRefreshError)
    assert got.reason == "timeout"
    assert time.monotonic() - began < 5  # against the ten seconds of `timeout`, and for ever


@pytest.mark.parametrize("deadline_timeout", [0.0, -1.0])
def test_no_time_left_means_that_nothing_is_sent(hostile: HostileServer, deadline_timeout: float) -> None:
    got = ask(hostile.url("good"), deadline_timeout=deadline_timeout)
    assert isinstance(got, TokenRefreshError)
    assert (got.reason, hostile.requests_seen) == ("timeout", [])


def test_what_the_server_says_about_coming_back(hostile: HostileServer) -> None:
    for behaviour, status in (("retry-after", 503), ("too-many", 429)):
        got = ask(hostile.url(behaviour))
        assert isinstance(got, TokenRefreshError)
        assert (got.retry_after, got.status, got.final) == (30.0, status, False)
        assert "30 s" in str(got)


def test_nobody_listens() -> None:
    with HostileServer() as server:
        url = server.url("good")
    got = ask(url)
    assert isinstance(got, TokenRefreshError)
    assert (got.reason, got.status, got.final) == ("connection", 0, False)


def test_nothing_of_a_session_goes_along_that_is_meant_for_others(
    hostile: HostileServer, session: requests.Session | None, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login netrc-user password netrc-password\n")
    monkeypatch.setenv("NETRC", str(netrc))
    if session is not None:
        session.auth = ("session-user", "session-password")
        session.headers["X-Api-Key"] = "session-key"
        session.headers["User-Agent"] = "agent/1"
        session.hooks["response"].append(lambda response, **_: response.raise_for_status())
        session.cookies.set_cookie(cookie("127.0.0.1"))
    server = AuthorizationServer(client_id="public", token_url=hostile.url("set-cookie"), session=session)
    for _ in range(2):
        server.token(FIELDS)
    for seen in hostile.requests_seen:
        sent = {name.lower(): value for name, value in seen.headers.items()}
        assert not {"authorization", "x-api-key", "cookie"} & set(sent)
        assert session is None or sent["user-agent"] == "agent/1"
        assert sent["accept"] == "application/json"
    assert session is None or len(session.cookies) == 1


def cookie(host: str) -> Cookie:
    return requests.cookies.create_cookie("sid", "session-cookie", domain=host)


def test_repeated_fields_empty_ones_and_names_of_any_kind(hostile: HostileServer) -> None:
    odd = {"body": "b", "include_client_id": "no", "empty": ""}
    server = AuthorizationServer(client_id="public", token_url=hostile.url(), parameters=odd)
    resource = ["https://a.example.com/", "https://b.example.com/?x=1&y=2"]
    server.token(grants.client_credentials(["api:read", "api:write"], audience="somebody", resource=resource))
    assert parse_qs(hostile.requests_seen[0].body.decode(), keep_blank_values=True) == {
        "grant_type": ["client_credentials"],
        "scope": ["api:read api:write"],
        "audience": ["somebody"],
        "resource": resource,
        "body": ["b"],
        "include_client_id": ["no"],
        "empty": [""],
        "client_id": ["public"],
    }
