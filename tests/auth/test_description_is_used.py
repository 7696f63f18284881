"""What a description of an endpoint says is used or refused, however deep it stands, and its secrets stay inside."""

from __future__ import annotations

import json
import pickle
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from polvo_adapters.auth import JWTLogin, OAuth2, TokenEndpoint, TokenRequest, TokenResponse
from polvo_adapters.errors import ConfigurationError, TokenRefreshError
from tests.support.listening_server import Asked, Listening, Reply

SECRET = "constant-4711-abcdefgh"
APP: dict[str, Any] = {"client_id": "app", "client_secret": "secret-of-the-client"}


@pytest.fixture
def listening() -> Iterator[Listening]:
    with Listening() as listening:
        listening.routes["/token"] = listening.routes["/renew"] = Reply({"access_token": "token"})
        yield listening


def ask(listening: Listening, flow: Any = None, **keywords: Any) -> Any:
    """Return the JSON that the endpoint is sent."""
    users: dict[str, Any] = {"username": "ada", "password": "pw"} if flow == "password" else {}
    described = TokenEndpoint(f"{listening.url}/token", encoding="json", client_authentication="none", **keywords)
    OAuth2(flow, token_url=described, **APP, **users).token()
    return json.loads(listening.asked[0].body)


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("{client_id}", "app"),
        ({"id": "{client_id}"}, {"id": "app"}),
        ({"auth": {"keys": ["k", "{client_secret}"]}}, {"auth": {"keys": ["k", "secret-of-the-client"]}}),
        ([{"id": "{client_id}"}], [{"id": "app"}]),
        ({"code": "{code}", "v": 1, "list": ["{code}"]}, {"v": 1, "list": []}),
    ],
)
def test_templates_are_filled_in_at_every_depth(listening: Listening, given: Any, sent: Any) -> None:
    assert ask(listening, parameters={"constant": given})["constant"] == sent


@pytest.mark.parametrize("given", [{"a": "{nothing}"}, ["{nothing}"], {"a": [{"b": "{nothing}"}]}])
def test_a_template_of_an_unknown_field_is_refused_at_every_depth(given: Any) -> None:
    with pytest.raises(ConfigurationError, match="nothing"):
        TokenEndpoint("https://id.example.com/token", encoding="json", parameters={"constant": given})


def test_a_name_and_a_constant_may_lead_into_the_same_object(listening: Listening) -> None:
    constants = {"auth": {"methods": ["password"], "user": {"domain": "x"}}, "auth.more": "{client_secret}"}
    names = {"username": "auth.user.name", "password": "auth.user.password"}
    sent = ask(listening, "password", parameters=constants, names=names)["auth"]
    user = {"domain": "x", "name": "ada", "password": "pw"}
    assert sent == {"methods": ["password"], "user": user, "more": "secret-of-the-client"}
    assert constants["auth"] == {"methods": ["password"], "user": {"domain": "x"}}


@pytest.mark.parametrize("constants", [{"auth": {"user": "eve"}}, {"auth": 7}, {"auth.user": {"name": "eve"}}])
def test_a_constant_does_not_replace_a_field_in_an_object(listening: Listening, constants: dict[str, Any]) -> None:
    names = {"username": "auth.user", "password": "pw"}
    with pytest.raises(ConfigurationError, match=r"auth|username"):
        ask(listening, "password", parameters=constants, names=names)
    assert not listening.asked


def sign_field(request: TokenRequest) -> TokenRequest:
    return replace(request, fields={**request.fields, "sign": [SECRET]})


def sign_url(request: TokenRequest) -> TokenRequest:
    return replace(request, url=f"{request.url}?sign={SECRET}")


@pytest.mark.parametrize(
    "keywords",
    [
        {"parameters": {"sign": SECRET}},
        {"parameters": {"sign": {"inner": [SECRET]}}},
        {"parameters": {"sign": "constant-{client_id}-abcdefgh"}},
        {"prepare": sign_field},
        {"prepare": sign_url},
    ],
    ids=["constant", "nested", "template", "prepared field", "prepared URL"],
)
@pytest.mark.parametrize("encoding", ["form", "json"])
def test_no_message_shows_what_was_added(listening: Listening, keywords: Any, encoding: Any) -> None:
    def repeat(asked: Asked) -> Reply:
        words = f"{asked.path} {asked.body}".replace("%", " ")
        text = next(word for word in words.replace('"', " ").replace("=", " ").split() if "abcdefgh" in word)
        return Reply({"error": "invalid_request", "error_description": f"bad {text}"}, 400)

    listening.routes["/token"] = listening.routes[f"/token?sign={SECRET}"] = repeat
    described = TokenEndpoint(f"{listening.url}/token", encoding=encoding, **keywords)
    with pytest.raises(TokenRefreshError) as caught:
        OAuth2(token_url=described, **APP).token()
    assert "invalid_request" in str(caught.value)
    assert "abcdefgh" not in str(caught.value)


