"""Dialects of token endpoints: each is described by data, and says the same as the standard one."""

from __future__ import annotations

import json
import pickle
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest

from polvo_adapters.auth import JWTLogin, OAuth2, TokenEndpoint, TokenRequest, TokenResponse
from polvo_adapters.auth.protocol import grants
from polvo_adapters.auth.protocol.client_authentication import ClientAuthentication
from polvo_adapters.auth.protocol.server_response import ServerResponse
from polvo_adapters.auth.protocol.token_lifetime import parse_moment
from polvo_adapters.auth.protocol.token_request import EncodedRequest, encode_request
from polvo_adapters.auth.protocol.token_response import parse_token
from polvo_adapters.errors import ConfigurationError, TokenRefreshError

URL = "https://id.example.com/token"
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
NOW = 784_111_777
REFRESH = grants.refresh("refresh-1", ["a", "b"])
CLIENT = grants.client_credentials()


def encode(endpoint: TokenEndpoint, fields: Any, method: str = "post", **known: Any) -> EncodedRequest:
    chosen = endpoint.client_authentication or method
    secret = None if chosen == "none" else "s:1"
    credentials = ClientAuthentication("app", chosen, secret, None, None, None, False).make_credentials(URL)
    return encode_request(endpoint, endpoint.url, fields, credentials, {"client_id": "app", **known})


def read_form(request: EncodedRequest) -> dict[str, str]:
    text = urlsplit(request.url).query if request.body is None else request.body
    return {name: values[0] for name, values in parse_qs(text, keep_blank_values=True).items()}


STANDARD = {"grant_type": "refresh_token", "refresh_token": "refresh-1", "scope": "a b"}
POSTED = {"client_id": "app", "client_secret": "s:1"}

