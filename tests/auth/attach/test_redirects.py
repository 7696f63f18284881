"""Redirects that try to steal: no credential reaches another origin, whatever the way there is written.

The thief listens on the same machine, on another port; and the API itself answers to other names of this machine, which
are other hosts. Whatever comes to one of these is looked at as a whole: URL, headers and body.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from requests.adapters import HTTPAdapter
from urllib3.util import parse_url

import polvo_adapters as polvo
from polvo_adapters.auth import JWTLogin, OAuth2, api_key, bearer, session_token
from polvo_adapters.auth.attach.credential import same_origin
from tests.support.listening_server import Asked, Listening, Reply

SECRET = "s3cret-credential"
STATUSES = (301, 302, 303, 307, 308)


class World(NamedTuple):
    """An API, a thief, and the authorization server."""

    home: Listening
    thief: Listening
    login: Listening

    @property
    def netloc(self) -> str:
        return self.home.url.partition("://")[2]

    @property
    def port(self) -> str:
        return self.netloc.partition(":")[2]

    @property
    def thieves_port(self) -> str:
        return self.thief.url.rpartition(":")[2]

    def stolen(self) -> list[Asked]:
        """Return what came to the thief, or to the API under another name than its own, with a secret in it."""
        elsewhere = [*self.thief.asked, *(asked for asked in self.home.asked if asked.headers["host"] != self.netloc)]
        return [asked for asked in elsewhere if SECRET in repr(asked) or "dpop" in asked.headers]

    def redirect(self, status: int, place: str, path: str = "/away") -> None:
        """Have the API redirect; a key in the query is part of the path."""
        reply = Reply(status=status, headers=(("Location", place.encode().decode("latin-1")),))
        self.home.routes[path] = self.home.routes[f"{path}?key={SECRET}"] = reply

    def clear(self) -> None:
        self.home.asked.clear()
        self.thief.asked.clear()
        self.login.asked.clear()


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with Listening() as home, Listening() as thief, Listening() as login:
        thief.routes["/steal"] = Reply(status=401)
        home.routes["/steal"] = lambda asked: Reply(status=200 if home.url.endswith(asked.headers["host"]) else 401)
        home.routes["/refuse"] = Reply(status=401)
        home.routes["/here"] = Reply({"fine": True})
        answer = {"access_token": SECRET, "expires_in": 3600, "refresh_token": f"{SECRET}-refresh"}
        login.routes["/token"] = lambda asked: Reply(
            {**answer, "token_type": "DPoP" if "dpop" in asked.headers else "Bearer"}
        )
        login.routes["/login"] = Reply({"access": SECRET, "refresh": f"{SECRET}-refresh"})
        yield World(home, thief, login)


def oauth(world: World, **keywords: Any) -> OAuth2:
    return OAuth2(client_id="me", client_secret=SECRET, token_url=f"{world.login.url}/token", **keywords)


AUTHS: dict[str, Callable[[World], Any]] = {
    "bearer": lambda world: bearer(SECRET),
    "api_key": lambda world: api_key(SECRET),
    "api_key-authorization": lambda world: api_key(SECRET, "Authorization", prefix="Api-Key"),
    "api_key-query": lambda world: api_key(SECRET, query="key"),
    "session_token": lambda world: session_token(SECRET),
    "oauth": oauth,
    "dpop": lambda world: oauth(world, dpop=True),
    "login": lambda world: JWTLogin(f"{world.login.url}/login", "alice", SECRET),
}
SESSIONS: dict[str, Callable[[World], requests.Session]] = {
    "plain": lambda world: requests.Session(),
    "polvo": lambda world: polvo.Session(retry=False),
    "base_url": lambda world: polvo.Session(world.home.url, retry=False),
    "adapter": lambda world: mounted(),
}


def mounted() -> requests.Session:
    session = requests.Session()
    session.mount("http://", polvo.ResilientAdapter(retry=False))
    return session


@pytest.fixture(params=AUTHS)
def auth(request: pytest.FixtureRequest, world: World) -> Any:
    return AUTHS[request.param](world)


@contextmanager
def open_session(kind: str, world: World, auth: Any) -> Iterator[requests.Session]:
    world.clear()
    with SESSIONS[kind](world) as session:
        session.auth = auth
        yield session


@pytest.fixture(params=SESSIONS)
def session(request: pytest.FixtureRequest, world: World, auth: Any) -> Iterator[requests.Session]:
    with open_session(request.param, world, auth) as session:
        yield session


def elsewhere(world: World) -> list[str]:
    """Return ways to write a place that is not the API, or that some parser may take for another."""
    home, port, thief = world.netloc, world.port, world.thieves_port
    return [
        f"http://127.0.0.1:{thief}/steal",
        f"HTTP://LOCALHOST:{thief}/steal",
        f"//127.0.0.1:{thief}/steal",
        f"http://localhost:{port}/steal",
        f"//localhost:{port}/steal",
        f"http://127.0.0.1.:{port}/steal",
        f"http://127.1:{port}/steal",
        f"http://0x7f000001:{port}/steal",
        f"http://2130706433:{port}/steal",
        f"http://127.0.0.2:{port}/steal",
        f"http://{home}@127.0.0.1:{thief}/steal",
        f"http://{home}:pass@127.0.0.1:{thief}/steal",
        f"http://user:pass@127.0.0.1:{thief}/steal",
        f"http://user:pass@localhost:{port}/steal",
        f"http://{home}\\@127.0.0.1:{thief}/steal",
        f"http://127.0.0.1:{thief}\\@{home}/steal",
        f"http://127.0.0.1:{thief}\\.{home}/steal",
        f"http://{home}%5C@127.0.0.1:{thief}/steal",
        f"http://{home}%2F@127.0.0.1:{thief}/steal",
        f"http://127.0.0.1:{thief}%2F@{home}/steal",
        f"http://127.0.0.1:{thief}#@{home}/steal",
        f"http://127.0.0.1:{thief}?@{home}/steal",
        f"http://127.0.0.1:{thief};@{home}/steal",
        f"http://{home}#@127.0.0.1:{thief}/steal",
        f"http://a@{home}@127.0.0.1:{thief}/steal",
        f"http://127.0.0.1:{thief}@{home}/steal",
        f"\\\\127.0.0.1:{thief}/steal",
        f"/\\127.0.0.1:{thief}/steal",
        f"\\/127.0.0.1:{thief}/steal",
        f"///127.0.0.1:{thief}/steal",
        f"////127.0.0.1:{thief}/steal",
        f"/////127.0.0.1:{thief}/steal",
        f"http:////127.0.0.1:{thief}/steal",
        f"/.//127.0.0.1:{thief}/steal",
        f"http:127.0.0.1:{thief}/steal",
        f"http:/127.0.0.1:{thief}/steal",
        f"http:///127.0.0.1:{thief}/steal",
        f"http:\\\\127.0.0.1:{thief}/steal",
        f" http://127.0.0.1:{thief}/steal",
        f"\thttp://127.0.0.1:{thief}/steal",
        f"ht\ttp://127.0.0.1:{thief}/steal",
        f"http://127.0.0.1:{thief}\t@{home}/steal",
        f"http://127.0.0.1:0{thief}/steal",
        f"http://127.0.0.1:{port}0/steal",
        f"http://[::ffff:127.0.0.1]:{thief}/steal",
        f"http://[127.0.0.1]:{port}/steal",
        f"http://[{home}]@127.0.0.1:{thief}/steal",
        "http://127。0。0。1:" + thief + "/steal",
        "http://①②⑦.0.0.1:" + port + "/steal",
        "http://①②⑦.0.0.1:" + thief + "/steal",
        "http://loca\u00adlhost:" + port + "/steal",
        f"https://127.0.0.1:{port}/steal",
        f"http://127.0.0.1:/{port}/steal",
        f"ftp://{home}/steal",
        f"file://{home}/etc/passwd",
        "http://[::1",
        "http://",
        "//",
    ]


@pytest.mark.parametrize("status", [302, 308])
def test_no_redirect_leads_a_credential_elsewhere(world: World, session: requests.Session, status: int) -> None:
    asked = refreshes = 0
    for place in elsewhere(world):
        world.redirect(status, place)
        with suppress(requests.RequestException, ValueError):
            session.get(f"{world.home.url}/away", timeout=5)
        assert world.stolen() == [], place
        asked += len(world.thief.asked)
        refreshes += len(world.login.asked)
        world.clear()
    assert asked >= 10, "the thief was hardly ever asked; this test says nothing"
    assert refreshes <= 1, "what the thief answers has had a token refreshed"


def test_no_method_and_no_status_leads_it_elsewhere(world: World, session: requests.Session) -> None:
    for status in STATUSES:
        world.redirect(status, f"{world.thief.url}/steal")
        for method in ("GET", "POST"):
            prepared = session.prepare_request(requests.Request(method, f"{world.home.url}/away", data=b"body"))
            with suppress(requests.RequestException):
                session.send(prepared, timeout=5)
            assert world.stolen() == [], (status, method)
    assert len(world.thief.asked) == 10


def test_the_way_back_is_without_a_credential(world: World, session: requests.Session) -> None:
    world.redirect(307, f"{world.thief.url}/back")
    world.thief.routes["/back"] = Reply(status=307, headers=(("Location", f"{world.home.url}/refuse"),))
    world.redirect(307, f"{world.home.url}/away", "/twice")
    response = session.get(f"{world.home.url}/twice", timeout=5)
    assert (response.status_code, len(response.history)) == (401, 3)
    assert [asked.path.partition("?")[0] for asked in world.home.asked] == ["/twice", "/away", "/refuse"]
    assert len(world.thief.asked) == 1
    assert world.stolen() == []
    assert len(world.login.asked) <= 1
    assert "authorization" not in world.home.asked[-1].headers


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize(
    "place", ["/here", "here", "//{}/here", "http://{}/here", "HTTP://{}/here", "/here#a", "./here"]
)
def test_at_home_a_redirect_keeps_it(world: World, place: str, status: int) -> None:
    world.redirect(status, place.format(world.netloc))
    for name in ("bearer", "api_key", "session_token", "oauth", "login"):
        with open_session("plain", world, AUTHS[name](world)) as session:
            assert session.get(f"{world.home.url}/away", timeout=5).status_code == 200
            assert SECRET in repr(world.home.asked[1].headers), name


@pytest.mark.parametrize("status", STATUSES)
def test_next_of_a_response_that_was_not_followed(world: World, session: requests.Session, status: int) -> None:
    world.redirect(status, f"{world.thief.url}/steal")
    response = session.get(f"{world.home.url}/away", timeout=5, allow_redirects=False)
    assert response.status_code == status
    assert response.next is not None
    assert SECRET not in f"{response.next.url} {response.next.headers}"
    with suppress(requests.RequestException):
        session.send(response.next, timeout=5)
    assert world.stolen() == []
    assert len(world.login.asked) <= 1


def test_a_thief_who_is_called_by_name_gets_what_it_is_given(world: World) -> None:
    """Without a base URL a session sends its credential wherever the caller says; with one, to its origin only."""
    for kind, stolen in (("plain", 1), ("base_url", 0)):
        with open_session(kind, world, bearer(SECRET)) as session:
            session.get(f"{world.thief.url}/steal", timeout=5)
            assert len(world.stolen()) == stolen


def test_a_401_after_a_redirect_at_home_has_the_token_refreshed_once(world: World) -> None:
    world.redirect(302, "/refuse")
    for name in ("oauth", "login", "dpop"):
        with open_session("plain", world, AUTHS[name](world)) as session:
            response = session.get(f"{world.home.url}/away", timeout=5)
            assert response.status_code == 401
            assert len(world.login.asked) <= 2
            assert len(world.home.asked) <= 4


@pytest.fixture
def numbered(world: World) -> Iterator[World]:
    """Have each token be another one: only then there is a replay."""
    before = dict(world.login.routes)

    def token(asked: Asked) -> Reply:
        text = f"{SECRET}-{len(world.login.asked)}"
        kind = "DPoP" if "dpop" in asked.headers else "Bearer"
        return Reply({"access_token": text, "access": text, "token_type": kind, "expires_in": 3600})

    world.login.routes.update({"/token": token, "/login": token})
    yield world
    world.login.routes.update(before)


@pytest.mark.parametrize("kind", SESSIONS)
@pytest.mark.parametrize("name", ["oauth", "dpop", "login"])
@pytest.mark.parametrize("place", ["away", "home"])
def test_the_answer_to_a_replay_that_redirects(numbered: World, name: str, kind: str, place: str) -> None:
    world = numbered
    target = f"{world.thief.url}/steal" if place == "away" else "/here"

    def first_refused(asked: Asked) -> Reply:
        refused = len(world.home.asked) == 1
        return Reply(status=401) if refused else Reply(status=307, headers=(("Location", target),))

    world.home.routes["/away"] = first_refused
    with open_session(kind, world, AUTHS[name](world)) as session:
        session.get(f"{world.home.url}/away", timeout=5)
        assert world.stolen() == []
        tokens = [asked.headers["authorization"][-2:] for asked in world.home.asked]
        assert tokens == (["-1", "-2"] if place == "away" else ["-1", "-2", "-2"])
        assert len(world.thief.asked) == (place == "away")


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("http://api.test/a", "http://api.test/b", True),
        ("http://api.test/a", "http://API.test:80/b", True),
        ("http://api.test/a", "https://api.test/b", True),
        ("http://api.test:80/a", "https://api.test:443/b", True),
        ("https://api.test/a", "https://api.test:443/b", True),
        ("https://api.test/a", "http://api.test/b", False),
        ("http://api.test/a", "https://api.test:8443/b", False),
        ("http://api.test:8080/a", "https://api.test/b", False),
        ("http://api.test:8080/a", "https://api.test:8080/b", False),
        ("https://api.test/a", "https://sub.api.test/b", False),
        ("https://sub.api.test/a", "https://api.test/b", False),
        ("https://api.test/a", "https://api.test.evil.test/b", False),
        ("https://api.test/a", "https://api.test./b", False),
        ("https://api.test/a", "https://evil.test\\@api.test/b", False),
        ("https://api.test/a", "https://evil.test#@api.test/b", False),
        ("https://api.test/a", "https://api.test@evil.test/b", False),
        ("https://api.test/a", "wss://api.test/b", False),
        ("https://api.test/a", "file://api.test/b", False),
        ("https://api.test/a", "https://[::1", False),
        ("https://api.test/a", "", False),
        ("http://[::1]:8000/a", "http://[::1]:8000/b", True),
        ("http://[::1]:8000/a", "http://[::1]:8001/b", False),
    ],
)
def test_same_origin(before: str, after: str, expected: bool) -> None:
    assert same_origin(before, after) is expected


PIECES = [
    *("http:", "https:", "HTTP:", "//", "/", "\\", "@", ":", "?", "#", ";", ".", "%2F", "%5C", "%40", "%00", "\t", " "),
    *(
        "home.test",
        "HOME.test",
        "evil.test",
        "hom\u0435.test",
        "home。test",
        "[",
        "]",
        "[::1]",
        ":80",
        ":443",
        ":8080",
        "user",
    ),
    *("a", "..", "\u00ad", "ß", "①", "\u2028", "é"),
]
PIECES_LISTS = st.lists(st.sampled_from(PIECES), min_size=1, max_size=8)


@given(location=PIECES_LISTS.map("".join), home=st.sampled_from(["http://home.test/a", "https://home.test:8080/a"]))
def test_whatever_a_location_says_the_credential_stays_where_the_connection_does(location: str, home: str) -> None:
    """What `requests` would connect to is asked of the very functions that it would ask."""
    session = requests.Session()
    session.trust_env = False
    for auth in (bearer(SECRET), session_token(SECRET)):
        request = session.prepare_request(requests.Request("GET", home, auth=auth))
        response = requests.Response()
        response.status_code, response.url, response.request = 302, home, request
        response.headers["location"] = location.encode().decode("latin-1")
        response._content = b""
        for hook in request.hooks["response"]:
            hook(response)
        try:
            after = next(session.resolve_redirects(response, request, yield_requests=True))
        except (requests.RequestException, ValueError):
            continue
        if SECRET not in repr(after.headers):
            continue
        try:
            connects, _ = HTTPAdapter().build_connection_pool_key_attributes(after, True, None)
        except ValueError:
            continue  # it connects nowhere
        port = connects["port"] or {"http": 80, "https": 443}[connects["scheme"]]
        parsed = parse_url(home)
        assert (connects["host"], port) in {
            (parsed.host, parsed.port or 80),
            *({("home.test", 443)} if parsed.port is None else ()),
        }
