"""Tokens that are refreshed, below real client libraries that know nothing of it."""

from __future__ import annotations

import threading
from pathlib import Path

import docker
import gitlab
import google.auth.credentials
import hvac
import pytest
from google.auth.transport.requests import AuthorizedSession
from requests_toolbelt.sessions import BaseUrlSession
from stand_in import StandIn

import polvo_adapters as polvo
from polvo_adapters.auth import OAuth2, Token


class Issuer:
    """Issues tokens, of which the last is good, and knows how many there were."""

    def __init__(self):
        self.issued = 0
        self._lock = threading.Lock()

    def __call__(self, token):
        with self._lock:
            self.issued += 1
            return Token(f"token-{self.issued}", expires_in=3600.0)

    @property
    def last(self):
        return f"Bearer token-{self.issued}"


@pytest.fixture
def issuer():
    return Issuer()


@pytest.fixture
def oauth(issuer, tmp_path: Path):
    return OAuth2(fetch=issuer, client_id="c", token_cache=tmp_path / "tokens")


@pytest.fixture
def api():
    with StandIn() as running:
        running.refusal = (401, {"WWW-Authenticate": 'Bearer error="invalid_token"'})
        yield running


def authorizations(api):
    return [(seen.headers["Authorization"], seen.status) for seen in api.seen]


class TestGitlab:
    @pytest.fixture(params=[False, True], ids=["plain", "installed"])
    def client(self, request, session, api, oauth, quick):
        session.auth = oauth
        if request.param:
            polvo.install(session, **quick)
        return gitlab.Gitlab(api.url, session=session)

    def test_read(self, client, api, oauth):
        """The client gives each request an `auth` of its own unless there is none; then that of the session counts."""
        api.answers["GET", "/api/v4/projects/7"] = {"id": 7, "name": "polvo"}
        assert client.projects.get(7).name == "polvo"
        api.failures = 1
        assert client.projects.get(7).name == "polvo"
        assert authorizations(api) == [
            ("Bearer token-1", 200),
            ("Bearer token-1", 401),
            ("Bearer token-2", 200),
        ]

    def test_write(self, client, api, oauth):
        api.answers["POST", "/api/v4/projects"] = (201, {"id": 8})
        api.failures = 1
        assert client.projects.create({"name": "new"}).id == 8
        assert [seen.body for seen in api.seen] == [b'{"name": "new"}'] * 2
        assert authorizations(api) == [("Bearer token-1", 401), ("Bearer token-2", 201)]

    def test_upload(self, client, api, oauth, issuer):
        """A form with a file is a stream that the client can rewind, or that is not sent again."""
        api.answers["POST", "/api/v4/projects/7/uploads"] = (201, {"url": "/u", "markdown": "m", "alt": "a"})
        project = client.projects.get(7, lazy=True)
        assert project.upload("a.txt", filedata="text")["url"] == "/u"
        api.failures = 1
        try:
            assert project.upload("a.txt", filedata="text")["url"] == "/u"
        except gitlab.GitlabAuthenticationError:
            assert project.upload("a.txt", filedata="text")["url"] == "/u"
        assert b"text" in api.seen[-1].body
        assert authorizations(api)[-1] == ("Bearer token-2", 201)

    def test_refused_for_good(self, client, api, issuer):
        api.failures = 100
        for _ in range(10):
            with pytest.raises(gitlab.GitlabAuthenticationError):
                client.projects.get(7)
        assert issuer.issued <= 3
        assert len(api.seen) <= 20


class TestHvac:
    @pytest.fixture
    def client(self, session, api, oauth):
        api.answers["GET", "/v1/secret/data/app"] = {"data": {"data": {"password": "hunter2"}, "metadata": {}}}
        session.auth = oauth
        return hvac.Client(api.url, token="of vault", session=session)

    def test_read(self, client, api):
        for failures in (0, 1):
            api.failures = failures
            secret = client.secrets.kv.v2.read_secret_version("app", raise_on_deleted_version=True)
            assert secret["data"]["data"] == {"password": "hunter2"}
        assert authorizations(api) == [("Bearer token-1", 200), ("Bearer token-1", 401), ("Bearer token-2", 200)]
        assert {seen.headers["X-Vault-Token"] for seen in api.seen} == {"of vault"}


class TestDocker:
    """The client is itself a Session, with an adapter of its own for the UNIX socket of the daemon."""

    def test_read(self, tmp_path, oauth):
        with StandIn(str(tmp_path / "docker.sock")) as daemon:
            daemon.refusal = (401, {})
            daemon.answers["GET", "/v1.44/version"] = {"ApiVersion": "1.44"}
            with docker.APIClient(f"unix://{tmp_path}/docker.sock", version="1.44", timeout=10) as client:
                client.auth = oauth
                for failures in (0, 1):
                    daemon.failures = failures
                    assert client.version()["ApiVersion"] == "1.44"
            assert authorizations(daemon) == [("Bearer token-1", 200), ("Bearer token-1", 401), ("Bearer token-2", 200)]


class FromOAuth2(google.auth.credentials.Credentials):
    """Credentials of Google's libraries whose tokens come from an OAuth2."""

    def __init__(self, oauth):
        super().__init__()
        self._oauth = oauth

    def refresh(self, request):
        self.token = self._oauth.token().access_token


class TestGoogle:
    def test_its_session_takes_an_auth(self, api, oauth):
        api.answers["GET", "/thing"] = {"id": 7}
        with AuthorizedSession(google.auth.credentials.AnonymousCredentials()) as client:
            client.trust_env = False
            client.auth = oauth
            for failures in (0, 1):
                api.failures = failures
                assert client.get(api.url + "/thing").json() == {"id": 7}
        assert authorizations(api) == [("Bearer token-1", 200), ("Bearer token-1", 401), ("Bearer token-2", 200)]

    def test_its_credentials_take_a_token(self, api, oauth):
        api.answers["GET", "/thing"] = {"id": 7}
        with AuthorizedSession(FromOAuth2(oauth)) as client:
            client.trust_env = False
            assert client.get(api.url + "/thing").json() == {"id": 7}
        assert api.seen[0].headers["Authorization"] == "Bearer token-1"


def test_a_session_with_a_base_url(api, oauth):
    api.answers["GET", "/v1/thing"] = {"id": 7}
    with BaseUrlSession(api.url + "/v1/") as session:
        session.trust_env = False
        session.auth = oauth
        for failures in (0, 1):
            api.failures = failures
            assert session.get("thing").json() == {"id": 7}
    assert authorizations(api) == [("Bearer token-1", 200), ("Bearer token-1", 401), ("Bearer token-2", 200)]