def test_harmless_values_under_names_of_their_own_may_be_shown(listening: Listening) -> None:
    listening.routes["/token"] = Reply({"error": "nope", "error_description": "no client my-client for read,all"}, 400)
    described = TokenEndpoint(f"{listening.url}/token", names={"client_id": "appid"}, scope_separator=",")
    with pytest.raises(TokenRefreshError, match="no client my-client for read,all"):
        OAuth2(client_id="my-client", scope="read all", token_url=described).token()


def test_an_endpoint_for_refreshes_says_how_they_are_sent(listening: Listening) -> None:
    again = TokenEndpoint(f"{listening.url}/renew", grant_type="renew", refresh_with=("audience",))
    described = TokenEndpoint(f"{listening.url}/token", refresh=again)
    OAuth2(token_url=described, refresh_token="r", scope="all", audience="api", **APP).token()
    assert listening.asked[0].form == {"grant_type": "renew", "refresh_token": "r", "audience": "api"}


def test_so_it_does_for_a_login(listening: Listening) -> None:
    listening.routes["/token"] = Reply({"access_token": "first", "refresh_token": "r", "expires_in": 0.01})
    renewal = TokenEndpoint(f"{listening.url}/renew", grant_type="renew")
    login = JWTLogin(TokenEndpoint(f"{listening.url}/token"), "ada", "pw", refresh_url=renewal)
    login.token()
    time.sleep(0.02)
    assert login.token().access_token == "token"
    assert listening.asked[1].form == {"grant_type": "renew", "refresh_token": "r"}


def test_a_name_of_a_grant_that_is_never_sent_is_refused() -> None:
    described = TokenEndpoint("https://id.example.com/token", grant_type="renew")
    with pytest.raises(ConfigurationError, match="mapping"):
        OAuth2(token_url=described, refresh_token="r", **APP)


@pytest.mark.parametrize("url", ["https://id.example.com/{client_id}/token", "https://{shop}.example.com/token"])
def test_a_slot_in_a_url_that_nothing_fills_is_refused(url: str) -> None:
    for token_url in (url, TokenEndpoint(url)):
        with pytest.raises(ConfigurationError, match=r"only \{tenant\} is"):
            OAuth2(token_url=token_url, **APP)


@pytest.mark.parametrize("path", ["access_token", "."])
def test_a_token_with_its_scheme_before_it(listening: Listening, path: str) -> None:
    listening.routes["/token"] = Reply({"access_token": "Bearer abc"} if path != "." else b"Bearer abc")
    described = TokenEndpoint(f"{listening.url}/token", response=TokenResponse(path))
    assert OAuth2(token_url=described, **APP).token().access_token == "abc"


class Fetch:
    def __call__(self) -> str:
        return "secret"


@pytest.mark.parametrize(
    "constants",
    [
        {"parameters": {"api_key": SECRET}},
        {"parameters": {"inner": {"deep": {"appSecret": SECRET}}}},
        {"parameters": {"passwords": (SECRET,)}},
        {"headers": {"X-Api-Key": SECRET}},
        {"refresh": TokenEndpoint("https://id.example.com/again", parameters={"token": SECRET})},
    ],
)
def test_a_pickle_has_no_secret_constants(listening: Listening, constants: Any) -> None:
    described = TokenEndpoint(f"{listening.url}/token", encoding="json", **constants)
    pickled = pickle.dumps(OAuth2(client_id="app", client_secret=Fetch(), token_url=described))
    assert SECRET.encode() not in pickled
    if "refresh" not in constants:
        with pytest.raises(ConfigurationError, match="stayed behind"):
            pickle.loads(pickled).token()
        assert not listening.asked


def test_a_pickle_has_all_other_constants(listening: Listening) -> None:
    constants = {"account_id": "7", "key": "{client_secret}", "auth": {"methods": ["password"]}}
    described = TokenEndpoint(f"{listening.url}/token", encoding="json", parameters=constants)
    auth = OAuth2(client_id="app", client_secret=Fetch(), token_url=described, parameters={"audience": "api"})
    pickle.loads(pickle.dumps(auth)).token()
    auth.token()
    assert listening.asked[0].body == listening.asked[1].body


