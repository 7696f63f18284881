"""Every flow of OAuth2 from outside: real authorization servers, real sessions, and servers that misbehave."""

from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import jwt
import pytest
import requests

import polvo_adapters as polvo
from polvo_adapters.auth import OAuth2, Token, oauth2
from polvo_adapters.auth.options import ABSENT
from polvo_adapters.auth.protocol.authorization_code import AuthorizationRequest
from polvo_adapters.auth.protocol.device_code import DeviceAuthorization
from polvo_adapters.errors import ConfigurationError, TokenRefreshError
from polvo_adapters.runtime.clock import SYSTEM
from polvo_adapters.testing import FailureServer
from polvo_adapters.testing.virtual_clock import VirtualClock
from tests.support.listening_server import Listening, Reply
from tests.support.oauth.authlib_server import PASSWORDS, AuthlibServer
from tests.support.oauth.hostile import BEHAVIOURS, REFRESH, TOKEN, HostileServer
from tests.support.oauth.servers import REDIRECT_URI, OIDCProvider

SCOPE = "openid offline_access api:read"
CC = {"client_id": "cc", "client_secret": "cc-secret"}
WEB = {"client_id": "web", "client_secret": "web-secret", "scope": SCOPE}


@pytest.fixture(params=["oidc", "authlib_server"])
def server(request: pytest.FixtureRequest) -> Any:
    """Return each of the two authorization servers."""
    return request.getfixturevalue(request.param)


@pytest.fixture(params=[requests.Session, polvo.Session], ids=["plain", "polvo"])
def session(request: pytest.FixtureRequest) -> Iterator[requests.Session]:
    with request.param() as session:
        yield session


def who(session: requests.Session, server: Any, auth: Any) -> str:
    """Return in whose name an API is called."""
    response = session.get(server.api_url, auth=auth, verify=server.verify, cert=session.cert)
    assert response.status_code == 200, response.text
    return str(response.json()["subject"])


# ------------------------------------------------------------------------------------------ the flows


@pytest.mark.parametrize(
    "keywords",
    [
        CC,
        {**CC, "client_authentication": "basic"},
        {"client_id": "cc-post", "client_secret": "cc-post-secret", "client_authentication": "post"},
        {"client_id": "cc", "client_secret": lambda: "cc-secret"},
    ],
    ids=["default", "basic", "post", "function"],
)
def test_client_credentials(server: Any, session: requests.Session, keywords: dict[str, Any]) -> None:
    auth = OAuth2(token_url=server.token_url, **keywords)
    assert [who(session, server, auth) for _ in range(3)] == [keywords["client_id"]] * 3
    assert (auth.flow, server.counts()["token"]) == ("client_credentials", 1)


def test_a_secret_with_everything_in_it(oidc: OIDCProvider, session: requests.Session) -> None:
    auth = OAuth2(client_id="cc:odd/1", client_secret=oidc.odd_secret, token_url=oidc.token_url)
    assert who(session, oidc, auth) == "cc:odd/1"


@pytest.mark.parametrize("kind", ["rsa", "ec"])
def test_private_key_jwt(oidc: OIDCProvider, session: requests.Session, kind: str) -> None:
    key = getattr(oidc, f"{kind}_key")
    auth = OAuth2(client_id="cc-jwt", private_key=key, key_id=kind, issuer=oidc.issuer)
    assert who(session, oidc, auth) == "cc-jwt"
    auth.forget()
    assert who(session, oidc, auth) == "cc-jwt"


def test_mtls(oidc_tls: OIDCProvider, session: requests.Session) -> None:
    cert = oidc_tls.client_certificate
    auth = OAuth2(client_id="mtls", cert=cert, verify=oidc_tls.verify, token_url=oidc_tls.token_url)
    session.cert = cert
    assert who(session, oidc_tls, auth) == "mtls"
    wrong = OAuth2(
        client_id="mtls", cert=oidc_tls.other_certificate, verify=oidc_tls.verify, token_url=oidc_tls.token_url
    )
    with pytest.raises(TokenRefreshError) as caught:
        session.get(oidc_tls.api_url, auth=wrong, verify=oidc_tls.verify)
    assert caught.value.reason == "invalid_client"


