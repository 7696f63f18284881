"""Libraries that replace, record or decorate transports, under and above an adapter of ours."""

from __future__ import annotations

import ssl
from datetime import timedelta
from unittest import mock

import betamax
import pytest
import requests
import requests_cache
import requests_mock
import responses
import trustme
import vcr
from requests.adapters import HTTPAdapter
from requests_toolbelt import MultipartDecoder, MultipartEncoder, MultipartEncoderMonitor, SSLAdapter
from requests_toolbelt.adapters.host_header_ssl import HostHeaderSSLAdapter
from requests_toolbelt.adapters.socket_options import TCPKeepAliveAdapter
from requests_toolbelt.adapters.source import SourceAddressAdapter
from requests_toolbelt.auth.guess import GuessAuth
from urllib3.util import Retry

import polvo_adapters as polvo
import polvo_adapters.requests as dropin
from polvo_adapters.testing import FailureServer

# betamax calls it; deprecated by Python 3.12.
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")

URL = "http://api.example.com/thing"
DEADLINES = pytest.mark.parametrize("deadline", [None, 20.0], ids=["no deadline", "deadline"])


@pytest.fixture(params=["mounted", "installed"])
def resilient(request, session, quick):
    """Return a session that retries, in both ways that there are to make one."""
    if request.param == "installed":
        return polvo.install(session, **quick)
    for prefix in session.adapters:
        session.adapters[prefix] = polvo.ResilientAdapter(**quick)
    return session


def answer(status):
    """Return a response such as a hand-made mock gives."""
    response = requests.Response()
    response.status_code, response.url, response._content = status, URL, b""
    return response


class TestResponses:
    @responses.activate
    def test_answers(self, resilient, statuses):
        responses.get(URL, json={"id": 7})
        response = resilient.get(URL)
        assert response.json() == {"id": 7}
        assert statuses(response) == [200]
        assert len(responses.calls) == 1

    @responses.activate
    def test_retries_run_through_it(self, resilient, statuses):
        responses.get(URL, status=503)
        responses.get(URL, body=requests.ConnectionError("gone"))
        responses.get(URL, json={"id": 7})
        response = resilient.get(URL)
        assert response.json() == {"id": 7}
        assert statuses(response) == [503, "disconnected", 200]
        responses.assert_call_count(URL, 3)

    @responses.activate
    def test_the_last_answer_is_returned(self, resilient):
        responses.get(URL, status=503, body="busy", headers={"Retry-After": "0"})
        response = resilient.get(URL)
        assert (response.status_code, response.text) == (503, "busy")
        responses.assert_call_count(URL, 3)

    @pytest.mark.parametrize("error", [requests.ReadTimeout("slow"), ValueError("odd"), KeyError("mine")])
    @responses.activate
    def test_exceptions_come_out_as_they_went_in(self, resilient, error):
        responses.post(URL, body=error)
        with pytest.raises(type(error)) as caught:
            resilient.post(URL)
        assert caught.value is error
        responses.assert_call_count(URL, 1)

    @responses.activate
    def test_unregistered_address(self, resilient):
        with pytest.raises(requests.ConnectionError, match="Connection refused by Responses"):
            resilient.get(URL)

    @responses.activate
    def test_passthrough_is_the_real_thing(self, resilient, failing, received, statuses):
        responses.add_passthru("http://127.0.0.1")
        response = resilient.get(failing())
        assert statuses(response) == [503, 200]
        assert received() == 2

    @responses.activate
    def test_callbacks_and_streams(self, resilient):
        seen = []
        responses.add_callback("PUT", URL, lambda request: (seen.append(request.body), (200, {}, b"x" * 9))[1])
        response = resilient.put(URL, data=b"body", stream=True)
        assert b"".join(response.iter_content(4)) == b"x" * 9
        assert seen == [b"body"]

    @responses.activate
    def test_with_a_deadline(self, session, quick, statuses):
        responses.get(URL, status=503)
        responses.get(URL, json={})
        response = polvo.install(session, deadline=20, **quick).get(URL)
        assert statuses(response) == [503, 200]

    def test_session_is_as_before(self, session, quick):
        before = dict(session.adapters)
        with responses.RequestsMock() as mocked:
            mocked.get(URL)
            polvo.install(session, **quick).get(URL)
            polvo.uninstall(session)
        assert session.adapters == before
        assert type(session.get_adapter(URL)).send is HTTPAdapter.send


