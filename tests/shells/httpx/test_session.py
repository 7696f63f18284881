"""What an asynchronous session does besides what both kinds do alike; see `tests.shells.test_twin_sessions`."""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import random
import re
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any

import httpx
import pytest

import polvo_adapters as polvo
from polvo_adapters.policies.options import StackOptions
from polvo_adapters.shells.httpx.url_reading import _PLAIN, read_url
from polvo_adapters.stores import MemoryStore
from polvo_adapters.testing import FailureServer
from polvo_adapters.transports import AsyncPolicyTransport
from tests.support.token_sharing import until

FAST = {"base": 0.001}
CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # to load certificates takes longer than a call


def session(*args: Any, **keywords: Any) -> polvo.AsyncSession:
    return polvo.AsyncSession(*args, **{"verify": CONTEXT, "trust_env": False, **keywords})


class Answering(httpx.AsyncBaseTransport):
    """A transport that answers at once, and remembers what it was asked."""

    def __init__(self, status: int = 200, body: bytes = b"{}", **headers: str) -> None:
        self.status, self.body, self.headers = status, body, headers
        self.asked: list[httpx.Request] = []
        self.is_closed = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        return httpx.Response(self.status, headers=self.headers, stream=httpx.ByteStream(self.body))

    async def aclose(self) -> None:
        self.is_closed = True


# It is a client of httpx ----------------------------------------------------------------------------------------------


async def test_it_is_a_client_of_httpx_with_everything(server: FailureServer) -> None:
    async with session(server.url, params={"size": "5"}, headers={"X-A": "b"}, cookies={"c": "d"}) as client:
        assert isinstance(client, httpx.AsyncClient)
        response = await client.get("echo")
        assert (response.text, response.is_closed, response.elapsed.total_seconds() > 0) == ("xxxxx", True, True)
        assert response.polvo is response.extensions["polvo"]
        assert [part async for part in response.aiter_bytes()] == [b"xxxxx"]
        request = client.build_request("POST", "echo", json={"a": 1})
        assert (await client.send(request)).polvo.method == "POST"
        async with client.stream("GET", "echo", params={"size": 100_000}) as streamed:
            assert not streamed.is_stream_consumed
            assert sum([len(part) async for part in streamed.aiter_raw()]) == 100_000
        assert (client.base_url, client.timeout) == (httpx.URL(server.url), httpx.Timeout(30))
        client.base_url = server.url + "/v1"  # type: ignore[assignment]
        assert str(client.build_request("GET", "x").url) == server.url + "/v1/x?size=5"
    record = server.requests[0]
    assert (record.headers["x-a"], record.headers["cookie"]) == ("b", "c=d")


async def test_a_base_url_may_be_one_of_httpx() -> None:
    base: Any = httpx.URL("http://api.example.com/v1")
    async with session(base, transport=Answering()) as client:
        assert str(client.build_request("GET", httpx.URL("orders")).url) == "http://api.example.com/v1/orders"
        assert str(client.build_request("GET", httpx.URL("http://x.test/y")).url) == "http://x.test/y"


@pytest.mark.parametrize(
    ("timeout", "expected"),
    [
        (5, httpx.Timeout(5)),
        (None, httpx.Timeout(None)),
        ((1, 2), httpx.Timeout(connect=1, read=2, write=2, pool=1)),
        ((1, None), httpx.Timeout(connect=1, read=None, write=None, pool=1)),
        (httpx.Timeout(3, read=4), httpx.Timeout(3, read=4)),
        ((1, 2, 3, 4), httpx.Timeout((1, 2, 3, 4))),
    ],
)
async def test_timeouts_take_many_forms(timeout: Any, expected: httpx.Timeout) -> None:
    async with session(timeout=timeout, transport=Answering()) as client:
        assert client.timeout == expected
        assert client.build_request("GET", "http://x.test/").extensions["timeout"] == expected.as_dict()
    async with session(transport=Answering()) as client:
        request = client.build_request("GET", "http://x.test/", timeout=timeout)
        assert request.extensions["timeout"] == expected.as_dict()