def test_the_certificate_of_the_server_is_verified(oidc_tls: OIDCProvider, session: requests.Session) -> None:
    auth = OAuth2(client_id="mtls", cert=oidc_tls.client_certificate, token_url=oidc_tls.token_url)
    with pytest.raises(TokenRefreshError) as caught:
        session.get(oidc_tls.api_url, auth=auth, verify=oidc_tls.verify)
    assert caught.value.reason == "tls"


@pytest.mark.parametrize("name", PASSWORDS)
def test_password(authlib_server: AuthlibServer, session: requests.Session, name: str) -> None:
    auth = OAuth2(
        "password", "legacy", "legacy-secret", authlib_server.token_url, username=name, password=PASSWORDS[name]
    )
    assert who(session, authlib_server, auth) == name
    authlib_server.revoke()
    assert who(session, authlib_server, auth) == name
    authlib_server.revoke(refresh=True)
    assert who(session, authlib_server, auth) == name, "with a dead refresh token the password is shown again"
    assert authlib_server.counts()["by_grant"] == {"password": 2, "refresh_token": 2}


def log_in(server: Any, **keywords: Any) -> OAuth2:
    auth = OAuth2(
        "authorization_code",
        token_url=server.token_url,
        authorization_url=server.authorization_url,
        revocation_url=server.revocation_url,
        introspection_url=server.introspection_url,
        redirect_uri=REDIRECT_URI,
        **{**WEB, **keywords},
    )
    request = auth.authorization_request(prompt="consent")
    token = auth.complete(server.approve(request.url), request)
    assert token.refresh_token
    return auth


def test_authorization_code(server: Any, session: requests.Session) -> None:
    auth = log_in(server)
    assert who(session, server, auth) == "alice"
    server.revoke()
    assert who(session, server, auth) == "alice"
    assert server.counts()["by_grant"] == {"authorization_code": 1, "refresh_token": 1}


def test_a_public_client_logs_in(server: Any, session: requests.Session) -> None:
    auth = log_in(server, client_id="pub", client_secret=ABSENT)
    assert who(session, server, auth) == "alice"
    server.revoke()
    assert who(session, server, auth) == "alice"


def test_a_user_who_cancels(server: Any) -> None:
    auth = OAuth2("authorization_code", token_url=server.token_url, authorization_url=server.authorization_url, **WEB)
    request = auth.authorization_request(REDIRECT_URI)
    with pytest.raises(TokenRefreshError) as caught:
        auth.complete(server.approve(request.url, deny=True), request)
    assert caught.value.reason == "access_denied"
    with pytest.raises(TokenRefreshError, match="there is no token yet; log in"):
        auth.token()


def test_an_answer_to_another_login(server: Any) -> None:
    auth = OAuth2("authorization_code", token_url=server.token_url, authorization_url=server.authorization_url, **WEB)
    mine, other = auth.authorization_request(REDIRECT_URI), auth.authorization_request(REDIRECT_URI)
    with pytest.raises(TokenRefreshError) as caught:
        auth.complete(server.approve(mine.url), other)
    assert caught.value.reason == "state mismatch"
    assert server.counts()["token"] == 0


def test_a_login_needs_a_place_to_come_back_to(server: Any) -> None:
    auth = OAuth2("authorization_code", token_url=server.token_url, authorization_url="https://login.test/", **WEB)
    with pytest.raises(ConfigurationError, match="redirect_uri"):
        auth.authorization_request()


def test_device(server: Any, session: requests.Session, clock: VirtualClock) -> None:
    auth = OAuth2(
        "device_code",
        "pub",
        token_url=server.token_url,
        device_authorization_url=server.device_url,
        scope=SCOPE,
        clock=clock,
    )

    def prompt(shown: DeviceAuthorization) -> None:
        assert shown.verification_uri_complete is not None
        server.approve_device(shown.verification_uri_complete, login="bob")

    assert isinstance(auth.login(prompt), Token)
    assert who(session, server, auth) == "bob"


def test_a_device_that_is_refused(server: Any, clock: VirtualClock) -> None:
    auth = OAuth2(
        "device_code", "pub", token_url=server.token_url, device_authorization_url=server.device_url, clock=clock
    )
    with pytest.raises(TokenRefreshError) as caught:
        auth.login(lambda shown: server.approve_device(shown.verification_uri_complete, deny=True))
    assert caught.value.reason == "access_denied"


