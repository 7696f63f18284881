"""Code above that repeats a call repeats it alone, once a call of it was given up."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import requests

from polvo_adapters.adapters import ResilientAdapter
from polvo_adapters.core.calls import Call
from polvo_adapters.core.outcomes import Outcome
from polvo_adapters.core.report import Attempt
from polvo_adapters.policies.hedge import Hedge
from polvo_adapters.policies.retry import ExponentialBackoff
from polvo_adapters.shells.given_up import GivenUpRequests
from polvo_adapters.stores import MemoryStore
from polvo_adapters.testing import FailureServer
from polvo_adapters.transports import PolicyTransport

FAST = {"base": 0}
ATTEMPTS = 3
FAULTS = [
    "status?body=busy",
    "status?code=500",
    "status?code=429",
    "status?retry_after=0",
    "reset?",
    "eof?",
    "garbage?",
]


@pytest.fixture
def server() -> Iterator[FailureServer]:
    with FailureServer() as running:
        yield running


_opened: list[Any] = []


@pytest.fixture(autouse=True)
def close() -> Iterator[None]:
    yield
    while _opened:
        _opened.pop().close()


def by_requests(**options: Any) -> Callable[..., Any]:
    session = requests.Session()
    _opened.append(session)
    session.mount("http://", ResilientAdapter(retry=FAST, **options))
    return session.request


def by_httpx() -> Callable[..., Any]:
    client = httpx.Client(transport=PolicyTransport(ExponentialBackoff(base=0)))
    _opened.append(client)
    return lambda method, url, data=None, **keywords: client.request(method, url, content=data, **keywords)


def loop(call: Callable[[], Any], tries: int) -> Any:
    """Repeat a call as an SDK does, and return the last response or None."""
    for _ in range(tries):
        try:
            response = call()
        except (requests.RequestException, httpx.HTTPError):
            continue
        if response.status_code < 429:
            return response
    return None


def received(server: FailureServer) -> int:
    return len(server.requests)


@pytest.mark.parametrize("make", [by_requests, by_httpx])
@pytest.mark.parametrize("tries", [1, 2, 4, 7])
@pytest.mark.parametrize("method", ["GET", "PUT", "POST"])
@pytest.mark.parametrize("fault", FAULTS)
def test_an_outage_sees_two_requests_more_than_without(
    fault: str, method: str, tries: int, make: Callable[[], Any], server: FailureServer
) -> None:
    send, url = make(), f"{server.url}/fault/{fault}&times=999&key=k"
    loop(lambda: send(method, url, data=b"x"), tries)
    assert tries <= received(server) <= tries + ATTEMPTS - 1


def test_a_request_that_was_served_has_all_attempts_again(server: FailureServer) -> None:
    send, url = by_requests(), f"{server.url}/fault/status?times=5&key=k"
    assert [send("GET", url).status_code for _ in range(3)] == [503, 503, 503]
    assert received(server) == 5
    assert send("GET", url).status_code == 200
    assert received(server) == 6
    other = f"{server.url}/fault/status?times=2&key=k2"
    assert send("GET", other).status_code == 200


def test_the_report_says_why_it_was_sent_once(server: FailureServer) -> None:
    send, url = by_requests(), f"{server.url}/fault/status?times=99&key=k"
    notes = [send("GET", url).polvo.note for _ in range(2)]
    assert notes == ["gave up after 3 attempts", "sent once, as the same request was given up before"]


DIFFERENT: dict[str, dict[str, Any]] = {
    "method": {"method": "PUT"},
    "query": {"params": {"page": 2}},
    "body": {"data": b"other"},
    "credential": {"headers": {"Authorization": "Bearer of-another"}},
}
SAME: dict[str, dict[str, Any]] = {
    "a counter of attempts": {"headers": {"X-Attempt": "2"}},
    "a trace id": {"headers": {"traceparent": "00-1-2-01"}},
    "a date": {"headers": {"Date": "Sun, 29 Nov 2026 14:00:00 GMT"}},
    "a timeout": {"timeout": 9},
}


@pytest.mark.parametrize("difference", [*DIFFERENT, *SAME])
def test_the_same_request_is_known_by_what_it_asks_for(difference: str, server: FailureServer) -> None:
    send, url = by_requests(), f"{server.url}/fault/status?times=99&key=k"
    first: dict[str, Any] = {"method": "GET", "url": url, "data": b"x"}
    send(**first)
    before = received(server)
    send(**{**first, **({**DIFFERENT, **SAME}[difference])})
    assert received(server) - before == (ATTEMPTS if difference in DIFFERENT else 1)


@pytest.mark.parametrize("body", [lambda: io.BytesIO(b"x"), lambda: iter([b"x"])])
def test_a_body_that_is_not_in_memory_is_never_the_same(body: Callable[[], Any], server: FailureServer) -> None:
    send, url = by_requests(), f"{server.url}/fault/status?times=99&key=k"
    counts = []
    for _ in range(2):
        before = received(server)
        send("PUT", url, data=body())
        counts.append(received(server) - before)
    assert counts[0] == counts[1]


def test_adapters_with_one_store_know_the_same_requests(server: FailureServer) -> None:
    store, url = MemoryStore(), f"{server.url}/fault/status?times=99&key=k"
    by_requests(store=store)("GET", url)
    by_requests(store=store)("GET", url)
    assert received(server) == ATTEMPTS + 1
    by_requests()("GET", url)
    assert received(server) == 2 * ATTEMPTS + 1


def test_a_repeated_call_is_not_hedged(server: FailureServer) -> None:
    send, url = by_requests(hedge=Hedge(delay=0.0, budget=None)), f"{server.url}/fault/status?times=99&key=k"
    send("GET", url)
    before = received(server)
    send("GET", url)
    assert received(server) - before == 1


def test_the_memory_is_bounded() -> None:
    known = GivenUpRequests()
    entries = [Attempt(503, "", 0.1)] * 2
    for number in range(5000):
        known.note_end(Call("GET", "http://x/"), Outcome(status=503), entries, lambda: b"%d" % number)  # noqa: B023
    assert len(known.known) == 1024
    assert b"4999" in known
    assert b"0" not in known


def test_another_caller_has_all_attempts(server: FailureServer) -> None:
    send = by_requests(credential="X-Tenant-Key")
    url = f"{server.url}/fault/status?code=503"

    def count(key: str) -> int:
        return len(send("GET", url, headers={"X-Tenant-Key": key}).polvo.attempts)

    assert [count("a"), count("a"), count("b")] == [ATTEMPTS, 1, ATTEMPTS]


@pytest.mark.parametrize("body", [[b"a", b"b"], ("a",)])
def test_a_body_in_pieces_is_known_again(body: Any, server: FailureServer) -> None:
    send = by_requests()
    session = send.__self__  # type: ignore[attr-defined]
    prepared = session.prepare_request(requests.Request("PUT", f"{server.url}/fault/status?code=503"))
    prepared.body = body
    prepared.headers["Content-Length"] = str(sum(map(len, body)))
    assert [len(session.send(prepared).polvo.attempts) for _ in range(2)] == [ATTEMPTS, 1]
