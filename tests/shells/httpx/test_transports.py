"""The same policies under httpx."""

from __future__ import annotations

import asyncio
import re
import ssl
import subprocess
import sys
from typing import Any

import httpx
import pytest
import trustme

import polvo_adapters as polvo
from polvo_adapters.adapters import ResilientAdapter
from polvo_adapters.policies.deadline import Deadline
from polvo_adapters.policies.ratelimit import AdaptiveRateLimit, TokenBucket
from polvo_adapters.policies.retry import ExponentialBackoff
from polvo_adapters.stores import MemoryStore
from polvo_adapters.testing import FailureServer
from polvo_adapters.transports import AsyncPolicyTransport, PolicyTransport

RETRY = ExponentialBackoff(base=0.001)


class Client:
    """One face for both kinds of client, so that every test runs with both."""

    def __init__(self, kind: str, *policies: Any, **keywords: Any) -> None:
        self.kind, self.policies, self.keywords = kind, policies, keywords

    def request(self, method: str, url: str, **arguments: Any) -> httpx.Response:
        if self.kind == "sync":
            with httpx.Client(transport=PolicyTransport(*self.policies, **self.keywords)) as client:
                return client.request(method, url, **arguments)
        return asyncio.run(self._request(method, url, **arguments))

    async def _request(self, method: str, url: str, **arguments: Any) -> httpx.Response:
        content = arguments.get("content")
        if hasattr(content, "__next__"):
            arguments["content"] = as_async(content)
        transport = AsyncPolicyTransport(*self.policies, **self.keywords)
        async with httpx.AsyncClient(transport=transport) as client:
            return await client.request(method, url, **arguments)


async def as_async(parts: Any) -> Any:
    for part in parts:
        yield part


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("fault", ["status", "reset", "truncated", "eof", "cut-chunk", "cut-headers"])
def test_a_flaky_server_is_survived(kind: str, fault: str, server: FailureServer) -> None:
    response = Client(kind, RETRY).request("GET", f"{server.url}/fault/{fault}?times=2")
    assert response.json()["method"] == "GET"
    assert len(response.extensions["polvo"].attempts) == 3


def test_a_refused_connection_is_retried_even_for_post(kind: str) -> None:
    with pytest.raises(httpx.ConnectError) as caught:
        Client(kind, RETRY).request("POST", "http://127.0.0.1:1/", content=b"x")
    error: Any = caught.value
    assert [attempt.failure for attempt in error.polvo.attempts] == ["no connection"] * 3