class TestRequestsMock:
    """Its Mocker stands above every adapter, so no retry can run through it; its Adapter stands below."""

    @pytest.fixture
    def adapter(self, session):
        adapter = requests_mock.Adapter()
        session.mount("http://api.example.com/", adapter)
        return adapter

    def test_retries_run_through_its_adapter(self, session, adapter, quick, statuses):
        adapter.register_uri("GET", URL, [{"status_code": 503}, {"exc": requests.ReadTimeout}, {"json": {"id": 7}}])
        response = polvo.install(session, **quick).get(URL)
        assert response.json() == {"id": 7}
        assert statuses(response) == [503, "read timeout", 200]
        assert adapter.call_count == 3

    @pytest.mark.parametrize("error", [requests.ReadTimeout("slow"), ValueError("odd")])
    @pytest.mark.parametrize("deadline", [None, 20.0])
    def test_exceptions_come_out_as_they_went_in(self, session, adapter, quick, error, deadline):
        adapter.register_uri("POST", URL, exc=error)
        with pytest.raises(type(error)) as caught:
            polvo.install(session, deadline=deadline, **quick).post(URL)
        assert caught.value is error
        assert adapter.call_count == 1

    def test_no_mock_address(self, session, adapter, quick):
        polvo.install(session, **quick)
        with pytest.raises(requests_mock.NoMockAddress):
            session.get(URL)

    def test_cookies_and_streams(self, session, adapter, quick):
        adapter.register_uri("GET", URL, text="abc", cookies={"a": "1"}, headers={"Set-Cookie": "b=2; Path=/"})
        response = polvo.install(session, **quick).get(URL, stream=True)
        assert response.cookies["a"] == "1"
        assert b"".join(response.iter_content(2)) == b"abc"

    def test_uninstall_gives_its_adapter_back(self, session, adapter, quick):
        before = dict(session.adapters)
        polvo.install(session, **quick)
        assert session.get_adapter(URL) is not adapter
        polvo.uninstall(session)
        assert session.adapters == before
        assert session.get_adapter(URL) is adapter

    def test_mocker_takes_over_and_steps_back(self, resilient, failing, statuses):
        with requests_mock.Mocker() as mocker:
            mocker.get(URL, [{"status_code": 503}, {"text": "second"}])
            assert resilient.get(URL).status_code == 503
            assert resilient.get(URL).text == "second"
            mocker.get(URL, exc=requests.ConnectTimeout)
            with pytest.raises(requests.ConnectTimeout):
                resilient.get(URL)
        assert statuses(resilient.get(failing())) == [503, 200]

    def test_mocker_lets_real_requests_through(self, resilient, failing, statuses):
        with requests_mock.Mocker(real_http=True):
            assert statuses(resilient.get(failing())) == [503, 200]


class TestUnittestMock:
    @pytest.fixture(params=["Mock", "create_autospec", "subclass"])
    def adapter(self, request, session):
        adapter = {
            "Mock": lambda: mock.Mock(spec=HTTPAdapter),
            "create_autospec": lambda: mock.create_autospec(HTTPAdapter, instance=True),
            "subclass": lambda: mock.Mock(spec=TCPKeepAliveAdapter),
        }[request.param]()
        session.mount("http://", adapter)
        return adapter

    @DEADLINES
    def test_mock_in_the_place_of_an_adapter(self, session, adapter, quick, statuses, deadline):
        adapter.send.side_effect = [answer(503), requests.ReadTimeout(), answer(200)]
        polvo.install(session, deadline=deadline, **quick)
        assert statuses(session.get(URL)) == [503, "read timeout", 200]
        assert adapter.send.call_count == 3
        assert polvo.uninstall(session).adapters["http://"] is adapter

    @pytest.mark.parametrize("target", ["adapter", "class"])
    def test_patched_send(self, session, quick, statuses, target):
        polvo.install(session, **quick)
        patched = HTTPAdapter if target == "class" else session.get_adapter(URL).inner
        with mock.patch.object(patched, "send", side_effect=[answer(503), answer(200)]) as send:
            assert statuses(session.get(URL)) == [503, 200]
        assert send.call_count == 2


