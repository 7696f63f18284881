"""Credentials that do not change: the exact header, what cannot be one, and what copies do."""

from __future__ import annotations

import copy
import pickle
import traceback
from typing import Any

import pytest
import requests

import polvo_adapters as polvo
from polvo_adapters.auth import APIKey, Bearer, SessionToken, api_key, bearer, session_token
from polvo_adapters.auth.secret_auth import secret
from polvo_adapters.errors import ConfigurationError
from polvo_adapters.secrets import Secret
from polvo_adapters.testing import FailureServer

KEY = "k3y-of-the-customer"
HEADERS: list[tuple[Any, str, str]] = [
    (bearer(KEY), "Authorization", f"Bearer {KEY}"),
    (Bearer(KEY), "Authorization", f"Bearer {KEY}"),
    (session_token(KEY), "X-Session-Token", KEY),
    (session_token(KEY, "X-Auth"), "X-Auth", KEY),
    (SessionToken(KEY, header="X-Auth"), "X-Auth", KEY),
    (api_key(KEY), "X-API-Key", KEY),
    (api_key(KEY, "X-Key"), "X-Key", KEY),
    (api_key(KEY, header="Authorization", prefix="Api-Key"), "Authorization", f"Api-Key {KEY}"),
    (APIKey(KEY, "Authorization", "Api-Key"), "Authorization", f"Api-Key {KEY}"),
]
ALL = [*(auth for auth, _, _ in HEADERS), api_key(KEY, query="key")]
MAKERS = [bearer, session_token, api_key, Bearer, SessionToken, APIKey]


def prepare(auth: Any, url: str = "https://api.test/a", **keywords: Any) -> requests.PreparedRequest:
    return requests.Request("GET", url, auth=auth, **keywords).prepare()


@pytest.mark.parametrize(("auth", "header", "value"), HEADERS)
def test_the_header_is_exact_and_the_only_one(auth: Any, header: str, value: str) -> None:
    assert dict(prepare(auth).headers) == {header: value}


@pytest.mark.parametrize(("auth", "header", "value"), HEADERS)
@pytest.mark.parametrize("make", [requests.Session, polvo.Session])
def test_it_arrives(make: Any, auth: Any, header: str, value: str, server: FailureServer) -> None:
    with make() as session:
        session.get(f"{server.url}/echo", auth=auth)
        session.auth = auth
        session.get(f"{server.url}/echo")
    assert [record.headers.get(header.lower()) for record in server.requests] == [value, value]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://api.test/a", "https://api.test/a?key=k%2B%26%3D+y"),
        ("https://api.test/a?b=1", "https://api.test/a?b=1&key=k%2B%26%3D+y"),
        ("https://api.test", "https://api.test/?key=k%2B%26%3D+y"),
    ],
)
def test_a_key_in_the_query(url: str, expected: str) -> None:
    request = prepare(api_key("k+&= y", query="key"), url)
    assert (request.url, dict(request.headers)) == (expected, {})


def test_a_key_in_the_query_stands_beside_other_parameters() -> None:
    request = prepare(api_key(KEY, query="key"), params={"page": "2"})
    assert request.url == f"https://api.test/a?page=2&key={KEY}"


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("value", ["", None, 17, b"key", ["key"]])
def test_what_is_no_text_is_refused(make: Any, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"\((token|key)=.*must be a text that is not empty"):
        make(value)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(
    "value", ["se\ncret", "secret\r\nX: 1", "secret\n", "secret ", "sécret", "se\0cret", "se\tcret"]
)
def test_what_no_header_can_carry_is_refused_and_not_shown(make: Any, value: str) -> None:
    with pytest.raises(ValueError, match="cannot be sent in a header") as caught:
        make(value)
    assert value not in "".join(traceback.format_exception(caught.value))
    assert isinstance(caught.value, requests.RequestException)


def test_equal_are_those_that_send_the_same() -> None:
    assert bearer(KEY) == Bearer(KEY)
    assert hash(bearer(KEY)) == hash(Bearer(KEY))
    assert api_key(KEY) == APIKey(KEY)
    different = [bearer(KEY), bearer("other"), session_token(KEY), session_token(KEY, "X"), api_key(KEY)]
    different += [api_key(KEY, "X"), api_key(KEY, prefix="P"), api_key(KEY, query="q"), api_key(KEY, query="r")]
    assert len(set(different)) == len(different)
    assert [left == right for left in different for right in different].count(True) == len(different)
    assert bearer(KEY) != f"Bearer {KEY}"


