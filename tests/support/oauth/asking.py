"""A client made of plain requests: what the servers are asked with in their own tests."""

from __future__ import annotations

import base64
import hashlib
import secrets
from urllib.parse import parse_qs, urlencode, urlsplit

import requests

from tests.support.oauth.servers import REDIRECT_URI

ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
ASSERTION = "urn:ietf:params:oauth:grant-type:jwt-bearer"
CLIENT_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"


def post(url, auth=None, **fields):
    return requests.post(url, data=fields, auth=auth, timeout=10)


def ask(server, grant_type, auth=None, **fields):
    return post(server.token_url, auth, grant_type=grant_type, **fields)


def machine_token(server):
    response = ask(server, "client_credentials", ("cc", "cc-secret"))
    assert response.status_code == 200
    return response.json()["access_token"]


def authorization_url(server, client, verifier):
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    fields = {"response_type": "code", "client_id": client, "redirect_uri": REDIRECT_URI, "prompt": "consent"}
    fields |= {"scope": "openid offline_access api:read", "code_challenge": challenge, "code_challenge_method": "S256"}
    return f"{server.authorization_url}?{urlencode({**fields, 'state': 'what=ever'})}"


def user_tokens(server, client="pub", auth=None, **keywords):
    """Return what the authorization code flow yields."""
    verifier = secrets.token_urlsafe(48)
    back = server.approve(authorization_url(server, client, verifier), **keywords)
    assert back.startswith(REDIRECT_URI)
    answer = parse_qs(urlsplit(back).query)
    assert answer["state"] == ["what=ever"]
    known = {} if auth else {"client_id": client}
    fields = {"code": answer["code"][0], "redirect_uri": REDIRECT_URI, "code_verifier": verifier, **known}
    response = ask(server, "authorization_code", auth, **fields)
    assert response.status_code == 200
    return response.json()


def call(server, token, scheme="Bearer", url=None, **keywords):
    headers = {"Authorization": f"{scheme} {token}", **keywords.pop("headers", {})}
    return requests.get(url or server.api_url, headers=headers, timeout=10, **keywords)
