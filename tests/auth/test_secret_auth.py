"""Secrets on requests: where they go, what a 401 does, and where they do not go."""

from __future__ import annotations

import base64
import copy
import io
import logging
import pickle
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests

import polvo_adapters as polvo
from polvo_adapters.auth import APIKey, SecretAuth, basic, secret
from polvo_adapters.errors import ConfigurationError, SecretError
from polvo_adapters.secrets import Secret, Vault
from polvo_adapters.testing.virtual_clock import VirtualClock
from tests.support.listening_server import Asked, Listening, Reply
from tests.support.oauth.authlib_server import AuthlibServer
from tests.support.secret_servers import OpenBao
from tests.support.session_kinds import SESSIONS

FIRST, SECOND = "hunter2-the-first", "hunter3-the-second"


class Rotating:
    """A place whose secret is rotated."""

    scheme = "rotating"

    def __init__(self) -> None:
        self.value = FIRST
        self.asked = 0
        self.failing: Exception | None = None

    def fetch(self, name: str, field: str | None) -> polvo.secrets.Fetched:
        self.asked += 1
        if self.failing is not None:
            raise self.failing
        return polvo.secrets.Fetched(self.value)


@pytest.fixture
def store() -> Rotating:
    return Rotating()


@pytest.fixture(params=SESSIONS)
def session(request: pytest.FixtureRequest) -> Iterator[requests.Session]:
    with SESSIONS[request.param]() as session:
        yield session


KINDS: dict[str, tuple[Callable[[Secret], Any], Callable[[Asked], str | None]]] = {
    "bearer": (polvo.auth.bearer, lambda asked: (asked.headers.get("authorization") or "").removeprefix("Bearer ")),
    "session_token": (polvo.auth.session_token, lambda asked: asked.headers.get("x-session-token")),
    "api_key": (polvo.auth.api_key, lambda asked: asked.headers.get("x-api-key")),
    "prefix": (
        lambda value: polvo.auth.api_key(value, "Authorization", prefix="Key"),
        lambda asked: (asked.headers.get("authorization") or "").removeprefix("Key "),
    ),
    "any": (lambda value: secret(value, header="X-Any"), lambda asked: asked.headers.get("x-any")),
    "query": (lambda value: polvo.auth.api_key(value, query="k"), lambda asked: read_query(asked.path)),
    "basic": (lambda value: basic("ada", value), lambda asked: decode_basic(asked.headers.get("authorization"))),
}


def read_query(path: str) -> str | None:
    values = [value for name, value in parse_qsl(urlsplit(path).query) if name == "k"]
    assert len(values) <= 1
    return values[0] if values else None


def decode_basic(header: str | None) -> str | None:
    return None if header is None else base64.b64decode(header[6:]).decode().removeprefix("ada:")


class Stream(io.BytesIO):
    """One that does not tell where it is."""

    def tell(self) -> int:
        raise OSError


class Anywhere(dict[str, Any]):
    """Routes that lead everything to one function."""

    def __init__(self, answer: Callable[[Asked], Reply]) -> None:
        self.answer = answer

    def get(self, path: str, default: Any = None) -> Any:
        return self.answer


def guard(api: Listening, store: Rotating, read: Callable[[Asked], str | None]) -> None:
    """Have an API take the value that the store has now, and no other."""
    api._socket.routes = Anywhere(lambda asked: Reply(status=200 if read(asked) == store.value else 401))


@pytest.fixture
def api() -> Iterator[Listening]:
    with Listening() as api:
        yield api


@pytest.fixture
def elsewhere() -> Iterator[Listening]:
    with Listening() as elsewhere:
        elsewhere.routes["/next"] = Reply()
        yield elsewhere


# ------------------------------------------------------------------------------------------ what is sent


@pytest.mark.parametrize("kind", KINDS)
def test_a_rotated_secret_is_fetched_and_the_request_sent_again(
    kind: str, store: Rotating, session: requests.Session, api: Listening
) -> None:
    make, read = KINDS[kind]
    guard(api, store, read)
    made = Secret(store, "app")
    session.auth = make(made)
    assert session.get(f"{api.url}/a?b=1").status_code == 200
    store.value = SECOND
    response = session.post(f"{api.url}/a?b=1", data={"c": "d"})
    assert response.status_code == 200
    assert [each.status_code for each in response.history] == [401]
    assert session.get(f"{api.url}/a").status_code == 200
    assert [read(asked) for asked in api.asked] == [FIRST, FIRST, SECOND, SECOND]
    assert [asked.form for asked in api.asked[1:3]] == [{"c": "d"}] * 2
    assert {urlsplit(asked.path).query.split("&")[0] for asked in api.asked[:3]} == {"b=1"}
    assert store.asked == 2


