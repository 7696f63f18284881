"""The session for new code."""

from __future__ import annotations

import http.server
import pickle
import re
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests

import polvo_adapters as polvo
from polvo_adapters.core.setting_kinds import show_value
from polvo_adapters.policies.ratelimit import AdaptiveRateLimit, SlidingWindow, TokenBucket
from polvo_adapters.policies.retry import ExponentialBackoff
from polvo_adapters.stores import MemoryStore
from polvo_adapters.testing import FailureServer
from polvo_adapters.testing.virtual_clock import VirtualClock

FAST = {"base": 0.001}


@pytest.mark.parametrize(
    ("base", "url", "expected"),
    [
        ("http://api.example.com", "orders", "http://api.example.com/orders"),
        ("http://api.example.com/", "/orders", "http://api.example.com/orders"),
        ("http://api.example.com/v1", "orders/7", "http://api.example.com/v1/orders/7"),
        ("http://api.example.com/v1/", "/orders", "http://api.example.com/v1/orders"),
        ("http://api.example.com/v1", "", "http://api.example.com/v1"),
        ("http://api.example.com/v1", "?page=2", "http://api.example.com/v1?page=2"),
        ("http://api.example.com", "orders?next=http://x/", "http://api.example.com/orders?next=http://x/"),
        ("http://api.example.com", "http://other.example.com/x", "http://other.example.com/x"),
        ("http://api.example.com", "//evil.example.com/x", "http://api.example.com/evil.example.com/x"),
        ("http://api.example.com", "@evil.example.com/x", "http://api.example.com/@evil.example.com/x"),
        (None, "http://api.example.com/x", "http://api.example.com/x"),
    ],
)
def test_base_url(base: str | None, url: str, expected: str) -> None:
    session = polvo.Session(base)
    sent = []
    session.send = lambda request, **keywords: (sent.append(request.url), requests.Response())[1]
    session.get(url)
    assert sent == [expected]


def test_without_a_base_a_relative_url_is_refused_as_requests_does() -> None:
    with pytest.raises(requests.exceptions.MissingSchema):
        polvo.Session().get("orders")


@pytest.fixture
def other() -> Iterator[FailureServer]:
    with FailureServer() as server:
        yield server


def test_credentials_stay_with_the_base_url(server: FailureServer, other: FailureServer) -> None:
    session = polvo.Session(server.url, auth=("user", "pass"))
    session.headers["Authorization"] = "Bearer s3cret"
    session.get("echo")
    session.get(other.url + "/echo")
    session.get(other.url + "/echo", auth=("their", "own"))
    session.get(other.url + "/echo", headers={"Authorization": "Bearer theirs"})
    assert server.requests[0].headers["authorization"].startswith("Basic ")
    sent = [record.headers.get("authorization") for record in other.requests]
    assert sent == [None, "Basic dGhlaXI6b3du", "Bearer theirs"]


class ShownAs:
    """An object that `requests` takes as the URL that it is shown as."""

    def __init__(self, url: str) -> None:
        self.url = url

    def __str__(self) -> str:
        return self.url


@pytest.mark.parametrize("kind", [str, str.encode, ShownAs])
@pytest.mark.parametrize("tenancy", [None, polvo.Tenancy(header="X-Tenant")])
def test_credentials_stay_with_the_base_url_whatever_the_kind_of_url(
    kind: Any, tenancy: polvo.Tenancy | None, server: FailureServer, other: FailureServer
) -> None:
    session = polvo.Session(server.url, auth=("user", "pass"), tenancy=tenancy)
    session.get(kind(server.url + "/echo"))
    session.get(kind(other.url + "/echo"))
    assert server.requests[0].headers["authorization"] == "Basic dXNlcjpwYXNz"
    assert "authorization" not in other.requests[0].headers


def test_a_429_that_outlives_the_retries_is_an_error(server: FailureServer) -> None:
    with pytest.raises(polvo.RateLimitError) as caught:
        polvo.Session(server.url, retry=FAST).get("fault/status?code=429&retry_after=0")
    error = caught.value
    assert (error.retry_after, error.attempts, error.status_code) == (0, 3, 429)
    assert isinstance(error, requests.HTTPError)
    assert re.sub(r"in [0-9.e-]+ s", "in 1 s", str(error)) == (
        f"GET {server.url[7:]}/fault/status: 429 Too Many Requests after 3 attempts in 1 s; call again after 0 s"
    )


def test_a_long_retry_after_is_an_error_at_once(server: FailureServer) -> None:
    with pytest.raises(polvo.RateLimitError) as caught:
        polvo.Session(server.url).get("fault/status?code=429&retry_after=3600")
    assert (caught.value.retry_after, len(server.requests)) == (3600, 1)


