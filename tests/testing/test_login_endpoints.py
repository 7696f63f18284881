"""The endpoints of the failure server at which users log in, by plain requests and by `polvo login`."""

from __future__ import annotations

import re
import socket
import threading
import time
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
import requests

import polvo_adapters as polvo
from polvo_adapters.auth import loopback
from polvo_adapters.auth.oauth import OAuth2
from polvo_adapters.testing import FailureServer
from polvo_adapters.testing.server.pending_logins import make_challenge

BACK = "http://127.0.0.1:1/callback"
VERIFIER = "v" * 43
DEVICE = "urn:ietf:params:oauth:grant-type:device_code"


def authorize(server: FailureServer, **fields: str | None) -> requests.Response:
    query = {"response_type": "code", "client_id": "app", "redirect_uri": BACK, "state": "a b&c", **fields}
    url = f"{server.url}/oauth/authorize"
    return requests.get(url, params=query, allow_redirects=False, timeout=5)


def brought_back(response: requests.Response) -> dict[str, str]:
    assert response.status_code == 302
    place, _, query = response.headers["Location"].partition("?")
    assert place == BACK
    return dict(parse_qsl(query))


def token(server: FailureServer, **fields: str) -> requests.Response:
    return requests.post(f"{server.url}/oauth/token", data=fields, timeout=5)


def redeem(server: FailureServer, code: str, **fields: str) -> requests.Response:
    known = {"client_id": "app", "redirect_uri": BACK, "code_verifier": VERIFIER}
    return token(server, grant_type="authorization_code", code=code, **{**known, **fields})


def challenged() -> dict[str, str]:
    return {"code_challenge": make_challenge(VERIFIER), "code_challenge_method": "S256"}


def works(server: FailureServer, answer: requests.Response) -> int:
    headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
    return requests.get(f"{server.url}/oauth/protected", headers=headers, timeout=5).status_code


class TestDocument:
    @pytest.mark.parametrize("path", ["", "/ask", "/automatic", "/denied"])
    def test_names_the_issuer_and_endpoints_that_exist(self, server: FailureServer, path: str) -> None:
        found = requests.get(f"{server.url}/.well-known/oauth-authorization-server{path}", timeout=5).json()
        assert found["issuer"] == server.url + path
        for name, url in found.items():
            if name.endswith("_endpoint"):
                assert requests.options(url, timeout=5).status_code == 405, name

    def test_follows_the_name_that_the_client_uses(self, server: FailureServer) -> None:
        url = f"http://localhost:{server.port}"
        found = requests.get(url + "/.well-known/oauth-authorization-server", timeout=5).json()
        assert found["issuer"] == url
        assert found["token_endpoint"] == url + "/oauth/token"

    def test_without_a_host_header(self, server: FailureServer) -> None:
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as client:
            client.sendall(b"GET /.well-known/oauth-authorization-server HTTP/1.0\r\n\r\n")
            answer = client.makefile("rb").read()
        assert f'"issuer": "{server.url}"'.encode() in answer

    @pytest.mark.parametrize("path", ["/", "/other", "-else"])
    def test_of_another_issuer(self, server: FailureServer, path: str) -> None:
        url = f"{server.url}/.well-known/oauth-authorization-server{path}"
        assert requests.get(url, timeout=5).status_code == 404