@pytest.mark.parametrize(
    ("keyword", "hint"),
    [
        ("allow_redirects", "follow_redirects"),
        ("stream", "session.stream"),
        ("proxies", "proxy"),
        ("verify", "of the session"),
        ("hooks", "event_hooks"),
        ("base", "retry"),
        ("tiemout", "timeout"),
    ],
)
async def test_a_keyword_of_requests_is_refused_with_a_hint(keyword: str, hint: str) -> None:
    inner = Answering()
    async with session(transport=inner) as client:
        if keyword == "base":
            with pytest.raises(TypeError, match=hint):
                session(base=1)
            return
        with pytest.raises(TypeError, match=f"no keyword {keyword}; .*{hint}"):
            await client.get("http://x.test/", **{keyword: 1})  # type: ignore[arg-type]
    assert not inner.asked


@pytest.mark.parametrize("name", sorted(StackOptions.__annotations__))
async def test_false_switches_every_part_off_as_none_does(name: str) -> None:
    off: Any = {name: False}
    async with session(transport=Answering(), **off) as client:
        assert (await client.get("http://x.test/")).status_code == 200
        policies = client._policy_transport.policies
    async with session(transport=Answering(), **{name: None}) as other:
        assert policies == other._policy_transport.policies
        assert (client._seconds, client._default_deadline) == (other._seconds, other._default_deadline)


async def test_event_hooks_run_at_each_hop(server: FailureServer) -> None:
    seen = []

    async def hook(response: httpx.Response) -> None:
        await response.aread()
        seen.append((response.status_code, response.extensions["polvo"].method))

    async with session(server.url, event_hooks={"response": [hook]}) as client:
        await client.get("fault/redirect?to=/echo")
    assert seen == [(302, "GET"), (200, "GET")]


async def test_cookies_are_kept_along_redirects_and_in_the_session() -> None:
    class Setting(Answering):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            self.asked.append(request)
            status = 302 if len(self.asked) == 1 else 200
            headers = {"set-cookie": "id=s3cret", "location": "/there"} if status == 302 else {}
            return httpx.Response(status, headers=headers, stream=httpx.ByteStream(b""))

    inner = Setting()
    async with session("http://x.test", transport=inner) as client:
        await client.get("here")
        await client.get("again")
        assert dict(client.cookies) == {"id": "s3cret"}
    assert [request.headers.get("cookie") for request in inner.asked] == [None, "id=s3cret", "id=s3cret"]


async def test_an_encoded_body_is_decoded_once() -> None:
    import gzip

    inner = Answering(body=gzip.compress(b'{"a": 1}'), **{"content-encoding": "gzip", "content-type": "text/plain"})
    async with session("http://x.test", transport=inner) as client:
        response = await client.get("x")
        assert (response.json(), response.is_closed, response.num_bytes_downloaded > 0) == ({"a": 1}, True, True)


async def test_httpx_logs_the_calls_where_it_is_asked_to(caplog: pytest.LogCaptureFixture) -> None:
    async with session("http://x.test", transport=Answering()) as client:
        await client.get("quiet")
        caplog.set_level("INFO", "httpx")
        response = await client.get("told")
    assert response.elapsed.total_seconds() > 0
    assert [record.args[1] for record in caplog.records if record.name == "httpx"] == [httpx.URL("http://x.test/told")]  # type: ignore[index]


async def test_an_application_may_answer() -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": scope["path"].encode()})

    async with session("http://app", transport=httpx.ASGITransport(application)) as client:
        assert (await client.get("x")).text == "/x"
        async with client.stream("GET", "y") as response:
            assert await response.aread() == b"/y"


@pytest.mark.parametrize("name", ["AsyncSession", "aio"])
def test_without_httpx_the_message_names_the_command(name: str) -> None:
    code = f"import sys; sys.modules['httpx'] = None\nimport polvo_adapters\npolvo_adapters.{name}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert re.search(rf"polvo_adapters.{name} needs httpx: \S+ -m pip install (-e )?'\S+\[httpx\]'", done.stderr)


