"""Real client libraries that take a `requests.Session`, or are one, made resilient without their knowledge."""

from __future__ import annotations

import gc
import io
import struct
import warnings

import docker
import gitlab
import google.oauth2.credentials
import hvac
import pytest
import requests
from docker.transport import UnixHTTPAdapter
from google.auth.transport.requests import AuthorizedSession, Request
from stand_in import StandIn

import polvo_adapters as polvo

DEADLINES = pytest.mark.parametrize("deadline", [None, 20.0], ids=["no deadline", "deadline"])


@pytest.fixture
def api():
    with StandIn() as running:
        yield running


class TestHvac:
    SECRET = {"data": {"data": {"password": "hunter2"}, "metadata": {"version": 1}}}

    @pytest.fixture(params=[None, 20.0], ids=["no deadline", "deadline"])
    def client(self, request, session, api, quick):
        polvo.install(session, deadline=request.param, **quick)
        api.answers["GET", "/v1/secret/data/app"] = self.SECRET
        api.answers["POST", "/v1/secret/data/app"] = {"data": {"version": 2}}
        return hvac.Client(api.url, token="token", session=session)

    def test_read(self, client, api):
        api.failures = 2
        secret = client.secrets.kv.v2.read_secret_version("app", raise_on_deleted_version=True)
        assert secret["data"]["data"] == {"password": "hunter2"}
        assert api.log == [("GET", "/v1/secret/data/app", status) for status in (503, 503, 200)]
        assert {seen.headers["X-Vault-Token"] for seen in api.seen} == {"token"}

    def test_write_is_repeated_where_the_server_says_that_it_did_nothing(self, client, api):
        api.failures = 1
        assert client.secrets.kv.v2.create_or_update_secret("app", {"a": "b"})["data"] == {"version": 2}
        assert [seen.status for seen in api.seen] == [503, 200]
        assert api.seen[0].body == api.seen[1].body != b""

    def test_write_is_not_repeated_otherwise(self, client, api):
        api.failures, api.refusal = 1, (503, {})
        with pytest.raises(hvac.exceptions.VaultDown):
            client.secrets.kv.v2.create_or_update_secret("app", {"a": "b"})
        assert [seen.status for seen in api.seen] == [503]

    def test_its_errors_stay(self, client, api):
        with pytest.raises(hvac.exceptions.InvalidPath):
            client.secrets.kv.v2.read_secret_version("other", raise_on_deleted_version=True)
        assert [seen.status for seen in api.seen] == [404]
        api.failures = 3
        with pytest.raises(hvac.exceptions.VaultDown):
            client.secrets.kv.v2.read_secret_version("app", raise_on_deleted_version=True)
        assert len(api.seen) == 4


class TestGitlab:
    @pytest.fixture(params=[None, 20.0], ids=["no deadline", "deadline"])
    def client(self, request, session, api, quick):
        polvo.install(session, deadline=request.param, **quick)
        return gitlab.Gitlab(api.url, private_token="token", session=session)

    def test_read(self, client, api):
        api.answers["GET", "/api/v4/projects/7"] = {"id": 7, "name": "polvo"}
        api.failures = 1
        assert client.projects.get(7).name == "polvo"
        assert api.log == [("GET", "/api/v4/projects/7", status) for status in (503, 200)]
        assert {seen.headers["PRIVATE-TOKEN"] for seen in api.seen} == {"token"}

    def test_list(self, client, api):
        api.answers["GET", "/api/v4/projects"] = [{"id": 1}, {"id": 2}]
        api.failures = 1
        assert [project.id for project in client.projects.list(iterator=True)] == [1, 2]

    def test_write(self, client, api):
        api.answers["POST", "/api/v4/projects"] = (201, {"id": 8})
        api.failures = 1
        assert client.projects.create({"name": "new"}).id == 8
        assert [seen.body for seen in api.seen] == [b'{"name": "new"}'] * 2

    def test_streamed_file(self, client, api):
        api.answers["GET", "/api/v4/projects/7/repository/archive"] = [b"a" * 5000, b"b" * 5000]
        api.failures = 1
        pieces = io.BytesIO()
        project = client.projects.get(7, lazy=True)
        project.repository_archive(streamed=True, action=pieces.write)
        assert pieces.getvalue() == b"a" * 5000 + b"b" * 5000

    def test_upload_that_can_be_sent_once(self, client, api):
        api.answers["POST", "/api/v4/projects/7/uploads"] = (201, {"url": "/u", "markdown": "m", "alt": "a"})
        project = client.projects.get(7, lazy=True)
        assert project.upload("a.txt", filedata="text")["url"] == "/u"
        assert b"text" in api.seen[0].body

    def test_its_errors_stay(self, client, api):
        with pytest.raises(gitlab.GitlabGetError) as caught:
            client.projects.get(7)
        assert caught.value.response_code == 404
        api.failures = 3
        with pytest.raises(gitlab.GitlabGetError, match="busy") as caught:
            client.projects.get(7)
        assert caught.value.response_code == 503
        assert len(api.seen) == 4


