"""401: a refused token is replaced once, the request sent again if possible, and the server not asked for ever."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter

import polvo_adapters as polvo
from polvo_adapters.auth import JWTLogin, OAuth2
from polvo_adapters.errors import AuthenticationError, TokenRefreshError
from polvo_adapters.stores.memory import MemoryStore
from polvo_adapters.testing.virtual_clock import VirtualClock
from tests.support.listening_server import Asked, Listening, Reply
from tests.support.oauth.authlib_server import AuthlibServer
from tests.support.oauth.jwt_server import JWTServer
from tests.support.session_kinds import SESSIONS

BODY = b"what is sent" * 1000


def oauth(server: Any, **keywords: Any) -> OAuth2:
    return OAuth2(client_id="cc", client_secret="cc-secret", token_url=server.token_url, **keywords)


@pytest.fixture(params=SESSIONS)
def session(request: pytest.FixtureRequest) -> Iterator[requests.Session]:
    with SESSIONS[request.param]() as session:
        yield session


@pytest.fixture(params=["oidc", "authlib_server"])
def server(request: pytest.FixtureRequest) -> Any:
    """Return each of the two authorization servers."""
    return request.getfixturevalue(request.param)


# ------------------------------------------------------------------------------------------ replays


def test_a_revoked_token_is_replaced_and_nobody_notices(server: Any, session: requests.Session) -> None:
    session.auth = oauth(server)
    assert session.get(server.api_url).status_code == 200
    server.revoke()
    response = session.get(f"{server.api_url}/below?a=1")
    assert response.status_code == 200
    assert response.json()["path"] == "/api/below"
    assert [each.status_code for each in response.history] == [401]
    assert isinstance(response.history[0].text, str)
    counts = server.counts()
    assert (counts["token"], counts["api"], counts["api_401"]) == (2, 3, 1)
    assert session.get(server.api_url).history == []


def stream_at(place: int) -> io.BytesIO:
    stream = io.BytesIO(b"not this" + BODY)
    stream.seek(place)
    return stream


BODIES: dict[str, tuple[Callable[[Path], Any], bytes]] = {
    "bytes": (lambda folder: BODY, BODY),
    "text": (lambda folder: BODY.decode(), BODY),
    "form": (lambda folder: {"a": "1 2"}, b"a=1+2"),
    "file": (lambda folder: (folder / "body").open("rb"), BODY),
    "stream-at-its-beginning": (lambda folder: io.BytesIO(BODY), BODY),
    "stream-at-an-offset": (lambda folder: stream_at(8), BODY),
    "empty": (lambda folder: b"", b""),
}


@pytest.mark.parametrize("kind", BODIES)
def test_a_body_is_sent_again_whole(
    authlib_server: AuthlibServer, session: requests.Session, kind: str, tmp_path: Path
) -> None:
    (tmp_path / "body").write_bytes(BODY)
    session.auth = oauth(authlib_server)
    session.get(authlib_server.api_url)
    authlib_server.revoke()
    make, expected = BODIES[kind]
    body = make(tmp_path)
    try:
        response = session.post(authlib_server.api_url, data=body)
    finally:
        if hasattr(body, "close"):
            body.close()
    assert response.status_code == 200
    assert response.json()["body"].encode() == expected
    assert response.request.headers.get("Content-Length") == str(len(expected))
    assert authlib_server.counts()["api_401"] == 1


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
def test_every_method_is_sent_again(authlib_server: AuthlibServer, method: str) -> None:
    """401 says that nothing was done, so that it is safe even where the method is not."""
    with polvo.Session(auth=oauth(authlib_server)) as session:
        session.get(authlib_server.api_url)
        authlib_server.revoke()
        response = session.request(method, authlib_server.api_url, json={"a": 1})
    assert (response.status_code, response.json()["method"]) == (200, method)


class Once(io.RawIOBase):
    """A body that cannot be read twice."""

    def __init__(self) -> None:
        self._left = BODY

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        part, self._left = self._left[:size], self._left[size:]
        return part


@pytest.mark.parametrize("make", [lambda: (part for part in [b"one", b"two"]), Once], ids=["generator", "pipe"])
def test_a_body_that_is_gone_brings_the_401_back_and_the_next_call_refreshes(
    authlib_server: AuthlibServer, session: requests.Session, make: Any
) -> None:
    session.auth = oauth(authlib_server)
    session.get(authlib_server.api_url)
    authlib_server.revoke()
    response = session.post(authlib_server.api_url, data=make())
    assert (response.status_code, response.history) == (401, [])
    assert authlib_server.counts()["token"] == 1
    again = session.post(authlib_server.api_url, data=make())
    assert (again.status_code, again.history) == (200, [])
    assert authlib_server.counts()["token"] == 2


def test_a_login_is_refreshed_as_well(jwt_server: JWTServer, session: requests.Session) -> None:
    session.auth = JWTLogin(
        jwt_server.login_url, "alice", "alice-password", refresh_url=jwt_server.refresh_url, background=False
    )
    assert session.get(jwt_server.api_url).json()["subject"] == "alice"
    jwt_server.revoke()
    assert session.post(jwt_server.api_url, data=BODY).json()["body"].encode() == BODY
    assert jwt_server.counts()["by_grant"] == {"login": 1, "refresh": 1}
    jwt_server.revoke(refresh=True)
    assert session.get(jwt_server.api_url).status_code == 200
    assert jwt_server.counts()["by_grant"] == {"login": 2, "refresh": 2}


# ------------------------------------------------------------------------------------------ bounds


class Place:
    """An authorization server that numbers its tokens, and an API that takes those that it is told to."""

    def __init__(self, listening: Listening) -> None:
        self.listening = listening
        self.token_url, self.api_url = f"{listening.url}/token", f"{listening.url}/api"
        self.issued, self.good = 0, ("1", "2", "3")
        self.answers: dict[str, Any] = {}
        listening.routes["/token"] = self._token
        listening.routes["/api"] = self._api

    def _token(self, asked: Asked) -> Reply:
        self.issued += 1
        return Reply({"access_token": f"token-{self.issued}", "token_type": "Bearer", "expires_in": 3600})

    def _api(self, asked: Asked) -> Reply:
        number = asked.headers.get("authorization", "").removeprefix("Bearer token-")
        cookies = (("Set-Cookie", f"seen{number or 0}=yes; Path=/"),)
        return Reply({"number": number, **self.answers}, 200 if number in self.good else 401, cookies)

    def calls(self, path: str = "/api") -> int:
        return [asked.path for asked in self.listening.asked].count(path)

    def authorizations(self) -> list[str]:
        asked = [asked for asked in self.listening.asked if asked.path == "/api"]
        return [each.headers.get("authorization", "").removeprefix("Bearer token-") for each in asked]


@pytest.fixture
def place() -> Iterator[Place]:
    with Listening() as listening:
        yield Place(listening)


def test_an_api_that_always_answers_401_is_asked_twice_at_most(place: Place, session: requests.Session) -> None:
    place.good = ()
    session.auth = oauth(place)
    before = (0, 0)
    for _ in range(50):
        response = session.get(place.api_url)
        assert response.status_code == 401
        calls, refreshes = place.calls(), place.calls("/token")
        assert calls - before[0] <= 2
        assert refreshes - before[1] <= 1 + (before == (0, 0))
        before = (calls, refreshes)
    assert refreshes == 2, "a refusal that goes on with a new token is an answer"
    assert isinstance(response, requests.Response)


def test_refreshes_stay_bounded_however_long_it_goes_on(place: Place, clock: VirtualClock) -> None:
    place.good = ()
    auth = oauth(place, clock=clock, background=False)
    with requests.Session() as session:
        session.auth = auth
        for _ in range(120):
            session.get(place.api_url)
            clock.sleep(1.0)
    assert place.calls("/token") == 2
    clock.sleep(3700.0)
    with requests.Session() as session:
        session.get(place.api_url, auth=auth)
        assert place.calls("/token") == 4, "for a token of a new hour it is tried once more"


def test_refreshes_are_bounded_across_objects_that_share_a_store(place: Place) -> None:
    place.good, store = (), MemoryStore()
    for _ in range(20):
        with requests.Session() as session:
            session.auth = oauth(place, token_cache=store)
            session.get(place.api_url)
    assert place.calls("/token") <= 5


def test_a_token_that_somebody_else_refreshed_is_used_without_a_refresh(place: Place) -> None:
    store = MemoryStore()
    one, other = oauth(place, token_cache=store), oauth(place, token_cache=store)
    with requests.Session() as session:
        for auth in (one, other):
            assert session.get(place.api_url, auth=auth).status_code == 200
        place.good = ("2",)
        assert session.get(place.api_url, auth=one).json()["number"] == "2"
        response = session.get(place.api_url, auth=other)
    assert response.json()["number"] == "2"
    assert [each.status_code for each in response.history] == [401]
    assert place.issued == 2
    assert place.authorizations() == ["1", "1", "1", "2", "1", "2"]


def test_of_many_who_are_refused_together_one_refreshes(place: Place) -> None:
    auth, gate, got = oauth(place), threading.Barrier(8), []
    with requests.Session() as session:
        session.get(place.api_url, auth=auth)
    place.good = ("2",)

    def call() -> None:
        with requests.Session() as own:
            gate.wait(10)
            got.append(own.get(place.api_url, auth=auth).json()["number"])

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert got == ["2"] * 8
    assert place.issued == 2


def test_a_token_that_is_not_ours_is_not_refreshed(place: Place) -> None:
    """A hook of the user's, or a proxy, has put another in its place: what was refused is not what we hold."""

    def replaced(request: requests.PreparedRequest) -> requests.PreparedRequest:
        auth(request)
        request.headers["Authorization"] = "Bearer of-somebody-else"
        return request

    auth = oauth(place)
    with requests.Session() as session:
        assert session.get(place.api_url, auth=replaced).status_code == 401
    assert (place.issued, place.calls()) == (1, 1)