class TestAuthorize:
    def test_the_page_leads_back_when_its_button_is_pressed(self, server: FailureServer) -> None:
        page = authorize(server, scope='<"read">', **challenged())
        assert page.status_code == 200
        assert '<"read">' not in page.text
        fields = {name: unescape(value) for name, value in re.findall(r'name="(\w+)" value="([^"]*)">', page.text)}
        del fields["decision"]
        assert fields["scope"] == '<"read">'
        answer = brought_back(authorize(server, **{**fields, "decision": "approve"}))
        assert answer["state"] == "a b&c"
        granted = redeem(server, answer["code"])
        assert granted.json()["scope"] == '<"read">'
        assert works(server, granted) == 200

    @pytest.mark.parametrize("how", [{"decision": "deny"}, {"approval": "denied"}])
    def test_denied(self, server: FailureServer, how: dict[str, str]) -> None:
        assert brought_back(authorize(server, **how)) == {"error": "access_denied", "state": "a b&c"}

    @pytest.mark.parametrize(
        ("fields", "error"),
        [
            ({"response_type": "token"}, "unsupported_response_type"),
            ({"response_type": None}, "unsupported_response_type"),
            ({"code_challenge": "x", "code_challenge_method": "S512"}, "invalid_request"),
            ({"code_challenge_method": "S256"}, "invalid_request"),
        ],
    )
    def test_mistakes_are_brought_back(self, server: FailureServer, fields: dict[str, str | None], error: str) -> None:
        assert brought_back(authorize(server, approval="automatic", **fields))["error"] == error

    @pytest.mark.parametrize(
        "fields",
        [
            {"client_id": None},
            {"redirect_uri": None},
            {"redirect_uri": "/callback"},
            {"redirect_uri": "javascript:alert(1)"},
            {"redirect_uri": BACK + "#here"},
            {"redirect_uri": BACK + "\r\nSet-Cookie: a=b"},
            {"approval": "perhaps"},
        ],
    )
    def test_what_cannot_be_brought_back_is_shown(self, server: FailureServer, fields: dict[str, str | None]) -> None:
        response = authorize(server, **{"approval": "automatic", **fields})
        assert response.status_code == 422
        assert "Location" not in response.headers

    @pytest.mark.parametrize(
        ("asked", "fields"),
        [
            (challenged(), {"code_verifier": "w" * 43}),
            (challenged(), {"code_verifier": ""}),
            ({}, {"code_verifier": VERIFIER}),
            (challenged(), {"client_id": "other"}),
            (challenged(), {"redirect_uri": BACK + "2"}),
        ],
    )
    def test_a_code_is_bound(self, server: FailureServer, asked: dict[str, str], fields: dict[str, str]) -> None:
        code = brought_back(authorize(server, approval="automatic", **asked))["code"]
        refused = redeem(server, code, **fields)
        assert (refused.status_code, refused.json()) == (400, {"error": "invalid_grant"})

    @pytest.mark.parametrize(
        ("asked", "fields"),
        [({}, {"code_verifier": ""}), ({"code_challenge": VERIFIER}, {}), (challenged(), {})],
        ids=["without", "plain", "S256"],
    )
    def test_methods(self, server: FailureServer, asked: dict[str, str], fields: dict[str, str]) -> None:
        code = brought_back(authorize(server, approval="automatic", **asked))["code"]
        assert redeem(server, code, **fields).status_code == 200

    def test_a_code_that_comes_twice_ends_what_it_has_led_to(self, server: FailureServer) -> None:
        code = brought_back(authorize(server, approval="automatic", **challenged()))["code"]
        first = redeem(server, code)
        assert works(server, first) == 200
        assert redeem(server, code).json() == {"error": "invalid_grant"}
        assert works(server, first) == 401


class TestDevice:
    def begin(self, server: FailureServer, query: str = "", **fields: str) -> dict[str, str]:
        url = f"{server.url}/oauth/device_authorization{query}"
        response = requests.post(url, data={"client_id": "app", **fields}, timeout=5)
        assert response.status_code == 200
        return response.json()

    def poll(self, server: FailureServer, begun: dict[str, str], **fields: str) -> str:
        device = {"client_id": "app", "device_code": begun["device_code"], **fields}
        answer = token(server, grant_type=DEVICE, **device).json()
        return answer.get("error", "granted")

    def decide(self, server: FailureServer, user_code: str, **fields: str) -> int:
        data = {"user_code": user_code, **fields}
        return requests.post(f"{server.url}/oauth/device", data=data, timeout=5).status_code

    def test_the_user_approves(self, server: FailureServer) -> None:
        begun = self.begin(server, "?interval=0.001", scope="read")
        page = requests.get(begun["verification_uri_complete"], timeout=5)
        assert begun["user_code"] in page.text
        assert self.poll(server, begun) == "authorization_pending"
        assert self.decide(server, begun["user_code"].replace("-", " ").lower()) == 200
        assert self.poll(server, begun) == "granted"
        assert self.poll(server, begun) == "invalid_grant"
        assert self.decide(server, begun["user_code"]) == 404

    @pytest.mark.parametrize(
        ("query", "expected"),
        [("?approval=automatic", "granted"), ("?approval=denied", "access_denied"), ("?expires_in=0", "expired_token")],
    )
    def test_without_a_user(self, server: FailureServer, query: str, expected: str) -> None:
        assert self.poll(server, self.begin(server, query)) == expected

    def test_the_user_denies(self, server: FailureServer) -> None:
        begun = self.begin(server)
        assert self.decide(server, begun["user_code"], decision="deny") == 200
        assert self.poll(server, begun) == "access_denied"

    def test_a_client_in_a_hurry(self, server: FailureServer) -> None:
        begun = self.begin(server, "?interval=30")
        assert begun["interval"] == 30.0
        assert [self.poll(server, begun) for _ in range(2)] == ["authorization_pending", "slow_down"]

    def test_another_client(self, server: FailureServer) -> None:
        begun = self.begin(server, "?approval=automatic")
        assert self.poll(server, begun, client_id="other") == "invalid_grant"
        assert self.poll(server, begun, device_code="made-up") == "invalid_grant"

    @pytest.mark.parametrize("user_code", ["", "-", "ZZZZ-ZZZZ"])
    def test_unknown_code(self, server: FailureServer, user_code: str) -> None:
        self.begin(server)
        assert self.decide(server, user_code) == 404

    def test_a_client_without_a_name(self, server: FailureServer) -> None:
        response = requests.post(f"{server.url}/oauth/device_authorization", timeout=5)
        assert (response.status_code, response.json()["error"]) == (400, "invalid_request")


