"""Ways to another origin, and places of a credential: nothing arrives there that was not meant for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from unittest import mock

import pytest
import requests
from requests.auth import HTTPDigestAuth

import polvo_adapters as polvo
from polvo_adapters.adapters import ResilientAdapter
from polvo_adapters.testing import FailureServer

WORD = "s3cret-Wq7"


def _secret() -> Any:
    return polvo.Secret(lambda: WORD)


CREDENTIALS: dict[str, Callable[[], dict[str, Any]]] = {
    "bearer": lambda: {"auth": polvo.auth.bearer(WORD)},
    "basic": lambda: {"auth": polvo.auth.basic("me", WORD)},
    "api key": lambda: {"auth": polvo.auth.api_key(WORD)},
    "api key in an odd header": lambda: {"auth": polvo.auth.api_key(WORD, header="X-Page")},
    "secret": lambda: {"auth": polvo.auth.api_key(_secret())},
    "session token": lambda: {"auth": polvo.auth.session_token(WORD)},
    "token": lambda: {"auth": polvo.auth.OAuth2(fetch=lambda _: {"access_token": WORD, "expires_in": 99})},
    "key in the query": lambda: {"auth": polvo.auth.api_key(WORD, query="page")},
    "secret in the query": lambda: {"auth": polvo.auth.api_key(_secret(), query="license")},
    "the caller's own Authorization": lambda: {"headers": {"Authorization": f"Bearer {WORD}"}},
}
SPREADS: dict[str, Callable[[str], dict[str, Any]]] = {
    "alone": lambda _: {},
    "hedged": lambda _: {"hedge": 5.0},
    "in a region": lambda url: {"regions": [url]},
    "in one of two regions": lambda url: {
        "regions": {"urls": [url, url.replace("127.0.0.1", "localhost")], "mode": "race"}
    },
    "with a quorum": lambda url: {
        "regions": {"urls": [url, url.replace("127.0.0.1", "localhost")], "mode": "quorum", "quorum": 1}
    },
    "with a fallback": lambda url: {"fallback": url + "/mirror"},
    "with a deadline": lambda _: {"deadline": 20.0},
}


@pytest.fixture
def server() -> Iterator[FailureServer]:
    with FailureServer() as running:
        yield running


@pytest.fixture
def other() -> Iterator[FailureServer]:
    with FailureServer() as running:
        yield running


def received(server: FailureServer) -> str:
    """Return all that a server has seen, in one text."""
    return "\n".join(f"{record.path} {dict(record.headers)}" for record in server.requests)


def mounted(server: FailureServer, options: dict[str, Any]) -> requests.Session:
    session = requests.Session()
    session.trust_env = False
    session.mount(server.url + "/", ResilientAdapter(retry=False, **options))
    return session


@pytest.mark.parametrize("credential", CREDENTIALS)
@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("status", [302, 307])
def test_a_redirect_to_another_origin(
    status: int, spread: str, credential: str, server: FailureServer, other: FailureServer
) -> None:
    elsewhere = other.url.replace("127.0.0.1", "localhost") + "/echo"
    with mounted(server, SPREADS[spread](server.url)) as session:
        url = f"{server.url}/fault/redirect?code={status}&key=k&to={requests.utils.quote(elsewhere, safe='')}"
        response = session.get(url, **CREDENTIALS[credential]())
    assert response.status_code == 200
    assert WORD in received(server) or credential == "basic"
    assert len(other.requests) == 1
    assert WORD not in received(other)
    assert "Basic" not in received(other)


@pytest.mark.parametrize("credential", CREDENTIALS)
@pytest.mark.parametrize("parameters", [(), ("*",)])
def test_a_fallback_to_another_server(
    parameters: Any, credential: str, server: FailureServer, other: FailureServer
) -> None:
    fallback = polvo.fallback.Another(other.url, parameters=parameters)
    with mounted(server, {"fallback": fallback}) as session:
        server.stop()
        send = partial(session.get, f"{server.url}/echo?page=1&order_no=7", **CREDENTIALS[credential]())
        if parameters:
            assert "order_no=7" in send().json()["path"]
        else:
            with pytest.raises(requests.ConnectionError) as caught:
                send()
            note = caught.value.polvo.note  # type: ignore[attr-defined]
            assert "order_no in the query may hold a credential" in note
            assert not other.requests
    assert WORD not in received(other)
    assert "Basic" not in received(other)


@pytest.mark.parametrize("spread", SPREADS)
def test_the_response_refers_to_the_callers_own_request(spread: str, server: FailureServer) -> None:
    with mounted(server, SPREADS[spread](server.url)) as session:
        prepared = session.prepare_request(requests.Request("GET", server.url + "/echo"))
        assert session.send(prepared).request is prepared


@pytest.mark.parametrize("mode", ["fallback", "race"])
@pytest.mark.parametrize("location", ["/api/echo", "echo", "{base}/echo", "//{host}/api/echo"])
def test_a_redirect_within_a_region_starts_from_the_callers_url(
    location: str, mode: str, server: FailureServer
) -> None:
    base = server.url + "/api"
    to = location.format(base=base, host=server.url.partition("://")[2])
    sent: list[str] = []

    class Rewriting(requests.adapters.HTTPAdapter):
        """A server that has its paths below /api, and asks for a password."""

        def send(self, request: requests.PreparedRequest, **keywords: Any) -> requests.Response:  # type: ignore[override]
            sent.append(request.url or "")
            response = requests.Response()
            response.status_code, response.url, response.request = 200, request.url or "", request
            response._content = b"ok"
            if (request.url or "").endswith("/start"):
                response.status_code = 302
                response.headers["Location"] = to
            return response

    with requests.Session() as session:
        session.mount(
            "http://logical.test/", ResilientAdapter(regions={"urls": [base], "mode": mode}, inner=Rewriting())
        )
        response = session.get("http://logical.test/start", auth=("me", WORD))
    assert response.status_code == 200
    assert sent == [base + "/start", base + "/echo"]
    assert "Authorization" in response.request.headers


def test_a_replay_after_401_starts_from_the_callers_url(server: FailureServer) -> None:
    with mounted(server, {"regions": [server.url]}) as session:
        url = f"{server.url}/fault/status?code=401&times=1&key=d&header=WWW-Authenticate:%20Digest%20realm=r,nonce=n"
        response = session.get(url, auth=HTTPDigestAuth("me", WORD))
    assert response.status_code == 200
    assert len({record.path for record in server.requests}) == 1


@pytest.mark.parametrize(
    ("no_proxy", "used"),
    [("127.0.0.1", False), ("named.test", False), ("", True)],
)
def test_proxies_are_judged_for_the_host_of_the_region(
    no_proxy: str, used: bool, server: FailureServer, other: FailureServer
) -> None:
    named, environment = "http://named.test", {"http_proxy": other.url, "no_proxy": no_proxy}
    with mock.patch.dict("os.environ", environment), requests.Session() as session:
        session.mount(named, ResilientAdapter(retry=False, regions=[server.url]))
        session.get(named + "/echo", headers={"Authorization": f"Bearer {WORD}"})
    assert (len(other.requests), len(server.requests)) == ((1, 0) if used else (0, 1))


def test_a_session_of_ours_uses_the_proxy_where_the_region_is_not_excepted(
    server: FailureServer, other: FailureServer
) -> None:
    environment = {"http_proxy": other.url, "no_proxy": "named.test"}
    with mock.patch.dict("os.environ", environment):
        polvo.Session("http://named.test", retry=False, regions=[server.url]).get("/echo")
        session = requests.Session()
        polvo.install(session, retry=False, regions=[server.url])
        session.get("http://named.test/echo")
    assert (len(other.requests), len(server.requests)) == (2, 0)
