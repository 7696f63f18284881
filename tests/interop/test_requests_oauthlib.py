"""requests-oauthlib above the adapters: signatures that servers accept once, and tokens that it refreshes by itself."""

from __future__ import annotations

import pickle
import re
import time
from urllib.parse import parse_qsl

import pytest
import requests
from oauthlib.oauth2 import BackendApplicationClient, WebApplicationClient
from requests_oauthlib import OAuth1, OAuth1Session, OAuth2Session
from stand_in import StandIn

import polvo_adapters as polvo
import polvo_adapters.requests
from polvo_adapters.errors import ConfigurationError

THING = {"id": 7}
WAYS = (
    "mount, signed",
    "mount, signed for the call",
    "install",
    "install, signed",
    "Session",
    "drop-in",
    "OAuth1Session",
)
"""Ways in by which every attempt has a signature of its own."""


@pytest.fixture(autouse=True)
def insecure(monkeypatch):
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")


@pytest.fixture
def api():
    with StrictStandIn() as running:
        running.answers["GET", "/thing"] = running.answers["POST", "/thing"] = THING
        yield running


class StrictStandIn(StandIn):
    """Refuses a nonce that it has seen, as RFC 5849 section 3.3 wants it."""

    def choose(self, method, path):
        signatures = self.signatures()
        nonces = [nonce for nonce, *_ in signatures]
        return super().choose(method, path) if len(set(nonces)) == len(nonces) else (401, {}, {"message": "nonce used"})

    def signatures(self):
        """Return nonce, date and signature of each request."""
        texts = [f"{seen.headers.get('Authorization', '')}{seen.query}{seen.body.decode()}" for seen in self.seen]
        pattern = r'oauth_{}=\"?([^",&]+)'
        names = ("nonce", "timestamp", "signature")
        found = [[re.search(pattern.format(name), text) for name in names] for text in texts if "oauth_nonce" in text]
        return [tuple(each[1] for each in one) for one in found]


def oauth1(**keywords):
    return OAuth1("key", "secret", "token", "token secret", **keywords)


def open_session(way, api, auth, **keywords):
    """Return a session by one of WAYS, and the keywords of its calls."""
    session = OAuth1Session("key", "secret", "token", "token secret") if way == "OAuth1Session" else requests.Session()
    if way.startswith("mount"):
        session.mount(api.url, polvo.ResilientAdapter(**keywords))
    elif way == "Session":
        session = polvo.Session(**keywords)
    elif way == "drop-in":
        session = polvo_adapters.requests.Session()
    else:
        polvo.install(session, **keywords)
    if way == "mount, signed for the call":
        return session, {"auth": polvo.auth.signed(auth)}
    if way != "OAuth1Session":
        session.auth = polvo.auth.signed(auth) if "signed" in way else auth
    return session, {}


class TestOAuth1:
    @pytest.mark.parametrize("way", WAYS)
    def test_each_attempt_is_signed_anew(self, api, way, quick):
        session, keywords = open_session(way, api, oauth1(), **quick)
        api.failures = 2
        with session:
            response = session.get(api.url + "/thing", **keywords)
        assert [seen.status for seen in api.seen] == [503, 503, 200]
        assert response.json() == THING
        assert len(set(api.signatures())) == len(api.signatures()) == 3
        assert len({seen.headers["Host"] for seen in api.seen}) == 1

    @pytest.mark.parametrize("place", ["AUTH_HEADER", "QUERY", "BODY"])
    def test_wherever_the_signature_stands(self, api, place, quick):
        session, keywords = open_session("install, signed", api, oauth1(signature_type=place), **quick)
        api.failures = 1
        response = session.post(api.url + "/thing", data={"a": "b"}, **keywords)
        assert response.json() == THING
        assert len(set(api.signatures())) == len(api.signatures()) == 2
        whole = [seen.query + seen.body.decode() for seen in api.seen]
        assert {text.count("oauth_nonce") for text in whole} == ({0} if place == "AUTH_HEADER" else {1})
        assert {text.count("a=b") for text in whole} == {1}

    def test_headers_of_policies_stay(self, api, quick):
        session, _ = open_session("install, signed", api, oauth1(), idempotency=True, **quick)
        api.failures = 1
        assert session.post(api.url + "/thing", data={"a": "b"}).json() == THING
        assert len({seen.headers["Idempotency-Key"] for seen in api.seen} - {None}) == 1

    @pytest.mark.parametrize("way", ["mount", "another auth"])
    def test_a_nonce_is_not_sent_twice(self, api, way, quick):
        """Where no auth object is known that signed, the answer of the server is returned, as without this package."""
        session = requests.Session()
        session.mount(api.url, polvo.ResilientAdapter(**quick))
        if way == "another auth":
            polvo.install(session, **quick)
            session.auth = OAuth1("other key", "secret")
        api.failures = 1
        response = session.get(api.url + "/thing", auth=oauth1())
        assert (response.status_code, len(api.seen)) == (503, 1)
        assert "polvo.auth.signed" in response.polvo.note

    def test_a_request_that_was_not_sent_may_be_repeated(self, quick):
        session = requests.Session()
        session.mount("http://", polvo.ResilientAdapter(**quick))
        with pytest.raises(requests.ConnectionError) as caught:
            session.get("http://127.0.0.1:1/", auth=oauth1())
        assert len(caught.value.polvo.attempts) == 3

    def test_each_copy_of_a_hedge_is_signed_anew(self, api):
        session, _ = open_session("install, signed", api, oauth1(), hedge={"delay": 0.01}, retry=False)
        api.delay = 0.1
        assert session.get(api.url + "/thing").json() == THING
        assert len(set(api.signatures())) == len(api.signatures()) == 2

    def test_no_secret_is_pickled(self, api, quick):
        session, _ = open_session("install, signed", api, oauth1(), **quick)
        response = session.get(api.url + "/thing")
        copy = pickle.loads(pickle.dumps(response))
        assert copy.json() == THING
        assert b"token secret" not in pickle.dumps(response)