def test_a_secret_that_is_still_the_same_is_not_sent_again(
    store: Rotating, session: requests.Session, api: Listening
) -> None:
    api._socket.routes = Anywhere(lambda asked: Reply(status=401))
    session.auth = polvo.auth.bearer(Secret(store, "app"))
    for _ in range(10):
        assert session.get(api.url).status_code == 401
    assert len(api.asked) == 10
    assert store.asked <= 4


def test_a_body_that_can_be_read_once_is_not_sent_again_but_the_next_request_has_the_new_secret(
    store: Rotating, api: Listening
) -> None:
    guard(api, store, KINDS["bearer"][1])
    with requests.Session() as session:
        session.auth = polvo.auth.bearer(Secret(store, "app"))
        session.get(api.url)
        store.value = SECOND
        stream = Stream(b"x=1")
        assert session.post(api.url, data=stream, headers={"Content-Length": "3"}).status_code == 401
        assert len(api.asked) == 2
        assert session.get(api.url).status_code == 200


def test_a_provider_that_fails_leaves_the_answer_as_it_is(
    store: Rotating, session: requests.Session, api: Listening, caplog: pytest.LogCaptureFixture
) -> None:
    guard(api, store, KINDS["bearer"][1])
    session.auth = polvo.auth.bearer(Secret(store, "app"))
    assert session.get(api.url).status_code == 200
    store.value, store.failing = SECOND, SecretError("sealed", reason="sealed")
    response = session.get(api.url)
    assert (response.status_code, response.history) == (401, [])
    assert "in use past its time (sealed" in caplog.text


def test_where_there_is_none_nothing_is_sent(store: Rotating, session: requests.Session, api: Listening) -> None:
    store.failing = SecretError("sealed", reason="sealed")
    session.auth = polvo.auth.bearer(Secret(store, "app"))
    with pytest.raises(SecretError):
        session.get(api.url)
    assert api.asked == []


@pytest.mark.parametrize("value", ["a\nb", "a\r\nX-Other: b", " a ", "ä", "a\0b"])
def test_a_secret_that_no_header_can_carry(store: Rotating, value: str) -> None:
    store.value = value
    with pytest.raises(SecretError) as caught:
        requests.Request("GET", "http://api.test", auth=polvo.auth.api_key(Secret(store, "app"))).prepare()
    assert caught.value.reason == "no text"
    assert repr(value) not in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("value", "reason"), [("", "empty"), ("a" * ((1 << 20) + 1), "no text")])
def test_nothing_and_too_much_are_not_sent(kind: str, store: Rotating, api: Listening, value: str, reason: str) -> None:
    store.value = value
    with polvo.Session() as session, pytest.raises(SecretError) as caught:
        session.get(api.url, auth=KINDS[kind][0](Secret(store, "app")))
    assert (caught.value.reason, caught.value.final, api.asked) == (reason, True, [])


def test_basic_is_utf8(store: Rotating) -> None:
    store.value = "pässword\n"
    prepared = requests.Request("GET", "http://api.test", auth=basic("ädä", Secret(store, "app"))).prepare()
    assert base64.b64decode(prepared.headers["Authorization"][6:]).decode() == "ädä:pässword\n"
    plain = requests.Request("GET", "http://api.test", auth=basic("ada", "pass")).prepare()
    assert plain.headers["Authorization"] == "Basic YWRhOnBhc3M="


def test_what_cannot_work_is_refused() -> None:
    made = Secret(lambda: FIRST)
    for attempt in (
        lambda: basic("a:b", made),
        lambda: basic("a:b", "c"),
        lambda: basic("a", 5),
        lambda: polvo.auth.bearer(5),
        lambda: polvo.auth.bearer(None),
        lambda: polvo.auth.api_key(b"bytes"),
        lambda: secret("nope://x"),
    ):
        with pytest.raises(ConfigurationError):
            attempt()


