"""The token endpoint of the failure server."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from polvo_adapters.testing import FailureServer


def token(server: FailureServer, query: str = "", **fields: str) -> requests.Response:
    return requests.post(f"{server.url}/oauth/token{query}", data=fields, auth=("app", "secret"), timeout=5)


def status(server: FailureServer, access_token: Any) -> int:
    headers = {"Authorization": f"Bearer {access_token}"}
    return requests.get(f"{server.url}/oauth/protected", headers=headers, timeout=5).status_code


def test_a_token_authorizes_until_it_expires(server: FailureServer) -> None:
    answer = token(server, grant_type="client_credentials").json()
    assert (answer["token_type"], answer["expires_in"], "refresh_token" in answer) == ("Bearer", 60.0, False)
    assert status(server, answer["access_token"]) == 200
    assert status(server, token(server, "?expires_in=0", grant_type="client_credentials").json()["access_token"]) == 401
    assert status(server, "made-up") == 401


def test_refresh_tokens_rotate_and_one_that_is_used_twice_revokes_its_family(server: FailureServer) -> None:
    first = token(server, grant_type="password").json()
    other = token(server, grant_type="password").json()
    second = token(server, grant_type="refresh_token", refresh_token=first["refresh_token"]).json()
    assert status(server, second["access_token"]) == 200
    again = token(server, grant_type="refresh_token", refresh_token=first["refresh_token"])
    assert (again.status_code, again.json()) == (400, {"error": "invalid_grant"})
    assert status(server, second["access_token"]) == 401
    assert token(server, grant_type="refresh_token", refresh_token=second["refresh_token"]).status_code == 400
    assert status(server, other["access_token"]) == 200


def test_tokens_are_revoked(server: FailureServer) -> None:
    one, two = (token(server, grant_type="password").json() for _ in range(2))
    revoke = f"{server.url}/oauth/revoke"
    assert requests.post(revoke, data={"token": one["access_token"]}, timeout=5).status_code == 200
    assert (status(server, one["access_token"]), status(server, two["access_token"])) == (401, 200)
    assert requests.post(revoke, timeout=5).status_code == 200
    assert status(server, two["access_token"]) == 401


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"grant_type": "implicit"}, (400, "unsupported_grant_type")),
        ({}, (400, "unsupported_grant_type")),
        ({"grant_type": "refresh_token"}, (400, "invalid_grant")),
        ({"grant_type": "client_credentials", "client_id": "app", "client_secret": "wrong"}, (401, "invalid_client")),
    ],
)
def test_refusals(server: FailureServer, fields: dict[str, str], expected: tuple[int, str]) -> None:
    answer = requests.post(f"{server.url}/oauth/token", data=fields, timeout=5)
    assert (answer.status_code, answer.json()["error"]) == expected
    assert requests.post(f"{server.url}/oauth/token", auth=("app", "wrong"), timeout=5).status_code == 401
    assert requests.get(f"{server.url}/oauth/token", timeout=5).status_code == 405
    assert requests.get(f"{server.url}/oauth/nothing", timeout=5).status_code == 404