def test_other_statuses_are_returned(server: FailureServer) -> None:
    session = polvo.Session(server.url, retry=FAST)
    assert session.get("fault/status?code=500").status_code == 500
    assert session.get("fault/status?code=404").status_code == 404


@pytest.mark.parametrize(("code", "kind"), [(404, polvo.NotFoundError), (503, polvo.ServiceUnavailableError)])
def test_raise_for_status(code: int, kind: type[polvo.StatusError], server: FailureServer) -> None:
    session = polvo.Session(server.url, retry=FAST, raise_for_status=True)
    with pytest.raises(kind) as caught:
        session.get(f"fault/status?code={code}&secret=hidden")
    assert caught.value.status_code == code
    assert "hidden" not in str(caught.value)


def test_retry_takes_many_forms(server: FailureServer) -> None:
    forms: list[tuple[Any, int]] = [
        (True, 3),
        (False, 1),
        (None, 1),
        ({"max_attempts": 2}, 2),
        (ExponentialBackoff(max_attempts=4), 4),
    ]
    for number, (retry, attempts) in enumerate(forms):
        polvo.Session(server.url, retry=retry, clock=VirtualClock()).get(f"fault/status?key={number}")
        assert server.counters_for(str(number))["received"] == attempts


@pytest.mark.parametrize(
    ("value", "policies"),
    [
        (None, ()),
        ("adaptive", (AdaptiveRateLimit(),)),
        ({"pace": "burst", "max_wait": 5}, (AdaptiveRateLimit("burst", 5),)),
        ({}, (AdaptiveRateLimit(),)),
        (AdaptiveRateLimit("burst"), (AdaptiveRateLimit("burst"),)),
        (TokenBucket(3), (TokenBucket(3),)),
        (SlidingWindow(3, 4), (SlidingWindow(3, 4),)),
    ],
)
def test_a_rate_limit_takes_many_forms(value: Any, policies: Any) -> None:
    bare: Any = {"retry": False, "circuit_breaker": None, "deadline": None}
    adapter: Any = polvo.Session(**bare, rate_limit=value).get_adapter("https://api.example.com/")
    assert adapter.policies == policies


@pytest.mark.parametrize("value", ["fast", 5, True, TokenBucket, [1]])
def test_what_is_no_rate_limit_is_a_type_error(value: Any) -> None:
    with pytest.raises(TypeError) as caught:
        polvo.Session(rate_limit=value)
    assert str(caught.value) == (
        f"rate_limit={show_value(value)}: expected 'adaptive', AdaptiveRateLimit(...), TokenBucket(...), "
        "SlidingWindow(...), a mapping of the keywords of AdaptiveRateLimit, or None"
    )


def test_both_schemes_of_a_session_share_a_rate_limit() -> None:
    session = polvo.Session(rate_limit="adaptive")
    adapters: Any = list(session.adapters.values())
    assert adapters[0].store is adapters[1].store


def test_a_quota_that_is_used_up_is_an_error_where_the_wait_is_too_long(server: FailureServer) -> None:
    session = polvo.Session(server.url, rate_limit={"max_wait": 5}, clock=VirtualClock())
    session.get("quota?limit=1&window=3600&dialect=draft-7")
    with pytest.raises(polvo.RateLimitError, match="beyond max_wait, 5 s") as caught:
        session.get("quota?limit=1&window=3600&dialect=draft-7")
    assert 3590 <= (caught.value.retry_after or 0) <= 3610
    assert len(server.requests) == 1


@pytest.mark.parametrize("keyword", ["retries", "rate_limits", "verify", "max_retries", "pool_maxsize", "inner"])
def test_an_unknown_keyword_is_a_type_error(keyword: str) -> None:
    with pytest.raises(TypeError, match=keyword):
        polvo.Session(**{keyword: 1})


def test_circuits_and_operations_are_looked_up_without_reading_the_url_as_requests_does() -> None:
    session = polvo.Session("https://api.example.com", circuit_breaker=True, idempotency={"record": True})
    assert session.circuit("https:///x").state == "closed"
    assert session.operation("https:///x", "order-1").state == "not sent"


