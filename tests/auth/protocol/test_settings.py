"""Settings that cannot work are refused at once by name; what is held is neither shown nor pickled."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from typing import Any

import pytest

from polvo_adapters.auth.protocol.client_authentication import ClientAuthentication
from polvo_adapters.auth.protocol.device_code import DeviceAuthorization
from polvo_adapters.auth.protocol.dpop import DPoPKey
from polvo_adapters.auth.protocol.server import AuthorizationServer
from polvo_adapters.errors import ConfigurationError, TokenRefreshError

URL = "https://auth.example.com/token"
PEM = DPoPKey.generate().to_pem()
SECRET = "s3cret-of-the-client"


def secret() -> str:
    return SECRET


def server(**keywords: Any) -> AuthorizationServer:
    return AuthorizationServer(**{"client_id": "the-client", "token_url": URL, **keywords})


@pytest.mark.parametrize(
    ("field", "keywords"),
    [
        ("token_url or issuer", {"token_url": None}),
        ("token_url", {"token_url": "http://auth.example.com/token"}),
        ("token_url", {"token_url": "auth.example.com/token"}),
        ("token_url", {"token_url": f"https://user:{SECRET}@auth.example.com/token"}),
        ("token_url", {"token_url": 7}),
        ("token_url", {"token_url": "http://127.0.0.1.example.com/", "allow_http": False}),
        ("token_url", {"token_url": "ftp://auth.example.com/", "allow_http": True}),
        ("issuer", {"issuer": "http://auth.example.com"}),
        ("authorization_url", {"authorization_url": "http://auth.example.com"}),
        ("device_authorization_url", {"device_authorization_url": "x"}),
        ("revocation_url", {"revocation_url": ""}),
        ("introspection_url", {"introspection_url": "https://"}),
        ("client_id", {"client_id": ""}),
        ("client_id", {"client_id": None}),
        ("client_authentication", {"client_authentication": "digest"}),
        ("client_secret", {"client_authentication": "basic"}),
        ("client_secret", {"client_authentication": "post", "private_key": PEM}),
        ("private_key", {"client_authentication": "private_key_jwt", "client_secret": SECRET}),
        ("timeout", {"timeout": 0}),
        ("timeout", {"timeout": None}),
        ("timeout", {"timeout": float("inf")}),
        ("timeout", {"timeout": True}),
        ("token_url", {"token_url": "https://auth.example.com/{tenant}/token"}),
        ("client_id", {"client_id": "{tenant}-client"}),
        ("token_url", {"token_url": "https://auth.example.com/{tenant}/token", "tenant": ".."}),
        ("token_url", {"token_url": "https://{tenant}.example.com/token", "tenant": "evil.com/"}),
        ("token_url", {"token_url": "https://{tenant}.example.com/token", "tenant": "a.b"}),
        ("token_url", {"token_url": "https://{tenant}.example.com/token", "tenant": "evil.com#"}),
        ("token_url", {"token_url": "https://{tenant}.example.com/token", "tenant": "user:pw@evil.com"}),
    ],
)
def test_settings_that_cannot_work(field: str, keywords: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=field) as caught:
        server(**keywords)
    assert SECRET not in str(caught.value)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("keywords", "method"),
    [
        ({}, "none"),
        ({"client_secret": SECRET}, "basic"),
        ({"client_secret": ""}, "basic"),
        ({"client_secret": secret}, "basic"),
        ({"private_key": PEM}, "private_key_jwt"),
        ({"cert": "client.pem"}, "mtls"),
        ({"cert": "client.pem", "client_secret": SECRET}, "basic"),
        ({"client_secret": SECRET, "client_authentication": "post"}, "post"),
        ({"client_secret": SECRET, "client_authentication": "none"}, "none"),
    ],
)
def test_how_a_client_says_who_it_is(keywords: dict[str, Any], method: str) -> None:
    assert server(**keywords)._authentication.method == method


@pytest.mark.parametrize("value", ["not a key", b"\xff\x00", "", 7, lambda: None])
def test_a_private_key_that_is_none(value: Any) -> None:
    with pytest.raises(ConfigurationError, match="private_key") as caught:
        server(private_key=value).token({"grant_type": "client_credentials"})
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)


@pytest.mark.parametrize("value", [lambda: None, lambda: b"bytes", 7])
def test_a_secret_that_is_none(value: Any) -> None:
    with pytest.raises(ConfigurationError, match="client_secret"):
        server(client_secret=value).token({"grant_type": "client_credentials"})


def test_a_request_without_a_grant() -> None:
    with pytest.raises(ConfigurationError, match="grant_type"):
        server().token({"scope": "x"})


@pytest.mark.parametrize(
    ("template", "tenant", "url"),
    [
        ("https://auth.example.com/{tenant}/token", "acme", "https://auth.example.com/acme/token"),
        (
            "https://auth.example.com/{tenant}/token",
            "a/b?x#y z",
            "https://auth.example.com/a%2Fb%3Fx%23y%20z/token",
        ),
        ("https://{tenant}.example.com/token", "acme-1", "https://acme-1.example.com/token"),
        ("https://auth.example.com/token?t={tenant}", "../b", "https://auth.example.com/token?t=..%2Fb"),
        ("https://auth.example.com/token?t={tenant}", "a&b=c", "https://auth.example.com/token?t=a%26b%3Dc"),
    ],
)
def test_the_tenant_in_a_url(template: str, tenant: str, url: str) -> None:
    assert server(token_url=template, tenant=tenant).endpoint("token") == url


@pytest.mark.parametrize("tenant", ["a/../b", "..%2Fb", "..;b", "\uff0e\uff0e"])
def test_a_tenant_that_climbs_is_no_part_of_a_path(tenant: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be part of a path"):
        server(token_url="https://auth.example.com/{tenant}/token", tenant=tenant).endpoint("token")


def test_the_tenant_in_the_client() -> None:
    assert server(client_id="{tenant}/client", tenant="a b").client_id == "a b/client"


def test_plain_http_where_it_was_allowed() -> None:
    assert server(token_url="http://auth.test/token", allow_http=True).endpoint("token") == "http://auth.test/token"


def test_what_is_shown() -> None:
    given = server(client_secret=SECRET, private_key=PEM)
    assert repr(given) == "<AuthorizationServer auth.example.com for the-client>"
    assert SECRET not in repr(given._authentication)
    assert SECRET not in repr(given._authentication.make_credentials(URL))


@pytest.mark.parametrize("keywords", [{"client_secret": SECRET}, {"private_key": PEM}, {"private_key": PEM.encode()}])
def test_secrets_are_not_pickled(keywords: dict[str, Any]) -> None:
    for act in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError, match="function"):
            act(server(**keywords))


def test_without_secrets_it_pickles() -> None:
    given = server(client_secret=secret, tenant="acme", parameters={"audience": "a"}, dpop=True, timeout=3)
    given._nonces.learn(URL, {"dpop-nonce": "n"})
    dumped = pickle.dumps(given)
    again = pickle.loads(dumped)
    assert SECRET.encode() not in dumped
    assert again.endpoint("token") == URL
    assert again._authentication.make_credentials(URL) == given._authentication.make_credentials(URL)
    assert again._nonces.get(URL) is None


def test_credentials_of_both_kinds() -> None:
    basic = ClientAuthentication("a:b c", None, "s:%+ä", None, None, None, False).make_credentials(URL)
    assert basic.headers == {"Authorization": "Basic YSUzQWIrYzpzJTNBJTI1JTJCJUMzJUE0"}
    assert basic.fields == {}
    post = ClientAuthentication("a", "post", "s", None, None, None, False).make_credentials(URL)
    assert (post.fields, post.headers) == ({"client_id": "a", "client_secret": "s"}, {})


def test_a_login_on_another_device_shows_no_secret() -> None:
    login = DeviceAuthorization("device-secret", "ABCD", "https://e.test/", None, 600.0, 5.0)
    assert "device-secret" not in repr(login)
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(login)


def test_an_error_keeps_its_data_through_a_pickle() -> None:
    error = TokenRefreshError("no", host="h", reason="invalid_grant", status=400, final=True, retry_after=3.0)
    again = pickle.loads(pickle.dumps(error))
    assert (again.reason, again.status, again.final, again.retry_after) == ("invalid_grant", 400, True, 3.0)
    plain = TokenRefreshError()
    assert (plain.status, plain.final) == (0, False)


def test_libraries_are_imported_late() -> None:
    script = (
        "import sys, polvo_adapters, polvo_adapters.auth.protocol.server, polvo_adapters.auth.protocol.grants;"
        "print([name for name in ('oauthlib', 'jwt', 'cryptography.hazmat') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