class TestFromSession:
    """A session hands its token, its way to refresh and its updater over to an OAuth2 of this package."""

    @pytest.fixture
    def connect(self, api):
        api.answers["POST", "/token"] = {
            "access_token": "new",
            "refresh_token": "r2",
            "token_type": "Bearer",
            "expires_in": 3600,
            "scope": "a b",
            "more": 1,
        }

        def connect(keywords=None, expires_in=3600.0, hook=None, **settings):
            saved = []
            token = {"access_token": "old", "refresh_token": "r1", "token_type": "Bearer", "scope": ["a"]}
            token.update(expires_in=3600, expires_at=time.time() + expires_in)
            given = {"token": token, "auto_refresh_url": api.url + "/token", "token_updater": saved.append, **settings}
            session = OAuth2Session("client", **given)
            if hook is not None:
                session.register_compliance_hook(hook, lambda *args: args)
            return polvo.auth.OAuth2.from_session(session, **(keywords or {})), saved

        return connect

    def authorizations(self, api):
        return [seen.headers.get("Authorization") for seen in api.seen if seen.path == "/thing"]

    def forms(self, api):
        return [dict(parse_qsl(seen.body.decode())) for seen in api.seen if seen.path == "/token"]

    def test_a_token_that_is_valid_is_sent(self, connect, api):
        auth, saved = connect()
        assert requests.get(api.url + "/thing", auth=auth, timeout=5).json() == THING
        assert (self.authorizations(api), self.forms(api), saved) == (["Bearer old"], [], [])

    @pytest.mark.parametrize("seconds", [-3000.0, -1.0, 0.0])
    def test_one_that_has_expired_is_refreshed_once_and_handed_to_the_updater(self, connect, api, seconds):
        auth, saved = connect(expires_in=seconds)
        for _ in range(3):
            assert requests.get(api.url + "/thing", auth=auth, timeout=5).json() == THING
        assert self.authorizations(api) == ["Bearer new"] * 3
        (form,) = self.forms(api)
        assert form["refresh_token"] == "r1"
        assert form["client_id"] == "client"
        (token,) = saved
        assert 3590 < token.pop("expires_at") - time.time() < 3610
        assert token == {**api.answers["POST", "/token"], "scope": ["a", "b"]}

    def test_the_updater_gets_what_makes_the_next_session(self, connect, api):
        auth, saved = connect(expires_in=0)
        auth.token()
        later, _ = connect(token=saved[0])
        assert requests.get(api.url + "/thing", auth=later, timeout=5).json() == THING
        assert (self.authorizations(api), len(self.forms(api))) == (["Bearer new"], 1)

    def test_the_client_authenticates_as_before(self, connect, api):
        extra = {"client_id": "other", "client_secret": "s", "audience": "x"}
        auth, _ = connect(expires_in=0, auto_refresh_kwargs=extra)
        auth.token()
        (form,) = self.forms(api)
        assert {**form, **extra} == form
        assert "Authorization" not in next(seen for seen in api.seen if seen.path == "/token").headers

    def test_keywords_come_first(self, connect, api):
        auth, _ = connect({"client_secret": "s"}, expires_in=0)
        auth.token()
        assert next(seen for seen in api.seen if seen.path == "/token").headers["Authorization"].startswith("Basic ")

    def test_a_refused_token_is_refreshed(self, connect, api):
        auth, saved = connect()
        api.failures, api.refusal = 1, (401, {})
        assert requests.get(api.url + "/thing", auth=auth, timeout=5).json() == THING
        assert (self.authorizations(api), len(saved)) == (["Bearer old", "Bearer new"], 1)

    def test_an_updater_that_fails_costs_nothing(self, connect, api, caplog):
        def fail(token):
            raise KeyError(str(token))

        auth, _ = connect(expires_in=0, token_updater=fail)
        assert requests.get(api.url + "/thing", auth=auth, timeout=5).json() == THING
        assert "token_updater raised KeyError" in caplog.text
        assert "r2" not in caplog.text

    def test_a_token_cache_has_the_later_token(self, connect, api, tmp_path):
        first, _ = connect({"token_cache": tmp_path / "tokens"}, expires_in=0)
        first.token()
        second, _ = connect({"token_cache": tmp_path / "tokens"}, expires_in=0)
        assert second.token().access_token == "new"
        assert len(self.forms(api)) == 1

    def test_a_client_without_a_user(self, connect, api):
        client = BackendApplicationClient("client")
        auth, _ = connect({"client_secret": "s"}, client=client, token={"access_token": "old", "expires_at": 1})
        assert requests.get(api.url + "/thing", auth=auth, timeout=5).json() == THING
        assert [form["grant_type"] for form in self.forms(api)] == ["client_credentials"]

    @pytest.mark.parametrize(
        "settings",
        [
            {"auto_refresh_url": None},
            {"token": {"access_token": "old"}},
            {"client": WebApplicationClient("client", default_token_placement="query")},
            *({"hook": name} for name in ("refresh_token_request", "refresh_token_response", "protected_request")),
        ],
    )
    def test_what_cannot_be_taken_over_is_refused(self, connect, settings):
        with pytest.raises(ConfigurationError):
            connect(**settings)

    def test_another_session_is_refused(self):
        with pytest.raises(ConfigurationError, match="expected an OAuth2Session"):
            polvo.auth.OAuth2.from_session(requests.Session())


