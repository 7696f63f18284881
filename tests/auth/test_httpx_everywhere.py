"""Every auth object in httpx, as in requests: the same on the wire, and one refresh for threads and tasks together."""

from __future__ import annotations

import asyncio
import base64
import inspect
import json
import pickle
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import requests
from requests.auth import AuthBase, HTTPDigestAuth

import polvo_adapters as polvo
from polvo_adapters.auth import JWTLogin, OAuth2, SigningAuth, Token, signed
from polvo_adapters.errors import ConfigurationError
from polvo_adapters.policies.regions import Regions
from polvo_adapters.policies.retry import ExponentialBackoff
from polvo_adapters.secrets import Secret
from polvo_adapters.transports import AsyncPolicyTransport, PolicyTransport
from tests.support.listening_server import Listening, Reply
from tests.support.token_sharing import PATIENCE, Shifted, until

URL = "https://api.test/orders?b=2"
MANY = 64


@pytest.fixture
def listening() -> Iterator[Listening]:
    with Listening() as server:
        yield server


class Stamp(AuthBase):
    """Signs with a number that goes up."""

    def __init__(self) -> None:
        self.count = 0
        self.threads: set[int] = set()

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        self.count += 1
        self.threads.add(threading.get_ident())
        body = request.body or b""
        size = len(body)  # type: ignore[arg-type]
        request.headers["X-Signature"] = f"{self.count} {request.method} {size} {request.headers.get('X-Trace', '')}"
        return request


def jwt_of(seconds: float) -> str:
    claims = base64.urlsafe_b64encode(json.dumps({"exp": time.time() + seconds}).encode()).decode().rstrip("=")
    return f"e30.{claims}.c2ln"


AUTHS: dict[str, Callable[[], Any]] = {
    "APIKey": lambda: polvo.auth.api_key("key-1"),
    "APIKey, a header of its own": lambda: polvo.auth.api_key("key-1", header="X-Acme", prefix="Api-Key"),
    "APIKey, query": lambda: polvo.auth.api_key("key &1", query="api key"),
    "Bearer": lambda: polvo.auth.bearer("token-1"),
    "HeaderAuth, basic": lambda: polvo.auth.basic("ada", "pass:wörd"),
    "JWTLogin": lambda: JWTLogin("https://id.test/login", "ada", "password"),
    "OAuth2": lambda: OAuth2(fetch=lambda _: Token("token-1"), client_id="c"),
    "OAuth2, header": lambda: OAuth2(fetch=lambda _: Token("token-1"), client_id="c", header="X-Token"),
    "SecretAuth": lambda: polvo.auth.bearer(Secret(lambda: "token-1")),
    "SecretAuth, basic": lambda: polvo.auth.basic("ada", Secret(lambda: "password")),
    "SecretAuth, query": lambda: polvo.auth.api_key(Secret(lambda: "key &1"), query="api key"),
    "SessionToken": lambda: polvo.auth.session_token("token-1"),
    "SigningAuth": lambda: signed(Stamp()),
}
EVERY = pytest.mark.parametrize("name", AUTHS)


@EVERY
def test_an_auth_object_that_is_given_to_httpx_says_which_one_to_give(name: str) -> None:
    client = httpx.Client(auth=AUTHS[name](), transport=httpx.MockTransport(lambda _: httpx.Response(200)))
    said = pytest.raises(TypeError, match=r"for requests, and was given to httpx; give httpx what the method httpx")
    with client, said:
        client.get(URL)


