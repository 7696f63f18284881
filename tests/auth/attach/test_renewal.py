"""A credential that expires while a call waits is not sent, by any auth object and client."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import jwt
import pytest
import requests

import polvo_adapters as polvo
from polvo_adapters.auth.protocol.dpop import DPoPKey
from polvo_adapters.policies.regions import Regions
from polvo_adapters.policies.retry import ExponentialBackoff
from polvo_adapters.secrets import Secret
from polvo_adapters.testing.virtual_clock import VirtualClock
from polvo_adapters.transports import AsyncPolicyTransport, PolicyTransport
from tests.support.listening_server import Asked, Listening, Reply

RETRY = {"base": 0.0, "budget": None}


class Place:
    """A token endpoint, and an API that fails once; meanwhile time passes for the auth object."""

    def __init__(self, listening: Listening) -> None:
        self.listening, self.url = listening, f"{listening.url}/api"
        self.clock = VirtualClock(seed=1)
        self.issued = self.seconds = 0
        self.is_down = False
        self.logins: dict[str, str] = {}
        self.failure = Reply({"busy": True}, 503)
        self.turns: list[Reply] = [self.failure]
        listening.routes.update({"/token": self._issue, "/api": self._answer, "/api?k=1": self._answer})
        for number in range(9):
            listening.routes[f"/api?k=token-{number}"] = self._answer

    def issue(self) -> str:
        if self.is_down:
            raise RuntimeError("down")
        self.issued += 1
        return f"token-{self.issued}"

    def _issue(self, asked: Asked) -> Reply:
        if self.is_down:
            return Reply({"error": "invalid_client"}, 401)
        access = self.issue()
        now = time.time()
        login = jwt.encode({"iat": now, "exp": now + 60, "n": self.issued}, "k" * 32)
        self.logins[login] = str(self.issued)
        return Reply({"access_token": access, "access": login, "token_type": "bearer", "expires_in": 60})

    def _answer(self, asked: Asked) -> Reply:
        self.clock.advance(self.seconds)
        return self.turns.pop(0) if self.turns else Reply({"fine": True})

    def sent(self) -> list[str]:
        asked = [each for each in self.listening.asked if each.path.startswith("/api")]
        found = [(each.headers.get("authorization") or each.path).rpartition("token-")[2] for each in asked]
        return [self.logins.get(each.removeprefix("Bearer "), each) for each in found]

    def secret(self, **keywords: Any) -> Secret:
        return Secret(self.issue, ttl=60, stale_if_error=0, background=False, clock=self.clock, **keywords)


KINDS: dict[str, Callable[[Place], Any]] = {
    "OAuth2": lambda place: polvo.auth.OAuth2(
        client_id="a", client_secret="b", token_url=f"{place.listening.url}/token", clock=place.clock, background=False
    ),
    "JWTLogin": lambda place: polvo.auth.JWTLogin(
        f"{place.listening.url}/token", "ada", "password", clock=place.clock, background=False
    ),
    "fetch": lambda place: polvo.auth.OAuth2(
        fetch=lambda _: {"access_token": place.issue(), "expires_in": 60}, clock=place.clock, background=False
    ),
    "Secret": lambda place: polvo.auth.bearer(place.secret()),
    "Secret in the query": lambda place: polvo.auth.api_key(place.secret(), query="k"),
}


def by_session(url: str, auth: Any) -> tuple[int, Any]:
    with polvo.Session(auth=auth, retry=RETRY, deadline=None) as session:
        response = session.get(url)
        return response.status_code, response.json()


def by_adapter(url: str, auth: Any) -> tuple[int, Any]:
    with requests.Session() as session:
        session.auth = auth
        session.mount("http://", polvo.ResilientAdapter(retry=RETRY))
        response = session.get(url)
        return response.status_code, response.json()


def by_installed(url: str, auth: Any) -> tuple[int, Any]:
    with polvo.install(requests.Session(), retry=RETRY) as session:
        response = session.get(url, auth=auth)
        return response.status_code, response.json()


def by_httpx(url: str, auth: Any) -> tuple[int, Any]:
    with httpx.Client(auth=auth.httpx(), transport=PolicyTransport(ExponentialBackoff(**RETRY))) as client:
        response = client.get(url)
        return response.status_code, response.json()


def by_task(url: str, auth: Any) -> tuple[int, Any]:
    async def work() -> tuple[int, Any]:
        transport = AsyncPolicyTransport(ExponentialBackoff(**RETRY))
        async with httpx.AsyncClient(auth=auth.httpx(), transport=transport) as client:
            response = await client.get(url)
            return response.status_code, response.json()

    return asyncio.run(work())


CLIENTS: dict[str, Callable[[str, Any], tuple[int, Any]]] = {
    "session": by_session,
    "adapter": by_adapter,
    "installed": by_installed,
    "httpx": by_httpx,
    "task": by_task,
}
CASES = [
    (kind, client) for kind in KINDS for client in CLIENTS if "query" not in kind or client not in ("httpx", "task")
]
each_case = pytest.mark.parametrize(("kind", "client"), CASES)


@pytest.fixture
def place() -> Iterator[Place]:
    with Listening() as listening:
        yield Place(listening)


@each_case
def test_a_credential_that_expires_between_attempts_is_not_sent(place: Place, kind: str, client: str) -> None:
    place.seconds = 61
    assert CLIENTS[client](place.url, KINDS[kind](place)) == (200, {"fine": True})
    assert place.sent() == ["1", "2"]


@each_case
def test_one_that_is_valid_is_sent_again(place: Place, kind: str, client: str) -> None:
    place.turns *= 2
    assert CLIENTS[client](place.url, KINDS[kind](place)) == (200, {"fine": True})
    assert place.sent() == ["1", "1", "1"]


@each_case
def test_where_there_is_no_other_the_caller_gets_the_answer(place: Place, kind: str, client: str) -> None:
    auth = KINDS[kind](place)

    def fail(asked: Asked) -> Reply:
        place.is_down = True
        place.clock.advance(61)
        return place.failure

    for path in list(place.listening.routes):
        if path.startswith("/api"):
            place.listening.routes[path] = fail
    assert CLIENTS[client](place.url, auth) == (503, {"busy": True})
    assert place.sent() == ["1"]


@pytest.mark.parametrize("kind", ["OAuth2", "Secret"])
def test_where_the_server_has_not_answered_the_failure_says_why_there_was_no_repeat(place: Place, kind: str) -> None:
    auth = KINDS[kind](place)
    prepared = requests.Request("GET", "http://127.0.0.1:9/api", auth=auth).prepare()
    place.is_down = True
    place.clock.advance(61)
    with polvo.Session(retry=RETRY) as session, pytest.raises(requests.RequestException) as caught:
        session.send(prepared)
    assert "not sent again" in str(getattr(caught.value, "__notes__", "")) + caught.value.polvo.note


def test_a_refused_token_that_a_retry_carries_is_replaced(place: Place) -> None:
    place.seconds, place.turns = 61, [place.failure, Reply(status=401)]
    for client in (by_session, by_httpx, by_task):
        place.listening.asked.clear()
        place.issued, place.turns = 0, [place.failure, Reply(status=401)]
        assert client(place.url, KINDS["fetch"](place)) == (200, {"fine": True})
        assert place.sent() == ["1", "2", "3"]


def test_a_token_that_another_caller_has_refreshed_meanwhile_is_sent(place: Place) -> None:
    auth = KINDS["fetch"](place)
    answer = place.listening.routes["/api"]

    def refresh(asked: Asked) -> Reply:
        if place.turns:
            auth.forget()
            auth.token()
        return answer(asked)  # type: ignore[operator]

    place.listening.routes["/api"] = refresh
    assert by_adapter(place.url, auth) == (200, {"fine": True})
    assert place.sent() == ["1", "2"]


def test_a_wait_in_a_queue_counts_as_well(place: Place) -> None:
    """The auth object is asked above the adapter, before the wait for a turn."""
    place.turns.clear()
    auth = KINDS["fetch"](place)
    with requests.Session() as session:
        session.auth = auth
        session.mount("http://", polvo.ResilientAdapter(retry=False, bulkhead={"max_concurrency": 1}))
        holding = session.get(place.url, stream=True)
        found: list[Any] = []
        waiting = threading.Thread(target=lambda: found.append(session.get(place.url)))
        waiting.start()
        threading.Event().wait(1.2)
        place.clock.advance(61)
        holding.close()
        waiting.join(10)
    assert [each.status_code for each in found] == [200]
    assert place.sent() == ["1", "2"]


def test_a_redirect_to_another_origin_gets_no_token_by_a_retry(place: Place) -> None:
    with Listening() as elsewhere:
        turns = [Reply(status=503)]
        elsewhere.routes["/next"] = lambda asked: turns.pop() if turns else Reply({"fine": True})
        place.turns = [Reply(status=302, headers=(("Location", f"{elsewhere.url}/next"),))]
        place.seconds = 61
        assert by_session(place.url, KINDS["OAuth2"](place)) == (200, {"fine": True})
        assert [asked.headers.get("authorization") for asked in elsewhere.asked] == [None, None]


@pytest.mark.parametrize("client", CLIENTS)
def test_each_attempt_has_a_proof_of_its_own(place: Place, client: str) -> None:
    key = DPoPKey.generate().to_pem()
    given = {"access_token": "token-1", "token_type": "DPoP", "key": key}
    place.turns *= 2
    auth = polvo.auth.OAuth2(fetch=lambda _: given)
    assert CLIENTS[client](place.url, auth)[0] == 200
    proofs = [asked.headers["dpop"] for asked in place.listening.asked if asked.path == "/api"]
    assert len(set(proofs)) == len(proofs) == 3


def by_region_of_requests(first: str, region: str, auth: Any) -> int:
    with requests.Session() as session:
        session.mount("http://", polvo.ResilientAdapter(regions=[region], retry=False))
        return session.get(f"{first}/api", auth=auth).status_code


def by_region_of_httpx(first: str, region: str, auth: Any) -> int:
    with httpx.Client(auth=auth.httpx(), transport=PolicyTransport(Regions([region]))) as client:
        return client.get(f"{first}/api").status_code


def by_region_of_tasks(first: str, region: str, auth: Any) -> int:
    async def work() -> int:
        transport = AsyncPolicyTransport(Regions([region]))
        async with httpx.AsyncClient(auth=auth.httpx(), transport=transport) as client:
            return (await client.get(f"{first}/api")).status_code

    return asyncio.run(work())


@pytest.mark.parametrize("call", [by_region_of_requests, by_region_of_httpx, by_region_of_tasks])
def test_a_proof_is_for_the_region_that_it_is_sent_to(place: Place, call: Any) -> None:
    key = DPoPKey.generate().to_pem()
    auth = polvo.auth.OAuth2(fetch=lambda _: {"access_token": "token-1", "token_type": "DPoP", "key": key})
    place.turns.clear()
    assert call("http://127.0.0.1:9", place.listening.url, auth) == 200
    (asked,) = place.listening.asked
    proof = jwt.decode(asked.headers["dpop"], options={"verify_signature": False})
    assert proof["htu"] == place.url


def test_a_hedge_carries_the_present_token_and_the_refused_one_is_found(place: Place) -> None:
    auth = KINDS["fetch"](place)
    answer = place.listening.routes["/api"]
    first = threading.Event()

    def slow(asked: Asked) -> Reply:
        if not first.is_set():
            first.set()
            place.clock.advance(61)
            time.sleep(0.3)
        return answer(asked)  # type: ignore[operator]

    place.turns.clear()
    place.listening.routes["/api"] = slow
    with polvo.Session(auth=auth, retry=False, hedge={"delay": 0.05}) as session:
        assert session.get(place.url).json() == {"fine": True}
    assert set(place.sent()) <= {"1", "2"}
