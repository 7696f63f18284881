"""Nothing crosses from one caller to another: pairs that differ in one thing, and everything that is kept."""

from __future__ import annotations

import itertools
import ssl
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any, NamedTuple

import httpx
import pytest
import requests
from requests.adapters import HTTPAdapter
from requests.auth import HTTPBasicAuth

import polvo_adapters as polvo
from polvo_adapters.adapters import ResilientAdapter
from polvo_adapters.errors import IdempotencyConflictError
from polvo_adapters.stores import MemoryStore
from polvo_adapters.testing import FailureServer
from polvo_adapters.transports import PolicyTransport

Secret = polvo.Secret


class Side(NamedTuple):
    """How one of two callers sends: keywords of the call, of its adapter, and its tenant."""

    keywords: dict[str, Any] = {}
    adapter: Callable[[], HTTPAdapter] | None = None
    tenant: str = ""
    query: str = ""


def side(**keywords: Any) -> Side:
    return Side(keywords)


class Pinned(HTTPAdapter):
    """An adapter with TLS settings of its own."""

    def init_poolmanager(self, *args: Any, **keywords: Any) -> None:
        super().init_poolmanager(*args, ssl_context=ssl.create_default_context(), **keywords)


def _secret(value: str) -> Any:
    return polvo.auth.bearer(Secret(lambda: value))


def _key_in_query(value: str) -> Any:
    return polvo.auth.api_key(Secret(lambda: value), query="licence-no")


def _oauth(user: str, **keywords: Any) -> Any:
    return polvo.auth.OAuth2(fetch=lambda _: {"access_token": f"token-of-{user}", "expires_in": 3600}, **keywords)


class Rotating:
    """A secret that has another value each time, of one party."""

    def __init__(self) -> None:
        self.auth = polvo.auth.bearer(Secret(self.fetch, ttl=1))
        self.numbers = itertools.count()

    def fetch(self) -> str:
        return f"value {next(self.numbers)}"


_ROTATING, _PROVIDER, _OAUTH = Rotating(), (lambda: "one value"), _oauth("carol")

APART: dict[str, tuple[Side, Side]] = {
    "Authorization": (side(headers={"Authorization": "Bearer a"}), side(headers={"Authorization": "Bearer b"})),
    "one of them unknown": (side(headers={"Authorization": "Bearer a"}), side()),
    "basic": (side(auth=HTTPBasicAuth("a", "x")), side(auth=HTTPBasicAuth("b", "x"))),
    "a key header": (side(headers={"X-Functions-Key": "a"}), side(headers={"X-Functions-Key": "b"})),
    "an auth object's odd header": (
        side(auth=polvo.auth.api_key("a", header="X-Odd")),
        side(auth=polvo.auth.api_key("b", header="X-Odd")),
    ),
    "two functions of one name": (side(auth=_secret("a")), side(auth=_secret("b"))),
    "two users of one client": (side(auth=_oauth("a")), side(auth=_oauth("b"))),
    "two named owners": (side(auth=_oauth("a", owner="a")), side(auth=_oauth("b", owner="b"))),
    "an odd parameter of auth objects": (side(auth=_key_in_query("a")), side(auth=_key_in_query("b"))),
    "a key in the query": (Side(query="&api_key=a"), Side(query="&api_key=b")),
    "the tenant": (Side(tenant="a"), Side(tenant="b")),
}
"""Pairs of callers that authenticate as two: they share nothing."""

SELECTING: dict[str, tuple[Side, Side]] = {
    "an unknown header": (side(headers={"X-Account": "a"}), side(headers={"X-Account": "b"})),
    "a cookie": (side(cookies={"session": "a"}), side(cookies={"session": "b"})),
    "the baggage of a trace": (side(headers={"baggage": "user=a"}), side(headers={"baggage": "user=b"})),
    "the language": (side(headers={"Accept-Language": "de"}), side(headers={"Accept-Language": "fr"})),
    "verify": (side(verify=False), side()),
    "a proxy": (side(proxies={"https": "http://127.0.0.1:9"}), side()),
    "the adapter's TLS": (Side(adapter=Pinned), Side()),
    "two adapters with TLS": (Side(adapter=Pinned), Side(adapter=Pinned)),
}
"""Pairs that may get other answers, and count against one quota."""