@pytest.mark.parametrize("kind", ["rsa", "ec"])
def test_jwt_bearer_makes_assertions(server: Any, session: requests.Session, kind: str) -> None:
    auth = OAuth2(
        "jwt_bearer",
        "assertion",
        "assertion-secret",
        server.token_url,
        subject="carol",
        audience=server.token_url,
        private_key=getattr(server, f"{kind}_key"),
        key_id=kind,
    )
    assert who(session, server, auth) == "carol"


def test_jwt_bearer_with_assertions_of_the_caller(server: Any, session: requests.Session) -> None:
    def assertion() -> str:
        made.append(1)
        claims = {"iss": "robot", "sub": "carol", "aud": server.token_url, "exp": int(time.time()) + 60}
        return jwt.encode(claims, server.rsa_key, "RS256", {"kid": "rsa"})

    made: list[int] = []
    auth = OAuth2("jwt_bearer", "assertion", "assertion-secret", server.token_url, assertion=assertion)
    assert who(session, server, auth) == "carol"
    server.revoke()
    assert who(session, server, auth) == "carol"
    assert len(made) == 2


def test_token_exchange(server: Any, session: requests.Session) -> None:
    inner = OAuth2(token_url=server.token_url, **CC)
    auth = OAuth2(
        "token_exchange",
        "exchange",
        "exchange-secret",
        server.token_url,
        subject_token=lambda: inner.token().access_token,
    )
    assert who(session, server, auth) == "cc"
    assert session.get(server.api_url, auth=auth).json()["client"] == "exchange"


def test_refresh_token(server: Any, session: requests.Session, tmp_path: Path) -> None:
    refresh_token = log_in(server).token().refresh_token
    cache = tmp_path / "tokens.json"
    keywords = {**WEB, "token_url": server.token_url, "refresh_token": refresh_token, "token_cache": cache}
    auth = OAuth2(**keywords)
    assert (auth.flow, who(session, server, auth)) == ("refresh_token", "alice")
    server.revoke()
    assert who(session, server, auth) == "alice"
    again = OAuth2(**keywords)
    server.revoke()
    assert who(session, server, again) == "alice", "the successor is in the cache"
    assert server.counts()["by_grant"]["refresh_token"] == 3


def test_the_words_of_the_first_example(server: Any, tmp_path: Path) -> None:
    oauth = polvo.auth.OAuth2(
        client_id="cc",
        client_secret="cc-secret",
        token_url=server.token_url,
        token_cache=tmp_path / "tokens.json",
        cache_encryption=True,
    )
    with polvo.Session() as session:
        session.auth = oauth
        assert session.get(server.api_url).json()["client"] == "cc"
    token = oauth.token().access_token
    assert token not in (tmp_path / "tokens.json").read_text()
    assert (
        OAuth2(token_url=server.token_url, token_cache=str(tmp_path / "tokens.json"), **CC).token().access_token
        == token
    )
    assert isinstance(oauth2(token_url=server.token_url, **CC), OAuth2)


@pytest.mark.parametrize("nonce", [False, True])
def test_dpop(oidc: OIDCProvider, session: requests.Session, nonce: bool) -> None:
    oidc.set(nonce=nonce)
    auth = OAuth2(client_id="dpop", client_secret="dpop-secret", token_url=oidc.token_url, dpop=True)
    for path in ("", "/below?a=1", "/b%20c"):
        response = session.get(oidc.api_url + path, auth=auth)
        assert (response.status_code, response.json()["client"]) == (200, "dpop")
    assert auth.token().token_type == "DPoP"
    oidc.revoke()
    assert session.post(oidc.api_url, auth=auth, data=b"body").status_code == 200


def test_dpop_of_a_login_keeps_its_key(oidc: OIDCProvider, session: requests.Session) -> None:
    auth = log_in(oidc, dpop=True, client_id="pub", client_secret=ABSENT)
    key = auth.token().key
    oidc.revoke()
    assert who(session, oidc, auth) == "alice"
    assert auth.token().key == key


def test_discovery(server: Any, session: requests.Session) -> None:
    auth = OAuth2("authorization_code", issuer=server.issuer, redirect_uri=REDIRECT_URI, **WEB)
    request = auth.authorization_request(prompt="consent")
    assert isinstance(request, AuthorizationRequest)
    auth.complete(server.approve(request.url), request)
    assert who(session, server, auth) == "alice"
    assert auth.introspect()["active"] is True
    auth.revoke()
    with pytest.raises(TokenRefreshError, match="log in"):
        session.get(server.api_url, auth=auth)


