"""OAuth2 and JWTLogin at endpoints with ways of their own, and what is sent along with grants and refreshes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import jwt
import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import ec

from polvo_adapters.auth import JWTLogin, OAuth2, Token, TokenEndpoint, TokenResponse
from polvo_adapters.auth.protocol.grants import jwt_bearer
from polvo_adapters.errors import TokenRefreshError
from polvo_adapters.testing.virtual_clock import VirtualClock
from tests.support.listening_server import Asked, Listening, Reply

KEY = ec.generate_private_key(ec.SECP256R1())
APP: dict[str, Any] = {"client_id": "app", "client_secret": "secret"}
NESTED = TokenResponse("data.token", "data.again", "data.life", expires_unit="minutes", success={"code": 0})


@pytest.fixture
def listening() -> Iterator[Listening]:
    with Listening() as listening:
        listening.routes["/api"] = lambda asked: Reply(
            {"seen": asked.headers["authorization"]}, 200 if "second" in asked.headers["authorization"] else 401
        )
        yield listening


def describe(listening: Listening, **keywords: Any) -> TokenEndpoint:
    return TokenEndpoint(f"{listening.url}/token", **keywords)


def answer(asked: Asked) -> Reply:
    name = "second" if "refresh" in asked.path else "first"
    return Reply({"code": 0, "data": {"token": name, "again": f"r-{name}", "life": 60}})


def test_a_token_is_refreshed_at_another_url_and_used_by_every_client(listening: Listening) -> None:
    listening.routes["/token"] = listening.routes["/refresh?v=1"] = answer
    names = {"client_id": "appid", "client_secret": "appsecret"}
    described = describe(
        listening,
        names=names,
        client_authentication="post",
        refresh=TokenEndpoint(f"{listening.url}/refresh?v=1", names=names, response=NESTED),
        response=NESTED,
    )
    auth = OAuth2(token_url=described, **APP)
    assert requests.get(f"{listening.url}/api", auth=auth, timeout=9).json() == {"seen": "Bearer second"}
    with httpx.Client(auth=auth.httpx()) as client:
        assert client.get(f"{listening.url}/api").status_code == 200
    grant, refresh = [asked for asked in listening.asked if asked.path != "/api"]
    assert grant.form == {"grant_type": "client_credentials", "appid": "app", "appsecret": "secret"}
    assert refresh.form == {**grant.form, "grant_type": "refresh_token", "refresh_token": "r-first"}
    assert auth.token().expires_in == 3600


async def test_so_it_is_by_an_asynchronous_client(listening: Listening) -> None:
    listening.routes["/token"] = Reply({"code": 0, "data": {"token": "second"}})
    auth = OAuth2(token_url=describe(listening, response=NESTED, encoding="json"), **APP)
    async with httpx.AsyncClient(auth=auth.httpx()) as client:
        assert (await client.get(f"{listening.url}/api")).status_code == 200


def test_a_secret_in_a_header_that_was_rotated(listening: Listening) -> None:
    class Rotating:
        value = "old"

        def __call__(self) -> str:
            return self.value

        def invalidate(self) -> None:
            self.value = "new"

    def judge(asked: Asked) -> Reply:
        is_good = asked.headers["x-secret"] == "new"
        return Reply({"access_token": "t"}) if is_good else Reply({"error": "invalid_client"}, 401)

    listening.routes["/token"] = judge
    described = describe(listening, headers={"X-Secret": "{client_secret}"}, client_authentication="none")
    assert OAuth2(client_id="app", client_secret=Rotating(), token_url=described).token().access_token == "t"


def test_a_login_whose_refresh_token_is_in_a_header(listening: Listening) -> None:
    listening.routes["/token"] = Reply({"data": {"jwt": "first", "again": "r1"}})
    listening.routes["/refresh"] = Reply({"data": {"jwt": "second"}})
    response = TokenResponse("data.jwt", "data.again")
    no_fields = dict.fromkeys(("grant_type", "refresh_token"))
    auth = JWTLogin(
        describe(listening, encoding="json", names={"grant_type": None, "username": "user.name"}, response=response),
        "ada",
        "password",
        refresh_url=TokenEndpoint(
            f"{listening.url}/refresh",
            encoding="json",
            names=no_fields,
            headers={"Authorization": "Bearer {refresh_token}", "X-Old": "{access_token}"},
            response=response,
        ),
    )
    assert requests.get(f"{listening.url}/api", auth=auth, timeout=9).status_code == 200
    refresh = next(asked for asked in listening.asked if asked.path == "/refresh")
    assert (refresh.headers["authorization"], refresh.headers["x-old"]) == ("Bearer r1", "first")
    assert auth.token().refresh_token == "r1", "it stays valid, as no other has come"


def test_an_assertion_in_a_header(listening: Listening) -> None:
    """As GitHub Apps log in: the assertion is the credential, and there are no fields."""
    listening.routes["/token"] = Reply({"token": "second", "expires_at": "1994-11-06T08:59:37Z"}, 201)
    fields = ("client_assertion", "client_assertion_type", "client_id", "grant_type")
    described = describe(
        listening,
        encoding="json",
        headers={"Authorization": "Bearer {client_assertion}"},
        names=dict.fromkeys(fields),
        response=TokenResponse("token"),
    )
    auth = OAuth2(client_id="7", private_key=KEY, token_url=described, claims={"aud": None, "sub": None})
    assert requests.get(f"{listening.url}/api", auth=auth, timeout=9).status_code == 200
    sent = jwt.decode(listening.asked[0].headers["authorization"][7:], options={"verify_signature": False})
    assert sent.keys() == {"iss", "iat", "nbf", "exp", "jti"}
    assert sent["exp"] - sent["iat"] <= 600


def test_what_a_login_has_told_is_there_after_refreshes(listening: Listening) -> None:
    replies = iter([{"access_token": "a", "expires_in": 60, "refresh_token": "r", "team": 7}, {"access_token": "b"}])
    listening.routes["/token"] = lambda asked: Reply(next(replies))
    clock = VirtualClock()
    url = f"{listening.url}/token"
    auth = OAuth2(
        "authorization_code", token_url=url, authorization_url=url, clock=clock, background=False, scope="a b", **APP
    )
    request = auth.authorization_request("https://app.test/")
    auth.complete(f"https://app.test/?code=c&state={request.state}&realmId=42&iss=x&scope=a", request)
    clock.advance(100)
    token = auth.token()
    assert (token.access_token, token.extra) == ("b", {"realmId": "42", "team": 7})


@pytest.mark.parametrize("nothing", [None, "", False, 0, "0", [], {}])
def test_an_error_that_is_none_does_not_cost_the_token(listening: Listening, nothing: Any) -> None:
    listening.routes["/token"] = Reply({"access_token": "t", "error": nothing})
    assert OAuth2(token_url=f"{listening.url}/token", **APP).token().access_token == "t"


# ------------------------------------------------------------------------------------------ assertions


@pytest.mark.parametrize("leeway", [0, 5, 60, 600])
def test_assertions_are_back_dated_and_end_in_time(leeway: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 1_000_000.9)
    assertion = jwt_bearer(issuer="i", audience="a", private_key=KEY, leeway=leeway, scope=["a", "b"])["assertion"]
    claims = jwt.decode(str(assertion), options={"verify_signature": False})
    assert (claims["iat"], claims["nbf"], claims["exp"]) == (1_000_000 - leeway, 1_000_000 - leeway, 1_000_300)
    assert claims["scope"] == "a b"


def test_claims_and_headers_reach_the_assertion(listening: Listening) -> None:
    listening.routes["/token"] = Reply({"access_token": "t"})
    keyed: dict[str, Any] = {"client_id": "app", "private_key": KEY, "token_url": f"{listening.url}/token"}
    further = {"claims": {"box_sub_type": "enterprise", "jti": None}, "assertion_headers": {"x5t": "abc"}}
    OAuth2(**keyed, **further).token()
    OAuth2("jwt_bearer", **keyed, **further, audience="a", client_authentication="none").token()
    for asked, name in zip(listening.asked, ("client_assertion", "assertion"), strict=True):
        claims = jwt.decode(asked.form[name], options={"verify_signature": False})
        assert (claims["box_sub_type"], "jti" in claims) == ("enterprise", False)
        assert jwt.get_unverified_header(asked.form[name])["x5t"] == "abc"


# ------------------------------------------------------------------------------------------ refreshes


@pytest.mark.parametrize(
    ("settings", "granted", "sent"),
    [
        ({"scope": "a b"}, None, {"scope": "a b"}),
        ({"scope": "a b"}, "a b", {"scope": "a b"}),
        ({"scope": "a b"}, "a", {}),
        ({"scope": "a/.default b"}, "a/Read", {"scope": "a/.default b"}),
        ({"audience": "x", "resource": "https://e.test/"}, "a", {"audience": "x", "resource": "https://e.test/"}),
        ({}, "a", {}),
    ],
)
@pytest.mark.parametrize("expected", [("scope", "audience", "resource"), ("audience",), ()])
def test_what_a_refresh_asks_for(
    listening: Listening, settings: dict[str, str], granted: str | None, sent: dict[str, str], expected: tuple[str, ...]
) -> None:
    listening.routes["/token"] = Reply({"access_token": "t"})
    clock = VirtualClock()
    described = describe(listening, refresh_with=expected)
    auth = OAuth2("authorization_code", token_url=described, clock=clock, background=False, **APP, **settings)
    auth.keep(Token("old", expires_in=1, refresh_token="r", scope=granted))
    clock.advance(10)
    assert auth.token().scope == granted
    form = {name: value for name, value in listening.asked[0].form.items() if name in ("scope", "audience", "resource")}
    assert form == {name: value for name, value in sent.items() if name in expected}


@pytest.mark.parametrize("code", ["invalid_scope", "invalid_request", "invalid_target"])
def test_a_server_that_wants_no_scope_gets_none(listening: Listening, code: str) -> None:
    def judge(asked: Asked) -> Reply:
        return Reply({"error": code}, 400) if "scope" in asked.form else Reply({"access_token": "t", "expires_in": 60})

    listening.routes["/token"] = judge
    clock = VirtualClock()
    auth = OAuth2(
        token_url=f"{listening.url}/token", refresh_token="r", scope="a", clock=clock, background=False, **APP
    )
    for _ in range(3):
        assert auth.token().access_token == "t"
        clock.advance(100)
    assert ["scope" in asked.form for asked in listening.asked] == [True, False, False, False], "it is remembered"


@pytest.mark.parametrize("flow", ["client_credentials", "password"])
def test_grants_ask_for_all_that_was_set(listening: Listening, flow: Any) -> None:
    listening.routes["/token"] = Reply({"access_token": "t"})
    user = {"username": "ada", "password": "p"} if flow == "password" else {}
    wanted = {"scope": "a", "audience": "b", "resource": "https://e.test/"}
    OAuth2(flow, token_url=f"{listening.url}/token", **APP, **user, **wanted).token()
    assert listening.asked[0].form == {"grant_type": flow, **user, **wanted}


# ------------------------------------------------------------------------------------------ discovery


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("{url}/", "set issuer='{url}/', exactly as the server writes it"),
        ("https://other.example.com", "the document is that of 'https://other.example.com'"),
        (7, "the document names no issuer"),
    ],
)
def test_another_issuer_is_asked_once_and_explained(listening: Listening, named: Any, said: str) -> None:
    asked: list[Any] = []
    name = named.format(url=listening.url) if isinstance(named, str) else named
    for path in ("oauth-authorization-server", "openid-configuration"):
        listening.routes[f"/.well-known/{path}"] = Reply({"issuer": name, "token_endpoint": f"{listening.url}/token"})
    auth = OAuth2(issuer=listening.url, refresh_token="r", reauthenticate=asked.append, clock=VirtualClock(), **APP)
    with pytest.raises(TokenRefreshError) as caught:
        auth.token()
    assert (caught.value.reason, caught.value.final) == ("issuer mismatch", True)
    assert said.format(url=listening.url) in str(caught.value)
    assert (len(listening.asked), asked) == (2, []), "no repeat, and no login"


def test_a_form_where_json_is_expected_is_explained(listening: Listening) -> None:
    listening.routes["/token"] = Reply(json.dumps({"message": "Unsupported Media Type"}).encode(), 415)
    auth = OAuth2(token_url=f"{listening.url}/token", clock=VirtualClock(), **APP)
    with pytest.raises(TokenRefreshError, match='TokenEndpoint\\(url, encoding="json"\\)'):
        auth.token()
    assert len(listening.asked) == 1