@pytest.mark.parametrize("auth", ALL)
def test_nothing_shows_it(auth: Any) -> None:
    assert KEY not in f"{auth!r} {auth} {[auth]}"
    assert repr(auth).startswith(f"<{type(auth).__name__} ")
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert KEY.encode() not in pickle.dumps(auth, protocol)


@pytest.mark.parametrize("auth", ALL)
def test_a_pickled_one_says_what_stayed_behind(auth: Any) -> None:
    other = pickle.loads(pickle.dumps(auth))
    with pytest.raises(ConfigurationError, match=f"{type(auth).__name__}: the credential stayed behind"):
        prepare(other)


@pytest.mark.parametrize("auth", ALL)
@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy])
def test_a_copy_works_like_the_original(make: Any, auth: Any) -> None:
    other = make(auth)
    assert other == auth
    request, again = prepare(auth), prepare(other)
    assert (request.url, dict(request.headers)) == (again.url, dict(again.headers))


@pytest.mark.parametrize("auth", ALL)
def test_a_copied_session_goes_on(auth: Any, server: FailureServer) -> None:
    with requests.Session() as session:
        session.auth = auth
        with copy.deepcopy(session) as other:
            assert other.get(f"{server.url}/health").status_code == 200


@pytest.mark.parametrize("auth", ALL)
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickled_response_does_not_hold_it(auth: Any, protocol: int, server: FailureServer) -> None:
    response = polvo.get(f"{server.url}/health", auth=auth)
    pickled = pickle.dumps(response, protocol)
    if "query" not in repr(auth):  # a URL is part of the answer; the documentation says so
        assert KEY.encode() not in pickled
    assert pickle.loads(pickled).content == response.content


def test_headers_that_are_printed_do_not_show_it() -> None:
    request = requests.Request("GET", "http://api.test/", auth=polvo.auth.bearer("s3cret")).prepare()
    assert "s3cret" not in repr(request.headers) + repr(dict(request.headers))
    assert f"{request.headers['Authorization']}" == "Bearer s3cret"


IN_QUERY = [api_key("s3cret/key", query="key"), secret(Secret(lambda: "s3cret/key"), query="key")]


@pytest.mark.parametrize("auth", IN_QUERY)
@pytest.mark.parametrize("make", [polvo.Session, requests.Session])
def test_a_key_in_the_query_is_sent_and_not_shown(server: FailureServer, auth: Any, make: Any) -> None:
    with make() as session:
        response = session.get(server.url + "/fault/status?code=404", auth=auth)
    assert server.requests[0].path == "/fault/status?code=404&key=s3cret%2Fkey"
    assert response.url == response.request.url == server.url + server.requests[0].path
    with pytest.raises(requests.HTTPError, match=r"Not Found for url: .*/status\?code=404$") as caught:
        response.raise_for_status()
    for shown in (repr(response.url), f"{response.url}", pickle.dumps(response), pickle.dumps(caught.value)):
        assert "s3cret" not in str(shown)
    assert copy.deepcopy(response.url) == response.url


@pytest.mark.parametrize(("kind", "shown"), [(polvo.Session, "/x"), (requests.Session, "/x?a=b&key=***")])
@pytest.mark.parametrize("auth", IN_QUERY)
def test_a_key_in_the_query_is_not_in_the_text_of_a_failure(auth: Any, kind: type, shown: str) -> None:
    session = kind()
    session.mount("http://", polvo.ResilientAdapter(retry={"max_attempts": 2, "base": 0.001}))
    with session, pytest.raises(requests.ConnectionError) as caught:
        session.get("http://127.0.0.1:9/x?a=b", auth=auth)
    assert type(caught.value) is requests.ConnectionError
    assert f"Max retries exceeded with url: {shown} (" in str(caught.value)
    told = "".join(traceback.format_exception(caught.value))
    assert "s3cret" not in told + str(pickle.dumps(caught.value))