def test_revocation_ends_the_login_at_the_server(server: Any) -> None:
    auth = log_in(server)
    token = auth.token()
    assert auth.introspect()["active"] is True
    auth.revoke()
    assert (
        requests.get(server.api_url, headers={"Authorization": f"Bearer {token.access_token}"}, timeout=9).status_code
        == 401
    )
    auth.keep(token)
    assert auth.introspect()["active"] is False
    auth.forget()
    auth.revoke()  # there is nothing left, which is no error


def test_revocation_that_fails_leaves_the_token_to_try_again(authlib_server: AuthlibServer) -> None:
    auth = OAuth2(token_url=authlib_server.token_url, revocation_url=f"{authlib_server.issuer}/nowhere", **CC)
    first = auth.token().access_token
    with pytest.raises(TokenRefreshError) as caught:
        auth.revoke()
    assert caught.value.reason == "status 404"
    assert auth.token().access_token == first
    auth.forget()
    assert auth.token().access_token != first


def test_a_revocation_endpoint_is_needed(authlib_server: AuthlibServer) -> None:
    auth = OAuth2(token_url=authlib_server.token_url, **CC)
    auth.token()
    with pytest.raises(ConfigurationError, match="revocation_url"):
        auth.revoke()


# ------------------------------------------------------------------------------------------ by other ways


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("some-token", ("some-token", "Bearer", None)),
        ({"access_token": "some-token", "expires_in": 60}, ("some-token", "Bearer", 60.0)),
        (Token("some-token", expires_in=60.0), ("some-token", "Bearer", 60.0)),
    ],
)
def test_fetch(given: Any, expected: Any) -> None:
    held: list[Token | None] = []

    def fetch(last: Token | None) -> Any:
        held.append(last)
        return given

    auth = OAuth2(fetch=fetch)
    token = auth.token()
    assert (token.access_token, token.token_type, token.expires_in) == expected
    assert auth.token() is token
    assert held == [None]


def test_fetch_is_given_the_last_token(clock: VirtualClock) -> None:
    held: list[Token | None] = []

    def fetch(last: Token | None) -> Token:
        held.append(last)
        return Token(f"token-{len(held)}", expires_in=60.0)

    auth = OAuth2(fetch=fetch, clock=clock)
    auth.token()
    clock.sleep(61)
    assert auth.token().access_token == "token-2"
    assert held[0] is None
    assert held[1] is not None
    assert held[1].access_token == "token-1"


@pytest.mark.parametrize(
    "given", [{}, {"access_token": ""}, {"access_token": "a b"}, {"error": "invalid_grant"}, {"expires_in": 5}]
)
def test_what_fetch_returns_is_looked_at(given: Any) -> None:
    with pytest.raises(TokenRefreshError):
        OAuth2(fetch=lambda last: given, clock=VirtualClock()).token()


@pytest.mark.parametrize(
    "given", [None, 17, ["a"], b"token", "", "to ken", "to\nken", object(), {"access_token": object()}]
)
def test_what_fetch_returns_may_be_anything(given: Any) -> None:
    with pytest.raises(TokenRefreshError):
        OAuth2(fetch=lambda last: given, clock=VirtualClock()).token()


def test_fetch_that_raises() -> None:
    def fetch(last: Token | None) -> str:
        raise RuntimeError("the vault is sealed")

    with pytest.raises(TokenRefreshError, match="RuntimeError") as caught:
        OAuth2(fetch=fetch, clock=VirtualClock()).token()
    assert caught.value.reason == "RuntimeError"
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_a_session_of_the_callers(authlib_server: AuthlibServer) -> None:
    with requests.Session() as own:
        own.headers["X-Own"] = "1"
        own.auth = ("some", "body")
        auth = OAuth2(token_url=authlib_server.token_url, session=own, **CC)
        assert auth.token().access_token
    with polvo.Session(circuit_breaker=True) as own:
        assert OAuth2(token_url=authlib_server.token_url, session=own, **CC).token().access_token


def test_parameters_are_sent_along() -> None:
    with Listening() as listening:
        listening.routes["/token"] = Reply({"access_token": "a", "token_type": "Bearer"})
        OAuth2(
            token_url=f"{listening.url}/token",
            parameters={"tenant": "t 1"},
            scope=["a", "b"],
            audience="https://api.test/",
            **CC,
        ).token()
        (asked,) = listening.asked
    assert asked.form == {
        "grant_type": "client_credentials",
        "scope": "a b",
        "audience": "https://api.test/",
        "tenant": "t 1",
    }


