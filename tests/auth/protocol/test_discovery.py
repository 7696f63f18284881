"""Endpoints found by the issuer's name: from the right document only, and only safe ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from polvo_adapters.auth.protocol import grants
from polvo_adapters.auth.protocol.discovery import find_endpoint, well_known_urls
from polvo_adapters.auth.protocol.server import AuthorizationServer
from polvo_adapters.errors import ConfigurationError, TokenRefreshError
from polvo_adapters.shells.urls import is_secure
from tests.support.listening_server import Listening, Reply

GOOD = Reply({"access_token": "token", "expires_in": 60})
OAUTH, OPENID = "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"
READ = grants.client_credentials()


@pytest.fixture
def listening() -> Iterator[Listening]:
    with Listening() as server:
        server.routes["/token"] = GOOD
        yield server


def make_document(server: Listening, path: str = "", **changed: Any) -> Reply:
    return Reply({"issuer": server.url + path, "token_endpoint": f"{server.url}/token", **changed})


def client(server: Listening, path: str = "", **keywords: Any) -> AuthorizationServer:
    return AuthorizationServer(**{"client_id": "public", "issuer": server.url + path, **keywords})


def reason(server: AuthorizationServer) -> str | None:
    with pytest.raises(TokenRefreshError) as caught:
        server.token(READ)
    return caught.value.reason


def paths(server: Listening) -> list[str]:
    return [asked.path for asked in server.asked]


@pytest.mark.parametrize(
    ("issuer", "places"),
    [
        ("https://a.test", (f"https://a.test{OAUTH}", f"https://a.test{OPENID}")),
        ("https://a.test/", (f"https://a.test{OAUTH}", f"https://a.test{OPENID}")),
        ("https://a.test:8443/x/y", (f"https://a.test:8443{OAUTH}/x/y", f"https://a.test:8443/x/y{OPENID}")),
        ("https://a.test/x/", (f"https://a.test{OAUTH}/x", f"https://a.test/x{OPENID}")),
    ],
)
def test_where_the_document_is(issuer: str, places: tuple[str, str]) -> None:
    assert well_known_urls(issuer) == places


@pytest.mark.parametrize("path", ["", "/tenants/one"])
def test_the_first_place_counts_and_is_asked_once(listening: Listening, path: str) -> None:
    listening.routes[OAUTH + path] = make_document(listening, path)
    server = client(listening, path)
    assert listening.asked == []
    for _ in range(3):
        server.token(READ)
    assert paths(listening) == [OAUTH + path, "/token", "/token", "/token"]


@pytest.mark.parametrize(
    "first",
    [
        Reply(status=404),
        Reply(b"<html>", 200),
        Reply({}, 500),
        Reply([]),
        Reply({"issuer": "https://evil.example.com"}),
        Reply(status=302, headers=(("Location", "/elsewhere"),)),
    ],
)
def test_the_second_place(listening: Listening, first: Reply) -> None:
    listening.routes[OAUTH + "/x"] = first
    listening.routes["/x" + OPENID] = make_document(listening, "/x")
    assert client(listening, "/x").token(READ).access_token == "token"
    # A GET that fails is repeated, as everywhere; the places are asked in this order all the same.
    assert list(dict.fromkeys(paths(listening))) == [f"{OAUTH}/x", f"/x{OPENID}", "/token"]


@pytest.mark.parametrize("change", ["/", "/other", None, "upper"])
def test_the_document_of_another_issuer(listening: Listening, change: str | None) -> None:
    name = {None: None, "upper": listening.url.upper()}.get(change, f"{listening.url}{change}")
    listening.routes[OAUTH] = make_document(listening, issuer=name)
    assert reason(client(listening)) == "issuer mismatch"
    assert "/token" not in paths(listening)


def test_no_document_at_all_is_asked_for_again_the_next_time(listening: Listening) -> None:
    server = client(listening)
    assert reason(server) == "status 404"
    listening.routes[OPENID] = make_document(listening)
    assert server.token(READ).access_token == "token"


def test_a_server_that_is_not_there() -> None:
    with Listening() as server:
        pass
    assert reason(client(server)) == "connection"


def test_an_endpoint_over_plain_http_elsewhere(listening: Listening) -> None:
    listening.routes[OAUTH] = make_document(listening, token_endpoint="http://auth.example.com/token")
    assert reason(client(listening)) == "insecure endpoint"


def test_a_server_elsewhere_may_not_send_secrets_to_this_machine() -> None:
    server = AuthorizationServer(client_id="public", issuer="https://auth.example.com")
    server._document = {"token_endpoint": "http://127.0.0.1:9/token"}
    assert reason(server) == "insecure endpoint"


@pytest.mark.parametrize(
    ("body", "reason"), [({}, "invalid introspection"), ({"active": 1}, "invalid introspection"), ([], "not json")]
)
def test_an_introspection_that_says_nothing(listening: Listening, body: Any, reason: str) -> None:
    listening.routes["/i"] = Reply(body)
    server = client(listening, introspection_url=f"{listening.url}/i")
    with pytest.raises(TokenRefreshError) as caught:
        server.introspect("token-to-look-up")
    assert caught.value.reason == reason
    assert "token-to-look-up" not in str(caught.value)


def test_a_revocation_that_fails(listening: Listening) -> None:
    server = client(listening, revocation_url=f"{listening.url}/r")
    for reply, reason in (
        (Reply({"error": "unsupported_token_type"}, 400), "unsupported_token_type"),
        (Reply(b"", 500), "status 500"),
    ):
        listening.routes["/r"] = reply
        with pytest.raises(TokenRefreshError) as caught:
            server.revoke("token")
        assert caught.value.reason == reason
    listening.routes["/r"] = Reply(b"")
    server.revoke("token")


@pytest.mark.parametrize("value", [None, "", 7, ["https://a.test"], {}])
def test_a_document_without_the_endpoint(listening: Listening, value: Any) -> None:
    listening.routes[OAUTH] = make_document(listening, token_endpoint=value)
    with pytest.raises(ConfigurationError, match="names no token_endpoint"):
        client(listening).token(READ)


def test_what_was_named_is_not_looked_up(listening: Listening) -> None:
    listening.routes["/mine"] = GOOD
    client(listening, token_url=f"{listening.url}/mine").token(READ)
    assert paths(listening) == ["/mine"]


def test_other_endpoints_for_clients_with_a_certificate() -> None:
    document = {
        "token_endpoint": "plain",
        "mtls_endpoint_aliases": {"token_endpoint": "mtls"},
        "revocation_endpoint": "r",
    }
    assert find_endpoint(document, "token_endpoint", mtls=True) == "mtls"
    assert find_endpoint(document, "token_endpoint", mtls=False) == "plain"
    assert find_endpoint(document, "revocation_endpoint", mtls=True) == "r"
    assert find_endpoint({"mtls_endpoint_aliases": [1]}, "token_endpoint", mtls=True) is None


def test_a_certificate_leads_to_them(listening: Listening) -> None:
    listening.routes["/mtls"] = GOOD
    aliases = {"token_endpoint": f"{listening.url}/mtls"}
    listening.routes[OAUTH] = make_document(listening, mtls_endpoint_aliases=aliases)
    client(listening, client_authentication="mtls").token(READ)
    assert paths(listening)[-1] == "/mtls"


@pytest.mark.parametrize(
    ("url", "secure"),
    [
        ("https://a.test/token", True),
        ("http://127.0.0.1:80/", True),
        ("http://127.9.9.9/", True),
        ("http://[::1]:80/", True),
        ("http://localhost/", True),
        ("http://a.test/", False),
        ("http://localhost.a.test/", False),
        ("http://127.0.0.1.a.test/", False),
        ("http://0.0.0.0/", False),
        ("https://user:password@a.test/", False),
        ("http://127.0.0.1@a.test/", False),
        ("https://a.test\\@b.test/", False),
        ("https://a.test/ x", False),
        ("https://a.test:99999/", False),
        ("https://[::1/", False),
        ("https://", False),
        ("ftp://a.test/", False),
        ("/token", False),
        ("", False),
    ],
)
def test_where_secrets_may_be_sent(url: str, secure: bool) -> None:
    assert is_secure(url) is secure
    assert is_secure(url, loopback=False) is (secure and url.startswith("https"))


def test_connections_of_its_own_are_not_used_again(listening: Listening) -> None:
    """The server would close an idle one at any moment, and whether it has done its work would be anybody's guess."""
    server = client(listening, token_url=f"{listening.url}/token")
    for _ in range(20):
        server.token(READ)
    assert len({asked.port for asked in listening.asked}) == 20


def test_those_of_the_callers_session_are(listening: Listening) -> None:
    with requests.Session() as session:
        server = client(listening, token_url=f"{listening.url}/token", session=session)
        for _ in range(20):
            server.token(READ)
    assert len({asked.port for asked in listening.asked}) == 1
