"""How tokens are revoked at servers that do it in ways of their own."""

from __future__ import annotations

import json
from typing import Any

import pytest

from polvo_adapters.auth import OAuth2, RevocationEndpoint, Token
from polvo_adapters.errors import ConfigurationError, TokenRefreshError
from tests.support.listening_server import Asked, Listening, Reply

WITH_REFRESH = Token("access-token", refresh_token="refresh-token")
ALONE = Token("access-token")


def revoke(server: Listening, token: Token = WITH_REFRESH, revocation_url: Any = None, **more: Any) -> None:
    keywords = {"client_id": "app", "client_secret": "s3cret", "token_url": f"{server.url}/token", **more}
    oauth = OAuth2(revocation_url=revocation_url or f"{server.url}/revoke", **keywords)
    oauth.keep(token)
    try:
        oauth.revoke()
    except (TokenRefreshError, ConfigurationError):
        assert oauth.token() == token  # it is still here, to try again
        raise


def answer_kinds(**statuses: int) -> Any:
    """Return a route that answers each kind of token by a status."""

    def answer(asked: Asked) -> Reply:
        kind = asked.form["token"].partition("-")[0]
        return Reply({} if statuses[kind] < 400 else {"error": "invalid_token"}, statuses[kind])

    return answer


@pytest.mark.parametrize("status", [400, 401, 404])
def test_an_access_token_that_ended_with_the_login(status: int) -> None:
    """A server that ends the access token with the refresh token, and then does not know it, has revoked it."""
    with Listening() as server:
        server.routes["/revoke"] = answer_kinds(refresh=200, access=status)
        revoke(server)
        assert [asked.form["token"] for asked in server.asked] == ["refresh-token", "access-token"]


@pytest.mark.parametrize(
    ("statuses", "token"),
    [
        ({"refresh": 400, "access": 200}, WITH_REFRESH),
        ({"refresh": 200, "access": 429}, WITH_REFRESH),
        ({"refresh": 200, "access": 501}, WITH_REFRESH),
        ({"access": 400}, ALONE),
    ],
)
def test_what_was_not_revoked(statuses: dict[str, int], token: Token) -> None:
    with Listening() as server:
        server.routes["/revoke"] = answer_kinds(**statuses)
        with pytest.raises(TokenRefreshError):
            revoke(server, token)


def test_a_description() -> None:
    """Method, encoding, names, headers, credentials and kinds are as described, and the token shows in no error."""
    bodies: list[tuple[str, str, dict[str, str]]] = []
    with Listening() as server:
        described = RevocationEndpoint(
            f"{server.url}/tokens/end",
            encoding="json",
            method="DELETE",
            headers={"X-Key": "{client_id}"},
            names={"token": "access_token", "token_type_hint": None, "client_secret": "key"},
            client_authentication="post",
            kinds=("access_token",),
        )
        server.routes["/tokens/end"] = lambda asked: bodies.append((asked.method, asked.body, asked.headers)) or Reply()  # type: ignore[func-returns-value]
        revoke(server, revocation_url=described, client_authentication="basic")
        ((method, body, headers),) = bodies
        sent = {"access_token": "access-token", "client_id": "app", "key": "s3cret"}
        assert (method, json.loads(body), headers["x-key"]) == ("DELETE", sent, "app")
        assert "authorization" not in headers


def test_nothing_that_can_be_revoked() -> None:
    with Listening() as server:
        described = RevocationEndpoint(f"{server.url}/revoke", kinds=("refresh_token",))
        with pytest.raises(ConfigurationError, match="refresh tokens alone"):
            revoke(server, ALONE, described)
        assert server.asked == []


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"kinds": ()}, "kinds"),
        ({"kinds": ("id_token",)}, "kinds"),
        ({"kinds": "access_token"}, "kinds"),
        ({"grant_type": "x"}, "about grants"),
        ({"refresh": "https://id.example.com/"}, "about grants"),
        ({"scope_separator": ","}, "about grants"),
        ({"refresh_with": ()}, "about grants"),
        ({"method": "PATCH"}, "method"),
        ({"client_authentication": "sorcery"}, "sorcery"),
    ],
)
def test_settings_that_cannot_work(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        OAuth2(
            client_id="app",
            client_secret="secret",
            token_url="https://id.example.com/token",
            revocation_url=RevocationEndpoint("https://id.example.com/revoke", **wrong),
        )


@pytest.mark.parametrize("lifetime", [0, -1, 1e9, True, "60"])
def test_the_lifetime_of_assertions(lifetime: Any) -> None:
    with pytest.raises(ConfigurationError, match="assertion_lifetime"):
        OAuth2(
            client_id="app", private_key="key", token_url="https://id.example.com/token", assertion_lifetime=lifetime
        )