# ------------------------------------------------------------------------------------------ settings

PLACE = {"client_id": "me", "token_url": "https://login.test/token"}
MISSING: list[tuple[dict[str, Any], str]] = [
    ({}, "client_id, token_url (or issuer)"),
    ({"client_id": "me"}, "token_url (or issuer)"),
    ({"token_url": "https://login.test/token"}, "client_id"),
    ({"client_id": "", "token_url": ""}, "client_id, token_url (or issuer)"),
    ({"flow": "password"}, "client_id, username, password, token_url (or issuer)"),
    ({"flow": "password", "username": "alice", **PLACE}, "password"),
    ({"flow": "password", "password": "secret", **PLACE}, "username"),
    ({"flow": "jwt_bearer"}, "client_id, assertion, token_url (or issuer)"),
    ({"flow": "jwt_bearer", "private_key": "key", **PLACE}, "assertion"),
    ({"flow": "token_exchange"}, "client_id, subject_token, token_url (or issuer)"),
    ({"flow": "refresh_token"}, "client_id, refresh_token, token_url (or issuer)"),
    ({"flow": "refresh_token", "refresh_token": "", **PLACE}, "refresh_token"),
    ({"refresh_token": ""}, "client_id, refresh_token, token_url (or issuer)"),
    ({"flow": "authorization_code"}, "client_id, token_url (or issuer)"),
    ({"flow": "device_code"}, "client_id, token_url (or issuer)"),
]


@pytest.mark.parametrize(("keywords", "missing"), MISSING)
def test_all_that_is_missing_is_named(keywords: dict[str, Any], missing: str) -> None:
    with pytest.raises(ValueError, match="missing") as caught:
        OAuth2(**keywords)
    assert f": missing {missing}; a value that is None may come from" in str(caught.value)


@pytest.mark.parametrize(
    ("keywords", "named"),
    [
        ({"flow": "implicit"}, "implicit"),
        ({"token_url": "http://login.test/token"}, "token_url"),
        ({"token_url": "login.test/token"}, "token_url"),
        ({"token_url": "https://user:hunter2@login.test/token"}, "token_url"),
        ({"authorization_url": "http://login.test/"}, "authorization_url"),
        ({"revocation_url": "ftp://login.test/"}, "revocation_url"),
        ({"client_authentication": "jwt"}, "client_authentication"),
        ({"client_authentication": "basic"}, "client_secret"),
        ({"client_authentication": "private_key_jwt"}, "private_key"),
        ({"deadline": 0}, "deadline"),
        ({"timeout": -1}, "timeout"),
        ({"max_tenants": 0}, "max_tenants"),
        ({"token_cache": 17}, "token_cache"),
    ],
)
def test_what_cannot_work_is_found_at_once(keywords: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named) as caught:
        OAuth2(**{**PLACE, **keywords})
    assert "hunter2" not in str(caught.value)


def test_plain_http_is_only_for_those_who_ask_for_it() -> None:
    assert OAuth2(client_id="me", token_url="http://login.test/token", allow_http=True)
    assert OAuth2(client_id="me", token_url="http://localhost:8000/token")


# ------------------------------------------------------------------------------------------ failures


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (400, {"error": "invalid_grant", "error_description": "Token has been revoked"}, "invalid_grant"),
        (401, {"error": "invalid_client"}, "invalid_client"),
        (400, {"error": "vendor_specific-code.7"}, "vendor_specific-code.7"),
        (403, "<html>", "status 403"),
    ],
)
def test_reasons_are_what_the_server_said(
    authlib_server: AuthlibServer, session: requests.Session, status: int, body: Any, reason: str
) -> None:
    authlib_server.fail(status, 10, body=body)
    auth = OAuth2(token_url=authlib_server.token_url, clock=VirtualClock(), **CC)
    with pytest.raises(requests.RequestException) as caught:
        session.get(authlib_server.api_url, auth=auth)
    error = caught.value
    assert isinstance(error, TokenRefreshError)
    assert (error.reason, error.status) == (reason, status)
    assert authlib_server.issuer.partition("://")[2] in str(error)
    assert authlib_server.counts()["api"] == 0