def make(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    if name == "JWTLogin":
        monkeypatch.setattr(JWTLogin, "_fetch_token", lambda *_: Token(jwt_of(600)))
    return AUTHS[name]()


def test_the_table_has_every_public_class() -> None:
    public = [getattr(polvo.auth, name) for name in polvo.auth.__all__]
    classes = {each.__name__ for each in public if inspect.isclass(each) and issubclass(each, AuthBase)}
    assert classes == {name.partition(",")[0] for name in AUTHS} - {"HeaderAuth"}


def as_requests(auth: Any, body: bytes | None) -> tuple[str, dict[str, str]]:
    request = requests.Request("POST", URL, data=body, headers={"X-Trace": "t"}, auth=auth).prepare()
    return request.url or "", {name.lower(): str(value) for name, value in request.headers.items()}


def added(headers: dict[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in headers.items()
        if name.startswith(("x-", "authorization", "dpop")) and name != "x-trace"
    }


@EVERY
@pytest.mark.parametrize("client", ["sync", "async", "sync over ours", "async over ours"])
def test_the_same_on_the_wire_as_with_requests(name: str, client: str, monkeypatch: pytest.MonkeyPatch) -> None:
    auth = make(name, monkeypatch)
    if name == "JWTLogin":
        auth.token()
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200)

    inner = httpx.MockTransport(answer)
    sent: dict[str, Any] = {"content": b"body", "headers": {"X-Trace": "t"}}
    if client.startswith("sync"):
        transport: Any = PolicyTransport(inner=inner) if "ours" in client else inner
        with httpx.Client(auth=auth.httpx(), transport=transport) as sync_client:
            response = sync_client.post(URL, **sent)
    else:
        transport = AsyncPolicyTransport(inner=inner) if "ours" in client else inner

        async def run() -> httpx.Response:
            async with httpx.AsyncClient(auth=auth.httpx(), transport=transport) as async_client:
                return await async_client.post(URL, **sent)

        response = asyncio.run(run())
    url, headers = as_requests(auth, b"body")
    if isinstance(auth, SigningAuth):
        headers["x-signature"] = "1" + headers["x-signature"].removeprefix("2")
    got = {each.decode().lower(): value.decode() for each, value in seen[0].headers.raw}
    assert added(got) == added(headers)
    assert httpx.URL(str(seen[0].url)).params == httpx.URL(url).params
    assert seen[0].content == b"body"
    for shown in (
        repr(auth.httpx()),
        f"{response.url}",
        repr(response.url),
        str(pickle.loads(pickle.dumps(response.url))),
    ):
        assert not any(secret in shown for secret in ("key-1", "token-1", "key+", "key%", "password"))


@EVERY
def test_the_caller_is_the_same_as_with_requests(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the two halves of a program had quotas of their own for one credential."""
    auth = make(name, monkeypatch)
    callers = []

    class Spy:
        counts_credentials = True

        def flow(self, call: Any, proceed: Any) -> Any:
            callers.append(call.credential)
            return (yield from proceed(call))

    with requests.Session() as session:
        session.mount("https://", polvo.adapters.PolicyAdapter(Spy(), inner=Answering()))
        session.get(URL, auth=auth)
    transport = PolicyTransport(Spy(), inner=httpx.MockTransport(lambda _: httpx.Response(200)))
    with httpx.Client(auth=auth.httpx(), transport=transport) as client:
        client.get(URL)
    assert callers[0] == callers[1]
    assert callers[0] or name == "SigningAuth"


class Answering(requests.adapters.HTTPAdapter):
    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        response = requests.Response()
        response.status_code, response.request, response.url = 200, request, request.url or ""
        response._content = b""
        return response


# Signatures -----------------------------------------------------------------------------------------------------------


def test_a_request_that_is_repeated_is_signed_again() -> None:
    stamp, seen = Stamp(), list[str]()

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["X-Signature"])
        return httpx.Response(503 if len(seen) < 3 else 200)

    policies = [ExponentialBackoff(base=0.001)]
    transport = PolicyTransport(*policies, inner=httpx.MockTransport(answer))
    with httpx.Client(auth=signed(stamp).httpx(), transport=transport) as client:
        client.get(URL)
    assert seen == ["1 GET 0 ", "2 GET 0 ", "3 GET 0 "]

    async def run() -> None:
        async_transport = AsyncPolicyTransport(*policies, inner=httpx.MockTransport(answer))
        async with httpx.AsyncClient(auth=signed(stamp).httpx(), transport=async_transport) as client:
            await client.put(URL, content=stream())

    seen.clear()
    with_loop = threading.get_ident()
    stamp.threads.clear()
    asyncio.run(run())
    assert seen == ["4 PUT 6 ", "5 PUT 6 ", "6 PUT 6 "]
    assert with_loop not in stamp.threads  # what signs may have to ask a server


@pytest.mark.parametrize("mode", ["fallback", "race"])
def test_a_copy_of_a_request_is_signed_as_well(mode: Any) -> None:
    policy = Regions(["http://a.test", "http://b.test"], mode=mode)
    stamp, seen = Stamp(), list[str]()

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["X-Signature"])
        return httpx.Response(503 if request.url.host == "a.test" else 200)

    transport = PolicyTransport(policy, inner=httpx.MockTransport(answer))
    with httpx.Client(auth=signed(stamp).httpx(), transport=transport) as client:
        assert client.get("http://a.test/").status_code == 200
    assert len(set(seen)) == len(seen) > 0


async def stream() -> Any:
    yield b"one"
    yield b"two"


def test_an_object_that_answers_to_responses_is_refused() -> None:
    """Not silently left out."""
    with (
        httpx.Client(
            auth=signed(HTTPDigestAuth("a", "b")).httpx(), transport=httpx.MockTransport(lambda _: httpx.Response(200))
        ) as client,
        pytest.raises(ConfigurationError, match=r"httpx\.DigestAuth"),
    ):
        client.get(URL)


def test_a_pickle_of_a_fixed_credential_says_that_it_stayed_behind() -> None:
    copy = pickle.loads(pickle.dumps(polvo.auth.bearer("token-1").httpx()))
    assert b"token-1" not in pickle.dumps(polvo.auth.bearer("token-1").httpx())
    transport = httpx.MockTransport(lambda _: httpx.Response(200))
    with httpx.Client(auth=copy, transport=transport) as client, pytest.raises(ConfigurationError, match="stayed behi"):
        client.get(URL)


# One refresh ----------------------------------------------------------------------------------------------------------


class API:
    """A token endpoint on loopback that takes its time, and an API in this process that takes the last token alone."""

    def __init__(self, server: Listening) -> None:
        self.server, self.issued, self.calls = server, 0, Counter[int]()
        server.routes["/token"] = self.issue

    def issue(self, _: Any) -> Reply:
        time.sleep(0.1)
        self.issued += 1
        return Reply({"access_token": f"token-{self.issued}", "token_type": "Bearer", "expires_in": 60})

    def oauth(self, clock: Shifted) -> OAuth2:
        return OAuth2(
            client_id="app", client_secret="secret", token_url=f"{self.server.url}/token", clock=clock, background=False
        )

    def answer(self, request: httpx.Request) -> httpx.Response:
        status = 200 if request.headers["Authorization"] == f"Bearer token-{self.issued}" else 401
        self.calls[status] += 1
        return httpx.Response(status)


def together(on_thread: Callable[[], Any], in_task: Callable[[], Any]) -> list[Any]:
    """Run one function on 64 threads, and another in 64 tasks, all at the same moment; return what they return."""
    barrier, results = threading.Barrier(MANY + 1), []

    def run() -> None:
        barrier.wait(PATIENCE)
        results.append(on_thread())

    async def loop() -> list[Any]:
        barrier.wait(PATIENCE)
        return await asyncio.gather(*(in_task() for _ in range(MANY)))

    threads = [threading.Thread(target=run) for _ in range(MANY)]
    for thread in threads:
        thread.start()
    results += asyncio.run(loop())
    for thread in threads:
        thread.join(PATIENCE)
    return results


def test_64_tasks_and_64_threads_meet_an_expired_token_and_refresh_it_once(listening: Listening) -> None:
    api, clock = API(listening), Shifted()
    oauth = api.oauth(clock)
    oauth.token()
    clock.ahead = 100.0
    with httpx.Client(auth=oauth.httpx(), transport=httpx.MockTransport(api.answer)) as sync_client:
        async_client = httpx.AsyncClient(transport=httpx.MockTransport(api.answer))

        async def in_task() -> int:
            return (await async_client.get(URL, auth=oauth.httpx())).status_code  # each an object of its own

        statuses = together(lambda: sync_client.get(URL).status_code, in_task)
    assert Counter(statuses) == Counter({200: 2 * MANY})
    assert api.issued == 2


def test_64_tasks_and_64_threads_whose_token_is_refused_renew_it_once(listening: Listening) -> None:
    api, clock = API(listening), Shifted()
    oauth = api.oauth(clock)
    oauth.token()
    api.issued = 10  # whatever was issued before is refused from now on
    with httpx.Client(auth=oauth.httpx(), transport=httpx.MockTransport(api.answer)) as sync_client:
        async_client = httpx.AsyncClient(auth=oauth.httpx(), transport=httpx.MockTransport(api.answer))

        async def in_task() -> int:
            return (await async_client.get(URL)).status_code

        statuses = together(lambda: sync_client.get(URL).status_code, in_task)
    assert Counter(statuses) == Counter({200: 2 * MANY})
    assert api.issued == 11


class Vault:
    """A source of secrets that takes its time and counts."""

    def __init__(self) -> None:
        self.asked, self.go_on = 0, threading.Event()

    def __call__(self) -> str:
        self.asked += 1
        assert self.go_on.wait(PATIENCE)
        return f"value-{self.asked}"


def test_64_tasks_and_64_threads_that_need_a_secret_fetch_it_once() -> None:
    source = Vault()
    secret = Secret(source)
    threading.Timer(0.1, source.go_on.set).start()
    assert together(secret.get, secret.aget) == ["value-1"] * (2 * MANY)
    assert source.asked == 1


async def test_tasks_whose_secret_is_refused_fetch_it_once_and_the_loop_goes_on() -> None:
    source = Vault()
    source.go_on.set()
    auth = polvo.auth.bearer(Secret(source))

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200 if request.headers["Authorization"] == "Bearer value-2" else 401)

    async with httpx.AsyncClient(auth=auth.httpx(), transport=httpx.MockTransport(answer)) as client:
        assert (await client.get(URL)).status_code == 200
        source.asked = 1
        statuses = [each.status_code for each in await asyncio.gather(*(client.get(URL) for _ in range(MANY)))]
    assert statuses == [200] * MANY
    assert source.asked == 1


async def test_a_task_that_is_cancelled_leaves_the_fetch_to_the_others() -> None:
    source = Vault()
    secret = Secret(source)
    tasks = [asyncio.ensure_future(secret.aget()) for _ in range(10)]
    await asyncio.to_thread(until, lambda: source.asked)  # never back if the loop were held
    for task in tasks[:-1]:
        task.cancel()
    await asyncio.sleep(0)
    source.go_on.set()
    assert await tasks[-1] == "value-1"
    assert all(task.cancelled() for task in tasks[:-1])
    assert (await secret.aget(), source.asked) == ("value-1", 1)


async def test_an_error_of_a_fetch_is_an_error_of_its_own_for_each_task() -> None:
    secret = Secret("file:///nowhere/at/all")
    errors = await asyncio.gather(*(secret.aget() for _ in range(3)), return_exceptions=True)
    assert [type(error) for error in errors] == [polvo.SecretError] * 3
    assert len({id(error) for error in errors}) == 3


def test_two_loops_share_one_fetch() -> None:
    source = Vault()
    secret = Secret(source)
    got: list[str] = []
    threads = [threading.Thread(target=lambda: got.append(asyncio.run(secret.aget()))) for _ in range(2)]
    for thread in threads:
        thread.start()
    until(lambda: source.asked)
    time.sleep(0.05)
    source.go_on.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert (got, source.asked) == (["value-1"] * 2, 1)