def test_the_server_is_down_while_the_api_says_401(place: Place, session: requests.Session) -> None:
    session.auth = oauth(place)
    session.get(place.api_url)
    place.good, working = (), place.listening.routes["/token"]
    place.listening.routes["/token"] = Reply(b"<html>", 400)
    with pytest.raises(TokenRefreshError) as caught:
        session.get(place.api_url)
    assert (caught.value.reason, caught.value.status) == ("status 400", 400)
    calls, asked = place.calls(), place.calls("/token")
    with pytest.raises(TokenRefreshError):
        session.get(place.api_url)
    assert place.calls() == calls + 1
    assert place.calls("/token") == asked, "so soon after a failure the server is not asked again"
    place.good = ("1",)
    assert session.get(place.api_url).status_code == 200, "one URL that refuses must not close all others"
    place.listening.routes["/token"] = working


def test_it_goes_on_when_the_server_is_back(place: Place, clock: VirtualClock) -> None:
    with requests.Session() as session:
        session.auth = oauth(place, clock=clock)
        session.get(place.api_url)
        place.good, working = ("2",), place.listening.routes["/token"]
        place.listening.routes["/token"] = Reply(b"<html>", 400)
        with pytest.raises(TokenRefreshError):
            session.get(place.api_url)
        place.listening.routes["/token"] = working
        clock.sleep(31)
        assert session.get(place.api_url).json()["number"] == "2"