def test_a_certificate_that_does_not_hold_is_not_tried_again(kind: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with FailureServer(ssl_context=context) as secure, pytest.raises(httpx.ConnectError) as caught:
        Client(kind, RETRY).request("GET", secure.url + "/echo")
    assert len(caught.value.polvo.attempts) == 1


def test_a_post_is_not_sent_again_when_its_answer_is_lost(kind: str, server: FailureServer) -> None:
    with pytest.raises(httpx.HTTPError):
        Client(kind, RETRY).request("POST", server.url + "/fault/reset", content=b"x")
    assert len(server.requests) == 1


def test_a_one_shot_body_is_not_sent_twice(kind: str, server: FailureServer) -> None:
    response = Client(kind, RETRY).request("PUT", server.url + "/fault/status", content=(part for part in (b"a", b"b")))
    assert response.status_code == 503
    assert [record.body_length for record in server.requests] == [2]


def test_a_nonce_is_not_sent_twice(kind: str, server: FailureServer) -> None:
    signature = {"Authorization": 'OAuth oauth_consumer_key="k", oauth_nonce="1", oauth_signature="s"'}
    response = Client(kind, RETRY).request("GET", server.url + "/fault/status", headers=signature)
    assert response.status_code == 503
    assert len(server.requests) == 1


def test_bytes_are_sent_whole_every_time(kind: str, server: FailureServer) -> None:
    Client(kind, RETRY).request("PUT", server.url + "/fault/status?times=2", content=b"x" * 3000)
    assert [record.body_length for record in server.requests] == [3000] * 3


def test_bodies_keep_their_encoding(kind: str, server: FailureServer) -> None:
    url = f"{server.url}/echo?size=1000&chunked=1"
    assert Client(kind, RETRY).request("GET", url).text == "x" * 1000


@pytest.mark.parametrize("fault", ["hang", "drip"])
def test_a_deadline_ends_a_slow_answer(kind: str, fault: str, server: FailureServer) -> None:
    url = f"{server.url}/fault/{fault}?size=500&interval=0.05"
    with pytest.raises(polvo.DeadlineExceeded, match=r"the deadline of 0\.3 s is over"):
        Client(kind, Deadline(0.3), RETRY).request("GET", url)


def test_a_deadline_ends_dripping_headers_where_the_loop_can_cancel(server: FailureServer) -> None:
    with pytest.raises(polvo.DeadlineExceeded):
        Client("async", Deadline(0.3), RETRY).request("GET", server.url + "/fault/slow-headers?interval=0.05")


def test_retry_after_beyond_the_deadline_ends_the_call_with_the_response(kind: str, server: FailureServer) -> None:
    response = Client(kind, Deadline(5), RETRY).request("GET", server.url + "/fault/status?retry_after=60")
    assert response.status_code == 503
    assert "before the deadline" in response.extensions["polvo"].note


def test_streams_are_handed_over_unread(server: FailureServer) -> None:
    transport = PolicyTransport(RETRY, stream=True)
    with httpx.Client(transport=transport) as client:
        url = server.url + "/fault/drip?size=50&interval=0.02"
        with client.stream("GET", url) as response:
            assert next(response.iter_raw()) == b"x"


def test_given_up_responses_hold_no_connection(kind: str, server: FailureServer) -> None:
    limits = httpx.Limits(max_connections=1)
    client = Client(kind, RETRY, limits=limits, stream=True)
    assert client.request("GET", server.url + "/fault/status?times=2").status_code == 200


def test_a_cancelled_task_leaves_nothing_behind(server: FailureServer) -> None:
    async def run() -> None:
        transport = AsyncPolicyTransport(ExponentialBackoff(base=60, jitter="none"))
        async with httpx.AsyncClient(transport=transport) as client:
            task = asyncio.create_task(client.get(server.url + "/fault/status"))
            while not server.requests:  # noqa: ASYNC110 - the server lives in another thread
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert (await client.get(server.url + "/echo")).status_code == 200

    asyncio.run(run())


def test_adapters_and_transports_share_state_through_a_store(server: FailureServer) -> None:
    import requests

    store = MemoryStore()
    session = requests.Session()
    session.mount("http://", ResilientAdapter(store=store))
    session.get(server.url + "/echo")
    Client("sync", ExponentialBackoff(), store=store).request("GET", server.url + "/echo")
    assert len(store) == 1


def test_a_response_shows_the_quota_that_the_server_announced(kind: str, server: FailureServer) -> None:
    url = f"{server.url}/quota?limit=7&window=30&dialect=draft-7"
    response = Client(kind, AdaptiveRateLimit()).request("GET", url)
    assert [(quota.limit, quota.remaining) for quota in response.extensions["polvo"].quotas] == [(7, 6)]


def test_a_turn_beyond_max_wait_is_an_error_and_nothing_is_sent(kind: str, server: FailureServer) -> None:
    limit, store = TokenBucket(0.001, max_wait=1), MemoryStore()
    Client(kind, RETRY, limit, store=store).request("GET", server.url + "/echo")
    with pytest.raises(polvo.RateLimitError):
        Client(kind, RETRY, limit, store=store).request("GET", server.url + "/echo")
    assert len(server.requests) == 1


def test_without_httpx_the_error_names_the_line_to_run() -> None:
    code = "import sys; sys.modules['httpx'] = None; import polvo_adapters as polvo; polvo.transports"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert re.search(r"polvo_adapters.transports needs httpx: \S+ -m pip install (-e )?'\S+\[httpx\]'", done.stderr)
