"""Every grant and every client authentication against real authorization servers of two makes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

import polvo_adapters as polvo
from polvo_adapters.auth.device_login import poll
from polvo_adapters.auth.protocol import grants
from polvo_adapters.auth.protocol.dpop import DPoPKey
from polvo_adapters.auth.protocol.server import AuthorizationServer
from polvo_adapters.auth.protocol.token import Token
from polvo_adapters.errors import ConfigurationError, TokenRefreshError
from polvo_adapters.testing.virtual_clock import VirtualClock
from tests.support.oauth.authlib_server import PASSWORDS, AuthlibServer
from tests.support.oauth.servers import REDIRECT_URI, OIDCProvider

READ = grants.client_credentials("api:read")


@pytest.fixture(scope="module")
def authlib_process() -> Iterator[AuthlibServer]:
    with AuthlibServer() as server:
        yield server


@pytest.fixture
def authlib(authlib_process: AuthlibServer) -> AuthlibServer:
    authlib_process.reset()
    return authlib_process


@pytest.fixture(params=["oidc", "authlib"])
def either(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


def client(provider: Any, name: str, **keywords: Any) -> AuthorizationServer:
    """Return a client of a server, with the secret that the servers here give to a client of that name."""
    if not {"client_secret", "private_key", "cert"} & set(keywords) and not name.startswith("pub"):
        keywords["client_secret"] = f"{name}-secret"
    keywords = {"issuer": provider.issuer, "verify": None if provider.verify is True else provider.verify} | keywords
    return AuthorizationServer(client_id=name, **keywords)


def call(provider: Any, token: Token, **keywords: Any) -> requests.Response:
    """Use a token."""
    headers = {"Authorization": f"{token.token_type} {token.access_token}", **keywords.pop("headers", {})}
    with requests.Session() as session:
        session.trust_env = False
        return session.get(provider.api_url, headers=headers, timeout=10, **keywords)


def refusal(ask: Any) -> TokenRefreshError:
    with pytest.raises(TokenRefreshError) as caught:
        ask()
    return caught.value


def test_client_credentials(either: Any) -> None:
    token = client(either, "cc").token(READ)
    assert call(either, token).json()["client"] == "cc"
    assert (token.token_type, token.expires_in, token.refresh_token) == ("Bearer", 60, None)


def test_the_token_url_alone_is_enough(either: Any) -> None:
    token = client(either, "cc", issuer=None, token_url=either.token_url).token(READ)
    assert call(either, token).status_code == 200


def test_the_secret_in_the_form(either: Any) -> None:
    token = client(either, "cc-post", client_authentication="post").token(READ)
    assert call(either, token).json()["client"] == "cc-post"


def test_basic_encodes_both_parts_first(oidc: OIDCProvider) -> None:
    token = client(oidc, "cc:odd/1", client_secret=oidc.odd_secret).token(READ)
    assert call(oidc, token).json()["client"] == "cc:odd/1"


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("kind", ["rsa", "ec"])
def test_private_key_jwt(oidc: OIDCProvider, kind: str, named: bool) -> None:
    place = {} if named else {"issuer": None, "token_url": oidc.token_url}
    server = client(oidc, "cc-jwt", private_key=getattr(oidc, f"{kind}_key"), key_id=kind, **place)
    assert call(oidc, server.token(READ)).json()["client"] == "cc-jwt"


def test_a_key_that_the_server_does_not_know(oidc: OIDCProvider) -> None:
    server = client(oidc, "cc-jwt", private_key=DPoPKey.generate().to_pem(), key_id="ec")
    assert refusal(lambda: server.token(READ)).reason == "invalid_client"


def test_mtls(oidc_tls: OIDCProvider) -> None:
    server = client(oidc_tls, "mtls", cert=oidc_tls.client_certificate)
    token = server.token(READ)
    answer = call(oidc_tls, token, cert=oidc_tls.client_certificate, verify=oidc_tls.verify)
    assert answer.json()["client"] == "mtls"


def test_mtls_by_another_certificate(oidc_tls: OIDCProvider) -> None:
    server = client(oidc_tls, "mtls", cert=oidc_tls.other_certificate)
    error = refusal(lambda: server.token(READ))
    assert (error.reason, error.final) == ("invalid_client", True)


def test_a_server_without_a_certificate_that_is_trusted(oidc_tls: OIDCProvider) -> None:
    error = refusal(lambda: client(oidc_tls, "cc", verify=True).token(READ))
    assert (error.reason, error.status, error.final) == ("tls", 0, False)
    assert oidc_tls.counts()["token"] == 0


def test_a_wrong_secret(either: Any) -> None:
    error = refusal(lambda: client(either, "cc", client_secret="not-the-secret").token(READ))
    assert (error.reason, error.status, error.final) == ("invalid_client", 401, True)
    assert "not-the-secret" not in str(error)


def test_a_secret_is_fetched_at_each_use(either: Any) -> None:
    secrets = iter(["outdated", "cc-secret"])
    server = client(either, "cc", client_secret=lambda: next(secrets))
    assert refusal(lambda: server.token(READ)).reason == "invalid_client"
    assert call(either, server.token(READ)).status_code == 200


@pytest.mark.parametrize("user", PASSWORDS)
def test_password(authlib: AuthlibServer, user: str) -> None:
    token = client(authlib, "legacy").token(grants.password(user, PASSWORDS[user], "api:read"))
    assert call(authlib, token).json()["subject"] == user


def test_a_wrong_password(authlib: AuthlibServer) -> None:
    error = refusal(lambda: client(authlib, "legacy").token(grants.password("alice", "wrong-password")))
    assert (error.reason, error.final) == ("invalid_request", True)  # so says Authlib; others say invalid_grant
    assert "wrong-password" not in str(error)


def log_in(provider: Any, name: str = "web", **keywords: Any) -> Token:
    server = client(provider, name, **keywords)
    asked = server.authorization_request(REDIRECT_URI, ["openid", "offline_access"], prompt="consent")
    code = server.code_from(provider.approve(asked.url), asked)
    return server.token(grants.code(code, asked.redirect_uri, asked.code_verifier))


@pytest.mark.parametrize("name", ["web", "pub"])
def test_code_with_pkce_and_refresh(either: Any, name: str) -> None:
    token = log_in(either, name)
    assert call(either, token).json()["subject"] == "alice"
    refreshed = client(either, name).token(grants.refresh(token.refresh_token or ""))
    assert call(either, refreshed).json()["subject"] == "alice"
    assert refreshed.refresh_token not in (None, token.refresh_token)
    error = refusal(lambda: client(either, name).token(grants.refresh(token.refresh_token or "")))
    assert (error.reason, error.status, error.final) == ("invalid_grant", 400, True)


def test_a_code_is_of_no_use_without_the_verifier(either: Any) -> None:
    server = client(either, "pub")
    asked = server.authorization_request(REDIRECT_URI, "openid")
    code = server.code_from(either.approve(asked.url), asked)
    stolen = grants.code(code, asked.redirect_uri, server.authorization_request(REDIRECT_URI).code_verifier)
    assert refusal(lambda: server.token(stolen)).reason == "invalid_grant"


def test_a_user_who_refuses(oidc: OIDCProvider) -> None:
    server = client(oidc, "web")
    asked = server.authorization_request(REDIRECT_URI, "openid")
    back = oidc.approve(asked.url, deny=True)
    error = refusal(lambda: server.code_from(back, asked))
    assert (error.reason, error.final) == ("access_denied", True)


class Confirming(VirtualClock):
    """Time in which the user does something after so many waits."""

    def __init__(self, act: Any, after: int) -> None:
        super().__init__()
        self.waits: list[float] = []
        self._act, self._after = act, after

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        self.waits.append(seconds)
        if len(self.waits) == self._after:
            self._act()


def test_device(oidc: OIDCProvider) -> None:
    server = client(oidc, "pub")
    login = server.device_authorization("openid")
    clock = Confirming(lambda: oidc.approve_device(login.verification_uri_complete or ""), after=3)
    token = poll(server, login, clock=clock)
    assert call(oidc, token).json()["subject"] == "alice"
    assert clock.waits == [5, 5, 5]
    assert oidc.counts()["token"] == 3


def test_device_refused(oidc: OIDCProvider) -> None:
    server = client(oidc, "pub")
    login = server.device_authorization("openid")
    clock = Confirming(lambda: oidc.approve_device(login.verification_uri_complete or "", deny=True), after=2)
    assert refusal(lambda: poll(server, login, clock=clock)).reason == "access_denied"


def test_device_that_asks_too_often_slows_down(authlib: AuthlibServer) -> None:
    server = client(authlib, "pub", device_authorization_url=authlib.device_url)
    login = server.device_authorization("openid")
    assert login.interval == 1
    clock = Confirming(lambda: authlib.approve_device(login.verification_uri_complete or ""), after=4)
    token = poll(server, login, clock=clock)  # its clock stands still while ours flies
    assert call(authlib, token).json()["subject"] == "alice"
    assert clock.waits == [1, 1, 6, 11]


def test_device_with_a_deadline(oidc: OIDCProvider) -> None:
    server = client(oidc, "pub")
    clock = VirtualClock()
    with pytest.raises(polvo.DeadlineExceeded):
        poll(server, server.device_authorization("openid"), deadline=12, clock=clock)
    assert oidc.counts()["token"] == 2


def test_device_over_a_server_that_fails_for_a_while(oidc: OIDCProvider) -> None:
    server = client(oidc, "pub")
    login = server.device_authorization("openid")
    oidc.fail(500, times=2)
    clock = Confirming(lambda: oidc.approve_device(login.verification_uri_complete or ""), after=3)
    assert poll(server, login, clock=clock).token_type == "Bearer"
    assert clock.waits == [5, 10, 20]


def assertion(provider: Any, **changed: Any) -> dict[str, Any]:
    claims = {"issuer": "ci", "subject": "alice", "audience": provider.token_url, "scope": "api:read"}
    return grants.jwt_bearer(**{**claims, "private_key": provider.ec_key, "key_id": "ec", **changed})


def test_jwt_bearer(either: Any) -> None:
    server = client(either, "assertion")
    assert call(either, server.token(assertion(either))).json()["subject"] == "alice"
    error = refusal(lambda: server.token(assertion(either, audience="https://another.example.com")))
    assert error.reason == "invalid_grant"


def test_token_exchange(either: Any) -> None:
    subject = client(either, "cc").token(READ).access_token
    server = client(either, "exchange")
    token = server.token(grants.token_exchange(subject, actor_token=subject, scope=["api:read"]))
    assert call(either, token).json()["subject"] == "cc"
    assert token.extra["issued_token_type"] == grants.ACCESS_TOKEN
    assert refusal(lambda: server.token(grants.token_exchange("not-a-token"))).reason == "invalid_request"


def test_revocation_and_introspection(either: Any) -> None:
    server = client(either, "cc")
    token = server.token(READ).access_token
    assert server.introspect(token)["client_id"] == "cc"
    server.revoke(token, "access_token")
    assert server.introspect(token, "access_token") == {"active": False}
    server.revoke("no-such-token")


@pytest.mark.parametrize("nonce", [False, True])
def test_dpop(oidc: OIDCProvider, nonce: bool) -> None:
    oidc.set(nonce=nonce)
    server = client(oidc, "dpop", dpop=True)
    token = server.token(READ)
    assert oidc.counts()["token"] == 1 + nonce
    assert (token.token_type, oidc.counts()["refused"]) == ("DPoP", int(nonce))
    server.token(READ)
    assert oidc.counts()["token"] == 2 + nonce  # the nonce was remembered
    oidc.set(nonce=False)
    key = DPoPKey.from_pem(token.key or "")
    proof = key.make_proof("GET", oidc.api_url, access_token=token.access_token)
    assert call(oidc, token, headers={"DPoP": proof}).json()["client"] == "dpop"


def test_a_refresh_token_is_bound_to_the_key_as_well(oidc: OIDCProvider) -> None:
    token = log_in(oidc, "pub", dpop=True)
    server = client(oidc, "pub", dpop=True)
    assert refusal(lambda: server.token(grants.refresh(token.refresh_token or ""))).final
    refreshed = server.token(grants.refresh(token.refresh_token or ""), key=token.key)
    assert (refreshed.token_type, refreshed.key) == ("DPoP", token.key)


def test_a_server_that_does_not_bind_tokens(authlib: AuthlibServer) -> None:
    error = refusal(lambda: client(authlib, "cc", dpop=True).token(READ))
    assert error.reason == "unsupported token_type"


def test_a_refused_request_is_repeated_where_it_was_certainly_not_processed(oidc: OIDCProvider) -> None:
    server = client(oidc, "cc")
    oidc.fail(503, headers={"Retry-After": "0"})
    assert server.token(READ).token_type == "Bearer"
    assert oidc.counts()["token"] == 2


@pytest.mark.parametrize("retry", [False, True])
def test_a_refresh_is_never_repeated_where_it_may_have_been_processed(oidc: OIDCProvider, retry: bool) -> None:
    token = log_in(oidc)
    oidc.reset()
    oidc.fail(500, processed=True)
    with requests.Session() as session:
        if retry:  # the user's own, which would do it
            session.mount("http://", retrying())
        server = client(oidc, "web", session=session if retry else None)
        error = refusal(lambda: server.token(grants.refresh(token.refresh_token or "")))
    assert (error.status, error.final, oidc.counts()["token"]) == (500, False, 1)


def retrying() -> requests.adapters.HTTPAdapter:
    from urllib3.util import Retry

    return requests.adapters.HTTPAdapter(max_retries=Retry(3, allowed_methods=None, status_forcelist=[500]))


def test_threads_share_a_server_and_a_forked_process_goes_on_with_it(oidc: OIDCProvider) -> None:
    server = client(oidc, "dpop", dpop=True)
    with ThreadPoolExecutor(8) as pool:
        tokens = list(pool.map(lambda _: server.token(READ).access_token, range(40)))
    assert len(set(tokens)) == 40
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if server.token(READ).token_type == "DPoP" else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert server.token(READ).access_token not in tokens
    assert oidc.counts()["token"] == 42


def test_an_endpoint_that_the_server_does_not_have(authlib: AuthlibServer) -> None:
    server = AuthorizationServer(client_id="cc", client_secret="cc-secret", token_url=authlib.token_url)
    with pytest.raises(ConfigurationError, match="revocation_url"):
        server.revoke("token")