REQUESTS: dict[str, tuple[TokenEndpoint, Any, dict[str, Any]]] = {
    "RFC 6749": (TokenEndpoint(URL), REFRESH, {**STANDARD, **POSTED}),
    "JSON": (TokenEndpoint(URL, encoding="json"), REFRESH, {**STANDARD, **POSTED}),
    "other names": (
        TokenEndpoint(URL, names={"client_id": "appid", "client_secret": "secret"}),
        REFRESH,
        {**STANDARD, "appid": "app", "secret": "s:1"},
    ),
    "GET": (TokenEndpoint(URL + "?v=2", encoding="query"), REFRESH, {"v": "2", **STANDARD, **POSTED}),
    "another grant": (
        TokenEndpoint(URL, grant_type="account_credentials", parameters={"account_id": "7"}),
        CLIENT,
        {"grant_type": "account_credentials", "account_id": "7", **POSTED},
    ),
    "another grant, but not for refreshes": (
        TokenEndpoint(URL, grant_type="account_credentials"),
        REFRESH,
        {**STANDARD, **POSTED},
    ),
    "a type in place of a grant": (
        TokenEndpoint(URL, names={"grant_type": "type"}, grant_type={"refresh_token": "refresh"}),
        REFRESH,
        {"type": "refresh", "refresh_token": "refresh-1", "scope": "a b", **POSTED},
    ),
    "no grant, scopes with commas": (
        TokenEndpoint(URL, grant_type={"refresh_token": None}, scope_separator=","),
        REFRESH,
        {"refresh_token": "refresh-1", "scope": "a,b", **POSTED},
    ),
    "inner objects": (
        TokenEndpoint(
            URL,
            encoding="json",
            names={"client_id": "auth.id", "client_secret": "auth.secret", "scope": None},
            parameters={"options": {"long": True}, "n": 1},
        ),
        REFRESH,
        {
            "grant_type": "refresh_token",
            "refresh_token": "refresh-1",
            "auth": {"id": "app", "secret": "s:1"},
            "options": {"long": True},
            "n": 1,
        },
    ),
    "constants of other types in a form": (
        TokenEndpoint(URL, parameters={"offline": True, "n": 1, "who": "{client_id}", "for": "{tenant}"}),
        CLIENT,
        {"grant_type": "client_credentials", "offline": "true", "n": "1", "who": "app", **POSTED},
    ),
    "a signature": (
        TokenEndpoint(URL, prepare=lambda asked: TokenRequest("POST", asked.url, {}, {**asked.fields, "sign": "x"})),
        CLIENT,
        {"grant_type": "client_credentials", **POSTED, "sign": "x"},
    ),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_what_is_sent(name: str) -> None:
    endpoint, fields, expected = REQUESTS[name]
    request = encode(endpoint, fields)
    sent = json.loads(request.body or "") if endpoint.encoding == "json" else read_form(request)
    assert sent == expected
    assert request.method == ("GET" if endpoint.encoding == "query" else "POST")
    kind = {"json": "application/json", "form": "application/x-www-form-urlencoded"}.get(endpoint.encoding)
    assert request.headers.get("Content-Type") == kind
    assert "s:1" in request.secrets
    assert "s:1" not in repr(request)


def test_credentials_and_tokens_in_headers() -> None:
    headers = {"Authorization": "Bearer {refresh_token}", "X-Secret": "{client_secret}", "X-Code": "{code}", "V": "2"}
    endpoint = TokenEndpoint(
        URL, headers=headers, names=dict.fromkeys(("grant_type", "refresh_token", "client_id", "scope"))
    )
    request = encode(endpoint, REFRESH, "none", client_secret="s:1")
    sent = {name: value for name, value in request.headers.items() if name != "Content-Type"}
    assert sent == {"Authorization": "Bearer refresh-1", "X-Secret": "s:1", "V": "2"}
    assert request.body == ""


@pytest.mark.parametrize(
    ("method", "header"), [("basic", "Basic YXBwOnMlM0Ex"), ("basic_unencoded", "Basic YXBwOnM6MQ==")]
)
def test_basic_with_and_without_encoding(method: str, header: str) -> None:
    assert encode(TokenEndpoint(URL, client_authentication=method), CLIENT).headers["Authorization"] == header


class Said(NamedTuple):
    """An answer, and what it means."""

    described: TokenResponse
    body: Any
    access_token: str = "t"
    expires_in: float | None = None
    refresh_token: str | None = None
    extra: dict[str, Any] = {}
    headers: dict[str, str] = {}


def as_jwt(**claims: Any) -> str:
    return jwt.encode(claims, "key-of-the-server-that-is-long-enough", "HS256")


PLAIN = TokenResponse()
ENDS, ISSUED = NOW + 600, NOW - 600
LATER = as_jwt(exp=ENDS, iat=ISSUED)
ANSWERS: dict[str, Said] = {
    "RFC 6749": Said(PLAIN, {"access_token": "t", "expires_in": 9, "refresh_token": "r"}, "t", 9, "r"),
    "an inner object": Said(
        TokenResponse("body.access_token", "body.refresh_token", "body.expires_in", success={"status": 0}),
        {"status": 0, "body": {"userid": 1, "access_token": "t", "refresh_token": "r", "expires_in": 9}},
        *("t", 9, "r", {"userid": 1}),
    ),
    "an inner object that is not described": Said(
        PLAIN, {"data": {"access_token": "t", "expires_in": 9}, "message": "success"}, "t", 9
    ),
    "several places": Said(TokenResponse(("a.b", "access_token")), {"access_token": "t"}),
    "a list": Said(TokenResponse("tokens.1.id"), {"tokens": [{"id": "s"}, {"id": "t"}]}),
    "a list as a whole": Said(TokenResponse("0.id"), [{"id": "t"}]),
    "a name with dots": Said(TokenResponse("urn:x.y"), {"urn:x.y": "t"}),
    "a header": Said(TokenResponse("header:X-Token"), b"", headers={"x-token": "t"}),
    "a scheme in a header": Said(TokenResponse("header:authorization"), b"", headers={"Authorization": "Bearer t"}),
    "a bare text": Said(TokenResponse("."), b" t\n"),
    "a text in JSON": Said(TokenResponse("."), "t"),
    "milliseconds": Said(TokenResponse(expires_unit="milliseconds"), {"access_token": "t", "expires_in": 9000}, "t", 9),
    "minutes": Said(TokenResponse(expires_unit="minutes"), {"access_token": "t", "expires_in": "2"}, "t", 120),
    "seconds with an s": Said(PLAIN, {"access_token": "t", "expires_in": "9s"}, "t", 9),
    "zero is never": Said(TokenResponse(never=(0, -1)), {"access_token": "t", "expires_in": "0"}),
    "a documented lifetime": Said(TokenResponse(lifetime=9), {"access_token": "t"}, "t", 9),
    "never, whatever is documented": Said(
        TokenResponse(lifetime=9, never=(0,)), {"access_token": "t", "expires_in": 0}
    ),
    "a date": Said(
        PLAIN, {"access_token": "t", "expires_at": "1994-11-06T08:59:37Z"}, "t", 600, headers={"date": DATE}
    ),
    "a date of which nothing tells the beginning": Said(PLAIN, {"access_token": "t", "expires_at": ENDS}),
    "Unix time": Said(PLAIN, {"access_token": "t", "expires_at": ENDS}, "t", 600, headers={"Date": DATE}),
    "Unix time in milliseconds, and when it began": Said(
        TokenResponse(expires_at="until", issued_at="from"),
        {"access_token": "t", "until": ENDS * 1000, "from": str(ISSUED * 1000)},
        *("t", 1200),
    ),
    "Unix time for a lifetime": Said(
        PLAIN, {"access_token": "t", "expires_in": ENDS}, "t", 600, headers={"date": DATE}
    ),
    "a JSON Web Token": Said(PLAIN, {"access_token": LATER}, LATER, 1200),
    "a JSON Web Token from a cache": Said(PLAIN, {"access_token": LATER}, LATER, 600, headers={"date": DATE}),
    "an odd lifetime, and a token that tells": Said(PLAIN, {"access_token": LATER, "expires_in": 0}, LATER, 1200),
    "more that is kept": Said(
        TokenResponse(extra={"tenant": "team.id", "host": "header:X-Host"}),
        {"access_token": "t", "instance_url": "https://e.test", "team": {"id": 7}},
        extra={"instance_url": "https://e.test", "team": {"id": 7}, "tenant": 7, "host": "h"},
        headers={"x-host": "h"},
    ),
    "success as one of several values": Said(
        TokenResponse(success={"code": (0, "ok", None), "done": True}), {"done": "true", "access_token": "t"}
    ),
    "an error field that means success": Said(
        TokenResponse(error="code", success={"code": 200}), {"code": 200, "access_token": "t"}
    ),
    "a function": Said(TokenResponse(read=lambda status, _, body: {"access_token": body.decode()[3:]}), b"is t"),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_what_an_answer_means(name: str) -> None:
    said = ANSWERS[name]
    body = said.body if isinstance(said.body, bytes) else json.dumps(said.body).encode()
    token = parse_token(ServerResponse("h", "a token", 200, said.headers, body), None, said.described)
    assert (token.access_token, token.expires_in, token.refresh_token) == said[2:5]
    assert not said.extra or {name: token.extra[name] for name in said.extra} == said.extra
    assert not {"access_token", "refresh_token", "expires_in"} & token.extra.keys()


SLACK = TokenResponse(success={"ok": True}, temporary=("ratelimited",))
WITHINGS = TokenResponse("body.access_token", success={"status": 0})
REFUSALS: dict[str, tuple[TokenResponse, int, Any, str, str, bool]] = {
    "a code": (PLAIN, 400, {"error": "odd_code", "error_description": "why"}, "odd_code", "why", False),
    "a flag": (SLACK, 200, {"ok": False, "error": "bad_thing"}, "bad_thing", "", False),
    "a flag that is not described": (PLAIN, 200, {"ok": False, "access_token": "t"}, "error", "", False),
    "a status inside": (
        WITHINGS,
        200,
        {"status": 503, "error": "Bad Params"},
        "Bad Params",
        "",
        False,
    ),
    "a documented death": (TokenResponse(final=("gone",)), 400, {"error": "gone"}, "gone", "", True),
    "a number that is not final": (
        TokenResponse(error="status", success={"status": 0}, temporary=(601,)),
        *(200, {"status": 601, "error": "too many"}, "601", "too many", False),
    ),
    "not final": (
        TokenResponse(temporary=("invalid_grant",)),
        400,
        {"error": "invalid_grant"},
        "invalid_grant",
        "",
        False,
    ),
    "no code": (PLAIN, 400, {"message": "refresh token is missing"}, "status 400", "refresh token is missing", False),
    "a word": (PLAIN, 400, {"status": "BAD_TOKEN", "message": "bad"}, "BAD_TOKEN", "bad", False),
    "an object": (PLAIN, 401, {"error": {"type": "Auth", "code": 190, "message": "m"}}, "Auth", "m", False),
    "a list": (PLAIN, 422, {"errors": [{"code": "dead", "detail": "it is dead"}]}, "dead", "it is dead", False),
    "a plain text": (PLAIN, 400, b"refresh token expired", "status 400", "refresh token expired", False),
    "numbers": (
        TokenResponse(error="errcode", error_description="errmsg"),
        *(200, {"errcode": 40029, "errmsg": "invalid code"}, "40029", "invalid code", False),
    ),
    "no token": (PLAIN, 200, {"errcode": 40029, "errmsg": "invalid code"}, "no access_token", "invalid code", False),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_a_refusal_says(name: str) -> None:
    described, status, body, reason, text, final = REFUSALS[name]
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(TokenRefreshError) as caught:
        parse_token(ServerResponse("h", "a token", status, {}, content), None, described)
    assert (caught.value.reason, caught.value.final, caught.value.status) == (reason, final, status)
    assert text in str(caught.value)


@pytest.mark.parametrize("word", ["error_description", "message", "error", "code", "detail", "anything_token"])
@pytest.mark.parametrize("status", [200, 400])
def test_no_refusal_shows_a_secret(word: str, status: int) -> None:
    body = {word: "SECRET-1234567890", "access_token_of_other": "SECRET-abcdefgh", "message": "is SECRET-abcdefgh"}
    with pytest.raises(TokenRefreshError) as caught:
        parse_token(ServerResponse("h", "w", status, {}, json.dumps(body).encode(), ("SECRET-1234567890",)))
    assert "SECRET" not in f"{caught.value} {caught.value.reason}"


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        (NOW, NOW),
        (f"{NOW}.5", NOW + 0.5),
        (NOW * 1000, NOW),
        ("1994-11-06T08:49:37Z", NOW),
        ("1994-11-06 08:49:37", NOW),
        ("1994-11-06T09:49:37.5+0100", NOW + 0.5),
        ("1994-11-06T08:49:37.123456789Z", NOW + 0.123456),
        (DATE, NOW),
        *((odd, None) for odd in ("soon", "", None, True, [], {}, 0, -5, 10**400, "9" * 60)),
    ],
)
def test_moments(value: Any, moment: float | None) -> None:
    assert parse_moment(value) == (None if moment is None else pytest.approx(moment))


@pytest.mark.parametrize("given", [7, True, ["r"], {"r": 1}, "r" * 65_537])
def test_a_refresh_token_that_cannot_be_used_replaces_the_old_one(given: Any) -> None:
    for value, expected in ((given, None), (None, "old"), ("", "old"), (..., "old"), ("new", "new")):
        body = {"access_token": "t", **({} if value is ... else {"refresh_token": value})}
        answer = ServerResponse("h", "w", 200, {}, json.dumps(body).encode())
        assert parse_token(answer, None, PLAIN, "old").refresh_token == expected


# ------------------------------------------------------------------------------------------ settings


@pytest.mark.parametrize(
    ("named", "keywords"),
    [
        ("url", {"url": ""}),
        ("url", {"url": None}),
        ("encoding", {"encoding": "xml"}),
        ("method", {"method": "DELETE"}),
        ("method", {"method": "GET"}),
        ("headers", {"headers": ["a"]}),
        ("headers", {"headers": {"a b": "c"}}),
        ("headers", {"headers": {"a": "b\r\nc: d"}}),
        ("templates", {"headers": {"a": "{secret}"}}),
        ("templates", {"parameters": {"a": "{secret}"}}),
        ("names", {"names": {"appid": "client_id"}}),
        ("names", {"names": {"client_id": ""}}),
        ("names", {"names": {"client_id": "a", "scope": "a"}}),
        ("parameters", {"parameters": {"grant_type": "a"}}),
        ("parameters", {"parameters": {"type": "a"}, "names": {"grant_type": "type"}}),
        ("grant_type", {"grant_type": ""}),
        ("grant_type", {"grant_type": {"implicit": "a"}}),
        ("refresh_with", {"refresh_with": "scope"}),
        ("refresh_with", {"refresh_with": ("client_id",)}),
        ("refresh", {"refresh": TokenEndpoint(URL, refresh=URL)}),
        ("refresh", {"refresh": TokenEndpoint(URL, client_authentication="post")}),
        ("response", {"response": {"access_token": "a"}}),
        ("prepare", {"prepare": "sign"}),
    ],
)
def test_descriptions_that_cannot_be_used(named: str, keywords: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=named):
        TokenEndpoint(**{"url": URL, **keywords})


@pytest.mark.parametrize(
    ("named", "keywords"),
    [
        ("access_token", {"access_token": None}),
        ("access_token", {"access_token": ()}),
        ("scope", {"scope": 7}),
        ("expires_unit", {"expires_unit": "weeks"}),
        ("lifetime", {"lifetime": 0}),
        ("never", {"never": "0"}),
        ("never", {"never": 0}),
        ("final", {"final": "code"}),
        ("temporary", {"temporary": ("a",), "final": ("a",)}),
        ("success", {"success": ("ok", True)}),
        ("extra", {"extra": {"a": None}}),
        ("read", {"read": 7}),
    ],
)
def test_meanings_that_cannot_be_used(named: str, keywords: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=named):
        TokenResponse(**keywords)


KEYED = {"flow": "jwt_bearer", "private_key": "a key", "audience": "a"}


@pytest.mark.parametrize(
    ("named", "keywords"),
    [
        ("grant_type", {"parameters": {"grant_type": "account_credentials"}}),
        ("scope", {"parameters": {"scope": "a"}, "scope": "b"}),
        ("scope", {"token_url": TokenEndpoint(URL, parameters={"scope": "a"}), "scope": "b"}),
        ("x", {"token_url": TokenEndpoint(URL, parameters={"x": "a"}), "parameters": {"x": "b"}}),
        (
            "client_authentication",
            {"token_url": TokenEndpoint(URL, client_authentication="post"), "client_authentication": "basic"},
        ),
        ("Authorization", {"token_url": TokenEndpoint(URL, headers={"authorization": "x"})}),
        ("username", {"username": "ada"}),
        ("subject", {"subject": "ada"}),
        ("assertion", {"assertion": "a"}),
        ("refresh_token", {"flow": "password", "username": "a", "password": "b", "refresh_token": "c"}),
        ("audience", {"flow": "jwt_bearer", "assertion": "a", "audience": "b"}),
        ("claims", {"claims": {"a": 1}}),
        ("leeway", {"leeway": 5}),
        ("key_id", {"key_id": "a"}),
        ("claims", {"claims": {"a": 1}, "private_key": "k"}),
        ("leeway", {**KEYED, "leeway": -1}),
        ("leeway", {**KEYED, "leeway": True}),
        ("kid", {**KEYED, "key_id": "a", "assertion_headers": {"kid": "b"}}),
        ("alg", {**KEYED, "assertion_headers": {"alg": "none"}}),
        ("final", {"final": "invalid_grant"}),
    ],
)
def test_settings_that_would_be_ignored_are_refused(named: str, keywords: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=named):
        OAuth2(**{"client_id": "app", "client_secret": "s", "token_url": URL, **keywords})


def test_a_login_is_described_once() -> None:
    described = TokenEndpoint(URL)
    with pytest.raises(ConfigurationError, match="fields"):
        JWTLogin(described, "ada", "p", answers=("a", "b"))
    with pytest.raises(ConfigurationError, match="refresh_url"):
        JWTLogin(TokenEndpoint(URL, refresh=URL), "ada", "p", refresh_url=URL)
    with pytest.raises(ConfigurationError, match="client_authentication"):
        JWTLogin(TokenEndpoint(URL, client_authentication="post"), "ada", "p")


def test_a_description_is_a_value() -> None:
    headers = {"X-Version": "hidden"}
    endpoint = TokenEndpoint(URL, headers=headers, response=TokenResponse("a.b", success={"ok": True}))
    headers["X-Version"] = "changed"
    assert endpoint.headers == {"X-Version": "hidden"}
    assert pickle.loads(pickle.dumps(endpoint)) == endpoint
    assert "hidden" not in repr(endpoint)
    with pytest.raises(AttributeError):
        endpoint.url = "x"  # type: ignore[misc]