class Slotted(HTTPAdapter):
    """Keeps a value where `__dict__` does not show it."""

    __slots__ = ("token",)

    def __init__(self):
        super().__init__()
        self.token = "secret"

    def send(self, request, **keywords):
        request.headers["X-Token"] = self.token
        return super().send(request, **keywords)


class SetsRetries(HTTPAdapter):
    """Chooses its retries for each request."""

    def send(self, request, **keywords):
        self.max_retries = Retry(0, read=False)
        return super().send(request, **keywords)


class Registered(HTTPAdapter):
    """Wants something of each class made from it."""

    def __init_subclass__(cls, *, name, **keywords):
        super().__init_subclass__(**keywords)


class TestUnusualAdapters:
    @pytest.mark.parametrize("kind", [Slotted, SetsRetries, Registered])
    @DEADLINES
    def test_wrapped(self, session, failing, quick, statuses, kind, deadline):
        adapter = kind()
        session.mount("http://", adapter)
        assert statuses(polvo.install(session, deadline=deadline, **quick).get(failing())) == [503, 200]
        assert polvo.uninstall(session).adapters["http://"] is adapter


class TestToolbelt:
    def test_multipart_upload(self, resilient, server):
        body = MultipartEncoder({"field": "value", "file": ("a.bin", b"\x00" * 20_000, "application/octet-stream")})
        size = body.len
        response = resilient.post(server.url + "/echo", data=body, headers={"Content-Type": body.content_type})
        assert response.json()["body_length"] == size
        first, second = MultipartDecoder(server.requests[0].body, body.content_type).parts
        assert first.text == "value"
        assert set(second.content) == {0}

    @pytest.mark.parametrize("wrap", [lambda body: body, MultipartEncoderMonitor])
    def test_multipart_upload_is_not_sent_twice(self, resilient, failing, received, wrap):
        body = wrap(MultipartEncoder({"field": "value"}))
        response = resilient.put(failing(), data=body, headers={"Content-Type": body.content_type})
        assert (response.status_code, "can be read only once" in response.polvo.note) == (503, True)
        assert received() == 1

    def test_guessed_authentication_passes_the_policies(self, resilient, failing, statuses, received):
        url = failing(code=401, header="WWW-Authenticate: Basic realm=x")
        response = resilient.get(url, auth=GuessAuth("user", "secret"))
        assert [response.status_code, *(each.status_code for each in response.history)] == [200, 401]
        assert statuses(response) == [200]
        assert received() == 2

    @pytest.mark.parametrize(
        "make", [lambda: SourceAddressAdapter("127.0.0.1"), TCPKeepAliveAdapter], ids=["source", "keep-alive"]
    )
    @DEADLINES
    def test_wrapped_adapters(self, session, failing, quick, statuses, make, deadline):
        adapter = make()
        session.mount("http://", adapter)
        before = dict(session.adapters)
        response = polvo.install(session, deadline=deadline, **quick).get(failing())
        assert statuses(response) == [503, 200]
        assert session.get_adapter("http://").poolmanager is adapter.poolmanager
        polvo.uninstall(session)
        assert session.adapters == before
        assert session.get_adapter("http://") is adapter
        assert session.get(failing(times=0)).ok

    def test_source_address_is_kept(self, session, server, quick):
        session.mount("http://", SourceAddressAdapter("127.0.0.2"))
        response = polvo.install(session, **quick).get(server.url + "/echo", stream=True)
        assert response.raw.connection.sock.getsockname()[0] == "127.0.0.2"
        response.close()

    @pytest.mark.parametrize("make", [SSLAdapter, HostHeaderSSLAdapter])
    @DEADLINES
    def test_wrapped_tls_adapters(self, session, quick, statuses, tmp_path, make, deadline):
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        adapter = make()
        session.mount("https://", adapter)
        polvo.install(session, deadline=deadline, **quick)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        with FailureServer(ssl_context=context) as server:
            url = f"{server.url}/fault/status?times=1"
            headers = {"Host": "127.0.0.1"}
            assert statuses(session.get(url, verify=str(tmp_path / "ca.pem"), headers=headers)) == [503, 200]
            with pytest.raises(requests.exceptions.SSLError):  # nobody else trusts this authority
                session.get(url, headers=headers)
        assert polvo.uninstall(session).adapters["https://"] is adapter