def dead(server: Any, **keywords: Any) -> OAuth2:
    """Return the auth of a user whose refresh token is dead, as is the access token."""
    auth = log_in(server, **keywords)
    server.revoke(refresh=True)
    return auth


def test_a_dead_refresh_token_says_what_to_do(server: Any, session: requests.Session) -> None:
    auth = dead(server)
    with pytest.raises(TokenRefreshError, match="log in again") as caught:
        session.get(server.api_url, auth=auth)
    assert (caught.value.reason, caught.value.final) == ("invalid_grant", True)
    with pytest.raises(TokenRefreshError, match="log in again") as caught:
        session.get(server.api_url, auth=auth)
    assert caught.value.final
    assert server.counts()["by_grant"]["refresh_token"] == 1


@pytest.mark.parametrize("kind", ["token", "mapping", "text"])
def test_reauthenticate(server: Any, session: requests.Session, kind: str) -> None:
    def again(error: TokenRefreshError) -> Any:
        errors.append(error)
        fresh = log_in(server).token()
        return {
            "token": fresh,
            "mapping": {"access_token": fresh.access_token, "refresh_token": fresh.refresh_token, "expires_in": 60},
            "text": fresh.access_token,
        }[kind]

    errors: list[TokenRefreshError] = []
    auth = dead(server, reauthenticate=again)
    assert who(session, server, auth) == "alice"
    assert [error.reason for error in errors] == ["invalid_grant"]
    assert session.get(server.api_url, auth=auth).history == []


def test_reauthenticate_may_give_up(server: Any, session: requests.Session) -> None:
    auth = dead(server, reauthenticate=lambda error: None)
    with pytest.raises(TokenRefreshError, match="log in again") as caught:
        session.get(server.api_url, auth=auth)
    assert caught.value.reason == "invalid_grant"


def test_reauthenticate_is_asked_where_nobody_has_logged_in(server: Any) -> None:
    auth = OAuth2(
        "authorization_code", token_url=server.token_url, reauthenticate=lambda error: f"for-{error.reason}"[:5], **WEB
    )
    assert auth.token().access_token == "for-l"


def test_reauthenticate_is_not_asked_about_a_server_that_is_down(authlib_server: AuthlibServer) -> None:
    asked: list[Any] = []
    auth = log_in(authlib_server, reauthenticate=asked.append, deadline=2)
    authlib_server.revoke()
    authlib_server.fail(503, 10)
    with pytest.raises(TokenRefreshError):
        requests.get(authlib_server.api_url, auth=auth, timeout=10)
    assert asked == []


# ------------------------------------------------------------------------------------------ bad input

GOOD = {
    *("good", "good-with-refresh", "status-201", "json-as-html", "byte-order-mark", "unknown-charset", "urlencoded"),
    *("urlencoded-as-form", "no-expires-in", "no-token-type", "token-type-upper", "twice", "set-cookie", "gzip"),
    *(f"refresh-token-{name}" for name in ("null", "int", "true", "list", "object", "empty")),
    *(f"refresh-token-{name}" for name in ("newline", "space", "non-ascii", "nul", "surrogate")),
    *(f"scope-{name}" for name in ("null", "int", "true", "list", "object", "empty")),
    *(f"expires-in-{name}" for name in ("3600", "3600.5", "null", "1e30", "1e400", "infinity", "spaces")),
    *(f"expires-in-{name}" for name in ("NaN", "empty", "hex", "list", "nan-string", "negative", "object", "soon")),
    *(f"expires-in-{name}" for name in ("other-digits", "true", "underscore", "zero")),
    *(f"token-type-{name}" for name in ("null", "empty", "int", "list", "mac", "newline", "object", "true")),
    "gzip-cut",
}
UNSURE = {"length-too-short", "expires-in-huge", "gzip-cut", "utf-16", "length-bad", "length-negative"}
SLOW = {"hang", "hang-in-body", "drip", "drip-headers"}


@pytest.fixture(scope="module")
def hostile_process() -> Iterator[HostileServer]:
    with HostileServer() as server:
        yield server


@pytest.fixture
def hostile_here(hostile_process: HostileServer) -> HostileServer:
    hostile_process.clear()
    return hostile_process


def outcome(auth: OAuth2, session: requests.Session, url: str) -> TokenRefreshError | requests.Response:
    """Call an API; whatever comes that is neither an answer nor a TokenRefreshError fails the test."""
    try:
        return session.get(url, auth=auth)
    except TokenRefreshError as error:
        return error