# ------------------------------------------------------------------------------------------ where it does not go


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "query"])
@pytest.mark.parametrize("rotated", [False, True])
def test_it_goes_to_no_other_origin(
    kind: str, rotated: bool, store: Rotating, session: requests.Session, api: Listening, elsewhere: Listening
) -> None:
    make, read = KINDS[kind]
    moved = Reply(status=302, headers=(("Location", f"{elsewhere.url}/next"),))
    api._socket.routes = Anywhere(lambda asked: moved if read(asked) == store.value else Reply(status=401))
    made = Secret(store, "app")
    session.auth = make(made)
    made.get()
    if rotated:
        store.value = SECOND
    assert session.get(api.url).status_code == 200
    assert len(api.asked) == 1 + rotated
    (asked,) = elsewhere.asked
    shown = repr(asked)
    for value in (FIRST, SECOND):
        assert value not in shown
        assert base64.b64encode(f"ada:{value}".encode()).decode() not in shown


def test_a_refusal_elsewhere_is_no_refusal_of_the_secret(store: Rotating, api: Listening, elsewhere: Listening) -> None:
    elsewhere.routes["/next"] = Reply(status=401)
    api._socket.routes = Anywhere(lambda asked: Reply(status=302, headers=(("Location", f"{elsewhere.url}/next"),)))
    with requests.Session() as session:
        session.auth = polvo.auth.api_key(Secret(store, "app"))
        assert session.get(api.url).status_code == 401
    assert (store.asked, len(elsewhere.asked)) == (1, 1)


# ------------------------------------------------------------------------------------------ what others see