class TestRequestsCache:
    @pytest.fixture
    def cached(self):
        with requests_cache.CachedSession(backend="memory", allowable_codes=(200,)) as opened:
            opened.trust_env = False
            yield opened

    @DEADLINES
    def test_retries_happen_below_the_cache(self, cached, failing, received, quick, statuses, deadline):
        polvo.install(cached, deadline=deadline, **quick)
        url = failing()
        first = cached.get(url)
        assert (first.from_cache, statuses(first), received()) == (False, [503, 200], 2)
        second = cached.get(url)
        assert (second.from_cache, received()) == (True, 2)
        assert second.json() == first.json()

    def test_what_fails_is_not_cached(self, cached, failing, received, quick):
        polvo.install(cached, **quick)
        url = failing(times=3)
        assert cached.get(url).status_code == 503
        assert cached.get(url).status_code == 200
        assert received() == 4

    def test_stale_answer_where_all_attempts_fail(self, cached, failing, received, quick):
        cached.settings.stale_if_error = True
        polvo.install(cached, **quick)
        url = failing(times=3, after=1)
        assert not cached.get(url).from_cache
        cached.cache.reset_expiration(timedelta(minutes=-1))
        assert cached.get(url).from_cache
        assert received() == 4

    def test_elapsed_survives_the_change_of_class(self, cached, server, quick):
        polvo.install(cached, **quick)
        first, second = (cached.get(server.url + "/echo") for _ in range(2))
        assert second.from_cache
        assert first.elapsed.total_seconds() > 0
        assert second.elapsed == first.elapsed

    def test_streamed_answers_are_cached(self, cached, server, received, quick):
        polvo.install(cached, **quick)
        url = server.url + "/echo?size=100000"
        for _ in range(2):
            with cached.get(url, stream=True) as response:
                assert sum(map(len, response.iter_content(4096))) == 100_000
        assert received() == 1

    def test_uninstall(self, cached, quick):
        before = dict(cached.adapters)
        assert polvo.uninstall(polvo.install(cached, **quick)).adapters == before