class TestLogin:
    """The whole login, as the pages of the documentation have it."""

    def test_device_without_a_user(self, server: FailureServer) -> None:
        oauth = OAuth2("device_code", "app", issuer=server.url + "/automatic", scope="openid")
        assert oauth.login(lambda _: None, deadline=20).refresh_token
        assert polvo.Session(server.url, auth=oauth).get("oauth/protected").status_code == 200

    def test_device_with_a_user(self, server: FailureServer) -> None:
        def confirm(login) -> None:
            user = threading.Thread(
                target=lambda: requests.post(login.verification_uri, data={"user_code": login.user_code}, timeout=5)
            )
            user.start()
            user.join()

        assert OAuth2("device_code", "app", issuer=server.url).login(confirm, deadline=20).access_token

    def test_device_denied(self, server: FailureServer) -> None:
        oauth = OAuth2("device_code", "app", issuer=server.url + "/denied")
        with pytest.raises(polvo.TokenRefreshError, match="access_denied"):
            oauth.login(lambda _: None, deadline=20)

    def browse(self, url: str) -> None:
        """Follow the redirects of a login on a thread, as a browser does."""
        threading.Thread(target=lambda: requests.get(url, timeout=10), daemon=True).start()

    @pytest.mark.parametrize("client", [{}, {"client_secret": "secret"}], ids=["public", "with a secret"])
    def test_browser(self, server: FailureServer, client: dict[str, Any], tmp_path: Path) -> None:
        cache = str(tmp_path / "tokens.json")
        oauth = OAuth2("authorization_code", "app", issuer=server.url + "/automatic", token_cache=cache, **client)
        loopback.login(oauth, open_browser=self.browse, show=lambda _: None, timeout=20)
        assert polvo.Session(server.url, auth=oauth).get("oauth/protected").status_code == 200
        oauth.revoke()

    def test_browser_denied(self, server: FailureServer) -> None:
        oauth = OAuth2("authorization_code", "app", issuer=server.url + "/denied")
        with pytest.raises(polvo.TokenRefreshError, match="access_denied"):
            loopback.login(oauth, open_browser=self.browse, show=lambda _: None, timeout=20)

    def test_web_application(self, server: FailureServer) -> None:
        oauth = OAuth2("authorization_code", "app", client_secret="secret", issuer=server.url)
        request = oauth.authorization_request("https://app.example.com/callback")
        back = requests.get(request.url + "&decision=approve", allow_redirects=False, timeout=5).headers["Location"]
        assert set(parse_qs(urlsplit(back).query)) == {"code", "state"}
        assert oauth.complete(back, request).access_token


def test_codes_end(server: FailureServer) -> None:
    code = brought_back(authorize(server, approval="automatic", **challenged()))["code"]
    server._state.logins.codes[code].expires_at = time.monotonic()
    assert redeem(server, code).json() == {"error": "invalid_grant"}


def test_memory_is_bounded() -> None:
    from polvo_adapters.testing.server.pending_logins import PendingLogins

    logins = PendingLogins()
    codes = [logins.begin_device_login("app", "", 600.0, 1.0) for _ in range(1010)]
    assert len(logins.devices) == 1000
    assert codes[-1] in logins.devices