# Routes ---------------------------------------------------------------------------------------------------------------


async def test_the_policies_are_above_every_mount() -> None:
    default, mounted = Answering(503), Answering(503)
    async with session(
        retry={**FAST, "max_attempts": 2}, transport=default, mounts={"all://special.test": mounted}
    ) as client:
        assert len((await client.get("http://special.test/")).polvo.attempts) == 2
        assert len((await client.get("http://usual.test/")).polvo.attempts) == 2
    assert (len(mounted.asked), len(default.asked)) == (2, 2)
    assert mounted.is_closed
    assert default.is_closed


async def test_a_mount_with_policies_of_its_own_has_those_alone() -> None:
    own = AsyncPolicyTransport(polvo.retry.ExponentialBackoff(4, base=0.001), inner=Answering(503))
    async with session(retry=False, transport=Answering(503), mounts={"all://special.test": own}) as client:
        assert len((await client.get("http://special.test/")).polvo.attempts) == 4
        assert len((await client.get("http://usual.test/")).polvo.attempts) == 1


async def test_retries_do_not_multiply() -> None:
    inner = Answering(503)
    transport = AsyncPolicyTransport(polvo.retry.ExponentialBackoff(3, base=0.001), inner=inner)
    async with session(transport=transport, circuit_breaker=None) as client:
        assert (await client.get("http://x.test/")).status_code == 503
    assert len(inner.asked) == 3


async def test_a_region_is_reached_by_its_own_route() -> None:
    down, up = Answering(503), Answering()
    async with session(
        "http://main.test",
        retry=False,
        regions=["http://one.test", "http://two.test"],
        transport=down,
        mounts={"all://two.test": up},
    ) as client:
        assert (await client.get("x")).status_code == 200
    assert [request.url.host for request in (*down.asked, *up.asked)] == ["one.test", "two.test"]


async def test_a_bulkhead_finds_room_in_the_pool() -> None:
    async with session(bulkhead=150) as client:
        assert client._transport._pool._max_connections == 150  # type: ignore[attr-defined]
    async with session(bulkhead=150, limits=httpx.Limits(max_connections=7)) as client:
        assert client._transport._pool._max_connections == 7  # type: ignore[attr-defined]


# The end, and other loops ---------------------------------------------------------------------------------------------


async def test_use_after_close_says_so(server: FailureServer) -> None:
    client = session(server.url)
    await client.get("echo")
    await client.aclose()
    await client.aclose()
    for use in (client.get("echo"), client.send(httpx.Request("GET", server.url)), client.__aenter__()):
        with pytest.raises(polvo.SessionClosedError, match="nothing was sent") as caught:
            await use
        assert isinstance(caught.value, (RuntimeError, httpx.HTTPError))
    with pytest.raises(polvo.SessionClosedError):
        async with client.stream("GET", "echo"):
            pass
    assert len(server.requests) == 1


def test_connections_of_another_event_loop_are_refused(server: FailureServer) -> None:
    client = session(server.url)
    one, two = asyncio.new_event_loop(), asyncio.new_event_loop()
    one.run_until_complete(client.get("echo"))
    with pytest.raises(polvo.ConfigurationError, match="store=") as caught:
        two.run_until_complete(client.get("echo"))
    assert isinstance(caught.value, httpx.HTTPError)
    one.run_until_complete(client.aclose())
    for loop in (one, two):
        loop.close()
    assert len(server.requests) == 1


def test_a_session_without_connections_serves_one_loop_after_the_other() -> None:
    client = session("http://x.test", transport=Answering())
    for _ in range(2):
        assert asyncio.run(client.get("x")).status_code == 200


def test_trio(server: FailureServer) -> None:
    trio = pytest.importorskip("trio")

    async def main() -> int:
        async with session(server.url, retry=FAST, deadline=5) as client:
            response = await client.get("fault/status?times=1")
            return len(response.polvo.attempts)  # type: ignore[attr-defined]

    assert trio.run(main) == 2


