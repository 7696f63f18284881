"""Every way to another origin, and every place of a credential, without sockets: what arrives there.

`test_destinations` has the same with real servers, for some of the ways.
"""

from __future__ import annotations

import asyncio
import io
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import requests
import trustme
import urllib3

import polvo_adapters as polvo
from polvo_adapters.adapters import ResilientAdapter
from polvo_adapters.auth.httpx_auth import HTTPXAuth
from polvo_adapters.policies.stack import standard
from polvo_adapters.transports import AsyncPolicyTransport, PolicyTransport

WORD = "s3cretWq7"
HOME, REGION, SPARE = "http://named.test", "http://eu.test/v1", "http://us.test"
WAYS = {
    "another host": "http://evil.test/steal",
    "another port": "http://named.test:8080/steal",
    "another scheme and host": "https://evil.test/steal",
    "without a scheme": "//evil.test/steal",
    "many slashes": "////evil.test/steal",
    "a user name like the host": "http://named.test@evil.test/steal",
    "a host that begins like this one": "http://named.test.evil.test/steal",
    "the host of a region, out of its path": "http://eu.test/login",
}


class Sign(requests.auth.AuthBase):
    """An auth object that puts a signature into a header and into the query."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["X-Signature"] = WORD
        request.prepare_url(request.url or "", {"page": WORD})
        return request


def secret() -> Any:
    words = iter([f"{WORD}1", f"{WORD}2", f"{WORD}3"])
    return polvo.Secret(lambda: next(words))


def token() -> Any:
    words = iter([f"{WORD}1", f"{WORD}2", f"{WORD}3"])
    return polvo.auth.OAuth2(fetch=lambda _: {"access_token": next(words), "expires_in": 99})


CREDENTIALS: dict[str, Callable[[], dict[str, Any]]] = {
    "bearer": lambda: {"auth": polvo.auth.bearer(WORD)},
    "basic": lambda: {"auth": polvo.auth.basic(WORD, "")},
    "basic by a secret": lambda: {"auth": polvo.auth.basic("me", secret())},
    "api key": lambda: {"auth": polvo.auth.api_key(WORD)},
    "api key under a harmless name": lambda: {"auth": polvo.auth.api_key(WORD, header="Accept-Language")},
    "secret": lambda: {"auth": polvo.auth.api_key(secret())},
    "secret under a harmless name": lambda: {"auth": polvo.auth.api_key(secret(), header="Prefer")},
    "session token": lambda: {"auth": polvo.auth.session_token(WORD)},
    "session token by a secret": lambda: {"auth": polvo.auth.session_token(secret())},
    "token": lambda: {"auth": token()},
    "query": lambda: {"auth": polvo.auth.api_key(WORD, query="license")},
    "query under a harmless name": lambda: {"auth": polvo.auth.api_key(WORD, query="page")},
    "query by a secret": lambda: {"auth": polvo.auth.api_key(secret(), query="q")},
    "signature": lambda: {"auth": polvo.auth.signed(Sign())},
    "the caller's Authorization": lambda: {"headers": {"Authorization": WORD}},
    "the caller's user in the URL": dict,
    "cookie": lambda: {"cookies": {"session": WORD}},
}
SPREADS: dict[str, dict[str, Any]] = {
    "alone": {},
    "hedge": {"hedge": 5.0},
    "region": {"regions": [REGION]},
    "race": {"regions": {"urls": [REGION, SPARE], "mode": "race"}},
    "quorum": {"regions": {"urls": [REGION, SPARE], "mode": "quorum", "quorum": 1}},
    "fanout": {"regions": {"urls": [REGION, SPARE], "mode": "fanout"}},
    "race and hedge": {"regions": {"urls": [REGION, SPARE], "mode": "race"}, "hedge": 5.0},
    "fallback": {"fallback": "http://other.test"},
    "fallback over a hedge": {"fallback": "http://other.test", "hedge": 5.0},
    "fallback behind regions": {"fallback": "http://other.test", "regions": [REGION]},
    "retry": {"retry": {"base": 0, "cap": 0}},
}
OURS = {urlsplit(each).netloc for each in (HOME, REGION, SPARE)}


class World(requests.adapters.HTTPAdapter):
    """Servers that answer as a function says, and what each host has got.

    Args:
        answer: Returns the status and the Location for a URL.
    """

    def __init__(self, answer: Callable[[str], tuple[int, str]]) -> None:
        super().__init__()
        self.answer = answer
        self.got: list[tuple[str, str]] = []

    def send(self, request: requests.PreparedRequest, **keywords: Any) -> requests.Response:  # type: ignore[override]
        url = str(request.url)
        headers = ", ".join(name + ": " + str.__str__(value) for name, value in request.headers.items())
        seen = f"{request.method} {url} {headers} {request.body!r} {keywords['cert']}"
        self.got.append((urlsplit(url).netloc.rpartition("@")[2], seen))
        response = requests.Response()
        status, location = self.answer(url)
        response.status_code, response.url, response.request = status, url, request
        if location:
            response.headers["Location"] = location
        response._content, response.raw = b"ok", urllib3.HTTPResponse(io.BytesIO(), preload_content=False)
        return response

    def arrived(self, hosts: set[str]) -> str:
        """Return what has arrived at hosts other than these."""
        return "\n".join(seen for host, seen in self.got if host not in hosts)


def url_for(credential: str, path: str) -> str:
    user = f"{WORD}:{WORD}@" if "user in the URL" in credential else ""
    return HOME.replace("://", f"://{user}") + path


def get(world: World, credential: str, options: dict[str, Any], path: str) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        adapter = ResilientAdapter(**{"retry": False, **options}, inner=world)
        session.mount(f"{HOME}/", adapter)
        session.mount("http://named.test@", world)
        for prefix in ("http://", "https://"):
            session.mount(prefix, world)
        session.mount(url_for(credential, "/"), adapter)
        return session.get(url_for(credential, path), **CREDENTIALS[credential]())


def redirecting(location: str, refusals: int = 0) -> World:
    left = iter([(401, "")] * refusals)
    return World(lambda url: next(left, (302, location)) if "/start" in url else (200, ""))


@pytest.mark.parametrize("credential", sorted(CREDENTIALS.keys() - {"cookie"}))  # which `requests` sends to all hosts
@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("way", WAYS)
def test_a_redirect(way: str, spread: str, credential: str) -> None:
    world = redirecting(WAYS[way])
    assert get(world, credential, SPREADS[spread], "/start").status_code == 200
    assert WORD in repr(world.got) or "Basic" in repr(world.got)
    assert world.got[-1][1].split()[1].endswith(("/steal", "/login"))
    # The host of a region that no redirect names gets all; where a redirect leads out of its path, it is another one.
    home = {each for each in OURS if "out of its path" not in way or not each.startswith("eu")}
    arrived = "\n".join(seen for host, seen in world.got if host not in home and "/start" not in seen)
    assert arrived
    assert WORD not in arrived
    assert "Authorization" not in arrived


@pytest.mark.parametrize("credential", ["secret", "token", "basic by a secret", "query by a secret"])
@pytest.mark.parametrize("spread", ["alone", "hedge", "region", "fallback behind regions", "retry"])
@pytest.mark.parametrize("way", WAYS)
def test_a_redirect_after_a_replay(way: str, spread: str, credential: str) -> None:
    world = redirecting(WAYS[way], refusals=1)
    assert get(world, credential, SPREADS[spread], "/start").status_code == 200
    starts = [seen for _, seen in world.got if "/start" in seen]
    assert len(starts) == 2
    assert starts[0] != starts[1]
    assert "/v1/v1" not in repr(world.got)
    assert WORD not in world.got[-1][1]
    assert "Authorization" not in world.got[-1][1]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("credential", sorted(CREDENTIALS.keys() - {"cookie"}))
def test_every_kind_of_redirect(credential: str, status: int) -> None:
    world = World(lambda url: (status, WAYS["another host"]) if "/start" in url else (200, ""))
    get(world, credential, SPREADS["race"], "/start")
    assert WORD not in world.arrived(OURS)


def failing(url: str) -> tuple[int, str]:
    """Answer as a server that is down; another host works, and a path may move there first."""
    if "other.test" in url:
        return 200, ""
    return (
        (302, url.replace("/moved", "/items/").partition("://")[2].join(("//", ""))) if "/moved" in url else (503, "")
    )


@pytest.mark.parametrize("credential", CREDENTIALS)
@pytest.mark.parametrize("spread", ["fallback", "fallback behind regions", "any parameter", "with a hedge"])
@pytest.mark.parametrize("path", ["/items", "/items?page=2", "/moved"])
def test_a_fallback(path: str, spread: str, credential: str) -> None:
    options: dict[str, Any] = SPREADS.get(spread) or {
        "fallback": polvo.fallback.Another("http://other.test", parameters=["*"]),
        "hedge": 5.0 if spread == "with a hedge" else None,
    }
    world = World(failing)
    response = get(world, credential, options, path)
    assert response.status_code == 200
    assert (response.url or "").startswith("http://other.test/items")
    arrived = world.arrived({"named.test", "eu.test"})
    assert arrived.count("GET") == 1
    assert WORD not in arrived
    assert "Authorization" not in arrived
    assert arrived.endswith("None")  # no certificate


@pytest.mark.parametrize("certificate", [None, WORD])
def test_a_client_certificate_goes_to_regions_and_to_no_fallback(certificate: str | None) -> None:
    world = World(failing)
    with requests.Session() as session:
        session.cert = certificate
        session.mount(HOME, ResilientAdapter(retry=False, **SPREADS["fallback behind regions"], inner=world))
        assert session.get(f"{HOME}/items").status_code == 200
    assert [(host, WORD in seen) for host, seen in world.got] == [
        ("eu.test", certificate is not None),
        ("other.test", False),
    ]


@pytest.mark.parametrize("spread", ["region", "race", "quorum", "fanout", "race and hedge"])
@pytest.mark.parametrize("credential", CREDENTIALS)
def test_a_region_gets_everything(credential: str, spread: str) -> None:
    world = World(lambda _: (200, ""))
    response = get(world, credential, SPREADS[spread], "/items")
    assert response.request.url is not None
    assert response.request.url.partition("?")[0].endswith("named.test/items")
    assert {host for host, _ in world.got} <= {"eu.test", "us.test"}
    assert all(WORD in seen or "Basic" in seen for _, seen in world.got)


@pytest.mark.parametrize(
    "place", [{"header": "X-Tenant"}, {"path": "/t/{tenant}"}, {"subdomain": True}, {"host": "{tenant}.api.test"}]
)
@pytest.mark.parametrize("options", [{}, {"hedge": 5.0}, {"fallback": "http://other.test"}])
def test_the_name_of_a_tenant(options: dict[str, Any], place: dict[str, Any]) -> None:
    world = World(lambda url: (302, WAYS["another host"]) if "/start" in url else (200, ""))
    session = polvo.Session(HOME, tenancy=polvo.Tenancy(**place), retry=False, auth=polvo.auth.api_key(WORD), **options)
    for prefix in session.adapters:
        session.adapters[prefix] = ResilientAdapter(retry=False, **options, inner=world)
    with session, session.tenant("acme"):
        session.get("/start")
    assert "acme" in world.got[0][1]
    assert "acme" not in world.got[-1][1]
    assert WORD not in world.got[-1][1]


# httpx


class Proof:
    """The tokens of an auth object, with a proof of possession in a header of its own."""

    def __init__(self) -> None:
        self.oauth = token()

    def make_headers(self, held: Any, method: str, url: str) -> dict[str, str]:
        return {**self.oauth.make_headers(held, method, url), "DPoP": f"{WORD} {method}"}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.oauth, name)


HTTPX: dict[str, Callable[[], dict[str, Any]]] = {
    "token": lambda: {"auth": token().httpx()},
    "token with a proof": lambda: {"auth": HTTPXAuth(Proof())},
    "basic": lambda: {"auth": (WORD, WORD)},
    "the caller's Authorization": lambda: {"headers": {"Authorization": WORD}},
    "cookie": lambda: {"headers": {"Cookie": f"a={WORD}"}},
}


class Inner(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """The transport below, which answers as a World does."""

    def __init__(self, world: World) -> None:
        self.world = world

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        status, location = self.world.answer(str(request.url))
        self.world.got.append(
            (request.url.netloc.decode(), f"{request.method} {request.url} {request.headers.multi_items()}")
        )
        return httpx.Response(status, headers={"Location": location} if location else {}, content=b"ok")

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return self.handle_request(request)


def get_by_httpx(
    world: World, credential: str, options: dict[str, Any], url: str, asynchronous: bool
) -> httpx.Response:
    stack = standard(**{"retry": False, **options})
    keywords = {"follow_redirects": True, "trust_env": False}

    async def get_in_task() -> httpx.Response:
        async with httpx.AsyncClient(transport=AsyncPolicyTransport(*stack, inner=Inner(world)), **keywords) as client:
            return await client.get(url, **HTTPX[credential]())

    if asynchronous:
        return asyncio.run(get_in_task())
    with httpx.Client(transport=PolicyTransport(*stack, inner=Inner(world)), **keywords) as client:
        return client.get(url, **HTTPX[credential]())


@pytest.fixture(params=[False, True], ids=["threads", "tasks"])
def asynchronous(request: pytest.FixtureRequest) -> Iterator[bool]:
    return request.param  # type: ignore[no-any-return]


@pytest.mark.parametrize("credential", sorted(HTTPX.keys() - {"cookie"}))  # which httpx itself takes off
@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize(
    "way", ["another host", "another port", "without a scheme", "the host of a region, out of its path"]
)
def test_a_redirect_of_httpx(way: str, spread: str, credential: str, asynchronous: bool) -> None:
    world = redirecting(WAYS[way])
    response = get_by_httpx(world, credential, SPREADS[spread], f"{HOME}/start", asynchronous)
    assert response.status_code == 200
    assert response.history[0].request.url == f"{HOME}/start"
    assert world.got[-1][1].split()[1].endswith(("/steal", "/login"))
    assert WORD not in world.got[-1][1]
    assert "authorization" not in world.got[-1][1].lower()


@pytest.mark.parametrize("credential", HTTPX)
@pytest.mark.parametrize("spread", [name for name in SPREADS if "fallback" in name])
def test_a_fallback_of_httpx(spread: str, credential: str, asynchronous: bool) -> None:
    world = World(failing)
    response = get_by_httpx(world, credential, SPREADS[spread], f"{HOME}/items?page=2", asynchronous)
    assert response.status_code == 200
    arrived = world.arrived({"named.test", "eu.test"})
    assert arrived.count("GET") == 1
    assert WORD not in arrived
    assert "authorization" not in arrived.lower()


@pytest.mark.parametrize("location", ["/login", "../login", "http://eu.test/login"])
def test_a_redirect_of_httpx_out_of_the_path_of_a_region(location: str, asynchronous: bool) -> None:
    world = redirecting(location)
    response = get_by_httpx(world, "token", SPREADS["region"], f"{HOME}/start", asynchronous)
    assert str(response.url) == "http://eu.test/login"
    assert WORD not in world.got[-1][1]


@pytest.mark.parametrize("location", ["/v1/items", "items", "//eu.test/v1/items", "http://eu.test/v1/items"])
@pytest.mark.parametrize("mode", ["fallback", "race"])
def test_a_redirect_of_httpx_within_a_region(mode: str, location: str, asynchronous: bool) -> None:
    world = redirecting(location)
    options = {"regions": {"urls": [REGION], "mode": mode}}
    response = get_by_httpx(world, "token", options, f"{HOME}/start#top", asynchronous)
    assert [seen.split()[1].partition("#")[0] for _, seen in world.got] == [f"{REGION}/start", f"{REGION}/items"]
    assert WORD in world.got[-1][1]
    assert str(response.url).partition("#")[0] == f"{HOME}/items"


@pytest.mark.filterwarnings("ignore:`cert=...` is deprecated")
@pytest.mark.parametrize("spread", ["region", "fallback", "fallback over a hedge"])
def test_a_client_certificate_of_httpx_goes_to_no_fallback(spread: str, tmp_path: Path, asynchronous: bool) -> None:
    file = tmp_path / "client.pem"
    trustme.CA().issue_cert("client.test").private_key_and_cert_chain_pem.write_to_path(file)
    kind: Any = AsyncPolicyTransport if asynchronous else PolicyTransport
    transport = kind(*standard(retry=False, **SPREADS[spread]), cert=str(file))
    certified, plain = World(lambda _: (503, "")), World(lambda _: (200, ""))
    assert type(transport.inner) is type(transport._without_certificate)
    transport.inner, transport._without_certificate = Inner(certified), Inner(plain)
    request = httpx.Request("GET", f"{HOME}/items")
    if asynchronous:
        asyncio.run(transport.handle_async_request(request))
    else:
        transport.handle_request(request)
    assert [host for host, _ in certified.got] == ["eu.test" if spread == "region" else "named.test"]
    assert [host for host, _ in plain.got] == ["other.test"] * (spread != "region")


@pytest.mark.parametrize("kind", ["session", "session of ours", "session of ours with a base URL", "installed"])
@pytest.mark.parametrize("way", ["another host", "another port", "the host of a region, out of its path"])
@pytest.mark.parametrize("mode", ["fallback", "race"])
@pytest.mark.parametrize("refusals", [0, 1])
def test_a_redirect_to_another_host_goes_to_no_region(refusals: int, mode: Any, way: str, kind: str) -> None:
    """Also where the adapter gets the calls to all hosts."""
    world = redirecting(WAYS[way], refusals if mode == "fallback" else 0)
    regions = polvo.regions.Regions([REGION], mode)
    ours = polvo.Session(HOME if "base" in kind else None, retry=False, regions=regions)
    session = ours if "ours" in kind else requests.Session()
    session.trust_env = False
    bound = ours.get_adapter(HOME).policies if "base" in kind else [regions]  # type: ignore[attr-defined]
    for prefix in session.adapters:
        session.adapters[prefix] = world
        if kind != "installed":
            session.adapters[prefix] = polvo.adapters.PolicyAdapter(*bound, inner=world)
    if kind == "installed":
        polvo.install(session, regions)
    with session:
        response = session.get(f"{HOME}/start", auth=polvo.auth.api_key(secret()))
        assert response.url == WAYS[way]
        assert [seen.split()[1] for _, seen in world.got[-2:]] == [f"{REGION}/start", WAYS[way]]
        assert WORD not in world.got[-1][1]
        pickle.loads(pickle.dumps(response.request))


def test_a_request_that_is_sent_again_to_another_host_goes_to_the_regions() -> None:
    world = World(lambda _: (200, ""))
    with requests.Session() as session:
        session.mount("http://", polvo.adapters.PolicyAdapter(polvo.regions.Regions([REGION]), inner=world))
        prepared = session.prepare_request(requests.Request("GET", f"{HOME}/a"))
        for url in (f"{HOME}/a", "http://second.test/b"):
            prepared.url = url
            session.send(prepared)
    assert [seen.split()[1] for _, seen in world.got] == [f"{REGION}/a", f"{REGION}/b"]


def test_a_session_with_a_base_url_names_the_host_of_its_regions() -> None:
    session = polvo.Session("http://named.test/api", regions=[REGION])
    (regions,) = (each for each in session.get_adapter(HOME).policies if isinstance(each, polvo.regions.Regions))  # type: ignore[attr-defined]
    assert regions.serves == HOME
    given = polvo.regions.Regions([REGION], serves="http://mine.test/")
    session = polvo.Session("http://named.test/api", regions=given)
    assert given in session.get_adapter(HOME).policies  # type: ignore[attr-defined]