def test_a_pickle_has_no_secret_parameters() -> None:
    keywords: Any = {"client_id": "app", "client_secret": Fetch(), "token_url": "https://id.example.com/token"}
    assert SECRET.encode() not in pickle.dumps(OAuth2(parameters={"api_key": SECRET}, **keywords))


@pytest.mark.parametrize("constant", ["realm", "api_key"])
@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("kind", ["oauth", "login"])
def test_constants_tell_owners_apart(
    listening: Listening, tmp_path: Path, constant: str, nested: bool, kind: str
) -> None:
    def answer(asked: Asked) -> Reply:
        document = json.loads(asked.body)
        return Reply({"access_token": f"token-of-{(document['in'] if nested else document)[constant]}"})

    listening.routes["/token"] = answer
    found = []
    for value in ("a", "b", "a"):
        constants = {"in": {constant: value}} if nested else {constant: value}
        described = TokenEndpoint(f"{listening.url}/token", encoding="json", parameters=constants)
        cache = f"{tmp_path}/cache"
        auth = (
            OAuth2(token_url=described, token_cache=cache, **APP)
            if kind == "oauth"
            else JWTLogin(described, "ada", "pw", token_cache=cache)
        )
        found.append(auth.token().access_token)
    assert found == ["token-of-a", "token-of-b", "token-of-a"]
    assert len(listening.asked) == 2


def test_a_proxy_that_wants_a_password_says_nothing_of_the_refresh_token(listening: Listening) -> None:
    listening.routes["/token"] = Reply(status=407)
    called: list[Any] = []
    auth = OAuth2(token_url=f"{listening.url}/token", refresh_token="r", reauthenticate=called.append, **APP)
    with pytest.raises(TokenRefreshError, match="status 407"):
        auth.token()
    assert called == []


@pytest.mark.parametrize(
    "body",
    [
        '{"access_token": "abc", "name": "Zoë"}'.encode("latin-1"),
        '{"access_token": "abc", "name": "Zoë"}'.encode("utf-16"),
        b'{"access_token": "abc", "name": "\xff\xfe\x00"}',
        b'{"access_token": "abc", "id": ' + b"9" * 5000 + b"}",
        b'{"access_token": "abc", "expires_in": ' + b"9" * 5000 + b"}",
        b'{"access_token": "abc", "expires_in": -' + b"9" * 5000 + b"}",
    ],
    ids=["latin-1", "utf-16", "no text", "long id", "long lifetime", "long negative lifetime"],
)
def test_no_side_field_costs_the_token(listening: Listening, tmp_path: Path, body: bytes) -> None:
    listening.routes["/token"] = Reply(body)
    auth = OAuth2(token_url=f"{listening.url}/token", refresh_token="r", token_cache=f"{tmp_path}/cache", **APP)
    assert auth.token().access_token == "abc"
    again = OAuth2(token_url=f"{listening.url}/token", refresh_token="r", token_cache=f"{tmp_path}/cache", **APP)
    assert again.token().access_token == "abc"
    assert len(listening.asked) == 1


@pytest.mark.parametrize("expires_in", ["", "soon", [], {}, True, float("nan"), "3600", 3600])
def test_a_session_with_an_odd_lifetime(expires_in: Any) -> None:
    oauthlib = pytest.importorskip("requests_oauthlib")
    session = oauthlib.OAuth2Session("app", auto_refresh_url="https://id.example.com/token")
    session.token = {"access_token": "abc", "refresh_token": "r"}
    session._client.token = {"access_token": "abc", "refresh_token": "r", "expires_in": expires_in}
    token = OAuth2.from_session(session).token()
    assert (token.access_token, token.expires_in) == ("abc", 3600.0 if expires_in in ("3600", 3600) else None)


@pytest.mark.parametrize(
    "body",
    [
        {"errorCode": "E0000011", "errorSummary": "words of the server"},
        {"error_code": 110, "error_msg": "words of the server"},
        {"Fault": {}, "Message": "words of the server"},
    ],
)
def test_the_words_of_servers_that_name_them_otherwise(listening: Listening, body: Any) -> None:
    listening.routes["/token"] = Reply(body, 400)
    with pytest.raises(TokenRefreshError, match="words of the server"):
        OAuth2(token_url=f"{listening.url}/token", **APP).token()


@pytest.mark.parametrize("vendor", [None, 7, b"slack"])
def test_a_vendor_without_a_name(vendor: Any) -> None:
    with pytest.raises(ConfigurationError, match="no such vendor"):
        OAuth2.for_vendor(vendor)