# Auth -----------------------------------------------------------------------------------------------------------------


class SlowAuth(httpx.Auth):
    """An auth object that waits for its token."""

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        await asyncio.sleep(30)
        yield request


async def test_the_wait_for_a_token_is_within_the_deadline() -> None:
    inner = Answering()
    started = time.monotonic()
    async with session("http://x.test", auth=SlowAuth(), deadline=0.05, transport=inner) as client:
        with pytest.raises(polvo.DeadlineExceeded, match="credential") as caught:
            await client.get("x")
        assert isinstance(caught.value, httpx.TimeoutException)
        with pytest.raises(polvo.DeadlineExceeded):
            await client.get("x", auth=SlowAuth())
    assert time.monotonic() - started < 5
    assert not inner.asked


async def test_an_auth_flow_of_several_requests_works_within_a_deadline(server: FailureServer) -> None:
    class Asking(httpx.Auth):
        requires_response_body = True

        def auth_flow(self, request: httpx.Request) -> Any:
            first = yield httpx.Request("GET", server.url + "/echo?size=3")
            request.headers["Authorization"] = f"Bearer {first.text}"
            yield request

    async with session(server.url, auth=Asking(), deadline=10) as client:
        await client.get("echo")
    assert [record.headers.get("authorization") for record in server.requests] == [None, "Bearer xxx"]


async def test_an_auth_of_requests_says_what_to_use() -> None:
    import requests

    with pytest.raises(TypeError, match="for requests only"):
        session(auth=requests.auth.HTTPDigestAuth("user", "pass"))
    async with session("http://x.test", transport=Answering()) as client:
        with pytest.raises(TypeError, match="for requests only"):
            await client.get("x", auth=requests.auth.HTTPDigestAuth("user", "pass"))
        with pytest.raises(TypeError, match="auth"):
            client.auth = 5  # type: ignore[assignment]


# Streams and errors ---------------------------------------------------------------------------------------------------


async def test_an_error_that_is_streamed_leaves_no_connection_open(server: FailureServer) -> None:
    async with session(server.url, retry=False, raise_for_status=True) as client:
        for path in ("fault/status?code=404", "fault/status?code=429"):
            with pytest.raises(polvo.StatusError) as caught:
                async with client.stream("GET", path):
                    pass
            assert caught.value.response is not None
            assert caught.value.response.is_closed
        pool: Any = client._transport._pool  # type: ignore[attr-defined]
        assert all(connection.is_idle() for connection in pool.connections)


async def test_an_error_pickles_without_its_request(server: FailureServer) -> None:
    async with session(server.url, retry=False, headers={"Authorization": "Bearer s3cret"}) as client:
        with pytest.raises(polvo.RateLimitError) as caught:
            await client.get("fault/status?code=429&key=s3cret")
    data = pickle.dumps(caught.value)
    copied = pickle.loads(data)
    assert b"s3cret" not in data
    assert (type(copied).__name__, copied.status_code, str(copied)) == ("RateLimitError", 429, str(caught.value))
    assert isinstance(copied, httpx.HTTPStatusError)


async def test_a_cancelled_call_leaves_nothing(server: FailureServer) -> None:
    async with session(server.url, bulkhead=2, retry=False) as client:
        tasks = [asyncio.ensure_future(client.get("fault/hang")) for _ in range(5)]
        await asyncio.sleep(0.1)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert all(task.cancelled() for task in tasks)
        for _ in range(3):
            assert (await client.get("echo")).status_code == 200
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


async def test_a_one_shot_body_that_would_be_sent_again_is_not(server: FailureServer) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"x"

    async with session(server.url, retry=FAST, idempotency=True) as client:
        response = await client.post("fault/status?key=a", content=body())
        assert (response.status_code, len(response.polvo.attempts)) == (503, 1)  # type: ignore[attr-defined]


class BreakingOff(httpx.AsyncBaseTransport):
    """A transport whose odd answers are whole and whose even ones break off; before them comes a redirect, if asked."""

    def __init__(self) -> None:
        self.count = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/from":
            return httpx.Response(302, headers={"location": "/to"})
        self.count += 1
        return httpx.Response(200, stream=_Body(is_whole=self.count % 2 == 1))