# ------------------------------------------------------------------------------------------ what a replay keeps


def test_a_replay_passes_the_policies_and_the_report_tells_of_both(place: Place) -> None:
    place.good = ("2",)
    with requests.Session() as session:
        session.mount("http://", polvo.ResilientAdapter(rate_limit=polvo.ratelimit.TokenBucket(rate=100, capacity=100)))
        response = session.get(place.api_url, auth=oauth(place))
    report = response.polvo
    assert [attempt.status for attempt in report.attempts] == [401, 200]
    assert [wait.reason for wait in report.waits] == ["token: asked for, 200"] * 2
    assert [change.after for change in report.changes] == ["generation 1", "generation 2"]
    assert report.token == 2
    assert report.elapsed >= sum(entry.seconds for entry in report.entries)
    assert "token-" not in f"{report} {report!r}"


def test_a_replay_goes_through_the_adapter_that_is_mounted(place: Place) -> None:
    class Counting(HTTPAdapter):
        sent = 0

        def send(self, *args: Any, **keywords: Any) -> requests.Response:
            self.sent += 1
            return super().send(*args, **keywords)

    place.good = ("2",)
    with requests.Session() as session:
        session.mount("http://", counting := Counting())
        assert session.get(place.api_url, auth=oauth(place)).status_code == 200
    assert counting.sent == 2


def test_a_retry_after_the_refresh_is_told_too(place: Place) -> None:
    turns = [Reply(status=401), Reply(status=503), Reply({"fine": True})]
    place.listening.routes["/api"] = lambda asked: turns.pop(0)
    with polvo.Session(auth=oauth(place), retry={"base": 0.001}) as session:
        response = session.get(place.api_url)
    assert [attempt.status for attempt in response.polvo.attempts] == [401, 503, 200]
    assert len(response.polvo.waits) == 3


def test_cookies_of_both_answers_are_kept(place: Place, session: requests.Session) -> None:
    place.good = ("2",)
    session.cookies.set("mine", "1")
    session.auth = oauth(place)
    session.get(place.api_url)
    assert session.cookies.get_dict() == {"mine": "1", "seen1": "yes", "seen2": "yes"}
    replayed = [asked for asked in place.listening.asked if asked.path == "/api"][1]
    assert sorted(replayed.headers["cookie"].split("; ")) == ["mine=1", "seen1=yes"]


def test_a_streamed_answer_is_left_to_be_read(place: Place, session: requests.Session) -> None:
    place.good, place.answers = ("2",), {"text": "x" * 300_000}
    session.auth = oauth(place)
    with session.get(place.api_url, stream=True) as response:
        assert response._content_consumed is False
        assert len(response.json()["text"]) == 300_000
    assert [each.status_code for each in response.history] == [401]