@pytest.mark.parametrize("behaviour", sorted(BEHAVIOURS))
def test_whatever_a_token_endpoint_does(hostile_here: HostileServer, behaviour: str) -> None:
    with Listening() as api, requests.Session() as session:
        api.routes["/"] = Reply({})
        # Pauses between attempts need not be waited for where nothing hangs.
        clock = SYSTEM if behaviour in SLOW else VirtualClock()
        auth = OAuth2(token_url=hostile_here.url(behaviour), deadline=3, timeout=1, clock=clock, **CC)
        began = time.monotonic()
        came = outcome(auth, session, f"{api.url}/")
        assert time.monotonic() - began < 3 + 3, "the deadline is over, and a slow machine is no excuse any more"
        if isinstance(came, TokenRefreshError):
            assert behaviour not in GOOD - UNSURE, came
            assert came.reason
            assert api.asked == []
        else:
            assert behaviour in GOOD | UNSURE
            assert api.asked[0].headers["authorization"] in (f"Bearer {TOKEN}", "Bearer second", "Bearer first")
    assert hostile_here.seen_elsewhere == []


@pytest.mark.parametrize("behaviour", sorted(set(BEHAVIOURS) - SLOW - {"huge", "gzip-bomb"}))
def test_whatever_it_does_to_a_refresh_token(hostile_here: HostileServer, behaviour: str, clock: VirtualClock) -> None:
    auth = OAuth2(token_url=hostile_here.url(behaviour), refresh_token="refresh", clock=clock, **CC)
    for _ in range(2):
        with suppress(TokenRefreshError):
            auth.token()
        clock.sleep(4000)
    shown = [seen.form["refresh_token"] for seen in hostile_here.requests_seen]
    assert shown[0] == "refresh"
    assert shown[-1] == (REFRESH if behaviour == "good-with-refresh" else shown[-1])
    if not behaviour.startswith(("good-with-refresh", "refresh-token-")):
        assert set(shown) == {"refresh"}, "what the server has not replaced is good for another time"
    if behaviour in ("refresh-token-null", "refresh-token-int", "refresh-token-empty"):
        assert set(shown) == {"refresh"}


def test_the_deadline_of_a_call_holds_for_a_server_that_hangs(hostile_here: HostileServer) -> None:
    auth = OAuth2(token_url=hostile_here.url("hang"), **CC)
    with polvo.Session(auth=auth, deadline=2) as session:
        began = time.monotonic()
        with pytest.raises(TokenRefreshError) as caught:
            session.get("http://127.0.0.1:9/")
        assert 1 < time.monotonic() - began < 6
    assert caught.value.reason == "timeout"