class _Body(httpx.AsyncByteStream):
    def __init__(self, *, is_whole: bool) -> None:
        self._is_whole = is_whole

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"ab"
        if not self._is_whole:
            raise httpx.ReadError("reset")
        yield b"cd"


@pytest.mark.parametrize("again", ["same", "redirect"])
async def test_a_request_that_was_streamed_once_is_not_for_ever(again: str) -> None:
    async with session("http://a.example", transport=BreakingOff(), retry=FAST, follow_redirects=False) as client:
        request = client.build_request("GET", "from" if again == "redirect" else "to")
        response = await client.send(request, stream=True)
        await response.aread()
        if again == "redirect":
            await client.get("to")  # the next one breaks off
            request = response.next_request  # type: ignore[assignment]
        response = await client.send(request)
        assert response.content == b"abcd"
        assert len(response.polvo.attempts) == 2  # type: ignore[attr-defined]


WRONG_KINDS: dict[str, Sequence[Any]] = {
    "transport": [5, "x", httpx.BaseTransport()],
    "mounts": [5, {"http://": 5}, {5: None}, [("http://", None)]],
    "http1": ["x", 1, None],
    "http2": ["x", 0, None],
    "trust_env": ["x", None],
    "follow_redirects": ["x", 1, None],
    "max_redirects": ["x", -1, 1.5, True, None],
    "limits": [5, "x", {"max_connections": 5}],
    "proxy": [5, {"http://": "http://a"}],
    "event_hooks": [5, {"request": 5}, {"request": print}, {"requests": [print]}, {"response": [5]}],
    "default_encoding": [5, None],
}


@pytest.mark.parametrize("name", WRONG_KINDS)
def test_a_keyword_of_httpx_of_a_wrong_kind_is_refused(name: str) -> None:
    for value in WRONG_KINDS[name]:
        with pytest.raises(TypeError, match=rf"^AsyncSession\({name}=.*\): {name} must be "):
            polvo.AsyncSession(**{name: value})


@pytest.mark.parametrize(
    "options",
    [
        {"mounts": {"http://": None, "all://*.test": httpx.AsyncHTTPTransport()}},
        {"limits": httpx.Limits(max_connections=5), "proxy": "http://127.0.0.1:9"},
        {"event_hooks": {"request": [print], "response": ()}, "max_redirects": 0},
        {"event_hooks": {"request": {print}, "response": frozenset()}},
        {"transport": None, "mounts": None, "proxy": httpx.URL("http://127.0.0.1:9"), "default_encoding": "latin-1"},
    ],
)
def test_keywords_of_httpx_that_fit_are_taken(options: Any) -> None:
    polvo.AsyncSession(**options)


# Together with threads ------------------------------------------------------------------------------------------------


def test_threads_and_tasks_share_one_quota(server: FailureServer) -> None:
    """4 threads and 40 tasks: none is turned away, which a limiter of each alone could not bring about."""
    store = MemoryStore()
    options: Any = {
        "store": store,
        "rate_limit": {"pace": "burst", "max_wait": 10},
        "retry": False,
        "circuit_breaker": None,
    }
    url = "quota?limit=30&window=60&dialect=draft-7"
    statuses: list[int] = []

    def on_thread() -> None:
        with polvo.Session(server.url, **options) as client:
            for _ in range(10):
                with contextlib.suppress(polvo.RateLimitError):
                    statuses.append(client.get(url).status_code)

    async def in_tasks() -> None:
        async def ask() -> None:
            with contextlib.suppress(polvo.RateLimitError):
                statuses.append((await client.get(url)).status_code)

        async with session(server.url, **options) as client:
            await asyncio.gather(*(ask() for _ in range(40)))

    threads = [threading.Thread(target=on_thread) for _ in range(4)]
    for thread in threads:
        thread.start()
    asyncio.run(in_tasks())
    for thread in threads:
        thread.join()
    assert set(statuses) == {200}
    assert 5 < len(statuses) <= 30
    assert len(server.requests) == len(statuses)  # each for itself would have been turned away