def test_timeouts(server: FailureServer) -> None:
    session = polvo.Session(server.url, retry=False, timeout=0.1)
    with pytest.raises(requests.ReadTimeout):
        session.get("fault/hang")
    assert session.get("fault/slow-headers?interval=0.005", timeout=None).status_code == 200
    seen = []
    session.send = lambda request, **keywords: (seen.append(keywords["timeout"]), requests.Response())[1]
    session.get("x")
    session.get("x", timeout=None)
    session.get("x", timeout=(1, 2))
    session.request("GET", "x", None, None, None, None, None, None, 7)
    assert seen == [0.1, None, (1, 2), 7]
    assert polvo.Session().timeout == 30


def test_no_timeout_reaches_the_wire_as_none(server: FailureServer) -> None:
    class Recording(requests.adapters.HTTPAdapter):
        def send(self, request: Any, **keywords: Any) -> requests.Response:
            self.timeout = keywords["timeout"]
            return super().send(request, **keywords)

    session = polvo.Session(server.url)
    adapter: Any = session.get_adapter(server.url)
    adapter.inner = recording = Recording()
    adapter._bind()
    session.get("echo", timeout=None)
    assert recording.timeout is None


def test_one_deadline_covers_all_hops(server: FailureServer) -> None:
    hop = "/fault/redirect?key=a&to="
    slow = "/fault/drip?size=500&interval=0.05"
    session = polvo.Session(server.url, deadline=0.5)
    started = time.monotonic()
    with pytest.raises(polvo.DeadlineExceeded):
        session.get(hop + requests.utils.quote(slow, safe=""))
    clock = VirtualClock()
    limited = polvo.Session(server.url, deadline=10, clock=clock)
    response = limited.get("/fault/redirect?key=b&to=" + requests.utils.quote("/fault/status?retry_after=6", safe=""))
    assert (response.status_code, clock.now() < 10) == (503, True)
    assert "before the deadline" in response.polvo.note  # type: ignore[attr-defined]
    assert time.monotonic() - started < 60


def test_the_deadline_of_one_call_is_not_that_of_the_next(server: FailureServer) -> None:
    clock = VirtualClock()
    session = polvo.Session(server.url, deadline=10, clock=clock)
    for number in range(3):
        assert session.get(f"fault/status?times=1&retry_after=6&key={number}").status_code == 200
    assert clock.now() >= 18


def test_a_call_from_a_hook_of_another_session_is_a_call_of_its_own(server: FailureServer) -> None:
    inner = polvo.Session(server.url, retry=False)
    caught = []

    def hook(response: requests.Response, **_: Any) -> None:
        try:
            inner.get("fault/status?code=429")
        except polvo.RateLimitError as error:
            caught.append(error)

    polvo.Session(server.url).get("echo", hooks={"response": hook})
    assert len(caught) == 1


def test_redirects_are_followed_and_every_hop_has_its_report(server: FailureServer) -> None:
    url = "/fault/redirect?to=" + requests.utils.quote("/fault/status?times=1&retry_after=0", safe="")
    response: Any = polvo.Session(server.url, retry=FAST).get(url)
    assert [len(each.polvo.attempts) for each in (*response.history, response)] == [1, 2]


def test_a_session_pickles(server: FailureServer) -> None:
    session = polvo.Session(server.url, retry=FAST, timeout=7, raise_for_status=True)
    copied = pickle.loads(pickle.dumps(session))
    assert (copied.base_url, copied.timeout, copied.raise_for_status) == (server.url, 7, True)
    assert copied.get("fault/status?times=2").status_code == 200


def test_sessions_share_state_through_a_store(server: FailureServer) -> None:
    store = MemoryStore()
    polvo.Session(server.url, store=store, circuit_breaker=None).get("echo")
    polvo.Session(server.url, store=store, circuit_breaker=None).get("echo")
    assert len(store) == 1


def test_a_session_is_a_requests_session_with_everything(server: FailureServer) -> None:
    with polvo.Session(server.url) as session:
        session.params = {"size": "5"}
        assert isinstance(session, requests.Session)
        assert session.get("echo").text == "xxxxx"
        assert session.head("echo").status_code == 200
        assert session.patch("echo", json={"a": 1}).status_code == 200


class Cookies(http.server.BaseHTTPRequestHandler):
    """Sets a cookie and shows the one it got."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = (self.headers.get("Cookie") or "none").encode()
        self.send_response(302 if self.path == "/hop" else 200)
        self.send_header("Set-Cookie", "id=s3cret")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Location", "/shown")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def cookies() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Cookies) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_verbs_share_no_cookies_between_calls_but_keep_them_along_redirects(cookies: str) -> None:
    assert [polvo.get(cookies).text for _ in range(2)] == ["none", "none"]
    assert polvo.get(cookies + "/hop").text == "id=s3cret"
    assert polvo.Session(cookies).get("hop").text == "id=s3cret"