class TestBetamax:
    def test_below_it_the_cassette_holds_what_the_caller_got(self, resilient, failing, received, tmp_path):
        url = failing()
        before = dict(resilient.adapters)
        answers = [self.get(resilient, url, tmp_path) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [200, 200]
        assert answers[0].json() == answers[1].json()
        assert received() == 2
        assert resilient.adapters == before

    @DEADLINES
    def test_above_it_the_cassette_holds_every_attempt(
        self, session, failing, received, quick, statuses, tmp_path, deadline
    ):
        url = failing()
        for _ in range(2):
            with betamax.Betamax(session, cassette_library_dir=str(tmp_path)).use_cassette("tape") as recorder:
                inner = dict(session.adapters)
                polvo.install(session, deadline=deadline, **quick)
                response = session.get(url)
                assert polvo.uninstall(session).adapters == inner
                assert len(recorder.current_cassette.interactions) == 2
            assert statuses(response) == [503, 200]
            assert response.json()["method"] == "GET"
        assert received() == 2

    def test_its_exception_comes_out_as_it_went_in(self, session, server, quick, tmp_path):
        with betamax.Betamax(session, cassette_library_dir=str(tmp_path)).use_cassette("tape", record="new_episodes"):
            session.get(server.url + "/echo")
        recorder = betamax.Betamax(session, cassette_library_dir=str(tmp_path)).use_cassette("tape", record="none")
        with recorder, pytest.raises(betamax.BetamaxError, match="could not be handled"):
            polvo.install(session, **quick).get(server.url + "/health")

    @staticmethod
    def get(session, url, folder):
        with betamax.Betamax(session, cassette_library_dir=str(folder)).use_cassette("tape"):
            return session.get(url)


class TestVcr:
    @pytest.fixture(params=[None, 20.0], ids=["no deadline", "deadline"])
    def resilient(self, request, session, quick):
        return polvo.install(session, deadline=request.param, **quick)

    def test_record_and_replay(self, resilient, failing, received, statuses, tmp_path):
        url = failing()
        for _ in range(2):
            with vcr.use_cassette(tmp_path / "tape.yaml") as cassette:
                response = resilient.get(url)
            assert statuses(response) == [503, 200]
            assert response.json()["method"] == "GET"
            assert len(cassette) == 2
            assert received() == 2

    @pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # vcrpy drops the old connection without closing it
    def test_connections_from_before_are_recorded_too(self, resilient, server, failing, received, tmp_path):
        resilient.get(server.url + "/echo")
        url = failing()
        for _ in range(2):
            with vcr.use_cassette(tmp_path / "tape.yaml") as cassette:
                resilient.get(url)
            assert len(cassette) == 2
            assert received() == 3

    def test_the_network_is_back_afterwards(self, resilient, server, failing, received, statuses, tmp_path):
        with vcr.use_cassette(tmp_path / "tape.yaml"):
            resilient.get(server.url + "/echo")
        assert statuses(resilient.get(failing())) == [503, 200]
        assert received() == 3

    def test_one_tape_after_the_other(self, resilient, server, received, tmp_path):
        for _ in range(2):
            for name in ("a", "b"):
                with vcr.use_cassette(tmp_path / f"{name}.yaml") as cassette:
                    resilient.get(f"{server.url}/echo?tape={name}")
                assert [request.query for request in cassette.requests] == [[("tape", name)]]
        assert received() == 2

    def test_uploads_and_streams(self, resilient, server, received, tmp_path):
        for _ in range(2):
            with vcr.use_cassette(tmp_path / "tape.yaml"):
                response = resilient.put(server.url + "/echo", data=b"x" * 1000, stream=True)
                assert b'"body_length": 1000' in b"".join(response.iter_content(7))
        assert received() == 1

    def test_its_exception_comes_out_as_it_went_in(self, resilient, server, tmp_path):
        tape = vcr.use_cassette(tmp_path / "tape.yaml", record_mode="none")
        with tape, pytest.raises(vcr.errors.CannotOverwriteExistingCassetteException) as caught:
            resilient.get(server.url + "/echo")
        assert len(caught.value.polvo.attempts) == 1

    def test_uninstall_in_the_middle(self, session, server, received, quick, tmp_path):
        before = dict(session.adapters)
        for _ in range(2):
            with vcr.use_cassette(tmp_path / "tape.yaml"):
                polvo.install(session, deadline=20, **quick).get(server.url + "/echo")
                assert polvo.uninstall(session).adapters == before
                assert session.get(server.url + "/health").ok
        assert received() == 1


class TestDropIn:
    """What stands in for servers stands in for those of the drop-in too."""

    CALLS = pytest.mark.parametrize(
        "get", [lambda url: dropin.get(url), lambda url: dropin.Session().get(url)], ids=["verb", "session"]
    )

    @CALLS
    @responses.activate
    def test_responses(self, get, statuses):
        responses.get(URL, status=503, headers={"Retry-After": "0"})
        responses.get(URL, json={"id": 7})
        response = get(URL)
        assert (type(response), response.json()) == (requests.Response, {"id": 7})
        assert statuses(response) == [503, 200]

    @CALLS
    def test_requests_mock(self, get):
        with requests_mock.Mocker() as mocked:
            mocked.get(URL, json={"id": 7})
            assert get(URL).json() == {"id": 7}
            assert mocked.call_count == 1
            with pytest.raises(requests_mock.exceptions.NoMockAddress):
                get("http://api.example.com/other")
        with requests_mock.Mocker(session=(session := dropin.Session())) as mocked:
            mocked.get(URL, text="one session")
            assert session.get(URL).text == "one session"

    @CALLS
    def test_vcr(self, get, failing, received, statuses, tmp_path):
        url = failing(retry_after=0.01)
        for _ in range(2):
            with vcr.use_cassette(tmp_path / "tape.yaml"):
                assert statuses(get(url)) == [503, 200]
            assert received() == 2

    def test_betamax(self, server, received, tmp_path):
        for _ in range(2):
            session = dropin.Session()
            with betamax.Betamax(session, cassette_library_dir=str(tmp_path)).use_cassette("tape"):
                assert session.get(server.url + "/echo").status_code == 200
        assert received() == 1

    @CALLS
    def test_requests_cache(self, get, failing, received, tmp_path):
        requests_cache.install_cache(str(tmp_path / "cache"), backend="memory")
        try:
            url = failing(times=0)
            assert [get(url).from_cache for _ in range(2)] == [False, True]
            assert received() == 1
        finally:
            requests_cache.uninstall_cache()
        assert not hasattr(get(url), "from_cache")