SAME: dict[str, tuple[Side, Side]] = {
    "nothing": (side(), side()),
    "a trace id": (side(headers={"traceparent": "1"}), side(headers={"traceparent": "2"})),
    "a date": (side(headers={"Date": "1"}), side(headers={"Date": "2"})),
    "encodings": (side(headers={"Accept-Encoding": "gzip"}), side(headers={"Accept-Encoding": "br"})),
    "the version of the library": (
        side(headers={"User-Agent": "python-requests/2.32"}),
        side(headers={"User-Agent": "python-requests/2.34"}),
    ),
    "another signature by one key": tuple(
        side(headers={"Authorization": f"AWS4-HMAC-SHA256 Credential=k/20261129/eu/s3/aws4_request, Signature={nonce}"})
        for nonce in "ab"
    ),  # type: ignore[dict-item]
    "a secret that rotates": (side(auth=_ROTATING.auth), side(auth=_ROTATING.auth)),
    "two Secrets of one function": (
        side(auth=polvo.auth.bearer(Secret(_PROVIDER))),
        side(auth=polvo.auth.bearer(Secret(_PROVIDER))),
    ),
    "one auth object": (side(auth=_OAUTH), side(auth=_OAUTH)),
    "one named owner": (side(auth=_oauth("a", owner="x")), side(auth=_oauth("a", owner="x"))),
    "the timeout": (side(timeout=9), side(timeout=8)),
}
"""Pairs that are one caller."""


@pytest.fixture
def server() -> Iterator[FailureServer]:
    with FailureServer() as running:
        yield running


@pytest.fixture
def opened() -> Iterator[list[Any]]:
    made: list[Any] = []
    yield made
    for each in made:
        each.close()


def sender(side: Side, opened: list[Any], store: MemoryStore, **options: Any) -> Callable[..., Any]:
    """Return a function that sends as one of the callers does."""
    session = requests.Session()
    session.trust_env = False
    opened.append(session)
    inner = None if side.adapter is None else side.adapter()
    session.mount("http://", ResilientAdapter(retry=False, inner=inner, store=store, **options))

    def send(method: str, url: str, **keywords: Any) -> Any:
        given = dict(side.keywords)
        given["headers"] = {**given.get("headers", {}), **keywords.pop("headers", {})}
        with polvo.tenant(side.tenant) if side.tenant else nullcontext():
            return session.request(method, url + side.query, **given, **keywords)

    return send