class TestGoogle:
    @pytest.fixture
    def client(self, api, session, quick):
        """Return an authorized session that has to fetch its token first, through a resilient session too."""
        api.answers["POST", "/token"] = {"access_token": "fresh", "expires_in": 3600, "token_type": "Bearer"}
        api.answers["GET", "/thing"] = {"id": 7}
        credentials = google.oauth2.credentials.Credentials(
            None, refresh_token="r", token_uri=api.url + "/token", client_id="c", client_secret="s"
        )
        with AuthorizedSession(credentials, auth_request=Request(polvo.install(session, **quick))) as client:
            client.trust_env = False
            yield client

    @pytest.mark.parametrize("how", ["install", "install with a deadline", "mount"])
    def test_token_and_call(self, client, api, quick, how):
        if how == "mount":
            client.mount(api.url, polvo.ResilientAdapter(**quick))
        else:
            polvo.install(client, deadline=20 if "deadline" in how else None, **quick)
        api.failures = 1
        assert client.get(api.url + "/thing").json() == {"id": 7}
        api.failures = 1
        response = client.get(api.url + "/thing")
        assert [attempt.status for attempt in response.polvo.attempts] == [503, 200]
        assert api.log == [
            ("POST", "/token", 503),
            ("POST", "/token", 200),
            ("GET", "/thing", 200),
            ("GET", "/thing", 503),
            ("GET", "/thing", 200),
        ]
        assert api.seen[-1].headers["Authorization"] == "Bearer fresh"

    def test_refused_token_is_refreshed(self, client, api, quick):
        polvo.install(client, **quick)
        client.credentials.token = "stale"
        api.failures, api.refusal = 1, (401, {})
        assert client.get(api.url + "/thing").ok
        assert [(path, status) for _, path, status in api.log] == [("/thing", 401), ("/token", 200), ("/thing", 200)]

    def test_uninstall(self, client, quick):
        before = dict(client.adapters)
        assert polvo.uninstall(polvo.install(client, **quick)).adapters == before