def test_who_waits_for_a_refresh_that_hangs_keeps_to_the_own_deadline(hostile_here: HostileServer) -> None:
    auth = OAuth2(token_url=hostile_here.url("hang"), deadline=4, timeout=4, **CC)
    ends: list[float] = []

    def call(deadline: float) -> None:
        began = time.monotonic()
        with polvo.Session(auth=auth, deadline=deadline) as session, pytest.raises(TokenRefreshError):
            session.get("http://127.0.0.1:9/")
        ends.append(time.monotonic() - began)

    threads = [threading.Thread(target=call, args=(deadline,)) for deadline in (3.0, 1.0, 1.0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(ends) == 3
    assert max(ends) < 8


FLOWS: dict[str, Callable[[str], OAuth2]] = {
    "client_credentials": lambda url: OAuth2(token_url=url, clock=VirtualClock(), **CC),
    "password": lambda url: OAuth2(
        "password", "legacy", "s", url, username="alice", password="alice-password", clock=VirtualClock()
    ),
    "jwt_bearer": lambda url: OAuth2("jwt_bearer", "a", "s", url, assertion="assertion", clock=VirtualClock()),
    "token_exchange": lambda url: OAuth2(
        "token_exchange", "a", "s", url, subject_token="subject", clock=VirtualClock()
    ),
    "refresh_token": lambda url: OAuth2("refresh_token", "a", "s", url, refresh_token="refresh", clock=VirtualClock()),
}


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("behaviour", ["html", "error-echo", "close", "redirect-307", "access-token-newline"])
def test_every_flow_fails_in_the_same_way(hostile_here: HostileServer, flow: str, behaviour: str) -> None:
    with pytest.raises(TokenRefreshError) as caught:
        FLOWS[flow](hostile_here.url(behaviour)).token()
    assert caught.value.reason
    assert caught.value.host == hostile_here.issuer.partition("://")[2]


# Whose token it is.

_SAME = {"client_id": "app", "token_url": "http://127.0.0.1:9/token"}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"flow": "jwt_bearer", "assertion": "alice"}, {"flow": "jwt_bearer", "assertion": "bob"}),
        ({"flow": "token_exchange", "subject_token": "a"}, {"flow": "token_exchange", "subject_token": "b"}),
        (
            {"flow": "token_exchange", "subject_token": lambda: "a"},
            {"flow": "token_exchange", "subject_token": lambda: "b"},
        ),
        ({"refresh_token": "a"}, {"refresh_token": "b"}),
        ({"refresh_token": lambda: "a"}, {"refresh_token": lambda: "b"}),
        (
            {"flow": "token_exchange", "subject_token": "a", "exchange": {"actor_token": "x"}},
            {"flow": "token_exchange", "subject_token": "a", "exchange": {"actor_token": "y"}},
        ),
        ({"parameters": {"audience": "a"}}, {"parameters": {"audience": "b"}}),
        ({"dpop": False}, {"dpop": True}),
        ({"audience": "a"}, {"audience": "b"}),
        ({"scope": "a"}, {"scope": "b"}),
    ],
)
def test_what_differs_has_a_token_of_its_own(one: dict[str, Any], other: dict[str, Any]) -> None:
    keys = [OAuth2(**{**_SAME, **settings})._identify("")[0] for settings in (one, one, other)]
    assert keys[0] == keys[1] != keys[2]
    assert not any("alice" in key or "bob" in key for key in keys)


def test_the_key_of_a_token_is_that_of_earlier_versions() -> None:
    oauth = OAuth2("client_credentials", "c 1", token_url="https://h.example/{tenant}/t?a=b c", scope="x y")
    assert oauth._identify("ten ant")[0] == (
        "token https://h.example/{tenant}/t%3Fa%3Db%20c ten%20ant client_credentials c%201 x%20y - - -"
    )


def test_a_tenant_named_like_none_has_a_token_of_its_own() -> None:
    oauth = OAuth2(**_SAME)
    assert oauth._identify("-") != oauth._identify("")
    login = polvo.auth.jwt_login("http://127.0.0.1:9/login", "ada", "secret")
    assert login._identify("-") != login._identify("")


def test_assertions_that_a_function_makes_need_a_name_in_a_shared_cache(tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        **_SAME,
        "flow": "jwt_bearer",
        "assertion": lambda: "signed",
        "token_cache": tmp_path / "t",
    }
    with pytest.raises(ConfigurationError, match="missing subject"):
        OAuth2(**settings)
    OAuth2(**settings, subject="alice")


def test_a_function_that_fails_is_a_token_refresh_error() -> None:
    def fails() -> str:
        raise KeyError("nowhere")

    oauth = OAuth2(**_SAME, refresh_token=fails)
    with pytest.raises(TokenRefreshError, match="refresh_token could not be fetched") as caught:
        oauth.token()
    assert caught.value.reason == "KeyError"


def test_an_empty_secret_is_a_missing_one() -> None:
    with pytest.raises(ConfigurationError, match="client_secret"):
        OAuth2(**_SAME, client_secret="")


# ------------------------------------------------------------------------------------------ the marks on requests


@pytest.fixture
def server_here() -> Iterator[FailureServer]:
    with FailureServer() as server:
        yield server


def at_failure_server(server: FailureServer) -> OAuth2:
    return OAuth2(client_id="cc", client_secret="cc-secret", token_url=server.url + "/oauth/token")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_pickle_protocol_knows_a_response_whose_token_was_asked_for(
    protocol: int, server_here: FailureServer
) -> None:
    response = requests.get(server_here.url + "/echo", auth=at_failure_server(server_here))
    assert pickle.loads(pickle.dumps(response, protocol)).status_code == 200


def test_a_request_whose_token_was_there_gets_no_marks(server_here: FailureServer) -> None:
    with polvo.Session(server_here.url, auth=at_failure_server(server_here)) as session:
        marked = ["_polvo" in vars(session.get("echo").request) for _ in range(2)]
    assert marked == [True, False]
