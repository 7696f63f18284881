"""The functions of the face."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import requests

import polvo_adapters as polvo
from polvo_adapters.testing import FailureServer


@pytest.mark.parametrize("verb", ["get", "options", "head", "post", "put", "patch", "delete"])
def test_every_verb_sends_its_method(verb: str, server: FailureServer) -> None:
    response = getattr(polvo, verb)(server.url + "/echo", headers={"X-Test": "1"})
    assert response.status_code == 200
    assert [(record.method, record.headers["x-test"]) for record in server.requests] == [(verb.upper(), "1")]
    assert polvo.request(verb, server.url + "/echo").status_code == 200


def test_verbs_take_the_arguments_of_requests(server: FailureServer) -> None:
    assert polvo.get(server.url + "/echo", {"size": "3"}).text == "xxx"
    polvo.post(server.url + "/echo", {"a": "b"})
    polvo.post(server.url + "/echo", json={"a": 1})
    polvo.put(server.url + "/echo", b"put")
    polvo.patch(server.url + "/echo", b"patch")
    assert [record.body for record in server.requests[1:]] == [b"a=b", b'{"a": 1}', b"put", b"patch"]


def test_head_does_not_follow_redirects_and_get_does(server: FailureServer) -> None:
    assert polvo.head(server.url + "/fault/redirect").status_code == 302
    assert polvo.get(server.url + "/fault/redirect").status_code == 200


def test_calls_share_a_connection(server: FailureServer) -> None:
    for _ in range(5):
        polvo.get(server.url + "/echo")
    assert server.open_connections == 1


def test_threads_share_connections(server: FailureServer) -> None:
    def work() -> None:
        for _ in range(5):
            polvo.get(server.url + "/echo")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.requests) == 20
    assert server.open_connections <= 4


def test_calls_share_no_credentials_and_no_headers(server: FailureServer) -> None:
    polvo.get(server.url + "/echo", auth=("user", "pass"), headers={"X-Key": "s3cret"}, cookies={"id": "s3cret"})
    polvo.get(server.url + "/echo")
    last = server.requests[-1].headers
    assert not {"authorization", "x-key", "cookie"} & set(last)


def test_a_flaky_server_is_survived(server: FailureServer) -> None:
    response: Any = polvo.get(server.url + "/fault/status?times=2&retry_after=0.01")
    assert (response.status_code, len(response.polvo.attempts)) == (200, 3)


def test_a_429_that_outlives_the_retries_is_an_error(server: FailureServer) -> None:
    with pytest.raises(polvo.RateLimitError) as caught:
        polvo.get(server.url + "/fault/status?code=429&retry_after=7200")
    assert caught.value.retry_after == 7200


def test_a_streamed_response_outlives_the_call(server: FailureServer) -> None:
    response = polvo.get(server.url + "/echo?size=100000", stream=True)
    assert len(response.content) == 100_000


@pytest.mark.parametrize("verb", ["get", "post"])
def test_an_unknown_keyword_is_a_type_error(verb: str) -> None:
    with pytest.raises(TypeError, match="nonsense"):
        getattr(polvo, verb)("http://127.0.0.1:1/", nonsense=1)


def test_what_requests_refuses_is_refused_alike() -> None:
    for url in ("", "nonsense", "http://", "ftp://example.com/"):
        with pytest.raises(requests.RequestException) as theirs:
            requests.get(url)
        with pytest.raises(requests.RequestException) as ours:
            polvo.get(url)
        assert type(ours.value) is type(theirs.value)