class TestDocker:
    """The client is itself a Session, with an adapter of its own for the UNIX socket of the daemon."""

    @pytest.fixture
    def daemon(self, tmp_path):
        with StandIn(str(tmp_path / "docker.sock")) as running:
            running.answers["GET", "/v1.44/_ping"] = b"OK"
            running.answers["GET", "/v1.44/version"] = {"ApiVersion": "1.44"}
            yield running

    @pytest.fixture
    def client(self, daemon, tmp_path):
        client = docker.APIClient(f"unix://{tmp_path}/docker.sock", version="1.44", timeout=10)
        with client:
            yield client

    @DEADLINES
    def test_read(self, client, daemon, quick, deadline):
        adapter = client.get_adapter("http+docker://localhost")
        assert type(adapter) is UnixHTTPAdapter
        polvo.install(client, deadline=deadline, **quick)
        daemon.failures = 2
        assert client.version()["ApiVersion"] == "1.44"
        assert daemon.log == [("GET", "/v1.44/version", status) for status in (503, 503, 200)]
        assert client.ping()
        polvo.uninstall(client)
        assert list(client.adapters.values()) == [adapter]
        assert client.get_adapter("http+docker://localhost") is adapter
        daemon.failures = 1
        with pytest.raises(docker.errors.APIError, match="busy"):
            client.ping()

    @DEADLINES
    def test_uninstall_leaves_nothing_in_the_pools(self, client, daemon, quick, deadline):
        adapter = client.get_adapter("http+docker://localhost")
        client.ping()
        pools = [adapter.pools[key] for key in adapter.pools.keys()]  # noqa: SIM118 - no iteration over this one
        before = [set(vars(pool)) for pool in pools]
        polvo.install(client, deadline=deadline, **quick)
        client.ping()
        polvo.uninstall(client)
        assert [set(vars(pool)) for pool in pools] == before

    @DEADLINES
    def test_write(self, client, daemon, quick, deadline):
        polvo.install(client, deadline=deadline, **quick)
        daemon.answers["POST", "/v1.44/containers/create"] = (201, {"Id": "c1"})
        daemon.failures = 1
        assert client.create_container("image")["Id"] == "c1"
        assert [seen.status for seen in daemon.seen] == [503, 201]
        daemon.failures, daemon.refusal = 1, (500, {})
        with pytest.raises(docker.errors.APIError):
            client.create_container("image")
        assert len(daemon.seen) == 3

    @DEADLINES
    def test_stream_of_events(self, client, daemon, quick, deadline):
        polvo.install(client, deadline=deadline, **quick)
        daemon.answers["GET", "/v1.44/events"] = [b'{"id": 1}\n', b'{"id": 2}\n']
        daemon.failures = 1
        assert list(client.events(decode=True)) == [{"id": 1}, {"id": 2}]

    @DEADLINES
    def test_logs(self, client, daemon, quick, deadline):
        polvo.install(client, deadline=deadline, **quick)
        daemon.answers["GET", "/v1.44/containers/c1/json"] = {"Config": {"Tty": False}}
        daemon.answers["GET", "/v1.44/containers/c1/logs"] = [frame(1, b"one\n"), frame(2, b"two\n")]
        assert client.logs("c1") == b"one\ntwo\n"
        assert list(client.logs("c1", stream=True)) == [b"one\n", b"two\n"]

    @DEADLINES
    def test_exec_takes_over_the_socket(self, client, daemon, quick, deadline):
        polvo.install(client, deadline=deadline, **quick)
        daemon.answers["POST", "/v1.44/exec/e1/start"] = (101, frame(1, b"one\n") + frame(2, b"two\n"))
        assert client.exec_start("e1", demux=True) == (b"one\n", b"two\n")

    @DEADLINES
    def test_daemon_that_hangs_up(self, client, daemon, quick, deadline):
        polvo.install(client, deadline=deadline, **quick)
        daemon.failures, daemon.refusal = 1, (0, {})
        assert client.ping()
        daemon.failures = 3
        with pytest.raises(requests.ConnectionError) as caught:
            client.ping()
        assert len(caught.value.polvo.attempts) == 3

    @DEADLINES
    def test_no_daemon(self, tmp_path, quick, deadline):
        with docker.APIClient(f"unix://{tmp_path}/nobody.sock", version="1.44") as client:
            polvo.install(client, deadline=deadline, **quick)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ResourceWarning)  # its connections forget a socket that fails
                assert len(failure(client.ping).polvo.attempts) == 3
                gc.collect()


def failure(function):
    """Return what a call raises, without the traceback that would keep its sockets alive."""
    try:
        function()
    except requests.ConnectionError as error:
        return error.with_traceback(None)
    return None


def frame(stream, data):
    """Return a piece of output as the daemon frames it."""
    return struct.pack(">BxxxL", stream, len(data)) + data