def test_the_report_tells_which_one_and_that_it_is_overdue(
    store: Rotating, api: Listening, clock: VirtualClock
) -> None:
    guard(api, store, KINDS["bearer"][1])
    made = Secret(store, "app", clock=clock, background=False)
    with polvo.Session() as session:
        session.auth = polvo.auth.bearer(made)
        response = session.get(api.url)
        assert response.polvo.token == 1
        store.value = SECOND
        response = session.get(api.url)
        assert response.polvo.token == 2
        clock.advance(300)
        store.failing = SecretError("sealed", reason="sealed")
        assert session.get(api.url).status_code == 200
        clock.advance(0.1)
        response = session.get(api.url)
    assert [str(change) for change in response.polvo.changes] == [
        "secret rotating://app: generation 2 → in use past its time (it cannot be refreshed)"
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_nowhere_to_be_seen(
    kind: str, store: Rotating, session: requests.Session, api: Listening, caplog: pytest.LogCaptureFixture
) -> None:
    make, read = KINDS[kind]
    guard(api, store, read)
    caplog.set_level(logging.DEBUG)
    told: list[Any] = []
    made = Secret(store, "app", listeners=[told.append])
    session.auth = auth = make(made)
    store.value = SECOND
    first = session.get(f"{api.url}/a")
    store.value = FIRST
    response = session.get(f"{api.url}/a")
    assert response.status_code == 200
    report = getattr(response, "polvo", None)
    shown = " ".join([repr(auth), repr(vars(auth)), repr(made), str(report), repr(told), repr(first)])
    logged = caplog.text if kind != "query" else ""  # urllib3 logs URLs: that is what the documentation warns of
    for value in (FIRST, SECOND, base64.b64encode(f"ada:{FIRST}".encode()).decode()):
        assert value not in shown + logged
        if kind != "query":
            assert value.encode() not in pickle.dumps(response)
    assert copy.deepcopy(auth) is auth


@pytest.mark.parametrize(
    ("kind", "keywords"),
    [(Secret, {"source": "env://A", "ttl": 0}), (SecretAuth, {"secret": FIRST}), (APIKey, {"key": ""})],
)
def test_what_was_half_made_can_be_shown(kind: Any, keywords: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        kind(**keywords)
    stack = traceback.StackSummary.extract(traceback.walk_tb(caught.value.__traceback__), capture_locals=True)
    shown = [str(frame.locals["self"]) for frame in stack if frame.locals and "self" in frame.locals]
    assert len(shown) == 1
    assert "half made" in shown[0]
    assert FIRST not in shown[0]


def test_a_pickled_session_fetches_its_own(monkeypatch: pytest.MonkeyPatch, api: Listening) -> None:
    monkeypatch.setenv("HB_TOKEN", FIRST)
    api._socket.routes = Anywhere(lambda asked: Reply())
    with polvo.Session() as session:
        session.auth = secret("env://HB_TOKEN")
        session.get(api.url)
        pickled = pickle.dumps(session)
    assert FIRST.encode() not in pickled
    monkeypatch.setenv("HB_TOKEN", SECOND)
    with pickle.loads(pickled) as back:
        back.get(api.url)
    assert [asked.headers["authorization"] for asked in api.asked] == [f"Bearer {FIRST}", f"Bearer {SECOND}"]


def test_its_owner_stays_when_it_is_rotated(store: Rotating) -> None:
    auth = polvo.auth.bearer(Secret(store, "app"))
    prepared = [requests.Request("GET", "http://api.test", auth=auth).prepare()]
    store.value = SECOND
    auth._secret.invalidate()
    prepared.append(requests.Request("GET", "http://api.test", auth=auth).prepare())
    first, second = (request.headers["Authorization"] for request in prepared)
    assert (first, second) == (f"Bearer {FIRST}", f"Bearer {SECOND}")
    assert first.owner == second.owner != ""
    other = requests.Request("GET", "http://api.test", auth=polvo.auth.bearer(Secret(store, "other"))).prepare()
    assert other.headers["Authorization"].owner != first.owner


def test_many_threads_that_are_refused_make_one_fetch(store: Rotating, api: Listening) -> None:
    guard(api, store, KINDS["bearer"][1])
    auth = polvo.auth.bearer(Secret(store, "app"))
    requests.get(api.url, auth=auth)
    store.value = SECOND
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda: statuses.append(requests.get(api.url, auth=auth).status_code))
        for _ in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert statuses == [200] * 16
    assert store.asked == 2


# ------------------------------------------------------------------------------------------ real parts together


def test_a_client_secret_of_oauth2_from_a_vault(bao: OpenBao, authlib_server: AuthlibServer) -> None:
    bao.put("oauth", client_secret="cc-secret")
    made = Secret(Vault(), "secret/data/oauth", field="client_secret")
    oauth = polvo.auth.OAuth2(client_id="cc", client_secret=made, token_url=authlib_server.token_url)
    with requests.Session() as session:
        session.auth = oauth
        assert session.get(authlib_server.api_url).status_code == 200
    assert b"cc-secret" not in pickle.dumps(oauth)


@pytest.mark.parametrize("how", ["basic", "post"])
def test_a_client_secret_that_was_rotated(how: str, store: Rotating, oidc: Any) -> None:
    client = {"basic": "cc", "post": "cc-post"}[how]
    made = Secret(store, "app")
    oauth = polvo.auth.OAuth2(
        client_id=client, client_secret=made, token_url=oidc.token_url, client_authentication=how, background=False
    )
    made.get()
    store.value = f"{client}-secret"
    assert oauth.token().access_token
    assert (store.asked, oidc.counts()["token"]) == (2, 2)
    store.value = "wrong"
    made.invalidate()
    oauth.forget()
    with pytest.raises(polvo.TokenRefreshError) as caught:
        oauth.token()
    assert (caught.value.reason, caught.value.final) == ("invalid_client", True)
    assert store.asked <= 4


def test_a_client_secret_that_is_always_another_one_is_tried_twice(oidc: Any) -> None:
    given: list[str] = []

    def wrong() -> str:
        given.append("wrong")
        return f"wrong {len(given)}"

    oauth = polvo.auth.OAuth2(client_id="cc", client_secret=Secret(wrong), token_url=oidc.token_url)
    with pytest.raises(polvo.TokenRefreshError):
        oauth.token()
    assert oidc.counts()["token"] == 2


def test_rotated_in_the_vault_while_calls_are_made(bao: OpenBao, api: Listening) -> None:
    bao.put("rotating", token=FIRST)
    accepted = [FIRST]
    api._socket.routes = Anywhere(
        lambda asked: Reply(status=200 if asked.headers["authorization"] == f"Bearer {accepted[0]}" else 401)
    )
    with polvo.Session() as session:
        session.auth = secret("vault://secret/data/rotating#token")
        assert session.get(api.url).status_code == 200
        bao.put("rotating", token=SECOND)
        accepted[0] = SECOND
        assert session.get(api.url).status_code == 200
        bao.seal()
        assert session.get(api.url).status_code == 200