class TestOAuth2Session:
    @pytest.fixture(params=["mount", "install"])
    def connect(self, request, api, quick):
        """Return a function that makes a session with a token, resilient in one way or the other."""
        api.answers["POST", "/token"] = {"access_token": "new", "token_type": "Bearer", "expires_in": 3600}

        def connect(**token):
            saved = []
            session = OAuth2Session(
                "client",
                token={"access_token": "old", "refresh_token": "r", "token_type": "Bearer", **token},
                auto_refresh_url=api.url + "/token",
                token_updater=saved.append,
            )
            if request.param == "mount":
                session.mount(api.url, polvo.ResilientAdapter(**quick))
            else:
                polvo.install(session, **quick)
            return session, saved

        return connect

    def test_it_refreshes_an_expired_token(self, connect, api):
        session, saved = connect(expires_at=time.time() - 10, expires_in=-10)
        api.failures = 1
        assert session.get(api.url + "/thing").json() == THING
        assert [(path, status) for _, path, status in api.log] == [("/token", 503), ("/token", 200), ("/thing", 200)]
        assert [token["access_token"] for token in saved] == ["new"]
        assert api.seen[-1].headers["Authorization"] == "Bearer new"

    def test_a_token_is_not_asked_for_twice(self, connect, api):
        """The server may have issued one, and taken back the refresh token, where its answer was lost."""
        session, saved = connect(expires_at=time.time() - 10, expires_in=-10)
        api.failures, api.refusal = 1, (0, {})
        with pytest.raises(requests.ConnectionError):
            session.get(api.url + "/thing")
        assert (len(api.seen), saved) == (1, [])

    def test_retries(self, connect, api):
        session, _ = connect(expires_in=3600)
        api.failures = 2
        assert session.get(api.url + "/thing").json() == THING
        assert {seen.headers["Authorization"] for seen in api.seen} == {"Bearer old"}

    def test_a_401_is_the_callers(self, connect, api):
        session, saved = connect(expires_in=3600)
        api.failures, api.refusal = 1, (401, {})
        assert session.get(api.url + "/thing").status_code == 401
        assert (len(api.seen), saved) == (1, [])