def both(pair: tuple[Side, Side], opened: list[Any], **options: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    store = MemoryStore()
    return sender(pair[0], opened, store, **options), sender(pair[1], opened, store, **options)


@pytest.mark.parametrize("name", [*APART, *SELECTING, *SAME])
def test_the_last_good_answer(name: str, server: FailureServer, opened: list[Any]) -> None:
    one, two = both({**APART, **SELECTING, **SAME}[name], opened, fallback="stale")
    assert one("GET", server.url + "/echo?size=9").status_code == 200
    server.stop()
    if name in SAME:
        assert two("GET", server.url + "/echo?size=9").status_code == 200
    else:
        with pytest.raises(requests.ConnectionError):
            two("GET", server.url + "/echo?size=9")


@pytest.mark.parametrize("name", [*APART, *SELECTING, *SAME])
def test_the_answer_of_a_record(name: str, server: FailureServer, opened: list[Any]) -> None:
    one, two = both({**APART, **SELECTING, **SAME}[name], opened, idempotency={"record": True})
    headers = {"Idempotency-Key": "cart-7"}
    first = one("POST", server.url + "/echo?x=1", data=b"order", headers=headers)
    assert first.status_code == 200
    if name in SELECTING:
        with pytest.raises(IdempotencyConflictError, match="differs") as caught:
            two("POST", server.url + "/echo?x=1", data=b"order", headers=headers)
        assert caught.value.reason == "another request"
        assert len(server.requests) == 1
        return
    second = two("POST", server.url + "/echo?x=1", data=b"order", headers=headers)
    assert second.polvo.replayed is (name in SAME)
    assert len(server.requests) == (1 if name in SAME else 2)


@pytest.mark.parametrize("name", [*APART, *SELECTING, *SAME])
def test_the_quota(name: str, server: FailureServer, opened: list[Any]) -> None:
    limit = polvo.ratelimit.TokenBucket(rate=0.001, capacity=1, max_wait=0)
    one, two = both({**APART, **SELECTING, **SAME}[name], opened, rate_limit=limit)
    assert one("GET", server.url + "/echo?x=1").status_code == 200
    if name in APART:
        assert two("GET", server.url + "/echo?x=1").status_code == 200
    else:
        with pytest.raises(polvo.RateLimitError):
            two("GET", server.url + "/echo?x=1")


@pytest.mark.parametrize("name", [*APART, *SAME])
def test_what_was_given_up(name: str, server: FailureServer, opened: list[Any]) -> None:
    pair = {**APART, **SAME}[name]
    store = MemoryStore()
    senders = []
    for each in pair:
        session = requests.Session()
        opened.append(session)
        session.mount("http://", ResilientAdapter(retry={"base": 0}, store=store))
        senders.append((session, each))
    counts = []
    for session, each in senders:
        before = len(server.requests)
        given = dict(each.keywords)
        with polvo.tenant(each.tenant) if each.tenant else nullcontext():
            session.get(f"{server.url}/fault/status?times=99&key=k{each.query}", **given)
        counts.append(len(server.requests) - before)
    assert counts == ([3, 1] if name in SAME or name == "the tenant" else [3, 3])


@pytest.mark.parametrize("name", ["Authorization", "a key header", "an unknown header", "a trace id"])
def test_httpx_keeps_callers_apart_as_well(name: str, server: FailureServer, opened: list[Any]) -> None:
    from polvo_adapters.policies.fallback import Fallback

    store, pair = MemoryStore(), {**APART, **SELECTING, **SAME}[name]
    clients = [httpx.Client(transport=PolicyTransport(Fallback("stale"), store=store)) for _ in pair]
    opened.extend(clients)
    assert clients[0].get(server.url + "/echo", headers=pair[0].keywords["headers"]).status_code == 200
    server.stop()
    if name in SAME:
        assert clients[1].get(server.url + "/echo", headers=pair[1].keywords["headers"]).status_code == 200
    else:
        with pytest.raises(httpx.HTTPError):
            clients[1].get(server.url + "/echo", headers=pair[1].keywords["headers"])


def test_the_user_names_the_credential_for_httpx_too(server: FailureServer, opened: list[Any]) -> None:
    limit, store = polvo.ratelimit.TokenBucket(rate=0.001, capacity=1, max_wait=0), MemoryStore()
    client = httpx.Client(transport=PolicyTransport(limit, store=store, credential="X-Account"))
    opened.append(client)
    assert [client.get(server.url + "/echo", headers={"X-Account": name}).status_code for name in "ab"] == [200, 200]
    with pytest.raises(polvo.RateLimitError):
        client.get(server.url + "/echo", headers={"X-Account": "a"})


def test_an_operation_is_found_by_its_caller(server: FailureServer) -> None:
    session = polvo.Session(server.url, idempotency={"record": True}, auth=polvo.auth.bearer("a"))
    session.post("/echo", data=b"x", idempotency_key="k")
    assert session.operation("/echo", "k").state == "done"
    assert session.operation("/echo", "k", caller="").state == "not sent"
    with pytest.raises(IdempotencyConflictError) as caught:
        session.post("/echo", data=b"y", idempotency_key="k")
    assert session.operation("/echo", "k", caller=caught.value.caller).state == "done"
    assert "method or body differs" in str(caught.value)


def test_a_repeat_in_doubt_may_differ_in_what_selects_the_response(server: FailureServer, opened: list[Any]) -> None:
    pair = SELECTING["a cookie"]
    one, two = both(pair, opened, idempotency={"record": True})
    headers = {"Idempotency-Key": "k"}
    with pytest.raises(requests.ConnectionError):
        one("POST", server.url + "/fault/reset?times=1&key=doubt", data=b"x", headers=headers)
    assert two("POST", server.url + "/fault/reset?times=1&key=doubt", data=b"x", headers=headers).status_code == 200


def test_the_boundary_of_a_form_selects_nothing(server: FailureServer, opened: list[Any]) -> None:
    one, two = both(SAME["nothing"], opened, idempotency={"record": True})
    form = {"headers": {"Idempotency-Key": "k"}, "files": {"file": ("a.txt", b"content")}}
    one("POST", server.url + "/echo", **form)
    assert two("POST", server.url + "/echo", **form).polvo.replayed


@pytest.mark.parametrize("bulkhead", [None, 5])
def test_circuits_by_credential(bulkhead: Any, server: FailureServer, opened: list[Any]) -> None:
    breaker = polvo.breaker.CircuitBreaker(failure_threshold=1, key=lambda call: call.credential)
    one, two = both(APART["Authorization"], opened, circuit_breaker=breaker, bulkhead=bulkhead)
    assert one("GET", server.url + "/fault/status?times=9&key=c").status_code == 503
    with pytest.raises(polvo.CircuitOpenError):
        one("GET", server.url + "/echo")
    assert two("GET", server.url + "/echo").status_code == 200


def test_a_header_is_declared_harmless(server: FailureServer, opened: list[Any]) -> None:
    record = polvo.idempotency.Record(harmless_headers=["X-Account"])
    one, two = both(SELECTING["an unknown header"], opened, idempotency={"record": record})
    headers = {"Idempotency-Key": "k"}
    one("POST", server.url + "/echo", data=b"x", headers=headers)
    assert two("POST", server.url + "/echo", data=b"x", headers=headers).polvo.replayed


def test_the_user_names_the_credential(server: FailureServer, opened: list[Any]) -> None:
    limit = polvo.ratelimit.TokenBucket(rate=0.001, capacity=1, max_wait=0)
    one, two = both(SELECTING["an unknown header"], opened, rate_limit=limit, credential="X-Account")
    assert [one("GET", server.url + "/echo").status_code, two("GET", server.url + "/echo").status_code] == [200, 200]
