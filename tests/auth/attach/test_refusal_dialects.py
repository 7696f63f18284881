"""An expired token is replaced once, however the API says that it is: every dialect, auth object and client."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, NamedTuple

import httpx
import pytest
import requests

import polvo_adapters as polvo
from polvo_adapters.auth import CredentialRefusal, JWTLogin, OAuth2
from polvo_adapters.core.credential_refusals import LARGEST_REFUSAL
from polvo_adapters.errors import ConfigurationError
from polvo_adapters.policies.deadline import Deadline
from polvo_adapters.secrets import Secret
from polvo_adapters.transports import AsyncPolicyTransport, PolicyTransport
from tests.support.listening_server import Asked, Listening, Reply
from tests.support.session_kinds import SESSIONS

GOOD = {"ok": True, "text": "what the caller wants"}


class Dialect(NamedTuple):
    """How an API says that a token is refused, and how that is told to an auth object."""

    refused: Any
    refusal: Reply
    is_in_body: bool = False


def says_expired(answer: polvo.retry.Answer) -> bool:
    return answer.body is not None and b"session over" in answer.body


DIALECTS: dict[str, Dialect] = {
    "401": Dialect(None, Reply(status=401)),
    "403": Dialect((401, 403), Reply(status=403)),
    "slack": Dialect("slack", Reply({"ok": False, "error": "token_expired"}), True),
    "meta": Dialect("meta", Reply({"error": {"code": 190, "message": "expired"}}, 400), True),
    "graphql": Dialect("graphql", Reply({"errors": [{"extensions": {"code": "UNAUTHENTICATED"}}]}), True),
    "amazon": Dialect("amazon", Reply({"errors": [{"code": "Unauthorized"}]}, 403), True),
    "header": Dialect("bearer", Reply(status=400, headers=(("WWW-Authenticate", 'Bearer error="invalid_token"'),))),
    "function": Dialect(says_expired, Reply(b"the session over there is over: session over", 440), True),
    "description": Dialect(CredentialRefusal(200, text="session over"), Reply(b"<e>session over</e>"), True),
    "compressed": Dialect(
        "slack",
        Reply(gzip.compress(b'{"error": "token_expired"}'), headers=(("Content-Encoding", "gzip"),)),
        True,
    ),
}


class API:
    """A token endpoint, a login and an API that refuses all but the last token, in a dialect."""

    def __init__(
        self, listening: Listening, refusal: Reply, header: str = "authorization", scheme: str = "Bearer "
    ) -> None:
        self.listening, self.refusal, self.header, self.scheme = listening, refusal, header, scheme
        self.issued, self.good = 0, {1}
        self.url = listening.url
        listening.routes.update({"/token": self._issue, "/secret": self._issue})
        for path in ("/api", "/other", "/api?a=1"):
            listening.routes[path] = self._answer

    def _issue(self, asked: Asked) -> Reply:
        self.issued += 1
        access = f"token-{self.issued}"
        return Reply({"access_token": access, "access": access, "token_type": "bearer", "expires_in": 3600})

    def _answer(self, asked: Asked) -> Reply:
        number = asked.headers.get(self.header, "").removeprefix(f"{self.scheme}token-")
        return Reply(GOOD) if number.isdecimal() and int(number) in self.good else self.refusal

    def revoke(self) -> None:
        self.good = {self.issued + 1}

    def calls(self, path: str = "/api") -> int:
        return [asked.path for asked in self.listening.asked].count(path)

    def oauth(self, **keywords: Any) -> OAuth2:
        return OAuth2(client_id="app", client_secret="s", token_url=f"{self.url}/token", **keywords)

    def login(self, **keywords: Any) -> JWTLogin:
        return JWTLogin(f"{self.url}/token", "ada", "password", **keywords)

    def secret(self, **keywords: Any) -> Any:
        def fetch() -> str:
            self.issued += 1
            return f"token-{self.issued}"

        return polvo.auth.bearer(Secret(fetch), **keywords)


KINDS: dict[str, Callable[..., Any]] = {"OAuth2": API.oauth, "JWTLogin": API.login, "Secret": API.secret}


@pytest.fixture
def listening() -> Iterator[Listening]:
    with Listening() as listening:
        yield listening


class Got(NamedTuple):
    """What a caller got."""

    status: int
    body: bytes
    history: list[int]


def by_requests(kind: str) -> Callable[..., list[Got]]:
    def call(auth: Any, steps: list[Any], url: str, method: str = "POST") -> list[Got]:
        found = []
        with SESSIONS[kind]() as session:
            for step in steps:
                if callable(step):
                    step()
                    continue
                response = session.request(method, url, auth=auth, data=step)
                found.append(
                    Got(response.status_code, response.content, [each.status_code for each in response.history])
                )
        return found

    return call


def by_httpx(ours: bool) -> Callable[..., list[Got]]:
    def call(auth: Any, steps: list[Any], url: str, method: str = "POST") -> list[Got]:
        found = []
        transport = PolicyTransport(Deadline(30)) if ours else None
        with httpx.Client(auth=auth.httpx(), transport=transport, trust_env=False) as client:
            for step in steps:
                if callable(step):
                    step()
                    continue
                response = client.request(method, url, content=step)
                found.append(
                    Got(response.status_code, response.content, [each.status_code for each in response.history])
                )
        return found

    return call


def by_tasks(ours: bool) -> Callable[..., list[Got]]:
    async def work(auth: Any, steps: list[Any], url: str, method: str) -> list[Got]:
        found = []
        transport = AsyncPolicyTransport(Deadline(30)) if ours else None
        async with httpx.AsyncClient(auth=auth.httpx(), transport=transport, trust_env=False) as client:
            for step in steps:
                if callable(step):
                    step()
                    continue
                response = await client.request(method, url, content=step)
                found.append(
                    Got(response.status_code, response.content, [each.status_code for each in response.history])
                )
        return found

    def call(auth: Any, steps: list[Any], url: str, method: str = "POST") -> list[Got]:
        return asyncio.run(work(auth, steps, url, method))

    return call


CLIENTS: dict[str, Callable[..., list[Got]]] = {
    **{name: by_requests(name) for name in SESSIONS},
    "httpx": by_httpx(False),
    "httpx, ours": by_httpx(True),
    "tasks": by_tasks(False),
    "tasks, ours": by_tasks(True),
}
each_client = pytest.mark.parametrize("client", CLIENTS)
each_dialect = pytest.mark.parametrize("dialect", DIALECTS)
each_kind = pytest.mark.parametrize("kind", KINDS)


def check_good(got: Got) -> None:
    assert (got.status, json.loads(got.body)) == (200, GOOD)


# ------------------------------------------------------------------------------------------ a refusal


@each_client
@each_dialect
@each_kind
def test_a_refused_credential_is_replaced_and_the_request_sent_again(
    listening: Listening, kind: str, dialect: str, client: str
) -> None:
    refused, refusal, _ = DIALECTS[dialect]
    api = API(listening, refusal)
    auth = KINDS[kind](api, refused=refused)
    steps = [b"one", api.revoke, b"two", b"three", api.revoke, b"four"]
    for got in CLIENTS[client](auth, steps, f"{api.url}/api"):
        check_good(got)
    assert (api.issued, api.calls()) == (3, 6)


@each_client
@each_dialect
def test_without_being_told_only_401_is_a_refusal(listening: Listening, dialect: str, client: str) -> None:
    refusal = DIALECTS[dialect].refusal
    api = API(listening, refusal)
    got = CLIENTS[client](api.oauth(), [b"one", api.revoke, b"two"], f"{api.url}/api")[-1]
    assert got.status == (200 if dialect == "401" else refusal.status)
    assert api.issued == (2 if dialect == "401" else 1)


@each_client
@each_dialect
def test_a_refusal_that_persists_is_the_answer_and_costs_one_renewal(
    listening: Listening, dialect: str, client: str
) -> None:
    refused, refusal, _ = DIALECTS[dialect]
    api = API(listening, refusal)
    api.good = set()
    expected = refusal.body if isinstance(refusal.body, bytes) else json.dumps(refusal.body).encode()
    expected = gzip.decompress(expected) if dialect == "compressed" else expected
    found = CLIENTS[client](api.oauth(refused=refused), [b"a"] * 12, f"{api.url}/api")
    assert [(got.status, got.body) for got in found] == [(refusal.status, expected)] * 12
    assert (api.issued, api.calls()) == (2, 13)


@each_client
def test_one_url_that_always_refuses_does_not_keep_the_others_from_a_new_token(
    listening: Listening, client: str
) -> None:
    api = API(listening, Reply(status=403))
    auth = api.oauth(refused=403)

    def call(path: str) -> Got:
        return CLIENTS[client](auth, [b"a"], f"{api.url}{path}")[0]

    for path in ("/never?b=1", "/never?b=2"):
        listening.routes[path] = Reply(status=403)
    api.good = {2}
    assert [call(path).status for path in ("/never?b=1", "/never?b=2", "/never?b=1")] == [403] * 3
    assert api.issued == 2
    check_good(call("/api"))
    assert [call(path).status for path in ("/never?b=1", "/never?b=2")] == [403] * 2
    assert api.issued == 2, "where it never worked it is not replaced again"
    api.revoke()
    check_good(call("/api"))
    assert api.issued == 3


@each_dialect
def test_of_many_who_are_refused_together_one_renews(listening: Listening, dialect: str) -> None:
    refused, refusal, _ = DIALECTS[dialect]
    api = API(listening, refusal)
    auth, gate, found = api.oauth(refused=refused), threading.Barrier(8), []
    by_requests("plain")(auth, [b"one"], f"{api.url}/api")
    api.revoke()

    def call() -> None:
        gate.wait(10)
        found.extend(by_requests("plain")(auth, [b"two"], f"{api.url}/api"))

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [got.status for got in found] == [200] * 8
    assert all(json.loads(got.body) == GOOD for got in found)
    assert api.issued == 2


@each_client
@each_dialect
def test_a_body_that_is_gone_is_not_sent_again_and_the_next_call_renews(
    listening: Listening, dialect: str, client: str
) -> None:
    refused, refusal, _ = DIALECTS[dialect]
    api = API(listening, refusal)

    def once() -> Any:
        return slow() if client.startswith("tasks") else iter([b"one", b"two"])

    async def slow() -> AsyncIterator[bytes]:
        yield b"one"

    steps = [b"one", api.revoke, once(), b"two"]
    if not hasattr(steps[2], "__next__"):
        steps[2] = once()
    first, refused_one, last = CLIENTS[client](api.oauth(refused=refused), steps, f"{api.url}/api")
    check_good(first)
    assert (refused_one.status, refused_one.history) == (refusal.status, [])
    check_good(last)
    assert (api.issued, last.history) == (2, [])


# ------------------------------------------------------------------------------------------ bodies


IN_BODY = [name for name in DIALECTS if DIALECTS[name].is_in_body]


@pytest.mark.parametrize("dialect", IN_BODY)
@pytest.mark.parametrize("kind", SESSIONS)
def test_a_streamed_answer_is_not_consumed(listening: Listening, kind: str, dialect: str) -> None:
    refused, refusal, _ = DIALECTS[dialect]
    api = API(listening, refusal)
    with SESSIONS[kind]() as session:
        session.auth = api.oauth(refused=refused)
        session.get(f"{api.url}/api")
        api.revoke()
        with session.get(f"{api.url}/api", stream=True) as response:
            assert response.status_code == refusal.status
            assert response._content_consumed is False
            assert response.content
        assert api.issued == 1, "what is in a body that the caller streams is not looked at"
        assert session.get(f"{api.url}/api").json() == GOOD


class Large:
    """Bodies around the size that a refusal may have: in one piece, and in chunks of a length that nothing tells."""

    sizes = (0, LARGEST_REFUSAL - 1, LARGEST_REFUSAL, LARGEST_REFUSAL + 1, 20 * LARGEST_REFUSAL)


def text_of(size: int) -> bytes:
    return (b"0123456789abcdef" * (size // 16 + 1))[:size]


@each_client
@pytest.mark.parametrize("size", Large.sizes)
def test_the_answer_that_the_caller_gets_is_whole(listening: Listening, client: str, size: int) -> None:
    seen: list[Any] = []
    api = API(listening, Reply())
    listening.routes["/api"] = Reply(text_of(size))

    def refuses(answer: polvo.retry.Answer) -> None:
        seen.append(None if answer.body is None else len(answer.body))

    got = CLIENTS[client](api.oauth(refused=refuses), [b"a"], f"{api.url}/api")[0]
    assert got == Got(200, text_of(size), [])
    assert set(seen) == {size if size <= LARGEST_REFUSAL else None}


def stream_sync(url: str, auth: Any, how: str) -> bytes:
    with httpx.Client(auth=auth.httpx(), trust_env=False) as client, client.stream("GET", url) as response:
        assert not response.is_stream_consumed
        return b"".join(getattr(response, how)())


async def stream_async(url: str, auth: Any, how: str) -> bytes:
    client = httpx.AsyncClient(auth=auth.httpx(), trust_env=False)
    async with client, client.stream("GET", url) as response:
        assert not response.is_stream_consumed
        return b"".join([each async for each in getattr(response, "a" + how)()])


@pytest.mark.parametrize("size", Large.sizes)
@pytest.mark.parametrize("how", ["iter_raw", "iter_bytes"])
@pytest.mark.parametrize("kind", ["application/json", "text/event-stream"])
def test_a_stream_of_httpx_is_put_back_whole(listening: Listening, kind: str, how: str, size: int) -> None:
    api = API(listening, Reply())
    listening.routes["/api"] = Reply(text_of(size), headers=(("Content-Type", kind),))
    auth = api.oauth(refused="slack")
    assert stream_sync(f"{api.url}/api", auth, how) == text_of(size)
    assert asyncio.run(stream_async(f"{api.url}/api", auth, how)) == text_of(size)


def test_a_hook_of_the_caller_finds_the_body(listening: Listening) -> None:
    api, seen = API(listening, DIALECTS["slack"].refusal), []
    with requests.Session() as session:
        session.auth = api.oauth(refused="slack")
        session.hooks["response"].append(lambda response, **_: seen.append(response.json()))
        session.get(f"{api.url}/api")
    assert seen == [GOOD]


# ------------------------------------------------------------------------------------------ the policies below


@each_dialect
@pytest.mark.parametrize("strategy", ["hash", "unique"])
def test_a_refusal_is_not_recorded_as_what_came_of_a_key(listening: Listening, strategy: str, dialect: str) -> None:
    refused, refusal, _ = DIALECTS[dialect]
    api = API(listening, refusal)
    with polvo.Session(auth=api.oauth(refused=refused), idempotency={"strategy": strategy, "record": True}) as session:
        session.post(f"{api.url}/api", data=b"one")
        api.revoke()
        assert session.post(f"{api.url}/api", data=b"two").json() == GOOD
    assert (api.issued, api.calls()) == (2, 3)
    keys = [asked.headers["idempotency-key"] for asked in listening.asked if asked.path == "/api"]
    assert keys[1] == keys[2] != keys[0], "the request that was refused and the one with another token are one call"


@each_dialect
def test_a_refusal_is_no_good_answer_to_fall_back_to(listening: Listening, dialect: str) -> None:
    refused, refusal, _ = DIALECTS[dialect]
    api = API(listening, refusal)
    with polvo.Session(auth=api.oauth(refused=refused), fallback="stale", retry=False) as session:
        assert session.get(f"{api.url}/api").json() == GOOD
        api.good = set()
        assert session.get(f"{api.url}/api").status_code == refusal.status
        listening.routes["/api"] = Reply(status=503)
        assert session.get(f"{api.url}/api").status_code == 503, "the last good answer is not for whom the API refuses"


@pytest.mark.parametrize("client", ["polvo", "httpx, ours", "tasks, ours"])
def test_a_refusal_is_not_retried_as_a_failure(listening: Listening, client: str) -> None:
    api = API(listening, Reply(b"session over", 500))
    got = CLIENTS[client](api.oauth(refused=says_expired), [b"one", api.revoke, b"two"], f"{api.url}/api", "GET")[-1]
    check_good(got)
    assert api.calls() == 3


# ------------------------------------------------------------------------------------------ places of the token

PLACES: dict[str, tuple[dict[str, Any], str, str]] = {
    "default": ({}, "Authorization", "Bearer "),
    "scheme": ({"scheme": "Zoho-oauthtoken"}, "Authorization", "Zoho-oauthtoken "),
    "no scheme": ({"scheme": ""}, "Authorization", ""),
    "header": ({"header": "x-amz-access-token"}, "x-amz-access-token", ""),
    "header and scheme": ({"header": "X-Token", "scheme": "Key"}, "X-Token", "Key "),
    "other spelling": ({"header": "authorization"}, "Authorization", "Bearer "),
}


@each_client
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", ["OAuth2", "JWTLogin"])
def test_the_token_goes_where_the_api_takes_it(listening: Listening, kind: str, place: str, client: str) -> None:
    keywords, header, scheme = PLACES[place]
    api = API(listening, Reply(status=401), header.lower(), scheme)
    auth = KINDS[kind](api, **keywords)
    for got in CLIENTS[client](auth, [b"one", api.revoke, b"two"], f"{api.url}/api"):
        check_good(got)
    assert api.issued == 2
    sent = [asked.headers for asked in listening.asked if asked.path == "/api"]
    assert all(("authorization" in headers) == (header == "Authorization") for headers in sent)


@pytest.mark.parametrize("client", [name for name in CLIENTS if not name.startswith(("httpx", "tasks"))])
def test_a_token_in_a_header_of_its_own_stays_with_its_origin(listening: Listening, client: str) -> None:
    """With requests; what httpx does with redirects is in tests/auth/attach/test_redirects.py."""
    with Listening() as elsewhere:
        elsewhere.routes["/next"] = Reply()
        api = API(listening, Reply(status=401))
        listening.routes["/api"] = Reply(status=302, headers=(("Location", f"{elsewhere.url}/next"),))
        CLIENTS[client](api.oauth(header="X-Token"), [b"one"], f"{api.url}/api", "GET")
        assert [asked.headers.get("x-token") for asked in listening.asked if asked.path == "/api"] == ["token-1"]
        assert [asked.headers.get("x-token") for asked in elsewhere.asked] == [None]


WRONG: dict[str, Callable[[], Any]] = {
    "header": lambda: OAuth2(client_id="a", issuer="https://a.test", header="X Token"),
    "scheme": lambda: OAuth2(client_id="a", issuer="https://a.test", scheme="Bearer "),
    "scheme with a line": lambda: JWTLogin("https://a.test", "a", "b", scheme="a\nb"),
    "dpop": lambda: OAuth2(client_id="a", issuer="https://a.test", dpop=True, header="X-Token"),
    "dpop and scheme": lambda: OAuth2(client_id="a", issuer="https://a.test", dpop=True, scheme="Bearer"),
    "refused": lambda: JWTLogin("https://a.test", "a", "b", refused="unknown"),
    "a text": lambda: polvo.auth.bearer("token", refused=403),  # type: ignore[call-overload]
    "a key": lambda: polvo.auth.api_key("key", refused=403),  # type: ignore[call-overload]
    "a session": lambda: polvo.auth.session_token("key", refused=403),  # type: ignore[call-overload]
    "a password": lambda: polvo.auth.basic("ada", "password", refused=403),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_work_is_refused_at_once(case: str) -> None:
    with pytest.raises(ConfigurationError):
        WRONG[case]()