def test_hooks_of_the_user_see_the_last_answer_and_change_it(place: Place, session: requests.Session) -> None:
    place.good, seen = ("2",), []

    def hook(response: requests.Response, **_: Any) -> None:
        seen.append(response.status_code)

    session.auth = oauth(place)
    session.hooks["response"].append(hook)
    assert session.get(place.api_url).status_code == 200
    assert seen[-1] == 200
    seen.clear()
    assert session.get(place.api_url, hooks={"response": hook}).status_code == 200
    assert seen == [200]


def test_a_session_that_raises_for_401_raises_after_the_replay(place: Place) -> None:
    place.good = ("2",)
    with polvo.Session(auth=oauth(place), raise_for_status=True) as session:
        assert session.get(place.api_url).status_code == 200
        place.good = ()
        with pytest.raises(AuthenticationError, match="401 Unauthorized after 2 attempts"):
            session.get(place.api_url)


def test_auth_of_a_single_call(place: Place) -> None:
    place.good, auth = ("2",), oauth(place)
    assert requests.get(place.api_url, auth=auth, timeout=10).json()["number"] == "2"
    assert polvo.get(place.api_url, auth=auth).json()["number"] == "2"
    assert requests.get(place.api_url, timeout=10).status_code == 401
    assert place.issued == 2


def test_a_prepared_request_is_sent_again_as_often_as_one_likes(place: Place) -> None:
    auth = oauth(place)
    with requests.Session() as session:
        prepared = session.prepare_request(requests.Request("POST", place.api_url, data=b"body", auth=auth))
        assert session.send(prepared).status_code == 200
        place.good = ("2",)
        assert session.send(prepared).status_code == 200
        assert session.send(prepared).status_code == 200
    assert place.authorizations() == ["1", "1", "2", "1", "2"]
    assert place.issued == 2


def test_the_deadline_of_a_call_holds_for_the_refresh_and_the_replay(place: Place) -> None:
    hold = threading.Event()

    def slow(asked: Asked) -> Reply:
        hold.wait(20)
        return Reply(status=500)

    with polvo.Session(auth=oauth(place)) as session:
        session.get(place.api_url)
        place.good = ()
        place.listening.routes["/token"] = slow
        try:
            with pytest.raises(TokenRefreshError, match="deadline of the call"):
                session.get(place.api_url, deadline=1.0)
        finally:
            hold.set()


def test_a_nonce_of_the_api_is_asked_for_once(oidc: Any, session: requests.Session) -> None:
    oidc.set(nonce=True)
    auth = OAuth2(client_id="dpop", client_secret="dpop-secret", token_url=oidc.token_url, dpop=True)
    session.auth = auth
    response = session.get(oidc.api_url)
    assert (response.status_code, [each.status_code for each in response.history]) == (200, [401])
    assert session.get(f"{oidc.api_url}/next").history == []
    oidc.refresh_nonce()
    assert session.post(oidc.api_url, data=BODY).status_code == 200
    oidc.revoke()
    assert session.get(oidc.api_url).status_code == 200
    assert oidc.counts()["by_grant"]["client_credentials"] == 2 + 1  # the first one had to learn the nonce


@pytest.mark.parametrize("body", ["small", "large"])
@pytest.mark.parametrize("renews", [True, False])
@pytest.mark.parametrize("limit", ["bulkhead", "pool"])
def test_an_unread_refusal_holds_nothing_that_the_refresh_waits_for(limit: str, renews: bool, body: str) -> None:
    text = b"x" * (3_000_000 if body == "large" else 100)
    tokens = iter(range(9))

    def issue(asked: Asked) -> Reply:
        number = next(tokens) if renews else 0
        return Reply({"access_token": f"t{number}", "token_type": "Bearer", "expires_in": 3600})

    def api(asked: Asked) -> Reply:
        good = asked.headers["authorization"] == "Bearer t1"
        return Reply(b"good") if good else Reply(text, 401, (("X-Size", str(len(text))),))

    with Listening() as server, requests.Session() as session:
        server.routes.update({"/token": issue, "/api": api})
        # The token endpoint is behind the same limit as the API.
        if limit == "bulkhead":
            adapter = polvo.ResilientAdapter(retry=False, bulkhead={"max_concurrency": 1, "acquisition_timeout": 0.3})
        else:
            adapter = polvo.ResilientAdapter(retry=False, pool_maxsize=1, pool_block=True, timeout=2.0)
        session.mount("http://", adapter)
        session.auth = OAuth2(
            client_id="cc",
            client_secret="cc",
            token_url=f"{server.url}/token",
            allow_http=True,
            session=session,
            timeout=2.0,
            deadline=3.0,
        )
        response = session.get(f"{server.url}/api", stream=True)
        assert response.status_code == (200 if renews else 401)
        if renews:
            assert response.content == b"good"
        elif body != "large":  # which is given up
            assert response.raw.read() == text
        response.close()
        assert session.get(f"{server.url}/api").status_code == (200 if renews else 401)
