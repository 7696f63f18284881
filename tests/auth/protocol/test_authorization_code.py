"""What a browser carries there and back is not trusted."""

from __future__ import annotations

import base64
import hashlib
import pickle
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polvo_adapters.auth.protocol.authorization_code import AuthorizationRequest, extract_code
from polvo_adapters.auth.protocol.server import AuthorizationServer
from polvo_adapters.errors import TokenRefreshError

BACK = "http://127.0.0.1:8765/callback"
SERVER = AuthorizationServer(
    client_id="the client/1",
    token_url="https://auth.example.com/token",
    authorization_url="https://auth.example.com/authorize?audience=a%20b",
)
NAMED = AuthorizationServer(
    client_id="c",
    issuer="https://auth.example.com",
    token_url="https://auth.example.com/token",
    authorization_url="https://auth.example.com/authorize",
)


def back(request: AuthorizationRequest, **fields: Any) -> str:
    pairs = {"code": "c0de", "state": request.state, **fields}
    return f"{BACK}?{urlencode({name: value for name, value in pairs.items() if value is not ...})}"


def reason(url: str, request: AuthorizationRequest, server: AuthorizationServer = SERVER) -> str | None:
    with pytest.raises(TokenRefreshError) as caught:
        server.code_from(url, request)
    error = caught.value
    assert error.final or error.reason not in ("state mismatch", "issuer mismatch", "no code")
    assert not any(secret in str(error) for secret in (request.state, request.code_verifier, "c0de"))
    assert (error.__cause__, error.__context__) == (None, None)
    return error.reason


def test_the_request() -> None:
    request = SERVER.authorization_request(BACK, ["openid", "api:read"], prompt="consent")
    fields = dict(parse_qsl(urlsplit(request.url).query))
    digest = hashlib.sha256(request.code_verifier.encode()).digest()
    assert request.url.startswith("https://auth.example.com/authorize?")
    assert fields == {
        "audience": "a b",
        "response_type": "code",
        "client_id": "the client/1",
        "redirect_uri": BACK,
        "scope": "openid api:read",
        "state": request.state,
        "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
        "code_challenge_method": "S256",
        "prompt": "consent",
    }
    assert 43 <= len(request.code_verifier) <= 128
    assert len(request.state) >= 32


def test_no_two_requests_are_the_same() -> None:
    one, two = SERVER.authorization_request(BACK), SERVER.authorization_request(BACK)
    assert one.state != two.state
    assert one.code_verifier != two.code_verifier


def test_a_server_on_this_machine_may_speak_plain_http() -> None:
    server = AuthorizationServer(client_id="c", token_url="http://127.0.0.1:1/t", authorization_url="http://[::1]:1/a")
    assert server.authorization_request(BACK).url.startswith("http://[::1]:1/a?")


def test_it_shows_nothing_and_is_not_pickled() -> None:
    request = SERVER.authorization_request(BACK)
    assert repr(request) == "<AuthorizationRequest to https://auth.example.com>"
    with pytest.raises(TypeError, match="holds a secret"):
        pickle.dumps(request)


@pytest.mark.parametrize("place", [BACK, "com.example.app:/cb", "https://app.example.com/cb?tab=1&x="])
def test_the_code(place: str) -> None:
    request = SERVER.authorization_request(BACK)
    mark = "&" if "?" in place else "?"
    assert SERVER.code_from(f"{place}{mark}code=a%2Fb%2Bc&state={request.state}#_=_", request) == "a/b+c"


@pytest.mark.parametrize("state", [..., "", "forged", "ä", "\ud800"])
def test_an_answer_to_another_request(state: Any) -> None:
    request = SERVER.authorization_request(BACK)
    url = f"{BACK}?code=c0de" if state is ... else f"{BACK}?code=c0de&state={state}"
    assert reason(url, request) == "state mismatch"
    assert reason(url + "&error=access_denied", request) == "state mismatch"


def test_an_error() -> None:
    request = SERVER.authorization_request(BACK)
    url = back(request, error="access_denied", error_description="The user said no")
    with pytest.raises(TokenRefreshError, match="The user said no") as caught:
        SERVER.code_from(url, request)
    assert (caught.value.reason, caught.value.final) == ("access_denied", True)
    assert reason(back(request, error="temporarily_unavailable"), request) == "temporarily_unavailable"
    assert reason(back(request, error="x\ny"), request) == "error"
    assert reason(back(request, error=request.code_verifier), request) == "error"
    assert reason(back(request, error="odd", error_description=request.state), request) == "odd"


@pytest.mark.parametrize("code", [..., "", "a\nb", "ä"])
def test_no_code(code: Any) -> None:
    request = SERVER.authorization_request(BACK)
    assert reason(back(request, code=code), request) == "no code"


def test_two_codes() -> None:
    request = SERVER.authorization_request(BACK)
    assert reason(back(request) + "&code=another", request) == "no code"
    assert reason(back(request) + f"&state={request.state}", request) == "no code"


def test_an_answer_of_another_server() -> None:
    request = NAMED.authorization_request(BACK)
    assert reason(back(request, iss="https://evil.example.com"), request, NAMED) == "issuer mismatch"
    assert reason(back(request, iss=""), request, NAMED) == "issuer mismatch"
    assert NAMED.code_from(back(request, iss="https://auth.example.com"), request) == "c0de"
    assert NAMED.code_from(back(request), request) == "c0de"
    with pytest.raises(TokenRefreshError, match="issuer mismatch"):
        extract_code(back(request), request, "https://auth.example.com", wants_iss=True)


@given(st.text() | st.text(alphabet="code=&state?#%[]:/error"))
def test_any_url_is_refused_in_the_same_way(url: str) -> None:
    request = SERVER.authorization_request(BACK)
    assert reason(url, request) == "state mismatch"