async def test_tenants_of_tasks_do_not_meet(server: FailureServer) -> None:
    async with session(server.url, tenancy=polvo.Tenancy(header="X-Tenant")) as client:

        async def ask(name: str) -> None:
            with client.tenant(name):
                await asyncio.sleep(random.random() / 100)
                await client.get(f"echo?name={name}")

        await asyncio.gather(*(ask(f"t{number}") for number in range(20)))
    assert all(f"name={record.headers['x-tenant']}" in record.path for record in server.requests)


# The verbs ------------------------------------------------------------------------------------------------------------


class TestVerbs:
    @pytest.mark.parametrize("verb", ["get", "options", "head", "post", "put", "patch", "delete"])
    async def test_every_verb_sends_its_method(self, verb: str, server: FailureServer) -> None:
        response = await getattr(polvo.aio, verb)(server.url + "/echo", timeout=5)
        assert response.polvo.method == verb.upper()

    async def test_calls_share_a_connection_and_no_credentials(self, server: FailureServer) -> None:
        await polvo.aio.get(server.url + "/echo", auth=("user", "pass"), headers={"X-A": "b"}, cookies={"c": "d"})
        await polvo.aio.get(server.url + "/echo")
        first, second = server.requests
        assert {"authorization", "x-a", "cookie"} <= first.headers.keys()
        assert not {"authorization", "x-a", "cookie"} & second.headers.keys()
        assert server.open_connections == 1

    async def test_a_429_that_outlives_the_retries_is_an_error(self, server: FailureServer) -> None:
        with pytest.raises(polvo.RateLimitError):
            await polvo.aio.get(server.url + "/fault/status?code=429&retry_after=0", retry=FAST)
        with pytest.raises(TypeError, match="follow_redirects"):
            await polvo.aio.get(server.url + "/echo", allow_redirects=True)  # type: ignore[call-arg]

    async def test_they_can_be_used_after_aclose(self, server: FailureServer) -> None:
        await polvo.aio.get(server.url + "/echo")
        await polvo.aio.aclose()
        await polvo.aio.aclose()
        await asyncio.to_thread(until, lambda: server.open_connections == 0)
        await polvo.aio.get(server.url + "/echo")
        assert server.open_connections == 1

    def test_the_loop_closes_the_connections_at_its_end(self, server: FailureServer) -> None:
        code = (
            "import asyncio, gc, sys, polvo_adapters as polvo\n"
            "async def main():\n"
            "    await asyncio.gather(*(polvo.aio.get(sys.argv[1]) for _ in range(3)))\n"
            "asyncio.run(main()); asyncio.run(main()); gc.collect()\n"
        )
        command = [sys.executable, "-W", "error", "-c", code, server.url + "/echo"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert len(server.requests) == 6


# URLs -----------------------------------------------------------------------------------------------------------------


def test_a_url_that_is_read_quickly_is_that_of_httpx() -> None:
    draw = random.Random(5)
    hosts = ["a", "a.b", "127.0.0.1", "xn--a", "a..b", "-a", ".a", "0x1", "1.2"]
    known = 0
    for _ in range(8_000):
        host = draw.choice(hosts) + draw.choice(["", ":80", ":443", ":8080", ":0", ":99999"])
        rest = "".join(draw.choice("aZ0./~-_:?=&#@%") for _ in range(draw.randint(0, 7)))
        text = f"{draw.choice(['http', 'https'])}://{host}/{rest}"
        known += _PLAIN.fullmatch(text) is not None
        try:
            expected: Any = httpx.URL(text)
        except httpx.InvalidURL:
            with pytest.raises(httpx.InvalidURL):
                read_url(text)
            continue
        found = read_url(text)
        assert (found, str(found), found.raw_path, hash(found)) == (
            expected,
            str(expected),
            expected.raw_path,
            hash(expected),
        )
    assert known > 1000
